/* SPDX-License-Identifier: Apache-2.0 */
#include "server/engine/pcr_binding.h"

#include "server/engine/cmd.h"

/* Part 2, 8.6: a selection of none could never be met, and there are five. */
static bool locality_legal(uint8_t selection)
{
    return selection && !(selection & ~TPM_LOC_ALL);
}

tpm_rc pcr_binding_read(struct pcr_binding *binding, bool is_12, const struct tpm_blob *area)
{
    struct rd r = rd_from(area->data, area->len);
    tpm_rc rc;

    *binding = (struct pcr_binding){.form = PCR_BOUND_TO_NOTHING};
    if (!area->len)
        return TPM_SUCCESS;
    if (!is_12) {
        binding->form = PCR_BOUND_11;
        rd_pcr_info(&r, &binding->info.v11);
        return rd_result(&r);
    }
    binding->form = PCR_BOUND_12;
    rd_pcr_info_long(&r, &binding->info.v12);
    rc = rd_result(&r);
    if (rc)
        return rc;
    return locality_legal(binding->info.v12.locality_at_creation) &&
                   locality_legal(binding->info.v12.locality_at_release)
               ? TPM_SUCCESS
               : TPM_INVALID_STRUCTURE;
}

void pcr_binding_stamp(const struct cmd *c, struct pcr_binding *binding)
{
    struct tpm_pcr_info *v11 = &binding->info.v11;
    struct tpm_pcr_info_long *v12 = &binding->info.v12;

    switch (binding->form) {
    case PCR_BOUND_TO_NOTHING:
        break;
    case PCR_BOUND_11:
        pcr_composite_hash(c->tpm, &v11->pcr_selection, v11->digest_at_creation.bytes);
        break;
    case PCR_BOUND_12:
        pcr_composite_hash(c->tpm, &v12->creation_pcr_selection, v12->digest_at_creation.bytes);
        v12->locality_at_creation = (uint8_t)(1u << c->locality);
        break;
    }
}

uint8_t pcr_binding_write(const struct pcr_binding *binding, uint8_t out[PCR_BINDING_MAX])
{
    struct wr w = wr_to(out, PCR_BINDING_MAX);

    if (binding->form == PCR_BOUND_11)
        wr_pcr_info(&w, &binding->info.v11);
    else if (binding->form == PCR_BOUND_12)
        wr_pcr_info_long(&w, &binding->info.v12);
    return (uint8_t)w.len;
}

struct tpm_pcr_info_short pcr_binding_release(const struct pcr_binding *binding)
{
    const struct tpm_pcr_info *v11 = &binding->info.v11;
    const struct tpm_pcr_info_long *v12 = &binding->info.v12;

    if (binding->form == PCR_BOUND_11)
        return (struct tpm_pcr_info_short){
            .pcr_selection = v11->pcr_selection,
            .locality_at_release = TPM_LOC_ALL,
            .digest_at_release = v11->digest_at_release,
        };
    if (binding->form == PCR_BOUND_12)
        return (struct tpm_pcr_info_short){
            .pcr_selection = v12->release_pcr_selection,
            .locality_at_release = v12->locality_at_release,
            .digest_at_release = v12->digest_at_release,
        };
    return (struct tpm_pcr_info_short){.locality_at_release = TPM_LOC_ALL};
}

tpm_rc pcr_binding_check(const struct cmd *c, const struct pcr_binding *binding)
{
    struct tpm_pcr_info_short release = pcr_binding_release(binding);

    return pcr_check_release(c, &release);
}

bool pcr_binding_uses_pcrs(const struct pcr_binding *binding)
{
    struct tpm_pcr_info_short release = pcr_binding_release(binding);

    return tpm_pcr_any_selected(&release.pcr_selection);
}

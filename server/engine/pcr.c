/* SPDX-License-Identifier: Apache-2.0 */
#include "server/engine/pcr.h"

#include "server/engine/cmd.h"

/* TPM_LOCALITY_SELECTION (Part 2, 8.6): bit n is locality n. */
#define L(locality) (1u << (locality))
#define L_ALL (L(0) | L(1) | L(2) | L(3) | L(4))

struct pcr_range {
    uint8_t first, last;
    uint8_t reset;      /* localities that may reset */
    uint8_t extend;     /* localities that may extend */
    bool launch;        /* of the dynamic root: starts at ones, only HASH_START makes it zero */
};

/* TCG PC Client, "PCR usage". */
static const struct pcr_range ranges[] = {
    {0, 15, 0, L_ALL, false},
    {16, 16, L_ALL, L_ALL, false},
    {17, 18, L(4), L(2) | L(3) | L(4), true},
    {19, 19, L(4), L(2) | L(3), true},
    {20, 20, L(2) | L(4), L(1) | L(2) | L(3), true},
    {21, 22, L(2), L(2), true},
    {23, 23, L_ALL, L_ALL, false},
};

static const struct pcr_range *range_of(unsigned pcr)
{
    size_t i = 0;

    while (pcr > ranges[i].last)
        i++;
    return &ranges[i];
}

bool pcr_is_resettable(unsigned pcr)
{
    return range_of(pcr)->reset != 0;
}

bool pcr_extend_allowed(const struct cmd *c, unsigned pcr)
{
    return range_of(pcr)->extend >> c->locality & 1;
}

bool pcr_reset_allowed(const struct cmd *c, unsigned pcr)
{
    return range_of(pcr)->reset >> c->locality & 1;
}

void pcr_extend(struct tpm *tpm, unsigned pcr, const uint8_t digest[TPM_DIGEST_LEN])
{
    uint8_t *value = tpm->stclear.pcr[pcr];
    struct cr_slice slices[] = {CR_SLICE(value, TPM_DIGEST_LEN), CR_SLICE(digest, TPM_DIGEST_LEN)};

    cr_sha1v(value, slices, VT_COUNT(slices));
}

void pcr_shown(const struct tpm *tpm, unsigned pcr, struct tpm_digest *out)
{
    bool hidden = tpm->perm.flags.disable || tpm->stclear.flags.deactivated;

    *out = (struct tpm_digest){{0}};
    if (!hidden)
        memcpy(out->bytes, tpm->stclear.pcr[pcr], TPM_DIGEST_LEN);
}

static void pcr_fill(struct tpm *tpm, unsigned pcr, bool ones)
{
    memset(tpm->stclear.pcr[pcr], ones ? 0xFF : 0, TPM_DIGEST_LEN);
}

void pcr_reset(struct tpm *tpm, unsigned pcr)
{
    pcr_fill(tpm, pcr, range_of(pcr)->launch && !tpm->stany.tos_present);
}

void pcr_startup(struct tpm *tpm, bool only_resettable)
{
    for (unsigned pcr = 0; pcr < TPM_NUM_PCR; pcr++)
        if (!only_resettable || pcr_is_resettable(pcr))
            pcr_fill(tpm, pcr, range_of(pcr)->launch);
}

/* Part 2, 8.2: the selection, then a size and the selected PCRs' values in ascending order. */
void pcr_composite_write(struct wr *w, const struct tpm *tpm, const struct tpm_pcr_selection *select)
{
    size_t begin;

    wr_pcr_selection(w, select);
    begin = wr_sized_begin(w);
    for (unsigned pcr = 0; pcr < TPM_NUM_PCR; pcr++)
        if (tpm_pcr_selected(select, pcr))
            wr_copy(w, tpm->stclear.pcr[pcr], TPM_DIGEST_LEN);
    wr_sized_end(w, begin);
}

void pcr_composite_hash(const struct tpm *tpm, const struct tpm_pcr_selection *select,
                        uint8_t out[TPM_DIGEST_LEN])
{
    uint8_t bytes[2 + TPM_PCR_BYTES + 4 + TPM_NUM_PCR * TPM_DIGEST_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);

    /* Part 2, 5.4: of nothing it is all zeros. */
    memset(out, 0, TPM_DIGEST_LEN);
    if (!tpm_pcr_any_selected(select))
        return;
    pcr_composite_write(&w, tpm, select);
    cr_sha1(out, bytes, w.len);
}

/* Part 2, 8.6 and 8.7; Part 3, 10.2 actions on digestAtRelease. */
tpm_rc pcr_check_release(const struct cmd *c, const struct tpm_pcr_info_short *info)
{
    uint8_t now[TPM_DIGEST_LEN];

    pcr_composite_hash(c->tpm, &info->pcr_selection, now);
    if (tpm_pcr_any_selected(&info->pcr_selection) &&
        memcmp(now, info->digest_at_release.bytes, sizeof now) != 0)
        return TPM_WRONGPCRVAL;
    return info->locality_at_release >> c->locality & 1 ? TPM_SUCCESS : TPM_BAD_LOCALITY;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The endorsement key's certificate, where the PC Client specification keeps it. */
#include "server/engine/engine.h"

/*
 * PC Client Implementation 1.21, 7.4.5: TCG_PCCLIENT_STORED_CERT {tag, certType, certSize} around
 * TCG_FULL_CERT {tag, certificate}.
 */
#define TAG_STORED_CERT 0x1001
#define TAG_FULL_CERT   0x1002
#define FULL_CERT       0
#define HEAD            7

_Static_assert(HEAD + TPM_EK_CERT_MAX <= NV_EK_CERT_MAX, "the room that NV keeps for it");

static struct nv_area area_for(size_t len)
{
    const struct tpm_pcr_info_short anywhere = {.pcr_selection = {.size_of_select = TPM_PCR_BYTES},
                                                .locality_at_release = TPM_LOC_ALL};

    /* Nothing asks who reads; written it is already, for good. */
    return (struct nv_area){.pub = {
                                .nv_index = NV_EK_CERT,
                                .pcr_info_read = anywhere,
                                .pcr_info_write = anywhere,
                                .permission = {.attributes = TPM_NV_PER_WRITEDEFINE},
                                .b_write_define = true,
                                .data_size = (uint32_t)(HEAD + len),
                            }};
}

int tpm_install_ek_certificate(struct tpm *tpm, const uint8_t *der, size_t len)
{
    struct nv_area area = area_for(len);
    uint8_t *bytes;
    struct wr w;

    if (!len || len > TPM_EK_CERT_MAX || !tpm->perm.has_ek)
        return VT_EUSAGE;
    if (tpm->on || tpm->perm.owned)
        return VT_ECONFLICT;
    bytes = nv_define_ek_cert(tpm, &area);
    if (!bytes)
        return VT_ECONFLICT;
    w = wr_to(bytes, HEAD + len);
    wr_put16(&w, TAG_STORED_CERT);
    wr_put8(&w, FULL_CERT);
    wr_put16(&w, (uint16_t)(len + 2));
    wr_put16(&w, TAG_FULL_CERT);
    wr_copy(&w, der, len);
    return VT_OK;
}

struct tpm_blob tpm_ek_certificate(struct tpm *tpm)
{
    const struct nv_area *area = nv_find(tpm, NV_EK_CERT);

    /* Nobody but tpm_install_ek_certificate defines it: NV is locked from manufacture on. */
    if (!area || area->pub.data_size <= HEAD || area->pub.data_size > HEAD + TPM_EK_CERT_MAX)
        return (struct tpm_blob){0};
    return (struct tpm_blob){.data = nv_bytes(tpm, area) + HEAD, .len = area->pub.data_size - HEAD};
}

const struct cr_rsa_pub *tpm_ek_public(const struct tpm *tpm)
{
    return tpm->perm.has_ek ? &tpm->perm.ek.key.rsa.pub : NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 16: integrity collection and reporting. */
#include "server/engine/handlers.h"

#define QUOTE_INFO_LEN   48 /* version, "QUOT", digest, externalData */
#define QUOTE_INFO2_MAX  64 /* 52 with three bytes of selection */
#define VERSION_INFO_MAX 32 /* 15 without the vendor's own */

/* TPM 1.2 Part 3, 16.1 TPM_Extend */
tpm_rc cmd_extend(struct cmd *c, const struct extend_in *in, struct extend_out *out)
{
    struct tpm *tpm = c->tpm;

    /* 1. pcrNum must name a PCR. */
    if (in->pcr_num >= TPM_NUM_PCR)
        return TPM_BADINDEX;
    /* 2-4. The locality must be allowed to extend it. */
    if (!pcr_extend_allowed(c, in->pcr_num))
        return TPM_BAD_LOCALITY;
    /* 5-7. PCR = SHA-1(PCR || inDigest), also while disabled. */
    pcr_extend(tpm, in->pcr_num, in->in_digest.bytes);
    /* 8. */
    pcr_shown(tpm, in->pcr_num, &out->out_digest);
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 16.2 TPM_PCRRead */
tpm_rc cmd_pcr_read(struct cmd *c, const struct pcr_read_in *in, struct pcr_read_out *out)
{
    if (in->pcr_index >= TPM_NUM_PCR)
        return TPM_BADINDEX;
    memcpy(out->out_digest.bytes, c->tpm->stclear.pcr[in->pcr_index], TPM_DIGEST_LEN);
    return TPM_SUCCESS;
}

/* 16.3 and 16.5, actions 1-3. The key's secret was proved by the pipeline. */
static tpm_rc check_quoting_key(const struct cmd *c)
{
    const struct tpm_key_obj *key = &c->keys[0]->key;
    tpm_rc rc = key_check_pcrs(c, key);

    if (rc)
        return rc;
    if (!key_signs_sha1(key))
        return TPM_INAPPROPRIATE_SIG;
    return key_may_attest(key) ? TPM_SUCCESS : TPM_INVALID_KEYUSAGE;
}

/* Part 2, 11.3 TPM_QUOTE_INFO: its SHA-1 is what is signed. */
static void quote_digest(const struct tpm *tpm, const struct quote_in *in, uint8_t out[TPM_DIGEST_LEN])
{
    uint8_t bytes[QUOTE_INFO_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_put32(&w, 0x01010000);
    wr_copy(&w, "QUOT", 4);
    pcr_composite_hash(tpm, &in->target_pcr, wr_room(&w, TPM_DIGEST_LEN));
    wr_nonce(&w, &in->external_data);
    cr_sha1(out, bytes, w.len);
}

/* The composite as it was quoted, in the arena. */
static bool quote_values(struct cmd *c, const struct tpm_pcr_selection *select, struct tpm_pcr_composite *out)
{
    uint8_t *values = cmd_alloc(c, TPM_NUM_PCR * TPM_DIGEST_LEN);
    uint32_t len = 0;

    if (!values)
        return false;
    for (unsigned pcr = 0; pcr < TPM_NUM_PCR; pcr++) {
        if (!tpm_pcr_selected(select, pcr))
            continue;
        memcpy(values + len, c->tpm->stclear.pcr[pcr], TPM_DIGEST_LEN);
        len += TPM_DIGEST_LEN;
    }
    *out = (struct tpm_pcr_composite){.select = *select, .pcr_value = {.len = len, .data = values}};
    return true;
}

/* TPM 1.2 Part 3, 16.3 TPM_Quote */
tpm_rc cmd_quote(struct cmd *c, const struct quote_in *in, struct quote_out *out)
{
    uint8_t digest[TPM_DIGEST_LEN];
    tpm_rc rc;

    /* 1-3. */
    rc = check_quoting_key(c);
    if (rc)
        return rc;
    /* 4-7. The selection was checked as it was read. */
    quote_digest(c->tpm, in, digest);
    if (!quote_values(c, &in->target_pcr, &out->pcr_data))
        return TPM_SIZE;
    return key_sign_digest(c, c->keys[0], digest, &out->sig);
}

/* TPM 1.2 Part 3, 16.4 TPM_PCR_Reset */
tpm_rc cmd_pcr_reset(struct cmd *c, const struct pcr_reset_in *in, struct pcr_reset_out *out)
{
    (void)out;
    /* 1. Something must be selected. */
    if (!tpm_pcr_any_selected(&in->pcr_selection))
        return TPM_INVALID_PCR_INFO;
    /* 2. Check all before the first is reset. */
    for (unsigned pcr = 0; pcr < TPM_NUM_PCR; pcr++) {
        if (!tpm_pcr_selected(&in->pcr_selection, pcr))
            continue;
        if (!pcr_is_resettable(pcr))
            return TPM_NOTRESETABLE;
        if (!pcr_reset_allowed(c, pcr))
            return TPM_NOTLOCAL;
    }
    /* 3. */
    for (unsigned pcr = 0; pcr < TPM_NUM_PCR; pcr++)
        if (tpm_pcr_selected(&in->pcr_selection, pcr))
            pcr_reset(c->tpm, pcr);
    return TPM_SUCCESS;
}

/* Actions 5-7: what TPM_QUOTE_INFO2 says of the PCRs. */
static void quote2_info(const struct cmd *c, const struct quote2_in *in, struct tpm_pcr_info_short *info)
{
    *info = (struct tpm_pcr_info_short){
        .pcr_selection = in->target_pcr,
        .locality_at_release = (uint8_t)(1u << c->locality),
    };
    pcr_composite_hash(c->tpm, &in->target_pcr, info->digest_at_release.bytes);
}

/* Action 8: the bytes of a TPM_CAP_VERSION_INFO, in the arena. */
static tpm_rc quote2_version(struct cmd *c, struct tpm_blob *out)
{
    uint8_t bytes[VERSION_INFO_MAX];
    struct tpm_cap_version_info info = tpm_version_info();
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_cap_version_info(&w, &info);
    return !w.bad && cmd_blob(c, out, bytes, w.len) ? TPM_SUCCESS : TPM_SIZE;
}

/* TPM 1.2 Part 3, 16.5 TPM_Quote2 */
tpm_rc cmd_quote2(struct cmd *c, const struct quote2_in *in, struct quote2_out *out)
{
    struct tpm_quote_info2 info = {.fixed = {{'Q', 'U', 'T', '2'}}, .external_data = in->external_data};
    uint8_t bytes[QUOTE_INFO2_MAX], digest[TPM_DIGEST_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);
    tpm_rc rc;

    /* 1-3. */
    rc = check_quoting_key(c);
    if (rc)
        return rc;
    /* 4-7. The selection was checked as it was read. */
    quote2_info(c, in, &info.info_short);
    wr_quote_info2(&w, &info);
    out->pcr_data = info.info_short;
    /* 8-9. */
    if (in->add_version && (rc = quote2_version(c, &out->version_info)))
        return rc;
    /* 10. */
    cr_sha1v(
        digest,
        (struct cr_slice[]){CR_SLICE(bytes, w.len), CR_SLICE(out->version_info.data, out->version_info.len)},
        2);
    return key_sign_digest(c, c->keys[0], digest, &out->sig);
}

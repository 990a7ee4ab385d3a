/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 16: integrity collection and reporting. */
#include "server/engine/handlers.h"

#define QUOTE_INFO_LEN 48   /* version, "QUOT", digest, externalData */

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
    /* 8. What a disabled or deactivated TPM shows of it is zeros. */
    if (!tpm->perm.flags.disable && !tpm->stclear.flags.deactivated)
        memcpy(out->out_digest.bytes, tpm->stclear.pcr[in->pcr_num], TPM_DIGEST_LEN);
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
    const struct tpm_key_obj *key = &c->keys[0]->key;
    uint8_t digest[TPM_DIGEST_LEN];
    struct cr_rsa *rsa;
    uint8_t *sig;
    tpm_rc rc;

    /* 1. The key's secret was proved by the pipeline; its PCRs: */
    rc = key_check_pcrs(c, key);
    if (rc)
        return rc;
    /* 2-3. A signature of SHA-1 digests by a key for signing. */
    if (key->sig_scheme != TPM_SS_RSASSAPKCS1v15_SHA1 && key->sig_scheme != TPM_SS_RSASSAPKCS1v15_INFO)
        return TPM_INAPPROPRIATE_SIG;
    if (key->usage != TPM_KEY_SIGNING && key->usage != TPM_KEY_IDENTITY && key->usage != TPM_KEY_LEGACY)
        return TPM_INVALID_KEYUSAGE;
    /* 4-7. The selection was checked as it was read. */
    quote_digest(c->tpm, in, digest);
    rsa = key_rsa(c->keys[0]);
    sig = cmd_alloc(c, CR_RSA_MAX);
    if (!rsa || !sig || !quote_values(c, &in->target_pcr, &out->pcr_data))
        return TPM_FAIL;
    rc = cmd_crypto_rc(cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, digest, sizeof digest, sig), TPM_FAIL);
    out->sig = (struct tpm_blob){.len = key->rsa.pub.bytes, .data = sig};
    return rc;
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

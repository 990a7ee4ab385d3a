/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 13, signatures. */
#include "server/engine/auth.h"
#include "server/engine/handlers.h"

#define PKCS1_PADDING 11 /* PKCS #1 v2.1, 9.2: least bytes around what is signed */

/* Action 7: SHA-1 of a TPM_SIGN_INFO that has the caller's nonce in it. */
static tpm_rc info_digest(const struct cmd *c, const struct tpm_blob *area, uint8_t out[TPM_DIGEST_LEN])
{
    uint8_t head[2 + 4 + TPM_NONCE_LEN + 4];
    struct wr w = wr_to(head, sizeof head);

    /* c.i. */
    if (!c->auth_count)
        return TPM_BAD_PARAMETER;
    wr_put16(&w, TPM_TAG_SIGNINFO);
    wr_copy(&w, "SIGN", 4);
    wr_copy(&w, c->auth[0].nonce_odd, TPM_NONCE_LEN);
    wr_put32(&w, area->len);
    cr_sha1v(out, (struct cr_slice[]){CR_SLICE(head, w.len), CR_SLICE(area->data, area->len)}, 2);
    return TPM_SUCCESS;
}

/* What goes into the signature, and how it is padded. */
struct to_sign {
    enum cr_sig_scheme scheme;
    struct tpm_blob bytes;
    uint8_t digest[TPM_DIGEST_LEN];
};

/* Actions 4-8. */
static tpm_rc choose(const struct cmd *c, const struct tpm_blob *area, struct to_sign *what)
{
    const struct tpm_key_obj *key = &c->keys[0]->key;

    *what = (struct to_sign){.scheme = CR_SIG_PKCS1_SHA1, .bytes = *area};
    switch (key->sig_scheme) {
    case TPM_SS_RSASSAPKCS1v15_SHA1:
        return area->len == TPM_DIGEST_LEN ? TPM_SUCCESS : TPM_BAD_PARAMETER;
    case TPM_SS_RSASSAPKCS1v15_DER:
        what->scheme = CR_SIG_PKCS1_RAW;
        return area->len <= key->rsa.pub.bytes - (uint32_t)PKCS1_PADDING ? TPM_SUCCESS : TPM_BAD_PARAMETER;
    case TPM_SS_RSASSAPKCS1v15_INFO:
        what->bytes = (struct tpm_blob){.len = sizeof what->digest, .data = what->digest};
        return info_digest(c, area, what->digest);
    default:
        return TPM_INVALID_KEYUSAGE;
    }
}

/* TPM 1.2 Part 3, 13.5 TPM_Sign */
tpm_rc cmd_sign(struct cmd *c, const struct sign_in *in, struct sign_out *out)
{
    struct key_slot *slot = c->keys[0];
    struct to_sign what;
    struct cr_rsa *rsa;
    uint8_t *sig;
    tpm_rc rc;

    /* 1. */
    rc = key_check_pcrs(c, &slot->key);
    if (rc)
        return rc;
    /* 2-3. An identity key signs only what the TPM itself says. */
    if (!in->area_to_sign.len)
        return TPM_BAD_PARAMETER;
    if (slot->key.usage != TPM_KEY_SIGNING && slot->key.usage != TPM_KEY_LEGACY)
        return TPM_INVALID_KEYUSAGE;
    rc = choose(c, &in->area_to_sign, &what);
    if (rc)
        return rc;
    /* 9. */
    sig = cmd_alloc(c, CR_RSA_MAX);
    rsa = key_rsa(slot);
    if (!sig || !rsa)
        return TPM_FAIL;
    out->sig = (struct tpm_blob){.len = slot->key.rsa.pub.bytes, .data = sig};
    return cmd_crypto_rc(cr_rsa_sign(rsa, what.scheme, what.bytes.data, what.bytes.len, sig), TPM_FAIL);
}

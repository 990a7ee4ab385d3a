/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 2.0: an attestation key, and quotes by it (Part 3, 18.4). */
#include "hwtpm/tpm2.h"

/* Restricted: it signs only what the TPM itself says, so a quote cannot be made up. */
static const TPM2B_PUBLIC key_template = {
    .publicArea = {
        .type = TPM2_ALG_RSA,
        .nameAlg = TPM2_ALG_SHA256,
        .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |
                            TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED |
                            TPMA_OBJECT_SIGN_ENCRYPT,
        .parameters.rsaDetail = {
            .symmetric = {.algorithm = TPM2_ALG_NULL},
            .scheme = {.scheme = TPM2_ALG_RSASSA, .details.rsassa.hashAlg = TPM2_ALG_SHA256},
            .keyBits = 2048,
        },
    },
};

int tpm2_key_make(struct hwtpm *tpm, const struct vt_auth *owner, struct hwtpm_key *key, struct cr_rsa_pub *pub,
                  struct vt_why *why)
{
    static const TPM2B_SENSITIVE_CREATE no_auth;
    const TPM2B_PUBLIC_KEY_RSA *n;
    struct tpm2_parent parent;
    struct tpm2_parts parts;
    int err = tpm2_parent_choose(tpm, &parent, why);

    (void)owner; /* the storage key has no password */
    if (err)
        return err;
    err = tpm2_create(tpm, &parent, &no_auth, &key_template, &parts, why);
    tpm2_parent_done(tpm, &parent);
    if (err)
        return err;
    n = &parts.public.publicArea.unique.rsa;
    if (n->size != CR_RSA_MAX)
        return vt_fail(why, VT_EIO, "the host TPM made a key of %u bytes, not %d", n->size, CR_RSA_MAX);
    *pub = (struct cr_rsa_pub){.e = 65537, .bytes = CR_RSA_MAX};
    memcpy(pub->n, n->buffer, CR_RSA_MAX);
    return tpm2_pack(&parts, key->bytes, sizeof key->bytes, &key->len, why);
}

/* The message must be about the values that were read: else one changed in between. */
static int check_digest(const struct hwtpm_quote *quote, struct vt_why *why)
{
    struct cr_slice chosen[HWTPM_PCRS];
    uint8_t digest[CR_SHA256_LEN];
    TPMS_ATTEST attest;
    size_t at = 0, count = 0;

    for (unsigned n = 0; n < HWTPM_PCRS; n++)
        if (quote->pcrs.mask >> n & 1)
            chosen[count++] = CR_SLICE(quote->pcrs.value[n], CR_SHA256_LEN);
    cr_sha256v(digest, chosen, count);
    if (Tss2_MU_TPMS_ATTEST_Unmarshal(quote->message, quote->message_len, &at, &attest) ||
        attest.type != TPM2_ST_ATTEST_QUOTE || attest.attested.quote.pcrDigest.size != sizeof digest)
        return vt_fail(why, VT_EIO, "the host TPM's quote has the wrong form");
    if (memcmp(attest.attested.quote.pcrDigest.buffer, digest, sizeof digest) != 0)
        return vt_fail(why, VT_EAGAIN, "a PCR of the host TPM was extended meanwhile: try again");
    return VT_OK;
}

static int quote_with(struct hwtpm *tpm, ESYS_TR key, const uint8_t *nonce, struct hwtpm_quote *out,
                      struct vt_why *why)
{
    static const TPMT_SIG_SCHEME of_the_key = {.scheme = TPM2_ALG_NULL};
    TPM2B_DATA data = {.size = 32};
    TPMT_SIGNATURE *signature = NULL;
    TPM2B_ATTEST *message = NULL;
    TPML_PCR_SELECTION select;
    TSS2_RC rc;
    bool fits;

    memcpy(data.buffer, nonce, 32);
    tpm2_select(&select, out->pcrs.mask);
    rc = Esys_Quote(tpm2_esys(tpm), key, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &data, &of_the_key, &select,
                    &message, &signature);
    if (rc)
        return tpm2_fail(rc, "quote", why);
    fits = message->size <= sizeof out->message && signature->sigAlg == TPM2_ALG_RSASSA &&
           signature->signature.rsassa.sig.size == CR_RSA_MAX;
    if (fits) {
        out->message_len = message->size;
        memcpy(out->message, message->attestationData, message->size);
        out->signature_len = CR_RSA_MAX;
        memcpy(out->signature, signature->signature.rsassa.sig.buffer, CR_RSA_MAX);
    }
    Esys_Free(message);
    Esys_Free(signature);
    return fits ? check_digest(out, why) : vt_fail(why, VT_EIO, "the host TPM's quote has the wrong form");
}

static int key_load(struct hwtpm *tpm, const struct tpm2_parts *parts, struct tpm2_parent *parent, ESYS_TR *handle,
                    struct vt_why *why)
{
    TSS2_RC rc;
    int err = tpm2_parent_of(tpm, parts, parent, why);

    if (err)
        return err;
    rc = Esys_Load(tpm2_esys(tpm), parent->key, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &parts->private,
                   &parts->public, handle);
    if (!rc)
        return VT_OK;
    tpm2_parent_done(tpm, parent);
    return tpm2_fail(rc, "load the attestation key", why);
}

int tpm2_key_open(struct hwtpm *tpm, const struct hwtpm_key *key, struct tpm2_parts *parts, struct tpm2_parent *parent,
                  ESYS_TR *handle, struct vt_why *why)
{
    struct vt_why own = {0};
    int err = tpm2_unpack(key->bytes, key->len, sizeof key->bytes, parts, why);

    if (err)
        return err;
    err = key_load(tpm, parts, parent, handle, &own);
    if (err == VT_EKEY)
        return vt_fail(why, err, HWTPM_KEY_STRANGE);
    return err ? vt_fail(why, err, "%s", own.text) : VT_OK;
}

int tpm2_quote(struct hwtpm *tpm, const struct hwtpm_key *key, uint32_t mask, const uint8_t *nonce,
               struct hwtpm_quote *out, struct vt_why *why)
{
    struct tpm2_parent parent;
    struct tpm2_parts parts;
    ESYS_TR handle;
    int err = hwtpm_pcr_read(tpm, mask, &out->pcrs, why);

    if (!err)
        err = tpm2_key_open(tpm, key, &parts, &parent, &handle, why);
    if (err)
        return err;
    err = quote_with(tpm, handle, nonce, out, why);
    (void)Esys_FlushContext(tpm2_esys(tpm), handle);
    tpm2_parent_done(tpm, &parent);
    return err;
}

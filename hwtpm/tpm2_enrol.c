/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TPM 2.0: the endorsement key, and credentials that only it and an attestation key beside it open (Part 1,
 * 24; Part 3, 12.5). A TPM holds three objects at a time: the storage key is put away before the endorsement
 * key comes.
 */
#include "hwtpm/tpm2.h"

#define EK_HANDLE 0x81010001u /* TCG TPM v2.0 Provisioning Guidance: where an RSA endorsement key is kept */
#define EK_CERT   0x01c00002u /* TCG EK Credential Profile, 2.2.1.4: its certificate */
#define NV_CHUNK  512         /* every TPM gives that many bytes at once */

/* TCG EK Credential Profile, template L-1. Its policy: TPM2_PolicySecret with the endorsement hierarchy. */
static const TPM2B_PUBLIC ek_template = {
    .publicArea = {
        .type = TPM2_ALG_RSA,
        .nameAlg = TPM2_ALG_SHA256,
        .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |
                            TPMA_OBJECT_ADMINWITHPOLICY | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT,
        .authPolicy = {.size = CR_SHA256_LEN,
                       .buffer = {0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc,
                                  0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52,
                                  0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa}},
        .parameters.rsaDetail = {
            .symmetric = {.algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB},
            .scheme = {.scheme = TPM2_ALG_NULL},
            .keyBits = 2048,
        },
        .unique.rsa = {.size = CR_RSA_MAX},
    },
};

struct endorsement {
    ESYS_TR key;
    bool is_made; /* by us, so it is to be flushed */
    TPM2B_PUBLIC *public;
};

/* ---- The endorsement key ---- */

static int ek_fail(TSS2_RC rc, const char *doing, struct vt_why *why)
{
    if (tpm2_plain(rc) == TPM2_RC_BAD_AUTH || tpm2_plain(rc) == TPM2_RC_AUTH_FAIL)
        return vt_fail(
            why, VT_EAUTH,
            "the host TPM cannot %s: its endorsement hierarchy has a password, and the server needs "
            "one without (tpm2_changeauth -c e -p PASSWORD)",
            doing);
    if (tpm2_plain(rc) == TPM2_RC_HIERARCHY)
        return vt_fail(why, VT_ENOTSUP,
                       "the host TPM cannot %s: its endorsement hierarchy is switched off: switch it on in "
                       "the firmware",
                       doing);
    return tpm2_fail(rc, doing, why);
}

/* The template's in all but the key itself: else neither its policy nor its ciphers are known. */
static bool is_standard(const TPM2B_PUBLIC *public)
{
    uint8_t have[sizeof(TPMT_PUBLIC)], want[sizeof(TPMT_PUBLIC)];
    size_t have_len = 0, want_len = 0;
    TPM2B_PUBLIC blank = *public;

    if (public->publicArea.type != TPM2_ALG_RSA || public->publicArea.unique.rsa.size != CR_RSA_MAX)
        return false;
    blank.publicArea.unique = ek_template.publicArea.unique;
    return !Tss2_MU_TPMT_PUBLIC_Marshal(&blank.publicArea, have, sizeof have, &have_len) &&
           !Tss2_MU_TPMT_PUBLIC_Marshal(&ek_template.publicArea, want, sizeof want, &want_len) &&
           have_len == want_len && memcmp(have, want, want_len) == 0;
}

static void ek_close(ESYS_CONTEXT *esys, struct endorsement *ek)
{
    if (ek->key != ESYS_TR_NONE && ek->is_made)
        (void)Esys_FlushContext(esys, ek->key);
    else if (ek->key != ESYS_TR_NONE)
        (void)Esys_TR_Close(esys, &ek->key);
    Esys_Free(ek->public);
    *ek = (struct endorsement){.key = ESYS_TR_NONE};
}

static bool ek_find(ESYS_CONTEXT *esys, struct endorsement *ek)
{
    if (Esys_TR_FromTPMPublic(esys, EK_HANDLE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &ek->key)) {
        ek->key = ESYS_TR_NONE;
        return false;
    }
    if (!Esys_ReadPublic(esys, ek->key, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &ek->public, NULL, NULL) &&
        is_standard(ek->public))
        return true;
    ek_close(esys, ek);
    return false;
}

/* The one that is kept, else made from the endorsement seed, which makes the same one each time. */
static int ek_open(struct hwtpm *tpm, struct endorsement *ek, struct vt_why *why)
{
    static const TPM2B_SENSITIVE_CREATE no_auth;
    static const TPM2B_DATA no_data;
    static const TPML_PCR_SELECTION no_pcrs;
    TSS2_RC rc;

    *ek = (struct endorsement){.key = ESYS_TR_NONE};
    if (ek_find(tpm2_esys(tpm), ek))
        return VT_OK;
    rc = Esys_CreatePrimary(tpm2_esys(tpm), ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                            ESYS_TR_NONE, &no_auth, &ek_template, &no_data, &no_pcrs, &ek->key, &ek->public,
                            NULL, NULL, NULL);
    if (rc) {
        ek->key = ESYS_TR_NONE;
        return ek_fail(rc, "make its endorsement key", why);
    }
    ek->is_made = true;
    if (is_standard(ek->public))
        return VT_OK;
    ek_close(tpm2_esys(tpm), ek);
    return vt_fail(why, VT_EIO, "the host TPM made another endorsement key than it was asked for");
}

/* ---- What a CA is told ---- */

/* The certificate's own length: some makers fill the area up. 0: what is there is none. */
static uint32_t der_len(const uint8_t *bytes, uint32_t len)
{
    uint32_t inner = len > 4 && bytes[0] == 0x30 && bytes[1] == 0x82 ? (uint32_t)bytes[2] << 8 | bytes[3] : 0;

    return inner && inner <= len - 4 ? inner + 4 : 0;
}

static uint32_t read_area(ESYS_CONTEXT *esys, ESYS_TR nv, const TPMS_NV_PUBLIC *area, uint8_t *out,
                          uint32_t cap)
{
    ESYS_TR by = area->attributes & TPMA_NV_AUTHREAD ? nv : ESYS_TR_RH_OWNER;
    uint32_t at = 0;

    if (area->dataSize > cap)
        return 0;
    while (at < area->dataSize) {
        UINT16 want = (UINT16)VT_MIN((uint32_t)NV_CHUNK, area->dataSize - at);
        TPM2B_MAX_NV_BUFFER *data = NULL;
        bool good = !Esys_NV_Read(esys, by, nv, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, want,
                                  (UINT16)at, &data) &&
                    data->size == want;

        if (good)
            memcpy(out + at, data->buffer, want);
        Esys_Free(data);
        if (!good)
            return 0;
        at += want;
    }
    return at;
}

/* Not every TPM has one: a CA that wants it says so. */
static void read_cert(ESYS_CONTEXT *esys, struct hwtpm_enrolment *out)
{
    TPM2B_NV_PUBLIC *area = NULL;
    ESYS_TR nv;

    if (Esys_TR_FromTPMPublic(esys, EK_CERT, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &nv))
        return;
    if (!Esys_NV_ReadPublic(esys, nv, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &area, NULL))
        out->ek_cert_len =
            der_len(out->ek_cert, read_area(esys, nv, &area->nvPublic, out->ek_cert, sizeof out->ek_cert));
    Esys_Free(area);
    (void)Esys_TR_Close(esys, &nv);
}

int tpm2_enrol(struct hwtpm *tpm, const struct hwtpm_key *key, const struct vt_auth *owner,
               struct hwtpm_enrolment *out, struct vt_why *why)
{
    struct tpm2_parent parent;
    struct endorsement ek;
    struct tpm2_parts parts;
    ESYS_TR handle;
    size_t len = 0;
    int err = tpm2_key_open(tpm, key, &parts, &parent, &handle, why);

    (void)owner;
    if (err)
        return err;
    (void)Esys_FlushContext(tpm2_esys(tpm), handle); /* it is of this TPM: that was all */
    tpm2_parent_done(tpm, &parent);
    if (Tss2_MU_TPMT_PUBLIC_Marshal(&parts.public.publicArea, out->public, sizeof out->public, &len))
        return vt_fail(why, VT_EDAMAGED, "the attestation key is malformed");
    out->public_len = (uint32_t)len;
    err = ek_open(tpm, &ek, why);
    if (err)
        return err;
    out->ek = (struct cr_rsa_pub){.e = 65537, .bytes = CR_RSA_MAX};
    memcpy(out->ek.n, ek.public->publicArea.unique.rsa.buffer, CR_RSA_MAX);
    ek_close(tpm2_esys(tpm), &ek);
    read_cert(tpm2_esys(tpm), out);
    return VT_OK;
}

/* ---- The answer ---- */

static int take_opened(TPM2B_DIGEST *secret, struct hwtpm_opened *out, struct vt_why *why)
{
    bool fits = secret->size <= sizeof out->bytes;

    out->len = secret->size;
    if (fits)
        memcpy(out->bytes, secret->buffer, secret->size);
    vt_wipe(secret, sizeof *secret);
    Esys_Free(secret);
    return fits ? VT_OK
                : vt_fail(why, VT_EUSAGE, "the challenge holds more than %zu bytes", sizeof out->bytes);
}

/*
 * TPM2_RC_FAILURE: libtpms says that when what was decrypted has no OAEP padding. A TPM in failure mode would
 * not have come as far as this.
 */
static int activate_failed(TSS2_RC rc, struct vt_why *why)
{
    static const TSS2_RC refusals[] = {TPM2_RC_INTEGRITY,    TPM2_RC_VALUE,   TPM2_RC_SIZE,
                                       TPM2_RC_INSUFFICIENT, TPM2_RC_BINDING, TPM2_RC_FAILURE};

    for (size_t i = 0; i < VT_COUNT(refusals); i++)
        if (tpm2_plain(rc) == refusals[i])
            return vt_fail(
                why, VT_EKEY,
                "the host TPM does not open the challenge: it is for another endorsement key or another "
                "attestation key, or it was altered");
    return tpm2_fail(rc, "open the challenge", why);
}

/* Part 3, 12.5: the attestation key by its (empty) password, the endorsement key by its policy. */
static int activate(struct hwtpm *tpm, ESYS_TR key, ESYS_TR session, const struct hwtpm_challenge *challenge,
                    struct hwtpm_opened *out, struct vt_why *why)
{
    TPM2B_ID_OBJECT credential = {.size = (UINT16)challenge->credential_len};
    TPM2B_ENCRYPTED_SECRET seed = {.size = (UINT16)challenge->secret_len};
    TPM2B_DIGEST *secret = NULL;
    struct endorsement ek;
    TSS2_RC rc;
    int err = ek_open(tpm, &ek, why);

    if (err)
        return err;
    memcpy(credential.credential, challenge->credential, challenge->credential_len);
    memcpy(seed.secret, challenge->secret, challenge->secret_len);
    rc = Esys_PolicySecret(tpm2_esys(tpm), ESYS_TR_RH_ENDORSEMENT, session, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                           ESYS_TR_NONE, NULL, NULL, NULL, 0, NULL, NULL);
    if (rc) {
        err = ek_fail(rc, "use its endorsement key", why);
    } else {
        rc = Esys_ActivateCredential(tpm2_esys(tpm), key, ek.key, ESYS_TR_PASSWORD, session, ESYS_TR_NONE,
                                     &credential, &seed, &secret);
        err = rc ? activate_failed(rc, why) : take_opened(secret, out, why);
    }
    ek_close(tpm2_esys(tpm), &ek);
    return err;
}

int tpm2_activate(struct hwtpm *tpm, const struct hwtpm_key *key, const struct vt_auth *owner,
                  const struct hwtpm_challenge *challenge, struct hwtpm_opened *out, struct vt_why *why)
{
    ESYS_TR handle, session = ESYS_TR_NONE;
    struct tpm2_parent parent;
    struct tpm2_parts parts;
    int err = VT_OK;

    (void)owner;
    if (challenge->credential_len > sizeof challenge->credential ||
        challenge->secret_len > sizeof challenge->secret)
        err = vt_fail(why, VT_EUSAGE, "the challenge is too large");
    if (!err)
        err = tpm2_key_open(tpm, key, &parts, &parent, &handle, why);
    if (err)
        return err;
    err = tpm2_session(tpm, &parent, TPM2_SE_POLICY, &session, why);
    tpm2_parent_done(tpm, &parent);
    if (!err)
        err = activate(tpm, handle, session, challenge, out, why);
    if (session != ESYS_TR_NONE)
        (void)Esys_FlushContext(tpm2_esys(tpm), session);
    (void)Esys_FlushContext(tpm2_esys(tpm), handle);
    return err;
}

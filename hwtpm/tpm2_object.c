/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 2.0: the storage key, sessions salted with it, and objects made under it. */
#include "hwtpm/tpm2.h"

#define TPM2_WAY_OUT "open the store with the recovery key, then vtpmctl keyslot reseal"

/* ---- The storage key ---- */

/* Everything in it is fixed: the same seed makes the same key. (TCG EK Credential Profile, template of ECC P-256.) */
static const TPM2B_PUBLIC parent_template = {
    .publicArea = {
        .type = TPM2_ALG_ECC,
        .nameAlg = TPM2_ALG_SHA256,
        .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |
                            TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT,
        .parameters.eccDetail = {
            .symmetric = {.algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB},
            .scheme = {.scheme = TPM2_ALG_NULL},
            .curveID = TPM2_ECC_NIST_P256,
            .kdf = {.scheme = TPM2_ALG_NULL},
        },
    },
};

static TSS2_RC make_parent(ESYS_CONTEXT *esys, ESYS_TR *key)
{
    static const TPM2B_SENSITIVE_CREATE no_auth;
    static const TPM2B_DATA no_data;
    static const TPML_PCR_SELECTION no_pcrs;

    return Esys_CreatePrimary(esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &no_auth,
                              &parent_template, &no_data, &no_pcrs, key, NULL, NULL, NULL, NULL);
}

static bool find_parent(ESYS_CONTEXT *esys, struct tpm2_parent *parent)
{
    if (Esys_TR_FromTPMPublic(esys, TPM2_SRK, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &parent->key))
        return false;
    parent->handle = TPM2_SRK;
    return true;
}

/* Makes it unless it was found; then its name. */
static int complete_parent(struct hwtpm *tpm, struct tpm2_parent *parent, struct vt_why *why)
{
    TSS2_RC rc;

    if (!parent->handle) {
        rc = make_parent(tpm2_esys(tpm), &parent->key);
        if (rc) {
            parent->key = ESYS_TR_NONE;
            return tpm2_fail(rc, "make its storage key", why);
        }
    }
    rc = Esys_TR_GetName(tpm2_esys(tpm), parent->key, &parent->name);
    if (!rc)
        return VT_OK;
    tpm2_parent_done(tpm, parent);
    return tpm2_fail(rc, "name its storage key", why);
}

int tpm2_parent_choose(struct hwtpm *tpm, struct tpm2_parent *parent, struct vt_why *why)
{
    *parent = (struct tpm2_parent){.key = ESYS_TR_NONE};
    (void)find_parent(tpm2_esys(tpm), parent);
    return complete_parent(tpm, parent, why);
}

int tpm2_parent_again(struct hwtpm *tpm, uint32_t handle, struct tpm2_parent *parent, struct vt_why *why)
{
    *parent = (struct tpm2_parent){.key = ESYS_TR_NONE};
    if (handle && !find_parent(tpm2_esys(tpm), parent))
        return vt_fail(why, VT_EKEY, "the storage key 0x%08x that the slot was sealed under is gone: the host TPM was "
                       "cleared, is another one, or somebody removed the key: " TPM2_WAY_OUT, (unsigned)handle);
    return complete_parent(tpm, parent, why);
}

void tpm2_parent_done(struct hwtpm *tpm, struct tpm2_parent *parent)
{
    if (parent->key != ESYS_TR_NONE && parent->handle)
        Esys_TR_Close(tpm2_esys(tpm), &parent->key);
    else if (parent->key != ESYS_TR_NONE)
        (void)Esys_FlushContext(tpm2_esys(tpm), parent->key);
    Esys_Free(parent->name);
    *parent = (struct tpm2_parent){.key = ESYS_TR_NONE};
}

int tpm2_session(struct hwtpm *tpm, const struct tpm2_parent *parent, TPM2_SE type, ESYS_TR *session,
                 struct vt_why *why)
{
    static const TPMT_SYM_DEF aes = {.algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB};
    static const TPMA_SESSION both = TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT | TPMA_SESSION_CONTINUESESSION;
    /* A command that takes a secret, or one that gives one: Unseal has no parameter to decrypt. */
    TPMA_SESSION want = type == TPM2_SE_POLICY ? TPMA_SESSION_ENCRYPT | TPMA_SESSION_CONTINUESESSION : both;
    TSS2_RC rc = Esys_StartAuthSession(tpm2_esys(tpm), parent->key, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                       ESYS_TR_NONE, NULL, type, &aes, TPM2_ALG_SHA256, session);

    if (rc) {
        *session = ESYS_TR_NONE;
        return tpm2_fail(rc, "begin a session", why);
    }
    rc = Esys_TRSess_SetAttributes(tpm2_esys(tpm), *session, want, 0xff);
    if (!rc)
        return VT_OK;
    (void)Esys_FlushContext(tpm2_esys(tpm), *session);
    *session = ESYS_TR_NONE;
    return tpm2_fail(rc, "begin a session", why);
}

/* ---- What is kept ---- */

int tpm2_pack(const struct tpm2_parts *parts, uint8_t *out, uint32_t cap, uint32_t *len, struct vt_why *why)
{
    size_t at = 0;

    if (Tss2_MU_UINT32_Marshal(parts->handle, out, cap, &at) || Tss2_MU_TPM2B_NAME_Marshal(&parts->name, out, cap, &at) ||
        Tss2_MU_TPM2B_PUBLIC_Marshal(&parts->public, out, cap, &at) ||
        Tss2_MU_TPM2B_PRIVATE_Marshal(&parts->private, out, cap, &at))
        return vt_fail(why, VT_ETOOBIG, "what the host TPM made is larger than %u bytes", cap);
    *len = (uint32_t)at;
    return VT_OK;
}

int tpm2_unpack(const uint8_t *in, uint32_t len, uint32_t cap, struct tpm2_parts *parts, struct vt_why *why)
{
    size_t at = 0;

    memset(parts, 0, sizeof *parts);
    if (len > cap || Tss2_MU_UINT32_Unmarshal(in, len, &at, &parts->handle) ||
        Tss2_MU_TPM2B_NAME_Unmarshal(in, len, &at, &parts->name) ||
        Tss2_MU_TPM2B_PUBLIC_Unmarshal(in, len, &at, &parts->public) ||
        Tss2_MU_TPM2B_PRIVATE_Unmarshal(in, len, &at, &parts->private) || at != len)
        return vt_fail(why, VT_EDAMAGED, "the TPM's object in the slot is malformed");
    return VT_OK;
}

int tpm2_create(struct hwtpm *tpm, const struct tpm2_parent *parent, const TPM2B_SENSITIVE_CREATE *sensitive,
                const TPM2B_PUBLIC *template, struct tpm2_parts *parts, struct vt_why *why)
{
    static const TPM2B_DATA no_data;
    static const TPML_PCR_SELECTION no_pcrs;
    TPM2B_PRIVATE *private = NULL;
    TPM2B_PUBLIC *public = NULL;
    ESYS_TR session;
    TSS2_RC rc;
    int err = tpm2_session(tpm, parent, TPM2_SE_HMAC, &session, why);

    if (err)
        return err;
    rc = Esys_Create(tpm2_esys(tpm), parent->key, session, ESYS_TR_NONE, ESYS_TR_NONE, sensitive, template, &no_data,
                     &no_pcrs, &private, &public, NULL, NULL, NULL);
    (void)Esys_FlushContext(tpm2_esys(tpm), session);
    if (rc)
        return tpm2_fail(rc, "make an object", why);
    *parts = (struct tpm2_parts){.handle = parent->handle, .name = *parent->name, .public = *public, .private = *private};
    Esys_Free(public);
    Esys_Free(private);
    return VT_OK;
}

/* The key that a session is salted with must be the one that it was: else whoever sits on the bus could be its owner. */
int tpm2_parent_of(struct hwtpm *tpm, const struct tpm2_parts *parts, struct tpm2_parent *parent, struct vt_why *why)
{
    int err = tpm2_parent_again(tpm, parts->handle, parent, why);

    if (err || (parent->name->size == parts->name.size &&
                memcmp(parent->name->name, parts->name.name, parts->name.size) == 0))
        return err;
    tpm2_parent_done(tpm, parent);
    return vt_fail(why, VT_EKEY, "the host TPM is not the one that sealed the slot, or it was cleared since: " TPM2_WAY_OUT);
}

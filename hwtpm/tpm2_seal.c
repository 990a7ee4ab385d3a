/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 2.0: sealed objects and their policies. */
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

/* u32 parent handle, its name, the object's public and private part (TPM2B each). */
struct parts {
    uint32_t handle;
    TPM2B_NAME name;
    TPM2B_PUBLIC public;
    TPM2B_PRIVATE private;
};

static int pack(const struct parts *parts, struct hwtpm_sealed *out, struct vt_why *why)
{
    size_t at = 0;

    if (Tss2_MU_UINT32_Marshal(parts->handle, out->bytes, sizeof out->bytes, &at) ||
        Tss2_MU_TPM2B_NAME_Marshal(&parts->name, out->bytes, sizeof out->bytes, &at) ||
        Tss2_MU_TPM2B_PUBLIC_Marshal(&parts->public, out->bytes, sizeof out->bytes, &at) ||
        Tss2_MU_TPM2B_PRIVATE_Marshal(&parts->private, out->bytes, sizeof out->bytes, &at))
        return vt_fail(why, VT_ETOOBIG, "what the host TPM sealed is larger than %d bytes", HWTPM_SEALED);
    out->len = (uint32_t)at;
    return VT_OK;
}

static int unpack(const struct hwtpm_sealed *sealed, struct parts *parts, struct vt_why *why)
{
    size_t at = 0, len = sealed->len;

    memset(parts, 0, sizeof *parts);
    if (len > sizeof sealed->bytes || Tss2_MU_UINT32_Unmarshal(sealed->bytes, len, &at, &parts->handle) ||
        Tss2_MU_TPM2B_NAME_Unmarshal(sealed->bytes, len, &at, &parts->name) ||
        Tss2_MU_TPM2B_PUBLIC_Unmarshal(sealed->bytes, len, &at, &parts->public) ||
        Tss2_MU_TPM2B_PRIVATE_Unmarshal(sealed->bytes, len, &at, &parts->private) || at != len)
        return vt_fail(why, VT_EDAMAGED, "the sealed object in the slot is malformed");
    return VT_OK;
}

/* ---- Policies ---- */

static void signer_public(const struct cr_rsa_pub *signer, TPM2B_PUBLIC *out)
{
    *out = (TPM2B_PUBLIC){.publicArea = {
        .type = TPM2_ALG_RSA,
        .nameAlg = TPM2_ALG_SHA256,
        .objectAttributes = TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_USERWITHAUTH,
        .parameters.rsaDetail = {
            .symmetric = {.algorithm = TPM2_ALG_NULL},
            .scheme = {.scheme = TPM2_ALG_NULL},
            .keyBits = (UINT16)(8 * signer->bytes),
            .exponent = signer->e == 65537 ? 0 : signer->e,
        },
    }};
    out->publicArea.unique.rsa.size = signer->bytes;
    memcpy(out->publicArea.unique.rsa.buffer, signer->n, signer->bytes);
}

/* Part 3, 23.16: the old digest is dropped; H(H(0 || TPM_CC_PolicyAuthorize || name) || policyRef), policyRef empty. */
static int signed_policy(const struct cr_rsa_pub *signer, uint8_t policy[CR_SHA256_LEN])
{
    static const uint8_t start[CR_SHA256_LEN], command[] = {0x00, 0x00, 0x01, 0x6a};
    uint8_t area[sizeof(TPMT_PUBLIC)], name[2 + CR_SHA256_LEN] = {0x00, 0x0b};
    struct cr_slice slices[] = {CR_SLICE(start, sizeof start), CR_SLICE(command, sizeof command),
                                CR_SLICE(name, sizeof name)};
    TPM2B_PUBLIC public;
    size_t len = 0;

    signer_public(signer, &public);
    if (Tss2_MU_TPMT_PUBLIC_Marshal(&public.publicArea, area, sizeof area, &len))
        return VT_EFAIL;
    cr_sha256(name + 2, area, len);
    cr_sha256v(policy, slices, VT_COUNT(slices));
    cr_sha256(policy, policy, CR_SHA256_LEN);
    return VT_OK;
}

/* Part 3, 23.16: a ticket for the signature, then the session's digest becomes that of the signer. */
static TSS2_RC authorize(ESYS_CONTEXT *esys, ESYS_TR session, const struct hwtpm_policy *policy)
{
    static const TPM2B_NONCE no_ref;
    TPM2B_DIGEST approved = {.size = CR_SHA256_LEN}, hash = {.size = CR_SHA256_LEN};
    TPMT_SIGNATURE signature = {.sigAlg = TPM2_ALG_RSASSA};
    TPMT_TK_VERIFIED *ticket = NULL;
    TPM2B_NAME *name = NULL;
    TPM2B_PUBLIC public;
    ESYS_TR key = ESYS_TR_NONE;
    TSS2_RC rc;

    signer_public(&policy->signer, &public);
    memcpy(approved.buffer, policy->approval.policy, CR_SHA256_LEN);
    cr_sha256(hash.buffer, approved.buffer, CR_SHA256_LEN);
    signature.signature.rsassa.hash = TPM2_ALG_SHA256;
    signature.signature.rsassa.sig.size = policy->signer.bytes;
    memcpy(signature.signature.rsassa.sig.buffer, policy->approval.signature, policy->signer.bytes);
    rc = Esys_LoadExternal(esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, NULL, &public, ESYS_TR_RH_OWNER, &key);
    if (!rc)
        rc = Esys_VerifySignature(esys, key, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &hash, &signature, &ticket);
    if (!rc)
        rc = Esys_TR_GetName(esys, key, &name);
    if (!rc)
        rc = Esys_PolicyAuthorize(esys, session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &approved, &no_ref, name,
                                  ticket);
    if (key != ESYS_TR_NONE)
        (void)Esys_FlushContext(esys, key);
    Esys_Free(ticket);
    Esys_Free(name);
    return rc;
}

static TSS2_RC satisfy(ESYS_CONTEXT *esys, ESYS_TR session, const struct hwtpm_policy *policy)
{
    static const TPM2B_DIGEST any;
    TPML_PCR_SELECTION select;
    TSS2_RC rc;

    tpm2_select(&select, policy->pcrs.mask);
    if (policy->pcrs.mask)
        rc = Esys_PolicyPCR(esys, session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &any, &select);
    else
        rc = Esys_PolicyCommandCode(esys, session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CC_Unseal);
    return !rc && policy->is_signed ? authorize(esys, session, policy) : rc;
}

/* ---- Seal ---- */

static int sealed_template(const struct hwtpm_policy *policy, TPM2B_PUBLIC *out, struct vt_why *why)
{
    TPMT_PUBLIC *area = &out->publicArea;

    /* No authorisation value, so nothing to guess: noDA, and a lockout of the TPM does not lock the store. */
    *out = (TPM2B_PUBLIC){.publicArea = {
        .type = TPM2_ALG_KEYEDHASH,
        .nameAlg = TPM2_ALG_SHA256,
        .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_NODA,
        .parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL,
    }};
    area->authPolicy.size = CR_SHA256_LEN;
    if (!policy->is_signed)
        hwtpm_pcr_policy(&policy->pcrs, area->authPolicy.buffer);
    else if (signed_policy(&policy->signer, area->authPolicy.buffer))
        return vt_fail(why, VT_EFAIL, "the policy of the signing key cannot be made");
    return VT_OK;
}

static int create(struct hwtpm *tpm, const struct tpm2_parent *parent, const TPM2B_PUBLIC *template,
                  const uint8_t *secret, struct parts *parts, struct vt_why *why)
{
    static const TPM2B_DATA no_data;
    static const TPML_PCR_SELECTION no_pcrs;
    TPM2B_SENSITIVE_CREATE sensitive = {.sensitive.data.size = HWTPM_SECRET};
    TPM2B_PRIVATE *private = NULL;
    TPM2B_PUBLIC *public = NULL;
    ESYS_TR session;
    TSS2_RC rc;
    int err = tpm2_session(tpm, parent, TPM2_SE_HMAC, &session, why);

    if (err)
        return err;
    memcpy(sensitive.sensitive.data.buffer, secret, HWTPM_SECRET);
    rc = Esys_Create(tpm2_esys(tpm), parent->key, session, ESYS_TR_NONE, ESYS_TR_NONE, &sensitive, template, &no_data,
                     &no_pcrs, &private, &public, NULL, NULL, NULL);
    vt_wipe(&sensitive, sizeof sensitive);
    (void)Esys_FlushContext(tpm2_esys(tpm), session);
    if (rc)
        return tpm2_fail(rc, "seal", why);
    parts->public = *public;
    parts->private = *private;
    Esys_Free(public);
    Esys_Free(private);
    return VT_OK;
}

int tpm2_seal(struct hwtpm *tpm, const struct hwtpm_policy *policy, const uint8_t *secret, struct hwtpm_sealed *out,
              struct vt_why *why)
{
    struct tpm2_parent parent;
    TPM2B_PUBLIC template;
    struct parts parts = {0};
    int err = sealed_template(policy, &template, why);

    if (!err)
        err = tpm2_parent_choose(tpm, &parent, why);
    if (err)
        return err;
    err = create(tpm, &parent, &template, secret, &parts, why);
    if (!err) {
        parts.handle = parent.handle;
        parts.name = *parent.name;
        err = pack(&parts, out, why);
    }
    tpm2_parent_done(tpm, &parent);
    return err;
}

/* ---- Unseal ---- */

/* The key that a session is salted with must be the one that sealed: else whoever sits on the bus could be its owner. */
static int check_parent(const struct tpm2_parent *parent, const struct parts *parts, struct vt_why *why)
{
    if (parent->name->size == parts->name.size && memcmp(parent->name->name, parts->name.name, parts->name.size) == 0)
        return VT_OK;
    return vt_fail(why, VT_EKEY, "the host TPM is not the one that sealed the slot, or it was cleared since: " TPM2_WAY_OUT);
}

static int unseal_object(struct hwtpm *tpm, const struct tpm2_parent *parent, ESYS_TR object,
                         const struct hwtpm_policy *policy, uint8_t *secret, struct vt_why *why)
{
    TPM2B_SENSITIVE_DATA *data = NULL;
    ESYS_TR session;
    TSS2_RC rc;
    int err = tpm2_session(tpm, parent, TPM2_SE_POLICY, &session, why);

    if (err)
        return err;
    rc = satisfy(tpm2_esys(tpm), session, policy);
    if (!rc)
        rc = Esys_Unseal(tpm2_esys(tpm), object, session, ESYS_TR_NONE, ESYS_TR_NONE, &data);
    (void)Esys_FlushContext(tpm2_esys(tpm), session);
    if (rc)
        return tpm2_fail(rc, "unseal", why);
    if (data->size == HWTPM_SECRET)
        memcpy(secret, data->buffer, HWTPM_SECRET);
    else
        err = vt_fail(why, VT_EDAMAGED, "what the host TPM unsealed has %u bytes, not %d", data->size, HWTPM_SECRET);
    vt_wipe(data, sizeof *data);
    Esys_Free(data);
    return err;
}

static int load_and_unseal(struct hwtpm *tpm, const struct tpm2_parent *parent, const struct parts *parts,
                           const struct hwtpm_policy *policy, uint8_t *secret, struct vt_why *why)
{
    ESYS_TR object;
    TSS2_RC rc = Esys_Load(tpm2_esys(tpm), parent->key, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &parts->private,
                           &parts->public, &object);
    int err;

    if (rc)
        return tpm2_fail(rc, "load the sealed object", why);
    err = unseal_object(tpm, parent, object, policy, secret, why);
    (void)Esys_FlushContext(tpm2_esys(tpm), object);
    return err;
}

int tpm2_unseal(struct hwtpm *tpm, const struct hwtpm_policy *policy, const struct hwtpm_sealed *sealed,
                uint8_t *secret, struct vt_why *why)
{
    struct tpm2_parent parent;
    struct parts parts;
    int err = unpack(sealed, &parts, why);

    if (!err)
        err = tpm2_parent_again(tpm, parts.handle, &parent, why);
    if (err)
        return err;
    err = check_parent(&parent, &parts, why);
    if (!err)
        err = load_and_unseal(tpm, &parent, &parts, policy, secret, why);
    tpm2_parent_done(tpm, &parent);
    return err;
}

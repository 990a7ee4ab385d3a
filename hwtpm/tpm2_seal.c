/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 2.0: sealed objects and their policies. */
#include "hwtpm/tpm2.h"

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

int tpm2_seal(struct hwtpm *tpm, const struct hwtpm_policy *policy, const uint8_t *secret, struct hwtpm_sealed *out,
              struct vt_why *why)
{
    TPM2B_SENSITIVE_CREATE sensitive = {.sensitive.data.size = HWTPM_SECRET};
    struct tpm2_parent parent;
    TPM2B_PUBLIC template;
    struct tpm2_parts parts;
    int err = sealed_template(policy, &template, why);

    if (!err)
        err = tpm2_parent_choose(tpm, &parent, why);
    if (err)
        return err;
    memcpy(sensitive.sensitive.data.buffer, secret, HWTPM_SECRET);
    err = tpm2_create(tpm, &parent, &sensitive, &template, &parts, why);
    vt_wipe(&sensitive, sizeof sensitive);
    tpm2_parent_done(tpm, &parent);
    return err ? err : tpm2_pack(&parts, out->bytes, sizeof out->bytes, &out->len, why);
}

/* ---- Unseal ---- */

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

static int load_and_unseal(struct hwtpm *tpm, const struct tpm2_parent *parent, const struct tpm2_parts *parts,
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
    struct tpm2_parts parts;
    int err = tpm2_unpack(sealed->bytes, sealed->len, sizeof sealed->bytes, &parts, why);

    if (!err)
        err = tpm2_parent_of(tpm, &parts, &parent, why);
    if (err)
        return err;
    err = load_and_unseal(tpm, &parent, &parts, policy, secret, why);
    tpm2_parent_done(tpm, &parent);
    return err;
}

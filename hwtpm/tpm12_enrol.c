/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TPM 1.2: the endorsement key, and what only it and an identity key beside it open (Part 3, 14.5 and 15.2).
 * That the key is an identity key TPM_ActivateIdentity itself checks; so what TPM_MakeIdentity signed is not
 * needed.
 */
#include "hwtpm/tpm12.h"

static const char owner_wrong[] = "the owner's secret is wrong";

#define EK_CERT     0x1000F000u /* PC Client Implementation 1.21, 4.5.1: TPM_NV_INDEX_EKCert, the D bit set */
#define STORED_CERT 0x1001      /* 7.4.5: TCG_PCCLIENT_STORED_CERT {tag, certType 0, certSize} around ... */
#define FULL_CERT   0x1002      /* ... TCG_FULL_CERT {tag, certificate} */
#define NV_CHUNK    256

static int run_owner(struct hwtpm *tpm, struct tpm12_call *call, const struct vt_auth *owner,
                     const char *doing, struct vt_why *why)
{
    struct tpm12_session session;
    int err = tpm12_oiap(tpm, owner, &session, why);

    if (err)
        return err;
    call->sessions[call->session_count++] = &session;
    err = tpm12_run_for(tpm, call, doing, owner_wrong, why);
    vt_wipe(&session, sizeof session);
    return err;
}

static int need_owner(const struct vt_auth *owner, struct vt_why *why)
{
    return owner ? VT_OK
                 : vt_fail(
                       why, VT_EAUTH,
                       "a TPM 1.2 shows and uses its endorsement key for its owner only: the owner's secret "
                       "is needed");
}

/* ---- What a CA is told ---- */

static int take_ek(struct rd *out, struct cr_rsa_pub *ek, struct vt_why *why)
{
    static const uint8_t usual[] = {1, 0, 1};
    struct owner_read_internal_pub_out answer;
    const struct tpm_rsa_key_parms *rsa = &answer.public_portion.algorithm_parms.parms.rsa;

    rd_owner_read_internal_pub_out(out, &answer);
    if (rd_result(out) || answer.public_portion.algorithm_parms.form != TPM_PARMS_RSA)
        return vt_fail(why, VT_EPROTO, "the host TPM's endorsement key has the wrong form");
    if (answer.public_portion.pub_key.len != CR_RSA_MAX ||
        (rsa->exponent.len &&
         (rsa->exponent.len != sizeof usual || memcmp(rsa->exponent.data, usual, sizeof usual) != 0)))
        return vt_fail(why, VT_ENOTSUP,
                       "the host TPM's endorsement key is not RSA of 2048 bits with e = 65537");
    *ek = (struct cr_rsa_pub){.e = 65537, .bytes = CR_RSA_MAX};
    memcpy(ek->n, answer.public_portion.pub_key.data, CR_RSA_MAX);
    return VT_OK;
}

static int read_ek(struct hwtpm *tpm, const struct vt_auth *owner, struct cr_rsa_pub *ek, struct vt_why *why)
{
    const struct owner_read_internal_pub_in in = {.key_handle = TPM_KH_EK};
    struct tpm12_call call;
    int err;

    tpm12_begin(&call, TPM_ORD_OwnerReadInternalPub);
    wr_owner_read_internal_pub_in(&call.in, &in);
    err = run_owner(tpm, &call, owner, "show its endorsement key", why);
    if (!err)
        err = take_ek(&call.out, ek, why);
    tpm12_end(&call);
    return err;
}

/* TPM_PUBKEY of what TPM_MakeIdentity gave: what the TPM compares the digest of. */
static int take_public(const struct hwtpm_key *key, struct hwtpm_enrolment *out, struct vt_why *why)
{
    struct rd r = rd_from(key->bytes, VT_MIN(key->len, sizeof key->bytes));
    struct wr w = wr_to(out->public, sizeof out->public);
    struct tpm_pubkey pub;
    struct tpm_key whole;

    rd_key(&r, &whole);
    if (rd_result(&r))
        return vt_fail(why, VT_EDAMAGED, "the attestation key is malformed");
    pub = (struct tpm_pubkey){.algorithm_parms = whole.algorithm_parms, .pub_key = whole.pub_key};
    wr_pubkey(&w, &pub);
    out->public_len = (uint32_t)w.len;
    return w.bad ? vt_fail(why, VT_ETOOBIG, "the attestation key is too large") : VT_OK;
}

static bool read_nv(struct hwtpm *tpm, uint32_t offset, uint8_t *bytes, uint32_t len)
{
    const struct nv_read_value_in in = {.nv_index = EK_CERT, .offset = offset, .data_size = len};
    struct nv_read_value_out out;
    struct tpm12_call call;
    bool good;

    tpm12_begin(&call, TPM_ORD_NV_ReadValue);
    wr_nv_read_value_in(&call.in, &in);
    good = !tpm12_run(tpm, &call, "read the certificate", NULL);
    if (good) {
        rd_nv_read_value_out(&call.out, &out);
        good = rd_done(&call.out) && out.data.len == len;
    }
    if (good)
        memcpy(bytes, out.data.data, len);
    tpm12_end(&call);
    return good;
}

/* Not every TPM has one: a CA that wants it says so. */
static void read_cert(struct hwtpm *tpm, struct hwtpm_enrolment *out)
{
    uint8_t head[7] = {0};
    struct rd r = rd_from(head, sizeof head);
    uint32_t len;

    if (!read_nv(tpm, 0, head, sizeof head) || rd_get16(&r) != STORED_CERT || rd_get8(&r) != 0)
        return;
    len = rd_get16(&r);
    if (rd_get16(&r) != FULL_CERT || len <= 2 || len - 2 > sizeof out->ek_cert)
        return;
    for (uint32_t at = 0; at < len - 2; at += NV_CHUNK)
        if (!read_nv(tpm, (uint32_t)sizeof head + at, out->ek_cert + at,
                     VT_MIN((uint32_t)NV_CHUNK, len - 2 - at)))
            return;
    out->ek_cert_len = len - 2;
}

int tpm12_enrol(struct hwtpm *tpm, const struct hwtpm_key *key, const struct vt_auth *owner,
                struct hwtpm_enrolment *out, struct vt_why *why)
{
    uint32_t handle;
    int err = need_owner(owner, why);

    if (!err)
        err = take_public(key, out, why);
    if (!err)
        err = tpm12_key_load(tpm, key, &handle, why);
    if (!err)
        tpm12_key_unload(tpm, handle); /* it is of this TPM: that was all */
    if (!err)
        err = read_ek(tpm, owner, &out->ek, why);
    if (!err)
        read_cert(tpm, out);
    return err;
}

/* ---- The answer ---- */

static int take_opened(struct rd *out, struct hwtpm_opened *opened, struct vt_why *why)
{
    struct activate_identity_out answer;
    const struct tpm_blob *data = &answer.symmetric_key.data;

    rd_activate_identity_out(out, &answer);
    if (rd_result(out))
        return vt_fail(why, VT_EPROTO, "what the host TPM opened has the wrong form");
    if (!data->len || data->len > sizeof opened->bytes)
        return vt_fail(why, VT_EUSAGE, "the challenge holds a key of %u bytes: 1 to %zu are expected",
                       (unsigned)data->len, sizeof opened->bytes);
    opened->len = data->len;
    memcpy(opened->bytes, data->data, data->len);
    return VT_OK;
}

/* What the TPM says when the blob is not for it, or not for this key. */
static bool is_refusal(uint32_t rc)
{
    return rc == TPM_BAD_PARAMETER || rc == TPM_DECRYPT_ERROR || rc == TPM_BAD_DATASIZE ||
           rc == TPM_BAD_TYPE || rc == TPM_SIZE;
}

static int activate(struct hwtpm *tpm, uint32_t handle, const struct vt_auth *owner,
                    const struct hwtpm_challenge *challenge, struct hwtpm_opened *out, struct vt_why *why)
{
    const struct activate_identity_in in = {
        .blob = {.len = challenge->secret_len, .data = challenge->secret}};
    struct tpm12_call call;
    struct vt_why own = {0};
    int err;

    tpm12_begin(&call, TPM_ORD_ActivateIdentity);
    call.handles[call.handle_count++] = handle;
    wr_activate_identity_in(&call.in, &in);
    err = run_owner(tpm, &call, owner, "open the challenge", &own);
    if (!err)
        err = take_opened(&call.out, out, &own);
    if (is_refusal(call.rc))
        err =
            vt_fail(why, VT_EKEY,
                    "the host TPM does not open the challenge: it is for another endorsement key or another "
                    "attestation key, or it was altered");
    else if (err)
        err = vt_fail(why, err, "%s", own.text);
    tpm12_end(&call);
    return err;
}

int tpm12_activate(struct hwtpm *tpm, const struct hwtpm_key *key, const struct vt_auth *owner,
                   const struct hwtpm_challenge *challenge, struct hwtpm_opened *out, struct vt_why *why)
{
    uint32_t handle;
    int err = need_owner(owner, why);

    if (!err && challenge->secret_len > sizeof challenge->secret)
        err = vt_fail(why, VT_EUSAGE, "the challenge is too large");
    if (!err)
        err = tpm12_key_load(tpm, key, &handle, why);
    if (err)
        return err;
    err = activate(tpm, handle, owner, challenge, out, why);
    tpm12_key_unload(tpm, handle);
    return err;
}

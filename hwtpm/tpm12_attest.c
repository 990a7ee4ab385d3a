/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2: an identity key, and quotes by it (Part 3, 15.1 and 16.3). */
#include "hwtpm/tpm12.h"

static const char owner_wrong[] = "the owner's secret is wrong";

/* An identity key signs only what the TPM itself says. Whoever is on this host may use it: it has no secret. */
static const struct tpm_key key_template = {
    .ver = {.major = 1, .minor = 1},
    .key_usage = TPM_KEY_IDENTITY,
    .auth_data_usage = TPM_AUTH_NEVER,
    .algorithm_parms = {
        .algorithm_id = TPM_ALG_RSA,
        .enc_scheme = TPM_ES_NONE,
        .sig_scheme = TPM_SS_RSASSAPKCS1v15_SHA1,
        .form = TPM_PARMS_RSA,
        .parms.rsa = {.key_length = 2048, .num_primes = 2},
    },
};

static int take_key(struct rd *out, struct hwtpm_key *key, struct cr_rsa_pub *pub, struct vt_why *why)
{
    struct make_identity_out made;
    struct wr w = wr_to(key->bytes, sizeof key->bytes);

    rd_make_identity_out(out, &made);
    if (rd_result(out) || made.id_key.pub_key.len != CR_RSA_MAX)
        return vt_fail(why, VT_EPROTO, "the host TPM's identity key has the wrong form");
    *pub = (struct cr_rsa_pub){.e = 65537, .bytes = CR_RSA_MAX};
    memcpy(pub->n, made.id_key.pub_key.data, CR_RSA_MAX);
    wr_key(&w, &made.id_key);
    key->len = (uint32_t)w.len;
    return w.bad ? vt_fail(why, VT_ETOOBIG, "the host TPM's identity key is too large") : VT_OK;
}

static int make_with(struct hwtpm *tpm, struct tpm12_session *srk, struct tpm12_session *owner, struct hwtpm_key *key,
                     struct cr_rsa_pub *pub, struct vt_why *why)
{
    static const struct vt_auth no_auth;
    struct make_identity_in in = {.id_key_params = key_template};
    struct tpm12_call call;
    int err;

    tpm12_encrypt_auth(owner, &no_auth, &in.identity_auth);
    tpm12_begin(&call, TPM_ORD_MakeIdentity);
    call.sessions[call.session_count++] = srk;
    call.sessions[call.session_count++] = owner;
    wr_make_identity_in(&call.in, &in);
    err = tpm12_run_for(tpm, &call, "make an identity key", owner_wrong, why);
    if (!err)
        err = take_key(&call.out, key, pub, why);
    tpm12_end(&call);
    return err;
}

int tpm12_key_make(struct hwtpm *tpm, const struct vt_auth *owner, struct hwtpm_key *key, struct cr_rsa_pub *pub,
                   struct vt_why *why)
{
    struct tpm12_session srk, own;
    int err;

    if (!owner)
        return vt_fail(why, VT_EAUTH, "a TPM 1.2 makes an identity key for its owner only: the owner's secret is needed");
    err = tpm12_oiap(tpm, &tpm12_of(tpm)->srk, &srk, why);
    if (err)
        return err;
    err = tpm12_osap(tpm, TPM_ET_OWNER, TPM_KH_OWNER, owner, &own, why);
    if (err)
        tpm12_flush(tpm, &srk);
    else
        err = make_with(tpm, &srk, &own, key, pub, why);
    vt_wipe(&srk, sizeof srk);
    vt_wipe(&own, sizeof own);
    return err;
}

/* ---- Quote ---- */

int tpm12_key_load(struct hwtpm *tpm, const struct hwtpm_key *key, uint32_t *handle, struct vt_why *why)
{
    struct tpm12_session srk;
    struct tpm12_call call;
    struct vt_why own = {0};
    int err = key->len > sizeof key->bytes ? VT_EDAMAGED : tpm12_oiap(tpm, &tpm12_of(tpm)->srk, &srk, why);

    if (err)
        return vt_fail(why, err, "the attestation key is malformed");
    tpm12_begin(&call, TPM_ORD_LoadKey2);
    call.has_out_handle = true;
    call.handles[call.handle_count++] = TPM_KH_SRK;
    call.sessions[call.session_count++] = &srk;
    wr_copy(&call.in, key->bytes, key->len);
    err = tpm12_run(tpm, &call, "load the attestation key", &own);
    *handle = err ? 0 : call.out_handle;
    tpm12_end(&call);
    vt_wipe(&srk, sizeof srk);
    if (err == VT_EKEY)
        return vt_fail(why, err, HWTPM_KEY_STRANGE);
    return err ? vt_fail(why, err, "%s", own.text) : VT_OK;
}

void tpm12_key_unload(struct hwtpm *tpm, uint32_t handle)
{
    struct flush_specific_in in = {.resource_type = TPM_RT_KEY};
    struct tpm12_call call;

    tpm12_begin(&call, TPM_ORD_FlushSpecific);
    call.handles[call.handle_count++] = handle;
    wr_flush_specific_in(&call.in, &in);
    if (!tpm12_run(tpm, &call, "unload a key", NULL))
        tpm12_end(&call);
}

static int take_values(const struct tpm_pcr_composite *composite, uint32_t mask, struct hwtpm_quote *out)
{
    const uint8_t *at = composite->pcr_value.data;

    out->pcrs = (struct hwtpm_pcrs){.mask = mask, .len = CR_SHA1_LEN};
    for (uint32_t n = 0; n < HWTPM_PCRS; n++)
        if (tpm_pcr_selected(&composite->select, n) != (mask >> n & 1))
            return VT_EPROTO;
    if (composite->pcr_value.len != (uint32_t)__builtin_popcount(mask) * CR_SHA1_LEN)
        return VT_EPROTO;
    for (unsigned n = 0; n < HWTPM_PCRS; n++)
        if (mask >> n & 1) {
            memcpy(out->pcrs.value[n], at, CR_SHA1_LEN);
            at += CR_SHA1_LEN;
        }
    return VT_OK;
}

/* Part 2, 11.3: TPM_QUOTE_INFO, which the TPM signs without sending it. */
static void put_message(const struct tpm_pcr_composite *composite, const struct quote_in *in, struct hwtpm_quote *out)
{
    struct tpm_quote_info info = {.version = {.major = 1, .minor = 1}, .fixed = {"QUOT"},
                                  .external_data = in->external_data};
    uint8_t bytes[HWTPM_PCRS * CR_SHA1_LEN + 16];
    struct wr w = wr_to(bytes, sizeof bytes), message = wr_to(out->message, sizeof out->message);

    wr_pcr_composite(&w, composite);
    cr_sha1(info.digest_value.bytes, bytes, w.len);
    wr_quote_info(&message, &info);
    out->message_len = (uint32_t)message.len;
}

static int quote_with(struct hwtpm *tpm, uint32_t handle, const struct quote_in *in, uint32_t mask,
                      struct hwtpm_quote *out, struct vt_why *why)
{
    struct quote_out quoted;
    struct tpm12_call call;
    int err;

    tpm12_begin(&call, TPM_ORD_Quote);
    call.handles[call.handle_count++] = handle;
    wr_quote_in(&call.in, in);
    err = tpm12_run(tpm, &call, "quote", why);
    if (!err) {
        rd_quote_out(&call.out, &quoted);
        if (rd_result(&call.out) || quoted.sig.len > sizeof out->signature || take_values(&quoted.pcr_data, mask, out)) {
            err = vt_fail(why, VT_EPROTO, "the host TPM's quote has the wrong form");
        } else {
            put_message(&quoted.pcr_data, in, out);
            out->signature_len = quoted.sig.len;
            memcpy(out->signature, quoted.sig.data, quoted.sig.len);
        }
    }
    tpm12_end(&call);
    return err;
}

int tpm12_quote(struct hwtpm *tpm, const struct hwtpm_key *key, uint32_t mask, const uint8_t *nonce,
                struct hwtpm_quote *out, struct vt_why *why)
{
    struct quote_in in = {.target_pcr.size_of_select = 3};
    uint32_t handle;
    int err = tpm12_key_load(tpm, key, &handle, why);

    if (err)
        return err;
    memcpy(in.external_data.bytes, nonce, sizeof in.external_data.bytes);
    for (unsigned i = 0; i < 3; i++)
        in.target_pcr.pcr_select[i] = (uint8_t)(mask >> (8 * i));
    err = quote_with(tpm, handle, &in, mask, out, why);
    tpm12_key_unload(tpm, handle);
    return err;
}

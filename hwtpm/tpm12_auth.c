/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2: commands, and their authorisation (Part 1, 13; Part 3, 18). */
#include "hwtpm/tpm12.h"

/* ---- Return codes ---- */

static const struct {
    uint32_t rc;
    int err;
    const char *text;
} causes[] = {
    {TPM_AUTHFAIL, VT_EAUTH, "the SRK's secret is not what the server has: say srk-auth-file=FILE (well-known: 20 zero "
                             "bytes, as tpm_takeownership -z sets it)"},
    {TPM_AUTH2FAIL, VT_EKEY, "the sealed data's secret is not ours: the slot was sealed by another TPM or program"},
    {TPM_NOSRK, VT_ENOTFOUND, "it has no owner, so no SRK: tpm_takeownership -z"},
    {TPM_INVALID_KEYHANDLE, VT_ENOTFOUND, "it has no owner, so no SRK: tpm_takeownership -z"},
    {TPM_KEYNOTFOUND, VT_ENOTFOUND, "it has no owner, so no SRK: tpm_takeownership -z"},
    {TPM_DEFEND_LOCK_RUNNING, VT_EAGAIN, "it is in lockout after wrong guesses: wait, or tpm_resetdalock"},
    {TPM_DEACTIVATED, VT_ENOTSUP, "it is deactivated: activate it in the firmware, then tpm_takeownership -z"},
    {TPM_DISABLED, VT_ENOTSUP, "it is disabled: enable it in the firmware, then tpm_takeownership -z"},
    {TPM_INVALID_POSTINIT, VT_EAGAIN, "it was not started (TPM_Startup): the firmware does that; restart the host"},
    {TPM_FAILEDSELFTEST, VT_EIO, "its self-test failed: restart the host; if that does not help it is broken"},
    {TPM_BADINDEX, VT_ENOTFOUND, "there is nothing at this index: the TPM was cleared, is another one, or somebody removed it"},
    {TPM_NOSPACE, VT_ENOSPC, "its memory is full: remove what nobody needs (tpm_nvrelease)"},
    {TPM_BAD_COUNTER, VT_EAGAIN, "another program's counter was used since this boot, or ours is gone: a TPM 1.2 counts "
                                 "with one until the next boot"},
    {TPM_RETRY, VT_EAGAIN, "it is busy: try again"},
    {TPM_RESOURCES, VT_EAGAIN, "other programs use all its sessions or keys: stop them"},
    {TPM_WRONGPCRVAL, VT_EKEY, "its PCRs are not those that were sealed to"},
    {TPM_BAD_LOCALITY, VT_EKEY, "it was sealed at another locality"},
    {TPM_NOTSEALED_BLOB, VT_EKEY, "the host TPM is not the one that sealed the slot, or it was cleared since: open the "
                                  "store with the recovery key, then vtpmctl keyslot reseal"},
    {TPM_DECRYPT_ERROR, VT_EKEY, "the host TPM is not the one that sealed the slot, or it was cleared since: open the "
                                 "store with the recovery key, then vtpmctl keyslot reseal"},
};

static int fail(uint32_t rc, const char *doing, struct vt_why *why)
{
    for (size_t i = 0; i < VT_COUNT(causes); i++)
        if (causes[i].rc == rc)
            return vt_fail(why, causes[i].err, "the host TPM cannot %s: %s", doing, causes[i].text);
    return vt_fail(why, VT_EIO, "the host TPM cannot %s: TPM 1.2 error 0x%x", doing, (unsigned)rc);
}

/* ---- One command ---- */

void tpm12_begin(struct tpm12_call *call, uint32_t ordinal)
{
    memset(call, 0, sizeof *call);
    call->ordinal = ordinal;
    call->in = wr_to(call->params, sizeof call->params);
}

void tpm12_end(struct tpm12_call *call)
{
    vt_wipe(call, sizeof *call);
}

/* Part 1, 13.2: HMAC(key, digest || nonceEven || nonceOdd || continueAuthSession). */
static void session_mac(const struct tpm12_session *session, const uint8_t digest[CR_SHA1_LEN],
                        const struct tpm_nonce *even, const struct tpm_nonce *odd, uint8_t more, struct vt_auth *out)
{
    struct cr_slice slices[] = {CR_SLICE(digest, CR_SHA1_LEN), CR_SLICE(even->bytes, sizeof even->bytes),
                                CR_SLICE(odd->bytes, sizeof odd->bytes), CR_SLICE(&more, 1)};

    cr_hmac_sha1v(out->bytes, session->key.bytes, sizeof session->key.bytes, slices, VT_COUNT(slices));
}

/* SHA-1 of the ordinal and the parameters, or of return code, ordinal and parameters. */
static void parameter_digest(const uint32_t *words, size_t count, const void *params, size_t len,
                             uint8_t digest[CR_SHA1_LEN])
{
    uint8_t head[8];
    struct wr w = wr_to(head, sizeof head);
    struct cr_slice slices[2];

    for (size_t i = 0; i < count; i++)
        wr_put32(&w, words[i]);
    slices[0] = CR_SLICE(head, w.len);
    slices[1] = CR_SLICE(params, len);
    cr_sha1v(digest, slices, VT_COUNT(slices));
}

static int put_auths(const struct tpm12_call *call, struct wr *w, struct tpm_nonce odd[2])
{
    uint8_t digest[CR_SHA1_LEN];

    parameter_digest(&call->ordinal, 1, call->params, call->in.len, digest);
    for (size_t i = 0; i < call->session_count; i++) {
        struct tpm_auth_in auth = {.auth_handle = call->sessions[i]->handle};

        if (cr_os_random(odd[i].bytes, sizeof odd[i].bytes))
            return VT_EIO;
        auth.nonce_odd = odd[i];
        session_mac(call->sessions[i], digest, &call->sessions[i]->even, &odd[i], 0, &auth.auth);
        wr_auth_in(w, &auth);
    }
    return VT_OK;
}

static int build(const struct tpm12_call *call, struct wr *w, struct tpm_nonce odd[2])
{
    struct tpm_request_header header = {.tag = (uint16_t)(TPM_TAG_RQU_COMMAND + call->session_count),
                                        .ordinal = call->ordinal};
    struct wr again;
    int err;

    wr_request_header(w, &header);
    for (size_t i = 0; i < call->handle_count; i++)
        wr_put32(w, call->handles[i]);
    wr_copy(w, call->params, call->in.len);
    err = put_auths(call, w, odd);
    header.param_size = (uint32_t)w->len;
    again = wr_to(w->base, w->cap);
    wr_request_header(&again, &header);
    return err ? err : w->bad || call->in.bad ? VT_ETOOBIG : VT_OK;
}

/* Whoever answers knows the secrets too: else anything on the bus could play the TPM. */
static bool macs_are_right(const struct tpm12_call *call, const struct rd *params, struct rd trailer,
                           const struct tpm_nonce odd[2])
{
    const uint32_t words[] = {TPM_SUCCESS, call->ordinal};
    uint8_t digest[CR_SHA1_LEN];
    bool right = true;

    parameter_digest(words, 2, params->at, params->left, digest);
    for (size_t i = 0; i < call->session_count; i++) {
        struct tpm_auth_out auth;
        struct vt_auth mac;

        rd_auth_out(&trailer, &auth);
        session_mac(call->sessions[i], digest, &auth.nonce_even, &odd[i], auth.continue_auth_session, &mac);
        right &= vt_ct_equal(mac.bytes, auth.auth.bytes, sizeof mac.bytes);
    }
    return right && rd_done(&trailer);
}

static int take(struct tpm12_call *call, size_t len, const struct tpm_nonce odd[2], const char *doing,
                struct vt_why *why)
{
    struct tpm_response_header header;
    struct rd r = rd_from(call->response, len), trailer;
    size_t trailer_len = 41 * call->session_count;

    rd_response_header(&r, &header);
    if (r.bad || (header.tag & 0xfff0) != 0xc0)
        return vt_fail(why, VT_EPROTO, "the host TPM answers what is no TPM 1.2 response: a TPM 2.0? Use tpm2:...");
    call->rc = header.return_code;
    if (header.return_code)
        return fail(header.return_code, doing, why);
    if (call->has_out_handle)
        call->out_handle = rd_get32(&r);
    if (r.bad || header.tag != TPM_TAG_RSP_COMMAND + call->session_count || r.left < trailer_len)
        return vt_fail(why, VT_EPROTO, "the host TPM's answer has the wrong form");
    call->out = rd_from(r.at, r.left - trailer_len);
    trailer = rd_from(r.at + call->out.left, trailer_len);
    if (!macs_are_right(call, &call->out, trailer, odd))
        return vt_fail(why, VT_EAUTH, "the host TPM's answer is not authentic: something between it and the server "
                       "changed it");
    return VT_OK;
}

int tpm12_run(struct hwtpm *tpm, struct tpm12_call *call, const char *doing, struct vt_why *why)
{
    uint8_t command[TPM12_PARAMS + 256];
    struct wr w = wr_to(command, sizeof command);
    struct tpm_nonce odd[2];
    size_t len = sizeof call->response;
    int err = build(call, &w, odd);

    if (err)
        return vt_fail(why, err, "the host TPM cannot %s: %s", doing, vt_err_text(err));
    err = tpm12_exchange(tpm12_of(tpm), command, w.len, call->response, &len, why);
    vt_wipe(command, sizeof command);
    return err ? err : take(call, len, odd, doing, why);
}

int tpm12_run_for(struct hwtpm *tpm, struct tpm12_call *call, const char *doing, const char *whose,
                  struct vt_why *why)
{
    struct vt_why own = {0};
    int err = tpm12_run(tpm, call, doing, &own);

    if (err == VT_EAUTH)
        return vt_fail(why, err, "the host TPM cannot %s: %s", doing, whose);
    return err ? vt_fail(why, err, "%s", own.text) : VT_OK;
}

/* ---- Sessions ---- */

/* A command without authorisation, which nearly all of this file is for the sake of. */
static int run_plain(struct hwtpm *tpm, struct tpm12_call *call, struct vt_why *why)
{
    return tpm12_run(tpm, call, "open a session", why);
}

int tpm12_oiap(struct hwtpm *tpm, const struct vt_auth *secret, struct tpm12_session *session, struct vt_why *why)
{
    struct tpm12_call call;
    struct oiap_out out;
    int err;

    tpm12_begin(&call, TPM_ORD_OIAP);
    call.has_out_handle = true;
    err = run_plain(tpm, &call, why);
    if (!err) {
        session->handle = call.out_handle;
        rd_oiap_out(&call.out, &out);
        err = rd_done(&call.out) ? VT_OK : vt_fail(why, VT_EPROTO, "the host TPM's answer has the wrong form");
        session->even = out.nonce_even;
        session->key = *secret;
    }
    tpm12_end(&call);
    return err;
}

int tpm12_osap(struct hwtpm *tpm, uint16_t entity_type, uint32_t entity, const struct vt_auth *secret,
               struct tpm12_session *session, struct vt_why *why)
{
    struct osap_in in = {.entity_type = entity_type, .entity_value = entity};
    struct tpm12_call call;
    struct osap_out out;
    int err;

    if (cr_os_random(in.nonce_odd_osap.bytes, sizeof in.nonce_odd_osap.bytes))
        return vt_fail(why, VT_EIO, "no random numbers from the operating system");
    tpm12_begin(&call, TPM_ORD_OSAP);
    call.has_out_handle = true;
    wr_osap_in(&call.in, &in);
    err = run_plain(tpm, &call, why);
    if (!err) {
        struct cr_slice slices[] = {CR_SLICE(out.nonce_even_osap.bytes, CR_SHA1_LEN),
                                    CR_SLICE(in.nonce_odd_osap.bytes, CR_SHA1_LEN)};

        session->handle = call.out_handle;
        rd_osap_out(&call.out, &out);
        err = rd_done(&call.out) ? VT_OK : vt_fail(why, VT_EPROTO, "the host TPM's answer has the wrong form");
        session->even = out.nonce_even;
        cr_hmac_sha1v(session->key.bytes, secret->bytes, sizeof secret->bytes, slices, VT_COUNT(slices));
    }
    tpm12_end(&call);
    return err;
}

void tpm12_encrypt_auth(const struct tpm12_session *session, const struct vt_auth *secret, struct vt_auth *out)
{
    struct cr_slice slices[] = {CR_SLICE(session->key.bytes, sizeof session->key.bytes),
                                CR_SLICE(session->even.bytes, sizeof session->even.bytes)};

    cr_sha1v(out->bytes, slices, VT_COUNT(slices));
    for (size_t i = 0; i < sizeof out->bytes; i++)
        out->bytes[i] ^= secret->bytes[i];
}

void tpm12_flush(struct hwtpm *tpm, const struct tpm12_session *session)
{
    struct flush_specific_in in = {.resource_type = TPM_RT_AUTH};
    struct tpm12_call call;

    tpm12_begin(&call, TPM_ORD_FlushSpecific);
    call.handles[call.handle_count++] = session->handle;
    wr_flush_specific_in(&call.in, &in);
    if (tpm12_run(tpm, &call, "flush a session", NULL))
        return; /* it is gone already, or the connection is */
    tpm12_end(&call);
}

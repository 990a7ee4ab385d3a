/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 24: commands inside of a session that can hide, log and keep out others. */
#include "server/engine/auth.h"
#include "server/engine/handlers.h"
#include "server/engine/transport.h"

static bool logs(const struct transport *transport)
{
    return transport->pub.trans_attributes & TPM_TRANSPORT_LOG;
}

/* ---- 24.1 ---- */

/* Action 2: the key that the secret is encrypted for. */
static tpm_rc authorize_key(struct cmd *c, struct key_slot **slot)
{
    struct auth_entity entity;
    tpm_rc rc;

    *slot = key_find(c->tpm, c->handles[0]);
    if (!*slot)
        return TPM_INVALID_KEYHANDLE;
    rc = key_check_pcrs(c, &(*slot)->key);
    if (rc)
        return rc;
    if ((*slot)->key.usage != TPM_KEY_STORAGE && (*slot)->key.usage != TPM_KEY_LEGACY)
        return TPM_INVALID_KEYUSAGE;
    if (!c->auth_count)
        return (*slot)->key.auth_data_usage == TPM_AUTH_NEVER ? TPM_SUCCESS : TPM_AUTHFAIL;
    entity = auth_entity_key(*slot);
    return cmd_check_auth(c, 0, &entity);
}

/* Actions 2.d-f: a TPM_TRANSPORT_AUTH. */
static tpm_rc decrypt_secret(struct key_slot *slot, const struct tpm_blob *enc, struct vt_auth *out)
{
    struct tpm_transport_auth auth = {.auth_data = {{0}}};
    uint8_t plain[CR_RSA_MAX];
    size_t len;
    struct rd r;
    tpm_rc rc = key_unwrap_blob(slot, enc, plain, &len);

    if (rc)
        return rc;
    r = rd_from(plain, len);
    rd_transport_auth(&r, &auth);
    rc = rd_result(&r);
    *out = auth.auth_data;
    vt_auth_wipe(&auth.auth_data);
    vt_wipe(plain, sizeof plain);
    return rc;
}

/* Action 1: no key, no secrecy. */
static tpm_rc take_secret(const struct cmd *c, const struct establish_transport_in *in, struct vt_auth *out)
{
    if (c->auth_count)
        return TPM_BADTAG;
    if (in->trans_public.trans_attributes & TPM_TRANSPORT_ENCRYPT)
        return TPM_BAD_SCHEME;
    if (in->secret.len != sizeof out->bytes)
        return TPM_BAD_PARAM_SIZE;
    memcpy(out->bytes, in->secret.data, sizeof out->bytes);
    return TPM_SUCCESS;
}

/* Action 8.b.i: what this command answers. */
static void digest_answer(const struct cmd *c, const struct establish_transport_out *out,
                          uint8_t digest[TPM_DIGEST_LEN])
{
    uint8_t bytes[96];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_put32(&w, TPM_SUCCESS);
    wr_put32(&w, c->ordinal);
    wr_establish_transport_out(&w, out);
    cr_sha1(digest, bytes, w.len);
}

/* Actions 5-9. */
static tpm_rc open_transport(struct cmd *c, const struct establish_transport_in *in,
                             const struct vt_auth *secret, struct establish_transport_out *out)
{
    struct transport *transport = transport_new(c->tpm);
    uint8_t digest[TPM_DIGEST_LEN];

    if (!transport)
        return TPM_RESOURCES;
    transport->pub = in->trans_public;
    transport->session.secret = *secret;
    out->locality = c->locality;
    out->current_ticks = tpm_ticks_now(c->tpm);
    memcpy(out->trans_nonce_even.bytes, transport->session.nonce_even, TPM_NONCE_LEN);
    if (logs(transport)) {
        /* The parameters are those of the proof. */
        transport_log_in(transport, c->in_digest, NULL);
        digest_answer(c, out, digest);
        transport_log_out(transport, digest, &out->current_ticks, c->locality);
    }
    if (transport->pub.trans_attributes & TPM_TRANSPORT_EXCLUSIVE)
        c->tpm->stany.transport_exclusive = transport->session.handle;
    c->out_handle = transport->session.handle;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 24.1 TPM_EstablishTransport */
tpm_rc cmd_establish_transport(struct cmd *c, const struct establish_transport_in *in,
                               struct establish_transport_out *out)
{
    VT_SECRET_AUTH secret = {{0}};
    struct key_slot *slot;
    tpm_rc rc;

    /* 1-2. */
    if (c->handles[0] == TPM_KH_TRANSPORT) {
        rc = take_secret(c, in, &secret);
    } else {
        rc = authorize_key(c, &slot);
        if (!rc)
            rc = decrypt_secret(slot, &in->secret, &secret);
    }
    /* 3. */
    if (!rc && (in->trans_public.trans_attributes & TPM_TRANSPORT_ENCRYPT))
        rc = transport_check_encryption(c->tpm, &in->trans_public);
    /* 4-10. */
    return rc ? rc : open_transport(c, in, &secret, out);
}

/* ---- 24.2: the command in it ---- */

/* What is neither encrypted nor logged, behind the handles (actions 4.c-d). */
static const struct clear_part {
    uint32_t ordinal;
    uint8_t in, out;
} clear_parts[] = {
    {TPM_ORD_OIAP, 0, TPM_NONCE_LEN},
    {TPM_ORD_OSAP, 2 + 4 + TPM_NONCE_LEN, 2 * TPM_NONCE_LEN},
    /* Of DSAP only entityValue is. */
    {TPM_ORD_DSAP, 2 + 4 + TPM_NONCE_LEN + 4, 2 * TPM_NONCE_LEN},
};

static struct clear_part clear_part(uint32_t ordinal)
{
    for (size_t i = 0; i < VT_COUNT(clear_parts); i++)
        if (clear_parts[i].ordinal == ordinal)
            return clear_parts[i];
    return (struct clear_part){0};
}

/* A command or response that travels inside; DATAw is data[at..at + len). */
struct wrapped {
    const struct cmd_row *row;
    uint8_t *bytes;
    size_t size;
    size_t at, len;
    uint32_t code; /* ordinal; of a response the return code */
};

/* Actions 2-3, 13: DATAw is between the handles and the sessions. */
static bool find_data(struct wrapped *w, size_t before, size_t trailer)
{
    if (before + trailer > w->size)
        return false;
    w->at = before;
    w->len = w->size - before - trailer;
    return true;
}

static tpm_rc parse_command(struct cmd *c, const struct tpm_blob *in, struct wrapped *w)
{
    struct rd r = rd_from(in->data, in->len);
    uint16_t tag = rd_get16(&r);
    uint32_t size = rd_get32(&r);
    unsigned auths =
        tag >= TPM_TAG_RQU_COMMAND && tag <= TPM_TAG_RQU_AUTH2_COMMAND ? tag - TPM_TAG_RQU_COMMAND : 0;

    *w = (struct wrapped){.size = in->len, .code = rd_get32(&r)};
    w->row = cmd_row_find(w->code);
    if (r.bad || size != in->len || !w->row || !cmd_is_offered(c->tpm, w->row) ||
        !find_data(w, TPM_HEADER_LEN + 4u * w->row->handle_count + clear_part(w->code).in,
                   (size_t)auths * TPM_AUTH_IN_LEN))
        return TPM_BAD_PARAMETER;
    w->bytes = cmd_alloc(c, in->len);
    if (!w->bytes)
        return TPM_SIZE;
    memcpy(w->bytes, in->data, in->len);
    return TPM_SUCCESS;
}

/* Actions 6 and 14. */
static void digest_data(const struct wrapped *w, uint32_t first, bool is_response,
                        uint8_t out[TPM_DIGEST_LEN])
{
    uint8_t head[8];
    struct wr h = wr_to(head, sizeof head);

    if (is_response)
        wr_put32(&h, first);
    wr_put32(&h, w->row->ordinal);
    cr_sha1v(out, (struct cr_slice[]){CR_SLICE(head, h.len), CR_SLICE(w->bytes + w->at, w->len)}, 2);
}

/* Action 7: the proof of TPM_ExecuteTransport is over H1, not over wrappedCmd. */
static void digest_execute(struct cmd *c, const struct wrapped *w)
{
    uint8_t head[8];
    struct wr h = wr_to(head, sizeof head);

    wr_put32(&h, c->ordinal);
    wr_put32(&h, (uint32_t)w->size);
    cr_sha1v(c->in_digest, (struct cr_slice[]){CR_SLICE(head, h.len), CR_SLICE(c->audit_in, TPM_DIGEST_LEN)},
             2);
}

/* ---- Its log ---- */

static uint32_t number_at(const struct wrapped *w, size_t at)
{
    struct rd r = rd_from(w->bytes, w->size);

    (void)rd_take(&r, at);
    return rd_get32(&r);
}

/* How many keys the handles name; some commands tell only by their resource type. */
static unsigned count_keys(const struct wrapped *w)
{
    unsigned keys = 0;

    switch (w->code) {
    case TPM_ORD_EvictKey:
    case TPM_ORD_SaveKeyContext:
    case TPM_ORD_OwnerReadInternalPub:
        return 1;
    case TPM_ORD_FlushSpecific:
    case TPM_ORD_SaveContext:
        return number_at(w, TPM_HEADER_LEN + 4) == TPM_RT_KEY;
    default:
        while (keys < w->row->handle_count && w->row->handles[keys] == HANDLE_KEY)
            keys++;
        return keys;
    }
}

static const struct tpm_key_obj *named_key(struct tpm *tpm, uint32_t handle)
{
    const struct key_slot *slot =
        handle == TPM_KH_EK && tpm->perm.has_ek ? &tpm->perm.ek : key_find(tpm, handle);

    return slot ? &slot->key : NULL;
}

/* Action 10: the hash of the hashes of the keys. */
static tpm_rc log_command(struct cmd *c, struct transport *t, const struct wrapped *w)
{
    uint8_t hashes[2 * TPM_DIGEST_LEN], all[TPM_DIGEST_LEN];
    unsigned keys = count_keys(w);

    for (unsigned i = 0; i < keys; i++) {
        const struct tpm_key_obj *key = named_key(c->tpm, number_at(w, TPM_HEADER_LEN + 4u * i));

        if (!key)
            return TPM_INVALID_KEYHANDLE;
        key_store_pubkey_digest(key, hashes + (size_t)i * TPM_DIGEST_LEN);
    }
    cr_sha1(all, hashes, (size_t)keys * TPM_DIGEST_LEN);
    transport_log_in(t, c->audit_in, keys ? all : NULL);
    return TPM_SUCCESS;
}

/* ---- The response in it ---- */

#define AROUND (TPM_HEADER_LEN + 8 + 4 + 4 + TPM_AUTH_OUT_LEN)

/* Action 13. An error has no DATAw. */
static void parse_response(struct wrapped *w)
{
    uint16_t tag = (uint16_t)(number_at(w, 0) >> 16);
    size_t trailer = (size_t)(tag - TPM_TAG_RSP_COMMAND) * TPM_AUTH_OUT_LEN;
    uint32_t ordinal = w->row->ordinal;

    w->code = number_at(w, 6);
    if (w->code)
        (void)find_data(w, w->size, 0);
    else
        (void)find_data(w, TPM_HEADER_LEN + 4u * w->row->out_handles + clear_part(ordinal).out, trailer);
}

/* Action 15.b: the answer's proof is over H2. */
static void digest_answered(struct cmd *c, const struct execute_transport_out *out)
{
    uint8_t head[32];
    struct wr h = wr_to(head, sizeof head);

    wr_put32(&h, TPM_SUCCESS);
    wr_put32(&h, c->ordinal);
    wr_put64(&h, out->current_ticks);
    wr_put32(&h, out->locality);
    wr_put32(&h, out->wrapped_rsp.len);
    cr_sha1v(c->out_digest,
             (struct cr_slice[]){CR_SLICE(head, h.len), CR_SLICE(c->audit_out, TPM_DIGEST_LEN)}, 2);
    c->digests_chosen = true;
}

/* Actions 12-18. The session may be gone by now: t is a copy. */
static tpm_rc answer(struct cmd *c, struct transport *t, struct wrapped *rsp,
                     struct execute_transport_out *out)
{
    struct auth_use *use = &c->auth[0];
    struct tpm_current_ticks ticks = tpm_ticks_now(c->tpm);

    parse_response(rsp);
    digest_data(rsp, rsp->code, true, c->audit_out);
    tpm_random(c->tpm, t->session.nonce_even, TPM_NONCE_LEN);
    memcpy(use->nonce_even, t->session.nonce_even, TPM_NONCE_LEN);
    use->even_chosen = true;
    *out = (struct execute_transport_out){
        .current_ticks = ticks.current_ticks,
        .locality = c->locality,
        .wrapped_rsp = {.len = (uint32_t)rsp->size, .data = rsp->bytes},
    };
    digest_answered(c, out);
    if (logs(t))
        transport_log_out(t, c->audit_out, &ticks, c->locality);
    return transport_crypt(t, use->nonce_odd, "out", rsp->bytes + rsp->at, rsp->len);
}

/* Action 11, and the log goes back into the session if that is still there. */
static tpm_rc run_wrapped(struct cmd *c, struct transport *t, const struct wrapped *cmd,
                          struct execute_transport_out *out)
{
    struct wrapped rsp = {.row = cmd->row, .bytes = cmd_alloc(c, TPM_BUFFER - AROUND)};
    struct wr w = wr_to(rsp.bytes, TPM_BUFFER - AROUND);
    struct transport *still;
    tpm_rc rc;

    if (!rsp.bytes)
        return TPM_SIZE;
    cmd_execute_wrapped(c, t, cmd->bytes, cmd->size, &w);
    rsp.size = w.len;
    rc = answer(c, t, &rsp, out);
    still = transport_find(c->tpm, t->session.handle);
    if (still)
        memcpy(still->digest, t->digest, sizeof still->digest);
    return rc;
}

/* TPM 1.2 Part 3, 24.2 TPM_ExecuteTransport */
tpm_rc cmd_execute_transport(struct cmd *c, const struct execute_transport_in *in,
                             struct execute_transport_out *out)
{
    struct transport t;
    struct wrapped cmd;
    tpm_rc rc;

    /* 1. The pipeline found it. */
    t = *transport_find(c->tpm, c->auth[0].handle);
    /* 2-5. */
    rc = parse_command(c, &in->wrapped_cmd, &cmd);
    if (!rc)
        rc = transport_crypt(&t, c->auth[0].nonce_odd, "in", cmd.bytes + cmd.at, cmd.len);
    /* 6-8. */
    if (!rc) {
        digest_data(&cmd, 0, false, c->audit_in);
        digest_execute(c, &cmd);
        rc = cmd_check_transport(c, 0);
    }
    /* 9. */
    if (!rc && (cmd.row->flags & CMD_NOT_WRAPPABLE))
        rc = TPM_NO_WRAP_TRANSPORT;
    /* 10. */
    if (!rc && logs(&t))
        rc = log_command(c, &t, &cmd);
    /* 11-21. */
    if (!rc)
        rc = run_wrapped(c, &t, &cmd, out);
    vt_wipe(&t, sizeof t);
    return rc;
}

/* ---- 24.3 ---- */

/* Action 8: SHA-1 of a TPM_SIGN_INFO over the log. */
static void release_digest(const struct transport *t, const struct tpm_nonce *anti_replay,
                           uint8_t out[TPM_DIGEST_LEN])
{
    uint8_t bytes[96];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct tpm_sign_info info = {.fixed = {{'T', 'R', 'A', 'N'}},
                                 .replay = *anti_replay,
                                 .data = {.len = TPM_DIGEST_LEN, .data = t->digest}};

    wr_sign_info(&w, &info);
    cr_sha1(out, bytes, w.len);
}

/* TPM 1.2 Part 3, 24.3 TPM_ReleaseTransportSigned */
tpm_rc cmd_release_transport_signed(struct cmd *c, const struct release_transport_signed_in *in,
                                    struct release_transport_signed_out *out)
{
    unsigned last = c->auth_count - 1;
    struct transport *t = transport_find(c->tpm, c->auth[last].handle);
    struct key_slot *slot = c->keys[0];
    uint8_t digest[TPM_DIGEST_LEN];
    tpm_rc rc;

    /* 1, 4. The pipeline found the session and proved the key; its PCRs: */
    rc = key_check_pcrs(c, &slot->key);
    if (rc)
        return rc;
    /* 2-3. */
    if (!key_signs_sha1(&slot->key))
        return TPM_INAPPROPRIATE_SIG;
    if (slot->key.usage != TPM_KEY_SIGNING)
        return TPM_INVALID_KEYUSAGE;
    /* 5. */
    rc = cmd_check_transport(c, last);
    if (rc)
        return rc;
    /* 7. */
    if (!logs(t))
        return TPM_BAD_MODE;
    /* 6, 8. */
    out->locality = c->locality;
    out->current_ticks = tpm_ticks_now(c->tpm);
    transport_log_out(t, c->in_digest, &out->current_ticks, c->locality);
    release_digest(t, &in->anti_replay, digest);
    rc = key_sign_digest(c, slot, digest, &out->signature);
    /* 9-10. */
    cmd_end_session(c, last);
    return rc;
}

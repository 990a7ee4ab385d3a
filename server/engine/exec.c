/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of every command: header, lookup, sessions' trailer, state gate, handles, parameters, proofs, the
 * handler, response. A function per step; what every failure does to sessions is in one place (auth_failed).
 */
#include "server/engine/audit.h"
#include "server/engine/auth.h"
#include "server/engine/handlers.h"
#include "server/engine/transport.h"
#include "server/engine/vendor.h"

#define LOCALITY_MAX 4

/* ---- What handlers call ---- */

void *cmd_alloc(struct cmd *c, size_t len)
{
    size_t room = sizeof c->arena - c->arena_used;
    uint8_t *at = c->arena + c->arena_used;

    if (len > room)
        return NULL;
    len = VT_MIN((len + 15) & ~(size_t)15, room);
    c->arena_used += len;
    memset(at, 0, len);
    return at;
}

bool cmd_blob(struct cmd *c, struct tpm_blob *out, const void *bytes, size_t len)
{
    uint8_t *copy = cmd_alloc(c, len);

    *out = (struct tpm_blob){0};
    if (!copy)
        return false;
    if (len)
        memcpy(copy, bytes, len);
    *out = (struct tpm_blob){.len = (uint32_t)len, .data = copy};
    return true;
}

tpm_rc cmd_fatal(struct cmd *c)
{
    c->tpm->stany.failed = true;
    c->tpm->dirty |= TPM_DIRTY_VOLATILE;
    return TPM_FAIL;
}

tpm_rc cmd_crypto_rc(int err, tpm_rc otherwise)
{
    if (!err)
        return TPM_SUCCESS;
    return err == VT_ENOMEM ? TPM_RESOURCES : otherwise;
}

/* Part 2, 7.1 and 7.2: by hardware there is none here; by command if the flags allow it (Part 3, 6.6). */
bool cmd_physical_presence(const struct cmd *c)
{
    return c->tpm->perm.flags.physical_presence_cmd_enable && c->tpm->stclear.flags.physical_presence;
}

/* ---- Request ---- */

/* Part 3, 2: tag, paramSize, ordinal. A wrong size or tag is found before anything else. */
static tpm_rc read_header(struct cmd *c, struct rd *r, size_t len)
{
    uint16_t tag = rd_get16(r);
    uint32_t size = rd_get32(r);

    c->ordinal = rd_get32(r);
    if (r->bad || size != len || len > TPM_BUFFER)
        return TPM_BAD_PARAM_SIZE;
    if (tag < TPM_TAG_RQU_COMMAND || tag > TPM_TAG_RQU_AUTH2_COMMAND)
        return TPM_BADTAG;
    c->auth_count = tag - TPM_TAG_RQU_COMMAND;
    return TPM_SUCCESS;
}

static tpm_rc look_up(struct cmd *c)
{
    if (c->locality > LOCALITY_MAX)
        return TPM_BAD_LOCALITY;
    c->row = cmd_row_find(c->ordinal);
    if (!c->row)
        c->row = vendor_row_find(c->tpm, c->ordinal);
    if (!c->row || !cmd_is_offered(c->tpm, c->row))
        return TPM_BAD_ORDINAL;
    /* Nor is any but the outermost one to run others: the handler has said so before. */
    return c->transport && (c->row->flags & CMD_NOT_WRAPPABLE) ? TPM_NO_WRAP_TRANSPORT : TPM_SUCCESS;
}

static bool auth_count_fits(const struct cmd *c)
{
    return c->auth_count >= c->row->auth.min && c->auth_count <= c->row->auth.max;
}

/* Cuts the trailer off the end and reads it: also a command that is refused below ends its sessions. */
static tpm_rc read_trailer(struct cmd *c, struct rd *r)
{
    size_t len = (size_t)c->auth_count * TPM_AUTH_IN_LEN;
    struct rd trailer;

    if (!auth_count_fits(c))
        return TPM_SUCCESS; /* the gate says so, after what matters more */
    if (len > r->left)
        return TPM_BAD_PARAM_SIZE;
    trailer = rd_from(r->at + (r->left - len), len);
    r->left -= len;
    return auth_read_trailer(c, &trailer);
}

/* Part 1, 9 and Part 2, 7: may it run in the state that the TPM is in? */
static tpm_rc gate(const struct cmd *c)
{
    const struct tpm *tpm = c->tpm;
    const struct cmd_row *row = c->row;
    bool nv_free = (row->needs & NEEDS_NV_LOCKED) && !tpm->perm.flags.nv_locked;

    if (c->auth_count && !(row->needs & RUNS_LOCKED_OUT) && da_locked(tpm))
        return TPM_DEFEND_LOCK_RUNNING;
    if (tpm->stany.failed && !(row->needs & RUNS_FAILED))
        return TPM_FAILEDSELFTEST;
    if (tpm->stany.post_init && !(row->needs & RUNS_BEFORE_STARTUP))
        return TPM_INVALID_POSTINIT;
    if ((row->needs & NEEDS_ENABLED) && tpm->perm.flags.disable && !nv_free)
        return TPM_DISABLED;
    if ((row->needs & NEEDS_ACTIVE) && tpm->stclear.flags.deactivated && !nv_free)
        return TPM_DEACTIVATED;
    if ((row->needs & NEEDS_OWNER) && !tpm->perm.owned)
        return TPM_NOSRK;
    return auth_count_fits(c) ? TPM_SUCCESS : TPM_BADTAG;
}

/* Part 3, 13: one of its own, all inside or all outside of one transport session. What is wrapped speaks for
 * itself. */
static bool keeps_sha1(const struct cmd *c)
{
    return (c->row->flags & CMD_KEEPS_SHA1) &&
           (c->ordinal == TPM_ORD_ExecuteTransport || c->transport == c->tpm->stany.sha1_transport);
}

/* Is it a command in, or the end of, the exclusive transport session? */
static bool serves_exclusive(const struct cmd *c)
{
    const struct session *session = c->auth_count ? c->auth[c->auth_count - 1].session : NULL;

    return c->transport || (session && session->kind == SESSION_TRANSPORT &&
                            session->handle == c->tpm->stany.transport_exclusive);
}

/* What a command ends only by being executed. */
static void side_effects(struct cmd *c)
{
    struct tpm *tpm = c->tpm;

    /* Part 3, 13: any other command ends a SHA-1 thread. */
    if (tpm->stany.sha1_active && !keeps_sha1(c)) {
        tpm->stany.sha1_active = false;
        vt_wipe(&tpm->stany.sha1, sizeof tpm->stany.sha1);
        tpm->dirty |= TPM_DIRTY_VOLATILE;
    }
    /* 24.1 action 9: and an exclusive transport session. */
    if (tpm->stany.transport_exclusive && !serves_exclusive(c)) {
        struct transport *exclusive = transport_find(tpm, tpm->stany.transport_exclusive);

        tpm->stany.transport_exclusive = 0;
        if (exclusive)
            transport_close(tpm, exclusive);
    }
    /* Part 3, 3.3: and what TPM_SaveState saved. */
    if (tpm->perm.saved_len && !(c->row->flags & CMD_KEEPS_SAVED))
        tpm_drop_saved(tpm);
}

/* Handles are before the parameters and not in their digest. */
static tpm_rc read_handles(struct cmd *c, struct rd *r)
{
    for (unsigned i = 0; i < c->row->handle_count; i++)
        c->handles[i] = rd_get32(r);
    return r->bad ? TPM_BAD_PARAM_SIZE : TPM_SUCCESS;
}

static tpm_rc find_keys(struct cmd *c)
{
    for (unsigned i = 0; i < c->row->handle_count; i++) {
        if (c->row->handles[i] != HANDLE_KEY)
            continue;
        c->keys[i] = key_find(c->tpm, c->handles[i]);
        if (!c->keys[i])
            return TPM_INVALID_KEYHANDLE;
    }
    return TPM_SUCCESS;
}

/* Part 1, 12: SHA-1 of the ordinal and the parameters. */
static void digest_params(uint8_t out[TPM_DIGEST_LEN], const tpm_rc *rc, uint32_t ordinal, const void *at,
                          size_t len)
{
    uint8_t head[8];
    struct wr w = wr_to(head, sizeof head);
    struct cr_slice slices[2];

    if (rc)
        wr_put32(&w, *rc);
    wr_put32(&w, ordinal);
    slices[0] = CR_SLICE(head, w.len);
    slices[1] = CR_SLICE(at, len);
    cr_sha1v(out, slices, VT_COUNT(slices));
}

/* Proofs, the audit and transport logs are over digests; for a command without any of them nobody would look. */
static bool wants_digests(const struct cmd *c)
{
    return c->row->auth.max || c->audited || c->transport;
}

/* One for the proofs, one for the audit. 24.2: of what an encrypting session hides that sees only the ordinal. */
static void digest_both(const struct cmd *c, uint8_t proved[TPM_DIGEST_LEN], uint8_t audited[TPM_DIGEST_LEN],
                        const tpm_rc *rc, struct cr_slice params)
{
    if (!wants_digests(c))
        return;
    digest_params(proved, rc, c->ordinal, params.ptr, params.len);
    if (c->hidden)
        digest_params(audited, rc, c->ordinal, params.ptr, 0);
    else
        memcpy(audited, proved, TPM_DIGEST_LEN);
}

static tpm_rc decode(struct cmd *c, struct rd *r, void **in, void **out)
{
    c->audited = audit_is_on(c->tpm, c->row);
    digest_both(c, c->in_digest, c->audit_in, NULL, CR_SLICE(r->at, r->left));
    *in = cmd_alloc(c, c->row->in_size);
    *out = cmd_alloc(c, c->row->out_size);
    if (!*in || !*out)
        return cmd_fatal(c);
    c->row->decode(r, *in);
    return rd_result(r);
}

/* ---- Response ---- */

static void write_error(struct wr *w, tpm_rc rc)
{
    w->len = 0;
    w->bad = false;
    wr_put16(w, TPM_TAG_RSP_COMMAND);
    wr_put32(w, TPM_HEADER_LEN);
    wr_put32(w, rc);
}

/* Part 3, 8.1; what comes out of a CMD_AUDIT_FIRST command is not audited. */
static tpm_rc audit_after(struct cmd *c)
{
    if (!c->audited || (c->row->flags & CMD_AUDIT_FIRST))
        return TPM_SUCCESS;
    return audit_extend(c->tpm, c->audit_in, c->audit_out);
}

static tpm_rc audit_before(struct cmd *c)
{
    if (!c->audited || !(c->row->flags & CMD_AUDIT_FIRST))
        return TPM_SUCCESS;
    return audit_extend(c->tpm, c->audit_in, NULL);
}

static void digest_response(struct cmd *c, const uint8_t *at, size_t len)
{
    const tpm_rc rc = TPM_SUCCESS;

    if (!c->digests_chosen)
        digest_both(c, c->out_digest, c->audit_out, &rc, CR_SLICE(at, len));
}

static tpm_rc write_success(struct cmd *c, const void *out, struct wr *w)
{
    tpm_rc rc = TPM_SUCCESS;
    struct wr size;
    size_t params;

    wr_put16(w, (uint16_t)(TPM_TAG_RSP_COMMAND + c->auth_count));
    wr_put32(w, 0);
    wr_put32(w, rc);
    if (c->row->out_handles)
        wr_put32(w, c->out_handle);
    params = w->len;
    c->row->encode(w, out);
    if (w->bad)
        return TPM_SIZE;
    digest_response(c, w->base + params, w->len - params);
    rc = audit_after(c);
    if (rc)
        return rc;
    auth_write_response(c, w);
    if (w->bad)
        return TPM_SIZE;
    size = wr_to(w->base + 2, 4);
    wr_put32(&size, (uint32_t)w->len);
    return TPM_SUCCESS;
}

/* ---- The pipeline ---- */

static tpm_rc process(struct cmd *c, const uint8_t *bytes, size_t len, struct wr *w)
{
    struct rd r = rd_from(bytes, len);
    void *in, *out;
    tpm_rc rc;

    if ((rc = read_header(c, &r, len)) || (rc = look_up(c)) || (rc = read_trailer(c, &r)) || (rc = gate(c)))
        return rc;
    side_effects(c);
    if ((rc = read_handles(c, &r)) || (rc = decode(c, &r, &in, &out)) || (rc = find_keys(c)) ||
        (rc = auth_check_request(c)) || (rc = audit_before(c)) || (rc = c->row->run(c, in, out)))
        return rc;
    if (!auth_all_checked(c))
        return cmd_fatal(c);
    if (c->row->flags & CMD_PERMANENT)
        c->tpm->dirty |= TPM_DIRTY_PERMANENT;
    if ((c->row->flags & CMD_VOLATILE) || c->auth_count)
        c->tpm->dirty |= TPM_DIRTY_VOLATILE;
    return write_success(c, out, w);
}

static void wipe_cmd(struct cmd *c)
{
    vt_wipe(c->auth, sizeof c->auth);
    vt_wipe(c->arena, c->arena_used);
}

/* The first command after TPM_Init brings the clock: what is left of a lock-out starts to run then. */
static void tell_time(struct tpm *tpm, uint64_t now_us)
{
    if (tpm->on && !tpm->stany.clock_seen) {
        tpm->stany.clock_seen = true;
        tpm->stany.da_mark_us = now_us;
        tpm->dirty |= TPM_DIRTY_VOLATILE;
    }
    tpm->stany.now_us = VT_MAX(tpm->stany.now_us, now_us);
}

static void begin_cmd(struct cmd *c, struct tpm *tpm, uint8_t locality)
{
    /* All but the arena, which is cleared as it is used. */
    memset(c, 0, offsetof(struct cmd, arena));
    c->tpm = tpm;
    c->locality = locality;
}

/* From the first byte of the command to the last one of its response. */
static void run_cmd(struct cmd *c, const uint8_t *bytes, size_t len, struct wr *w)
{
    tpm_rc rc = c->tpm->on ? process(c, bytes, len, w) : TPM_FAIL;

    if (rc) {
        /* Part 2, 16: an error that passes. Nothing was done; the same bytes may come again. */
        if (rc != TPM_DEFEND_LOCK_RUNNING)
            auth_failed(c);
        write_error(w, rc);
    }
    wipe_cmd(c);
}

void cmd_execute_wrapped(const struct cmd *outer, const struct transport *transport, const uint8_t *bytes,
                         size_t len, struct wr *w)
{
    struct cmd c;

    begin_cmd(&c, outer->tpm, outer->locality);
    c.transport = transport->session.handle;
    c.hidden = transport->pub.trans_attributes & TPM_TRANSPORT_ENCRYPT;
    run_cmd(&c, bytes, len, w);
}

void tpm_execute(struct tpm *tpm, uint8_t locality, uint64_t now_us, const uint8_t *cmd, size_t cmd_len,
                 uint8_t *rsp, size_t *rsp_len, unsigned *dirty)
{
    struct wr w = wr_to(rsp, TPM_BUFFER);
    struct cmd c;

    begin_cmd(&c, tpm, locality);
    tpm->dirty = 0;
    tell_time(tpm, now_us);
    run_cmd(&c, cmd, cmd_len, &w);
    *rsp_len = w.len;
    *dirty = tpm->dirty;
}

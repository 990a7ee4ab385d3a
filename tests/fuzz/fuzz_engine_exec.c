/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TPM and a guest that knows the protocol (exec_steps.h: the form of an input). Most steps are commands: an
 * ordinal, handles and parameters that fit (exec_params.c), sessions opened as needed, then the payload
 * changes parameters before the proofs are computed; so what is wrong is behind them. A command may go
 * through the open transport session. Others: raw bytes, bytes changed after the proofs, the platform's acts,
 * the clock, freeze and thaw.
 */
#include "tests/fuzz/exec_steps.h"

#include "server/base/alloc.h"

struct step {
    uint8_t what;
    size_t len;
    uint8_t how, row, handles, a, b;
    const uint8_t *payload;
};

/* What the guest knows of START_OWNED. */
static struct exec owned;

/* ---- Building ---- */

void exec_next_odd(struct exec *x, struct exec_session *s)
{
    struct wr w = wr_to(s->odd.bytes, sizeof s->odd.bytes);

    wr_put64(&w, ++x->nonces);
}

void exec_prove(struct wr *w, const uint8_t digest[TPM_DIGEST_LEN], struct exec_session *s, bool keep,
                bool wrong)
{
    struct tpm_auth_in auth = {.auth_handle = s->handle, .nonce_odd = s->odd, .continue_auth_session = keep};
    uint8_t last = keep;

    cr_hmac_sha1v(auth.auth.bytes, s->secret.bytes, sizeof s->secret.bytes,
                  (struct cr_slice[]){CR_SLICE(digest, TPM_DIGEST_LEN),
                                      CR_SLICE(s->even.bytes, TPM_DIGEST_LEN),
                                      CR_SLICE(s->odd.bytes, TPM_DIGEST_LEN), CR_SLICE(&last, 1)},
                  4);
    auth.auth.bytes[0] ^= wrong;
    wr_auth_in(w, &auth);
}

/* Part 1, 12: SHA-1 of the ordinal and the parameters. */
static void digest_params(const struct built *cmd, uint8_t digest[TPM_DIGEST_LEN])
{
    uint8_t ordinal[4];
    struct wr o = wr_to(ordinal, sizeof ordinal);

    wr_put32(&o, cmd->row->ordinal);
    cr_sha1v(digest,
             (struct cr_slice[]){CR_SLICE(ordinal, 4), CR_SLICE(cmd->bytes + cmd->params, cmd->params_len)},
             2);
}

/* {where, what}: two bytes and one that is added there. */
static void change(uint8_t *bytes, size_t len, const uint8_t *payload, size_t payload_len)
{
    for (; len && payload_len >= 3; payload += 3, payload_len -= 3)
        bytes[((size_t)payload[0] << 8 | payload[1]) % len] ^= payload[2];
}

static void set_size(struct built *cmd)
{
    struct wr size = wr_to(cmd->bytes + 2, 4);

    wr_put32(&size, (uint32_t)cmd->len);
}

static void build_params(struct exec *x, struct built *cmd, struct wr *w, const struct step *s)
{
    cmd->params = w->len;
    for (unsigned i = 0; i < x->auths; i++)
        exec_next_odd(x, x->auth[i]);
    if (s->how & HOW_RAW)
        wr_copy(w, s->payload, s->len);
    else
        exec_params(x, w, cmd->row->ordinal, s->a, s->b);
    FUZZ_CHECK(!w->bad);
    cmd->params_len = w->len - cmd->params;
    if (!(s->how & (HOW_RAW | HOW_TAMPER)))
        change(cmd->bytes + cmd->params, cmd->params_len, s->payload, s->len);
}

static void build(struct exec *x, struct built *cmd, const struct step *s)
{
    struct wr w = wr_to(cmd->bytes, sizeof cmd->bytes);
    bool wrong = s->what % KINDS != AGAIN && (s->what & WHAT_WRONG);
    uint8_t digest[TPM_DIGEST_LEN];

    wr_put16(&w, (uint16_t)(TPM_TAG_RQU_COMMAND + x->auths));
    wr_put32(&w, 0);
    wr_put32(&w, cmd->row->ordinal);
    for (unsigned i = 0; i < cmd->row->handle_count; i++)
        wr_put32(&w, exec_handle(x, cmd->row, i, s->handles >> 4 * (i & 1), s->a));
    build_params(x, cmd, &w, s);
    digest_params(cmd, digest);
    for (unsigned i = 0; i < x->auths; i++)
        exec_prove(&w, digest, x->auth[i], s->how & HOW_KEEP, wrong);
    FUZZ_CHECK(!w.bad);
    cmd->len = w.len;
    set_size(cmd);
}

/* ---- Running ---- */

static void read_trailers(struct exec *x, struct rd *r)
{
    for (unsigned i = 0; i < x->auths; i++) {
        struct tpm_auth_out auth;

        rd_auth_out(r, &auth);
        x->auth[i]->even = auth.nonce_even;
        if (!auth.continue_auth_session)
            x->auth[i]->handle = 0;
    }
}

static void read_success(struct exec *x, const struct built *cmd, const struct step *s,
                         const struct response *rsp)
{
    struct rd r = rd_from(rsp->bytes, rsp->len);
    size_t trailer = x->auths * (size_t)TPM_AUTH_OUT_LEN;
    const uint8_t *params;
    size_t len;

    rd_take(&r, TPM_HEADER_LEN);
    if (cmd->row->out_handles)
        x->last_handle = rd_get32(&r);
    FUZZ_CHECK(!r.bad && r.left >= trailer);
    len = r.left - trailer;
    params = rd_take(&r, len);
    /* First: the session that a command opened may come in the place of one that it used. */
    read_trailers(x, &r);
    FUZZ_CHECK(rd_done(&r));
    exec_learn(x, cmd->row->ordinal, s->a, params, len);
}

/* Part 1, 12: a command that failed has ended its sessions. */
static void end_sessions(struct exec *x, uint32_t ordinal)
{
    for (unsigned i = 0; i < x->auths; i++)
        x->auth[i]->handle = 0;
    if (ordinal == TPM_ORD_DAA_Join)
        x->join = (struct exec_daa){0};
    if (ordinal == TPM_ORD_DAA_Sign)
        x->sign = (struct exec_daa){0};
}

static tpm_rc send(struct exec *x, struct built *cmd, const struct step *s, struct response *rsp)
{
    bool wraps = (s->what & WHAT_WRAPPED) && x->transport.s.handle;

    if (wraps)
        exec_wrap(x, cmd, s->how & HOW_KEEP);
    if (s->how & HOW_TAMPER)
        change(cmd->bytes, cmd->len, s->payload, s->len);
    fuzz_tpm_execute(x->tpm, s->how & 7, x->now_us, cmd->bytes, cmd->len, rsp);
    if (wraps && rsp->rc)
        x->transport.s.handle = 0;
    else if (wraps && !(s->how & HOW_TAMPER))
        exec_unwrap(x, cmd->row, rsp);
    if (rsp->rc)
        end_sessions(x, cmd->row->ordinal);
    else if (!(s->how & HOW_TAMPER))
        read_success(x, cmd, s, rsp);
    return rsp->rc;
}

/* ---- Sessions ---- */

static struct exec_session *free_session(struct exec *x)
{
    return &x->sessions[x->next_session++ % EXEC_SESSIONS];
}

static const struct cmd_row *row_of(uint32_t ordinal)
{
    const struct cmd_row *row = cmd_row_find(ordinal);

    FUZZ_CHECK(row);
    return row;
}

/* Takes over what TPM_OIAP, TPM_OSAP or TPM_DSAP answered; odd: of the latter two. */
static void opened(struct exec *x, const struct response *rsp, uint16_t type, const struct tpm_nonce *odd)
{
    struct exec_session *s = free_session(x);
    struct rd r = rd_from(rsp->bytes, rsp->len);
    struct tpm_nonce even_osap;

    *s = (struct exec_session){.osap = odd, .aes = type >> 8 == TPM_ET_AES128_CTR, .secret = fuzz_tpm_secret};
    rd_take(&r, TPM_HEADER_LEN);
    s->handle = rd_get32(&r);
    rd_nonce(&r, &s->even);
    if (!odd)
        return;
    rd_nonce(&r, &even_osap);
    cr_hmac_sha1v(
        s->secret.bytes, fuzz_tpm_secret.bytes, sizeof fuzz_tpm_secret.bytes,
        (struct cr_slice[]){CR_SLICE(even_osap.bytes, TPM_DIGEST_LEN), CR_SLICE(odd->bytes, TPM_DIGEST_LEN)},
        2);
}

/* What a session is to be for; type 0: TPM_OIAP, and with a blob TPM_DSAP. */
struct wish {
    uint16_t type;
    uint32_t value;
    struct tpm_blob lent;
};

static void write_wish(struct wr *w, const struct wish *wish)
{
    struct osap_in osap = {.entity_type = wish->type, .entity_value = wish->value};
    struct dsap_in dsap = {.entity_type = wish->type, .key_handle = wish->value, .entity_value = wish->lent};

    if (wish->lent.len)
        wr_dsap_in(w, &dsap);
    else if (wish->type)
        wr_osap_in(w, &osap);
}

static void open_session(struct exec *x, const struct wish *wish)
{
    static const struct tpm_nonce odd;
    static struct built cmd;
    static struct response rsp;
    struct wr w = wr_to(cmd.bytes, sizeof cmd.bytes);

    cmd.row = row_of(wish->lent.len ? TPM_ORD_DSAP : wish->type ? TPM_ORD_OSAP : TPM_ORD_OIAP);
    wr_put16(&w, TPM_TAG_RQU_COMMAND);
    wr_put32(&w, 0);
    wr_put32(&w, cmd.row->ordinal);
    write_wish(&w, wish);
    FUZZ_CHECK(!w.bad);
    cmd.len = w.len;
    set_size(&cmd);
    fuzz_tpm_execute(x->tpm, 0, x->now_us, cmd.bytes, cmd.len, &rsp);
    if (rsp.rc)
        *free_session(x) = (struct exec_session){0};
    else
        opened(x, &rsp, wish->type, wish->type ? &odd : NULL);
}

/* By the owner's word or by a key's; by what was lent of it. */
static struct wish wish_for(const struct exec *x, const struct cmd_row *row, uint8_t proof,
                            const struct step *s)
{
    static const uint8_t first_row[4] = {0};
    bool second = proof == PROOF_KEY1 || proof == PROOF_KEY1_READ, lent = s->what & WHAT_DELEGATED;
    struct wish wish = {.type = TPM_ET_OWNER, .value = TPM_KH_OWNER};

    if (proof == PROOF_KEY0 || proof == PROOF_KEY0_READ || second) {
        wish = (struct wish){.type = TPM_ET_KEYHANDLE,
                             .value = exec_handle(x, row, second, s->handles >> 4 * second, s->a)};
        if (lent)
            wish = (struct wish){
                .type = TPM_ET_DEL_KEY_BLOB, .value = wish.value, .lent = exec_blob(x, BLOB_KEY_LENT)};
    } else if (lent && (s->b & 1)) {
        wish = (struct wish){.type = TPM_ET_DEL_ROW, .lent = {.len = sizeof first_row, .data = first_row}};
    } else if (lent) {
        wish = (struct wish){.type = TPM_ET_DEL_OWNER_BLOB, .lent = exec_blob(x, BLOB_OWNER_LENT)};
    }
    if (s->what & WHAT_AES)
        wish.type |= TPM_ET_AES128_CTR << 8;
    return wish;
}

static void open_for(struct exec *x, const struct cmd_row *row, unsigned i, const struct step *s)
{
    static const struct wish plain;
    bool osap = (i == 0 && (row->flags & CMD_OSAP)) || (i + 1 == x->auths && (row->flags & CMD_OSAP_LAST)) ||
                row->ordinal == TPM_ORD_NV_DefineSpace || (s->what & WHAT_DELEGATED);
    struct wish wish = wish_for(x, row, row->proof[i + row->auth.max - x->auths], s);

    open_session(x, osap ? &wish : &plain);
}

/* How many proofs: as many as there can be; a transport session without a key has none. */
static unsigned auths_of(const struct cmd_row *row, const struct step *s)
{
    bool fewer = s->how & HOW_FEWER;

    if (row->ordinal == TPM_ORD_EstablishTransport && !(s->a & TPM_TRANSPORT_ENCRYPT))
        fewer = !fewer;
    return fewer ? row->auth.min : row->auth.max;
}

/* From the pool of those that are open, as the step says; or new ones of the kind that the command needs. */
static void choose_sessions(struct exec *x, const struct cmd_row *row, const struct step *s)
{
    x->auths = auths_of(row, s);
    x->auth[0] = x->auth[1] = NULL;
    for (unsigned i = 0; i < x->auths; i++) {
        if (row->proof[i + row->auth.max - x->auths] == PROOF_TRANSPORT) {
            x->auth[i] = &x->transport.s;
            continue;
        }
        if (!(s->how & HOW_POOL))
            open_for(x, row, i, s);
        x->auth[i] =
            &x->sessions[(x->next_session + EXEC_SESSIONS - 1u - (s->how & HOW_POOL ? s->b / 64u + i : 0)) %
                         EXEC_SESSIONS];
    }
}

/* ---- Steps ---- */

static void learn_session(struct exec *x, const struct built *cmd, const struct response *rsp)
{
    struct rd r = rd_from(cmd->bytes + cmd->params, cmd->params_len);
    struct osap_in osap;
    struct dsap_in dsap;

    switch (cmd->row->ordinal) {
    case TPM_ORD_OIAP:
        opened(x, rsp, 0, NULL);
        break;
    case TPM_ORD_OSAP:
        rd_osap_in(&r, &osap);
        opened(x, rsp, osap.entity_type, &osap.nonce_odd_osap);
        break;
    case TPM_ORD_DSAP:
        rd_dsap_in(&r, &dsap);
        opened(x, rsp, dsap.entity_type, &dsap.nonce_odd_dsap);
        break;
    default:
        break;
    }
}

/* A self-test takes longer than ten thousand other commands. */
static bool too_slow(const struct cmd_row *row, const struct step *s)
{
    return (row->ordinal == TPM_ORD_SelfTestFull || row->ordinal == TPM_ORD_ContinueSelfTest ||
            row->ordinal == TPM_ORD_CertifySelfTest) &&
           (s->a || s->b || s->handles || s->len);
}

static tpm_rc command(struct exec *x, const struct step *s)
{
    static struct response rsp;
    static struct built cmd, bare;
    size_t count;
    const struct cmd_row *rows = cmd_rows(&count);

    cmd.row = &rows[s->row % count];
    if (too_slow(cmd.row, s))
        return TPM_FAIL;
    choose_sessions(x, cmd.row, s);
    build(x, &cmd, s);
    bare = cmd;
    if (!send(x, &cmd, s, &rsp) && !(s->how & HOW_TAMPER))
        learn_session(x, &bare, &rsp);
    return rsp.rc;
}

static void raw_command(struct exec *x, const struct step *s)
{
    static struct response rsp;

    fuzz_tpm_execute(x->tpm, s->how & 7, x->now_us, s->payload, s->len, &rsp);
}

/* What the trusted side does; nothing of it is a command. */
static void platform(struct exec *x, const struct step *s)
{
    switch (s->row % 8) {
    case 0:
        FUZZ_CHECK(tpm_init(x->tpm) == VT_OK);
        break;
    case 1:
        tpm_power_off(x->tpm);
        FUZZ_CHECK(!tpm_is_on(x->tpm));
        break;
    case 2:
        tpm_hash_start(x->tpm);
        break;
    case 3:
        tpm_hash_data(x->tpm, s->payload, s->len);
        break;
    case 4:
        tpm_hash_end(x->tpm);
        break;
    case 5:
        tpm_reset_established(x->tpm, s->how & 7);
        break;
    case 6:
        tpm_stir(x->tpm, s->payload, s->len);
        break;
    case 7:
        x->now_us += (uint64_t)s->a << s->b % 40;
        break;
    }
}

static void take_step(struct exec *x, struct fuzz_src *src)
{
    struct step s = {.what = fuzz_u8(src)};

    s.len = fuzz_u8(src);
    s.how = fuzz_u8(src);
    s.row = fuzz_u8(src);
    s.handles = fuzz_u8(src);
    s.a = fuzz_u8(src);
    s.b = fuzz_u8(src);
    s.payload = fuzz_take(src, &s.len);
    switch (s.what % KINDS) {
    case RAW:
        raw_command(x, &s);
        break;
    case PLATFORM:
        platform(x, &s);
        break;
    case THAW:
        fuzz_tpm_thaw_again(&x->tpm);
        break;
    case AGAIN:
        for (unsigned i = s.what & WHAT_MANY ? AGAIN_MANY : 2; i; i--)
            command(x, &s);
        break;
    default:
        command(x, &s);
        break;
    }
}

static void find_keys(struct exec *x)
{
    for (size_t i = 0; i < FUZZ_KEYS; i++)
        x->keys[i] = x->tpm->keys[i].handle;
}

/* The guest knows what START_OWNED and START_SAVED came from, whatever it starts with. */
static void begin(struct exec *x, enum fuzz_start start)
{
    *x = owned;
    x->now_us = FUZZ_NOW;
    x->tpm = fuzz_tpm_new(start);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct exec x;
    struct fuzz_src src = {bytes, len};

    begin(&x, (enum fuzz_start)(fuzz_u8(&src) % START_COUNT));
    for (int i = 0; i < STEPS_MAX && src.left; i++) {
        take_step(&x, &src);
        if (i % 8 == 7)
            fuzz_tpm_thaw_again(&x.tpm);
    }
    fuzz_tpm_thaw_again(&x.tpm);
    tpm_free(x.tpm);
    return 0;
}

/* ---- START_OWNED: all of exec_prepare has succeeded ---- */

static void prepare_step(struct exec *x, const struct course_step *step)
{
    uint8_t bytes[STEP_HEAD];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct fuzz_src src = {bytes, sizeof bytes};

    exec_write_step(&w, step);
    take_step(x, &src);
}

int LLVMFuzzerInitialize(int *argc VT_UNUSED, char ***argv VT_UNUSED)
{
    fuzz_tpm_start();
    exec_travel_start();
    owned.now_us = FUZZ_NOW;
    owned.tpm = fuzz_tpm_new(START_OWNED);
    find_keys(&owned);
    for (size_t i = 0; i < exec_prepare.count; i++)
        prepare_step(&owned, &exec_prepare.steps[i]);
    for (size_t i = 0; i < BLOBS; i++)
        FUZZ_CHECK(owned.blobs[i].len || i == BLOB_AUTH_CONTEXT || i == BLOB_ARCHIVE ||
                   i == BLOB_ARCHIVE_RANDOM);
    FUZZ_CHECK(!owned.join.handle);
    fuzz_tpm_adopt(owned.tpm);
    owned.tpm = NULL;
    fuzz_tpm_tell_reach();
    return 0;
}

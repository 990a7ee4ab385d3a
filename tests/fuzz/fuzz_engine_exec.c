/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TPM and a guest that knows the protocol. The first byte chooses the state to start from; then come steps
 * {what, payload length, five choices, payload}. Most steps are commands: an ordinal, handles and parameters that make
 * sense (exec_params.c), sessions opened as needed, then the payload changes parameters before the proofs are
 * computed; so what is wrong is behind them. Others: raw bytes, bytes changed after the proofs, the platform's acts,
 * the clock, freeze and thaw.
 */
#include "tests/fuzz/exec_params.h"

#include "server/base/alloc.h"
#include "server/engine/cmd.h"

#define STEPS_MAX 24
#define STEP_HEAD 7

struct step {
    uint8_t what;
    size_t len;
    uint8_t how, row, handles, a, b;
    const uint8_t *payload;
};

/* In `how`, besides the locality. */
enum { HOW_RAW = 8, HOW_KEEP = 16, HOW_POOL = 32, HOW_FEWER = 64, HOW_TAMPER = 128 };

int LLVMFuzzerInitialize(int *argc VT_UNUSED, char ***argv VT_UNUSED)
{
    fuzz_tpm_start();
    return 0;
}

/* ---- Building ---- */

struct built {
    size_t len, params, params_len;
    const struct cmd_row *row;
    uint8_t bytes[TPM_BUFFER];
};

static void next_odd(struct exec *x, struct exec_session *s)
{
    struct wr w = wr_to(s->odd.bytes, sizeof s->odd.bytes);

    wr_put64(&w, ++x->nonces);
}

/* Part 1, 12: SHA-1 of the ordinal and the parameters, then the HMAC over it and the nonces. */
static void prove(struct wr *w, const struct built *cmd, const struct exec_session *s, bool keep)
{
    struct tpm_auth_in auth = {.auth_handle = s->handle, .nonce_odd = s->odd, .continue_auth_session = keep};
    uint8_t ordinal[4], digest[TPM_DIGEST_LEN], last = keep;
    struct wr o = wr_to(ordinal, sizeof ordinal);

    wr_put32(&o, cmd->row->ordinal);
    cr_sha1v(digest, (struct cr_slice[]){CR_SLICE(ordinal, 4), CR_SLICE(cmd->bytes + cmd->params, cmd->params_len)},
             2);
    cr_hmac_sha1v(auth.auth.bytes, s->secret.bytes, sizeof s->secret.bytes,
                  (struct cr_slice[]){CR_SLICE(digest, sizeof digest), CR_SLICE(s->even.bytes, TPM_DIGEST_LEN),
                                      CR_SLICE(s->odd.bytes, TPM_DIGEST_LEN), CR_SLICE(&last, 1)},
                  4);
    wr_auth_in(w, &auth);
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

static void build(struct exec *x, struct built *cmd, const struct step *s)
{
    struct wr w = wr_to(cmd->bytes, sizeof cmd->bytes);

    wr_put16(&w, (uint16_t)(TPM_TAG_RQU_COMMAND + x->auths));
    wr_put32(&w, 0);
    wr_put32(&w, cmd->row->ordinal);
    for (unsigned i = 0; i < cmd->row->handle_count; i++)
        wr_put32(&w, exec_handle(x, s->handles >> 4 * (i & 1)));
    cmd->params = w.len;
    for (unsigned i = 0; i < x->auths; i++)
        next_odd(x, x->auth[i]);
    if (s->how & HOW_RAW)
        wr_copy(&w, s->payload, s->len);
    else
        exec_params(x, &w, cmd->row->ordinal, s->a, s->b);
    FUZZ_CHECK(!w.bad);
    cmd->params_len = w.len - cmd->params;
    if (!(s->how & (HOW_RAW | HOW_TAMPER)))
        change(cmd->bytes + cmd->params, cmd->params_len, s->payload, s->len);
    for (unsigned i = 0; i < x->auths; i++)
        prove(&w, cmd, x->auth[i], s->how & HOW_KEEP);
    FUZZ_CHECK(!w.bad);
    cmd->len = w.len;
    set_size(cmd);
    if (s->how & HOW_TAMPER)
        change(cmd->bytes, cmd->len, s->payload, s->len);
}

/* ---- Running ---- */

static void keep_blob(struct exec_blob *blob, const uint8_t *bytes, size_t len)
{
    if (!len || len > sizeof blob->bytes)
        return;
    memcpy(blob->bytes, bytes, len);
    blob->len = len;
}

/* What later commands can use. params: behind the handle, before the trailer. */
static void learn(struct exec *x, uint32_t ordinal, const uint8_t *params, size_t len)
{
    switch (ordinal) {
    case TPM_ORD_CreateWrapKey:
        keep_blob(&x->key, params, len);
        break;
    case TPM_ORD_Seal:
    case TPM_ORD_Sealx:
        keep_blob(&x->sealed, params, len);
        break;
    case TPM_ORD_SaveContext:
    case TPM_ORD_SaveKeyContext:
    case TPM_ORD_SaveAuthContext:
        keep_blob(&x->context, params, len);
        break;
    case TPM_ORD_LoadKey2:
    case TPM_ORD_LoadContext:
    case TPM_ORD_LoadKeyContext:
        x->keys[x->next_key++ % EXEC_KEYS] = x->last_handle;
        break;
    case TPM_ORD_LoadKey:
        if (len >= 4) {
            struct rd r = rd_from(params, len);

            x->keys[x->next_key++ % EXEC_KEYS] = rd_get32(&r);
        }
        break;
    default:
        break;
    }
}

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

static void read_success(struct exec *x, const struct built *cmd, const struct response *rsp)
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
    learn(x, cmd->row->ordinal, params, len);
    read_trailers(x, &r);
    FUZZ_CHECK(rd_done(&r));
}

static tpm_rc send(struct exec *x, const struct built *cmd, const struct step *s, struct response *rsp)
{
    fuzz_tpm_execute(x->tpm, s->how & 7, x->now_us, cmd->bytes, cmd->len, rsp);
    if (rsp->rc) {
        /* Part 1, 12: a command that failed has ended its sessions. */
        for (unsigned i = 0; i < x->auths; i++)
            x->auth[i]->handle = 0;
    } else if (!(s->how & HOW_TAMPER)) {
        read_success(x, cmd, rsp);
    }
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

/* Takes over what TPM_OIAP or TPM_OSAP answered. */
static void opened(struct exec *x, const struct response *rsp, bool osap, const struct tpm_nonce *odd_osap)
{
    struct exec_session *s = free_session(x);
    struct rd r = rd_from(rsp->bytes, rsp->len);
    struct tpm_nonce even_osap;

    *s = (struct exec_session){.osap = osap, .secret = fuzz_tpm_secret};
    rd_take(&r, TPM_HEADER_LEN);
    s->handle = rd_get32(&r);
    rd_nonce(&r, &s->even);
    if (!osap)
        return;
    rd_nonce(&r, &even_osap);
    cr_hmac_sha1v(s->secret.bytes, fuzz_tpm_secret.bytes, sizeof fuzz_tpm_secret.bytes,
                  (struct cr_slice[]){CR_SLICE(even_osap.bytes, TPM_DIGEST_LEN),
                                      CR_SLICE(odd_osap->bytes, TPM_DIGEST_LEN)},
                  2);
}

/* The entity of an OSAP session for this command's proof. */
static void open_session(struct exec *x, bool osap, uint16_t type, uint32_t value)
{
    static struct built cmd;
    static struct response rsp;
    struct osap_in in = {.entity_type = type, .entity_value = value};
    struct wr w = wr_to(cmd.bytes, sizeof cmd.bytes);

    cmd.row = row_of(osap ? TPM_ORD_OSAP : TPM_ORD_OIAP);
    wr_put16(&w, TPM_TAG_RQU_COMMAND);
    wr_put32(&w, 0);
    wr_put32(&w, cmd.row->ordinal);
    if (osap)
        wr_osap_in(&w, &in);
    cmd.len = w.len;
    set_size(&cmd);
    fuzz_tpm_execute(x->tpm, 0, x->now_us, cmd.bytes, cmd.len, &rsp);
    if (!rsp.rc)
        opened(x, &rsp, osap, &in.nonce_odd_osap);
}

static void open_for(struct exec *x, const struct cmd_row *row, unsigned i, unsigned count, uint8_t handles)
{
    bool osap = (i == 0 && (row->flags & CMD_OSAP)) || (i + 1 == count && (row->flags & CMD_OSAP_LAST)) ||
                row->ordinal == TPM_ORD_NV_DefineSpace;
    uint8_t proof = row->proof[i + row->auth.max - count];

    if (!osap)
        open_session(x, false, 0, 0);
    else if (proof == PROOF_KEY0 || proof == PROOF_KEY1)
        open_session(x, true, TPM_ET_KEYHANDLE, exec_handle(x, proof == PROOF_KEY0 ? handles : handles >> 4));
    else
        open_session(x, true, TPM_ET_OWNER, TPM_KH_OWNER);
}

/* From the pool of those that are open, as the step says; or new ones of the kind that the command needs. */
static void choose_sessions(struct exec *x, const struct cmd_row *row, const struct step *s)
{
    x->auths = s->how & HOW_FEWER ? row->auth.min : row->auth.max;
    x->auth[0] = x->auth[1] = NULL;
    for (unsigned i = 0; i < x->auths; i++) {
        if (!(s->how & HOW_POOL))
            open_for(x, row, i, x->auths, s->handles);
        x->auth[i] = &x->sessions[(s->how & HOW_POOL ? s->b + i : x->next_session + EXEC_SESSIONS - 1u) % EXEC_SESSIONS];
    }
}

/* ---- Steps ---- */

static void command(struct exec *x, const struct step *s)
{
    static struct response rsp;
    static struct built cmd;
    struct osap_in osap;
    struct rd r;
    size_t count;
    const struct cmd_row *rows = cmd_rows(&count);

    cmd.row = &rows[s->row % count];
    /* A self-test takes longer than ten thousand other commands. */
    if (cmd.row->duration == DURATION_L && cmd.row->handle_count == 0 && !cmd.row->auth.max && s->b != 7)
        return;
    choose_sessions(x, cmd.row, s);
    build(x, &cmd, s);
    if (send(x, &cmd, s, &rsp) || (s->how & HOW_TAMPER))
        return;
    r = rd_from(cmd.bytes + cmd.params, cmd.params_len);
    if (cmd.row->ordinal == TPM_ORD_OIAP) {
        opened(x, &rsp, false, NULL);
    } else if (cmd.row->ordinal == TPM_ORD_OSAP) {
        rd_osap_in(&r, &osap);
        opened(x, &rsp, true, &osap.nonce_odd_osap);
    }
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

enum { RAW = 12, PLATFORM, THAW, AGAIN, KINDS };

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
        command(x, &s);
        command(x, &s);
        break;
    default:
        command(x, &s);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct exec x;
    struct fuzz_src src = {bytes, len};

    memset(&x, 0, sizeof x);
    x.now_us = FUZZ_NOW;
    x.tpm = fuzz_tpm_new((enum fuzz_start)(fuzz_u8(&src) % START_COUNT));
    for (size_t i = 0; i < KEY_SLOTS_MAX; i++)
        if (x.tpm->keys[i].handle)
            x.keys[x.next_key++ % EXEC_KEYS] = x.tpm->keys[i].handle;
    for (int i = 0; i < STEPS_MAX && src.left; i++) {
        take_step(&x, &src);
        if (i % 8 == 7)
            fuzz_tpm_thaw_again(&x.tpm);
    }
    fuzz_tpm_thaw_again(&x.tpm);
    tpm_free(x.tpm);
    return 0;
}

/* ---- The mutator: whole steps come, go and are repeated; else bytes within one ---- */

static size_t step_len(const uint8_t *bytes, size_t left)
{
    return left < 2 ? left : VT_MIN((size_t)STEP_HEAD + bytes[1], left);
}

/* Where step n (modulo how many there are) begins; len if there is none. */
static size_t find_step(const uint8_t *bytes, size_t len, unsigned n)
{
    size_t at = 1, count = 0;

    for (; at < len; at += step_len(bytes + at, len - at))
        count++;
    if (!count)
        return len;
    for (at = 1, n %= count; n; n--)
        at += step_len(bytes + at, len - at);
    return at;
}

static size_t insert(uint8_t *bytes, size_t len, size_t cap, size_t at, const uint8_t *step, size_t step_bytes)
{
    if (step_bytes > cap - len)
        return len;
    memmove(bytes + at + step_bytes, bytes + at, len - at);
    memcpy(bytes + at, step, step_bytes);
    return len + step_bytes;
}

/* The payload, whose length is then put right. */
static size_t mutate_payload(uint8_t *bytes, size_t len, size_t cap, size_t at)
{
    size_t old = step_len(bytes + at, len - at), fresh;
    uint8_t payload[255];

    if (old < STEP_HEAD || len - old + STEP_HEAD + sizeof payload > cap)
        return len;
    memcpy(payload, bytes + at + STEP_HEAD, old - STEP_HEAD);
    fresh = LLVMFuzzerMutate(payload, old - STEP_HEAD, sizeof payload);
    memmove(bytes + at + STEP_HEAD + fresh, bytes + at + old, len - at - old);
    memcpy(bytes + at + STEP_HEAD, payload, fresh);
    bytes[at + 1] = (uint8_t)fresh;
    return len - old + STEP_HEAD + fresh;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t len, size_t cap, unsigned seed)
{
    unsigned rest = seed / 8;
    size_t at = find_step(bytes, len, rest), size;
    uint8_t step[STEP_HEAD + 255] = {(uint8_t)(rest >> 8 & 7), 0, (uint8_t)(rest >> 4 & 0x70), (uint8_t)(rest % 131),
                                     (uint8_t)(rest >> 12), (uint8_t)(rest >> 16), (uint8_t)(rest >> 20)};

    if (at >= len && seed % 8 > 1)
        return LLVMFuzzerMutate(bytes, len, cap);
    size = step_len(bytes + at, len - at);
    switch (seed % 8) {
    case 0:
        return LLVMFuzzerMutate(bytes, len, cap);
    case 1:
    case 2:
        return len ? insert(bytes, len, cap, at, step, STEP_HEAD) : LLVMFuzzerMutate(bytes, len, cap);
    case 3:
        memmove(bytes + at, bytes + at + size, len - at - size);
        return len - size;
    case 4:
        memcpy(step, bytes + at, size);
        return insert(bytes, len, cap, find_step(bytes, len, rest / 7), step, size);
    case 5:
    case 6:
        bytes[at + (rest / 16 % 6 == 1 ? 0 : rest / 16 % 6) % size] = (uint8_t)(rest >> 10);
        return len;
    default:
        return mutate_payload(bytes, len, cap, at);
    }
}

/* ---- Seeds: every ordinal once on its own, and courses that build on each other ---- */

static uint8_t row_number(uint32_t ordinal)
{
    size_t count;

    return (uint8_t)(row_of(ordinal) - cmd_rows(&count));
}

static void put_step(struct wr *w, uint32_t ordinal, uint8_t how, uint8_t handles, uint8_t a, uint8_t b)
{
    wr_copy(w, (uint8_t[]){0, 0, how, row_number(ordinal), handles, a, b}, STEP_HEAD);
}

static void emit_each(fuzz_emit emit, void *arg)
{
    size_t count;
    const struct cmd_row *rows = cmd_rows(&count);

    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[] = {START_OWNED, 0, 0, 0, (uint8_t)i, 2, 1, 0x23};
        char name[32];

        snprintf(name, sizeof name, "seed-row-%03zu", i);
        if (rows[i].run)
            emit(arg, name, bytes, sizeof bytes);
    }
}

static void emit_courses(fuzz_emit emit, void *arg)
{
    uint8_t bytes[256] = {START_OWNED};
    struct wr w = wr_to(bytes + 1, sizeof bytes - 1);

    put_step(&w, TPM_ORD_CreateWrapKey, 0, 0, 0, 0);
    put_step(&w, TPM_ORD_LoadKey2, 0, 0, 0, 0);
    put_step(&w, TPM_ORD_Sign, 0, 11, 0, 0);
    put_step(&w, TPM_ORD_Quote, 0, 11, 10, 0);
    put_step(&w, TPM_ORD_Seal, 0, 0, 33, 0);
    put_step(&w, TPM_ORD_Unseal, 0, 0, 0, 0);
    put_step(&w, TPM_ORD_EvictKey, 0, 11, 0, 0);
    emit(arg, "seed-keys", bytes, 1 + w.len);
    w = wr_to(bytes + 1, sizeof bytes - 1);
    put_step(&w, TPM_ORD_NV_DefineSpace, 0, 0, 0x29, 32);
    put_step(&w, TPM_ORD_NV_WriteValueAuth, 0, 0, 9, 0x41);
    put_step(&w, TPM_ORD_NV_ReadValueAuth, 0, 0, 9, 0x41);
    put_step(&w, TPM_ORD_NV_WriteValue, HOW_FEWER, 0, 1, 0x41);
    put_step(&w, TPM_ORD_NV_ReadValue, HOW_FEWER, 0, 1, 0x41);
    put_step(&w, TPM_ORD_NV_WriteValue, 0, 0, 3, 0x41);
    put_step(&w, TPM_ORD_NV_ReadValue, 0, 0, 3, 0x41);
    put_step(&w, TPM_ORD_SaveState, 0, 0, 0, 0);
    wr_copy(&w, (uint8_t[]){PLATFORM, 0, 0, 0, 0, 0, 0}, STEP_HEAD);
    put_step(&w, TPM_ORD_Startup, 0, 0, 1, 0);
    emit(arg, "seed-nv", bytes, 1 + w.len);
    bytes[0] = START_ON;
    w = wr_to(bytes + 1, sizeof bytes - 1);
    put_step(&w, TPM_ORD_TakeOwnership, 0, 0, 0, 0);
    put_step(&w, TPM_ORD_OIAP, 0, 0, 0, 0);
    put_step(&w, TPM_ORD_OwnerReadInternalPub, HOW_POOL | HOW_KEEP, 0, 1, 0);
    put_step(&w, TPM_ORD_OwnerClear, 0, 0, 0, 0);
    emit(arg, "seed-owner", bytes, 1 + w.len);
}

static void emit_raw(fuzz_emit emit, void *arg)
{
    static const uint8_t raw[] = {START_ON, RAW, 14, 0, 0, 0, 0, 0, 0, 0xc1, 0, 0, 0, 14, 0, 0, 0, 0x15, 0, 0, 0, 3};
    static const uint8_t off[] = {START_OFF, PLATFORM, 0, 0, 0, 0, 0, 0, PLATFORM, 0, 4, 2, 0, 0, 0,
                                  PLATFORM,  3, 4, 3, 0, 0, 0, 'a', 'b', 'c', PLATFORM, 0, 4, 4, 0, 0, 0,
                                  THAW,      0, 0, 0, 0, 0, 0};

    emit(arg, "seed-raw", raw, sizeof raw);
    emit(arg, "seed-platform", off, sizeof off);
}

void fuzz_seeds(fuzz_emit emit, void *arg)
{
    emit_each(emit, arg);
    emit_courses(emit, arg);
    emit_raw(emit, arg);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/monitor.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/base/log.h"

/* TPM 1.2 Part 2, 16. */
#define RC_BAD_PARAMETER  0x03u
#define RC_FAIL           0x09u
#define RC_BAD_ORDINAL    0x0au
#define RC_BAD_PARAM_SIZE 0x19u
#define RC_BAD_LOCALITY   0x3du

#define BUFFER       4096u /* commands and responses; PROTOCOL.md, 9 */
#define LOCALITY_MAX 4

/* GET_CAPABILITY, PTM_CAP_*: all of ours but the state's, which are offered only when there is something behind them. */
#define CAPS       0x00007cffu
#define CAPS_STATE 0x00010300u /* GET_STATEBLOB, SET_STATEBLOB, LOCK_STORAGE */

/* What is asked of the server. */
enum way { NOTHING, DEED, BLOB };

struct monitor {
    const struct monitor_ops *ops;
    void *ctx;
    struct stateblob *blobs;
    bool is_running;
    bool is_stored;           /* STORE_VOLATILE, and no command since: INIT goes on from there */
    uint8_t locality;
    bool is_asked;            /* a request is under way */
    bool has_asker;
    struct ctrl_request request;
    enum way way;
    bool is_taken;            /* the lane has it */
    struct relay_deed deed;
    enum relay_deed_kind wanted; /* START or OFF, which nobody waits for */
    enum relay_deed_kind aside; /* the one that the lane has */
    struct relay_deed aside_deed;
    int startup;              /* START's */
    enum stateblob_type held; /* whose bytes are kept for a GET in pieces; 0: none's */
    uint32_t held_flags;
    uint8_t *bytes;
    size_t len;
};

/* ---- Answers ---- */

static void answer(struct monitor *m, const uint8_t *head, size_t len, const uint8_t *tail, size_t tail_len)
{
    m->is_asked = false;
    m->way = NOTHING;
    m->is_taken = false;
    if (m->has_asker)
        m->ops->answer(m->ctx, head, len, tail, tail_len);
}

/* The code, then so many zeros as whoever asked reads in any case. */
static void answer_rc(struct monitor *m, uint32_t rc)
{
    uint8_t out[16] = {0};
    size_t len = 4;

    if (m->request.command == CTRL_GET_TPMESTABLISHED)
        len = 8;
    if (m->request.command == CTRL_GET_STATEBLOB)
        len = 16;
    ctrl_put32(out, rc);
    answer(m, out, len, NULL, 0);
}

static void answer_words(struct monitor *m, const uint32_t *words, size_t count, const uint8_t *tail, size_t tail_len)
{
    uint8_t out[16];

    for (size_t i = 0; i < count; i++)
        ctrl_put32(out + 4 * i, words[i]);
    answer(m, out, 4 * count, tail, tail_len);
}

/* ---- What is answered here ---- */

static void do_capability(struct monitor *m)
{
    const uint32_t words[] = {0, CAPS | (stateblob_is_available(m->blobs) ? CAPS_STATE : 0)};

    answer_words(m, words, VT_COUNT(words), NULL, 0);
}

static void do_locality(struct monitor *m)
{
    if (m->request.locality > LOCALITY_MAX) {
        answer_rc(m, RC_BAD_LOCALITY);
        return;
    }
    m->locality = m->request.locality;
    answer_rc(m, 0);
}

static void do_cancel(struct monitor *m)
{
    m->ops->cancel(m->ctx);
    answer_rc(m, 0);
}

/* Each command's state is kept by the server as it is. */
static void do_store(struct monitor *m)
{
    m->is_stored = true;
    answer_rc(m, 0);
}

static void forget_held(struct monitor *m)
{
    vt_free_wiped(m->bytes, m->len);
    m->bytes = NULL;
    m->len = 0;
    m->held = 0;
}

static void do_stop(struct monitor *m)
{
    m->is_running = false;
    forget_held(m);
    answer_rc(m, 0);
}

static void do_config(struct monitor *m)
{
    /* No key of the monitor's encrypts anything. */
    const uint32_t words[] = {0, 0};

    answer_words(m, words, VT_COUNT(words), NULL, 0);
}

static void do_data(struct monitor *m)
{
    answer_rc(m, m->ops->data(m->ctx));
}

/* The one size that there is; a monitor that wants another one is told. */
static void do_buffer(struct monitor *m)
{
    const uint32_t words[] = {0, BUFFER, BUFFER, BUFFER};

    if (m->is_running && m->request.words[0])
        answer_rc(m, RC_BAD_ORDINAL);
    else
        answer_words(m, words, VT_COUNT(words), NULL, 0);
}

static void do_info(struct monitor *m)
{
    static const char *const parts[] = {
        "\"TPMSpecification\":{\"family\":\"1.2\",\"level\":2,\"revision\":116}",
        "\"TPMAttributes\":{\"manufacturer\":\"id:5654504D\",\"version\":\"id:01010000\",\"model\":\"vtpm-server\"}",
    };
    const bool has[] = {m->request.info_flags & 1, m->request.info_flags & 2};
    const uint32_t offset = m->request.words[0];
    uint32_t words[3] = {0};
    char text[256];

    words[1] = (uint32_t)snprintf(text, sizeof text, "{%s%s%s}", has[0] ? parts[0] : "", has[0] && has[1] ? "," : "",
                                  has[1] ? parts[1] : "") + 1;
    if (offset >= words[1]) {
        answer_rc(m, RC_BAD_PARAMETER);
        return;
    }
    words[2] = words[1] - offset;
    answer_words(m, words, VT_COUNT(words), (const uint8_t *)text + offset, words[2]);
}

/* ---- What the server has to do ---- */

static void ask(struct monitor *m, const struct relay_deed *deed)
{
    m->deed = *deed;
    m->way = DEED;
    m->is_taken = false;
}

/* A guest's machine was reset, or begins: whatever its TPM was. */
static void power_on(struct monitor *m)
{
    stateblob_forget(m->blobs);
    m->wanted = RELAY_NO_DEED;
    ask(m, &(struct relay_deed){.kind = RELAY_RESET, .startup = VTPM__STARTUP__STARTUP_NONE});
}

static void begin_blob(struct monitor *m, int err);

static void do_init(struct monitor *m)
{
    const bool goes_on = m->is_stored;

    m->is_running = m->is_stored = false;
    forget_held(m);
    if (stateblob_is_set(m->blobs)) {
        begin_blob(m, stateblob_init(m->blobs, m->request.words[0]));
    } else if (goes_on) {
        m->is_running = true;
        answer_rc(m, 0);
    } else {
        power_on(m);
    }
}

/* A monitor that ends waits for the answer: not for a server that is away. */
static void do_shutdown(struct monitor *m)
{
    monitor_leave(m);
    answer_rc(m, 0);
    m->ops->shut_down(m->ctx);
}

static void do_platform(struct monitor *m)
{
    static const enum relay_deed_kind kinds[CTRL_COMMANDS] = {
        [CTRL_GET_TPMESTABLISHED] = RELAY_GET_ESTABLISHED,
        [CTRL_HASH_START] = RELAY_HASH_START,
        [CTRL_HASH_DATA] = RELAY_HASH_DATA,
        [CTRL_HASH_END] = RELAY_HASH_END,
        [CTRL_RESET_TPMESTABLISHED] = RELAY_RESET_ESTABLISHED,
    };

    if (m->request.locality > LOCALITY_MAX) {
        answer_rc(m, RC_BAD_LOCALITY);
        return;
    }
    ask(m, &(struct relay_deed){
               .kind = kinds[m->request.command],
               .locality = m->request.locality,
               .bytes = m->request.bytes,
               .len = m->request.len,
           });
}

static void platform_done(struct monitor *m, const struct relay_result *result)
{
    const uint32_t rc = result->err ? RC_FAIL : result->tpm_rc;
    uint8_t out[8] = {0};

    if (rc || m->request.command != CTRL_GET_TPMESTABLISHED) {
        answer_rc(m, rc);
        return;
    }
    out[4] = result->is_established;
    answer(m, out, sizeof out, NULL, 0);
}

static void deed_done(struct monitor *m, const struct relay_result *result)
{
    const uint32_t rc = result->err ? RC_FAIL : result->tpm_rc;

    if (m->deed.kind == RELAY_RESET) {
        m->is_running = rc == 0;
        answer_rc(m, rc);
    } else {
        platform_done(m, result);
    }
}

static void aside_done(struct monitor *m, const struct relay_result *result)
{
    const enum relay_deed_kind kind = m->aside;

    m->aside = RELAY_NO_DEED;
    if (!result->err)
        return;
    if (kind == RELAY_OFF) {
        vt_warning("swtpm: the TPM could not be powered off: the next INIT does it");
    } else {
        m->is_running = m->is_stored = false;
        vt_error("swtpm: the TPM could not be powered on: it waits for INIT");
    }
}

/* ---- Blobs ---- */

static bool is_blob_type(uint32_t type)
{
    return type >= STATEBLOB_PERMANENT && type <= STATEBLOB_SAVESTATE;
}

static void answer_held(struct monitor *m)
{
    const size_t offset = VT_MIN(m->request.words[2], m->len);
    const size_t left = m->len - offset;
    const uint32_t words[] = {0, left ? m->held_flags : 0, (uint32_t)left, (uint32_t)left};

    answer_words(m, words, VT_COUNT(words), left ? m->bytes + offset : NULL, left);
}

static void keep(struct monitor *m, const struct stateblob_result *result)
{
    uint8_t *copy = result->len ? vt_memdup(result->bytes, result->len) : NULL;

    forget_held(m);
    if (result->len > STATEBLOB_MAX || (result->len && !copy)) {
        vt_free_wiped(copy, result->len);
        answer_rc(m, RC_FAIL);
        return;
    }
    m->held = (enum stateblob_type)m->request.words[1];
    m->held_flags = result->flags;
    m->bytes = copy;
    m->len = result->len;
    answer_held(m);
}

/* Looks whether what a blob command set going has come to an end. */
static void look_at_blob(struct monitor *m)
{
    struct stateblob_result result = {0};

    if (m->way != BLOB || !stateblob_result(m->blobs, &result))
        return;
    if (m->request.command == CTRL_INIT)
        m->is_running = result.tpm_rc == 0;
    if (m->request.command == CTRL_GET_STATEBLOB && !result.tpm_rc)
        keep(m, &result);
    else
        answer_rc(m, result.tpm_rc);
}

static void begin_blob(struct monitor *m, int err)
{
    if (err) {
        answer_rc(m, STATEBLOB_FAIL);
        return;
    }
    m->way = BLOB;
    m->is_taken = false;
    look_at_blob(m);
}

static void do_get_blob(struct monitor *m)
{
    const uint32_t type = m->request.words[1];

    if (!is_blob_type(type))
        answer_rc(m, RC_BAD_PARAMETER);
    else if (m->request.words[2] && m->held == (enum stateblob_type)type)
        answer_held(m);
    else
        begin_blob(m, stateblob_get(m->blobs, (enum stateblob_type)type, m->request.words[0]));
}

static void do_set_blob(struct monitor *m)
{
    const struct ctrl_request *request = &m->request;

    if (!is_blob_type(request->words[1]))
        answer_rc(m, RC_BAD_PARAMETER);
    else
        begin_blob(m, stateblob_set(m->blobs, (enum stateblob_type)request->words[1], request->words[0], request->bytes,
                                    request->len));
}

static void do_lock(struct monitor *m)
{
    begin_blob(m, stateblob_lock(m->blobs, m->request.words[0]));
}

/* ---- Requests ---- */

enum when { ALWAYS, RUNNING, STOPPED };

/* is_strict: bytes behind the request are an error; else they are dropped. */
static const struct act {
    void (*fn)(struct monitor *m);
    enum when when;
    bool is_strict;
} acts[CTRL_COMMANDS] = {
    [CTRL_GET_CAPABILITY] = {do_capability, ALWAYS, false},
    [CTRL_INIT] = {do_init, ALWAYS, true},
    [CTRL_SHUTDOWN] = {do_shutdown, ALWAYS, true},
    [CTRL_GET_TPMESTABLISHED] = {do_platform, RUNNING, true},
    [CTRL_SET_LOCALITY] = {do_locality, ALWAYS, false},
    [CTRL_HASH_START] = {do_platform, RUNNING, true},
    [CTRL_HASH_DATA] = {do_platform, RUNNING, false},
    [CTRL_HASH_END] = {do_platform, RUNNING, true},
    [CTRL_CANCEL] = {do_cancel, RUNNING, true},
    [CTRL_STORE_VOLATILE] = {do_store, RUNNING, true},
    [CTRL_RESET_TPMESTABLISHED] = {do_platform, RUNNING, false},
    [CTRL_GET_STATEBLOB] = {do_get_blob, RUNNING, false},
    [CTRL_SET_STATEBLOB] = {do_set_blob, STOPPED, false},
    [CTRL_STOP] = {do_stop, ALWAYS, true},
    [CTRL_GET_CONFIG] = {do_config, ALWAYS, true},
    [CTRL_SET_DATAFD] = {do_data, ALWAYS, false},
    [CTRL_SET_BUFFERSIZE] = {do_buffer, ALWAYS, false},
    [CTRL_GET_INFO] = {do_info, ALWAYS, false},
    [CTRL_LOCK_STORAGE] = {do_lock, ALWAYS, false},
};

static bool is_time_for(const struct monitor *m, enum when when)
{
    return when == ALWAYS || m->is_running == (when == RUNNING);
}

bool monitor_is_free(const struct monitor *m)
{
    return !m->is_asked;
}

void monitor_request(struct monitor *m, const struct ctrl_request *request)
{
    const struct act *act = request->command < CTRL_COMMANDS ? &acts[request->command] : &acts[0];

    m->request = *request;
    m->is_asked = m->has_asker = true;
    if (!act->fn || !is_time_for(m, act->when))
        answer_rc(m, RC_BAD_ORDINAL);
    else if (act->is_strict && request->is_followed)
        answer_rc(m, RC_BAD_PARAMETER);
    else
        act->fn(m);
}

void monitor_refuse(struct monitor *m, const struct ctrl_request *request)
{
    m->request = *request;
    m->has_asker = true;
    answer_rc(m, RC_BAD_PARAM_SIZE);
}

void monitor_hang_up(struct monitor *m)
{
    m->has_asker = false;
    forget_held(m);
    /* What blobs have begun goes on by itself. */
    if (m->way != DEED || m->is_taken)
        return;
    m->is_asked = false;
    m->way = NOTHING;
}

void monitor_leave(struct monitor *m)
{
    m->is_running = false;
    /* A guest that may be at another host is not switched off with its machine here. */
    m->wanted = m->is_stored || stateblob_is_given(m->blobs) ? RELAY_NO_DEED : RELAY_OFF;
    forget_held(m);
    stateblob_forget(m->blobs);
}

/* ---- Lane ---- */

bool monitor_take(struct monitor *m, struct courier_request *request)
{
    bool has = false;

    if (m->wanted) {
        m->aside = m->wanted;
        m->wanted = RELAY_NO_DEED;
        m->aside_deed = (struct relay_deed){.kind = m->aside, .startup = m->startup};
        *request = (struct courier_request){.deed = &m->aside_deed};
        return true;
    }
    if (m->way == DEED && !m->is_taken) {
        *request = (struct courier_request){.deed = &m->deed};
        has = true;
    } else if (m->way == BLOB && !m->is_taken) {
        has = stateblob_take(m->blobs, request);
    }
    m->is_taken = m->is_taken || has;
    return has;
}

void monitor_respond(struct monitor *m, const struct courier_response *response)
{
    if (m->aside) {
        aside_done(m, response->result);
    } else if (m->way == DEED) {
        deed_done(m, response->result);
    } else if (m->way == BLOB) {
        m->is_taken = false;
        stateblob_respond(m->blobs, response);
        look_at_blob(m);
    }
}

bool monitor_is_running(const struct monitor *m)
{
    return m->is_running;
}

uint32_t monitor_command(struct monitor *m)
{
    m->is_stored = false;
    stateblob_went_on(m->blobs);
    return m->locality;
}

/* ---- Life ---- */

int monitor_new(struct monitor **monitor, const struct monitor_config *config, const struct monitor_ops *ops, void *ctx)
{
    struct monitor *m = VT_NEW(struct monitor);

    if (!m)
        return VT_ENOMEM;
    *m = (struct monitor){.ops = ops, .ctx = ctx, .is_running = config->is_running};
    if (stateblob_new(&m->blobs, config->target, config->with_state)) {
        vt_free(m);
        return VT_ENOMEM;
    }
    if (config->is_running) {
        m->wanted = RELAY_START;
        m->startup = config->startup;
    }
    *monitor = m;
    return VT_OK;
}

void monitor_free(struct monitor *m)
{
    if (!m)
        return;
    forget_held(m);
    stateblob_free(m->blobs);
    vt_free_wiped(m, sizeof *m);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/relay_state.h"

#include <inttypes.h>

#include "proto/relay_errors.h"
#include "server/base/alloc.h"
#include "server/base/log.h"

#define BACKOFF_FIRST_MS 50u
#define BACKOFF_MOST_MS  2000u
#define SLOW_MS          3000u
/* So long a server whose store takes nothing lets a guest wait before it is told to try again. */
#define NO_STORE_MS      2000u
/* From "connect" to "powered": a server that says nothing for so long is not there. */
#define ATTACH_MS        30000u

/* ---- Small things ---- */

void relay_command_drop(struct command *command)
{
    vt_free_wiped(command->bytes, command->len);
    *command = (struct command){0};
}

static bool same_command(const struct command *a, const struct command *b)
{
    return a->len == b->len && a->locality == b->locality && vt_ct_equal(a->bytes, b->bytes, a->len);
}

static uint32_t random_below(struct relay *relay, uint32_t bound)
{
    uint32_t value = 0;

    /* Jitter only: without random numbers there is none. */
    if (relay->config.tls.random(relay->config.tls.random_ctx, (unsigned char *)&value, sizeof value) < 0)
        return 0;
    return value % bound;
}

/* Logs what is wrong, once until it changes or passes. */
void relay_complain(struct relay *relay, const struct vt_why *why, const char *todo)
{
    if (strncmp(relay->said, why->text, sizeof relay->said) == 0)
        return;
    memcpy(relay->said, why->text, sizeof relay->said);
    vt_warning("relay: %sserver %s: %s; %s", relay->label, relay->config.server, why->text, todo);
}

/* The connection is of no more use. */
void relay_give_up(struct relay *relay, int err, const struct vt_why *why)
{
    relay->close_wanted = true;
    relay->last_err = err;
    relay->state = relay->state == READY ? GREETING : relay->state;
    relay_complain(relay, why, relay_advice(err)->todo);
    relay->is_moved |= err == VT_EMOVED;
    if (relay_advice(err)->reconnect == RELAY_NEVER) {
        relay->ended = true;
        relay->ended_err = err;
    }
}

void relay_fail(struct relay *relay, int err, const char *what)
{
    struct vt_why why = {{0}};

    (void)vt_fail(&why, err, "%s: %s", what, vt_err_text(err));
    relay_give_up(relay, err, &why);
}

/* ---- Responses ---- */

/* A response of our own: tag TPM_TAG_RSP_COMMAND (Part 2, 6), size, code. */
void relay_answer_code(struct relay *relay, uint32_t code)
{
    const uint8_t bytes[10] = {0x00, 0xc4, 0, 0, 0, 10, 0, 0, (uint8_t)(code >> 8), (uint8_t)code};

    memcpy(relay->own_response, bytes, sizeof bytes);
    relay->response = relay->own_response;
    relay->response_len = sizeof bytes;
    relay->has_response = true;
}

bool relay_response(const struct relay *relay, const uint8_t **bytes, size_t *len)
{
    if (!relay->has_response)
        return false;
    *bytes = relay->response;
    *len = relay->response_len;
    return true;
}

void relay_answered(struct relay *relay)
{
    relay->has_result = false;
    channel_message_free(relay->response_msg);
    relay->response_msg = NULL;
    relay->response = NULL;
    relay->response_len = 0;
    relay->has_response = false;
}

/* ---- Transport ---- */

void relay_connected(struct relay *relay, uint64_t now_ms)
{
    int err;

    if (relay->state != CONNECTING || relay->close_wanted)
        return;
    relay->state = GREETING;
    err = channel_new(&relay->ch, &relay->config.tls);
    if (err) {
        relay->ch = NULL;
        relay_fail(relay, err, "a new channel");
        return;
    }
    relay_pump(relay, now_ms);
}

void relay_bytes(struct relay *relay, uint64_t now_ms, const void *bytes, size_t len)
{
    int err;

    if (!relay->ch || relay->close_wanted)
        return;
    err = channel_feed(relay->ch, bytes, len);
    if (err)
        relay_fail(relay, err, "receiving");
    relay_pump(relay, now_ms);
}

static void schedule(struct relay *relay, uint64_t now_ms)
{
    uint32_t delay = BACKOFF_MOST_MS;

    relay->slowly = relay_advice(relay->last_err)->reconnect != RELAY_SOON;
    if (relay->slowly) {
        relay->retry_at = now_ms + SLOW_MS + random_below(relay, SLOW_MS / 4);
        return;
    }
    if (relay->failures < 6)
        delay = BACKOFF_FIRST_MS << relay->failures;
    delay = VT_MIN(delay, BACKOFF_MOST_MS);
    relay->failures++;
    relay->retry_at = now_ms + delay / 2 + random_below(relay, delay / 2 + 1);
}

void relay_disconnected(struct relay *relay, uint64_t now_ms, const char *reason)
{
    struct vt_why why = {{0}};

    if (relay->state == DOWN)
        return;
    if (!relay->close_wanted) {
        (void)vt_fail(&why, VT_EUNREACHED, "%s%s", relay->state == CONNECTING ? "not reached: " : "connection lost: ",
                      reason ? reason : "closed by the server");
        relay_complain(relay, &why, "commands are held and it is tried again");
    }
    channel_free(relay->ch);
    relay->ch = NULL;
    relay_deed_disconnected(relay);
    relay->is_bringing = false;
    if (relay->was_ready)
        relay->away_since = now_ms;
    relay->was_ready = false;
    if (relay->close_wanted && relay_no_store(relay->last_err))
        relay->no_store_since = relay->no_store_since ? relay->no_store_since : now_ms;
    relay->state = DOWN;
    schedule(relay, now_ms);
    /* A monitor waits, and what was refused here was the attach of a guest that is yet to come. */
    if (relay->deed.kind == RELAY_BRING && !relay->deed.is_hurried) {
        relay->deed.is_hurried = true;
        relay->retry_at = now_ms;
    }
    relay->close_wanted = false;
    relay->key_refused = relay->last_err == VT_EAUTH;
    relay->last_err = VT_OK;
}

bool relay_key_refused(const struct relay *relay)
{
    return relay->key_refused;
}

bool relay_set_key(struct relay *relay, const struct vt_key *key)
{
    if (vt_ct_equal(&relay->key, key, sizeof *key))
        return false;
    relay->key = *key;
    return true;
}

struct vt_buf *relay_output(struct relay *relay)
{
    return relay->ch ? channel_output(relay->ch) : NULL;
}

/* ---- Front end ---- */

int relay_submit(struct relay *relay, uint64_t now_ms, uint32_t locality, const void *command, size_t len)
{
    if (relay_busy(relay))
        return VT_EAGAIN;
    if (len < MESSAGE_COMMAND_MIN || len > MESSAGE_COMMAND_MAX || locality > 4)
        return VT_EUSAGE;
    relay->command = (struct command){.len = len, .locality = locality, .since_ms = now_ms};
    relay->command.bytes = vt_memdup(command, len);
    if (!relay->command.bytes)
        return VT_ENOMEM;
    /* The guest repeats what it was told to retry: it gets the outcome of the first time. */
    if (relay->doubt.n && same_command(&relay->doubt, &relay->command)) {
        relay->command.n = relay->doubt.n;
        relay_command_drop(&relay->doubt);
    }
    relay->now_ms = now_ms;
    if (relay->state == READY)
        relay_send_execute(relay);
    else if (relay->state == HELD)
        relay_ticket_use(relay);
    /* Somebody waits now: no reason to sleep on. */
    else if (relay->state == DOWN && !relay->slowly)
        relay->retry_at = now_ms;
    return VT_OK;
}

bool relay_busy(const struct relay *relay)
{
    return relay_is_waiting(relay) || relay->has_response || relay->has_result;
}

bool relay_is_waiting(const struct relay *relay)
{
    return relay->command.bytes || relay->deed.kind;
}

static uint64_t waiting_since(const struct relay *relay)
{
    return relay->deed.kind ? relay->deed.since_ms : relay->command.since_ms;
}

void relay_cancel(struct relay *relay)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Cancel cancel = VTPM__CANCEL__INIT;

    if (!relay->command.bytes)
        return;
    if (relay->state != READY) {
        relay_stop_waiting(relay, TPM_RETRY);
        return;
    }
    cancel.n = relay->command.n;
    msg.body_case = VTPM__MESSAGE__BODY_CANCEL;
    msg.cancel = &cancel;
    relay_send(relay, &msg);
}

/* ---- A shim's own death ---- */

struct relay_mark relay_mark_of(const struct relay *relay, const struct command *command)
{
    struct relay_mark mark = {.n = command->n, .before_n = relay->before.n, .locality = command->locality};

    memcpy(mark.stream, relay->stream, sizeof mark.stream);
    memcpy(mark.before_stream, relay->before.stream, sizeof mark.before_stream);
    mark.command = command->bytes;
    mark.len = command->len;
    return mark;
}

int relay_resume(struct relay *relay, uint64_t now_ms, const struct relay_mark *mark, bool in_doubt)
{
    struct command *command = in_doubt ? &relay->doubt : &relay->command;

    if (relay_busy(relay) || relay->doubt.n || mark->n != relay->last_n + 1 || mark->locality > 4 ||
        mark->len < MESSAGE_COMMAND_MIN || mark->len > MESSAGE_COMMAND_MAX ||
        memcmp(mark->stream, relay->stream, sizeof mark->stream) != 0)
        return VT_EUSAGE;
    *command = (struct command){.len = mark->len, .locality = mark->locality, .since_ms = now_ms};
    command->bytes = vt_memdup(mark->command, mark->len);
    if (!command->bytes)
        return VT_ENOMEM;
    command->n = mark->n;
    command->noted = !in_doubt;
    relay->before.n = mark->before_n;
    memcpy(relay->before.stream, mark->before_stream, sizeof relay->before.stream);
    return VT_OK;
}

void relay_position(const struct relay *relay, struct relay_position *position)
{
    *position = (struct relay_position){.last_n = relay->last_n, .mark = relay_mark_of(relay, &relay->doubt)};
}

/* ---- Time ---- */

void relay_stop_waiting(struct relay *relay, uint32_t code)
{
    if (relay->deed.kind) {
        relay_deed_end(relay, relay->deed.is_sent ? VT_EUNKNOWN : VT_EUNREACHED, 0, false);
        return;
    }
    if (relay->command.n) {
        relay->doubt = relay->command;
        relay->doubt.noted = false;
        relay->command = (struct command){0};
    } else {
        relay_command_drop(&relay->command);
    }
    relay_answer_code(relay, code);
}

/* --hold: the server has been away for too long. */
static uint64_t drive_hold(struct relay *relay, uint64_t now_ms)
{
    uint64_t until;

    if (!relay->config.hold_ms || !relay_is_waiting(relay) || relay->state == READY || relay->was_ready)
        return UINT64_MAX;
    until = VT_MAX(waiting_since(relay), relay->away_since) + relay->config.hold_ms;
    if (now_ms < until)
        return until;
    vt_warning("relay: %sthe server was away for %" PRIu64 " ms: %s", relay->label, relay->config.hold_ms,
               relay->deed.kind ? "the monitor's request fails" : "the guest gets TPM_RETRY");
    relay_stop_waiting(relay, TPM_RETRY);
    return UINT64_MAX;
}

/* The server is there, but a full or read-only disk keeps it from attaching or powering on. */
static uint64_t drive_no_store(struct relay *relay, uint64_t now_ms)
{
    uint64_t until;

    if (!relay->no_store_since || !relay_is_waiting(relay) || relay->state == READY)
        return UINT64_MAX;
    until = VT_MAX(waiting_since(relay), relay->no_store_since) + NO_STORE_MS;
    if (now_ms < until)
        return until;
    relay_stop_waiting(relay, TPM_RETRY);
    return UINT64_MAX;
}

/* A guest whose TPM is elsewhere would wait for it until its driver gives up, minutes later. */
static void drive_moved(struct relay *relay)
{
    if (relay->is_moved && relay->command.bytes && relay->state != READY)
        relay_stop_waiting(relay, TPM_FAIL);
}

/* When something has to happen in this state next; does what is due. */
static uint64_t drive_state(struct relay *relay, uint64_t now_ms)
{
    switch (relay->state) {
    case DOWN:
        return relay->retry_at;
    case HELD:
        return UINT64_MAX;
    case READY:
        relay->now_ms = now_ms;
        if (now_ms >= relay->resend_at && relay->command.bytes)
            relay_send_execute(relay);
        else if (now_ms >= relay->resend_at)
            relay_deed_go(relay);
        return relay->resend_at;
    default:
        if (now_ms >= relay->attach_by && !relay->close_wanted)
            relay_fail(relay, VT_ETIMEOUT, "attaching");
        return relay->attach_by;
    }
}

enum relay_act relay_drive(struct relay *relay, uint64_t now_ms, uint64_t *wake_ms)
{
    uint64_t wake;

    drive_moved(relay);
    wake = VT_MIN(drive_hold(relay, now_ms), drive_no_store(relay, now_ms));
    *wake_ms = UINT64_MAX;
    if (relay->ended)
        return relay->state == DOWN ? RELAY_ENDED : RELAY_CLOSE;
    if (relay->state == DOWN && now_ms >= relay->retry_at) {
        relay->state = CONNECTING;
        relay->attach_by = now_ms + ATTACH_MS;
        *wake_ms = VT_MIN(wake, relay->attach_by);
        return RELAY_CONNECT;
    }
    *wake_ms = VT_MIN(wake, drive_state(relay, now_ms));
    return relay->close_wanted ? RELAY_CLOSE : RELAY_WAIT;
}

bool relay_attached(const struct relay *relay)
{
    return relay->state == READY;
}

void relay_detach(struct relay *relay, bool off)
{
    if (relay->ended)
        return;
    if (relay->state == READY && !relay_is_waiting(relay))
        relay_send_detach(relay, off);
    if (relay->ch)
        channel_close(relay->ch);
    relay->close_wanted = true;
    relay->ended = true;
}

int relay_ended(const struct relay *relay)
{
    return relay->ended_err;
}

/* ---- Life ---- */

int relay_new(struct relay **relay_out, const struct relay_config *config)
{
    struct relay *relay;

    if (config->tls.server || !config->tls.identity || strlen(config->tls.identity) > TLS_IDENTITY_MAX)
        return VT_EUSAGE;
    relay = VT_NEW(struct relay);
    if (!relay)
        return VT_ENOMEM;
    relay->config = *config;
    strncpy(relay->identity, config->tls.identity, TLS_IDENTITY_MAX);
    strncpy(relay->label, config->label ? config->label : "", sizeof relay->label - 1);
    relay->key = *config->tls.key;
    relay->config.tls.identity = relay->identity;
    relay->config.tls.key = &relay->key;
    memcpy(relay->stream, config->stream, sizeof relay->stream);
    relay->last_n = config->last_n;
    relay->resend_at = UINT64_MAX;
    *relay_out = relay;
    return VT_OK;
}

void relay_free(struct relay *relay)
{
    if (!relay)
        return;
    relay_answered(relay);
    relay_command_drop(&relay->command);
    relay_command_drop(&relay->doubt);
    vt_free_wiped(relay->deed.bytes, relay->deed.len);
    relay_carried_drop(&relay->held);
    relay_carried_drop(&relay->given);
    channel_free(relay->ch);
    vt_free_wiped(relay, sizeof *relay);
}

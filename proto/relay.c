/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/relay.h"

#include <inttypes.h>

#include "proto/relay_errors.h"
#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/base/text.h"

#define BACKOFF_FIRST_MS 50u
#define BACKOFF_MOST_MS  2000u
#define SLOW_MS          3000u
#define RESEND_MS        100u
/* From "connect" to "powered": a server that says nothing for so long is not there. */
#define ATTACH_MS        30000u

#define TPM_FAIL  0x009
#define TPM_RETRY 0x800

enum state {
    DOWN,       /* until retry_at */
    CONNECTING, /* the shim was told to connect */
    GREETING,   /* TLS, Hello, Attach, PowerOn */
    READY
};

struct command {
    uint8_t *bytes; /* NULL: there is none */
    size_t len;
    uint32_t locality;
    uint64_t n;     /* 0: not yet numbered, so never sent */
    uint64_t since_ms;
};

/* The last command the server has on record, as it said at Attached. */
struct position {
    uint8_t stream[MESSAGE_STREAM];
    uint64_t n;
};

struct relay {
    struct relay_config config;
    char identity[TLS_IDENTITY_MAX + 1];
    struct vt_key key;

    enum state state;
    struct channel *ch;
    bool close_wanted;
    bool ended;
    int ended_err;
    int last_err;           /* why the connection is being closed; VT_OK: it just went away */
    unsigned failures;      /* since READY */
    uint64_t retry_at;
    uint64_t attach_by;
    bool was_ready;         /* on this connection */
    uint64_t away_since;    /* when the last connection that was ready went away */
    uint64_t resend_at;     /* UINT64_MAX: nothing to resend on this connection */
    char said[sizeof((struct vt_why *)0)->text]; /* the last complaint: each is logged once */

    uint8_t stream[MESSAGE_STREAM];
    uint64_t last_n;        /* the last number whose outcome is known */
    struct position seen;   /* at this Attached */
    struct position before; /* when the number under way was given */
    struct command command;
    struct command doubt;   /* given up while its outcome was unknown; its number is not free yet */

    bool has_response;
    const uint8_t *response;
    size_t response_len;
    Vtpm__Message *response_msg;
    uint8_t own_response[10];
};

/* ---- Small things ---- */

static void command_drop(struct command *command)
{
    vt_free_wiped(command->bytes, command->len);
    *command = (struct command){0};
}

static bool same_command(const struct command *a, const struct command *b)
{
    return a->len == b->len && a->locality == b->locality && vt_ct_equal(a->bytes, b->bytes, a->len);
}

static bool same_position(const struct position *a, const struct position *b)
{
    return a->n == b->n && memcmp(a->stream, b->stream, sizeof a->stream) == 0;
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
static void complain(struct relay *relay, const struct vt_why *why, const char *todo)
{
    if (strncmp(relay->said, why->text, sizeof relay->said) == 0)
        return;
    memcpy(relay->said, why->text, sizeof relay->said);
    vt_warning("relay: server %s: %s; %s", relay->config.server, why->text, todo);
}

/* The connection is of no more use. */
static void give_up_connection(struct relay *relay, int err, const struct vt_why *why)
{
    relay->close_wanted = true;
    relay->last_err = err;
    relay->state = relay->state == READY ? GREETING : relay->state;
    complain(relay, why, relay_advice(err)->todo);
    if (relay_advice(err)->reconnect == RELAY_NEVER) {
        relay->ended = true;
        relay->ended_err = err;
    }
}

static void fail(struct relay *relay, int err, const char *what)
{
    struct vt_why why = {{0}};

    (void)vt_fail(&why, err, "%s: %s", what, vt_err_text(err));
    give_up_connection(relay, err, &why);
}

/* ---- Responses ---- */

/* A response of our own: tag TPM_TAG_RSP_COMMAND (Part 2, 6), size, code. */
static void answer_code(struct relay *relay, uint32_t code)
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
    channel_message_free(relay->response_msg);
    relay->response_msg = NULL;
    relay->response = NULL;
    relay->response_len = 0;
    relay->has_response = false;
}

/* ---- Numbers ---- */

static void new_stream(struct relay *relay)
{
    struct vt_why why = {{0}};

    relay->last_n = 0;
    command_drop(&relay->doubt);
    if (relay->config.tls.random(relay->config.tls.random_ctx, relay->stream, sizeof relay->stream) < 0) {
        (void)vt_fail(&why, VT_EFAIL, "no random numbers for a new stream");
        give_up_connection(relay, VT_EFAIL, &why);
        return;
    }
    /* The server learns the stream by Attach. */
    relay->close_wanted = true;
    relay->last_err = VT_OK;
    relay->failures = 0;
    relay->state = GREETING;
}

/*
 * Another shim, or an older state of the instance, stands between this command and its outcome: it was applied once
 * or not at all, and nobody can tell. The guest hears TPM_FAIL; repeating it could apply it twice.
 */
static void outcome_lost(struct relay *relay)
{
    vt_error("relay: the outcome of command %" PRIu64 " is unknown: the instance went on without it (another shim, or "
             "a restored state); the guest gets TPM_FAIL", relay->command.n);
    command_drop(&relay->command);
    answer_code(relay, TPM_FAIL);
    new_stream(relay);
}

static bool is_mine(const struct relay *relay)
{
    return memcmp(relay->seen.stream, relay->stream, sizeof relay->stream) == 0;
}

/* Whether the server's last record fits with a command n of ours that was sent and may have been executed. */
static bool may_resend(const struct relay *relay, uint64_t n)
{
    if (is_mine(relay))
        return relay->seen.n == n || relay->seen.n == n - 1;
    /* The first of our stream, and nothing happened since it was numbered. */
    return n == 1 && same_position(&relay->seen, &relay->before);
}

/* After Attached: false when this stream cannot go on, and a new one is on its way. */
static bool reconcile(struct relay *relay)
{
    if (relay->command.n) {
        if (may_resend(relay, relay->command.n))
            return true;
        outcome_lost(relay);
        return false;
    }
    if (relay->doubt.n ? may_resend(relay, relay->doubt.n)
                       : !relay->last_n || (is_mine(relay) && relay->seen.n == relay->last_n))
        return true;
    vt_notice("relay: the instance was used by another shim or its state was restored: starting a new stream");
    new_stream(relay);
    return false;
}

static void number_command(struct relay *relay)
{
    if (relay->doubt.n && is_mine(relay) && relay->seen.n == relay->doubt.n)
        relay->last_n = relay->doubt.n;
    command_drop(&relay->doubt);
    relay->command.n = relay->last_n + 1;
    relay->before = relay->seen;
}

/* ---- Sending ---- */

static void send_message(struct relay *relay, const Vtpm__Message *msg)
{
    int err = channel_send(relay->ch, msg);

    if (err)
        fail(relay, err, message_name(msg));
}

#define BODY(msg, which, field, part) ((msg).body_case = VTPM__MESSAGE__BODY_##which, (msg).field = (part))

static void send_hello(struct relay *relay)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Hello hello = VTPM__HELLO__INIT;
    char software[MESSAGE_TEXT_MAX + 1] = "";

    strncpy(software, relay->config.software, MESSAGE_TEXT_MAX);
    hello.version = 1;
    hello.software = software;
    BODY(msg, HELLO, hello, &hello);
    send_message(relay, &msg);
}

static void fill_guest(struct relay *relay, Vtpm__GuestEpoch *guest)
{
    guest->boot_id.data = relay->config.boot_id;
    guest->boot_id.len = sizeof relay->config.boot_id;
    guest->domid = relay->config.domid;
    guest->has_domid = relay->config.has_domid;
}

static void send_attach(struct relay *relay)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Attach attach = VTPM__ATTACH__INIT;
    Vtpm__GuestEpoch guest = VTPM__GUEST_EPOCH__INIT;
    char front_end[32] = "";

    strncpy(front_end, relay->config.front_end, sizeof front_end - 1);
    fill_guest(relay, &guest);
    if (relay->config.has_uuid) {
        attach.uuid.data = relay->config.uuid;
        attach.uuid.len = sizeof relay->config.uuid;
    }
    attach.stream.data = relay->stream;
    attach.stream.len = sizeof relay->stream;
    attach.front_end = front_end;
    attach.guest = &guest;
    BODY(msg, ATTACH, attach, &attach);
    send_message(relay, &msg);
}

static void send_power_on(struct relay *relay)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__PowerOn power_on = VTPM__POWER_ON__INIT;
    Vtpm__GuestEpoch guest = VTPM__GUEST_EPOCH__INIT;

    fill_guest(relay, &guest);
    power_on.startup = (Vtpm__Startup)relay->config.startup;
    power_on.guest = &guest;
    BODY(msg, POWER_ON, power_on, &power_on);
    send_message(relay, &msg);
}

static void send_execute(struct relay *relay)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Execute execute = VTPM__EXECUTE__INIT;

    relay->resend_at = UINT64_MAX;
    if (!relay->command.n)
        number_command(relay);
    execute.stream.data = relay->stream;
    execute.stream.len = sizeof relay->stream;
    execute.n = relay->command.n;
    execute.locality = relay->command.locality;
    execute.command.data = relay->command.bytes;
    execute.command.len = relay->command.len;
    BODY(msg, EXECUTE, execute, &execute);
    send_message(relay, &msg);
}

/* ---- Receiving ---- */

static void on_attached(struct relay *relay, const Vtpm__Attached *attached)
{
    struct position seen = {.n = attached->n};
    struct vt_uuid uuid = {{0}};
    char text[VT_UUID_TEXT];

    if (attached->stream.len)
        memcpy(seen.stream, attached->stream.data, sizeof seen.stream);
    if (attached->uuid.len)
        memcpy(uuid.bytes, attached->uuid.data, sizeof uuid.bytes);
    vt_uuid_text(text, &uuid);
    relay->seen = seen;
    if (!reconcile(relay))
        return;
    vt_info("relay: attached to instance %s at %s (%s)", text, relay->config.server, attached->state);
    send_power_on(relay);
}

static void become_ready(struct relay *relay)
{
    relay->state = READY;
    relay->was_ready = true;
    relay->failures = 0;
    relay->resend_at = UINT64_MAX;
    if (relay->command.bytes)
        send_execute(relay);
}

static void on_power_result(struct relay *relay, const Vtpm__PowerResult *result)
{
    relay->said[0] = '\0';
    if (result->acted)
        vt_notice("relay: the TPM was powered on");
    if (result->tpm_rc)
        vt_warning("relay: TPM_Startup at power on gave 0x%x: the TPM is not started", result->tpm_rc);
    become_ready(relay);
}

/* Takes msg. */
static void on_response(struct relay *relay, Vtpm__Message *msg)
{
    relay->last_n = relay->command.n;
    command_drop(&relay->command);
    relay->response_msg = msg;
    relay->response = msg->response->response.data;
    relay->response_len = msg->response->response.len;
    relay->has_response = true;
}

/* The server answers the Execute with an Error: it was not executed, or the number does not fit. */
static void on_command_error(struct relay *relay, uint64_t now_ms, int err, const struct vt_why *why)
{
    complain(relay, why, relay_advice(err)->todo);
    if (err == VT_ECONFLICT) {
        outcome_lost(relay);
    } else if (relay_advice(err)->refuses_command) {
        command_drop(&relay->command);
        answer_code(relay, TPM_FAIL);
    } else {
        relay->resend_at = now_ms + RESEND_MS;
    }
}

static void on_error(struct relay *relay, uint64_t now_ms, const Vtpm__Error *error)
{
    int err = error->code <= 1000 ? -(int)error->code : VT_EFAIL;
    struct vt_why why = {{0}};

    (void)vt_fail(&why, err, "%s (%s)", error->text, vt_err_text(err));
    if (error->fatal || channel_phase(relay->ch) != CHANNEL_ATTACHED) {
        give_up_connection(relay, err, &why);
    } else if (relay->state != READY) {
        /* Of PowerOn: the TPM itself tells the guest that it is not there. */
        complain(relay, &why, relay_advice(err)->todo);
        become_ready(relay);
    } else if (relay->command.n) {
        on_command_error(relay, now_ms, err, &why);
    } else {
        complain(relay, &why, relay_advice(err)->todo);
    }
}

/* Takes msg. The channel has checked that it may come now. */
static void on_message(struct relay *relay, uint64_t now_ms, Vtpm__Message *msg)
{
    switch ((int)msg->body_case) {
    case VTPM__MESSAGE__BODY_HELLO:
        send_attach(relay);
        break;
    case VTPM__MESSAGE__BODY_ATTACHED:
        on_attached(relay, msg->attached);
        break;
    case VTPM__MESSAGE__BODY_POWER_RESULT:
        on_power_result(relay, msg->power_result);
        break;
    case VTPM__MESSAGE__BODY_RESPONSE:
        on_response(relay, msg);
        return;
    case VTPM__MESSAGE__BODY_ERROR:
        on_error(relay, now_ms, msg->error);
        break;
    default:
        break;
    }
    channel_message_free(msg);
}

/* True: open. */
static bool greet(struct relay *relay)
{
    struct vt_why why = {{0}};
    int err;

    if (channel_is_open(relay->ch))
        return true;
    err = channel_handshake(relay->ch, &why);
    if (err == VT_EAGAIN)
        return false;
    if (err)
        give_up_connection(relay, err, &why);
    else
        send_hello(relay);
    return !err;
}

static void pump(struct relay *relay, uint64_t now_ms)
{
    Vtpm__Message *msg;
    struct vt_why why = {{0}};
    int err = VT_OK;

    if (relay->close_wanted || !greet(relay))
        return;
    while (!relay->close_wanted) {
        err = channel_next(relay->ch, &msg, &why);
        if (err)
            break;
        on_message(relay, now_ms, msg);
    }
    if (err == VT_ECLOSED)
        relay->close_wanted = true;
    else if (err && err != VT_EAGAIN)
        give_up_connection(relay, err, &why);
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
        fail(relay, err, "a new channel");
        return;
    }
    pump(relay, now_ms);
}

void relay_bytes(struct relay *relay, uint64_t now_ms, const void *bytes, size_t len)
{
    int err;

    if (!relay->ch || relay->close_wanted)
        return;
    err = channel_feed(relay->ch, bytes, len);
    if (err)
        fail(relay, err, "receiving");
    pump(relay, now_ms);
}

static void schedule(struct relay *relay, uint64_t now_ms)
{
    uint32_t delay = BACKOFF_MOST_MS;

    if (relay_advice(relay->last_err)->reconnect != RELAY_SOON) {
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
        complain(relay, &why, "commands are held and it is tried again");
    }
    channel_free(relay->ch);
    relay->ch = NULL;
    if (relay->was_ready)
        relay->away_since = now_ms;
    relay->was_ready = false;
    relay->state = DOWN;
    schedule(relay, now_ms);
    relay->close_wanted = false;
    relay->last_err = VT_OK;
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
        command_drop(&relay->doubt);
    }
    if (relay->state == READY)
        send_execute(relay);
    return VT_OK;
}

bool relay_busy(const struct relay *relay)
{
    return relay->command.bytes || relay->has_response;
}

/* ---- Time ---- */

/* --hold: the server has been away for too long; the guest may try again by itself. */
static void hold_expired(struct relay *relay)
{
    vt_warning("relay: the server was away for %" PRIu64 " ms: the guest gets TPM_RETRY", relay->config.hold_ms);
    if (relay->command.n) {
        relay->doubt = relay->command;
        relay->command = (struct command){0};
    } else {
        command_drop(&relay->command);
    }
    answer_code(relay, TPM_RETRY);
}

static uint64_t drive_hold(struct relay *relay, uint64_t now_ms)
{
    uint64_t until;

    if (!relay->config.hold_ms || !relay->command.bytes || relay->state == READY || relay->was_ready)
        return UINT64_MAX;
    until = VT_MAX(relay->command.since_ms, relay->away_since) + relay->config.hold_ms;
    if (now_ms < until)
        return until;
    hold_expired(relay);
    return UINT64_MAX;
}

/* When something has to happen in this state next; does what is due. */
static uint64_t drive_state(struct relay *relay, uint64_t now_ms)
{
    switch (relay->state) {
    case DOWN:
        return relay->retry_at;
    case READY:
        if (now_ms >= relay->resend_at && relay->command.bytes)
            send_execute(relay);
        return relay->resend_at;
    default:
        if (now_ms >= relay->attach_by && !relay->close_wanted)
            fail(relay, VT_ETIMEOUT, "attaching");
        return relay->attach_by;
    }
}

enum relay_act relay_drive(struct relay *relay, uint64_t now_ms, uint64_t *wake_ms)
{
    uint64_t wake = drive_hold(relay, now_ms);

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
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Detach detach = VTPM__DETACH__INIT;

    if (relay->ended)
        return;
    detach.off = off;
    BODY(msg, DETACH, detach, &detach);
    if (relay->state == READY && !relay->command.bytes)
        send_message(relay, &msg);
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
    command_drop(&relay->command);
    command_drop(&relay->doubt);
    channel_free(relay->ch);
    vt_free_wiped(relay, sizeof *relay);
}

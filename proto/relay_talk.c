/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/relay_state.h"

#include <inttypes.h>

#include "proto/relay_errors.h"
#include "server/base/log.h"
#include "server/base/text.h"

#define RESEND_MS  100u
#define NOT_NOW_MS 2000u

/* ---- Numbers: PROTOCOL.md, 6 ---- */

static bool same_position(const struct position *a, const struct position *b)
{
    return a->n == b->n && memcmp(a->stream, b->stream, sizeof a->stream) == 0;
}

static void new_stream(struct relay *relay)
{
    struct vt_why why = {{0}};

    relay->last_n = 0;
    relay_command_drop(&relay->doubt);
    if (relay->config.tls.random(relay->config.tls.random_ctx, relay->stream, sizeof relay->stream) < 0) {
        (void)vt_fail(&why, VT_EFAIL, "no random numbers for a new stream");
        relay_give_up(relay, VT_EFAIL, &why);
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
    vt_error("relay: %sthe outcome of command %" PRIu64 " is unknown: the instance went on without it (another shim, or "
             "a restored state); the guest gets TPM_FAIL", relay->label, relay->command.n);
    relay_command_drop(&relay->command);
    relay_answer_code(relay, TPM_FAIL);
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
    vt_notice("relay: %sthe instance was used by another shim or its state was restored: starting a new stream",
              relay->label);
    new_stream(relay);
    return false;
}

static void number_command(struct relay *relay)
{
    if (relay->doubt.n && is_mine(relay) && relay->seen.n == relay->doubt.n)
        relay->last_n = relay->doubt.n;
    relay_command_drop(&relay->doubt);
    relay->command.n = relay->last_n + 1;
    relay->before = relay->seen;
}

/* ---- Sending ---- */

void relay_send(struct relay *relay, const Vtpm__Message *msg)
{
    int err = channel_send(relay->ch, msg);

    if (err)
        relay_fail(relay, err, message_name(msg));
}

#define BODY(msg, which, field, part) ((msg).body_case = VTPM__MESSAGE__BODY_##which, (msg).field = (part))

static void send_hello(struct relay *relay)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Hello hello = VTPM__HELLO__INIT;
    char software[MESSAGE_TEXT_MAX + 1] = "";

    strncpy(software, relay->config.software, MESSAGE_TEXT_MAX);
    hello.version = 2;
    hello.software = software;
    BODY(msg, HELLO, hello, &hello);
    relay_send(relay, &msg);
}

static void fill_guest(struct relay *relay, Vtpm__GuestEpoch *guest)
{
    guest->boot_id.data = relay->config.boot_id;
    guest->boot_id.len = sizeof relay->config.boot_id;
    guest->domid = relay->config.domid;
    guest->has_domid = relay->config.has_domid;
    guest->domain = relay->config.domain;
}

void relay_send_attach(struct relay *relay)
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
    relay_send(relay, &msg);
}

void relay_send_power_on(struct relay *relay, int startup)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__PowerOn power_on = VTPM__POWER_ON__INIT;
    Vtpm__GuestEpoch guest = VTPM__GUEST_EPOCH__INIT;

    fill_guest(relay, &guest);
    power_on.startup = (Vtpm__Startup)startup;
    power_on.guest = &guest;
    BODY(msg, POWER_ON, power_on, &power_on);
    relay_send(relay, &msg);
}

/*
 * The shim notes the number down before it is used, or it could not tell after its own death what happened to it.
 * False: it could not, so the guest is told to try again; a number that was new is free again.
 */
static bool note(struct relay *relay)
{
    const bool is_new = !relay->command.n;
    struct relay_mark mark;

    if (is_new)
        number_command(relay);
    if (relay->command.noted || !relay->config.note)
        return true;
    mark = relay_mark_of(relay, &relay->command);
    relay->command.noted = relay->config.note(relay->config.note_ctx, &mark) == VT_OK;
    if (relay->command.noted)
        return true;
    if (is_new)
        relay->command.n = 0;
    relay_stop_waiting(relay, TPM_RETRY);
    return false;
}

void relay_send_execute(struct relay *relay)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Execute execute = VTPM__EXECUTE__INIT;

    relay->resend_at = UINT64_MAX;
    if (!note(relay))
        return;
    execute.stream.data = relay->stream;
    execute.stream.len = sizeof relay->stream;
    execute.n = relay->command.n;
    execute.locality = relay->command.locality;
    execute.command.data = relay->command.bytes;
    execute.command.len = relay->command.len;
    BODY(msg, EXECUTE, execute, &execute);
    relay_send(relay, &msg);
}

void relay_send_detach(struct relay *relay, bool off)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Detach detach = VTPM__DETACH__INIT;

    detach.off = off;
    BODY(msg, DETACH, detach, &detach);
    relay_send(relay, &msg);
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
    relay->is_held = false;
    if (!reconcile(relay))
        return;
    /* While the server's disk is full this is repeated every two seconds, and after each power off. */
    if (!relay->no_store_since && !relay->deed.is_off_sent)
        vt_info("relay: %sattached to instance %s at %s (%s)", relay->label, text, relay->config.server, attached->state);
    if (relay->config.is_monitored)
        relay_deed_attached(relay, (int)attached->power);
    else
        relay_send_power_on(relay, relay->config.startup);
}

void relay_become_ready(struct relay *relay)
{
    relay->state = READY;
    relay->was_ready = true;
    relay->is_moved = false;
    relay->no_store_since = 0;
    relay->failures = 0;
    relay->resend_at = UINT64_MAX;
    if (relay->command.bytes)
        relay_send_execute(relay);
    else
        relay_deed_go(relay);
}

static void on_power_result(struct relay *relay, const Vtpm__PowerResult *result)
{
    relay->said[0] = '\0';
    if (result->acted)
        vt_notice("relay: %sthe TPM was powered on", relay->label);
    if (result->tpm_rc)
        vt_warning("relay: %sTPM_Startup at power on gave 0x%x: the TPM is not started", relay->label, result->tpm_rc);
    relay_deed_end(relay, VT_OK, result->tpm_rc, false);
    relay_become_ready(relay);
}

/* Takes msg. */
static void on_response(struct relay *relay, Vtpm__Message *msg)
{
    relay->last_n = relay->command.n;
    if (relay->is_not_now) {
        vt_notice("relay: %sserver %s executes commands again", relay->label, relay->config.server);
        relay->said[0] = '\0';
        relay->is_not_now = false;
    }
    relay_command_drop(&relay->command);
    relay->response_msg = msg;
    relay->response = msg->response->response.data;
    relay->response_len = msg->response->response.len;
    relay->has_response = true;
}

/* Not executed: the number is free for the next command. */
static void answer_instead(struct relay *relay, uint32_t code)
{
    relay_command_drop(&relay->command);
    relay_answer_code(relay, code);
}

/* True: the guest has waited long enough for a store that takes nothing. */
static bool is_not_now_for_long(struct relay *relay, uint64_t now_ms)
{
    relay->is_not_now = true;
    if (!relay->command.not_now_ms)
        relay->command.not_now_ms = now_ms;
    return now_ms - relay->command.not_now_ms >= NOT_NOW_MS;
}

/* The server answers the Execute with an Error: it was not executed, or the number does not fit. */
static void on_command_error(struct relay *relay, uint64_t now_ms, int err, const struct vt_why *why)
{
    const struct relay_advice *advice = relay_advice(err);

    relay_complain(relay, why, advice->todo);
    if (err == VT_ECONFLICT) {
        outcome_lost(relay);
    } else if (advice->command == RELAY_REFUSED) {
        answer_instead(relay, TPM_FAIL);
    } else if (!relay_no_store(err) || !is_not_now_for_long(relay, now_ms)) {
        relay->resend_at = now_ms + RESEND_MS;
    } else if (advice->command == RELAY_NOT_NOW) {
        answer_instead(relay, TPM_RETRY);
    } else {
        relay_stop_waiting(relay, TPM_RETRY);
        /* The next Attached tells whether the number was used. */
        relay_give_up(relay, err, why);
    }
}

/*
 * The answer to PowerOn. What passes by itself is asked again on a new connection: a guest behind a TPM that is off
 * would hear TPM_FAIL for good. Else the TPM itself tells the guest that it is not there.
 */
static void on_power_error(struct relay *relay, int err, const struct vt_why *why)
{
    if (relay_no_store(err) || err == VT_EAGAIN || err == VT_ENOMEM) {
        relay_give_up(relay, err, why);
        return;
    }
    relay_complain(relay, why, relay_advice(err)->todo);
    relay_deed_end(relay, err, 0, false);
    relay_become_ready(relay);
}

static void on_error(struct relay *relay, uint64_t now_ms, const Vtpm__Error *error)
{
    int err = error->code <= 1000 ? -(int)error->code : VT_EFAIL;
    struct vt_why why = {{0}};

    (void)vt_fail(&why, err, "%s (%s)", error->text, vt_err_text(err));
    if (relay_ticket_error(relay, err, error->fatal, &why))
        return;
    if (error->fatal || channel_phase(relay->ch) != CHANNEL_ATTACHED) {
        relay_give_up(relay, err, &why);
    } else if (relay->state != READY) {
        on_power_error(relay, err, &why);
    } else if (relay->command.n) {
        on_command_error(relay, now_ms, err, &why);
    } else if (relay->deed.kind) {
        relay_deed_error(relay, err, &why);
    } else {
        relay_complain(relay, &why, relay_advice(err)->todo);
    }
}

/* Takes msg. The channel has checked that it may come now. */
static void on_message(struct relay *relay, uint64_t now_ms, Vtpm__Message *msg)
{
    switch ((int)msg->body_case) {
    case VTPM__MESSAGE__BODY_HELLO:
        if (relay->config.entropy)
            relay->config.entropy(relay->config.entropy_ctx, msg->hello->entropy.data, msg->hello->entropy.len);
        if (!relay_ticket_first(relay))
            relay_send_attach(relay);
        break;
    case VTPM__MESSAGE__BODY_TICKET:
        relay_ticket_given(relay, msg->ticket);
        break;
    case VTPM__MESSAGE__BODY_TICKET_TAKEN:
        relay_ticket_taken(relay);
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
    case VTPM__MESSAGE__BODY_PLATFORM_RESULT:
        relay_deed_end(relay, VT_OK, msg->platform_result->tpm_rc, msg->platform_result->established);
        break;
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
        relay_give_up(relay, err, &why);
    else
        send_hello(relay);
    return !err;
}

void relay_pump(struct relay *relay, uint64_t now_ms)
{
    Vtpm__Message *msg;
    struct vt_why why = {{0}};
    int err = VT_OK;

    relay->now_ms = now_ms;
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
        relay_give_up(relay, err, &why);
}

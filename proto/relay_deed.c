/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A monitor's deeds. They have no numbers: a power event is what it was also when it is done twice before the next
 * command, and so are Platform's acts but two, whose second time would be another one.
 */
#include "proto/relay_state.h"

#include "proto/relay_errors.h"
#include "server/base/alloc.h"
#include "server/base/log.h"

#define RESEND_MS  100u
#define NOT_NOW_MS 2000u
/* As for a whole attach: a server that says nothing for so long is not there. */
#define POWER_MS   30000u

static bool is_platform(int kind)
{
    return kind >= RELAY_HASH_START && kind <= RELAY_RESET_ESTABLISHED;
}

static bool is_repeatable(int kind)
{
    return kind != RELAY_HASH_DATA && kind != RELAY_HASH_END;
}

/* ---- From the monitor ---- */

int relay_submit_deed(struct relay *relay, uint64_t now_ms, const struct relay_deed *deed)
{
    uint8_t *bytes = NULL;

    if (relay_busy(relay))
        return VT_EAGAIN;
    if (deed->kind < RELAY_HASH_START || deed->kind > RELAY_BRING || deed->len > MESSAGE_STATE_MAX ||
        (deed->kind < RELAY_START && deed->len > MESSAGE_COMMAND_MAX) || deed->locality > 4 ||
        (deed->kind > RELAY_START && !relay->config.is_monitored) ||
        ((deed->kind == RELAY_TICKET || deed->kind == RELAY_STATE) && deed->len > MESSAGE_NAME_MAX) ||
        (deed->kind == RELAY_BRING && !deed->len))
        return VT_EUSAGE;
    if (deed->len) {
        bytes = vt_memdup(deed->bytes, deed->len);
        if (!bytes)
            return VT_ENOMEM;
    }
    relay->deed = (struct deed){
        .kind = (int)deed->kind,
        .startup = deed->startup,
        .locality = deed->locality,
        .bytes = bytes,
        .len = deed->len,
        .since_ms = now_ms,
    };
    relay->now_ms = now_ms;
    if (relay->state == READY)
        relay_deed_go(relay);
    else if (relay->state == HELD)
        relay_ticket_use(relay);
    else if (relay->state == DOWN && (!relay->slowly || deed->kind == RELAY_BRING))
        relay->retry_at = now_ms;
    return VT_OK;
}

bool relay_result(const struct relay *relay, struct relay_result *result)
{
    *result = relay->result;
    return relay->has_result;
}

void relay_deed_end(struct relay *relay, int err, uint32_t tpm_rc, bool is_established)
{
    const bool is_ticket = relay->deed.kind == RELAY_TICKET || relay->deed.kind == RELAY_STATE;

    if (!relay->deed.kind)
        return;
    vt_free_wiped(relay->deed.bytes, relay->deed.len);
    relay->deed = (struct deed){0};
    relay->resend_at = UINT64_MAX;
    relay->result = (struct relay_result){.err = err, .tpm_rc = tpm_rc, .is_established = is_established,
                                          .ticket = !err && is_ticket ? relay->given.bytes : NULL,
                                          .ticket_len = !err && is_ticket ? relay->given.len : 0};
    relay->has_result = true;
}

/* ---- To the server ---- */

static void fill_platform(const struct deed *deed, Vtpm__Platform *platform)
{
    platform->act_case = (Vtpm__Platform__ActCase)deed->kind;
    switch (deed->kind) {
    case RELAY_HASH_DATA:
        platform->hash_data = (ProtobufCBinaryData){.data = deed->bytes, .len = deed->len};
        break;
    case RELAY_RESET_ESTABLISHED:
        platform->reset_established = deed->locality;
        break;
    default:
        /* The others are one bool each, in the same place. */
        platform->hash_start = true;
        break;
    }
}

static void send_platform(struct relay *relay)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Platform platform = VTPM__PLATFORM__INIT;

    if (relay->deed.is_sent && !is_repeatable(relay->deed.kind)) {
        vt_error("relay: %sthe connection was lost while the machine's own hash was under way: it must be begun anew",
                 relay->label);
        relay_deed_end(relay, VT_EUNKNOWN, 0, false);
        return;
    }
    fill_platform(&relay->deed, &platform);
    msg.body_case = VTPM__MESSAGE__BODY_PLATFORM;
    msg.platform = &platform;
    relay->deed.is_sent = true;
    relay_send(relay, &msg);
}

/* The server acts on PowerOn when the TPM is off, and Attached says whether it is. */
static void power_off(struct relay *relay)
{
    relay->deed.is_off_sent = true;
    relay_send_detach(relay, true);
    relay_send_attach(relay);
}

void relay_deed_go(struct relay *relay)
{
    relay->resend_at = UINT64_MAX;
    if (!relay->deed.kind)
        return;
    if (is_platform(relay->deed.kind)) {
        send_platform(relay);
        return;
    }
    if (relay->deed.kind >= RELAY_TICKET) {
        relay_ticket_go(relay);
        return;
    }
    relay->state = GREETING;
    relay->attach_by = relay->now_ms + POWER_MS;
    if (relay->deed.kind == RELAY_START)
        relay_send_power_on(relay, relay->deed.startup);
    else
        power_off(relay);
}

/* ---- From the server ---- */

static void refuse_off(struct relay *relay)
{
    vt_error("relay: %sthe server does not let this shim power the TPM off: the machine's reset has not reached it",
             relay->label);
    relay_deed_end(relay, VT_EPERM, 0, false);
    relay_become_ready(relay);
}

void relay_deed_attached(struct relay *relay, int power)
{
    const bool is_off = power == VTPM__POWER__POWER_OFF;
    const int kind = relay->deed.kind;

    relay->said[0] = '\0';
    if ((kind == RELAY_RESET && is_off) || kind == RELAY_START) {
        relay_send_power_on(relay, relay->deed.startup);
        return;
    }
    if (kind == RELAY_OFF && is_off) {
        relay_deed_end(relay, VT_OK, 0, false);
    } else if (kind == RELAY_OFF || kind == RELAY_RESET) {
        if (relay->deed.is_off_sent)
            refuse_off(relay);
        else
            power_off(relay);
        return;
    }
    relay_become_ready(relay);
}

void relay_deed_error(struct relay *relay, int err, const struct vt_why *why)
{
    struct deed *deed = &relay->deed;

    relay_complain(relay, why, relay_advice(err)->todo);
    if (!deed->not_now_ms)
        deed->not_now_ms = relay->now_ms;
    deed->is_sent = false;
    /* It has not happened, and may in a moment. */
    if ((relay_no_store(err) || err == VT_EAGAIN) && err != VT_EUNKNOWN && relay->now_ms - deed->not_now_ms < NOT_NOW_MS)
        relay->resend_at = relay->now_ms + RESEND_MS;
    else
        relay_deed_end(relay, err, 0, false);
}

void relay_deed_disconnected(struct relay *relay)
{
    relay->deed.is_off_sent = false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Live migration: PROTOCOL.md, 12. A ticket is given away, or brought; the next Attach claims what it stands for. */
#include "proto/relay_state.h"

#include "proto/relay_errors.h"
#include "server/base/log.h"

/* As for a whole attach; a claim may ask another server in between. */
#define BRING_MS 30000u

static void ask(struct relay *relay)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__TicketAsk body = VTPM__TICKET_ASK__INIT;
    char to[MESSAGE_NAME_MAX + 1] = "";

    if (relay->deed.len)
        memcpy(to, relay->deed.bytes, relay->deed.len);
    body.to = to;
    msg.body_case = VTPM__MESSAGE__BODY_TICKET_ASK;
    msg.ticket_ask = &body;
    relay_send(relay, &msg);
}

static void bring(struct relay *relay, uint8_t *ticket)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__TicketBring body = VTPM__TICKET_BRING__INIT;

    relay->state = GREETING;
    relay->attach_by = relay->now_ms + BRING_MS;
    relay->is_bringing = true;
    body.ticket = (ProtobufCBinaryData){.data = ticket, .len = MESSAGE_TICKET};
    msg.body_case = VTPM__MESSAGE__BODY_TICKET_BRING;
    msg.ticket_bring = &body;
    relay_send(relay, &msg);
}

static bool is_too_old(struct relay *relay)
{
    if (channel_version(relay->ch) >= 2)
        return false;
    vt_error("relay: %sserver %s is of an older version, which neither gives nor takes tickets", relay->label,
             relay->config.server);
    relay_deed_end(relay, VT_ENOTSUP, 0, false);
    return true;
}

void relay_ticket_go(struct relay *relay)
{
    if (is_too_old(relay))
        return;
    if (relay->deed.kind == RELAY_TICKET) {
        ask(relay);
        return;
    }
    /* What it has is let go, not powered off: the ticket may stand for just that. */
    relay_send_detach(relay, false);
    bring(relay, relay->deed.bytes);
}

bool relay_ticket_first(struct relay *relay)
{
    if (relay->deed.kind == RELAY_BRING && !is_too_old(relay))
        bring(relay, relay->deed.bytes);
    else if (relay->is_held && channel_version(relay->ch) >= 2)
        bring(relay, relay->held);
    else
        return false;
    return true;
}

void relay_ticket_given(struct relay *relay, const Vtpm__Ticket *ticket)
{
    memcpy(relay->given, ticket->ticket.data, sizeof relay->given);
    relay_deed_end(relay, VT_OK, 0, false);
}

void relay_ticket_use(struct relay *relay)
{
    relay->state = GREETING;
    relay->attach_by = relay->now_ms + BRING_MS;
    if (relay->deed.kind == RELAY_BRING)
        bring(relay, relay->deed.bytes);
    else
        relay_send_attach(relay);
}

void relay_ticket_taken(struct relay *relay)
{
    relay->is_bringing = false;
    relay->said[0] = '\0';
    relay->failures = 0;
    if (relay->deed.kind == RELAY_BRING) {
        memcpy(relay->held, relay->deed.bytes, sizeof relay->held);
        relay->is_held = true;
        relay_deed_end(relay, VT_OK, 0, false);
    }
    relay->state = HELD;
    if (relay_is_waiting(relay))
        relay_ticket_use(relay);
}

/* The instance is elsewhere, and stays there: this guest is a copy of one that goes on without it. */
static void lost(struct relay *relay, int err, const struct vt_why *why)
{
    vt_error("relay: %sthe instance has not come with its guest, and will not: %s", relay->label, why->text);
    relay->is_held = false;
    relay->close_wanted = relay->ended = true;
    relay->ended_err = relay->last_err = err;
    if (relay->deed.kind) {
        relay_deed_end(relay, err, 0, false);
    } else if (relay->command.bytes) {
        relay_command_drop(&relay->command);
        relay_answer_code(relay, TPM_FAIL);
    }
}

bool relay_ticket_error(struct relay *relay, int err, bool is_fatal, const struct vt_why *why)
{
    const bool was_bringing = relay->is_bringing;

    relay->is_bringing = false;
    if (relay->deed.kind == RELAY_BRING && was_bringing && !is_fatal) {
        relay_complain(relay, why, "the monitor is told that the guest cannot come");
        relay_deed_end(relay, err, 0, false);
        relay->is_held = false;
        relay->close_wanted = true;
        relay->last_err = VT_OK;
        return true;
    }
    if (relay->is_held && (err == VT_ECONFLICT || err == VT_ENOTFOUND)) {
        lost(relay, err, why);
        return true;
    }
    return false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Live migration: PROTOCOL.md, 12. A ticket is given away, or brought; the next Attach claims what it stands for. */
#include "proto/relay_state.h"

#include "proto/relay_errors.h"
#include "server/base/alloc.h"
#include "server/base/log.h"

/* As for a whole attach; a claim may ask another server in between. */
#define BRING_MS 30000u

void relay_carried_drop(struct carried *carried)
{
    vt_free(carried->bytes);
    *carried = (struct carried){0};
}

static void ask(struct relay *relay)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__TicketAsk body = VTPM__TICKET_ASK__INIT;
    char to[MESSAGE_NAME_MAX + 1] = "";

    relay_carried_drop(&relay->given);
    if (relay->deed.len)
        memcpy(to, relay->deed.bytes, relay->deed.len);
    body.to = to;
    body.with_state = relay->deed.kind == RELAY_STATE;
    msg.body_case = VTPM__MESSAGE__BODY_TICKET_ASK;
    msg.ticket_ask = &body;
    relay_send(relay, &msg);
}

static void ask_for_more(struct relay *relay)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__TicketRead body = VTPM__TICKET_READ__INIT;

    body.offset = (uint32_t)relay->given.have;
    msg.body_case = VTPM__MESSAGE__BODY_TICKET_READ;
    msg.ticket_read = &body;
    relay_send(relay, &msg);
}

static void bring_ticket(struct relay *relay)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__TicketBring body = VTPM__TICKET_BRING__INIT;

    body.ticket = (ProtobufCBinaryData){.data = relay->held.bytes, .len = MESSAGE_TICKET};
    relay->held.have = MESSAGE_TICKET;
    msg.body_case = VTPM__MESSAGE__BODY_TICKET_BRING;
    msg.ticket_bring = &body;
    relay_send(relay, &msg);
}

static void bring_part(struct relay *relay)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__StateBring body = VTPM__STATE_BRING__INIT;
    struct carried *held = &relay->held;

    body.size = (uint32_t)held->len;
    body.offset = (uint32_t)held->have;
    body.state.data = held->bytes + held->have;
    body.state.len = VT_MIN(held->len - held->have, (size_t)MESSAGE_PART_MAX);
    held->have += body.state.len;
    msg.body_case = VTPM__MESSAGE__BODY_STATE_BRING;
    msg.state_bring = &body;
    relay_send(relay, &msg);
}

/* From the first byte on. */
static void bring(struct relay *relay)
{
    relay->state = GREETING;
    relay->attach_by = relay->now_ms + BRING_MS;
    relay->is_bringing = true;
    relay->held.have = 0;
    if (relay->held.len == MESSAGE_TICKET)
        bring_ticket(relay);
    else
        bring_part(relay);
}

/* What the monitor brings takes the place of what it brought before. False: the deed has ended. */
static bool hold(struct relay *relay)
{
    relay_carried_drop(&relay->held);
    relay->is_held = false;
    relay->held.bytes = vt_memdup(relay->deed.bytes, relay->deed.len);
    if (!relay->held.bytes) {
        relay_deed_end(relay, VT_ENOMEM, 0, false);
        return false;
    }
    relay->held.len = relay->deed.len;
    return true;
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
    if (relay->deed.kind != RELAY_BRING) {
        ask(relay);
        return;
    }
    if (!hold(relay))
        return;
    /* What it has is let go, not powered off: the ticket may stand for just that. */
    relay_send_detach(relay, false);
    bring(relay);
}

bool relay_ticket_first(struct relay *relay)
{
    if (relay->deed.kind == RELAY_BRING && (is_too_old(relay) || !hold(relay)))
        return false;
    if (relay->deed.kind != RELAY_BRING && (!relay->is_held || channel_version(relay->ch) < 2))
        return false;
    bring(relay);
    return true;
}

static int take_part(struct carried *given, const Vtpm__Ticket *part)
{
    if (!given->bytes) {
        if (!part->size || part->size > MESSAGE_STATE_MAX)
            return VT_ETOOBIG;
        given->bytes = vt_calloc(1, part->size);
        given->len = part->size;
    }
    if (!given->bytes)
        return VT_ENOMEM;
    if (part->state.len > given->len - given->have)
        return VT_EPROTO;
    memcpy(given->bytes + given->have, part->state.data, part->state.len);
    given->have += part->state.len;
    return VT_OK;
}

void relay_ticket_given(struct relay *relay, const Vtpm__Ticket *ticket)
{
    struct carried *given = &relay->given;
    int err = VT_OK;

    if (ticket->ticket.len) {
        given->bytes = vt_memdup(ticket->ticket.data, ticket->ticket.len);
        given->len = given->have = ticket->ticket.len;
        err = given->bytes ? VT_OK : VT_ENOMEM;
    } else {
        err = take_part(given, ticket);
    }
    if (!err && given->have < given->len) {
        ask_for_more(relay);
        return;
    }
    /* It has left: whoever attaches is told so. */
    relay->close_wanted = relay->close_wanted || relay->deed.kind == RELAY_STATE;
    relay_deed_end(relay, err, 0, false);
}

void relay_ticket_use(struct relay *relay)
{
    relay->state = GREETING;
    relay->attach_by = relay->now_ms + BRING_MS;
    if (relay->deed.kind != RELAY_BRING)
        relay_send_attach(relay);
    else if (hold(relay))
        bring(relay);
}

void relay_ticket_taken(struct relay *relay)
{
    if (relay->held.have < relay->held.len) {
        bring_part(relay);
        return;
    }
    relay->is_bringing = relay->is_moved = false;
    relay->said[0] = '\0';
    relay->failures = 0;
    if (relay->deed.kind == RELAY_BRING) {
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
    /* A state is taken once, and that was ours: its answer was lost. */
    if (relay->is_held && was_bringing && !is_fatal && err == VT_EEXISTS) {
        relay_ticket_use(relay);
        return true;
    }
    /* It has left with the state that did not get here. */
    if (relay->deed.kind == RELAY_STATE && is_fatal && err == VT_EMOVED) {
        relay_complain(relay, why, "`vtpmctl instance export` to the same peer gives the file");
        relay_deed_end(relay, err, 0, false);
        return false;
    }
    if (relay->is_held && (err == VT_ECONFLICT || err == VT_ENOTFOUND || err == VT_EMOVED)) {
        lost(relay, err, why);
        return true;
    }
    return false;
}

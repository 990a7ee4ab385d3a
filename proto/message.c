/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/message.h"

#include "proto/frame.h"
#include "proto/pb.h"

/* ---- Bounds: one row per field. Empty is allowed where `empty` says so, besides min..max. ---- */

struct rule {
    int body;
    size_t offset; /* of the field in the body's structure */
    size_t min, max;
    bool empty;
    const char *name;
};

static const struct rule byte_rules[] = {
#define BYTES(body, type, field, min, max, empty)                                                   \
    {VTPM__MESSAGE__BODY_##body, offsetof(Vtpm__##type, field), min, max, empty, #type "." #field}
    BYTES(HELLO, Hello, entropy, 32, 32, true),
    BYTES(ATTACH, Attach, uuid, 16, 16, true),
    BYTES(ATTACH, Attach, stream, MESSAGE_STREAM, MESSAGE_STREAM, false),
    BYTES(ATTACHED, Attached, uuid, 16, 16, true),
    BYTES(ATTACHED, Attached, stream, MESSAGE_STREAM, MESSAGE_STREAM, true),
    BYTES(EXECUTE, Execute, stream, MESSAGE_STREAM, MESSAGE_STREAM, false),
    BYTES(EXECUTE, Execute, command, MESSAGE_COMMAND_MIN, MESSAGE_COMMAND_MAX, false),
    BYTES(RESPONSE, Response, response, MESSAGE_COMMAND_MIN, MESSAGE_COMMAND_MAX, false),
    BYTES(TICKET, Ticket, ticket, MESSAGE_TICKET, MESSAGE_TICKET, true),
    BYTES(TICKET, Ticket, state, 0, MESSAGE_PART_MAX, true),
    BYTES(STATE_BRING, StateBring, state, 1, MESSAGE_PART_MAX, false),
    BYTES(TICKET_BRING, TicketBring, ticket, MESSAGE_TICKET, MESSAGE_TICKET, false),
    BYTES(PEER_ANSWER, PeerAnswer, data, 0, MESSAGE_PART_MAX, true),
#undef BYTES
};

static const struct rule text_rules[] = {
#define TEXT(body, type, field, max)                                                                \
    {VTPM__MESSAGE__BODY_##body, offsetof(Vtpm__##type, field), 0, max, true, #type "." #field}
    TEXT(HELLO, Hello, software, MESSAGE_TEXT_MAX),
    TEXT(ATTACH, Attach, front_end, MESSAGE_TEXT_MAX),
    TEXT(ATTACHED, Attached, state, MESSAGE_TEXT_MAX),
    TEXT(ERROR, Error, text, MESSAGE_ERROR_MAX),
    TEXT(TICKET_ASK, TicketAsk, to, MESSAGE_NAME_MAX),
    TEXT(PEER_ANSWER, PeerAnswer, name, MESSAGE_NAME_MAX),
#undef TEXT
};

static const char *const names[] = {
    [VTPM__MESSAGE__BODY__NOT_SET] = "nothing",
    [VTPM__MESSAGE__BODY_HELLO] = "Hello",
    [VTPM__MESSAGE__BODY_ATTACH] = "Attach",
    [VTPM__MESSAGE__BODY_ATTACHED] = "Attached",
    [VTPM__MESSAGE__BODY_POWER_ON] = "PowerOn",
    [VTPM__MESSAGE__BODY_POWER_RESULT] = "PowerResult",
    [VTPM__MESSAGE__BODY_EXECUTE] = "Execute",
    [VTPM__MESSAGE__BODY_RESPONSE] = "Response",
    [VTPM__MESSAGE__BODY_CANCEL] = "Cancel",
    [VTPM__MESSAGE__BODY_DETACH] = "Detach",
    [VTPM__MESSAGE__BODY_ERROR] = "Error",
    [VTPM__MESSAGE__BODY_PLATFORM] = "Platform",
    [VTPM__MESSAGE__BODY_PLATFORM_RESULT] = "PlatformResult",
    [VTPM__MESSAGE__BODY_TICKET_ASK] = "TicketAsk",
    [VTPM__MESSAGE__BODY_TICKET] = "Ticket",
    [VTPM__MESSAGE__BODY_TICKET_BRING] = "TicketBring",
    [VTPM__MESSAGE__BODY_TICKET_TAKEN] = "TicketTaken",
    [VTPM__MESSAGE__BODY_TICKET_READ] = "TicketRead",
    [VTPM__MESSAGE__BODY_STATE_BRING] = "StateBring",
    [VTPM__MESSAGE__BODY_PEER_ASK] = "PeerAsk",
    [VTPM__MESSAGE__BODY_PEER_ANSWER] = "PeerAnswer",
};

const char *message_name(const Vtpm__Message *msg)
{
    size_t body = (size_t)msg->body_case;

    return body < VT_COUNT(names) && names[body] ? names[body] : "nothing";
}

/* The body's structure: all members of the union are pointers to one. */
static const char *body_of(const Vtpm__Message *msg)
{
    return (const char *)msg->hello;
}

static int check_bytes(const Vtpm__Message *msg, const struct rule *rule, struct vt_why *why)
{
    ProtobufCBinaryData field;

    memcpy(&field, body_of(msg) + rule->offset, sizeof field);
    if ((rule->empty && !field.len) || (field.len >= rule->min && field.len <= rule->max))
        return VT_OK;
    return vt_fail(why, VT_EPROTO, "%s has %zu bytes, not %zu to %zu", rule->name, field.len, rule->min,
                   rule->max);
}

static int check_text(const Vtpm__Message *msg, const struct rule *rule, struct vt_why *why)
{
    const char *text;

    memcpy(&text, body_of(msg) + rule->offset, sizeof text);
    if (!text || strnlen(text, rule->max + 1) <= rule->max)
        return VT_OK;
    return vt_fail(why, VT_EPROTO, "%s is longer than %zu characters", rule->name, rule->max);
}

static int check_rules(const Vtpm__Message *msg, struct vt_why *why)
{
    int err = VT_OK;

    for (size_t i = 0; i < VT_COUNT(byte_rules) && !err; i++)
        if (byte_rules[i].body == (int)msg->body_case)
            err = check_bytes(msg, &byte_rules[i], why);
    for (size_t i = 0; i < VT_COUNT(text_rules) && !err; i++)
        if (text_rules[i].body == (int)msg->body_case)
            err = check_text(msg, &text_rules[i], why);
    return err;
}

/* ---- What does not fit a row ---- */

static int check_guest(const Vtpm__GuestEpoch *guest, struct vt_why *why)
{
    if (!guest)
        return VT_OK;
    if (guest->boot_id.len && guest->boot_id.len != 16)
        return vt_fail(why, VT_EPROTO, "GuestEpoch.boot_id has %zu bytes, not 16", guest->boot_id.len);
    if (guest->domain && strnlen(guest->domain, MESSAGE_DOMAIN_MAX + 1) > MESSAGE_DOMAIN_MAX)
        return vt_fail(why, VT_EPROTO, "GuestEpoch.domain is longer than %d characters", MESSAGE_DOMAIN_MAX);
    return VT_OK;
}

static int check_execute(const Vtpm__Execute *execute, struct vt_why *why)
{
    if (!execute->n)
        return vt_fail(why, VT_EPROTO, "Execute.n is 0");
    if (execute->locality > 4)
        return vt_fail(why, VT_EPROTO, "Execute.locality is %u", execute->locality);
    return VT_OK;
}

static int check_platform(const Vtpm__Platform *platform, struct vt_why *why)
{
    switch ((int)platform->act_case) {
    case VTPM__PLATFORM__ACT__NOT_SET:
        return vt_fail(why, VT_EPROTO, "Platform names no act");
    case VTPM__PLATFORM__ACT_HASH_DATA:
        if (platform->hash_data.len > MESSAGE_COMMAND_MAX)
            return vt_fail(why, VT_EPROTO, "Platform.hash_data has %zu bytes", platform->hash_data.len);
        return VT_OK;
    case VTPM__PLATFORM__ACT_RESET_ESTABLISHED:
        if (platform->reset_established > 4)
            return vt_fail(why, VT_EPROTO, "Platform.reset_established is %u", platform->reset_established);
        return VT_OK;
    default:
        return VT_OK;
    }
}

static int check_power_on(const Vtpm__PowerOn *power_on, struct vt_why *why)
{
    if ((unsigned)power_on->startup > VTPM__STARTUP__STARTUP_STATE)
        return vt_fail(why, VT_EPROTO, "PowerOn.startup is %d", (int)power_on->startup);
    return check_guest(power_on->guest, why);
}

static int check_state_bring(const Vtpm__StateBring *bring, struct vt_why *why)
{
    if (bring->size <= MESSAGE_STATE_MAX && bring->offset < bring->size && bring->state.len <= bring->size - bring->offset)
        return VT_OK;
    return vt_fail(why, VT_EPROTO, "StateBring's %zu bytes at %u are not of %u, at most %u", bring->state.len,
                   (unsigned)bring->offset, (unsigned)bring->size, MESSAGE_STATE_MAX);
}

/* Either of the two. */
static int check_ticket(const Vtpm__Ticket *ticket, struct vt_why *why)
{
    if (!ticket->ticket.len == !ticket->state.len)
        return vt_fail(why, VT_EPROTO, "Ticket has neither a ticket nor state, or both");
    return VT_OK;
}

static int check_peer_ask(const Vtpm__PeerAsk *ask, struct vt_why *why)
{
    switch ((int)ask->what_case) {
    case VTPM__PEER_ASK__WHAT_LOOK:
    case VTPM__PEER_ASK__WHAT_CLAIM:
        if (ask->look.len != MESSAGE_TICKET) /* the members of the union are the same */
            return vt_fail(why, VT_EPROTO, "PeerAsk's ticket has %zu bytes, not %d", ask->look.len, MESSAGE_TICKET);
        return VT_OK;
    case VTPM__PEER_ASK__WHAT_READ:
        return VT_OK;
    default:
        return vt_fail(why, VT_EPROTO, "PeerAsk asks for nothing");
    }
}

static int check_body(const Vtpm__Message *msg, struct vt_why *why)
{
    switch ((int)msg->body_case) {
    case VTPM__MESSAGE__BODY_HELLO:
        return msg->hello->version ? VT_OK : vt_fail(why, VT_EPROTO, "Hello.version is 0");
    case VTPM__MESSAGE__BODY_ATTACH:
        return check_guest(msg->attach->guest, why);
    case VTPM__MESSAGE__BODY_ATTACHED:
        if ((unsigned)msg->attached->power > VTPM__POWER__POWER_NEEDS_POWER_ON)
            return vt_fail(why, VT_EPROTO, "Attached.power is %d", (int)msg->attached->power);
        return VT_OK;
    case VTPM__MESSAGE__BODY_POWER_ON:
        return check_power_on(msg->power_on, why);
    case VTPM__MESSAGE__BODY_EXECUTE:
        return check_execute(msg->execute, why);
    case VTPM__MESSAGE__BODY_RESPONSE:
        return msg->response->n ? VT_OK : vt_fail(why, VT_EPROTO, "Response.n is 0");
    case VTPM__MESSAGE__BODY_PLATFORM:
        return check_platform(msg->platform, why);
    case VTPM__MESSAGE__BODY_TICKET:
        return check_ticket(msg->ticket, why);
    case VTPM__MESSAGE__BODY_STATE_BRING:
        return check_state_bring(msg->state_bring, why);
    case VTPM__MESSAGE__BODY_PEER_ASK:
        return check_peer_ask(msg->peer_ask, why);
    default:
        return VT_OK;
    }
}

int message_check(const Vtpm__Message *msg, struct vt_why *why)
{
    int err;

    if (msg->body_case == VTPM__MESSAGE__BODY__NOT_SET || !msg->hello)
        return vt_fail(why, VT_EPROTO, "a message without a body that this version knows");
    err = check_rules(msg, why);
    return err ? err : check_body(msg, why);
}

/* ---- Bytes ---- */

int message_unpack(const uint8_t *bytes, size_t len, Vtpm__Message **msg, struct vt_why *why)
{
    ProtobufCMessage *raw;
    int err = pb_unpack(&vtpm__message__descriptor, bytes, len, MESSAGE_BUDGET, &raw);

    if (err)
        return vt_fail(why, err, "a frame of %zu bytes is not a message: %s", len, vt_err_text(err));
    *msg = (Vtpm__Message *)raw;
    err = message_check(*msg, why);
    if (err) {
        pb_free(raw);
        *msg = NULL;
    }
    return err;
}

int message_pack(const Vtpm__Message *msg, struct vt_buf *out)
{
    int err = message_check(msg, NULL);
    size_t len;
    uint8_t *at;

    if (err)
        return err;
    len = vtpm__message__get_packed_size(msg);
    if (len > FRAME_MAX)
        return VT_ETOOBIG;
    err = frame_begin(out, len, &at);
    if (!err)
        vtpm__message__pack(msg, at);
    return err;
}

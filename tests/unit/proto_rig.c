/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto_rig.h"

int rig_random(void *ctx VT_UNUSED, unsigned char *out, size_t len)
{
    static uint64_t state = 0x9e3779b97f4a7c15u;

    for (size_t i = 0; i < len; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out[i] = (unsigned char)(state >> 32);
    }
    return 0;
}

void rig_psk(void *ctx, const char *identity, struct vt_key *key, bool *known)
{
    struct rig *rig = ctx;

    strncpy(rig->asked, identity, sizeof rig->asked - 1);
    *key = rig->key;
    *known = strcmp(identity, RIG_IDENTITY) == 0;
}

void rig_defaults(struct rig *rig)
{
    *rig = (struct rig){.identity = RIG_IDENTITY};
    memset(&rig->key, 0x5a, sizeof rig->key);
    rig->client_key = rig->key;
}

int rig_start(struct rig *rig)
{
    struct tls_config client = {.random = rig_random, .identity = rig->identity, .key = &rig->client_key,
                                .spare = rig->spare};
    struct tls_config server = {.server = true, .random = rig_random, .psk = rig_psk, .psk_ctx = rig,
                                .spare = rig->spare};
    int err = channel_new(&rig->client, &client);

    return err ? err : channel_new(&rig->server, &server);
}

void rig_stop(struct rig *rig)
{
    channel_free(rig->client);
    channel_free(rig->server);
    rig->client = rig->server = NULL;
}

bool rig_carry(struct rig *rig, bool to_client)
{
    struct vt_buf *from = channel_output(to_client ? rig->server : rig->client);
    struct channel *to = to_client ? rig->client : rig->server;
    size_t len = vt_buf_size(from);

    if (rig->step)
        len = VT_MIN(len, rig->step);
    len = VT_MIN(len, (size_t)32768);
    if (!len)
        return false;
    if (to_client) {
        rig->last_len = VT_MIN(len, sizeof rig->last_to_client);
        memcpy(rig->last_to_client, vt_buf_bytes(from) + len - rig->last_len, rig->last_len);
    }
    if (channel_feed(to, vt_buf_bytes(from), len))
        return false;
    vt_buf_drop(from, len);
    *(to_client ? &rig->to_client : &rig->to_server) += len;
    return true;
}

void rig_shake(struct rig *rig, int *client, int *server)
{
    bool moved = true;

    *client = *server = VT_EAGAIN;
    while (moved) {
        if (*client == VT_EAGAIN)
            *client = channel_handshake(rig->client, NULL);
        moved = rig_carry(rig, false);
        if (*server == VT_EAGAIN)
            *server = channel_handshake(rig->server, NULL);
        moved = rig_carry(rig, true) || moved;
    }
}

int rig_next(struct rig *rig, struct channel *ch, Vtpm__Message **msg)
{
    int err;

    for (;;) {
        err = channel_next(ch, msg, NULL);
        if (err != VT_EAGAIN || !rig_carry(rig, ch == rig->client))
            return err;
    }
}

int rig_pass(struct rig *rig, struct channel *from, const Vtpm__Message *msg)
{
    struct channel *to = from == rig->client ? rig->server : rig->client;
    Vtpm__Message *got = NULL;
    int err;

    assert_int_equal(channel_send(from, msg), VT_OK);
    err = rig_next(rig, to, &got);
    if (!err)
        assert_int_equal(got->body_case, msg->body_case);
    channel_message_free(got);
    return err;
}

void rig_open(struct rig *rig)
{
    int client, server;

    assert_int_equal(rig_start(rig), VT_OK);
    rig_shake(rig, &client, &server);
    assert_int_equal(client, VT_OK);
    assert_int_equal(server, VT_OK);
    assert_int_equal(rig_pass(rig, rig->client, make_hello()), VT_OK);
    assert_int_equal(rig_pass(rig, rig->server, make_hello()), VT_OK);
    assert_int_equal(channel_phase(rig->client), CHANNEL_IDLE);
    assert_int_equal(channel_phase(rig->server), CHANNEL_IDLE);
}

void rig_attach(struct rig *rig)
{
    rig_open(rig);
    assert_int_equal(rig_pass(rig, rig->client, make_attach()), VT_OK);
    assert_int_equal(rig_pass(rig, rig->server, make_attached()), VT_OK);
    assert_int_equal(channel_phase(rig->client), CHANNEL_ATTACHED);
    assert_int_equal(channel_phase(rig->server), CHANNEL_ATTACHED);
}

/* ---- Makers ---- */

static uint8_t pattern[8192] = {0xc1, 0, 0, 0, 10};

#define MAKER(name, Type, TYPE, field)                                                              \
    static Vtpm__Message *wrap_##field(Vtpm__##Type *body)                                          \
    {                                                                                               \
        static Vtpm__Message msg;                                                                   \
        msg = (Vtpm__Message)VTPM__MESSAGE__INIT;                                                   \
        msg.body_case = VTPM__MESSAGE__BODY_##TYPE;                                                 \
        msg.field = body;                                                                           \
        return &msg;                                                                                \
    }
MAKER(hello, Hello, HELLO, hello)
MAKER(attach, Attach, ATTACH, attach)
MAKER(attached, Attached, ATTACHED, attached)
MAKER(power_on, PowerOn, POWER_ON, power_on)
MAKER(power_result, PowerResult, POWER_RESULT, power_result)
MAKER(execute, Execute, EXECUTE, execute)
MAKER(response, Response, RESPONSE, response)
MAKER(cancel, Cancel, CANCEL, cancel)
MAKER(detach, Detach, DETACH, detach)
MAKER(error, Error, ERROR, error)
MAKER(platform, Platform, PLATFORM, platform)
MAKER(platform_result, PlatformResult, PLATFORM_RESULT, platform_result)
MAKER(ticket_ask, TicketAsk, TICKET_ASK, ticket_ask)
MAKER(ticket, Ticket, TICKET, ticket)
MAKER(ticket_bring, TicketBring, TICKET_BRING, ticket_bring)
MAKER(ticket_taken, TicketTaken, TICKET_TAKEN, ticket_taken)
MAKER(peer_ask, PeerAsk, PEER_ASK, peer_ask)
MAKER(peer_answer, PeerAnswer, PEER_ANSWER, peer_answer)
MAKER(ticket_read, TicketRead, TICKET_READ, ticket_read)
MAKER(state_bring, StateBring, STATE_BRING, state_bring)

static ProtobufCBinaryData some(size_t len)
{
    return (ProtobufCBinaryData){.len = len, .data = pattern};
}

Vtpm__Message *make_hello(void)
{
    static char software[] = "rig 1";
    static Vtpm__Hello body;

    body = (Vtpm__Hello)VTPM__HELLO__INIT;
    body.version = 1;
    body.software = software;
    return wrap_hello(&body);
}

Vtpm__Message *make_attach(void)
{
    static Vtpm__Attach body;
    static Vtpm__GuestEpoch guest;

    guest = (Vtpm__GuestEpoch)VTPM__GUEST_EPOCH__INIT;
    guest.boot_id = some(16);
    body = (Vtpm__Attach)VTPM__ATTACH__INIT;
    body.stream = some(16);
    body.guest = &guest;
    return wrap_attach(&body);
}

Vtpm__Message *make_attached(void)
{
    static Vtpm__Attached body;

    body = (Vtpm__Attached)VTPM__ATTACHED__INIT;
    body.uuid = some(16);
    return wrap_attached(&body);
}

Vtpm__Message *make_power_on(void)
{
    static Vtpm__PowerOn body;

    body = (Vtpm__PowerOn)VTPM__POWER_ON__INIT;
    body.startup = VTPM__STARTUP__STARTUP_CLEAR;
    return wrap_power_on(&body);
}

Vtpm__Message *make_power_result(void)
{
    static Vtpm__PowerResult body;

    body = (Vtpm__PowerResult)VTPM__POWER_RESULT__INIT;
    return wrap_power_result(&body);
}

Vtpm__Message *make_execute(uint64_t n, size_t len)
{
    static Vtpm__Execute body;

    body = (Vtpm__Execute)VTPM__EXECUTE__INIT;
    body.stream = some(16);
    body.n = n;
    body.command = some(len);
    return wrap_execute(&body);
}

Vtpm__Message *make_response(uint64_t n, size_t len)
{
    static Vtpm__Response body;

    body = (Vtpm__Response)VTPM__RESPONSE__INIT;
    body.n = n;
    body.response = some(len);
    return wrap_response(&body);
}

Vtpm__Message *make_cancel(uint64_t n)
{
    static Vtpm__Cancel body;

    body = (Vtpm__Cancel)VTPM__CANCEL__INIT;
    body.n = n;
    return wrap_cancel(&body);
}

Vtpm__Message *make_detach(void)
{
    static Vtpm__Detach body;

    body = (Vtpm__Detach)VTPM__DETACH__INIT;
    return wrap_detach(&body);
}

Vtpm__Message *make_error(bool fatal)
{
    static char text[] = "no";
    static Vtpm__Error body;

    body = (Vtpm__Error)VTPM__ERROR__INIT;
    body.code = 1;
    body.text = text;
    body.fatal = fatal;
    return wrap_error(&body);
}

Vtpm__Message *make_platform(void)
{
    static Vtpm__Platform body;

    body = (Vtpm__Platform)VTPM__PLATFORM__INIT;
    body.act_case = VTPM__PLATFORM__ACT_INIT;
    body.init = 1;
    return wrap_platform(&body);
}

Vtpm__Message *make_platform_result(void)
{
    static Vtpm__PlatformResult body;

    body = (Vtpm__PlatformResult)VTPM__PLATFORM_RESULT__INIT;
    return wrap_platform_result(&body);
}

Vtpm__Message *make_hello_2(void)
{
    Vtpm__Message *msg = make_hello();

    msg->hello->version = 2;
    return msg;
}

Vtpm__Message *make_ticket_ask(void)
{
    static Vtpm__TicketAsk body;

    body = (Vtpm__TicketAsk)VTPM__TICKET_ASK__INIT;
    return wrap_ticket_ask(&body);
}

Vtpm__Message *make_ticket(void)
{
    static Vtpm__Ticket body;

    body = (Vtpm__Ticket)VTPM__TICKET__INIT;
    body.ticket = some(120);
    return wrap_ticket(&body);
}

Vtpm__Message *make_ticket_bring(void)
{
    static Vtpm__TicketBring body;

    body = (Vtpm__TicketBring)VTPM__TICKET_BRING__INIT;
    body.ticket = some(120);
    return wrap_ticket_bring(&body);
}

Vtpm__Message *make_ticket_taken(void)
{
    static Vtpm__TicketTaken body;

    body = (Vtpm__TicketTaken)VTPM__TICKET_TAKEN__INIT;
    return wrap_ticket_taken(&body);
}

Vtpm__Message *make_peer_ask(void)
{
    static Vtpm__PeerAsk body;

    vtpm__peer_ask__init(&body);
    body.what_case = VTPM__PEER_ASK__WHAT_LOOK;
    body.look = some(120);
    return wrap_peer_ask(&body);
}

Vtpm__Message *make_peer_answer(void)
{
    static Vtpm__PeerAnswer body;

    body = (Vtpm__PeerAnswer)VTPM__PEER_ANSWER__INIT;
    return wrap_peer_answer(&body);
}

Vtpm__Message *make_ticket_read(void)
{
    static Vtpm__TicketRead body;

    body = (Vtpm__TicketRead)VTPM__TICKET_READ__INIT;
    return wrap_ticket_read(&body);
}

Vtpm__Message *make_state_bring(void)
{
    static Vtpm__StateBring body;

    body = (Vtpm__StateBring)VTPM__STATE_BRING__INIT;
    body.size = 10;
    body.state = some(10);
    return wrap_state_bring(&body);
}

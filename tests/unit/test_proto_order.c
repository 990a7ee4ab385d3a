/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PROTOCOL.md, "State machine": in every state that a channel can be in, every message is tried from both sides.
 * What the table does not allow, the sender refuses; and when a hostile peer sends it, the receiver closes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/frame.h"
#include "proto_rig.h"

enum { HELLO, ATTACH, ATTACHED, POWER_ON, POWER_RESULT, EXECUTE, RESPONSE, CANCEL, DETACH, ERROR, PLATFORM,
       PLATFORM_RESULT, HELLO_2, TICKET_ASK, TICKET, TICKET_BRING, TICKET_TAKEN, PEER_ASK, PEER_ANSWER,
       TICKET_READ, STATE_BRING, KINDS };

static Vtpm__Message *make(int kind)
{
    switch (kind) {
    case HELLO: return make_hello();
    case ATTACH: return make_attach();
    case ATTACHED: return make_attached();
    case POWER_ON: return make_power_on();
    case POWER_RESULT: return make_power_result();
    case EXECUTE: return make_execute(1, 10);
    case RESPONSE: return make_response(1, 10);
    case CANCEL: return make_cancel(1);
    case DETACH: return make_detach();
    case ERROR: return make_error(false);
    case PLATFORM: return make_platform();
    case PLATFORM_RESULT: return make_platform_result();
    case HELLO_2: return make_hello_2();
    case TICKET_ASK: return make_ticket_ask();
    case TICKET: return make_ticket();
    case TICKET_BRING: return make_ticket_bring();
    case TICKET_TAKEN: return make_ticket_taken();
    case PEER_ASK: return make_peer_ask();
    case PEER_ANSWER: return make_peer_answer();
    case TICKET_READ: return make_ticket_read();
    default: return make_state_bring();
    }
}

#define B(kind) (1u << (kind))
#define HELLOS  (B(HELLO) | B(HELLO_2))

/* How to get into the state, then what client and server may say there. Written from PROTOCOL.md by hand. */
static const struct state_row {
    const char *name;
    int path[8];    /* kind, or ~kind when the server says it; ends with 99 */
    unsigned client, server;
} states[] = {
    {"fresh", {99}, HELLOS | B(ERROR), HELLOS | B(ERROR)},
    {"client greeted", {HELLO, 99}, B(ERROR), HELLOS | B(ERROR)},
    {"server greeted", {~HELLO, 99}, HELLOS | B(ERROR), B(ERROR)},
    {"idle", {HELLO, ~HELLO, 99}, B(ATTACH) | B(ERROR), B(ERROR)},
    {"attaching", {HELLO, ~HELLO, ATTACH, 99}, B(ERROR), B(ATTACHED) | B(ERROR)},
    {"attach refused", {HELLO, ~HELLO, ATTACH, ~ERROR, 99}, B(ATTACH) | B(ERROR), B(ERROR)},
    {"attached", {HELLO, ~HELLO, ATTACH, ~ATTACHED, 99},
     B(POWER_ON) | B(EXECUTE) | B(PLATFORM) | B(CANCEL) | B(DETACH) | B(ERROR), B(ERROR)},
    {"powering", {HELLO, ~HELLO, ATTACH, ~ATTACHED, POWER_ON, 99}, B(CANCEL) | B(ERROR), B(POWER_RESULT) | B(ERROR)},
    {"executing", {HELLO, ~HELLO, ATTACH, ~ATTACHED, EXECUTE, 99}, B(CANCEL) | B(ERROR), B(RESPONSE) | B(ERROR)},
    {"executed", {HELLO, ~HELLO, ATTACH, ~ATTACHED, EXECUTE, ~RESPONSE, 99},
     B(POWER_ON) | B(EXECUTE) | B(PLATFORM) | B(CANCEL) | B(DETACH) | B(ERROR), B(ERROR)},
    {"platform act", {HELLO, ~HELLO, ATTACH, ~ATTACHED, PLATFORM, 99}, B(CANCEL) | B(ERROR),
     B(PLATFORM_RESULT) | B(ERROR)},
    {"idle, one side of version 2", {HELLO_2, ~HELLO, 99}, B(ATTACH) | B(ERROR), B(ERROR)},
    {"idle, the other", {HELLO, ~HELLO_2, 99}, B(ATTACH) | B(ERROR), B(ERROR)},
    {"idle of version 2", {HELLO_2, ~HELLO_2, 99}, B(ATTACH) | B(TICKET_BRING) | B(STATE_BRING) | B(PEER_ASK) | B(ERROR), B(ERROR)},
    {"bringing", {HELLO_2, ~HELLO_2, TICKET_BRING, 99}, B(ERROR), B(TICKET_TAKEN) | B(ERROR)},
    {"bringing a state", {HELLO_2, ~HELLO_2, STATE_BRING, 99}, B(ERROR), B(TICKET_TAKEN) | B(ERROR)},
    {"reading a state", {HELLO_2, ~HELLO_2, ATTACH, ~ATTACHED, TICKET_ASK, ~TICKET, TICKET_READ, 99}, B(CANCEL) | B(ERROR),
     B(TICKET) | B(ERROR)},
    {"brought", {HELLO_2, ~HELLO_2, TICKET_BRING, ~TICKET_TAKEN, 99},
     B(ATTACH) | B(TICKET_BRING) | B(STATE_BRING) | B(PEER_ASK) | B(ERROR), B(ERROR)},
    {"not taken", {HELLO_2, ~HELLO_2, TICKET_BRING, ~ERROR, 99},
     B(ATTACH) | B(TICKET_BRING) | B(STATE_BRING) | B(PEER_ASK) | B(ERROR), B(ERROR)},
    {"a server asks", {HELLO_2, ~HELLO_2, PEER_ASK, 99}, B(ERROR), B(PEER_ANSWER) | B(ERROR)},
    {"a server was answered", {HELLO_2, ~HELLO_2, PEER_ASK, ~PEER_ANSWER, 99},
     B(ATTACH) | B(TICKET_BRING) | B(STATE_BRING) | B(PEER_ASK) | B(ERROR), B(ERROR)},
    {"attached in version 2", {HELLO_2, ~HELLO_2, ATTACH, ~ATTACHED, 99},
     B(POWER_ON) | B(EXECUTE) | B(PLATFORM) | B(CANCEL) | B(DETACH) | B(TICKET_ASK) | B(TICKET_READ) | B(ERROR), B(ERROR)},
    {"ticket asked for", {HELLO_2, ~HELLO_2, ATTACH, ~ATTACHED, TICKET_ASK, 99}, B(CANCEL) | B(ERROR),
     B(TICKET) | B(ERROR)},
    {"ticket given", {HELLO_2, ~HELLO_2, ATTACH, ~ATTACHED, TICKET_ASK, ~TICKET, 99},
     B(POWER_ON) | B(EXECUTE) | B(PLATFORM) | B(CANCEL) | B(DETACH) | B(TICKET_ASK) | B(TICKET_READ) | B(ERROR), B(ERROR)},
    {"detached", {HELLO, ~HELLO, ATTACH, ~ATTACHED, DETACH, 99}, B(ATTACH) | B(ERROR), B(ERROR)},
};

static void shake(struct rig *rig)
{
    int client, server;

    rig_defaults(rig);
    assert_int_equal(rig_start(rig), VT_OK);
    rig_shake(rig, &client, &server);
    assert_int_equal(client, VT_OK);
    assert_int_equal(server, VT_OK);
}

static void enter(struct rig *rig, const struct state_row *row)
{
    shake(rig);
    for (const int *step = row->path; *step != 99; step++)
        assert_int_equal(rig_pass(rig, *step < 0 ? rig->server : rig->client, make(*step < 0 ? ~*step : *step)), VT_OK);
}

static void test_order__every_state_and_message__as_in_the_table(void **state VT_UNUSED)
{
    struct rig rig;

    for (size_t i = 0; i < VT_COUNT(states); i++) {
        for (int kind = 0; kind < KINDS; kind++) {
            for (int from_server = 0; from_server < 2; from_server++) {
                bool may = (from_server ? states[i].server : states[i].client) & B(kind);
                int err;

                enter(&rig, &states[i]);
                err = channel_send(from_server ? rig.server : rig.client, make(kind));
                if (err != (may ? VT_OK : VT_EPROTO))
                    fail_msg("%s: %s from %s: %d", states[i].name, message_name(make(kind)),
                             from_server ? "server" : "client", err);
                rig_stop(&rig);
            }
        }
    }
}

/* ---- The receiver does not rely on the sender: plain TLS on the hostile side. ---- */

struct hostile {
    struct tls *tls;
    struct channel *ch;
    struct rig rig;
};

static void move(struct vt_buf *from, struct hostile *h, bool to_channel)
{
    if (to_channel)
        assert_int_equal(channel_feed(h->ch, vt_buf_bytes(from), vt_buf_size(from)), VT_OK);
    else
        assert_int_equal(tls_feed(h->tls, vt_buf_bytes(from), vt_buf_size(from)), VT_OK);
    vt_buf_drop(from, vt_buf_size(from));
}

static void hostile_start(struct hostile *h, bool victim_is_server)
{
    struct tls_config client = {.random = rig_random, .identity = RIG_IDENTITY, .key = &h->rig.key};
    struct tls_config server = {.server = true, .random = rig_random, .psk = rig_psk, .psk_ctx = &h->rig};

    rig_defaults(&h->rig);
    assert_int_equal(channel_new(&h->ch, victim_is_server ? &server : &client), VT_OK);
    assert_int_equal(tls_new(&h->tls, victim_is_server ? &client : &server), VT_OK);
    for (int i = 0; i < 10; i++) {
        if (tls_handshake(h->tls, NULL) == VT_OK && channel_handshake(h->ch, NULL) == VT_OK)
            break;
        move(tls_output(h->tls), h, true);
        (void)!channel_handshake(h->ch, NULL);
        move(channel_output(h->ch), h, false);
    }
    move(tls_output(h->tls), h, true);
    assert_int_equal(channel_handshake(h->ch, NULL), VT_OK);
}

static int hostile_say(struct hostile *h, const Vtpm__Message *msg)
{
    struct vt_buf frame;
    Vtpm__Message *got;
    int err;

    vt_buf_init(&frame, 65536);
    assert_int_equal(message_pack(msg, &frame), VT_OK);
    assert_int_equal(tls_write(h->tls, vt_buf_bytes(&frame), vt_buf_size(&frame)), VT_OK);
    vt_buf_free(&frame);
    move(tls_output(h->tls), h, true);
    err = channel_next(h->ch, &got, NULL);
    channel_message_free(got);
    return err;
}

static void test_order__hostile_peer__is_closed(void **state VT_UNUSED)
{
    for (size_t i = 0; i < VT_COUNT(states); i++) {
        for (int kind = 0; kind < KINDS; kind++) {
            for (int victim_is_server = 0; victim_is_server < 2; victim_is_server++) {
                struct hostile h;
                bool may = (victim_is_server ? states[i].client : states[i].server) & B(kind);
                int err;

                hostile_start(&h, victim_is_server);
                for (const int *step = states[i].path; *step != 99; step++) {
                    bool by_server = *step < 0;
                    Vtpm__Message *msg = make(by_server ? ~*step : *step);
                    if (by_server == (bool)victim_is_server)
                        assert_int_equal(channel_send(h.ch, msg), VT_OK);
                    else
                        assert_int_equal(hostile_say(&h, msg), VT_OK);
                }
                err = hostile_say(&h, make(kind));
                if (err != (may ? VT_OK : VT_EPROTO))
                    fail_msg("%s: %s to %s: %d", states[i].name, message_name(make(kind)),
                             victim_is_server ? "server" : "client", err);
                channel_free(h.ch);
                tls_free(h.tls);
            }
        }
    }
}

static void test_order__response_to_another_number__is_refused(void **state VT_UNUSED)
{
    struct rig rig;

    rig_defaults(&rig);
    rig_attach(&rig);
    assert_int_equal(rig_pass(&rig, rig.client, make_execute(5, 10)), VT_OK);
    assert_int_equal(channel_send(rig.server, make_response(4, 10)), VT_EPROTO);
    assert_int_equal(channel_send(rig.server, make_response(6, 10)), VT_EPROTO);
    assert_int_equal(channel_send(rig.server, make_response(5, 10)), VT_OK);
    rig_stop(&rig);
}

static void test_order__after_fatal_error__nothing_follows(void **state VT_UNUSED)
{
    struct rig rig;
    Vtpm__Message *msg;

    rig_defaults(&rig);
    rig_attach(&rig);
    assert_int_equal(channel_send(rig.client, make_execute(1, 10)), VT_OK);
    assert_int_equal(rig_pass(&rig, rig.server, make_error(true)), VT_OK);
    /* The command that crossed it is not delivered any more. */
    assert_int_equal(rig_next(&rig, rig.server, &msg), VT_ECLOSED);
    assert_int_equal(channel_phase(rig.client), CHANNEL_CLOSED);
    assert_int_equal(channel_send(rig.client, make_execute(2, 10)), VT_EPROTO);
    rig_stop(&rig);
}

static void test_order__command_error__lets_the_same_number_come_again(void **state VT_UNUSED)
{
    struct rig rig;

    rig_defaults(&rig);
    rig_attach(&rig);
    assert_int_equal(rig_pass(&rig, rig.client, make_execute(1, 10)), VT_OK);
    assert_int_equal(rig_pass(&rig, rig.server, make_error(false)), VT_OK);
    assert_int_equal(rig_pass(&rig, rig.client, make_execute(1, 10)), VT_OK);
    assert_int_equal(rig_pass(&rig, rig.server, make_response(1, 10)), VT_OK);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order__every_state_and_message__as_in_the_table),
        cmocka_unit_test(test_order__hostile_peer__is_closed),
        cmocka_unit_test(test_order__response_to_another_number__is_refused),
        cmocka_unit_test(test_order__after_fatal_error__nothing_follows),
        cmocka_unit_test(test_order__command_error__lets_the_same_number_come_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The relay against a server that follows docs/record-and-recovery.md, over a connection that may be cut after any
 * byte: each command has its effect exactly once, and its own response comes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_server.h"
#include "proto/relay.h"
#include "server/base/alloc.h"

#define NEVER SIZE_MAX

struct world {
    struct fake fake;
    struct relay *relay;
    struct fake_conn *conn;     /* NULL: not connected */
    bool server_closed;         /* the server wants the connection closed */
    bool refuse_connections;
    uint64_t now;
    uint64_t wake;
    enum relay_act act;
    unsigned connects;
    size_t chunk;               /* bytes carried at once */
    size_t cut_after;           /* bytes, both ways together; then the connection is cut once */
    size_t carried;
};

static uint32_t seed;

static uint32_t dice(uint32_t bound)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % bound;
}

static struct relay_config config_of(struct world *w)
{
    struct relay_config config = {
        .tls = {.random = fake_random, .identity = FAKE_IDENTITY, .key = &w->fake.key},
        .server = "test",
        .software = "test 1",
        .front_end = "socket",
        .startup = VTPM__STARTUP__STARTUP_CLEAR,
    };

    fake_random(NULL, config.stream, sizeof config.stream);
    return config;
}

static void world_start(struct world *w, uint64_t hold_ms)
{
    struct relay_config config;

    *w = (struct world){.now = 1000, .chunk = 4096, .cut_after = NEVER};
    fake_init(&w->fake);
    config = config_of(w);
    config.hold_ms = hold_ms;
    assert_int_equal(relay_new(&w->relay, &config), VT_OK);
}

static void world_stop(struct world *w)
{
    relay_free(w->relay);
    fake_close(w->conn);
}

static void cut(struct world *w)
{
    fake_close(w->conn);
    w->conn = NULL;
    w->server_closed = false;
    relay_disconnected(w->relay, w->now, "cut by the test");
}

/* Counts bytes; true when the connection was cut. */
static bool count(struct world *w, size_t len)
{
    w->carried += len;
    if (w->carried < w->cut_after)
        return false;
    w->cut_after = NEVER;
    cut(w);
    return true;
}

static size_t portion(const struct world *w, const struct vt_buf *buf)
{
    size_t len = VT_MIN(vt_buf_size(buf), w->chunk);

    return w->cut_after == NEVER ? len : VT_MIN(len, w->cut_after - w->carried);
}

static bool carry_up(struct world *w)
{
    struct vt_buf *out = relay_output(w->relay);
    size_t len = out ? portion(w, out) : 0;

    if (!len || w->server_closed)
        return false;
    if (!fake_bytes(w->conn, vt_buf_bytes(out), len))
        w->server_closed = true;
    vt_buf_drop(out, len);
    (void)count(w, len);
    return true;
}

static bool carry_down(struct world *w)
{
    struct vt_buf *out = w->conn ? fake_output(w->conn) : NULL;
    size_t len = out ? portion(w, out) : 0;
    uint8_t copy[4096];

    if (!len)
        return false;
    memcpy(copy, vt_buf_bytes(out), len);
    vt_buf_drop(out, len);
    relay_bytes(w->relay, w->now, copy, len);
    (void)count(w, len);
    return true;
}

/* One thing happens; false: nothing could, except that time goes on. */
static bool step(struct world *w)
{
    w->act = relay_drive(w->relay, w->now, &w->wake);
    if (w->act == RELAY_CONNECT) {
        w->connects++;
        assert_null(w->conn);
        if (w->refuse_connections) {
            relay_disconnected(w->relay, w->now, "refused by the test");
            return true;
        }
        w->conn = fake_open(&w->fake);
        relay_connected(w->relay, w->now);
        return true;
    }
    if (w->conn && carry_up(w))
        return true;
    if (w->act == RELAY_CLOSE) {
        cut(w);
        return true;
    }
    if (w->conn && carry_down(w))
        return true;
    if (w->conn && w->server_closed) {
        cut(w);
        return true;
    }
    return false;
}

/* Runs until there is a response, or the time is over; time jumps when nothing else happens. */
static bool run_until(struct world *w, uint64_t time)
{
    const uint8_t *bytes;
    size_t len;

    for (;;) {
        while (step(w))
            if (relay_response(w->relay, &bytes, &len))
                return true;
        if (relay_response(w->relay, &bytes, &len))
            return true;
        if (w->act == RELAY_ENDED || w->wake >= time) {
            w->now = VT_MAX(w->now, time);
            return false;
        }
        w->now = VT_MAX(w->now, w->wake);
    }
}

static void submit(struct world *w, uint32_t id)
{
    uint8_t command[FAKE_COMMAND];

    fake_command(command, id);
    assert_int_equal(relay_submit(w->relay, w->now, 0, command, sizeof command), VT_OK);
}

static uint32_t code_of(struct world *w)
{
    const uint8_t *bytes;
    size_t len;

    assert_true(relay_response(w->relay, &bytes, &len));
    assert_true(len >= 10);
    return (uint32_t)bytes[8] << 8 | bytes[9];
}

static void expect_response(struct world *w, uint32_t id)
{
    const uint8_t *bytes;
    size_t len;

    assert_true(run_until(w, w->now + 600000));
    assert_true(relay_response(w->relay, &bytes, &len));
    assert_int_equal(len, FAKE_RESPONSE);
    assert_int_equal(fake_response_id(bytes), id);
    relay_answered(w->relay);
    assert_false(relay_busy(w->relay));
}

static void expect_code(struct world *w, uint32_t code)
{
    assert_true(run_until(w, w->now + 600000));
    assert_int_equal(code_of(w), code);
    relay_answered(w->relay);
}

static void test_relay__good_connection__executes_in_order(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 0);
    for (uint32_t id = 1; id <= 100; id++) {
        submit(&w, id);
        expect_response(&w, id);
        assert_int_equal(w.fake.effects[id], 1);
        assert_int_equal(w.fake.total, id);
    }
    assert_int_equal(w.connects, 1);
    assert_int_equal(w.fake.power_acts, 1);
    assert_int_equal(w.fake.startup, VTPM__STARTUP__STARTUP_CLEAR);
    world_stop(&w);
}

static void test_relay__second_command_while_busy__is_refused(void **state VT_UNUSED)
{
    uint8_t command[FAKE_COMMAND];
    static uint8_t big[4097];
    struct world w;

    world_start(&w, 0);
    assert_int_equal(relay_submit(w.relay, w.now, 0, big, sizeof big), VT_EUSAGE);
    assert_int_equal(relay_submit(w.relay, w.now, 0, big, 9), VT_EUSAGE);
    assert_int_equal(relay_submit(w.relay, w.now, 5, big, 10), VT_EUSAGE);
    submit(&w, 1);
    fake_command(command, 2);
    assert_int_equal(relay_submit(w.relay, w.now, 0, command, sizeof command), VT_EAGAIN);
    expect_response(&w, 1);
    world_stop(&w);
}

/* Three commands; the connection is cut once, after every possible number of bytes. */
static void test_relay__cut_after_every_byte__exactly_once(void **state VT_UNUSED)
{
    size_t at, all;
    struct world w;

    world_start(&w, 0);
    for (uint32_t id = 1; id <= 3; id++) {
        submit(&w, id);
        expect_response(&w, id);
    }
    all = w.carried;
    world_stop(&w);
    assert_true(all > 500);

    for (at = 1; at < all; at += at < 700 ? 37 : 1) {
        world_start(&w, 0);
        w.cut_after = at;
        for (uint32_t id = 1; id <= 3; id++) {
            submit(&w, id);
            expect_response(&w, id);
        }
        for (uint32_t id = 1; id <= 3; id++)
            if (w.fake.effects[id] != 1)
                fail_msg("cut after %zu bytes: command %u had %u effects", at, id, w.fake.effects[id]);
        assert_int_equal(w.connects, w.cut_after == NEVER ? 2 : 1);
        assert_int_equal(w.fake.refused, 0);
        assert_int_equal(w.fake.power_acts, 1);
        world_stop(&w);
    }
}

/* Random cuts, chunks, refused connections, passing errors; some commands are the same bytes twice in a row. */
static void random_run(uint32_t start)
{
    unsigned expected[FAKE_IDS] = {0};
    unsigned total = 0;
    struct world w;

    seed = start;
    world_start(&w, 0);
    for (int i = 0; i < 40; i++) {
        uint32_t id = 1 + dice(10);
        w.chunk = dice(4) ? 1 + dice(400) : 4096;
        w.cut_after = dice(3) ? w.carried + 1 + dice(900) : NEVER;
        if (!dice(6))
            w.fake.answer_error = dice(2) ? VT_EUNAVAILABLE : VT_ENOMEM; /* once: within the 2 s */
        w.refuse_connections = !dice(10);
        submit(&w, id);
        if (w.refuse_connections) {
            (void)!run_until(&w, w.now + 10000);
            w.refuse_connections = false;
        }
        if (!relay_busy(w.relay))
            fail_msg("seed %u: command lost", start);
        expect_response(&w, id);
        expected[id]++;
        total++;
        if (w.fake.total != total || w.fake.effects[id] != expected[id])
            fail_msg("seed %u, command %d: %u effects in all, not %u", start, i, w.fake.total, total);
    }
    assert_int_equal(w.fake.refused, 0);
    assert_int_equal(w.fake.power_acts, 1);
    world_stop(&w);
}

static void test_relay__random_disconnects__exactly_once(void **state VT_UNUSED)
{
    for (uint32_t start = 1; start <= 60; start++)
        random_run(start);
}

static void test_relay__server_away__holds_without_limit(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 0);
    w.refuse_connections = true;
    submit(&w, 1);
    assert_false(run_until(&w, w.now + 3600u * 1000));
    /* 50 ms doubled up to 2 s, with jitter. */
    assert_in_range(w.connects, 1700, 3700);
    w.refuse_connections = false;
    expect_response(&w, 1);
    assert_int_equal(w.fake.effects[1], 1);
    world_stop(&w);
}

static void test_relay__connection_lost__reconnects_soon(void **state VT_UNUSED)
{
    struct world w;
    uint64_t start;

    world_start(&w, 0);
    submit(&w, 1);
    expect_response(&w, 1);
    start = w.now;
    cut(&w);
    while (!relay_attached(w.relay))
        if (!step(&w))
            w.now = w.wake;
    assert_in_range(w.now - start, 25, 50);
    world_stop(&w);
}

static void test_relay__new_command__is_tried_at_once(void **state VT_UNUSED)
{
    struct world w;
    uint64_t start;

    world_start(&w, 0);
    w.refuse_connections = true;
    assert_false(run_until(&w, w.now + 20000));
    w.refuse_connections = false;
    start = w.now;
    submit(&w, 1);
    expect_response(&w, 1);
    assert_int_equal(w.now, start);
    world_stop(&w);
}

static void test_relay__hold_over_before_sent__answers_retry(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 5000);
    w.refuse_connections = true;
    submit(&w, 1);
    assert_false(run_until(&w, w.now + 4999));
    assert_true(run_until(&w, w.now + 2));
    expect_code(&w, 0x800);
    w.refuse_connections = false;
    submit(&w, 2);
    expect_response(&w, 2);
    assert_int_equal(w.fake.effects[1], 0);
    assert_int_equal(w.fake.effects[2], 1);
    world_stop(&w);
}

/* The command is executed but its response is lost, and the guest hears TPM_RETRY. */
static void hold_in_doubt(struct world *w, bool executed)
{
    world_start(w, 5000);
    submit(w, 1);
    expect_response(w, 1);
    if (executed)
        w->fake.no_answer = true;
    submit(w, 2);
    if (executed)
        while (step(w))
            ;
    w->refuse_connections = true;
    cut(w);
    w->fake.no_answer = false;
    expect_code(w, 0x800);
    w->refuse_connections = false;
    assert_int_equal(w->fake.effects[2], executed);
}

static void test_relay__hold_over_in_doubt__same_command_again__once(void **state VT_UNUSED)
{
    struct world w;

    for (int executed = 0; executed < 2; executed++) {
        hold_in_doubt(&w, executed);
        submit(&w, 2);
        expect_response(&w, 2);
        assert_int_equal(w.fake.effects[2], 1);
        submit(&w, 2);
        expect_response(&w, 2);
        assert_int_equal(w.fake.effects[2], 2);
        assert_int_equal(w.fake.refused, 0);
        world_stop(&w);
    }
}

static void test_relay__hold_over_in_doubt__other_command__both_fit(void **state VT_UNUSED)
{
    struct world w;

    for (int executed = 0; executed < 2; executed++) {
        for (int later = 0; later < 2; later++) {
            hold_in_doubt(&w, executed);
            if (later)
                assert_false(run_until(&w, w.now + 10000));
            submit(&w, 3);
            expect_response(&w, 3);
            assert_int_equal(w.fake.effects[2], executed);
            assert_int_equal(w.fake.effects[3], 1);
            assert_int_equal(w.fake.refused, 0);
            world_stop(&w);
        }
    }
}

static void test_relay__hold__does_not_count_while_the_server_works(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 1000);
    submit(&w, 1);
    expect_response(&w, 1);
    w.fake.no_answer = true;
    submit(&w, 2);
    assert_false(run_until(&w, w.now + 100000));
    cut(&w);
    w.fake.no_answer = false;
    expect_response(&w, 2);
    assert_int_equal(w.fake.effects[2], 1);
    world_stop(&w);
}

static void test_relay__hold__counts_while_it_is_refused(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 10000);
    w.fake.unknown = true;
    submit(&w, 1);
    assert_false(run_until(&w, w.now + 9000));
    assert_true(run_until(&w, w.now + 2000));
    expect_code(&w, 0x800);
    world_stop(&w);
}

static void test_relay__wrong_credential__retries_slowly_until_right(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 0);
    w.fake.unknown = true;
    submit(&w, 1);
    assert_false(run_until(&w, w.now + 60000));
    assert_in_range(w.connects, 10, 21);
    w.fake.unknown = false;
    expect_response(&w, 1);
    world_stop(&w);
}

static void test_relay__new_key_after_refusal__goes_on(void **state VT_UNUSED)
{
    struct world w;
    struct vt_key old;

    world_start(&w, 0);
    submit(&w, 1);
    expect_response(&w, 1);
    assert_false(relay_key_refused(w.relay));
    old = w.fake.key;
    w.fake.key.bytes[31] ^= 1;
    cut(&w);
    submit(&w, 2);
    assert_false(run_until(&w, w.now + 10000));
    assert_true(relay_key_refused(w.relay));
    assert_false(relay_set_key(w.relay, &old));
    assert_true(relay_set_key(w.relay, &w.fake.key));
    expect_response(&w, 2);
    /* A server that is away says nothing about the key. */
    cut(&w);
    assert_false(relay_key_refused(w.relay));
    world_stop(&w);
}

static void test_relay__attach_refused__retries_slowly(void **state VT_UNUSED)
{
    static const int codes[] = {VT_EPERM, VT_EBROKEN, VT_ENOTFOUND, VT_EPOWER, VT_EDAMAGED};
    struct world w;

    for (size_t i = 0; i < VT_COUNT(codes); i++) {
        world_start(&w, 0);
        w.fake.attach_error = codes[i];
        submit(&w, 1);
        assert_false(run_until(&w, w.now + 60000));
        assert_in_range(w.connects, 10, 21);
        w.fake.attach_error = 0;
        expect_response(&w, 1);
        assert_int_equal(w.fake.effects[1], 1);
        world_stop(&w);
    }
}

/* The instance was exported: what waits and what comes is answered at once, until it is back. */
static void test_relay__moved__tpm_fail_at_once_until_it_is_back(void **state VT_UNUSED)
{
    struct world w;
    uint64_t begun;

    world_start(&w, 0);
    w.fake.attach_error = VT_EMOVED;
    submit(&w, 1);
    begun = w.now;
    expect_code(&w, 9);
    assert_int_equal(w.connects, 1);
    submit(&w, 2);
    expect_code(&w, 9);
    assert_in_range(w.now - begun, 0, 1000);
    /* Tried again, but slowly, and the guest does not wait for that. */
    assert_false(run_until(&w, w.now + 60000));
    assert_in_range(w.connects, 10, 21);
    submit(&w, 3);
    begun = w.now;
    expect_code(&w, 9);
    assert_in_range(w.now - begun, 0, 1000);
    w.fake.attach_error = 0;
    assert_false(run_until(&w, w.now + 10000));
    submit(&w, 4);
    expect_response(&w, 4);
    assert_int_equal(w.fake.total, 1);
    world_stop(&w);
}

/* Sent, its outcome unknown, and then the instance left: the number stays the command's. */
static void test_relay__moved_after_it_was_sent__number_is_kept(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 0);
    submit(&w, 1);
    expect_response(&w, 1);
    w.fake.no_answer = true;
    submit(&w, 2);
    assert_false(run_until(&w, w.now + 1000));
    assert_int_equal(w.fake.effects[2], 1);
    w.fake.attach_error = VT_EMOVED;
    cut(&w);
    expect_code(&w, 9);
    w.fake.attach_error = 0;
    w.fake.no_answer = false;
    assert_false(run_until(&w, w.now + 10000));
    /* The same bytes again: what was done is not done twice. */
    submit(&w, 2);
    expect_response(&w, 2);
    assert_int_equal(w.fake.effects[2], 1);
    world_stop(&w);
}

static void test_relay__fenced__ends(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 0);
    submit(&w, 1);
    expect_response(&w, 1);
    fake_refuse(w.conn, VT_EFENCED, "taken over");
    assert_false(run_until(&w, w.now + 60000));
    assert_int_equal(w.act, RELAY_ENDED);
    assert_int_equal(relay_ended(w.relay), VT_EFENCED);
    assert_int_equal(w.connects, 1);
    world_stop(&w);
}

/* Another shim used the instance between the cut and the new attach. */
static void intrude(struct world *w, uint32_t id)
{
    memset(w->fake.stream, 0xee, sizeof w->fake.stream);
    w->fake.n = 7;
    w->fake.has_record = true;
    w->fake.effects[id]++;
    w->fake.total++;
}

static void test_relay__another_shim_between__command_fails_and_new_stream_goes_on(void **state VT_UNUSED)
{
    struct world w;

    /* Also for the very first command, which the server alone could not tell from a fresh one. */
    for (int before = 0; before < 2; before++) {
        world_start(&w, 0);
        if (before) {
            submit(&w, 1);
            expect_response(&w, 1);
        }
        w.fake.no_answer = true;
        submit(&w, 2);
        assert_false(run_until(&w, w.now + 1000));
        intrude(&w, 9);
        cut(&w);
        w.fake.no_answer = false;
        expect_code(&w, 9);
        assert_int_equal(w.fake.effects[2], 1);
        submit(&w, 3);
        expect_response(&w, 3);
        assert_int_equal(w.fake.effects[3], 1);
        assert_int_equal(w.fake.refused, 0);
        world_stop(&w);
    }
}

static void test_relay__another_shim_while_idle__new_stream_goes_on(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 0);
    submit(&w, 1);
    expect_response(&w, 1);
    intrude(&w, 9);
    cut(&w);
    submit(&w, 2);
    expect_response(&w, 2);
    assert_int_equal(w.fake.effects[2], 1);
    assert_int_equal(w.fake.refused, 0);
    world_stop(&w);
}

static void test_relay__number_refused__fails_the_command_and_goes_on(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 0);
    submit(&w, 1);
    expect_response(&w, 1);
    w.fake.answer_error = VT_ECONFLICT;
    submit(&w, 2);
    expect_code(&w, 9);
    submit(&w, 3);
    expect_response(&w, 3);
    assert_int_equal(w.fake.effects[3], 1);
    world_stop(&w);
}

static void test_relay__command_refused__fails_it_and_keeps_the_number(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 0);
    submit(&w, 1);
    expect_response(&w, 1);
    w.fake.answer_error = VT_ETOOBIG;
    submit(&w, 2);
    expect_code(&w, 9);
    submit(&w, 3);
    expect_response(&w, 3);
    assert_int_equal(w.fake.n, 2);
    assert_int_equal(w.connects, 1);
    world_stop(&w);
}

static void test_relay__passing_error__resends_on_the_same_connection(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 0);
    w.fake.answer_error = VT_EUNAVAILABLE;
    submit(&w, 1);
    expect_response(&w, 1);
    assert_int_equal(w.connects, 1);
    assert_int_equal(w.fake.effects[1], 1);
    world_stop(&w);
}

/* The server's disk is full: the guest hears TPM_RETRY after 2 s, and the number stays free. */
static void test_relay__store_takes_nothing__guest_is_told_to_retry(void **state VT_UNUSED)
{
    static const int codes[] = {VT_EUNAVAILABLE, VT_ENOSPC};
    struct world w;

    for (size_t i = 0; i < VT_COUNT(codes); i++) {
        world_start(&w, 0);
        submit(&w, 1);
        expect_response(&w, 1);
        w.fake.execute_error = codes[i];
        for (int k = 0; k < 3; k++) {
            uint64_t start = w.now;
            submit(&w, 2);
            expect_code(&w, 0x800);
            assert_in_range(w.now - start, 2000, 2200);
        }
        w.fake.execute_error = 0;
        submit(&w, 3);
        expect_response(&w, 3);
        submit(&w, 2);
        expect_response(&w, 2);
        assert_int_equal(w.fake.n, 3);
        assert_int_equal(w.fake.effects[2], 1);
        assert_int_equal(w.fake.effects[3], 1);
        assert_int_equal(w.fake.refused, 0);
        assert_int_equal(w.connects, 1);
        world_stop(&w);
    }
}

static void test_relay__store_full_for_a_second__guest_sees_a_pause(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 0);
    w.fake.execute_error = VT_EUNAVAILABLE;
    submit(&w, 1);
    assert_false(run_until(&w, w.now + 1000));
    w.fake.execute_error = 0;
    expect_response(&w, 1);
    assert_int_equal(w.fake.effects[1], 1);
    world_stop(&w);
}

/* The server does not know whether it has happened: the guest may try again, the number stays the command's. */
static void test_relay__outcome_unknown_to_the_server__retry_and_the_number_is_kept(void **state VT_UNUSED)
{
    struct world w;

    for (int executed = 0; executed < 2; executed++) {
        for (int other = 0; other < 2; other++) {
            world_start(&w, 0);
            submit(&w, 1);
            expect_response(&w, 1);
            w.fake.execute_error = VT_EUNKNOWN;
            submit(&w, 2);
            for (int k = 0; k < 3; k++) {
                expect_code(&w, 0x800);
                submit(&w, 2);
            }
            expect_code(&w, 0x800);
            if (executed) {
                w.fake.n++;
                w.fake.command_len = FAKE_COMMAND;
                fake_command(w.fake.command, 2);
                fake_command(w.fake.response, 2);
            }
            w.fake.execute_error = 0;
            if (!other) {
                submit(&w, 2);
                assert_true(run_until(&w, w.now + 10000));
                relay_answered(w.relay);
                assert_int_equal(w.fake.effects[2], !executed);
            }
            submit(&w, 3);
            expect_response(&w, 3);
            assert_int_equal(w.fake.effects[3], 1);
            assert_int_equal(w.fake.n, 2 + (executed || !other));
            assert_int_equal(w.fake.refused, 0);
            world_stop(&w);
        }
    }
}

/* Everything else says nothing about time: the number is resent until there is an outcome. */
static void test_relay__server_busy__is_asked_without_limit(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 0);
    w.fake.execute_error = VT_EAGAIN;
    submit(&w, 1);
    assert_false(run_until(&w, w.now + 60000));
    w.fake.execute_error = 0;
    expect_response(&w, 1);
    assert_int_equal(w.fake.effects[1], 1);
    assert_int_equal(w.connects, 1);
    world_stop(&w);
}

/* Executed, the response lost with the connection, and then the server cannot even attach. */
static void test_relay__attach_finds_store_full__retry_and_the_number_is_kept(void **state VT_UNUSED)
{
    struct world w;

    for (int executed = 0; executed < 2; executed++) {
        world_start(&w, 0);
        submit(&w, 1);
        expect_response(&w, 1);
        w.fake.no_answer = executed;
        submit(&w, 2);
        if (executed)
            while (step(&w))
                ;
        w.fake.attach_error = VT_EUNAVAILABLE;
        cut(&w);
        w.fake.no_answer = false;
        expect_code(&w, 0x800);
        submit(&w, 2);
        expect_code(&w, 0x800);
        w.fake.attach_error = 0;
        submit(&w, 2);
        expect_response(&w, 2);
        assert_int_equal(w.fake.effects[2], 1);
        submit(&w, 3);
        expect_response(&w, 3);
        assert_int_equal(w.fake.n, 3);
        assert_int_equal(w.fake.refused, 0);
        world_stop(&w);
    }
}

static void test_relay__power_on_finds_store_full__is_asked_again(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 0);
    w.fake.power_error = VT_EUNAVAILABLE;
    submit(&w, 1);
    expect_code(&w, 0x800);
    submit(&w, 1);
    expect_code(&w, 0x800);
    assert_false(w.fake.on);
    w.fake.power_error = 0;
    submit(&w, 1);
    expect_response(&w, 1);
    assert_true(w.fake.on);
    assert_int_equal(w.fake.effects[1], 1);
    assert_int_equal(w.fake.n, 1);
    world_stop(&w);
}

/* What does not pass: the guest hears it from a TPM that is off. */
static void test_relay__power_on_refused__commands_go_through(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 0);
    w.fake.power_error = VT_EPOWER;
    submit(&w, 1);
    expect_response(&w, 1);
    assert_int_equal(w.fake.power_ons, 1);
    world_stop(&w);
}

static void test_relay__silent_server__is_given_up(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 0);
    assert_int_equal(relay_drive(w.relay, w.now, &w.wake), RELAY_CONNECT);
    relay_connected(w.relay, w.now);
    assert_int_equal(relay_drive(w.relay, w.now, &w.wake), RELAY_WAIT);
    assert_in_range(w.wake - w.now, 10000, 60000);
    assert_int_equal(relay_drive(w.relay, w.wake, &w.wake), RELAY_CLOSE);
    relay_disconnected(w.relay, w.wake, NULL);
    world_stop(&w);
}

static void test_relay__garbage_from_server__closes_and_tries_again(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 0);
    submit(&w, 1);
    assert_true(step(&w));
    relay_bytes(w.relay, w.now, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    assert_int_equal(relay_drive(w.relay, w.now, &w.wake), RELAY_CLOSE);
    expect_response(&w, 1);
    assert_int_equal(w.connects, 2);
    world_stop(&w);
}

static void test_relay__detach__is_said_and_ends(void **state VT_UNUSED)
{
    struct world w;

    for (int off = 0; off < 2; off++) {
        world_start(&w, 0);
        submit(&w, 1);
        expect_response(&w, 1);
        relay_detach(w.relay, off);
        assert_false(run_until(&w, w.now + 1000));
        assert_int_equal(w.act, RELAY_ENDED);
        assert_int_equal(relay_ended(w.relay), VT_OK);
        assert_int_equal(w.fake.detaches, 1);
        assert_int_equal(w.fake.offs, off);
        assert_int_equal(w.fake.on, !off);
        world_stop(&w);
    }
}

static void test_relay__reconnects__power_on_acts_once(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, 0);
    for (uint32_t id = 1; id <= 5; id++) {
        submit(&w, id);
        expect_response(&w, id);
        cut(&w);
    }
    assert_int_equal(w.fake.power_ons, 5);
    assert_int_equal(w.fake.power_acts, 1);
    world_stop(&w);
}

#ifdef VTPM_TEST_HOOKS
static void test_relay__allocation_fails__goes_on_later(void **state VT_UNUSED)
{
    /* Each allocation of two commands fails once, those of the connection included. */
    for (long after = 0; after < 60; after++) {
        uint8_t command[FAKE_COMMAND];
        struct world w;
        int err;

        world_start(&w, 0);
        w.chunk = 4096;
        for (uint32_t id = 1; id <= 2; id++) {
            fake_command(command, id);
            assert_int_equal(relay_drive(w.relay, w.now, &w.wake) == RELAY_CONNECT, id == 1);
            if (id == 1) {
                w.conn = fake_open(&w.fake);
                vt_alloc_fail_after(after);
                relay_connected(w.relay, w.now);
            }
            err = relay_submit(w.relay, w.now, 0, command, sizeof command);
            if (err) {
                assert_int_equal(err, VT_ENOMEM);
                assert_int_equal(relay_submit(w.relay, w.now, 0, command, sizeof command), VT_OK);
            }
            /* The fake server aborts when it cannot say something: its share of failures is not wanted. */
            vt_alloc_fail_after(-1);
            expect_response(&w, id);
            assert_int_equal(w.fake.effects[id], 1);
        }
        world_stop(&w);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relay__good_connection__executes_in_order),
        cmocka_unit_test(test_relay__second_command_while_busy__is_refused),
        cmocka_unit_test(test_relay__cut_after_every_byte__exactly_once),
        cmocka_unit_test(test_relay__random_disconnects__exactly_once),
        cmocka_unit_test(test_relay__server_away__holds_without_limit),
        cmocka_unit_test(test_relay__connection_lost__reconnects_soon),
        cmocka_unit_test(test_relay__new_command__is_tried_at_once),
        cmocka_unit_test(test_relay__hold_over_before_sent__answers_retry),
        cmocka_unit_test(test_relay__hold_over_in_doubt__same_command_again__once),
        cmocka_unit_test(test_relay__hold_over_in_doubt__other_command__both_fit),
        cmocka_unit_test(test_relay__hold__does_not_count_while_the_server_works),
        cmocka_unit_test(test_relay__hold__counts_while_it_is_refused),
        cmocka_unit_test(test_relay__wrong_credential__retries_slowly_until_right),
        cmocka_unit_test(test_relay__new_key_after_refusal__goes_on),
        cmocka_unit_test(test_relay__attach_refused__retries_slowly),
        cmocka_unit_test(test_relay__moved__tpm_fail_at_once_until_it_is_back),
        cmocka_unit_test(test_relay__moved_after_it_was_sent__number_is_kept),
        cmocka_unit_test(test_relay__fenced__ends),
        cmocka_unit_test(test_relay__another_shim_between__command_fails_and_new_stream_goes_on),
        cmocka_unit_test(test_relay__another_shim_while_idle__new_stream_goes_on),
        cmocka_unit_test(test_relay__number_refused__fails_the_command_and_goes_on),
        cmocka_unit_test(test_relay__command_refused__fails_it_and_keeps_the_number),
        cmocka_unit_test(test_relay__passing_error__resends_on_the_same_connection),
        cmocka_unit_test(test_relay__store_takes_nothing__guest_is_told_to_retry),
        cmocka_unit_test(test_relay__store_full_for_a_second__guest_sees_a_pause),
        cmocka_unit_test(test_relay__outcome_unknown_to_the_server__retry_and_the_number_is_kept),
        cmocka_unit_test(test_relay__server_busy__is_asked_without_limit),
        cmocka_unit_test(test_relay__attach_finds_store_full__retry_and_the_number_is_kept),
        cmocka_unit_test(test_relay__power_on_finds_store_full__is_asked_again),
        cmocka_unit_test(test_relay__power_on_refused__commands_go_through),
        cmocka_unit_test(test_relay__silent_server__is_given_up),
        cmocka_unit_test(test_relay__garbage_from_server__closes_and_tries_again),
        cmocka_unit_test(test_relay__detach__is_said_and_ends),
        cmocka_unit_test(test_relay__reconnects__power_on_acts_once),
#ifdef VTPM_TEST_HOOKS
        cmocka_unit_test(test_relay__allocation_fails__goes_on_later),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

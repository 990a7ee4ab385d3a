/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A relay that takes over from one that died (docs/record-and-recovery.md, "A shim's own death"): numbers are noted
 * before they are used, and stand for the same command afterwards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_server.h"
#include "proto/relay.h"
#include "server/base/alloc.h"

/* The last note, as a journal would keep it. */
struct noted {
    struct relay_mark mark;
    uint8_t command[MESSAGE_COMMAND_MAX];
    unsigned count, effects;
    bool fails;
};

struct world {
    struct fake fake;
    struct relay *relay;
    struct fake_conn *conn;
    struct noted noted;
    uint64_t now;
    bool refuse_connections, server_closed;
};

static int on_note(void *ctx, const struct relay_mark *mark)
{
    struct world *w = ctx;

    w->noted.count++;
    if (w->noted.fails)
        return VT_EIO;
    w->noted.mark = *mark;
    memcpy(w->noted.command, mark->command, mark->len);
    w->noted.mark.command = w->noted.command;
    w->noted.effects = w->fake.total;
    return VT_OK;
}

/* last: NULL for a fresh stream. */
static void relay_start(struct world *w, const uint8_t *stream, uint64_t last_n)
{
    struct relay_config config = {
        .tls = {.random = fake_random, .identity = FAKE_IDENTITY, .key = &w->fake.key},
        .server = "test",
        .software = "test 1",
        .front_end = "xen",
        .hold_ms = 1000,
        .last_n = last_n,
        .note = on_note,
        .note_ctx = w,
    };

    if (stream)
        memcpy(config.stream, stream, sizeof config.stream);
    else
        fake_random(NULL, config.stream, sizeof config.stream);
    assert_int_equal(relay_new(&w->relay, &config), VT_OK);
}

static void world_start(struct world *w)
{
    memset(w, 0, sizeof *w);
    w->now = 1000;
    fake_init(&w->fake);
    relay_start(w, NULL, 0);
}

static void cut(struct world *w)
{
    fake_close(w->conn);
    w->conn = NULL;
    w->server_closed = false;
    relay_disconnected(w->relay, w->now, "cut by the test");
}

static void relay_dies(struct world *w)
{
    fake_close(w->conn);
    w->conn = NULL;
    w->server_closed = false;
    relay_free(w->relay);
    w->relay = NULL;
}

static void world_stop(struct world *w)
{
    assert_int_equal(w->fake.refused, 0);
    relay_dies(w);
}

static bool carry(struct world *w)
{
    struct vt_buf *up = relay_output(w->relay), *down = fake_output(w->conn);
    uint8_t bytes[4096];
    size_t len = up ? vt_buf_size(up) : 0;

    if (len && !w->server_closed) {
        w->server_closed |= !fake_bytes(w->conn, vt_buf_bytes(up), len);
        vt_buf_drop(up, len);
        return true;
    }
    len = VT_MIN(vt_buf_size(down), sizeof bytes);
    if (!len)
        return false;
    memcpy(bytes, vt_buf_bytes(down), len);
    vt_buf_drop(down, len);
    relay_bytes(w->relay, w->now, bytes, len);
    return true;
}

/* False: nothing but time goes on. */
static bool step(struct world *w, uint64_t *wake)
{
    enum relay_act act = relay_drive(w->relay, w->now, wake);

    if (act == RELAY_CONNECT && w->refuse_connections) {
        relay_disconnected(w->relay, w->now, "refused by the test");
        return true;
    }
    if (act == RELAY_CONNECT) {
        w->conn = fake_open(&w->fake);
        relay_connected(w->relay, w->now);
        return true;
    }
    if (w->conn && carry(w))
        return true;
    if (act == RELAY_CLOSE || (w->conn && w->server_closed)) {
        cut(w);
        return true;
    }
    return false;
}

static bool responded(const struct world *w)
{
    return relay_response(w->relay, &(const uint8_t *){NULL}, &(size_t){0});
}

/* Until there is a response; at most a minute. */
static bool run(struct world *w)
{
    const uint64_t end = w->now + 60000;
    uint64_t wake = 0;

    while (!responded(w)) {
        if (step(w, &wake))
            continue;
        if (wake >= end)
            return false;
        w->now = VT_MAX(w->now, wake);
    }
    return true;
}

static void submit(struct world *w, uint32_t id)
{
    uint8_t command[FAKE_COMMAND];

    fake_command(command, id);
    assert_int_equal(relay_submit(w->relay, w->now, 0, command, sizeof command), VT_OK);
}

static void expect_response(struct world *w, uint32_t id)
{
    const uint8_t *bytes;
    size_t len;

    assert_true(run(w));
    assert_true(relay_response(w->relay, &bytes, &len));
    assert_int_equal(len, FAKE_RESPONSE);
    assert_int_equal(fake_response_id(bytes), id);
    relay_answered(w->relay);
}

static void expect_code(struct world *w, uint32_t code)
{
    const uint8_t *bytes;
    size_t len;

    assert_true(run(w));
    assert_true(relay_response(w->relay, &bytes, &len));
    assert_int_equal(len, 10);
    assert_int_equal((uint32_t)bytes[8] << 8 | bytes[9], code);
    relay_answered(w->relay);
}

/* The relay died with command id under way; executed: the server has it on record. */
static void die_with(struct world *w, uint32_t id, bool executed)
{
    uint64_t wake;

    submit(w, id);
    w->fake.no_answer = true;
    if (!executed)
        w->fake.execute_error = VT_EAGAIN;
    while (step(w, &wake))
        ;
    w->fake.no_answer = false;
    w->fake.execute_error = 0;
    assert_int_equal(w->fake.effects[id], executed);
    relay_dies(w);
}

static void take_over(struct world *w, bool in_doubt)
{
    relay_start(w, w->noted.mark.stream, w->noted.mark.n - 1);
    assert_int_equal(relay_resume(w->relay, w->now, &w->noted.mark, in_doubt), VT_OK);
}

/* ---- Notes ---- */

static void test_relay_resume__each_number__is_noted_once_before_it_is_sent(void **state VT_UNUSED)
{
    struct relay_position position;
    uint8_t command[FAKE_COMMAND];
    struct world w;

    world_start(&w);
    for (uint32_t id = 1; id <= 5; id++) {
        submit(&w, id);
        if (id == 3)
            cut(&w);
        expect_response(&w, id);
        fake_command(command, id);
        assert_int_equal(w.noted.count, id);
        assert_int_equal(w.noted.effects, id - 1);
        assert_int_equal(w.noted.mark.n, id);
        assert_int_equal(w.noted.mark.len, sizeof command);
        assert_memory_equal(w.noted.command, command, sizeof command);
        assert_memory_equal(w.noted.mark.stream, w.fake.stream, 16);
        relay_position(w.relay, &position);
        assert_int_equal(position.last_n, id);
        assert_int_equal(position.mark.n, 0);
        assert_memory_equal(position.mark.stream, w.fake.stream, 16);
    }
    world_stop(&w);
}

static void test_relay_resume__note_fails__not_sent_and_the_number_is_free(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w);
    submit(&w, 1);
    expect_response(&w, 1);
    w.noted.fails = true;
    for (int k = 0; k < 3; k++) {
        submit(&w, 2);
        expect_code(&w, 0x800);
    }
    assert_int_equal(w.fake.effects[2], 0);
    w.noted.fails = false;
    submit(&w, 3);
    expect_response(&w, 3);
    assert_int_equal(w.noted.mark.n, 2);
    assert_int_equal(w.fake.n, 2);
    world_stop(&w);
}

/* The relay gave up waiting for command 2, executed or not. */
static void doubt(struct world *w, bool executed)
{
    uint64_t wake;

    world_start(w);
    submit(w, 1);
    expect_response(w, 1);
    submit(w, 2);
    w->fake.no_answer = true;
    if (executed)
        while (step(w, &wake))
            ;
    w->fake.no_answer = false;
    w->refuse_connections = true;
    cut(w);
    expect_code(w, 0x800);
    w->refuse_connections = false;
    assert_int_equal(w->fake.effects[2], executed);
}

static void test_relay_resume__doubt_taken_up__is_noted_again(void **state VT_UNUSED)
{
    struct relay_position position;
    struct world w;

    for (int executed = 0; executed < 2; executed++) {
        doubt(&w, executed);
        relay_position(w.relay, &position);
        assert_int_equal(position.last_n, 1);
        assert_int_equal(position.mark.n, 2);
        assert_int_equal(position.mark.len, FAKE_COMMAND);
        assert_int_equal(w.noted.count, 2);
        /* As long as it cannot be noted it stays in doubt. */
        w.noted.fails = true;
        submit(&w, 2);
        expect_code(&w, 0x800);
        relay_position(w.relay, &position);
        assert_int_equal(position.mark.n, 2);
        w.noted.fails = false;
        submit(&w, 2);
        expect_response(&w, 2);
        assert_int_equal(w.noted.count, 4);
        assert_int_equal(w.noted.mark.n, 2);
        assert_int_equal(w.fake.effects[2], 1);
        world_stop(&w);
    }
}

/* ---- Taking over ---- */

static void test_relay_resume__under_way__same_number_once(void **state VT_UNUSED)
{
    struct world w;

    for (int executed = 0; executed < 2; executed++)
        for (uint32_t before = 0; before < 2; before++) {
            world_start(&w);
            if (before) {
                submit(&w, 1);
                expect_response(&w, 1);
            }
            die_with(&w, 2, executed);
            take_over(&w, false);
            assert_true(relay_busy(w.relay));
            expect_response(&w, 2);
            assert_int_equal(w.fake.effects[2], 1);
            /* It was noted by the one before. */
            assert_int_equal(w.noted.count, before + 1);
            submit(&w, 3);
            expect_response(&w, 3);
            assert_int_equal(w.fake.n, before + 2);
            world_stop(&w);
        }
}

static void test_relay_resume__dies_again__still_once(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w);
    die_with(&w, 2, true);
    for (int k = 0; k < 3; k++) {
        uint64_t wake;

        take_over(&w, false);
        w.fake.no_answer = true;
        while (step(&w, &wake))
            ;
        w.fake.no_answer = false;
        relay_dies(&w);
    }
    take_over(&w, false);
    expect_response(&w, 2);
    assert_int_equal(w.fake.effects[2], 1);
    world_stop(&w);
}

/* Another shim had the instance in between: nobody can tell, so it is not done again. */
static void test_relay_resume__another_shim_between__fails(void **state VT_UNUSED)
{
    struct world w;

    for (int executed = 0; executed < 2; executed++) {
        world_start(&w);
        die_with(&w, 2, executed);
        memset(w.fake.stream, 0xee, sizeof w.fake.stream);
        w.fake.n = 7;
        w.fake.has_record = true;
        take_over(&w, false);
        expect_code(&w, 9);
        assert_int_equal(w.fake.effects[2], executed);
        submit(&w, 3);
        expect_response(&w, 3);
        world_stop(&w);
    }
}

/* The instance has a history, and the first number of a new stream was under way: only the noted position can tell. */
static void test_relay_resume__first_of_a_stream__position_tells(void **state VT_UNUSED)
{
    struct world w;

    for (int executed = 0; executed < 2; executed++)
        for (int forgotten = 0; forgotten < 2; forgotten++) {
            world_start(&w);
            memset(w.fake.stream, 0xee, sizeof w.fake.stream);
            w.fake.n = 7;
            w.fake.has_record = true;
            die_with(&w, 2, executed);
            assert_int_equal(w.noted.mark.before_n, 7);
            if (forgotten)
                w.noted.mark.before_n = 0;
            take_over(&w, false);
            if (forgotten && !executed)
                expect_code(&w, 9);
            else
                expect_response(&w, 2);
            assert_int_equal(w.fake.effects[2], executed || !forgotten);
            world_stop(&w);
        }
}

static void test_relay_resume__in_doubt__repeated_or_another(void **state VT_UNUSED)
{
    struct relay_position position;
    struct world w;

    for (int executed = 0; executed < 2; executed++)
        for (int other = 0; other < 2; other++) {
            doubt(&w, executed);
            relay_position(w.relay, &position);
            w.noted.mark = position.mark;
            w.noted.mark.command = w.noted.command;
            relay_dies(&w);
            take_over(&w, true);
            assert_false(relay_busy(w.relay));
            submit(&w, other ? 3 : 2);
            expect_response(&w, other ? 3 : 2);
            assert_int_equal(w.fake.effects[2], executed || !other);
            assert_int_equal(w.fake.effects[3], other);
            world_stop(&w);
        }
}

static void test_relay_resume__what_cannot_be__is_refused(void **state VT_UNUSED)
{
    static const uint8_t command[MESSAGE_COMMAND_MAX + 1], stream[16] = {1}, other[16] = {2};
    static const struct {
        const uint8_t *stream;
        uint64_t n;
        uint32_t locality;
        size_t len;
        int err;
    } rows[] = {
        {stream, 5, 4, 4096, VT_OK},    {stream, 4, 0, 10, VT_EUSAGE}, {stream, 6, 0, 10, VT_EUSAGE},
        {stream, 0, 0, 10, VT_EUSAGE},  {stream, 5, 5, 10, VT_EUSAGE}, {stream, 5, 0, 9, VT_EUSAGE},
        {stream, 5, 0, 4097, VT_EUSAGE}, {other, 5, 0, 10, VT_EUSAGE},
    };
    struct world w = {.now = 1};

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        struct relay_mark mark = {.n = rows[i].n, .locality = rows[i].locality, .command = command, .len = rows[i].len};

        memcpy(mark.stream, rows[i].stream, sizeof mark.stream);
        relay_start(&w, stream, 4);
        assert_int_equal(relay_resume(w.relay, 1, &mark, i % 2), rows[i].err);
        if (!rows[i].err)
            assert_int_equal(relay_resume(w.relay, 1, &mark, false), VT_EUSAGE);
        relay_free(w.relay);
    }
}

#ifdef VTPM_TEST_HOOKS
static void test_relay_resume__out_of_memory__can_be_tried_again(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w);
    die_with(&w, 2, true);
    relay_start(&w, w.noted.mark.stream, w.noted.mark.n - 1);
    vt_alloc_fail_after(0);
    assert_int_equal(relay_resume(w.relay, w.now, &w.noted.mark, false), VT_ENOMEM);
    vt_alloc_fail_after(-1);
    assert_int_equal(relay_resume(w.relay, w.now, &w.noted.mark, false), VT_OK);
    expect_response(&w, 2);
    assert_int_equal(w.fake.effects[2], 1);
    world_stop(&w);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relay_resume__each_number__is_noted_once_before_it_is_sent),
        cmocka_unit_test(test_relay_resume__note_fails__not_sent_and_the_number_is_free),
        cmocka_unit_test(test_relay_resume__doubt_taken_up__is_noted_again),
        cmocka_unit_test(test_relay_resume__under_way__same_number_once),
        cmocka_unit_test(test_relay_resume__dies_again__still_once),
        cmocka_unit_test(test_relay_resume__another_shim_between__fails),
        cmocka_unit_test(test_relay_resume__first_of_a_stream__position_tells),
        cmocka_unit_test(test_relay_resume__in_doubt__repeated_or_another),
        cmocka_unit_test(test_relay_resume__what_cannot_be__is_refused),
#ifdef VTPM_TEST_HOOKS
        cmocka_unit_test(test_relay_resume__out_of_memory__can_be_tried_again),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A monitor's deeds on a relay, over a connection that may be cut after any byte: power is what the monitor said last,
 * commands keep their "exactly once", and of a hash nothing is counted twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_server.h"
#include "proto/relay.h"

#define NEVER SIZE_MAX

struct world {
    struct fake fake;
    struct relay *relay;
    struct fake_conn *conn; /* NULL: not connected */
    bool is_absent;         /* the server takes no connections */
    uint64_t now;
    size_t cut_after;       /* bytes, both ways together; then the connection is cut once */
    size_t carried;
};

static void world_start(struct world *w, bool is_monitored, uint64_t hold_ms)
{
    struct relay_config config = {
        .server = "test",
        .software = "test 1",
        .front_end = "swtpm",
        .is_monitored = is_monitored,
        .hold_ms = hold_ms,
    };

    *w = (struct world){.now = 1000, .cut_after = NEVER};
    fake_init(&w->fake);
    config.tls = (struct tls_config){.random = fake_random, .identity = FAKE_IDENTITY, .key = &w->fake.key};
    fake_random(NULL, config.stream, sizeof config.stream);
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
    relay_disconnected(w->relay, w->now, "cut by the test");
}

/* The bytes that still pass before the cut. */
static size_t portion(struct world *w, size_t len)
{
    len = VT_MIN(len, w->cut_after == NEVER ? len : w->cut_after - w->carried);
    w->carried += len;
    return len;
}

static bool carry(struct world *w)
{
    struct vt_buf *up = relay_output(w->relay), *down;
    uint8_t copy[4096];
    size_t len = up ? portion(w, VT_MIN(vt_buf_size(up), sizeof copy)) : 0;
    bool has_moved = len;

    if (len) {
        assert_true(fake_bytes(w->conn, vt_buf_bytes(up), len));
        vt_buf_drop(up, len);
    }
    down = fake_output(w->conn);
    len = portion(w, VT_MIN(vt_buf_size(down), sizeof copy));
    if (len) {
        memcpy(copy, vt_buf_bytes(down), len);
        vt_buf_drop(down, len);
        relay_bytes(w->relay, w->now, copy, len);
        has_moved = true;
    }
    if (w->cut_after != NEVER && w->carried >= w->cut_after) {
        w->cut_after = NEVER;
        cut(w);
    }
    return has_moved;
}

static bool has_news(const struct world *w)
{
    struct relay_result result;
    const uint8_t *bytes;
    size_t len;

    return relay_result(w->relay, &result) || relay_response(w->relay, &bytes, &len);
}

static void run(struct world *w)
{
    uint64_t wake, end = w->now + 60000;

    while (!has_news(w)) {
        enum relay_act act = relay_drive(w->relay, w->now, &wake);

        if (act == RELAY_CONNECT && w->is_absent) {
            relay_disconnected(w->relay, w->now, "absent");
        } else if (act == RELAY_CONNECT) {
            w->conn = fake_open(&w->fake);
            relay_connected(w->relay, w->now);
        } else if (act == RELAY_CLOSE) {
            cut(w);
        } else if (!w->conn || !carry(w)) {
            assert_true(wake != UINT64_MAX && w->now < end);
            w->now = VT_MAX(w->now, wake);
        }
    }
}

static struct relay_result do_deed(struct world *w, const struct relay_deed *deed)
{
    struct relay_result result;

    assert_int_equal(relay_submit_deed(w->relay, w->now, deed), VT_OK);
    assert_true(relay_busy(w->relay));
    run(w);
    assert_true(relay_result(w->relay, &result));
    relay_answered(w->relay);
    assert_false(relay_busy(w->relay));
    return result;
}

static int do_kind(struct world *w, enum relay_deed_kind kind)
{
    return do_deed(w, &(struct relay_deed){.kind = kind, .bytes = (const uint8_t *)"abc", .len = 3}).err;
}

static void do_command(struct world *w, uint32_t id)
{
    uint8_t command[FAKE_COMMAND];
    const uint8_t *bytes;
    size_t len;

    fake_command(command, id);
    assert_int_equal(relay_submit(w->relay, w->now, 0, command, sizeof command), VT_OK);
    run(w);
    assert_true(relay_response(w->relay, &bytes, &len));
    assert_int_equal(fake_response_id(bytes), id);
    relay_answered(w->relay);
}

static void test_deed__monitored__no_connection_powers_on(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, true, 0);
    assert_int_equal(do_deed(&w, &(struct relay_deed){.kind = RELAY_GET_ESTABLISHED}).is_established, true);
    assert_int_equal(w.fake.power_ons, 0);
    assert_int_equal(do_deed(&w, &(struct relay_deed){.kind = RELAY_RESET, .startup = VTPM__STARTUP__STARTUP_STATE}).err, VT_OK);
    assert_true(w.fake.on);
    assert_int_equal(w.fake.startup, VTPM__STARTUP__STARTUP_STATE);
    cut(&w);
    do_command(&w, 1);
    assert_int_equal(w.fake.power_ons, 1);
    /* It was on: off first. */
    assert_int_equal(do_kind(&w, RELAY_RESET), VT_OK);
    assert_int_equal(w.fake.power_acts, 2);
    assert_int_equal(do_kind(&w, RELAY_START), VT_OK);
    assert_int_equal(w.fake.power_acts, 2);
    assert_int_equal(do_kind(&w, RELAY_OFF), VT_OK);
    assert_false(w.fake.on);
    do_command(&w, 2);
    world_stop(&w);
}

static void one_course(struct world *w)
{
    int data, end;

    assert_int_equal(do_kind(w, RELAY_RESET), VT_OK);
    assert_true(w->fake.on && w->fake.power_acts >= 1);
    do_command(w, 1);
    assert_int_equal(do_kind(w, RELAY_HASH_START), VT_OK);
    data = do_kind(w, RELAY_HASH_DATA);
    end = do_kind(w, RELAY_HASH_END);
    assert_true(data == VT_OK || data == VT_EUNKNOWN);
    assert_true(end == VT_OK || end == VT_EUNKNOWN);
    assert_in_range(w->fake.platform[RELAY_HASH_DATA], data == VT_OK, 1);
    assert_in_range(w->fake.platform[RELAY_HASH_END], end == VT_OK, 1);
    do_command(w, 2);
    assert_int_equal(do_kind(w, RELAY_OFF), VT_OK);
    assert_false(w->fake.on);
    assert_int_equal(w->fake.effects[1] + w->fake.effects[2], 2);
    assert_int_equal(w->fake.refused, 0);
}

static void test_deed__cut_after_every_byte__power_is_as_said_and_nothing_counts_twice(void **state VT_UNUSED)
{
    struct world w;
    size_t all;

    world_start(&w, true, 0);
    one_course(&w);
    all = w.carried;
    world_stop(&w);
    for (size_t at = 1; at < all; at += at < 700 ? 37 : 1) {
        world_start(&w, true, 0);
        w.cut_after = at;
        one_course(&w);
        assert_true(w.cut_after == NEVER);
        world_stop(&w);
    }
}

static void test_deed__server_away__is_held_or_fails_after_the_limit(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, true, 5000);
    w.is_absent = true;
    assert_int_equal(do_kind(&w, RELAY_RESET), VT_EUNREACHED);
    assert_in_range(w.now, 6000, 7000);
    w.is_absent = false;
    assert_int_equal(do_kind(&w, RELAY_RESET), VT_OK);
    world_stop(&w);
}

static void test_deed__server_refuses__tells(void **state VT_UNUSED)
{
    struct world w;

    world_start(&w, true, 0);
    w.fake.power_error = VT_ECONFLICT;
    assert_int_equal(do_kind(&w, RELAY_RESET), VT_ECONFLICT);
    w.fake.power_error = 0;
    assert_int_equal(do_kind(&w, RELAY_RESET), VT_OK);
    w.fake.platform_error = VT_EPERM;
    assert_int_equal(do_kind(&w, RELAY_HASH_START), VT_EPERM);
    /* What passes is asked again. */
    w.fake.platform_error = VT_EUNAVAILABLE;
    assert_int_equal(do_kind(&w, RELAY_HASH_DATA), VT_OK);
    assert_int_equal(w.fake.platform[RELAY_HASH_DATA], 1);
    /* Detach without effect, as on a guest's own vchan: no power on is made of that. */
    w.fake.keeps_on = true;
    assert_int_equal(do_kind(&w, RELAY_RESET), VT_EPERM);
    assert_int_equal(w.fake.power_acts, 1);
    do_command(&w, 1);
    world_stop(&w);
}

static void test_deed__that_cannot_be__is_refused(void **state VT_UNUSED)
{
    static uint8_t big[4097];
    struct world w;

    world_start(&w, false, 0);
    assert_int_equal(relay_submit_deed(w.relay, w.now, &(struct relay_deed){.kind = RELAY_RESET}), VT_EUSAGE);
    assert_int_equal(relay_submit_deed(w.relay, w.now, &(struct relay_deed){.kind = RELAY_OFF}), VT_EUSAGE);
    assert_int_equal(relay_submit_deed(w.relay, w.now, &(struct relay_deed){.kind = RELAY_NO_DEED}), VT_EUSAGE);
    assert_int_equal(relay_submit_deed(w.relay, w.now, &(struct relay_deed){.kind = RELAY_OFF + 1}), VT_EUSAGE);
    assert_int_equal(relay_submit_deed(w.relay, w.now, &(struct relay_deed){.kind = RELAY_HASH_DATA, .bytes = big, .len = sizeof big}),
                     VT_EUSAGE);
    assert_int_equal(
        relay_submit_deed(w.relay, w.now, &(struct relay_deed){.kind = RELAY_RESET_ESTABLISHED, .locality = 5}), VT_EUSAGE);
    assert_int_equal(relay_submit_deed(w.relay, w.now, &(struct relay_deed){.kind = RELAY_GET_ESTABLISHED}), VT_OK);
    assert_int_equal(relay_submit_deed(w.relay, w.now, &(struct relay_deed){.kind = RELAY_GET_ESTABLISHED}), VT_EAGAIN);
    run(&w);
    relay_answered(w.relay);
    world_stop(&w);
}

static void test_cancel__of_a_waiting_command__is_answered_retry(void **state VT_UNUSED)
{
    uint8_t command[FAKE_COMMAND];
    const uint8_t *bytes;
    struct world w;
    size_t len;

    world_start(&w, true, 0);
    relay_cancel(w.relay);
    assert_false(relay_busy(w.relay));
    fake_command(command, 1);
    assert_int_equal(relay_submit(w.relay, w.now, 0, command, sizeof command), VT_OK);
    relay_cancel(w.relay);
    assert_true(relay_response(w.relay, &bytes, &len));
    assert_int_equal(bytes[8], 0x08);
    relay_answered(w.relay);
    /* With a server it ends by itself. */
    do_command(&w, 2);
    assert_int_equal(relay_submit(w.relay, w.now, 0, command, sizeof command), VT_OK);
    relay_cancel(w.relay);
    run(&w);
    assert_true(relay_response(w.relay, &bytes, &len));
    assert_int_equal(fake_response_id(bytes), 1);
    world_stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deed__monitored__no_connection_powers_on),
        cmocka_unit_test(test_deed__cut_after_every_byte__power_is_as_said_and_nothing_counts_twice),
        cmocka_unit_test(test_deed__server_away__is_held_or_fails_after_the_limit),
        cmocka_unit_test(test_deed__server_refuses__tells),
        cmocka_unit_test(test_deed__that_cannot_be__is_refused),
        cmocka_unit_test(test_cancel__of_a_waiting_command__is_answered_retry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

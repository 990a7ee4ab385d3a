/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shim's relay and the channel under it, to a server in memory: connect, handshake, attach, power on, three
 * commands. Each allocation fails once, on either side: each command has its effect once all the same.
 */
#include "tests/fault/countdown.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/relay.h"
#include "tests/unit/fake_server.h"

#define COMMANDS 3
#define PATIENCE_MS 600000

struct world {
    struct fake fake;
    struct relay *relay;
    struct fake_conn *conn;
    bool server_closed;
    uint64_t now, wake;
    enum relay_act act;
};

static int world_start(struct world *w)
{
    struct relay_config config;

    *w = (struct world){.now = 1000};
    fake_init(&w->fake);
    config = (struct relay_config){
        .tls = {.random = fake_random, .identity = FAKE_IDENTITY, .key = &w->fake.key},
        .server = "test",
        .software = "test 1",
        .front_end = "socket",
        .startup = VTPM__STARTUP__STARTUP_CLEAR,
    };
    (void)fake_random(NULL, config.stream, sizeof config.stream);
    return relay_new(&w->relay, &config);
}

static void cut(struct world *w)
{
    fake_close(w->conn);
    w->conn = NULL;
    w->server_closed = false;
    relay_disconnected(w->relay, w->now, "cut");
}

static bool carry_up(struct world *w)
{
    struct vt_buf *out = relay_output(w->relay);
    size_t len = out ? vt_buf_size(out) : 0;

    if (!len || w->server_closed)
        return false;
    w->server_closed = !fake_bytes(w->conn, vt_buf_bytes(out), len);
    vt_buf_drop(out, len);
    return true;
}

static bool carry_down(struct world *w)
{
    struct vt_buf *out = fake_output(w->conn);
    static uint8_t copy[65536];
    size_t len = VT_MIN(vt_buf_size(out), sizeof copy);

    if (!len)
        return false;
    memcpy(copy, vt_buf_bytes(out), len);
    vt_buf_drop(out, len);
    relay_bytes(w->relay, w->now, copy, len);
    return true;
}

/* One thing happens; false: only time goes on. */
static bool step(struct world *w)
{
    w->act = relay_drive(w->relay, w->now, &w->wake);
    if (w->act == RELAY_CONNECT) {
        w->conn = fake_open(&w->fake);
        if (w->conn)
            relay_connected(w->relay, w->now);
        else
            relay_disconnected(w->relay, w->now, "the server has no memory");
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

static bool answered(struct world *w, const uint8_t **bytes, size_t *len)
{
    const uint64_t end = w->now + PATIENCE_MS;

    for (;;) {
        while (step(w))
            if (relay_response(w->relay, bytes, len))
                return true;
        if (relay_response(w->relay, bytes, len))
            return true;
        if (w->act == RELAY_ENDED || w->wake >= end)
            return false;
        w->now = VT_MAX(w->now, w->wake);
    }
}

/* Submitted again if there was no memory for it: the front end does the same, its client waits. */
static void execute(struct world *w, uint32_t id)
{
    uint8_t command[FAKE_COMMAND];
    const uint8_t *bytes = NULL;
    size_t len = 0;
    int err;

    fake_command(command, id);
    err = relay_submit(w->relay, w->now, 0, command, sizeof command);
    if (err == VT_ENOMEM)
        err = relay_submit(w->relay, w->now, 0, command, sizeof command);
    assert_int_equal(err, VT_OK);
    if (!answered(w, &bytes, &len))
        fail_msg("call %ld failed: command %u has no answer, relay ended with %d", count_nth(), id,
                 relay_ended(w->relay));
    if (len != FAKE_RESPONSE || fake_response_id(bytes) != id)
        fail_msg("call %ld failed: command %u is answered by %zu bytes", count_nth(), id, len);
    relay_answered(w->relay);
}

static void scenario(void *arg)
{
    struct world w;
    int err;

    (void)arg;
    count_begin();
    err = world_start(&w);
    if (err) {
        assert_int_equal(err, VT_ENOMEM);
        (void)count_end();
        return;
    }
    for (uint32_t id = 1; id <= COMMANDS; id++)
        execute(&w, id);
    (void)count_end();
    for (uint32_t id = 1; id <= COMMANDS; id++)
        if (w.fake.effects[id] != 1)
            fail_msg("call %ld failed: command %u had %u effects", count_nth(), id, w.fake.effects[id]);
    assert_int_equal(w.fake.power_acts, 1);
    relay_free(w.relay);
    fake_close(w.conn);
}

static void test_relay__each_allocation__each_command_exactly_once(void **state)
{
    (void)state;
    assert_true(count_down("relay, alloc", FAULT_ALLOC, scenario, NULL) > 10);
    assert_true(count_down_by("relay, mbedtls", FAULT_MBEDTLS, getenv("VTPM_LONG") ? 1 : 211, scenario, NULL) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relay__each_allocation__each_command_exactly_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

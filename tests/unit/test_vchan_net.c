/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a shim's relay to the broker over a vchan: the shim's upstream, the real pump and offers, the listener and the
 * connections; in the fake's xenstore the server is domain 0 and the shim a guest. Both loops are one.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/relay.h"
#include "server/crypto/crypto.h"
#include "server/net/conn.h"
#include "server/net/listener.h"
#include "shim-linux/upstream.h"
#include "tests/unit/fake_broker.h"
#include "tests/unit/fake_vchan.h"
#include "tests/unit/log_capture.h"

#define WAIT_MS 30000
#define GUEST   5
#define UUID_A  "aaaaaaaa-1111-4222-8333-444444444444"

struct shim {
    struct upstream *up;
    struct relay *relay;
    uv_loop_t *uv;
    unsigned connects, closes;
    char reason[200]; /* of the last close */
    bool is_asleep;   /* makes no connection */
};

struct rig {
    uv_loop_t uv;
    struct broker broker;
    struct channels *channels;
    struct listener *listener;
    struct shim shims[4];
    unsigned shim_count;
    bool is_done;
};

static atomic_bool is_bound;

static bool on_bound(const struct vt_domain *domain VT_UNUSED)
{
    return is_bound;
}

static void open_listener(struct rig *rig)
{
    struct net_addr addr;
    struct vt_why why = {0};

    fake_xen_be(0);
    assert_int_equal(net_addr_parse(&addr, "vchan", &why), VT_OK);
    if (listener_open(&rig->listener, &rig->uv, &addr, &channels_listen, rig->channels, &why))
        fail_msg("%s", why.text);
    fake_xen_be(GUEST);
}

static int setup(void **state)
{
    const struct channel_limits limits = CHANNEL_LIMITS_DEFAULT;
    struct rig *rig = calloc(1, sizeof *rig);

    fake_xen_init();
    fake_domain_add(GUEST, UUID_A, "guest");
    log_forget();
    is_bound = true;
    assert_int_equal(uv_loop_init(&rig->uv), 0);
    fake_broker_init(&rig->broker);
    rig->broker.bound = on_bound;
    assert_int_equal(channels_new(&rig->channels, &rig->uv, &rig->broker, &limits), VT_OK);
    *state = rig;
    return 0;
}

static void on_done(void *arg)
{
    struct rig *rig = arg;

    rig->is_done = true;
}

static void turn(struct rig *rig)
{
    uv_run(&rig->uv, UV_RUN_NOWAIT);
    usleep(500);
}

static void pass_time(struct rig *rig, uint64_t *end, const char *what)
{
    if (!*end)
        *end = uv_hrtime() + WAIT_MS * 1000000ull;
    if (uv_hrtime() >= *end)
        fail_msg("not in time: %s; log:\n%s", what, log_captured());
    turn(rig);
}
#define UNTIL(rig, condition)                                                                                \
    for (uint64_t end_ = 0; !(condition);)                                                                   \
    pass_time(rig, &end_, #condition)

static void close_shim(struct shim *shim)
{
    if (!shim->up)
        return;
    upstream_close(shim->up);
    uv_run(shim->uv, UV_RUN_NOWAIT);
    uv_run(shim->uv, UV_RUN_NOWAIT);
    upstream_free(shim->up);
    relay_free(shim->relay);
    shim->up = NULL;
}

static int teardown(void **state)
{
    struct rig *rig = *state;

    for (unsigned i = 0; i < rig->shim_count; i++)
        close_shim(&rig->shims[i]);
    listener_close(rig->listener);
    channels_close(rig->channels, on_done, rig);
    UNTIL(rig, rig->is_done);
    channels_free(rig->channels);
    uv_run(&rig->uv, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->uv), 0);
    listeners_finish();
    free(rig);
    return fake_xen_end() ? 0 : -1;
}

/* ---- A shim: what shim.c does, without a front end ---- */

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

static int on_random(void *ctx VT_UNUSED, unsigned char *out, size_t len)
{
    return cr_os_random(out, len);
}

static void flush(struct shim *shim)
{
    struct vt_buf *out = relay_output(shim->relay);

    if (out)
        upstream_send(shim->up, out);
}

static void drive(struct shim *shim)
{
    struct vt_why why = {0};
    uint64_t wake;
    enum relay_act act;

    if (shim->is_asleep)
        return;
    do {
        act = relay_drive(shim->relay, now_ms(), &wake);
        flush(shim);
        if (act == RELAY_CONNECT && upstream_connect(shim->up, &why))
            relay_disconnected(shim->relay, now_ms(), why.text);
        if (act == RELAY_CLOSE) {
            upstream_close(shim->up);
            relay_disconnected(shim->relay, now_ms(), NULL);
        }
    } while (act == RELAY_CONNECT || act == RELAY_CLOSE);
}

static void on_connected(void *ctx)
{
    struct shim *shim = ctx;

    shim->connects++;
    relay_connected(shim->relay, now_ms());
    drive(shim);
}

static void on_bytes(void *ctx, const uint8_t *bytes, size_t len)
{
    struct shim *shim = ctx;

    relay_bytes(shim->relay, now_ms(), bytes, len);
    drive(shim);
}

static void on_closed(void *ctx, const char *reason)
{
    struct shim *shim = ctx;

    shim->closes++;
    snprintf(shim->reason, sizeof shim->reason, "%s", reason ? reason : "");
    relay_disconnected(shim->relay, now_ms(), reason);
}

static struct shim *new_shim(struct rig *rig, const char *upstream, uint8_t key_byte)
{
    const struct upstream_events events = {on_connected, on_bytes, on_closed};
    struct shim *shim = &rig->shims[rig->shim_count++];
    struct vt_key key;
    struct relay_config config = {
        .tls = {.random = on_random, .identity = FAKE_IDENTITY, .key = &key},
        .server = upstream,
        .software = "test",
        .front_end = "socket",
        .stream = {(uint8_t)rig->shim_count},
    };
    struct vt_why why = {0};

    memset(key.bytes, key_byte, sizeof key.bytes);
    shim->uv = &rig->uv;
    assert_int_equal(relay_new(&shim->relay, &config), VT_OK);
    if (upstream_new(&shim->up, &rig->uv, upstream, &events, shim, &why))
        fail_msg("%s", why.text);
    return shim;
}

static bool is_attached(struct shim *shim)
{
    drive(shim);
    return relay_attached(shim->relay);
}

static bool is_answered(struct shim *shim)
{
    const uint8_t *bytes;
    size_t len;

    drive(shim);
    return relay_response(shim->relay, &bytes, &len);
}

static void runs_a_command(struct rig *rig, struct shim *shim)
{
    static const uint8_t command[16] = {0, 0xc1, 0, 0, 0, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    const uint8_t *bytes;
    size_t len;

    assert_int_equal(relay_submit(shim->relay, now_ms(), 0, command, sizeof command), VT_OK);
    UNTIL(rig, is_answered(shim));
    assert_true(relay_response(shim->relay, &bytes, &len));
    assert_int_equal(len, sizeof command);
    assert_memory_equal(bytes, command, len);
    relay_answered(shim->relay);
}

/* ---- Tests ---- */

static void test_vchan__bound_domain__attaches_and_the_broker_knows_it(void **state)
{
    struct rig *rig = *state;
    struct shim *shim;

    open_listener(rig);
    assert_string_equal(listener_text(rig->listener), "vchan");
    shim = new_shim(rig, "vchan:0", FAKE_KEY_BYTE);
    UNTIL(rig, is_attached(shim));
    for (int i = 0; i < 50; i++)
        runs_a_command(rig, shim);
    assert_int_equal(rig->broker.last_domain.domid, GUEST);
    assert_string_equal(rig->broker.last_domain.name, "guest");
    assert_true(log_says("peer=vchan:5,name=guest"));
}

static void test_vchan__several_shims_of_a_domain__are_served_at_once(void **state)
{
    struct rig *rig = *state;

    open_listener(rig);
    for (unsigned i = 0; i < VT_COUNT(rig->shims); i++) {
        struct shim *shim = new_shim(rig, "vchan:0", FAKE_KEY_BYTE);
        UNTIL(rig, is_attached(shim));
    }
    for (unsigned i = 0; i < VT_COUNT(rig->shims); i++)
        runs_a_command(rig, &rig->shims[i]);
    assert_int_equal(rig->broker.sessions_now, VT_COUNT(rig->shims));
}

static void test_vchan__unbound_domain__is_told_and_the_server_says_why(void **state)
{
    struct rig *rig = *state;
    struct shim *shim;

    is_bound = false;
    open_listener(rig);
    shim = new_shim(rig, "vchan:0", FAKE_KEY_BYTE);
    UNTIL(rig, (drive(shim), shim->closes > 0));
    assert_non_null(strstr(shim->reason, "domain 0 offers this domain (5) no channel"));
    UNTIL(rig, log_says("domain 5 is offered nothing"));
    assert_true(log_says("no instance is bound to it"));
    assert_int_equal(rig->broker.sessions_made, 0);
    is_bound = true;
    UNTIL(rig, is_attached(shim));
    runs_a_command(rig, shim);
}

static void test_vchan__binding_removed__lets_nobody_else_in(void **state)
{
    struct rig *rig = *state;
    struct shim *shim, *second;

    open_listener(rig);
    shim = new_shim(rig, "vchan:0", FAKE_KEY_BYTE);
    UNTIL(rig, is_attached(shim));
    is_bound = false;
    UNTIL(rig, !fake_store_has("/local/domain/0/data/vchan/5/vtpm-1/ring-ref"));
    second = new_shim(rig, "vchan:0", FAKE_KEY_BYTE);
    UNTIL(rig, (drive(second), second->closes > 0));
    assert_non_null(strstr(second->reason, "offers this domain (5) no channel"));
    runs_a_command(rig, shim);
    is_bound = true;
    UNTIL(rig, is_attached(second));
    runs_a_command(rig, second);
}

static void test_vchan__wrong_key__is_refused_with_the_domain(void **state)
{
    struct rig *rig = *state;
    struct shim *shim;

    open_listener(rig);
    shim = new_shim(rig, "vchan:0", FAKE_KEY_BYTE + 1);
    UNTIL(rig, (drive(shim), log_says("net: refused vchan:5,name=guest: wrong key")));
    UNTIL(rig, (drive(shim), log_says("relay: server vchan:0: the peer refused")));
    assert_int_equal(rig->broker.sessions_made, 0);
}

static void test_vchan__server_starts_anew__shim_goes_on(void **state)
{
    struct rig *rig = *state;
    struct shim *shim;

    open_listener(rig);
    shim = new_shim(rig, "vchan:0", FAKE_KEY_BYTE);
    UNTIL(rig, is_attached(shim));
    runs_a_command(rig, shim);
    /* As a server does that stops, and its successor. */
    listener_close(rig->listener);
    rig->listener = NULL;
    channels_close(rig->channels, on_done, rig);
    UNTIL(rig, (drive(shim), rig->is_done));
    listeners_finish();
    channels_free(rig->channels);
    rig->is_done = false;
    assert_int_equal(channels_new(&rig->channels, &rig->uv, &rig->broker,
                                  &(struct channel_limits)CHANNEL_LIMITS_DEFAULT), VT_OK);
    open_listener(rig);
    UNTIL(rig, shim->closes > 0 && is_attached(shim));
    runs_a_command(rig, shim);
}

static void test_vchan__domain_destroyed__its_session_ends(void **state)
{
    struct rig *rig = *state;
    struct shim *shim;

    open_listener(rig);
    shim = new_shim(rig, "vchan:0", FAKE_KEY_BYTE);
    UNTIL(rig, is_attached(shim));
    shim->is_asleep = true;
    fake_domain_remove(GUEST);
    UNTIL(rig, rig->broker.sessions_now == 0);
}

static void test_vchan__shim_goes_in_the_middle__its_session_ends_and_the_next_one_is_served(void **state)
{
    struct rig *rig = *state;
    struct shim *shim;

    open_listener(rig);
    shim = new_shim(rig, "vchan:0", FAKE_KEY_BYTE);
    UNTIL(rig, is_attached(shim));
    close_shim(shim);
    UNTIL(rig, rig->broker.sessions_now == 0);
    shim = new_shim(rig, "vchan:0", FAKE_KEY_BYTE);
    UNTIL(rig, is_attached(shim));
    runs_a_command(rig, shim);
}

static void test_vchan__attempt_given_up_while_xenstored_hangs__ends(void **state)
{
    struct rig *rig = *state;
    struct shim *first, *shim;

    open_listener(rig);
    first = new_shim(rig, "vchan:0", FAKE_KEY_BYTE);
    UNTIL(rig, is_attached(first));
    fake_store_hang(true);
    shim = new_shim(rig, "vchan:0", FAKE_KEY_BYTE);
    UNTIL(rig, (drive(shim), fake_store_waiting() > 0));
    runs_a_command(rig, first);
    close_shim(shim);
    fake_store_hang(false);
    runs_a_command(rig, first);
}

static void test_vchan__not_a_xen_domain__says_so(void **state)
{
    struct rig *rig = *state;
    struct net_addr addr;
    struct vt_why why = {0};

    fake_site(VT_EUSAGE);
    assert_int_equal(net_addr_parse(&addr, "vchan", &why), VT_OK);
    assert_int_equal(listener_open(&rig->listener, &rig->uv, &addr, &channels_listen, rig->channels, &why), VT_EUSAGE);
    assert_non_null(strstr(why.text, "--listen vchan: this host is not a Xen domain"));
    why.text[0] = '\0';
    assert_int_equal(upstream_check("vchan:0", &why), VT_EUSAGE);
    assert_non_null(strstr(why.text, "--upstream vchan: this host is not a Xen domain"));
    fake_site(VT_OK);
    why.text[0] = '\0';
    fake_store_die(true);
    assert_int_equal(listener_open(&rig->listener, &rig->uv, &addr, &channels_listen, rig->channels, &why), VT_EUSAGE);
    assert_non_null(strstr(why.text, "xenstore cannot be reached"));
    fake_store_die(false);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_vchan__bound_domain__attaches_and_the_broker_knows_it),
        T(test_vchan__several_shims_of_a_domain__are_served_at_once),
        T(test_vchan__unbound_domain__is_told_and_the_server_says_why),
        T(test_vchan__binding_removed__lets_nobody_else_in),
        T(test_vchan__wrong_key__is_refused_with_the_domain),
        T(test_vchan__server_starts_anew__shim_goes_on),
        T(test_vchan__domain_destroyed__its_session_ends),
        T(test_vchan__shim_goes_in_the_middle__its_session_ends_and_the_next_one_is_served),
        T(test_vchan__attempt_given_up_while_xenstored_hangs__ends),
        T(test_vchan__not_a_xen_domain__says_so),
    };

    signal(SIGPIPE, SIG_IGN); /* as both programs do */
    if (cr_init())
        return 1;
    log_capture(VT_LOG_DEBUG);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

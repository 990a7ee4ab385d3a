/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands in front of the broker, on real sockets: listeners, channels with their handshakes, the admin
 * socket; a shim and an administrator, each in a thread, come again until they have what they came for. Each
 * socket call, allocation (libuv's and, on both sides, ours and mbedTLS's) and entropy call fails once: the
 * start says what is wrong, or both are served, and nothing stays behind.
 */
#include "tests/fault/countdown.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "proto/channel.h"
#include "proto/frame.h"
#include "server/crypto/crypto.h"
#include "server/net/admin.h"
#include "server/net/conn.h"
#include "tests/unit/fake_broker.h"

#define COMMANDS  2
#define TRIES     100
#define PAUSE_US  10000
#define SILENCE_S 20 /* of a server that should answer at once */
#define TICK_MS   2

static char dir[] = "/tmp/vtpm-net-faults-XXXXXX";

struct world {
    uv_loop_t uv;
    uv_timer_t tick;
    bool has_loop;
    struct broker broker;
    struct channels *all;
    struct admin *admin;
    struct listener *for_channels, *for_admin;
    struct net_addr channels_at, admin_at; /* with the real port */
    unsigned closed;
};

/* One peer: a thread, and what it has found. */
struct peer {
    pthread_t thread;
    const struct net_addr *at;
    bool (*visit)(int fd);
    atomic_bool is_over;
    bool is_served;
};

static int count_fds(void)
{
    DIR *fds = opendir("/proc/self/fd");
    int n = 0;

    assert_non_null(fds);
    while (readdir(fds))
        n++;
    closedir(fds);
    return n;
}

/* ---- Peers: blocking, and outside the count of socket calls ---- */

static bool say(int fd, struct vt_buf *out)
{
    while (vt_buf_size(out)) {
        ssize_t n = send(fd, vt_buf_bytes(out), vt_buf_size(out), MSG_NOSIGNAL);

        if (n <= 0)
            return false;
        vt_buf_drop(out, (size_t)n);
    }
    return true;
}

static bool hear(int fd, struct channel *ch)
{
    uint8_t bytes[4096];
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);

    return n > 0 && !channel_feed(ch, bytes, (size_t)n);
}

static int send_body(struct channel *ch, Vtpm__Message__BodyCase which, void *body)
{
    Vtpm__Message msg;

    vtpm__message__init(&msg);
    msg.body_case = which;
    msg.hello = body;
    return channel_send(ch, &msg);
}

static int say_hello(struct channel *ch)
{
    Vtpm__Hello hello;

    vtpm__hello__init(&hello);
    hello.version = 1;
    return send_body(ch, VTPM__MESSAGE__BODY_HELLO, &hello);
}

static int say_attach(struct channel *ch)
{
    Vtpm__Attach attach;
    uint8_t stream[16] = {9};
    char front_end[] = "socket";

    vtpm__attach__init(&attach);
    attach.stream = (ProtobufCBinaryData){.data = stream, .len = sizeof stream};
    attach.front_end = front_end;
    return send_body(ch, VTPM__MESSAGE__BODY_ATTACH, &attach);
}

static int say_execute(struct channel *ch, uint8_t n)
{
    Vtpm__Execute execute;
    uint8_t stream[16] = {9}, command[10] = {n, 2, 3};

    vtpm__execute__init(&execute);
    execute.stream = (ProtobufCBinaryData){.data = stream, .len = sizeof stream};
    execute.n = n;
    execute.command = (ProtobufCBinaryData){.data = command, .len = sizeof command};
    return send_body(ch, VTPM__MESSAGE__BODY_EXECUTE, &execute);
}

/* Also a wrong answer ends the test, here and now: nothing else may be told from a lost connection. */
static void check_response(const Vtpm__Message *msg, uint8_t n)
{
    const uint8_t expected[10] = {n, 2, 3};

    if (msg->body_case != VTPM__MESSAGE__BODY_RESPONSE)
        return;
    if (msg->response->n == n && msg->response->response.len == sizeof expected &&
        !memcmp(msg->response->response.data, expected, sizeof expected))
        return;
    fprintf(stderr, "call %ld failed: a wrong answer to command %u\n", count_nth(), n);
    abort();
}

/* Takes the next message; false: the channel is of no use any more. */
static bool next_message(int fd, struct channel *ch, uint8_t n, Vtpm__Message__BodyCase *which)
{
    Vtpm__Message *msg;
    int err;

    while ((err = channel_next(ch, &msg, NULL)) == VT_EAGAIN)
        if (!hear(fd, ch))
            return false;
    if (err)
        return false;
    check_response(msg, n);
    *which = msg->body_case;
    channel_message_free(msg);
    return *which != VTPM__MESSAGE__BODY_ERROR;
}

static bool converse(int fd, struct channel *ch)
{
    Vtpm__Message__BodyCase which;

    for (uint8_t n = 0; n < COMMANDS + 2; n++) {
        int err = n == 0 ? say_hello(ch) : n == 1 ? say_attach(ch) : say_execute(ch, (uint8_t)(n - 1));

        if (err || !say(fd, channel_output(ch)) || !next_message(fd, ch, (uint8_t)(n - 1), &which))
            return false;
    }
    channel_close(ch);
    return say(fd, channel_output(ch));
}

static bool shake_hands(int fd, struct channel *ch)
{
    int err;

    while ((err = channel_handshake(ch, NULL)) == VT_EAGAIN)
        if (!say(fd, channel_output(ch)) || !hear(fd, ch))
            return false;
    return say(fd, channel_output(ch)) && !err;
}

static int on_random(void *ctx, unsigned char *out, size_t len)
{
    (void)ctx;
    return cr_os_random(out, len);
}

static bool visit_channels(int fd)
{
    struct vt_key key;
    const struct tls_config config = {.random = on_random, .identity = FAKE_IDENTITY, .key = &key};
    struct channel *ch;
    bool is_served;

    memset(key.bytes, FAKE_KEY_BYTE, sizeof key.bytes);
    if (channel_new(&ch, &config))
        return false;
    is_served = shake_hands(fd, ch) && converse(fd, ch);
    channel_free(ch);
    return is_served;
}

static bool read_status(const uint8_t *bytes, size_t len)
{
    Vtpm__AdminReply *reply = vtpm__admin_reply__unpack(NULL, len, bytes);
    bool is_status;

    /* Refused is an answer too: who the peer is could not be learned. */
    if (!reply || (!reply->err && (!reply->status || strcmp(reply->status->version, "fake")))) {
        fprintf(stderr, "call %ld failed: a wrong reply to Status\n", count_nth());
        abort();
    }
    is_status = !reply->err;
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return is_status;
}

static bool visit_admin(int fd)
{
    /* AdminRequest{status} in its frame, as packed below. */
    Vtpm__AdminRequest request;
    Vtpm__Status status;
    uint8_t bytes[4096] = {0};
    size_t len, have = 0;

    vtpm__admin_request__init(&request);
    vtpm__status__init(&status);
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_STATUS;
    request.status = &status;
    len = vtpm__admin_request__pack(&request, bytes + FRAME_HEADER);
    bytes[FRAME_HEADER - 1] = (uint8_t)len;
    if (send(fd, bytes, FRAME_HEADER + len, MSG_NOSIGNAL) != (ssize_t)(FRAME_HEADER + len))
        return false;
    do {
        ssize_t n = recv(fd, bytes + have, sizeof bytes - have, 0);

        if (n <= 0)
            return false;
        have += (size_t)n;
        len = have < FRAME_HEADER ? sizeof bytes : (size_t)bytes[2] << 8 | bytes[3];
    } while (have < FRAME_HEADER + len);
    return read_status(bytes + FRAME_HEADER, len);
}

static void *visit(void *arg)
{
    struct peer *peer = arg;
    const struct timeval silence = {.tv_sec = SILENCE_S};

    count_here(FAULT_SOCKET, false);
    for (int i = 0; i < TRIES && !peer->is_served; i++) {
        int fd = socket(peer->at->sa.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (i)
            usleep(PAUSE_US);
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
        if (!connect(fd, &peer->at->sa.any, peer->at->sa_len))
            peer->is_served = peer->visit(fd);
        close(fd);
    }
    atomic_store(&peer->is_over, true);
    return NULL;
}

/* ---- The server ---- */

static void on_tick(uv_timer_t *tick)
{
    (void)tick; /* the loop turns, and looks whether the peers are done */
}

static int listen_at(struct world *w, struct listener **listener, struct net_addr *addr, const char *text,
                     const struct listener_ops *ops, void *arg, struct vt_why *why)
{
    int err = net_addr_parse(addr, text, why);

    if (!err)
        err = listener_open(listener, &w->uv, addr, ops, arg, why);
    if (err)
        return err;
    return net_addr_parse(addr, listener_text(*listener), why);
}

static int world_start(struct world *w, const char *where, struct vt_why *why)
{
    static const struct channel_limits limits = {.connections = 8,
                                                 .half_open = 8,
                                                 .half_open_per_peer = 8,
                                                 .idle_per_identity = 8,
                                                 .workers = 2,
                                                 .hold_ms = 60000,
                                                 .handshake_ms = 60000,
                                                 .unattached_ms = 60000,
                                                 .write_ms = 60000,
                                                 .linger_ms = 20};
    static const struct admin_limits admin_limits = ADMIN_LIMITS_DEFAULT;
    static const struct listener_ops for_channels = {.accept = channels_accept}, for_admin = {.accept = admin_accept};
    const struct role_policy policy = {.own_uid = geteuid()};
    char path[64];
    int err;

    fake_broker_init(&w->broker);
    snprintf(path, sizeof path, "unix:%s/admin", dir);
    if (uv_loop_init(&w->uv))
        return vt_fail(why, VT_ENOMEM, "no loop");
    w->has_loop = true;
    err = channels_new(&w->all, &w->uv, &w->broker, &limits);
    if (!err)
        err = admin_new(&w->admin, &w->uv, &w->broker, &policy, &admin_limits);
    if (err)
        return vt_fail(why, err, "%s", vt_err_text(err));
    err = listen_at(w, &w->for_channels, &w->channels_at, where, &for_channels, w->all, why);
    if (!err)
        err = listen_at(w, &w->for_admin, &w->admin_at, path, &for_admin, w->admin, why);
    return err;
}

static void serve(struct world *w)
{
    struct peer peers[] = {
        {.at = &w->channels_at, .visit = visit_channels},
        {.at = &w->admin_at, .visit = visit_admin},
    };

    uv_timer_init(&w->uv, &w->tick);
    uv_timer_start(&w->tick, on_tick, TICK_MS, TICK_MS);
    for (size_t i = 0; i < VT_COUNT(peers); i++)
        assert_int_equal(pthread_create(&peers[i].thread, NULL, visit, &peers[i]), 0);
    while (!atomic_load(&peers[0].is_over) || !atomic_load(&peers[1].is_over))
        uv_run(&w->uv, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&w->tick, NULL);
    for (size_t i = 0; i < VT_COUNT(peers); i++) {
        assert_int_equal(pthread_join(peers[i].thread, NULL), 0);
        if (!peers[i].is_served)
            fail_msg("call %ld failed: peer %zu is not served any more", count_nth(), i);
    }
}

static void on_closed(void *arg)
{
    struct world *w = arg;

    w->closed++;
}

static void world_end(struct world *w)
{
    if (!w->has_loop)
        return;
    listener_close(w->for_channels);
    listener_close(w->for_admin);
    if (w->all)
        channels_close(w->all, on_closed, w);
    if (w->admin)
        admin_close(w->admin, on_closed, w);
    while (w->closed < (unsigned)!!w->all + !!w->admin)
        uv_run(&w->uv, UV_RUN_ONCE);
    assert_int_equal(w->broker.sessions_now, 0);
    channels_free(w->all);
    admin_free(w->admin);
    uv_run(&w->uv, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->uv), 0);
}

static void scenario(void *arg)
{
    struct world w = {0};
    struct vt_why why = {""};
    int err, descriptors = count_fds();

    count_begin();
    err = world_start(&w, arg, &why);
    if (!err)
        serve(&w);
    /* Only a fault keeps it from starting, and what is wrong is said. */
    if (!count_end() && err)
        fail_msg("it does not start: %s", why.text);
    assert_true(!err || why.text[0]);
    world_end(&w);
    /* libuv leaves one behind when a loop cannot be made; a program ends there. */
    if (w.has_loop && count_fds() != descriptors)
        fail_msg("call %ld failed: descriptors stay open", count_nth());
}

/* A first run makes what stays: libuv's threads and what its library keeps for signals. */
static int warm_up(void **state)
{
    struct world w = {0};
    struct vt_why why = {""};
    static char where[] = "tcp:127.0.0.1:0";

    (void)state;
    if (!mkdtemp(dir) || world_start(&w, where, &why))
        return -1;
    serve(&w);
    world_end(&w);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return rmdir(dir);
}

static void test_net__each_fault__served_or_told_why(void **state)
{
    const long stride = getenv("VTPM_LONG") ? 1 : 97;
    static char tcp[] = "tcp:127.0.0.1:0";
    char local[64];

    (void)state;
    snprintf(local, sizeof local, "unix:%s/channels", dir);
    assert_true(count_down("net tcp, socket", FAULT_SOCKET, scenario, tcp) > 35);
    assert_true(count_down("net unix, socket", FAULT_SOCKET, scenario, local) > 30);
    assert_true(count_down("net tcp, uv", FAULT_UV, scenario, tcp) > 0);
    assert_true(count_down("net tcp, alloc", FAULT_ALLOC, scenario, tcp) > 20);
    assert_true(count_down("net tcp, entropy", FAULT_ENTROPY, scenario, tcp) > 2);
    assert_true(count_down_by("net tcp, mbedtls on both sides", FAULT_MBEDTLS, stride, scenario, tcp) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_net__each_fault__served_or_told_why, warm_up, tear_down),
    };

    signal(SIGPIPE, SIG_IGN);
    count_hook_uv();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

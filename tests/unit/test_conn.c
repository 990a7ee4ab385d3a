/* SPDX-License-Identifier: Apache-2.0 */
/* Channel connections against a fake broker, with the real channel at the other end of a socket pair. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/channel.h"
#include "proto/frame.h"
#include "server/base/alloc.h"
#include "server/crypto/crypto.h"
#include "server/net/conn.h"
#include "tests/unit/fake_broker.h"
#include "tests/unit/log_capture.h"

#define WAIT_MS 20000 /* for something that should come at once, under sanitizers on a busy machine */

struct rig {
    uv_loop_t uv;
    struct broker broker;
    struct channels *all;
    bool is_done;
};

struct client {
    int fd;
    struct channel *ch;
    int err;        /* of the handshake or of channel_next; 0: fine so far */
    bool is_ended;  /* the server closed */
    bool deaf;      /* does not read */
    unsigned reads; /* times that something came */
    unsigned responses, errors;
    uint32_t last_code;
    bool last_fatal;
};


static const struct channel_limits test_limits = {
    .connections = 300,
    .half_open = 256,
    .half_open_per_peer = 128,
    .idle_per_identity = 256,
    .workers = 2,
    .hold_ms = 60000,
    .handshake_ms = 60000,
    .unattached_ms = 60000,
    .write_ms = 60000,
    .linger_ms = 500,
};

static struct rig *rig_new(const struct channel_limits *limits)
{
    struct rig *rig = calloc(1, sizeof *rig);

    assert_int_equal(uv_loop_init(&rig->uv), 0);
    fake_broker_init(&rig->broker);
    assert_int_equal(channels_new(&rig->all, &rig->uv, &rig->broker, limits), VT_OK);
    log_forget();
    return rig;
}

static void on_done(void *arg)
{
    struct rig *rig = arg;

    assert_false(rig->is_done);
    rig->is_done = true;
}

static void rig_free(struct rig *rig)
{
    channels_close(rig->all, on_done, rig);
    assert_false(rig->is_done);
    for (uint64_t until = uv_hrtime() + WAIT_MS * 1000000ull; !rig->is_done && uv_hrtime() < until;)
        uv_run(&rig->uv, UV_RUN_ONCE);
    assert_true(rig->is_done);
    assert_int_equal(rig->broker.sessions_now, 0);
    channels_free(rig->all);
    uv_run(&rig->uv, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->uv), 0);
    free(rig);
}

static struct channel_counts counts_of(struct rig *rig)
{
    struct channel_counts counts;

    channels_count(rig->all, &counts);
    return counts;
}

/* ---- Clients ---- */

static int on_random(void *ctx, unsigned char *out, size_t len)
{
    (void)ctx;
    return cr_os_random(out, len);
}

static void set_nonblocking(int fd)
{
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
}

/* A connection; group 0: local, else a remote peer of that group. Returns the client's end. */
static int plug_in_as(struct rig *rig, uint8_t group, bool is_remote)
{
    struct net_peer peer = {.text = "test-peer", .group = {group}, .is_remote = is_remote};
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    set_nonblocking(fds[0]);
    set_nonblocking(fds[1]);
    channels_accept(rig->all, fds[1], &peer);
    return fds[0];
}

static int plug_in(struct rig *rig, uint8_t group)
{
    return plug_in_as(rig, group, group != 0);
}

static void client_start(struct client *c, struct rig *rig, uint8_t group, const char *identity,
                         uint8_t key_byte)
{
    struct vt_key key;
    struct tls_config config = {.random = on_random, .identity = identity, .key = &key};

    *c = (struct client){.fd = plug_in(rig, group)};
    memset(key.bytes, key_byte, sizeof key.bytes);
    assert_int_equal(channel_new(&c->ch, &config), VT_OK);
}

static void client_end(struct client *c)
{
    channel_free(c->ch);
    close(c->fd);
}

static void client_read(struct client *c)
{
    uint8_t bytes[4096];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);

    c->reads += n > 0;
    if (n > 0)
        assert_int_equal(channel_feed(c->ch, bytes, (size_t)n), VT_OK);
    else if (n == 0 || errno != EAGAIN)
        c->is_ended = true;
}

static void client_write(struct client *c)
{
    struct vt_buf *out = channel_output(c->ch);
    ssize_t n;

    if (!vt_buf_size(out))
        return;
    n = send(c->fd, vt_buf_bytes(out), vt_buf_size(out), MSG_NOSIGNAL);
    if (n > 0)
        vt_buf_drop(out, (size_t)n);
}

static void client_messages(struct client *c)
{
    Vtpm__Message *msg;

    while (!c->err && !(c->err = channel_next(c->ch, &msg, NULL))) {
        if (msg->body_case == VTPM__MESSAGE__BODY_RESPONSE)
            c->responses++;
        if (msg->body_case == VTPM__MESSAGE__BODY_ERROR) {
            c->errors++;
            c->last_code = msg->error->code;
            c->last_fatal = msg->error->fatal;
        }
        channel_message_free(msg);
    }
    if (c->err == VT_EAGAIN)
        c->err = 0;
}

static void client_step(struct client *c)
{
    if (!c->is_ended && !c->deaf)
        client_read(c);
    if (!c->err && channel_phase(c->ch) == CHANNEL_HANDSHAKE)
        c->err = channel_handshake(c->ch, NULL);
    if (c->err == VT_EAGAIN)
        c->err = 0;
    if (channel_phase(c->ch) != CHANNEL_HANDSHAKE && !c->deaf)
        client_messages(c);
    client_write(c);
}

static void send_body(struct client *c, Vtpm__Message__BodyCase which, void *body)
{
    Vtpm__Message msg;

    vtpm__message__init(&msg);
    msg.body_case = which;
    msg.hello = body;
    assert_int_equal(channel_send(c->ch, &msg), VT_OK);
}

static void say_hello(struct client *c)
{
    Vtpm__Hello hello;

    vtpm__hello__init(&hello);
    hello.version = 1;
    send_body(c, VTPM__MESSAGE__BODY_HELLO, &hello);
}

static void say_attach(struct client *c)
{
    Vtpm__Attach attach;
    uint8_t stream[16] = {9};
    char front_end[] = "socket";

    vtpm__attach__init(&attach);
    attach.stream = (ProtobufCBinaryData){.data = stream, .len = sizeof stream};
    attach.front_end = front_end;
    send_body(c, VTPM__MESSAGE__BODY_ATTACH, &attach);
}

static void say_execute(struct client *c, uint64_t n, uint8_t first)
{
    Vtpm__Execute execute;
    uint8_t stream[16] = {9};
    uint8_t command[10] = {first, 2, 3};

    vtpm__execute__init(&execute);
    execute.stream = (ProtobufCBinaryData){.data = stream, .len = sizeof stream};
    execute.n = n;
    execute.command = (ProtobufCBinaryData){.data = command, .len = sizeof command};
    send_body(c, VTPM__MESSAGE__BODY_EXECUTE, &execute);
}

static void say_cancel(struct client *c, uint64_t n)
{
    Vtpm__Cancel cancel;

    vtpm__cancel__init(&cancel);
    cancel.n = n;
    send_body(c, VTPM__MESSAGE__BODY_CANCEL, &cancel);
}

/* What a shim would do next; true: it waits for its answer. */
static bool client_advance(struct client *c, uint64_t commands)
{
    static _Thread_local uint64_t n;

    if (c->err || c->is_ended)
        return false;
    switch (channel_phase(c->ch)) {
    case CHANNEL_HELLO:
        say_hello(c);
        return true;
    case CHANNEL_IDLE:
        say_attach(c);
        return true;
    case CHANNEL_ATTACHED:
        if (c->responses >= commands)
            return false;
        say_execute(c, ++n, 1);
        return true;
    case CHANNEL_HANDSHAKE:
    case CHANNEL_CLOSED:
        break;
    }
    return false;
}

static void turn(struct rig *rig)
{
    uv_run(&rig->uv, UV_RUN_NOWAIT);
}

/* Runs both sides until `cond`, which must come true. */
#define UNTIL(rig, c, cond)                                                                                  \
    do {                                                                                                     \
        uint64_t until_ = uv_hrtime() + WAIT_MS * 1000000ull;                                                \
        while (!(cond) && uv_hrtime() < until_) {                                                            \
            turn(rig);                                                                                       \
            client_step(c);                                                                                  \
        }                                                                                                    \
        assert_true(cond);                                                                                   \
    } while (0)

#define UNTIL_ALONE(rig, cond)                                                                               \
    do {                                                                                                     \
        uint64_t until_ = uv_hrtime() + WAIT_MS * 1000000ull;                                                \
        while (!(cond) && uv_hrtime() < until_)                                                              \
            turn(rig);                                                                                       \
        assert_true(cond);                                                                                   \
    } while (0)

static void turns(struct rig *rig, struct client *c, unsigned ms)
{
    for (uint64_t until = uv_hrtime() + ms * 1000000ull; uv_hrtime() < until;) {
        turn(rig);
        if (c)
            client_step(c);
    }
}

static void client_attach(struct rig *rig, struct client *c)
{
    client_start(c, rig, 0, FAKE_IDENTITY, FAKE_KEY_BYTE);
    UNTIL(rig, c, channel_phase(c->ch) == CHANNEL_HELLO);
    say_hello(c);
    UNTIL(rig, c, channel_phase(c->ch) == CHANNEL_IDLE);
    say_attach(c);
    UNTIL(rig, c, channel_phase(c->ch) == CHANNEL_ATTACHED);
}

/* ---- Tests ---- */

static void test_conn__right_key__reaches_its_session(void **state)
{
    struct rig *rig = rig_new(&test_limits);
    struct client c;

    (void)state;
    client_attach(rig, &c);
    for (unsigned n = 1; n <= 20; n++) {
        say_execute(&c, n, 1);
        UNTIL(rig, &c, c.responses == n);
    }
    assert_int_equal(rig->broker.sessions_made, 1);
    assert_int_equal(rig->broker.messages, 22);
    assert_int_equal(counts_of(rig).opened, 1);
    assert_int_equal(counts_of(rig).half_open, 0);
    client_end(&c);
    UNTIL_ALONE(rig, counts_of(rig).connections == 0);
    assert_int_equal(rig->broker.sessions_now, 0);
    rig_free(rig);
}

static void refused_handshake(const char *identity, uint8_t key_byte, const char *logged)
{
    struct rig *rig = rig_new(&test_limits);
    struct client c;

    client_start(&c, rig, 0, identity, key_byte);
    UNTIL(rig, &c, c.is_ended);
    assert_int_equal(c.err, VT_EAUTH);
    assert_int_equal(rig->broker.sessions_made, 0);
    assert_int_equal(counts_of(rig).refused, 1);
    if (!log_says(logged) || !log_says(identity) || !log_says("test-peer"))
        fail_msg("the log says: %s", log_captured());
    client_end(&c);
    UNTIL_ALONE(rig, counts_of(rig).connections == 0);
    rig_free(rig);
}

static void test_conn__wrong_key__is_refused_and_logged_as_such(void **state)
{
    (void)state;
    refused_handshake(FAKE_IDENTITY, 0x01, "wrong key");
}

static void test_conn__unknown_identity__is_refused_alike_and_logged_as_such(void **state)
{
    (void)state;
    refused_handshake("22222222-2222-4333-8444-555555555555", FAKE_KEY_BYTE, "no such identity");
}

static void test_conn__disabled_identity__is_refused_alike_and_logged_as_such(void **state)
{
    (void)state;
    refused_handshake(FAKE_DISABLED, FAKE_KEY_BYTE, "the instance is disabled");
}

static void test_conn__many_wrong_keys__are_counted_not_logged_each(void **state)
{
    struct rig *rig = rig_new(&test_limits);
    unsigned lines = 0;

    (void)state;
    for (int i = 0; i < 12; i++) {
        struct client c;
        client_start(&c, rig, 0, FAKE_IDENTITY, 2);
        UNTIL(rig, &c, c.is_ended);
        client_end(&c);
    }
    for (const char *at = log_captured(); (at = strstr(at, "wrong key")); at++)
        lines++;
    assert_int_equal(lines, 5);
    rig_free(rig);
    assert_true(log_says("refused 7 more: wrong key count=7 total=12"));
}

static void test_conn__silent_peer__is_closed_after_the_time_limit(void **state)
{
    struct channel_limits limits = test_limits;
    struct rig *rig;
    char byte;
    int fd;

    (void)state;
    limits.handshake_ms = 50;
    rig = rig_new(&limits);
    fd = plug_in(rig, 0);
    UNTIL_ALONE(rig, recv(fd, &byte, 1, 0) == 0);
    assert_true(log_says("handshake took too long"));
    assert_int_equal(counts_of(rig).half_open, 0);
    close(fd);
    rig_free(rig);
}

/* Bytes that trickle in do not buy more time. */
static void test_conn__slow_peer__is_closed_after_the_time_limit(void **state)
{
    struct channel_limits limits = test_limits;
    static const uint8_t start[] = {0x16, 0x03, 0x01, 0x00, 0xff, 0x01, 0x00, 0x00, 0xfb, 0x03, 0x03};
    struct rig *rig;
    size_t sent = 0;
    char byte;
    int fd;

    (void)state;
    limits.handshake_ms = 150;
    rig = rig_new(&limits);
    fd = plug_in(rig, 0);
    while (recv(fd, &byte, 1, 0) != 0) {
        if (sent < 1000)
            sent += send(fd, start + (sent < sizeof start ? sent : 10), 1, MSG_NOSIGNAL) == 1;
        turns(rig, NULL, 5);
        assert_true(sent < 200);
    }
    assert_true(log_says("handshake took too long"));
    close(fd);
    rig_free(rig);
}

static void test_conn__garbage__is_closed(void **state)
{
    struct rig *rig = rig_new(&test_limits);
    uint8_t garbage[5000], byte[512];

    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        int fd = plug_in(rig, 0);
        for (size_t i = 0; i < sizeof garbage; i++)
            garbage[i] = (uint8_t)((i * 7 + round * 31) ^ (i >> 3));
        if (round % 2)
            memcpy(garbage, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
        assert_true(send(fd, garbage, sizeof garbage, MSG_NOSIGNAL) > 0);
        shutdown(fd, SHUT_WR);
        UNTIL_ALONE(rig, recv(fd, byte, sizeof byte, 0) == 0);
        close(fd);
    }
    UNTIL_ALONE(rig, counts_of(rig).connections == 0);
    assert_int_equal(rig->broker.sessions_made, 0);
    rig_free(rig);
}

static void test_conn__garbage_after_open__is_closed(void **state)
{
    struct rig *rig = rig_new(&test_limits);
    struct client c;

    (void)state;
    client_attach(rig, &c);
    assert_int_equal(send(c.fd, "\x17\x03\x03\x00\x20garbagegarbagegarbagegarbagegarb", 37, MSG_NOSIGNAL),
                     37);
    UNTIL(rig, &c, c.is_ended);
    assert_true(log_says("protocol error"));
    client_end(&c);
    UNTIL_ALONE(rig, counts_of(rig).connections == 0);
    assert_int_equal(rig->broker.sessions_now, 0);
    rig_free(rig);
}

/* A peer with the right key that does not keep to the frames. */
static void test_conn__oversized_frame__is_refused(void **state)
{
    static const uint8_t header[4] = {0xff, 0xff, 0xff, 0xff};
    struct rig *rig = rig_new(&test_limits);
    struct vt_key key;
    struct tls_config config = {.random = on_random, .identity = FAKE_IDENTITY, .key = &key};
    uint8_t bytes[4096];
    struct tls *tls;
    bool is_said = false;
    ssize_t n;
    int fd = plug_in(rig, 0);

    (void)state;
    memset(key.bytes, FAKE_KEY_BYTE, sizeof key.bytes);
    assert_int_equal(tls_new(&tls, &config), VT_OK);
    while ((n = recv(fd, bytes, sizeof bytes, 0))) {
        if (n > 0)
            assert_int_equal(tls_feed(tls, bytes, (size_t)n), VT_OK);
        if (tls_handshake(tls, NULL) == VT_OK && !is_said) {
            is_said = true;
            assert_int_equal(tls_write(tls, header, sizeof header), VT_OK);
        }
        n = send(fd, vt_buf_bytes(tls_output(tls)), vt_buf_size(tls_output(tls)), MSG_NOSIGNAL);
        if (n > 0)
            vt_buf_drop(tls_output(tls), (size_t)n);
        turn(rig);
    }
    assert_true(is_said);
    assert_true(log_says("a frame longer than"));
    tls_free(tls);
    close(fd);
    UNTIL_ALONE(rig, counts_of(rig).connections == 0);
    rig_free(rig);
}

/* Goes on as a shim would, until the server has answered `answers` times. */
static void converse(struct rig *rig, struct client *c, unsigned answers)
{
    enum channel_phase said_in = CHANNEL_HANDSHAKE;

    client_step(c);
    for (uint64_t until = uv_hrtime() + WAIT_MS * 1000000ull; c->reads < answers && uv_hrtime() < until;) {
        turn(rig);
        client_step(c);
        if (channel_phase(c->ch) == said_in)
            continue;
        said_in = channel_phase(c->ch);
        client_advance(c, 1);
        client_step(c);
    }
    assert_int_equal(c->reads, answers);
}

/* Whatever was said when the peer goes, its session ends and nothing stays. The answers are: ServerHello and
 * what follows, Finished, Hello, Attached, Response. */
static void test_conn__disconnect_at_each_point__leaves_nothing(void **state)
{
    struct rig *rig = rig_new(&test_limits);

    (void)state;
    for (unsigned answers = 0; answers <= 5; answers++)
        for (unsigned turns_more = 0; turns_more < 4; turns_more++) {
            struct client c;
            client_start(&c, rig, 0, FAKE_IDENTITY, FAKE_KEY_BYTE);
            converse(rig, &c, answers);
            for (unsigned i = 0; i < turns_more; i++)
                turn(rig);
            assert_int_equal(c.responses, answers == 5);
            client_end(&c);
            UNTIL_ALONE(rig, counts_of(rig).connections == 0);
            assert_int_equal(rig->broker.sessions_now, 0);
        }
    rig_free(rig);
}

static void test_conn__disconnect_with_a_command_under_way__ends_the_session(void **state)
{
    struct rig *rig = rig_new(&test_limits);
    struct client c;

    (void)state;
    client_attach(rig, &c);
    rig->broker.hold = true;
    say_execute(&c, 1, 1);
    UNTIL(rig, &c, rig->broker.messages == 3);
    client_end(&c);
    turns(rig, NULL, 20);
    /* That its end was seen changes nothing while the command runs. */
    assert_int_equal(rig->broker.sessions_now, 1);
    fake_release(&rig->broker);
    UNTIL_ALONE(rig, counts_of(rig).connections == 0);
    assert_int_equal(rig->broker.sessions_now, 0);
    rig_free(rig);
}

static void test_conn__half_closed_with_a_command_under_way__is_answered_first(void **state)
{
    struct rig *rig = rig_new(&test_limits);
    struct client c;

    (void)state;
    client_attach(rig, &c);
    rig->broker.hold = true;
    say_execute(&c, 1, 1);
    UNTIL(rig, &c, rig->broker.messages == 3);
    assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
    turns(rig, &c, 20);
    assert_int_equal(rig->broker.sessions_now, 1);
    assert_false(c.is_ended);
    fake_release(&rig->broker);
    UNTIL(rig, &c, c.responses == 1 && c.is_ended);
    UNTIL_ALONE(rig, counts_of(rig).connections == 0);
    client_end(&c);
    rig_free(rig);
}

static void test_conn__command_under_way__stops_reading(void **state)
{
    struct rig *rig = rig_new(&test_limits);
    struct client c;
    unsigned sent = 0;

    (void)state;
    client_attach(rig, &c);
    rig->broker.hold = true;
    say_execute(&c, 1, 1);
    UNTIL(rig, &c, rig->broker.messages == 3);
    /* The peer goes on until the socket is full: what is read of it stays bounded. */
    while (vt_buf_size(channel_output(c.ch)) < 8192 && sent < 100000) {
        say_cancel(&c, 1);
        sent++;
        client_step(&c);
        turn(rig);
    }
    assert_true(sent < 100000);
    assert_int_equal(rig->broker.messages, 3);
    fake_release(&rig->broker);
    UNTIL(rig, &c, rig->broker.messages == 3 + sent);
    assert_int_equal(c.responses, 1);
    client_end(&c);
    rig_free(rig);
}

static void test_conn__peer_that_does_not_read__is_closed(void **state)
{
    struct rig *rig = rig_new(&test_limits);
    struct client c;

    (void)state;
    client_attach(rig, &c);
    c.deaf = true;
    for (int i = 0; i < 20000 && rig->broker.sessions_now; i++) {
        fake_shout(&rig->broker, 200);
        turn(rig);
    }
    assert_int_equal(rig->broker.sessions_now, 0);
    assert_true(log_says("it does not read"));
    UNTIL_ALONE(rig, counts_of(rig).connections == 0);
    client_end(&c);
    rig_free(rig);
}

static void test_conn__answer_that_is_not_read__has_a_time_limit(void **state)
{
    struct channel_limits limits = test_limits;
    int arrived = 0, before = -1;
    struct rig *rig;
    struct client c;

    (void)state;
    limits.write_ms = 50;
    rig = rig_new(&limits);
    client_attach(rig, &c);
    c.deaf = true;
    /* Until one does not get into the socket any more: far from what may be queued. */
    while (arrived > before) {
        before = arrived;
        fake_shout(&rig->broker, 200);
        assert_int_equal(ioctl(c.fd, FIONREAD, &arrived), 0);
    }
    UNTIL_ALONE(rig, counts_of(rig).connections == 0);
    assert_int_equal(rig->broker.sessions_now, 0);
    assert_true(log_says("closing test-peer: it does not read"));
    client_end(&c);
    rig_free(rig);
}

static void test_conn__peer_that_attaches_nothing__is_closed(void **state)
{
    struct channel_limits limits = test_limits;
    struct rig *rig;
    struct client c;

    (void)state;
    limits.unattached_ms = 50;
    rig = rig_new(&limits);
    client_start(&c, rig, 0, FAKE_IDENTITY, FAKE_KEY_BYTE);
    UNTIL(rig, &c, c.is_ended);
    assert_true(log_says("it attaches nothing"));
    assert_int_equal(rig->broker.sessions_now, 0);
    client_end(&c);
    rig_free(rig);
}

static void test_conn__attached_and_idle__stays(void **state)
{
    struct channel_limits limits = test_limits;
    struct rig *rig;
    struct client c;

    (void)state;
    limits.handshake_ms = 3000;
    limits.unattached_ms = 3000;
    limits.write_ms = 20;
    rig = rig_new(&limits);
    client_attach(rig, &c);
    turns(rig, &c, 3300);
    assert_false(c.is_ended);
    say_execute(&c, 1, 1);
    UNTIL(rig, &c, c.responses == 1);
    client_end(&c);
    rig_free(rig);
}

static void test_conn__session_that_closes__says_why_before_the_end(void **state)
{
    struct channel_limits limits = test_limits;
    struct rig *rig;
    struct client c;

    (void)state;
    limits.linger_ms = 10 * WAIT_MS; /* the end comes with the last words, not when they are too old */
    rig = rig_new(&limits);
    client_attach(rig, &c);
    say_execute(&c, 1, FAKE_CLOSE);
    say_cancel(&c, 1); /* unread when the server closes */
    UNTIL(rig, &c, c.is_ended);
    assert_int_equal(c.errors, 1);
    assert_int_equal(c.last_code, -VT_EFENCED);
    assert_true(c.last_fatal);
    assert_int_equal(rig->broker.sessions_now, 0);
    client_end(&c);
    UNTIL_ALONE(rig, counts_of(rig).connections == 0);
    rig_free(rig);
}

static void test_conn__session_that_is_refused__is_told(void **state)
{
    struct rig *rig = rig_new(&test_limits);
    struct client c;

    (void)state;
    rig->broker.refuse_session = VT_EAGAIN;
    client_start(&c, rig, 0, FAKE_IDENTITY, FAKE_KEY_BYTE);
    UNTIL(rig, &c, c.is_ended);
    assert_int_equal(c.errors, 1);
    assert_int_equal(c.last_code, -VT_EAGAIN);
    client_end(&c);
    rig_free(rig);
}

/* The old key was still right when the handshake began: its channel must not live on. */
static void test_conn__key_rotated_during_the_handshake__is_refused(void **state)
{
    struct rig *rig = rig_new(&test_limits);
    struct client c;

    (void)state;
    rig->broker.rotate = true;
    client_start(&c, rig, 1, FAKE_IDENTITY, FAKE_KEY_BYTE);
    UNTIL(rig, &c, c.is_ended);
    assert_int_equal(c.errors, 1);
    assert_true(c.last_fatal);
    assert_int_equal(c.last_code, (unsigned)-VT_EAUTH);
    assert_int_equal(rig->broker.sessions_made, 0);
    assert_true(log_says("rotated"));
    client_end(&c);
    rig_free(rig);
}

static void test_conn__flood_of_200__all_are_served(void **state)
{
    enum { COUNT = 200 };
    struct rig *rig = rig_new(&test_limits);
    struct client *all = calloc(COUNT, sizeof *all);
    enum channel_phase *phase = calloc(COUNT, sizeof *phase);
    unsigned done = 0;

    (void)state;
    for (int i = 0; i < COUNT; i++)
        client_start(&all[i], rig, 0, FAKE_IDENTITY, FAKE_KEY_BYTE);
    for (uint64_t until = uv_hrtime() + 5 * WAIT_MS * 1000000ull; done < COUNT && uv_hrtime() < until;) {
        turn(rig);
        done = 0;
        for (int i = 0; i < COUNT; i++) {
            client_step(&all[i]);
            assert_false(all[i].is_ended);
            if (channel_phase(all[i].ch) != phase[i]) {
                phase[i] = channel_phase(all[i].ch);
                client_advance(&all[i], 1);
            }
            done += all[i].responses == 1;
        }
    }
    assert_int_equal(done, COUNT);
    assert_int_equal(counts_of(rig).opened, COUNT);
    assert_int_equal(rig->broker.sessions_now, COUNT);
    assert_int_equal(rig->broker.psk_calls, COUNT);
    for (int i = 0; i < COUNT; i++)
        client_end(&all[i]);
    UNTIL_ALONE(rig, counts_of(rig).connections == 0);
    free(all);
    free(phase);
    rig_free(rig);
}

static bool is_closed(int fd)
{
    char byte;

    return recv(fd, &byte, 1, 0) == 0;
}

static void test_conn__remote_peer_over_its_share__is_closed_at_once(void **state)
{
    struct channel_limits limits = test_limits;
    struct rig *rig;
    int fds[5];

    (void)state;
    limits.half_open_per_peer = 3;
    rig = rig_new(&limits);
    for (int i = 0; i < 5; i++)
        fds[i] = plug_in(rig, 1);
    assert_int_equal(counts_of(rig).half_open, 3);
    assert_false(is_closed(fds[2]));
    assert_true(is_closed(fds[3]));
    /* Another one, and local ones, are not touched by it. */
    close(plug_in(rig, 2));
    for (int i = 0; i < 5; i++)
        close(plug_in(rig, 0));
    assert_int_equal(counts_of(rig).half_open, 9);
    for (int i = 0; i < 5; i++)
        close(fds[i]);
    UNTIL_ALONE(rig, counts_of(rig).connections == 0);
    rig_free(rig);
}

static void test_conn__places_taken_by_one_peer__another_gets_in(void **state)
{
    struct channel_limits limits = test_limits;
    struct rig *rig;
    struct client c;
    int fds[10], extra;

    (void)state;
    limits.half_open = 10;
    rig = rig_new(&limits);
    for (int i = 0; i < 10; i++)
        fds[i] = plug_in(rig, 1);
    extra = plug_in(rig, 1);
    assert_true(is_closed(extra));
    client_start(&c, rig, 2, FAKE_IDENTITY, FAKE_KEY_BYTE);
    UNTIL(rig, &c, channel_phase(c.ch) == CHANNEL_HELLO);
    assert_true(is_closed(fds[0]));
    assert_false(is_closed(fds[1]));
    close(extra);
    for (int i = 0; i < 10; i++)
        close(fds[i]);
    client_end(&c);
    rig_free(rig);
}

/* A local process has no limit of its own, but holds places only as long as no other one wants them. */
static void test_conn__places_taken_by_one_process__another_gets_in(void **state)
{
    struct channel_limits limits = test_limits;
    struct rig *rig;
    int fds[10], extra, other;

    (void)state;
    limits.half_open = 10;
    limits.half_open_per_peer = 3;
    rig = rig_new(&limits);
    for (int i = 0; i < 10; i++)
        fds[i] = plug_in_as(rig, 1, false);
    assert_int_equal(counts_of(rig).half_open, 10);
    extra = plug_in_as(rig, 1, false);
    assert_true(is_closed(extra));
    other = plug_in_as(rig, 2, false);
    assert_false(is_closed(other));
    UNTIL_ALONE(rig, is_closed(fds[0]));
    assert_false(is_closed(fds[1]));
    close(extra);
    close(other);
    for (int i = 0; i < 10; i++)
        close(fds[i]);
    UNTIL_ALONE(rig, counts_of(rig).connections == 0);
    rig_free(rig);
}

static void test_conn__many_channels_without_an_instance__oldest_goes(void **state)
{
    struct channel_limits limits = test_limits;
    struct rig *rig;
    struct client attached, idle[4];

    (void)state;
    limits.idle_per_identity = 3;
    rig = rig_new(&limits);
    client_attach(rig, &attached);
    for (int i = 0; i < 4; i++) {
        client_start(&idle[i], rig, 0, FAKE_IDENTITY, FAKE_KEY_BYTE);
        UNTIL(rig, &idle[i], channel_phase(idle[i].ch) == CHANNEL_HELLO);
    }
    UNTIL(rig, &idle[0], idle[0].is_ended);
    assert_int_equal(idle[0].errors, 1);
    assert_int_equal(idle[0].last_code, -VT_EAGAIN);
    client_end(&idle[0]);
    UNTIL_ALONE(rig, counts_of(rig).connections == 4);
    turns(rig, &attached, 20);
    assert_false(attached.is_ended);
    assert_true(log_says("too many channels of one identity without an instance"));
    client_end(&attached);
    for (int i = 1; i < 4; i++)
        client_end(&idle[i]);
    UNTIL_ALONE(rig, counts_of(rig).connections == 0);
    rig_free(rig);
}

static void test_conn__too_many_connections__newcomers_are_closed(void **state)
{
    struct channel_limits limits = test_limits;
    struct rig *rig;
    int fds[4];

    (void)state;
    limits.connections = 3;
    rig = rig_new(&limits);
    for (int i = 0; i < 4; i++)
        fds[i] = plug_in(rig, 0);
    assert_true(is_closed(fds[3]));
    assert_int_equal(counts_of(rig).connections, 3);
    close(fds[0]);
    UNTIL_ALONE(rig, counts_of(rig).connections == 2);
    close(fds[3]);
    fds[3] = plug_in(rig, 0);
    assert_false(is_closed(fds[3]));
    for (int i = 1; i < 4; i++)
        close(fds[i]);
    rig_free(rig);
}

/* rig_free with connections in every state: waiting for a worker, on one, attached, with a command under way.
 */
static void test_conn__close_of_all__ends_every_state(void **state)
{
    struct rig *rig = rig_new(&test_limits);
    struct client attached, busy, working[20];
    int silent = plug_in(rig, 0);

    (void)state;
    client_attach(rig, &attached);
    client_attach(rig, &busy);
    rig->broker.hold = true;
    say_execute(&busy, 1, 1);
    UNTIL(rig, &busy, rig->broker.messages == 5);
    for (int i = 0; i < 20; i++) {
        client_start(&working[i], rig, 0, FAKE_IDENTITY, FAKE_KEY_BYTE);
        client_step(&working[i]);
    }
    turn(rig);
    assert_int_equal(rig->broker.sessions_now, 2);
    rig_free(rig);
    assert_true(is_closed(silent));
    close(silent);
    client_end(&attached);
    client_end(&busy);
    for (int i = 0; i < 20; i++)
        client_end(&working[i]);
}

#ifdef VTPM_TEST_HOOKS
/* A turn of the server in which its allocation number *left fails; the client's are spared. */
static void poor_turn(struct rig *rig, long *left)
{
    long made;

    vt_alloc_fail_after(*left);
    turns(rig, NULL, 1);
    made = vt_alloc_fail_after(-1);
    *left = *left < made ? -1 : *left - made;
}

/* True: it was served to the end, and its allocation number `left` was never made. */
static bool is_served_in_poverty(struct rig *rig, long left)
{
    enum channel_phase said_in = CHANNEL_HANDSHAKE;
    struct client c;

    client_start(&c, rig, 0, FAKE_IDENTITY, FAKE_KEY_BYTE);
    for (int i = 0; i < 5000 && !c.is_ended && !c.err && !c.responses; i++) {
        poor_turn(rig, &left);
        client_step(&c);
        if (!c.is_ended && channel_phase(c.ch) != said_in) {
            said_in = channel_phase(c.ch);
            client_advance(&c, 1);
        }
    }
    client_end(&c);
    UNTIL_ALONE(rig, counts_of(rig).connections == 0);
    return c.responses == 1 && left >= 0;
}

static void test_conn__out_of_memory_anywhere__closes_that_one_only(void **state)
{
    bool is_served = false;
    long n;

    (void)state;
    for (n = 0; !is_served && n < 500; n++) {
        struct rig *rig = rig_new(&test_limits);
        struct client other;
        is_served = is_served_in_poverty(rig, n);
        client_attach(rig, &other);
        client_end(&other);
        UNTIL_ALONE(rig, counts_of(rig).connections == 0);
        assert_int_equal(rig->broker.sessions_now, 0);
        rig_free(rig);
    }
    assert_true(is_served);
    assert_true(n > 10);
}
#endif

/* ---- A storm waits in the kernel's queue ---- */

static bool is_ready(struct rig *rig)
{
    return channels_listen.is_ready(rig->all);
}

static void test_storm__workers_behind__nobody_is_accepted(void **state)
{
    struct channel_limits limits = test_limits;
    struct client clients[2];
    struct rig *rig;

    (void)state;
    limits.half_open_per_peer = VT_COUNT(clients);
    limits.workers = 0; /* the steps stay undone */
    rig = rig_new(&limits);
    for (size_t i = 0; i < VT_COUNT(clients); i++) {
        assert_true(is_ready(rig));
        client_start(&clients[i], rig, 0, FAKE_IDENTITY, FAKE_KEY_BYTE);
        client_step(&clients[i]);
    }
    UNTIL_ALONE(rig, !is_ready(rig));
    client_end(&clients[0]);
    client_end(&clients[1]);
    rig_free(rig);
}

/* Whoever keeps the workers busy for ever does not keep the others out. */
static void test_storm__too_long__somebody_is_accepted(void **state)
{
    struct channel_limits limits = test_limits;
    struct client client;
    struct rig *rig;

    (void)state;
    limits.half_open_per_peer = 1;
    limits.workers = 0;
    limits.hold_ms = 1;
    rig = rig_new(&limits);
    client_start(&client, rig, 0, FAKE_IDENTITY, FAKE_KEY_BYTE);
    client_step(&client);
    turns(rig, NULL, 10);
    assert_int_equal(counts_of(rig).half_open, 1);
    assert_true(is_ready(rig));
    client_end(&client);
    rig_free(rig);
}

/* As a flood leaves them in the kernel's queue. */
static void test_storm__peer_gone_before_its_turn__costs_no_worker(void **state)
{
    struct channel_limits limits = test_limits;
    struct client client;
    struct rig *rig;

    (void)state;
    limits.workers = 0; /* a step would wait for ever */
    rig = rig_new(&limits);
    client_start(&client, rig, 0, FAKE_IDENTITY, FAKE_KEY_BYTE);
    client_step(&client);
    client_end(&client);
    UNTIL_ALONE(rig, counts_of(rig).connections == 0);
    assert_int_equal(counts_of(rig).half_open, 0);
    rig_free(rig);
}

static void test_storm__silent_peers__hold_up_nobody(void **state)
{
    struct channel_limits limits = test_limits;
    struct rig *rig;
    int silent[2];

    (void)state;
    limits.half_open_per_peer = VT_COUNT(silent);
    rig = rig_new(&limits);
    for (size_t i = 0; i < VT_COUNT(silent); i++)
        silent[i] = plug_in(rig, 0);
    turns(rig, NULL, 5);
    assert_int_equal(counts_of(rig).half_open, VT_COUNT(silent));
    assert_true(is_ready(rig));
    close(silent[0]);
    close(silent[1]);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conn__right_key__reaches_its_session),
        cmocka_unit_test(test_conn__wrong_key__is_refused_and_logged_as_such),
        cmocka_unit_test(test_conn__unknown_identity__is_refused_alike_and_logged_as_such),
        cmocka_unit_test(test_conn__disabled_identity__is_refused_alike_and_logged_as_such),
        cmocka_unit_test(test_conn__many_wrong_keys__are_counted_not_logged_each),
        cmocka_unit_test(test_conn__silent_peer__is_closed_after_the_time_limit),
        cmocka_unit_test(test_conn__slow_peer__is_closed_after_the_time_limit),
        cmocka_unit_test(test_conn__garbage__is_closed),
        cmocka_unit_test(test_conn__garbage_after_open__is_closed),
        cmocka_unit_test(test_conn__oversized_frame__is_refused),
        cmocka_unit_test(test_conn__disconnect_at_each_point__leaves_nothing),
        cmocka_unit_test(test_conn__disconnect_with_a_command_under_way__ends_the_session),
        cmocka_unit_test(test_conn__half_closed_with_a_command_under_way__is_answered_first),
        cmocka_unit_test(test_conn__command_under_way__stops_reading),
        cmocka_unit_test(test_conn__peer_that_does_not_read__is_closed),
        cmocka_unit_test(test_conn__answer_that_is_not_read__has_a_time_limit),
        cmocka_unit_test(test_conn__peer_that_attaches_nothing__is_closed),
        cmocka_unit_test(test_conn__attached_and_idle__stays),
        cmocka_unit_test(test_conn__session_that_closes__says_why_before_the_end),
        cmocka_unit_test(test_conn__session_that_is_refused__is_told),
        cmocka_unit_test(test_conn__key_rotated_during_the_handshake__is_refused),
        cmocka_unit_test(test_conn__flood_of_200__all_are_served),
        cmocka_unit_test(test_conn__remote_peer_over_its_share__is_closed_at_once),
        cmocka_unit_test(test_conn__places_taken_by_one_peer__another_gets_in),
        cmocka_unit_test(test_conn__places_taken_by_one_process__another_gets_in),
        cmocka_unit_test(test_conn__many_channels_without_an_instance__oldest_goes),
        cmocka_unit_test(test_conn__too_many_connections__newcomers_are_closed),
        cmocka_unit_test(test_conn__close_of_all__ends_every_state),
#ifdef VTPM_TEST_HOOKS
        cmocka_unit_test(test_conn__out_of_memory_anywhere__closes_that_one_only),
#endif
        cmocka_unit_test(test_storm__workers_behind__nobody_is_accepted),
        cmocka_unit_test(test_storm__too_long__somebody_is_accepted),
        cmocka_unit_test(test_storm__peer_gone_before_its_turn__costs_no_worker),
        cmocka_unit_test(test_storm__silent_peers__hold_up_nobody),
    };

    signal(SIGPIPE, SIG_IGN); /* as process_harden does */
    if (cr_init())
        return 1;
    log_capture(VT_LOG_INFO);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

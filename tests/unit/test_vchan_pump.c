/* SPDX-License-Identifier: Apache-2.0 */
/* The pump against rings whose other end this test holds: honest, slow, gone at every moment, and lying. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/xen/pump.h"
#include "tests/unit/fake_vchan.h"

#define WAIT_MS 30000 /* for what should come at once, under sanitizers on a busy machine */
#define NOT_YET -1

/* One channel: the test is the other domain (peer) and the program above (fd). */
struct line {
    struct vchan_end end;
    struct libxenvchan *peer;
    atomic_int fd; /* from the socket pair; -1: not connected */
    atomic_int how;
    bool refuse;
};

struct rig {
    struct vchan_pump *pump;
};

static bool on_connected(void *arg, int fd)
{
    struct line *line = arg;

    if (line->refuse)
        close(fd);
    else
        line->fd = fd;
    return !line->refuse;
}

static void on_over(void *arg, enum vchan_over how)
{
    struct line *line = arg;

    line->how = (int)how;
}

static const struct vchan_end_ops ops = {.connected = on_connected, .over = on_over};

static int setup(void **state)
{
    struct rig *rig = calloc(1, sizeof *rig);

    fake_xen_init();
    assert_int_equal(vchan_pump_new(&rig->pump, NULL), VT_OK);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;

    vchan_pump_free(rig->pump);
    free(rig);
    return fake_xen_end() ? 0 : -1;
}

static struct line *new_line(void)
{
    struct line *line = calloc(1, sizeof *line);

    line->fd = -1;
    line->how = NOT_YET;
    line->end.fd = -1;
    line->end.ops = &ops;
    line->end.arg = line;
    return line;
}

/* Both ends connected. */
static struct line *connected(struct rig *rig)
{
    struct line *line = new_line();
    int fds[2];

    fake_vchan_pair(&line->end.chan, &line->peer);
    assert_int_equal(vchan_socketpair(fds, NULL), VT_OK);
    line->end.fd = fds[0];
    line->fd = fds[1];
    vchan_pump_add(rig->pump, &line->end);
    return line;
}

static bool until(int64_t *end_ms)
{
    if (!*end_ms)
        *end_ms = vchan_now_ms() + WAIT_MS;
    assert_true(vchan_now_ms() < *end_ms);
    usleep(500);
    return true;
}

static int over(struct line *line)
{
    for (int64_t end = 0; line->how == NOT_YET;)
        until(&end);
    return line->how;
}

/* After `over`, or when there never was one. */
static void done(struct line *line)
{
    if (line->peer)
        libxenvchan_close(line->peer);
    libxenvchan_close(line->end.chan);
    if (line->fd >= 0)
        close(line->fd);
    free(line);
}

static void close_user(struct line *line)
{
    close(line->fd);
    line->fd = -1;
}

static void close_peer(struct line *line)
{
    libxenvchan_close(line->peer);
    line->peer = NULL;
}

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 7 + (i >> 8) * 3 + (i >> 16));
}

static void fill(uint8_t *bytes, size_t from, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = byte_at(from + i);
}

static void check(const uint8_t *bytes, size_t from, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != byte_at(from + i))
            fail_msg("byte %zu is wrong", from + i);
}

/* Puts as much as goes now; how far it is then. */
static size_t put_ring(struct libxenvchan *peer, size_t at, size_t len)
{
    uint8_t bytes[700];
    int n;

    len = VT_MIN(len - at, sizeof bytes);
    fill(bytes, at, len);
    n = libxenvchan_write(peer, bytes, len);
    assert_true(n >= 0);
    return at + (size_t)n;
}

static size_t put_socket(int fd, size_t at, size_t len)
{
    uint8_t bytes[5000];
    ssize_t n;

    len = VT_MIN(len - at, sizeof bytes);
    fill(bytes, at, len);
    n = send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n > 0 ? at + (size_t)n : at;
}

static size_t get_ring(struct libxenvchan *peer, size_t at)
{
    uint8_t bytes[900];
    int n = libxenvchan_read(peer, bytes, sizeof bytes);

    if (n > 0)
        check(bytes, at, (size_t)n);
    return n > 0 ? at + (size_t)n : at;
}

/* *ended: there will be no more. */
static size_t get_socket(int fd, size_t at, bool *ended)
{
    uint8_t bytes[4000];
    ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);

    if (n > 0)
        check(bytes, at, (size_t)n);
    *ended = n == 0 || (n < 0 && errno == ECONNRESET);
    return n > 0 ? at + (size_t)n : at;
}

/* Sends `count` bytes in both directions at once. */
static void exchange(struct line *line, size_t count)
{
    size_t up_sent = 0, up = 0, down_sent = 0, down = 0;
    int64_t end = 0;
    bool ended;

    while (up < count || down < count) {
        size_t before = up + down + up_sent + down_sent;
        up_sent = put_ring(line->peer, up_sent, count);
        down_sent = put_socket(line->fd, down_sent, count);
        up = get_socket(line->fd, up, &ended);
        assert_false(ended);
        down = get_ring(line->peer, down);
        if (before == up + down + up_sent + down_sent)
            until(&end);
        else
            end = 0;
    }
}

static void test_pump__a_megabyte_both_ways__arrives_whole(void **state)
{
    struct line *line = connected(*state);

    exchange(line, 1 << 20);
    close_user(line);
    assert_int_equal(over(line), VCHAN_OVER_USER);
    done(line);
}

static void test_pump__peer_that_writes_and_goes__is_heard_out(void **state)
{
    struct line *line = connected(*state);
    bool ended = false;
    size_t got = 0;
    int64_t end = 0;

    assert_int_equal(put_ring(line->peer, 0, 700), 700);
    assert_int_equal(put_ring(line->peer, 700, 1000), 1000);
    close_peer(line);
    while (!ended && until(&end))
        got = get_socket(line->fd, got, &ended);
    assert_int_equal(got, 1000);
    assert_int_equal(over(line), VCHAN_OVER_PEER);
    done(line);
}

static void test_pump__peer_that_goes_unheard__ends_after_its_last_byte_was_taken(void **state)
{
    struct line *line = connected(*state);
    size_t sent = 0, got = 0;
    bool ended = false;

    /* Until nothing goes any more: socket, buffer and ring are full. */
    for (int idle = 0; idle < 100; idle++) {
        size_t before = sent;
        sent = put_ring(line->peer, sent, SIZE_MAX);
        if (sent != before)
            idle = 0;
        else
            usleep(1000);
    }
    close_peer(line);
    for (int64_t end = 0; !ended;) {
        size_t before = got;
        got = get_socket(line->fd, got, &ended);
        if (before == got && !ended)
            until(&end);
    }
    assert_int_equal(got, sent);
    assert_int_equal(over(line), VCHAN_OVER_PEER);
    done(line);
}

static void test_pump__peer_that_goes_before_a_word__ends_the_socket(void **state)
{
    struct line *line = connected(*state);
    bool ended = false;

    close_peer(line);
    for (int64_t end = 0; !ended; until(&end))
        assert_int_equal(get_socket(line->fd, 0, &ended), 0);
    assert_int_equal(over(line), VCHAN_OVER_PEER);
    done(line);
}

static void test_pump__user_that_writes_and_closes__is_sent_whole(void **state)
{
    struct line *line = connected(*state);
    size_t got = 0;
    int64_t end = 0;

    assert_int_equal(put_socket(line->fd, 0, 5000), 5000);
    assert_int_equal(put_socket(line->fd, 5000, 9000), 9000);
    close_user(line);
    while (got < 9000 && until(&end))
        got = get_ring(line->peer, got);
    assert_int_equal(over(line), VCHAN_OVER_USER);
    done(line);
}

static void test_pump__user_that_only_ends_its_writing__is_closed_after_that(void **state)
{
    struct line *line = connected(*state);
    bool ended = false;
    size_t got = 0;

    assert_int_equal(put_socket(line->fd, 0, 100), 100);
    shutdown(line->fd, SHUT_WR);
    for (int64_t end = 0; !ended; until(&end))
        (void)!get_socket(line->fd, 0, &ended);
    assert_int_equal(over(line), VCHAN_OVER_USER);
    got = get_ring(line->peer, got);
    assert_int_equal(got, 100);
    done(line);
}

static void test_pump__closed_with_a_ring_that_stays_full__is_given_up(void **state)
{
    struct line *line = connected(*state);
    size_t sent = 0;

    while (sent < 10000)
        sent = put_socket(line->fd, sent, 10000);
    close_user(line);
    assert_int_equal(over(line), VCHAN_OVER_STUCK);
    done(line);
}

static void test_pump__closed_and_peer_gone_too__ends(void **state)
{
    struct line *line = connected(*state);
    size_t sent = 0;

    while (sent < 10000)
        sent = put_socket(line->fd, sent, 10000);
    close_user(line);
    close_peer(line);
    assert_in_range(over(line), VCHAN_OVER_USER, VCHAN_OVER_PEER);
    done(line);
}

/* Which of the four indexes the other domain can reach is set how far off, and whether it tells us. */
static void test_pump__index_that_cannot_be__ends_the_channel(void **state)
{
    static const struct {
        bool left, prod, kicks;
        uint32_t value;
    } rows[] = {
        {true, true, true, 1025},        {true, true, true, UINT32_MAX},   {true, false, true, 1},
        {false, false, true, 1},         {false, false, true, 70000}, {false, true, true, 2049},
        {false, true, true, UINT32_MAX}, {true, true, false, 1025},        {false, false, false, 1},
    };

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        struct line *line = connected(*state), *other = connected(*state);
        struct ring_shared *ring = rows[i].left ? &line->peer->ring->left : &line->peer->ring->right;

        __atomic_store_n(rows[i].prod ? &ring->prod : &ring->cons, rows[i].value, __ATOMIC_SEQ_CST);
        if (rows[i].kicks)
            fake_vchan_kick(line->peer);
        if (over(line) != VCHAN_OVER_CORRUPT)
            fail_msg("row %zu: %s", i, vchan_over_text((enum vchan_over)line->how));
        exchange(other, 3000);
        close_user(other);
        assert_int_equal(over(other), VCHAN_OVER_USER);
        done(line);
        done(other);
    }
}

static void test_pump__user_that_does_not_read__holds_up_only_itself(void **state)
{
    struct line *slow = connected(*state), *line = connected(*state);
    size_t sent = 0, got = 0;
    bool ended;

    for (int idle = 0; idle < 50; idle++) {
        size_t before = sent;
        sent = put_ring(slow->peer, sent, SIZE_MAX);
        idle = sent == before ? idle : 0;
        usleep(sent == before ? 1000 : 0);
    }
    exchange(line, 200000);
    for (int64_t end = 0; got < sent;) {
        size_t before = got;
        got = get_socket(slow->fd, got, &ended);
        if (before == got)
            until(&end);
    }
    exchange(slow, 0);
    close_user(line);
    close_user(slow);
    assert_int_equal(over(line), VCHAN_OVER_USER);
    assert_int_equal(over(slow), VCHAN_OVER_USER);
    done(line);
    done(slow);
}

static void test_pump__endless_events_from_one_domain__hold_up_no_other(void **state)
{
    struct line *noisy = connected(*state), *line = connected(*state);
    size_t up_sent = 0, up = 0;
    bool ended;

    for (int64_t end = 0; up < 50000;) {
        size_t before = up + up_sent;
        fake_vchan_kick(noisy->peer);
        up_sent = put_ring(line->peer, up_sent, 50000);
        up = get_socket(line->fd, up, &ended);
        if (before == up + up_sent)
            until(&end);
    }
    close_user(line);
    close_user(noisy);
    assert_int_equal(over(line), VCHAN_OVER_USER);
    assert_int_equal(over(noisy), VCHAN_OVER_USER);
    done(line);
    done(noisy);
}

static void test_pump__event_channel_that_fails__ends_the_channel(void **state)
{
    struct line *line = connected(*state);

    fake_vchan_break(line->end.chan);
    fake_vchan_kick(line->peer);
    assert_int_equal(over(line), VCHAN_OVER_FAILED);
    done(line);
}

/* ---- Offers ---- */

static struct line *offered(struct rig *rig, unsigned number, bool refuse)
{
    struct line *line = new_line();
    char path[64];

    snprintf(path, sizeof path, "/local/domain/0/data/vchan/5/x-%u", number);
    line->refuse = refuse;
    line->end.chan = libxenvchan_server_init(NULL, 5, path, 1024, 2048);
    assert_non_null(line->end.chan);
    line->end.chan->blocking = 0;
    vchan_pump_add(rig->pump, &line->end);
    return line;
}

static void connect_peer(struct line *line)
{
    line->peer = libxenvchan_client_init(NULL, 0, line->end.chan->xs_path);
    assert_non_null(line->peer);
    line->peer->blocking = 0;
}

static void test_offer__nobody_comes__is_dropped(void **state)
{
    struct rig *rig = *state;
    struct line *line = offered(rig, 0, false);

    vchan_pump_drop(rig->pump, &line->end);
    assert_int_equal(over(line), VCHAN_OVER_DROPPED);
    assert_int_equal(line->fd, -1);
    done(line);
}

static void test_offer__somebody_comes__becomes_a_stream(void **state)
{
    struct line *line = offered(*state, 0, false);

    connect_peer(line);
    for (int64_t end = 0; line->fd < 0;)
        until(&end);
    exchange(line, 10000);
    close_peer(line);
    assert_int_equal(over(line), VCHAN_OVER_PEER);
    done(line);
}

static void test_offer__somebody_comes_and_goes__is_over(void **state)
{
    struct line *line = offered(*state, 0, false);

    connect_peer(line);
    close_peer(line);
    assert_int_equal(over(line), VCHAN_OVER_PEER);
    done(line);
}

static void test_offer__not_wanted_above__is_dropped(void **state)
{
    struct line *line = offered(*state, 0, true);

    connect_peer(line);
    assert_int_equal(over(line), VCHAN_OVER_DROPPED);
    done(line);
}

static void test_offer__connected_channel_that_is_dropped__ends_the_socket(void **state)
{
    struct rig *rig = *state;
    struct line *line = connected(rig);
    bool ended = false;

    vchan_pump_drop(rig->pump, &line->end);
    assert_int_equal(over(line), VCHAN_OVER_DROPPED);
    (void)!get_socket(line->fd, 0, &ended);
    assert_true(ended);
    done(line);
}

static void test_offer__a_hundred__all_carry_bytes(void **state)
{
    struct line *lines[100];

    for (unsigned i = 0; i < VT_COUNT(lines); i++)
        lines[i] = offered(*state, i, false);
    for (unsigned i = 0; i < VT_COUNT(lines); i++)
        connect_peer(lines[i]);
    for (unsigned i = 0; i < VT_COUNT(lines); i++) {
        for (int64_t end = 0; lines[i]->fd < 0;)
            until(&end);
        exchange(lines[i], 5000);
    }
    for (unsigned i = 0; i < VT_COUNT(lines); i++) {
        close_user(lines[i]);
        assert_int_equal(over(lines[i]), VCHAN_OVER_USER);
        done(lines[i]);
    }
}

static void test_pump__end_of_it__ends_every_channel(void **state)
{
    struct rig *rig = *state;
    struct line *offer = offered(rig, 0, false), *line = connected(rig);

    vchan_pump_free(rig->pump);
    rig->pump = NULL;
    assert_int_equal(offer->how, VCHAN_OVER_DROPPED);
    assert_int_equal(line->how, VCHAN_OVER_DROPPED);
    done(offer);
    done(line);
}

static void test_pump__end_of_it__lets_last_words_out(void **state)
{
    struct rig *rig = *state;
    struct line *line = connected(rig);

    assert_int_equal(put_socket(line->fd, 0, 100), 100);
    close_user(line);
    vchan_pump_free(rig->pump);
    rig->pump = NULL;
    assert_int_equal(line->how, VCHAN_OVER_USER);
    assert_int_equal(get_ring(line->peer, 0), 100);
    done(line);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_pump__a_megabyte_both_ways__arrives_whole),
        T(test_pump__peer_that_writes_and_goes__is_heard_out),
        T(test_pump__peer_that_goes_unheard__ends_after_its_last_byte_was_taken),
        T(test_pump__peer_that_goes_before_a_word__ends_the_socket),
        T(test_pump__user_that_writes_and_closes__is_sent_whole),
        T(test_pump__user_that_only_ends_its_writing__is_closed_after_that),
        T(test_pump__closed_with_a_ring_that_stays_full__is_given_up),
        T(test_pump__closed_and_peer_gone_too__ends),
        T(test_pump__index_that_cannot_be__ends_the_channel),
        T(test_pump__user_that_does_not_read__holds_up_only_itself),
        T(test_pump__endless_events_from_one_domain__hold_up_no_other),
        T(test_pump__event_channel_that_fails__ends_the_channel),
        T(test_offer__nobody_comes__is_dropped),
        T(test_offer__somebody_comes__becomes_a_stream),
        T(test_offer__somebody_comes_and_goes__is_over),
        T(test_offer__not_wanted_above__is_dropped),
        T(test_offer__connected_channel_that_is_dropped__ends_the_socket),
        T(test_offer__a_hundred__all_carry_bytes),
        T(test_pump__end_of_it__ends_every_channel),
        T(test_pump__end_of_it__lets_last_words_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

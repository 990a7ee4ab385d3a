/* SPDX-License-Identifier: Apache-2.0 */
/* A shim's way to a server of another domain; the host's side is the real one. */
#include <pthread.h>
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
#include "server/xen/store.h"
#include "server/xen/vchan.h"
#include "tests/unit/fake_vchan.h"

#define WAIT_MS 30000
#define UUID_A  "aaaaaaaa-1111-4222-8333-444444444444"
#define GUEST   5

struct answer {
    struct vchan_call *call;
    pthread_mutex_t lock;
    bool is_there;
    int fd, err;
    struct vt_why why;
};

struct rig {
    struct vchan_host *host;
    struct vchan_client *client;
    atomic_int accepted[40]; /* the server's sockets */
    atomic_uint count;
};

static bool on_allowed(void *arg VT_UNUSED, const struct vt_domain *domain VT_UNUSED)
{
    return true;
}

static bool on_connected(void *arg, int fd, const struct vt_domain *domain VT_UNUSED)
{
    struct rig *rig = arg;

    rig->accepted[rig->count] = fd;
    rig->count++;
    return true;
}

static const struct vchan_host_ops ops = {.allowed = on_allowed, .connected = on_connected};

static void start_host(struct rig *rig)
{
    const struct vchan_host_config config = {.ops = &ops, .arg = rig, .recheck_ms = 50};

    fake_xen_be(0);
    assert_int_equal(vchan_host_start(&rig->host, &config, NULL), VT_OK);
}

static int setup(void **state)
{
    struct rig *rig = calloc(1, sizeof *rig);

    fake_xen_init();
    fake_domain_add(GUEST, UUID_A, "guest");
    fake_xen_be(GUEST);
    assert_int_equal(vchan_client_new(&rig->client, NULL), VT_OK);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;

    vchan_client_free(rig->client);
    for (unsigned i = 0; i < rig->count; i++)
        if (rig->accepted[i] >= 0)
            close(rig->accepted[i]);
    vchan_host_free(rig->host, WAIT_MS);
    free(rig);
    return fake_xen_end() ? 0 : -1;
}

static void pass_time(int64_t *end_ms, const char *what)
{
    if (!*end_ms)
        *end_ms = vchan_now_ms() + WAIT_MS;
    if (vchan_now_ms() >= *end_ms)
        fail_msg("not in time: %s", what);
    usleep(1000);
}
#define UNTIL(condition)                                                                                     \
    for (int64_t end_ms = 0; !(condition);)                                                                  \
    pass_time(&end_ms, #condition)

static void on_answer(void *arg, int fd, int err, const struct vt_why *why)
{
    struct answer *answer = arg;

    pthread_mutex_lock(&answer->lock);
    answer->fd = fd;
    answer->err = err;
    answer->why = *why;
    answer->is_there = true;
    pthread_mutex_unlock(&answer->lock);
}

static bool is_answered(struct answer *answer)
{
    bool is;

    pthread_mutex_lock(&answer->lock);
    is = answer->is_there;
    pthread_mutex_unlock(&answer->lock);
    return is;
}

static struct answer *ask(struct rig *rig, uint32_t domid)
{
    struct answer *answer = calloc(1, sizeof *answer);

    pthread_mutex_init(&answer->lock, NULL);
    answer->fd = -1;
    assert_int_equal(vchan_client_connect(&answer->call, rig->client, domid, on_answer, answer), VT_OK);
    return answer;
}

/* Returns the socket, or -1. */
static int end_call(struct answer *answer)
{
    int fd = answer->fd;

    vchan_call_end(answer->call);
    free(answer);
    return fd;
}

static int try_connect(struct rig *rig, uint32_t domid, int *err, struct vt_why *why)
{
    struct answer *answer = ask(rig, domid);

    UNTIL(is_answered(answer));
    *err = answer->err;
    *why = answer->why;
    return end_call(answer);
}

/* As a shim: until it works. */
static int connect_guest(struct rig *rig)
{
    struct vt_why why;
    int fd = -1, err;

    UNTIL((fd = try_connect(rig, 0, &err, &why)) >= 0);
    return fd;
}

static void speaks(int a, int b)
{
    char byte = 0;

    assert_int_equal(send(a, "x", 1, MSG_DONTWAIT), 1);
    UNTIL(recv(b, &byte, 1, MSG_DONTWAIT) == 1);
    assert_int_equal(byte, 'x');
    assert_int_equal(send(b, "y", 1, MSG_DONTWAIT), 1);
    UNTIL(recv(a, &byte, 1, MSG_DONTWAIT) == 1);
    assert_int_equal(byte, 'y');
}

static bool has_ended(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void test_client__own_domain__is_refused(void **state)
{
    struct vt_why why;
    int err;

    assert_int_equal(try_connect(*state, GUEST, &err, &why), -1);
    assert_int_equal(err, VT_EUSAGE);
    assert_non_null(strstr(why.text, "domain 5 is this domain itself"));
    assert_non_null(strstr(why.text, "unix:PATH"));
}

static void test_client__nothing_offered__says_what_is_missing(void **state)
{
    struct vt_why why;
    int err;

    assert_int_equal(try_connect(*state, 0, &err, &why), -1);
    assert_int_equal(err, VT_ENOTFOUND);
    assert_non_null(strstr(why.text, "domain 0 offers this domain (5) no channel"));
    assert_non_null(strstr(why.text, "vtpmctl binding add"));
}

static void test_client__offered__connects_and_is_closed_from_either_side(void **state)
{
    struct rig *rig = *state;
    int fd;

    start_host(rig);
    fd = connect_guest(rig);
    UNTIL(rig->count == 1);
    speaks(fd, rig->accepted[0]);
    close(fd);
    UNTIL(has_ended(rig->accepted[0]));
    fd = connect_guest(rig);
    UNTIL(rig->count == 2);
    speaks(fd, rig->accepted[1]);
    close(rig->accepted[1]);
    rig->accepted[1] = -1;
    UNTIL(has_ended(fd));
    close(fd);
}

static void test_client__many_at_once__have_a_channel_each(void **state)
{
    struct rig *rig = *state;
    int fds[30];

    start_host(rig);
    fds[0] = connect_guest(rig);
    /* The first time, each: the server offers the next one while they are asked for. */
    for (unsigned i = 1; i < VT_COUNT(fds); i++) {
        struct vt_why why;
        int err;
        fds[i] = try_connect(rig, 0, &err, &why);
        if (fds[i] < 0)
            fail_msg("the %uth: %s", i, why.text);
    }
    UNTIL(rig->count == VT_COUNT(fds));
    for (unsigned i = 0; i < VT_COUNT(fds); i++)
        speaks(fds[i], rig->accepted[i]);
    for (unsigned i = 0; i < VT_COUNT(fds); i++)
        close(fds[i]);
}

static void test_client__stale_nodes__are_no_channel(void **state)
{
    struct vt_why why;
    int err;

    fake_store_write("/local/domain/0/data/vchan/5/vtpm/ring-ref", "77", "n0,r5");
    fake_store_write("/local/domain/0/data/vchan/5/vtpm/event-channel", "1077", "n0,r5");
    assert_int_equal(try_connect(*state, 0, &err, &why), -1);
    assert_non_null(strstr(why.text, "cannot be opened"));
    fake_store_write("/local/domain/0/data/vchan/5/vtpm/ring-ref", "777777777777777777777777777777", "n0,r5");
    assert_int_equal(try_connect(*state, 0, &err, &why), -1);
    assert_int_equal(err, VT_ENOTFOUND);
}

static void test_client__server_stops_and_starts__is_noticed_and_healed(void **state)
{
    struct rig *rig = *state;
    int fd;

    start_host(rig);
    fd = connect_guest(rig);
    vchan_host_free(rig->host, 200);
    UNTIL(has_ended(fd));
    close(fd);
    start_host(rig);
    fd = connect_guest(rig);
    UNTIL(rig->count == 2);
    speaks(fd, rig->accepted[1]);
    close(fd);
}

/* Its ring stays mapped and tells nothing: only xenstore does. */
static void test_client__servers_domain_destroyed__is_noticed(void **state)
{
    struct rig *rig = *state;
    struct libxenvchan *chan;
    int fd, err;
    struct vt_why why;

    fake_store_write("/local/domain/7/domid", "7", "n7");
    chan = libxenvchan_server_init(NULL, GUEST, "/local/domain/7/data/vchan/5/vtpm", 1024, 2048);
    assert_non_null(chan);
    fd = try_connect(rig, 7, &err, &why);
    assert_true(fd >= 0);
    fake_store_remove("/local/domain/7");
    UNTIL(has_ended(fd));
    close(fd);
    libxenvchan_close(chan);
}

static void test_client__xenstored_hangs__channels_go_on_and_attempts_can_be_given_up(void **state)
{
    struct rig *rig = *state;
    struct answer *waiting;
    int fd;

    start_host(rig);
    fd = connect_guest(rig);
    UNTIL(rig->count == 1);
    fake_store_hang(true);
    waiting = ask(rig, 0);
    UNTIL(fake_store_waiting() > 1);
    for (int i = 0; i < 20; i++)
        speaks(fd, rig->accepted[0]);
    assert_false(is_answered(waiting));
    end_call(waiting);
    fake_store_hang(false);
    speaks(fd, rig->accepted[0]);
    close(fd);
    close(connect_guest(rig));
}

static void test_client__xenstored_lost__is_said_and_healed(void **state)
{
    struct rig *rig = *state;
    struct vt_why why;
    int fd, err;

    start_host(rig);
    fd = connect_guest(rig);
    UNTIL(rig->count == 1);
    fake_store_die(true);
    assert_int_equal(try_connect(rig, 0, &err, &why), -1);
    assert_int_equal(err, VT_EUNREACHED);
    assert_non_null(strstr(why.text, "xenstore"));
    speaks(fd, rig->accepted[0]);
    fake_store_die(false);
    fake_xen_be(GUEST);
    close(connect_guest(rig));
    close(fd);
}

static void test_client__calls_given_up_at_any_moment__leave_nothing(void **state)
{
    struct rig *rig = *state;

    start_host(rig);
    for (useconds_t i = 0; i < 60; i++) {
        struct answer *answer = ask(rig, 0);
        int fd;
        usleep(i * 20);
        vchan_call_end(answer->call);
        fd = answer->fd;
        free(answer);
        if (fd >= 0)
            close(fd);
        if (rig->count > 30)
            break;
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_client__own_domain__is_refused),
        T(test_client__nothing_offered__says_what_is_missing),
        T(test_client__offered__connects_and_is_closed_from_either_side),
        T(test_client__many_at_once__have_a_channel_each),
        T(test_client__stale_nodes__are_no_channel),
        T(test_client__server_stops_and_starts__is_noticed_and_healed),
        T(test_client__servers_domain_destroyed__is_noticed),
        T(test_client__xenstored_hangs__channels_go_on_and_attempts_can_be_given_up),
        T(test_client__xenstored_lost__is_said_and_healed),
        T(test_client__calls_given_up_at_any_moment__leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

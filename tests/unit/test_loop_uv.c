/* SPDX-License-Identifier: Apache-2.0 */
/* loop.h on libuv. Every test ends with uv_loop_close: it refuses while a handle is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "server/core/loop.h"

struct fix {
    uv_loop_t uv;
    struct loop *loop;
    struct loop_timer *timer;
    struct loop_fd *watch;
    struct loop_wake *wake;
    int fired, events, other;
    pthread_t loop_thread, work_thread;
};

static int setup(void **state)
{
    static struct fix f;

    memset(&f, 0, sizeof f);
    f.loop_thread = pthread_self();
    *state = &f;
    return uv_loop_init(&f.uv) || loop_new(&f.loop, &f.uv);
}

static int teardown(void **state)
{
    struct fix *f = *state;

    loop_free(f->loop);
    uv_run(&f->uv, UV_RUN_DEFAULT);
    return uv_loop_close(&f->uv);
}

static void count(void *arg)
{
    struct fix *f = arg;

    f->fired++;
}

static void test_timer__started__fires_once(void **state)
{
    struct fix *f = *state;
    uint64_t before = loop_now_us();

    assert_int_equal(loop_timer_new(f->loop, &f->timer, count, f), VT_OK);
    loop_timer_start(f->timer, 20);
    uv_run(&f->uv, UV_RUN_DEFAULT);
    assert_int_equal(f->fired, 1);
    assert_true(loop_now_us() - before >= 19000);
    loop_timer_free(f->timer);
}

static void test_timer__started_again__moves(void **state)
{
    struct fix *f = *state;
    uint64_t before = loop_now_us();

    assert_int_equal(loop_timer_new(f->loop, &f->timer, count, f), VT_OK);
    loop_timer_start(f->timer, 1);
    loop_timer_start(f->timer, 40);
    uv_run(&f->uv, UV_RUN_DEFAULT);
    assert_int_equal(f->fired, 1);
    assert_true(loop_now_us() - before >= 39000);
    loop_timer_free(f->timer);
}

static void test_timer__after_long_callback__counts_from_start(void **state)
{
    struct fix *f = *state;
    uint64_t before;

    assert_int_equal(loop_timer_new(f->loop, &f->timer, count, f), VT_OK);
    usleep(30000); /* libuv's idea of now is older */
    before = loop_now_us();
    loop_timer_start(f->timer, 20);
    uv_run(&f->uv, UV_RUN_DEFAULT);
    assert_true(loop_now_us() - before >= 19000);
    loop_timer_free(f->timer);
}

static void test_timer__stopped__does_not_fire(void **state)
{
    struct fix *f = *state;

    assert_int_equal(loop_timer_new(f->loop, &f->timer, count, f), VT_OK);
    loop_timer_start(f->timer, 1);
    loop_timer_stop(f->timer);
    uv_run(&f->uv, UV_RUN_DEFAULT);
    assert_int_equal(f->fired, 0);
    loop_timer_free(f->timer);
    loop_timer_free(NULL);
}

/* The handle rings for the first time; what counts is the last start. */
static void test_timer__stopped_and_started__fires_once_at_its_time(void **state)
{
    struct fix *f = *state;
    uint64_t before = loop_now_us();

    assert_int_equal(loop_timer_new(f->loop, &f->timer, count, f), VT_OK);
    loop_timer_start(f->timer, 5);
    loop_timer_stop(f->timer);
    loop_timer_start(f->timer, 30);
    uv_run(&f->uv, UV_RUN_DEFAULT);
    assert_int_equal(f->fired, 1);
    assert_true(loop_now_us() - before >= 29000);
    loop_timer_free(f->timer);
}

/* Put forward: it does not wait for where the handle was. An hour would not end here. */
static void test_timer__started_again_for_earlier__does_not_wait(void **state)
{
    struct fix *f = *state;

    assert_int_equal(loop_timer_new(f->loop, &f->timer, count, f), VT_OK);
    loop_timer_start(f->timer, UINT64_MAX);
    loop_timer_start(f->timer, 3600000);
    loop_timer_start(f->timer, 1);
    uv_run(&f->uv, UV_RUN_DEFAULT);
    assert_int_equal(f->fired, 1);
    loop_timer_free(f->timer);
}

static void free_timer(void *arg)
{
    struct fix *f = arg;

    f->fired++;
    loop_timer_free(f->timer);
}

static void test_timer__freed_in_its_callback__is_safe(void **state)
{
    struct fix *f = *state;

    assert_int_equal(loop_timer_new(f->loop, &f->timer, free_timer, f), VT_OK);
    loop_timer_start(f->timer, 0);
    uv_run(&f->uv, UV_RUN_DEFAULT);
    assert_int_equal(f->fired, 1);
}

static void seen(void *arg, int events)
{
    struct fix *f = arg;

    f->events |= events;
    loop_fd_events(f->watch, 0);
}

static void test_fd__peer_writes__reports_read_only_when_asked(void **state)
{
    struct fix *f = *state;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(loop_fd_new(f->loop, &f->watch, fds[0], seen, f), VT_OK);
    assert_int_equal(write(fds[1], "x", 1), 1);
    uv_run(&f->uv, UV_RUN_NOWAIT);
    assert_int_equal(f->events, 0);
    loop_fd_events(f->watch, LOOP_READ);
    uv_run(&f->uv, UV_RUN_DEFAULT);
    assert_int_equal(f->events, LOOP_READ);
    f->events = 0;
    loop_fd_events(f->watch, LOOP_READ | LOOP_WRITE);
    uv_run(&f->uv, UV_RUN_DEFAULT);
    assert_int_equal(f->events, LOOP_READ | LOOP_WRITE);
    loop_fd_free(f->watch);
    close(fds[0]);
    close(fds[1]);
}

static void test_fd__peer_closes__reports_read(void **state)
{
    struct fix *f = *state;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(loop_fd_new(f->loop, &f->watch, fds[0], seen, f), VT_OK);
    loop_fd_events(f->watch, LOOP_READ);
    close(fds[1]);
    uv_run(&f->uv, UV_RUN_DEFAULT);
    assert_true(f->events & LOOP_READ);
    loop_fd_free(f->watch);
    close(fds[0]);
}

/* The number is used again at once: the old watch must not hear of the new file. */
static void test_fd__closed_after_free__number_can_be_watched_again(void **state)
{
    struct fix *f = *state;
    int fds[2], again[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(loop_fd_new(f->loop, &f->watch, fds[0], seen, f), VT_OK);
    loop_fd_events(f->watch, LOOP_READ);
    loop_fd_free(f->watch);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, again), 0);
    assert_int_equal(again[0], fds[0]);
    assert_int_equal(loop_fd_new(f->loop, &f->watch, again[0], seen, f), VT_OK);
    loop_fd_events(f->watch, LOOP_WRITE);
    uv_run(&f->uv, UV_RUN_DEFAULT);
    assert_int_equal(f->events, LOOP_WRITE);
    loop_fd_free(f->watch);
    close(again[0]);
    close(again[1]);
}

static void test_fd__not_open__is_refused(void **state)
{
    struct fix *f = *state;

    assert_int_equal(loop_fd_new(f->loop, &f->watch, 12345, seen, f), VT_EIO);
    loop_fd_free(NULL);
}

static void woken(void *arg)
{
    struct fix *f = arg;

    f->fired++;
    f->other = pthread_equal(pthread_self(), f->loop_thread);
    loop_wake_free(f->wake);
}

static void *waker(void *arg)
{
    struct fix *f = arg;

    usleep(10000);
    loop_wake_up(f->wake);
    return NULL;
}

static void test_wake__from_another_thread__runs_on_the_loop(void **state)
{
    struct fix *f = *state;
    pthread_t thread;

    assert_int_equal(loop_wake_new(f->loop, &f->wake, woken, f), VT_OK);
    assert_int_equal(pthread_create(&thread, NULL, waker, f), 0);
    uv_run(&f->uv, UV_RUN_DEFAULT);
    pthread_join(thread, NULL);
    assert_int_equal(f->fired, 1);
    assert_true(f->other);
    loop_wake_free(NULL);
}

static void work(void *arg)
{
    struct fix *f = arg;

    f->work_thread = pthread_self();
    f->other = 1;
}

static void work_done(void *arg)
{
    struct fix *f = arg;

    f->fired += f->other && pthread_equal(pthread_self(), f->loop_thread);
}

static void test_work__queued__runs_elsewhere_then_done_on_the_loop(void **state)
{
    struct fix *f = *state;

    assert_int_equal(loop_work(f->loop, work, work_done, f), VT_OK);
    uv_run(&f->uv, UV_RUN_DEFAULT);
    assert_int_equal(f->fired, 1);
    assert_false(pthread_equal(f->work_thread, f->loop_thread));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_timer__started__fires_once),
        TEST(test_timer__started_again__moves),
        TEST(test_timer__after_long_callback__counts_from_start),
        TEST(test_timer__stopped__does_not_fire),
        TEST(test_timer__stopped_and_started__fires_once_at_its_time),
        TEST(test_timer__started_again_for_earlier__does_not_wait),
        TEST(test_timer__freed_in_its_callback__is_safe),
        TEST(test_fd__peer_writes__reports_read_only_when_asked),
        TEST(test_fd__peer_closes__reports_read),
        TEST(test_fd__closed_after_free__number_can_be_watched_again),
        TEST(test_fd__not_open__is_refused),
        TEST(test_wake__from_another_thread__runs_on_the_loop),
        TEST(test_work__queued__runs_elsewhere_then_done_on_the_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

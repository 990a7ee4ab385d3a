/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill -9 of the broker at any moment loses nothing and repeats nothing. Each life of the broker is a child
 * process of its own; the parent plays the shim's memory: which n is under way, how often each counter was
 * raised.
 */
#include "tests/unit/core_rig.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 25

/* Shared between parent and children; what a shim and its guest know. */
struct known {
    volatile uint64_t n; /* has its answer */
    uint8_t stream[16];
    struct vt_uuid uuid;
};

/* Command n; its effects by then. */
static uint32_t ordinal_of(uint64_t n)
{
    return n % 5 == 0 ? FAKE_BUMP_BOTH : n % 7 == 0 ? FAKE_BUMP_PERMANENT : FAKE_BUMP_VOLATILE;
}

static void expected(uint64_t upto, uint64_t *volatile_count, uint64_t *permanent_count)
{
    *volatile_count = *permanent_count = 0;
    for (uint64_t n = 1; n <= upto; n++) {
        *volatile_count += ordinal_of(n) != FAKE_BUMP_PERMANENT;
        *permanent_count += ordinal_of(n) != FAKE_BUMP_VOLATILE;
    }
}

static void step(struct peer *peer, struct known *known, uint64_t n)
{
    uint64_t volatile_count, permanent_count;

    expected(n, &volatile_count, &permanent_count);
    peer_expect(peer, n, ordinal_of(n), volatile_count, permanent_count);
    known->n = n;
}

/* One life: goes on where the last one was killed, for ever. */
static void live(struct rig *rig, struct known *known, uint64_t stop_at)
{
    struct peer peer;
    uint64_t n = known->n, last;
    bool acted;

    rig_start(rig);
    peer_on(rig, &peer, &known->uuid);
    last = peer.msg->attached->n;
    if (last != n && last != n + 1)
        fail_msg("the guest has the answer to %d, the server knows %d", (int)n, (int)last);
    if (last)
        assert_memory_equal(peer.msg->attached->stream.data, known->stream, 16);
    assert_int_equal(peer.msg->attached->power, VTPM__POWER__POWER_ON);
    memcpy(peer.stream, known->stream, sizeof peer.stream);
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, (struct guest){1, 1}, &acted), 0);
    assert_false(acted);
    /* The answer that the guest did not get, or the last one again. */
    if (last)
        step(&peer, known, last);
    while (!stop_at || known->n < stop_at)
        step(&peer, known, known->n + 1);
    peer_close(&peer);
    rig_stop(rig);
}

static void begin(struct rig *rig, struct known *known)
{
    struct peer peer;

    rig_start(rig);
    rig_powered(rig, &peer, "a", &known->uuid);
    memcpy(known->stream, peer.stream, sizeof peer.stream);
    peer_close(&peer);
    rig_stop(rig);
}

static pid_t child(struct rig *rig, struct known *known, void (*fn)(struct rig *, struct known *))
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid)
        return pid;
    /* An assertion that fails leaves by cmocka's way, and not with 0. */
    fn(rig, known);
    _exit(0);
}

static void live_for_ever(struct rig *rig, struct known *known)
{
    live(rig, known, 0);
}

static void live_to_the_end(struct rig *rig, struct known *known)
{
    live(rig, known, known->n + 10);
}

static void wait_ok(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_kill_9__at_any_moment__loses_and_repeats_nothing(void **state)
{
    struct rig rig;
    struct known *known =
        mmap(NULL, sizeof *known, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t progressed = 0;

    (void)state;
    assert_true(known != MAP_FAILED);
    rig_dirs(&rig);
    wait_ok(child(&rig, known, begin));
    srandom(1);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t before = known->n;
        pid_t pid = child(&rig, known, live_for_ever);
        int status;

        /* Until it lives, then a while that is never the same. */
        while (known->n < before + 2 && waitpid(pid, &status, WNOHANG) == 0)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        nanosleep(&(struct timespec){.tv_nsec = random() % 10000000}, NULL);
        kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        progressed += known->n - before;
    }
    wait_ok(child(&rig, known, live_to_the_end));
    assert_true(progressed > 2 * ROUNDS);
    assert_int_equal(munmap(known, sizeof *known), 0);
    rig_free(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill_9__at_any_moment__loses_and_repeats_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

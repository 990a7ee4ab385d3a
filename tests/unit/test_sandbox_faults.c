/* SPDX-License-Identifier: Apache-2.0 */
/* What a broken or hostile sandbox tries, and that the broker learns of it in words. */
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "tests/unit/sandbox_fixture.h"

/* Runs one deed; the process must end and no answer come. */
static struct box *stopped(struct sb *sb, uint8_t deed)
{
    struct box *box = box_new(sb);

    box_misbehave(box, deed);
    box_wait_gone(sb, box);
    assert_int_equal(box->replies, 0);
    assert_int_equal(box->gone, 1);
    return box;
}

static void forbids(struct sb *sb, uint8_t deed, long number, const char *name)
{
    struct box *box = stopped(sb, deed);
    char text[64];

    snprintf(text, sizeof text, "forbidden system call %ld %s (pid ", number, name);
    if (!strstr(box->why, text))
        fail_msg("deed %u: expected \"%s\", got \"%s\"", deed, text, box->why);
    box_free(box);
}

static void test_sandbox__forbidden_calls__named_by_number(void **state)
{
    struct sb *sb = *state;

    sb_start(sb, 0);
    forbids(sb, DEED_OPEN, SYS_openat, "openat");
    forbids(sb, DEED_SOCKET, SYS_socket, "socket");
    forbids(sb, DEED_FORK, SYS_clone, "clone");
    forbids(sb, DEED_KILL, SYS_kill, "kill");
#ifndef VTPM_WIDE_SECCOMP
    forbids(sb, DEED_MAP_CODE, SYS_mmap, "mmap");
#endif
}

static void test_sandbox__all_crypto__works_under_the_filter(void **state)
{
    struct sb *sb = *state;
    struct box *box;
    struct rd r;

    sb_start(sb, 0);
    box = box_new(sb);
    box_misbehave(box, DEED_CRYPTO);
    if (!sb_until(sb, &box->replies, 1, 20000))
        fail_msg("no answer: %s", box->why);
    r = rd_from(box->payload, box->len);
    assert_int_equal((int32_t)rd_get32(&r), VT_EFAIL);
    box_free(box);
}

#ifndef VTPM_WIDE_SECCOMP
static void test_sandbox__allocates_without_end__meets_its_limit(void **state)
{
    struct sb *sb = *state;
    struct box *box;
    struct rd r;

    sb_start(sb, 0);
    box = box_new(sb);
    box_misbehave(box, DEED_ALLOCATE);
    assert_true(sb_until(sb, &box->replies, 1, 20000));
    assert_int_equal(box->type, SANDBOX_FAILED);
    r = rd_from(box->payload, box->len);
    assert_int_equal((int32_t)rd_get32(&r), VT_ENOMEM);
    box_wait_gone(sb, box);
    assert_non_null(strstr(box->why, "exit status 1"));
    box_free(box);
}
#endif

static void test_sandbox__crash_abort_exit__reported(void **state)
{
    struct sb *sb = *state;
    struct box *box;

    sb_start(sb, 0);
    box = stopped(sb, DEED_CRASH);
#ifndef VTPM_WIDE_SECCOMP
    assert_non_null(strstr(box->why, "killed by signal 11"));
#endif
    box_free(box);
    box = stopped(sb, DEED_ABORT);
#ifndef VTPM_WIDE_SECCOMP
    assert_non_null(strstr(box->why, "it aborted"));
#endif
    box_free(box);
    box = stopped(sb, DEED_EXIT);
    assert_non_null(strstr(box->why, "exit status 7"));
    box_free(box);
}

static void test_sandbox__reply_is_no_frame__killed(void **state)
{
    static const uint8_t deeds[] = {DEED_LONG_FRAME, DEED_TWO_REPLIES, DEED_EMPTY_FRAME};
    struct sb *sb = *state;

    sb_start(sb, 0);
    for (size_t i = 0; i < sizeof deeds; i++) {
        struct box *box = stopped(sb, deeds[i]);

        assert_non_null(strstr(box->why, "not one frame"));
        box_free(box);
    }
}

static void test_sandbox__no_answer_in_time__killed(void **state)
{
    struct sb *sb = *state;
    struct box *box, *other;
    pid_t pid;

    sb_start(sb, 300);
    other = box_new(sb);
    box_manufacture(sb, other, 0, false);
    box = box_new(sb);
    box_misbehave(box, DEED_SPIN);
    sb_run_for(sb, 50);
    pid = box_pid(sb, box);
    assert_true(pid > 0);
    assert_int_equal(box->gone, 0);
    box_wait_gone(sb, box);
    assert_non_null(strstr(box->why, "no answer within 300 ms"));
    assert_true(process_ends(pid));
    /* The limit is of requests: an idle engine has none. */
    sb_run_for(sb, 400);
    assert_int_equal(other->gone, 0);
    box_free(box);
    box_free(other);
}

static void test_sandbox__request_out_of_order__fails_and_ends(void **state)
{
    static const uint8_t requests[] = {SANDBOX_EXECUTE, SANDBOX_POWER_ON, SANDBOX_POWER_OFF,
                                       SANDBOX_PLATFORM, 99};
    struct sb *sb = *state;

    sb_start(sb, 0);
    for (size_t i = 0; i < sizeof requests; i++) {
        struct box *box = box_new(sb);
        struct rd r;

        box_ask(sb, box, requests[i], NULL, 0);
        assert_int_equal(box->type, SANDBOX_FAILED);
        r = rd_from(box->payload, box->len);
        assert_int_equal((int32_t)rd_get32(&r), VT_EPROTO);
        box_wait_gone(sb, box);
        assert_int_equal(box->gone, 1);
        box_free(box);
    }
}

static void test_sandbox__damaged_state__says_why(void **state)
{
    const struct tpm_blob bad = {20, (const uint8_t *)"this is not a state."}, none = {0, NULL};
    struct sb *sb = *state;
    struct box *box;
    struct rd r;

    sb_start(sb, 0);
    box = box_new(sb);
    box_thaw(sb, box, 9, &bad, &none);
    assert_int_equal(box->type, SANDBOX_FAILED);
    r = rd_from(box->payload, box->len);
    assert_int_equal((int32_t)rd_get32(&r), VT_EDAMAGED);
    assert_true(r.left > 0);
    box_free(box);
}

static void test_sandbox__killed_from_outside__is_told_from_a_crash(void **state)
{
    struct sb *sb = *state;
    struct box *box;

    sb_start(sb, 300);
    box = box_new(sb);
    box_manufacture(sb, box, 0, false);
    assert_int_equal(kill(box_pid(sb, box), SIGKILL), 0);
    box_wait_gone(sb, box);
    assert_true(engine_was_killed(box->engine));
    box_free(box);
    box = stopped(sb, DEED_CRASH);
    assert_false(engine_was_killed(box->engine));
    box_free(box);
    /* The server's own SIGKILL, after the time limit. */
    box = stopped(sb, DEED_SPIN);
    assert_false(engine_was_killed(box->engine));
    box_free(box);
    box = box_new(sb);
    box_manufacture(sb, box, 0, false);
    assert_int_equal(kill(zygote_pid(sb->zygote), SIGKILL), 0);
    box_wait_gone(sb, box);
    assert_true(engine_was_killed(box->engine));
    box_free(box);
}

static void test_zygote__killed__restarts_and_its_sandboxes_die(void **state)
{
    struct sb *sb = *state;
    struct box *idle, *spinning;
    pid_t zygote, engine;

    sb_start(sb, 0);
    zygote = zygote_pid(sb->zygote);
    idle = box_new(sb);
    box_manufacture(sb, idle, 0, false);
    spinning = box_new(sb);
    sb_run_for(sb, 50);
    engine = box_pid(sb, spinning);
    box_misbehave(spinning, DEED_SPIN);
    spinning->free_when_gone = true;
    sb_run_for(sb, 50);
    assert_int_equal(kill(zygote, SIGKILL), 0);
    box_wait_gone(sb, idle);
    box_wait_gone(sb, spinning);
    assert_non_null(strstr(idle->why, "zygote died"));
    assert_true(process_ends(engine));
    assert_true(sb_until(sb, &sb->ready, 2, 30000));
    assert_true(zygote_pid(sb->zygote) != zygote);
    box_free(idle);
    box_free(spinning);

    idle = box_new(sb);
    box_manufacture(sb, idle, 0, false);
    assert_true(idle->is_state);
    box_free(idle);
}

static void test_zygote__killed_in_between__waiting_engine_gets_the_next(void **state)
{
    struct sb *sb = *state;
    struct box *box;

    sb_start_path(sb, ENGINE_PATH, 0);
    box = box_new(sb);
    assert_int_equal(kill(zygote_pid(sb->zygote), SIGKILL), 0);
    box_manufacture(sb, box, 0, false);
    assert_true(box->is_state);
    assert_int_equal(box->gone, 0);
    assert_true(sb->unready >= 1);
    box_free(box);
}

static void test_zygote__stopped__engine_is_given_up_in_time(void **state)
{
    struct sb *sb = *state;
    struct box *box;
    pid_t zygote;

    sb_start(sb, 1000);
    zygote = zygote_pid(sb->zygote);
    assert_int_equal(kill(zygote, SIGSTOP), 0);
    box = box_new(sb);
    box_send(box, SANDBOX_POWER_OFF, NULL, 0);
    assert_true(sb_until(sb, &box->gone, 1, 10000));
    assert_non_null(strstr(box->why, "no answer within 1000 ms"));
    /* No sandbox ever began: what it was asked is not to blame. */
    assert_true(engine_was_killed(box->engine));
    box_free(box);
    /* One that does not start anything is replaced. */
    assert_true(sb_until(sb, &sb->ready, 2, 30000));
    assert_true(process_ends(zygote));
    box = box_new(sb);
    box_manufacture(sb, box, 0, false);
    box_free(box);
}

/* ThreadSanitizer's runtime ends the zygote itself when it cannot map memory. */
#ifndef __SANITIZE_THREAD__
/* The host is short of processes or memory: no fault of the command that wanted the sandbox. */
static void test_zygote__cannot_fork__is_told_from_a_crash(void **state)
{
    static const struct rlimit none = {4096, RLIM_INFINITY}, all = {RLIM_INFINITY, RLIM_INFINITY};
    struct sb *sb = *state;
    struct box *box;

    sb_start(sb, 0);
    assert_int_equal(prlimit(zygote_pid(sb->zygote), RLIMIT_AS, &none, NULL), 0);
    box = box_new(sb);
    box_send(box, SANDBOX_POWER_OFF, NULL, 0);
    box_wait_gone(sb, box);
    assert_non_null(strstr(box->why, "fork: "));
    assert_true(engine_was_killed(box->engine));
    box_free(box);
    assert_int_equal(prlimit(zygote_pid(sb->zygote), RLIMIT_AS, &all, NULL), 0);
    box = box_new(sb);
    box_manufacture(sb, box, 0, false);
    box_free(box);
}
#endif

static void no_reply(void *arg, uint8_t type, const uint8_t *payload, size_t len)
{
    (void)arg, (void)type, (void)payload, (void)len;
}

static void no_gone(void *arg, const char *why)
{
    (void)arg, (void)why;
}

/* More engines are freed at once than its socket holds: it is not given up, and each of them ends. */
static void test_zygote__busy_while_many_engines_are_freed__stays(void **state)
{
    enum { MANY = 500 };
    static const struct engine_ops quiet = {no_reply, no_gone};
    static struct engine *engines[MANY];
    static pid_t pids[MANY];
    struct sb *sb = *state;
    struct box *box;
    pid_t zygote;

    sb_start(sb, 0);
    zygote = zygote_pid(sb->zygote);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(engine_spawn(sb->zygote, &quiet, NULL, &engines[i]), VT_OK);
    for (int i = 0; i < MANY; i++) {
        for (int k = 0; k < 1000 && !engine_pid(engines[i]); k++)
            sb_run_for(sb, 10);
        pids[i] = engine_pid(engines[i]);
        assert_true(pids[i] > 0);
    }
    kill(zygote, SIGSTOP);
    for (int i = 0; i < MANY; i++)
        engine_free(engines[i]);
    assert_int_equal(zygote_pid(sb->zygote), zygote);
    kill(zygote, SIGCONT);
    box = box_new(sb);
    box_manufacture(sb, box, 0, false);
    assert_int_equal(zygote_pid(sb->zygote), zygote);
    /* The loop must turn: the zygote tells of each end and waits when nobody listens. */
    for (int i = 0; i < MANY; i++) {
        for (int k = 0; k < 3000 && !kill(pids[i], 0); k++)
            sb_run_for(sb, 10);
        assert_true(process_ends(pids[i]));
    }
    box_free(box);
}

static void test_zygote__program_missing__names_it(void **state)
{
    const struct zygote_config config = {.engine_path = "/nonexistent/vtpm-engine"};
    struct sb *sb = *state;
    struct vt_why why = {""};

    assert_int_equal(zygote_start(&sb->zygote, sb->loop, &config, &why), VT_EIO);
    assert_non_null(strstr(why.text, "/nonexistent/vtpm-engine"));
    assert_null(sb->zygote);
}

static void test_zygote__program_is_another__told_and_tried_again(void **state)
{
    struct sb *sb = *state;

    sb_start_path(sb, "/bin/true", 0);
    assert_true(sb_until(sb, &sb->unready, 2, 10000));
    assert_int_equal(sb->ready_err, VT_EIO);
    assert_false(zygote_is_ready(sb->zygote));
}

#ifdef VTPM_TEST_HOOKS
static void test_engine__no_memory__refused_without_leak(void **state)
{
    static const uint8_t large[400 * 1024];
    const struct cr_slice part = CR_SLICE(large, sizeof large);
    static const struct engine_ops ops;
    struct sb *sb = *state;
    struct engine *engine;
    struct box *box;
    int fds;

    sb_start(sb, 0);
    fds = count_fds(getpid());
    for (long after = 0; after < 3; after++) {
        vt_alloc_fail_after(after);
        assert_int_equal(engine_spawn(sb->zygote, &ops, NULL, &engine), VT_ENOMEM);
    }
    sb_run_for(sb, 10);
    assert_int_equal(count_fds(getpid()), fds);
    box = box_new(sb);
    vt_alloc_fail_after(0);
    assert_int_equal(engine_request(box->engine, SANDBOX_THAW, &part, 1), VT_ENOMEM);
    vt_alloc_fail_after(-1);
    assert_int_equal(box->gone, 0);
    box_wait_gone(sb, box);
    box_free(box);
}

static void test_zygote__no_memory__refused_without_process(void **state)
{
    const struct zygote_config config = {.engine_path = ENGINE_PATH};
    struct sb *sb = *state;

    for (long after = 0; after < 4; after++) {
        struct vt_why why = {""};

        vt_alloc_fail_after(after);
        assert_int_equal(zygote_start(&sb->zygote, sb->loop, &config, &why), VT_ENOMEM);
        assert_true(why.text[0]);
    }
    vt_alloc_fail_after(-1);
    assert_null(sb->zygote);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child */
}
#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, sb_setup, sb_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_sandbox__forbidden_calls__named_by_number),
        TEST(test_sandbox__all_crypto__works_under_the_filter),
#ifndef VTPM_WIDE_SECCOMP
        TEST(test_sandbox__allocates_without_end__meets_its_limit),
#endif
        TEST(test_sandbox__crash_abort_exit__reported),
        TEST(test_sandbox__reply_is_no_frame__killed),
        TEST(test_sandbox__no_answer_in_time__killed),
        TEST(test_sandbox__request_out_of_order__fails_and_ends),
        TEST(test_sandbox__damaged_state__says_why),
        TEST(test_sandbox__killed_from_outside__is_told_from_a_crash),
        TEST(test_zygote__killed__restarts_and_its_sandboxes_die),
        TEST(test_zygote__killed_in_between__waiting_engine_gets_the_next),
        TEST(test_zygote__stopped__engine_is_given_up_in_time),
#ifndef __SANITIZE_THREAD__
        TEST(test_zygote__cannot_fork__is_told_from_a_crash),
#endif
#ifdef VTPM_TEST_HOOKS
        TEST(test_engine__no_memory__refused_without_leak),
        TEST(test_zygote__no_memory__refused_without_process),
#endif
        TEST(test_zygote__busy_while_many_engines_are_freed__stays),
        TEST(test_zygote__program_missing__names_it),
        TEST(test_zygote__program_is_another__told_and_tried_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Broker, zygote and sandboxes as processes, with a double for the engine: what works when nothing goes
 * wrong.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/fake_engine.h"
#include "tests/unit/sandbox_fixture.h"

static void test_zygote__started__says_ready_with_its_crypto(void **state)
{
    struct sb *sb = *state;

    sb_start(sb, 0);
    assert_int_equal(sb->ready, 1);
    assert_true(zygote_is_ready(sb->zygote));
    assert_non_null(strstr(sb->ready_text, "mbedTLS"));
    assert_true(zygote_pid(sb->zygote) > 0);
}

static void test_zygote__freed__leaves_no_process(void **state)
{
    struct sb *sb = *state;
    struct box *box;
    pid_t zygote, engine;

    sb_start(sb, 0);
    box = box_new(sb);
    box_manufacture(sb, box, 0, false);
    zygote = zygote_pid(sb->zygote);
    engine = box_pid(sb, box);
    assert_true(engine > 0);
    box_free(box);
    zygote_free(sb->zygote);
    sb->zygote = NULL;
    assert_true(process_ends(zygote));
    assert_true(process_ends(engine));
}

static void test_engine__life__answers_every_request(void **state)
{
    static const uint8_t plain[11] = {0, 0xC1, 0, 0, 0, 11, 0, 0, 0, 1, 0};
    static const uint8_t dirties[11] = {0, 0xC1, 0, 0, 0, 11, 0, 0, 0, 1, 3};
    struct sb *sb = *state;
    struct box *box;
    struct rd r;

    sb_start(sb, 0);
    box = box_new(sb);
    box_manufacture(sb, box, 64, true);
    assert_true(box->is_state);
    assert_int_equal(box->state.dirty, 3);
    assert_false(box->state.is_on);
    assert_true(box->state.has_ek);
    assert_int_equal(box->state.ek_sha256[31], 0xE5);
    assert_int_equal(box->state.response.len, 0);
    assert_int_equal(box->state.volatile_state.len, 0);
    assert_int_equal(box->state.permanent.len, 64);

    box_power_on(sb, box, SANDBOX_STARTUP_NONE, 5);
    assert_true(box->is_state && box->state.is_on);
    assert_int_equal(box->state.response.len, 0);
    assert_int_equal(box->state.volatile_state.len, 4);

    box_power_on(sb, box, SANDBOX_STARTUP_STATE, 77);
    assert_int_equal(box->state.dirty, 3);
    r = rd_from(box->state.response.data, box->state.response.len);
    rd_take(&r, 10);
    assert_int_equal(rd_get8(&r), 0); /* locality */
    assert_int_equal(rd_get64(&r), 77);
    rd_take(&r, 8);
    assert_memory_equal(rd_take(&r, 12), "\x00\xC1\x00\x00\x00\x0C\x00\x00\x00\x99\x00\x02", 12);

    box_execute(sb, box, plain, sizeof plain);
    assert_int_equal(box->state.dirty, 0);
    assert_int_equal(box->state.volatile_state.len + box->state.permanent.len, 0);
    r = rd_from(box->state.response.data, box->state.response.len);
    rd_take(&r, 10);
    assert_int_equal(rd_get8(&r), 2);
    assert_int_equal(rd_get64(&r), 0x0102030405060708);

    box_execute(sb, box, dirties, sizeof dirties);
    assert_int_equal(box->state.dirty, 3);
    assert_int_equal(box->state.permanent.len, 64);
    assert_int_equal(box->state.permanent.data[7], 8); /* the seed's 7, and one */

    box_ask(sb, box, SANDBOX_POWER_OFF, NULL, 0);
    assert_true(box->is_state);
    assert_false(box->state.is_on);
    assert_int_equal(box->state.dirty, 3);
    assert_int_equal(box->gone, 0);
    box_free(box);
}

static void test_engine__platform_acts__answer_code_and_bit(void **state)
{
    static const struct {
        uint8_t bytes[8];
        size_t len;
        uint8_t answer[5];
        unsigned dirty;
    } acts[] = {
        {{SANDBOX_ACT_INIT, 0, 0, 0, 0, 0}, 6, {0, 0, 0, 0, 0}, 3},
        {{SANDBOX_ACT_HASH_START, 4, 0, 0, 0, 0}, 6, {0, 0, 0, 0, 1}, 3},
        {{SANDBOX_ACT_HASH_DATA, 4, 0, 0, 0, 2, 5, 6}, 8, {0, 0, 0, 0, 1}, 2},
        {{SANDBOX_ACT_HASH_END, 4, 0, 0, 0, 0}, 6, {0, 0, 0, 0, 1}, 3},
        {{SANDBOX_ACT_RESET_ESTABLISHED, 1, 0, 0, 0, 0}, 6, {0, 0, 0, 61, 1}, 3},
        {{SANDBOX_ACT_RESET_ESTABLISHED, 3, 0, 0, 0, 0}, 6, {0, 0, 0, 0, 0}, 3},
        {{SANDBOX_ACT_GET_ESTABLISHED, 0, 0, 0, 0, 0}, 6, {0, 0, 0, 0, 0}, 0},
    };
    struct sb *sb = *state;
    struct box *box;

    sb_start(sb, 0);
    box = box_new(sb);
    box_manufacture(sb, box, 0, false);
    for (size_t i = 0; i < VT_COUNT(acts); i++) {
        box_ask(sb, box, SANDBOX_PLATFORM, acts[i].bytes, acts[i].len);
        assert_true(box->is_state);
        assert_int_equal(box->state.dirty, acts[i].dirty);
        assert_int_equal(box->state.response.len, 5);
        assert_memory_equal(box->state.response.data, acts[i].answer, 5);
    }
    box_free(box);
}

/* Larger than a socket buffer and than the broker's scratch: both sides must go on where they stopped. */
static void test_engine__largest_state__thaws_in_another_process(void **state)
{
    static const uint8_t dirties[11] = {0, 0xC1, 0, 0, 0, 11, 0, 0, 0, 1, 3};
    static struct box first;
    struct sb *sb = *state;
    struct box *box;
    pid_t pid;

    sb_start(sb, 0);
    box = box_new(sb);
    box_manufacture(sb, box, TPM_FROZEN_PERMANENT_MAX, true);
    box_power_on(sb, box, SANDBOX_STARTUP_CLEAR, 1);
    box_execute(sb, box, dirties, sizeof dirties);
    assert_true(box->is_state);
    assert_int_equal(box->state.permanent.len, TPM_FROZEN_PERMANENT_MAX);
    memcpy(&first, box, sizeof first);
    assert_true(sandbox_rd_state(&first.state, first.payload, first.len));
    pid = box_pid(sb, box);
    box_free(box);

    box = box_new(sb);
    box_thaw(sb, box, 9, &first.state.permanent, &first.state.volatile_state);
    assert_true(box->is_state);
    assert_int_equal(box->state.dirty, 0);
    assert_true(box->state.is_on && box->state.has_ek);
    assert_true(box_pid(sb, box) != pid);
    box_execute(sb, box, dirties, sizeof dirties);
    assert_int_equal(box->state.permanent.len, TPM_FROZEN_PERMANENT_MAX);
    assert_int_equal(box->state.permanent.data[7], first.state.permanent.data[7] + 1);
    assert_int_equal(box->state.volatile_state.data[3], first.state.volatile_state.data[3] + 1);
    box_free(box);
}

static void test_engine__spawned_before_ready__waits_and_works(void **state)
{
    struct sb *sb = *state;
    struct box *box;

    sb_start_path(sb, ENGINE_PATH, 0);
    box = box_new(sb);
    box_manufacture(sb, box, 0, false);
    assert_true(box->is_state);
    assert_int_equal(sb->ready, 1);
    box_free(box);
}

static void test_engine__freed_while_idle__its_process_ends(void **state)
{
    struct sb *sb = *state;
    struct box *box;
    pid_t pid;

    sb_start(sb, 0);
    box = box_new(sb);
    box_manufacture(sb, box, 0, false);
    pid = box_pid(sb, box);
    box_free(box);
    sb_run_for(sb, 20);
    assert_true(process_ends(pid));
    assert_int_equal(sb->ready, 1);
}

static void test_engine__freed_while_working__its_process_is_killed(void **state)
{
    struct sb *sb = *state;
    struct box *box;
    pid_t pid;

    sb_start(sb, 0);
    box = box_new(sb);
    sb_run_for(sb, 50);
    pid = box_pid(sb, box);
    assert_true(pid > 0);
    box_misbehave(box, DEED_SPIN);
    sb_run_for(sb, 20);
    box_free(box);
    assert_true(process_ends(pid));
}

/* It said that it is idle and is not. */
static void test_engine__freed_while_secretly_working__its_process_is_killed(void **state)
{
    struct sb *sb = *state;
    struct box *box;
    pid_t pid;

    sb_start(sb, 0);
    box = box_new(sb);
    pid = box_pid(sb, box);
    box_misbehave(box, DEED_ANSWER_AND_SPIN);
    assert_true(sb_until(sb, &box->replies, 1, 10000));
    assert_false(engine_is_busy(box->engine));
    box_free(box);
    assert_true(process_ends(pid));
}

static void test_engine__freed_before_anything__is_harmless(void **state)
{
    struct sb *sb = *state;

    sb_start_path(sb, ENGINE_PATH, 0);
    box_free(box_new(sb));
    assert_true(sb_until(sb, &sb->ready, 1, 30000));
    box_free(box_new(sb));
    sb_run_for(sb, 50);
    assert_int_equal(sb->ready, 1);
    engine_free(NULL);
    zygote_free(NULL);
}

static void test_engine__killed__says_gone_once(void **state)
{
    struct sb *sb = *state;
    struct box *box;

    sb_start(sb, 0);
    box = box_new(sb);
    box_misbehave(box, DEED_SPIN);
    engine_kill(box->engine);
    assert_int_equal(box->gone, 0);
    engine_kill(box->engine);
    assert_int_equal(engine_request(box->engine, SANDBOX_POWER_OFF, NULL, 0), VT_ECLOSED);
    box_wait_gone(sb, box);
    engine_kill(box->engine);
    sb_run_for(sb, 50);
    assert_int_equal(box->gone, 1);
    assert_int_equal(box->replies, 0);
    assert_non_null(strstr(box->why, "killed by the server"));
    assert_int_equal(engine_request(box->engine, SANDBOX_POWER_OFF, NULL, 0), VT_ECLOSED);
    box_free(box);
}

static void test_engine__second_request_or_too_long__refused(void **state)
{
    static const uint8_t long_one[SANDBOX_FRAME_MAX];
    const struct cr_slice part = CR_SLICE(long_one, sizeof long_one);
    struct sb *sb = *state;
    struct box *box;

    sb_start(sb, 0);
    box = box_new(sb);
    assert_int_equal(engine_request(box->engine, SANDBOX_THAW, &part, 1), VT_ETOOBIG);
    box_misbehave(box, DEED_SPIN);
    assert_int_equal(engine_request(box->engine, SANDBOX_POWER_OFF, NULL, 0), VT_ECONFLICT);
    box_free(box);
}

#define MANY 200
static void test_engine__many__leak_no_descriptor(void **state)
{
    struct sb *sb = *state;
    struct box *boxes[MANY];
    int ours, theirs;

    sb_start(sb, 0);
    sb_run_for(sb, 10);
    ours = count_fds(getpid());
    theirs = count_fds(zygote_pid(sb->zygote));
    for (int i = 0; i < MANY; i++)
        boxes[i] = box_new(sb);
    for (int i = 0; i < MANY; i++) {
        box_manufacture(sb, boxes[i], 0, false);
        assert_true(boxes[i]->is_state);
    }
    assert_int_equal(count_fds(getpid()), ours + MANY);
    assert_true(fds_become(zygote_pid(sb->zygote), theirs));
#ifndef VTPM_WIDE_SECCOMP
    /* One socket, and the two entries that every directory has. It is not dumpable: only root may look. */
    if (geteuid() == 0)
        assert_int_equal(count_fds(box_pid(sb, boxes[MANY - 1])), 3);
#endif
    for (int i = 0; i < MANY; i++)
        box_free(boxes[i]);
    sb_run_for(sb, 100);
    assert_int_equal(count_fds(getpid()), ours);
    assert_true(fds_become(zygote_pid(sb->zygote), theirs));
    assert_int_equal(sb->ready, 1);
}

static void test_program__by_hand__explains_and_exits_2(void **state)
{
    (void)state;
    assert_int_equal(WEXITSTATUS(system(ENGINE_PATH " 2>&1 | grep -q 'started by vtpm-server'")), 0);
    assert_int_equal(WEXITSTATUS(system(ENGINE_PATH " 2>/dev/null")), 2);
    assert_int_equal(WEXITSTATUS(system(ENGINE_PATH " --zygote 2>/dev/null 3</dev/null")), 2);
    assert_int_equal(WEXITSTATUS(system(ENGINE_PATH " --help | grep -q usage")), 0);
    assert_int_equal(WEXITSTATUS(system(ENGINE_PATH " --version | grep -q '^vtpm-engine [0-9].*mbedTLS'")), 0);
}

/* What a broker that was killed leaves behind: nothing. */
static void test_zygote__control_socket_closes__exits_with_its_children(void **state)
{
    struct sandbox_control_msg msg;
    int fds[2], status = 0;
    pid_t pid;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (fds[1] == SANDBOX_CONTROL_FD)
            fcntl(fds[1], F_SETFD, 0);
        else
            dup2(fds[1], SANDBOX_CONTROL_FD);
        execl(ENGINE_PATH, "vtpm-engine", "--zygote", (char *)NULL);
        _exit(99);
    }
    close(fds[1]);
    assert_int_equal(recv(fds[0], &msg, sizeof msg, 0), sizeof msg);
    assert_int_equal(msg.type, SANDBOX_READY);
    assert_int_equal(msg.status, 1);
    assert_int_equal(kill(pid, SIGTERM), 0); /* is for the broker only */
    usleep(20000);
    assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, sb_setup, sb_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_zygote__started__says_ready_with_its_crypto),
        TEST(test_zygote__freed__leaves_no_process),
        TEST(test_engine__life__answers_every_request),
        TEST(test_engine__platform_acts__answer_code_and_bit),
        TEST(test_engine__largest_state__thaws_in_another_process),
        TEST(test_engine__spawned_before_ready__waits_and_works),
        TEST(test_engine__freed_while_idle__its_process_ends),
        TEST(test_engine__freed_while_working__its_process_is_killed),
        TEST(test_engine__freed_while_secretly_working__its_process_is_killed),
        TEST(test_engine__freed_before_anything__is_harmless),
        TEST(test_engine__killed__says_gone_once),
        TEST(test_engine__second_request_or_too_long__refused),
        TEST(test_engine__many__leak_no_descriptor),
        cmocka_unit_test(test_program__by_hand__explains_and_exits_2),
        cmocka_unit_test(test_zygote__control_socket_closes__exits_with_its_children),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

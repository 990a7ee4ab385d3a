/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The zygote itself, with the test in the broker's place: it gets ready, forks two sandboxes, each
 * manufactures, each ends. Each fork, each step of a confinement, each system call on a socket, each
 * allocation and each entropy call in the zygote or in a sandbox fails once. Either it says why it cannot
 * start, or a sandbox works, or it could not be made, or it is gone and its end is told; a zygote that goes
 * on makes working ones afterwards. Nobody runs unconfined.
 */
#include "tests/fault/countdown.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/sandbox/messages.h"
#include "server/sandbox/sandbox.h"

#define PATIENCE_MS 60000
#define IDS         8
#define NV_BYTES    1000
#define LEAKED      99

struct world {
    int control;
    pid_t pid;
    bool is_ready, is_over; /* the zygote */
    char text[108];         /* of READY */
    struct {
        bool is_spawned, is_refused, is_exited;
        pid_t pid;
        int status;
    } of[IDS];
};

pid_t __real_fork(void);
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

/* Only the zygote and what it forks are tested. */
static void all_count(bool counts)
{
    for (int fault = 0; fault < FAULT_COUNT; fault++)
        count_here((enum fault)fault, counts);
}

static void run_zygote(int control)
{
    int status;

    all_count(true);
    status = sandbox_zygote(control);
    all_count(false);
    if (__lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check())
        status = LEAKED;
    _exit(status);
}

static void start(struct world *w)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    w->pid = __real_fork();
    assert_true(w->pid >= 0);
    if (w->pid == 0) {
        close(fds[0]);
        run_zygote(fds[1]);
    }
    close(fds[1]);
    w->control = fds[0];
}

/* ---- What the zygote says ---- */

static void note(struct world *w, const struct sandbox_control_msg *msg)
{
    if (msg->type == SANDBOX_READY) {
        w->is_ready = msg->status == 1;
        snprintf(w->text, sizeof w->text, "%s", msg->text);
        return;
    }
    assert_true(msg->id < IDS);
    w->of[msg->id].is_spawned |= msg->type == SANDBOX_SPAWNED;
    w->of[msg->id].is_refused |= msg->type == SANDBOX_SPAWN_FAILED;
    w->of[msg->id].is_exited |= msg->type == SANDBOX_EXITED;
    w->of[msg->id].pid = msg->pid;
    w->of[msg->id].status = msg->status;
    if (msg->type == SANDBOX_SPAWN_FAILED)
        assert_int_not_equal(msg->status, 0);
}

static void listen_once(struct world *w)
{
    struct pollfd fd = {.fd = w->control, .events = POLLIN};
    struct sandbox_control_msg msg;

    if (poll(&fd, 1, PATIENCE_MS) != 1)
        fail_msg("call %ld failed: the zygote is silent", count_nth());
    if (recv(w->control, &msg, sizeof msg, 0) == sizeof msg)
        note(w, &msg);
    else
        w->is_over = true;
}

/* ---- What a sandbox does ---- */

static bool ask_spawn(struct world *w, uint32_t id, int fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct sandbox_control_msg msg = {.type = SANDBOX_SPAWN, .id = id, .syscall = -1};
    struct iovec iov = {&msg, sizeof msg};
    struct msghdr hdr = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};

    control.align.cmsg_level = SOL_SOCKET;
    control.align.cmsg_type = SCM_RIGHTS;
    control.align.cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(&control.align), &fd, sizeof fd);
    return sendmsg(w->control, &hdr, MSG_NOSIGNAL) == sizeof msg;
}

static bool read_all(int fd, uint8_t *to, size_t len)
{
    for (size_t have = 0; have < len;) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        ssize_t n;

        if (poll(&ready, 1, PATIENCE_MS) != 1)
            fail_msg("call %ld failed: a sandbox neither answers nor ends", count_nth());
        n = recv(fd, to + have, len - have, 0);
        if (n <= 0)
            return false;
        have += (size_t)n;
    }
    return true;
}

/* False: it is gone. A wrong answer ends the test. */
static bool manufacture(int fd)
{
    static uint8_t bytes[5 + SANDBOX_FRAME_MAX];
    const struct tpm_profile profile = {.nv_bytes = NV_BYTES};
    struct wr w = wr_to(bytes, sizeof bytes);
    struct sandbox_state state;
    struct rd r;
    uint32_t len;

    wr_put32(&w, 1 + CR_DRBG_SEED + SANDBOX_PROFILE_LEN + 1);
    wr_put8(&w, SANDBOX_MANUFACTURE);
    memset(wr_room(&w, CR_DRBG_SEED), 7, CR_DRBG_SEED);
    tpm_profile_write(&w, &profile);
    wr_put8(&w, false);
    if (send(fd, bytes, w.len, MSG_NOSIGNAL) != (ssize_t)w.len || !read_all(fd, bytes, 5))
        return false;
    r = rd_from(bytes, 5);
    len = rd_get32(&r) - 1;
    if (!len || len > SANDBOX_FRAME_MAX || !read_all(fd, bytes + 5, len))
        return false;
    if (bytes[4] != SANDBOX_STATE)
        return false;
    if (!sandbox_rd_state(&state, bytes + 5, len) || state.permanent.len != NV_BYTES)
        fail_msg("call %ld failed: a wrong state of %u bytes", count_nth(), state.permanent.len);
    return true;
}

/* Whoever answers is behind the filter. */
static void expect_confined(struct world *w, uint32_t id)
{
    char path[64], line[128];
    int filter = -1, no_new_privileges = -1;
    FILE *file;

    while (!w->is_over && !w->of[id].is_spawned)
        listen_once(w);
    snprintf(path, sizeof path, "/proc/%d/status", (int)w->of[id].pid);
    file = w->of[id].is_spawned && !w->of[id].is_exited ? fopen(path, "re") : NULL;
    if (!file)
        return;
    while (fgets(line, sizeof line, file)) {
        (void)!sscanf(line, "NoNewPrivs: %d", &no_new_privileges);
        (void)!sscanf(line, "Seccomp: %d", &filter);
    }
    fclose(file);
    /* Unless it has ended meanwhile. */
    if (filter >= 0 && (filter != 2 || no_new_privileges != 1))
        fail_msg("call %ld failed: a sandbox answers without its filter", count_nth());
}

/* True: it was made and has worked. Its end is told if the zygote is there to tell. */
static bool use_sandbox(struct world *w, uint32_t id)
{
    bool works = false;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    works = ask_spawn(w, id, fds[1]);
    close(fds[1]);
    works = works && manufacture(fds[0]);
    if (works)
        expect_confined(w, id);
    close(fds[0]);
    while (!w->is_over && !w->of[id].is_refused && !w->of[id].is_exited)
        listen_once(w);
    if (w->of[id].is_exited && !WIFEXITED(w->of[id].status))
        fail_msg("call %ld failed: a sandbox ends with status %#x", count_nth(), (unsigned)w->of[id].status);
    return works;
}

/* ---- A run ---- */

static int status_of(pid_t pid)
{
    int status = -1;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
        fail_msg("call %ld failed: the zygote ends with status %#x", count_nth(), (unsigned)status);
    return WEXITSTATUS(status);
}

static void use(struct world *w)
{
    bool worked[2];

    for (uint32_t id = 0; id < 2; id++)
        worked[id] = use_sandbox(w, id);
    if (!count_end()) {
        assert_true(worked[0] && worked[1] && !w->is_over);
        assert_int_equal(w->of[0].status | w->of[1].status, 0);
    }
    if (w->is_over)
        return;
    if (!use_sandbox(w, 2))
        fail_msg("call %ld had failed: sandboxes do not work any more", count_nth());
}

static void scenario(void *arg VT_UNUSED)
{
    struct world w = {0};
    int status;

    all_count(false);
    count_begin();
    start(&w);
    listen_once(&w);
    if (w.is_ready) {
        use(&w);
    } else {
        (void)count_end();
        if (!w.is_over && !w.text[0])
            fail_msg("call %ld failed: the zygote does not say why it cannot start", count_nth());
    }
    (void)shutdown(w.control, SHUT_RDWR);
    close(w.control);
    status = status_of(w.pid);
    if (w.is_ready && !w.is_over)
        assert_int_equal(status, 0);
    /* Its sandboxes end with it. */
    while (waitpid(-1, NULL, 0) > 0)
        ;
}

static void test_zygote__each_fault__goes_on_or_says_why(void **state VT_UNUSED)
{
    /* A sandbox without its zygote becomes ours to wait for. */
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    assert_true(count_down("zygote, fork and confinement", FAULT_FORK, scenario, NULL) > 30);
    assert_true(count_down("zygote, socket", FAULT_SOCKET, scenario, NULL) > 15);
    assert_true(count_down("zygote, alloc", FAULT_ALLOC, scenario, NULL) >= 2);
    assert_true(count_down("zygote, entropy", FAULT_ENTROPY, scenario, NULL) >= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zygote__each_fault__goes_on_or_says_why),
    };

    signal(SIGPIPE, SIG_IGN);
    count_hook_alloc();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The confinement that this very build's engines get, call by call: a child confines itself as a sandbox does,
 * then makes one system call. Runs in release builds too.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/sandbox/confine.h"
#include "server/sandbox/sandbox.h"

/* Past the last call of any kernel this runs on. */
#define NUMBERS 600
#define SURVIVED 42

static int32_t *report; /* shared with the children */

struct ending {
    bool forbidden; /* the filter's handler ended it */
    bool killed;    /* by SIGSYS, without the handler */
    bool survived;
    int32_t number; /* that the handler reported, or -1 */
};

static void confine(void)
{
    int fds[2];

    signal(SIGILL, SIG_DFL); /* the test's library has handlers */
    signal(SIGSEGV, SIG_DFL);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
        _exit(10);
    sandbox_report_to(report);
    if (sandbox_confine(fds[0], NULL))
        _exit(11);
}

static struct ending ending_of(pid_t pid)
{
    struct ending e = {.number = -1};
    int status = 0;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    e.forbidden = WIFEXITED(status) && WEXITSTATUS(status) == SANDBOX_EXIT_FORBIDDEN;
    e.killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
    e.survived = WIFEXITED(status) && WEXITSTATUS(status) == SURVIVED;
    if (e.forbidden)
        e.number = *report - 1;
    if (WIFEXITED(status) && (WEXITSTATUS(status) == 10 || WEXITSTATUS(status) == 11))
        fail_msg("the child could not confine itself: %d", WEXITSTATUS(status));
    return e;
}

static struct ending try_call(long number, const long args[6])
{
    pid_t pid;

    *report = 0;
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        confine();
        syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
        syscall(SYS_exit_group, SURVIVED);
    }
    return ending_of(pid);
}

#ifndef VTPM_WIDE_SECCOMP
/* DESIGN.md, "Processes and trust": computing, memory of its own, its one socket; nothing else. */
static const long allowed[] = {
    SYS_read,   SYS_write,  SYS_munmap, SYS_mremap, SYS_brk,          SYS_madvise,        SYS_futex,
    SYS_exit,   SYS_getpid, SYS_gettid, SYS_exit_group, SYS_getrandom, SYS_rt_sigreturn, SYS_rt_sigprocmask,
    SYS_restart_syscall, SYS_clock_gettime, SYS_gettimeofday, SYS_pselect6,
#ifdef SYS_time
    SYS_time,
#endif
};

static bool is_allowed(long number)
{
    for (size_t i = 0; i < VT_COUNT(allowed); i++)
        if (allowed[i] == number)
            return true;
    return false;
}

/* uretprobe and uprobe: newer kernels ask no filter, and refuse whoever is not in their own trampoline. */
static bool is_kernels_own(long number)
{
#ifdef __x86_64__
    return number == 335 || number == 336;
#else
    (void)number;
    return false;
#endif
}

/* Arguments that no call accepts: what is let through fails, or ends the child in another way. */
static void test_filter__every_system_call__is_forbidden_but_the_list(void **state)
{
    static const long nonsense[6] = {-1, -1, -1, -1, -1, -1};

    (void)state;
    for (long number = 0; number < NUMBERS; number++) {
        struct ending e = try_call(number, nonsense);

        if (is_kernels_own(number))
            continue;
        if (e.forbidden == is_allowed(number))
            fail_msg("system call %ld: %s", number, e.forbidden ? "forbidden" : "let through");
        if (e.forbidden)
            assert_int_equal(e.number, number);
        assert_false(e.killed);
    }
}

static void test_filter__mmap__only_its_own_memory_and_no_code(void **state)
{
    static const struct {
        long prot, flags;
        bool may;
    } cases[] = {
        {PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, true},
        {PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, true},
        {PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, false},
        {PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, false},
        {PROT_READ, MAP_PRIVATE, false},
        {PROT_READ, MAP_SHARED, false},
    };

    (void)state;
    for (size_t i = 0; i < VT_COUNT(cases); i++) {
        const long args[6] = {0, 4096, cases[i].prot, cases[i].flags, -1, 0};
        struct ending e = try_call(SYS_mmap, args);

        assert_int_equal(e.survived, cases[i].may);
        assert_int_equal(e.forbidden, !cases[i].may);
    }
}

#ifdef __x86_64__
/* The numbers of another ABI mean other calls: neither x32 nor the 32-bit gate may be used. */
static void test_filter__calls_of_another_abi__end_the_process(void **state)
{
    static const long nonsense[6] = {-1, -1, -1, -1, -1, -1};
    struct ending e = try_call(0x40000000L + SYS_getpid, nonsense);
    pid_t pid;

    (void)state;
    assert_true(e.killed || e.forbidden);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        long rc = 20; /* getpid, as the 32-bit table numbers it */

        confine();
        __asm__ volatile("int $0x80" : "+a"(rc) : : "memory");
        syscall(SYS_exit_group, SURVIVED);
    }
    e = ending_of(pid);
    assert_false(e.survived);
}
#endif
#else
/* Sanitizer builds: what is left forbidden are the ways out of the process. */
static void test_filter__wide_one__still_closes_the_ways_out(void **state)
{
    static const long forbidden[] = {SYS_socket, SYS_connect, SYS_execve, SYS_ptrace, SYS_mount, SYS_kill};
    static const long nonsense[6] = {-1, -1, -1, -1, -1, -1};

    (void)state;
    for (size_t i = 0; i < VT_COUNT(forbidden); i++) {
        struct ending e = try_call(forbidden[i], nonsense);

        assert_true(e.forbidden);
        assert_int_equal(e.number, forbidden[i]);
    }
}
#endif

/* One line of /proc/PID/FILE that begins with `key`. */
static void proc_line(pid_t pid, const char *file, const char *key, char out[160])
{
    char path[64];
    FILE *in;

    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    in = fopen(path, "r");
    assert_non_null(in);
    out[0] = '\0';
    while (fgets(out, 160, in) && strncmp(out, key, strlen(key)) != 0)
        out[0] = '\0';
    fclose(in);
    if (!out[0])
        fail_msg("%s has no line %s", path, key);
}

static void expect_line(pid_t pid, const char *file, const char *key, const char *soft)
{
    char line[160], first[64] = "";

    proc_line(pid, file, key, line);
    if (sscanf(line + strlen(key), "%63s", first) != 1 || strcmp(first, soft) != 0)
        fail_msg("%s: expected %s in: %s", key, soft, line);
}

/* What the kernel itself says of a confined process. */
static void test_confine__process__has_its_limits(void **state)
{
    int fds[2], status;
    char byte;
    pid_t pid;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        sandbox_report_to(report);
        if (sandbox_confine(fds[1], NULL) || write(fds[1], "", 1) != 1)
            _exit(11);
        while (read(fds[1], &byte, 1) > 0)
            ;
        syscall(SYS_exit_group, SURVIVED);
    }
    close(fds[1]);
    assert_int_equal(read(fds[0], &byte, 1), 1);
    expect_line(pid, "status", "Seccomp:", "2");
    expect_line(pid, "status", "NoNewPrivs:", "1");
    expect_line(pid, "limits", "Max core file size", "0");
    expect_line(pid, "limits", "Max file size", "0");
    expect_line(pid, "limits", "Max processes", "0");
    expect_line(pid, "limits", "Max cpu time", "900");
#ifndef VTPM_WIDE_SECCOMP
    expect_line(pid, "limits", "Max open files", "0");
    expect_line(pid, "limits", "Max address space", "67108864");
    expect_line(pid, "limits", "Max data size", "67108864");
#endif
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == SURVIVED);
}

static int build_filter(void **state)
{
    struct vt_why why = {""};

    (void)state;
    report = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return report == MAP_FAILED || sandbox_filter_build(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifndef VTPM_WIDE_SECCOMP
        cmocka_unit_test(test_filter__every_system_call__is_forbidden_but_the_list),
        cmocka_unit_test(test_filter__mmap__only_its_own_memory_and_no_code),
#ifdef __x86_64__
        cmocka_unit_test(test_filter__calls_of_another_abi__end_the_process),
#endif
#else
        cmocka_unit_test(test_filter__wide_one__still_closes_the_ways_out),
#endif
        cmocka_unit_test(test_confine__process__has_its_limits),
    };

    return cmocka_run_group_tests(tests, build_filter, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "server/sandbox/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server/sandbox/sandbox.h"

/* libseccomp's program for either list has well under a hundred instructions. */
#define FILTER_MAX 512
#define MEMORY_MAX ((rlim_t)64 << 20)
/*
 * CPU seconds of one sandbox's whole life. The broker ends a command that takes too long; this ends one that
 * answers and then goes on by itself. An honest one that gets so far is replaced from its last record.
 */
#define CPU_MAX 900

static struct sock_filter filter[FILTER_MAX];
static unsigned short filter_len;
static int32_t *report;

#ifdef VTPM_WIDE_SECCOMP
/*
 * Sanitizers map, protect, read /proc and write their findings to descriptor 2: everything is allowed but
 * the ways out of the process.
 */
#define DEFAULT_ACTION SCMP_ACT_ALLOW
#define LAST_CLOSED_BELOW 3

static const int forbidden[] = {
    SCMP_SYS(socket),   SCMP_SYS(socketpair), SCMP_SYS(connect), SCMP_SYS(bind),     SCMP_SYS(listen),
    SCMP_SYS(accept),   SCMP_SYS(accept4),    SCMP_SYS(execve),  SCMP_SYS(execveat), SCMP_SYS(fork),
    SCMP_SYS(vfork),    SCMP_SYS(clone),      SCMP_SYS(clone3),  SCMP_SYS(ptrace),   SCMP_SYS(creat),
    SCMP_SYS(unlink),   SCMP_SYS(unlinkat),   SCMP_SYS(rename),  SCMP_SYS(renameat), SCMP_SYS(renameat2),
    SCMP_SYS(mkdir),    SCMP_SYS(mkdirat),    SCMP_SYS(mount),   SCMP_SYS(openat2),  SCMP_SYS(bpf),
    SCMP_SYS(io_uring_setup), SCMP_SYS(kill),
};

static int add_rules(scmp_filter_ctx ctx)
{
    int rc = 0;

    for (size_t i = 0; i < VT_COUNT(forbidden) && !rc; i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_TRAP, forbidden[i], 0);
    /* Opening is for reading only: the symboliser reads /proc/self/exe. */
    for (uint64_t mode = O_WRONLY; mode <= O_ACCMODE && !rc; mode++) {
        rc = seccomp_rule_add(ctx, SCMP_ACT_TRAP, SCMP_SYS(openat), 1,
                              SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE, mode));
        if (!rc)
            rc = seccomp_rule_add(ctx, SCMP_ACT_TRAP, SCMP_SYS(open), 1,
                                  SCMP_A1(SCMP_CMP_MASKED_EQ, O_ACCMODE, mode));
    }
    return rc;
}
#else
#define DEFAULT_ACTION SCMP_ACT_TRAP
#define LAST_CLOSED_BELOW 0

/*
 * All that computing takes. pselect6: the wait for a request. getpid: libcrypto's fork detection. mremap: realloc of a large block. The
 * clocks: fall-backs of the vDSO. rt_sigprocmask and gettid: abort() gets as far as tgkill, by which it is
 * recognised.
 */
static const int allowed[] = {
    SCMP_SYS(read),          SCMP_SYS(write),        SCMP_SYS(munmap),          SCMP_SYS(mremap),
    SCMP_SYS(brk),           SCMP_SYS(madvise),      SCMP_SYS(futex),           SCMP_SYS(exit_group),
    SCMP_SYS(exit),          SCMP_SYS(getrandom),    SCMP_SYS(getpid),          SCMP_SYS(gettid),
    SCMP_SYS(rt_sigreturn),  SCMP_SYS(rt_sigprocmask), SCMP_SYS(restart_syscall), SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),  SCMP_SYS(time),         SCMP_SYS(pselect6),
};

static int add_rules(scmp_filter_ctx ctx)
{
    int rc = 0;

    for (size_t i = 0; i < VT_COUNT(allowed) && !rc; i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
    /* Memory of its own, never executable. */
    if (!rc)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2,
                              SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
                              SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS));
    return rc;
}
#endif

/* libseccomp 2.5 exports to a descriptor only. */
static int export_filter(scmp_filter_ctx ctx, struct vt_why *why)
{
    int fd = memfd_create("filter", MFD_CLOEXEC);
    int rc;
    ssize_t n;

    if (fd < 0)
        return vt_fail(why, VT_EIO, "seccomp: memfd_create: %s", strerror(errno));
    rc = seccomp_export_bpf(ctx, fd);
    n = rc ? -1 : pread(fd, filter, sizeof filter, 0);
    close(fd);
    if (n <= 0 || n == sizeof filter || (size_t)n % sizeof filter[0])
        return vt_fail(why, VT_EFAIL, "seccomp: the filter cannot be exported");
    filter_len = (unsigned short)((size_t)n / sizeof filter[0]);
    return VT_OK;
}

int sandbox_filter_build(struct vt_why *why)
{
    scmp_filter_ctx ctx = seccomp_init(DEFAULT_ACTION);
    int err;

    if (!ctx)
        return vt_fail(why, VT_ENOMEM, "seccomp: no memory for the filter");
    /* Call numbers of another ABI: the list means nothing there, so libseccomp's default (kill) stays. */
    if (add_rules(ctx))
        err = vt_fail(why, VT_EFAIL, "seccomp: the filter cannot be built on this architecture");
    else
        err = export_filter(ctx, why);
    seccomp_release(ctx);
    return err;
}

void sandbox_syscall_name(int32_t number, char *out, size_t size)
{
    char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);

    snprintf(out, size, "%s", name ? name : "");
    free(name);
}

void sandbox_report_to(int32_t *refused_plus_1)
{
    report = refused_plus_1;
}

static void on_sigsys(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)context;
    if (report)
        __atomic_store_n(report, info->si_syscall + 1, __ATOMIC_SEQ_CST);
    _exit(SANDBOX_EXIT_FORBIDDEN);
}

static int close_others(int fd)
{
    if (fd > LAST_CLOSED_BELOW && close_range(LAST_CLOSED_BELOW, (unsigned)fd - 1, 0))
        return -1;
    return close_range((unsigned)fd + 1, ~0u, 0);
}

static const struct limit {
    int resource;
    rlim_t max;
} limits[] = {
    {RLIMIT_CORE, 0},
    {RLIMIT_FSIZE, 0},
    {RLIMIT_NPROC, 0},
    {RLIMIT_CPU, CPU_MAX},
#ifndef VTPM_WIDE_SECCOMP
    {RLIMIT_NOFILE, 0},
    {RLIMIT_AS, MEMORY_MAX},
    {RLIMIT_DATA, MEMORY_MAX},
#endif
};

static int set_limits(void)
{
    for (size_t i = 0; i < VT_COUNT(limits); i++)
        if (setrlimit(limits[i].resource, &(struct rlimit){limits[i].max, limits[i].max}))
            return -1;
    return 0;
}

static int load_filter(void)
{
    struct sock_fprog program = {.len = filter_len, .filter = filter};

    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

int sandbox_confine(int fd, struct vt_why *why)
{
    struct sigaction action = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO};

    if (!filter_len)
        return vt_fail(why, VT_EUSAGE, "sandbox: there is no system call filter");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
        return vt_fail(why, VT_EFAIL, "sandbox: PR_SET_DUMPABLE: %s", strerror(errno));
    if (close_others(fd))
        return vt_fail(why, VT_EFAIL, "sandbox: close_range: %s", strerror(errno));
    if (set_limits())
        return vt_fail(why, VT_EFAIL, "sandbox: setrlimit: %s", strerror(errno));
    if (sigaction(SIGSYS, &action, NULL))
        return vt_fail(why, VT_EFAIL, "sandbox: sigaction: %s", strerror(errno));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || load_filter())
        return vt_fail(why, VT_EFAIL, "sandbox: the kernel takes no system call filter: %s", strerror(errno));
    return VT_OK;
}

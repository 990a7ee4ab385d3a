/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The zygote's and a sandbox's own calls to the system, by the linker's --wrap. Behind the filter a call that
 * strikes makes none: count_strikes only touches memory.
 */
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/fault/wrap.h"

/* ---- FAULT_FORK: a process and its confinement ---- */

WRAP(pid_t, fork, (void), (), FAULT_FORK, EAGAIN, -1)
WRAP(void *, mmap, (void *at, size_t len, int prot, int flags, int fd, off_t offset),
     (at, len, prot, flags, fd, offset), FAULT_FORK, ENOMEM, MAP_FAILED)
WRAP(int, sigprocmask, (int how, const sigset_t *set, sigset_t *old), (how, set, old), FAULT_FORK, EINVAL, -1)
WRAP(int, signalfd, (int fd, const sigset_t *set, int flags), (fd, set, flags), FAULT_FORK, EMFILE, -1)
WRAP(int, sigaction, (int sig, const struct sigaction *act, struct sigaction *old), (sig, act, old),
     FAULT_FORK, EINVAL, -1)
WRAP(int, setrlimit, (__rlimit_resource_t resource, const struct rlimit *limit), (resource, limit),
     FAULT_FORK, EPERM, -1)
WRAP(int, close_range, (unsigned first, unsigned last, int flags), (first, last, flags), FAULT_FORK, ENOMEM,
     -1)
WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags), FAULT_FORK, EMFILE, -1)
WRAP(ssize_t, pread, (int fd, void *to, size_t len, off_t at), (fd, to, len, at), FAULT_FORK, EIO, -1)

int __wrap_prctl(int option, ...);
int __real_prctl(int option, ...);

int __wrap_prctl(int option, ...)
{
    unsigned long a[4];
    va_list args;

    va_start(args, option);
    for (int i = 0; i < 4; i++)
        a[i] = va_arg(args, unsigned long);
    va_end(args);
    if (count_strikes(FAULT_FORK)) {
        errno = EINVAL;
        return -1;
    }
    return __real_prctl(option, a[0], a[1], a[2], a[3]);
}

long __wrap_syscall(long number, ...);
long __real_syscall(long number, ...);

/* capset and seccomp: three arguments at most. */
long __wrap_syscall(long number, ...)
{
    long a[3];
    va_list args;

    va_start(args, number);
    for (int i = 0; i < 3; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (count_strikes(FAULT_FORK)) {
        errno = EPERM;
        return -1;
    }
    return __real_syscall(number, a[0], a[1], a[2]);
}

/* ---- FAULT_SOCKET: what the zygote and a sandbox hear and say ---- */

static int one_of(int passing, int lasting)
{
    return count_nth() % 2 ? passing : lasting;
}

WRAP(ssize_t, send, (int fd, const void *from, size_t len, int flags), (fd, from, len, flags), FAULT_SOCKET,
     one_of(EINTR, ENOBUFS), -1)
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *msg, int flags), (fd, msg, flags), FAULT_SOCKET,
     one_of(EINTR, ENOMEM), -1)
WRAP(int, poll, (struct pollfd * fds, nfds_t count, int ms), (fds, count, ms), FAULT_SOCKET,
     one_of(EINTR, ENOMEM), -1)
WRAP(ssize_t, read, (int fd, void *to, size_t len), (fd, to, len), FAULT_SOCKET, one_of(EINTR, EIO), -1)
WRAP(ssize_t, write, (int fd, const void *from, size_t len), (fd, from, len), FAULT_SOCKET,
     one_of(EINTR, EPIPE), -1)

/* ---- FAULT_ALLOC: one count for all processes ---- */

WRAP(void *, vt_calloc, (size_t count, size_t size), (count, size), FAULT_ALLOC, ENOMEM, NULL)
WRAP(void *, vt_realloc, (void *ptr, size_t size), (ptr, size), FAULT_ALLOC, ENOMEM, NULL)

/* ---- FAULT_ENTROPY ---- */

WRAP(ssize_t, getrandom, (void *out, size_t len, unsigned flags), (out, len, flags), FAULT_ENTROPY, ENOSYS,
     -1)

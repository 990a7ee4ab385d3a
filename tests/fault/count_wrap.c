/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of our own objects to the system, by the linker's --wrap: WRAPPED in CMakeLists.txt names them. */
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "tests/fault/wrap.h"

WRAP(ssize_t, getrandom, (void *out, size_t len, unsigned flags), (out, len, flags), FAULT_ENTROPY, ENOSYS, -1)

WRAP(int, socketpair, (int domain, int type, int protocol, int fds[2]), (domain, type, protocol, fds), FAULT_SOCKET,
     EMFILE, -1)
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags), (fd, msg, flags), FAULT_SOCKET,
     count_nth() % 2 ? EAGAIN : ENOBUFS, -1)
WRAP(ssize_t, recv, (int fd, void *to, size_t len, int flags), (fd, to, len, flags), FAULT_SOCKET,
     count_nth() % 2 ? EINTR : ECONNRESET, -1)

WRAP(int, posix_spawn_file_actions_init, (posix_spawn_file_actions_t * actions), (actions), FAULT_FORK, ENOMEM, ENOMEM)
WRAP(int, posix_spawn_file_actions_adddup2, (posix_spawn_file_actions_t * actions, int from, int to),
     (actions, from, to), FAULT_FORK, ENOMEM, ENOMEM)
WRAP(int, posix_spawn_file_actions_addclosefrom_np, (posix_spawn_file_actions_t * actions, int from), (actions, from),
     FAULT_FORK, ENOMEM, ENOMEM)
WRAP(int, posix_spawnattr_init, (posix_spawnattr_t * attr), (attr), FAULT_FORK, ENOMEM, ENOMEM)
WRAP(int, posix_spawnattr_setflags, (posix_spawnattr_t * attr, short flags), (attr, flags), FAULT_FORK, EINVAL, EINVAL)
WRAP(int, posix_spawnattr_setsigmask, (posix_spawnattr_t * attr, const sigset_t *set), (attr, set), FAULT_FORK, EINVAL,
     EINVAL)
WRAP(int, posix_spawnattr_setsigdefault, (posix_spawnattr_t * attr, const sigset_t *set), (attr, set), FAULT_FORK,
     EINVAL, EINVAL)
WRAP(int, posix_spawn,
     (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
      char *const argv[], char *const envp[]),
     (pid, path, actions, attr, argv, envp), FAULT_FORK, EAGAIN, EAGAIN)
WRAP(int, pthread_create,
     (pthread_t * thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg), (thread, attr, start, arg),
     FAULT_FORK, EAGAIN, EAGAIN)

WRAP(void *, mmap, (void *at, size_t len, int prot, int flags, int fd, off_t offset),
     (at, len, prot, flags, fd, offset), FAULT_FILE, ENOMEM, MAP_FAILED)
WRAP(int, posix_fallocate, (int fd, off_t offset, off_t len), (fd, offset, len), FAULT_FILE, ENOSPC, ENOSPC)
WRAP(int, renameat, (int from_fd, const char *from, int to_fd, const char *to), (from_fd, from, to_fd, to), FAULT_FILE,
     EIO, -1)
WRAP(int, renameat2, (int from_fd, const char *from, int to_fd, const char *to, unsigned flags),
     (from_fd, from, to_fd, to, flags), FAULT_FILE, EIO, -1)
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode), FAULT_FILE, EIO, -1)

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);

/* Ours only sets flags, and only on sockets. */
int __wrap_fcntl(int fd, int command, ...)
{
    va_list args;
    int flags;

    va_start(args, command);
    flags = va_arg(args, int);
    va_end(args);
    if (count_strikes(FAULT_SOCKET)) {
        errno = EPERM;
        return -1;
    }
    return __real_fcntl(fd, command, flags);
}

int __wrap_fsync(int fd);

/* No power cut here: a sync need not reach the disk. */
int __wrap_fsync(int fd)
{
    if (count_strikes(FAULT_FILE)) {
        errno = EIO;
        return -1;
    }
    return fd >= 0 ? 0 : -1;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);

int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (count_strikes(FAULT_FILE)) {
        errno = EMFILE;
        return -1;
    }
    return __real_open(path, flags, mode);
}

int __real_openat(int dir, const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...);

int __wrap_openat(int dir, const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (count_strikes(FAULT_FILE)) {
        errno = EMFILE;
        return -1;
    }
    return __real_openat(dir, path, flags, mode);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket calls of our objects and of libuv: these functions stand in the program, so the loader gives
 * them to the shared library too. Calls of glibc's own (getaddrinfo) are not seen. Spared:
 * - read and write on anything but sockets: libuv ends the process itself when its own event descriptor
 * fails;
 * - getsockopt(SO_ERROR) of libuv's, which does not look whether it worked;
 * - epoll_ctl: libuv ends the process when it fails. What watches a descriptor of ours, uv_poll_init, fails
 * instead.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <uv.h>

#include "tests/fault/countdown.h"

static bool strikes(int number)
{
    if (!count_strikes(FAULT_SOCKET))
        return false;
    errno = number;
    return true;
}

static bool is_socket(int fd)
{
    struct stat st;

    return !fstat(fd, &st) && S_ISSOCK(st.st_mode);
}

/* One that passes and one that does not, in turn. */
static int one_of(int passing, int lasting)
{
    return count_nth() % 2 ? passing : lasting;
}

/* ---- Making sockets ---- */

int socket(int domain, int type, int protocol)
{
    return strikes(EMFILE) ? -1 : (int)syscall(SYS_socket, domain, type, protocol);
}

int bind(int fd, __CONST_SOCKADDR_ARG addr, socklen_t len)
{
    return strikes(EADDRINUSE) ? -1 : (int)syscall(SYS_bind, fd, addr.__sockaddr__, len);
}

int listen(int fd, int backlog)
{
    return strikes(EADDRINUSE) ? -1 : (int)syscall(SYS_listen, fd, backlog);
}

int connect(int fd, __CONST_SOCKADDR_ARG addr, socklen_t len)
{
    return strikes(one_of(EAGAIN, ENETDOWN)) ? -1 : (int)syscall(SYS_connect, fd, addr.__sockaddr__, len);
}

int accept4(int fd, __SOCKADDR_ARG addr, socklen_t *len, int flags)
{
    return strikes(one_of(EMFILE, ECONNABORTED))
               ? -1
               : (int)syscall(SYS_accept4, fd, addr.__sockaddr__, len, flags);
}

int getsockname(int fd, __SOCKADDR_ARG addr, socklen_t *len)
{
    return strikes(ENOBUFS) ? -1 : (int)syscall(SYS_getsockname, fd, addr.__sockaddr__, len);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    return strikes(ENOPROTOOPT) ? -1 : (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    if (name != SO_ERROR && strikes(ENOBUFS))
        return -1;
    return (int)syscall(SYS_getsockopt, fd, level, name, value, len);
}

int shutdown(int fd, int how)
{
    return strikes(ENOTCONN) ? -1 : (int)syscall(SYS_shutdown, fd, how);
}

/* ---- Bytes ---- */

ssize_t read(int fd, void *to, size_t len)
{
    return is_socket(fd) && strikes(one_of(EAGAIN, ECONNRESET)) ? -1 : syscall(SYS_read, fd, to, len);
}

ssize_t write(int fd, const void *from, size_t len)
{
    return is_socket(fd) && strikes(one_of(EAGAIN, EPIPE)) ? -1 : syscall(SYS_write, fd, from, len);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return is_socket(fd) && strikes(one_of(EAGAIN, EPIPE)) ? -1 : syscall(SYS_writev, fd, parts, count);
}

ssize_t getrandom(void *out, size_t len, unsigned flags)
{
    if (count_strikes(FAULT_ENTROPY)) {
        errno = ENOSYS;
        return -1;
    }
    return syscall(SYS_getrandom, out, len, flags);
}

/* ---- What libuv asks of a descriptor ---- */

int ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    void *arg;

    va_start(args, request);
    arg = va_arg(args, void *);
    va_end(args);
    return is_socket(fd) && strikes(ENOTTY) ? -1 : (int)syscall(SYS_ioctl, fd, request, arg);
}

static int control(int fd, int command, va_list args)
{
    long arg = va_arg(args, long);

    return is_socket(fd) && strikes(EPERM) ? -1 : (int)syscall(SYS_fcntl, fd, command, arg);
}

int fcntl(int fd, int command, ...)
{
    va_list args;
    int rc;

    va_start(args, command);
    rc = control(fd, command, args);
    va_end(args);
    return rc;
}

int fcntl64(int fd, int command, ...)
{
    va_list args;
    int rc;

    va_start(args, command);
    rc = control(fd, command, args);
    va_end(args);
    return rc;
}

int epoll_create1(int flags)
{
    return strikes(EMFILE) ? -1 : (int)syscall(SYS_epoll_create1, flags);
}

int eventfd(unsigned value, int flags)
{
    return strikes(EMFILE) ? -1 : (int)syscall(SYS_eventfd2, value, flags);
}

int __real_uv_poll_init(uv_loop_t *loop, uv_poll_t *poll, int fd);
int __wrap_uv_poll_init(uv_loop_t *loop, uv_poll_t *poll, int fd);

int __wrap_uv_poll_init(uv_loop_t *loop, uv_poll_t *poll, int fd)
{
    return count_strikes(FAULT_SOCKET) ? UV_ENOSPC : __real_uv_poll_init(loop, poll, fd);
}

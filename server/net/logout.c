/* SPDX-License-Identifier: Apache-2.0 */
#include "server/net/logout.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static enum { OUT_PLAIN, OUT_SOCKET, OUT_POLLED } kind;
static int out = STDERR_FILENO;
static bool is_stalled; /* the last line was not taken */
static bool is_torn;    /* the last one that was, not to its end */

/* A second opening has flags of its own (proc(5), /proc/PID/fd). */
static void open_again(void)
{
    int fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    kind = fd < 0 ? OUT_POLLED : OUT_PLAIN;
    if (fd >= 0)
        out = fd;
}

void logout_start(void)
{
    struct stat st;

    if (out != STDERR_FILENO)
        close(out);
    out = STDERR_FILENO;
    kind = OUT_PLAIN;
    is_stalled = is_torn = false;
    if (fstat(STDERR_FILENO, &st))
        return;
    if (S_ISSOCK(st.st_mode))
        kind = OUT_SOCKET;
    else if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))
        open_again();
}

static bool is_writable(int wait_ms)
{
    struct pollfd fd = {.fd = out, .events = POLLOUT};

    return poll(&fd, 1, wait_ms) == 1;
}

/* Bytes taken; 0: none now. An error that stays takes all: there is nowhere to say so. */
static size_t offer(const char *bytes, size_t len)
{
    ssize_t n;

    if (kind == OUT_POLLED && !is_writable(0))
        return 0;
    do
        n = kind == OUT_SOCKET ? send(out, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) : write(out, bytes, len);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return (size_t)n;
    return errno == EAGAIN || errno == ENOBUFS ? 0 : len;
}

static size_t offer_patiently(const char *bytes, size_t len)
{
    size_t n = offer(bytes, len);

    if (n || is_stalled)
        return n;
    return is_writable(LOGOUT_PATIENCE_MS) ? offer(bytes, len) : 0;
}

bool logout_put(const char *line, size_t len)
{
    size_t n;

    if (is_torn)
        is_torn = offer_patiently("\n", 1) == 0;
    n = is_torn ? 0 : offer_patiently(line, len);
    is_torn |= n && n < len;
    is_stalled = n < len;
    return n == len;
}

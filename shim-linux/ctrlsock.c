/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/ctrlsock.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "shim-linux/stateblob.h"

/* The longest request and the longest answer, and what may have come behind a request. */
#define BUFFER_MAX (STATEBLOB_MAX + 4096u)
#define READ_MOST  4096u
/* In one message; the kernel closes what there is no room for, and says so. */
#define DESCRIPTORS_MOST 4
/* Between one piece of a request and the next. */
#define HALF_MS 2000

struct ctrlsock {
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned open_handles;
    int fd;
    int descriptor;         /* -1: none */
    bool has_several;
    bool is_busy;
    bool is_lost;           /* closed was called, or will be by the timer */
    const char *why;
    struct vt_buf in, out;
    struct ctrlsock_events events;
    void *ctx;
};

static void update(struct ctrlsock *s);

static void lose(struct ctrlsock *s, const char *why)
{
    s->is_lost = true;
    uv_poll_stop(&s->poll);
    uv_timer_stop(&s->timer);
    s->events.closed(s->ctx, why);
}

/* ---- Descriptors ---- */

void ctrlsock_forget_descriptors(struct ctrlsock *s)
{
    if (s->descriptor >= 0)
        close(s->descriptor);
    s->descriptor = -1;
    s->has_several = false;
}

int ctrlsock_take_descriptor(struct ctrlsock *s)
{
    int fd = s->has_several ? -1 : s->descriptor;

    if (fd >= 0)
        s->descriptor = -1;
    return fd;
}

static void keep_descriptor(struct ctrlsock *s, int fd)
{
    if (s->descriptor < 0 && !s->has_several) {
        s->descriptor = fd;
        return;
    }
    s->has_several = true;
    close(fd);
}

static void take_rights(struct ctrlsock *s, struct msghdr *msg)
{
    for (struct cmsghdr *at = CMSG_FIRSTHDR(msg); at; at = CMSG_NXTHDR(msg, at)) {
        size_t len = at->cmsg_len - CMSG_LEN(0);

        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i + sizeof(int) <= len; i += sizeof(int)) {
            int fd;

            memcpy(&fd, CMSG_DATA(at) + i, sizeof fd);
            keep_descriptor(s, fd);
        }
    }
    if (msg->msg_flags & MSG_CTRUNC)
        s->has_several = true;
}

/* ---- Reading and writing ---- */

static ssize_t receive(struct ctrlsock *s, uint8_t *at, size_t len)
{
    union {
        char room[CMSG_SPACE(DESCRIPTORS_MOST * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = at, .iov_len = len};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    ssize_t n = recvmsg(s->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

    if (n >= 0)
        take_rights(s, &msg);
    return n;
}

static bool passes(int err)
{
    return err == EAGAIN || err == EWOULDBLOCK || err == EINTR;
}

static void read_some(struct ctrlsock *s)
{
    size_t room = VT_MIN((size_t)READ_MOST, s->in.limit - vt_buf_size(&s->in));
    uint8_t *at;
    ssize_t n;

    if (!room || vt_buf_reserve(&s->in, room, &at)) {
        lose(s, room ? "out of memory" : "it sent more than any request has");
        return;
    }
    n = receive(s, at, room);
    if (n < 0 && passes(errno))
        return;
    if (n <= 0) {
        lose(s, n ? strerror(errno) : "closed by the monitor");
        return;
    }
    vt_buf_wrote(&s->in, (size_t)n);
    s->events.bytes(s->ctx);
}

/* False: not to be written to any more. */
static bool write_some(struct ctrlsock *s)
{
    ssize_t n;

    while (vt_buf_size(&s->out)) {
        n = send(s->fd, vt_buf_bytes(&s->out), vt_buf_size(&s->out), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return passes(errno);
        vt_buf_drop(&s->out, (size_t)n);
    }
    return true;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct ctrlsock *s = poll->data;

    if (status < 0 || ((events & UV_WRITABLE) && !write_some(s))) {
        lose(s, "it takes no answers");
        return;
    }
    if (events & UV_READABLE)
        read_some(s);
    else if (events & UV_DISCONNECT)
        lose(s, "closed by the monitor");
    else
        update(s);
}

static void on_timer(uv_timer_t *timer)
{
    struct ctrlsock *s = timer->data;

    lose(s, s->why ? s->why : "the rest of a request did not come");
}

static void update(struct ctrlsock *s)
{
    int events = (s->is_busy ? 0 : UV_READABLE) | UV_DISCONNECT | (vt_buf_size(&s->out) ? UV_WRITABLE : 0);

    if (!s->is_lost)
        uv_poll_start(&s->poll, events, on_poll);
}

void ctrlsock_wait(struct ctrlsock *s, bool is_half, bool is_busy)
{
    if (s->is_lost || s->why)
        return;
    s->is_busy = is_busy;
    if (is_half)
        uv_timer_start(&s->timer, on_timer, HALF_MS, 0);
    else
        uv_timer_stop(&s->timer);
    update(s);
}

void ctrlsock_send(struct ctrlsock *s, const uint8_t *head, size_t len, const uint8_t *tail, size_t tail_len)
{
    if (s->is_lost || s->why)
        return;
    if ((len && vt_buf_put(&s->out, head, len)) || (tail_len && vt_buf_put(&s->out, tail, tail_len)))
        s->why = "out of memory";
    else if (!write_some(s))
        s->why = "it takes no answers";
    /* From the loop: not within this call. */
    if (s->why)
        uv_timer_start(&s->timer, on_timer, 0, 0);
    else
        update(s);
}

struct vt_buf *ctrlsock_input(struct ctrlsock *s)
{
    return &s->in;
}

/* ---- Life ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct ctrlsock *s = handle->data;

    if (--s->open_handles)
        return;
    close(s->fd);
    vt_buf_free(&s->in);
    vt_buf_free(&s->out);
    vt_free(s);
}

int ctrlsock_new(struct ctrlsock **sock, uv_loop_t *loop, int fd, const struct ctrlsock_events *events, void *ctx)
{
    struct ctrlsock *s = VT_NEW(struct ctrlsock);

    if (!s || uv_poll_init(loop, &s->poll, fd)) {
        vt_free(s);
        close(fd);
        return s ? VT_EIO : VT_ENOMEM;
    }
    uv_timer_init(loop, &s->timer);
    s->poll.data = s->timer.data = s;
    s->open_handles = 2;
    s->fd = fd;
    s->descriptor = -1;
    s->events = *events;
    s->ctx = ctx;
    vt_buf_init(&s->in, BUFFER_MAX);
    vt_buf_init(&s->out, BUFFER_MAX);
    update(s);
    *sock = s;
    return VT_OK;
}

void ctrlsock_close(struct ctrlsock *s)
{
    if (!s)
        return;
    s->is_lost = true;
    (void)write_some(s);
    ctrlsock_forget_descriptors(s);
    uv_close((uv_handle_t *)&s->poll, on_handle_closed);
    uv_close((uv_handle_t *)&s->timer, on_handle_closed);
}

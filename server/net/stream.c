/* SPDX-License-Identifier: Apache-2.0 */
#include "server/net/stream.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/base/secret.h"

/* One for all: libuv asks for it, reads and hands it over without anything in between. Small enough that what
 * a peer has sent ahead fits into what a channel buffers. */
static uint8_t read_buffer[8192];

int net_stream_open(struct net_stream *s, uv_loop_t *uv, int fd, bool is_tcp,
                    const struct net_stream_ops *ops)
{
    int err;

    s->ops = ops;
    s->is_writing = s->is_closing = false;
    vt_buf_init(&s->writing, 0);
    uv_timer_init(uv, &s->timer);
    if (is_tcp)
        uv_tcp_init(uv, &s->u.tcp);
    else
        uv_pipe_init(uv, &s->u.pipe, 0);
    s->handles = 2;
    s->u.handle.data = s->timer.data = s->write.data = s;
    err = is_tcp ? uv_tcp_open(&s->u.tcp, fd) : uv_pipe_open(&s->u.pipe, fd);
    if (err) {
        close(fd);
        return VT_EIO;
    }
    return VT_OK;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init((char *)read_buffer, sizeof read_buffer);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct net_stream *s = stream->data;

    (void)buf;
    if (s->is_closing)
        return;
    if (n < 0) {
        uv_read_stop(stream);
        s->ops->on_end(s);
    } else if (n > 0) {
        s->ops->on_bytes(s, read_buffer, (size_t)n);
        vt_wipe(read_buffer, (size_t)n);
    }
}

void net_stream_read(struct net_stream *s, bool on)
{
    if (s->is_closing)
        return;
    /* Starting one that reads already is UV_EALREADY: that is what was wanted. */
    if (on)
        (void)!uv_read_start(&s->u.stream, on_alloc, on_read);
    else
        uv_read_stop(&s->u.stream);
}

static void on_written(uv_write_t *req, int status)
{
    struct net_stream *s = req->data;

    s->is_writing = false;
    vt_buf_free(&s->writing);
    if (s->is_closing)
        return;
    if (status)
        s->ops->on_end(s);
    else
        s->ops->on_sent(s);
}

/* The bytes move over: a message sent meanwhile may move what stays in `out`. */
static int send_later(struct net_stream *s, struct vt_buf *out)
{
    uv_buf_t buf;

    s->writing = *out;
    vt_buf_init(out, s->writing.limit);
    buf = uv_buf_init((char *)s->writing.data + s->writing.off, (unsigned)vt_buf_size(&s->writing));
    if (uv_write(&s->write, &s->u.stream, &buf, 1, on_written)) {
        vt_buf_free(&s->writing);
        return VT_EIO;
    }
    s->is_writing = true;
    return VT_EAGAIN;
}

int net_stream_send(struct net_stream *s, struct vt_buf *out)
{
    uv_buf_t buf;
    int n;

    if (s->is_closing)
        return VT_EIO;
    if (s->is_writing)
        return VT_EAGAIN;
    if (!vt_buf_size(out))
        return VT_OK;
    buf = uv_buf_init((char *)out->data + out->off, (unsigned)vt_buf_size(out));
    n = uv_try_write(&s->u.stream, &buf, 1);
    if (n < 0 && n != UV_EAGAIN)
        return VT_EIO;
    if (n > 0)
        vt_buf_drop(out, (size_t)n);
    return vt_buf_size(out) ? send_later(s, out) : VT_OK;
}

bool net_stream_is_shut(const struct net_stream *s)
{
    struct pollfd look = {.events = POLLRDHUP};

    if (s->is_closing || uv_fileno(&s->u.handle, &look.fd))
        return true;
    return poll(&look, 1, 0) > 0 && look.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

void net_stream_half_close(struct net_stream *s)
{
    uv_os_fd_t fd;

    if (!s->is_closing && !uv_fileno(&s->u.handle, &fd))
        shutdown(fd, SHUT_WR);
}

static void on_timer(uv_timer_t *timer)
{
    struct net_stream *s = timer->data;

    if (!s->is_closing)
        s->ops->on_deadline(s);
}

void net_stream_deadline(struct net_stream *s, uint64_t delay_ms)
{
    if (s->is_closing)
        return;
    /* Else it would count from the begin of this turn of the loop, which may be long ago. */
    uv_update_time(s->timer.loop);
    uv_timer_start(&s->timer, on_timer, delay_ms, 0);
}

void net_stream_no_deadline(struct net_stream *s)
{
    uv_timer_stop(&s->timer);
}

static void on_closed(uv_handle_t *handle)
{
    struct net_stream *s = handle->data;

    if (--s->handles == 0)
        s->ops->on_gone(s);
}

void net_stream_close(struct net_stream *s)
{
    if (s->is_closing)
        return;
    s->is_closing = true;
    uv_close(&s->u.handle, on_closed);
    uv_close((uv_handle_t *)&s->timer, on_closed);
}

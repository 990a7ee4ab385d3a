/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/datasock.h"

#include <sys/socket.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/buf.h"
#include "server/base/log.h"
#include "server/base/secret.h"

#define HEADER     10 /* tag 2, size 4, ordinal 4 */
#define SIZE_END   6
#define INPUT_MAX  (2 * DATASOCK_COMMAND_MAX)
#define UNSENT_MAX (64u * 1024)

struct datasock {
    union stream stream;
    struct datasock_events events;
    void *ctx;
    struct vt_buf in;
    bool is_paused;
    bool has_complained;
    char receive[DATASOCK_COMMAND_MAX];
};

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void on_alloc(uv_handle_t *handle, size_t size VT_UNUSED, uv_buf_t *buf)
{
    struct datasock *d = VT_CONTAINER(handle, struct datasock, stream);
    size_t room = d->in.limit - vt_buf_size(&d->in);

    *buf = uv_buf_init(d->receive, (unsigned)VT_MIN(room, sizeof d->receive));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct datasock *d = VT_CONTAINER(stream, struct datasock, stream);
    int err = n > 0 ? vt_buf_put(&d->in, buf->base, (size_t)n) : VT_OK;

    if (n > 0)
        vt_wipe(buf->base, (size_t)n);
    if (n < 0 || err) {
        (void)uv_read_stop(stream);
        d->events.closed(d->ctx);
        return;
    }
    if (vt_buf_size(&d->in) == d->in.limit) {
        d->is_paused = true;
        (void)uv_read_stop(stream);
    }
    d->events.ready(d->ctx);
}

/* ---- Commands ---- */

/* Of the guest's making: where its next command begins is where the monitor's next write does. */
static void refuse_size(struct datasock *d, uint32_t size)
{
    static const uint8_t bad_size[HEADER] = {0x00, 0xc4, 0, 0, 0, HEADER, 0, 0, 0, 0x19};

    if (!d->has_complained)
        vt_warning("swtpm: a command of size %u (10 to %d): TPM_BAD_PARAM_SIZE; said once", size, DATASOCK_COMMAND_MAX);
    d->has_complained = true;
    datasock_drop(d, vt_buf_size(&d->in));
    datasock_send(d, bad_size, sizeof bad_size);
}

bool datasock_next(struct datasock *d, const uint8_t **command, size_t *len)
{
    const uint8_t *at = vt_buf_bytes(&d->in);
    size_t left = vt_buf_size(&d->in);
    uint32_t size;

    if (left < SIZE_END)
        return false;
    size = (uint32_t)at[2] << 24 | (uint32_t)at[3] << 16 | (uint32_t)at[4] << 8 | at[5];
    if (size < HEADER || size > DATASOCK_COMMAND_MAX) {
        refuse_size(d, size);
        return false;
    }
    *command = at;
    *len = size;
    return left >= size;
}

void datasock_drop(struct datasock *d, size_t len)
{
    vt_buf_drop(&d->in, len);
    if (!vt_buf_size(&d->in))
        vt_buf_free(&d->in);
    if (d->is_paused && uv_read_start(&d->stream.stream, on_alloc, on_read) == 0)
        d->is_paused = false;
}

void datasock_send(struct datasock *d, const uint8_t *response, size_t len)
{
    if (stream_write(&d->stream, response, len) || uv_stream_get_write_queue_size(&d->stream.stream) > UNSENT_MAX)
        stream_cut(&d->stream);
}

/* ---- Life ---- */

static void on_closed(uv_handle_t *handle)
{
    struct datasock *d = VT_CONTAINER(handle, struct datasock, stream);

    vt_buf_free(&d->in);
    vt_free_wiped(d, sizeof *d);
}

void datasock_close(struct datasock *d)
{
    if (d)
        stream_finish(&d->stream, on_closed);
}

static struct datasock *make(const struct datasock_events *events, void *ctx)
{
    struct datasock *d = VT_NEW(struct datasock);

    if (!d)
        return NULL;
    d->events = *events;
    d->ctx = ctx;
    vt_buf_init(&d->in, INPUT_MAX);
    return d;
}

static bool is_connected_stream(int fd)
{
    struct sockaddr_storage peer;
    int domain = 0, type = 0;
    socklen_t len = sizeof domain, peer_len = sizeof peer;

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM &&
           getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0;
}

int datasock_open(struct datasock **sock, uv_loop_t *loop, int fd, const struct datasock_events *events, void *ctx)
{
    struct datasock *d = is_connected_stream(fd) ? make(events, ctx) : NULL;

    if (!d) {
        int err = is_connected_stream(fd) ? VT_ENOMEM : VT_EUSAGE;
        close(fd);
        return err;
    }
    (void)uv_pipe_init(loop, &d->stream.pipe, 0);
    if (uv_pipe_open(&d->stream.pipe, fd)) {
        close(fd);
        datasock_close(d);
        return VT_EIO;
    }
    if (uv_read_start(&d->stream.stream, on_alloc, on_read)) {
        datasock_close(d);
        return VT_EIO;
    }
    *sock = d;
    return VT_OK;
}

int datasock_accept(struct datasock **sock, struct listening *at, const struct datasock_events *events, void *ctx)
{
    struct datasock *d = make(events, ctx);

    if (!d)
        return VT_ENOMEM;
    if (listening_init(at, &d->stream)) {
        vt_free(d);
        return VT_EIO;
    }
    if (uv_accept(&at->stream.stream, &d->stream.stream) || uv_read_start(&d->stream.stream, on_alloc, on_read)) {
        datasock_close(d);
        return VT_EIO;
    }
    if (at->stream.handle.type == UV_TCP)
        (void)uv_tcp_nodelay(&d->stream.tcp, 1);
    *sock = d;
    return VT_OK;
}

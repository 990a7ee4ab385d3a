/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/stream.h"

#include <sys/socket.h>

#include "server/base/alloc.h"

struct write {
    uv_write_t req;
    uint8_t bytes[];
};

struct finish {
    uv_shutdown_t req;
    uv_close_cb on_close;
};

void stream_cut(const union stream *stream)
{
    uv_os_fd_t fd;

    if (uv_fileno(&stream->handle, &fd) == 0)
        (void)shutdown(fd, SHUT_RDWR);
}

static void on_written(uv_write_t *req, int status)
{
    if (status && !uv_is_closing((uv_handle_t *)req->handle))
        stream_cut(VT_CONTAINER(req->handle, union stream, stream));
    vt_free(VT_CONTAINER(req, struct write, req));
}

static int queue(union stream *stream, const uint8_t *bytes, size_t len)
{
    struct write *write = vt_calloc(1, sizeof *write + len);
    uv_buf_t buf;

    if (!write)
        return VT_ENOMEM;
    memcpy(write->bytes, bytes, len);
    buf = uv_buf_init((char *)write->bytes, (unsigned)len);
    if (uv_write(&write->req, &stream->stream, &buf, 1, on_written)) {
        vt_free(write);
        return VT_EIO;
    }
    return VT_OK;
}

int stream_write(union stream *stream, const void *bytes, size_t len)
{
    const uint8_t *from = bytes;
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)from, (unsigned)len);
    int n = len ? uv_try_write(&stream->stream, &buf, 1) : 0;

    if (n < 0 && n != UV_EAGAIN)
        return VT_EIO;
    n = n < 0 ? 0 : n;
    return (size_t)n == len ? VT_OK : queue(stream, from + n, len - (size_t)n);
}

static void on_shutdown(uv_shutdown_t *req, int status VT_UNUSED)
{
    struct finish *finish = VT_CONTAINER(req, struct finish, req);

    if (!uv_is_closing((uv_handle_t *)req->handle))
        uv_close((uv_handle_t *)req->handle, finish->on_close);
    vt_free(finish);
}

void stream_finish(union stream *stream, uv_close_cb on_close)
{
    struct finish *finish = NULL;

    if (uv_is_closing(&stream->handle))
        return;
    (void)uv_read_stop(&stream->stream);
    if (uv_stream_get_write_queue_size(&stream->stream))
        finish = VT_NEW(struct finish);
    if (finish) {
        finish->on_close = on_close;
        if (uv_shutdown(&finish->req, &stream->stream, on_shutdown) == 0)
            return;
        vt_free(finish);
    }
    uv_close(&stream->handle, on_close);
}

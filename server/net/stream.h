/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connected socket on the loop with one deadline: what channels and administrators' connections share.
 * Embedded in its user, who frees it in on_gone and nowhere else (libuv still holds its handles until then).
 * Loop thread.
 */
#ifndef VTPM_NET_STREAM_H
#define VTPM_NET_STREAM_H

#include <uv.h>

#include "server/base/buf.h"

struct net_stream;

struct net_stream_ops {
    void (*on_bytes)(struct net_stream *stream, const uint8_t *bytes, size_t len);
    void (*on_end)(struct net_stream *stream);  /* the peer closed, or the transport failed */
    void (*on_sent)(struct net_stream *stream); /* what net_stream_send left pending is out */
    void (*on_deadline)(struct net_stream *stream);
    void (*on_gone)(struct net_stream *stream); /* after net_stream_close: the last call */
};

struct net_stream {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } u;
    uv_timer_t timer;
    uv_write_t write;
    struct vt_buf writing; /* libuv reads from it while is_writing */
    int handles;
    bool is_writing;
    bool is_closing;
    const struct net_stream_ops *ops;
};

/* Takes fd. After an error too the stream ends with net_stream_close and on_gone. Does not read yet. */
int net_stream_open(struct net_stream *stream, uv_loop_t *uv, int fd, bool is_tcp,
                    const struct net_stream_ops *ops) VT_USE_RESULT;
void net_stream_read(struct net_stream *stream, bool on);
/* Sends what can be sent at once; the rest is taken out of `out` and goes later (VT_EAGAIN, then on_sent).
 * While something is pending `out` is left alone. VT_EIO: the transport is gone. */
int net_stream_send(struct net_stream *stream, struct vt_buf *out) VT_USE_RESULT;
/* The peer will send no more: its side is shut, or it is gone. */
bool net_stream_is_shut(const struct net_stream *stream);
/* No more will be sent: the peer sees the end after what it was sent. */
void net_stream_half_close(struct net_stream *stream);
/* on_deadline after delay_ms, in place of an earlier one. Never from within this call. */
void net_stream_deadline(struct net_stream *stream, uint64_t delay_ms);
void net_stream_no_deadline(struct net_stream *stream);
/* Harmless when called again. */
void net_stream_close(struct net_stream *stream);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What a front end's clients and the upstream have in common: a libuv stream that is written without waiting. */
#ifndef VTPM_SHIM_STREAM_H
#define VTPM_SHIM_STREAM_H

#include <uv.h>

#include "server/base/err.h"

union stream {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
};

/*
 * Writes now what the kernel takes and queues a copy of the rest. VT_EIO: the peer is gone; VT_ENOMEM: bytes are
 * missing from here on. What fails later cuts the stream.
 */
int stream_write(union stream *stream, const void *bytes, size_t len) VT_USE_RESULT;
/* Neither side sends any more: the reading side tells so, on the loop. */
void stream_cut(const union stream *stream);
/* Closes once what is queued has been sent; on_close runs on the loop, not within this call. */
void stream_finish(union stream *stream, uv_close_cb on_close);

#endif

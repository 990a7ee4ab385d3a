/* SPDX-License-Identifier: Apache-2.0 */
/* Where a front end's clients connect: a Unix socket of owner and group, or TCP. Loop thread. */
#ifndef VTPM_SHIM_LISTENING_H
#define VTPM_SHIM_LISTENING_H

#include "shim-linux/endpoint.h"
#include "shim-linux/stream.h"

/* All zero: not listening. */
struct listening {
    union stream stream;
    bool is_open;
    char where[ENDPOINT_TEXT]; /* "tcp:127.0.0.1:40123" when the system chose the port, else "" */
};

/*
 * `unix:PATH` (a socket file on which nobody answers is replaced) or `tcp:ADDR:PORT` (port 0: any). on_connection gets
 * &at->stream.stream. VT_EUSAGE, VT_EIO, VT_EEXISTS, VT_ECONFLICT; then too listening_stop.
 */
int listening_start(struct listening *at, uv_loop_t *loop, const char *spec, uv_connection_cb on_connection,
                    struct vt_why *why) VT_USE_RESULT;
void listening_stop(struct listening *at);
/* A handle of the same kind, for uv_accept; an error of libuv. */
int listening_init(const struct listening *at, union stream *client) VT_USE_RESULT;

#endif

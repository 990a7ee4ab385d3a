/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way to the server: one connection at a time over one of several kinds of transport (a table in upstream.c).
 * Loop thread.
 */
#ifndef VTPM_SHIM_UPSTREAM_H
#define VTPM_SHIM_UPSTREAM_H

#include <uv.h>

#include "server/base/buf.h"

struct upstream;

/* After `closed` there is no connection until upstream_connect. None is called within a call of ours. */
struct upstream_events {
    void (*connected)(void *ctx);
    void (*bytes)(void *ctx, const uint8_t *bytes, size_t len);
    void (*closed)(void *ctx, const char *reason);
};

/* Whether the value of --upstream is well formed, and of a kind that is in this build and can be on this host. VT_EUSAGE. */
int upstream_check(const char *spec, struct vt_why *why) VT_USE_RESULT;
/* Checks the rest of the value too and connects nothing yet. VT_EUSAGE, VT_ENOMEM. Returns owned. */
int upstream_new(struct upstream **up, uv_loop_t *loop, const char *spec, const struct upstream_events *events,
                 void *ctx, struct vt_why *why) VT_USE_RESULT;
/* No connection may be there (upstream_close); what the loop still has to close holds nothing of it. May be NULL. */
void upstream_free(struct upstream *up);

/* VT_OK: connected or closed will follow. */
int upstream_connect(struct upstream *up, struct vt_why *why) VT_USE_RESULT;
/* Takes the bytes out of the buffer. Errors show up as `closed`. */
void upstream_send(struct upstream *up, struct vt_buf *out);
/* Sends what is queued, then closes; no event follows. Also ends an attempt to connect. */
void upstream_close(struct upstream *up);

#endif

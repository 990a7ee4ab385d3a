/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection of a control channel: bytes, and the descriptors that come with them (SCM_RIGHTS), which no stream of
 * libuv's gives out one by one. A descriptor that nobody takes is closed. Loop thread.
 */
#ifndef VTPM_SHIM_CTRLSOCK_H
#define VTPM_SHIM_CTRLSOCK_H

#include <uv.h>

#include "server/base/buf.h"

struct ctrlsock;

/* None is called within a call of ours. */
struct ctrlsock_events {
    void (*bytes)(void *ctx);  /* there are more of them in the buffer */
    void (*closed)(void *ctx, const char *why); /* the peer is gone, or was cut off: ctrlsock_close is next */
};

/* Takes fd, also on errors. VT_ENOMEM, VT_EIO. Returns owned (ctrlsock_close). */
int ctrlsock_new(struct ctrlsock **sock, uv_loop_t *loop, int fd, const struct ctrlsock_events *events, void *ctx)
    VT_USE_RESULT;
struct vt_buf *ctrlsock_input(struct ctrlsock *sock);
/*
 * What follows from the buffer: is_half: a request has begun, and the rest must come soon, or the peer is cut off; else
 * is_busy: one is under way, nothing more is read, but it is noticed when the peer goes.
 */
void ctrlsock_wait(struct ctrlsock *sock, bool is_half, bool is_busy);
/* The one descriptor that came since the last forgetting; owned. -1: none, or several (which are closed). */
int ctrlsock_take_descriptor(struct ctrlsock *sock) VT_USE_RESULT;
void ctrlsock_forget_descriptors(struct ctrlsock *sock);
/*
 * Sends or queues, both in one write: swtpm_ioctl reads an answer once. What fails shows up as `closed`.
 */
void ctrlsock_send(struct ctrlsock *sock, const uint8_t *head, size_t len, const uint8_t *tail, size_t tail_len);
/* Takes sock; what is queued is still sent as far as the peer takes it at once. No event follows. May be NULL. */
void ctrlsock_close(struct ctrlsock *sock);

#endif

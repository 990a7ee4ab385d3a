/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data channel of a monitor: TPM commands on a stream, one at a time. A command whose size cannot be is answered
 * here and the channel goes on: behind it is a guest, which writes what it likes, and a monitor, which never connects
 * again. Loop thread.
 */
#ifndef VTPM_SHIM_DATASOCK_H
#define VTPM_SHIM_DATASOCK_H

#include "shim-linux/listening.h"

#define DATASOCK_COMMAND_MAX 4096

struct datasock;

/* None is called within a call of ours. */
struct datasock_events {
    void (*ready)(void *ctx); /* datasock_next has a command */
    void (*closed)(void *ctx); /* datasock_close is next */
};

/* Takes fd, also on errors. VT_EUSAGE: no connected Unix stream socket; VT_ENOMEM, VT_EIO. Returns owned. */
int datasock_open(struct datasock **sock, uv_loop_t *loop, int fd, const struct datasock_events *events, void *ctx)
    VT_USE_RESULT;
/* The connection that waits at the listener. VT_ENOMEM, VT_EIO. Returns owned. */
int datasock_accept(struct datasock **sock, struct listening *at, const struct datasock_events *events, void *ctx)
    VT_USE_RESULT;
/* The whole command at the read end; borrowed until datasock_drop, which takes it away. */
bool datasock_next(struct datasock *sock, const uint8_t **command, size_t *len) VT_USE_RESULT;
void datasock_drop(struct datasock *sock, size_t len);
/* What fails shows up as `closed`. */
void datasock_send(struct datasock *sock, const uint8_t *response, size_t len);
/* Takes sock; what is queued is still sent. May be NULL. */
void datasock_close(struct datasock *sock);

#endif

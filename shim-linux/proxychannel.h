/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptor behind one /dev/tpmN: a whole command per read, a whole response per write, one at a time. Answers
 * here what the TPM never sees: the kernel's own command that sets the locality, and what is no command. A response
 * that the kernel no longer waits for is dropped. Loop thread.
 */
#ifndef VTPM_SHIM_PROXYCHANNEL_H
#define VTPM_SHIM_PROXYCHANNEL_H

#include "shim-linux/lane.h"

struct proxychannel;

/* None is called within a call of ours. */
struct proxychannel_events {
    void (*command)(void *ctx);                   /* proxychannel_take has one */
    void (*gone)(void *ctx, const char *reason);  /* the kernel has removed the device; once. Close the channel */
};

/* Takes fd, on errors too. Borrows events for life. VT_ENOMEM, VT_EIO. Returns owned (proxychannel_close). */
int proxychannel_new(struct proxychannel **channel, uv_loop_t *loop, int fd, const struct proxychannel_events *events,
                     void *ctx, struct vt_why *why) VT_USE_RESULT;
/* False: none. The command's bytes are valid until it is answered. */
bool proxychannel_take(struct proxychannel *channel, struct courier_request *request);
/* To what was taken last. */
void proxychannel_respond(struct proxychannel *channel, const uint8_t *bytes, size_t len);
/* Closes the descriptor on the loop: the device goes. */
void proxychannel_close(struct proxychannel *channel);

#endif

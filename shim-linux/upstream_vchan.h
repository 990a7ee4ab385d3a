/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way to a server in another Xen domain: a connection is made on server/xen's thread, since it asks xenstore, and
 * is an ordinary stream from then on. Loop thread.
 */
#ifndef VTPM_SHIM_UPSTREAM_VCHAN_H
#define VTPM_SHIM_UPSTREAM_VCHAN_H

#include <uv.h>

#include "server/base/err.h"

struct vchan_dial;

/* "DOMID", decimal; and whether vchans can be at all: in this build, on this host. VT_EUSAGE. */
int upstream_vchan_parse(uint32_t *domid, const char *rest, struct vt_why *why) VT_USE_RESULT;
/* Who dials enters before and leaves afterwards: what all dials share lives in between. */
void upstream_vchan_enter(void);
void upstream_vchan_leave(void);

/* fd: takes; -1: why not. The dial is gone when it is called. */
typedef void (*vchan_dial_fn)(void *arg, int fd, const char *reason);
/* One attempt; fn will follow, unless it is cancelled. */
int vchan_dial(struct vchan_dial **dial, uv_loop_t *loop, uint32_t domid, vchan_dial_fn fn, void *arg,
               struct vt_why *why) VT_USE_RESULT;
void vchan_dial_cancel(struct vchan_dial *dial);

#endif

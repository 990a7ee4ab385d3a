/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Xenstore, kept away from the loop: a thread of its own reads, writes and watches, since libxenstore waits for every
 * answer. It knows which vTPM devices this domain is the back end of, and tells the loop what their nodes say, afresh
 * after every change. What a front end wrote is the guest's word: it leaves here as numbers within bounds.
 *
 * When xenstore is lost nothing is said of the devices; the thread tries to reach it again and then tells all of them.
 * Loop thread, except where it says otherwise.
 */
#ifndef VTPM_SHIM_XENSTORE_H
#define VTPM_SHIM_XENSTORE_H

#include <uv.h>

#include "proto/xendevices.h"

struct xenstore;

/* Grants and event channels are limited, and only the toolstack makes devices: this bounds its mistakes. */
#define XENSTORE_DEVICES_MAX 1024

struct xenstore_events {
    void (*device)(void *ctx, const struct xenstore_device *device);
    /* Every device that exists has been told, for the first time. */
    void (*scanned)(void *ctx);
    void *ctx;
};

/*
 * Starts the thread and waits, for some seconds, until it has reached xenstore and read what is there. VT_EUNREACHED
 * with a reason; VT_ENOMEM. Returns owned (xenstore_close, then xenstore_free), on errors too unless NULL.
 */
int xenstore_open(struct xenstore **store, uv_loop_t *loop, const struct xenstore_events *events,
                  struct vt_why *why) VT_USE_RESULT;
/* No event follows. */
void xenstore_close(struct xenstore *store);
/* The loop has run the close callbacks. A thread that xenstore keeps waiting is left behind. May be NULL. */
void xenstore_free(struct xenstore *store);

/*
 * Queues: BACK/state = state, with feature-protocol-v2 = 1 before it if publish is set; state 0: that only. Never makes
 * a node of a device that the toolstack has removed. Done again, as long as it takes, when xenstore is lost. False: out
 * of memory.
 */
bool xenstore_write(struct xenstore *store, uint32_t domid, uint32_t devid, bool publish, int state)
    VT_USE_RESULT;
/* Nothing more is told of this device, until it is made anew. */
void xenstore_forget(struct xenstore *store, uint32_t domid, uint32_t devid);

#endif

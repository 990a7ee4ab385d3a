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

#include "server/base/err.h"
#include "server/base/text.h"

struct xenstore;

/* Grants and event channels are limited, and only the toolstack makes devices: this bounds its mistakes. */
#define XENSTORE_DEVICES_MAX 1024
#define XENSTORE_DOMAIN_MAX  8

/* BACK is /local/domain/SELF/backend/vtpm/DOMID/DEVID, FRONT what its node `frontend` names. */
struct xenstore_device {
    uint32_t domid, devid;
    uint64_t writes;        /* how many xenstore_write of this device had been done when it was read */
    int back, front;        /* states, as xenback_state gives them */
    bool online;
    bool has_uuid;          /* BACK/uuid is a uuid */
    struct vt_uuid uuid;
    bool has_ring;          /* FRONT/ring-ref and event-channel are there, well-formed */
    uint32_t ring_ref, event_channel;
    bool domain_gone;       /* as the hypervisor's own event told xenstore; stays so */
};

struct xenstore_events {
    /* None of ours was written since it was read. */
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
 * a node of a device that the toolstack has removed. Done again, as long as it takes, when xenstore is lost.
 */
void xenstore_write(struct xenstore *store, uint32_t domid, uint32_t devid, bool publish, int state);
/* Nothing more is told of this device, until it is made anew. */
void xenstore_forget(struct xenstore *store, uint32_t domid, uint32_t devid);

#endif

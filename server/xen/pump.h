/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moves bytes between vchans and socket pairs, on one thread of its own. Nothing in here waits: libxenvchan is used
 * without blocking, sockets too, and no call that asks xenstore is made. Each channel has two buffers of fixed size and
 * a turn of bounded length; so whatever the other domain writes into a ring holds up nobody but itself.
 *
 * What is read from a ring is the other domain's word. Indexes that no honest writer makes (more bytes ready than the
 * ring holds) libxenvchan takes for "0 bytes" for ever; here they end the channel, at the next event or tick.
 *
 * The order at an end: what the other domain wrote before it went is still delivered, then the socket is closed; what
 * was written to the socket before it was closed goes into the ring first, for VCHAN_DRAIN_MS at most.
 */
#ifndef VTPM_XEN_PUMP_H
#define VTPM_XEN_PUMP_H

#include "server/base/err.h"
#include "server/base/list.h"

struct libxenvchan;
struct vchan_pump;

#define VCHAN_CHUNK    4096
#define VCHAN_TICK_MS  2000 /* for what no event tells: corrupt indexes, a client that connects and says nothing */
#define VCHAN_DRAIN_MS 5000

enum vchan_over {
    VCHAN_OVER_USER,    /* the socket was closed from above */
    VCHAN_OVER_PEER,    /* the other domain closed, or its process died */
    VCHAN_OVER_CORRUPT, /* impossible ring indexes */
    VCHAN_OVER_STUCK,   /* closing, and the other side did not take the rest in time */
    VCHAN_OVER_DROPPED, /* vchan_pump_drop, or the pump ends */
    VCHAN_OVER_FAILED,  /* of this host: descriptors, memory, the event channel's device */
};
const char *vchan_over_text(enum vchan_over how);

/* Both on the pump's thread; neither may wait, nor call the pump but to drop. */
struct vchan_end_ops {
    /* Someone connected to an end that was offered. Takes fd. False: not wanted (VCHAN_OVER_DROPPED follows). */
    bool (*connected)(void *arg, int fd);
    /* The last call: the pump has let go of the end, its descriptor is closed; the vchan is the owner's to close. */
    void (*over)(void *arg, enum vchan_over how);
};

struct vchan_flow {
    uint8_t bytes[VCHAN_CHUNK];
    size_t at, len; /* still to go: bytes[at..len) */
};

/* One vchan. Embedded in its owner; all but the first four members are the pump's. */
struct vchan_end {
    struct libxenvchan *chan; /* not blocking; from vchan_pump_add until `over` the pump's alone */
    int fd;                   /* of a connected end: our side of the socket pair; -1: offered, nobody there yet */
    const struct vchan_end_ops *ops;
    void *arg;
    struct vt_list node;
    struct vchan_flow in, out; /* from the ring, to the ring */
    int64_t closing_ms;        /* since when one side is gone; 0: none is */
    bool ring_over, user_over;
    bool user_hung_up; /* closed, with bytes of it still to be read */
    bool is_ready;             /* a turn ended before there was nothing more to do */
    bool is_dropped;           /* under the pump's lock */
};

int vchan_pump_new(struct vchan_pump **pump, struct vt_why *why) VT_USE_RESULT;
/* What was written to sockets that were closed is still sent, for a moment; then ends what is left (VCHAN_OVER_DROPPED)
 * and joins the thread. May be NULL. Not on the pump's thread. */
void vchan_pump_free(struct vchan_pump *pump);
/* Any thread. `over` will follow, whatever happens. */
void vchan_pump_add(struct vchan_pump *pump, struct vchan_end *end);
/* Any thread, while `over` has not been called. What is buffered is lost. */
void vchan_pump_drop(struct vchan_pump *pump, struct vchan_end *end);

/* A pair of sockets for an end and whoever uses it; non-blocking, small buffers. VT_EIO. */
int vchan_socketpair(int fds[2], struct vt_why *why) VT_USE_RESULT;
/* Monotonic, never 0. */
int64_t vchan_now_ms(void);

#endif

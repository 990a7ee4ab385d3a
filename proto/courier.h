/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives a relay: commands from a source to the server, responses back, connections made and closed as the relay says.
 * Without I/O and without timers, so that every shim has the same one: the Linux shim's lane stands on it with libuv,
 * the Mini-OS shim's with nothing. One thread.
 *
 *   after every event of the source or of the connection, and at *wake_ms at the latest:   courier_drive
 */
#ifndef VTPM_PROTO_COURIER_H
#define VTPM_PROTO_COURIER_H

#include "proto/relay.h"

/* What a source wants done: a command, or a monitor's deed. */
struct courier_request {
    const struct relay_deed *deed; /* NULL: a command, which is below; borrowed during the call */
    uint32_t locality;
    const uint8_t *bytes; /* a whole command of 10 to 4096 bytes; borrowed during the call */
    size_t len;
};

/* Borrowed during the call. */
struct courier_response {
    const struct relay_result *result; /* of a deed; NULL: a command's response is below */
    const uint8_t *bytes;
    size_t len;
    struct relay_position position; /* for who keeps a journal */
};

/* None of them may call courier_drive; relay_disconnected is not called back from connect, which returns an error. */
struct courier_ops {
    uint64_t (*now_ms)(void);
    /* False: the source has none now. */
    bool (*take)(void *ctx, struct courier_request *request);
    /* To what was taken last, or was under way from the start. False: not now; it is offered again. */
    bool (*respond)(void *ctx, const struct courier_response *response);
    /* Begins to connect; relay_connected or relay_disconnected follow, from whoever has the connection. */
    int (*connect)(void *ctx, struct vt_why *why);
    void (*disconnect)(void *ctx);
    /* Sends what it can now and drops that from out; the rest is offered again at the next drive. */
    void (*send)(void *ctx, struct vt_buf *out);
};

struct courier {
    struct relay *relay; /* borrowed */
    const struct courier_ops *ops;
    void *ctx;
    const char *label;   /* for the log; borrowed */
    /* Set before each drive. */
    bool is_leaving;     /* takes no more; detaches when nothing is in the way */
    bool finishes;       /* and waits, until leave_by_ms, for the answer to what is under way on this connection */
    bool off;            /* and powers off, if it still has the instance */
    uint64_t leave_by_ms;
    bool not_taken;      /* the response was offered in vain; its own */
};

/* True: the relay has ended, relay_ended says why, and the connection is closed. *wake_ms: UINT64_MAX: never. */
bool courier_drive(struct courier *courier, uint64_t *wake_ms) VT_USE_RESULT;

#endif

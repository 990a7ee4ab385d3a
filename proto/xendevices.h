/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vTPM devices of one back end: each with its xenbus state, its ring while it is connected, and its way to the
 * server. What the instance is comes from the toolstack's nodes alone. One device at a time serves an instance: another
 * one of the same uuid waits until the first is gone. No I/O and no clock of its own: rings, nodes and lanes are the
 * shim's, by struct xendevices_ops, so that the Linux and the Mini-OS shim go through the same courses. One thread.
 */
#ifndef VTPM_PROTO_XENDEVICES_H
#define VTPM_PROTO_XENDEVICES_H

#include "proto/xenback.h"
#include "server/base/err.h"
#include "server/base/list.h"
#include "server/base/text.h"

#define XENSTORE_NAME 65 /* of a domain, with its NUL */

/* BACK is /local/domain/SELF/backend/vtpm/DOMID/DEVID, FRONT what its node `frontend` names. */
struct xenstore_device {
    uint32_t domid, devid;
    uint64_t writes;        /* how many writes of this device had been done when it was read */
    int back, front;        /* states, as xenback_state gives them */
    bool online;
    bool has_uuid;          /* BACK/uuid is a uuid */
    struct vt_uuid uuid;
    bool has_ring;          /* FRONT/ring-ref and event-channel are there, well-formed */
    uint32_t ring_ref, event_channel;
    char name[XENSTORE_NAME]; /* of the domain, printable, perhaps cut; "" if it may not be read. For people */
    bool domain_gone;       /* as the hypervisor's own event told xenstore; stays so */
};

struct xendevices;

struct xendevice {
    struct vt_list node;
    struct xendevices *all;
    char label[80];             /* in the log: "domain 5 device 0 (uuid): " */
    enum xenback_phase phase;
    struct xenstore_device told; /* as the nodes were read last, and what we wrote since */
    uint64_t writes;
    struct vt_uuid uuid;
    bool has_uuid;
    bool is_held;               /* a device of the same uuid is served */
    bool has_lost;              /* another shim has the instance: until the toolstack attaches the device again */
    void *ring;                 /* the shim's; NULL: not connected */
    uint32_t ring_ref, event_channel;
    void *lane;                 /* the shim's; NULL: none */
    bool is_orphan;             /* what the lane has under way is of a ring that is gone */
    uint64_t say_since;
    unsigned said;
};

enum xendevice_end {
    XENDEVICE_NOW,      /* what is under way is left to itself */
    XENDEVICE_ANSWERED, /* a command under way is finished first, for a bounded time */
    XENDEVICE_OFF       /* and then, if this lane still has the instance, it is powered off */
};

/* ctx is that of xendevices_new. None may wait for xenstore longer than the shim's loop may. */
struct xendevices_ops {
    uint64_t (*now_ms)(void *ctx);
    /* BACK/state = state, with feature-protocol-v2 = 1 before it if publish is set; state 0: that only. False: not now. */
    bool (*write)(void *ctx, uint32_t domid, uint32_t devid, bool publish, int state);
    /* Nothing more is to be told of this device until it is made anew. */
    void (*forget)(void *ctx, uint32_t domid, uint32_t devid);
    /* NULL, or true: no ring yet, by the shim's own reason; xendevices_again when that is gone. */
    bool (*must_wait)(void *ctx, const struct xendevice *device);
    /* Maps the ring that told names into device->ring, and opens device->lane unless there is one, or has_lost is set:
     * then every command is answered TPM_FAIL. An error leaves no ring behind. */
    int (*connect)(void *ctx, struct xendevice *device, struct vt_why *why);
    /* The ring is new, and state 4 written: its first command may be there already. */
    void (*look)(void *ctx, struct xendevice *device);
    /* Closes device->ring. for_good: nobody will come back to it. */
    void (*unmap)(void *ctx, struct xendevice *device, bool for_good);
    bool (*lane_is_busy)(void *ctx, const struct xendevice *device);
    /* Takes device->lane, which is there. */
    void (*close_lane)(void *ctx, struct xendevice *device, enum xendevice_end how);
};

/* Borrows ops and ctx for life. VT_ENOMEM. Returns owned (xendevices_free). */
int xendevices_new(struct xendevices **devices, const struct xendevices_ops *ops, void *ctx) VT_USE_RESULT;
/* Rings are unmapped and lanes closed; no node is written. */
void xendevices_close(struct xendevices *devices);
/* After xendevices_close. May be NULL. */
void xendevices_free(struct xendevices *devices);

/* What the nodes of one device say now. */
void xendevices_told(struct xendevices *devices, const struct xenstore_device *told);
/* Another look at a device that is held: the shim's own reason may be gone. */
void xendevices_again(struct xendevices *devices);
bool xendevices_has(const struct xendevices *devices, uint32_t domid, uint32_t devid);
/* The device that serves the ring, or the lane; NULL: none. Borrowed. */
struct xendevice *xendevices_find(const struct xendevices *devices, bool (*is_it)(const struct xendevice *device, void *arg),
                                  void *arg);

/* Another shim has the instance: the lane goes, and so does the guest's TPM until the toolstack attaches it again. */
void xendevice_lost(struct xendevice *device, int err);
/* As courier_ops.respond asks: true: nobody waits for the answer to what is under way. Said once. */
bool xendevice_is_orphan(struct xendevice *device);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The back end of the one guest: the devices that the toolstack makes in this domain's `backend/vtpm`, the ring of the one
 * that is served, and the lane to the server. Everything waits in one place, stubdom.c; nothing here does, but for an answer
 * of xenstore's. One thread.
 */
#ifndef VTPM_MINIOS_BACKEND_H
#define VTPM_MINIOS_BACKEND_H

#include "proto/xenrecords.h"
#include "shim-minios/channel_lane.h"

/* The guest's device, the one of the domain before it, and a few of the toolstack's mistakes. */
#define BACKEND_DEVICES 8

struct backend {
    struct settings *settings;
    struct channel_lane lane;
    struct xendevices *devices;
    struct records records;
    char base[XENPATHS_MAX];
    struct forgotten {
        uint32_t domid, devid;
    } forgotten[BACKEND_DEVICES]; /* by a device, while the records were gone through */
    unsigned forgotten_count;
    bool is_told_of_ends;     /* xenstore says when a domain has ended; else it is asked */
    bool has_events;          /* a domain may have ended */
    uint64_t ends_at_ms;      /* when it is asked next */
    uint64_t settings_at_ms;
    uint64_t again_at_ms;     /* something could not be written: all is read again then; UINT64_MAX: no */
};

/* Borrows settings for life. VT_EUNREACHED, VT_ENOMEM. backend_stop also on errors. */
int backend_start(struct backend *backend, struct settings *settings, struct vt_why *why) VT_USE_RESULT;
/* All that is to be done now. *wake_ms is lowered to when to call again. True: something has moved, so call again at once. */
bool backend_turn(struct backend *backend, uint64_t *wake_ms) VT_USE_RESULT;
/* Detaches without off; rings are unmapped; no node is written. */
void backend_stop(struct backend *backend);

#endif

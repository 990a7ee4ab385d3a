/* SPDX-License-Identifier: Apache-2.0 */
/* What host.c (domains, policy, the thread) and host_offers.c (the channels of one domain) share. Not for others. */
#ifndef VTPM_XEN_HOST_PRIV_H
#define VTPM_XEN_HOST_PRIV_H

#include <stdatomic.h>

#include "server/base/log.h"
#include "server/xen/pump.h"
#include "server/xen/vchan.h"
#include "server/xen/worker.h"

struct slot {
    struct vchan_end end;
    struct peer *peer;
    unsigned index;
    struct vt_list node; /* of vchan_host.ended */
    bool is_active;      /* the pump has it, or it is in `ended` */
    atomic_bool is_connected;
    int64_t connected_ms; /* written before is_connected */
    enum vchan_over how;
};

/* A domain; what it is called does not change while it is here: a new name makes a new peer. */
struct peer {
    struct vt_list node;
    struct vchan_host *host;
    struct vt_domain domain;
    int err; /* VT_EPERM: a stranger, see `why`; it is offered nothing */
    struct vt_why why;
    bool is_seen;    /* by the present scan */
    bool is_leaving; /* until its last channel has ended */
    bool is_allowed, is_asked;
    bool is_trouble_said;
    int64_t not_before_ms; /* of the next offer */
    struct slot **slots;
    unsigned count, active;
};

struct vchan_host {
    struct worker worker;
    struct vchan_pump *pump;
    struct vchan_host_config config;
    uint32_t own;
    int lock_fd;
    pthread_mutex_t policy; /* held while `allowed` runs */
    bool is_closed;         /* policy */
    bool must_end;          /* worker.lock */
    bool has_recheck;       /* worker.lock */
    struct vt_list ended;   /* worker.lock */
    struct vt_list peers;   /* the rest: the thread's */
    int64_t check_at_ms;
    unsigned ticks;    /* until the next scan */
    bool is_scan_due;
};

/* The names go as fields: nothing that a toolstack calls a domain can pass for words of ours. */
#define DOMAIN_FIELDS(d, ...) VT_FIELDS(VT_NUMBER("domid", (d)->domid), VT_TEXT("domain", (d)->name), __VA_ARGS__)

/* ---- host_offers.c; all on the store thread ---- */

/* One channel is on offer, the lowest that is free: a client looks there first. */
void offers_tend(struct peer *peer);
/* Those to which somebody is connected too, if `all`. */
void offers_withdraw(struct peer *peer, bool all);
/* Closes what the pump has let go of. */
void offers_reap(struct vchan_host *host);
/* The domain's directory in xenstore, after its last channel has ended. */
void offers_remove_directory(struct peer *peer);
void remove_if_empty(struct vchan_host *host, const char *path);
/* When no channel is active any more. */
void offers_free(struct peer *peer);

#endif

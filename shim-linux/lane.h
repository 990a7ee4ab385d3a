/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lane is one instance's way to the server: relay, connection, timer and the credential that is read again when the
 * server refuses it. A front end opens as many as it serves instances, at any time; what happens on one of them
 * touches no other. A lane asks its source for one command at a time. Loop thread.
 */
#ifndef VTPM_SHIM_LANE_H
#define VTPM_SHIM_LANE_H

#include <uv.h>

#include "proto/courier.h"
#include "server/base/text.h"
#include "shim-linux/options.h"

struct lane;
struct lane_set;

/* All on the loop, and any function of the lane may be called from them. */
struct lane_source {
    /* False: none now. */
    bool (*take)(void *ctx, struct courier_request *request);
    /* To what was taken last, or was under way when the lane was opened. False: not now; it is tried again. */
    bool (*respond)(void *ctx, const struct courier_response *response);
    /* As relay_config.note; may be NULL. */
    int (*note)(void *ctx, const struct relay_mark *mark);
    /* It will answer nothing more: VT_OK after lanes_stop, VT_EFENCED when another shim has the instance. */
    void (*ended)(void *ctx, int err);
};

struct lane_config {
    const char *credential;         /* path of the file; copied */
    bool wait_for_credential;       /* false: lane_open fails without it. True: commands wait until it is there */
    const char *label;              /* in the log: "domain 5: ", or ""; copied */
    struct vt_uuid uuid;
    bool has_uuid;                  /* false: the one that the credential names */
    bool is_monitored;              /* power on and off are the source's deeds, not the lane's */
    uint32_t domid;                 /* the guest epoch, with the host's boot id */
    bool has_domid;
    char domain[MESSAGE_DOMAIN_MAX + 1]; /* its name, for the inventory; may be empty */
    const struct relay_position *from; /* of a shim that died before; NULL: a fresh stream. Copied */
    bool under_way;                 /* from->mark's response is waited for; else it was given up, or is none */
};

/* ---- What the lanes of a shim share ---- */

/*
 * Borrows options for life; front_end is the name in Attach. on_empty: after lanes_stop, when no lane has anything to
 * do any more. VT_ENOMEM, VT_EIO, and VT_EUSAGE for --upstream. Returns owned.
 */
int lanes_new(struct lane_set **set, uv_loop_t *loop, const struct options *options, const char *front_end,
              void (*on_empty)(void *ctx), void *ctx, struct vt_why *why) VT_USE_RESULT;
/* Every lane takes no more, finishes what is under way, and ends. */
void lanes_stop(struct lane_set *set);
/* Those that are still at it end now; logs that commands were under way. */
void lanes_abort(struct lane_set *set);
/* All lanes are closed, and the loop has run their close callbacks. May be NULL. */
void lanes_free(struct lane_set *set);

/* ---- One lane ---- */

/* Borrows source for life. VT_EUSAGE, and what credential_read gives. Returns owned (lane_close). */
int lane_open(struct lane **lane, struct lane_set *set, const struct lane_config *config,
              const struct lane_source *source, void *ctx, struct vt_why *why) VT_USE_RESULT;
/* The source has a command. Not within take, respond or note. */
void lane_ready(struct lane *lane);
/* Who sent the command under way waits no longer. Not within take, respond or note. */
void lane_cancel(struct lane *lane);
/* Taken, but without an answer yet. */
bool lane_is_busy(const struct lane *lane);

enum lane_end {
    LANE_NOW,       /* what is under way is left to itself */
    LANE_ANSWERED,  /* a command under way is finished on this connection first, for a bounded time */
    LANE_OFF        /* and then, if this lane still has the instance, it is powered off */
};

/* Takes lane: its source is never called again. */
void lane_close(struct lane *lane, enum lane_end how);

#endif

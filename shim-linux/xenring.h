/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One ring of a vTPM device: the guest's page, mapped; its event channel, bound; and the journal that makes a shim's own
 * death harmless (docs/record-and-recovery.md). The page is read by proto/tpmif.h only. A guest that sends events
 * without a command behind them is heard more and more seldom, so that it takes no time from others. Loop thread.
 */
#ifndef VTPM_SHIM_XENRING_H
#define VTPM_SHIM_XENRING_H

#include <xenevtchn.h>
#include <xengnttab.h>

#include "shim-linux/journal.h"
#include "shim-linux/lane.h"

struct xenring;

/* What all rings share; outlives them. */
struct xenring_host {
    uv_loop_t *loop;
    xengnttab_handle *grants;
    xenevtchn_handle *channels;
    const char *runtime_dir;
};

/* How the lane of a ring begins. */
struct xenring_start {
    bool has_from;
    bool under_way;             /* as in lane_config */
    struct relay_position from; /* points into the ring: valid until its first note */
};

/*
 * Maps, binds, and reads what a shim before us left in the journal. Nothing is done with the page yet, but for a
 * response that it holds: that is finished. label is for the log and borrowed for life, ready is called when there is a
 * command to take, not within a call of ours. VT_EIO, VT_ENOMEM with a reason. Returns owned (xenring_close).
 */
int xenring_open(struct xenring **ring, const struct xenring_host *host, const struct journal_ring *names,
                 const char *label, void (*ready)(void *ctx), void *ctx, struct xenring_start *start,
                 struct vt_why *why) VT_USE_RESULT;
/* Unmaps and unbinds at once. forget: the journal goes too, since nobody will come back to this ring. */
void xenring_close(struct xenring *ring, bool forget);

/* Its event channel on our side. */
evtchn_port_t xenring_port(const struct xenring *ring);
/* The event came, or the ring was just opened. */
void xenring_event(struct xenring *ring);
/* From now on every command is answered TPM_FAIL. */
void xenring_fail(struct xenring *ring);

/* As lane_source's. */
bool xenring_take(struct xenring *ring, struct courier_request *request);
bool xenring_respond(struct xenring *ring, const struct courier_response *response);
int xenring_note(struct xenring *ring, const struct relay_mark *mark);

/* RUNTIME_DIR/xen-DOMID-DEVID.journal; and whether a file name is one, and whose. */
#define XENRING_JOURNAL "xen-%" PRIu32 "-%" PRIu32 ".journal"

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a vTPM device of proto/xendevices.h stands on here: a ring of xenring.h, a lane of lane.h, the nodes of xenstore.h.
 * Loop thread.
 */
#ifndef VTPM_SHIM_XENDEVICE_H
#define VTPM_SHIM_XENDEVICE_H

#include "proto/xendevices.h"
#include "shim-linux/frontend.h"
#include "shim-linux/xenring.h"
#include "shim-linux/xenstore.h"

/* The ctx of the operations; all borrowed for life, *store is looked at when a node is to be written. */
struct xendevice_host {
    const struct frontend_host *host;
    const struct xenring_host *rings;
    struct xenstore *const *store;
    uint8_t boot_id[16]; /* of this host */
};

extern const struct xendevices_ops xendevice_ops;

/* The event of a ring of one of these devices, if it is one. */
void xendevice_event(struct xendevices *devices, evtchn_port_t port);

#endif

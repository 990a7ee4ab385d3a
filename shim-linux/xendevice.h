/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vTPM devices of this back end: each with its xenbus state, its ring while it is connected, and its lane to the
 * server. What the instance is comes from the toolstack's nodes alone. One device at a time serves an instance: another
 * one of the same uuid waits until the first is gone. Loop thread.
 */
#ifndef VTPM_SHIM_XENDEVICE_H
#define VTPM_SHIM_XENDEVICE_H

#include "shim-linux/frontend.h"
#include "shim-linux/xenring.h"
#include "shim-linux/xenstore.h"

struct xendevices;

/* Borrows all for life; *store is looked at when a node is to be written. VT_EIO, VT_ENOMEM. Returns owned. */
int xendevices_new(struct xendevices **devices, const struct frontend_host *host, const struct xenring_host *rings,
                   struct xenstore *const *store, struct vt_why *why) VT_USE_RESULT;
/* Rings are unmapped and lanes closed; no node is written and no journal removed. */
void xendevices_close(struct xendevices *devices);
/* May be NULL. */
void xendevices_free(struct xendevices *devices);

/* What the nodes of one device say now. */
void xendevices_told(struct xendevices *devices, const struct xenstore_device *told);
void xendevices_event(struct xendevices *devices, evtchn_port_t port);
bool xendevices_has(const struct xendevices *devices, uint32_t domid, uint32_t devid);

#endif

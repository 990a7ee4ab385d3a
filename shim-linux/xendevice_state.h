/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the devices: xendevice.c has states and rings, xendevice_lane.c the way to the server. */
#ifndef VTPM_SHIM_XENDEVICE_STATE_H
#define VTPM_SHIM_XENDEVICE_STATE_H

#include "proto/xenback.h"
#include "server/base/list.h"
#include "shim-linux/xendevice.h"

struct device {
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
    struct xenring *ring;       /* NULL: not connected */
    uint32_t ring_ref, event_channel;
    struct lane *lane;
    bool is_orphan;             /* what the lane has under way is of a ring that is gone */
    uint64_t say_since;
    unsigned said;
};

struct xendevices {
    const struct frontend_host *host;
    const struct xenring_host *rings;
    struct xenstore *const *store;
    struct vt_list list;
    uint8_t boot_id[16];
};

/* Opens the device's lane, as its ring has it begin. What lane_open gives, with a reason. */
int device_open_lane(struct device *device, const struct xenring_start *start, struct vt_why *why) VT_USE_RESULT;
/* There may be none. */
void device_close_lane(struct device *device, enum lane_end how);
/* Of the ring: it has a command. ctx is the device. */
void device_on_ready(void *ctx);

#endif

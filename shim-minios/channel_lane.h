/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stub domain's one way to the server: a relay, driven by proto/courier.h, over one vchan. It serves one device at a
 * time; one whose device has gone may linger, for as long as its last words take, and until then there is no other. One
 * thread.
 */
#ifndef VTPM_MINIOS_CHANNEL_LANE_H
#define VTPM_MINIOS_CHANNEL_LANE_H

#include "proto/courier.h"
#include "proto/xendevices.h"
#include "shim-minios/settings.h"
#include "shim-minios/vchan_client.h"

struct channel_lane {
    struct settings *settings;
    struct xendevice *device; /* NULL: gone */
    struct relay *relay;      /* NULL: there is no lane */
    struct courier courier;
    struct vchan vchan;
    bool is_new;              /* the vchan was just opened: the relay is to hear of it */
    bool is_broken;           /* its ring made no sense when something was to be sent */
    enum xendevice_end how;
    uint64_t leave_by_ms;
    uint64_t look_at_ms;      /* when it is looked whether the server's offer still stands */
};

/* Borrows settings for life. */
void lane_init(struct channel_lane *lane, struct settings *settings);
/* Opens it for the device, whose label is borrowed until lane_leave. VT_ENOMEM, VT_ECRYPTO. */
int lane_open(struct channel_lane *lane, struct xendevice *device, struct vt_why *why) VT_USE_RESULT;
bool lane_is_open(const struct channel_lane *lane);
bool lane_is_busy(const struct channel_lane *lane);
/* Nothing is asked of the device any more. */
void lane_leave(struct channel_lane *lane, enum xendevice_end how);
/* All that is to be done now; *wake_ms is lowered to when to call again. True: commands or bytes have moved. */
bool lane_turn(struct channel_lane *lane, uint64_t *wake_ms);
/* At the end: no more words. */
void lane_drop(struct channel_lane *lane);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's ring: its page, mapped, and its event channel. The page is read by proto/tpmif.h only. There is no journal:
 * the guest granted its page to this domain, so that nobody can come back to a ring after this domain's end
 * (docs/minios.md). A guest that sends events without a command behind them is heard more and more seldom. One thread.
 */
#ifndef VTPM_MINIOS_GUEST_RING_H
#define VTPM_MINIOS_GUEST_RING_H

#include "proto/courier.h"
#include "proto/tpmif.h"

struct guest_ring;

/* label is for the log and borrowed for life. VT_EIO, VT_ENOMEM with a reason. Returns owned (guest_ring_close). */
int guest_ring_open(struct guest_ring **ring, uint32_t domid, uint32_t ring_ref, uint32_t event_channel, const char *label,
                    struct vt_why *why) VT_USE_RESULT;
/* Unmaps and unbinds at once; wipes. */
void guest_ring_close(struct guest_ring *ring);

/* Looks at the page when an event has come and it is time. *wake_ms is lowered to when to call again. */
void guest_ring_turn(struct guest_ring *ring, uint64_t *wake_ms);
/* From now on every command is answered TPM_FAIL. */
void guest_ring_fail(struct guest_ring *ring);

/* As courier_ops'. */
bool guest_ring_take(struct guest_ring *ring, struct courier_request *request);
void guest_ring_respond(struct guest_ring *ring, const uint8_t *bytes, size_t len);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vchan has one client: whoever else connects to it spoils it for the first. So all programs of a domain agree by
 * record locks on the event channel's device, which only those can lock who can open vchans at all; a program that
 * dies gives its locks back.
 */
#ifndef VTPM_XEN_SLOTS_H
#define VTPM_XEN_SLOTS_H

#include "server/base/err.h"

#define SLOTS_MAX 512 /* that one domain offers to another */

/* file: site_lock_file. Both: *fd is a descriptor whose closing gives the lock back. VT_ECONFLICT: another has it;
 * VT_EIO. Any thread. */
int slot_lock_client(const char *file, uint32_t server, unsigned slot, int *fd, struct vt_why *why) VT_USE_RESULT;
/* The one server of this domain. */
int slot_lock_server(const char *file, int *fd, struct vt_why *why) VT_USE_RESULT;

#endif

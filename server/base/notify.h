/* SPDX-License-Identifier: Apache-2.0 */
/* Tells the service manager how we are (sd_notify(3)'s protocol). Any thread. */
#ifndef VTPM_BASE_NOTIFY_H
#define VTPM_BASE_NOTIFY_H

#include "server/base/base.h"

/*
 * Sends state ("READY=1", "STOPPING=1", "STATUS=...") to $NOTIFY_SOCKET. False if there is no service manager
 * that wants to know, or it cannot be reached: nothing that a caller should stop for.
 */
bool vt_notify(const char *state);

/*
 * How often vt_notify("WATCHDOG=1") is wanted, in milliseconds: twice in the time after which the service
 * manager ends us ($WATCHDOG_USEC, if $WATCHDOG_PID means us). 0: nobody waits for it. Call it from the
 * loop's own timer, so that a loop that hangs is silent.
 */
uint64_t vt_watchdog_ms(void) VT_USE_RESULT;

#endif

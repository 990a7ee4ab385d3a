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

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Tells systemd how we are, if it wants to know (sd_notify(3) without its library). */
#ifndef VTPM_SHIM_NOTIFY_H
#define VTPM_SHIM_NOTIFY_H

/* state: "READY=1", "STOPPING=1". Without NOTIFY_SOCKET it does nothing; nobody depends on the outcome. */
void notify_systemd(const char *state);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What is given to the server to which an instance has left. Loop thread. */
#ifndef VTPM_CORE_LEAVE_H
#define VTPM_CORE_LEAVE_H

#include "server/core/handoff/arrive.h"

/* The bundle is borrowed; NULL on error. */
typedef void (*leave_done)(void *arg, int err, const struct vt_why *why, const uint8_t *bundle, size_t len);

/* Of an instance that stands among the exported. VT_ENOMEM; else `done` is called once, perhaps from within. */
int leave_bundle(struct broker *broker, const struct vt_uuid *uuid, handoff_work work, leave_done done, void *arg) VT_USE_RESULT;

#endif

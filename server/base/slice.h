/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a process may go on before the kernel looks for another one: whoever has the shorter slice runs at
 * once when it wakes up beside one with a longer one (Linux 6.12 and later; before that nothing happens). No
 * privilege is needed, and nothing of priority changes: over time each gets its share as before. Any thread.
 */
#ifndef VTPM_BASE_SLICE_H
#define VTPM_BASE_SLICE_H

#include <sys/types.h>

#include "server/base/base.h"

#define SLICE_SHORT_US 100u /* the least there is: the broker, sandboxes with cheap commands */
#define SLICE_LONG_US                                                                                        \
    20000u /* more than the kernel gives unasked: whatever else the host has to do goes before it */

/* pid 0: the calling thread, and whatever it starts from now on. False: the kernel does not let us; no harm
 * is done. */
bool slice_set(pid_t pid, unsigned us);

#endif

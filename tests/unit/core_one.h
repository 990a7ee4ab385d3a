/* SPDX-License-Identifier: Apache-2.0 */
/* One instance, "a", powered on and attached, with one command behind it: what several of the core's tests
 * begin with. */
#ifndef VTPM_TESTS_CORE_ONE_H
#define VTPM_TESTS_CORE_ONE_H

#include "tests/unit/core_rig.h"

extern struct rig rig;
extern struct peer peer;
extern struct vt_uuid uuid;
extern char identity[VT_UUID_TEXT];

/* cmocka's setup and teardown. Command 1 changed both states, or the volatile one alone. */
int one_bumped_both(void **state);
int one_bumped_volatile(void **state);
int one_end(void **state);

#endif

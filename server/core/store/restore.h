/* SPDX-License-Identifier: Apache-2.0 */
/* `vtpm-server restore`: a copy that `vtpmctl backup` made becomes the store of a directory that has none. */
#ifndef VTPM_CORE_STORE_RESTORE_H
#define VTPM_CORE_STORE_RESTORE_H

#include "server/core/store/check.h"

/*
 * Reads the descriptor `from` to its end (`name` is for people), into a directory beside the store to be; there the
 * copy is opened with the slots given and examined as by `check`; only then it is put in its place, in one step.
 * VT_EEXISTS: DIR has a store, which stays untouched. VT_EKEY, VT_EDAMAGED: nothing was put there. Broken instances, and records
 * that do not open, keep nothing from being restored: *found says so. DIR is made 0700 if it is not there.
 */
int store_restore(int from, const char *name, const char *dir, const struct keyslot_spec *specs, size_t count,
                  struct store_findings *found, struct vt_why *why) VT_USE_RESULT;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Profiles on the admin socket: what a request means, what `show` tells. Any thread. */
#ifndef VTPM_CORE_PROFILE_H
#define VTPM_CORE_PROFILE_H

#include "proto/admin.pb-c.h"
#include "server/engine/profile.h"

#define PROFILE_LIMITS_MAX 16 /* more than there are */

/*
 * Without limits: the profile that is built in under this name; "": pc-client. With limits: these, and pc-client's
 * where there are none; then the name must be one of its own. VT_EUSAGE, with a text for who asked.
 */
int profile_of_request(const Vtpm__InstanceCreate *create, const char **name, struct tpm_profile *out,
                       struct vt_why *why) VT_USE_RESULT;

/* All limits as messages: rows and list have PROFILE_LIMITS_MAX places; the names are constants. Returns how many. */
size_t profile_rows(const struct tpm_profile *profile, Vtpm__Limit *rows, Vtpm__Limit **list);

#endif

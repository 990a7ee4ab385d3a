/* SPDX-License-Identifier: Apache-2.0 */
/* `instance create --profile FILE`: limits from a file, for the server to check. Single-threaded. */
#ifndef VTPM_CTL_PROFILE_FILE_H
#define VTPM_CTL_PROFILE_FILE_H

#include "proto/admin.pb-c.h"
#include "server/base/err.h"

struct profile_file {
    char name[66]; /* the file's "name", else its own without .json */
    size_t count;
    Vtpm__Limit rows[16], *limits[16];
    char keys[16][64];
};

/* A path has a / in it or ends in .json; anything else is a profile's name. */
bool profile_is_file(const char *profile);
/* VT_EUSAGE with the file, the line or the key, and the value. Borrows nothing. */
int profile_file_read(struct profile_file *file, const char *path, struct vt_why *why) VT_USE_RESULT;

#endif

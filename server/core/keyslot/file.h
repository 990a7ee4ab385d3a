/* SPDX-License-Identifier: Apache-2.0 */
/* Files that hold a secret: refused when anybody else could have read them. Any thread. */
#ifndef VTPM_CORE_KEYSLOT_FILE_H
#define VTPM_CORE_KEYSLOT_FILE_H

#include "server/base/err.h"

/* At most cap bytes (VT_EUSAGE if there are more); the caller wipes out. VT_ENOTFOUND, VT_EPERM. */
int secret_file_read(const char *path, uint8_t *out, size_t cap, size_t *len, struct vt_why *why) VT_USE_RESULT;
/* As secret_file_read, of a file in $CREDENTIALS_DIRECTORY. */
int secret_file_read_granted(const char *path, uint8_t *out, size_t cap, size_t *len, struct vt_why *why) VT_USE_RESULT;
/* A text that is no secret, with a NUL behind it: less than cap bytes. */
int public_file_read(const char *path, char *out, size_t cap, struct vt_why *why) VT_USE_RESULT;
/* A new file of len random bytes, 0600, on disk before return; nothing is left on error. VT_EEXISTS. */
int secret_file_make(const char *path, size_t len, struct vt_why *why) VT_USE_RESULT;
/* What a rename, a new file or an unlink needs to outlive a power cut: the directory of path, synced. */
int secret_file_sync_dir(const char *path) VT_USE_RESULT;

#endif

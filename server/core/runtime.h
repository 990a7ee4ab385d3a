/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runtime store: one file per instance (<uuid>.run) in the runtime directory (tmpfs), mapped, two slots written
 * in turn. Survives the death of any process, not of the host. Sealed bytes only (the caller seals). The hot path:
 * a write is a memcpy, no system call. Loop thread.
 */
#ifndef VTPM_CORE_RUNTIME_H
#define VTPM_CORE_RUNTIME_H

#include "server/base/err.h"
#include "server/base/text.h"
#include "server/crypto/crypto.h"

struct runtime_dir;  /* holds the directory's descriptor */
struct runtime_file; /* one mapped file */

/* Makes the directory 0700 if absent; refuses one that others can write. Returns owned. */
int runtime_open(struct runtime_dir **dir, const char *path, struct vt_why *why) VT_USE_RESULT;
void runtime_close(struct runtime_dir *dir);
/*
 * A random number that belongs to this directory (its file `id`, made when absent or not one): what lies in another
 * runtime directory, or in one that was emptied, is not the present.
 */
#define RUNTIME_ID 16
int runtime_id(struct runtime_dir *dir, uint8_t id[RUNTIME_ID]) VT_USE_RESULT;

/* Opens, or makes when `create`; VT_ENOTFOUND. Returns owned. */
int runtime_file_open(struct runtime_file **file, struct runtime_dir *dir, const struct vt_uuid *uuid, bool create) VT_USE_RESULT;
void runtime_file_close(struct runtime_file *file); /* may be NULL; the file stays */
int runtime_file_remove(struct runtime_dir *dir, const struct vt_uuid *uuid) VT_USE_RESULT;

/*
 * The slot that is not the newest gets these bytes; grows the file when needed. Complete or without effect. seq must
 * be above that of the newest slot (VT_ECONFLICT); VT_ENOSPC and VT_EUNAVAILABLE (read-only) before anything is touched.
 */
int runtime_write(struct runtime_file *file, uint64_t seq, const uint8_t tag[CR_GCM_TAG], const void *data, size_t len) VT_USE_RESULT;
/*
 * The same without a copy: the slot that is not the newest, void from here on, to be filled with len bytes (sealed ones:
 * never plaintext, not even for a moment) and then counted by runtime_put. Without runtime_put nothing has happened. NULL:
 * not so; runtime_write does it, or says why not.
 */
uint8_t *runtime_room(struct runtime_file *file, uint64_t seq, size_t len) VT_USE_RESULT;
void runtime_put(struct runtime_file *file, uint64_t seq, const uint8_t tag[CR_GCM_TAG], size_t len);

struct runtime_slot {
    uint64_t seq;
    uint8_t tag[CR_GCM_TAG];
    const uint8_t *data; /* into the mapping */
    size_t len;
};
/* Whatever slots are well-formed, newest first: 0, 1 or 2. Whether they open, the caller finds out. */
size_t runtime_read(const struct runtime_file *file, struct runtime_slot slots[2]);
/* The slot with this seq is void (another boot, does not open): it no longer counts as the newest. */
void runtime_drop(struct runtime_file *file, uint64_t seq);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that fails: becomes SQLite's default VFS and passes everything on, except what is told to fail. */
#ifndef VTPM_TESTS_DB_VFS_H
#define VTPM_TESTS_DB_VFS_H

#include <stdatomic.h>

/* After so many more writes to a log file, one fails with `vfs_write_rc` and so do all that follow; negative:
 * none. */
extern atomic_int vfs_writes_left, vfs_write_rc;
/* The same for syncs of a log file. */
extern atomic_int vfs_syncs_left, vfs_sync_rc;
/* Syncs of log files so far. */
extern atomic_int vfs_syncs;

void vfs_install(void);
void vfs_heal(void);

#endif

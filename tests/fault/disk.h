/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk with a volatile cache, for tests of power cuts: becomes SQLite's default VFS, passes everything on, and
 * writes down in what order one directory's files were made, written, cut, removed and synced. From that it builds
 * the files as a power cut after any of these operations could have left them. Shared memory (-shm) is not a disk's
 * matter: SQLite makes it anew.
 */
#ifndef VTPM_TESTS_DISK_H
#define VTPM_TESTS_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disk;

/* Once, before the first recording. Syncs reach no real disk any more. */
void disk_install(void);
/* What dir holds now counts as durable; from here on its files are recorded. One recording at a time. */
struct disk *disk_record(const char *dir);
/* What was recorded stays. */
void disk_stop(struct disk *disk);
void disk_free(struct disk *disk);

/* Operations so far: the boundaries are 0 (before the first) to this one. Any thread. */
size_t disk_ops(struct disk *disk);

enum disk_cut {
    CUT_NOTHING_UNSYNCED,   /* the cache is lost */
    CUT_ALL_UNSYNCED,       /* the cache was written back in full */
    CUT_SOME,               /* of what was not synced each 512-byte sector for itself, or not, by `dice`; metadata of
                               one file keep their order */
    CUT_SOME_AND_GARBAGE,   /* and where a file grew without its data, garbage instead of zeros */
    CUT_COUNT
};
/* Writes into the empty directory `to` what is left when the power goes after `ops` operations. */
void disk_cut(struct disk *disk, size_t ops, enum disk_cut cut, uint32_t dice, const char *to);

#endif

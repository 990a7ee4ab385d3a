/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VFS for SQLite that hands everything on to SQLite's own; a test puts functions of its own in the place of
 * those it wants to watch or to fail. One per process.
 */
#ifndef VTPM_TESTS_PASS_VFS_H
#define VTPM_TESTS_PASS_VFS_H

#include <sqlite3.h>

#define PASS_NAME 48

/* The real file lies behind it in the memory that SQLite gives. */
struct pass_file {
    sqlite3_file base;
    int flags;            /* of its opening */
    char name[PASS_NAME]; /* for the test; empty at first */
};

struct pass_file *pass_file(sqlite3_file *file);
/* For real(f)->pMethods->xRead(real(f), ...) and so on. */
sqlite3_file *pass_real(sqlite3_file *file);
/* SQLite's own. */
sqlite3_vfs *pass_below(void);
/* Opens the real one; an xOpen of the test's calls it. */
int pass_open(sqlite3_vfs *vfs, sqlite3_filename path, sqlite3_file *file, int flags, int *out);

/*
 * Becomes the default. Taken from vfs: xOpen, xDelete, xAccess; from methods: xRead, xWrite, xTruncate,
 * xSync, xFileSize, xLock, xShmMap, xShmLock. NULL: as SQLite does it.
 */
void pass_install(const char *name, const sqlite3_vfs *vfs, const sqlite3_io_methods *methods);

#endif

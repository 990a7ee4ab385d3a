/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/db_vfs.h"

#include <stdbool.h>

#include "tests/unit/pass_vfs.h"

atomic_int vfs_writes_left = -1, vfs_write_rc, vfs_syncs_left = -1, vfs_sync_rc, vfs_syncs;

static bool fails(atomic_int *left)
{
    if (atomic_load(left) < 0)
        return false;
    if (atomic_load(left) == 0)
        return true;
    atomic_fetch_sub(left, 1);
    return false;
}

static bool is_log(sqlite3_file *f)
{
    return (pass_file(f)->flags & SQLITE_OPEN_WAL) != 0;
}

static int f_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
    if (is_log(f) && fails(&vfs_writes_left))
        return atomic_load(&vfs_write_rc);
    return pass_real(f)->pMethods->xWrite(pass_real(f), from, n, at);
}

static int f_sync(sqlite3_file *f, int flags)
{
    if (is_log(f)) {
        atomic_fetch_add(&vfs_syncs, 1);
        if (fails(&vfs_syncs_left))
            return atomic_load(&vfs_sync_rc);
    }
    return pass_real(f)->pMethods->xSync(pass_real(f), flags);
}

void vfs_install(void)
{
    static const sqlite3_io_methods methods = {.xWrite = f_write, .xSync = f_sync};

    pass_install("failing", &(sqlite3_vfs){0}, &methods);
}

void vfs_heal(void)
{
    atomic_store(&vfs_writes_left, -1);
    atomic_store(&vfs_syncs_left, -1);
}

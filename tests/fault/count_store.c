/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite's memory, and its files: each operation of the VFS may be the one that fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/fault/countdown.h"
#include "tests/unit/pass_vfs.h"

/* ---- Memory ---- */

static sqlite3_mem_methods memory;

static void *m_malloc(int size)
{
    return count_strikes(FAULT_SQLITE) ? NULL : memory.xMalloc(size);
}

static void *m_realloc(void *ptr, int size)
{
    return count_strikes(FAULT_SQLITE) ? NULL : memory.xRealloc(ptr, size);
}

void count_hook_sqlite(void)
{
    sqlite3_mem_methods hooked;

    assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory), SQLITE_OK);
    hooked = memory;
    hooked.xMalloc = m_malloc;
    hooked.xRealloc = m_realloc;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &hooked), SQLITE_OK);
    /* Else most small pieces come from a cache that cannot fail. */
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0), SQLITE_OK);
}

/* ---- Files ---- */

#define REAL(f, call) pass_real(f)->pMethods->call

static int f_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at)
{
    return count_strikes(FAULT_STORE) ? SQLITE_IOERR_READ : REAL(f, xRead)(pass_real(f), to, n, at);
}

/* Half of it was written. */
static int f_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
    if (!count_strikes(FAULT_STORE))
        return REAL(f, xWrite)(pass_real(f), from, n, at);
    (void)REAL(f, xWrite)(pass_real(f), from, n / 2, at);
    return count_nth() % 2 ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return count_strikes(FAULT_STORE) ? SQLITE_IOERR_TRUNCATE : REAL(f, xTruncate)(pass_real(f), size);
}

static int f_sync(sqlite3_file *f, int flags)
{
    (void)f; /* no power cut here: a sync need not reach the disk */
    (void)flags;
    return count_strikes(FAULT_STORE) ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

static int f_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return count_strikes(FAULT_STORE) ? SQLITE_IOERR_FSTAT : REAL(f, xFileSize)(pass_real(f), size);
}

static int f_lock(sqlite3_file *f, int level)
{
    return count_strikes(FAULT_STORE) ? SQLITE_IOERR_LOCK : REAL(f, xLock)(pass_real(f), level);
}

static int f_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return count_strikes(FAULT_STORE) ? SQLITE_IOERR_SHMMAP : REAL(f, xShmMap)(pass_real(f), page, size, extend, out);
}

static int f_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    if (flags & SQLITE_SHM_LOCK && count_strikes(FAULT_STORE))
        return SQLITE_IOERR_SHMLOCK;
    return REAL(f, xShmLock)(pass_real(f), offset, n, flags);
}

static int v_open(sqlite3_vfs *vfs, sqlite3_filename path, sqlite3_file *f, int flags, int *out)
{
    f->pMethods = NULL; /* there is nothing to close */
    return count_strikes(FAULT_STORE) ? SQLITE_CANTOPEN : pass_open(vfs, path, f, flags, out);
}

static int v_delete(sqlite3_vfs *vfs, const char *path, int sync_dir)
{
    (void)vfs;
    (void)sync_dir;
    return count_strikes(FAULT_STORE) ? SQLITE_IOERR_DELETE : pass_below()->xDelete(pass_below(), path, 0);
}

static int v_access(sqlite3_vfs *vfs, const char *path, int flags, int *out)
{
    (void)vfs;
    return count_strikes(FAULT_STORE) ? SQLITE_IOERR_ACCESS : pass_below()->xAccess(pass_below(), path, flags, out);
}

void count_hook_store(void)
{
    static const sqlite3_vfs vfs = {.xOpen = v_open, .xDelete = v_delete, .xAccess = v_access};
    static const sqlite3_io_methods methods = {
        .xRead = f_read, .xWrite = f_write, .xTruncate = f_truncate, .xSync = f_sync, .xFileSize = f_size,
        .xLock = f_lock, .xShmMap = f_shm_map, .xShmLock = f_shm_lock};

    pass_install("countdown", &vfs, &methods);
}

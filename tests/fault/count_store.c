/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite's memory, and its files: each operation of the VFS may be the one that fails. */
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fault/countdown.h"

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

/* ---- Files: the real one lies behind ours in the memory that SQLite gives ---- */

static sqlite3_vfs *below;
static sqlite3_vfs shim;

struct file {
    sqlite3_file base;
};

static sqlite3_file *real(sqlite3_file *f)
{
    return (sqlite3_file *)(void *)((struct file *)(void *)f + 1);
}

static int f_close(sqlite3_file *f)
{
    return real(f)->pMethods->xClose(real(f));
}

static int f_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at)
{
    return count_strikes(FAULT_STORE) ? SQLITE_IOERR_READ : real(f)->pMethods->xRead(real(f), to, n, at);
}

/* Half of it was written. */
static int f_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
    if (!count_strikes(FAULT_STORE))
        return real(f)->pMethods->xWrite(real(f), from, n, at);
    (void)real(f)->pMethods->xWrite(real(f), from, n / 2, at);
    return count_nth() % 2 ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return count_strikes(FAULT_STORE) ? SQLITE_IOERR_TRUNCATE : real(f)->pMethods->xTruncate(real(f), size);
}

static int f_sync(sqlite3_file *f, int flags)
{
    (void)f; /* no power cut here: a sync need not reach the disk */
    (void)flags;
    return count_strikes(FAULT_STORE) ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

static int f_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return count_strikes(FAULT_STORE) ? SQLITE_IOERR_FSTAT : real(f)->pMethods->xFileSize(real(f), size);
}

static int f_lock(sqlite3_file *f, int level)
{
    return count_strikes(FAULT_STORE) ? SQLITE_IOERR_LOCK : real(f)->pMethods->xLock(real(f), level);
}

static int f_unlock(sqlite3_file *f, int level)
{
    return real(f)->pMethods->xUnlock(real(f), level);
}

static int f_reserved(sqlite3_file *f, int *out)
{
    return real(f)->pMethods->xCheckReservedLock(real(f), out);
}

static int f_control(sqlite3_file *f, int op, void *arg)
{
    return real(f)->pMethods->xFileControl(real(f), op, arg);
}

static int f_sector(sqlite3_file *f)
{
    return real(f)->pMethods->xSectorSize(real(f));
}

static int f_device(sqlite3_file *f)
{
    return real(f)->pMethods->xDeviceCharacteristics(real(f));
}

static int f_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return count_strikes(FAULT_STORE) ? SQLITE_IOERR_SHMMAP
                                      : real(f)->pMethods->xShmMap(real(f), page, size, extend, out);
}

static int f_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    if (flags & SQLITE_SHM_LOCK && count_strikes(FAULT_STORE))
        return SQLITE_IOERR_SHMLOCK;
    return real(f)->pMethods->xShmLock(real(f), offset, n, flags);
}

static void f_shm_barrier(sqlite3_file *f)
{
    real(f)->pMethods->xShmBarrier(real(f));
}

static int f_shm_unmap(sqlite3_file *f, int remove)
{
    return real(f)->pMethods->xShmUnmap(real(f), remove);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = f_close,
    .xRead = f_read,
    .xWrite = f_write,
    .xTruncate = f_truncate,
    .xSync = f_sync,
    .xFileSize = f_size,
    .xLock = f_lock,
    .xUnlock = f_unlock,
    .xCheckReservedLock = f_reserved,
    .xFileControl = f_control,
    .xSectorSize = f_sector,
    .xDeviceCharacteristics = f_device,
    .xShmMap = f_shm_map,
    .xShmLock = f_shm_lock,
    .xShmBarrier = f_shm_barrier,
    .xShmUnmap = f_shm_unmap,
};

static int v_open(sqlite3_vfs *vfs, sqlite3_filename path, sqlite3_file *f, int flags, int *out)
{
    int rc;

    (void)vfs;
    memset(f, 0, sizeof(struct file));
    if (count_strikes(FAULT_STORE))
        return SQLITE_CANTOPEN;
    rc = below->xOpen(below, path, real(f), flags, out);
    if (real(f)->pMethods)
        f->pMethods = &methods;
    return rc;
}

static int v_delete(sqlite3_vfs *vfs, const char *path, int sync_dir)
{
    (void)vfs;
    (void)sync_dir;
    return count_strikes(FAULT_STORE) ? SQLITE_IOERR_DELETE : below->xDelete(below, path, 0);
}

static int v_access(sqlite3_vfs *vfs, const char *path, int flags, int *out)
{
    (void)vfs;
    return count_strikes(FAULT_STORE) ? SQLITE_IOERR_ACCESS : below->xAccess(below, path, flags, out);
}

void count_hook_store(void)
{
    below = sqlite3_vfs_find("unix");
    shim = *below;
    shim.zName = "countdown";
    shim.szOsFile = (int)sizeof(struct file) + below->szOsFile;
    shim.xOpen = v_open;
    shim.xDelete = v_delete;
    shim.xAccess = v_access;
    assert_int_equal(sqlite3_vfs_register(&shim, 1), SQLITE_OK);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/db_vfs.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <string.h>

atomic_int vfs_writes_left = -1, vfs_write_rc, vfs_syncs_left = -1, vfs_sync_rc, vfs_syncs;

static sqlite3_vfs *below;
static sqlite3_vfs shim;

/* The real file lies behind ours in the memory that SQLite gives. */
struct file {
    sqlite3_file base;
    bool is_log;
};

static sqlite3_file *real(sqlite3_file *file)
{
    return (sqlite3_file *)(void *)((struct file *)(void *)file + 1);
}

static bool fails(atomic_int *left)
{
    if (atomic_load(left) < 0)
        return false;
    if (atomic_load(left) == 0)
        return true;
    atomic_fetch_sub(left, 1);
    return false;
}

static int f_close(sqlite3_file *f)
{
    return real(f)->pMethods->xClose(real(f));
}

static int f_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at)
{
    return real(f)->pMethods->xRead(real(f), to, n, at);
}

static int f_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
    if (((struct file *)(void *)f)->is_log && fails(&vfs_writes_left))
        return atomic_load(&vfs_write_rc);
    return real(f)->pMethods->xWrite(real(f), from, n, at);
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return real(f)->pMethods->xTruncate(real(f), size);
}

static int f_sync(sqlite3_file *f, int flags)
{
    if (((struct file *)(void *)f)->is_log) {
        atomic_fetch_add(&vfs_syncs, 1);
        if (fails(&vfs_syncs_left))
            return atomic_load(&vfs_sync_rc);
    }
    return real(f)->pMethods->xSync(real(f), flags);
}

static int f_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return real(f)->pMethods->xFileSize(real(f), size);
}

static int f_lock(sqlite3_file *f, int level)
{
    return real(f)->pMethods->xLock(real(f), level);
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
    return real(f)->pMethods->xShmMap(real(f), page, size, extend, out);
}

static int f_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
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
    2,          f_close,       f_read,      f_write,   f_truncate, f_sync,   f_size,
    f_lock,     f_unlock,      f_reserved,  f_control, f_sector,   f_device, f_shm_map,
    f_shm_lock, f_shm_barrier, f_shm_unmap, NULL,      NULL};

static int v_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *f, int flags, int *out)
{
    int rc;

    (void)vfs;
    memset(f, 0, sizeof(struct file));
    ((struct file *)(void *)f)->is_log = (flags & SQLITE_OPEN_WAL) != 0;
    rc = below->xOpen(below, name, real(f), flags, out);
    if (real(f)->pMethods)
        f->pMethods = &methods;
    return rc;
}

void vfs_install(void)
{
    below = sqlite3_vfs_find("unix");
    shim = *below;
    shim.zName = "failing";
    shim.szOsFile = (int)sizeof(struct file) + below->szOsFile;
    shim.xOpen = v_open;
    (void)sqlite3_vfs_register(&shim, 1);
}

void vfs_heal(void)
{
    atomic_store(&vfs_writes_left, -1);
    atomic_store(&vfs_syncs_left, -1);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/pass_vfs.h"

#include <stdlib.h>
#include <string.h>

static sqlite3_vfs *below;
static sqlite3_vfs shim;

struct pass_file *pass_file(sqlite3_file *f)
{
    return (struct pass_file *)(void *)f;
}

sqlite3_file *pass_real(sqlite3_file *f)
{
    return (sqlite3_file *)(void *)(pass_file(f) + 1);
}

sqlite3_vfs *pass_below(void)
{
    return below;
}

#define REAL(f, call) pass_real(f)->pMethods->call

static int f_close(sqlite3_file *f)
{
    return REAL(f, xClose)(pass_real(f));
}

static int f_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at)
{
    return REAL(f, xRead)(pass_real(f), to, n, at);
}

static int f_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
    return REAL(f, xWrite)(pass_real(f), from, n, at);
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return REAL(f, xTruncate)(pass_real(f), size);
}

static int f_sync(sqlite3_file *f, int flags)
{
    return REAL(f, xSync)(pass_real(f), flags);
}

static int f_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return REAL(f, xFileSize)(pass_real(f), size);
}

static int f_lock(sqlite3_file *f, int level)
{
    return REAL(f, xLock)(pass_real(f), level);
}

static int f_unlock(sqlite3_file *f, int level)
{
    return REAL(f, xUnlock)(pass_real(f), level);
}

static int f_reserved(sqlite3_file *f, int *out)
{
    return REAL(f, xCheckReservedLock)(pass_real(f), out);
}

static int f_control(sqlite3_file *f, int op, void *arg)
{
    return REAL(f, xFileControl)(pass_real(f), op, arg);
}

static int f_sector(sqlite3_file *f)
{
    return REAL(f, xSectorSize)(pass_real(f));
}

static int f_device(sqlite3_file *f)
{
    return REAL(f, xDeviceCharacteristics)(pass_real(f));
}

static int f_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return REAL(f, xShmMap)(pass_real(f), page, size, extend, out);
}

static int f_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return REAL(f, xShmLock)(pass_real(f), offset, n, flags);
}

static void f_shm_barrier(sqlite3_file *f)
{
    REAL(f, xShmBarrier)(pass_real(f));
}

static int f_shm_unmap(sqlite3_file *f, int remove)
{
    return REAL(f, xShmUnmap)(pass_real(f), remove);
}

static sqlite3_io_methods passing = {
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

int pass_open(sqlite3_vfs *vfs, sqlite3_filename path, sqlite3_file *f, int flags, int *out)
{
    int rc;

    (void)vfs;
    memset(f, 0, sizeof(struct pass_file));
    pass_file(f)->flags = flags;
    rc = below->xOpen(below, path, pass_real(f), flags, out);
    if (pass_real(f)->pMethods)
        f->pMethods = &passing;
    return rc;
}

#define TAKE(to, from, call)                                                                                 \
    do {                                                                                                     \
        if ((from)->call)                                                                                    \
            (to).call = (from)->call;                                                                        \
    } while (0)

static void take_methods(const sqlite3_io_methods *own)
{
    TAKE(passing, own, xRead);
    TAKE(passing, own, xWrite);
    TAKE(passing, own, xTruncate);
    TAKE(passing, own, xSync);
    TAKE(passing, own, xFileSize);
    TAKE(passing, own, xLock);
    TAKE(passing, own, xShmMap);
    TAKE(passing, own, xShmLock);
}

void pass_install(const char *name, const sqlite3_vfs *vfs, const sqlite3_io_methods *methods)
{
    below = sqlite3_vfs_find("unix");
    if (!below)
        abort();
    shim = *below;
    shim.zName = name;
    shim.szOsFile = (int)sizeof(struct pass_file) + below->szOsFile;
    shim.xOpen = pass_open;
    TAKE(shim, vfs, xOpen);
    TAKE(shim, vfs, xDelete);
    TAKE(shim, vfs, xAccess);
    take_methods(methods);
    if (sqlite3_vfs_register(&shim, 1))
        abort();
}

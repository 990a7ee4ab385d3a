/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between SQLite's writing connection and its log file. SQLite writes each frame in two pieces, a header of 24 bytes
 * and a page; here they are gathered, and go out in one write when SQLite syncs, reads, or writes elsewhere. Nobody is
 * told of a transaction before that: with synchronous=FULL a COMMIT syncs first, and readers learn of its frames after.
 * All else, and all other files, are passed on to SQLite's own VFS (whichever is the default when a file is opened).
 */
#include "db/sqlite_priv.h"

#include "server/base/alloc.h"

#define VFS_NAME    "vtpm-log"
#define GATHER_MIN  65536u
#define GATHER_MAX  (1u << 20) /* then it goes out in several writes */
#define PIECE       65536u /* SQLite's own VFS writes 131,071 bytes at most in one call */

struct log_file {
    sqlite3_file base;
    sqlite3_file *real; /* owned */
    bool is_log;
    bool lost;          /* a write failed: what stands from `at` on is not what SQLite wrote */
    uint8_t *bytes;     /* gathered, for the place `at` */
    size_t len, room;
    sqlite3_int64 at;
};

static struct log_file *of(sqlite3_file *f)
{
    return (struct log_file *)(void *)f;
}

#define REAL(f, call) of(f)->real->pMethods->call

/* What cannot be written is dropped: written later it could bring a transaction back that was reported as failed. */
static int put(struct log_file *f)
{
    int rc = SQLITE_OK;

    if (!f->len)
        return SQLITE_OK;
    for (size_t done = 0; !rc && done < f->len; done += PIECE)
        rc = f->real->pMethods->xWrite(f->real, f->bytes + done, (int)VT_MIN(f->len - done, PIECE),
                                       f->at + (sqlite3_int64)done);
    f->len = 0;
    f->lost = rc != SQLITE_OK;
    return rc;
}

static bool make_room(struct log_file *f, size_t more)
{
    size_t room = f->room ? f->room : GATHER_MIN;
    uint8_t *bytes;

    if (f->len + more > GATHER_MAX)
        return false;
    while (room < f->len + more)
        room *= 2;
    if (room == f->room)
        return true;
    bytes = vt_realloc(f->bytes, room);
    if (!bytes)
        return false;
    f->bytes = bytes;
    f->room = room;
    return true;
}

static int gather(struct log_file *f, const void *from, size_t n, sqlite3_int64 at)
{
    int rc = SQLITE_OK;

    /* The next transaction begins at or before what was lost. */
    if (f->lost && at > f->at)
        return SQLITE_IOERR_WRITE;
    f->lost = false;
    if (at != f->at + (sqlite3_int64)f->len || !make_room(f, n))
        rc = put(f);
    if (rc)
        return rc;
    if (!f->len)
        f->at = at;
    if (!make_room(f, n))
        return f->real->pMethods->xWrite(f->real, from, (int)n, at);
    memcpy(f->bytes + f->len, from, n);
    f->len += n;
    return SQLITE_OK;
}

/* ---- A file's methods ---- */

static int f_close(sqlite3_file *f)
{
    int rc = REAL(f, xClose)(of(f)->real);

    /* What was not synced was promised to nobody. */
    vt_free(of(f)->bytes);
    vt_free(of(f)->real);
    return rc;
}

static int f_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at)
{
    int rc = put(of(f));

    if (!rc && of(f)->lost && at + n > of(f)->at)
        rc = SQLITE_IOERR_READ;
    return rc ? rc : REAL(f, xRead)(of(f)->real, to, n, at);
}

static int f_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
    return of(f)->is_log ? gather(of(f), from, (size_t)n, at) : REAL(f, xWrite)(of(f)->real, from, n, at);
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    int rc = put(of(f));

    return rc ? rc : REAL(f, xTruncate)(of(f)->real, size);
}

static int f_sync(sqlite3_file *f, int flags)
{
    int rc = put(of(f));

    return rc ? rc : REAL(f, xSync)(of(f)->real, flags);
}

static int f_size(sqlite3_file *f, sqlite3_int64 *size)
{
    int rc = put(of(f));

    return rc ? rc : REAL(f, xFileSize)(of(f)->real, size);
}

static int f_lock(sqlite3_file *f, int level)
{
    return REAL(f, xLock)(of(f)->real, level);
}

static int f_unlock(sqlite3_file *f, int level)
{
    return REAL(f, xUnlock)(of(f)->real, level);
}

static int f_reserved(sqlite3_file *f, int *out)
{
    return REAL(f, xCheckReservedLock)(of(f)->real, out);
}

static int f_control(sqlite3_file *f, int op, void *arg)
{
    return REAL(f, xFileControl)(of(f)->real, op, arg);
}

static int f_sector(sqlite3_file *f)
{
    return REAL(f, xSectorSize)(of(f)->real);
}

static int f_device(sqlite3_file *f)
{
    return REAL(f, xDeviceCharacteristics)(of(f)->real);
}

static int f_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return REAL(f, xShmMap)(of(f)->real, page, size, extend, out);
}

static int f_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return REAL(f, xShmLock)(of(f)->real, offset, n, flags);
}

static void f_shm_barrier(sqlite3_file *f)
{
    REAL(f, xShmBarrier)(of(f)->real);
}

static int f_shm_unmap(sqlite3_file *f, int remove)
{
    return REAL(f, xShmUnmap)(of(f)->real, remove);
}

/* Version 2: without memory mapping, which is off. */
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

/* ---- The VFS ---- */

static int v_open(sqlite3_vfs *vfs, sqlite3_filename path, sqlite3_file *file, int flags, int *out)
{
    struct log_file *f = of(file);
    sqlite3_vfs *below = sqlite3_vfs_find(NULL);
    int rc;

    (void)vfs;
    memset(f, 0, sizeof *f);
    f->real = vt_calloc(1, (size_t)below->szOsFile);
    if (!f->real)
        return SQLITE_NOMEM;
    f->is_log = (flags & SQLITE_OPEN_WAL) != 0;
    rc = below->xOpen(below, path, f->real, flags, out);
    if (f->real->pMethods)
        f->base.pMethods = &methods;
    else
        vt_free(f->real);
    return rc;
}

static int v_delete(sqlite3_vfs *vfs, const char *path, int sync_dir)
{
    sqlite3_vfs *below = sqlite3_vfs_find(NULL);

    (void)vfs;
    return below->xDelete(below, path, sync_dir);
}

static int v_access(sqlite3_vfs *vfs, const char *path, int flags, int *out)
{
    sqlite3_vfs *below = sqlite3_vfs_find(NULL);

    (void)vfs;
    return below->xAccess(below, path, flags, out);
}

const char *logfile_vfs(void)
{
    static sqlite3_vfs own;
    sqlite3_vfs *below = sqlite3_vfs_find(NULL);

    if (sqlite3_vfs_find(VFS_NAME))
        return VFS_NAME;
    if (!below)
        return NULL;
    own = *below;
    own.pNext = NULL;
    own.zName = VFS_NAME;
    own.szOsFile = (int)sizeof(struct log_file);
    own.xOpen = v_open;
    own.xDelete = v_delete;
    own.xAccess = v_access;
    return sqlite3_vfs_register(&own, 0) ? NULL : VFS_NAME;
}

int logfile_reserve(sqlite3 *sq, sqlite3_int64 size)
{
    static const uint8_t zeros[PIECE];
    sqlite3_file *f = NULL;
    sqlite3_int64 end = 0;
    int rc = sqlite3_file_control(sq, "main", SQLITE_FCNTL_JOURNAL_POINTER, &f);

    if (rc || !f || f->pMethods != &methods)
        return rc ? rc : SQLITE_CANTOPEN;
    rc = f->pMethods->xFileSize(f, &end);
    if (rc || end >= size)
        return rc;
    while (!rc && end < size) {
        const sqlite3_int64 n = VT_MIN(size - end, (sqlite3_int64)sizeof zeros);

        rc = REAL(f, xWrite)(of(f)->real, zeros, (int)n, end);
        end += n;
    }
    return rc ? rc : f->pMethods->xSync(f, SQLITE_SYNC_NORMAL);
}

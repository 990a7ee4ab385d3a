/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy of the store beside the running writer: SQLite's backup API from a connection whose read transaction pins
 * one COMMIT. Under write-ahead logging neither waits for the other; the log can only not be emptied meanwhile.
 */
#include "db/sqlite_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "server/base/alloc.h"

#define STEP_PAGES 256                 /* between two looks at check_cancel */
#define ROOM_LEFT  ((uint64_t)64 << 20) /* that a backup may not take from the store */

static int has_room(const char *path, uint64_t bytes, struct vt_why *why)
{
    struct statvfs fs;

    if (statvfs(path, &fs))
        return vt_fail(why, VT_EIO, "%s: %s", path, strerror(errno));
    if ((uint64_t)fs.f_bavail * fs.f_frsize >= bytes + ROOM_LEFT)
        return VT_OK;
    return vt_fail(why, VT_ENOSPC, "%s: a backup needs %llu MiB there for as long as it takes, and 64 MiB beside; "
                   "%llu MiB are free", path, (unsigned long long)(bytes >> 20),
                   (unsigned long long)(((uint64_t)fs.f_bavail * fs.f_frsize) >> 20));
}

static int make_empty(const char *path, struct vt_why *why)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return vt_fail(why, errno == EEXIST ? VT_EEXISTS : VT_EIO, "%s: %s", path, strerror(errno));
    close(fd);
    return VT_OK;
}

static int copy_pages(struct db *db, sqlite3 *to, sqlite3 *from)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    int rc = SQLITE_OK, ended;

    if (!backup)
        return sqlite3_errcode(to);
    while (rc == SQLITE_OK && !atomic_load(&db->check_cancel))
        rc = sqlite3_backup_step(backup, STEP_PAGES);
    ended = sqlite3_backup_finish(backup);
    if (rc == SQLITE_OK)
        return SQLITE_INTERRUPT;
    return rc == SQLITE_DONE ? ended : rc;
}

/* The file is ours alone and is thrown away if this does not come to an end: no journal, no sync. */
static int copy_to(struct db *db, struct conn *from, const char *path, struct vt_why *why)
{
    sqlite3 *to = NULL;
    int rc = sqlite3_open_v2(path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, NULL);

    if (!rc && conn_harden(to))
        rc = SQLITE_ERROR;
    if (!rc)
        rc = sqlite3_exec(to, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF", NULL, NULL, NULL);
    if (!rc)
        rc = copy_pages(db, to, from->sq);
    if (sqlite3_close(to) && !rc)
        rc = SQLITE_IOERR;
    if (!rc)
        return VT_OK;
    if (rc == SQLITE_INTERRUPT)
        return VT_ECLOSED;
    return vt_fail(why, rc == SQLITE_FULL ? VT_ENOSPC : db_err(rc), "%s: the copy cannot be written: %s", path,
                   sqlite3_errstr(rc));
}

static int size_of(struct conn *conn, uint64_t *bytes)
{
    int64_t pages, size;
    int err = conn_int(conn->sq, "PRAGMA page_count", &pages);

    if (!err)
        err = conn_int(conn->sq, "PRAGMA page_size", &size);
    *bytes = err ? 0 : (uint64_t)pages * (uint64_t)size;
    return err;
}

static int count(struct conn *conn, uint64_t *instances)
{
    struct q q;

    q_open(&q, conn, R_INSTANCE_COUNT);
    if (q_row(&q))
        *instances = (uint64_t)q_get_i64(&q, 0);
    return q_close(&q);
}

/* In the read transaction: what is copied is what was verified. */
static int copy_one_commit(struct db *db, struct conn *conn, const char *path, struct db_backup *out,
                           struct vt_why *why)
{
    struct vt_why named = {""};
    struct db_set set;
    int err = set_verify(&set, &db->mac, conn, &named);

    if (err == VT_EDAMAGED)
        return vt_fail(why, err, "%s is damaged%s%s: a copy of it would be; vtpmctl check", db->path,
                       named.text[0] ? ": " : "", named.text);
    if (!err)
        err = size_of(conn, &out->bytes);
    if (!err)
        err = count(conn, &out->instances);
    if (err)
        return err;
    out->generation = set.generation;
    err = make_empty(path, why);
    if (err)
        return err;
    err = has_room(path, out->bytes, why);
    if (!err)
        err = copy_to(db, conn, path, why);
    if (err)
        (void)unlink(path);
    return err;
}

int db_backup(struct db *db, const char *path, struct db_backup *out, struct vt_why *why)
{
    struct conn *conn;
    int err = conn_open(&conn, db->path, SQLITE_OPEN_READONLY, why);

    memset(out, 0, sizeof *out);
    if (err)
        return err;
    err = stmt_run(conn, R_BEGIN);
    if (!err)
        err = copy_one_commit(db, conn, path, out, why);
    conn_close(conn);
    return err ? vt_fail(why, err, "the store cannot be copied: %s", vt_err_text(err)) : VT_OK;
}

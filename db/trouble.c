/* SPDX-License-Identifier: Apache-2.0 */
/* What keeps the store from being written: said when it begins, changes and is over; not per request. */
#include "db/sqlite_priv.h"

#include <errno.h>
#include <stdio.h>

#include "server/base/log.h"

static enum trouble by_errno(int number)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return TROUBLE_FULL;
    case EROFS:
        return TROUBLE_READONLY;
    default:
        return TROUBLE_OTHER;
    }
}

/* Some of SQLite's own codes are about nothing but the write that failed: then errno knows better. */
static enum trouble classify(int rc, int system_errno)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return TROUBLE_FULL;
    case SQLITE_READONLY:
        return TROUBLE_READONLY;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return TROUBLE_LOCKED;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        return by_errno(system_errno);
    default:
        return TROUBLE_OTHER;
    }
}

static void describe(const struct db *db, enum trouble trouble, int rc, struct vt_why *why)
{
    const char *path = db->path;

    why->text[0] = '\0';
    switch (trouble) {
    case TROUBLE_FULL:
        vt_fail(why, 0, "the file system of %s is full: make room there", path);
        return;
    case TROUBLE_READONLY:
        vt_fail(why, 0, "the file system of %s is read-only: see the kernel's log, then mount it read-write",
                path);
        return;
    case TROUBLE_LOCKED:
        vt_fail(why, 0, "another program holds a lock on %s: end it", db->path);
        return;
    case TROUBLE_NONE:
    case TROUBLE_OTHER:
        break;
    }
    vt_fail(why, 0, "%s cannot be written: %s", db->path, sqlite3_errstr(rc));
}

void trouble_begin(struct db *db, int rc, int system_errno)
{
    enum trouble trouble = classify(rc, system_errno);
    struct vt_why why;

    if (trouble == db->trouble)
        return;
    describe(db, trouble, rc, &why);
    pthread_mutex_lock(&db->lock);
    db->trouble = trouble;
    db->trouble_why = why;
    pthread_mutex_unlock(&db->lock);
    vt_error("store: %s; until then nothing new is written and guests are told to retry", why.text);
}

void trouble_end(struct db *db)
{
    if (db->trouble == TROUBLE_NONE)
        return;
    pthread_mutex_lock(&db->lock);
    db->trouble = TROUBLE_NONE;
    pthread_mutex_unlock(&db->lock);
    vt_notice("store: %s is written again; nothing that was answered is lost", db->path);
}

bool db_trouble(struct db *db, struct vt_why *why)
{
    bool is;

    pthread_mutex_lock(&db->lock);
    is = db->trouble != TROUBLE_NONE;
    if (is)
        *why = db->trouble_why;
    pthread_mutex_unlock(&db->lock);
    return is;
}

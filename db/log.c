/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The care of the log file, between two batches: folding it into the database, keeping room in it, erasing it.
 * SQLite would fold within a COMMIT; here it is done after the answers have left, in a quiet moment, or when the log
 * has grown long. A log that was folded whole is written again from its beginning, so that its file does not grow and
 * a sync has no new size to write down.
 */
#include "db/sqlite_priv.h"

#include "server/base/log.h"

#define FOLD_FRAMES 1000 /* then at once */
#define IDLE_FRAMES 250  /* then in a quiet moment */

/* After each COMMIT. In place of this hook SQLite would fold. */
static int on_frames(void *ctx, sqlite3 *sq, const char *name, int frames)
{
    struct db *db = ctx;

    (void)sq;
    (void)name;
    if (frames < db->log_folded)
        db->log_folded = 0; /* it began anew */
    db->log_frames = frames;
    return SQLITE_OK;
}

void log_watch(struct db *db)
{
    db->log_frames = db->log_folded = 0;
    db->log_next = FOLD_FRAMES;
    db->log_quiet = IDLE_FRAMES;
    db->log_reserved = false;
    (void)sqlite3_wal_hook(db->writer->sq, on_frames, db);
}

static int backlog(const struct db *db)
{
    return db->log_frames - db->log_folded;
}

/* As much as no reader is in the way of; nobody is waited for. */
static void fold(struct db *db)
{
    int frames = 0, folded = 0;
    int rc = sqlite3_wal_checkpoint_v2(db->writer->sq, NULL, SQLITE_CHECKPOINT_PASSIVE, &frames, &folded);

    if (rc) {
        vt_debug("store: the log could not be folded back: %s", sqlite3_errstr(rc));
    } else {
        db->log_frames = frames;
        db->log_folded = folded;
    }
    /* What a reader holds back is not tried again for every batch. */
    db->log_next = backlog(db) + FOLD_FRAMES;
    db->log_quiet = backlog(db) + IDLE_FRAMES;
}

/* The write lock is held meanwhile: a program that wrote to the log at the same time would write at its end, too. */
static void reserve(struct db *db)
{
    int rc;

    db->log_reserved = true; /* or not to be had: no harm */
    if (!db->config.log_reserve || stmt_run(db->writer, W_BEGIN))
        return;
    rc = logfile_reserve(db->writer->sq, (sqlite3_int64)db->config.log_reserve);
    if (rc)
        vt_debug("store: no room could be kept in the log file: %s", sqlite3_errstr(rc));
    if (stmt_run(db->writer, W_ROLLBACK))
        vt_debug("store: roll-back failed: %s", sqlite3_errmsg(db->writer->sq));
}

bool log_wants_quiet(const struct db *db)
{
    return db->writer && !db->damaged && (!db->log_reserved || backlog(db) >= db->log_quiet);
}

void log_tend(struct db *db, bool quiet)
{
    if (!db->writer || db->damaged)
        return;
    if (backlog(db) >= (quiet ? db->log_quiet : db->log_next))
        fold(db);
    if (quiet && !db->log_reserved)
        reserve(db);
}

void log_erase(struct db *db, int64_t now)
{
    int rc;

    if (!db->erase_pending || !db->writer || now < db->erase_after)
        return;
    sqlite3_busy_timeout(db->writer->sq, 0);
    rc = sqlite3_wal_checkpoint_v2(db->writer->sq, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    sqlite3_busy_timeout(db->writer->sq, DB_BUSY_MS);
    db->erase_pending = rc != SQLITE_OK;
    db->erase_after = rc ? now + 1 : 0;
    if (rc)
        vt_info("store: erased data stays in the log file for now: %s", sqlite3_errstr(rc));
    else
        log_watch(db);
}

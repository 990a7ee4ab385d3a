/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One batch, one transaction, one sync. A request that is fenced or in conflict has changed nothing and is passed
 * over. Should one fail half-way, the transaction is rolled back and done again with each request in a savepoint of
 * its own, so that it takes only itself back; a savepoint costs a copy of each page that is changed, which is why they
 * are not there from the beginning. The set digest is staged beside the transaction and adopted after the COMMIT.
 */
#include "db/sqlite_priv.h"

#include <time.h>

#include "server/base/log.h"

int flip_one(struct txn *t, enum stmt id, enum row_sign sign)
{
    struct q q;

    q_open(&q, t->conn, id);
    return set_flip(&t->set, &t->db->mac, &q, id, sign);
}

int flip_uuid(struct txn *t, enum stmt id, const struct vt_uuid *uuid, enum row_sign sign)
{
    struct q q;

    q_open(&q, t->conn, id);
    q_uuid(&q, uuid);
    return set_flip(&t->set, &t->db->mac, &q, id, sign);
}

int flip_text(struct txn *t, enum stmt id, const char *key, enum row_sign sign)
{
    struct q q;

    q_open(&q, t->conn, id);
    q_text(&q, key);
    return set_flip(&t->set, &t->db->mac, &q, id, sign);
}

int flip_id(struct txn *t, enum stmt id, int64_t key, enum row_sign sign)
{
    struct q q;

    q_open(&q, t->conn, id);
    q_i64(&q, key);
    return set_flip(&t->set, &t->db->mac, &q, id, sign);
}

static void fail_all(struct vt_list *batch, int err)
{
    VT_LIST_EACH (batch, node)
        VT_LIST_ENTRY(node, struct request, node)->err = err;
}

static void met_trouble(struct txn *t)
{
    sqlite3 *sq = t->conn->sq;

    t->refused = true;
    trouble_begin(t->db, sqlite3_extended_errcode(sq), sqlite3_system_errno(sq));
}

/* What the caller can act upon; the rest is said in the log and means "not now". */
static int outcome(struct txn *t, int err)
{
    switch (err) {
    case VT_EUNAVAILABLE:
        met_trouble(t);
        return err;
    case VT_OK:
    case VT_EFENCED:
    case VT_ECONFLICT:
    case VT_EEXISTS:
    case VT_ENOTFOUND:
    case VT_EUSAGE:
        return err;
    default:
        vt_warning("store: a request failed: %s: %s", vt_err_text(err), sqlite3_errmsg(t->conn->sq));
        return VT_EUNAVAILABLE;
    }
}

/* What became of the transaction. */
enum ran {
    RAN,     /* it goes on */
    SPOILT,  /* a request that failed has left something in it */
    GIVEN_UP /* by SQLite */
};

/* Keeps or, on err, takes back what was done in the savepoint. */
static enum ran end_savepoint(struct txn *t, const struct db_set *before, int err)
{
    if (sqlite3_get_autocommit(t->conn->sq))
        return GIVEN_UP;
    if (err) {
        t->set = *before;
        err = stmt_run(t->conn, W_SAVE_UNDO);
    }
    return !err && stmt_run(t->conn, W_SAVE_DROP) == VT_OK ? RAN : GIVEN_UP;
}

static int execute(struct txn *t, struct request *req)
{
    int err = db_verbs[req->verb](t, req);

    if (!err && req->has_audit)
        err = event_append(t, &req->audit);
    return err;
}

static enum ran run_apart(struct txn *t, struct request *req)
{
    const struct db_set before = t->set;
    int err = stmt_run(t->conn, W_SAVE);

    if (!err)
        err = execute(t, req);
    req->err = outcome(t, err);
    return end_savepoint(t, &before, err);
}

static enum ran run_plain(struct txn *t, struct request *req)
{
    sqlite3 *sq = t->conn->sq;
    const struct db_set before = t->set;
    const int changes = sqlite3_total_changes(sq);
    int err = execute(t, req);

    req->err = outcome(t, err);
    if (sqlite3_get_autocommit(sq))
        return GIVEN_UP;
    if (!err)
        return RAN;
    t->set = before;
    return sqlite3_total_changes(sq) == changes ? RAN : SPOILT;
}

/* Old events go in the same transaction; if they cannot, the next one tries again. */
static enum ran prune(struct txn *t)
{
    const struct db_set before = t->set;
    int err;

    if (!t->newest)
        return RAN;
    err = stmt_run(t->conn, W_SAVE);
    if (!err)
        err = event_prune(t);
    if (err == VT_EUNAVAILABLE)
        met_trouble(t);
    else if (err)
        vt_warning("store: old events could not be pruned: %s", vt_err_text(err));
    return end_savepoint(t, &before, err);
}

/* The MAC over what the transaction leaves; fails if someone else wrote meta since our last COMMIT. */
static int seal_meta(struct txn *t)
{
    uint8_t mac[DB_HASH];
    struct q q;
    int err;

    t->db->mac.seal(t->db->mac.ctx, t->set.digest, t->set.generation, t->set.rows, mac);
    q_open(&q, t->conn, W_META);
    q_i64(&q, (int64_t)t->set.generation);
    q_i64(&q, (int64_t)t->set.rows);
    q_blob(&q, mac, sizeof mac);
    q_i64(&q, (int64_t)t->db->set.generation);
    err = q_run(&q);
    if (!err && sqlite3_changes(t->conn->sq) != 1) {
        vt_error("store: %s was written by another program; nothing more is written to it", t->db->path);
        t->db->damaged = true;
        err = VT_EDAMAGED;
    }
    return err;
}

#ifdef VTPM_TEST_HOOKS
static int injected(struct db *db, bool after)
{
    int rc = SQLITE_OK;

    pthread_mutex_lock(&db->lock);
    if (db->fail_commits && db->fail_after == after) {
        db->fail_commits--;
        rc = db->fail_err == VT_EUNKNOWN ? SQLITE_IOERR_FSYNC : SQLITE_FULL;
    }
    pthread_mutex_unlock(&db->lock);
    return rc;
}
#else
static int injected(struct db *db, bool after)
{
    (void)db;
    (void)after;
    return SQLITE_OK;
}
#endif

/* COMMIT with SQLite's own code, which tells what is certain. */
static int commit(struct txn *t)
{
    struct q q;
    int rc = injected(t->db, false);

    if (rc)
        return rc;
    q_open(&q, t->conn, W_COMMIT);
    while (q_row(&q))
        ;
    rc = q.rc;
    return q_close(&q) ? rc : injected(t->db, true);
}

/*
 * With these the frame that makes the transaction valid was never written whole. After anything else, above
 * all a failed sync, it may be in the log file, and a crash before the next COMMIT overwrites it could bring
 * it back.
 */
static bool certainly_not_written(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
    case SQLITE_READONLY:
    case SQLITE_BUSY:
        return true;
    default:
        return false;
    }
}

static void roll_back(struct conn *conn)
{
    if (!sqlite3_get_autocommit(conn->sq) && stmt_run(conn, W_ROLLBACK))
        vt_warning("store: roll-back failed: %s", sqlite3_errmsg(conn->sq));
}

/* Opens again after an unknown outcome: the store must verify, and be at our last generation or the one after
 * it. */
static int reopen(struct db *db)
{
    struct vt_why why = {""};
    struct db_set set;
    int err = conn_open(&db->writer, db->path, SQLITE_OPEN_READWRITE, &why);

    if (!err)
        err = conn_prepare_all(db->writer, &why);
    if (!err)
        err = stmt_run(db->writer, R_BEGIN);
    if (!err) {
        err = set_verify(&set, &db->mac, db->writer, &why);
        roll_back(db->writer);
    }
    if (!err && set.generation != db->set.generation && set.generation != db->set.generation + 1)
        err = vt_fail(&why, VT_EDAMAGED, "it is at generation %llu, not %llu",
                      (unsigned long long)set.generation, (unsigned long long)db->set.generation);
    if (!err) {
        vt_debug("store: opened again at generation %llu", (unsigned long long)set.generation);
        db->set = set;
        log_watch(db);
        return VT_OK;
    }
    db->damaged = err == VT_EDAMAGED;
    if (db->damaged)
        vt_error("store: %s cannot be opened again: %s%s%s", db->path, vt_err_text(err), why.text[0] ? ": " : "",
                 why.text);
    else
        vt_debug("store: %s cannot be opened again yet: %s", db->path, why.text);
    conn_close(db->writer);
    db->writer = NULL;
    return err;
}

static void finish(struct txn *t, struct vt_list *batch)
{
    struct db *db = t->db;
    int rc = SQLITE_OK;

    if (t->set.changed && seal_meta(t)) {
        if (!db->damaged)
            met_trouble(t);
        fail_all(batch, VT_EUNAVAILABLE);
        return;
    }
    rc = commit(t);
    if (!rc) {
        if (t->set.changed)
            db->set = t->set;
        db->erase_pending |= t->erased;
        /* An empty COMMIT succeeds on a full disk too. */
        if (t->set.changed && !t->refused)
            trouble_end(db);
        return;
    }
    trouble_begin(db, rc, sqlite3_system_errno(t->conn->sq));
    if (certainly_not_written(rc)) {
        fail_all(batch, VT_EUNAVAILABLE);
        return;
    }
    fail_all(batch, VT_EUNKNOWN);
    roll_back(db->writer);
    conn_close(db->writer);
    db->writer = NULL;
}

static int begin(struct txn *t, struct db *db, bool apart)
{
    int err;

    *t = (struct txn){.db = db, .conn = db->writer, .set = db->set, .now = (int64_t)time(NULL), .apart = apart};
    t->set.generation++;
    t->set.changed = false;
    err = stmt_run(t->conn, W_BEGIN);
    if (err)
        met_trouble(t);
    return err;
}

static enum ran run_all(struct txn *t, struct vt_list *batch)
{
    enum ran ran = RAN;

    VT_LIST_EACH (batch, node) {
        struct request *req = VT_LIST_ENTRY(node, struct request, node);

        if (ran == RAN)
            ran = t->apart ? run_apart(t, req) : run_plain(t, req);
    }
    return ran == RAN ? prune(t) : ran;
}

void writer_batch(struct db *db, struct vt_list *batch)
{
    struct txn t;
    enum ran ran = GIVEN_UP;

    if (db->damaged || (!db->writer && reopen(db))) {
        fail_all(batch, VT_EUNAVAILABLE);
        return;
    }
    if (!begin(&t, db, false))
        ran = run_all(&t, batch);
    if (ran == SPOILT) {
        roll_back(db->writer);
        ran = begin(&t, db, true) ? GIVEN_UP : run_all(&t, batch);
    }
    if (ran == RAN)
        finish(&t, batch);
    else
        fail_all(batch, VT_EUNAVAILABLE);
    if (db->writer)
        roll_back(db->writer);
    log_erase(db, t.now);
}

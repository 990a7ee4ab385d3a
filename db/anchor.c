/* SPDX-License-Identifier: Apache-2.0 */
/* The rows that say what the host TPM must hold: read, and written by the three verbs on them. */
#include "db/sqlite_priv.h"

#include "server/base/alloc.h"
#include "server/base/secret.h"

enum { DONE, PENDING };

/* Columns as in COLS_ANCHOR. */
static void read_row(struct q *q, struct db_anchor *out)
{
    int64_t nv = q_get_i64(q, 6);

    memset(out, 0, sizeof *out);
    out->epoch = (uint64_t)q_get_i64(q, 1);
    out->generation = (uint64_t)q_get_i64(q, 2);
    q_get_fixed(q, 3, out->digest, sizeof out->digest);
    q_get_fixed(q, 4, out->previous, sizeof out->previous);
    out->time = q_get_i64(q, 5);
    if (nv < 0 || nv > UINT32_MAX)
        q_damaged(q);
    out->nv = (uint32_t)nv;
    q_get_text(q, 7, out->place, sizeof out->place);
}

static int read_one(struct conn *conn, bool pending, struct db_anchor *out)
{
    struct q q;
    bool there;
    int err;

    q_open(&q, conn, R_ANCHOR);
    q_i64(&q, pending ? PENDING : DONE);
    there = q_row(&q);
    if (there)
        read_row(&q, out);
    err = q_close(&q);
    return err || there ? err : VT_ENOTFOUND;
}

int db_anchor_get(struct db *db, bool pending, struct db_anchor *out)
{
    struct conn *conn;
    int err = pool_take(db, &conn);

    if (err)
        return err;
    err = read_one(conn, pending, out);
    pool_give(db, conn);
    return err;
}

/* ---- Requests ---- */

static struct request *ask(enum verb verb, const struct db_audit *audit, db_done done, void *arg)
{
    struct request *req = VT_NEW(struct request);

    if (!req)
        return NULL;
    vt_list_init(&req->node);
    req->verb = verb;
    req->done = done;
    req->arg = arg;
    req->has_audit = audit != NULL;
    if (audit)
        audit_copy(&req->audit, audit);
    return req;
}

int db_anchor_put(struct db *db, const struct db_anchor *next, bool alone, struct db_anchor *made,
                  const struct db_audit *audit, db_done done, void *arg)
{
    struct request *req;

    if (!next->epoch || next->epoch > INT64_MAX || strnlen(next->place, sizeof next->place) == sizeof next->place ||
        strlen(next->place) < 4)
        return VT_EUSAGE;
    req = ask(VERB_ANCHOR_PUT, audit, done, arg);
    if (!req)
        return VT_ENOMEM;
    req->is_alone = alone;
    req->anchor_out = made;
    req->extra = vt_memdup(next, sizeof *next);
    req->extra_len = sizeof *next;
    if (!req->extra) {
        request_free(req);
        return VT_ENOMEM;
    }
    return queue_put(db, req);
}

int db_anchor_done(struct db *db, uint64_t epoch, db_done done, void *arg)
{
    struct request *req;

    if (epoch > INT64_MAX)
        return VT_EUSAGE;
    req = ask(VERB_ANCHOR_DONE, NULL, done, arg);
    if (!req)
        return VT_ENOMEM;
    req->epoch = epoch;
    return queue_put(db, req);
}

int db_anchor_drop(struct db *db, const struct db_audit *audit, db_done done, void *arg)
{
    struct request *req = ask(VERB_ANCHOR_DROP, audit, done, arg);

    return req ? queue_put(db, req) : VT_ENOMEM;
}

/* ---- Verbs ---- */

/* Of all rows but our own, as this transaction has them: else an anchor would be a change that asks for the next. */
static int content_digest(struct txn *t, uint8_t out[DB_HASH])
{
    struct db_set rest = t->set;
    struct enc enc;
    struct q q;
    int err;

    q_open(&q, t->conn, ROWS_ANCHOR);
    err = set_flip(&rest, &t->db->mac, &q, ROWS_ANCHOR, ROW_OUT);
    if (err)
        return err;
    enc.len = 0;
    enc.full = false;
    enc_bytes(&enc, 'T', "content under an anchor", 23);
    enc_bytes(&enc, 'B', rest.digest, sizeof rest.digest);
    enc_i64(&enc, (int64_t)rest.rows);
    t->db->mac.row(t->db->mac.ctx, enc.bytes, enc.len, out);
    return VT_OK;
}

static int clear(struct txn *t)
{
    int err = flip_one(t, ROWS_ANCHOR, ROW_OUT);

    return err ? err : stmt_run(t->conn, W_ANCHOR_CLEAR);
}

/* VT_OK: a row may be added to those that are there. */
static int may_follow(struct txn *t, const struct db_anchor *next)
{
    struct db_anchor row;
    int err = read_one(t->conn, true, &row);

    if (err != VT_ENOTFOUND)
        return err ? err : VT_ECONFLICT;
    err = read_one(t->conn, false, &row);
    if (err == VT_ENOTFOUND)
        return VT_OK;
    if (!err && vt_ct_equal(row.digest, next->digest, sizeof row.digest))
        return VT_EEXISTS;
    return !err && next->epoch <= row.epoch ? VT_ECONFLICT : err;
}

static int insert(struct txn *t, const struct db_anchor *row)
{
    struct q q;
    int err;

    q_open(&q, t->conn, W_ANCHOR_INSERT);
    q_i64(&q, (int64_t)row->epoch);
    q_i64(&q, (int64_t)row->generation);
    q_blob(&q, row->digest, sizeof row->digest);
    q_blob(&q, row->previous, sizeof row->previous);
    q_i64(&q, row->time);
    q_i64(&q, row->nv);
    q_text(&q, row->place);
    err = q_run(&q);
    return err ? err : flip_id(t, ROW_ANCHOR, PENDING, ROW_IN);
}

int verb_anchor_put(struct txn *t, struct request *req)
{
    struct db_anchor *row = req->extra;
    int err = content_digest(t, row->digest);

    row->generation = t->set.generation;
    row->time = t->now;
    if (!err)
        err = req->is_alone ? clear(t) : may_follow(t, row);
    return err ? err : insert(t, row);
}

static int remove_done(struct txn *t)
{
    struct q q;
    int err = flip_id(t, ROW_ANCHOR, DONE, ROW_OUT);

    if (err)
        return err;
    q_open(&q, t->conn, W_ANCHOR_DELETE);
    q_i64(&q, DONE);
    return q_run(&q);
}

int verb_anchor_done(struct txn *t, struct request *req)
{
    struct q q;
    int err = flip_id(t, ROW_ANCHOR, PENDING, ROW_OUT);

    if (!err)
        err = remove_done(t);
    if (err)
        return err;
    q_open(&q, t->conn, W_ANCHOR_DONE);
    q_i64(&q, (int64_t)req->epoch);
    err = q_run(&q);
    if (!err && sqlite3_changes(t->conn->sq) != 1)
        err = VT_ENOTFOUND;
    return err ? err : flip_id(t, ROW_ANCHOR, DONE, ROW_IN);
}

int verb_anchor_drop(struct txn *t, struct request *req)
{
    (void)req;
    return clear(t);
}

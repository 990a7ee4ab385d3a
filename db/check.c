/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The full check, beside the running writer: one read transaction on a connection of its own, so that rows,
 * MAC and events belong to the same COMMIT.
 */
#include "db/sqlite_priv.h"

#include <stdio.h>

#include "server/base/secret.h"

/* Virtual machine steps of SQLite between two looks at check_cancel. */
#define CANCEL_STEPS 10000

/* The first finding is kept whole; more are cut at the end of the text. */
static void found(struct db_check *out, const char *what)
{
    size_t len = strlen(out->text);

    snprintf(out->text + len, sizeof out->text - len, "%s%s", len ? "; " : "", what);
}

/* One PRAGMA whose answer must be `good` (NULL: no row at all). */
static int check_pragma(struct conn *conn, const char *sql, const char *good, bool *ok, char *said,
                        size_t size)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(conn->sq, sql, -1, &st, NULL);

    if (!rc)
        rc = sqlite3_step(st);
    *ok = rc == SQLITE_DONE && !good;
    said[0] = '\0';
    if (rc == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(st, 0);

        snprintf(said, size, "%s", text ? text : "");
        *ok = good && strcmp(said, good) == 0;
    } else if (rc != SQLITE_DONE) {
        snprintf(said, size, "%s", sqlite3_errmsg(conn->sq));
    }
    sqlite3_finalize(st);
    return db_err(rc) == VT_EDAMAGED ? VT_OK : db_err(rc);
}

static int check_structure(struct conn *conn, struct db_check *out)
{
    struct vt_why why = {""};
    char said[256], line[320];
    bool pages, keys = true;
    int err = check_pragma(conn, "PRAGMA quick_check(1)", "ok", &pages, said, sizeof said);

    if (!pages) {
        snprintf(line, sizeof line, "file: %s", said);
        found(out, line);
    } else if (!err) {
        err = check_pragma(conn, "PRAGMA foreign_key_check", NULL, &keys, said, sizeof said);
        if (!keys) {
            snprintf(line, sizeof line, "table %s refers to rows that are not there", said);
            found(out, line);
        }
    }
    out->structure_ok = pages && keys;
    if (err)
        return err;
    err = db_check_schema(conn->sq, &why);
    if (!err)
        err = set_explain(conn, &why);
    if (err != VT_EDAMAGED)
        return err;
    out->structure_ok = false;
    found(out, why.text[0] ? why.text : "tables cannot be read");
    return VT_OK;
}

static int check_mac(struct db *db, struct conn *conn, struct db_check *out)
{
    struct vt_why why = {""};
    struct db_set set;
    int err;

    if (!db->has_mac) {
        found(out, "MAC not checked: the store is not unlocked");
        return VT_OK;
    }
    err = set_verify(&set, &db->mac, conn, &why);
    out->mac_ok = err == VT_OK;
    if (err != VT_EDAMAGED)
        return err;
    found(out, "MAC: a row was altered, removed or replaced");
    return VT_OK;
}

/* NULL if the event follows `last` as it should, else what is wrong. */
static const char *chain_fault(const struct db_mac *mac, const struct db_event *last,
                               const struct db_event *event)
{
    uint8_t hash[DB_HASH];

    if (event->id != last->id + 1)
        return "was removed";
    if (!vt_ct_equal(event->prev_hash, last->hash, sizeof last->hash))
        return "does not follow the one before";
    event_hash(mac, event, hash);
    return vt_ct_equal(event->hash, hash, sizeof hash) ? NULL : "was altered";
}

static int check_chain(struct db *db, struct conn *conn, struct db_check *out)
{
    struct db_event event, last = {.id = 0};
    struct checkpoint checkpoint;
    const char *fault = NULL;
    char line[96];
    struct q q;
    int err;

    if (!db->has_mac)
        return VT_OK;
    err = checkpoint_read(conn, &db->mac, &checkpoint);
    if (err == VT_EDAMAGED) {
        found(out, "the checkpoint of the events was altered");
        return VT_OK;
    }
    if (err)
        return err;
    out->pruned = last.id = checkpoint.last;
    memcpy(last.hash, checkpoint.hash, sizeof last.hash);
    q_open(&q, conn, R_EVENTS);
    q_i64(&q, 0);
    q_i64(&q, INT64_MAX);
    while (!fault && q_row(&q)) {
        event_read(&q, &event);
        fault = db_err(q.rc) ? "is malformed" : chain_fault(&db->mac, &last, &event);
        if (!fault)
            last = event;
    }
    err = q_close(&q);
    out->chain_ok = !fault && !err;
    if (fault) {
        snprintf(line, sizeof line, "event %lld %s", (long long)last.id + 1, fault);
        found(out, line);
    } else if (err == VT_EDAMAGED) {
        found(out, "events cannot be read");
    }
    return err == VT_EDAMAGED ? VT_OK : err;
}

static int count_rows(struct conn *conn, struct db_check *out)
{
    uint64_t *const counts[] = {&out->instances, &out->deleted, &out->credentials, &out->keyslots,
                                &out->events, &out->bindings};
    struct q q;
    int err;

    q_open(&q, conn, R_COUNTS);
    if (q_row(&q)) {
        for (size_t i = 0; i < VT_COUNT(counts); i++)
            *counts[i] = (uint64_t)q_get_i64(&q, (int)i);
    }
    err = q_close(&q);
    return err == VT_EDAMAGED ? VT_OK : err;
}

static int is_cancelled(void *arg)
{
    struct db *db = arg;

    return atomic_load(&db->check_cancel);
}

/* A connection of its own, in a read transaction. */
static int begin(struct db *db, struct conn **conn)
{
    int err = conn_open(conn, db->path, SQLITE_OPEN_READONLY, NULL);

    if (err)
        return err;
    sqlite3_progress_handler((*conn)->sq, CANCEL_STEPS, is_cancelled, db);
    err = stmt_run(*conn, R_BEGIN);
    if (err)
        conn_close(*conn);
    return err;
}

static int end(struct db *db, struct conn *conn, int err)
{
    conn_close(conn);
    return atomic_load(&db->check_cancel) ? VT_ECLOSED : err;
}

void db_check_cancel(struct db *db)
{
    atomic_store(&db->check_cancel, true);
}

int db_check_structure(struct db *db, struct db_check *out)
{
    struct conn *conn;
    int err = begin(db, &conn);

    memset(out, 0, sizeof *out);
    return err ? err : end(db, conn, check_structure(conn, out));
}

int db_check(struct db *db, struct db_check *out)
{
    struct conn *conn;
    int err = begin(db, &conn);

    memset(out, 0, sizeof *out);
    if (err)
        return err;
    err = count_rows(conn, out);
    if (!err)
        err = check_structure(conn, out);
    if (!err)
        err = check_mac(db, conn, out);
    if (!err)
        err = check_chain(db, conn, out);
    if (!err && out->structure_ok && out->mac_ok && out->chain_ok)
        found(out, "rows, MAC and event chain are in order");
    return end(db, conn, err);
}

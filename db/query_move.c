/* SPDX-License-Identifier: Apache-2.0 */
/* Reading what belongs to moves between servers: as query.c. */
#include "db/sqlite_priv.h"

int db_server_key_get(struct db *db, struct db_server_key *out)
{
    struct conn *conn;
    struct q q;
    bool there;
    int err = pool_take(db, &conn);

    memset(out, 0, sizeof *out);
    if (err)
        return err;
    q_open(&q, conn, R_SERVER_KEY);
    there = q_row(&q);
    if (there) {
        q_get_fixed(&q, 0, out->public, sizeof out->public);
        out->sealed_len = q_get_blob(&q, 1, out->sealed, sizeof out->sealed);
    }
    return pool_end_one(db, &q, there);
}

/* Columns as in COLS_PEER, from `col` on. */
static void read_peer(struct q *q, int col, struct db_peer *out)
{
    q_get_text(q, col, out->name, sizeof out->name);
    q_get_fixed(q, col + 1, out->store.bytes, sizeof out->store.bytes);
    q_get_fixed(q, col + 2, out->public, sizeof out->public);
}

/* As in PEER_ALL. */
static void read_known(struct q *q, struct db_peer *out)
{
    read_peer(q, 0, out);
    q_get_text(q, 3, out->address, sizeof out->address);
}

int db_peer_each(struct db *db, db_peer_fn fn, void *ctx)
{
    struct db_peer peer;
    struct conn *conn;
    struct q q;
    int err = pool_take(db, &conn);

    if (err)
        return err;
    q_open(&q, conn, R_PEERS);
    while (!err && q_row(&q)) {
        memset(&peer, 0, sizeof peer);
        read_known(&q, &peer);
        err = db_err(q.rc);
        if (!err)
            err = fn(ctx, &peer);
    }
    return pool_end(db, &q, err);
}

int db_peer_get(struct db *db, const char *name, const struct vt_uuid *store, struct db_peer *out)
{
    struct conn *conn;
    struct q q;
    bool there;
    int err = pool_take(db, &conn);

    memset(out, 0, sizeof *out);
    if (err)
        return err;
    q_open(&q, conn, R_PEER);
    q_text(&q, name);
    if (name)
        q_null(&q);
    else
        q_uuid(&q, store);
    there = q_row(&q);
    if (there)
        read_known(&q, out);
    return pool_end_one(db, &q, there);
}

int db_export_get(struct db *db, const struct vt_uuid *uuid, struct db_export *out)
{
    struct conn *conn;
    struct q q;
    bool there;
    int err = pool_take(db, &conn);

    memset(out, 0, sizeof *out);
    if (err)
        return err;
    q_open(&q, conn, R_EXPORTED);
    q_uuid(&q, uuid);
    there = q_row(&q);
    if (there) {
        q_get_fixed(&q, 1, out->id, sizeof out->id);
        read_peer(&q, 2, &out->peer);
        out->time = q_get_i64(&q, 5);
    }
    return pool_end_one(db, &q, there);
}

int db_imported(struct db *db, const uint8_t id[DB_EXPORT_ID], bool *seen)
{
    struct conn *conn;
    struct q q;
    int err = pool_take(db, &conn);

    *seen = false;
    if (err)
        return err;
    q_open(&q, conn, R_IMPORTED);
    q_blob(&q, id, DB_EXPORT_ID);
    if (q_row(&q))
        *seen = q_get_i64(&q, 0) != 0;
    return pool_end(db, &q, VT_OK);
}

static void read_arriving(struct q *q, struct db_arriving *out)
{
    memset(out, 0, sizeof *out);
    q_get_fixed(q, 0, out->uuid.bytes, sizeof out->uuid.bytes);
    q_get_fixed(q, 1, out->store.bytes, sizeof out->store.bytes);
    out->sealed_len = q_get_blob(q, 2, out->sealed, sizeof out->sealed);
    out->has_ticket = q_get_blob(q, 3, out->ticket, sizeof out->ticket) == sizeof out->ticket;
    out->time = q_get_i64(q, 4);
}

int db_arriving_get(struct db *db, const struct vt_uuid *uuid, struct db_arriving *out)
{
    struct conn *conn;
    struct q q;
    bool there;
    int err = pool_take(db, &conn);

    memset(out, 0, sizeof *out);
    if (err)
        return err;
    q_open(&q, conn, R_ARRIVING);
    q_uuid(&q, uuid);
    there = q_row(&q);
    if (there)
        read_arriving(&q, out);
    return pool_end_one(db, &q, there);
}

int db_arriving_each(struct db *db, db_arriving_fn fn, void *ctx)
{
    struct db_arriving row;
    struct conn *conn;
    struct q q;
    int err = pool_take(db, &conn);

    if (err)
        return err;
    q_open(&q, conn, R_ARRIVINGS);
    while (!err && q_row(&q)) {
        read_arriving(&q, &row);
        err = db_err(q.rc);
        if (!err)
            err = fn(ctx, &row);
    }
    return pool_end(db, &q, err);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading, on any thread. Each call takes a connection of its own from the pool, so a callback may ask
 * further questions, and nobody waits for anybody. Statements are reset before return: the next call sees the
 * latest COMMIT.
 */
#include "db/sqlite_priv.h"

#include "server/base/alloc.h"

int pool_take(struct db *db, struct conn **conn)
{
    pthread_mutex_lock(&db->pool_lock);
    *conn = db->pool;
    if (*conn) {
        db->pool = (*conn)->next;
        db->pool_count--;
    }
    pthread_mutex_unlock(&db->pool_lock);
    return *conn ? VT_OK : conn_open(conn, db->path, SQLITE_OPEN_READONLY, NULL);
}

void pool_give(struct db *db, struct conn *conn)
{
    bool keep;

    pthread_mutex_lock(&db->pool_lock);
    keep = db->pool_count < DB_POOL_MAX;
    if (keep) {
        conn->next = db->pool;
        db->pool = conn;
        db->pool_count++;
    }
    pthread_mutex_unlock(&db->pool_lock);
    if (!keep)
        conn_close(conn);
}

int pool_end(struct db *db, struct q *q, int err)
{
    int closed = q_close(q);

    pool_give(db, q->conn);
    return err ? err : closed;
}

int pool_end_one(struct db *db, struct q *q, bool there)
{
    return pool_end(db, q, there || db_err(q->rc) ? VT_OK : VT_ENOTFOUND);
}

static bool life_valid(int64_t life)
{
    return life >= DB_LIVE && life <= DB_DELETED;
}

/* Columns as in INSTANCE_ALL. */
static void read_instance(struct q *q, struct db_instance *out)
{
    memset(out, 0, sizeof *out);
    q_get_fixed(q, 0, out->uuid.bytes, sizeof out->uuid.bytes);
    q_get_text(q, 1, out->name, sizeof out->name);
    q_get_text(q, 2, out->group, sizeof out->group);
    q_get_text(q, 3, out->profile, sizeof out->profile);
    if (!life_valid(q_get_i64(q, 4)))
        q_damaged(q);
    else
        out->life = (enum db_life)q_get_i64(q, 4);
    q_get_text(q, 5, out->reason, sizeof out->reason);
    q_get_text(q, 6, out->power, sizeof out->power);
    q_get_text(q, 7, out->domain, sizeof out->domain);
    out->wrapped_key_len = q_get_blob(q, 8, out->wrapped_key, sizeof out->wrapped_key);
    out->has_ek = sqlite3_column_type(q->st, 9) != SQLITE_NULL;
    if (out->has_ek)
        q_get_fixed(q, 9, out->ek_sha256, sizeof out->ek_sha256);
    out->epoch = (uint64_t)q_get_i64(q, 10);
    out->seq = (uint64_t)q_get_i64(q, 11);
    out->generation = (uint64_t)q_get_i64(q, 12);
    out->commands = (uint64_t)q_get_i64(q, 13);
    out->state_bytes = (uint64_t)q_get_i64(q, 14);
    out->created = q_get_i64(q, 15);
    out->updated = q_get_i64(q, 16);
    out->last_seen = q_get_i64(q, 17);
}

static int one_instance(struct db *db, struct q *q, struct db_instance *out)
{
    bool there = q_row(q);

    if (there)
        read_instance(q, out);
    return pool_end_one(db, q, there);
}

int db_instance_get(struct db *db, const struct vt_uuid *uuid, struct db_instance *out)
{
    struct conn *conn;
    struct q q;
    int err = pool_take(db, &conn);

    if (err)
        return err;
    q_open(&q, conn, R_INSTANCE);
    q_uuid(&q, uuid);
    return one_instance(db, &q, out);
}

int db_instance_by_name(struct db *db, const char *name, struct db_instance *out)
{
    struct conn *conn;
    struct q q;
    int err = pool_take(db, &conn);

    if (err)
        return err;
    q_open(&q, conn, R_INSTANCE_NAME);
    q_text(&q, name);
    return one_instance(db, &q, out);
}

static int each_instance(struct db *db, struct q *q, db_instance_fn fn, void *ctx)
{
    struct db_instance instance;
    int err = VT_OK;

    while (!err && q_row(q)) {
        read_instance(q, &instance);
        err = db_err(q->rc);
        if (!err)
            err = fn(ctx, &instance);
    }
    return pool_end(db, q, err);
}

int db_instance_each(struct db *db, bool with_deleted, db_instance_fn fn, void *ctx)
{
    struct conn *conn;
    struct q q;
    int err = pool_take(db, &conn);

    if (err)
        return err;
    q_open(&q, conn, R_INSTANCES);
    q_i64(&q, with_deleted);
    return each_instance(db, &q, fn, ctx);
}

int db_instance_page(struct db *db, const char *after, unsigned limit, db_instance_fn fn, void *ctx)
{
    struct conn *conn;
    struct q q;
    int err = pool_take(db, &conn);

    if (err)
        return err;
    q_open(&q, conn, R_INSTANCE_PAGE);
    q_text(&q, after);
    q_i64(&q, limit);
    return each_instance(db, &q, fn, ctx);
}

int db_instance_count(struct db *db, uint64_t *count)
{
    struct conn *conn;
    struct q q;
    int err = pool_take(db, &conn);

    *count = 0;
    if (err)
        return err;
    q_open(&q, conn, R_INSTANCE_COUNT);
    if (q_row(&q))
        *count = (uint64_t)sqlite3_column_int64(q.st, 0);
    return pool_end(db, &q, VT_OK);
}

/* A blob of its own memory, of at most DB_SEALED_MAX bytes. */
static int copy_data(struct q *q, int col, uint8_t **data, size_t *len)
{
    const void *bytes = sqlite3_column_blob(q->st, col);

    *len = (size_t)sqlite3_column_bytes(q->st, col);
    if (*len > DB_SEALED_MAX)
        return VT_EDAMAGED;
    *data = vt_memdup(bytes, *len);
    return *data ? VT_OK : VT_ENOMEM;
}

int db_record_get(struct db *db, const struct vt_uuid *uuid, uint64_t *seq, struct db_sealed *out,
                  uint8_t **data)
{
    struct conn *conn;
    struct q q;
    int err = pool_take(db, &conn);

    *data = NULL;
    memset(out, 0, sizeof *out);
    if (err)
        return err;
    q_open(&q, conn, R_RECORD);
    q_uuid(&q, uuid);
    if (q_row(&q)) {
        *seq = (uint64_t)q_get_i64(&q, 0);
        q_get_fixed(&q, 1, out->tag, sizeof out->tag);
        err = copy_data(&q, 2, data, &out->len);
    } else {
        err = db_err(q.rc) ? VT_OK : VT_ENOTFOUND;
    }
    err = pool_end(db, &q, err);
    if (err) {
        vt_free(*data);
        *data = NULL;
    }
    out->data = *data;
    return err;
}

int db_credential_get(struct db *db, const char *identity, struct db_credential *out)
{
    struct conn *conn;
    struct q q;
    bool there;
    int err = pool_take(db, &conn);

    memset(out, 0, sizeof *out);
    if (err)
        return err;
    q_open(&q, conn, R_CREDENTIAL);
    q_text(&q, identity);
    there = q_row(&q);
    if (there) {
        q_get_text(&q, 0, out->identity, sizeof out->identity);
        out->sealed_len = q_get_blob(&q, 1, out->sealed, sizeof out->sealed);
        out->disabled = q_get_i64(&q, 2) != 0;
        out->version = (uint64_t)q_get_i64(&q, 3);
    }
    return pool_end_one(db, &q, there);
}

static int listed(struct db *db, const char *identity, const struct vt_uuid *uuid, bool *allowed)
{
    struct conn *conn;
    struct q q;
    int err = pool_take(db, &conn);

    if (err)
        return err;
    q_open(&q, conn, R_ALLOWS);
    q_text(&q, identity);
    q_uuid(&q, uuid);
    if (q_row(&q))
        *allowed = q_get_i64(&q, 0) == 1;
    return pool_end(db, &q, VT_OK);
}

int db_credential_allows(struct db *db, const char *identity, const struct vt_uuid *uuid, bool *allowed)
{
    struct db_credential credential;
    char own[VT_UUID_TEXT];
    int err;

    *allowed = false;
    vt_uuid_text(own, uuid);
    if (strcmp(identity, own) != 0)
        return listed(db, identity, uuid, allowed);
    /* A credential that was taken away after the handshake opens nothing. */
    err = db_credential_get(db, identity, &credential);
    if (err == VT_ENOTFOUND)
        return VT_OK;
    *allowed = !err && !credential.disabled;
    return err;
}

static void q_uuid_or_null(struct q *q, const struct vt_uuid *uuid)
{
    if (uuid)
        q_uuid(q, uuid);
    else
        q_null(q);
}

int db_binding_each(struct db *db, const struct vt_uuid *uuid, db_binding_fn fn, void *ctx)
{
    struct db_binding binding;
    struct conn *conn;
    struct q q;
    int err = pool_take(db, &conn);

    if (err)
        return err;
    q_open(&q, conn, R_BINDINGS);
    q_uuid_or_null(&q, uuid);
    while (!err && q_row(&q)) {
        memset(&binding, 0, sizeof binding);
        q_get_fixed(&q, 0, binding.uuid.bytes, sizeof binding.uuid.bytes);
        q_get_text(&q, 1, binding.peer, sizeof binding.peer);
        q_get_text(&q, 2, binding.name, sizeof binding.name);
        err = db_err(q.rc);
        if (!err)
            err = fn(ctx, &binding);
    }
    return pool_end(db, &q, err);
}

int db_bound(struct db *db, const struct vt_uuid *uuid, const char *const *peers, size_t count, bool *bound)
{
    struct conn *conn;
    struct q q;
    int err = count > DB_PEERS_MAX ? VT_EUSAGE : pool_take(db, &conn);

    *bound = false;
    if (err)
        return err;
    q_open(&q, conn, R_BOUND);
    q_uuid_or_null(&q, uuid);
    for (size_t i = 0; i < DB_PEERS_MAX; i++)
        q_text(&q, i < count ? peers[i] : NULL);
    if (q_row(&q))
        *bound = q_get_i64(&q, 0) == 1;
    return pool_end(db, &q, VT_OK);
}

static void read_keyslot(struct q *q, struct db_keyslot *slot)
{
    memset(slot, 0, sizeof *slot);
    slot->id = q_get_i64(q, 0);
    q_get_text(q, 1, slot->kind, sizeof slot->kind);
    q_get_text(q, 2, slot->params, sizeof slot->params);
    slot->wrapped_len = q_get_blob(q, 3, slot->wrapped, sizeof slot->wrapped);
}

int db_keyslot_each(struct db *db, db_keyslot_fn fn, void *ctx)
{
    struct db_keyslot slot;
    struct conn *conn;
    struct q q;
    int err = pool_take(db, &conn);

    if (err)
        return err;
    q_open(&q, conn, R_KEYSLOTS);
    while (!err && q_row(&q)) {
        read_keyslot(&q, &slot);
        err = db_err(q.rc);
        if (!err)
            err = fn(ctx, &slot);
    }
    return pool_end(db, &q, err);
}

int db_keyslot_next(struct db *db, int64_t *id)
{
    struct conn *conn;
    struct q q;
    int err = pool_take(db, &conn);

    *id = 0;
    if (err)
        return err;
    q_open(&q, conn, R_NEXT_KEYSLOT);
    if (q_row(&q))
        *id = q_get_i64(&q, 0);
    return pool_end(db, &q, VT_OK);
}

int db_event_each(struct db *db, int64_t after, int64_t limit, db_event_fn fn, void *ctx)
{
    struct db_event event;
    struct conn *conn;
    struct q q;
    int err = pool_take(db, &conn);

    if (err)
        return err;
    q_open(&q, conn, R_EVENTS);
    q_i64(&q, after);
    /* A negative LIMIT would mean none. */
    q_i64(&q, VT_MAX(limit, 0));
    while (!err && q_row(&q)) {
        event_read(&q, &event);
        err = db_err(q.rc);
        if (!err)
            err = fn(ctx, &event);
    }
    return pool_end(db, &q, err);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What moves between servers write: the store's key, known servers, exports, imports (docs/moving.md). */
#include "db/sqlite_priv.h"

int verb_server_key(struct txn *t, struct request *req)
{
    const struct db_server_key *key = req->extra;
    struct q q;
    int err;

    q_open(&q, t->conn, W_SERVER_KEY);
    q_blob(&q, key->public, sizeof key->public);
    q_blob(&q, key->sealed, key->sealed_len);
    err = q_run(&q);
    return err ? err : flip_one(t, ROW_SERVER_KEY, ROW_IN);
}

/* ---- Known servers ---- */

static int peer_count(struct txn *t, int64_t *count)
{
    struct q q;

    *count = 0;
    q_open(&q, t->conn, W_PEER_COUNT);
    if (q_row(&q))
        *count = q_get_i64(&q, 0);
    return q_close(&q);
}

static int insert_address(struct txn *t, const struct db_peer *peer)
{
    struct q q;
    int err;

    q_open(&q, t->conn, W_PEER_ADDRESS_INSERT);
    q_text(&q, peer->name);
    q_text(&q, peer->address);
    err = q_run(&q);
    return err ? err : flip_text(t, ROW_PEER_ADDRESS, peer->name, ROW_IN);
}

int verb_peer_add(struct txn *t, struct request *req)
{
    const struct db_peer *peer = req->extra;
    int64_t count;
    struct q q;
    int err = peer_count(t, &count);

    if (err)
        return err;
    q_open(&q, t->conn, W_PEER_INSERT);
    q_text(&q, peer->name);
    q_uuid(&q, &peer->store);
    q_blob(&q, peer->public, sizeof peer->public);
    err = q_run(&q);
    if (!err && count >= DB_PEERS_KNOWN)
        err = VT_ECONFLICT;
    if (!err)
        err = flip_text(t, ROW_PEER, peer->name, ROW_IN);
    return err || !peer->address[0] ? err : insert_address(t, peer);
}

int verb_peer_remove(struct txn *t, struct request *req)
{
    int err = flip_text(t, ROW_PEER_ADDRESS, req->name, ROW_OUT);

    if (!err)
        err = run_text(t, W_PEER_ADDRESS_DELETE, req->name);
    if (!err)
        err = flip_text(t, ROW_PEER, req->name, ROW_OUT);
    if (!err)
        err = run_text(t, W_PEER_DELETE, req->name);
    return !err && sqlite3_changes(t->conn->sq) != 1 ? VT_ENOTFOUND : err;
}

/* ---- Export ---- */

int exported_there(struct txn *t, const struct vt_uuid *uuid, bool *there)
{
    struct q q;

    q_open(&q, t->conn, ROW_EXPORTED);
    q_uuid(&q, uuid);
    *there = q_row(&q);
    return q_close(&q);
}

static int insert_exported(struct txn *t, const struct request *req)
{
    const struct db_export *export = req->extra;
    struct q q;
    int err;

    q_open(&q, t->conn, W_EXPORTED_INSERT);
    q_uuid(&q, &req->uuid);
    q_blob(&q, export->id, sizeof export->id);
    q_text(&q, export->peer.name);
    q_uuid(&q, &export->peer.store);
    q_blob(&q, export->peer.public, sizeof export->peer.public);
    q_i64(&q, t->now);
    err = q_run(&q);
    return err ? err : flip_uuid(t, ROW_EXPORTED, &req->uuid, ROW_IN);
}

int export_fence(struct txn *t, const struct request *req)
{
    struct q q;
    int err = flip_uuid(t, ROW_INSTANCE, &req->uuid, ROW_OUT);

    if (err)
        return err;
    q_open(&q, t->conn, W_FENCE);
    q_uuid(&q, &req->uuid);
    q_text(&q, req->reason);
    err = q_run(&q);
    if (!err)
        err = flip_uuid(t, ROW_INSTANCE, &req->uuid, ROW_IN);
    return err ? err : insert_exported(t, req);
}

static int remove_exported(struct txn *t, const struct vt_uuid *uuid)
{
    int err = flip_uuid(t, ROW_EXPORTED, uuid, ROW_OUT);

    return err ? err : run_uuid(t, W_EXPORTED_DELETE, uuid);
}

int verb_take_back(struct txn *t, struct request *req)
{
    struct state state;
    bool there = false;
    struct q q;
    int err = state_of(t, &req->uuid, &state);

    if (!err)
        err = exported_there(t, &req->uuid, &there);
    if (!err && !there)
        err = VT_ENOTFOUND;
    if (!err)
        err = remove_exported(t, &req->uuid);
    if (!err)
        err = flip_uuid(t, ROW_INSTANCE, &req->uuid, ROW_OUT);
    if (err)
        return err;
    q_open(&q, t->conn, W_TAKE_BACK);
    q_uuid(&q, &req->uuid);
    q_i64(&q, t->now);
    err = q_run(&q);
    return err ? err : flip_uuid(t, ROW_INSTANCE, &req->uuid, ROW_IN);
}

/* ---- Import ---- */

/* For ever: the row is never removed. */
static int insert_imported(struct txn *t, const struct request *req)
{
    const struct import_extra *extra = req->extra;
    struct q q;
    int err;

    q_open(&q, t->conn, W_IMPORTED_INSERT);
    q_blob(&q, extra->id, sizeof extra->id);
    q_uuid(&q, &req->uuid);
    q_uuid(&q, &extra->source);
    q_i64(&q, t->now);
    err = q_run(&q);
    if (err)
        return err;
    q_open(&q, t->conn, ROW_IMPORTED);
    q_blob(&q, extra->id, sizeof extra->id);
    return set_flip(&t->set, &t->db->mac, &q, ROW_IMPORTED, ROW_IN);
}

static int any_state(struct txn *t, const struct vt_uuid *uuid, bool *there, uint64_t *seq)
{
    struct q q;

    q_open(&q, t->conn, W_ANY_STATE);
    q_uuid(&q, uuid);
    *there = q_row(&q);
    *seq = *there ? (uint64_t)q_get_i64(&q, 1) : 0;
    return q_close(&q);
}

/* A row to be overwritten, out of the set digest: a new one, or that of an instance which left from here. */
static int make_place(struct txn *t, const struct request *req)
{
    const struct import_extra *extra = req->extra;
    bool there, exported = false;
    uint64_t seq;
    int err = any_state(t, &req->uuid, &there, &seq);

    if (!err && !there)
        return insert_instance(t, req, &extra->instance);
    if (!err)
        err = exported_there(t, &req->uuid, &exported);
    if (!err && !exported)
        err = VT_EEXISTS;
    if (!err && req->seq <= seq)
        err = VT_EFENCED;
    if (!err)
        err = remove_own(t, &req->uuid);
    if (!err)
        err = remove_exported(t, &req->uuid);
    t->erased |= !err;
    return err ? err : flip_uuid(t, ROW_INSTANCE, &req->uuid, ROW_OUT);
}

static int replace_instance(struct txn *t, const struct request *req)
{
    const struct db_instance *instance = &((const struct import_extra *)req->extra)->instance;
    struct q q;

    q_open(&q, t->conn, W_REPLACE);
    q_uuid(&q, &req->uuid);
    q_text(&q, instance->name);
    q_text(&q, instance->group);
    q_text(&q, instance->profile);
    q_text(&q, instance->power[0] ? instance->power : "off");
    q_blob(&q, instance->wrapped_key, instance->wrapped_key_len);
    if (instance->has_ek)
        q_blob(&q, instance->ek_sha256, sizeof instance->ek_sha256);
    else
        q_null(&q);
    q_i64(&q, (int64_t)req->seq);
    q_i64(&q, (int64_t)t->set.generation);
    q_i64(&q, (int64_t)req->record_len);
    q_i64(&q, instance->created);
    q_i64(&q, t->now);
    return q_run(&q);
}

static int insert_bindings(struct txn *t, const struct request *req)
{
    const struct import_extra *extra = req->extra;
    int err = VT_OK;

    for (size_t i = 0; !err && i < extra->binding_count; i++) {
        struct q q;

        q_open(&q, t->conn, W_BINDING_INSERT);
        q_uuid(&q, &req->uuid);
        q_text(&q, extra->bindings[i]);
        err = q_run(&q);
    }
    return err ? err : flip_uuid(t, ROWS_BINDING_OF, &req->uuid, ROW_IN);
}

int verb_import(struct txn *t, struct request *req)
{
    int err = insert_imported(t, req);

    if (!err)
        err = make_place(t, req);
    if (!err)
        err = replace_instance(t, req);
    if (!err)
        err = insert_record(t, req);
    if (!err)
        err = insert_bindings(t, req);
    if (!err)
        err = flip_uuid(t, ROW_INSTANCE, &req->uuid, ROW_IN);
    if (!err)
        err = flip_uuid(t, ROW_RECORD, &req->uuid, ROW_IN);
    if (!err)
        err = arriving_over(t, &req->uuid);
    return err ? err : credential_insert(t, &req->credential);
}

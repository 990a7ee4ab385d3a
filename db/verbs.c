/* SPDX-License-Identifier: Apache-2.0 */
/* What owners of an instance write: create, acquire, commit. Each row goes out of the set digest, changes,
 * goes in. */
#include "db/sqlite_priv.h"

int state_of(struct txn *t, const struct vt_uuid *uuid, struct state *state)
{
    bool there;
    struct q q;
    int err;

    q_open(&q, t->conn, W_STATE);
    q_uuid(&q, uuid);
    there = q_row(&q);
    if (there) {
        state->life = (enum db_life)q_get_i64(&q, 0);
        state->epoch = (uint64_t)q_get_i64(&q, 1);
        state->seq = (uint64_t)q_get_i64(&q, 2);
    }
    err = q_close(&q);
    if (err)
        return err;
    return there && state->life != DB_DELETED ? VT_OK : VT_ENOTFOUND;
}

int insert_instance(struct txn *t, const struct request *req, const struct db_instance *instance)
{
    struct q q;

    q_open(&q, t->conn, W_INSERT);
    q_uuid(&q, &instance->uuid);
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
    q_i64(&q, t->now);
    return q_run(&q);
}

int insert_record(struct txn *t, const struct request *req)
{
    struct q q;

    q_open(&q, t->conn, W_RECORD_INSERT);
    q_uuid(&q, &req->uuid);
    q_i64(&q, (int64_t)req->seq);
    q_blob(&q, req->tag, sizeof req->tag);
    q_blob(&q, req->record, req->record_len);
    return q_run(&q);
}

static int verb_create(struct txn *t, struct request *req)
{
    int err = insert_instance(t, req, req->extra);

    if (!err)
        err = insert_record(t, req);
    if (!err)
        err = flip_uuid(t, ROW_INSTANCE, &req->uuid, ROW_IN);
    if (!err)
        err = flip_uuid(t, ROW_RECORD, &req->uuid, ROW_IN);
    return err ? err : credential_insert(t, &req->credential);
}

static int verb_acquire(struct txn *t, struct request *req)
{
    struct state state;
    struct q q;
    int err = state_of(t, &req->uuid, &state);

    if (!err)
        err = flip_uuid(t, ROW_INSTANCE, &req->uuid, ROW_OUT);
    if (err)
        return err;
    req->epoch = state.epoch + 1;
    q_open(&q, t->conn, W_ACQUIRE);
    q_uuid(&q, &req->uuid);
    q_i64(&q, (int64_t)req->epoch);
    err = q_run(&q);
    return err ? err : flip_uuid(t, ROW_INSTANCE, &req->uuid, ROW_IN);
}

static int update_more(struct txn *t, const struct request *req)
{
    struct q q;

    q_open(&q, t->conn, W_COMMITTED_MORE);
    q_uuid(&q, &req->uuid);
    q_text(&q, req->has_power ? req->power : NULL);
    if (req->has_ek)
        q_blob(&q, req->ek_sha256, sizeof req->ek_sha256);
    else
        q_null(&q);
    return q_run(&q);
}

static int update_instance(struct txn *t, const struct request *req)
{
    struct q q;
    int err;

    q_open(&q, t->conn, W_COMMITTED);
    q_uuid(&q, &req->uuid);
    q_i64(&q, (int64_t)req->seq);
    q_i64(&q, (int64_t)t->set.generation);
    q_i64(&q, (int64_t)req->record_len);
    q_i64(&q, t->now);
    err = q_run(&q);
    return !err && (req->has_power || req->has_ek) ? update_more(t, req) : err;
}

static int update_record(struct txn *t, const struct request *req, int64_t rowid)
{
    struct q q;

    q_open(&q, t->conn, W_RECORD_UPDATE);
    q_i64(&q, rowid);
    q_i64(&q, (int64_t)req->seq);
    q_blob(&q, req->tag, sizeof req->tag);
    q_blob(&q, req->record, req->record_len);
    return q_run(&q);
}

/* May this request replace the record that q stands at? */
static int judge(const struct q *q, const struct request *req)
{
    const int64_t life = sqlite3_column_int64(q->st, BOTH_LIFE);

    if (life == DB_DELETED)
        return VT_ENOTFOUND;
    if ((uint64_t)sqlite3_column_int64(q->st, BOTH_EPOCH) != req->epoch)
        return VT_EFENCED;
    if ((uint64_t)sqlite3_column_int64(q->st, BOTH_SEQ) != req->expected_seq || (req->is_export && life != DB_LIVE))
        return VT_ECONFLICT;
    /* A living instance has a record: one that was taken away must not go unseen. */
    return sqlite3_column_type(q->st, BOTH_ROWID) == SQLITE_NULL ? VT_EDAMAGED : VT_OK;
}

/* Owners name the EK with every record; as a rule it is the one that stands there. */
static bool names_new_ek(const struct q *q, const struct request *req)
{
    const void *there = sqlite3_column_blob(q->st, BOTH_EK);

    return req->has_ek && (sqlite3_column_bytes(q->st, BOTH_EK) != sizeof req->ek_sha256 ||
                           memcmp(there, req->ek_sha256, sizeof req->ek_sha256) != 0);
}

/* The digest as update_instance and update_record will leave their rows. */
static int change_both(struct txn *t, const struct q *q, const struct request *req)
{
    static const struct set_row instance = {"instance", BOTH_INSTANCE, BOTH_INSTANCE_COLUMNS};
    static const struct set_row record = {"record", BOTH_RECORD, BOTH_RECORD_COLUMNS};
    const struct set_new of_instance[] = {
        {.col = BOTH_SEQ, .number = (int64_t)req->seq},
        {.col = BOTH_GENERATION, .number = (int64_t)t->set.generation},
        {.col = BOTH_EK, .bytes = req->ek_sha256, .len = sizeof req->ek_sha256}, /* only with one */
    };
    const struct set_new of_record[] = {
        {.col = 1, .number = (int64_t)req->seq},
        {.col = 2, .bytes = req->tag, .len = sizeof req->tag},
    };
    int err = set_change(&t->set, &t->db->mac, q, &instance, of_instance, req->has_ek ? 3 : 2);

    return err ? err : set_change(&t->set, &t->db->mac, q, &record, of_record, VT_COUNT(of_record));
}

/* One look tells whether it may be, what leaves the digest, and where the record lies. */
static int stage_commit(struct txn *t, struct request *req, int64_t *rowid)
{
    struct q q;
    int err = VT_ENOTFOUND, closed;

    q_open(&q, t->conn, W_BOTH);
    q_uuid(&q, &req->uuid);
    if (q_row(&q))
        err = judge(&q, req);
    if (!err) {
        req->has_ek = names_new_ek(&q, req);
        err = change_both(t, &q, req);
    }
    *rowid = err ? 0 : q_get_i64(&q, BOTH_ROWID);
    closed = q_close(&q);
    return closed ? closed : err;
}

static int verb_commit(struct txn *t, struct request *req)
{
    int64_t rowid;
    int err = stage_commit(t, req, &rowid);

    if (!err)
        err = update_instance(t, req);
    if (!err)
        err = update_record(t, req, rowid);
    return !err && req->is_export ? export_fence(t, req) : err;
}

const verb_fn db_verbs[VERB_COUNT] = {
    [VERB_CREATE] = verb_create,
    [VERB_ACQUIRE] = verb_acquire,
    [VERB_COMMIT] = verb_commit,
    [VERB_RENAME] = verb_rename,
    [VERB_LIFE] = verb_life,
    [VERB_POWER] = verb_power,
    [VERB_ANCHOR_PUT] = verb_anchor_put,
    [VERB_ANCHOR_DONE] = verb_anchor_done,
    [VERB_ANCHOR_DROP] = verb_anchor_drop,
    [VERB_CREDENTIAL] = verb_credential,
    [VERB_BINDING_ADD] = verb_binding_add,
    [VERB_BINDING_REMOVE] = verb_binding_remove,
    [VERB_KEYSLOT_PUT] = verb_keyslot_put,
    [VERB_KEYSLOT_REMOVE] = verb_keyslot_remove,
    [VERB_SERVER_KEY] = verb_server_key,
    [VERB_HOST_AK] = verb_host_ak,
    [VERB_HOST_AK_REPLACE] = verb_host_ak_replace,
    [VERB_PEER_ADD] = verb_peer_add,
    [VERB_PEER_REMOVE] = verb_peer_remove,
    [VERB_IMPORT] = verb_import,
    [VERB_TAKE_BACK] = verb_take_back,
    [VERB_EXPECT] = verb_expect,
    [VERB_UNEXPECT] = verb_unexpect,
    [VERB_CLAIM] = verb_claim,
    [VERB_UNCLAIM] = verb_unclaim,
    [VERB_EVENT] = verb_event,
    [VERB_COUNTERS] = verb_counters,
};

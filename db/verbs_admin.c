/* SPDX-License-Identifier: Apache-2.0 */
/* Administrative changes: names, life, power words, credentials, bindings, key slots, counters. */
#include "db/sqlite_priv.h"

int verb_rename(struct txn *t, struct request *req)
{
    struct state state;
    struct q q;
    int err = state_of(t, &req->uuid, &state);

    if (!err)
        err = flip_uuid(t, ROW_INSTANCE, &req->uuid, ROW_OUT);
    if (err)
        return err;
    q_open(&q, t->conn, W_RENAME);
    q_uuid(&q, &req->uuid);
    q_text(&q, req->name);
    q_i64(&q, t->now);
    err = q_run(&q);
    return err ? err : flip_uuid(t, ROW_INSTANCE, &req->uuid, ROW_IN);
}

int run_uuid(struct txn *t, enum stmt id, const struct vt_uuid *uuid)
{
    struct q q;

    q_open(&q, t->conn, id);
    q_uuid(&q, uuid);
    return q_run(&q);
}

int run_text(struct txn *t, enum stmt id, const char *key)
{
    struct q q;

    q_open(&q, t->conn, id);
    q_text(&q, key);
    return q_run(&q);
}

int remove_own(struct txn *t, const struct vt_uuid *uuid)
{
    char identity[VT_UUID_TEXT];
    int err = flip_uuid(t, ROW_RECORD, uuid, ROW_OUT);

    vt_uuid_text(identity, uuid);
    if (!err)
        err = flip_uuid(t, ROWS_BINDING_OF, uuid, ROW_OUT);
    if (!err)
        err = flip_text(t, ROW_CREDENTIAL, identity, ROW_OUT);
    if (!err)
        err = run_uuid(t, W_RECORD_DELETE, uuid);
    if (!err)
        err = run_uuid(t, W_BINDING_DELETE_OF, uuid);
    return err ? err : run_text(t, W_CREDENTIAL_DELETE, identity);
}

/* And its place in lists of others' credentials. */
static int remove_belongings(struct txn *t, const struct vt_uuid *uuid)
{
    int err = flip_uuid(t, ROWS_LISTED_OF, uuid, ROW_OUT);

    if (!err)
        err = run_uuid(t, W_LISTED_DELETE_OF, uuid);
    return err ? err : remove_own(t, uuid);
}

static int write_tombstone(struct txn *t, const struct vt_uuid *uuid)
{
    struct q q;

    q_open(&q, t->conn, W_TOMBSTONE);
    q_uuid(&q, uuid);
    q_i64(&q, t->now);
    return q_run(&q);
}

static int write_life(struct txn *t, const struct request *req)
{
    struct q q;

    q_open(&q, t->conn, W_LIFE);
    q_uuid(&q, &req->uuid);
    q_i64(&q, req->life);
    q_text(&q, req->reason);
    q_i64(&q, t->now);
    return q_run(&q);
}

int verb_life(struct txn *t, struct request *req)
{
    const bool gone = req->life == DB_DELETED;
    struct state state;
    bool exported = false;
    int err = state_of(t, &req->uuid, &state);

    /* It lives elsewhere: only verb_take_back makes it live here. */
    if (!err && req->life == DB_LIVE)
        err = exported_there(t, &req->uuid, &exported);
    if (exported)
        return VT_ECONFLICT;
    if (!err && gone)
        err = remove_belongings(t, &req->uuid);
    if (!err)
        err = flip_uuid(t, ROW_INSTANCE, &req->uuid, ROW_OUT);
    if (!err)
        err = gone ? write_tombstone(t, &req->uuid) : write_life(t, req);
    if (!err)
        err = flip_uuid(t, ROW_INSTANCE, &req->uuid, ROW_IN);
    t->erased |= !err && gone;
    return err;
}

int verb_power(struct txn *t, struct request *req)
{
    struct state state;
    struct q q;
    int err = state_of(t, &req->uuid, &state);

    if (err)
        return err;
    q_open(&q, t->conn, W_POWER);
    q_uuid(&q, &req->uuid);
    q_text(&q, req->has_power ? req->power : NULL);
    q_text(&q, req->has_domain ? req->domain : NULL);
    q_i64(&q, t->now);
    return q_run(&q);
}

static int credential_version(struct txn *t, const char *identity, uint64_t *version)
{
    struct q q;
    bool there;
    int err;

    q_open(&q, t->conn, W_CREDENTIAL_VERSION);
    q_text(&q, identity);
    there = q_row(&q);
    *version = there ? (uint64_t)q_get_i64(&q, 0) : 0;
    err = q_close(&q);
    if (err)
        return err;
    return there ? VT_OK : VT_ENOTFOUND;
}

static int write_credential(struct txn *t, enum stmt id, const struct db_credential *credential,
                            uint64_t version)
{
    struct q q;

    /* It is sealed into the key: under another version the key would not open. */
    if (credential->version && credential->version != version)
        return VT_ECONFLICT;
    q_open(&q, t->conn, id);
    q_text(&q, credential->identity);
    q_blob(&q, credential->sealed, credential->sealed_len);
    q_i64(&q, credential->disabled);
    q_i64(&q, (int64_t)version);
    return q_run(&q);
}

int credential_insert(struct txn *t, const struct db_credential *credential)
{
    int err = write_credential(t, W_CREDENTIAL_INSERT, credential, 1);

    return err ? err : flip_text(t, ROW_CREDENTIAL, credential->identity, ROW_IN);
}

static int credential_replace(struct txn *t, const struct db_credential *credential)
{
    uint64_t version;
    int err = credential_version(t, credential->identity, &version);

    if (!err)
        err = flip_text(t, ROW_CREDENTIAL, credential->identity, ROW_OUT);
    if (!err)
        err = write_credential(t, W_CREDENTIAL_UPDATE, credential, version + 1);
    if (!err)
        err = flip_text(t, ROW_CREDENTIAL, credential->identity, ROW_IN);
    t->erased |= !err;
    return err;
}

static int list_instance(struct txn *t, const char *identity, const struct vt_uuid *uuid)
{
    struct state state;
    struct q q;
    int err = state_of(t, uuid, &state);

    if (err)
        return err;
    q_open(&q, t->conn, W_LISTED_INSERT);
    q_text(&q, identity);
    q_uuid(&q, uuid);
    err = q_run(&q);
    if (err)
        return err;
    q_open(&q, t->conn, ROW_LISTED);
    q_text(&q, identity);
    q_uuid(&q, uuid);
    return set_flip(&t->set, &t->db->mac, &q, ROW_LISTED, ROW_IN);
}

int verb_credential(struct txn *t, struct request *req)
{
    const struct vt_uuid *instances = req->extra;
    int err;

    if (req->count == 0)
        return credential_replace(t, &req->credential);
    err = credential_insert(t, &req->credential);
    for (size_t i = 0; !err && i < req->count; i++)
        err = list_instance(t, req->credential.identity, &instances[i]);
    return err;
}

/* One row of `binding`. */
static void open_binding(struct q *q, struct txn *t, enum stmt id, const struct request *req)
{
    q_open(q, t->conn, id);
    q_uuid(q, &req->uuid);
    q_text(q, req->peer);
}

static int flip_binding(struct txn *t, const struct request *req, enum row_sign sign)
{
    struct q q;

    open_binding(&q, t, ROW_BINDING, req);
    return set_flip(&t->set, &t->db->mac, &q, ROW_BINDING, sign);
}

static int binding_count(struct txn *t, const struct vt_uuid *uuid, int64_t *count)
{
    struct q q;

    *count = 0;
    q_open(&q, t->conn, W_BINDING_COUNT);
    q_uuid(&q, uuid);
    if (q_row(&q))
        *count = q_get_i64(&q, 0);
    return q_close(&q);
}

int verb_binding_add(struct txn *t, struct request *req)
{
    struct state state;
    struct q q;
    int64_t count;
    int err = state_of(t, &req->uuid, &state);

    if (!err)
        err = binding_count(t, &req->uuid, &count);
    if (err)
        return err;
    open_binding(&q, t, W_BINDING_INSERT, req);
    err = q_run(&q);
    if (!err && count >= DB_BINDINGS_MAX)
        err = VT_ECONFLICT;
    return err ? err : flip_binding(t, req, ROW_IN);
}

/* One binding, or all of the instance. */
int verb_binding_remove(struct txn *t, struct request *req)
{
    struct state state;
    struct q q;
    int err = state_of(t, &req->uuid, &state);

    if (!err)
        err = req->peer[0] ? flip_binding(t, req, ROW_OUT) : flip_uuid(t, ROWS_BINDING_OF, &req->uuid, ROW_OUT);
    if (err)
        return err;
    if (!req->peer[0]) {
        err = run_uuid(t, W_BINDING_DELETE_OF, &req->uuid);
    } else {
        open_binding(&q, t, W_BINDING_DELETE, req);
        err = q_run(&q);
    }
    return !err && sqlite3_changes(t->conn->sq) < 1 ? VT_ENOTFOUND : err;
}

static int keyslot_ids(struct txn *t, int64_t *count, int64_t *next)
{
    struct q q;

    *count = *next = 0;
    q_open(&q, t->conn, W_KEYSLOT_IDS);
    if (q_row(&q)) {
        *count = q_get_i64(&q, 0);
        *next = q_get_i64(&q, 1);
    }
    return q_close(&q);
}

/* In the set digest too: else a removed slot's id could be given out again. */
static int advance_next_keyslot(struct txn *t, int64_t next)
{
    struct q q;
    int err = flip_one(t, ROW_META, ROW_OUT);

    if (err)
        return err;
    q_open(&q, t->conn, W_NEXT_KEYSLOT);
    q_i64(&q, next);
    err = q_run(&q);
    return err ? err : flip_one(t, ROW_META, ROW_IN);
}

static int write_keyslot(struct txn *t, enum stmt id, int64_t slot_id, const struct db_keyslot *slot)
{
    struct q q;

    q_open(&q, t->conn, id);
    q_i64(&q, slot_id);
    q_text(&q, slot->kind);
    q_text(&q, slot->params);
    q_blob(&q, slot->wrapped, slot->wrapped_len);
    return q_run(&q);
}

/* Whether a slot of that id was there to be changed by the statement before. */
static int touched(struct txn *t, int err)
{
    return !err && sqlite3_changes(t->conn->sq) != 1 ? VT_ENOTFOUND : err;
}

int verb_keyslot_put(struct txn *t, struct request *req)
{
    int64_t count, next;
    int err = keyslot_ids(t, &count, &next);
    const bool is_new = req->id < 0 || req->id == next;

    if (err)
        return err;
    if (is_new) {
        req->id = next;
        err = advance_next_keyslot(t, next + 1);
        if (!err)
            err = write_keyslot(t, W_KEYSLOT_INSERT, req->id, req->extra);
    } else {
        err = flip_id(t, ROW_KEYSLOT, req->id, ROW_OUT);
        if (!err)
            err = touched(t, write_keyslot(t, W_KEYSLOT_UPDATE, req->id, req->extra));
        t->erased |= !err;
    }
    return err ? err : flip_id(t, ROW_KEYSLOT, req->id, ROW_IN);
}

int verb_keyslot_remove(struct txn *t, struct request *req)
{
    int64_t count, next;
    struct q q;
    int err = keyslot_ids(t, &count, &next);

    if (!err)
        err = flip_id(t, ROW_KEYSLOT, req->id, ROW_OUT);
    if (err)
        return err;
    q_open(&q, t->conn, W_KEYSLOT_DELETE);
    q_i64(&q, req->id);
    err = touched(t, q_run(&q));
    /* Without any slot nobody could open the store again. */
    if (!err && count < 2)
        err = VT_ECONFLICT;
    t->erased |= !err;
    return err;
}

/* Its event is appended like that of every other request. */
int verb_event(struct txn *t, struct request *req)
{
    (void)t;
    (void)req;
    return VT_OK;
}

/* Outside the MAC: for people only. An instance that is gone by now is passed over. */
int verb_counters(struct txn *t, struct request *req)
{
    const struct db_counter *counters = req->extra;
    int err = VT_OK;

    for (size_t i = 0; !err && i < req->count; i++) {
        struct q q;

        q_open(&q, t->conn, W_COUNTERS);
        q_uuid(&q, &counters[i].uuid);
        q_i64(&q, (int64_t)(counters[i].commands & INT64_MAX));
        q_i64(&q, counters[i].last_seen);
        err = q_run(&q);
    }
    return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The event chain: each event's hash covers the one before; the last (id, hash) is in the set digest. */
#include "db/sqlite_priv.h"

#include "server/base/secret.h"

void copy_printable(char *out, size_t size, const char *text)
{
    size_t i = 0;

    for (; text && text[i] && i < size - 1; i++)
        out[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    out[i] = '\0';
}

void audit_copy(struct audit *out, const struct db_audit *in)
{
    memset(out, 0, sizeof *out);
    copy_printable(out->kind, sizeof out->kind, in->kind);
    copy_printable(out->peer, sizeof out->peer, in->peer);
    copy_printable(out->text, sizeof out->text, in->text);
    out->has_uuid = in->uuid != NULL;
    if (in->uuid)
        out->uuid = *in->uuid;
}

void event_hash(const struct db_mac *mac, const struct db_event *event, uint8_t out[DB_HASH])
{
    struct enc enc;

    enc.len = 0;
    enc.full = false;
    enc_bytes(&enc, 'B', event->prev_hash, sizeof event->prev_hash);
    enc_i64(&enc, event->id);
    enc_i64(&enc, event->time);
    enc_bytes(&enc, 'T', event->kind, strlen(event->kind));
    enc_bytes(&enc, 'T', event->uuid, strlen(event->uuid));
    enc_bytes(&enc, 'T', event->peer, strlen(event->peer));
    enc_bytes(&enc, 'T', event->text, strlen(event->text));
    mac->event(mac->ctx, enc.bytes, enc.len, out);
}

void event_read(struct q *q, struct db_event *event)
{
    struct vt_uuid uuid;

    memset(event, 0, sizeof *event);
    event->id = q_get_i64(q, 0);
    event->time = q_get_i64(q, 1);
    q_get_text(q, 2, event->kind, sizeof event->kind);
    if (sqlite3_column_type(q->st, 3) != SQLITE_NULL) {
        q_get_fixed(q, 3, uuid.bytes, sizeof uuid.bytes);
        if (q->rc == SQLITE_ROW)
            vt_uuid_text(event->uuid, &uuid);
    }
    q_get_text(q, 4, event->peer, sizeof event->peer);
    q_get_text(q, 5, event->text, sizeof event->text);
    q_get_fixed(q, 6, event->prev_hash, sizeof event->prev_hash);
    q_get_fixed(q, 7, event->hash, sizeof event->hash);
}

/* id, time, prev_hash, hash behind the present head; 32 zeros stand before the first. */
static int chain(struct txn *t, struct db_event *event)
{
    struct q q;
    int err;

    event->id = 1;
    q_open(&q, t->conn, ROW_HEAD);
    if (q_row(&q)) {
        event->id = q_get_i64(&q, 0) + 1;
        q_get_fixed(&q, 1, event->prev_hash, sizeof event->prev_hash);
    }
    err = q_close(&q);
    if (!err)
        event_hash(&t->db->mac, event, event->hash);
    return err;
}

static int insert(struct txn *t, const struct db_event *event, const struct audit *audit)
{
    struct q q;

    q_open(&q, t->conn, W_EVENT);
    q_i64(&q, event->id);
    q_i64(&q, event->time);
    q_text(&q, event->kind);
    if (audit->has_uuid)
        q_uuid(&q, &audit->uuid);
    else
        q_null(&q);
    q_text(&q, event->peer);
    q_text(&q, event->text);
    q_blob(&q, event->prev_hash, sizeof event->prev_hash);
    q_blob(&q, event->hash, sizeof event->hash);
    return q_run(&q);
}

int event_append(struct txn *t, const struct audit *audit)
{
    struct db_event event = {.time = t->now};
    int err;

    memcpy(event.kind, audit->kind, sizeof event.kind);
    memcpy(event.peer, audit->peer, sizeof event.peer);
    memcpy(event.text, audit->text, sizeof event.text);
    if (audit->has_uuid)
        vt_uuid_text(event.uuid, &audit->uuid);
    err = chain(t, &event);
    if (!err)
        err = flip_one(t, ROW_HEAD, ROW_OUT);
    if (!err)
        err = insert(t, &event, audit);
    t->newest = event.id;
    return err ? err : flip_one(t, ROW_HEAD, ROW_IN);
}

/* ---- Pruning ---- */

/* What no event can be: its first field is a blob. */
static void checkpoint_mac(const struct db_mac *mac, const struct checkpoint *checkpoint, uint8_t out[DB_HASH])
{
    static const char label[] = "checkpoint";
    struct enc enc;

    enc.len = 0;
    enc.full = false;
    enc_bytes(&enc, 'T', label, sizeof label - 1);
    enc_i64(&enc, checkpoint->last);
    enc_bytes(&enc, 'B', checkpoint->hash, sizeof checkpoint->hash);
    mac->event(mac->ctx, enc.bytes, enc.len, out);
}

int checkpoint_read(struct conn *conn, const struct db_mac *mac, struct checkpoint *out)
{
    uint8_t stored[DB_HASH], computed[DB_HASH];
    struct q q;
    bool there;
    int err;

    memset(out, 0, sizeof *out);
    q_open(&q, conn, R_CHECKPOINT);
    there = q_row(&q);
    if (there) {
        out->last = q_get_i64(&q, 0);
        q_get_fixed(&q, 1, out->hash, sizeof out->hash);
        q_get_fixed(&q, 2, stored, sizeof stored);
    }
    err = q_close(&q);
    if (err || !there)
        return err;
    checkpoint_mac(mac, out, computed);
    return vt_ct_equal(stored, computed, sizeof computed) ? VT_OK : VT_EDAMAGED;
}

static int event_hash_of(struct conn *conn, int64_t id, uint8_t hash[DB_HASH])
{
    struct q q;
    bool there;
    int err;

    q_open(&q, conn, R_EVENT_HASH);
    q_i64(&q, id);
    there = q_row(&q);
    if (there)
        q_get_fixed(&q, 0, hash, DB_HASH);
    err = q_close(&q);
    return !err && !there ? VT_EDAMAGED : err;
}

static int write_checkpoint(struct txn *t, const struct checkpoint *checkpoint)
{
    uint8_t mac[DB_HASH];
    struct q q;
    int err = flip_one(t, ROW_CHECKPOINT, ROW_OUT);

    if (err)
        return err;
    checkpoint_mac(&t->db->mac, checkpoint, mac);
    q_open(&q, t->conn, W_CHECKPOINT);
    q_i64(&q, checkpoint->last);
    q_blob(&q, checkpoint->hash, sizeof checkpoint->hash);
    q_blob(&q, mac, sizeof mac);
    err = q_run(&q);
    return err ? err : flip_one(t, ROW_CHECKPOINT, ROW_IN);
}

static int delete_events(struct txn *t, int64_t up_to)
{
    struct q q;

    q_open(&q, t->conn, W_EVENTS_DELETE);
    q_i64(&q, up_to);
    return q_run(&q);
}

int event_prune(struct txn *t)
{
    const int64_t keep = (int64_t)t->db->config.events_keep;
    struct checkpoint checkpoint;
    int64_t excess;
    int err;

    if (!t->newest)
        return VT_OK;
    err = checkpoint_read(t->conn, &t->db->mac, &checkpoint);
    if (err)
        return err;
    excess = t->newest - checkpoint.last - keep;
    /* Some at a time: not a checkpoint for each event. */
    if (excess <= VT_MIN(keep / 8, DB_PRUNE_MAX / 4))
        return VT_OK;
    checkpoint.last += VT_MIN(excess, DB_PRUNE_MAX);
    err = event_hash_of(t->conn, checkpoint.last, checkpoint.hash);
    if (!err)
        err = delete_events(t, checkpoint.last);
    return err ? err : write_checkpoint(t, &checkpoint);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The event chain: each event's hash covers the one before; the last (id, hash) is in the set digest. */
#include "db/sqlite_priv.h"

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
    return err ? err : flip_one(t, ROW_HEAD, ROW_IN);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Instances that are on their way here: rows of `arriving` (docs/moving.md, "Live migration"). */
#include "db/sqlite_priv.h"

/* What the row says now; *there: there is one. */
static int look(struct txn *t, const struct vt_uuid *uuid, bool *there, uint8_t ticket[DB_TICKET], bool *has_ticket)
{
    struct q q;

    q_open(&q, t->conn, R_ARRIVING);
    q_uuid(&q, uuid);
    *there = q_row(&q);
    *has_ticket = *there && q_get_blob(&q, 3, ticket, DB_TICKET) == DB_TICKET;
    return q_close(&q);
}

/* One statement that changes the row of this instance, or none at all. */
static int change(struct txn *t, const struct vt_uuid *uuid, struct q *q)
{
    int err = q_run(q);

    if (!err && sqlite3_changes(t->conn->sq) != 1)
        err = VT_ECONFLICT;
    return err ? err : flip_uuid(t, ROW_ARRIVING, uuid, ROW_IN);
}

/* With the row out of the digest. */
static int removed(struct txn *t, const struct vt_uuid *uuid)
{
    t->erased = true; /* a credential may have been in it */
    return run_uuid(t, W_ARRIVING_DELETE, uuid);
}

int verb_expect(struct txn *t, struct request *req)
{
    const struct db_arriving *row = req->extra;
    struct q q;
    int err = flip_uuid(t, ROW_ARRIVING, &req->uuid, ROW_OUT);

    if (err)
        return err;
    q_open(&q, t->conn, W_EXPECT);
    q_uuid(&q, &req->uuid);
    q_uuid(&q, &row->store);
    q_blob(&q, row->sealed, row->sealed_len);
    q_i64(&q, t->now);
    return change(t, &req->uuid, &q);
}

int verb_unexpect(struct txn *t, struct request *req)
{
    uint8_t ticket[DB_TICKET];
    bool there, has_ticket;
    int err = look(t, &req->uuid, &there, ticket, &has_ticket);

    if (err || !there)
        return err ? err : VT_ENOTFOUND;
    if (has_ticket)
        return VT_ECONFLICT;
    err = flip_uuid(t, ROW_ARRIVING, &req->uuid, ROW_OUT);
    return err ? err : removed(t, &req->uuid);
}

int verb_claim(struct txn *t, struct request *req)
{
    const struct db_arriving *row = req->extra;
    struct q q;
    int err = flip_uuid(t, ROW_ARRIVING, &req->uuid, ROW_OUT);

    if (err)
        return err;
    q_open(&q, t->conn, W_CLAIM);
    q_uuid(&q, &req->uuid);
    q_uuid(&q, &row->store);
    q_blob(&q, row->ticket, sizeof row->ticket);
    q_i64(&q, t->now);
    return change(t, &req->uuid, &q);
}

/* Another ticket's row stays as it is. */
int verb_unclaim(struct txn *t, struct request *req)
{
    const struct db_arriving *row = req->extra;
    uint8_t ticket[DB_TICKET];
    bool there, has_ticket;
    int err = look(t, &req->uuid, &there, ticket, &has_ticket);

    if (err)
        return err;
    if (!has_ticket || memcmp(ticket, row->ticket, sizeof ticket) != 0)
        return VT_ENOTFOUND;
    err = flip_uuid(t, ROW_ARRIVING, &req->uuid, ROW_OUT);
    if (!err)
        err = run_uuid(t, W_UNCLAIM, &req->uuid);
    if (!err && sqlite3_changes(t->conn->sq) != 1)
        return removed(t, &req->uuid);
    return err ? err : flip_uuid(t, ROW_ARRIVING, &req->uuid, ROW_IN);
}

int arriving_over(struct txn *t, const struct vt_uuid *uuid)
{
    int err = flip_uuid(t, ROW_ARRIVING, uuid, ROW_OUT);

    return err ? err : removed(t, uuid);
}

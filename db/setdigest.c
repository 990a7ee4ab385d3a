/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The set digest: the XOR of a keyed PRF over each security row. A change costs two PRFs whatever the size of
 * the store, and the order of rows does not matter. The PRF's values never leave the process (the file only
 * has a MAC over their XOR and their number), and no row can be there twice, so rows cannot be chosen to
 * cancel each other.
 */
#include "db/sqlite_priv.h"

#include "server/base/secret.h"

static void enc_put(struct enc *enc, const void *bytes, size_t len)
{
    if (enc->full || len > sizeof enc->bytes - enc->len) {
        enc->full = true;
        return;
    }
    if (len)
        memcpy(enc->bytes + enc->len, bytes, len);
    enc->len += len;
}

void enc_i64(struct enc *enc, int64_t value)
{
    uint8_t out[9] = {'I'};

    for (int i = 0; i < 8; i++)
        out[1 + i] = (uint8_t)((uint64_t)value >> (56 - 8 * i));
    enc_put(enc, out, sizeof out);
}

void enc_bytes(struct enc *enc, uint8_t type, const void *bytes, size_t len)
{
    const uint8_t head[5] = {type, (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                             (uint8_t)len};

    enc_put(enc, head, sizeof head);
    enc_put(enc, bytes, len);
}

void enc_column(struct enc *enc, sqlite3_stmt *st, int col)
{
    const int type = sqlite3_column_type(st, col);
    const void *bytes;

    switch (type) {
    case SQLITE_INTEGER:
        enc_i64(enc, sqlite3_column_int64(st, col));
        return;
    case SQLITE_NULL:
        enc_bytes(enc, 'N', NULL, 0);
        return;
    case SQLITE_BLOB:
        bytes = sqlite3_column_blob(st, col);
        enc_bytes(enc, 'B', bytes, (size_t)sqlite3_column_bytes(st, col));
        return;
    case SQLITE_TEXT:
        bytes = sqlite3_column_text(st, col);
        enc_bytes(enc, 'T', bytes, (size_t)sqlite3_column_bytes(st, col));
        return;
    default: /* STRICT tables hold no floats where these columns are: someone else's doing */
        enc->full = true;
    }
}

static const struct {
    enum stmt scan;
    const char *table;
} tables[] = {
    {SCAN_META, "meta"},
    {SCAN_INSTANCE, "instance"},
    {SCAN_RECORD, "record"},
    {SCAN_ANCHOR, "anchor"},
    {SCAN_CREDENTIAL, "credential"},
    {SCAN_LISTED, "credential_instance"},
    {SCAN_BINDING, "binding"},
    {SCAN_KEYSLOT, "keyslot"},
    {SCAN_HEAD, "event"},
    {SCAN_CHECKPOINT, "checkpoint"},
    {SCAN_SERVER_KEY, "server_key"},
    {SCAN_PEER, "peer"},
    {SCAN_EXPORTED, "exported"},
    {SCAN_IMPORTED, "imported"},
    {SCAN_HOST_AK, "host_ak"},
    {SCAN_PEER_ADDRESS, "peer_address"},
    {SCAN_ARRIVING, "arriving"},
};

static const char *table_of(enum stmt id)
{
    switch (id) {
    case ROW_META:
        return "meta";
    case ROW_INSTANCE:
        return "instance";
    case ROW_RECORD:
        return "record";
    case ROW_ANCHOR:
    case ROWS_ANCHOR:
        return "anchor";
    case ROW_CREDENTIAL:
        return "credential";
    case ROW_LISTED:
    case ROWS_LISTED_OF:
        return "credential_instance";
    case ROW_BINDING:
    case ROWS_BINDING_OF:
        return "binding";
    case ROW_KEYSLOT:
        return "keyslot";
    case ROW_CHECKPOINT:
        return "checkpoint";
    case ROW_SERVER_KEY:
        return "server_key";
    case ROW_PEER:
        return "peer";
    case ROW_EXPORTED:
        return "exported";
    case ROW_IMPORTED:
        return "imported";
    case ROW_HOST_AK:
        return "host_ak";
    case ROW_PEER_ADDRESS:
        return "peer_address";
    case ROW_ARRIVING:
        return "arriving";
    default:
        return "event";
    }
}

static void enc_new(struct enc *enc, const struct set_new *value)
{
    if (value->bytes)
        enc_bytes(enc, 'B', value->bytes, value->len);
    else
        enc_i64(enc, value->number);
}

/* Column `col` of the row, or what comes in its place. */
static void enc_field(struct enc *enc, sqlite3_stmt *st, const struct set_row *row, int col,
                      const struct set_new *news, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (news[i].col == col) {
            enc_new(enc, &news[i]);
            return;
        }
    }
    enc_column(enc, st, row->first + col);
}

/* PRF(table || number of columns || columns) into the digest. */
static int mix_row(struct db_set *set, const struct db_mac *mac, sqlite3_stmt *st, const struct set_row *row,
                   const struct set_new *news, size_t count)
{
    struct enc enc;
    uint8_t prf[DB_HASH];

    enc.len = 0; /* not all of it: this runs for every row at start */
    enc.full = false;
    enc_bytes(&enc, 'T', row->table, strlen(row->table));
    enc_i64(&enc, row->columns);
    for (int i = 0; i < row->columns; i++)
        enc_field(&enc, st, row, i, news, count);
    if (enc.full)
        return VT_EDAMAGED;
    mac->row(mac->ctx, enc.bytes, enc.len, prf);
    for (size_t i = 0; i < sizeof prf; i++)
        set->digest[i] ^= prf[i];
    vt_wipe(prf, sizeof prf);
    return VT_OK;
}

static int mix_whole(struct db_set *set, const struct db_mac *mac, sqlite3_stmt *st, const char *table)
{
    const struct set_row row = {.table = table, .columns = sqlite3_column_count(st)};

    return mix_row(set, mac, st, &row, NULL, 0);
}

int set_change(struct db_set *set, const struct db_mac *mac, const struct q *q, const struct set_row *row,
               const struct set_new *news, size_t count)
{
    int err = mix_row(set, mac, q->st, row, NULL, 0);

    if (!err)
        err = mix_row(set, mac, q->st, row, news, count);
    set->changed = true;
    return err;
}

int set_flip(struct db_set *set, const struct db_mac *mac, struct q *q, enum stmt id, enum row_sign sign)
{
    int err = VT_OK;

    while (!err && q_row(q)) {
        err = mix_whole(set, mac, q->st, table_of(id));
        set->rows += sign == ROW_IN ? 1 : UINT64_MAX;
        set->changed = true;
    }
    const int closed = q_close(q);

    return err ? err : closed;
}

int set_scan(struct db_set *set, const struct db_mac *mac, struct conn *conn)
{
    memset(set, 0, sizeof *set);
    for (size_t i = 0; i < VT_COUNT(tables); i++) {
        struct q q;
        int err = VT_OK, closed;

        q_open(&q, conn, tables[i].scan);
        while (!err && q_row(&q)) {
            err = mix_whole(set, mac, q.st, tables[i].table);
            set->rows++;
        }
        closed = q_close(&q);
        if (err || closed)
            return err ? err : closed;
    }
    return VT_OK;
}

/* The last event's own columns are not in the digest, its hash is: so its hash must be right. */
static int verify_head(const struct db_mac *mac, struct conn *conn, struct vt_why *named)
{
    struct db_event event;
    uint8_t hash[DB_HASH];
    struct q q;
    bool there;
    int err;

    q_open(&q, conn, R_LAST_EVENT);
    there = q_row(&q);
    if (there)
        event_read(&q, &event);
    err = q_close(&q);
    if (err || !there)
        return err;
    event_hash(mac, &event, hash);
    if (vt_ct_equal(hash, event.hash, sizeof hash))
        return VT_OK;
    return vt_fail(named, VT_EDAMAGED, "event %lld was altered", (long long)event.id);
}

struct sealed {
    bool there;
    uint64_t generation, rows;
    uint8_t mac[DB_HASH];
};

static int read_sealed(struct conn *conn, struct sealed *out)
{
    struct q q;

    memset(out, 0, sizeof *out);
    q_open(&q, conn, R_META);
    if (q_row(&q)) {
        out->generation = (uint64_t)q_get_i64(&q, 0);
        out->rows = (uint64_t)q_get_i64(&q, 1);
        out->there = q_get_blob(&q, 2, out->mac, sizeof out->mac) == sizeof out->mac;
    }
    return q_close(&q);
}

static bool same_mac(const struct db_set *set, const struct db_mac *mac, const struct sealed *sealed)
{
    uint8_t computed[DB_HASH];

    mac->seal(mac->ctx, set->digest, set->generation, set->rows, computed);
    return vt_ct_equal(sealed->mac, computed, sizeof computed) && sealed->rows == set->rows;
}

/* Always VT_EDAMAGED, unless even the explanation cannot be read. */
static int name_damage(struct conn *conn, const struct db_set *set, const struct sealed *sealed,
                       struct vt_why *named)
{
    int err = set_explain(conn, named);

    if (err && err != VT_EDAMAGED)
        return err;
    if (sealed->rows == set->rows)
        return VT_EDAMAGED;
    return vt_fail(named, VT_EDAMAGED, "there are %llu rows instead of %llu", (unsigned long long)set->rows,
                   (unsigned long long)sealed->rows);
}

int set_verify(struct db_set *set, const struct db_mac *mac, struct conn *conn, struct vt_why *named)
{
    struct sealed sealed;
    int err = read_sealed(conn, &sealed);

    if (!err)
        err = set_scan(set, mac, conn);
    if (err)
        set->rows = sealed.rows; /* counted half way: says nothing */
    set->generation = sealed.generation;
    if (!err && !sealed.there)
        err = vt_fail(named, VT_EDAMAGED, "it has no MAC: it was removed, or `init` did not finish");
    if (!err && same_mac(set, mac, &sealed))
        return verify_head(mac, conn, named);
    return err && err != VT_EDAMAGED ? err : name_damage(conn, set, &sealed, named);
}

/* Each selects the uuid of the first offender; the text stands around it. */
static const struct {
    const char *sql, *before, *after;
} relations[] = {
    {"SELECT uuid FROM record WHERE uuid NOT IN (SELECT uuid FROM instance)", "a record belongs to instance ",
     ", which is not there"},
    {"SELECT uuid FROM instance WHERE life <> 3 AND uuid NOT IN (SELECT uuid FROM record)",
     "the record is missing of instance ", ""},
    {"SELECT i.uuid FROM instance i JOIN record r ON r.uuid = i.uuid WHERE r.seq < i.seq",
     "the record is older than the row of instance ", ""},
    {"SELECT i.uuid FROM instance i JOIN record r ON r.uuid = i.uuid WHERE r.seq > i.seq",
     "the record is newer than the row of instance ", ""},
    {"SELECT uuid FROM instance WHERE generation > (SELECT max(generation) FROM meta)",
     "the rest of the store is older than instance ", ""},
    {"SELECT uuid FROM instance WHERE life = 3 AND (length(wrapped_key) > 0 OR uuid IN (SELECT uuid FROM "
     "record))",
     "there is a key or record again of the deleted instance ", ""},
    {"SELECT uuid FROM credential_instance WHERE identity NOT IN (SELECT identity FROM credential)",
     "no credential belongs to a list with instance ", ""},
    {"SELECT uuid FROM credential_instance WHERE uuid NOT IN (SELECT uuid FROM instance WHERE life <> 3)",
     "a host credential names instance ", ", which is not there"},
    {"SELECT uuid FROM exported WHERE uuid IN (SELECT uuid FROM instance WHERE life = 0)",
     "it lives here although it was exported: instance ", ""},
    {"SELECT uuid FROM binding WHERE uuid NOT IN (SELECT uuid FROM instance WHERE life <> 3)",
     "a domain is bound to instance ", ", which is not there"},
};

static int run_relation(struct conn *conn, size_t i, struct vt_why *named)
{
    sqlite3_stmt *st = NULL;
    struct vt_uuid uuid = {{0}};
    char text[VT_UUID_TEXT];
    int rc = sqlite3_prepare_v2(conn->sq, relations[i].sql, -1, &st, NULL);

    if (!rc)
        rc = sqlite3_step(st);
    if (rc == SQLITE_ROW && sqlite3_column_bytes(st, 0) == sizeof uuid.bytes)
        memcpy(uuid.bytes, sqlite3_column_blob(st, 0), sizeof uuid.bytes);
    sqlite3_finalize(st);
    if (rc != SQLITE_ROW)
        return db_err(rc);
    vt_uuid_text(text, &uuid);
    return vt_fail(named, VT_EDAMAGED, "%s%s%s", relations[i].before, text, relations[i].after);
}

static int events_complete(struct conn *conn, struct vt_why *named)
{
    int64_t missing;
    int err = conn_int(conn->sq,
                       "SELECT coalesce(max(id), 0) - count(*) - (SELECT coalesce(max(last), 0) FROM checkpoint)"
                       " FROM event",
                       &missing);

    if (!err && missing)
        err = vt_fail(named, VT_EDAMAGED, "%lld events are missing", (long long)missing);
    return err;
}

int set_explain(struct conn *conn, struct vt_why *named)
{
    for (size_t i = 0; i < VT_COUNT(relations); i++) {
        int err = run_relation(conn, i, named);

        if (err)
            return err;
    }
    return events_complete(conn, named);
}

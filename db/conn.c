/* SPDX-License-Identifier: Apache-2.0 */
#include "db/sqlite_priv.h"

#include "server/base/alloc.h"

static const char *const statements[STMT_COUNT] = {
#define STATEMENT(id, sql) [id] = (sql),
#include "db/statements.def"
#undef STATEMENT
};

int db_err(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return VT_OK;
    case SQLITE_CONSTRAINT:
        if (rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY ||
            rc == SQLITE_CONSTRAINT_ROWID)
            return VT_EEXISTS;
        /* A row that another one refers to is not there. */
        return rc == SQLITE_CONSTRAINT_FOREIGNKEY ? VT_ENOTFOUND : VT_EUSAGE;
    case SQLITE_NOMEM:
        return VT_ENOMEM;
    case SQLITE_TOOBIG: /* ours are bounded before they come here: someone else's row */
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* our statements are right: the schema is not */
    case SQLITE_MISMATCH:
    case SQLITE_SCHEMA:
        return VT_EDAMAGED;
    default: /* BUSY, LOCKED, FULL, READONLY, IOERR, CANTOPEN, PROTOCOL, PERM, AUTH, ... */
        return VT_EUNAVAILABLE;
    }
}

static const struct {
    int id, value;
} limits[] = {
    {SQLITE_LIMIT_LENGTH, 2 * DB_SEALED_MAX},
    {SQLITE_LIMIT_SQL_LENGTH, 65536},
    {SQLITE_LIMIT_COLUMN, 64},
    {SQLITE_LIMIT_EXPR_DEPTH, 64},
    {SQLITE_LIMIT_COMPOUND_SELECT, 8},
    {SQLITE_LIMIT_FUNCTION_ARG, 8},
    {SQLITE_LIMIT_ATTACHED, 0},
    {SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 64},
    {SQLITE_LIMIT_VARIABLE_NUMBER, 32},
    {SQLITE_LIMIT_TRIGGER_DEPTH, 1},
    {SQLITE_LIMIT_WORKER_THREADS, 0},
};

/* The file is hostile until its MAC is checked, and its schema is not under the MAC at all: no trigger or
 * view of it runs in this process. Extensions are off by default and cannot be switched on by SQL. */
static const struct {
    int op, on;
} switches[] = {
    {SQLITE_DBCONFIG_DEFENSIVE, 1},      {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
    {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0}, {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
    {SQLITE_DBCONFIG_ENABLE_FKEY, 1},    {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
    {SQLITE_DBCONFIG_DQS_DML, 0},        {SQLITE_DBCONFIG_DQS_DDL, 0},
};

int conn_harden(sqlite3 *sq)
{
    for (size_t i = 0; i < VT_COUNT(limits); i++)
        sqlite3_limit(sq, limits[i].id, limits[i].value);
    for (size_t i = 0; i < VT_COUNT(switches); i++) {
        int now = -1;

        if (sqlite3_db_config(sq, switches[i].op, switches[i].on, &now) || now != switches[i].on)
            return VT_ENOTSUP;
    }
    return VT_OK;
}

/* synchronous=FULL: a COMMIT in WAL mode is synced before it is reported. secure_delete: freed pages are
 * zeroed. */
static const char pragmas[] = "PRAGMA cell_size_check = ON;"
                              "PRAGMA mmap_size = 0;"
                              "PRAGMA synchronous = FULL;"
                              "PRAGMA secure_delete = ON;"
                              "PRAGMA temp_store = MEMORY;"
                              "PRAGMA journal_size_limit = 67108864;"
                              "PRAGMA cache_size = -4096;";

static int set_up(struct conn *conn, int flags)
{
    int rc = conn_harden(conn->sq);

    if (rc)
        return rc;
    /* Only the writer thread may wait; readers may run on the loop, and in WAL mode have nothing to wait for.
     */
    sqlite3_busy_timeout(conn->sq, flags & SQLITE_OPEN_READWRITE ? DB_BUSY_MS : 0);
    rc = sqlite3_exec(conn->sq, pragmas, NULL, NULL, NULL);
    if (!rc && flags & SQLITE_OPEN_READONLY)
        rc = sqlite3_exec(conn->sq, "PRAGMA query_only = ON", NULL, NULL, NULL);
    return db_err(rc);
}

/*
 * Without counts of the memory in use, which nobody reads here: each allocation would take a lock for them, and a statement
 * makes many. Only before anything else is asked of SQLite; refused later, without harm.
 */
static void configure(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

int conn_open(struct conn **out, const char *path, int flags, struct vt_why *why)
{
    const int always =
        SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE;
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct conn *conn = VT_NEW(struct conn);
    int err;

    *out = NULL;
    if (!conn)
        return vt_fail(why, VT_ENOMEM, "%s: %s", path, vt_err_text(VT_ENOMEM));
    (void)pthread_once(&once, configure);
    err = db_err(sqlite3_open_v2(path, &conn->sq, flags | always,
                                 flags & SQLITE_OPEN_READWRITE ? logfile_vfs() : NULL));
    /* SQLite opens read-only by itself where it may not write. */
    if (!err && flags & SQLITE_OPEN_READWRITE && sqlite3_db_readonly(conn->sq, "main"))
        err = vt_fail(why, VT_EUNAVAILABLE, "%s: cannot be opened for writing: is its file system read-only?",
                      path);
    if (!err)
        err = set_up(conn, flags);
    if (err) {
        vt_fail(why, err, "%s: %s", path, conn->sq ? sqlite3_errmsg(conn->sq) : vt_err_text(err));
        conn_close(conn);
        return err;
    }
    *out = conn;
    return VT_OK;
}

void conn_close(struct conn *conn)
{
    if (!conn)
        return;
    for (size_t i = 0; i < STMT_COUNT; i++)
        sqlite3_finalize(conn->stmts[i]);
    sqlite3_close(conn->sq);
    vt_free(conn);
}

static int prepare(struct conn *conn, enum stmt id)
{
    if (conn->stmts[id])
        return SQLITE_OK;
    return sqlite3_prepare_v3(conn->sq, statements[id], -1, SQLITE_PREPARE_PERSISTENT, &conn->stmts[id],
                              NULL);
}

int conn_prepare_all(struct conn *conn, struct vt_why *why)
{
    for (int id = 0; id < STMT_COUNT; id++) {
        int err = db_err(prepare(conn, (enum stmt)id));

        if (err)
            return vt_fail(why, err, "%s: %s", sqlite3_db_filename(conn->sq, "main"),
                           sqlite3_errmsg(conn->sq));
    }
    return VT_OK;
}

int conn_int(sqlite3 *sq, const char *sql, int64_t *out)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(sq, sql, -1, &st, NULL);

    *out = 0;
    if (!rc && (rc = sqlite3_step(st)) == SQLITE_ROW)
        *out = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return db_err(rc);
}

void q_open(struct q *q, struct conn *conn, enum stmt id)
{
    q->conn = conn;
    q->param = 0;
    q->rc = prepare(conn, id);
    q->st = conn->stmts[id];
}

static void bound(struct q *q, int rc)
{
    if (!q->rc)
        q->rc = rc;
}

void q_i64(struct q *q, int64_t value)
{
    bound(q, sqlite3_bind_int64(q->st, ++q->param, value));
}

void q_text(struct q *q, const char *text)
{
    bound(q, sqlite3_bind_text(q->st, ++q->param, text, -1, SQLITE_STATIC));
}

void q_blob(struct q *q, const void *bytes, size_t len)
{
    /* A NULL pointer would bind SQL NULL. */
    bound(q, sqlite3_bind_blob64(q->st, ++q->param, bytes ? bytes : "", len, SQLITE_STATIC));
}

void q_null(struct q *q)
{
    bound(q, sqlite3_bind_null(q->st, ++q->param));
}

void q_uuid(struct q *q, const struct vt_uuid *uuid)
{
    q_blob(q, uuid->bytes, sizeof uuid->bytes);
}

bool q_row(struct q *q)
{
    if (q->rc && q->rc != SQLITE_ROW)
        return false;
    q->rc = sqlite3_step(q->st);
    return q->rc == SQLITE_ROW;
}

int q_close(struct q *q)
{
    if (q->st) {
        sqlite3_reset(q->st);
        sqlite3_clear_bindings(q->st);
    }
    return db_err(q->rc);
}

int q_run(struct q *q)
{
    while (q_row(q))
        ;
    return q_close(q);
}

int stmt_run(struct conn *conn, enum stmt id)
{
    struct q q;

    q_open(&q, conn, id);
    return q_run(&q);
}

void q_damaged(struct q *q)
{
    q->rc = SQLITE_CORRUPT;
}

int64_t q_get_i64(struct q *q, int col)
{
    return sqlite3_column_int64(q->st, col);
}

void q_get_text(struct q *q, int col, char *out, size_t size)
{
    const unsigned char *text = sqlite3_column_text(q->st, col);
    size_t len = (size_t)sqlite3_column_bytes(q->st, col);

    out[0] = '\0';
    if (!text)
        return;
    if (len >= size || memchr(text, '\0', len)) {
        q_damaged(q);
        return;
    }
    memcpy(out, text, len);
    out[len] = '\0';
}

size_t q_get_blob(struct q *q, int col, void *out, size_t size)
{
    const void *bytes = sqlite3_column_blob(q->st, col);
    size_t len = (size_t)sqlite3_column_bytes(q->st, col);

    if (len > size) {
        q_damaged(q);
        return 0;
    }
    if (len)
        memcpy(out, bytes, len);
    return len;
}

void q_get_fixed(struct q *q, int col, void *out, size_t len)
{
    if (q_get_blob(q, col, out, len) != len)
        q_damaged(q);
}

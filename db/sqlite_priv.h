/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the SQLite store: connections with their prepared statements, the set digest behind the store MAC,
 * requests and the writer's transaction. Only files of db/ and their tests include this.
 */
#ifndef VTPM_DB_SQLITE_PRIV_H
#define VTPM_DB_SQLITE_PRIV_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "db/db.h"
#include "server/base/list.h"

#define DB_APPLICATION_ID 0x7654504D /* "vTPM" */
#define DB_FILE           "vtpm.db"
#define DB_LOCK_FILE      "lock"
#define DB_BUSY_MS        250         /* what the writer thread waits for a foreign lock */
#define DB_QUIET_MS       100         /* without requests: time for the log file */
#define DB_QUEUE_MAX      4096        /* requests */
#define DB_QUEUE_BYTES    (64u << 20) /* their payload */
#define DB_BATCH_MAX      256         /* requests in one transaction */
#define DB_BATCH_BYTES    (32u << 20)
#define DB_LISTED_MAX     65536 /* instances in one host credential's list */
#define DB_COUNTERS_MAX   1000000
#define DB_POOL_MAX       4 /* idle read connections that are kept */
#define DB_HASH           32
#define DB_EVENTS_KEEP    100000 /* newest events that stay, unless configured */
#define DB_PRUNE_MAX      1024   /* events that go in one transaction */

/* ---- What the store MAC covers: exactly these columns, primary key included ---- */
#define COLS_META "store, next_keyslot"
#define COLS_INSTANCE \
    "uuid, name, grp, profile, life, reason, wrapped_key, ek_sha256, epoch, seq, generation, created"
#define COLS_RECORD     "uuid, seq, tag"
#define COLS_ANCHOR     "pending, epoch, generation, digest, previous, time, nv, place"
#define COLS_CREDENTIAL "identity, sealed, disabled, version"
#define COLS_LISTED     "identity, uuid"
#define COLS_BINDING    "uuid, peer"
#define COLS_KEYSLOT    "id, kind, params, wrapped"
#define COLS_HEAD       "id, hash"
#define COLS_CHECKPOINT "last, hash, mac"
#define COLS_SERVER_KEY "public, sealed"
#define COLS_PEER       "name, store, public"
#define COLS_EXPORTED   "uuid, id, peer, store, public, time"
#define COLS_IMPORTED   "id, uuid, store, time"
#define COLS_HOST_AK    "kind, modulus, blob"
#define COLS_PEER_ADDRESS "name, address"
#define COLS_ARRIVING   "uuid, store, sealed, ticket, time"
/* Of W_BOTH: those of COLS_INSTANCE, those of COLS_RECORD, and where the record lies. */
enum both {
    BOTH_INSTANCE = 0,
    BOTH_LIFE = 4,
    BOTH_EK = 7,
    BOTH_EPOCH = 8,
    BOTH_SEQ = 9,
    BOTH_GENERATION = 10,
    BOTH_INSTANCE_COLUMNS = 12,
    BOTH_RECORD = BOTH_INSTANCE_COLUMNS,
    BOTH_RECORD_COLUMNS = 3,
    BOTH_ROWID = BOTH_RECORD + BOTH_RECORD_COLUMNS
};
/* The last event stands for all: each hash covers the one before. */
#define LAST_EVENT " FROM event ORDER BY id DESC LIMIT 1"

/* ---- Every statement there is; prepared once per connection ---- */
#define INSTANCE_ALL                                                                                     \
    "SELECT uuid, name, grp, profile, life, reason, power, domain, wrapped_key, ek_sha256, epoch, seq, " \
    "generation, commands, state_bytes, created, updated, last_seen FROM instance "

#define PEER_ALL                                                                                          \
    "SELECT p.name, p.store, p.public, coalesce(a.address, '') FROM peer p"                             \
    " LEFT JOIN peer_address a ON a.name = p.name "

struct db;
enum stmt {
#define STATEMENT(id, sql) id,
#include "db/statements.def"
#undef STATEMENT
    STMT_COUNT
};

/* ---- conn.c: one hardened connection; used by one thread at a time ---- */
struct conn {
    sqlite3 *sq;
    sqlite3_stmt *stmts[STMT_COUNT];
    struct conn *next; /* in the pool */
};

/* flags: SQLITE_OPEN_READWRITE or SQLITE_OPEN_READONLY. On error *conn is NULL; why has SQLite's text. */
int conn_open(struct conn **conn, const char *path, int flags, struct vt_why *why) VT_USE_RESULT;
/* Prepares all statements, so that a missing table is found at open. */
int conn_prepare_all(struct conn *conn, struct vt_why *why) VT_USE_RESULT;
void conn_close(struct conn *conn);
/* Limits and switches; also for the reference schema in memory. */
int conn_harden(sqlite3 *sq) VT_USE_RESULT;
/* A SQLite result code in our alphabet (SQLITE_ROW and SQLITE_DONE are VT_OK). */
int db_err(int rc) VT_USE_RESULT;
/* One integer of a PRAGMA or query; for open and migrate, before statements can be prepared. */
int conn_int(sqlite3 *sq, const char *sql, int64_t *out) VT_USE_RESULT;

/*
 * One use of a statement: q_open, bind in order of the parameters, q_row for rows, q_close. Errors stick:
 * after one there are no rows, and q_close returns it. Bound memory is borrowed until q_close.
 */
struct q {
    struct conn *conn;
    sqlite3_stmt *st;
    int param;
    int rc;
};
void q_open(struct q *q, struct conn *conn, enum stmt id);
void q_i64(struct q *q, int64_t value);
void q_text(struct q *q, const char *text);              /* NULL: SQL NULL */
void q_blob(struct q *q, const void *bytes, size_t len); /* bytes NULL and len 0: empty blob */
void q_null(struct q *q);
void q_uuid(struct q *q, const struct vt_uuid *uuid);
/* True when there is a row. */
bool q_row(struct q *q);
/* Resets; VT_OK unless something failed since q_open. */
int q_close(struct q *q) VT_USE_RESULT;
/* For statements without rows: step and close. */
int q_run(struct q *q) VT_USE_RESULT;
int stmt_run(struct conn *conn, enum stmt id) VT_USE_RESULT;
/* Columns; what does not fit is VT_EDAMAGED and sticks in q. */
int64_t q_get_i64(struct q *q, int col);
void q_get_text(struct q *q, int col, char *out, size_t size);
size_t q_get_blob(struct q *q, int col, void *out, size_t size);
void q_get_fixed(struct q *q, int col, void *out, size_t len);
void q_damaged(struct q *q);

/* ---- logfile.c: the writing connection's VFS ---- */
/* Its name, or NULL: there is none to be had. Loop thread. */
const char *logfile_vfs(void);
/* Zeros behind the log's end up to so many bytes, synced. The caller holds the write lock. A SQLite result code. */
int logfile_reserve(sqlite3 *sq, sqlite3_int64 size) VT_USE_RESULT;

/* ---- log.c: the care of the log file; writer thread ---- */
/* For a connection just opened for writing. */
void log_watch(struct db *db);
/* Would a quiet moment be of use? */
bool log_wants_quiet(const struct db *db);
/* Between two batches; quiet: nobody has asked for anything for a while. */
void log_tend(struct db *db, bool quiet);
/*
 * A deleted key must not survive in the log file: everything into the database, and the log to length 0. A reader can
 * be in the way: nobody waits for it, it is tried again with a later batch.
 */
void log_erase(struct db *db, int64_t now);

/* ---- migrate.c ---- */
struct db_step {
    int version; /* that the step makes */
    const char *sql;
};
extern const struct db_step db_steps[];
extern const size_t db_step_count;
/* From the file's user_version to the last step's, in the caller's transaction. */
int db_migrate(sqlite3 *sq, const struct db_step *steps, size_t count, struct vt_why *why) VT_USE_RESULT;
/* application_id, user_version; migrates what is older in one transaction. */
int db_check_version(sqlite3 *sq, const struct db_step *steps, size_t count,
                     struct vt_why *why) VT_USE_RESULT;
/* Our tables, indexes and views are what the steps make. */
int db_check_schema(sqlite3 *sq, struct vt_why *why) VT_USE_RESULT;

/* ---- setdigest.c ---- */
struct db_set {
    uint8_t digest[DB_HASH];
    uint64_t rows;
    uint64_t generation;
    bool changed; /* since the transaction began */
};
enum row_sign { ROW_OUT = -1, ROW_IN = 1 };

/* Fields with type and length, so that no two rows have the same bytes. Sticky when full. */
struct enc {
    uint8_t bytes[8192];
    size_t len;
    bool full;
};
void enc_i64(struct enc *enc, int64_t value);
void enc_bytes(struct enc *enc, uint8_t type, const void *bytes, size_t len);
void enc_column(struct enc *enc, sqlite3_stmt *st, int col);

/* XORs each row of an opened and bound statement (ROW_...) in or out; closes it. */
int set_flip(struct db_set *set, const struct db_mac *mac, struct q *q, enum stmt id,
             enum row_sign sign) VT_USE_RESULT;
/* A row that the MAC covers, among the columns of a statement: COLS_... of `table` from column `first` on. */
struct set_row {
    const char *table;
    int first, columns;
};
/* What a column of it will hold, counted from `first`: a blob, or (bytes NULL) a number. */
struct set_new {
    int col;
    const void *bytes;
    size_t len;
    int64_t number;
};
/* The row at which q stands goes out and comes in as the statement behind it will leave it: no second look. */
int set_change(struct db_set *set, const struct db_mac *mac, const struct q *q, const struct set_row *row,
               const struct set_new *news, size_t count) VT_USE_RESULT;
/* Over all rows; generation as in meta. */
int set_scan(struct db_set *set, const struct db_mac *mac, struct conn *conn) VT_USE_RESULT;
/* Scan and compare with meta, in the caller's read transaction. VT_EDAMAGED with what could be named in
 * `named`. */
int set_verify(struct db_set *set, const struct db_mac *mac, struct conn *conn,
               struct vt_why *named) VT_USE_RESULT;
/* The first inconsistency between tables; leaves named->text empty if there is none. */
int set_explain(struct conn *conn, struct vt_why *named) VT_USE_RESULT;

/* ---- event.c ---- */
struct audit {
    char kind[32], peer[96], text[256];
    struct vt_uuid uuid;
    bool has_uuid;
};
struct txn;
/* text may be NULL (""); shortens, and replaces what is not printable ASCII. */
void copy_printable(char *out, size_t size, const char *text);
/* By copy_printable. */
void audit_copy(struct audit *out, const struct db_audit *in);
int event_append(struct txn *t, const struct audit *audit) VT_USE_RESULT;
/* If this transaction appended: removes the oldest events beyond those that are kept, behind a checkpoint. */
int event_prune(struct txn *t) VT_USE_RESULT;
/* The row as it should hash after `prev`. */
void event_hash(const struct db_mac *mac, const struct db_event *event, uint8_t out[DB_HASH]);
/* Of an opened statement that selects all eight columns. */
void event_read(struct q *q, struct db_event *event);
/* Where the chain begins: id and hash of the last event that was pruned; 0 and zeros if none was.
 * VT_EDAMAGED if the row is not ours. */
struct checkpoint {
    int64_t last;
    uint8_t hash[DB_HASH];
};
int checkpoint_read(struct conn *conn, const struct db_mac *mac, struct checkpoint *out) VT_USE_RESULT;

/* ---- request.c, queue.c: what the loop asks of the writer ---- */
enum verb {
    VERB_CREATE,
    VERB_ACQUIRE,
    VERB_COMMIT,
    VERB_RENAME,
    VERB_LIFE,
    VERB_POWER,
    VERB_ANCHOR_PUT,
    VERB_ANCHOR_DONE,
    VERB_ANCHOR_DROP,
    VERB_CREDENTIAL,
    VERB_BINDING_ADD,
    VERB_BINDING_REMOVE,
    VERB_KEYSLOT_PUT,
    VERB_KEYSLOT_REMOVE,
    VERB_SERVER_KEY,
    VERB_HOST_AK,
    VERB_HOST_AK_REPLACE,
    VERB_PEER_ADD,
    VERB_PEER_REMOVE,
    VERB_IMPORT,
    VERB_TAKE_BACK,
    VERB_EXPECT,
    VERB_UNEXPECT,
    VERB_CLAIM,
    VERB_UNCLAIM,
    VERB_EVENT,
    VERB_COUNTERS,
    VERB_COUNT
};

struct request {
    struct vt_list node;
    enum verb verb;
    db_done done; /* may be NULL */
    void *arg;
    int err;
    bool has_audit;
    struct audit audit;
    struct vt_uuid uuid;
    size_t bytes; /* that count against the queue */
    uint64_t epoch, expected_seq, seq;
    uint64_t *epoch_out; /* written on the loop thread, before done */
    struct db_anchor *anchor_out; /* likewise, from extra */
    bool is_alone;
    int64_t id, *id_out;
    uint8_t tag[16];
    uint8_t *record; /* owned */
    size_t record_len;
    enum db_life life;
    char reason[256]; /* sanitised */
    char name[65], power[20], domain[65], peer[DB_PEER_TEXT];
    bool has_power, has_domain, has_ek, is_export;
    uint8_t ek_sha256[32];
    struct db_credential credential;
    void *extra; /* owned: db_instance, db_keyslot, vt_uuid[count], db_counter[count] */
    size_t count, extra_len;
};
void request_free(struct request *req);
struct request *request_new(enum verb verb, const struct vt_uuid *uuid, const struct db_audit *audit, db_done done,
                            void *arg);
/* Queues; NULL or a failed copy is out of memory. */
int request_submit(struct db *db, struct request *req, bool copied) VT_USE_RESULT;
bool request_copy_record(struct request *req, const struct db_sealed *record) VT_USE_RESULT;
bool request_copy_extra(struct request *req, const void *extra, size_t count, size_t size) VT_USE_RESULT;
int request_credential_valid(const struct db_credential *credential) VT_USE_RESULT;
int request_instance_valid(const struct db_instance *instance) VT_USE_RESULT;
/* 4 characters at least: "dom0". */
bool request_peer_valid(const char *peer) VT_USE_RESULT;

/* ---- request_move.c: the `extra` of VERB_IMPORT ---- */
struct import_extra {
    struct db_instance instance;
    struct vt_uuid source;
    uint8_t id[DB_EXPORT_ID];
    size_t binding_count;
    char bindings[DB_BINDINGS_MAX][DB_PEER_TEXT];
};

/* ---- trouble.c ---- */
enum trouble { TROUBLE_NONE, TROUBLE_FULL, TROUBLE_READONLY, TROUBLE_LOCKED, TROUBLE_OTHER };
/* Writer thread. rc is SQLite's; system_errno of sqlite3_system_errno. */
void trouble_begin(struct db *db, int rc, int system_errno);
void trouble_end(struct db *db);

/* ---- store.c ---- */
struct db {
    char *path; /* absolute, links resolved */
    struct db_config config;
    int lock_fd;
    struct vt_uuid store;
    struct db_mac mac;
    bool has_mac, verified, started, unclean, leave_unclean;
    atomic_bool check_cancel;

    /* The writer thread's, once it runs. */
    struct conn *writer; /* NULL after an unknown outcome, until reopened */
    struct db_set set;   /* as committed */
    bool erase_pending;  /* deleted keys may still be in the log file */
    int64_t erase_after; /* when to try again */
    int log_frames, log_folded;  /* in the log file; of them in the database too */
    int log_next, log_quiet;     /* how many must wait until they are folded: at once, in a quiet moment */
    bool log_reserved;           /* it was tried */
    bool damaged;        /* found when reopening: nothing is written any more */
    enum trouble trouble; /* changed by the writer thread, with the lock */

    pthread_mutex_t lock; /* guards what follows, up to the pool */
    pthread_cond_t work, idle;
    struct vt_list queue, done;
    size_t queued, queued_bytes;
    bool busy, stop;
    struct vt_why trouble_why;
    pthread_t thread;
#ifdef VTPM_TEST_HOOKS
    unsigned fail_commits;
    int fail_err;
    bool fail_after;
#endif

    pthread_mutex_t pool_lock;
    struct conn *pool;
    unsigned pool_count;
};

/* A read connection from the pool or a new one; never waits. */
int pool_take(struct db *db, struct conn **conn) VT_USE_RESULT;
void pool_give(struct db *db, struct conn *conn);
/* Ends a use of a pool connection that began with q_open: err, or what the query met. */
int pool_end(struct db *db, struct q *q, int err) VT_USE_RESULT;
/* The same, of a query for one row: VT_ENOTFOUND if it was not there; what the query met comes first. */
int pool_end_one(struct db *db, struct q *q, bool there) VT_USE_RESULT;

/* ---- queue.c ---- */
/* Takes req (freed on error). */
int queue_put(struct db *db, struct request *req) VT_USE_RESULT;
void *queue_thread(void *db);
#ifdef VTPM_TEST_HOOKS
/*
 * The next n transactions end with err (VT_EUNAVAILABLE or VT_EUNKNOWN) instead of a COMMIT; with `after`,
 * behind a COMMIT that did its work (only VT_EUNKNOWN makes sense then). Any thread.
 */
void db_test_fail_commits(struct db *db, unsigned n, int err, bool after);
#endif

/* ---- writer.c, verbs.c: one transaction ---- */
struct txn {
    struct db *db;
    struct conn *conn;
    struct db_set set; /* staged */
    int64_t now;
    bool erased;      /* something was deleted that must not stay in the log file */
    bool refused;     /* a request met a disk that takes nothing */
    int64_t newest;   /* id of the last event appended here; 0: none */
    bool apart;       /* each request in a savepoint of its own */
};
/* Does the batch and sets each request's err. Writer thread. */
void writer_batch(struct db *db, struct vt_list *batch);

typedef int (*verb_fn)(struct txn *t, struct request *req);
extern const verb_fn db_verbs[VERB_COUNT];

int flip_uuid(struct txn *t, enum stmt id, const struct vt_uuid *uuid, enum row_sign sign) VT_USE_RESULT;
int flip_text(struct txn *t, enum stmt id, const char *key, enum row_sign sign) VT_USE_RESULT;
int flip_id(struct txn *t, enum stmt id, int64_t key, enum row_sign sign) VT_USE_RESULT;
int flip_one(struct txn *t, enum stmt id, enum row_sign sign) VT_USE_RESULT;

struct state {
    enum db_life life;
    uint64_t epoch, seq;
};
/* VT_ENOTFOUND: no such instance, or a tombstone. */
int state_of(struct txn *t, const struct vt_uuid *uuid, struct state *state) VT_USE_RESULT;

int run_uuid(struct txn *t, enum stmt id, const struct vt_uuid *uuid) VT_USE_RESULT;
int run_text(struct txn *t, enum stmt id, const char *key) VT_USE_RESULT;
int insert_instance(struct txn *t, const struct request *req, const struct db_instance *instance) VT_USE_RESULT;
/* Its row of `exported`, if there is one. */
int exported_there(struct txn *t, const struct vt_uuid *uuid, bool *there) VT_USE_RESULT;
/* The record just written is the last: req->extra is a db_export. */
int export_fence(struct txn *t, const struct request *req) VT_USE_RESULT;
int insert_record(struct txn *t, const struct request *req) VT_USE_RESULT;
/* Record, credential and bindings of an instance; lists of host credentials that name it stay. */
int remove_own(struct txn *t, const struct vt_uuid *uuid) VT_USE_RESULT;
/* Version 1, and into the set digest. */
int credential_insert(struct txn *t, const struct db_credential *credential) VT_USE_RESULT;

int verb_rename(struct txn *t, struct request *req);
int verb_life(struct txn *t, struct request *req);
int verb_power(struct txn *t, struct request *req);
int verb_anchor_put(struct txn *t, struct request *req);
int verb_anchor_done(struct txn *t, struct request *req);
int verb_anchor_drop(struct txn *t, struct request *req);
int verb_credential(struct txn *t, struct request *req);
int verb_binding_add(struct txn *t, struct request *req);
int verb_binding_remove(struct txn *t, struct request *req);
int verb_keyslot_put(struct txn *t, struct request *req);
int verb_keyslot_remove(struct txn *t, struct request *req);
int verb_server_key(struct txn *t, struct request *req);
int verb_host_ak(struct txn *t, struct request *req);
int verb_host_ak_replace(struct txn *t, struct request *req);
int verb_peer_add(struct txn *t, struct request *req);
int verb_peer_remove(struct txn *t, struct request *req);
int verb_import(struct txn *t, struct request *req);
int verb_take_back(struct txn *t, struct request *req);
int verb_expect(struct txn *t, struct request *req);
int verb_unexpect(struct txn *t, struct request *req);
int verb_claim(struct txn *t, struct request *req);
int verb_unclaim(struct txn *t, struct request *req);
/* The instance has come: its row of `arriving` goes, if there is one. */
int arriving_over(struct txn *t, const struct vt_uuid *uuid) VT_USE_RESULT;
int verb_event(struct txn *t, struct request *req);
int verb_counters(struct txn *t, struct request *req);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a store: made, locked, opened, verified, closed. */
#include "db/sqlite_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/log.h"

/* While it is made; a half-made one is never taken for a store. */
#define NEW_FILE "vtpm.db.new"
#define LOCK_WAIT_MS 1000
#define LOCK_NAP_MS  10

static int errno_err(int number)
{
    switch (number) {
    case ENOENT:
    case ENOTDIR:
        return VT_ENOTFOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return VT_EPERM;
    case ENOSPC:
    case EDQUOT:
        return VT_ENOSPC;
    case EEXIST:
        return VT_EEXISTS;
    default:
        return VT_EIO;
    }
}

static int join(char **out, const char *dir, const char *name, struct vt_why *why)
{
    const size_t size = strlen(dir) + strlen(name) + 2;

    *out = vt_calloc(1, size);
    if (!*out)
        return vt_fail(why, VT_ENOMEM, "%s/%s: %s", dir, name, vt_err_text(VT_ENOMEM));
    snprintf(*out, size, "%s/%s", dir, name);
    return VT_OK;
}

/* DIR/name with DIR resolved: SQLite is told to follow no link. */
static int resolve(char **out, const char *dir, const char *name, struct vt_why *why)
{
    char real[PATH_MAX];

    if (!realpath(dir, real))
        return vt_fail(why, errno_err(errno), "%s: %s", dir, strerror(errno));
    return join(out, real, name, why);
}

static int locked_by_other(const char *path, int fd, struct vt_why *why)
{
    char pid[24];
    ssize_t len = pread(fd, pid, sizeof pid - 1, 0);

    pid[len > 0 ? len : 0] = '\0';
    pid[strspn(pid, "0123456789")] = '\0';
    return vt_fail(why, VT_ECONFLICT, "%s is held by process %s: a server is running on this store", path,
                   pid[0] ? pid : "(unknown)");
}

/*
 * A server that was killed while it started its engine leaves a child that holds a copy of every descriptor until it
 * has executed that program: a moment later the lock is free.
 */
static int wait_for_lock(int fd)
{
    const struct timespec nap = {.tv_nsec = LOCK_NAP_MS * 1000000};

    for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB); waited += LOCK_NAP_MS) {
        if (errno != EWOULDBLOCK || waited >= LOCK_WAIT_MS)
            return -1;
        nanosleep(&nap, NULL);
    }
    return 0;
}

/* The lock lives as long as the descriptor; the file stays, its text is the last holder's pid. */
static int take_lock(const char *dir, int *lock_fd, struct vt_why *why)
{
    char *path VT_AUTOFREE = NULL;
    char pid[24];
    int fd, len, err = resolve(&path, dir, DB_LOCK_FILE, why);

    if (err)
        return err;
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return vt_fail(why, errno_err(errno), "%s: %s", path, strerror(errno));
    if (wait_for_lock(fd)) {
        err = errno == EWOULDBLOCK ? locked_by_other(path, fd, why)
                                   : vt_fail(why, VT_EIO, "%s: %s", path, strerror(errno));
        close(fd);
        return err;
    }
    len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    /* For people only: a full disk must not keep the server from starting. */
    if (ftruncate(fd, 0) || pwrite(fd, pid, (size_t)len, 0) != len)
        vt_notice("store: %s: the pid could not be written", path);
    *lock_fd = fd;
    return VT_OK;
}

/* ---- db_create ---- */

static int fill(sqlite3 *sq, const struct vt_uuid *store, struct vt_why *why)
{
    sqlite3_stmt *st = NULL;
    char sql[64];
    int rc, err;

    snprintf(sql, sizeof sql, "PRAGMA application_id = %d", DB_APPLICATION_ID);
    err = db_err(sqlite3_exec(sq, sql, NULL, NULL, NULL));
    if (!err)
        err = db_err(sqlite3_exec(sq, "BEGIN", NULL, NULL, NULL));
    if (!err)
        err = db_migrate(sq, db_steps, db_step_count, why);
    if (err)
        return err;
    rc = sqlite3_prepare_v2(sq, "INSERT INTO meta (id, store) VALUES (1, ?1)", -1, &st, NULL);
    if (!rc)
        rc = sqlite3_bind_blob(st, 1, store->bytes, sizeof store->bytes, SQLITE_STATIC);
    if (!rc)
        rc = sqlite3_step(st);
    sqlite3_finalize(st);
    err = db_err(rc);
    if (!err)
        err = db_err(sqlite3_exec(sq, "COMMIT", NULL, NULL, NULL));
    return err ? err : db_err(sqlite3_exec(sq, "PRAGMA journal_mode = WAL", NULL, NULL, NULL));
}

static int make_file(const char *path, const struct vt_uuid *store, struct vt_why *why)
{
    struct conn *conn;
    int err, fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return vt_fail(why, errno_err(errno), "%s: %s", path, strerror(errno));
    /* O_CREAT is subject to the umask, and an older half-made file has any mode. */
    err = fchmod(fd, 0600) ? vt_fail(why, VT_EIO, "%s: %s", path, strerror(errno)) : VT_OK;
    close(fd);
    if (!err)
        err = conn_open(&conn, path, SQLITE_OPEN_READWRITE, why);
    if (err)
        return err;
    err = fill(conn->sq, store, why);
    if (err)
        vt_fail(why, err, "%s: %s", path, sqlite3_errmsg(conn->sq));
    conn_close(conn);
    return err;
}

static int sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

    if (fd < 0)
        return VT_EIO;
    err = fsync(fd) ? VT_EIO : VT_OK;
    close(fd);
    return err;
}

/* Leftovers of a creation that was cut off. */
static void remove_new(const char *fresh)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};

    for (size_t i = 0; i < VT_COUNT(suffixes); i++) {
        char path[PATH_MAX + 32];

        snprintf(path, sizeof path, "%s%s", fresh, suffixes[i]);
        (void)unlink(path);
    }
}

/* Into place, whole; file systems without RENAME_NOREPLACE have only our lock against a second maker. */
static int publish(const char *fresh, const char *path)
{
    if (renameat2(AT_FDCWD, fresh, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return 0;
    return errno == EINVAL ? rename(fresh, path) : -1;
}

static int create_locked(const char *dir, const struct vt_uuid *store, struct vt_why *why)
{
    char *path VT_AUTOFREE = NULL, *fresh VT_AUTOFREE = NULL;
    struct stat st;
    int err = resolve(&path, dir, DB_FILE, why);

    if (!err)
        err = resolve(&fresh, dir, NEW_FILE, why);
    if (err)
        return err;
    if (lstat(path, &st) == 0)
        return vt_fail(why, VT_EEXISTS, "%s: there is a store already; it stays untouched", path);
    remove_new(fresh);
    err = make_file(fresh, store, why);
    if (!err && publish(fresh, path))
        err = vt_fail(why, errno_err(errno), "%s: %s", path, strerror(errno));
    remove_new(fresh);
    if (!err && sync_dir(dir))
        err = vt_fail(why, VT_EIO, "%s: %s", dir, strerror(errno));
    return err;
}

int db_create(const char *dir, const struct vt_uuid *store, struct vt_why *why)
{
    int lock_fd, err = take_lock(dir, &lock_fd, why);

    if (err)
        return err;
    err = create_locked(dir, store, why);
    close(lock_fd);
    return err;
}

/* ---- db_open ---- */

static int check_wal(sqlite3 *sq, const char *path, struct vt_why *why)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(sq, "PRAGMA journal_mode = WAL", -1, &st, NULL);
    bool wal;

    if (!rc)
        rc = sqlite3_step(st);
    wal = rc == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(st, 0), "wal") == 0;
    sqlite3_finalize(st);
    if (wal)
        return VT_OK;
    return vt_fail(why, rc == SQLITE_ROW ? VT_EUNAVAILABLE : db_err(rc),
                   "%s: write-ahead logging cannot be used here (%s)", path, sqlite3_errmsg(sq));
}

static int read_meta(struct db *db, struct vt_why *why)
{
    struct q q;
    int err;

    q_open(&q, db->writer, R_META);
    if (q_row(&q))
        db->unclean = q_get_i64(&q, 3) == 0;
    err = q_close(&q);
    if (err)
        return vt_fail(why, err, "%s: meta cannot be read", db->path);
    q_open(&q, db->writer, R_STORE);
    if (q_row(&q))
        q_get_fixed(&q, 0, db->store.bytes, sizeof db->store.bytes);
    else if (!db_err(q.rc))
        q_damaged(&q);
    err = q_close(&q);
    return err ? vt_fail(why, err, "%s: the store's uuid is missing; restore a backup", db->path) : VT_OK;
}

static int open_file(struct db *db, struct vt_why *why)
{
    struct vt_why inner = {""};
    int err = conn_open(&db->writer, db->path, SQLITE_OPEN_READWRITE, why);

    if (err)
        return err;
    err = db_check_version(db->writer->sq, db_steps, db_step_count, &inner);
    if (!err)
        err = db_check_schema(db->writer->sq, &inner);
    if (err)
        return vt_fail(why, err, "%s: %s", db->path, inner.text[0] ? inner.text : vt_err_text(err));
    err = check_wal(db->writer->sq, db->path, why);
    if (!err)
        err = conn_prepare_all(db->writer, why);
    return err ? err : read_meta(db, why);
}

static struct db *db_new(const struct db_config *config)
{
    struct db *db = VT_NEW(struct db);
    pthread_condattr_t attr;

    if (!db)
        return NULL;
    db->config = *config;
    if (!db->config.events_keep)
        db->config.events_keep = DB_EVENTS_KEEP;
    db->lock_fd = -1;
    vt_list_init(&db->queue);
    vt_list_init(&db->done);
    pthread_mutex_init(&db->lock, NULL);
    pthread_mutex_init(&db->pool_lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&db->work, &attr);
    pthread_condattr_destroy(&attr);
    pthread_cond_init(&db->idle, NULL);
    return db;
}

static void db_free(struct db *db)
{
    while (db->pool) {
        struct conn *conn = db->pool;

        db->pool = conn->next;
        conn_close(conn);
    }
    /* The last one out folds the log into the database. */
    conn_close(db->writer);
    if (db->lock_fd >= 0)
        close(db->lock_fd);
    pthread_cond_destroy(&db->idle);
    pthread_cond_destroy(&db->work);
    pthread_mutex_destroy(&db->pool_lock);
    pthread_mutex_destroy(&db->lock);
    vt_free(db->path);
    vt_free(db);
}

static int find_store(const char *dir, char **path, struct vt_why *why)
{
    struct stat st;
    int err = resolve(path, dir, DB_FILE, NULL);

    if (!err && lstat(*path, &st))
        err = errno_err(errno);
    if (err == VT_ENOTFOUND)
        return vt_fail(why, err,
                       "%s: there is no store here; make one with: "
                       "vtpm-server init --data-dir %s --keyslot keyfile:FILE",
                       dir, dir);
    if (err)
        return vt_fail(why, err, "%s: %s", dir, vt_err_text(err));
    if (!S_ISREG(st.st_mode))
        return vt_fail(why, VT_EDAMAGED, "%s: not a regular file", *path);
    if (access(*path, R_OK | W_OK) && errno == EROFS)
        return vt_fail(why, VT_EUNAVAILABLE, "%s is on a read-only file system: mount it read-write", *path);
    if (access(*path, R_OK | W_OK))
        return vt_fail(why, errno_err(errno), "%s: %s (run as the store's owner)", *path, strerror(errno));
    return VT_OK;
}

int db_open(const struct db_config *config, struct db **out, struct vt_why *why)
{
    struct db *db = db_new(config);
    int err;

    *out = NULL;
    if (!db)
        return vt_fail(why, VT_ENOMEM, "%s: out of memory", config->dir);
    err = find_store(config->dir, &db->path, why);
    if (!err)
        err = take_lock(config->dir, &db->lock_fd, why);
    if (!err)
        err = open_file(db, why);
    if (err) {
        db_free(db);
        return err;
    }
    *out = db;
    return VT_OK;
}

void db_store_uuid(const struct db *db, struct vt_uuid *uuid)
{
    *uuid = db->store;
}

bool db_was_unclean(const struct db *db)
{
    return db->unclean;
}

void db_leave_unclean(struct db *db)
{
    db->leave_unclean = true;
}

/* ---- db_start ---- */

static int verify(struct db *db, struct vt_why *why)
{
    struct vt_why named = {""};
    int err = stmt_run(db->writer, R_BEGIN);

    if (!err) {
        err = set_verify(&db->set, &db->mac, db->writer, &named);
        if (stmt_run(db->writer, W_ROLLBACK) && !err)
            err = VT_EIO;
    }
    if (err == VT_EDAMAGED)
        return vt_fail(why, err,
                       "%s is damaged: a row was altered, removed or replaced%s%s%s; "
                       "restore a backup, or run `vtpmctl check`",
                       db->path, named.text[0] ? " (" : "", named.text, named.text[0] ? ")" : "");
    return err ? vt_fail(why, err, "%s: %s", db->path, sqlite3_errmsg(db->writer->sq)) : VT_OK;
}

/* A store just made has its meta row and nothing else; what is there beyond was put there by someone else. */
static int first_mac(struct db *db, struct vt_why *why)
{
    uint8_t mac[DB_HASH];
    int64_t sealed;
    struct q q;
    int err = conn_int(db->writer->sq, "SELECT count(*) FROM meta WHERE mac IS NOT NULL OR generation <> 0",
                       &sealed);

    if (!err)
        err = set_scan(&db->set, &db->mac, db->writer);
    if (err)
        return vt_fail(why, err, "%s: %s", db->path, sqlite3_errmsg(db->writer->sq));
    if (sealed || db->set.rows != 1)
        return vt_fail(why, VT_ECONFLICT, "%s: the store is in use already", db->path);
    db->set.generation = 1;
    db->mac.seal(db->mac.ctx, db->set.digest, db->set.generation, db->set.rows, mac);
    q_open(&q, db->writer, W_META);
    q_i64(&q, (int64_t)db->set.generation);
    q_i64(&q, (int64_t)db->set.rows);
    q_blob(&q, mac, sizeof mac);
    q_i64(&q, 0);
    err = q_run(&q);
    return err ? vt_fail(why, err, "%s: %s", db->path, sqlite3_errmsg(db->writer->sq)) : VT_OK;
}

static int mark_clean(struct db *db, bool clean)
{
    struct q q;

    q_open(&q, db->writer, W_CLEAN);
    q_i64(&q, clean);
    return q_run(&q);
}

/* Signals are the loop's. */
static int start_thread(struct db *db)
{
    sigset_t all, before;
    int rc;

    log_watch(db);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    db->started = true;
    rc = pthread_create(&db->thread, NULL, queue_thread, db);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc) {
        db->started = false;
        return VT_ENOMEM;
    }
    (void)pthread_setname_np(db->thread, "vtpm-store");
    return VT_OK;
}

void db_unlock(struct db *db, const struct db_mac *mac)
{
    db->mac = *mac;
    db->has_mac = true;
}

int db_verify(struct db *db, const struct db_mac *mac, struct vt_why *why)
{
    int err;

    db_unlock(db, mac);
    err = verify(db, why);
    db->verified = !err;
    return err;
}

int db_start(struct db *db, const struct db_mac *mac, bool fresh, struct vt_why *why)
{
    int err = VT_OK;

    db_unlock(db, mac);
    if (fresh)
        err = first_mac(db, why);
    else if (!db->verified)
        err = verify(db, why);
    if (err)
        return err;
    err = mark_clean(db, false);
    if (err)
        return vt_fail(why, err, "%s cannot be written: %s", db->path, sqlite3_errmsg(db->writer->sq));
    err = start_thread(db);
    return err ? vt_fail(why, err, "%s: the writer thread cannot be started", db->path) : VT_OK;
}

static void stop_thread(struct db *db)
{
    db_drain(db);
    pthread_mutex_lock(&db->lock);
    db->stop = true;
    pthread_cond_signal(&db->work);
    pthread_mutex_unlock(&db->lock);
    pthread_join(db->thread, NULL);
    db_dispatch(db);
}

void db_close(struct db *db)
{
    if (!db)
        return;
    if (db->started) {
        stop_thread(db);
        if (!db->writer || db->damaged || mark_clean(db, !db->leave_unclean))
            vt_warning("store: %s could not be marked as cleanly closed", db->path);
    }
    db_free(db);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the loop and the writer thread: a bounded queue of requests one way, finished ones the other way.
 * The writer takes whatever waits, up to a batch, so the busier the store the more requests share one sync.
 */
#include "db/sqlite_priv.h"

#include <errno.h>
#include <time.h>

#include "server/base/alloc.h"

void request_free(struct request *req)
{
    if (!req)
        return;
    vt_free(req->record);
    vt_free(req->extra);
    vt_free(req);
}

int queue_put(struct db *db, struct request *req)
{
    int err = VT_OK;

    req->bytes = sizeof *req + req->record_len + req->extra_len;
    pthread_mutex_lock(&db->lock);
    if (!db->started || db->stop)
        err = VT_ECLOSED;
    else if (db->queued >= DB_QUEUE_MAX || db->queued_bytes + req->bytes > DB_QUEUE_BYTES)
        err = VT_EAGAIN;
    else {
        vt_list_add(&db->queue, &req->node);
        db->queued++;
        db->queued_bytes += req->bytes;
    }
    pthread_mutex_unlock(&db->lock);
    /* Not while the lock is held: the writer would wake up only to wait for it. */
    if (err)
        request_free(req);
    else
        pthread_cond_signal(&db->work);
    return err;
}

/* With the lock held. */
static void take_batch(struct db *db, struct vt_list *batch)
{
    size_t count = 0, bytes = 0;

    vt_list_init(batch);
    VT_LIST_EACH (&db->queue, node) {
        const struct request *req = VT_LIST_ENTRY(node, struct request, node);

        if (count == DB_BATCH_MAX || (count && bytes + req->bytes > DB_BATCH_BYTES))
            break;
        count++;
        bytes += req->bytes;
        vt_list_remove(node);
        vt_list_add(batch, node);
    }
    db->queued -= count;
    db->queued_bytes -= bytes;
}

/* Moves all of `from` to the end of `to`. */
static void append_all(struct vt_list *to, struct vt_list *from)
{
    VT_LIST_EACH (from, node) {
        vt_list_remove(node);
        vt_list_add(to, node);
    }
}

/* With the lock held, which the caller has again afterwards. */
static void tend(struct db *db, bool quiet)
{
    pthread_mutex_unlock(&db->lock);
    log_tend(db, quiet);
    pthread_mutex_lock(&db->lock);
}

static bool waits(const struct db *db)
{
    return vt_list_empty(&db->queue) && !db->stop;
}

/* With the lock held. False: nobody has asked for anything for a while. */
static bool wait_a_while(struct db *db)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += DB_QUIET_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    while (waits(db) && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&db->work, &db->lock, &until);
    return !waits(db);
}

/* With the lock held: until there is a request, or no more will come. */
static void wait_for_work(struct db *db)
{
    while (waits(db)) {
        if (!log_wants_quiet(db))
            pthread_cond_wait(&db->work, &db->lock);
        else if (!wait_a_while(db))
            tend(db, true);
    }
}

/* With the lock held, which the caller has again afterwards. */
static void do_batch(struct db *db)
{
    struct vt_list batch;

    take_batch(db, &batch);
    db->busy = true;
    pthread_mutex_unlock(&db->lock);

    writer_batch(db, &batch);

    pthread_mutex_lock(&db->lock);
    append_all(&db->done, &batch);
    db->busy = false;
    pthread_cond_broadcast(&db->idle);
    pthread_mutex_unlock(&db->lock);
    if (db->config.wake)
        db->config.wake(db->config.wake_ctx);
    pthread_mutex_lock(&db->lock);
}

void *queue_thread(void *arg)
{
    struct db *db = arg;

    pthread_mutex_lock(&db->lock);
    for (;;) {
        wait_for_work(db);
        if (vt_list_empty(&db->queue))
            break;
        do_batch(db);
        /* The answers are on their way. */
        tend(db, false);
    }
    pthread_mutex_unlock(&db->lock);
    return NULL;
}

static void complete(struct request *req)
{
    if (!req->err && req->epoch_out)
        *req->epoch_out = req->epoch;
    if (!req->err && req->anchor_out)
        memcpy(req->anchor_out, req->extra, sizeof *req->anchor_out);
    if (!req->err && req->id_out)
        *req->id_out = req->id;
    if (req->done)
        req->done(req->arg, req->err);
    request_free(req);
}

void db_dispatch(struct db *db)
{
    struct vt_list ready;

    vt_list_init(&ready);
    pthread_mutex_lock(&db->lock);
    append_all(&ready, &db->done);
    pthread_mutex_unlock(&db->lock);
    /* Not VT_LIST_EACH: a completion may call db_dispatch or ask for more. */
    while (!vt_list_empty(&ready)) {
        struct request *req = VT_LIST_ENTRY(ready.next, struct request, node);

        vt_list_remove(&req->node);
        complete(req);
    }
}

void db_drain(struct db *db)
{
    for (;;) {
        bool more;

        pthread_mutex_lock(&db->lock);
        while (db->busy || !vt_list_empty(&db->queue))
            pthread_cond_wait(&db->idle, &db->lock);
        more = !vt_list_empty(&db->done);
        pthread_mutex_unlock(&db->lock);
        if (!more)
            return;
        db_dispatch(db);
    }
}

#ifdef VTPM_TEST_HOOKS
void db_test_fail_commits(struct db *db, unsigned n, int err, bool after)
{
    pthread_mutex_lock(&db->lock);
    db->fail_commits = n;
    db->fail_err = err;
    db->fail_after = after;
    pthread_mutex_unlock(&db->lock);
}
#endif

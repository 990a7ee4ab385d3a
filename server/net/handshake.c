/* SPDX-License-Identifier: Apache-2.0 */
#include "server/net/handshake.h"

void handshake_pool_init(struct handshake_pool *pool, uv_loop_t *uv, unsigned max_running)
{
    *pool = (struct handshake_pool){.uv = uv, .max_running = max_running};
    vt_list_init(&pool->waiting);
}

static void on_work(uv_work_t *req)
{
    struct handshake_job *job = req->data;

    job->work(job);
}

static void start_waiting(struct handshake_pool *pool);

static void on_done(uv_work_t *req, int status)
{
    struct handshake_job *job = req->data;
    struct handshake_pool *pool = job->pool;

    (void)status; /* never cancelled by us */
    pool->running--;
    job->done(job);
    start_waiting(pool);
}

static void start_waiting(struct handshake_pool *pool)
{
    while (pool->running < pool->max_running && !vt_list_empty(&pool->waiting)) {
        struct handshake_job *job = VT_LIST_ENTRY(pool->waiting.next, struct handshake_job, node);
        vt_list_remove(&job->node);
        pool->running++;
        job->req.data = job;
        /* Fails only without a function to run. */
        (void)!uv_queue_work(pool->uv, &job->req, on_work, on_done);
    }
}

void handshake_submit(struct handshake_pool *pool, struct handshake_job *job)
{
    job->pool = pool;
    vt_list_init(&job->node);
    vt_list_add(&pool->waiting, &job->node);
    start_waiting(pool);
}

bool handshake_is_behind(const struct handshake_pool *pool)
{
    return !vt_list_empty(&pool->waiting);
}

bool handshake_cancel(struct handshake_job *job)
{
    if (vt_list_empty(&job->node))
        return false;
    vt_list_remove(&job->node);
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "server/net/peers.h"

#include <assert.h>
#include <pthread.h>

#include "server/base/alloc.h"
#include "server/base/list.h"
#include "server/base/log.h"
#include "server/core/handoff/handoff.h"
#include "server/net/peer_talk.h"

struct peers {
    uv_loop_t *uv;
    struct broker *broker;
    uv_async_t wake;
    struct vt_list waiting;       /* struct question */
    unsigned running;
    pthread_mutex_t lock;         /* guards what follows */
    struct vt_list answered;
};

struct question {
    struct vt_list node;
    struct peers *peers;
    struct peer_talk talk;
    handoff_answered done;
    void *arg;
    pthread_t thread;
    int err;                      /* no answer came */
    struct vt_why why;
};

static void *run(void *arg)
{
    struct question *q = arg;
    struct peers *peers = q->peers;

    q->err = peer_talk(&q->talk, peers->broker, PEERS_PATIENCE_MS, &q->why);
    pthread_mutex_lock(&peers->lock);
    vt_list_add(&peers->answered, &q->node);
    pthread_mutex_unlock(&peers->lock);
    uv_async_send(&peers->wake);
    return NULL;
}

static void end(struct question *q)
{
    if (q->err)
        vt_log_with(VT_LOG_WARNING, VT_FIELDS(VT_TEXT("peer", q->talk.source.name), VT_TEXT("address", q->talk.source.address)),
                    "net: another server was not reached: %s", q->why.text[0] ? q->why.text : vt_err_text(q->err));
    q->done(q->arg, q->err ? NULL : &q->talk.answer);
    vt_free(q->talk.bundle);
    vt_free(q);
}

static void start_some(struct peers *peers)
{
    while (peers->running < PEERS_MOST && !vt_list_empty(&peers->waiting)) {
        struct question *q = VT_LIST_ENTRY(peers->waiting.next, struct question, node);

        vt_list_remove(&q->node);
        peers->running++;
        if (!pthread_create(&q->thread, NULL, run, q))
            continue;
        peers->running--;
        q->err = vt_fail(&q->why, VT_ENOMEM, "no thread can be started");
        end(q);
    }
}

static struct question *take_answered(struct peers *peers)
{
    struct question *q = NULL;

    pthread_mutex_lock(&peers->lock);
    if (!vt_list_empty(&peers->answered)) {
        q = VT_LIST_ENTRY(peers->answered.next, struct question, node);
        vt_list_remove(&q->node);
    }
    pthread_mutex_unlock(&peers->lock);
    return q;
}

static void on_wake(uv_async_t *wake)
{
    struct peers *peers = wake->data;
    struct question *q;

    while ((q = take_answered(peers)) != NULL) {
        pthread_join(q->thread, NULL);
        peers->running--;
        end(q);
    }
    start_some(peers);
}

static int ask(void *line, const struct db_peer *source, const struct handoff_ask *what, handoff_answered done, void *arg)
{
    struct peers *peers = line;
    struct question *q = VT_NEW(struct question);

    if (!q)
        return VT_ENOMEM;
    q->peers = peers;
    q->talk.source = *source;
    q->talk.ask = *what;
    q->done = done;
    q->arg = arg;
    vt_list_add(&peers->waiting, &q->node);
    uv_async_send(&peers->wake); /* not from within */
    return VT_OK;
}

static const struct handoff_line line = {.ask = ask};

int peers_new(struct peers **out, uv_loop_t *uv, struct broker *broker)
{
    struct peers *peers = VT_NEW(struct peers);

    if (!peers)
        return VT_ENOMEM;
    peers->uv = uv;
    peers->broker = broker;
    vt_list_init(&peers->waiting);
    vt_list_init(&peers->answered);
    peers->wake.data = peers;
    if (pthread_mutex_init(&peers->lock, NULL) || uv_async_init(uv, &peers->wake, on_wake)) {
        vt_free(peers);
        return VT_ENOMEM;
    }
    handoff_set_line(broker, &line, peers);
    handoff_start(broker);
    *out = peers;
    return VT_OK;
}

static void on_closed(uv_handle_t *handle)
{
    struct peers *peers = handle->data;

    pthread_mutex_destroy(&peers->lock);
    vt_free(peers);
}

void peers_free(struct peers *peers)
{
    if (!peers)
        return;
    assert(!peers->running && vt_list_empty(&peers->waiting));
    uv_close((uv_handle_t *)&peers->wake, on_closed);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/xenstore.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "proto/xenrecords.h"
#include "server/base/alloc.h"
#include "server/base/list.h"
#include "server/base/log.h"
#include "shim-linux/host.h"
#include "shim-linux/xennodes.h"

/* A dead connection shows up when it is used: so often, if nothing else happens. */
#define PROBE_MS 5000
/* Between two attempts to reach xenstore. */
#define AGAIN_MS 1000
/* So long may one answer take before people are told. */
#define SLOW_MS 10000
#define START_S 10
#define STOP_S  1
/* Watch events taken before the devices that they name are read: one guest's do not keep others' waiting. */
#define EVENTS_MOST 256

struct request {
    struct vt_list node;
    uint32_t domid, devid;
    bool forget, publish;
    int state;
};

/* To the loop; a scan that is complete has no device. */
struct news {
    struct vt_list node;
    bool is_scanned;
    struct xenstore_device device;
};

struct xenstore {
    /* Loop */
    struct xenstore_events events;
    uv_async_t async;
    uv_timer_t watchdog;
    bool closed;
    bool said_slow;
    pthread_t thread;
    bool has_thread;

    /* Both, under the lock */
    pthread_mutex_t lock;
    pthread_cond_t reached; /* has_started or why */
    struct vt_list requests, news;
    bool stop;
    bool has_started;
    struct vt_why why;
    int wake;               /* eventfd: the thread looks at its requests */
    atomic_uint_fast64_t busy_since; /* ms; 0: it waits for something to do */

    /* Thread */
    struct nodes nodes;
    struct records records;
    bool check_domains;
};

/* ---- To the loop ---- */

static void tell(struct xenstore *store, const struct xenstore_device *device)
{
    struct news *news = VT_NEW(struct news);

    if (!news) {
        vt_error("xen: out of memory: a change in xenstore goes unseen");
        return;
    }
    news->is_scanned = !device;
    if (device)
        news->device = *device;
    pthread_mutex_lock(&store->lock);
    vt_list_add(&store->news, &news->node);
    /* At the end the loop may be gone before us. */
    if (!store->stop)
        uv_async_send(&store->async);
    pthread_mutex_unlock(&store->lock);
}

/* ---- What the records ask of us ---- */

static bool is_lost(void *ctx)
{
    const struct nodes *nodes = &((struct xenstore *)ctx)->nodes;

    return !nodes->xs || nodes->lost;
}

static bool read_node(void *ctx, const char *path, char *text, size_t size)
{
    return nodes_read(&((struct xenstore *)ctx)->nodes, path, text, size);
}

static size_t list(void *ctx, const char *path, uint32_t *numbers, size_t most)
{
    return nodes_list(&((struct xenstore *)ctx)->nodes, path, numbers, most);
}

static void watch(void *ctx, const char *path, const char *token)
{
    nodes_watch(&((struct xenstore *)ctx)->nodes, path, token);
}

static void unwatch(void *ctx, const char *path, const char *token)
{
    nodes_unwatch(&((struct xenstore *)ctx)->nodes, path, token);
}

static bool domain_gone(void *ctx, uint32_t domid)
{
    return nodes_domain_gone(&((struct xenstore *)ctx)->nodes, domid);
}

static void tell_device(void *ctx, const struct xenstore_device *device)
{
    tell(ctx, device);
}

static const struct xenrecords_ops records_ops = {
    .is_lost = is_lost,
    .read = read_node,
    .list = list,
    .watch = watch,
    .unwatch = unwatch,
    .domain_gone = domain_gone,
    .tell = tell_device,
};

/* ---- Turns of the thread ---- */

static void take_events(struct xenstore *store)
{
    char path[XENPATHS_NODE_MAX], token[XENPATHS_TOKEN];

    for (unsigned i = 0; i < EVENTS_MOST && nodes_event(&store->nodes, path, token); i++)
        store->check_domains |= records_event(&store->records, path, token);
}

static struct request *next_request(struct xenstore *store)
{
    struct request *request = NULL;

    pthread_mutex_lock(&store->lock);
    if (!vt_list_empty(&store->requests))
        request = VT_LIST_ENTRY(store->requests.next, struct request, node);
    pthread_mutex_unlock(&store->lock);
    return request;
}

static void done_request(struct xenstore *store, struct request *request)
{
    pthread_mutex_lock(&store->lock);
    vt_list_remove(&request->node);
    pthread_mutex_unlock(&store->lock);
    vt_free(request);
}

/* In order; one that a lost connection has cut short stays the first. */
static void serve_requests(struct xenstore *store)
{
    struct request *request;

    while (!store->nodes.lost && (request = next_request(store)) != NULL) {
        if (request->forget)
            records_forget(&store->records, request->domid, request->devid);
        else if (nodes_write(&store->nodes, request->domid, request->devid, request->publish, request->state))
            records_wrote(&store->records, request->domid, request->devid);
        else
            return;
        done_request(store, request);
    }
}

static void turn(struct xenstore *store)
{
    serve_requests(store);
    if (!store->nodes.lost)
        take_events(store);
    if (store->check_domains && !store->nodes.lost) {
        store->check_domains = false;
        records_check_domains(&store->records);
    }
    (void)records_read(&store->records);
}

/* Until there is something to do. */
static void wait_for_work(struct xenstore *store, int fd, int timeout)
{
    struct pollfd fds[2] = {{.fd = store->wake, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    uint64_t count;
    int n;

    atomic_store(&store->busy_since, 0);
    n = poll(fds, 2, timeout);
    atomic_store(&store->busy_since, host_now_ms());
    if (fds[0].revents)
        (void)!read(store->wake, &count, sizeof count);
    if (n == 0 && fd >= 0)
        nodes_probe(&store->nodes);
}

static bool must_stop(struct xenstore *store)
{
    bool stop;

    pthread_mutex_lock(&store->lock);
    stop = store->stop;
    pthread_mutex_unlock(&store->lock);
    return stop;
}

static bool reach(struct xenstore *store, struct vt_why *why)
{
    if (nodes_open(&store->nodes, why))
        return false;
    records_reached(&store->records);
    store->check_domains = true;
    return true;
}

static void say_lost(struct xenstore *store)
{
    vt_error("xen: xenstore is lost (%s): rings that are mapped go on being served; no device comes or goes until it is "
             "back", strerror(store->nodes.lost));
    nodes_close(&store->nodes);
}

static void report_start(struct xenstore *store, bool started, const struct vt_why *why)
{
    if (started)
        tell(store, NULL);
    pthread_mutex_lock(&store->lock);
    store->has_started = started;
    store->why = *why;
    pthread_cond_signal(&store->reached);
    pthread_mutex_unlock(&store->lock);
}

static void *run(void *arg)
{
    struct xenstore *store = arg;
    struct vt_why why = {{0}};
    bool started = reach(store, &why);

    if (started)
        turn(store);
    report_start(store, started, &why);
    while (started && !must_stop(store)) {
        if (store->nodes.xs && store->nodes.lost)
            say_lost(store);
        if (!store->nodes.xs && reach(store, NULL))
            vt_notice("xen: xenstore is back");
        if (!store->nodes.xs) {
            wait_for_work(store, -1, AGAIN_MS);
            continue;
        }
        turn(store);
        if (!store->nodes.lost)
            wait_for_work(store, xs_fileno(store->nodes.xs), PROBE_MS);
    }
    nodes_close(&store->nodes);
    return NULL;
}

/* ---- Loop ---- */

static void on_async(uv_async_t *async)
{
    struct xenstore *store = async->data;

    for (;;) {
        struct news *news = NULL;

        pthread_mutex_lock(&store->lock);
        if (!vt_list_empty(&store->news)) {
            news = VT_LIST_ENTRY(store->news.next, struct news, node);
            vt_list_remove(&news->node);
        }
        pthread_mutex_unlock(&store->lock);
        if (!news)
            return;
        if (!store->closed && news->is_scanned)
            store->events.scanned(store->events.ctx);
        else if (!store->closed)
            store->events.device(store->events.ctx, &news->device);
        vt_free(news);
    }
}

static void on_watchdog(uv_timer_t *timer)
{
    struct xenstore *store = timer->data;
    uint64_t since = atomic_load(&store->busy_since);
    bool is_slow = since && host_now_ms() - since > SLOW_MS;

    if (is_slow && !store->said_slow)
        vt_error("xen: xenstore does not answer: rings that are mapped go on being served; no device comes or goes until "
                 "it does");
    if (!is_slow && store->said_slow)
        vt_notice("xen: xenstore answers again");
    store->said_slow = is_slow;
}

static bool queue(struct xenstore *store, struct request what)
{
    static const uint64_t one = 1;
    struct request *request = VT_NEW(struct request);

    if (!request) {
        vt_error("xen: out of memory: domain %" PRIu32 " device %" PRIu32 " stays as it is in xenstore", what.domid, what.devid);
        return false;
    }
    *request = what;
    pthread_mutex_lock(&store->lock);
    vt_list_add(&store->requests, &request->node);
    pthread_mutex_unlock(&store->lock);
    (void)!write(store->wake, &one, sizeof one);
    return true;
}

bool xenstore_write(struct xenstore *store, uint32_t domid, uint32_t devid, bool publish, int state)
{
    return queue(store, (struct request){.domid = domid, .devid = devid, .publish = publish, .state = state});
}

void xenstore_forget(struct xenstore *store, uint32_t domid, uint32_t devid)
{
    (void)queue(store, (struct request){.domid = domid, .devid = devid, .forget = true});
}

/* ---- Life ---- */

static int wait_for_start(struct xenstore *store, struct vt_why *why)
{
    struct timespec until;
    int err = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += START_S;
    pthread_mutex_lock(&store->lock);
    while (!store->has_started && !store->why.text[0] && !err)
        err = pthread_cond_timedwait(&store->reached, &store->lock, &until);
    if (!store->has_started)
        (void)vt_fail(why, VT_EUNREACHED, "%s", store->why.text[0] ? store->why.text : "xenstore does not answer");
    err = store->has_started ? VT_OK : VT_EUNREACHED;
    pthread_mutex_unlock(&store->lock);
    return err;
}

int xenstore_open(struct xenstore **store_out, uv_loop_t *loop, const struct xenstore_events *events, struct vt_why *why)
{
    struct xenstore *store = VT_NEW(struct xenstore);

    if (!store)
        return vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    store->events = *events;
    vt_list_init(&store->requests);
    vt_list_init(&store->news);
    records_init(&store->records, &records_ops, store, store->nodes.base, XENSTORE_DEVICES_MAX);
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->reached, NULL);
    store->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    uv_async_init(loop, &store->async, on_async);
    uv_timer_init(loop, &store->watchdog);
    store->async.data = store->watchdog.data = store;
    uv_timer_start(&store->watchdog, on_watchdog, SLOW_MS / 2, SLOW_MS / 2);
    *store_out = store;
    if (store->wake < 0 || pthread_create(&store->thread, NULL, run, store))
        return vt_fail(why, VT_ENOMEM, "no thread for xenstore: are there too many?");
    store->has_thread = true;
    return wait_for_start(store, why);
}

void xenstore_close(struct xenstore *store)
{
    static const uint64_t one = 1;
    struct timespec until;

    if (store->closed)
        return;
    store->closed = true;
    pthread_mutex_lock(&store->lock);
    store->stop = true;
    pthread_mutex_unlock(&store->lock);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_S;
    if (store->has_thread && write(store->wake, &one, sizeof one) == sizeof one &&
        pthread_timedjoin_np(store->thread, NULL, &until) == 0)
        store->has_thread = false;
    uv_close((uv_handle_t *)&store->watchdog, NULL);
    /* A thread that xenstore keeps waiting may still use it: then it is left to the end of the process. */
    uv_unref((uv_handle_t *)&store->async);
    if (!store->has_thread)
        uv_close((uv_handle_t *)&store->async, NULL);
}

static void free_list(struct vt_list *list, size_t offset)
{
    VT_LIST_EACH(list, node) {
        vt_list_remove(node);
        vt_free((char *)node - offset);
    }
}

void xenstore_free(struct xenstore *store)
{
    if (!store || store->has_thread)
        return;
    free_list(&store->requests, offsetof(struct request, node));
    free_list(&store->news, offsetof(struct news, node));
    records_free(&store->records);
    close(store->wake);
    pthread_mutex_destroy(&store->lock);
    pthread_cond_destroy(&store->reached);
    vt_free(store);
}

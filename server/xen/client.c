/* SPDX-License-Identifier: Apache-2.0 */
/* The client's side: attempts to connect, one after another, and the watch over those that succeeded. */
#include <errno.h>
#include <libxenvchan.h>
#include <stdio.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/xen/pump.h"
#include "server/xen/site.h"
#include "server/xen/slots.h"
#include "server/xen/vchan.h"
#include "server/xen/worker.h"

/* A server's domain that is destroyed tells nobody: its nodes are gone, or are another server's. */
#define LOOK_MS 5000
/* Free places without an offer, after which no more are tried. */
#define MISSES_MAX 4
#define END_MS     1000
/* A server offers the next channel when the one before is taken: with many guests at once it is a moment behind. */
#define NEXT_TRIES 10
#define NEXT_MS    50

/* Where a channel's ring is, as the server wrote it: it changes with every channel that is made. */
struct rendezvous {
    char path[STORE_PATH_MAX];
    char ring[16], event[16];
};

struct link {
    struct vchan_end end;
    struct vt_list node; /* worker.lock */
    struct vchan_client *client;
    uint64_t id;
    uint32_t domid;
    struct rendezvous at;
    int slot_fd;
};

struct vchan_call {
    struct vt_list node; /* worker.lock, as all that changes */
    struct vchan_client *client;
    uint32_t domid;
    vchan_connect_fn fn;
    void *arg;
    bool is_running, is_ended;
};

struct vchan_client {
    struct worker worker;
    struct vchan_pump *pump;
    bool is_ending;       /* worker.lock */
    struct vt_list calls; /* worker.lock */
    struct vt_list links; /* worker.lock; the pump's thread takes its links out */
    uint64_t last_id;     /* the worker's */
};

static const char *const watches[] = {"@releaseDomain", NULL};

/* ---- Pump's thread ---- */

static bool on_connected(void *arg, int fd)
{
    (void)arg;
    close(fd);
    return false; /* no client's end is offered */
}

/* A client's closing asks xenstore nothing. */
static void on_over(void *arg, enum vchan_over how)
{
    struct link *link = arg;

    pthread_mutex_lock(&link->client->worker.lock);
    vt_list_remove(&link->node);
    pthread_mutex_unlock(&link->client->worker.lock);
    if (how != VCHAN_OVER_USER)
        vt_log_with(VT_LOG_INFO, VT_FIELDS(VT_NUMBER("domid", link->domid), VT_TEXT("reason", vchan_over_text(how))),
                    "vchan: channel to domain %u ended", link->domid);
    libxenvchan_close(link->end.chan);
    close(link->slot_fd);
    vt_free(link);
}

static const struct vchan_end_ops end_ops = {.connected = on_connected, .over = on_over};

/* ---- An attempt ---- */

static int read_part(struct vchan_client *client, const char *base, const char *name, char text[16])
{
    char path[STORE_PATH_MAX + 16];

    snprintf(path, sizeof path, "%s/%s", base, name);
    return store_read(client->worker.xs, path, text, 16);
}

static int read_rendezvous(struct vchan_client *client, struct rendezvous *at)
{
    int err = read_part(client, at->path, "ring-ref", at->ring);

    return err ? err : read_part(client, at->path, "event-channel", at->event);
}

/* Takes chan. */
static int make_link(struct vchan_client *client, struct libxenvchan *chan, const struct link *like, int *fd,
                     struct vt_why *why)
{
    struct link *link = VT_NEW(struct link);
    int fds[2];
    int err = link ? vchan_socketpair(fds, why) : VT_ENOMEM;

    if (err) {
        libxenvchan_close(chan);
        vt_free(link);
        return err;
    }
    *link = *like;
    link->id = ++client->last_id;
    link->end.chan = chan;
    link->end.fd = fds[0];
    link->end.ops = &end_ops;
    link->end.arg = link;
    vt_list_init(&link->node);
    pthread_mutex_lock(&client->worker.lock);
    vt_list_add(&client->links, &link->node);
    pthread_mutex_unlock(&client->worker.lock);
    vchan_pump_add(client->pump, &link->end);
    *fd = fds[1];
    return VT_OK;
}

static int try_offer(struct vchan_client *client, struct link *like, int *fd, struct vt_why *why)
{
    struct libxenvchan *chan;
    int err = read_rendezvous(client, &like->at);

    if (err)
        return err == VT_EPROTO ? VT_ENOTFOUND : err;
    chan = libxenvchan_client_init(worker_logger(), (int)like->domid, like->at.path);
    if (!chan)
        return vt_fail(why, VT_EFAIL, "domain %u offers a channel that cannot be opened (%s)", like->domid,
                       strerror(errno));
    chan->blocking = 0;
    if (libxenvchan_is_open(chan))
        return make_link(client, chan, like, fd, why);
    libxenvchan_close(chan);
    return vt_fail(why, VT_ENOTFOUND, "domain %u has just closed its channel", like->domid);
}

/* VT_ENOTFOUND, without why: no such offer. */
static int try_slot(struct vchan_client *client, uint32_t own, uint32_t domid, unsigned slot, int *fd,
                    struct vt_why *why)
{
    struct link like = {.client = client, .domid = domid, .slot_fd = -1};
    int err = slot_lock_client(site_lock_file(), domid, slot, &like.slot_fd, why);

    if (err)
        return err;
    store_offer_path(like.at.path, domid, own, slot);
    err = try_offer(client, &like, fd, why);
    if (err)
        close(like.slot_fd);
    return err;
}

/* *in_use: there are channels of this domain to that one. */
static int try_slots(struct vchan_client *client, uint32_t own, uint32_t domid, bool *in_use, int *fd,
                     struct vt_why *why)
{
    unsigned misses = 0;

    for (unsigned slot = 0; slot < SLOTS_MAX && misses < MISSES_MAX; slot++) {
        int err = try_slot(client, own, domid, slot, fd, why);

        if (!err || (err != VT_ECONFLICT && err != VT_ENOTFOUND && err != VT_EFAIL))
            return err;
        *in_use |= err == VT_ECONFLICT;
        misses += err != VT_ECONFLICT;
    }
    return vt_fail(why, VT_ENOTFOUND,
                   "domain %u offers this domain (%u) no channel: vtpm-server must run there with --listen vchan, and an "
                   "instance must be bound to this domain (vtpmctl binding add)",
                   domid, own);
}

static bool must_end(struct vchan_client *client)
{
    bool ending;

    pthread_mutex_lock(&client->worker.lock);
    ending = client->is_ending;
    pthread_mutex_unlock(&client->worker.lock);
    return ending;
}

static int try_for_a_while(struct vchan_client *client, uint32_t own, uint32_t domid, int *fd, struct vt_why *why)
{
    bool in_use = false;
    int err = try_slots(client, own, domid, &in_use, fd, why);

    for (int i = 0; i < NEXT_TRIES && err == VT_ENOTFOUND && in_use && !must_end(client); i++) {
        usleep(NEXT_MS * 1000);
        *why = (struct vt_why){0};
        err = try_slots(client, own, domid, &in_use, fd, why);
    }
    return err;
}

static int attempt(struct vchan_client *client, uint32_t domid, int *fd, struct vt_why *why)
{
    uint32_t own;
    int err;

    if (!worker_has_store(&client->worker))
        return vt_fail(why, VT_EUNREACHED, "xenstore cannot be reached");
    err = store_own_domid(client->worker.xs, &own, why);
    if (!err && own == domid)
        return vt_fail(why, VT_EUSAGE, "domain %u is this domain itself: no vchan leads there; use unix:PATH", domid);
    if (!err)
        err = try_for_a_while(client, own, domid, fd, why);
    if (err == VT_EUNREACHED) {
        vt_fail(why, err, "xenstore: no answer");
        worker_lost_store(&client->worker, why);
    }
    return err;
}

/* ---- Calls ---- */

static struct vchan_call *next_call(struct vchan_client *client)
{
    struct vchan_call *call = NULL;

    pthread_mutex_lock(&client->worker.lock);
    if (!vt_list_empty(&client->calls) && !client->is_ending) {
        call = VT_LIST_ENTRY(client->calls.next, struct vchan_call, node);
        vt_list_remove(&call->node);
        call->is_running = true;
    }
    pthread_mutex_unlock(&client->worker.lock);
    return call;
}

static void answer(struct vchan_call *call, int fd, int err, const struct vt_why *why)
{
    struct vchan_client *client = call->client;
    bool is_ended;

    pthread_mutex_lock(&client->worker.lock);
    call->is_running = false;
    is_ended = call->is_ended;
    if (!is_ended)
        call->fn(call->arg, fd, err, why);
    pthread_mutex_unlock(&client->worker.lock);
    if (!is_ended)
        return;
    if (fd >= 0)
        close(fd);
    vt_free(call);
}

static void answer_calls(struct vchan_client *client)
{
    struct vchan_call *call;

    while ((call = next_call(client))) {
        struct vt_why why = {0};
        int fd = -1;
        int err = attempt(client, call->domid, &fd, &why);

        answer(call, fd, err, &why);
    }
}

/* ---- Servers that are gone ---- */

/* The link behind `id`; 0: the first. False: no more. */
static bool next_link(struct vchan_client *client, uint64_t *id, struct rendezvous *at)
{
    bool found = false;

    pthread_mutex_lock(&client->worker.lock);
    VT_LIST_EACH(&client->links, node)
    {
        struct link *link = VT_LIST_ENTRY(node, struct link, node);
        if (link->id <= *id)
            continue;
        *id = link->id;
        *at = link->at;
        found = true;
        break;
    }
    pthread_mutex_unlock(&client->worker.lock);
    return found;
}

static void drop_link(struct vchan_client *client, uint64_t id)
{
    pthread_mutex_lock(&client->worker.lock);
    VT_LIST_EACH(&client->links, node)
    {
        struct link *link = VT_LIST_ENTRY(node, struct link, node);
        if (link->id == id)
            vchan_pump_drop(client->pump, &link->end);
    }
    pthread_mutex_unlock(&client->worker.lock);
}

static void look_at_links(struct vchan_client *client)
{
    struct rendezvous was;
    uint64_t id = 0;

    while (next_link(client, &id, &was)) {
        struct rendezvous is = was;
        int err = worker_has_store(&client->worker) ? read_rendezvous(client, &is) : VT_EUNREACHED;

        if (err == VT_EUNREACHED) {
            worker_lost_store(&client->worker, &(struct vt_why){0});
            return;
        }
        if (err || strcmp(is.ring, was.ring) || strcmp(is.event, was.event))
            drop_link(client, id);
    }
}

/* ---- The thread ---- */

static bool has_links(struct vchan_client *client)
{
    bool has;

    pthread_mutex_lock(&client->worker.lock);
    has = !vt_list_empty(&client->links);
    pthread_mutex_unlock(&client->worker.lock);
    return has;
}

static void *run(void *arg)
{
    struct vchan_client *client = arg;
    int64_t look_at_ms = 0;

    while (!must_end(client)) {
        bool fired = worker_sleep(&client->worker, has_links(client) ? LOOK_MS : -1);

        answer_calls(client);
        if (!fired && vchan_now_ms() < look_at_ms)
            continue;
        look_at_links(client);
        look_at_ms = vchan_now_ms() + LOOK_MS;
    }
    return NULL;
}

/* ---- For other threads ---- */

int vchan_client_new(struct vchan_client **out, struct vt_why *why)
{
    struct vchan_client *client = VT_NEW(struct vchan_client);
    int err;

    if (!client)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    vt_list_init(&client->calls);
    vt_list_init(&client->links);
    err = vchan_pump_new(&client->pump, why);
    if (!err)
        err = worker_start(&client->worker, watches, run, client, why);
    if (!err) {
        *out = client;
        return VT_OK;
    }
    vchan_pump_free(client->pump);
    vt_free(client);
    return err;
}

void vchan_client_free(struct vchan_client *client)
{
    if (!client)
        return;
    pthread_mutex_lock(&client->worker.lock);
    client->is_ending = true;
    pthread_mutex_unlock(&client->worker.lock);
    worker_wake(&client->worker);
    if (!worker_join(&client->worker, END_MS))
        return; /* it hangs in xenstored: its memory stays until the process ends */
    vchan_pump_free(client->pump);
    worker_close(&client->worker);
    vt_free(client);
}

int vchan_client_connect(struct vchan_call **out, struct vchan_client *client, uint32_t domid, vchan_connect_fn fn,
                         void *arg)
{
    struct vchan_call *call = VT_NEW(struct vchan_call);

    if (!call)
        return VT_ENOMEM;
    *call = (struct vchan_call){.client = client, .domid = domid, .fn = fn, .arg = arg};
    vt_list_init(&call->node);
    *out = call; /* before fn may be called */
    pthread_mutex_lock(&client->worker.lock);
    vt_list_add(&client->calls, &call->node);
    pthread_mutex_unlock(&client->worker.lock);
    worker_wake(&client->worker);
    return VT_OK;
}

void vchan_call_end(struct vchan_call *call)
{
    struct vchan_client *client = call ? call->client : NULL;
    bool is_running;

    if (!call)
        return;
    pthread_mutex_lock(&client->worker.lock);
    is_running = call->is_running;
    call->is_ended = true;
    if (!is_running)
        vt_list_remove(&call->node);
    pthread_mutex_unlock(&client->worker.lock);
    if (!is_running)
        vt_free(call);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The server's side: which domains there are, what they are offered, and the end of each channel. */
#include <errno.h>
#include <libxenvchan.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/xen/pump.h"
#include "server/xen/site.h"
#include "server/xen/slots.h"
#include "server/xen/vchan.h"
#include "server/xen/worker.h"

/* Both directions fit into the one page that describes them: one grant for a channel. */
#define READ_RING  1024
#define WRITE_RING 2048

#define RECHECK_MS   3000
#define RESCAN_TICKS 10   /* rechecks between two looks at all domains when nothing says that they changed */
#define QUICK_MS     1000 /* a channel that ends sooner, or by force, is not offered again for as long */
#define TROUBLE_MS   5000 /* after an offer that failed */
/* One program serves many guests in dom0, and in a driver domain; nobody else needs more than a few. */
#define GUEST_SLOTS_MAX 64

struct slot {
    struct vchan_end end;
    struct peer *peer;
    unsigned index;
    struct vt_list node; /* of vchan_host.ended */
    bool is_active;      /* the pump has it, or it is in `ended` */
    atomic_bool is_connected;
    int64_t connected_ms; /* written before is_connected */
    enum vchan_over how;
};

/* A domain; what it is called does not change while it is here: a new name makes a new peer. */
struct peer {
    struct vt_list node;
    struct vchan_host *host;
    struct vt_domain domain;
    int err; /* VT_EPERM: a stranger, see `why`; it is offered nothing */
    struct vt_why why;
    bool is_seen;    /* by the present scan */
    bool is_leaving; /* until its last channel has ended */
    bool is_allowed, is_asked;
    bool is_trouble_said;
    int64_t not_before_ms; /* of the next offer */
    struct slot **slots;
    unsigned count, active;
};

struct vchan_host {
    struct worker worker;
    struct vchan_pump *pump;
    struct vchan_host_config config;
    uint32_t own;
    int lock_fd;
    pthread_mutex_t policy; /* held while `allowed` runs */
    bool is_closed;         /* policy */
    bool must_end;          /* worker.lock */
    bool has_recheck;       /* worker.lock */
    struct vt_list ended;   /* worker.lock */
    struct vt_list peers;   /* the rest: the thread's */
    int64_t check_at_ms;
    unsigned ticks;    /* until the next scan */
    bool is_scan_due;
};

static const char *const watches[] = {"@introduceDomain", "@releaseDomain", NULL};

/* The names go as fields: nothing that a toolstack calls a domain can pass for words of ours. */
#define DOMAIN_FIELDS(d, ...) VT_FIELDS(VT_NUMBER("domid", (d)->domid), VT_TEXT("domain", (d)->name), __VA_ARGS__)

/* ---- Pump's thread ---- */

static bool on_connected(void *arg, int fd)
{
    struct slot *slot = arg;
    struct vchan_host *host = slot->peer->host;

    slot->connected_ms = vchan_now_ms();
    atomic_store(&slot->is_connected, true);
    worker_wake(&host->worker); /* the next one is to be offered */
    return host->config.ops->connected(host->config.arg, fd, &slot->peer->domain);
}

static void on_over(void *arg, enum vchan_over how)
{
    struct slot *slot = arg;
    struct vchan_host *host = slot->peer->host;

    slot->how = how;
    pthread_mutex_lock(&host->worker.lock);
    vt_list_add(&host->ended, &slot->node);
    pthread_mutex_unlock(&host->worker.lock);
    worker_wake(&host->worker);
}

static const struct vchan_end_ops end_ops = {.connected = on_connected, .over = on_over};

/* ---- Channels that have ended ---- */

static void remove_if_empty(struct vchan_host *host, const char *path)
{
    unsigned count = 0;
    char **children = xs_directory(host->worker.xs, XBT_NULL, path, &count);

    free(children);
    if (children && !count)
        (void)!xs_rm(host->worker.xs, XBT_NULL, path);
}

static void remove_nodes(struct slot *slot)
{
    struct vchan_host *host = slot->peer->host;
    char path[STORE_PATH_MAX];

    if (!host->worker.xs)
        return;
    store_offer_path(path, host->own, slot->peer->domain.domid, slot->index);
    (void)!xs_rm(host->worker.xs, XBT_NULL, path);
}

static void say_ended(const struct slot *slot)
{
    const struct vt_domain *domain = &slot->peer->domain;
    const bool is_fault = slot->how == VCHAN_OVER_CORRUPT || slot->how == VCHAN_OVER_FAILED;
    const struct vt_field *fields = DOMAIN_FIELDS(domain, VT_TEXT("reason", vchan_over_text(slot->how)));

    if (is_fault)
        vt_log_with(VT_LOG_WARNING, fields, "vchan: channel to domain %u ended", domain->domid);
    else if (slot->is_connected)
        vt_log_with(VT_LOG_INFO, fields, "vchan: channel to domain %u ended", domain->domid);
}

static void reap(struct slot *slot)
{
    struct peer *peer = slot->peer;
    int64_t now_ms = vchan_now_ms();
    bool is_quick = slot->is_connected && now_ms - slot->connected_ms < QUICK_MS;

    say_ended(slot);
    libxenvchan_close(slot->end.chan);
    remove_nodes(slot);
    if (is_quick || slot->how == VCHAN_OVER_CORRUPT || slot->how == VCHAN_OVER_FAILED)
        peer->not_before_ms = now_ms + QUICK_MS;
    slot->end.chan = NULL;
    slot->is_connected = false;
    slot->is_active = false;
    peer->active--;
}

static void reap_all(struct vchan_host *host)
{
    for (;;) {
        struct slot *slot = NULL;

        pthread_mutex_lock(&host->worker.lock);
        if (!vt_list_empty(&host->ended)) {
            slot = VT_LIST_ENTRY(host->ended.next, struct slot, node);
            vt_list_remove(&slot->node);
        }
        pthread_mutex_unlock(&host->worker.lock);
        if (!slot)
            return;
        reap(slot);
    }
}

/* ---- Offers ---- */

static struct slot *new_slot(struct peer *peer)
{
    struct slot **slots = vt_realloc(peer->slots, (peer->count + 1) * sizeof(struct slot *));
    struct slot *slot = slots ? VT_NEW(struct slot) : NULL;

    if (slots)
        peer->slots = slots;
    if (!slot)
        return NULL;
    slot->peer = peer;
    slot->index = peer->count;
    vt_list_init(&slot->node);
    peer->slots[peer->count++] = slot;
    return slot;
}

static void offer_failed(struct peer *peer, const char *reason)
{
    peer->not_before_ms = vchan_now_ms() + TROUBLE_MS;
    if (peer->is_trouble_said)
        return;
    peer->is_trouble_said = true;
    vt_log_with(VT_LOG_WARNING, DOMAIN_FIELDS(&peer->domain, VT_TEXT("reason", reason)),
                "vchan: domain %u cannot be offered a channel now", peer->domain.domid);
}

static void offer(struct slot *slot)
{
    struct peer *peer = slot->peer;
    struct vchan_host *host = peer->host;
    char path[STORE_PATH_MAX];

    store_offer_path(path, host->own, peer->domain.domid, slot->index);
    slot->end.chan = libxenvchan_server_init(worker_logger(), (int)peer->domain.domid, path, READ_RING, WRITE_RING);
    if (!slot->end.chan) {
        offer_failed(peer, strerror(errno));
        return;
    }
    slot->end.chan->blocking = 0;
    slot->end.fd = -1;
    slot->end.ops = &end_ops;
    slot->end.arg = slot;
    slot->is_active = true;
    peer->active++;
    peer->is_trouble_said = false;
    vchan_pump_add(host->pump, &slot->end);
    vt_log_with(slot->index ? VT_LOG_DEBUG : VT_LOG_INFO, DOMAIN_FIELDS(&peer->domain, VT_TEXT("path", path)),
                "vchan: domain %u is offered a channel", peer->domain.domid);
}

/* Those to which somebody is connected too, if `all`. */
static void withdraw(struct peer *peer, bool all)
{
    for (unsigned i = 0; i < peer->count; i++) {
        struct slot *slot = peer->slots[i];
        if (slot->is_active && (all || !slot->is_connected))
            vchan_pump_drop(peer->host->pump, &slot->end);
    }
}

static unsigned slots_max(const struct peer *peer)
{
    return peer->domain.domid ? GUEST_SLOTS_MAX : SLOTS_MAX;
}

/* The lowest that nobody is connected to; `count` if there is none. */
static unsigned lowest_free(const struct peer *peer)
{
    unsigned i = 0;

    while (i < peer->count && peer->slots[i]->is_active && peer->slots[i]->is_connected)
        i++;
    return i;
}

static void withdraw_spares(struct peer *peer, unsigned from)
{
    for (unsigned i = from; i < peer->count; i++)
        if (peer->slots[i]->is_active && !peer->slots[i]->is_connected)
            vchan_pump_drop(peer->host->pump, &peer->slots[i]->end);
}

/* One channel is on offer, the lowest that is free: a client looks there first. */
static void tend_offers(struct peer *peer)
{
    unsigned i = lowest_free(peer);
    struct slot *slot = i < peer->count ? peer->slots[i] : NULL;

    if (slot && slot->is_active) {
        withdraw_spares(peer, i + 1);
        return;
    }
    if (i >= slots_max(peer) || vchan_now_ms() < peer->not_before_ms)
        return;
    if (!slot)
        slot = new_slot(peer);
    if (slot)
        offer(slot);
    else
        offer_failed(peer, "out of memory");
}

/* ---- Domains ---- */

static struct peer *find_peer(struct vchan_host *host, uint32_t domid, bool is_leaving)
{
    VT_LIST_EACH(&host->peers, node)
    {
        struct peer *peer = VT_LIST_ENTRY(node, struct peer, node);
        if (peer->domain.domid == domid && peer->is_leaving == is_leaving)
            return peer;
    }
    return NULL;
}

/* Also in what is wrong with it. */
static bool is_same(const struct peer *peer, const struct vt_domain *domain, int err, const struct vt_why *why)
{
    return peer->err == err && !strcmp(peer->why.text, why->text) && vt_uuid_equal(&peer->domain.uuid, &domain->uuid) &&
           !strcmp(peer->domain.name, domain->name);
}

static void add_peer(struct vchan_host *host, const struct vt_domain *domain, int err, const struct vt_why *why)
{
    struct peer *peer = VT_NEW(struct peer);

    if (!peer)
        return; /* seen again at the next scan */
    peer->host = host;
    peer->domain = *domain;
    peer->err = err;
    peer->why = *why;
    peer->is_seen = true;
    vt_list_init(&peer->node);
    vt_list_add(&host->peers, &peer->node);
    if (err)
        vt_log_with(VT_LOG_WARNING, VT_FIELDS(VT_NUMBER("domid", domain->domid), VT_TEXT("reason", why->text)),
                    "vchan: domain %u is offered nothing: who it is cannot be told", domain->domid);
}

/* Its channels have ended. The directory goes too, unless others use it: domids are many in the life of a host. */
static void free_peer(struct peer *peer)
{
    char path[STORE_PATH_MAX];

    snprintf(path, sizeof path, "/local/domain/%u/data/vchan/%u", peer->host->own, peer->domain.domid);
    if (peer->host->worker.xs && peer->count)
        remove_if_empty(peer->host, path);
    for (unsigned i = 0; i < peer->count; i++)
        vt_free(peer->slots[i]);
    vt_free(peer->slots);
    vt_list_remove(&peer->node);
    vt_free(peer);
}

static void leave(struct peer *peer, const char *reason)
{
    if (peer->is_leaving)
        return;
    peer->is_leaving = true;
    if (peer->active)
        vt_log_with(VT_LOG_INFO, DOMAIN_FIELDS(&peer->domain, VT_TEXT("reason", reason)),
                    "vchan: the channels of domain %u are withdrawn", peer->domain.domid);
    withdraw(peer, true);
}

/* VT_EUNREACHED: the scan is worth nothing. */
static int look_at(struct vchan_host *host, uint32_t domid, struct vt_why *why)
{
    struct peer *peer = find_peer(host, domid, false);
    struct vt_domain domain;
    struct vt_why reason = {0};
    int err = store_domain(host->worker.xs, domid, &domain, &reason);

    if (err == VT_EUNREACHED)
        return vt_fail(why, err, "%s", reason.text);
    if (err == VT_ENOTFOUND) {
        host->ticks = 0; /* half made, or half gone */
        return VT_OK;
    }
    if (peer && is_same(peer, &domain, err, &reason)) {
        peer->is_seen = true;
        return VT_OK;
    }
    if (peer)
        leave(peer, "it is another domain now, or has another name");
    add_peer(host, &domain, err, &reason);
    return VT_OK;
}

static void sweep(struct vchan_host *host)
{
    VT_LIST_EACH(&host->peers, node)
    {
        struct peer *peer = VT_LIST_ENTRY(node, struct peer, node);
        if (!peer->is_seen)
            leave(peer, "the domain is gone");
    }
}

static void scan(struct vchan_host *host)
{
    struct vt_why why = {0};
    uint32_t *domids = NULL;
    size_t count = 0;
    int err = store_domains(host->worker.xs, host->own, &domids, &count, &why);

    /* Elsewhere than in domain 0 nobody tells us of domains: look each time. */
    host->ticks = host->own ? 0 : RESCAN_TICKS;
    host->is_scan_due = false;
    VT_LIST_EACH(&host->peers, node)
    VT_LIST_ENTRY(node, struct peer, node)->is_seen = false;
    for (size_t i = 0; !err && i < count; i++)
        err = look_at(host, domids[i], &why);
    vt_free(domids);
    if (!err)
        sweep(host);
    else if (err == VT_EUNREACHED)
        worker_lost_store(&host->worker, &why);
}

/* ---- Policy ---- */

static bool ask(struct vchan_host *host, const struct vt_domain *domain)
{
    bool allowed;

    pthread_mutex_lock(&host->policy);
    allowed = !host->is_closed && host->config.ops->allowed(host->config.arg, domain);
    pthread_mutex_unlock(&host->policy);
    return allowed;
}

static bool is_closed(struct vchan_host *host)
{
    bool closed;

    pthread_mutex_lock(&host->policy);
    closed = host->is_closed;
    pthread_mutex_unlock(&host->policy);
    return closed;
}

static void recheck(struct peer *peer)
{
    bool was_allowed = peer->is_allowed;

    if (peer->err || peer->is_leaving)
        return;
    peer->is_allowed = ask(peer->host, &peer->domain);
    if (!peer->is_allowed && (was_allowed || !peer->is_asked) && !is_closed(peer->host))
        vt_log_with(VT_LOG_INFO, DOMAIN_FIELDS(&peer->domain, VT_TEXT("reason", "no instance is bound to it")),
                    "vchan: domain %u is offered nothing", peer->domain.domid);
    peer->is_asked = true;
}

static void check(struct vchan_host *host)
{
    bool had_store = host->worker.xs != NULL;

    host->check_at_ms = vchan_now_ms() + host->config.recheck_ms;
    if (worker_has_store(&host->worker) && (!had_store || host->is_scan_due || !host->ticks--))
        scan(host);
    VT_LIST_EACH(&host->peers, node)
    recheck(VT_LIST_ENTRY(node, struct peer, node));
}

/* ---- The thread ---- */

static bool take_flag(struct vchan_host *host, bool *flag)
{
    bool value;

    pthread_mutex_lock(&host->worker.lock);
    value = *flag;
    pthread_mutex_unlock(&host->worker.lock);
    return value;
}

static void tend(struct peer *peer, bool closed, bool must_end)
{
    if (peer->is_leaving && !peer->active)
        free_peer(peer);
    else if (closed)
        withdraw(peer, must_end);
    else if (peer->is_leaving || peer->err || find_peer(peer->host, peer->domain.domid, true))
        return; /* the channels of the one that was called so before must have ended */
    else if (peer->is_allowed && peer->host->worker.xs)
        tend_offers(peer);
    else if (!peer->is_allowed)
        withdraw(peer, false); /* whoever is connected is the policy's to end, above */
}

static unsigned active_channels(struct vchan_host *host)
{
    unsigned count = 0;

    VT_LIST_EACH(&host->peers, node)
    count += VT_LIST_ENTRY(node, struct peer, node)->active;
    return count;
}

static int pause_ms(struct vchan_host *host)
{
    int64_t now_ms = vchan_now_ms(), at_ms = host->check_at_ms;

    VT_LIST_EACH(&host->peers, node)
    {
        struct peer *peer = VT_LIST_ENTRY(node, struct peer, node);
        if (peer->is_allowed && !peer->is_leaving && peer->not_before_ms > now_ms)
            at_ms = VT_MIN(at_ms, peer->not_before_ms);
    }
    return at_ms > now_ms ? (int)(at_ms - now_ms) : 0;
}

static void leave_nothing(struct vchan_host *host)
{
    char path[STORE_PATH_MAX];

    VT_LIST_EACH(&host->peers, node)
    free_peer(VT_LIST_ENTRY(node, struct peer, node));
    snprintf(path, sizeof path, "/local/domain/%u/data/vchan", host->own);
    if (host->worker.xs)
        remove_if_empty(host, path);
}

static void *run(void *arg)
{
    struct vchan_host *host = arg;
    bool closed;

    do {
        bool fired = worker_sleep(&host->worker, pause_ms(host));

        closed = is_closed(host);
        reap_all(host);
        pthread_mutex_lock(&host->worker.lock);
        host->is_scan_due |= fired || host->has_recheck;
        host->has_recheck = false;
        pthread_mutex_unlock(&host->worker.lock);
        if (!closed && (host->is_scan_due || vchan_now_ms() >= host->check_at_ms))
            check(host);
        VT_LIST_EACH(&host->peers, node)
        tend(VT_LIST_ENTRY(node, struct peer, node), closed, take_flag(host, &host->must_end));
        if (closed)
            host->check_at_ms = INT64_MAX / 2;
    } while (!closed || active_channels(host));
    leave_nothing(host);
    return NULL;
}

/* ---- For other threads ---- */

static int start_threads(struct vchan_host *host, struct vt_why *why)
{
    int err = vchan_pump_new(&host->pump, why);

    if (err)
        return err;
    err = worker_start(&host->worker, watches, run, host, why);
    if (err)
        vchan_pump_free(host->pump);
    return err;
}

static int prepare(struct vchan_host *host, struct vt_why *why)
{
    struct xs_handle *xs;
    int err = slot_lock_server(site_lock_file(), &host->lock_fd, why);

    if (err == VT_ECONFLICT)
        return vt_fail(why, err, "another vtpm-server of this domain listens on vchan (or this one was told so twice): stop it first");
    if (!err)
        err = store_open(&xs, why);
    if (err)
        return err;
    err = store_own_domid(xs, &host->own, why);
    xs_close(xs);
    return err;
}

int vchan_host_start(struct vchan_host **out, const struct vchan_host_config *config, struct vt_why *why)
{
    struct vchan_host *host = VT_NEW(struct vchan_host);
    int err;

    if (!host)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    host->config = *config;
    host->config.recheck_ms = config->recheck_ms ? config->recheck_ms : RECHECK_MS;
    host->lock_fd = -1;
    vt_list_init(&host->ended);
    vt_list_init(&host->peers);
    pthread_mutex_init(&host->policy, NULL);
    err = prepare(host, why);
    if (!err)
        err = start_threads(host, why);
    if (!err) {
        *out = host;
        return VT_OK;
    }
    if (host->lock_fd >= 0)
        close(host->lock_fd);
    vt_free(host);
    return err;
}

uint32_t vchan_host_domid(const struct vchan_host *host)
{
    return host->own;
}

void vchan_host_recheck(struct vchan_host *host)
{
    pthread_mutex_lock(&host->worker.lock);
    host->has_recheck = true;
    pthread_mutex_unlock(&host->worker.lock);
    worker_wake(&host->worker);
}

void vchan_host_close(struct vchan_host *host)
{
    pthread_mutex_lock(&host->policy);
    host->is_closed = true;
    pthread_mutex_unlock(&host->policy);
    worker_wake(&host->worker);
}

void vchan_host_free(struct vchan_host *host, unsigned wait_ms)
{
    if (!host)
        return;
    vchan_host_close(host);
    if (!worker_join(&host->worker, wait_ms)) {
        pthread_mutex_lock(&host->worker.lock);
        host->must_end = true;
        pthread_mutex_unlock(&host->worker.lock);
        worker_wake(&host->worker);
        if (!worker_join(&host->worker, wait_ms)) {
            vt_warning("vchan: xenstored does not answer: offers stay in xenstore until the next start");
            return;
        }
    }
    vchan_pump_free(host->pump);
    worker_close(&host->worker);
    pthread_mutex_destroy(&host->policy);
    close(host->lock_fd);
    vt_free(host);
}

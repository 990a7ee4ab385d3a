/* SPDX-License-Identifier: Apache-2.0 */
/* The server's side: which domains there are, who may be offered channels, and the thread that sees to it. */
#include <stdio.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/xen/host_priv.h"
#include "server/xen/site.h"
#include "server/xen/slots.h"

#define RECHECK_MS   3000
#define RESCAN_TICKS 10 /* rechecks between two looks at all domains when nothing says that they changed */

static const char *const watches[] = {"@introduceDomain", "@releaseDomain", NULL};

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
    offers_remove_directory(peer);
    offers_free(peer);
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
    offers_withdraw(peer, true);
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
        offers_withdraw(peer, must_end);
    else if (peer->is_leaving || peer->err || find_peer(peer->host, peer->domain.domid, true))
        return; /* the channels of the one that was called so before must have ended */
    else if (peer->is_allowed && peer->host->worker.xs)
        offers_tend(peer);
    else if (!peer->is_allowed)
        offers_withdraw(peer, false); /* whoever is connected is the policy's to end, above */
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
        offers_reap(host);
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
        return vt_fail(why, err, "another vtpm-server of this domain listens on vchan (or this one was told so twice): "
                       "stop it first");
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

/* SPDX-License-Identifier: Apache-2.0 */
/* The channels that one domain is offered: how many, their making, and their end. */
#include <errno.h>
#include <libxenvchan.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/base/alloc.h"
#include "server/xen/host_priv.h"
#include "server/xen/slots.h"

/* Both directions fit into the one page that describes them: one grant for a channel. */
#define READ_RING  1024
#define WRITE_RING 2048

#define QUICK_MS     1000 /* a channel that ends sooner, or by force, is not offered again for as long */
#define TROUBLE_MS   5000 /* after an offer that failed */
/* One program serves many guests in dom0, and in a driver domain; nobody else needs more than a few. */
#define GUEST_SLOTS_MAX 64

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

void remove_if_empty(struct vchan_host *host, const char *path)
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

void offers_reap(struct vchan_host *host)
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

void offers_withdraw(struct peer *peer, bool all)
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

void offers_tend(struct peer *peer)
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

void offers_remove_directory(struct peer *peer)
{
    char path[STORE_PATH_MAX];

    snprintf(path, sizeof path, "/local/domain/%u/data/vchan/%u", peer->host->own, peer->domain.domid);
    if (peer->host->worker.xs && peer->count)
        remove_if_empty(peer->host, path);
}

void offers_free(struct peer *peer)
{
    for (unsigned i = 0; i < peer->count; i++)
        vt_free(peer->slots[i]);
    vt_free(peer->slots);
}

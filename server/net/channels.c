/* SPDX-License-Identifier: Apache-2.0 */
/* All channel connections: who may enter, what is logged of those who may not, and the end of all. */
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/net/conn_priv.h"

/* Half-open ones that are compared when one of them must go: bounds the work per newcomer. */
#define VICTIMS 16
/* A handshake that ended so lately is a sign that the others go on, too. */
#define PROGRESS_MS 100

static void on_refusals_due(uv_timer_t *timer)
{
    struct channels *all = timer->data;

    refusals_flush(&all->refusals, uv_now(all->uv));
}

void channels_note(struct channels *all, enum refusal reason, const struct net_peer *peer,
                   const char *identity, const char *detail)
{
    all->counts.refused++;
    if (refusals_note(&all->refusals, reason, uv_now(all->uv), peer->text, identity, detail) &&
        !uv_is_active((uv_handle_t *)&all->timer))
        uv_timer_start(&all->timer, on_refusals_due, REFUSAL_WINDOW_MS, 0);
}

/* ---- Accepting ---- */

static bool same_peer(const struct net_peer *a, const struct net_peer *b)
{
    return a->is_remote == b->is_remote && !memcmp(a->group, b->group, sizeof a->group);
}

static unsigned half_open_of(struct channels *all, const struct net_peer *peer)
{
    unsigned count = 0;

    VT_LIST_EACH(&all->half_open, node)
    count += same_peer(peer, &VT_LIST_ENTRY(node, struct conn, node)->peer);
    return count;
}

/*
 * All places are taken: of the oldest few, the peer that holds most places gives one up, unless that is the
 * newcomer or none holds more than one. So a flood from one address or process does not shut others out.
 */
static bool make_room(struct channels *all, const struct net_peer *newcomer)
{
    struct conn *victim = NULL;
    unsigned most = 1, looked_at = 0;

    VT_LIST_EACH(&all->half_open, node)
    {
        if (looked_at++ == VICTIMS)
            break;
        struct conn *c = VT_LIST_ENTRY(node, struct conn, node);
        unsigned count = half_open_of(all, &c->peer);
        if (count > most) {
            most = count;
            victim = c;
        }
    }
    if (!victim || same_peer(&victim->peer, newcomer))
        return false;
    channels_note(all, REFUSAL_CROWD, &victim->peer, NULL, NULL);
    conn_drop(victim);
    return true;
}

static bool may_enter(struct channels *all, const struct net_peer *peer)
{
    if (all->counts.connections >= all->limits.connections) {
        channels_note(all, REFUSAL_FULL, peer, NULL, "as many as the limit of descriptors allows (`ulimit -n`, LimitNOFILE=)");
        return false;
    }
    if (peer->is_remote && half_open_of(all, peer) >= all->limits.half_open_per_peer) {
        channels_note(all, REFUSAL_CROWD, peer, NULL, NULL);
        return false;
    }
    if (all->counts.half_open >= all->limits.half_open && !make_room(all, peer)) {
        channels_note(all, REFUSAL_FULL, peer, NULL, "handshakes at once");
        return false;
    }
    return true;
}

void channels_limit_idle(struct channels *all, const struct conn *c)
{
    const char *identity = channel_identity(c->ch);
    struct conn *oldest = NULL;
    unsigned count = 0;

    VT_LIST_EACH(&all->unattached, node)
    {
        struct conn *other = VT_LIST_ENTRY(node, struct conn, node);
        if (!conn_is_idle(other) || strcmp(channel_identity(other->ch), identity))
            continue;
        count++;
        if (!oldest)
            oldest = other;
    }
    if (count > all->limits.idle_per_identity)
        conn_refuse(oldest, REFUSAL_IDLE, VT_EAGAIN, "newer channels of this identity need its place");
}

void channels_accept(void *channels, int fd, const struct net_peer *peer)
{
    struct channels *all = channels;

    uv_update_time(all->uv);
    all->accepted_ms = uv_now(all->uv);
    if (all->is_closing || !may_enter(all, peer)) {
        close(fd);
        return;
    }
    if (conn_start(all, fd, peer)) {
        channels_note(all, REFUSAL_MEMORY, peer, NULL, NULL);
        close(fd);
    }
}

/*
 * A storm of guests that come back together: whoever is let in while the workers, or the guests themselves, have more to do
 * than they can only waits, and beyond a limit would be sent away, to come again later and later. So the rest waits in the
 * kernel's queue as long as handshakes get done. Peers that keep a place without giving work hold up nobody here, and
 * nobody does so for long: they are may_enter's.
 */
static bool is_ready(void *channels)
{
    const struct channels *all = channels;
    const uint64_t now = uv_now(all->uv);

    if (all->counts.half_open < all->limits.half_open_per_peer || now - all->accepted_ms > all->limits.hold_ms)
        return true;
    return !handshake_is_behind(&all->pool) && now - all->opened_ms > PROGRESS_MS;
}

static bool is_welcome(void *channels, const struct vt_domain *domain)
{
    struct channels *all = channels;

    return broker_domain_bound(all->broker, domain);
}

const struct listener_ops channels_listen = {.is_ready = is_ready, .accept = channels_accept, .is_welcome = is_welcome};

/* ---- All of them ---- */

static void tell_done(struct channels *all)
{
    void (*done)(void *) = all->done;

    if (!done || all->counts.connections)
        return;
    all->done = NULL;
    done(all->done_arg);
}

void channels_one_less(struct channels *all)
{
    all->counts.connections--;
    tell_done(all);
}

int channels_new(struct channels **channels, uv_loop_t *uv, struct broker *broker,
                 const struct channel_limits *limits)
{
    struct channels *all = VT_NEW(struct channels);

    if (!all)
        return VT_ENOMEM;
    all->uv = uv;
    all->broker = broker;
    all->limits = *limits;
    handshake_pool_init(&all->pool, uv, limits->workers);
    vt_list_init(&all->half_open);
    vt_list_init(&all->unattached);
    vt_list_init(&all->others);
    uv_timer_init(uv, &all->timer);
    uv_unref((uv_handle_t *)&all->timer);
    all->timer.data = all;
    *channels = all;
    return VT_OK;
}

void channels_count(const struct channels *channels, struct channel_counts *counts)
{
    *counts = channels->counts;
}

static void on_nothing_to_close(uv_timer_t *timer)
{
    tell_done(timer->data);
}

static void close_open(struct vt_list *list)
{
    VT_LIST_EACH(list, node)
    {
        struct conn *c = VT_LIST_ENTRY(node, struct conn, node);
        if (c->state == CONN_OPEN)
            conn_close_soon(c);
    }
}

void channels_close(struct channels *all, void (*done)(void *arg), void *arg)
{
    all->is_closing = true;
    all->done = done;
    all->done_arg = arg;
    VT_LIST_EACH(&all->half_open, node)
    conn_drop(VT_LIST_ENTRY(node, struct conn, node));
    close_open(&all->unattached);
    close_open(&all->others);
    refusals_flush(&all->refusals, uv_now(all->uv));
    if (!all->counts.connections) {
        uv_ref((uv_handle_t *)&all->timer);
        uv_timer_start(&all->timer, on_nothing_to_close, 0, 0);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct channels *all = handle->data;

    vt_free(all);
}

void channels_free(struct channels *all)
{
    if (all)
        uv_close((uv_handle_t *)&all->timer, on_timer_closed);
}

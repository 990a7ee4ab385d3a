/* SPDX-License-Identifier: Apache-2.0 */
#include "server/net/conn.h"

#include <unistd.h>

#include "proto/channel.h"
#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/crypto/crypto.h"
#include "server/net/handshake.h"
#include "server/net/refusals.h"
#include "server/net/stream.h"

/* Half-open ones that are compared when one of them must go: bounds the work per newcomer. */
#define VICTIMS 16

struct channels {
    uv_loop_t *uv;
    struct broker *broker;
    struct channel_limits limits;
    struct handshake_pool pool;
    struct refusals refusals;
    uv_timer_t timer; /* counts of refusals held back */
    struct vt_list half_open; /* struct conn in HANDSHAKE, oldest first */
    struct vt_list others;
    struct channel_counts counts;
    bool is_closing;
    void (*done)(void *arg);
    void *done_arg;
};

enum state {
    CONN_HANDSHAKE,
    CONN_OPEN,
    CONN_CLOSING,   /* told to end; the loop sees to it */
    CONN_LINGERING, /* last words on their way */
    CONN_GONE       /* handles closing, or a worker still busy */
};

struct conn {
    struct net_stream stream;
    struct handshake_job job;
    struct vt_list node; /* of half_open or others */
    struct channels *all;
    struct channel *ch;
    struct session *session;
    struct net_peer peer;
    enum state state;
    uint64_t handshake_until_ms;
    bool is_working;    /* a worker has ch: hands off */
    bool in_pump;
    bool said_goodbye;  /* LINGERING: our side of the socket is shut */
    bool is_dead;       /* the stream's handles are closed */
    int handshake_err;
    struct vt_why why;
};

static void pump(struct conn *c);

static struct conn *conn_of(struct net_stream *stream)
{
    return VT_CONTAINER(stream, struct conn, stream);
}

/* ---- The end of a connection ---- */

static void tell_done(struct channels *all)
{
    void (*done)(void *) = all->done;

    if (!done || all->counts.connections)
        return;
    all->done = NULL;
    done(all->done_arg);
}

/* The last of the stream's handles and the worker's step, whichever ends later. */
static void free_if_over(struct conn *c)
{
    struct channels *all = c->all;

    if (!c->is_dead || c->is_working)
        return;
    channel_free(c->ch);
    vt_list_remove(&c->node);
    vt_free(c);
    all->counts.connections--;
    tell_done(all);
}

static void leave_handshake(struct conn *c, enum state next)
{
    if (c->state == CONN_HANDSHAKE) {
        c->all->counts.half_open--;
        vt_list_remove(&c->node);
        vt_list_add(&c->all->others, &c->node);
    }
    c->state = next;
}

static void end_session(struct conn *c)
{
    struct session *session = c->session;

    c->session = NULL;
    if (session)
        session_closed(session);
}

/* At once, whatever is queued. */
static void drop(struct conn *c)
{
    if (c->state == CONN_GONE)
        return;
    leave_handshake(c, CONN_GONE);
    if (c->is_working && handshake_cancel(&c->job))
        c->is_working = false;
    end_session(c);
    net_stream_close(&c->stream);
}

/*
 * After what is queued for the peer was sent and read. The rest runs from the loop: this is called from within
 * session_message, where the session must stay.
 */
static void close_soon(struct conn *c)
{
    leave_handshake(c, CONN_CLOSING);
    net_stream_read(&c->stream, false);
    net_stream_deadline(&c->stream, 0);
}

/* Shut our side and wait for the peer's: closing with bytes unread would take our last words away from it. */
static void say_goodbye(struct conn *c)
{
    int err = net_stream_send(&c->stream, channel_output(c->ch));

    if (err == VT_EIO) {
        drop(c);
        return;
    }
    if (err || c->said_goodbye)
        return;
    c->said_goodbye = true;
    net_stream_half_close(&c->stream);
    net_stream_read(&c->stream, true);
}

static void on_refusals_due(uv_timer_t *timer)
{
    struct channels *all = timer->data;

    refusals_flush(&all->refusals, uv_now(all->uv));
}

static void note(struct channels *all, enum refusal reason, const struct net_peer *peer, const char *identity,
                 const char *detail)
{
    all->counts.refused++;
    if (refusals_note(&all->refusals, reason, uv_now(all->uv), peer->text, identity, detail) &&
        !uv_is_active((uv_handle_t *)&all->timer))
        uv_timer_start(&all->timer, on_refusals_due, REFUSAL_WINDOW_MS, 0);
}

/* ---- Sending ---- */

static void set_deadline(struct conn *c)
{
    uint64_t now = uv_now(c->all->uv);

    if (c->state == CONN_HANDSHAKE)
        net_stream_deadline(&c->stream, c->handshake_until_ms > now ? c->handshake_until_ms - now : 0);
    else if (c->state != CONN_OPEN)
        return;
    else if (c->stream.is_writing)
        net_stream_deadline(&c->stream, c->all->limits.write_ms);
    else if (channel_phase(c->ch) != CHANNEL_ATTACHED)
        net_stream_deadline(&c->stream, c->all->limits.unattached_ms);
    else
        net_stream_no_deadline(&c->stream);
}

static void flush(struct conn *c)
{
    bool was_writing = c->stream.is_writing;

    if (net_stream_send(&c->stream, channel_output(c->ch)) == VT_EIO)
        close_soon(c);
    else if (c->stream.is_writing != was_writing)
        set_deadline(c);
}

static void io_send(void *io, const Vtpm__Message *msg)
{
    struct conn *c = io;
    int err;

    if (c->state != CONN_OPEN)
        return;
    err = channel_send(c->ch, msg);
    if (err) {
        vt_warning("net: closing %s: cannot send: %s", c->peer.text,
                   err == VT_ETOOBIG ? "it does not read" : vt_err_text(err));
        close_soon(c);
        return;
    }
    flush(c);
}

static void io_close(void *io, int err, const char *text)
{
    struct conn *c = io;

    if (c->state != CONN_OPEN)
        return;
    channel_refuse(c->ch, err, text);
    close_soon(c);
}

static const struct session_io session_ops = {.send = io_send, .close = io_close};

/* ---- Receiving ---- */

static void on_session_ready(void *io)
{
    struct conn *c = io;

    pump(c);
}

/* Hands over what there is. VT_OK: the session or the socket must first catch up. */
static int hand_over(struct conn *c, struct vt_why *why)
{
    while (c->state == CONN_OPEN && !c->stream.is_writing && session_ready(c->session)) {
        Vtpm__Message *msg;
        int err = channel_next(c->ch, &msg, why);
        if (err)
            return err;
        session_message(c->session, msg);
        channel_message_free(msg);
    }
    return VT_OK;
}

static void refuse(struct conn *c, int err, const struct vt_why *why)
{
    const char *text = why->text[0] ? why->text : vt_err_text(err);

    note(c->all, err == VT_ENOMEM ? REFUSAL_MEMORY : REFUSAL_PROTOCOL, &c->peer, channel_identity(c->ch), text);
    channel_refuse(c->ch, err, text);
    close_soon(c);
}

static void pump(struct conn *c)
{
    struct vt_why why = {0};
    int err;

    if (c->in_pump || c->state != CONN_OPEN)
        return;
    c->in_pump = true;
    err = hand_over(c, &why);
    c->in_pump = false;
    if (c->state != CONN_OPEN)
        return;
    if (err && err != VT_EAGAIN) {
        if (err == VT_ECLOSED)
            drop(c);
        else
            refuse(c, err, &why);
        return;
    }
    net_stream_read(&c->stream, err == VT_EAGAIN);
    set_deadline(c);
}

/* ---- Handshake ---- */

static void open_conn(struct conn *c)
{
    int err;

    leave_handshake(c, CONN_OPEN);
    c->all->counts.opened++;
    vt_info("net: channel open peer=%s identity=%s", c->peer.text, channel_identity(c->ch));
    err = session_new(&c->session, c->all->broker, channel_identity(c->ch), c->peer.text, &session_ops, c);
    if (err) {
        c->session = NULL;
        io_close(c, err, err == VT_EAGAIN ? "the server is stopping" : vt_err_text(err));
        return;
    }
    session_on_ready(c->session, on_session_ready);
    pump(c);
}

static void handshake_failed(struct conn *c)
{
    enum refusal reason = REFUSAL_PROTOCOL;

    if (c->handshake_err == VT_EAUTH)
        reason = channel_identity_known(c->ch) ? REFUSAL_KEY : REFUSAL_UNKNOWN;
    else if (c->handshake_err == VT_ENOMEM)
        reason = REFUSAL_MEMORY;
    note(c->all, reason, &c->peer, channel_identity(c->ch), reason == REFUSAL_PROTOCOL ? c->why.text : NULL);
    close_soon(c); /* with the alert that the channel left in its output */
}

static void step_work(struct handshake_job *job)
{
    struct conn *c = VT_CONTAINER(job, struct conn, job);

    c->handshake_err = channel_handshake(c->ch, &c->why);
}

static void step_done(struct handshake_job *job)
{
    struct conn *c = VT_CONTAINER(job, struct conn, job);

    c->is_working = false;
    if (c->state != CONN_HANDSHAKE) {
        free_if_over(c);
        return;
    }
    if (c->handshake_err && c->handshake_err != VT_EAGAIN) {
        handshake_failed(c);
        return;
    }
    flush(c);
    if (c->state != CONN_HANDSHAKE)
        return;
    if (c->handshake_err)
        net_stream_read(&c->stream, true);
    else
        open_conn(c);
}

/* ---- The stream's events ---- */

static void on_bytes(struct net_stream *stream, const uint8_t *bytes, size_t len)
{
    struct conn *c = conn_of(stream);
    struct vt_why why = {0};
    int err;

    if (c->state != CONN_HANDSHAKE && c->state != CONN_OPEN)
        return;
    err = channel_feed(c->ch, bytes, len);
    if (err) {
        vt_fail(&why, err, "it sends faster than it is read");
        refuse(c, err, &why);
        return;
    }
    if (c->state == CONN_OPEN) {
        pump(c);
        return;
    }
    net_stream_read(stream, false);
    c->is_working = true;
    handshake_submit(&c->all->pool, &c->job);
}

static void on_end(struct net_stream *stream)
{
    drop(conn_of(stream));
}

static void on_sent(struct net_stream *stream)
{
    struct conn *c = conn_of(stream);

    if (c->state == CONN_LINGERING)
        say_goodbye(c);
    /* A worker may be filling the output; it is flushed when the step is done. */
    if (c->is_working || (c->state != CONN_HANDSHAKE && c->state != CONN_OPEN))
        return;
    flush(c);
    set_deadline(c);
    pump(c);
}

static void on_deadline(struct net_stream *stream)
{
    struct conn *c = conn_of(stream);

    if (c->state == CONN_CLOSING) {
        c->state = CONN_LINGERING;
        end_session(c);
        net_stream_deadline(stream, c->all->limits.linger_ms);
        say_goodbye(c);
        return;
    }
    if (c->state == CONN_HANDSHAKE)
        note(c->all, REFUSAL_SLOW, &c->peer, NULL, NULL);
    else if (c->state == CONN_OPEN)
        vt_notice("net: closing %s: %s", c->peer.text,
                  stream->is_writing ? "it does not read" : "it attaches nothing");
    drop(c);
}

static void on_gone(struct net_stream *stream)
{
    struct conn *c = conn_of(stream);

    c->is_dead = true;
    free_if_over(c);
}

static const struct net_stream_ops stream_ops = {
    .on_bytes = on_bytes,
    .on_end = on_end,
    .on_sent = on_sent,
    .on_deadline = on_deadline,
    .on_gone = on_gone,
};

/* ---- Accepting ---- */

static bool same_peer(const struct net_peer *a, const struct net_peer *b)
{
    return a->is_remote && b->is_remote && !memcmp(a->group, b->group, sizeof a->group);
}

static unsigned half_open_of(struct channels *all, const struct net_peer *peer)
{
    unsigned count = 0;

    VT_LIST_EACH(&all->half_open, node)
        count += same_peer(peer, &VT_LIST_ENTRY(node, struct conn, node)->peer);
    return count;
}

/*
 * All places are taken: of the oldest few, the remote peer that holds most places gives one up, unless that is the
 * newcomer or none holds more than one. So a flood from one address does not shut others out.
 */
static bool make_room(struct channels *all, const struct net_peer *newcomer)
{
    struct conn *victim = NULL;
    unsigned most = 1, looked_at = 0;

    VT_LIST_EACH(&all->half_open, node) {
        if (looked_at++ == VICTIMS)
            break;
        struct conn *c = VT_LIST_ENTRY(node, struct conn, node);
        unsigned count = c->peer.is_remote ? half_open_of(all, &c->peer) : 0;
        if (count > most) {
            most = count;
            victim = c;
        }
    }
    if (!victim || same_peer(&victim->peer, newcomer))
        return false;
    note(all, REFUSAL_CROWD, &victim->peer, NULL, NULL);
    drop(victim);
    return true;
}

static bool may_enter(struct channels *all, const struct net_peer *peer)
{
    if (all->counts.connections >= all->limits.connections) {
        note(all, REFUSAL_FULL, peer, NULL, NULL);
        return false;
    }
    if (half_open_of(all, peer) >= all->limits.half_open_per_peer) {
        note(all, REFUSAL_CROWD, peer, NULL, NULL);
        return false;
    }
    if (all->counts.half_open >= all->limits.half_open && !make_room(all, peer)) {
        note(all, REFUSAL_FULL, peer, NULL, NULL);
        return false;
    }
    return true;
}

static int on_random(void *ctx, unsigned char *out, size_t len)
{
    (void)ctx;
    return cr_os_random(out, len);
}

/* On a worker. */
static void on_psk(void *ctx, const char *identity, struct vt_key *key, bool *known)
{
    struct channels *all = ctx;

    broker_psk(all->broker, identity, key, known);
}

static struct conn *conn_new(struct channels *all, const struct net_peer *peer)
{
    struct tls_config config = {.server = true, .random = on_random, .psk = on_psk, .psk_ctx = all};
    struct conn *c = VT_NEW(struct conn);

    if (!c)
        return NULL;
    if (channel_new(&c->ch, &config)) {
        vt_free(c);
        return NULL;
    }
    c->all = all;
    c->peer = *peer;
    c->job.work = step_work;
    c->job.done = step_done;
    c->handshake_until_ms = uv_now(all->uv) + all->limits.handshake_ms;
    return c;
}

void channels_accept(void *channels, int fd, const struct net_peer *peer)
{
    struct channels *all = channels;
    struct conn *c;

    uv_update_time(all->uv);
    if (all->is_closing || !may_enter(all, peer)) {
        close(fd);
        return;
    }
    c = conn_new(all, peer);
    if (!c) {
        note(all, REFUSAL_MEMORY, peer, NULL, NULL);
        close(fd);
        return;
    }
    vt_list_add(&all->half_open, &c->node);
    all->counts.connections++;
    all->counts.half_open++;
    if (net_stream_open(&c->stream, all->uv, fd, peer->is_tcp, &stream_ops)) {
        drop(c);
        return;
    }
    set_deadline(c);
    net_stream_read(&c->stream, true);
}

/* ---- All of them ---- */

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

void channels_close(struct channels *all, void (*done)(void *arg), void *arg)
{
    all->is_closing = true;
    all->done = done;
    all->done_arg = arg;
    VT_LIST_EACH(&all->half_open, node)
        drop(VT_LIST_ENTRY(node, struct conn, node));
    VT_LIST_EACH(&all->others, other) {
        struct conn *c = VT_LIST_ENTRY(other, struct conn, node);
        if (c->state == CONN_OPEN)
            close_soon(c);
    }
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

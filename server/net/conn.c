/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/mman.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/crypto/crypto.h"
#include "server/net/conn_priv.h"

static void pump(struct conn *c);

static struct conn *conn_of(struct net_stream *stream)
{
    return VT_CONTAINER(stream, struct conn, stream);
}

/* ---- The end of a connection ---- */

/* The last of the stream's handles and the worker's step, whichever ends later. */
static void free_if_over(struct conn *c)
{
    struct channels *all = c->all;

    if (!c->is_dead || c->is_working)
        return;
    channel_free(c->ch);
    vt_list_remove(&c->node);
    vt_free(c);
    channels_one_less(all);
}

static void move_to(struct conn *c, struct vt_list *list)
{
    vt_list_remove(&c->node);
    vt_list_add(list, &c->node);
}

static void leave_handshake(struct conn *c, enum state next)
{
    if (c->state == CONN_HANDSHAKE) {
        c->all->counts.half_open--;
        move_to(c, &c->all->unattached);
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

void conn_drop(struct conn *c)
{
    if (c->state == CONN_GONE)
        return;
    leave_handshake(c, CONN_GONE);
    if (c->is_working && handshake_cancel(&c->job))
        c->is_working = false;
    end_session(c);
    net_stream_close(&c->stream);
}

void conn_close_soon(struct conn *c)
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
        conn_drop(c);
        return;
    }
    if (err || c->said_goodbye)
        return;
    c->said_goodbye = true;
    net_stream_half_close(&c->stream);
    net_stream_read(&c->stream, true);
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
        conn_close_soon(c);
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
        conn_close_soon(c);
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
    conn_close_soon(c);
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

void conn_refuse(struct conn *c, enum refusal reason, int err, const char *text)
{
    channels_note(c->all, reason, &c->peer, channel_identity(c->ch), text);
    channel_refuse(c->ch, err, text);
    conn_close_soon(c);
}

static void refuse(struct conn *c, int err, const struct vt_why *why)
{
    conn_refuse(c, err == VT_ENOMEM ? REFUSAL_MEMORY : REFUSAL_PROTOCOL, err,
                why->text[0] ? why->text : vt_err_text(err));
}

/* What else the peer sends has to wait. */
static bool is_busy(const struct conn *c)
{
    return c->state == CONN_OPEN && (c->stream.is_writing || !session_ready(c->session));
}

bool conn_is_idle(const struct conn *c)
{
    return c->state == CONN_OPEN && channel_phase(c->ch) != CHANNEL_ATTACHED && session_ready(c->session);
}

static void file_by_phase(struct conn *c)
{
    const bool is_attached = channel_phase(c->ch) == CHANNEL_ATTACHED;

    if (is_attached != c->is_attached)
        move_to(c, is_attached ? &c->all->others : &c->all->unattached);
    c->is_attached = is_attached;
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
    if (err == VT_ECLOSED || (err == VT_EAGAIN && c->at_end)) {
        conn_drop(c);
        return;
    }
    file_by_phase(c);
    if (err && err != VT_EAGAIN) {
        refuse(c, err, &why);
        return;
    }
    /* While something is under way it goes on reading: a peer that waits for its answer sends nothing (on_bytes). */
    if (err == VT_EAGAIN)
        net_stream_read(&c->stream, true);
    set_deadline(c);
}

/* ---- Handshake ---- */

static void open_conn(struct conn *c)
{
    const struct channel_peer peer = {
        .text = c->peer.text,
        .domain = c->peer.has_domain ? &c->peer.domain : NULL,
    };
    int err;

    leave_handshake(c, CONN_OPEN);
    /* From session_new on a rotation finds the session and closes it; before, only this look tells. */
    if (broker_psk_version(c->all->broker, channel_identity(c->ch)) != c->key_version) {
        channels_note(c->all, REFUSAL_KEY, &c->peer, channel_identity(c->ch), "rotated during the handshake");
        io_close(c, VT_EAUTH, "the credential was rotated");
        return;
    }
    c->all->counts.opened++;
    c->all->opened_ms = uv_now(c->all->uv);
    vt_log_with(VT_LOG_INFO,
                VT_FIELDS(VT_TEXT("peer", c->peer.text), VT_TEXT("identity", channel_identity(c->ch))),
                "net: channel open");
    err = session_new(&c->session, c->all->broker, channel_identity(c->ch), &peer, &session_ops, c);
    if (err) {
        c->session = NULL;
        io_close(c, err, err == VT_EAGAIN ? "the server is stopping" : vt_err_text(err));
        return;
    }
    session_on_ready(c->session, on_session_ready);
    channels_limit_idle(c->all, c);
    pump(c);
}

static void handshake_failed(struct conn *c)
{
    c->refusal = REFUSAL_PROTOCOL;
    if (c->handshake_err == VT_EAUTH)
        c->refusal = channel_identity_known(c->ch) ? REFUSAL_KEY : REFUSAL_UNKNOWN;
    else if (c->handshake_err == VT_ENOMEM)
        c->refusal = REFUSAL_MEMORY;
    c->is_refused = true;
    conn_close_soon(c); /* with the alert that the channel left in its output */
}

/* After the alert has gone: telling an unknown identity from a disabled one takes time that its peer must not see. */
static void note_refusal(struct conn *c)
{
    const char *identity = channel_identity(c->ch), *detail = NULL;

    if (c->refusal == REFUSAL_PROTOCOL)
        detail = c->why.text;
    else if (c->refusal == REFUSAL_UNKNOWN)
        detail = broker_stranger(c->all->broker, identity);
    channels_note(c->all, c->refusal, &c->peer, identity, detail);
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
        if (err == VT_ETOOBIG)
            vt_fail(&why, err, "it sends faster than it is read");
        refuse(c, err, &why);
        return;
    }
    if (is_busy(c)) {
        /* It sends ahead. This much is kept, and no more is read until pump has come to its end. */
        net_stream_read(stream, false);
        return;
    }
    if (c->state == CONN_OPEN) {
        pump(c);
        return;
    }
    /* What a flood has left in the kernel's queue costs no public-key work. */
    if (net_stream_is_shut(stream)) {
        conn_drop(c);
        return;
    }
    net_stream_read(stream, false);
    c->is_working = true;
    handshake_submit(&c->all->pool, &c->job);
}

/* It may have closed its side alone, and still be waiting for the answer that is under way. */
static void on_end(struct net_stream *stream)
{
    struct conn *c = conn_of(stream);

    if (is_busy(c))
        c->at_end = true;
    else
        conn_drop(c);
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
        if (c->is_refused)
            note_refusal(c);
        return;
    }
    if (c->state == CONN_HANDSHAKE)
        channels_note(c->all, REFUSAL_SLOW, &c->peer, NULL, NULL);
    else if (c->state == CONN_OPEN)
        vt_notice("net: closing %s: %s", c->peer.text,
                  stream->is_writing ? "it does not read" : "it attaches nothing");
    conn_drop(c);
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

/* ---- The begin ---- */

static int on_random(void *ctx, unsigned char *out, size_t len)
{
    (void)ctx;
    return cr_os_random(out, len);
}

/* On a worker. The version first: a key that is rotated in between is refused, not kept. */
static void on_psk(void *ctx, const char *identity, struct vt_key *key, bool *known)
{
    struct conn *c = ctx;

    c->key_version = broker_psk_version(c->all->broker, identity);
    broker_psk(c->all->broker, identity, key, known);
}

/* Of memory of the heap, too: its whole pages read as zeros afterwards. */
static void on_spare(void *at, size_t len)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = ((uintptr_t)at + page - 1) / page * page, end = ((uintptr_t)at + len) / page * page;

    if (begin < end)
        (void)madvise((uint8_t *)at + (begin - (uintptr_t)at), end - begin, MADV_DONTNEED);
}

static struct conn *conn_new(struct channels *all, const struct net_peer *peer)
{
    struct tls_config config = {.server = true, .random = on_random, .psk = on_psk, .spare = on_spare};
    struct conn *c = VT_NEW(struct conn);

    if (!c)
        return NULL;
    config.psk_ctx = c;
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

int conn_start(struct channels *all, int fd, const struct net_peer *peer)
{
    struct conn *c = conn_new(all, peer);

    if (!c)
        return VT_ENOMEM;
    vt_list_init(&c->node);
    vt_list_add(&all->half_open, &c->node);
    all->counts.connections++;
    all->counts.half_open++;
    if (net_stream_open(&c->stream, all->uv, fd, peer->is_tcp, &stream_ops)) {
        conn_drop(c);
        return VT_OK;
    }
    set_deadline(c);
    net_stream_read(&c->stream, true);
    return VT_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/channel.h"

#include <stdio.h>

#include "proto/frame.h"
#include "proto/message.h"
#include "proto/pb.h"
#include "server/base/alloc.h"

enum side { CLIENT, SERVER };

/* The request that waits for its answer: there is at most one. */
enum pending { NOTHING, ATTACH, POWER_ON, EXECUTE, PLATFORM, TICKET, BRING, PEER };

/* Buffers this small stay when they are empty. */
#define KEEP_MAX 512

struct channel {
    struct tls *tls;
    enum side self;
    enum channel_phase phase;
    enum pending pending;
    uint64_t pending_n;    /* of the Execute */
    bool said_hello[2];    /* by side */
    uint32_t version[2];   /* that it said */
    int failed;            /* the first error of the receiving side stays */
    struct vt_buf plain;   /* received, not yet a whole frame */
};

/* ---- The order of messages: PROTOCOL.md, "State machine", row for row ---- */

#define IN(phase) (1u << (phase))
#define ON(pending) (1u << (pending))
#define ANY_PENDING                                                                                      \
    (ON(NOTHING) | ON(ATTACH) | ON(POWER_ON) | ON(EXECUTE) | ON(PLATFORM) | ON(TICKET) | ON(BRING) | ON(PEER))
#define ANY_PHASE (IN(CHANNEL_HELLO) | IN(CHANNEL_IDLE) | IN(CHANNEL_ATTACHED))

static const struct row {
    int body;
    enum side from;
    unsigned phases;       /* in which it may come */
    unsigned pendings;     /* while one of these waits */
    enum pending then;     /* what waits afterwards */
    bool keeps_pending;    /* `then` does not apply */
    uint32_t since;        /* version that both must have said; 0: any */
} rows[] = {
#define ROW(body, from, phases, pendings, ...) {VTPM__MESSAGE__BODY_##body, from, phases, pendings, __VA_ARGS__}
    ROW(HELLO, CLIENT, IN(CHANNEL_HELLO), ON(NOTHING), .then = NOTHING),
    ROW(HELLO, SERVER, IN(CHANNEL_HELLO), ON(NOTHING), .then = NOTHING),
    ROW(ATTACH, CLIENT, IN(CHANNEL_IDLE), ON(NOTHING), .then = ATTACH),
    ROW(ATTACHED, SERVER, IN(CHANNEL_IDLE), ON(ATTACH), .then = NOTHING),
    ROW(POWER_ON, CLIENT, IN(CHANNEL_ATTACHED), ON(NOTHING), .then = POWER_ON),
    ROW(POWER_RESULT, SERVER, IN(CHANNEL_ATTACHED), ON(POWER_ON), .then = NOTHING),
    ROW(EXECUTE, CLIENT, IN(CHANNEL_ATTACHED), ON(NOTHING), .then = EXECUTE),
    ROW(RESPONSE, SERVER, IN(CHANNEL_ATTACHED), ON(EXECUTE), .then = NOTHING),
    ROW(PLATFORM, CLIENT, IN(CHANNEL_ATTACHED), ON(NOTHING), .then = PLATFORM),
    ROW(PLATFORM_RESULT, SERVER, IN(CHANNEL_ATTACHED), ON(PLATFORM), .then = NOTHING),
    ROW(TICKET_ASK, CLIENT, IN(CHANNEL_ATTACHED), ON(NOTHING), .then = TICKET, .since = 2),
    ROW(TICKET, SERVER, IN(CHANNEL_ATTACHED), ON(TICKET), .then = NOTHING, .since = 2),
    ROW(TICKET_READ, CLIENT, IN(CHANNEL_ATTACHED), ON(NOTHING), .then = TICKET, .since = 2),
    ROW(STATE_BRING, CLIENT, IN(CHANNEL_IDLE), ON(NOTHING), .then = BRING, .since = 2),
    ROW(TICKET_BRING, CLIENT, IN(CHANNEL_IDLE), ON(NOTHING), .then = BRING, .since = 2),
    ROW(TICKET_TAKEN, SERVER, IN(CHANNEL_IDLE), ON(BRING), .then = NOTHING, .since = 2),
    ROW(PEER_ASK, CLIENT, IN(CHANNEL_IDLE), ON(NOTHING), .then = PEER, .since = 2),
    ROW(PEER_ANSWER, SERVER, IN(CHANNEL_IDLE), ON(PEER), .then = NOTHING, .since = 2),
    /* It may cross the response on its way. */
    ROW(CANCEL, CLIENT, IN(CHANNEL_ATTACHED), ANY_PENDING, .keeps_pending = true),
    ROW(DETACH, CLIENT, IN(CHANNEL_ATTACHED), ON(NOTHING), .then = NOTHING),
    /* The server's answers the request that waits, if one does; the client's answers nothing. */
    ROW(ERROR, SERVER, ANY_PHASE, ANY_PENDING, .then = NOTHING),
    ROW(ERROR, CLIENT, ANY_PHASE, ANY_PENDING, .keeps_pending = true),
#undef ROW
};

static const struct row *find_row(const Vtpm__Message *msg, enum side from)
{
    for (size_t i = 0; i < VT_COUNT(rows); i++)
        if (rows[i].body == (int)msg->body_case && rows[i].from == from)
            return &rows[i];
    return NULL;
}

/* The row by which this side may say msg now; NULL: it may not. */
static const struct row *allowed(const struct channel *ch, const Vtpm__Message *msg, enum side from)
{
    const struct row *row = find_row(msg, from);

    if (!row || !(row->phases & IN(ch->phase)) || !(row->pendings & ON(ch->pending)))
        return NULL;
    if (row->since > ch->version[CLIENT] || row->since > ch->version[SERVER])
        return NULL;
    /* A side says Hello once, and before everything but an Error. */
    if (msg->body_case == VTPM__MESSAGE__BODY_HELLO && ch->said_hello[from])
        return NULL;
    if (msg->body_case == VTPM__MESSAGE__BODY_RESPONSE && msg->response->n != ch->pending_n)
        return NULL;
    return row;
}

static enum channel_phase phase_after(const struct channel *ch, const Vtpm__Message *msg)
{
    switch ((int)msg->body_case) {
    case VTPM__MESSAGE__BODY_HELLO:
        return ch->said_hello[CLIENT] && ch->said_hello[SERVER] ? CHANNEL_IDLE : CHANNEL_HELLO;
    case VTPM__MESSAGE__BODY_ATTACHED:
        return CHANNEL_ATTACHED;
    case VTPM__MESSAGE__BODY_DETACH:
        return CHANNEL_IDLE;
    case VTPM__MESSAGE__BODY_ERROR:
        return msg->error->fatal ? CHANNEL_CLOSED : ch->phase;
    default:
        return ch->phase;
    }
}

static void step(struct channel *ch, const struct row *row, const Vtpm__Message *msg)
{
    if (msg->body_case == VTPM__MESSAGE__BODY_HELLO) {
        ch->said_hello[row->from] = true;
        ch->version[row->from] = msg->hello->version;
    }
    if (msg->body_case == VTPM__MESSAGE__BODY_EXECUTE)
        ch->pending_n = msg->execute->n;
    if (!row->keeps_pending)
        ch->pending = row->then;
    ch->phase = phase_after(ch, msg);
}

/* ---- Life ---- */

int channel_new(struct channel **ch_out, const struct tls_config *config)
{
    struct channel *ch = VT_NEW(struct channel);
    int err;

    if (!ch)
        return VT_ENOMEM;
    ch->self = config->server ? SERVER : CLIENT;
    vt_buf_init(&ch->plain, FRAME_HEADER + FRAME_MAX);
    err = tls_new(&ch->tls, config);
    if (err) {
        channel_free(ch);
        return err;
    }
    *ch_out = ch;
    return VT_OK;
}

void channel_free(struct channel *ch)
{
    if (!ch)
        return;
    tls_free(ch->tls);
    vt_buf_free(&ch->plain);
    vt_free(ch);
}

static void trim(struct vt_buf *buf)
{
    if (!vt_buf_size(buf) && buf->cap > KEEP_MAX)
        vt_buf_free(buf);
}

int channel_feed(struct channel *ch, const void *bytes, size_t len)
{
    trim(tls_output(ch->tls));
    return tls_feed(ch->tls, bytes, len);
}

struct vt_buf *channel_output(struct channel *ch)
{
    return tls_output(ch->tls);
}

int channel_handshake(struct channel *ch, struct vt_why *why)
{
    int err = tls_handshake(ch->tls, why);

    if (!err && ch->phase == CHANNEL_HANDSHAKE)
        ch->phase = CHANNEL_HELLO;
    if (err && err != VT_EAGAIN)
        ch->phase = CHANNEL_CLOSED;
    return err;
}

bool channel_is_open(const struct channel *ch)
{
    return ch->phase != CHANNEL_HANDSHAKE && ch->phase != CHANNEL_CLOSED;
}

enum channel_phase channel_phase(const struct channel *ch)
{
    return ch->phase;
}

uint32_t channel_version(const struct channel *ch)
{
    return VT_MIN(ch->version[CLIENT], ch->version[SERVER]);
}

const char *channel_identity(const struct channel *ch)
{
    return tls_identity(ch->tls);
}

bool channel_identity_known(const struct channel *ch)
{
    return tls_identity_known(ch->tls);
}

/* ---- Receiving ---- */

/* A whole frame at the read end, reading more plaintext as long as there is any. */
static int whole_frame(struct channel *ch, const uint8_t **payload, size_t *len, struct vt_why *why)
{
    int err;

    for (;;) {
        err = frame_next(&ch->plain, FRAME_MAX, payload, len);
        if (err == VT_ETOOBIG)
            return vt_fail(why, err, "a frame longer than %u bytes", FRAME_MAX);
        if (err != VT_EAGAIN)
            return err;
        err = tls_read(ch->tls, &ch->plain);
        if (err == VT_ECLOSED && vt_buf_size(&ch->plain))
            return vt_fail(why, VT_EPROTO, "the peer closed within a frame");
        if (err == VT_EAGAIN || err == VT_ECLOSED)
            return err;
        if (err)
            return vt_fail(why, err, "TLS: %s", vt_err_text(err));
    }
}

static int take_message(struct channel *ch, Vtpm__Message **msg, struct vt_why *why)
{
    const struct row *row;
    const uint8_t *payload;
    size_t len;
    int err = whole_frame(ch, &payload, &len, why);

    if (err)
        return err;
    err = message_unpack(payload, len, msg, why);
    vt_buf_drop(&ch->plain, FRAME_HEADER + len);
    if (err)
        return err;
    row = allowed(ch, *msg, ch->self == SERVER ? CLIENT : SERVER);
    if (row) {
        step(ch, row, *msg);
        return VT_OK;
    }
    err = vt_fail(why, VT_EPROTO, "%s is out of order (phase %d, request %d)", message_name(*msg),
                  (int)ch->phase, (int)ch->pending);
    channel_message_free(*msg);
    return err;
}

int channel_next(struct channel *ch, Vtpm__Message **msg, struct vt_why *why)
{
    int err;

    *msg = NULL;
    if (ch->failed)
        return vt_fail(why, ch->failed, "the channel ended before: %s", vt_err_text(ch->failed));
    if (ch->phase == CHANNEL_HANDSHAKE)
        return VT_EAGAIN;
    /* Behind a fatal Error there is nothing to read for either side. */
    if (ch->phase == CHANNEL_CLOSED)
        return VT_ECLOSED;
    err = take_message(ch, msg, why);
    if (err)
        *msg = NULL;
    if (err && err != VT_EAGAIN)
        ch->failed = err;
    if (err == VT_ECLOSED)
        ch->phase = CHANNEL_CLOSED;
    trim(&ch->plain);
    return err;
}

void channel_message_free(Vtpm__Message *msg)
{
    pb_free((ProtobufCMessage *)msg);
}

/* ---- Sending ---- */

int channel_send(struct channel *ch, const Vtpm__Message *msg)
{
    const struct row *row = allowed(ch, msg, ch->self);
    struct vt_buf frame;
    int err;

    if (!row)
        return VT_EPROTO;
    vt_buf_init(&frame, FRAME_HEADER + FRAME_MAX);
    err = message_pack(msg, &frame);
    if (!err)
        err = tls_write(ch->tls, vt_buf_bytes(&frame), vt_buf_size(&frame));
    vt_buf_free(&frame);
    if (!err)
        step(ch, row, msg);
    return err;
}

void channel_close(struct channel *ch)
{
    ch->phase = CHANNEL_CLOSED;
    tls_close(ch->tls);
}

void channel_refuse(struct channel *ch, int err, const char *text)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Error error = VTPM__ERROR__INIT;
    char cut[MESSAGE_ERROR_MAX + 1];

    snprintf(cut, sizeof cut, "%s", text);
    error.code = err < 0 ? 0u - (unsigned)err : (unsigned)err;
    error.text = cut;
    error.fatal = true;
    msg.body_case = VTPM__MESSAGE__BODY_ERROR;
    msg.error = &error;
    /* Without memory or before the handshake nothing can be said: closing says enough. */
    if (ch->phase != CHANNEL_CLOSED && channel_send(ch, &msg))
        ch->phase = CHANNEL_CLOSED;
    channel_close(ch);
}

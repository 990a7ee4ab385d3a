/* SPDX-License-Identifier: Apache-2.0 */
#include "server/net/peer_talk.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proto/channel.h"
#include "proto/message.h"
#include "server/base/alloc.h"
#include "server/core/handoff/door.h"
#include "server/core/store/bundle.h"

struct talk {
    struct peer_talk *what;
    struct channel *ch;
    int fd;
    uint64_t until_ms;
    struct vt_why *why;
};

/* ---- Address ---- */

bool peer_address_parse(const char *address, char host[PEER_HOST], char port[8])
{
    const char *at = address + 4, *colon = strrchr(address, ':');
    size_t len, port_len;

    if (strncmp(address, "tcp:", 4) != 0 || !colon || colon <= at)
        return false;
    len = (size_t)(colon - at);
    port_len = strlen(colon + 1);
    if (at[0] == '[') {
        if (len < 3 || at[len - 1] != ']')
            return false;
        at++;
        len -= 2;
    } else if (memchr(at, ':', len)) {
        return false;
    }
    if (len >= PEER_HOST || !port_len || port_len > 5 || strspn(colon + 1, "0123456789") != port_len)
        return false;
    memcpy(host, at, len);
    host[len] = '\0';
    memcpy(port, colon + 1, port_len + 1);
    return true;
}

/* ---- Bytes, before the time is over ---- */

static uint64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int wait_for(struct talk *t, short events)
{
    struct pollfd fd = {.fd = t->fd, .events = events};

    for (;;) {
        uint64_t now = now_ms();
        int n = now >= t->until_ms ? 0 : poll(&fd, 1, (int)(t->until_ms - now));

        if (n > 0)
            return VT_OK;
        if (n == 0)
            return vt_fail(t->why, VT_ETIMEOUT, "it did not answer in time");
        if (errno != EINTR)
            return VT_EIO;
    }
}

static int connected(struct talk *t)
{
    int failed = 0;
    socklen_t len = sizeof failed;
    int err = wait_for(t, POLLOUT);

    if (err)
        return err;
    if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &failed, &len) || failed)
        return vt_fail(t->why, VT_EUNREACHED, "%s", strerror(failed ? failed : errno));
    return VT_OK;
}

static int try_address(struct talk *t, const struct addrinfo *info)
{
    t->fd = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, info->ai_protocol);
    if (t->fd < 0)
        return VT_EIO;
    if (!connect(t->fd, info->ai_addr, info->ai_addrlen) || errno == EINPROGRESS)
        return connected(t);
    return vt_fail(t->why, VT_EUNREACHED, "%s", strerror(errno));
}

static int reach(struct talk *t)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *all = NULL;
    char host[PEER_HOST], port[8];
    int err = VT_EUNREACHED, rc;

    if (!peer_address_parse(t->what->source.address, host, port))
        return vt_fail(t->why, VT_EUSAGE, "%s is no address", t->what->source.address);
    rc = getaddrinfo(host, port, &hints, &all);
    if (rc)
        return vt_fail(t->why, VT_EUNREACHED, "%s: %s", host, gai_strerror(rc));
    for (const struct addrinfo *info = all; err && info; info = info->ai_next) {
        if (t->fd >= 0)
            close(t->fd);
        t->why->text[0] = '\0';
        err = try_address(t, info);
    }
    freeaddrinfo(all);
    return err;
}

static int flush(struct talk *t)
{
    struct vt_buf *out = channel_output(t->ch);

    while (vt_buf_size(out)) {
        ssize_t n = send(t->fd, vt_buf_bytes(out), vt_buf_size(out), MSG_NOSIGNAL);

        if (n > 0)
            vt_buf_drop(out, (size_t)n);
        else if (errno != EAGAIN && errno != EINTR)
            return vt_fail(t->why, VT_EIO, "%s", strerror(errno));
        else if (wait_for(t, POLLOUT))
            return VT_ETIMEOUT;
    }
    return VT_OK;
}

static int receive(struct talk *t)
{
    uint8_t bytes[16384];
    ssize_t n;
    int err = wait_for(t, POLLIN);

    if (err)
        return err;
    n = recv(t->fd, bytes, sizeof bytes, 0);
    if (n > 0)
        return channel_feed(t->ch, bytes, (size_t)n);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return VT_OK;
    return vt_fail(t->why, VT_ECLOSED, "it closed the connection");
}

/* ---- Messages ---- */

static int on_random(void *ctx, unsigned char *out, size_t len)
{
    (void)ctx;
    return cr_os_random(out, len);
}

static int shake(struct talk *t)
{
    int err;

    while ((err = channel_handshake(t->ch, t->why)) == VT_EAGAIN) {
        err = flush(t);
        if (!err)
            err = receive(t);
        if (err)
            return err;
    }
    if (err == VT_EAUTH)
        vt_fail(t->why, err, "it does not know this server as a peer, or by another key: vtpmctl server peer add, there");
    (void)!flush(t); /* the alert, too */
    return err;
}

static int say(struct talk *t, Vtpm__Message__BodyCase which, void *body)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    int err;

    msg.body_case = which;
    msg.hello = body; /* all members of the union are pointers */
    err = channel_send(t->ch, &msg);
    return err ? err : flush(t);
}

/* *msg returns owned. */
static int hear(struct talk *t, Vtpm__Message **msg)
{
    int err;

    while ((err = channel_next(t->ch, msg, t->why)) == VT_EAGAIN) {
        err = receive(t);
        if (err)
            return err;
    }
    return err;
}

static int greet(struct talk *t)
{
    Vtpm__Hello hello = VTPM__HELLO__INIT;
    char software[] = "vtpm-server " VTPM_VERSION;
    Vtpm__Message *msg = NULL;
    int err;

    hello.version = 2;
    hello.software = software;
    err = say(t, VTPM__MESSAGE__BODY_HELLO, &hello);
    if (!err)
        err = hear(t, &msg);
    channel_message_free(msg);
    if (!err && channel_version(t->ch) < 2)
        err = vt_fail(t->why, VT_ENOTSUP, "it is an older vtpm-server, which hands nothing over");
    return err;
}

/* A fatal Error says that the channel ends, not how the question was answered. */
static int take_error(struct talk *t, const Vtpm__Error *error)
{
    struct peer_talk *what = t->what;

    snprintf(what->text, sizeof what->text, "%s", error->text && *error->text ? error->text : "no reason was given");
    if (error->fatal)
        return vt_fail(t->why, VT_ECLOSED, "it closed the channel: %s", what->text);
    what->answer = (struct handoff_answer){.err = error->code && error->code < 1000 ? -(int)error->code : VT_EFAIL,
                                           .text = what->text};
    return VT_OK;
}

static int take_part(struct talk *t, const Vtpm__PeerAnswer *answer, size_t *have)
{
    struct peer_talk *what = t->what;

    if (!what->bundle) {
        if (answer->size > BUNDLE_MAX)
            return vt_fail(t->why, VT_ETOOBIG, "it sends %u bytes", (unsigned)answer->size);
        what->answer.len = answer->size;
        what->bundle = vt_calloc(1, answer->size ? answer->size : 1);
        if (!what->bundle)
            return VT_ENOMEM;
        what->answer.bundle = what->bundle;
    }
    if (answer->data.len > what->answer.len - *have || (!answer->data.len && *have < what->answer.len))
        return vt_fail(t->why, VT_EPROTO, "it sends parts that do not fit");
    if (answer->data.len)
        memcpy(what->bundle + *have, answer->data.data, answer->data.len);
    *have += answer->data.len;
    return VT_OK;
}

static int take_answer(struct talk *t, const Vtpm__Message *msg, size_t *have)
{
    const Vtpm__PeerAnswer *answer = msg->peer_answer;
    struct peer_talk *what = t->what;

    if (msg->body_case == VTPM__MESSAGE__BODY_ERROR)
        return take_error(t, msg->error);
    if (!what->bundle) {
        what->answer.has_left = answer->has_left;
        what->answer.seq = answer->seq;
        what->answer.version = answer->state_version;
        snprintf(what->answer.name, sizeof what->answer.name, "%s", answer->name ? answer->name : "");
    }
    return answer->size ? take_part(t, answer, have) : VT_OK;
}

/* The question itself, or what is still missing of the answer. */
static int ask(struct talk *t, size_t *have)
{
    Vtpm__PeerAsk ask;
    Vtpm__Message *msg = NULL;
    int err;

    vtpm__peer_ask__init(&ask);
    ask.what_case = *have ? VTPM__PEER_ASK__WHAT_READ
                          : t->what->ask.claim ? VTPM__PEER_ASK__WHAT_CLAIM : VTPM__PEER_ASK__WHAT_LOOK;
    if (*have)
        ask.read = (uint32_t)*have;
    else
        ask.look = (ProtobufCBinaryData){.data = t->what->ask.ticket, .len = sizeof t->what->ask.ticket};
    err = say(t, VTPM__MESSAGE__BODY_PEER_ASK, &ask);
    if (!err)
        err = hear(t, &msg);
    if (!err)
        err = take_answer(t, msg, have);
    channel_message_free(msg);
    return err;
}

static int converse(struct talk *t)
{
    size_t have = 0;
    int err = shake(t);

    if (!err)
        err = greet(t);
    do {
        if (!err)
            err = ask(t, &have);
    } while (!err && !t->what->answer.err && have < t->what->answer.len);
    if (!err) {
        channel_close(t->ch);
        (void)!flush(t);
    }
    return err;
}

int peer_talk(struct peer_talk *what, struct broker *broker, unsigned patience_ms, struct vt_why *why)
{
    struct talk t = {.what = what, .fd = -1, .until_ms = now_ms() + patience_ms, .why = why};
    VT_SECRET_KEY psk = {{0}};
    char identity[TLS_IDENTITY_MAX + 1];
    struct tls_config config = {.random = on_random, .identity = identity, .key = &psk};
    int err = door_key(broker, &what->source, identity, sizeof identity, &psk, why);

    what->answer = (struct handoff_answer){.text = what->text};
    if (!err)
        err = reach(&t);
    if (!err)
        err = channel_new(&t.ch, &config);
    if (!err)
        err = converse(&t);
    channel_free(t.ch);
    if (t.fd >= 0)
        close(t.fd);
    return err;
}

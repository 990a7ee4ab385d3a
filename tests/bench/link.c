/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/link.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/base/text.h"
#include "server/wire/cursor.h"

#define READ_MAX 16384
#define HEADER   10

static void put(struct link *link, const uint8_t *bytes, size_t len)
{
    if (!bench_write(link->fd, bytes, len))
        bench_fail("sending", NULL);
}

static void flush(struct link *link, struct vt_buf *out)
{
    put(link, vt_buf_bytes(out), vt_buf_size(out));
    vt_buf_drop(out, vt_buf_size(out));
}

static size_t take(struct link *link, uint8_t bytes[READ_MAX])
{
    ssize_t n;

    do
        n = recv(link->fd, bytes, READ_MAX, 0);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        bench_fail("reading", n ? NULL : "the TPM closed the connection");
    return (size_t)n;
}

/* ---- TLS alone ---- */

static void tls_take(struct link *link)
{
    uint8_t bytes[READ_MAX];
    size_t n = take(link, bytes);

    if (tls_feed(link->tls, bytes, n))
        bench_fail("TLS", "too much at once");
}

static void open_tls(struct link *link, const struct tls_config *config)
{
    struct vt_why why = {{0}};
    int err = tls_new(&link->tls, config);

    if (err)
        bench_fail("TLS", vt_err_text(err));
    while ((err = tls_handshake(link->tls, &why)) == VT_EAGAIN) {
        flush(link, tls_output(link->tls));
        tls_take(link);
    }
    if (err)
        bench_fail("handshake", why.text);
    flush(link, tls_output(link->tls));
}

/* ---- The channel of this server ---- */

static void send_message(struct link *link, const Vtpm__Message *msg)
{
    int err = channel_send(link->ch, msg);

    if (err)
        bench_fail(message_name(msg), vt_err_text(err));
    flush(link, channel_output(link->ch));
}

static void channel_take(struct link *link)
{
    uint8_t bytes[READ_MAX];
    size_t n = take(link, bytes);

    if (channel_feed(link->ch, bytes, n))
        bench_fail("the channel", "too much at once");
}

/* NULL: not there yet. Owned. */
static Vtpm__Message *next_message(struct link *link, Vtpm__Message__BodyCase wanted)
{
    struct vt_why why = {{0}};
    Vtpm__Message *msg = NULL;
    int err = channel_next(link->ch, &msg, &why);

    if (err == VT_EAGAIN)
        return NULL;
    if (err)
        bench_fail("the channel", why.text[0] ? why.text : vt_err_text(err));
    if (msg->body_case == VTPM__MESSAGE__BODY_ERROR)
        bench_fail("the server", msg->error->text);
    if (msg->body_case != wanted)
        bench_fail("an unexpected message", message_name(msg));
    return msg;
}

static void await(struct link *link, Vtpm__Message__BodyCase wanted)
{
    Vtpm__Message *msg;

    while (!(msg = next_message(link, wanted)))
        channel_take(link);
    channel_message_free(msg);
}

static void channel_shake(struct link *link)
{
    struct vt_why why = {{0}};
    int err;

    while ((err = channel_handshake(link->ch, &why)) == VT_EAGAIN) {
        flush(link, channel_output(link->ch));
        channel_take(link);
    }
    if (err)
        bench_fail("handshake", why.text);
    flush(link, channel_output(link->ch));
}

static void greet(struct link *link)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Hello hello = VTPM__HELLO__INIT;
    char software[] = "bench";

    hello.version = 2;
    hello.software = software;
    msg.body_case = VTPM__MESSAGE__BODY_HELLO;
    msg.hello = &hello;
    send_message(link, &msg);
    await(link, VTPM__MESSAGE__BODY_HELLO);
}

static void attach(struct link *link)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Attach attach = VTPM__ATTACH__INIT;
    char front_end[] = "socket";

    attach.stream.data = link->stream;
    attach.stream.len = sizeof link->stream;
    attach.front_end = front_end;
    msg.body_case = VTPM__MESSAGE__BODY_ATTACH;
    msg.attach = &attach;
    send_message(link, &msg);
    await(link, VTPM__MESSAGE__BODY_ATTACHED);
}

static void power_on(struct link *link)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__PowerOn power = VTPM__POWER_ON__INIT;

    power.startup = VTPM__STARTUP__STARTUP_CLEAR;
    msg.body_case = VTPM__MESSAGE__BODY_POWER_ON;
    msg.power_on = &power;
    send_message(link, &msg);
    await(link, VTPM__MESSAGE__BODY_POWER_RESULT);
}

static void open_channel(struct link *link, const struct tls_config *config)
{
    int err = channel_new(&link->ch, config);

    if (err)
        bench_fail("a channel", vt_err_text(err));
    bench_random(NULL, link->stream, sizeof link->stream);
    channel_shake(link);
    greet(link);
    attach(link);
    power_on(link);
}

static void execute(struct link *link, const uint8_t *command, size_t len)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Execute execute = VTPM__EXECUTE__INIT;

    execute.stream.data = link->stream;
    execute.stream.len = sizeof link->stream;
    execute.n = ++link->n;
    execute.command.data = (uint8_t *)(uintptr_t)command;
    execute.command.len = len;
    msg.body_case = VTPM__MESSAGE__BODY_EXECUTE;
    msg.execute = &execute;
    send_message(link, &msg);
}

static bool channel_receive(struct link *link, uint8_t *rsp, size_t *len)
{
    Vtpm__Message *msg;

    channel_take(link);
    msg = next_message(link, VTPM__MESSAGE__BODY_RESPONSE);
    if (!msg)
        return false;
    *len = VT_MIN(msg->response->response.len, (size_t)LINK_MAX);
    memcpy(rsp, msg->response->response.data, *len);
    channel_message_free(msg);
    return true;
}

/* ---- Any of them ---- */

void link_open(struct link *link, enum link_kind kind, const char *address, const char *identity, const char *key)
{
    struct vt_key secret;
    struct tls_config config = {.random = bench_random, .identity = identity, .key = &secret};

    *link = (struct link){.kind = kind, .fd = bench_connect(address)};
    vt_buf_init(&link->in, 2 * READ_MAX);
    if (kind == LINK_RAW)
        return;
    if (!identity || !key || !vt_unhex(secret.bytes, sizeof secret.bytes, key))
        bench_fail("open", "an identity and a key of 64 digits are needed");
    if (kind == LINK_TLS)
        open_tls(link, &config);
    else
        open_channel(link, &config);
}

void link_close(struct link *link)
{
    tls_free(link->tls);
    channel_free(link->ch);
    vt_buf_free(&link->in);
    close(link->fd);
}

void link_send(struct link *link, const uint8_t *command, size_t len)
{
    if (link->kind == LINK_VTPM) {
        execute(link, command, len);
    } else if (link->kind == LINK_RAW) {
        put(link, command, len);
    } else {
        if (tls_write(link->tls, command, len))
            bench_fail("TLS", "the output is full");
        flush(link, tls_output(link->tls));
    }
}

/* What has come of a response; true: it is whole. */
static bool whole(struct link *link, uint8_t *rsp, size_t *len)
{
    struct rd r = rd_from(vt_buf_bytes(&link->in), vt_buf_size(&link->in));

    if (vt_buf_size(&link->in) < HEADER)
        return false;
    (void)rd_get16(&r);
    *len = rd_get32(&r);
    if (*len > LINK_MAX || *len < HEADER)
        bench_fail("a response", "its size is not that of a response");
    if (vt_buf_size(&link->in) < *len)
        return false;
    memcpy(rsp, vt_buf_bytes(&link->in), *len);
    vt_buf_drop(&link->in, *len);
    return true;
}

bool link_receive(struct link *link, uint8_t *rsp, size_t *len)
{
    uint8_t bytes[READ_MAX];
    size_t n;
    int err = VT_OK;

    if (link->kind == LINK_VTPM)
        return channel_receive(link, rsp, len);
    if (link->kind == LINK_RAW) {
        n = take(link, bytes);
        err = vt_buf_put(&link->in, bytes, n);
    } else {
        tls_take(link);
        while (!err)
            err = tls_read(link->tls, &link->in);
        err = err == VT_EAGAIN ? VT_OK : err;
    }
    if (err)
        bench_fail("reading", vt_err_text(err));
    return whole(link, rsp, len);
}

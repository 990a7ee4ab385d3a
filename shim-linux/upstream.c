/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/upstream.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "shim-linux/endpoint.h"
#include "shim-linux/stream.h"
#include "shim-linux/upstream_vchan.h"

/* A server that has vanished without a word is noticed after this. */
#define DEAD_PEER_MS  30000u
#define KEEPALIVE_S   10u
#define RECEIVE_CHUNK 16384

struct upstream_row {
    const char *scheme;
    int (*parse)(struct upstream *up, const char *rest, struct vt_why *why);
    int (*connect)(struct upstream *up, struct vt_why *why);
    void (*enter)(void); /* these two may be NULL: before the first connect, and after the last connection */
    void (*leave)(void);
};

/* One attempt or connection. It outlives upstream_close until libuv lets go of it; then up is NULL. */
struct link {
    union stream stream;
    uv_connect_t req;
    struct upstream *up;
};

struct lookup {
    uv_getaddrinfo_t req;
    struct upstream *up; /* NULL: nobody waits for it any more */
};

struct upstream {
    uv_loop_t *loop;
    const struct upstream_row *row;
    struct endpoint at;
    uint32_t domid; /* vchan */
    struct upstream_events events;
    void *ctx;
    struct link *link;
    struct lookup *lookup;
    struct vchan_dial *dial;
    struct addrinfo *addresses; /* of the lookup, freed when the attempt ends */
    const struct addrinfo *next;
    char receive[RECEIVE_CHUNK];
};

/* ---- Connections of all kinds ---- */

static void on_link_closed(uv_handle_t *handle)
{
    vt_free(VT_CONTAINER(handle, struct link, stream));
}

static void forget_addresses(struct upstream *up)
{
    if (up->addresses)
        uv_freeaddrinfo(up->addresses);
    up->addresses = NULL;
    up->next = NULL;
}

void upstream_close(struct upstream *up)
{
    if (up->lookup) {
        up->lookup->up = NULL;
        (void)uv_cancel((uv_req_t *)&up->lookup->req);
        up->lookup = NULL;
    }
    if (up->dial) {
        vchan_dial_cancel(up->dial);
        up->dial = NULL;
    }
    forget_addresses(up);
    if (!up->link)
        return;
    up->link->up = NULL;
    stream_finish(&up->link->stream, on_link_closed);
    up->link = NULL;
}

static void lost(struct upstream *up, const char *reason)
{
    upstream_close(up);
    up->events.closed(up->ctx, reason);
}

static void on_alloc(uv_handle_t *handle, size_t size VT_UNUSED, uv_buf_t *buf)
{
    struct link *link = VT_CONTAINER(handle, struct link, stream);

    *buf = link->up ? uv_buf_init(link->up->receive, RECEIVE_CHUNK) : uv_buf_init(NULL, 0);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct link *link = VT_CONTAINER(stream, struct link, stream);

    if (!link->up || n == 0)
        return;
    if (n < 0)
        lost(link->up, n == UV_EOF ? NULL : uv_strerror((int)n));
    else
        link->up->events.bytes(link->up->ctx, (const uint8_t *)buf->base, (size_t)n);
}

static void set_tcp_options(union stream *stream)
{
    unsigned timeout = DEAD_PEER_MS;
    uv_os_fd_t fd;

    /* Without them it works too, only worse. */
    (void)uv_tcp_nodelay(&stream->tcp, 1);
    (void)uv_tcp_keepalive(&stream->tcp, 1, KEEPALIVE_S);
    if (uv_fileno(&stream->handle, &fd) == 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout);
}

static int try_next_address(struct upstream *up, struct vt_why *why);

static void on_connect(uv_connect_t *req, int status)
{
    struct link *link = VT_CONTAINER(req, struct link, req);
    struct upstream *up = link->up;

    if (!up)
        return;
    if (status && up->next) {
        up->link->up = NULL;
        uv_close(&up->link->stream.handle, on_link_closed);
        up->link = NULL;
        if (try_next_address(up, NULL) == VT_OK)
            return;
    }
    if (!status)
        status = uv_read_start(&link->stream.stream, on_alloc, on_read);
    if (status) {
        lost(up, uv_strerror(status));
        return;
    }
    forget_addresses(up);
    if (link->stream.handle.type == UV_TCP)
        set_tcp_options(&link->stream);
    up->events.connected(up->ctx);
}

static int new_link(struct upstream *up, bool tcp)
{
    struct link *link = VT_NEW(struct link);

    if (!link)
        return VT_ENOMEM;
    if (tcp ? uv_tcp_init(up->loop, &link->stream.tcp) : uv_pipe_init(up->loop, &link->stream.pipe, 0)) {
        vt_free(link);
        return VT_EIO;
    }
    link->up = up;
    up->link = link;
    return VT_OK;
}

void upstream_send(struct upstream *up, struct vt_buf *out)
{
    size_t len = vt_buf_size(out);

    if (!up->link || !len)
        return;
    /* Bytes are missing from here on, whatever the reason was: the reading side is made to tell. */
    if (stream_write(&up->link->stream, vt_buf_bytes(out), len))
        stream_cut(&up->link->stream);
    vt_buf_drop(out, len);
}

/* ---- unix: ---- */

static int parse_unix(struct upstream *up, const char *rest, struct vt_why *why)
{
    return endpoint_parse_unix(&up->at, "--upstream", rest, why);
}

static int connect_unix(struct upstream *up, struct vt_why *why)
{
    int err = new_link(up, false);

    if (err)
        return vt_fail(why, err, "%s", vt_err_text(err));
    uv_pipe_connect(&up->link->req, &up->link->stream.pipe, up->at.path, on_connect);
    return VT_OK;
}

/* ---- tcp: ---- */

static int parse_tcp(struct upstream *up, const char *rest, struct vt_why *why)
{
    return endpoint_parse_tcp(&up->at, "--upstream", rest, false, why);
}

static int try_next_address(struct upstream *up, struct vt_why *why)
{
    const struct addrinfo *address = up->next;
    int err = new_link(up, true);

    if (err)
        return vt_fail(why, err, "%s", vt_err_text(err));
    up->next = address->ai_next;
    err = uv_tcp_connect(&up->link->req, &up->link->stream.tcp, address->ai_addr, on_connect);
    if (!err)
        return VT_OK;
    upstream_close(up);
    return vt_fail(why, VT_EUNREACHED, "%s", uv_strerror(err));
}

static void on_lookup(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct lookup *lookup = VT_CONTAINER(req, struct lookup, req);
    struct upstream *up = lookup->up;
    struct vt_why why = {{0}};

    vt_free(lookup);
    if (!up) {
        uv_freeaddrinfo(found);
        return;
    }
    up->lookup = NULL;
    if (status) {
        lost(up, uv_strerror(status));
        return;
    }
    up->addresses = found;
    up->next = found;
    if (try_next_address(up, &why))
        lost(up, why.text);
}

/* The name is looked up each time: the server may have moved. */
static int connect_tcp(struct upstream *up, struct vt_why *why)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct lookup *lookup = VT_NEW(struct lookup);
    int err;

    if (!lookup)
        return vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    lookup->up = up;
    err = uv_getaddrinfo(up->loop, &lookup->req, on_lookup, up->at.host, up->at.port, &hints);
    if (err) {
        vt_free(lookup);
        return vt_fail(why, VT_EUNREACHED, "%s", uv_strerror(err));
    }
    up->lookup = lookup;
    return VT_OK;
}

/* ---- vchan: ---- */

static int parse_vchan(struct upstream *up, const char *rest, struct vt_why *why)
{
    return upstream_vchan_parse(&up->domid, rest, why);
}

static void on_dialled(void *arg, int fd, const char *reason)
{
    struct upstream *up = arg;
    int err = 0;

    up->dial = NULL;
    if (fd < 0) {
        lost(up, reason);
        return;
    }
    if (new_link(up, false)) {
        close(fd);
        lost(up, vt_err_text(VT_ENOMEM));
        return;
    }
    err = uv_pipe_open(&up->link->stream.pipe, fd);
    if (err)
        close(fd);
    else
        err = uv_read_start(&up->link->stream.stream, on_alloc, on_read);
    if (err)
        lost(up, uv_strerror(err));
    else
        up->events.connected(up->ctx);
}

static int connect_vchan(struct upstream *up, struct vt_why *why)
{
    return vchan_dial(&up->dial, up->loop, up->domid, on_dialled, up, why);
}

/* ---- Which kinds there are ---- */

static const struct upstream_row rows[] = {
    {"unix", parse_unix, connect_unix, NULL, NULL},
    {"tcp", parse_tcp, connect_tcp, NULL, NULL},
    {"vchan", parse_vchan, connect_vchan, upstream_vchan_enter, upstream_vchan_leave},
};

static int find_row(const char *spec, const struct upstream_row **row, struct vt_why *why)
{
    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        if (!endpoint_after(spec, rows[i].scheme))
            continue;
        *row = &rows[i];
        return VT_OK;
    }
    return vt_fail(why, VT_EUSAGE, "--upstream %s: not unix:PATH, tcp:HOST:PORT or vchan:DOMID", spec);
}

int upstream_check(const char *spec, struct vt_why *why)
{
    const struct upstream_row *row = NULL;
    struct upstream scratch;
    int err = find_row(spec, &row, why);

    return err ? err : row->parse(&scratch, endpoint_after(spec, row->scheme), why);
}

int upstream_new(struct upstream **up_out, uv_loop_t *loop, const char *spec, const struct upstream_events *events,
                 void *ctx, struct vt_why *why)
{
    const struct upstream_row *row = NULL;
    struct upstream *up;
    int err = find_row(spec, &row, why);

    if (err)
        return err;
    up = VT_NEW(struct upstream);
    if (!up)
        return vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    *up = (struct upstream){.loop = loop, .row = row, .events = *events, .ctx = ctx};
    err = row->parse(up, endpoint_after(spec, row->scheme), why);
    if (err) {
        vt_free(up);
        return err;
    }
    if (row->enter)
        row->enter();
    *up_out = up;
    return VT_OK;
}

void upstream_free(struct upstream *up)
{
    if (up && up->row->leave)
        up->row->leave();
    vt_free(up);
}

int upstream_connect(struct upstream *up, struct vt_why *why)
{
    return up->row->connect(up, why);
}

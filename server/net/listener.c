/* SPDX-License-Identifier: Apache-2.0 */
#include "server/net/listener.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/log.h"

#define ACCEPT_AT_ONCE 16
#define PAUSE_MS       100
#define BUSY_MS        5

static const struct net_kind kinds[] = {
    {"unix:", unix_parse, unix_bind, unix_accept, unix_unbind},
    {"tcp:", tcp_parse, tcp_bind, tcp_accept, NULL},
    {"vchan", vchan_parse, vchan_bind, vchan_accept, vchan_unbind},
};

int net_addr_parse(struct net_addr *addr, const char *text, struct vt_why *why)
{
    *addr = (struct net_addr){0};
    for (size_t i = 0; i < VT_COUNT(kinds); i++) {
        size_t len = strlen(kinds[i].prefix);
        if (strncmp(text, kinds[i].prefix, len))
            continue;
        addr->kind = &kinds[i];
        return kinds[i].parse(addr, text + len, why);
    }
    return vt_fail(why, VT_EUSAGE, "'%.100s' is not an address: write unix:PATH, tcp:ADDR:PORT or vchan",
                   text);
}

bool net_addr_is_unix(const struct net_addr *addr)
{
    return addr->sa.any.sa_family == AF_UNIX;
}

struct listener {
    uv_poll_t poll;
    uv_timer_t pause;
    int fd;
    int open_handles;
    struct net_addr addr;
    dev_t dev;
    ino_t ino;
    const struct listener_ops *ops;
    void *arg;
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void on_pause_over(uv_timer_t *timer)
{
    struct listener *l = timer->data;

    uv_poll_start(&l->poll, UV_READABLE, on_poll);
}

/* The connection stays in the backlog, and we must not spin on it. */
static void accept_later(struct listener *l, uint64_t delay_ms)
{
    uv_poll_stop(&l->poll);
    uv_timer_start(&l->pause, on_pause_over, delay_ms, 0);
}

/* Out of descriptors or memory. */
static void pause_accepting(struct listener *l, int error)
{
    vt_warning("net: %s: cannot accept: %s", l->addr.text, strerror(error));
    accept_later(l, PAUSE_MS);
}

/* False: nothing more to accept now. */
static bool accept_one(struct listener *l)
{
    struct net_peer peer = {0};
    int fd = l->addr.kind->accept(l->fd, &peer);

    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_accepting(l, errno);
        /* Else that one went away again; with more of them behind it poll calls again. */
        return false;
    }
    l->ops->accept(l->arg, fd, &peer);
    return true;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct listener *l = poll->data;

    (void)events;
    if (status < 0) {
        pause_accepting(l, -status);
        return;
    }
    for (int i = 0; i < ACCEPT_AT_ONCE; i++) {
        if (l->ops->is_ready && !l->ops->is_ready(l->arg)) {
            accept_later(l, BUSY_MS);
            return;
        }
        if (!accept_one(l) || uv_is_closing((uv_handle_t *)&l->poll))
            return;
    }
}

static void unbind(struct listener *l)
{
    close(l->fd);
    if (l->addr.kind->unbind)
        l->addr.kind->unbind(&l->addr, l->dev, l->ino);
}

static void remember_file(struct listener *l)
{
    struct stat st;

    if (net_addr_is_unix(&l->addr) && !lstat(l->addr.sa.un.sun_path, &st)) {
        l->dev = st.st_dev;
        l->ino = st.st_ino;
    }
}

int listener_open(struct listener **listener, uv_loop_t *uv, const struct net_addr *addr,
                  const struct listener_ops *ops, void *arg, struct vt_why *why)
{
    struct listener *l = VT_NEW(struct listener);
    int err;

    if (!l)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    l->addr = *addr;
    l->ops = ops;
    l->arg = arg;
    err = addr->kind->bind(&l->addr, ops, arg, &l->fd, why);
    if (err) {
        vt_free(l);
        return err;
    }
    remember_file(l);
    if (uv_poll_init(uv, &l->poll, l->fd)) {
        unbind(l);
        vt_free(l);
        return vt_fail(why, VT_EIO, "%s: cannot be watched", addr->text);
    }
    uv_timer_init(uv, &l->pause);
    l->poll.data = l->pause.data = l;
    l->open_handles = 2;
    uv_poll_start(&l->poll, UV_READABLE, on_poll);
    *listener = l;
    return VT_OK;
}

const char *listener_text(const struct listener *listener)
{
    return listener->addr.text;
}

static void on_closed(uv_handle_t *handle)
{
    struct listener *l = handle->data;

    if (--l->open_handles == 0)
        vt_free(l);
}

void listener_close(struct listener *l)
{
    if (!l)
        return;
    uv_poll_stop(&l->poll);
    unbind(l);
    uv_close((uv_handle_t *)&l->poll, on_closed);
    uv_close((uv_handle_t *)&l->pause, on_closed);
}

void listeners_finish(void)
{
    vchan_finish();
}

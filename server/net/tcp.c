/* SPDX-License-Identifier: Apache-2.0 */
/* TCP: numeric addresses only, so that what is listened on does not depend on a name server. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/base/text.h"
#include "server/net/listener.h"

/* All guests of a host may come at once. */
#define BACKLOG 1024

static void set_text(struct net_addr *addr)
{
    char host[INET6_ADDRSTRLEN] = "";

    if (addr->sa.any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &addr->sa.in.sin_addr, host, sizeof host);
        snprintf(addr->text, sizeof addr->text, "tcp:%s:%u", host, ntohs(addr->sa.in.sin_port));
    } else {
        inet_ntop(AF_INET6, &addr->sa.in6.sin6_addr, host, sizeof host);
        snprintf(addr->text, sizeof addr->text, "tcp:[%s]:%u", host, ntohs(addr->sa.in6.sin6_port));
    }
}

static bool set_host(struct net_addr *addr, const char *host, bool bracketed, uint16_t port)
{
    if (bracketed) {
        addr->sa.in6.sin6_family = AF_INET6;
        addr->sa.in6.sin6_port = htons(port);
        addr->sa_len = sizeof addr->sa.in6;
        return inet_pton(AF_INET6, host, &addr->sa.in6.sin6_addr) == 1;
    }
    addr->sa.in.sin_family = AF_INET;
    addr->sa.in.sin_port = htons(port);
    addr->sa_len = sizeof addr->sa.in;
    return inet_pton(AF_INET, host, &addr->sa.in.sin_addr) == 1;
}

int tcp_parse(struct net_addr *addr, const char *rest, struct vt_why *why)
{
    bool bracketed = rest[0] == '[';
    const char *start = rest + bracketed;
    const char *end = bracketed ? strchr(start, ']') : strrchr(start, ':');
    const char *colon = end && bracketed ? end + 1 : end;
    char host[INET6_ADDRSTRLEN];
    uint64_t port;

    if (!end || *colon != ':' || (size_t)(end - start) >= sizeof host)
        return vt_fail(why, VT_EUSAGE, "tcp:%.100s: write tcp:ADDR:PORT, an IPv6 address in brackets", rest);
    if (!vt_parse_u64(&port, colon + 1, UINT16_MAX))
        return vt_fail(why, VT_EUSAGE, "tcp:%.100s: '%.20s' is not a port (0 to 65535; 0: any that is free)",
                       rest, colon + 1);
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    if (!set_host(addr, host, bracketed, (uint16_t)port))
        return vt_fail(why, VT_EUSAGE,
                       "tcp:%.100s: '%s' is not an address (numbers, not names: 127.0.0.1, 0.0.0.0, "
                       "[::1], [::])",
                       rest, host);
    set_text(addr);
    return VT_OK;
}

static int bind_failed(const struct net_addr *addr, int error, struct vt_why *why)
{
    if (error == EADDRINUSE)
        return vt_fail(why, VT_ECONFLICT,
                       "%s: port in use: stop the program that has it (ss -ltnp shows it), or choose "
                       "another port",
                       addr->text);
    if (error == EACCES || error == EPERM)
        return vt_fail(why, VT_EUSAGE, "%s: uid %u may not use this port: choose one from 1024 up",
                       addr->text, (unsigned)geteuid());
    if (error == EADDRNOTAVAIL || error == EAFNOSUPPORT)
        return vt_fail(why, VT_EUSAGE, "%s: this host has no such address (ip addr shows those it has)",
                       addr->text);
    return vt_fail(why, VT_EUSAGE, "%s: cannot listen: %s", addr->text, strerror(error));
}

static int set_options(const struct net_addr *addr, int fd)
{
    int on = 1;

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on))
        return -1;
    /* So that 0.0.0.0 and [::] can be listened on with the same port. */
    if (addr->sa.any.sa_family == AF_INET6)
        return setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    return 0;
}

int tcp_bind(struct net_addr *addr, const struct listener_ops *ops, void *arg, int *fd, struct vt_why *why)
{
    int err = VT_OK;

    (void)ops;
    (void)arg;
    *fd = socket(addr->sa.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return bind_failed(addr, errno, why);
    if (set_options(addr, *fd) || bind(*fd, &addr->sa.any, addr->sa_len) || listen(*fd, BACKLOG) ||
        getsockname(*fd, &addr->sa.any, &addr->sa_len)) {
        err = bind_failed(addr, errno, why);
        close(*fd);
        return err;
    }
    set_text(addr);
    return VT_OK;
}

/* A peer that vanishes without a word must not hold its connection for ever: attached ones have no time
 * limit. */
static void keep_alive(int fd)
{
    int on = 1, idle_s = 60, interval_s = 15, count = 4;

    (void)!setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)!setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)!setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    (void)!setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    (void)!setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

static void tell_peer(int fd, const struct sockaddr_storage *from, struct net_peer *peer)
{
    struct net_addr addr = {0};

    keep_alive(fd);
    peer->is_tcp = peer->is_remote = true;
    memcpy(&addr.sa, from, sizeof addr.sa);
    set_text(&addr);
    snprintf(peer->text, sizeof peer->text, "%.*s", (int)sizeof peer->text - 1, addr.text);
    /* Whoever has one IPv6 address has the /64 around it. */
    if (addr.sa.any.sa_family == AF_INET)
        memcpy(peer->group, &addr.sa.in.sin_addr, 4);
    else
        memcpy(peer->group, &addr.sa.in6.sin6_addr, 8);
}

int tcp_accept(int listening, struct net_peer *peer)
{
    struct sockaddr_storage from = {0};
    socklen_t len = sizeof from;
    int fd = accept4(listening, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd >= 0)
        tell_peer(fd, &from, peer);
    return fd;
}

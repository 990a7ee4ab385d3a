/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

void bench_fail(const char *what, const char *why)
{
    fprintf(stderr, "bench_load: %s: %s\n", what, why ? why : strerror(errno));
    exit(1);
}

uint64_t bench_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int bench_random(void *ctx, unsigned char *out, size_t len)
{
    (void)ctx;
    return getrandom(out, len, 0) == (ssize_t)len ? 0 : -1;
}

/* ---- Sockets ---- */

union any_address {
    struct sockaddr any;
    struct sockaddr_un local;
    struct sockaddr_in ip;
};

static int unix_socket(union any_address *addr, socklen_t *len, const char *path)
{
    addr->local.sun_family = AF_UNIX;
    if (strlen(path) >= sizeof addr->local.sun_path)
        bench_fail(path, "a path too long for a socket");
    strcpy(addr->local.sun_path, path);
    *len = sizeof addr->local;
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int tcp_socket(union any_address *addr, socklen_t *len, const char *host_port)
{
    const char *colon = strrchr(host_port, ':');
    char host[INET_ADDRSTRLEN] = "";

    if (!colon || (size_t)(colon - host_port) >= sizeof host)
        bench_fail(host_port, "no ADDRESS:PORT");
    memcpy(host, host_port, (size_t)(colon - host_port));
    addr->ip.sin_family = AF_INET;
    addr->ip.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, host, &addr->ip.sin_addr) != 1)
        bench_fail(host_port, "no IPv4 address");
    *len = sizeof addr->ip;
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int new_socket(union any_address *addr, socklen_t *len, const char *address)
{
    memset(addr, 0, sizeof *addr);
    if (!strncmp(address, "unix:", 5))
        return unix_socket(addr, len, address + 5);
    if (!strncmp(address, "tcp:", 4))
        return tcp_socket(addr, len, address + 4);
    bench_fail(address, "an address is unix:PATH or tcp:ADDRESS:PORT");
}

int bench_connect(const char *address)
{
    union any_address addr;
    socklen_t len = 0;
    int one = 1, fd = new_socket(&addr, &len, address);

    if (fd < 0 || connect(fd, &addr.any, len))
        bench_fail(address, NULL);
    if (addr.any.sa_family == AF_INET)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

int bench_listen(const char *address)
{
    union any_address addr;
    socklen_t len = 0;
    int one = 1, fd = new_socket(&addr, &len, address);

    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, &addr.any, len) || listen(fd, 16))
        bench_fail(address, NULL);
    return fd;
}

bool bench_write(int fd, const uint8_t *bytes, size_t len)
{
    while (len) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer of vtpm-server that keeps no rule but those of TLS: tests/lib/rawpeer.py drives it.
 *
 *   rawpeer unix:PATH|tcp:ADDR:PORT IDENTITY KEY(64 hex)
 *
 * Standard input, a line each: `hello` sends the first flight of the handshake and no more; `handshake` goes on with
 * it; `send HEX` sends these bytes inside TLS; `raw HEX` sends them outside; `close` sends close_notify.
 * Standard output: `open MICROSECONDS`, `refused ERR MICROSECONDS LAST-BYTES`, `data HEX`, `closed` (close_notify),
 * `eof`, and it ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "proto/tls.h"
#include "server/base/text.h"

#define LINE_MAX_HEX (1u << 20)

struct peer {
    int fd;
    struct tls *tls;
    bool in_handshake, is_open;
    uint64_t begun_us;
    uint8_t last[7]; /* an alert in the clear is seven bytes */
    size_t last_len;
};

static char line[LINE_MAX_HEX];
static size_t line_len;

static void fail(const char *what)
{
    fprintf(stderr, "rawpeer: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static int on_random(void *ctx, unsigned char *out, size_t len)
{
    (void)ctx;
    return getrandom(out, len, 0) == (ssize_t)len ? 0 : -1;
}

/* ---- The socket ---- */

static int connect_unix(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr))
        fail(path);
    return fd;
}

static int connect_tcp(const char *host_port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    const char *colon = strrchr(host_port, ':');
    char host[64] = "";
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (!colon || (size_t)(colon - host_port) >= sizeof host)
        fail("the address");
    memcpy(host, host_port, (size_t)(colon - host_port));
    addr.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, host, &addr.sin_addr) != 1 || fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr))
        fail(host_port);
    return fd;
}

static void write_all(struct peer *p, const uint8_t *bytes, size_t len)
{
    while (len) {
        ssize_t n = send(p->fd, bytes, len, MSG_NOSIGNAL);

        if (n < 0)
            return; /* the server has closed: reading tells */
        bytes += n;
        len -= (size_t)n;
    }
}

static void flush(struct peer *p)
{
    struct vt_buf *out = tls_output(p->tls);

    write_all(p, vt_buf_bytes(out), vt_buf_size(out));
    vt_buf_drop(out, vt_buf_size(out));
}

/* ---- What is told ---- */

static void print_hex(const char *word, const uint8_t *bytes, size_t len)
{
    printf("%s ", word);
    for (size_t i = 0; i < len; i++)
        printf("%02x", bytes[i]);
    printf("\n");
}

static void handshake(struct peer *p)
{
    struct vt_why why = {""};
    int err = tls_handshake(p->tls, &why);
    unsigned long long us = now_us() - p->begun_us;

    flush(p);
    if (err == VT_EAGAIN)
        return;
    p->in_handshake = false;
    p->is_open = !err;
    if (!err) {
        printf("open %llu\n", us);
        return;
    }
    printf("refused %d %llu", err, us);
    print_hex("", p->last, p->last_len);
}

static void read_plain(struct peer *p)
{
    struct vt_buf plain;
    int err = VT_OK;

    vt_buf_init(&plain, 1u << 20);
    while (!err)
        err = tls_read(p->tls, &plain);
    if (vt_buf_size(&plain))
        print_hex("data", vt_buf_bytes(&plain), vt_buf_size(&plain));
    vt_buf_free(&plain);
    if (err == VT_EAGAIN)
        return;
    printf(err == VT_ECLOSED ? "closed\n" : "broken\n");
    p->is_open = false;
}

static void on_socket(struct peer *p)
{
    uint8_t bytes[8192];
    ssize_t n = recv(p->fd, bytes, sizeof bytes, 0);

    if (n <= 0) {
        if (p->in_handshake)
            handshake(p);
        printf("eof\n");
        exit(0);
    }
    p->last_len = VT_MIN((size_t)n, sizeof p->last);
    memcpy(p->last, bytes + n - p->last_len, p->last_len);
    if (tls_feed(p->tls, bytes, (size_t)n))
        fail("too much at once");
    if (p->in_handshake)
        handshake(p);
    if (p->is_open)
        read_plain(p);
}

/* ---- What is asked ---- */

static void send_hex(struct peer *p, const char *hex, bool inside)
{
    static uint8_t bytes[LINE_MAX_HEX / 2];
    size_t len = strlen(hex) / 2;

    if (!vt_unhex(bytes, len, hex))
        fail("hexadecimal digits");
    if (!inside)
        write_all(p, bytes, len);
    else if (tls_write(p->tls, bytes, len))
        fail("tls_write");
    flush(p);
}

static void obey(struct peer *p, const char *text)
{
    struct vt_why why = {""};

    if (!strcmp(text, "hello")) {
        p->begun_us = now_us();
        if (tls_handshake(p->tls, &why) == VT_EAGAIN)
            flush(p);
    } else if (!strcmp(text, "handshake")) {
        p->begun_us = now_us();
        p->in_handshake = true;
        handshake(p);
    } else if (!strncmp(text, "send ", 5)) {
        send_hex(p, text + 5, true);
    } else if (!strncmp(text, "raw ", 4)) {
        send_hex(p, text + 4, false);
    } else if (!strcmp(text, "close")) {
        tls_close(p->tls);
        flush(p);
    } else {
        fail(text);
    }
}

static void on_input(struct peer *p)
{
    ssize_t n = read(STDIN_FILENO, line + line_len, sizeof line - line_len - 1);
    char *end;

    if (n <= 0)
        exit(0);
    line_len += (size_t)n;
    while ((end = memchr(line, '\n', line_len))) {
        size_t used = (size_t)(end - line) + 1;

        *end = '\0';
        obey(p, line);
        line_len -= used;
        memmove(line, line + used, line_len);
    }
}

int main(int argc, char **argv)
{
    struct vt_key key;
    struct tls_config config = {.random = on_random, .key = &key};
    struct peer p = {.fd = -1};

    if (argc != 4 || !vt_unhex(key.bytes, sizeof key.bytes, argv[3]))
        fail("usage: rawpeer ADDRESS IDENTITY KEY");
    setvbuf(stdout, NULL, _IOLBF, 0);
    config.identity = argv[2];
    if (tls_new(&p.tls, &config))
        fail("tls_new");
    p.fd = strncmp(argv[1], "unix:", 5) ? connect_tcp(argv[1] + 4) : connect_unix(argv[1] + 5);
    for (;;) {
        struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = p.fd, .events = POLLIN}};

        if (poll(fds, 2, -1) < 0)
            fail("poll");
        if (fds[1].revents)
            on_socket(&p);
        if (fds[0].revents)
            on_input(&p);
    }
}

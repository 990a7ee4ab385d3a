/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many guests in one process: a relay, as a shim has it, for each credential of a list. tests/lib/crowd.py drives it.
 *
 *   crowd unix:PATH|tcp:ADDR:PORT LIST        LIST: lines of "UUID KEY(64 hex)"
 *
 * Standard input, a line each; what is asked is answered by one line when it is over:
 *   attach N      the first N connect, attach and power on: `attached N MILLISECONDS`
 *   lost          waits until one of them has lost its connection: `lost`
 *   back          waits until all are attached again: `back N MILLISECONDS`, from the first loss
 *   run HEX       this command by each that is attached: `ran N MILLISECONDS P50 P99 MAX WRONG`, microseconds
 *   one K HEX     by number K: `one MICROSECONDS RC`
 *   drops         `drops N`: connections lost so far
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "proto/relay.h"
#include "server/base/alloc.h"
#include "server/base/text.h"

#define INPUT 16384
#define EVENTS 128

struct guest {
    struct relay *relay;
    int fd;
    bool is_connecting;
    char identity[VT_UUID_TEXT];
    struct vt_key key;
    uint64_t wake_ms;
    uint64_t asked_us; /* 0: nothing under way */
};

enum wait { NOTHING, ATTACH, LOST, BACK, RUN, ONE };

static struct crowd {
    struct sockaddr_storage addr;
    socklen_t addr_len;
    struct guest *guests;
    size_t count, used;
    int epoll;
    enum wait wait;
    uint64_t begun_us;
    uint64_t lost_us; /* the first loss since all were there; 0: none */
    size_t drops, asked, answered, wrong;
    uint64_t *took_us;
    uint32_t rc;
} crowd;

static void fail(const char *what)
{
    fprintf(stderr, "crowd: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static uint64_t now_ms(void)
{
    return now_us() / 1000;
}

static int on_random(void *ctx, unsigned char *out, size_t len)
{
    (void)ctx;
    return getrandom(out, len, 0) == (ssize_t)len ? 0 : -1;
}

/* ---- Connections ---- */

static void watch(struct guest *g, uint32_t events, int how)
{
    struct epoll_event event = {.events = events, .data.ptr = g};

    if (epoll_ctl(crowd.epoll, how, g->fd, &event))
        fail("epoll_ctl");
}

static void hang_up(struct guest *g, const char *why)
{
    if (g->fd >= 0)
        close(g->fd);
    g->fd = -1;
    g->is_connecting = false;
    relay_disconnected(g->relay, now_ms(), why);
}

static void call(struct guest *g)
{
    g->fd = socket(crowd.addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (g->fd < 0)
        fail("socket");
    if (!connect(g->fd, (struct sockaddr *)&crowd.addr, crowd.addr_len)) {
        watch(g, EPOLLIN, EPOLL_CTL_ADD);
        relay_connected(g->relay, now_ms());
    } else if (errno == EINPROGRESS) {
        g->is_connecting = true;
        watch(g, EPOLLOUT, EPOLL_CTL_ADD);
    } else {
        hang_up(g, strerror(errno));
    }
}

static void flush(struct guest *g)
{
    struct vt_buf *out = relay_output(g->relay);
    ssize_t n;

    if (!out || g->fd < 0 || g->is_connecting || !vt_buf_size(out))
        return;
    n = send(g->fd, vt_buf_bytes(out), vt_buf_size(out), MSG_NOSIGNAL);
    if (n > 0)
        vt_buf_drop(out, (size_t)n);
    watch(g, EPOLLIN | (vt_buf_size(out) ? EPOLLOUT : 0u), EPOLL_CTL_MOD);
}

static void take_response(struct guest *g)
{
    const uint8_t *bytes;
    size_t len;

    if (!g->asked_us || !relay_response(g->relay, &bytes, &len))
        return;
    crowd.rc = len < 10 ? UINT32_MAX
                        : (uint32_t)bytes[6] << 24 | (uint32_t)bytes[7] << 16 | (uint32_t)bytes[8] << 8 | bytes[9];
    crowd.wrong += crowd.rc != 0;
    crowd.took_us[crowd.answered++] = now_us() - g->asked_us;
    g->asked_us = 0;
    relay_answered(g->relay);
}

static void drive(struct guest *g)
{
    enum relay_act act;

    do {
        take_response(g);
        act = relay_drive(g->relay, now_ms(), &g->wake_ms);
        flush(g);
        if (act == RELAY_CONNECT)
            call(g);
        if (act == RELAY_CLOSE)
            hang_up(g, NULL);
        if (act == RELAY_ENDED)
            fail("the server ended a guest's relay");
    } while (act != RELAY_WAIT);
}

static void lost(struct guest *g)
{
    if (relay_attached(g->relay)) {
        crowd.drops++;
        if (!crowd.lost_us)
            crowd.lost_us = now_us();
    }
    hang_up(g, "closed");
}

static void on_event(struct guest *g, uint32_t events)
{
    uint8_t bytes[INPUT];
    ssize_t n;

    if (g->fd < 0)
        return;
    if (g->is_connecting) {
        int error = 0;
        socklen_t len = sizeof error;

        g->is_connecting = false;
        if (getsockopt(g->fd, SOL_SOCKET, SO_ERROR, &error, &len) || error) {
            hang_up(g, strerror(error));
        } else {
            watch(g, EPOLLIN, EPOLL_CTL_MOD);
            relay_connected(g->relay, now_ms());
        }
    } else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        n = recv(g->fd, bytes, sizeof bytes, 0);
        if (n > 0)
            relay_bytes(g->relay, now_ms(), bytes, (size_t)n);
        else if (n == 0 || errno != EAGAIN)
            lost(g);
    }
    drive(g);
}

/* ---- What is asked ---- */

static void start(struct guest *g)
{
    struct relay_config config = {
        .tls = {.random = on_random, .identity = g->identity, .key = &g->key},
        .server = "the server",
        .software = "crowd",
        .front_end = "socket",
        .startup = VTPM__STARTUP__STARTUP_CLEAR,
    };

    on_random(NULL, config.stream, sizeof config.stream);
    if (relay_new(&g->relay, &config))
        fail("relay_new");
    drive(g);
}

static size_t attached(void)
{
    size_t n = 0;

    for (size_t k = 0; k < crowd.used; k++)
        n += relay_attached(crowd.guests[k].relay);
    return n;
}

static void submit(struct guest *g, const char *hex)
{
    uint8_t command[4096];
    size_t len = strlen(hex) / 2;

    if (len > sizeof command || !vt_unhex(command, len, hex))
        fail("hexadecimal digits");
    if (relay_submit(g->relay, now_ms(), 0, command, len))
        fail("relay_submit");
    g->asked_us = now_us();
    crowd.asked++;
    drive(g);
}

static void begin(enum wait wait)
{
    crowd.wait = wait;
    crowd.begun_us = now_us();
    crowd.asked = crowd.answered = crowd.wrong = 0;
}

static void obey(char *text)
{
    unsigned long k;

    if (!strncmp(text, "attach ", 7)) {
        begin(ATTACH);
        for (k = strtoul(text + 7, NULL, 10); crowd.used < k && crowd.used < crowd.count;)
            start(&crowd.guests[crowd.used++]);
    } else if (!strcmp(text, "lost")) {
        begin(LOST);
    } else if (!strcmp(text, "back")) {
        begin(BACK);
    } else if (!strncmp(text, "run ", 4)) {
        begin(RUN);
        for (size_t i = 0; i < crowd.used; i++)
            submit(&crowd.guests[i], text + 4);
    } else if (!strncmp(text, "one ", 4)) {
        begin(ONE);
        k = strtoul(text + 4, &text, 10);
        if (k >= crowd.used)
            fail("one: no such guest");
        submit(&crowd.guests[k], text + 1);
    } else if (!strcmp(text, "drops")) {
        printf("drops %zu\n", crowd.drops);
    } else {
        fail(text);
    }
}

static int by_size(const void *a, const void *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

static void print_run(void)
{
    size_t n = crowd.answered;

    qsort(crowd.took_us, n, sizeof *crowd.took_us, by_size);
    printf("ran %zu %llu %llu %llu %llu %zu\n", n, (unsigned long long)(now_us() - crowd.begun_us) / 1000,
           (unsigned long long)crowd.took_us[n / 2], (unsigned long long)crowd.took_us[n - 1 - n / 100],
           (unsigned long long)crowd.took_us[n - 1], crowd.wrong);
}

/* Is what was asked over? Then it is answered. */
static void answer(void)
{
    enum wait wait = crowd.wait;

    crowd.wait = NOTHING;
    if (wait == ATTACH && attached() == crowd.used)
        printf("attached %zu %llu\n", crowd.used, (unsigned long long)(now_us() - crowd.begun_us) / 1000);
    else if (wait == LOST && crowd.lost_us)
        printf("lost\n");
    else if (wait == BACK && attached() == crowd.used)
        printf("back %zu %llu\n", crowd.used,
               (unsigned long long)(crowd.lost_us ? now_us() - crowd.lost_us : 0) / 1000);
    else if (wait == RUN && crowd.asked && crowd.answered == crowd.asked)
        print_run();
    else if (wait == ONE && crowd.answered == crowd.asked)
        printf("one %llu %u\n", (unsigned long long)crowd.took_us[0], crowd.rc);
    else
        crowd.wait = wait;
    if (wait == BACK && crowd.wait == NOTHING)
        crowd.lost_us = 0;
}

/* ---- Begin ---- */

static void read_address(const char *text)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr_in in = {.sin_family = AF_INET};
    char host[64] = "";
    const char *colon = strrchr(text, ':');

    if (!strncmp(text, "unix:", 5)) {
        snprintf(un.sun_path, sizeof un.sun_path, "%s", text + 5);
        memcpy(&crowd.addr, &un, sizeof un);
        crowd.addr_len = sizeof un;
        return;
    }
    if (strncmp(text, "tcp:", 4) || colon < text + 4 || (size_t)(colon - text - 4) >= sizeof host)
        fail("the address");
    memcpy(host, text + 4, (size_t)(colon - text - 4));
    in.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, host, &in.sin_addr) != 1)
        fail("the address");
    memcpy(&crowd.addr, &in, sizeof in);
    crowd.addr_len = sizeof in;
}

static void read_list(const char *path)
{
    FILE *f = fopen(path, "r");
    char line[256];

    if (!f)
        fail(path);
    while (fgets(line, sizeof line, f)) {
        struct guest *g, *more = vt_realloc(crowd.guests, (crowd.count + 1) * sizeof *more);

        if (!more)
            fail(path);
        crowd.guests = more;
        g = &more[crowd.count++];
        memset(g, 0, sizeof *g);
        g->fd = -1;
        if (strlen(line) < 36 + 1 + 64 || !vt_unhex(g->key.bytes, sizeof g->key.bytes, (line[101] = '\0', line + 37)))
            fail("a line of the list");
        memcpy(g->identity, line, 36);
    }
    fclose(f);
    crowd.took_us = vt_calloc(crowd.count, sizeof *crowd.took_us);
    if (!crowd.took_us)
        fail(path);
}

static uint64_t next_wake(uint64_t now)
{
    uint64_t wake = now + 1000;

    for (size_t k = 0; k < crowd.used; k++) {
        struct guest *g = &crowd.guests[k];

        if (g->wake_ms <= now)
            drive(g);
        wake = VT_MIN(wake, g->wake_ms);
    }
    return wake;
}

static bool read_input(void)
{
    static char line[65536];
    static size_t have;
    char *end;
    ssize_t n = read(STDIN_FILENO, line + have, sizeof line - have - 1);

    if (n <= 0)
        return false;
    have += (size_t)n;
    while ((end = memchr(line, '\n', have))) {
        size_t used = (size_t)(end - line) + 1;

        *end = '\0';
        obey(line);
        have -= used;
        memmove(line, line + used, have);
    }
    return true;
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS], input = {.events = EPOLLIN};
    struct rlimit files;

    if (argc != 3)
        fail("usage: crowd ADDRESS LIST");
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    read_address(argv[1]);
    read_list(argv[2]);
    crowd.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ctl(crowd.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input))
        fail("epoll_ctl");
    for (;;) {
        uint64_t now = now_ms(), wake = next_wake(now);
        int n = epoll_wait(crowd.epoll, events, EVENTS, (int)(wake > now ? wake - now : 0));

        for (int k = 0; k < n; k++) {
            if (events[k].data.ptr)
                on_event(events[k].data.ptr, events[k].events);
            else if (!read_input())
                return 0;
        }
        if (crowd.wait != NOTHING)
            answer();
    }
}

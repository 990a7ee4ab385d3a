/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "server_thread.h"

struct server server = {.lock = PTHREAD_MUTEX_INITIALIZER, .listener = -1};

void server_init(const char *path)
{
    snprintf(server.path, sizeof server.path, "%s", path);
    assert_int_equal(pipe2(server.wake, O_CLOEXEC), 0);
}

static void drop(int i)
{
    close(server.fds[i]);
    fake_close(server.conns[i]);
    server.fds[i] = -1;
    server.conns[i] = NULL;
}

static void flush(int i)
{
    struct vt_buf *out = fake_output(server.conns[i]);
    ssize_t n = send(server.fds[i], vt_buf_bytes(out), vt_buf_size(out), MSG_NOSIGNAL);

    if (n > 0)
        vt_buf_drop(out, (size_t)n);
}

static void serve(int i)
{
    uint8_t bytes[4096];
    ssize_t n = recv(server.fds[i], bytes, sizeof bytes, 0);
    bool more = n > 0 && fake_bytes(server.conns[i], bytes, (size_t)n);

    if (n > 0)
        flush(i);
    if (!more)
        drop(i);
}

static void accept_one(void)
{
    int fd = accept(server.listener, NULL, NULL);

    for (int i = 0; i < CONNECTIONS && fd >= 0; i++)
        if (server.fds[i] < 0) {
            server.fds[i] = fd;
            server.conns[i] = fake_open(&server.fake);
            return;
        }
    close(fd);
}

static void obey(void)
{
    for (int i = 0; i < CONNECTIONS; i++) {
        const bool is_fenced = server.fds[i] >= 0 && server.fence && (!server.fenced || fake_of(server.conns[i]) == server.fenced);

        if (is_fenced) {
            fake_refuse(server.conns[i], VT_EFENCED, "taken over by another shim");
            flush(i);
        }
        if (is_fenced || (server.fds[i] >= 0 && server.drop_all))
            drop(i);
    }
    server.drop_all = server.fence = false;
}

static void *server_main(void *arg VT_UNUSED)
{
    struct pollfd fds[CONNECTIONS + 2];
    bool stop;
    char byte;

    for (;;) {
        for (int i = 0; i < CONNECTIONS; i++)
            fds[i] = (struct pollfd){.fd = server.fds[i], .events = POLLIN};
        fds[CONNECTIONS] = (struct pollfd){.fd = server.listener, .events = POLLIN};
        fds[CONNECTIONS + 1] = (struct pollfd){.fd = server.wake[0], .events = POLLIN};
        poll(fds, CONNECTIONS + 2, -1);
        pthread_mutex_lock(&server.lock);
        if (fds[CONNECTIONS + 1].revents)
            (void)!read(server.wake[0], &byte, 1);
        for (int i = 0; i < CONNECTIONS; i++)
            if (fds[i].revents && server.fds[i] >= 0)
                serve(i);
        obey();
        if (fds[CONNECTIONS].revents & POLLIN)
            accept_one();
        stop = server.stop;
        pthread_mutex_unlock(&server.lock);
        if (stop)
            return NULL;
    }
}

static void server_listen(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    for (int i = 0; i < CONNECTIONS; i++)
        server.fds[i] = -1;
    memcpy(addr.sun_path, server.path, strlen(server.path) + 1);
    unlink(server.path);
    server.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server.listener, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(listen(server.listener, 8), 0);
}

/* Connections and the listener go; the fake keeps its record, as a restarted server does. */
void server_stop(void)
{
    pthread_mutex_lock(&server.lock);
    server.stop = true;
    pthread_mutex_unlock(&server.lock);
    assert_int_equal(write(server.wake[1], "x", 1), 1);
    pthread_join(server.thread, NULL);
    server.stop = false;
    for (int i = 0; i < CONNECTIONS; i++)
        if (server.fds[i] >= 0)
            drop(i);
    close(server.listener);
    server.listener = -1;
}

void server_start(void)
{
    server_listen();
    assert_int_equal(pthread_create(&server.thread, NULL, server_main, NULL), 0);
}

void server_do(bool *what)
{
    pthread_mutex_lock(&server.lock);
    *what = true;
    pthread_mutex_unlock(&server.lock);
    assert_int_equal(write(server.wake[1], "x", 1), 1);
}

/* What the fake has counted or is to do, read or set while its thread runs. */
unsigned fake_get(const unsigned *count)
{
    unsigned value;

    pthread_mutex_lock(&server.lock);
    value = *count;
    pthread_mutex_unlock(&server.lock);
    return value;
}

unsigned fake_await(const unsigned *count, unsigned at_least)
{
    const struct timespec nap = {0, 10 * 1000 * 1000};

    for (int i = 0; i < 1000 && fake_get(count) < at_least; i++)
        nanosleep(&nap, NULL);
    return fake_get(count);
}

void fake_set(bool *flag, bool value)
{
    pthread_mutex_lock(&server.lock);
    *flag = value;
    pthread_mutex_unlock(&server.lock);
}

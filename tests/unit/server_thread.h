/* SPDX-License-Identifier: Apache-2.0 */
/* fake_server.h on a Unix socket, in a thread of its own: for tests of whole programs. */
#ifndef VTPM_TESTS_SERVER_THREAD_H
#define VTPM_TESTS_SERVER_THREAD_H

#include <pthread.h>

#include "fake_server.h"

#define CONNECTIONS 8

struct server {
    pthread_t thread;
    pthread_mutex_t lock;
    struct fake fake;
    char path[64];
    int listener;
    int wake[2];
    bool stop;
    bool drop_all;          /* close every connection now */
    bool fence;             /* with Error{taken over}, those of `fenced` */
    const struct fake *fenced; /* NULL: all */
    int fds[CONNECTIONS];
    struct fake_conn *conns[CONNECTIONS];
};

extern struct server server;

/* Once, with the path. */
void server_init(const char *path);
void server_start(void);
/* Connections and the listener go; the fake keeps its record, as a restarted server does. */
void server_stop(void);
/* Sets one of the flags above. */
void server_do(bool *what);
/* What a fake has counted or is to do, read or set while the thread runs. */
unsigned fake_get(const unsigned *count);
/* The same once the thread has come so far (10 s at most): what a shim says as it leaves is heard after it left. */
unsigned fake_await(const unsigned *count, unsigned at_least);
void fake_set(bool *flag, bool value);

#endif

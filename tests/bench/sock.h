/* SPDX-License-Identifier: Apache-2.0 */
/* What both programs of the bench stand on: sockets that block, the clock, and an end with a reason. One thread. */
#ifndef VTPM_TESTS_BENCH_SOCK_H
#define VTPM_TESTS_BENCH_SOCK_H

#include "server/base/base.h"

/* Ends the program; why: NULL for errno's text. */
void bench_fail(const char *what, const char *why) __attribute__((noreturn));
uint64_t bench_now_ns(void);
int bench_random(void *ctx, unsigned char *out, size_t len);
/* A connected socket; address is "unix:PATH" or "tcp:IPV4:PORT". */
int bench_connect(const char *address);
/* Bound and listening. */
int bench_listen(const char *address);
/* All of it. False: the peer has gone. */
bool bench_write(int fd, const uint8_t *bytes, size_t len);

#endif

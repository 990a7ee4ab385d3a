/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to a TPM, for the load generator: TPM bytes in the clear (swtpm, vtpm-shim), inside TLS-PSK alone (our
 * echo), or in the messages of this server's channel. One command at a time. Sockets block; what goes wrong ends the
 * program and says why, since a bench has no use for half a figure. One thread.
 */
#ifndef VTPM_TESTS_BENCH_LINK_H
#define VTPM_TESTS_BENCH_LINK_H

#include "proto/channel.h"
#include "proto/message.h"
#include "tests/bench/sock.h"

#define LINK_MAX 4096 /* bytes of a command and of a response */

enum link_kind {
    LINK_RAW,
    LINK_TLS,
    LINK_VTPM
};

struct link {
    enum link_kind kind;
    int fd;
    struct tls *tls;        /* LINK_TLS */
    struct channel *ch;     /* LINK_VTPM */
    struct vt_buf in;       /* plain bytes of a response that is not whole yet */
    uint8_t stream[MESSAGE_STREAM];
    uint64_t n;
};

/* Connects; of LINK_VTPM also attaches and powers on. identity and key (64 hex digits) are borrowed; NULL for LINK_RAW. */
void link_open(struct link *link, enum link_kind kind, const char *address, const char *identity, const char *key);
void link_close(struct link *link);
/* A whole command. */
void link_send(struct link *link, const uint8_t *command, size_t len);
/* Reads once, so blocks if there is nothing; true: rsp[0..*len) is the response, of at most LINK_MAX bytes. */
bool link_receive(struct link *link, uint8_t *rsp, size_t *len);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS 1.2 ECDHE-PSK-CHACHA20-POLY1305 (0xCCAC) on P-256, and nothing else, as a machine without I/O: ciphertext goes
 * in and comes out as bytes, so it runs over any transport and in a Mini-OS domain. No tickets, no session cache, no
 * renegotiation. Works on mbedTLS 2.28 and 3.6. One thread at a time per struct tls.
 */
#ifndef VTPM_PROTO_TLS_H
#define VTPM_PROTO_TLS_H

#include "server/base/buf.h"
#include "server/base/secret.h"

#define TLS_IDENTITY_MAX 79

struct tls;

/* Fills out with len random bytes; 0 or negative. Any thread that runs the handshake. */
typedef int (*tls_random_fn)(void *ctx, unsigned char *out, size_t len);
/*
 * Server: the key for an identity (NUL-terminated, at most TLS_IDENTITY_MAX, printable ASCII). Must always give a
 * key: for an unknown or disabled identity a decoy, with *known = false, so that the peer sees the same alert after
 * the same work as for a wrong key.
 */
typedef void (*tls_psk_fn)(void *ctx, const char *identity, struct vt_key *key, bool *known);
/* What lies here means nothing any more and may be lost: whole pages of it can go back to the system. */
typedef void (*tls_spare_fn)(void *at, size_t len);

struct tls_config {
    bool server;
    tls_random_fn random;
    void *random_ctx;
    /* client */
    const char *identity;
    const struct vt_key *key;       /* copied */
    /* server */
    tls_psk_fn psk;
    void *psk_ctx;
    tls_spare_fn spare;             /* on the thread of the handshake, when it is over; NULL: kept */
};

/* Returns owned (tls_free). Copies what it needs of the configuration. */
int tls_new(struct tls **tls, const struct tls_config *config) VT_USE_RESULT;
/* Wipes; may be NULL. */
void tls_free(struct tls *tls);

/* Ciphertext from the peer. VT_ETOOBIG if it sends faster than it is read. */
int tls_feed(struct tls *tls, const void *bytes, size_t len) VT_USE_RESULT;
/* Ciphertext for the peer: borrow with vt_buf_bytes, then vt_buf_drop what was sent. */
struct vt_buf *tls_output(struct tls *tls);

/* Goes on with the handshake: VT_OK done, VT_EAGAIN needs bytes from the peer, VT_EAUTH (wrong key, unknown
 * identity), VT_EPROTO, VT_ENOMEM. After an error send tls_output (the alert), then close. The public-key work is
 * in here: run it on a worker. */
int tls_handshake(struct tls *tls, struct vt_why *why) VT_USE_RESULT;
bool tls_is_open(const struct tls *tls);
/* Server, after the handshake began: the identity the peer named, "" before; and whether the key callback knew it. */
const char *tls_identity(const struct tls *tls);
bool tls_identity_known(const struct tls *tls);

/* Plaintext into `out`: VT_OK (some was appended), VT_EAGAIN (nothing now), VT_ECLOSED (close_notify), VT_EPROTO. */
int tls_read(struct tls *tls, struct vt_buf *out) VT_USE_RESULT;
/* All of it is encrypted into tls_output. */
int tls_write(struct tls *tls, const void *bytes, size_t len) VT_USE_RESULT;
/* Queues close_notify. */
void tls_close(struct tls *tls);

#endif

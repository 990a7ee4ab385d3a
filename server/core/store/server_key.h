/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key pair of this store, by which other servers' stores know it, and the one line of text in which the public part
 * travels (docs/moving.md). Its private part is sealed under a key derived from the master key.
 */
#ifndef VTPM_CORE_SERVER_KEY_H
#define VTPM_CORE_SERVER_KEY_H

#include "db/db.h"
#include "server/core/store/keys.h"

/* "vtpm-server-key 1 ", a uuid, a blank, the point in hex, and the NUL. */
#define SERVER_KEY_LINE        (18 + 36 + 1 + 2 * DB_PUBLIC + 1)
#define SERVER_KEY_FINGERPRINT 40 /* 8 groups of 4 digits, with the NUL */

void server_key_line(char out[SERVER_KEY_LINE], const struct vt_uuid *store, const uint8_t public[DB_PUBLIC]);
/* The first half of SHA-256 over store and key, for people to compare. */
void server_key_fingerprint(char out[SERVER_KEY_FINGERPRINT], const struct vt_uuid *store,
                            const uint8_t public[DB_PUBLIC]);
/* Blanks and line ends around it do not matter. VT_EUSAGE: it is none, or its point is not on the curve. */
int server_key_parse(struct db_peer *peer, const char *text, struct vt_why *why) VT_USE_RESULT;

/* A new pair, sealed. Any thread. */
int server_key_make(struct db_server_key *row, const struct keys *keys) VT_USE_RESULT;
/* The private part; VT_ENOTFOUND: the store has none yet. Any thread. */
int server_key_open(struct db *db, const struct keys *keys, struct vt_key *secret, struct vt_why *why) VT_USE_RESULT;

/*
 * The PSK of a channel between two servers; client and server in the order of that connection. Costs an ECDH, whatever
 * comes of it. VT_ECRYPTO: a key is not on the curve.
 */
int server_key_channel(const struct vt_key *own, const uint8_t their[DB_PUBLIC], bool own_is_client,
                       struct vt_key *psk) VT_USE_RESULT;
/* "server:UUID", as which a server connects to another one. */
#define SERVER_IDENTITY (7 + VT_UUID_TEXT)
void server_key_identity(char out[SERVER_IDENTITY], const struct vt_uuid *store);
bool server_key_is_identity(const char *identity, struct vt_uuid *store);

#endif

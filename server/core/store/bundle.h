/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An exported instance as bytes: encrypted to one store, signed by another (docs/moving.md, to the byte). All bounds of
 * what comes from outside are here; nothing of it is believed before the signature, and no secret is in it unsealed.
 * Pure: no store, no clock. Any thread.
 */
#ifndef VTPM_CORE_BUNDLE_H
#define VTPM_CORE_BUNDLE_H

#include "db/db.h"
#include "server/core/record.h"
#include "server/crypto/crypto.h"

#define BUNDLE_CONTENTS_MAX (RECORD_MAX + 8192u)
#define BUNDLE_MAX          (BUNDLE_CONTENTS_MAX + 512u)

/* What stands in clear. */
struct bundle_head {
    uint8_t id[DB_EXPORT_ID];
    struct vt_uuid source, target;      /* stores */
    int64_t time;                       /* of the export */
    uint8_t ephemeral[CR_EC_PUBLIC];
    uint32_t sealed_len;
};

/* What does not. Plain data; owns `record`. */
struct moving {
    struct vt_uuid uuid;
    char name[65], group[65], profile[33];
    bool has_ek;
    uint8_t ek_sha256[CR_SHA256_LEN];
    int64_t created;
    struct vt_key psk;                  /* of the instance's own credential */
    size_t binding_count;
    char bindings[DB_BINDINGS_MAX][DB_PEER_TEXT];
    struct record record;               /* durable, with its volatile state */
};
/* Wipes and frees what it owns. */
void moving_free(struct moving *moving);

/* *out returns owned (vt_free_wiped). VT_ETOOBIG. */
int moving_encode(const struct moving *moving, uint8_t **out, size_t *len) VT_USE_RESULT;
/* VT_EDAMAGED: not what moving_encode writes; then it is empty. Free it with moving_free. */
int moving_decode(struct moving *moving, const uint8_t *in, size_t len, struct vt_why *why) VT_USE_RESULT;

/* The source's side. head: id, source, target and time. *out returns owned (vt_free). */
int bundle_make(const struct bundle_head *head, const struct vt_key *own, const uint8_t target[CR_EC_PUBLIC],
                const struct moving *moving, uint8_t **out, size_t *len) VT_USE_RESULT;

/* The target's side, in this order. VT_EDAMAGED: no bundle, cut short, or of a newer version. */
int bundle_read(struct bundle_head *head, const uint8_t *in, size_t len, struct vt_why *why) VT_USE_RESULT;
/* VT_EAUTH: not signed by this key, or altered since. */
int bundle_verify(const uint8_t *in, size_t len, const uint8_t source[CR_EC_PUBLIC], struct vt_why *why) VT_USE_RESULT;
/* VT_EKEY: not for this key. */
int bundle_open(const struct bundle_head *head, const uint8_t *in, size_t len, const struct vt_key *own,
                struct moving *moving, struct vt_why *why) VT_USE_RESULT;

#endif

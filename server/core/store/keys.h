/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The master key in locked memory of the broker, and the keys derived from it by HKDF: wrap (instance keys), cred
 * (credentials), server (the store's own key pair), mac (store MAC), event (event chain), ticket, decoy. Any thread after keys_new; immutable.
 */
#ifndef VTPM_CORE_KEYS_H
#define VTPM_CORE_KEYS_H

#include "db/db.h"
#include "server/core/store/seal.h"

struct keys;

/* Copies master into locked memory (VT_ENOMEM with the RLIMIT_MEMLOCK advice in why). Returns owned. */
int keys_new(struct keys **keys, const struct vt_key *master, const struct vt_uuid *store, struct vt_why *why) VT_USE_RESULT;
/* Wipes; may be NULL. */
void keys_free(struct keys *keys);
void keys_store_uuid(const struct keys *keys, struct vt_uuid *store);
/* For wrapping into a further key slot only. */
const struct vt_key *keys_master(const struct keys *keys);

int keys_wrap_instance(const struct keys *keys, const struct vt_uuid *uuid, const struct vt_key *key, uint8_t out[SEAL_KEY_LEN]) VT_USE_RESULT;
int keys_unwrap_instance(const struct keys *keys, const struct vt_uuid *uuid, const uint8_t *in, size_t len, struct vt_key *key) VT_USE_RESULT;

/* version: db_credential.version; identity is part of the associated data. */
int keys_seal_psk(const struct keys *keys, const char *identity, uint64_t version, const struct vt_key *psk, uint8_t out[SEAL_KEY_LEN]) VT_USE_RESULT;
int keys_open_psk(const struct keys *keys, const char *identity, uint64_t version, const uint8_t *in, size_t len, struct vt_key *psk) VT_USE_RESULT;
/* The private part of the store's own key pair. */
int keys_seal_server(const struct keys *keys, const struct vt_key *key, uint8_t out[SEAL_KEY_LEN]) VT_USE_RESULT;
int keys_open_server(const struct keys *keys, const uint8_t *in, size_t len, struct vt_key *key) VT_USE_RESULT;
/* A key for an identity that has none: stable, secret, useless. */
void keys_decoy(const struct keys *keys, const char *identity, struct vt_key *psk);

/* The sum of a ticket, that only this store can make: docs/moving.md, "Live migration". */
void keys_ticket(const struct keys *keys, const uint8_t *ticket, size_t len, uint8_t out[CR_SHA256_LEN]);

/* What the host TPM asks for to move the store's anchor on. */
void keys_anchor_auth(const struct keys *keys, struct vt_key *auth);
/* What stands in the TPM for a row: which store, when, over what, and what stood there before. */
void keys_anchor_hash(const struct keys *keys, const struct db_anchor *row, uint8_t out[CR_SHA256_LEN]);

/* The keyed functions that db wants; valid as long as keys. */
const struct db_mac *keys_mac(const struct keys *keys);

#endif

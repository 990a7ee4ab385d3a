/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key slots as in LUKS2: each wraps the same master key under a key of its own. One table row per kind in keyslot.c
 * (parse, make, open): the next kind is a new row. Synchronous; run on the loop thread at start, on a worker later
 * (scrypt takes a second).
 */
#ifndef VTPM_CORE_KEYSLOT_H
#define VTPM_CORE_KEYSLOT_H

#include "db/db.h"
#include "server/base/secret.h"

/* A SPEC of CONTRACT.md taken apart: "keyfile:FILE", "passphrase-file:FILE", "recovery-file:FILE", "auto", "tpm2..." */
struct keyslot_spec {
    char kind[24];
    char arg[1024];
};
int keyslot_parse(struct keyslot_spec *spec, const char *text, struct vt_why *why) VT_USE_RESULT;

/*
 * Reads the slot's secret from its file: refuses files that group or others can read, too short ones, missing ones;
 * `create` (init only) makes a missing key file with 32 random bytes, 0600. *secret returns owned
 * (vt_free_wiped(secret, len)).
 */
int keyslot_read_secret(const struct keyslot_spec *spec, bool create, uint8_t **secret, size_t *len, struct vt_why *why) VT_USE_RESULT;

/* A slot row (id to be set by the caller beforehand: it is in the associated data) that wraps master. */
int keyslot_make(struct db_keyslot *slot, const struct keyslot_spec *spec, const uint8_t *secret, size_t secret_len,
                 const struct vt_uuid *store, const struct vt_key *master, struct vt_why *why) VT_USE_RESULT;
/* Opens one row: VT_EKEY if the secret is not this slot's, VT_EDAMAGED if the row is malformed (parameters are bounded). */
int keyslot_open(const struct db_keyslot *slot, const uint8_t *secret, size_t secret_len, const struct vt_uuid *store,
                 struct vt_key *master, struct vt_why *why) VT_USE_RESULT;

/*
 * Tries every row of the spec's kind ("auto": every row that needs no person: a key file at the path its row
 * remembers). VT_EKEY with the reason for each slot that was tried. *opened gets the row that did it.
 */
int keyslot_unlock(struct db *db, const struct keyslot_spec *spec, const struct vt_uuid *store, struct vt_key *master,
                   struct db_keyslot *opened, struct vt_why *why) VT_USE_RESULT;

/* Recovery keys: 256 bits as 8 groups of 8 characters with '-' between (Crockford base 32 without check is 52: so 64
 * characters of modhex; the alphabet and form are documented in docs/keys.md). */
#define RECOVERY_TEXT 72
int recovery_make(char text[RECOVERY_TEXT], uint8_t secret[32]) VT_USE_RESULT;
int recovery_parse(const char *text, uint8_t secret[32], struct vt_why *why) VT_USE_RESULT;

/* `vtpm-server init`: DIR (made 0700), store, slots, recovery slot; the recovery key goes to `recovery`. On any error
 * nothing of a new store is left behind. VT_EEXISTS: there is a store. */
int store_init(const char *dir, const struct keyslot_spec *specs, size_t count, char recovery[RECOVERY_TEXT], struct vt_why *why) VT_USE_RESULT;
/* Is DIR, which is there, fit for a new store? VT_EEXISTS, VT_EUSAGE, VT_EPERM. */
int store_dir_check(const char *dir, struct vt_why *why) VT_USE_RESULT;

#endif

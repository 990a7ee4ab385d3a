/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key slots as in LUKS2: each wraps the same master key under a key of its own. One table row per kind in spec.c
 * (SPECs and files) and in keyslot.c (rows): the next kind is a new row. Synchronous; run on the loop thread at start,
 * on a worker later (scrypt takes a second, a host TPM up to HWTPM_LIMIT_MS).
 */
#ifndef VTPM_CORE_KEYSLOT_H
#define VTPM_CORE_KEYSLOT_H

#include "db/db.h"
#include "server/base/secret.h"

/*
 * A SPEC of CONTRACT.md taken apart: "keyfile:FILE", "passphrase-file:FILE", "recovery-file:FILE", "credential:NAME",
 * "tpm2...", "tpm2-signed:...", "tpm12...", "auto". What stands in a TPM's SPEC is checked here already.
 */
struct keyslot_spec {
    char kind[24];
    char arg[1024];
};
int keyslot_parse(struct keyslot_spec *spec, const char *text, struct vt_why *why) VT_USE_RESULT;
/* Its secret is where the server is (a TPM, the service's credentials): nobody sends it. */
bool keyslot_by_server(const char *kind) VT_USE_RESULT;
bool keyslot_is_tpm(const char *kind) VT_USE_RESULT;

/*
 * Reads the slot's secret from its file: refuses files that group or others can read, too short ones, missing ones;
 * `create` (init only) makes a missing key file with 32 random bytes, 0600. For a TPM's slot: fresh random bytes, to be
 * sealed by keyslot_make. *secret returns owned (vt_free_wiped(secret, len)).
 */
int keyslot_read_secret(const struct keyslot_spec *spec, bool create, uint8_t **secret, size_t *len, struct vt_why *why) VT_USE_RESULT;

/*
 * A slot row (id to be set by the caller beforehand: it is in the associated data) that wraps master. On success why may
 * hold a warning for a person (pcrs=none).
 */
int keyslot_make(struct db_keyslot *slot, const struct keyslot_spec *spec, const uint8_t *secret, size_t secret_len,
                 const struct vt_uuid *store, const struct vt_key *master, struct vt_why *why) VT_USE_RESULT;
/* Opens one row: VT_EKEY if the secret is not this slot's, VT_EDAMAGED if the row is malformed (parameters are bounded). */
int keyslot_open(const struct db_keyslot *slot, const uint8_t *secret, size_t secret_len, const struct vt_uuid *store,
                 struct vt_key *master, struct vt_why *why) VT_USE_RESULT;
/*
 * The secret of a row that needs no person: from the file or credential that it remembers, or unsealed. VT_EKEY: needs a
 * person. spec (may be NULL): where the TPM is now, if not where the row says. *secret returns owned (vt_free_wiped).
 */
int keyslot_own_secret(const struct db_keyslot *slot, const struct keyslot_spec *spec, uint8_t **secret, size_t *len,
                       struct vt_why *why) VT_USE_RESULT;

/*
 * A TPM's slot sealed again, as it was, to the present PCRs; with a prediction (hwtpm_pcrs_predict) to the predicted ones
 * too: then either opens, until it is resealed without one. The new row has the old id; the caller puts it into the
 * store, or does not (dry run). VT_ECONFLICT: not a TPM's slot.
 */
struct keyslot_report {
    char text[2048]; /* what it is sealed to, a line for each PCR */
};
int keyslot_reseal(const struct db_keyslot *old, const char *prediction, const struct vt_uuid *store,
                   const struct vt_key *master, struct db_keyslot *out, struct keyslot_report *report,
                   struct vt_why *why) VT_USE_RESULT;

/*
 * Tries every row of the spec's kind, in order of id. "auto": every row that needs no person, TPMs first, then
 * credentials, then key files (spec.c). VT_EKEY with the reason for each slot that was tried. *opened gets the
 * row that did it. VT_OK and a text in why: a TPM's slot should have opened the store and did not; say it loudly.
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

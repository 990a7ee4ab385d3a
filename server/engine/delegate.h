/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Delegation (Part 1, 23; Part 3, 19): the owner's or a key's authority, lent in parts. Invariant: what was
 * lent counts only while its family is there and enabled and the verification counts are equal; when the
 * tables change, all sessions that stand on them end.
 */
#ifndef VTPM_ENGINE_DELEGATE_H
#define VTPM_ENGINE_DELEGATE_H

#include "server/engine/cmd.h"

/* NULL if there is no such family. */
struct tpm_family_table_entry *family_find(struct tpm *tpm, uint32_t family_id);
/* May what was lent be used? TPM_BADINDEX (no family), TPM_DISABLED_CMD, TPM_FAMILYCOUNT. */
tpm_rc family_check(struct tpm *tpm, const struct tpm_delegate_public *pub) VT_USE_RESULT;
/* A row that is in use; NULL otherwise. */
struct delegate_row *delegate_row_find(struct tpm *tpm, uint32_t index);

/*
 * Does it allow this command the authority over this type of entity (TPM_ET_OWNER, TPM_ET_KEYHANDLE), here
 * and now? TPM_AUTHFAIL, TPM_WRONGPCRVAL, TPM_BAD_LOCALITY.
 */
tpm_rc delegate_permits(const struct cmd *c, const struct tpm_delegate_public *pub,
                        uint8_t entity_type) VT_USE_RESULT;
/* Part 2, 5.17: does TPM_CMK_SetRestrictions let this key's authority be lent? */
bool delegate_key_allowed(const struct tpm *tpm, const struct tpm_key_obj *key);

/* The tables changed: sessions of delegations end, and TPM_KH_OWNER is the owner again. */
void delegate_tables_changed(struct tpm *tpm);
/* SHA-1 of the tables and of who stands for TPM_KH_OWNER: saved sessions are good only while it is the same.
 */
void delegate_digest(const struct tpm *tpm, uint8_t out[CR_SHA1_LEN]);

/* ---- Blobs: TPM_DELEGATE_OWNER_BLOB and TPM_DELEGATE_KEY_BLOB ---- */

/* Both, as one: is_key tells whether key_digest is there. */
struct delegation {
    bool is_key;
    struct tpm_delegate_public pub;
    struct tpm_digest integrity;
    struct tpm_digest key_digest;
    struct tpm_blob additional;
    struct tpm_blob sensitive;
};

/* TPM_BAD_PARAMETER: neither of both; else as rd_result. */
tpm_rc delegation_read(struct delegation *d, const struct tpm_blob *in) VT_USE_RESULT;
/* Hides the secret: additional and sensitive, in the arena. TPM_SIZE, TPM_FAIL. */
tpm_rc delegation_hide(struct cmd *c, struct delegation *d, const struct vt_auth *secret) VT_USE_RESULT;
/* With a new integrity digest, in the arena. TPM_SIZE. */
tpm_rc delegation_write(struct cmd *c, struct delegation *d, struct tpm_blob *out) VT_USE_RESULT;
/* Was it made here, under this owner? */
bool delegation_is_ours(const struct tpm *tpm, const struct delegation *d);
/* The secret in it; false: it is none. clear: it is not encrypted (Part 3, 19.4 action 8). */
bool delegation_secret(const struct tpm *tpm, const struct delegation *d, bool clear,
                       struct vt_auth *out) VT_USE_RESULT;

#endif

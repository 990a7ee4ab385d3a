/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a key travels in (Part 3, chapter 11): TPM_MIGRATE_ASYMKEY, OAEP with the first bytes of the private key as its
 * seed and pHash in place of the label's hash, XOR with random bytes, encrypted for its destination. And the tickets
 * that migration authorities give.
 */
#ifndef VTPM_ENGINE_MIGRATION_H
#define VTPM_ENGINE_MIGRATION_H

#include "server/engine/cmd.h"

/* A private key as a structure, with the bytes that it borrows. */
struct migrant {
    struct tpm_store_asymkey store;
    uint8_t bytes[CR_RSA_MAX];
};
void migrant_wipe(struct migrant *m);
#define MIGRANT VT_CLEANUP(migrant_wipe) struct migrant

/* TPM_STORE_ASYMKEY from encData. TPM_BAD_DATASIZE, TPM_DECRYPT_ERROR, TPM_INVALID_STRUCTURE (no loadable key's). */
tpm_rc migrant_open(struct key_slot *parent, const struct tpm_blob *enc, struct migrant *out) VT_USE_RESULT;
/* And back, for a parent; out is in the arena. */
tpm_rc migrant_wrap(struct cmd *c, const struct tpm_key_obj *parent, const struct migrant *m,
                    struct tpm_blob *out) VT_USE_RESULT;
/* The same for a public key: its errors are key_encrypt_for's. */
tpm_rc migrant_rewrap(struct cmd *c, const struct migrant *m, const struct tpm_pubkey *to,
                      struct tpm_blob *out) VT_USE_RESULT;

/*
 * The key in two halves: `random` and what is encrypted for `to` (11.1 action 6, 11.9 actions 11-17); both in the arena.
 * TPM_BAD_KEY_PROPERTY, TPM_BAD_DATASIZE, TPM_ENCRYPT_ERROR.
 */
tpm_rc migrant_send(struct cmd *c, const struct migrant *m, uint8_t payload, const uint8_t phash[TPM_DIGEST_LEN],
                    const struct tpm_pubkey *to, struct tpm_blob *random, struct tpm_blob *out) VT_USE_RESULT;
/*
 * And joined again (11.2 actions 3-7, 11.10 actions 3-8): payload is TPM_MIGRATE_ASYMKEY's, migration_auth the pHash.
 * TPM_BAD_DATASIZE, TPM_DECRYPT_ERROR, TPM_BAD_PARAMETER (random of another length), TPM_INVALID_STRUCTURE,
 * TPM_BAD_PARAM_SIZE.
 */
tpm_rc migrant_receive(struct key_slot *parent, const struct tpm_blob *in, const struct tpm_blob *random,
                       struct migrant *out) VT_USE_RESULT;

/*
 * 12.1: the same two ways, but veiled with MGF1 of the owner's secret instead of random bytes; the secret is the pHash,
 * too.
 */
tpm_rc migrant_send_secret(struct cmd *c, const struct migrant *m, uint8_t payload, const struct vt_auth *secret,
                           const struct tpm_pubkey *to, struct tpm_blob *out) VT_USE_RESULT;
tpm_rc migrant_receive_secret(struct key_slot *parent, const struct tpm_blob *in, const struct vt_auth *secret,
                              struct migrant *out) VT_USE_RESULT;

/* SHA-1 of a TPM_PUBKEY as it came. */
void pubkey_digest(const struct tpm_pubkey *pub, uint8_t out[TPM_DIGEST_LEN]);
/* TPM_MIGRATIONKEYAUTH: SHA-1(migrationKey || migrationScheme || tpmProof) (11.3 action 8). */
void migration_key_digest(const struct tpm *tpm, const struct tpm_pubkey *key, uint16_t scheme,
                          uint8_t out[TPM_DIGEST_LEN]);
/* Did the owner authorise it? */
bool migration_key_right(const struct tpm *tpm, const struct tpm_migrationkeyauth *auth);

/* HMAC with tpmProof over these structures: only this TPM, of this owner, can have made it. */
void ticket_of_migauth(const struct tpm *tpm, const struct tpm_cmk_migauth *m2, uint8_t out[TPM_DIGEST_LEN]);
void ticket_of_approval(const struct tpm *tpm, const struct tpm_cmk_ma_approval *m2, uint8_t out[TPM_DIGEST_LEN]);
void ticket_of_signature(const struct tpm *tpm, const struct tpm_cmk_sigticket *m2, uint8_t out[TPM_DIGEST_LEN]);

#endif

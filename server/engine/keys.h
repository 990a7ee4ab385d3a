/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys of one TPM: the key object, the slots of loaded keys, the two root keys, and what a key does with
 * blobs. Invariant: a slot's handle is 0 exactly when it is free, and no two slots in use share a handle.
 */
#ifndef VTPM_ENGINE_KEYS_H
#define VTPM_ENGINE_KEYS_H

#include "server/crypto/crypto.h"
#include "server/engine/pcr.h"
#include "server/wire/structures.h"

struct tpm;
struct cmd;

#define KEY_SLOTS_MAX    48 /* capacity; profile.key_slots is at most this */
#define KEY_SLOTS_LEFT   2  /* slots that the owner cannot keep (Part 3, 21.1 action 5.a) */
#define KEY_PCR_INFO_MAX 64 /* longest TPM_PCR_INFO (45) or TPM_PCR_INFO_LONG (54) with 24 PCRs */

/* A key in the clear: what TPM_KEY or TPM_KEY12 and its TPM_STORE_ASYMKEY say (Part 2, 10.2, 10.3, 10.6). */
struct tpm_key_obj {
    bool is_key12;           /* written and hashed as TPM_KEY12, else as TPM_KEY with version 1.1.0.0 */
    uint8_t auth_data_usage; /* TPM_AUTH_NEVER, _ALWAYS, TPM_NO_READ_PUBKEY_AUTH */
    uint8_t payload;         /* TPM_PT_ASYM, ... */
    uint8_t exponent_len;    /* 0: not written (65537); else the bytes as they came, at most 4 */
    uint8_t exponent[4];
    uint16_t usage; /* TPM_KEY_STORAGE, ... */
    uint16_t enc_scheme;
    uint16_t sig_scheme;
    uint32_t flags;                     /* TPM_KEY_FLAGS */
    uint8_t pcr_info_len;               /* 0: not bound to PCRs */
    uint8_t pcr_info[KEY_PCR_INFO_MAX]; /* TPM_PCR_INFO, or TPM_PCR_INFO_LONG if is_key12, as on the wire */
    struct vt_auth usage_auth;
    struct vt_auth migration_auth;   /* tpmProof for keys that cannot migrate */
    uint8_t pub_digest[CR_SHA1_LEN]; /* pubDataDigest: names the key as an entity of sessions */
    struct cr_rsa_key rsa;
};

struct key_slot {
    uint32_t handle;        /* 0: free */
    bool owner_evict;       /* TPM_KEY_CONTROL_OWNER_EVICT: part of the permanent state */
    bool parent_pcr_status; /* an ancestor is bound to PCRs */
    struct tpm_key_obj key;
    struct cr_rsa *rsa; /* made at first use, kept while the key is loaded; not frozen */
};

/* ---- Slots ---- */

/* Part 2, 4.4.1: TPM_KH_* and what else begins with 0x40. A loaded key has none of these. */
static inline bool key_handle_reserved(uint32_t handle)
{
    return handle >> 24 == TPM_KH_SRK >> 24;
}

/*
 * The key behind a handle: a loaded one, or the SRK (TPM_KH_SRK, with an owner); NULL otherwise. TPM_KH_EK is
 * never found here: few commands may use the EK, and they name perm.ek themselves.
 */
struct key_slot *key_find(struct tpm *tpm, uint32_t handle);
/* A free slot's copy of `key` under a fresh handle; NULL: TPM_NOSPACE. Takes nothing; key stays the caller's.
 */
struct key_slot *key_insert(struct tpm *tpm, const struct tpm_key_obj *key, bool parent_pcr_status);
/* As key_insert under a wanted handle (contexts); 0: a fresh one; NULL if it is taken or there is no room. */
struct key_slot *key_insert_at(struct tpm *tpm, const struct tpm_key_obj *key, bool parent_pcr_status,
                               uint32_t handle);
/* Wipes the slot and ends the sessions of this key (Part 3, 22.1). */
void key_flush(struct tpm *tpm, struct key_slot *slot);
/* Every slot but those the owner keeps (TPM_Init, TPM_Startup(ST_CLEAR)); everything: also those. */
void key_flush_all(struct tpm *tpm, bool everything);
unsigned key_free_slots(const struct tpm *tpm);
void tpm_key_obj_wipe(struct tpm_key_obj *key);
#define TPM_SECRET_KEY_OBJ VT_CLEANUP(tpm_key_obj_wipe) struct tpm_key_obj

/* ---- The object ---- */

/* The private key ready for use; NULL if it does not load: then the command answers TPM_FAIL. Borrowed. */
struct cr_rsa *key_rsa(struct key_slot *slot);
/* The wire forms; their blobs borrow from key (and enc). enc may be NULL: an empty encData. */
void key_to_pubkey(struct tpm_pubkey *out, const struct tpm_key_obj *key);
void key_to_wire(struct tpm_key *out, const struct tpm_key_obj *key, const struct tpm_blob *enc);
/* Part 2, 10.6: SHA-1 over the public part (TPM_KEY without encData) = TPM_STORE_ASYMKEY.pubDataDigest. */
void key_pub_digest(const struct tpm_key_obj *key, uint8_t out[CR_SHA1_LEN]);
/* SHA-1 over its TPM_PUBKEY: what migration tickets and identities name it by. */
void key_pubkey_digest(const struct tpm_key_obj *key, uint8_t out[CR_SHA1_LEN]);
/* Part 2, 4.2: a TPM_STORE_ASYMKEY's payload that can be loaded. TPM_SEALED_DATA has the same shape: this
 * tells them apart. */
bool key_payload_loadable(uint8_t payload);
/* SHA-1 over its TPM_STORE_PUBKEY: what delegations and transport logs name it by. */
void key_store_pubkey_digest(const struct tpm_key_obj *key, uint8_t out[CR_SHA1_LEN]);
/* A TPM_PUBKEY that is RSA and whose modulus is as long as it says. TPM_BAD_KEY_PROPERTY. */
tpm_rc key_rsa_pub(struct cr_rsa_pub *out, const struct tpm_pubkey *in) VT_USE_RESULT;
/*
 * Takes over the public part of a key from the wire (no private part), checked: TPM_BAD_KEY_PROPERTY,
 * TPM_INVALID_KEYUSAGE, ... pub_digest is set if there is a modulus.
 */
tpm_rc key_from_wire(struct tpm_key_obj *key, const struct tpm_key *in) VT_USE_RESULT;
/* A key that is being made: pcr_info gets digestAtCreation, localityAtCreation (Part 3, 10.4 action 15). */
void key_stamp_pcrs(const struct cmd *c, struct tpm_key_obj *key);
/* Does the key's release depend on PCRs? Then keys below it say so (parentPCRStatus). */
bool key_uses_pcrs(const struct tpm_key_obj *key);

/*
 * May this command use this key now (its PCR binding, Part 3, rules for authDataUsage and digestAtRelease)?
 * TPM_WRONGPCRVAL, also for its localities.
 */
tpm_rc key_check_pcrs(const struct cmd *c, const struct tpm_key_obj *key) VT_USE_RESULT;

/* ---- What the TPM itself says, signed ---- */

/* Part 2, 5.8.1: a scheme that signs SHA-1 digests; TPM_SS_RSASSAPKCS1v15_INFO does so here, too. */
bool key_signs_sha1(const struct tpm_key_obj *key);
/* For signing, identity or legacy. */
bool key_may_attest(const struct tpm_key_obj *key);
/* PKCS #1 signature of a SHA-1 digest; sig is in the command's arena. TPM_SIZE, TPM_FAIL. */
tpm_rc key_sign_digest(struct cmd *c, struct key_slot *slot, const uint8_t digest[CR_SHA1_LEN],
                       struct tpm_blob *sig) VT_USE_RESULT;

/* ---- Blobs ---- */

/*
 * OAEP with the label "TCPA" under a storage key's public part; *out_len: capacity in, length out.
 * TPM_BAD_DATASIZE.
 */
tpm_rc key_wrap_blob(struct cmd *c, const struct tpm_key_obj *parent, const void *in, size_t len,
                     uint8_t *out, size_t *out_len) VT_USE_RESULT;
/*
 * For somebody else's public key, by the scheme that it names; out is in the arena. TPM_BAD_KEY_PROPERTY,
 * TPM_INAPPROPRIATE_ENC, TPM_BAD_DATASIZE (longer than the key), TPM_ENCRYPT_ERROR (no room for the padding).
 */
tpm_rc key_encrypt_for(struct cmd *c, const struct tpm_pubkey *to, const void *in, size_t len,
                       struct tpm_blob *out) VT_USE_RESULT;
/* The other way; out holds CR_RSA_MAX; TPM_DECRYPT_ERROR. The caller wipes out. */
tpm_rc key_unwrap_blob(struct key_slot *parent, const struct tpm_blob *in, uint8_t out[CR_RSA_MAX],
                       size_t *out_len) VT_USE_RESULT;
/* Part 2, 10.6: a TPM_STORE_ASYMKEY of key, wrapped by parent; out holds CR_RSA_MAX. */
tpm_rc key_wrap(struct cmd *c, const struct tpm_key_obj *parent, const struct tpm_key_obj *key,
                uint8_t out[CR_RSA_MAX], size_t *out_len) VT_USE_RESULT;
/* A TPM_KEY to answer with: key, wrapped by parent; all of it is in the command's arena. */
tpm_rc key_answer_wrapped(struct cmd *c, const struct tpm_key_obj *parent, const struct tpm_key_obj *key,
                          struct tpm_key *out) VT_USE_RESULT;
/*
 * Fills key's private part from enc; checks it against the public part. TPM_DECRYPT_ERROR,
 * TPM_INVALID_STRUCTURE (no TPM_STORE_ASYMKEY of a loadable key); TPM_BAD_PARAMETER, TPM_AUTHFAIL: it belongs
 * to another public part.
 */
tpm_rc key_unwrap(struct key_slot *parent, struct tpm_key_obj *key, const struct tpm_blob *enc) VT_USE_RESULT;
/*
 * A new RSA key from the pool or the generator into key->rsa, exponent as key says; pub_digest is set. The
 * public part must be complete before (key_from_wire, key_stamp_pcrs). TPM_RESOURCES, TPM_FAIL.
 */
tpm_rc key_generate(struct cmd *c, struct tpm_key_obj *key, unsigned bits) VT_USE_RESULT;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One TPM 1.2 as a pure library: no I/O, no globals, no clock, no logging. Same seed, same ticks, same calls:
 * same responses and the same frozen state. The caller (the sandbox) brings time, entropy and keys; guest
 * bytes enter through tpm_execute only. One thread at a time per struct tpm.
 */
#ifndef VTPM_ENGINE_TPM_H
#define VTPM_ENGINE_TPM_H

#include "server/crypto/crypto.h"
#include "server/engine/ops.h"
#include "server/wire/cursor.h"

struct tpm; /* opaque; holds secrets; freed with tpm_free, which wipes */

#define TPM_BUFFER               4096 /* longest command and longest response */
#define TPM_FROZEN_PERMANENT_MAX (192u * 1024)
#define TPM_FROZEN_VOLATILE_MAX  (96u * 1024)

/*
 * Limits of an instance, fixed at manufacture and kept in its permanent state. 0 means "the pc-client
 * default". Upper bounds are compile-time capacities (VT_EUSAGE above them).
 */
struct tpm_profile {
    uint16_t key_slots;          /* 20 */
    uint16_t owner_evict_slots;  /* 10 */
    uint16_t auth_sessions;      /* 16 */
    uint16_t transport_sessions; /* 16 */
    uint16_t daa_sessions;       /* 2 */
    uint16_t counters;           /* 8 */
    uint16_t saved_contexts;     /* 128 */
    uint16_t family_rows;        /* 16 */
    uint16_t delegate_rows;      /* 4 */
    uint32_t nv_bytes;           /* 28 KiB */
    bool maintenance;            /* off */
};
void tpm_profile_pc_client(struct tpm_profile *profile);

/*
 * Manufacture (DESIGN, "Power"): enabled, activated, ownable, NV locked, physical presence by command allowed
 * and lifetime lock off; with_ek makes the endorsement key. The result is off (before TPM_Init). Returns
 * owned.
 */
int tpm_manufacture(struct tpm **tpm, const struct tpm_profile *profile, const uint8_t seed[CR_DRBG_SEED],
                    bool with_ek, const struct tpm_ops *ops) VT_USE_RESULT;

/*
 * Back from frozen bytes. volatile_len 0: off. VT_EDAMAGED with the reason if anything does not parse to the
 * last byte, is newer than this build, or contradicts itself; nothing is repaired. Returns owned.
 */
int tpm_thaw(struct tpm **tpm, const uint8_t *permanent, size_t permanent_len, const uint8_t *volatile_state,
             size_t volatile_len, const struct tpm_ops *ops, struct vt_why *why) VT_USE_RESULT;

/* Frozen, versioned, canonical (freeze -> thaw -> freeze is the identity). *len: capacity in, length out. */
int tpm_freeze_permanent(const struct tpm *tpm, uint8_t *out, size_t *len) VT_USE_RESULT;
/* Length 0 when off. */
int tpm_freeze_volatile(const struct tpm *tpm, uint8_t *out, size_t *len) VT_USE_RESULT;

/*
 * The certificate of the endorsement key (DER, at most TPM_EK_CERT_MAX bytes) into NV index 0x1000F000, as PC Client
 * keeps it: anybody reads it, nobody writes, redefines or removes it while that key lives. It takes nothing of
 * profile.nv_bytes. Once, before the first power on. VT_EUSAGE: no length that can be, or no endorsement key;
 * VT_ECONFLICT: the TPM is on, has an owner, or has one.
 */
#define TPM_EK_CERT_MAX 2048
int tpm_install_ek_certificate(struct tpm *tpm, const uint8_t *der, size_t len) VT_USE_RESULT;
/* Its DER, inside the TPM until the next call; empty without one. */
struct tpm_blob tpm_ek_certificate(struct tpm *tpm);
/* The public half of the endorsement key; NULL without one. */
const struct cr_rsa_pub *tpm_ek_public(const struct tpm *tpm);

/* tpm may be NULL. */
void tpm_free(struct tpm *tpm);

/* ---- The platform's side: never reachable by guest bytes ---- */

bool tpm_is_on(const struct tpm *tpm);
/* TPM_Init (Part 3, 3.1): sessions, keys, PCRs as before Startup; waits for TPM_Startup. From off or from on.
 */
int tpm_init(struct tpm *tpm) VT_USE_RESULT;
void tpm_power_off(struct tpm *tpm);
/* Fresh entropy for the generator; at every thaw and from time to time. */
void tpm_stir(struct tpm *tpm, const void *entropy, size_t len);
/* SHA-256 of the EK's public modulus as in TPM_PUBKEY's key field; false without an EK. */
bool tpm_ek_sha256(const struct tpm *tpm, uint8_t out[CR_SHA256_LEN]);
/* All PCRs, one after another; false, and nothing is written, unless the TPM is on, was started and has not failed. */
#define TPM_PCRS_LEN (24 * CR_SHA1_LEN)
bool tpm_pcrs(const struct tpm *tpm, uint8_t out[TPM_PCRS_LEN]) VT_USE_RESULT;
/* Locality 4's HASH_START/DATA/END and the establishment bit (PC Client TIS 1.21). */
uint32_t tpm_hash_start(struct tpm *tpm);
uint32_t tpm_hash_data(struct tpm *tpm, const uint8_t *data, size_t len);
uint32_t tpm_hash_end(struct tpm *tpm);
bool tpm_established(const struct tpm *tpm);
uint32_t tpm_reset_established(struct tpm *tpm, uint8_t locality);

/* ---- The guest's side ---- */

enum { TPM_DIRTY_PERMANENT = 1, TPM_DIRTY_VOLATILE = 2 };

/*
 * Executes one command. Always yields a well-formed response (errors are TPM return codes in it). now_us: a
 * clock that never goes back while the TPM is on. rsp holds TPM_BUFFER. *dirty: which part of the state
 * changed.
 */
void tpm_execute(struct tpm *tpm, uint8_t locality, uint64_t now_us, const uint8_t *cmd, size_t cmd_len,
                 uint8_t *rsp, size_t *rsp_len, unsigned *dirty);

#endif

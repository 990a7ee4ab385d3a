/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swtpm's files for tests, put together field by field after docs/swtpm-import.md, so that each can be wrong. Keys are
 * fixtures: EK 0, SRK 1, the owner's from 2 on (signing keys).
 */
#ifndef VTPM_TESTS_MAKE_SWTPM_H
#define VTPM_TESTS_MAKE_SWTPM_H

#include "server/base/base.h"

#define MAKE_SWTPM_MAX (128u * 1024)
#define MAKE_SWTPM_KEYS 2
#define MAKE_SWTPM_AREAS 4

struct swtpm_parts {
    bool no_ek, no_srk, owned, key12;   /* key12: the SRK is a TPM_KEY12 */
    bool wrong_prime, wrong_digest;     /* of the SRK */
    bool maintenance_key;
    uint16_t state_tag, flags_version, nv_version; /* 0: those of today */
    uint32_t flags;
    uint16_t owner_keys;
    uint32_t handles[MAKE_SWTPM_KEYS];
    uint32_t counters[8];               /* values; bit n of counters_used: in use */
    uint32_t counters_used, families_used, delegations_used;
    uint32_t delegation_type;           /* 0: the owner's */
    uint32_t no_owner_writes;
    uint32_t area_count;
    struct {
        uint32_t index, size;
        bool bound;                     /* read while PCR 10 is zeros */
    } areas[MAKE_SWTPM_AREAS];
    uint8_t owner_auth;                 /* 20 bytes of it; tpmProof is 20 bytes of 0x70 */
};

/* libtpms' state and its SHA-1; the length. */
size_t make_swtpm_state(uint8_t out[MAKE_SWTPM_MAX], const struct swtpm_parts *parts);
/* The SHA-1 of all but the last 20 bytes, there. */
void make_swtpm_sign(uint8_t *state, size_t len);
/* In swtpm's frame. key: of 128 bits, or NULL: plain. */
size_t make_swtpm_file(uint8_t out[MAKE_SWTPM_MAX], const uint8_t *state, size_t len, const uint8_t *key);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TPM under a fuzzer: the states that inputs start from, and what holds for every TPM whatever was done to it.
 * Every secret of these states is fuzz_tpm_secret, so that a right proof needs no thought.
 */
#ifndef VTPM_TESTS_FUZZ_TPM_H
#define VTPM_TESTS_FUZZ_TPM_H

#include "server/engine/engine.h"
#include "tests/fuzz/fuzz.h"

struct frozen {
    size_t permanent_len, state_len;
    uint8_t permanent[TPM_FROZEN_PERMANENT_MAX];
    uint8_t state[TPM_FROZEN_VOLATILE_MAX];
};

enum fuzz_start {
    START_OFF,      /* as manufactured */
    START_ON,       /* after TPM_Startup(ST_CLEAR), without an owner */
    START_OWNED,    /* with an owner, two keys, three NV areas, physical presence */
    START_SAVED,    /* the same after TPM_SaveState and TPM_Init: TPM_Startup is next */
    START_BARE,     /* on, without an endorsement key */
    START_COUNT
};
/* The keys of START_OWNED in the order of their slots; usage, bits and fixture are in fuzz_tpm.c. */
enum fuzz_key { KEY_SIGNING, KEY_STORAGE, KEY_BIND, KEY_IDENTITY, KEY_MIGRATE, KEY_LEGACY, FUZZ_KEYS };
#define FUZZ_STORAGE_FIXTURE 3          /* of 2048 bits: where keys migrate to */
#define FUZZ_SRK_FIXTURE 6              /* also the manufacturer's: then an archive can come back */
#define FUZZ_AUTHORITY_FIXTURE 2        /* who says so; KEY_MIGRATE */
#define FUZZ_NV_OPEN 0x00011001u        /* written and read by anybody */
#define FUZZ_NV_AUTH 0x00011002u        /* with its own secret */
#define FUZZ_NV_OWNER 0x00011003u       /* with the owner's */
#define FUZZ_NOW 1000000u

/* Once per process. */
void fuzz_tpm_start(void);
/* This TPM, of START_OWNED, becomes START_OWNED and, with its state saved, START_SAVED. Ends it. */
void fuzz_tpm_adopt(struct tpm *tpm);
const struct frozen *fuzz_tpm_state(enum fuzz_start start);
/* Generated keys come from the fixtures in turn; the turn begins anew with fuzz_tpm_new. */
const struct tpm_ops *fuzz_tpm_ops(void);
struct tpm *fuzz_tpm_new(enum fuzz_start start);
extern const struct vt_auth fuzz_tpm_secret;
/* fuzz_tpm_secret under the endorsement key of these states. */
struct tpm_blob fuzz_tpm_secret_for_ek(void);

void fuzz_tpm_freeze(const struct tpm *tpm, struct frozen *out);
bool fuzz_tpm_same(const struct frozen *a, const struct frozen *b);
/* Freeze, thaw, freeze: the bytes must be the same. The TPM goes on as the thawed one. */
void fuzz_tpm_thaw_again(struct tpm **tpm);

struct response {
    size_t len;
    tpm_rc rc;
    unsigned dirty;
    uint8_t bytes[TPM_BUFFER];
};
/* One command and what holds for its response; and that nothing changed of which it does not say so. */
void fuzz_tpm_execute(struct tpm *tpm, uint8_t locality, uint64_t now_us, const uint8_t *cmd, size_t len,
                      struct response *rsp);

/* How often each ordinal came and succeeded: fuzz_tpm_execute counts, of a wrapped one its client. */
void fuzz_tpm_count(uint32_t ordinal, tpm_rc rc);
/*
 * Begins to count anew. At the end of the process, on stderr: how many of the ordinals that there are succeeded, and
 * which did not; with VTPM_FUZZ_TABLE in the environment, how often each. Fewer than VTPM_FUZZ_LEAST: exit status 1.
 */
void fuzz_tpm_tell_reach(void);

#endif

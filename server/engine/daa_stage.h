/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TPM_DAA_Join and TPM_DAA_Sign (Part 3, 26) inside: a table of stages for each, the stages that they share, and the
 * secret numbers. Only for server/engine/cmd/ch26_daa*.c. Functions return a code to answer; the caller of a stage ends
 * the session with any but TPM_SUCCESS.
 */
#ifndef VTPM_ENGINE_DAA_STAGE_H
#define VTPM_ENGINE_DAA_STAGE_H

#include "server/engine/cmd.h"

#define DAA_F_LEN        26                   /* of DAA_generic_q */
#define DAA_POWER0_BYTES (TPM_DAA_power0 / 8) /* both powers are whole bytes */
#define DAA_POWER1_BYTES (TPM_DAA_power1 / 8)
#define DAA_S12_LEN      (TPM_DAA_SIZE_w - DAA_POWER1_BYTES)

/* ---- Stages ---- */

enum daa_exponent { EXP_F0, EXP_F1, EXP_U0, EXP_U1, EXP_R0, EXP_R1, EXP_R2, EXP_R3, EXP_R4 };

enum daa_stage_flags {
    FRESH_SEED = 1,    /* a new DAA_contextSeed first */
    TIMES_SCRATCH = 2, /* the product so far counts */
    TELL = 4,          /* the product is the answer, and forgotten here */
    DIGEST = 8         /* DAA_digest is made of it (join, 7.m) */
};

struct daa;

struct daa_stage {
    tpm_rc (*run)(struct daa *d);
    size_t base;      /* of a power: where DAA_issuerSettings has the base's digest */
    uint8_t exponent; /* enum daa_exponent; of a sum: its random part */
    uint8_t flags;    /* enum daa_stage_flags */
    bool renews;      /* DAA_digestContext follows what it changed */
    uint32_t type;    /* of the blob that it makes or opens */
};

#define DAA_BASE(x) .base = offsetof(struct tpm_daa_issuer, daa_digest_##x)

/* All stages of a command. */
struct daa_course {
    const struct daa_stage *stages;
    size_t count;
    bool signs;
    uint8_t context_from, issuer_from; /* the first stages that look at DAA_digestContext, DAA_digestIssuer */
};

extern const struct daa_course daa_joining, daa_signing;

/* One stage under execution. */
struct daa {
    struct cmd *c;
    struct daa_session *s;
    const struct daa_stage *row;
    const struct tpm_blob *data0, *data1;
    struct tpm_blob *out;
};

/* Join 4-7, 9-12, sign 2-5: scratch = [scratch *] base^exponent mod n. */
tpm_rc daa_power(struct daa *d) VT_USE_RESULT;
/* Join 13, sign 6: w; 14, 7: E = w^f; 15, 8: E1 = w^r mod gamma. */
tpm_rc daa_take_w(struct daa *d) VT_USE_RESULT;
tpm_rc daa_pseudonym(struct daa *d) VT_USE_RESULT;
tpm_rc daa_commitment(struct daa *d) VT_USE_RESULT;
/* Join 16, sign 9. */
tpm_rc daa_challenge(struct daa *d) VT_USE_RESULT;
/* Join 17-21, sign 11-15. */
tpm_rc daa_sum_f(struct daa *d) VT_USE_RESULT;
tpm_rc daa_sum_low(struct daa *d) VT_USE_RESULT;
tpm_rc daa_carry(struct daa *d) VT_USE_RESULT;
tpm_rc daa_sum_high(struct daa *d) VT_USE_RESULT;

/* ---- What several stages do ---- */

/* The answer without leading zeros; with them; the session's handle. In the arena. TPM_SIZE. */
tpm_rc daa_tell(struct daa *d, const uint8_t *bytes, size_t len) VT_USE_RESULT;
tpm_rc daa_tell_all(struct daa *d, const void *bytes, size_t len) VT_USE_RESULT;
tpm_rc daa_tell_handle(struct daa *d) VT_USE_RESULT;
/* DAA_scratch; set: at most TPM_DAA_SIZE_w bytes, right-aligned. */
struct cr_slice daa_scratch(const struct daa *d);
void daa_set_scratch(struct daa *d, const void *bytes, size_t len);
void daa_forget_scratch(struct daa *d);
bool daa_hashes_to(const struct tpm_blob *data, const uint8_t digest[TPM_DIGEST_LEN]);
/* DAA_issuerSettings out of inputData0: TPM_DAA_INPUT_DATA0. */
tpm_rc daa_take_issuer(struct daa *d) VT_USE_RESULT;
void daa_issuer_digest(const struct daa_session *s, uint8_t out[TPM_DIGEST_LEN]);
tpm_rc daa_check_issuer(const struct daa_session *s) VT_USE_RESULT;

/* ---- Numbers ---- */

/* A secret number, most significant byte first; it wipes itself. */
struct daa_number {
    uint8_t bytes[CR_RSA_MAX];
    size_t len;
};

void daa_number_wipe(struct daa_number *x);

#define DAA_NUMBER    VT_CLEANUP(daa_number_wipe) struct daa_number
#define DAA_NUM(x)    CR_SLICE((x)->bytes, (x)->len)
#define DAA_NO_NUMBER CR_SLICE(NULL, 0)

/* `otherwise` if arithmetic failed: a number of the issuer's cannot be one. */
tpm_rc daa_num_rc(int err, tpm_rc otherwise) VT_USE_RESULT;
void daa_put_count(uint8_t out[4], uint32_t count);
/* f, one of its halves, r0 to r4, r0 + 2^power0 * r1 mod q, whatever `which` says. TPM_DAA_ISSUER_SETTINGS: q is none.
 */
tpm_rc daa_compute_f(const struct daa *d, struct daa_number *f) VT_USE_RESULT;
tpm_rc daa_half_of_f(const struct daa *d, bool high, struct daa_number *out) VT_USE_RESULT;
void daa_compute_r(const struct daa *d, unsigned n, struct daa_number *out);
tpm_rc daa_compute_whole_r(const struct daa *d, struct daa_number *out) VT_USE_RESULT;
tpm_rc daa_compute_exponent(const struct daa *d, uint8_t which, struct daa_number *out) VT_USE_RESULT;

#endif

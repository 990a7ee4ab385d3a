/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dictionary attacks (Part 1, 8; Part 3, 21 on TPM_ResetLockValue). Wrong guesses are counted in the
 * permanent state: five, then each one more locks out all authorised commands for 1 s, 2 s, 4 s ... A power
 * cycle forgives nothing: what was left of the lock-out is left of it afterwards.
 */
#ifndef VTPM_ENGINE_DA_H
#define VTPM_ENGINE_DA_H

#include "server/base/base.h"

struct tpm;

#define DA_THRESHOLD  5
#define DA_LOCK_MAX_S (24u * 60 * 60)

struct da_state {
    uint32_t failures;       /* wrong guesses since the last reset */
    uint64_t lock_us;        /* of the lock-out that were left when it was last written down */
    uint32_t reset_failures; /* TPM_ResetLockValue: one wrong owner secret, and it is off until the lock-out
                                ends */
};

/* A wrong guess. Changes permanent state. */
void da_failure(struct tpm *tpm);
/* Is a lock-out under way? */
bool da_locked(const struct tpm *tpm);
/* Microseconds left of it. */
uint64_t da_left_us(const struct tpm *tpm);
/* TPM_ResetLockValue, a new owner: back to none. */
void da_reset(struct tpm *tpm);
/* Writes down what is left of the lock-out, before power goes. */
void da_settle(struct tpm *tpm);

#endif

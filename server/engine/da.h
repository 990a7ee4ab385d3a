/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dictionary attacks (Part 1, 8.1; Part 3, 9.3 on TPM_ResetLockValue). Wrong guesses are counted in the
 * permanent state, one count for all kinds of secrets: the fifth and each one after it lock out all authorised
 * commands for 1 s, 2 s, 4 s ... Neither a power cycle nor time forgives: what was left of the lock-out is left
 * of it afterwards, and only the owner (TPM_ResetLockValue) or a new one begins at none.
 */
#ifndef VTPM_ENGINE_DA_H
#define VTPM_ENGINE_DA_H

#include "server/base/base.h"

struct tpm;

#define DA_THRESHOLD  5
#define DA_LOCK_MAX_S (24u * 60 * 60)

struct da_state {
    uint32_t failures; /* wrong guesses since the last reset */
    uint64_t lock_us;  /* of the lock-out that were left when it was last written down */
    /* TPM_STCLEAR_DATA's disableResetLock, here so that no reboot ends it. Means nothing without a lock-out. */
    uint32_t reset_failures;
};

/*
 * A wrong guess; of_reset: by TPM_ResetLockValue, which is then off until the lock-out ends. Changes permanent
 * state.
 */
void da_failure(struct tpm *tpm, bool of_reset);
/* Has TPM_ResetLockValue had its one try in this lock-out? */
bool da_reset_used(const struct tpm *tpm);
/* Is a lock-out under way? */
bool da_locked(const struct tpm *tpm);
/* Microseconds left of it. */
uint64_t da_left_us(const struct tpm *tpm);
/* TPM_ResetLockValue, a new owner: back to none. */
void da_reset(struct tpm *tpm);
/* Writes down what is left of the lock-out, before power goes. */
void da_settle(struct tpm *tpm);

#endif

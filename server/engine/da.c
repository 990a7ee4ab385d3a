/* SPDX-License-Identifier: Apache-2.0 */
#include "server/engine/da.h"

#include "server/engine/engine.h"

#define SECOND_US UINT64_C(1000000)

uint64_t da_left_us(const struct tpm *tpm)
{
    uint64_t passed = tpm->stany.now_us - tpm->stany.da_mark_us;

    return tpm->perm.da.lock_us > passed ? tpm->perm.da.lock_us - passed : 0;
}

bool da_locked(const struct tpm *tpm)
{
    return da_left_us(tpm) != 0;
}

void da_settle(struct tpm *tpm)
{
    tpm->perm.da.lock_us = da_left_us(tpm);
    tpm->stany.da_mark_us = tpm->stany.now_us;
}

/* The n-th guess past the threshold locks for 2^n seconds. */
static uint64_t lock_for(uint32_t failures)
{
    uint32_t doublings = failures - DA_THRESHOLD;
    uint64_t seconds = doublings < 31 ? UINT64_C(1) << doublings : DA_LOCK_MAX_S;

    return VT_MIN(seconds, DA_LOCK_MAX_S) * SECOND_US;
}

bool da_reset_used(const struct tpm *tpm)
{
    return tpm->perm.da.reset_failures && da_locked(tpm);
}

void da_failure(struct tpm *tpm, bool of_reset)
{
    struct da_state *da = &tpm->perm.da;

    tpm->dirty |= TPM_DIRTY_PERMANENT;
    /* Part 1, 8.1: the owner has one try in each lock-out. That of an earlier one does not count. */
    if (of_reset)
        da->reset_failures = 1;
    else if (!da_locked(tpm))
        da->reset_failures = 0;
    if (da->failures < UINT32_MAX)
        da->failures++;
    if (da->failures < DA_THRESHOLD)
        return;
    da->lock_us = lock_for(da->failures);
    tpm->stany.da_mark_us = tpm->stany.now_us;
}

void da_reset(struct tpm *tpm)
{
    tpm->perm.da = (struct da_state){0};
    tpm->stany.da_mark_us = tpm->stany.now_us;
    tpm->dirty |= TPM_DIRTY_PERMANENT;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 3: admin startup and state. TPM_Init is not a command: tpm_init. */
#include "server/engine/handlers.h"

/* 3.2, action 2: as after TPM_Init, with the flags that follow the permanent ones. */
static tpm_rc start_clear(struct cmd *c)
{
    struct tpm *tpm = c->tpm;

    tpm->stclear.flags.deactivated = tpm->perm.flags.deactivated;
    nv_startup_clear(tpm);
    return TPM_SUCCESS;
}

/* 3.2, action 3: what TPM_SaveState kept comes back; without it the TPM must not go on. */
static tpm_rc start_state(struct cmd *c)
{
    struct tpm *tpm = c->tpm;

    if (!tpm_restore_stclear(tpm)) {
        (void)cmd_fatal(c);
        return TPM_FAILEDSELFTEST;
    }
    /* c.i: a resettable PCR is never restored. */
    pcr_startup(tpm, true);
    return TPM_SUCCESS;
}

/* 3.2, action 4. */
static tpm_rc start_deactivated(struct cmd *c)
{
    c->tpm->stclear.flags.deactivated = true;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 3.2 TPM_Startup */
tpm_rc cmd_startup(struct cmd *c, const struct startup_in *in, struct startup_out *out)
{
    struct tpm *tpm = c->tpm;
    tpm_rc rc;

    (void)out;
    /* 1. Only right after TPM_Init. */
    if (!tpm->stany.post_init)
        return TPM_INVALID_POSTINIT;
    switch (in->startup_type) {
    case TPM_ST_CLEAR:
        rc = start_clear(c);
        break;
    case TPM_ST_STATE:
        rc = start_state(c);
        break;
    case TPM_ST_DEACTIVATED:
        rc = start_deactivated(c);
        break;
    default:
        return TPM_BAD_PARAMETER;
    }
    /* 5. The saved state serves once. */
    if (tpm->perm.saved_len)
        tpm_drop_saved(tpm);
    /* 6. */
    tpm->stany.post_init = false;
    /* Part 1, 20: a tick session begins. */
    tpm->stany.tick_start_us = tpm->stany.now_us;
    tpm_random(tpm, tpm->stany.tick_nonce, sizeof tpm->stany.tick_nonce);
    return rc;
}

/* TPM 1.2 Part 3, 3.3 TPM_SaveState */
tpm_rc cmd_save_state(struct cmd *c, const struct save_state_in *in, struct save_state_out *out)
{
    (void)in;
    (void)out;
    /* 1. PCRs, TPM_STCLEAR_FLAGS, TPM_STCLEAR_DATA and keys; sessions end with the power. */
    return tpm_save_stclear(c->tpm) ? TPM_SUCCESS : cmd_fatal(c);
}

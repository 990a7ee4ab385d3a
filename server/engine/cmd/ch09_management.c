/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 9: management. */
#include "server/engine/auth.h"
#include "server/engine/handlers.h"

/* TPM 1.2 Part 3, 9.3 TPM_ResetLockValue */
tpm_rc cmd_reset_lock_value(struct cmd *c, const struct reset_lock_value_in *in,
                            struct reset_lock_value_out *out)
{
    struct tpm *tpm = c->tpm;
    tpm_rc rc;

    (void)in;
    (void)out;
    /* 1. */
    if (da_reset_used(tpm))
        return TPM_AUTHFAIL;
    /* 2. A wrong secret is counted as any other, and switches this off (da_failure). */
    rc = cmd_check_owner(c, 0);
    if (rc)
        return rc;
    /* 3. */
    da_reset(tpm);
    return TPM_SUCCESS;
}

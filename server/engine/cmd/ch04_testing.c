/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 4: admin testing. */
#include "server/engine/handlers.h"

/* Part 1, 9.1: known answers of every primitive; a failure ends all but TPM_GetTestResult until the next
 * TPM_Init. */
static tpm_rc self_test(struct cmd *c)
{
    struct vt_why why = {{0}};

    if (cr_self_test(&why)) {
        (void)cmd_fatal(c);
        return TPM_FAILEDSELFTEST;
    }
    c->tpm->stany.self_tested = true;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 4.1 TPM_SelfTestFull */
tpm_rc cmd_self_test_full(struct cmd *c, const struct self_test_full_in *in, struct self_test_full_out *out)
{
    (void)in;
    (void)out;
    return self_test(c);
}

/* TPM 1.2 Part 3, 4.2 TPM_ContinueSelfTest */
tpm_rc cmd_continue_self_test(struct cmd *c, const struct continue_self_test_in *in,
                              struct continue_self_test_out *out)
{
    (void)in;
    (void)out;
    return c->tpm->stany.self_tested ? TPM_SUCCESS : self_test(c);
}

/* TPM 1.2 Part 3, 4.3 TPM_GetTestResult. The manufacturer's data: one byte, 1 in failure mode. */
tpm_rc cmd_get_test_result(struct cmd *c, const struct get_test_result_in *in,
                           struct get_test_result_out *out)
{
    uint8_t failed = c->tpm->stany.failed;

    (void)in;
    return cmd_blob(c, &out->out_data, &failed, 1) ? TPM_SUCCESS : TPM_SIZE;
}

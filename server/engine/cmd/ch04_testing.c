/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 4: admin testing. */
#include "server/engine/handlers.h"

/* Part 1, 9.1: known answers of every primitive; a failure ends all but TPM_GetTestResult until the next
 * TPM_Init. */
tpm_rc cmd_self_test(struct cmd *c)
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
    return cmd_self_test(c);
}

/* TPM 1.2 Part 3, 4.2 TPM_ContinueSelfTest */
tpm_rc cmd_continue_self_test(struct cmd *c, const struct continue_self_test_in *in,
                              struct continue_self_test_out *out)
{
    (void)in;
    (void)out;
    return c->tpm->stany.self_tested ? TPM_SUCCESS : cmd_self_test(c);
}

/* TPM 1.2 Part 3, 4.3 TPM_GetTestResult. The manufacturer's data: one byte, 1 in failure mode. */
tpm_rc cmd_get_test_result(struct cmd *c, const struct get_test_result_in *in,
                           struct get_test_result_out *out)
{
    uint8_t failed = c->tpm->stany.failed;

    (void)in;
    return cmd_blob(c, &out->out_data, &failed, 1) ? TPM_SUCCESS : TPM_SIZE;
}

/* TPM 1.2 Part 3, 28.3 TPM_CertifySelfTest (deleted in 1.2): the test's result under a key's
 * signature. */
tpm_rc cmd_certify_self_test(struct cmd *c, const struct certify_self_test_in *in,
                             struct certify_self_test_out *out)
{
    static const char passed[] = "Test Passed";
    struct key_slot *slot = c->keys[0];
    uint8_t ordinal[4], digest[TPM_DIGEST_LEN];
    struct wr w = wr_to(ordinal, sizeof ordinal);
    tpm_rc rc;

    /* 1. */
    rc = cmd_self_test(c);
    /* 2. The pipeline proved the key; its PCRs, scheme and usage: */
    if (!rc)
        rc = key_check_pcrs(c, &slot->key);
    if (rc)
        return rc;
    if (slot->key.sig_scheme != TPM_SS_RSASSAPKCS1v15_SHA1)
        return TPM_BAD_SCHEME;
    if (!key_may_attest(&slot->key))
        return TPM_INVALID_KEYUSAGE;
    /* 3-5. */
    wr_put32(&w, c->ordinal);
    cr_sha1v(digest,
             (struct cr_slice[]){CR_SLICE(passed, sizeof passed - 1),
                                 CR_SLICE(in->anti_replay.bytes, TPM_NONCE_LEN), CR_SLICE(ordinal, w.len)},
             3);
    return key_sign_digest(c, slot, digest, &out->sig);
}

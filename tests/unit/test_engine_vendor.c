/* SPDX-License-Identifier: Apache-2.0 */
/* The vendor command: what the engine asks, and what it makes of the answers. docs/attestation.md, "The
 * guest's command". */
#include "server/engine/engine.h"
#include "server/engine/vendor.h"
#include "tests/spec/spec.h"

static struct {
    struct tpm_evidence_ask ask;
    unsigned count;
    int err;
    size_t len;
} seen;

static int evidence(void *ctx, const struct tpm_evidence_ask *ask, uint8_t *out, size_t *len)
{
    (void)ctx;
    assert_int_equal(*len, TPM_EVIDENCE_MAX);
    seen.ask = *ask;
    seen.count++;
    memset(out, 0xE7, seen.len < *len ? seen.len : *len);
    *len = seen.len;
    return seen.err;
}

static int offer(void **state)
{
    int err = spec_setup(state);
    struct tc *tc = *state;

    memset(&seen, 0, sizeof seen);
    seen.len = 300;
    tc->ops.evidence = evidence;
    return err;
}

static tpm_rc ask(struct tc *tc, uint16_t tag, const uint8_t *params, size_t len)
{
    struct wr w = wr_to(tc->cmd, sizeof tc->cmd);

    wr_put16(&w, tag);
    wr_put32(&w, (uint32_t)(10 + len));
    wr_put32(&w, VENDOR_ORD_DEEP_QUOTE);
    wr_copy(&w, params, len);
    tc->cmd_len = w.len;
    return tc_raw(tc);
}

/* Guest PCRs 0 and 23, host PCR 7. */
static const uint8_t good[42] = {
    [0] = 0x11, [31] = 0x22, [33] = 3, [34] = 1, [36] = 0x80, [38] = 3, [39] = 0x80};

static void test_quote__asked__evidence_as_it_came(void **state)
{
    struct tc *tc = *state;
    struct extend_in in = {.pcr_num = 23};

    assert_int_equal(TC(tc, TPM_ORD_Extend, &in, NULL), TPM_SUCCESS);
    assert_int_equal(ask(tc, 0x00C1, good, sizeof good), TPM_SUCCESS);
    assert_int_equal(tc->rsp_len, 10 + 4 + 300);
    assert_int_equal(tc->rsp[12], 300 >> 8);
    assert_int_equal(tc->rsp[13], 300 & 0xFF);
    for (size_t k = 14; k < tc->rsp_len; k++)
        assert_int_equal(tc->rsp[k], 0xE7);
    assert_memory_equal(seen.ask.nonce, good, 32);
    assert_int_equal(seen.ask.mask, 0x800001);
    assert_int_equal(seen.ask.host_mask, 0x80);
    assert_memory_equal(seen.ask.pcr, tc->tpm->stclear.pcr, sizeof seen.ask.pcr);
    assert_int_equal(tc->dirty, 0);
}

static void test_quote__no_evidence__codes_and_no_failure_mode(void **state)
{
    static const struct {
        int err;
        tpm_rc rc;
    } cases[] = {{VT_EAGAIN, TPM_RETRY}, {VT_EIO, TPM_IOERROR}, {VT_ECLOSED, TPM_IOERROR}};
    struct tc *tc = *state;

    for (size_t k = 0; k < VT_COUNT(cases); k++) {
        seen.err = cases[k].err;
        assert_int_equal(ask(tc, 0x00C1, good, sizeof good), cases[k].rc);
    }
    seen.err = VT_OK;
    seen.len = TPM_EVIDENCE_MAX + 1;
    assert_int_equal(ask(tc, 0x00C1, good, sizeof good), TPM_IOERROR);
    seen.len = TPM_EVIDENCE_MAX;
    assert_int_equal(ask(tc, 0x00C1, good, sizeof good), TPM_SUCCESS);
}

static void test_quote__malformed__not_asked(void **state)
{
    struct tc *tc = *state;
    uint8_t params[sizeof good + 1] = {0};

    memcpy(params, good, sizeof good);
    for (size_t len = 0; len <= sizeof params; len++)
        if (len != sizeof good)
            assert_int_equal(ask(tc, 0x00C1, params, len), TPM_BAD_PARAM_SIZE);
    assert_int_equal(ask(tc, 0x00C2, params, sizeof good), TPM_BADTAG);
    params[39] = 0;
    assert_int_equal(ask(tc, 0x00C1, params, sizeof good), TPM_INVALID_PCR_INFO);
    assert_int_equal(seen.count, 0);
}

static void test_quote__nobody_gives_evidence__bad_ordinal(void **state)
{
    struct tc *tc = *state;

    tc->ops.evidence = NULL;
    assert_int_equal(ask(tc, 0x00C1, good, sizeof good), TPM_BAD_ORDINAL);
}

static void test_quote__before_startup__invalid_postinit(void **state)
{
    struct tc *tc = *state;

    tc_init(tc);
    assert_int_equal(ask(tc, 0x00C1, good, sizeof good), TPM_INVALID_POSTINIT);
    assert_int_equal(seen.count, 0);
}

#define ONE(fn) cmocka_unit_test_setup_teardown(fn, offer, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(test_quote__asked__evidence_as_it_came),
        ONE(test_quote__no_evidence__codes_and_no_failure_mode),
        ONE(test_quote__malformed__not_asked),
        ONE(test_quote__nobody_gives_evidence__bad_ordinal),
        ONE(test_quote__before_startup__invalid_postinit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, chapter 13: the SHA-1 thread. */
#include "tests/spec/spec.h"

static const uint8_t text[4096] = {1, 2, 3, 4, 5, 6, 7, 8};

static tpm_rc start(struct tc *tc)
{
    return TC(tc, TPM_ORD_SHA1Start, NULL, NULL);
}

static tpm_rc update(struct tc *tc, uint32_t len)
{
    struct sha1_update_in in = {.hash_data = {.len = len, .data = text}};

    return TC(tc, TPM_ORD_SHA1Update, &in, NULL);
}

static tpm_rc complete(struct tc *tc, uint32_t len, struct sha1_complete_out *out)
{
    struct sha1_complete_in in = {.hash_data = {.len = len, .data = text}};

    return TC(tc, TPM_ORD_SHA1Complete, &in, out);
}

static tpm_rc extend(struct tc *tc, uint32_t pcr, uint32_t len, struct sha1_complete_extend_out *out)
{
    struct sha1_complete_extend_in in = {.pcr_num = pcr, .hash_data = {.len = len, .data = text}};

    return TC(tc, TPM_ORD_SHA1CompleteExtend, &in, out);
}

/*= p3:13.1 p3:13.2#4 p3:13.3 */
static void test_sha1__pieces__hash_of_the_whole(void **state)
{
    static const uint32_t last[] = {0, 1, 55, 56, 63, 64};
    struct sha1_start_out started;
    struct sha1_complete_out out;
    uint8_t expected[TPM_DIGEST_LEN], whole[64 + 192 + 64];
    struct tc *tc = *state;

    for (size_t i = 0; i < VT_COUNT(last); i++) {
        memcpy(whole, text, 64);
        memcpy(whole + 64, text, 192);
        memcpy(whole + 256, text, last[i]);
        assert_int_equal(TC(tc, TPM_ORD_SHA1Start, NULL, &started), TPM_SUCCESS);
        assert_int_equal(update(tc, 64), TPM_SUCCESS);
        assert_int_equal(update(tc, 0), TPM_SUCCESS);
        assert_int_equal(update(tc, 192), TPM_SUCCESS);
        assert_int_equal(complete(tc, last[i], &out), TPM_SUCCESS);
        cr_sha1(expected, whole, 256 + last[i]);
        assert_memory_equal(out.hash_value.bytes, expected, sizeof expected);
    }
    assert_int_equal(started.max_num_bytes % 64, 0);
}

/*= p3:13.3 */
static void test_sha1__no_bytes_at_all__hash_of_nothing(void **state)
{
    struct sha1_complete_out out;
    uint8_t expected[TPM_DIGEST_LEN];

    assert_int_equal(start(*state), TPM_SUCCESS);
    assert_int_equal(complete(*state, 0, &out), TPM_SUCCESS);
    cr_sha1(expected, text, 0);
    assert_memory_equal(out.hash_value.bytes, expected, sizeof expected);
}

/*= p3:13.2#1 p3:13.3 p3:13.4 */
static void test_sha1__no_thread__sha_thread(void **state)
{
    assert_int_equal(update(*state, 64), TPM_SHA_THREAD);
    assert_int_equal(complete(*state, 0, NULL), TPM_SHA_THREAD);
    assert_int_equal(extend(*state, 10, 0, NULL), TPM_SHA_THREAD);
    /* Once only. */
    assert_int_equal(start(*state), TPM_SUCCESS);
    assert_int_equal(complete(*state, 0, NULL), TPM_SUCCESS);
    assert_int_equal(complete(*state, 0, NULL), TPM_SHA_THREAD);
}

/*= p3:13.2#2 p3:13.2#3 */
static void test_sha1_update__not_whole_blocks__sha_error_and_the_end(void **state)
{
    struct sha1_start_out started;
    struct tc *tc = *state;

    assert_int_equal(TC(tc, TPM_ORD_SHA1Start, NULL, &started), TPM_SUCCESS);
    assert_int_equal(update(tc, 63), TPM_SHA_ERROR);
    assert_int_equal(update(tc, 64), TPM_SHA_THREAD);
    /* The most that fits into a command is what was told. */
    assert_int_equal(start(tc), TPM_SUCCESS);
    assert_int_equal(update(tc, started.max_num_bytes), TPM_SUCCESS);
    assert_int_equal(complete(tc, 65, NULL), TPM_SHA_ERROR);
    assert_int_equal(complete(tc, 0, NULL), TPM_SHA_THREAD);
}

/* facts: dropped by any other command, also by one that fails. */
static void test_sha1__other_command__ends_the_thread(void **state)
{
    struct tc *tc = *state;
    uint8_t value[TPM_DIGEST_LEN];

    assert_int_equal(start(tc), TPM_SUCCESS);
    spec_pcr(tc, 0, value);
    assert_int_equal(update(tc, 64), TPM_SHA_THREAD);
    assert_int_equal(start(tc), TPM_SUCCESS);
    assert_int_equal(spec_extend(tc, 99, 0), TPM_BADINDEX);
    assert_int_equal(complete(tc, 0, NULL), TPM_SHA_THREAD);
    /* A second start begins anew. */
    assert_int_equal(start(tc), TPM_SUCCESS);
    assert_int_equal(update(tc, 64), TPM_SUCCESS);
    assert_int_equal(start(tc), TPM_SUCCESS);
    assert_int_equal(tc->tpm->stany.sha1.total, 0);
}

/*= p3:13.4#5 p3:13.4#6 */
static void test_sha1_complete_extend__known_value__hash_and_pcr(void **state)
{
    uint8_t both[2 * TPM_DIGEST_LEN] = {0}, expected[TPM_DIGEST_LEN];
    struct sha1_complete_extend_out out;
    struct tc *tc = *state;

    assert_int_equal(start(tc), TPM_SUCCESS);
    assert_int_equal(extend(tc, 10, 7, &out), TPM_SUCCESS);
    cr_sha1(both + TPM_DIGEST_LEN, text, 7);
    assert_memory_equal(out.hash_value.bytes, both + TPM_DIGEST_LEN, TPM_DIGEST_LEN);
    cr_sha1(expected, both, sizeof both);
    assert_memory_equal(out.out_digest.bytes, expected, sizeof expected);
    spec_pcr(tc, 10, both);
    assert_memory_equal(both, expected, sizeof expected);
}

/*= p3:13.4#1 p3:13.4#4 */
static void test_sha1_complete_extend__bad_pcr_or_locality__nothing_extended(void **state)
{
    uint8_t value[TPM_DIGEST_LEN];
    struct tc *tc = *state;

    assert_int_equal(start(tc), TPM_SUCCESS);
    assert_int_equal(extend(tc, TPM_NUM_PCR, 0, NULL), TPM_BADINDEX);
    assert_int_equal(start(tc), TPM_SUCCESS);
    assert_int_equal(extend(tc, 17, 0, NULL), TPM_BAD_LOCALITY);
    assert_int_equal(start(tc), TPM_SUCCESS);
    assert_int_equal(extend(tc, 10, 65, NULL), TPM_SHA_ERROR);
    spec_pcr(tc, 10, value);
    assert_true(spec_all(value, sizeof value, 0));
    spec_pcr(tc, 17, value);
    assert_true(spec_all(value, sizeof value, 0xFF));
    tc->locality = 3;
    assert_int_equal(start(tc), TPM_SUCCESS);
    assert_int_equal(extend(tc, 17, 0, NULL), TPM_SUCCESS);
}

/* As TPM_Extend, 16.1#8: a disabled TPM measures, but does not show. */
static void test_sha1_complete_extend__disabled__zeros(void **state)
{
    struct sha1_complete_extend_out out;
    struct tc *tc = *state;

    tc->tpm->perm.flags.disable = true;
    assert_int_equal(start(tc), TPM_SUCCESS);
    assert_int_equal(extend(tc, 10, 7, &out), TPM_SUCCESS);
    assert_true(spec_all(out.out_digest.bytes, TPM_DIGEST_LEN, 0));
    assert_false(spec_all(tc->tpm->stclear.pcr[10], TPM_DIGEST_LEN, 0));
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_sha1__pieces__hash_of_the_whole),
        T(test_sha1__no_bytes_at_all__hash_of_nothing),
        T(test_sha1__no_thread__sha_thread),
        T(test_sha1_update__not_whole_blocks__sha_error_and_the_end),
        T(test_sha1__other_command__ends_the_thread),
        T(test_sha1_complete_extend__known_value__hash_and_pcr),
        T(test_sha1_complete_extend__bad_pcr_or_locality__nothing_extended),
        T(test_sha1_complete_extend__disabled__zeros),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

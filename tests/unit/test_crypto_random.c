/* SPDX-License-Identifier: Apache-2.0 */
#include <mbedtls/version.h>
#include <mbedtls/hmac_drbg.h>

#include "tests/unit/crypto_test.h"

/* mbedTLS's HMAC_DRBG seeded with the same bytes, no prediction resistance, as the oracle. */
static void test_drbg__same_seed_as_mbedtls__same_stream(void **state)
{
    static const size_t lengths[] = { 1, 31, 32, 33, 64, 100, 128, 1024, 20, 0, 7 };
    uint8_t material[CR_DRBG_SEED + 5], ours[1024], theirs[1024];
    struct cr_drbg drbg;
    mbedtls_hmac_drbg_context oracle;

    (void)state;
    for (size_t i = 0; i < sizeof material; i++)
        material[i] = (uint8_t)(3 * i + 1);
    mbedtls_hmac_drbg_init(&oracle);
    assert_int_equal(mbedtls_hmac_drbg_seed_buf(&oracle, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256),
                                                material, sizeof material),
                     0);
    cr_drbg_init(&drbg, material, material + CR_DRBG_SEED, sizeof material - CR_DRBG_SEED);
    for (size_t i = 0; i < VT_COUNT(lengths); i++) {
        cr_drbg_random(&drbg, ours, lengths[i]);
        assert_int_equal(mbedtls_hmac_drbg_random(&oracle, theirs, lengths[i]), 0);
        assert_memory_equal(ours, theirs, lengths[i]);
        assert_int_equal(drbg.calls, i + 1);
    }
    mbedtls_hmac_drbg_free(&oracle);
}

/* Reseeding is an update with the new input (SP 800-90A, 10.1.2.4), as mbedtls_hmac_drbg_update does it. */
static void test_drbg__stirred__stream_of_mbedtls_updated(void **state)
{
    uint8_t seed[CR_DRBG_SEED] = { 7 }, ours[64], theirs[64];
    struct cr_drbg drbg;
    mbedtls_hmac_drbg_context oracle;

    (void)state;
    mbedtls_hmac_drbg_init(&oracle);
    assert_int_equal(mbedtls_hmac_drbg_seed_buf(&oracle, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), seed,
                                                sizeof seed), 0);
    cr_drbg_init(&drbg, seed, NULL, 0);
    cr_drbg_random(&drbg, ours, 10);
    assert_int_equal(mbedtls_hmac_drbg_random(&oracle, theirs, 10), 0);
    cr_drbg_stir(&drbg, "entropy", 7);
#if MBEDTLS_VERSION_NUMBER < 0x03000000
    assert_int_equal(mbedtls_hmac_drbg_update_ret(&oracle, (const unsigned char *)"entropy", 7), 0);
#else
    assert_int_equal(mbedtls_hmac_drbg_update(&oracle, (const unsigned char *)"entropy", 7), 0);
#endif
    assert_int_equal(drbg.calls, 0);
    cr_drbg_random(&drbg, ours, sizeof ours);
    assert_int_equal(mbedtls_hmac_drbg_random(&oracle, theirs, sizeof theirs), 0);
    assert_memory_equal(ours, theirs, sizeof ours);
    mbedtls_hmac_drbg_free(&oracle);
}

static void test_drbg__copied_state__continues_alike(void **state)
{
    struct cr_drbg a, b;
    uint8_t x[50], y[50];

    (void)state;
    start_drbg(&a, "copy");
    cr_drbg_random(&a, x, 13);
    memcpy(&b, &a, sizeof b);
    cr_drbg_random(&a, x, sizeof x);
    cr_drbg_random(&b, y, sizeof y);
    assert_memory_equal(x, y, sizeof x);
    cr_drbg_stir(&b, "x", 1);
    cr_drbg_random(&a, x, sizeof x);
    cr_drbg_random(&b, y, sizeof y);
    assert_memory_not_equal(x, y, sizeof x);
}

static void test_drbg__personal_differs__stream_differs(void **state)
{
    struct cr_drbg a, b;
    uint8_t x[20], y[20];

    (void)state;
    start_drbg(&a, "one");
    start_drbg(&b, "two");
    cr_drbg_random(&a, x, sizeof x);
    cr_drbg_random(&b, y, sizeof y);
    assert_memory_not_equal(x, y, sizeof x);
}

/* A request above 2^16 bytes is two (SP 800-90A, table 2). */
static void test_drbg__huge_request__split_at_64_kib(void **state)
{
    static uint8_t one[65536 + 100], two[65536 + 100];
    struct cr_drbg a, b;

    (void)state;
    start_drbg(&a, "huge");
    memcpy(&b, &a, sizeof b);
    cr_drbg_random(&a, one, sizeof one);
    cr_drbg_random(&b, two, 65536);
    cr_drbg_random(&b, two + 65536, 100);
    assert_memory_equal(one, two, sizeof one);
    assert_int_equal(a.calls, 2);
}

static void test_os_random__twice__differs(void **state)
{
    uint8_t a[300], b[300];

    (void)state;
    memset(a, 0, sizeof a);
    memset(b, 0, sizeof b);
    assert_int_equal(cr_os_random(a, sizeof a), 0);
    assert_int_equal(cr_os_random(b, sizeof b), 0);
    assert_memory_not_equal(a, b, 20);
    assert_memory_not_equal(a + 280, b + 280, 20);
    assert_int_equal(cr_os_random(NULL, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drbg__same_seed_as_mbedtls__same_stream),
        cmocka_unit_test(test_drbg__stirred__stream_of_mbedtls_updated),
        cmocka_unit_test(test_drbg__copied_state__continues_alike),
        cmocka_unit_test(test_drbg__personal_differs__stream_differs),
        cmocka_unit_test(test_drbg__huge_request__split_at_64_kib),
        cmocka_unit_test(test_os_random__twice__differs),
    };

    return cmocka_run_group_tests(tests, init_crypto, NULL);
}

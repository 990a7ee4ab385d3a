/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of key material, and the health of what is stirred into it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/crypto/crypto.h"

#define WINDOW 512

static void test_samples__good__are_healthy(void **state)
{
    uint8_t samples[WINDOW * 64];

    (void)state;
    assert_int_equal(cr_os_random(samples, sizeof samples), VT_OK);
    assert_true(cr_samples_healthy(samples, sizeof samples));
}

static void test_samples__stuck_or_uneven__are_not(void **state)
{
    uint8_t samples[WINDOW * 2];

    (void)state;
    memset(samples, 0x55, sizeof samples);
    assert_false(cr_samples_healthy(samples, sizeof samples));
    /* Nine in a row are too many, eight are not. */
    for (size_t i = 0; i < sizeof samples; i++)
        samples[i] = (uint8_t)(i * 7);
    assert_true(cr_samples_healthy(samples, sizeof samples));
    memset(samples + 600, 1, 8);
    samples[608] = 2;
    assert_true(cr_samples_healthy(samples, sizeof samples));
    samples[608] = 1;
    assert_false(cr_samples_healthy(samples, sizeof samples));
    /* A value that comes every seventh time, never twice in a row. */
    for (size_t i = 0; i < sizeof samples; i++)
        samples[i] = i % 7 ? (uint8_t)(i * 5 + i / 256) : 9;
    samples[0] = samples[WINDOW] = 9;
    assert_false(cr_samples_healthy(samples, sizeof samples));
}

static void test_samples__fewer_than_a_window__are_not(void **state)
{
    uint8_t samples[WINDOW];

    (void)state;
    assert_int_equal(cr_os_random(samples, sizeof samples), VT_OK);
    assert_false(cr_samples_healthy(samples, WINDOW - 1));
    assert_false(cr_samples_healthy(samples, 0));
}

static void test_pool__same_input__never_the_same_keys(void **state)
{
    static const uint8_t input[WINDOW];
    uint8_t a[80], b[80], zero[80] = {0};

    (void)state;
    assert_int_equal(cr_key_random(a, sizeof a), VT_OK);
    assert_int_equal(cr_pool_mix(input, sizeof input), VT_OK);
    assert_int_equal(cr_key_random(b, sizeof b), VT_OK);
    assert_memory_not_equal(a, b, sizeof a);
    assert_int_equal(cr_pool_mix(input, sizeof input), VT_OK);
    assert_int_equal(cr_key_random(a, sizeof a), VT_OK);
    assert_memory_not_equal(a, b, sizeof a);
    assert_memory_not_equal(a, zero, 16);
    assert_memory_not_equal(a + 64, zero, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples__good__are_healthy),
        cmocka_unit_test(test_samples__stuck_or_uneven__are_not),
        cmocka_unit_test(test_samples__fewer_than_a_window__are_not),
        cmocka_unit_test(test_pool__same_input__never_the_same_keys),
    };

    return cr_init() || cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

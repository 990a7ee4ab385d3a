/* SPDX-License-Identifier: Apache-2.0 */
/* The search for primes of the key makers. */
#include "tests/lib/fixture_keys.h"
#include "tests/unit/crypto_test.h"

static void make(size_t backend, struct cr_rsa_key *key, unsigned bits, uint32_t e, struct cr_drbg *drbg)
{
    struct cr_rsa *rsa;

    assert_int_equal(cr_rsa_make_with(backends[backend], key, bits, e, drbg), VT_OK);
    assert_int_equal(key->pub.bytes, bits / 8);
    assert_int_equal(key->pub.e, e);
    assert_int_equal(cr_rsa_load_with(backends[backend], &rsa, key), VT_OK);
    cr_rsa_free(rsa);
}

static void test_make__same_drbg_state__same_key_in_every_back_end(void **state)
{
    static const unsigned sizes[] = {512, 528, 1024, 2048};
    struct cr_drbg start, one, two;
    CR_SECRET_RSA a;
    CR_SECRET_RSA b;

    (void)state;
    start_drbg(&start, "make");
    for (size_t i = 0; i < VT_COUNT(sizes); i++)
        for (size_t k = 0; k < VT_COUNT(backends); k++) {
            one = two = start;
            memset(&a, 0xaa, sizeof a);
            memset(&b, 0xbb, sizeof b);
            make(0, &a, sizes[i], 65537, &one);
            make(k, &b, sizes[i], 65537, &two);
            assert_memory_equal(&a, &b, sizeof a);
            assert_memory_equal(&one, &two, sizeof one);
        }
    /* Not the same key again: the state moved on. */
    make(0, &b, 2048, 65537, &one);
    assert_memory_not_equal(a.pub.n, b.pub.n, 256);
}

static void test_make__every_exponent__goes_with_both_primes(void **state)
{
    /* 3 * 5 * 7 * ... * 29 turns most primes down. */
    static const uint32_t exponents[] = {3, 17, 257, 3234846615u, 4294967295u};
    struct cr_drbg drbg;
    CR_SECRET_RSA key;

    (void)state;
    start_drbg(&drbg, "exponents");
    for (size_t i = 0; i < VT_COUNT(exponents); i++)
        make(VT_COUNT(backends) - 1, &key, 512, exponents[i], &drbg);
}

static void test_make__size_or_exponent_not_supported__usage(void **state)
{
    static const unsigned sizes[] = {0, 8, 496, 513, 520, 1025, 2056, 2064, 4096, 0xfffffff0};
    static const uint32_t exponents[] = {0, 1, 2, 65536};
    struct cr_drbg drbg;
    struct cr_rsa_key key;

    (void)state;
    start_drbg(&drbg, "usage");
    for (size_t i = 0; i < VT_COUNT(sizes); i++) {
        assert_false(cr_rsa_size_fits(sizes[i], 65537));
        assert_int_equal(cr_rsa_make(&key, sizes[i], 65537, &drbg), VT_EUSAGE);
    }
    for (size_t i = 0; i < VT_COUNT(exponents); i++)
        assert_int_equal(cr_rsa_make(&key, 512, exponents[i], &drbg), VT_EUSAGE);
}

/* ---- One round of Miller-Rabin ---- */

static bool passes(const struct cr_backend *backend, const uint8_t *n, const uint8_t *base, size_t len)
{
    bool both[2] = {false, true};

    /* In either place, and whatever stands in the other. */
    assert_int_equal(backend->strong_probable((const struct cr_strong[2]){{n, base}, {n, base}}, len, both), VT_OK);
    assert_true(both[0] == both[1]);
    return both[0];
}

static bool small_passes(const struct cr_backend *backend, uint32_t n, uint32_t base)
{
    const uint8_t n_bytes[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    const uint8_t base_bytes[4] = {(uint8_t)(base >> 24), (uint8_t)(base >> 16), (uint8_t)(base >> 8), (uint8_t)base};

    return passes(backend, n_bytes, base_bytes, 4);
}

static bool is_prime(uint32_t n)
{
    for (uint32_t d = 2; d * d <= n; d++)
        if (n % d == 0)
            return false;
    return true;
}

/* Every odd number there is up to 2000: a prime passes for each base, another one for a quarter of them at most. */
static void test_strong__small_numbers__primes_pass_and_few_others(void **state)
{
    (void)state;
    for (size_t k = 0; k < VT_COUNT(backends); k++)
        for (uint32_t n = 5; n < 600; n += 2) {
            uint32_t passed = 0, tried = 0;

            for (uint32_t base = 2; base < n - 1; base++, tried++)
                passed += small_passes(backends[k], n, base);
            if (is_prime(n))
                assert_int_equal(passed, tried);
            else
                assert_true(4 * passed <= n - 1);
        }
}

static void test_strong__known_strong_pseudoprimes__pass_for_their_base_alone(void **state)
{
    (void)state;
    for (size_t k = 0; k < VT_COUNT(backends); k++) {
        assert_true(small_passes(backends[k], 2047, 2));
        assert_false(small_passes(backends[k], 2047, 3));
        assert_true(small_passes(backends[k], 1373653, 2) && small_passes(backends[k], 1373653, 3));
        assert_false(small_passes(backends[k], 1373653, 5));
        assert_true(small_passes(backends[k], 25326001, 5));
        assert_false(small_passes(backends[k], 25326001, 7));
        /* Carmichael numbers: Fermat's test would let them pass. */
        assert_false(small_passes(backends[k], 561, 2));
        assert_false(small_passes(backends[k], 1729, 2));
        /* n - 1 = 2^16: all the squarings. */
        assert_true(small_passes(backends[k], 65537, 3));
    }
}

static void test_strong__two_numbers_at_once__each_has_its_own_verdict(void **state)
{
    const struct cr_rsa_key *key = fixture_rsa_key(2048, 0);
    uint8_t base[128], composite[128];

    (void)state;
    assert_non_null(key);
    memset(base, 0x5a, sizeof base);
    memcpy(composite, key->p, sizeof composite);
    composite[127] ^= 2;
    for (size_t k = 0; k < VT_COUNT(backends); k++)
        for (int swap = 0; swap < 2; swap++) {
            struct cr_strong strong[2] = {{composite, base}, {composite, base}};
            bool verdict[2];

            strong[swap].n = key->p;
            assert_int_equal(backends[k]->strong_probable(strong, 128, verdict), VT_OK);
            assert_true(verdict[swap]);
            assert_false(verdict[!swap]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_make__same_drbg_state__same_key_in_every_back_end),
        cmocka_unit_test(test_make__every_exponent__goes_with_both_primes),
        cmocka_unit_test(test_make__size_or_exponent_not_supported__usage),
        cmocka_unit_test(test_strong__small_numbers__primes_pass_and_few_others),
        cmocka_unit_test(test_strong__known_strong_pseudoprimes__pass_for_their_base_alone),
        cmocka_unit_test(test_strong__two_numbers_at_once__each_has_its_own_verdict),
    };

    return cmocka_run_group_tests(tests, init_crypto, NULL);
}

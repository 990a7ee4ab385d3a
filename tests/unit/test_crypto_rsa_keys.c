/* SPDX-License-Identifier: Apache-2.0 */
#include "server/base/alloc.h"
#include "tests/lib/fixture_keys.h"
#include "tests/unit/crypto_test.h"

/* ---- Generate ---- */

static void test_generate__same_drbg_state__same_key(void **state)
{
    static const unsigned sizes[] = { 512, 528, 1024 };
    struct cr_drbg one, two;
    CR_SECRET_RSA a;
    CR_SECRET_RSA b;

    (void)state;
    start_drbg(&one, "generate");
    for (size_t i = 0; i < VT_COUNT(sizes); i++) {
        memcpy(&two, &one, sizeof two);
        memset(&a, 0xaa, sizeof a);
        memset(&b, 0xbb, sizeof b);
        assert_int_equal(cr_rsa_generate(&a, sizes[i], 65537, &one), 0);
        assert_int_equal(cr_rsa_generate(&b, sizes[i], 65537, &two), 0);
        assert_memory_equal(&a, &b, sizeof a);
        assert_memory_equal(&one, &two, sizeof one);
        assert_int_equal(a.pub.bytes, sizes[i] / 8);
    }
    /* Not the first key again: the state moved on. */
    assert_int_equal(cr_rsa_generate(&a, 1024, 65537, &one), 0);
    assert_memory_not_equal(a.pub.n, b.pub.n, 128);
}

static void test_generate__other_exponents__keys_load(void **state)
{
    /* 3 * 5 * 7 * ... * 29 turns most primes down. */
    static const uint32_t exponents[] = { 3, 17, 257, 3234846615u, 4294967295u };
    struct cr_drbg drbg;

    (void)state;
    start_drbg(&drbg, "exponents");
    for (size_t i = 0; i < VT_COUNT(exponents); i++)
        for (size_t b = 0; b < VT_COUNT(backends); b++) {
            CR_SECRET_RSA key;
            struct cr_rsa *rsa;

            assert_int_equal(cr_rsa_generate(&key, 512, exponents[i], &drbg), 0);
            assert_int_equal(key.pub.e, exponents[i]);
            assert_int_equal(cr_rsa_load_with(backends[b], &rsa, &key), 0);
            cr_rsa_free(rsa);
        }
}

static void test_generate__size_or_exponent_not_supported__usage(void **state)
{
    static const unsigned sizes[] = { 0, 8, 496, 513, 520, 1025, 2056, 2064, 4096 };
    static const uint32_t exponents[] = { 0, 1, 2, 65536 };
    struct cr_drbg drbg;
    struct cr_rsa_key key;

    (void)state;
    start_drbg(&drbg, "usage");
    for (size_t i = 0; i < VT_COUNT(sizes); i++)
        assert_int_equal(cr_rsa_generate(&key, sizes[i], 65537, &drbg), VT_EUSAGE);
    for (size_t i = 0; i < VT_COUNT(exponents); i++)
        assert_int_equal(cr_rsa_generate(&key, 512, exponents[i], &drbg), VT_EUSAGE);
}

/* ---- Load ---- */

static void expect_load(const struct cr_rsa_key *key, int expected)
{
    for (size_t b = 0; b < VT_COUNT(backends); b++) {
        struct cr_rsa *rsa = (void *)&b;

        assert_int_equal(cr_rsa_load_with(backends[b], &rsa, key), expected);
        if (expected)
            assert_null(rsa);
        cr_rsa_free(rsa);
    }
}

static void test_load__all_fixtures__loaded_and_distinct(void **state)
{
    static const unsigned counts[][2] = { { 2048, FIXTURE_KEYS_2048 }, { 1024, FIXTURE_KEYS_1024 },
                                          { 512, FIXTURE_KEYS_512 } };

    (void)state;
    for (size_t s = 0; s < VT_COUNT(counts); s++) {
        for (unsigned i = 0; i < counts[s][1]; i++) {
            const struct cr_rsa_key *key = fixture_rsa_key(counts[s][0], i);

            assert_int_equal(key->pub.bytes, counts[s][0] / 8);
            expect_load(key, 0);
            for (unsigned j = 0; j < i; j++)
                assert_memory_not_equal(key->p, fixture_rsa_key(counts[s][0], j)->p, key->pub.bytes / 2);
        }
        assert_null(fixture_rsa_key(counts[s][0], counts[s][1]));
    }
    assert_null(fixture_rsa_key(768, 0));
}

static void test_load__either_prime__same_private_operation(void **state)
{
    struct cr_rsa_key key = *fixture_rsa_key(512, 0);
    uint8_t in[64] = { 0, 9 }, one[64], two[64];
    struct cr_rsa *rsa;

    (void)state;
    assert_int_equal(cr_rsa_load(&rsa, &key), 0);
    assert_int_equal(cr_rsa_private_op(rsa, in, one), 0);
    assert_memory_equal(cr_rsa_public(rsa), &key.pub, sizeof key.pub);
    cr_rsa_free(rsa);
    /* The other prime, worked out elsewhere (Python). */
    from_hex(key.p, 32, "b823abfc635130d10d20fedbcb857019134c668b313e696e4d7d8e373daf1c53");
    assert_int_equal(cr_rsa_load(&rsa, &key), 0);
    assert_int_equal(cr_rsa_private_op(rsa, in, two), 0);
    assert_memory_equal(one, two, sizeof one);
    cr_rsa_free(rsa);
}

static void test_load__prime_does_not_divide__error(void **state)
{
    struct cr_rsa_key key = *fixture_rsa_key(1024, 0);

    (void)state;
    memcpy(key.p, fixture_rsa_key(1024, 1)->p, 64);
    expect_load(&key, VT_ECRYPTO);
    key = *fixture_rsa_key(1024, 0);
    key.p[63] ^= 2;
    expect_load(&key, VT_ECRYPTO);
    key = *fixture_rsa_key(1024, 0);
    key.p[63] ^= 1; /* even */
    expect_load(&key, VT_ECRYPTO);
    key = *fixture_rsa_key(1024, 0);
    key.pub.n[60] ^= 1;
    expect_load(&key, VT_ECRYPTO);
}

static void test_load__prime_zero_one_or_short__error(void **state)
{
    struct cr_rsa_key key = *fixture_rsa_key(1024, 0);

    (void)state;
    memset(key.p, 0, sizeof key.p);
    expect_load(&key, VT_ECRYPTO);
    key.p[63] = 1; /* divides, but q = n does not fit */
    expect_load(&key, VT_ECRYPTO);
    memset(key.p, 0xff, 64);
    expect_load(&key, VT_ECRYPTO);
}

/* n = p * p, n = p * composite, and n = 3 * large, each consistent in itself; made with Python. */
static void test_load__modulus_not_of_two_primes__error(void **state)
{
    static const struct {
        const char *n, *p;
    } cases[] = {
        { "93151c9baac6ff2296770d46bb6af0d0e28a4ce96be22963061fa07f479e765f"
          "404dde1cc7619e5417e182328e8d815bf81b14867c79e908e989a0ead2925fa1",
          "c20b49f83b6dc6ab5b047c42e454021a7521269b7523b960c82b9ca50bbcb351" },
        { "9a3063675868f239a29ae2184f6dec0b413b3cc6454c5225e4a7ab00f36698c2"
          "6ead4dbff6ef1dc50ef0a43c1affc39fe85a7f2be626d4d26323b7a6e4013411",
          "ed4662b1f3949dd17e883fabd2f8b954fea1ce0950fc29da518ef8c989405803" },
        { "9a3063675868f239a29ae2184f6dec0b413b3cc6454c5225e4a7ab00f36698c2"
          "6ead4dbff6ef1dc50ef0a43c1affc39fe85a7f2be626d4d26323b7a6e4013411",
          "a65b6f8b8fb52e5118e6e1757a16392062ff85858ea3470b335f2a9c042df95b" },
        { "a678e69954985cbb923107f2507fc59468e2f5eb70b4ace95152d6a5645092a4"
          "37339d7f91752dfc8e92a3547584a9dbcd08b22620608edee97e80fd1771e019",
          "0000000000000000000000000000000000000000000000000000000000000003" },
    };

    (void)state;
    for (size_t i = 0; i < VT_COUNT(cases); i++) {
        struct cr_rsa_key key = { .pub = { .e = 65537, .bytes = 64 } };

        from_hex(key.pub.n, 64, cases[i].n);
        from_hex(key.p, 32, cases[i].p);
        expect_load(&key, VT_ECRYPTO);
    }
}

/* What the cheap check lets through, an operation does not; the second and third key above. */
static void test_open__composite_factor__no_operation_succeeds(void **state)
{
    static const char n[] = "9a3063675868f239a29ae2184f6dec0b413b3cc6454c5225e4a7ab00f36698c2"
                            "6ead4dbff6ef1dc50ef0a43c1affc39fe85a7f2be626d4d26323b7a6e4013411";
    static const char *const p[] = { "ed4662b1f3949dd17e883fabd2f8b954fea1ce0950fc29da518ef8c989405803",
                                     "a65b6f8b8fb52e5118e6e1757a16392062ff85858ea3470b335f2a9c042df95b" };
    uint8_t in[64] = { 0, 9 }, out[64] = { 0 };

    (void)state;
    for (size_t i = 0; i < VT_COUNT(p); i++)
        for (size_t b = 0; b < VT_COUNT(backends); b++) {
            struct cr_rsa_key key = { .pub = { .e = 65537, .bytes = 64 } };
            struct cr_rsa *rsa;
            int err;

            from_hex(key.pub.n, 64, n);
            from_hex(key.p, 32, p[i]);
            assert_int_equal(cr_rsa_check(&key), VT_OK);
            err = cr_rsa_open_with(backends[b], &rsa, &key);
            if (!err)
                err = cr_rsa_private_op(rsa, in, out);
            assert_int_equal(err, VT_ECRYPTO);
            assert_int_equal(out[1], 0);
            cr_rsa_free(rsa);
        }
}

static void test_load__exponent_bad_or_not_coprime__error(void **state)
{
    static const uint32_t exponents[] = { 0, 1, 2, 65536, 3 };
    struct cr_rsa_key key = *fixture_rsa_key(512, 0);

    (void)state;
    for (size_t i = 0; i < VT_COUNT(exponents); i++) {
        key.pub.e = exponents[i];
        expect_load(&key, VT_ECRYPTO);
    }
    key.pub.e = 65539; /* another prime that fits: a key with that exponent */
    expect_load(&key, 0);
}

static void test_load__size_not_supported__error(void **state)
{
    static const uint16_t lengths[] = { 0, 1, 62, 127, 258, 65535 };
    struct cr_rsa_key key = *fixture_rsa_key(1024, 0);

    (void)state;
    for (size_t i = 0; i < VT_COUNT(lengths); i++) {
        key.pub.bytes = lengths[i];
        expect_load(&key, VT_ECRYPTO);
    }
}

static void test_load__allocation_fails__no_memory(void **state)
{
    (void)state;
    for (size_t b = 0; b < VT_COUNT(backends); b++) {
        int failures = 0;
        struct cr_rsa *rsa;

        for (long n = 0;; n++) {
            int err;

            vt_alloc_fail_after(n);
            err = cr_rsa_load_with(backends[b], &rsa, fixture_rsa_key(1024, 0));
            vt_alloc_fail_after(-1);
            if (!err)
                break;
            assert_int_equal(err, VT_ENOMEM);
            assert_null(rsa);
            failures++;
        }
        assert_int_equal(failures, 2);
        cr_rsa_free(rsa);
    }
}

static void test_free__null__nothing(void **state)
{
    (void)state;
    cr_rsa_free(NULL);
}

static void test_key_wipe__key__zeros(void **state)
{
    struct cr_rsa_key key = *fixture_rsa_key(512, 0), zero;

    (void)state;
    memset(&zero, 0, sizeof zero);
    cr_rsa_key_wipe(&key);
    assert_memory_equal(&key, &zero, sizeof key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generate__same_drbg_state__same_key),
        cmocka_unit_test(test_generate__other_exponents__keys_load),
        cmocka_unit_test(test_generate__size_or_exponent_not_supported__usage),
        cmocka_unit_test(test_load__all_fixtures__loaded_and_distinct),
        cmocka_unit_test(test_load__either_prime__same_private_operation),
        cmocka_unit_test(test_load__prime_does_not_divide__error),
        cmocka_unit_test(test_load__prime_zero_one_or_short__error),
        cmocka_unit_test(test_load__modulus_not_of_two_primes__error),
        cmocka_unit_test(test_open__composite_factor__no_operation_succeeds),
        cmocka_unit_test(test_load__exponent_bad_or_not_coprime__error),
        cmocka_unit_test(test_load__size_not_supported__error),
        cmocka_unit_test(test_load__allocation_fails__no_memory),
        cmocka_unit_test(test_free__null__nothing),
        cmocka_unit_test(test_key_wipe__key__zeros),
    };

    return cmocka_run_group_tests(tests, init_crypto, NULL);
}

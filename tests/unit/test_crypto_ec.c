/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/crypto_test.h"

/* FIPS 186-4, D.1.2.3: order and base point. */
#define ORDER "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"
#define BASE                                                             \
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296" \
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"

static struct vt_key key_from(const char *hex)
{
    struct vt_key key;

    assert_int_equal(from_hex(key.bytes, sizeof key.bytes, hex), 32);
    return key;
}

/* RFC 6979, A.2.5. */
static void test_sign__rfc_6979__signatures(void **state)
{
    static const struct {
        const char *text, *sig;
    } cases[] = {
        { "sample", "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
                    "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8" },
        { "test", "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367"
                  "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083" },
    };
    struct vt_key key = key_from("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");

    (void)state;
    for (size_t i = 0; i < VT_COUNT(cases); i++) {
        uint8_t digest[CR_SHA256_LEN], sig[CR_EC_SIGNATURE];

        cr_sha256(digest, cases[i].text, strlen(cases[i].text));
        assert_int_equal(cr_ec_sign(&key, digest, sig), 0);
        assert_hex(sig, sizeof sig, cases[i].sig);
    }
}

static void test_verify__any_bit_changed__refused(void **state)
{
    uint8_t pub[CR_EC_PUBLIC], digest[CR_SHA256_LEN], sig[CR_EC_SIGNATURE];
    struct vt_key key;

    (void)state;
    assert_int_equal(cr_ec_generate(&key, pub), 0);
    cr_sha256(digest, "text", 4);
    assert_int_equal(cr_ec_sign(&key, digest, sig), 0);
    assert_int_equal(cr_ec_verify(pub, digest, sig), 0);
    for (size_t i = 0; i < sizeof sig; i++) {
        sig[i] ^= 1;
        assert_int_equal(cr_ec_verify(pub, digest, sig), VT_ECRYPTO);
        sig[i] ^= 1;
    }
    digest[31] ^= 0x80;
    assert_int_equal(cr_ec_verify(pub, digest, sig), VT_ECRYPTO);
    memset(sig, 0, sizeof sig);
    assert_int_equal(cr_ec_verify(pub, digest, sig), VT_ECRYPTO);
}

static void test_verify__another_key__refused(void **state)
{
    uint8_t pub[CR_EC_PUBLIC], other_pub[CR_EC_PUBLIC], digest[CR_SHA256_LEN] = { 1 }, sig[CR_EC_SIGNATURE];
    struct vt_key key, other;

    (void)state;
    assert_int_equal(cr_ec_generate(&key, pub), 0);
    assert_int_equal(cr_ec_generate(&other, other_pub), 0);
    assert_memory_not_equal(pub, other_pub, sizeof pub);
    assert_int_equal(cr_ec_sign(&key, digest, sig), 0);
    assert_int_equal(cr_ec_verify(other_pub, digest, sig), VT_ECRYPTO);
}

static void test_agree__both_sides__same_secret(void **state)
{
    uint8_t pub_a[CR_EC_PUBLIC], pub_b[CR_EC_PUBLIC];
    struct vt_key a, b, shared_a, shared_b;

    (void)state;
    assert_int_equal(cr_ec_generate(&a, pub_a), 0);
    assert_int_equal(cr_ec_generate(&b, pub_b), 0);
    assert_int_equal(cr_ec_agree(&a, pub_b, &shared_a), 0);
    assert_int_equal(cr_ec_agree(&b, pub_a, &shared_b), 0);
    assert_memory_equal(&shared_a, &shared_b, sizeof shared_a);
    /* 1 * B is B. */
    a = key_from("0000000000000000000000000000000000000000000000000000000000000001");
    assert_int_equal(cr_ec_agree(&a, pub_b, &shared_a), 0);
    assert_memory_equal(&shared_a, pub_b + 1, sizeof shared_a);
}

static void test_public__one__base_point(void **state)
{
    struct vt_key one = key_from("0000000000000000000000000000000000000000000000000000000000000001");
    uint8_t pub[CR_EC_PUBLIC];

    (void)state;
    assert_int_equal(cr_ec_public(&one, pub), 0);
    assert_hex(pub, sizeof pub, BASE);
}

static void test_secret__zero_or_order__refused(void **state)
{
    struct vt_key zero = { { 0 } }, order = key_from(ORDER), shared;
    uint8_t pub[CR_EC_PUBLIC], sig[CR_EC_SIGNATURE], digest[CR_SHA256_LEN] = { 0 };

    (void)state;
    from_hex(pub, sizeof pub, BASE);
    assert_int_equal(cr_ec_public(&zero, pub), VT_ECRYPTO);
    assert_int_equal(cr_ec_public(&order, pub), VT_ECRYPTO);
    assert_int_equal(cr_ec_sign(&order, digest, sig), VT_ECRYPTO);
    assert_int_equal(cr_ec_agree(&zero, pub, &shared), VT_ECRYPTO);
    order.bytes[31]--;
    assert_int_equal(cr_ec_public(&order, pub), 0);
}

static void test_point__off_the_curve_or_odd_form__refused(void **state)
{
    struct vt_key key = key_from("00000000000000000000000000000000000000000000000000000000000000ff"), shared;
    uint8_t pub[CR_EC_PUBLIC];

    (void)state;
    from_hex(pub, sizeof pub, BASE);
    assert_int_equal(cr_ec_check(pub), 0);
    pub[64] ^= 1;
    assert_int_equal(cr_ec_check(pub), VT_ECRYPTO);
    assert_int_equal(cr_ec_agree(&key, pub, &shared), VT_ECRYPTO);
    pub[64] ^= 1;
    pub[0] = 0x02;
    assert_int_equal(cr_ec_check(pub), VT_ECRYPTO);
    memset(pub, 0, sizeof pub);
    assert_int_equal(cr_ec_check(pub), VT_ECRYPTO);
    pub[0] = 0x04;
    assert_int_equal(cr_ec_check(pub), VT_ECRYPTO);
    memset(pub + 1, 0xff, sizeof pub - 1);
    assert_int_equal(cr_ec_check(pub), VT_ECRYPTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sign__rfc_6979__signatures),
        cmocka_unit_test(test_verify__any_bit_changed__refused),
        cmocka_unit_test(test_verify__another_key__refused),
        cmocka_unit_test(test_agree__both_sides__same_secret),
        cmocka_unit_test(test_public__one__base_point),
        cmocka_unit_test(test_secret__zero_or_order__refused),
        cmocka_unit_test(test_point__off_the_curve_or_odd_form__refused),
    };

    return cmocka_run_group_tests(tests, init_crypto, NULL);
}

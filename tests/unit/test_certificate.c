/* SPDX-License-Identifier: Apache-2.0 */
/* The key in a certificate: found where it is, and nothing else taken for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "server/wire/certificate.h"
#include "tests/unit/make_certificate.h"

static uint8_t modulus[256], der[4096];

static struct certificate_parts good(void)
{
    for (size_t i = 0; i < sizeof modulus; i++)
        modulus[i] = (uint8_t)(0xC3 + i * 7);
    return (struct certificate_parts){
        .modulus = modulus, .modulus_len = sizeof modulus, .exponent = 65537, .padding = 300};
}

/* In memory of exactly that size: a read past the end is seen by the sanitizers. */
static bool reads(const uint8_t *bytes, size_t len, struct certificate_key *key)
{
    uint8_t *copy = malloc(len ? len : 1);
    bool ok;

    memcpy(copy, bytes, len);
    ok = certificate_key(key, copy, len);
    if (ok) { /* the same place in what stays */
        assert_true(key->modulus.data >= copy && key->modulus.data + key->modulus.len <= copy + len);
        key->modulus.data = bytes + (key->modulus.data - copy);
    }
    free(copy);
    return ok;
}

static void check_key(const struct certificate_parts *parts)
{
    struct certificate_key key;
    size_t len = make_certificate(der, parts);

    assert_true(reads(der, len, &key));
    assert_int_equal(key.exponent, parts->exponent);
    assert_int_equal(key.modulus.len, parts->modulus_len);
    assert_memory_equal(key.modulus.data, parts->modulus, parts->modulus_len);
}

static void check_refused(const struct certificate_parts *parts)
{
    struct certificate_key key;

    assert_false(reads(der, make_certificate(der, parts), &key));
}

static void test_certificate__of_rsa__gives_its_key(void **state)
{
    static const uint32_t exponents[] = {3, 0x7F, 0x80, 65537, 0x80000000, 0xFFFFFFFF};
    struct certificate_parts parts = good();

    (void)state;
    for (size_t i = 0; i < VT_COUNT(exponents); i++) {
        parts.exponent = exponents[i];
        check_key(&parts);
    }
    parts.oaep = true;
    check_key(&parts);
    /* Lengths on both sides of each form's bound. */
    for (size_t len = 1; len <= sizeof modulus; len++) {
        parts.modulus_len = len;
        check_key(&parts);
    }
    for (parts.padding = 0; parts.padding < 270; parts.padding++)
        check_key(&parts);
}

static void test_certificate__of_something_else__refused(void **state)
{
    struct certificate_parts parts = good();

    (void)state;
    parts.elliptic = true;
    check_refused(&parts);
    parts = good();
    parts.version_1 = true;
    check_refused(&parts);
    parts = good();
    parts.unused_bits = 1;
    check_refused(&parts);
    parts = good();
    parts.exponent = 0;
    check_refused(&parts);
    parts = good();
    parts.modulus_len = 0;
    check_refused(&parts);
    /* Longer than it must be. */
    parts = good();
    modulus[0] = 0;
    modulus[1] = 0x7F;
    check_refused(&parts);
}

static void test_certificate__cut_or_longer__refused(void **state)
{
    struct certificate_parts parts = good();
    struct certificate_key key;
    size_t len = make_certificate(der, &parts);

    (void)state;
    for (size_t cut = 0; cut < len; cut++)
        assert_false(reads(der, cut, &key));
    assert_true(reads(der, len, &key));
    assert_false(reads(der, len + 1, &key));
}

/* Any one byte, any value: refused, or a key within the bytes (the sanitizers look). */
static void test_certificate__one_byte_changed__refused_or_within(void **state)
{
    struct certificate_parts parts = {.exponent = 3, .modulus = modulus, .modulus_len = 16};
    struct certificate_key key;
    unsigned refused = 0;
    size_t len;

    (void)state;
    (void)good();
    len = make_certificate(der, &parts);
    for (size_t at = 0; at < len; at++) {
        const uint8_t was = der[at];

        for (unsigned value = 0; value < 256; value++) {
            der[at] = (uint8_t)value;
            refused += value != was && !reads(der, len, &key);
        }
        der[at] = was;
    }
    assert_true(reads(der, len, &key));
    assert_true(refused > 255 * 40); /* frame, tags, lengths, names */
}

static void test_certificate__lengths_not_shortest__refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {
        {"\x30\x81\x7f", 3},
        {"\x30\x82\x00\xff", 4},
        {"\x30\x80\x00\x00", 4},
        {"\x30\x83\x00\x01\x00", 5},
        {"\x30\x84\xff\xff\xff\xff", 6},
        {"\x30\xff", 2},
        {"\x30", 1},
        {"", 0},
        {"\x30\x00", 2},
        {"\x30\x02\x30\x00", 4},
    };
    struct certificate_parts parts = good();
    struct certificate_key key;
    uint8_t longer[4097];
    size_t len = make_certificate(der, &parts);

    (void)state;
    for (size_t i = 0; i < VT_COUNT(cases); i++)
        assert_false(reads((const uint8_t *)cases[i].bytes, cases[i].len, &key));
    /* A good one whose outer length takes three bytes instead of two. */
    memcpy(longer, "\x30\x83\x00", 3);
    memcpy(longer + 3, der + 2, len - 2);
    assert_int_equal(der[1], 0x82);
    assert_false(reads(longer, len + 1, &key));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_certificate__of_rsa__gives_its_key),
        cmocka_unit_test(test_certificate__of_something_else__refused),
        cmocka_unit_test(test_certificate__cut_or_longer__refused),
        cmocka_unit_test(test_certificate__one_byte_changed__refused_or_within),
        cmocka_unit_test(test_certificate__lengths_not_shortest__refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

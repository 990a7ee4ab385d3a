/* SPDX-License-Identifier: Apache-2.0 */
#include "server/base/alloc.h"
#include "tests/unit/crypto_test.h"

/* RFC 5869, appendix A, case 3: neither salt nor info. */
static void test_hkdf__rfc_case_3__key_material(void **state)
{
    uint8_t key[22], out[42];

    (void)state;
    memset(key, 0x0b, sizeof key);
    assert_int_equal(cr_hkdf(out, sizeof out, key, sizeof key, "", 0, ""), 0);
    assert_hex(out, sizeof out,
               "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

static void test_hkdf__rfc_case_1__key_material(void **state)
{
    uint8_t key[22], salt[13], out[42];

    (void)state;
    memset(key, 0x0b, sizeof key);
    for (size_t i = 0; i < sizeof salt; i++)
        salt[i] = (uint8_t)i;
    assert_int_equal(cr_hkdf(out, sizeof out, key, sizeof key, salt, sizeof salt,
                             "\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9"), 0);
    assert_hex(out, sizeof out,
               "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
}

static void test_hkdf__length_bound__usage(void **state)
{
    static uint8_t out[255 * 32 + 1];

    (void)state;
    out[255 * 32] = 0xee;
    assert_int_equal(cr_hkdf(out, 255 * 32, "k", 1, "s", 1, "label"), 0);
    assert_int_equal(out[255 * 32], 0xee);
    assert_int_equal(cr_hkdf(out, 255 * 32 + 1, "k", 1, "s", 1, "label"), VT_EUSAGE);
}

static void test_hkdf__label_differs__output_differs(void **state)
{
    uint8_t a[32], b[32];

    (void)state;
    assert_int_equal(cr_hkdf(a, sizeof a, "k", 1, "s", 1, "one"), 0);
    assert_int_equal(cr_hkdf(b, sizeof b, "k", 1, "s", 1, "two"), 0);
    assert_memory_not_equal(a, b, sizeof a);
}

/* RFC 7914, section 12, in every back end (the fourth case needs 1 GiB and is left out). */
static void test_scrypt__rfc_cases__keys(void **state)
{
    static const struct {
        const char *pass, *salt;
        unsigned log2_n, r, p;
        const char *key;
    } cases[] = {
        { "", "", 4, 1, 1, "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"
                           "fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906" },
        { "password", "NaCl", 10, 8, 16, "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
                                         "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640" },
        { "pleaseletmein", "SodiumChloride", 14, 8, 1,
          "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
          "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887" },
    };
    uint8_t out[64];

    (void)state;
    for (size_t i = 0; i < VT_COUNT(cases); i++)
        for (size_t b = 0; b < VT_COUNT(backends); b++) {
            memset(out, 0, sizeof out);
            assert_int_equal(backends[b]->scrypt(out, sizeof out, cases[i].pass, strlen(cases[i].pass),
                                                 cases[i].salt, strlen(cases[i].salt), cases[i].log2_n,
                                                 cases[i].r, cases[i].p),
                             0);
            assert_hex(out, sizeof out, cases[i].key);
        }
}

/* Odd lengths and parameters: the back ends agree with the public function. */
static void test_scrypt__other_parameters__back_ends_agree(void **state)
{
    static const unsigned cases[][3] = { { 10, 1, 1 }, { 10, 3, 2 }, { 11, 16, 4 }, { 12, 7, 3 } };
    uint8_t expected[45], out[45];

    (void)state;
    for (size_t i = 0; i < VT_COUNT(cases); i++) {
        const unsigned *c = cases[i];

        assert_int_equal(
            cr_scrypt(expected, sizeof expected, "correct horse", 13, "salty", 5, c[0], c[1], c[2]), 0);
        for (size_t b = 0; b < VT_COUNT(backends); b++) {
            memset(out, 0, sizeof out);
            assert_int_equal(
                backends[b]->scrypt(out, sizeof out, "correct horse", 13, "salty", 5, c[0], c[1], c[2]), 0);
            assert_memory_equal(out, expected, sizeof out);
        }
    }
}

static void test_scrypt__parameters_out_of_bounds__usage(void **state)
{
    static const unsigned cases[][3] = { { 9, 8, 1 }, { 21, 8, 1 }, { 64, 8, 1 }, { 10, 0, 1 },
                                         { 10, 17, 1 }, { 10, 8, 0 }, { 10, 8, 5 } };
    uint8_t out[32];

    (void)state;
    for (size_t i = 0; i < VT_COUNT(cases); i++)
        assert_int_equal(cr_scrypt(out, sizeof out, "p", 1, "s", 1, cases[i][0], cases[i][1], cases[i][2]),
                         VT_EUSAGE);
    assert_int_equal(cr_scrypt(out, 0, "p", 1, "s", 1, 10, 1, 1), VT_EUSAGE);
}

static void test_scrypt__empty_inputs_as_null__accepted(void **state)
{
    uint8_t a[16], b[16];

    (void)state;
    assert_int_equal(cr_scrypt(a, sizeof a, NULL, 0, NULL, 0, 10, 1, 1), 0);
    assert_int_equal(cr_scrypt(b, sizeof b, "", 0, "", 0, 10, 1, 1), 0);
    assert_memory_equal(a, b, sizeof a);
}

static void test_scrypt_portable__allocation_fails__no_memory(void **state)
{
    uint8_t out[16];
    int failures = 0;

    (void)state;
    for (long n = 0;; n++) {
        int err;

        vt_alloc_fail_after(n);
        err = cr_scrypt_portable(out, sizeof out, "p", 1, "s", 1, 10, 1, 1);
        vt_alloc_fail_after(-1);
        if (!err)
            break;
        assert_int_equal(err, VT_ENOMEM);
        failures++;
    }
    assert_int_equal(failures, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hkdf__rfc_case_1__key_material),
        cmocka_unit_test(test_hkdf__rfc_case_3__key_material),
        cmocka_unit_test(test_hkdf__length_bound__usage),
        cmocka_unit_test(test_hkdf__label_differs__output_differs),
        cmocka_unit_test(test_scrypt__rfc_cases__keys),
        cmocka_unit_test(test_scrypt__other_parameters__back_ends_agree),
        cmocka_unit_test(test_scrypt__parameters_out_of_bounds__usage),
        cmocka_unit_test(test_scrypt__empty_inputs_as_null__accepted),
        cmocka_unit_test(test_scrypt_portable__allocation_fails__no_memory),
    };

    return cmocka_run_group_tests(tests, init_crypto, NULL);
}

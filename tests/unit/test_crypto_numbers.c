/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plain numbers (DAA's arithmetic) and OAEP without its first byte (what migrated keys travel in). The tables were
 * computed by Python's integers; random numbers are compared with libcrypto's where there is one.
 */
#include "server/crypto/rsa.h"
#include "tests/unit/crypto_test.h"

#ifdef VTPM_HAVE_LIBCRYPTO
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/bn.h>
#include <openssl/rsa.h>
#endif

#define ROOM (2 * CR_NUM_MAX)

/* An operand of a table, as bytes. */
struct number {
    uint8_t bytes[ROOM];
    size_t len;
};

static struct number number_of(const char *hex)
{
    struct number n = {{0}, 0};

    n.len = hex ? from_hex(n.bytes, sizeof n.bytes, hex) : 0;
    return n;
}

static struct cr_slice slice_of(const struct number *n)
{
    return CR_SLICE(n->bytes, n->len);
}

/* `len` bytes are `expected` behind zeros. */
static void assert_number(const uint8_t *bytes, size_t len, const struct number *expected)
{
    assert_true(len >= expected->len);
    for (size_t i = 0; i < len - expected->len; i++)
        assert_int_equal(bytes[i], 0);
    assert_memory_equal(bytes + len - expected->len, expected->bytes, expected->len);
}

/* ---- base ^ exp mod n, times z ---- */

static const struct {
    const char *z, *base, *exp, *n, *result;
} powers[] = {
    {NULL, "", "", "03", "01"},
    {NULL, "", "01", "03", ""},
    {NULL, "02", "", "03", "01"},
    {NULL, "01", "010000000000000000", "7fffffffffffffffffffffffffffffff", "01"},
    {NULL, "02", "0a", "03ff", "01"},
    {NULL, "7fffffffffffffffffffffffffffffff", "05", "7fffffffffffffffffffffffffffffff", ""},
    {NULL, "7ffffffffffffffffffffffffffffffe", "02", "7fffffffffffffffffffffffffffffff", "01"},
    {NULL, "80000000000000000000000000000000", "7fffffffffffffffffffffffffffffff", "7fffffffffffffffffffffffffffffff",
     "01"},
    {NULL, "0100000000000000000000000000000000000000000000000007", "03", "7fffffffffffffffffffffffffffffff",
     "100126000000000000a80157"},
    {"05", "02", "0a", "03ff", "05"},
    {"7fffffffffffffffffffffffffffffff", "03", "07", "7fffffffffffffffffffffffffffffff", ""},
    {"7ffffffffffffffffffffffffffffffe", "7ffffffffffffffffffffffffffffffe", "7ffffffffffffffffffffffffffffffe",
     "7fffffffffffffffffffffffffffffff", "7ffffffffffffffffffffffffffffffe"},
    {"00", "03", "07", "7fffffffffffffffffffffffffffffff", ""},
    {"0400000000000000000000000000000009", "07", "01ffffffffffffffff", "7fffffffffffffffffffffffffffffff",
     "0d5f8b20e03313757e264bc65fdd2958"},
    {NULL, "ffffffffffffffff", "ffffffffffffffff", "01000000000000000d", "fada50d0379ad335"},
    {NULL, "ffffffffffffffffffffffffffffffff", "02", "ffffffffffffffffffffffffffffff61", "6184"},
    {"7b87a9e25fefe911ff22a27b02c7bff261b339ff248174e5", "dd45af1cb0caae1c75d0dd66cf72f858a4b66f8c462804db",
     "9fcdb9e1a94c56b9006d2cc78ee58b063a46e6b099f916b1", "598b88dbaa99e07987751d4ca8501e2c44dcda6a797d76df",
     "30b73058cd311c687d9001c2a21570f4e60c411df8e6c862"},
    {NULL, "35d3e7edd86756f547ab298a59f85e1ea97870a76e49fa60dbd625329041",
     "8376099813199de0331b2fb3d19e32249382cc710f0f1c69", "598b88dbaa99e07987751d4ca8501e2c44dcda6a797d76df",
     "2e2adfe3f753fc099dd2172e0071980bfb021737ccad4112"},
};

static void check_power(size_t row)
{
    struct number z = number_of(powers[row].z), base = number_of(powers[row].base), exp = number_of(powers[row].exp),
                  n = number_of(powers[row].n), result = number_of(powers[row].result);
    uint8_t out[ROOM];

    /* As long as it is, and longer. */
    for (size_t len = result.len; len < ROOM; len += 37) {
        memset(out, 0xEE, sizeof out);
        if (cr_num_exp_mod(out, len, slice_of(&z), slice_of(&base), slice_of(&exp), slice_of(&n)))
            fail_msg("row %zu, %zu bytes", row, len);
        assert_number(out, len, &result);
        assert_int_equal(out[len], 0xEE);
    }
    if (result.len)
        assert_int_equal(
            cr_num_exp_mod(out, result.len - 1, slice_of(&z), slice_of(&base), slice_of(&exp), slice_of(&n)), VT_EUSAGE);
}

static void test_num_exp_mod__known_answers__same(void **state VT_UNUSED)
{
    for (size_t i = 0; i < VT_COUNT(powers); i++)
        check_power(i);
}

static void test_num_exp_mod__modulus_even_or_below_three__error(void **state VT_UNUSED)
{
    static const char *const bad[] = {"", "00", "01", "02", "0400", "0000000002"};
    uint8_t out[8], one = 1;

    for (size_t i = 0; i < VT_COUNT(bad); i++) {
        struct number n = number_of(bad[i]);

        assert_int_equal(cr_num_exp_mod(out, sizeof out, CR_SLICE(NULL, 0), CR_SLICE(&one, 1), CR_SLICE(&one, 1),
                                        slice_of(&n)),
                         VT_ECRYPTO);
    }
}

/* Each operand may have CR_NUM_MAX bytes, and not one more. */
static void test_num_exp_mod__operands_of_the_greatest_size__and_one_more(void **state VT_UNUSED)
{
    static uint8_t most[CR_NUM_MAX + 1], out[CR_NUM_MAX];
    uint8_t three = 3;
    struct cr_slice small = CR_SLICE(&three, 1), big = CR_SLICE(most, CR_NUM_MAX), over = CR_SLICE(most, sizeof most);

    memset(most, 0xff, sizeof most);
    /* n - 1 = -1: squared it is 1; z = n - 1 gives it back. */
    most[CR_NUM_MAX - 1] = 0xfe;
    {
        uint8_t n[CR_NUM_MAX], two = 2;

        memset(n, 0xff, sizeof n);
        assert_int_equal(cr_num_exp_mod(out, sizeof out, big, big, CR_SLICE(&two, 1), CR_SLICE(n, sizeof n)), VT_OK);
        assert_memory_equal(out, most, sizeof out);
    }
    assert_int_equal(cr_num_exp_mod(out, sizeof out, over, small, small, small), VT_EUSAGE);
    assert_int_equal(cr_num_exp_mod(out, sizeof out, small, over, small, small), VT_EUSAGE);
    assert_int_equal(cr_num_exp_mod(out, sizeof out, small, small, over, small), VT_EUSAGE);
    assert_int_equal(cr_num_exp_mod(out, sizeof out, small, small, small, over), VT_EUSAGE);
}

/* ---- in mod n ---- */

static const struct {
    const char *in, *n, *result;
} remainders[] = {
    {"", "01", ""},
    {"05", "01", ""},
    {"", "07", ""},
    {"06", "07", "06"},
    {"07", "07", ""},
    {"08", "07", "01"},
    {"010000000000000000", "010000000000000000", ""},
    {"ffffffffffffffff", "010000000000000000", "ffffffffffffffff"},
    {"020000000000000003", "010000000000000000", "03"},
    {"eb3d787304c3405b165c982bd7a7bf5ecc419a5e6794cd2eae729aff56459afed1ba5c0fafdba91d",
     "82a97bcc25ea3fa51cd1d4d2b30f8f95ef", "393dea28b07af5921d9430db7f451c2ab1"},
    {"6c5744bca92e6b951cce9c7771992790f25bc8cf6c7ec515fcb4d02bfd4cb8b3174a554f3926847b", "02", "01"},
    {"ff", "0100", "ff"},
    {"22f8a88518", "e2b263bea4f9e53cfb29dcb79c8ee3e9ad9f177981e1cca7b05002aab48a1c0f22", "22f8a88518"},
};

static void test_num_mod__known_answers__same(void **state VT_UNUSED)
{
    for (size_t i = 0; i < VT_COUNT(remainders); i++) {
        struct number in = number_of(remainders[i].in), n = number_of(remainders[i].n),
                      result = number_of(remainders[i].result);
        uint8_t out[64];

        for (size_t len = result.len; len < sizeof out; len += 9) {
            assert_int_equal(cr_num_mod(out, len, slice_of(&in), slice_of(&n)), VT_OK);
            assert_number(out, len, &result);
        }
        if (result.len)
            assert_int_equal(cr_num_mod(out, result.len - 1, slice_of(&in), slice_of(&n)), VT_EUSAGE);
    }
}

static void test_num_mod__by_zero_or_too_long__error(void **state VT_UNUSED)
{
    static uint8_t big[CR_NUM_MAX + 1];
    uint8_t out[8], seven = 7, zeros[3] = {0};

    assert_int_equal(cr_num_mod(out, sizeof out, CR_SLICE(&seven, 1), CR_SLICE(NULL, 0)), VT_ECRYPTO);
    assert_int_equal(cr_num_mod(out, sizeof out, CR_SLICE(&seven, 1), CR_SLICE(zeros, sizeof zeros)), VT_ECRYPTO);
    assert_int_equal(cr_num_mod(out, sizeof out, CR_SLICE(big, sizeof big), CR_SLICE(&seven, 1)), VT_EUSAGE);
    assert_int_equal(cr_num_mod(out, sizeof out, CR_SLICE(&seven, 1), CR_SLICE(big, sizeof big)), VT_EUSAGE);
    assert_int_equal(cr_num_mod(out, sizeof out, CR_SLICE(big, CR_NUM_MAX), CR_SLICE(&seven, 1)), VT_OK);
}

/* ---- a + b * c + d ---- */

static const struct {
    const char *a, *b, *c, *d, *result;
} sums[] = {
    {"", "", "", "", ""},
    {"01", "", "", "", "01"},
    {"", "", "05", "01", "01"},
    {"", "01", "01", "", "01"},
    {"ffffffffffffffff", "01", "01", "", "010000000000000000"},
    {"ffffffffffffffff", "ffffffffffffffff", "ffffffffffffffff", "ffffffffffffffff",
     "ffffffffffffffffffffffffffffffff"},
    {"ffffffffffffffff", "", "09", "01", "010000000000000000"},
    {"ffffffffffffffffffffffffffffffff", "", "", "01", "0100000000000000000000000000000000"},
    {"ff", "ff", "ff", "ff", "ffff"},
    {"d0d18fb081dafbbb2bd4afc18e1e55400d257da2", "ab0bcefa6b391ca99b811f47668864bf1566fe20",
     "9b7a0d7bda78370ed498918dd8", "6273ed", "67e1b2f49c6a37e97bba6770254b88dc776215bc2c0e4cff74a9b10dfcc685fc8f"},
    {"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", "ffffffffffffffffffffffffffffffff",
     "ffffffffffffffffffffffffffffffff", "0200000000000000000000000000000000",
     "020000000000000000000000000000000000000000000000000000000000000000"},
};

static void test_num_mul_add__known_answers__same(void **state VT_UNUSED)
{
    for (size_t i = 0; i < VT_COUNT(sums); i++) {
        struct number a = number_of(sums[i].a), b = number_of(sums[i].b), c = number_of(sums[i].c),
                      d = number_of(sums[i].d), result = number_of(sums[i].result);
        uint8_t out[64];

        for (size_t len = result.len; len < sizeof out; len += 11) {
            assert_int_equal(cr_num_mul_add(out, len, slice_of(&a), slice_of(&b), slice_of(&c), slice_of(&d)), VT_OK);
            assert_number(out, len, &result);
        }
        if (result.len)
            assert_int_equal(
                cr_num_mul_add(out, result.len - 1, slice_of(&a), slice_of(&b), slice_of(&c), slice_of(&d)), VT_EUSAGE);
    }
}

/* (2^k - 1)^2 + 2 (2^k - 1) = 2^2k - 1: all bits set, nothing lost at the top. */
static void test_num_mul_add__greatest_operands__all_bits(void **state VT_UNUSED)
{
    static uint8_t most[CR_NUM_MAX + 1], out[2 * CR_NUM_MAX];
    struct cr_slice all = CR_SLICE(most, CR_NUM_MAX), over = CR_SLICE(most, sizeof most), none = CR_SLICE(NULL, 0);

    memset(most, 0xff, sizeof most);
    assert_int_equal(cr_num_mul_add(out, sizeof out, all, all, all, all), VT_OK);
    for (size_t i = 0; i < sizeof out; i++)
        assert_int_equal(out[i], 0xff);
    assert_int_equal(cr_num_mul_add(out, sizeof out, over, none, none, none), VT_EUSAGE);
    assert_int_equal(cr_num_mul_add(out, sizeof out, none, over, none, none), VT_EUSAGE);
    assert_int_equal(cr_num_mul_add(out, sizeof out, none, none, over, none), VT_EUSAGE);
    assert_int_equal(cr_num_mul_add(out, sizeof out, none, none, none, over), VT_EUSAGE);
}

/* ---- EME-OAEP without its leading zero ---- */

/* Label "TCPA", seed 01 02 .. 14. */
static const struct {
    size_t len;
    const char *text, *em;
} encodings[] = {
    {41, "", "94fdac540b598318f24e2b3d4c534b234b03854e7210213ab3df97405da40e5159a4492342af9bbf20"},
    {42, "78", "6e3f1850f5ef37597e52a6e423df78f9af58f2997210213ab3df97405da40e5159a4492342af9bbf20f5"},
    {61, "7477656e7479206279746573206f662074657874",
     "2a927db8cb10a775e10400f1dea81b7e192eba247210213ab3df97405da40e5159a4492342af9bbf20f9719019613da698f44466"
     "8258336ed61fa74fae"},
    {80, "",
     "cea92b25077e1a83e6e31625f28a84b6e9121d717210213ab3df97405da40e5159a4492342af9bbf218d06f577154486fa8d3003"
     "f1785c08f66bc237daeec1f6442ed5ae1b6f6eca7cbbc2c7abfea00b"},
    {127,
     "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f30313233"
     "3435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455",
     "3308ca35cc9fde4d19f98bcfa703e615166455ca7210213ab3df97405da40e5159a4492342af9bbf208d07f774114180fd853909"
     "fa745106f97bd325c9fad4e05336ccb4007373d4639be3e588da852cf4ee95f52dd0052c58e01cd58382e0ff2a38997a9caa4a37"
     "ae0660f8ae0d1947c85524aa3aa0f800f818606241f1d7"},
};

static const uint8_t seed[CR_SHA1_LEN] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};

static void label_hash(uint8_t out[CR_SHA1_LEN])
{
    cr_sha1(out, "TCPA", 4);
}

static void test_oaep__known_answers__there_and_back(void **state VT_UNUSED)
{
    uint8_t label[CR_SHA1_LEN], got_label[CR_SHA1_LEN], got_seed[CR_SHA1_LEN], em[CR_RSA_MAX];
    size_t at;

    label_hash(label);
    for (size_t i = 0; i < VT_COUNT(encodings); i++) {
        struct number text = number_of(encodings[i].text);

        assert_int_equal(cr_oaep_encode(em, encodings[i].len, label, seed, text.bytes, text.len), VT_OK);
        assert_hex(em, encodings[i].len, encodings[i].em);
        assert_int_equal(cr_oaep_decode(em, encodings[i].len, got_label, got_seed, &at), VT_OK);
        assert_memory_equal(got_label, label, sizeof label);
        assert_memory_equal(got_seed, seed, sizeof seed);
        assert_int_equal(encodings[i].len - at, text.len);
        assert_memory_equal(em + at, text.bytes, text.len);
    }
}

static void test_oaep_encode__no_room__error(void **state VT_UNUSED)
{
    uint8_t em[CR_RSA_MAX + 1], label[CR_SHA1_LEN] = {0}, text[CR_RSA_MAX + 1] = {0};

    assert_int_equal(cr_oaep_encode(em, 61, label, seed, text, 20), VT_OK);
    assert_int_equal(cr_oaep_encode(em, 60, label, seed, text, 20), VT_EUSAGE);
    assert_int_equal(cr_oaep_encode(em, 40, label, seed, text, 0), VT_EUSAGE);
    assert_int_equal(cr_oaep_encode(em, 0, label, seed, text, 0), VT_EUSAGE);
    assert_int_equal(cr_oaep_encode(em, CR_RSA_MAX, label, seed, text, SIZE_MAX), VT_EUSAGE);
    assert_int_equal(cr_oaep_encode(em, CR_RSA_MAX, label, seed, text, CR_RSA_MAX - 41), VT_OK);
    assert_int_equal(cr_oaep_encode(em, CR_RSA_MAX + 1, label, seed, text, 0), VT_EUSAGE);
}

/* Masked by hand: what the masks hide is no zeros and a 01. */
static void masked(uint8_t *em, size_t len, const uint8_t *db)
{
    uint8_t stream[CR_RSA_MAX];

    memcpy(em, seed, CR_SHA1_LEN);
    memcpy(em + CR_SHA1_LEN, db, len - CR_SHA1_LEN);
    cr_mgf1_sha1(stream, len - CR_SHA1_LEN, em, CR_SHA1_LEN);
    for (size_t i = 0; i < len - CR_SHA1_LEN; i++)
        em[CR_SHA1_LEN + i] ^= stream[i];
    cr_mgf1_sha1(stream, CR_SHA1_LEN, em + CR_SHA1_LEN, len - CR_SHA1_LEN);
    for (size_t i = 0; i < CR_SHA1_LEN; i++)
        em[i] ^= stream[i];
}

static void test_oaep_decode__no_encoding__one_error_for_all(void **state VT_UNUSED)
{
    static const struct {
        const char *behind_label;
        int err;
        size_t text;
    } cases[] = {
        {"00000000", VT_ECRYPTO, 0}, {"00000002", VT_ECRYPTO, 0}, {"02000001", VT_ECRYPTO, 0},
        {"00ff0100", VT_ECRYPTO, 0}, {"00000001", VT_OK, 0},      {"01020304", VT_OK, 3},
        {"00010001", VT_OK, 2},
    };
    uint8_t em[CR_RSA_MAX], db[CR_SHA1_LEN + 4] = {9}, label[CR_SHA1_LEN], got_seed[CR_SHA1_LEN];

    for (size_t i = 0; i < VT_COUNT(cases); i++) {
        size_t len = CR_SHA1_LEN + sizeof db, at = 99;

        (void)from_hex(db + CR_SHA1_LEN, 4, cases[i].behind_label);
        masked(em, len, db);
        assert_int_equal(cr_oaep_decode(em, len, label, got_seed, &at), cases[i].err);
        assert_int_equal(at, cases[i].err ? 0 : len - cases[i].text);
    }
}

static void test_oaep_decode__too_short_or_long__error(void **state VT_UNUSED)
{
    uint8_t em[CR_RSA_MAX + 1] = {0}, label[CR_SHA1_LEN], got_seed[CR_SHA1_LEN];
    size_t at;

    for (size_t len = 0; len <= 40; len++)
        assert_int_equal(cr_oaep_decode(em, len, label, got_seed, &at), VT_ECRYPTO);
    assert_int_equal(cr_oaep_decode(em, CR_RSA_MAX + 1, label, got_seed, &at), VT_ECRYPTO);
    assert_int_equal(at, 0);
}

/* ---- libcrypto says the same ---- */

#ifdef VTPM_HAVE_LIBCRYPTO
struct operands {
    uint8_t bytes[4][CR_NUM_MAX];
    struct cr_slice at[4];
    BIGNUM *bn[4], *r, *out;
    BN_CTX *ctx;
};

static void throw(struct operands *o, struct cr_drbg *drbg)
{
    for (unsigned i = 0; i < 4; i++) {
        uint16_t len;

        cr_drbg_random(drbg, &len, sizeof len);
        len %= 65;
        cr_drbg_random(drbg, o->bytes[i], len);
        o->at[i] = CR_SLICE(o->bytes[i], len);
    }
    /* The modulus is odd, and above 1. */
    o->bytes[3][0] |= 2;
    o->at[3].len = VT_MAX(o->at[3].len, 1);
    o->bytes[3][o->at[3].len - 1] |= 3;
    for (unsigned i = 0; i < 4; i++)
        assert_non_null(BN_bin2bn(o->bytes[i], (int)o->at[i].len, o->bn[i]));
}

static void same_as(const struct operands *o, int err, const uint8_t *out, size_t len)
{
    assert_int_equal(err, VT_OK);
    assert_non_null(BN_bin2bn(out, (int)len, o->out));
    assert_int_equal(BN_cmp(o->r, o->out), 0);
}

static void compare_numbers(struct operands *o)
{
    uint8_t out[2 * CR_NUM_MAX];
    int err = cr_num_exp_mod(out, sizeof out, o->at[0], o->at[1], o->at[2], o->at[3]);

    /* Without z. */
    if (!o->at[0].len)
        BN_one(o->bn[0]);
    assert_int_equal(BN_mod_exp(o->r, o->bn[1], o->bn[2], o->bn[3], o->ctx), 1);
    assert_int_equal(BN_mod_mul(o->r, o->r, o->bn[0], o->bn[3], o->ctx), 1);
    same_as(o, err, out, sizeof out);
    err = cr_num_mod(out, sizeof out, o->at[1], o->at[3]);
    assert_int_equal(BN_nnmod(o->r, o->bn[1], o->bn[3], o->ctx), 1);
    same_as(o, err, out, sizeof out);
    err = cr_num_mul_add(out, sizeof out, o->at[2], o->at[1], o->at[2], o->at[3]);
    assert_int_equal(BN_mul(o->r, o->bn[1], o->bn[2], o->ctx), 1);
    assert_int_equal(BN_add(o->r, o->r, o->bn[2]) & BN_add(o->r, o->r, o->bn[3]), 1);
    same_as(o, err, out, sizeof out);
}

static void test_num__random_numbers__as_libcrypto(void **state VT_UNUSED)
{
    struct operands o = {.r = BN_new(), .out = BN_new(), .ctx = BN_CTX_new()};
    struct cr_drbg drbg;

    start_drbg(&drbg, "numbers");
    for (unsigned i = 0; i < 4; i++)
        o.bn[i] = BN_new();
    for (unsigned i = 0; i < 500; i++) {
        throw(&o, &drbg);
        compare_numbers(&o);
    }
    for (unsigned i = 0; i < 4; i++)
        BN_free(o.bn[i]);
    BN_free(o.r);
    BN_free(o.out);
    BN_CTX_free(o.ctx);
}

static void test_oaep__every_length__libcrypto_decodes_it(void **state VT_UNUSED)
{
    uint8_t text[128 - 42], em[128], out[128], label[CR_SHA1_LEN];

    memset(text, 0xA5, sizeof text);
    label_hash(label);
    for (size_t len = 0; len <= sizeof text; len++) {
        em[0] = 0;
        assert_int_equal(cr_oaep_encode(em + 1, sizeof em - 1, label, seed, text, len), VT_OK);
        assert_int_equal(RSA_padding_check_PKCS1_OAEP(out, sizeof out, em + 1, sizeof em - 1, sizeof em,
                                                      (const unsigned char *)"TCPA", 4),
                         len);
        assert_memory_equal(out, text, len);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_num_exp_mod__known_answers__same),
        cmocka_unit_test(test_num_exp_mod__modulus_even_or_below_three__error),
        cmocka_unit_test(test_num_exp_mod__operands_of_the_greatest_size__and_one_more),
        cmocka_unit_test(test_num_mod__known_answers__same),
        cmocka_unit_test(test_num_mod__by_zero_or_too_long__error),
        cmocka_unit_test(test_num_mul_add__known_answers__same),
        cmocka_unit_test(test_num_mul_add__greatest_operands__all_bits),
        cmocka_unit_test(test_oaep__known_answers__there_and_back),
        cmocka_unit_test(test_oaep_encode__no_room__error),
        cmocka_unit_test(test_oaep_decode__no_encoding__one_error_for_all),
        cmocka_unit_test(test_oaep_decode__too_short_or_long__error),
#ifdef VTPM_HAVE_LIBCRYPTO
        cmocka_unit_test(test_num__random_numbers__as_libcrypto),
        cmocka_unit_test(test_oaep__every_length__libcrypto_decodes_it),
#endif
    };

    return cmocka_run_group_tests(tests, init_crypto, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/crypto_test.h"

/* McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 13 to 16 (256-bit keys, 96-bit
 * nonces). */
static const struct gcm_case {
    const char *key, *nonce, *ad, *in, *out, *tag;
} gcm_cases[] = {
    { "0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
      "", "", "530f8afbc74536b9a963b4f1c4cb738b" },
    { "0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
      "00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18",
      "d0d1c8a799996bf0265b98b5d48ab919" },
    { "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", "",
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
      "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
      "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
      "b094dac5d93471bdec1a502270e3cc6c" },
    { "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
      "feedfacedeadbeeffeedfacedeadbeefabaddad2",
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
      "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
      "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
      "76fc6ece0f4e1768cddf8853bb2d551b" },
};

static void run_gcm_case(const struct cr_backend *backend, const struct gcm_case *c)
{
    struct vt_key key;
    uint8_t nonce[CR_GCM_NONCE], ad[32], in[64], out[64], tag[CR_GCM_TAG];
    size_t ad_len = from_hex(ad, sizeof ad, c->ad);
    size_t len = from_hex(in, sizeof in, c->in);

    from_hex(key.bytes, sizeof key.bytes, c->key);
    from_hex(nonce, sizeof nonce, c->nonce);
    assert_int_equal(backend->gcm_seal(&key, nonce, ad, ad_len, in, len, out, tag), 0);
    assert_hex(out, len, c->out);
    assert_hex(tag, sizeof tag, c->tag);
    assert_int_equal(backend->gcm_open(&key, nonce, ad, ad_len, out, len, tag, out), 0);
    assert_memory_equal(in, out, len);
}

static void test_gcm__published_cases__sealed_and_opened(void **state)
{
    (void)state;
    for (size_t b = 0; b < VT_COUNT(backends); b++)
        for (size_t i = 0; i < VT_COUNT(gcm_cases); i++)
            run_gcm_case(backends[b], &gcm_cases[i]);
}

static void test_gcm__any_length_in_place__back_ends_agree(void **state)
{
    static uint8_t data[16384], sealed[16384], other[16384];
    static const size_t lengths[] = { 0, 1, 15, 16, 17, 255, 4096, 8191, 16384 };
    struct vt_key key = { { 1, 2, 3 } };
    uint8_t nonce[CR_GCM_NONCE] = { 9 }, tag[CR_GCM_TAG], other_tag[CR_GCM_TAG];

    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i >> 3);
    for (size_t i = 0; i < VT_COUNT(lengths); i++) {
        size_t len = lengths[i];

        memcpy(sealed, data, len);
        assert_int_equal(cr_gcm_seal(&key, nonce, data, len / 2, sealed, len, sealed, tag), 0);
        for (size_t b = 0; b < VT_COUNT(backends); b++) {
            assert_int_equal(backends[b]->gcm_seal(&key, nonce, data, len / 2, data, len, other, other_tag),
                             0);
            assert_memory_equal(sealed, other, len);
            assert_memory_equal(tag, other_tag, sizeof tag);
        }
        assert_int_equal(cr_gcm_open(&key, nonce, data, len / 2, sealed, len, tag, sealed), 0);
        assert_memory_equal(sealed, data, len);
    }
}

/* Each kind of change is seen, and nothing of the plain text stays in out. */
static void test_gcm_open__anything_changed__error_and_wiped(void **state)
{
    struct vt_key key = { { 5 } };
    uint8_t nonce[CR_GCM_NONCE] = { 6 }, ad[4] = "head", in[40], sealed[40], out[40], tag[CR_GCM_TAG];
    static const uint8_t zeros[40];
    struct {
        uint8_t *ptr;
        size_t len;
    } parts[] = { { key.bytes, sizeof key.bytes }, { nonce, sizeof nonce }, { ad, sizeof ad },
                  { sealed, sizeof sealed }, { tag, sizeof tag } };

    (void)state;
    memset(in, 'x', sizeof in);
    assert_int_equal(cr_gcm_seal(&key, nonce, ad, sizeof ad, in, sizeof in, sealed, tag), 0);
    for (size_t p = 0; p < VT_COUNT(parts); p++)
        for (size_t i = 0; i < parts[p].len; i++) {
            parts[p].ptr[i] ^= 0x10;
            memset(out, 0xee, sizeof out);
            assert_int_equal(cr_gcm_open(&key, nonce, ad, sizeof ad, sealed, sizeof sealed, tag, out),
                             VT_ECRYPTO);
            assert_memory_equal(out, zeros, sizeof out);
            parts[p].ptr[i] ^= 0x10;
        }
    for (size_t b = 0; b < VT_COUNT(backends); b++) {
        tag[15] ^= 1;
        assert_int_equal(backends[b]->gcm_open(&key, nonce, ad, sizeof ad, sealed, sizeof sealed, tag, out),
                         VT_ECRYPTO);
        tag[15] ^= 1;
    }
    assert_int_equal(cr_gcm_open(&key, nonce, ad, sizeof ad, sealed, sizeof sealed - 1, tag, out),
                     VT_ECRYPTO);
    assert_int_equal(cr_gcm_open(&key, nonce, ad, sizeof ad - 1, sealed, sizeof sealed, tag, out),
                     VT_ECRYPTO);
    assert_int_equal(cr_gcm_open(&key, nonce, ad, sizeof ad, sealed, sizeof sealed, tag, out), 0);
    assert_memory_equal(out, in, sizeof in);
}

static void test_gcm__length_beyond_bound__usage(void **state)
{
    struct vt_key key = { { 0 } };
    uint8_t nonce[CR_GCM_NONCE] = { 0 }, tag[CR_GCM_TAG] = { 0 }, out[1] = { 0 };
    size_t huge = (size_t)1 << 31;

    (void)state;
    assert_int_equal(cr_gcm_seal(&key, nonce, NULL, 0, out, huge, out, tag), VT_EUSAGE);
    assert_int_equal(cr_gcm_seal(&key, nonce, out, huge, out, 1, out, tag), VT_EUSAGE);
    assert_int_equal(cr_gcm_open(&key, nonce, NULL, 0, out, huge, tag, out), VT_EUSAGE);
}

/* SP 800-38A, F.5.1 and F.5.2. */
static void test_ctr__sp800_38a__cipher_text_and_back(void **state)
{
    uint8_t key[16], iv[16], data[64], again[64];

    (void)state;
    from_hex(key, sizeof key, "2b7e151628aed2a6abf7158809cf4f3c");
    from_hex(iv, sizeof iv, "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
    from_hex(data, sizeof data, "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
                                "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710");
    memcpy(again, data, sizeof again);
    assert_int_equal(cr_aes128_ctr(key, iv, data, sizeof data, data), 0);
    assert_hex(data, sizeof data, "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"
                                  "5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee");
    assert_int_equal(cr_aes128_ctr(key, iv, data, sizeof data, data), 0);
    assert_memory_equal(data, again, sizeof data);
}

/* The counter is 128 bits wide: after all ones comes zero. */
static void test_ctr__counter_at_its_end__wraps_to_zero(void **state)
{
    uint8_t key[16] = { 1 }, ones[16], zero[16] = { 0 }, two[32] = { 0 }, one[16] = { 0 };

    (void)state;
    memset(ones, 0xff, sizeof ones);
    assert_int_equal(cr_aes128_ctr(key, ones, two, sizeof two, two), 0);
    assert_int_equal(cr_aes128_ctr(key, zero, one, sizeof one, one), 0);
    assert_memory_equal(two + 16, one, sizeof one);
}

static void test_ctr__partial_block__prefix_and_nothing_behind(void **state)
{
    uint8_t key[16] = { 1 }, iv[16] = { 2 }, whole[48] = { 0 }, part[48];

    (void)state;
    assert_int_equal(cr_aes128_ctr(key, iv, whole, sizeof whole, whole), 0);
    for (size_t len = 0; len < sizeof part; len++) {
        memset(part, 0, len);
        part[len] = 0xee;
        assert_int_equal(cr_aes128_ctr(key, iv, part, len, part), 0);
        assert_memory_equal(part, whole, len);
        assert_int_equal(part[len], 0xee);
    }
}

/* SP 800-38A, F.2.2 and F.2.6: one block each, and the chain over two. */
static void test_cbc__sp800_38a__plain_text(void **state)
{
    uint8_t key[32], iv[16], data[32];

    (void)state;
    from_hex(key, 16, "2b7e151628aed2a6abf7158809cf4f3c");
    from_hex(iv, sizeof iv, "000102030405060708090a0b0c0d0e0f");
    from_hex(data, sizeof data, "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2");
    assert_int_equal(cr_aes_cbc_decrypt(key, 16, iv, data, sizeof data, data), 0);
    assert_hex(data, sizeof data, "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
    from_hex(key, sizeof key, "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    from_hex(data, 16, "f58c4c04d6e5f1ba779eabfb5f7bfbd6");
    assert_int_equal(cr_aes_cbc_decrypt(key, 32, iv, data, 16, data), 0);
    assert_hex(data, 16, "6bc1bee22e409f96e93d7e117393172a");
}

static void test_cbc__no_whole_blocks_or_other_key__usage(void **state)
{
    uint8_t key[32] = { 0 }, iv[16] = { 0 }, data[32] = { 0 };

    (void)state;
    assert_int_equal(cr_aes_cbc_decrypt(key, 16, iv, data, 31, data), VT_EUSAGE);
    assert_int_equal(cr_aes_cbc_decrypt(key, 24, iv, data, 32, data), VT_EUSAGE);
    assert_int_equal(cr_aes_cbc_decrypt(key, 0, iv, data, 32, data), VT_EUSAGE);
    assert_int_equal(cr_aes_cbc_decrypt(key, 16, iv, data, 0, data), VT_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gcm__published_cases__sealed_and_opened),
        cmocka_unit_test(test_gcm__any_length_in_place__back_ends_agree),
        cmocka_unit_test(test_gcm_open__anything_changed__error_and_wiped),
        cmocka_unit_test(test_gcm__length_beyond_bound__usage),
        cmocka_unit_test(test_ctr__sp800_38a__cipher_text_and_back),
        cmocka_unit_test(test_ctr__counter_at_its_end__wraps_to_zero),
        cmocka_unit_test(test_ctr__partial_block__prefix_and_nothing_behind),
        cmocka_unit_test(test_cbc__sp800_38a__plain_text),
        cmocka_unit_test(test_cbc__no_whole_blocks_or_other_key__usage),
    };

    return cmocka_run_group_tests(tests, init_crypto, NULL);
}

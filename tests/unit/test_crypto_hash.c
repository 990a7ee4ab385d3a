/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/crypto_test.h"

/* FIPS 180-4 examples: one block, two blocks, a million of 'a', nothing. */
static void test_sha__fips_examples__digests(void **state)
{
    static const char two[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    static char million[1000000];
    const struct {
        const char *text;
        size_t len;
        const char *sha1, *sha256;
    } cases[] = {
        { "", 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709",
          "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d",
          "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { two, sizeof two - 1, "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
        { million, sizeof million, "34aa973cd4c4daa4f61eeb2bdbad27316534016f",
          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0" },
    };
    uint8_t out[CR_SHA256_LEN];

    (void)state;
    memset(million, 'a', sizeof million);
    for (size_t i = 0; i < VT_COUNT(cases); i++) {
        cr_sha1(out, cases[i].text, cases[i].len);
        assert_hex(out, CR_SHA1_LEN, cases[i].sha1);
        cr_sha256(out, cases[i].text, cases[i].len);
        assert_hex(out, CR_SHA256_LEN, cases[i].sha256);
    }
}

static void test_sha__slices__digest_of_concatenation(void **state)
{
    uint8_t data[200], whole[CR_SHA256_LEN], parts[CR_SHA256_LEN];

    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(7 * i);
    for (size_t cut = 0; cut <= sizeof data; cut++) {
        struct cr_slice slices[] = { CR_SLICE(data, cut), CR_SLICE(NULL, 0),
                                     CR_SLICE(data + cut, sizeof data - cut) };

        cr_sha1(whole, data, sizeof data);
        cr_sha1v(parts, slices, VT_COUNT(slices));
        assert_memory_equal(whole, parts, CR_SHA1_LEN);
        cr_sha256(whole, data, sizeof data);
        cr_sha256v(parts, slices, VT_COUNT(slices));
        assert_memory_equal(whole, parts, CR_SHA256_LEN);
    }
}

/* RFC 2202 section 3 and RFC 4231 section 4: keys shorter than, and longer than a block. */
static void test_hmac__rfc_cases__macs(void **state)
{
    uint8_t aa[131], dd[50], key[80], out[CR_SHA256_LEN];
    static const char large[] = "Test Using Larger Than Block-Size Key - Hash Key First";
    static const char jefe[] = "what do ya want for nothing?";

    (void)state;
    memset(aa, 0xaa, sizeof aa);
    memset(dd, 0xdd, sizeof dd);
    memset(key, 0x0b, 20);
    cr_hmac_sha1v(out, key, 20, &CR_SLICE("Hi There", 8), 1);
    assert_hex(out, 20, "b617318655057264e28bc0b6fb378c8ef146be00");
    cr_hmac_sha256v(out, key, 20, &CR_SLICE("Hi There", 8), 1);
    assert_hex(out, 32, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    cr_hmac_sha1v(out, "Jefe", 4, &CR_SLICE(jefe, 28), 1);
    assert_hex(out, 20, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    cr_hmac_sha256v(out, "Jefe", 4, &CR_SLICE(jefe, 28), 1);
    assert_hex(out, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    cr_hmac_sha1v(out, aa, 20, &CR_SLICE(dd, 50), 1);
    assert_hex(out, 20, "125d7342b9ac11cd91a39af48aa17b4f63f175d3");
    cr_hmac_sha256v(out, aa, 20, &CR_SLICE(dd, 50), 1);
    assert_hex(out, 32, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    cr_hmac_sha1v(out, aa, 80, &CR_SLICE(large, sizeof large - 1), 1);
    assert_hex(out, 20, "aa4ae5e15272d00e95705637ce8a3b55ed402112");
    cr_hmac_sha256v(out, aa, 131, &CR_SLICE(large, sizeof large - 1), 1);
    assert_hex(out, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void test_hmac__slices_and_output_over_key__same_mac(void **state)
{
    uint8_t key[32], whole[32];
    struct cr_slice slices[] = { CR_SLICE("what do ya ", 11), CR_SLICE("", 0),
                                 CR_SLICE("want for nothing?", 17) };

    (void)state;
    memset(key, 3, sizeof key);
    cr_hmac_sha256v(whole, key, sizeof key, &CR_SLICE("what do ya want for nothing?", 28), 1);
    cr_hmac_sha256v(key, key, sizeof key, slices, VT_COUNT(slices));
    assert_memory_equal(whole, key, sizeof key);
}

static void test_sha1_state__frozen_between_parts__digest_of_whole(void **state)
{
    uint8_t data[64 * 5 + 63], whole[CR_SHA1_LEN], out[CR_SHA1_LEN];
    struct cr_sha1_state sha, copy;

    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * i);
    for (size_t blocks = 0; blocks <= 5; blocks++)
        for (size_t rest = 0; rest < 64; rest++) {
            size_t done = 0;

            cr_sha1_start(&sha);
            for (; done < blocks; done++)
                cr_sha1_blocks(&sha, data + 64 * done, 64);
            assert_int_equal(sha.total, 64 * blocks);
            memcpy(&copy, &sha, sizeof copy);
            cr_sha1_finish(&copy, data + 64 * blocks, rest, out);
            cr_sha1(whole, data, 64 * blocks + rest);
            assert_memory_equal(whole, out, sizeof out);
        }
}

static void test_sha1_state__finished__is_wiped(void **state)
{
    struct cr_sha1_state sha, zero;
    uint8_t out[CR_SHA1_LEN];

    (void)state;
    memset(&zero, 0, sizeof zero);
    cr_sha1_start(&sha);
    assert_int_equal(sha.h[0], 0x67452301);
    cr_sha1_finish(&sha, "", 0, out);
    assert_memory_equal(&sha, &zero, sizeof zero);
}

/* More than 2^32 bits, where counters carry: the chaining state is made up, the length must be right. */
static void test_sha1_state__beyond_512_mib__length_carries(void **state)
{
    struct cr_sha1_state sha;
    uint8_t zeros[64] = { 0 }, out[CR_SHA1_LEN];

    (void)state;
    cr_sha1_start(&sha);
    sha.total = ((uint64_t)1 << 33) - 64;
    cr_sha1_blocks(&sha, zeros, sizeof zeros);
    assert_true(sha.total == (uint64_t)1 << 33);
    cr_sha1_finish(&sha, "abc", 3, out);
    assert_hex(out, sizeof out, "54769597ab55e11124a47dacebadf047b3d088d6");
}

/* PKCS #1 v2.1, B.2.1; the answers are from Python's hashlib. */
static void test_mgf1__lengths__prefix_of_one_stream(void **state)
{
    uint8_t whole[64], part[64];

    (void)state;
    cr_mgf1_sha1(whole, sizeof whole, "seed", 4);
    assert_hex(whole, 32, "09d8db2214e56d4dec8f9a3099b851a46886fe3f682e3c4f6a35ff98dd072c11");
    for (size_t len = 0; len < sizeof part; len++) {
        memset(part, 0xee, sizeof part);
        cr_mgf1_sha1(part, len, "seed", 4);
        assert_memory_equal(part, whole, len);
        assert_int_equal(part[len], 0xee);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha__fips_examples__digests),
        cmocka_unit_test(test_sha__slices__digest_of_concatenation),
        cmocka_unit_test(test_hmac__rfc_cases__macs),
        cmocka_unit_test(test_hmac__slices_and_output_over_key__same_mac),
        cmocka_unit_test(test_sha1_state__frozen_between_parts__digest_of_whole),
        cmocka_unit_test(test_sha1_state__finished__is_wiped),
        cmocka_unit_test(test_sha1_state__beyond_512_mib__length_carries),
        cmocka_unit_test(test_mgf1__lengths__prefix_of_one_stream),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

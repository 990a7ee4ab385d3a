/* SPDX-License-Identifier: Apache-2.0 */
#include "server/crypto/rsa.h"
#include "tests/lib/fixture_keys.h"
#include "tests/unit/crypto_test.h"

#ifdef VTPM_HAVE_LIBCRYPTO
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#endif

static const char label[] = "TCPA";
static const unsigned sizes[] = { 512, 1024, 2048 };

/* Key 0 of a size, loaded into the back end that the library uses. */
static struct cr_rsa *load(unsigned bits)
{
    struct cr_rsa *rsa;

    assert_int_equal(cr_rsa_load(&rsa, fixture_rsa_key(bits, 0)), 0);
    return rsa;
}

static void test_private_op__every_back_end__inverse_of_public(void **state)
{
    struct cr_drbg drbg;

    (void)state;
    start_drbg(&drbg, "private op");
    for (size_t s = 0; s < VT_COUNT(sizes); s++)
        for (size_t b = 0; b < VT_COUNT(backends); b++) {
            const struct cr_rsa_key *key = fixture_rsa_key(sizes[s], 1);
            size_t bytes = key->pub.bytes;
            uint8_t in[CR_RSA_MAX], out[CR_RSA_MAX], back[CR_RSA_MAX], first[CR_RSA_MAX];
            struct cr_rsa *rsa, *other;

            assert_int_equal(cr_rsa_load_with(backends[b], &rsa, key), 0);
            assert_int_equal(cr_rsa_load_with(backends[0], &other, key), 0);
            /* More than the 32 uses after which libcrypto renews its blinding. */
            for (int i = 0; i < (sizes[s] == 512 ? 40 : 3); i++) {
                cr_drbg_random(&drbg, in, bytes);
                in[0] &= 0x7f;
                assert_int_equal(cr_rsa_private_op(rsa, in, out), 0);
                assert_int_equal(cr_rsa_private_op(other, in, first), 0);
                assert_memory_equal(out, first, bytes);
                assert_int_equal(backends[b]->rsa_public(NULL, &key->pub, out, back), 0);
                assert_memory_equal(back, in, bytes);
                assert_int_equal(backends[b]->rsa_public(rsa->impl, &key->pub, out, back), 0);
                assert_memory_equal(back, in, bytes);
            }
            cr_rsa_free(rsa);
            cr_rsa_free(other);
        }
}

static void test_bare_ops__input_not_below_modulus__error(void **state)
{
    struct cr_rsa *rsa = load(1024);
    const struct cr_rsa_pub *pub = cr_rsa_public(rsa);
    uint8_t in[CR_RSA_MAX], out[CR_RSA_MAX];

    (void)state;
    memcpy(in, pub->n, pub->bytes);
    assert_int_equal(cr_rsa_public_op(pub, in, out), VT_ECRYPTO);
    assert_int_equal(cr_rsa_private_op(rsa, in, out), VT_ECRYPTO);
    memset(in, 0xff, pub->bytes);
    assert_int_equal(cr_rsa_public_op(pub, in, out), VT_ECRYPTO);
    assert_int_equal(cr_rsa_private_op(rsa, in, out), VT_ECRYPTO);
    /* n - 1 is the largest: n is odd. Its square is 1, and d is odd, so it is its own image. */
    memcpy(in, pub->n, pub->bytes);
    in[pub->bytes - 1]--;
    assert_int_equal(cr_rsa_private_op(rsa, in, out), 0);
    assert_memory_equal(in, out, pub->bytes);
    memset(in, 0, pub->bytes);
    assert_int_equal(cr_rsa_private_op(rsa, in, out), 0);
    assert_memory_equal(in, out, pub->bytes);
    cr_rsa_free(rsa);
}

static void test_private_op__output_over_input__same_result(void **state)
{
    struct cr_rsa *rsa = load(512);
    uint8_t in[64] = { 1, 2, 3 }, out[64];

    (void)state;
    assert_int_equal(cr_rsa_private_op(rsa, in, out), 0);
    assert_int_equal(cr_rsa_private_op(rsa, in, in), 0);
    assert_memory_equal(in, out, sizeof in);
    cr_rsa_free(rsa);
}

static void test_public_op__hostile_public_keys__error(void **state)
{
    struct cr_rsa_pub good = fixture_rsa_key(1024, 0)->pub, bad;
    uint8_t in[CR_RSA_MAX] = { 0 }, out[CR_RSA_MAX];
    struct cr_drbg drbg;
    static const uint16_t lengths[] = { 0, 2, 62, 127, 258, 65535 };
    static const uint32_t exponents[] = { 0, 1, 2, 65536 };

    (void)state;
    start_drbg(&drbg, "hostile");
    for (size_t i = 0; i < VT_COUNT(lengths); i++) {
        bad = good;
        bad.bytes = lengths[i];
        assert_int_equal(cr_rsa_public_op(&bad, in, out), VT_ECRYPTO);
        assert_int_equal(cr_rsa_oaep_encrypt(&bad, label, 4, "x", 1, &drbg, out), VT_ECRYPTO);
        assert_int_equal(cr_rsa_pkcs1_encrypt(&bad, "x", 1, &drbg, out), VT_ECRYPTO);
        assert_int_equal(cr_rsa_verify(&bad, CR_SIG_PKCS1_RAW, "x", 1, in, bad.bytes), VT_ECRYPTO);
    }
    for (size_t i = 0; i < VT_COUNT(exponents); i++) {
        bad = good;
        bad.e = exponents[i];
        assert_int_equal(cr_rsa_public_op(&bad, in, out), VT_ECRYPTO);
    }
    bad = good;
    bad.n[127] &= 0xfe;
    assert_int_equal(cr_rsa_public_op(&bad, in, out), VT_ECRYPTO);
    bad = good;
    bad.n[0] = 0x7f;
    assert_int_equal(cr_rsa_public_op(&bad, in, out), VT_ECRYPTO);
}

static void test_encrypt__every_length__decrypted(void **state)
{
    struct cr_rsa *rsa = load(512);
    const struct cr_rsa_pub *pub = cr_rsa_public(rsa);
    uint8_t text[64], sealed[64], out[CR_RSA_MAX];
    struct cr_drbg drbg;
    size_t len;

    (void)state;
    start_drbg(&drbg, "lengths");
    /* Texts that look like padding must not be taken for it. */
    memset(text, 1, sizeof text);
    for (size_t n = 0; n <= 64 - 42; n++) {
        assert_int_equal(cr_rsa_oaep_encrypt(pub, label, 4, text, n, &drbg, sealed), 0);
        assert_int_equal(cr_rsa_oaep_decrypt(rsa, label, 4, sealed, sizeof sealed, out, &len), 0);
        assert_int_equal(len, n);
        assert_memory_equal(out, text, n);
    }
    assert_int_equal(cr_rsa_oaep_encrypt(pub, label, 4, text, 64 - 41, &drbg, sealed), VT_EUSAGE);
    memset(text, 0, sizeof text);
    for (size_t n = 0; n <= 64 - 11; n++) {
        assert_int_equal(cr_rsa_pkcs1_encrypt(pub, text, n, &drbg, sealed), 0);
        assert_int_equal(cr_rsa_pkcs1_decrypt(rsa, sealed, sizeof sealed, out, &len), 0);
        assert_int_equal(len, n);
        assert_memory_equal(out, text, n);
    }
    assert_int_equal(cr_rsa_pkcs1_encrypt(pub, text, 64 - 10, &drbg, sealed), VT_EUSAGE);
    assert_int_equal(cr_rsa_pkcs1_encrypt(pub, text, SIZE_MAX, &drbg, sealed), VT_EUSAGE);
    cr_rsa_free(rsa);
}

static void test_encrypt__same_drbg_state__same_bytes(void **state)
{
    const struct cr_rsa_pub *pub = &fixture_rsa_key(1024, 0)->pub;
    uint8_t a[128], b[128];
    struct cr_drbg one, two;

    (void)state;
    start_drbg(&one, "same");
    start_drbg(&two, "same");
    assert_int_equal(cr_rsa_oaep_encrypt(pub, label, 4, "x", 1, &one, a), 0);
    assert_int_equal(cr_rsa_oaep_encrypt(pub, label, 4, "x", 1, &two, b), 0);
    assert_memory_equal(a, b, sizeof a);
    assert_int_equal(cr_rsa_pkcs1_encrypt(pub, "x", 1, &one, a), 0);
    assert_int_equal(cr_rsa_pkcs1_encrypt(pub, "x", 1, &two, b), 0);
    assert_memory_equal(a, b, sizeof a);
    assert_int_equal(cr_rsa_pkcs1_encrypt(pub, "x", 1, &two, b), 0);
    assert_memory_not_equal(a, b, sizeof a);
}

static void test_oaep_decrypt__other_label_length_or_bits__error(void **state)
{
    struct cr_rsa *rsa = load(1024);
    const struct cr_rsa_pub *pub = cr_rsa_public(rsa);
    uint8_t sealed[128], out[CR_RSA_MAX];
    struct cr_drbg drbg;
    size_t len;

    (void)state;
    start_drbg(&drbg, "label");
    assert_int_equal(cr_rsa_oaep_encrypt(pub, label, 4, "secret", 6, &drbg, sealed), 0);
    assert_int_equal(cr_rsa_oaep_decrypt(rsa, "TCPB", 4, sealed, 128, out, &len), VT_ECRYPTO);
    assert_int_equal(cr_rsa_oaep_decrypt(rsa, label, 3, sealed, 128, out, &len), VT_ECRYPTO);
    assert_int_equal(cr_rsa_oaep_decrypt(rsa, label, 5, sealed, 128, out, &len), VT_ECRYPTO);
    assert_int_equal(cr_rsa_oaep_decrypt(rsa, NULL, 0, sealed, 128, out, &len), VT_ECRYPTO);
    assert_int_equal(cr_rsa_oaep_decrypt(rsa, label, 4, sealed, 127, out, &len), VT_ECRYPTO);
    assert_int_equal(cr_rsa_oaep_decrypt(rsa, label, 4, sealed, 129, out, &len), VT_ECRYPTO);
    assert_int_equal(cr_rsa_oaep_decrypt(rsa, label, 4, sealed, 0, out, &len), VT_ECRYPTO);
    assert_int_equal(cr_rsa_pkcs1_decrypt(rsa, sealed, 127, out, &len), VT_ECRYPTO);
    sealed[127] ^= 1;
    assert_int_equal(cr_rsa_oaep_decrypt(rsa, label, 4, sealed, 128, out, &len), VT_ECRYPTO);
    cr_rsa_free(rsa);
}

/* Encoded messages made by hand, encrypted bare, then decrypted. */
static int open_pkcs1(struct cr_rsa *rsa, const uint8_t em[64], size_t *len)
{
    uint8_t sealed[64], out[CR_RSA_MAX];

    assert_int_equal(cr_rsa_public_op(cr_rsa_public(rsa), em, sealed), 0);
    return cr_rsa_pkcs1_decrypt(rsa, sealed, sizeof sealed, out, len);
}

static void test_pkcs1_decrypt__bad_paddings__one_error(void **state)
{
    struct cr_rsa *rsa = load(512);
    uint8_t em[64];
    size_t len = 0;

    (void)state;
    memset(em, 0xaa, sizeof em);
    em[0] = 0;
    em[1] = 2;
    em[10] = 0; /* eight bytes of padding: the least */
    assert_int_equal(open_pkcs1(rsa, em, &len), 0);
    assert_int_equal(len, 53);
    for (size_t at = 2; at < 10; at++) { /* shorter padding */
        em[at] = 0;
        assert_int_equal(open_pkcs1(rsa, em, &len), VT_ECRYPTO);
        em[at] = 0xaa;
    }
    em[1] = 1;
    assert_int_equal(open_pkcs1(rsa, em, &len), VT_ECRYPTO);
    em[1] = 0;
    assert_int_equal(open_pkcs1(rsa, em, &len), VT_ECRYPTO);
    em[1] = 2;
    em[0] = 1;
    assert_int_equal(open_pkcs1(rsa, em, &len), VT_ECRYPTO);
    em[0] = 0;
    em[10] = 0xaa; /* no end of the padding */
    assert_int_equal(open_pkcs1(rsa, em, &len), VT_ECRYPTO);
    em[63] = 0; /* empty text */
    assert_int_equal(open_pkcs1(rsa, em, &len), 0);
    assert_int_equal(len, 0);
    cr_rsa_free(rsa);
}

/* Masks a data block that was written by hand, with a seed of zeros, then lets the decoder judge. */
static int unpad_oaep(const uint8_t *plain, size_t len, size_t *at)
{
    uint8_t em[128], stream[128];

    memcpy(em, plain, len);
    cr_mgf1_sha1(stream, len - 21, em + 1, 20);
    for (size_t i = 21; i < len; i++)
        em[i] ^= stream[i - 21];
    cr_mgf1_sha1(stream, 20, em + 21, len - 21);
    for (size_t i = 1; i < 21; i++)
        em[i] ^= stream[i - 1];
    return cr_unpad_oaep(em, len, CR_SLICE(label, 4), at);
}

static void test_oaep_decode__bad_paddings__one_error(void **state)
{
    uint8_t em[128] = { 0 };
    size_t at = 0;

    (void)state;
    cr_sha1(em + 21, label, 4);
    em[100] = 1;
    memset(em + 101, 1, 27);
    assert_int_equal(unpad_oaep(em, sizeof em, &at), 0);
    assert_int_equal(at, 101);
    em[0] = 1; /* Manger */
    assert_int_equal(unpad_oaep(em, sizeof em, &at), VT_ECRYPTO);
    em[0] = 0;
    for (size_t i = 21; i < 100; i++) { /* hash of the label, then the zeros */
        em[i] ^= 0x40;
        assert_int_equal(unpad_oaep(em, sizeof em, &at), VT_ECRYPTO);
        em[i] ^= 0x40;
    }
    em[100] = 2;
    assert_int_equal(unpad_oaep(em, sizeof em, &at), VT_ECRYPTO);
    memset(em + 100, 0, 28); /* no end of the padding */
    assert_int_equal(unpad_oaep(em, sizeof em, &at), VT_ECRYPTO);
    em[127] = 1; /* empty text */
    assert_int_equal(unpad_oaep(em, sizeof em, &at), 0);
    assert_int_equal(at, 128);
    em[127] = 0;
    em[41] = 1; /* no zeros at all */
    assert_int_equal(unpad_oaep(em, sizeof em, &at), 0);
    assert_int_equal(at, 42);
}

static void test_sign__both_schemes__verified(void **state)
{
    uint8_t digest[CR_SHA1_LEN], sig[CR_RSA_MAX], other[CR_RSA_MAX], info[35];

    (void)state;
    cr_sha1(digest, "message", 7);
    from_hex(info, sizeof info, "3021300906052b0e03021a05000414");
    memcpy(info + 15, digest, sizeof digest);
    for (size_t s = 0; s < VT_COUNT(sizes); s++) {
        struct cr_rsa *rsa = load(sizes[s]);
        const struct cr_rsa_pub *pub = cr_rsa_public(rsa);

        assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, digest, sizeof digest, sig), 0);
        assert_int_equal(cr_rsa_verify(pub, CR_SIG_PKCS1_SHA1, digest, sizeof digest, sig, pub->bytes), 0);
        /* The raw scheme with the DigestInfo written out is the same signature. */
        assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_RAW, info, sizeof info, other), 0);
        assert_memory_equal(sig, other, pub->bytes);
        assert_int_equal(cr_rsa_verify(pub, CR_SIG_PKCS1_RAW, info, sizeof info, sig, pub->bytes), 0);
        assert_int_equal(cr_rsa_verify(pub, CR_SIG_PKCS1_RAW, digest, sizeof digest, sig, pub->bytes),
                         VT_ECRYPTO);
        cr_rsa_free(rsa);
    }
}

static void test_sign__length_bounds__usage(void **state)
{
    struct cr_rsa *rsa = load(512);
    uint8_t text[64] = { 0 }, sig[64];

    (void)state;
    assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, text, 19, sig), VT_EUSAGE);
    assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, text, 21, sig), VT_EUSAGE);
    assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_RAW, text, 54, sig), VT_EUSAGE);
    assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_RAW, text, 53, sig), 0);
    assert_int_equal(cr_rsa_verify(cr_rsa_public(rsa), CR_SIG_PKCS1_RAW, text, 53, sig, 64), 0);
    assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_RAW, text, 0, sig), 0);
    assert_int_equal(cr_rsa_verify(cr_rsa_public(rsa), CR_SIG_PKCS1_RAW, text, 0, sig, 64), 0);
    assert_int_equal(cr_rsa_sign(rsa, (enum cr_sig_scheme)7, text, 20, sig), VT_EUSAGE);
    cr_rsa_free(rsa);
}

static void test_verify__anything_changed__error(void **state)
{
    struct cr_rsa *rsa = load(1024);
    const struct cr_rsa_pub *pub = cr_rsa_public(rsa);
    uint8_t digest[CR_SHA1_LEN], sig[CR_RSA_MAX];

    (void)state;
    cr_sha1(digest, "message", 7);
    assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, digest, sizeof digest, sig), 0);
    for (size_t i = 0; i < pub->bytes; i++) {
        sig[i] ^= 1;
        assert_int_equal(cr_rsa_verify(pub, CR_SIG_PKCS1_SHA1, digest, sizeof digest, sig, pub->bytes),
                         VT_ECRYPTO);
        sig[i] ^= 1;
    }
    digest[19] ^= 1;
    assert_int_equal(cr_rsa_verify(pub, CR_SIG_PKCS1_SHA1, digest, sizeof digest, sig, pub->bytes),
                     VT_ECRYPTO);
    digest[19] ^= 1;
    assert_int_equal(cr_rsa_verify(pub, CR_SIG_PKCS1_SHA1, digest, sizeof digest, sig, 127), VT_ECRYPTO);
    assert_int_equal(
        cr_rsa_verify(&fixture_rsa_key(1024, 1)->pub, CR_SIG_PKCS1_SHA1, digest, sizeof digest, sig, 128),
        VT_ECRYPTO);
    assert_int_equal(cr_rsa_verify(pub, CR_SIG_PKCS1_SHA1, digest, sizeof digest, sig, 128), 0);
    cr_rsa_free(rsa);
}

/* A back end that computes one wrong bit, as a fault in the machine would. */
static int faulty_private(void *impl, const struct cr_rsa_pub *pub, const uint8_t *in, uint8_t *out)
{
    int err = CR_BACKEND.rsa_private(impl, pub, in, out);

    out[pub->bytes - 1] ^= 2;
    return err;
}

/*
 * One whose half of the CRT modulo q went wrong (Boneh, DeMillo, Lipton): the result is right modulo p, so that the
 * greatest common divisor of n and result^e - in is p.
 */
static int half_wrong_private(void *impl, const struct cr_rsa_pub *pub, const uint8_t *in, uint8_t *out)
{
    const struct cr_rsa_key *key = fixture_rsa_key(pub->bytes * 8u, 0);
    uint8_t sum[CR_RSA_MAX + 1], one = 1;
    int err = CR_BACKEND.rsa_private(impl, pub, in, out);

    assert_int_equal(cr_num_mul_add(sum, pub->bytes + 1u, CR_SLICE(out, pub->bytes), CR_SLICE(key->p, pub->bytes / 2u),
                                    CR_SLICE(&one, 1), CR_SLICE(NULL, 0)), 0);
    assert_int_equal(cr_num_mod(out, pub->bytes, CR_SLICE(sum, pub->bytes + 1u), CR_SLICE(pub->n, pub->bytes)), 0);
    return err;
}

static void test_sign__fault_in_private_operation__nothing_released(void **state)
{
    struct cr_backend faulty = CR_BACKEND;
    struct cr_rsa *rsa = load(1024);
    uint8_t digest[CR_SHA1_LEN] = { 1 }, sig[CR_RSA_MAX], untouched[CR_RSA_MAX];

    (void)state;
    faulty.rsa_private = faulty_private;
    rsa->backend = &faulty;
    memset(sig, 0xee, sizeof sig);
    memset(untouched, 0xee, sizeof untouched);
    assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, digest, sizeof digest, sig), VT_ECRYPTO);
    assert_memory_equal(sig, untouched, sizeof sig);
    cr_rsa_free(rsa);
}

/* Every operation with the private key, over a fault in it: one error, and not a byte of what came out. */
static void nothing_leaves(struct cr_rsa *rsa, const uint8_t *oaep, const uint8_t *pkcs1)
{
    uint8_t digest[CR_SHA1_LEN] = { 1 }, out[CR_RSA_MAX], untouched[CR_RSA_MAX];
    const size_t bytes = cr_rsa_public(rsa)->bytes;
    size_t len;

    memset(out, 0xee, sizeof out);
    memset(untouched, 0xee, sizeof untouched);
    assert_int_equal(cr_rsa_private_op(rsa, oaep, out), VT_ECRYPTO);
    assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, digest, sizeof digest, out), VT_ECRYPTO);
    assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_RAW, digest, sizeof digest, out), VT_ECRYPTO);
    assert_int_equal(cr_rsa_oaep_decrypt(rsa, label, 4, oaep, bytes, out, &len), VT_ECRYPTO);
    assert_int_equal(cr_rsa_pkcs1_decrypt(rsa, pkcs1, bytes, out, &len), VT_ECRYPTO);
    assert_memory_equal(out, untouched, sizeof out);
}

static void test_private_op__half_of_the_crt_wrong__nothing_released(void **state)
{
    struct cr_backend faulty = CR_BACKEND;

    (void)state;
    faulty.rsa_private = half_wrong_private;
    for (size_t s = 0; s < VT_COUNT(sizes); s++) {
        struct cr_rsa *rsa = load(sizes[s]);
        uint8_t oaep[CR_RSA_MAX], pkcs1[CR_RSA_MAX], sig[CR_RSA_MAX], digest[CR_SHA1_LEN] = { 1 };
        struct cr_drbg drbg;

        start_drbg(&drbg, "fault");
        assert_int_equal(cr_rsa_oaep_encrypt(&rsa->pub, label, 4, "x", 1, &drbg, oaep), 0);
        assert_int_equal(cr_rsa_pkcs1_encrypt(&rsa->pub, "x", 1, &drbg, pkcs1), 0);
        rsa->backend = &faulty;
        nothing_leaves(rsa, oaep, pkcs1);
        /* The fault passes: the key is as good as before. */
        rsa->backend = &CR_BACKEND;
        assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, digest, sizeof digest, sig), 0);
        cr_rsa_free(rsa);
    }
}

/* The back end itself with parameters that are no longer those of the key, as after a fault in memory. */
static void test_private_op__parameters_damaged__right_or_refused(void **state)
{
    const struct cr_rsa_key *key = fixture_rsa_key(1024, 0);
    struct cr_rsa *good = load(1024);
    uint8_t in[128] = { 0, 5 }, expected[128];

    (void)state;
    assert_int_equal(cr_rsa_private_op(good, in, expected), 0);
    for (size_t b = 0; b < VT_COUNT(backends); b++)
        for (int which = 0; which < 2; which++) {
            struct cr_rsa rsa = { .backend = backends[b], .pub = key->pub };
            struct cr_rsa_parts parts;
            uint8_t out[128];
            int err;

            assert_int_equal(cr_rsa_parts_of(&parts, key), 0);
            (which ? parts.dq : parts.dp)[60] ^= 4;
            parts.d[100] ^= 4;
            assert_int_equal(rsa.backend->rsa_load(&rsa.impl, key, &parts), 0);
            memset(out, 0xee, sizeof out);
            err = cr_rsa_private_op(&rsa, in, out);
            if (err) {
                assert_int_equal(err, VT_ECRYPTO);
                assert_int_equal(out[0], 0xee);
            } else {
                assert_memory_equal(out, expected, sizeof out);
            }
            rsa.backend->rsa_free(rsa.impl);
        }
    cr_rsa_free(good);
}

#ifdef VTPM_HAVE_LIBCRYPTO
/* ---- Against libcrypto's own paddings, with a key built from n, e, d only ---- */

static EVP_PKEY *peer_key(const struct cr_rsa_key *key)
{
    BN_CTX *bn = BN_CTX_new();
    BIGNUM *n = BN_bin2bn(key->pub.n, key->pub.bytes, NULL), *p = BN_bin2bn(key->p, key->pub.bytes / 2, NULL);
    BIGNUM *e = BN_new(), *q = BN_new(), *phi = BN_new(), *d = BN_new();
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM *params;

    BN_set_word(e, key->pub.e);
    BN_div(q, NULL, n, p, bn);
    BN_sub_word(p, 1);
    BN_sub_word(q, 1);
    BN_mul(phi, p, q, bn);
    assert_non_null(BN_mod_inverse(d, e, phi, bn));
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_D, d);
    params = OSSL_PARAM_BLD_to_param(build);
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_KEYPAIR, params), 1);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(ctx);
    BN_free(n);
    BN_free(p);
    BN_free(e);
    BN_free(q);
    BN_free(phi);
    BN_free(d);
    BN_CTX_free(bn);
    return pkey;
}

static void set_oaep(EVP_PKEY_CTX *ctx)
{
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha1()), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha1()), 1);
    assert_int_equal(EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, OPENSSL_memdup(label, 4), 4), 1);
}

static void exchange(struct cr_rsa *rsa, EVP_PKEY *pkey, bool oaep)
{
    EVP_PKEY_CTX *enc = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    EVP_PKEY_CTX *dec = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    const struct cr_rsa_pub *pub = cr_rsa_public(rsa);
    uint8_t sealed[CR_RSA_MAX], out[CR_RSA_MAX];
    size_t len = sizeof sealed;
    struct cr_drbg drbg;

    start_drbg(&drbg, "exchange");
    assert_int_equal(EVP_PKEY_encrypt_init(enc), 1);
    assert_int_equal(EVP_PKEY_decrypt_init(dec), 1);
    if (oaep) {
        set_oaep(enc);
        set_oaep(dec);
    }
    assert_int_equal(EVP_PKEY_encrypt(enc, sealed, &len, (const uint8_t *)"from there", 10), 1);
    assert_int_equal(oaep ? cr_rsa_oaep_decrypt(rsa, label, 4, sealed, len, out, &len)
                          : cr_rsa_pkcs1_decrypt(rsa, sealed, len, out, &len), 0);
    assert_int_equal(len, 10);
    assert_memory_equal(out, "from there", 10);
    assert_int_equal(oaep ? cr_rsa_oaep_encrypt(pub, label, 4, "from here", 9, &drbg, sealed)
                          : cr_rsa_pkcs1_encrypt(pub, "from here", 9, &drbg, sealed), 0);
    len = sizeof out;
    assert_int_equal(EVP_PKEY_decrypt(dec, out, &len, sealed, pub->bytes), 1);
    assert_int_equal(len, 9);
    assert_memory_equal(out, "from here", 9);
    EVP_PKEY_CTX_free(enc);
    EVP_PKEY_CTX_free(dec);
}

static void compare_signature(struct cr_rsa *rsa, EVP_PKEY *pkey)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    uint8_t digest[CR_SHA1_LEN] = { 3, 2, 1 }, ours[CR_RSA_MAX], theirs[CR_RSA_MAX];
    size_t len = sizeof theirs;

    assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, digest, sizeof digest, ours), 0);
    assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING), 1);
    assert_int_equal(EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha1()), 1);
    assert_int_equal(EVP_PKEY_sign(ctx, theirs, &len, digest, sizeof digest), 1);
    assert_int_equal(len, cr_rsa_public(rsa)->bytes);
    assert_memory_equal(ours, theirs, len);
    EVP_PKEY_CTX_free(ctx);
}

static void test_rsa__against_libcrypto__understood_both_ways(void **state)
{
    (void)state;
    for (unsigned bits = 1024; bits <= 2048; bits *= 2)
        for (unsigned i = 0; i < 4; i++)
            for (size_t b = 0; b < VT_COUNT(backends); b++) {
                EVP_PKEY *pkey = peer_key(fixture_rsa_key(bits, i));
                struct cr_rsa *rsa;

                assert_int_equal(cr_rsa_load_with(backends[b], &rsa, fixture_rsa_key(bits, i)), 0);
                exchange(rsa, pkey, true);
                exchange(rsa, pkey, false);
                compare_signature(rsa, pkey);
                cr_rsa_free(rsa);
                EVP_PKEY_free(pkey);
            }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_private_op__every_back_end__inverse_of_public),
        cmocka_unit_test(test_bare_ops__input_not_below_modulus__error),
        cmocka_unit_test(test_private_op__output_over_input__same_result),
        cmocka_unit_test(test_public_op__hostile_public_keys__error),
        cmocka_unit_test(test_encrypt__every_length__decrypted),
        cmocka_unit_test(test_encrypt__same_drbg_state__same_bytes),
        cmocka_unit_test(test_oaep_decrypt__other_label_length_or_bits__error),
        cmocka_unit_test(test_pkcs1_decrypt__bad_paddings__one_error),
        cmocka_unit_test(test_oaep_decode__bad_paddings__one_error),
        cmocka_unit_test(test_sign__both_schemes__verified),
        cmocka_unit_test(test_sign__length_bounds__usage),
        cmocka_unit_test(test_verify__anything_changed__error),
        cmocka_unit_test(test_sign__fault_in_private_operation__nothing_released),
        cmocka_unit_test(test_private_op__half_of_the_crt_wrong__nothing_released),
        cmocka_unit_test(test_private_op__parameters_damaged__right_or_refused),
#ifdef VTPM_HAVE_LIBCRYPTO
        cmocka_unit_test(test_rsa__against_libcrypto__understood_both_ways),
#endif
    };

    return cmocka_run_group_tests(tests, init_crypto, NULL);
}

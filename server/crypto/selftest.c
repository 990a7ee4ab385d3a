/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Known answers, from the RFCs and NIST's publications where they have one, else computed with Python's
 * hashlib and "cryptography". The run also warms each path, so that a sandbox forked later opens nothing.
 */
#include "server/base/text.h"
#include "server/crypto/crypto.h"

/* True if bytes are those that hex spells. */
static bool is_hex(const void *bytes, size_t len, const char *hex)
{
    uint8_t expected[CR_RSA_MAX];

    return len <= sizeof expected && vt_unhex(expected, len, hex) && vt_ct_equal(bytes, expected, len);
}

/* 0, 1, 2, ... */
static void count_up(uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)i;
}

/* FIPS 180-4's examples. */
static bool test_sha1(void)
{
    uint8_t out[CR_SHA1_LEN];

    cr_sha1(out, "abc", 3);
    return is_hex(out, sizeof out, "a9993e364706816aba3e25717850c26c9cd0d89d");
}

static bool test_sha1_state(void)
{
    uint8_t zeros[64] = { 0 };
    uint8_t out[CR_SHA1_LEN];
    struct cr_sha1_state state;

    cr_sha1_start(&state);
    cr_sha1_blocks(&state, zeros, sizeof zeros);
    cr_sha1_finish(&state, "abc", 3, out);
    return is_hex(out, sizeof out, "75c8570233e34d8e14c4a0a71b73000cabd03fea");
}

static bool test_sha256(void)
{
    uint8_t out[CR_SHA256_LEN];

    cr_sha256(out, "abc", 3);
    return is_hex(out, sizeof out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* RFC 2202 and 4231, test case 2 of each. */
static bool test_hmac_sha1(void)
{
    uint8_t out[CR_SHA1_LEN];

    cr_hmac_sha1v(out, "Jefe", 4, &CR_SLICE("what do ya want for nothing?", 28), 1);
    return is_hex(out, sizeof out, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
}

static bool test_hmac_sha256(void)
{
    uint8_t out[CR_SHA256_LEN];

    cr_hmac_sha256v(out, "Jefe", 4, &CR_SLICE("what do ya want for nothing?", 28), 1);
    return is_hex(out, sizeof out, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

/* RFC 5869, A.3: no salt, no info. */
static bool test_hkdf(void)
{
    uint8_t key[22], out[42];

    memset(key, 0x0b, sizeof key);
    return !cr_hkdf(out, sizeof out, key, sizeof key, NULL, 0, "") &&
           is_hex(out, sizeof out,
                  "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

static bool test_scrypt(void)
{
    uint8_t out[16];

    return !cr_scrypt(out, sizeof out, "vtpm", 4, "selftest", 8, 10, 1, 1) &&
           is_hex(out, sizeof out, "a461a8bd68e076a448fe671d616d248b");
}

static bool test_gcm(void)
{
    static const char text[] = "known answer";
    struct vt_key key;
    uint8_t nonce[CR_GCM_NONCE], tag[CR_GCM_TAG], data[12];

    count_up(key.bytes, sizeof key.bytes);
    count_up(nonce, sizeof nonce);
    if (cr_gcm_seal(&key, nonce, "header", 6, text, sizeof data, data, tag) ||
        !is_hex(data, sizeof data, "2c6cb96cabc5a375fe36f2f9") ||
        !is_hex(tag, sizeof tag, "509a0655799a939c71ed1e1e4d7c895d"))
        return false;
    if (cr_gcm_open(&key, nonce, "header", 6, data, sizeof data, tag, data) ||
        memcmp(data, text, sizeof data) != 0)
        return false;
    /* A wrong tag must be seen. */
    tag[0] ^= 1;
    return cr_gcm_open(&key, nonce, "header", 6, data, sizeof data, tag, data) == VT_ECRYPTO;
}

/* SP 800-38A, F.5.1, first block. */
static bool test_ctr(void)
{
    uint8_t key[16], iv[16], data[16];

    return vt_unhex(key, sizeof key, "2b7e151628aed2a6abf7158809cf4f3c") &&
           vt_unhex(iv, sizeof iv, "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff") &&
           vt_unhex(data, sizeof data, "6bc1bee22e409f96e93d7e117393172a") &&
           !cr_aes128_ctr(key, iv, data, sizeof data, data) &&
           is_hex(data, sizeof data, "874d6191b620e3261bef6864990db6ce");
}

/* swtpm's file: AES-CBC, and what its key is made by. */
static bool test_cbc(void)
{
    uint8_t key[32], iv[16], data[32];

    count_up(key, sizeof key);
    count_up(iv, sizeof iv);
    count_up(data, sizeof data);
    if (cr_aes_cbc_decrypt(key, 16, iv, data, sizeof data, data) ||
        !is_hex(data, sizeof data, "7756e165ed666861921f273ef920b01669390a835a0a741ae647b833088ed8f3"))
        return false;
    count_up(data, sizeof data);
    return !cr_aes_cbc_decrypt(key, 32, iv, data, sizeof data, data) &&
           is_hex(data, sizeof data, "913cbee64d3ffbc75f7b8f81a1474a3d69032c07cd5c368b89cf07695955d382");
}

static bool test_pbkdf2(void)
{
    uint8_t out[70];

    return !cr_sha512(out, "abc", 3) &&
           is_hex(out, CR_SHA512_LEN, "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                                      "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f") &&
           !cr_pbkdf2_sha512(out, sizeof out, "password", 8, "swtpm", 5, 1000) &&
           is_hex(out, sizeof out, "e7e0e1e00b313f678bfda581bf72a7e25053d797e2180b6ca57b3a359123865ac04a239ac31b9202997d"
                                   "ff4b27f9d3219b2cc240fc7950b5b81e0608f9ae2a572c5203178127");
}

static bool test_drbg(void)
{
    uint8_t seed[CR_DRBG_SEED], out[40];
    struct cr_drbg drbg;

    count_up(seed, sizeof seed);
    cr_drbg_init(&drbg, seed, "vtpm", 4);
    cr_drbg_random(&drbg, out, 32);
    cr_drbg_stir(&drbg, "stirred", 7);
    cr_drbg_random(&drbg, out, sizeof out);
    return is_hex(out, sizeof out,
                  "0e9803897c4a0f33d2eeb950a3723842746b99659860c50698e7bd1788d133afa9cda6f047788b78");
}

static bool test_os_random(void)
{
    uint8_t a[16], b[16];

    return !cr_os_random(a, sizeof a) && !cr_os_random(b, sizeof b) && memcmp(a, b, sizeof a) != 0;
}

static bool test_mgf1(void)
{
    uint8_t out[32];

    cr_mgf1_sha1(out, sizeof out, "seed", 4);
    return is_hex(out, sizeof out, "09d8db2214e56d4dec8f9a3099b851a46886fe3f682e3c4f6a35ff98dd072c11");
}

/* A key for this file alone. */
static const char rsa_n[] =
    "c3428dfa30d4f450d4ddf97af881e71535aea3ca2516c19e7227b819e0362b89ff94f1404d75ca85b619f13dfb0e9261"
    "6e035b6770c215b2f332acd153ad56c4c250494af65c5c14f3d07458911ee03b7da9637482b024733c86d966eb902ea0"
    "ee93dda57177a1532cc42a7bd2ec21975edbf00443263dc1bd0e1681dbaf09bd";
static const char rsa_p[] =
    "f4f8a678b8364144905f818bc2decd38fe256a6748c651d24f6136c97d41698cdd76d1804a2b103287bd1e49aeb6eaf6"
    "d3f1cf8846cd8abb779465145d202137";
/* Of SHA-1("abc"). */
static const char rsa_signature[] =
    "35179619484e27cc6b1530d0ebd6faec1f0c76d099863fce9a07d3070f7aa9fbad3abd04082b58802d77c06137b38a4d"
    "1dd3c4b080a1377a011fcc2ed8bafb2506bb586b54bcac84c8b158eba266b1d74dc9d3e24410ae0f1e9f4e76908d0302"
    "68661145dd7e138c27a9ef107bac6e4a990ff23b1c41d1109df91f4866b3ae59";
/* "sealed", with PKCS #1 v1.5 and with OAEP and the label "TCPA". */
static const char rsa_pkcs1[] =
    "4f440d9d726fc18e5e7808e6bd5b3a83b0e8d44e8f42bbdad12d6a5d312d11f5eceb06d3aa49a5d8d4a8200732b46e55"
    "caf8a109ecd28a6f4dd682d8dd59334b4f7e8e5741b14e3e516994d7f6c0e718ae37d97d7a68479f2bdee65b539a9704"
    "e20dae806dd3cc13469ba721b35b3dbff812489f86c468f9f4d4ef84575ed027";
static const char rsa_oaep[] =
    "6e9a0ba53999f15750a63a0b392296aeb4ba4cd5ad90479aaf588012a64c61cbd59897dfe4b1f847493ff4fb065d7d98"
    "57c7edd9df2a4c0fca84869aa2f50d5e2227191083949cf423bbfb6236fc2b4bc48f90ab26e1e7245ba325616f5b8f98"
    "6478b27ca2c2108d5859bcda4b3d7473b8aef0890704b65073409d0200e71f9b";

#define RSA_BYTES 128

static bool sign_and_verify(struct cr_rsa *rsa)
{
    uint8_t digest[CR_SHA1_LEN], sig[CR_RSA_MAX];

    cr_sha1(digest, "abc", 3);
    if (cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, digest, sizeof digest, sig) || !is_hex(sig, RSA_BYTES, rsa_signature) ||
        cr_rsa_verify(cr_rsa_public(rsa), CR_SIG_PKCS1_SHA1, digest, sizeof digest, sig, RSA_BYTES))
        return false;
    /* A wrong digest must be seen. */
    digest[0] ^= 1;
    return cr_rsa_verify(cr_rsa_public(rsa), CR_SIG_PKCS1_SHA1, digest, sizeof digest, sig, RSA_BYTES) == VT_ECRYPTO;
}

static bool decrypt(struct cr_rsa *rsa)
{
    uint8_t in[RSA_BYTES], out[CR_RSA_MAX];
    size_t len;

    return vt_unhex(in, sizeof in, rsa_pkcs1) && !cr_rsa_pkcs1_decrypt(rsa, in, sizeof in, out, &len) &&
           len == 6 && memcmp(out, "sealed", 6) == 0 && vt_unhex(in, sizeof in, rsa_oaep) &&
           !cr_rsa_oaep_decrypt(rsa, "TCPA", 4, in, sizeof in, out, &len) && len == 6 &&
           memcmp(out, "sealed", 6) == 0;
}

/* The padding is random: only the way back tells. And a wrong label must be seen. */
static bool encrypt(struct cr_rsa *rsa)
{
    uint8_t seed[CR_DRBG_SEED] = { 0 }, sealed[CR_RSA_MAX], out[CR_RSA_MAX];
    struct cr_drbg drbg;
    size_t len;

    cr_drbg_init(&drbg, seed, "selftest", 8);
    if (cr_rsa_oaep_encrypt(cr_rsa_public(rsa), "TCPA", 4, "sealed", 6, &drbg, sealed) ||
        cr_rsa_oaep_decrypt(rsa, "TCPA", 4, sealed, RSA_BYTES, out, &len) || len != 6 ||
        memcmp(out, "sealed", 6) != 0 ||
        cr_rsa_oaep_decrypt(rsa, "TCPB", 4, sealed, RSA_BYTES, out, &len) != VT_ECRYPTO)
        return false;
    return !cr_rsa_pkcs1_encrypt(cr_rsa_public(rsa), "sealed", 6, &drbg, sealed) &&
           !cr_rsa_pkcs1_decrypt(rsa, sealed, RSA_BYTES, out, &len) && len == 6 && memcmp(out, "sealed", 6) == 0;
}

static bool test_rsa(void)
{
    struct cr_rsa_key key = { .pub = { .e = 65537, .bytes = RSA_BYTES } };
    struct cr_rsa *rsa;
    bool ok;

    if (!vt_unhex(key.pub.n, RSA_BYTES, rsa_n) || !vt_unhex(key.p, RSA_BYTES / 2, rsa_p) ||
        cr_rsa_load(&rsa, &key))
        return false;
    ok = sign_and_verify(rsa) && decrypt(rsa) && encrypt(rsa);
    cr_rsa_free(rsa);
    return ok;
}

/* The primes a seed leads to are mbedTLS's choice; cr_rsa_load tries the pair (SP 800-56B, 6.4.1.1). */
static bool test_rsa_generate(void)
{
    uint8_t seed[CR_DRBG_SEED] = { 0 };
    struct cr_drbg drbg;
    CR_SECRET_RSA key;
    struct cr_rsa *rsa;

    cr_drbg_init(&drbg, seed, "selftest", 8);
    if (cr_rsa_generate(&key, 512, 65537, &drbg) || cr_rsa_load(&rsa, &key))
        return false;
    cr_rsa_free(rsa);
    return true;
}

/* RFC 6979, A.2.5, "sample" with SHA-256. */
static bool test_ecdsa(void)
{
    uint8_t pub[CR_EC_PUBLIC], digest[CR_SHA256_LEN], sig[CR_EC_SIGNATURE];
    struct vt_key key;

    cr_sha256(digest, "sample", 6);
    if (!vt_unhex(&key, sizeof key, "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721") ||
        cr_ec_public(&key, pub) ||
        !is_hex(pub, sizeof pub, "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
                                 "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299") ||
        cr_ec_sign(&key, digest, sig) ||
        !is_hex(sig, sizeof sig, "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
                                 "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8") ||
        cr_ec_verify(pub, digest, sig))
        return false;
    sig[0] ^= 1;
    return cr_ec_verify(pub, digest, sig) == VT_ECRYPTO;
}

/* NIST CAVP, ECC CDH primitive, P-256, the first one. */
static bool test_ecdh(void)
{
    uint8_t pub[CR_EC_PUBLIC];
    struct vt_key key, shared;

    return vt_unhex(&key, sizeof key, "7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534") &&
           vt_unhex(pub, sizeof pub, "04700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287"
                                     "db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac") &&
           !cr_ec_agree(&key, pub, &shared) &&
           is_hex(&shared, sizeof shared, "46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b");
}

/* 7 * 3^200 mod 65537, 65536 mod 17, 5 + 255 * 255 + 6: by Python. */
static bool test_numbers(void)
{
    static const uint8_t n[] = { 1, 0, 1 }, exponent[] = { 200 }, ff[] = { 255 };
    uint8_t out[3];

    return !cr_num_exp_mod(out, sizeof out, CR_SLICE("\7", 1), CR_SLICE("\3", 1), CR_SLICE(exponent, 1),
                           CR_SLICE(n, sizeof n)) &&
           is_hex(out, sizeof out, "00ecdf") &&
           !cr_num_mod(out, sizeof out, CR_SLICE("\1\0\0", 3), CR_SLICE("\21", 1)) &&
           is_hex(out, sizeof out, "000001") &&
           !cr_num_mul_add(out, sizeof out, CR_SLICE("\5", 1), CR_SLICE(ff, 1), CR_SLICE(ff, 1), CR_SLICE("\6", 1)) &&
           is_hex(out, sizeof out, "00fe0c");
}

static const struct {
    const char *name;
    bool (*run)(void);
} tests[] = {
    { "SHA-1", test_sha1 },
    { "SHA-1 state", test_sha1_state },
    { "SHA-256", test_sha256 },
    { "HMAC-SHA-1", test_hmac_sha1 },
    { "HMAC-SHA-256", test_hmac_sha256 },
    { "HKDF", test_hkdf },
    { "scrypt", test_scrypt },
    { "AES-256-GCM", test_gcm },
    { "AES-128-CTR", test_ctr },
    { "AES-CBC", test_cbc },
    { "SHA-512 and PBKDF2", test_pbkdf2 },
    { "HMAC-DRBG", test_drbg },
    { "getrandom", test_os_random },
    { "MGF1", test_mgf1 },
    { "RSA", test_rsa },
    { "RSA key generation", test_rsa_generate },
    { "ECDSA", test_ecdsa },
    { "ECDH", test_ecdh },
    { "numbers", test_numbers },
};

int cr_self_test(struct vt_why *why)
{
    for (size_t i = 0; i < VT_COUNT(tests); i++)
        if (!tests[i].run())
            return vt_fail(why, VT_ECRYPTO, "crypto self-test of %s failed (%s)", tests[i].name,
                           cr_backend());
    return VT_OK;
}

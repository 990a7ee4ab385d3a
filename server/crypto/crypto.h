/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one door to mbedTLS and libcrypto. Callers see plain structures that can be stored and wiped; no library type
 * passes through. All functions may run on any thread; they share no state but cr_key_random's pool.
 *
 * Return: enum vt_err; VT_ECRYPTO when a check fails (bad tag, bad padding, bad key), VT_ENOMEM, VT_EUSAGE.
 */
#ifndef VTPM_CRYPTO_CRYPTO_H
#define VTPM_CRYPTO_CRYPTO_H

#include "server/base/err.h"
#include "server/base/secret.h"

/* Before any other call, once per process. Idempotent. */
int cr_init(void) VT_USE_RESULT;
/* "mbedTLS 2.28.3" or "libcrypto 3.0.x + mbedTLS 2.28.3": for --version and the log. */
const char *cr_backend(void);
/* Known answers for every primitive below; VT_ECRYPTO and the primitive's name in why. */
int cr_self_test(struct vt_why *why) VT_USE_RESULT;

/* ---- Hashes and HMAC. They cannot fail. ---- */
#define CR_SHA1_LEN 20
#define CR_SHA256_LEN 32

struct cr_slice {
    const void *ptr;
    size_t len;
};
#define CR_SLICE(p, n) ((struct cr_slice){(p), (n)})

/* Hash of the concatenation of `count` slices. */
void cr_sha1v(uint8_t out[CR_SHA1_LEN], const struct cr_slice *slices, size_t count);
void cr_sha256v(uint8_t out[CR_SHA256_LEN], const struct cr_slice *slices, size_t count);
void cr_sha1(uint8_t out[CR_SHA1_LEN], const void *ptr, size_t len);
void cr_sha256(uint8_t out[CR_SHA256_LEN], const void *ptr, size_t len);
void cr_hmac_sha1v(uint8_t out[CR_SHA1_LEN], const void *key, size_t key_len, const struct cr_slice *slices,
                   size_t count);
void cr_hmac_sha256v(uint8_t out[CR_SHA256_LEN], const void *key, size_t key_len, const struct cr_slice *slices,
                     size_t count);

/* A SHA-1 under way that can be frozen: TPM_SHA1Start (Part 3, 13.1) outlives a command, so its state is data. */
struct cr_sha1_state {
    uint32_t h[5];
    uint64_t total;     /* bytes so far; a multiple of 64 */
};
void cr_sha1_start(struct cr_sha1_state *state);
/* len is a multiple of 64. */
void cr_sha1_blocks(struct cr_sha1_state *state, const void *ptr, size_t len);
/* The last part, any length; wipes the state. */
void cr_sha1_finish(struct cr_sha1_state *state, const void *ptr, size_t len, uint8_t out[CR_SHA1_LEN]);

/* ---- Key derivation ---- */
/* HKDF-SHA-256 (RFC 5869) with `label` as info; salt may be empty. out_len <= 255 * 32. */
int cr_hkdf(uint8_t *out, size_t out_len, const void *key, size_t key_len, const void *salt, size_t salt_len,
            const char *label) VT_USE_RESULT;
/* scrypt (RFC 7914). Both builds give the same bytes. Bounds: log2_n 10..20, r 1..16, p 1..4, else VT_EUSAGE. */
int cr_scrypt(uint8_t *out, size_t out_len, const void *pass, size_t pass_len, const void *salt, size_t salt_len,
              unsigned log2_n, unsigned r, unsigned p) VT_USE_RESULT;

/* SHA-512 and PBKDF2 over it (RFC 8018): only to open what others derived so. rounds from 1. VT_ENOMEM, VT_EUSAGE. */
#define CR_SHA512_LEN 64
int cr_sha512(uint8_t out[CR_SHA512_LEN], const void *ptr, size_t len) VT_USE_RESULT;
int cr_pbkdf2_sha512(uint8_t *out, size_t out_len, const void *pass, size_t pass_len, const void *salt, size_t salt_len,
                     unsigned rounds) VT_USE_RESULT;

/* ---- AES ---- */
#define CR_GCM_NONCE 12
#define CR_GCM_TAG 16
/* AES-256-GCM. out holds len bytes and may be `in` itself. */
int cr_gcm_seal(const struct vt_key *key, const uint8_t nonce[CR_GCM_NONCE], const void *ad, size_t ad_len,
                const void *in, size_t len, uint8_t *out, uint8_t tag[CR_GCM_TAG]) VT_USE_RESULT;
/* On VT_ECRYPTO out is wiped. */
int cr_gcm_open(const struct vt_key *key, const uint8_t nonce[CR_GCM_NONCE], const void *ad, size_t ad_len,
                const void *in, size_t len, const uint8_t tag[CR_GCM_TAG], uint8_t *out) VT_USE_RESULT;
/* AES-128 counter mode, big-endian 128-bit counter, from `iv`; encrypts and decrypts. out may be in. */
int cr_aes128_ctr(const uint8_t key[16], const uint8_t iv[16], const void *in, size_t len, uint8_t *out) VT_USE_RESULT;

/*
 * AES-CBC, key_len 16 or 32, for reading what others wrote; len a multiple of 16. Padding is the caller's. out may be in.
 * VT_EUSAGE.
 */
int cr_aes_cbc_decrypt(const uint8_t *key, size_t key_len, const uint8_t iv[16], const void *in, size_t len,
                       uint8_t *out) VT_USE_RESULT;

/* ---- Random ---- */
/* From the operating system: getrandom(2). For the broker and for seeds. */
int cr_os_random(void *out, size_t len) VT_USE_RESULT;

/* For keys that last: cr_os_random, and over it (XOR) a pool of whatever was mixed in. Alone it is cr_os_random. */
int cr_key_random(void *out, size_t len) VT_USE_RESULT;
/* Stirs another source into that pool: the host's TPM. It is never trusted alone. */
int cr_pool_mix(const void *input, size_t len) VT_USE_RESULT;
/* SP 800-90B, 4.4.1 and 4.4.2 on bytes; at least 512 of them. False: a source that must not be used. */
bool cr_samples_healthy(const uint8_t *samples, size_t len) VT_USE_RESULT;

/*
 * HMAC-DRBG with SHA-256 (SP 800-90A rev 1, 10.1.2) as plain data: part of an instance's frozen state. Same seed,
 * same calls: same output. Reseeding is explicit (stir).
 */
struct cr_drbg {
    uint8_t k[32];
    uint8_t v[32];
    uint64_t calls;     /* since the last (re)seed */
};
#define CR_DRBG_SEED 48
void cr_drbg_init(struct cr_drbg *drbg, const uint8_t seed[CR_DRBG_SEED], const void *personal, size_t len);
void cr_drbg_stir(struct cr_drbg *drbg, const void *input, size_t len);
void cr_drbg_random(struct cr_drbg *drbg, void *out, size_t len);

/* ---- RSA (PKCS #1 v2.1). Sizes 512..2048 bits, a multiple of 16; public exponent odd, 3..2^32-1. ---- */
#define CR_RSA_MAX 256 /* bytes of a modulus */

struct cr_rsa_pub {
    uint32_t e;
    uint16_t bytes;                 /* of the modulus; n[0..bytes) big-endian, top bit set */
    uint8_t n[CR_RSA_MAX];
};

/* One prime is all a TPM blob carries (Part 2, 10.6 TPM_STORE_ASYMKEY); the rest is derived at load. */
struct cr_rsa_key {
    struct cr_rsa_pub pub;
    uint8_t p[CR_RSA_MAX / 2];      /* pub.bytes / 2 bytes */
};
void cr_rsa_key_wipe(struct cr_rsa_key *key);
#define CR_SECRET_RSA VT_CLEANUP(cr_rsa_key_wipe) struct cr_rsa_key

/* A private key ready for use: CRT parameters and blinding computed once. Opaque; one thread at a time. */
struct cr_rsa;

/* A public key in PEM ("BEGIN PUBLIC KEY" or "BEGIN RSA PUBLIC KEY"); VT_ECRYPTO: it is none, or has another size. */
int cr_rsa_pub_from_pem(struct cr_rsa_pub *pub, const char *pem) VT_USE_RESULT;

/* Primes from the generator given: same generator state, same key (mbedTLS; checked by FIPS 186-4's criteria on
 * |p - q| and on d). Takes tens to hundreds of milliseconds. */
int cr_rsa_generate(struct cr_rsa_key *key, unsigned bits, uint32_t e, struct cr_drbg *drbg) VT_USE_RESULT;
/*
 * The same by a faster search (rsa_make.c): other keys of the same generator, as good. For key makers; what a seed must
 * bring back (fixtures, an engine that generates itself) is cr_rsa_generate's.
 */
int cr_rsa_make(struct cr_rsa_key *key, unsigned bits, uint32_t e, struct cr_drbg *drbg) VT_USE_RESULT;
/* Is there an RSA key of this kind here? What both of them refuse with VT_EUSAGE. */
bool cr_rsa_size_fits(unsigned bits, uint32_t e) VT_USE_RESULT;
/* n = p * q, sizes, and an e that is coprime to p - 1 and q - 1; VT_ECRYPTO if not. Cheap: whether p and q are primes
 * only an operation tells. */
int cr_rsa_check(const struct cr_rsa_key *key) VT_USE_RESULT;
/*
 * The same checks; q, d, dP, dQ, qInv are computed here and blinding values by the first operation: once, and all of it
 * is kept until cr_rsa_free. If p or q is no prime, every operation fails (VT_ECRYPTO). Returns owned.
 */
int cr_rsa_open(struct cr_rsa **rsa, const struct cr_rsa_key *key) VT_USE_RESULT;
/* As cr_rsa_open, and tries the key there and back (SP 800-56B, 6.4.1.1): for keys that are made or brought here. */
int cr_rsa_load(struct cr_rsa **rsa, const struct cr_rsa_key *key) VT_USE_RESULT;
/* Wipes; rsa may be NULL. */
void cr_rsa_free(struct cr_rsa *rsa);
const struct cr_rsa_pub *cr_rsa_public(const struct cr_rsa *rsa);

/* RSAES-OAEP with SHA-1/MGF1 and the label given (TPM: the four bytes "TCPA"). Randomness from drbg.
 * in_len <= bytes - 42. out holds pub->bytes. */
int cr_rsa_oaep_encrypt(const struct cr_rsa_pub *pub, const void *label, size_t label_len, const void *in,
                        size_t in_len, struct cr_drbg *drbg, uint8_t *out) VT_USE_RESULT;
/* RSAES-PKCS1-v1_5; in_len <= bytes - 11. */
int cr_rsa_pkcs1_encrypt(const struct cr_rsa_pub *pub, const void *in, size_t in_len, struct cr_drbg *drbg,
                         uint8_t *out) VT_USE_RESULT;
/* in is exactly the modulus' length; out holds CR_RSA_MAX; constant time in the padding check; one error for all. */
int cr_rsa_oaep_decrypt(struct cr_rsa *rsa, const void *label, size_t label_len, const void *in, size_t in_len,
                        uint8_t *out, size_t *out_len) VT_USE_RESULT;
int cr_rsa_pkcs1_decrypt(struct cr_rsa *rsa, const void *in, size_t in_len, uint8_t *out, size_t *out_len) VT_USE_RESULT;

enum cr_sig_scheme {
    CR_SIG_PKCS1_SHA1,  /* in: a SHA-1 digest; DigestInfo is added (Part 2, 5.8.1 TPM_SS_RSASSAPKCS1v15_SHA1) */
    CR_SIG_PKCS1_RAW    /* in: what goes into the padding as it is (TPM_SS_RSASSAPKCS1v15_DER); len <= bytes - 11 */
};
/* Signature of pub.bytes bytes, checked with the public key before it is returned (fault attacks). */
int cr_rsa_sign(struct cr_rsa *rsa, enum cr_sig_scheme scheme, const void *in, size_t in_len, uint8_t *out) VT_USE_RESULT;
int cr_rsa_verify(const struct cr_rsa_pub *pub, enum cr_sig_scheme scheme, const void *in, size_t in_len,
                  const uint8_t *sig, size_t sig_len) VT_USE_RESULT;
/* out = in^e mod n; VT_ECRYPTO unless in < n. */
int cr_rsa_public_op(const struct cr_rsa_pub *pub, const uint8_t *in, uint8_t *out) VT_USE_RESULT;
/* out = in^d mod n, blinded, CRT, result checked. */
int cr_rsa_private_op(struct cr_rsa *rsa, const uint8_t *in, uint8_t *out) VT_USE_RESULT;

/*
 * EME-OAEP with SHA-1 (PKCS #1 v2.1, 7.1.1) without its leading zero byte, the label's hash and the seed given: what a
 * migrated key travels in (TPM 1.2 Part 3, 11.1). em_len is the whole length, at most CR_RSA_MAX. VT_EUSAGE: no room.
 */
int cr_oaep_encode(uint8_t *em, size_t em_len, const uint8_t label_hash[CR_SHA1_LEN], const uint8_t seed[CR_SHA1_LEN],
                   const void *in, size_t in_len) VT_USE_RESULT;
/* And back, in place: the text is em[*at..em_len). VT_ECRYPTO: that is no encoding. The caller compares the hash. */
int cr_oaep_decode(uint8_t *em, size_t em_len, uint8_t label_hash[CR_SHA1_LEN], uint8_t seed[CR_SHA1_LEN],
                   size_t *at) VT_USE_RESULT;

/*
 * ---- Numbers: unsigned, big-endian, any leading zeros (DAA, TPM 1.2 Part 3, 26) ----
 * Exponentiation chooses its table entries without secret-dependent addresses; reduction (cr_num_mod) takes a time that
 * may depend on the numbers. VT_ECRYPTO: a modulus that is even or below 3; VT_EUSAGE: the result does not fit.
 */
#define CR_NUM_MAX 512 /* bytes of each operand */

/* out = z * base^exp mod n, z empty: without it; out_len bytes with leading zeros. */
int cr_num_exp_mod(uint8_t *out, size_t out_len, struct cr_slice z, struct cr_slice base, struct cr_slice exp,
                   struct cr_slice n) VT_USE_RESULT;
/* out = in mod n; any n but 0. */
int cr_num_mod(uint8_t *out, size_t out_len, struct cr_slice in, struct cr_slice n) VT_USE_RESULT;
/* out = a + b * c + d. */
int cr_num_mul_add(uint8_t *out, size_t out_len, struct cr_slice a, struct cr_slice b, struct cr_slice c,
                   struct cr_slice d) VT_USE_RESULT;

/*
 * ---- P-256: ECDSA with SHA-256 and ECDH, by which servers know each other (docs/moving.md) ----
 * A secret is a number from 1 to the order less one. VT_ECRYPTO: it is not, a point is not on the curve, or a signature
 * is not one of these bytes.
 */
#define CR_EC_PUBLIC    65 /* 04 x y */
#define CR_EC_SIGNATURE 64 /* r s */
/* By cr_key_random. */
int cr_ec_generate(struct vt_key *secret, uint8_t pub[CR_EC_PUBLIC]) VT_USE_RESULT;
int cr_ec_public(const struct vt_key *secret, uint8_t pub[CR_EC_PUBLIC]) VT_USE_RESULT;
int cr_ec_check(const uint8_t pub[CR_EC_PUBLIC]) VT_USE_RESULT;
/* Deterministic (RFC 6979). */
int cr_ec_sign(const struct vt_key *secret, const uint8_t digest[CR_SHA256_LEN], uint8_t sig[CR_EC_SIGNATURE]) VT_USE_RESULT;
int cr_ec_verify(const uint8_t pub[CR_EC_PUBLIC], const uint8_t digest[CR_SHA256_LEN], const uint8_t sig[CR_EC_SIGNATURE]) VT_USE_RESULT;
/* shared is no key yet: derive one from it. */
int cr_ec_agree(const struct vt_key *secret, const uint8_t pub[CR_EC_PUBLIC], struct vt_key *shared) VT_USE_RESULT;

/* MGF1 with SHA-1 (PKCS #1 B.2.1). */
void cr_mgf1_sha1(uint8_t *out, size_t out_len, const void *seed, size_t seed_len);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a back end does: the few operations worth doing in a faster library. Private to server/crypto and
 * its tests. Arguments were checked by the callers (crypto.h); results are the same bytes in every back
 * end. Any thread.
 */
#ifndef VTPM_CRYPTO_BACKEND_H
#define VTPM_CRYPTO_BACKEND_H

#include "server/crypto/crypto.h"

/* Derived from a cr_rsa_key whose n = p * q was checked; big-endian; d has pub.bytes bytes, the others
 * half. */
struct cr_rsa_parts {
    uint8_t d[CR_RSA_MAX];
    uint8_t q[CR_RSA_MAX / 2];
    uint8_t dp[CR_RSA_MAX / 2];
    uint8_t dq[CR_RSA_MAX / 2];
};

/* One round of Miller-Rabin: n odd and above 3, 1 < base < n - 1; big-endian. */
struct cr_strong {
    const uint8_t *n, *base;
};

struct cr_backend {
    /* Once per process, before the others; opens whatever it will need. */
    int (*init)(void);

    int (*gcm_seal)(const struct vt_key *key, const uint8_t *nonce, const void *ad, size_t ad_len,
                    const void *in, size_t len, uint8_t *out, uint8_t *tag);
    /* On failure out holds anything: the caller wipes it. */
    int (*gcm_open)(const struct vt_key *key, const uint8_t *nonce, const void *ad, size_t ad_len,
                    const void *in, size_t len, const uint8_t *tag, uint8_t *out);
    int (*scrypt)(uint8_t *out, size_t out_len, const void *pass, size_t pass_len, const void *salt,
                  size_t salt_len, unsigned log2_n, unsigned r, unsigned p);

    /* *impl is owned by the caller (rsa_free; which takes NULL and wipes). */
    int (*rsa_load)(void **impl, const struct cr_rsa_key *key, const struct cr_rsa_parts *parts);
    void (*rsa_free)(void *impl);
    /* in < n. Blinded with randomness of the back end's own, CRT. */
    int (*rsa_private)(void *impl, const struct cr_rsa_pub *pub, const uint8_t *in, uint8_t *out);
    /* pub passed cr_rsa_pub_check and in < n. impl: what rsa_load kept of the same key, or NULL. */
    int (*rsa_public)(void *impl, const struct cr_rsa_pub *pub, const uint8_t *in, uint8_t *out);

    /* Two rounds, of the same number or of two; len bytes each. */
    int (*strong_probable)(const struct cr_strong strong[2], size_t len, bool passes[2]);
};

extern const struct cr_backend cr_backend_mbed;
#ifdef VTPM_HAVE_LIBCRYPTO
extern const struct cr_backend cr_backend_ossl;
#define CR_BACKEND cr_backend_ossl
#else
#define CR_BACKEND cr_backend_mbed
#endif

/* RFC 7914 by our own HMAC; any parameters that the RFC allows and that fit into memory. */
int cr_scrypt_portable(uint8_t *out, size_t out_len, const void *pass, size_t pass_len, const void *salt,
                       size_t salt_len, unsigned log2_n, unsigned r, unsigned p) VT_USE_RESULT;

/* Checks the key as cr_rsa_check does; the caller wipes the parts. */
int cr_rsa_parts_of(struct cr_rsa_parts *parts, const struct cr_rsa_key *key) VT_USE_RESULT;
/* cr_rsa_load and cr_rsa_open into the back end given. */
int cr_rsa_load_with(const struct cr_backend *backend, struct cr_rsa **rsa,
                     const struct cr_rsa_key *key) VT_USE_RESULT;
int cr_rsa_open_with(const struct cr_backend *backend, struct cr_rsa **rsa,
                     const struct cr_rsa_key *key) VT_USE_RESULT;
/* cr_rsa_make by the back end given. */
int cr_rsa_make_with(const struct cr_backend *backend, struct cr_rsa_key *key, unsigned bits, uint32_t e,
                     struct cr_drbg *drbg) VT_USE_RESULT;
/* VT_ECRYPTO unless the size is supported, n is odd with its top bit set, and e is odd and at least 3. */
int cr_rsa_pub_check(const struct cr_rsa_pub *pub) VT_USE_RESULT;

#endif

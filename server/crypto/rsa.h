/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the RSA files: the loaded key, and the paddings as pure functions. Private to server/crypto. */
#ifndef VTPM_CRYPTO_RSA_H
#define VTPM_CRYPTO_RSA_H

#include "server/crypto/backend.h"

struct cr_rsa {
    const struct cr_backend *backend;
    void *impl;
    struct cr_rsa_pub pub;
};

/* Paddings (PKCS #1 v2.1). em is the encoded message of len bytes, the size of the modulus, in and out. */

/* 9.2 without the DigestInfo: 00 01 FF.. 00 text. text_len <= len - 11. */
void cr_pad_sign(uint8_t *em, size_t len, struct cr_slice prefix, struct cr_slice text);
/* 7.2.1: 00 02 nonzero random 00 text. */
void cr_pad_pkcs1(uint8_t *em, size_t len, struct cr_slice text, struct cr_drbg *drbg);
/* 7.1.1 with SHA-1; text.len <= len - 42. */
void cr_pad_oaep(uint8_t *em, size_t len, struct cr_slice label, struct cr_slice text, struct cr_drbg *drbg);

/*
 * Where the text begins; it goes to the end of em. VT_ECRYPTO for every kind of bad padding; the time
 * taken, up to the one test of the outcome, depends on len only.
 */
int cr_unpad_pkcs1(const uint8_t *em, size_t len, size_t *at) VT_USE_RESULT;
/* Unmasks em in place. */
int cr_unpad_oaep(uint8_t *em, size_t len, struct cr_slice label, size_t *at) VT_USE_RESULT;

#endif

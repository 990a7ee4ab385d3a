/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates for tests, put together byte by byte, so that each part can be wrong. Nobody signs them: their
 * signature is zeros. Uses neither server/wire nor a library's X.509.
 */
#ifndef VTPM_TESTS_MAKE_CERTIFICATE_H
#define VTPM_TESTS_MAKE_CERTIFICATE_H

#include "server/base/base.h"

struct certificate_parts {
    const uint8_t *modulus;
    size_t modulus_len;
    uint32_t exponent;
    bool oaep;      /* id-RSAES-OAEP with parameters, else rsaEncryption */
    bool version_1; /* without [0] */
    bool elliptic;  /* id-ecPublicKey in the place of RSA's names */
    uint8_t unused_bits;
    size_t padding; /* bytes of the signature */
};

/* The length; out holds 4096. */
size_t make_certificate(uint8_t *out, const struct certificate_parts *parts);

#endif

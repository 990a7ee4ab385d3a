/* SPDX-License-Identifier: Apache-2.0 */
/* What the files with X.509 share. Only where there is libcrypto. */
#ifndef VTPM_CTL_X509_PRIV_H
#define VTPM_CTL_X509_PRIV_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "server/base/base.h"

/* ek_x509.c. Return owned, or NULL: a certificate in PEM; an RSA public key. */
X509 *x509_read(const char *path);
EVP_PKEY *x509_rsa(const uint8_t *modulus, size_t len, uint32_t exponent);

#endif

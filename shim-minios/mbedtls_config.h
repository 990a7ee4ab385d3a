/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All of mbedTLS that the stub domain has: a TLS 1.2 client with ECDHE-PSK-CHACHA20-POLY1305 on P-256 (PROTOCOL.md, "TLS
 * profile"), and HMAC_DRBG. For 2.28 and 3.6.
 */
#ifndef VTPM_MINIOS_MBEDTLS_CONFIG_H
#define VTPM_MINIOS_MBEDTLS_CONFIG_H

/* 2.28 takes INT_MAX from somewhere behind the headers of a libc. */
#include <limits.h>

#define MBEDTLS_HAVE_ASM
#define MBEDTLS_NO_PLATFORM_ENTROPY

#define MBEDTLS_BIGNUM_C
#define MBEDTLS_CHACHA20_C
#define MBEDTLS_CHACHAPOLY_C
#define MBEDTLS_CIPHER_C
#define MBEDTLS_ECDH_C
#define MBEDTLS_ECP_C
#define MBEDTLS_ECP_DP_SECP256R1_ENABLED
#define MBEDTLS_ECP_NIST_OPTIM
#define MBEDTLS_HMAC_DRBG_C
#define MBEDTLS_MD_C
#define MBEDTLS_POLY1305_C
#define MBEDTLS_SHA224_C
#define MBEDTLS_SHA256_C

#define MBEDTLS_KEY_EXCHANGE_ECDHE_PSK_ENABLED
#define MBEDTLS_SSL_CLI_C
#define MBEDTLS_SSL_EXTENDED_MASTER_SECRET
#define MBEDTLS_SSL_PROTO_TLS1_2
#define MBEDTLS_SSL_TLS_C
#define MBEDTLS_PSK_MAX_LEN 32

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random numbers of a domain without a kernel: HMAC_DRBG with SHA-256 (NIST SP 800-90A, 10.1.2), seeded by the processor's
 * RDRAND, into which goes whatever the toolstack gave (node `seed`) and the server sends (Hello.entropy). Without RDRAND a
 * seed is required. What is mixed in can only add: who knows all of it knows nothing of the processor's part. One thread.
 */
#ifndef VTPM_MINIOS_ENTROPY_H
#define VTPM_MINIOS_ENTROPY_H

#include "server/base/err.h"

#define ENTROPY_SEED 32

/* seed: ENTROPY_SEED bytes of the toolstack's, or NULL. VT_ENOTSUP: neither this nor RDRAND; VT_ECRYPTO. Once. */
int entropy_start(const uint8_t *seed, struct vt_why *why) VT_USE_RESULT;
void entropy_stop(void);
/* As relay_config.entropy. */
void entropy_mix(void *ctx, const uint8_t *bytes, size_t len);
/* As tls_config.random. */
int entropy_random(void *ctx, unsigned char *out, size_t len);

#endif

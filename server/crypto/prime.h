/* SPDX-License-Identifier: Apache-2.0 */
/* The back ends' strong_probable (backend.h), each in a file of its own. Private to server/crypto. */
#ifndef VTPM_CRYPTO_PRIME_H
#define VTPM_CRYPTO_PRIME_H

#include "server/crypto/backend.h"

int cr_strong_probable_mbed(const struct cr_strong strong[2], size_t len, bool passes[2]) VT_USE_RESULT;
#ifdef VTPM_HAVE_LIBCRYPTO
int cr_strong_probable_ossl(const struct cr_strong strong[2], size_t len, bool passes[2]) VT_USE_RESULT;
#endif

#endif

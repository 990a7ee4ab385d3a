/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdio.h>

#include "server/crypto/backend.h"
#include "server/crypto/mbed.h"
#ifdef VTPM_HAVE_LIBCRYPTO
#include <openssl/crypto.h>
#endif

/* Written once, under the once. */
static int outcome;
static char names[96];

static void init_once(void)
{
    char mbed[16] = "";

    mbedtls_version_get_string(mbed);
#ifdef VTPM_HAVE_LIBCRYPTO
    snprintf(names, sizeof names, "libcrypto %s + mbedTLS %s", OpenSSL_version(OPENSSL_VERSION_STRING), mbed);
#else
    snprintf(names, sizeof names, "mbedTLS %s", mbed);
#endif
    outcome = CR_BACKEND.init();
}

int cr_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    if (pthread_once(&once, init_once))
        return VT_EFAIL;
    return outcome;
}

const char *cr_backend(void)
{
    return names;
}

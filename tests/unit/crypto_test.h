/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of server/crypto share: bytes written as hex, and the list of back ends. */
#ifndef VTPM_TESTS_CRYPTO_TEST_H
#define VTPM_TESTS_CRYPTO_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "server/base/text.h"
#include "server/crypto/backend.h"

static const struct cr_backend *const backends[] VT_UNUSED = {
    &cr_backend_mbed,
#ifdef VTPM_HAVE_LIBCRYPTO
    &cr_backend_ossl,
#endif
};

/* Reads hex into out; returns the length. */
static inline size_t from_hex(uint8_t *out, size_t room, const char *hex)
{
    size_t len = strlen(hex) / 2;

    assert_true(len <= room);
    assert_true(vt_unhex(out, len, hex));
    return len;
}

static inline void assert_hex(const void *bytes, size_t len, const char *hex)
{
    char text[2 * 1024 + 1];

    assert_true(len <= 1024);
    vt_hex(text, bytes, len);
    assert_string_equal(text, hex);
}

/* A generator that gives the same numbers in every run. */
static inline void start_drbg(struct cr_drbg *drbg, const char *name)
{
    uint8_t seed[CR_DRBG_SEED] = { 0 };

    cr_drbg_init(drbg, seed, name, strlen(name));
}

static inline int init_crypto(void **state)
{
    (void)state;
    return cr_init();
}

#endif

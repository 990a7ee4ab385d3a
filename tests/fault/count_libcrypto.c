/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <openssl/crypto.h>

#include "tests/fault/countdown.h"

static void *c_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return count_strikes(FAULT_LIBCRYPTO) ? NULL : malloc(size);
}

static void *c_realloc(void *ptr, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return count_strikes(FAULT_LIBCRYPTO) ? NULL : realloc(ptr, size);
}

static void c_free(void *ptr, const char *file, int line)
{
    (void)file;
    (void)line;
    free(ptr);
}

void count_hook_libcrypto(void)
{
    assert_int_equal(CRYPTO_set_mem_functions(c_malloc, c_realloc, c_free), 1);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "server/base/secret.h"

void vt_wipe(void *ptr, size_t len)
{
    if (!len)
        return;
    memset(ptr, 0, len);
    /* The memory is "used" here: the compiler must keep the stores. */
    __asm__ volatile("" : : "r"(ptr) : "memory");
}

bool vt_ct_equal(const void *a, const void *b, size_t len)
{
    const volatile uint8_t *x = a;
    const volatile uint8_t *y = b;
    uint8_t diff = 0;

    for (size_t i = 0; i < len; i++)
        diff |= (uint8_t)(x[i] ^ y[i]);
    return diff == 0;
}

void vt_key_wipe(struct vt_key *key)
{
    vt_wipe(key, sizeof *key);
}

void vt_auth_wipe(struct vt_auth *auth)
{
    vt_wipe(auth, sizeof *auth);
}

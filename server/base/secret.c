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

/* Time depends on len only; that all of it is zero is no secret. */
static bool is_zero(const uint8_t *bytes, size_t len)
{
    uint8_t any = 0;
    bool zero;

    for (size_t i = 0; i < len; i++)
        any |= bytes[i];
    zero = any == 0;
    vt_ct_public(&zero, sizeof zero);
    return zero;
}

void vt_wipe_sparse(void *ptr, size_t len)
{
    enum { BLOCK = 512 };
    uint8_t *at = ptr;

    while (len) {
        size_t n = VT_MIN(len, (size_t)BLOCK);

        if (!is_zero(at, n))
            vt_wipe(at, n);
        at += n;
        len -= n;
    }
}

uint8_t vt_ct_differs(const void *a, const void *b, size_t len)
{
    const volatile uint8_t *x = a;
    const volatile uint8_t *y = b;
    uint8_t diff = 0;

    for (size_t i = 0; i < len; i++)
        diff |= (uint8_t)(x[i] ^ y[i]);
    return diff;
}

bool vt_ct_equal(const void *a, const void *b, size_t len)
{
    uint8_t diff = vt_ct_differs(a, b, len);
    bool equal = diff == 0;

    vt_ct_public(&equal, sizeof equal);
    return equal;
}

void vt_key_wipe(struct vt_key *key)
{
    vt_wipe(key, sizeof *key);
}

void vt_auth_wipe(struct vt_auth *auth)
{
    vt_wipe(auth, sizeof *auth);
}

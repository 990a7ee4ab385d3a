/* SPDX-License-Identifier: Apache-2.0 */
/* server/base/secret.c with comparisons that end at the first difference: test_timing must see it. */
#include "server/base/secret.h"

void vt_wipe(void *ptr, size_t len)
{
    memset(ptr, 0, len);
    __asm__ volatile("" : : "r"(ptr) : "memory");
}

void vt_wipe_sparse(void *ptr, size_t len)
{
    vt_wipe(ptr, len);
}

uint8_t vt_ct_differs(const void *a, const void *b, size_t len)
{
    return memcmp(a, b, len) != 0;
}

bool vt_ct_equal(const void *a, const void *b, size_t len)
{
    bool equal = !memcmp(a, b, len);

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

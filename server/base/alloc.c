/* SPDX-License-Identifier: Apache-2.0 */
#include "server/base/alloc.h"

#include <stdlib.h>

#include "server/base/secret.h"

#ifdef VTPM_TEST_HOOKS
#include <stdatomic.h>

static atomic_long countdown = -1;
static atomic_long made;

long vt_alloc_fail_after(long after)
{
    atomic_store(&countdown, after);
    return atomic_exchange(&made, 0);
}

static bool must_fail(void)
{
    atomic_fetch_add(&made, 1);
    if (atomic_load(&countdown) < 0)
        return false;
    return atomic_fetch_sub(&countdown, 1) == 0;
}
#else
static bool must_fail(void)
{
    return false;
}
#endif

void *vt_calloc(size_t count, size_t size)
{
    if (must_fail())
        return NULL;
    /* calloc(0) may return NULL, which would read as "out of memory". */
    return calloc(count ? count : 1, size ? size : 1);
}

void *vt_realloc(void *ptr, size_t size)
{
    if (must_fail())
        return NULL;
    return realloc(ptr, size ? size : 1);
}

void *vt_memdup(const void *ptr, size_t len)
{
    void *copy = vt_calloc(1, len);

    if (copy && len)
        memcpy(copy, ptr, len);
    return copy;
}

char *vt_strdup(const char *text)
{
    return vt_memdup(text, strlen(text) + 1);
}

void vt_free(void *ptr)
{
    free(ptr);
}

void vt_free_wiped(void *ptr, size_t len)
{
    if (ptr)
        vt_wipe(ptr, len);
    free(ptr);
}

void vt_free_ptr(void *ptr_to_ptr)
{
    void *ptr;

    memcpy(&ptr, ptr_to_ptr, sizeof ptr);
    free(ptr);
}

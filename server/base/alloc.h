/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one door to the heap. Test builds can make the n-th allocation fail.
 * Memory that held secrets is freed with vt_free_wiped.
 */
#ifndef VTPM_BASE_ALLOC_H
#define VTPM_BASE_ALLOC_H

#include "server/base/base.h"

/* Zeroed memory or NULL; count * size is checked for overflow. Any thread. Returns owned (vt_free). */
void *vt_calloc(size_t count, size_t size) VT_USE_RESULT;
/* As realloc(3); the new part is not cleared; on failure the old memory stays. Any thread. */
void *vt_realloc(void *ptr, size_t size) VT_USE_RESULT;
/* Owned copies; NULL when out of memory. Any thread. */
char *vt_strdup(const char *text) VT_USE_RESULT;
void *vt_memdup(const void *ptr, size_t len) VT_USE_RESULT;

/* ptr may be NULL. */
void vt_free(void *ptr);
/* Wipes len bytes, then frees; ptr may be NULL. */
void vt_free_wiped(void *ptr, size_t len);

#define VT_NEW(type) ((type *)vt_calloc(1, sizeof(type)))

/* For VT_CLEANUP on `char *` and other plain pointers. */
void vt_free_ptr(void *ptr_to_ptr);
#define VT_AUTOFREE VT_CLEANUP(vt_free_ptr)

#ifdef VTPM_TEST_HOOKS
/* The allocation after `after` more ones fails, once; negative: none does. Returns how many were made since last. */
long vt_alloc_fail_after(long after);
#endif

#endif

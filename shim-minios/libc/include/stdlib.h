/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MINIOS_LIBC_STDLIB_H
#define MINIOS_LIBC_STDLIB_H

#include <stddef.h>

/* One heap of fixed size: heap.c. */
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *ptr, size_t size);
void free(void *ptr);
_Noreturn void abort(void);

#endif

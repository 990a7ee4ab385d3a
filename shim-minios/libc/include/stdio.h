/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MINIOS_LIBC_STDIO_H
#define MINIOS_LIBC_STDIO_H

#include <stdarg.h>
#include <stddef.h>

/* %d %i %u %x %X %c %s %p %% with - 0 width .precision * and hh h l ll z j t. Nothing else: others are copied as they are. */
int vsnprintf(char *out, size_t size, const char *fmt, va_list args) __attribute__((format(printf, 3, 0)));
int snprintf(char *out, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif

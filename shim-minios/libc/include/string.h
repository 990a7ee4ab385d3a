/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MINIOS_LIBC_STRING_H
#define MINIOS_LIBC_STRING_H

#include <stddef.h>

void *memcpy(void *to, const void *from, size_t len);
void *memmove(void *to, const void *from, size_t len);
void *memset(void *at, int byte, size_t len);
int memcmp(const void *a, const void *b, size_t len);
void *memchr(const void *at, int byte, size_t len);
size_t strlen(const char *text);
size_t strnlen(const char *text, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t max);
char *strncpy(char *to, const char *from, size_t max);
char *strchr(const char *text, int c);
char *strpbrk(const char *text, const char *chars);
char *strstr(const char *text, const char *word);
size_t strspn(const char *text, const char *chars);
size_t strcspn(const char *text, const char *chars);

#endif

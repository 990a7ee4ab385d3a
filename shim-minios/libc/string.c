/* SPDX-License-Identifier: Apache-2.0 */
/* What the compiler and our own sources want of <string.h>. */
#include <stdint.h>
#include <string.h>

void *memcpy(void *to, const void *from, size_t len)
{
    void *at = to;

    /* The ABI keeps the direction flag clear; processors since 2013 move by cache lines here. */
    __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(len) : : "memory");
    return to;
}

void *memset(void *at, int byte, size_t len)
{
    void *to = at;

    __asm__ volatile("rep stosb" : "+D"(to), "+c"(len) : "a"(byte) : "memory");
    return at;
}

void *memmove(void *to, const void *from, size_t len)
{
    uint8_t *out = to;
    const uint8_t *in = from;

    if ((uintptr_t)out - (uintptr_t)in >= len)
        return memcpy(to, from, len);
    while (len--)
        out[len] = in[len];
    return to;
}

int memcmp(const void *a, const void *b, size_t len)
{
    const uint8_t *x = a, *y = b;

    for (size_t i = 0; i < len; i++)
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    return 0;
}

void *memchr(const void *at, int byte, size_t len)
{
    const uint8_t *in = at;

    for (size_t i = 0; i < len; i++)
        if (in[i] == (uint8_t)byte)
            return (void *)(uintptr_t)(in + i);
    return NULL;
}

size_t strnlen(const char *text, size_t max)
{
    size_t len = 0;

    while (len < max && text[len])
        len++;
    return len;
}

size_t strlen(const char *text)
{
    return strnlen(text, SIZE_MAX);
}

int strncmp(const char *a, const char *b, size_t max)
{
    for (size_t i = 0; i < max; i++) {
        if (a[i] != b[i])
            return (uint8_t)a[i] < (uint8_t)b[i] ? -1 : 1;
        if (!a[i])
            break;
    }
    return 0;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

char *strncpy(char *to, const char *from, size_t max)
{
    size_t len = strnlen(from, max);

    memcpy(to, from, len);
    memset(to + len, 0, max - len);
    return to;
}

char *strchr(const char *text, int c)
{
    for (;; text++) {
        if (*text == (char)c)
            return (char *)(uintptr_t)text;
        if (!*text)
            return NULL;
    }
}

static size_t span(const char *text, const char *chars, int wanted)
{
    size_t len = 0;

    while (text[len] && (strchr(chars, text[len]) != NULL) == wanted)
        len++;
    return len;
}

size_t strspn(const char *text, const char *chars)
{
    return span(text, chars, 1);
}

size_t strcspn(const char *text, const char *chars)
{
    return span(text, chars, 0);
}

char *strpbrk(const char *text, const char *chars)
{
    const char *at = text + strcspn(text, chars);

    return *at ? (char *)(uintptr_t)at : NULL;
}

char *strstr(const char *text, const char *word)
{
    size_t len = strlen(word);

    for (; *text; text++)
        if (strncmp(text, word, len) == 0)
            return (char *)(uintptr_t)text;
    return len ? NULL : (char *)(uintptr_t)text;
}

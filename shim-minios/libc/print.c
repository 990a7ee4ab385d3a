/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct out {
    char *at;
    size_t size, len; /* len goes on counting where the room ends */
};

struct spec {
    bool left, zero;
    int width, precision; /* precision -1: none */
    enum { INT, LONG, CHAR, SHORT } kind;
};

static void put(struct out *out, char c)
{
    if (out->len + 1 < out->size)
        out->at[out->len] = c;
    out->len++;
}

static void pad(struct out *out, int count, char with)
{
    for (int i = 0; i < count; i++)
        put(out, with);
}

static void put_padded(struct out *out, const struct spec *spec, const char *text, size_t len)
{
    int fill = spec->width > (int)len ? spec->width - (int)len : 0;

    pad(out, spec->left ? 0 : fill, ' ');
    for (size_t i = 0; i < len; i++)
        put(out, text[i]);
    pad(out, spec->left ? fill : 0, ' ');
}

static void put_number(struct out *out, const struct spec *spec, uint64_t value, unsigned base, bool minus, bool upper)
{
    char text[72];
    size_t at = sizeof text;
    int least = spec->precision >= 0 ? spec->precision : 1;

    if (spec->zero && !spec->left && spec->precision < 0)
        least = spec->width - minus;
    least = least > 64 ? 64 : least;
    while (value || (int)(sizeof text - at) < least) {
        text[--at] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[value % base];
        value /= base;
    }
    if (minus)
        text[--at] = '-';
    put_padded(out, spec, text + at, sizeof text - at);
}

static uint64_t take_unsigned(const struct spec *spec, va_list *args)
{
    if (spec->kind == LONG)
        return va_arg(*args, unsigned long);
    return spec->kind == CHAR    ? (uint8_t)va_arg(*args, unsigned)
           : spec->kind == SHORT ? (uint16_t)va_arg(*args, unsigned)
                                 : va_arg(*args, unsigned);
}

static int64_t take_signed(const struct spec *spec, va_list *args)
{
    if (spec->kind == LONG)
        return va_arg(*args, long);
    return spec->kind == CHAR ? (int8_t)va_arg(*args, int) : spec->kind == SHORT ? (int16_t)va_arg(*args, int) : va_arg(*args, int);
}

static void put_signed(struct out *out, const struct spec *spec, int64_t value)
{
    put_number(out, spec, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10, value < 0, false);
}

static void put_string(struct out *out, const struct spec *spec, const char *text)
{
    if (!text)
        text = "(null)";
    put_padded(out, spec, text, spec->precision >= 0 ? strnlen(text, (size_t)spec->precision) : strlen(text));
}

static const char *parse_number(const char *fmt, int *number, va_list *args)
{
    *number = 0;
    if (*fmt == '*') {
        *number = va_arg(*args, int);
        return fmt + 1;
    }
    for (; *fmt >= '0' && *fmt <= '9'; fmt++)
        if (*number < 10000)
            *number = *number * 10 + (*fmt - '0');
    return fmt;
}

/* Long, long long, size_t, intmax_t and ptrdiff_t are one on x86_64. */
static const char *parse_kind(const char *fmt, struct spec *spec)
{
    for (;; fmt++) {
        if (*fmt == 'h')
            spec->kind = spec->kind == SHORT ? CHAR : SHORT;
        else if (*fmt == 'l' || *fmt == 'z' || *fmt == 'j' || *fmt == 't')
            spec->kind = LONG;
        else
            return fmt;
    }
}

static const char *parse_spec(const char *fmt, struct spec *spec, va_list *args)
{
    *spec = (struct spec){.precision = -1};
    for (; *fmt == '-' || *fmt == '0'; fmt++) {
        spec->left |= *fmt == '-';
        spec->zero |= *fmt == '0';
    }
    fmt = parse_number(fmt, &spec->width, args);
    if (spec->width < 0) {
        spec->left = true;
        spec->width = spec->width < -10000 ? 10000 : -spec->width;
    }
    if (*fmt == '.')
        fmt = parse_number(fmt + 1, &spec->precision, args);
    return parse_kind(fmt, spec);
}

static void put_one(struct out *out, const struct spec *spec, char conversion, va_list *args)
{
    char c;

    switch (conversion) {
    case 'd':
    case 'i':
        put_signed(out, spec, take_signed(spec, args));
        break;
    case 'u':
        put_number(out, spec, take_unsigned(spec, args), 10, false, false);
        break;
    case 'x':
    case 'X':
        put_number(out, spec, take_unsigned(spec, args), 16, false, conversion == 'X');
        break;
    case 'p':
        put_number(out, spec, (uintptr_t)va_arg(*args, void *), 16, false, false);
        break;
    case 'c':
        c = (char)va_arg(*args, int);
        put_padded(out, spec, &c, 1);
        break;
    case 's':
        put_string(out, spec, va_arg(*args, const char *));
        break;
    default:
        put(out, conversion);
    }
}

int vsnprintf(char *at, size_t size, const char *fmt, va_list given)
{
    struct out out = {.at = at, .size = size};
    struct spec spec;
    va_list args;

    va_copy(args, given);
    while (*fmt) {
        if (*fmt != '%') {
            put(&out, *fmt++);
            continue;
        }
        fmt = parse_spec(fmt + 1, &spec, &args);
        if (!*fmt)
            break;
        put_one(&out, &spec, *fmt++, &args);
    }
    va_end(args);
    if (size)
        at[out.len < size ? out.len : size - 1] = '\0';
    return (int)out.len;
}

int snprintf(char *at, size_t size, const char *fmt, ...)
{
    va_list args;
    int len;

    va_start(args, fmt);
    len = vsnprintf(at, size, fmt, args);
    va_end(args);
    return len;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "server/engine/swtpm/reader.h"

#include <stdarg.h>
#include <stdio.h>

struct sw sw_from(const uint8_t *bytes, size_t len, const char *what, struct vt_why *why)
{
    return (struct sw){.r = rd_from(bytes, len), .begin = bytes, .what = what, .why = why};
}

size_t sw_at(const struct sw *s)
{
    return s->r.at ? (size_t)(s->r.at - s->begin) : 0;
}

void sw_refuse(struct sw *s, int err, size_t at, const char *field, const char *fmt, ...)
{
    char text[300];
    va_list args;

    if (s->err)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    s->err = vt_fail(s->why, err, "swtpm: %s at byte %zu of %s: %s", field, at, s->what, text);
    s->r.bad = true;
}

void sw_check(struct sw *s, size_t at, const char *field)
{
    if (s->r.bad)
        sw_refuse(s, VT_EDAMAGED, at, field, "it ends before this does: the file was cut short, or is none of swtpm's for "
                                             "a TPM 1.2");
    else if (s->r.rc)
        sw_refuse(s, VT_EDAMAGED, at, field, "it holds what cannot be (TPM error 0x%x): the file was altered, or is of "
                                             "another version", (unsigned)s->r.rc);
}

uint8_t sw_u8(struct sw *s, const char *field)
{
    size_t at = sw_at(s);
    uint8_t value = rd_get8(&s->r);

    sw_check(s, at, field);
    return value;
}

uint16_t sw_u16(struct sw *s, const char *field)
{
    size_t at = sw_at(s);
    uint16_t value = rd_get16(&s->r);

    sw_check(s, at, field);
    return value;
}

uint32_t sw_u32(struct sw *s, const char *field)
{
    size_t at = sw_at(s);
    uint32_t value = rd_get32(&s->r);

    sw_check(s, at, field);
    return value;
}

bool sw_bool(struct sw *s, const char *field)
{
    size_t at = sw_at(s);
    uint8_t value = sw_u8(s, field);

    if (value > 1)
        sw_refuse(s, VT_EDAMAGED, at, field, "%u is neither 0 nor 1: the file was altered", value);
    return value == 1;
}

void sw_tag(struct sw *s, uint16_t tag, const char *field)
{
    size_t at = sw_at(s);
    uint16_t value = sw_u16(s, field);

    if (value != tag)
        sw_refuse(s, VT_ENOTSUP, at, field, "0x%04x, and this server knows 0x%04x: it is of another version, or was "
                                            "altered", value, tag);
}

void sw_copy(struct sw *s, void *out, size_t len, const char *field)
{
    size_t at = sw_at(s);

    rd_copy(&s->r, out, len);
    sw_check(s, at, field);
}

void sw_auth(struct sw *s, struct vt_auth *auth, const char *field)
{
    sw_copy(s, auth->bytes, sizeof auth->bytes, field);
}

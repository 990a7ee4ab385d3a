/* SPDX-License-Identifier: Apache-2.0 */
#include "server/base/text.h"

static const char digits[] = "0123456789abcdef";

void vt_hex(char *out, const void *bytes, size_t len)
{
    const uint8_t *in = bytes;

    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * len] = '\0';
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Two digits; false at the end of the string too, since NUL is no digit. */
static bool read_byte(uint8_t *byte, const char *text)
{
    int high = digit_value(text[0]);
    int low = high < 0 ? -1 : digit_value(text[1]);

    if (low < 0)
        return false;
    *byte = (uint8_t)(high << 4 | low);
    return true;
}

bool vt_unhex(void *bytes, size_t len, const char *text)
{
    uint8_t *out = bytes;

    for (size_t i = 0; i < len; i++)
        if (!read_byte(&out[i], text + 2 * i))
            return false;
    return text[2 * len] == '\0';
}

static bool dash_before(size_t byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void vt_uuid_text(char out[VT_UUID_TEXT], const struct vt_uuid *uuid)
{
    for (size_t i = 0; i < sizeof uuid->bytes; i++) {
        if (dash_before(i))
            *out++ = '-';
        vt_hex(out, &uuid->bytes[i], 1);
        out += 2;
    }
}

bool vt_uuid_parse(struct vt_uuid *uuid, const char *text)
{
    for (size_t i = 0; i < sizeof uuid->bytes; i++) {
        if (dash_before(i) && *text++ != '-')
            return false;
        if (!read_byte(&uuid->bytes[i], text))
            return false;
        text += 2;
    }
    return *text == '\0';
}

bool vt_uuid_equal(const struct vt_uuid *a, const struct vt_uuid *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

void vt_uuid_from_random(struct vt_uuid *uuid, const uint8_t random[16])
{
    memcpy(uuid->bytes, random, sizeof uuid->bytes);
    uuid->bytes[6] = (uint8_t)((uuid->bytes[6] & 0x0f) | 0x40);
    uuid->bytes[8] = (uint8_t)((uuid->bytes[8] & 0x3f) | 0x80);
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

bool vt_name_valid(const char *name)
{
    struct vt_uuid uuid;
    size_t len = 0;

    while (name_char(name[len]))
        if (++len > 64)
            return false;
    return len > 0 && name[len] == '\0' && !vt_uuid_parse(&uuid, name);
}

bool vt_parse_u64(uint64_t *value, const char *text, uint64_t max)
{
    uint64_t sum = 0;

    if (!*text)
        return false;
    for (; *text; text++) {
        unsigned digit = (unsigned)(*text - '0');
        if (digit > 9 || sum > (UINT64_MAX - digit) / 10)
            return false;
        sum = sum * 10 + digit;
    }
    if (sum > max)
        return false;
    *value = sum;
    return true;
}

size_t vt_utf8_len(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t len = at[0] < 0x80 ? 1 : at[0] >= 0xc2 && at[0] < 0xe0 ? 2 : (at[0] & 0xf0) == 0xe0 ? 3
                 : at[0] >= 0xf0 && at[0] < 0xf5 ? 4 : 0;

    for (size_t i = 1; i < len; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    /* Not the shortest form, surrogates, beyond U+10FFFF. */
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] >= 0xa0) || (at[0] == 0xf0 && at[1] < 0x90) ||
        (at[0] == 0xf4 && at[1] >= 0x90))
        return 0;
    return len;
}

/* ISO 6429: C0, DEL, C1 (U+0080 to U+009F). */
static bool is_control(const char *text)
{
    const unsigned char *c = (const unsigned char *)text;

    return *c < ' ' || *c == 0x7f || (*c == 0xc2 && c[1] < 0xa0);
}

void vt_printable(char *text)
{
    while (*text) {
        size_t len = is_control(text) ? 0 : vt_utf8_len(text);

        if (!len)
            *text = '?';
        text += len ? len : 1;
    }
}

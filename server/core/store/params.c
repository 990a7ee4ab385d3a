/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/store/params.h"

#include <stdio.h>

/* ---- Reading ---- */

struct member {
    char name[PARAMS_NAME];
    char text[PARAMS_TEXT]; /* of a string */
    uint64_t number;
    bool is_number;
};

/* Sticky, like the wire cursors: once bad, always bad. The text ends with NUL, which is no character of any rule. */
struct reader {
    const char *at;
    bool bad;
};

static void skip_blanks(struct reader *r)
{
    while (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')
        r->at++;
}

/* Blanks, then this character. */
static bool accept(struct reader *r, char c)
{
    skip_blanks(r);
    if (r->bad || *r->at != c)
        return false;
    r->at++;
    return true;
}

static void expect(struct reader *r, char c)
{
    if (!accept(r, c))
        r->bad = true;
}

static unsigned hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'f')
        return (unsigned)(c - 'a' + 10);
    if (c >= 'A' && c <= 'F')
        return (unsigned)(c - 'A' + 10);
    return 16;
}

/* Four digits after \u. Only ASCII is ever written so; NUL would end the string early. */
static char get_unicode(struct reader *r)
{
    unsigned value = 0;

    for (size_t i = 0; i < 4; i++) {
        unsigned digit = hex_value(*r->at);

        if (digit > 15) {
            r->bad = true;
            return 0;
        }
        value = value << 4 | digit;
        r->at++;
    }
    r->bad |= value == 0 || value > 0x7f;
    return (char)(value & 0x7f);
}

static char get_escape(struct reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = *r->at;
    const char *place = c ? strchr(from, c) : NULL;

    if (c == 'u') {
        r->at++;
        return get_unicode(r);
    }
    if (!place) {
        r->bad = true;
        return 0;
    }
    r->at++;
    return to[place - from];
}

static void get_text(struct reader *r, char *out, size_t cap)
{
    size_t len = 0;

    expect(r, '"');
    while (!r->bad && *r->at != '"') {
        char c = *r->at;

        if ((unsigned char)c < 0x20 || len + 1 >= cap) {
            r->bad = true;
            break;
        }
        r->at++;
        out[len++] = c == '\\' ? get_escape(r) : c;
    }
    out[r->bad ? 0 : len] = '\0';
    if (!r->bad)
        r->at++;
}

static uint64_t get_number(struct reader *r)
{
    const char *start = r->at;
    uint64_t sum = 0;

    while (*r->at >= '0' && *r->at <= '9') {
        unsigned digit = (unsigned)(*r->at - '0');

        if (sum > (UINT64_MAX - digit) / 10)
            r->bad = true;
        sum = sum * 10 + digit;
        r->at++;
    }
    /* JSON knows no empty number and no leading zeros. */
    if (r->at == start || (*start == '0' && r->at - start > 1))
        r->bad = true;
    return sum;
}

static void get_member(struct reader *r, struct member *m)
{
    get_text(r, m->name, sizeof m->name);
    expect(r, ':');
    skip_blanks(r);
    m->text[0] = '\0';
    m->number = 0;
    m->is_number = *r->at != '"';
    if (m->is_number)
        m->number = get_number(r);
    else
        get_text(r, m->text, sizeof m->text);
}

/* The whole object is read, whatever is asked for. */
static int find(const char *json, const char *name, struct member *out)
{
    struct reader r = {.at = json};
    char seen[PARAMS_COUNT][PARAMS_NAME];
    struct member m;
    size_t count = 0;
    bool found = false;

    expect(&r, '{');
    if (!accept(&r, '}')) {
        do {
            get_member(&r, &m);
            for (size_t i = 0; !r.bad && i < count; i++)
                r.bad |= strcmp(seen[i], m.name) == 0;
            if (r.bad || count == PARAMS_COUNT)
                return VT_EDAMAGED;
            memcpy(seen[count++], m.name, sizeof m.name);
            if (name && strcmp(name, m.name) == 0) {
                *out = m;
                found = true;
            }
        } while (accept(&r, ','));
        expect(&r, '}');
    }
    skip_blanks(&r);
    if (r.bad || *r.at)
        return VT_EDAMAGED;
    return found ? VT_OK : VT_ENOTFOUND;
}

int params_check(const char *json)
{
    int err = find(json, NULL, NULL);

    return err == VT_ENOTFOUND ? VT_OK : err;
}

int params_text(const char *json, const char *name, char *out, size_t cap)
{
    struct member m;
    int err = find(json, name, &m);
    size_t len;

    if (err)
        return err;
    len = strlen(m.text);
    if (m.is_number || len >= cap)
        return VT_EDAMAGED;
    memcpy(out, m.text, len + 1);
    return VT_OK;
}

int params_number(const char *json, const char *name, uint64_t max, uint64_t *out)
{
    struct member m;
    int err = find(json, name, &m);

    if (err)
        return err;
    if (!m.is_number || m.number > max)
        return VT_EDAMAGED;
    *out = m.number;
    return VT_OK;
}

/* ---- Writing ---- */

static void put(struct params_writer *w, const char *bytes, size_t len)
{
    if (w->bad || len >= w->cap - w->len) {
        w->bad = true;
        return;
    }
    memcpy(w->out + w->len, bytes, len);
    w->len += len;
    w->out[w->len] = '\0';
}

static void put_quoted(struct params_writer *w, const char *text)
{
    char escape[8];

    put(w, "\"", 1);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < 0x20 || c == '"' || c == '\\')
            put(w, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", c));
        else
            put(w, text, 1);
    }
    put(w, "\"", 1);
}

static void put_name(struct params_writer *w, const char *name)
{
    if (w->len > 1)
        put(w, ",", 1);
    put_quoted(w, name);
    put(w, ":", 1);
}

void params_begin(struct params_writer *w, char *out, size_t cap)
{
    *w = (struct params_writer){.out = out, .cap = cap};
    put(w, "{", 1);
}

void params_put_text(struct params_writer *w, const char *name, const char *text)
{
    put_name(w, name);
    put_quoted(w, text);
}

void params_put_number(struct params_writer *w, const char *name, uint64_t number)
{
    char digits[24];

    put_name(w, name);
    put(w, digits, (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)number));
}

int params_end(struct params_writer *w)
{
    put(w, "}", 1);
    return w->bad ? VT_ETOOBIG : VT_OK;
}

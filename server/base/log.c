/* SPDX-License-Identifier: Apache-2.0 */
#include "server/base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "server/base/text.h"

static vt_log_sink log_sink;
static vt_log_parts_sink log_parts_sink;
static enum vt_log_level log_most = VT_LOG_INFO;

void vt_log_to(vt_log_sink sink, enum vt_log_level most)
{
    log_sink = sink;
    log_parts_sink = NULL;
    log_most = most;
}

void vt_log_parts_to(vt_log_parts_sink sink, enum vt_log_level most)
{
    log_parts_sink = sink;
    log_sink = NULL;
    log_most = most;
}

/* Text that is cut off still ends in a NUL. */
struct line {
    char bytes[1024];
    size_t len;
};

static void put(struct line *line, const char *text, size_t len)
{
    len = VT_MIN(len, sizeof line->bytes - 1 - line->len);
    memcpy(line->bytes + line->len, text, len);
    line->len += len;
    line->bytes[line->len] = '\0';
}

static void put_text(struct line *line, const char *text)
{
    put(line, text, strlen(text));
}

/* A value that could be read as more than one word stands in quotes. */
static void put_value(struct line *line, const char *text)
{
    if (*text && !strpbrk(text, " \"\\")) {
        put_text(line, text);
        return;
    }
    put(line, "\"", 1);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            put(line, "\\", 1);
        put(line, text, 1);
    }
    put(line, "\"", 1);
}

static void put_fields(struct line *line, const struct vt_field *fields)
{
    for (; fields && fields->key; fields++) {
        char number[24];

        put(line, " ", 1);
        put_text(line, fields->key);
        put(line, "=", 1);
        snprintf(number, sizeof number, "%" PRIu64, fields->number);
        put_value(line, fields->is_number ? number : fields->text ? fields->text : "");
    }
}

/* The subject is taken from the format: what stands in its place in an argument is text. */
static size_t subject_len(const char *fmt)
{
    size_t len = strspn(fmt, "abcdefghijklmnopqrstuvwxyz-");

    return len && fmt[len] == ':' && fmt[len + 1] == ' ' ? len : 0;
}

static void emit_parts(enum vt_log_level level, const struct vt_field *fields, size_t subject, struct line *line)
{
    struct vt_log_parts parts = {.level = level, .subject = "", .text = line->bytes, .fields = fields};

    if (subject) {
        line->bytes[subject] = '\0';
        parts.subject = line->bytes;
        parts.text = line->bytes + subject + 2;
    }
    log_parts_sink(&parts);
}

VT_PRINTF(3, 0)
static void emit(enum vt_log_level level, const struct vt_field *fields, const char *fmt, va_list args)
{
    struct line line = {.len = 0};
    int len;

    if ((!log_sink && !log_parts_sink) || level > log_most)
        return;
    len = vsnprintf(line.bytes, sizeof line.bytes, fmt, args);
    line.len = len < 0 ? 0 : VT_MIN((size_t)len, sizeof line.bytes - 1);
    if (log_sink)
        put_fields(&line, fields);
    vt_printable(line.bytes);
    if (log_sink)
        log_sink(level, line.bytes);
    else
        emit_parts(level, fields, subject_len(fmt), &line);
}

void vt_log(enum vt_log_level level, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    emit(level, NULL, fmt, args);
    va_end(args);
}

void vt_log_with(enum vt_log_level level, const struct vt_field *fields, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    emit(level, fields, fmt, args);
    va_end(args);
}

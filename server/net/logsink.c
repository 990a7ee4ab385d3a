/* SPDX-License-Identifier: Apache-2.0 */
#include "server/net/logsink.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "server/base/text.h"
#include "server/net/logout.h"

static bool to_journal, as_json;

/* $JOURNAL_STREAM is inherited by anything: it is about our standard error only if it names its device and
 * inode. */
static bool stderr_is_journal(void)
{
    const char *text = getenv("JOURNAL_STREAM");
    uintmax_t dev, ino;
    struct stat st;

    return text && sscanf(text, "%" SCNuMAX ":%" SCNuMAX, &dev, &ino) == 2 && !fstat(STDERR_FILENO, &st) &&
           st.st_dev == dev && st.st_ino == ino;
}

static const char *word(enum vt_log_level level)
{
    switch (level) {
    case VT_LOG_ERROR:
        return "error";
    case VT_LOG_WARNING:
        return "warning";
    case VT_LOG_DEBUG:
        return "debug";
    case VT_LOG_NOTICE:
        return "notice";
    case VT_LOG_INFO:
        break;
    }
    return "info";
}

/* ---- JSON ---- */

/* Writes stop before the end; `full` stays until it is taken back. */
struct json {
    char *out;
    size_t size, len;
    bool full;
};

static void put(struct json *j, const char *text, size_t len)
{
    if (j->full || len >= j->size - j->len) {
        j->full = true;
        return;
    }
    memcpy(j->out + j->len, text, len);
    j->len += len;
}

static void put_string(struct json *j, const char *text)
{
    put(j, "\"", 1);
    while (*text) {
        size_t len = vt_utf8_len(text);
        char escaped[8];

        if (!len) {
            put(j, "?", 1);
        } else if ((unsigned char)*text < ' ' || *text == 0x7f) {
            snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)*text);
            put(j, escaped, 6);
        } else {
            if (*text == '"' || *text == '\\')
                put(j, "\\", 1);
            put(j, text, len);
        }
        text += len ? len : 1;
    }
    put(j, "\"", 1);
}

/* All of a member, or nothing of it. */
static void put_member(struct json *j, const struct vt_field *field)
{
    const size_t before = j->len;
    char digits[24];

    put(j, j->len > 1 ? "," : "", j->len > 1);
    put_string(j, field->key);
    put(j, ":", 1);
    snprintf(digits, sizeof digits, "%" PRIu64, field->number);
    if (field->is_number)
        put(j, digits, strlen(digits));
    else
        put_string(j, field->text ? field->text : "");
    if (j->full)
        j->len = before;
    j->full = false;
}

size_t logsink_json(char *out, size_t size, int64_t time_ms, const struct vt_log_parts *parts)
{
    struct json j = {.out = out, .size = size - 1}; /* for the last brace */
    char seconds[VT_TIME_TEXT], when[VT_TIME_TEXT + 8];

    const struct vt_field always[] = {VT_TEXT("time", when), VT_TEXT("level", word(parts->level)),
                                      VT_TEXT("subject", parts->subject), VT_TEXT("text", parts->text)};

    vt_time_text(seconds, time_ms / 1000);
    snprintf(when, sizeof when, "%.19s.%03dZ", seconds, (int)(time_ms % 1000));
    put(&j, "{", 1);
    for (size_t i = 0; i < VT_COUNT(always); i++)
        put_member(&j, &always[i]);
    for (const struct vt_field *f = parts->fields; f && f->key; f++)
        put_member(&j, f);
    out[j.len++] = '}';
    out[j.len] = '\0';
    return j.len;
}

/* ---- Sinks ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* lines of several threads do not mix */
static uint64_t dropped;                                 /* lines that were not taken; with the lock */

static size_t frame(char *out, size_t size, enum vt_log_level level, const char *program, const char *level_word,
                    const char *line)
{
    int len = to_journal ? snprintf(out, size, "<%d>%s\n", (int)level, line)
                         : snprintf(out, size, "%s%s%s\n", program, level_word, line);

    if (len < (int)size)
        return (size_t)len;
    out[size - 2] = '\n';
    return size - 1;
}

static size_t frame_line(char *out, size_t size, enum vt_log_level level, const char *line)
{
    char prefix[16] = "";

    if (level != VT_LOG_NOTICE && level != VT_LOG_INFO)
        snprintf(prefix, sizeof prefix, "%s: ", word(level));
    return frame(out, size, level, "vtpm-server: ", prefix, line);
}

static size_t frame_parts(char *out, size_t size, const struct vt_log_parts *parts)
{
    char line[LOGSINK_LINE];
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    logsink_json(line, sizeof line, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, parts);
    return frame(out, size, parts->level, "", "", line);
}

/* With the lock: what is missing before this line. False: still nothing is taken. */
static bool say_dropped(void)
{
    const struct vt_field fields[] = {VT_NUMBER("lines", dropped), {.key = NULL}};
    const char *const text = "lines are missing here: what reads standard error did not take them";
    char out[512], line[200];
    size_t len;

    snprintf(line, sizeof line, "log: %s lines=%" PRIu64, text, dropped);
    if (as_json)
        len = frame_parts(out, sizeof out,
                          &(struct vt_log_parts){
                              .level = VT_LOG_WARNING, .subject = "log", .text = text, .fields = fields});
    else
        len = frame_line(out, sizeof out, VT_LOG_WARNING, line);
    if (!logout_put(out, len))
        return false;
    dropped = 0;
    return true;
}

static void put_line(const char *text, size_t len)
{
    pthread_mutex_lock(&lock);
    if ((dropped && !say_dropped()) || !logout_put(text, len))
        dropped++;
    pthread_mutex_unlock(&lock);
}

static void on_line(enum vt_log_level level, const char *line)
{
    char text[LOGSINK_LINE + 64];

    put_line(text, frame_line(text, sizeof text, level, line));
}

static void on_parts(const struct vt_log_parts *parts)
{
    char text[LOGSINK_LINE + 64];

    put_line(text, frame_parts(text, sizeof text, parts));
}

void logsink_start(enum logsink_format format, enum vt_log_level most)
{
    logout_start();
    to_journal = stderr_is_journal();
    as_json = format == LOGSINK_JSON || (format == LOGSINK_AUTO && to_journal);
    if (as_json)
        vt_log_parts_to(on_parts, most);
    else
        vt_log_to(on_line, most);
}

void logsink_say(enum vt_log_level level, const char *fmt, ...)
{
    char line[1100] = "vtpm-server: ", text[1200];
    const size_t head = strlen(line);
    va_list args;

    va_start(args, fmt);
    vsnprintf(line + head, sizeof line - head, fmt, args);
    va_end(args);
    if (as_json)
        on_parts(&(struct vt_log_parts){.level = level, .subject = "server", .text = line});
    else
        put_line(text, frame(text, sizeof text, level, "", "", line));
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines: `subject: text key=value ...`. The program chooses where they go; without a sink they are dropped, so
 * libraries may log freely. What a reader may want to search for is passed as a field, not printed into the text: then
 * nothing that a peer sent can pass for one. Never pass a secret. Any thread.
 */
#ifndef VTPM_BASE_LOG_H
#define VTPM_BASE_LOG_H

#include "server/base/base.h"

enum vt_log_level { VT_LOG_ERROR = 3, VT_LOG_WARNING = 4, VT_LOG_NOTICE = 5, VT_LOG_INFO = 6, VT_LOG_DEBUG = 7 };

/* line: no newline, no control characters (whatever a peer sent was replaced by '?'), at most 1023 bytes. */
typedef void (*vt_log_sink)(enum vt_log_level level, const char *line);

/* Set once, before threads are started. */
void vt_log_to(vt_log_sink sink, enum vt_log_level most);

/* Keys are words of ours: lower case letters, digits and '_'. A text may be NULL. */
struct vt_field {
    const char *key;
    const char *text;
    uint64_t number;
    bool is_number;
};
#define VT_TEXT(k, t)   {.key = (k), .text = (t)}
#define VT_NUMBER(k, n) {.key = (k), .number = (n), .is_number = true}
/* The list ends with a field without a key. */
#define VT_FIELDS(...) ((const struct vt_field[]){__VA_ARGS__, {.key = NULL}})

/* One line taken apart; valid during the call. The text is as of vt_log_sink, but without "subject: " and fields. */
struct vt_log_parts {
    enum vt_log_level level;
    const char *subject; /* "" if the line has none */
    const char *text;
    const struct vt_field *fields;
};
/* Instead of the lines; as vt_log_to. */
typedef void (*vt_log_parts_sink)(const struct vt_log_parts *parts);
void vt_log_parts_to(vt_log_parts_sink sink, enum vt_log_level most);

/* fmt begins with "subject: ". */
void vt_log(enum vt_log_level level, const char *fmt, ...) VT_PRINTF(2, 3);
/* fields: VT_FIELDS(...), or NULL. In a line they stand behind the text, in quotes where they hold blanks or quotes. */
void vt_log_with(enum vt_log_level level, const struct vt_field *fields, const char *fmt, ...) VT_PRINTF(3, 4);

#define vt_error(...) vt_log(VT_LOG_ERROR, __VA_ARGS__)
#define vt_warning(...) vt_log(VT_LOG_WARNING, __VA_ARGS__)
#define vt_notice(...) vt_log(VT_LOG_NOTICE, __VA_ARGS__)
#define vt_info(...) vt_log(VT_LOG_INFO, __VA_ARGS__)
#define vt_debug(...) vt_log(VT_LOG_DEBUG, __VA_ARGS__)

#endif

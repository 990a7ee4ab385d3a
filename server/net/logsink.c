/* SPDX-License-Identifier: Apache-2.0 */
#include "server/net/logsink.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static bool to_journal;

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
        return "error: ";
    case VT_LOG_WARNING:
        return "warning: ";
    case VT_LOG_DEBUG:
        return "debug: ";
    case VT_LOG_NOTICE:
    case VT_LOG_INFO:
        break;
    }
    return "";
}

static void put(enum vt_log_level level, const char *level_word, const char *line)
{
    char text[1200];
    int len = to_journal ? snprintf(text, sizeof text, "<%d>%s\n", (int)level, line)
                         : snprintf(text, sizeof text, "vtpm-server: %s%s\n", level_word, line);

    if (len >= (int)sizeof text) {
        len = (int)sizeof text - 1;
        text[len - 1] = '\n';
    }
    /* If standard error is gone there is nowhere to say so. */
    (void)!write(STDERR_FILENO, text, (size_t)len);
}

static void on_line(enum vt_log_level level, const char *line)
{
    put(level, word(level), line);
}

void logsink_start(enum vt_log_level most)
{
    to_journal = stderr_is_journal();
    vt_log_to(on_line, most);
}

void logsink_say(enum vt_log_level level, const char *fmt, ...)
{
    char line[1100];
    va_list args;
    int head = to_journal ? snprintf(line, sizeof line, "vtpm-server: ") : 0;

    va_start(args, fmt);
    vsnprintf(line + head, sizeof line - (size_t)head, fmt, args);
    va_end(args);
    put(level, "", line);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "server/base/log.h"

#include <stdarg.h>
#include <stdio.h>

static vt_log_sink log_sink;
static enum vt_log_level log_most = VT_LOG_INFO;

void vt_log_to(vt_log_sink sink, enum vt_log_level most)
{
    log_sink = sink;
    log_most = most;
}

void vt_log(enum vt_log_level level, const char *fmt, ...)
{
    char line[1024];
    va_list args;

    if (!log_sink || level > log_most)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    /* A name or an error text of a peer must not forge a second line or speak to a terminal. */
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    log_sink(level, line);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines to standard error, one write each: as text, or as one JSON object (RFC 8259). With <N> before them when the
 * journal reads them (sd-daemon(3)). Nobody waits for a reader: lines that standard error does not take are dropped, and
 * counted in a line of their own before the next one that it takes.
 */
#ifndef VTPM_NET_LOGSINK_H
#define VTPM_NET_LOGSINK_H

#include "server/base/buf.h"
#include "server/base/log.h"

enum logsink_format {
    LOGSINK_AUTO, /* JSON where the journal reads, else text */
    LOGSINK_TEXT,
    LOGSINK_JSON
};

/* Main thread, once, before threads are started. */
void logsink_start(enum logsink_format format, enum vt_log_level most);
/* "vtpm-server: TEXT" whatever the level asked for: errors at start, the ready line. Any thread. */
void logsink_say(enum vt_log_level level, const char *fmt, ...) VT_PRINTF(2, 3);

/*
 * {"time":"2026-01-31T12:00:00.000Z","level":"info","subject":"net","text":"...",FIELDS} into out, with a NUL; the
 * length without it. Fields that do not fit are left out; LOGSINK_LINE holds everything that is logged today. Bytes
 * that are not UTF-8 become '?'. Any thread.
 */
#define LOGSINK_LINE 4096
size_t logsink_json(char *out, size_t size, int64_t time_ms, const struct vt_log_parts *parts);

#endif

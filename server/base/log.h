/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines: `level subject: text key=value ...`. The program chooses where they go; without a sink they are
 * dropped, so libraries may log freely. Never pass a secret. Any thread.
 */
#ifndef VTPM_BASE_LOG_H
#define VTPM_BASE_LOG_H

#include "server/base/base.h"

enum vt_log_level { VT_LOG_ERROR = 3, VT_LOG_WARNING = 4, VT_LOG_NOTICE = 5, VT_LOG_INFO = 6, VT_LOG_DEBUG = 7 };

/* line: no newline, no control characters (whatever a peer sent was replaced by '?'), at most 1023 bytes. */
typedef void (*vt_log_sink)(enum vt_log_level level, const char *line);

/* Set once, before threads are started. */
void vt_log_to(vt_log_sink sink, enum vt_log_level most);

void vt_log(enum vt_log_level level, const char *fmt, ...) VT_PRINTF(2, 3);

#define vt_error(...) vt_log(VT_LOG_ERROR, __VA_ARGS__)
#define vt_warning(...) vt_log(VT_LOG_WARNING, __VA_ARGS__)
#define vt_notice(...) vt_log(VT_LOG_NOTICE, __VA_ARGS__)
#define vt_info(...) vt_log(VT_LOG_INFO, __VA_ARGS__)
#define vt_debug(...) vt_log(VT_LOG_DEBUG, __VA_ARGS__)

#endif

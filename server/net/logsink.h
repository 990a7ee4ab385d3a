/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines to standard error, one write each; with <N> before them when the journal reads it (sd-daemon(3)).
 */
#ifndef VTPM_NET_LOGSINK_H
#define VTPM_NET_LOGSINK_H

#include "server/base/log.h"

/* Main thread, once, before threads are started. */
void logsink_start(enum vt_log_level most);
/* "vtpm-server: TEXT" whatever the level asked for: errors at start, the ready line. Any thread. */
void logsink_say(enum vt_log_level level, const char *fmt, ...) VT_PRINTF(2, 3);

#endif

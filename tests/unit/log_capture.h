/* SPDX-License-Identifier: Apache-2.0 */
/* What is logged, kept for tests to look at. */
#ifndef VTPM_TESTS_UNIT_LOG_CAPTURE_H
#define VTPM_TESTS_UNIT_LOG_CAPTURE_H

#include "server/base/log.h"

/* From now on, for the whole program: lines of this level and above. */
void log_capture(enum vt_log_level level);
/* Forgets what was kept. Any thread. */
void log_forget(void);
/* Was it said since? Any thread. */
bool log_says(const char *text);
/* All of it, a line each; while no other thread logs. */
const char *log_captured(void);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard error without waiting for its reader: the broker must not stand still because a terminal was
 * stopped, a pipe is full or the journal is slow. Nothing is set on the descriptor itself: others have it
 * too.
 */
#ifndef VTPM_NET_LOGOUT_H
#define VTPM_NET_LOGOUT_H

#include "server/base/base.h"

/* Looks what standard error is. Main thread, before threads are started and before another user is taken. */
void logout_start(void);

/*
 * Writes a line whole. False: it is not taken; the first time after one that was taken a moment is waited for
 * that, LOGOUT_PATIENCE_MS at most. A line that was taken in part ends where it ends: the next one begins a
 * new line. One thread at a time.
 */
bool logout_put(const char *line, size_t len) VT_USE_RESULT;
#define LOGOUT_PATIENCE_MS 20

#endif

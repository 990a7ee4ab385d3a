/* SPDX-License-Identifier: Apache-2.0 */
/* Whole pieces over the instance socket, inside a process that may wait for them. */
#ifndef VTPM_SANDBOX_STREAM_H
#define VTPM_SANDBOX_STREAM_H

#include "server/base/base.h"

/* False: the socket is closed, or broken. */
bool sandbox_write_all(int fd, const uint8_t *bytes, size_t len) VT_USE_RESULT;
bool sandbox_read_all(int fd, uint8_t *to, size_t len) VT_USE_RESULT;

#endif

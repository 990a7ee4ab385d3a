/* SPDX-License-Identifier: Apache-2.0 */
/* Frames: a 4-byte big-endian length, then that many bytes. Bounded before anything is allocated. No I/O. */
#ifndef VTPM_PROTO_FRAME_H
#define VTPM_PROTO_FRAME_H

#include "server/base/buf.h"

#define FRAME_HEADER 4
#define FRAME_MAX (16u * 1024)        /* channel: a TPM command and what stands around it */
#define FRAME_ADMIN_MAX (4u << 20)    /* admin socket: a list of 10,000 instances */

/*
 * Looks for one whole frame at the read end of `in`. VT_OK: *payload, *len point into `in` (drop FRAME_HEADER + *len
 * when done). VT_EAGAIN: not all there yet. VT_ETOOBIG: longer than max: close the connection.
 */
int frame_next(const struct vt_buf *in, size_t max, const uint8_t **payload, size_t *len) VT_USE_RESULT;
/* Appends the header for a payload of len bytes and reserves room for it; *at is where it goes; the buffer's write
 * end already stands behind it. */
int frame_begin(struct vt_buf *out, size_t len, uint8_t **at) VT_USE_RESULT;

#endif

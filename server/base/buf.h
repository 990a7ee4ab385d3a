/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing byte buffer with a read end and a write end and a limit fixed when it is made: what a peer sends can
 * never make it grow past that. The part that was read is wiped when the buffer is reset or freed.
 */
#ifndef VTPM_BASE_BUF_H
#define VTPM_BASE_BUF_H

#include "server/base/err.h"

struct vt_buf {
    uint8_t *data;
    size_t off;   /* first byte not yet read */
    size_t len;   /* one past the last byte written */
    size_t cap;
    size_t limit; /* of len - off */
};

/* An empty buffer that holds nothing yet; never fails. */
void vt_buf_init(struct vt_buf *buf, size_t limit);
/* Wipes and frees; the buffer is empty and usable again. */
void vt_buf_free(struct vt_buf *buf);

static inline size_t vt_buf_size(const struct vt_buf *buf)
{
    return buf->len - buf->off;
}

/* NULL while the buffer holds no memory: arithmetic on a null pointer is undefined, also with 0. */
static inline const uint8_t *vt_buf_bytes(const struct vt_buf *buf)
{
    return buf->data ? buf->data + buf->off : NULL;
}

/* Room for `len` more bytes; *at is where to write them (then vt_buf_wrote). VT_ETOOBIG past the limit, VT_ENOMEM. */
int vt_buf_reserve(struct vt_buf *buf, size_t len, uint8_t **at) VT_USE_RESULT;
void vt_buf_wrote(struct vt_buf *buf, size_t len);
/* Copies bytes to the write end. */
int vt_buf_put(struct vt_buf *buf, const void *bytes, size_t len) VT_USE_RESULT;
/* Drops len bytes (at most the size) from the read end. */
void vt_buf_drop(struct vt_buf *buf, size_t len);

#endif

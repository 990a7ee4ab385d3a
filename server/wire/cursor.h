/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded cursors over TPM bytes (big-endian). Once a read or write does not fit, the cursor is `bad` and
 * stays bad; later calls return zeros or do nothing. So a decoder reads everything and asks once. Arithmetic
 * on lengths is done in rd_take and wr_room only. Any thread; borrow their memory.
 */
#ifndef VTPM_WIRE_CURSOR_H
#define VTPM_WIRE_CURSOR_H

#include "server/base/base.h"

struct rd {
    const uint8_t *at;
    size_t left;
    bool bad;
    uint32_t rc; /* TPM code of the first value that cannot be; 0: none so far */
};

struct wr {
    uint8_t *base;
    size_t len; /* written so far */
    size_t cap;
    bool bad;
};

/* Bytes inside somebody else's buffer (a command, an arena). */
struct tpm_blob {
    uint32_t len;
    const uint8_t *data;
};

static inline struct rd rd_from(const void *bytes, size_t len)
{
    return (struct rd){.at = bytes, .left = len};
}

static inline struct wr wr_to(void *bytes, size_t cap)
{
    return (struct wr){.base = bytes, .cap = cap};
}

/* The next len bytes, or NULL and bad. */
const uint8_t *rd_take(struct rd *r, size_t len);
uint8_t rd_get8(struct rd *r);
uint16_t rd_get16(struct rd *r);
uint32_t rd_get32(struct rd *r);
uint64_t rd_get64(struct rd *r);
/* Copies; zeros when bad. */
void rd_copy(struct rd *r, void *out, size_t len);
/* A value was read that cannot be: the first such code stays, unless bytes had been missing before. */
static inline void rd_fail(struct rd *r, uint32_t rc)
{
    if (!r->bad && !r->rc)
        r->rc = rc;
}

/* Everything was read and nothing was missing. (schema.h has rd_result for both.) */
static inline bool rd_done(const struct rd *r)
{
    return !r->bad && r->left == 0;
}

/* Where len bytes may be written, or NULL and bad. */
uint8_t *wr_room(struct wr *w, size_t len);
/* v into room that was had before. */
static inline void wr_be32(uint8_t at[4], uint32_t v)
{
    at[0] = (uint8_t)(v >> 24);
    at[1] = (uint8_t)(v >> 16);
    at[2] = (uint8_t)(v >> 8);
    at[3] = (uint8_t)v;
}
void wr_put8(struct wr *w, uint8_t v);
void wr_put16(struct wr *w, uint16_t v);
void wr_put32(struct wr *w, uint32_t v);
void wr_put64(struct wr *w, uint64_t v);
void wr_copy(struct wr *w, const void *bytes, size_t len);

#endif

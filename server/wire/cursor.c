/* SPDX-License-Identifier: Apache-2.0 */
#include "server/wire/cursor.h"

const uint8_t *rd_take(struct rd *r, size_t len)
{
    const uint8_t *at = r->at;

    if (r->bad || len > r->left) {
        r->bad = true;
        return NULL;
    }
    if (len) /* at may be NULL when nothing is left */
        r->at += len;
    r->left -= len;
    return at;
}

static uint64_t rd_be(struct rd *r, size_t len)
{
    const uint8_t *at = rd_take(r, len);
    uint64_t v = 0;

    for (size_t i = 0; at && i < len; i++)
        v = v << 8 | at[i];
    return v;
}

uint8_t rd_get8(struct rd *r)
{
    return (uint8_t)rd_be(r, 1);
}

uint16_t rd_get16(struct rd *r)
{
    return (uint16_t)rd_be(r, 2);
}

uint32_t rd_get32(struct rd *r)
{
    return (uint32_t)rd_be(r, 4);
}

uint64_t rd_get64(struct rd *r)
{
    return rd_be(r, 8);
}

void rd_copy(struct rd *r, void *out, size_t len)
{
    const uint8_t *at = rd_take(r, len);

    if (!len)
        return;
    if (at)
        memcpy(out, at, len);
    else
        memset(out, 0, len);
}

uint8_t *wr_room(struct wr *w, size_t len)
{
    uint8_t *at = w->len ? w->base + w->len : w->base;

    if (w->bad || len > w->cap - w->len) {
        w->bad = true;
        return NULL;
    }
    w->len += len;
    return at;
}

static void wr_be(struct wr *w, uint64_t v, size_t len)
{
    uint8_t *at = wr_room(w, len);

    for (size_t i = 0; at && i < len; i++)
        at[i] = (uint8_t)(v >> (8 * (len - 1 - i)));
}

void wr_put8(struct wr *w, uint8_t v)
{
    uint8_t *at = wr_room(w, 1);

    if (at)
        *at = v;
}

void wr_put16(struct wr *w, uint16_t v)
{
    wr_be(w, v, 2);
}

void wr_put32(struct wr *w, uint32_t v)
{
    uint8_t *at = wr_room(w, 4);

    if (at)
        wr_be32(at, v);
}

void wr_put64(struct wr *w, uint64_t v)
{
    wr_be(w, v, 8);
}

void wr_copy(struct wr *w, const void *bytes, size_t len)
{
    uint8_t *at = wr_room(w, len);

    if (at && len)
        memcpy(at, bytes, len);
}

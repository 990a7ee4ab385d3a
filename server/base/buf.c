/* SPDX-License-Identifier: Apache-2.0 */
#include "server/base/buf.h"

#include <assert.h>

#include "server/base/alloc.h"
#include "server/base/secret.h"

void vt_buf_init(struct vt_buf *buf, size_t limit)
{
    *buf = (struct vt_buf){.limit = limit};
}

void vt_buf_free(struct vt_buf *buf)
{
    vt_free_wiped(buf->data, buf->cap);
    vt_buf_init(buf, buf->limit);
}

/* Moves the unread bytes to the front and wipes what they left behind. */
static void compact(struct vt_buf *buf)
{
    size_t size = vt_buf_size(buf);

    if (!buf->off)
        return;
    memmove(buf->data, buf->data + buf->off, size);
    vt_wipe(buf->data + size, buf->off);
    buf->off = 0;
    buf->len = size;
}

/* Not realloc: it could leave a copy of secrets behind. */
static int grow(struct vt_buf *buf, size_t need)
{
    size_t cap = buf->cap ? buf->cap : 256;
    uint8_t *data;

    while (cap < need)
        cap *= 2;
    data = vt_calloc(1, cap);
    if (!data)
        return VT_ENOMEM;
    if (buf->len)
        memcpy(data, buf->data, buf->len);
    vt_free_wiped(buf->data, buf->cap);
    buf->data = data;
    buf->cap = cap;
    return VT_OK;
}

int vt_buf_reserve(struct vt_buf *buf, size_t len, uint8_t **at)
{
    int err;

    if (len > buf->limit || vt_buf_size(buf) > buf->limit - len)
        return VT_ETOOBIG;
    if (buf->cap - buf->len < len)
        compact(buf);
    if (buf->cap - buf->len < len) {
        err = grow(buf, buf->len + len);
        if (err)
            return err;
    }
    *at = buf->data ? buf->data + buf->len : NULL;
    return VT_OK;
}

void vt_buf_wrote(struct vt_buf *buf, size_t len)
{
    assert(len <= buf->cap - buf->len);
    buf->len += len;
}

int vt_buf_put(struct vt_buf *buf, const void *bytes, size_t len)
{
    uint8_t *at;
    int err = vt_buf_reserve(buf, len, &at);

    if (err)
        return err;
    if (len)
        memcpy(at, bytes, len);
    vt_buf_wrote(buf, len);
    return VT_OK;
}

void vt_buf_drop(struct vt_buf *buf, size_t len)
{
    assert(len <= vt_buf_size(buf));
    if (!len)
        return;
    vt_wipe(buf->data + buf->off, len);
    buf->off += len;
    if (buf->off == buf->len)
        buf->off = buf->len = 0;
}

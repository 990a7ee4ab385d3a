/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/frame.h"

static size_t read_length(const uint8_t *bytes)
{
    return (size_t)bytes[0] << 24 | (size_t)bytes[1] << 16 | (size_t)bytes[2] << 8 | bytes[3];
}

static void write_length(uint8_t *bytes, size_t len)
{
    for (int i = 0; i < FRAME_HEADER; i++)
        bytes[i] = (uint8_t)(len >> (24 - 8 * i));
}

int frame_next(const struct vt_buf *in, size_t max, const uint8_t **payload, size_t *len)
{
    size_t size = vt_buf_size(in);
    size_t want;

    if (size < FRAME_HEADER)
        return VT_EAGAIN;
    /* The length alone decides: nothing is kept or allocated for a frame that will be refused. */
    want = read_length(vt_buf_bytes(in));
    if (want > max)
        return VT_ETOOBIG;
    if (size - FRAME_HEADER < want)
        return VT_EAGAIN;
    *payload = vt_buf_bytes(in) + FRAME_HEADER;
    *len = want;
    return VT_OK;
}

int frame_begin(struct vt_buf *out, size_t len, uint8_t **at)
{
    uint8_t *header;
    int err;

    if (len > UINT32_MAX - FRAME_HEADER)
        return VT_ETOOBIG;
    err = vt_buf_reserve(out, FRAME_HEADER + len, &header);
    if (err)
        return err;
    write_length(header, len);
    vt_buf_wrote(out, FRAME_HEADER + len);
    *at = header + FRAME_HEADER;
    return VT_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The interface of proto/tls.c without TLS: bytes pass as they are. So a channel can be fuzzed behind its handshake. */
#include "proto/tls.h"
#include "server/base/alloc.h"

#define IN_MAX (64u * 1024)
#define OUT_MAX (256u * 1024)

struct tls {
    struct vt_buf in, out;
    bool open;
};

int tls_new(struct tls **out, const struct tls_config *config VT_UNUSED)
{
    struct tls *tls = VT_NEW(struct tls);

    if (!tls)
        return VT_ENOMEM;
    vt_buf_init(&tls->in, IN_MAX);
    vt_buf_init(&tls->out, OUT_MAX);
    *out = tls;
    return VT_OK;
}

void tls_free(struct tls *tls)
{
    if (!tls)
        return;
    vt_buf_free(&tls->in);
    vt_buf_free(&tls->out);
    vt_free(tls);
}

int tls_feed(struct tls *tls, const void *bytes, size_t len)
{
    return vt_buf_put(&tls->in, bytes, len);
}

struct vt_buf *tls_output(struct tls *tls)
{
    return &tls->out;
}

int tls_handshake(struct tls *tls, struct vt_why *why VT_UNUSED)
{
    tls->open = true;
    return VT_OK;
}

bool tls_is_open(const struct tls *tls)
{
    return tls->open;
}

const char *tls_identity(const struct tls *tls VT_UNUSED)
{
    return "fuzz";
}

bool tls_identity_known(const struct tls *tls VT_UNUSED)
{
    return true;
}

/* As much as there is room for, at most a TLS record's worth. */
int tls_read(struct tls *tls, struct vt_buf *out)
{
    size_t len = VT_MIN(vt_buf_size(&tls->in), (size_t)16384);
    int err;

    if (!len)
        return VT_EAGAIN;
    len = VT_MIN(len, out->limit - vt_buf_size(out));
    err = vt_buf_put(out, vt_buf_bytes(&tls->in), len);
    if (!err)
        vt_buf_drop(&tls->in, len);
    return err;
}

int tls_write(struct tls *tls, const void *bytes, size_t len)
{
    return vt_buf_put(&tls->out, bytes, len);
}

void tls_close(struct tls *tls VT_UNUSED)
{
}

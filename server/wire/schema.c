/* SPDX-License-Identifier: Apache-2.0 */
/* The basic kinds of the field lists. */
#include "server/wire/schema.h"

void rd_none(struct rd *r, uint8_t *out)
{
    (void)r;
    *out = 0;
}

void wr_none(struct wr *w, const uint8_t *in)
{
    (void)w;
    (void)in;
}

/* Kinds that the cursor knows by itself. */
#define WIRE_NUMBER(bits)                                                                                    \
    void rd_u##bits(struct rd *r, uint##bits##_t *out)                                                       \
    {                                                                                                        \
        *out = rd_get##bits(r);                                                                              \
    }                                                                                                        \
    void wr_u##bits(struct wr *w, const uint##bits##_t *in)                                                  \
    {                                                                                                        \
        wr_put##bits(w, *in);                                                                                \
    }
WIRE_NUMBER(8)
WIRE_NUMBER(16)
WIRE_NUMBER(32)
WIRE_NUMBER(64)

/* Part 2, 2.2.2: TRUE is 1, FALSE is 0, and there is no third. */
void rd_b(struct rd *r, bool *out)
{
    uint8_t v = rd_get8(r);

    if (v > 1)
        rd_fail(r, TPM_BAD_PARAMETER);
    *out = v == 1;
}

void wr_b(struct wr *w, const bool *in)
{
    wr_put8(w, *in);
}

/* Structures of plain bytes. */
#define WIRE_PLAIN(kind)                                                                                     \
    void rd_##kind(struct rd *r, wire_##kind *out)                                                           \
    {                                                                                                        \
        rd_copy(r, out->bytes, sizeof(out->bytes));                                                          \
    }                                                                                                        \
    void wr_##kind(struct wr *w, const wire_##kind *in)                                                      \
    {                                                                                                        \
        wr_copy(w, in->bytes, sizeof(in->bytes));                                                            \
    }
#define WIRE_PLAIN_BYTES(n) WIRE_PLAIN(bytes##n)
WIRE_PLAIN(digest)
WIRE_PLAIN(nonce)
WIRE_PLAIN(authdata)
WIRE_BYTE_KINDS(WIRE_PLAIN_BYTES)

static struct tpm_blob rd_blob(struct rd *r, uint32_t len)
{
    const uint8_t *at = rd_take(r, len);

    return at ? (struct tpm_blob){.len = len, .data = at} : (struct tpm_blob){0};
}

void rd_blob32(struct rd *r, struct tpm_blob *out)
{
    *out = rd_blob(r, rd_get32(r));
}

void wr_blob32(struct wr *w, const struct tpm_blob *in)
{
    wr_put32(w, in->len);
    wr_copy(w, in->data, in->len);
}

void rd_blob16(struct rd *r, struct tpm_blob *out)
{
    *out = rd_blob(r, rd_get16(r));
}

void wr_blob16(struct wr *w, const struct tpm_blob *in)
{
    if (in->len > UINT16_MAX)
        w->bad = true;
    wr_put16(w, (uint16_t)in->len);
    wr_copy(w, in->data, in->len);
}

/* No cursor over TPM bytes is 4 GiB long; one that is reads as bad. */
void rd_rest(struct rd *r, struct tpm_blob *out)
{
    if (r->left > UINT32_MAX)
        r->bad = true;
    *out = rd_blob(r, (uint32_t)r->left);
}

void wr_rest(struct wr *w, const struct tpm_blob *in)
{
    wr_copy(w, in->data, in->len);
}

void rd_tag(struct rd *r, uint16_t tag)
{
    if (tag && rd_get16(r) != tag)
        rd_fail(r, TPM_INVALID_STRUCTURE);
}

void wr_tag(struct wr *w, uint16_t tag)
{
    if (tag)
        wr_put16(w, tag);
}

uint16_t rd_peek16(const struct rd *r)
{
    struct rd peek = *r;

    return rd_get16(&peek);
}

struct rd rd_sized(struct rd *r)
{
    struct tpm_blob blob;
    struct rd sub;

    rd_blob32(r, &blob);
    sub = rd_from(blob.data, blob.len);
    sub.bad = r->bad;
    return sub;
}

size_t wr_sized_begin(struct wr *w)
{
    wr_put32(w, 0);
    return w->len;
}

void wr_sized_end(struct wr *w, size_t begin)
{
    struct wr size = {.cap = sizeof(uint32_t)};

    if (w->bad)
        return;
    size.base = w->base + begin - sizeof(uint32_t);
    wr_put32(&size, (uint32_t)(w->len - begin));
}

tpm_rc rd_result(const struct rd *r)
{
    if (r->rc)
        return r->rc;
    return rd_done(r) ? TPM_SUCCESS : TPM_BAD_PARAM_SIZE;
}

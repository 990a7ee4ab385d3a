/* SPDX-License-Identifier: Apache-2.0 */
/* The walk's alphabet and the frame of frozen bytes. */
#include "server/engine/freeze.h"

void fz_u8(struct fz *f, uint8_t *v)
{
    if (f->thaw)
        *v = rd_get8(&f->r);
    else
        wr_put8(&f->w, *v);
}

void fz_u16(struct fz *f, uint16_t *v)
{
    if (f->thaw)
        *v = rd_get16(&f->r);
    else
        wr_put16(&f->w, *v);
}

void fz_u32(struct fz *f, uint32_t *v)
{
    if (f->thaw)
        *v = rd_get32(&f->r);
    else
        wr_put32(&f->w, *v);
}

void fz_u64(struct fz *f, uint64_t *v)
{
    if (f->thaw)
        *v = rd_get64(&f->r);
    else
        wr_put64(&f->w, *v);
}

void fz_bool(struct fz *f, bool *v)
{
    uint8_t byte = *v;

    fz_u8(f, &byte);
    fz_need(f, byte <= 1);
    *v = byte == 1;
}

void fz_u32s(struct fz *f, uint32_t *v, size_t count)
{
    uint8_t *at;

    if (f->thaw) {
        for (size_t i = 0; i < count; i++)
            v[i] = rd_get32(&f->r);
        return;
    }
    at = wr_room(&f->w, 4 * count);
    for (size_t i = 0; at && i < count; i++)
        wr_be32(at + 4 * i, v[i]);
}

void fz_bools(struct fz *f, bool *v, size_t count)
{
    uint8_t *at;

    if (f->thaw) {
        for (size_t i = 0; i < count; i++)
            fz_bool(f, &v[i]);
        return;
    }
    at = wr_room(&f->w, count);
    for (size_t i = 0; at && i < count; i++)
        at[i] = v[i];
}

void fz_bytes(struct fz *f, void *bytes, size_t len)
{
    if (f->thaw)
        rd_copy(&f->r, bytes, len);
    else
        wr_copy(&f->w, bytes, len);
}

void fz_auth(struct fz *f, struct vt_auth *auth)
{
    fz_bytes(f, auth->bytes, sizeof auth->bytes);
}

void fz_count(struct fz *f, uint32_t *v, uint32_t most)
{
    fz_u32(f, v);
    if (*v <= most)
        return;
    f->bad = true;
    *v = 0;
}

void fz_need(struct fz *f, bool holds)
{
    if (!holds)
        f->bad = true;
}

static bool fz_stopped(const struct fz *f)
{
    return f->bad || (f->thaw ? f->r.bad : f->w.bad);
}

static void table_thaw(struct fz *f, struct tpm *tpm, const struct fz_table *table)
{
    uint32_t count, next = 0;

    fz_count(f, &count, VT_MIN(table->most, table->slots));
    for (; count && !fz_stopped(f); count--) {
        uint32_t at = rd_get32(&f->r);

        fz_need(f, at >= next && at < table->slots);
        if (fz_stopped(f))
            return;
        /* Another table may have filled it. */
        fz_need(f, !table->used(tpm, at));
        table->walk(f, tpm, at);
        fz_need(f, table->used(tpm, at));
        next = at + 1;
    }
}

void fz_table(struct fz *f, struct tpm *tpm, const struct fz_table *table)
{
    uint32_t count = 0;
    uint8_t *counted;

    if (f->thaw) {
        table_thaw(f, tpm, table);
        return;
    }
    counted = wr_room(&f->w, 4);
    for (uint32_t at = 0; at < table->slots; at++) {
        if (!table->used(tpm, at))
            continue;
        count++;
        wr_put32(&f->w, at);
        table->walk(f, tpm, at);
    }
    if (counted)
        wr_be32(counted, count);
    fz_need(f, count <= VT_MIN(table->most, table->slots));
}

/* ---- The frame: magic, version, sections ---- */

#define TAG_LEN 4

int fz_freeze(const char magic[5], const struct fz_section *sections, size_t count, struct tpm *tpm,
              uint8_t *out, size_t *len)
{
    struct fz f = {.w = wr_to(out, *len)};

    wr_copy(&f.w, magic, TAG_LEN);
    wr_put16(&f.w, FZ_VERSION);
    for (size_t i = 0; i < count; i++) {
        size_t begin;

        wr_copy(&f.w, sections[i].tag, TAG_LEN);
        begin = wr_sized_begin(&f.w);
        sections[i].walk(&f, tpm);
        wr_sized_end(&f.w, begin);
    }
    if (f.w.bad || f.bad)
        return VT_ETOOBIG;
    *len = f.w.len;
    return VT_OK;
}

static int thaw_section(const struct fz_section *section, struct tpm *tpm, struct rd *r, struct vt_why *why)
{
    struct fz f = {.thaw = true};
    const uint8_t *tag = rd_take(r, TAG_LEN);

    if (!tag || memcmp(tag, section->tag, TAG_LEN) != 0)
        return vt_fail(why, VT_EDAMAGED, "TPM state: section %s is missing", section->tag);
    f.r = rd_sized(r);
    if (!r->bad)
        section->walk(&f, tpm);
    if (r->bad || f.bad || rd_result(&f.r))
        return vt_fail(why, VT_EDAMAGED, "TPM state: section %s does not parse", section->tag);
    return VT_OK;
}

int fz_thaw(const char magic[5], const struct fz_section *sections, size_t count, struct tpm *tpm,
            const uint8_t *bytes, size_t len, struct vt_why *why)
{
    struct rd r = rd_from(bytes, len);
    const uint8_t *head = rd_take(&r, TAG_LEN);
    uint16_t version = rd_get16(&r);

    if (!head || r.bad || memcmp(head, magic, TAG_LEN) != 0)
        return vt_fail(why, VT_EDAMAGED, "TPM state: does not begin with %s", magic);
    if (!version || version > FZ_VERSION)
        return vt_fail(why, VT_EDAMAGED, "TPM state: version %u, this build knows up to %u", version,
                       FZ_VERSION);
    for (size_t i = 0; i < count; i++) {
        int err = sections[i].since > version ? VT_OK : thaw_section(&sections[i], tpm, &r, why);

        if (err)
            return err;
    }
    if (!rd_done(&r))
        return vt_fail(why, VT_EDAMAGED, "TPM state: %zu bytes too many", r.left);
    return VT_OK;
}

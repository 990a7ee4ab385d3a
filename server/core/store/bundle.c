/* SPDX-License-Identifier: Apache-2.0 */
/* docs/moving.md, "The bundle". */
#include "server/core/store/bundle.h"

#include <assert.h>

#include "server/base/alloc.h"
#include "server/core/binding.h"
#include "server/wire/cursor.h"

#define MAGIC   0x56544D42u /* "VTMB" */
#define VERSION 1
/* Magic, version, zeros, id, source, target, time, ephemeral key, length. */
#define HEAD_LEN (4u + 2 + 2 + DB_EXPORT_ID + 16 + 16 + 8 + CR_EC_PUBLIC + 4)
#define REST_LEN (CR_GCM_TAG + CR_EC_SIGNATURE)

enum { FLAG_EK = 1, FLAGS_KNOWN = 1 };

/* ---- Contents ---- */

void moving_free(struct moving *moving)
{
    record_free(&moving->record);
    vt_wipe(moving, sizeof *moving);
}

static void put_text(struct wr *w, const char *text)
{
    size_t len = strlen(text);

    wr_put8(w, (uint8_t)len);
    wr_copy(w, text, len);
}

static void put_contents(struct wr *w, const struct moving *m, const uint8_t *record, size_t record_len)
{
    static const uint8_t none[CR_SHA256_LEN];

    wr_copy(w, m->uuid.bytes, sizeof m->uuid.bytes);
    put_text(w, m->name);
    put_text(w, m->group);
    put_text(w, m->profile);
    wr_put64(w, (uint64_t)m->created);
    wr_put8(w, m->has_ek ? FLAG_EK : 0);
    wr_copy(w, m->has_ek ? m->ek_sha256 : none, CR_SHA256_LEN);
    wr_copy(w, m->psk.bytes, sizeof m->psk.bytes);
    wr_put8(w, (uint8_t)m->binding_count);
    for (size_t i = 0; i < m->binding_count; i++)
        put_text(w, m->bindings[i]);
    wr_put32(w, (uint32_t)record_len);
    wr_copy(w, record, record_len);
}

int moving_encode(const struct moving *moving, uint8_t **out, size_t *len)
{
    uint8_t *record = NULL, *bytes;
    size_t record_len = 0;
    struct wr w;
    int err = record_encode(&moving->record, &record, &record_len);

    *out = NULL;
    *len = 0;
    if (err)
        return err;
    bytes = vt_calloc(1, BUNDLE_CONTENTS_MAX);
    if (!bytes) {
        vt_free_wiped(record, record_len);
        return VT_ENOMEM;
    }
    w = wr_to(bytes, BUNDLE_CONTENTS_MAX);
    put_contents(&w, moving, record, record_len);
    vt_free_wiped(record, record_len);
    if (w.bad) {
        vt_free_wiped(bytes, BUNDLE_CONTENTS_MAX);
        return VT_ETOOBIG;
    }
    *len = w.len;
    *out = bytes;
    return VT_OK;
}

/* Printable ASCII without a NUL; out holds size. */
static void get_text(struct rd *r, char *out, size_t size)
{
    uint8_t len = rd_get8(r);
    const uint8_t *at = rd_take(r, len);

    out[0] = '\0';
    if (!at)
        return;
    if (len >= size)
        r->bad = true;
    for (size_t i = 0; i < len && !r->bad; i++)
        if (at[i] < ' ' || at[i] > '~')
            r->bad = true;
    if (r->bad)
        return;
    memcpy(out, at, len);
    out[len] = '\0';
}

static void get_bindings(struct rd *r, struct moving *m)
{
    m->binding_count = rd_get8(r);
    if (m->binding_count > DB_BINDINGS_MAX) {
        m->binding_count = 0;
        r->bad = true;
    }
    for (size_t i = 0; i < m->binding_count; i++)
        get_text(r, m->bindings[i], sizeof m->bindings[i]);
}

/* In the one form of binding_parse, each once. */
static bool bindings_sane(const struct moving *m)
{
    for (size_t i = 0; i < m->binding_count; i++) {
        char peer[DB_PEER_TEXT];

        if (binding_parse(peer, m->bindings[i], NULL) || strcmp(peer, m->bindings[i]) != 0)
            return false;
        for (size_t k = 0; k < i; k++)
            if (strcmp(m->bindings[i], m->bindings[k]) == 0)
                return false;
    }
    return true;
}

static bool is_sane(const struct moving *m, uint8_t flags)
{
    static const uint8_t none[CR_SHA256_LEN];

    if ((flags & ~(unsigned)FLAGS_KNOWN) || (!m->has_ek && memcmp(m->ek_sha256, none, sizeof none) != 0))
        return false;
    return vt_name_valid(m->name) && (!m->group[0] || vt_name_valid(m->group)) && m->profile[0] && m->created >= 0 &&
           bindings_sane(m);
}

static int get_contents(struct moving *m, struct rd *r, struct vt_why *why)
{
    const uint8_t *record;
    uint8_t flags;
    uint32_t len;
    int err;

    rd_copy(r, m->uuid.bytes, sizeof m->uuid.bytes);
    get_text(r, m->name, sizeof m->name);
    get_text(r, m->group, sizeof m->group);
    get_text(r, m->profile, sizeof m->profile);
    m->created = (int64_t)rd_get64(r);
    flags = rd_get8(r);
    m->has_ek = flags & FLAG_EK;
    rd_copy(r, m->ek_sha256, sizeof m->ek_sha256);
    rd_copy(r, m->psk.bytes, sizeof m->psk.bytes);
    get_bindings(r, m);
    len = rd_get32(r);
    record = rd_take(r, len);
    if (!record || !rd_done(r))
        return vt_fail(why, VT_EDAMAGED, "its contents have another length than their fields");
    if (!is_sane(m, flags))
        return vt_fail(why, VT_EDAMAGED, "its contents contradict themselves");
    err = record_decode(&m->record, record, len, why);
    if (!err && (m->record.base_seq != m->record.seq || !m->record.permanent.len || m->record.seq > INT64_MAX))
        err = vt_fail(why, VT_EDAMAGED, "its record carries no permanent state");
    return err;
}

int moving_decode(struct moving *moving, const uint8_t *in, size_t len, struct vt_why *why)
{
    struct rd r = rd_from(in, len);
    int err;

    memset(moving, 0, sizeof *moving);
    err = get_contents(moving, &r, why);
    if (err)
        moving_free(moving);
    return err;
}

/* ---- What stands around them ---- */

static void put_head(struct wr *w, const struct bundle_head *head)
{
    wr_put32(w, MAGIC);
    wr_put16(w, VERSION);
    wr_put16(w, 0);
    wr_copy(w, head->id, sizeof head->id);
    wr_copy(w, head->source.bytes, sizeof head->source.bytes);
    wr_copy(w, head->target.bytes, sizeof head->target.bytes);
    wr_put64(w, (uint64_t)head->time);
    wr_copy(w, head->ephemeral, sizeof head->ephemeral);
    wr_put32(w, head->sealed_len);
}

/* Key and nonce of this bundle alone: the ephemeral key is used once. */
struct box {
    struct vt_key key;
    uint8_t nonce[CR_GCM_NONCE];
};

static void box_wipe(struct box *box)
{
    vt_wipe(box, sizeof *box);
}

static int make_box(struct box *box, const struct vt_key *secret, const uint8_t their[CR_EC_PUBLIC],
                    const uint8_t head[HEAD_LEN], const uint8_t target[CR_EC_PUBLIC])
{
    struct cr_slice slices[] = {CR_SLICE(head, HEAD_LEN), CR_SLICE(target, CR_EC_PUBLIC)};
    uint8_t salt[CR_SHA256_LEN], derived[sizeof box->key + sizeof box->nonce];
    VT_SECRET_KEY shared = {{0}};
    int err = cr_ec_agree(secret, their, &shared);

    if (err)
        return err;
    cr_sha256v(salt, slices, VT_COUNT(slices));
    err = cr_hkdf(derived, sizeof derived, shared.bytes, sizeof shared.bytes, salt, sizeof salt,
                  "vtpm-server bundle 1");
    memcpy(&box->key, derived, sizeof box->key);
    memcpy(box->nonce, derived + sizeof box->key, sizeof box->nonce);
    vt_wipe(derived, sizeof derived);
    return err;
}

/* All but the signature itself. */
static void digest_of(uint8_t digest[CR_SHA256_LEN], const uint8_t *in, size_t len)
{
    static const char label[] = "vtpm-server bundle signature 1";
    struct cr_slice slices[] = {CR_SLICE(label, sizeof label - 1), CR_SLICE(in, len - CR_EC_SIGNATURE)};

    cr_sha256v(digest, slices, VT_COUNT(slices));
}

/* out holds HEAD_LEN, the contents, and REST_LEN. */
static int fill(uint8_t *out, size_t len, struct bundle_head *head, const struct vt_key *own,
                const uint8_t target[CR_EC_PUBLIC], const uint8_t *contents)
{
    uint8_t *sealed = out + HEAD_LEN, digest[CR_SHA256_LEN];
    struct wr w = wr_to(out, HEAD_LEN);
    VT_SECRET_KEY ephemeral = {{0}};
    VT_CLEANUP(box_wipe) struct box box = {0};
    int err = cr_ec_generate(&ephemeral, head->ephemeral);

    if (err)
        return err;
    put_head(&w, head);
    assert(!w.bad && w.len == HEAD_LEN);
    err = make_box(&box, &ephemeral, target, out, target);
    if (!err)
        err = cr_gcm_seal(&box.key, box.nonce, out, HEAD_LEN, contents, head->sealed_len, sealed,
                          sealed + head->sealed_len);
    if (err)
        return err;
    digest_of(digest, out, len);
    return cr_ec_sign(own, digest, out + len - CR_EC_SIGNATURE);
}

int bundle_make(const struct bundle_head *head, const struct vt_key *own, const uint8_t target[CR_EC_PUBLIC],
                const struct moving *moving, uint8_t **out, size_t *len)
{
    struct bundle_head full = *head;
    uint8_t *contents;
    size_t contents_len;
    int err = moving_encode(moving, &contents, &contents_len);

    *out = NULL;
    *len = 0;
    if (err)
        return err;
    full.sealed_len = (uint32_t)contents_len;
    *len = HEAD_LEN + contents_len + REST_LEN;
    *out = vt_calloc(1, *len);
    err = *out ? fill(*out, *len, &full, own, target, contents) : VT_ENOMEM;
    vt_free_wiped(contents, contents_len);
    if (err) {
        vt_free(*out);
        *out = NULL;
    }
    return err;
}

int bundle_read(struct bundle_head *head, const uint8_t *in, size_t len, struct vt_why *why)
{
    struct rd r = rd_from(in, len);
    uint32_t magic = rd_get32(&r);
    unsigned version = rd_get16(&r), zeros = rd_get16(&r);

    memset(head, 0, sizeof *head);
    if (r.bad || magic != MAGIC)
        return vt_fail(why, VT_EDAMAGED, "this is no exported instance: `vtpmctl instance export` makes one");
    if (version != VERSION)
        return vt_fail(why, VT_EDAMAGED, "the exported instance is of version %u; this server knows %d", version,
                       VERSION);
    rd_copy(&r, head->id, sizeof head->id);
    rd_copy(&r, head->source.bytes, sizeof head->source.bytes);
    rd_copy(&r, head->target.bytes, sizeof head->target.bytes);
    head->time = (int64_t)rd_get64(&r);
    rd_copy(&r, head->ephemeral, sizeof head->ephemeral);
    head->sealed_len = rd_get32(&r);
    if (r.bad || zeros || head->time < 0 || head->sealed_len > BUNDLE_CONTENTS_MAX ||
        r.left != head->sealed_len + REST_LEN) {
        memset(head, 0, sizeof *head);
        return vt_fail(why, VT_EDAMAGED, "the exported instance is cut short or was altered: export it again, to the "
                                         "same peer");
    }
    return VT_OK;
}

int bundle_verify(const uint8_t *in, size_t len, const uint8_t source[CR_EC_PUBLIC], struct vt_why *why)
{
    uint8_t digest[CR_SHA256_LEN];
    int err = len > REST_LEN ? VT_OK : VT_EDAMAGED;

    if (err)
        return err;
    digest_of(digest, in, len);
    err = cr_ec_verify(source, digest, in + len - CR_EC_SIGNATURE);
    if (err != VT_ECRYPTO)
        return err;
    return vt_fail(why, VT_EAUTH, "its signature is not that of the store it names: it was altered, or the source has "
                                  "another key than the one added here");
}

int bundle_open(const struct bundle_head *head, const uint8_t *in, size_t len, const struct vt_key *own,
                struct moving *moving, struct vt_why *why)
{
    const uint8_t *sealed = in + HEAD_LEN;
    uint8_t target[CR_EC_PUBLIC], *contents;
    VT_CLEANUP(box_wipe) struct box box = {0};
    int err = cr_ec_public(own, target);

    if (!err && len != HEAD_LEN + (size_t)head->sealed_len + REST_LEN)
        err = VT_EDAMAGED; /* not what bundle_read has seen */
    if (!err)
        err = make_box(&box, own, head->ephemeral, in, target);
    contents = err ? NULL : vt_calloc(1, head->sealed_len ? head->sealed_len : 1);
    if (!err && !contents)
        return VT_ENOMEM;
    if (!err)
        err = cr_gcm_open(&box.key, box.nonce, in, HEAD_LEN, sealed, head->sealed_len, sealed + head->sealed_len,
                          contents);
    if (!err)
        err = moving_decode(moving, contents, head->sealed_len, why);
    else if (err == VT_ECRYPTO)
        err = vt_fail(why, VT_EKEY, "it does not open with this store's key: was it made for an older key?");
    vt_free_wiped(contents, head->sealed_len);
    return err;
}

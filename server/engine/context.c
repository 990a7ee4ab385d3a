/* SPDX-License-Identifier: Apache-2.0 */
#include "server/engine/context.h"

#include "server/engine/context_resource.h"

#define SENSITIVE_MAX 1024 /* a key of 2048 bits and its frame: about 700 */
#define BLOB_MAX      (SENSITIVE_MAX + 128)
#define IV_LEN        16
#define COUNT_MOST    0xFFFFFFFFu

/* ---- Nonces and counts ---- */

static uint8_t *nonce_of(struct tpm *tpm, enum context_life life, bool is_session)
{
    static const uint8_t none[TPM_NONCE_LEN];
    uint8_t *nonce = tpm->stclear.context_nonce_key;

    if (life == CONTEXT_11)
        nonce = tpm->stany.context_nonce_11;
    else if (is_session)
        nonce = tpm->stany.context_nonce_session;
    if (!memcmp(nonce, none, sizeof none))
        tpm_random(tpm, nonce, TPM_NONCE_LEN);
    return nonce;
}

static uint32_t *count_find(struct tpm *tpm, uint32_t count)
{
    for (size_t i = 0; i < tpm->perm.profile.saved_contexts; i++)
        if (tpm->stany.context_list[i] == count)
            return &tpm->stany.context_list[i];
    return NULL;
}

static bool *is_11(struct tpm *tpm, const uint32_t *place)
{
    return &tpm->stany.context_is_11[place - tpm->stany.context_list];
}

/* 21.2 action 10.b: the next count in a free place. */
static tpm_rc count_take(struct tpm *tpm, enum context_life life, uint32_t *count)
{
    uint32_t *place = count_find(tpm, 0);

    if (tpm->stany.context_count == COUNT_MOST)
        return TPM_TOOMANYCONTEXTS;
    if (!place)
        return TPM_NOCONTEXTSPACE;
    *place = *count = ++tpm->stany.context_count;
    *is_11(tpm, place) = life == CONTEXT_11;
    return TPM_SUCCESS;
}

bool context_forget(struct tpm *tpm, uint32_t count)
{
    uint32_t *place = count ? count_find(tpm, count) : NULL;

    if (!place)
        return false;
    *is_11(tpm, place) = false;
    *place = 0;
    tpm->dirty |= TPM_DIRTY_VOLATILE;
    return true;
}

void context_forget_11(struct tpm *tpm)
{
    for (size_t i = 0; i < SAVED_CONTEXTS_MAX; i++)
        if (tpm->stany.context_is_11[i])
            (void)context_forget(tpm, tpm->stany.context_list[i]);
    memset(tpm->stany.context_nonce_11, 0, TPM_NONCE_LEN);
    tpm->dirty |= TPM_DIRTY_VOLATILE;
}

/* ---- The blob ---- */

/* contextKey is chosen anew with every owner; each use has its own key from it. */
static void derive(const struct tpm *tpm, const char *use, struct vt_auth *out)
{
    const struct vt_auth *key = &tpm->perm.context_key;

    cr_hmac_sha1v(out->bytes, key->bytes, sizeof key->bytes, &CR_SLICE(use, strlen(use)), 1);
}

/* 21.2 action 11: HMAC of the blob with its sensitive part in the clear and no digest. */
static void integrity(const struct tpm *tpm, const struct tpm_context_blob *blob,
                      const struct tpm_blob *clear, uint8_t out[TPM_DIGEST_LEN])
{
    const struct vt_auth *proof = &tpm->perm.tpm_proof;
    struct tpm_context_blob bare = *blob;
    uint8_t bytes[BLOB_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);

    bare.integrity_digest = (struct tpm_digest){{0}};
    bare.sensitive_data = *clear;
    wr_context_blob(&w, &bare);
    cr_hmac_sha1v(out, proof->bytes, sizeof proof->bytes, &CR_SLICE(bytes, w.len), 1);
    vt_wipe(bytes, sizeof bytes);
}

static void seal_tag(const struct tpm *tpm, const struct tpm_blob *iv, const void *enc, size_t len,
                     uint8_t out[TPM_DIGEST_LEN])
{
    VT_SECRET_AUTH key = {{0}};

    derive(tpm, "context integrity", &key);
    cr_hmac_sha1v(out, key.bytes, sizeof key.bytes,
                  (struct cr_slice[]){CR_SLICE(iv->data, iv->len), CR_SLICE(enc, len)}, 2);
}

static tpm_rc crypt(const struct tpm *tpm, const struct tpm_blob *iv, const uint8_t *in, size_t len,
                    uint8_t *out)
{
    VT_SECRET_AUTH key = {{0}};

    derive(tpm, "context secrecy", &key);
    return cmd_crypto_rc(cr_aes128_ctr(key.bytes, iv->data, in, len, out), TPM_FAIL);
}

/* ---- Saving ---- */

/* Actions 6-7: TPM_CONTEXT_SENSITIVE. */
static tpm_rc write_sensitive(struct cmd *c, const struct resource *resource, uint32_t handle,
                              const uint8_t nonce[TPM_NONCE_LEN], struct wr *w)
{
    struct tpm_context_sensitive sensitive = {.internal_data = {0}};
    uint8_t bytes[SENSITIVE_MAX];
    struct fz f = {.w = wr_to(bytes, sizeof bytes)};
    tpm_rc rc = resource_save(resource, c->tpm, handle, &f);

    if (!rc && (f.bad || f.w.bad))
        rc = TPM_SIZE;
    if (!rc) {
        memcpy(sensitive.context_nonce.bytes, nonce, TPM_NONCE_LEN);
        sensitive.internal_data = (struct tpm_blob){.len = (uint32_t)f.w.len, .data = bytes};
        wr_context_sensitive(w, &sensitive);
        rc = w->bad ? TPM_SIZE : TPM_SUCCESS;
    }
    vt_wipe(bytes, sizeof bytes);
    return rc;
}

/* Actions 11-14, into the arena. */
static tpm_rc write_blob(struct cmd *c, struct tpm_context_blob *blob, const struct tpm_blob *clear,
                         struct tpm_blob *out)
{
    uint8_t *bytes = cmd_alloc(c, BLOB_MAX), *enc = cmd_alloc(c, clear->len + TPM_DIGEST_LEN);
    struct wr w = wr_to(bytes, BLOB_MAX);
    tpm_rc rc;

    if (!bytes || !enc)
        return TPM_SIZE;
    integrity(c->tpm, blob, clear, blob->integrity_digest.bytes);
    rc = crypt(c->tpm, &blob->additional_data, clear->data, clear->len, enc);
    if (rc)
        return rc;
    seal_tag(c->tpm, &blob->additional_data, enc, clear->len, enc + clear->len);
    blob->sensitive_data = (struct tpm_blob){.len = clear->len + TPM_DIGEST_LEN, .data = enc};
    wr_context_blob(&w, blob);
    *out = (struct tpm_blob){.len = (uint32_t)w.len, .data = bytes};
    return w.bad ? TPM_SIZE : TPM_SUCCESS;
}

tpm_rc context_save(struct cmd *c, enum context_life life, uint32_t type, uint32_t handle,
                    const struct tpm_bytes16 *label, struct tpm_blob *out)
{
    const struct resource *resource = resource_find(type);
    struct tpm_context_blob blob = {.resource_type = type, .handle = handle, .label = *label};
    uint8_t clear[SENSITIVE_MAX], iv[IV_LEN];
    struct wr w = wr_to(clear, sizeof clear);
    struct tpm_blob sensitive;
    tpm_rc rc;

    /* 2-3. */
    if (!resource)
        return TPM_INVALID_RESOURCE;
    /* 4-8. */
    rc = write_sensitive(c, resource, handle, nonce_of(c->tpm, life, resource_is_session(resource)), &w);
    if (!rc && resource_is_session(resource))
        rc = count_take(c->tpm, life, &blob.context_count);
    if (rc) {
        vt_wipe(clear, sizeof clear);
        return rc;
    }
    tpm_random(c->tpm, iv, sizeof iv);
    blob.additional_data = (struct tpm_blob){.len = sizeof iv, .data = iv};
    sensitive = (struct tpm_blob){.len = (uint32_t)w.len, .data = clear};
    rc = write_blob(c, &blob, &sensitive, out);
    vt_wipe(clear, sizeof clear);
    /* 10.c. */
    if (!rc)
        resource_end(resource, c->tpm, handle);
    if (rc)
        (void)context_forget(c->tpm, blob.context_count);
    return rc;
}

/* ---- Loading ---- */

/* Actions 3 and 6: is it what was saved? clear holds SENSITIVE_MAX, len its length out. */
static tpm_rc open_blob(const struct tpm *tpm, const struct tpm_context_blob *blob, uint8_t *clear,
                        uint32_t *len)
{
    const struct tpm_blob *enc = &blob->sensitive_data;
    uint8_t digest[TPM_DIGEST_LEN];
    struct tpm_blob plain;
    tpm_rc rc;

    if (enc->len < TPM_DIGEST_LEN || enc->len > SENSITIVE_MAX || blob->additional_data.len != IV_LEN)
        return TPM_DECRYPT_ERROR;
    *len = enc->len - TPM_DIGEST_LEN;
    seal_tag(tpm, &blob->additional_data, enc->data, *len, digest);
    if (!vt_ct_equal(digest, enc->data + *len, sizeof digest))
        return TPM_DECRYPT_ERROR;
    rc = crypt(tpm, &blob->additional_data, enc->data, *len, clear);
    if (rc)
        return rc;
    plain = (struct tpm_blob){.len = *len, .data = clear};
    integrity(tpm, blob, &plain, digest);
    return vt_ct_equal(digest, blob->integrity_digest.bytes, sizeof digest) ? TPM_SUCCESS : TPM_BADCONTEXT;
}

static tpm_rc load_resource(struct cmd *c, const struct resource *resource,
                            const struct tpm_context_blob *blob, const struct context_wish *wish,
                            const uint8_t *clear, uint32_t len)
{
    struct tpm *tpm = c->tpm;
    struct context_return back = {.wish = wish, .handle = blob->handle};
    struct rd r = rd_from(clear, len);
    struct tpm_context_sensitive sensitive;
    struct fz f = {.thaw = true};
    tpm_rc rc;

    /* 4. */
    rd_context_sensitive(&r, &sensitive);
    if (rd_result(&r))
        return TPM_BADCONTEXT;
    /* 5, 9. */
    back.fresh = !memcmp(sensitive.context_nonce.bytes,
                         nonce_of(tpm, wish->life, resource_is_session(resource)), TPM_NONCE_LEN);
    if (resource_is_session(resource) && (!blob->context_count || !count_find(tpm, blob->context_count)))
        return TPM_BADCONTEXT;
    /* 10-11. */
    f.r = rd_from(sensitive.internal_data.data, sensitive.internal_data.len);
    rc = resource_load(resource, tpm, &f, &back);
    if (rc)
        return rc;
    if (resource_is_session(resource))
        (void)context_forget(tpm, blob->context_count);
    c->out_handle = back.handle;
    return TPM_SUCCESS;
}

tpm_rc context_load(struct cmd *c, const struct context_wish *wish, const struct tpm_blob *in)
{
    const struct resource *resource;
    struct rd r = rd_from(in->data, in->len);
    struct tpm_context_blob blob;
    uint8_t clear[SENSITIVE_MAX] = {0};
    uint32_t len;
    tpm_rc rc;

    /* 1. */
    rd_context_blob(&r, &blob);
    rc = rd_result(&r);
    if (rc)
        return rc;
    if (wish->type && blob.resource_type != wish->type)
        return TPM_BAD_PARAMETER;
    resource = resource_find(blob.resource_type);
    if (!resource)
        return TPM_INVALID_RESOURCE;
    rc = open_blob(c->tpm, &blob, clear, &len);
    if (!rc)
        rc = load_resource(c, resource, &blob, wish, clear, len);
    vt_wipe(clear, sizeof clear);
    return rc;
}

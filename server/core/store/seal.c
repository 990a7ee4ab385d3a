/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/store/seal.h"

#include <assert.h>

#include "server/wire/cursor.h"

/* Fixed layout, so that no two names give the same bytes: label, store, instance, kind, seq. */
#define LABEL "vtpm-server:seal"
#define AD_LEN (16 + 16 + 16 + 4 + 8)
#define NONCES_AHEAD 32

static void name_bytes(uint8_t out[AD_LEN], const struct seal_name *name)
{
    struct wr w = wr_to(out, AD_LEN);

    wr_copy(&w, LABEL, 16);
    wr_copy(&w, name->store.bytes, sizeof name->store.bytes);
    wr_copy(&w, name->instance.bytes, sizeof name->instance.bytes);
    wr_put32(&w, (uint32_t)name->kind);
    wr_put64(&w, name->seq);
    assert(!w.bad && w.len == AD_LEN);
}

/*
 * A system call for each nonce is a third of what sealing a small record takes; so a thread draws some ahead. They are
 * no secret: each stands in front of what was sealed with it. No two are the same, also not after a fork: whatever
 * forks here executes another program.
 */
static int fresh_nonce(uint8_t out[CR_GCM_NONCE])
{
    static _Thread_local struct {
        uint8_t bytes[NONCES_AHEAD][CR_GCM_NONCE];
        size_t left;
    } ahead;

    if (!ahead.left) {
        int err = cr_os_random(ahead.bytes, sizeof ahead.bytes);

        if (err)
            return err;
        ahead.left = NONCES_AHEAD;
    }
    memcpy(out, ahead.bytes[--ahead.left], CR_GCM_NONCE);
    return VT_OK;
}

int seal(const struct vt_key *key, const struct seal_name *name, const void *in, size_t len, uint8_t *out,
         uint8_t tag[CR_GCM_TAG])
{
    uint8_t ad[AD_LEN];
    int err = fresh_nonce(out);

    if (err)
        return err;
    name_bytes(ad, name);
    return cr_gcm_seal(key, out, ad, sizeof ad, in, len, out + CR_GCM_NONCE, tag);
}

int unseal(const struct vt_key *key, const struct seal_name *name, const void *in, size_t len,
           const uint8_t tag[CR_GCM_TAG], uint8_t *out)
{
    const uint8_t *bytes = in;
    uint8_t ad[AD_LEN];
    int err;

    if (len < SEAL_OVERHEAD)
        return VT_EDAMAGED;
    name_bytes(ad, name);
    err = cr_gcm_open(key, bytes, ad, sizeof ad, bytes + CR_GCM_NONCE, len - SEAL_OVERHEAD, tag, out);
    return err == VT_ECRYPTO ? VT_EDAMAGED : err;
}

int seal_key(const struct vt_key *key, const struct seal_name *name, const struct vt_key *in, uint8_t out[SEAL_KEY_LEN])
{
    return seal(key, name, in->bytes, sizeof in->bytes, out, out + SEAL_OVERHEAD + sizeof in->bytes);
}

int unseal_key(const struct vt_key *key, const struct seal_name *name, const uint8_t *in, size_t len, struct vt_key *out)
{
    size_t sealed_len = SEAL_KEY_LEN - CR_GCM_TAG;

    if (len != SEAL_KEY_LEN)
        return VT_EDAMAGED;
    return unseal(key, name, in, sealed_len, in + sealed_len, out->bytes);
}

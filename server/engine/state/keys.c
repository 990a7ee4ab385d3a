/* SPDX-License-Identifier: Apache-2.0 */
/* Keys, frozen. */
#include "server/engine/freeze.h"

#define MODULUS_MIN 64

static void walk_rsa(struct fz *f, struct cr_rsa_key *rsa)
{
    fz_u16(f, &rsa->pub.bytes);
    fz_need(f, rsa->pub.bytes >= MODULUS_MIN && rsa->pub.bytes <= CR_RSA_MAX && rsa->pub.bytes % 2 == 0);
    if (f->bad)
        return;
    fz_u32(f, &rsa->pub.e);
    fz_bytes(f, rsa->pub.n, rsa->pub.bytes);
    fz_bytes(f, rsa->p, rsa->pub.bytes / 2u);
    fz_need(f, rsa->pub.n[0] & 0x80 || f->r.bad);
}

static void walk_object(struct fz *f, struct tpm_key_obj *key)
{
    uint8_t digest[CR_SHA1_LEN];

    fz_bool(f, &key->is_key12);
    fz_u8(f, &key->auth_data_usage);
    fz_u8(f, &key->payload);
    fz_u8(f, &key->exponent_len);
    fz_bytes(f, key->exponent, sizeof key->exponent);
    fz_u16(f, &key->usage);
    fz_u16(f, &key->enc_scheme);
    fz_u16(f, &key->sig_scheme);
    fz_u32(f, &key->flags);
    fz_u8(f, &key->pcr_info_len);
    fz_need(f, key->exponent_len <= sizeof key->exponent && key->pcr_info_len <= sizeof key->pcr_info);
    if (f->bad)
        return;
    fz_bytes(f, key->pcr_info, key->pcr_info_len);
    fz_auth(f, &key->usage_auth);
    fz_auth(f, &key->migration_auth);
    fz_bytes(f, key->pub_digest, sizeof key->pub_digest);
    walk_rsa(f, &key->rsa);
    if (!f->thaw || f->bad || f->r.bad)
        return;
    /* The digest names the key to sessions: it must be its own. */
    key_pub_digest(key, digest);
    fz_need(f, !memcmp(digest, key->pub_digest, sizeof digest));
}

void fz_key(struct fz *f, struct key_slot *slot)
{
    fz_u32(f, &slot->handle);
    fz_bool(f, &slot->parent_pcr_status);
    walk_object(f, &slot->key);
}

/* ---- Slots ---- */

static bool handle_good(const struct tpm *tpm, uint32_t at)
{
    uint32_t handle = tpm->keys[at].handle;

    if (!handle || key_handle_reserved(handle))
        return false;
    for (uint32_t i = 0; i < KEY_SLOTS_MAX; i++)
        if (i != at && tpm->keys[i].handle == handle)
            return false;
    return true;
}

static void walk_slot(struct fz *f, struct tpm *tpm, uint32_t at)
{
    fz_key(f, &tpm->keys[at]);
    fz_need(f, handle_good(tpm, at));
}

static void walk_owner_slot(struct fz *f, struct tpm *tpm, uint32_t at)
{
    tpm->keys[at].owner_evict = true;
    walk_slot(f, tpm, at);
}

/* While thawing, `used` also has to see what the other table put there: a slot is free only if it is free. */
static bool loaded_used(struct tpm *tpm, uint32_t at)
{
    return tpm->keys[at].handle && !tpm->keys[at].owner_evict;
}

static bool owner_used(struct tpm *tpm, uint32_t at)
{
    return tpm->keys[at].handle && tpm->keys[at].owner_evict;
}

static bool saved_used(struct tpm *tpm, uint32_t at)
{
    return loaded_used(tpm, at) && !(tpm->keys[at].key.flags & TPM_VOLATILE);
}

static uint32_t keys_of_owner(struct tpm *tpm)
{
    uint32_t count = 0;

    for (uint32_t at = 0; at < KEY_SLOTS_MAX; at++)
        count += owner_used(tpm, at);
    return count;
}

/* A volatile key must not sit where the owner's keys are. */
static void walk_free_slot(struct fz *f, struct tpm *tpm, uint32_t at)
{
    fz_need(f, !f->thaw || !tpm->keys[at].handle);
    if (!f->bad)
        walk_slot(f, tpm, at);
}

static void walk_table(struct fz *f, struct tpm *tpm, bool (*used)(struct tpm *tpm, uint32_t at))
{
    struct fz_table table = {
        .slots = KEY_SLOTS_MAX,
        .most = tpm->perm.profile.key_slots - VT_MIN(keys_of_owner(tpm), tpm->perm.profile.key_slots),
        .used = used,
        .walk = walk_free_slot,
    };

    fz_table(f, tpm, &table);
}

void fz_loaded_keys(struct fz *f, struct tpm *tpm)
{
    walk_table(f, tpm, loaded_used);
}

void fz_saved_keys(struct fz *f, struct tpm *tpm)
{
    walk_table(f, tpm, saved_used);
}

void fz_owner_keys(struct fz *f, struct tpm *tpm)
{
    struct fz_table table = {
        .slots = KEY_SLOTS_MAX,
        .most = tpm->perm.profile.owner_evict_slots,
        .used = owner_used,
        .walk = walk_owner_slot,
    };

    fz_table(f, tpm, &table);
}

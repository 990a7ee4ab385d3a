/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys in libtpms' state: TPM_KEY or TPM_KEY12 with, where encData would be, the TPM_STORE_ASYMKEY in the clear. The
 * endorsement key is shorter: no pcrInfo, and of its private part the digest and the prime only.
 */
#include "server/engine/swtpm/reader.h"

#define KEY_CONTROL_OWNER_EVICT 0x00000001u

/* Does it work? What divides the modulus stays, ready for use. */
static void load(struct sw *s, struct key_slot *slot, const struct tpm_blob *prime, size_t at, const char *field)
{
    struct cr_rsa_key *rsa = &slot->key.rsa;
    int err;

    if (sw_bad(s))
        return;
    if (prime->len != rsa->pub.bytes / 2u) {
        sw_refuse(s, VT_EDAMAGED, at, field, "its prime has %u bytes, and its modulus %u", prime->len, rsa->pub.bytes);
        return;
    }
    memcpy(rsa->p, prime->data, prime->len);
    err = cr_rsa_load(&slot->rsa, rsa);
    if (err)
        sw_refuse(s, err == VT_ENOMEM ? err : VT_EDAMAGED, at, field, "its prime does not belong to its modulus");
}

/* ---- The endorsement key ---- */

static void take_ek(struct sw *s, struct tpm *tpm, const struct tpm_pubkey *pub, const struct tpm_blob *prime, size_t at)
{
    struct key_slot slot = {.handle = TPM_KH_EK};
    tpm_rc rc = key_rsa_pub(&slot.key.rsa.pub, pub);

    if (rc)
        sw_refuse(s, VT_EDAMAGED, at, "endorsementKey", "its public half is none (TPM error 0x%x)", (unsigned)rc);
    load(s, &slot, prime, at, "endorsementKey");
    if (!sw_bad(s)) {
        tpm_set_ek(tpm, &slot.key.rsa);
        tpm->perm.ek.rsa = slot.rsa;
        slot.rsa = NULL;
    }
    cr_rsa_free(slot.rsa);
    vt_wipe(&slot, sizeof slot);
}

void swtpm_ek(struct sw *s, struct tpm *tpm)
{
    struct tpm_struct_ver version;
    struct tpm_pubkey pub;
    struct tpm_digest unused;
    struct tpm_blob private, prime;
    struct rd r;
    size_t at = sw_at(s);

    rd_struct_ver(&s->r, &version);
    if (version.major != 1 || version.minor != 1)
        sw_refuse(s, VT_ENOTSUP, at, "endorsementKey", "version %u.%u, and this server knows 1.1", version.major,
                  version.minor);
    (void)sw_u16(s, "endorsementKey");  /* keyUsage, */
    (void)sw_u32(s, "endorsementKey");  /* keyFlags, */
    (void)sw_u8(s, "endorsementKey");   /* authDataUsage: tpm_set_ek knows what they are */
    rd_pubkey(&s->r, &pub);
    rd_blob32(&s->r, &private);
    sw_check(s, at, "endorsementKey");
    if (sw_bad(s) || (!pub.pub_key.len && !private.len))
        return;
    r = rd_from(private.data, private.len);
    rd_digest(&r, &unused);
    rd_blob32(&r, &prime);
    if (!rd_done(&r))
        sw_refuse(s, VT_EDAMAGED, at, "endorsementKey", "its private part of %u bytes is none", private.len);
    take_ek(s, tpm, &pub, &prime, at);
}

/* ---- The storage root key and those of the owner ---- */

static void take_private(struct sw *s, struct key_slot *slot, const struct tpm_blob *bytes, size_t at, const char *field)
{
    struct tpm_store_asymkey store;
    struct rd r = rd_from(bytes->data, bytes->len);

    rd_store_asymkey(&r, &store);
    if (rd_result(&r) || !key_payload_loadable(store.payload))
        sw_refuse(s, VT_EDAMAGED, at, field, "its private part of %u bytes is none", bytes->len);
    else if (!vt_ct_equal(store.pub_data_digest.bytes, slot->key.pub_digest, sizeof slot->key.pub_digest))
        sw_refuse(s, VT_EDAMAGED, at, field, "its private part belongs to another key");
    load(s, slot, &store.priv_key, at, field);
    slot->key.payload = store.payload;
    slot->key.usage_auth = store.usage_auth;
    slot->key.migration_auth = store.migration_auth;
    vt_wipe(&store, sizeof store);
}

/* false: there is none, or it was refused. */
static bool read_key(struct sw *s, struct key_slot *slot, const char *field)
{
    struct tpm_key key;
    size_t at = sw_at(s);
    tpm_rc rc;

    rd_key(&s->r, &key);
    sw_check(s, at, field);
    if (sw_bad(s) || (!key.pub_key.len && !key.enc_data.len))
        return false;
    rc = key_from_wire(&slot->key, &key);
    if (rc || !key.pub_key.len)
        sw_refuse(s, VT_EDAMAGED, at, field, "its public half is none (TPM error 0x%x)", (unsigned)rc);
    if (!sw_bad(s))
        take_private(s, slot, &key.enc_data, at, field);
    return !sw_bad(s);
}

void swtpm_srk(struct sw *s, struct tpm *tpm, bool *is_there)
{
    struct key_slot *srk = &tpm->perm.srk;
    size_t at = sw_at(s);

    *is_there = read_key(s, srk, "srk");
    srk->handle = TPM_KH_SRK;
    if (*is_there && srk->key.usage != TPM_KEY_STORAGE)
        sw_refuse(s, VT_EDAMAGED, at, "srk", "its usage is 0x%04x, not that of a storage key", srk->key.usage);
}

static void read_owner_key(struct sw *s, struct tpm *tpm, unsigned which)
{
    struct key_slot *slot = &tpm->keys[which];
    size_t at = sw_at(s);
    uint32_t handle = sw_u32(s, "an owner's key"), control;

    if (!sw_bad(s) && (!handle || key_handle_reserved(handle) || key_find(tpm, handle)))
        sw_refuse(s, VT_EDAMAGED, at, "an owner's key", "its handle 0x%08x is reserved or there twice", handle);
    if (!read_key(s, slot, "an owner's key"))
        sw_refuse(s, VT_EDAMAGED, at, "an owner's key", "there is none");
    slot->parent_pcr_status = sw_bool(s, "an owner's key");
    control = sw_u32(s, "an owner's key");
    if (control != KEY_CONTROL_OWNER_EVICT)
        sw_refuse(s, VT_EDAMAGED, at, "an owner's key", "its keyControl is 0x%08x, not that of one that the owner keeps",
                  control);
    slot->handle = handle;
    slot->owner_evict = true;
}

void swtpm_owner_keys(struct sw *s, struct tpm *tpm)
{
    size_t at = sw_at(s);
    unsigned count = sw_u16(s, "the owner's keys");

    if (count > tpm->perm.profile.owner_evict_slots) {
        sw_refuse(s, VT_EUSAGE, at, "the owner's keys", "there are %u, and the profile's owner_evict_slots is %u: import it "
                  "with a --profile that has room", count, tpm->perm.profile.owner_evict_slots);
        return;
    }
    for (unsigned i = 0; i < count && !sw_bad(s); i++)
        read_owner_key(s, tpm, i);
}

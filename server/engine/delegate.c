/* SPDX-License-Identifier: Apache-2.0 */
#include "server/engine/delegate.h"

#include "server/engine/auth.h"

#define BLOB_MAX      512 /* about 140 */
#define SENSITIVE_LEN (2 + TPM_DIGEST_LEN)
#define IV_LEN        16
#define FOREIGN_LEN   32 /* SENSITIVE_LEN, padded to blocks of AES */
#define TABLES_MAX    4096

/* ---- Families and rows ---- */

struct tpm_family_table_entry *family_find(struct tpm *tpm, uint32_t family_id)
{
    for (size_t i = 0; i < tpm->perm.profile.family_rows; i++)
        if (tpm->perm.families[i].used && tpm->perm.families[i].entry.family_id == family_id)
            return &tpm->perm.families[i].entry;
    return NULL;
}

tpm_rc family_check(struct tpm *tpm, const struct tpm_delegate_public *pub)
{
    const struct tpm_family_table_entry *family = family_find(tpm, pub->family_id);

    if (!family)
        return TPM_BADINDEX;
    if (!(family->flags & TPM_FAMFLAG_ENABLED))
        return TPM_DISABLED_CMD;
    return pub->verification_count == family->verification_count ? TPM_SUCCESS : TPM_FAMILYCOUNT;
}

struct delegate_row *delegate_row_find(struct tpm *tpm, uint32_t index)
{
    struct delegate_row *row = index < tpm->perm.profile.delegate_rows ? &tpm->perm.delegates[index] : NULL;

    return row && row->used ? row : NULL;
}

void delegate_tables_changed(struct tpm *tpm)
{
    session_close_delegated(tpm);
    tpm->stclear.owner_reference = TPM_KH_OWNER;
    tpm->dirty |= TPM_DIRTY_PERMANENT | TPM_DIRTY_VOLATILE;
}

static void write_tables(struct wr *w, const struct tpm *tpm)
{
    for (size_t i = 0; i < FAMILY_ROWS_MAX; i++)
        if (tpm->perm.families[i].used)
            wr_family_table_entry(w, &tpm->perm.families[i].entry);
    for (uint32_t i = 0; i < DELEGATE_ROWS_MAX; i++) {
        if (!tpm->perm.delegates[i].used)
            continue;
        wr_put32(w, i);
        wr_delegate_public(w, &tpm->perm.delegates[i].pub);
        wr_authdata(w, &tpm->perm.delegates[i].auth);
    }
    wr_put32(w, tpm->stclear.owner_reference);
}

void delegate_digest(const struct tpm *tpm, uint8_t out[CR_SHA1_LEN])
{
    uint8_t bytes[TABLES_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);

    write_tables(&w, tpm);
    cr_sha1(out, bytes, w.len);
    vt_wipe(bytes, sizeof bytes);
}

/* ---- What is allowed ---- */

/* Part 2, 20.2: which bit of per1 the command needs; 0: it cannot be lent. */
static uint32_t permission(const struct cmd_row *row, uint8_t entity_type)
{
    uint8_t bit = entity_type == TPM_ET_OWNER ? row->owner_bit : row->key_bit;

    return bit ? UINT32_C(1) << (bit - 1) : 0;
}

tpm_rc delegate_permits(const struct cmd *c, const struct tpm_delegate_public *pub, uint8_t entity_type)
{
    uint32_t type = entity_type == TPM_ET_OWNER ? TPM_DEL_OWNER_BITS : TPM_DEL_KEY_BITS;

    if (entity_type != TPM_ET_OWNER && entity_type != TPM_ET_KEYHANDLE)
        return TPM_AUTHFAIL;
    if (pub->permissions.delegate_type != type || !(pub->permissions.per1 & permission(c->row, entity_type)))
        return TPM_AUTHFAIL;
    return pcr_check_release(c, &pub->pcr_info);
}

bool delegate_key_allowed(const struct tpm *tpm, const struct tpm_key_obj *key)
{
    static const struct {
        uint16_t usage;
        uint32_t bit;
    } bits[] = {
        {TPM_KEY_SIGNING, TPM_CMK_DELEGATE_SIGNING}, {TPM_KEY_STORAGE, TPM_CMK_DELEGATE_STORAGE},
        {TPM_KEY_BIND, TPM_CMK_DELEGATE_BIND},       {TPM_KEY_LEGACY, TPM_CMK_DELEGATE_LEGACY},
        {TPM_KEY_MIGRATE, TPM_CMK_DELEGATE_MIGRATE},
    };
    struct rd r = rd_from(tpm->perm.restrict_delegate, sizeof tpm->perm.restrict_delegate);
    uint32_t allowed = rd_get32(&r);

    if (!(key->flags & TPM_MIGRATEAUTHORITY))
        return true;
    for (size_t i = 0; i < VT_COUNT(bits); i++)
        if (bits[i].usage == key->usage)
            return allowed & bits[i].bit;
    return false;
}

/* ---- Blobs ---- */

static void from_owner_blob(struct delegation *d, const struct tpm_delegate_owner_blob *blob)
{
    *d = (struct delegation){
        .pub = blob->pub,
        .integrity = blob->integrity_digest,
        .additional = blob->additional_area,
        .sensitive = blob->sensitive_area,
    };
}

static void from_key_blob(struct delegation *d, const struct tpm_delegate_key_blob *blob)
{
    *d = (struct delegation){
        .is_key = true,
        .pub = blob->pub,
        .integrity = blob->integrity_digest,
        .key_digest = blob->pub_key_digest,
        .additional = blob->additional_area,
        .sensitive = blob->sensitive_area,
    };
}

static void write_blob(struct wr *w, const struct delegation *d)
{
    struct tpm_delegate_owner_blob owner = {d->pub, d->integrity, d->additional, d->sensitive};
    struct tpm_delegate_key_blob key = {d->pub, d->integrity, d->key_digest, d->additional, d->sensitive};

    if (d->is_key)
        wr_delegate_key_blob(w, &key);
    else
        wr_delegate_owner_blob(w, &owner);
}

tpm_rc delegation_read(struct delegation *d, const struct tpm_blob *in)
{
    struct rd r = rd_from(in->data, in->len);
    struct tpm_delegate_owner_blob owner;
    struct tpm_delegate_key_blob key;

    switch (rd_peek16(&r)) {
    case TPM_TAG_DELEGATE_OWNER_BLOB:
        rd_delegate_owner_blob(&r, &owner);
        from_owner_blob(d, &owner);
        return rd_result(&r);
    case TPM_TAG_DELG_KEY_BLOB:
        rd_delegate_key_blob(&r, &key);
        from_key_blob(d, &key);
        return rd_result(&r);
    default:
        return TPM_BAD_PARAMETER;
    }
}

/* HMAC under tpmProof of the blob with no digest; false: it is longer than any of ours. */
static bool integrity(const struct tpm *tpm, const struct delegation *d, uint8_t out[CR_SHA1_LEN])
{
    const struct vt_auth *proof = &tpm->perm.tpm_proof;
    struct delegation bare = *d;
    uint8_t bytes[BLOB_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);

    bare.integrity = (struct tpm_digest){{0}};
    write_blob(&w, &bare);
    cr_hmac_sha1v(out, proof->bytes, sizeof proof->bytes, &CR_SLICE(bytes, w.len), 1);
    return !w.bad;
}

bool delegation_is_ours(const struct tpm *tpm, const struct delegation *d)
{
    uint8_t digest[CR_SHA1_LEN];

    return integrity(tpm, d, digest) && vt_ct_equal(digest, d->integrity.bytes, sizeof digest);
}

tpm_rc delegation_write(struct cmd *c, struct delegation *d, struct tpm_blob *out)
{
    uint8_t bytes[BLOB_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);

    if (!integrity(c->tpm, d, d->integrity.bytes))
        return TPM_SIZE;
    write_blob(&w, d);
    return !w.bad && cmd_blob(c, out, bytes, w.len) ? TPM_SUCCESS : TPM_SIZE;
}

/* TPM_DELEGATE_SENSITIVE under a key of its own from delegateKey; encrypts and decrypts. */
static tpm_rc crypt(const struct tpm *tpm, const uint8_t *iv, const uint8_t *in, uint8_t *out)
{
    const struct vt_auth *key = &tpm->perm.delegate_key;
    VT_SECRET_AUTH derived = {{0}};

    cr_hmac_sha1v(derived.bytes, key->bytes, sizeof key->bytes, &CR_SLICE("delegation secrecy", 18), 1);
    return cmd_crypto_rc(cr_aes128_ctr(derived.bytes, iv, in, SENSITIVE_LEN, out), TPM_FAIL);
}

tpm_rc delegation_hide(struct cmd *c, struct delegation *d, const struct vt_auth *secret)
{
    struct tpm_delegate_sensitive sensitive = {.auth_value = *secret};
    uint8_t *iv = cmd_alloc(c, IV_LEN), *bytes = cmd_alloc(c, SENSITIVE_LEN);
    struct wr w = wr_to(bytes, SENSITIVE_LEN);

    if (!iv || !bytes)
        return TPM_SIZE;
    tpm_random(c->tpm, iv, IV_LEN);
    wr_delegate_sensitive(&w, &sensitive);
    vt_auth_wipe(&sensitive.auth_value);
    d->additional = (struct tpm_blob){.len = IV_LEN, .data = iv};
    d->sensitive = (struct tpm_blob){.len = SENSITIVE_LEN, .data = bytes};
    return crypt(c->tpm, iv, bytes, bytes);
}

static bool take_clear(const struct delegation *d, uint8_t bytes[FOREIGN_LEN])
{
    if (d->sensitive.len != SENSITIVE_LEN)
        return false;
    memcpy(bytes, d->sensitive.data, SENSITIVE_LEN);
    return true;
}

static bool show(const struct tpm *tpm, const struct delegation *d, uint8_t bytes[FOREIGN_LEN])
{
    return d->sensitive.len == SENSITIVE_LEN && d->additional.len == IV_LEN &&
           !crypt(tpm, d->additional.data, d->sensitive.data, bytes);
}

/*
 * What libtpms hid before this TPM moved in from it (docs/swtpm-import.md): AES-128-CBC under its delegateKey, which begins
 * ours, from an IV of zeros, with nothing in the additional area. The integrity digest says that it was this TPM.
 */
static bool is_foreign(const struct delegation *d)
{
    return d->sensitive.len == FOREIGN_LEN && !d->additional.len;
}

static bool show_foreign(const struct tpm *tpm, const struct delegation *d, uint8_t bytes[FOREIGN_LEN])
{
    static const uint8_t iv[IV_LEN];
    bool good = !cr_aes_cbc_decrypt(tpm->perm.delegate_key.bytes, 16, iv, d->sensitive.data, FOREIGN_LEN, bytes);

    for (size_t i = SENSITIVE_LEN; good && i < FOREIGN_LEN; i++)
        good = bytes[i] == FOREIGN_LEN - SENSITIVE_LEN;
    return good;
}

bool delegation_secret(const struct tpm *tpm, const struct delegation *d, bool clear, struct vt_auth *out)
{
    struct tpm_delegate_sensitive sensitive;
    uint8_t bytes[FOREIGN_LEN] = {0};
    struct rd r = rd_from(bytes, SENSITIVE_LEN);
    bool good;

    good = clear ? take_clear(d, bytes) : is_foreign(d) ? show_foreign(tpm, d, bytes) : show(tpm, d, bytes);
    rd_delegate_sensitive(&r, &sensitive);
    good = good && !rd_result(&r);
    if (good)
        *out = sensitive.auth_value;
    vt_auth_wipe(&sensitive.auth_value);
    vt_wipe(bytes, sizeof bytes);
    return good;
}

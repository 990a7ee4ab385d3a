/* SPDX-License-Identifier: Apache-2.0 */
#include "server/engine/migration.h"

#define SEED       TPM_DIGEST_LEN
#define PUBKEY_MAX 320 /* a TPM_PUBKEY of 2048 bits is 284; with an exponent, 288 */
#define TICKET_MAX 64

void migrant_wipe(struct migrant *m)
{
    vt_wipe(m, sizeof *m);
}

/* ---- At home: TPM_STORE_ASYMKEY ---- */

static tpm_rc unwrap(struct key_slot *parent, const struct tpm_blob *enc, uint8_t out[CR_RSA_MAX], size_t *len)
{
    return enc->len > parent->key.rsa.pub.bytes ? TPM_BAD_DATASIZE : key_unwrap_blob(parent, enc, out, len);
}

tpm_rc migrant_open(struct key_slot *parent, const struct tpm_blob *enc, struct migrant *out)
{
    size_t len = 0;
    tpm_rc rc = unwrap(parent, enc, out->bytes, &len);
    struct rd r = rd_from(out->bytes, len);

    if (rc)
        return rc;
    rd_store_asymkey(&r, &out->store);
    return rd_result(&r) || !key_payload_loadable(out->store.payload) ? TPM_INVALID_STRUCTURE : TPM_SUCCESS;
}

tpm_rc migrant_wrap(struct cmd *c, const struct tpm_key_obj *parent, const struct migrant *m, struct tpm_blob *out)
{
    uint8_t plain[CR_RSA_MAX], *enc = cmd_alloc(c, CR_RSA_MAX);
    struct wr w = wr_to(plain, sizeof plain);
    size_t len = CR_RSA_MAX;
    tpm_rc rc = TPM_SIZE;

    wr_store_asymkey(&w, &m->store);
    if (w.bad)
        rc = TPM_BAD_DATASIZE;
    else if (enc)
        rc = key_wrap_blob(c, parent, plain, w.len, enc, &len);
    *out = (struct tpm_blob){.len = (uint32_t)len, .data = enc};
    vt_wipe(plain, sizeof plain);
    return rc;
}

tpm_rc migrant_rewrap(struct cmd *c, const struct migrant *m, const struct tpm_pubkey *to, struct tpm_blob *out)
{
    uint8_t plain[CR_RSA_MAX];
    struct wr w = wr_to(plain, sizeof plain);
    tpm_rc rc;

    wr_store_asymkey(&w, &m->store);
    rc = w.bad ? TPM_BAD_DATASIZE : key_encrypt_for(c, to, plain, w.len, out);
    vt_wipe(plain, sizeof plain);
    return rc;
}

/* ---- On its way: TPM_MIGRATE_ASYMKEY ---- */

struct encoded {
    uint8_t bytes[CR_RSA_MAX];
    size_t len;
};

static void encoded_wipe(struct encoded *o1)
{
    vt_wipe(o1, sizeof *o1);
}

#define ENCODED VT_CLEANUP(encoded_wipe) struct encoded

/* 11.1 actions 6.a-c: K1 is the size and the first bytes of the private key, K2 the rest. No padding is left over. */
static bool encode(struct encoded *o1, const struct migrant *m, uint8_t payload, const uint8_t phash[TPM_DIGEST_LEN])
{
    struct tpm_migrate_asymkey m1 = {
        .payload = payload,
        .usage_auth = m->store.usage_auth,
        .pub_data_digest = m->store.pub_data_digest,
    };
    ENCODED k1k2 = {.len = 0};
    ENCODED text = {.len = 0};
    struct wr k = wr_to(k1k2.bytes, sizeof k1k2.bytes), w = wr_to(text.bytes, sizeof text.bytes);
    bool good;

    wr_blob32(&k, &m->store.priv_key);
    if (k.bad || k.len < SEED)
        return false;
    m1.part_priv_key = (struct tpm_blob){.len = (uint32_t)(k.len - SEED), .data = k1k2.bytes + SEED};
    wr_migrate_asymkey(&w, &m1);
    o1->len = 2 * TPM_DIGEST_LEN + 1 + w.len;
    good = !w.bad && !cr_oaep_encode(o1->bytes, o1->len, phash, k1k2.bytes, text.bytes, w.len);
    vt_wipe(&m1, sizeof m1);
    return good;
}

static void mix(uint8_t *bytes, const uint8_t *random, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] ^= random[i];
}

tpm_rc migrant_send(struct cmd *c, const struct migrant *m, uint8_t payload, const uint8_t phash[TPM_DIGEST_LEN],
                    const struct tpm_pubkey *to, struct tpm_blob *random, struct tpm_blob *out)
{
    ENCODED o1 = {.len = 0};
    uint8_t *r1;

    if (!encode(&o1, m, payload, phash))
        return TPM_BAD_DATASIZE;
    r1 = cmd_alloc(c, o1.len);
    if (!r1)
        return TPM_SIZE;
    tpm_random(c->tpm, r1, o1.len);
    mix(o1.bytes, r1, o1.len);
    *random = (struct tpm_blob){.len = (uint32_t)o1.len, .data = r1};
    return key_encrypt_for(c, to, o1.bytes, o1.len, out);
}

tpm_rc migrant_send_secret(struct cmd *c, const struct migrant *m, uint8_t payload, const struct vt_auth *secret,
                           const struct tpm_pubkey *to, struct tpm_blob *out)
{
    ENCODED o1 = {.len = 0};
    ENCODED r1;

    if (!encode(&o1, m, payload, secret->bytes))
        return TPM_BAD_DATASIZE;
    cr_mgf1_sha1(r1.bytes, o1.len, secret->bytes, sizeof secret->bytes);
    mix(o1.bytes, r1.bytes, o1.len);
    return key_encrypt_for(c, to, o1.bytes, o1.len, out);
}

/* 11.2 actions 6-7: K1 and K2 are a size and a private key again, to the last byte. */
static tpm_rc join(struct migrant *out, const uint8_t seed[SEED], const struct tpm_migrate_asymkey *m1)
{
    struct wr w = wr_to(out->bytes, sizeof out->bytes);
    struct rd r;

    wr_copy(&w, seed, SEED);
    wr_copy(&w, m1->part_priv_key.data, m1->part_priv_key.len);
    r = rd_from(out->bytes, w.len);
    out->store.payload = m1->payload;
    out->store.usage_auth = m1->usage_auth;
    out->store.pub_data_digest = m1->pub_data_digest;
    rd_blob32(&r, &out->store.priv_key);
    return w.bad ? TPM_BAD_PARAM_SIZE : rd_result(&r);
}

static bool payload_travels(uint8_t payload)
{
    return payload == TPM_PT_MIGRATE || payload == TPM_PT_CMK_MIGRATE || payload == TPM_PT_MAINT;
}

static tpm_rc decode(struct encoded *o1, struct migrant *out)
{
    struct tpm_migrate_asymkey m1;
    VT_SECRET_AUTH seed = {{0}};
    struct rd r;
    size_t at;
    tpm_rc rc;

    rc = cmd_crypto_rc(cr_oaep_decode(o1->bytes, o1->len, out->store.migration_auth.bytes, seed.bytes, &at),
                       TPM_DECRYPT_ERROR);
    if (rc)
        return rc;
    r = rd_from(o1->bytes + at, o1->len - at);
    rd_migrate_asymkey(&r, &m1);
    rc = payload_travels(m1.payload) ? rd_result(&r) : TPM_INVALID_STRUCTURE;
    if (!rc)
        rc = join(out, seed.bytes, &m1);
    vt_wipe(&m1, sizeof m1);
    return rc;
}

tpm_rc migrant_receive(struct key_slot *parent, const struct tpm_blob *in, const struct tpm_blob *random,
                       struct migrant *out)
{
    ENCODED o1 = {.len = 0};
    tpm_rc rc = unwrap(parent, in, o1.bytes, &o1.len);

    if (rc)
        return rc;
    if (random->len != o1.len)
        return TPM_BAD_PARAMETER;
    mix(o1.bytes, random->data, o1.len);
    return decode(&o1, out);
}

tpm_rc migrant_receive_secret(struct key_slot *parent, const struct tpm_blob *in, const struct vt_auth *secret,
                              struct migrant *out)
{
    ENCODED o1 = {.len = 0};
    ENCODED r1;
    tpm_rc rc = unwrap(parent, in, o1.bytes, &o1.len);

    if (rc)
        return rc;
    cr_mgf1_sha1(r1.bytes, o1.len, secret->bytes, sizeof secret->bytes);
    mix(o1.bytes, r1.bytes, o1.len);
    return decode(&o1, out);
}

/* ---- Who may ---- */

void pubkey_digest(const struct tpm_pubkey *pub, uint8_t out[TPM_DIGEST_LEN])
{
    uint8_t bytes[PUBKEY_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_pubkey(&w, pub);
    cr_sha1(out, bytes, w.len);
}

void migration_key_digest(const struct tpm *tpm, const struct tpm_pubkey *key, uint16_t scheme,
                          uint8_t out[TPM_DIGEST_LEN])
{
    uint8_t bytes[PUBKEY_MAX + 2];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_pubkey(&w, key);
    wr_put16(&w, scheme);
    cr_sha1v(out, (struct cr_slice[]){CR_SLICE(bytes, w.len), CR_SLICE(tpm->perm.tpm_proof.bytes, TPM_DIGEST_LEN)}, 2);
}

bool migration_key_right(const struct tpm *tpm, const struct tpm_migrationkeyauth *auth)
{
    struct cr_rsa_pub pub;
    uint8_t digest[TPM_DIGEST_LEN];

    /* What does not fit is none that was authorised here. */
    if (key_rsa_pub(&pub, &auth->migration_key))
        return false;
    migration_key_digest(tpm, &auth->migration_key, auth->migration_scheme, digest);
    return vt_ct_equal(digest, auth->digest.bytes, sizeof digest);
}

static void ticket(const struct tpm *tpm, const struct wr *w, uint8_t out[TPM_DIGEST_LEN])
{
    const struct vt_auth *proof = &tpm->perm.tpm_proof;

    cr_hmac_sha1v(out, proof->bytes, sizeof proof->bytes, &CR_SLICE(w->base, w->len), 1);
}

void ticket_of_migauth(const struct tpm *tpm, const struct tpm_cmk_migauth *m2, uint8_t out[TPM_DIGEST_LEN])
{
    uint8_t bytes[TICKET_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_cmk_migauth(&w, m2);
    ticket(tpm, &w, out);
}

void ticket_of_approval(const struct tpm *tpm, const struct tpm_cmk_ma_approval *m2, uint8_t out[TPM_DIGEST_LEN])
{
    uint8_t bytes[TICKET_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_cmk_ma_approval(&w, m2);
    ticket(tpm, &w, out);
}

void ticket_of_signature(const struct tpm *tpm, const struct tpm_cmk_sigticket *m2, uint8_t out[TPM_DIGEST_LEN])
{
    uint8_t bytes[TICKET_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_cmk_sigticket(&w, m2);
    ticket(tpm, &w, out);
}

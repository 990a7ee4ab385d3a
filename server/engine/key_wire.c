/* SPDX-License-Identifier: Apache-2.0 */
/* Keys on the wire: TPM_KEY and TPM_KEY12, TPM_PUBKEY, TPM_STORE_ASYMKEY (Part 2, chapter 10). */
#include "server/engine/auth.h"
#include "server/engine/keys.h"
#include "server/engine/pcr_binding.h"

#define EXPONENT          65537u
#define BITS_LEAST        512
#define BITS_MOST         2048
#define PRIMES            2
#define PUBLIC_MAX        512 /* of a TPM_KEY12 without encData: at most 360 */
#define STORE_ASYMKEY_MAX 256 /* 65 and a prime of at most 128 */

static const uint8_t label[4] = {'T', 'C', 'P', 'A'};

/* ---- What may be (Part 2, 5.8.1 and 5.8: key usages and their schemes) ---- */

#define ENC(scheme) (1u << (scheme))
#define SIG(scheme) (1u << (scheme))

static const struct usage {
    uint16_t usage;
    uint8_t enc; /* bit n: scheme n */
    uint8_t sig;
    bool strong; /* 2048 bits and exponent 65537 */
} usages[] = {
    {TPM_KEY_SIGNING, ENC(TPM_ES_NONE),
     SIG(TPM_SS_RSASSAPKCS1v15_SHA1) | SIG(TPM_SS_RSASSAPKCS1v15_DER) | SIG(TPM_SS_RSASSAPKCS1v15_INFO),
     false},
    {TPM_KEY_STORAGE, ENC(TPM_ES_RSAESOAEP_SHA1_MGF1), SIG(TPM_SS_NONE), true},
    {TPM_KEY_IDENTITY, ENC(TPM_ES_NONE), SIG(TPM_SS_RSASSAPKCS1v15_SHA1), true},
    {TPM_KEY_AUTHCHANGE, ENC(TPM_ES_RSAESOAEP_SHA1_MGF1), SIG(TPM_SS_NONE), false},
    {TPM_KEY_BIND, ENC(TPM_ES_RSAESOAEP_SHA1_MGF1) | ENC(TPM_ES_RSAESPKCSv15), SIG(TPM_SS_NONE), false},
    {TPM_KEY_LEGACY, ENC(TPM_ES_RSAESOAEP_SHA1_MGF1) | ENC(TPM_ES_RSAESPKCSv15),
     SIG(TPM_SS_RSASSAPKCS1v15_SHA1) | SIG(TPM_SS_RSASSAPKCS1v15_DER), false},
    {TPM_KEY_MIGRATE, ENC(TPM_ES_RSAESOAEP_SHA1_MGF1), SIG(TPM_SS_NONE), true},
};

static const struct usage *usage_find(uint16_t usage)
{
    for (size_t i = 0; i < VT_COUNT(usages); i++)
        if (usages[i].usage == usage)
            return &usages[i];
    return NULL;
}

static bool scheme_in(uint8_t set, uint16_t scheme)
{
    return scheme < 8 && (set >> scheme & 1);
}

/* Part 2, 10.1: the exponent is left out when it is 65537. */
static bool exponent_good(const struct tpm_blob *exponent, uint32_t *e)
{
    *e = 0;
    if (!exponent->len)
        *e = EXPONENT;
    else if (exponent->len > sizeof *e)
        return false;
    for (uint32_t i = 0; i < exponent->len; i++)
        *e = *e << 8 | exponent->data[i];
    return *e >= 3 && (*e & 1);
}

static bool rsa_parms_good(const struct tpm_rsa_key_parms *rsa, bool strong, uint32_t *e)
{
    if (rsa->key_length < BITS_LEAST || rsa->key_length > BITS_MOST || rsa->key_length % 16)
        return false;
    if (rsa->num_primes != PRIMES || !exponent_good(&rsa->exponent, e))
        return false;
    /* Leading zeros would be a second way to write the same. */
    return !strong || (rsa->key_length == BITS_MOST && *e == EXPONENT && rsa->exponent.len <= 3);
}

static tpm_rc take_parms(struct tpm_key_obj *key, const struct tpm_key *in)
{
    const struct tpm_key_parms *parms = &in->algorithm_parms;
    const struct tpm_rsa_key_parms *rsa = &parms->parms.rsa;
    const struct usage *usage = usage_find(in->key_usage);
    uint32_t e;

    if (!usage || parms->algorithm_id != TPM_ALG_RSA || parms->form != TPM_PARMS_RSA ||
        !scheme_in(usage->enc, parms->enc_scheme) || !scheme_in(usage->sig, parms->sig_scheme) ||
        !rsa_parms_good(rsa, usage->strong, &e))
        return TPM_BAD_KEY_PROPERTY;
    key->usage = in->key_usage;
    key->enc_scheme = parms->enc_scheme;
    key->sig_scheme = parms->sig_scheme;
    key->exponent_len = (uint8_t)rsa->exponent.len;
    if (key->exponent_len)
        memcpy(key->exponent, rsa->exponent.data, key->exponent_len);
    key->rsa.pub.e = e;
    key->rsa.pub.bytes = (uint16_t)(rsa->key_length / 8);
    return TPM_SUCCESS;
}

static tpm_rc take_modulus(struct tpm_key_obj *key, const struct tpm_blob *in)
{
    if (in->len != key->rsa.pub.bytes)
        return TPM_BAD_KEY_PROPERTY;
    memcpy(key->rsa.pub.n, in->data, in->len);
    key_pub_digest(key, key->pub_digest);
    return TPM_SUCCESS;
}

tpm_rc key_rsa_pub(struct cr_rsa_pub *out, const struct tpm_pubkey *in)
{
    const struct tpm_key_parms *parms = &in->algorithm_parms;

    if (parms->algorithm_id != TPM_ALG_RSA || parms->form != TPM_PARMS_RSA ||
        !rsa_parms_good(&parms->parms.rsa, false, &out->e))
        return TPM_BAD_KEY_PROPERTY;
    out->bytes = (uint16_t)(parms->parms.rsa.key_length / 8);
    if (in->pub_key.len != out->bytes)
        return TPM_BAD_KEY_PROPERTY;
    memcpy(out->n, in->pub_key.data, out->bytes);
    return TPM_SUCCESS;
}

tpm_rc key_from_wire(struct tpm_key_obj *key, const struct tpm_key *in)
{
    struct pcr_binding binding;
    tpm_rc rc;

    *key = (struct tpm_key_obj){
        .is_key12 = in->is_12,
        .auth_data_usage = in->auth_data_usage,
        .payload = TPM_PT_ASYM,
        .flags = in->key_flags,
    };
    if ((rc = take_parms(key, in)) || (rc = pcr_binding_read(&binding, in->is_12, &in->pcr_info)))
        return rc;
    key->pcr_info_len = pcr_binding_write(&binding, key->pcr_info);
    return in->pub_key.len ? take_modulus(key, &in->pub_key) : TPM_SUCCESS;
}

/* ---- What is written ---- */

static struct tpm_key_parms parms_of(const struct tpm_key_obj *key)
{
    return (struct tpm_key_parms){
        .algorithm_id = TPM_ALG_RSA,
        .enc_scheme = key->enc_scheme,
        .sig_scheme = key->sig_scheme,
        .form = TPM_PARMS_RSA,
        .parms.rsa =
            {
                .key_length = key->rsa.pub.bytes * 8u,
                .num_primes = PRIMES,
                .exponent = {.len = key->exponent_len, .data = key->exponent},
            },
    };
}

void key_to_pubkey(struct tpm_pubkey *out, const struct tpm_key_obj *key)
{
    *out = (struct tpm_pubkey){
        .algorithm_parms = parms_of(key),
        .pub_key = {.len = key->rsa.pub.bytes, .data = key->rsa.pub.n},
    };
}

void key_to_wire(struct tpm_key *out, const struct tpm_key_obj *key, const struct tpm_blob *enc)
{
    *out = (struct tpm_key){
        .is_12 = key->is_key12,
        .ver = {.major = 1, .minor = 1},
        .key_usage = key->usage,
        .key_flags = key->flags,
        .auth_data_usage = key->auth_data_usage,
        .algorithm_parms = parms_of(key),
        .pcr_info = {.len = key->pcr_info_len, .data = key->pcr_info},
        .pub_key = {.len = key->rsa.pub.bytes, .data = key->rsa.pub.n},
    };
    if (enc)
        out->enc_data = *enc;
}

void key_pub_digest(const struct tpm_key_obj *key, uint8_t out[CR_SHA1_LEN])
{
    uint8_t bytes[PUBLIC_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct tpm_key wire;

    key_to_wire(&wire, key, NULL);
    wr_key_public(&w, &wire);
    cr_sha1(out, bytes, w.len);
}

void key_pubkey_digest(const struct tpm_key_obj *key, uint8_t out[CR_SHA1_LEN])
{
    uint8_t bytes[PUBLIC_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct tpm_pubkey pub;

    key_to_pubkey(&pub, key);
    wr_pubkey(&w, &pub);
    cr_sha1(out, bytes, w.len);
}

void key_store_pubkey_digest(const struct tpm_key_obj *key, uint8_t out[CR_SHA1_LEN])
{
    uint8_t size[4];
    struct wr w = wr_to(size, sizeof size);

    wr_put32(&w, key->rsa.pub.bytes);
    cr_sha1v(out,
             (struct cr_slice[]){CR_SLICE(size, sizeof size), CR_SLICE(key->rsa.pub.n, key->rsa.pub.bytes)},
             2);
}

/* ---- Blobs ---- */

tpm_rc key_wrap_blob(struct cmd *c, const struct tpm_key_obj *parent, const void *in, size_t len,
                     uint8_t *out, size_t *out_len)
{
    const struct cr_rsa_pub *pub = &parent->rsa.pub;

    /* PKCS #1 v2.1, 7.1.1: two hashes and two bytes of padding. */
    if (*out_len < pub->bytes || len > pub->bytes || pub->bytes - len < 2 * CR_SHA1_LEN + 2)
        return TPM_BAD_DATASIZE;
    *out_len = pub->bytes;
    c->tpm->dirty |= TPM_DIRTY_VOLATILE; /* the generator moves on */
    return cmd_crypto_rc(cr_rsa_oaep_encrypt(pub, label, sizeof label, in, len, &c->tpm->drbg, out),
                         TPM_ENCRYPT_ERROR);
}

tpm_rc key_encrypt_for(struct cmd *c, const struct tpm_pubkey *to, const void *in, size_t len,
                       struct tpm_blob *out)
{
    uint16_t scheme = to->algorithm_parms.enc_scheme;
    uint8_t *bytes = cmd_alloc(c, CR_RSA_MAX);
    struct cr_drbg *drbg = &c->tpm->drbg;
    struct cr_rsa_pub pub;
    tpm_rc rc = key_rsa_pub(&pub, to);

    if (rc || !bytes)
        return rc ? rc : TPM_SIZE;
    if (len > pub.bytes)
        return TPM_BAD_DATASIZE;
    *out = (struct tpm_blob){.len = pub.bytes, .data = bytes};
    c->tpm->dirty |= TPM_DIRTY_VOLATILE; /* the generator moves on */
    if (scheme == TPM_ES_RSAESOAEP_SHA1_MGF1)
        return cmd_crypto_rc(cr_rsa_oaep_encrypt(&pub, label, sizeof label, in, len, drbg, bytes), TPM_ENCRYPT_ERROR);
    if (scheme == TPM_ES_RSAESPKCSv15)
        return cmd_crypto_rc(cr_rsa_pkcs1_encrypt(&pub, in, len, drbg, bytes), TPM_ENCRYPT_ERROR);
    return TPM_INAPPROPRIATE_ENC;
}

tpm_rc key_unwrap_blob(struct key_slot *parent, const struct tpm_blob *in, uint8_t out[CR_RSA_MAX],
                       size_t *out_len)
{
    struct cr_rsa *rsa;

    *out_len = 0;
    if (in->len != parent->key.rsa.pub.bytes)
        return TPM_DECRYPT_ERROR;
    rsa = key_rsa(parent);
    if (!rsa)
        return TPM_FAIL;
    return cmd_crypto_rc(cr_rsa_oaep_decrypt(rsa, label, sizeof label, in->data, in->len, out, out_len),
                         TPM_DECRYPT_ERROR);
}

tpm_rc key_wrap(struct cmd *c, const struct tpm_key_obj *parent, const struct tpm_key_obj *key,
                uint8_t out[CR_RSA_MAX], size_t *out_len)
{
    struct tpm_store_asymkey store = {
        .payload = key->payload,
        .usage_auth = key->usage_auth,
        .migration_auth = key->migration_auth,
        .priv_key = {.len = key->rsa.pub.bytes / 2u, .data = key->rsa.p},
    };
    uint8_t plain[STORE_ASYMKEY_MAX];
    struct wr w = wr_to(plain, sizeof plain);
    tpm_rc rc;

    memcpy(store.pub_data_digest.bytes, key->pub_digest, sizeof store.pub_data_digest.bytes);
    wr_store_asymkey(&w, &store);
    *out_len = CR_RSA_MAX;
    rc = w.bad ? TPM_BAD_DATASIZE : key_wrap_blob(c, parent, plain, w.len, out, out_len);
    vt_wipe(plain, sizeof plain);
    vt_wipe(&store, sizeof store);
    return rc;
}

/* What is answered must outlive the handler: in the arena, which is wiped at the end of the command. */
tpm_rc key_answer_wrapped(struct cmd *c, const struct tpm_key_obj *parent, const struct tpm_key_obj *key,
                          struct tpm_key *out)
{
    uint8_t *bytes = cmd_alloc(c, CR_RSA_MAX);
    struct tpm_key_obj *copy = cmd_alloc(c, sizeof *copy);
    struct tpm_blob enc;
    size_t len;
    tpm_rc rc;

    if (!bytes || !copy)
        return TPM_SIZE;
    rc = key_wrap(c, parent, key, bytes, &len);
    if (rc)
        return rc;
    enc = (struct tpm_blob){.len = (uint32_t)len, .data = bytes};
    *copy = *key;
    key_to_wire(out, copy, &enc);
    return TPM_SUCCESS;
}

bool key_payload_loadable(uint8_t payload)
{
    return payload == TPM_PT_ASYM || payload == TPM_PT_MIGRATE_RESTRICTED ||
           payload == TPM_PT_MIGRATE_EXTERNAL;
}

/* libtpms has this order and these codes; Part 3, 10.5 actions 5-7 name none. */
static tpm_rc take_private(struct tpm_key_obj *key, const struct tpm_store_asymkey *store)
{
    tpm_rc rc;

    if (!key_payload_loadable(store->payload) || store->priv_key.len != key->rsa.pub.bytes / 2u)
        return TPM_INVALID_STRUCTURE;
    memcpy(key->rsa.p, store->priv_key.data, store->priv_key.len);
    /* Does the private part belong to the public one? It divides the modulus by the prime. */
    rc = cmd_crypto_rc(cr_rsa_check(&key->rsa), TPM_BAD_PARAMETER);
    if (rc)
        return rc;
    if (!vt_ct_equal(store->pub_data_digest.bytes, key->pub_digest, sizeof key->pub_digest))
        return TPM_AUTHFAIL;
    key->payload = store->payload;
    key->usage_auth = store->usage_auth;
    key->migration_auth = store->migration_auth;
    return TPM_SUCCESS;
}

tpm_rc key_unwrap(struct key_slot *parent, struct tpm_key_obj *key, const struct tpm_blob *enc)
{
    struct tpm_store_asymkey store = {.payload = 0};
    uint8_t plain[CR_RSA_MAX];
    size_t len;
    tpm_rc rc = key_unwrap_blob(parent, enc, plain, &len);

    if (!rc) {
        struct rd r = rd_from(plain, len);

        rd_store_asymkey(&r, &store);
        rc = rd_result(&r) ? TPM_INVALID_STRUCTURE : take_private(key, &store);
    }
    vt_wipe(plain, sizeof plain);
    vt_wipe(&store, sizeof store);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "server/engine/transport.h"

#include "server/engine/auth.h"

#define AES_BLOCK 16

/* ---- Slots ---- */

struct transport *transport_find(struct tpm *tpm, uint32_t handle)
{
    for (size_t i = 0; handle && i < TRANSPORTS_MAX; i++)
        if (tpm->stany.transports[i].session.handle == handle)
            return &tpm->stany.transports[i];
    return NULL;
}

unsigned transport_free_slots(const struct tpm *tpm)
{
    unsigned used = 0;

    for (size_t i = 0; i < TRANSPORTS_MAX; i++)
        used += tpm->stany.transports[i].session.handle != 0;
    return used < tpm->perm.profile.transport_sessions ? tpm->perm.profile.transport_sessions - used : 0;
}

struct transport *transport_new(struct tpm *tpm)
{
    size_t i = 0;

    if (!transport_free_slots(tpm))
        return NULL;
    while (tpm->stany.transports[i].session.handle)
        i++;
    tpm->stany.transports[i] = (struct transport){
        .session = {.handle = tpm_fresh_handle(tpm, TPM_RT_TRANS), .kind = SESSION_TRANSPORT},
    };
    tpm_random(tpm, tpm->stany.transports[i].session.nonce_even, TPM_NONCE_LEN);
    return &tpm->stany.transports[i];
}

struct transport *transport_restore(struct tpm *tpm, const struct transport *saved, uint32_t handle)
{
    struct transport *transport = transport_new(tpm);

    if (!transport)
        return NULL;
    if (!handle)
        handle = transport->session.handle;
    *transport = *saved;
    transport->session.handle = handle;
    return transport;
}

void transport_close(struct tpm *tpm, struct transport *transport)
{
    if (tpm->stany.transport_exclusive == transport->session.handle)
        tpm->stany.transport_exclusive = 0;
    tpm->dirty |= TPM_DIRTY_VOLATILE;
    vt_wipe(transport, sizeof *transport);
}

void transport_close_all(struct tpm *tpm)
{
    for (size_t i = 0; i < TRANSPORTS_MAX; i++)
        if (tpm->stany.transports[i].session.handle)
            transport_close(tpm, &tpm->stany.transports[i]);
}

/* ---- Encryption ---- */

tpm_rc transport_check_encryption(const struct tpm *tpm, const struct tpm_transport_public *pub)
{
    switch (pub->alg_id) {
    case TPM_ALG_MGF1:
        return !tpm->perm.flags.fips && pub->enc_scheme == TPM_ES_NONE ? TPM_SUCCESS : TPM_INAPPROPRIATE_ENC;
    case TPM_ALG_AES128:
        return pub->enc_scheme == TPM_ES_SYM_CTR || pub->enc_scheme == TPM_ES_SYM_OFB ? TPM_SUCCESS
                                                                                      : TPM_INAPPROPRIATE_ENC;
    default:
        return TPM_BAD_KEY_PROPERTY;
    }
}

/* Output feedback: each block of the pad is the encryption of the one before. */
static int ofb(const uint8_t *key, uint8_t block[AES_BLOCK], uint8_t *data, size_t len)
{
    static const uint8_t zeros[AES_BLOCK];

    for (size_t at = 0; at < len; at += AES_BLOCK) {
        uint8_t next[AES_BLOCK];
        int err = cr_aes128_ctr(key, block, zeros, sizeof zeros, next);

        if (err)
            return err;
        memcpy(block, next, sizeof next);
        for (size_t i = 0; i < AES_BLOCK && at + i < len; i++)
            data[at + i] ^= block[i];
    }
    return VT_OK;
}

/* Actions 4.b and 17.b: the counter or IV comes from the nonces, the key is the head of the session's secret.
 */
static tpm_rc crypt_aes(const struct transport *t, const uint8_t *seed, size_t seed_len, uint8_t *data,
                        size_t len)
{
    uint8_t block[AES_BLOCK];
    const uint8_t *key = t->session.secret.bytes;
    int err;

    cr_mgf1_sha1(block, sizeof block, seed, seed_len);
    err = t->pub.enc_scheme == TPM_ES_SYM_OFB ? ofb(key, block, data, len)
                                              : cr_aes128_ctr(key, block, data, len, data);
    vt_wipe(block, sizeof block);
    return cmd_crypto_rc(err, TPM_FAIL);
}

/* Actions 4.a and 17.a: the secret is part of the pad's seed. */
static tpm_rc crypt_mgf1(const uint8_t *seed, size_t seed_len, uint8_t *data, size_t len)
{
    uint8_t pad[TPM_BUFFER];

    if (len > sizeof pad)
        return TPM_FAIL;
    cr_mgf1_sha1(pad, len, seed, seed_len);
    for (size_t i = 0; i < len; i++)
        data[i] ^= pad[i];
    vt_wipe(pad, sizeof pad);
    return TPM_SUCCESS;
}

tpm_rc transport_crypt(const struct transport *t, const uint8_t odd[TPM_NONCE_LEN], const char *way,
                       uint8_t *data, size_t len)
{
    uint8_t seed[2 * TPM_NONCE_LEN + 3 + TPM_DIGEST_LEN];
    struct wr w = wr_to(seed, sizeof seed);
    tpm_rc rc;

    if (!(t->pub.trans_attributes & TPM_TRANSPORT_ENCRYPT) || !len)
        return TPM_SUCCESS;
    wr_copy(&w, t->session.nonce_even, TPM_NONCE_LEN);
    wr_copy(&w, odd, TPM_NONCE_LEN);
    wr_copy(&w, way, strlen(way));
    if (t->pub.alg_id == TPM_ALG_MGF1) {
        wr_authdata(&w, &t->session.secret);
        rc = crypt_mgf1(seed, w.len, data, len);
    } else {
        rc = crypt_aes(t, seed, w.len, data, len);
    }
    vt_wipe(seed, sizeof seed);
    return rc;
}

/* ---- Logs ---- */

static void log_bytes(struct transport *t, const struct wr *w)
{
    cr_sha1v(t->digest, (struct cr_slice[]){CR_SLICE(t->digest, sizeof t->digest), CR_SLICE(w->base, w->len)},
             2);
}

void transport_log_in(struct transport *t, const uint8_t parameters[CR_SHA1_LEN],
                      const uint8_t pub_key_hash[CR_SHA1_LEN])
{
    struct tpm_transport_log_in log = {.parameters = {{0}}};
    uint8_t bytes[64];
    struct wr w = wr_to(bytes, sizeof bytes);

    memcpy(log.parameters.bytes, parameters, CR_SHA1_LEN);
    if (pub_key_hash)
        memcpy(log.pub_key_hash.bytes, pub_key_hash, CR_SHA1_LEN);
    wr_transport_log_in(&w, &log);
    log_bytes(t, &w);
}

void transport_log_out(struct transport *t, const uint8_t parameters[CR_SHA1_LEN],
                       const struct tpm_current_ticks *ticks, uint8_t locality)
{
    struct tpm_transport_log_out log = {.current_ticks = *ticks, .locality = locality};
    uint8_t bytes[96];
    struct wr w = wr_to(bytes, sizeof bytes);

    memcpy(log.parameters.bytes, parameters, CR_SHA1_LEN);
    wr_transport_log_out(&w, &log);
    log_bytes(t, &w);
}

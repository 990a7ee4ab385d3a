/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 10, data: sealed and unsealed. (ch10_keys.c: keys.) */
#include "server/engine/auth.h"
#include "server/engine/handlers.h"
#include "server/engine/pcr_binding.h"

#define SEALED_MAX CR_RSA_MAX /* a TPM_SEALED_DATA that can be encrypted is shorter */

/* ---- Both ways ---- */

/* 10.1 actions 3-4, 10.2 actions 2-3: only a storage key that cannot leave the TPM. */
static tpm_rc check_parent(const struct tpm_key_obj *parent)
{
    return parent->usage == TPM_KEY_STORAGE && !(parent->flags & TPM_MIGRATABLE) ? TPM_SUCCESS
                                                                                 : TPM_INVALID_KEYUSAGE;
}

/*
 * Part 2, 9.3: SHA-1 of the stored data without encDataSize and encData. of_before: as this TPM made it once, with a size
 * of zero behind; what was sealed so opens as it did.
 */
static void stored_digest(const struct tpm_stored_data *stored, bool of_before, uint8_t out[TPM_DIGEST_LEN])
{
    uint8_t bytes[PCR_BINDING_MAX + 16];
    struct tpm_stored_data bare = *stored;
    struct wr w = wr_to(bytes, sizeof bytes);

    bare.enc_data = (struct tpm_blob){0};
    wr_stored_data(&w, &bare);
    cr_sha1(out, bytes, of_before ? w.len : w.len - 4);
}

static bool is_digest_of(const struct tpm_stored_data *stored, const uint8_t digest[TPM_DIGEST_LEN])
{
    uint8_t now[TPM_DIGEST_LEN], before[TPM_DIGEST_LEN];

    stored_digest(stored, false, now);
    stored_digest(stored, true, before);
    return vt_ct_equal(digest, now, sizeof now) || vt_ct_equal(digest, before, sizeof before);
}

/*
 * 10.2 action 9, 10.7 actions 13-14: data under the parent's session, in both directions. Its nonces are used
 * once.
 */
static tpm_rc session_crypt(const struct cmd *c, const uint8_t *in, size_t len, uint8_t *out)
{
    const struct auth_use *use = &c->auth[0];
    const struct session *session = use->session;
    uint8_t seed[2 * TPM_NONCE_LEN + 3 + TPM_DIGEST_LEN];
    struct wr w = wr_to(seed, sizeof seed);
    uint8_t ctr[TPM_DIGEST_LEN];

    wr_copy(&w, session->nonce_even, TPM_NONCE_LEN);
    wr_copy(&w, use->nonce_odd, TPM_NONCE_LEN);
    if (session->adip == TPM_ET_AES128_CTR) {
        cr_sha1(ctr, seed, w.len);
        return cmd_crypto_rc(cr_aes128_ctr(session->secret.bytes, ctr, in, len, out), TPM_FAIL);
    }
    wr_copy(&w, "XOR", 3);
    wr_copy(&w, session->secret.bytes, sizeof session->secret.bytes);
    cr_mgf1_sha1(out, len, seed, w.len);
    for (size_t i = 0; i < len; i++)
        out[i] ^= in[i];
    vt_wipe(seed, sizeof seed);
    return TPM_SUCCESS;
}

/* ---- 10.1 and 10.7 ---- */

/* Actions 5-11: S1 with its sealInfo in the arena. */
static tpm_rc begin_stored(struct cmd *c, const struct tpm_blob *area, bool is_12,
                           struct tpm_stored_data *stored)
{
    struct pcr_binding binding;
    uint8_t *info = cmd_alloc(c, PCR_BINDING_MAX);

    if (!info)
        return TPM_SIZE;
    *stored = (struct tpm_stored_data){.is_12 = is_12, .ver = {.major = 1, .minor = 1}};
    if (pcr_binding_read(&binding, stored->is_12, area))
        return TPM_BADINDEX;
    pcr_binding_stamp(c, &binding);
    stored->seal_info = (struct tpm_blob){.len = pcr_binding_write(&binding, info), .data = info};
    return TPM_SUCCESS;
}

/* Actions 14-16 and 18-19: S2, encrypted into S1. */
static tpm_rc encrypt_sealed(struct cmd *c, struct tpm_sealed_data *sealed, struct tpm_stored_data *stored)
{
    uint8_t plain[SEALED_MAX];
    struct wr w = wr_to(plain, sizeof plain);
    uint8_t *enc = cmd_alloc(c, CR_RSA_MAX);
    size_t len = CR_RSA_MAX;
    tpm_rc rc = TPM_SIZE;

    sealed->payload = TPM_PT_SEAL;
    sealed->tpm_proof = c->tpm->perm.tpm_proof;
    stored_digest(stored, false, sealed->stored_digest.bytes);
    wr_sealed_data(&w, sealed);
    if (w.bad)
        rc = TPM_BAD_DATASIZE;
    else if (enc)
        rc = key_wrap_blob(c, &c->keys[0]->key, plain, w.len, enc, &len);
    stored->enc_data = (struct tpm_blob){.len = (uint32_t)len, .data = enc};
    vt_wipe(plain, sizeof plain);
    vt_wipe(sealed, sizeof *sealed);
    return rc;
}

/* Actions 1-4. */
static tpm_rc may_seal(const struct cmd *c, const struct tpm_blob *data)
{
    const struct tpm_key_obj *parent = &c->keys[0]->key;
    tpm_rc rc = key_check_pcrs(c, parent);

    if (rc)
        return rc;
    return data->len ? check_parent(parent) : TPM_BAD_PARAMETER;
}

/* TPM 1.2 Part 3, 10.1 TPM_Seal */
tpm_rc cmd_seal(struct cmd *c, const struct seal_in *in, struct seal_out *out)
{
    bool is_12 = tpm_blob_has_tag(&in->pcr_info, TPM_TAG_PCR_INFO_LONG);
    struct tpm_sealed_data sealed = {.data = in->in_data};
    tpm_rc rc;

    /* 12. Any value is a good secret. */
    if ((rc = may_seal(c, &in->in_data)) || (rc = begin_stored(c, &in->pcr_info, is_12, &out->sealed_data)) ||
        (rc = cmd_decrypt_auth(c, 0, false, &in->enc_auth, &sealed.auth_data)))
        return rc;
    return encrypt_sealed(c, &sealed, &out->sealed_data);
}

/* Actions 11.a, 13-14: o1, in the arena, and how TPM_Unseal will hide it in turn. */
static tpm_rc open_data(struct cmd *c, const struct tpm_blob *in, struct tpm_blob *data, uint16_t *et)
{
    uint8_t *plain;

    if (in->len > SEALED_MAX)
        return TPM_BAD_DATASIZE;
    plain = cmd_alloc(c, in->len);
    if (!plain)
        return TPM_SIZE;
    /* TPM_ET_KEY only makes it differ from zero, "not encrypted". */
    *et =
        c->auth[0].session->adip == TPM_ET_AES128_CTR ? TPM_ET_AES128_CTR << 8 : TPM_ET_XOR << 8 | TPM_ET_KEY;
    *data = (struct tpm_blob){.len = in->len, .data = plain};
    return session_crypt(c, in->data, in->len, plain);
}

/* TPM 1.2 Part 3, 10.7 TPM_Sealx: always of version 1.2, and the data travels encrypted. */
tpm_rc cmd_sealx(struct cmd *c, const struct sealx_in *in, struct sealx_out *out)
{
    struct tpm_sealed_data sealed = {.payload = 0};
    struct tpm_stored_data *stored = &out->sealed_data;
    tpm_rc rc;

    if ((rc = may_seal(c, &in->in_data)) || (rc = begin_stored(c, &in->pcr_info, true, stored)) ||
        (rc = cmd_decrypt_auth(c, 0, false, &in->enc_auth, &sealed.auth_data)))
        return rc;
    rc = open_data(c, &in->in_data, &sealed.data, &stored->et);
    if (!rc)
        rc = encrypt_sealed(c, &sealed, stored);
    vt_wipe(&sealed, sizeof sealed);
    return rc;
}

/* ---- 10.2 ---- */

/*
 * Actions 5-6: is it a sealed blob of this TPM and this owner, as it was made? One answer to all that can be
 * wrong. The data borrows from plain.
 */
static tpm_rc open_sealed(struct cmd *c, const struct tpm_stored_data *stored, uint8_t plain[CR_RSA_MAX],
                          struct tpm_sealed_data *sealed)
{
    const struct vt_auth *proof = &c->tpm->perm.tpm_proof;
    struct rd r;
    size_t len;
    tpm_rc rc = key_unwrap_blob(c->keys[0], &stored->enc_data, plain, &len);

    if (rc == TPM_DECRYPT_ERROR)
        return TPM_NOTSEALED_BLOB;
    if (rc)
        return rc;
    r = rd_from(plain, len);
    rd_sealed_data(&r, sealed);
    if (rd_result(&r) || sealed->payload != TPM_PT_SEAL ||
        !vt_ct_equal(sealed->tpm_proof.bytes, proof->bytes, sizeof proof->bytes) ||
        !is_digest_of(stored, sealed->stored_digest.bytes))
        return TPM_NOTSEALED_BLOB;
    return TPM_SUCCESS;
}

/* Action 7. */
static tpm_rc check_release(const struct cmd *c, const struct tpm_stored_data *stored)
{
    struct pcr_binding binding;

    if (pcr_binding_read(&binding, stored->is_12, &stored->seal_info))
        return TPM_NOTSEALED_BLOB;
    return pcr_binding_check(c, &binding);
}

/* Action 8: the last session proves the data's own secret; none can be opened for it but OIAP. */
static tpm_rc check_data_auth(struct cmd *c, const struct vt_auth *secret)
{
    struct auth_entity entity = {.type = TPM_ET_DATA, .secret = secret};
    unsigned last = c->auth_count - 1;

    if (c->auth[last].session->kind != SESSION_OIAP)
        return TPM_BAD_MODE;
    return cmd_check_auth(c, last, &entity);
}

/* Actions 9-11: as it is, or as TPM_Sealx got it: under the parent's session, which ends. */
static tpm_rc release(struct cmd *c, uint16_t et, const struct tpm_blob *data, struct tpm_blob *secret)
{
    uint8_t *bytes;

    if (!et)
        return cmd_blob(c, secret, data->data, data->len) ? TPM_SUCCESS : TPM_SIZE;
    if (c->auth_count < 2)
        return TPM_AUTHFAIL;
    if (c->auth[0].session->kind == SESSION_OIAP)
        return TPM_BAD_MODE;
    /* The blob was made here; its scheme is one of the two, and the session's own. */
    if (et >> 8 != c->auth[0].session->adip)
        return TPM_INAPPROPRIATE_ENC;
    bytes = cmd_alloc(c, data->len);
    if (!bytes)
        return TPM_SIZE;
    cmd_end_session(c, 0);
    *secret = (struct tpm_blob){.len = data->len, .data = bytes};
    return session_crypt(c, data->data, data->len, bytes);
}

static tpm_rc unseal(struct cmd *c, const struct tpm_stored_data *stored, uint8_t plain[CR_RSA_MAX],
                     struct tpm_sealed_data *sealed, struct tpm_blob *secret)
{
    tpm_rc rc;

    if ((rc = open_sealed(c, stored, plain, sealed)) || (rc = check_release(c, stored)) ||
        (rc = check_data_auth(c, &sealed->auth_data)))
        return rc;
    return release(c, stored->is_12 ? stored->et : 0, &sealed->data, secret);
}

/* TPM 1.2 Part 3, 10.2 TPM_Unseal */
tpm_rc cmd_unseal(struct cmd *c, const struct unseal_in *in, struct unseal_out *out)
{
    const struct tpm_key_obj *parent = &c->keys[0]->key;
    struct tpm_sealed_data sealed = {.payload = 0};
    uint8_t plain[CR_RSA_MAX] = {0};
    tpm_rc rc;

    /* 1-3. */
    if ((rc = key_check_pcrs(c, parent)) || (rc = check_parent(parent)))
        return rc;
    /* 4 was found out by the reader. */
    rc = unseal(c, &in->in_data, plain, &sealed, &out->secret);
    vt_wipe(plain, sizeof plain);
    vt_wipe(&sealed, sizeof sealed);
    return rc;
}

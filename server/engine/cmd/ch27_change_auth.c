/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 27: version 1.1's way to change a secret that the parent's user does not see. */
#include "server/engine/auth.h"
#include "server/engine/entity.h"
#include "server/engine/handlers.h"

#define CERTIFY_INFO_MAX 128 /* without PCRs: 96 */

/* ---- 27.4.1 ---- */

/* Actions 2-7: a key for one change, that dies with it. */
static tpm_rc make_temporary(struct cmd *c, const struct tpm_key_parms *parms, struct tpm_key_obj *key)
{
    struct tpm_key info = {
        .ver = {.major = 1, .minor = 1},
        .key_usage = TPM_KEY_AUTHCHANGE,
        .key_flags = TPM_VOLATILE,
        .auth_data_usage = TPM_AUTH_NEVER,
        .algorithm_parms = *parms,
    };
    tpm_rc rc = key_from_wire(key, &info);

    return rc ? rc : key_generate(c, key, key->rsa.pub.bytes * 8u);
}

/* Actions 9-10: the identity says that the key is this TPM's. */
static tpm_rc certify(struct cmd *c, const struct tpm_key_obj *key, const struct tpm_nonce *anti_replay,
                      struct change_auth_asym_start_out *out)
{
    struct tpm_certify_info *info = &out->certify_info;
    uint8_t bytes[CERTIFY_INFO_MAX], digest[TPM_DIGEST_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct tpm_pubkey pub;

    key_to_pubkey(&pub, key);
    *info = (struct tpm_certify_info){
        .version = {.major = 1, .minor = 1},
        .key_usage = key->usage,
        .key_flags = key->flags,
        .auth_data_usage = key->auth_data_usage,
        .algorithm_parms = pub.algorithm_parms,
        .data = *anti_replay,
    };
    cr_sha1(info->pubkey_digest.bytes, key->rsa.pub.n, key->rsa.pub.bytes);
    wr_certify_info(&w, info);
    cr_sha1(digest, bytes, w.len);
    return key_sign_digest(c, c->keys[0], digest, &out->sig);
}

/* TPM 1.2 Part 3, 27.4.1 TPM_ChangeAuthAsymStart */
tpm_rc cmd_change_auth_asym_start(struct cmd *c, const struct change_auth_asym_start_in *in,
                                  struct change_auth_asym_start_out *out)
{
    const struct tpm_key_obj *identity = &c->keys[0]->key;
    struct tpm_key_obj *key = cmd_alloc(c, sizeof *key); /* the answer borrows from it */
    const struct key_slot *slot;
    tpm_rc rc;

    if (!key)
        return TPM_SIZE;
    /* 1. */
    rc = key_check_pcrs(c, identity);
    if (rc)
        return rc;
    if (identity->usage != TPM_KEY_IDENTITY)
        return TPM_INVALID_KEYUSAGE;
    if (!key_free_slots(c->tpm))
        return TPM_NOSPACE;
    /* 2-7, 9-10. */
    if ((rc = make_temporary(c, &in->temp_key, key)) || (rc = certify(c, key, &in->anti_replay, out)))
        return rc;
    /* 7-8. */
    slot = key_insert(c->tpm, key, false);
    if (!slot)
        return TPM_NOSPACE;
    out->eph_handle = slot->handle;
    key_to_wire(&out->temp_key, key, NULL);
    return TPM_SUCCESS;
}

/* ---- 27.4.2 ---- */

/* Action 1. Of the SRK's children the owner decides. */
static tpm_rc check_parent(struct cmd *c)
{
    struct key_slot *parent = c->keys[0];
    struct auth_entity entity =
        c->handles[0] == TPM_KH_SRK ? auth_entity_owner(c->tpm) : auth_entity_key(parent);
    tpm_rc rc = TPM_SUCCESS;

    if (c->auth_count)
        rc = cmd_check_auth(c, 0, &entity);
    else if (parent->key.auth_data_usage != TPM_AUTH_NEVER)
        rc = TPM_AUTHFAIL;
    return rc ? rc : key_check_pcrs(c, &parent->key);
}

/* Action 3. */
static tpm_rc open_entity(struct cmd *c, const struct tpm_blob *enc, uint8_t plain[CR_RSA_MAX], struct entity *entity)
{
    size_t len;
    tpm_rc rc = key_unwrap_blob(c->keys[0], enc, plain, &len);

    return rc ? rc : entity_read(c, plain, len, entity);
}

/* Action 4. */
static tpm_rc open_validate(struct key_slot *temporary, const struct tpm_blob *enc, struct tpm_changeauth_validate *a1)
{
    uint8_t plain[CR_RSA_MAX];
    size_t len;
    tpm_rc rc;

    if (!temporary)
        return TPM_INVALID_KEYHANDLE;
    if (temporary->key.usage != TPM_KEY_AUTHCHANGE)
        return TPM_BAD_PARAMETER;
    rc = key_unwrap_blob(temporary, enc, plain, &len);
    if (!rc) {
        struct rd r = rd_from(plain, len);

        rd_changeauth_validate(&r, a1);
        rc = rd_result(&r);
    }
    vt_wipe(plain, sizeof plain);
    return rc;
}

/* Actions 5-6: whoever asks knows the old secret. */
static tpm_rc check_link(struct cmd *c, struct entity *entity, const struct tpm_changeauth_validate *a1,
                         const struct tpm_digest *link)
{
    const struct vt_auth *current = entity_secret(entity);
    uint8_t b1[TPM_DIGEST_LEN];

    cr_hmac_sha1v(b1, current->bytes, sizeof current->bytes,
                  &CR_SLICE(a1->new_auth_secret.bytes, sizeof a1->new_auth_secret.bytes), 1);
    if (vt_ct_equal(b1, link->bytes, sizeof b1))
        return TPM_SUCCESS;
    c->wrong_guess = true;
    return TPM_AUTHFAIL;
}

/* Actions 9-10. */
static void prove(struct cmd *c, const struct tpm_changeauth_validate *a1, struct change_auth_asym_finish_out *out)
{
    const struct vt_auth *fresh = &a1->new_auth_secret;

    tpm_random(c->tpm, out->salt_nonce.bytes, TPM_NONCE_LEN);
    cr_hmac_sha1v(out->change_proof.bytes, fresh->bytes, sizeof fresh->bytes,
                  (struct cr_slice[]){CR_SLICE(out->salt_nonce.bytes, TPM_NONCE_LEN), CR_SLICE(a1->n1.bytes, TPM_NONCE_LEN)},
                  2);
}

/* Actions 3-10. */
static tpm_rc change(struct cmd *c, const struct change_auth_asym_finish_in *in, uint8_t plain[CR_RSA_MAX],
                     struct entity *entity, struct tpm_changeauth_validate *a1, struct change_auth_asym_finish_out *out)
{
    tpm_rc rc = open_entity(c, &in->enc_data, plain, entity);

    if (rc || (rc = open_validate(key_find(c->tpm, c->handles[1]), &in->enc_new_auth, a1)) ||
        (rc = check_link(c, entity, a1, &in->new_auth_link)))
        return rc;
    *entity_secret(entity) = a1->new_auth_secret;
    rc = entity_wrap(c, &c->keys[0]->key, entity, &out->out_data);
    if (!rc)
        prove(c, a1, out);
    return rc;
}

/* TPM 1.2 Part 3, 27.4.2 TPM_ChangeAuthAsymFinish */
tpm_rc cmd_change_auth_asym_finish(struct cmd *c, const struct change_auth_asym_finish_in *in,
                                   struct change_auth_asym_finish_out *out)
{
    struct entity entity = {.is_key = in->entity_type == TPM_ET_KEY};
    struct tpm_changeauth_validate a1 = {.n1 = {{0}}};
    uint8_t plain[CR_RSA_MAX];
    tpm_rc rc;

    /* 1. */
    rc = check_parent(c);
    if (rc)
        return rc;
    /* 2. */
    if (in->entity_type != TPM_ET_KEY && in->entity_type != TPM_ET_DATA)
        return TPM_WRONG_ENTITYTYPE;
    if (c->keys[0]->key.usage != TPM_KEY_STORAGE)
        return TPM_INVALID_KEYUSAGE;
    /* 3-10. */
    rc = change(c, in, plain, &entity, &a1, out);
    vt_wipe(plain, sizeof plain);
    vt_wipe(&entity, sizeof entity);
    vt_wipe(&a1, sizeof a1);
    /* 11. */
    if (!rc)
        key_flush(c->tpm, key_find(c->tpm, c->handles[1]));
    return rc;
}

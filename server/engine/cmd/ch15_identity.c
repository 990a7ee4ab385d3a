/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 15: identities: made, and their credentials opened. */
#include "server/engine/auth.h"
#include "server/engine/handlers.h"

#define CONTENTS_MAX 512 /* a TPM_IDENTITY_CONTENTS of 2048 bits: 312 */

/* ---- 15.1 ---- */

/* Actions 1, 4 and 5; the reader of keys knows what an identity must be like. */
static tpm_rc read_params(const struct tpm_key *in, struct tpm_key_obj *key)
{
    struct tpm_key params = *in;
    tpm_rc rc;

    params.pub_key = (struct tpm_blob){0};
    rc = key_from_wire(key, &params);
    if (rc)
        return rc;
    return key->usage == TPM_KEY_IDENTITY && !(key->flags & (TPM_MIGRATABLE | TPM_MIGRATEAUTHORITY))
               ? TPM_SUCCESS
               : TPM_INVALID_KEYUSAGE;
}

/* Actions 16-17: the new key signs that it is for this CA. */
static tpm_rc bind_identity(struct cmd *c, const struct tpm_key_obj *key, const struct tpm_digest *label,
                            struct tpm_blob *binding)
{
    struct key_slot slot = {.key = *key};
    struct tpm_identity_contents contents = {
        .ver = {.major = 1, .minor = 1},
        .ordinal = c->ordinal,
        .label_priv_ca_digest = *label,
    };
    uint8_t bytes[CONTENTS_MAX], digest[TPM_DIGEST_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);
    tpm_rc rc;

    key_to_pubkey(&contents.identity_pub_key, &slot.key);
    wr_identity_contents(&w, &contents);
    cr_sha1(digest, bytes, w.len);
    rc = w.bad ? TPM_SIZE : key_sign_digest(c, &slot, digest, binding);
    cr_rsa_free(slot.rsa);
    tpm_key_obj_wipe(&slot.key);
    return rc;
}

/* TPM 1.2 Part 3, 15.1 TPM_MakeIdentity */
tpm_rc cmd_make_identity(struct cmd *c, const struct make_identity_in *in, struct make_identity_out *out)
{
    const struct tpm_key_obj *srk = &c->tpm->perm.srk.key;
    TPM_SECRET_KEY_OBJ key = {0};
    unsigned last = c->auth_count - 1;
    tpm_rc rc;

    /* 1, 4-6. 2-3 were the pipeline's: the owner's session is the last one and OSAP. */
    if ((rc = key_check_pcrs(c, srk)) || (rc = read_params(&in->id_key_params, &key)) ||
        (rc = cmd_decrypt_auth(c, last, false, &in->identity_auth, &key.usage_auth)))
        return rc;
    /* 7. */
    cmd_end_session(c, 0);
    /* 8-14. */
    key.migration_auth = c->tpm->perm.tpm_proof;
    key_stamp_pcrs(c, &key);
    rc = key_generate(c, &key, key.rsa.pub.bytes * 8u);
    if (rc)
        return rc;
    /* 15-17. */
    rc = key_answer_wrapped(c, srk, &key, &out->id_key);
    return rc ? rc : bind_identity(c, &key, &in->label_priv_ca_digest, &out->identity_binding);
}

/* ---- 15.2 ---- */

/* Action 7: version 1.1's contents. */
static tpm_rc open_contents(const uint8_t *plain, size_t len, const uint8_t identity[TPM_DIGEST_LEN],
                            struct tpm_symmetric_key *key)
{
    struct tpm_asym_ca_contents contents;
    struct rd r = rd_from(plain, len);
    tpm_rc rc;

    rd_asym_ca_contents(&r, &contents);
    rc = rd_result(&r);
    if (rc)
        return rc;
    if (memcmp(contents.id_digest.bytes, identity, TPM_DIGEST_LEN) != 0)
        return TPM_BAD_PARAMETER;
    *key = contents.session_key;
    return TPM_SUCCESS;
}

/* Action 8: version 1.2's, which may want PCRs and a locality. */
static tpm_rc open_ek_blob(const struct cmd *c, const uint8_t *plain, size_t len,
                           const uint8_t identity[TPM_DIGEST_LEN], struct tpm_symmetric_key *key)
{
    struct tpm_ek_blob outer;
    struct tpm_ek_blob_activate inner;
    struct rd r = rd_from(plain, len);
    tpm_rc rc;

    rd_ek_blob(&r, &outer);
    rc = rd_result(&r);
    if (rc)
        return rc;
    if (outer.ek_type != TPM_EK_TYPE_ACTIVATE)
        return TPM_BAD_TYPE;
    r = rd_from(outer.blob.data, outer.blob.len);
    rd_ek_blob_activate(&r, &inner);
    rc = rd_result(&r);
    if (rc)
        return rc;
    if (memcmp(inner.id_digest.bytes, identity, TPM_DIGEST_LEN) != 0)
        return TPM_BAD_PARAMETER;
    rc = pcr_check_release(c, &inner.pcr_info);
    *key = inner.session_key;
    return rc;
}

/* TPM 1.2 Part 3, 15.2 TPM_ActivateIdentity */
tpm_rc cmd_activate_identity(struct cmd *c, const struct activate_identity_in *in,
                             struct activate_identity_out *out)
{
    const struct tpm_key_obj *identity = &c->keys[0]->key;
    struct key_slot *ek = &c->tpm->perm.ek;
    uint8_t digest[TPM_DIGEST_LEN], *plain = cmd_alloc(c, CR_RSA_MAX); /* the answer borrows from it */
    struct rd r;
    size_t len;
    tpm_rc rc;

    if (!plain)
        return TPM_SIZE;
    /* 1-2 were the pipeline's; PCRs: */
    rc = key_check_pcrs(c, identity);
    if (rc)
        return rc;
    /* 3-4. */
    if (identity->usage != TPM_KEY_IDENTITY)
        return TPM_BAD_PARAMETER;
    key_pubkey_digest(identity, digest);
    /* 5. */
    if (in->blob.len > ek->key.rsa.pub.bytes)
        return TPM_BAD_DATASIZE;
    rc = key_unwrap_blob(ek, &in->blob, plain, &len);
    if (rc)
        return rc;
    /* 6-8. */
    r = rd_from(plain, len);
    return rd_peek16(&r) == TPM_TAG_EK_BLOB ? open_ek_blob(c, plain, len, digest, &out->symmetric_key)
                                            : open_contents(plain, len, digest, &out->symmetric_key);
}

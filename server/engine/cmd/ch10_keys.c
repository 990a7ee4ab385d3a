/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 10, keys: made, loaded, read. (ch10_storage.c: sealed data.) */
#include "server/engine/auth.h"
#include "server/engine/handlers.h"

/* ---- 10.4 ---- */

/* Actions 3-8. What a key must be like is checked before what may be below the parent: libtpms agrees. */
static tpm_rc read_key_info(const struct tpm_key_obj *parent, const struct tpm_key *in,
                            struct tpm_key_obj *key)
{
    struct tpm_key info = *in;
    tpm_rc rc;

    /* Callers may leave anything where the modulus will be. */
    info.pub_key = (struct tpm_blob){0};
    rc = key_from_wire(key, &info);
    if (rc)
        return rc;
    if (parent->usage != TPM_KEY_STORAGE)
        return TPM_INVALID_KEYUSAGE;
    /* 5. Below a key that can leave the TPM none can be that cannot. */
    if ((parent->flags & TPM_MIGRATABLE) && !(key->flags & TPM_MIGRATABLE))
        return TPM_INVALID_KEYUSAGE;
    /* 6. Made by other commands. */
    if (key->usage == TPM_KEY_IDENTITY || key->usage == TPM_KEY_AUTHCHANGE ||
        (key->flags & TPM_MIGRATEAUTHORITY))
        return TPM_INVALID_KEYUSAGE;
    return TPM_SUCCESS;
}

/* Actions 10, 11 and 14: the two secrets under the session; what cannot migrate gets tpmProof for the second.
 */
static tpm_rc read_secrets(struct cmd *c, const struct create_wrap_key_in *in, struct tpm_key_obj *key)
{
    tpm_rc rc = cmd_decrypt_auth(c, 0, false, &in->data_usage_auth, &key->usage_auth);

    if (!rc)
        rc = cmd_decrypt_auth(c, 0, true, &in->data_migration_auth, &key->migration_auth);
    if (!(key->flags & TPM_MIGRATABLE))
        key->migration_auth = c->tpm->perm.tpm_proof;
    return rc;
}

/* TPM 1.2 Part 3, 10.4 TPM_CreateWrapKey */
tpm_rc cmd_create_wrap_key(struct cmd *c, const struct create_wrap_key_in *in,
                           struct create_wrap_key_out *out)
{
    const struct tpm_key_obj *parent = &c->keys[0]->key;
    TPM_SECRET_KEY_OBJ key = {0};
    tpm_rc rc;

    /* 1-2. The pipeline proved the parent by an OSAP session. */
    if ((rc = key_check_pcrs(c, parent)) || (rc = read_key_info(parent, &in->key_info, &key)) ||
        (rc = read_secrets(c, in, &key)))
        return rc;
    /* 13-15. */
    key_stamp_pcrs(c, &key);
    rc = key_generate(c, &key, key.rsa.pub.bytes * 8u);
    if (rc)
        return rc;
    /* 16. */
    return key_answer_wrapped(c, parent, &key, &out->wrapped_key);
}

/* ---- 10.5 ---- */

/* Actions 6 and 7, with the private part known. */
static tpm_rc check_loaded(const struct tpm *tpm, const struct tpm_key *in, const struct tpm_key_obj *key)
{
    bool migratable = (key->flags & TPM_MIGRATABLE) != 0;

    /* 6.a. pubDataDigest is also over the version's revisions, and none but 1.1.0.0 is written here. */
    if (!in->is_12 && (in->ver.rev_major || in->ver.rev_minor))
        return TPM_AUTHFAIL;
    if (key->usage == TPM_KEY_AUTHCHANGE || (key->usage == TPM_KEY_IDENTITY && migratable))
        return TPM_INVALID_KEYUSAGE;
    /* d. A key that cannot migrate was made here, by this owner. */
    if (!migratable &&
        !vt_ct_equal(key->migration_auth.bytes, tpm->perm.tpm_proof.bytes, sizeof key->migration_auth.bytes))
        return TPM_INVALID_KEYUSAGE;
    return TPM_SUCCESS;
}

/* Actions 3-7. */
static tpm_rc open_key(struct cmd *c, const struct tpm_key *in, struct tpm_key_obj *key)
{
    tpm_rc rc;

    /* 3-4, 7.e-h. */
    rc = key_from_wire(key, in);
    /* 5-7. Without a modulus none fits the private part. */
    if (!rc)
        rc = key_unwrap(c->keys[0], key, &in->enc_data);
    return rc ? rc : check_loaded(c->tpm, in, key);
}

/* What TPM_LoadKey2 and its ancestor do alike. */
static tpm_rc load(struct cmd *c, const struct tpm_key *in, uint32_t *handle)
{
    const struct key_slot *parent = c->keys[0];
    struct key_slot *slot = NULL;
    TPM_SECRET_KEY_OBJ key = {0};
    tpm_rc rc;

    /* 1-2. */
    rc = key_check_pcrs(c, &parent->key);
    if (rc)
        return rc;
    if (parent->key.usage != TPM_KEY_STORAGE)
        return TPM_INVALID_KEYUSAGE;
    /* 3-7. */
    rc = open_key(c, in, &key);
    /* 9-12. */
    if (!rc)
        slot = key_insert(c->tpm, &key, parent->parent_pcr_status || key_uses_pcrs(&parent->key));
    if (!slot)
        return rc ? rc : TPM_NOSPACE;
    *handle = slot->handle;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 10.5 TPM_LoadKey2 */
tpm_rc cmd_load_key2(struct cmd *c, const struct load_key2_in *in, struct load_key2_out *out)
{
    (void)out;
    return load(c, &in->in_key, &c->out_handle);
}

/* TPM 1.2 Part 3, 27.8 TPM_LoadKey: as TPM_LoadKey2, but the handle is one of the proved parameters. */
tpm_rc cmd_load_key(struct cmd *c, const struct load_key_in *in, struct load_key_out *out)
{
    return load(c, &in->in_key, &out->inkey_handle);
}

/* ---- 10.6 ---- */

/* TPM 1.2 Part 3, 10.6 TPM_GetPubKey */
tpm_rc cmd_get_pub_key(struct cmd *c, const struct get_pub_key_in *in, struct get_pub_key_out *out)
{
    const struct tpm_key_obj *key = &c->keys[0]->key;
    tpm_rc rc;

    (void)in;
    /* 1-2 were the pipeline's. 3. The SRK's modulus would name the platform. */
    if (c->handles[0] == TPM_KH_SRK && !c->tpm->perm.flags.read_srk_pub)
        return TPM_INVALID_KEYHANDLE;
    /* 4. */
    rc = key->flags & TPM_PCRIGNOREDONREAD ? TPM_SUCCESS : key_check_pcrs(c, key);
    if (rc)
        return rc;
    /* 5. */
    key_to_pubkey(&out->pub_key, key);
    return TPM_SUCCESS;
}

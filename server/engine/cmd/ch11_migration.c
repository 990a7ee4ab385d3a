/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 11: keys leave for another parent. (ch11_cmk.c: under migration authorities.) */
#include "server/engine/auth.h"
#include "server/engine/handlers.h"
#include "server/engine/migration.h"

#define STRONG_BITS 2048

static tpm_rc check_parent(const struct cmd *c)
{
    const struct tpm_key_obj *parent = &c->keys[0]->key;
    tpm_rc rc = key_check_pcrs(c, parent);

    if (rc)
        return rc;
    return parent->usage == TPM_KEY_STORAGE ? TPM_SUCCESS : TPM_INVALID_KEYUSAGE;
}

/* ---- 11.1 ---- */

/* Actions 3-4: whoever knows the migration secret may. Of a key that cannot migrate it is tpmProof. */
static tpm_rc open_migrant(struct cmd *c, const struct tpm_blob *enc, struct migrant *m)
{
    struct auth_entity entity = {.type = TPM_ET_KEY, .secret = &m->store.migration_auth};
    unsigned last = c->auth_count - 1;
    tpm_rc rc = migrant_open(c->keys[0], enc, m);

    if (rc)
        return rc;
    if (m->store.payload != TPM_PT_ASYM)
        return TPM_BAD_MIGRATION;
    if (c->auth[last].session->kind != SESSION_OIAP)
        return TPM_BAD_MODE;
    return cmd_check_auth(c, last, &entity);
}

/* TPM 1.2 Part 3, 11.1 TPM_CreateMigrationBlob */
tpm_rc cmd_create_migration_blob(struct cmd *c, const struct create_migration_blob_in *in,
                                 struct create_migration_blob_out *out)
{
    const struct tpm_migrationkeyauth *auth = &in->migration_key_auth;
    bool rewrap = in->migration_type == TPM_MS_REWRAP;
    MIGRANT m = {.store = {.payload = 0}};
    tpm_rc rc;

    /* 1-4. */
    if ((rc = check_parent(c)) || (rc = open_migrant(c, &in->enc_data, &m)))
        return rc;
    /* 5. */
    if (!migration_key_right(c->tpm, auth))
        return TPM_AUTHFAIL;
    /* 8. */
    if (!rewrap && in->migration_type != TPM_MS_MIGRATE)
        return TPM_BAD_PARAMETER;
    /* 11.3: migrationScheme is what the owner permits for this key. The code is 11.7 action 2's. */
    if (in->migration_type != auth->migration_scheme)
        return TPM_BAD_MODE;
    /* 7. As it is, for a parent that can open it alone; 6: the new parent gets it in two halves. */
    return rewrap ? migrant_rewrap(c, &m, &auth->migration_key, &out->out_data)
                  : migrant_send(c, &m, TPM_PT_MIGRATE, m.store.migration_auth.bytes, &auth->migration_key,
                                 &out->random, &out->out_data);
}

/* ---- 11.2 ---- */

/* TPM 1.2 Part 3, 11.2 TPM_ConvertMigrationBlob */
tpm_rc cmd_convert_migration_blob(struct cmd *c, const struct convert_migration_blob_in *in,
                                  struct convert_migration_blob_out *out)
{
    MIGRANT m = {.store = {.payload = 0}};
    tpm_rc rc;

    /* 1-6. */
    if ((rc = check_parent(c)) || (rc = migrant_receive(c->keys[0], &in->in_data, &in->random, &m)))
        return rc;
    /* 7. */
    if (m.store.payload != TPM_PT_MIGRATE)
        return TPM_BAD_MIGRATION;
    m.store.payload = TPM_PT_ASYM;
    /* 8-9. */
    return migrant_wrap(c, &c->keys[0]->key, &m, &out->out_data);
}

/* ---- 11.3 ---- */

/* Action 1: as strong as 2048 bits, with the default exponent. */
static tpm_rc check_strength(const struct tpm_pubkey *key)
{
    struct cr_rsa_pub pub;
    tpm_rc rc = key_rsa_pub(&pub, key);

    if (rc)
        return rc;
    return pub.bytes * 8 >= STRONG_BITS && pub.e == 65537 ? TPM_SUCCESS : TPM_BAD_KEY_PROPERTY;
}

/* TPM 1.2 Part 3, 11.3 TPM_AuthorizeMigrationKey */
tpm_rc cmd_authorize_migration_key(struct cmd *c, const struct authorize_migration_key_in *in,
                                   struct authorize_migration_key_out *out)
{
    tpm_rc rc;

    /* 1. 2 was the pipeline's. */
    rc = check_strength(&in->migration_key);
    if (rc)
        return rc;
    /* 4. */
    if (in->migration_key.algorithm_parms.enc_scheme != TPM_ES_RSAESOAEP_SHA1_MGF1)
        return TPM_INAPPROPRIATE_ENC;
    /* 3, 5-9. */
    out->out_data.migration_key = in->migration_key;
    out->out_data.migration_scheme = in->migration_scheme;
    migration_key_digest(c->tpm, &in->migration_key, in->migration_scheme, out->out_data.digest.bytes);
    return TPM_SUCCESS;
}

/* ---- 11.4 ---- */

/* TPM 1.2 Part 3, 11.4 TPM_MigrateKey */
tpm_rc cmd_migrate_key(struct cmd *c, const struct migrate_key_in *in, struct migrate_key_out *out)
{
    const struct tpm_key_obj *authority = &c->keys[0]->key;
    uint8_t plain[CR_RSA_MAX];
    size_t len;
    tpm_rc rc;

    /* 1. */
    rc = key_check_pcrs(c, authority);
    if (rc)
        return rc;
    /* 2. Its scheme goes with its usage. */
    if (authority->usage != TPM_KEY_MIGRATE)
        return TPM_INVALID_KEYUSAGE;
    /* 3-4. */
    rc = key_unwrap_blob(c->keys[0], &in->in_data, plain, &len);
    if (!rc)
        rc = key_encrypt_for(c, &in->pub_key, plain, len, &out->out_data);
    vt_wipe(plain, sizeof plain);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 11: certified migration keys: they leave only as a migration authority allows. */
#include "server/engine/auth.h"
#include "server/engine/handlers.h"
#include "server/engine/migration.h"

/* ---- 11.5, 11.6 ---- */

/* TPM 1.2 Part 3, 11.5 TPM_CMK_SetRestrictions */
tpm_rc cmd_cmk_set_restrictions(struct cmd *c, const struct cmk_set_restrictions_in *in,
                                struct cmk_set_restrictions_out *out)
{
    struct wr w = wr_to(c->tpm->perm.restrict_delegate, sizeof c->tpm->perm.restrict_delegate);

    (void)out;
    /* 1 was the pipeline's. 2-3. */
    wr_put32(&w, in->restriction);
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 11.6 TPM_CMK_ApproveMA */
tpm_rc cmd_cmk_approve_ma(struct cmd *c, const struct cmk_approve_ma_in *in, struct cmk_approve_ma_out *out)
{
    struct tpm_cmk_ma_approval m2 = {.migration_authority_digest = in->migration_authority_digest};

    /* 1 was the pipeline's. 2-4. */
    ticket_of_approval(c->tpm, &m2, out->out_data.bytes);
    return TPM_SUCCESS;
}

/* ---- 11.7 ---- */

/* Actions 4-7: the parent stays here, the key may leave. */
static tpm_rc check_flags(const struct tpm_key_obj *parent, const struct tpm_key_obj *key)
{
    const uint32_t both = TPM_MIGRATABLE | TPM_MIGRATEAUTHORITY;

    if (parent->usage != TPM_KEY_STORAGE || (parent->flags & TPM_MIGRATABLE))
        return TPM_INVALID_KEYUSAGE;
    return (key->flags & both) == both ? TPM_SUCCESS : TPM_INVALID_KEYUSAGE;
}

/* Action 8: did the owner approve of these migration authorities? */
static tpm_rc check_approval(const struct cmd *c, const struct cmk_create_key_in *in)
{
    struct tpm_cmk_ma_approval m1 = {.migration_authority_digest = in->migration_authority_digest};
    uint8_t expected[TPM_DIGEST_LEN];

    ticket_of_approval(c->tpm, &m1, expected);
    return vt_ct_equal(expected, in->migration_authority_approval.bytes, sizeof expected) ? TPM_SUCCESS
                                                                                         : TPM_MA_AUTHORITY;
}

/* Actions 3-12. What a key must be like is known to the reader of keys. */
static tpm_rc read_key_info(const struct cmd *c, const struct cmk_create_key_in *in, struct tpm_key_obj *key)
{
    struct tpm_key info = in->key_info;
    tpm_rc rc;

    info.pub_key = (struct tpm_blob){0};
    if ((rc = key_from_wire(key, &info)) || (rc = check_flags(&c->keys[0]->key, key)) || (rc = check_approval(c, in)))
        return rc;
    if (key->usage == TPM_KEY_IDENTITY || key->usage == TPM_KEY_AUTHCHANGE)
        return TPM_INVALID_KEYUSAGE;
    return key->is_key12 ? TPM_SUCCESS : TPM_INVALID_STRUCTURE;
}

/* Actions 17.c-e: its migration secret says who may let it go. */
static void bind_authority(const struct tpm *tpm, const struct tpm_digest *authorities, struct tpm_key_obj *key)
{
    struct tpm_cmk_migauth m2 = {.msa_digest = *authorities};

    key->payload = TPM_PT_MIGRATE_RESTRICTED;
    key_pubkey_digest(key, m2.pub_key_digest.bytes);
    ticket_of_migauth(tpm, &m2, key->migration_auth.bytes);
}

/* TPM 1.2 Part 3, 11.7 TPM_CMK_CreateKey */
tpm_rc cmd_cmk_create_key(struct cmd *c, const struct cmk_create_key_in *in, struct cmk_create_key_out *out)
{
    const struct tpm_key_obj *parent = &c->keys[0]->key;
    TPM_SECRET_KEY_OBJ key = {0};
    tpm_rc rc;

    /* 1-2 were the pipeline's. 3-15. */
    if ((rc = key_check_pcrs(c, parent)) || (rc = read_key_info(c, in, &key)) ||
        (rc = cmd_decrypt_auth(c, 0, false, &in->data_usage_auth, &key.usage_auth)))
        return rc;
    /* 16-18. */
    key_stamp_pcrs(c, &key);
    rc = key_generate(c, &key, key.rsa.pub.bytes * 8u);
    if (rc)
        return rc;
    bind_authority(c->tpm, &in->migration_authority_digest, &key);
    /* 19-20. */
    return key_answer_wrapped(c, parent, &key, &out->wrapped_key);
}

/* ---- 11.8 ---- */

/* Action 2. */
static tpm_rc check_verifier(const struct tpm_key_parms *parms)
{
    if (parms->algorithm_id != TPM_ALG_RSA)
        return TPM_BAD_KEY_PROPERTY;
    if (parms->enc_scheme != TPM_ES_NONE)
        return TPM_INAPPROPRIATE_ENC;
    return parms->sig_scheme == TPM_SS_RSASSAPKCS1v15_SHA1 || parms->sig_scheme == TPM_SS_RSASSAPKCS1v15_INFO
               ? TPM_SUCCESS
               : TPM_INVALID_KEYUSAGE;
}

/* TPM 1.2 Part 3, 11.8 TPM_CMK_CreateTicket */
tpm_rc cmd_cmk_create_ticket(struct cmd *c, const struct cmk_create_ticket_in *in, struct cmk_create_ticket_out *out)
{
    struct tpm_cmk_sigticket m2 = {.signed_data = in->signed_data};
    const struct tpm_blob *sig = &in->signature_value;
    struct cr_rsa_pub pub;
    tpm_rc rc;

    /* 1 was the pipeline's. 2. */
    if ((rc = check_verifier(&in->verification_key.algorithm_parms)) || (rc = key_rsa_pub(&pub, &in->verification_key)))
        return rc;
    /* 3. */
    if (cr_rsa_verify(&pub, CR_SIG_PKCS1_SHA1, in->signed_data.bytes, TPM_DIGEST_LEN, sig->data, sig->len))
        return TPM_BAD_SIGNATURE;
    /* 4-6. */
    pubkey_digest(&in->verification_key, m2.ver_key_digest.bytes);
    ticket_of_signature(c->tpm, &m2, out->sig_ticket.bytes);
    return TPM_SUCCESS;
}

/* ---- What 11.9 and 11.10 do alike ---- */

/* TPM_MSA_COMPOSITE to its last byte, and its digest. */
static tpm_rc read_msa(const struct tpm_blob *in, struct tpm_msa_composite *msa, uint8_t digest[TPM_DIGEST_LEN])
{
    struct rd r = rd_from(in->data, in->len);

    rd_msa_composite(&r, msa);
    cr_sha1(digest, in->data, in->len);
    return rd_result(&r);
}

static const uint8_t *authority(const struct tpm_msa_composite *msa, uint32_t n)
{
    return msa->mig_auth_digest + (size_t)n * TPM_DIGEST_LEN;
}

/* Did one of the authorities sign this TPM_CMK_AUTH? */
static tpm_rc check_sig_ticket(const struct cmd *c, const struct tpm_msa_composite *msa, struct cr_slice auth,
                               const uint8_t sig_ticket[TPM_DIGEST_LEN])
{
    struct tpm_cmk_sigticket v1 = {.ver_key_digest = {{0}}};
    uint8_t expected[TPM_DIGEST_LEN];

    cr_sha1(v1.signed_data.bytes, auth.ptr, auth.len);
    for (uint32_t n = 0; n < msa->msa_list; n++) {
        memcpy(v1.ver_key_digest.bytes, authority(msa, n), TPM_DIGEST_LEN);
        ticket_of_signature(c->tpm, &v1, expected);
        if (vt_ct_equal(expected, sig_ticket, sizeof expected))
            return TPM_SUCCESS;
    }
    return TPM_MA_TICKET_SIGNATURE;
}

static bool same(const struct tpm_digest *a, const uint8_t b[TPM_DIGEST_LEN])
{
    return !memcmp(a->bytes, b, TPM_DIGEST_LEN);
}

/* SHA-1(SHA-1(msaList) || SHA-1(public key)): pHash of a key on its way. */
static void phash_of(const struct tpm_cmk_migauth *m2, uint8_t out[TPM_DIGEST_LEN])
{
    cr_sha1v(out,
             (struct cr_slice[]){CR_SLICE(m2->msa_digest.bytes, TPM_DIGEST_LEN),
                                 CR_SLICE(m2->pub_key_digest.bytes, TPM_DIGEST_LEN)},
             2);
}

/* ---- 11.9 ---- */

/* Actions 1-4 and 6. */
static tpm_rc open_cmk(struct cmd *c, const struct cmk_create_blob_in *in, struct migrant *m)
{
    const struct tpm_key_obj *parent = &c->keys[0]->key;
    tpm_rc rc = key_check_pcrs(c, parent);

    if (rc)
        return rc;
    if ((parent->flags & TPM_MIGRATABLE) || parent->usage != TPM_KEY_STORAGE)
        return TPM_INVALID_KEYUSAGE;
    rc = migrant_open(c->keys[0], &in->enc_data, m);
    if (rc)
        return rc;
    /* 5. */
    if (!migration_key_right(c->tpm, &in->migration_key_auth))
        return TPM_AUTHFAIL;
    return m->store.payload == TPM_PT_ASYM ? TPM_INVALID_STRUCTURE : TPM_SUCCESS;
}

/* Action 7: its migration secret names these authorities and this key. */
static tpm_rc check_migauth(const struct cmd *c, const struct migrant *m, const struct tpm_cmk_migauth *m2)
{
    uint8_t expected[TPM_DIGEST_LEN];

    ticket_of_migauth(c->tpm, m2, expected);
    return vt_ct_equal(expected, m->store.migration_auth.bytes, sizeof expected) ? TPM_SUCCESS : TPM_MA_AUTHORITY;
}

/* Action 8: the destination is one of the authorities. */
static tpm_rc check_restricted(const struct cmk_create_blob_in *in, const struct tpm_msa_composite *msa,
                               const uint8_t destination[TPM_DIGEST_LEN])
{
    const struct tpm_key_parms *parms = &in->migration_key_auth.migration_key.algorithm_parms;
    bool found = false;

    for (uint32_t n = 0; n < msa->msa_list; n++)
        found |= !memcmp(destination, authority(msa, n), TPM_DIGEST_LEN);
    if (!found)
        return TPM_MA_TICKET_SIGNATURE;
    /* b. TPM_AuthorizeMigrationKey looked at the rest. */
    if (parms->sig_scheme != TPM_SS_NONE)
        return TPM_INVALID_KEYUSAGE;
    /* c-d. */
    return in->restrict_ticket.len || in->sig_ticket.len ? TPM_BAD_PARAMETER : TPM_SUCCESS;
}

/* Action 9: an authority signed that this key may go there. */
static tpm_rc check_approved(const struct cmd *c, const struct cmk_create_blob_in *in,
                             const struct tpm_msa_composite *msa, const uint8_t destination[TPM_DIGEST_LEN])
{
    const struct tpm_blob *ticket = &in->restrict_ticket;
    struct rd r = rd_from(ticket->data, ticket->len);
    struct tpm_cmk_auth auth;
    tpm_rc rc;

    if (in->sig_ticket.len != TPM_DIGEST_LEN)
        return TPM_BAD_PARAM_SIZE;
    rc = check_sig_ticket(c, msa, CR_SLICE(ticket->data, ticket->len), in->sig_ticket.data);
    if (rc)
        return rc;
    rd_cmk_auth(&r, &auth);
    rc = rd_result(&r);
    if (rc)
        return rc;
    if (!same(&auth.destination_key_digest, destination))
        return TPM_MA_DESTINATION;
    return same(&auth.source_key_digest, in->pub_source_key_digest.bytes) ? TPM_SUCCESS : TPM_MA_SOURCE;
}

/* TPM 1.2 Part 3, 11.9 TPM_CMK_CreateBlob */
tpm_rc cmd_cmk_create_blob(struct cmd *c, const struct cmk_create_blob_in *in, struct cmk_create_blob_out *out)
{
    const struct tpm_migrationkeyauth *to = &in->migration_key_auth;
    struct tpm_cmk_migauth m2 = {.pub_key_digest = in->pub_source_key_digest};
    uint8_t destination[TPM_DIGEST_LEN], phash[TPM_DIGEST_LEN];
    struct tpm_msa_composite msa;
    MIGRANT m = {.store = {.payload = 0}};
    tpm_rc rc;

    /* 1-7. */
    if ((rc = read_msa(&in->msa_list, &msa, m2.msa_digest.bytes)) || (rc = open_cmk(c, in, &m)) ||
        (rc = check_migauth(c, &m, &m2)))
        return rc;
    /* 8-10. */
    pubkey_digest(&to->migration_key, destination);
    if (to->migration_scheme == TPM_MS_RESTRICT_MIGRATE)
        rc = check_restricted(in, &msa, destination);
    else if (to->migration_scheme == TPM_MS_RESTRICT_APPROVE)
        rc = check_approved(c, in, &msa, destination);
    else
        rc = TPM_BAD_PARAMETER;
    if (rc)
        return rc;
    /* 11-17. */
    phash_of(&m2, phash);
    return migrant_send(c, &m, TPM_PT_CMK_MIGRATE, phash, &to->migration_key, &out->random, &out->out_data);
}

/* ---- 11.10 ---- */

/* Actions 3-10: what came, and that it came for this key and these authorities. */
static tpm_rc receive(struct cmd *c, const struct cmk_convert_migration_in *in, const struct tpm_key_obj *migrated,
                      struct tpm_msa_composite *msa, struct tpm_cmk_migauth *m2, struct migrant *m)
{
    uint8_t phash[TPM_DIGEST_LEN];
    tpm_rc rc = migrant_receive(c->keys[0], &in->migrated_key.enc_data, &in->random, m);

    if (rc || (rc = read_msa(&in->msa_list, msa, m2->msa_digest.bytes)))
        return rc;
    key_pubkey_digest(migrated, m2->pub_key_digest.bytes);
    phash_of(m2, phash);
    if (!vt_ct_equal(phash, m->store.migration_auth.bytes, sizeof phash))
        return TPM_AUTHFAIL;
    /* 9. */
    if (c->keys[0]->key.flags & TPM_MIGRATABLE)
        return TPM_INVALID_KEYUSAGE;
    return m->store.payload == TPM_PT_CMK_MIGRATE ? TPM_SUCCESS : TPM_BAD_MIGRATION;
}

/* Action 14: are these two parts of one key? */
static tpm_rc check_pair(const struct tpm_key_obj *migrated, const struct migrant *m)
{
    CR_SECRET_RSA pair = {.pub = migrated->rsa.pub};
    struct cr_rsa *rsa = NULL;
    tpm_rc rc;

    if (m->store.priv_key.len != pair.pub.bytes / 2u)
        return TPM_BAD_PARAMETER;
    memcpy(pair.p, m->store.priv_key.data, m->store.priv_key.len);
    rc = cmd_crypto_rc(cr_rsa_load(&rsa, &pair), TPM_BAD_PARAMETER);
    cr_rsa_free(rsa);
    return rc;
}

/* Actions 11-17. */
static tpm_rc check_ticket(const struct cmd *c, const struct cmk_convert_migration_in *in,
                           const struct tpm_key_obj *migrated, const struct tpm_msa_composite *msa,
                           const struct tpm_cmk_migauth *m2, const struct migrant *m)
{
    const uint32_t both = TPM_MIGRATABLE | TPM_MIGRATEAUTHORITY;
    uint8_t bytes[3 * TPM_DIGEST_LEN], parent[TPM_DIGEST_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);
    tpm_rc rc;

    wr_cmk_auth(&w, &in->restrict_ticket);
    rc = check_sig_ticket(c, msa, CR_SLICE(bytes, w.len), in->sig_ticket.bytes);
    if (rc)
        return rc;
    key_pubkey_digest(&c->keys[0]->key, parent);
    if (!same(&in->restrict_ticket.destination_key_digest, parent))
        return TPM_MA_DESTINATION;
    rc = check_pair(migrated, m);
    if (rc)
        return rc;
    if ((migrated->flags & both) != both)
        return TPM_INVALID_KEYUSAGE;
    return same(&in->restrict_ticket.source_key_digest, m2->pub_key_digest.bytes) ? TPM_SUCCESS : TPM_MA_SOURCE;
}

/* TPM 1.2 Part 3, 11.10 TPM_CMK_ConvertMigration */
tpm_rc cmd_cmk_convert_migration(struct cmd *c, const struct cmk_convert_migration_in *in,
                                 struct cmk_convert_migration_out *out)
{
    const struct tpm_key_obj *parent = &c->keys[0]->key;
    TPM_SECRET_KEY_OBJ migrated = {0};
    struct tpm_msa_composite msa;
    struct tpm_cmk_migauth m2;
    MIGRANT m = {.store = {.payload = 0}};
    tpm_rc rc;

    /* 1-2. */
    rc = key_check_pcrs(c, parent);
    if (rc)
        return rc;
    if (parent->usage != TPM_KEY_STORAGE)
        return TPM_INVALID_KEYUSAGE;
    /* 3-17. */
    if ((rc = key_from_wire(&migrated, &in->migrated_key)) || (rc = receive(c, in, &migrated, &msa, &m2, &m)) ||
        (rc = check_ticket(c, in, &migrated, &msa, &m2, &m)))
        return rc;
    /* 10, 18-19. */
    m.store.payload = TPM_PT_MIGRATE_EXTERNAL;
    ticket_of_migauth(c->tpm, &m2, m.store.migration_auth.bytes);
    /* 20-21. */
    return migrant_wrap(c, parent, &m, &out->out_data);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TPM 1.2 Part 3, chapter 12: the manufacturer moves what cannot migrate, SRK and tpmProof, to another TPM. Only where
 * the profile has it; everywhere else these ordinals are not there. Part 3 leaves to the vendor how an archive is known
 * to come from the manufacturer (12.2 action 2): here by its signature with the key of TPM_LoadManuMaintPub.
 */
#include "server/engine/auth.h"
#include "server/engine/handlers.h"
#include "server/engine/migration.h"

#define STRONG_BITS 2048
#define ARCHIVE_MAX 640 /* a TPM_KEY12 of 2048 bits, bound to PCRs, with its encData */

bool tpm_maint_pub(const struct tpm *tpm, struct tpm_pubkey *out)
{
    struct rd r = rd_from(tpm->perm.maint_pub, tpm->perm.maint_pub_len);
    struct cr_rsa_pub pub;

    rd_pubkey(&r, out);
    return !rd_result(&r) && !key_rsa_pub(&pub, out);
}

/* ---- 12.1 ---- */

/* Actions 5-7: TPM_MIGRATE_ASYMKEY's fields. The private key borrows from the SRK. */
static void srk_as_migrant(const struct permanent *perm, struct migrant *m)
{
    const struct tpm_key_obj *srk = &perm->srk.key;

    m->store = (struct tpm_store_asymkey){
        .payload = TPM_PT_MAINT,
        .usage_auth = perm->tpm_proof,
        .priv_key = {.len = srk->rsa.pub.bytes / 2u, .data = srk->rsa.p},
    };
    memcpy(m->store.pub_data_digest.bytes, srk->pub_digest, TPM_DIGEST_LEN);
}

/* Actions 4-13. */
static tpm_rc make_archive(struct cmd *c, const struct tpm_pubkey *to, bool random,
                           struct create_maintenance_archive_out *out)
{
    const struct permanent *perm = &c->tpm->perm;
    struct wr w = wr_to(cmd_alloc(c, ARCHIVE_MAX), ARCHIVE_MAX);
    MIGRANT m = {.store = {.payload = 0}};
    struct tpm_blob enc;
    struct tpm_key a1;
    tpm_rc rc;

    if (!w.base)
        return TPM_SIZE;
    srk_as_migrant(perm, &m);
    rc = random ? migrant_send(c, &m, TPM_PT_MAINT, perm->owner_auth.bytes, to, &out->random, &enc)
                : migrant_send_secret(c, &m, TPM_PT_MAINT, &perm->owner_auth, to, &enc);
    if (rc)
        return rc;
    key_to_wire(&a1, &perm->srk.key, &enc);
    wr_key(&w, &a1);
    out->archive = (struct tpm_blob){.len = (uint32_t)w.len, .data = w.base};
    return w.bad ? TPM_SIZE : TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 12.1 TPM_CreateMaintenanceArchive */
tpm_rc cmd_create_maintenance_archive(struct cmd *c, const struct create_maintenance_archive_in *in,
                                      struct create_maintenance_archive_out *out)
{
    struct tpm_pubkey to;
    tpm_rc rc;

    /* 1. 2 was the pipeline's. */
    if (!c->tpm->perm.flags.allow_maintenance)
        return TPM_DISABLED_CMD;
    /* 3. */
    if (!tpm_maint_pub(c->tpm, &to))
        return TPM_KEYNOTFOUND;
    /* 4-13, 15. */
    rc = make_archive(c, &to, in->generate_random, out);
    if (rc)
        return rc;
    /* 14. */
    c->tpm->perm.flags.maintenance_done = true;
    return TPM_SUCCESS;
}

/* ---- 12.2 ---- */

/* Action 2. */
static tpm_rc check_sender(const struct tpm *tpm, const struct load_maintenance_archive_in *in)
{
    uint8_t digest[TPM_DIGEST_LEN];
    struct tpm_pubkey from;
    struct cr_rsa_pub pub;

    if (!tpm_maint_pub(tpm, &from) || key_rsa_pub(&pub, &from))
        return TPM_KEYNOTFOUND;
    cr_sha1(digest, in->archive.data, in->archive.len);
    return cr_rsa_verify(&pub, CR_SIG_PKCS1_SHA1, digest, sizeof digest, in->sig.data, in->sig.len) ? TPM_BAD_SIGNATURE
                                                                                                    : TPM_SUCCESS;
}

/* The public part of a key that can be an SRK (6.1 action 8). */
static tpm_rc read_srk(const struct tpm_blob *archive, struct tpm_key *wire, struct tpm_key_obj *srk)
{
    struct rd r = rd_from(archive->data, archive->len);
    tpm_rc rc;

    rd_key(&r, wire);
    rc = rd_result(&r);
    if (rc)
        return rc;
    if (wire->key_usage != TPM_KEY_STORAGE || (wire->key_flags & TPM_MIGRATABLE))
        return TPM_INVALID_KEYUSAGE;
    rc = key_from_wire(srk, wire);
    if (rc)
        return rc;
    return wire->pub_key.len ? TPM_SUCCESS : TPM_BAD_KEY_PROPERTY;
}

/* Its private part: of this key, and nothing else than an archive. */
static tpm_rc take_private(struct tpm_key_obj *srk, const struct migrant *m)
{
    struct cr_rsa *rsa = NULL;
    tpm_rc rc;

    if (m->store.payload != TPM_PT_MAINT)
        return TPM_INVALID_STRUCTURE;
    if (m->store.priv_key.len != srk->rsa.pub.bytes / 2u ||
        !vt_ct_equal(m->store.pub_data_digest.bytes, srk->pub_digest, sizeof srk->pub_digest))
        return TPM_BAD_PARAMETER;
    memcpy(srk->rsa.p, m->store.priv_key.data, m->store.priv_key.len);
    rc = cmd_crypto_rc(cr_rsa_load(&rsa, &srk->rsa), TPM_BAD_PARAMETER);
    cr_rsa_free(rsa);
    return rc;
}

/* Actions 3-4: it was encrypted for the SRK of this TPM. */
static tpm_rc open_archive(struct tpm *tpm, const struct load_maintenance_archive_in *in, struct tpm_key_obj *srk,
                           struct migrant *m)
{
    struct key_slot *mine = &tpm->perm.srk;
    struct tpm_key wire;
    tpm_rc rc = read_srk(&in->archive, &wire, srk);

    if (rc)
        return rc;
    rc = in->random.len ? migrant_receive(mine, &wire.enc_data, &in->random, m)
                        : migrant_receive_secret(mine, &wire.enc_data, &tpm->perm.owner_auth, m);
    return rc ? rc : take_private(srk, m);
}

/* Actions 6-7; nothing here can fail. In the archive usageAuth is tpmProof, the pHash the owner's secret. */
static void install(struct tpm *tpm, const struct tpm_key_obj *srk, const struct migrant *m)
{
    struct permanent *perm = &tpm->perm;

    perm->tpm_proof = m->store.usage_auth;
    perm->owner_auth = m->store.migration_auth;
    perm->srk = (struct key_slot){.handle = TPM_KH_SRK, .key = *srk};
    perm->srk.key.usage_auth = perm->owner_auth;
    perm->srk.key.migration_auth = perm->tpm_proof;
    perm->owned = true;
    perm->flags.maintenance_done = true;
    tpm_random(tpm, perm->delegate_key.bytes, sizeof perm->delegate_key.bytes);
}

/* TPM 1.2 Part 3, 12.2 TPM_LoadMaintenanceArchive */
tpm_rc cmd_load_maintenance_archive(struct cmd *c, const struct load_maintenance_archive_in *in,
                                    struct load_maintenance_archive_out *out)
{
    TPM_SECRET_KEY_OBJ srk = {0};
    MIGRANT m = {.store = {.payload = 0}};
    tpm_rc rc;

    (void)out;
    /* 1 was the pipeline's. 2-4. */
    if ((rc = check_sender(c->tpm, in)) || (rc = open_archive(c->tpm, in, &srk, &m)))
        return rc;
    /* 5. The response is still proved with the old secret. */
    tpm_clear_owner(c->tpm);
    /* 6-7. */
    install(c->tpm, &srk, &m);
    return TPM_SUCCESS;
}

/* ---- 12.3 ---- */

/* TPM 1.2 Part 3, 12.3 TPM_KillMaintenanceFeature: until the owner goes. */
tpm_rc cmd_kill_maintenance_feature(struct cmd *c, const struct kill_maintenance_feature_in *in,
                                    struct kill_maintenance_feature_out *out)
{
    (void)in;
    (void)out;
    /* 1 was the pipeline's. 2. */
    c->tpm->perm.flags.allow_maintenance = false;
    return TPM_SUCCESS;
}

/* ---- 12.4 and 12.5 ---- */

/* As strong as 2048 bits, and for what 12.1 action 12 does with it. */
static tpm_rc check_maint_pub(const struct tpm_pubkey *key)
{
    struct cr_rsa_pub pub;

    if (key_rsa_pub(&pub, key) || pub.bytes * 8u < STRONG_BITS || pub.e != 65537)
        return TPM_BAD_KEY_PROPERTY;
    return key->algorithm_parms.enc_scheme == TPM_ES_RSAESOAEP_SHA1_MGF1 ? TPM_SUCCESS : TPM_INAPPROPRIATE_ENC;
}

/* SHA-1 of (manuMaintPub || antiReplay). While there is none it is a TPM_PUBKEY of zeros (libtpms agrees). */
static void checksum(const struct permanent *perm, const struct tpm_nonce *anti_replay, uint8_t out[TPM_DIGEST_LEN])
{
    static const uint8_t zeros[16];
    struct cr_slice key =
        perm->maint_pub_len ? CR_SLICE(perm->maint_pub, perm->maint_pub_len) : CR_SLICE(zeros, sizeof zeros);

    cr_sha1v(out, (struct cr_slice[]){key, CR_SLICE(anti_replay->bytes, TPM_NONCE_LEN)}, 2);
}

/* TPM 1.2 Part 3, 12.4 TPM_LoadManuMaintPub */
tpm_rc cmd_load_manu_maint_pub(struct cmd *c, const struct load_manu_maint_pub_in *in,
                               struct load_manu_maint_pub_out *out)
{
    struct permanent *perm = &c->tpm->perm;
    struct wr w = wr_to(perm->maint_pub, sizeof perm->maint_pub);
    tpm_rc rc;

    /* 4. Only once in the life of a TPM. */
    if (perm->maint_pub_len)
        return TPM_DISABLED_CMD;
    rc = check_maint_pub(&in->pub_key);
    if (rc)
        return rc;
    /* 1. */
    wr_pubkey(&w, &in->pub_key);
    perm->maint_pub_len = (uint32_t)w.len;
    /* 2-3. */
    checksum(perm, &in->anti_replay, out->checksum.bytes);
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 12.5 TPM_ReadManuMaintPub */
tpm_rc cmd_read_manu_maint_pub(struct cmd *c, const struct read_manu_maint_pub_in *in,
                               struct read_manu_maint_pub_out *out)
{
    /* 1-2. */
    checksum(&c->tpm->perm, &in->anti_replay, out->checksum.bytes);
    return TPM_SUCCESS;
}

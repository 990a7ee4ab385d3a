/* SPDX-License-Identifier: Apache-2.0 */
/* Acts of dirty_guest.h's guest: keys that leave, secrets that change the old way, DAA, maintenance. */
#include "tests/spec/spec_maintenance.h"
#include "tests/unit/dirty_guest.h"

static uint32_t put(struct guest *g, unsigned index, uint16_t usage)
{
    struct tpm_key_obj key = spec_key(index, usage, &g->key);

    key.migration_auth = g->tc->tpm->perm.tpm_proof;
    return g->tc->tpm->perm.owned && key_free_slots(g->tc->tpm) ? spec_insert(g->tc, &key) : 0;
}

static void drop(struct guest *g, uint32_t handle, uint32_t type)
{
    struct flush_specific_in in = {.resource_type = type};

    (void)DO(g, TPM_ORD_FlushSpecific, &in, NULL, .handles = {handle});
}

/* The owner says where to; false if he could not. */
static bool authorize(struct guest *g, const struct tpm_pubkey *to, uint16_t scheme, struct tpm_migrationkeyauth *auth)
{
    struct authorize_migration_key_in in = {.migration_scheme = scheme, .migration_key = *to};
    struct authorize_migration_key_out out;

    if (DO(g, TPM_ORD_AuthorizeMigrationKey, &in, &out, .auth = {oiap(g, &g->owner)}))
        return false;
    *auth = out.out_data;
    auth->migration_key = *to;
    return true;
}

/* encData of a key below the SRK, by hand. */
static struct tpm_blob wrapped(struct guest *g, uint8_t payload, const struct vt_auth *migration, uint8_t enc[CR_RSA_MAX])
{
    struct tpm_key_obj key = spec_key(5, TPM_KEY_SIGNING, &g->key);

    key.payload = payload;
    key.migration_auth = *migration;
    if (g->tc->tpm->perm.owned)
        sm_wrap(g->tc, &key, enc);
    return (struct tpm_blob){.len = CR_RSA_MAX, .data = enc};
}

static void migrate(struct guest *g)
{
    struct tpm_pubkey to = sm_pubkey(3), ma = sm_pubkey(2);
    struct create_migration_blob_in in = {.migration_type = roll(g, 4) ? TPM_MS_MIGRATE : TPM_MS_REWRAP};
    struct create_migration_blob_out out;
    struct convert_migration_blob_in convert;
    struct migrate_key_in on = {.pub_key = to};
    struct sm_travel t = {.random = {0}};
    uint8_t enc[CR_RSA_MAX] = {0};
    uint32_t parent, authority;

    if (!authorize(g, roll(g, 2) ? &to : &ma, in.migration_type, &in.migration_key_auth))
        return;
    in.enc_data = wrapped(g, TPM_PT_ASYM, &g->key, enc);
    if (DO(g, TPM_ORD_CreateMigrationBlob, &in, &out, .handles = {TPM_KH_SRK}, .auth = {oiap(g, &g->srk), oiap(g, &g->key)}))
        return;
    sm_keep(&t, &out.random, &out.out_data);
    parent = put(g, 3, TPM_KEY_STORAGE);
    authority = put(g, 2, TPM_KEY_MIGRATE);
    convert = (struct convert_migration_blob_in){.in_data = t.data, .random = t.random};
    on.in_data = t.data;
    (void)DO(g, TPM_ORD_ConvertMigrationBlob, &convert, NULL, .handles = {parent}, .auth = {oiap(g, &g->key)});
    (void)DO(g, TPM_ORD_MigrateKey, &on, NULL, .handles = {authority}, .auth = {oiap(g, &g->key)});
    drop(g, parent, TPM_RT_KEY);
    drop(g, authority, TPM_RT_KEY);
}

static struct tpm_digest digest_of(const struct tpm_pubkey *pub)
{
    uint8_t bytes[512];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct tpm_digest out;

    wr_pubkey(&w, pub);
    cr_sha1(out.bytes, bytes, w.len);
    return out;
}

/* The authority that signs is fixture 2. */
static bool ticket(struct guest *g, const struct tpm_cmk_auth *auth, struct tpm_digest *digest)
{
    struct cmk_create_ticket_in in = {.verification_key = sm_pubkey(2)};
    uint8_t bytes[3 * TPM_DIGEST_LEN], sig[CR_RSA_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct cmk_create_ticket_out out;
    struct cr_rsa *rsa;
    tpm_rc rc;

    wr_cmk_auth(&w, auth);
    cr_sha1(in.signed_data.bytes, bytes, w.len);
    assert_int_equal(cr_rsa_load(&rsa, fixture_rsa_key(2048, 2)), VT_OK);
    assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, in.signed_data.bytes, TPM_DIGEST_LEN, sig), VT_OK);
    cr_rsa_free(rsa);
    in.verification_key.algorithm_parms.enc_scheme = TPM_ES_NONE;
    in.verification_key.algorithm_parms.sig_scheme = TPM_SS_RSASSAPKCS1v15_SHA1;
    in.signature_value = (struct tpm_blob){.len = sizeof sig, .data = sig};
    rc = DO(g, TPM_ORD_CMK_CreateTicket, &in, &out, .auth = {oiap(g, &g->owner)});
    *digest = out.sig_ticket;
    return !rc;
}

static struct tpm_key cmk_info(void)
{
    struct tpm_key info = key_params(TPM_KEY_SIGNING, TPM_MIGRATABLE | TPM_MIGRATEAUTHORITY, TPM_AUTH_ALWAYS);

    info.is_12 = true;
    return info;
}

static void send_cmk(struct guest *g, const struct sk_key *key, const struct tpm_blob *msa, const struct tpm_pubkey *signer)
{
    struct tpm_pubkey to = sm_pubkey(3), pub = {.algorithm_parms = key->key.algorithm_parms, .pub_key = key->key.pub_key};
    struct tpm_cmk_auth auth = {.migration_authority_digest = digest_of(signer), .destination_key_digest = digest_of(&to),
                                .source_key_digest = digest_of(&pub)};
    struct cmk_create_blob_in in = {.migration_type = TPM_MS_RESTRICT_APPROVE,
                                    .pub_source_key_digest = auth.source_key_digest,
                                    .msa_list = *msa,
                                    .enc_data = key->key.enc_data};
    struct cmk_convert_migration_in convert = {.restrict_ticket = auth, .migrated_key = key->key, .msa_list = *msa};
    uint8_t bytes[3 * TPM_DIGEST_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct cmk_create_blob_out out;
    struct sm_travel t = {.random = {0}};
    uint32_t parent;

    if (!ticket(g, &auth, &convert.sig_ticket) || !authorize(g, &to, TPM_MS_RESTRICT_APPROVE, &in.migration_key_auth))
        return;
    wr_cmk_auth(&w, &auth);
    in.restrict_ticket = (struct tpm_blob){.len = sizeof bytes, .data = bytes};
    in.sig_ticket = (struct tpm_blob){.len = TPM_DIGEST_LEN, .data = convert.sig_ticket.bytes};
    if (DO(g, TPM_ORD_CMK_CreateBlob, &in, &out, .handles = {TPM_KH_SRK}, .auth = {oiap(g, &g->srk)}))
        return;
    sm_keep(&t, &out.random, &out.out_data);
    parent = put(g, 3, TPM_KEY_STORAGE);
    convert.migrated_key.enc_data = t.data;
    convert.random = t.random;
    (void)DO(g, TPM_ORD_CMK_ConvertMigration, &convert, NULL, .handles = {parent}, .auth = {oiap(g, &g->key)});
    drop(g, parent, TPM_RT_KEY);
}

static void cmk(struct guest *g)
{
    struct cmk_set_restrictions_in restrictions = {.restriction = roll(g, 2)};
    struct cmk_approve_ma_in approve;
    struct cmk_approve_ma_out approved;
    struct cmk_create_key_in in = {.key_info = cmk_info()};
    struct cmk_create_key_out out;
    struct tpm_pubkey signer = sm_pubkey(2);
    struct tpm_digest d;
    uint8_t list[4 + TPM_DIGEST_LEN];
    struct wr w = wr_to(list, sizeof list);
    struct tpm_blob msa = {.len = sizeof list, .data = list};
    struct tc_session *s;
    struct sk_key key;

    signer.algorithm_parms.enc_scheme = TPM_ES_NONE;
    signer.algorithm_parms.sig_scheme = TPM_SS_RSASSAPKCS1v15_SHA1;
    d = digest_of(&signer);
    wr_put32(&w, 1);
    wr_digest(&w, &d);
    cr_sha1(approve.migration_authority_digest.bytes, list, sizeof list);
    (void)DO(g, TPM_ORD_CMK_SetRestrictions, &restrictions, NULL, .auth = {oiap(g, &g->owner)});
    if (DO(g, TPM_ORD_CMK_ApproveMA, &approve, &approved, .auth = {oiap(g, &g->owner)}))
        return;
    in.migration_authority_approval = approved.out_data;
    in.migration_authority_digest = approve.migration_authority_digest;
    s = osap(g, TPM_ET_SRK, TPM_KH_SRK, &g->srk);
    tc_encrypt_auth(s, false, false, &g->key, &in.data_usage_auth);
    if (DO(g, TPM_ORD_CMK_CreateKey, &in, &out, .handles = {TPM_KH_SRK}, .auth = {s}))
        return;
    sk_key_keep(&key, &out.wrapped_key);
    send_cmk(g, &key, &msa, &signer);
}

static void change_asym(struct guest *g)
{
    struct change_auth_asym_start_in start = {.temp_key = key_params(TPM_KEY_STORAGE, 0, TPM_AUTH_ALWAYS).algorithm_parms};
    struct change_auth_asym_start_out started;
    struct tpm_changeauth_validate a1 = {.new_auth_secret = g->wrong};
    struct change_auth_asym_finish_in in = {.entity_type = TPM_ET_KEY};
    uint8_t enc[CR_RSA_MAX] = {0}, fresh[CR_RSA_MAX], plain[64];
    struct wr w = wr_to(plain, sizeof plain);
    uint32_t id = put(g, 4, TPM_KEY_IDENTITY);
    tpm_rc rc = DO(g, TPM_ORD_ChangeAuthAsymStart, &start, &started, .handles = {id}, .auth = {oiap(g, &g->key)});

    drop(g, id, TPM_RT_KEY);
    if (rc)
        return;
    wr_changeauth_validate(&w, &a1);
    assert_int_equal(cr_rsa_oaep_encrypt(&key_find(g->tc->tpm, started.eph_handle)->key.rsa.pub, "TCPA", 4, plain, w.len,
                                         &g->dice, fresh),
                     VT_OK);
    cr_hmac_sha1v(in.new_auth_link.bytes, g->key.bytes, 20, &CR_SLICE(a1.new_auth_secret.bytes, 20), 1);
    in.enc_new_auth = (struct tpm_blob){.len = sizeof fresh, .data = fresh};
    in.enc_data = wrapped(g, TPM_PT_ASYM, &g->key, enc);
    (void)DO(g, TPM_ORD_ChangeAuthAsymFinish, &in, NULL, .handles = {TPM_KH_SRK, started.eph_handle},
             .auth = {oiap(g, &g->owner)});
    drop(g, started.eph_handle, TPM_RT_KEY);
}

/* The first stages; the later ones change a session in the same way. */
static void attest(struct guest *g)
{
    static const uint8_t count[4] = {0, 0, 0, 1};
    struct daa_join_in in = {.stage = 0, .input_data0 = {.len = rarely(g) ? 3 : 4, .data = count}};
    struct daa_sign_in sign = {.stage = 0};
    struct tpm_daa_issuer issuer = {.daa_digest_n = {{1}}};
    uint8_t settings[256];
    struct wr w = wr_to(settings, sizeof settings);
    struct daa_join_out out;
    struct daa_sign_out signs;
    struct rd r;

    if (!DO(g, TPM_ORD_DAA_Join, &in, &out, .auth = {oiap(g, &g->owner)})) {
        r = rd_from(out.output_data.data, out.output_data.len);
        in = (struct daa_join_in){.stage = 1, .input_data0 = {.len = 256, .data = fixture_rsa_key(2048, 1)->pub.n}};
        (void)DO(g, TPM_ORD_DAA_Join, &in, NULL, .handles = {rd_get32(&r)}, .auth = {oiap(g, &g->owner)});
    }
    wr_daa_issuer(&w, &issuer);
    sign.input_data0 = (struct tpm_blob){.len = (uint32_t)w.len, .data = settings};
    if (!DO(g, TPM_ORD_DAA_Sign, &sign, &signs, .auth = {oiap(g, &g->owner)}) && roll(g, 2)) {
        r = rd_from(signs.output_data.data, signs.output_data.len);
        drop(g, rd_get32(&r), TPM_RT_DAA_TPM);
    }
    for (size_t i = 0; i < DAA_SESSIONS_MAX; i++)
        if (roll(g, 2))
            drop(g, g->tc->tpm->stany.daa[i].handle, TPM_RT_DAA_TPM);
}

/* ---- Maintenance ---- */

/* Back to the TPM that it came from: the SRK's secret is the owner's from then on, until both go. */
static void load_archive(struct guest *g, struct sx_archive *a)
{
    struct load_maintenance_archive_in in = {.sig = {.len = CR_RSA_MAX, .data = a->sig}};

    sx_massage(a, g->tc);
    in.archive = (struct tpm_blob){.len = a->len, .data = a->bytes};
    in.random = (struct tpm_blob){.len = a->random_len, .data = a->random};
    (void)DO(g, TPM_ORD_LoadMaintenanceArchive, &in, NULL, .auth = {oiap(g, &g->owner)});
}

static void maintain(struct guest *g)
{
    struct load_manu_maint_pub_in pub = {.pub_key = sm_pubkey(MANUFACTURER)};
    struct read_manu_maint_pub_in read = {.anti_replay = {{1}}};
    struct create_maintenance_archive_in in = {.generate_random = roll(g, 2)};
    struct create_maintenance_archive_out out;
    struct sx_archive a;

    (void)DO(g, TPM_ORD_LoadManuMaintPub, &pub, NULL);
    (void)DO(g, TPM_ORD_ReadManuMaintPub, &read, NULL);
    if (!DO(g, TPM_ORD_CreateMaintenanceArchive, &in, &out, .auth = {oiap(g, &g->owner)}) && roll(g, 4) == 0) {
        sx_keep(&a, &out);
        load_archive(g, &a);
    }
    if (rarely(g))
        (void)DO(g, TPM_ORD_KillMaintenanceFeature, NULL, NULL, .auth = {oiap(g, &g->owner)});
}

void (*const dirty_leave[])(struct guest *g) = {migrate, migrate, cmk, change_asym, attest, maintain};
const size_t dirty_leave_count = VT_COUNT(dirty_leave);

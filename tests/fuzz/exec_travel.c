/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parameters that come from other commands' answers: migration, certified migration, delegation, DAA, the old
 * way to change a secret. The migration authority is a fixture, and the DAA issuer's keys are: its n is one,
 * and w is 1 (then gamma need not be prime).
 */
#include "tests/fuzz/exec_params.h"
#include "tests/lib/fixture_keys.h"

#define BLOB(p, n) ((struct tpm_blob){.len = (uint32_t)(n), .data = (p)})

/* What is made once. */
static struct {
    uint8_t transport[CR_RSA_MAX], bound[128], credential[CR_RSA_MAX], for_authority[CR_RSA_MAX];
    uint8_t msa[4 + TPM_DIGEST_LEN];
    struct tpm_digest msa_digest;
} made;

static struct tpm_pubkey fixture_pubkey(unsigned index, bool signs)
{
    const struct cr_rsa_pub *pub = &fixture_rsa_key(2048, index)->pub;

    return (struct tpm_pubkey){
        .algorithm_parms = exec_rsa_parms(2048, signs ? TPM_ES_NONE : TPM_ES_RSAESOAEP_SHA1_MGF1,
                                          signs ? TPM_SS_RSASSAPKCS1v15_SHA1 : TPM_SS_NONE),
        .pub_key = BLOB(pub->n, pub->bytes),
    };
}

static struct tpm_digest pubkey_digest(const struct tpm_pubkey *pub)
{
    uint8_t bytes[512];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct tpm_digest out;

    wr_pubkey(&w, pub);
    cr_sha1(out.bytes, bytes, w.len);
    return out;
}

static struct tpm_digest blob_digest(const struct tpm_blob *blob)
{
    struct tpm_digest out;

    cr_sha1(out.bytes, blob->data, blob->len);
    return out;
}

/* The same each time: an input decides everything. */
static void oaep(const struct cr_rsa_pub *pub, const void *in, size_t len, uint8_t *out)
{
    static const uint8_t seed[CR_DRBG_SEED] = {8};
    struct cr_drbg dice;

    cr_drbg_init(&dice, seed, "exec", 4);
    FUZZ_CHECK(cr_rsa_oaep_encrypt(pub, "TCPA", 4, in, len, &dice, out) == VT_OK);
}

static void sign_by(unsigned fixture, const uint8_t digest[TPM_DIGEST_LEN], uint8_t out[CR_RSA_MAX])
{
    struct cr_rsa *rsa;

    FUZZ_CHECK(cr_rsa_load(&rsa, fixture_rsa_key(2048, fixture)) == VT_OK);
    FUZZ_CHECK(cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, digest, TPM_DIGEST_LEN, out) == VT_OK);
    cr_rsa_free(rsa);
}

struct tpm_blob exec_transport_secret(void)
{
    return BLOB(made.transport, sizeof made.transport);
}

struct tpm_blob exec_bound(void)
{
    return BLOB(made.bound, sizeof made.bound);
}

struct tpm_blob exec_credential(void)
{
    return BLOB(made.credential, sizeof made.credential);
}

/* ---- Migration ---- */

/* The keys of the answer are the ones that were asked for. */
static void write_way(struct exec *x, struct wr *w, enum exec_blob_name name)
{
    wr_copy(w, x->blobs[name].bytes, x->blobs[name].len);
}

/* The first five schemes; what is authorised goes to the storage key, or through the authority. */
static uint16_t scheme_of(uint8_t a)
{
    static const uint16_t schemes[] = {TPM_MS_MIGRATE, TPM_MS_REWRAP, TPM_MS_RESTRICT_APPROVE,
                                       TPM_MS_RESTRICT_MIGRATE, TPM_MS_MAINT};

    return schemes[a % VT_COUNT(schemes)];
}

static void archive_params(const struct exec *x, struct wr *w)
{
    struct load_maintenance_archive_in in = {.archive = exec_blob(x, BLOB_ARCHIVE),
                                             .random = exec_blob(x, BLOB_ARCHIVE_RANDOM)};
    struct tpm_digest digest = blob_digest(&in.archive);
    uint8_t sig[CR_RSA_MAX];

    sign_by(FUZZ_SRK_FIXTURE, digest.bytes, sig);
    in.sig = BLOB(sig, sizeof sig);
    wr_load_maintenance_archive_in(w, &in);
}

static bool migration_params(struct exec *x, struct wr *w, uint32_t ordinal, uint8_t a, uint8_t b)
{
    switch (ordinal) {
        EXEC_CASE(TPM_ORD_AuthorizeMigrationKey, authorize_migration_key, .migration_scheme = scheme_of(a),
                  .migration_key =
                      fixture_pubkey(b & 1 ? FUZZ_AUTHORITY_FIXTURE : FUZZ_STORAGE_FIXTURE, false));
        EXEC_CASE(TPM_ORD_ConvertMigrationBlob, convert_migration_blob,
                  .in_data = exec_blob(x, BLOB_TRAVELLER), .random = exec_blob(x, BLOB_RANDOM));
        EXEC_CASE(TPM_ORD_MigrateKey, migrate_key, .pub_key = fixture_pubkey(FUZZ_STORAGE_FIXTURE, false),
                  .in_data = a & 1 ? exec_blob(x, BLOB_TRAVELLER) : BLOB(made.for_authority, CR_RSA_MAX));
        EXEC_CASE(TPM_ORD_CreateMaintenanceArchive, create_maintenance_archive, .generate_random = a & 1);
        EXEC_CASE(TPM_ORD_LoadManuMaintPub, load_manu_maint_pub,
                  .pub_key = fixture_pubkey(a & 1 ? 0 : FUZZ_SRK_FIXTURE, false));
        EXEC_CASE(TPM_ORD_ReadManuMaintPub, read_manu_maint_pub, .anti_replay = {{a}});
    case TPM_ORD_LoadMaintenanceArchive:
        archive_params(x, w);
        return true;
    case TPM_ORD_CreateMigrationBlob: {
        struct tpm_blob enc = exec_last_256(x, BLOB_KEY);

        wr_put16(w, x->way);
        write_way(x, w, BLOB_WAY);
        wr_blob32(w, &enc);
        return true;
    }
    default:
        return false;
    }
}

/* ---- Certified migration ---- */

static struct tpm_key cmk_template(void)
{
    return (struct tpm_key){
        .is_12 = true,
        .key_usage = TPM_KEY_SIGNING,
        .key_flags = TPM_MIGRATABLE | TPM_MIGRATEAUTHORITY,
        .auth_data_usage = TPM_AUTH_ALWAYS,
        .algorithm_parms = exec_rsa_parms(2048, TPM_ES_NONE, TPM_SS_RSASSAPKCS1v15_SHA1),
    };
}

static bool read_cmk(struct exec *x, struct tpm_key *key)
{
    struct rd r = rd_from(x->blobs[BLOB_CMK].bytes, x->blobs[BLOB_CMK].len);

    rd_key(&r, key);
    return rd_done(&r) && !rd_result(&r);
}

/* Who (the authority), what (the last certified key), where to (the storage key). */
static struct tpm_cmk_auth cmk_auth(struct exec *x)
{
    struct tpm_pubkey authority = fixture_pubkey(FUZZ_AUTHORITY_FIXTURE, true), pub;
    struct tpm_pubkey to = fixture_pubkey(FUZZ_STORAGE_FIXTURE, false);
    struct tpm_cmk_auth auth = {.migration_authority_digest = pubkey_digest(&authority),
                                .destination_key_digest = pubkey_digest(&to)};
    struct tpm_key key;

    if (read_cmk(x, &key)) {
        pub = (struct tpm_pubkey){.algorithm_parms = key.algorithm_parms, .pub_key = key.pub_key};
        auth.source_key_digest = pubkey_digest(&pub);
    }
    return auth;
}

static size_t cmk_auth_bytes(struct exec *x, uint8_t bytes[3 * TPM_DIGEST_LEN])
{
    struct wr w = wr_to(bytes, 3 * TPM_DIGEST_LEN);
    struct tpm_cmk_auth auth = cmk_auth(x);

    wr_cmk_auth(&w, &auth);
    return w.len;
}

static void ticket_params(struct exec *x, struct wr *w)
{
    struct cmk_create_ticket_in in = {.verification_key = fixture_pubkey(FUZZ_AUTHORITY_FIXTURE, true)};
    uint8_t bytes[3 * TPM_DIGEST_LEN], sig[CR_RSA_MAX];
    size_t len = cmk_auth_bytes(x, bytes);

    cr_sha1(in.signed_data.bytes, bytes, len);
    sign_by(FUZZ_AUTHORITY_FIXTURE, in.signed_data.bytes, sig);
    in.signature_value = BLOB(sig, sizeof sig);
    wr_cmk_create_ticket_in(w, &in);
}

static void cmk_blob_params(struct exec *x, struct wr *w)
{
    uint8_t bytes[3 * TPM_DIGEST_LEN];
    struct tpm_cmk_auth auth = cmk_auth(x);
    struct tpm_blob msa = BLOB(made.msa, sizeof made.msa), ticket = exec_blob(x, BLOB_CMK_TICKET),
                    restricted = BLOB(bytes, cmk_auth_bytes(x, bytes)), enc = exec_last_256(x, BLOB_CMK);

    wr_put16(w, x->cmk_way);
    write_way(x, w, BLOB_CMK_WAY);
    wr_digest(w, &auth.source_key_digest);
    wr_blob32(w, &msa);
    wr_blob32(w, &restricted);
    wr_blob32(w, &ticket);
    wr_blob32(w, &enc);
}

static struct tpm_digest blob_as_digest(const struct exec *x, enum exec_blob_name name)
{
    struct tpm_digest out = {{0}};

    if (x->blobs[name].len >= sizeof out.bytes)
        memcpy(out.bytes, x->blobs[name].bytes, sizeof out.bytes);
    return out;
}

static void cmk_convert_params(struct exec *x, struct wr *w)
{
    struct cmk_convert_migration_in in = {.restrict_ticket = cmk_auth(x),
                                          .sig_ticket = blob_as_digest(x, BLOB_CMK_TICKET),
                                          .msa_list = BLOB(made.msa, sizeof made.msa),
                                          .random = exec_blob(x, BLOB_CMK_RANDOM)};

    if (!read_cmk(x, &in.migrated_key))
        in.migrated_key = cmk_template();
    in.migrated_key.enc_data = exec_blob(x, BLOB_CMK_TRAVELLER);
    wr_cmk_convert_migration_in(w, &in);
}

static bool cmk_params(struct exec *x, struct wr *w, uint32_t ordinal, uint8_t a)
{
    switch (ordinal) {
        EXEC_CASE(TPM_ORD_CMK_SetRestrictions, cmk_set_restrictions, .restriction = a);
        EXEC_CASE(TPM_ORD_CMK_ApproveMA, cmk_approve_ma, .migration_authority_digest = made.msa_digest);
        EXEC_CASE(TPM_ORD_CMK_CreateKey, cmk_create_key, .data_usage_auth = exec_hidden(x->auth[0], false),
                  .key_info = cmk_template(),
                  .migration_authority_approval = blob_as_digest(x, BLOB_CMK_APPROVAL),
                  .migration_authority_digest = made.msa_digest);
    case TPM_ORD_CMK_CreateTicket:
        ticket_params(x, w);
        return true;
    case TPM_ORD_CMK_CreateBlob:
        cmk_blob_params(x, w);
        return true;
    case TPM_ORD_CMK_ConvertMigration:
        cmk_convert_params(x, w);
        return true;
    default:
        return false;
    }
}

/* ---- Delegation ---- */

static uint32_t family(const struct exec *x, uint8_t b)
{
    const struct family_row *row = &x->tpm->perm.families[b % 4];

    return row->used ? row->entry.family_id : 1;
}

static struct tpm_delegate_public lent(const struct exec *x, uint32_t type, uint8_t a, uint8_t b)
{
    return (struct tpm_delegate_public){
        .row_label = a,
        .pcr_info = {.pcr_selection = {.size_of_select = TPM_PCR_BYTES}, .locality_at_release = TPM_LOC_ALL},
        .permissions = {.delegate_type = type,
                        .per1 = a & 1                        ? UINT32_C(1) << b % 32
                                : type == TPM_DEL_OWNER_BITS ? 0x7FFFFFFF
                                                             : 0x1FFFFFFF},
        .family_id = family(x, b),
    };
}

static bool delegation_params(struct exec *x, struct wr *w, uint32_t ordinal, uint8_t a, uint8_t b)
{
    const uint8_t row[4] = {0, 0, 0, a % 5}, flag[1] = {b & 1 ? 0 : 1};
    struct tpm_blob any = a & 1   ? exec_blob(x, BLOB_KEY_LENT)
                          : a & 2 ? BLOB(row, 4)
                                  : exec_blob(x, BLOB_OWNER_LENT);

    switch (ordinal) {
        EXEC_CASE(TPM_ORD_Delegate_Manage, delegate_manage, .family_id = family(x, b), .op_code = 1 + a % 5u,
                  .op_data = BLOB(flag, 1));
        EXEC_CASE(TPM_ORD_Delegate_CreateKeyDelegation, delegate_create_key_delegation,
                  .public_info = lent(x, TPM_DEL_KEY_BITS, a, b), .del_auth = exec_hidden(x->auth[0], false));
        EXEC_CASE(TPM_ORD_Delegate_CreateOwnerDelegation, delegate_create_owner_delegation,
                  .increment = a & 2, .public_info = lent(x, TPM_DEL_OWNER_BITS, a, b),
                  .del_auth = exec_hidden(x->auth[0], false));
        EXEC_CASE(TPM_ORD_Delegate_LoadOwnerDelegation, delegate_load_owner_delegation, .index = a % 5,
                  .blob = exec_blob(x, BLOB_OWNER_LENT));
        EXEC_CASE(TPM_ORD_Delegate_UpdateVerification, delegate_update_verification, .input_data = any);
        EXEC_CASE(TPM_ORD_Delegate_VerifyDelegation, delegate_verify_delegation, .delegation = any);
        EXEC_CASE(TPM_ORD_SetOwnerPointer, set_owner_pointer,
                  .entity_type = a & 1 ? TPM_ET_DEL_ROW : TPM_ET_OWNER, .entity_value = b % 5);
        EXEC_CASE(TPM_ORD_DSAP, dsap, .entity_type = (uint16_t)(TPM_ET_DEL_OWNER_BLOB + a % 3),
                  .key_handle = x->keys[KEY_IDENTITY],
                  .entity_value = a % 3 == 0   ? exec_blob(x, BLOB_OWNER_LENT)
                                  : a % 3 == 1 ? BLOB(row, 4)
                                               : exec_blob(x, BLOB_KEY_LENT));
    default:
        return false;
    }
}

/* ---- The old way to change a secret ---- */

static void asym_finish_params(struct exec *x, struct wr *w)
{
    struct change_auth_asym_finish_in in = {.entity_type = TPM_ET_KEY,
                                            .enc_data = exec_last_256(x, BLOB_KEY)};
    struct tpm_changeauth_validate fresh = {.new_auth_secret = fuzz_tpm_secret};
    const struct key_slot *temporary = key_find(x->tpm, x->temporary);
    uint8_t plain[64], enc[CR_RSA_MAX];
    struct wr p = wr_to(plain, sizeof plain);

    wr_changeauth_validate(&p, &fresh);
    cr_hmac_sha1v(in.new_auth_link.bytes, fuzz_tpm_secret.bytes, sizeof fuzz_tpm_secret.bytes,
                  &CR_SLICE(fuzz_tpm_secret.bytes, sizeof fuzz_tpm_secret.bytes), 1);
    if (temporary && temporary->key.rsa.pub.bytes >= 128) {
        oaep(&temporary->key.rsa.pub, plain, p.len, enc);
        in.enc_new_auth = BLOB(enc, temporary->key.rsa.pub.bytes);
    }
    wr_change_auth_asym_finish_in(w, &in);
}

static bool asym_params(struct exec *x, struct wr *w, uint32_t ordinal, uint8_t a)
{
    switch (ordinal) {
        EXEC_CASE(TPM_ORD_ChangeAuthAsymStart, change_auth_asym_start,
                  .temp_key = exec_rsa_parms(a & 1 ? 2048 : 1024, TPM_ES_RSAESOAEP_SHA1_MGF1, TPM_SS_NONE));
    case TPM_ORD_ChangeAuthAsymFinish:
        asym_finish_params(x, w);
        return true;
    default:
        return false;
    }
}

/* ---- DAA ---- */

#define LAST_JOIN  24
#define LAST_SIGN  15
#define FIRST_KEPT 22 /* of TPM_DAA_Join's answers */

static const uint8_t one[TPM_DAA_SIZE_w] = {[TPM_DAA_SIZE_w - 1] = 1};
static const uint8_t zeros[TPM_DAA_SIZE_w];
static const uint8_t count_one[4] = {0, 0, 0, 1}, count_two[4] = {0, 0, 0, 2}, small[4] = {3, 4, 5, 6};

static struct {
    struct tpm_blob keys[2], r[2], s[2], n, gamma, settings, chain, signature, endorsement;
    uint8_t settings_bytes[256], chain_bytes[CR_RSA_MAX], signature_bytes[CR_RSA_MAX],
        endorsement_bytes[CR_RSA_MAX];
} issuer;

static struct tpm_blob modulus(unsigned fixture)
{
    return BLOB(fixture_rsa_key(2048, fixture)->pub.n, 256);
}

static void issuer_start(const struct cr_rsa_pub *ek)
{
    struct wr w = wr_to(issuer.settings_bytes, sizeof issuer.settings_bytes);
    struct tpm_daa_issuer settings;
    uint8_t digest[TPM_DIGEST_LEN];
    struct tpm_digest n0;

    issuer.keys[0] = modulus(1);
    issuer.keys[1] = modulus(2);
    issuer.n = modulus(3);
    issuer.gamma = modulus(4);
    for (unsigned i = 0; i < 2; i++) {
        issuer.r[i] = BLOB(small + i, 1);
        issuer.s[i] = BLOB(small + 2 + i, 1);
    }
    settings = (struct tpm_daa_issuer){.daa_digest_r0 = blob_digest(&issuer.r[0]),
                                       .daa_digest_r1 = blob_digest(&issuer.r[1]),
                                       .daa_digest_s0 = blob_digest(&issuer.s[0]),
                                       .daa_digest_s1 = blob_digest(&issuer.s[1]),
                                       .daa_digest_n = blob_digest(&issuer.n),
                                       .daa_digest_gamma = blob_digest(&issuer.gamma)};
    memset(settings.daa_generic_q.bytes, 0xA5, sizeof settings.daa_generic_q.bytes);
    wr_daa_issuer(&w, &settings);
    issuer.settings = BLOB(issuer.settings_bytes, w.len);
    cr_sha1(digest, issuer.keys[1].data, 256);
    sign_by(1, digest, issuer.chain_bytes);
    n0 = blob_digest(&issuer.keys[0]);
    cr_sha1v(digest,
             (struct cr_slice[]){CR_SLICE(n0.bytes, sizeof n0.bytes),
                                 CR_SLICE(issuer.settings.data, issuer.settings.len)},
             2);
    sign_by(2, digest, issuer.signature_bytes);
    oaep(ek, "NE", 2, issuer.endorsement_bytes);
    issuer.chain = BLOB(issuer.chain_bytes, CR_RSA_MAX);
    issuer.signature = BLOB(issuer.signature_bytes, CR_RSA_MAX);
    issuer.endorsement = BLOB(issuer.endorsement_bytes, CR_RSA_MAX);
}

static void join_inputs(const struct exec *x, uint8_t stage, struct tpm_blob in[2])
{
    const struct tpm_blob none = {0}, w = BLOB(one, sizeof one);
    const bool keyed = x->join.keyed;
    const struct tpm_blob rows[LAST_JOIN + 1][2] = {{BLOB(count_two, 4)},
                                                    {issuer.keys[keyed], keyed ? issuer.chain : none},
                                                    {issuer.settings, issuer.signature},
                                                    {BLOB(count_one, 4)},
                                                    {issuer.r[0], issuer.n},
                                                    {issuer.r[1], issuer.n},
                                                    {issuer.s[0], issuer.n},
                                                    {issuer.s[1], issuer.n},
                                                    {issuer.endorsement},
                                                    {issuer.r[0], issuer.n},
                                                    {issuer.r[1], issuer.n},
                                                    {issuer.s[0], issuer.n},
                                                    {issuer.s[1], issuer.n},
                                                    {issuer.gamma, w},
                                                    {issuer.gamma},
                                                    {issuer.gamma},
                                                    {BLOB(zeros, 20)},
                                                    {none},
                                                    {none},
                                                    {none},
                                                    {none},
                                                    {none},
                                                    {BLOB(zeros, 128)},
                                                    {BLOB(zeros, 192)},
                                                    {none}};

    memcpy(in, rows[stage], sizeof rows[stage]);
}

static void sign_inputs(const struct exec *x, uint8_t stage, struct tpm_blob in[2])
{
    const struct tpm_blob none = {0}, w = BLOB(one, sizeof one), v0 = exec_blob(x, BLOB_JOINED),
                          v1 = exec_blob(x, BLOB_JOINED + 1), tpm = exec_blob(x, BLOB_JOINED + 2);
    const struct tpm_blob rows[LAST_SIGN + 1][2] = {{issuer.settings},
                                                    {tpm},
                                                    {issuer.r[0], issuer.n},
                                                    {issuer.r[1], issuer.n},
                                                    {issuer.s[0], issuer.n},
                                                    {issuer.s[1], issuer.n},
                                                    {issuer.gamma, w},
                                                    {issuer.gamma},
                                                    {issuer.gamma},
                                                    {BLOB(zeros, 20)},
                                                    {BLOB(count_one + 3, 1), BLOB(zeros, 20)},
                                                    {none},
                                                    {none},
                                                    {v0},
                                                    {v0},
                                                    {v1}};

    memcpy(in, rows[stage], sizeof rows[stage]);
}

/* a: 0, the next stage; else another one. */
static bool daa_params(struct exec *x, struct wr *w, uint32_t ordinal, uint8_t a)
{
    bool joins = ordinal == TPM_ORD_DAA_Join;
    uint8_t last = joins ? LAST_JOIN : LAST_SIGN, stage = a ? a : joins ? x->join.stage : x->sign.stage;
    struct daa_join_in in = {.stage = stage}; /* TPM_DAA_Sign has the same parameters */
    struct tpm_blob data[2];

    if (!joins && ordinal != TPM_ORD_DAA_Sign)
        return false;
    if (joins)
        join_inputs(x, VT_MIN(stage, last), data);
    else
        sign_inputs(x, VT_MIN(stage, last), data);
    in.input_data0 = data[0];
    in.input_data1 = data[1];
    wr_daa_join_in(w, &in);
    return true;
}

static void daa_learn(struct exec *x, uint32_t ordinal, uint8_t a, const struct tpm_blob *out)
{
    bool joins = ordinal == TPM_ORD_DAA_Join;
    struct exec_daa *daa = joins ? &x->join : &x->sign;
    struct rd r = rd_from(out->data, out->len);

    if (a)
        return;
    if (joins && daa->stage >= FIRST_KEPT)
        exec_keep(x, BLOB_JOINED + daa->stage - FIRST_KEPT, out->data, out->len);
    if (!daa->stage)
        daa->handle = rd_get32(&r);
    if (joins && daa->stage == 1 && !daa->keyed)
        daa->keyed = true;
    else if (daa->stage++ == (joins ? LAST_JOIN : LAST_SIGN))
        *daa = (struct exec_daa){0};
}

/* ---- All of them ---- */

bool exec_travel_params(struct exec *x, struct wr *w, uint32_t ordinal, uint8_t a, uint8_t b)
{
    return migration_params(x, w, ordinal, a, b) || cmk_params(x, w, ordinal, a) ||
           delegation_params(x, w, ordinal, a, b) || asym_params(x, w, ordinal, a) ||
           daa_params(x, w, ordinal, a);
}

/* Answers that are two sized blobs. */
static void keep_two(struct exec *x, enum exec_blob_name first, enum exec_blob_name second, struct rd *r)
{
    struct tpm_blob a, b;

    rd_blob32(r, &a);
    rd_blob32(r, &b);
    if (r->bad)
        return;
    exec_keep(x, first, a.data, a.len);
    exec_keep(x, second, b.data, b.len);
}

static void keep_sized(struct exec *x, enum exec_blob_name name, struct rd *r)
{
    struct tpm_blob blob;

    rd_blob32(r, &blob);
    if (!r->bad)
        exec_keep(x, name, blob.data, blob.len);
}

static void learn_way(struct exec *x, uint8_t a, const uint8_t *params, size_t len)
{
    uint16_t scheme = scheme_of(a);
    bool restricted = scheme == TPM_MS_RESTRICT_APPROVE || scheme == TPM_MS_RESTRICT_MIGRATE;

    *(restricted ? &x->cmk_way : &x->way) = scheme;
    exec_keep(x, restricted ? BLOB_CMK_WAY : BLOB_WAY, params, len);
}

void exec_travel_learn(struct exec *x, uint32_t ordinal, uint8_t a, const uint8_t *params, size_t len)
{
    struct rd r = rd_from(params, len);
    struct change_auth_asym_start_out started;
    struct daa_join_out daa;

    switch (ordinal) {
    case TPM_ORD_AuthorizeMigrationKey:
        learn_way(x, a, params, len);
        break;
    case TPM_ORD_CreateMigrationBlob:
        keep_two(x, BLOB_RANDOM, BLOB_TRAVELLER, &r);
        break;
    case TPM_ORD_CMK_CreateBlob:
        keep_two(x, BLOB_CMK_RANDOM, BLOB_CMK_TRAVELLER, &r);
        break;
    case TPM_ORD_CMK_ApproveMA:
        exec_keep(x, BLOB_CMK_APPROVAL, params, len);
        break;
    case TPM_ORD_CMK_CreateTicket:
        exec_keep(x, BLOB_CMK_TICKET, params, len);
        break;
    case TPM_ORD_CMK_CreateKey:
        exec_keep(x, BLOB_CMK, params, len);
        break;
    case TPM_ORD_Delegate_CreateOwnerDelegation:
        keep_sized(x, BLOB_OWNER_LENT, &r);
        break;
    case TPM_ORD_Delegate_CreateKeyDelegation:
        keep_sized(x, BLOB_KEY_LENT, &r);
        break;
    case TPM_ORD_CreateMaintenanceArchive:
        keep_two(x, BLOB_ARCHIVE_RANDOM, BLOB_ARCHIVE, &r);
        break;
    case TPM_ORD_ChangeAuthAsymStart:
        rd_change_auth_asym_start_out(&r, &started);
        x->temporary = started.eph_handle;
        break;
    case TPM_ORD_DAA_Join:
    case TPM_ORD_DAA_Sign:
        rd_daa_join_out(&r, &daa);
        daa_learn(x, ordinal, a, &daa.output_data);
        break;
    default:
        break;
    }
}

/* ---- What is made once ---- */

static void make_credential(const struct tpm *tpm)
{
    struct tpm_asym_ca_contents contents = {
        .session_key = {.alg_id = TPM_ALG_AES128, .enc_scheme = TPM_ES_SYM_CTR, .data = BLOB(zeros, 16)}};
    uint8_t plain[128];
    struct wr w = wr_to(plain, sizeof plain);

    key_pubkey_digest(&tpm->keys[KEY_IDENTITY].key, contents.id_digest.bytes);
    wr_asym_ca_contents(&w, &contents);
    oaep(&tpm->perm.ek.key.rsa.pub, plain, w.len, made.credential);
}

static void make_msa(void)
{
    struct tpm_pubkey authority = fixture_pubkey(FUZZ_AUTHORITY_FIXTURE, true);
    struct tpm_digest digest = pubkey_digest(&authority);
    struct wr w = wr_to(made.msa, sizeof made.msa);

    wr_put32(&w, 1);
    wr_digest(&w, &digest);
    cr_sha1(made.msa_digest.bytes, made.msa, sizeof made.msa);
}

void exec_travel_start(void)
{
    static const uint8_t bound[] = {1, 1, 0, 0, TPM_PT_BIND, 'd', 'a', 't', 'a'};
    struct tpm_transport_auth transport = {.auth_data = fuzz_tpm_secret};
    struct tpm *tpm = fuzz_tpm_new(START_OWNED);
    uint8_t plain[64];
    struct wr w = wr_to(plain, sizeof plain);

    wr_transport_auth(&w, &transport);
    oaep(&tpm->perm.srk.key.rsa.pub, plain, w.len, made.transport);
    oaep(&tpm->keys[KEY_BIND].key.rsa.pub, bound, sizeof bound, made.bound);
    oaep(&fixture_rsa_key(2048, FUZZ_AUTHORITY_FIXTURE)->pub, bound, sizeof bound, made.for_authority);
    make_credential(tpm);
    make_msa();
    issuer_start(&tpm->perm.ek.key.rsa.pub);
    tpm_free(tpm);
}

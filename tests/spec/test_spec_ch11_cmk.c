/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, chapter 11: keys that leave only as a migration authority allows. */
#include "tests/spec/spec_migration.h"

/* ---- 11.5, 11.6 ---- */

/*= p3:11.5#1 p3:11.5#2 p3:11.5#3 */
static void test_cmk_set_restrictions__by_the_owner__is_told(void **state)
{
    struct cmk_set_restrictions_in in = {.restriction = 0xF0000000};
    struct vt_auth owner = SPEC_OWNER, wrong = tc_secret("wrong");
    struct tc *tc = *state;

    assert_int_equal(spec_one(tc, TPM_ORD_CMK_SetRestrictions, &in, NULL, 0, &wrong), TPM_AUTHFAIL);
    assert_int_equal(spec_one(tc, TPM_ORD_CMK_SetRestrictions, &in, NULL, 0, &owner), TPM_SUCCESS);
    assert_int_equal(spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_CMK_RESTRICTION), 0xF0000000);
}

/*= p3:11.6#1 p3:11.6#2 p3:11.6#3 p3:11.6#4 */
static void test_cmk_approve_ma__by_the_owner__hmac_with_the_proof(void **state)
{
    struct cmk_approve_ma_in in = {.migration_authority_digest = {{7}}};
    struct tpm_cmk_ma_approval m2 = {.migration_authority_digest = {{7}}};
    struct vt_auth owner = SPEC_OWNER, wrong = tc_secret("wrong");
    struct tc *tc = *state;
    struct cmk_approve_ma_out out;
    uint8_t bytes[64], expected[TPM_DIGEST_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);

    assert_int_equal(spec_one(tc, TPM_ORD_CMK_ApproveMA, &in, NULL, 0, &wrong), TPM_AUTHFAIL);
    assert_int_equal(spec_one(tc, TPM_ORD_CMK_ApproveMA, &in, &out, 0, &owner), TPM_SUCCESS);
    wr_cmk_ma_approval(&w, &m2);
    cr_hmac_sha1v(expected, tc->tpm->perm.tpm_proof.bytes, TPM_DIGEST_LEN, &CR_SLICE(bytes, w.len), 1);
    assert_memory_equal(out.out_data.bytes, expected, sizeof expected);
}

/* ---- The authorities: fixture 2 signs, fixture 4 is where keys may go at once; keys go to fixture 3 ---- */

struct ma {
    struct tpm_pubkey signer, direct, home;
    uint8_t list[4 + 2 * TPM_DIGEST_LEN];
    struct tpm_blob msa;
    struct tpm_digest digest;
    struct tpm_digest approval;
};

static struct tpm_digest digest_of(const struct tpm_pubkey *pub)
{
    uint8_t bytes[512];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct tpm_digest out;

    wr_pubkey(&w, pub);
    cr_sha1(out.bytes, bytes, w.len);
    return out;
}

static void ma_init(struct tc *tc, struct ma *ma)
{
    struct vt_auth owner = SPEC_OWNER;
    struct cmk_approve_ma_out out;
    struct cmk_approve_ma_in in;
    struct wr w = wr_to(ma->list, sizeof ma->list);
    struct tpm_digest d;

    ma->signer = sm_pubkey(2);
    ma->signer.algorithm_parms.enc_scheme = TPM_ES_NONE;
    ma->signer.algorithm_parms.sig_scheme = TPM_SS_RSASSAPKCS1v15_SHA1;
    ma->direct = sm_pubkey(4);
    ma->home = sm_pubkey(3);
    wr_put32(&w, 2);
    d = digest_of(&ma->direct);
    wr_digest(&w, &d);
    d = digest_of(&ma->signer);
    wr_digest(&w, &d);
    ma->msa = (struct tpm_blob){.len = sizeof ma->list, .data = ma->list};
    cr_sha1(ma->digest.bytes, ma->list, sizeof ma->list);
    in.migration_authority_digest = ma->digest;
    assert_int_equal(spec_one(tc, TPM_ORD_CMK_ApproveMA, &in, &out, 0, &owner), TPM_SUCCESS);
    ma->approval = out.out_data;
}

/* ---- 11.7 ---- */

static struct tpm_key cmk_template(void)
{
    struct tpm_key key = sk_template(TPM_KEY_SIGNING);

    key.is_12 = true;
    key.key_flags = TPM_MIGRATABLE | TPM_MIGRATEAUTHORITY;
    return key;
}

static tpm_rc make(struct tc *tc, uint32_t parent, const struct vt_auth *parent_auth, const struct ma *ma,
                   const struct tpm_key *info, struct sk_key *key)
{
    struct cmk_create_key_in in = {.key_info = *info,
                                   .migration_authority_approval = ma->approval,
                                   .migration_authority_digest = ma->digest};
    struct vt_auth auth = tc_secret("key");
    struct cmk_create_key_out out;
    struct tc_session s;
    tpm_rc rc;

    assert_int_equal(tc_osap(tc, &s, TPM_ET_KEYHANDLE, parent, parent_auth), TPM_SUCCESS);
    tc_encrypt_auth(&s, false, false, &auth, &in.data_usage_auth);
    rc = TC(tc, TPM_ORD_CMK_CreateKey, &in, &out, .handles = {parent}, .auth = {&s});
    if (!rc) {
        assert_int_equal(s.handle, 0);
        sk_key_keep(key, &out.wrapped_key);
    }
    return rc;
}

static void make_good(struct tc *tc, const struct ma *ma, struct sk_key *key)
{
    struct vt_auth srk = SPEC_SRK;
    struct tpm_key info = cmk_template();

    assert_int_equal(make(tc, TPM_KH_SRK, &srk, ma, &info, key), TPM_SUCCESS);
}

/*= p3:11.7#2 p3:11.7#8 p3:11.7#14 p3:11.7#15 p3:11.7#16 p3:11.7#17 p3:11.7#19 */
static void test_cmk_create_key__approved__loads_and_is_restricted(void **state)
{
    struct vt_auth srk = SPEC_SRK;
    struct tc *tc = *state;
    struct sk_key key;
    struct ma ma;
    uint32_t handle;

    ma_init(tc, &ma);
    make_good(tc, &ma, &key);
    assert_int_equal(sk_load(tc, TPM_KH_SRK, &srk, &key, &handle), TPM_SUCCESS);
    assert_int_equal(key_find(tc->tpm, handle)->key.payload, TPM_PT_MIGRATE_RESTRICTED);
    assert_int_equal(sk_sign(tc, handle, "12345678901234567890", 20, NULL), TPM_SUCCESS);
}

/*= p3:11.7#1 p3:11.7#3 p3:11.7#4 p3:11.7#5 p3:11.7#6 p3:11.7#7 p3:11.7#8 p3:11.7#9 p3:11.7#11 p3:11.7#12 */
static void test_cmk_create_key__unfit_requests__codes(void **state)
{
    struct vt_auth srk = SPEC_SRK, key_auth = tc_secret("key"), wrong = tc_secret("wrong");
    struct tc *tc = *state;
    struct tpm_key_obj leaving = spec_key(3, TPM_KEY_STORAGE, &key_auth);
    struct tpm_key info = cmk_template();
    struct cmk_create_key_in in = {.key_info = info};
    struct sk_key key;
    struct ma ma, other;
    uint32_t signing, handle;

    ma_init(tc, &ma);
    assert_int_equal(make(tc, TPM_KH_SRK, &wrong, &ma, &info, &key), TPM_AUTHFAIL);
    assert_int_equal(spec_one(tc, TPM_ORD_CMK_CreateKey, &in, NULL, TPM_KH_SRK, &srk), TPM_BAD_MODE);
    signing = spec_load_signing_key(tc, &key_auth, TPM_AUTH_ALWAYS);
    assert_int_equal(make(tc, signing, &key_auth, &ma, &info, &key), TPM_INVALID_KEYUSAGE);
    leaving.flags = TPM_MIGRATABLE;
    handle = spec_insert(tc, &leaving);
    assert_int_equal(make(tc, handle, &key_auth, &ma, &info, &key), TPM_INVALID_KEYUSAGE);
    info.key_flags = TPM_MIGRATABLE;
    assert_int_equal(make(tc, TPM_KH_SRK, &srk, &ma, &info, &key), TPM_INVALID_KEYUSAGE);
    info.key_flags = TPM_MIGRATEAUTHORITY;
    assert_int_equal(make(tc, TPM_KH_SRK, &srk, &ma, &info, &key), TPM_INVALID_KEYUSAGE);
    info = cmk_template();
    other = ma;
    other.approval.bytes[0] ^= 1;
    assert_int_equal(make(tc, TPM_KH_SRK, &srk, &other, &info, &key), TPM_MA_AUTHORITY);
    info.key_usage = TPM_KEY_IDENTITY;
    assert_int_equal(make(tc, TPM_KH_SRK, &srk, &ma, &info, &key), TPM_INVALID_KEYUSAGE);
    info = cmk_template();
    info.is_12 = false;
    info.ver = (struct tpm_struct_ver){.major = 1, .minor = 1};
    assert_int_equal(make(tc, TPM_KH_SRK, &srk, &ma, &info, &key), TPM_INVALID_STRUCTURE);
    info = cmk_template();
    info.algorithm_parms.enc_scheme = TPM_ES_RSAESPKCSv15;
    assert_int_equal(make(tc, TPM_KH_SRK, &srk, &ma, &info, &key), TPM_BAD_KEY_PROPERTY);
}

/* ---- 11.8 ---- */

static tpm_rc ticket(struct tc *tc, const struct tpm_pubkey *pub, const struct tpm_digest *data, bool spoil,
                     const struct vt_auth *owner, struct tpm_digest *out)
{
    struct cmk_create_ticket_in in = {.verification_key = *pub, .signed_data = *data};
    struct cmk_create_ticket_out answer;
    uint8_t sig[CR_RSA_MAX];
    struct cr_rsa *rsa;
    tpm_rc rc;

    assert_int_equal(cr_rsa_load(&rsa, fixture_rsa_key(2048, 2)), VT_OK);
    assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, data->bytes, TPM_DIGEST_LEN, sig), VT_OK);
    cr_rsa_free(rsa);
    sig[9] ^= spoil;
    in.signature_value = (struct tpm_blob){.len = sizeof sig, .data = sig};
    rc = spec_one(tc, TPM_ORD_CMK_CreateTicket, &in, &answer, 0, owner);
    if (!rc)
        *out = answer.sig_ticket;
    return rc;
}

/*= p3:11.8#1 p3:11.8#2 p3:11.8#3 p3:11.8#4 p3:11.8#5 */
static void test_cmk_create_ticket__signatures__ticket_or_codes(void **state)
{
    struct vt_auth owner = SPEC_OWNER, wrong = tc_secret("wrong");
    struct tpm_digest data = {{3}}, out, other;
    struct tc *tc = *state;
    struct tpm_pubkey bad;
    struct ma ma;

    ma_init(tc, &ma);
    assert_int_equal(ticket(tc, &ma.signer, &data, false, &owner, &out), TPM_SUCCESS);
    assert_int_equal(ticket(tc, &ma.signer, &data, false, &wrong, &other), TPM_AUTHFAIL);
    assert_int_equal(ticket(tc, &ma.signer, &data, true, &owner, &other), TPM_BAD_SIGNATURE);
    bad = ma.signer;
    bad.algorithm_parms.algorithm_id = TPM_ALG_SHA;
    bad.algorithm_parms.form = TPM_PARMS_RAW;
    bad.algorithm_parms.parms.raw = (struct tpm_blob){0};
    assert_int_equal(ticket(tc, &bad, &data, false, &owner, &other), TPM_BAD_KEY_PROPERTY);
    bad = ma.signer;
    bad.algorithm_parms.enc_scheme = TPM_ES_RSAESOAEP_SHA1_MGF1;
    assert_int_equal(ticket(tc, &bad, &data, false, &owner, &other), TPM_INAPPROPRIATE_ENC);
    bad = ma.signer;
    bad.algorithm_parms.sig_scheme = TPM_SS_RSASSAPKCS1v15_DER;
    assert_int_equal(ticket(tc, &bad, &data, false, &owner, &other), TPM_INVALID_KEYUSAGE);
    bad.algorithm_parms.sig_scheme = TPM_SS_RSASSAPKCS1v15_INFO;
    assert_int_equal(ticket(tc, &bad, &data, false, &owner, &other), TPM_SUCCESS);
    /* It is of this key and these bytes. */
    assert_memory_not_equal(out.bytes, other.bytes, sizeof out.bytes);
}

/* ---- 11.9 ---- */

/* A request that is good in every way; tests change it. */
struct sending {
    struct ma ma;
    struct sk_key key;
    struct tpm_digest source;
    struct tpm_cmk_auth auth;
    uint8_t restriction[3 * TPM_DIGEST_LEN];
    struct tpm_digest sig;
    struct cmk_create_blob_in in;
};

static void restrict_to(struct tc *tc, struct sending *s, const struct tpm_cmk_auth *auth)
{
    struct wr w = wr_to(s->restriction, sizeof s->restriction);
    struct vt_auth owner = SPEC_OWNER;
    struct tpm_digest digest;

    s->auth = *auth;
    wr_cmk_auth(&w, auth);
    cr_sha1(digest.bytes, s->restriction, sizeof s->restriction);
    assert_int_equal(ticket(tc, &s->ma.signer, &digest, false, &owner, &s->sig), TPM_SUCCESS);
    s->in.restrict_ticket = (struct tpm_blob){.len = sizeof s->restriction, .data = s->restriction};
    s->in.sig_ticket = (struct tpm_blob){.len = TPM_DIGEST_LEN, .data = s->sig.bytes};
}

static void prepare(struct tc *tc, struct sending *s)
{
    struct tpm_cmk_auth auth;
    struct tpm_pubkey pub;

    ma_init(tc, &s->ma);
    make_good(tc, &s->ma, &s->key);
    pub = (struct tpm_pubkey){.algorithm_parms = s->key.key.algorithm_parms, .pub_key = s->key.key.pub_key};
    s->source = digest_of(&pub);
    s->in = (struct cmk_create_blob_in){.migration_type = TPM_MS_RESTRICT_APPROVE,
                                        .pub_source_key_digest = s->source,
                                        .msa_list = s->ma.msa,
                                        .enc_data = s->key.key.enc_data};
    assert_int_equal(sm_authorize(tc, &s->ma.home, TPM_MS_RESTRICT_APPROVE, &s->in.migration_key_auth), TPM_SUCCESS);
    auth = (struct tpm_cmk_auth){.migration_authority_digest = digest_of(&s->ma.signer),
                                 .destination_key_digest = digest_of(&s->ma.home),
                                 .source_key_digest = s->source};
    restrict_to(tc, s, &auth);
}

static tpm_rc send_by(struct tc *tc, const struct sending *s, uint32_t parent, const struct vt_auth *auth,
                      struct sm_travel *t)
{
    struct cmk_create_blob_out out;
    tpm_rc rc = spec_one(tc, TPM_ORD_CMK_CreateBlob, &s->in, &out, parent, auth);

    if (!rc && t)
        sm_keep(t, &out.random, &out.out_data);
    return rc;
}

static tpm_rc send(struct tc *tc, const struct sending *s, struct sm_travel *t)
{
    struct vt_auth srk = SPEC_SRK;

    return send_by(tc, s, TPM_KH_SRK, &srk, t);
}

static uint32_t home(struct tc *tc)
{
    struct vt_auth auth = tc_secret("key");
    struct tpm_key_obj parent = spec_key(3, TPM_KEY_STORAGE, &auth);

    return spec_insert(tc, &parent);
}

static tpm_rc convert(struct tc *tc, uint32_t parent, const struct cmk_convert_migration_in *in,
                      struct cmk_convert_migration_out *out)
{
    struct vt_auth auth = tc_secret("key");

    return spec_one(tc, TPM_ORD_CMK_ConvertMigration, in, out, parent, &auth);
}

/* What came, as the destination's command wants it. */
static struct cmk_convert_migration_in arrived(const struct sending *s, const struct sm_travel *t)
{
    struct cmk_convert_migration_in in = {.restrict_ticket = s->auth,
                                          .sig_ticket = s->sig,
                                          .migrated_key = s->key.key,
                                          .msa_list = s->ma.msa,
                                          .random = t->random};

    in.migrated_key.enc_data = t->data;
    return in;
}

/*= p3:11.9#1 p3:11.9#4 p3:11.9#5 p3:11.9#7 p3:11.9#9 p3:11.9#12 p3:11.9#13 p3:11.9#17 p3:11.10#1 p3:11.10#3 p3:11.10#8 p3:11.10#10 p3:11.10#18 p3:11.10#20 */
static void test_cmk__approved_by_the_authority__arrives_and_signs(void **state)
{
    struct vt_auth auth = tc_secret("key");
    struct tc *tc = *state;
    struct cmk_convert_migration_in in;
    struct cmk_convert_migration_out out;
    struct sm_travel t;
    struct sending s;
    uint32_t parent = home(tc), handle;

    prepare(tc, &s);
    assert_int_equal(send(tc, &s, &t), TPM_SUCCESS);
    in = arrived(&s, &t);
    assert_int_equal(convert(tc, parent, &in, &out), TPM_SUCCESS);
    memcpy(s.key.bytes + s.key.len - out.out_data.len, out.out_data.data, out.out_data.len);
    sk_key_reread(&s.key);
    assert_int_equal(sk_load(tc, parent, &auth, &s.key, &handle), TPM_SUCCESS);
    assert_int_equal(key_find(tc->tpm, handle)->key.payload, TPM_PT_MIGRATE_EXTERNAL);
    assert_int_equal(sk_sign(tc, handle, "12345678901234567890", 20, NULL), TPM_SUCCESS);
    /* And away again, from its new parent. */
    s.in.enc_data = s.key.key.enc_data;
    assert_int_equal(send_by(tc, &s, parent, &auth, NULL), TPM_SUCCESS);
}

/*= p3:11.9#8 */
static void test_cmk_create_blob__to_an_authority__needs_no_ticket(void **state)
{
    struct tc *tc = *state;
    struct sending s;
    struct tpm_pubkey bad;

    prepare(tc, &s);
    assert_int_equal(sm_authorize(tc, &s.ma.direct, TPM_MS_RESTRICT_MIGRATE, &s.in.migration_key_auth), TPM_SUCCESS);
    s.in.migration_type = TPM_MS_RESTRICT_MIGRATE;
    assert_int_equal(send(tc, &s, NULL), TPM_BAD_PARAMETER);
    s.in.restrict_ticket.len = 0;
    assert_int_equal(send(tc, &s, NULL), TPM_BAD_PARAMETER);
    s.in.sig_ticket.len = 0;
    assert_int_equal(send(tc, &s, NULL), TPM_SUCCESS);
    assert_int_equal(sm_authorize(tc, &s.ma.home, TPM_MS_RESTRICT_MIGRATE, &s.in.migration_key_auth), TPM_SUCCESS);
    assert_int_equal(send(tc, &s, NULL), TPM_MA_TICKET_SIGNATURE);
    /* An authority's key that signs does not decrypt. */
    bad = s.ma.direct;
    bad.algorithm_parms.sig_scheme = TPM_SS_RSASSAPKCS1v15_SHA1;
    assert_int_equal(sm_authorize(tc, &bad, TPM_MS_RESTRICT_MIGRATE, &s.in.migration_key_auth), TPM_SUCCESS);
    assert_int_equal(send(tc, &s, NULL), TPM_MA_TICKET_SIGNATURE);
}

/*= p3:11.9#8 */
static void test_cmk_create_blob__to_an_authority_that_signs__invalid_keyusage(void **state)
{
    struct tc *tc = *state;
    struct sending s;
    struct ma *ma = &s.ma;
    struct vt_auth owner = SPEC_OWNER, srk = SPEC_SRK;
    struct cmk_approve_ma_in approve;
    struct cmk_approve_ma_out approved;
    struct tpm_key info = cmk_template();
    struct tpm_digest d;

    prepare(tc, &s);
    ma->direct.algorithm_parms.sig_scheme = TPM_SS_RSASSAPKCS1v15_SHA1;
    d = digest_of(&ma->direct);
    memcpy(ma->list + 4, d.bytes, sizeof d.bytes);
    cr_sha1(ma->digest.bytes, ma->list, sizeof ma->list);
    approve.migration_authority_digest = ma->digest;
    assert_int_equal(spec_one(tc, TPM_ORD_CMK_ApproveMA, &approve, &approved, 0, &owner), TPM_SUCCESS);
    ma->approval = approved.out_data;
    assert_int_equal(make(tc, TPM_KH_SRK, &srk, ma, &info, &s.key), TPM_SUCCESS);
    s.in.enc_data = s.key.key.enc_data;
    s.in.pub_source_key_digest = digest_of(
        &(struct tpm_pubkey){.algorithm_parms = s.key.key.algorithm_parms, .pub_key = s.key.key.pub_key});
    assert_int_equal(sm_authorize(tc, &ma->direct, TPM_MS_RESTRICT_MIGRATE, &s.in.migration_key_auth), TPM_SUCCESS);
    assert_int_equal(send(tc, &s, NULL), TPM_INVALID_KEYUSAGE);
}

/*= p3:11.9#3 p3:11.9#5 p3:11.9#6 p3:11.9#7 p3:11.9#9 p3:11.9#10 */
static void test_cmk_create_blob__unfit_requests__codes(void **state)
{
    struct vt_auth key_auth = tc_secret("key"), wrong = tc_secret("wrong");
    struct tc *tc = *state;
    struct tpm_key_obj leaving = spec_key(3, TPM_KEY_STORAGE, &key_auth);
    struct tpm_cmk_auth auth;
    struct cmk_create_blob_in good;
    struct sending s;
    struct sk_key plain;
    uint32_t signing;

    prepare(tc, &s);
    good = s.in;
    assert_int_equal(send_by(tc, &s, TPM_KH_SRK, &wrong, NULL), TPM_AUTHFAIL);
    signing = spec_load_signing_key(tc, &key_auth, TPM_AUTH_ALWAYS);
    assert_int_equal(send_by(tc, &s, signing, &key_auth, NULL), TPM_INVALID_KEYUSAGE);
    leaving.flags = TPM_MIGRATABLE;
    assert_int_equal(send_by(tc, &s, spec_insert(tc, &leaving), &key_auth, NULL), TPM_INVALID_KEYUSAGE);
    s.in.migration_key_auth.digest.bytes[1] ^= 1;
    assert_int_equal(send(tc, &s, NULL), TPM_AUTHFAIL);
    s.in = good;
    sm_make(tc, TPM_MIGRATABLE, &plain);
    s.in.enc_data = plain.key.enc_data;
    assert_int_equal(send(tc, &s, NULL), TPM_INVALID_STRUCTURE);
    s.in = good;
    s.in.pub_source_key_digest.bytes[0] ^= 1;
    assert_int_equal(send(tc, &s, NULL), TPM_MA_AUTHORITY);
    s.in = good;
    s.in.msa_list.len--;
    assert_int_equal(send(tc, &s, NULL), TPM_BAD_PARAM_SIZE);
    s.in = good;
    s.in.sig_ticket.len--;
    assert_int_equal(send(tc, &s, NULL), TPM_BAD_PARAM_SIZE);
    s.in = good;
    s.in.restrict_ticket.len--;
    assert_int_equal(send(tc, &s, NULL), TPM_MA_TICKET_SIGNATURE);
    s.in = good;
    auth = s.auth;
    auth.destination_key_digest.bytes[0] ^= 1;
    restrict_to(tc, &s, &auth);
    assert_int_equal(send(tc, &s, NULL), TPM_MA_DESTINATION);
    auth.destination_key_digest.bytes[0] ^= 1;
    auth.source_key_digest.bytes[0] ^= 1;
    restrict_to(tc, &s, &auth);
    assert_int_equal(send(tc, &s, NULL), TPM_MA_SOURCE);
    assert_int_equal(sm_authorize(tc, &s.ma.home, TPM_MS_MIGRATE, &s.in.migration_key_auth), TPM_SUCCESS);
    assert_int_equal(send(tc, &s, NULL), TPM_BAD_PARAMETER);
}

/* ---- 11.10 ---- */

/*= p3:11.10#1 p3:11.10#2 p3:11.10#4 p3:11.10#6 p3:11.10#9 p3:11.10#11 p3:11.10#13 p3:11.10#15 p3:11.10#16 p3:11.10#17 */
static void test_cmk_convert_migration__unfit_requests__codes(void **state)
{
    struct vt_auth key_auth = tc_secret("key"), wrong = tc_secret("wrong");
    struct tc *tc = *state;
    struct tpm_key_obj leaving = spec_key(3, TPM_KEY_STORAGE, &key_auth);
    struct cmk_convert_migration_in good, in;
    struct tpm_cmk_auth auth;
    struct sm_travel t;
    struct sending s;
    uint32_t parent = home(tc), signing;

    prepare(tc, &s);
    assert_int_equal(send(tc, &s, &t), TPM_SUCCESS);
    in = good = arrived(&s, &t);
    assert_int_equal(spec_one(tc, TPM_ORD_CMK_ConvertMigration, &in, NULL, parent, &wrong), TPM_AUTHFAIL);
    signing = spec_load_signing_key(tc, &key_auth, TPM_AUTH_ALWAYS);
    assert_int_equal(convert(tc, signing, &in, NULL), TPM_INVALID_KEYUSAGE);
    in.random.len--;
    assert_int_equal(convert(tc, parent, &in, NULL), TPM_BAD_PARAMETER);
    in = good;
    in.migrated_key.pub_key.data = fixture_rsa_key(2048, 5)->pub.n;
    assert_int_equal(convert(tc, parent, &in, NULL), TPM_AUTHFAIL);
    in = good;
    in.msa_list.len--;
    assert_int_equal(convert(tc, parent, &in, NULL), TPM_BAD_PARAM_SIZE);
    in = good;
    in.sig_ticket.bytes[0] ^= 1;
    assert_int_equal(convert(tc, parent, &in, NULL), TPM_MA_TICKET_SIGNATURE);
    in = good;
    in.migrated_key.key_flags = TPM_MIGRATABLE;
    assert_int_equal(convert(tc, parent, &in, NULL), TPM_INVALID_KEYUSAGE);
    in.migrated_key.key_flags = TPM_MIGRATEAUTHORITY;
    assert_int_equal(convert(tc, parent, &in, NULL), TPM_INVALID_KEYUSAGE);
    auth = s.auth;
    auth.destination_key_digest.bytes[0] ^= 1;
    restrict_to(tc, &s, &auth);
    in = arrived(&s, &t);
    assert_int_equal(convert(tc, parent, &in, NULL), TPM_MA_DESTINATION);
    auth.destination_key_digest.bytes[0] ^= 1;
    auth.source_key_digest.bytes[0] ^= 1;
    restrict_to(tc, &s, &auth);
    in = arrived(&s, &t);
    assert_int_equal(convert(tc, parent, &in, NULL), TPM_MA_SOURCE);
    assert_int_equal(sk_flush(tc, parent, TPM_RT_KEY), TPM_SUCCESS);
    leaving.flags = TPM_MIGRATABLE;
    assert_int_equal(convert(tc, spec_insert(tc, &leaving), &good, NULL), TPM_INVALID_KEYUSAGE);
}

/*= p3:11.10#10 p3:11.10#14 */
static void test_cmk_convert_migration__made_by_hand__payload_and_pair(void **state)
{
    struct tc *tc = *state;
    struct sm_crafted crafted = {.payload = TPM_PT_MIGRATE, .claimed = 128, .prime_len = 128,
                                 .prime = fixture_rsa_key(2048, 5)->p};
    struct cmk_convert_migration_in in;
    struct sm_travel t;
    struct sending s;
    uint32_t parent = home(tc);

    prepare(tc, &s);
    cr_sha1v(crafted.phash,
             (struct cr_slice[]){CR_SLICE(s.ma.digest.bytes, TPM_DIGEST_LEN), CR_SLICE(s.source.bytes, TPM_DIGEST_LEN)}, 2);
    sm_craft(tc, &crafted, &t);
    in = arrived(&s, &t);
    assert_int_equal(convert(tc, parent, &in, NULL), TPM_BAD_MIGRATION);
    /* Another key's prime. */
    crafted.payload = TPM_PT_CMK_MIGRATE;
    sm_craft(tc, &crafted, &t);
    in = arrived(&s, &t);
    assert_int_equal(convert(tc, parent, &in, NULL), TPM_BAD_PARAMETER);
    crafted.claimed = crafted.prime_len = 64;
    sm_craft(tc, &crafted, &t);
    in = arrived(&s, &t);
    assert_int_equal(convert(tc, parent, &in, NULL), TPM_BAD_PARAMETER);
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_cmk_set_restrictions__by_the_owner__is_told),
        T(test_cmk_approve_ma__by_the_owner__hmac_with_the_proof),
        T(test_cmk_create_key__approved__loads_and_is_restricted),
        T(test_cmk_create_key__unfit_requests__codes),
        T(test_cmk_create_ticket__signatures__ticket_or_codes),
        T(test_cmk__approved_by_the_authority__arrives_and_signs),
        T(test_cmk_create_blob__to_an_authority__needs_no_ticket),
        T(test_cmk_create_blob__to_an_authority_that_signs__invalid_keyusage),
        T(test_cmk_create_blob__unfit_requests__codes),
        T(test_cmk_convert_migration__unfit_requests__codes),
        T(test_cmk_convert_migration__made_by_hand__payload_and_pair),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

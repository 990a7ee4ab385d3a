/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, chapter 15; 14.2, 14.3 and from 27 the rest of the endorsement key and the DIR. */
#include "tests/lib/fixture_keys.h"
#include "tests/spec/spec_keys.h"

#define ID tc_secret("identity")

/* ---- 15.1 ---- */

struct make {
    struct tpm_key params;
    struct vt_auth owner, srk;
    bool one_session, oiap;
};

static struct make good_make(void)
{
    return (struct make){.params = sk_template(TPM_KEY_IDENTITY), .owner = SPEC_OWNER, .srk = SPEC_SRK};
}

static tpm_rc make(struct tc *tc, const struct make *m, struct make_identity_out *out)
{
    struct make_identity_in in = {.label_priv_ca_digest = {{3}}, .id_key_params = m->params};
    struct vt_auth auth = ID;
    struct tc_session srk, owner;
    tpm_rc rc;

    assert_int_equal(tc_oiap(tc, &srk, &m->srk), TPM_SUCCESS);
    if (m->oiap)
        assert_int_equal(tc_oiap(tc, &owner, &m->owner), TPM_SUCCESS);
    else
        assert_int_equal(tc_osap(tc, &owner, TPM_ET_OWNER, 0, &m->owner), TPM_SUCCESS);
    tc_encrypt_auth(&owner, false, false, &auth, &in.identity_auth);
    if (m->one_session)
        return TC(tc, TPM_ORD_MakeIdentity, &in, out, .auth = {&owner});
    rc = TC(tc, TPM_ORD_MakeIdentity, &in, out, .auth = {&srk, &owner});
    /* 7. */
    if (!rc)
        assert_true(srk.handle == 0 && owner.handle == 0);
    return rc;
}

/*= p3:15.1#2 p3:15.1#3 p3:15.1#6 p3:15.1#7 p3:15.1#10 p3:15.1#13 p3:15.1#15 p3:15.1#16 p3:15.1#17 */
static void test_make_identity__good__loads_quotes_and_is_bound(void **state)
{
    struct make m = good_make();
    struct make_identity_out out;
    struct tc *tc = *state;
    struct quote_in quote = {.target_pcr = {.size_of_select = 3, .pcr_select = {1}}};
    struct vt_auth srk = SPEC_SRK, auth = ID;
    uint8_t bytes[512], digest[TPM_DIGEST_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct cr_rsa_pub pub = {.e = 65537, .bytes = 256};
    struct sk_key key;
    uint32_t handle;

    assert_int_equal(make(tc, &m, &out), TPM_SUCCESS);
    sk_key_keep(&key, &out.id_key);
    wr_put32(&w, 0x01010000);
    wr_put32(&w, TPM_ORD_MakeIdentity);
    wr_put8(&w, 3);
    memset(wr_room(&w, 19), 0, 19);
    wr_key_parms(&w, &key.key.algorithm_parms);
    wr_blob32(&w, &key.key.pub_key);
    cr_sha1(digest, bytes, w.len);
    memcpy(pub.n, key.key.pub_key.data, 256);
    assert_true(spec_signed(&pub, digest, &out.identity_binding));
    assert_int_equal(sk_load(tc, TPM_KH_SRK, &srk, &key, &handle), TPM_SUCCESS);
    assert_int_equal(spec_one(tc, TPM_ORD_Quote, &quote, NULL, handle, &auth), TPM_SUCCESS);
    /* It signs nothing that a caller says. */
    assert_int_equal(
        spec_one(tc, TPM_ORD_Sign, &(struct sign_in){.area_to_sign = {20, bytes}}, NULL, handle, &auth),
        TPM_INVALID_KEYUSAGE);
}

/*= p3:15.1#8 p3:15.1#9 */
static void test_make_identity__key12_bound_to_pcrs__stamped(void **state)
{
    struct tpm_pcr_info_long info = {.locality_at_creation = TPM_LOC_FOUR,
                                     .locality_at_release = TPM_LOC_ALL,
                                     .creation_pcr_selection = sk_pcr(10),
                                     .release_pcr_selection = sk_pcr(10)};
    struct make m = good_make();
    struct make_identity_out out;
    struct tc *tc = *state;
    uint8_t bytes[64], expected[TPM_DIGEST_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct rd r;

    wr_pcr_info_long(&w, &info);
    m.params.is_12 = true;
    m.params.pcr_info = (struct tpm_blob){.len = (uint32_t)w.len, .data = bytes};
    assert_int_equal(make(tc, &m, &out), TPM_SUCCESS);
    assert_true(out.id_key.is_12);
    r = rd_from(out.id_key.pcr_info.data, out.id_key.pcr_info.len);
    rd_pcr_info_long(&r, &info);
    assert_int_equal(rd_result(&r), TPM_SUCCESS);
    assert_int_equal(info.locality_at_creation, TPM_LOC_ZERO);
    pcr_composite_hash(tc->tpm, &info.creation_pcr_selection, expected);
    assert_memory_equal(info.digest_at_creation.bytes, expected, sizeof expected);
}

/*= p3:15.1#1 p3:15.1#2 p3:15.1#3 p3:15.1#4 p3:15.1#5 */
static void test_make_identity__unfit_requests__codes(void **state)
{
    struct tc *tc = *state;
    struct make m = good_make();

    m.params = sk_template(TPM_KEY_SIGNING);
    assert_int_equal(make(tc, &m, NULL), TPM_INVALID_KEYUSAGE);
    m = good_make();
    m.params.key_flags = TPM_MIGRATABLE;
    assert_int_equal(make(tc, &m, NULL), TPM_INVALID_KEYUSAGE);
    m.params.key_flags = TPM_MIGRATEAUTHORITY;
    assert_int_equal(make(tc, &m, NULL), TPM_INVALID_KEYUSAGE);
    m = good_make();
    m.params.algorithm_parms.parms.rsa.key_length = 1024;
    assert_int_equal(make(tc, &m, NULL), TPM_BAD_KEY_PROPERTY);
    m = good_make();
    m.params.algorithm_parms.sig_scheme = TPM_SS_RSASSAPKCS1v15_INFO;
    assert_int_equal(make(tc, &m, NULL), TPM_BAD_KEY_PROPERTY);
    m = good_make();
    m.oiap = true;
    assert_int_equal(make(tc, &m, NULL), TPM_BAD_MODE);
    m = good_make();
    m.owner = tc_secret("wrong");
    assert_int_equal(make(tc, &m, NULL), TPM_AUTH2FAIL);
    m = good_make();
    m.srk = tc_secret("wrong");
    assert_int_equal(make(tc, &m, NULL), TPM_AUTHFAIL);
    m = good_make();
    m.one_session = true;
    assert_int_equal(make(tc, &m, NULL), TPM_AUTHFAIL);
    tc->tpm->perm.srk.key.auth_data_usage = TPM_AUTH_NEVER;
    key_pub_digest(&tc->tpm->perm.srk.key, tc->tpm->perm.srk.key.pub_digest);
    assert_int_equal(make(tc, &m, NULL), TPM_SUCCESS);
}

/* ---- 15.2 ---- */

static const uint8_t session_key[16] = {1, 2, 3, 4};

/* What a CA sends: version 1.1's contents, or 1.2's blob with a type and PCRs. */
struct letter {
    bool is_12;
    uint16_t type;
    struct tpm_digest identity;
    struct tpm_pcr_info_short info;
    size_t more; /* bytes behind it */
    bool inner_tag_wrong;
};

static struct letter letter_to(const struct tpm_key_obj *identity, bool is_12)
{
    struct letter l = {.is_12 = is_12,
                       .type = TPM_EK_TYPE_ACTIVATE,
                       .info = {.pcr_selection = {.size_of_select = 3}, .locality_at_release = TPM_LOC_ALL}};

    key_pubkey_digest(identity, l.identity.bytes);
    return l;
}

static void seal_letter(struct tc *tc, const struct letter *l, uint8_t enc[CR_RSA_MAX])
{
    struct tpm_symmetric_key key = {.alg_id = TPM_ALG_AES128,
                                    .enc_scheme = TPM_ES_SYM_CBC_PKCS5PAD,
                                    .data = {.len = sizeof session_key, .data = session_key}};
    struct tpm_ek_blob_activate inner = {.session_key = key, .id_digest = l->identity, .pcr_info = l->info};
    struct tpm_asym_ca_contents contents = {.session_key = key, .id_digest = l->identity};
    struct cr_drbg drbg;
    uint8_t bytes[200] = {0}, plain[256] = {0}, seed[CR_DRBG_SEED] = {9};
    struct wr w = wr_to(plain, sizeof plain), b = wr_to(bytes, sizeof bytes);

    if (l->is_12) {
        struct tpm_ek_blob outer = {.ek_type = l->type};

        wr_ek_blob_activate(&b, &inner);
        bytes[1] ^= l->inner_tag_wrong;
        outer.blob = (struct tpm_blob){.len = (uint32_t)b.len, .data = bytes};
        wr_ek_blob(&w, &outer);
    } else {
        wr_asym_ca_contents(&w, &contents);
    }
    assert_false(w.bad || b.bad);
    cr_drbg_init(&drbg, seed, NULL, 0);
    assert_int_equal(
        cr_rsa_oaep_encrypt(&tc->tpm->perm.ek.key.rsa.pub, "TCPA", 4, plain, w.len + l->more, &drbg, enc),
        VT_OK);
}

static tpm_rc activate(struct tc *tc, uint32_t handle, const struct letter *l,
                       struct activate_identity_out *out)
{
    struct vt_auth owner = SPEC_OWNER, auth = ID;
    uint8_t enc[CR_RSA_MAX];
    struct activate_identity_in in = {.blob = {.len = sizeof enc, .data = enc}};
    struct tc_session a, b;

    seal_letter(tc, l, enc);
    assert_int_equal(tc_oiap(tc, &a, &auth), TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &b, &owner), TPM_SUCCESS);
    a.ends = b.ends = true;
    return TC(tc, TPM_ORD_ActivateIdentity, &in, out, .handles = {handle}, .auth = {&a, &b});
}

static struct tpm_key_obj identity_key(void)
{
    struct vt_auth auth = ID;

    return spec_key(5, TPM_KEY_IDENTITY, &auth);
}

/*= p3:15.2#4 p3:15.2#5 p3:15.2#6 p3:15.2#7 p3:15.2#8 */
static void test_activate_identity__both_forms__session_key(void **state)
{
    struct tpm_key_obj identity = identity_key();
    struct activate_identity_out out;
    struct tc *tc = *state;
    uint32_t handle = spec_insert(tc, &identity);

    for (unsigned is_12 = 0; is_12 < 2; is_12++) {
        struct letter l = letter_to(&identity, is_12);

        assert_int_equal(activate(tc, handle, &l, &out), TPM_SUCCESS);
        assert_int_equal(out.symmetric_key.alg_id, TPM_ALG_AES128);
        assert_int_equal(out.symmetric_key.data.len, sizeof session_key);
        assert_memory_equal(out.symmetric_key.data.data, session_key, sizeof session_key);
        l.identity.bytes[0] ^= 1;
        assert_int_equal(activate(tc, handle, &l, NULL), TPM_BAD_PARAMETER);
        l.identity.bytes[0] ^= 1;
        l.more = 1;
        assert_int_equal(activate(tc, handle, &l, NULL), TPM_BAD_PARAM_SIZE);
    }
}

/*= p3:15.2#8.a p3:15.2#8.d p3:15.2#8.e */
static void test_activate_identity__type_pcrs_locality__codes(void **state)
{
    struct tpm_key_obj identity = identity_key();
    struct tc *tc = *state;
    uint32_t handle = spec_insert(tc, &identity);
    struct letter l = letter_to(&identity, true);

    l.type = TPM_EK_TYPE_AUTH;
    assert_int_equal(activate(tc, handle, &l, NULL), TPM_BAD_TYPE);
    l = letter_to(&identity, true);
    l.inner_tag_wrong = true;
    assert_int_equal(activate(tc, handle, &l, NULL), TPM_INVALID_STRUCTURE);
    l = letter_to(&identity, true);
    l.info.pcr_selection = sk_pcr(10);
    pcr_composite_hash(tc->tpm, &l.info.pcr_selection, l.info.digest_at_release.bytes);
    assert_int_equal(activate(tc, handle, &l, NULL), TPM_SUCCESS);
    assert_int_equal(spec_extend(tc, 10, 1), TPM_SUCCESS);
    assert_int_equal(activate(tc, handle, &l, NULL), TPM_WRONGPCRVAL);
    l = letter_to(&identity, true);
    l.info.locality_at_release = TPM_LOC_THREE;
    assert_int_equal(activate(tc, handle, &l, NULL), TPM_BAD_LOCALITY);
    tc->locality = 3;
    assert_int_equal(activate(tc, handle, &l, NULL), TPM_SUCCESS);
}

/*= p3:15.2#1 p3:15.2#2 p3:15.2#3 p3:15.2#5 */
static void test_activate_identity__unfit_requests__codes(void **state)
{
    struct vt_auth owner = SPEC_OWNER, auth = ID, wrong = tc_secret("wrong");
    struct tpm_key_obj identity = identity_key(), free_identity = identity;
    struct tc *tc = *state;
    uint32_t handle = spec_insert(tc, &identity), signing = spec_load_signing_key(tc, &auth, TPM_AUTH_ALWAYS),
             never;
    struct letter l = letter_to(&identity, false);
    uint8_t enc[CR_RSA_MAX + 1] = {0};
    struct activate_identity_in in = {.blob = {.len = CR_RSA_MAX, .data = enc}};
    struct tc_session a, b;

    assert_int_equal(activate(tc, signing, &l, NULL), TPM_BAD_PARAMETER);
    free_identity.auth_data_usage = TPM_AUTH_NEVER;
    never = spec_insert(tc, &free_identity);
    seal_letter(tc, &l, enc);
    assert_int_equal(spec_one(tc, TPM_ORD_ActivateIdentity, &in, NULL, handle, &owner), TPM_AUTHFAIL);
    assert_int_equal(spec_one(tc, TPM_ORD_ActivateIdentity, &in, NULL, never, &owner), TPM_SUCCESS);
    for (unsigned bad = 0; bad < 2; bad++) {
        assert_int_equal(tc_oiap(tc, &a, bad == 0 ? &wrong : &auth), TPM_SUCCESS);
        assert_int_equal(tc_oiap(tc, &b, bad == 1 ? &wrong : &owner), TPM_SUCCESS);
        assert_int_equal(TC(tc, TPM_ORD_ActivateIdentity, &in, NULL, .handles = {handle}, .auth = {&a, &b}),
                         bad ? TPM_AUTH2FAIL : TPM_AUTHFAIL);
    }
    enc[5] ^= 1;
    assert_int_equal(spec_one(tc, TPM_ORD_ActivateIdentity, &in, NULL, never, &owner), TPM_DECRYPT_ERROR);
    in.blob.len++;
    assert_int_equal(spec_one(tc, TPM_ORD_ActivateIdentity, &in, NULL, never, &owner), TPM_BAD_DATASIZE);
    in.blob.len -= 2;
    assert_int_equal(spec_one(tc, TPM_ORD_ActivateIdentity, &in, NULL, never, &owner), TPM_DECRYPT_ERROR);
}

/* ---- 14.2, 14.3 ---- */

static tpm_rc create_revocable(struct tc *tc, bool generate, struct create_revocable_ek_out *out)
{
    struct create_revocable_ek_in in = {
        .anti_replay = {{4}},
        .key_info = sk_template(TPM_KEY_STORAGE).algorithm_parms,
        .generate_reset = generate,
        .input_ek_reset = {{7, 7}},
    };

    return TC(tc, TPM_ORD_CreateRevocableEK, &in, out);
}

static tpm_rc revoke(struct tc *tc, const struct tpm_nonce *reset)
{
    struct revoke_trust_in in = {.ek_reset = *reset};

    return TC(tc, TPM_ORD_RevokeTrust, &in, NULL);
}

static int setup_without_ek(void **state)
{
    struct tc *tc;

    spec_setup_off(state);
    tc = *state;
    tc_free(tc);
    tc_new(tc, 1, false);
    return tc_reboot(tc, TPM_ST_CLEAR) ? -1 : 0;
}

/*= p3:14.2#1 p3:14.2#2 p3:14.2#3 p3:14.2#4 */
static void test_create_revocable_ek__both_ways__reset_value(void **state)
{
    struct create_revocable_ek_out out;
    struct create_revocable_ek_in bad = {.key_info = sk_template(TPM_KEY_SIGNING).algorithm_parms};
    struct tc *tc = *state;
    struct tpm_nonce first;

    assert_int_equal(TC(tc, TPM_ORD_CreateRevocableEK, &bad, NULL), TPM_BAD_KEY_PROPERTY);
    assert_int_equal(create_revocable(tc, false, &out), TPM_SUCCESS);
    assert_int_equal(out.output_ek_reset.bytes[1], 7);
    assert_int_equal(out.pub_endorsement_key.pub_key.len, 256);
    assert_true(tc->tpm->perm.flags.enable_revoke_ek && tc->tpm->perm.flags.cekp_used);
    first = out.output_ek_reset;
    assert_int_equal(create_revocable(tc, false, &out), TPM_DISABLED_CMD);
    tc_assert_presence(tc);
    assert_int_equal(revoke(tc, &first), TPM_SUCCESS);
    /* What the owner's clear does: disabled and deactivated. */
    assert_int_equal(TC(tc, TPM_ORD_PhysicalEnable, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(create_revocable(tc, true, &out), TPM_SUCCESS);
    assert_memory_not_equal(&out.output_ek_reset, &first, sizeof first);
    assert_int_equal(revoke(tc, &first), TPM_AUTHFAIL);
}

/* The value is a secret like others: guesses at it lock out (Part 1, 8.1). */
/*= p3:14.3#2 */
static void test_revoke_trust__guesses__counted_and_locked_out(void **state)
{
    struct create_revocable_ek_out out;
    struct tpm_nonce wrong = {{1}};
    struct tc *tc = *state;

    assert_int_equal(create_revocable(tc, false, &out), TPM_SUCCESS);
    tc_assert_presence(tc);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(revoke(tc, &wrong), TPM_AUTHFAIL);
    assert_int_equal(revoke(tc, &out.output_ek_reset), TPM_DEFEND_LOCK_RUNNING);
    tc->now_us += 1000000;
    assert_int_equal(revoke(tc, &out.output_ek_reset), TPM_SUCCESS);
}

/*= p3:14.3#1 p3:14.3#2 p3:14.3#3 p3:14.3#4 p3:14.3#5 p3:14.3#6 p3:14.3#7 p3:14.3#8 */
static void test_revoke_trust__owner_ek_nv__all_gone(void **state)
{
    struct tpm_nonce reset = {{7, 7}}, wrong = {{7, 8}};
    struct create_revocable_ek_out out;
    struct nv_area area = {.pub = {.nv_index = 0x1000F000, .data_size = 4}};
    struct tc *tc = *state;
    struct vt_auth daa, owner = SPEC_OWNER;

    assert_int_equal(create_revocable(tc, false, &out), TPM_SUCCESS);
    tc->tpm->perm.owned = true;
    tc->tpm->perm.owner_auth = owner;
    tc->tpm->perm.srk.handle = TPM_KH_SRK;
    tc->tpm->perm.srk.key = spec_key(6, TPM_KEY_STORAGE, &owner);
    assert_true(nv_define(tc->tpm, &area));
    tc_check_frozen(tc);
    daa = tc->tpm->perm.daa_proof;
    assert_int_equal(revoke(tc, &wrong), TPM_AUTHFAIL);
    assert_int_equal(revoke(tc, &reset), TPM_BAD_PRESENCE);
    tc_assert_presence(tc);
    assert_int_equal(revoke(tc, &reset), TPM_SUCCESS);
    assert_false(tc->tpm->perm.owned || tc->tpm->perm.has_ek || tc->tpm->perm.flags.nv_locked);
    assert_false(tc->tpm->perm.flags.enable_revoke_ek || tc->tpm->perm.flags.cekp_used);
    assert_null(nv_find(tc->tpm, 0x1000F000));
    assert_memory_not_equal(&daa, &tc->tpm->perm.daa_proof, sizeof daa);
    assert_true(spec_all((const uint8_t *)&tc->tpm->perm.ek, sizeof tc->tpm->perm.ek, 0));
    assert_int_equal(TC(tc, TPM_ORD_PhysicalEnable, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(revoke(tc, &reset), TPM_PERMANENTEK);
}

/*= p3:14.3#1 */
static void test_revoke_trust__ek_for_good__permanentek(void **state)
{
    struct tpm_nonce zeros = {{0}};

    tc_assert_presence(*state);
    assert_int_equal(revoke(*state, &zeros), TPM_PERMANENTEK);
}

/* ---- 28: the DIR, the public EK for the owner ---- */

/*= p3:27.3.1#1 p3:27.3.1#2 p3:27.3.1#3 p3:27.3.2#1 p3:27.3.2#2 */
static void test_dir__written_by_the_owner__read_by_all(void **state)
{
    struct dir_write_auth_in in = {.new_contents = {{1, 2, 3}}};
    struct nv_read_value_in nv = {.nv_index = TPM_NV_INDEX_DIR, .data_size = 20};
    struct vt_auth owner = SPEC_OWNER, wrong = tc_secret("wrong"), zeros = {{0}};
    struct dir_read_in read = {.dir_index = 0};
    struct nv_read_value_out area;
    struct dir_read_out out;
    struct tc *tc = *state;

    assert_int_equal(spec_one(tc, TPM_ORD_DirWriteAuth, &in, NULL, 0, &owner), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_DirRead, &read, &out), TPM_SUCCESS);
    assert_memory_equal(&out.dir_contents, &in.new_contents, 20);
    assert_int_equal(TC(tc, TPM_ORD_NV_ReadValue, &nv, &area), TPM_SUCCESS);
    assert_memory_equal(area.data.data, &in.new_contents, 20);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_DirRead, &read, &out), TPM_SUCCESS);
    assert_memory_equal(&out.dir_contents, &in.new_contents, 20);
    assert_int_equal(spec_one(tc, TPM_ORD_DirWriteAuth, &in, NULL, 0, &wrong), TPM_AUTHFAIL);
    in.dir_index = read.dir_index = 1;
    assert_int_equal(spec_one(tc, TPM_ORD_DirWriteAuth, &in, NULL, 0, &owner), TPM_BADINDEX);
    assert_int_equal(TC(tc, TPM_ORD_DirRead, &read, NULL), TPM_BADINDEX);
    /* Without an owner there is no secret that proves him: not zeros either. */
    tpm_clear_owner(tc->tpm);
    tc->tpm->perm.flags.disable = tc->tpm->perm.flags.deactivated = false;
    in.dir_index = 0;
    assert_int_equal(spec_one(tc, TPM_ORD_DirWriteAuth, &in, NULL, 0, &zeros), TPM_AUTHFAIL);
}

/*= p3:27.6 */
static void test_owner_read_pubek__owner__public_part(void **state)
{
    struct vt_auth owner = SPEC_OWNER, wrong = tc_secret("wrong");
    struct owner_read_pubek_out out;
    struct tc *tc = *state;

    assert_int_equal(spec_one(tc, TPM_ORD_OwnerReadPubek, NULL, &out, 0, &owner), TPM_SUCCESS);
    assert_memory_equal(out.pub_endorsement_key.pub_key.data, tc->tpm->perm.ek.key.rsa.pub.n, 256);
    assert_int_equal(spec_one(tc, TPM_ORD_OwnerReadPubek, NULL, NULL, 0, &wrong), TPM_AUTHFAIL);
}

#define T(f)       cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)
#define UNOWNED(f) cmocka_unit_test_setup_teardown(f, spec_setup, spec_teardown)
#define NO_EK(f)   cmocka_unit_test_setup_teardown(f, setup_without_ek, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_make_identity__good__loads_quotes_and_is_bound),
        T(test_make_identity__key12_bound_to_pcrs__stamped),
        T(test_make_identity__unfit_requests__codes),
        T(test_activate_identity__both_forms__session_key),
        T(test_activate_identity__type_pcrs_locality__codes),
        T(test_activate_identity__unfit_requests__codes),
        NO_EK(test_create_revocable_ek__both_ways__reset_value),
        NO_EK(test_revoke_trust__guesses__counted_and_locked_out),
        NO_EK(test_revoke_trust__owner_ek_nv__all_gone),
        UNOWNED(test_revoke_trust__ek_for_good__permanentek),
        T(test_dir__written_by_the_owner__read_by_all),
        T(test_owner_read_pubek__owner__public_part),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

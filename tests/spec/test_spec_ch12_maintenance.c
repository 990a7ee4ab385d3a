/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, chapter 12: two TPMs whose profile has maintenance, and the manufacturer between them (fixture 3). */
#include "tests/spec/spec_maintenance.h"

static int setup(void **state)
{
    struct tc *tc;

    (void)spec_setup_owned(state);
    tc = *state;
    tc->tpm->perm.profile.maintenance = true;
    tc->tpm->perm.flags.allow_maintenance = true;
    tc_check_frozen(tc);
    return 0;
}

static tpm_rc load_pub(struct tc *tc, const struct tpm_pubkey *key, struct tpm_digest *checksum)
{
    struct load_manu_maint_pub_in in = {.anti_replay = {{7}}, .pub_key = *key};
    struct load_manu_maint_pub_out out = {.checksum = {{0}}};
    tpm_rc rc = TC(tc, TPM_ORD_LoadManuMaintPub, &in, &out);

    if (checksum)
        *checksum = out.checksum;
    return rc;
}

static void meet(struct tc *tc)
{
    struct tpm_pubkey key = sm_pubkey(MANUFACTURER);

    assert_int_equal(load_pub(tc, &key, NULL), TPM_SUCCESS);
}

/* SHA-1(pubKey || antiReplay). */
static struct tpm_digest checksum_of(const struct tpm_pubkey *key, uint8_t first)
{
    struct tpm_nonce nonce = {{first}};
    struct tpm_digest digest;
    uint8_t bytes[512];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_pubkey(&w, key);
    wr_copy(&w, nonce.bytes, sizeof nonce.bytes);
    cr_sha1(digest.bytes, bytes, w.len);
    return digest;
}

static struct tpm_digest read_pub(struct tc *tc, uint8_t first)
{
    struct read_manu_maint_pub_in in = {.anti_replay = {{first}}};
    struct read_manu_maint_pub_out out;

    assert_int_equal(TC(tc, TPM_ORD_ReadManuMaintPub, &in, &out), TPM_SUCCESS);
    return out.checksum;
}

/* ---- Off ---- */

/*= p3:12.1 p3:12.2 p3:12.3 p3:12.4 p3:12.5 */
static void test_maintenance__not_in_the_profile__no_such_ordinals(void **state)
{
    static const uint32_t ordinals[] = {TPM_ORD_CreateMaintenanceArchive, TPM_ORD_LoadMaintenanceArchive,
                                        TPM_ORD_KillMaintenanceFeature, TPM_ORD_LoadManuMaintPub,
                                        TPM_ORD_ReadManuMaintPub};
    struct tpm_pubkey key = sm_pubkey(MANUFACTURER);
    struct create_maintenance_archive_in create = {.generate_random = true};
    struct set_ordinal_audit_status_in audit = {.audit_state = true};
    struct vt_auth owner = SPEC_OWNER;
    struct tc *tc = *state;

    for (size_t i = 0; i < VT_COUNT(ordinals); i++) {
        assert_false(spec_cap_bool(tc, TPM_CAP_ORD, ordinals[i]));
        audit.ordinal_to_audit = ordinals[i];
        assert_int_equal(spec_one(tc, TPM_ORD_SetOrdinalAuditStatus, &audit, NULL, 0, &owner), TPM_BADINDEX);
    }
    assert_int_equal(load_pub(tc, &key, NULL), TPM_BAD_ORDINAL);
    assert_int_equal(spec_one(tc, TPM_ORD_CreateMaintenanceArchive, &create, NULL, 0, &owner), TPM_BAD_ORDINAL);
    assert_int_equal(spec_one(tc, TPM_ORD_KillMaintenanceFeature, NULL, NULL, 0, &owner), TPM_BAD_ORDINAL);
    assert_int_equal(tc->tpm->perm.maint_pub_len, 0);
}

static void test_maintenance__in_the_profile__ordinals_are_told(void **state)
{
    assert_true(spec_cap_bool(*state, TPM_CAP_ORD, TPM_ORD_CreateMaintenanceArchive));
    assert_true(spec_cap_bool(*state, TPM_CAP_ORD, TPM_ORD_ReadManuMaintPub));
}

/* ---- 12.4 and 12.5 ---- */

/*= p3:12.4#1 p3:12.4#2 p3:12.4#3 p3:12.4#4 p3:12.5#1 p3:12.5#2 */
static void test_manu_maint_pub__loaded__once_and_for_good(void **state)
{
    struct tpm_pubkey key = sm_pubkey(MANUFACTURER), other = sm_pubkey(4);
    struct tpm_digest expected = checksum_of(&key, 7), got;
    struct tc *tc = *state;

    assert_int_equal(load_pub(tc, &key, &got), TPM_SUCCESS);
    assert_memory_equal(got.bytes, expected.bytes, sizeof got.bytes);
    assert_int_equal(load_pub(tc, &other, NULL), TPM_DISABLED_CMD);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(load_pub(tc, &key, NULL), TPM_DISABLED_CMD);
    got = read_pub(tc, 9);
    expected = checksum_of(&key, 9);
    assert_memory_equal(got.bytes, expected.bytes, sizeof got.bytes);
}

/*= p3:12.5#1 */
static void test_read_manu_maint_pub__none__hash_of_an_empty_key(void **state)
{
    struct tpm_pubkey none = {.algorithm_parms = {.form = TPM_PARMS_RAW}};
    struct tpm_digest expected = checksum_of(&none, 9), got = read_pub(*state, 9);

    assert_memory_equal(got.bytes, expected.bytes, sizeof got.bytes);
}

/*= p3:12.4 */
static void test_load_manu_maint_pub__unfit_keys__codes_and_nothing_loaded(void **state)
{
    struct tpm_pubkey good = sm_pubkey(MANUFACTURER), key = good;
    struct tc *tc = *state;

    key.algorithm_parms.parms.rsa.key_length = 1024;
    key.pub_key.len = 128;
    assert_int_equal(load_pub(tc, &key, NULL), TPM_BAD_KEY_PROPERTY);
    key = good;
    key.algorithm_parms.parms.rsa.exponent = (struct tpm_blob){.len = 1, .data = (const uint8_t *)"\3"};
    assert_int_equal(load_pub(tc, &key, NULL), TPM_BAD_KEY_PROPERTY);
    key = good;
    key.algorithm_parms.enc_scheme = TPM_ES_RSAESPKCSv15;
    assert_int_equal(load_pub(tc, &key, NULL), TPM_INAPPROPRIATE_ENC);
    assert_int_equal(load_pub(tc, &good, NULL), TPM_SUCCESS);
}

/* ---- 12.1 and 12.2: what the manufacturer does in between ---- */

static tpm_rc create(struct tc *tc, bool random, const struct vt_auth *owner, struct sx_archive *a)
{
    struct create_maintenance_archive_in in = {.generate_random = random};
    struct create_maintenance_archive_out out = {.random = {0}};
    tpm_rc rc = spec_one(tc, TPM_ORD_CreateMaintenanceArchive, &in, &out, 0, owner);

    if (!rc)
        sx_keep(a, &out);
    return rc;
}

static tpm_rc load(struct tc *tc, const struct sx_archive *a, const struct vt_auth *owner)
{
    struct load_maintenance_archive_in in = {
        .archive = {.len = a->len, .data = a->bytes},
        .sig = {.len = a->sig_len, .data = a->sig},
        .random = {.len = a->random_len, .data = a->random},
    };

    return spec_one(tc, TPM_ORD_LoadMaintenanceArchive, &in, NULL, 0, owner);
}

/* Another TPM, owned by "other", its SRK fixture 5, that knows the manufacturer. */
static struct tc *other_tpm(const char *owner)
{
    void *state = NULL;
    struct tc *tc;

    (void)setup(&state);
    tc = state;
    tc->tpm->perm.owner_auth = tc_secret(owner);
    tc->tpm->perm.srk.key.rsa = *fixture_rsa_key(2048, 5);
    key_pub_digest(&tc->tpm->perm.srk.key, tc->tpm->perm.srk.key.pub_digest);
    memset(tc->tpm->perm.tpm_proof.bytes, 0x77, 20);
    tc_check_frozen(tc);
    meet(tc);
    return tc;
}

static void end_other(struct tc *tc)
{
    void *state = tc;

    (void)spec_teardown(&state);
}

/* What the first TPM had, with the first owner's secret in place of the SRK's (12.2 action 6.a.i). */
static void check_moved(const struct tc *from, struct tc *to)
{
    const struct permanent *a = &from->tpm->perm, *b = &to->tpm->perm;

    assert_true(b->owned && b->flags.maintenance_done);
    assert_memory_equal(b->srk.key.rsa.pub.n, a->srk.key.rsa.pub.n, CR_RSA_MAX);
    assert_memory_equal(b->srk.key.usage_auth.bytes, a->owner_auth.bytes, 20);
    assert_memory_equal(b->owner_auth.bytes, a->owner_auth.bytes, 20);
    assert_memory_equal(b->tpm_proof.bytes, a->tpm_proof.bytes, 20);
    /* 5. The actions of TPM_OwnerClear. */
    assert_true(b->flags.disable && b->flags.deactivated && b->flags.allow_maintenance);
}

/*= p3:12.1#1 p3:12.1#2 p3:12.1#3 */
static void test_create_archive__not_allowed_or_no_key__codes(void **state)
{
    struct vt_auth owner = SPEC_OWNER, wrong = tc_secret("wrong");
    struct tc *tc = *state;
    struct sx_archive a;

    assert_int_equal(create(tc, true, &owner, &a), TPM_KEYNOTFOUND);
    meet(tc);
    assert_int_equal(create(tc, true, &wrong, &a), TPM_AUTHFAIL);
    assert_false(tc->tpm->perm.flags.maintenance_done);
    tc->tpm->perm.flags.allow_maintenance = false;
    assert_int_equal(create(tc, true, &owner, &a), TPM_DISABLED_CMD);
}

/*= p3:12.1#4 p3:12.1#5 p3:12.1#6 p3:12.1#7 p3:12.1#8 p3:12.1#9 p3:12.1#11 p3:12.1#12 p3:12.1#13 p3:12.1#14
    p3:12.1#15 */
static void test_create_archive__random__srk_and_proof_in_two_halves(void **state)
{
    struct tc *tc = *state;
    const struct permanent *perm = &tc->tpm->perm;
    struct vt_auth owner = SPEC_OWNER;
    uint8_t inner[CR_RSA_MAX], phash[20], seed[20];
    struct tpm_migrate_asymkey m1;
    struct sx_archive a;
    size_t len, at;
    struct rd r;

    meet(tc);
    assert_int_equal(create(tc, true, &owner, &a), TPM_SUCCESS);
    perm = &tc->tpm->perm;
    assert_true(perm->flags.maintenance_done);
    assert_int_equal(a.random_len, 198);
    len = sx_open_inner(&a, inner);
    assert_int_equal(len, 198);
    for (size_t i = 0; i < len; i++)
        inner[i] ^= a.random[i];
    assert_int_equal(cr_oaep_decode(inner, len, phash, seed, &at), VT_OK);
    r = rd_from(inner + at, len - at);
    rd_migrate_asymkey(&r, &m1);
    assert_int_equal(rd_result(&r), TPM_SUCCESS);
    assert_int_equal(m1.payload, TPM_PT_MAINT);
    assert_memory_equal(phash, owner.bytes, 20);
    assert_memory_equal(m1.usage_auth.bytes, perm->tpm_proof.bytes, 20);
    assert_memory_equal(m1.pub_data_digest.bytes, perm->srk.key.pub_digest, 20);
    /* The seed is the size and the first 16 bytes of the prime, the rest of it is inside. */
    assert_memory_equal(seed, ((uint8_t[]){0, 0, 0, 128}), 4);
    assert_memory_equal(seed + 4, perm->srk.key.rsa.p, 16);
    assert_int_equal(m1.part_priv_key.len, 112);
    assert_memory_equal(m1.part_priv_key.data, perm->srk.key.rsa.p + 16, 112);
}

/*= p3:12.2#1 p3:12.2#2 p3:12.2#3 p3:12.2#4 p3:12.2#5 p3:12.2#6 p3:12.2#7 */
static void test_archive__with_random__moves_to_another_owner(void **state)
{
    struct vt_auth owner = SPEC_OWNER, others = tc_secret("other"), wrong = tc_secret("wrong");
    struct tc *from = *state, *to = other_tpm("other");
    struct sx_archive a;

    meet(from);
    assert_int_equal(create(from, true, &owner, &a), TPM_SUCCESS);
    sx_massage(&a, to);
    assert_int_equal(load(to, &a, &wrong), TPM_AUTHFAIL);
    assert_int_equal(load(to, &a, &others), TPM_SUCCESS);
    check_moved(from, to);
    end_other(to);
}

/* What was sealed on the first TPM opens on the second: SRK and tpmProof are both there. */
static void test_archive__moved__sealed_data_opens(void **state)
{
    struct vt_auth owner = SPEC_OWNER, srk = SPEC_SRK, data = tc_secret("data");
    struct tc *from = *state, *to = other_tpm("owner");
    struct sk_sealed sealed;
    struct tpm_blob secret;
    struct sx_archive a;

    assert_int_equal(sk_seal(from, TPM_KH_SRK, &srk, &sk_nothing, "kept", 4, &sealed), TPM_SUCCESS);
    meet(from);
    assert_int_equal(create(from, false, &owner, &a), TPM_SUCCESS);
    sx_massage(&a, to);
    assert_int_equal(load(to, &a, &owner), TPM_SUCCESS);
    tc_assert_presence(to);
    assert_int_equal(TC(to, TPM_ORD_PhysicalEnable, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(sk_unseal(to, TPM_KH_SRK, &owner, &data, &sealed, &secret), TPM_SUCCESS);
    assert_int_equal(secret.len, 4);
    assert_memory_equal(secret.data, "kept", 4);
    end_other(to);
}

/*= p3:12.1#10 p3:12.2#6 */
static void test_archive__owners_secret__both_must_have_the_same(void **state)
{
    struct vt_auth owner = SPEC_OWNER, others = tc_secret("other");
    struct tc *from = *state, *to = other_tpm("owner"), *stranger = other_tpm("other");
    struct sx_archive a;

    meet(from);
    assert_int_equal(create(from, false, &owner, &a), TPM_SUCCESS);
    assert_int_equal(a.random_len, 0);
    sx_massage(&a, to);
    assert_int_equal(load(stranger, &a, &others), TPM_DECRYPT_ERROR);
    assert_true(stranger->tpm->perm.owned);
    assert_false(stranger->tpm->perm.flags.maintenance_done);
    assert_int_equal(load(to, &a, &owner), TPM_SUCCESS);
    check_moved(from, to);
    end_other(to);
    end_other(stranger);
}

/* ---- 12.2: archives that are none ---- */

/*= p3:12.2#2 p3:12.2#4 */
static void test_load_archive__not_from_the_manufacturer__refused(void **state)
{
    struct vt_auth owner = SPEC_OWNER, others = tc_secret("other");
    struct tc *from = *state, *to = other_tpm("other"), *unmet;
    struct sx_archive a;
    void *fresh = NULL;

    (void)setup(&fresh);
    unmet = fresh;
    meet(from);
    assert_int_equal(create(from, true, &owner, &a), TPM_SUCCESS);
    sx_massage(&a, to);
    assert_int_equal(load(unmet, &a, &owner), TPM_KEYNOTFOUND);
    sx_sign(&a, 4);
    assert_int_equal(load(to, &a, &others), TPM_BAD_SIGNATURE);
    a.sig_len = 0;
    assert_int_equal(load(to, &a, &others), TPM_BAD_SIGNATURE);
    sx_sign(&a, MANUFACTURER);
    a.bytes[a.len - 1] ^= 1;
    assert_int_equal(load(to, &a, &others), TPM_BAD_SIGNATURE);
    end_other(to);
    end_other(unmet);
}

/* Signed by the manufacturer all the same: each thing that an archive must be. */
struct flaw {
    uint16_t usage;
    uint32_t flags;
    bool no_modulus;
    unsigned modulus; /* fixture; 0: as it is */
    uint8_t payload;
    uint32_t prime_len; /* 0: all of it */
    tpm_rc rc;
};

static void make_flawed(struct sx_archive *a, const struct tc *to, const struct flaw *f)
{
    struct sx_archive whole = *a;
    struct tpm_key key = sx_read_archive(&whole);
    struct vt_auth proof = to->tpm->perm.tpm_proof;
    struct tpm_migrate_asymkey m1 = {.payload = f->payload ? f->payload : TPM_PT_MAINT, .usage_auth = proof};
    const struct cr_rsa_key *srk = fixture_rsa_key(2048, 6);
    struct tpm_key_obj public = spec_key(f->modulus ? f->modulus : 6, TPM_KEY_STORAGE, &proof);
    uint32_t prime_len = f->prime_len ? f->prime_len : 128;
    uint8_t k1k2[CR_RSA_MAX], text[CR_RSA_MAX], o1[CR_RSA_MAX];
    struct wr k = wr_to(k1k2, sizeof k1k2), w = wr_to(text, sizeof text);
    size_t len;

    if (f->usage)
        key.key_usage = f->usage;
    key.key_flags |= f->flags;
    key.pub_key = (struct tpm_blob){.len = f->no_modulus ? 0 : CR_RSA_MAX, .data = public.rsa.pub.n};
    memcpy(m1.pub_data_digest.bytes, public.pub_digest, TPM_DIGEST_LEN);
    wr_put32(&k, prime_len);
    wr_copy(&k, srk->p, prime_len);
    m1.part_priv_key = (struct tpm_blob){.len = (uint32_t)k.len - 20, .data = k1k2 + 20};
    wr_migrate_asymkey(&w, &m1);
    len = 41 + w.len;
    assert_int_equal(cr_oaep_encode(o1, len, proof.bytes, k1k2, text, w.len), VT_OK);
    sx_close_inner(a, &key, o1, len, &to->tpm->perm.srk.key.rsa.pub);
    memset(a->random, 0, len);
    a->random_len = (uint32_t)len;
}

/*= p3:12.2#3 p3:12.2#6 */
static void test_load_archive__flawed__codes_and_nothing_changed(void **state)
{
    static const struct flaw flaws[] = {
        {.usage = TPM_KEY_BIND, .rc = TPM_INVALID_KEYUSAGE},
        {.flags = TPM_MIGRATABLE, .rc = TPM_INVALID_KEYUSAGE},
        {.no_modulus = true, .rc = TPM_BAD_KEY_PROPERTY},
        {.modulus = 7, .rc = TPM_BAD_PARAMETER},
        {.payload = TPM_PT_MIGRATE, .rc = TPM_INVALID_STRUCTURE},
        {.payload = TPM_PT_ASYM, .rc = TPM_INVALID_STRUCTURE},
        {.prime_len = 64, .rc = TPM_BAD_PARAMETER},
        {.rc = TPM_SUCCESS},
    };
    struct vt_auth owner = SPEC_OWNER, others = tc_secret("other");
    struct tc *from = *state, *to = other_tpm("other");
    struct sx_archive made, a;

    meet(from);
    assert_int_equal(create(from, true, &owner, &made), TPM_SUCCESS);
    for (size_t i = 0; i < VT_COUNT(flaws); i++) {
        a = made;
        make_flawed(&a, to, &flaws[i]);
        assert_memory_equal(to->tpm->perm.owner_auth.bytes, others.bytes, 20);
        assert_false(to->tpm->perm.flags.maintenance_done);
        assert_int_equal(load(to, &a, &others), flaws[i].rc);
    }
    assert_true(to->tpm->perm.flags.maintenance_done);
    end_other(to);
}

/* Not even a TPM_KEY; a random half of another length. */
static void test_load_archive__lengths__codes(void **state)
{
    struct vt_auth owner = SPEC_OWNER, others = tc_secret("other");
    struct tc *from = *state, *to = other_tpm("other");
    struct sx_archive a;

    meet(from);
    assert_int_equal(create(from, true, &owner, &a), TPM_SUCCESS);
    sx_massage(&a, to);
    a.random_len--;
    assert_int_equal(load(to, &a, &others), TPM_BAD_PARAMETER);
    a.random_len++;
    a.len--;
    sx_sign(&a, MANUFACTURER);
    assert_int_equal(load(to, &a, &others), TPM_BAD_PARAM_SIZE);
    a.len = 0;
    sx_sign(&a, MANUFACTURER);
    assert_int_equal(load(to, &a, &others), TPM_BAD_PARAM_SIZE);
    end_other(to);
}

/* ---- 12.3 ---- */

/*= p3:12.3#1 p3:12.3#2 */
static void test_kill_maintenance__by_the_owner__until_the_owner_goes(void **state)
{
    struct vt_auth owner = SPEC_OWNER, wrong = tc_secret("wrong");
    struct tc *tc = *state;
    struct sx_archive a;

    meet(tc);
    assert_int_equal(spec_one(tc, TPM_ORD_KillMaintenanceFeature, NULL, NULL, 0, &wrong), TPM_AUTHFAIL);
    assert_int_equal(spec_one(tc, TPM_ORD_KillMaintenanceFeature, NULL, NULL, 0, &owner), TPM_SUCCESS);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(create(tc, false, &owner, &a), TPM_DISABLED_CMD);
    assert_int_equal(spec_one(tc, TPM_ORD_OwnerClear, NULL, NULL, 0, &owner), TPM_SUCCESS);
    assert_true(tc->tpm->perm.flags.allow_maintenance);
    assert_int_not_equal(tc->tpm->perm.maint_pub_len, 0);
}

#define ON(test) cmocka_unit_test_setup_teardown(test, setup, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_maintenance__not_in_the_profile__no_such_ordinals, spec_setup_owned,
                                        spec_teardown),
        ON(test_maintenance__in_the_profile__ordinals_are_told),
        ON(test_manu_maint_pub__loaded__once_and_for_good),
        ON(test_read_manu_maint_pub__none__hash_of_an_empty_key),
        ON(test_load_manu_maint_pub__unfit_keys__codes_and_nothing_loaded),
        ON(test_create_archive__not_allowed_or_no_key__codes),
        ON(test_create_archive__random__srk_and_proof_in_two_halves),
        ON(test_archive__with_random__moves_to_another_owner),
        ON(test_archive__moved__sealed_data_opens),
        ON(test_archive__owners_secret__both_must_have_the_same),
        ON(test_load_archive__not_from_the_manufacturer__refused),
        ON(test_load_archive__flawed__codes_and_nothing_changed),
        ON(test_load_archive__lengths__codes),
        ON(test_kill_maintenance__by_the_owner__until_the_owner_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

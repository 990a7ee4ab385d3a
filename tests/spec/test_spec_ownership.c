/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, 6.1-6.5, 9.3, 14.1, 14.4, 14.5, 27.7: the owner comes and goes; lock-outs; the endorsement key. */
#include "server/engine/auth.h"
#include "tests/spec/spec_keys.h"

/* ---- 6.1 TPM_TakeOwnership ---- */

/* What a caller sends; every test spoils one thing. */
struct take {
    uint16_t protocol;
    bool owner_in_clear, srk_in_clear;
    uint8_t owner_len, srk_len;
    bool wrong_hmac;
    struct tpm_key srk;
};

static struct take good_take(void)
{
    struct take take = {
        .protocol = TPM_PID_OWNER, .owner_len = 20, .srk_len = 20, .srk = sk_template(TPM_KEY_STORAGE)};

    return take;
}

/* A secret under the endorsement key, with bytes too many or too few. */
static struct tpm_blob encrypt(const struct tc *tc, const struct vt_auth *secret, uint8_t len, bool in_clear,
                               uint8_t out[256])
{
    uint8_t plain[64] = {0};
    const struct cr_rsa_pub *ek = &tc->tpm->perm.ek.key.rsa.pub;
    uint8_t seed[CR_DRBG_SEED] = {7};
    struct cr_drbg drbg;

    memcpy(plain, secret->bytes, sizeof secret->bytes);
    memset(out, 0, 256);
    cr_drbg_init(&drbg, seed, "test", 4);
    if (!in_clear && tc->tpm->perm.has_ek)
        assert_int_equal(cr_rsa_oaep_encrypt(ek, "TCPA", 4, plain, len, &drbg, out), VT_OK);
    return (struct tpm_blob){.len = 256, .data = out};
}

static tpm_rc take(struct tc *tc, const struct take *what, struct take_ownership_out *out)
{
    struct vt_auth owner = SPEC_OWNER, srk = SPEC_SRK;
    uint8_t enc_owner[256], enc_srk[256];
    struct take_ownership_in in = {
        .protocol_id = what->protocol,
        .enc_owner_auth = encrypt(tc, &owner, what->owner_len, what->owner_in_clear, enc_owner),
        .enc_srk_auth = encrypt(tc, &srk, what->srk_len, what->srk_in_clear, enc_srk),
        .srk_params = what->srk,
    };
    struct tc_session s;

    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    s.ends = true;
    return TC(tc, TPM_ORD_TakeOwnership, &in, out, .auth = {&s}, .wrong_hmac = {what->wrong_hmac});
}

static tpm_rc owner_command(struct tc *tc, uint32_t ordinal, const struct vt_auth *owner, const void *in,
                            void *out)
{
    struct tc_session s;

    assert_int_equal(tc_oiap(tc, &s, owner), TPM_SUCCESS);
    s.ends = true;
    return TC(tc, ordinal, in, out, .auth = {&s});
}

/*= p3:6.1#11 p3:6.1#16 p3:6.1#17 */
static void test_take_ownership__good__owner_and_srk_work(void **state)
{
    struct vt_auth owner = SPEC_OWNER, srk = SPEC_SRK, proof, data = tc_secret("data");
    struct read_pubek_in read = {{{0}}};
    struct take good = good_take();
    struct take_ownership_out out;
    struct tc *tc = *state;
    struct sk_sealed sealed;

    proof = tc->tpm->perm.tpm_proof;
    assert_int_equal(take(tc, &good, &out), TPM_SUCCESS);
    assert_int_equal(tc->dirty & TPM_DIRTY_PERMANENT, TPM_DIRTY_PERMANENT);
    assert_int_equal(out.srk_pub.key_usage, TPM_KEY_STORAGE);
    assert_int_equal(out.srk_pub.pub_key.len, 256);
    assert_int_equal(out.srk_pub.enc_data.len, 0);
    assert_memory_not_equal(&proof, &tc->tpm->perm.tpm_proof, sizeof proof);
    assert_int_equal(sk_seal(tc, TPM_KH_SRK, &srk, &sk_nothing, "hidden", 6, &sealed), TPM_SUCCESS);
    assert_int_equal(sk_unseal(tc, TPM_KH_SRK, &srk, &data, &sealed, NULL), TPM_SUCCESS);
    /* 17. The endorsement key is now the owner's to read. */
    assert_int_equal(TC(tc, TPM_ORD_ReadPubek, &read, NULL), TPM_DISABLED_CMD);
    assert_int_equal(take(tc, &good, NULL), TPM_OWNER_SET);
    /* It all outlives power. */
    tpm_power_off(tc->tpm);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(sk_unseal(tc, TPM_KH_SRK, &srk, &data, &sealed, NULL), TPM_SUCCESS);
    assert_int_equal(owner_command(tc, TPM_ORD_DisableOwnerClear, &owner, NULL, NULL), TPM_SUCCESS);
}

#define REFUSED(field, value, code)                                                                          \
    do {                                                                                                     \
        struct take bad = good_take();                                                                       \
        bad.field = (value);                                                                                 \
        assert_int_equal(take(tc, &bad, NULL), (code));                                                      \
        assert_false(tc->tpm->perm.owned);                                                                   \
    } while (0)

/*= p3:6.1#5 p3:6.1#6 p3:6.1#7 p3:6.1#8 p3:6.1#10 */
static void test_take_ownership__one_thing_wrong__refused_and_nothing_changed(void **state)
{
    static const uint8_t exponent[] = {1, 0, 1};
    struct take good = good_take();
    struct tc *tc = *state;

    REFUSED(protocol, 6, TPM_BAD_PARAMETER);
    REFUSED(owner_in_clear, true, TPM_DECRYPT_ERROR);
    REFUSED(srk_in_clear, true, TPM_DECRYPT_ERROR);
    REFUSED(owner_len, 19, TPM_BAD_KEY_PROPERTY);
    REFUSED(srk_len, 0, TPM_BAD_KEY_PROPERTY);
    REFUSED(owner_len, 21, TPM_DECRYPT_ERROR);
    REFUSED(srk_len, 21, TPM_DECRYPT_ERROR);
    REFUSED(wrong_hmac, true, TPM_AUTHFAIL);
    REFUSED(srk.key_usage, TPM_KEY_SIGNING, TPM_INVALID_KEYUSAGE);
    REFUSED(srk.key_flags, TPM_MIGRATABLE, TPM_INVALID_KEYUSAGE);
    REFUSED(srk.algorithm_parms.enc_scheme, TPM_ES_RSAESPKCSv15, TPM_BAD_KEY_PROPERTY);
    REFUSED(srk.algorithm_parms.sig_scheme, TPM_SS_RSASSAPKCS1v15_SHA1, TPM_BAD_KEY_PROPERTY);
    REFUSED(srk.algorithm_parms.parms.rsa.key_length, 1024, TPM_BAD_KEY_PROPERTY);
    REFUSED(srk.algorithm_parms.parms.rsa.num_primes, 3, TPM_BAD_KEY_PROPERTY);
    REFUSED(srk.algorithm_parms.parms.rsa.exponent, ((struct tpm_blob){3, exponent}), TPM_BAD_KEY_PROPERTY);
    assert_int_equal(session_free_slots(tc->tpm), 16);
    assert_int_equal(take(tc, &good, NULL), TPM_SUCCESS);
}

/*= p3:6.1#2 */
static void test_take_ownership__install_disabled__refused(void **state)
{
    struct take good = good_take();
    struct tc *tc = *state;

    tc->tpm->perm.flags.ownership = false;
    assert_int_equal(take(tc, &good, NULL), TPM_INSTALL_DISABLED);
    tc->tpm->perm.flags.ownership = true;
    tc->tpm->perm.flags.disable = true;
    assert_int_equal(take(tc, &good, NULL), TPM_DISABLED);
}

/*= p3:6.1#4 */
static void test_take_ownership__session_is_not_oiap__authfail(void **state)
{
    struct vt_auth owner = SPEC_OWNER, srk = SPEC_SRK;
    uint8_t enc_owner[256], enc_srk[256];
    struct tc *tc = *state;
    struct take_ownership_in in = {
        .protocol_id = TPM_PID_OWNER,
        .enc_owner_auth = encrypt(tc, &owner, 20, false, enc_owner),
        .enc_srk_auth = encrypt(tc, &srk, 20, false, enc_srk),
        .srk_params = sk_template(TPM_KEY_STORAGE),
    };
    struct tc_session s;

    /* Without an owner none can be opened: one is made up. */
    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    session_find(tc->tpm, s.handle)->kind = SESSION_OSAP;
    assert_int_equal(TC(tc, TPM_ORD_TakeOwnership, &in, NULL, .auth = {&s}), TPM_AUTHFAIL);
}

/* The SRK may be bound to PCRs too. */
static void test_take_ownership__srk_of_version_12_with_pcrs__bound(void **state)
{
    struct tpm_pcr_info_long info = {.locality_at_creation = 1,
                                     .locality_at_release = 0x1F,
                                     .creation_pcr_selection = sk_pcr(4),
                                     .release_pcr_selection = sk_pcr(4)};
    uint8_t bytes[KEY_PCR_INFO_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct vt_auth srk = SPEC_SRK;
    struct take what = good_take();
    struct take_ownership_out out;
    struct tc *tc = *state;
    struct sk_sealed sealed;

    pcr_composite_hash(tc->tpm, &info.release_pcr_selection, info.digest_at_release.bytes);
    wr_pcr_info_long(&w, &info);
    what.srk.is_12 = true;
    what.srk.pcr_info = (struct tpm_blob){.len = (uint32_t)w.len, .data = bytes};
    assert_int_equal(take(tc, &what, &out), TPM_SUCCESS);
    assert_true(out.srk_pub.is_12);
    assert_int_equal(sk_seal(tc, TPM_KH_SRK, &srk, &sk_nothing, "x", 1, &sealed), TPM_SUCCESS);
    assert_int_equal(spec_extend(tc, 4, 4), TPM_SUCCESS);
    assert_int_equal(sk_seal(tc, TPM_KH_SRK, &srk, &sk_nothing, "x", 1, &sealed), TPM_WRONGPCRVAL);
}

/* ---- 6.2-6.5 ---- */

static void define_area(struct tc *tc, uint32_t index, uint32_t attributes)
{
    struct nv_area area = {.pub = {.nv_index = index, .permission = {attributes}, .data_size = 8}};

    assert_true(nv_define(tc->tpm, &area));
}

/* tpmProof before the owner went. */
static struct vt_auth old_proof;

/* An owned TPM with something of everything that a clear takes away or leaves. */
static uint32_t furnish(struct tc *tc)
{
    struct vt_auth key = tc_secret("key");
    uint32_t kept = spec_load_signing_key(tc, &key, TPM_AUTH_NEVER);

    old_proof = tc->tpm->perm.tpm_proof;
    key_find(tc->tpm, kept)->owner_evict = true;
    define_area(tc, 0x1001, TPM_NV_PER_OWNERWRITE);
    define_area(tc, 0x1002, TPM_NV_PER_AUTHWRITE | TPM_NV_PER_AUTHREAD);
    define_area(tc, 0x1000F000, TPM_NV_PER_OWNERWRITE | TPM_NV_PER_OWNERREAD);
    define_area(tc, 0x1003, TPM_NV_PER_OWNERREAD);
    tc->tpm->perm.nv.no_owner_writes = 9;
    tc->tpm->perm.flags.operator= true;
    tc->tpm->perm.auth_dir[0] = 0x5A;
    tc_check_frozen(tc);
    return kept;
}

static void check_cleared(struct tc *tc, uint32_t kept)
{
    const struct permanent *perm = &tc->tpm->perm;

    assert_false(perm->owned);
    assert_null(key_find(tc->tpm, kept));
    assert_null(key_find(tc->tpm, TPM_KH_SRK));
    assert_null(nv_find(tc->tpm, 0x1001));
    assert_null(nv_find(tc->tpm, 0x1003));
    assert_non_null(nv_find(tc->tpm, 0x1002));
    assert_non_null(nv_find(tc->tpm, 0x1000F000));
    assert_int_equal(perm->nv.no_owner_writes, 0);
    assert_true(perm->flags.disable && perm->flags.deactivated && perm->flags.ownership);
    assert_true(perm->flags.read_pubek && perm->flags.nv_locked);
    assert_false(perm->flags.operator|| perm->flags.disable_owner_clear);
    assert_true(perm->has_ek);
    assert_int_equal(perm->auth_dir[0], 0x5A);
    assert_int_equal(session_free_slots(tc->tpm), 16);
    assert_true(spec_all(perm->owner_auth.bytes, 20, 0));
    /* Not the old ones, and none that everybody knows. */
    assert_memory_not_equal(perm->tpm_proof.bytes, old_proof.bytes, 20);
    assert_false(spec_all(perm->tpm_proof.bytes, 20, 0) || spec_all(perm->context_key.bytes, 20, 0));
}

/*= p3:6.2#3 p3:6.2#5 p3:6.2#9 p3:6.2#12 p3:6.2#14 */
static void test_owner_clear__by_the_owner__only_the_owners_things_are_gone(void **state)
{
    struct vt_auth owner = SPEC_OWNER, wrong = tc_secret("wrong"), srk = SPEC_SRK;
    struct tc *tc = *state;
    uint32_t kept = furnish(tc);
    struct tc_session other;

    assert_int_equal(tc_osap(tc, &other, TPM_ET_SRK, TPM_KH_SRK, &srk), TPM_SUCCESS);
    assert_int_equal(owner_command(tc, TPM_ORD_OwnerClear, &wrong, NULL, NULL), TPM_AUTHFAIL);
    assert_true(tc->tpm->perm.owned);
    assert_int_equal(owner_command(tc, TPM_ORD_OwnerClear, &owner, NULL, NULL), TPM_SUCCESS);
    check_cleared(tc, kept);
    /* What TPM_Startup had copied of the flags stays until the next one. */
    assert_false(tc->tpm->stclear.flags.deactivated);
    assert_int_equal(owner_command(tc, TPM_ORD_OwnerClear, &owner, NULL, NULL), TPM_DISABLED);
}

/* A session that the owner keeps open ends with the owner, in the same response. */
static void test_owner_clear__session_continued__ends_all_the_same(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;

    assert_int_equal(tc_osap(*state, &s, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    assert_int_equal(TC(*state, TPM_ORD_OwnerClear, NULL, NULL, .auth = {&s}), TPM_SUCCESS);
    assert_int_equal(s.handle, 0);
}

/*= p3:6.2#2 p3:6.4 */
static void test_owner_clear__disabled__clear_disabled_for_ever(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc *tc = *state;

    assert_int_equal(owner_command(tc, TPM_ORD_DisableOwnerClear, &owner, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(owner_command(tc, TPM_ORD_OwnerClear, &owner, NULL, NULL), TPM_CLEAR_DISABLED);
    assert_true(tc->tpm->perm.owned);
}

/*= p3:6.3 p3:6.5 */
static void test_force_clear__presence_and_flag__decide(void **state)
{
    struct tc *tc = *state;
    uint32_t kept = furnish(tc);

    assert_int_equal(TC(tc, TPM_ORD_ForceClear, NULL, NULL), TPM_BAD_PRESENCE);
    tc_assert_presence(tc);
    assert_int_equal(TC(tc, TPM_ORD_DisableForceClear, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_ForceClear, NULL, NULL), TPM_CLEAR_DISABLED);
    assert_true(tc->tpm->perm.owned);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    tc_assert_presence(tc);
    assert_int_equal(TC(tc, TPM_ORD_ForceClear, NULL, NULL), TPM_SUCCESS);
    check_cleared(tc, kept);
}

/* ---- 9.3 TPM_ResetLockValue ---- */

static void guess(struct tc *tc, unsigned times)
{
    struct vt_auth wrong = tc_secret("wrong");

    for (unsigned i = 0; i < times; i++)
        (void)owner_command(tc, TPM_ORD_DisableOwnerClear, &wrong, NULL, NULL);
}

/*= p3:9.3#3 */
static void test_reset_lock_value__in_a_lock_out__ends_it(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc *tc = *state;

    guess(tc, 8);
    assert_int_equal(owner_command(tc, TPM_ORD_DisableOwnerClear, &owner, NULL, NULL),
                     TPM_DEFEND_LOCK_RUNNING);
    assert_int_equal(owner_command(tc, TPM_ORD_ResetLockValue, &owner, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(owner_command(tc, TPM_ORD_DisableOwnerClear, &owner, NULL, NULL), TPM_SUCCESS);
}

/*= p3:9.3#1 p3:9.3#2 */
static void test_reset_lock_value__wrong_secret__off_until_the_lock_out_ends(void **state)
{
    struct vt_auth owner = SPEC_OWNER, wrong = tc_secret("wrong");
    struct tc *tc = *state;

    guess(tc, 8);
    assert_int_equal(owner_command(tc, TPM_ORD_ResetLockValue, &wrong, NULL, NULL), TPM_AUTHFAIL);
    assert_int_equal(owner_command(tc, TPM_ORD_ResetLockValue, &owner, NULL, NULL), TPM_AUTHFAIL);
    /* A power cycle is no way around it. */
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(owner_command(tc, TPM_ORD_ResetLockValue, &owner, NULL, NULL), TPM_AUTHFAIL);
    assert_true(da_locked(tc->tpm));
    tc->now_us += (uint64_t)DA_LOCK_MAX_S * 1000000;
    assert_int_equal(owner_command(tc, TPM_ORD_ResetLockValue, &owner, NULL, NULL), TPM_SUCCESS);
}

/* ---- The endorsement key ---- */

static int setup_no_ek(void **state)
{
    struct tc *tc;

    assert_int_equal(spec_setup(state), 0);
    tc = *state;
    tc_free(tc);
    tc_new(tc, 2, false);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    return 0;
}

/*= p3:14.1 p3:14.4 */
static void test_endorsement_key__made_once__readable(void **state)
{
    struct create_endorsement_key_pair_in in = {.anti_replay = {{1}},
                                                .key_info = sk_template(TPM_KEY_STORAGE).algorithm_parms};
    struct create_endorsement_key_pair_out made;
    struct read_pubek_in read = {.anti_replay = {{1}}};
    struct read_pubek_out out;
    struct take good = good_take();
    uint8_t modulus[256], sum[20];
    struct tc *tc = *state;

    assert_int_equal(TC(tc, TPM_ORD_ReadPubek, &read, NULL), TPM_NO_ENDORSEMENT);
    assert_int_equal(take(tc, &good, NULL), TPM_NO_ENDORSEMENT);
    in.key_info.parms.rsa.key_length = 1024;
    assert_int_equal(TC(tc, TPM_ORD_CreateEndorsementKeyPair, &in, NULL), TPM_BAD_KEY_PROPERTY);
    in.key_info.parms.rsa.key_length = 2048;
    in.key_info.parms.rsa.num_primes = 3;
    assert_int_equal(TC(tc, TPM_ORD_CreateEndorsementKeyPair, &in, NULL), TPM_BAD_KEY_PROPERTY);
    in.key_info.parms.rsa.num_primes = 2;
    assert_int_equal(TC(tc, TPM_ORD_CreateEndorsementKeyPair, &in, &made), TPM_SUCCESS);
    memcpy(modulus, made.pub_endorsement_key.pub_key.data, sizeof modulus);
    memcpy(sum, made.checksum.bytes, sizeof sum);
    assert_true(tc->tpm->perm.flags.cekp_used);
    assert_int_equal(TC(tc, TPM_ORD_ReadPubek, &read, &out), TPM_SUCCESS);
    assert_memory_equal(out.pub_endorsement_key.pub_key.data, modulus, sizeof modulus);
    assert_memory_equal(out.checksum.bytes, sum, sizeof sum);
    read.anti_replay.bytes[0] ^= 1;
    assert_int_equal(TC(tc, TPM_ORD_ReadPubek, &read, &out), TPM_SUCCESS);
    assert_memory_not_equal(out.checksum.bytes, sum, sizeof sum);
    assert_int_equal(TC(tc, TPM_ORD_CreateEndorsementKeyPair, &in, NULL), TPM_DISABLED_CMD);
    assert_int_equal(take(tc, &good, NULL), TPM_SUCCESS);
}

/*= p3:14.4 p3:14.5 p3:27.7 */
static void test_owner_read_internal_pub__handles__ek_and_srk_only(void **state)
{
    struct owner_read_internal_pub_in in = {.key_handle = TPM_KH_EK};
    struct owner_read_internal_pub_out out;
    struct vt_auth owner = SPEC_OWNER, wrong = tc_secret("wrong");
    struct read_pubek_in read = {{{0}}};
    struct tc *tc = *state;

    assert_int_equal(owner_command(tc, TPM_ORD_OwnerReadInternalPub, &owner, &in, &out), TPM_SUCCESS);
    assert_memory_equal(out.public_portion.pub_key.data, tc->tpm->perm.ek.key.rsa.pub.n, 256);
    in.key_handle = TPM_KH_SRK;
    assert_int_equal(owner_command(tc, TPM_ORD_OwnerReadInternalPub, &owner, &in, &out), TPM_SUCCESS);
    assert_memory_equal(out.public_portion.pub_key.data, tc->tpm->perm.srk.key.rsa.pub.n, 256);
    in.key_handle = TPM_KH_OWNER;
    assert_int_equal(owner_command(tc, TPM_ORD_OwnerReadInternalPub, &owner, &in, NULL), TPM_BAD_PARAMETER);
    in.key_handle = 0;
    assert_int_equal(owner_command(tc, TPM_ORD_OwnerReadInternalPub, &owner, &in, NULL), TPM_BAD_PARAMETER);
    assert_int_equal(TC(tc, TPM_ORD_ReadPubek, &read, NULL), TPM_SUCCESS);
    assert_int_equal(owner_command(tc, TPM_ORD_DisablePubekRead, &wrong, NULL, NULL), TPM_AUTHFAIL);
    assert_int_equal(owner_command(tc, TPM_ORD_DisablePubekRead, &owner, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_ReadPubek, &read, NULL), TPM_DISABLED_CMD);
}

#define T(f)     cmocka_unit_test_setup_teardown(f, spec_setup, spec_teardown)
#define OWNED(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_take_ownership__good__owner_and_srk_work),
        T(test_take_ownership__one_thing_wrong__refused_and_nothing_changed),
        T(test_take_ownership__install_disabled__refused),
        T(test_take_ownership__session_is_not_oiap__authfail),
        T(test_take_ownership__srk_of_version_12_with_pcrs__bound),
        OWNED(test_owner_clear__by_the_owner__only_the_owners_things_are_gone),
        OWNED(test_owner_clear__session_continued__ends_all_the_same),
        OWNED(test_owner_clear__disabled__clear_disabled_for_ever),
        OWNED(test_force_clear__presence_and_flag__decide),
        OWNED(test_reset_lock_value__in_a_lock_out__ends_it),
        OWNED(test_reset_lock_value__wrong_secret__off_until_the_lock_out_ends),
        cmocka_unit_test_setup_teardown(test_endorsement_key__made_once__readable, setup_no_ek,
                                        spec_teardown),
        OWNED(test_owner_read_internal_pub__handles__ek_and_srk_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

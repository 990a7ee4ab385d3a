/* SPDX-License-Identifier: Apache-2.0 */
/* Where two chapters meet: sessions that are outside while what they stand for changes; what little else
 * never occurs. */
#include "server/engine/auth.h"
#include "server/engine/transport.h"
#include "tests/spec/spec_migration.h"
#include "tests/spec/spec_transport.h"

#define COUNT tc_secret("count")

/* ---- Saved sessions and transport sessions ---- */

struct outside {
    uint8_t bytes[TPM_BUFFER];
    struct tpm_blob blob;
};

static void save(struct tc *tc, uint32_t type, uint32_t handle, struct outside *o)
{
    struct save_context_in in = {.resource_type = type};
    struct save_context_out out;

    assert_int_equal(TC(tc, TPM_ORD_SaveContext, &in, &out, .handles = {handle}), TPM_SUCCESS);
    memcpy(o->bytes, out.context_blob.data, out.context_blob.len);
    o->blob = (struct tpm_blob){.len = out.context_blob.len, .data = o->bytes};
}

static tpm_rc load(struct tc *tc, const struct outside *o)
{
    struct load_context_in in = {.keep_handle = true, .context_blob = o->blob};

    return TC(tc, TPM_ORD_LoadContext, &in, NULL, .handles = {0});
}

static uint32_t make_counter(struct tc *tc)
{
    struct vt_auth owner = SPEC_OWNER, auth = COUNT;
    struct create_counter_in in = {.label = {{0}}};
    struct create_counter_out out;
    struct tc_session s;

    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    tc_encrypt_auth(&s, false, false, &auth, &in.enc_auth);
    assert_int_equal(TC(tc, TPM_ORD_CreateCounter, &in, &out, .auth = {&s}), TPM_SUCCESS);
    return out.count_id;
}

static void test_context__session_of_a_counter__lives_as_long_as_it(void **state)
{
    struct vt_auth auth = COUNT;
    struct tc *tc = *state;
    uint32_t id = make_counter(tc);
    struct increment_counter_in in = {.count_id = id};
    struct release_counter_in release = {.count_id = id};
    static struct outside o;
    struct tc_session s;

    assert_int_equal(tc_osap(tc, &s, TPM_ET_COUNTER, id, &auth), TPM_SUCCESS);
    save(tc, TPM_RT_AUTH, s.handle, &o);
    assert_int_equal(load(tc, &o), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_IncrementCounter, &in, NULL, .auth = {&s}), TPM_SUCCESS);
    save(tc, TPM_RT_AUTH, s.handle, &o);
    assert_int_equal(spec_one(tc, TPM_ORD_ReleaseCounter, &release, NULL, 0, &auth), TPM_SUCCESS);
    assert_int_not_equal(load(tc, &o), TPM_SUCCESS);
    assert_null(session_find(tc->tpm, s.handle));
}

/* Who the owner is to a session may have been said by a row of the table. */
static void test_context__owner_session_while_a_row_changes__missing(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    static struct outside same, changed;
    struct tc *tc = *state;
    struct tc_session a, b;

    tc->tpm->perm.delegates[1] = (struct delegate_row){
        .used = true, .pub = {.pcr_info = {.pcr_selection = {.size_of_select = TPM_PCR_BYTES}}}};
    assert_int_equal(tc_osap(tc, &a, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &b, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    save(tc, TPM_RT_AUTH, a.handle, &same);
    save(tc, TPM_RT_AUTH, b.handle, &changed);
    assert_int_equal(load(tc, &same), TPM_SUCCESS);
    tc->tpm->perm.delegates[1].auth.bytes[19] ^= 1;
    assert_int_equal(load(tc, &changed), TPM_RESOURCEMISSING);
}

static void test_context__transport_without_a_slot__waits_outside(void **state)
{
    static struct outside o;
    static struct st t, others[TRANSPORTS_MAX];
    struct tc *tc = *state;
    unsigned count = 0;

    assert_int_equal(st_open(tc, &t, 0, 0, 0), TPM_SUCCESS);
    save(tc, TPM_RT_TRANS, t.s.handle, &o);
    while (transport_free_slots(tc->tpm))
        assert_int_equal(st_open(tc, &others[count++], 0, 0, 0), TPM_SUCCESS);
    assert_int_equal(load(tc, &o), TPM_RESOURCES);
    assert_int_equal(sk_flush(tc, others[0].s.handle, TPM_RT_TRANS), TPM_SUCCESS);
    assert_int_equal(load(tc, &o), TPM_SUCCESS);
    assert_int_equal(ST(tc, &t, TPM_ORD_OIAP, NULL), TPM_SUCCESS);
    assert_int_equal(t.inner, TPM_SUCCESS);
}

/* ---- Transport logs ---- */

/* 24.2 action 6: which key it was; TPM_EvictKey names it without a resource type. */
static void test_transport_log__evict_key__names_the_key(void **state)
{
    struct vt_auth secret = tc_secret("key");
    static struct st t;
    struct tc *tc = *state;
    uint32_t key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
    uint8_t digest[TPM_DIGEST_LEN];

    key_store_pubkey_digest(&key_find(tc->tpm, key)->key, digest);
    cr_sha1(digest, digest, sizeof digest);
    assert_int_equal(st_open(tc, &t, TPM_TRANSPORT_LOG, 0, 0), TPM_SUCCESS);
    tc_build(tc, TPM_ORD_EvictKey, NULL, &(struct tc_args){.handles = {key}});
    assert_int_equal(st_send(tc, &t, digest), TPM_SUCCESS);
    assert_int_equal(t.inner, TPM_SUCCESS);
    assert_memory_equal(transport_find(tc->tpm, t.s.handle)->digest, t.digest, TPM_DIGEST_LEN);
}

/* ---- Others ---- */

static void test_capability__full_da_info_disabled__limited_only(void **state)
{
    static const uint8_t sub[2] = {0, TPM_ET_OWNER};
    struct tpm_da_info_limited limited;
    struct tc *tc = *state;
    struct tpm_blob resp;
    struct rd r;

    tc->tpm->perm.flags.disable_full_da_logic_info = true;
    tc->tpm->perm.da.failures = 3;
    assert_int_equal(spec_cap(tc, TPM_CAP_DA_LOGIC, sub, sizeof sub, &resp), TPM_SUCCESS);
    r = rd_from(resp.data, resp.len);
    /* Its tag says so: the count is not in it. */
    rd_da_info_limited(&r, &limited);
    assert_int_equal(rd_result(&r), TPM_SUCCESS);
}

/* A key of TPM_ChangeAuthAsymStart lives inside only. */
static void test_load_key__auth_change_key__invalid_usage(void **state)
{
    struct vt_auth secret = tc_secret("key"), srk = SPEC_SRK;
    struct tc *tc = *state;
    struct tpm_key_obj key = spec_key(3, TPM_KEY_AUTHCHANGE, &secret);
    uint8_t enc[CR_RSA_MAX];
    struct load_key2_in in;

    key.enc_scheme = TPM_ES_RSAESOAEP_SHA1_MGF1;
    key.sig_scheme = TPM_SS_NONE;
    key_pub_digest(&key, key.pub_digest);
    sm_wrap(tc, &key, enc);
    key_to_wire(&in.in_key, &key, &(struct tpm_blob){.len = sizeof enc, .data = enc});
    assert_int_equal(spec_one(tc, TPM_ORD_LoadKey2, &in, NULL, TPM_KH_SRK, &srk), TPM_INVALID_KEYUSAGE);
}

static void test_ek_sha256__with_and_without__digest_of_the_modulus(void **state)
{
    uint8_t digest[CR_SHA256_LEN], expected[CR_SHA256_LEN];
    struct tc *tc = *state;
    const struct cr_rsa_pub *pub = &tc->tpm->perm.ek.key.rsa.pub;

    cr_sha256(expected, pub->n, pub->bytes);
    assert_true(tpm_ek_sha256(tc->tpm, digest));
    assert_memory_equal(digest, expected, sizeof digest);
    tpm_revoke_ek(tc->tpm);
    assert_false(tpm_ek_sha256(tc->tpm, digest));
    tpm_free(NULL);
}

#define OWNED(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OWNED(test_context__session_of_a_counter__lives_as_long_as_it),
        OWNED(test_context__owner_session_while_a_row_changes__missing),
        OWNED(test_context__transport_without_a_slot__waits_outside),
        OWNED(test_transport_log__evict_key__names_the_key),
        OWNED(test_capability__full_da_info_disabled__limited_only),
        OWNED(test_load_key__auth_change_key__invalid_usage),
        cmocka_unit_test_setup_teardown(test_ek_sha256__with_and_without__digest_of_the_modulus, spec_setup,
                                        spec_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Every kind of secret, and every way to prove it, counts when it is wrong: one table. */
#include "tests/spec/spec_keys.h"

#define INDEX 0x1001u

/* What there is to guess at. */
struct world {
    struct tc *tc;
    uint32_t key, counter, family;
    struct sk_sealed sealed;
};

/* ---- The world ---- */

static struct tc_session osap_owner(struct tc *tc)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;

    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    return s;
}

static uint32_t new_counter(struct tc *tc)
{
    struct create_counter_in in = {.label = {{'a'}}};
    struct vt_auth count = tc_secret("counter");
    struct tc_session s = osap_owner(tc);
    struct create_counter_out out;

    tc_encrypt_auth(&s, false, false, &count, &in.enc_auth);
    assert_int_equal(TC(tc, TPM_ORD_CreateCounter, &in, &out, .auth = {&s}), TPM_SUCCESS);
    return out.count_id;
}

static void new_area(struct tc *tc)
{
    struct tpm_pcr_info_short anywhere = {.pcr_selection = {.size_of_select = 3}, .locality_at_release = 0x1F};
    struct nv_define_space_in in = {
        .pub_info = {.nv_index = INDEX,
                     .pcr_info_read = anywhere,
                     .pcr_info_write = anywhere,
                     .permission = {.attributes = TPM_NV_PER_AUTHREAD | TPM_NV_PER_AUTHWRITE},
                     .data_size = 8},
    };
    struct tc_session s = osap_owner(tc);
    struct vt_auth area = tc_secret("area");

    tc_encrypt_auth(&s, false, false, &area, &in.enc_auth);
    assert_int_equal(TC(tc, TPM_ORD_NV_DefineSpace, &in, NULL, .auth = {&s}), TPM_SUCCESS);
}

static tpm_rc manage(struct tc *tc, uint32_t family, uint32_t op, struct delegate_manage_out *out)
{
    struct delegate_manage_in in = {
        .family_id = family, .op_code = op, .op_data = {.len = 1, .data = (const uint8_t *)"\1"}};
    struct vt_auth owner = SPEC_OWNER;

    return spec_one(tc, TPM_ORD_Delegate_Manage, &in, out, 0, &owner);
}

static uint32_t new_family(struct tc *tc)
{
    struct delegate_manage_out out;
    struct rd r;
    uint32_t id;

    assert_int_equal(manage(tc, 0, TPM_FAMILY_CREATE, &out), TPM_SUCCESS);
    r = rd_from(out.ret_data.data, out.ret_data.len);
    id = rd_get32(&r);
    assert_int_equal(manage(tc, id, TPM_FAMILY_ENABLE, &out), TPM_SUCCESS);
    return id;
}

static int setup(void **state)
{
    struct set_operator_auth_in op = {.operator_auth = tc_secret("operator")};
    struct vt_auth key = tc_secret("key"), srk = SPEC_SRK;
    struct world *w = test_malloc(sizeof *w);
    void *tc;

    spec_setup_owned(&tc);
    *w = (struct world){.tc = tc};
    w->key = spec_load_signing_key(tc, &key, TPM_AUTH_ALWAYS);
    w->counter = new_counter(tc);
    w->family = new_family(tc);
    new_area(tc);
    tc_assert_presence(tc);
    assert_int_equal(TC(w->tc, TPM_ORD_SetOperatorAuth, &op, NULL), TPM_SUCCESS);
    assert_int_equal(sk_seal(tc, TPM_KH_SRK, &srk, &sk_nothing, "abc", 3, &w->sealed), TPM_SUCCESS);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    void *tc = w->tc;

    test_free(w);
    return spec_teardown(&tc);
}

/* ---- Ways to prove a secret ---- */

static tpm_rc set_disable(struct world *w, struct tc_session *s)
{
    struct owner_set_disable_in in = {.disable_state = false};

    s->ends = true;
    return TC(w->tc, TPM_ORD_OwnerSetDisable, &in, NULL, .auth = {s});
}

static tpm_rc sign(struct world *w, struct tc_session *s)
{
    struct sign_in in = {.area_to_sign = {.len = 20, .data = (const uint8_t *)"twenty bytes of text"}};

    s->ends = true;
    return TC(w->tc, TPM_ORD_Sign, &in, NULL, .handles = {w->key}, .auth = {s});
}

static tpm_rc owner_oiap(struct world *w, const struct vt_auth *secret)
{
    struct tc_session s;

    assert_int_equal(tc_oiap(w->tc, &s, secret), TPM_SUCCESS);
    return set_disable(w, &s);
}

static tpm_rc owner_osap(struct world *w, const struct vt_auth *secret)
{
    struct tc_session s;

    assert_int_equal(tc_osap(w->tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, secret), TPM_SUCCESS);
    return set_disable(w, &s);
}

static struct tpm_delegate_public lent(const struct world *w, uint32_t type, uint32_t per1)
{
    return (struct tpm_delegate_public){
        .row_label = 'r',
        .pcr_info = {.pcr_selection = {.size_of_select = 3}, .locality_at_release = TPM_LOC_ALL},
        .permissions = {.delegate_type = type, .per1 = per1},
        .family_id = w->family,
    };
}

/* What the owner lends for the secret "lent", as a blob. */
static void lend_owner(struct world *w, uint8_t bytes[512], struct tpm_blob *blob)
{
    struct delegate_create_owner_delegation_in in = {
        .public_info = lent(w, TPM_DEL_OWNER_BITS, TPM_DELEGATE_OwnerSetDisable)};
    struct delegate_create_owner_delegation_out out;
    struct vt_auth secret = tc_secret("lent");
    struct tc_session s = osap_owner(w->tc);

    tc_encrypt_auth(&s, false, false, &secret, &in.del_auth);
    assert_int_equal(TC(w->tc, TPM_ORD_Delegate_CreateOwnerDelegation, &in, &out, .auth = {&s}), TPM_SUCCESS);
    memcpy(bytes, out.blob.data, out.blob.len);
    *blob = (struct tpm_blob){.len = out.blob.len, .data = bytes};
}

static tpm_rc owner_dsap(struct world *w, const struct vt_auth *secret)
{
    struct tpm_blob blob;
    struct tc_session s;
    uint8_t bytes[512];

    lend_owner(w, bytes, &blob);
    assert_int_equal(tc_dsap(w->tc, &s, TPM_ET_DEL_OWNER_BLOB, 0, &blob, secret), TPM_SUCCESS);
    return set_disable(w, &s);
}

/* 18.1: TPM_SetOwnerPointer puts a row's secret in the place of the owner's. */
static tpm_rc owner_pointer(struct world *w, const struct vt_auth *secret)
{
    struct delegate_load_owner_delegation_in in = {.index = 0};
    struct set_owner_pointer_in to_row = {.entity_type = TPM_ET_DEL_ROW, .entity_value = 0},
                                back = {.entity_type = TPM_ET_OWNER, .entity_value = 0};
    struct vt_auth owner = SPEC_OWNER;
    uint8_t bytes[512];
    tpm_rc rc;

    lend_owner(w, bytes, &in.blob);
    assert_int_equal(spec_one(w->tc, TPM_ORD_Delegate_LoadOwnerDelegation, &in, NULL, 0, &owner), TPM_SUCCESS);
    assert_int_equal(TC(w->tc, TPM_ORD_SetOwnerPointer, &to_row, NULL), TPM_SUCCESS);
    rc = owner_oiap(w, secret);
    assert_int_equal(TC(w->tc, TPM_ORD_SetOwnerPointer, &back, NULL), TPM_SUCCESS);
    return rc;
}

static tpm_rc srk_oiap(struct world *w, const struct vt_auth *secret)
{
    struct vt_auth data = tc_secret("data");

    return sk_unseal(w->tc, TPM_KH_SRK, secret, &data, &w->sealed, NULL);
}

static tpm_rc data_second(struct world *w, const struct vt_auth *secret)
{
    struct vt_auth srk = SPEC_SRK;

    return sk_unseal(w->tc, TPM_KH_SRK, &srk, secret, &w->sealed, NULL);
}

static tpm_rc key_oiap(struct world *w, const struct vt_auth *secret)
{
    struct tc_session s;

    assert_int_equal(tc_oiap(w->tc, &s, secret), TPM_SUCCESS);
    return sign(w, &s);
}

static tpm_rc key_osap(struct world *w, const struct vt_auth *secret)
{
    struct tc_session s;

    assert_int_equal(tc_osap(w->tc, &s, TPM_ET_KEYHANDLE, w->key, secret), TPM_SUCCESS);
    return sign(w, &s);
}

static tpm_rc key_dsap(struct world *w, const struct vt_auth *secret)
{
    struct delegate_create_key_delegation_in in = {
        .public_info = lent(w, TPM_DEL_KEY_BITS, TPM_KEY_DELEGATE_Sign)};
    struct vt_auth key = tc_secret("key"), own = tc_secret("lent");
    struct delegate_create_key_delegation_out out;
    struct tc_session s;
    struct tpm_blob blob;
    uint8_t bytes[512];

    assert_int_equal(tc_osap(w->tc, &s, TPM_ET_KEYHANDLE, w->key, &key), TPM_SUCCESS);
    tc_encrypt_auth(&s, false, false, &own, &in.del_auth);
    assert_int_equal(TC(w->tc, TPM_ORD_Delegate_CreateKeyDelegation, &in, &out, .handles = {w->key}, .auth = {&s}),
                     TPM_SUCCESS);
    memcpy(bytes, out.blob.data, out.blob.len);
    blob = (struct tpm_blob){.len = out.blob.len, .data = bytes};
    assert_int_equal(tc_dsap(w->tc, &s, TPM_ET_DEL_KEY_BLOB, w->key, &blob, secret), TPM_SUCCESS);
    return sign(w, &s);
}

static tpm_rc area_oiap(struct world *w, const struct vt_auth *secret)
{
    struct nv_read_value_auth_in in = {.nv_index = INDEX, .data_size = 0};

    return spec_one(w->tc, TPM_ORD_NV_ReadValueAuth, &in, NULL, 0, secret);
}

static tpm_rc area_osap(struct world *w, const struct vt_auth *secret)
{
    struct nv_write_value_auth_in in = {.nv_index = INDEX, .data = {.len = 1, .data = (const uint8_t *)"x"}};
    struct tc_session s;

    assert_int_equal(tc_osap(w->tc, &s, TPM_ET_NV, INDEX, secret), TPM_SUCCESS);
    s.ends = true;
    return TC(w->tc, TPM_ORD_NV_WriteValueAuth, &in, NULL, .auth = {&s});
}

static tpm_rc counter_oiap(struct world *w, const struct vt_auth *secret)
{
    struct increment_counter_in in = {.count_id = w->counter};

    return spec_one(w->tc, TPM_ORD_IncrementCounter, &in, NULL, 0, secret);
}

static tpm_rc counter_osap(struct world *w, const struct vt_auth *secret)
{
    struct increment_counter_in in = {.count_id = w->counter};
    struct tc_session s;

    assert_int_equal(tc_osap(w->tc, &s, TPM_ET_COUNTER, w->counter, secret), TPM_SUCCESS);
    s.ends = true;
    return TC(w->tc, TPM_ORD_IncrementCounter, &in, NULL, .auth = {&s});
}

static tpm_rc operator_oiap(struct world *w, const struct vt_auth *secret)
{
    tpm_rc rc = spec_one(w->tc, TPM_ORD_SetTempDeactivated, NULL, NULL, 0, secret);

    w->tc->tpm->stclear.flags.deactivated = false;
    return rc;
}

static tpm_rc reset_lock(struct world *w, const struct vt_auth *secret)
{
    return spec_one(w->tc, TPM_ORD_ResetLockValue, NULL, NULL, 0, secret);
}

/* The last one is what is not locked out. */
static const struct kind {
    const char *name, *secret;
    tpm_rc (*use)(struct world *w, const struct vt_auth *secret);
} kinds[] = {
    {"owner, OIAP", "owner", owner_oiap},
    {"owner, OSAP", "owner", owner_osap},
    {"owner, DSAP", "lent", owner_dsap},
    {"owner by a row of the delegation table", "lent", owner_pointer},
    {"SRK", "srk", srk_oiap},
    {"sealed data, the second session", "data", data_second},
    {"key, OIAP", "key", key_oiap},
    {"key, OSAP", "key", key_osap},
    {"key, DSAP", "lent", key_dsap},
    {"NV area, OIAP", "area", area_oiap},
    {"NV area, OSAP", "area", area_osap},
    {"counter, OIAP", "counter", counter_oiap},
    {"counter, OSAP", "counter", counter_osap},
    {"operator", "operator", operator_oiap},
    {"TPM_ResetLockValue", "owner", reset_lock},
};

/* ---- Tests ---- */

static void check_kind(struct world *w, const struct kind *kind)
{
    const struct da_state *da = &w->tc->tpm->perm.da;
    struct vt_auth right = tc_secret(kind->secret), wrong = tc_secret("wrong");
    uint32_t before = da->failures;
    tpm_rc rc = kind->use(w, &right);

    if (rc)
        fail_msg("%s: right, but %x", kind->name, rc);
    da = &w->tc->tpm->perm.da;
    before = kind->use == reset_lock ? 0 : before;
    assert_int_equal(da->failures, before);
    rc = kind->use(w, &wrong);
    da = &w->tc->tpm->perm.da;
    if (rc != (kind->use == data_second ? TPM_AUTH2FAIL : TPM_AUTHFAIL) || da->failures != before + 1)
        fail_msg("%s: wrong, but %x and a count of %u after %u", kind->name, rc, da->failures, before);
}

static void test_wrong_guess__each_kind__counts_one(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < VT_COUNT(kinds); i++) {
        check_kind(w, &kinds[i]);
        /* Out of every lock-out. */
        w->tc->now_us += (uint64_t)DA_LOCK_MAX_S * 1000000;
    }
}

/* One budget for all of them. */
static void test_wrong_guess__five_of_different_kinds__locked(void **state)
{
    static const unsigned five[] = {0, 4, 6, 9, 11};
    struct vt_auth wrong = tc_secret("wrong"), right = tc_secret("key");
    struct world *w = *state;

    for (size_t i = 0; i < VT_COUNT(five); i++)
        assert_int_equal(kinds[five[i]].use(w, &wrong), TPM_AUTHFAIL);
    assert_int_equal(key_oiap(w, &right), TPM_DEFEND_LOCK_RUNNING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_wrong_guess__each_kind__counts_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_guess__five_of_different_kinds__locked, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

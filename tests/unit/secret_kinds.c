/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/secret_kinds.h"

#define INDEX 0x1001u

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

int secret_world_setup(void **state)
{
    struct set_operator_auth_in op = {.operator_auth = tc_secret("operator")};
    struct vt_auth key = tc_secret("key"), srk = SPEC_SRK;
    struct secret_world *w = test_malloc(sizeof *w);
    void *tc;

    spec_setup_owned(&tc);
    *w = (struct secret_world){.tc = tc};
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

int secret_world_teardown(void **state)
{
    struct secret_world *w = *state;
    void *tc = w->tc;

    test_free(w);
    return spec_teardown(&tc);
}

/* ---- Ways to prove a secret ---- */

static tpm_rc set_disable(struct secret_world *w, struct tc_session *s)
{
    struct owner_set_disable_in in = {.disable_state = false};

    s->ends = true;
    return TC(w->tc, TPM_ORD_OwnerSetDisable, &in, NULL, .auth = {s});
}

static tpm_rc sign(struct secret_world *w, struct tc_session *s)
{
    struct sign_in in = {.area_to_sign = {.len = 20, .data = (const uint8_t *)"twenty bytes of text"}};

    s->ends = true;
    return TC(w->tc, TPM_ORD_Sign, &in, NULL, .handles = {w->key}, .auth = {s});
}

static tpm_rc owner_oiap(struct secret_world *w, const struct vt_auth *secret)
{
    struct tc_session s;

    assert_int_equal(tc_oiap(w->tc, &s, secret), TPM_SUCCESS);
    return set_disable(w, &s);
}

static tpm_rc owner_osap(struct secret_world *w, const struct vt_auth *secret)
{
    struct tc_session s;

    assert_int_equal(tc_osap(w->tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, secret), TPM_SUCCESS);
    return set_disable(w, &s);
}

static struct tpm_delegate_public lent(const struct secret_world *w, uint32_t type, uint32_t per1)
{
    return (struct tpm_delegate_public){
        .row_label = 'r',
        .pcr_info = {.pcr_selection = {.size_of_select = 3}, .locality_at_release = TPM_LOC_ALL},
        .permissions = {.delegate_type = type, .per1 = per1},
        .family_id = w->family,
    };
}

/* What the owner lends for the secret "lent", as a blob. */
static void lend_owner(struct secret_world *w, uint8_t bytes[512], struct tpm_blob *blob)
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

static tpm_rc owner_dsap(struct secret_world *w, const struct vt_auth *secret)
{
    struct tpm_blob blob;
    struct tc_session s;
    uint8_t bytes[512];

    lend_owner(w, bytes, &blob);
    assert_int_equal(tc_dsap(w->tc, &s, TPM_ET_DEL_OWNER_BLOB, 0, &blob, secret), TPM_SUCCESS);
    return set_disable(w, &s);
}

/* 18.1: TPM_SetOwnerPointer puts a row's secret in the place of the owner's. */
static tpm_rc owner_pointer(struct secret_world *w, const struct vt_auth *secret)
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

static tpm_rc srk_oiap(struct secret_world *w, const struct vt_auth *secret)
{
    struct vt_auth data = tc_secret("data");

    return sk_unseal(w->tc, TPM_KH_SRK, secret, &data, &w->sealed, NULL);
}

tpm_rc secret_of_data(struct secret_world *w, const struct vt_auth *secret)
{
    struct vt_auth srk = SPEC_SRK;

    return sk_unseal(w->tc, TPM_KH_SRK, &srk, secret, &w->sealed, NULL);
}

tpm_rc secret_of_key(struct secret_world *w, const struct vt_auth *secret)
{
    struct tc_session s;

    assert_int_equal(tc_oiap(w->tc, &s, secret), TPM_SUCCESS);
    return sign(w, &s);
}

static tpm_rc key_osap(struct secret_world *w, const struct vt_auth *secret)
{
    struct tc_session s;

    assert_int_equal(tc_osap(w->tc, &s, TPM_ET_KEYHANDLE, w->key, secret), TPM_SUCCESS);
    return sign(w, &s);
}

static tpm_rc key_dsap(struct secret_world *w, const struct vt_auth *secret)
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

static tpm_rc area_oiap(struct secret_world *w, const struct vt_auth *secret)
{
    struct nv_read_value_auth_in in = {.nv_index = INDEX, .data_size = 0};

    return spec_one(w->tc, TPM_ORD_NV_ReadValueAuth, &in, NULL, 0, secret);
}

static tpm_rc area_osap(struct secret_world *w, const struct vt_auth *secret)
{
    struct nv_write_value_auth_in in = {.nv_index = INDEX, .data = {.len = 1, .data = (const uint8_t *)"x"}};
    struct tc_session s;

    assert_int_equal(tc_osap(w->tc, &s, TPM_ET_NV, INDEX, secret), TPM_SUCCESS);
    s.ends = true;
    return TC(w->tc, TPM_ORD_NV_WriteValueAuth, &in, NULL, .auth = {&s});
}

static tpm_rc counter_oiap(struct secret_world *w, const struct vt_auth *secret)
{
    struct increment_counter_in in = {.count_id = w->counter};

    return spec_one(w->tc, TPM_ORD_IncrementCounter, &in, NULL, 0, secret);
}

static tpm_rc counter_osap(struct secret_world *w, const struct vt_auth *secret)
{
    struct increment_counter_in in = {.count_id = w->counter};
    struct tc_session s;

    assert_int_equal(tc_osap(w->tc, &s, TPM_ET_COUNTER, w->counter, secret), TPM_SUCCESS);
    s.ends = true;
    return TC(w->tc, TPM_ORD_IncrementCounter, &in, NULL, .auth = {&s});
}

static tpm_rc operator_oiap(struct secret_world *w, const struct vt_auth *secret)
{
    tpm_rc rc = spec_one(w->tc, TPM_ORD_SetTempDeactivated, NULL, NULL, 0, secret);

    w->tc->tpm->stclear.flags.deactivated = false;
    return rc;
}

tpm_rc secret_of_reset(struct secret_world *w, const struct vt_auth *secret)
{
    return spec_one(w->tc, TPM_ORD_ResetLockValue, NULL, NULL, 0, secret);
}

const struct secret_kind secret_kinds[] = {
    {"owner, OIAP", "owner", owner_oiap},
    {"owner, OSAP", "owner", owner_osap},
    {"owner, DSAP", "lent", owner_dsap},
    {"owner by a row of the delegation table", "lent", owner_pointer},
    {"SRK", "srk", srk_oiap},
    {"sealed data, the second session", "data", secret_of_data},
    {"key, OIAP", "key", secret_of_key},
    {"key, OSAP", "key", key_osap},
    {"key, DSAP", "lent", key_dsap},
    {"NV area, OIAP", "area", area_oiap},
    {"NV area, OSAP", "area", area_osap},
    {"counter, OIAP", "counter", counter_oiap},
    {"counter, OSAP", "counter", counter_osap},
    {"operator", "operator", operator_oiap},
    {"TPM_ResetLockValue", "owner", secret_of_reset},
};
const size_t secret_kinds_count = VT_COUNT(secret_kinds);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits that are not pc-client's: what TPM_GetCapability says of them (Part 2, 21.2), and where the TPM really ends.
 * They are the same, and a slot that comes free is there again.
 */
#include "server/base/alloc.h"
#include "server/engine/profile.h"
#include "tests/spec/spec_keys.h"
#include "tests/spec/spec_transport.h"

static const struct tpm_profile small = {
    .key_slots = 5,
    .owner_evict_slots = 2,
    .auth_sessions = 6,
    .transport_sessions = 3,
    .daa_sessions = 1,
    .counters = 2,
    .saved_contexts = 7,
    .family_rows = 3,
    .delegate_rows = 2,
    .nv_bytes = 300,
};

/* Made with this profile, as an instance is; then an owner. */
static int setup_with(void **state, const struct tpm_profile *profile)
{
    const uint8_t seed[CR_DRBG_SEED] = {9};
    struct vt_auth srk = SPEC_SRK;
    struct permanent *perm;
    struct tc *tc;

    (void)spec_setup_off(state);
    tc = *state;
    tpm_free(tc->tpm);
    assert_int_equal(tpm_manufacture(&tc->tpm, profile, seed, true, &tc->ops), VT_OK);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    perm = &tc->tpm->perm;
    perm->owned = true;
    perm->owner_auth = SPEC_OWNER;
    perm->srk.handle = TPM_KH_SRK;
    perm->srk.key = spec_key(6, TPM_KEY_STORAGE, &srk);
    tc_check_frozen(tc);
    return 0;
}

static int setup_small(void **state)
{
    return setup_with(state, &small);
}

static int setup_large(void **state)
{
    struct tpm_profile large;

    assert_true(tpm_profile_named("large", &large));
    (void)setup_with(state, &large);
    /* So many slots, each filled with a command: freezing after each is for the small ones. */
    ((struct tc *)*state)->no_freeze = true;
    return 0;
}

static uint32_t property(struct tc *tc, uint32_t which)
{
    return spec_cap_number(tc, TPM_CAP_PROPERTY, which);
}

/* ---- One more of each: its handle, or the code ---- */

static tpm_rc one_key(struct tc *tc, uint32_t *handle)
{
    static struct sk_key wrapped;
    struct vt_auth srk = SPEC_SRK, auth = tc_secret("key");
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);

    if (!*handle)
        assert_int_equal(sk_create(tc, TPM_KH_SRK, &srk, &auth, &info, &wrapped), TPM_SUCCESS);
    return sk_load(tc, TPM_KH_SRK, &srk, &wrapped, handle);
}

static tpm_rc one_session(struct tc *tc, uint32_t *handle)
{
    tpm_rc rc = TC(tc, TPM_ORD_OIAP, NULL, NULL);

    *handle = tc->out_handle;
    return rc;
}

static tpm_rc one_transport(struct tc *tc, uint32_t *handle)
{
    struct st *t = VT_NEW(struct st);
    tpm_rc rc;

    assert_non_null(t);
    rc = st_open(tc, t, 0, 0, 0);
    *handle = t->s.handle;
    vt_free(t);
    return rc;
}

static tpm_rc one_daa(struct tc *tc, uint32_t *handle)
{
    static const uint8_t count[4] = {0, 0, 0, 1};
    struct daa_join_in in = {.stage = 0, .input_data0 = {.len = 4, .data = count}};
    struct vt_auth owner = SPEC_OWNER;
    struct daa_join_out out;
    tpm_rc rc = spec_one(tc, TPM_ORD_DAA_Join, &in, &out, 0, &owner);
    struct rd r;

    if (rc)
        return rc;
    r = rd_from(out.output_data.data, out.output_data.len);
    *handle = rd_get32(&r);
    return rc;
}

static tpm_rc one_counter(struct tc *tc, uint32_t *handle)
{
    struct create_counter_in in = {.label = {{'l'}}};
    struct vt_auth owner = SPEC_OWNER, auth = tc_secret("count");
    struct create_counter_out out;
    struct tc_session s;
    tpm_rc rc;

    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    tc_encrypt_auth(&s, false, false, &auth, &in.enc_auth);
    rc = TC(tc, TPM_ORD_CreateCounter, &in, &out, .auth = {&s});
    if (!rc)
        *handle = out.count_id;
    return rc;
}

/* A session that is saved is no longer loaded: only the list of what is saved fills. */
static tpm_rc one_context(struct tc *tc, uint32_t *handle)
{
    struct save_context_in in = {.resource_type = TPM_RT_AUTH};
    struct flush_specific_in flush = {.resource_type = TPM_RT_AUTH};
    struct save_context_out out;
    tpm_rc rc = one_session(tc, handle);
    uint32_t session = *handle;

    if (rc)
        return rc;
    rc = TC(tc, TPM_ORD_SaveContext, &in, &out, .handles = {session});
    if (rc)
        assert_int_equal(TC(tc, TPM_ORD_FlushSpecific, &flush, NULL, .handles = {session}), TPM_SUCCESS);
    *handle = tc->tpm->stany.context_count;
    return rc;
}

static tpm_rc free_handle(struct tc *tc, uint32_t type, uint32_t handle)
{
    struct flush_specific_in in = {.resource_type = type};

    return TC(tc, TPM_ORD_FlushSpecific, &in, NULL, .handles = {handle});
}

static tpm_rc free_counter(struct tc *tc, uint32_t type, uint32_t handle)
{
    struct release_counter_owner_in in = {.count_id = handle};
    struct vt_auth owner = SPEC_OWNER;

    (void)type;
    return spec_one(tc, TPM_ORD_ReleaseCounterOwner, &in, NULL, 0, &owner);
}

/* ---- To the brim ---- */

static const struct filling {
    const char *name;
    size_t limit; /* position in struct tpm_profile's table */
    uint32_t free, most;
    tpm_rc full;
    tpm_rc (*one)(struct tc *tc, uint32_t *handle);
    uint32_t type; /* of TPM_FlushSpecific and TPM_CAP_HANDLE */
    tpm_rc (*give)(struct tc *tc, uint32_t type, uint32_t handle);
} fillings[] = {
    {"keys", 0, TPM_CAP_PROP_KEYS, TPM_CAP_PROP_MAX_KEYS, TPM_NOSPACE, one_key, TPM_RT_KEY, free_handle},
    {"sessions", 2, TPM_CAP_PROP_AUTHSESS, TPM_CAP_PROP_MAX_AUTHSESS, TPM_RESOURCES, one_session, TPM_RT_AUTH,
     free_handle},
    {"transport sessions", 3, TPM_CAP_PROP_TRANSSESS, TPM_CAP_PROP_MAX_TRANSSESS, TPM_RESOURCES, one_transport,
     TPM_RT_TRANS, free_handle},
    {"DAA sessions", 4, TPM_CAP_PROP_DAASESS, TPM_CAP_PROP_MAX_DAASESS, TPM_RESOURCES, one_daa, TPM_RT_DAA_TPM,
     free_handle},
    {"counters", 5, TPM_CAP_PROP_COUNTERS, TPM_CAP_PROP_MAX_COUNTERS, TPM_RESOURCES, one_counter, TPM_RT_COUNTER,
     free_counter},
    {"saved contexts", 6, TPM_CAP_PROP_CONTEXT, TPM_CAP_PROP_MAX_CONTEXT, TPM_NOCONTEXTSPACE, one_context,
     TPM_RT_CONTEXT, free_handle},
};

/* How many TPM_CAP_HANDLE lists. */
static uint32_t listed(struct tc *tc, uint32_t type)
{
    uint8_t sub[4] = {0, 0, 0, (uint8_t)type};
    struct tpm_blob resp;
    struct rd r;
    uint32_t count;

    assert_int_equal(spec_cap(tc, TPM_CAP_HANDLE, sub, sizeof sub, &resp), TPM_SUCCESS);
    r = rd_from(resp.data, resp.len);
    count = rd_get16(&r);
    assert_int_equal(resp.len, 2 + 4 * count);
    return count;
}

static void fill(struct tc *tc, const struct filling *f)
{
    uint32_t most = tpm_limit_get(&tc->tpm->perm.profile, f->limit), handle = 0, last = 0;
    tpm_rc rc;

    assert_int_equal(property(tc, f->most), most);
    for (uint32_t i = 0; i < most; i++) {
        assert_int_equal(property(tc, f->free), most - i);
        rc = f->one(tc, &handle);
        if (rc)
            fail_msg("%s: number %u of %u answers 0x%x", f->name, i + 1, most, rc);
        last = handle;
        assert_int_equal(listed(tc, f->type), i + 1);
    }
    assert_int_equal(property(tc, f->free), 0);
    if ((rc = f->one(tc, &handle)) != f->full)
        fail_msg("%s: one too many answers 0x%x", f->name, rc);
    assert_int_equal(property(tc, f->free), 0);
    assert_int_equal(f->give(tc, f->type, last), TPM_SUCCESS);
    assert_int_equal(property(tc, f->free), 1);
    assert_int_equal(f->one(tc, &last), TPM_SUCCESS);
    assert_int_equal(property(tc, f->free), 0);
    assert_int_equal(property(tc, f->most), most);
}

/* Each in a TPM of its own: the others' commands need sessions and keys. */
static void fill_each(int (*setup)(void **state))
{
    for (size_t i = 0; i < VT_COUNT(fillings); i++) {
        void *state;

        (void)setup(&state);
        fill(state, &fillings[i]);
        (void)spec_teardown(&state);
    }
}

/*= p3:7.1 */
static void test_limits__small_profile__slots_fill_exactly(void **state)
{
    (void)state;
    fill_each(setup_small);
}

/*= p3:7.1 */
static void test_limits__large_profile__slots_fill_exactly(void **state)
{
    (void)state;
    fill_each(setup_large);
}

static void test_properties__small_profile__as_it_says(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(property(tc, TPM_CAP_PROP_SESSIONS), 9);
    assert_int_equal(property(tc, TPM_CAP_PROP_MAX_SESSIONS), 9);
    assert_int_equal(property(tc, TPM_CAP_PROP_FAMILYROWS), 3);
    assert_int_equal(property(tc, TPM_CAP_PROP_DELEGATE_ROW), 2);
    assert_int_equal(property(tc, TPM_CAP_PROP_NV_AVAILABLE), 300);
}

/* A key fits while there is a slot, if the TPM knows keys of that length. */
static void test_check_loaded__lengths_and_slots__truth(void **state)
{
    uint8_t rsa[] = {0, 0, 0, 1, 0, 3, 0, 1, 0, 0, 0, 12, 0, 0, 8, 0, 0, 0, 0, 2, 0, 0, 0, 0};
    struct tc *tc = *state;
    struct tpm_blob resp;
    uint32_t handle = 0;

    assert_int_equal(spec_cap(tc, TPM_CAP_CHECK_LOADED, rsa, sizeof rsa, &resp), TPM_SUCCESS);
    assert_int_equal(resp.data[0], 1);
    rsa[14] = 16; /* 4096 bits */
    assert_int_equal(spec_cap(tc, TPM_CAP_CHECK_LOADED, rsa, sizeof rsa, &resp), TPM_SUCCESS);
    assert_int_equal(resp.data[0], 0);
    rsa[14] = 8;
    for (unsigned i = 0; i < small.key_slots; i++)
        assert_int_equal(one_key(tc, &handle), TPM_SUCCESS);
    assert_int_equal(spec_cap(tc, TPM_CAP_CHECK_LOADED, rsa, sizeof rsa, &resp), TPM_SUCCESS);
    assert_int_equal(resp.data[0], 0);
}

static tpm_rc keep(struct tc *tc, uint32_t handle)
{
    struct key_control_owner_in in = {.bit_name = TPM_KEY_CONTROL_OWNER_EVICT, .bit_value = true};
    struct tpm_key_obj key = key_find(tc->tpm, handle)->key;
    struct vt_auth owner = SPEC_OWNER;

    key_to_pubkey(&in.pub_key, &key);
    return spec_one(tc, TPM_ORD_KeyControlOwner, &in, NULL, handle, &owner);
}

/*= p3:21.1#5.a */
static void test_limits__owner_evict_slots__kept_exactly_so_many(void **state)
{
    struct tc *tc = *state;
    uint32_t handle = 0;

    for (unsigned i = 0; i < small.owner_evict_slots; i++) {
        assert_int_equal(one_key(tc, &handle), TPM_SUCCESS);
        assert_int_equal(keep(tc, handle), TPM_SUCCESS);
    }
    assert_int_equal(one_key(tc, &handle), TPM_SUCCESS);
    assert_int_equal(keep(tc, handle), TPM_NOSPACE);
    /* They take slots over a reboot, too. */
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(property(tc, TPM_CAP_PROP_KEYS), small.key_slots - small.owner_evict_slots);
}

/* ---- Rows and bytes ---- */

static tpm_rc family(struct tc *tc, uint32_t id, uint32_t op, uint8_t value, uint32_t *made)
{
    struct delegate_manage_in in = {.family_id = id, .op_code = op, .op_data = {.len = 1, .data = &value}};
    struct delegate_manage_out out = {{0}};
    struct vt_auth owner = SPEC_OWNER;
    tpm_rc rc = spec_one(tc, TPM_ORD_Delegate_Manage, &in, &out, 0, &owner);
    struct rd r = rd_from(out.ret_data.data, out.ret_data.len);

    if (!rc && made)
        *made = rd_get32(&r);
    return rc;
}

static void fill_families(struct tc *tc)
{
    uint32_t most = property(tc, TPM_CAP_PROP_FAMILYROWS), id = 0;

    for (uint32_t i = 0; i < most; i++)
        assert_int_equal(family(tc, 0, TPM_FAMILY_CREATE, 'f', &id), TPM_SUCCESS);
    assert_int_equal(family(tc, 0, TPM_FAMILY_CREATE, 'f', NULL), TPM_RESOURCES);
    assert_int_equal(family(tc, id, TPM_FAMILY_INVALIDATE, 0, NULL), TPM_SUCCESS);
    assert_int_equal(family(tc, 0, TPM_FAMILY_CREATE, 'f', NULL), TPM_SUCCESS);
    assert_int_equal(family(tc, 0, TPM_FAMILY_CREATE, 'f', NULL), TPM_RESOURCES);
}

/* The owner's delegation into each row; behind the last one there is none. */
static void fill_rows(struct tc *tc)
{
    struct delegate_create_owner_delegation_in in = {
        .public_info = {.pcr_info = {.pcr_selection = {.size_of_select = 3}, .locality_at_release = TPM_LOC_ALL},
                        .permissions = {.delegate_type = TPM_DEL_OWNER_BITS}}};
    struct delegate_load_owner_delegation_in load = {.index = 0};
    struct delegate_create_owner_delegation_out out;
    uint32_t most = property(tc, TPM_CAP_PROP_DELEGATE_ROW);
    struct vt_auth owner = SPEC_OWNER, lent = tc_secret("lent");
    uint8_t bytes[512];
    struct tc_session s;

    assert_int_equal(family(tc, 0, TPM_FAMILY_CREATE, 'f', &in.public_info.family_id), TPM_SUCCESS);
    assert_int_equal(family(tc, in.public_info.family_id, TPM_FAMILY_ENABLE, 1, NULL), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    tc_encrypt_auth(&s, false, false, &lent, &in.del_auth);
    assert_int_equal(TC(tc, TPM_ORD_Delegate_CreateOwnerDelegation, &in, &out, .auth = {&s}), TPM_SUCCESS);
    assert_true(out.blob.len <= sizeof bytes);
    memcpy(bytes, out.blob.data, out.blob.len);
    load.blob = (struct tpm_blob){.len = out.blob.len, .data = bytes};
    for (; load.index < most; load.index++)
        assert_int_equal(spec_one(tc, TPM_ORD_Delegate_LoadOwnerDelegation, &load, NULL, 0, &owner), TPM_SUCCESS);
    assert_int_equal(spec_one(tc, TPM_ORD_Delegate_LoadOwnerDelegation, &load, NULL, 0, &owner), TPM_BADINDEX);
}

static tpm_rc define(struct tc *tc, uint32_t index, uint32_t size)
{
    struct tpm_pcr_info_short anywhere = {.pcr_selection = {.size_of_select = 3}, .locality_at_release = 0x1F};
    struct nv_define_space_in in = {.pub_info = {.nv_index = index,
                                                 .pcr_info_read = anywhere,
                                                 .pcr_info_write = anywhere,
                                                 .permission = {.attributes = TPM_NV_PER_OWNERWRITE},
                                                 .data_size = size}};
    struct vt_auth owner = SPEC_OWNER, area = tc_secret("area");
    struct tc_session s;

    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    tc_encrypt_auth(&s, false, false, &area, &in.enc_auth);
    return TC(tc, TPM_ORD_NV_DefineSpace, &in, NULL, .auth = {&s});
}

static void fill_nv(struct tc *tc)
{
    uint32_t all = tc->tpm->perm.profile.nv_bytes;

    assert_int_equal(property(tc, TPM_CAP_PROP_NV_AVAILABLE), all);
    assert_int_equal(define(tc, 0x1001, all + 1), TPM_NOSPACE);
    assert_int_equal(define(tc, 0x1001, all - 20), TPM_SUCCESS);
    assert_int_equal(property(tc, TPM_CAP_PROP_NV_AVAILABLE), 20);
    assert_int_equal(define(tc, 0x1002, 21), TPM_NOSPACE);
    assert_int_equal(define(tc, 0x1002, 20), TPM_SUCCESS);
    assert_int_equal(property(tc, TPM_CAP_PROP_NV_AVAILABLE), 0);
    assert_int_equal(define(tc, 0x1003, 1), TPM_NOSPACE);
    assert_int_equal(define(tc, 0x1002, 0), TPM_SUCCESS);
    assert_int_equal(property(tc, TPM_CAP_PROP_NV_AVAILABLE), 20);
}

/* Everything full at once still freezes into the sizes that callers reserve, and TPM_SaveState keeps it. */
static void test_limits__large_profile_all_full__freezes(void **state)
{
    /* Sessions last: the others need some. */
    static const size_t order[] = {2, 3, 4, 5, 0, 1};
    struct tc *tc = *state;

    fill_families(tc);
    for (size_t i = 0; i < VT_COUNT(order); i++)
        fill(tc, &fillings[order[i]]);
    tc_check_frozen(tc);
    assert_int_equal(TC(tc, TPM_ORD_SaveState, NULL, NULL), TPM_SUCCESS);
    tc_check_frozen(tc);
    assert_int_equal(tc_reboot(tc, TPM_ST_STATE), TPM_SUCCESS);
    assert_int_equal(property(tc, TPM_CAP_PROP_KEYS), 0);
}

/*= p3:19.1 p3:19.4#10 p3:20.1#11 */
static void test_limits__rows_and_bytes__fill_exactly(void **state)
{
    static int (*const setups[])(void **) = {setup_small, setup_large};
    static void (*const fill_one[])(struct tc *) = {fill_families, fill_rows, fill_nv};

    (void)state;
    for (size_t i = 0; i < VT_COUNT(setups); i++) {
        for (size_t k = 0; k < VT_COUNT(fill_one); k++) {
            void *tc;

            (void)setups[i](&tc);
            fill_one[k](tc);
            (void)spec_teardown(&tc);
        }
    }
}

#define SMALL(test) cmocka_unit_test_setup_teardown(test, setup_small, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits__small_profile__slots_fill_exactly),
        cmocka_unit_test(test_limits__large_profile__slots_fill_exactly),
        cmocka_unit_test_setup_teardown(test_limits__large_profile_all_full__freezes, setup_large, spec_teardown),
        SMALL(test_properties__small_profile__as_it_says),
        SMALL(test_check_loaded__lengths_and_slots__truth),
        SMALL(test_limits__owner_evict_slots__kept_exactly_so_many),
        cmocka_unit_test(test_limits__rows_and_bytes__fill_exactly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

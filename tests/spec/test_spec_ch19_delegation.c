/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, chapter 19, 18.3, 18.4 and Part 1, 23: authority that is lent. */
#include "server/engine/auth.h"
#include "server/engine/delegate.h"
#include "tests/lib/fixture_keys.h"
#include "tests/spec/spec_keys.h"

#define ADMIN     TPM_FAMILY_ADMIN
#define ENABLE    TPM_FAMILY_ENABLE
#define ALL_OWNER 0x7FFFFFFFu
#define ALL_KEY   0x1FFFFFFFu

static struct vt_auth lent_secret(void)
{
    return tc_secret("lent");
}

/* ---- Families ---- */

static tpm_rc manage(struct tc *tc, struct tc_session *s, uint32_t family, uint32_t op, const void *data,
                     uint32_t len, uint32_t *id)
{
    struct delegate_manage_in in = {
        .family_id = family, .op_code = op, .op_data = {.len = len, .data = data}};
    struct delegate_manage_out out = {{0}};
    tpm_rc rc = TC(tc, TPM_ORD_Delegate_Manage, &in, &out, .auth = {s});
    struct rd r = rd_from(out.ret_data.data, out.ret_data.len);

    if (id)
        *id = rd_get32(&r);
    return rc;
}

static tpm_rc by_owner(struct tc *tc, uint32_t family, uint32_t op, const void *data, uint32_t len,
                       uint32_t *id)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;

    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    s.ends = true;
    return manage(tc, &s, family, op, data, len, id);
}

static tpm_rc set_flag(struct tc *tc, uint32_t family, uint32_t op, uint8_t value)
{
    return by_owner(tc, family, op, &value, 1, NULL);
}

static uint32_t new_family(struct tc *tc)
{
    uint32_t id;

    assert_int_equal(by_owner(tc, 0, TPM_FAMILY_CREATE, "f", 1, &id), TPM_SUCCESS);
    assert_int_equal(set_flag(tc, id, ENABLE, 1), TPM_SUCCESS);
    return id;
}

/* ---- Delegations ---- */

static struct tpm_delegate_public public_of(uint32_t family, uint32_t type, uint32_t per1)
{
    return (struct tpm_delegate_public){
        .row_label = 'r',
        .pcr_info = {.pcr_selection = {.size_of_select = 3}, .locality_at_release = TPM_LOC_ALL},
        .permissions = {.delegate_type = type, .per1 = per1},
        .family_id = family,
    };
}

struct kept {
    uint8_t bytes[512];
    struct tpm_blob blob;
};

/* A kept one may have been moved. */
static struct tpm_blob *blob_of(struct kept *k)
{
    k->blob.data = k->bytes;
    return &k->blob;
}

static void keep(struct kept *k, const struct tpm_blob *blob)
{
    assert_true(blob->len <= sizeof k->bytes);
    memcpy(k->bytes, blob->data, blob->len);
    k->blob = (struct tpm_blob){.len = blob->len, .data = k->bytes};
}

static tpm_rc create_with(struct tc *tc, struct tc_session *s, const struct tpm_delegate_public *pub,
                          bool increment, struct kept *out)
{
    struct delegate_create_owner_delegation_in in = {.increment = increment, .public_info = *pub};
    struct delegate_create_owner_delegation_out made = {{0}};
    struct vt_auth secret = lent_secret();
    tpm_rc rc;

    tc_encrypt_auth(s, false, false, &secret, &in.del_auth);
    rc = TC(tc, TPM_ORD_Delegate_CreateOwnerDelegation, &in, &made, .auth = {s});
    if (!rc)
        keep(out, &made.blob);
    return rc;
}

static tpm_rc create_owner(struct tc *tc, const struct tpm_delegate_public *pub, bool increment,
                           struct kept *out)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;

    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    return create_with(tc, &s, pub, increment, out);
}

/* The owner's permissions `per1` in a new family of their own. */
static struct kept lend(struct tc *tc, uint32_t family, uint32_t per1)
{
    struct tpm_delegate_public pub = public_of(family, TPM_DEL_OWNER_BITS, per1);
    struct kept k;

    assert_int_equal(create_owner(tc, &pub, false, &k), TPM_SUCCESS);
    return k;
}

static tpm_rc create_key(struct tc *tc, struct tc_session *s, uint32_t handle,
                         const struct tpm_delegate_public *pub, struct kept *out)
{
    struct delegate_create_key_delegation_in in = {.public_info = *pub};
    struct delegate_create_key_delegation_out made = {{0}};
    struct vt_auth secret = lent_secret();
    tpm_rc rc;

    tc_encrypt_auth(s, false, false, &secret, &in.del_auth);
    rc = TC(tc, TPM_ORD_Delegate_CreateKeyDelegation, &in, &made, .handles = {handle}, .auth = {s});
    if (!rc)
        keep(out, &made.blob);
    return rc;
}

static struct kept lend_key(struct tc *tc, uint32_t family, uint32_t handle, const struct vt_auth *auth,
                            uint32_t per1)
{
    struct tpm_delegate_public pub = public_of(family, TPM_DEL_KEY_BITS, per1);
    struct tc_session s;
    struct kept k;

    assert_int_equal(tc_osap(tc, &s, TPM_ET_KEYHANDLE, handle, auth), TPM_SUCCESS);
    assert_int_equal(create_key(tc, &s, handle, &pub, &k), TPM_SUCCESS);
    return k;
}

static tpm_rc dsap(struct tc *tc, struct tc_session *s, uint16_t type, uint32_t key,
                   const struct tpm_blob *value)
{
    struct vt_auth secret = lent_secret();

    return tc_dsap(tc, s, type, key, value, &secret);
}

static struct tc_session borrowed(struct tc *tc, struct kept *k)
{
    struct tc_session s;

    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_OWNER_BLOB, 0, blob_of(k)), TPM_SUCCESS);
    return s;
}

static tpm_rc load(struct tc *tc, struct tc_session *s, uint32_t index, const struct tpm_blob *blob)
{
    struct delegate_load_owner_delegation_in in = {.index = index, .blob = *blob};

    return TC(tc, TPM_ORD_Delegate_LoadOwnerDelegation, &in, NULL, .auth = {s});
}

static tpm_rc load_by_owner(struct tc *tc, uint32_t index, const struct tpm_blob *blob)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;

    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    s.ends = true;
    return load(tc, &s, index, blob);
}

static const struct tpm_blob row0 = {.len = 4, .data = (const uint8_t[4]){0}};

static tpm_rc point(struct tc *tc, uint16_t type, uint32_t value)
{
    struct set_owner_pointer_in in = {.entity_type = type, .entity_value = value};

    return TC(tc, TPM_ORD_SetOwnerPointer, &in, NULL);
}

/* A command of the owner's: TPM_DELEGATE_OwnerSetDisable. */
static tpm_rc set_disable(struct tc *tc, struct tc_session *s)
{
    struct owner_set_disable_in in = {.disable_state = false};

    return TC(tc, TPM_ORD_OwnerSetDisable, &in, NULL, .auth = {s});
}

static bool alive(struct tc *tc, const struct tc_session *s)
{
    return session_find(tc->tpm, s->handle);
}

/* ---- Tests ---- */

/*= p3:19.1#5 p3:19.1#7 p3:19.1#8 p3:19.1#9 p3:19.5 */
static void test_manage__life_of_a_family__as_the_table_tells(void **state)
{
    struct delegate_read_table_out table;
    struct tc *tc = *state;
    struct rd r;
    uint32_t first, second;
    struct tpm_family_table_entry entry;

    assert_int_equal(by_owner(tc, 99, TPM_FAMILY_CREATE, "a", 1, &first), TPM_SUCCESS);
    assert_int_equal(by_owner(tc, 0, TPM_FAMILY_CREATE, "b", 1, &second), TPM_SUCCESS);
    assert_int_equal(second, first + 1);
    assert_int_equal(set_flag(tc, second, ENABLE, 1), TPM_SUCCESS);
    assert_int_equal(set_flag(tc, second, ADMIN, 1), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Delegate_ReadTable, NULL, &table), TPM_SUCCESS);
    assert_int_equal(table.delegate_table.len, 0);
    r = rd_from(table.family_table.data, table.family_table.len);
    rd_family_table_entry(&r, &entry);
    assert_int_equal(entry.family_label, 'a');
    assert_int_equal(entry.family_id, first);
    assert_int_equal(entry.verification_count, 1);
    assert_int_equal(entry.flags, 0);
    rd_family_table_entry(&r, &entry);
    assert_int_equal(entry.flags, TPM_FAMFLAG_ENABLED | TPM_DELEGATE_ADMIN_LOCK);
    assert_int_equal(rd_result(&r), TPM_SUCCESS);
    assert_int_equal(set_flag(tc, second, ENABLE, 0), TPM_SUCCESS);
    assert_int_equal(by_owner(tc, first, TPM_FAMILY_INVALIDATE, NULL, 0, NULL), TPM_SUCCESS);
    assert_int_equal(set_flag(tc, first, ENABLE, 1), TPM_BADINDEX);
    /* Numbers are not given twice. */
    assert_int_equal(new_family(tc), second + 1);
}

/*= p3:19.1#1 p3:19.1#2 p3:19.1#3 p3:19.1#5 p3:19.1#7 p3:19.1#10 */
static void test_manage__unfit_requests__codes(void **state)
{
    struct vt_auth wrong = tc_secret("wrong");
    struct tc *tc = *state;
    uint32_t id = new_family(tc);
    struct tc_session s;

    assert_int_equal(by_owner(tc, id + 1, ENABLE, "\1", 1, NULL), TPM_BADINDEX);
    assert_int_equal(by_owner(tc, id, ENABLE, "\2", 1, NULL), TPM_BAD_PARAMETER);
    assert_int_equal(by_owner(tc, id, ADMIN, "\1\1", 2, NULL), TPM_BAD_PARAM_SIZE);
    assert_int_equal(by_owner(tc, id, 5, NULL, 0, NULL), TPM_BAD_PARAMETER);
    assert_int_equal(by_owner(tc, 0, TPM_FAMILY_CREATE, "ab", 2, NULL), TPM_BAD_PARAM_SIZE);
    assert_int_equal(tc_oiap(tc, &s, &wrong), TPM_SUCCESS);
    assert_int_equal(manage(tc, &s, id, ENABLE, "\1", 1, NULL), TPM_AUTHFAIL);
    assert_int_equal(manage(tc, NULL, id, ENABLE, "\1", 1, NULL), TPM_AUTHFAIL);
    for (unsigned i = 1; i < 16; i++)
        (void)new_family(tc);
    assert_int_equal(by_owner(tc, 0, TPM_FAMILY_CREATE, "f", 1, NULL), TPM_RESOURCES);
}

/* Part 2, 20.2: each of the owner's commands has its bit. */
/*= p3:18.3#1 p3:19.3#1 */
static void test_dsap__owner_blob__allows_what_was_lent_and_no_more(void **state)
{
    struct tc *tc = *state;
    uint32_t family = new_family(tc);
    struct kept yes = lend(tc, family, TPM_DELEGATE_OwnerSetDisable);
    struct kept no = lend(tc, family, ALL_OWNER & ~TPM_DELEGATE_OwnerSetDisable);
    struct tc_session s = borrowed(tc, &yes);

    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(set_disable(tc, &s), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_DisableOwnerClear, NULL, NULL, .auth = {&s}), TPM_AUTHFAIL);
    s = borrowed(tc, &no);
    assert_int_equal(set_disable(tc, &s), TPM_AUTHFAIL);
    /* It was no wrong guess. */
    assert_int_equal(tc->tpm->perm.da.failures, 0);
    s = borrowed(tc, &no);
    assert_int_equal(TC(tc, TPM_ORD_DisableOwnerClear, NULL, NULL, .auth = {&s}), TPM_SUCCESS);
    s = borrowed(tc, &yes);
    assert_int_equal(TC(tc, TPM_ORD_OwnerSetDisable, &(struct owner_set_disable_in){0}, NULL, .auth = {&s},
                        .wrong_hmac = {true}),
                     TPM_AUTHFAIL);
    assert_int_equal(tc->tpm->perm.da.failures, 1);
}

/* What has no bit cannot be lent: the owner's secret itself. */
static void test_dsap__change_auth_owner__never(void **state)
{
    struct change_auth_owner_in in = {.protocol_id = TPM_PID_ADCP, .entity_type = TPM_ET_OWNER};
    struct tc *tc = *state;
    struct kept all = lend(tc, new_family(tc), 0xFFFFFFFF);
    struct tc_session s = borrowed(tc, &all);

    assert_int_equal(TC(tc, TPM_ORD_ChangeAuthOwner, &in, NULL, .auth = {&s}), TPM_AUTHFAIL);
}

/* Here and now: PCRs and locality of the delegation. */
static void test_dsap__bound_to_pcr_and_locality__only_then(void **state)
{
    struct tc *tc = *state;
    struct tpm_delegate_public pub =
        public_of(new_family(tc), TPM_DEL_OWNER_BITS, TPM_DELEGATE_OwnerSetDisable);
    struct tc_session s;
    struct kept k;

    pub.pcr_info.pcr_selection.pcr_select[1] = 1;
    pub.pcr_info.locality_at_release = TPM_LOC_TWO;
    pcr_composite_hash(tc->tpm, &pub.pcr_info.pcr_selection, pub.pcr_info.digest_at_release.bytes);
    assert_int_equal(create_owner(tc, &pub, false, &k), TPM_SUCCESS);
    s = borrowed(tc, &k);
    assert_int_equal(set_disable(tc, &s), TPM_BAD_LOCALITY);
    s = borrowed(tc, &k);
    tc->locality = 2;
    assert_int_equal(set_disable(tc, &s), TPM_SUCCESS);
    assert_int_equal(spec_extend(tc, 8, 1), TPM_SUCCESS);
    assert_int_equal(set_disable(tc, &s), TPM_WRONGPCRVAL);
}

/*= p3:18.3#1 p3:18.3#2 p3:18.3#4 */
static void test_dsap__unfit_requests__codes(void **state)
{
    struct tc *tc = *state;
    uint32_t family = new_family(tc), other = new_family(tc);
    struct kept k = lend(tc, family, ALL_OWNER), bad = lend(tc, other, ALL_OWNER), fresh;
    struct tpm_delegate_public pub = public_of(family, TPM_DEL_OWNER_BITS, ALL_OWNER);
    struct tpm_blob row4 = {.len = 4, .data = (const uint8_t[4]){0, 0, 0, 4}},
                    shorter = {.len = 3, .data = row4.data};
    struct tc_session s;

    assert_int_equal(dsap(tc, &s, 0x77, 0, blob_of(&k)), TPM_BAD_PARAMETER);
    assert_int_equal(dsap(tc, &s, 0x0500 | TPM_ET_DEL_OWNER_BLOB, 0, blob_of(&k)), TPM_INAPPROPRIATE_ENC);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_KEY_BLOB, TPM_KH_SRK, blob_of(&k)), TPM_WRONG_ENTITYTYPE);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_OWNER_BLOB, 0, &row4), TPM_WRONG_ENTITYTYPE);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_ROW, 0, &row0), TPM_BADINDEX);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_ROW, 0, &row4), TPM_BADINDEX);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_ROW, 0, &shorter), TPM_BAD_PARAM_SIZE);
    /* g. */
    k.bytes[4] ^= 1;
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_OWNER_BLOB, 0, blob_of(&k)), TPM_AUTHFAIL);
    k.bytes[4] ^= 1;
    /* f. */
    assert_int_equal(create_owner(tc, &pub, true, &fresh), TPM_SUCCESS);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_OWNER_BLOB, 0, blob_of(&k)), TPM_FAMILYCOUNT);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_OWNER_BLOB, 0, blob_of(&fresh)), TPM_SUCCESS);
    /* e. */
    assert_int_equal(set_flag(tc, family, ENABLE, 0), TPM_SUCCESS);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_OWNER_BLOB, 0, blob_of(&fresh)), TPM_DISABLED_CMD);
    /* c. */
    assert_int_equal(by_owner(tc, other, TPM_FAMILY_INVALIDATE, NULL, 0, NULL), TPM_SUCCESS);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_OWNER_BLOB, 0, blob_of(&bad)), TPM_BADINDEX);
}

/* A blob that is ours by its integrity, with something else in it. */
/*= p3:18.3#1 p3:19.7#9 */
static void test_dsap__no_secret_in_it__bad_delegate(void **state)
{
    struct tc *tc = *state;
    struct kept k = lend(tc, new_family(tc), ALL_OWNER);
    struct delegate_verify_delegation_in in = {.delegation = *blob_of(&k)};
    struct tc_session s;

    vt_auth_wipe(&tc->tpm->perm.delegate_key);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_OWNER_BLOB, 0, blob_of(&k)), TPM_BAD_DELEGATE);
    assert_int_equal(TC(tc, TPM_ORD_Delegate_VerifyDelegation, &in, NULL), TPM_BAD_PARAMETER);
}

static void test_dsap__none_left__resources(void **state)
{
    struct tc *tc = *state;
    struct kept k = lend(tc, new_family(tc), ALL_OWNER);
    struct tc_session s;

    for (unsigned i = 0; i < 16; i++)
        (void)borrowed(tc, &k);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_OWNER_BLOB, 0, blob_of(&k)), TPM_RESOURCES);
}

/* When the tables change, sessions of delegations end; others do not. */
/*= p3:19.1#4 p3:19.3#6 p3:19.4#11 */
static void test_tables_change__delegated_sessions_end(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc *tc = *state;
    uint32_t family = new_family(tc);
    struct tpm_delegate_public pub = public_of(family, TPM_DEL_OWNER_BITS, ALL_OWNER);
    struct kept k = lend(tc, family, ALL_OWNER), fresh;
    struct tc_session plain, s = borrowed(tc, &k);

    assert_int_equal(tc_osap(tc, &plain, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    (void)new_family(tc);
    assert_false(alive(tc, &s));
    s = borrowed(tc, &k);
    assert_int_equal(load_by_owner(tc, 1, blob_of(&k)), TPM_SUCCESS);
    assert_false(alive(tc, &s));
    s = borrowed(tc, &k);
    assert_int_equal(create_owner(tc, &pub, true, &fresh), TPM_SUCCESS);
    assert_false(alive(tc, &s));
    assert_true(alive(tc, &plain));
    /* The delegate's own command ends its session, and is answered. */
    s = borrowed(tc, &fresh);
    assert_int_equal(manage(tc, &s, family, ADMIN, "\1", 1, NULL), TPM_SUCCESS);
    assert_int_equal(s.handle, 0);
}

/* And those that were saved cannot come back. */
static void test_saved_session__tables_changed__resourcemissing(void **state)
{
    struct save_context_in save = {.resource_type = TPM_RT_AUTH};
    struct save_context_out saved;
    struct load_context_in in = {.keep_handle = false};
    uint8_t blob[1024];
    struct tc *tc = *state;
    uint32_t family = new_family(tc);
    struct kept k = lend(tc, family, ALL_OWNER);

    for (unsigned change = 0; change < 2; change++) {
        struct tc_session s = borrowed(tc, &k);

        assert_int_equal(TC(tc, TPM_ORD_SaveContext, &save, &saved, .handles = {s.handle}), TPM_SUCCESS);
        memcpy(blob, saved.context_blob.data, saved.context_blob.len);
        in.context_blob = (struct tpm_blob){.len = saved.context_blob.len, .data = blob};
        if (change)
            assert_int_equal(set_flag(tc, family, ENABLE, 0), TPM_SUCCESS);
        assert_int_equal(TC(tc, TPM_ORD_LoadContext, &in, NULL), change ? TPM_RESOURCEMISSING : TPM_SUCCESS);
        if (!change)
            assert_int_equal(set_disable(tc, &s), TPM_SUCCESS);
    }
}

/* ---- Keys ---- */

/*= p3:18.3#3 p3:19.2#1 p3:19.2#7 p3:19.2#10 */
static void test_key_delegation__sign__only_this_key_and_this_command(void **state)
{
    struct sign_in sign = {.area_to_sign = {.len = 20, .data = (const uint8_t[20]){1}}};
    struct quote_in quote = {.target_pcr = {.size_of_select = 3, .pcr_select = {1}}};
    struct vt_auth secret = tc_secret("sign");
    struct tc *tc = *state;
    uint32_t family = new_family(tc), key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS), other;
    struct tpm_key_obj second = spec_key(5, TPM_KEY_SIGNING, &secret);
    struct kept k = lend_key(tc, family, key, &secret, TPM_KEY_DELEGATE_Sign);
    struct tc_session s;

    other = spec_insert(tc, &second);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_KEY_BLOB, key, blob_of(&k)), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Sign, &sign, NULL, .handles = {key}, .auth = {&s}), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Quote, &quote, NULL, .handles = {key}, .auth = {&s}), TPM_AUTHFAIL);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_KEY_BLOB, key, blob_of(&k)), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Sign, &sign, NULL, .handles = {other}, .auth = {&s}), TPM_AUTHFAIL);
    /* h. */
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_KEY_BLOB, other, blob_of(&k)), TPM_KEYNOTFOUND);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_KEY_BLOB, 0x01234567, blob_of(&k)), TPM_INVALID_KEYHANDLE);
    /* The session goes with its key. */
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_KEY_BLOB, key, blob_of(&k)), TPM_SUCCESS);
    assert_int_equal(sk_flush(tc, key, TPM_RT_KEY), TPM_SUCCESS);
    assert_false(alive(tc, &s));
}

/*= p3:19.2#2 p3:19.2#3 p3:19.2#4 p3:19.2#5 */
static void test_key_delegation__unfit_requests__codes(void **state)
{
    struct vt_auth secret = tc_secret("sign"), wrong = tc_secret("wrong");
    struct tc *tc = *state;
    uint32_t family = new_family(tc), other = new_family(tc),
             key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
    struct tpm_delegate_public pub = public_of(family, TPM_DEL_KEY_BITS, ALL_KEY);
    uint32_t some = TPM_KEY_DELEGATE_CreateKeyDelegation | TPM_KEY_DELEGATE_Sign;
    struct kept k = lend_key(tc, family, key, &secret, some), out;
    struct tc_session s;

    assert_int_equal(tc_oiap(tc, &s, &secret), TPM_SUCCESS);
    assert_int_equal(create_key(tc, &s, key, &pub, &out), TPM_BAD_MODE);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_KEYHANDLE, key, &wrong), TPM_SUCCESS);
    assert_int_equal(create_key(tc, &s, key, &pub, &out), TPM_AUTHFAIL);
    pub.family_id = 99;
    assert_int_equal(tc_osap(tc, &s, TPM_ET_KEYHANDLE, key, &secret), TPM_SUCCESS);
    assert_int_equal(create_key(tc, &s, key, &pub, &out), TPM_BADINDEX);
    pub = public_of(family, TPM_DEL_OWNER_BITS, 0);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_KEYHANDLE, key, &secret), TPM_SUCCESS);
    assert_int_equal(create_key(tc, &s, key, &pub, &out), TPM_BAD_PARAMETER);
    /* 3. A delegate: another family, more than it has, no more than it has. */
    pub = public_of(other, TPM_DEL_KEY_BITS, 0);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_KEY_BLOB, key, blob_of(&k)), TPM_SUCCESS);
    assert_int_equal(create_key(tc, &s, key, &pub, &out), TPM_DELEGATE_FAMILY);
    pub = public_of(family, TPM_DEL_KEY_BITS, TPM_KEY_DELEGATE_Quote);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_KEY_BLOB, key, blob_of(&k)), TPM_SUCCESS);
    assert_int_equal(create_key(tc, &s, key, &pub, &out), TPM_AUTHFAIL);
    pub.permissions.per1 = TPM_KEY_DELEGATE_Sign;
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_KEY_BLOB, key, blob_of(&k)), TPM_SUCCESS);
    assert_int_equal(create_key(tc, &s, key, &pub, &out), TPM_SUCCESS);
    assert_int_equal(s.handle, 0);
    /* Disabled by hand: TPM_Delegate_Manage would have ended the session. */
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_KEY_BLOB, key, blob_of(&k)), TPM_SUCCESS);
    family_find(tc->tpm, family)->flags = 0;
    assert_int_equal(create_key(tc, &s, key, &pub, &out), TPM_DISABLED_CMD);
}

/* Part 2, 5.17: keys of a migration authority are lent only by its kind's leave. */
static void test_key_delegation__restricted_key__invalid_keyusage(void **state)
{
    struct sign_in sign = {.area_to_sign = {.len = 20, .data = (const uint8_t[20]){1}}};
    struct vt_auth secret = tc_secret("sign");
    struct tc *tc = *state;
    struct tpm_key_obj cmk = spec_key(7, TPM_KEY_SIGNING, &secret);
    uint32_t family = new_family(tc), key;
    struct tc_session s;
    struct kept k;

    cmk.flags = TPM_MIGRATABLE | TPM_MIGRATEAUTHORITY;
    cmk.payload = TPM_PT_MIGRATE_RESTRICTED;
    key = spec_insert(tc, &cmk);
    k = lend_key(tc, family, key, &secret, ALL_KEY);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_KEY_BLOB, key, blob_of(&k)), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Sign, &sign, NULL, .handles = {key}, .auth = {&s}), TPM_INVALID_KEYUSAGE);
    tc->tpm->perm.restrict_delegate[0] = 0x80;
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_KEY_BLOB, key, blob_of(&k)), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Sign, &sign, NULL, .handles = {key}, .auth = {&s}), TPM_SUCCESS);
}

/* ---- The owner's ---- */

/*= p3:19.3#2 p3:19.3#3 p3:19.3#4 p3:19.3#5 p3:19.3#6 p3:19.3#14 */
static void test_owner_delegation__unfit_requests__codes(void **state)
{
    struct vt_auth owner = SPEC_OWNER, wrong = tc_secret("wrong");
    struct tc *tc = *state;
    uint32_t family = new_family(tc), other = new_family(tc);
    uint32_t some = TPM_DELEGATE_Delegate_CreateOwnerDelegation | TPM_DELEGATE_OwnerSetDisable;
    struct tpm_delegate_public pub = public_of(99, TPM_DEL_OWNER_BITS, 0);
    struct kept k = lend(tc, family, some), out;
    struct tc_session s;

    assert_int_equal(create_owner(tc, &pub, false, &out), TPM_BADINDEX);
    pub = public_of(family, TPM_DEL_KEY_BITS, 0);
    assert_int_equal(create_owner(tc, &pub, false, &out), TPM_BAD_PARAMETER);
    pub = public_of(family, TPM_DEL_OWNER_BITS, 0);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, &wrong), TPM_SUCCESS);
    assert_int_equal(create_with(tc, &s, &pub, false, &out), TPM_AUTHFAIL);
    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(create_with(tc, &s, &pub, false, &out), TPM_BAD_MODE);
    pub.family_id = other;
    s = borrowed(tc, &k);
    assert_int_equal(create_with(tc, &s, &pub, false, &out), TPM_DELEGATE_FAMILY);
    pub = public_of(family, TPM_DEL_OWNER_BITS, TPM_DELEGATE_OwnerClear);
    s = borrowed(tc, &k);
    assert_int_equal(create_with(tc, &s, &pub, false, &out), TPM_AUTHFAIL);
    pub.permissions.per1 = TPM_DELEGATE_OwnerSetDisable;
    s = borrowed(tc, &k);
    assert_int_equal(create_with(tc, &s, &pub, false, &out), TPM_SUCCESS);
    assert_int_equal(s.handle, 0);
    s = borrowed(tc, &out);
    assert_int_equal(set_disable(tc, &s), TPM_SUCCESS);
    s = borrowed(tc, &k);
    family_find(tc->tpm, family)->flags = 0;
    assert_int_equal(create_with(tc, &s, &pub, false, &out), TPM_DISABLED_CMD);
    /* Old delegations must not become good again. */
    family_find(tc->tpm, family)->verification_count = UINT32_MAX;
    assert_int_equal(create_owner(tc, &pub, true, &out), TPM_FAMILYCOUNT);
}

/*= p3:19.4#1 p3:19.4#2 p3:19.4#4 p3:19.4#6 p3:19.4#7 p3:19.4#10 p3:19.4#12 */
static void test_load__row__works_and_codes(void **state)
{
    struct vt_auth wrong = tc_secret("wrong"), secret = tc_secret("sign");
    struct tc *tc = *state;
    uint32_t family = new_family(tc), other = new_family(tc),
             key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
    struct kept k =
        lend(tc, family, TPM_DELEGATE_OwnerSetDisable | TPM_DELEGATE_Delegate_LoadOwnerDelegation);
    struct kept foreign = lend(tc, other, ALL_OWNER), keyed = lend_key(tc, family, key, &secret, ALL_KEY);
    struct delegate_read_table_out table;
    struct tc_session s;

    assert_int_equal(load_by_owner(tc, 0, blob_of(&k)), TPM_SUCCESS);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_ROW, 0, &row0), TPM_SUCCESS);
    assert_int_equal(set_disable(tc, &s), TPM_SUCCESS);
    /* 4.b, 12.d: a delegate loads into its own family, and its session ends. */
    assert_int_equal(load(tc, &s, 1, blob_of(&foreign)), TPM_DELEGATE_FAMILY);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_ROW, 0, &row0), TPM_SUCCESS);
    assert_int_equal(load(tc, &s, 1, blob_of(&k)), TPM_SUCCESS);
    assert_int_equal(s.handle, 0);
    assert_int_equal(TC(tc, TPM_ORD_Delegate_ReadTable, NULL, &table), TPM_SUCCESS);
    assert_true(table.delegate_table.len > 0);
    /* The secret is not told. */
    assert_null(memmem(table.delegate_table.data, table.delegate_table.len, lent_secret().bytes, 8));
    assert_int_equal(load_by_owner(tc, 4, blob_of(&k)), TPM_BADINDEX);
    assert_int_equal(load_by_owner(tc, 0, blob_of(&keyed)), TPM_INVALID_STRUCTURE);
    k.bytes[4] ^= 1;
    assert_int_equal(load_by_owner(tc, 0, blob_of(&k)), TPM_AUTHFAIL);
    k.bytes[4] ^= 1;
    assert_int_equal(load(tc, NULL, 0, blob_of(&k)), TPM_AUTHFAIL);
    assert_int_equal(tc_oiap(tc, &s, &wrong), TPM_SUCCESS);
    assert_int_equal(load(tc, &s, 0, blob_of(&k)), TPM_AUTHFAIL);
    assert_int_equal(set_flag(tc, family, ENABLE, 0), TPM_SUCCESS);
    assert_int_equal(load_by_owner(tc, 0, blob_of(&k)), TPM_DISABLED_CMD);
    assert_int_equal(by_owner(tc, family, TPM_FAMILY_INVALIDATE, NULL, 0, NULL), TPM_SUCCESS);
    assert_int_equal(load_by_owner(tc, 0, blob_of(&k)), TPM_BADINDEX);
    /* The row stays, and is good for nothing. */
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_ROW, 0, &row0), TPM_BADINDEX);
}

/* ---- SetOwnerPointer ---- */

/*= p3:18.4#2 p3:18.4#3 p3:18.4#4 */
static void test_pointer__row__stands_for_the_owner(void **state)
{
    struct vt_auth owner = SPEC_OWNER, lent = lent_secret();
    struct tc *tc = *state;
    uint32_t family = new_family(tc);
    struct kept k = lend(tc, family, TPM_DELEGATE_OwnerSetDisable);
    struct tc_session s;

    assert_int_equal(point(tc, TPM_ET_DEL_ROW, 0), TPM_BADINDEX);
    assert_int_equal(point(tc, TPM_ET_KEYHANDLE, 0), TPM_BAD_PARAMETER);
    assert_int_equal(load_by_owner(tc, 0, blob_of(&k)), TPM_SUCCESS);
    assert_int_equal(point(tc, TPM_ET_DEL_ROW, 0), TPM_SUCCESS);
    /* OIAP and OSAP: the row's secret, for what the row allows. */
    assert_int_equal(tc_oiap(tc, &s, &lent), TPM_SUCCESS);
    assert_int_equal(set_disable(tc, &s), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_DisableOwnerClear, NULL, NULL, .auth = {&s}), TPM_AUTHFAIL);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, &lent), TPM_SUCCESS);
    assert_int_equal(set_disable(tc, &s), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_DisableOwnerClear, NULL, NULL, .auth = {&s}), TPM_AUTHFAIL);
    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(set_disable(tc, &s), TPM_AUTHFAIL);
    assert_int_equal(point(tc, TPM_ET_OWNER, 77), TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(set_disable(tc, &s), TPM_SUCCESS);
    /* And it goes back by itself when the tables change. */
    assert_int_equal(point(tc, TPM_ET_DEL_ROW, 0), TPM_SUCCESS);
    delegate_tables_changed(tc->tpm);
    assert_int_equal(set_disable(tc, &s), TPM_SUCCESS);
    /* A row that is gone: by hand. */
    assert_int_equal(point(tc, TPM_ET_DEL_ROW, 0), TPM_SUCCESS);
    tc->tpm->perm.delegates[0] = (struct delegate_row){0};
    assert_int_equal(set_disable(tc, &s), TPM_AUTHFAIL);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, &lent), TPM_BADINDEX);
}

/*= p3:18.4#2 */
static void test_pointer__family_not_good__codes(void **state)
{
    struct tc *tc = *state;
    uint32_t family = new_family(tc);
    struct kept k = lend(tc, family, ALL_OWNER);
    struct tpm_delegate_public pub = public_of(family, TPM_DEL_OWNER_BITS, 0);
    struct kept fresh;
    struct tc_session s;

    assert_int_equal(load_by_owner(tc, 0, blob_of(&k)), TPM_SUCCESS);
    assert_int_equal(create_owner(tc, &pub, true, &fresh), TPM_SUCCESS);
    assert_int_equal(point(tc, TPM_ET_DEL_ROW, 0), TPM_FAMILYCOUNT);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_ROW, 0, &row0), TPM_FAMILYCOUNT);
    assert_int_equal(set_flag(tc, family, ENABLE, 0), TPM_SUCCESS);
    assert_int_equal(point(tc, TPM_ET_DEL_ROW, 0), TPM_DISABLED_CMD);
}

/* ---- Counts ---- */

static tpm_rc update(struct tc *tc, struct tc_session *s, const struct tpm_blob *data, struct kept *out)
{
    struct delegate_update_verification_in in = {.input_data = *data};
    struct delegate_update_verification_out answer = {{0}};
    tpm_rc rc = TC(tc, TPM_ORD_Delegate_UpdateVerification, &in, &answer, .auth = {s});

    if (!rc)
        keep(out, &answer.output_data);
    return rc;
}

static tpm_rc update_by_owner(struct tc *tc, const struct tpm_blob *data, struct kept *out)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;

    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    s.ends = true;
    return update(tc, &s, data, out);
}

static tpm_rc verify(struct tc *tc, const struct tpm_blob *blob)
{
    struct delegate_verify_delegation_in in = {.delegation = *blob};

    return TC(tc, TPM_ORD_Delegate_VerifyDelegation, &in, NULL);
}

/*= p3:19.6#2 p3:19.6#8 p3:19.6#9 p3:19.6#10 p3:19.7#7 p3:19.7#11 */
static void test_update__old_delegations__good_again(void **state)
{
    struct vt_auth secret = tc_secret("sign");
    struct tc *tc = *state;
    uint32_t family = new_family(tc), key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
    struct kept k = lend(tc, family, ALL_OWNER), keyed = lend_key(tc, family, key, &secret, ALL_KEY), out;
    struct tpm_delegate_public pub = public_of(family, TPM_DEL_OWNER_BITS, 0);
    struct tc_session s;

    assert_int_equal(load_by_owner(tc, 0, blob_of(&k)), TPM_SUCCESS);
    assert_int_equal(verify(tc, blob_of(&k)), TPM_SUCCESS);
    assert_int_equal(verify(tc, blob_of(&keyed)), TPM_SUCCESS);
    assert_int_equal(create_owner(tc, &pub, true, &out), TPM_SUCCESS);
    assert_int_equal(verify(tc, blob_of(&k)), TPM_FAMILYCOUNT);
    assert_int_equal(update_by_owner(tc, blob_of(&k), &out), TPM_SUCCESS);
    assert_int_equal(verify(tc, blob_of(&out)), TPM_SUCCESS);
    s = borrowed(tc, &out);
    assert_int_equal(set_disable(tc, &s), TPM_SUCCESS);
    assert_int_equal(update_by_owner(tc, blob_of(&keyed), &out), TPM_SUCCESS);
    assert_int_equal(verify(tc, blob_of(&out)), TPM_SUCCESS);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_ROW, 0, &row0), TPM_FAMILYCOUNT);
    assert_int_equal(update_by_owner(tc, &row0, &out), TPM_SUCCESS);
    assert_int_equal(out.blob.len, 0);
    assert_int_equal(dsap(tc, &s, TPM_ET_DEL_ROW, 0, &row0), TPM_SUCCESS);
}

/*= p3:19.6#1 p3:19.6#3 p3:19.6#4 p3:19.6#6 p3:19.6#7 p3:19.7#3 p3:19.7#4 p3:19.7#6 p3:19.7#8 */
static void test_update_and_verify__unfit_requests__codes(void **state)
{
    struct vt_auth wrong = tc_secret("wrong");
    struct tc *tc = *state;
    uint32_t family = new_family(tc), other = new_family(tc);
    struct kept k = lend(tc, family, TPM_DELEGATE_Delegate_UpdateVerification), foreign = lend(tc, other, 0),
                out;
    struct tpm_blob junk = {.len = 6, .data = (const uint8_t *)"junk!!"}, cut = {.len = 20, .data = k.bytes};
    struct tc_session s;

    assert_int_equal(tc_oiap(tc, &s, &wrong), TPM_SUCCESS);
    assert_int_equal(update(tc, &s, blob_of(&k), &out), TPM_AUTHFAIL);
    assert_int_equal(update_by_owner(tc, &junk, &out), TPM_BAD_PARAMETER);
    assert_int_equal(update_by_owner(tc, &cut, &out), TPM_BAD_PARAM_SIZE);
    assert_int_equal(update_by_owner(tc, &row0, &out), TPM_BADINDEX);
    assert_int_equal(verify(tc, &junk), TPM_BAD_PARAMETER);
    assert_int_equal(verify(tc, &cut), TPM_BAD_PARAM_SIZE);
    k.bytes[4] ^= 1;
    assert_int_equal(update_by_owner(tc, blob_of(&k), &out), TPM_AUTHFAIL);
    assert_int_equal(verify(tc, blob_of(&k)), TPM_AUTHFAIL);
    k.bytes[4] ^= 1;
    s = borrowed(tc, &k);
    assert_int_equal(update(tc, &s, blob_of(&foreign), &out), TPM_DELEGATE_FAMILY);
    s = borrowed(tc, &k);
    assert_int_equal(update(tc, &s, blob_of(&k), &out), TPM_SUCCESS);
    s = borrowed(tc, &k);
    family_find(tc->tpm, family)->flags = 0;
    assert_int_equal(update(tc, &s, blob_of(&k), &out), TPM_DISABLED_CMD);
    assert_int_equal(verify(tc, blob_of(&k)), TPM_DISABLED_CMD);
    assert_int_equal(by_owner(tc, family, TPM_FAMILY_INVALIDATE, NULL, 0, NULL), TPM_SUCCESS);
    assert_int_equal(update_by_owner(tc, blob_of(&k), &out), TPM_BADINDEX);
    assert_int_equal(verify(tc, blob_of(&k)), TPM_BADINDEX);
}

/* A delegate manages its own family only. */
/*= p3:19.1#2 p3:19.1#6 */
static void test_manage__by_delegate__own_family_only(void **state)
{
    struct tc *tc = *state;
    uint32_t family = new_family(tc), other = new_family(tc);
    struct kept k = lend(tc, family, TPM_DELEGATE_DelegateManage);
    struct tc_session s = borrowed(tc, &k);

    assert_int_equal(manage(tc, &s, other, ENABLE, "\0", 1, NULL), TPM_DELEGATE_FAMILY);
    s = borrowed(tc, &k);
    assert_int_equal(manage(tc, &s, family, ENABLE, "\1", 1, NULL), TPM_SUCCESS);
    assert_int_equal(s.handle, 0);
    s = borrowed(tc, &k);
    assert_int_equal(manage(tc, &s, 0, TPM_FAMILY_CREATE, "x", 1, NULL), TPM_SUCCESS);
}

/* ---- Without an owner ---- */

/* TPM_DELEGATE_OWNER_BLOB as anybody writes one. */
static void clear_blob(struct kept *k, const struct tpm_delegate_public *pub)
{
    uint8_t sensitive[2 + TPM_DIGEST_LEN] = {0, TPM_TAG_DELEGATE_SENSITIVE};
    struct vt_auth secret = lent_secret();
    struct tpm_delegate_owner_blob blob = {.pub = *pub,
                                           .sensitive_area = {.len = sizeof sensitive, .data = sensitive}};
    struct wr w = wr_to(k->bytes, sizeof k->bytes);

    memcpy(sensitive + 2, secret.bytes, sizeof secret.bytes);
    wr_delegate_owner_blob(&w, &blob);
    assert_false(w.bad);
    k->blob = (struct tpm_blob){.len = (uint32_t)w.len, .data = k->bytes};
}

/*= p3:19.1#3 p3:19.4#5 p3:19.4#8 */
static void test_no_owner__anybody__sixty_four_writes(void **state)
{
    struct tpm_delegate_public pub;
    struct tc *tc = *state;
    uint32_t id;
    struct kept k;

    assert_int_equal(manage(tc, NULL, 0, TPM_FAMILY_CREATE, "n", 1, &id), TPM_SUCCESS);
    pub = public_of(id, TPM_DEL_OWNER_BITS, ALL_OWNER);
    pub.verification_count = 1;
    clear_blob(&k, &pub);
    assert_int_equal(load(tc, NULL, 0, blob_of(&k)), TPM_DISABLED_CMD);
    assert_int_equal(manage(tc, NULL, id, ENABLE, "\1", 1, NULL), TPM_SUCCESS);
    assert_int_equal(load(tc, NULL, 0, blob_of(&k)), TPM_SUCCESS);
    assert_int_equal(tc->tpm->perm.nv.no_owner_writes, 3);
    /* Not a structure. */
    k.bytes[k.blob.len - 21] ^= 1;
    assert_int_equal(load(tc, NULL, 0, blob_of(&k)), TPM_INVALID_STRUCTURE);
    k.bytes[k.blob.len - 21] ^= 1;
    while (tc->tpm->perm.nv.no_owner_writes < 63)
        assert_int_equal(manage(tc, NULL, id, ENABLE, "\1", 1, NULL), TPM_SUCCESS);
    assert_int_equal(manage(tc, NULL, id, ADMIN, "\1", 1, NULL), TPM_SUCCESS);
    /* Locked comes before counted. */
    assert_int_equal(manage(tc, NULL, id, ENABLE, "\1", 1, NULL), TPM_DELEGATE_LOCK);
    assert_int_equal(load(tc, NULL, 0, blob_of(&k)), TPM_DELEGATE_LOCK);
    assert_int_equal(manage(tc, NULL, 0, TPM_FAMILY_CREATE, "n", 1, NULL), TPM_MAXNVWRITES);
    family_find(tc->tpm, id)->flags = TPM_FAMFLAG_ENABLED;
    assert_int_equal(load(tc, NULL, 0, blob_of(&k)), TPM_MAXNVWRITES);
}

/* A session proves nothing where there is no owner. */
static void test_no_owner__with_a_session__authfail(void **state)
{
    struct vt_auth zero = {{0}};
    struct tc *tc = *state;
    struct tpm_delegate_public pub;
    struct tc_session s;
    uint32_t id;
    struct kept k;

    assert_int_equal(manage(tc, NULL, 0, TPM_FAMILY_CREATE, "n", 1, &id), TPM_SUCCESS);
    assert_int_equal(manage(tc, NULL, id, ENABLE, "\1", 1, NULL), TPM_SUCCESS);
    pub = public_of(id, TPM_DEL_OWNER_BITS, 0);
    clear_blob(&k, &pub);
    assert_int_equal(tc_oiap(tc, &s, &zero), TPM_SUCCESS);
    assert_int_equal(manage(tc, &s, id, ENABLE, "\1", 1, NULL), TPM_AUTHFAIL);
    assert_int_equal(tc_oiap(tc, &s, &zero), TPM_SUCCESS);
    assert_int_equal(load(tc, &s, 0, blob_of(&k)), TPM_AUTHFAIL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)
#define U(f) cmocka_unit_test_setup_teardown(f, spec_setup, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_manage__life_of_a_family__as_the_table_tells),
        T(test_manage__unfit_requests__codes),
        T(test_dsap__owner_blob__allows_what_was_lent_and_no_more),
        T(test_dsap__change_auth_owner__never),
        T(test_dsap__bound_to_pcr_and_locality__only_then),
        T(test_dsap__unfit_requests__codes),
        T(test_dsap__no_secret_in_it__bad_delegate),
        T(test_dsap__none_left__resources),
        T(test_tables_change__delegated_sessions_end),
        T(test_saved_session__tables_changed__resourcemissing),
        T(test_key_delegation__sign__only_this_key_and_this_command),
        T(test_key_delegation__unfit_requests__codes),
        T(test_key_delegation__restricted_key__invalid_keyusage),
        T(test_owner_delegation__unfit_requests__codes),
        T(test_load__row__works_and_codes),
        T(test_pointer__row__stands_for_the_owner),
        T(test_pointer__family_not_good__codes),
        T(test_update__old_delegations__good_again),
        T(test_update_and_verify__unfit_requests__codes),
        T(test_manage__by_delegate__own_family_only),
        U(test_no_owner__anybody__sixty_four_writes),
        U(test_no_owner__with_a_session__authfail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

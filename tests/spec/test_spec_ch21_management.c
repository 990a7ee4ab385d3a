/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, chapter 21 and from 27: keys that the owner keeps, saved contexts of both versions, TPM_Reset. */
#include "tests/spec/spec_keys.h"

#define KEY tc_secret("key")

/* ---- 21.1 ---- */

static tpm_rc control(struct tc *tc, uint32_t handle, uint32_t bit, bool value)
{
    struct vt_auth owner = SPEC_OWNER;
    const struct key_slot *slot = key_find(tc->tpm, handle);
    struct tpm_key_obj key = slot ? slot->key : spec_key(5, TPM_KEY_SIGNING, &owner);
    struct key_control_owner_in in = {.bit_name = bit, .bit_value = value};

    key_to_pubkey(&in.pub_key, &key);
    return spec_one(tc, TPM_ORD_KeyControlOwner, &in, NULL, handle, &owner);
}

static uint32_t load(struct tc *tc, unsigned index, uint32_t flags)
{
    struct vt_auth secret = KEY;
    struct tpm_key_obj key = spec_key(index, TPM_KEY_SIGNING, &secret);

    key.flags = flags;
    return spec_insert(tc, &key);
}

static tpm_rc use(struct tc *tc, uint32_t handle)
{
    return sk_sign(tc, handle, "12345678901234567890", 20, NULL);
}

/*= p3:21.1#5.a p3:21.1#5.b */
static void test_key_control__kept_key__survives_starts_until_let_go(void **state)
{
    struct tc *tc = *state;
    uint32_t key = load(tc, 5, 0);

    assert_int_equal(control(tc, key, TPM_KEY_CONTROL_OWNER_EVICT, true), TPM_SUCCESS);
    assert_int_equal(control(tc, key, TPM_KEY_CONTROL_OWNER_EVICT, true), TPM_SUCCESS);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(use(tc, key), TPM_SUCCESS);
    assert_true(spec_cap_bool(tc, TPM_CAP_KEY_STATUS, key));
    assert_int_equal(sk_flush(tc, key, TPM_RT_KEY), TPM_KEY_OWNER_CONTROL);
    assert_int_equal(TC(tc, TPM_ORD_EvictKey, NULL, NULL, .handles = {key}), TPM_KEY_OWNER_CONTROL);
    assert_int_equal(control(tc, key, TPM_KEY_CONTROL_OWNER_EVICT, false), TPM_SUCCESS);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(use(tc, key), TPM_INVALID_KEYHANDLE);
}

/*= p3:21.1#5.a */
static void test_key_control__owner_evict_limit__nospace(void **state)
{
    struct tc *tc = *state;

    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(control(tc, load(tc, 5, 0), TPM_KEY_CONTROL_OWNER_EVICT, true), TPM_SUCCESS);
    assert_int_equal(control(tc, load(tc, 5, 0), TPM_KEY_CONTROL_OWNER_EVICT, true), TPM_NOSPACE);
    /* Two slots stay for everybody, whatever the profile says. */
    tc->tpm->perm.profile.owner_evict_slots = 19;
    tc->no_freeze = true;
    for (unsigned i = 10; i < 18; i++)
        assert_int_equal(control(tc, load(tc, 5, 0), TPM_KEY_CONTROL_OWNER_EVICT, true), TPM_SUCCESS);
    assert_int_equal(control(tc, load(tc, 5, 0), TPM_KEY_CONTROL_OWNER_EVICT, true), TPM_NOSPACE);
}

/*= p3:21.1#1 p3:21.1#2 p3:21.1#3 p3:21.1#4 p3:21.1#5.a */
static void test_key_control__unfit_requests__codes(void **state)
{
    struct vt_auth owner = SPEC_OWNER, wrong = tc_secret("wrong"), secret = KEY;
    struct tc *tc = *state;
    struct tpm_key_obj key = spec_key(4, TPM_KEY_SIGNING, &secret),
                       migrate = spec_key(3, TPM_KEY_MIGRATE, &secret);
    struct key_control_owner_in in = {.bit_name = TPM_KEY_CONTROL_OWNER_EVICT, .bit_value = true};
    uint32_t handle = load(tc, 5, 0), bound;

    assert_int_equal(control(tc, 0x01777777, 1, true), TPM_INVALID_KEYHANDLE);
    assert_int_equal(control(tc, TPM_KH_SRK, 1, true), TPM_INVALID_KEYHANDLE);
    assert_int_equal(control(tc, spec_insert(tc, &migrate), 1, true), TPM_INVALID_KEYUSAGE);
    assert_int_equal(control(tc, handle, 2, true), TPM_BAD_MODE);
    assert_int_equal(control(tc, handle, 0, true), TPM_BAD_MODE);
    assert_int_equal(control(tc, load(tc, 5, TPM_VOLATILE), 1, true), TPM_BAD_PARAMETER);
    bound = load(tc, 5, 0);
    key_find(tc->tpm, bound)->parent_pcr_status = true;
    assert_int_equal(control(tc, bound, 1, true), TPM_BAD_PARAMETER);
    /* Another key's public part; another secret. */
    key_to_pubkey(&in.pub_key, &key);
    assert_int_equal(spec_one(tc, TPM_ORD_KeyControlOwner, &in, NULL, handle, &owner), TPM_BAD_PARAMETER);
    assert_int_equal(spec_one(tc, TPM_ORD_KeyControlOwner, &in, NULL, handle, &wrong), TPM_AUTHFAIL);
}

/* ---- 21.2, 21.3 ---- */

struct saved {
    uint32_t len;
    uint8_t bytes[2048];
};

static tpm_rc save(struct tc *tc, uint32_t type, uint32_t handle, struct saved *out)
{
    struct save_context_in in = {.resource_type = type, .label = {{'l', 'a', 'b', 'e', 'l'}}};
    struct save_context_out made;
    tpm_rc rc = TC(tc, TPM_ORD_SaveContext, &in, &made, .handles = {handle});

    if (rc || !out)
        return rc;
    assert_true(made.context_blob.len <= sizeof out->bytes);
    out->len = made.context_blob.len;
    memcpy(out->bytes, made.context_blob.data, out->len);
    return rc;
}

static tpm_rc load_context(struct tc *tc, const struct saved *saved, bool keep, uint32_t entity)
{
    struct load_context_in in = {.keep_handle = keep,
                                 .context_blob = {.len = saved->len, .data = saved->bytes}};

    return TC(tc, TPM_ORD_LoadContext, &in, NULL, .handles = {entity});
}

static struct tpm_context_blob blob_of(const struct saved *saved)
{
    struct rd r = rd_from(saved->bytes, saved->len);
    struct tpm_context_blob blob;

    rd_context_blob(&r, &blob);
    assert_int_equal(rd_result(&r), TPM_SUCCESS);
    return blob;
}

/*= p3:21.2#8 p3:21.2#9 p3:21.3#10 */
static void test_context__key__copies_load_as_often_as_wanted(void **state)
{
    struct tc *tc = *state;
    uint32_t key = load(tc, 5, 0);
    struct tpm_context_blob blob;
    struct saved saved;

    assert_int_equal(save(tc, TPM_RT_KEY, key, &saved), TPM_SUCCESS);
    blob = blob_of(&saved);
    assert_int_equal(blob.resource_type, TPM_RT_KEY);
    assert_int_equal(blob.handle, key);
    assert_int_equal(blob.context_count, 0);
    assert_memory_equal(blob.label.bytes, "label", 6);
    /* It is still there. */
    assert_int_equal(use(tc, key), TPM_SUCCESS);
    assert_int_equal(load_context(tc, &saved, true, 0), TPM_BAD_HANDLE);
    assert_int_equal(load_context(tc, &saved, false, 0), TPM_SUCCESS);
    assert_int_not_equal(tc->out_handle, key);
    assert_int_equal(use(tc, tc->out_handle), TPM_SUCCESS);
    assert_int_equal(sk_flush(tc, key, TPM_RT_KEY), TPM_SUCCESS);
    assert_int_equal(load_context(tc, &saved, true, 0), TPM_SUCCESS);
    assert_int_equal(tc->out_handle, key);
    assert_int_equal(use(tc, key), TPM_SUCCESS);
    /* Also after a reboot: it is not volatile. */
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(load_context(tc, &saved, true, 0), TPM_SUCCESS);
    assert_int_equal(use(tc, key), TPM_SUCCESS);
}

/* No secret of the key in the clear. */
static void test_context__key__secrets_encrypted(void **state)
{
    struct tc *tc = *state;
    uint32_t key = load(tc, 5, 0);
    struct key_slot *slot = key_find(tc->tpm, key);
    uint8_t prime[16], auth[TPM_DIGEST_LEN];
    struct saved saved;

    memcpy(prime, slot->key.rsa.p, sizeof prime);
    memcpy(auth, slot->key.usage_auth.bytes, sizeof auth);
    assert_int_equal(save(tc, TPM_RT_KEY, key, &saved), TPM_SUCCESS);
    for (uint32_t i = 0; i + sizeof auth <= saved.len; i++) {
        assert_memory_not_equal(saved.bytes + i, prime, sizeof prime);
        assert_memory_not_equal(saved.bytes + i, auth, sizeof auth);
    }
}

/*= p3:21.3#5.b */
static void test_context__volatile_key__not_after_a_start(void **state)
{
    struct tc *tc = *state;
    uint32_t flagged = load(tc, 5, TPM_VOLATILE), bound = load(tc, 4, 0);
    struct saved a, b;

    key_find(tc->tpm, bound)->parent_pcr_status = true;
    assert_int_equal(save(tc, TPM_RT_KEY, flagged, &a), TPM_SUCCESS);
    assert_int_equal(save(tc, TPM_RT_KEY, bound, &b), TPM_SUCCESS);
    assert_int_equal(load_context(tc, &a, false, 0), TPM_SUCCESS);
    assert_int_equal(load_context(tc, &b, false, 0), TPM_SUCCESS);
    assert_true(key_find(tc->tpm, tc->out_handle)->parent_pcr_status);
    assert_int_equal(TC(tc, TPM_ORD_SaveState, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(tc_reboot(tc, TPM_ST_STATE), TPM_SUCCESS);
    assert_int_equal(load_context(tc, &a, false, 0), TPM_SUCCESS);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(load_context(tc, &a, false, 0), TPM_BADCONTEXT);
    assert_int_equal(load_context(tc, &b, false, 0), TPM_BADCONTEXT);
}

static tpm_rc owner_command(struct tc *tc, struct tc_session *s)
{
    struct owner_set_disable_in in = {.disable_state = false};

    return TC(tc, TPM_ORD_OwnerSetDisable, &in, NULL, .auth = {s});
}

/*= p3:21.2#10 p3:21.3#9 */
static void test_context__session__outside_or_inside_and_once(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc *tc = *state;
    struct tc_session s;
    struct saved saved, again;

    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(save(tc, TPM_RT_AUTH, s.handle, &saved), TPM_SUCCESS);
    assert_int_equal(blob_of(&saved).context_count, 1);
    assert_int_equal(spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_CONTEXT), 127);
    assert_int_equal(save(tc, TPM_RT_AUTH, s.handle, NULL), TPM_INVALID_RESOURCE);
    assert_int_equal(load_context(tc, &saved, true, 0), TPM_SUCCESS);
    assert_int_equal(tc->out_handle, s.handle);
    assert_int_equal(spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_CONTEXT), 128);
    /* A replay would turn its nonce back. */
    assert_int_equal(load_context(tc, &saved, false, 0), TPM_BADCONTEXT);
    assert_int_equal(owner_command(tc, &s), TPM_SUCCESS);
    assert_int_equal(save(tc, TPM_RT_AUTH, s.handle, &again), TPM_SUCCESS);
    assert_int_equal(blob_of(&again).context_count, 2);
    assert_int_equal(load_context(tc, &saved, false, 0), TPM_BADCONTEXT);
    /* Flushed outside: gone. */
    assert_int_equal(sk_flush(tc, 2, TPM_RT_CONTEXT), TPM_SUCCESS);
    assert_int_equal(sk_flush(tc, 2, TPM_RT_CONTEXT), TPM_BAD_PARAMETER);
    assert_int_equal(load_context(tc, &again, false, 0), TPM_BADCONTEXT);
}

/* facts: context replay after ST_CLEAR; sessions do not live through any start. */
static void test_context__session_after_a_start__badcontext(void **state)
{
    static const uint16_t starts[] = {TPM_ST_CLEAR, TPM_ST_STATE};
    struct vt_auth owner = SPEC_OWNER;
    struct tc *tc = *state;

    for (unsigned i = 0; i < 2; i++) {
        struct saved saved, fresh;
        struct tc_session s;

        assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
        assert_int_equal(save(tc, TPM_RT_AUTH, s.handle, &saved), TPM_SUCCESS);
        assert_int_equal(TC(tc, TPM_ORD_SaveState, NULL, NULL), TPM_SUCCESS);
        assert_int_equal(tc_reboot(tc, starts[i]), TPM_SUCCESS);
        assert_int_equal(load_context(tc, &saved, false, 0), TPM_BADCONTEXT);
        /* Also not when its count is in use again. */
        tc->tpm->stany.context_count = blob_of(&saved).context_count - 1;
        assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
        assert_int_equal(save(tc, TPM_RT_AUTH, s.handle, &fresh), TPM_SUCCESS);
        assert_int_equal(blob_of(&fresh).context_count, blob_of(&saved).context_count);
        assert_int_equal(load_context(tc, &saved, false, 0), TPM_BADCONTEXT);
        assert_int_equal(load_context(tc, &fresh, false, 0), TPM_SUCCESS);
    }
}

/*= p3:21.3#5.a */
static void test_context__osap_session__needs_its_entity_as_it_was(void **state)
{
    struct vt_auth secret = KEY, other = tc_secret("other");
    struct tc *tc = *state;
    uint32_t key = load(tc, 5, 0), wrong = load(tc, 4, 0);
    struct tpm_key_obj changed;
    struct saved saved, context;
    struct tc_session s;

    assert_int_equal(save(tc, TPM_RT_KEY, key, &context), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_KEYHANDLE, key, &secret), TPM_SUCCESS);
    assert_int_equal(save(tc, TPM_RT_AUTH, s.handle, &saved), TPM_SUCCESS);
    assert_int_equal(load_context(tc, &saved, false, 0x01777777), TPM_BAD_HANDLE);
    assert_int_equal(load_context(tc, &saved, false, wrong), TPM_RESOURCEMISSING);
    assert_int_equal(sk_flush(tc, key, TPM_RT_KEY), TPM_SUCCESS);
    assert_int_equal(load_context(tc, &saved, false, key), TPM_BAD_HANDLE);
    /* The same key with another secret is not what the session was opened for. */
    changed = spec_key(5, TPM_KEY_SIGNING, &other);
    key = spec_insert(tc, &changed);
    assert_int_equal(load_context(tc, &saved, false, key), TPM_RESOURCEMISSING);
    assert_int_equal(sk_flush(tc, key, TPM_RT_KEY), TPM_SUCCESS);
    /* Back again, it may go on. */
    assert_int_equal(load_context(tc, &context, false, 0), TPM_SUCCESS);
    key = tc->out_handle;
    assert_int_equal(load_context(tc, &saved, false, key), TPM_SUCCESS);
    s.handle = tc->out_handle;
    {
        struct sign_in in = {.area_to_sign = {.len = 20, .data = secret.bytes}};

        assert_int_equal(TC(tc, TPM_ORD_Sign, &in, NULL, .handles = {key}, .auth = {&s}), TPM_SUCCESS);
    }
}

/* Part 3, 17.2#8: also saved ones. */
static void test_context__owners_session_after_change_auth_owner__resourcemissing(void **state)
{
    struct vt_auth owner = SPEC_OWNER, fresh = tc_secret("new"), srk = SPEC_SRK;
    struct change_auth_owner_in in = {.protocol_id = TPM_PID_ADCP, .entity_type = TPM_ET_OWNER};
    struct tc *tc = *state;
    struct tc_session s, c;
    struct saved saved, of_srk;

    assert_int_equal(tc_osap(tc, &s, TPM_ET_SRK, 0, &srk), TPM_SUCCESS);
    assert_int_equal(save(tc, TPM_RT_AUTH, s.handle, &of_srk), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, 0, &owner), TPM_SUCCESS);
    assert_int_equal(save(tc, TPM_RT_AUTH, s.handle, &saved), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &c, TPM_ET_OWNER, 0, &owner), TPM_SUCCESS);
    tc_encrypt_auth(&c, false, false, &fresh, &in.new_auth);
    assert_int_equal(TC(tc, TPM_ORD_ChangeAuthOwner, &in, NULL, .auth = {&c}), TPM_SUCCESS);
    assert_int_equal(load_context(tc, &saved, false, 0), TPM_RESOURCEMISSING);
    assert_int_equal(load_context(tc, &of_srk, false, 0), TPM_SUCCESS);
}

/* An area with the same index and another secret is another area. */
static void test_context__session_of_an_area_redefined__resourcemissing(void **state)
{
    struct nv_area area = {.pub = {.nv_index = 0x1001, .permission = {TPM_NV_PER_AUTHREAD}, .data_size = 4},
                           .auth = tc_secret("one")};
    struct tc *tc = *state;
    struct saved saved;
    struct tc_session s;

    assert_true(nv_define(tc->tpm, &area));
    tc_check_frozen(tc);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_NV, 0x1001, &area.auth), TPM_SUCCESS);
    assert_int_equal(save(tc, TPM_RT_AUTH, s.handle, &saved), TPM_SUCCESS);
    nv_remove(tc->tpm, nv_find(tc->tpm, 0x1001));
    assert_int_equal(load_context(tc, &saved, false, 0), TPM_RESOURCEMISSING);
    area.auth = tc_secret("two");
    assert_true(nv_define(tc->tpm, &area));
    assert_int_equal(load_context(tc, &saved, false, 0), TPM_RESOURCEMISSING);
}

/*= p3:21.3#1 p3:21.3#3 p3:21.3#6 */
static void test_context__any_byte_altered__refused(void **state)
{
    struct tc *tc = *state;
    uint32_t key = load(tc, 5, 0);
    struct tpm_context_blob blob;
    struct saved saved;
    uint32_t sensitive;

    assert_int_equal(save(tc, TPM_RT_KEY, key, &saved), TPM_SUCCESS);
    blob = blob_of(&saved);
    sensitive = saved.len - blob.sensitive_data.len;
    tc->no_freeze = true;
    for (uint32_t at = 0; at < saved.len; at++) {
        tpm_rc rc;

        saved.bytes[at] ^= 1;
        rc = load_context(tc, &saved, false, 0);
        if (at >= sensitive)
            assert_int_equal(rc, TPM_DECRYPT_ERROR);
        else
            assert_int_not_equal(rc, TPM_SUCCESS);
        /* handle, label, contextCount, integrityDigest */
        if (at >= 6 && at < 50)
            assert_int_equal(rc, TPM_BADCONTEXT);
        saved.bytes[at] ^= 1;
    }
    assert_int_equal(load_context(tc, &saved, false, 0), TPM_SUCCESS);
    saved.len--;
    assert_int_not_equal(load_context(tc, &saved, false, 0), TPM_SUCCESS);
}

/* Contexts of another TPM, and of another owner, are not this one's. */
static void test_context__of_another_owner__refused(void **state)
{
    struct tc *tc = *state;
    uint32_t key = load(tc, 5, 0);
    struct saved saved;

    assert_int_equal(save(tc, TPM_RT_KEY, key, &saved), TPM_SUCCESS);
    tc->tpm->perm.context_key.bytes[0] ^= 1;
    assert_int_equal(load_context(tc, &saved, false, 0), TPM_DECRYPT_ERROR);
    tc->tpm->perm.context_key.bytes[0] ^= 1;
    tc->tpm->perm.tpm_proof.bytes[0] ^= 1;
    assert_int_equal(load_context(tc, &saved, false, 0), TPM_BADCONTEXT);
}

/*= p3:21.2#10.a p3:21.2#10.b */
static void test_context__counts__all_places_taken_and_the_last_count(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc *tc = *state;
    struct tc_session s;
    struct saved saved;

    tc->no_freeze = true;
    for (unsigned i = 0; i < 128; i++) {
        assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
        assert_int_equal(save(tc, TPM_RT_AUTH, s.handle, &saved), TPM_SUCCESS);
    }
    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(save(tc, TPM_RT_AUTH, s.handle, NULL), TPM_NOCONTEXTSPACE);
    /* A key needs no place. */
    assert_int_equal(save(tc, TPM_RT_KEY, load(tc, 5, 0), NULL), TPM_SUCCESS);
    assert_int_equal(owner_command(tc, &s), TPM_SUCCESS);
    assert_int_equal(load_context(tc, &saved, false, 0), TPM_SUCCESS);
    tc->tpm->stany.context_count = 0xFFFFFFFE;
    assert_int_equal(save(tc, TPM_RT_AUTH, s.handle, &saved), TPM_SUCCESS);
    assert_int_equal(blob_of(&saved).context_count, 0xFFFFFFFF);
    assert_int_equal(load_context(tc, &saved, true, 0), TPM_SUCCESS);
    assert_int_equal(save(tc, TPM_RT_AUTH, s.handle, NULL), TPM_TOOMANYCONTEXTS);
}

/*= p3:21.2#2 p3:21.2#3 p3:21.2#4 */
static void test_save_context__unfit_requests__codes(void **state)
{
    static const uint32_t types[] = {0,         TPM_RT_HASH, TPM_RT_CONTEXT, TPM_RT_COUNTER, TPM_RT_DELEGATE,
                                     0xFFFFFFFF};
    struct tc *tc = *state;
    uint32_t key = load(tc, 5, 0);

    for (size_t i = 0; i < VT_COUNT(types); i++)
        assert_int_equal(save(tc, types[i], key, NULL), TPM_INVALID_RESOURCE);
    assert_int_equal(save(tc, TPM_RT_AUTH, key, NULL), TPM_INVALID_RESOURCE);
    assert_int_equal(save(tc, TPM_RT_KEY, 0, NULL), TPM_INVALID_RESOURCE);
    assert_int_equal(save(tc, TPM_RT_KEY, TPM_KH_SRK, NULL), TPM_INVALID_RESOURCE);
    key_find(tc->tpm, key)->owner_evict = true;
    assert_int_equal(save(tc, TPM_RT_KEY, key, NULL), TPM_OWNER_CONTROL);
}

static void test_load_context__no_room__resources_and_the_context_stays_good(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc *tc = *state;
    struct saved session, key_context;
    uint32_t key = load(tc, 5, 0);
    struct tc_session s;

    tc->no_freeze = true;
    assert_int_equal(save(tc, TPM_RT_KEY, key, &key_context), TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(save(tc, TPM_RT_AUTH, s.handle, &session), TPM_SUCCESS);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(load_context(tc, &session, false, 0), TPM_RESOURCES);
    assert_int_equal(owner_command(tc, &s), TPM_SUCCESS);
    assert_int_equal(sk_flush(tc, s.handle, TPM_RT_AUTH), TPM_SUCCESS);
    assert_int_equal(load_context(tc, &session, false, 0), TPM_SUCCESS);
    for (unsigned i = 1; i < 20; i++)
        assert_int_equal(load_context(tc, &key_context, false, 0), TPM_SUCCESS);
    assert_int_equal(load_context(tc, &key_context, false, 0), TPM_NOSPACE);
}

/* ---- Version 1.1's ---- */

static tpm_rc save_key_11(struct tc *tc, uint32_t handle, struct saved *out)
{
    struct save_key_context_out made = {{0}};
    tpm_rc rc = TC(tc, TPM_ORD_SaveKeyContext, NULL, &made, .handles = {handle});

    out->len = made.key_context_blob.len;
    if (!rc)
        memcpy(out->bytes, made.key_context_blob.data, out->len);
    return rc;
}

static tpm_rc load_key_11(struct tc *tc, const struct saved *saved)
{
    struct load_key_context_in in = {.key_context_blob = {.len = saved->len, .data = saved->bytes}};

    return TC(tc, TPM_ORD_LoadKeyContext, &in, NULL);
}

static tpm_rc save_auth_11(struct tc *tc, uint32_t handle, struct saved *out)
{
    struct save_auth_context_out made = {{0}};
    tpm_rc rc = TC(tc, TPM_ORD_SaveAuthContext, NULL, &made, .handles = {handle});

    out->len = made.auth_context_blob.len;
    if (!rc)
        memcpy(out->bytes, made.auth_context_blob.data, out->len);
    return rc;
}

static tpm_rc load_auth_11(struct tc *tc, const struct saved *saved)
{
    struct load_auth_context_in in = {.auth_context_blob = {.len = saved->len, .data = saved->bytes}};

    return TC(tc, TPM_ORD_LoadAuthContext, &in, NULL);
}

/*= p3:27.2.1 p3:27.2.2 */
static void test_key_context_11__unloads_and_is_good_until_a_start(void **state)
{
    struct tc *tc = *state;
    uint32_t key = load(tc, 5, 0);
    struct saved saved, other;

    assert_int_equal(save_key_11(tc, 0x01777777, &saved), TPM_INVALID_KEYHANDLE);
    assert_int_equal(save_key_11(tc, key, &saved), TPM_SUCCESS);
    assert_int_equal(use(tc, key), TPM_INVALID_KEYHANDLE);
    assert_int_equal(load_key_11(tc, &saved), TPM_SUCCESS);
    assert_int_equal(tc->out_handle, key);
    assert_int_equal(use(tc, key), TPM_SUCCESS);
    assert_int_equal(save(tc, TPM_RT_KEY, key, &other), TPM_SUCCESS);
    assert_int_equal(load_key_11(tc, &other), TPM_BADCONTEXT);
    assert_int_equal(load_auth_11(tc, &saved), TPM_BAD_PARAMETER);
    assert_int_equal(TC(tc, TPM_ORD_SaveState, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(tc_reboot(tc, TPM_ST_STATE), TPM_SUCCESS);
    assert_int_equal(load_key_11(tc, &saved), TPM_BADCONTEXT);
    key_find(tc->tpm, key)->owner_evict = true;
    assert_int_equal(save_key_11(tc, key, &saved), TPM_OWNER_CONTROL);
}

/*= p3:27.2.3 p3:27.2.4 */
static void test_auth_context_11__session__once(void **state)
{
    struct vt_auth owner = SPEC_OWNER, secret = KEY;
    struct tc *tc = *state;
    struct saved saved;
    struct tc_session s;
    uint32_t key = load(tc, 5, 0);

    assert_int_equal(save_auth_11(tc, 0x02777777, &saved), TPM_INVALID_AUTHHANDLE);
    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(save_auth_11(tc, s.handle, &saved), TPM_SUCCESS);
    assert_int_equal(save_auth_11(tc, s.handle, &saved), TPM_INVALID_AUTHHANDLE);
    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(save_auth_11(tc, s.handle, &saved), TPM_SUCCESS);
    assert_int_equal(load_auth_11(tc, &saved), TPM_SUCCESS);
    assert_int_equal(tc->out_handle, s.handle);
    assert_int_equal(load_auth_11(tc, &saved), TPM_BADCONTEXT);
    assert_int_equal(owner_command(tc, &s), TPM_SUCCESS);
    /* The key of an OSAP session is looked for. */
    assert_int_equal(tc_osap(tc, &s, TPM_ET_KEYHANDLE, key, &secret), TPM_SUCCESS);
    assert_int_equal(save_auth_11(tc, s.handle, &saved), TPM_SUCCESS);
    assert_int_equal(sk_flush(tc, key, TPM_RT_KEY), TPM_SUCCESS);
    assert_int_equal(load_auth_11(tc, &saved), TPM_RESOURCEMISSING);
    (void)load(tc, 5, 0);
    assert_int_equal(load_auth_11(tc, &saved), TPM_SUCCESS);
}

/* They need no owner, and must not be forgeable then: what seals them is never zeros. */
static void test_auth_context_11__without_owner__works(void **state)
{
    struct vt_auth secret = tc_secret("operator");
    struct tc *tc = *state;
    struct saved saved;
    struct tc_session s;

    assert_int_equal(tc_oiap(tc, &s, &secret), TPM_SUCCESS);
    assert_int_equal(save_auth_11(tc, s.handle, &saved), TPM_SUCCESS);
    assert_int_equal(load_auth_11(tc, &saved), TPM_SUCCESS);
    assert_false(spec_all(tc->tpm->perm.context_key.bytes, TPM_DIGEST_LEN, 0));
}

/*= p3:27.5#1 p3:27.5#2 p3:27.5#3 p3:27.5#4 */
static void test_reset__sessions_and_11_contexts__gone_others_stay(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc *tc = *state;
    uint32_t key = load(tc, 5, 0), old = load(tc, 4, 0);
    struct saved saved_11, saved_12, key_11;
    struct tc_session a, b, s;

    assert_int_equal(spec_extend(tc, 10, 1), TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &a, &owner), TPM_SUCCESS);
    assert_int_equal(save_auth_11(tc, a.handle, &saved_11), TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &b, &owner), TPM_SUCCESS);
    assert_int_equal(save(tc, TPM_RT_AUTH, b.handle, &saved_12), TPM_SUCCESS);
    assert_int_equal(save_key_11(tc, old, &key_11), TPM_SUCCESS);
    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Reset, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(owner_command(tc, &s), TPM_INVALID_AUTHHANDLE);
    assert_int_equal(load_auth_11(tc, &saved_11), TPM_BADCONTEXT);
    assert_int_equal(load_key_11(tc, &key_11), TPM_BADCONTEXT);
    assert_int_equal(spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_CONTEXT), 127);
    assert_int_equal(load_context(tc, &saved_12, true, 0), TPM_SUCCESS);
    assert_int_equal(owner_command(tc, &b), TPM_SUCCESS);
    assert_int_equal(use(tc, key), TPM_SUCCESS);
    assert_false(spec_all(tc->tpm->stclear.pcr[10], TPM_DIGEST_LEN, 0));
}

#define T(f)       cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)
#define UNOWNED(f) cmocka_unit_test_setup_teardown(f, spec_setup, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_key_control__kept_key__survives_starts_until_let_go),
        T(test_key_control__owner_evict_limit__nospace),
        T(test_key_control__unfit_requests__codes),
        T(test_context__key__copies_load_as_often_as_wanted),
        T(test_context__key__secrets_encrypted),
        T(test_context__volatile_key__not_after_a_start),
        T(test_context__session__outside_or_inside_and_once),
        T(test_context__session_after_a_start__badcontext),
        T(test_context__osap_session__needs_its_entity_as_it_was),
        T(test_context__owners_session_after_change_auth_owner__resourcemissing),
        T(test_context__session_of_an_area_redefined__resourcemissing),
        T(test_context__any_byte_altered__refused),
        T(test_context__of_another_owner__refused),
        T(test_context__counts__all_places_taken_and_the_last_count),
        T(test_save_context__unfit_requests__codes),
        T(test_load_context__no_room__resources_and_the_context_stays_good),
        T(test_key_context_11__unloads_and_is_good_until_a_start),
        T(test_auth_context_11__session__once),
        UNOWNED(test_auth_context_11__without_owner__works),
        T(test_reset__sessions_and_11_contexts__gone_others_stay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

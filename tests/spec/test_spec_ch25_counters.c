/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, chapters 23 and 25: ticks and counters. */
#include "tests/lib/fixture_keys.h"
#include "tests/spec/spec_keys.h"

#define COUNT tc_secret("count")

static tpm_rc create(struct tc *tc, const char label[4], struct create_counter_out *out)
{
    struct vt_auth owner = SPEC_OWNER, auth = COUNT;
    struct create_counter_in in;
    struct tc_session s;
    tpm_rc rc;

    memcpy(in.label.bytes, label, 4);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    tc_encrypt_auth(&s, false, false, &auth, &in.enc_auth);
    rc = TC(tc, TPM_ORD_CreateCounter, &in, out, .auth = {&s});
    /* 2. */
    if (!rc)
        assert_int_equal(s.handle, 0);
    return rc;
}

static uint32_t created(struct tc *tc)
{
    struct create_counter_out out;

    assert_int_equal(create(tc, "abcd", &out), TPM_SUCCESS);
    return out.count_id;
}

static tpm_rc increment(struct tc *tc, uint32_t id, uint32_t *value)
{
    struct increment_counter_in in = {.count_id = id};
    struct increment_counter_out out = {.count = {.counter = 0}};
    struct vt_auth auth = COUNT;
    tpm_rc rc = spec_one(tc, TPM_ORD_IncrementCounter, &in, &out, 0, &auth);

    if (value)
        *value = out.count.counter;
    return rc;
}

static tpm_rc read_value(struct tc *tc, uint32_t id, struct tpm_counter_value *value)
{
    struct read_counter_in in = {.count_id = id};
    struct read_counter_out out = {.count = {.counter = 0}};
    tpm_rc rc = TC(tc, TPM_ORD_ReadCounter, &in, &out);

    if (value)
        *value = out.count;
    return rc;
}

static tpm_rc release(struct tc *tc, uint32_t id)
{
    struct release_counter_in in = {.count_id = id};
    struct vt_auth auth = COUNT;

    return spec_one(tc, TPM_ORD_ReleaseCounter, &in, NULL, 0, &auth);
}

static tpm_rc release_owner(struct tc *tc, uint32_t id, const struct vt_auth *owner)
{
    struct release_counter_owner_in in = {.count_id = id};

    return spec_one(tc, TPM_ORD_ReleaseCounterOwner, &in, NULL, 0, owner);
}

/*= p3:25.1#5 p3:25.1#6 p3:25.1#7 p3:25.1#8 p3:25.2#3 p3:25.3#2 */
static void test_counter__life__values_only_grow(void **state)
{
    struct create_counter_out a, b;
    struct tpm_counter_value value;
    struct tc *tc = *state;
    uint32_t now;

    assert_int_equal(create(tc, "aaaa", &a), TPM_SUCCESS);
    assert_memory_equal(a.counter_value.label.bytes, "aaaa", 4);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(increment(tc, a.count_id, &now), TPM_SUCCESS);
        assert_int_equal(now, a.counter_value.counter + i);
    }
    assert_int_equal(read_value(tc, a.count_id, &value), TPM_SUCCESS);
    assert_int_equal(value.counter, now);
    /* A new one begins past all that were. */
    assert_int_equal(create(tc, "bbbb", &b), TPM_SUCCESS);
    assert_int_equal(b.counter_value.counter, now + 1);
    assert_int_not_equal(b.count_id, a.count_id);
    assert_int_equal(release(tc, b.count_id), TPM_SUCCESS);
    assert_int_equal(create(tc, "cccc", &b), TPM_SUCCESS);
    assert_int_equal(b.counter_value.counter, now + 2);
}

/*= p3:25.2#1 p3:25.2#2 */
static void test_counter__second_one_after_a_start__bad_counter(void **state)
{
    struct tc *tc = *state;
    uint32_t a = created(tc), b = created(tc);

    assert_int_equal(spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_ACTIVE_COUNTER), 0xFFFFFFFF);
    assert_int_equal(increment(tc, b, NULL), TPM_SUCCESS);
    assert_int_equal(spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_ACTIVE_COUNTER), b);
    assert_int_equal(increment(tc, a, NULL), TPM_BAD_COUNTER);
    assert_int_equal(increment(tc, b, NULL), TPM_SUCCESS);
    /* A resume changes nothing, a start does. */
    assert_int_equal(TC(tc, TPM_ORD_SaveState, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(tc_reboot(tc, TPM_ST_STATE), TPM_SUCCESS);
    assert_int_equal(increment(tc, a, NULL), TPM_BAD_COUNTER);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(increment(tc, a, NULL), TPM_SUCCESS);
}

/*= p3:25.4#2 p3:25.4#4 p3:25.5#3 p3:25.5#5 */
static void test_counter__active_one_released__none_until_the_next_start(void **state)
{
    struct vt_auth owner = SPEC_OWNER;
    struct tc *tc = *state;

    for (unsigned by_owner = 0; by_owner < 2; by_owner++) {
        uint32_t a = created(tc), b = created(tc);

        assert_int_equal(increment(tc, a, NULL), TPM_SUCCESS);
        assert_int_equal(by_owner ? release_owner(tc, a, &owner) : release(tc, a), TPM_SUCCESS);
        assert_int_equal(read_value(tc, a, NULL), TPM_BAD_COUNTER);
        assert_int_equal(increment(tc, a, NULL), TPM_BAD_COUNTER);
        assert_int_equal(increment(tc, b, NULL), TPM_BAD_COUNTER);
        assert_int_equal(spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_ACTIVE_COUNTER), 0xFFFFFFFF);
        /* Also not one in its place. */
        assert_int_equal(created(tc), a);
        assert_int_equal(increment(tc, a, NULL), TPM_BAD_COUNTER);
        assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
        assert_int_equal(increment(tc, b, NULL), TPM_SUCCESS);
        assert_int_equal(release(tc, a), TPM_SUCCESS);
        assert_int_equal(release(tc, b), TPM_SUCCESS);
        assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    }
}

/*= p3:25.4#3 p3:25.5#4 p3:18.2 */
static void test_counter__osap_session__ends_with_it(void **state)
{
    struct vt_auth auth = COUNT;
    struct tc *tc = *state;
    uint32_t id = created(tc);
    struct increment_counter_in in = {.count_id = id};
    struct release_counter_in gone = {.count_id = id};
    struct tc_session s, other;

    assert_int_equal(tc_osap(tc, &s, TPM_ET_COUNTER, id, &auth), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &other, TPM_ET_COUNTER, id, &auth), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_IncrementCounter, &in, NULL, .auth = {&s}), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_ReleaseCounter, &gone, NULL, .auth = {&s}), TPM_SUCCESS);
    assert_int_equal(s.handle, 0);
    assert_int_equal(created(tc), id);
    assert_int_equal(TC(tc, TPM_ORD_ReleaseCounter, &gone, NULL, .auth = {&other}), TPM_INVALID_AUTHHANDLE);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_COUNTER, 77, &auth), TPM_BAD_COUNTER);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_COUNTER, 0xFFFFFFFF, &auth), TPM_BAD_COUNTER);
}

/*= p3:25.1#1 p3:25.1#4 p3:25.2 p3:25.3#1 p3:25.4#1 p3:25.5#1 p3:25.5#2 */
static void test_counter__unfit_requests__codes(void **state)
{
    struct vt_auth owner = SPEC_OWNER, wrong = tc_secret("wrong");
    struct create_counter_in in = {.label = {{0}}};
    struct tc *tc = *state;
    struct increment_counter_in inc = {.count_id = created(tc)};
    struct release_counter_in rel = {.count_id = inc.count_id};
    struct create_counter_out out;
    struct tc_session s;

    assert_int_equal(spec_one(tc, TPM_ORD_CreateCounter, &in, NULL, 0, &owner), TPM_BAD_MODE);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, 0, &wrong), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_CreateCounter, &in, NULL, .auth = {&s}), TPM_AUTHFAIL);
    assert_int_equal(spec_one(tc, TPM_ORD_IncrementCounter, &inc, NULL, 0, &wrong), TPM_AUTHFAIL);
    assert_int_equal(spec_one(tc, TPM_ORD_ReleaseCounter, &rel, NULL, 0, &wrong), TPM_AUTHFAIL);
    assert_int_equal(release_owner(tc, inc.count_id, &wrong), TPM_AUTHFAIL);
    tc->now_us += UINT64_C(100000000000);
    assert_int_equal(release_owner(tc, 7, &owner), TPM_BAD_COUNTER);
    assert_int_equal(release(tc, 0xFFFFFFFF), TPM_BAD_COUNTER);
    assert_int_equal(increment(tc, 16, NULL), TPM_BAD_COUNTER);
    assert_int_equal(read_value(tc, 1, NULL), TPM_BAD_COUNTER);
    /* The profile has room for eight. */
    for (unsigned i = 1; i < 8; i++)
        (void)created(tc);
    assert_int_equal(spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_COUNTERS), 0);
    assert_int_equal(create(tc, "last", &out), TPM_RESOURCES);
}

/* The end of the number line: never back to smaller values. */
static void test_counter__at_its_end__resources(void **state)
{
    struct create_counter_out out;
    struct tc *tc = *state;
    uint32_t id = created(tc), value;

    tc->tpm->perm.counters[id].value.counter = 0xFFFFFFFE;
    tc->tpm->perm.counter_highest = 0xFFFFFFFE;
    assert_int_equal(increment(tc, id, &value), TPM_SUCCESS);
    assert_int_equal(value, 0xFFFFFFFF);
    assert_int_equal(increment(tc, id, NULL), TPM_RESOURCES);
    assert_int_equal(create(tc, "more", &out), TPM_RESOURCES);
}

/* Part 3, 6.2#11: with the owner go his counters; what they counted stays. */
static void test_counter__owner_cleared__gone_but_not_forgotten(void **state)
{
    struct tc *tc = *state;
    uint32_t id = created(tc), highest;

    assert_int_equal(increment(tc, id, &highest), TPM_SUCCESS);
    tpm_clear_owner(tc->tpm);
    assert_int_equal(tc->tpm->perm.counter_highest, highest);
    assert_false(tc->tpm->perm.counters[id].used);
    assert_int_equal(tc->tpm->stclear.counter_id, COUNTER_NONE);
}

/* ---- Ticks ---- */

/*= p3:23.1 */
static void test_ticks__time_passes__microseconds_since_startup(void **state)
{
    struct get_ticks_out a, b;
    struct tc *tc = *state;

    tc->now_us += 5;
    assert_int_equal(TC(tc, TPM_ORD_GetTicks, NULL, &a), TPM_SUCCESS);
    tc->now_us += 1234567;
    assert_int_equal(TC(tc, TPM_ORD_GetTicks, NULL, &b), TPM_SUCCESS);
    assert_int_equal(b.current_time.current_ticks - a.current_time.current_ticks, 1234567);
    assert_int_equal(a.current_time.tick_rate, 1);
    assert_memory_equal(&a.current_time.tick_nonce, &b.current_time.tick_nonce, TPM_DIGEST_LEN);
    /* Another tick session has another nonce, after a resume, too. */
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_GetTicks, NULL, &b), TPM_SUCCESS);
    assert_int_equal(b.current_time.current_ticks, 0);
    assert_memory_not_equal(&a.current_time.tick_nonce, &b.current_time.tick_nonce, TPM_DIGEST_LEN);
    assert_int_equal(TC(tc, TPM_ORD_SaveState, NULL, NULL), TPM_SUCCESS);
    assert_int_equal(tc_reboot(tc, TPM_ST_STATE), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_GetTicks, NULL, &a), TPM_SUCCESS);
    assert_memory_not_equal(&a.current_time.tick_nonce, &b.current_time.tick_nonce, TPM_DIGEST_LEN);
}

/*= p3:23.2#5 p3:23.2#6 p3:23.2#7 */
static void test_tick_stamp__signing_key__signature_of_time_and_digest(void **state)
{
    struct tick_stamp_blob_in in = {.anti_replay = {{9}}, .digest_to_stamp = {{8}}};
    struct vt_auth secret = tc_secret("sign");
    struct tick_stamp_blob_out out;
    struct tc *tc = *state;
    uint32_t key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
    uint8_t bytes[128], digest[TPM_DIGEST_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);
    size_t begin;

    tc->now_us += 77;
    assert_int_equal(spec_one(tc, TPM_ORD_TickStampBlob, &in, &out, key, &secret), TPM_SUCCESS);
    assert_int_equal(out.current_ticks.current_ticks, 77);
    wr_put16(&w, TPM_TAG_SIGNINFO);
    wr_copy(&w, "TSTP", 4);
    wr_nonce(&w, &in.anti_replay);
    begin = wr_sized_begin(&w);
    wr_digest(&w, &in.digest_to_stamp);
    wr_current_ticks(&w, &out.current_ticks);
    wr_sized_end(&w, begin);
    assert_false(w.bad);
    cr_sha1(digest, bytes, w.len);
    assert_true(spec_signed(&fixture_rsa_key(2048, 7)->pub, digest, &out.sig));
}

/*= p3:23.2#1 p3:23.2#2 p3:23.2#3 */
static void test_tick_stamp__unfit_requests__codes(void **state)
{
    struct tick_stamp_blob_in in = {.anti_replay = {{9}}};
    struct vt_auth srk = SPEC_SRK, secret = tc_secret("sign");
    struct tc *tc = *state;
    struct tpm_key_obj der = spec_key(7, TPM_KEY_SIGNING, &secret);
    uint32_t key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
    uint32_t free_key = spec_load_signing_key(tc, &secret, TPM_AUTH_NEVER);

    assert_int_equal(spec_one(tc, TPM_ORD_TickStampBlob, &in, NULL, TPM_KH_SRK, &srk), TPM_INVALID_KEYUSAGE);
    der.sig_scheme = TPM_SS_RSASSAPKCS1v15_DER;
    assert_int_equal(spec_one(tc, TPM_ORD_TickStampBlob, &in, NULL, spec_insert(tc, &der), &secret),
                     TPM_INAPPROPRIATE_SIG);
    assert_int_equal(spec_one(tc, TPM_ORD_TickStampBlob, &in, NULL, key, &srk), TPM_AUTHFAIL);
    assert_int_equal(TC(tc, TPM_ORD_TickStampBlob, &in, NULL, .handles = {key}), TPM_AUTHFAIL);
    assert_int_equal(TC(tc, TPM_ORD_TickStampBlob, &in, NULL, .handles = {free_key}), TPM_SUCCESS);
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_counter__life__values_only_grow),
        T(test_counter__second_one_after_a_start__bad_counter),
        T(test_counter__active_one_released__none_until_the_next_start),
        T(test_counter__osap_session__ends_with_it),
        T(test_counter__unfit_requests__codes),
        T(test_counter__at_its_end__resources),
        T(test_counter__owner_cleared__gone_but_not_forgotten),
        T(test_ticks__time_passes__microseconds_since_startup),
        T(test_tick_stamp__signing_key__signature_of_time_and_digest),
        T(test_tick_stamp__unfit_requests__codes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Profiles by name and by limits, and what can be read of them in permanent state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "server/core/profile.h"

/* A request with up to three limits. */
struct asked {
    Vtpm__InstanceCreate create;
    Vtpm__Limit rows[20], *list[20];
    char texts[21][64];
};

static void ask(struct asked *a, const char *profile)
{
    vtpm__instance_create__init(&a->create);
    snprintf(a->texts[20], sizeof a->texts[20], "%s", profile);
    a->create.profile = a->texts[20];
    a->create.limits = a->list;
}

static void limit(struct asked *a, const char *name, int64_t value, bool is_truth)
{
    size_t at = a->create.n_limits++;

    vtpm__limit__init(&a->rows[at]);
    snprintf(a->texts[at], sizeof a->texts[at], "%s", name);
    a->rows[at].name = a->texts[at];
    a->rows[at].value = value;
    a->rows[at].is_truth = is_truth;
    a->list[at] = &a->rows[at];
}

static void test_built_in__each__is_valid_and_has_its_limits(void **state)
{
    struct vt_why why = {{0}};
    struct tpm_profile profile;
    struct asked a;
    const char *name;
    size_t count = 0;

    (void)state;
    for (; tpm_profile_name(count); count++) {
        ask(&a, tpm_profile_name(count));
        assert_int_equal(profile_of_request(&a.create, &name, &profile, &why), VT_OK);
        assert_string_equal(name, tpm_profile_name(count));
        assert_int_equal(tpm_profile_check(&profile, &why), VT_OK);
        assert_false(profile.maintenance);
    }
    assert_int_equal(count, 2);
    ask(&a, "");
    assert_int_equal(profile_of_request(&a.create, &name, &profile, &why), VT_OK);
    assert_string_equal(name, "pc-client");
    assert_int_equal(profile.nv_bytes, 28 * 1024);
}

static void test_limits__each__first_and_last_value_and_not_beyond(void **state)
{
    const struct tpm_limit *one;
    struct tpm_profile profile;

    (void)state;
    for (size_t i = 0; (one = tpm_limit(i)); i++) {
        struct vt_why why = {{0}};
        int64_t least = one->least;

        tpm_profile_pc_client(&profile);
        assert_int_equal(tpm_limit_set(&profile, one->name, least, one->is_truth, &why), VT_OK);
        assert_int_equal(tpm_limit_get(&profile, i), least);
        assert_int_equal(tpm_limit_set(&profile, one->name, one->most, one->is_truth, &why), VT_OK);
        assert_int_equal(tpm_limit_get(&profile, i), one->most);
        for (size_t k = 0; tpm_limit(k); k++) {
            struct tpm_profile standard;

            tpm_profile_pc_client(&standard);
            assert_int_equal(tpm_limit_get(&profile, k), k == i ? one->most : tpm_limit_get(&standard, k));
        }
        assert_int_equal(tpm_limit_set(&profile, one->name, least - 1, one->is_truth, &why), VT_EUSAGE);
        assert_non_null(strstr(why.text, one->name));
        assert_int_equal(tpm_limit_set(&profile, one->name, (int64_t)one->most + 1, one->is_truth, NULL), VT_EUSAGE);
        assert_int_equal(tpm_limit_set(&profile, one->name, (INT64_C(1) << 32) + 1, one->is_truth, NULL), VT_EUSAGE);
        assert_int_equal(tpm_limit_set(&profile, one->name, INT64_MIN, one->is_truth, NULL), VT_EUSAGE);
        assert_int_equal(tpm_limit_set(&profile, one->name, 1, !one->is_truth, NULL), VT_EUSAGE);
        assert_int_equal(tpm_limit_get(&profile, i), one->most);
    }
}

static void test_request__limits__texts_name_key_value_and_range(void **state)
{
    static const struct {
        const char *profile, *key;
        int64_t value;
        bool is_truth;
        const char *says[3];
    } rows[] = {
        {"mine", "counters", 17, false, {"counters", "17", "1 to 16"}},
        {"mine", "counters", 0, false, {"counters", "0", "1 to 16"}},
        {"mine", "counters", 1, true, {"counters", "true", "1 to 16"}},
        {"mine", "maintenance", 1, false, {"maintenance", "1", "true or false"}},
        {"mine", "counter", 1, false, {"counter", "limit", ""}},
        {"mine", "owner_evict_slots", 20, false, {"owner_evict_slots is 20", "key_slots is 20", "at most 18"}},
        {"large", "counters", 2, false, {"large", "built in", ""}},
        {"pc-client", "counters", 2, false, {"pc-client", "built in", ""}},
        {"", "counters", 2, false, {"pc-client", "built in", ""}},
        {"no name", "counters", 2, false, {"no name", "32", ""}},
        {"123456789012345678901234567890123", "counters", 2, false, {"123456", "32", ""}},
    };
    struct tpm_profile profile;
    const char *name;
    struct asked a;

    (void)state;
    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        struct vt_why why = {{0}};

        ask(&a, rows[i].profile);
        limit(&a, rows[i].key, rows[i].value, rows[i].is_truth);
        assert_int_equal(profile_of_request(&a.create, &name, &profile, &why), VT_EUSAGE);
        for (size_t k = 0; k < 3; k++)
            if (!strstr(why.text, rows[i].says[k]))
                fail_msg("row %zu: no \"%s\" in: %s", i, rows[i].says[k], why.text);
    }
}

static void test_request__limits__taken_the_others_are_pc_clients(void **state)
{
    struct tpm_profile profile;
    struct vt_why why = {{0}};
    const char *name;
    struct asked a;

    (void)state;
    ask(&a, "12345678901234567890123456789012");
    limit(&a, "counters", 3, false);
    limit(&a, "maintenance", 1, true);
    assert_int_equal(profile_of_request(&a.create, &name, &profile, &why), VT_OK);
    assert_int_equal(profile.counters, 3);
    assert_true(profile.maintenance);
    assert_int_equal(profile.auth_sessions, 16);
    limit(&a, "counters", 4, false);
    assert_int_equal(profile_of_request(&a.create, &name, &profile, &why), VT_EUSAGE);
    assert_non_null(strstr(why.text, "twice"));
}

static void test_rows__a_profile__all_its_limits(void **state)
{
    Vtpm__Limit rows[PROFILE_LIMITS_MAX], *list[PROFILE_LIMITS_MAX];
    struct tpm_profile profile;
    size_t count;

    (void)state;
    assert_true(tpm_profile_named("large", &profile));
    count = profile_rows(&profile, rows, list);
    assert_int_equal(count, 11);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(list[i]->name, tpm_limit(i)->name);
        assert_int_equal(list[i]->value, tpm_limit_get(&profile, i));
    }
}

/* ---- What the broker reads of permanent state ---- */

static size_t freeze_head(uint8_t *out, size_t cap, const struct tpm_profile *profile)
{
    struct wr w = wr_to(out, cap);

    wr_copy(&w, "VTPM", 4);
    wr_put16(&w, 3);
    wr_copy(&w, "PROF", 4);
    wr_put32(&w, TPM_PROFILE_BYTES + 64);
    tpm_profile_write(&w, profile);
    assert_false(w.bad);
    return w.len;
}

static void test_profile_of__bytes__only_a_profile_that_can_be(void **state)
{
    struct tpm_profile profile, back;
    uint8_t bytes[64];
    size_t len;

    (void)state;
    assert_true(tpm_profile_named("large", &profile));
    len = freeze_head(bytes, sizeof bytes, &profile);
    assert_true(tpm_profile_of(bytes, len, &back));
    assert_memory_equal(&back.nv_bytes, &profile.nv_bytes, sizeof back.nv_bytes);
    assert_int_equal(back.key_slots, profile.key_slots);
    for (size_t cut = 0; cut < len; cut++)
        assert_false(tpm_profile_of(bytes, cut, &back));
    bytes[0] ^= 1;
    assert_false(tpm_profile_of(bytes, len, &back));
    bytes[0] ^= 1;
    bytes[6] ^= 1;
    assert_false(tpm_profile_of(bytes, len, &back));
    bytes[6] ^= 1;
    bytes[len - 1] = 2; /* maintenance */
    assert_false(tpm_profile_of(bytes, len, &back));
    profile.key_slots = 49;
    len = freeze_head(bytes, sizeof bytes, &profile);
    assert_false(tpm_profile_of(bytes, len, &back));
    assert_false(tpm_profile_of(NULL, 0, &back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_built_in__each__is_valid_and_has_its_limits),
        cmocka_unit_test(test_limits__each__first_and_last_value_and_not_beyond),
        cmocka_unit_test(test_request__limits__texts_name_key_value_and_range),
        cmocka_unit_test(test_request__limits__taken_the_others_are_pc_clients),
        cmocka_unit_test(test_rows__a_profile__all_its_limits),
        cmocka_unit_test(test_profile_of__bytes__only_a_profile_that_can_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

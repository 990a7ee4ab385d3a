/* SPDX-License-Identifier: Apache-2.0 */
/* A TPM that swtpm kept: what is taken over, and what is refused and how. (Real files: tests/integration.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/base/alloc.h"
#include "server/engine/delegate.h"
#include "server/engine/profile.h"
#include "server/engine/swtpm.h"
#include "tests/unit/make_swtpm.h"

static const uint8_t key_128[16] = "0123456789abcdef";
static struct swtpm_parts full = {
    .owned = true, .flags = 0x0008102, .owner_keys = 2, .handles = {0x00000005, 0xC0000001}, .counters = {7, 0, 900, 8},
    .counters_used = 0x9, .families_used = 0x8001, .delegations_used = 0x8, .no_owner_writes = 3, .owner_auth = 0x6F,
    .area_count = 3, .areas = {{0x1000F000, 900, false}, {0x11001, 32, false}, {0x11002, 8, true}},
};

struct outcome {
    int err;
    struct tpm *tpm;
    struct tpm_swtpm_facts facts;
    struct vt_why why;
};

static struct outcome take_file(const uint8_t *file, size_t len, const struct tpm_swtpm_key *key,
                                const struct tpm_profile *profile)
{
    static const uint8_t seed[CR_DRBG_SEED] = {1};
    const struct tpm_swtpm_key none = {0};
    struct tpm_profile pc_client;
    struct outcome o = {0};

    tpm_profile_pc_client(&pc_client);
    o.err = tpm_from_swtpm(&o.tpm, profile ? profile : &pc_client, seed, file, len, key ? key : &none, NULL, &o.facts, &o.why);
    /* A reason with each refusal, and never half a TPM. */
    assert_true((o.err == VT_OK) == (o.tpm != NULL) && (o.err == VT_OK) == (o.why.text[0] == '\0'));
    return o;
}

static struct outcome take_state(const uint8_t *state, size_t len, const struct tpm_profile *profile)
{
    static uint8_t file[MAKE_SWTPM_MAX];

    return take_file(file, make_swtpm_file(file, state, len, NULL), NULL, profile);
}

static struct outcome take(const struct swtpm_parts *parts, const struct tpm_profile *profile)
{
    static uint8_t state[MAKE_SWTPM_MAX];

    return take_state(state, make_swtpm_state(state, parts), profile);
}

static void refused(const struct outcome *o, int err, const char *text)
{
    if (o->err != err || !strstr(o->why.text, text))
        fail_msg("%d \"%s\", not %d with \"%s\"", o->err, o->why.text, err, text);
}

/* ---- What is taken over ---- */

static void expect_bytes(const void *bytes, uint8_t each, size_t len)
{
    for (size_t i = 0; i < len; i++)
        assert_int_equal(((const uint8_t *)bytes)[i], each);
}

static void test_state__with_everything__is_the_same_tpm(void **state)
{
    struct outcome o = take(&full, NULL);
    const struct permanent *perm;

    (void)state;
    assert_int_equal(o.err, VT_OK);
    perm = &o.tpm->perm;
    expect_bytes(perm->tpm_proof.bytes, 0x70, 20);
    expect_bytes(perm->owner_auth.bytes, 0x6F, 20);
    expect_bytes(perm->daa_seed.bytes, 0x73, 20);
    expect_bytes(perm->daa_proof.bytes, 0x72, 20);
    expect_bytes(perm->delegate_key.bytes, 2, 16);
    expect_bytes(perm->srk.key.usage_auth.bytes, 0x55, 20);
    assert_true(perm->owned && perm->has_ek && perm->flags.ownership && perm->flags.physical_presence_cmd_enable &&
                perm->flags.nv_locked);
    assert_false(perm->flags.disable || perm->flags.deactivated || perm->flags.enable_revoke_ek || perm->ek_revocable);
    assert_int_equal(perm->audit_counter, 5);
    assert_int_equal(perm->counters[3].value.counter, 8);
    assert_int_equal(perm->counter_highest, 900);
    assert_true(perm->counters[0].used && !perm->counters[2].used && perm->counters[3].used);
    assert_true(perm->families[0].used && perm->families[15].used && family_find(o.tpm, 16) == &perm->families[15].entry);
    assert_true(perm->delegates[3].used && !perm->delegates[0].used);
    assert_int_equal(perm->last_family_id, 16);
    assert_int_equal(perm->nv.no_owner_writes, 3);
    tpm_free(o.tpm);
}

static void test_state__with_everything__keys_and_nv_are_there(void **state)
{
    struct outcome o = take(&full, NULL);
    struct nv_area *bound;

    (void)state;
    assert_int_equal(o.err, VT_OK);
    assert_non_null(key_find(o.tpm, 0x00000005));
    assert_non_null(key_find(o.tpm, 0xC0000001));
    assert_true(key_find(o.tpm, 0xC0000001)->owner_evict);
    bound = nv_find(o.tpm, 0x11002);
    assert_non_null(bound);
    assert_true(tpm_pcr_selected(&bound->pub.pcr_info_read.pcr_selection, 10));
    expect_bytes(bound->pub.pcr_info_read.digest_at_release.bytes, 0x10, 20);
    expect_bytes(bound->auth.bytes, 0x61, 20);
    expect_bytes(nv_bytes(o.tpm, bound), 0x44, 8);
    expect_bytes(nv_bytes(o.tpm, nv_find(o.tpm, 0x1000F000)), 0x44, 900);
    assert_int_equal(nv_free_bytes(o.tpm), 28 * 1024 - 40); /* the certificate is beside */
    assert_int_equal(o.facts.nv_areas, 3);
    assert_int_equal(o.facts.nv_bytes, 940);
    assert_int_equal(o.facts.counters, 2);
    assert_int_equal(o.facts.owner_keys, 2);
    assert_int_equal(o.facts.families, 2);
    assert_int_equal(o.facts.delegations, 1);
    tpm_free(o.tpm);
}

static void test_state__without_owner_or_keys__is_as_new(void **state)
{
    struct swtpm_parts parts = {.no_ek = true, .no_srk = true, .flags = 0x5, .owner_auth = 9};
    struct outcome o = take(&parts, NULL);

    (void)state;
    assert_int_equal(o.err, VT_OK);
    assert_false(o.tpm->perm.has_ek || o.tpm->perm.owned);
    assert_true(o.facts.disabled && o.facts.deactivated && !o.facts.has_ek && !o.facts.owned);
    expect_bytes(o.tpm->perm.owner_auth.bytes, 0, 20);
    tpm_free(o.tpm);
    /* The SRK of an owner who went is no secret to keep. */
    parts = (struct swtpm_parts){.owner_auth = 9};
    o = take(&parts, NULL);
    assert_int_equal(o.err, VT_OK);
    assert_int_equal(o.tpm->perm.srk.handle, 0);
    tpm_free(o.tpm);
}

static void test_state__of_other_forms__is_taken(void **state)
{
    struct swtpm_parts parts = full;
    struct outcome o;

    (void)state;
    parts.nv_version = 1;
    parts.flags_version = 1;
    parts.key12 = true;
    o = take(&parts, NULL);
    assert_int_equal(o.err, VT_OK);
    assert_true(o.tpm->perm.srk.key.is_key12);
    tpm_free(o.tpm);
}

static void test_revocable_ek__flag_set__reset_secret_stays(void **state)
{
    struct swtpm_parts parts = full;
    struct outcome o;

    (void)state;
    parts.flags |= 1u << 14;
    o = take(&parts, NULL);
    assert_int_equal(o.err, VT_OK);
    assert_true(o.tpm->perm.ek_revocable);
    tpm_free(o.tpm);
}

/* ---- What is refused: the field, and the number ---- */

#define SPOIL(name, change)                                                                                  \
    static void name(struct swtpm_parts *p)                                                                  \
    {                                                                                                        \
        change;                                                                                              \
    }
SPOIL(other_version, p->state_tag = 2)
SPOIL(other_flags, p->flags_version = 3)
SPOIL(flag_too_many, p->flags |= 1u << 20)
SPOIL(flag_of_later, p->flags_version = 1; p->flags |= 1u << 19)
SPOIL(other_nv, p->nv_version = 3)
SPOIL(owner_without_srk, p->no_srk = true)
SPOIL(owner_without_ek, p->no_ek = true)
SPOIL(prime, p->wrong_prime = true)
SPOIL(digest, p->wrong_digest = true)
SPOIL(maintenance, p->maintenance_key = true)
SPOIL(handle_zero, p->handles[0] = 0)
SPOIL(handle_reserved, p->handles[0] = 0x40000001)
SPOIL(handle_twice, p->handles[1] = 5)
SPOIL(keys, p->owner_keys = 11)
SPOIL(delegation, p->delegation_type = 2)
SPOIL(writes, p->no_owner_writes = 65)
SPOIL(index_lock, p->areas[1].index = 0xFFFFFFFF)
SPOIL(index_zero, p->areas[1].index = 0)
SPOIL(index_dir, p->areas[1].index = 0x10000001)
SPOIL(index_twice, p->areas[1].index = 0x11002)
SPOIL(index_pins, p->areas[1].index = 0x11600)
SPOIL(nv_room, p->areas[1].size = 28 * 1024)

static const struct {
    void (*spoil)(struct swtpm_parts *parts);
    int err;
    const char *text;
} wrongs[] = {
    {other_version, VT_ENOTSUP, "the state's version at byte 0 of the TPM's state: 0x0002, and this server knows 0x0001"},
    {other_flags, VT_ENOTSUP, "TPM_PERMANENT_FLAGS at byte"},
    {flag_too_many, VT_ENOTSUP, "beyond the 20 that there are"},
    {flag_of_later, VT_ENOTSUP, "beyond the 19 that there are"},
    {other_nv, VT_ENOTSUP, "version 3, and this server knows 1 and 2"},
    {owner_without_srk, VT_EDAMAGED, "without a storage root key"},
    {owner_without_ek, VT_EDAMAGED, "without an endorsement key"},
    {prime, VT_EDAMAGED, "srk at byte 572 of the TPM's state: its prime does not belong to its modulus"},
    {digest, VT_EDAMAGED, "its private part belongs to another key"},
    {maintenance, VT_ENOTSUP, "manuMaintPub"},
    {handle_zero, VT_EDAMAGED, "its handle 0x00000000"},
    {handle_reserved, VT_EDAMAGED, "its handle 0x40000001"},
    {handle_twice, VT_EDAMAGED, "its handle 0x00000005"},
    {keys, VT_EUSAGE, "there are 11, and the profile's owner_evict_slots is 10"},
    {delegation, VT_EDAMAGED, "row 3 lends the authority of kind 2"},
    {writes, VT_EDAMAGED, "65, and at most 64 can be"},
    {index_lock, VT_EDAMAGED, "its index 0xffffffff"},
    {index_zero, VT_EDAMAGED, "its index 0x00000000"},
    {index_dir, VT_EDAMAGED, "its index 0x10000001"},
    {index_twice, VT_EDAMAGED, "its index 0x00011002"},
    {index_pins, VT_ENOTSUP, "index 0x00011600 stands for pins"},
    {nv_room, VT_EUSAGE, "index 0x00011002 wants 8 bytes more, of the profile's nv_bytes, which is 28672, 0 are left"},
};

static void test_state__that_cannot_be__refused_with_field_and_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < VT_COUNT(wrongs); i++) {
        struct swtpm_parts parts = full;
        struct outcome o;

        wrongs[i].spoil(&parts);
        o = take(&parts, NULL);
        refused(&o, wrongs[i].err, wrongs[i].text);
    }
}

static void test_profile__too_small__refused_with_the_limit(void **state)
{
    static const struct {
        const char *limit;
        uint32_t least;     /* that has room */
    } limits[] = {{"counters", 4}, {"family_rows", 16}, {"delegate_rows", 4}, {"owner_evict_slots", 2}, {"nv_bytes", 40}};

    (void)state;
    for (size_t i = 0; i < VT_COUNT(limits); i++) {
        struct tpm_profile profile;
        struct outcome o;

        tpm_profile_pc_client(&profile);
        assert_int_equal(tpm_limit_set(&profile, limits[i].limit, limits[i].least - 1, false, NULL), VT_OK);
        o = take(&full, &profile);
        refused(&o, VT_EUSAGE, limits[i].limit);
        refused(&o, VT_EUSAGE, "--profile");
        assert_int_equal(tpm_limit_set(&profile, limits[i].limit, limits[i].least, false, NULL), VT_OK);
        o = take(&full, &profile);
        assert_int_equal(o.err, VT_OK);
        tpm_free(o.tpm);
    }
}

/* ---- Bytes ---- */

static void test_state__cut_anywhere_and_signed__refused(void **state)
{
    static uint8_t whole[MAKE_SWTPM_MAX], cut[MAKE_SWTPM_MAX];
    const size_t len = make_swtpm_state(whole, &full);

    (void)state;
    for (size_t left = CR_SHA1_LEN; left < len; left += 1 + left / 128) {
        struct outcome o;

        memcpy(cut, whole, left);
        make_swtpm_sign(cut, left);
        o = take_state(cut, left, NULL);
        assert_int_not_equal(o.err, VT_OK);
    }
    memcpy(cut, whole, len);
    make_swtpm_sign(cut, len + 1);
    refused(&(struct outcome){.err = VT_EDAMAGED, .why = take_state(cut, len + 1, NULL).why}, VT_EDAMAGED, "the end at byte");
}

/* Taken or refused: take_file looks at both; what is taken was proved. */
static void test_state__each_byte_altered_and_signed__taken_or_refused(void **state)
{
    static uint8_t bytes[MAKE_SWTPM_MAX];
    struct swtpm_parts parts = full;
    unsigned taken = 0, not_taken = 0;
    size_t len;

    (void)state;
    parts.areas[0].size = 4;
    len = make_swtpm_state(bytes, &parts);
    for (size_t at = 0; at < len - CR_SHA1_LEN; at += 3) {
        struct outcome o;

        bytes[at] ^= 0x81;
        make_swtpm_sign(bytes, len);
        o = take_state(bytes, len, NULL);
        *(o.err ? &not_taken : &taken) += 1;
        tpm_free(o.tpm);
        bytes[at] ^= 0x81;
    }
    assert_true(taken && not_taken);
}

static void test_file__each_byte_altered__refused(void **state)
{
    static uint8_t whole[MAKE_SWTPM_MAX], file[MAKE_SWTPM_MAX];
    struct tpm_swtpm_key key = {.len = 16};

    (void)state;
    memcpy(key.bytes, key_128, 16);
    for (int encrypted = 0; encrypted <= 1; encrypted++) {
        size_t len = make_swtpm_file(file, whole, make_swtpm_state(whole, &full), encrypted ? key_128 : NULL);

        for (size_t at = 0; at < len; at++) {
            file[at] ^= (uint8_t)(1u << at % 8);
            assert_int_not_equal(take_file(file, len, encrypted ? &key : NULL, NULL).err, VT_OK);
            file[at] ^= (uint8_t)(1u << at % 8);
        }
        for (size_t left = 0; left < len; left += 1 + left / 64)
            assert_int_not_equal(take_file(file, left, encrypted ? &key : NULL, NULL).err, VT_OK);
    }
}

static void test_header__other_values__said(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
        int err;
        const char *text;
    } heads[] = {
        {0, 1, VT_ENOTSUP, "the version at byte 0 of the file: 1, and this server knows 2"},
        {1, 2, VT_ENOTSUP, "the least version at byte 1 of the file: 2"},
        {3, 11, VT_EDAMAGED, "the header's length at byte 2 of the file: 11, and it is 10"},
        {5, 2, VT_ENOTSUP, "on its way to another host"},
        {5, 8, VT_ENOTSUP, "the flags at byte 4 of the file: 0x0008"},
        {5, 1, VT_EDAMAGED, "part 1 is there, where it does not belong"},
        {6, 9, VT_EDAMAGED, "it was cut short or altered"},
        {11, 9, VT_EDAMAGED, "a part's tag at byte 10 of the file: 9"},
        {11, 3, VT_EDAMAGED, "part 1 is missing"},
        {15, 0, VT_EDAMAGED, "byte"},
    };
    static uint8_t whole[MAKE_SWTPM_MAX], file[MAKE_SWTPM_MAX];
    const size_t len = make_swtpm_file(file, whole, make_swtpm_state(whole, &full), NULL);

    (void)state;
    for (size_t i = 0; i < VT_COUNT(heads); i++) {
        uint8_t kept = file[heads[i].at];
        struct outcome o;

        file[heads[i].at] = heads[i].value;
        o = take_file(file, len, NULL, NULL);
        refused(&o, heads[i].err, heads[i].text);
        file[heads[i].at] = kept;
    }
}

static void test_encrypted__with_and_without_its_key(void **state)
{
    static uint8_t whole[MAKE_SWTPM_MAX], file[MAKE_SWTPM_MAX];
    const size_t len = make_swtpm_file(file, whole, make_swtpm_state(whole, &full), key_128);
    struct tpm_swtpm_key key = {.len = 16}, other = {.len = 16}, longer = {.len = 32};
    struct outcome o;

    (void)state;
    memcpy(key.bytes, key_128, 16);
    memcpy(longer.bytes, key_128, 16);
    o = take_file(file, len, &key, NULL);
    assert_int_equal(o.err, VT_OK);
    tpm_free(o.tpm);
    o = take_file(file, len, NULL, NULL);
    refused(&o, VT_EKEY, "the state is encrypted with a key of 128 bits");
    o = take_file(file, len, &other, NULL);
    refused(&o, VT_EKEY, "this is not the key, or the file was altered");
    o = take_file(file, len, &longer, NULL);
    refused(&o, VT_EKEY, "and the given one has 256");
    longer.derived = true;
    o = take_file(file, len, &longer, NULL);
    assert_int_equal(o.err, VT_OK);
    tpm_free(o.tpm);
    o = take_file(whole, make_swtpm_file(whole, file, 0, NULL), &key, NULL);
    refused(&o, VT_EKEY, "the state is not encrypted, and a key was given");
}

#ifdef VTPM_TEST_HOOKS
static void test_memory__short_at_any_time__refused_and_nothing_left(void **state)
{
    static uint8_t whole[MAKE_SWTPM_MAX], file[MAKE_SWTPM_MAX];
    const size_t len = make_swtpm_file(file, whole, make_swtpm_state(whole, &full), key_128);
    struct tpm_swtpm_key key = {.len = 16};
    struct outcome o = {.err = VT_ENOMEM};
    unsigned failed = 0;

    (void)state;
    memcpy(key.bytes, key_128, 16);
    for (long after = 0; o.err; after++) {
        (void)vt_alloc_fail_after(after);
        o = take_file(file, len, &key, NULL);
        (void)vt_alloc_fail_after(-1);
        failed += o.err != VT_OK;
        assert_true(after < 1000);
    }
    assert_true(failed > 3);
    tpm_free(o.tpm);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state__with_everything__is_the_same_tpm),
        cmocka_unit_test(test_state__with_everything__keys_and_nv_are_there),
        cmocka_unit_test(test_state__without_owner_or_keys__is_as_new),
        cmocka_unit_test(test_state__of_other_forms__is_taken),
        cmocka_unit_test(test_revocable_ek__flag_set__reset_secret_stays),
        cmocka_unit_test(test_state__that_cannot_be__refused_with_field_and_value),
        cmocka_unit_test(test_profile__too_small__refused_with_the_limit),
        cmocka_unit_test(test_state__cut_anywhere_and_signed__refused),
        cmocka_unit_test(test_state__each_byte_altered_and_signed__taken_or_refused),
        cmocka_unit_test(test_file__each_byte_altered__refused),
        cmocka_unit_test(test_header__other_values__said),
        cmocka_unit_test(test_encrypted__with_and_without_its_key),
#ifdef VTPM_TEST_HOOKS
        cmocka_unit_test(test_memory__short_at_any_time__refused_and_nothing_left),
#endif
    };

    if (cr_init())
        return 1;
    return cmocka_run_group_tests_name("swtpm", tests, NULL, NULL);
}

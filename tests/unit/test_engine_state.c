/* SPDX-License-Identifier: Apache-2.0 */
/* Frozen state: identity, determinism, damage. (Every command of every spec test freezes and thaws, too.) */
#include "server/base/alloc.h"
#include "server/engine/auth.h"
#include "server/engine/freeze.h"
#include "server/engine/profile.h"
#include "server/engine/transport.h"
#include "tests/spec/spec.h"

struct bytes {
    size_t permanent_len, volatile_len;
    uint8_t permanent[TPM_FROZEN_PERMANENT_MAX];
    uint8_t state[TPM_FROZEN_VOLATILE_MAX];
};

static struct bytes *freeze(const struct tpm *tpm)
{
    struct bytes *b = VT_NEW(struct bytes);

    assert_non_null(b);
    b->permanent_len = sizeof b->permanent;
    b->volatile_len = sizeof b->state;
    assert_int_equal(tpm_freeze_permanent(tpm, b->permanent, &b->permanent_len), VT_OK);
    assert_int_equal(tpm_freeze_volatile(tpm, b->state, &b->volatile_len), VT_OK);
    return b;
}

static int thaw(const struct bytes *b, struct tpm **tpm)
{
    struct vt_why why = {{0}};
    int err = tpm_thaw(tpm, b->permanent, b->permanent_len, b->state, b->volatile_len, NULL, &why);

    assert_true((err != VT_OK) == (why.text[0] != '\0'));
    assert_true((err != VT_OK) == (*tpm == NULL));
    return err;
}

/* A bit of everything that a TPM can hold. */
static struct tc *busy(void **state)
{
    struct vt_auth owner = SPEC_OWNER, secret = tc_secret("key");
    struct tc_session s;
    struct tc *tc = *state;
    uint32_t key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);

    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_KEYHANDLE, key, &secret), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER | TPM_ET_AES128_CTR << 8, 0, &owner), TPM_SUCCESS);
    assert_int_equal(spec_extend(tc, 2, 3), TPM_SUCCESS);
    assert_int_equal(tpm_hash_start(tc->tpm), TPM_SUCCESS);
    assert_int_equal(tpm_hash_data(tc->tpm, (const uint8_t *)"0123456789", 10), TPM_SUCCESS);
    tc->tpm->perm.counters[3] = (struct counter){.used = true, .value = {.counter = 9}};
    tc->tpm->perm.families[5] = (struct family_row){.used = true, .entry = {.family_id = 4}};
    tc->tpm->perm.delegates[1] = (struct delegate_row){.used = true, .pub = {.family_id = 4}};
    tc_check_frozen(tc);
    assert_int_equal(TC(tc, TPM_ORD_SaveState, NULL, NULL), TPM_SUCCESS);
    return tc;
}

static void test_thaw__truncated_anywhere__damaged(void **state)
{
    struct bytes *b = freeze(busy(state)->tpm);
    size_t permanent_len = b->permanent_len, volatile_len = b->volatile_len;
    struct tpm *tpm;

    for (b->permanent_len = 0; b->permanent_len < permanent_len;
         b->permanent_len += 1 + b->permanent_len / 64)
        assert_int_equal(thaw(b, &tpm), VT_EDAMAGED);
    b->permanent_len = permanent_len;
    for (b->volatile_len = 1; b->volatile_len < volatile_len; b->volatile_len += 1 + b->volatile_len / 64)
        assert_int_equal(thaw(b, &tpm), VT_EDAMAGED);
    vt_free(b);
}

static void test_thaw__bytes_too_many_or_newer__damaged(void **state)
{
    struct bytes *b = freeze(busy(state)->tpm);
    struct tpm *tpm;

    b->permanent_len++;
    assert_int_equal(thaw(b, &tpm), VT_EDAMAGED);
    b->permanent_len--;
    b->volatile_len++;
    assert_int_equal(thaw(b, &tpm), VT_EDAMAGED);
    b->volatile_len--;
    b->permanent[5]++;
    assert_int_equal(thaw(b, &tpm), VT_EDAMAGED);
    b->permanent[5]--;
    assert_int_equal(thaw(b, &tpm), VT_OK);
    tpm_free(tpm);
    vt_free(b);
}

/* Version 2 of the permanent part had no DAA, version 3 no maintenance: the last sections, without a key 4 bytes. */
static void test_thaw__older_permanent_part__as_without_what_came_later(void **state)
{
    static const struct {
        uint8_t version;
        char ends_before[5];
        size_t shorter;
    } older[] = {{3, "MAIN", 8 + 4}, {2, "DAAP", 8 + 4 + 8 + 20}};
    struct bytes *b = freeze(busy(state)->tpm), *again;
    size_t permanent_len = b->permanent_len;
    struct tpm *tpm;

    for (size_t i = 0; i < VT_COUNT(older); i++) {
        b->permanent_len = permanent_len - older[i].shorter;
        assert_memory_equal(b->permanent + b->permanent_len, older[i].ends_before, 4);
        b->permanent[5] = FZ_VERSION;
        assert_int_equal(thaw(b, &tpm), VT_EDAMAGED);
        b->permanent[5] = older[i].version;
        assert_int_equal(thaw(b, &tpm), VT_OK);
        again = freeze(tpm);
        assert_int_equal(again->permanent_len, permanent_len);
        tpm_free(tpm);
        vt_free(again);
    }
    vt_free(b);
}

/* Version 1 had no section of 1.1's saved contexts, version 2 none of transport and DAA sessions: each ended before. */
static void test_thaw__older_versions__as_with_none_of_what_came_later(void **state)
{
    static const struct {
        uint8_t version;
        char ends_before[5];
    } older[] = {{1, "CT11"}, {2, "TRAN"}};
    struct bytes *b = freeze(busy(state)->tpm), *again;
    size_t len = b->volatile_len;
    struct tpm *tpm;

    assert_memory_equal(b->state + 4, ((uint8_t[]){0, FZ_VERSION}), 2);
    for (size_t i = 0; i < VT_COUNT(older); i++) {
        size_t at = len - 4;

        while (at && memcmp(b->state + at, older[i].ends_before, 4) != 0)
            at--;
        assert_int_not_equal(at, 0);
        b->volatile_len = at;
        b->state[5] = FZ_VERSION;
        assert_int_equal(thaw(b, &tpm), VT_EDAMAGED);
        b->state[5] = older[i].version;
        assert_int_equal(thaw(b, &tpm), VT_OK);
        b->state[5] = FZ_VERSION;
        again = freeze(tpm);
        assert_int_equal(again->volatile_len, len);
        assert_memory_equal(again->state, b->state, len);
        tpm_free(tpm);
        vt_free(again);
    }
    vt_free(b);
}

/* Bytes of a version that has no transport sessions cannot name an exclusive one. */
static void test_thaw__exclusive_transport_missing__damaged(void **state)
{
    struct bytes *b;
    struct tpm *tpm;
    struct tc *tc = busy(state);

    tc->tpm->stany.transport_exclusive = 7;
    b = freeze(tc->tpm);
    assert_int_equal(thaw(b, &tpm), VT_EDAMAGED);
    b->volatile_len -= 2 * (4 + 4) + 4 + 4 + 4;
    assert_memory_equal(b->state + b->volatile_len, "TRAN", 4);
    b->state[5] = 2;
    assert_int_equal(thaw(b, &tpm), VT_EDAMAGED);
    vt_free(b);
    tc->tpm->stany.transport_exclusive = 0;
    b = freeze(tc->tpm);
    assert_int_equal(thaw(b, &tpm), VT_OK);
    tpm_free(tpm);
    vt_free(b);
}

/* The volatile part of one TPM with the permanent one of another. */
static void test_thaw__volatile_of_another_tpm__damaged(void **state)
{
    struct tc *other = VT_NEW(struct tc);
    struct bytes *mine, *theirs;
    struct tpm *tpm;

    assert_non_null(other);
    tc_new(other, 2, true);
    assert_int_equal(tc_reboot(other, TPM_ST_CLEAR), TPM_SUCCESS);
    mine = freeze(((struct tc *)*state)->tpm);
    theirs = freeze(other->tpm);
    memcpy(mine->state, theirs->state, theirs->volatile_len);
    mine->volatile_len = theirs->volatile_len;
    assert_int_equal(thaw(mine, &tpm), VT_EDAMAGED);
    vt_free(mine);
    vt_free(theirs);
    tc_free(other);
    vt_free(other);
}

static void mutate(struct cr_drbg *drbg, uint8_t *bytes, size_t len)
{
    uint8_t dice[8];
    size_t at;

    cr_drbg_random(drbg, dice, sizeof dice);
    at = ((size_t)dice[0] << 16 | (size_t)dice[1] << 8 | dice[2]) % len;
    /* Half of the time among the lengths and counts at the front. */
    if (dice[3] % 2)
        at %= VT_MIN(len, (size_t)1500);
    switch (dice[4] % 4) {
    case 0:
        bytes[at] = dice[5];
        break;
    case 1:
        bytes[at] ^= (uint8_t)(1u << dice[5] % 8);
        break;
    case 2:
        memset(bytes + at, 0xFF, VT_MIN(len - at, (size_t)dice[5] % 8));
        break;
    default:
        memset(bytes + at, 0, VT_MIN(len - at, (size_t)dice[5] % 8));
        break;
    }
}

/* What thaws, freezes to the same bytes, and answers commands without crashing. */
static void check_survivor(const struct bytes *b, struct tpm *tpm)
{
    static const uint8_t read0[] = {0, 0xC1, 0, 0, 0, 14, 0, 0, 0, TPM_ORD_PcrRead, 0, 0, 0, 0};
    struct bytes *again = freeze(tpm);
    uint8_t rsp[TPM_BUFFER];
    size_t rsp_len;
    unsigned dirty;

    assert_int_equal(again->permanent_len, b->permanent_len);
    assert_memory_equal(again->permanent, b->permanent, b->permanent_len);
    assert_int_equal(again->volatile_len, b->volatile_len);
    assert_memory_equal(again->state, b->state, b->volatile_len);
    vt_free(again);
    tpm_execute(tpm, 0, 1, read0, sizeof read0, rsp, &rsp_len, &dirty);
    tpm_power_off(tpm);
    assert_int_equal(tpm_init(tpm), VT_OK);
    tpm_free(tpm);
}

static void test_thaw__mutations__refused_or_canonical(void **state)
{
    struct bytes *good = freeze(busy(state)->tpm);
    uint8_t seed[CR_DRBG_SEED] = {3};
    struct cr_drbg drbg;
    unsigned refused = 0;

    cr_drbg_init(&drbg, seed, NULL, 0);
    for (unsigned i = 0; i < 3000; i++) {
        struct bytes *b = vt_memdup(good, sizeof *good);
        struct tpm *tpm;

        assert_non_null(b);
        mutate(&drbg, b->permanent, b->permanent_len);
        if (i % 2)
            mutate(&drbg, b->state, b->volatile_len);
        if (thaw(b, &tpm))
            refused++;
        else
            check_survivor(b, tpm);
        vt_free(b);
    }
    assert_in_range(refused, 1, 2999);
    vt_free(good);
}

/* ---- Determinism ---- */

static void story(struct tc *tc, bool freeze_between)
{
    struct get_random_in in = {.bytes_requested = 32};
    struct vt_auth secret = tc_secret("x");
    struct tc_session s, keep;

    tc_new(tc, 5, true);
    tc->no_freeze = !freeze_between;
    for (unsigned boot = 0; boot < 2; boot++) {
        assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
        for (unsigned i = 0; i < 5; i++) {
            struct flush_specific_in flush = {.resource_type = TPM_RT_AUTH};

            tc->now_us += 777;
            assert_int_equal(TC(tc, TPM_ORD_GetRandom, &in, NULL), TPM_SUCCESS);
            /* Slots free in the middle: the next session takes that one, thawed or not. */
            assert_int_equal(tc_oiap(tc, &s, &secret), TPM_SUCCESS);
            assert_int_equal(tc_oiap(tc, &keep, &secret), TPM_SUCCESS);
            assert_int_equal(TC(tc, TPM_ORD_FlushSpecific, &flush, NULL, .handles = {s.handle}), TPM_SUCCESS);
            assert_int_equal(spec_extend(tc, i, (uint8_t)i), TPM_SUCCESS);
        }
        if (boot == 0)
            tpm_power_off(tc->tpm);
    }
}

static void test_replay__same_story__same_responses_and_state(void **state)
{
    struct tc *one = *state, *two = VT_NEW(struct tc);
    struct bytes *a, *b;

    assert_non_null(two);
    tc_free(one);
    story(one, true);
    story(two, false);
    assert_int_equal(one->rsp_len, two->rsp_len);
    assert_memory_equal(one->rsp, two->rsp, one->rsp_len);
    a = freeze(one->tpm);
    b = freeze(two->tpm);
    assert_memory_equal(a, b, sizeof *a);
    vt_free(a);
    vt_free(b);
    tc_free(two);
    vt_free(two);
}

/* Another seed, and fresh entropy, make other random numbers. */
static void test_random__stirred_or_other_seed__differs(void **state)
{
    struct get_random_in in = {.bytes_requested = 32};
    struct get_random_out out;
    struct tc *tc = *state;
    uint8_t first[32];

    tc_free(tc);
    for (unsigned round = 0; round < 4; round++) {
        tc_new(tc, round == 1 ? 9 : 5, false);
        if (round == 2)
            tpm_stir(tc->tpm, "entropy", 7);
        tc_init(tc);
        if (round == 3)
            tpm_stir(tc->tpm, "entropy", 7);
        assert_int_equal(TC(tc, TPM_ORD_Startup, &(struct startup_in){TPM_ST_CLEAR}, NULL), TPM_SUCCESS);
        assert_int_equal(TC(tc, TPM_ORD_GetRandom, &in, &out), TPM_SUCCESS);
        if (round == 0)
            memcpy(first, out.random_bytes.data, sizeof first);
        else
            assert_memory_not_equal(first, out.random_bytes.data, sizeof first);
        if (round < 3)
            tc_free(tc);
    }
}

/* Off and on again: the generator goes on, it does not start again. */
static void test_random__power_cycle__does_not_repeat(void **state)
{
    struct get_random_in in = {.bytes_requested = 32};
    struct get_random_out out;
    struct tc *tc = *state;
    uint8_t seen[4][32];

    for (unsigned round = 0; round < 4; round++) {
        if (round % 2)
            tpm_power_off(tc->tpm);
        assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
        assert_int_equal(TC(tc, TPM_ORD_GetRandom, &in, &out), TPM_SUCCESS);
        memcpy(seen[round], out.random_bytes.data, 32);
        for (unsigned i = 0; i < round; i++)
            assert_memory_not_equal(seen[i], seen[round], 32);
    }
}

/* Dirty says which part changed: what it does not name is the same as before. */
static void test_dirty__commands__names_what_changed(void **state)
{
    struct pcr_read_in in = {.pcr_index = 1};
    struct get_random_in random = {.bytes_requested = 1};
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;
    struct tc *tc = *state;

    assert_int_equal(TC(tc, TPM_ORD_PcrRead, &in, NULL), TPM_SUCCESS);
    assert_int_equal(tc->dirty, 0);
    assert_int_equal(TC(tc, TPM_ORD_GetRandom, &random, NULL), TPM_SUCCESS);
    assert_int_equal(tc->dirty, TPM_DIRTY_VOLATILE);
    assert_int_equal(spec_extend(tc, 1, 1), TPM_SUCCESS);
    assert_int_equal(tc->dirty, TPM_DIRTY_VOLATILE);
    assert_int_equal(tc_oiap(tc, &s, &owner), TPM_SUCCESS);
    assert_int_equal(tc->dirty, TPM_DIRTY_VOLATILE);
    assert_int_equal(
        TC(tc, TPM_ORD_OwnerSetDisable, &(struct owner_set_disable_in){false}, NULL, .auth = {&s}),
        TPM_SUCCESS);
    assert_int_equal(tc->dirty, TPM_DIRTY_PERMANENT | TPM_DIRTY_VOLATILE);
    assert_int_equal(TC(tc, TPM_ORD_PhysicalEnable, NULL, NULL), TPM_BAD_PRESENCE);
    assert_int_equal(tc->dirty, 0);
}

static void test_freeze__buffer_too_small__too_big(void **state)
{
    struct tc *tc = *state;
    uint8_t out[64];
    size_t len = sizeof out;

    assert_int_equal(tpm_freeze_permanent(tc->tpm, out, &len), VT_ETOOBIG);
    len = sizeof out;
    assert_int_equal(tpm_freeze_volatile(tc->tpm, out, &len), VT_ETOOBIG);
}

static void test_manufacture__profile_out_of_range__usage(void **state)
{
    static const uint8_t seed[CR_DRBG_SEED];
    struct tpm_profile profile;
    struct tpm *tpm;

    (void)state;
    tpm_profile_pc_client(&profile);
    profile.auth_sessions = SESSIONS_MAX + 1;
    assert_int_equal(tpm_manufacture(&tpm, &profile, seed, false, NULL), VT_EUSAGE);
    assert_null(tpm);
    tpm_profile_pc_client(&profile);
    profile.nv_bytes = NV_BYTES_MAX + 1;
    assert_int_equal(tpm_manufacture(&tpm, &profile, seed, false, NULL), VT_EUSAGE);
    /* All zeros: the defaults. */
    profile = (struct tpm_profile){0};
    assert_int_equal(tpm_manufacture(&tpm, &profile, seed, false, NULL), VT_OK);
    assert_int_equal(tpm->perm.profile.key_slots, 20);
    assert_false(tpm_is_on(tpm));
    tpm_free(tpm);
}

static void test_thaw__out_of_memory__said(void **state)
{
    static const uint8_t seed[CR_DRBG_SEED];
    struct bytes *b = freeze(((struct tc *)*state)->tpm);
    struct tpm_profile profile = {0};
    struct tpm *tpm;

    (void)vt_alloc_fail_after(0);
    assert_int_equal(thaw(b, &tpm), VT_ENOMEM);
    (void)vt_alloc_fail_after(0);
    assert_int_equal(tpm_manufacture(&tpm, &profile, seed, false, NULL), VT_ENOMEM);
    (void)vt_alloc_fail_after(-1);
    assert_null(tpm);
    vt_free(b);
}

/* ---- What TPM_SaveState kept, damaged ---- */

/* Where the bytes of the last saved key begin. */
static uint8_t *last_saved_key(struct tpm *tpm, uint32_t handle)
{
    uint8_t bytes[4];
    struct wr w = wr_to(bytes, sizeof bytes);
    size_t at = tpm->perm.saved_len - sizeof bytes;

    wr_put32(&w, handle);
    while (at && memcmp(tpm->perm.saved + at, bytes, sizeof bytes) != 0)
        at--;
    assert_int_not_equal(at, 0);
    return tpm->perm.saved + at;
}

/* A key that breaks off in its modulus, in its handle, or behind its last byte: failure mode, and none of it stays. */
static void test_startup__saved_state_damaged__nothing_of_it(void **state)
{
    /* Behind the handle: bytes, exponent, usage and schemes, flags, no PCRs, secrets and digest. */
    enum { MODULUS_LEN = 4 + 1 + 4 + 4 + 3 * 2 + 4 + 1 + 3 * 20 };
    static const struct {
        size_t at;
        uint8_t value;
    } damages[] = {{0, 0}, {MODULUS_LEN, 0x7F}, {MODULUS_LEN + 7, 1}};
    struct vt_auth secret = tc_secret("key");
    struct tc *tc = *state;
    struct tpm_key_obj key;
    uint32_t handle;

    for (size_t i = 0; i < VT_COUNT(damages); i++) {
        assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
        spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
        key = spec_key(1, TPM_KEY_SIGNING, &secret);
        handle = spec_insert(tc, &key);
        assert_int_equal(spec_extend(tc, 3, 3), TPM_SUCCESS);
        assert_int_equal(TC(tc, TPM_ORD_SaveState, NULL, NULL), TPM_SUCCESS);
        assert_int_equal(tpm_init(tc->tpm), VT_OK);
        if (damages[i].at)
            last_saved_key(tc->tpm, handle)[damages[i].at] ^= damages[i].value;
        else
            memset(last_saved_key(tc->tpm, handle), 0, 4);
        assert_int_equal(TC(tc, TPM_ORD_Startup, &(struct startup_in){TPM_ST_STATE}, NULL), TPM_FAILEDSELFTEST);
        assert_true(tc->tpm->stany.failed);
        tc_check_frozen(tc);
        assert_true(spec_all((const uint8_t *)tc->tpm->keys, sizeof tc->tpm->keys, 0));
        assert_true(spec_all(tc->tpm->stclear.pcr[3], TPM_DIGEST_LEN, 0));
        assert_int_equal(tc->tpm->perm.saved_len, 0);
    }
}

/* Every slot of every kind of session, each of the longest kind. */
static void fill_sessions(struct tpm *tpm)
{
    static const struct tpm_pcr_selection all = {.size_of_select = TPM_PCR_BYTES};
    struct session *session;

    while ((session = session_new(tpm, SESSION_DSAP))) {
        session->adip = TPM_ET_XOR;
        session->entity_type = TPM_ET_KEYHANDLE;
        session->delegate.pcr_info.pcr_selection = all;
    }
    while (transport_new(tpm))
        ;
    while (daa_new(tpm))
        ;
}

static void fill_permanent(struct tpm *tpm)
{
    struct permanent *perm = &tpm->perm;

    for (unsigned i = 0; i < COUNTERS_MAX; i++)
        perm->counters[i].used = true;
    for (unsigned i = 0; i < FAMILY_ROWS_MAX; i++)
        perm->families[i].used = true;
    for (unsigned i = 0; i < DELEGATE_ROWS_MAX; i++) {
        perm->delegates[i].used = true;
        perm->delegates[i].pub.pcr_info.pcr_selection.size_of_select = TPM_PCR_BYTES;
    }
    for (unsigned i = 0; i < NV_AREAS_MAX; i++)
        perm->nv.areas[i] = (struct nv_area){.pub = {.nv_index = i + 1, .data_size = NV_BYTES_MAX / NV_AREAS_MAX}};
    perm->nv.count = NV_AREAS_MAX;
    perm->nv.used = NV_BYTES_MAX;
}

/* A maintenance key must be one, and only where the profile has maintenance. */
static void test_thaw__maintenance_key_that_cannot_be__damaged(void **state)
{
    struct tc *tc = *state;
    struct permanent *perm = &tc->tpm->perm;
    struct wr w = wr_to(perm->maint_pub, sizeof perm->maint_pub);
    uint8_t *algorithm, *maintenance;
    struct tpm_pubkey key;
    struct bytes *b;
    struct tpm *tpm;

    key_to_pubkey(&key, &perm->ek.key);
    wr_pubkey(&w, &key);
    perm->maint_pub_len = (uint32_t)w.len;
    perm->profile.maintenance = true;
    b = freeze(tc->tpm);
    assert_int_equal(thaw(b, &tpm), VT_OK);
    tpm_free(tpm);
    algorithm = b->permanent + b->permanent_len - w.len;
    maintenance = b->permanent + 4 + 2 + 4 + 4 + TPM_PROFILE_BYTES - 1;
    assert_int_equal(*maintenance, 1);
    *algorithm ^= 1;
    assert_int_equal(thaw(b, &tpm), VT_EDAMAGED);
    *algorithm ^= 1;
    *maintenance = 0;
    assert_int_equal(thaw(b, &tpm), VT_EDAMAGED);
    vt_free(b);
}

/* What `instance show` reads of it. */
static void test_profile_of__frozen_state__the_tpms(void **state)
{
    struct tc *tc = *state;
    struct tpm_profile profile;
    struct bytes *b;

    tc->tpm->perm.profile.counters = 3;
    b = freeze(tc->tpm);
    assert_true(tpm_profile_of(b->permanent, b->permanent_len, &profile));
    assert_int_equal(profile.counters, 3);
    assert_int_equal(profile.nv_bytes, 28 * 1024);
    vt_free(b);
}

/* The largest state there can be fits into the sizes that callers reserve. */
static void test_freeze__largest_state__fits(void **state)
{
    struct tpm_profile profile = {
        .key_slots = KEY_SLOTS_MAX,
        .owner_evict_slots = KEY_SLOTS_MAX - KEY_SLOTS_LEFT,
        .auth_sessions = SESSIONS_MAX,
        .transport_sessions = TRANSPORTS_MAX,
        .daa_sessions = DAA_SESSIONS_MAX,
        .counters = COUNTERS_MAX,
        .saved_contexts = SAVED_CONTEXTS_MAX,
        .family_rows = FAMILY_ROWS_MAX,
        .delegate_rows = DELEGATE_ROWS_MAX,
        .nv_bytes = NV_BYTES_MAX,
    };
    struct tc *tc = *state;
    struct tpm *tpm = tc->tpm;
    struct tpm_key_obj key = tpm->perm.ek.key;

    tpm->perm.profile = profile;
    key.pcr_info_len = KEY_PCR_INFO_MAX;
    key_pub_digest(&key, key.pub_digest);
    while (key_insert(tpm, &key, false))
        ;
    fill_sessions(tpm);
    fill_permanent(tpm);
    tpm->stany.hash_active = tpm->stany.sha1_active = true;
    tpm->stany.hash_tail_len = sizeof tpm->stany.hash_tail - 1;
    tc_check_frozen(tc);
    assert_int_equal(TC(tc, TPM_ORD_SaveState, NULL, NULL), TPM_SUCCESS);
    /* The TPM is another one after each look. */
    for (unsigned i = 0; i < KEY_SLOTS_MAX - KEY_SLOTS_LEFT; i++)
        tc->tpm->keys[i].owner_evict = true;
    tc_check_frozen(tc);
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup, spec_teardown)
#define OWNED(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OWNED(test_thaw__truncated_anywhere__damaged),
        OWNED(test_thaw__bytes_too_many_or_newer__damaged),
        OWNED(test_thaw__older_versions__as_with_none_of_what_came_later),
        OWNED(test_thaw__exclusive_transport_missing__damaged),
        OWNED(test_thaw__older_permanent_part__as_without_what_came_later),
        OWNED(test_thaw__volatile_of_another_tpm__damaged),
        OWNED(test_thaw__mutations__refused_or_canonical),
        T(test_replay__same_story__same_responses_and_state),
        T(test_random__stirred_or_other_seed__differs),
        T(test_random__power_cycle__does_not_repeat),
        OWNED(test_dirty__commands__names_what_changed),
        T(test_freeze__buffer_too_small__too_big),
        cmocka_unit_test(test_manufacture__profile_out_of_range__usage),
        T(test_thaw__out_of_memory__said),
        OWNED(test_startup__saved_state_damaged__nothing_of_it),
        OWNED(test_freeze__largest_state__fits),
        OWNED(test_thaw__maintenance_key_that_cannot_be__damaged),
        OWNED(test_profile_of__frozen_state__the_tpms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

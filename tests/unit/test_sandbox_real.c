/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real vtpm-engine behind the real filter: manufacture, power, commands, and a second life from frozen
 * bytes.
 */
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "tests/unit/make_certificate.h"
#include "tests/unit/sandbox_fixture.h"

static const uint8_t read_pcr_10[14] = {0, 0xC1, 0, 0, 0, 14, 0, 0, 0, 0x15, 0, 0, 0, 10};
static const uint8_t get_random[14] = {0, 0xC1, 0, 0, 0, 14, 0, 0, 0, 0x46, 0, 0, 0, 20};

static uint32_t return_code(const struct box *box)
{
    struct rd r = rd_from(box->state.response.data, box->state.response.len);

    assert_true(box->is_state);
    rd_take(&r, 6);
    return rd_get32(&r);
}

/* Extends PCR 10 of a fresh TPM that was started; *kept is its last state, to thaw from. */
static struct box *extended(struct sb *sb, struct box *kept, uint8_t pcr[20])
{
    uint8_t extend[34] = {0, 0xC1, 0, 0, 0, 34, 0, 0, 0, 0x14, 0, 0, 0, 10};
    struct box *box = box_new(sb);

    box_manufacture(sb, box, 0, false);
    assert_true(box->is_state);
    assert_false(box->state.has_ek);
    box_power_on(sb, box, SANDBOX_STARTUP_CLEAR, 1000);
    assert_int_equal(return_code(box), 0);
    memcpy(kept, box, sizeof *kept);
    box_execute(sb, box, extend, sizeof extend);
    assert_int_equal(return_code(box), 0);
    assert_int_equal(box->state.response.len, 30);
    memcpy(pcr, box->state.response.data + 10, 20);
    return box;
}

static void test_real__pcr__survives_its_process(void **state)
{
    static struct box powered, after;
    struct sb *sb = *state;
    uint8_t pcr[20];
    struct box *box;

    sb_start(sb, 0);
    box = extended(sb, &powered, pcr);
    assert_true(sandbox_rd_state(&powered.state, powered.payload, powered.len));
    memcpy(&after, box, sizeof after);
    assert_true(sandbox_rd_state(&after.state, after.payload, after.len));
    assert_true(after.state.dirty & TPM_DIRTY_VOLATILE);
    box_free(box);

    box = box_new(sb);
    box_thaw(sb, box, 1, after.state.permanent.len ? &after.state.permanent : &powered.state.permanent,
             &after.state.volatile_state);
    assert_true(box->is_state && box->state.is_on);
    box_execute(sb, box, read_pcr_10, sizeof read_pcr_10);
    assert_int_equal(return_code(box), 0);
    assert_memory_equal(box->state.response.data + 10, pcr, 20);
    box_free(box);
}

static struct sandbox_ek_public read_ek(struct sb *sb, struct box *box)
{
    struct sandbox_ek_public ek;

    box_ask(sb, box, SANDBOX_EK_READ, NULL, 0);
    assert_true(box->is_state && !box->state.dirty);
    assert_true(sandbox_rd_ek(&ek, box->state.response.data, box->state.response.len));
    return ek;
}

static uint8_t install(struct sb *sb, struct box *box, const uint8_t *der, size_t len)
{
    uint8_t bytes[4 + 4096];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_put32(&w, (uint32_t)len);
    wr_copy(&w, der, len);
    box_ask(sb, box, SANDBOX_EK_INSTALL, bytes, w.len);
    assert_true(box->is_state);
    assert_int_equal(box->state.response.len, 1);
    assert_int_equal(box->state.dirty, box->state.response.data[0] ? 0 : TPM_DIRTY_PERMANENT);
    return box->state.response.data[0];
}

/* TPM 1.2 Part 3, 20.4 TPM_NV_ReadValue: the first `len` bytes of 0x1000F000. */
static void read_nv(struct sb *sb, struct box *box, uint8_t len)
{
    uint8_t command[22] = {0, 0xC1, 0, 0, 0, 22, 0, 0, 0, 0xCF, 0x10, 0, 0xF0, 0};

    command[21] = len;
    box_execute(sb, box, command, sizeof command);
}

/* A certificate of this TPM's key and no other, once, before it is on; the guest finds it. */
static void test_real__ek_certificate__of_its_own_key_once(void **state)
{
    static struct box kept;
    struct sb *sb = *state;
    uint8_t modulus[CR_RSA_MAX], der[4096];
    struct certificate_parts parts = {.modulus = modulus, .exponent = 65537, .padding = 256};
    struct sandbox_ek_public ek;
    struct box *box;
    size_t len;

    sb_start(sb, 0);
    box = box_new(sb);
    box_manufacture(sb, box, 0, true);
    ek = read_ek(sb, box);
    assert_int_equal(ek.modulus.len, CR_RSA_MAX);
    assert_int_equal(ek.exponent, 65537);
    assert_int_equal(ek.certificate.len, 0);
    memcpy(modulus, ek.modulus.data, sizeof modulus);
    parts.modulus_len = sizeof modulus;

    assert_int_equal(install(sb, box, modulus, sizeof modulus), SANDBOX_EK_NO_CERTIFICATE);
    modulus[100] ^= 1;
    assert_int_equal(install(sb, box, der, make_certificate(der, &parts)), SANDBOX_EK_OTHER_KEY);
    modulus[100] ^= 1;
    parts.modulus_len--;
    assert_int_equal(install(sb, box, der, make_certificate(der, &parts)), SANDBOX_EK_OTHER_KEY);
    parts.modulus_len++;
    parts.exponent = 3;
    assert_int_equal(install(sb, box, der, make_certificate(der, &parts)), SANDBOX_EK_OTHER_KEY);
    parts.exponent = 65537;
    len = make_certificate(der, &parts);
    assert_int_equal(install(sb, box, der, len), SANDBOX_EK_INSTALLED);
    memcpy(&kept, box, sizeof kept);
    assert_true(sandbox_rd_state(&kept.state, kept.payload, kept.len));
    assert_int_equal(install(sb, box, der, len), SANDBOX_EK_TOO_LATE);
    box_free(box);

    /* In a second life. */
    box = box_new(sb);
    box_thaw(sb, box, 1, &kept.state.permanent, &(struct tpm_blob){0});
    ek = read_ek(sb, box);
    assert_int_equal(ek.certificate.len, len);
    assert_memory_equal(ek.certificate.data, der, len);
    box_power_on(sb, box, SANDBOX_STARTUP_CLEAR, 1000);
    read_nv(sb, box, 200);
    assert_int_equal(return_code(box), 0);
    assert_memory_equal(box->state.response.data + 14 + 7, der, 193);
    assert_int_equal(install(sb, box, der, len), SANDBOX_EK_TOO_LATE);
    box_free(box);
}

static void test_real__ek_certificate__without_a_key__refused(void **state)
{
    struct sb *sb = *state;
    uint8_t modulus[CR_RSA_MAX] = {0x80}, der[4096];
    struct certificate_parts parts = {.modulus = modulus, .modulus_len = sizeof modulus, .exponent = 65537};
    struct sandbox_ek_public ek;
    struct box *box;

    sb_start(sb, 0);
    box = box_new(sb);
    box_manufacture(sb, box, 0, false);
    ek = read_ek(sb, box);
    assert_int_equal(ek.modulus.len + ek.exponent + ek.certificate.len, 0);
    assert_int_equal(install(sb, box, der, make_certificate(der, &parts)), SANDBOX_EK_NO_KEY);
    box_free(box);
}

static void random_after_thaw(struct sb *sb, const struct box *from, uint8_t entropy, uint8_t out[20])
{
    struct box *box = box_new(sb);

    box_thaw(sb, box, entropy, &from->state.permanent, &from->state.volatile_state);
    box_execute(sb, box, get_random, sizeof get_random);
    assert_int_equal(return_code(box), 0);
    assert_int_equal(box->state.response.len, 34);
    memcpy(out, box->state.response.data + 14, 20);
    box_free(box);
}

/*
 * DESIGN: a generator inherited by fork gives every child the same numbers; here the broker's entropy
 * decides.
 */
static void test_real__random__depends_on_the_entropy_given(void **state)
{
    static struct box powered;
    struct sb *sb = *state;
    uint8_t pcr[20], a[20], b[20], again[20];

    sb_start(sb, 0);
    box_free(extended(sb, &powered, pcr));
    assert_true(sandbox_rd_state(&powered.state, powered.payload, powered.len));
    random_after_thaw(sb, &powered, 1, a);
    random_after_thaw(sb, &powered, 2, b);
    random_after_thaw(sb, &powered, 1, again);
    assert_memory_not_equal(a, b, 20);
    assert_memory_equal(a, again, 20);
}

static void test_real__manufacture_with_ek__works_under_the_filter(void **state)
{
    struct sb *sb = *state;
    struct box *box;

    sb_start(sb, 0);
    box = box_new(sb);
    box_manufacture(sb, box, 0, true);
    assert_true(box->is_state);
    assert_true(box->state.has_ek);
    box_free(box);
}

static void test_real__damaged_state__refused_with_a_reason(void **state)
{
    static struct box powered;
    static uint8_t damaged[TPM_FROZEN_PERMANENT_MAX];
    struct tpm_blob permanent = {0, damaged}, none = {0, NULL};
    struct sb *sb = *state;
    uint8_t pcr[20];
    struct box *box;
    struct rd r;

    sb_start(sb, 0);
    box_free(extended(sb, &powered, pcr));
    assert_true(sandbox_rd_state(&powered.state, powered.payload, powered.len));
    permanent.len = powered.state.permanent.len - 1;
    memcpy(damaged, powered.state.permanent.data, permanent.len);
    box = box_new(sb);
    box_thaw(sb, box, 1, &permanent, &none);
    assert_int_equal(box->type, SANDBOX_FAILED);
    r = rd_from(box->payload, box->len);
    assert_int_equal((int32_t)rd_get32(&r), VT_EDAMAGED);
    box_wait_gone(sb, box);
    box_free(box);
}

/* Extended in order after TPM_Startup, as TPM_Extend would; the answer is still that of TPM_Startup. */
static void test_real__measured_start__pcrs_hold_the_digests(void **state)
{
    uint8_t digests[SANDBOX_MEASURES_MAX * SANDBOX_MEASURE_LEN];
    uint8_t extend[34] = {0, 0xC1, 0, 0, 0, 34, 0, 0, 0, 0x14, 0, 0, 0, 10};
    struct sb *sb = *state;
    struct box *measured, *guest;
    uint8_t pcr[20];

    sb_start(sb, 0);
    for (size_t i = 0; i < SANDBOX_MEASURES_MAX; i++) {
        digests[i * SANDBOX_MEASURE_LEN] = i % 2 ? 10 : 4;
        memset(digests + i * SANDBOX_MEASURE_LEN + 1, (int)i, 20);
    }
    measured = box_new(sb);
    box_manufacture(sb, measured, 0, false);
    box_measured_on(sb, measured, SANDBOX_STARTUP_CLEAR, digests, SANDBOX_MEASURES_MAX);
    assert_int_equal(return_code(measured), 0);
    assert_int_equal(measured->state.response.len, 10);
    assert_true(measured->state.is_on && measured->state.volatile_state.len && measured->state.permanent.len);
    box_execute(sb, measured, read_pcr_10, sizeof read_pcr_10);
    assert_int_equal(return_code(measured), 0);
    memcpy(pcr, measured->state.response.data + 10, 20);
    box_free(measured);

    guest = box_new(sb);
    box_manufacture(sb, guest, 0, false);
    box_power_on(sb, guest, SANDBOX_STARTUP_CLEAR, 1000);
    for (size_t i = 1; i < SANDBOX_MEASURES_MAX; i += 2) {
        memset(extend + 14, (int)i, 20);
        box_execute(sb, guest, extend, sizeof extend);
        assert_int_equal(return_code(guest), 0);
    }
    assert_memory_equal(guest->state.response.data + 10, pcr, 20);
    box_free(guest);
}

static void expect_failed(struct sb *sb, uint8_t startup, const void *digests, size_t count)
{
    struct box *box = box_new(sb);

    box_manufacture(sb, box, 0, false);
    box_measured_on(sb, box, startup, digests, count);
    assert_int_equal(box->type, SANDBOX_FAILED);
    box_wait_gone(sb, box);
    box_free(box);
}

/* All of them or no power on: nothing goes on with some of its measurements. */
static void test_real__a_measurement_fails__no_power_on(void **state)
{
    static uint8_t digests[255 * SANDBOX_MEASURE_LEN];
    struct sb *sb = *state;

    sb_start(sb, 0);
    digests[SANDBOX_MEASURE_LEN] = 24; /* there is no such PCR */
    expect_failed(sb, SANDBOX_STARTUP_CLEAR, digests, 2);
    digests[SANDBOX_MEASURE_LEN] = 17; /* not from locality 0 */
    expect_failed(sb, SANDBOX_STARTUP_CLEAR, digests, 2);
    expect_failed(sb, SANDBOX_STARTUP_NONE, digests, 1);
    expect_failed(sb, SANDBOX_STARTUP_STATE, digests, 1);
    expect_failed(sb, SANDBOX_STARTUP_CLEAR, digests, SANDBOX_MEASURES_MAX + 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, sb_setup, sb_teardown)

static void test_real__ek_from_the_broker__is_the_key_that_was_given(void **state)
{
    struct sb *sb = *state;
    struct cr_rsa_key key;
    struct sandbox_ek_public ek;
    struct cr_drbg drbg;
    struct box *box;
    uint8_t seed[CR_DRBG_SEED] = {9};

    cr_drbg_init(&drbg, seed, NULL, 0);
    assert_int_equal(cr_init(), VT_OK);
    assert_int_equal(cr_rsa_make(&key, 2048, 65537, &drbg), VT_OK);
    sb_start(sb, 0);
    box = box_new(sb);
    box->key = &key;
    box_manufacture(sb, box, 0, true);
    assert_true(box->is_state && box->state.has_ek);
    assert_int_equal(box->keys, 1);
    ek = read_ek(sb, box);
    assert_int_equal(ek.modulus.len, 256);
    assert_memory_equal(ek.modulus.data, key.pub.n, 256);
    box_free(box);
    /* One that is no key is not taken: n is another product. */
    key.pub.n[100] ^= 1;
    box = box_new(sb);
    box->key = &key;
    box_manufacture(sb, box, 0, true);
    assert_true(box->is_state && box->state.has_ek);
    ek = read_ek(sb, box);
    assert_memory_not_equal(ek.modulus.data, key.pub.n, 256);
    box_free(box);
}

static struct cr_rsa_key ask_maker(struct sb *sb, struct box *box, uint8_t seed, unsigned bits, uint32_t e)
{
    uint8_t bytes[CR_DRBG_SEED + SANDBOX_KEY_ASK_LEN] = {seed};
    struct wr w = wr_to(bytes + CR_DRBG_SEED, SANDBOX_KEY_ASK_LEN);
    struct cr_rsa_key key;
    struct rd r;

    wr_put32(&w, bits);
    wr_put32(&w, e);
    box_ask(sb, box, SANDBOX_KEY_MAKE, bytes, sizeof bytes);
    r = rd_from(box->payload, box->len);
    assert_int_equal(box->type, SANDBOX_KEY_MADE);
    assert_int_equal(rd_get32(&r), VT_OK);
    assert_true(sandbox_rd_key(&r, &key, bits, e));
    return key;
}

static int nice_of(pid_t pid)
{
    return getpriority(PRIO_PROCESS, (id_t)pid);
}

static void test_maker__asked__keys_of_every_kind_behind_the_filter(void **state)
{
    struct sb *sb = *state;
    struct cr_rsa_key one, two;
    struct cr_rsa *rsa;
    struct box *box;

    sb_start(sb, 0);
    assert_int_equal(cr_init(), VT_OK);
    box = box_new_maker(sb);
    one = ask_maker(sb, box, 1, 2048, 65537);
    assert_int_equal(cr_rsa_load(&rsa, &one), VT_OK);
    cr_rsa_free(rsa);
    two = ask_maker(sb, box, 2, 2048, 65537);
    assert_memory_not_equal(one.pub.n, two.pub.n, 256);
    one = ask_maker(sb, box, 1, 1024, 3);
    assert_int_equal(cr_rsa_load(&rsa, &one), VT_OK);
    cr_rsa_free(rsa);
    (void)ask_maker(sb, box, 1, 512, 0x10001);
    assert_int_equal(nice_of(box_pid(sb, box)), VT_MIN(nice_of(0) + 10, 19));
    assert_int_equal(sched_getscheduler(box_pid(sb, box)), SCHED_BATCH);
    box_free(box);
}

static void test_maker__asked_for_what_does_not_exist__says_so(void **state)
{
    static const uint32_t wrong[][2] = {{0, 65537}, {4096, 65537}, {2048, 2}, {1025, 65537}, {0xffffffff, 0xffffffff}};
    struct sb *sb = *state;
    struct box *box;

    sb_start(sb, 0);
    box = box_new_maker(sb);
    for (size_t i = 0; i < VT_COUNT(wrong); i++) {
        uint8_t bytes[CR_DRBG_SEED + SANDBOX_KEY_ASK_LEN] = {0};
        struct wr w = wr_to(bytes + CR_DRBG_SEED, SANDBOX_KEY_ASK_LEN);
        struct rd r;

        wr_put32(&w, wrong[i][0]);
        wr_put32(&w, wrong[i][1]);
        box_ask(sb, box, SANDBOX_KEY_MAKE, bytes, sizeof bytes);
        r = rd_from(box->payload, box->len);
        assert_int_equal((int32_t)rd_get32(&r), VT_EUSAGE);
        assert_true(rd_done(&r));
    }
    /* And no request of a sandbox means anything to it. */
    box_send(box, SANDBOX_POWER_OFF, box->payload, CR_DRBG_SEED + SANDBOX_KEY_ASK_LEN);
    box_wait_gone(sb, box);
    assert_non_null(strstr(box->why, "exit status 4"));
    box_free(box);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_real__ek_certificate__of_its_own_key_once),
        TEST(test_real__ek_certificate__without_a_key__refused),
        TEST(test_real__pcr__survives_its_process),
        TEST(test_real__random__depends_on_the_entropy_given),
        TEST(test_real__manufacture_with_ek__works_under_the_filter),
        TEST(test_real__ek_from_the_broker__is_the_key_that_was_given),
        TEST(test_maker__asked__keys_of_every_kind_behind_the_filter),
        TEST(test_maker__asked_for_what_does_not_exist__says_so),
        TEST(test_real__measured_start__pcrs_hold_the_digests),
        TEST(test_real__a_measurement_fails__no_power_on),
        TEST(test_real__damaged_state__refused_with_a_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The files of `host-ak certify`, and what an attestation key must be like. (With TPMs: test_certify.py.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "server/core/evidence/enrol.h"

/* TPMT_PUBLIC up to the modulus: attributes are at 4. */
static const uint8_t head_2[] = {0, 1,    0, 0x0B, 0, 5, 4, 0x72, 0, 0, 0, 0x10,
                                 0, 0x14, 0, 0x0B, 8, 0, 0, 0,    0, 0, 1, 0};
/* TPM_PUBKEY up to the modulus. */
static const uint8_t head_12[] = {0, 0, 0, 1, 0, 1, 0, 2, 0, 0, 0, 12, 0, 0,
                                  8, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0,  1, 0};

struct area {
    uint8_t bytes[HWTPM_PUBLIC];
    uint32_t len;
};

static struct area area_of(enum hwtpm_kind kind)
{
    const bool is_2 = kind == HWTPM_TPM2;
    const uint32_t head = is_2 ? sizeof head_2 : sizeof head_12;
    struct area area = {.len = head + CR_RSA_MAX};

    memcpy(area.bytes, is_2 ? head_2 : head_12, head);
    area.bytes[head] = 0xC5;
    area.bytes[area.len - 1] = 0x07;
    return area;
}

static int judge(enum hwtpm_kind kind, const struct area *area, struct vt_why *why)
{
    struct cr_rsa_pub key;

    memset(why, 0, sizeof *why);
    return enrol_ak(&key, kind, area->bytes, area->len, why);
}

static void expect_lacks(uint32_t bit, const char *word)
{
    struct area area = area_of(HWTPM_TPM2);
    struct vt_why why;

    area.bytes[7 - bit / 8] ^= (uint8_t)(1u << bit % 8);
    assert_int_equal(judge(HWTPM_TPM2, &area, &why), VT_EAUTH);
    if (!strstr(why.text, word))
        fail_msg("bit %u: %s", (unsigned)bit, why.text);
}

static void test_key__as_the_server_makes_it__taken(void **state)
{
    static const enum hwtpm_kind kinds[] = {HWTPM_TPM2, HWTPM_TPM12};

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        struct area area = area_of(kinds[k]);
        struct cr_rsa_pub key;

        assert_int_equal(enrol_ak(&key, kinds[k], area.bytes, area.len, NULL), VT_OK);
        assert_int_equal(key.bytes, CR_RSA_MAX);
        assert_int_equal(key.e, 65537);
        assert_memory_equal(key.n, area.bytes + area.len - CR_RSA_MAX, CR_RSA_MAX);
    }
}

static void test_key__attribute_that_matters_is_other__refused_by_its_name(void **state)
{
    (void)state;
    expect_lacks(1, "fixedTPM");
    expect_lacks(4, "fixedParent");
    expect_lacks(5, "sensitiveDataOrigin");
    expect_lacks(16, "restricted");
    expect_lacks(17, "decrypt");
    expect_lacks(18, "sign");
}

/* Each byte before the modulus: another kind of key, but for the attributes that do not matter. */
static void test_key__of_another_form__refused(void **state)
{
    static const enum hwtpm_kind kinds[] = {HWTPM_TPM2, HWTPM_TPM12};
    struct vt_why why;

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        struct area good = area_of(kinds[k]);

        for (uint32_t at = 0; at < good.len - CR_RSA_MAX; at++) {
            struct area area = good;

            area.bytes[at] ^= 0x55;
            if (judge(kinds[k], &area, &why) != VT_EAUTH && !(kinds[k] == HWTPM_TPM2 && (at == 4 || at == 6)))
                fail_msg("kind %zu, byte %u is taken", k, (unsigned)at);
        }
        good.len--;
        assert_int_equal(judge(kinds[k], &good, &why), VT_EAUTH);
        good.len += 2;
        assert_int_equal(judge(kinds[k], &good, &why), VT_EAUTH);
        assert_int_equal(judge(kinds[1 - k], &good, &why), VT_EAUTH);
    }
}

static void test_key__modulus_short_or_even__refused(void **state)
{
    struct area area = area_of(HWTPM_TPM2);
    struct vt_why why;

    (void)state;
    area.bytes[sizeof head_2] = 0x45;
    assert_int_equal(judge(HWTPM_TPM2, &area, &why), VT_EAUTH);
    area = area_of(HWTPM_TPM2);
    area.bytes[area.len - 1] = 0x06;
    assert_int_equal(judge(HWTPM_TPM2, &area, &why), VT_EAUTH);
}

/* ---- The answer ---- */

static struct enrol_secret secret_of(enum hwtpm_kind kind)
{
    const struct area area = area_of(kind);
    struct enrol_secret secret = {
        .kind = kind, .public_len = area.len, .wanted = {.len = 32, .bytes = {1, 2, 3}}};

    memcpy(secret.public, area.bytes, area.len);
    return secret;
}

static struct enrol_answer answer_to(const struct enrol_secret *secret)
{
    struct enrol_answer answer = {.kind = secret->kind, .opened = secret->wanted};

    enrol_ak_id(answer.ak, secret->public, secret->public_len);
    return answer;
}

static void test_answer__right__taken_and_nothing_else(void **state)
{
    struct enrol_secret secret = secret_of(HWTPM_TPM2);
    struct enrol_answer right = answer_to(&secret), answer;

    (void)state;
    assert_int_equal(enrol_check(&secret, &right, NULL), VT_OK);
    for (size_t at = 0; at < 32; at++) {
        answer = right;
        answer.opened.bytes[at] ^= 0x80;
        assert_int_equal(enrol_check(&secret, &answer, NULL), VT_EAUTH);
        answer = right;
        answer.ak[at] ^= 1;
        assert_int_equal(enrol_check(&secret, &answer, NULL), VT_EAUTH);
    }
    for (uint32_t len = 0; len < 32; len++) {
        answer = right;
        answer.opened.len = len;
        assert_int_equal(enrol_check(&secret, &answer, NULL), VT_EAUTH);
    }
    answer = right;
    answer.kind = HWTPM_TPM12;
    assert_int_equal(enrol_check(&secret, &answer, NULL), VT_EAUTH);
}

/* A file of the CA's that says "nothing is wanted" must not be met by nothing. */
static void test_answer__secret_is_empty_or_short__refused(void **state)
{
    struct enrol_secret secret = secret_of(HWTPM_TPM12);
    struct enrol_answer answer;

    (void)state;
    for (uint32_t len = 0; len < 18; len++) {
        secret.wanted.len = len;
        answer = answer_to(&secret);
        assert_int_equal(enrol_check(&secret, &answer, NULL), len < 16 ? VT_EAUTH : VT_OK);
    }
}

/* ---- Files ---- */

static void test_files__cut_or_longer__refused_and_nothing_is_left(void **state)
{
    static const struct enrol_secret nothing;
    struct enrol_secret secret = secret_of(HWTPM_TPM2), read;
    uint8_t bytes[ENROL_MAX];
    size_t len = sizeof bytes;
    struct vt_why why = {0};

    (void)state;
    assert_int_equal(enrol_secret_write(bytes, &len, &secret), VT_OK);
    assert_int_equal(enrol_secret_read(&read, bytes, len, NULL), VT_OK);
    assert_memory_equal(&read, &secret, sizeof read);
    for (size_t cut = 0; cut < len; cut++) {
        assert_int_equal(enrol_secret_read(&read, bytes, cut, &why), VT_EUSAGE);
        assert_memory_equal(&read, &nothing, sizeof read);
    }
    assert_non_null(strstr(why.text, "vtpm-es1"));
    bytes[len] = 0;
    assert_int_equal(enrol_secret_read(&read, bytes, len + 1, NULL), VT_EUSAGE);
}

static void test_files__impossible_length__not_written(void **state)
{
    struct enrol_secret secret = secret_of(HWTPM_TPM2);
    struct enrol_answer answer = answer_to(&secret);
    uint8_t bytes[ENROL_MAX];
    size_t len = sizeof bytes;

    (void)state;
    answer.opened.len = 33;
    assert_int_equal(enrol_answer_write(bytes, &len, &answer), VT_ETOOBIG);
    answer.opened.len = 32;
    len = 20;
    assert_int_equal(enrol_answer_write(bytes, &len, &answer), VT_ETOOBIG);
}

/* One file is not taken for another. */
static void test_files__of_another_step__refused(void **state)
{
    static struct enrol_request request;
    struct enrol_secret secret = secret_of(HWTPM_TPM2);
    struct enrol_answer answer = answer_to(&secret);
    struct enrol_challenge challenge;
    uint8_t bytes[ENROL_MAX];
    size_t len = sizeof bytes;

    (void)state;
    assert_int_equal(enrol_answer_write(bytes, &len, &answer), VT_OK);
    assert_int_equal(enrol_challenge_read(&challenge, bytes, len, NULL), VT_EUSAGE);
    assert_int_equal(enrol_request_read(&request, bytes, len, NULL), VT_EUSAGE);
    assert_int_equal(enrol_secret_read(&secret, bytes, len, NULL), VT_EUSAGE);
    assert_int_equal(enrol_answer_read(&answer, bytes, len, NULL), VT_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key__as_the_server_makes_it__taken),
        cmocka_unit_test(test_key__attribute_that_matters_is_other__refused_by_its_name),
        cmocka_unit_test(test_key__of_another_form__refused),
        cmocka_unit_test(test_key__modulus_short_or_even__refused),
        cmocka_unit_test(test_answer__right__taken_and_nothing_else),
        cmocka_unit_test(test_answer__secret_is_empty_or_short__refused),
        cmocka_unit_test(test_files__cut_or_longer__refused_and_nothing_is_left),
        cmocka_unit_test(test_files__impossible_length__not_written),
        cmocka_unit_test(test_files__of_another_step__refused),
    };

    return cr_init() || cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

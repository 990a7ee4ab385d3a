/* SPDX-License-Identifier: Apache-2.0 */
/* The cursors: bounds, order of bytes, sticky bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/wire/schema.h"

static const uint8_t counting[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

static void test_rd__numbers__big_endian(void **state)
{
    struct rd r = rd_from(counting, 15);

    (void)state;
    assert_int_equal(rd_get8(&r), 0x01);
    assert_int_equal(rd_get16(&r), 0x0203);
    assert_int_equal(rd_get32(&r), 0x04050607);
    assert_true(rd_get64(&r) == 0x08090a0b0c0d0e0full);
    assert_true(rd_done(&r));
    assert_int_equal(rd_result(&r), TPM_SUCCESS);
}

static void test_rd__one_byte_short__zero_and_bad(void **state)
{
    struct rd r = rd_from(counting, 3);

    (void)state;
    assert_int_equal(rd_get32(&r), 0);
    assert_true(r.bad);
    assert_false(rd_done(&r));
    assert_int_equal(rd_result(&r), TPM_BAD_PARAM_SIZE);
}

static void test_rd__bad_once__stays_bad_and_takes_nothing(void **state)
{
    struct rd r = rd_from(counting, 3);
    size_t left;

    (void)state;
    assert_null(rd_take(&r, 4));
    left = r.left;
    assert_null(rd_take(&r, 1));
    assert_int_equal(rd_get8(&r), 0);
    assert_int_equal(r.left, left);
    assert_true(r.bad);
}

static void test_rd__length_that_would_wrap__bad(void **state)
{
    struct rd r = rd_from(counting, sizeof(counting));
    struct rd r2 = rd_from(counting, sizeof(counting));

    (void)state;
    rd_get8(&r);
    assert_null(rd_take(&r, SIZE_MAX));
    rd_get8(&r2);
    assert_null(rd_take(&r2, SIZE_MAX - 14));
    assert_true(r.bad && r2.bad);
}

static void test_rd__byte_left_over__not_done(void **state)
{
    struct rd r = rd_from(counting, 5);

    (void)state;
    rd_get32(&r);
    assert_false(r.bad);
    assert_false(rd_done(&r));
    assert_int_equal(rd_result(&r), TPM_BAD_PARAM_SIZE);
}

static void test_rd__nothing__done(void **state)
{
    struct rd r = rd_from(NULL, 0);

    (void)state;
    rd_take(&r, 0);
    rd_copy(&r, NULL, 0);
    assert_true(rd_done(&r));
}

static void test_rd_copy__short__zeros(void **state)
{
    struct rd r = rd_from(counting, 3);
    uint8_t out[4] = {9, 9, 9, 9};
    static const uint8_t zeros[4];

    (void)state;
    rd_copy(&r, out, sizeof(out));
    assert_memory_equal(out, zeros, sizeof(out));
    assert_true(r.bad);
}

static void test_rd_fail__twice__first_code_stays(void **state)
{
    struct rd r = rd_from(counting, 1);

    (void)state;
    rd_fail(&r, TPM_BAD_PARAMETER);
    rd_fail(&r, TPM_BAD_VERSION);
    rd_get16(&r);
    assert_int_equal(rd_result(&r), TPM_BAD_PARAMETER);
}

static void test_rd_fail__after_bytes_were_missing__size_stays(void **state)
{
    struct rd r = rd_from(counting, 1);

    (void)state;
    rd_get16(&r);
    rd_fail(&r, TPM_BAD_PARAMETER);
    assert_int_equal(rd_result(&r), TPM_BAD_PARAM_SIZE);
}

static void test_rd_peek16__any__takes_nothing(void **state)
{
    struct rd r = rd_from(counting, 2);
    struct rd shorter = rd_from(counting, 1);

    (void)state;
    assert_int_equal(rd_peek16(&r), 0x0102);
    assert_int_equal(r.left, 2);
    assert_int_equal(rd_peek16(&shorter), 0);
    assert_false(shorter.bad);
}

static void test_rd_sized__inside_and_outside__own_cursor(void **state)
{
    static const uint8_t bytes[] = {0, 0, 0, 2, 7, 8, 9, 0, 0, 0, 1};
    struct rd r = rd_from(bytes, sizeof(bytes));
    struct rd sub = rd_sized(&r);

    (void)state;
    assert_int_equal(rd_get16(&sub), 0x0708);
    assert_true(rd_done(&sub));
    assert_int_equal(rd_get8(&r), 9);
    sub = rd_sized(&r);
    assert_true(r.bad && sub.bad);
    assert_int_equal(sub.left, 0);
}

static void test_wr__numbers__big_endian(void **state)
{
    uint8_t out[15];
    struct wr w = wr_to(out, sizeof(out));

    (void)state;
    wr_put8(&w, 0x01);
    wr_put16(&w, 0x0203);
    wr_put32(&w, 0x04050607);
    wr_put64(&w, 0x08090a0b0c0d0e0full);
    assert_false(w.bad);
    assert_int_equal(w.len, sizeof(out));
    assert_memory_equal(out, counting, sizeof(out));
}

static void test_wr__full__bad_and_nothing_written(void **state)
{
    uint8_t out[4] = {0xee, 0xee, 0xee, 0xee};
    struct wr w = wr_to(out, 3);

    (void)state;
    wr_put32(&w, 0);
    assert_true(w.bad);
    assert_int_equal(w.len, 0);
    wr_put8(&w, 0);
    assert_int_equal(out[0], 0xee);
    assert_int_equal(out[3], 0xee);
}

static void test_wr__length_that_would_wrap__bad(void **state)
{
    uint8_t out[4];
    struct wr w = wr_to(out, sizeof(out));

    (void)state;
    wr_put8(&w, 0);
    assert_null(wr_room(&w, SIZE_MAX));
    assert_true(w.bad);
    assert_int_equal(w.len, 1);
}

static void test_wr_sized__nested__sizes_filled_in(void **state)
{
    static const uint8_t expected[] = {0, 0, 0, 6, 0, 0, 0, 1, 5, 6};
    uint8_t out[16];
    struct wr w = wr_to(out, sizeof(out));
    size_t outer = wr_sized_begin(&w);
    size_t inner = wr_sized_begin(&w);

    (void)state;
    wr_put8(&w, 5);
    wr_sized_end(&w, inner);
    wr_put8(&w, 6);
    wr_sized_end(&w, outer);
    assert_false(w.bad);
    assert_int_equal(w.len, sizeof(expected));
    assert_memory_equal(out, expected, sizeof(expected));
}

static void test_wr_sized__no_room__stays_bad(void **state)
{
    uint8_t out[3];
    struct wr w = wr_to(out, sizeof(out));
    size_t begin = wr_sized_begin(&w);

    (void)state;
    wr_sized_end(&w, begin);
    assert_true(w.bad);
}

static void test_wr_blob16__over_64_kib__bad(void **state)
{
    static uint8_t big[0x10000 + 2];
    static uint8_t out[0x10000 + 8];
    struct wr w = wr_to(out, sizeof(out));
    struct wr fits = wr_to(out, sizeof(out));

    (void)state;
    wr_blob16(&w, &(struct tpm_blob){.len = 0x10000, .data = big});
    assert_true(w.bad);
    wr_blob16(&fits, &(struct tpm_blob){.len = 0xffff, .data = big});
    assert_false(fits.bad);
    assert_int_equal(fits.len, 2 + 0xffff);
}

static void test_rd_blob32__size_past_the_end__empty_and_bad(void **state)
{
    static const uint8_t bytes[] = {0xff, 0xff, 0xff, 0xff, 1, 2, 3};
    struct rd r = rd_from(bytes, sizeof(bytes));
    struct tpm_blob blob;

    (void)state;
    rd_blob32(&r, &blob);
    assert_true(r.bad);
    assert_int_equal(blob.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rd__numbers__big_endian),
        cmocka_unit_test(test_rd__one_byte_short__zero_and_bad),
        cmocka_unit_test(test_rd__bad_once__stays_bad_and_takes_nothing),
        cmocka_unit_test(test_rd__length_that_would_wrap__bad),
        cmocka_unit_test(test_rd__byte_left_over__not_done),
        cmocka_unit_test(test_rd__nothing__done),
        cmocka_unit_test(test_rd_copy__short__zeros),
        cmocka_unit_test(test_rd_fail__twice__first_code_stays),
        cmocka_unit_test(test_rd_fail__after_bytes_were_missing__size_stays),
        cmocka_unit_test(test_rd_peek16__any__takes_nothing),
        cmocka_unit_test(test_rd_sized__inside_and_outside__own_cursor),
        cmocka_unit_test(test_wr__numbers__big_endian),
        cmocka_unit_test(test_wr__full__bad_and_nothing_written),
        cmocka_unit_test(test_wr__length_that_would_wrap__bad),
        cmocka_unit_test(test_wr_sized__nested__sizes_filled_in),
        cmocka_unit_test(test_wr_sized__no_room__stays_bad),
        cmocka_unit_test(test_wr_blob16__over_64_kib__bad),
        cmocka_unit_test(test_rd_blob32__size_past_the_end__empty_and_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/frame.h"
#include "server/base/alloc.h"

static int next_of(const void *bytes, size_t len, size_t max, size_t *got)
{
    struct vt_buf in;
    const uint8_t *payload;
    int err;

    vt_buf_init(&in, 1 << 20);
    assert_int_equal(vt_buf_put(&in, bytes, len), VT_OK);
    err = frame_next(&in, max, &payload, got);
    vt_buf_free(&in);
    return err;
}

static void test_frame__whole__is_found(void **state VT_UNUSED)
{
    size_t len = 99;

    assert_int_equal(next_of("\0\0\0\3abcX", 8, 3, &len), VT_OK);
    assert_int_equal(len, 3);
    assert_int_equal(next_of("\0\0\0\0", 4, 3, &len), VT_OK);
    assert_int_equal(len, 0);
}

static void test_frame__partial__is_again(void **state VT_UNUSED)
{
    size_t len;

    for (size_t n = 0; n < 7; n++)
        assert_int_equal(next_of("\0\0\0\3abc", n, 3, &len), VT_EAGAIN);
}

static void test_frame__too_long__is_refused_by_its_header(void **state VT_UNUSED)
{
    size_t len;

    assert_int_equal(next_of("\0\0\0\4", 4, 3, &len), VT_ETOOBIG);
    assert_int_equal(next_of("\xff\xff\xff\xff", 4, FRAME_MAX, &len), VT_ETOOBIG);
    assert_int_equal(next_of("\0\0\x40\1", 4, FRAME_MAX, &len), VT_ETOOBIG);
    assert_int_equal(next_of("\0\0\x40\0", 4, FRAME_MAX, &len), VT_EAGAIN);
}

static void test_frame_begin__written__reads_back(void **state VT_UNUSED)
{
    struct vt_buf buf;
    const uint8_t *payload;
    uint8_t *at;
    size_t len;

    vt_buf_init(&buf, 70000);
    assert_int_equal(frame_begin(&buf, 66000, &at), VT_OK);
    memset(at, 7, 66000);
    assert_int_equal(vt_buf_size(&buf), 66004);
    assert_int_equal(frame_next(&buf, 70000, &payload, &len), VT_OK);
    assert_int_equal(len, 66000);
    assert_ptr_equal(payload, at);
    assert_int_equal(payload[65999], 7);
    vt_buf_free(&buf);
}

static void test_frame_begin__no_room__changes_nothing(void **state VT_UNUSED)
{
    struct vt_buf buf;
    uint8_t *at;

    vt_buf_init(&buf, 10);
    assert_int_equal(frame_begin(&buf, 7, &at), VT_ETOOBIG);
    assert_int_equal(frame_begin(&buf, SIZE_MAX, &at), VT_ETOOBIG);
    assert_int_equal(vt_buf_size(&buf), 0);
#ifdef VTPM_TEST_HOOKS
    vt_alloc_fail_after(0);
    assert_int_equal(frame_begin(&buf, 6, &at), VT_ENOMEM);
    vt_alloc_fail_after(-1);
#endif
    assert_int_equal(frame_begin(&buf, 6, &at), VT_OK);
    vt_buf_free(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame__whole__is_found),
        cmocka_unit_test(test_frame__partial__is_again),
        cmocka_unit_test(test_frame__too_long__is_refused_by_its_header),
        cmocka_unit_test(test_frame_begin__written__reads_back),
        cmocka_unit_test(test_frame_begin__no_room__changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* PROTOCOL.md, "Limits": what a hostile peer may put into a frame. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/frame.h"
#include "proto/message.h"
#include "proto/pb.h"
#include "server/base/alloc.h"

static uint8_t bytes[20000];

/* A writer of raw protobuf, so that what our own packer refuses can be made. */
struct raw {
    uint8_t data[20000];
    size_t len;
};

static void raw_varint(struct raw *raw, uint64_t value)
{
    do {
        raw->data[raw->len++] = (uint8_t)(value & 0x7f) | (value > 0x7f ? 0x80 : 0);
        value >>= 7;
    } while (value);
}

static void raw_number(struct raw *raw, unsigned field, uint64_t value)
{
    raw_varint(raw, field << 3);
    raw_varint(raw, value);
}

static void raw_bytes(struct raw *raw, unsigned field, const void *data, size_t len)
{
    raw_varint(raw, field << 3 | 2);
    raw_varint(raw, len);
    memcpy(raw->data + raw->len, data, len);
    raw->len += len;
}

static int unpack_body(unsigned field, const struct raw *body)
{
    static struct raw outer;
    Vtpm__Message *msg = NULL;
    int err;

    outer.len = 0;
    raw_bytes(&outer, field, body->data, body->len);
    err = message_unpack(outer.data, outer.len, &msg, NULL);
    pb_free((ProtobufCMessage *)msg);
    return err;
}

static int execute_of(size_t stream, uint64_t n, uint32_t locality, size_t command)
{
    static struct raw raw;

    raw.len = 0;
    raw_bytes(&raw, 1, bytes, stream);
    raw_number(&raw, 2, n);
    raw_number(&raw, 3, locality);
    raw_bytes(&raw, 4, bytes, command);
    return unpack_body(6, &raw);
}

static void test_execute__bounds__hold(void **state VT_UNUSED)
{
    assert_int_equal(execute_of(16, 1, 0, 10), VT_OK);
    assert_int_equal(execute_of(16, UINT64_MAX, 4, 4096), VT_OK);
    assert_int_equal(execute_of(15, 1, 0, 10), VT_EPROTO);
    assert_int_equal(execute_of(17, 1, 0, 10), VT_EPROTO);
    assert_int_equal(execute_of(0, 1, 0, 10), VT_EPROTO);
    assert_int_equal(execute_of(16, 0, 0, 10), VT_EPROTO);
    assert_int_equal(execute_of(16, 1, 5, 10), VT_EPROTO);
    assert_int_equal(execute_of(16, 1, 0, 9), VT_EPROTO);
    assert_int_equal(execute_of(16, 1, 0, 4097), VT_EPROTO);
    assert_int_equal(execute_of(16, 1, 0, 0), VT_EPROTO);
}

/* A body with one field of bytes or text and nothing else. */
static int one_field(unsigned body, unsigned field, size_t len)
{
    static struct raw raw;

    raw.len = 0;
    if (body == 1)
        raw_number(&raw, 1, 1);
    if (body == 7)
        raw_number(&raw, 1, 1);
    if (body == 2 && field != 2)
        raw_bytes(&raw, 2, bytes, 16);
    raw_bytes(&raw, field, bytes, len);
    return unpack_body(body, &raw);
}

static void test_fields__lengths__hold(void **state VT_UNUSED)
{
    static const struct {
        unsigned body, field;
        size_t good[2];
        size_t bad[3];
    } rows[] = {
        {1, 2, {0, 256}, {257, 1000, 4000}},    /* Hello.software */
        {1, 3, {0, 32}, {31, 33, 1}},           /* Hello.entropy */
        {2, 1, {0, 16}, {15, 17, 1}},           /* Attach.uuid */
        {2, 2, {16, 16}, {15, 17, 0}},          /* Attach.stream */
        {2, 3, {0, 256}, {257, 1000, 4000}},    /* Attach.front_end */
        {3, 1, {0, 16}, {15, 17, 1}},           /* Attached.uuid */
        {3, 2, {0, 16}, {15, 17, 1}},           /* Attached.stream */
        {3, 5, {0, 256}, {257, 1000, 4000}},    /* Attached.state */
        {7, 2, {10, 4096}, {9, 4097, 0}},       /* Response.response */
        {10, 2, {0, 512}, {513, 1000, 4000}},   /* Error.text */
        {11, 2, {0, 4096}, {4097, 4098, 9000}}, /* Platform.hash_data */
    };

    memset(bytes, 'a', sizeof bytes);
    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        for (size_t k = 0; k < 2; k++)
            assert_int_equal(one_field(rows[i].body, rows[i].field, rows[i].good[k]), VT_OK);
        for (size_t k = 0; k < 3; k++)
            assert_int_equal(one_field(rows[i].body, rows[i].field, rows[i].bad[k]), VT_EPROTO);
    }
}

static void test_guest__boot_id_of_wrong_length__is_refused(void **state VT_UNUSED)
{
    static const size_t lengths[] = {0, 16, 15, 17};

    for (size_t i = 0; i < VT_COUNT(lengths); i++) {
        struct raw guest = {.len = 0}, power_on = {.len = 0}, attach = {.len = 0};
        int expected = i < 2 ? VT_OK : VT_EPROTO;

        raw_bytes(&guest, 1, bytes, lengths[i]);
        raw_bytes(&power_on, 2, guest.data, guest.len);
        raw_bytes(&attach, 2, bytes, 16);
        raw_bytes(&attach, 4, guest.data, guest.len);
        assert_int_equal(unpack_body(4, &power_on), expected);
        assert_int_equal(unpack_body(2, &attach), expected);
    }
}

static void test_guest__domain_name_too_long__is_refused(void **state VT_UNUSED)
{
    static const size_t lengths[] = {0, 1, MESSAGE_DOMAIN_MAX, MESSAGE_DOMAIN_MAX + 1};
    uint8_t name[MESSAGE_DOMAIN_MAX + 1];

    memset(name, 'n', sizeof name);
    for (size_t i = 0; i < VT_COUNT(lengths); i++) {
        struct raw guest = {.len = 0}, power_on = {.len = 0}, attach = {.len = 0};
        int expected = lengths[i] <= MESSAGE_DOMAIN_MAX ? VT_OK : VT_EPROTO;

        raw_bytes(&guest, 4, name, lengths[i]);
        raw_bytes(&power_on, 2, guest.data, guest.len);
        raw_bytes(&attach, 2, bytes, 16);
        raw_bytes(&attach, 4, guest.data, guest.len);
        assert_int_equal(unpack_body(4, &power_on), expected);
        assert_int_equal(unpack_body(2, &attach), expected);
    }
}

static void test_numbers__out_of_range__are_refused(void **state VT_UNUSED)
{
    struct raw hello = {.len = 0}, startup = {.len = 0}, power = {.len = 0}, reset = {.len = 0}, none = {.len = 0};

    assert_int_equal(unpack_body(1, &hello), VT_EPROTO);
    raw_number(&startup, 1, 3);
    assert_int_equal(unpack_body(4, &startup), VT_EPROTO);
    raw_number(&power, 4, 3);
    assert_int_equal(unpack_body(3, &power), VT_EPROTO);
    raw_number(&reset, 5, 5);
    assert_int_equal(unpack_body(11, &reset), VT_EPROTO);
    assert_int_equal(unpack_body(11, &none), VT_EPROTO);
    assert_int_equal(unpack_body(9, &none), VT_OK);
}

static void test_message__no_body__is_refused(void **state VT_UNUSED)
{
    struct raw raw = {.len = 0};
    Vtpm__Message *msg;

    assert_int_equal(message_unpack(raw.data, 0, &msg, NULL), VT_EPROTO);
    raw_bytes(&raw, 99, "abc", 3);
    assert_int_equal(message_unpack(raw.data, raw.len, &msg, NULL), VT_EPROTO);
}

static void test_unknown_fields__few__are_ignored(void **state VT_UNUSED)
{
    struct raw raw = {.len = 0};

    raw_number(&raw, 1, 7);
    for (unsigned i = 0; i < 50; i++)
        raw_number(&raw, 200 + i, i);
    assert_int_equal(unpack_body(8, &raw), VT_OK);
}

static void test_unknown_fields__many__stay_within_the_budget(void **state VT_UNUSED)
{
    static struct raw raw;

    raw.len = 0;
    while (raw.len < FRAME_MAX - 100)
        raw_number(&raw, 15, 1);
    assert_int_equal(unpack_body(8, &raw), VT_ETOOBIG);
}

static void test_message__garbage__never_harms(void **state VT_UNUSED)
{
    static uint8_t junk[600];
    uint32_t x = 12345;
    Vtpm__Message *msg;
    int good = 0;

    for (int round = 0; round < 20000; round++) {
        size_t len = (size_t)(round % 60);
        for (size_t i = 0; i < len; i++) {
            x = x * 1664525 + 1013904223;
            junk[i] = (uint8_t)(x >> 24) & (round & 1 ? 0x7f : 0xff);
        }
        if (message_unpack(junk, len, &msg, NULL) == VT_OK) {
            good++;
            pb_free((ProtobufCMessage *)msg);
        }
    }
    assert_true(good < 20000);
}

/* Each byte of a good message changed, and each shorter length. */
static void test_message__mutations__never_harm(void **state VT_UNUSED)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT, *got;
    Vtpm__Execute execute = VTPM__EXECUTE__INIT;
    uint8_t packed[128];
    size_t len;

    execute.stream = (ProtobufCBinaryData){16, bytes};
    execute.command = (ProtobufCBinaryData){12, bytes};
    execute.n = 300;
    msg.body_case = VTPM__MESSAGE__BODY_EXECUTE;
    msg.execute = &execute;
    len = vtpm__message__pack(&msg, packed);
    for (size_t i = 0; i < len; i++) {
        assert_int_not_equal(message_unpack(packed, i, &got, NULL), VT_OK);
        for (int value = 0; value < 256; value++) {
            uint8_t old = packed[i];
            packed[i] = (uint8_t)value;
            if (message_unpack(packed, len, &got, NULL) == VT_OK)
                pb_free((ProtobufCMessage *)got);
            packed[i] = old;
        }
    }
}

static void test_pack__what_we_would_not_take__is_not_sent(void **state VT_UNUSED)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__Response response = VTPM__RESPONSE__INIT;
    struct vt_buf out;

    vt_buf_init(&out, 65536);
    assert_int_equal(message_pack(&msg, &out), VT_EPROTO);
    response.n = 1;
    response.response = (ProtobufCBinaryData){4097, bytes};
    msg.body_case = VTPM__MESSAGE__BODY_RESPONSE;
    assert_int_equal(message_pack(&msg, &out), VT_EPROTO);
    msg.response = &response;
    assert_int_equal(message_pack(&msg, &out), VT_EPROTO);
    response.response.len = 4096;
    assert_int_equal(message_pack(&msg, &out), VT_OK);
    vt_buf_free(&out);
}

#ifdef VTPM_TEST_HOOKS
static void test_unpack__out_of_memory__leaks_nothing(void **state VT_UNUSED)
{
    struct raw outer = {.len = 0}, raw = {.len = 0};
    Vtpm__Message *msg = NULL;
    int err = VT_ENOMEM;

    raw_bytes(&raw, 1, bytes, 16);
    raw_number(&raw, 2, 5);
    raw_bytes(&raw, 4, bytes, 100);
    raw_number(&raw, 77, 5);
    raw_bytes(&outer, 6, raw.data, raw.len);
    for (long after = 0; err; after++) {
        assert_true(after < 50);
        vt_alloc_fail_after(after);
        err = message_unpack(outer.data, outer.len, &msg, NULL);
        assert_true(err == VT_OK || err == VT_ENOMEM);
    }
    vt_alloc_fail_after(-1);
    pb_free((ProtobufCMessage *)msg);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_execute__bounds__hold),
        cmocka_unit_test(test_fields__lengths__hold),
        cmocka_unit_test(test_guest__boot_id_of_wrong_length__is_refused),
        cmocka_unit_test(test_guest__domain_name_too_long__is_refused),
        cmocka_unit_test(test_numbers__out_of_range__are_refused),
        cmocka_unit_test(test_message__no_body__is_refused),
        cmocka_unit_test(test_unknown_fields__few__are_ignored),
        cmocka_unit_test(test_unknown_fields__many__stay_within_the_budget),
        cmocka_unit_test(test_message__garbage__never_harms),
        cmocka_unit_test(test_message__mutations__never_harm),
        cmocka_unit_test(test_pack__what_we_would_not_take__is_not_sent),
#ifdef VTPM_TEST_HOOKS
        cmocka_unit_test(test_unpack__out_of_memory__leaks_nothing),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The vchan client against a server's domain that writes whatever it likes into the shared page; this test is the platform. */
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "shim-minios/platform.h"
#include "shim-minios/vchan_client.h"

#define BASE "/local/domain/0/data/vchan/7/vtpm"

static alignas(4096) uint8_t page[3][4096]; /* the one in the middle is shared; the others are not ours to touch */
static char ring_ref[24], event_channel[24];
static unsigned mapped, bound, notified;

/* ---- The platform ---- */

int platform_read(const char *path, char *text, size_t size)
{
    const char *value = strcmp(path, BASE "/ring-ref") == 0        ? ring_ref
                        : strcmp(path, BASE "/event-channel") == 0 ? event_channel
                                                                   : "";

    if (!*value)
        return VT_ENOTFOUND;
    snprintf(text, size, "%s", value);
    return VT_OK;
}

void *platform_map(uint32_t domid, uint32_t ref)
{
    if (domid || ref != 17)
        return NULL;
    mapped++;
    return page[1];
}

void platform_unmap(void *at)
{
    assert_ptr_equal(at, page[1]);
    mapped--;
}

int platform_bind(uint32_t domid, uint32_t remote_port, uint32_t *port)
{
    if (domid || remote_port != 33)
        return VT_EIO;
    bound++;
    *port = 5;
    return VT_OK;
}

void platform_unbind(uint32_t port)
{
    assert_int_equal(port, 5);
    bound--;
}

void platform_notify(uint32_t port)
{
    assert_int_equal(port, 5);
    notified++;
}

/* ---- The server's domain ---- */

static uint8_t *shared(void)
{
    return page[1];
}

static void put(unsigned offset, uint32_t value)
{
    memcpy(shared() + offset, &value, sizeof value);
}

static uint32_t get(unsigned offset)
{
    uint32_t value;

    memcpy(&value, shared() + offset, sizeof value);
    return value;
}

static void offer(uint16_t left, uint16_t right, uint32_t left_at, uint32_t right_at)
{
    memset(page, 0xee, sizeof page);
    memset(shared(), 0, 4096);
    snprintf(ring_ref, sizeof ring_ref, "17");
    snprintf(event_channel, sizeof event_channel, "33");
    put(VCHAN_LEFT, left_at);
    put(VCHAN_LEFT + 4, left_at);
    put(VCHAN_RIGHT, right_at);
    put(VCHAN_RIGHT + 4, right_at);
    memcpy(shared() + VCHAN_LEFT_ORDER, &left, 2);
    memcpy(shared() + VCHAN_RIGHT_ORDER, &right, 2);
    shared()[VCHAN_CLI_LIVE] = VCHAN_AWAITED;
    shared()[VCHAN_SRV_LIVE] = VCHAN_CONNECTED;
    shared()[VCHAN_CLI_NOTIFY] = VCHAN_ON_WRITE | VCHAN_ON_READ;
}

static void outside_is_untouched(void)
{
    for (size_t i = 0; i < 4096; i++) {
        assert_int_equal(page[0][i], 0xee);
        assert_int_equal(page[2][i], 0xee);
    }
}

static int open_it(struct vchan *vchan, struct vt_why *why)
{
    *why = (struct vt_why){{0}};
    return vchan_open(vchan, 0, 7, why);
}

static int end(void **state VT_UNUSED)
{
    return mapped || bound;
}

/* ---- Tests ---- */

static void test_open__layouts__only_the_servers_two_rings_in_the_page(void **state VT_UNUSED)
{
    static const struct {
        uint16_t left, right;
        int err;
    } rows[] = {{10, 11, VT_OK},      {11, 10, VT_OK},     {10, 10, VT_EPROTO}, {11, 11, VT_EPROTO}, {12, 10, VT_EPROTO},
                {10, 12, VT_EPROTO},  {0, 11, VT_EPROTO},  {10, 0, VT_EPROTO},  {9, 11, VT_EPROTO},  {266, 11, VT_EPROTO},
                {10, 267, VT_EPROTO}, {32, 11, VT_EPROTO}, {10, 33, VT_EPROTO}, {0xffff, 0xffff, VT_EPROTO}};

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        struct vchan vchan;
        struct vt_why why;

        offer(rows[i].left, rows[i].right, 0, 0);
        assert_int_equal(open_it(&vchan, &why), rows[i].err);
        assert_int_equal(vchan_is_open(&vchan), !rows[i].err);
        assert_int_equal(shared()[VCHAN_CLI_LIVE], rows[i].err ? VCHAN_AWAITED : VCHAN_CONNECTED);
        vchan_close(&vchan);
        vchan_close(&vchan);
        outside_is_untouched();
    }
}

static void test_open__nodes_of_nonsense__are_named(void **state VT_UNUSED)
{
    static const struct {
        const char *ref, *channel;
        int err;
    } rows[] = {{"", "", VT_ENOTFOUND},          {"17", "", VT_ENOTFOUND},       {"x", "33", VT_EPROTO},
                {"4294967296", "33", VT_EPROTO}, {"17", "-1", VT_EPROTO},        {"17", "2147483648", VT_EPROTO},
                {"18", "33", VT_ENOTFOUND},      {"17", "34", VT_ENOTFOUND},     {"17 ", "33", VT_EPROTO}};

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        struct vchan vchan;
        struct vt_why why;

        offer(10, 11, 0, 0);
        snprintf(ring_ref, sizeof ring_ref, "%s", rows[i].ref);
        snprintf(event_channel, sizeof event_channel, "%s", rows[i].channel);
        assert_int_equal(open_it(&vchan, &why), rows[i].err);
        assert_string_not_equal(why.text, "");
        assert_false(vchan_is_open(&vchan));
    }
}

static void test_open__a_channel_that_has_a_client__is_left_alone(void **state VT_UNUSED)
{
    static const uint8_t lives[] = {VCHAN_GONE, VCHAN_CONNECTED, 3, 0xff};

    for (size_t i = 0; i < sizeof lives; i++) {
        struct vchan vchan;
        struct vt_why why;

        offer(10, 11, 0, 0);
        shared()[VCHAN_CLI_LIVE] = lives[i];
        assert_int_equal(open_it(&vchan, &why), VT_ENOTFOUND);
        assert_int_equal(shared()[VCHAN_CLI_LIVE], lives[i]);
    }
}

/* Indices that wrap, in the ring and in 32 bits; the other side is this test. */
static void test_bytes__both_ways_over_every_wrap__arrive_as_sent(void **state VT_UNUSED)
{
    struct vchan vchan;
    struct vt_why why;
    struct vt_buf out;
    uint8_t next_out = 0, next_in = 0, want_out = 0, want_in = 0, bytes[3000];

    offer(10, 11, 0xffffff00, 0xfffffe01);
    assert_int_equal(open_it(&vchan, &why), VT_OK);
    vt_buf_init(&out, 8192);
    for (unsigned round = 0; round < 400; round++) {
        uint32_t len = (round * 37) % 1500, prod = get(VCHAN_RIGHT + 4), cons = get(VCHAN_LEFT);
        size_t got;

        for (uint32_t i = 0; i < len; i++)
            bytes[i] = next_out++;
        assert_int_equal(vt_buf_put(&out, bytes, len), VT_OK);
        assert_int_equal(vchan_send(&vchan, &out), VT_OK);
        for (; cons != get(VCHAN_LEFT + 4); cons++)
            assert_int_equal(shared()[1024 + (cons & 1023)], want_out++);
        put(VCHAN_LEFT, cons);
        assert_int_equal(vchan_send(&vchan, &out), VT_OK);
        for (; cons != get(VCHAN_LEFT + 4); cons++)
            assert_int_equal(shared()[1024 + (cons & 1023)], want_out++);
        put(VCHAN_LEFT, cons);
        assert_int_equal(vt_buf_size(&out), 0);

        len = (round * 53) % 2049;
        for (uint32_t i = 0; i < len; i++)
            shared()[2048 + ((prod + i) & 2047)] = next_in++;
        put(VCHAN_RIGHT + 4, prod + len);
        do {
            assert_int_equal(vchan_receive(&vchan, bytes, 700, &got), VT_OK);
            for (size_t i = 0; i < got; i++)
                assert_int_equal(bytes[i], want_in++);
        } while (got);
        assert_int_equal(want_in, next_in);
    }
    outside_is_untouched();
    vt_buf_free(&out);
    vchan_close(&vchan);
    assert_int_equal(shared()[VCHAN_CLI_LIVE], VCHAN_GONE);
}

static void test_indices__more_than_the_ring_holds__are_a_protocol_error(void **state VT_UNUSED)
{
    static const uint32_t beyond[] = {2049, 4096, 0x7fffffff, 0x80000000, 0xffffffff};

    for (size_t i = 0; i < VT_COUNT(beyond); i++) {
        struct vchan vchan;
        struct vt_why why;
        struct vt_buf out;
        uint8_t bytes[4096];
        size_t got = 1;

        offer(10, 11, 5, 9);
        assert_int_equal(open_it(&vchan, &why), VT_OK);
        put(VCHAN_RIGHT + 4, 9 + beyond[i]);
        assert_int_equal(vchan_receive(&vchan, bytes, sizeof bytes, &got), VT_EPROTO);
        assert_int_equal(got, 0);
        put(VCHAN_LEFT, 5 - beyond[i]);
        vt_buf_init(&out, 4096);
        assert_int_equal(vt_buf_put(&out, bytes, 10), VT_OK);
        assert_int_equal(vchan_send(&vchan, &out), VT_EPROTO);
        assert_int_equal(vt_buf_size(&out), 10);
        vt_buf_free(&out);
        vchan_close(&vchan);
        outside_is_untouched();
    }
}

/* What the peer writes over our own two indices changes nothing for us. */
static void test_indices__ours_are_overwritten__are_never_read_back(void **state VT_UNUSED)
{
    struct vchan vchan;
    struct vt_why why;
    struct vt_buf out;
    uint8_t bytes[8] = {1, 2, 3};
    size_t got;

    offer(10, 11, 0, 0);
    assert_int_equal(open_it(&vchan, &why), VT_OK);
    vt_buf_init(&out, 4096);
    put(VCHAN_LEFT + 4, 0xdead);
    put(VCHAN_RIGHT, 0xbeef);
    put(VCHAN_LEFT_ORDER, 0xffffffff);
    assert_int_equal(vt_buf_put(&out, bytes, 3), VT_OK);
    assert_int_equal(vchan_send(&vchan, &out), VT_OK);
    assert_int_equal(get(VCHAN_LEFT + 4), 3);
    shared()[2048] = 77;
    put(VCHAN_RIGHT + 4, 1);
    assert_int_equal(vchan_receive(&vchan, bytes, sizeof bytes, &got), VT_OK);
    assert_int_equal(got, 1);
    assert_int_equal(bytes[0], 77);
    assert_int_equal(get(VCHAN_RIGHT), 1);
    vt_buf_free(&out);
    vchan_close(&vchan);
    outside_is_untouched();
}

static void test_server__closes__what_it_wrote_before_is_read_first(void **state VT_UNUSED)
{
    struct vchan vchan;
    struct vt_why why;
    struct vt_buf out;
    uint8_t bytes[8];
    size_t got;

    offer(10, 11, 0, 0);
    assert_int_equal(open_it(&vchan, &why), VT_OK);
    put(VCHAN_RIGHT + 4, 5);
    shared()[VCHAN_SRV_LIVE] = VCHAN_GONE;
    assert_int_equal(vchan_receive(&vchan, bytes, sizeof bytes, &got), VT_OK);
    assert_int_equal(got, 5);
    assert_int_equal(vchan_receive(&vchan, bytes, sizeof bytes, &got), VT_ECLOSED);
    vt_buf_init(&out, 64);
    assert_int_equal(vt_buf_put(&out, bytes, 4), VT_OK);
    assert_int_equal(vchan_send(&vchan, &out), VT_ECLOSED);
    vt_buf_free(&out);
    vchan_close(&vchan);
}

static void test_events__asked_for_and_sent_when_they_are_wanted__only(void **state VT_UNUSED)
{
    struct vchan vchan;
    struct vt_why why;
    struct vt_buf out;
    uint8_t bytes[2048] = {0};
    unsigned before;
    size_t got;

    offer(10, 11, 0, 0);
    assert_int_equal(open_it(&vchan, &why), VT_OK);
    vt_buf_init(&out, 4096);
    shared()[VCHAN_CLI_NOTIFY] = 0;
    before = notified;
    assert_int_equal(vt_buf_put(&out, bytes, 4), VT_OK);
    assert_int_equal(vchan_send(&vchan, &out), VT_OK);
    assert_int_equal(notified, before);
    shared()[VCHAN_CLI_NOTIFY] = VCHAN_ON_WRITE;
    /* More than fits: the rest stays, and an event is asked for when there is room. */
    shared()[VCHAN_SRV_NOTIFY] = 0;
    assert_int_equal(vt_buf_put(&out, bytes, 2000), VT_OK);
    assert_int_equal(vchan_send(&vchan, &out), VT_OK);
    assert_int_equal(vt_buf_size(&out), 2000 - 1020);
    assert_int_equal(notified, before + 1);
    assert_true(shared()[VCHAN_SRV_NOTIFY] & VCHAN_ON_READ);
    shared()[VCHAN_SRV_NOTIFY] = 0;
    assert_int_equal(vchan_receive(&vchan, bytes, sizeof bytes, &got), VT_OK);
    assert_true(shared()[VCHAN_SRV_NOTIFY] & VCHAN_ON_WRITE);
    vt_buf_free(&out);
    vchan_close(&vchan);
}

static void test_offer__withdrawn_or_another_one__is_noticed(void **state VT_UNUSED)
{
    struct vchan vchan;
    struct vt_why why;

    offer(10, 11, 0, 0);
    assert_int_equal(open_it(&vchan, &why), VT_OK);
    assert_true(vchan_is_offered(&vchan));
    snprintf(event_channel, sizeof event_channel, "34");
    assert_false(vchan_is_offered(&vchan));
    snprintf(event_channel, sizeof event_channel, "33");
    ring_ref[0] = '\0';
    assert_false(vchan_is_offered(&vchan));
    vchan_close(&vchan);
}

/* Whatever stands in the page: no byte outside it moves, no call loops, and no more comes out than the ring holds. */
static void test_page__random_bytes_at_any_time__stays_within_bounds(void **state VT_UNUSED)
{
    uint32_t random = 12345;

    for (unsigned round = 0; round < 2000; round++) {
        struct vchan vchan;
        struct vt_why why;
        struct vt_buf out;
        uint8_t bytes[4096] = {0};
        size_t got;

        offer(10 + round % 2, 11 - round % 2, random, random * 7);
        assert_int_equal(open_it(&vchan, &why), VT_OK);
        vt_buf_init(&out, 8192);
        for (unsigned i = 0; i < 20; i++) {
            random = random * 1664525 + 1013904223;
            shared()[(random >> 8) % 24] = (uint8_t)(random >> 24);
            assert_int_equal(vt_buf_put(&out, bytes, random % 300), VT_OK);
            (void)!vchan_send(&vchan, &out);
            (void)!vchan_receive(&vchan, bytes, sizeof bytes, &got);
            assert_true(got <= 2048);
        }
        vt_buf_free(&out);
        vchan_close(&vchan);
    }
    outside_is_untouched();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, end)
    const struct CMUnitTest tests[] = {
        TEST(test_open__layouts__only_the_servers_two_rings_in_the_page),
        TEST(test_open__nodes_of_nonsense__are_named),
        TEST(test_open__a_channel_that_has_a_client__is_left_alone),
        TEST(test_bytes__both_ways_over_every_wrap__arrive_as_sent),
        TEST(test_indices__more_than_the_ring_holds__are_a_protocol_error),
        TEST(test_indices__ours_are_overwritten__are_never_read_back),
        TEST(test_server__closes__what_it_wrote_before_is_read_first),
        TEST(test_events__asked_for_and_sent_when_they_are_wanted__only),
        TEST(test_offer__withdrawn_or_another_one__is_noticed),
        TEST(test_page__random_bytes_at_any_time__stays_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

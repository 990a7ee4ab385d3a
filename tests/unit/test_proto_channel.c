/* SPDX-License-Identifier: Apache-2.0 */
/* The channel's TLS and frames against good, clumsy and hostile peers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/frame.h"
#include "proto_rig.h"
#include "server/base/alloc.h"

static void test_handshake__right_key__opens(void **state VT_UNUSED)
{
    struct rig rig;

    rig_defaults(&rig);
    rig_open(&rig);
    assert_true(channel_is_open(rig.client));
    assert_true(channel_is_open(rig.server));
    assert_string_equal(channel_identity(rig.server), RIG_IDENTITY);
    assert_true(channel_identity_known(rig.server));
    rig_stop(&rig);
}

static void test_handshake__byte_by_byte__opens(void **state VT_UNUSED)
{
    struct rig rig;

    rig_defaults(&rig);
    rig.step = 1;
    rig_attach(&rig);
    assert_int_equal(rig_pass(&rig, rig.client, make_execute(1, 4096)), VT_OK);
    assert_int_equal(rig_pass(&rig, rig.server, make_response(1, 4096)), VT_OK);
    rig_stop(&rig);
}

/* How a handshake that must fail looks from outside. */
static void refused(struct rig *rig, int *client, int *server)
{
    assert_int_equal(rig_start(rig), VT_OK);
    rig_shake(rig, client, server);
    assert_false(channel_is_open(rig->client));
    assert_false(channel_is_open(rig->server));
    rig_stop(rig);
}

static void test_handshake__wrong_key_or_unknown_identity__look_the_same(void **state VT_UNUSED)
{
    struct rig wrong, unknown;
    int client, server;

    rig_defaults(&wrong);
    wrong.client_key.bytes[31] ^= 1;
    refused(&wrong, &client, &server);
    assert_int_equal(client, VT_EAUTH);
    assert_int_equal(server, VT_EAUTH);

    rig_defaults(&unknown);
    unknown.identity = "00112233-4455-6677-8899-aabbccddeef0";
    refused(&unknown, &client, &server);
    assert_int_equal(client, VT_EAUTH);
    assert_int_equal(server, VT_EAUTH);
    assert_string_equal(unknown.asked, unknown.identity);

    /* The same number of bytes, and the same last record: a fatal alert, bad_record_mac. */
    assert_int_equal(wrong.to_client, unknown.to_client);
    assert_memory_equal(wrong.last_to_client + wrong.last_len - 7, "\x15\x03\x03\x00\x02\x02\x14", 7);
    assert_memory_equal(unknown.last_to_client + unknown.last_len - 7, "\x15\x03\x03\x00\x02\x02\x14", 7);
}

/* The callback gives rig.key for every identity; an unknown one must not get in even with that. */
static void test_handshake__unknown_identity_with_decoy_of_callback__is_refused(void **state VT_UNUSED)
{
    struct rig rig;
    int client, server;

    rig_defaults(&rig);
    rig.identity = "host:nobody";
    refused(&rig, &client, &server);
    assert_int_equal(server, VT_EAUTH);
}

static void test_config__bad_identity__is_refused(void **state VT_UNUSED)
{
    static const char *const identities[] = {"", "with space", "caf\xc3\xa9", "tab\t",
        "12345678901234567890123456789012345678901234567890123456789012345678901234567890"};
    struct rig rig;

    for (size_t i = 0; i < VT_COUNT(identities); i++) {
        rig_defaults(&rig);
        rig.identity = identities[i];
        assert_int_equal(rig_start(&rig), VT_EUSAGE);
        rig_stop(&rig);
    }
    rig_defaults(&rig);
    rig.identity = "1234567890123456789012345678901234567890123456789012345678901234567890123456789";
    assert_int_equal(rig_start(&rig), VT_OK);
    rig_stop(&rig);
}

static void test_handshake__truncated__waits(void **state VT_UNUSED)
{
    struct rig rig;
    struct vt_buf *out;

    rig_defaults(&rig);
    assert_int_equal(rig_start(&rig), VT_OK);
    assert_int_equal(channel_handshake(rig.client, NULL), VT_EAGAIN);
    out = channel_output(rig.client);
    assert_int_equal(channel_feed(rig.server, vt_buf_bytes(out), vt_buf_size(out) - 1), VT_OK);
    assert_int_equal(channel_handshake(rig.server, NULL), VT_EAGAIN);
    assert_int_equal(vt_buf_size(channel_output(rig.server)), 0);
    assert_int_equal(channel_phase(rig.server), CHANNEL_HANDSHAKE);
    rig_stop(&rig);
}

static void test_handshake__garbage__is_protocol_error(void **state VT_UNUSED)
{
    static const char junk[] = "GET / HTTP/1.1\r\nHost: here\r\n\r\n";
    struct rig rig;

    for (int client = 0; client < 2; client++) {
        struct channel *ch;
        rig_defaults(&rig);
        assert_int_equal(rig_start(&rig), VT_OK);
        ch = client ? rig.client : rig.server;
        assert_int_equal(channel_feed(ch, junk, sizeof junk), VT_OK);
        assert_int_equal(channel_handshake(ch, NULL), VT_EPROTO);
        assert_int_equal(channel_handshake(ch, NULL), VT_EPROTO);
        assert_int_equal(channel_phase(ch), CHANNEL_CLOSED);
        rig_stop(&rig);
    }
}

static void test_feed__flood__is_refused(void **state VT_UNUSED)
{
    static uint8_t junk[32768];
    struct rig rig;
    int err = VT_OK;

    rig_defaults(&rig);
    assert_int_equal(rig_start(&rig), VT_OK);
    for (int i = 0; i < 10 && !err; i++)
        err = channel_feed(rig.server, junk, sizeof junk);
    assert_int_equal(err, VT_ETOOBIG);
    rig_stop(&rig);
}

static void test_record__altered__closes(void **state VT_UNUSED)
{
    struct rig rig;
    Vtpm__Message *msg;
    struct vt_buf *out;
    uint8_t copy[256];
    size_t len;

    rig_defaults(&rig);
    rig_attach(&rig);
    assert_int_equal(channel_send(rig.client, make_execute(1, 10)), VT_OK);
    out = channel_output(rig.client);
    len = vt_buf_size(out);
    memcpy(copy, vt_buf_bytes(out), len);
    copy[len - 1] ^= 1;
    assert_int_equal(channel_feed(rig.server, copy, len), VT_OK);
    assert_int_equal(channel_next(rig.server, &msg, NULL), VT_EPROTO);
    assert_int_equal(channel_next(rig.server, &msg, NULL), VT_EPROTO);
    rig_stop(&rig);
}

static void test_large_flows__both_ways__arrive(void **state VT_UNUSED)
{
    struct rig rig;

    rig_defaults(&rig);
    rig.step = 1000;
    rig_attach(&rig);
    for (uint64_t n = 1; n <= 500; n++) {
        assert_int_equal(rig_pass(&rig, rig.client, make_execute(n, 10 + (n * 977) % 4087)), VT_OK);
        assert_int_equal(rig_pass(&rig, rig.server, make_response(n, 10 + (n * 1733) % 4087)), VT_OK);
    }
    assert_true(rig.to_server > 500 * 1000 && rig.to_client > 500 * 1000);
    rig_stop(&rig);
}

static void test_output__never_sent__is_bounded(void **state VT_UNUSED)
{
    struct rig rig;
    int err = VT_OK, sent = 0;

    rig_defaults(&rig);
    rig_attach(&rig);
    /* Cancel may be repeated without an answer. */
    for (; !err && sent < 100000; sent++)
        err = channel_send(rig.client, make_cancel(1));
    assert_int_equal(err, VT_ETOOBIG);
    assert_true(vt_buf_size(channel_output(rig.client)) <= 96 * 1024);
    rig_stop(&rig);
}

static void test_close__in_order__is_told(void **state VT_UNUSED)
{
    struct rig rig;
    Vtpm__Message *msg;

    rig_defaults(&rig);
    rig_attach(&rig);
    channel_close(rig.client);
    assert_int_equal(rig_next(&rig, rig.server, &msg), VT_ECLOSED);
    assert_int_equal(channel_phase(rig.server), CHANNEL_CLOSED);
    assert_int_equal(channel_send(rig.server, make_error(false)), VT_EPROTO);
    assert_int_equal(channel_send(rig.client, make_cancel(1)), VT_EPROTO);
    rig_stop(&rig);
}

/* The close is read together with the message before it; the message can still be answered. */
static void test_close__behind_a_message__lets_it_be_answered(void **state VT_UNUSED)
{
    struct rig rig;
    Vtpm__Message *msg;

    rig_defaults(&rig);
    rig_open(&rig);
    assert_int_equal(channel_send(rig.client, make_attach()), VT_OK);
    channel_close(rig.client);
    assert_int_equal(rig_next(&rig, rig.server, &msg), VT_OK);
    channel_message_free(msg);
    assert_int_equal(channel_send(rig.server, make_attached()), VT_OK);
    assert_int_equal(rig_next(&rig, rig.server, &msg), VT_ECLOSED);
    rig_stop(&rig);
}

static void test_refuse__any_text__arrives_cut_and_fatal(void **state VT_UNUSED)
{
    struct rig rig;
    Vtpm__Message *msg;
    char text[1000];

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    rig_defaults(&rig);
    rig_open(&rig);
    channel_refuse(rig.server, VT_EPERM, text);
    assert_int_equal(rig_next(&rig, rig.client, &msg), VT_OK);
    assert_int_equal(msg->body_case, VTPM__MESSAGE__BODY_ERROR);
    assert_int_equal(msg->error->code, 7);
    assert_true(msg->error->fatal);
    assert_int_equal(strlen(msg->error->text), MESSAGE_ERROR_MAX);
    channel_message_free(msg);
    assert_int_equal(rig_next(&rig, rig.client, &msg), VT_ECLOSED);
    rig_stop(&rig);
}

static void test_refuse__during_handshake__is_harmless(void **state VT_UNUSED)
{
    struct rig rig;

    rig_defaults(&rig);
    assert_int_equal(rig_start(&rig), VT_OK);
    channel_refuse(rig.server, VT_EPERM, "no");
    assert_int_equal(channel_phase(rig.server), CHANNEL_CLOSED);
    rig_stop(&rig);
}

/* ---- A peer that has the key but sends what it likes: plain TLS against a channel. ---- */

static void shake_tls(struct tls *tls, struct channel *ch)
{
    int a = VT_EAGAIN, b = VT_EAGAIN;

    for (int i = 0; i < 10; i++) {
        a = tls_handshake(tls, NULL);
        assert_int_equal(channel_feed(ch, vt_buf_bytes(tls_output(tls)), vt_buf_size(tls_output(tls))), VT_OK);
        vt_buf_drop(tls_output(tls), vt_buf_size(tls_output(tls)));
        b = channel_handshake(ch, NULL);
        assert_int_equal(tls_feed(tls, vt_buf_bytes(channel_output(ch)), vt_buf_size(channel_output(ch))), VT_OK);
        vt_buf_drop(channel_output(ch), vt_buf_size(channel_output(ch)));
    }
    assert_int_equal(a, VT_OK);
    assert_int_equal(b, VT_OK);
}

static int say(const void *bytes, size_t len, bool then_close)
{
    struct rig rig;
    struct tls *tls;
    Vtpm__Message *msg;
    int err;

    rig_defaults(&rig);
    assert_int_equal(rig_start(&rig), VT_OK);
    struct tls_config config = {.random = rig_random, .identity = RIG_IDENTITY, .key = &rig.key};
    assert_int_equal(tls_new(&tls, &config), VT_OK);
    shake_tls(tls, rig.server);
    assert_int_equal(tls_write(tls, bytes, len), VT_OK);
    if (then_close)
        tls_close(tls);
    assert_int_equal(channel_feed(rig.server, vt_buf_bytes(tls_output(tls)), vt_buf_size(tls_output(tls))), VT_OK);
    err = channel_next(rig.server, &msg, NULL);
    channel_message_free(msg);
    tls_free(tls);
    rig_stop(&rig);
    return err;
}

static void test_frames__hostile__close_the_channel(void **state VT_UNUSED)
{
    static uint8_t big[FRAME_HEADER + 4096 + 100];

    assert_int_equal(say("\xff\xff\xff\xff", 4, false), VT_ETOOBIG);
    assert_int_equal(say("\0\0\x40\1", 4, false), VT_ETOOBIG);
    assert_int_equal(say("\0\0\0\3\xff\xff\xff", 7, false), VT_EPROTO);
    assert_int_equal(say("\0\0\0\0", 4, false), VT_EPROTO);
    assert_int_equal(say("\0\0\0\3a", 5, false), VT_EAGAIN);
    assert_int_equal(say("\0\0\0\3a", 5, true), VT_EPROTO);
    assert_int_equal(say("", 0, true), VT_ECLOSED);
    big[2] = (sizeof big - 4) >> 8;
    big[3] = (sizeof big - 4) & 0xff;
    assert_int_equal(say(big, sizeof big, false), VT_EPROTO);
}

#ifdef VTPM_TEST_HOOKS
/* One conversation; whatever allocation fails, it ends with an error that is told and without a leak. */
static int converse(struct rig *rig)
{
    Vtpm__Message *msg = NULL;
    int client, server, err = rig_start(rig);

    if (err)
        return err;
    rig_shake(rig, &client, &server);
    if (client || server)
        return VT_ENOMEM;
    err = channel_send(rig->client, make_hello());
    if (!err)
        err = rig_next(rig, rig->server, &msg);
    channel_message_free(msg);
    return err;
}

static void test_channel__allocation_fails__is_told(void **state VT_UNUSED)
{
    struct rig rig;
    int err = VT_ENOMEM;
    long after;

    for (after = 0; err && after < 200; after++) {
        rig_defaults(&rig);
        vt_alloc_fail_after(after);
        err = converse(&rig);
        rig_stop(&rig);
    }
    vt_alloc_fail_after(-1);
    assert_int_equal(err, VT_OK);
    assert_true(after > 5);
}

/* An allocation that fails while sending changes nothing: the same message can be sent again. */
static void test_send__allocation_fails__can_be_repeated(void **state VT_UNUSED)
{
    struct rig rig;
    int err = VT_ENOMEM;

    rig_defaults(&rig);
    rig_attach(&rig);
    for (long after = 0; err; after++) {
        assert_true(after < 20);
        vt_alloc_fail_after(after);
        err = channel_send(rig.client, make_execute(1, 1000));
        vt_alloc_fail_after(-1);
        assert_true(err == VT_OK || err == VT_ENOMEM);
    }
    Vtpm__Message *msg;
    assert_int_equal(rig_next(&rig, rig.server, &msg), VT_OK);
    channel_message_free(msg);
    rig_stop(&rig);
}
#endif

static void test_channel__idle__keeps_small_buffers(void **state VT_UNUSED)
{
    struct rig rig;
    Vtpm__Message *msg;

    rig_defaults(&rig);
    rig_attach(&rig);
    assert_int_equal(rig_pass(&rig, rig.client, make_execute(1, 4096)), VT_OK);
    assert_int_equal(rig_pass(&rig, rig.server, make_response(1, 4096)), VT_OK);
    assert_int_equal(rig_pass(&rig, rig.client, make_cancel(1)), VT_OK);
    assert_int_equal(channel_next(rig.server, &msg, NULL), VT_EAGAIN);
    assert_true(channel_output(rig.server)->cap <= 512);
    rig_stop(&rig);
}

static unsigned spared;
static size_t spared_len;

static void overwrite(void *at, size_t len)
{
    memset(at, 0xEE, len);
    spared++;
    spared_len += len;
}

static void test_channel__spare_memory_is_lost__goes_on(void **state VT_UNUSED)
{
    struct rig rig;

    spared = 0;
    spared_len = 0;
    rig_defaults(&rig);
    rig.spare = overwrite;
    rig_attach(&rig);
    assert_int_equal(spared, 4); /* two buffers of each side */
    assert_true(spared_len > 4 * 15 * 1024);
    for (uint64_t n = 1; n < 4; n++) {
        assert_int_equal(rig_pass(&rig, rig.client, make_execute(n, 4096)), VT_OK);
        assert_int_equal(rig_pass(&rig, rig.server, make_response(n, 4096)), VT_OK);
    }
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake__right_key__opens),
        cmocka_unit_test(test_handshake__byte_by_byte__opens),
        cmocka_unit_test(test_handshake__wrong_key_or_unknown_identity__look_the_same),
        cmocka_unit_test(test_handshake__unknown_identity_with_decoy_of_callback__is_refused),
        cmocka_unit_test(test_config__bad_identity__is_refused),
        cmocka_unit_test(test_handshake__truncated__waits),
        cmocka_unit_test(test_handshake__garbage__is_protocol_error),
        cmocka_unit_test(test_feed__flood__is_refused),
        cmocka_unit_test(test_record__altered__closes),
        cmocka_unit_test(test_large_flows__both_ways__arrive),
        cmocka_unit_test(test_output__never_sent__is_bounded),
        cmocka_unit_test(test_close__in_order__is_told),
        cmocka_unit_test(test_close__behind_a_message__lets_it_be_answered),
        cmocka_unit_test(test_refuse__any_text__arrives_cut_and_fatal),
        cmocka_unit_test(test_refuse__during_handshake__is_harmless),
        cmocka_unit_test(test_frames__hostile__close_the_channel),
#ifdef VTPM_TEST_HOOKS
        cmocka_unit_test(test_channel__allocation_fails__is_told),
        cmocka_unit_test(test_send__allocation_fails__can_be_repeated),
#endif
        cmocka_unit_test(test_channel__idle__keeps_small_buffers),
        cmocka_unit_test(test_channel__spare_memory_is_lost__goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* An exported instance as bytes: what goes in comes out, and nothing else does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "server/base/alloc.h"
#include "server/core/store/bundle.h"
#include "server/core/store/server_key.h"

static struct vt_key source, target;
static uint8_t source_pub[CR_EC_PUBLIC], target_pub[CR_EC_PUBLIC];
static const struct bundle_head head = {.id = {1, 2, 3}, .source = {{4}}, .target = {{5}}, .time = 1700000000};
static struct moving moving;
static uint8_t *bundle;
static size_t bundle_len;

static void fill(struct moving *m)
{
    memset(m, 0, sizeof *m);
    m->uuid = (struct vt_uuid){{0xaa, 0xbb}};
    snprintf(m->name, sizeof m->name, "vm-1");
    snprintf(m->group, sizeof m->group, "web");
    snprintf(m->profile, sizeof m->profile, "pc-client");
    m->has_ek = true;
    memset(m->ek_sha256, 0xee, sizeof m->ek_sha256);
    memset(&m->psk, 0x55, sizeof m->psk);
    m->created = 12345;
    m->binding_count = 2;
    snprintf(m->bindings[0], sizeof m->bindings[0], "dom0");
    snprintf(m->bindings[1], sizeof m->bindings[1], "backend:name:driver");
    m->record = (struct record){.seq = 9, .base_seq = 9, .power = RECORD_ON, .resume_armed = true, .n = 4};
    m->record.guest = (struct guest_epoch){.domid = 7, .has_domid = true};
    assert_int_equal(record_set(&m->record.response, "response", 8), VT_OK);
    assert_int_equal(record_set(&m->record.volatile_state, "volatile", 8), VT_OK);
    assert_int_equal(record_set(&m->record.permanent, "permanent", 9), VT_OK);
}

static int setup(void **state)
{
    (void)state;
    assert_int_equal(cr_init(), VT_OK);
    assert_int_equal(cr_ec_generate(&source, source_pub), VT_OK);
    assert_int_equal(cr_ec_generate(&target, target_pub), VT_OK);
    fill(&moving);
    assert_int_equal(bundle_make(&head, &source, target_pub, &moving, &bundle, &bundle_len), VT_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    moving_free(&moving);
    vt_free(bundle);
    return 0;
}

/* All that an importer does; VT_OK: it would be taken. */
static int take(const uint8_t *in, size_t len, const uint8_t by[CR_EC_PUBLIC], const struct vt_key *own,
                struct moving *out)
{
    struct bundle_head read;
    struct vt_why why = {""};
    int err = bundle_read(&read, in, len, &why);

    if (!err)
        err = bundle_verify(in, len, by, &why);
    if (!err)
        err = bundle_open(&read, in, len, own, out, &why);
    if (err)
        assert_true(why.text[0]);
    return err;
}

static void assert_same_bytes(const struct vt_bytes *a, const struct vt_bytes *b)
{
    assert_int_equal(a->len, b->len);
    assert_memory_equal(a->data, b->data, a->len);
}

static void test_bundle__made_and_opened__all_fields(void **state)
{
    struct moving out;

    (void)state;
    assert_int_equal(take(bundle, bundle_len, source_pub, &target, &out), VT_OK);
    assert_true(vt_uuid_equal(&out.uuid, &moving.uuid));
    assert_string_equal(out.name, "vm-1");
    assert_string_equal(out.group, "web");
    assert_string_equal(out.profile, "pc-client");
    assert_true(out.has_ek);
    assert_memory_equal(out.ek_sha256, moving.ek_sha256, sizeof out.ek_sha256);
    assert_memory_equal(&out.psk, &moving.psk, sizeof out.psk);
    assert_int_equal(out.created, 12345);
    assert_int_equal(out.binding_count, 2);
    assert_string_equal(out.bindings[1], "backend:name:driver");
    assert_int_equal(out.record.seq, 9);
    assert_true(out.record.resume_armed && out.record.guest.domid == 7);
    assert_same_bytes(&out.record.volatile_state, &moving.record.volatile_state);
    assert_same_bytes(&out.record.permanent, &moving.record.permanent);
    assert_same_bytes(&out.record.response, &moving.record.response);
    moving_free(&out);
}

static void test_bundle__made_twice__no_byte_of_the_contents_alike(void **state)
{
    uint8_t *again;
    size_t len, same = 0;

    (void)state;
    assert_int_equal(bundle_make(&head, &source, target_pub, &moving, &again, &len), VT_OK);
    assert_int_equal(len, bundle_len);
    for (size_t i = 133; i < len; i++)
        same += bundle[i] == again[i];
    assert_true(same < len / 8);
    vt_free(again);
}

static void test_bundle__its_secrets__nowhere_in_clear(void **state)
{
    static const char *const texts[] = {"permanent", "volatile", "response", "vm-1", "UUUUUUUU", "dom0"};

    (void)state;
    for (size_t i = 0; i < VT_COUNT(texts); i++)
        assert_null(memmem(bundle, bundle_len, texts[i], strlen(texts[i])));
}

static void test_bundle__any_bit_of_any_byte_altered__refused(void **state)
{
    struct moving out;

    (void)state;
    for (size_t i = 0; i < bundle_len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            int err;

            bundle[i] ^= (uint8_t)(1u << bit);
            err = take(bundle, bundle_len, source_pub, &target, &out);
            bundle[i] ^= (uint8_t)(1u << bit);
            if (err != VT_EAUTH && err != VT_EDAMAGED)
                fail_msg("byte %zu, bit %u: %d", i, bit, err);
        }
    }
    assert_int_equal(take(bundle, bundle_len, source_pub, &target, &out), VT_OK);
    moving_free(&out);
}

static void test_bundle__any_length__refused(void **state)
{
    struct bundle_head read;

    (void)state;
    for (size_t len = 0; len < bundle_len; len++)
        assert_int_equal(bundle_read(&read, bundle, len, NULL), VT_EDAMAGED);
    bundle = vt_realloc(bundle, bundle_len + 1);
    bundle[bundle_len] = 0;
    assert_int_equal(bundle_read(&read, bundle, bundle_len + 1, NULL), VT_EDAMAGED);
}

static void test_bundle__newer_version__says_so(void **state)
{
    struct vt_why why = {""};
    struct bundle_head read;

    (void)state;
    bundle[5] = 2;
    assert_int_equal(bundle_read(&read, bundle, bundle_len, &why), VT_EDAMAGED);
    assert_non_null(strstr(why.text, "version 2"));
}

static void test_bundle__other_keys__refused(void **state)
{
    uint8_t pub[CR_EC_PUBLIC], *forged;
    struct moving out;
    struct vt_key other;
    size_t len;

    (void)state;
    assert_int_equal(cr_ec_generate(&other, pub), VT_OK);
    assert_int_equal(take(bundle, bundle_len, pub, &target, &out), VT_EAUTH);
    assert_int_equal(take(bundle, bundle_len, source_pub, &other, &out), VT_EKEY);
    /* Whoever knows the target's key can encrypt to it, but not sign as the source. */
    assert_int_equal(bundle_make(&head, &other, target_pub, &moving, &forged, &len), VT_OK);
    assert_int_equal(take(forged, len, source_pub, &target, &out), VT_EAUTH);
    vt_free(forged);
    /* Nor can the source's bundle for one store be given to another, under a changed address. */
    bundle[40] ^= 1;
    assert_int_equal(take(bundle, bundle_len, source_pub, &target, &out), VT_EAUTH);
}

static void test_bundle__off_the_curve__refused_before_anything_is_computed(void **state)
{
    struct bundle_head read;
    struct moving out;

    (void)state;
    assert_int_equal(bundle_read(&read, bundle, bundle_len, NULL), VT_OK);
    read.ephemeral[10] ^= 1;
    assert_int_equal(bundle_open(&read, bundle, bundle_len, &target, &out, NULL), VT_EKEY);
}

/* ---- Contents: a peer's mistakes, signed ---- */

static int decode_changed(void (*change)(struct moving *m))
{
    struct moving changed, out;
    uint8_t *bytes;
    size_t len;
    int err;

    fill(&changed);
    change(&changed);
    assert_int_equal(moving_encode(&changed, &bytes, &len), VT_OK);
    err = moving_decode(&out, bytes, len, NULL);
    vt_free_wiped(bytes, len);
    moving_free(&changed);
    if (!err)
        moving_free(&out);
    return err;
}

static void no_change(struct moving *m)
{
    (void)m;
}

static void bad_name(struct moving *m)
{
    snprintf(m->name, sizeof m->name, "a/b");
}

static void uuid_name(struct moving *m)
{
    snprintf(m->name, sizeof m->name, "0d2fa4b2-6a4f-4a58-9a0c-3c0a5c0d7a11");
}

static void bad_group(struct moving *m)
{
    snprintf(m->group, sizeof m->group, "a b");
}

static void no_profile(struct moving *m)
{
    m->profile[0] = '\0';
}

static void negative_time(struct moving *m)
{
    m->created = -1;
}

static void odd_binding(struct moving *m)
{
    snprintf(m->bindings[0], sizeof m->bindings[0], "domid:5");
}

static void double_binding(struct moving *m)
{
    memcpy(m->bindings[1], m->bindings[0], sizeof m->bindings[1]);
}

static void no_permanent(struct moving *m)
{
    vt_free(m->record.permanent.data);
    m->record.permanent = (struct vt_bytes){0};
}

static void not_durable(struct moving *m)
{
    m->record.base_seq = 8;
}

static void test_contents__that_cannot_be__refused(void **state)
{
    void (*const changes[])(struct moving *) = {bad_name,      uuid_name,   bad_group,      no_profile,   negative_time,
                                                odd_binding,   double_binding, no_permanent, not_durable};

    (void)state;
    assert_int_equal(decode_changed(no_change), VT_OK);
    for (size_t i = 0; i < VT_COUNT(changes); i++)
        if (decode_changed(changes[i]) != VT_EDAMAGED)
            fail_msg("change %zu was taken", i);
}

static void test_contents__any_length__refused_and_empty(void **state)
{
    static const struct moving nothing;
    struct moving out;
    uint8_t *bytes;
    size_t len;

    (void)state;
    assert_int_equal(moving_encode(&moving, &bytes, &len), VT_OK);
    for (size_t k = 0; k < len; k++) {
        assert_int_equal(moving_decode(&out, bytes, k, NULL), VT_EDAMAGED);
        assert_memory_equal(&out, &nothing, sizeof out);
    }
    vt_free_wiped(bytes, len);
}

static void test_contents__too_large__refused(void **state)
{
    uint8_t *bytes, *large = vt_calloc(1, RECORD_MAX);
    size_t len;

    (void)state;
    assert_int_equal(record_set(&moving.record.permanent, large, RECORD_MAX), VT_OK);
    vt_free(large);
    assert_int_equal(moving_encode(&moving, &bytes, &len), VT_ETOOBIG);
    assert_null(bytes);
}

/* ---- The line of a key ---- */

static void test_key_line__made_and_read__the_same(void **state)
{
    const struct vt_uuid store = {{1, 2, 3}};
    char line[SERVER_KEY_LINE], padded[SERVER_KEY_LINE + 16], print[SERVER_KEY_FINGERPRINT];
    struct db_peer peer = {0};

    (void)state;
    server_key_line(line, &store, source_pub);
    assert_int_equal(server_key_parse(&peer, line, NULL), VT_OK);
    assert_true(vt_uuid_equal(&peer.store, &store));
    assert_memory_equal(peer.public, source_pub, sizeof peer.public);
    snprintf(padded, sizeof padded, "\n %s \r\n\n", line);
    assert_int_equal(server_key_parse(&peer, padded, NULL), VT_OK);
    server_key_fingerprint(print, &store, source_pub);
    assert_int_equal(strlen(print), 39);
}

static void test_key_line__anything_else__refused(void **state)
{
    const struct vt_uuid store = {{1, 2, 3}};
    char line[SERVER_KEY_LINE], wrong[SERVER_KEY_LINE + 16];
    struct db_peer peer;
    struct vt_why why = {""};

    (void)state;
    server_key_line(line, &store, source_pub);
    for (size_t i = 0; i < sizeof line - 1; i++) {
        memcpy(wrong, line, sizeof line);
        wrong[i] = 'x';
        assert_int_equal(server_key_parse(&peer, wrong, NULL), VT_EUSAGE);
        wrong[i] = '\0';
        assert_int_equal(server_key_parse(&peer, wrong, NULL), VT_EUSAGE);
    }
    snprintf(wrong, sizeof wrong, "%s\nmore", line);
    assert_int_equal(server_key_parse(&peer, wrong, &why), VT_EUSAGE);
    assert_non_null(strstr(why.text, "server key show"));
    assert_int_equal(server_key_parse(&peer, "", NULL), VT_EUSAGE);
    /* Another point of the same x is another key; one that is none is refused. */
    memcpy(wrong, line, sizeof line);
    wrong[sizeof line - 2] = wrong[sizeof line - 2] == '0' ? '1' : '0';
    assert_int_equal(server_key_parse(&peer, wrong, NULL), VT_EUSAGE);
}

#define BUNDLE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BUNDLE_TEST(test_bundle__made_and_opened__all_fields),
        BUNDLE_TEST(test_bundle__made_twice__no_byte_of_the_contents_alike),
        BUNDLE_TEST(test_bundle__its_secrets__nowhere_in_clear),
        BUNDLE_TEST(test_bundle__any_bit_of_any_byte_altered__refused),
        BUNDLE_TEST(test_bundle__any_length__refused),
        BUNDLE_TEST(test_bundle__newer_version__says_so),
        BUNDLE_TEST(test_bundle__other_keys__refused),
        BUNDLE_TEST(test_bundle__off_the_curve__refused_before_anything_is_computed),
        BUNDLE_TEST(test_contents__that_cannot_be__refused),
        BUNDLE_TEST(test_contents__any_length__refused_and_empty),
        BUNDLE_TEST(test_contents__too_large__refused),
        BUNDLE_TEST(test_key_line__made_and_read__the_same),
        BUNDLE_TEST(test_key_line__anything_else__refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "server/core/store/seal.h"

static const struct vt_key key = {{1, 2, 3}};
static const struct seal_name name = {{{10}}, {{20}}, SEAL_RUNTIME, 7};

static void test_seal__same_name__opens(void **state)
{
    uint8_t in[100], sealed[100 + SEAL_OVERHEAD], out[100], tag[CR_GCM_TAG];

    (void)state;
    memset(in, 0x5a, sizeof in);
    for (size_t len = 0; len <= sizeof in; len++) {
        assert_int_equal(seal(&key, &name, in, len, sealed, tag), VT_OK);
        memset(out, 0, sizeof out);
        assert_int_equal(unseal(&key, &name, sealed, len + SEAL_OVERHEAD, tag, out), VT_OK);
        assert_memory_equal(in, out, len);
    }
}

static void test_seal__twice__other_nonce_and_bytes(void **state)
{
    uint8_t in[32] = {0}, a[32 + SEAL_OVERHEAD], b[32 + SEAL_OVERHEAD], tag[CR_GCM_TAG];

    (void)state;
    assert_int_equal(seal(&key, &name, in, sizeof in, a, tag), VT_OK);
    assert_int_equal(seal(&key, &name, in, sizeof in, b, tag), VT_OK);
    assert_memory_not_equal(a, b, CR_GCM_NONCE);
    assert_memory_not_equal(a + CR_GCM_NONCE, b + CR_GCM_NONCE, 32);
}

static void refused(const struct vt_key *k, const struct seal_name *n, const uint8_t *sealed, size_t len, const uint8_t *tag)
{
    uint8_t out[64];

    assert_int_equal(unseal(k, n, sealed, len, tag, out), VT_EDAMAGED);
}

static void test_unseal__another_place__is_refused(void **state)
{
    uint8_t in[20] = "a record", sealed[20 + SEAL_OVERHEAD], tag[CR_GCM_TAG];
    struct seal_name other;
    struct vt_key other_key = key;

    (void)state;
    assert_int_equal(seal(&key, &name, in, sizeof in, sealed, tag), VT_OK);
    other = name;
    other.store.bytes[15] ^= 1;
    refused(&key, &other, sealed, sizeof sealed, tag);
    other = name;
    other.instance.bytes[0] ^= 0x80;
    refused(&key, &other, sealed, sizeof sealed, tag);
    for (int kind = SEAL_DURABLE; kind <= SEAL_MASTER_KEY; kind++) {
        other = name;
        other.kind = (enum seal_kind)kind;
        if (other.kind != name.kind)
            refused(&key, &other, sealed, sizeof sealed, tag);
    }
    other = name;
    other.seq++;
    refused(&key, &other, sealed, sizeof sealed, tag);
    other.seq = name.seq + (1ull << 40);
    refused(&key, &other, sealed, sizeof sealed, tag);
    other_key.bytes[31] ^= 1;
    refused(&other_key, &name, sealed, sizeof sealed, tag);
}

static void test_unseal__any_bit_changed_or_cut__is_refused(void **state)
{
    uint8_t in[20] = "a record", sealed[20 + SEAL_OVERHEAD], tag[CR_GCM_TAG];

    (void)state;
    assert_int_equal(seal(&key, &name, in, sizeof in, sealed, tag), VT_OK);
    for (size_t i = 0; i < sizeof sealed * 8; i++) {
        sealed[i / 8] ^= (uint8_t)(1 << i % 8);
        refused(&key, &name, sealed, sizeof sealed, tag);
        sealed[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t i = 0; i < sizeof tag * 8; i++) {
        tag[i / 8] ^= (uint8_t)(1 << i % 8);
        refused(&key, &name, sealed, sizeof sealed, tag);
        tag[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t len = 0; len < sizeof sealed; len++)
        refused(&key, &name, sealed, len, tag);
}

static void test_seal_key__round_trip__and_exact_length(void **state)
{
    struct vt_key in = {{9, 8, 7}}, out;
    uint8_t sealed[SEAL_KEY_LEN + 1] = {0};

    (void)state;
    assert_int_equal(seal_key(&key, &name, &in, sealed), VT_OK);
    assert_int_equal(unseal_key(&key, &name, sealed, SEAL_KEY_LEN, &out), VT_OK);
    assert_memory_equal(&in, &out, sizeof in);
    for (size_t len = 0; len < SEAL_KEY_LEN; len++)
        assert_int_equal(unseal_key(&key, &name, sealed, len, &out), VT_EDAMAGED);
    assert_int_equal(unseal_key(&key, &name, sealed, SEAL_KEY_LEN + 1, &out), VT_EDAMAGED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seal__same_name__opens),
        cmocka_unit_test(test_seal__twice__other_nonce_and_bytes),
        cmocka_unit_test(test_unseal__another_place__is_refused),
        cmocka_unit_test(test_unseal__any_bit_changed_or_cut__is_refused),
        cmocka_unit_test(test_seal_key__round_trip__and_exact_length),
    };

    return cr_init() || cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Known bytes, and the code that each kind of wrong value answers with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/wire/commands.h"

#define READ(kind, bytes, out) read_as((bytes), sizeof(bytes), any_##kind, (out))
#define READER(kind)                                                                                         \
    static void any_##kind(struct rd *r, void *out)                                                          \
    {                                                                                                        \
        rd_##kind(r, out);                                                                                   \
    }

typedef void (*read_fn)(struct rd *r, void *out);

static tpm_rc read_as(const void *bytes, size_t len, read_fn read, void *out)
{
    struct rd r = rd_from(bytes, len);

    read(&r, out);
    return rd_result(&r);
}

READER(get_capability_in)
READER(take_ownership_in)
READER(set_owner_install_in)
READER(quote_in)
READER(nv_define_space_in)
READER(load_key2_in)
READER(unseal_in)
READER(key_parms)
READER(msa_composite)
READER(startup_in)
READER(oiap_in)

/* What TrouSerS sends for TPM_CAP_PROP_PCR. */
static void test_get_capability_in__property_pcr__decoded(void **state)
{
    static const uint8_t bytes[] = {0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 1, 1};
    struct get_capability_in in;
    struct rd sub;

    (void)state;
    assert_int_equal(READ(get_capability_in, bytes, &in), TPM_SUCCESS);
    assert_int_equal(in.cap_area, TPM_CAP_PROPERTY);
    assert_int_equal(in.sub_cap.len, 4);
    sub = rd_from(in.sub_cap.data, in.sub_cap.len);
    assert_int_equal(rd_get32(&sub), TPM_CAP_PROP_PCR);
}

/* TPM_KEY as TakeOwnership's srkParams: storage, 2048 bits, OAEP, no signature, always authorised. */
#define SRK_PARAMS                                                                                           \
    0x01, 0x01, 0x00, 0x00,             /* ver 1.1.0.0 */                                                    \
    0x00, 0x11,                         /* TPM_KEY_STORAGE */                                                \
    0x00, 0x00, 0x00, 0x00,             /* keyFlags */                                                       \
    0x01,                               /* TPM_AUTH_ALWAYS */                                                \
    0x00, 0x00, 0x00, 0x01,             /* TPM_ALG_RSA */                                                    \
    0x00, 0x03, 0x00, 0x01,             /* OAEP, TPM_SS_NONE */                                              \
    0x00, 0x00, 0x00, 0x0c,             /* parmSize */                                                       \
    0x00, 0x00, 0x08, 0x00,             /* keyLength */                                                      \
    0x00, 0x00, 0x00, 0x02,             /* numPrimes */                                                      \
    0x00, 0x00, 0x00, 0x00,             /* exponentSize */                                                   \
    0x00, 0x00, 0x00, 0x00,             /* PCRInfoSize */                                                    \
    0x00, 0x00, 0x00, 0x00,             /* pubKey.keyLength */                                               \
    0x00, 0x00, 0x00, 0x00              /* encSize */

static void test_take_ownership_in__srk_params__decoded(void **state)
{
    static const uint8_t bytes[] = {0x00, 0x05, 0, 0, 0, 2, 0xaa, 0xbb, 0, 0, 0, 1, 0xcc, SRK_PARAMS};
    struct take_ownership_in in;
    const struct tpm_key *key = &in.srk_params;

    (void)state;
    assert_int_equal(READ(take_ownership_in, bytes, &in), TPM_SUCCESS);
    assert_int_equal(in.protocol_id, TPM_PID_OWNER);
    assert_int_equal(in.enc_owner_auth.len, 2);
    assert_int_equal(in.enc_srk_auth.data[0], 0xcc);
    assert_false(key->is_12);
    assert_int_equal(key->key_usage, TPM_KEY_STORAGE);
    assert_int_equal(key->auth_data_usage, TPM_AUTH_ALWAYS);
    assert_int_equal(key->algorithm_parms.enc_scheme, TPM_ES_RSAESOAEP_SHA1_MGF1);
    assert_int_equal(key->algorithm_parms.form, TPM_PARMS_RSA);
    assert_int_equal(key->algorithm_parms.parms.rsa.key_length, 2048);
    assert_int_equal(key->algorithm_parms.parms.rsa.num_primes, 2);
    assert_int_equal(key->enc_data.len, 0);
}

static void test_key__srk_params_written__same_bytes(void **state)
{
    static const uint8_t expected[] = {SRK_PARAMS};
    const struct tpm_key key = {
        .ver = {.major = 1, .minor = 1},
        .key_usage = TPM_KEY_STORAGE,
        .auth_data_usage = TPM_AUTH_ALWAYS,
        .algorithm_parms = {.algorithm_id = TPM_ALG_RSA,
                            .enc_scheme = TPM_ES_RSAESOAEP_SHA1_MGF1,
                            .sig_scheme = TPM_SS_NONE,
                            .form = TPM_PARMS_RSA,
                            .parms.rsa = {.key_length = 2048, .num_primes = 2}},
    };
    uint8_t out[sizeof(expected) + 8];
    struct wr w = wr_to(out, sizeof(out));

    (void)state;
    wr_key(&w, &key);
    assert_int_equal(w.len, sizeof(expected));
    assert_memory_equal(out, expected, sizeof(expected));
    w.len = 0;
    wr_key_public(&w, &key);
    assert_int_equal(w.len, sizeof(expected) - 4);
}

static void test_key__tag_and_fill__key12(void **state)
{
    uint8_t bytes[] = {SRK_PARAMS};
    struct load_key2_in in;

    (void)state;
    memcpy(bytes, "\x00\x28\x00\x00", 4);
    assert_int_equal(READ(load_key2_in, bytes, &in), TPM_SUCCESS);
    assert_true(in.in_key.is_12);
    bytes[3] = 1; /* fill */
    assert_int_equal(READ(load_key2_in, bytes, &in), TPM_BAD_KEY_PROPERTY);
    memcpy(bytes, "\x00\x29\x00\x00", 4); /* another structure's tag */
    assert_int_equal(READ(load_key2_in, bytes, &in), TPM_BAD_KEY_PROPERTY);
}

static void test_key__wrong_values__their_codes(void **state)
{
    uint8_t bytes[] = {SRK_PARAMS};
    struct load_key2_in in;

    (void)state;
    bytes[1] = 2; /* version 1.2 there is not */
    assert_int_equal(READ(load_key2_in, bytes, &in), TPM_BAD_VERSION);
    bytes[1] = 1;
    bytes[9] = 0x20; /* an unknown key flag */
    assert_int_equal(READ(load_key2_in, bytes, &in), TPM_BAD_KEY_PROPERTY);
}

static void test_key_parms__rsa_parms_of_another_size__param_size(void **state)
{
    static const uint8_t longer[] = {0, 0, 0, 1, 0, 3, 0, 1, 0, 0, 0, 13,
                                     0, 0, 8, 0, 0, 0, 0, 2, 0, 0, 0, 0, 7};
    static const uint8_t none[] = {0, 0, 0, 1, 0, 3, 0, 1, 0, 0, 0, 0};
    struct tpm_key_parms parms;

    (void)state;
    assert_int_equal(READ(key_parms, longer, &parms), TPM_BAD_PARAM_SIZE);
    assert_int_equal(READ(key_parms, none, &parms), TPM_BAD_PARAM_SIZE);
}

static void test_key_parms__cipher_with_unknown_parms__raw(void **state)
{
    static const uint8_t bytes[] = {0, 0, 0, 6, 0, 1, 0, 1, 0, 0, 0, 2, 0xde, 0xad};
    struct tpm_key_parms parms;

    (void)state;
    assert_int_equal(READ(key_parms, bytes, &parms), TPM_SUCCESS);
    assert_int_equal(parms.form, TPM_PARMS_RAW);
    assert_int_equal(parms.parms.raw.len, 2);
}

static void test_b__two__bad_parameter(void **state)
{
    static const uint8_t two[] = {2}, one[] = {1};
    struct set_owner_install_in in;

    (void)state;
    assert_int_equal(READ(set_owner_install_in, two, &in), TPM_BAD_PARAMETER);
    assert_int_equal(READ(set_owner_install_in, one, &in), TPM_SUCCESS);
    assert_true(in.state);
}

static void test_quote_in__pcr_selection__sizes(void **state)
{
    uint8_t three[25] = {[21] = 3, [22] = 0x01, [23] = 0x80, [24] = 0x80};
    uint8_t four[26] = {[21] = 4};
    uint8_t huge[24] = {[20] = 0xff, [21] = 0xff};
    struct quote_in in;

    (void)state;
    assert_int_equal(READ(quote_in, three, &in), TPM_SUCCESS);
    assert_true(tpm_pcr_selected(&in.target_pcr, 0));
    assert_false(tpm_pcr_selected(&in.target_pcr, 1));
    assert_true(tpm_pcr_selected(&in.target_pcr, 15));
    assert_true(tpm_pcr_selected(&in.target_pcr, 23));
    assert_false(tpm_pcr_selected(&in.target_pcr, 24));
    assert_false(tpm_pcr_selected(&in.target_pcr, UINT32_MAX));
    assert_true(tpm_pcr_any_selected(&in.target_pcr));
    assert_int_equal(READ(quote_in, four, &in), TPM_INVALID_PCR_INFO);
    assert_int_equal(READ(quote_in, huge, &in), TPM_INVALID_PCR_INFO);
    assert_false(tpm_pcr_any_selected(&in.target_pcr));
}

static void test_pcr_selection__four_bytes__not_written(void **state)
{
    uint8_t out[8];
    struct wr w = wr_to(out, sizeof(out));

    (void)state;
    wr_pcr_selection(&w, &(struct tpm_pcr_selection){.size_of_select = 4});
    assert_true(w.bad);
}

static void test_nv_define_space_in__wrong_tag__invalid_structure(void **state)
{
    struct nv_define_space_in in = {
        .pub_info = {.nv_index = 0x1234,
                     .pcr_info_read = {.pcr_selection = {.size_of_select = 3}, .locality_at_release = 0x1f},
                     .pcr_info_write = {.pcr_selection = {.size_of_select = 3}, .locality_at_release = 0x1f},
                     .permission = {TPM_NV_PER_OWNERWRITE},
                     .data_size = 32},
    };
    uint8_t bytes[2 + 4 + 26 + 26 + 6 + 3 + 4 + 20];
    struct wr w = wr_to(bytes, sizeof(bytes));

    (void)state;
    wr_nv_define_space_in(&w, &in);
    assert_false(w.bad);
    assert_int_equal(w.len, sizeof(bytes));
    assert_memory_equal(bytes, "\x00\x18\x00\x00\x12\x34\x00\x03\x00\x00\x00\x1f", 12);
    assert_memory_equal(bytes + 58, "\x00\x17\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x20", 13);
    assert_int_equal(READ(nv_define_space_in, bytes, &in), TPM_SUCCESS);
    bytes[59] = 0x18; /* the inner tag */
    assert_int_equal(READ(nv_define_space_in, bytes, &in), TPM_INVALID_STRUCTURE);
    bytes[64] = 2; /* bReadSTClear too: the first wrong value counts */
    assert_int_equal(READ(nv_define_space_in, bytes, &in), TPM_INVALID_STRUCTURE);
}

static void test_unseal_in__three_kinds_of_head__told_apart(void **state)
{
    uint8_t bytes[] = {1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x55};
    struct unseal_in in;

    (void)state;
    assert_int_equal(READ(unseal_in, bytes, &in), TPM_SUCCESS);
    assert_false(in.in_data.is_12);
    assert_int_equal(in.in_data.enc_data.data[0], 0x55);
    memcpy(bytes, "\x00\x16\x00\x05", 4);
    assert_int_equal(READ(unseal_in, bytes, &in), TPM_SUCCESS);
    assert_true(in.in_data.is_12);
    assert_int_equal(in.in_data.et, TPM_ET_KEY);
    memcpy(bytes, "\x00\x15\x00\x05", 4);
    assert_int_equal(READ(unseal_in, bytes, &in), TPM_BAD_VERSION);
    memcpy(bytes, "\x01\x02\x00\x00", 4);
    assert_int_equal(READ(unseal_in, bytes, &in), TPM_BAD_VERSION);
}

static void test_msa_composite__counts_past_the_end__bad(void **state)
{
    /* 0x0ccccccd * 20 is 4 modulo 2^32. */
    static const uint8_t wraps[] = {0x0c, 0xcc, 0xcc, 0xcd, 1, 2, 3, 4};
    static const uint8_t empty[] = {0, 0, 0, 0};
    struct tpm_msa_composite list;

    (void)state;
    assert_int_equal(READ(msa_composite, wraps, &list), TPM_BAD_PARAM_SIZE);
    assert_int_equal(list.msa_list, 0);
    assert_int_equal(READ(msa_composite, empty, &list), TPM_INVALID_STRUCTURE);
}

static void test_parameters__one_more_or_none__param_size(void **state)
{
    static const uint8_t three[] = {0, 1, 0};
    struct startup_in startup;
    struct oiap_in oiap;

    (void)state;
    assert_int_equal(READ(startup_in, three, &startup), TPM_BAD_PARAM_SIZE);
    assert_int_equal(read_as(three, 2, any_startup_in, &startup), TPM_SUCCESS);
    assert_int_equal(startup.startup_type, TPM_ST_CLEAR);
    assert_int_equal(read_as(three, 0, any_oiap_in, &oiap), TPM_SUCCESS);
    assert_int_equal(read_as(three, 1, any_oiap_in, &oiap), TPM_BAD_PARAM_SIZE);
}

/* What is hashed and signed must not move by a byte. */
static void test_signed_structures__written__known_bytes(void **state)
{
    uint8_t out[64];
    struct wr w = wr_to(out, sizeof(out));

    (void)state;
    wr_quote_info(&w, &(struct tpm_quote_info){.version = {1, 1, 0, 0}, .fixed = {"QUOT"}});
    assert_int_equal(w.len, 48);
    assert_memory_equal(out, "\x01\x01\x00\x00QUOT\x00", 9);
    w.len = 0;
    wr_sign_info(&w, &(struct tpm_sign_info){.fixed = {"SIGN"}, .data = {2, (const uint8_t *)"ab"}});
    assert_int_equal(w.len, 32);
    assert_memory_equal(out, "\x00\x05SIGN", 6);
    assert_memory_equal(out + 26, "\x00\x00\x00\x02"
                                  "ab",
                        6);
    w.len = 0;
    wr_current_ticks(&w, &(struct tpm_current_ticks){.current_ticks = 0x0102030405060708, .tick_rate = 1});
    assert_int_equal(w.len, 32);
    assert_memory_equal(out, "\x00\x14\x01\x02\x03\x04\x05\x06\x07\x08\x00\x01", 12);
}

static void test_fixed_lengths__headers_and_trailers__as_constants_say(void **state)
{
    uint8_t out[64];
    struct wr w = wr_to(out, sizeof(out));

    (void)state;
    wr_request_header(&w, &(struct tpm_request_header){0});
    assert_int_equal(w.len, TPM_HEADER_LEN);
    w.len = 0;
    wr_response_header(&w, &(struct tpm_response_header){0});
    assert_int_equal(w.len, TPM_HEADER_LEN);
    w.len = 0;
    wr_auth_in(&w, &(struct tpm_auth_in){0});
    assert_int_equal(w.len, TPM_AUTH_IN_LEN);
    w.len = 0;
    wr_auth_out(&w, &(struct tpm_auth_out){0});
    assert_int_equal(w.len, TPM_AUTH_OUT_LEN);
}

static void test_blob_has_tag__pcr_info__told_apart(void **state)
{
    static const uint8_t info_long[] = {0, 6, 1}, info[] = {0, 3, 0}, cut[] = {0};

    (void)state;
    assert_true(tpm_blob_has_tag(&(struct tpm_blob){3, info_long}, TPM_TAG_PCR_INFO_LONG));
    assert_false(tpm_blob_has_tag(&(struct tpm_blob){3, info}, TPM_TAG_PCR_INFO_LONG));
    assert_false(tpm_blob_has_tag(&(struct tpm_blob){1, cut}, TPM_TAG_PCR_INFO_LONG));
    assert_false(tpm_blob_has_tag(&(struct tpm_blob){0}, TPM_TAG_PCR_INFO_LONG));
}

/* Where a marked byte of the structure written is; 0: nowhere. */
static size_t marked(const struct wr *w, uint8_t mark)
{
    const uint8_t *at = memchr(w->base, mark, w->len);

    assert_false(w->bad);
    return at ? (size_t)(at - w->base) : 0;
}

/* Round trips cannot see two fields of one size exchanged: here is where that is easy to do. */
static void test_digests_of_one_structure__written__in_the_specifications_order(void **state)
{
    uint8_t out[128];
    struct wr w = wr_to(out, sizeof(out));

    (void)state;
    wr_pcr_info(&w, &(struct tpm_pcr_info){.digest_at_release = {{0xd1}}, .digest_at_creation = {{0xd2}}});
    assert_int_equal(marked(&w, 0xd1), 2);
    assert_int_equal(marked(&w, 0xd2), 22);
    w.len = 0;
    wr_pcr_info_long(&w, &(struct tpm_pcr_info_long){.locality_at_creation = 0xa1,
                                                     .locality_at_release = 0xa2,
                                                     .release_pcr_selection = {1, {0xa3}},
                                                     .digest_at_creation = {{0xd1}},
                                                     .digest_at_release = {{0xd2}}});
    assert_int_equal(marked(&w, 0xa1), 2);
    assert_int_equal(marked(&w, 0xa2), 3);
    assert_int_equal(marked(&w, 0xa3), 8);
    assert_int_equal(marked(&w, 0xd1), 9);
    assert_int_equal(marked(&w, 0xd2), 29);
    w.len = 0;
    wr_sealed_data(&w, &(struct tpm_sealed_data){.payload = TPM_PT_SEAL,
                                                 .auth_data = {{0xd1}},
                                                 .tpm_proof = {{0xd2}},
                                                 .stored_digest = {{0xd3}}});
    assert_int_equal(marked(&w, 0xd1), 1);
    assert_int_equal(marked(&w, 0xd2), 21);
    assert_int_equal(marked(&w, 0xd3), 41);
    w.len = 0;
    wr_store_asymkey(&w, &(struct tpm_store_asymkey){.usage_auth = {{0xd1}},
                                                     .migration_auth = {{0xd2}},
                                                     .pub_data_digest = {{0xd3}}});
    assert_int_equal(marked(&w, 0xd1), 1);
    assert_int_equal(marked(&w, 0xd2), 21);
    assert_int_equal(marked(&w, 0xd3), 41);
    w.len = 0;
    wr_cmk_auth(&w, &(struct tpm_cmk_auth){.destination_key_digest = {{0xd2}},
                                           .source_key_digest = {{0xd3}}});
    assert_int_equal(marked(&w, 0xd2), 20);
    assert_int_equal(marked(&w, 0xd3), 40);
    w.len = 0;
    wr_quote_info2(&w, &(struct tpm_quote_info2){.fixed = {"QUT2"}, .external_data = {{0xd1}}});
    assert_int_equal(marked(&w, 0xd1), 6);
    w.len = 0;
    wr_quote_info(&w, &(struct tpm_quote_info){.digest_value = {{0xd1}}, .external_data = {{0xd2}}});
    assert_int_equal(marked(&w, 0xd1), 8);
    assert_int_equal(marked(&w, 0xd2), 28);
    w.len = 0;
    wr_transport_log_in(&w, &(struct tpm_transport_log_in){.parameters = {{0xd1}}, .pub_key_hash = {{0xd2}}});
    assert_int_equal(marked(&w, 0xd1), 2);
    assert_int_equal(marked(&w, 0xd2), 22);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get_capability_in__property_pcr__decoded),
        cmocka_unit_test(test_take_ownership_in__srk_params__decoded),
        cmocka_unit_test(test_key__srk_params_written__same_bytes),
        cmocka_unit_test(test_key__tag_and_fill__key12),
        cmocka_unit_test(test_key__wrong_values__their_codes),
        cmocka_unit_test(test_key_parms__rsa_parms_of_another_size__param_size),
        cmocka_unit_test(test_key_parms__cipher_with_unknown_parms__raw),
        cmocka_unit_test(test_b__two__bad_parameter),
        cmocka_unit_test(test_quote_in__pcr_selection__sizes),
        cmocka_unit_test(test_pcr_selection__four_bytes__not_written),
        cmocka_unit_test(test_nv_define_space_in__wrong_tag__invalid_structure),
        cmocka_unit_test(test_unseal_in__three_kinds_of_head__told_apart),
        cmocka_unit_test(test_msa_composite__counts_past_the_end__bad),
        cmocka_unit_test(test_parameters__one_more_or_none__param_size),
        cmocka_unit_test(test_signed_structures__written__known_bytes),
        cmocka_unit_test(test_digests_of_one_structure__written__in_the_specifications_order),
        cmocka_unit_test(test_fixed_lengths__headers_and_trailers__as_constants_say),
        cmocka_unit_test(test_blob_has_tag__pcr_info__told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

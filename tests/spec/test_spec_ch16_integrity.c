/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, chapter 16, and the platform's measured launch. */
#include "tests/lib/fixture_keys.h"
#include "tests/spec/spec.h"

/*= p3:16.1#1 p3:16.2 */
static void test_pcr__not_there__badindex(void **state)
{
    struct pcr_read_in in = {.pcr_index = TPM_NUM_PCR};

    assert_int_equal(spec_extend(*state, TPM_NUM_PCR, 0), TPM_BADINDEX);
    assert_int_equal(spec_extend(*state, 0xFFFFFFFF, 0), TPM_BADINDEX);
    assert_int_equal(TC(*state, TPM_ORD_PcrRead, &in, NULL), TPM_BADINDEX);
}

/*= p3:16.1#5 p3:16.1#7 */
static void test_extend__known_value__sha1_of_both(void **state)
{
    struct extend_in in = {.pcr_num = 4};
    struct extend_out out;
    uint8_t both[2 * TPM_DIGEST_LEN] = {0}, expected[TPM_DIGEST_LEN], value[TPM_DIGEST_LEN];
    struct tc *tc = *state;

    memset(in.in_digest.bytes, 0xAB, TPM_DIGEST_LEN);
    memset(both + TPM_DIGEST_LEN, 0xAB, TPM_DIGEST_LEN);
    cr_sha1(expected, both, sizeof both);
    assert_int_equal(TC(tc, TPM_ORD_Extend, &in, &out), TPM_SUCCESS);
    assert_memory_equal(out.out_digest.bytes, expected, sizeof expected);
    spec_pcr(tc, 4, value);
    assert_memory_equal(value, expected, sizeof expected);
}

static bool one_of(uint32_t pcr, uint32_t first, uint32_t last)
{
    return pcr >= first && pcr <= last;
}

/* The PC client's table, written again as text of the specification has it. */
static bool may_extend(uint32_t pcr, uint8_t locality)
{
    if (one_of(pcr, 17, 18))
        return locality >= 2;
    if (pcr == 19)
        return locality == 2 || locality == 3;
    if (pcr == 20)
        return locality >= 1 && locality <= 3;
    if (one_of(pcr, 21, 22))
        return locality == 2;
    return true;
}

static bool may_reset(uint32_t pcr, uint8_t locality)
{
    if (one_of(pcr, 17, 19))
        return locality == 4;
    if (pcr == 20)
        return locality == 2 || locality == 4;
    if (one_of(pcr, 21, 22))
        return locality == 2;
    return pcr == 16 || pcr == 23;
}

/*= p3:16.1#2 */
static void test_extend__locality_matrix__as_pc_client(void **state)
{
    struct tc *tc = *state;

    tc->no_freeze = true;
    for (tc->locality = 0; tc->locality <= 4; tc->locality++)
        for (uint32_t pcr = 0; pcr < TPM_NUM_PCR; pcr++)
            assert_int_equal(spec_extend(tc, pcr, 1),
                             may_extend(pcr, tc->locality) ? TPM_SUCCESS : TPM_BAD_LOCALITY);
}

static tpm_rc reset(struct tc *tc, uint32_t pcr)
{
    struct pcr_reset_in in = {.pcr_selection = {.size_of_select = 3}};

    in.pcr_selection.pcr_select[pcr / 8] = (uint8_t)(1u << pcr % 8);
    return TC(tc, TPM_ORD_PCR_Reset, &in, NULL);
}

/*= p3:16.4#2 */
static void test_reset__locality_matrix__as_pc_client(void **state)
{
    struct tc *tc = *state;

    tc->no_freeze = true;
    for (tc->locality = 0; tc->locality <= 4; tc->locality++) {
        for (uint32_t pcr = 0; pcr < TPM_NUM_PCR; pcr++) {
            tpm_rc want = pcr < 16 ? TPM_NOTRESETABLE : TPM_NOTLOCAL;

            assert_int_equal(reset(tc, pcr), may_reset(pcr, tc->locality) ? TPM_SUCCESS : want);
        }
    }
}

/*= p3:16.4#1 */
static void test_reset__nothing_selected__invalid_pcr_info(void **state)
{
    struct pcr_reset_in in = {.pcr_selection = {.size_of_select = 3}};

    assert_int_equal(TC(*state, TPM_ORD_PCR_Reset, &in, NULL), TPM_INVALID_PCR_INFO);
}

/*= p3:16.4#2 */
static void test_reset__one_of_two_not_allowed__neither_is_reset(void **state)
{
    struct pcr_reset_in in = {.pcr_selection = {.size_of_select = 3, .pcr_select = {0x80, 0, 0x80}}};
    uint8_t value[TPM_DIGEST_LEN];
    struct tc *tc = *state;

    assert_int_equal(spec_extend(tc, 23, 9), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_PCR_Reset, &in, NULL), TPM_NOTRESETABLE);
    spec_pcr(tc, 23, value);
    assert_false(spec_all(value, sizeof value, 0));
    assert_int_equal(reset(tc, 23), TPM_SUCCESS);
    spec_pcr(tc, 23, value);
    assert_true(spec_all(value, sizeof value, 0));
}

/* Without a launch PCR 20 goes back to ones, within one to zeros. */
static void test_reset__launch_pcr__value_depends_on_tos_present(void **state)
{
    uint8_t value[TPM_DIGEST_LEN];
    struct tc *tc = *state;

    tc->locality = 2;
    assert_int_equal(spec_extend(tc, 20, 9), TPM_SUCCESS);
    assert_int_equal(reset(tc, 20), TPM_SUCCESS);
    spec_pcr(tc, 20, value);
    assert_true(spec_all(value, sizeof value, 0xFF));
    assert_int_equal(tpm_hash_start(tc->tpm), TPM_SUCCESS);
    assert_int_equal(tpm_hash_end(tc->tpm), TPM_SUCCESS);
    assert_int_equal(reset(tc, 20), TPM_SUCCESS);
    spec_pcr(tc, 20, value);
    assert_true(spec_all(value, sizeof value, 0));
}

/* TIS 11.3: HASH_DATA in pieces of any length is HASH_DATA as a whole; PCR 17 = SHA-1(0 || SHA-1(data)). */
static void test_hash_sequence__odd_pieces__pcr17(void **state)
{
    uint8_t data[300], both[2 * TPM_DIGEST_LEN] = {0}, expected[TPM_DIGEST_LEN], value[TPM_DIGEST_LEN];
    static const size_t pieces[] = {1, 62, 1, 65, 0, 128, 43};
    struct tc *tc = *state;
    size_t at = 0;

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7);
    assert_int_equal(tpm_hash_start(tc->tpm), TPM_SUCCESS);
    for (size_t i = 0; i < VT_COUNT(pieces); i++) {
        assert_int_equal(tpm_hash_data(tc->tpm, data + at, pieces[i]), TPM_SUCCESS);
        tc_check_frozen(tc);
        at += pieces[i];
    }
    assert_int_equal(at, sizeof data);
    assert_int_equal(tpm_hash_end(tc->tpm), TPM_SUCCESS);
    cr_sha1(both + TPM_DIGEST_LEN, data, sizeof data);
    cr_sha1(expected, both, sizeof both);
    spec_pcr(tc, 17, value);
    assert_memory_equal(value, expected, sizeof expected);
    spec_pcr(tc, 22, value);
    assert_true(spec_all(value, sizeof value, 0));
    /* Out of order: refused. */
    assert_int_equal(tpm_hash_data(tc->tpm, data, 1), TPM_SHA_THREAD);
    assert_int_equal(tpm_hash_end(tc->tpm), TPM_SHA_THREAD);
    tc_init(tc);
    assert_int_equal(tpm_hash_start(tc->tpm), TPM_INVALID_POSTINIT);
}

static void quote_digest(const struct quote_in *in, const struct quote_out *out,
                         uint8_t digest[TPM_DIGEST_LEN])
{
    uint8_t composite[600], info[48];
    struct wr w = wr_to(composite, sizeof composite), q = wr_to(info, sizeof info);

    wr_pcr_composite(&w, &out->pcr_data);
    wr_put32(&q, 0x01010000);
    wr_copy(&q, "QUOT", 4);
    cr_sha1(wr_room(&q, TPM_DIGEST_LEN), composite, w.len);
    wr_nonce(&q, &in->external_data);
    assert_false(w.bad || q.bad);
    cr_sha1(digest, info, q.len);
}

/*= p3:16.3#5 p3:16.3#6 p3:16.3#7 */
static void test_quote__signing_key__signature_of_the_composite(void **state)
{
    struct quote_in in = {.external_data = {{1, 2, 3}},
                          .target_pcr = {.size_of_select = 3, .pcr_select = {0x81}}};
    struct vt_auth secret = tc_secret("sign");
    uint8_t digest[TPM_DIGEST_LEN];
    struct quote_out out;
    struct tc_session s;
    struct tc *tc = *state;
    uint32_t key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);

    assert_int_equal(spec_extend(tc, 7, 5), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Quote, &in, &out, .handles = {key}), TPM_AUTHFAIL);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_KEYHANDLE, key, &secret), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Quote, &in, &out, .handles = {key}, .auth = {&s}), TPM_SUCCESS);
    assert_int_equal(out.pcr_data.pcr_value.len, 2 * TPM_DIGEST_LEN);
    quote_digest(&in, &out, digest);
    assert_int_equal(cr_rsa_verify(&fixture_rsa_key(2048, 7)->pub, CR_SIG_PKCS1_SHA1, digest, sizeof digest,
                                   out.sig.data, out.sig.len),
                     VT_OK);
}

/*= p3:16.3#2 p3:16.3#3 */
static void test_quote__storage_key__inappropriate_sig(void **state)
{
    struct quote_in in = {.target_pcr = {.size_of_select = 3, .pcr_select = {1}}};
    struct vt_auth srk = SPEC_SRK;
    struct tc_session s;
    struct tc *tc = *state;

    assert_int_equal(tc_oiap(tc, &s, &srk), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Quote, &in, NULL, .handles = {TPM_KH_SRK}, .auth = {&s}),
                     TPM_INAPPROPRIATE_SIG);
    assert_int_equal(TC(tc, TPM_ORD_Quote, &in, NULL, .handles = {0x01234567}), TPM_INVALID_KEYHANDLE);
}

/*= p3:16.3#3 */
static void test_quote__usage_that_signs_nothing__invalid_keyusage(void **state)
{
    struct quote_in in = {.target_pcr = {.size_of_select = 3, .pcr_select = {1}}};
    struct vt_auth secret = {{0}};
    struct tc *tc = *state;
    uint32_t key = spec_load_signing_key(tc, &secret, TPM_AUTH_NEVER);

    /* No such key can be made, loaded or thawed: a usage without signatures has no signature scheme. */
    tc->no_freeze = true;
    key_find(tc->tpm, key)->key.usage = TPM_KEY_BIND;
    assert_int_equal(TC(tc, TPM_ORD_Quote, &in, NULL, .handles = {key}), TPM_INVALID_KEYUSAGE);
}

/* A key with authDataUsage never needs no session. */
static void test_quote__key_without_auth__no_session_needed(void **state)
{
    struct quote_in in = {.target_pcr = {.size_of_select = 3, .pcr_select = {1}}};
    struct vt_auth secret = {{0}};
    struct tc *tc = *state;
    uint32_t key = spec_load_signing_key(tc, &secret, TPM_AUTH_NEVER);

    assert_int_equal(TC(tc, TPM_ORD_Quote, &in, NULL, .handles = {key}), TPM_SUCCESS);
}

static void quote2_digest(const struct quote2_in *in, const struct quote2_out *out,
                          uint8_t digest[TPM_DIGEST_LEN])
{
    uint8_t bytes[128];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_put16(&w, TPM_TAG_QUOTE_INFO2);
    wr_copy(&w, "QUT2", 4);
    wr_nonce(&w, &in->external_data);
    wr_pcr_info_short(&w, &out->pcr_data);
    wr_copy(&w, out->version_info.data, out->version_info.len);
    assert_false(w.bad);
    cr_sha1(digest, bytes, w.len);
}

/*= p3:16.5#5 p3:16.5#6 p3:16.5#7 p3:16.5#8 p3:16.5#9 p3:16.5#10 */
static void test_quote2__with_and_without_version__signature_of_both(void **state)
{
    struct vt_auth secret = tc_secret("sign");
    uint8_t digest[TPM_DIGEST_LEN], composite[TPM_DIGEST_LEN];
    struct tc *tc = *state;
    struct quote2_out out;
    uint32_t key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);

    tc->locality = 2;
    for (unsigned version = 0; version < 2; version++) {
        struct quote2_in in = {.external_data = {{1, 2, 3}},
                               .target_pcr = {.size_of_select = 3, .pcr_select = {0x81}},
                               .add_version = version};

        assert_int_equal(spec_extend(tc, 7, 5), TPM_SUCCESS);
        assert_int_equal(spec_one(tc, TPM_ORD_Quote2, &in, &out, key, &secret), TPM_SUCCESS);
        assert_int_equal(out.pcr_data.locality_at_release, TPM_LOC_TWO);
        pcr_composite_hash(tc->tpm, &in.target_pcr, composite);
        assert_memory_equal(out.pcr_data.digest_at_release.bytes, composite, sizeof composite);
        assert_int_equal(out.version_info.len, version ? 15 : 0);
        quote2_digest(&in, &out, digest);
        assert_true(spec_signed(&fixture_rsa_key(2048, 7)->pub, digest, &out.sig));
    }
}

/*= p3:16.5#1 p3:16.5#2 p3:16.5#3 p3:16.5#4 */
static void test_quote2__unfit_requests__codes(void **state)
{
    struct quote2_in in = {.target_pcr = {.size_of_select = 3, .pcr_select = {1}}};
    struct vt_auth srk = SPEC_SRK, secret = tc_secret("sign");
    struct tc *tc = *state;
    struct tpm_key_obj odd = spec_key(5, TPM_KEY_STORAGE, &secret);
    uint32_t key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
    uint32_t free_key = spec_load_signing_key(tc, &secret, TPM_AUTH_NEVER);
    struct tc_session s;

    assert_int_equal(spec_one(tc, TPM_ORD_Quote2, &in, NULL, TPM_KH_SRK, &srk), TPM_INAPPROPRIATE_SIG);
    /* A key that cannot be made, only to get past the scheme. */
    odd.sig_scheme = TPM_SS_RSASSAPKCS1v15_SHA1;
    assert_int_equal(spec_one(tc, TPM_ORD_Quote2, &in, NULL, spec_insert(tc, &odd), &secret),
                     TPM_INVALID_KEYUSAGE);
    assert_int_equal(TC(tc, TPM_ORD_Quote2, &in, NULL, .handles = {key}), TPM_AUTHFAIL);
    assert_int_equal(TC(tc, TPM_ORD_Quote2, &in, NULL, .handles = {free_key}), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_KEYHANDLE, key, &secret), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_Quote2, &in, NULL, .handles = {key}, .auth = {&s}), TPM_SUCCESS);
    /* The selection's size, in the bytes. */
    tc_build(tc, TPM_ORD_Quote2, &in, &(struct tc_args){.handles = {free_key}});
    tc->cmd[TPM_HEADER_LEN + 4 + TPM_DIGEST_LEN + 1] = 4;
    assert_int_equal(tc_raw(tc), TPM_INVALID_PCR_INFO);
}

#define T(f)     cmocka_unit_test_setup_teardown(f, spec_setup, spec_teardown)
#define OWNED(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_pcr__not_there__badindex),
        T(test_extend__known_value__sha1_of_both),
        T(test_extend__locality_matrix__as_pc_client),
        T(test_reset__locality_matrix__as_pc_client),
        T(test_reset__nothing_selected__invalid_pcr_info),
        T(test_reset__one_of_two_not_allowed__neither_is_reset),
        T(test_reset__launch_pcr__value_depends_on_tos_present),
        T(test_hash_sequence__odd_pieces__pcr17),
        OWNED(test_quote__signing_key__signature_of_the_composite),
        OWNED(test_quote__storage_key__inappropriate_sig),
        OWNED(test_quote__usage_that_signs_nothing__invalid_keyusage),
        OWNED(test_quote__key_without_auth__no_session_needed),
        OWNED(test_quote2__with_and_without_version__signature_of_both),
        OWNED(test_quote2__unfit_requests__codes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

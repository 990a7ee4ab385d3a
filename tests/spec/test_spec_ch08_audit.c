/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, chapter 8: what is audited, and how it adds up. */
#include "server/engine/audit.h"
#include "tests/lib/fixture_keys.h"
#include "tests/spec/spec_transport.h"

static tpm_rc set_status(struct tc *tc, uint32_t ordinal, bool on)
{
    struct set_ordinal_audit_status_in in = {.ordinal_to_audit = ordinal, .audit_state = on};
    struct vt_auth owner = SPEC_OWNER;

    return spec_one(tc, TPM_ORD_SetOrdinalAuditStatus, &in, NULL, 0, &owner);
}

/* Only this ordinal is audited. */
static void audit_only(struct tc *tc, uint32_t ordinal)
{
    memset(tc->tpm->perm.audited, 0, sizeof tc->tpm->perm.audited);
    audit_set(tc->tpm, cmd_row_find(ordinal), true);
}

static struct get_audit_digest_out read_digest(struct tc *tc)
{
    struct get_audit_digest_in in = {.start_ordinal = 0};
    struct get_audit_digest_out out;

    assert_int_equal(TC(tc, TPM_ORD_GetAuditDigest, &in, &out), TPM_SUCCESS);
    assert_int_equal(out.more, 0);
    return out;
}

/* SHA-1(digest || tag || parms || counter). */
static void add_event(uint8_t digest[TPM_DIGEST_LEN], uint16_t tag, const uint8_t parms[TPM_DIGEST_LEN],
                      uint32_t counter)
{
    uint8_t bytes[128];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_copy(&w, digest, TPM_DIGEST_LEN);
    wr_put16(&w, tag);
    wr_copy(&w, parms, TPM_DIGEST_LEN);
    wr_put16(&w, TPM_TAG_COUNTER_VALUE);
    wr_put32(&w, 0);
    wr_put32(&w, counter);
    cr_sha1(digest, bytes, w.len);
}

static void add_command(uint8_t digest[TPM_DIGEST_LEN], uint32_t ordinal, const void *in, size_t in_len,
                        const void *out, size_t out_len, uint32_t counter)
{
    uint8_t parms[TPM_DIGEST_LEN];

    st_hash(parms, (uint32_t[]){ordinal}, 1, in, in_len);
    add_event(digest, TPM_TAG_AUDIT_EVENT_IN, parms, counter);
    st_hash(parms, (uint32_t[]){0, ordinal}, 2, out, out_len);
    add_event(digest, TPM_TAG_AUDIT_EVENT_OUT, parms, counter);
}

/*= p3:8.1#2 p3:8.3#1 p3:8.3#2 */
static void test_audit__commands_succeed__digest_of_what_went_in_and_out(void **state)
{
    uint8_t expected[TPM_DIGEST_LEN] = {0}, pcr_in[24] = {0, 0, 0, 5}, pcr_out[TPM_DIGEST_LEN];
    struct get_audit_digest_out out;
    struct tc *tc = *state;

    audit_only(tc, TPM_ORD_Extend);
    memset(pcr_in + 4, 9, TPM_DIGEST_LEN);
    assert_true(spec_all(read_digest(tc).audit_digest.bytes, TPM_DIGEST_LEN, 0));
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(spec_extend(tc, 5, 9), TPM_SUCCESS);
        assert_int_equal(tc->dirty, i ? TPM_DIRTY_VOLATILE : TPM_DIRTY_VOLATILE | TPM_DIRTY_PERMANENT);
        spec_pcr(tc, 5, pcr_out);
        add_command(expected, TPM_ORD_Extend, pcr_in, sizeof pcr_in, pcr_out, sizeof pcr_out, 1);
        out = read_digest(tc);
        assert_memory_equal(out.audit_digest.bytes, expected, sizeof expected);
        assert_int_equal(out.counter_value.counter, 1);
    }
    /* What fails is not audited. */
    assert_int_equal(spec_extend(tc, 24, 9), TPM_BADINDEX);
    assert_memory_equal(read_digest(tc).audit_digest.bytes, expected, sizeof expected);
}

/*= p3:8.1#2 */
static void test_audit__new_session__counter_counts_once(void **state)
{
    struct tc *tc = *state;

    audit_only(tc, TPM_ORD_Extend);
    for (unsigned i = 1; i < 4; i++) {
        assert_int_equal(spec_extend(tc, 5, 9), TPM_SUCCESS);
        assert_int_equal(spec_extend(tc, 5, 9), TPM_SUCCESS);
        assert_int_equal(read_digest(tc).counter_value.counter, i);
        assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
        assert_true(spec_all(read_digest(tc).audit_digest.bytes, TPM_DIGEST_LEN, 0));
    }
}

/* Of TPM_SaveState only the input, and it is in what is saved. */
/*= p3:8.1#3 */
static void test_audit__save_state__before_it_is_executed(void **state)
{
    uint8_t expected[TPM_DIGEST_LEN] = {0}, parms[TPM_DIGEST_LEN];
    struct tc *tc = *state;

    audit_only(tc, TPM_ORD_SaveState);
    assert_int_equal(TC(tc, TPM_ORD_SaveState, NULL, NULL), TPM_SUCCESS);
    st_hash(parms, (uint32_t[]){TPM_ORD_SaveState}, 1, NULL, 0);
    add_event(expected, TPM_TAG_AUDIT_EVENT_IN, parms, 1);
    assert_int_equal(tc_reboot(tc, TPM_ST_STATE), TPM_SUCCESS);
    assert_memory_equal(read_digest(tc).audit_digest.bytes, expected, sizeof expected);
}

/* It counts as it was when the command began. */
/*= p3:8.1#3 p3:8.5#3 */
static void test_audit__its_own_switch__as_it_was_before(void **state)
{
    struct tc *tc = *state;
    uint8_t before[TPM_DIGEST_LEN];

    audit_only(tc, TPM_ORD_SetOrdinalAuditStatus);
    assert_int_equal(set_status(tc, TPM_ORD_SetOrdinalAuditStatus, false), TPM_SUCCESS);
    memcpy(before, read_digest(tc).audit_digest.bytes, sizeof before);
    assert_false(spec_all(before, sizeof before, 0));
    assert_int_equal(set_status(tc, TPM_ORD_SetOrdinalAuditStatus, true), TPM_SUCCESS);
    assert_memory_equal(read_digest(tc).audit_digest.bytes, before, sizeof before);
}

/* The counter is at its end: the command was executed, the TPM says so and works no more. */
/*= p3:8.1#2 */
static void test_audit__counter_at_its_end__auditfail_and_failure_mode(void **state)
{
    struct tc *tc = *state;

    audit_only(tc, TPM_ORD_Extend);
    tc->tpm->perm.audit_counter = UINT32_MAX;
    assert_int_equal(spec_extend(tc, 5, 9), TPM_AUDITFAIL_SUCCESSFUL);
    assert_int_equal(spec_extend(tc, 5, 9), TPM_FAILEDSELFTEST);
}

/* Part 3, 24.2: of a command in an encrypting session the audit has the ordinal only. */
static void test_audit__wrapped_and_hidden__only_the_ordinal(void **state)
{
    struct extend_in in = {.pcr_num = 5};
    uint8_t expected[TPM_DIGEST_LEN] = {0};
    struct tc *tc = *state;
    struct st t;

    audit_only(tc, TPM_ORD_Extend);
    assert_int_equal(st_open(tc, &t, TPM_TRANSPORT_ENCRYPT, TPM_ALG_MGF1, TPM_ES_NONE), TPM_SUCCESS);
    assert_int_equal(ST(tc, &t, TPM_ORD_Extend, &in), TPM_SUCCESS);
    add_command(expected, TPM_ORD_Extend, NULL, 0, NULL, 0, 1);
    assert_memory_equal(read_digest(tc).audit_digest.bytes, expected, sizeof expected);
}

/* And of the wrapping command itself what the wrapped one's proof is over. */
static void test_audit__execute_transport__digests_of_the_wrapped_command(void **state)
{
    struct pcr_read_in in = {.pcr_index = 5};
    uint8_t expected[TPM_DIGEST_LEN] = {0}, parms[TPM_DIGEST_LEN];
    struct tc *tc = *state;
    struct st t;

    audit_only(tc, TPM_ORD_ExecuteTransport);
    assert_int_equal(st_open(tc, &t, 0, 0, 0), TPM_SUCCESS);
    assert_int_equal(ST(tc, &t, TPM_ORD_PcrRead, &in), TPM_SUCCESS);
    st_hash(parms, (uint32_t[]){TPM_ORD_PcrRead, 5}, 2, NULL, 0);
    add_event(expected, TPM_TAG_AUDIT_EVENT_IN, parms, 1);
    st_hash(parms, (uint32_t[]){0, TPM_ORD_PcrRead}, 2, t.data, t.len);
    add_event(expected, TPM_TAG_AUDIT_EVENT_OUT, parms, 1);
    assert_memory_equal(read_digest(tc).audit_digest.bytes, expected, sizeof expected);
}

/* ---- Which ones ---- */

/*= p3:8.3#3 p3:8.3#4 */
static void test_get_digest__list__ascending_from_the_start(void **state)
{
    struct get_audit_digest_in in = {.start_ordinal = 0};
    struct get_audit_digest_out out;
    struct tc *tc = *state;
    uint32_t last = 0, all;

    assert_int_equal(TC(tc, TPM_ORD_GetAuditDigest, &in, &out), TPM_SUCCESS);
    all = out.ord_list.len;
    assert_int_equal(all % 4, 0);
    assert_true(all > 40);
    for (uint32_t i = 0; i < all; i += 4) {
        struct rd r = rd_from(out.ord_list.data + i, 4);
        uint32_t ordinal = rd_get32(&r);

        assert_true(ordinal > last);
        assert_true(cmd_is_implemented(tc->tpm, ordinal));
        last = ordinal;
    }
    in.start_ordinal = last;
    assert_int_equal(TC(tc, TPM_ORD_GetAuditDigest, &in, &out), TPM_SUCCESS);
    assert_int_equal(out.ord_list.len, 4);
    in.start_ordinal = 0xFFFFFFFF;
    assert_int_equal(TC(tc, TPM_ORD_GetAuditDigest, &in, &out), TPM_SUCCESS);
    assert_int_equal(out.ord_list.len, 0);
}

static tpm_rc get_status(struct tc *tc, uint32_t ordinal, bool *on)
{
    struct get_ordinal_audit_status_in in = {.ordinal_to_query = ordinal};
    struct get_ordinal_audit_status_out out = {.state = false};
    tpm_rc rc = TC(tc, TPM_ORD_GetOrdinalAuditStatus, &in, &out);

    *on = out.state;
    return rc;
}

/*= p3:8.5#1 p3:8.5#2 p3:8.5#3 p3:28.2 */
static void test_set_status__ordinals__codes_and_effect(void **state)
{
    struct set_ordinal_audit_status_in in = {.ordinal_to_audit = TPM_ORD_PcrRead, .audit_state = true};
    struct vt_auth wrong = tc_secret("wrong");
    struct tc *tc = *state;
    bool on;

    assert_int_equal(get_status(tc, TPM_ORD_PcrRead, &on), TPM_SUCCESS);
    assert_false(on);
    assert_int_equal(set_status(tc, TPM_ORD_PcrRead, true), TPM_SUCCESS);
    assert_int_equal(get_status(tc, TPM_ORD_PcrRead, &on), TPM_SUCCESS);
    assert_true(on);
    assert_int_equal(set_status(tc, TPM_ORD_PcrRead, false), TPM_SUCCESS);
    assert_int_equal(set_status(tc, 0xABCD, true), TPM_BADINDEX);
    assert_int_equal(set_status(tc, TPM_ORD_Init, true), TPM_BADINDEX);
    assert_int_equal(get_status(tc, 0xABCD, &on), TPM_BADINDEX);
    assert_int_equal(set_status(tc, TPM_ORD_GetAuditDigest, true), TPM_BAD_PARAMETER);
    assert_int_equal(set_status(tc, TPM_ORD_GetAuditDigestSigned, true), TPM_BAD_PARAMETER);
    assert_int_equal(set_status(tc, TPM_ORD_GetAuditDigest, false), TPM_SUCCESS);
    assert_int_equal(spec_one(tc, TPM_ORD_SetOrdinalAuditStatus, &in, NULL, 0, &wrong), TPM_AUTHFAIL);
}

/* ---- Signed ---- */

static void check_signature(const struct tpm_nonce *anti_replay,
                            const struct get_audit_digest_signed_out *out, unsigned key)
{
    uint8_t bytes[128], digest[TPM_DIGEST_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);
    size_t begin;

    wr_put16(&w, TPM_TAG_SIGNINFO);
    wr_copy(&w, "ADIG", 4);
    wr_nonce(&w, anti_replay);
    begin = wr_sized_begin(&w);
    wr_digest(&w, &out->audit_digest);
    wr_counter_value(&w, &out->counter_value);
    wr_digest(&w, &out->ordinal_digest);
    wr_sized_end(&w, begin);
    cr_sha1(digest, bytes, w.len);
    assert_true(spec_signed(&fixture_rsa_key(2048, key)->pub, digest, &out->sig));
}

/*= p3:8.4#1 p3:8.4#4 p3:8.4#5 */
static void test_signed__identity_closes__digest_starts_anew(void **state)
{
    struct get_audit_digest_signed_in in = {.anti_replay = {{3}}};
    struct get_audit_digest_signed_out out;
    struct vt_auth secret = tc_secret("id");
    struct tc *tc = *state;
    struct tpm_key_obj identity = spec_key(4, TPM_KEY_IDENTITY, &secret);
    uint32_t key = spec_insert(tc, &identity);
    struct get_audit_digest_out plain;
    uint8_t list[TPM_DIGEST_LEN];

    audit_only(tc, TPM_ORD_Extend);
    assert_int_equal(spec_extend(tc, 5, 9), TPM_SUCCESS);
    plain = read_digest(tc);
    cr_sha1(list, plain.ord_list.data, plain.ord_list.len);
    for (unsigned close = 0; close < 2; close++) {
        in.close_audit = close;
        assert_int_equal(spec_one(tc, TPM_ORD_GetAuditDigestSigned, &in, &out, key, &secret), TPM_SUCCESS);
        assert_memory_equal(&out.audit_digest, &plain.audit_digest, TPM_DIGEST_LEN);
        assert_memory_equal(out.ordinal_digest.bytes, list, sizeof list);
        assert_int_equal(out.counter_value.counter, 1);
        check_signature(&in.anti_replay, &out, 4);
    }
    assert_true(spec_all(read_digest(tc).audit_digest.bytes, TPM_DIGEST_LEN, 0));
    assert_int_equal(spec_extend(tc, 5, 9), TPM_SUCCESS);
    assert_int_equal(read_digest(tc).counter_value.counter, 2);
}

/*= p3:8.4#1 p3:8.4#2 p3:8.4#3 p3:8.4#5 */
static void test_signed__unfit_keys__codes(void **state)
{
    struct get_audit_digest_signed_in in = {.anti_replay = {{3}}};
    struct vt_auth srk = SPEC_SRK, secret = tc_secret("sign");
    struct tc *tc = *state;
    struct tpm_key_obj der = spec_key(7, TPM_KEY_SIGNING, &secret);
    uint32_t key = spec_load_signing_key(tc, &secret, TPM_AUTH_ALWAYS);
    uint32_t free_key = spec_load_signing_key(tc, &secret, TPM_AUTH_NEVER);

    der.sig_scheme = TPM_SS_RSASSAPKCS1v15_DER;
    assert_int_equal(spec_one(tc, TPM_ORD_GetAuditDigestSigned, &in, NULL, TPM_KH_SRK, &srk),
                     TPM_INVALID_KEYUSAGE);
    assert_int_equal(spec_one(tc, TPM_ORD_GetAuditDigestSigned, &in, NULL, spec_insert(tc, &der), &secret),
                     TPM_INVALID_KEYUSAGE);
    assert_int_equal(spec_one(tc, TPM_ORD_GetAuditDigestSigned, &in, NULL, key, &srk), TPM_AUTHFAIL);
    assert_int_equal(TC(tc, TPM_ORD_GetAuditDigestSigned, &in, NULL, .handles = {key}), TPM_AUTHFAIL);
    assert_int_equal(TC(tc, TPM_ORD_GetAuditDigestSigned, &in, NULL, .handles = {free_key}), TPM_SUCCESS);
    in.close_audit = true;
    assert_int_equal(TC(tc, TPM_ORD_GetAuditDigestSigned, &in, NULL, .handles = {free_key}),
                     TPM_INVALID_KEYUSAGE);
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

/* ---- What is not there ---- */

/* Of these Part 3 has no actions (28), or they are options that are not taken (9.1, 9.2), or no commands (3.1). */
/*= p3:28 p3:3.1 p3:9.1 p3:9.2 */
static void test_refused__with_an_owner__bad_ordinal(void **state)
{
    static const struct {
        uint32_t ordinal;
        unsigned auths;
    } refused[] = {{TPM_ORD_Init, 0},         {TPM_ORD_GetAuditEvent, 0}, {TPM_ORD_GetAuditEventSigned, 1},
                   {TPM_ORD_FieldUpgrade, 1}, {TPM_ORD_FieldUpgrade, 0},  {TPM_ORD_SetRedirection, 1},
                   {0xD9, 0} /* TPM_Delegate_ReadAuth: no ordinal of 1.2 */};
    struct tc *tc = *state;

    for (size_t i = 0; i < VT_COUNT(refused); i++) {
        struct wr w = wr_to(tc->cmd, sizeof tc->cmd);

        assert_false(spec_cap_bool(tc, TPM_CAP_ORD, refused[i].ordinal));
        wr_put16(&w, (uint16_t)(TPM_TAG_RQU_COMMAND + refused[i].auths));
        wr_put32(&w, TPM_HEADER_LEN + refused[i].auths * TPM_AUTH_IN_LEN);
        wr_put32(&w, refused[i].ordinal);
        memset(tc->cmd + w.len, 0, TPM_AUTH_IN_LEN);
        tc->cmd_len = TPM_HEADER_LEN + refused[i].auths * TPM_AUTH_IN_LEN;
        assert_int_equal(tc_raw(tc), TPM_BAD_ORDINAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_audit__commands_succeed__digest_of_what_went_in_and_out),
        T(test_audit__new_session__counter_counts_once),
        T(test_audit__save_state__before_it_is_executed),
        T(test_audit__its_own_switch__as_it_was_before),
        T(test_audit__counter_at_its_end__auditfail_and_failure_mode),
        T(test_audit__wrapped_and_hidden__only_the_ordinal),
        T(test_audit__execute_transport__digests_of_the_wrapped_command),
        T(test_get_digest__list__ascending_from_the_start),
        T(test_refused__with_an_owner__bad_ordinal),
        T(test_set_status__ordinals__codes_and_effect),
        T(test_signed__identity_closes__digest_starts_anew),
        T(test_signed__unfit_keys__codes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

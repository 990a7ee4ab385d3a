/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part 3, chapter 26: DAA. (tests/diff/daa.py proves the equations.) The issuer's keys are fixtures, its n is one, and w
 * is 1: then gamma need not be prime.
 */
#include "server/engine/daa_blob.h"
#include "tests/lib/fixture_keys.h"
#include "tests/spec/spec_keys.h"

#define LAST_JOIN 24
#define LAST_SIGN 15

struct issuer {
    struct tpm_blob keys[2], r0, r1, s0, s1, n, gamma, settings, chain, signature, endorsement;
    uint8_t settings_bytes[256], chain_bytes[CR_RSA_MAX], signature_bytes[CR_RSA_MAX], ne[CR_RSA_MAX];
    uint8_t small[4][1];
};

static const uint8_t one[TPM_DAA_SIZE_w] = {[TPM_DAA_SIZE_w - 1] = 1};
static const uint8_t two[TPM_DAA_SIZE_w] = {[TPM_DAA_SIZE_w - 1] = 2};
static const uint8_t zeros[TPM_DAA_SIZE_w];
#define BLOB(p, n) ((struct tpm_blob){.len = (n), .data = (p)})

static struct tpm_blob modulus(unsigned index)
{
    return BLOB(fixture_rsa_key(2048, index)->pub.n, 256);
}

static void sign_by(unsigned index, struct cr_slice a, struct cr_slice b, uint8_t out[CR_RSA_MAX])
{
    uint8_t digest[TPM_DIGEST_LEN];
    struct cr_rsa *rsa;

    cr_sha1v(digest, (struct cr_slice[]){a, b}, 2);
    assert_int_equal(cr_rsa_load(&rsa, fixture_rsa_key(2048, index)), VT_OK);
    assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, digest, sizeof digest, out), VT_OK);
    cr_rsa_free(rsa);
}

static struct tpm_digest sha1_of(const struct tpm_blob *blob)
{
    struct tpm_digest out;

    cr_sha1(out.bytes, blob->data, blob->len);
    return out;
}

static void issuer_init(struct tc *tc, struct issuer *i)
{
    struct tpm_daa_issuer settings;
    struct wr w = wr_to(i->settings_bytes, sizeof i->settings_bytes);
    struct tpm_digest n0;
    struct cr_drbg drbg = {.k = {3}};

    for (unsigned k = 0; k < 4; k++)
        i->small[k][0] = (uint8_t)(3 + k);
    i->keys[0] = modulus(1);
    i->keys[1] = modulus(2);
    i->n = modulus(3);
    i->gamma = modulus(4);
    i->r0 = BLOB(i->small[0], 1);
    i->r1 = BLOB(i->small[1], 1);
    i->s0 = BLOB(i->small[2], 1);
    i->s1 = BLOB(i->small[3], 1);
    settings = (struct tpm_daa_issuer){
        .daa_digest_r0 = sha1_of(&i->r0), .daa_digest_r1 = sha1_of(&i->r1), .daa_digest_s0 = sha1_of(&i->s0),
        .daa_digest_s1 = sha1_of(&i->s1), .daa_digest_n = sha1_of(&i->n), .daa_digest_gamma = sha1_of(&i->gamma)};
    memset(settings.daa_generic_q.bytes, 0xA5, sizeof settings.daa_generic_q.bytes);
    wr_daa_issuer(&w, &settings);
    i->settings = BLOB(i->settings_bytes, (uint32_t)w.len);
    sign_by(1, CR_SLICE(i->keys[1].data, 256), CR_SLICE(NULL, 0), i->chain_bytes);
    n0 = sha1_of(&i->keys[0]);
    sign_by(2, CR_SLICE(n0.bytes, sizeof n0.bytes), CR_SLICE(i->settings.data, i->settings.len), i->signature_bytes);
    i->chain = BLOB(i->chain_bytes, 256);
    i->signature = BLOB(i->signature_bytes, 256);
    assert_int_equal(cr_rsa_oaep_encrypt(&tc->tpm->perm.ek.key.rsa.pub, "TCPA", 4, "NE", 2, &drbg, i->ne), VT_OK);
    i->endorsement = BLOB(i->ne, 256);
}

/* A session of either command, and what it answered. */
struct party {
    struct tc *tc;
    struct issuer i;
    uint32_t ordinal, handle;
    unsigned next;
    bool keyed;
    struct tpm_blob out[LAST_JOIN + 1];
    uint8_t bytes[LAST_JOIN + 1][512];
    const struct party *joined;
};

static const uint8_t count_two[4] = {0, 0, 0, 2}, count_one[4] = {0, 0, 0, 1};
static const uint8_t digest_selector[1] = {1};

static void join_inputs(const struct party *p, unsigned stage, struct tpm_blob in[2])
{
    const struct issuer *i = &p->i;
    const struct tpm_blob none = {0};
    const struct tpm_blob rows[LAST_JOIN + 1][2] = {
        {BLOB(count_two, 4), none}, {i->keys[p->keyed], p->keyed ? i->chain : none}, {i->settings, i->signature},
        {BLOB(count_one, 4), none}, {i->r0, i->n}, {i->r1, i->n}, {i->s0, i->n}, {i->s1, i->n}, {i->endorsement, none},
        {i->r0, i->n}, {i->r1, i->n}, {i->s0, i->n}, {i->s1, i->n}, {i->gamma, BLOB(one, 256)}, {i->gamma, none},
        {i->gamma, none}, {BLOB(zeros, 20), none}, {none, none}, {none, none}, {none, none}, {none, none}, {none, none},
        {BLOB(zeros, 128), none}, {BLOB(zeros, 192), none}, {none, none}};

    memcpy(in, rows[stage], sizeof rows[stage]);
}

static void sign_inputs(const struct party *p, unsigned stage, struct tpm_blob in[2])
{
    const struct issuer *i = &p->i;
    const struct tpm_blob none = {0}, *j = p->joined->out;
    const struct tpm_blob rows[LAST_SIGN + 1][2] = {
        {i->settings, none}, {j[24], none}, {i->r0, i->n}, {i->r1, i->n}, {i->s0, i->n}, {i->s1, i->n},
        {i->gamma, BLOB(one, 256)}, {i->gamma, none}, {i->gamma, none}, {BLOB(zeros, 20), none},
        {BLOB(digest_selector, 1), BLOB(zeros, 20)}, {none, none}, {none, none}, {j[22], none}, {j[22], none}, {j[23], none}};

    memcpy(in, rows[stage], sizeof rows[stage]);
}

static tpm_rc send(struct party *p, unsigned stage, const struct tpm_blob in[2])
{
    /* TPM_DAA_Sign has the same parameters. */
    struct daa_join_in request = {.stage = (uint8_t)stage, .input_data0 = in[0], .input_data1 = in[1]};
    struct vt_auth owner = SPEC_OWNER;
    struct daa_join_out out;
    tpm_rc rc = spec_one(p->tc, p->ordinal, &request, &out, p->handle, &owner);

    if (rc || stage > LAST_JOIN)
        return rc;
    assert_true(out.output_data.len <= sizeof p->bytes[stage]);
    if (out.output_data.len)
        memcpy(p->bytes[stage], out.output_data.data, out.output_data.len);
    p->out[stage] = BLOB(p->bytes[stage], out.output_data.len);
    return rc;
}

static void inputs(const struct party *p, unsigned stage, struct tpm_blob in[2])
{
    if (p->ordinal == TPM_ORD_DAA_Join)
        join_inputs(p, stage, in);
    else
        sign_inputs(p, stage, in);
}

/* All before that stage. */
static void upto(struct party *p, unsigned stage)
{
    while (p->next < stage) {
        struct tpm_blob in[2];
        struct rd r;

        inputs(p, p->next, in);
        assert_int_equal(send(p, p->next, in), TPM_SUCCESS);
        if (!p->next) {
            r = rd_from(p->bytes[0], 4);
            p->handle = rd_get32(&r);
        }
        if (p->next == 1 && p->ordinal == TPM_ORD_DAA_Join && !p->keyed)
            p->keyed = true;
        else
            p->next++;
    }
}

static void begin(struct party *p, struct tc *tc, const struct party *joined)
{
    memset(p, 0, sizeof *p);
    p->tc = tc;
    p->ordinal = joined ? TPM_ORD_DAA_Sign : TPM_ORD_DAA_Join;
    p->joined = joined;
    issuer_init(tc, &p->i);
}

/* The stage with its inputs changed; the session is gone after it. */
static void expect(struct party *p, unsigned stage, unsigned which, const struct tpm_blob *data, tpm_rc rc)
{
    struct tpm_blob in[2];

    upto(p, stage);
    inputs(p, stage, in);
    in[which] = *data;
    assert_int_equal(send(p, stage, in), rc);
    assert_null(daa_find(p->tc->tpm, p->handle));
}

static unsigned sessions(struct tc *tc)
{
    return tc->tpm->perm.profile.daa_sessions - spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_DAASESS);
}

/*= p3:26.1#1 p3:26.1#2 p3:26.1#3 p3:26.2#1 p3:26.2#2 p3:26.2#3 */
static void test_daa__all_stages__session_and_sums(void **state)
{
    static struct party join, sign;
    uint8_t digest[TPM_DIGEST_LEN], bytes[256 + 4];
    struct tpm_digest n0;
    struct tc *tc = *state;

    begin(&join, tc, NULL);
    upto(&join, 1);
    assert_int_equal(sessions(tc), 1);
    upto(&join, LAST_JOIN + 1);
    assert_int_equal(sessions(tc), 0);
    /* 8: SHA-1(SHA-1(U || count || n0) || NE). */
    memcpy(bytes, join.out[7].data, 256);
    memcpy(bytes + 256, count_one, 4);
    n0 = sha1_of(&join.i.keys[0]);
    cr_sha1v(digest, (struct cr_slice[]){CR_SLICE(bytes, sizeof bytes), CR_SLICE(n0.bytes, 20)}, 2);
    cr_sha1v(digest, (struct cr_slice[]){CR_SLICE(digest, 20), CR_SLICE("NE", 2)}, 2);
    assert_memory_equal(join.out[8].data, digest, sizeof digest);
    /* 16, 20: the challenge is that of both. */
    cr_sha1v(digest, (struct cr_slice[]){CR_SLICE(zeros, 20), CR_SLICE(join.out[16].data, 20)}, 2);
    assert_memory_equal(join.out[20].data, digest, sizeof digest);
    /* 14: 1 to any power. */
    assert_true(join.out[14].len == 1 && join.out[14].data[0] == 1);
    assert_int_equal(join.out[19].len, 128);
    begin(&sign, tc, &join);
    upto(&sign, LAST_SIGN + 1);
    assert_int_equal(sessions(tc), 0);
    assert_int_equal(sign.out[13].len, 128);
    cr_sha1v(digest, (struct cr_slice[]){CR_SLICE(zeros, 20), CR_SLICE(sign.out[9].data, 20)}, 2);
    cr_sha1v(digest, (struct cr_slice[]){CR_SLICE(digest, 20), CR_SLICE("\1", 1), CR_SLICE(zeros, 20)}, 3);
    assert_memory_equal(sign.out[10].data, digest, sizeof digest);
}

/*= p3:26.1#0 p3:26.1#2 p3:26.1#3 */
static void test_daa_join__unfit_inputs__codes_and_no_session(void **state)
{
    static struct party p;
    struct tc *tc = *state;
    struct tpm_blob none = {0};
    const struct {
        unsigned stage, which;
        struct tpm_blob data;
        tpm_rc rc;
    } rows[] = {
        {0, 0, BLOB(zeros, 4), TPM_DAA_INPUT_DATA0},  {0, 0, BLOB(count_one, 3), TPM_DAA_INPUT_DATA0},
        {1, 0, BLOB(one, 255), TPM_DAA_INPUT_DATA0},  {2, 0, BLOB(one, 10), TPM_DAA_INPUT_DATA0},
        {2, 1, BLOB(one, 255), TPM_DAA_INPUT_DATA1},  {2, 1, BLOB(one, 256), TPM_DAA_ISSUER_VALIDITY},
        {3, 0, none, TPM_DAA_INPUT_DATA0},            {4, 0, none, TPM_DAA_INPUT_DATA0},
        {4, 1, none, TPM_DAA_INPUT_DATA1},            {7, 0, BLOB(one, 1), TPM_DAA_INPUT_DATA0},
        {8, 0, BLOB(one, 255), TPM_DAA_INPUT_DATA0},  {8, 0, BLOB(one, 256), TPM_DECRYPT_ERROR},
        {9, 1, BLOB(one, 256), TPM_DAA_INPUT_DATA1},  {13, 0, none, TPM_DAA_INPUT_DATA0},
        {13, 1, BLOB(one, 255), TPM_DAA_INPUT_DATA1}, {13, 1, BLOB(two, 256), TPM_DAA_WRONG_W},
        {14, 0, none, TPM_DAA_INPUT_DATA0},           {15, 0, none, TPM_DAA_INPUT_DATA0},
        {16, 0, BLOB(one, 21), TPM_DAA_INPUT_DATA0},  {22, 0, BLOB(one, 127), TPM_DAA_INPUT_DATA0},
        {23, 0, BLOB(one, 191), TPM_DAA_INPUT_DATA0},
    };

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        begin(&p, tc, NULL);
        expect(&p, rows[i].stage, rows[i].which, &rows[i].data, rows[i].rc);
        assert_int_equal(sessions(tc), 0);
    }
}

/*= p3:26.1#23 */
static void test_daa_join__v1_too_long__input_data0(void **state)
{
    static struct party p;
    uint8_t most[192];

    memset(most, 0xFF, sizeof most);
    begin(&p, *state, NULL);
    expect(&p, 23, 0, &BLOB(most, sizeof most), TPM_DAA_INPUT_DATA0);
}

/*= p3:26.1#1 */
static void test_daa_join__chain_not_signed__issuer_validity(void **state)
{
    static struct party p;
    struct tpm_blob in[2];

    begin(&p, *state, NULL);
    upto(&p, 1);
    join_inputs(&p, 1, in);
    assert_int_equal(send(&p, 1, in), TPM_SUCCESS);
    p.keyed = true;
    join_inputs(&p, 1, in);
    in[1] = BLOB(one, 256);
    assert_int_equal(send(&p, 1, in), TPM_DAA_ISSUER_VALIDITY);
}

/* An issuer may be anybody: an even modulus, a q of zero. */
/*= p3:26.1#4 p3:26.1#13 */
static void test_daa_join__numbers_that_cannot_be__no_crash(void **state)
{
    static struct party p;
    struct tc *tc = *state;
    struct daa_session *s;
    struct tpm_blob in[2];
    const struct {
        unsigned stage, which;
        tpm_rc rc;
    } rows[] = {{4, 1, TPM_DAA_INPUT_DATA1}, {13, 0, TPM_DAA_INPUT_DATA0}, {14, 0, TPM_DAA_ISSUER_SETTINGS}};

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        struct tpm_digest *digest;

        begin(&p, tc, NULL);
        upto(&p, rows[i].stage);
        inputs(&p, rows[i].stage, in);
        s = daa_find(tc->tpm, p.handle);
        digest = rows[i].which ? &s->issuer.daa_digest_n : &s->issuer.daa_digest_gamma;
        if (rows[i].stage < 14) {
            in[rows[i].which] = BLOB(two, 256);
            *digest = sha1_of(&in[rows[i].which]);
        } else {
            memset(&s->issuer.daa_generic_q, 0, sizeof s->issuer.daa_generic_q);
        }
        {
            uint8_t bytes[512];
            struct wr w = wr_to(bytes, sizeof bytes), v = wr_to(bytes, sizeof bytes);

            wr_daa_issuer(&w, &s->issuer);
            cr_sha1(s->tpm.daa_digest_issuer.bytes, bytes, w.len);
            wr_daa_tpm(&v, &s->tpm);
            wr_daa_joindata(&v, &s->join);
            cr_sha1(s->context.daa_digest_context.bytes, bytes, v.len);
        }
        assert_int_equal(send(&p, rows[i].stage, in), rows[i].rc);
    }
}

/*= p3:26.1#2 p3:26.2#2 */
static void test_daa__session_altered_or_none__codes(void **state)
{
    static struct party join, p;
    struct tc *tc = *state;
    struct tpm_blob in[2] = {{0}};
    struct vt_auth wrong = tc_secret("wrong");
    struct daa_join_in request = {.stage = 0, .input_data0 = BLOB(count_one, 4)};

    begin(&join, tc, NULL);
    upto(&join, LAST_JOIN + 1);
    for (int signs = 0; signs < 2; signs++) {
        const struct party *joined = signs ? &join : NULL;

        begin(&p, tc, joined);
        assert_int_equal(spec_one(tc, p.ordinal, &request, NULL, 0, &wrong), TPM_AUTHFAIL);
        p.handle = 0x08FFFFFF;
        assert_int_equal(send(&p, 4, in), TPM_BAD_HANDLE);
        upto(&p, 4);
        assert_int_equal(send(&p, 5, in), TPM_DAA_STAGE);
        begin(&p, tc, joined);
        upto(&p, 4);
        assert_int_equal(send(&p, 25, in), TPM_DAA_STAGE);
        begin(&p, tc, joined);
        upto(&p, 4);
        daa_find(tc->tpm, p.handle)->tpm.daa_count++;
        assert_int_equal(send(&p, 4, in), TPM_DAA_TPM_SETTINGS);
        begin(&p, tc, joined);
        upto(&p, 4);
        daa_find(tc->tpm, p.handle)->issuer.daa_digest_n.bytes[0] ^= 1;
        assert_int_equal(send(&p, 4, in), TPM_DAA_ISSUER_SETTINGS);
    }
}

/* Action 2: any error, also of action 1; but stage 0 has no session yet, and its handle is none. */
/*= p3:26.1#1 p3:26.1#2 p3:26.2#1 p3:26.2#2 */
static void test_daa__wrong_owner__ends_the_session_of_a_later_stage(void **state)
{
    static struct party join, p;
    struct tc *tc = *state;
    struct vt_auth wrong = tc_secret("wrong");

    begin(&join, tc, NULL);
    upto(&join, LAST_JOIN + 1);
    for (int signs = 0; signs < 2; signs++) {
        struct daa_join_in request = {.stage = 0};

        begin(&p, tc, signs ? &join : NULL);
        upto(&p, 4);
        assert_int_equal(spec_one(tc, p.ordinal, &request, NULL, p.handle, &wrong), TPM_AUTHFAIL);
        assert_non_null(daa_find(tc->tpm, p.handle));
        request.stage = 4;
        assert_int_equal(spec_one(tc, p.ordinal, &request, NULL, p.handle, &wrong), TPM_AUTHFAIL);
        assert_null(daa_find(tc->tpm, p.handle));
        assert_int_equal(sessions(tc), 0);
    }
}

/*= p3:26.1#0 p3:26.2#0 */
static void test_daa__more_sessions_than_the_profile_has__resources(void **state)
{
    static struct party p[3];
    struct tc *tc = *state;
    struct tpm_blob in[2];
    struct flush_specific_in flush = {.resource_type = TPM_RT_DAA_TPM};

    for (unsigned i = 0; i < 2; i++) {
        begin(&p[i], tc, NULL);
        upto(&p[i], 1);
    }
    begin(&p[2], tc, NULL);
    join_inputs(&p[2], 0, in);
    assert_int_equal(send(&p[2], 0, in), TPM_RESOURCES);
    assert_int_equal(TC(tc, TPM_ORD_FlushSpecific, &flush, NULL, .handles = {p[0].handle}), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_FlushSpecific, &flush, NULL, .handles = {p[0].handle}), TPM_BAD_HANDLE);
    assert_int_equal(send(&p[2], 0, in), TPM_SUCCESS);
}

/*= p3:26.2#0 p3:26.2#1 p3:26.2#10 p3:26.2#13 p3:26.2#15 */
static void test_daa_sign__unfit_inputs__codes(void **state)
{
    static struct party join, p;
    struct vt_auth secret = tc_secret("key");
    struct tc *tc = *state;
    struct tpm_key_obj identity = spec_key(7, TPM_KEY_IDENTITY, &secret);
    struct tpm_blob none = {0}, in[2];
    uint8_t handle[4];
    struct wr w = wr_to(handle, sizeof handle);
    static const uint8_t selectors[2] = {2, 0};

    begin(&join, tc, NULL);
    upto(&join, LAST_JOIN + 1);
    {
        const struct {
            unsigned stage, which;
            struct tpm_blob data;
            tpm_rc rc;
        } rows[] = {
            {0, 0, BLOB(one, 20), TPM_DAA_INPUT_DATA0},      {1, 0, none, TPM_DAA_INPUT_DATA0},
            {1, 0, join.out[22], TPM_DAA_INPUT_DATA0},       {10, 0, BLOB(selectors, 1), TPM_DAA_INPUT_DATA0},
            {10, 0, none, TPM_DAA_INPUT_DATA0},              {10, 1, BLOB(zeros, 19), TPM_DAA_INPUT_DATA1},
            {10, 0, BLOB(selectors + 1, 1), TPM_DAA_INPUT_DATA1}, {13, 0, join.out[23], TPM_DAA_INPUT_DATA0},
            {14, 0, none, TPM_DAA_INPUT_DATA0},              {15, 0, join.out[22], TPM_DAA_INPUT_DATA0},
        };

        for (size_t i = 0; i < VT_COUNT(rows); i++) {
            begin(&p, tc, &join);
            expect(&p, rows[i].stage, rows[i].which, &rows[i].data, rows[i].rc);
        }
    }
    /* 10.h-i. */
    wr_put32(&w, spec_insert(tc, &identity));
    begin(&p, tc, &join);
    upto(&p, 10);
    in[0] = BLOB(selectors + 1, 1);
    in[1] = BLOB(handle, 4);
    assert_int_equal(send(&p, 10, in), TPM_SUCCESS);
}

/* What one join left is no good for another one's session. */
/*= p3:26.2#13 p3:26.2#15 */
static void test_daa_sign__anothers_secrets__input_data0(void **state)
{
    static struct party first, second, p;
    struct tc *tc = *state;

    begin(&first, tc, NULL);
    upto(&first, LAST_JOIN + 1);
    begin(&second, tc, NULL);
    upto(&second, LAST_JOIN + 1);
    begin(&p, tc, &first);
    expect(&p, 13, 0, &second.out[22], TPM_DAA_INPUT_DATA0);
    begin(&p, tc, &first);
    expect(&p, 15, 0, &second.out[23], TPM_DAA_INPUT_DATA0);
}

/*= p3:21.2 p3:21.3 p3:26.1#2 */
static void test_daa__saved_and_loaded__goes_on_once(void **state)
{
    static struct party p;
    struct tc *tc = *state;
    struct save_context_in save = {.resource_type = TPM_RT_DAA_TPM};
    struct save_context_out out;
    struct load_context_in load = {.keep_handle = false};
    uint8_t bytes[2048];

    begin(&p, tc, NULL);
    upto(&p, 9);
    assert_int_equal(TC(tc, TPM_ORD_SaveContext, &save, &out, .handles = {p.handle}), TPM_SUCCESS);
    memcpy(bytes, out.context_blob.data, out.context_blob.len);
    load.context_blob = BLOB(bytes, out.context_blob.len);
    assert_int_equal(sessions(tc), 0);
    assert_int_equal(TC(tc, TPM_ORD_LoadContext, &load, NULL, .handles = {0}), TPM_SUCCESS);
    p.handle = tc->out_handle;
    upto(&p, LAST_JOIN + 1);
    assert_int_equal(TC(tc, TPM_ORD_LoadContext, &load, NULL, .handles = {0}), TPM_BADCONTEXT);
    assert_int_equal(TC(tc, TPM_ORD_SaveContext, &save, &out, .handles = {p.handle}), TPM_INVALID_RESOURCE);
}

#define T(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_daa__all_stages__session_and_sums),
        T(test_daa_join__unfit_inputs__codes_and_no_session),
        T(test_daa_join__v1_too_long__input_data0),
        T(test_daa_join__chain_not_signed__issuer_validity),
        T(test_daa_join__numbers_that_cannot_be__no_crash),
        T(test_daa__session_altered_or_none__codes),
        T(test_daa__wrong_owner__ends_the_session_of_a_later_stage),
        T(test_daa__more_sessions_than_the_profile_has__resources),
        T(test_daa_sign__unfit_inputs__codes),
        T(test_daa_sign__anothers_secrets__input_data0),
        T(test_daa__saved_and_loaded__goes_on_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

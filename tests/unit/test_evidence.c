/* SPDX-License-Identifier: Apache-2.0 */
/* Deep quotes: their bytes, and that nothing in them can be changed. The quote is made up here, by a key in
 * software. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "server/core/evidence/evidence.h"

#define HOST_MASK 0x00800081u /* PCRs 0, 7 and 23 */

struct made {
    struct evidence_statement statement;
    struct evidence_text text;
    struct hwtpm_quote quote;
    uint8_t bytes[EVIDENCE_MAX];
    size_t len;
};

static struct cr_rsa_key keys[2];

static int make_keys(void **state)
{
    static const uint8_t seed[CR_DRBG_SEED] = "test_evidence";
    struct cr_drbg drbg;

    (void)state;
    cr_drbg_init(&drbg, seed, NULL, 0);
    return cr_rsa_generate(&keys[0], 2048, 65537, &drbg) || cr_rsa_generate(&keys[1], 2048, 65537, &drbg);
}

static void fill(void *at, size_t len, uint8_t from)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)at)[i] = (uint8_t)(from + i);
}

static void make_statement(struct evidence_statement *s)
{
    memset(s, 0, sizeof *s);
    fill(s->store.bytes, 16, 0x10);
    fill(s->instance.bytes, 16, 0x20);
    fill(s->ek_sha256, 32, 0x30);
    s->epoch = 0x0102030405060708;
    s->seq = 0x1112131415161718;
    s->origin = EVIDENCE_OPERATOR;
    fill(s->nonce, 32, 0x50);
    s->mask = 0x000401; /* 0 and 10 */
    fill(s->pcr[0], 20, 0x70);
    fill(s->pcr[10], 20, 0x90);
}

static void sign(struct hwtpm_quote *quote, enum hwtpm_kind kind)
{
    static const uint8_t info[19] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                     0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};
    uint8_t hash[sizeof info + CR_SHA256_LEN];
    struct cr_rsa *rsa;

    assert_int_equal(cr_rsa_load(&rsa, &keys[0]), VT_OK);
    memcpy(hash, info, sizeof info);
    if (kind == HWTPM_TPM2) {
        cr_sha256(hash + sizeof info, quote->message, quote->message_len);
        assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_RAW, hash, sizeof hash, quote->signature), VT_OK);
    } else {
        cr_sha1(hash, quote->message, quote->message_len);
        assert_int_equal(cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, hash, CR_SHA1_LEN, quote->signature), VT_OK);
    }
    quote->signature_len = CR_RSA_MAX;
    cr_rsa_free(rsa);
}

/* TPM 2.0 Part 2, 10.12.12. */
static void attest(struct hwtpm_quote *quote, const uint8_t bound[32], uint16_t type)
{
    struct wr w = wr_to(quote->message, sizeof quote->message);
    uint8_t values[3 * CR_SHA256_LEN], digest[CR_SHA256_LEN];

    memcpy(values, quote->pcrs.value[0], 32);
    memcpy(values + 32, quote->pcrs.value[7], 32);
    memcpy(values + 64, quote->pcrs.value[23], 32);
    cr_sha256(digest, values, sizeof values);
    wr_put32(&w, 0xFF544347);
    wr_put16(&w, type);
    wr_put16(&w, 34);
    fill(wr_room(&w, 34), 34, 0xA0);
    wr_put16(&w, 32);
    wr_copy(&w, bound, 32);
    fill(wr_room(&w, 25), 25, 0xB0);
    wr_put32(&w, 1);
    wr_put16(&w, 0x000B);
    wr_put32(&w, 0x03810080);
    wr_put16(&w, 32);
    wr_copy(&w, digest, sizeof digest);
    quote->message_len = (uint32_t)w.len;
}

/* TPM 1.2 Part 2, 11.3. */
static void quote_info(struct hwtpm_quote *quote, const uint8_t bound[32])
{
    static const uint8_t head[8] = {1, 1, 0, 0, 'Q', 'U', 'O', 'T'};
    uint8_t composite[9 + 60] = {0, 3, 0x81, 0x00, 0x80, 0, 0, 0, 60};
    struct wr w = wr_to(quote->message, sizeof quote->message);

    memcpy(composite + 9, quote->pcrs.value[0], 20);
    memcpy(composite + 29, quote->pcrs.value[7], 20);
    memcpy(composite + 49, quote->pcrs.value[23], 20);
    wr_copy(&w, head, sizeof head);
    cr_sha1(wr_room(&w, 20), composite, sizeof composite);
    wr_copy(&w, bound, 20);
    quote->message_len = (uint32_t)w.len;
}

static void finish(struct made *m, enum hwtpm_kind kind)
{
    sign(&m->quote, kind);
    m->len = sizeof m->bytes;
    assert_int_equal(evidence_write(m->bytes, &m->len, kind, &m->text, &m->quote), VT_OK);
}

static void make(struct made *m, enum hwtpm_kind kind)
{
    uint8_t bound[32];

    memset(m, 0, sizeof *m);
    make_statement(&m->statement);
    evidence_statement_write(&m->text, &m->statement);
    evidence_bound(bound, &m->text);
    m->quote.pcrs = (struct hwtpm_pcrs){.mask = HOST_MASK, .len = kind == HWTPM_TPM2 ? 32 : 20};
    fill(m->quote.pcrs.value[0], m->quote.pcrs.len, 0xC0);
    fill(m->quote.pcrs.value[7], m->quote.pcrs.len, 0xD0);
    fill(m->quote.pcrs.value[23], m->quote.pcrs.len, 0xE0);
    if (kind == HWTPM_TPM2)
        attest(&m->quote, bound, 0x8018);
    else
        quote_info(&m->quote, bound);
    finish(m, kind);
}

static int verify(const uint8_t *bytes, size_t len, unsigned key)
{
    static struct evidence evidence;
    int err = evidence_read(&evidence, bytes, len, NULL);

    return err ? err : evidence_check(&evidence, &keys[key].pub, NULL);
}

static void test_statement__written__has_the_documented_bytes(void **state)
{
    struct evidence_statement statement, back;
    struct evidence_text text;
    uint8_t wanted[170] = "vtpm-dq1";

    (void)state;
    make_statement(&statement);
    evidence_statement_write(&text, &statement);
    fill(wanted + 8, 16, 0x10);
    fill(wanted + 24, 16, 0x20);
    fill(wanted + 40, 32, 0x30);
    fill(wanted + 72, 8, 0x01);
    fill(wanted + 80, 8, 0x11);
    wanted[88] = 2;
    fill(wanted + 89, 32, 0x50);
    memcpy(wanted + 121, (const uint8_t[]){0, 3, 0x01, 0x04, 0, 0, 0, 0, 40}, 9);
    fill(wanted + 130, 20, 0x70);
    fill(wanted + 150, 20, 0x90);
    assert_int_equal(text.len, sizeof wanted);
    assert_memory_equal(text.bytes, wanted, sizeof wanted);
    assert_true(evidence_statement_read(&back, text.bytes, text.len));
    assert_memory_equal(&back, &statement, sizeof back);
}

static void test_statement__all_pcrs_and_none__fit(void **state)
{
    struct evidence_statement statement, back;
    struct evidence_text text;

    (void)state;
    make_statement(&statement);
    statement.mask = 0xFFFFFF;
    evidence_statement_write(&text, &statement);
    assert_int_equal(text.len, EVIDENCE_STATEMENT_MAX);
    assert_true(evidence_statement_read(&back, text.bytes, text.len));
    statement.mask = 0;
    evidence_statement_write(&text, &statement);
    assert_int_equal(text.len, 130);
    assert_true(evidence_statement_read(&back, text.bytes, text.len));
    assert_int_equal(back.mask, 0);
}

static void test_statement__cut_or_of_another_form__refused(void **state)
{
    struct evidence_statement statement, back;
    struct evidence_text text;

    (void)state;
    make_statement(&statement);
    evidence_statement_write(&text, &statement);
    for (size_t len = 0; len < text.len; len++)
        assert_false(evidence_statement_read(&back, text.bytes, len));
    assert_false(evidence_statement_read(&back, text.bytes, text.len + 1));
    text.bytes[88] = 3; /* nobody asked */
    assert_false(evidence_statement_read(&back, text.bytes, text.len));
    text.bytes[88] = 1;
    assert_true(evidence_statement_read(&back, text.bytes, text.len));
    text.bytes[129] = 20; /* the composite says another size */
    assert_false(evidence_statement_read(&back, text.bytes, text.len));
}

static void test_evidence__of_each_kind__read_back_and_verified(void **state)
{
    static const enum hwtpm_kind kinds[] = {HWTPM_TPM2, HWTPM_TPM12};
    static struct evidence evidence;
    static struct made m;

    (void)state;
    for (size_t k = 0; k < VT_COUNT(kinds); k++) {
        make(&m, kinds[k]);
        assert_int_equal(evidence_read(&evidence, m.bytes, m.len, NULL), VT_OK);
        assert_int_equal(evidence.kind, kinds[k]);
        assert_memory_equal(&evidence.statement, &m.statement, sizeof m.statement);
        assert_memory_equal(&evidence.quote.pcrs, &m.quote.pcrs, sizeof m.quote.pcrs);
        assert_int_equal(evidence_check(&evidence, &keys[0].pub, NULL), VT_OK);
    }
}

static void test_evidence__any_bit_of_it_altered__refused(void **state)
{
    static const enum hwtpm_kind kinds[] = {HWTPM_TPM2, HWTPM_TPM12};
    static struct made m;

    (void)state;
    for (size_t k = 0; k < VT_COUNT(kinds); k++) {
        make(&m, kinds[k]);
        for (size_t bit = 0; bit < 8 * m.len; bit++) {
            m.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_not_equal(verify(m.bytes, m.len, 0), VT_OK);
            m.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        assert_int_equal(verify(m.bytes, m.len, 0), VT_OK);
    }
}

static void test_evidence__cut_or_longer_or_by_another_key__refused(void **state)
{
    static struct made m;

    (void)state;
    make(&m, HWTPM_TPM2);
    for (size_t len = 0; len < m.len; len++)
        assert_int_equal(verify(m.bytes, len, 0), VT_EUSAGE);
    assert_int_equal(verify(m.bytes, m.len + 1, 0), VT_EUSAGE);
    assert_int_equal(verify(m.bytes, m.len, 1), VT_EAUTH);
}

/* The key signed it, but it says something else: each check by itself, behind a good signature. */
static void test_evidence__signed_message_of_another_content__refused(void **state)
{
    static struct made m;
    uint8_t other[32] = {1};

    (void)state;
    make(&m, HWTPM_TPM2);
    attest(&m.quote, other, 0x8018);
    finish(&m, HWTPM_TPM2);
    assert_int_equal(verify(m.bytes, m.len, 0), VT_EAUTH);
    evidence_bound(other, &m.text);
    attest(&m.quote, other, 0x8014); /* TPM_ST_ATTEST_NV */
    finish(&m, HWTPM_TPM2);
    assert_int_equal(verify(m.bytes, m.len, 0), VT_EAUTH);
    attest(&m.quote, other, 0x8018);
    m.quote.message[0] = 0xFE; /* what anybody could have hashed and signed */
    finish(&m, HWTPM_TPM2);
    assert_int_equal(verify(m.bytes, m.len, 0), VT_EAUTH);
    attest(&m.quote, other, 0x8018);
    m.quote.message_len++;
    finish(&m, HWTPM_TPM2);
    assert_int_equal(verify(m.bytes, m.len, 0), VT_EAUTH);
    attest(&m.quote, other, 0x8018);
    m.quote.pcrs.value[7][0] ^= 1;
    finish(&m, HWTPM_TPM2);
    assert_int_equal(verify(m.bytes, m.len, 0), VT_EAUTH);
    m.quote.pcrs.value[7][0] ^= 1;
    m.quote.pcrs.mask = 0x00800101; /* the same values, said to be of PCR 8 */
    memcpy(m.quote.pcrs.value[8], m.quote.pcrs.value[7], 32);
    finish(&m, HWTPM_TPM2);
    assert_int_equal(verify(m.bytes, m.len, 0), VT_EAUTH);
}

static void test_write__quote_of_impossible_lengths__refused(void **state)
{
    static struct made m;

    (void)state;
    make(&m, HWTPM_TPM2);
    m.len = 100;
    assert_int_equal(evidence_write(m.bytes, &m.len, HWTPM_TPM2, &m.text, &m.quote), VT_ETOOBIG);
    m.len = sizeof m.bytes;
    assert_int_equal(evidence_write(m.bytes, &m.len, HWTPM_TPM12, &m.text, &m.quote), VT_ETOOBIG);
    m.quote.message_len = sizeof m.quote.message + 1;
    assert_int_equal(evidence_write(m.bytes, &m.len, HWTPM_TPM2, &m.text, &m.quote), VT_ETOOBIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statement__written__has_the_documented_bytes),
        cmocka_unit_test(test_statement__all_pcrs_and_none__fit),
        cmocka_unit_test(test_statement__cut_or_of_another_form__refused),
        cmocka_unit_test(test_evidence__of_each_kind__read_back_and_verified),
        cmocka_unit_test(test_evidence__any_bit_of_it_altered__refused),
        cmocka_unit_test(test_evidence__cut_or_longer_or_by_another_key__refused),
        cmocka_unit_test(test_evidence__signed_message_of_another_content__refused),
        cmocka_unit_test(test_write__quote_of_impossible_lengths__refused),
    };

    if (cr_init())
        return 1;
    return cmocka_run_group_tests(tests, make_keys, NULL);
}

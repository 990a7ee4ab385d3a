/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/evidence/evidence.h"

#include <assert.h>

static const char statement_magic[] = "vtpm-dq1", evidence_magic[] = "vtpm-de1";
#define MAGIC  8
#define SELECT 3 /* bytes of a selection of 24 PCRs */

/* ---- The statement ---- */

/* TPM 1.2 Part 2, 8.2 TPM_PCR_COMPOSITE. */
static void put_composite(struct wr *w, uint32_t mask, const uint8_t *values, size_t step)
{
    wr_put16(w, SELECT);
    for (unsigned k = 0; k < SELECT; k++)
        wr_put8(w, (uint8_t)(mask >> (8 * k)));
    wr_put32(w, (uint32_t)__builtin_popcount(mask) * CR_SHA1_LEN);
    for (unsigned n = 0; n < 8 * SELECT; n++)
        if (mask >> n & 1)
            wr_copy(w, values + n * step, CR_SHA1_LEN);
}

static bool get_composite(struct rd *r, struct evidence_statement *s)
{
    uint32_t size;

    if (rd_get16(r) != SELECT)
        return false;
    for (unsigned k = 0; k < SELECT; k++)
        s->mask |= (uint32_t)rd_get8(r) << (8 * k);
    size = rd_get32(r);
    for (unsigned n = 0; n < EVIDENCE_PCRS; n++)
        if (s->mask >> n & 1)
            rd_copy(r, s->pcr[n], CR_SHA1_LEN);
    return size == (uint32_t)__builtin_popcount(s->mask) * CR_SHA1_LEN;
}

void evidence_statement_write(struct evidence_text *text, const struct evidence_statement *s)
{
    struct wr w = wr_to(text->bytes, sizeof text->bytes);

    wr_copy(&w, statement_magic, MAGIC);
    wr_copy(&w, s->store.bytes, sizeof s->store.bytes);
    wr_copy(&w, s->instance.bytes, sizeof s->instance.bytes);
    wr_copy(&w, s->ek_sha256, sizeof s->ek_sha256);
    wr_put64(&w, s->epoch);
    wr_put64(&w, s->seq);
    wr_put8(&w, (uint8_t)s->origin);
    wr_copy(&w, s->nonce, sizeof s->nonce);
    put_composite(&w, s->mask & ((1u << EVIDENCE_PCRS) - 1), s->pcr[0], CR_SHA1_LEN);
    assert(!w.bad);
    text->len = w.len;
}

bool evidence_statement_read(struct evidence_statement *s, const uint8_t *bytes, size_t len)
{
    struct rd r = rd_from(bytes, len);
    const uint8_t *magic = rd_take(&r, MAGIC);
    uint8_t origin;

    memset(s, 0, sizeof *s);
    if (!magic || memcmp(magic, statement_magic, MAGIC) != 0)
        return false;
    rd_copy(&r, s->store.bytes, sizeof s->store.bytes);
    rd_copy(&r, s->instance.bytes, sizeof s->instance.bytes);
    rd_copy(&r, s->ek_sha256, sizeof s->ek_sha256);
    s->epoch = rd_get64(&r);
    s->seq = rd_get64(&r);
    origin = rd_get8(&r);
    s->origin = (enum evidence_origin)origin;
    rd_copy(&r, s->nonce, sizeof s->nonce);
    return get_composite(&r, s) && rd_done(&r) && (origin == EVIDENCE_GUEST || origin == EVIDENCE_OPERATOR);
}

void evidence_bound(uint8_t bound[32], const struct evidence_text *text)
{
    cr_sha256(bound, text->bytes, text->len);
}

/* ---- The evidence ---- */

static uint32_t digest_len(enum hwtpm_kind kind)
{
    return kind == HWTPM_TPM2 ? CR_SHA256_LEN : CR_SHA1_LEN;
}

static void put_part(struct wr *w, const uint8_t *bytes, size_t len)
{
    wr_put16(w, (uint16_t)len);
    wr_copy(w, bytes, len);
}

int evidence_write(uint8_t *out, size_t *len, enum hwtpm_kind kind, const struct evidence_text *text,
                   const struct hwtpm_quote *quote)
{
    struct wr w = wr_to(out, *len);

    if (quote->message_len > sizeof quote->message || quote->signature_len > sizeof quote->signature ||
        quote->pcrs.len != digest_len(kind) || quote->pcrs.mask >> HWTPM_PCRS)
        return VT_ETOOBIG;
    wr_copy(&w, evidence_magic, MAGIC);
    wr_put8(&w, kind == HWTPM_TPM2 ? 2 : 1);
    wr_put32(&w, quote->pcrs.mask);
    for (unsigned n = 0; n < HWTPM_PCRS; n++)
        if (quote->pcrs.mask >> n & 1)
            wr_copy(&w, quote->pcrs.value[n], quote->pcrs.len);
    put_part(&w, text->bytes, text->len);
    put_part(&w, quote->message, quote->message_len);
    put_part(&w, quote->signature, quote->signature_len);
    *len = w.len;
    return w.bad ? VT_ETOOBIG : VT_OK;
}

static size_t get_part(struct rd *r, uint8_t *to, size_t max)
{
    size_t len = rd_get16(r);

    if (len > max) {
        r->bad = true;
        return 0;
    }
    rd_copy(r, to, len);
    return len;
}

static void get_pcrs(struct rd *r, struct hwtpm_pcrs *pcrs, uint32_t len)
{
    pcrs->len = len;
    pcrs->mask = rd_get32(r);
    if (pcrs->mask >> HWTPM_PCRS)
        r->bad = true;
    for (unsigned n = 0; n < HWTPM_PCRS; n++)
        if (pcrs->mask >> n & 1)
            rd_copy(r, pcrs->value[n], len);
}

int evidence_read(struct evidence *e, const uint8_t *bytes, size_t len, struct vt_why *why)
{
    struct rd r = rd_from(bytes, len);
    const uint8_t *magic = rd_take(&r, MAGIC);
    const uint8_t kind = rd_get8(&r);

    memset(e, 0, sizeof *e);
    if (!magic || memcmp(magic, evidence_magic, MAGIC) != 0 || kind < 1 || kind > 2)
        return vt_fail(why, VT_EUSAGE, "this is no deep quote: it begins with \"%s\" and the TPM's kind",
                       evidence_magic);
    e->kind = kind == 2 ? HWTPM_TPM2 : HWTPM_TPM12;
    get_pcrs(&r, &e->quote.pcrs, digest_len(e->kind));
    e->text.len = get_part(&r, e->text.bytes, sizeof e->text.bytes);
    e->quote.message_len = (uint32_t)get_part(&r, e->quote.message, sizeof e->quote.message);
    e->quote.signature_len = (uint32_t)get_part(&r, e->quote.signature, sizeof e->quote.signature);
    if (!rd_done(&r))
        return vt_fail(why, VT_EUSAGE, "the deep quote is cut off, or goes on after its end");
    if (!evidence_statement_read(&e->statement, e->text.bytes, e->text.len))
        return vt_fail(why, VT_EUSAGE, "the statement in the deep quote is malformed");
    return VT_OK;
}

/* ---- Checks ---- */

/* RFC 8017, 9.2, note 1: DigestInfo of SHA-256. */
static const uint8_t sha256_info[19] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                        0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};

static int check_signature(const struct evidence *e, const struct cr_rsa_pub *key, struct vt_why *why)
{
    uint8_t hash[sizeof sha256_info + CR_SHA256_LEN];
    enum cr_sig_scheme scheme = CR_SIG_PKCS1_RAW;
    size_t len = sizeof hash;

    if (e->kind == HWTPM_TPM2) {
        memcpy(hash, sha256_info, sizeof sha256_info);
        cr_sha256(hash + sizeof sha256_info, e->quote.message, e->quote.message_len);
    } else {
        scheme = CR_SIG_PKCS1_SHA1;
        len = CR_SHA1_LEN;
        cr_sha1(hash, e->quote.message, e->quote.message_len);
    }
    if (cr_rsa_verify(key, scheme, hash, len, e->quote.signature, e->quote.signature_len))
        return vt_fail(why, VT_EAUTH, "the signature is not by this attestation key");
    return VT_OK;
}

static bool bytes_are(struct rd *r, const void *wanted, size_t len)
{
    const uint8_t *at = rd_take(r, len);

    return at && memcmp(at, wanted, len) == 0;
}

static bool selection_is(struct rd *r, uint32_t mask)
{
    uint32_t got = 0;

    if (rd_get8(r) != SELECT)
        return false;
    for (unsigned k = 0; k < SELECT; k++)
        got |= (uint32_t)rd_get8(r) << (8 * k);
    return got == mask;
}

static void values_sha256(uint8_t digest[CR_SHA256_LEN], const struct hwtpm_pcrs *pcrs)
{
    struct cr_slice chosen[HWTPM_PCRS];
    size_t count = 0;

    for (unsigned n = 0; n < HWTPM_PCRS; n++)
        if (pcrs->mask >> n & 1)
            chosen[count++] = CR_SLICE(pcrs->value[n], pcrs->len);
    cr_sha256v(digest, chosen, count);
}

/* TPM 2.0 Part 2, 10.12.12 TPMS_ATTEST, of a quote: 0: whole; else what is not as it should be. */
static const char *check_attest(const struct evidence *e, const uint8_t bound[32])
{
    struct rd r = rd_from(e->quote.message, e->quote.message_len);
    uint8_t digest[CR_SHA256_LEN];

    /* TPM_GENERATED_VALUE: a restricted key signs nothing from outside that begins so. TPM_ST_ATTEST_QUOTE.
     */
    if (rd_get32(&r) != 0xFF544347 || rd_get16(&r) != 0x8018)
        return "what is signed is no quote of a TPM 2.0";
    rd_take(&r, rd_get16(&r)); /* qualifiedSigner */
    if (rd_get16(&r) != 32 || !bytes_are(&r, bound, 32))
        return "the quote is not about this statement";
    rd_take(&r, 17 + 8); /* clockInfo, firmwareVersion */
    if (rd_get32(&r) != 1 || rd_get16(&r) != 0x000B || !selection_is(&r, e->quote.pcrs.mask))
        return "the quote is of other PCRs of the host";
    values_sha256(digest, &e->quote.pcrs);
    if (rd_get16(&r) != sizeof digest || !bytes_are(&r, digest, sizeof digest))
        return "the values of the host's PCRs are not those quoted";
    return rd_done(&r) ? NULL : "what is signed is no quote of a TPM 2.0";
}

/* TPM 1.2 Part 2, 11.3 TPM_QUOTE_INFO. */
static const char *check_quote_info(const struct evidence *e, const uint8_t bound[32])
{
    static const uint8_t head[8] = {1, 1, 0, 0, 'Q', 'U', 'O', 'T'};
    uint8_t composite[9 + HWTPM_PCRS * CR_SHA1_LEN], digest[CR_SHA1_LEN];
    struct rd r = rd_from(e->quote.message, e->quote.message_len);
    struct wr w = wr_to(composite, sizeof composite);

    put_composite(&w, e->quote.pcrs.mask, e->quote.pcrs.value[0], HWTPM_DIGEST);
    cr_sha1(digest, composite, w.len);
    if (!bytes_are(&r, head, sizeof head))
        return "what is signed is no quote of a TPM 1.2";
    if (!bytes_are(&r, digest, sizeof digest))
        return "the values of the host's PCRs are not those quoted";
    if (!bytes_are(&r, bound, CR_SHA1_LEN))
        return "the quote is not about this statement";
    return rd_done(&r) ? NULL : "what is signed is no quote of a TPM 1.2";
}

int evidence_check(const struct evidence *e, const struct cr_rsa_pub *key, struct vt_why *why)
{
    uint8_t bound[32];
    const char *wrong;
    int err = check_signature(e, key, why);

    if (err)
        return err;
    evidence_bound(bound, &e->text);
    wrong = e->kind == HWTPM_TPM2 ? check_attest(e, bound) : check_quote_info(e, bound);
    return wrong ? vt_fail(why, VT_EAUTH, "%s", wrong) : VT_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TPM 1.2 Part 3, chapter 26: direct anonymous attestation, stage by stage. A row per stage of each command; a function
 * per kind of stage. Letters are those of the specification's stages.
 */
#include "server/engine/daa_blob.h"
#include "server/engine/handlers.h"

#define NUM_MAX      CR_RSA_MAX
#define F_LEN        26                   /* of DAA_generic_q */
#define POWER0_BYTES (TPM_DAA_power0 / 8) /* both powers are whole bytes */
#define POWER1_BYTES (TPM_DAA_power1 / 8)
#define S12_LEN      (TPM_DAA_SIZE_w - POWER1_BYTES)

/* A secret number. */
struct number {
    uint8_t bytes[NUM_MAX];
    size_t len;
};

static void number_wipe(struct number *x)
{
    vt_wipe(x, sizeof *x);
}

#define NUMBER VT_CLEANUP(number_wipe) struct number

/* One stage under execution. */
struct daa {
    struct cmd *c;
    struct daa_session *s;
    const struct stage *row;
    const struct tpm_blob *data0, *data1;
    struct tpm_blob *out;
};

enum exponent { EXP_F0, EXP_F1, EXP_U0, EXP_U1, EXP_R0, EXP_R1, EXP_R2, EXP_R3, EXP_R4 };

enum stage_flags {
    FRESH_SEED = 1,     /* a new DAA_contextSeed first */
    TIMES_SCRATCH = 2,  /* the product so far counts */
    TELL = 4,           /* the product is the answer, and forgotten here */
    DIGEST = 8          /* DAA_digest is made of it (join, 7.m) */
};

struct stage {
    tpm_rc (*run)(struct daa *d);
    size_t base;        /* of a power: where DAA_issuerSettings has the base's digest */
    uint8_t exponent;   /* enum exponent; of a sum: its random part */
    uint8_t flags;      /* enum stage_flags */
    bool renews;        /* DAA_digestContext follows what it changed */
    uint32_t type;      /* of the blob that it makes or opens */
};

#define NUM(x) CR_SLICE((x)->bytes, (x)->len)
#define NO_NUMBER CR_SLICE(NULL, 0)

/* ---- Numbers ---- */

/* The arithmetic failed: the issuer's number cannot be one. */
static tpm_rc num_rc(int err, tpm_rc otherwise)
{
    return cmd_crypto_rc(err, otherwise);
}

static void put_count(uint8_t out[4], uint32_t count)
{
    struct wr w = wr_to(out, 4);

    wr_put32(&w, count);
}

/* Join 4.j: f = (SHA-1(rekey || count || 0) || SHA-1(rekey || count || 1)) mod q. */
static tpm_rc compute_f(const struct daa *d, struct number *f)
{
    const struct tpm_daa_tpm *tpm = &d->s->tpm;
    const uint8_t *q = d->s->issuer.daa_generic_q.bytes;
    uint8_t count[4], wide[2 * TPM_DIGEST_LEN];
    int err;

    put_count(count, tpm->daa_count);
    for (uint8_t i = 0; i < 2; i++)
        cr_sha1v(wide + i * TPM_DIGEST_LEN,
                 (struct cr_slice[]){CR_SLICE(tpm->daa_rekey.bytes, TPM_DIGEST_LEN), CR_SLICE(count, sizeof count),
                                     CR_SLICE(&i, 1)},
                 3);
    f->len = F_LEN;
    err = cr_num_mod(f->bytes, F_LEN, CR_SLICE(wide, sizeof wide), CR_SLICE(q, F_LEN));
    vt_wipe(wide, sizeof wide);
    return num_rc(err, TPM_DAA_ISSUER_SETTINGS);
}

/* f0 = f mod 2^power0, f1 = f >> power0. */
static tpm_rc half_of_f(const struct daa *d, bool high, struct number *out)
{
    NUMBER f = {.len = 0};
    tpm_rc rc = compute_f(d, &f);

    out->len = POWER0_BYTES;
    memcpy(out->bytes, f.bytes + (high ? 0 : F_LEN - POWER0_BYTES), POWER0_BYTES);
    return rc;
}

/* MGF1("rN" || DAA_contextSeed). */
static void compute_r(const struct daa *d, unsigned n, struct number *out)
{
    static const size_t sizes[] = {TPM_DAA_SIZE_r0, TPM_DAA_SIZE_r1, TPM_DAA_SIZE_r2, TPM_DAA_SIZE_r3, TPM_DAA_SIZE_r4};
    uint8_t seed[2 + TPM_NONCE_LEN] = {'r', (uint8_t)('0' + n)};

    memcpy(seed + 2, d->s->context.daa_context_seed.bytes, TPM_NONCE_LEN);
    out->len = sizes[n];
    cr_mgf1_sha1(out->bytes, out->len, seed, sizeof seed);
    vt_wipe(seed, sizeof seed);
}

static void take(struct number *out, const void *bytes, size_t len)
{
    out->len = len;
    memcpy(out->bytes, bytes, len);
}

static tpm_rc compute_exponent(const struct daa *d, uint8_t which, struct number *out)
{
    const struct tpm_daa_joindata *join = &d->s->join;

    if (which == EXP_F0 || which == EXP_F1)
        return half_of_f(d, which == EXP_F1, out);
    if (which == EXP_U0)
        take(out, join->daa_join_u0.bytes, sizeof join->daa_join_u0.bytes);
    else if (which == EXP_U1)
        take(out, join->daa_join_u1.bytes, sizeof join->daa_join_u1.bytes);
    else
        compute_r(d, which - EXP_R0, out);
    return TPM_SUCCESS;
}

/* An answer without leading zeros. */
static tpm_rc tell(struct daa *d, const uint8_t *bytes, size_t len)
{
    while (len > 1 && !*bytes) {
        bytes++;
        len--;
    }
    return cmd_blob(d->c, d->out, bytes, len) ? TPM_SUCCESS : TPM_SIZE;
}

/* One with them. */
static tpm_rc tell_all(struct daa *d, const void *bytes, size_t len)
{
    return cmd_blob(d->c, d->out, bytes, len) ? TPM_SUCCESS : TPM_SIZE;
}

static void forget_scratch(struct daa *d)
{
    vt_wipe(&d->s->context.daa_scratch, sizeof d->s->context.daa_scratch);
    d->s->scratch_set = false;
}

static void set_scratch(struct daa *d, const void *bytes, size_t len)
{
    uint8_t *scratch = d->s->context.daa_scratch.bytes;

    forget_scratch(d);
    memcpy(scratch + TPM_DAA_SIZE_w - len, bytes, len);
    d->s->scratch_set = true;
}

/* ---- Digests ---- */

static bool hashes_to(const struct tpm_blob *data, const uint8_t digest[TPM_DIGEST_LEN])
{
    uint8_t have[TPM_DIGEST_LEN];

    cr_sha1(have, data->data, data->len);
    return vt_ct_equal(have, digest, sizeof have);
}

static void issuer_digest(const struct daa_session *s, uint8_t out[TPM_DIGEST_LEN])
{
    uint8_t bytes[sizeof s->issuer + 2];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_daa_issuer(&w, &s->issuer);
    cr_sha1(out, bytes, w.len);
}

/* SHA-1(DAA_tpmSpecific || DAA_joinSession), or of the former alone when signing. */
static void context_digest(const struct daa_session *s, bool signs, uint8_t out[TPM_DIGEST_LEN])
{
    uint8_t bytes[512];
    struct wr w = wr_to(bytes, sizeof bytes);

    wr_daa_tpm(&w, &s->tpm);
    if (!signs)
        wr_daa_joindata(&w, &s->join);
    cr_sha1(out, bytes, w.len);
    vt_wipe(bytes, sizeof bytes);
}

static tpm_rc check_issuer(const struct daa_session *s)
{
    uint8_t digest[TPM_DIGEST_LEN];

    issuer_digest(s, digest);
    return vt_ct_equal(digest, s->tpm.daa_digest_issuer.bytes, sizeof digest) ? TPM_SUCCESS : TPM_DAA_ISSUER_SETTINGS;
}

static tpm_rc check_context(const struct daa_session *s, bool signs)
{
    uint8_t digest[TPM_DIGEST_LEN];

    context_digest(s, signs, digest);
    return vt_ct_equal(digest, s->context.daa_digest_context.bytes, sizeof digest) ? TPM_SUCCESS
                                                                                   : TPM_DAA_TPM_SETTINGS;
}

/* Is it what the issuer signed: the base or gamma, and n? */
static tpm_rc check_base(const struct daa *d)
{
    const uint8_t *digest = (const uint8_t *)&d->s->issuer + d->row->base;

    return hashes_to(d->data0, digest) && d->data0->len <= CR_NUM_MAX ? TPM_SUCCESS : TPM_DAA_INPUT_DATA0;
}

static tpm_rc check_n(const struct daa *d)
{
    return hashes_to(d->data1, d->s->issuer.daa_digest_n.bytes) && d->data1->len <= TPM_DAA_SIZE_w ? TPM_SUCCESS
                                                                                                   : TPM_DAA_INPUT_DATA1;
}

/* ---- Powers: join 4-7 and 9-12, sign 2-5 ---- */

/* Join 7.m. */
static void set_digest(struct daa *d)
{
    uint8_t count[4];

    put_count(count, d->s->tpm.daa_count);
    cr_sha1v(d->s->context.daa_digest.bytes,
             (struct cr_slice[]){CR_SLICE(d->s->context.daa_scratch.bytes, TPM_DAA_SIZE_w), CR_SLICE(count, sizeof count),
                                 CR_SLICE(d->s->join.daa_digest_n0.bytes, TPM_DIGEST_LEN)},
             3);
}

/* scratch = [scratch *] base^exponent mod n. */
static tpm_rc run_power(struct daa *d)
{
    uint8_t *scratch = d->s->context.daa_scratch.bytes;
    struct cr_slice z = d->row->flags & TIMES_SCRATCH ? CR_SLICE(scratch, TPM_DAA_SIZE_w) : NO_NUMBER;
    NUMBER exponent = {.len = 0};
    NUMBER product = {.len = TPM_DAA_SIZE_w};
    tpm_rc rc;

    if ((rc = check_base(d)) || (rc = check_n(d)))
        return rc;
    if (d->row->flags & FRESH_SEED)
        tpm_random(d->c->tpm, d->s->context.daa_context_seed.bytes, TPM_NONCE_LEN);
    rc = compute_exponent(d, d->row->exponent, &exponent);
    if (rc)
        return rc;
    rc = num_rc(cr_num_exp_mod(product.bytes, product.len, z, CR_SLICE(d->data0->data, d->data0->len), NUM(&exponent),
                               CR_SLICE(d->data1->data, d->data1->len)),
                TPM_DAA_INPUT_DATA1);
    if (rc)
        return rc;
    set_scratch(d, product.bytes, product.len);
    if (d->row->flags & DIGEST)
        set_digest(d);
    if (d->row->flags & TELL) {
        rc = tell_all(d, scratch, TPM_DAA_SIZE_w);
        forget_scratch(d);
    }
    return rc;
}

/* ---- Sums: join 17-21, sign 11-15 ---- */

/* c is DAA_digest. */
static struct cr_slice challenge(const struct daa *d)
{
    return CR_SLICE(d->s->context.daa_digest.bytes, TPM_DIGEST_LEN);
}

/* Join 17-18, sign 11-12: s = r + c * f's half. */
static tpm_rc run_sum_f(struct daa *d)
{
    NUMBER r = {.len = 0};
    NUMBER f = {.len = 0};
    NUMBER sum = {.len = TPM_DAA_SIZE_r0 + 2};
    tpm_rc rc = half_of_f(d, d->row->exponent == EXP_R1, &f);

    if (rc)
        return rc;
    compute_r(d, d->row->exponent - EXP_R0, &r);
    rc = num_rc(cr_num_mul_add(sum.bytes, sum.len, NUM(&r), challenge(d), NUM(&f), NO_NUMBER), TPM_FAIL);
    return rc ? rc : tell(d, sum.bytes, sum.len);
}

/* The low half of the secret: of the join session, or out of its blob (sign 13-14, d-e). */
static tpm_rc take_v0(const struct daa *d, struct number *v0)
{
    tpm_rc rc;

    if (!d->row->type)
        return compute_exponent(d, EXP_U0, v0);
    v0->len = TPM_DAA_SIZE_v0;
    rc = daa_unwrap(d->c->tpm, d->row->type, d->data0, v0->bytes, v0->len);
    if (rc)
        return rc;
    return hashes_to(&(struct tpm_blob){.len = (uint32_t)v0->len, .data = v0->bytes}, d->s->tpm.daa_digest_v0.bytes)
               ? TPM_SUCCESS
               : TPM_DAA_INPUT_DATA0;
}

/* r2 + c * v0, all of its bits. */
static tpm_rc sum_low(const struct daa *d, struct number *sum)
{
    NUMBER r2 = {.len = 0};
    NUMBER v0 = {.len = 0};
    tpm_rc rc = take_v0(d, &v0);

    if (rc)
        return rc;
    compute_r(d, 2, &r2);
    sum->len = TPM_DAA_SIZE_w;
    return num_rc(cr_num_mul_add(sum->bytes, sum->len, NUM(&r2), challenge(d), NUM(&v0), NO_NUMBER), TPM_FAIL);
}

/* Join 19, sign 13: the lowest power1 bits of it. */
static tpm_rc run_sum_low(struct daa *d)
{
    NUMBER sum = {.len = 0};
    tpm_rc rc = sum_low(d, &sum);

    return rc ? rc : tell_all(d, sum.bytes + S12_LEN, POWER1_BYTES);
}

/* Join 20, sign 14: the others are kept. */
static tpm_rc run_carry(struct daa *d)
{
    NUMBER sum = {.len = 0};
    tpm_rc rc = sum_low(d, &sum);

    if (rc)
        return rc;
    set_scratch(d, sum.bytes, S12_LEN);
    return d->row->flags & TELL ? tell_all(d, d->s->context.daa_digest.bytes, TPM_DIGEST_LEN) : TPM_SUCCESS;
}

static tpm_rc take_v1(const struct daa *d, struct number *v1)
{
    tpm_rc rc;

    if (!d->row->type)
        return compute_exponent(d, EXP_U1, v1);
    v1->len = TPM_DAA_SIZE_v1;
    rc = daa_unwrap(d->c->tpm, d->row->type, d->data0, v1->bytes, v1->len);
    if (rc)
        return rc;
    return hashes_to(&(struct tpm_blob){.len = (uint32_t)v1->len, .data = v1->bytes}, d->s->tpm.daa_digest_v1.bytes)
               ? TPM_SUCCESS
               : TPM_DAA_INPUT_DATA0;
}

/* Join 21, sign 15: r + c * v1 and what was kept. */
static tpm_rc run_sum_high(struct daa *d)
{
    NUMBER r = {.len = 0};
    NUMBER v1 = {.len = 0};
    NUMBER sum = {.len = TPM_DAA_SIZE_w};
    tpm_rc rc = take_v1(d, &v1);

    if (rc)
        return rc;
    compute_r(d, d->row->exponent - EXP_R0, &r);
    rc = num_rc(cr_num_mul_add(sum.bytes, sum.len, NUM(&r), challenge(d), NUM(&v1),
                               CR_SLICE(d->s->context.daa_scratch.bytes, TPM_DAA_SIZE_w)),
                TPM_FAIL);
    forget_scratch(d);
    return rc ? rc : tell(d, sum.bytes, sum.len);
}

/* ---- The pseudonym: join 13-15, sign 6-8 ---- */

static tpm_rc power_of_gamma(const struct daa *d, struct cr_slice base, struct cr_slice exponent, struct number *out)
{
    out->len = TPM_DAA_SIZE_w;
    return num_rc(cr_num_exp_mod(out->bytes, out->len, NO_NUMBER, base, exponent, CR_SLICE(d->data0->data, d->data0->len)),
                  TPM_DAA_INPUT_DATA0);
}

/* Join 13, sign 6: w is of order q. */
static tpm_rc run_take_w(struct daa *d)
{
    static const uint8_t one[TPM_DAA_SIZE_w] = {[TPM_DAA_SIZE_w - 1] = 1};
    NUMBER w1 = {.len = 0};
    tpm_rc rc = check_base(d);

    if (rc)
        return rc;
    if (d->data1->len != TPM_DAA_SIZE_w)
        return TPM_DAA_INPUT_DATA1;
    rc = power_of_gamma(d, CR_SLICE(d->data1->data, d->data1->len), CR_SLICE(d->s->issuer.daa_generic_q.bytes, F_LEN), &w1);
    if (rc)
        return rc;
    if (memcmp(w1.bytes, one, sizeof one) != 0)
        return TPM_DAA_WRONG_W;
    set_scratch(d, d->data1->data, d->data1->len);
    return TPM_SUCCESS;
}

static struct cr_slice scratch_of(const struct daa *d)
{
    return CR_SLICE(d->s->context.daa_scratch.bytes, TPM_DAA_SIZE_w);
}

/* Join 14, sign 7: E = w^f mod gamma. */
static tpm_rc run_pseudonym(struct daa *d)
{
    NUMBER f = {.len = 0};
    NUMBER e = {.len = 0};
    tpm_rc rc;

    if ((rc = check_base(d)) || (rc = compute_f(d, &f)) || (rc = power_of_gamma(d, scratch_of(d), NUM(&f), &e)))
        return rc;
    return tell(d, e.bytes, e.len);
}

/* r = r0 + 2^power0 * r1 mod q. */
static tpm_rc compute_whole_r(const struct daa *d, struct number *out)
{
    static const uint8_t power0[POWER0_BYTES + 1] = {1};
    NUMBER r0 = {.len = 0};
    NUMBER r1 = {.len = 0};
    NUMBER sum = {.len = TPM_DAA_SIZE_r1 + POWER0_BYTES + 1};
    int err;

    compute_r(d, 0, &r0);
    compute_r(d, 1, &r1);
    out->len = F_LEN;
    err = cr_num_mul_add(sum.bytes, sum.len, NUM(&r0), NUM(&r1), CR_SLICE(power0, sizeof power0), NO_NUMBER);
    if (!err)
        err = cr_num_mod(out->bytes, out->len, NUM(&sum), CR_SLICE(d->s->issuer.daa_generic_q.bytes, F_LEN));
    return num_rc(err, TPM_DAA_ISSUER_SETTINGS);
}

/* Join 15, sign 8: E1 = w^r mod gamma. */
static tpm_rc run_commitment(struct daa *d)
{
    NUMBER r = {.len = 0};
    NUMBER e1 = {.len = 0};
    tpm_rc rc;

    if ((rc = check_base(d)) || (rc = compute_whole_r(d, &r)) || (rc = power_of_gamma(d, scratch_of(d), NUM(&r), &e1)))
        return rc;
    forget_scratch(d);
    return tell(d, e1.bytes, e1.len);
}

/* Join 16, sign 9: the challenge gets something of this TPM's. */
static tpm_rc run_challenge(struct daa *d)
{
    uint8_t nt[TPM_DAA_SIZE_NT];

    if (d->data0->len != TPM_DIGEST_LEN)
        return TPM_DAA_INPUT_DATA0;
    tpm_random(d->c->tpm, nt, sizeof nt);
    cr_sha1v(d->s->context.daa_digest.bytes,
             (struct cr_slice[]){CR_SLICE(d->data0->data, TPM_DIGEST_LEN), CR_SLICE(nt, sizeof nt)}, 2);
    return tell_all(d, nt, sizeof nt);
}

/* ---- Join 0-3: the issuer ---- */

static tpm_rc take_count(struct daa *d)
{
    struct rd r = rd_from(d->data0->data, d->data0->len);

    d->s->tpm.daa_count = rd_get32(&r);
    return rd_result(&r) ? TPM_DAA_INPUT_DATA0 : TPM_SUCCESS;
}

static tpm_rc tell_handle(struct daa *d)
{
    uint8_t handle[4];

    put_count(handle, d->s->handle);
    return tell_all(d, handle, sizeof handle);
}

/* 0.f-l: as many keys of the issuer as there will be. */
static tpm_rc join_begin(struct daa *d)
{
    tpm_rc rc = take_count(d);

    if (!rc && !d->s->tpm.daa_count)
        rc = TPM_DAA_INPUT_DATA0;
    return rc ? rc : tell_handle(d);
}

/* Does the issuer's key in DAA_scratch say so? Its exponent is 65537. */
static tpm_rc check_signature(const struct daa *d, const uint8_t digest[TPM_DIGEST_LEN])
{
    struct cr_rsa_pub pub = {.e = 65537, .bytes = TPM_DAA_SIZE_issuerModulus};

    memcpy(pub.n, d->s->context.daa_scratch.bytes, pub.bytes);
    return num_rc(cr_rsa_verify(&pub, CR_SIG_PKCS1_SHA1, digest, TPM_DIGEST_LEN, d->data1->data, d->data1->len),
                  TPM_DAA_ISSUER_VALIDITY);
}

/* 1.d: the first key names the issuer; the secret depends on it. */
static void take_first_key(struct daa *d)
{
    uint8_t *n0 = d->s->join.daa_digest_n0.bytes;
    const struct vt_auth *seed = daa_seed(d->c->tpm);

    set_scratch(d, d->data0->data, d->data0->len);
    cr_sha1(n0, d->data0->data, d->data0->len);
    cr_sha1v(d->s->tpm.daa_rekey.bytes,
             (struct cr_slice[]){CR_SLICE(seed->bytes, sizeof seed->bytes), CR_SLICE(n0, TPM_DIGEST_LEN)}, 2);
}

/* 1.e: each other one is signed by the one before. */
static tpm_rc take_next_key(struct daa *d)
{
    uint8_t digest[TPM_DIGEST_LEN];
    tpm_rc rc;

    if (d->data1->len != TPM_DAA_SIZE_issuerModulus)
        return TPM_DAA_INPUT_DATA1;
    cr_sha1(digest, d->data0->data, d->data0->len);
    rc = check_signature(d, digest);
    if (!rc)
        set_scratch(d, d->data0->data, d->data0->len);
    return rc;
}

static tpm_rc join_keys(struct daa *d)
{
    tpm_rc rc = TPM_SUCCESS;

    if (d->data0->len != TPM_DAA_SIZE_issuerModulus)
        return TPM_DAA_INPUT_DATA0;
    if (d->s->scratch_set)
        rc = take_next_key(d);
    else
        take_first_key(d);
    /* f-h. It stays in this stage until the last one; the next stage is counted by the caller. */
    if (!rc && --d->s->tpm.daa_count)
        d->s->context.daa_stage--;
    return rc;
}

static tpm_rc take_issuer(struct daa *d)
{
    struct rd r = rd_from(d->data0->data, d->data0->len);

    rd_daa_issuer(&r, &d->s->issuer);
    return rd_result(&r) ? TPM_DAA_INPUT_DATA0 : TPM_SUCCESS;
}

/* 2. */
static tpm_rc join_issuer(struct daa *d)
{
    uint8_t digest[TPM_DIGEST_LEN];
    tpm_rc rc = take_issuer(d);

    if (rc)
        return rc;
    if (d->data1->len != TPM_DAA_SIZE_issuerModulus)
        return TPM_DAA_INPUT_DATA1;
    cr_sha1v(digest,
             (struct cr_slice[]){CR_SLICE(d->s->join.daa_digest_n0.bytes, TPM_DIGEST_LEN),
                                 CR_SLICE(d->data0->data, d->data0->len)},
             2);
    rc = check_signature(d, digest);
    issuer_digest(d->s, d->s->tpm.daa_digest_issuer.bytes);
    forget_scratch(d);
    return rc;
}

/* 3. */
static tpm_rc join_random(struct daa *d)
{
    tpm_random(d->c->tpm, d->s->join.daa_join_u0.bytes, sizeof d->s->join.daa_join_u0.bytes);
    tpm_random(d->c->tpm, d->s->join.daa_join_u1.bytes, sizeof d->s->join.daa_join_u1.bytes);
    return take_count(d);
}

/* 8: only this endorsement key can answer. */
static tpm_rc join_endorse(struct daa *d)
{
    NUMBER ne = {.len = 0};
    uint8_t digest[TPM_DIGEST_LEN], *made = d->s->context.daa_digest.bytes;
    tpm_rc rc;

    if (d->data0->len != TPM_DAA_SIZE_NE)
        return TPM_DAA_INPUT_DATA0;
    rc = key_unwrap_blob(&d->c->tpm->perm.ek, d->data0, ne.bytes, &ne.len);
    if (rc)
        return rc;
    cr_sha1v(digest, (struct cr_slice[]){CR_SLICE(made, TPM_DIGEST_LEN), NUM(&ne)}, 2);
    memset(made, 0, TPM_DIGEST_LEN);
    return tell_all(d, digest, sizeof digest);
}

/* ---- Join 22-24: what it leaves with ---- */

/* u + v in TPM_DAA_SIZE_w bytes; the challenge is 1. */
static tpm_rc add(struct number *out, struct cr_slice a, struct cr_slice b, struct cr_slice c)
{
    static const uint8_t one[] = {1};

    out->len = TPM_DAA_SIZE_w;
    return num_rc(cr_num_mul_add(out->bytes, out->len, a, CR_SLICE(one, 1), b, c), TPM_FAIL);
}

/* 22. */
static tpm_rc join_v0(struct daa *d)
{
    const struct tpm_bytes128 *u0 = &d->s->join.daa_join_u0;
    NUMBER sum = {.len = 0};
    const uint8_t *v0 = sum.bytes + S12_LEN;
    tpm_rc rc;

    if (d->data0->len != TPM_DAA_SIZE_v0)
        return TPM_DAA_INPUT_DATA0;
    rc = add(&sum, CR_SLICE(d->data0->data, d->data0->len), CR_SLICE(u0->bytes, sizeof u0->bytes), NO_NUMBER);
    if (rc)
        return rc;
    cr_sha1(d->s->tpm.daa_digest_v0.bytes, v0, TPM_DAA_SIZE_v0);
    set_scratch(d, sum.bytes, S12_LEN);
    return daa_wrap(d->c, d->row->type, v0, TPM_DAA_SIZE_v0, d->out);
}

/* 23. */
static tpm_rc join_v1(struct daa *d)
{
    static const uint8_t zeros[TPM_DAA_SIZE_w - TPM_DAA_SIZE_v1];
    const struct tpm_bytes138 *u1 = &d->s->join.daa_join_u1;
    NUMBER sum = {.len = 0};
    const uint8_t *v1 = sum.bytes + sizeof zeros;
    tpm_rc rc;

    if (d->data0->len != TPM_DAA_SIZE_v1)
        return TPM_DAA_INPUT_DATA0;
    rc = add(&sum, CR_SLICE(d->data0->data, d->data0->len), CR_SLICE(u1->bytes, sizeof u1->bytes), scratch_of(d));
    if (rc)
        return rc;
    /* It has its place in the signature's sums. */
    if (memcmp(sum.bytes, zeros, sizeof zeros) != 0)
        return TPM_DAA_INPUT_DATA0;
    cr_sha1(d->s->tpm.daa_digest_v1.bytes, v1, TPM_DAA_SIZE_v1);
    forget_scratch(d);
    return daa_wrap(d->c, d->row->type, v1, TPM_DAA_SIZE_v1, d->out);
}

/* 24. */
static tpm_rc join_end(struct daa *d)
{
    uint8_t bytes[DAA_PRIVATE_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);
    tpm_rc rc;

    wr_daa_tpm(&w, &d->s->tpm);
    rc = daa_wrap(d->c, d->row->type, bytes, w.len, d->out);
    vt_wipe(bytes, sizeof bytes);
    return rc;
}

/* ---- Sign 0, 1 and 10 ---- */

static tpm_rc sign_begin(struct daa *d)
{
    tpm_rc rc = take_issuer(d);

    return rc ? rc : tell_handle(d);
}

static tpm_rc sign_load(struct daa *d)
{
    uint8_t bytes[2 + 4 * TPM_DIGEST_LEN + 4] = {0};
    struct rd r = rd_from(bytes, sizeof bytes);
    tpm_rc rc = daa_unwrap(d->c->tpm, d->row->type, d->data0, bytes, sizeof bytes);

    if (!rc) {
        rd_daa_tpm(&r, &d->s->tpm);
        rc = rd_result(&r) ? TPM_DAA_INPUT_DATA0 : check_issuer(d->s);
    }
    vt_wipe(bytes, sizeof bytes);
    return rc;
}

/* 10.h: inputData1 names an identity. */
static const struct key_slot *find_identity(const struct daa *d)
{
    struct rd r = rd_from(d->data1->data, d->data1->len);
    const struct key_slot *slot = key_find(d->c->tpm, rd_get32(&r));

    return !rd_result(&r) && slot && slot->key.usage == TPM_KEY_IDENTITY ? slot : NULL;
}

/* 10: what is signed: an identity's modulus or a digest. */
static tpm_rc sign_message(struct daa *d)
{
    uint8_t *digest = d->s->context.daa_digest.bytes;
    const struct key_slot *identity;
    struct cr_slice message = CR_SLICE(d->data1->data, d->data1->len);

    if (d->data0->len != 1 || d->data0->data[0] > 1)
        return TPM_DAA_INPUT_DATA0;
    if (!d->data0->data[0]) {
        identity = find_identity(d);
        if (!identity)
            return TPM_DAA_INPUT_DATA1;
        message = CR_SLICE(identity->key.rsa.pub.n, identity->key.rsa.pub.bytes);
    } else if (message.len != TPM_DIGEST_LEN) {
        return TPM_DAA_INPUT_DATA1;
    }
    cr_sha1v(digest, (struct cr_slice[]){CR_SLICE(digest, TPM_DIGEST_LEN), CR_SLICE(d->data0->data, 1), message}, 3);
    return tell_all(d, digest, TPM_DIGEST_LEN);
}

/* ---- The stages ---- */

#define BASE(x) .base = offsetof(struct tpm_daa_issuer, daa_digest_##x)

static const struct stage join_stages[] = {
    {.run = join_begin, .renews = true},
    {.run = join_keys, .renews = true},
    {.run = join_issuer, .renews = true},
    {.run = join_random, .renews = true},
    {.run = run_power, BASE(r0), .exponent = EXP_F0},
    {.run = run_power, BASE(r1), .exponent = EXP_F1, .flags = TIMES_SCRATCH},
    {.run = run_power, BASE(s0), .exponent = EXP_U0, .flags = TIMES_SCRATCH},
    {.run = run_power, BASE(s1), .exponent = EXP_U1, .flags = TIMES_SCRATCH | DIGEST | TELL},
    {.run = join_endorse},
    {.run = run_power, BASE(r0), .exponent = EXP_R0, .flags = FRESH_SEED},
    {.run = run_power, BASE(r1), .exponent = EXP_R1, .flags = TIMES_SCRATCH},
    {.run = run_power, BASE(s0), .exponent = EXP_R2, .flags = TIMES_SCRATCH},
    {.run = run_power, BASE(s1), .exponent = EXP_R3, .flags = TIMES_SCRATCH | TELL},
    {.run = run_take_w, BASE(gamma)},
    {.run = run_pseudonym, BASE(gamma)},
    {.run = run_commitment, BASE(gamma)},
    {.run = run_challenge},
    {.run = run_sum_f, .exponent = EXP_R0},
    {.run = run_sum_f, .exponent = EXP_R1},
    {.run = run_sum_low},
    {.run = run_carry, .flags = TELL},
    {.run = run_sum_high, .exponent = EXP_R3},
    {.run = join_v0, .renews = true, .type = TPM_RT_DAA_V0},
    {.run = join_v1, .renews = true, .type = TPM_RT_DAA_V1},
    {.run = join_end, .type = TPM_RT_DAA_TPM},
};

static const struct stage sign_stages[] = {
    {.run = sign_begin},
    {.run = sign_load, .renews = true, .type = TPM_RT_DAA_TPM},
    {.run = run_power, BASE(r0), .exponent = EXP_R0, .flags = FRESH_SEED},
    {.run = run_power, BASE(r1), .exponent = EXP_R1, .flags = TIMES_SCRATCH},
    {.run = run_power, BASE(s0), .exponent = EXP_R2, .flags = TIMES_SCRATCH},
    {.run = run_power, BASE(s1), .exponent = EXP_R4, .flags = TIMES_SCRATCH | TELL},
    {.run = run_take_w, BASE(gamma)},
    {.run = run_pseudonym, BASE(gamma)},
    {.run = run_commitment, BASE(gamma)},
    {.run = run_challenge},
    {.run = sign_message},
    {.run = run_sum_f, .exponent = EXP_R0},
    {.run = run_sum_f, .exponent = EXP_R1},
    {.run = run_sum_low, .type = TPM_RT_DAA_V0},
    {.run = run_carry, .type = TPM_RT_DAA_V0},
    {.run = run_sum_high, .exponent = EXP_R4, .type = TPM_RT_DAA_V1},
};

/* ---- What all stages do alike ---- */

struct course {
    const struct stage *stages;
    size_t count;
    bool signs;
    uint8_t context_from, issuer_from; /* the first stages that look at these */
};

static const struct course joining = {join_stages, VT_COUNT(join_stages), false, 1, 3};
static const struct course signing = {sign_stages, VT_COUNT(sign_stages), true, 2, 2};

static tpm_rc check_stage(const struct daa_session *s, const struct course *course, uint8_t stage)
{
    tpm_rc rc = TPM_SUCCESS;

    if (stage >= course->count || s->context.daa_stage != stage)
        return TPM_DAA_STAGE;
    if (stage >= course->context_from)
        rc = check_context(s, course->signs);
    if (!rc && stage >= course->issuer_from)
        rc = check_issuer(s);
    return rc;
}

static tpm_rc run_stage(struct daa *d, const struct course *course, uint8_t stage)
{
    struct daa_session *s = d->s;
    tpm_rc rc = check_stage(s, course, stage);

    if (rc)
        return rc;
    d->row = &course->stages[stage];
    rc = d->row->run(d);
    if (rc)
        return rc;
    s->context.daa_stage++;
    if (d->row->renews)
        context_digest(s, course->signs, s->context.daa_digest_context.bytes);
    return TPM_SUCCESS;
}

/* Stage 0 begins a session; the last one, and any error, ends it. */
static tpm_rc run(struct daa *d, const struct course *course, uint8_t stage)
{
    struct tpm *tpm = d->c->tpm;
    tpm_rc rc;

    d->s = stage ? daa_find(tpm, d->c->handles[0]) : daa_new(tpm);
    if (!d->s)
        return stage ? TPM_BAD_HANDLE : TPM_RESOURCES;
    rc = run_stage(d, course, stage);
    if (rc || stage + 1u == course->count)
        daa_close(tpm, d->s);
    return rc;
}

/* TPM 1.2 Part 3, 26.1 TPM_DAA_Join */
tpm_rc cmd_daa_join(struct cmd *c, const struct daa_join_in *in, struct daa_join_out *out)
{
    struct daa d = {.c = c, .data0 = &in->input_data0, .data1 = &in->input_data1, .out = &out->output_data};

    /* 1 was the pipeline's. 2-3. */
    return run(&d, &joining, in->stage);
}

/* TPM 1.2 Part 3, 26.2 TPM_DAA_Sign */
tpm_rc cmd_daa_sign(struct cmd *c, const struct daa_sign_in *in, struct daa_sign_out *out)
{
    struct daa d = {.c = c, .data0 = &in->input_data0, .data1 = &in->input_data1, .out = &out->output_data};

    /* 1 was the pipeline's. 2-3. */
    return run(&d, &signing, in->stage);
}

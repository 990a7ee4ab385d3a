/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 26: the stages that TPM_DAA_Join and TPM_DAA_Sign have in common. */
#include "server/engine/daa_blob.h"
#include "server/engine/daa_stage.h"

/* Is it what the issuer signed: the base or gamma, and n? */
static tpm_rc check_base(const struct daa *d)
{
    const uint8_t *digest = (const uint8_t *)&d->s->issuer + d->row->base;

    return daa_hashes_to(d->data0, digest) && d->data0->len <= CR_NUM_MAX ? TPM_SUCCESS : TPM_DAA_INPUT_DATA0;
}

static tpm_rc check_n(const struct daa *d)
{
    return daa_hashes_to(d->data1, d->s->issuer.daa_digest_n.bytes) && d->data1->len <= TPM_DAA_SIZE_w
               ? TPM_SUCCESS
               : TPM_DAA_INPUT_DATA1;
}

/* ---- Powers: join 4-7 and 9-12, sign 2-5 ---- */

/* Join 7.m. */
static void set_digest(struct daa *d)
{
    uint8_t count[4];

    daa_put_count(count, d->s->tpm.daa_count);
    cr_sha1v(d->s->context.daa_digest.bytes,
             (struct cr_slice[]){CR_SLICE(d->s->context.daa_scratch.bytes, TPM_DAA_SIZE_w),
                                 CR_SLICE(count, sizeof count),
                                 CR_SLICE(d->s->join.daa_digest_n0.bytes, TPM_DIGEST_LEN)},
             3);
}

/* scratch = [scratch *] base^exponent mod n. */
tpm_rc daa_power(struct daa *d)
{
    uint8_t *scratch = d->s->context.daa_scratch.bytes;
    struct cr_slice z = d->row->flags & TIMES_SCRATCH ? CR_SLICE(scratch, TPM_DAA_SIZE_w) : DAA_NO_NUMBER;
    DAA_NUMBER exponent = {.len = 0};
    DAA_NUMBER product = {.len = TPM_DAA_SIZE_w};
    tpm_rc rc;

    if ((rc = check_base(d)) || (rc = check_n(d)))
        return rc;
    if (d->row->flags & FRESH_SEED)
        tpm_random(d->c->tpm, d->s->context.daa_context_seed.bytes, TPM_NONCE_LEN);
    rc = daa_compute_exponent(d, d->row->exponent, &exponent);
    if (rc)
        return rc;
    rc = daa_num_rc(cr_num_exp_mod(product.bytes, product.len, z, CR_SLICE(d->data0->data, d->data0->len),
                                   DAA_NUM(&exponent), CR_SLICE(d->data1->data, d->data1->len)),
                    TPM_DAA_INPUT_DATA1);
    if (rc)
        return rc;
    daa_set_scratch(d, product.bytes, product.len);
    if (d->row->flags & DIGEST)
        set_digest(d);
    if (d->row->flags & TELL) {
        rc = daa_tell_all(d, scratch, TPM_DAA_SIZE_w);
        daa_forget_scratch(d);
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
tpm_rc daa_sum_f(struct daa *d)
{
    DAA_NUMBER r = {.len = 0};
    DAA_NUMBER f = {.len = 0};
    DAA_NUMBER sum = {.len = TPM_DAA_SIZE_r0 + 2};
    tpm_rc rc = daa_half_of_f(d, d->row->exponent == EXP_R1, &f);

    if (rc)
        return rc;
    daa_compute_r(d, d->row->exponent - EXP_R0, &r);
    rc =
        daa_num_rc(cr_num_mul_add(sum.bytes, sum.len, DAA_NUM(&r), challenge(d), DAA_NUM(&f), DAA_NO_NUMBER), TPM_FAIL);
    return rc ? rc : daa_tell(d, sum.bytes, sum.len);
}

/* The low half of the secret: of the join session, or out of its blob (sign 13-14, d-e). */
static tpm_rc take_v0(const struct daa *d, struct daa_number *v0)
{
    tpm_rc rc;

    if (!d->row->type)
        return daa_compute_exponent(d, EXP_U0, v0);
    v0->len = TPM_DAA_SIZE_v0;
    rc = daa_unwrap(d->c->tpm, d->row->type, d->data0, v0->bytes, v0->len);
    if (rc)
        return rc;
    return daa_hashes_to(&(struct tpm_blob){.len = (uint32_t)v0->len, .data = v0->bytes}, d->s->tpm.daa_digest_v0.bytes)
               ? TPM_SUCCESS
               : TPM_DAA_INPUT_DATA0;
}

/* r2 + c * v0, all of its bits. */
static tpm_rc sum_low(const struct daa *d, struct daa_number *sum)
{
    DAA_NUMBER r2 = {.len = 0};
    DAA_NUMBER v0 = {.len = 0};
    tpm_rc rc = take_v0(d, &v0);

    if (rc)
        return rc;
    daa_compute_r(d, 2, &r2);
    sum->len = TPM_DAA_SIZE_w;
    return daa_num_rc(cr_num_mul_add(sum->bytes, sum->len, DAA_NUM(&r2), challenge(d), DAA_NUM(&v0), DAA_NO_NUMBER),
                      TPM_FAIL);
}

/* Join 19, sign 13: the lowest power1 bits of it. */
tpm_rc daa_sum_low(struct daa *d)
{
    DAA_NUMBER sum = {.len = 0};
    tpm_rc rc = sum_low(d, &sum);

    return rc ? rc : daa_tell_all(d, sum.bytes + DAA_S12_LEN, DAA_POWER1_BYTES);
}

/* Join 20, sign 14: the others are kept. */
tpm_rc daa_carry(struct daa *d)
{
    DAA_NUMBER sum = {.len = 0};
    tpm_rc rc = sum_low(d, &sum);

    if (rc)
        return rc;
    daa_set_scratch(d, sum.bytes, DAA_S12_LEN);
    return d->row->flags & TELL ? daa_tell_all(d, d->s->context.daa_digest.bytes, TPM_DIGEST_LEN) : TPM_SUCCESS;
}

static tpm_rc take_v1(const struct daa *d, struct daa_number *v1)
{
    tpm_rc rc;

    if (!d->row->type)
        return daa_compute_exponent(d, EXP_U1, v1);
    v1->len = TPM_DAA_SIZE_v1;
    rc = daa_unwrap(d->c->tpm, d->row->type, d->data0, v1->bytes, v1->len);
    if (rc)
        return rc;
    return daa_hashes_to(&(struct tpm_blob){.len = (uint32_t)v1->len, .data = v1->bytes}, d->s->tpm.daa_digest_v1.bytes)
               ? TPM_SUCCESS
               : TPM_DAA_INPUT_DATA0;
}

/* Join 21, sign 15: r + c * v1 and what was kept. */
tpm_rc daa_sum_high(struct daa *d)
{
    DAA_NUMBER r = {.len = 0};
    DAA_NUMBER v1 = {.len = 0};
    DAA_NUMBER sum = {.len = TPM_DAA_SIZE_w};
    tpm_rc rc = take_v1(d, &v1);

    if (rc)
        return rc;
    daa_compute_r(d, d->row->exponent - EXP_R0, &r);
    rc = daa_num_rc(cr_num_mul_add(sum.bytes, sum.len, DAA_NUM(&r), challenge(d), DAA_NUM(&v1),
                                   CR_SLICE(d->s->context.daa_scratch.bytes, TPM_DAA_SIZE_w)),
                    TPM_FAIL);
    daa_forget_scratch(d);
    return rc ? rc : daa_tell(d, sum.bytes, sum.len);
}

/* ---- The pseudonym: join 13-15, sign 6-8 ---- */

static tpm_rc power_of_gamma(const struct daa *d, struct cr_slice base, struct cr_slice exponent,
                             struct daa_number *out)
{
    out->len = TPM_DAA_SIZE_w;
    return daa_num_rc(
        cr_num_exp_mod(out->bytes, out->len, DAA_NO_NUMBER, base, exponent, CR_SLICE(d->data0->data, d->data0->len)),
        TPM_DAA_INPUT_DATA0);
}

/* Join 13, sign 6: w is of order q. */
tpm_rc daa_take_w(struct daa *d)
{
    static const uint8_t one[TPM_DAA_SIZE_w] = {[TPM_DAA_SIZE_w - 1] = 1};
    DAA_NUMBER w1 = {.len = 0};
    tpm_rc rc = check_base(d);

    if (rc)
        return rc;
    if (d->data1->len != TPM_DAA_SIZE_w)
        return TPM_DAA_INPUT_DATA1;
    rc = power_of_gamma(d, CR_SLICE(d->data1->data, d->data1->len),
                        CR_SLICE(d->s->issuer.daa_generic_q.bytes, DAA_F_LEN), &w1);
    if (rc)
        return rc;
    if (memcmp(w1.bytes, one, sizeof one) != 0)
        return TPM_DAA_WRONG_W;
    daa_set_scratch(d, d->data1->data, d->data1->len);
    return TPM_SUCCESS;
}

/* Join 14, sign 7: E = w^f mod gamma. */
tpm_rc daa_pseudonym(struct daa *d)
{
    DAA_NUMBER f = {.len = 0};
    DAA_NUMBER e = {.len = 0};
    tpm_rc rc;

    if ((rc = check_base(d)) || (rc = daa_compute_f(d, &f)) ||
        (rc = power_of_gamma(d, daa_scratch(d), DAA_NUM(&f), &e)))
        return rc;
    return daa_tell(d, e.bytes, e.len);
}

/* Join 15, sign 8: E1 = w^r mod gamma. */
tpm_rc daa_commitment(struct daa *d)
{
    DAA_NUMBER r = {.len = 0};
    DAA_NUMBER e1 = {.len = 0};
    tpm_rc rc;

    if ((rc = check_base(d)) || (rc = daa_compute_whole_r(d, &r)) ||
        (rc = power_of_gamma(d, daa_scratch(d), DAA_NUM(&r), &e1)))
        return rc;
    daa_forget_scratch(d);
    return daa_tell(d, e1.bytes, e1.len);
}

/* Join 16, sign 9: the challenge gets something of this TPM's. */
tpm_rc daa_challenge(struct daa *d)
{
    uint8_t nt[TPM_DAA_SIZE_NT];

    if (d->data0->len != TPM_DIGEST_LEN)
        return TPM_DAA_INPUT_DATA0;
    tpm_random(d->c->tpm, nt, sizeof nt);
    cr_sha1v(d->s->context.daa_digest.bytes,
             (struct cr_slice[]){CR_SLICE(d->data0->data, TPM_DIGEST_LEN), CR_SLICE(nt, sizeof nt)}, 2);
    return daa_tell_all(d, nt, sizeof nt);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, 26.1: what only TPM_DAA_Join does: the issuer, the endorsement, the secret's blobs. */
#include "server/engine/daa_blob.h"
#include "server/engine/daa_stage.h"
#include "server/engine/keys.h"

/* ---- Join 0-3: the issuer ---- */

static tpm_rc take_count(struct daa *d)
{
    struct rd r = rd_from(d->data0->data, d->data0->len);

    d->s->tpm.daa_count = rd_get32(&r);
    return rd_result(&r) ? TPM_DAA_INPUT_DATA0 : TPM_SUCCESS;
}

/* 0.f-l: as many keys of the issuer as there will be. */
static tpm_rc join_begin(struct daa *d)
{
    tpm_rc rc = take_count(d);

    if (!rc && !d->s->tpm.daa_count)
        rc = TPM_DAA_INPUT_DATA0;
    return rc ? rc : daa_tell_handle(d);
}

/* Does the issuer's key in DAA_scratch say so? Its exponent is 65537. */
static tpm_rc check_signature(const struct daa *d, const uint8_t digest[TPM_DIGEST_LEN])
{
    struct cr_rsa_pub pub = {.e = 65537, .bytes = TPM_DAA_SIZE_issuerModulus};

    memcpy(pub.n, d->s->context.daa_scratch.bytes, pub.bytes);
    return daa_num_rc(cr_rsa_verify(&pub, CR_SIG_PKCS1_SHA1, digest, TPM_DIGEST_LEN, d->data1->data, d->data1->len),
                      TPM_DAA_ISSUER_VALIDITY);
}

/* 1.d: the first key names the issuer; the secret depends on it. */
static void take_first_key(struct daa *d)
{
    uint8_t *n0 = d->s->join.daa_digest_n0.bytes;
    const struct vt_auth *seed = daa_seed(d->c->tpm);

    daa_set_scratch(d, d->data0->data, d->data0->len);
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
        daa_set_scratch(d, d->data0->data, d->data0->len);
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

/* 2. */
static tpm_rc join_issuer(struct daa *d)
{
    uint8_t digest[TPM_DIGEST_LEN];
    tpm_rc rc = daa_take_issuer(d);

    if (rc)
        return rc;
    if (d->data1->len != TPM_DAA_SIZE_issuerModulus)
        return TPM_DAA_INPUT_DATA1;
    cr_sha1v(digest,
             (struct cr_slice[]){CR_SLICE(d->s->join.daa_digest_n0.bytes, TPM_DIGEST_LEN),
                                 CR_SLICE(d->data0->data, d->data0->len)},
             2);
    rc = check_signature(d, digest);
    daa_issuer_digest(d->s, d->s->tpm.daa_digest_issuer.bytes);
    daa_forget_scratch(d);
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
    DAA_NUMBER ne = {.len = 0};
    uint8_t digest[TPM_DIGEST_LEN], *made = d->s->context.daa_digest.bytes;
    tpm_rc rc;

    if (d->data0->len != TPM_DAA_SIZE_NE)
        return TPM_DAA_INPUT_DATA0;
    rc = key_unwrap_blob(&d->c->tpm->perm.ek, d->data0, ne.bytes, &ne.len);
    if (rc)
        return rc;
    cr_sha1v(digest, (struct cr_slice[]){CR_SLICE(made, TPM_DIGEST_LEN), DAA_NUM(&ne)}, 2);
    memset(made, 0, TPM_DIGEST_LEN);
    return daa_tell_all(d, digest, sizeof digest);
}

/* ---- Join 22-24: what it leaves with ---- */

/* u + v in TPM_DAA_SIZE_w bytes; the challenge is 1. */
static tpm_rc add(struct daa_number *out, struct cr_slice a, struct cr_slice b, struct cr_slice c)
{
    static const uint8_t one[] = {1};

    out->len = TPM_DAA_SIZE_w;
    return daa_num_rc(cr_num_mul_add(out->bytes, out->len, a, CR_SLICE(one, 1), b, c), TPM_FAIL);
}

/* 22. */
static tpm_rc join_v0(struct daa *d)
{
    const struct tpm_bytes128 *u0 = &d->s->join.daa_join_u0;
    DAA_NUMBER sum = {.len = 0};
    const uint8_t *v0 = sum.bytes + DAA_S12_LEN;
    tpm_rc rc;

    if (d->data0->len != TPM_DAA_SIZE_v0)
        return TPM_DAA_INPUT_DATA0;
    rc = add(&sum, CR_SLICE(d->data0->data, d->data0->len), CR_SLICE(u0->bytes, sizeof u0->bytes), DAA_NO_NUMBER);
    if (rc)
        return rc;
    cr_sha1(d->s->tpm.daa_digest_v0.bytes, v0, TPM_DAA_SIZE_v0);
    daa_set_scratch(d, sum.bytes, DAA_S12_LEN);
    return daa_wrap(d->c, d->row->type, v0, TPM_DAA_SIZE_v0, d->out);
}

/* 23. */
static tpm_rc join_v1(struct daa *d)
{
    static const uint8_t zeros[TPM_DAA_SIZE_w - TPM_DAA_SIZE_v1];
    const struct tpm_bytes138 *u1 = &d->s->join.daa_join_u1;
    DAA_NUMBER sum = {.len = 0};
    const uint8_t *v1 = sum.bytes + sizeof zeros;
    tpm_rc rc;

    if (d->data0->len != TPM_DAA_SIZE_v1)
        return TPM_DAA_INPUT_DATA0;
    rc = add(&sum, CR_SLICE(d->data0->data, d->data0->len), CR_SLICE(u1->bytes, sizeof u1->bytes), daa_scratch(d));
    if (rc)
        return rc;
    /* It has its place in the signature's sums. */
    if (memcmp(sum.bytes, zeros, sizeof zeros) != 0)
        return TPM_DAA_INPUT_DATA0;
    cr_sha1(d->s->tpm.daa_digest_v1.bytes, v1, TPM_DAA_SIZE_v1);
    daa_forget_scratch(d);
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

/* ---- Its stages ---- */

static const struct daa_stage stages[] = {
    {.run = join_begin, .renews = true},
    {.run = join_keys, .renews = true},
    {.run = join_issuer, .renews = true},
    {.run = join_random, .renews = true},
    {.run = daa_power, DAA_BASE(r0), .exponent = EXP_F0},
    {.run = daa_power, DAA_BASE(r1), .exponent = EXP_F1, .flags = TIMES_SCRATCH},
    {.run = daa_power, DAA_BASE(s0), .exponent = EXP_U0, .flags = TIMES_SCRATCH},
    {.run = daa_power, DAA_BASE(s1), .exponent = EXP_U1, .flags = TIMES_SCRATCH | DIGEST | TELL},
    {.run = join_endorse},
    {.run = daa_power, DAA_BASE(r0), .exponent = EXP_R0, .flags = FRESH_SEED},
    {.run = daa_power, DAA_BASE(r1), .exponent = EXP_R1, .flags = TIMES_SCRATCH},
    {.run = daa_power, DAA_BASE(s0), .exponent = EXP_R2, .flags = TIMES_SCRATCH},
    {.run = daa_power, DAA_BASE(s1), .exponent = EXP_R3, .flags = TIMES_SCRATCH | TELL},
    {.run = daa_take_w, DAA_BASE(gamma)},
    {.run = daa_pseudonym, DAA_BASE(gamma)},
    {.run = daa_commitment, DAA_BASE(gamma)},
    {.run = daa_challenge},
    {.run = daa_sum_f, .exponent = EXP_R0},
    {.run = daa_sum_f, .exponent = EXP_R1},
    {.run = daa_sum_low},
    {.run = daa_carry, .flags = TELL},
    {.run = daa_sum_high, .exponent = EXP_R3},
    {.run = join_v0, .renews = true, .type = TPM_RT_DAA_V0},
    {.run = join_v1, .renews = true, .type = TPM_RT_DAA_V1},
    {.run = join_end, .type = TPM_RT_DAA_TPM},
};

const struct daa_course daa_joining = {stages, VT_COUNT(stages), .signs = false, .context_from = 1, .issuer_from = 3};

/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 26: the secret numbers, all of them made from a seed, the issuer and a session. */
#include "server/engine/daa_stage.h"

void daa_number_wipe(struct daa_number *x)
{
    vt_wipe(x, sizeof *x);
}

tpm_rc daa_num_rc(int err, tpm_rc otherwise)
{
    return cmd_crypto_rc(err, otherwise);
}

void daa_put_count(uint8_t out[4], uint32_t count)
{
    struct wr w = wr_to(out, 4);

    wr_put32(&w, count);
}

/* Join 4.j: f = (SHA-1(rekey || count || 0) || SHA-1(rekey || count || 1)) mod q. */
tpm_rc daa_compute_f(const struct daa *d, struct daa_number *f)
{
    const struct tpm_daa_tpm *tpm = &d->s->tpm;
    const uint8_t *q = d->s->issuer.daa_generic_q.bytes;
    uint8_t count[4], wide[2 * TPM_DIGEST_LEN];
    int err;

    daa_put_count(count, tpm->daa_count);
    for (uint8_t i = 0; i < 2; i++)
        cr_sha1v(wide + i * TPM_DIGEST_LEN,
                 (struct cr_slice[]){CR_SLICE(tpm->daa_rekey.bytes, TPM_DIGEST_LEN), CR_SLICE(count, sizeof count),
                                     CR_SLICE(&i, 1)},
                 3);
    f->len = DAA_F_LEN;
    err = cr_num_mod(f->bytes, DAA_F_LEN, CR_SLICE(wide, sizeof wide), CR_SLICE(q, DAA_F_LEN));
    vt_wipe(wide, sizeof wide);
    return daa_num_rc(err, TPM_DAA_ISSUER_SETTINGS);
}

/* f0 = f mod 2^power0, f1 = f >> power0. */
tpm_rc daa_half_of_f(const struct daa *d, bool high, struct daa_number *out)
{
    DAA_NUMBER f = {.len = 0};
    tpm_rc rc = daa_compute_f(d, &f);

    out->len = DAA_POWER0_BYTES;
    memcpy(out->bytes, f.bytes + (high ? 0 : DAA_F_LEN - DAA_POWER0_BYTES), DAA_POWER0_BYTES);
    return rc;
}

/* MGF1("rN" || DAA_contextSeed). */
void daa_compute_r(const struct daa *d, unsigned n, struct daa_number *out)
{
    static const size_t sizes[] = {TPM_DAA_SIZE_r0, TPM_DAA_SIZE_r1, TPM_DAA_SIZE_r2, TPM_DAA_SIZE_r3, TPM_DAA_SIZE_r4};
    uint8_t seed[2 + TPM_NONCE_LEN] = {'r', (uint8_t)('0' + n)};

    memcpy(seed + 2, d->s->context.daa_context_seed.bytes, TPM_NONCE_LEN);
    out->len = sizes[n];
    cr_mgf1_sha1(out->bytes, out->len, seed, sizeof seed);
    vt_wipe(seed, sizeof seed);
}

static void take(struct daa_number *out, const void *bytes, size_t len)
{
    out->len = len;
    memcpy(out->bytes, bytes, len);
}

tpm_rc daa_compute_exponent(const struct daa *d, uint8_t which, struct daa_number *out)
{
    const struct tpm_daa_joindata *join = &d->s->join;

    if (which == EXP_F0 || which == EXP_F1)
        return daa_half_of_f(d, which == EXP_F1, out);
    if (which == EXP_U0)
        take(out, join->daa_join_u0.bytes, sizeof join->daa_join_u0.bytes);
    else if (which == EXP_U1)
        take(out, join->daa_join_u1.bytes, sizeof join->daa_join_u1.bytes);
    else
        daa_compute_r(d, which - EXP_R0, out);
    return TPM_SUCCESS;
}

/* r = r0 + 2^power0 * r1 mod q. */
tpm_rc daa_compute_whole_r(const struct daa *d, struct daa_number *out)
{
    static const uint8_t power0[DAA_POWER0_BYTES + 1] = {1};
    DAA_NUMBER r0 = {.len = 0};
    DAA_NUMBER r1 = {.len = 0};
    DAA_NUMBER sum = {.len = TPM_DAA_SIZE_r1 + DAA_POWER0_BYTES + 1};
    int err;

    daa_compute_r(d, 0, &r0);
    daa_compute_r(d, 1, &r1);
    out->len = DAA_F_LEN;
    err =
        cr_num_mul_add(sum.bytes, sum.len, DAA_NUM(&r0), DAA_NUM(&r1), CR_SLICE(power0, sizeof power0), DAA_NO_NUMBER);
    if (!err)
        err = cr_num_mod(out->bytes, out->len, DAA_NUM(&sum), CR_SLICE(d->s->issuer.daa_generic_q.bytes, DAA_F_LEN));
    return daa_num_rc(err, TPM_DAA_ISSUER_SETTINGS);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, 26.2: what only TPM_DAA_Sign does: the joined secret comes back, a message is signed. */
#include "server/engine/daa_blob.h"
#include "server/engine/daa_stage.h"
#include "server/engine/keys.h"

/* ---- Sign 0, 1 and 10 ---- */

static tpm_rc sign_begin(struct daa *d)
{
    tpm_rc rc = daa_take_issuer(d);

    return rc ? rc : daa_tell_handle(d);
}

static tpm_rc sign_load(struct daa *d)
{
    uint8_t bytes[2 + 4 * TPM_DIGEST_LEN + 4] = {0};
    struct rd r = rd_from(bytes, sizeof bytes);
    tpm_rc rc = daa_unwrap(d->c->tpm, d->row->type, d->data0, bytes, sizeof bytes);

    if (!rc) {
        rd_daa_tpm(&r, &d->s->tpm);
        rc = rd_result(&r) ? TPM_DAA_INPUT_DATA0 : daa_check_issuer(d->s);
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
    return daa_tell_all(d, digest, TPM_DIGEST_LEN);
}

/* ---- Its stages ---- */

static const struct daa_stage stages[] = {
    {.run = sign_begin},
    {.run = sign_load, .renews = true, .type = TPM_RT_DAA_TPM},
    {.run = daa_power, DAA_BASE(r0), .exponent = EXP_R0, .flags = FRESH_SEED},
    {.run = daa_power, DAA_BASE(r1), .exponent = EXP_R1, .flags = TIMES_SCRATCH},
    {.run = daa_power, DAA_BASE(s0), .exponent = EXP_R2, .flags = TIMES_SCRATCH},
    {.run = daa_power, DAA_BASE(s1), .exponent = EXP_R4, .flags = TIMES_SCRATCH | TELL},
    {.run = daa_take_w, DAA_BASE(gamma)},
    {.run = daa_pseudonym, DAA_BASE(gamma)},
    {.run = daa_commitment, DAA_BASE(gamma)},
    {.run = daa_challenge},
    {.run = sign_message},
    {.run = daa_sum_f, .exponent = EXP_R0},
    {.run = daa_sum_f, .exponent = EXP_R1},
    {.run = daa_sum_low, .type = TPM_RT_DAA_V0},
    {.run = daa_carry, .type = TPM_RT_DAA_V0},
    {.run = daa_sum_high, .exponent = EXP_R4, .type = TPM_RT_DAA_V1},
};

const struct daa_course daa_signing = {stages, VT_COUNT(stages), .signs = true, .context_from = 2, .issuer_from = 2};

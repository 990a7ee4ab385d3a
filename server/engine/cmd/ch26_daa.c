/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TPM 1.2 Part 3, chapter 26: direct anonymous attestation. Here is what all stages do alike; each command has its
 * table of stages (ch26_daa_join.c, ch26_daa_sign.c). Letters are those of the specification's stages.
 */
#include "server/engine/auth.h"
#include "server/engine/daa_stage.h"
#include "server/engine/handlers.h"

/* ---- Answers and what is kept ---- */

/* An answer without leading zeros. */
tpm_rc daa_tell(struct daa *d, const uint8_t *bytes, size_t len)
{
    while (len > 1 && !*bytes) {
        bytes++;
        len--;
    }
    return cmd_blob(d->c, d->out, bytes, len) ? TPM_SUCCESS : TPM_SIZE;
}

/* One with them. */
tpm_rc daa_tell_all(struct daa *d, const void *bytes, size_t len)
{
    return cmd_blob(d->c, d->out, bytes, len) ? TPM_SUCCESS : TPM_SIZE;
}

void daa_forget_scratch(struct daa *d)
{
    vt_wipe(&d->s->context.daa_scratch, sizeof d->s->context.daa_scratch);
    d->s->scratch_set = false;
}

void daa_set_scratch(struct daa *d, const void *bytes, size_t len)
{
    uint8_t *scratch = d->s->context.daa_scratch.bytes;

    daa_forget_scratch(d);
    memcpy(scratch + TPM_DAA_SIZE_w - len, bytes, len);
    d->s->scratch_set = true;
}

tpm_rc daa_tell_handle(struct daa *d)
{
    uint8_t handle[4];

    daa_put_count(handle, d->s->handle);
    return daa_tell_all(d, handle, sizeof handle);
}

struct cr_slice daa_scratch(const struct daa *d)
{
    return CR_SLICE(d->s->context.daa_scratch.bytes, TPM_DAA_SIZE_w);
}

/* ---- Digests ---- */

bool daa_hashes_to(const struct tpm_blob *data, const uint8_t digest[TPM_DIGEST_LEN])
{
    uint8_t have[TPM_DIGEST_LEN];

    cr_sha1(have, data->data, data->len);
    return vt_ct_equal(have, digest, sizeof have);
}

void daa_issuer_digest(const struct daa_session *s, uint8_t out[TPM_DIGEST_LEN])
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

tpm_rc daa_check_issuer(const struct daa_session *s)
{
    uint8_t digest[TPM_DIGEST_LEN];

    daa_issuer_digest(s, digest);
    return vt_ct_equal(digest, s->tpm.daa_digest_issuer.bytes, sizeof digest) ? TPM_SUCCESS : TPM_DAA_ISSUER_SETTINGS;
}

static tpm_rc check_context(const struct daa_session *s, bool signs)
{
    uint8_t digest[TPM_DIGEST_LEN];

    context_digest(s, signs, digest);
    return vt_ct_equal(digest, s->context.daa_digest_context.bytes, sizeof digest) ? TPM_SUCCESS : TPM_DAA_TPM_SETTINGS;
}

tpm_rc daa_take_issuer(struct daa *d)
{
    struct rd r = rd_from(d->data0->data, d->data0->len);

    rd_daa_issuer(&r, &d->s->issuer);
    return rd_result(&r) ? TPM_DAA_INPUT_DATA0 : TPM_SUCCESS;
}

/* ---- The stages ---- */

static tpm_rc check_stage(const struct daa_session *s, const struct daa_course *course, uint8_t stage)
{
    tpm_rc rc = TPM_SUCCESS;

    if (stage >= course->count || s->context.daa_stage != stage)
        return TPM_DAA_STAGE;
    if (stage >= course->context_from)
        rc = check_context(s, course->signs);
    if (!rc && stage >= course->issuer_from)
        rc = daa_check_issuer(s);
    return rc;
}

static tpm_rc run_stage(struct daa *d, const struct daa_course *course, uint8_t stage)
{
    tpm_rc rc;

    if (!stage)
        d->s = daa_new(d->c->tpm);
    if (!d->s)
        return stage ? TPM_BAD_HANDLE : TPM_RESOURCES;
    rc = check_stage(d->s, course, stage);
    if (rc)
        return rc;
    d->row = &course->stages[stage];
    rc = d->row->run(d);
    if (rc)
        return rc;
    d->s->context.daa_stage++;
    if (d->row->renews)
        context_digest(d->s, course->signs, d->s->context.daa_digest_context.bytes);
    return TPM_SUCCESS;
}

/* Stage 0 begins a session; the last one ends it, and so does any error, the owner's wrong proof among them. */
static tpm_rc run(struct daa *d, const struct daa_course *course, uint8_t stage)
{
    struct tpm *tpm = d->c->tpm;
    tpm_rc rc;

    d->s = stage ? daa_find(tpm, d->c->handles[0]) : NULL;
    rc = cmd_check_owner(d->c, 0);
    if (!rc)
        rc = run_stage(d, course, stage);
    if (d->s && (rc || stage + 1u == course->count))
        daa_close(tpm, d->s);
    return rc;
}

/* TPM 1.2 Part 3, 26.1 TPM_DAA_Join */
tpm_rc cmd_daa_join(struct cmd *c, const struct daa_join_in *in, struct daa_join_out *out)
{
    struct daa d = {.c = c, .data0 = &in->input_data0, .data1 = &in->input_data1, .out = &out->output_data};

    /* 1-3. */
    return run(&d, &daa_joining, in->stage);
}

/* TPM 1.2 Part 3, 26.2 TPM_DAA_Sign */
tpm_rc cmd_daa_sign(struct cmd *c, const struct daa_sign_in *in, struct daa_sign_out *out)
{
    struct daa d = {.c = c, .data0 = &in->input_data0, .data1 = &in->input_data1, .out = &out->output_data};

    /* 1-3. */
    return run(&d, &daa_signing, in->stage);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/evidence/deepquote.h"

#include "server/base/alloc.h"
#include "server/core/admin/admin_priv.h"

#define TRIES 3 /* a PCR of the host that is extended meanwhile makes one void */

/* On the TPM's thread: by value. */
struct quote_job {
    struct hwtpm_key key;
    uint32_t mask;
    uint8_t bound[32];
    struct hwtpm_quote quote;
};

struct deepquote {
    struct broker *broker;
    struct hwtpm_config config;
    struct evidence_text text;
    struct quote_job job;
    deepquote_done done;
    void *arg;
    int err;
    struct vt_why why;
    size_t len;
    uint8_t evidence[EVIDENCE_MAX];
};

static int do_quote(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct quote_job *job = arg;
    int err = VT_EAGAIN;

    for (unsigned k = 0; err == VT_EAGAIN && k < TRIES; k++) {
        *why = (struct vt_why){0};
        err = hwtpm_quote(tpm, &job->key, job->mask, job->bound, &job->quote, why);
    }
    return err;
}

int deepquote_key(struct broker *broker, enum hwtpm_kind kind, struct hwtpm_key *key, struct vt_why *why)
{
    struct db_host_ak ak;
    int err = db_host_ak_get(broker->db, &ak);

    if (err == VT_ENOTFOUND)
        return vt_fail(why, err, "the host's TPM has no attestation key yet: vtpmctl host-ak create");
    if (err)
        return vt_fail(why, err, "the store cannot be read: %s", vt_err_text(err));
    if (strcmp(ak.kind, kind == HWTPM_TPM2 ? "tpm2" : "tpm12") != 0)
        return vt_fail(why, VT_EKEY,
                       "the attestation key is of another TPM (%s): vtpmctl host-ak create --yes", ak.kind);
    key->len = (uint32_t)ak.blob_len;
    memcpy(key->bytes, ak.blob, ak.blob_len);
    return VT_OK;
}

static void work(void *arg)
{
    struct deepquote *dq = arg;

    dq->err = deepquote_key(dq->broker, dq->config.kind, &dq->job.key, &dq->why);
    if (!dq->err)
        dq->err = hwtpm_run(&dq->config, do_quote, &dq->job, sizeof dq->job, &dq->why);
    dq->len = sizeof dq->evidence;
    if (!dq->err)
        dq->err = evidence_write(dq->evidence, &dq->len, dq->config.kind, &dq->text, &dq->job.quote);
}

static void ended(void *arg)
{
    struct deepquote *dq = arg;
    const struct deepquote_answer answer = {
        .err = dq->err,
        .text = dq->why.text[0] ? dq->why.text : vt_err_text(dq->err),
        .evidence = dq->evidence,
        .len = dq->err ? 0 : dq->len,
    };

    dq->done(dq->arg, &answer);
    vt_free(dq);
}

int deepquote_start(struct broker *broker, const struct evidence_statement *statement, uint32_t host_mask,
                    deepquote_done done, void *arg, struct vt_why *why)
{
    const struct hwtpm_config *config = hosttpm_config(broker->hosttpm);
    struct evidence_statement whole = *statement;
    struct deepquote *dq;
    int err;

    if (!config)
        return vt_fail(why, VT_ENOTFOUND,
                       "this server uses no TPM of the host (--hwtpm): there is nobody to sign");
    dq = VT_NEW(struct deepquote);
    if (!dq)
        return VT_ENOMEM;
    *dq = (struct deepquote){.broker = broker, .config = *config, .done = done, .arg = arg, .err = VT_ENOMEM};
    whole.store = broker->store;
    evidence_statement_write(&dq->text, &whole);
    evidence_bound(dq->job.bound, &dq->text);
    dq->job.mask = host_mask;
    err = admin_work(broker, work, ended, dq);
    if (err)
        vt_free(dq);
    return err;
}

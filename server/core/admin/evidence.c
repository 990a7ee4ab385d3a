/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs of host evidence: the attestation key of the host's TPM, and deep quotes (docs/attestation.md). */
#include "server/core/admin/admin_priv.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/core/evidence/deepquote.h"

/* ---- The key ---- */

/* On the TPM's thread: by value. */
struct make_job {
    struct host_owner owner;
    struct hwtpm_key key;
    struct cr_rsa_pub pub;
};

struct making {
    struct admin_call *call;
    struct hwtpm_config config;
    struct make_job job;
    struct db_host_ak row;
    bool replace;
    int err;
};

static int do_make(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct make_job *job = arg;

    return hwtpm_key_make(tpm, host_owner(&job->owner), &job->key, &job->pub, why);
}

/* What the TPM made, as the store has it. */
static int take_key(struct making *m, struct vt_why *why)
{
    const struct make_job *job = &m->job;

    if (job->pub.bytes != sizeof m->row.modulus || job->pub.e != 65537 || job->key.len > sizeof m->row.blob)
        return vt_fail(why, VT_EIO, "the host TPM made another key than it was asked for");
    snprintf(m->row.kind, sizeof m->row.kind, "%s", m->config.kind == HWTPM_TPM2 ? "tpm2" : "tpm12");
    memcpy(m->row.modulus, job->pub.n, sizeof m->row.modulus);
    memcpy(m->row.blob, job->key.bytes, job->key.len);
    m->row.blob_len = job->key.len;
    return VT_OK;
}

/* One that is there, before the TPM works for nothing. */
static int check_absent(struct making *m, struct vt_why *why)
{
    int err = m->replace ? VT_ENOTFOUND : db_host_ak_get(m->call->broker->db, &m->row);

    if (err == VT_ENOTFOUND)
        return VT_OK;
    return err ? err
               : vt_fail(why, VT_EEXISTS,
                         "there is an attestation key: vtpmctl host-ak show; --yes makes a new one, "
                         "and then verifiers that know the old one refuse");
}

static void work_make(void *arg)
{
    struct making *m = arg;
    struct vt_why *why = &m->call->why;

    m->err = check_absent(m, why);
    if (!m->err)
        m->err = hwtpm_run(&m->config, do_make, &m->job, sizeof m->job, why);
    if (!m->err)
        m->err = take_key(m, why);
}

static void reply_key(struct admin_call *call, struct db_host_ak *row)
{
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    Vtpm__HostAk ak = VTPM__HOST_AK__INIT;

    ak.kind = row->kind;
    ak.modulus = (ProtobufCBinaryData){.data = row->modulus, .len = sizeof row->modulus};
    ak.exponent = 65537;
    reply.host_ak = &ak;
    admin_reply(call, &reply);
}

static void on_key_put(void *arg, int err)
{
    struct making *m = arg;

    if (err)
        admin_on_db(m->call, err);
    else
        reply_key(m->call, &m->row);
    vt_free_wiped(m, sizeof *m);
}

static void made(void *arg)
{
    struct making *m = arg;
    struct admin_call *call = m->call;
    char text[160], hex[2 * CR_SHA256_LEN + 1];
    uint8_t digest[CR_SHA256_LEN];
    struct db_audit audit = {.kind = "host-ak", .peer = call->peer, .text = text};

    if (!m->err) {
        cr_sha256(digest, m->row.modulus, sizeof m->row.modulus);
        vt_hex(hex, digest, sizeof digest);
        snprintf(text, sizeof text, "the host's TPM made an attestation key: %s, sha256 of its modulus %s",
                 m->row.kind, hex);
        m->err = db_host_ak_put(call->broker->db, &m->row, m->replace, &audit, on_key_put, m);
    }
    if (!m->err)
        return;
    admin_done(call, m->err);
    vt_free_wiped(m, sizeof *m);
}

int admin_host_tpm(struct admin_call *call, const ProtobufCBinaryData *secret, struct hwtpm_config *config,
                   struct host_owner *owner)
{
    const struct hwtpm_config *host = hosttpm_config(call->broker->hosttpm);

    if (!host)
        return vt_fail(&call->why, VT_ENOTFOUND,
                       "this server uses no TPM of the host (--hwtpm): there is nobody to make or use a key");
    if (secret->len && secret->len != sizeof owner->secret.bytes)
        return vt_fail(&call->why, VT_EUSAGE, "the owner's secret must be a SHA-1 digest");
    *config = *host;
    config->limit_ms = HOST_KEY_LIMIT_MS;
    owner->is_told = secret->len != 0;
    if (secret->len)
        memcpy(owner->secret.bytes, secret->data, sizeof owner->secret.bytes);
    return VT_OK;
}

void admin_host_ak_create(struct admin_call *call)
{
    const Vtpm__HostAkCreate *asked = call->request->host_ak_create;
    struct making *m = VT_NEW(struct making);
    int err;

    if (!m) {
        admin_done(call, VT_ENOMEM);
        return;
    }
    *m = (struct making){.call = call, .replace = asked->replace, .err = VT_ENOMEM};
    err = admin_host_tpm(call, &asked->owner, &m->config, &m->job.owner);
    if (!err)
        err = admin_work(call->broker, work_make, made, m);
    if (!err)
        return;
    vt_free_wiped(m, sizeof *m);
    admin_done(call, err);
}

void admin_host_ak_show(struct admin_call *call)
{
    struct db_host_ak row;
    int err = db_host_ak_get(call->broker->db, &row);

    if (err == VT_ENOTFOUND)
        admin_fail(call, err, "the host's TPM has no attestation key yet: vtpmctl host-ak create");
    else if (err)
        admin_fail(call, err, "the store cannot be read: %s", vt_err_text(err));
    else
        reply_key(call, &row);
}

/* ---- Deep quotes ---- */

struct quoting {
    struct admin_call *call;
    struct evidence_statement statement;
    uint32_t host_mask;
};

static void on_quoted(void *arg, const struct deepquote_answer *answer)
{
    struct quoting *q = arg;
    struct admin_call *call = q->call;
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    char hex[2 * EVIDENCE_NONCE + 1], text[160];
    /* protobuf-c writes no field that is const. */
    uint8_t *evidence = answer->err ? NULL : vt_memdup(answer->evidence, answer->len);

    if (evidence) {
        vt_hex(hex, q->statement.nonce, sizeof q->statement.nonce);
        snprintf(text, sizeof text, "deep quote with the nonce %s", hex);
        act_write(call->broker, "quote", &call->uuid, call->peer, text);
        reply.evidence = (ProtobufCBinaryData){.data = evidence, .len = answer->len};
        admin_reply(call, &reply);
    } else if (answer->err) {
        admin_fail(call, answer->err, "%s", answer->text);
    } else {
        admin_done(call, VT_ENOMEM);
    }
    vt_free(evidence);
    vt_free(q);
}

static int fill(struct quoting *q, const struct instance_answer *answer)
{
    struct admin_call *call = q->call;
    struct evidence_statement *s = &q->statement;
    const struct instance *instance = instance_in_memory(call->broker, &call->uuid);
    int err = instance ? instance_statement(instance, s) : VT_EAGAIN;

    if (err)
        return vt_fail(&call->why, err, "the instance cannot be read now");
    if (answer->response_len != sizeof s->pcr)
        return vt_fail(&call->why, VT_ECONFLICT,
                       "its TPM is off, or not started yet: it has no PCRs to tell of");
    memcpy(s->pcr, answer->response, sizeof s->pcr);
    return VT_OK;
}

static void on_pcrs(void *arg, const struct instance_answer *answer)
{
    struct quoting *q = arg;
    struct admin_call *call = q->call;
    int err = answer->err;

    if (err)
        vt_fail(&call->why, err, "%s", answer->text);
    else
        err = fill(q, answer);
    if (!err)
        err = deepquote_start(call->broker, &q->statement, q->host_mask, on_quoted, q, &call->why);
    if (!err)
        return;
    vt_free(q);
    admin_done(call, err);
}

static void read_pcrs(struct quoting *q)
{
    struct admin_call *call = q->call;
    struct instance_job job = {.kind = INSTANCE_PCR_READ, .done = on_pcrs, .arg = q};
    struct instance *instance;
    int err = instance_find(call->broker, &call->uuid, &instance, &call->why);

    memcpy(job.peer, call->peer, sizeof job.peer);
    if (!err)
        err = instance_submit(instance, &job);
    if (!err)
        return;
    vt_free(q);
    admin_done(call, err);
}

void admin_quote(struct admin_call *call)
{
    const Vtpm__InstanceQuote *asked = call->request->quote;
    struct db_instance row;
    struct quoting *q;

    if (asked->nonce.len != EVIDENCE_NONCE) {
        admin_fail(call, VT_EUSAGE, "the nonce must have %d bytes", EVIDENCE_NONCE);
        return;
    }
    if (asked->pcrs >> EVIDENCE_PCRS || asked->host_pcrs >> HWTPM_PCRS || !asked->host_pcrs) {
        admin_fail(call, VT_EUSAGE,
                   "PCRs are numbered from 0 to 23, and at least one of the host must be quoted");
        return;
    }
    if (admin_find(call, asked->instance, &row))
        return;
    q = VT_NEW(struct quoting);
    if (!q) {
        admin_done(call, VT_ENOMEM);
        return;
    }
    *q = (struct quoting){.call = call, .host_mask = asked->host_pcrs};
    q->statement.origin = EVIDENCE_OPERATOR;
    q->statement.mask = asked->pcrs;
    memcpy(q->statement.nonce, asked->nonce.data, EVIDENCE_NONCE);
    read_pcrs(q);
}

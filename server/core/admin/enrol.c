/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verbs of `host-ak certify` (docs/attestation.md): what a CA is told of the attestation key, and the answer
 * to its challenge. Both only pass on what the host's TPM says; the CA's half is vtpmctl's and needs no
 * server.
 */
#include "server/core/admin/admin_priv.h"

#include "server/base/alloc.h"
#include "server/core/evidence/deepquote.h"
#include "server/core/evidence/enrol.h"

/* On the TPM's thread: by value. */
struct enrol_job {
    struct host_owner owner;
    struct hwtpm_key key;
    struct hwtpm_challenge box;
    struct hwtpm_enrolment made;
    struct hwtpm_opened opened;
};

struct enrolling {
    struct admin_call *call;
    struct hwtpm_config config;
    struct enrol_job job;
    struct enrol_challenge challenge;
    const char *event;
    int err;
    size_t len;
    uint8_t bytes[ENROL_MAX];
};

static int do_enrol(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct enrol_job *job = arg;

    return hwtpm_enrol(tpm, &job->key, host_owner(&job->owner), &job->made, why);
}

static int do_activate(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct enrol_job *job = arg;

    return hwtpm_activate(tpm, &job->key, host_owner(&job->owner), &job->box, &job->opened, why);
}

static int ask(struct enrolling *e, hwtpm_work work)
{
    struct vt_why *why = &e->call->why;
    int err = deepquote_key(e->call->broker, e->config.kind, &e->job.key, why);

    e->len = sizeof e->bytes;
    return err ? err : hwtpm_run(&e->config, work, &e->job, sizeof e->job, why);
}

static void work_request(void *arg)
{
    struct enrolling *e = arg;
    struct enrol_request request = {.kind = e->config.kind};

    e->err = ask(e, do_enrol);
    if (e->err)
        return;
    request.made = e->job.made;
    e->err = enrol_request_write(e->bytes, &e->len, &request);
}

static void work_answer(void *arg)
{
    struct enrolling *e = arg;
    struct enrol_answer answer = {.kind = e->config.kind};

    e->err = ask(e, do_activate);
    if (e->err)
        return;
    memcpy(answer.ak, e->challenge.ak, sizeof answer.ak);
    answer.opened = e->job.opened;
    e->err = enrol_answer_write(e->bytes, &e->len, &answer);
    vt_wipe(&answer, sizeof answer);
}

static void ended(void *arg)
{
    struct enrolling *e = arg;
    struct admin_call *call = e->call;
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;

    if (e->err) {
        admin_done(call, e->err);
    } else {
        act_write(call->broker, "host-ak", NULL, call->peer, e->event);
        reply.enrolment = (ProtobufCBinaryData){.data = e->bytes, .len = e->len};
        admin_reply(call, &reply);
    }
    vt_free_wiped(e, sizeof *e);
}

static struct enrolling *begin(struct admin_call *call, const ProtobufCBinaryData *owner, const char *event,
                               int *err)
{
    struct enrolling *e = VT_NEW(struct enrolling);

    *err = VT_ENOMEM;
    if (!e)
        return NULL;
    e->call = call;
    e->event = event;
    e->err = VT_ENOMEM; /* admin_work's, when there is no memory for a worker */
    *err = admin_host_tpm(call, owner, &e->config, &e->job.owner);
    return e;
}

static void end_early(struct admin_call *call, struct enrolling *e, int err)
{
    if (e)
        vt_free_wiped(e, sizeof *e);
    admin_done(call, err);
}

void admin_host_ak_request(struct admin_call *call)
{
    int err;
    struct enrolling *e =
        begin(call, &call->request->host_ak_request->owner,
              "the host's TPM showed its attestation key and endorsement key, for a CA", &err);

    if (!err)
        err = admin_work(call->broker, work_request, ended, e);
    if (err)
        end_early(call, e, err);
}

static int take_challenge(struct enrolling *e, const ProtobufCBinaryData *bytes)
{
    struct vt_why *why = &e->call->why;
    int err = enrol_challenge_read(&e->challenge, bytes->data, bytes->len, why);

    if (!err && e->challenge.kind != e->config.kind)
        err = vt_fail(why, VT_EKEY, "the challenge is for a TPM of another kind than this host's");
    e->job.box = e->challenge.box;
    return err;
}

void admin_host_ak_answer(struct admin_call *call)
{
    const Vtpm__HostAkAnswer *asked = call->request->host_ak_answer;
    int err;
    struct enrolling *e =
        begin(call, &asked->owner, "the host's TPM answered a CA's challenge for its attestation key", &err);

    if (!err)
        err = take_challenge(e, &asked->challenge);
    if (!err)
        err = admin_work(call->broker, work_answer, ended, e);
    if (err)
        end_early(call, e, err);
}

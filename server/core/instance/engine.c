/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job on its engine. The engine ran guest bytes: what it sends is read with bounded cursors, and a reply that does
 * not parse is a crash like any other.
 */
#include "server/core/instance/instance_priv.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/sandbox/messages.h"
#include "server/sandbox/sandbox.h"

#define CRASHES_MAX 2
#define KILLS_MAX 8
#define TPM_FAIL 9

/* ---- Crashes ---- */

static uint32_t ordinal_of(const struct job *job)
{
    struct rd r = rd_from(job->what.data, job->what.kind == INSTANCE_EXECUTE ? job->what.len : 0);

    rd_take(&r, 6);
    return rd_get32(&r);
}

/* The engine and what it made of the job are dropped; the record stands. */
static void back_to_record(struct instance *i, const char *why)
{
    struct job *job = instance_current(i);
    char uuid[VT_UUID_TEXT], ordinal[12];

    vt_uuid_text(uuid, &i->node.uuid);
    snprintf(ordinal, sizeof ordinal, "0x%x", (unsigned)ordinal_of(job));
    vt_log_with(VT_LOG_ERROR,
                VT_FIELDS(VT_TEXT("uuid", uuid), VT_NUMBER("step", i->step), VT_TEXT("ordinal", ordinal),
                          VT_NUMBER("attempt", job->crashes + job->kills + 1)),
                "instance: engine gone: %s", why);
    job->is_witnessed = false;
    job->keys = 0;
    record_free(&i->next);
    instance_drop_engine(i);
    i->step = STEP_IDLE;
}

/* The job is not to blame: again from the last record. Who kills without end is left to the shim's patience. */
static void killed(struct instance *i, const char *why)
{
    struct job *job = instance_current(i);

    back_to_record(i, why);
    if (++job->kills < KILLS_MAX)
        instance_advance(i);
    else
        instance_finish(i, VT_EAGAIN, "its engine processes are killed again and again; the command has not happened");
}

/* docs/record-and-recovery.md, "An engine that crashes": once more from the last record, then TPM_FAIL. */
static void crashed(struct instance *i, const char *why)
{
    struct job *job = instance_current(i);

    back_to_record(i, why);
    if (++job->crashes < CRASHES_MAX)
        instance_advance(i);
    else if (job->what.kind == INSTANCE_EXECUTE)
        instance_answer_rc(i, TPM_FAIL);
    else
        instance_finish(i, VT_EFAIL, "the engine process died twice; the log has the reason");
}

static void on_gone(void *arg, const char *why)
{
    struct instance *i = arg;
    bool waited = i->step == STEP_THAWING || i->step == STEP_RUNNING || i->step == STEP_WITNESSING ||
                  i->step == STEP_KEYING;

    if (waited && engine_was_killed(i->engine)) {
        killed(i, why);
        return;
    }
    if (waited) {
        crashed(i, why);
        return;
    }
    vt_notice("instance: idle engine gone, the next command brings it back: %s", why);
    instance_drop_engine(i);
}

/* ---- Replies ---- */

/* It asks and changes nothing. */
static bool is_read(const struct job *job)
{
    return job->what.kind == INSTANCE_EK_READ || job->what.kind == INSTANCE_PCR_READ;
}

/* Power events are durable and carry the whole state. */
static bool is_power(const struct job *job)
{
    return job->what.kind == INSTANCE_POWER_ON || job->what.kind == INSTANCE_POWER_OFF;
}

static int stage_strings(struct instance *i, const struct sandbox_state *reply)
{
    struct job *job = instance_current(i);
    struct vt_bytes *answer = job->what.kind == INSTANCE_EXECUTE ? &i->next.response : &i->side;
    int err = record_set(answer, reply->response.data, reply->response.len);

    if (!err && ((reply->dirty & TPM_DIRTY_VOLATILE) || is_power(job))) {
        i->next_volatile = true;
        err = record_set(&i->next.volatile_state, reply->volatile_state.data, reply->volatile_state.len);
    }
    if (!err && ((reply->dirty & TPM_DIRTY_PERMANENT) || is_power(job))) {
        i->next_permanent = true;
        err = record_set(&i->next.permanent, reply->permanent.data, reply->permanent.len);
    }
    return err;
}

static bool plausible(const struct job *job, const struct sandbox_state *reply)
{
    if (((reply->dirty & TPM_DIRTY_PERMANENT) || is_power(job)) && !reply->permanent.len)
        return false;
    if (job->what.kind == INSTANCE_EXECUTE && (reply->response.len < 10))
        return false;
    if (is_read(job) && reply->dirty)
        return false;
    if (job->what.kind == INSTANCE_EK_INSTALL)
        return instance_ek_plausible(reply);
    return true;
}

/* What was asked or refused without a change makes no record. */
static bool is_only_answer(const struct job *job, const struct sandbox_state *reply)
{
    return is_read(job) || (job->what.kind == INSTANCE_EK_INSTALL && !reply->dirty);
}

static void answer_only(struct instance *i)
{
    record_free(&i->next);
    if (is_read(instance_current(i)))
        instance_finish(i, VT_OK, NULL);
    else
        instance_ek_refused(i);
}

static void on_state(struct instance *i, const struct sandbox_state *reply)
{
    struct job *job = instance_current(i);
    if (!plausible(job, reply)) {
        crashed(i, "its reply makes no sense");
        return;
    }
    if (job->what.kind == INSTANCE_POWER_ON && !instance_host_is_in(i, reply->response.data, reply->response.len))
        return;
    instance_stage(i);
    if (stage_strings(i, reply) || (job->what.kind == INSTANCE_POWER_ON && instance_use_measures(i))) {
        instance_drop_engine(i);
        record_free(&i->next);
        instance_finish(i, VT_ENOMEM, NULL);
        return;
    }
    if (is_only_answer(job, reply)) {
        answer_only(i);
        return;
    }
    i->next_has_ek = reply->has_ek;
    memcpy(i->next_ek, reply->ek_sha256, sizeof i->next_ek);
    if (is_power(job)) {
        i->next.power = reply->is_on ? RECORD_ON : RECORD_OFF;
        i->next.resume_armed = false;
        i->next_acted = true;
    }
    if (job->what.kind == INSTANCE_POWER_ON)
        i->next.guest = job->what.guest;
    instance_persist(i);
}

static void on_failed(struct instance *i, const uint8_t *payload, size_t len)
{
    struct rd r = rd_from(payload, len);
    int err = (int32_t)rd_get32(&r);
    char text[200];

    snprintf(text, sizeof text, "%.*s", (int)VT_MIN(r.left, sizeof text - 1), (const char *)r.at);
    if (i->step == STEP_THAWING && err == VT_EDAMAGED)
        instance_break(i, text);
    else
        crashed(i, text);
}

static void on_reply(void *arg, uint8_t type, const uint8_t *payload, size_t len)
{
    struct instance *i = arg;
    struct sandbox_state reply;

    if (i->step != STEP_THAWING && i->step != STEP_RUNNING) {
        vt_error("instance: the engine spoke unasked; it is replaced");
        instance_drop_engine(i);
    } else if (type == SANDBOX_EVIDENCE && i->step == STEP_RUNNING) {
        if (!instance_wants_evidence(i, payload, len))
            crashed(i, "it asks for evidence that it may not have");
    } else if (type == SANDBOX_KEY && i->step == STEP_RUNNING) {
        if (!instance_wants_key(i, payload, len))
            crashed(i, "it asks for a key that it may not have");
    } else if (type == SANDBOX_FAILED) {
        on_failed(i, payload, len);
    } else if (type != SANDBOX_STATE || !sandbox_rd_state(&reply, payload, len)) {
        crashed(i, "its reply does not parse");
    } else if (i->step == STEP_THAWING) {
        i->is_thawed = true;
        i->step = STEP_IDLE;
        instance_run(i);
    } else {
        on_state(i, &reply);
    }
}

static const struct engine_ops engine_ops = {.on_reply = on_reply, .on_gone = on_gone};

/* ---- Requests ---- */

static void request(struct instance *i, enum instance_step step, uint8_t type, const struct cr_slice *parts,
                    size_t count)
{
    int err;

    i->step = step;
    err = engine_request(i->engine, type, parts, count);
    /* Closed: it died while it was idle, and the job did not reach it. */
    if (err == VT_ECLOSED)
        killed(i, "it had ended before");
    else if (err)
        crashed(i, vt_err_text(err));
}

static void be32(uint8_t out[4], size_t v)
{
    struct wr w = wr_to(out, 4);

    wr_put32(&w, (uint32_t)v);
}

void instance_thaw(struct instance *i)
{
    const struct record *record = &i->record;
    /* Volatile state whose power is gone is void. */
    size_t volatile_len = record->power == RECORD_ON ? record->volatile_state.len : 0;
    uint8_t entropy[32], permanent_len[4], volatile_len_be[4];
    struct cr_slice parts[] = {
        CR_SLICE(entropy, sizeof entropy),
        CR_SLICE(permanent_len, sizeof permanent_len),
        CR_SLICE(record->permanent.data, record->permanent.len),
        CR_SLICE(volatile_len_be, sizeof volatile_len_be),
        CR_SLICE(record->volatile_state.data, volatile_len),
    };

    be32(permanent_len, record->permanent.len);
    be32(volatile_len_be, volatile_len);
    if (cr_key_random(entropy, sizeof entropy)) {
        instance_finish(i, VT_ECRYPTO, "the operating system gives no entropy");
        return;
    }
    request(i, STEP_THAWING, SANDBOX_THAW, parts, VT_COUNT(parts));
    vt_wipe(entropy, sizeof entropy);
}

static void run_execute(struct instance *i, const struct job *job)
{
    uint8_t head[13];
    struct wr w = wr_to(head, sizeof head);
    struct cr_slice parts[] = {CR_SLICE(head, sizeof head), CR_SLICE(job->what.data, job->what.len)};

    wr_put8(&w, job->what.locality);
    wr_put64(&w, loop_now_us());
    wr_put32(&w, (uint32_t)job->what.len);
    request(i, STEP_RUNNING, SANDBOX_EXECUTE, parts, VT_COUNT(parts));
}

static void run_power_on(struct instance *i, const struct job *job)
{
    uint8_t head[9], digests[INSTANCE_DIGESTS_MAX];
    struct wr w = wr_to(head, sizeof head);
    struct cr_slice parts[] = {CR_SLICE(head, sizeof head), CR_SLICE(digests, instance_put_digests(i, digests))};
    int err = instance_mark_runtime(i);

    if (err) {
        instance_finish(i, err == VT_ENOSPC ? err : VT_EUNAVAILABLE, INSTANCE_STORE_SHUT);
        return;
    }
    wr_put64(&w, loop_now_us());
    wr_put8(&w, job->what.startup);
    request(i, STEP_RUNNING, SANDBOX_POWER_ON, parts, VT_COUNT(parts));
}

static void run_platform(struct instance *i, const struct job *job)
{
    uint8_t head[6];
    struct wr w = wr_to(head, sizeof head);
    struct cr_slice parts[] = {CR_SLICE(head, sizeof head), CR_SLICE(job->what.data, job->what.len)};

    wr_put8(&w, job->what.act);
    wr_put8(&w, job->what.locality);
    wr_put32(&w, (uint32_t)job->what.len);
    request(i, STEP_RUNNING, SANDBOX_PLATFORM, parts, VT_COUNT(parts));
}

static void run_ek_install(struct instance *i, const struct job *job)
{
    uint8_t len[4];
    struct cr_slice parts[] = {CR_SLICE(len, sizeof len), CR_SLICE(job->what.data, job->what.len)};

    be32(len, job->what.len);
    request(i, STEP_RUNNING, SANDBOX_EK_INSTALL, parts, VT_COUNT(parts));
}

void instance_tell_evidence(struct instance *i, int err, const uint8_t *evidence, size_t len)
{
    uint8_t code[4];
    struct cr_slice parts[] = {CR_SLICE(code, sizeof code), CR_SLICE(evidence, len)};

    be32(code, (uint32_t)err);
    request(i, STEP_RUNNING, SANDBOX_EVIDENCE_IS, parts, VT_COUNT(parts));
}

void instance_tell_key(struct instance *i, int err, const struct cr_rsa_key *key)
{
    uint8_t code[4], bytes[SANDBOX_KEY_LEN_MAX];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct cr_slice parts[] = {CR_SLICE(code, sizeof code), CR_SLICE(bytes, 0)};

    be32(code, (uint32_t)err);
    if (key)
        sandbox_wr_key(&w, key);
    parts[1].len = w.len;
    request(i, STEP_RUNNING, SANDBOX_KEY_IS, parts, VT_COUNT(parts));
    vt_wipe(bytes, sizeof bytes);
}

static int start_engine(struct instance *i)
{
    int err = engine_spawn(i->broker->zygote, &engine_ops, i, &i->engine);

    if (err)
        instance_finish(i, VT_EAGAIN, "no engine process can be started now");
    return err;
}

void instance_run(struct instance *i)
{
    struct job *job = instance_current(i);

    if (!i->engine && start_engine(i))
        return;
    if (!i->is_thawed) {
        instance_thaw(i);
        return;
    }
    switch (job->what.kind) {
    case INSTANCE_EXECUTE:
        run_execute(i, job);
        break;
    case INSTANCE_POWER_ON:
        run_power_on(i, job);
        break;
    case INSTANCE_POWER_OFF:
        request(i, STEP_RUNNING, SANDBOX_POWER_OFF, NULL, 0);
        break;
    case INSTANCE_PLATFORM:
        run_platform(i, job);
        break;
    case INSTANCE_EK_READ:
        request(i, STEP_RUNNING, SANDBOX_EK_READ, NULL, 0);
        break;
    case INSTANCE_PCR_READ:
        request(i, STEP_RUNNING, SANDBOX_PCR_READ, NULL, 0);
        break;
    case INSTANCE_EK_INSTALL:
        run_ek_install(i, job);
        break;
    case INSTANCE_LOAD:
    case INSTANCE_ARM_RESUME:
    case INSTANCE_MEASURE:
    case INSTANCE_EXPORT:
    case INSTANCE_TICKET:
        instance_finish(i, VT_EFAIL, "this job needs no engine");
        break;
    }
}

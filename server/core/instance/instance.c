/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/instance/instance_priv.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/core/session_priv.h"
#include "server/sandbox/messages.h"

#define QUEUE_MAX 64

struct instance *instance_of_node(struct registry_node *node)
{
    return VT_CONTAINER(node, struct instance, node);
}

/* ---- Life in memory ---- */

static void on_idle(void *arg)
{
    struct instance *i = arg;

    if (i->step != STEP_IDLE || !vt_list_empty(&i->jobs))
        return;
    instance_drop_engine(i);
    instance_unload(i);
}

static struct instance *instance_new(struct broker *broker, const struct db_instance *row)
{
    struct instance *i = VT_NEW(struct instance);

    if (!i)
        return NULL;
    i->broker = broker;
    i->node.uuid = row->uuid;
    memcpy(i->domain, row->domain, sizeof i->domain);
    vt_list_init(&i->jobs);
    if (loop_timer_new(broker->loop, &i->idle, on_idle, i)) {
        vt_free(i);
        return NULL;
    }
    registry_add(&broker->instances, &i->node);
    return i;
}

void instance_free(struct instance *i)
{
    assert(i->step == STEP_IDLE && vt_list_empty(&i->jobs));
    instance_drop_engine(i);
    instance_unload(i);
    loop_timer_free(i->idle);
    registry_remove(&i->broker->instances, &i->node);
    vt_free_wiped(i, sizeof *i);
}

struct instance *instance_in_memory(struct broker *broker, const struct vt_uuid *uuid)
{
    struct registry_node *node = registry_find(&broker->instances, uuid);

    return node ? instance_of_node(node) : NULL;
}

static int refuse_life(const struct db_instance *row, struct vt_why *why)
{
    switch (row->life) {
    case DB_LIVE:
        return VT_OK;
    case DB_DISABLED:
        if (row->reason[0])
            return vt_fail(why, VT_EMOVED, "instance %s was %s: it lives there and not here", row->name, row->reason);
        return vt_fail(why, VT_EPERM, "instance %s is disabled: vtpmctl instance enable %s", row->name, row->name);
    case DB_BROKEN:
        return vt_fail(why, VT_EBROKEN, "instance %s is broken and kept as it is: %s", row->name, row->reason);
    case DB_DELETED:
        break;
    }
    return vt_fail(why, VT_ENOTFOUND, "this instance was deleted");
}

int instance_find(struct broker *broker, const struct vt_uuid *uuid, struct instance **instance, struct vt_why *why)
{
    struct db_instance row;
    int err = db_instance_get(broker->db, uuid, &row);

    if (err == VT_ENOTFOUND)
        return vt_fail(why, err, "no such instance");
    if (err)
        return vt_fail(why, err, "the store cannot be read now: %s", vt_err_text(err));
    err = refuse_life(&row, why);
    if (err)
        return err;
    *instance = instance_in_memory(broker, uuid);
    if (!*instance)
        *instance = instance_new(broker, &row);
    return *instance ? VT_OK : vt_fail(why, VT_ENOMEM, "out of memory");
}

void instance_drop_engine(struct instance *i)
{
    keypool_cancel(i->wish);
    i->wish = NULL;
    engine_free(i->engine);
    i->engine = NULL;
    i->is_thawed = false;
}

void instance_unload(struct instance *i)
{
    record_free(&i->record);
    record_free(&i->next);
    vt_vault_give(i->broker->vault, i->key);
    i->key = NULL;
    runtime_file_close(i->runtime);
    i->runtime = NULL;
    if (i->runtime_refused)
        broker_runtime_wrote(i->broker, &i->runtime_refused, VT_OK);
    i->is_loaded = false;
}

/* ---- The queue ---- */

static void job_free(struct job *job)
{
    if (job->what.data) {
        union {
            const uint8_t *in;
            void *out;
        } data = {.in = job->what.data};
        vt_free_wiped(data.out, job->what.len);
    }
    vt_free(job->host);
    vt_free_wiped(job, sizeof *job);
}

int instance_submit(struct instance *i, const struct instance_job *what)
{
    struct job *job;

    if (i->broker->draining || i->job_count >= QUEUE_MAX)
        return VT_EAGAIN;
    job = VT_NEW(struct job);
    if (!job)
        return VT_ENOMEM;
    job->what = *what;
    if (what->data) {
        job->what.data = vt_memdup(what->data, what->len);
        if (!job->what.data) {
            vt_free(job);
            return VT_ENOMEM;
        }
    }
    if (what->kind == INSTANCE_EXECUTE)
        cr_sha256(job->command_sha256, what->data, what->len);
    vt_list_add(&i->jobs, &job->node);
    i->job_count++;
    loop_timer_stop(i->idle);
    instance_advance(i);
    return VT_OK;
}

void instance_forget(struct instance *i, void *arg)
{
    VT_LIST_EACH(&i->jobs, at) {
        struct job *job = VT_LIST_ENTRY(at, struct job, node);
        if (job->what.arg == arg)
            job->what.done = NULL;
    }
}

static bool same_epoch(const struct guest_epoch *a, const struct guest_epoch *b)
{
    return memcmp(a->boot_id, b->boot_id, sizeof a->boot_id) == 0 && a->has_domid == b->has_domid &&
           a->domid == b->domid;
}

/* Only a new domain is a new life of a guest whose TPM is on. */
static bool is_new_domain(const struct record *record, const struct guest_epoch *guest)
{
    return guest->has_domid && record->guest.has_domid && !same_epoch(&record->guest, guest);
}

/* Not loaded: nobody knows. */
static bool is_foreign(const struct instance *i, const struct job *job)
{
    return job->what.kind == INSTANCE_POWER_ON &&
           (!i->is_loaded || (i->record.power == RECORD_ON && is_new_domain(&i->record, &job->what.guest)));
}

static void report(struct instance *i, const struct job *job, int err, const char *text)
{
    struct instance_answer answer = {
        .err = err,
        .text = text ? text : vt_err_text(err),
        .record = i->is_loaded ? &i->record : NULL,
        .acted = i->next_acted,
        .is_foreign = err && is_foreign(i, job),
    };
    bool outer;

    if (!job->what.done)
        return;
    if (!err) {
        const struct vt_bytes *bytes = job->what.kind == INSTANCE_EXECUTE ? &i->record.response : &i->side;
        answer.response = bytes->data;
        answer.response_len = bytes->len;
    }
    outer = i->is_reporting;
    i->is_reporting = true;
    job->what.done(job->what.arg, &answer);
    i->is_reporting = outer;
}

static void pop(struct instance *i, struct job *job)
{
    vt_list_remove(&job->node);
    i->job_count--;
}

static void forget_all(struct instance *i)
{
    instance_drop_engine(i);
    instance_unload(i);
    i->has_epoch = i->is_evicted = false;
}

void instance_finish(struct instance *i, int err, const char *text)
{
    struct broker *broker = i->broker;
    struct job *job = instance_current(i);

    if (i->in_doubt && (err == VT_EUNAVAILABLE || err == VT_ENOSPC)) {
        err = VT_EUNKNOWN;
        text = "the store cannot be read yet to see whether the command has happened";
    }
    i->step = STEP_IDLE;
    pop(i, job);
    if (job->what.kind == INSTANCE_EXECUTE && !err) {
        i->uncounted++;
        broker->commands++;
        i->last_seen = time(NULL);
    }
    report(i, job, err, text);
    i->next_acted = false;
    vt_free_wiped(i->side.data, i->side.len);
    i->side = (struct vt_bytes){0};
    job_free(job);
    /* The callback may have queued the next command already: then this finds it under way. */
    if (i->is_evicted && i->step == STEP_IDLE)
        forget_all(i);
    instance_advance(i);
    /* From here on i may be gone: what nobody uses is freed when the last job of a drain has ended. */
    broker_progress(broker);
}

/* ---- One job ---- */

/* docs/record-and-recovery.md, "Power". */
static bool power_on_acts(const struct record *record, const struct guest_epoch *guest)
{
    switch (record->power) {
    case RECORD_OFF:
        return true;
    case RECORD_NEEDS_POWER_ON:
        return !same_epoch(&record->guest, guest);
    case RECORD_ON:
        return is_new_domain(record, guest) && !record->resume_armed;
    }
    return false;
}

/* `vtpmctl instance suspend` allows exactly one resume: the new domain goes on where the old one was. */
static void resume(struct instance *i, const struct job *job)
{
    instance_stage(i);
    i->next.guest = job->what.guest;
    i->next.resume_armed = false;
    i->next_permanent = true; /* durable: used up once and for all */
    instance_persist(i);
}

static void decide_power_on(struct instance *i, struct job *job)
{
    if (power_on_acts(&i->record, &job->what.guest)) {
        if (instance_measures_allow(i) && !instance_needs_host(i))
            instance_run(i);
        return;
    }
    if (i->record.power == RECORD_ON && i->record.resume_armed && is_new_domain(&i->record, &job->what.guest)) {
        resume(i, job);
        return;
    }
    i->next_acted = false;
    if (i->record.power == RECORD_NEEDS_POWER_ON)
        instance_finish(i, VT_EPOWER, "PCRs were lost while this guest went on; it gets TPM_FAIL until it is restarted");
    else
        instance_finish(i, VT_OK, NULL);
}

/*
 * A domain that is saved ends like one that is destroyed. While a resume is armed its TPM waits, powered, for the one
 * new domain; only an administrator's power-cycle ends that.
 */
static bool waits_for_resume(const struct record *record, const struct job *job)
{
    return job->what.domain_gone && record->power == RECORD_ON && record->resume_armed && record->guest.has_domid;
}

static void decide_power_off(struct instance *i, const struct job *job)
{
    char uuid[VT_UUID_TEXT];

    if (waits_for_resume(&i->record, job)) {
        vt_uuid_text(uuid, &i->node.uuid);
        vt_log_with(VT_LOG_NOTICE, VT_FIELDS(VT_TEXT("uuid", uuid), VT_TEXT("peer", job->what.peer)),
                    "instance: its domain is gone; its PCRs are kept for the resume that was allowed");
        instance_finish(i, VT_OK, NULL);
    } else if (i->record.power == RECORD_OFF) {
        instance_finish(i, VT_OK, NULL);
    } else {
        instance_run(i);
    }
}

static void decide_execute(struct instance *i, struct job *job)
{
    const char *why = NULL;

    switch (record_judge(&i->record, job->what.stream, job->what.n, job->command_sha256, &why)) {
    case RECORD_REPLAY:
        instance_finish(i, VT_OK, NULL);
        return;
    case RECORD_REFUSE:
        instance_finish(i, VT_ECONFLICT, why);
        return;
    case RECORD_RUN:
        break;
    }
    /*
     * Off, or PCRs lost: TPM_Startup too must fail, or the guest could fill fresh PCRs as it likes. On for another domain,
     * whose PCRs are not this one's: the same.
     */
    if (i->record.power != RECORD_ON || job->what.is_refused)
        instance_answer_rc(i, 9 /* TPM_FAIL */);
    else
        instance_run(i);
}

static void decide_platform(struct instance *i, const struct job *job)
{
    if (i->record.power != RECORD_ON || job->what.is_refused)
        instance_finish(i, VT_EPOWER, "the TPM is off");
    else if (job->what.act == SANDBOX_ACT_INIT && !instance_measures_allow_init(i))
        instance_finish(i, VT_ECONFLICT,
                        "it requires a measured start, or the host's PCRs in its own, and a reset by the monitor gives "
                        "neither: restart the guest");
    else
        instance_run(i);
}

static void decide_resume(struct instance *i, const struct job *job)
{
    const bool armed = job->what.act == RESUME_ALLOW;

    if (!armed && !i->record.resume_armed) {
        instance_finish(i, VT_ECONFLICT, "no resume is allowed: none was, or a new domain has used it");
        return;
    }
    instance_stage(i);
    i->next.resume_armed = armed;
    i->next_permanent = true; /* durable: the toolstack's word must outlive this process */
    instance_persist(i);
}

/* Durable, and so whole: with PCRs and sessions as they are. */
static void leave_whole(struct instance *i)
{
    instance_stage(i);
    i->next_permanent = true;
    instance_persist(i);
}

/* docs/moving.md, "Live migration": a refusal is for good, whatever happens here afterwards. */
int instance_ticket_open(const struct instance *i, uint64_t seq, int64_t until, struct vt_why *why)
{
    if (i->record.seq != seq)
        return vt_fail(why, VT_ECONFLICT, "the instance has moved on since the ticket was given: it stands for record "
                                          "%llu, and the last one is %llu", (unsigned long long)seq,
                       (unsigned long long)i->record.seq);
    if (i->record.power == RECORD_NEEDS_POWER_ON)
        return vt_fail(why, VT_ECONFLICT, "the PCRs for which the ticket stands were lost with the source's host");
    if (until && (int64_t)time(NULL) >= until)
        return vt_fail(why, VT_ECONFLICT, "the ticket's time is over");
    return VT_OK;
}

/* A shim that is there would go on talking to a TPM that has left. */
static void decide_export(struct instance *i)
{
    char text[300];

    if (i->session) {
        snprintf(text, sizeof text, "a shim is attached (%s): stop the guest first, or save it with `vtpmctl instance "
                                    "suspend` before", session_peer(i->session));
        instance_finish(i, VT_ECONFLICT, text);
        return;
    }
    leave_whole(i);
}

/* By a ticket: its shim may be attached, and has just not been the first. */
static void decide_claim(struct instance *i, const struct job *job)
{
    struct vt_why why = {0};
    int err = instance_ticket_open(i, job->what.seq, job->what.until, &why);

    if (err)
        instance_finish(i, err, why.text);
    else
        leave_whole(i);
}

/* A ticket stands for a record that another server can be given, now or after a crash. */
static void decide_ticket(struct instance *i)
{
    if (i->record.power == RECORD_NEEDS_POWER_ON)
        instance_finish(i, VT_EPOWER, "its PCRs were lost: it can be saved and moved again after a power on");
    else if (i->record.seq == i->durable_seq)
        instance_finish(i, VT_OK, NULL);
    else
        leave_whole(i);
}

static void decide(struct instance *i)
{
    struct job *job = instance_current(i);

    /* Only this job wrote under that number: its record is on disk after all, and is not made twice. */
    if (job->unknown_seq && i->durable_seq == job->unknown_seq) {
        instance_finish(i, VT_OK, NULL);
        return;
    }
    switch (job->what.kind) {
    case INSTANCE_LOAD:
        instance_finish(i, VT_OK, NULL);
        return;
    case INSTANCE_EXECUTE:
        decide_execute(i, job);
        return;
    case INSTANCE_POWER_ON:
        decide_power_on(i, job);
        return;
    case INSTANCE_POWER_OFF:
        decide_power_off(i, job);
        return;
    case INSTANCE_PLATFORM:
        decide_platform(i, job);
        return;
    case INSTANCE_ARM_RESUME:
        decide_resume(i, job);
        return;
    case INSTANCE_MEASURE:
        instance_change_measures(i);
        return;
    case INSTANCE_EXPORT:
        if (job->what.seq)
            decide_claim(i, job);
        else
            decide_export(i);
        return;
    case INSTANCE_TICKET:
        decide_ticket(i);
        return;
    case INSTANCE_EK_READ:
    case INSTANCE_PCR_READ:
        instance_run(i);
        return;
    case INSTANCE_EK_INSTALL:
        if (instance_ek_allow(i))
            instance_run(i);
        return;
    }
}

static void rest(struct instance *i)
{
    if (i->engine || i->is_loaded)
        loop_timer_start(i->idle, i->broker->idle_ms);
}

void instance_advance(struct instance *i)
{
    if (i->step != STEP_IDLE)
        return;
    if (vt_list_empty(&i->jobs))
        rest(i);
    else if (!i->has_epoch)
        instance_acquire(i);
    else if (!i->is_loaded)
        instance_load(i);
    else
        decide(i);
}

/* ---- What others may ask ---- */

static void on_broken_written(void *arg, int err)
{
    (void)arg;
    if (err)
        vt_error("instance: that it is broken could not be written: %s", vt_err_text(err));
}

void instance_break(struct instance *i, const char *why)
{
    char uuid[VT_UUID_TEXT];
    struct db_audit audit = {.kind = "broken", .uuid = &i->node.uuid, .peer = "server", .text = why};

    vt_uuid_text(uuid, &i->node.uuid);
    vt_log_with(VT_LOG_ERROR, VT_FIELDS(VT_TEXT("uuid", uuid)), "instance: broken, kept as it is: %s", why);
    if (db_instance_life(i->broker->db, &i->node.uuid, DB_BROKEN, why, &audit, on_broken_written, NULL))
        vt_log_with(VT_LOG_ERROR, VT_FIELDS(VT_TEXT("uuid", uuid)), "instance: the store takes no more requests");
    instance_drop_engine(i);
    instance_unload(i);
    instance_finish(i, VT_EBROKEN, why);
}

void instance_evict(struct instance *i, int err, const char *text)
{
    if (i->session)
        session_close(i->session, err, text);
    /* The job under way ends by its own callback; those behind it have not begun. */
    struct vt_list *first = i->step == STEP_IDLE ? &i->jobs : i->jobs.next;
    while (first->next != &i->jobs) {
        struct job *job = VT_LIST_ENTRY(first->next, struct job, node);
        pop(i, job);
        report(i, job, err, text);
        job_free(job);
    }
    if (i->step == STEP_IDLE)
        forget_all(i);
    else
        i->is_evicted = true;
}

struct session *instance_session(const struct instance *i)
{
    return i->session;
}

void instance_set_session(struct instance *i, struct session *session)
{
    i->session = session;
}

static void on_domain_written(void *arg VT_UNUSED, int err)
{
    if (err)
        vt_warning("instance: its domain was not written to the inventory: %s", vt_err_text(err));
}

void instance_note_domain(struct instance *i, const char *domain)
{
    int err;

    if (strcmp(i->domain, domain) == 0)
        return;
    err = db_instance_power(i->broker->db, &i->node.uuid, NULL, domain, NULL, on_domain_written, NULL);
    if (err)
        on_domain_written(NULL, err);
    else
        snprintf(i->domain, sizeof i->domain, "%s", domain);
}

struct act_limit *instance_attaches(struct instance *i)
{
    return &i->attaches;
}

int instance_engine_pid(const struct instance *i)
{
    return i->engine ? engine_pid(i->engine) : 0;
}

uint64_t instance_uncounted(const struct instance *i)
{
    return i->uncounted;
}

int64_t instance_last_seen(const struct instance *i)
{
    return i->last_seen;
}

bool instance_is_busy(const struct instance *i)
{
    return i->step != STEP_IDLE || i->is_reporting || !vt_list_empty(&i->jobs);
}

bool instance_take_counter(struct instance *i, struct db_counter *out)
{
    if (!i->uncounted)
        return false;
    *out = (struct db_counter){.uuid = i->node.uuid, .commands = i->uncounted, .last_seen = i->last_seen};
    i->uncounted = 0;
    return true;
}

const struct vt_uuid *instance_uuid(const struct instance *i)
{
    return &i->node.uuid;
}

bool instance_is_warm(const struct instance *i)
{
    return i->engine || i->is_loaded;
}

void instance_abandon(struct instance *i)
{
    while (!vt_list_empty(&i->jobs)) {
        struct job *job = instance_current(i);
        pop(i, job);
        job_free(job);
    }
    i->step = STEP_IDLE;
    instance_free(i);
}

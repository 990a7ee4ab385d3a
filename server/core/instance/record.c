/* SPDX-License-Identifier: Apache-2.0 */
/* How a job's record becomes safe: durable when permanent state changed, else in the runtime store. */
#include "server/core/instance/instance_priv.h"

#include <stdio.h>
#include <time.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/wire/cursor.h"

#define UNKNOWN_MAX 3
#define PLAIN_KEPT  (64u * 1024)

static struct seal_name name_of(const struct broker *broker, const struct vt_uuid *uuid, enum seal_kind kind,
                                uint64_t seq)
{
    return (struct seal_name){.store = broker->store, .instance = *uuid, .kind = kind, .seq = seq};
}

int instance_seal_record(const struct broker *broker, const struct vt_uuid *uuid, const struct vt_key *key,
                         enum seal_kind kind, const struct record *record, uint8_t tag[CR_GCM_TAG],
                         uint8_t **sealed, size_t *len)
{
    struct seal_name name = name_of(broker, uuid, kind, record->seq);
    uint8_t *plain = NULL, *out;
    size_t plain_len;
    int err = record_encode(record, &plain, &plain_len);

    if (err)
        return err;
    out = vt_calloc(1, plain_len + SEAL_OVERHEAD);
    err = out ? seal(key, &name, plain, plain_len, out, tag) : VT_ENOMEM;
    vt_free_wiped(plain, plain_len);
    if (err) {
        vt_free(out);
        return err;
    }
    *sealed = out;
    *len = plain_len + SEAL_OVERHEAD;
    return VT_OK;
}

int instance_open_record(const struct broker *broker, const struct vt_uuid *uuid, const struct vt_key *key,
                         enum seal_kind kind, uint64_t seq, const uint8_t *sealed, size_t len,
                         const uint8_t tag[CR_GCM_TAG], struct record *record, struct vt_why *why)
{
    struct seal_name name = name_of(broker, uuid, kind, seq);
    size_t plain_len = len - SEAL_OVERHEAD;
    uint8_t *plain;
    int err;

    if (len < SEAL_OVERHEAD)
        return vt_fail(why, VT_EDAMAGED, "the sealed record is cut short");
    plain = vt_calloc(1, plain_len);
    if (!plain)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    err = unseal(key, &name, sealed, len, tag, plain);
    if (err == VT_EDAMAGED)
        vt_fail(why, err, "the sealed record %llu does not open: it was altered, or belongs elsewhere",
                (unsigned long long)seq);
    if (!err)
        err = record_decode(record, plain, plain_len, why);
    vt_free_wiped(plain, plain_len);
    if (!err && record->seq != seq) {
        record_free(record);
        return vt_fail(why, VT_EDAMAGED, "the record says it is another one");
    }
    return err;
}

void instance_stage(struct instance *i)
{
    struct job *job = instance_current(i);

    record_free(&i->next);
    i->next = i->record;
    i->next.response = i->next.volatile_state = i->next.permanent = i->next.measures = (struct vt_bytes){0};
    i->next_volatile = i->next_permanent = i->next_measures = i->next_acted = i->next_has_ek = false;
    i->next.seq = i->record.seq + 1;
    memcpy(i->next.boot_id, i->broker->boot_id, sizeof i->next.boot_id);
    if (job->what.kind == INSTANCE_EXECUTE)
        record_command(&i->next, job->what.stream, job->what.n, job->command_sha256);
}

/* The whole record as it will be; borrows all strings. */
static struct record view(const struct instance *i, bool durable)
{
    struct record whole = i->next;

    if (!i->next.response.len)
        whole.response = i->record.response;
    if (!i->next_volatile)
        whole.volatile_state = i->record.volatile_state;
    if (i->next_permanent && !i->next.permanent.len)
        whole.permanent = i->record.permanent;
    if (!i->next_measures)
        whole.measures = i->record.measures;
    if (durable) {
        whole.base_seq = whole.seq;
    } else {
        whole.base_seq = i->durable_seq;
        whole.permanent = whole.measures = (struct vt_bytes){0};
    }
    return whole;
}

static void replace(struct vt_bytes *to, struct vt_bytes *from)
{
    vt_free_wiped(to->data, to->len);
    *to = *from;
    *from = (struct vt_bytes){0};
}

/* What was staged is safe now. */
static void adopt(struct instance *i, bool durable)
{
    struct vt_bytes response = i->record.response;
    struct vt_bytes volatile_state = i->record.volatile_state;
    struct vt_bytes permanent = i->record.permanent;
    struct vt_bytes measures = i->record.measures;

    if (i->next.response.len)
        replace(&response, &i->next.response);
    if (i->next_volatile)
        replace(&volatile_state, &i->next.volatile_state);
    if (i->next.permanent.len)
        replace(&permanent, &i->next.permanent);
    if (i->next_measures)
        replace(&measures, &i->next.measures);
    if (durable)
        i->durable_seq = i->next.seq;
    i->next.base_seq = i->durable_seq;
    i->record = i->next;
    i->record.response = response;
    i->record.volatile_state = volatile_state;
    i->record.permanent = permanent;
    i->record.measures = measures;
    i->next = (struct record){0};
}

/* It is sealed where it will lie. What does not fit there is made apart, and the file grows. */
static int seal_in_place(struct instance *i, const struct record *record, uint8_t *room, const uint8_t *plain, size_t len)
{
    struct seal_name name = name_of(i->broker, &i->node.uuid, SEAL_RUNTIME, record->seq);
    uint8_t tag[CR_GCM_TAG];
    int err = seal(i->key, &name, plain, len, room, tag);

    if (!err)
        runtime_put(i->runtime, record->seq, tag, len + SEAL_OVERHEAD);
    return err;
}

static int grow_runtime(struct instance *i, const struct record *record)
{
    uint8_t tag[CR_GCM_TAG];
    uint8_t *sealed;
    size_t len;
    int err = instance_seal_record(i->broker, &i->node.uuid, i->key, SEAL_RUNTIME, record, tag, &sealed, &len);

    if (err)
        return err;
    err = runtime_write(i->runtime, record->seq, tag, sealed, len);
    vt_free(sealed);
    return err;
}

static int put_runtime(struct instance *i, const struct record *record)
{
    struct vt_buf *plain = &i->broker->plain;
    uint8_t *at, *room;
    size_t len;
    int err = record_measure(record, &len);

    if (!err && !i->runtime)
        err = runtime_file_open(&i->runtime, i->broker->runtime, &i->node.uuid, true);
    if (err)
        return err;
    room = runtime_room(i->runtime, record->seq, len + SEAL_OVERHEAD);
    if (!room)
        return grow_runtime(i, record);
    err = vt_buf_reserve(plain, len, &at);
    if (err)
        return err;
    record_write(record, at, len);
    err = seal_in_place(i, record, room, at, len);
    vt_wipe(at, len);
    if (plain->cap > PLAIN_KEPT)
        vt_buf_free(plain);
    return err;
}

static int write_runtime(struct instance *i, const struct record *record)
{
    int err = put_runtime(i, record);

    if (err || i->runtime_refused)
        broker_runtime_wrote(i->broker, &i->runtime_refused, err);
    return err;
}

int instance_mark_runtime(struct instance *i)
{
    struct record mark = i->record;

    memcpy(mark.boot_id, i->broker->boot_id, sizeof mark.boot_id);
    mark.permanent = mark.measures = (struct vt_bytes){0};
    mark.base_seq = i->durable_seq;
    return write_runtime(i, &mark);
}

/* A disk that takes nothing was said already, once. */
static void lost(struct instance *i, int err, const char *where)
{
    char uuid[VT_UUID_TEXT];

    vt_uuid_text(uuid, &i->node.uuid);
    if (err != VT_EUNAVAILABLE && err != VT_ENOSPC)
        vt_log_with(VT_LOG_ERROR, VT_FIELDS(VT_TEXT("uuid", uuid)), "instance: a record could not be written to the %s: %s",
                    where, vt_err_text(err));
    record_free(&i->next);
    instance_drop_engine(i);
}

static void on_committed(void *arg, int err)
{
    struct instance *i = arg;
    struct job *job = instance_current(i);
    uint64_t seq = i->next.seq;

    if (!err) {
        adopt(i, true);
        instance_finish(i, VT_OK, NULL);
        return;
    }
    lost(i, err, "store");
    if (err == VT_EUNKNOWN || err == VT_EFENCED || err == VT_ECONFLICT) {
        /* What is on disk decides: it is read again under a new epoch. */
        instance_unload(i);
        i->has_epoch = false;
    }
    i->in_doubt = err == VT_EUNKNOWN;
    job->unknown_seq = err == VT_EUNKNOWN ? seq : 0;
    if (err == VT_EUNKNOWN && ++job->unknown < UNKNOWN_MAX) {
        i->step = STEP_IDLE;
        instance_advance(i);
    } else if (err == VT_EFENCED || err == VT_ECONFLICT) {
        instance_finish(i, VT_EFENCED, "another owner wrote this instance's state");
    } else {
        instance_finish(i, VT_EUNAVAILABLE, INSTANCE_STORE_SHUT);
    }
}

static const char *const power_words[] = {
    [RECORD_OFF] = "off", [RECORD_ON] = "on", [RECORD_NEEDS_POWER_ON] = "needs-power-on"};

/* What jobs leave in the events; a text that depends on the job is made by its room. */
static const struct act {
    const char *kind, *text;
} acts[] = {
    [INSTANCE_LOAD] = {NULL, NULL},
    [INSTANCE_EXECUTE] = {NULL, NULL},
    [INSTANCE_PLATFORM] = {NULL, NULL},
    [INSTANCE_POWER_ON] = {"power-on", NULL},
    [INSTANCE_POWER_OFF] = {"power-off", "powered off"},
    [INSTANCE_ARM_RESUME] = {"suspend", "one resume is allowed"},
    [INSTANCE_MEASURE] = {"measure", NULL},
    [INSTANCE_EXPORT] = {"export", NULL},
    [INSTANCE_TICKET] = {NULL, NULL},
    [INSTANCE_EK_READ] = {NULL, NULL},
    [INSTANCE_PCR_READ] = {NULL, NULL},
    [INSTANCE_EK_INSTALL] = {"ekcert", NULL},
};
/* A power on that does not act, but makes a record, is the one resume that was armed. */
static const struct act resumed = {"resume", "went on in a new domain"};
static const struct act cancelled = {"suspend", "no resume is allowed any more"};

static const struct act *act_of(const struct instance *i, const struct job *job)
{
    if (job->what.kind == INSTANCE_ARM_RESUME && job->what.act == RESUME_CANCEL)
        return &cancelled;
    return job->what.kind == INSTANCE_POWER_ON && !i->next_acted ? &resumed : &acts[job->what.kind];
}

static void export_text(const struct instance_job *what, char *text, size_t size)
{
    const struct db_export *export = what->export;
    char store[VT_UUID_TEXT], id[2 * DB_EXPORT_ID + 1];

    vt_uuid_text(store, &export->peer.store);
    vt_hex(id, export->id, sizeof export->id);
    snprintf(text, size, "to %s, store %s, %s %s", export->peer.name, store, what->seq ? "ticket" : "export", id);
}

/* Of the acts whose row has no words of its own. */
static void act_text(const struct instance *i, const struct job *job, char *text, size_t size)
{
    switch (job->what.kind) {
    case INSTANCE_EXPORT:
        export_text(&job->what, text, size);
        return;
    case INSTANCE_EK_INSTALL:
        instance_ek_text(job, text, size);
        return;
    default:
        instance_measure_text(i, job, text, size);
        return;
    }
}

/* What the row says from then on. */
static void export_reason(const struct instance_job *what, char *reason, size_t size)
{
    char when[VT_TIME_TEXT];

    vt_time_text(when, (int64_t)time(NULL));
    snprintf(reason, size, "%s to %s at %s", what->seq ? "handed over" : "exported", what->export->peer.name, when);
}

static int commit(struct instance *i, const struct record *whole)
{
    struct job *job = instance_current(i);
    struct db_commit_args args = {
        .uuid = i->node.uuid,
        .epoch = i->epoch,
        .expected_seq = i->durable_seq,
        .seq = whole->seq,
        .power = whole->power == i->record.power ? NULL : power_words[whole->power],
        .ek_sha256 = i->next_has_ek ? i->next_ek : NULL,
    };
    const struct act *act = act_of(i, job);
    struct db_audit audit = {
        .kind = act->kind,
        .uuid = &i->node.uuid,
        .peer = job->what.peer[0] ? job->what.peer : "server",
        .text = act->text,
    };
    char text[256], reason[128];
    uint8_t *sealed;
    size_t len;
    int err = instance_seal_record(i->broker, &i->node.uuid, i->key, SEAL_DURABLE, whole, args.record.tag,
                                   &sealed, &len);

    if (err)
        return err;
    if (act->kind && !act->text) {
        act_text(i, job, text, sizeof text);
        audit.text = text;
    }
    if (job->what.kind == INSTANCE_EXPORT) {
        export_reason(&job->what, reason, sizeof reason);
        args.export = job->what.export;
        args.reason = reason;
    }
    args.record.data = sealed;
    args.record.len = len;
    err = db_commit(i->broker->db, &args, act->kind ? &audit : NULL, on_committed, i);
    vt_free(sealed);
    return err;
}

void instance_persist(struct instance *i)
{
    bool durable = i->next_permanent;
    struct record whole = view(i, durable);
    int err;

    if (durable) {
        i->step = STEP_COMMITTING;
        err = commit(i, &whole);
        if (!err)
            return;
    } else {
        err = write_runtime(i, &whole);
    }
    if (err) {
        lost(i, err, durable ? "store" : "runtime store");
        instance_finish(i, err == VT_ENOSPC ? err : VT_EUNAVAILABLE, INSTANCE_STORE_SHUT);
        return;
    }
    adopt(i, false);
    instance_finish(i, VT_OK, NULL);
}

void instance_answer_rc(struct instance *i, uint32_t tpm_rc)
{
    struct wr w;
    uint8_t response[10];

    instance_stage(i);
    w = wr_to(response, sizeof response);
    wr_put16(&w, 0x00C4); /* TPM_TAG_RSP_COMMAND */
    wr_put32(&w, sizeof response);
    wr_put32(&w, tpm_rc);
    if (record_set(&i->next.response, response, sizeof response)) {
        instance_finish(i, VT_ENOMEM, NULL);
        return;
    }
    instance_persist(i);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs on the store: key slots, check, events, status. Slow work (scrypt, quick_check) runs on a worker. */
#include "server/core/admin_priv.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/core/store_check.h"

/* ---- Key slots ---- */

struct slots {
    struct db_keyslot rows[64];
    size_t count;
};

static int add_slot(void *ctx, const struct db_keyslot *slot)
{
    struct slots *slots = ctx;

    if (slots->count < VT_COUNT(slots->rows))
        slots->rows[slots->count++] = *slot;
    return VT_OK;
}

/* Returns owned (vt_free); ends the call on error. */
static struct slots *read_slots(struct admin_call *call)
{
    struct slots *slots = VT_NEW(struct slots);
    int err = slots ? db_keyslot_each(call->broker->db, add_slot, slots) : VT_ENOMEM;

    if (!err)
        return slots;
    vt_free(slots);
    admin_fail(call, err, "the key slots cannot be read: %s", vt_err_text(err));
    return NULL;
}

void admin_keyslot_list(struct admin_call *call)
{
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    struct slots *slots = read_slots(call);
    Vtpm__Keyslot msgs[VT_COUNT(slots->rows)], *pointers[VT_COUNT(slots->rows)];

    if (!slots)
        return;
    for (size_t k = 0; k < slots->count; k++) {
        vtpm__keyslot__init(&msgs[k]);
        msgs[k].id = slots->rows[k].id;
        msgs[k].kind = slots->rows[k].kind;
        msgs[k].params = slots->rows[k].params;
        msgs[k].opened_store = slots->rows[k].id == call->broker->opened_slot;
        pointers[k] = &msgs[k];
    }
    reply.keyslots = pointers;
    reply.n_keyslots = slots->count;
    admin_reply(call, &reply);
    vt_free(slots);
}

static struct db_keyslot *slot_by_id(struct slots *slots, int64_t id)
{
    for (size_t k = 0; k < slots->count; k++)
        if (slots->rows[k].id == id)
            return &slots->rows[k];
    return NULL;
}

/* Work on one slot with a secret, on a worker. */
struct slot_work {
    struct admin_call *call;
    struct keyslot_spec spec;
    struct db_keyslot slot;
    uint8_t *secret;
    size_t secret_len;
    int64_t id;
    int err;
    struct vt_why why;
};

static struct slot_work *slot_work_new(struct admin_call *call, const ProtobufCBinaryData *secret)
{
    struct slot_work *work;

    if (!secret->len) {
        admin_fail(call, VT_EUSAGE, "the slot's secret is missing");
        return NULL;
    }
    work = VT_NEW(struct slot_work);
    if (work) {
        work->call = call;
        work->err = VT_ENOMEM;
        work->secret = vt_memdup(secret->data, secret->len);
        work->secret_len = secret->len;
    }
    if (work && work->secret)
        return work;
    vt_free(work);
    admin_done(call, VT_ENOMEM);
    return NULL;
}

static void slot_work_free(struct slot_work *work)
{
    vt_free_wiped(work->secret, work->secret_len);
    vt_free_wiped(work, sizeof *work);
}

static void start_work(struct slot_work *work, void (*fn)(void *arg), void (*done)(void *arg))
{
    struct admin_call *call = work->call;
    int err = admin_work(call->broker, fn, done, work);

    if (!err)
        return;
    slot_work_free(work);
    admin_done(call, err);
}

static void work_make(void *arg)
{
    struct slot_work *work = arg;
    struct broker *broker = work->call->broker;

    work->err = keyslot_make(&work->slot, &work->spec, work->secret, work->secret_len, &broker->store,
                             keys_master(broker->keys), &work->why);
}

static void on_slot_put(void *arg, int err)
{
    struct slot_work *work = arg;
    struct admin_call *call = work->call;
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    Vtpm__Keyslot msg = VTPM__KEYSLOT__INIT, *pointers[] = {&msg};

    if (err) {
        admin_on_db(call, err);
    } else {
        msg.id = work->id;
        msg.kind = work->slot.kind;
        msg.params = work->slot.params;
        reply.keyslots = pointers;
        reply.n_keyslots = 1;
        admin_reply(call, &reply);
    }
    slot_work_free(work);
}

static void made(void *arg)
{
    struct slot_work *work = arg;
    struct admin_call *call = work->call;
    struct db_audit audit = {.kind = "keyslot-add", .peer = call->peer, .text = work->slot.kind};

    if (work->err) {
        int err = work->err;
        call->why = work->why;
        slot_work_free(work);
        admin_done(call, err);
        return;
    }
    work->err = db_keyslot_put(call->broker->db, &work->slot, &work->id, &audit, on_slot_put, work);
    if (work->err)
        on_slot_put(work, work->err);
}

void admin_keyslot_add(struct admin_call *call)
{
    const Vtpm__KeyslotAdd *add = call->request->keyslot_add;
    struct keyslot_spec spec;
    struct slot_work *work;
    int64_t id;
    int err = keyslot_parse(&spec, add->spec, &call->why);

    /* A slot's id is in its associated data: it is chosen before the slot is made. */
    if (!err)
        err = db_keyslot_next(call->broker->db, &id);
    if (err) {
        admin_done(call, err);
        return;
    }
    work = slot_work_new(call, &add->secret);
    if (!work)
        return;
    work->spec = spec;
    work->slot.id = id;
    start_work(work, work_make, made);
}

void admin_keyslot_remove(struct admin_call *call)
{
    int64_t id = call->request->keyslot_remove->id;
    struct slots *slots = read_slots(call);
    struct db_keyslot *slot;
    struct db_audit audit = {.kind = "keyslot-remove", .peer = call->peer, .text = ""};
    size_t usable = 0;

    if (!slots)
        return;
    slot = slot_by_id(slots, id);
    for (size_t k = 0; k < slots->count; k++)
        usable += slots->rows[k].id != id;
    if (!slot) {
        admin_fail(call, VT_ENOTFOUND, "there is no key slot %lld: vtpmctl keyslot list", (long long)id);
    } else if (!usable) {
        admin_fail(call, VT_ECONFLICT, "key slot %lld is the last one: without it the store could never be opened",
                   (long long)id);
    } else {
        audit.text = slot->kind;
        admin_started(call, db_keyslot_remove(call->broker->db, id, &audit, admin_on_db, call));
    }
    vt_free(slots);
}

static void work_test(void *arg)
{
    struct slot_work *work = arg;
    VT_SECRET_KEY master = {{0}};

    work->err = keyslot_open(&work->slot, work->secret, work->secret_len, &work->call->broker->store, &master,
                             &work->why);
    if (!work->err && !vt_ct_equal(&master, keys_master(work->call->broker->keys), sizeof master))
        work->err = vt_fail(&work->why, VT_EDAMAGED, "the slot opens, but holds another master key");
}

static void tested(void *arg)
{
    struct slot_work *work = arg;
    struct admin_call *call = work->call;
    int err = work->err;

    call->why = work->why;
    slot_work_free(work);
    admin_done(call, err);
}

void admin_keyslot_test(struct admin_call *call)
{
    const Vtpm__KeyslotRef *test = call->request->keyslot_test;
    struct slots *slots = read_slots(call);
    struct db_keyslot *slot;
    struct slot_work *work;

    if (!slots)
        return;
    slot = slot_by_id(slots, test->id);
    if (!slot) {
        admin_fail(call, VT_ENOTFOUND, "there is no key slot %lld: vtpmctl keyslot list", (long long)test->id);
    } else {
        work = slot_work_new(call, &test->secret);
        if (work) {
            work->slot = *slot;
            start_work(work, work_test, tested);
        }
    }
    vt_free(slots);
}

void admin_keyslot_reseal(struct admin_call *call)
{
    struct slots *slots = read_slots(call);
    struct db_keyslot *slot;

    if (!slots)
        return;
    slot = slot_by_id(slots, call->request->keyslot_reseal->id);
    if (!slot)
        admin_fail(call, VT_ENOTFOUND, "there is no such key slot: vtpmctl keyslot list");
    else
        admin_fail(call, VT_ECONFLICT, "a %s slot is bound to no PCRs: there is nothing to reseal", slot->kind);
    vt_free(slots);
}

/* ---- Check ---- */

struct check_work {
    struct admin_call *call;
    struct store_findings found;
    int err;
};

static void work_check(void *arg)
{
    struct check_work *work = arg;

    work->err = store_check(work->call->broker->db, work->call->broker->keys, &work->found);
}

static void checked(void *arg)
{
    struct check_work *work = arg;
    struct admin_call *call = work->call;
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    Vtpm__Check check = VTPM__CHECK__INIT;
    const struct db_check *found = &work->found.db;

    check.instances = found->instances;
    check.deleted = found->deleted;
    check.credentials = found->credentials;
    check.bindings = found->bindings;
    check.keyslots = found->keyslots;
    check.events = found->events;
    check.broken = work->found.broken;
    check.ok = work->found.is_whole;
    check.text = work->found.text;
    reply.check = &check;
    reply.err = work->err ? work->err : check.ok ? VT_OK : VT_EDAMAGED;
    if (reply.err)
        vt_fail(&call->why, reply.err, "%s", work->err ? vt_err_text(work->err) : work->found.text);
    admin_reply(call, &reply);
    vt_free(work);
}

void admin_check(struct admin_call *call)
{
    struct check_work *work = VT_NEW(struct check_work);
    int err = VT_ENOMEM;

    if (work) {
        work->call = call;
        work->err = VT_ENOMEM;
        err = admin_work(call->broker, work_check, checked, work);
    }
    if (err) {
        vt_free(work);
        admin_done(call, err);
    }
}

/* ---- Events ---- */

#define EVENTS_MAX 1000

struct event_text {
    Vtpm__Event msg;
    char time[VT_TIME_TEXT], hash[65];
    struct db_event row;
};

struct events_work {
    struct admin_call *call;
    int64_t after, limit;
    bool verify;
    struct db_check found;
    struct event_text *rows;
    size_t count;
    int err;
};

static int add_event(void *ctx, const struct db_event *event)
{
    struct events_work *work = ctx;
    struct event_text *text = &work->rows[work->count++];

    text->row = *event;
    vtpm__event__init(&text->msg);
    vt_time_text(text->time, event->time);
    vt_hex(text->hash, event->hash, sizeof event->hash);
    text->msg.id = event->id;
    text->msg.time = text->time;
    text->msg.kind = text->row.kind;
    text->msg.uuid = text->row.uuid;
    text->msg.peer = text->row.peer;
    text->msg.text = text->row.text;
    text->msg.hash = text->hash;
    return VT_OK;
}

static void work_events(void *arg)
{
    struct events_work *work = arg;
    struct db *db = work->call->broker->db;

    work->err = db_event_each(db, work->after, work->limit, add_event, work);
    if (!work->err && work->verify)
        work->err = db_check(db, &work->found);
}

static void listed(void *arg)
{
    struct events_work *work = arg;
    struct admin_call *call = work->call;
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    Vtpm__Event **pointers = vt_calloc(work->count, sizeof(Vtpm__Event *));

    reply.err = pointers ? work->err : VT_ENOMEM;
    for (size_t k = 0; pointers && k < work->count; k++)
        pointers[k] = &work->rows[k].msg;
    if (!reply.err) {
        reply.events = pointers;
        reply.n_events = work->count;
    }
    if (!reply.err && work->verify && !work->found.chain_ok)
        reply.err = vt_fail(&call->why, VT_EDAMAGED, "%s", work->found.text);
    else if (!reply.err && work->verify && work->found.pruned)
        vt_fail(&call->why, VT_OK, "from event %lld on: older ones were pruned", (long long)work->found.pruned + 1);
    admin_reply(call, &reply);
    vt_free(pointers);
    vt_free(work->rows);
    vt_free(work);
}

void admin_events(struct admin_call *call)
{
    const Vtpm__Events *events = call->request->events;
    struct events_work *work = VT_NEW(struct events_work);
    int err = VT_ENOMEM;

    if (work) {
        work->call = call;
        work->after = events->after;
        work->limit = events->limit > 0 && events->limit < EVENTS_MAX ? events->limit : EVENTS_MAX;
        work->verify = events->verify;
        work->err = VT_ENOMEM;
        work->rows = vt_calloc((size_t)work->limit, sizeof *work->rows);
        if (work->rows)
            err = admin_work(call->broker, work_events, listed, work);
    }
    if (!err)
        return;
    if (work)
        vt_free(work->rows);
    vt_free(work);
    admin_done(call, err);
}

/* ---- Status ---- */

struct census {
    uint64_t engines;
};

static void count_engine(void *arg, struct registry_node *node)
{
    struct census *census = arg;

    census->engines += instance_engine_pid(instance_of_node(node)) != 0;
}

void admin_status(struct admin_call *call)
{
    static char protection[] = "store MAC: altered, removed or older rows are found at start; an older copy of the "
                               "whole file is not (no host TPM anchor)";
    struct broker *broker = call->broker;
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    Vtpm__Status status = VTPM__STATUS__INIT;
    struct census census = {0};
    char uuid[VT_UUID_TEXT], version[] = VTPM_VERSION, crypto[96];
    union {
        char *const *in;
        char **out;
    } listeners = {.in = broker->listeners};

    registry_each(&broker->instances, count_engine, &census);
    vt_uuid_text(uuid, &broker->store);
    snprintf(crypto, sizeof crypto, "%s", cr_backend());
    status.version = version;
    status.store_uuid = uuid;
    status.data_dir = broker->data_dir;
    status.runtime_dir = broker->runtime_path;
    status.keyslot = broker->opened_by;
    status.uptime_s = (loop_now_us() - broker->started_us) / 1000000;
    reply.err = db_instance_count(broker->db, &status.instances);
    status.engines = census.engines;
    status.channels = broker->session_count;
    status.listeners = listeners.out;
    status.n_listeners = broker->listener_count;
    status.commands = broker->commands;
    status.crypto = crypto;
    status.protection = protection;
    reply.status = &status;
    admin_reply(call, &reply);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs on the store: check, events, status. Slow work (quick_check) runs on a worker. */
#include "server/core/admin/admin_priv.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/core/anchor/anchor.h"
#include "server/core/store/check.h"

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

/* ---- Anchor ---- */

static void anchored(void *arg, int err, const struct vt_why *why)
{
    struct admin_call *call = arg;

    call->why = *why;
    admin_done(call, err);
}

void admin_anchor(struct admin_call *call)
{
    anchor_now(call->broker->anchor, anchored, call);
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

static void put_keypool(Vtpm__Status *status, const struct keypool *pool)
{
    struct keypool_facts facts;

    keypool_facts(pool, &facts);
    status->key_pool_2048 = facts.size[KEYPOOL_2048];
    status->keys_2048 = facts.level[KEYPOOL_2048];
    status->key_pool_1024 = facts.size[KEYPOOL_1024];
    status->keys_1024 = facts.level[KEYPOOL_1024];
    status->keys_made = facts.made;
    status->keys_taken = facts.taken;
    status->keys_ordered = facts.ordered;
    status->keys_waiting = facts.waiting;
    status->key_makers = facts.makers;
}

void admin_status(struct admin_call *call)
{
    struct broker *broker = call->broker;
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    Vtpm__Status status = VTPM__STATUS__INIT;
    struct census census = {0};
    char uuid[VT_UUID_TEXT], version[] = VTPM_VERSION, crypto[96], host_tpm[400], protection[ANCHOR_STATUS];
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
    status.keyslot_warning = broker->passed_over;
    status.uptime_s = (loop_now_us() - broker->started_us) / 1000000;
    snprintf(host_tpm, sizeof host_tpm, "%s", hosttpm_text(broker->hosttpm));
    status.host_tpm = host_tpm;
    reply.err = db_instance_count(broker->db, &status.instances);
    status.engines = census.engines;
    status.channels = broker->session_count;
    status.listeners = listeners.out;
    status.n_listeners = broker->listener_count;
    status.commands = broker->commands;
    status.crypto = crypto;
    anchor_status(broker->anchor, protection);
    status.protection = protection;
    put_keypool(&status, broker->keypool);
    reply.status = &status;
    admin_reply(call, &reply);
}

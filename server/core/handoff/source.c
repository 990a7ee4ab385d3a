/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source's side: it gives tickets, and it alone decides whether an instance has left. What a ticket is good for is
 * asked of the instance's record in its queue of jobs, so that a command is before or behind it, and never beside.
 */
#include "server/core/handoff/handoff_priv.h"

#include <stdio.h>
#include <time.h>

#include "server/base/alloc.h"
#include "server/core/handoff/leave.h"
#include "server/core/instance/instance.h"

/* ---- Tickets ---- */

struct giving {
    struct handoff_op op;
    char to[65];                    /* "": home */
    bool with_state;
    struct db_export export;        /* with_state */
};

static void end_giving(struct giving *g, int err, const char *text, const uint8_t *ticket)
{
    struct broker *broker = g->op.broker;

    handoff_over(&g->op);
    if (!g->op.is_forgotten)
        g->op.fn.given(g->op.arg, err, text, ticket);
    vt_free(g);
    broker_progress(broker);
}

/* ---- The instance itself, in place of a ticket ---- */

static void end_state(struct giving *g, int err, const char *text, const uint8_t *bundle, size_t len)
{
    struct broker *broker = g->op.broker;

    handoff_over(&g->op);
    if (!g->op.is_forgotten)
        g->op.fn.state(g->op.arg, err, text, bundle, len);
    vt_free(g);
    broker_progress(broker);
}

static void on_state(void *arg, int err, const struct vt_why *why, const uint8_t *bundle, size_t len)
{
    end_state(arg, err, err ? why->text : "", bundle, len);
}

static void on_gone(void *arg, const struct instance_answer *answer)
{
    struct giving *g = arg;
    struct instance *instance = instance_in_memory(g->op.broker, &g->op.ticket.instance);
    int err = answer->err;

    if ((!err || err == VT_EUNKNOWN) && instance)
        instance_evict(instance, VT_EMOVED, "the instance was handed over to another server");
    if (!err)
        err = leave_bundle(g->op.broker, &g->op.ticket.instance, broker_work, on_state, g);
    if (err)
        end_state(g, err, answer->err ? answer->text : vt_err_text(err), NULL, 0);
}

/* Between this record and the fence nothing may happen: as for a ticket that is claimed at once. */
static int leave_now(struct giving *g, uint64_t seq)
{
    struct instance_job job = {.kind = INSTANCE_EXPORT, .done = on_gone, .arg = g, .export = &g->export, .seq = seq};
    struct instance *instance;
    int err = cr_os_random(g->export.id, sizeof g->export.id);

    memcpy(job.peer, g->op.peer, sizeof job.peer);
    if (!err)
        err = instance_find(g->op.broker, &g->op.ticket.instance, &instance, &g->op.why);
    return err ? err : instance_submit(instance, &job);
}

static void write_event(struct giving *g)
{
    char text[200], id[2 * DB_EXPORT_ID + 1];

    vt_hex(id, g->op.ticket.id, sizeof g->op.ticket.id);
    snprintf(text, sizeof text, "%s for %s, of record %llu, for %d hours", id, g->to[0] ? g->to : "this server",
             (unsigned long long)g->op.ticket.seq, TICKET_HOURS);
    act_write(g->op.broker, "ticket", &g->op.ticket.instance, g->op.peer, text);
}

static void on_durable(void *arg, const struct instance_answer *answer)
{
    struct giving *g = arg;
    struct ticket *ticket = &g->op.ticket;
    int err = answer->err;

    if (g->with_state) {
        if (!err)
            err = leave_now(g, answer->record->seq);
        if (err)
            end_state(g, err, answer->err ? answer->text : vt_err_text(err), NULL, 0);
        return;
    }
    if (!err)
        err = cr_os_random(ticket->id, sizeof ticket->id);
    if (err) {
        end_giving(g, err, answer->err ? answer->text : vt_err_text(err), NULL);
        return;
    }
    ticket->seq = answer->record->seq;
    ticket->until = (int64_t)time(NULL) + TICKET_HOURS * 3600;
    ticket_write(ticket, g->op.broker->keys, g->op.bytes);
    write_event(g);
    end_giving(g, VT_OK, "", g->op.bytes);
}

struct only {
    struct db_peer peer;
    unsigned count;
};

static int count_peer(void *ctx, const struct db_peer *peer)
{
    struct only *only = ctx;

    only->peer = *peer;
    only->count++;
    return VT_OK;
}

/* QEMU does not say where it moves its guest. */
static int find_target(struct giving *g, const char *to)
{
    struct only only = {.count = 0};
    int err = *to ? db_peer_get(g->op.broker->db, to, NULL, &only.peer) : db_peer_each(g->op.broker->db, count_peer, &only);

    if (err == VT_ENOTFOUND)
        return vt_fail(&g->op.why, err, "no peer is called %.80s: vtpmctl server peer add", to);
    if (err)
        return vt_fail(&g->op.why, err, "the store cannot be read: %s", vt_err_text(err));
    g->op.ticket.target = g->op.broker->store;
    if (*to || only.count == 1) {
        g->op.ticket.target = only.peer.store;
        memcpy(g->to, only.peer.name, sizeof g->to);
        g->export.peer = only.peer;
    }
    if (g->with_state && !g->to[0])
        return vt_fail(&g->op.why, VT_ECONFLICT, "to which peer it shall leave is not known: --migrate-to names it");
    return VT_OK;
}

static int begin_giving(struct giving *g, struct broker *broker, const struct vt_uuid *uuid, const char *to,
                        const char *peer, void *arg)
{
    struct instance_job job = {.kind = INSTANCE_TICKET, .done = on_durable, .arg = g};
    struct instance *instance;
    int err;

    handoff_begin(&g->op, broker, peer, arg);
    g->op.ticket.instance = *uuid;
    g->op.ticket.source = broker->store;
    err = find_target(g, to);
    if (!err)
        err = instance_find(broker, uuid, &instance, &g->op.why);
    if (!err)
        err = instance_submit(instance, &job);
    return err ? vt_fail(&g->op.why, err, "%s", vt_err_text(err)) : VT_OK;
}

void handoff_give(struct broker *broker, const struct vt_uuid *uuid, const char *to, const char *peer, handoff_given done,
                  void *arg)
{
    struct giving *g = VT_NEW(struct giving);
    int err;

    if (!g) {
        done(arg, VT_ENOMEM, vt_err_text(VT_ENOMEM), NULL);
        return;
    }
    g->op.fn.given = done;
    err = begin_giving(g, broker, uuid, to, peer, arg);
    if (err)
        end_giving(g, err, g->op.why.text, NULL);
}

void handoff_give_state(struct broker *broker, const struct vt_uuid *uuid, const char *to, const char *peer,
                        handoff_state_given done, void *arg)
{
    struct giving *g = VT_NEW(struct giving);
    int err;

    if (!g) {
        done(arg, VT_ENOMEM, vt_err_text(VT_ENOMEM), NULL, 0);
        return;
    }
    g->op.fn.state = done;
    g->with_state = true;
    err = begin_giving(g, broker, uuid, to, peer, arg);
    if (err)
        end_state(g, err, g->op.why.text, NULL, 0);
}

/* ---- Looks and claims ---- */

struct answering {
    struct handoff_op op;
    struct vt_uuid asker;
    struct db_export export;        /* of a claim */
    struct handoff_answer answer;
};

static void end(struct answering *a, int err, const char *text)
{
    struct broker *broker = a->op.broker;

    a->answer.err = err;
    a->answer.text = text && *text ? text : vt_err_text(err);
    handoff_over(&a->op);
    if (!a->op.is_forgotten)
        a->op.fn.answered(a->op.arg, &a->answer);
    vt_free(a);
    broker_progress(broker);
}

static void on_bundle(void *arg, int err, const struct vt_why *why, const uint8_t *bundle, size_t len)
{
    struct answering *a = arg;

    a->answer.bundle = bundle;
    a->answer.len = len;
    /* It has left whatever this was: asked again, it is answered again. */
    end(a, handoff_is_final(err) ? VT_EUNAVAILABLE : err, why->text);
}

static void tell_left(struct answering *a)
{
    int err = VT_OK;

    a->answer.has_left = true;
    if (a->op.is_claim)
        err = leave_bundle(a->op.broker, &a->op.ticket.instance, broker_work, on_bundle, a);
    if (err || !a->op.is_claim)
        end(a, err, NULL);
}

static bool same_peer(const struct db_peer *a, const struct db_peer *b)
{
    return vt_uuid_equal(&a->store, &b->store) && memcmp(a->public, b->public, sizeof a->public) == 0;
}

/*
 * True: it has left, and that was the answer. To the one who asks: by whatever ticket or export, it is all the same
 * bundle, and nobody else can open it.
 */
static bool ended_as_left(struct answering *a)
{
    struct db_export before;
    char text[160];
    int err = db_export_get(a->op.broker->db, &a->op.ticket.instance, &before);

    if (err == VT_ENOTFOUND)
        return false;
    if (err) {
        end(a, VT_EUNAVAILABLE, "the source's store cannot be read now");
    } else if (same_peer(&before.peer, &a->export.peer)) {
        tell_left(a);
    } else {
        snprintf(text, sizeof text, "it has left the source already, to %s", before.peer.name);
        end(a, VT_ECONFLICT, text);
    }
    return true;
}

/* The job ended without an answer of its own; another claim may have been before it. */
static void job_failed(struct answering *a, const struct instance_answer *answer)
{
    if (!ended_as_left(a))
        end(a, answer->err, answer->text);
}

static void on_looked(void *arg, const struct instance_answer *answer)
{
    struct answering *a = arg;
    const struct ticket *ticket = &a->op.ticket;
    struct instance *instance = instance_in_memory(a->op.broker, &ticket->instance);
    struct db_instance row;
    int err;

    if (answer->err || !instance) {
        job_failed(a, answer);
        return;
    }
    err = instance_ticket_open(instance, ticket->seq, ticket->until, &a->op.why);
    if (!err && db_instance_get(a->op.broker->db, &ticket->instance, &row))
        err = VT_EUNAVAILABLE;
    if (!err) {
        memcpy(a->answer.name, row.name, sizeof a->answer.name);
        a->answer.seq = answer->record->seq;
        a->answer.version = arrive_version_of(answer->record);
    }
    end(a, err, a->op.why.text);
}

static void on_left(void *arg, const struct instance_answer *answer)
{
    struct answering *a = arg;
    struct instance *instance = instance_in_memory(a->op.broker, &a->op.ticket.instance);

    /* An unknown outcome too: it may have left. If not, a shim attaches again. */
    if ((!answer->err || answer->err == VT_EUNKNOWN) && instance)
        instance_evict(instance, VT_EMOVED, "the instance was handed over to another server");
    if (answer->err)
        job_failed(a, answer);
    else
        tell_left(a);
}

static void submit(struct answering *a)
{
    struct instance_job job = {.kind = INSTANCE_LOAD, .done = on_looked, .arg = a};
    struct instance *instance;
    int err = instance_find(a->op.broker, &a->op.ticket.instance, &instance, &a->op.why);

    if (!err && a->op.is_claim) {
        memcpy(a->export.id, a->op.ticket.id, sizeof a->export.id);
        job = (struct instance_job){.kind = INSTANCE_EXPORT, .done = on_left, .arg = a, .export = &a->export,
                                    .seq = a->op.ticket.seq, .until = a->op.ticket.until};
        memcpy(job.peer, a->op.peer, sizeof job.peer);
    }
    if (!err)
        err = instance_submit(instance, &job);
    if (err)
        end(a, err, a->op.why.text);
}

/* Is this a ticket of ours, for the one who asks? */
static int check_ticket(struct answering *a)
{
    struct vt_why *why = &a->op.why;
    int err = ticket_read(&a->op.ticket, a->op.bytes, sizeof a->op.bytes, why);

    if (err || !ticket_is_own(a->op.bytes, a->op.broker->keys))
        return vt_fail(why, VT_ECONFLICT, "the ticket was not given by the server that it names, or was altered");
    if (!vt_uuid_equal(&a->op.ticket.target, &a->asker))
        return vt_fail(why, VT_ECONFLICT, "the ticket was given for another server than the one that asks");
    err = db_peer_get(a->op.broker->db, NULL, &a->asker, &a->export.peer);
    return err ? vt_fail(why, err == VT_ENOTFOUND ? VT_EPERM : VT_EUNAVAILABLE, "the one who asks is no peer") : VT_OK;
}

void handoff_answer(struct broker *broker, const struct vt_uuid *asker, const char *peer, const struct handoff_ask *ask,
                    handoff_answered done, void *arg)
{
    struct answering *a = VT_NEW(struct answering);
    int err;

    if (!a) {
        const struct handoff_answer none = {.err = VT_ENOMEM, .text = vt_err_text(VT_ENOMEM)};
        done(arg, &none);
        return;
    }
    handoff_begin(&a->op, broker, peer, arg);
    a->op.fn.answered = done;
    a->op.is_claim = ask->claim;
    a->asker = *asker;
    memcpy(a->op.bytes, ask->ticket, sizeof a->op.bytes);
    err = broker->draining ? VT_EAGAIN : check_ticket(a);
    if (err)
        end(a, err, a->op.why.text);
    else if (!ended_as_left(a))
        submit(a);
}

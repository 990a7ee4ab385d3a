/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target's side. It never decides: what it holds is its source's word, and before it asks for that the ticket is in
 * the store, so that a crash at any moment leaves someone who goes on asking.
 */
#include "server/core/handoff/handoff_priv.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/core/handoff/arrive.h"
#include "server/core/instance/instance.h"
#include "server/core/store/bundle.h"

#define ASK_SOON_MS  5000
#define ASK_AGAIN_MS 30000
#define NOT_REACHED  "the server from which the instance comes, %s, does not answer: nobody can say whether it has left there"

struct taking {
    struct handoff_op op;
    struct db_peer source;
    struct db_arriving row;
    bool is_resolving;              /* nobody waits: looks first */
    int refused;                    /* the source's last word, until it is written */
};

static void end(struct taking *t, int err)
{
    struct broker *broker = t->op.broker;

    handoff_over(&t->op);
    if (err && t->is_resolving)
        vt_notice("hand-off: an instance that was claimed from %s: %s", t->source.name,
                  t->op.why.text[0] ? t->op.why.text : vt_err_text(err));
    if (!t->op.is_forgotten && t->op.fn.done)
        t->op.fn.done(t->op.arg, err, t->op.why.text[0] ? t->op.why.text : vt_err_text(err));
    vt_free(t);
    broker_progress(broker);
}

/* If its row is there: somebody goes on asking, also when the shim does not come again. */
static void ask_again(struct broker *broker, uint64_t ms)
{
    if (broker->handoff_timer && !broker->draining)
        loop_timer_start(broker->handoff_timer, ms);
}

/* Not now; the claim stands. */
static void end_later(struct taking *t)
{
    ask_again(t->op.broker, t->is_resolving ? ASK_AGAIN_MS : ASK_SOON_MS);
    vt_fail(&t->op.why, VT_EUNAVAILABLE, "the instance cannot be taken now");
    end(t, VT_EUNAVAILABLE);
}

/* ---- Is it here already, as it was when the ticket was given? ---- */

static void on_loaded(void *arg, const struct instance_answer *answer)
{
    struct taking *t = arg;
    const struct ticket *ticket = &t->op.ticket;
    /* The record by which it left its source is the one behind the ticket's. */
    const uint64_t seq = ticket->seq + !vt_uuid_equal(&ticket->source, &t->op.broker->store);
    struct instance *instance = instance_in_memory(t->op.broker, &ticket->instance);

    if (answer->err || !instance) {
        vt_fail(&t->op.why, answer->err, "%s", answer->text);
        end(t, answer->err ? answer->err : VT_EUNAVAILABLE);
        return;
    }
    end(t, instance_ticket_open(instance, seq, 0, &t->op.why));
}

static void check_here(struct taking *t)
{
    struct instance_job job = {.kind = INSTANCE_LOAD, .done = on_loaded, .arg = t};
    struct instance *instance;
    int err = instance_find(t->op.broker, &t->op.ticket.instance, &instance, &t->op.why);

    if (!err)
        err = instance_submit(instance, &job);
    if (err)
        end(t, err);
}

/* It lives in this store, or has its tombstone here; one that left from here may come back. */
static int find_here(const struct taking *t, bool *is_here, bool *has_left)
{
    struct broker *broker = t->op.broker;
    struct db_instance row;
    struct db_export export;
    int err = db_export_get(broker->db, &t->op.ticket.instance, &export);

    *has_left = err == VT_OK;
    *is_here = false;
    if (err == VT_ENOTFOUND) {
        err = db_instance_get(broker->db, &t->op.ticket.instance, &row);
        *is_here = !err;
    }
    return err == VT_ENOTFOUND ? VT_OK : err;
}

/* ---- May it come? ---- */

static int check_ticket(struct taking *t, const uint8_t *bytes, size_t len)
{
    struct broker *broker = t->op.broker;
    int err = ticket_read(&t->op.ticket, bytes, len, &t->op.why);
    bool is_home = vt_uuid_equal(&t->op.ticket.source, &broker->store);
    char store[VT_UUID_TEXT];

    if (err)
        return err;
    memcpy(t->op.bytes, bytes, sizeof t->op.bytes);
    if (is_home)
        return ticket_is_own(t->op.bytes, broker->keys)
                   ? VT_OK
                   : vt_fail(&t->op.why, VT_EAUTH, "the ticket was altered, or this store has another master key now");
    if (vt_uuid_equal(&t->op.ticket.target, &broker->store))
        return VT_OK;
    vt_uuid_text(store, &t->op.ticket.target);
    if (vt_uuid_equal(&t->op.ticket.target, &t->op.ticket.source))
        return vt_fail(&t->op.why, VT_ECONFLICT, "the ticket is good only at the server that gave it: name this one to "
                       "the source's shim, by --migrate-to");
    return vt_fail(&t->op.why, VT_ECONFLICT, "the ticket was given for store %s, and this is another", store);
}

/* Is it known, and is the instance expected from there? */
static int check_source(struct taking *t, bool has_left)
{
    struct broker *broker = t->op.broker;
    char store[VT_UUID_TEXT];
    int err = db_peer_get(broker->db, NULL, &t->op.ticket.source, &t->source);

    vt_uuid_text(store, &t->op.ticket.source);
    if (err == VT_ENOTFOUND)
        return vt_fail(&t->op.why, VT_EPERM, "it comes from store %s, which is no peer of this one: vtpmctl server peer "
                       "add, with that server's key and --address", store);
    if (err)
        return err;
    if (has_left)
        return VT_OK;
    err = db_arriving_get(broker->db, &t->op.ticket.instance, &t->row);
    if (err == VT_ENOTFOUND || (!err && !vt_uuid_equal(&t->row.store, &t->source.store)))
        return vt_fail(&t->op.why, VT_EPERM, "it is not expected from %s: vtpmctl instance expect", t->source.name);
    return err;
}

static int check_line(struct taking *t)
{
    if (t->source.address[0] && t->op.broker->line_ops)
        return VT_OK;
    return vt_fail(&t->op.why, VT_EUSAGE, "where peer %s listens is not known: vtpmctl server peer add --address",
                   t->source.name);
}

/* VT_OK: a foreign instance that may come. Everything else was ended, or is under way. */
static bool may_come(struct taking *t, const uint8_t *bytes, size_t len)
{
    bool is_here = false, has_left = false;
    int err = t->op.broker->draining ? VT_EAGAIN : check_ticket(t, bytes, len);

    if (!err)
        err = find_here(t, &is_here, &has_left);
    if (!err && (is_here || vt_uuid_equal(&t->op.ticket.source, &t->op.broker->store))) {
        check_here(t);
        return false;
    }
    if (!err)
        err = check_source(t, has_left);
    if (!err)
        err = check_line(t);
    if (err)
        end(t, err);
    return !err;
}

static struct taking *taking_new(struct broker *broker, const char *peer, handoff_done done, void *arg)
{
    struct taking *t = VT_NEW(struct taking);

    if (!t) {
        if (done)
            done(arg, VT_ENOMEM, vt_err_text(VT_ENOMEM));
        return NULL;
    }
    handoff_begin(&t->op, broker, peer, arg);
    t->op.fn.done = done;
    return t;
}

static int ask(struct taking *t, bool claim, handoff_answered then)
{
    struct handoff_ask what = {.claim = claim};

    memcpy(what.ticket, t->op.bytes, sizeof what.ticket);
    return t->op.broker->line_ops->ask(t->op.broker->line, &t->source, &what, then, t);
}

/* ---- The ticket is brought: look ---- */

static int check_place(struct taking *t, const struct handoff_answer *answer)
{
    struct broker *broker = t->op.broker;
    bool returns;
    int err = arrive_uuid_free(broker, &t->op.ticket.instance, answer->seq + 1, &returns, &t->op.why);

    if (!err)
        err = arrive_name_free(broker, &t->op.ticket.instance, answer->name, &t->op.why);
    return err ? err : arrive_version_known(answer->version, &t->op.why);
}

static void on_look(void *arg, const struct handoff_answer *answer)
{
    struct taking *t = arg;
    int err;

    if (!answer) {
        err = vt_fail(&t->op.why, VT_EUNREACHED, NOT_REACHED, t->source.name);
    } else if (answer->err) {
        err = vt_fail(&t->op.why, answer->err, "%s refuses: %s", t->source.name, answer->text);
    } else {
        err = answer->has_left ? VT_OK : check_place(t, answer);
    }
    end(t, err);
}

void handoff_bring(struct broker *broker, const uint8_t *ticket, size_t len, handoff_done done, void *arg)
{
    struct taking *t = taking_new(broker, "", done, arg);
    int err;

    if (!t || !may_come(t, ticket, len))
        return;
    err = ask(t, false, on_look);
    if (err)
        end(t, err);
}

/* ---- The claim ---- */

static void on_arrived(void *arg, int err, const struct vt_why *why, const struct db_instance *row)
{
    struct taking *t = arg;

    (void)row;
    if (!err) {
        end(t, VT_OK);
        return;
    }
    t->op.why = *why;
    vt_log_with(VT_LOG_ERROR, VT_FIELDS(VT_TEXT("source", t->source.name)),
                "hand-off: an instance has left its source, and does not come in here: %s",
                why->text[0] ? why->text : vt_err_text(err));
    end_later(t);
}

/* Refused for good, and written: nobody asks any more. */
static void on_unclaimed(void *arg, int err)
{
    struct taking *t = arg;

    if (err && err != VT_ENOTFOUND)
        vt_warning("hand-off: that a claim was refused could not be written: %s", vt_err_text(err));
    end(t, t->refused);
}

static void give_up(struct taking *t, const struct handoff_answer *answer)
{
    char text[256];
    struct db_audit audit = {.kind = "hand-off", .uuid = &t->op.ticket.instance, .peer = t->op.peer, .text = text};
    int err;

    snprintf(text, sizeof text, "refused by %s: %s", t->source.name, answer->text);
    t->refused = vt_fail(&t->op.why, answer->err, "%s refuses: %s", t->source.name, answer->text);
    err = db_unclaim(t->op.broker->db, &t->row, &audit, on_unclaimed, t);
    if (err)
        end(t, t->refused);
}

static void on_claim(void *arg, const struct handoff_answer *answer)
{
    struct taking *t = arg;
    struct arrive_args args = {.peer = t->op.peer, .claimed = &t->op.ticket.instance, .source = &t->source.store,
                               .work = broker_work};
    int err;

    if (!answer) {
        vt_fail(&t->op.why, VT_EUNAVAILABLE, NOT_REACHED, t->source.name);
        end_later(t);
    } else if (answer->err && handoff_is_final(answer->err)) {
        give_up(t, answer);
    } else if (answer->err || !answer->has_left || !answer->len) {
        vt_fail(&t->op.why, VT_EUNAVAILABLE, "%s cannot say now: %s", t->source.name, answer->text);
        end_later(t);
    } else {
        args.bundle = answer->bundle;
        args.len = answer->len;
        err = arrive(t->op.broker, &args, on_arrived, t);
        if (err)
            end_later(t);
    }
}

static void ask_for_it(struct taking *t)
{
    if (ask(t, true, on_claim))
        end_later(t);
}

static void on_row(void *arg, int err)
{
    struct taking *t = arg;

    if (err == VT_ECONFLICT)
        end(t, vt_fail(&t->op.why, VT_EPERM, "it is not expected from %s any more", t->source.name));
    else if (err)
        end_later(t);
    else
        ask_for_it(t);
}

static bool is_being_claimed(struct broker *broker, const struct taking *but)
{
    VT_LIST_EACH(&broker->handoffs, at) {
        const struct handoff_op *op = VT_LIST_ENTRY(at, struct handoff_op, node);
        if (op != &but->op && op->is_taking && vt_uuid_equal(&op->ticket.instance, &but->op.ticket.instance))
            return true;
    }
    return false;
}

static void fill_row(struct taking *t)
{
    t->row.uuid = t->op.ticket.instance;
    t->row.store = t->op.ticket.source;
    memcpy(t->row.ticket, t->op.bytes, sizeof t->row.ticket);
    t->row.has_ticket = true;
}

void handoff_claim(struct broker *broker, const uint8_t ticket[TICKET_LEN], const char *peer, handoff_done done, void *arg)
{
    struct taking *t = taking_new(broker, peer, done, arg);

    if (!t || !may_come(t, ticket, TICKET_LEN))
        return;
    t->op.is_taking = true;
    if (is_being_claimed(broker, t)) {
        vt_fail(&t->op.why, VT_EUNAVAILABLE, "it is being asked for already");
        end_later(t);
        return;
    }
    fill_row(t);
    if (db_claim(broker->db, &t->row, on_row, t))
        end_later(t);
}

/* ---- The instance itself, in place of a ticket ---- */

static void on_state(void *arg, int err, const struct vt_why *why, const struct db_instance *row)
{
    struct taking *t = arg;

    (void)row;
    t->op.why = *why;
    end(t, err);
}

static int begin_state(struct taking *t, const uint8_t *bundle, size_t len, bool only_looks)
{
    struct arrive_args args = {.bundle = bundle, .len = len, .peer = t->op.peer, .claimed = &t->op.ticket.instance,
                               .source = &t->source.store, .only_looks = only_looks, .work = broker_work};
    struct bundle_head head = {.time = 0};
    bool is_here = false, has_left = false;
    int err = t->op.broker->draining ? VT_EAGAIN : bundle_read(&head, bundle, len, &t->op.why);

    t->op.ticket.source = head.source;
    if (!err)
        err = find_here(t, &is_here, &has_left);
    if (!err)
        err = is_here ? vt_fail(&t->op.why, VT_EEXISTS, "the instance is here already: a state is taken once")
                      : check_source(t, has_left);
    return err ? err : arrive(t->op.broker, &args, on_state, t);
}

static void take_state(struct broker *broker, const struct vt_uuid *uuid, const uint8_t *bundle, size_t len,
                       const char *peer, bool only_looks, handoff_done done, void *arg)
{
    struct taking *t = taking_new(broker, peer, done, arg);
    int err;

    if (!t)
        return;
    t->op.ticket.instance = *uuid;
    err = begin_state(t, bundle, len, only_looks);
    if (err)
        end(t, err);
}

void handoff_bring_state(struct broker *broker, const struct vt_uuid *uuid, const uint8_t *bundle, size_t len,
                         handoff_done done, void *arg)
{
    take_state(broker, uuid, bundle, len, "", true, done, arg);
}

void handoff_take_state(struct broker *broker, const struct vt_uuid *uuid, const uint8_t *bundle, size_t len,
                        const char *peer, handoff_done done, void *arg)
{
    take_state(broker, uuid, bundle, len, peer, false, done, arg);
}

/* ---- Claims whose answer was not had ---- */

static void on_resolved(void *arg, const struct handoff_answer *answer)
{
    struct taking *t = arg;

    if (answer && !answer->err && answer->has_left)
        ask_for_it(t);
    else if (answer && handoff_is_final(answer->err))
        give_up(t, answer);
    else
        end(t, VT_OK); /* open still: a claim of ours may be on its way there, or no more than thought of */
}

static void resolve(struct broker *broker, const struct db_arriving *row)
{
    struct taking *t = taking_new(broker, "server", NULL, NULL);
    int err;

    if (!t)
        return;
    t->is_resolving = true;
    t->row = *row;
    t->op.is_taking = true;
    err = ticket_read(&t->op.ticket, row->ticket, sizeof row->ticket, &t->op.why);
    memcpy(t->op.bytes, row->ticket, sizeof t->op.bytes);
    if (!err)
        err = is_being_claimed(broker, t) ? VT_EAGAIN : db_peer_get(broker->db, NULL, &row->store, &t->source);
    if (!err)
        err = ask(t, false, on_resolved);
    if (err)
        end(t, err == VT_EAGAIN ? VT_OK : err);
}

struct rows {
    struct db_arriving *rows;
    size_t count, cap;
};

static int add_row(void *ctx, const struct db_arriving *row)
{
    struct rows *rows = ctx;

    if (row->has_ticket && rows->count < rows->cap)
        rows->rows[rows->count++] = *row;
    return VT_OK;
}

/* So many at once; the others' turn comes when these are answered. */
#define RESOLVE_MOST 64

static size_t resolve_all(struct broker *broker)
{
    struct rows rows = {.cap = RESOLVE_MOST, .rows = vt_calloc(RESOLVE_MOST, sizeof *rows.rows)};

    if (!rows.rows || db_arriving_each(broker->db, add_row, &rows))
        rows.count = 0;
    for (size_t i = 0; i < rows.count; i++)
        resolve(broker, &rows.rows[i]);
    vt_free(rows.rows);
    return rows.count;
}

static void on_timer(void *arg)
{
    handoff_start(arg);
}

void handoff_start(struct broker *broker)
{
    if (broker->draining || !broker->line_ops)
        return;
    if (!broker->handoff_timer && loop_timer_new(broker->loop, &broker->handoff_timer, on_timer, broker)) {
        vt_warning("hand-off: out of memory: claims without an answer wait for the next start");
        return;
    }
    if (resolve_all(broker))
        ask_again(broker, ASK_AGAIN_MS);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs on key slots. What takes long (scrypt, the host TPM) runs on a worker. */
#include "server/core/admin/admin_priv.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/base/log.h"

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

/* Of slots; NULL: there is none, and the call is ended. */
static struct db_keyslot *slot_by_id(struct admin_call *call, struct slots *slots, int64_t id)
{
    for (size_t k = 0; k < slots->count; k++)
        if (slots->rows[k].id == id)
            return &slots->rows[k];
    admin_fail(call, VT_ENOTFOUND, "there is no key slot %lld: vtpmctl keyslot list", (long long)id);
    return NULL;
}

/* Work on one slot, on a worker. */
struct slot_work {
    struct admin_call *call;
    struct keyslot_spec spec;
    struct db_keyslot slot;
    uint8_t *secret;                /* NULL: it is on the server's side */
    size_t secret_len;
    char *prediction;               /* reseal; NULL: none */
    bool is_dry_run;
    struct keyslot_report report;
    int64_t id;
    int err;
    struct vt_why why;
};

/* The caller's secret, for kinds whose secret is not where the server is. Ends the call on error. */
static struct slot_work *slot_work_new(struct admin_call *call, const char *kind, const ProtobufCBinaryData *secret)
{
    const bool by_server = keyslot_by_server(kind);
    struct slot_work *work;

    if (!by_server && !secret->len) {
        admin_fail(call, VT_EUSAGE, "the slot's secret is missing");
        return NULL;
    }
    work = VT_NEW(struct slot_work);
    if (work) {
        work->call = call;
        work->err = VT_ENOMEM;
        work->secret = by_server ? NULL : vt_memdup(secret->data, secret->len);
        work->secret_len = work->secret ? secret->len : 0;
    }
    if (work && (work->secret || by_server))
        return work;
    vt_free(work);
    admin_done(call, VT_ENOMEM);
    return NULL;
}

static void slot_work_free(struct slot_work *work)
{
    vt_free_wiped(work->secret, work->secret_len);
    vt_free(work->prediction);
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

    if (!work->secret) {
        work->err = keyslot_read_secret(&work->spec, false, &work->secret, &work->secret_len, &work->why);
        if (work->err)
            return;
    }
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
        msg.text = work->report.text;
        reply.keyslots = pointers;
        reply.n_keyslots = 1;
        call->why = work->why;
        admin_reply(call, &reply);
    }
    slot_work_free(work);
}

static void made(void *arg)
{
    struct slot_work *work = arg;
    struct admin_call *call = work->call;
    struct db_audit audit = {.kind = "keyslot-add", .peer = call->peer, .text = work->slot.kind};

    if (!work->err && work->why.text[0])
        vt_warning("key slots: %s", work->why.text);
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
    work = slot_work_new(call, spec.kind, &add->secret);
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
    slot = slot_by_id(call, slots, id);
    for (size_t k = 0; k < slots->count; k++)
        usable += slots->rows[k].id != id;
    if (slot && !usable) {
        admin_fail(call, VT_ECONFLICT, "key slot %lld is the last one: without it the store could never be opened",
                   (long long)id);
    } else if (slot) {
        audit.text = slot->kind;
        admin_started(call, db_keyslot_remove(call->broker->db, id, &audit, admin_on_db, call));
    }
    vt_free(slots);
}

static void work_test(void *arg)
{
    struct slot_work *work = arg;
    VT_SECRET_KEY master = {{0}};

    if (!work->secret) {
        work->err = keyslot_own_secret(&work->slot, NULL, &work->secret, &work->secret_len, &work->why);
        if (work->err)
            return;
    }
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
    slot = slot_by_id(call, slots, test->id);
    work = slot ? slot_work_new(call, slot->kind, &test->secret) : NULL;
    if (work) {
        work->slot = *slot;
        start_work(work, work_test, tested);
    }
    vt_free(slots);
}

/* ---- Reseal ---- */

static void work_reseal(void *arg)
{
    struct slot_work *work = arg;
    struct broker *broker = work->call->broker;
    struct db_keyslot old = work->slot;

    work->err = keyslot_reseal(&old, work->prediction, &broker->store, keys_master(broker->keys), &work->slot,
                               &work->report, &work->why);
}

/* The new row takes the old one's place in one transaction: whatever happens, one of them is there whole. */
static void resealed(void *arg)
{
    struct slot_work *work = arg;
    struct admin_call *call = work->call;
    struct db_audit audit = {.kind = "keyslot-reseal", .peer = call->peer,
                             .text = work->prediction ? "to the present and the predicted PCRs" : "to the present PCRs"};

    if (work->err) {
        int err = work->err;
        call->why = work->why;
        slot_work_free(work);
        admin_done(call, err);
        return;
    }
    work->id = work->slot.id;
    if (!work->is_dry_run)
        work->err = db_keyslot_put(call->broker->db, &work->slot, &work->id, &audit, on_slot_put, work);
    if (work->err || work->is_dry_run)
        on_slot_put(work, work->err);
}

static bool copy_prediction(struct slot_work *work, const Vtpm__KeyslotRef *reseal)
{
    work->is_dry_run = reseal->dry_run;
    if (!reseal->prediction[0])
        return true;
    work->prediction = vt_strdup(reseal->prediction);
    return work->prediction != NULL;
}

void admin_keyslot_reseal(struct admin_call *call)
{
    const Vtpm__KeyslotRef *reseal = call->request->keyslot_reseal;
    struct slots *slots = read_slots(call);
    struct db_keyslot *slot;
    struct slot_work *work;

    if (!slots)
        return;
    slot = slot_by_id(call, slots, reseal->id);
    if (slot && !keyslot_is_tpm(slot->kind)) {
        admin_fail(call, VT_ECONFLICT, "a %s slot is bound to no PCRs: there is nothing to reseal", slot->kind);
    } else if (slot) {
        work = slot_work_new(call, slot->kind, &reseal->secret);
        if (work && copy_prediction(work, reseal)) {
            work->slot = *slot;
            start_work(work, work_reseal, resealed);
        } else if (work) {
            slot_work_free(work);
            admin_done(call, VT_ENOMEM);
        }
    }
    vt_free(slots);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs on instances. */
#include "server/core/admin/admin_priv.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/core/manufacture.h"
#include "server/core/profile.h"
#include "server/core/session_priv.h"

/* ---- What the inventory says of one ---- */

struct listing {
    struct admin_call *call;
    Vtpm__Instance **rows;
    size_t count, cap;
    bool more;
};

/* Each row is under 2 KiB: a page fits into FRAME_ADMIN_MAX, and the loop is not held up by the reading. */
#define LIST_MAX 1000u

static const char *state_word(const struct db_instance *row)
{
    switch (row->life) {
    case DB_DISABLED:
        return "disabled";
    case DB_BROKEN:
        return "broken";
    case DB_DELETED:
        return "deleted";
    case DB_LIVE:
        break;
    }
    return row->power;
}

/* One row with the texts it points to. */
struct shown {
    Vtpm__Instance msg;
    struct db_instance row;
    char uuid[VT_UUID_TEXT], ek[65], last_seen[VT_TIME_TEXT], created[VT_TIME_TEXT], updated[VT_TIME_TEXT];
    char state[20], peer[96], turn[8];
};

static void show_live(struct shown *shown, const struct instance *instance)
{
    struct session *session;

    if (!instance)
        return;
    session = instance_session(instance);
    shown->msg.commands += instance_uncounted(instance);
    if (instance_last_seen(instance) > shown->row.last_seen)
        shown->row.last_seen = instance_last_seen(instance);
    shown->msg.connected = session != NULL;
    if (session)
        snprintf(shown->peer, sizeof shown->peer, "%s", session_peer(session));
    shown->msg.engine_pid = (uint32_t)instance_engine_pid(instance);
    snprintf(shown->turn, sizeof shown->turn, "%s", instance_turn(instance));
    shown->msg.held = instance_held(instance);
}

static void fill(struct shown *shown, struct broker *broker, const struct db_instance *row)
{
    Vtpm__Instance *msg = &shown->msg;

    vtpm__instance__init(msg);
    shown->row = *row;
    msg->commands = row->commands;
    show_live(shown, instance_in_memory(broker, &row->uuid));
    vt_uuid_text(shown->uuid, &row->uuid);
    vt_time_text(shown->created, row->created);
    vt_time_text(shown->updated, row->updated);
    if (shown->row.last_seen)
        vt_time_text(shown->last_seen, shown->row.last_seen);
    if (row->has_ek)
        vt_hex(shown->ek, row->ek_sha256, sizeof row->ek_sha256);
    snprintf(shown->state, sizeof shown->state, "%s", state_word(row));
    msg->uuid = shown->uuid;
    msg->name = shown->row.name;
    msg->group = shown->row.group;
    msg->state = shown->state;
    msg->reason = shown->row.reason;
    msg->domain = shown->row.domain;
    msg->last_seen = shown->last_seen;
    msg->state_bytes = row->state_bytes;
    msg->generation = row->generation;
    msg->ek_sha256 = shown->ek;
    msg->created = shown->created;
    msg->updated = shown->updated;
    msg->profile = shown->row.profile;
    msg->peer = shown->peer;
    msg->turn = shown->turn;
}

static int add_row(void *ctx, const struct db_instance *row)
{
    struct listing *listing = ctx;
    struct shown *shown;

    if (listing->count == listing->cap) {
        size_t cap = listing->cap ? listing->cap * 2 : 64;
        Vtpm__Instance **rows = vt_realloc(listing->rows, cap * sizeof(Vtpm__Instance *));
        if (!rows)
            return VT_ENOMEM;
        listing->rows = rows;
        listing->cap = cap;
    }
    shown = VT_NEW(struct shown);
    if (!shown)
        return VT_ENOMEM;
    fill(shown, listing->call->broker, row);
    listing->rows[listing->count++] = &shown->msg;
    return VT_OK;
}

static void end_listing(struct listing *listing, int err)
{
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;

    reply.err = err;
    if (!err) {
        reply.n_instances = listing->count;
        reply.instances = listing->rows;
        reply.more = listing->more;
    }
    if (err)
        vt_fail(&listing->call->why, err, "the store cannot be read: %s", vt_err_text(err));
    admin_reply(listing->call, &reply);
    for (size_t k = 0; k < listing->count; k++)
        vt_free(VT_CONTAINER(listing->rows[k], struct shown, msg));
    vt_free(listing->rows);
}

void admin_list(struct admin_call *call)
{
    const Vtpm__InstanceList *list = call->request->list;
    const unsigned limit = list->limit && list->limit < LIST_MAX ? list->limit : LIST_MAX;
    struct listing listing = {.call = call};
    int err = db_instance_page(call->broker->db, list->after, limit, add_row, &listing);

    listing.more = listing.count == limit;
    end_listing(&listing, err);
}

/*
 * The queue and the profile are in the sealed record: a worker opens it, for those who may look, without taking the
 * instance. One record is quick: it does not wait behind a `check` (admin_work).
 */
struct show_work {
    struct admin_call *call;
    struct db_instance row;
    struct measures measures;
    struct tpm_profile profile;
    bool has_profile;
    int err;                /* of the record */
};

static void work_show(void *arg)
{
    struct show_work *work = arg;
    VT_SECRET_KEY key = {{0}};
    struct record record = {0};

    work->err = instance_read_durable(work->call->broker, &work->row.uuid, &record, &key, NULL);
    if (!work->err) {
        work->err = measures_decode(&work->measures, record.measures.data, record.measures.len);
        work->has_profile = tpm_profile_of(record.permanent.data, record.permanent.len, &work->profile);
    }
    record_free(&record);
}

static Vtpm__Pace *show_pace(Vtpm__Pace *msg, const struct pace *pace)
{
    msg->weight = pace_weight(pace);
    msg->per_second = pace->per_second;
    msg->burst = pace->per_second ? pace_burst(pace) : 0;
    msg->cpu_percent = pace->cpu_percent;
    return msg;
}

static void shown(void *arg)
{
    struct show_work *work = arg;
    struct listing listing = {.call = work->call};
    Vtpm__Limit rows[PROFILE_LIMITS_MAX], *limits[PROFILE_LIMITS_MAX];
    Vtpm__Pace pace = VTPM__PACE__INIT;
    int err = add_row(&listing, &work->row);

    if (!err && !work->err) {
        listing.rows[0]->has_measures = true;
        listing.rows[0]->measurements = (uint32_t)work->measures.count;
        listing.rows[0]->measure_required = work->measures.required;
        listing.rows[0]->host_pcrs = work->measures.host_pcrs;
        listing.rows[0]->pace = show_pace(&pace, &work->measures.pace);
    }
    if (!err && work->has_profile) {
        listing.rows[0]->n_limits = profile_rows(&work->profile, rows, limits);
        listing.rows[0]->limits = limits;
    }
    vt_free(work);
    end_listing(&listing, err);
}

void admin_show(struct admin_call *call)
{
    struct show_work *work;
    struct db_instance row;
    int err = VT_ENOMEM;

    if (admin_find(call, call->request->show->instance, &row))
        return;
    work = VT_NEW(struct show_work);
    if (work) {
        *work = (struct show_work){.call = call, .row = row, .err = VT_ENOMEM};
        err = broker_work(call->broker, work_show, shown, work);
    }
    if (err) {
        vt_free(work);
        admin_done(call, err);
    }
}

/* ---- Create ---- */

static Vtpm__SwtpmFacts *show_facts(Vtpm__SwtpmFacts *msg, const struct tpm_swtpm_facts *facts)
{
    msg->has_ek = facts->has_ek;
    msg->owned = facts->owned;
    msg->disabled = facts->disabled;
    msg->deactivated = facts->deactivated;
    msg->nv_areas = facts->nv_areas;
    msg->nv_bytes = facts->nv_bytes;
    msg->counters = facts->counters;
    msg->owner_keys = facts->owner_keys;
    msg->families = facts->families;
    msg->delegations = facts->delegations;
    return msg;
}

static void on_created(void *arg, int err, const struct manufactured *made, const char *why)
{
    struct admin_call *call = arg;
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    Vtpm__Credential credential = VTPM__CREDENTIAL__INIT;
    Vtpm__Instance instance = VTPM__INSTANCE__INIT;
    Vtpm__Instance *rows[] = {&instance};
    Vtpm__SwtpmFacts facts = VTPM__SWTPM_FACTS__INIT;
    char uuid[VT_UUID_TEXT];
    VT_SECRET_KEY psk;

    if (err) {
        admin_fail(call, err, "%s", why);
        return;
    }
    vt_uuid_text(uuid, &made->uuid);
    psk = made->psk;
    credential.identity = uuid;
    credential.key = (ProtobufCBinaryData){.data = psk.bytes, .len = sizeof psk.bytes};
    instance.uuid = uuid;
    instance.name = call->name;
    reply.credential = &credential;
    reply.instances = rows;
    reply.n_instances = 1;
    if (made->is_moved)
        reply.swtpm = show_facts(&facts, &made->facts);
    admin_reply(call, &reply);
}

static void create_instance(struct admin_call *call, const Vtpm__InstanceCreate *create, const struct manufacture_from *from)
{
    struct manufacture order = {.with_ek = !create->no_ek, .require_measure = create->require_measure,
                                .host_pcrs = (uint16_t)create->host_pcrs, .group = create->group, .peer = call->peer,
                                .from = from};
    int err = admin_host_pcrs_check(call, create->host_pcrs, &call->why);
    struct tpm_profile limits;

    if (err) {
        admin_done(call, err);
        return;
    }
    if (!vt_name_valid(create->name)) {
        admin_fail(call, VT_EUSAGE, "%.80s is no name: 1 to 64 of A-Z a-z 0-9 . _ - and not in the shape of a uuid",
                   create->name);
        return;
    }
    if (*create->group && !vt_name_valid(create->group)) {
        admin_fail(call, VT_EUSAGE, "%.80s is no group: 1 to 64 of A-Z a-z 0-9 . _ -", create->group);
        return;
    }
    if (*create->uuid && !vt_uuid_parse(&order.uuid, create->uuid)) {
        admin_fail(call, VT_EUSAGE, "%.80s is no uuid: it looks like 5b1c2f0e-7c1d-4b8a-9f2e-3d4c5b6a7988", create->uuid);
        return;
    }
    if (profile_of_request(create, &order.profile, &limits, &call->why)) {
        admin_done(call, VT_EUSAGE);
        return;
    }
    order.limits = &limits;
    order.has_uuid = *create->uuid != '\0';
    snprintf(call->name, sizeof call->name, "%s", create->name);
    order.name = call->name;
    manufacture(call->broker, &order, on_created, call);
}

void admin_create(struct admin_call *call)
{
    create_instance(call, call->request->create, NULL);
}

/* The bytes are for the sandbox to judge; what is stored is stored as by `create`, in one transaction, or not at all. */
void admin_import_swtpm(struct admin_call *call)
{
    const Vtpm__SwtpmImport *import = call->request->import_swtpm;
    struct manufacture_from from = {.file = import->file.data, .len = import->file.len};

    if (!import->create || !import->file.len || import->file.len > TPM_SWTPM_FILE_MAX ||
        import->key.len > sizeof from.key.bytes) {
        admin_fail(call, VT_EUSAGE, "this is no state of a TPM 1.2 by swtpm: a file of %zu bytes, a key of %zu",
                   import->file.len, import->key.len);
        return;
    }
    from.key.len = (uint8_t)import->key.len;
    from.key.derived = import->derived;
    if (from.key.len)
        memcpy(from.key.bytes, import->key.data, from.key.len);
    create_instance(call, import->create, &from);
    vt_wipe(&from.key, sizeof from.key);
}

/* ---- Changes of the row ---- */

void admin_rename(struct admin_call *call)
{
    const Vtpm__InstanceRename *rename = call->request->rename;
    struct db_instance row;
    struct db_audit audit;
    char text[160];

    if (admin_find(call, rename->instance, &row))
        return;
    if (!vt_name_valid(rename->name)) {
        admin_fail(call, VT_EUSAGE, "%.80s is no name: 1 to 64 of A-Z a-z 0-9 . _ - and not in the shape of a uuid",
                   rename->name);
        return;
    }
    snprintf(text, sizeof text, "from %s to %s", row.name, rename->name);
    audit = admin_audit(call, "rename", text);
    admin_started(call, db_instance_rename(call->broker->db, &call->uuid, rename->name, &audit, admin_on_db, call));
}

static const struct life_change {
    const char *kind;   /* of the event */
    const char *told;   /* to a live channel; NULL: it goes on */
} life_changes[] = {
    [DB_LIVE] = {"enable", NULL},
    [DB_DISABLED] = {"disable", "the instance was disabled"},
    [DB_DELETED] = {"delete", "the instance was deleted"},
};

/* What happens to the running instance when its row changes. */
static void on_life_written(void *arg, int err)
{
    struct admin_call *call = arg;
    struct instance *instance = instance_in_memory(call->broker, &call->uuid);
    const char *told = life_changes[call->life].told;

    /* An unknown outcome closes too: it may be on disk, and if it is not, the shim attaches again. */
    if ((!err || err == VT_EUNKNOWN) && instance && told)
        instance_evict(instance, VT_EPERM, told);
    if (!err && call->life == DB_DELETED)
        (void)!runtime_file_remove(call->broker->runtime, &call->uuid);
    admin_on_db(call, err);
}

static void change_life(struct admin_call *call, const Vtpm__InstanceRef *ref, enum db_life life)
{
    struct db_instance row;
    struct db_audit audit;

    if (admin_find(call, ref->instance, &row))
        return;
    if (row.life == life) {
        admin_done(call, VT_OK);
        return;
    }
    if (row.life == DB_DISABLED && life == DB_LIVE && row.reason[0]) {
        admin_fail(call, VT_ECONFLICT, "%s was %s: if it was imported there, two would run. Import it back from there; "
                   "only if that can never be: vtpmctl instance take-back %s", row.name, row.reason, row.name);
        return;
    }
    if (row.life == DB_BROKEN && life != DB_DELETED) {
        admin_fail(call, VT_ECONFLICT, "%s is broken (%s): restore a backup, or delete it", row.name, row.reason);
        return;
    }
    call->life = life;
    audit = admin_audit(call, life_changes[life].kind, row.name);
    admin_started(call, db_instance_life(call->broker->db, &call->uuid, life, NULL, &audit, on_life_written, call));
}

void admin_enable(struct admin_call *call)
{
    change_life(call, call->request->enable, DB_LIVE);
}

void admin_disable(struct admin_call *call)
{
    change_life(call, call->request->disable, DB_DISABLED);
}

void admin_delete(struct admin_call *call)
{
    change_life(call, call->request->delete_, DB_DELETED);
}

/* ---- Power ---- */

static void on_powered_off(void *arg, const struct instance_answer *answer)
{
    struct admin_call *call = arg;
    struct instance *instance = instance_in_memory(call->broker, &call->uuid);

    /* The shim attaches again and its PowerOn acts, since the TPM is off now. */
    if (!answer->err && instance && instance_session(instance))
        session_close(instance_session(instance), VT_EAGAIN, "power cycled: attach again");
    if (answer->err)
        admin_fail(call, answer->err, "%s", answer->text);
    else
        admin_done(call, VT_OK);
}

void admin_power_cycle(struct admin_call *call)
{
    const struct instance_job job = {.kind = INSTANCE_POWER_OFF, .done = on_powered_off};

    admin_submit(call, call->request->power_cycle->instance, &job);
}

void admin_suspend(struct admin_call *call)
{
    const struct instance_job job = {.kind = INSTANCE_ARM_RESUME, .act = RESUME_ALLOW};

    admin_submit(call, call->request->suspend->instance, &job);
}

void admin_suspend_cancel(struct admin_call *call)
{
    const struct instance_job job = {.kind = INSTANCE_ARM_RESUME, .act = RESUME_CANCEL};

    admin_submit(call, call->request->suspend_cancel->instance, &job);
}

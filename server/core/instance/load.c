/* SPDX-License-Identifier: Apache-2.0 */
/* Epoch and record from the stores: the read and the opening on a worker, the verdict on the loop. */
#include "server/core/instance/instance_priv.h"

#include "server/base/alloc.h"
#include "server/base/log.h"

/* ---- Epoch ---- */

static void on_acquired(void *arg, int err)
{
    struct instance *i = arg;

    i->step = STEP_IDLE;
    if (err) {
        instance_finish(i, err, err == VT_ENOTFOUND ? "no such instance" : INSTANCE_STORE_SHUT);
        return;
    }
    i->epoch = i->epoch_in;
    i->has_epoch = true;
    instance_advance(i);
}

void instance_acquire(struct instance *i)
{
    int err;

    i->step = STEP_ACQUIRING;
    err = db_acquire(i->broker->db, &i->node.uuid, &i->epoch_in, on_acquired, i);
    if (err)
        instance_finish(i, err, INSTANCE_STORE_SHUT);
}

/* ---- Record ---- */

/* Everything the worker touches is in here; the instance itself waits. */
struct load {
    struct instance *instance;
    struct record record;
    struct vt_key *key; /* of the vault */
    uint64_t durable_seq;
    int err;
    struct vt_why why;
};

int instance_read_durable(struct broker *broker, const struct vt_uuid *uuid, struct record *durable, struct vt_key *key,
                          struct vt_why *why)
{
    struct db_instance row;
    struct db_sealed sealed;
    uint8_t *data = NULL;
    uint64_t seq;
    int err = db_instance_get(broker->db, uuid, &row);

    if (err)
        return vt_fail(why, err, "the store cannot be read: %s", vt_err_text(err));
    err = keys_unwrap_instance(broker->keys, uuid, row.wrapped_key, row.wrapped_key_len, key);
    if (err)
        return vt_fail(why, err, "the instance's key does not open under the master key: %s", vt_err_text(err));
    err = db_record_get(broker->db, uuid, &seq, &sealed, &data);
    if (err)
        return vt_fail(why, err == VT_ENOTFOUND ? VT_EDAMAGED : err, "the record cannot be read: %s", vt_err_text(err));
    err = instance_open_record(broker, uuid, key, SEAL_DURABLE, seq, sealed.data, sealed.len, sealed.tag, durable, why);
    vt_free(data);
    return err;
}

static void drop_all(struct runtime_file *file, const struct runtime_slot *slots, size_t count)
{
    for (size_t k = 0; k < count; k++)
        runtime_drop(file, slots[k].seq);
}

/*
 * The newest slot (*found), if it is of this boot. Slots of another boot are void. A well-formed newest slot that does
 * not open voids the older one too: going back to it would be a step back in time (record.h). A shortage drops nothing.
 */
static int read_slots(struct load *load, struct runtime_file *file, struct record *runtime, bool *found)
{
    struct broker *broker = load->instance->broker;
    struct runtime_slot slots[2];
    size_t count = runtime_read(file, slots);

    for (size_t k = 0; k < count; k++) {
        int err = instance_open_record(broker, &load->instance->node.uuid, load->key, SEAL_RUNTIME, slots[k].seq,
                                       slots[k].data, slots[k].len, slots[k].tag, runtime, NULL);
        if (err == VT_EDAMAGED)
            drop_all(file, slots + k, count - k);
        if (err)
            return err == VT_EDAMAGED ? VT_OK : err;
        *found = memcmp(runtime->boot_id, broker->boot_id, sizeof runtime->boot_id) == 0;
        if (*found)
            return VT_OK;
        record_free(runtime);
        runtime_drop(file, slots[k].seq);
    }
    return VT_OK;
}

/* Only "no file" and "not a runtime file" count as lost; a shortage that passes must not. */
static int read_runtime(struct load *load, struct record *runtime, bool *found)
{
    struct runtime_file *file;
    int err = runtime_file_open(&file, load->instance->broker->runtime, &load->instance->node.uuid, false);

    *found = false;
    if (err == VT_ENOTFOUND || err == VT_EDAMAGED)
        return VT_OK;
    if (err)
        return vt_fail(&load->why, err, "the runtime store cannot be read: %s", vt_err_text(err));
    err = read_slots(load, file, runtime, found);
    runtime_file_close(file);
    return err ? vt_fail(&load->why, err, "the runtime store cannot be read: %s", vt_err_text(err)) : VT_OK;
}

static void work(void *arg)
{
    struct load *load = arg;
    struct record durable = {0}, runtime = {0};
    bool has_runtime;

    load->err = instance_read_durable(load->instance->broker, &load->instance->node.uuid, &durable, load->key,
                                      &load->why);
    if (!load->err)
        load->err = read_runtime(load, &runtime, &has_runtime);
    if (!load->err) {
        load->durable_seq = durable.seq;
        load->err = record_recover(&load->record, &durable, has_runtime ? &runtime : NULL,
                                   load->instance->broker->boot_id, &load->why);
    }
    if (load->err)
        vt_fail(&load->why, load->err, "the record cannot be read: %s", vt_err_text(load->err));
    record_free(&durable);
    record_free(&runtime);
}

static void on_power_written(void *arg, int err)
{
    (void)arg;
    if (err)
        vt_warning("instance: the inventory was not updated: %s", vt_err_text(err));
}

static void tell_lost_power(struct instance *i)
{
    char uuid[VT_UUID_TEXT];
    struct db_audit audit = {.kind = "needs-power-on", .uuid = &i->node.uuid, .peer = "server",
                             .text = "the volatile state was lost while the TPM was on"};

    vt_uuid_text(uuid, &i->node.uuid);
    vt_log_with(VT_LOG_WARNING, VT_FIELDS(VT_TEXT("uuid", uuid)),
                "instance: needs a power on, its PCRs were lost with the runtime store");
    if (db_instance_power(i->broker->db, &i->node.uuid, "needs-power-on", NULL, &audit, on_power_written, NULL))
        on_power_written(NULL, VT_EAGAIN);
}

static void loaded(struct instance *i, struct load *load)
{
    i->record = load->record;
    load->record = (struct record){0};
    vt_vault_give(i->broker->vault, i->key);
    i->key = load->key;
    load->key = NULL;
    i->durable_seq = load->durable_seq;
    i->is_loaded = true;
    i->in_doubt = false;
    if (i->record.power == RECORD_NEEDS_POWER_ON && i->record.seq == i->durable_seq)
        tell_lost_power(i);
    instance_take_pace(i);
    instance_advance(i);
}

static void done(void *arg)
{
    struct load *load = arg;
    struct instance *i = load->instance;
    struct vt_vault *vault = i->broker->vault;

    i->step = STEP_IDLE;
    switch (load->err) {
    case VT_OK:
        loaded(i, load);
        break;
    case VT_EDAMAGED:
    case VT_EBROKEN:
        instance_break(i, load->why.text);
        break;
    default:
        instance_finish(i, load->err, load->why.text);
        break;
    }
    record_free(&load->record);
    vt_vault_give(vault, load->key); /* the instance may be gone */
    vt_free_wiped(load, sizeof *load);
}

void instance_load(struct instance *i)
{
    struct load *load = VT_NEW(struct load);
    int err = load ? vt_vault_take(i->broker->vault, &load->key, NULL) : VT_ENOMEM;

    if (!err) {
        load->instance = i;
        i->step = STEP_LOADING;
        err = loop_work(i->broker->loop, work, done, load);
    }
    if (err) {
        if (load)
            vt_vault_give(i->broker->vault, load->key);
        vt_free(load);
        instance_finish(i, err, NULL);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/xendevices.h"

#include <inttypes.h>
#include <stdio.h>

#include "server/base/alloc.h"
#include "server/base/log.h"

/* More than any course of the table has: a guard, not a limit. */
#define STEPS_MOST 16
/* What a guest can bring about by itself is said so often in a minute. */
#define SAY_MOST 10
#define SAY_MS   60000

struct xendevices {
    const struct xendevices_ops *ops;
    void *ctx;
    struct vt_list list;
};

static void step(struct xendevice *device);

static void close_lane(struct xendevice *device, enum xendevice_end how)
{
    if (device->lane)
        device->all->ops->close_lane(device->all->ctx, device, how);
    device->lane = NULL;
    device->is_orphan = false;
}

static bool may_say(struct xendevice *device)
{
    uint64_t now = device->all->ops->now_ms(device->all->ctx);

    if (now - device->say_since > SAY_MS) {
        device->say_since = now;
        device->said = 0;
    }
    if (device->said == SAY_MOST)
        vt_notice("xen: %smore of this is not logged for a minute", device->label);
    return device->said++ < SAY_MOST;
}

/* ---- Who serves a uuid ---- */

static bool same_instance(const struct xendevice *a, const struct xendevice *b)
{
    return a != b && a->has_uuid && b->has_uuid && vt_uuid_equal(&a->uuid, &b->uuid);
}

static bool serves(const struct xendevice *device)
{
    return device->phase != XENBACK_DETACHED && (device->ring || device->lane || device->has_lost);
}

static struct xendevice *find_rival(const struct xendevice *device)
{
    VT_LIST_EACH(&device->all->list, node) {
        struct xendevice *other = VT_LIST_ENTRY(node, struct xendevice, node);
        if (same_instance(device, other) && serves(other))
            return other;
    }
    return NULL;
}

/* Their domains may live on, but the instance is this device's now: two lanes would take it from each other. */
static void drop_detached(struct xendevice *device)
{
    VT_LIST_EACH(&device->all->list, node) {
        struct xendevice *other = VT_LIST_ENTRY(node, struct xendevice, node);
        if (same_instance(device, other) && other->phase == XENBACK_DETACHED)
            close_lane(other, XENDEVICE_ANSWERED);
    }
}

static void wake_held(struct xendevice *device)
{
    VT_LIST_EACH(&device->all->list, node) {
        struct xendevice *other = VT_LIST_ENTRY(node, struct xendevice, node);
        if (other->is_held && same_instance(device, other)) {
            step(other);
            return;
        }
    }
}

/* True: no ring for this device now. Said once. */
static bool hold(struct xendevice *device)
{
    struct xendevice *rival = device->has_uuid ? find_rival(device) : NULL;
    bool is_held = rival || !device->has_uuid;

    if (is_held && !device->is_held && rival)
        vt_error("xen: %srefused while domain %" PRIu32 " device %" PRIu32 " has the same uuid: one guest at a time uses an "
                 "instance", device->label, rival->told.domid, rival->told.devid);
    if (is_held && !device->is_held && !rival)
        vt_error("xen: %srefused: no uuid: write vtpm=[\"backend=...,uuid=...\"] into the domain's configuration",
                 device->label);
    device->is_held = is_held;
    return is_held || (device->all->ops->must_wait && device->all->ops->must_wait(device->all->ctx, device));
}

/* ---- Actions ---- */

static void unmap(struct xendevice *device)
{
    if (!device->ring)
        return;
    device->is_orphan = device->lane && device->all->ops->lane_is_busy(device->all->ctx, device);
    device->all->ops->unmap(device->all->ctx, device, true);
    device->ring = NULL;
}

static void write_nodes(struct xendevice *device, const struct xenback_step *step)
{
    bool publish = step->actions & XENBACK_PUBLISH;
    int state = step->actions & XENBACK_WRITE ? step->write : 0;

    if (!publish && !state)
        return;
    /* Not now: the state that stands there still brings the same row of the table again. */
    if (!device->all->ops->write(device->all->ctx, device->told.domid, device->told.devid, publish, state))
        return;
    device->writes++;
    if (state)
        device->told.back = state;
}

static int connect_ring(struct xendevice *device, struct vt_why *why)
{
    device->ring_ref = device->told.ring_ref;
    device->event_channel = device->told.event_channel;
    drop_detached(device);
    return device->all->ops->connect(device->all->ctx, device, why);
}

static void map(struct xendevice *device)
{
    struct vt_why why = {{0}};
    int err = connect_ring(device, &why);
    struct xenback_step then = xenback_mapped(err == VT_OK);

    if (err && may_say(device))
        vt_error("xen: %srefused: %s", device->label, why.text);
    else if (!err && may_say(device))
        vt_notice("xen: %sconnected", device->label);
    device->phase = then.next;
    write_nodes(device, &then);
    /* Its first command may be there already. */
    if (!err)
        device->all->ops->look(device->all->ctx, device);
}

static void release(struct xendevice *device, bool off)
{
    struct xendevices *all = device->all;
    struct xendevice gone = *device;

    unmap(device);
    close_lane(device, off ? XENDEVICE_OFF : XENDEVICE_ANSWERED);
    all->ops->forget(all->ctx, device->told.domid, device->told.devid);
    vt_list_remove(&device->node);
    vt_free(device);
    wake_held(&gone);
}

/* False: the device is gone. */
static bool act(struct xendevice *device, const struct xenback_step *todo)
{
    enum xenback_phase before = device->phase;

    device->phase = todo->next;
    if (todo->actions & XENBACK_UNMAP)
        unmap(device);
    /* Made anew by the toolstack, which is how an instance is taken back. */
    if ((todo->actions & XENBACK_PUBLISH) && (todo->actions & XENBACK_WRITE))
        device->has_lost = false;
    write_nodes(device, todo);
    if (before != device->phase && device->phase != XENBACK_MAPPING && may_say(device))
        vt_info("xen: %s%s", device->label, xenback_phase_name(device->phase));
    if (todo->actions & XENBACK_MAP)
        map(device);
    if (todo->actions & XENBACK_RELEASE) {
        release(device, todo->actions & XENBACK_POWER_OFF);
        return false;
    }
    if (before != device->phase && device->phase == XENBACK_DETACHED)
        wake_held(device);
    return true;
}

/* Than the one that is mapped, or was refused. */
static bool is_other_ring(const struct xendevice *device)
{
    return device->told.ring_ref != device->ring_ref || device->told.event_channel != device->event_channel;
}

static struct xenback_view view_of(struct xendevice *device)
{
    const struct xenstore_device *told = &device->told;

    /* Between two looks of ours it has begun anew. */
    if (device->phase == XENBACK_REFUSED && is_other_ring(device))
        device->phase = XENBACK_CLOSED;
    return (struct xenback_view){
        .back = told->back,
        .online = told->online,
        .front = told->front,
        .has_ring = told->has_ring,
        .ring_changed = is_other_ring(device),
        .domain_gone = told->domain_gone,
        .hold = hold(device),
    };
}

static void step(struct xendevice *device)
{
    for (unsigned i = 0; i < STEPS_MOST; i++) {
        struct xenback_view view = view_of(device);
        struct xenback_step todo = xenback_step(device->phase, &view);

        if (!todo.actions && todo.next == device->phase)
            return;
        if (!act(device, &todo))
            return;
    }
    vt_error("xen: %sits states do not come to rest", device->label);
}

/* ---- Devices ---- */

static struct xendevice *find(const struct xendevices *devices, uint32_t domid, uint32_t devid)
{
    VT_LIST_EACH(&devices->list, node) {
        struct xendevice *device = VT_LIST_ENTRY(node, struct xendevice, node);
        if (device->told.domid == domid && device->told.devid == devid)
            return device;
    }
    return NULL;
}

/* The toolstack's word, and fixed while a guest is connected. */
static void set_uuid(struct xendevice *device, const struct xenstore_device *told)
{
    char uuid[VT_UUID_TEXT] = "no uuid";

    if (device->ring || (device->has_uuid == told->has_uuid && vt_uuid_equal(&device->uuid, &told->uuid) && device->label[0]))
        return;
    /* A node that is gone names none: the device keeps what it had. */
    if (!told->has_uuid && device->has_uuid)
        return;
    close_lane(device, XENDEVICE_ANSWERED);
    device->has_uuid = told->has_uuid;
    device->uuid = told->uuid;
    device->has_lost = false;
    if (told->has_uuid)
        vt_uuid_text(uuid, &told->uuid);
    snprintf(device->label, sizeof device->label, "domain %" PRIu32 " device %" PRIu32 " (%s): ", told->domid, told->devid,
             uuid);
}

static struct xendevice *add(struct xendevices *devices, const struct xenstore_device *told)
{
    struct xendevice *device;

    /* An echo of a device that was released, or one that is gone before it was known. */
    if (told->writes || told->back == XENBUS_NONE) {
        if (told->back == XENBUS_NONE)
            devices->ops->forget(devices->ctx, told->domid, told->devid);
        return NULL;
    }
    device = VT_NEW(struct xendevice);
    if (!device) {
        vt_error("xen: domain %" PRIu32 " device %" PRIu32 ": out of memory", told->domid, told->devid);
        return NULL;
    }
    device->all = devices;
    device->phase = XENBACK_NEW;
    vt_list_add(&devices->list, &device->node);
    return device;
}

void xendevices_told(struct xendevices *devices, const struct xenstore_device *told)
{
    struct xendevice *device = find(devices, told->domid, told->devid);

    if (!device)
        device = add(devices, told);
    /* It was read before our last word was written: another telling follows. */
    if (!device || told->writes != device->writes)
        return;
    device->told = *told;
    set_uuid(device, told);
    step(device);
}

bool xendevices_has(const struct xendevices *devices, uint32_t domid, uint32_t devid)
{
    return find(devices, domid, devid);
}

void xendevices_again(struct xendevices *devices)
{
    VT_LIST_EACH(&devices->list, node) {
        struct xendevice *device = VT_LIST_ENTRY(node, struct xendevice, node);
        if (device->phase == XENBACK_NEW || device->phase == XENBACK_WAIT || device->phase == XENBACK_CLOSING ||
            device->phase == XENBACK_CLOSED)
            step(device);
    }
}

struct xendevice *xendevices_find(const struct xendevices *devices, bool (*is_it)(const struct xendevice *device, void *arg),
                                  void *arg)
{
    VT_LIST_EACH(&devices->list, node) {
        struct xendevice *device = VT_LIST_ENTRY(node, struct xendevice, node);
        if (is_it(device, arg))
            return device;
    }
    return NULL;
}

void xendevice_lost(struct xendevice *device, int err)
{
    vt_error("xen: %s%s: another shim has the instance, this guest gets TPM_FAIL; detach and attach the device, or start "
             "this shim again, to take it back", device->label, vt_err_text(err));
    close_lane(device, XENDEVICE_NOW);
    device->has_lost = true;
}

bool xendevice_is_orphan(struct xendevice *device)
{
    bool is_orphan = device->is_orphan;

    device->is_orphan = false;
    return is_orphan || !device->ring;
}

/* ---- Life ---- */

int xendevices_new(struct xendevices **devices_out, const struct xendevices_ops *ops, void *ctx)
{
    struct xendevices *devices = VT_NEW(struct xendevices);

    if (!devices)
        return VT_ENOMEM;
    devices->ops = ops;
    devices->ctx = ctx;
    vt_list_init(&devices->list);
    *devices_out = devices;
    return VT_OK;
}

void xendevices_close(struct xendevices *devices)
{
    VT_LIST_EACH(&devices->list, node) {
        struct xendevice *device = VT_LIST_ENTRY(node, struct xendevice, node);
        if (device->ring)
            devices->ops->unmap(devices->ctx, device, false);
        device->ring = NULL;
        close_lane(device, XENDEVICE_NOW);
    }
}

void xendevices_free(struct xendevices *devices)
{
    if (!devices)
        return;
    VT_LIST_EACH(&devices->list, node)
        vt_free(VT_LIST_ENTRY(node, struct xendevice, node));
    vt_free(devices);
}

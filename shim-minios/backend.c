/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-minios/backend.h"

#include <stdio.h>

#include "server/base/log.h"
#include "shim-minios/guest_ring.h"
#include "shim-minios/platform.h"

#define SETTINGS_MS 2000
#define ENDS_MS     5000
#define AGAIN_MS    1000
/* Events of xenstore taken before the ring is looked at. */
#define EVENTS_MOST 16

/* ---- What the records ask of us ---- */

/* The ring to xenstore is Mini-OS' own; it does not break off. */
static bool is_lost(void *ctx VT_UNUSED)
{
    return false;
}

static bool read_node(void *ctx VT_UNUSED, const char *path, char *text, size_t size)
{
    return platform_read(path, text, size) == VT_OK;
}

static size_t list(void *ctx VT_UNUSED, const char *path, uint32_t *numbers, size_t most)
{
    return platform_list(path, numbers, most);
}

static void watch(void *ctx VT_UNUSED, const char *path, const char *token)
{
    if (platform_watch(path, token))
        vt_error("xen: %s cannot be watched: this guest's front end goes unseen", path);
}

static void unwatch(void *ctx VT_UNUSED, const char *path, const char *token)
{
    platform_unwatch(path, token);
}

static bool domain_gone(void *ctx VT_UNUSED, uint32_t domid)
{
    return platform_domain_gone(domid);
}

/*
 * A device that the toolstack took away and that has come to its end: libxl waits until the back end's domain, if that is not
 * its own, has removed the node (what `xl devd` does in a driver domain).
 */
static void remove_if_left(const struct backend *backend, uint32_t domid, uint32_t devid)
{
    char back[XENPATHS_MAX], path[XENPATHS_NODE_MAX], text[8];

    xenpaths_back(back, backend->base, domid, devid);
    snprintf(path, sizeof path, "%s/online", back);
    if (platform_read(path, text, sizeof text) || strcmp(text, "0") != 0)
        return;
    snprintf(path, sizeof path, "%s/state", back);
    if (platform_read(path, text, sizeof text) == VT_OK && xenback_state(text) == XENBUS_CLOSED)
        platform_remove(back);
}

static void tell(void *ctx, const struct xenstore_device *device)
{
    struct backend *backend = ctx;

    xendevices_told(backend->devices, device);
    if (!device->online && device->back == XENBUS_CLOSED)
        remove_if_left(backend, device->domid, device->devid);
}

static const struct xenrecords_ops records_ops = {
    .is_lost = is_lost,
    .read = read_node,
    .list = list,
    .watch = watch,
    .unwatch = unwatch,
    .domain_gone = domain_gone,
    .tell = tell,
};

/* ---- What a device asks of us ---- */

static uint64_t now_ms(void *ctx VT_UNUSED)
{
    return platform_now_ms();
}

static bool write_nodes(void *ctx, uint32_t domid, uint32_t devid, bool publish, int state)
{
    struct backend *backend = ctx;
    char back[XENPATHS_MAX], state_path[XENPATHS_NODE_MAX], feature_path[XENPATHS_NODE_MAX], text[12];
    struct platform_node nodes[2];
    size_t count = 0;
    int err;

    xenpaths_back(back, backend->base, domid, devid);
    snprintf(state_path, sizeof state_path, "%s/state", back);
    snprintf(feature_path, sizeof feature_path, "%s/feature-protocol-v2", back);
    snprintf(text, sizeof text, "%d", state);
    if (publish)
        nodes[count++] = (struct platform_node){feature_path, "1"};
    if (state)
        nodes[count++] = (struct platform_node){state_path, text};
    err = platform_write(state_path, nodes, count);
    if (err && err != VT_ENOTFOUND) {
        vt_error("xen: %s: state %d cannot be written: %s", back, state, vt_err_text(err));
        backend->again_at_ms = platform_now_ms() + AGAIN_MS;
        return false;
    }
    records_wrote(&backend->records, domid, devid);
    return true;
}

static void forget(void *ctx, uint32_t domid, uint32_t devid)
{
    struct backend *backend = ctx;

    if (backend->forgotten_count < BACKEND_DEVICES)
        backend->forgotten[backend->forgotten_count++] = (struct forgotten){domid, devid};
}

/*
 * Until the credential is there, and while the lane still serves another device: that one's domain has ended and its TPM is
 * just being powered off, or it was detached here and attached there.
 */
static bool must_wait(void *ctx, const struct xendevice *device)
{
    struct backend *backend = ctx;
    struct xendevice *other = backend->lane.device;

    if (other && other != device && other->phase == XENBACK_DETACHED) {
        other->lane = NULL;
        other->is_orphan = false;
        lane_leave(&backend->lane, XENDEVICE_ANSWERED);
    }
    return !backend->settings->is_complete || (lane_is_open(&backend->lane) && backend->lane.device != device);
}

static int check_uuid(const struct backend *backend, const struct xendevice *device, struct vt_why *why)
{
    const struct credential *credential = &backend->settings->credential;

    if (!credential->has_uuid || vt_uuid_equal(&credential->uuid, &device->uuid))
        return VT_OK;
    return vt_fail(why, VT_EUSAGE, "this stub domain has the credential of %s alone", credential->identity);
}

static int connect_ring(void *ctx, struct xendevice *device, struct vt_why *why)
{
    struct backend *backend = ctx;
    struct guest_ring *ring = NULL;
    int err = check_uuid(backend, device, why);

    if (!err)
        err = guest_ring_open(&ring, device->told.domid, device->ring_ref, device->event_channel, device->label, why);
    if (err)
        return err;
    if (!device->lane && !device->has_lost) {
        err = lane_open(&backend->lane, device, why);
        if (err) {
            guest_ring_close(ring);
            return err;
        }
        device->lane = &backend->lane;
    }
    device->ring = ring;
    if (device->has_lost)
        guest_ring_fail(ring);
    return VT_OK;
}

/* A ring that was just opened looks at its page by itself. */
static void look(void *ctx VT_UNUSED, struct xendevice *device VT_UNUSED)
{
}

static void unmap(void *ctx VT_UNUSED, struct xendevice *device, bool for_good VT_UNUSED)
{
    guest_ring_close(device->ring);
}

static bool lane_busy(void *ctx, const struct xendevice *device VT_UNUSED)
{
    return lane_is_busy(&((struct backend *)ctx)->lane);
}

static void close_lane(void *ctx, struct xendevice *device VT_UNUSED, enum xendevice_end how)
{
    lane_leave(&((struct backend *)ctx)->lane, how);
}

static const struct xendevices_ops devices_ops = {
    .now_ms = now_ms,
    .write = write_nodes,
    .forget = forget,
    .must_wait = must_wait,
    .connect = connect_ring,
    .look = look,
    .unmap = unmap,
    .lane_is_busy = lane_busy,
    .close_lane = close_lane,
};

/* ---- Turns ---- */

static bool take_events(struct backend *backend)
{
    char path[XENPATHS_NODE_MAX], token[XENPATHS_TOKEN];
    unsigned count = 0;

    for (; count < EVENTS_MOST && platform_event(path, sizeof path, token, sizeof token); count++) {
        if (strcmp(token, SETTINGS_TOKEN) == 0)
            backend->settings_at_ms = 0;
        else
            backend->has_events |= records_event(&backend->records, path, token);
    }
    return count;
}

static void look_for_settings(struct backend *backend, uint64_t now, uint64_t *wake_ms)
{
    if (backend->settings->is_complete)
        return;
    if (now >= backend->settings_at_ms) {
        backend->settings_at_ms = now + SETTINGS_MS;
        if (settings_look(backend->settings))
            xendevices_again(backend->devices);
    }
    *wake_ms = VT_MIN(*wake_ms, backend->settings_at_ms);
}

/* Domain 0 is told; another domain may have to ask. */
static void look_for_ends(struct backend *backend, uint64_t now, uint64_t *wake_ms)
{
    bool is_due = !backend->is_told_of_ends && backend->records.count && now >= backend->ends_at_ms;

    if (backend->has_events || is_due) {
        records_check_domains(&backend->records);
        backend->ends_at_ms = now + ENDS_MS;
    }
    backend->has_events = false;
    if (!backend->is_told_of_ends && backend->records.count)
        *wake_ms = VT_MIN(*wake_ms, backend->ends_at_ms);
}

static void look_again(struct backend *backend, uint64_t now, uint64_t *wake_ms)
{
    if (now >= backend->again_at_ms) {
        backend->again_at_ms = UINT64_MAX;
        records_look_at_all(&backend->records);
    }
    *wake_ms = VT_MIN(*wake_ms, backend->again_at_ms);
}

static void drop_forgotten(struct backend *backend)
{
    for (unsigned i = 0; i < backend->forgotten_count; i++) {
        remove_if_left(backend, backend->forgotten[i].domid, backend->forgotten[i].devid);
        records_forget(&backend->records, backend->forgotten[i].domid, backend->forgotten[i].devid);
    }
    backend->forgotten_count = 0;
}

/* For xendevices_find, which goes through all of them: it finds none. */
static bool turn_ring(const struct xendevice *device, void *wake_ms)
{
    if (device->ring)
        guest_ring_turn(device->ring, wake_ms);
    return false;
}

bool backend_turn(struct backend *backend, uint64_t *wake_ms)
{
    uint64_t now = platform_now_ms();
    bool had_lane = lane_is_open(&backend->lane);
    bool has_moved = take_events(backend);

    look_for_settings(backend, now, wake_ms);
    look_for_ends(backend, now, wake_ms);
    look_again(backend, now, wake_ms);
    has_moved |= records_read(&backend->records);
    drop_forgotten(backend);
    (void)xendevices_find(backend->devices, turn_ring, wake_ms);
    has_moved |= lane_turn(&backend->lane, wake_ms);
    if (had_lane && !lane_is_open(&backend->lane))
        xendevices_again(backend->devices);
    return has_moved;
}

/* ---- Life ---- */

int backend_start(struct backend *backend, struct settings *settings, struct vt_why *why)
{
    *backend = (struct backend){.settings = settings, .again_at_ms = UINT64_MAX};
    lane_init(&backend->lane, settings);
    xenpaths_base(backend->base, settings->self);
    records_init(&backend->records, &records_ops, backend, backend->base, BACKEND_DEVICES);
    if (xendevices_new(&backend->devices, &devices_ops, backend))
        return vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    if (platform_watch(backend->base, XENPATHS_TOKEN_BACK))
        return vt_fail(why, VT_EUNREACHED, "xenstore: %s cannot be watched", backend->base);
    backend->is_told_of_ends = platform_watch("@releaseDomain", XENPATHS_TOKEN_RELEASE) == VT_OK;
    records_reached(&backend->records);
    return VT_OK;
}

void backend_stop(struct backend *backend)
{
    uint64_t wake_ms = UINT64_MAX;

    if (backend->devices)
        xendevices_close(backend->devices);
    /* One turn more: it says goodbye. */
    (void)lane_turn(&backend->lane, &wake_ms);
    lane_drop(&backend->lane);
    xendevices_free(backend->devices);
    records_free(&backend->records);
}

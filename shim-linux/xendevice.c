/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/xendevice.h"

#include <stdio.h>

#include "server/base/log.h"
#include "shim-linux/host.h"

/* ---- What the lane asks of a device ---- */

static bool take(void *ctx, struct courier_request *request)
{
    struct xendevice *device = ctx;

    return device->ring && xenring_take(device->ring, request);
}

static bool respond(void *ctx, const struct courier_response *response)
{
    struct xendevice *device = ctx;

    return xendevice_is_orphan(device) || xenring_respond(device->ring, response);
}

/* Of a command that nobody waits for nothing has to be known after our death. */
static int note(void *ctx, const struct relay_mark *mark)
{
    struct xendevice *device = ctx;

    return device->is_orphan || !device->ring ? VT_OK : xenring_note(device->ring, mark);
}

static void on_ended(void *ctx, int err)
{
    struct xendevice *device = ctx;

    /* The shim is told to stop. */
    if (!err)
        return;
    xendevice_lost(device, err);
    if (device->ring)
        xenring_fail(device->ring);
}

static const struct lane_source source = {.take = take, .respond = respond, .note = note, .ended = on_ended};

static void on_ready(void *ctx)
{
    struct xendevice *device = ctx;

    if (device->lane)
        lane_ready(device->lane);
}

/* ---- What a device asks of us ---- */

static int open_lane(const struct xendevice_host *host, struct xendevice *device, const struct xenring_start *start,
                     struct vt_why *why)
{
    const struct options *options = host->host->options;
    char path[512], uuid[VT_UUID_TEXT];
    struct lane *lane = NULL;
    struct lane_config config = {
        .credential = options->credential,
        .wait_for_credential = true,
        .label = device->label,
        .uuid = device->uuid,
        .has_uuid = true,
        .domid = device->told.domid,
        .has_domid = true,
        .from = start->has_from ? &start->from : NULL,
        .under_way = start->under_way,
    };
    int err;

    snprintf(config.domain, sizeof config.domain, "%s", device->told.name);
    if (options->credential_dir) {
        vt_uuid_text(uuid, &device->uuid);
        if (snprintf(path, sizeof path, "%s/%s.cred", options->credential_dir, uuid) >= (int)sizeof path)
            return vt_fail(why, VT_EUSAGE, "--credential-dir: the name is too long");
        config.credential = path;
    }
    err = lane_open(&lane, host->host->lanes, &config, &source, device, why);
    device->lane = lane;
    return err;
}

static int connect_ring(void *ctx, struct xendevice *device, struct vt_why *why)
{
    const struct xendevice_host *host = ctx;
    struct journal_ring names = {
        .domid = device->told.domid,
        .devid = device->told.devid,
        .ring_ref = device->ring_ref,
        .event_channel = device->event_channel,
    };
    struct xenring_start start;
    struct xenring *ring = NULL;
    int err;

    memcpy(names.boot_id, host->boot_id, sizeof names.boot_id);
    memcpy(names.uuid, device->uuid.bytes, sizeof names.uuid);
    err = xenring_open(&ring, host->rings, &names, device->label, on_ready, device, &start, why);
    if (err)
        return err;
    if (!device->lane && !device->has_lost)
        err = open_lane(host, device, &start, why);
    if (err) {
        xenring_close(ring, false);
        return err;
    }
    device->ring = ring;
    if (device->has_lost)
        xenring_fail(ring);
    return VT_OK;
}

static void look(void *ctx VT_UNUSED, struct xendevice *device)
{
    xenring_event(device->ring);
}

static void unmap(void *ctx VT_UNUSED, struct xendevice *device, bool for_good)
{
    xenring_close(device->ring, for_good);
}

static bool lane_busy(void *ctx VT_UNUSED, const struct xendevice *device)
{
    return lane_is_busy(device->lane);
}

static void close_lane(void *ctx VT_UNUSED, struct xendevice *device, enum xendevice_end how)
{
    static const enum lane_end ends[] = {
        [XENDEVICE_NOW] = LANE_NOW, [XENDEVICE_ANSWERED] = LANE_ANSWERED, [XENDEVICE_OFF] = LANE_OFF};

    lane_close(device->lane, ends[how]);
}

static bool write_nodes(void *ctx, uint32_t domid, uint32_t devid, bool publish, int state)
{
    const struct xendevice_host *host = ctx;

    return xenstore_write(*host->store, domid, devid, publish, state);
}

static void forget(void *ctx, uint32_t domid, uint32_t devid)
{
    const struct xendevice_host *host = ctx;

    xenstore_forget(*host->store, domid, devid);
}

static uint64_t now_ms(void *ctx VT_UNUSED)
{
    return host_now_ms();
}

const struct xendevices_ops xendevice_ops = {
    .now_ms = now_ms,
    .write = write_nodes,
    .forget = forget,
    .connect = connect_ring,
    .look = look,
    .unmap = unmap,
    .lane_is_busy = lane_busy,
    .close_lane = close_lane,
};

/* ---- Events ---- */

static bool has_port(const struct xendevice *device, void *port)
{
    return device->ring && xenring_port(device->ring) == *(evtchn_port_t *)port;
}

void xendevice_event(struct xendevices *devices, evtchn_port_t port)
{
    struct xendevice *device = xendevices_find(devices, has_port, &port);

    if (device)
        xenring_event(device->ring);
}

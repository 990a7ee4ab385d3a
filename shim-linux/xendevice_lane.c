/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "server/base/log.h"
#include "shim-linux/xendevice_state.h"

static bool take(void *ctx, struct lane_request *request)
{
    struct device *device = ctx;

    return device->ring && xenring_take(device->ring, request);
}

static bool respond(void *ctx, const struct lane_response *response)
{
    struct device *device = ctx;
    bool is_orphan = device->is_orphan;

    device->is_orphan = false;
    return is_orphan || !device->ring || xenring_respond(device->ring, response);
}

/* Of a command that nobody waits for nothing has to be known after our death. */
static int note(void *ctx, const struct relay_mark *mark)
{
    struct device *device = ctx;

    return device->is_orphan || !device->ring ? VT_OK : xenring_note(device->ring, mark);
}

static void on_ended(void *ctx, int err)
{
    struct device *device = ctx;

    /* The shim is told to stop. */
    if (!err)
        return;
    vt_error("xen: %s%s: another shim has the instance, this guest gets TPM_FAIL; detach and attach the device, or start "
             "this shim again, to take it back", device->label, vt_err_text(err));
    lane_close(device->lane, LANE_NOW);
    device->lane = NULL;
    device->has_lost = true;
    if (device->ring)
        xenring_fail(device->ring);
}

static const struct lane_source source = {.take = take, .respond = respond, .note = note, .ended = on_ended};

void device_on_ready(void *ctx)
{
    struct device *device = ctx;

    if (device->lane)
        lane_ready(device->lane);
}

int device_open_lane(struct device *device, const struct xenring_start *start, struct vt_why *why)
{
    const struct options *options = device->all->host->options;
    char path[512], uuid[VT_UUID_TEXT];
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

    if (options->credential_dir) {
        vt_uuid_text(uuid, &device->uuid);
        if (snprintf(path, sizeof path, "%s/%s.cred", options->credential_dir, uuid) >= (int)sizeof path)
            return vt_fail(why, VT_EUSAGE, "--credential-dir: the name is too long");
        config.credential = path;
    }
    return lane_open(&device->lane, device->all->host->lanes, &config, &source, device, why);
}

void device_close_lane(struct device *device, enum lane_end how)
{
    if (device->lane)
        lane_close(device->lane, how);
    device->lane = NULL;
    device->is_orphan = false;
}

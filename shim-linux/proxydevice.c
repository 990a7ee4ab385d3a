/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/proxydevice.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "shim-linux/proxychannel.h"
#include "shim-linux/proxynames.h"
#include "shim-linux/vtpmx.h"

/* How soon the TPM is asked again, and a device made again. */
#define AGAIN_MS 2000
/* How often it is looked whether the kernel shows the device: it does not say. */
#define LOOK_MS  50
/* Part 2, 16: not started, which the kernel does itself. */
#define INVALID_POSTINIT 0x26

/* What the lane has of ours. */
enum asked {
    ASKED_NOTHING,
    ASKED_FIRST,    /* our own question */
    ASKED_COMMAND,
    ASKED_FOR_NONE  /* a command whose device has gone */
};

struct proxydevice {
    struct proxydevice_config config;
    char label[VT_UUID_TEXT + 4];
    uv_timer_t timer;
    struct lane *lane;
    struct proxynames names;
    enum asked asked;
    bool asks;                      /* our question is to be taken */
    uint32_t said;                  /* the answer to it that was logged last */
    struct proxychannel *channel;   /* NULL: the kernel has no device */
    struct vtpmx_device made;
    bool is_shown;
};

static void on_timer(uv_timer_t *timer);

static void wait_for(struct proxydevice *device, uint64_t ms)
{
    uv_timer_start(&device->timer, on_timer, ms, 0);
}

/* ---- The device in the kernel ---- */

static void drop(struct proxydevice *device)
{
    if (!device->channel)
        return;
    proxychannel_close(device->channel);
    device->channel = NULL;
    device->is_shown = false;
    if (device->asked == ASKED_COMMAND)
        device->asked = ASKED_FOR_NONE;
    proxynames_remove(&device->names, device->made.number);
}

static void on_gone(void *ctx, const char *reason)
{
    struct proxydevice *device = ctx;

    vt_warning("proxy: %s/dev/tpm%u has gone: %s; it is made again", device->label, device->made.number, reason);
    drop(device);
    wait_for(device, AGAIN_MS);
}

static void on_command(void *ctx)
{
    struct proxydevice *device = ctx;

    lane_ready(device->lane);
}

static const struct proxychannel_events channel_events = {.command = on_command, .gone = on_gone};

static void fail(struct proxydevice *device, int err, const char *why)
{
    const struct proxydevice_config *config = &device->config;

    drop(device);
    uv_timer_stop(&device->timer);
    config->events->failed(config->ctx, device, err, why);
}

/* Its name is told before the kernel's own first commands get their answers, and so before the device shows. */
static int make(struct proxydevice *device, struct vt_why *why)
{
    const struct proxydevice_config *config = &device->config;
    int err = vtpmx_new(&device->made, config->vtpmx, why);

    if (err)
        return err;
    proxynames_tell_udev(&device->names, device->made.number, &config->uuid);
    err = proxychannel_new(&device->channel, config->host->loop, device->made.fd, &channel_events, device, why);
    if (err)
        proxynames_remove(&device->names, device->made.number);
    return err;
}

static void begin(struct proxydevice *device)
{
    struct vt_why why = {{0}};
    int err = make(device, &why);

    if (err == VT_EPERM) {
        fail(device, err, why.text);
        return;
    }
    if (err)
        vt_warning("proxy: %s%s; it is tried again", device->label, why.text);
    wait_for(device, err ? AGAIN_MS : LOOK_MS);
}

static void look(struct proxydevice *device)
{
    const struct proxydevice_config *config = &device->config;

    if (!vtpmx_is_shown(&device->made)) {
        wait_for(device, LOOK_MS);
        return;
    }
    device->is_shown = true;
    proxynames_link(&device->names, device->made.number);
    config->events->shown(config->ctx, device);
}

static void on_timer(uv_timer_t *timer)
{
    struct proxydevice *device = timer->data;

    if (device->channel) {
        look(device);
        return;
    }
    device->asks = true;
    lane_ready(device->lane);
}

/* ---- The lane ---- */

/* TPM_GetCapability of the time limits: what the kernel itself asks first. */
static const uint8_t first_question[] = {
    0x00, 0xc1, 0, 0, 0, 22, 0, 0, 0, 0x65, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 0x01, 0x15};

static bool take(void *ctx, struct courier_request *request)
{
    struct proxydevice *device = ctx;

    if (device->channel) {
        if (!proxychannel_take(device->channel, request))
            return false;
        device->asked = ASKED_COMMAND;
        return true;
    }
    if (!device->asks)
        return false;
    device->asks = false;
    device->asked = ASKED_FIRST;
    *request = (struct courier_request){.bytes = first_question, .len = sizeof first_question};
    return true;
}

static void on_first_answer(struct proxydevice *device, const struct courier_response *response)
{
    const uint8_t *at = response->bytes + 6;
    uint32_t code = UINT32_MAX;

    if (response->len >= 10)
        code = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    if (!code || code == INVALID_POSTINIT) {
        device->said = 0;
        begin(device);
        return;
    }
    if (code != device->said)
        vt_warning("proxy: %sthe TPM answers 0x%x: no device is made until it answers", device->label, code);
    device->said = code;
    wait_for(device, AGAIN_MS);
}

static bool respond(void *ctx, const struct courier_response *response)
{
    struct proxydevice *device = ctx;
    enum asked asked = device->asked;

    device->asked = ASKED_NOTHING;
    if (asked == ASKED_FIRST)
        on_first_answer(device, response);
    else if (asked == ASKED_COMMAND)
        proxychannel_respond(device->channel, response->bytes, response->len);
    return true;
}

static void on_ended(void *ctx, int err)
{
    /* VT_OK: the shim is told to stop. */
    if (err)
        fail(ctx, err, "another shim has the instance; start this one again to take it back");
}

static const struct lane_source source = {.take = take, .respond = respond, .ended = on_ended};

/* ---- Interface ---- */

static void on_closed(uv_handle_t *handle)
{
    vt_free(handle->data);
}

void proxydevice_close(struct proxydevice *device)
{
    drop(device);
    if (device->lane)
        lane_close(device->lane, LANE_NOW);
    uv_close((uv_handle_t *)&device->timer, on_closed);
}

static int start(struct proxydevice *device, struct vt_why *why)
{
    const struct proxydevice_config *config = &device->config;
    const struct options *options = config->host->options;
    const struct lane_config lane = {
        .credential = config->credential,
        .wait_for_credential = config->is_one_of_many,
        .label = device->label,
        .uuid = config->uuid,
        .has_uuid = true,
    };
    int err = proxynames_init(&device->names, config->dir, options->device_link, config->is_one_of_many, &config->uuid,
                              why);

    return err ? err : lane_open(&device->lane, config->host->lanes, &lane, &source, device, why);
}

int proxydevice_new(struct proxydevice **device_out, const struct proxydevice_config *config, struct vt_why *why)
{
    struct proxydevice *device = VT_NEW(struct proxydevice);
    char uuid[VT_UUID_TEXT];
    int err;

    if (!device)
        return vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    device->config = *config;
    device->asks = true;
    uv_timer_init(config->host->loop, &device->timer);
    device->timer.data = device;
    vt_uuid_text(uuid, &config->uuid);
    if (config->is_one_of_many)
        snprintf(device->label, sizeof device->label, "%s: ", uuid);
    err = start(device, why);
    if (err)
        proxydevice_close(device);
    else
        *device_out = device;
    return err;
}

const struct vt_uuid *proxydevice_uuid(const struct proxydevice *device)
{
    return &device->config.uuid;
}

uint32_t proxydevice_number(const struct proxydevice *device)
{
    return device->made.number;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-minios/channel_lane.h"

#include "server/base/log.h"
#include "shim-minios/entropy.h"
#include "shim-minios/guest_ring.h"
#include "shim-minios/platform.h"

/* A lane whose device is gone waits so long for the answer to what is under way. */
#define LINGER_MS 5000
/* How often xenstore is asked whether the server still offers the channel: a dead domain's ring does not say. */
#define LOOK_MS 2000
/* Last words that the ring has no room for yet: so many times so long. */
#define FLUSH_TRIES 50
#define FLUSH_MS    4
/* Bytes taken in one turn: after that the guest's side is looked at. */
#define RECEIVE_MOST (64u * 1024)
#define CHUNK        2048

static bool is_leaving(const struct channel_lane *lane)
{
    return !lane->device;
}

/* ---- What the courier asks ---- */

static bool on_take(void *ctx, struct courier_request *request)
{
    const struct channel_lane *lane = ctx;

    return lane->device && lane->device->ring && guest_ring_take(lane->device->ring, request);
}

static bool on_respond(void *ctx, const struct courier_response *response)
{
    const struct channel_lane *lane = ctx;

    if (lane->device && !xendevice_is_orphan(lane->device))
        guest_ring_respond(lane->device->ring, response->bytes, response->len);
    return true;
}

static int on_connect(void *ctx, struct vt_why *why)
{
    struct channel_lane *lane = ctx;
    int err;

    if (relay_key_refused(lane->relay) && settings_look_for_key(lane->settings) &&
        relay_set_key(lane->relay, &lane->settings->credential.key))
        vt_notice("stubdom: the credential has a new key");
    err = vchan_open(&lane->vchan, lane->settings->server, lane->settings->self, why);
    lane->is_new = !err;
    lane->is_broken = false;
    lane->look_at_ms = platform_now_ms() + LOOK_MS;
    return err;
}

/* Close_notify, and Detach above all: an instance that is not told to go off stays on. */
static void flush(struct channel_lane *lane)
{
    struct vt_buf *out = relay_output(lane->relay);

    for (int i = 0; i < FLUSH_TRIES && out && vt_buf_size(out); i++) {
        if (vchan_send(&lane->vchan, out))
            return;
        if (vt_buf_size(out))
            platform_wait(platform_now_ms() + FLUSH_MS);
    }
}

static void on_disconnect(void *ctx)
{
    struct channel_lane *lane = ctx;

    if (vchan_is_open(&lane->vchan))
        flush(lane);
    vchan_close(&lane->vchan);
}

/* That the server has closed is found by the next turn's reading, which first takes what it sent before. */
static void on_send(void *ctx, struct vt_buf *out)
{
    struct channel_lane *lane = ctx;

    if (vchan_is_open(&lane->vchan) && vchan_send(&lane->vchan, out) == VT_EPROTO)
        lane->is_broken = true;
}

static uint64_t now_ms(void)
{
    return platform_now_ms();
}

static const struct courier_ops courier_ops = {now_ms, on_take, on_respond, on_connect, on_disconnect, on_send};

/* ---- Turns ---- */

static void lost(struct channel_lane *lane, const char *reason)
{
    lane->is_broken = false;
    vchan_close(&lane->vchan);
    relay_disconnected(lane->relay, platform_now_ms(), reason);
}

/* True: something came. */
static bool receive(struct channel_lane *lane)
{
    uint8_t bytes[CHUNK];
    size_t len = 0, all = 0;
    int err = VT_OK;

    (void)!platform_pending(lane->vchan.port);
    while (!err && all < RECEIVE_MOST && vchan_is_open(&lane->vchan)) {
        err = vchan_receive(&lane->vchan, bytes, sizeof bytes, &len);
        if (err || !len)
            break;
        all += len;
        relay_bytes(lane->relay, platform_now_ms(), bytes, len);
    }
    if (!err && lane->is_broken)
        err = VT_EPROTO;
    if (err)
        lost(lane, err == VT_ECLOSED ? NULL : "the server's ring makes no sense");
    return all || err;
}

/* True: the vchan has ended. */
static bool look_at_offer(struct channel_lane *lane, uint64_t *wake_ms)
{
    uint64_t now = platform_now_ms();

    if (now < lane->look_at_ms) {
        *wake_ms = VT_MIN(*wake_ms, lane->look_at_ms);
        return false;
    }
    lane->look_at_ms = now + LOOK_MS;
    *wake_ms = VT_MIN(*wake_ms, lane->look_at_ms);
    if (vchan_is_offered(&lane->vchan))
        return false;
    lost(lane, "the server's domain does not offer it any more");
    return true;
}

static bool transport(struct channel_lane *lane, uint64_t *wake_ms)
{
    bool is_new = lane->is_new;

    if (!vchan_is_open(&lane->vchan))
        return false;
    lane->is_new = false;
    if (is_new)
        relay_connected(lane->relay, platform_now_ms());
    return receive(lane) || (vchan_is_open(&lane->vchan) && look_at_offer(lane, wake_ms)) || is_new;
}

static void end(struct channel_lane *lane)
{
    struct xendevice *device = lane->device;
    int err = relay_ended(lane->relay);

    lane_drop(lane);
    if (!device || !err)
        return;
    xendevice_lost(device, err);
    if (device->ring)
        guest_ring_fail(device->ring);
}

bool lane_turn(struct channel_lane *lane, uint64_t *wake_ms)
{
    uint64_t wake = UINT64_MAX;
    bool has_moved;

    if (!lane->relay)
        return false;
    has_moved = transport(lane, wake_ms);
    lane->courier.is_leaving = is_leaving(lane);
    lane->courier.finishes = lane->how != XENDEVICE_NOW;
    lane->courier.off = is_leaving(lane) && lane->how == XENDEVICE_OFF;
    lane->courier.leave_by_ms = lane->leave_by_ms;
    if (courier_drive(&lane->courier, &wake)) {
        end(lane);
        return true;
    }
    *wake_ms = VT_MIN(*wake_ms, wake);
    return has_moved || lane->is_new || lane->is_broken;
}

/* ---- Life ---- */

void lane_init(struct channel_lane *lane, struct settings *settings)
{
    *lane = (struct channel_lane){.settings = settings};
}

int lane_open(struct channel_lane *lane, struct xendevice *device, struct vt_why *why)
{
    const struct settings *settings = lane->settings;
    struct relay_config config = {
        .tls = {.random = entropy_random, .identity = settings->credential.identity, .key = &settings->credential.key},
        .server = settings->server_text,
        .software = "vtpm-stubdom " VTPM_VERSION,
        .front_end = "xen",
        .label = device->label,
        .startup = VTPM__STARTUP__STARTUP_CLEAR,
        .has_uuid = true,
        .domid = device->told.domid,
        .has_domid = true,
        .entropy = entropy_mix,
    };
    struct relay *relay = NULL;
    int err;

    memcpy(config.uuid, device->uuid.bytes, sizeof config.uuid);
    memcpy(config.boot_id, settings->boot_id, sizeof config.boot_id);
    memcpy(config.domain, device->told.name, VT_MIN(sizeof config.domain, sizeof device->told.name));
    config.domain[sizeof config.domain - 1] = '\0';
    if (entropy_random(NULL, config.stream, sizeof config.stream))
        return vt_fail(why, VT_ECRYPTO, "no random numbers");
    err = relay_new(&relay, &config);
    if (err)
        return vt_fail(why, err, "relay: %s", vt_err_text(err));
    lane_init(lane, lane->settings);
    lane->relay = relay;
    lane->device = device;
    lane->courier = (struct courier){.relay = relay, .ops = &courier_ops, .ctx = lane, .label = device->label};
    return VT_OK;
}

bool lane_is_open(const struct channel_lane *lane)
{
    return lane->relay;
}

bool lane_is_busy(const struct channel_lane *lane)
{
    return lane->relay && relay_busy(lane->relay);
}

void lane_leave(struct channel_lane *lane, enum xendevice_end how)
{
    lane->device = NULL;
    lane->courier.label = "";
    lane->how = how;
    lane->leave_by_ms = platform_now_ms() + LINGER_MS;
}

void lane_drop(struct channel_lane *lane)
{
    if (lane->relay)
        relay_free(lane->relay);
    vchan_close(&lane->vchan);
    lane_init(lane, lane->settings);
}

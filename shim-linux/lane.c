/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/lane_state.h"

#include "server/base/alloc.h"
#include "server/base/boot.h"
#include "server/base/log.h"
#include "shim-linux/host.h"

/* How often it is looked whether a credential that was missing is there. */
#define CREDENTIAL_MS 2000
/* A lane that is closed waits so long for the answer to what is under way. */
#define LINGER_MS 5000

static void drive(struct lane *lane);

/* ---- What the courier asks of us ---- */

static bool on_take(void *ctx, struct courier_request *request)
{
    struct lane *lane = ctx;

    return lane->source && !lane->set->stopping && lane->source->take(lane->ctx, request);
}

static bool on_respond(void *ctx, const struct courier_response *response)
{
    struct lane *lane = ctx;

    return !lane->source || lane->source->respond(lane->ctx, response);
}

static int on_connect(void *ctx, struct vt_why *why)
{
    struct lane *lane = ctx;

    if (relay_key_refused(lane->relay))
        lane_renew_key(lane);
    return upstream_connect(lane->up, why);
}

static void on_disconnect(void *ctx)
{
    upstream_close(((struct lane *)ctx)->up);
}

static void on_send(void *ctx, struct vt_buf *out)
{
    upstream_send(((struct lane *)ctx)->up, out);
}

static const struct courier_ops courier_ops = {host_now_ms, on_take, on_respond, on_connect, on_disconnect, on_send};

/* ---- Driving ---- */

static void on_timer_closed(uv_handle_t *handle)
{
    struct lane *lane = handle->data;
    union {
        const char *in;
        void *out;
    } credential = {.in = lane->config.credential}, label = {.in = lane->config.label};

    lane_forget_start(lane);
    upstream_free(lane->up);
    relay_free(lane->relay);
    vt_free(credential.out);
    vt_free(label.out);
    vt_free_wiped(lane, sizeof *lane);
}

/* The owner may close every lane in answer: not while they are gone through. */
static void check_empty(struct lane_set *set)
{
    if (set->stopping && !set->running && !set->walking)
        set->on_empty(set->ctx);
}

static void dispose(struct lane *lane)
{
    vt_list_remove(&lane->node);
    uv_close((uv_handle_t *)&lane->timer, on_timer_closed);
}

/* It answers nothing more. A lane that its owner has closed goes; else the owner hears of it. */
static void end(struct lane *lane, int err)
{
    struct lane_set *set = lane->set;

    if (lane->ended)
        return;
    lane->ended = true;
    upstream_close(lane->up);
    uv_timer_stop(&lane->timer);
    set->running--;
    if (lane->source)
        lane->source->ended(lane->ctx, err);
    else
        dispose(lane);
    check_empty(set);
}

static void on_timer(uv_timer_t *timer)
{
    drive(timer->data);
}

static void wake_at(struct lane *lane, uint64_t wake)
{
    uint64_t now = host_now_ms();

    if (wake == UINT64_MAX)
        uv_timer_stop(&lane->timer);
    else
        uv_timer_start(&lane->timer, on_timer, wake > now ? wake - now : 0, 0);
}

/* Commands wait in the source until there is a credential. */
static void look_for_credential(struct lane *lane)
{
    struct vt_why why = {{0}};

    if (!lane->source || lane->set->stopping) {
        end(lane, VT_OK);
        return;
    }
    if (lane_begin(lane, &why) == VT_OK) {
        if (lane->said.text[0])
            vt_notice("shim: %s%s is there", lane->config.label, lane->config.credential);
        lane->said.text[0] = '\0';
        return;
    }
    lane_complain(lane, &why, "commands wait for a credential");
    wake_at(lane, host_now_ms() + CREDENTIAL_MS);
}

static bool is_leaving(const struct lane *lane)
{
    return !lane->source || lane->set->stopping;
}

static bool drive_courier(struct lane *lane, uint64_t *wake)
{
    lane->courier = (struct courier){
        .relay = lane->relay,
        .ops = &courier_ops,
        .ctx = lane,
        .label = lane->config.label,
        .is_leaving = is_leaving(lane),
        .finishes = lane->source || lane->how != LANE_NOW,
        .off = !lane->source && lane->how == LANE_OFF,
        .leave_by_ms = lane->end_by,
    };
    return courier_drive(&lane->courier, wake);
}

/* After every event. */
static void drive(struct lane *lane)
{
    uint64_t wake = UINT64_MAX;
    bool was_leaving, has_ended;

    if (!lane->ended && !lane->relay)
        look_for_credential(lane);
    if (lane->ended || !lane->relay)
        return;
    /* A source that is answered may close the lane: it leaves in this turn. */
    do {
        was_leaving = is_leaving(lane);
        has_ended = drive_courier(lane, &wake);
    } while (!has_ended && !lane->ended && is_leaving(lane) != was_leaving);
    if (has_ended)
        end(lane, relay_ended(lane->relay));
    else if (!lane->ended)
        wake_at(lane, wake);
}

static void on_connected(void *ctx)
{
    struct lane *lane = ctx;

    relay_connected(lane->relay, host_now_ms());
    drive(lane);
}

static void on_bytes(void *ctx, const uint8_t *bytes, size_t len)
{
    struct lane *lane = ctx;

    relay_bytes(lane->relay, host_now_ms(), bytes, len);
    drive(lane);
}

static void on_closed(void *ctx, const char *reason)
{
    struct lane *lane = ctx;

    relay_disconnected(lane->relay, host_now_ms(), reason);
    drive(lane);
}

/* ---- One lane ---- */

static int copy_config(struct lane *lane, const struct lane_config *config)
{
    lane->config = *config;
    lane->config.credential = vt_strdup(config->credential);
    lane->config.label = vt_strdup(config->label);
    if (config->from) {
        lane->from = *config->from;
        lane->from.mark.command = vt_memdup(config->from->mark.command, config->from->mark.len);
        lane->config.from = &lane->from;
        if (config->from->mark.n && !lane->from.mark.command)
            return VT_ENOMEM;
    }
    return lane->config.credential && lane->config.label ? VT_OK : VT_ENOMEM;
}

static int prepare(struct lane *lane, const struct lane_config *config, struct vt_why *why)
{
    const struct upstream_events events = {on_connected, on_bytes, on_closed};
    int err = copy_config(lane, config);

    if (err)
        return vt_fail(why, err, "%s", vt_err_text(err));
    err = upstream_new(&lane->up, lane->set->loop, lane->set->options->upstream, &events, lane, why);
    if (!err && !config->wait_for_credential)
        err = lane_begin(lane, why);
    return err;
}

int lane_open(struct lane **lane_out, struct lane_set *set, const struct lane_config *config,
              const struct lane_source *source, void *ctx, struct vt_why *why)
{
    struct lane *lane = VT_NEW(struct lane);
    int err;

    if (!lane)
        return vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    *lane = (struct lane){.set = set, .source = source, .ctx = ctx, .end_by = UINT64_MAX};
    uv_timer_init(set->loop, &lane->timer);
    lane->timer.data = lane;
    vt_list_add(&set->lanes, &lane->node);
    err = prepare(lane, config, why);
    if (err) {
        dispose(lane);
        return err;
    }
    set->running++;
    /* The first turn is the loop's: nothing is called back from here. */
    uv_timer_start(&lane->timer, on_timer, 0, 0);
    *lane_out = lane;
    return VT_OK;
}

void lane_ready(struct lane *lane)
{
    if (lane->relay)
        drive(lane);
}

void lane_cancel(struct lane *lane)
{
    if (!lane->relay)
        return;
    relay_cancel(lane->relay);
    drive(lane);
}

bool lane_is_busy(const struct lane *lane)
{
    return lane->relay && relay_busy(lane->relay);
}

void lane_close(struct lane *lane, enum lane_end how)
{
    lane->source = NULL;
    lane->how = how;
    lane->end_by = host_now_ms() + LINGER_MS;
    if (lane->ended)
        dispose(lane);
    else
        uv_timer_start(&lane->timer, on_timer, 0, 0);
}

/* ---- All of them ---- */

int lanes_new(struct lane_set **set_out, uv_loop_t *loop, const struct options *options, const char *front_end,
              void (*on_empty)(void *ctx), void *ctx, struct vt_why *why)
{
    struct lane_set *set = VT_NEW(struct lane_set);
    int err;

    if (!set)
        return vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    *set = (struct lane_set){
        .loop = loop, .options = options, .front_end = front_end, .on_empty = on_empty, .ctx = ctx};
    vt_list_init(&set->lanes);
    err = vt_boot_id(set->boot_id, why);
    if (err) {
        vt_free(set);
        return err;
    }
    *set_out = set;
    return VT_OK;
}

void lanes_stop(struct lane_set *set)
{
    set->stopping = set->walking = true;
    VT_LIST_EACH(&set->lanes, node)
        drive(VT_LIST_ENTRY(node, struct lane, node));
    set->walking = false;
    check_empty(set);
}

void lanes_abort(struct lane_set *set)
{
    set->walking = true;
    VT_LIST_EACH(&set->lanes, node) {
        struct lane *lane = VT_LIST_ENTRY(node, struct lane, node);
        if (lane->ended)
            continue;
        if (lane_is_busy(lane))
            vt_warning("shim: %sa command is under way still: it may have been executed", lane->config.label);
        lane->end_by = 0;
        drive(lane);
    }
    set->walking = false;
    check_empty(set);
}

void lanes_free(struct lane_set *set)
{
    vt_free(set);
}

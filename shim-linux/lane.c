/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/lane_state.h"

#include "server/base/alloc.h"
#include "server/base/boot.h"
#include "server/base/log.h"
#include "shim-linux/host.h"

/* How often it is looked whether a credential that was missing is there. */
#define CREDENTIAL_MS 2000
/* An answer that its source did not take is offered again after this. */
#define ANSWER_MS 200
/* A lane that is closed waits so long for the answer to what is under way. */
#define LINGER_MS 5000

static void drive(struct lane *lane);

/* ---- Driving ---- */

static bool give_answer(struct lane *lane, const uint8_t *bytes, size_t len)
{
    struct lane_response response = {.bytes = bytes, .len = len};

    if (!lane->source)
        return true;
    relay_position(lane->relay, &response.position);
    return lane->source->respond(lane->ctx, &response);
}

static void give_result(struct lane *lane, const struct relay_result *result)
{
    const struct lane_response response = {.result = result};

    if (lane->source)
        (void)lane->source->respond(lane->ctx, &response);
}

static void submit_deed(struct lane *lane, const struct relay_deed *deed)
{
    const struct relay_result failed = {.err = relay_submit_deed(lane->relay, host_now_ms(), deed)};

    if (failed.err)
        give_result(lane, &failed);
}

/* Only memory can fail here: the guest may try again. */
static void submit(struct lane *lane, const struct lane_request *request)
{
    static const uint8_t retry[10] = {0x00, 0xc4, 0, 0, 0, 10, 0, 0, 0x08, 0x00};

    if (relay_submit(lane->relay, host_now_ms(), request->locality, request->bytes, request->len) &&
        !give_answer(lane, retry, sizeof retry))
        vt_error("shim: %sout of memory: a command gets no answer", lane->config.label);
}

/* One command or response moves on; false: nothing to do. */
static bool move_commands(struct lane *lane)
{
    struct lane_request request = {0};
    struct relay_result result;
    const uint8_t *bytes;
    size_t len;

    if (relay_result(lane->relay, &result)) {
        relay_answered(lane->relay);
        give_result(lane, &result);
        return true;
    }
    if (relay_response(lane->relay, &bytes, &len)) {
        lane->not_taken = !give_answer(lane, bytes, len);
        if (lane->not_taken)
            return false;
        relay_answered(lane->relay);
        return true;
    }
    if (relay_busy(lane->relay) || !lane->source || lane->set->stopping || !lane->source->take(lane->ctx, &request))
        return false;
    if (request.deed)
        submit_deed(lane, request.deed);
    else
        submit(lane, &request);
    return true;
}

static void connect_upstream(struct lane *lane)
{
    struct vt_why why = {{0}};

    if (relay_key_refused(lane->relay))
        lane_renew_key(lane);
    if (upstream_connect(lane->up, &why))
        relay_disconnected(lane->relay, host_now_ms(), why.text);
}

static void flush(struct lane *lane)
{
    struct vt_buf *out = relay_output(lane->relay);

    if (out)
        upstream_send(lane->up, out);
}

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

/* Does what the relay says; false when it says: wait. */
static bool follow(struct lane *lane, uint64_t *wake)
{
    enum relay_act act = relay_drive(lane->relay, host_now_ms(), wake);

    flush(lane);
    if (act == RELAY_CONNECT)
        connect_upstream(lane);
    if (act == RELAY_CLOSE) {
        upstream_close(lane->up);
        relay_disconnected(lane->relay, host_now_ms(), NULL);
    }
    if (act == RELAY_ENDED)
        end(lane, relay_ended(lane->relay));
    return act != RELAY_WAIT && !lane->ended;
}

/*
 * Detaches when the lane is to end and nothing is in the way. Off only on a connection that has the instance: on a new
 * one it would be taken away from whoever serves it by then.
 */
static void detach_if_due(struct lane *lane)
{
    bool has_it = relay_attached(lane->relay), busy = relay_busy(lane->relay);

    if (lane->source && !lane->set->stopping)
        return;
    if (busy && has_it && (lane->source || lane->how != LANE_NOW) && host_now_ms() < lane->end_by)
        return;
    relay_detach(lane->relay, !lane->source && lane->how == LANE_OFF && has_it && !busy);
}

static void on_timer(uv_timer_t *timer)
{
    drive(timer->data);
}

static void wake_at(struct lane *lane, uint64_t wake)
{
    uint64_t now = host_now_ms();

    if (!lane->source || lane->set->stopping)
        wake = VT_MIN(wake, lane->end_by);
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

/* After every event. */
static void drive(struct lane *lane)
{
    const uint8_t *bytes;
    uint64_t wake = UINT64_MAX;
    size_t len;

    if (!lane->ended && !lane->relay)
        look_for_credential(lane);
    if (lane->ended || !lane->relay)
        return;
    do {
        while (move_commands(lane))
            ;
        detach_if_due(lane);
    } while (follow(lane, &wake));
    if (lane->ended)
        return;
    if (relay_response(lane->relay, &bytes, &len))
        wake = lane->not_taken ? VT_MIN(wake, host_now_ms() + ANSWER_MS) : 0;
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

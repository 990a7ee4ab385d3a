/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/shim.h"

#include <signal.h>
#include <stdio.h>
#include <uv.h>

#include "server/base/log.h"
#include "server/base/notify.h"
#include "shim-linux/frontend.h"

/* At SIGTERM a command under way may take this long. */
#define STOP_MS 2000
/* And what was queued for clients and server this long to leave. */
#define FLUSH_MS 1000

struct shim {
    uv_loop_t loop;
    uv_timer_t stop_timer;
    uv_timer_t watchdog;
    uv_signal_t signals[2];
    const struct frontend_kind *kind;
    struct frontend_host host;
    struct frontend *front;
    bool stopping;
    bool ended;
    int err;
    struct vt_why why;
};

static void close_handle(uv_handle_t *handle, void *arg VT_UNUSED)
{
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* Everything of ours is closed; what is queued still leaves, for a bounded time. */
static void end(struct shim *shim, int err)
{
    if (shim->ended)
        return;
    shim->ended = true;
    shim->err = err;
    shim->kind->close(shim->front);
    close_handle((uv_handle_t *)&shim->signals[0], NULL);
    close_handle((uv_handle_t *)&shim->signals[1], NULL);
}

/* ---- Events ---- */

static void say_ready(void *ctx)
{
    struct shim *shim = ctx;
    const char *where = shim->kind->where(shim->front);

    if (*where)
        fprintf(stderr, "vtpm-shim: ready (%s)\n", where);
    else
        fprintf(stderr, "vtpm-shim: ready\n");
    (void)vt_notify("READY=1");
}

static void on_failed(void *ctx, int err, const char *why)
{
    struct shim *shim = ctx;

    (void)vt_fail(&shim->why, err, "%s: %s", vt_err_text(err), why);
    end(shim, err);
}

/* After lanes_stop: every command has its answer, or will have none. */
static void on_empty(void *ctx)
{
    end(ctx, VT_OK);
}

static void on_stop_timer(uv_timer_t *timer)
{
    struct shim *shim = timer->data;

    if (shim->ended) {
        uv_walk(&shim->loop, close_handle, NULL);
        return;
    }
    lanes_abort(shim->host.lanes);
    uv_timer_start(timer, on_stop_timer, FLUSH_MS, 0);
}

/* From the loop itself: one that hangs is silent. */
static void on_watchdog(uv_timer_t *timer VT_UNUSED)
{
    (void)vt_notify("WATCHDOG=1");
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct shim *shim = handle->data;

    if (shim->stopping || shim->ended)
        return;
    vt_notice("shim: stopping at %s", number == SIGTERM ? "SIGTERM" : "SIGINT");
    (void)vt_notify("STOPPING=1");
    shim->stopping = true;
    shim->kind->stop(shim->front);
    uv_timer_start(&shim->stop_timer, on_stop_timer, STOP_MS, 0);
    lanes_stop(shim->host.lanes);
}

/* ---- Start and end ---- */

static int start_parts(struct shim *shim, const struct options *options, struct vt_why *why)
{
    const char *spec;
    int err = frontend_find(options->frontend, &shim->kind, &spec, why);

    shim->host = (struct frontend_host){
        .loop = &shim->loop, .options = options, .ready = say_ready, .failed = on_failed, .ctx = shim};
    if (!err)
        err = lanes_new(&shim->host.lanes, &shim->loop, options, shim->kind->name, on_empty, shim, why);
    if (!err)
        err = shim->kind->start(&shim->front, spec, &shim->host, why);
    return err;
}

static void start_watchdog(struct shim *shim)
{
    uint64_t period = vt_watchdog_ms();

    uv_timer_init(&shim->loop, &shim->watchdog);
    uv_unref((uv_handle_t *)&shim->watchdog);
    if (period)
        uv_timer_start(&shim->watchdog, on_watchdog, 0, period);
}

static void start_signals(struct shim *shim)
{
    static const int numbers[] = {SIGTERM, SIGINT};

    signal(SIGPIPE, SIG_IGN);
    start_watchdog(shim);
    uv_timer_init(&shim->loop, &shim->stop_timer);
    /* It bounds the end but does not delay it. */
    uv_unref((uv_handle_t *)&shim->stop_timer);
    shim->stop_timer.data = shim;
    for (size_t i = 0; i < VT_COUNT(numbers); i++) {
        uv_signal_init(&shim->loop, &shim->signals[i]);
        shim->signals[i].data = shim;
        uv_signal_start(&shim->signals[i], on_signal, numbers[i]);
    }
}

static void free_parts(struct shim *shim)
{
    /* Also the handles of a start that failed half-way. */
    if (shim->front && !shim->ended)
        shim->kind->close(shim->front);
    uv_run(&shim->loop, UV_RUN_NOWAIT);
    uv_walk(&shim->loop, close_handle, NULL);
    uv_run(&shim->loop, UV_RUN_DEFAULT);
    if (shim->front)
        shim->kind->free(shim->front);
    lanes_free(shim->host.lanes);
    uv_loop_close(&shim->loop);
}

int shim_run(const struct options *options, struct vt_why *why)
{
    struct shim shim = {.err = VT_OK};
    int err;

    if (uv_loop_init(&shim.loop))
        return vt_fail(why, VT_EFAIL, "no event loop: are there too many open files?");
    start_signals(&shim);
    err = start_parts(&shim, options, why);
    if (!err) {
        if (!shim.kind->ready_later)
            say_ready(&shim);
        uv_run(&shim.loop, UV_RUN_DEFAULT);
        err = shim.err;
        if (err)
            (void)vt_fail(why, err, "%s", shim.why.text);
    }
    free_parts(&shim);
    return err;
}

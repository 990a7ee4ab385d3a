/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h on libuv. A handle's memory lives until its close callback: the caller's free only begins its end.
 */
#include "server/core/loop.h"

#include <time.h>
#include <uv.h>

#include "server/base/alloc.h"

struct loop {
    uv_loop_t *uv;
};

/*
 * The structures begin with their handle, and the handle's `data` is the structure: one close callback for
 * all.
 */
struct loop_timer {
    uv_timer_t handle;
    bool is_on;
    uint64_t due;     /* in the loop's milliseconds, if is_on */
    uint64_t rings;   /* when the handle does, if it is active */
    void (*fn)(void *arg);
    void *arg;
};

struct loop_fd {
    uv_poll_t handle;
    int events;
    void (*fn)(void *arg, int events);
    void *arg;
};

struct loop_wake {
    uv_async_t handle;
    void (*fn)(void *arg);
    void *arg;
};

struct job {
    uv_work_t req;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
};

static void on_closed(uv_handle_t *handle)
{
    vt_free(handle->data);
}

static int from_uv(int rc)
{
    if (rc == 0)
        return VT_OK;
    return rc == UV_ENOMEM ? VT_ENOMEM : VT_EIO;
}

int loop_new(struct loop **loop, struct uv_loop_s *uv)
{
    struct loop *l = VT_NEW(struct loop);

    if (!l)
        return VT_ENOMEM;
    l->uv = uv;
    *loop = l;
    return VT_OK;
}

void loop_free(struct loop *loop)
{
    vt_free(loop);
}

uint64_t loop_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* ---- Timers ---- */

static void on_timer(uv_timer_t *handle);

static void ring_at(struct loop_timer *timer, uint64_t when)
{
    const uint64_t now = uv_now(timer->handle.loop);

    timer->rings = when;
    uv_timer_start(&timer->handle, on_timer, when > now ? when - now : 0, 0);
}

/* Perhaps for a time that was put off, or given up. */
static void on_timer(uv_timer_t *handle)
{
    struct loop_timer *timer = handle->data;

    if (!timer->is_on)
        return;
    if (timer->due > uv_now(handle->loop)) {
        ring_at(timer, timer->due);
        return;
    }
    timer->is_on = false;
    timer->fn(timer->arg);
}

int loop_timer_new(struct loop *loop, struct loop_timer **timer, void (*fn)(void *arg), void *arg)
{
    struct loop_timer *t = VT_NEW(struct loop_timer);
    int rc;

    if (!t)
        return VT_ENOMEM;
    rc = uv_timer_init(loop->uv, &t->handle);
    if (rc) {
        vt_free(t);
        return from_uv(rc);
    }
    t->handle.data = t;
    t->fn = fn;
    t->arg = arg;
    *timer = t;
    return VT_OK;
}

/*
 * Each command starts and stops two: how long its engine may take, and the instance's idle time. Almost none of them comes
 * to its end, so the handle stays in libuv's heap where it is, and what was put off is seen when it rings.
 */
void loop_timer_start(struct loop_timer *timer, uint64_t delay_ms)
{
    /* libuv counts from the begin of this turn of the loop, which may be long ago. */
    uv_update_time(timer->handle.loop);
    timer->is_on = true;
    timer->due = uv_now(timer->handle.loop);
    timer->due = delay_ms > UINT64_MAX - timer->due ? UINT64_MAX : timer->due + delay_ms;
    if (!uv_is_active((uv_handle_t *)&timer->handle) || timer->rings > timer->due)
        ring_at(timer, timer->due);
}

void loop_timer_stop(struct loop_timer *timer)
{
    timer->is_on = false;
}

void loop_timer_free(struct loop_timer *timer)
{
    if (timer)
        uv_close((uv_handle_t *)&timer->handle, on_closed);
}

/* ---- Descriptors ---- */

static void on_poll(uv_poll_t *handle, int status, int uv_events)
{
    struct loop_fd *watch = handle->data;
    int events = (uv_events & UV_READABLE ? LOOP_READ : 0) | (uv_events & UV_WRITABLE ? LOOP_WRITE : 0);

    if (status < 0) {
        /* libuv has stopped it; the caller finds the error by reading or writing. */
        events = watch->events;
        watch->events = 0;
    }
    if (events)
        watch->fn(watch->arg, events);
}

int loop_fd_new(struct loop *loop, struct loop_fd **watch, int fd, void (*fn)(void *arg, int events),
                void *arg)
{
    struct loop_fd *w = VT_NEW(struct loop_fd);
    int rc;

    if (!w)
        return VT_ENOMEM;
    rc = uv_poll_init(loop->uv, &w->handle, fd);
    if (rc) {
        vt_free(w);
        return from_uv(rc);
    }
    w->handle.data = w;
    w->fn = fn;
    w->arg = arg;
    *watch = w;
    return VT_OK;
}

void loop_fd_events(struct loop_fd *watch, int events)
{
    int uv_events = (events & LOOP_READ ? UV_READABLE : 0) | (events & LOOP_WRITE ? UV_WRITABLE : 0);

    if (events == watch->events)
        return;
    watch->events = events;
    if (events)
        uv_poll_start(&watch->handle, uv_events, on_poll);
    else
        uv_poll_stop(&watch->handle);
}

void loop_fd_free(struct loop_fd *watch)
{
    if (watch)
        uv_close((uv_handle_t *)&watch->handle, on_closed);
}

/* ---- Waking ---- */

static void on_async(uv_async_t *handle)
{
    struct loop_wake *wake = handle->data;

    wake->fn(wake->arg);
}

int loop_wake_new(struct loop *loop, struct loop_wake **wake, void (*fn)(void *arg), void *arg)
{
    struct loop_wake *w = VT_NEW(struct loop_wake);
    int rc;

    if (!w)
        return VT_ENOMEM;
    w->fn = fn;
    w->arg = arg;
    rc = uv_async_init(loop->uv, &w->handle, on_async);
    if (rc) {
        vt_free(w);
        return from_uv(rc);
    }
    w->handle.data = w;
    *wake = w;
    return VT_OK;
}

void loop_wake_up(struct loop_wake *wake)
{
    uv_async_send(&wake->handle);
}

void loop_wake_free(struct loop_wake *wake)
{
    if (wake)
        uv_close((uv_handle_t *)&wake->handle, on_closed);
}

/* ---- Work ---- */

static void on_work(uv_work_t *req)
{
    struct job *job = req->data;

    job->work(job->arg);
}

static void on_work_done(uv_work_t *req, int status)
{
    struct job *job = req->data;
    void (*done)(void *arg) = job->done;
    void *arg = job->arg;

    (void)status; /* nothing here cancels */
    vt_free(job);
    done(arg);
}

int loop_work(struct loop *loop, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
    struct job *job = VT_NEW(struct job);
    int rc;

    if (!job)
        return VT_ENOMEM;
    *job = (struct job){.work = work, .done = done, .arg = arg};
    job->req.data = job;
    rc = uv_queue_work(loop->uv, &job->req, on_work, on_work_done);
    if (rc)
        vt_free(job);
    return from_uv(rc);
}

struct until {
    uv_prepare_t handle;
    const bool *flag;
    bool is_closed;
};

static void on_prepare(uv_prepare_t *handle)
{
    const struct until *until = handle->data;

    if (*until->flag)
        uv_stop(handle->loop);
}

static void on_until_closed(uv_handle_t *handle)
{
    struct until *until = handle->data;

    until->is_closed = true;
}

/* A timer that is due runs before the poll, which would then wait for the next event although *flag is set. */
void loop_run_until(struct loop *loop, const bool *flag)
{
    struct until until = {.flag = flag};

    uv_prepare_init(loop->uv, &until.handle);
    until.handle.data = &until;
    uv_prepare_start(&until.handle, on_prepare);
    while (!*flag)
        uv_run(loop->uv, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&until.handle, on_until_closed);
    while (!until.is_closed)
        uv_run(loop->uv, UV_RUN_NOWAIT);
}

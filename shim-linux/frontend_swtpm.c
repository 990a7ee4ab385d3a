/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands where swtpm stands for QEMU: a control channel, and a data channel that comes as a descriptor over it or
 * connects by itself. One monitor at a time on each; the next one waits. monitor.h says what a request means; here are the
 * sockets and the lane, which has one thing of the two channels at a time.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/base/secret.h"
#include "shim-linux/ctrlsock.h"
#include "shim-linux/datasock.h"
#include "shim-linux/frontend.h"
#include "shim-linux/monitor.h"

#define SPEC_MAX 512

struct frontend {
    const struct frontend_host *host;
    struct lane *lane;
    struct monitor *monitor;
    struct listening control_at, data_at;
    bool control_waits, data_waits; /* a connection at the listener */
    union stream passing;           /* a control connection on its way out of libuv's hands */
    bool is_passing;
    struct ctrlsock *control;       /* NULL: no monitor */
    struct datasock *data;          /* NULL: no data channel */
    bool has_request;               /* at the read end of control's buffer, under way */
    struct ctrl_request request;
    bool is_shut_down;
    bool terminates;                /* with its first monitor */
    bool is_cancelled;              /* the lane is told when it is not in the middle of something */
    bool is_monitors;               /* what the lane has is the monitor's, not the guest's */
    bool is_serving;                /* a command of `data` is under way */
    bool stopped;
    uint8_t command[DATASOCK_COMMAND_MAX];
    char where[2 * SPEC_MAX + 16];
};

static void look(struct frontend *front);

/* ---- Connections ---- */

static void close_data(struct frontend *front)
{
    datasock_close(front->data);
    front->data = NULL;
    front->is_serving = false;
}

static void on_data_ready(void *ctx)
{
    look(ctx);
}

static void accept_data(struct frontend *front);

static void on_data_closed(void *ctx)
{
    struct frontend *front = ctx;

    vt_info("swtpm: the data channel was closed");
    close_data(front);
    accept_data(front);
}

static const struct datasock_events data_events = {.ready = on_data_ready, .closed = on_data_closed};

static void accept_data(struct frontend *front)
{
    if (!front->data_waits || front->data || front->stopped)
        return;
    front->data_waits = false;
    if (datasock_accept(&front->data, &front->data_at, &data_events, front))
        vt_warning("swtpm: a connection to the data channel was turned away");
}

static void on_data_connection(uv_stream_t *listener, int status)
{
    struct frontend *front = VT_CONTAINER(listener, struct frontend, data_at.stream);

    if (status)
        return;
    front->data_waits = true;
    accept_data(front);
}

static void accept_control(struct frontend *front);

static void close_control(struct frontend *front)
{
    if (!front->control)
        return;
    monitor_hang_up(front->monitor);
    ctrlsock_close(front->control);
    front->control = NULL;
    front->has_request = false;
}

/* In order, as by a signal: what the lane has just taken is finished. */
static void leave(struct frontend *front)
{
    if (!front->stopped)
        (void)raise(SIGTERM);
}

static void on_control_bytes(void *ctx)
{
    look(ctx);
}

static void on_control_closed(void *ctx, const char *why)
{
    struct frontend *front = ctx;

    vt_info("swtpm: the control channel: %s", why);
    close_control(front);
    if (front->terminates) {
        monitor_leave(front->monitor);
        look(front);
        leave(front);
        return;
    }
    accept_control(front);
}

static const struct ctrlsock_events control_events = {.bytes = on_control_bytes, .closed = on_control_closed};

static void on_passed(uv_handle_t *handle)
{
    struct frontend *front = VT_CONTAINER(handle, struct frontend, passing);

    front->is_passing = false;
    accept_control(front);
}

/* libuv's handle gives the descriptor up: it would keep the descriptors that come over it for itself. */
static int pass(struct frontend *front)
{
    uv_os_fd_t fd;
    int copy;

    if (uv_accept(&front->control_at.stream.stream, &front->passing.stream) ||
        uv_fileno(&front->passing.handle, &fd))
        return VT_EIO;
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? VT_EIO : ctrlsock_new(&front->control, front->host->loop, copy, &control_events, front);
}

static void accept_control(struct frontend *front)
{
    if (!front->control_waits || front->control || front->is_passing || front->stopped)
        return;
    if (listening_init(&front->control_at, &front->passing))
        return;
    front->control_waits = false;
    front->is_passing = true;
    if (pass(front))
        vt_warning("swtpm: a monitor was turned away: out of memory or descriptors");
    uv_close(&front->passing.handle, on_passed);
}

static void on_control_connection(uv_stream_t *listener, int status)
{
    struct frontend *front = VT_CONTAINER(listener, struct frontend, control_at.stream);

    if (status)
        return;
    front->control_waits = true;
    accept_control(front);
}

/* ---- What a monitor's request does here ---- */

static void on_answer(void *ctx, const uint8_t *head, size_t len, const uint8_t *tail, size_t tail_len)
{
    struct frontend *front = ctx;

    if (front->control)
        ctrlsock_send(front->control, head, len, tail, tail_len);
}

static uint32_t on_set_data(void *ctx)
{
    enum { IOERROR = 0x1f, BAD_PARAMETER = 0x03 }; /* Part 2, 16 */
    struct frontend *front = ctx;
    int fd = ctrlsock_take_descriptor(front->control);
    int err;

    if (front->data) {
        if (fd >= 0)
            (void)!close(fd);
        return IOERROR;
    }
    if (fd < 0) {
        vt_warning("swtpm: SET_DATAFD came without one descriptor");
        return BAD_PARAMETER;
    }
    err = datasock_open(&front->data, front->host->loop, fd, &data_events, front);
    if (err)
        vt_warning("swtpm: SET_DATAFD: %s", err == VT_EUSAGE ? "no connected Unix stream socket" : vt_err_text(err));
    return err == VT_EUSAGE ? BAD_PARAMETER : err ? IOERROR : 0;
}

static void on_cancel(void *ctx)
{
    struct frontend *front = ctx;

    front->is_cancelled = front->is_serving;
}

static void on_shut_down(void *ctx)
{
    struct frontend *front = ctx;

    front->is_shut_down = true;
}

static const struct monitor_ops monitor_ops = {
    .answer = on_answer, .data = on_set_data, .cancel = on_cancel, .shut_down = on_shut_down};

/* ---- The two channels ---- */

/* The request that was under way has its answer: away with it, and with what came behind it. */
static void end_request(struct frontend *front)
{
    struct vt_buf *in;

    if (!front->has_request || !monitor_is_free(front->monitor))
        return;
    front->has_request = false;
    in = ctrlsock_input(front->control);
    vt_buf_free(in);
    ctrlsock_forget_descriptors(front->control);
}

static void end_session(struct frontend *front)
{
    front->is_shut_down = false;
    close_control(front);
    close_data(front);
    if (front->terminates) {
        leave(front);
        return;
    }
    accept_control(front);
    accept_data(front);
}

/* No request: the connection is of no more use. */
static void refuse_request(struct frontend *front, const struct ctrl_request *request)
{
    vt_warning("swtpm: %s names a length of %zu: more than it can have; the control channel is closed",
               ctrl_name(request->command), request->len);
    monitor_refuse(front->monitor, request);
    close_control(front);
    accept_control(front);
}

static void look_at_control(struct frontend *front)
{
    int err;

    if (!front->control || front->has_request || !monitor_is_free(front->monitor))
        return;
    err = ctrl_next(ctrlsock_input(front->control), &front->request);
    if (err == VT_ETOOBIG) {
        refuse_request(front, &front->request);
        return;
    }
    if (!err) {
        front->has_request = true;
        monitor_request(front->monitor, &front->request);
    }
    if (front->is_shut_down)
        end_session(front);
    else
        end_request(front);
}

/* Before INIT a monitor asks a few commands, and has a second for the answers: TPM_FAIL in the form of a TPM 1.2. */
static void look_at_data(struct frontend *front)
{
    static const uint8_t fail[10] = {0x00, 0xc4, 0, 0, 0, 10, 0, 0, 0, 0x09};
    const uint8_t *command;
    size_t len;

    while (front->data && !front->is_serving && !monitor_is_running(front->monitor) &&
           datasock_next(front->data, &command, &len)) {
        datasock_drop(front->data, len);
        datasock_send(front->data, fail, sizeof fail);
    }
}

static void settle(struct frontend *front)
{
    bool is_free;

    look_at_control(front);
    look_at_data(front);
    /* What an earlier monitor began may be under way still. */
    is_free = monitor_is_free(front->monitor);
    if (front->control)
        ctrlsock_wait(front->control, is_free && vt_buf_size(ctrlsock_input(front->control)), !is_free);
}

/* After every event of a channel. */
static void look(struct frontend *front)
{
    settle(front);
    if (front->lane && front->is_cancelled && front->is_serving)
        lane_cancel(front->lane);
    front->is_cancelled = false;
    if (front->lane)
        lane_ready(front->lane);
}

/* ---- What the lane asks ---- */

static bool take(void *ctx, struct courier_request *request)
{
    struct frontend *front = ctx;
    const uint8_t *command;
    size_t len;

    if (front->stopped)
        return false;
    front->is_monitors = monitor_take(front->monitor, request);
    if (front->is_monitors)
        return true;
    if (!front->data || !monitor_is_running(front->monitor) || !datasock_next(front->data, &command, &len))
        return false;
    memcpy(front->command, command, len);
    datasock_drop(front->data, len);
    front->is_serving = true;
    *request = (struct courier_request){
        .locality = monitor_command(front->monitor), .bytes = front->command, .len = len};
    return true;
}

static bool respond(void *ctx, const struct courier_response *response)
{
    struct frontend *front = ctx;

    if (front->is_monitors) {
        front->is_monitors = false;
        monitor_respond(front->monitor, response);
        if (front->control)
            end_request(front);
    } else {
        vt_wipe(front->command, sizeof front->command);
        if (front->data && front->is_serving)
            datasock_send(front->data, response->bytes, response->len);
        front->is_serving = false;
    }
    settle(front);
    return true;
}

static void on_ended(void *ctx, int err)
{
    struct frontend *front = ctx;

    if (err)
        front->host->failed(front->host->ctx, err, err == VT_EFENCED
                            ? "another shim has the instance; start this one again to take it back"
                            : "the instance has not come with its guest: it goes on elsewhere");
}

static const struct lane_source source = {.take = take, .respond = respond, .ended = on_ended};

/* ---- What the shim asks ---- */

static void stop(struct frontend *front)
{
    front->stopped = true;
    listening_stop(&front->control_at);
    listening_stop(&front->data_at);
}

static void close_all(struct frontend *front)
{
    stop(front);
    if (front->lane)
        lane_close(front->lane, LANE_NOW);
    front->lane = NULL;
    close_control(front);
    close_data(front);
}

static void free_front(struct frontend *front)
{
    monitor_free(front->monitor);
    vt_free_wiped(front, sizeof *front);
}

static const char *where(const struct frontend *front)
{
    return front->where;
}

/* ---- Start ---- */

struct spec {
    const char *control, *data; /* unix:PATH or tcp:ADDR:PORT; data NULL: by descriptor */
    bool not_need_init, startup_clear, terminate;
};

static int bad_spec(const char *part, struct vt_why *why)
{
    return vt_fail(why, VT_EUSAGE, "--frontend swtpm: \"%s\": not %s", part, frontend_swtpm.form);
}

static int take_part(struct spec *spec, char *part, struct vt_why *why)
{
    if (strncmp(part, "ctrl=", 5) == 0 && !spec->control)
        spec->control = part + 5;
    else if (strncmp(part, "data=", 5) == 0 && !spec->data)
        spec->data = part + 5;
    else if (strcmp(part, "startup-clear") == 0)
        spec->startup_clear = true;
    else if (strcmp(part, "not-need-init") == 0)
        spec->not_need_init = true;
    else if (strcmp(part, "terminate") == 0)
        spec->terminate = true;
    else
        return bad_spec(part, why);
    return VT_OK;
}

/* Cuts text into its parts. */
static int read_spec(struct spec *spec, char *text, struct vt_why *why)
{
    char *part, *rest = text;
    int err = VT_OK;

    *spec = (struct spec){0};
    while (!err && (part = strsep(&rest, ",")))
        err = take_part(spec, part, why);
    if (!err && !spec->control)
        err = bad_spec("", why);
    if (!err && endpoint_after(spec->control, "tcp") && !spec->data)
        err = vt_fail(why, VT_EUSAGE, "--frontend swtpm:ctrl=%s: no descriptor comes over TCP: add data=tcp:ADDR:PORT or "
                      "data=unix:PATH", spec->control);
    return err;
}

static int open_lane(struct frontend *front, struct vt_why *why)
{
    const struct options *options = front->host->options;
    struct lane_config config = {
        .credential = options->credential,
        .label = "",
        .uuid = options->instance,
        .has_uuid = options->has_instance,
        .is_monitored = true,
    };

    return lane_open(&front->lane, front->host->lanes, &config, &source, front, why);
}

/* Where the system chose a port it must be said. */
static void say_where(struct frontend *front, const struct spec *spec)
{
    const char *control = front->control_at.where[0] ? front->control_at.where : spec->control;
    const char *data = front->data_at.where[0] ? front->data_at.where : spec->data;

    snprintf(front->where, sizeof front->where, "ctrl=%.*s%s%.*s", SPEC_MAX, control, data ? ",data=" : "",
             SPEC_MAX - 1, data ? data : "");
}

static int begin(struct frontend *front, const struct spec *spec, struct vt_why *why)
{
    const struct monitor_config config = {
        .is_running = spec->not_need_init || spec->startup_clear,
        .target = front->host->options->migrate_to,
        .with_state = front->host->options->migrate_state,
        .startup = spec->startup_clear ? VTPM__STARTUP__STARTUP_CLEAR : VTPM__STARTUP__STARTUP_NONE,
    };
    int err = monitor_new(&front->monitor, &config, &monitor_ops, front);

    if (err)
        return vt_fail(why, err, "%s", vt_err_text(err));
    err = open_lane(front, why);
    if (!err)
        err = listening_start(&front->control_at, front->host->loop, spec->control, on_control_connection, why);
    if (!err && spec->data)
        err = listening_start(&front->data_at, front->host->loop, spec->data, on_data_connection, why);
    if (!err && (front->control_at.where[0] || front->data_at.where[0]))
        say_where(front, spec);
    return err;
}

static int start(struct frontend **front_out, const char *text, const struct frontend_host *host, struct vt_why *why)
{
    char copy[SPEC_MAX];
    struct frontend *front;
    struct spec spec;
    int err;

    if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy)
        return vt_fail(why, VT_EUSAGE, "--frontend swtpm: more than %d characters", SPEC_MAX - 1);
    err = read_spec(&spec, copy, why);
    if (err)
        return err;
    front = VT_NEW(struct frontend);
    if (!front)
        return vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    front->host = host;
    front->terminates = spec.terminate;
    *front_out = front;
    return begin(front, &spec, why);
}

const struct frontend_kind frontend_swtpm = {
    .scheme = "swtpm",
    .form = "swtpm:ctrl=unix:PATH[,data=unix:PATH][,startup-clear][,not-need-init][,terminate] or "
            "swtpm:ctrl=tcp:ADDR:PORT,data=tcp:ADDR:PORT[,...]",
    .name = "swtpm",
    .start = start,
    .where = where,
    .stop = stop,
    .close = close_all,
    .free = free_front,
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine's socket. The end of an engine has two parts, its socket's end of file and the zygote's EXITED,
 * in any order; on_gone waits for both, so that a last reply is read and the reason is known.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/secret.h"
#include "server/core/zygote_priv.h"

#define FRAME_BUFFER (4 + (size_t)SANDBOX_FRAME_MAX)
#define PARTS_MAX 16
/* From the first sign of an end until it is taken as complete. */
#define END_MS 2000

/* ---- Ending ---- */

static void set_why(struct engine *e, const char *fmt, ...) VT_PRINTF(2, 3);
static void set_why(struct engine *e, const char *fmt, ...)
{
    va_list args;

    if (e->why[0])
        return;
    va_start(args, fmt);
    vsnprintf(e->why, sizeof e->why, fmt, args);
    va_end(args);
}

static void close_child_fd(struct engine *e)
{
    if (e->child_fd >= 0)
        close(e->child_fd);
    e->child_fd = -1;
}

/* Off all lists, socket closed: what on_gone and engine_free have in common. */
static void detach(struct engine *e)
{
    vt_list_remove(&e->node);
    vt_list_remove(&e->waiting);
    loop_fd_free(e->watch);
    e->watch = NULL;
    close_child_fd(e);
    if (e->fd >= 0)
        close(e->fd);
    e->fd = -1;
    e->pid = 0;
    vt_buf_free(&e->in);
    vt_buf_free(&e->out);
}

static void gone(struct engine *e)
{
    loop_timer_stop(e->timer);
    detach(e);
    e->busy = false;
    e->is_gone = true;
    set_why(e, "the process ended");
    e->ops->on_gone(e->arg, e->why);
}

/* From within a call of the owner or of another engine: on_gone comes from the timer. */
static void begin_end(struct engine *e)
{
    e->ending = true;
    loop_timer_start(e->timer, e->eof && e->exited ? 0 : END_MS);
}

/* From the loop: on_gone may come at once. The last act of the caller. */
static void go_on_ending(struct engine *e)
{
    begin_end(e);
    if (e->eof && e->exited)
        gone(e);
}

void engine_kill(struct engine *e)
{
    if (e->is_gone || e->dropping)
        return;
    set_why(e, "killed by the server (pid %d)", (int)e->pid);
    e->dropping = true;
    if (e->child_fd >= 0) {
        /* It was never asked for. */
        vt_list_remove(&e->waiting);
        close_child_fd(e);
        e->exited = true;
    } else if (!e->exited) {
        zygote_ask_kill(e->zygote, e->id);
    }
    begin_end(e);
}

static void broke_protocol(struct engine *e, const char *how)
{
    set_why(e, "%s (pid %d)", how, (int)e->pid);
    engine_kill(e);
}

static void on_timer(void *arg)
{
    struct engine *e = arg;

    if (e->ending) {
        gone(e);
        return;
    }
    set_why(e, "no answer within %u ms, killed (pid %d)", (unsigned)e->limit_ms, (int)e->pid);
    e->killed = !e->pid; /* it was never there */
    if (!e->pid && e->child_fd < 0)
        zygote_hangs(e->zygote);
    else
        engine_kill(e);
}

/* ---- What the zygote says ---- */

void engine_spawned(struct engine *e, pid_t pid)
{
    e->pid = pid;
}

static void describe(struct engine *e, const struct sandbox_control_msg *msg)
{
    int pid = (int)msg->pid;

    if (msg->type == SANDBOX_SPAWN_FAILED)
        set_why(e, "fork: %s", strerror(msg->status));
    else if (msg->syscall == SYS_tgkill)
        set_why(e, "it aborted (pid %d)", pid); /* how abort(3) is seen through the filter */
    else if (msg->syscall >= 0)
        set_why(e, "stopped at the forbidden system call %d %.32s (pid %d)", (int)msg->syscall, msg->text, pid);
    else if (WIFSIGNALED(msg->status))
        set_why(e, "killed by signal %d, %s (pid %d)", WTERMSIG(msg->status),
                strsignal(WTERMSIG(msg->status)), pid);
    else
        set_why(e, "exit status %d (pid %d)", WEXITSTATUS(msg->status), pid);
}

void engine_exited(struct engine *e, const struct sandbox_control_msg *msg)
{
    describe(e, msg);
    if (!e->dropping)
        e->killed = msg->type == SANDBOX_SPAWN_FAILED ||
                    (WIFSIGNALED(msg->status) && WTERMSIG(msg->status) == SIGKILL);
    e->exited = true;
    e->pid = 0;
    go_on_ending(e);
}

void engine_orphaned(struct engine *e)
{
    if (e->child_fd >= 0 || e->exited)
        return; /* the next zygote will fork it, or it is over anyway */
    set_why(e, "the zygote died and its sandboxes with it (pid %d)", (int)e->pid);
    e->killed |= !e->dropping;
    e->exited = true;
    e->pid = 0;
    begin_end(e);
}

/* ---- Replies ---- */

/* A whole frame: the engine is at rest again when the owner hears of it. Touches nothing after the call. */
static void reply(struct engine *e, const uint8_t *frame, size_t len)
{
    e->busy = false;
    if (!e->ending)
        loop_timer_stop(e->timer);
    e->ops->on_reply(e->arg, frame[4], frame + 5, len - 5);
}

/* Length of the frame that begins here; 0: not enough bytes yet; sets *bad if it cannot be one. */
static size_t frame_length(const uint8_t *bytes, size_t len, bool *bad)
{
    size_t n;

    if (len < 4)
        return 0;
    n = (size_t)bytes[0] << 24 | (size_t)bytes[1] << 16 | (size_t)bytes[2] << 8 | bytes[3];
    *bad = n < 1 || n > SANDBOX_FRAME_MAX || len > 4 + n;
    return len < 4 + n ? 0 : 4 + n;
}

/* The frame came in pieces: it is put together in the engine's buffer, which goes with it. */
static void collect(struct engine *e, const uint8_t *bytes, size_t len)
{
    struct vt_buf whole;
    bool bad = false;
    size_t n;
    int err = vt_buf_put(&e->in, bytes, len);

    if (err) {
        broke_protocol(e, err == VT_ENOMEM ? "no memory for its reply" : "its reply is too long");
        return;
    }
    n = frame_length(vt_buf_bytes(&e->in), vt_buf_size(&e->in), &bad);
    if (bad) {
        broke_protocol(e, "its reply is not one frame");
        return;
    }
    if (!n)
        return;
    whole = e->in;
    vt_buf_init(&e->in, FRAME_BUFFER);
    reply(e, vt_buf_bytes(&whole), n);
    vt_buf_free(&whole);
}

static void take(struct engine *e, const uint8_t *bytes, size_t len)
{
    bool bad = false;
    size_t n;

    if (e->dropping)
        return;
    /* Nor may it answer what it has not read to the end. */
    if (!e->busy || vt_buf_size(&e->out)) {
        broke_protocol(e, "it spoke unasked");
        return;
    }
    if (vt_buf_size(&e->in)) {
        collect(e, bytes, len);
        return;
    }
    n = frame_length(bytes, len, &bad);
    if (bad)
        broke_protocol(e, "its reply is not one frame");
    else if (n)
        reply(e, bytes, n);
    else
        collect(e, bytes, len);
}

static void on_readable(struct engine *e)
{
    struct zygote *z = e->zygote;
    ssize_t n = read(e->fd, z->scratch, sizeof z->scratch);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        take(e, z->scratch, (size_t)n);
        vt_wipe(z->scratch, (size_t)n);
        return;
    }
    e->eof = true;
    loop_fd_events(e->watch, 0);
    go_on_ending(e);
}

/* ---- Requests ---- */

/* False: the socket is full for now. A closed one counts as written: its end of file tells. */
static bool flush(struct engine *e)
{
    while (vt_buf_size(&e->out)) {
        ssize_t n = send(e->fd, vt_buf_bytes(&e->out), vt_buf_size(&e->out), MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return false;
        vt_buf_drop(&e->out, n < 0 ? vt_buf_size(&e->out) : (size_t)n);
    }
    vt_buf_free(&e->out);
    return true;
}

static void on_events(void *arg, int events)
{
    struct engine *e = arg;

    if (events & LOOP_WRITE && flush(e))
        loop_fd_events(e->watch, LOOP_READ);
    if (events & LOOP_READ)
        on_readable(e);
}

/* Sends what the socket takes; the rest waits in `out`. */
static int send_parts(struct engine *e, struct iovec *iov, size_t count)
{
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};
    ssize_t n = sendmsg(e->fd, &msg, MSG_NOSIGNAL);
    size_t sent = n < 0 ? 0 : (size_t)n;

    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return VT_OK;
    for (size_t i = 0; i < count; i++) {
        size_t skip = VT_MIN(sent, iov[i].iov_len);
        int err = vt_buf_put(&e->out, (const uint8_t *)iov[i].iov_base + skip, iov[i].iov_len - skip);

        if (err)
            return err;
        sent -= skip;
    }
    if (vt_buf_size(&e->out))
        loop_fd_events(e->watch, LOOP_READ | LOOP_WRITE);
    return VT_OK;
}

int engine_request(struct engine *e, uint8_t type, const struct cr_slice *parts, size_t count)
{
    struct iovec iov[PARTS_MAX + 1];
    uint8_t head[5];
    size_t len = 1;
    int err;

    if (e->is_gone || e->ending)
        return VT_ECLOSED;
    if (e->busy)
        return VT_ECONFLICT;
    if (count > PARTS_MAX)
        return VT_EUSAGE;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].len > SANDBOX_FRAME_MAX - len)
            return VT_ETOOBIG;
        len += parts[i].len;
        iov[i + 1].iov_len = parts[i].len;
        memcpy(&iov[i + 1].iov_base, &parts[i].ptr, sizeof parts[i].ptr); /* an iovec has no const */
    }
    for (int i = 0; i < 4; i++)
        head[i] = (uint8_t)(len >> (24 - 8 * i));
    head[4] = type;
    iov[0] = (struct iovec){head, sizeof head};
    err = send_parts(e, iov, count + 1);
    if (err) {
        /* Half a request is out: it is of no use any more. */
        broke_protocol(e, "no memory for its request");
        return err;
    }
    e->busy = true;
    loop_timer_start(e->timer, e->limit_ms);
    return VT_OK;
}

bool engine_is_busy(const struct engine *e)
{
    return e->busy;
}

bool engine_was_killed(const struct engine *e)
{
    return e->killed;
}

pid_t engine_pid(const struct engine *e)
{
    return e->pid;
}

/* ---- Life ---- */

static int make_sockets(struct engine *e)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
        return VT_EIO;
    e->fd = fds[0];
    e->child_fd = fds[1];
    /* Only ours: the sandbox waits in read(2). */
    return fcntl(e->fd, F_SETFL, O_NONBLOCK) ? VT_EIO : VT_OK;
}

static int spawn(struct zygote *z, uint32_t what, uint32_t limit_ms, const struct engine_ops *ops, void *arg,
                 struct engine **engine)
{
    struct engine *e = VT_NEW(struct engine);
    int err;

    if (!e)
        return VT_ENOMEM;
    e->zygote = z;
    e->ops = ops;
    e->arg = arg;
    e->spawn = what;
    e->limit_ms = limit_ms;
    e->fd = e->child_fd = -1;
    vt_list_init(&e->node);
    vt_list_init(&e->waiting);
    vt_buf_init(&e->in, FRAME_BUFFER);
    vt_buf_init(&e->out, FRAME_BUFFER);
    err = make_sockets(e);
    if (!err)
        err = loop_fd_new(z->loop, &e->watch, e->fd, on_events, e);
    if (!err)
        err = loop_timer_new(z->loop, &e->timer, on_timer, e);
    if (err) {
        e->is_gone = true;
        engine_free(e);
        return err;
    }
    loop_fd_events(e->watch, LOOP_READ);
    e->id = ++z->last_id;
    vt_list_add(&z->engines[e->id % ZYGOTE_BUCKETS], &e->node);
    zygote_ask_spawn(z, e);
    *engine = e;
    return VT_OK;
}

int engine_spawn(struct zygote *z, const struct engine_ops *ops, void *arg, struct engine **engine)
{
    return spawn(z, SANDBOX_SPAWN, z->request_limit_ms, ops, arg, engine);
}

int engine_spawn_maker(struct zygote *z, const struct engine_ops *ops, void *arg, uint32_t limit_ms,
                       struct engine **engine)
{
    return spawn(z, SANDBOX_SPAWN_MAKER, limit_ms, ops, arg, engine);
}

void engine_free(struct engine *e)
{
    bool alive;

    if (!e)
        return;
    alive = !e->is_gone && e->child_fd < 0 && !e->exited;
    detach(e);
    /* A sound one sees the end of its socket, wipes and leaves; one that a guest took over need not. */
    if (alive)
        zygote_ask_kill(e->zygote, e->id);
    loop_timer_free(e->timer);
    vt_free(e);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/zygote.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/core/zygote_priv.h"

#define REQUEST_LIMIT_MS 30000
#define READY_LIMIT_MS 60000
/* A zygote that lived so long is not one that cannot live. */
#define GOOD_LIFE_US (10 * 1000000ull)
#define RESTART_MAX_MS 10000
/* A zygote that leaves so many unread is worth no more. */
#define KILLS_MAX 4096

/* ---- Starting the process ---- */

/* No environment: it needs none, and the broker's is nobody's business. Sanitizers want their options. */
static char *const *environment(void)
{
#ifdef VTPM_WIDE_SECCOMP
    return environ;
#else
    static char *const none[] = {NULL};

    return none;
#endif
}

/*
 * A process group of its own: a terminal's Ctrl-C is for the broker, which then drains with its engines alive. No session of its
 * own: the kernel's autogroups would weigh all engines and key makers together as much as the broker, whatever their niceness.
 */
static int set_attributes(posix_spawnattr_t *attr)
{
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    if (posix_spawnattr_setsigmask(attr, &none) || posix_spawnattr_setsigdefault(attr, &all))
        return -1;
    return posix_spawnattr_setflags(attr,
                                    POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

static int execute(const char *path, int control, pid_t *pid)
{
    static char name[] = "vtpm-engine", option[] = "--zygote";
    char *const argv[] = {name, option, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int rc = ENOMEM;

    if (posix_spawn_file_actions_init(&actions))
        return rc;
    if (!posix_spawnattr_init(&attr)) {
        if (!posix_spawn_file_actions_adddup2(&actions, control, SANDBOX_CONTROL_FD) &&
            !posix_spawn_file_actions_addclosefrom_np(&actions, SANDBOX_CONTROL_FD + 1) &&
            !set_attributes(&attr))
            rc = posix_spawn(pid, path, &actions, &attr, argv, environment());
        posix_spawnattr_destroy(&attr);
    }
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

static void on_control(void *arg, int events);

static int start(struct zygote *z, struct vt_why *why)
{
    int fds[2], rc, err;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
        return vt_fail(why, VT_EIO, "zygote: socketpair: %s", strerror(errno));
    rc = fcntl(fds[0], F_SETFL, O_NONBLOCK) ? errno : execute(z->path, fds[1], &z->pid);
    close(fds[1]);
    if (rc) {
        close(fds[0]);
        z->pid = 0;
        return vt_fail(why, VT_EIO, "%s: cannot be executed: %s", z->path, strerror(rc));
    }
    z->control = fds[0];
    z->state = ZYGOTE_STARTING;
    err = loop_fd_new(z->loop, &z->watch, z->control, on_control, z);
    if (err)
        return vt_fail(why, err, "zygote: %s", vt_err_text(err));
    loop_fd_events(z->watch, LOOP_READ);
    loop_timer_start(z->timer, READY_LIMIT_MS);
    return VT_OK;
}

/*
 * Ends what there is of the process. It is our child and not reaped yet, so the pid is its own. Returns the
 * status.
 */
static int stop(struct zygote *z)
{
    int status = 0;

    loop_fd_free(z->watch);
    z->watch = NULL;
    if (z->control >= 0)
        close(z->control);
    z->control = -1;
    vt_buf_free(&z->kills);
    if (z->pid > 0) {
        kill(z->pid, SIGKILL);
        while (waitpid(z->pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    z->pid = 0;
    z->state = ZYGOTE_DOWN;
    return status;
}

static void restart_later(struct zygote *z)
{
    uint64_t delay = 0;

    if (z->deaths)
        delay = VT_MIN(50ull << VT_MIN(z->deaths, 16u), (unsigned long long)RESTART_MAX_MS);
    z->deaths++;
    loop_timer_start(z->timer, delay);
}

static void tell(struct zygote *z, int err, const char *text)
{
    if (z->on_ready)
        z->on_ready(z->arg, err, text);
}

/* The zygote is gone or of no use: its engines are told, and the next one is started. Runs no callback. */
static void lost(struct zygote *z, const char *how)
{
    pid_t pid = z->pid;
    int status;

    if (z->state == ZYGOTE_READY && loop_now_us() - z->ready_us >= GOOD_LIFE_US)
        z->deaths = 0;
    status = stop(z);
    vt_log_with(VT_LOG_ERROR, VT_FIELDS(VT_NUMBER("pid", (unsigned)pid), VT_NUMBER("wait_status", (unsigned)status)),
                "zygote: %s; starting it again", how);
    for (size_t i = 0; i < ZYGOTE_BUCKETS; i++)
        VT_LIST_EACH(&z->engines[i], node)
            engine_orphaned(VT_LIST_ENTRY(node, struct engine, node));
    restart_later(z);
}

static void on_timer(void *arg)
{
    struct zygote *z = arg;
    struct vt_why why = {""};

    if (z->state == ZYGOTE_STARTING) {
        lost(z, "its self-tests do not end");
        tell(z, VT_ETIMEOUT, "the engine's self-tests do not end");
        return;
    }
    if (start(z, &why)) {
        vt_error("zygote: %s", why.text);
        stop(z);
        restart_later(z);
        tell(z, VT_EIO, why.text);
    }
}

/* ---- Asking it ---- */

static int send_msg(struct zygote *z, const struct sandbox_control_msg *msg, int fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_len = sizeof *msg};
    struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    memcpy(&iov.iov_base, &msg, sizeof msg); /* an iovec has no const */
    if (fd >= 0) {
        memset(&control, 0, sizeof control);
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        control.align.cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(&control.align), &fd, sizeof fd);
        hdr.msg_control = control.bytes;
        hdr.msg_controllen = sizeof control.bytes;
    }
    do
        n = sendmsg(z->control, &hdr, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? VT_EAGAIN : VT_ECLOSED;
    return VT_OK;
}

static int send_kill(struct zygote *z, uint32_t id)
{
    struct sandbox_control_msg msg = {.type = SANDBOX_KILL, .id = id, .syscall = -1};

    return send_msg(z, &msg, -1);
}

/* False: the socket is full. */
static bool send_kills(struct zygote *z)
{
    uint32_t id;

    while (vt_buf_size(&z->kills)) {
        memcpy(&id, vt_buf_bytes(&z->kills), sizeof id);
        if (send_kill(z, id) == VT_EAGAIN)
            return false;
        vt_buf_drop(&z->kills, sizeof id);
    }
    return true;
}

/* In order, as far as the socket takes them; a broken socket is seen by reading. */
static void send_waiting(struct zygote *z)
{
    bool full = !send_kills(z);

    VT_LIST_EACH(&z->waiting, node) {
        if (full)
            break;
        struct engine *e = VT_LIST_ENTRY(node, struct engine, waiting);
        struct sandbox_control_msg msg = {.type = e->spawn, .id = e->id, .syscall = -1};
        int err = send_msg(z, &msg, e->child_fd);

        full = err == VT_EAGAIN;
        if (err)
            break;
        vt_list_remove(&e->waiting);
        close(e->child_fd);
        e->child_fd = -1;
    }
    loop_fd_events(z->watch, full ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

void zygote_ask_spawn(struct zygote *z, struct engine *e)
{
    vt_list_add(&z->waiting, &e->waiting);
    if (z->state == ZYGOTE_READY)
        send_waiting(z);
}

void zygote_ask_kill(struct zygote *z, uint32_t id)
{
    if (z->state != ZYGOTE_READY || (!vt_buf_size(&z->kills) && send_kill(z, id) != VT_EAGAIN))
        return;
    /* Many may leave at once while it is busy. But all its sandboxes end with one that does not read at all. */
    if (vt_buf_put(&z->kills, &id, sizeof id))
        lost(z, "it does not read its socket");
    else
        loop_fd_events(z->watch, LOOP_READ | LOOP_WRITE);
}

void zygote_hangs(struct zygote *z)
{
    if (z->state == ZYGOTE_READY)
        lost(z, "it starts nothing");
}

/* ---- Listening to it ---- */

static struct engine *find(struct zygote *z, uint32_t id)
{
    VT_LIST_EACH(&z->engines[id % ZYGOTE_BUCKETS], node) {
        struct engine *e = VT_LIST_ENTRY(node, struct engine, node);

        if (e->id == id)
            return e;
    }
    return NULL;
}

static void on_ready_msg(struct zygote *z, const struct sandbox_control_msg *msg)
{
    if (msg->status != 1) {
        lost(z, msg->text);
        tell(z, VT_ECRYPTO, msg->text);
        return;
    }
    loop_timer_stop(z->timer);
    z->state = ZYGOTE_READY;
    z->ready_us = loop_now_us();
    vt_log_with(VT_LOG_DEBUG, VT_FIELDS(VT_NUMBER("pid", (unsigned)z->pid), VT_TEXT("crypto", msg->text)),
                "zygote: ready");
    send_waiting(z);
    tell(z, VT_OK, msg->text);
}

static void handle(struct zygote *z, const struct sandbox_control_msg *msg)
{
    struct engine *e;

    if (msg->type == SANDBOX_READY && z->state == ZYGOTE_STARTING) {
        on_ready_msg(z, msg);
        return;
    }
    e = find(z, msg->id);
    if (msg->type == SANDBOX_SPAWNED && e)
        engine_spawned(e, msg->pid);
    else if ((msg->type == SANDBOX_EXITED || msg->type == SANDBOX_SPAWN_FAILED) && e)
        engine_exited(e, msg);
}

static void on_control(void *arg, int events)
{
    struct zygote *z = arg;
    struct sandbox_control_msg msg;
    bool was_ready = z->state == ZYGOTE_READY;
    ssize_t n;

    if (events & LOOP_WRITE && was_ready)
        send_waiting(z);
    n = recv(z->control, &msg, sizeof msg, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n == sizeof msg) {
        msg.text[sizeof msg.text - 1] = '\0';
        handle(z, &msg);
        return;
    }
    lost(z, n > 0 ? "it speaks another protocol" : "it ended");
    if (!was_ready)
        tell(z, VT_EIO, "the engine ended before its self-tests did");
}

/* ---- Life ---- */

int zygote_start(struct zygote **zygote, struct loop *loop, const struct zygote_config *config,
                 struct vt_why *why)
{
    struct zygote *z = VT_NEW(struct zygote);
    int err;

    if (!z)
        return vt_fail(why, VT_ENOMEM, "zygote: %s", vt_err_text(VT_ENOMEM));
    z->loop = loop;
    z->control = -1;
    z->request_limit_ms = config->request_limit_ms ? config->request_limit_ms : REQUEST_LIMIT_MS;
    z->on_ready = config->on_ready;
    z->arg = config->arg;
    vt_list_init(&z->waiting);
    vt_buf_init(&z->kills, KILLS_MAX * sizeof(uint32_t));
    for (size_t i = 0; i < ZYGOTE_BUCKETS; i++)
        vt_list_init(&z->engines[i]);
    z->path = vt_strdup(config->engine_path);
    err = z->path ? loop_timer_new(loop, &z->timer, on_timer, z) : VT_ENOMEM;
    if (err)
        vt_fail(why, err, "zygote: %s", vt_err_text(err));
    else
        err = start(z, why);
    if (err) {
        zygote_free(z);
        return err;
    }
    *zygote = z;
    return VT_OK;
}

void zygote_free(struct zygote *z)
{
    if (!z)
        return;
    for (size_t i = 0; i < ZYGOTE_BUCKETS; i++)
        assert(vt_list_empty(&z->engines[i]));
    stop(z);
    loop_timer_free(z->timer);
    vt_free(z->path);
    vt_free(z);
}

bool zygote_is_ready(const struct zygote *z)
{
    return z->state == ZYGOTE_READY;
}

pid_t zygote_pid(const struct zygote *z)
{
    return z->pid;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The zygote: does once what every sandbox needs (self-tests, which warm libcrypto; the filter) and forks
 * sandboxes when the broker asks. It never sees a guest's byte nor a secret. Single-threaded: fork copies
 * everything that matters.
 */
#include <errno.h>
#include <linux/capability.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/list.h"
#include "server/crypto/crypto.h"
#include "server/sandbox/confine.h"
#include "server/sandbox/keymaker.h"
#include "server/sandbox/sandbox.h"

#define PAGE 4096

struct child {
    struct vt_list node;
    uint32_t id;
    pid_t pid;
    int32_t *refused_plus_1; /* a page shared with this child only */
};

struct zygote {
    int control;
    int signals;
    pid_t pid;
    struct vt_list children;
};

static int send_msg(const struct zygote *z, const struct sandbox_control_msg *msg)
{
    ssize_t n;

    do
        n = send(z->control, msg, sizeof *msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n == sizeof *msg ? VT_OK : VT_ECLOSED;
}

/* ---- What every sandbox inherits ---- */

/*
 * The self-tests use every primitive once: what libcrypto sets up at a first use is set up before the first
 * fork.
 */
static int prepare(struct vt_why *why)
{
    int err = cr_init();

    if (err)
        return vt_fail(why, err, "crypto: %s", vt_err_text(err));
    err = cr_self_test(why);
    if (err)
        return vt_fail(why, err, "self-test: %s", vt_err_text(err));
    return sandbox_filter_build(why);
}

static int tell_ready(const struct zygote *z, int err, const struct vt_why *why)
{
    struct sandbox_control_msg msg = {.type = SANDBOX_READY, .pid = z->pid, .status = !err, .syscall = -1};
    const char *text = err ? why->text : cr_backend();

    memcpy(msg.text, text, strnlen(text, sizeof msg.text - 1));
    return send_msg(z, &msg);
}

/* As root (containers) it could do more than it ever needs; as another user this changes nothing. */
static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];

    memset(none, 0, sizeof none);
    return (int)syscall(SYS_capset, &header, none);
}

/* The broker's end of a socket decides when something ends, not a signal to its group or control group. */
static int set_signals(struct zygote *z)
{
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
    sigset_t set;

    for (size_t i = 0; i < VT_COUNT(ignored); i++)
        signal(ignored[i], SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_SETMASK, &set, NULL))
        return -1;
    z->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return z->signals < 0 ? -1 : 0;
}

/* A child touches little of the heap: small steps, large blocks apart and given back. */
static void set_heap(void)
{
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_TOP_PAD, 4 * PAGE);
    mallopt(M_TRIM_THRESHOLD, 8 * PAGE);
    mallopt(M_MMAP_THRESHOLD, 16 * PAGE);
}

/* ---- Children ---- */

static void child_free(struct child *child)
{
    if (!child)
        return;
    vt_list_remove(&child->node);
    if (child->refused_plus_1)
        munmap(child->refused_plus_1, PAGE);
    vt_free(child);
}

static struct child *child_new(uint32_t id)
{
    struct child *child = VT_NEW(struct child);
    void *page;

    if (!child)
        return NULL;
    vt_list_init(&child->node);
    child->id = id;
    page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        child_free(child);
        return NULL;
    }
    child->refused_plus_1 = page;
    return child;
}

static void run_child(const struct zygote *z, const struct child *child, int fd, bool is_maker)
{
    sigset_t none;
    int err;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* If the zygote died before the first line took effect, the second one sees it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) || getppid() != z->pid)
        _exit(1);
    sandbox_report_to(child->refused_plus_1);
    if (is_maker)
        keymaker_lower_priority();
    err = sandbox_confine(fd, NULL);
    _exit(err ? 1 : is_maker ? keymaker_serve(fd) : sandbox_serve(fd));
}

static int spawn(struct zygote *z, uint32_t id, int fd, bool is_maker)
{
    struct sandbox_control_msg msg = {.type = SANDBOX_SPAWNED, .id = id, .syscall = -1};
    struct child *child = child_new(id);

    if (!child) {
        msg.type = SANDBOX_SPAWN_FAILED;
        msg.status = ENOMEM;
        return send_msg(z, &msg);
    }
    child->pid = fork();
    if (child->pid == 0)
        run_child(z, child, fd, is_maker);
    if (child->pid < 0) {
        msg.type = SANDBOX_SPAWN_FAILED;
        msg.status = errno;
        child_free(child);
        return send_msg(z, &msg);
    }
    /* The next child must not have this one's page. */
    madvise(child->refused_plus_1, PAGE, MADV_DONTFORK);
    vt_list_add(&z->children, &child->node);
    msg.pid = child->pid;
    return send_msg(z, &msg);
}

static void kill_child(struct zygote *z, uint32_t id)
{
    VT_LIST_EACH(&z->children, node) {
        struct child *child = VT_LIST_ENTRY(node, struct child, node);

        if (child->id == id)
            kill(child->pid, SIGKILL);
    }
}

static int tell_exited(struct zygote *z, struct child *child, int status)
{
    struct sandbox_control_msg msg = {
        .type = SANDBOX_EXITED, .id = child->id, .pid = child->pid, .status = status, .syscall = -1};

    if (WIFEXITED(status) && WEXITSTATUS(status) == SANDBOX_EXIT_FORBIDDEN)
        msg.syscall = __atomic_load_n(child->refused_plus_1, __ATOMIC_SEQ_CST) - 1;
    if (msg.syscall >= 0)
        sandbox_syscall_name(msg.syscall, msg.text, sizeof msg.text);
    child_free(child);
    return send_msg(z, &msg);
}

static int reap(struct zygote *z)
{
    struct signalfd_siginfo info;
    pid_t pid;
    int status;

    if (read(z->signals, &info, sizeof info) < 0 && errno != EAGAIN && errno != EINTR)
        return VT_EIO;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        VT_LIST_EACH(&z->children, node) {
            struct child *child = VT_LIST_ENTRY(node, struct child, node);

            if (child->pid != pid)
                continue;
            if (tell_exited(z, child, status))
                return VT_ECLOSED;
            break;
        }
    }
    return VT_OK;
}

/* ---- The control socket ---- */

static int passed_fd(struct msghdr *hdr)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(hdr);
    int fd;

    if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof fd))
        return -1;
    memcpy(&fd, CMSG_DATA(c), sizeof fd);
    return fd;
}

/* VT_ECLOSED: the broker is gone; VT_EPROTO: it is not our broker. */
static int receive(struct zygote *z)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct sandbox_control_msg msg;
    struct iovec iov = {&msg, sizeof msg};
    struct msghdr hdr = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
        .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(z->control, &hdr, MSG_CMSG_CLOEXEC);
    int fd, err = VT_OK;

    if (n < 0 && errno == EINTR)
        return VT_OK;
    if (n <= 0)
        return VT_ECLOSED;
    fd = passed_fd(&hdr);
    if (n != sizeof msg || hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
        err = VT_EPROTO;
    else if ((msg.type == SANDBOX_SPAWN || msg.type == SANDBOX_SPAWN_MAKER) && fd >= 0)
        err = spawn(z, msg.id, fd, msg.type == SANDBOX_SPAWN_MAKER);
    else if (msg.type == SANDBOX_KILL && fd < 0)
        kill_child(z, msg.id);
    else
        err = VT_EPROTO;
    if (fd >= 0)
        close(fd);
    return err;
}

static int serve(struct zygote *z)
{
    struct pollfd fds[2] = {{.fd = z->control, .events = POLLIN}, {.fd = z->signals, .events = POLLIN}};
    int err = VT_OK;

    while (!err) {
        if (poll(fds, 2, -1) < 0) {
            err = errno == EINTR ? VT_OK : VT_EIO;
            continue;
        }
        if (fds[1].revents)
            err = reap(z);
        if (!err && fds[0].revents)
            err = receive(z);
    }
    return err;
}

/* Its children end with it (PR_SET_PDEATHSIG). */
int sandbox_zygote(int control_fd)
{
    struct zygote z = {.control = control_fd, .signals = -1, .pid = getpid()};
    struct vt_why why = {""};
    int err;

    vt_list_init(&z.children);
    set_heap();
    if (set_signals(&z) || drop_capabilities())
        err = vt_fail(&why, VT_EFAIL, "signals or capabilities: %s", strerror(errno));
    else
        err = prepare(&why);
    if (tell_ready(&z, err, &why) || err)
        return 1;
    err = serve(&z);
    VT_LIST_EACH(&z.children, node)
        child_free(VT_LIST_ENTRY(node, struct child, node));
    return err == VT_ECLOSED ? 0 : 1;
}

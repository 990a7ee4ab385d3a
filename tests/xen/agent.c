/* SPDX-License-Identifier: Apache-2.0
 * Runs shell commands that arrive as lines on a device and answers with their output.
 *
 *   agent serve DEVICE               in dom0 on the virtio port, in a guest on its console
 *   agent ask GUEST SECONDS COMMAND  in dom0: one command to that domain's console; prints, and exits as it
 * did
 *
 * A request is "run ID SECONDS HEX", its answer "@@ID STATUS HEX"; other lines (kernel messages) are passed
 * over. Hexadecimal, because a console is not a clean channel and a line must stay a line. Requests run side
 * by side.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <xenstore.h>

enum { MAX_JOBS = 16, MAX_OUTPUT = 1 << 20, STATUS_LIMIT = 124, STATUS_AGENT = 125 };

struct text {
    char *data;
    size_t size, room;
};

struct job {
    pid_t pid; /* 0: free */
    int out;
    double end;
    int late;
    char id[32];
    struct text output;
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
    fprintf(stderr, "agent: %s: %s\n", what, strerror(errno));
    exit(STATUS_AGENT);
}

static void text_add(struct text *t, const char *data, size_t size)
{
    if (t->size + size + 1 > t->room) {
        t->room = (t->size + size + 1) * 2;
        t->data = realloc(t->data, t->room);
        if (!t->data)
            die("memory");
    }
    memcpy(t->data + t->size, data, size);
    t->size += size;
    t->data[t->size] = 0;
}

static void text_clear(struct text *t)
{
    free(t->data);
    *t = (struct text){0};
}

/* Takes the first line off, without its end; NULL when there is none yet. The caller frees it. */
static char *text_line(struct text *t)
{
    char *end = t->size ? memchr(t->data, '\n', t->size) : NULL;

    if (!end)
        return NULL;
    size_t size = (size_t)(end - t->data);
    char *line = strndup(t->data, size);
    t->size -= size + 1;
    memmove(t->data, end + 1, t->size);
    t->data[t->size] = 0;
    return line;
}

static void text_hex(struct text *t, const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        char pair[3];

        snprintf(pair, sizeof pair, "%02x", (unsigned char)data[i]);
        text_add(t, pair, 2);
    }
}

/* In place; stops at the first character that is none. */
static size_t unhex(char *s)
{
    size_t n = 0;
    unsigned byte;

    while (isxdigit((unsigned char)s[2 * n]) && isxdigit((unsigned char)s[2 * n + 1]) &&
           sscanf(s + 2 * n, "%2x", &byte) == 1)
        s[n++] = (char)byte;
    s[n] = 0;
    return n;
}

/* A console's buffer is small and its reader slow: what does not fit now goes later. */
static void write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);

        if (n < 0 && errno != EAGAIN && errno != EINTR)
            die("write");
        if (n < 0) {
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 100);
            continue;
        }
        data += n;
        size -= (size_t)n;
    }
}

static int open_device(const char *path)
{
    int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        die(path);
    struct termios t;
    if (tcgetattr(fd, &t) == 0) {
        cfmakeraw(&t);
        tcsetattr(fd, TCSANOW, &t);
    }
    return fd;
}

/* 0 when the other side is away for now. */
static size_t read_into(int fd, struct text *t)
{
    char buf[4096];
    ssize_t n = read(fd, buf, sizeof buf);

    if (n < 0 && errno != EAGAIN && errno != EINTR && errno != EIO)
        die("read");
    if (n <= 0)
        return 0;
    text_add(t, buf, (size_t)n);
    return (size_t)n;
}

/* ---- serve ---- */
static struct job jobs[MAX_JOBS];

static void answer(int fd, const char *id, int status, const struct text *output)
{
    struct text line = {0};
    char head[64];

    text_add(&line, head, (size_t)snprintf(head, sizeof head, "\n@@%s %d ", id, status));
    text_hex(&line, output->size ? output->data : "", output->size);
    text_add(&line, "\n", 1);
    write_all(fd, line.data, line.size);
    text_clear(&line);
}

static void start(struct job *j, const char *id, int seconds, const char *command)
{
    int ends[2];

    if (pipe(ends) < 0)
        die("pipe");
    *j = (struct job){.out = ends[0], .end = now() + seconds};
    snprintf(j->id, sizeof j->id, "%s", id);
    j->pid = fork();
    if (j->pid < 0)
        die("fork");
    if (j->pid == 0) {
        setsid();
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        close(ends[0]);
        close(ends[1]);
        close(0);
        open("/dev/null", O_RDONLY);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(STATUS_AGENT);
    }
    close(ends[1]);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
}

static void on_request(int fd, char *line)
{
    char id[32];
    int seconds, at = 0;

    if (sscanf(line, "run %31s %d %n", id, &seconds, &at) != 2 || !at)
        return;
    unhex(line + at);
    for (size_t i = 0; i < MAX_JOBS; i++)
        if (!jobs[i].pid) {
            start(&jobs[i], id, seconds, line + at);
            return;
        }
    answer(fd, id, STATUS_AGENT, &(struct text){0});
}

static void drain(struct job *j)
{
    while (read_into(j->out, &j->output) > 0)
        if (j->output.size > MAX_OUTPUT)
            j->output.size = MAX_OUTPUT;
}

/* A daemon that the command left behind holds the pipe open: the shell's own end is the end. */
static void reap(int fd, struct job *j)
{
    int status;

    drain(j);
    if (!j->late && now() > j->end) {
        kill(-j->pid, SIGKILL);
        j->late = 1;
    }
    if (waitpid(j->pid, &status, WNOHANG) != j->pid)
        return;
    drain(j);
    status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    answer(fd, j->id, j->late ? STATUS_LIMIT : status, &j->output);
    close(j->out);
    text_clear(&j->output);
    j->pid = 0;
}

static void on_child(int sig)
{
    (void)sig; /* only to wake the poll */
}

static void wait_for_something(int fd)
{
    struct pollfd p[1 + MAX_JOBS] = {{.fd = fd, .events = POLLIN}};
    nfds_t n = 1;

    for (size_t i = 0; i < MAX_JOBS; i++)
        if (jobs[i].pid)
            p[n++] = (struct pollfd){.fd = jobs[i].out, .events = POLLIN};
    if (poll(p, n, n > 1 ? 100 : 1000) > 0 && (p[0].revents & POLLHUP))
        usleep(100000); /* nobody at the other end of the port */
    else if (n > 1)
        usleep(1000); /* a closed pipe is always readable: not a busy loop */
}

static void serve(const char *device)
{
    struct text in = {0};
    int fd = open_device(device);

    sigaction(SIGCHLD, &(struct sigaction){.sa_handler = on_child}, NULL);
    signal(SIGPIPE, SIG_IGN);
    write_all(fd, "\n@@ready\n", 9);
    for (;;) {
        char *line;

        wait_for_something(fd);
        read_into(fd, &in);
        while ((line = text_line(&in)) != NULL) {
            on_request(fd, line);
            free(line);
        }
        for (size_t i = 0; i < MAX_JOBS; i++)
            if (jobs[i].pid)
                reap(fd, &jobs[i]);
    }
}

/* ---- ask ---- */
static int print_answer(char *line, const char *mark)
{
    int status, at = 0;
    char *found = strstr(line, mark);

    if (!found || sscanf(found + strlen(mark), "%d %n", &status, &at) != 1)
        return -1;
    char *output = found + strlen(mark) + at;
    fwrite(output, 1, unhex(output), stdout);
    return status;
}

static char *read_node(struct xs_handle *store, const char *domid, const char *leaf)
{
    char path[96];
    unsigned len;

    snprintf(path, sizeof path, "/local/domain/%s/%s", domid, leaf);
    return xs_read(store, XBT_NULL, path, &len);
}

/* Of the newest domain of that name: one that is about to end may still have it, too. NULL: none. */
static char *console_of(const char *name)
{
    struct xs_handle *store = xs_open(0);
    char *tty = NULL, **ids;
    unsigned n = 0;
    int newest = 0;

    if (!store)
        die("xenstore");
    ids = xs_directory(store, XBT_NULL, "/local/domain", &n);
    for (unsigned i = 0; ids && i < n; i++) {
        char *its = read_node(store, ids[i], "name");

        if (its && strcmp(its, name) == 0 && atoi(ids[i]) > newest) {
            newest = atoi(ids[i]);
            free(tty);
            tty = read_node(store, ids[i], "console/tty");
        }
        free(its);
    }
    free(ids);
    xs_close(store);
    return tty;
}

static int ask(const char *guest, int seconds, const char *command)
{
    char *device = console_of(guest);
    struct text in = {0}, line = {0};
    char head[64], mark[48];
    int fd;
    double end = now() + seconds + 10;

    if (!device || !*device) {
        fprintf(stderr, "agent: no console of a domain %s\n", guest);
        return STATUS_AGENT;
    }
    fd = open_device(device);
    tcflush(fd, TCIFLUSH);
    snprintf(mark, sizeof mark, "@@%d.%ld ", (int)getpid(), (long)time(NULL));
    text_add(&line, head, (size_t)snprintf(head, sizeof head, "\nrun %s%d ", mark + 2, seconds));
    text_hex(&line, command, strlen(command));
    text_add(&line, "\n", 1);
    write_all(fd, line.data, line.size);
    while (now() < end) {
        char *got;

        poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 200);
        read_into(fd, &in);
        while ((got = text_line(&in)) != NULL) {
            int status = print_answer(got, mark);

            free(got);
            if (status >= 0)
                return status;
        }
    }
    fprintf(stderr, "agent: no answer from %s in %d s\n", guest, seconds);
    return STATUS_LIMIT;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        serve(argv[2]);
    if (argc == 5 && strcmp(argv[1], "ask") == 0)
        return ask(argv[2], atoi(argv[3]), argv[4]);
    fprintf(stderr, "usage: agent serve DEVICE | agent ask GUEST SECONDS COMMAND\n");
    return STATUS_AGENT;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim-minios/platform.h on Linux, by Xen's libraries: with the real ones the stub domain's program runs in an ordinary
 * domain (tests/xen); with tests/unit/fake_xen.c in their place it runs on memory (tests/unit/test_minios.c).
 *
 * VTPM_TEST_RAMDISK: a file to stand for the ramdisk. VTPM_TEST_NO_RDRAND: the processor has none.
 */
#include "shim-minios/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>

#include "server/base/text.h"
#include "shim-minios/stubdom.h"

#define PORTS 16
#define TRIES 32

static struct xs_handle *xs;
static xengnttab_handle *grants;
static xenevtchn_handle *channels;
static struct {
    uint32_t port;
    bool is_bound, is_pending;
} ports[PORTS];
static volatile sig_atomic_t stopping;

/* ---- Xenstore ---- */

static char *read_all(xs_transaction_t t, const char *path)
{
    unsigned len;

    return xs_read(xs, t, path, &len);
}

int platform_read(const char *path, char *text, size_t size)
{
    char *all = read_all(XBT_NULL, path);

    if (!all)
        return errno == ENOENT || errno == EACCES ? VT_ENOTFOUND : VT_EIO;
    snprintf(text, size, "%s", all);
    free(all);
    return VT_OK;
}

size_t platform_list(const char *path, uint32_t *numbers, size_t most)
{
    unsigned count = 0;
    char **names = xs_directory(xs, XBT_NULL, path, &count);
    size_t found = 0;
    uint64_t number;

    for (unsigned i = 0; names && i < count && found < most; i++)
        if (vt_parse_u64(&number, names[i], UINT32_MAX))
            numbers[found++] = (uint32_t)number;
    free(names);
    return found;
}

static int try_write(const char *guard, const struct platform_node *nodes, size_t count)
{
    xs_transaction_t t = xs_transaction_start(xs);
    char *there = t == XBT_NULL ? NULL : read_all(t, guard);
    bool is_there = there, written = true;

    free(there);
    if (t == XBT_NULL)
        return VT_EIO;
    for (size_t i = 0; is_there && i < count; i++)
        written = xs_write(xs, t, nodes[i].path, nodes[i].value, (unsigned)strlen(nodes[i].value)) && written;
    if (xs_transaction_end(xs, t, !is_there || !written))
        return !is_there ? VT_ENOTFOUND : written ? VT_OK : VT_EIO;
    return errno == EAGAIN ? VT_EAGAIN : VT_EIO;
}

int platform_write(const char *guard, const struct platform_node *nodes, size_t count)
{
    int err = VT_EAGAIN;

    for (int i = 0; i < TRIES && err == VT_EAGAIN; i++)
        err = try_write(guard, nodes, count);
    return err;
}

void platform_remove(const char *path)
{
    (void)!xs_rm(xs, XBT_NULL, path);
}

int platform_watch(const char *path, const char *token)
{
    return xs_watch(xs, path, token) ? VT_OK : VT_EPERM;
}

void platform_unwatch(const char *path, const char *token)
{
    (void)!xs_unwatch(xs, path, token);
}

bool platform_event(char *path, size_t path_size, char *token, size_t token_size)
{
    char **event = xs_check_watch(xs);

    if (!event)
        return false;
    snprintf(path, path_size, "%s", event[XS_WATCH_PATH]);
    snprintf(token, token_size, "%s", event[XS_WATCH_TOKEN]);
    free(event);
    return true;
}

bool platform_domain_gone(uint32_t domid)
{
    errno = 0;
    return !xs_is_domain_introduced(xs, domid) && !errno;
}

/* ---- Grants and event channels ---- */

void *platform_map(uint32_t domid, uint32_t ref)
{
    return xengnttab_map_grant_ref(grants, domid, ref, PROT_READ | PROT_WRITE);
}

void platform_unmap(void *page)
{
    (void)xengnttab_unmap(grants, page, 1);
}

static int slot_of(uint32_t port)
{
    for (int i = 0; i < PORTS; i++)
        if (ports[i].is_bound && ports[i].port == port)
            return i;
    return -1;
}

int platform_bind(uint32_t domid, uint32_t remote_port, uint32_t *port)
{
    int bound = xenevtchn_bind_interdomain(channels, domid, remote_port);

    for (int i = 0; bound >= 0 && i < PORTS; i++) {
        if (ports[i].is_bound)
            continue;
        *port = ports[i].port = (uint32_t)bound;
        ports[i].is_bound = true;
        ports[i].is_pending = false;
        return VT_OK;
    }
    return VT_EIO;
}

void platform_unbind(uint32_t port)
{
    int slot = slot_of(port);

    (void)xenevtchn_unbind(channels, port);
    if (slot >= 0)
        ports[slot].is_bound = false;
}

void platform_notify(uint32_t port)
{
    (void)xenevtchn_notify(channels, port);
}

static void take_events(void)
{
    struct pollfd fd = {.fd = xenevtchn_fd(channels), .events = POLLIN};

    while (poll(&fd, 1, 0) == 1 && (fd.revents & POLLIN)) {
        int port = xenevtchn_pending(channels);
        int slot = port < 0 ? -1 : slot_of((uint32_t)port);

        if (port < 0)
            return;
        (void)xenevtchn_unmask(channels, (evtchn_port_t)port);
        if (slot >= 0)
            ports[slot].is_pending = true;
    }
}

bool platform_pending(uint32_t port)
{
    int slot;
    bool is_pending;

    take_events();
    slot = slot_of(port);
    is_pending = slot >= 0 && ports[slot].is_pending;
    if (slot >= 0)
        ports[slot].is_pending = false;
    return is_pending;
}

/* ---- Time, randomness, console ---- */

uint64_t platform_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void platform_wait(uint64_t until_ms)
{
    struct pollfd fds[] = {{.fd = xenevtchn_fd(channels), .events = POLLIN}, {.fd = xs_fileno(xs), .events = POLLIN}};
    uint64_t now = platform_now_ms();

    for (int i = 0; i < PORTS; i++)
        if (ports[i].is_bound && ports[i].is_pending)
            return;
    if (until_ms > now)
        (void)!poll(fds, 2, (int)VT_MIN(until_ms - now, (uint64_t)1000));
}

bool platform_stopping(void)
{
    return stopping;
}

int platform_entropy(uint8_t *out, size_t len)
{
    if (getenv("VTPM_TEST_NO_RDRAND"))
        return VT_ENOTSUP;
    return getrandom(out, len, 0) == (ssize_t)len ? VT_OK : VT_EFAIL;
}

uint64_t platform_jitter(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_nsec;
}

void platform_log(enum vt_log_level level, const char *line)
{
    dprintf(2, "<%d>%s\n", level, line);
}

char *platform_ramdisk(size_t *len)
{
    static char text[8192];
    static size_t size;
    const char *path = getenv("VTPM_TEST_RAMDISK");
    FILE *file;

    if (path && !size) {
        file = fopen(path, "r");
        size = file ? fread(text, 1, sizeof text, file) : 0;
        if (file)
            fclose(file);
    }
    *len = size;
    return size ? text : NULL;
}

/* ---- The program ---- */

static void on_term(int signal_number VT_UNUSED)
{
    stopping = 1;
}

int main(void)
{
    struct sigaction action = {.sa_handler = on_term};

    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    xs = xs_open(0);
    grants = xengnttab_open(NULL, 0);
    channels = xenevtchn_open(NULL, 0);
    if (!xs || !grants || !channels) {
        dprintf(2, "Xen's devices cannot be opened: %s\n", strerror(errno));
        return 1;
    }
    return stubdom_run();
}

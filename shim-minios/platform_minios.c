/* SPDX-License-Identifier: Apache-2.0 */
/*
 * platform.h on Mini-OS. Its scheduler is cooperative: only event channels' handlers interrupt us, and they set a flag and
 * wake whoever waits, which is never anybody but platform_wait. What Mini-OS gives by malloc is freed by its own free: this
 * file is linked apart from our own heap.
 */
#include <mini-os/os.h>
#include <mini-os/console.h>
#include <mini-os/events.h>
#include <mini-os/gntmap.h>
#include <mini-os/hypervisor.h>
#include <mini-os/lib.h>
#include <mini-os/sched.h>
#include <mini-os/time.h>
#include <mini-os/wait.h>
#include <mini-os/xenbus.h>
#include <mini-os/xmalloc.h>
#include <xen/io/xs_wire.h>
#include <xen/sched.h>

#include "shim-minios/platform.h"
#include "shim-minios/platform_minios.h"

#define GRANTS 16
#define PORTS  16
#define TRIES  32

static struct gntmap grants;
static volatile struct port {
    evtchn_port_t port;
    int is_bound, is_pending;
} ports[PORTS];
static xenbus_event_queue watched;
static volatile int stopping;

/* ---- Xenstore ---- */

/* Takes message: the text of an error of xenstored's, or NULL. */
static int error_of(char *message)
{
    int err = VT_EIO;

    if (!message)
        return VT_OK;
    if (strcmp(message, "ENOENT") == 0)
        err = VT_ENOTFOUND;
    else if (strcmp(message, "EACCES") == 0)
        err = VT_EPERM;
    free(message);
    return err;
}

static int read_node(xenbus_transaction_t t, const char *path, char **value)
{
    *value = NULL;
    return error_of(xenbus_read(t, path, value));
}

int platform_read(const char *path, char *text, size_t size)
{
    char *value;
    int err = read_node(XBT_NIL, path, &value);
    size_t len;

    if (err)
        return err == VT_EPERM ? VT_ENOTFOUND : err;
    len = VT_MIN(strlen(value), size - 1);
    memcpy(text, value, len);
    text[len] = '\0';
    memset(value, 0, strlen(value)); /* it may have been the credential */
    __asm__ volatile("" : : "r"(value) : "memory");
    free(value);
    return VT_OK;
}

static bool parse(const char *text, uint32_t *number)
{
    uint64_t value = 0;
    size_t i = 0;

    for (; text[i] >= '0' && text[i] <= '9' && i < 10; i++)
        value = value * 10 + (uint64_t)(text[i] - '0');
    *number = (uint32_t)value;
    return i && !text[i] && value <= UINT32_MAX;
}

size_t platform_list(const char *path, uint32_t *numbers, size_t most)
{
    char **names = NULL;
    size_t found = 0;

    if (error_of(xenbus_ls(XBT_NIL, path, &names)) || !names)
        return 0;
    for (char **name = names; *name; name++) {
        if (found < most && parse(*name, &numbers[found]))
            found++;
        free(*name);
    }
    free(names);
    return found;
}

static int try_write(const char *guard, const struct platform_node *nodes, size_t count)
{
    xenbus_transaction_t t;
    char *there;
    int err, retry = 0;

    if (error_of(xenbus_transaction_start(&t)))
        return VT_EIO;
    err = read_node(t, guard, &there);
    free(there);
    for (size_t i = 0; !err && i < count; i++)
        err = error_of(xenbus_write(t, nodes[i].path, nodes[i].value));
    if (error_of(xenbus_transaction_end(t, err != VT_OK, &retry)) && !err && !retry)
        err = VT_EIO;
    return !err && retry ? VT_EAGAIN : err;
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
    (void)error_of(xenbus_rm(XBT_NIL, path));
}

int platform_watch(const char *path, const char *token)
{
    return error_of(xenbus_watch_path_token(XBT_NIL, path, token, &watched)) ? VT_EPERM : VT_OK;
}

void platform_unwatch(const char *path, const char *token)
{
    (void)error_of(xenbus_unwatch_path_token(XBT_NIL, path, token));
}

static void copy_cut(char *to, size_t size, const char *from)
{
    size_t len = VT_MIN(strlen(from), size - 1);

    memcpy(to, from, len);
    to[len] = '\0';
}

bool platform_event(char *path, size_t path_size, char *token, size_t token_size)
{
    struct xenbus_event *event = watched;

    if (!event)
        return false;
    watched = event->next;
    copy_cut(path, path_size, event->path);
    copy_cut(token, token_size, event->token);
    free(event);
    return true;
}

bool platform_domain_gone(uint32_t domid)
{
    char text[16];
    struct write_req request = {text, 0};
    struct xsd_sockmsg *reply;
    bool is_gone;

    request.len = (unsigned)snprintf(text, sizeof text, "%u", domid) + 1;
    reply = xenbus_msg_reply(XS_IS_DOMAIN_INTRODUCED, XBT_NIL, &request, 1);
    is_gone = reply && reply->type == XS_IS_DOMAIN_INTRODUCED && reply->len && *(const char *)(reply + 1) == 'F';
    free(reply);
    return is_gone;
}

/* ---- Grants and event channels ---- */

void *platform_map(uint32_t domid, uint32_t ref)
{
    static bool is_ready;

    if (!is_ready) {
        gntmap_init(&grants);
        (void)gntmap_set_max_grants(&grants, GRANTS);
        is_ready = true;
    }
    return gntmap_map_grant_refs(&grants, 1, &domid, 0, &ref, 1);
}

void platform_unmap(void *page)
{
    (void)gntmap_munmap(&grants, (unsigned long)page, 1);
}

/* Of an event channel, in the middle of anything. */
static void on_event(evtchn_port_t port, struct pt_regs *regs, void *slot)
{
    (void)port;
    (void)regs;
    ((volatile struct port *)slot)->is_pending = 1;
    wake_up(&xenbus_watch_queue);
}

static volatile struct port *slot_of(uint32_t port)
{
    for (size_t i = 0; i < PORTS; i++)
        if (ports[i].is_bound && ports[i].port == port)
            return &ports[i];
    return NULL;
}

int platform_bind(uint32_t domid, uint32_t remote_port, uint32_t *port)
{
    evtchn_port_t local;

    for (size_t i = 0; i < PORTS; i++) {
        if (ports[i].is_bound)
            continue;
        if (evtchn_bind_interdomain((domid_t)domid, remote_port, on_event, (void *)(uintptr_t)&ports[i], &local))
            return VT_EIO;
        ports[i].port = local;
        ports[i].is_pending = 1;
        ports[i].is_bound = 1;
        unmask_evtchn(local);
        *port = local;
        return VT_OK;
    }
    return VT_EIO;
}

void platform_unbind(uint32_t port)
{
    volatile struct port *slot = slot_of(port);

    unbind_evtchn(port);
    if (slot)
        slot->is_bound = 0;
}

void platform_notify(uint32_t port)
{
    (void)notify_remote_via_evtchn(port);
}

bool platform_pending(uint32_t port)
{
    volatile struct port *slot = slot_of(port);
    bool is_pending = slot && slot->is_pending;

    if (slot)
        slot->is_pending = 0;
    return is_pending;
}

/* ---- Time, randomness, console ---- */

uint64_t platform_now_ms(void)
{
    return monotonic_clock() / 1000000;
}

static bool has_event(void)
{
    for (size_t i = 0; i < PORTS; i++)
        if (ports[i].is_bound && ports[i].is_pending)
            return true;
    return watched || stopping;
}

/* Xenstore's thread wakes this queue for a watch; our handlers do for an event. */
void platform_wait(uint64_t until_ms)
{
    s_time_t deadline = until_ms > INT64_MAX / 1000000 ? INT64_MAX : (s_time_t)(until_ms * 1000000);

    /* The others have a turn, however busy we are: xenstore's thread, and the one that hears of a shutdown. */
    schedule();
    /* To Mini-OS a deadline of 0 is none. */
    if (until_ms <= platform_now_ms())
        return;
    wait_event_deadline(xenbus_watch_queue, has_event(), deadline);
}

bool platform_stopping(void)
{
    return stopping;
}

void platform_shutdown(void)
{
    stopping = 1;
    wake_up(&xenbus_watch_queue);
}

void platform_end(int code)
{
    struct sched_shutdown how = {.reason = code ? SHUTDOWN_crash : SHUTDOWN_poweroff};

    for (;;)
        HYPERVISOR_sched_op(SCHEDOP_shutdown, &how);
}

/* CPUID leaf 1, ECX bit 30. */
static bool has_rdrand(void)
{
    uint32_t a = 1, b, c = 0, d;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return c & (1u << 30);
}

/* Ten tries, as its maker says: more means that it is broken. */
static bool rdrand(uint64_t *value)
{
    for (int i = 0; i < 10; i++) {
        uint8_t ok;

        __asm__ volatile("rdrand %0; setc %1" : "=r"(*value), "=qm"(ok) : : "cc");
        if (ok)
            return true;
    }
    return false;
}

int platform_entropy(uint8_t *out, size_t len)
{
    uint64_t value = 0;

    if (!has_rdrand())
        return VT_ENOTSUP;
    while (len) {
        size_t piece = VT_MIN(len, sizeof value);

        if (!rdrand(&value))
            return VT_EFAIL;
        memcpy(out, &value, piece);
        out += piece;
        len -= piece;
    }
    return VT_OK;
}

uint64_t platform_jitter(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

void platform_log(enum vt_log_level level, const char *line)
{
    printk("<%d>%s\n", level, line);
}

/* ---- The ramdisk ---- */

char *platform_ramdisk(size_t *len)
{
#ifdef CONFIG_PARAVIRT
    *len = start_info.mod_len;
    return *len ? (char *)start_info.mod_start : NULL;
#else
    *len = 0;
    return NULL;
#endif
}

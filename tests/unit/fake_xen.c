/* SPDX-License-Identifier: Apache-2.0 */
/* What the shim calls instead of Xen's libraries. The state is in shared memory; nothing here knows of the shim. */
#include "fake_xen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>

#define WATCHES 128
#define STAGED  8

static struct fake_xen *xen;
static int memory_fd = -1, channels_fd = -1, store_fd = -1;

static bool attach(void)
{
    const char *where = getenv(FAKE_XEN_ENV);

    if (!xen && where && sscanf(where, "%d,%d,%d", &memory_fd, &channels_fd, &store_fd) == 3)
        xen = fake_xen_map(memory_fd);
    if (!xen)
        errno = ENOENT;
    return xen;
}

/* ---- Xenstore ---- */

struct xs_handle {
    unsigned epoch, seen;
    struct {
        char path[FAKE_PATH], token[32];
        bool is_new;
    } watches[WATCHES];
    size_t count;
    size_t next;    /* watch to look at for the change at `seen` */
    bool in_transaction;
    struct fake_node staged[STAGED];
    size_t staged_count;
};

static bool answers(const struct xs_handle *h)
{
    while (xen->hangs)
        usleep(2000);
    if (!xen->is_down && h->epoch == xen->epoch)
        return true;
    errno = EPIPE;
    return false;
}

struct xs_handle *xs_open(unsigned long flags VT_UNUSED)
{
    struct xs_handle *h;

    if (!attach())
        return NULL;
    while (xen->hangs)
        usleep(2000);
    if (xen->is_down) {
        errno = ECONNREFUSED;
        return NULL;
    }
    h = calloc(1, sizeof *h);
    if (h) {
        h->epoch = xen->epoch;
        h->seen = xen->changes;
    }
    return h;
}

void xs_close(struct xs_handle *h)
{
    free(h);
}

int xs_fileno(struct xs_handle *h VT_UNUSED)
{
    return store_fd;
}

void *xs_read(struct xs_handle *h, xs_transaction_t t VT_UNUSED, const char *path, unsigned int *len)
{
    struct fake_node *node;
    char *value = NULL;

    if (!answers(h))
        return NULL;
    fake_xen_lock(xen);
    node = fake_xen_find(xen, strcmp(path, "domid") == 0 ? "/domid" : path);
    if (node) {
        value = strdup(node->value);
        *len = (unsigned)strlen(value);
    }
    fake_xen_unlock(xen);
    if (!node)
        errno = ENOENT;
    return value;
}

/* Names of the children, each once, in one block as libxenstore gives them. */
char **xs_directory(struct xs_handle *h, xs_transaction_t t VT_UNUSED, const char *path, unsigned int *num)
{
    size_t len = strlen(path);
    char **names, *text;
    bool known;

    if (!answers(h))
        return NULL;
    names = calloc(1, FAKE_NODES * (sizeof *names + FAKE_PATH));
    if (!names)
        return NULL;
    text = (char *)(names + FAKE_NODES);
    *num = 0;
    fake_xen_lock(xen);
    for (size_t i = 0; i < FAKE_NODES; i++) {
        const char *child = xen->nodes[i].path;
        if (strncmp(child, path, len) != 0 || child[len] != '/')
            continue;
        snprintf(text, FAKE_PATH, "%.*s", (int)strcspn(child + len + 1, "/"), child + len + 1);
        known = false;
        for (unsigned k = 0; k < *num; k++)
            known |= strcmp(names[k], text) == 0;
        if (known)
            continue;
        names[(*num)++] = text;
        text += FAKE_PATH;
    }
    fake_xen_unlock(xen);
    if (*num)
        return names;
    free(names);
    errno = ENOENT;
    return NULL;
}

xs_transaction_t xs_transaction_start(struct xs_handle *h)
{
    if (!answers(h))
        return XBT_NULL;
    h->in_transaction = true;
    h->staged_count = 0;
    return 1;
}

bool xs_write(struct xs_handle *h, xs_transaction_t t VT_UNUSED, const char *path, const void *data, unsigned int len)
{
    struct fake_node *node;

    if (!answers(h))
        return false;
    /* Nothing of ours may write without one: a removed device would come back. */
    if (!h->in_transaction || h->staged_count == STAGED)
        abort();
    node = &h->staged[h->staged_count++];
    snprintf(node->path, sizeof node->path, "%s", path);
    snprintf(node->value, sizeof node->value, "%.*s", (int)len, (const char *)data);
    return true;
}

bool xs_transaction_end(struct xs_handle *h, xs_transaction_t t VT_UNUSED, bool abandon)
{
    h->in_transaction = false;
    if (!answers(h))
        return false;
    fake_xen_lock(xen);
    if (!abandon && xen->conflicts) {
        xen->conflicts--;
        fake_xen_unlock(xen);
        errno = EAGAIN;
        return false;
    }
    for (size_t i = 0; i < h->staged_count && !abandon; i++)
        fake_xen_set(xen, h->staged[i].path, h->staged[i].value);
    fake_xen_unlock(xen);
    return true;
}

bool xs_rm(struct xs_handle *h, xs_transaction_t t VT_UNUSED, const char *path)
{
    if (!answers(h))
        return false;
    fake_xen_lock(xen);
    fake_xen_remove(xen, path);
    fake_xen_unlock(xen);
    return true;
}

bool xs_watch(struct xs_handle *h, const char *path, const char *token)
{
    if (!answers(h))
        return false;
    if (h->count == WATCHES) {
        errno = E2BIG;
        return false;
    }
    snprintf(h->watches[h->count].path, FAKE_PATH, "%s", path);
    snprintf(h->watches[h->count].token, sizeof h->watches[0].token, "%s", token);
    h->watches[h->count++].is_new = true;
    return true;
}

bool xs_unwatch(struct xs_handle *h, const char *path, const char *token)
{
    if (!answers(h))
        return false;
    for (size_t i = 0; i < h->count; i++)
        if (strcmp(h->watches[i].path, path) == 0 && strcmp(h->watches[i].token, token) == 0) {
            h->watches[i] = h->watches[--h->count];
            return true;
        }
    errno = ENOENT;
    return false;
}

static char **event_of(const char *path, const char *token)
{
    char **event = calloc(1, 2 * sizeof *event + 2 * FAKE_PATH);

    if (!event)
        return NULL;
    event[XS_WATCH_PATH] = (char *)(event + 2);
    event[XS_WATCH_TOKEN] = event[XS_WATCH_PATH] + FAKE_PATH;
    snprintf(event[XS_WATCH_PATH], FAKE_PATH, "%s", path);
    snprintf(event[XS_WATCH_TOKEN], FAKE_PATH, "%s", token);
    return event;
}

static bool is_below(const char *parent, const char *path)
{
    size_t len = strlen(parent);

    return strncmp(parent, path, len) == 0 && (!path[len] || path[len] == '/');
}

/* The next watch that the next change fires. A removed parent fires the watches of its children too. */
static char **next_event(struct xs_handle *h)
{
    for (; h->seen != xen->changes; h->seen++, h->next = 0) {
        const char *path = xen->changed[h->seen % FAKE_CHANGES];

        while (h->next < h->count) {
            size_t i = h->next++;
            if (is_below(h->watches[i].path, path) || is_below(path, h->watches[i].path))
                return event_of(path, h->watches[i].token);
        }
    }
    return NULL;
}

char **xs_check_watch(struct xs_handle *h)
{
    char **event = NULL;
    uint64_t count;

    if (!answers(h))
        return NULL;
    for (size_t i = 0; i < h->count && !event; i++) {
        if (h->watches[i].is_new)
            event = event_of(h->watches[i].path, h->watches[i].token);
        h->watches[i].is_new = false;
    }
    fake_xen_lock(xen);
    if (!event)
        event = next_event(h);
    fake_xen_unlock(xen);
    if (event)
        return event;
    (void)!read(store_fd, &count, sizeof count);
    errno = EAGAIN;
    return NULL;
}

bool xs_is_domain_introduced(struct xs_handle *h, unsigned int domid)
{
    return answers(h) && domid < FAKE_DOMAINS && xen->is_there[domid];
}

/* ---- Grants ---- */

struct xengntdev_handle {
    int dummy;
};

static void *mapped[FAKE_PAGES];

xengnttab_handle *xengnttab_open(struct xentoollog_logger *logger VT_UNUSED, unsigned flags VT_UNUSED)
{
    return attach() ? calloc(1, sizeof(xengnttab_handle)) : NULL;
}

int xengnttab_close(xengnttab_handle *h)
{
    free(h);
    return 0;
}

static struct fake_grant *grant_of(uint32_t domid, uint32_t ref)
{
    for (size_t i = 0; i < FAKE_PAGES; i++)
        if (xen->grants[i].is_granted && xen->grants[i].domid == domid && xen->grants[i].ref == ref)
            return &xen->grants[i];
    return NULL;
}

void *xengnttab_map_grant_ref(xengnttab_handle *h VT_UNUSED, uint32_t domid, uint32_t ref, int prot)
{
    struct fake_grant *grant;
    void *page = NULL;

    fake_xen_lock(xen);
    grant = grant_of(domid, ref);
    if (grant) {
        off_t at = (off_t)(offsetof(struct fake_xen, pages) + 4096 * (size_t)(grant - xen->grants));

        page = mmap(NULL, 4096, prot, MAP_SHARED, memory_fd, at);
        mapped[grant - xen->grants] = page;
        grant->mapped++;
    }
    fake_xen_unlock(xen);
    if (!grant)
        errno = EINVAL;
    return page == MAP_FAILED ? NULL : page;
}

int xengnttab_unmap(xengnttab_handle *h VT_UNUSED, void *page, uint32_t count)
{
    fake_xen_lock(xen);
    for (size_t i = 0; i < FAKE_PAGES; i++)
        if (mapped[i] == page) {
            mapped[i] = NULL;
            xen->grants[i].mapped--;
        }
    fake_xen_unlock(xen);
    return munmap(page, 4096 * (size_t)count);
}

/* ---- Event channels ---- */

struct xenevtchn_handle {
    int dummy;
};

xenevtchn_handle *xenevtchn_open(struct xentoollog_logger *logger VT_UNUSED, unsigned int flags VT_UNUSED)
{
    if (!attach() || xen->channels_fail)
        return NULL;
    memset(xen->ports, 0, sizeof xen->ports);
    return calloc(1, sizeof(xenevtchn_handle));
}

int xenevtchn_close(xenevtchn_handle *h)
{
    free(h);
    return 0;
}

int xenevtchn_fd(xenevtchn_handle *h VT_UNUSED)
{
    return channels_fd;
}

static void raise_port(struct fake_port *port)
{
    static const uint64_t one = 1;

    if (!port->is_pending && !port->is_masked)
        (void)!write(channels_fd, &one, sizeof one);
    port->is_pending = true;
}

/* As the hypervisor does, with an event at once. */
xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *h VT_UNUSED, uint32_t domid, evtchn_port_t remote)
{
    int found = -1;

    fake_xen_lock(xen);
    for (int i = 1; i < FAKE_PORTS && found < 0; i++) {
        if (xen->ports[i].is_bound)
            continue;
        xen->ports[i] = (struct fake_port){.is_bound = true, .domid = domid, .remote = remote};
        raise_port(&xen->ports[i]);
        found = i;
    }
    fake_xen_unlock(xen);
    if (found < 0)
        errno = ENOSPC;
    return found;
}

int xenevtchn_unbind(xenevtchn_handle *h VT_UNUSED, evtchn_port_t port)
{
    fake_xen_lock(xen);
    xen->ports[port] = (struct fake_port){.is_bound = false};
    fake_xen_unlock(xen);
    return 0;
}

int xenevtchn_notify(xenevtchn_handle *h VT_UNUSED, evtchn_port_t port)
{
    fake_xen_lock(xen);
    xen->notified[xen->ports[port].domid % FAKE_DOMAINS]++;
    fake_xen_unlock(xen);
    return 0;
}

xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *h VT_UNUSED)
{
    uint64_t one;
    int found = -1;

    if (read(channels_fd, &one, sizeof one) != sizeof one)
        return -1;
    fake_xen_lock(xen);
    for (int i = 1; i < FAKE_PORTS && found < 0; i++) {
        if (!xen->ports[i].is_pending || xen->ports[i].is_masked)
            continue;
        xen->ports[i].is_pending = false;
        xen->ports[i].is_masked = true;
        found = i;
    }
    xen->pendings++;
    fake_xen_unlock(xen);
    errno = EAGAIN;
    return found;
}

int xenevtchn_unmask(xenevtchn_handle *h VT_UNUSED, evtchn_port_t port)
{
    fake_xen_lock(xen);
    xen->ports[port].is_masked = false;
    if (xen->ports[port].is_pending) {
        xen->ports[port].is_pending = false;
        raise_port(&xen->ports[port]);
    }
    fake_xen_unlock(xen);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 * A plain forwarder from one guest's TPM front end to an emulator's socket: what our shim is measured
 * against.
 *
 *   forward FRONTEND-DOMID HANDLE SOCKET
 *
 * It trusts the guest and its emulator; it ends when the toolstack takes the device away.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <xenstore.h>
#include <xengnttab.h>
#include <xenevtchn.h>
#include <xen/xen.h>
#include <xen/io/tpmif.h>

enum { PAGE = 4096, HEADER = 10, INIT_WAIT = 2, CONNECTED = 4, CLOSING = 5, CLOSED = 6 };

static struct xs_handle *store;
static xengnttab_handle *grants;
static xenevtchn_handle *events;
static struct tpmif_shared_page *page;
static xenevtchn_port_or_error_t port = -1;
static char back[64], front[64];
static int domid, tpm;

static void fail(const char *what)
{
    fprintf(stderr, "forward: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* -1: no such node. */
static int get(const char *folder, const char *leaf)
{
    char path[128];
    unsigned len;
    char *value;
    int n;

    snprintf(path, sizeof path, "%s/%s", folder, leaf);
    value = xs_read(store, XBT_NULL, path, &len);
    n = value ? atoi(value) : -1;
    free(value);
    return n;
}

static void set(const char *leaf, int n)
{
    char path[128], value[16];

    snprintf(path, sizeof path, "%s/%s", back, leaf);
    snprintf(value, sizeof value, "%d", n);
    if (!xs_write(store, XBT_NULL, path, value, (unsigned)strlen(value)))
        fail(path);
}

static void exactly(uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t n = read(tpm, data, size);

        if (n <= 0)
            fail("the emulator");
        data += n;
        size -= (size_t)n;
    }
}

static uint32_t transact(uint8_t *buf, uint32_t len)
{
    uint32_t size;

    if (write(tpm, buf, len) != (ssize_t)len)
        fail("the emulator");
    exactly(buf, HEADER);
    memcpy(&size, buf + 2, 4);
    size = be32toh(size);
    if (size < HEADER || size > PAGE - sizeof *page)
        fail("the emulator's answer");
    exactly(buf + HEADER, size - HEADER);
    return size;
}

static void serve(void)
{
    uint8_t buf[PAGE];
    uint32_t len = page->length;

    if (*(volatile uint8_t *)&page->state != TPMIF_STATE_SUBMIT || len < HEADER || len > PAGE - sizeof *page)
        return;
    __sync_synchronize();
    memcpy(buf, page + 1, len);
    len = transact(buf, len);
    memcpy(page + 1, buf, len);
    page->length = len;
    __sync_synchronize();
    *(volatile uint8_t *)&page->state = TPMIF_STATE_FINISH;
    xenevtchn_notify(events, (evtchn_port_t)port);
}

static void join(void)
{
    int ref = get(front, "ring-ref"), channel = get(front, "event-channel");

    if (ref < 0 || channel < 0)
        return;
    page = xengnttab_map_grant_ref(grants, (uint32_t)domid, (uint32_t)ref, PROT_READ | PROT_WRITE);
    port = xenevtchn_bind_interdomain(events, (uint32_t)domid, (evtchn_port_t)channel);
    if (!page || port < 0)
        fail("mapping the ring");
    set("state", CONNECTED);
    serve();
}

static void leave(void)
{
    if (!page)
        return;
    xenevtchn_unbind(events, (evtchn_port_t)port);
    xengnttab_unmap(grants, page, 1);
    page = NULL;
}

/* True until the device is to go. */
static int follow(void)
{
    int state = get(back, "state"), other = get(front, "state");

    if (state < 0)
        return 0;
    if (!page && (other == 3 || other == CONNECTED))
        join();
    if (state == CLOSING || other == CLOSING || other == CLOSED) {
        leave();
        set("state", CLOSED);
        return state != CLOSING;
    }
    return 1;
}

static void connect_tpm(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    tpm = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (tpm < 0 || connect(tpm, (struct sockaddr *)&a, sizeof a) < 0)
        fail(path);
}

static void open_xen(void)
{
    store = xs_open(0);
    grants = xengnttab_open(NULL, 0);
    events = xenevtchn_open(NULL, 0);
    if (!store || !grants || !events)
        fail("Xen's devices");
}

static void loop(void)
{
    for (;;) {
        struct pollfd p[] = {{.fd = xs_fileno(store), .events = POLLIN},
                             {.fd = xenevtchn_fd(events), .events = POLLIN}};
        char **watch;

        poll(p, 2, -1);
        while ((watch = xs_check_watch(store)) != NULL) {
            free(watch);
            if (!follow())
                return;
        }
        if (p[1].revents & POLLIN) {
            xenevtchn_port_or_error_t ready = xenevtchn_pending(events);

            if (ready >= 0)
                xenevtchn_unmask(events, (evtchn_port_t)ready);
            if (page)
                serve();
        }
    }
}

int main(int argc, char **argv)
{
    char path[80];

    if (argc != 4) {
        fprintf(stderr, "usage: forward FRONTEND-DOMID HANDLE SOCKET\n");
        return 2;
    }
    domid = atoi(argv[1]);
    open_xen();
    connect_tpm(argv[3]);
    snprintf(back, sizeof back, "/local/domain/0/backend/vtpm/%d/%d", domid, atoi(argv[2]));
    snprintf(front, sizeof front, "/local/domain/%d/device/vtpm/%d", domid, atoi(argv[2]));
    while (get(back, "state") < 0)
        usleep(20000);
    set("feature-protocol-v2", 1);
    set("state", INIT_WAIT);
    snprintf(path, sizeof path, "%s/state", front);
    xs_watch(store, path, "front");
    snprintf(path, sizeof path, "%s/state", back);
    xs_watch(store, path, "back");
    printf("forward: ready\n");
    fflush(stdout);
    loop();
    return 0;
}

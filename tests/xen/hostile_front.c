/* SPDX-License-Identifier: Apache-2.0
 * A TPM front end that keeps no rule. Runs in a guest, as root, after its driver was unbound.
 *
 *   hostile_front ATTACK SECONDS
 *
 * Each attack connects with a page and an event channel of its own, misbehaves, and leaves; it prints what
 * came back. `good` misbehaves not at all: one command, whose answer is checked. It shows that the attacks
 * reach the back end.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xenstore.h>
#include <xengnttab.h>
#include <xenevtchn.h>
#include <xen/xen.h>
#include <xen/io/tpmif.h>

enum {
    PAGE = 4096,
    ROOM = PAGE - sizeof(struct tpmif_shared_page),
    INIT_WAIT = 2,
    INITIALISED = 3,
    CONNECTED = 4,
    CLOSED = 6
};

enum { PATIENCE = 60 }; /* seconds for one answer; the machine may be slow */

static struct xs_handle *store;
static xengntshr_handle *grants;
static xenevtchn_handle *events;
static volatile struct tpmif_shared_page *page;
static volatile uint8_t *data;
static xenevtchn_port_or_error_t port;
static uint32_t ref, seed = 1;
static char back[128];
static unsigned sent, answered;

/* TPM_GetCapability of the manufacturer. */
static const uint8_t get_manufacturer[] = {0, 0xC1, 0, 0, 0, 22, 0, 0, 0, 0x65, 0,
                                           0, 0,    5, 0, 0, 0,  4, 0, 0, 1,    3};

static void fail(const char *what)
{
    fprintf(stderr, "hostile_front: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint32_t any(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

/* ---- xenstore ---- */
static void set(const char *leaf, const char *value)
{
    char path[64];

    snprintf(path, sizeof path, "device/vtpm/0/%s", leaf);
    if (!xs_write(store, XBT_NULL, path, value, (unsigned)strlen(value)))
        fail(path);
}

static void set_number(const char *leaf, uint32_t n)
{
    char value[16];

    snprintf(value, sizeof value, "%u", n);
    set(leaf, value);
}

static int back_state(void)
{
    char path[160];
    unsigned len;
    char *value;
    int state;

    snprintf(path, sizeof path, "%s/state", back);
    value = xs_read(store, XBT_NULL, path, &len);
    state = value ? atoi(value) : -1;
    free(value);
    return state;
}

static int await_back(int state, double seconds)
{
    double end = now() + seconds;

    while (back_state() != state && now() < end)
        usleep(20000);
    return back_state() == state;
}

/* ---- connecting ---- */
static void open_xen(void)
{
    unsigned len;
    char *value;

    store = xs_open(0);
    grants = xengntshr_open(NULL, 0);
    events = xenevtchn_open(NULL, 0);
    if (!store || !grants || !events)
        fail("Xen's devices");
    value = xs_read(store, XBT_NULL, "device/vtpm/0/backend", &len);
    if (!value)
        fail("device/vtpm/0/backend");
    snprintf(back, sizeof back, "%s", value);
    free(value);
}

static void make_ring(void)
{
    page = xengntshr_share_pages(grants, 0, 1, &ref, 1);
    port = xenevtchn_bind_unbound_port(events, 0);
    if (!page || port < 0)
        fail("a page and an event channel");
    data = (volatile uint8_t *)(page + 1);
}

static void offer(void)
{
    set_number("ring-ref", ref);
    set_number("event-channel", (uint32_t)port);
    set("feature-protocol-v2", "1");
    set_number("state", INITIALISED);
}

static void join(void)
{
    make_ring();
    offer();
    if (!await_back(CONNECTED, 60))
        fail("the back end does not connect");
    set_number("state", CONNECTED);
}

static void leave(void)
{
    set_number("state", CLOSED);
    await_back(INIT_WAIT, 30);
    xenevtchn_unbind(events, (evtchn_port_t)port);
    xengntshr_unshare(grants, (void *)(uintptr_t)page, 1);
    page = NULL;
}

static void kick(void)
{
    xenevtchn_notify(events, (evtchn_port_t)port);
}

static void put(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        data[i] = bytes[i];
}

static void submit(uint32_t length)
{
    page->length = length;
    __sync_synchronize();
    page->state = TPMIF_STATE_SUBMIT;
    __sync_synchronize();
    sent++;
    kick();
}

/* True when the back end put an end to the request. */
static int await_answer(double seconds)
{
    double end = now() + seconds;

    while (now() < end) {
        uint8_t state = page->state;

        if (state == TPMIF_STATE_FINISH || state == TPMIF_STATE_IDLE) {
            answered++;
            return 1;
        }
        usleep(1000);
    }
    return 0;
}

/* ---- the attacks ---- */
static void good(double seconds)
{
    join();
    put(get_manufacturer, sizeof get_manufacturer);
    submit(sizeof get_manufacturer);
    if (!await_answer(seconds) || page->length != 18 ||
        memcmp((const void *)(uintptr_t)(data + 14), "VTPM", 4) != 0)
        fail("the answer is not the TPM's");
    leave();
}

/* With a header that agrees with the length of the page, and with one that does not. */
static void try_length(uint32_t length, int is_lie)
{
    put(get_manufacturer, sizeof get_manufacturer);
    for (int b = 0; !is_lie && b < 4; b++)
        data[2 + b] = (uint8_t)(length >> (24 - 8 * b));
    submit(length);
    if (!await_answer(PATIENCE))
        printf("length %u: no answer\n", length);
}

/* At, around and far from every bound. */
static void lengths(double seconds)
{
    static const uint32_t tries[] = {
        0,    1,    9,      10,      11,         22,         23,         4087,       4088,      4089,
        4096, 4097, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffff7, 0xfffffff8, 0xffffffff};

    double end;

    join();
    end = now() + seconds;
    do {
        for (size_t i = 0; i < 2 * sizeof tries / sizeof *tries; i++)
            try_length(tries[i / 2], i % 2);
    } while (now() < end);
    leave();
}

static void extra(double seconds)
{
    static const uint8_t counts[] = {1, 2, 7, 255};

    double end;

    join();
    end = now() + seconds;
    for (size_t i = 0; i < sizeof counts || now() < end; i++) {
        page->nr_extra_pages = counts[i % sizeof counts];
        for (size_t j = 0; j < ROOM; j++)
            data[j] = (uint8_t)any();
        submit(i % 2 ? 4000 : 8192);
        if (!await_answer(PATIENCE))
            printf("extra pages %u: no answer\n", page->nr_extra_pages);
    }
    page->nr_extra_pages = 0;
    leave();
}

/* The page changes all the while, its header too, under a back end that copies it. */
static void flip(double seconds)
{
    double end;

    join();
    end = now() + seconds;
    while (now() < end) {
        put(get_manufacturer, sizeof get_manufacturer);
        submit(sizeof get_manufacturer);
        for (int i = 0; i < 2000; i++) {
            ((volatile uint8_t *)page)[any() % (i % 4 ? PAGE : 40)] = (uint8_t)any();
            if (i % 100 == 0)
                kick();
        }
    }
    leave();
}

static void cancel(double seconds)
{
    double end;

    join();
    end = now() + seconds;
    while (now() < end) {
        put(get_manufacturer, sizeof get_manufacturer);
        submit(sizeof get_manufacturer);
        for (int i = 0; i < 20; i++) {
            page->state = TPMIF_STATE_CANCEL;
            kick();
        }
        if (any() % 8 == 0)
            await_answer(5);
    }
    leave();
}

/* A request without an event: then nothing at all, then a cancel without an event. */
static void silent(double seconds)
{
    join();
    put(get_manufacturer, sizeof get_manufacturer);
    page->length = sizeof get_manufacturer;
    page->state = TPMIF_STATE_SUBMIT;
    sent++;
    usleep((useconds_t)(seconds * 5e5));
    page->state = TPMIF_STATE_CANCEL;
    usleep((useconds_t)(seconds * 5e5));
    leave();
}

static void storm(double seconds)
{
    double end;

    join();
    end = now() + seconds;
    while (now() < end) {
        page->state = (uint8_t)any();
        sent++;
        for (int i = 0; i < 1000; i++)
            kick();
    }
    leave();
}

/* Answers are asked for and never taken: each request follows on the heels of the last. */
static void flood(double seconds)
{
    double end;

    join();
    end = now() + seconds;
    while (now() < end) {
        put(get_manufacturer, sizeof get_manufacturer);
        submit(sizeof get_manufacturer);
        usleep(500);
    }
    leave();
}

/* XenBus states and nodes that no driver would write; rings that are none. */
static void nodes(double seconds)
{
    static const char *const values[] = {"0",  "1",  "2", "3", "4",          "5", "7",
                                         "99", "-1", "",  "x", "4294967297", "3 "};
    static const char *const refs[] = {"-1", "0",    "4294967295", "99999999999999999999",
                                       "",   "ring", "1000000"};
    double end = now() + seconds;

    make_ring();
    for (size_t i = 0; now() < end; i++) {
        set("ring-ref", refs[i % (sizeof refs / sizeof *refs)]);
        set("event-channel", refs[any() % (sizeof refs / sizeof *refs)]);
        set("state", values[i % (sizeof values / sizeof *values)]);
        sent++;
        if (any() % 4 == 0)
            usleep(20000);
        if (any() % 16 == 0)
            xs_rm(store, XBT_NULL, "device/vtpm/0/state");
    }
    set("state", "5");
    leave();
}

/* The page is taken away, and the event channel closed, under a connected back end. */
static void vanish(double seconds)
{
    join();
    put(get_manufacturer, sizeof get_manufacturer);
    submit(sizeof get_manufacturer);
    xenevtchn_unbind(events, (evtchn_port_t)port);
    xengntshr_unshare(grants, (void *)(uintptr_t)page, 1);
    usleep((useconds_t)(seconds * 1e6));
    set_number("state", CLOSED);
    await_back(INIT_WAIT, 30);
}

/* Connects, closes, connects, without waiting for anybody. */
static void churn(double seconds)
{
    double end = now() + seconds;

    while (now() < end) {
        make_ring();
        offer();
        usleep(any() % 30000);
        submit(any() % ROOM);
        set_number("state", any() % 2 ? CLOSED : 5);
        usleep(any() % 30000);
        xenevtchn_unbind(events, (evtchn_port_t)port);
        xengntshr_unshare(grants, (void *)(uintptr_t)page, 1);
    }
    set_number("state", CLOSED);
    await_back(INIT_WAIT, 30);
}

static const struct attack {
    const char *name;
    void (*run)(double seconds);
} attacks[] = {
    {"good", good},     {"lengths", lengths}, {"extra", extra}, {"flip", flip},
    {"cancel", cancel}, {"silent", silent},   {"storm", storm}, {"flood", flood},
    {"nodes", nodes},   {"vanish", vanish},   {"churn", churn},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 3 && i < sizeof attacks / sizeof *attacks; i++) {
        if (strcmp(argv[1], attacks[i].name) == 0) {
            open_xen();
            attacks[i].run(atof(argv[2]));
            printf("%s: %u sent, %u answered, back end %d\n", attacks[i].name, sent, answered, back_state());
            return 0;
        }
    }
    fprintf(stderr, "usage: hostile_front ATTACK SECONDS; attacks:");
    for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++)
        fprintf(stderr, " %s", attacks[i].name);
    fprintf(stderr, "\n");
    return 2;
}

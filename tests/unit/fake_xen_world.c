/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake_server.h"
#include "fake_xen_world.h"
#include "proto/tpmif.h"

#define TRIES   4000
#define TRY_US  5000

struct world world;

/* ---- Life ---- */

void world_init(void)
{
    pthread_mutexattr_t attr;

    world.memory = memfd_create("fake-xen", 0);
    world.channels = eventfd(0, EFD_NONBLOCK | EFD_SEMAPHORE);
    world.store = eventfd(0, EFD_NONBLOCK);
    assert_true(world.memory >= 0 && world.channels >= 0 && world.store >= 0);
    assert_int_equal(ftruncate(world.memory, sizeof(struct fake_xen)), 0);
    world.xen = fake_xen_map(world.memory);
    assert_non_null(world.xen);
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&world.xen->lock, &attr);
    snprintf(world.env, sizeof world.env, "%d,%d,%d", world.memory, world.channels, world.store);
    setenv(FAKE_XEN_ENV, world.env, 1);
}

void world_reset(void)
{
    struct fake_xen *xen = world.xen;

    fake_xen_lock(xen);
    memset((uint8_t *)xen + offsetof(struct fake_xen, self), 0, sizeof *xen - offsetof(struct fake_xen, self));
    xen->is_there[0] = true;
    fake_xen_set(xen, "/domid", "0");
    fake_xen_unlock(xen);
    world_shim_died();
}

void world_shim_died(void)
{
    uint64_t count;

    fake_xen_lock(world.xen);
    memset(world.xen->ports, 0, sizeof world.xen->ports);
    for (size_t i = 0; i < FAKE_PAGES; i++)
        world.xen->grants[i].mapped = 0;
    fake_xen_unlock(world.xen);
    while (read(world.channels, &count, sizeof count) > 0)
        ;
}

static void tell_store(void)
{
    static const uint64_t one = 1;

    assert_int_equal(write(world.store, &one, sizeof one), sizeof one);
}

/* ---- Nodes ---- */

void world_set(const char *path, const char *value)
{
    fake_xen_lock(world.xen);
    fake_xen_set(world.xen, path, value);
    fake_xen_unlock(world.xen);
    tell_store();
}

void world_remove(const char *path)
{
    fake_xen_lock(world.xen);
    fake_xen_remove(world.xen, path);
    fake_xen_unlock(world.xen);
    tell_store();
}

void world_get(char value[FAKE_VALUE], const char *path)
{
    struct fake_node *node;

    fake_xen_lock(world.xen);
    node = fake_xen_find(world.xen, path);
    snprintf(value, FAKE_VALUE, "%s", node ? node->value : "");
    fake_xen_unlock(world.xen);
}

void world_wait(const char *path, const char *value)
{
    char now[FAKE_VALUE];

    for (int i = 0; i < TRIES; i++) {
        world_get(now, path);
        if (strcmp(now, value) == 0)
            return;
        usleep(TRY_US);
    }
    fail_msg("%s is \"%s\", not \"%s\"", path, now, value);
}

void world_back(char path[FAKE_PATH], uint32_t domid, uint32_t devid, const char *name)
{
    snprintf(path, FAKE_PATH, "/local/domain/0/backend/vtpm/%" PRIu32 "/%" PRIu32 "%s%s", domid, devid, *name ? "/" : "", name);
}

void world_front(char path[FAKE_PATH], uint32_t domid, uint32_t devid, const char *name)
{
    snprintf(path, FAKE_PATH, "/local/domain/%" PRIu32 "/device/vtpm/%" PRIu32 "%s%s", domid, devid, *name ? "/" : "", name);
}

static void set_back(uint32_t domid, uint32_t devid, const char *name, const char *value)
{
    char path[FAKE_PATH];

    world_back(path, domid, devid, name);
    world_set(path, value);
}

static void set_front(uint32_t domid, uint32_t devid, const char *name, const char *value)
{
    char path[FAKE_PATH];

    world_front(path, domid, devid, name);
    world_set(path, value);
}

void world_wait_back(uint32_t domid, uint32_t devid, int state)
{
    char path[FAKE_PATH], value[12];

    world_back(path, domid, devid, "state");
    snprintf(value, sizeof value, "%d", state);
    world_wait(path, value);
}

unsigned world_nodes(void)
{
    unsigned count = 0;

    fake_xen_lock(world.xen);
    for (size_t i = 0; i < FAKE_NODES; i++)
        count += strncmp(world.xen->nodes[i].path, "/local/domain/0/backend", 23) == 0;
    fake_xen_unlock(world.xen);
    return count;
}

/* ---- Toolstack and hypervisor ---- */

void world_domain(uint32_t domid)
{
    world.xen->is_there[domid] = true;
}

void world_attach(uint32_t domid, uint32_t devid, const char *uuid)
{
    char front[FAKE_PATH], id[12];

    world_front(front, domid, devid, "");
    snprintf(id, sizeof id, "%" PRIu32, domid);
    set_front(domid, devid, "state", "1");
    set_back(domid, devid, "frontend-id", id);
    set_back(domid, devid, "online", "1");
    if (uuid)
        set_back(domid, devid, "uuid", uuid);
    set_back(domid, devid, "state", "1");
    /* The last one: then the shim looks at a whole device, as libxl's transaction has it. */
    set_back(domid, devid, "frontend", front);
}

/* State 6, or gone already: a driver domain removes what dom0 waits for. */
static void wait_left(uint32_t domid, uint32_t devid)
{
    char path[FAKE_PATH], now[FAKE_VALUE];

    world_back(path, domid, devid, "state");
    for (int i = 0; i < TRIES; i++) {
        world_get(now, path);
        if (!*now || strcmp(now, "6") == 0)
            return;
        usleep(TRY_US);
    }
    fail_msg("%s stays \"%s\"", path, now);
}

void world_detach(uint32_t domid, uint32_t devid)
{
    char path[FAKE_PATH];

    set_back(domid, devid, "online", "0");
    set_back(domid, devid, "state", "5");
    wait_left(domid, devid);
    world_back(path, domid, devid, "");
    world_remove(path);
    world_front(path, domid, devid, "");
    world_remove(path);
}

void world_destroy(uint32_t domid)
{
    char path[FAKE_PATH];

    world.xen->is_there[domid] = false;
    snprintf(path, sizeof path, "/local/domain/%" PRIu32, domid);
    world_remove(path);
    world_remove("@releaseDomain");
}

void world_store_down(void)
{
    world.xen->is_down = true;
    world.xen->epoch++;
    tell_store();
}

void world_store_up(void)
{
    world.xen->is_down = false;
}

/* ---- Guests ---- */

void guest_state(uint32_t domid, uint32_t devid, int state)
{
    char value[12];

    snprintf(value, sizeof value, "%d", state);
    set_front(domid, devid, "state", value);
}

void guest_connect(uint32_t domid, uint32_t devid, unsigned page)
{
    char value[12];

    fake_xen_lock(world.xen);
    world.xen->grants[page] = (struct fake_grant){.domid = domid, .ref = 8 + page, .is_granted = true};
    fake_xen_unlock(world.xen);
    snprintf(value, sizeof value, "%u", 8 + page);
    set_front(domid, devid, "ring-ref", value);
    snprintf(value, sizeof value, "%u", 100 + page);
    set_front(domid, devid, "event-channel", value);
    guest_state(domid, devid, 3);
}

static uint8_t *bytes_of(unsigned page)
{
    return world.xen->pages[page];
}

void guest_set_head(unsigned page, uint32_t length, uint8_t state, uint8_t locality, uint8_t extra)
{
    uint8_t *at = bytes_of(page);

    memcpy(at, &length, sizeof length);
    at[5] = locality;
    at[7] = extra;
    __atomic_store_n(at + 4, state, __ATOMIC_RELEASE);
}

void guest_submit(unsigned page, uint32_t id)
{
    fake_command(bytes_of(page) + TPMIF_HEADER, id);
    guest_set_head(page, FAKE_COMMAND, TPMIF_SUBMIT, 0, 0);
}

/* To whatever channel is bound to the guest's. */
void guest_event(unsigned page)
{
    static const uint64_t one = 1;

    fake_xen_lock(world.xen);
    for (size_t i = 1; i < FAKE_PORTS; i++) {
        struct fake_port *port = &world.xen->ports[i];
        if (!port->is_bound || port->remote != 100 + page)
            continue;
        if (!port->is_pending && !port->is_masked)
            assert_int_equal(write(world.channels, &one, sizeof one), sizeof one);
        port->is_pending = true;
    }
    fake_xen_unlock(world.xen);
}

void guest_set_state(unsigned page, uint8_t state)
{
    __atomic_store_n(bytes_of(page) + 4, state, __ATOMIC_RELEASE);
}

uint8_t guest_page_state(unsigned page)
{
    return __atomic_load_n(bytes_of(page) + 4, __ATOMIC_ACQUIRE);
}

const uint8_t *guest_wait(unsigned page)
{
    for (int i = 0; i < TRIES; i++) {
        if (guest_page_state(page) == TPMIF_FINISH)
            return bytes_of(page) + TPMIF_HEADER + 4 * bytes_of(page)[7];
        usleep(TRY_US);
    }
    fail_msg("the page stays in state %u", guest_page_state(page));
    return NULL;
}

void guest_expect(unsigned page, uint32_t id)
{
    const uint8_t *response = guest_wait(page);
    uint32_t length;

    memcpy(&length, bytes_of(page), sizeof length);
    assert_int_equal(length, FAKE_RESPONSE);
    assert_int_equal(fake_response_id(response), id);
}

void guest_expect_code(unsigned page, uint32_t code)
{
    const uint8_t *response = guest_wait(page);

    assert_int_equal(response[1], 0xc4);
    assert_int_equal(response[5], 10);
    assert_int_equal(response[8] << 8 | response[9], code);
}

void guest_ask(unsigned page, uint32_t id)
{
    guest_submit(page, id);
    guest_event(page);
    guest_expect(page, id);
}

unsigned guest_mapped(unsigned page)
{
    unsigned mapped;

    fake_xen_lock(world.xen);
    mapped = world.xen->grants[page].mapped;
    fake_xen_unlock(world.xen);
    return mapped;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "vchan_bridge.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shim-minios/vchan_client.h"

#define BASE "/local/domain/9/data/vchan/0/vtpm"
#define TURN_US 300

static struct {
    pthread_t thread;
    struct sockaddr_un to;
    atomic_bool stop, hold, dead;
    atomic_uint links;
    int fd;
} bridge;

static uint8_t *page(void)
{
    return world.xen->pages[BRIDGE_PAGE];
}

static uint32_t get(unsigned offset)
{
    uint32_t value;

    __atomic_load((uint32_t *)(void *)(page() + offset), &value, __ATOMIC_ACQUIRE);
    return value;
}

void bridge_poke(unsigned offset, uint32_t value)
{
    __atomic_store((uint32_t *)(void *)(page() + offset), &value, __ATOMIC_RELEASE);
    guest_event(BRIDGE_PAGE);
}

/* ---- The offer ---- */

static void offer(void)
{
    char value[12];

    memset(page(), 0, 4096);
    page()[VCHAN_LEFT_ORDER] = 10;
    page()[VCHAN_RIGHT_ORDER] = 11;
    page()[VCHAN_CLI_LIVE] = VCHAN_AWAITED;
    page()[VCHAN_SRV_LIVE] = VCHAN_CONNECTED;
    page()[VCHAN_CLI_NOTIFY] = VCHAN_ON_WRITE;
    fake_xen_lock(world.xen);
    world.xen->grants[BRIDGE_PAGE] = (struct fake_grant){.domid = BRIDGE_DOMAIN, .ref = 8 + BRIDGE_PAGE, .is_granted = true};
    fake_xen_unlock(world.xen);
    snprintf(value, sizeof value, "%u", 8 + BRIDGE_PAGE);
    world_set(BASE "/ring-ref", value);
    snprintf(value, sizeof value, "%u", 100 + BRIDGE_PAGE);
    world_set(BASE "/event-channel", value);
}

static void withdraw(void)
{
    world_remove(BASE);
    fake_xen_lock(world.xen);
    world.xen->grants[BRIDGE_PAGE].is_granted = false;
    fake_xen_unlock(world.xen);
}

/* The client has let go of the page, or died. */
static void wait_unmapped(void)
{
    while (guest_mapped(BRIDGE_PAGE) && !bridge.stop)
        usleep(TURN_US);
}

/* ---- Bytes ---- */

static void tell(uint8_t what)
{
    if (__atomic_fetch_and(page() + VCHAN_SRV_NOTIFY, (uint8_t)~what, __ATOMIC_SEQ_CST) & what)
        guest_event(BRIDGE_PAGE);
}

static void ask(uint8_t what)
{
    __atomic_fetch_or(page() + VCHAN_CLI_NOTIFY, what, __ATOMIC_SEQ_CST);
}

/* False: the server has gone. */
static bool to_server(void)
{
    uint32_t cons = get(VCHAN_LEFT), there = get(VCHAN_LEFT + 4) - cons;
    uint8_t bytes[1024];
    ssize_t n;

    ask(VCHAN_ON_WRITE);
    if (!there || there > sizeof bytes || bridge.hold)
        return true;
    for (uint32_t i = 0; i < there; i++)
        bytes[i] = page()[1024 + ((cons + i) & 1023)];
    n = send(bridge.fd, bytes, there, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN;
    cons += (uint32_t)n;
    __atomic_store((uint32_t *)(void *)(page() + VCHAN_LEFT), &cons, __ATOMIC_RELEASE);
    tell(VCHAN_ON_READ);
    return true;
}

static bool from_server(void)
{
    uint32_t prod = get(VCHAN_RIGHT + 4), held = prod - get(VCHAN_RIGHT);
    uint8_t bytes[2048];
    ssize_t n;

    ask(VCHAN_ON_READ);
    if (held >= sizeof bytes)
        return true;
    n = recv(bridge.fd, bytes, sizeof bytes - held, MSG_DONTWAIT);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    for (ssize_t i = 0; i < n; i++)
        page()[2048 + ((prod + (uint32_t)i) & 2047)] = bytes[i];
    prod += (uint32_t)n;
    __atomic_store((uint32_t *)(void *)(page() + VCHAN_RIGHT + 4), &prod, __ATOMIC_RELEASE);
    tell(VCHAN_ON_WRITE);
    return true;
}

/* ---- The thread ---- */

/* False: nobody serves there. */
static bool connect_server(void)
{
    bridge.fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(bridge.fd, (struct sockaddr *)&bridge.to, sizeof bridge.to) == 0)
        return true;
    close(bridge.fd);
    return false;
}

static void serve(void)
{
    bool lives = connect_server();

    bridge.links += lives;
    /* A client that dies writes nothing: the hypervisor takes its mapping. */
    while (lives && !bridge.stop && !bridge.dead && page()[VCHAN_CLI_LIVE] == VCHAN_CONNECTED && guest_mapped(BRIDGE_PAGE)) {
        lives = to_server() && from_server();
        usleep(TURN_US);
    }
    while (bridge.dead && !bridge.stop)
        usleep(TURN_US);
    /* What it wrote before it went. */
    if (lives)
        (void)to_server();
    if (bridge.fd >= 0)
        close(bridge.fd);
    page()[VCHAN_SRV_LIVE] = VCHAN_GONE;
    guest_event(BRIDGE_PAGE);
}

/* A server that is not there offers nothing. */
static bool is_server_there(void)
{
    bool is_there = connect_server();

    if (is_there)
        close(bridge.fd);
    bridge.fd = -1;
    return is_there;
}

static void *run(void *arg VT_UNUSED)
{
    while (!bridge.stop) {
        if (bridge.dead || !is_server_there()) {
            usleep(5000);
            continue;
        }
        offer();
        while (!bridge.stop && !bridge.dead && page()[VCHAN_CLI_LIVE] == VCHAN_AWAITED)
            usleep(TURN_US);
        if (page()[VCHAN_CLI_LIVE] != VCHAN_AWAITED)
            serve();
        withdraw();
        wait_unmapped();
    }
    return NULL;
}

void bridge_start(const char *path)
{
    bridge.to.sun_family = AF_UNIX;
    snprintf(bridge.to.sun_path, sizeof bridge.to.sun_path, "%s", path);
    bridge.stop = bridge.hold = bridge.dead = false;
    bridge.links = 0;
    bridge.fd = -1;
    world_domain(BRIDGE_DOMAIN);
    world_set("/local/domain/0/vtpm-stubdom/server", "9");
    if (pthread_create(&bridge.thread, NULL, run, NULL))
        bridge.stop = true;
}

void bridge_stop(void)
{
    bridge.stop = true;
    pthread_join(bridge.thread, NULL);
}

unsigned bridge_links(void)
{
    return bridge.links;
}

void bridge_hold(bool on)
{
    bridge.hold = on;
}

void bridge_die(void)
{
    bridge.dead = true;
    world_remove(BASE);
}

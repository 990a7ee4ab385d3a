/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-minios/guest_ring.h"

#include <inttypes.h>

#include "server/base/alloc.h"
#include "server/base/secret.h"
#include "shim-minios/platform.h"

/* Events without a command behind them that are harmless: the one of the bind, a cancel now and then. */
#define IDLE_EVENTS 8
/* Then the next one is heard after 1, 2, 4 ... ms. */
#define DEAF_MOST_MS 128
#define LOCALITIES   0x01

struct guest_ring {
    const char *label;
    struct tpmif tpmif;
    void *page;
    uint32_t port;
    bool is_bound;
    bool is_new;           /* the page was not looked at yet */
    bool waits;            /* a command, to be taken */
    bool failed;
    bool said_events;
    unsigned idle_events;
    uint64_t deaf_until_ms;
};

static void answer_fail(struct guest_ring *ring)
{
    static const uint8_t fail[10] = {0x00, 0xc4, 0, 0, 0, 10, 0, 0, 0, 0x09};

    guest_ring_respond(ring, fail, sizeof fail);
    ring->waits = false;
}

/* True: it was worth an event. */
static bool look(struct guest_ring *ring)
{
    switch (tpmif_poll(&ring->tpmif)) {
    case TPMIF_COMMAND:
        ring->waits = true;
        if (ring->failed)
            answer_fail(ring);
        return true;
    case TPMIF_ANSWERED:
        platform_notify(ring->port);
        return false;
    case TPMIF_CANCELLED: /* it is finished all the same */
    case TPMIF_NOTHING:
        break;
    }
    return false;
}

static void hear_more_seldom(struct guest_ring *ring, uint64_t now_ms)
{
    unsigned more = ring->idle_events - IDLE_EVENTS;

    if (!ring->said_events)
        vt_notice("xen: %sthe guest sends events without commands: they are heard more seldom", ring->label);
    ring->said_events = true;
    ring->deaf_until_ms = now_ms + (more < 8 ? 1u << (more - 1) : DEAF_MOST_MS);
}

void guest_ring_turn(struct guest_ring *ring, uint64_t *wake_ms)
{
    uint64_t now_ms = platform_now_ms();

    if (ring->deaf_until_ms > now_ms) {
        *wake_ms = VT_MIN(*wake_ms, ring->deaf_until_ms);
        return;
    }
    if (!platform_pending(ring->port) && !ring->is_new)
        return;
    ring->is_new = false;
    ring->idle_events = look(ring) ? 0 : ring->idle_events + 1;
    if (ring->idle_events > IDLE_EVENTS) {
        hear_more_seldom(ring, now_ms);
        *wake_ms = VT_MIN(*wake_ms, ring->deaf_until_ms);
    }
}

void guest_ring_fail(struct guest_ring *ring)
{
    ring->failed = true;
    /* What was taken, too: nobody answers it any more. */
    if (ring->tpmif.busy)
        answer_fail(ring);
}

bool guest_ring_take(struct guest_ring *ring, struct courier_request *request)
{
    if (!ring->waits)
        return false;
    ring->waits = false;
    *request = (struct courier_request){
        .locality = ring->tpmif.locality, .bytes = ring->tpmif.command, .len = ring->tpmif.len};
    return true;
}

void guest_ring_respond(struct guest_ring *ring, const uint8_t *bytes, size_t len)
{
    (void)tpmif_put(&ring->tpmif, bytes, len);
    tpmif_finish(&ring->tpmif);
    platform_notify(ring->port);
}

int guest_ring_open(struct guest_ring **ring_out, uint32_t domid, uint32_t ring_ref, uint32_t event_channel,
                    const char *label, struct vt_why *why)
{
    struct guest_ring *ring = VT_NEW(struct guest_ring);
    int err = VT_OK;

    if (!ring)
        return vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    ring->label = label;
    ring->is_new = true;
    ring->page = platform_map(domid, ring_ref);
    if (!ring->page)
        err = vt_fail(why, VT_EIO, "its ring (grant %" PRIu32 ") cannot be mapped", ring_ref);
    if (!err && platform_bind(domid, event_channel, &ring->port))
        err = vt_fail(why, VT_EIO, "its event channel %" PRIu32 " cannot be bound", event_channel);
    ring->is_bound = !err;
    if (err) {
        guest_ring_close(ring);
        return err;
    }
    tpmif_init(&ring->tpmif, ring->page, LOCALITIES);
    *ring_out = ring;
    return VT_OK;
}

void guest_ring_close(struct guest_ring *ring)
{
    if (ring->is_bound)
        platform_unbind(ring->port);
    if (ring->page)
        platform_unmap(ring->page);
    vt_free_wiped(ring, sizeof *ring);
}

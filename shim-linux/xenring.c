/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/xenring.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "shim-linux/host.h"

/* Events without a command behind them that are harmless: the one of the bind, a cancel now and then. */
#define IDLE_EVENTS 8
/* Then the next one is heard after 1, 2, 4 ... ms. */
#define DEAF_MOST_MS 128
#define LOCALITIES   0x01
/* Linux' driver gives up after the duration that the TPM names, 2 s for most commands. */
#define SLOW_MS 1000

struct xenring {
    const struct xenring_host *host;
    const char *label;
    void (*ready)(void *ctx);
    void *ctx;
    uv_timer_t timer;       /* running: the event channel is masked until then */
    struct tpmif tpmif;
    void *page;
    int port;               /* -1: not bound */
    struct journal *journal;
    bool waits;             /* a command, for the lane to take */
    bool failed;
    bool said_events, said_journal; /* each is logged once */
    unsigned idle_events;
    uint64_t since_ms;      /* when the command under way was seen */
};

/* ---- Serving ---- */

static void notify(struct xenring *ring)
{
    /* A front end that is gone hears nothing: xenstore will tell. */
    (void)xenevtchn_notify(ring->host->channels, (evtchn_port_t)ring->port);
}

static void answer_fail(struct xenring *ring)
{
    static const uint8_t fail[10] = {0x00, 0xc4, 0, 0, 0, 10, 0, 0, 0, 0x09};

    (void)tpmif_put(&ring->tpmif, fail, sizeof fail);
    tpmif_finish(&ring->tpmif);
    ring->waits = false;
    notify(ring);
}

/* True: it was worth an event. */
static bool look(struct xenring *ring)
{
    switch (tpmif_poll(&ring->tpmif)) {
    case TPMIF_COMMAND:
        ring->waits = true;
        ring->since_ms = host_now_ms();
        if (ring->failed)
            answer_fail(ring);
        else
            ring->ready(ring->ctx);
        return true;
    case TPMIF_ANSWERED:
        notify(ring);
        return false;
    case TPMIF_CANCELLED:
        vt_debug("xen: %sthe guest does not wait for its command any longer; it is finished all the same", ring->label);
        return false;
    case TPMIF_NOTHING:
        break;
    }
    return false;
}

static void unmask(struct xenring *ring)
{
    (void)xenevtchn_unmask(ring->host->channels, (evtchn_port_t)ring->port);
}

static void on_timer(uv_timer_t *timer)
{
    unmask(timer->data);
}

void xenring_event(struct xenring *ring)
{
    unsigned more;

    ring->idle_events = look(ring) ? 0 : ring->idle_events + 1;
    if (ring->idle_events <= IDLE_EVENTS) {
        unmask(ring);
        return;
    }
    more = ring->idle_events - IDLE_EVENTS;
    if (!ring->said_events)
        vt_notice("xen: %sthe guest sends events without commands: they are heard more seldom", ring->label);
    ring->said_events = true;
    uv_timer_start(&ring->timer, on_timer, more < 8 ? 1u << (more - 1) : DEAF_MOST_MS, 0);
}

evtchn_port_t xenring_port(const struct xenring *ring)
{
    return (evtchn_port_t)ring->port;
}

void xenring_fail(struct xenring *ring)
{
    ring->failed = true;
    /* What the lane has taken, too: it gives no answer any more. */
    if (ring->tpmif.busy)
        answer_fail(ring);
}

/* ---- For the lane ---- */

bool xenring_take(struct xenring *ring, struct courier_request *request)
{
    if (!ring->waits)
        return false;
    ring->waits = false;
    *request = (struct courier_request){
        .locality = ring->tpmif.locality, .bytes = ring->tpmif.command, .len = ring->tpmif.len};
    return true;
}

int xenring_note(struct xenring *ring, const struct relay_mark *mark)
{
    int err = journal_sent(ring->journal, mark);

    if (err && !ring->said_journal)
        vt_error("xen: %sthe journal in %s cannot be written (%s): the guest is told to try again", ring->label,
                 ring->host->runtime_dir, vt_err_text(err));
    ring->said_journal = err;
    return err;
}

bool xenring_respond(struct xenring *ring, const struct courier_response *response)
{
    struct tpmif_print print = tpmif_put(&ring->tpmif, response->bytes, response->len);

    if (journal_delivered(ring->journal, &response->position, &print))
        return false;
    if (host_now_ms() - ring->since_ms > SLOW_MS)
        vt_info("xen: %sa command took %" PRIu64 " ms%s", ring->label, host_now_ms() - ring->since_ms,
                ring->tpmif.cancelled ? "; the guest had given it up" : "");
    tpmif_finish(&ring->tpmif);
    notify(ring);
    return true;
}

/* ---- Opening and closing ---- */

static int map(struct xenring *ring, const struct journal_ring *names, struct vt_why *why)
{
    ring->page = xengnttab_map_grant_ref(ring->host->grants, names->domid, names->ring_ref, PROT_READ | PROT_WRITE);
    if (!ring->page)
        return vt_fail(why, VT_EIO, "its ring (grant %" PRIu32 ") cannot be mapped: %s", names->ring_ref, strerror(errno));
    tpmif_init(&ring->tpmif, ring->page, LOCALITIES);
    ring->port = xenevtchn_bind_interdomain(ring->host->channels, names->domid, names->event_channel);
    if (ring->port < 0)
        return vt_fail(why, VT_EIO, "its event channel %" PRIu32 " cannot be bound: %s", names->event_channel,
                       strerror(errno));
    return VT_OK;
}

static void from_entry(struct xenring_start *start, const struct journal_entry *entry)
{
    start->has_from = true;
    start->from = (struct relay_position){.last_n = entry->last_n, .mark = entry->mark};
}

static void go_on(struct xenring *ring, const struct journal_entry *entry, struct xenring_start *start)
{
    struct tpmif_view view;

    tpmif_look(&ring->tpmif, &view);
    switch (journal_decide(entry, &ring->tpmif, &view)) {
    case JOURNAL_FRESH:
        break;
    case JOURNAL_RESEND:
        if (!tpmif_restore(&ring->tpmif, &view, entry->mark.locality, entry->mark.command, entry->mark.len))
            break;
        ring->since_ms = host_now_ms();
        vt_notice("xen: %sa command was under way when the shim before this one ended: it is sent again", ring->label);
        from_entry(start, entry);
        start->under_way = true;
        break;
    case JOURNAL_FINISH:
        tpmif_finish(&ring->tpmif);
        from_entry(start, entry);
        break;
    case JOURNAL_NEXT:
        from_entry(start, entry);
        break;
    }
    notify(ring);
}

static int open_parts(struct xenring *ring, const struct journal_ring *names, struct xenring_start *start,
                      struct vt_why *why)
{
    struct journal_entry entry;
    char path[256];
    int err = map(ring, names, why);

    if (!err && snprintf(path, sizeof path, "%s/" XENRING_JOURNAL, ring->host->runtime_dir, names->domid, names->devid) >=
                    (int)sizeof path)
        err = vt_fail(why, VT_EUSAGE, "--runtime-dir: the name is too long");
    if (!err)
        err = journal_open(&ring->journal, path, names, &entry, why);
    if (!err)
        go_on(ring, &entry, start);
    return err;
}

int xenring_open(struct xenring **ring_out, const struct xenring_host *host, const struct journal_ring *names,
                 const char *label, void (*ready)(void *ctx), void *ctx, struct xenring_start *start, struct vt_why *why)
{
    struct xenring *ring = VT_NEW(struct xenring);
    int err;

    *start = (struct xenring_start){.has_from = false};
    if (!ring)
        return vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    ring->host = host;
    ring->label = label;
    ring->ready = ready;
    ring->ctx = ctx;
    ring->port = -1;
    uv_timer_init(host->loop, &ring->timer);
    ring->timer.data = ring;
    err = open_parts(ring, names, start, why);
    if (err) {
        xenring_close(ring, false);
        return err;
    }
    *ring_out = ring;
    return VT_OK;
}

static void on_closed(uv_handle_t *handle)
{
    vt_free(handle->data);
}

void xenring_close(struct xenring *ring, bool forget)
{
    if (ring->port >= 0)
        (void)xenevtchn_unbind(ring->host->channels, (evtchn_port_t)ring->port);
    if (ring->page)
        (void)xengnttab_unmap(ring->host->grants, ring->page, 1);
    if (forget)
        journal_remove(ring->journal);
    else
        journal_close(ring->journal);
    tpmif_wipe(&ring->tpmif);
    uv_close((uv_handle_t *)&ring->timer, on_closed);
}

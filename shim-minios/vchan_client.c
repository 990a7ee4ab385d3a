/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-minios/vchan_client.h"

#include <inttypes.h>
#include <stdio.h>

#include "server/base/text.h"
#include "shim-minios/platform.h"

#define PAGE         4096u
#define SMALL_ORDER  10 /* at offset 1024 */
#define LARGE_ORDER  11 /* at offset 2048 */
#define PORT_MAX     0x7fffffff

/* ---- Shared fields: each access is one load or store ---- */

static volatile uint32_t *index_at(const struct vchan *vchan, unsigned offset)
{
    return (volatile uint32_t *)(volatile void *)(vchan->page + offset);
}

static uint32_t load(const struct vchan *vchan, unsigned offset)
{
    return __atomic_load_n(index_at(vchan, offset), __ATOMIC_ACQUIRE);
}

static void store(const struct vchan *vchan, unsigned offset, uint32_t value)
{
    __atomic_store_n(index_at(vchan, offset), value, __ATOMIC_RELEASE);
}

static unsigned order_at(const volatile uint8_t *page, unsigned offset)
{
    return page[offset] | (unsigned)page[offset + 1] << 8;
}

/* Ours to set, the server's to take: it sends one event when it has done such a thing. */
static void ask_for_event(struct vchan *vchan, uint8_t what)
{
    __atomic_fetch_or(vchan->page + VCHAN_SRV_NOTIFY, what, __ATOMIC_SEQ_CST);
}

static void tell(struct vchan *vchan, uint8_t what)
{
    if (__atomic_fetch_and(vchan->page + VCHAN_CLI_NOTIFY, (uint8_t)~what, __ATOMIC_SEQ_CST) & what)
        platform_notify(vchan->port);
}

/* ---- Opening ---- */

static bool set_ring(struct vchan_ring *ring, volatile uint8_t *page, unsigned order)
{
    if (order != SMALL_ORDER && order != LARGE_ORDER)
        return false;
    ring->size = 1u << order;
    ring->bytes = page + ring->size; /* its offset in the page is its size */
    return true;
}

/* The indices are the server's to begin with; from here on two of them are ours. */
static int take_layout(struct vchan *vchan, struct vt_why *why)
{
    unsigned left = order_at(vchan->page, VCHAN_LEFT_ORDER), right = order_at(vchan->page, VCHAN_RIGHT_ORDER);
    uint8_t client = vchan->page[VCHAN_CLI_LIVE];

    if (client != VCHAN_AWAITED)
        return VT_ENOTFOUND;
    if (left == right || !set_ring(&vchan->out, vchan->page, left) || !set_ring(&vchan->in, vchan->page, right))
        return vt_fail(why, VT_EPROTO, "%s: rings of orders %u and %u are not vtpm-server's", vchan->path, left, right);
    vchan->out.at = load(vchan, VCHAN_LEFT + 4);
    vchan->in.at = load(vchan, VCHAN_RIGHT);
    return VT_OK;
}

static int read_offer(const char *path, const char *name, char text[16])
{
    char node[96];

    snprintf(node, sizeof node, "%s/%s", path, name);
    return platform_read(node, text, 16);
}

static int open_offer(struct vchan *vchan, uint32_t server, struct vt_why *why)
{
    uint64_t ref, channel;
    void *page;
    int err = read_offer(vchan->path, "ring-ref", vchan->ring_ref);

    if (!err)
        err = read_offer(vchan->path, "event-channel", vchan->event_channel);
    if (err)
        return err;
    if (!vt_parse_u64(&ref, vchan->ring_ref, UINT32_MAX) || !vt_parse_u64(&channel, vchan->event_channel, PORT_MAX))
        return vt_fail(why, VT_EPROTO, "%s: ring-ref or event-channel is no number", vchan->path);
    page = platform_map(server, (uint32_t)ref);
    if (!page)
        return vt_fail(why, VT_ENOTFOUND, "%s: its page cannot be mapped", vchan->path);
    vchan->page = page;
    err = take_layout(vchan, why);
    if (!err)
        err = platform_bind(server, (uint32_t)channel, &vchan->port);
    if (!err)
        return VT_OK;
    platform_unmap(page);
    vchan->page = NULL;
    return err == VT_EIO ? vt_fail(why, VT_ENOTFOUND, "%s: its event channel cannot be bound", vchan->path) : err;
}

int vchan_open(struct vchan *vchan, uint32_t server, uint32_t self, struct vt_why *why)
{
    int err = VT_ENOTFOUND;

    for (unsigned slot = 0; slot < VCHAN_SLOTS && err == VT_ENOTFOUND; slot++) {
        struct vt_why said = {{0}};
        int len;

        *vchan = (struct vchan){.page = NULL};
        len = snprintf(vchan->path, sizeof vchan->path, "/local/domain/%" PRIu32 "/data/vchan/%" PRIu32 "/vtpm", server, self);
        if (slot)
            snprintf(vchan->path + len, sizeof vchan->path - (size_t)len, "-%u", slot);
        err = open_offer(vchan, server, &said);
        if (err && err != VT_ENOTFOUND)
            return vt_fail(why, err, "%s", said.text[0] ? said.text : vt_err_text(err));
    }
    if (err)
        return vt_fail(why, err, "domain %" PRIu32 " offers this domain (%" PRIu32 ") no channel: vtpm-server must run there "
                       "with --listen vchan, and the instance must be bound to this domain (vtpmctl binding add I --peer "
                       "backend:uuid:U)", server, self);
    vchan->page[VCHAN_CLI_LIVE] = VCHAN_CONNECTED;
    ask_for_event(vchan, VCHAN_ON_WRITE);
    platform_notify(vchan->port);
    return VT_OK;
}

void vchan_close(struct vchan *vchan)
{
    if (!vchan->page)
        return;
    vchan->page[VCHAN_CLI_LIVE] = VCHAN_GONE;
    platform_notify(vchan->port);
    platform_unbind(vchan->port);
    platform_unmap((void *)(uintptr_t)vchan->page);
    vchan->page = NULL;
}

bool vchan_is_open(const struct vchan *vchan)
{
    return vchan->page;
}

bool vchan_is_offered(const struct vchan *vchan)
{
    char ref[16], channel[16];
    int err = read_offer(vchan->path, "ring-ref", ref);

    if (!err)
        err = read_offer(vchan->path, "event-channel", channel);
    if (err)
        return err != VT_ENOTFOUND;
    return strcmp(ref, vchan->ring_ref) == 0 && strcmp(channel, vchan->event_channel) == 0;
}

/* ---- Bytes ---- */

static bool server_lives(const struct vchan *vchan)
{
    return vchan->page[VCHAN_SRV_LIVE] != VCHAN_GONE;
}

static void copy_in(const struct vchan_ring *ring, uint8_t *to, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        to[i] = ring->bytes[(ring->at + i) & (ring->size - 1)];
}

static void copy_out(const struct vchan_ring *ring, const uint8_t *from, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        ring->bytes[(ring->at + i) & (ring->size - 1)] = from[i];
}

int vchan_receive(struct vchan *vchan, uint8_t *bytes, size_t size, size_t *len)
{
    /* First: what it wrote before it left is still read. */
    bool lives = server_lives(vchan);
    uint32_t there;

    *len = 0;
    ask_for_event(vchan, VCHAN_ON_WRITE);
    there = load(vchan, VCHAN_RIGHT + 4) - vchan->in.at;
    if (there > vchan->in.size)
        return VT_EPROTO;
    if (!there)
        return lives ? VT_OK : VT_ECLOSED;
    *len = VT_MIN((size_t)there, size);
    copy_in(&vchan->in, bytes, (uint32_t)*len);
    vchan->in.at += (uint32_t)*len;
    store(vchan, VCHAN_RIGHT, vchan->in.at);
    tell(vchan, VCHAN_ON_READ);
    return VT_OK;
}

static int send_some(struct vchan *vchan, struct vt_buf *out, bool *is_full)
{
    uint32_t held, len;

    /* Asked for before the look: room that is made in between is told of. */
    ask_for_event(vchan, VCHAN_ON_READ);
    held = vchan->out.at - load(vchan, VCHAN_LEFT);
    if (held > vchan->out.size)
        return VT_EPROTO;
    len = (uint32_t)VT_MIN(vt_buf_size(out), (size_t)(vchan->out.size - held));
    *is_full = !len;
    copy_out(&vchan->out, vt_buf_bytes(out), len);
    vchan->out.at += len;
    store(vchan, VCHAN_LEFT + 4, vchan->out.at);
    tell(vchan, VCHAN_ON_WRITE);
    vt_buf_drop(out, len);
    return VT_OK;
}

int vchan_send(struct vchan *vchan, struct vt_buf *out)
{
    bool is_full = false;
    int err = VT_OK;

    while (!err && !is_full && vt_buf_size(out))
        err = server_lives(vchan) ? send_some(vchan, out, &is_full) : VT_ECLOSED;
    return err;
}

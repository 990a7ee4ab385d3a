/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's end of a vchan (Xen's public io/libxenvchan.h), for where libxenvchan does not exist. Both rings stand in
 * the one page that describes them, as vtpm-server makes them (orders 10 and 11); any other layout is refused.
 *
 * The page is the server's domain's: every shared field is read once and checked, sizes are those of the start, and our
 * own two indices are never read back. A ring that makes no sense is an end of the channel, not of ours. One thread.
 */
#ifndef VTPM_MINIOS_VCHAN_CLIENT_H
#define VTPM_MINIOS_VCHAN_CLIENT_H

#include "server/base/buf.h"

/* The header's fields by their offsets in the page. */
enum {
    VCHAN_LEFT = 0,   /* cons, prod: client writes, server reads */
    VCHAN_RIGHT = 8,  /* cons, prod: server writes, client reads */
    VCHAN_LEFT_ORDER = 16,
    VCHAN_RIGHT_ORDER = 18,
    VCHAN_CLI_LIVE = 20,
    VCHAN_SRV_LIVE = 21,
    VCHAN_CLI_NOTIFY = 22, /* of whom the client is to inform */
    VCHAN_SRV_NOTIFY = 23
};
#define VCHAN_GONE      0
#define VCHAN_CONNECTED 1
#define VCHAN_AWAITED   2 /* no client yet */
#define VCHAN_ON_WRITE  1
#define VCHAN_ON_READ   2

struct vchan_ring {
    volatile uint8_t *bytes;
    uint32_t size;      /* a power of two */
    uint32_t at;        /* our own index: cons of the ring we read, prod of the one we write */
};

struct vchan {
    volatile uint8_t *page; /* NULL: closed */
    uint32_t port;
    struct vchan_ring in, out;
    char path[64];      /* where it was offered */
    char ring_ref[16], event_channel[16]; /* and as what */
};

#define VCHAN_SLOTS 16 /* offers that are looked at; the server makes one more than are in use */

/*
 * Connects to the first channel without a client that `server` offers `self`. VT_ENOTFOUND: it offers none;
 * VT_EPROTO: what it offers is no ring of ours; VT_EIO. vchan is closed before and on errors.
 */
int vchan_open(struct vchan *vchan, uint32_t server, uint32_t self, struct vt_why *why) VT_USE_RESULT;
/* May be closed already. The server sees it at once. */
void vchan_close(struct vchan *vchan);
bool vchan_is_open(const struct vchan *vchan);

/*
 * VT_OK: *len bytes, none being none now. VT_ECLOSED: the server has closed, and everything from it was read;
 * VT_EPROTO: the ring makes no sense.
 */
int vchan_receive(struct vchan *vchan, uint8_t *bytes, size_t size, size_t *len) VT_USE_RESULT;
/* Sends what fits and drops that from out. An event comes when there is room again. VT_ECLOSED, VT_EPROTO. */
int vchan_send(struct vchan *vchan, struct vt_buf *out) VT_USE_RESULT;
/*
 * Whether the offer still stands in xenstore as it was: a domain that is gone writes nothing into its ring to say so.
 * True also when xenstore does not answer.
 */
bool vchan_is_offered(const struct vchan *vchan) VT_USE_RESULT;

#endif

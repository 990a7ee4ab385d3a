/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vchans for those above: a vchan that stands is an ordinary connected, non-blocking stream socket. Closing it closes
 * the vchan, after what was written has gone into the ring; when the other domain closes or dies, the socket ends after
 * what came from there.
 *
 * Threads: one pumps bytes (pump.h) and waits for nothing; another asks xenstore, makes and unmakes vchans, and may
 * hang for as long as xenstored does: then no channel comes or goes, and those that stand go on. Callbacks say on
 * which thread they run.
 *
 * Descriptors: a callback that is given one owns it. Errors: VT_EUNREACHED: xenstored does not answer; VT_ENOTFOUND:
 * nothing is offered there; VT_EUSAGE: a domain that no vchan can lead to.
 *
 * Where: store_offer_path in store.h. Rings are one page for both directions: one of the 1024 grants that a kernel
 * gives by default. A server offers a domain one channel more than are in use, so that every front end of a driver
 * domain has its own.
 */
#ifndef VTPM_XEN_VCHAN_H
#define VTPM_XEN_VCHAN_H

#include "server/base/domain.h"
#include "server/base/err.h"

/* ---- Server ---- */

struct vchan_host;

struct vchan_host_ops {
    /*
     * Whether it is offered anything: asked when it appears and every few seconds. False also when that cannot be told
     * now: then nobody can connect, and who is connected stays. Store thread; may wait for a disk.
     */
    bool (*allowed)(void *arg, const struct vt_domain *domain);
    /* Its client is there. Takes fd. False: not wanted now. Pump's thread: may not wait. */
    bool (*connected)(void *arg, int fd, const struct vt_domain *domain);
};

struct vchan_host_config {
    const struct vchan_host_ops *ops;
    void *arg;
    uint32_t recheck_ms; /* 0: 3000 */
};

/* VT_ECONFLICT: another server of this domain offers vchans. Returns owned (vchan_host_free). Borrows ops. */
int vchan_host_start(struct vchan_host **host, const struct vchan_host_config *config, struct vt_why *why) VT_USE_RESULT;
uint32_t vchan_host_domid(const struct vchan_host *host);
/* Asks everything anew, soon. Any thread. */
void vchan_host_recheck(struct vchan_host *host);
/* Offers nothing any more; `allowed` is not called after it returns. Connected channels go on. */
void vchan_host_close(struct vchan_host *host);
/*
 * Waits at most wait_ms until every channel has ended and its nodes are removed, then ends what is left. Not after
 * that if xenstored hangs: then threads and memory stay behind, for a process that ends anyway. May be NULL.
 */
void vchan_host_free(struct vchan_host *host, unsigned wait_ms);

/* ---- Client ---- */

struct vchan_client;
struct vchan_call;

/* VT_EUNREACHED: no xenstore. Returns owned (vchan_client_free). */
int vchan_client_new(struct vchan_client **client, struct vt_why *why) VT_USE_RESULT;
/* Every call must have been answered or cancelled. Channels that stand are closed at once. May be NULL. */
void vchan_client_free(struct vchan_client *client);

/* fd: takes; -1: see err and why. Store thread, once, under a lock: it may only note it and wake somebody up. */
typedef void (*vchan_connect_fn)(void *arg, int fd, int err, const struct vt_why *why);
/* One attempt. Any thread. Returns owned: vchan_call_end, also after fn was called. */
int vchan_client_connect(struct vchan_call **call, struct vchan_client *client, uint32_t domid, vchan_connect_fn fn,
                         void *arg) VT_USE_RESULT;
/* fn is not called after it returns; an attempt under way is given up. Any thread but from within fn. May be NULL. */
void vchan_call_end(struct vchan_call *call);

#endif

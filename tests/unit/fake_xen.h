/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Xen of a test's own: xenstore, grants and event channels in shared memory, so that a test plays toolstack,
 * hypervisor and guests while the shim is a process that can be killed. fake_xen.c is what a program is linked with
 * instead of libxenstore, libxengnttab and libxenevtchn; fake_xen_world.c is the test's side. Both find the memory and
 * two eventfds by FAKE_XEN_ENV.
 */
#ifndef VTPM_TESTS_FAKE_XEN_H
#define VTPM_TESTS_FAKE_XEN_H

#include <pthread.h>
#include <stdalign.h>

#include "server/base/base.h"

#define FAKE_XEN_ENV "VTPM_TEST_FAKE_XEN" /* "MEMORY,CHANNELS,STORE": descriptors */

#define FAKE_PATH    128
#define FAKE_VALUE   160
#define FAKE_NODES   512
#define FAKE_CHANGES 4096
#define FAKE_DOMAINS 64
#define FAKE_PAGES   16
#define FAKE_PORTS   64

struct fake_node {
    char path[FAKE_PATH]; /* "": free */
    char value[FAKE_VALUE];
};

struct fake_grant {
    uint32_t domid, ref;
    bool is_granted;
    unsigned mapped; /* how many times it is now; the mapper's death takes it down, which the test has to do */
};

/* Of the shim's domain; the remote side is the guest's. */
struct fake_port {
    bool is_bound, is_pending, is_masked;
    uint32_t domid, remote;
};

struct fake_xen {
    pthread_mutex_t lock; /* robust: its holder may be killed */
    uint32_t self;
    struct fake_node nodes[FAKE_NODES];
    char changed[FAKE_CHANGES][FAKE_PATH];
    unsigned changes;
    unsigned conflicts;   /* so many more transactions fail because others wrote */
    unsigned epoch;       /* connections made in an earlier one are dead */
    bool is_down;         /* xenstored does not run */
    bool hangs;           /* xenstored does not answer */
    bool channels_fail;
    bool is_there[FAKE_DOMAINS];
    struct fake_port ports[FAKE_PORTS];
    unsigned notified[FAKE_DOMAINS]; /* events sent to a domain */
    unsigned pendings;    /* events taken by the shim */
    struct fake_grant grants[FAKE_PAGES];
    alignas(4096) uint8_t pages[FAKE_PAGES][4096];
};

/* ---- Both sides ---- */

struct fake_xen *fake_xen_map(int fd);
void fake_xen_lock(struct fake_xen *xen);
void fake_xen_unlock(struct fake_xen *xen);
/* With the lock held. */
struct fake_node *fake_xen_find(struct fake_xen *xen, const char *path);
void fake_xen_set(struct fake_xen *xen, const char *path, const char *value);
void fake_xen_remove(struct fake_xen *xen, const char *path);
void fake_xen_change(struct fake_xen *xen, const char *path);

#endif

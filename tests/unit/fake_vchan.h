/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What server/xen asks of libxenvchan and libxenstore, without Xen: rings in memory, event channels that are eventfds,
 * an in-memory xenstore with owners, permissions and watches. Linked before the libraries, whose names it takes; both
 * ends of a vchan are in this process. Written from the public headers and xenstore's documentation. Thread: any.
 */
#ifndef VTPM_TESTS_FAKE_VCHAN_H
#define VTPM_TESTS_FAKE_VCHAN_H

#include <libxenvchan.h>
#include <stdbool.h>
#include <stdint.h>

/* An empty xenstore, and a file to lock. */
void fake_xen_init(void);
/* Everything that the tests and the code under test hold must be closed: false when it is not. */
bool fake_xen_end(void) __attribute__((warn_unused_result));

/* Which domain opens xenstore from now on; 0 at first. */
void fake_xen_be(unsigned domid);

/* ---- xenstore ---- */
/* As domain 0 would: the parents too. perms: "n0,r5" as xenstore-ls -p shows it; NULL: as the parent. */
void fake_store_write(const char *path, const char *value, const char *perms);
/* With everything below it. */
void fake_store_remove(const char *path);
bool fake_store_has(const char *path);
/* A guest as libxl makes it, then @introduceDomain; uuid: 36 characters. */
void fake_domain_add(unsigned domid, const char *uuid, const char *name);
/* Its nodes go, then @releaseDomain. */
void fake_domain_remove(unsigned domid);
void fake_store_fire(const char *special);
/* Calls wait until it is switched off. */
void fake_store_hang(bool on);
/* How many wait now. */
unsigned fake_store_waiting(void);
/* Calls fail as when xenstored died. */
void fake_store_die(bool on);

/* ---- vchan ---- */
/* Servers and clients that are open. */
unsigned fake_vchan_open(void);
/* The next ones fail. */
void fake_vchan_refuse(unsigned servers);
/* libxenvchan_wait fails on this end. */
void fake_vchan_break(struct libxenvchan *chan);
/* libxenvchan_wait was called though poll had not said so: it would have waited. */
unsigned fake_vchan_waits(void);
/* Wakes the other end. */
void fake_vchan_kick(struct libxenvchan *chan);
/* A pair without xenstore: the server's end with a client at its other end. */
void fake_vchan_pair(struct libxenvchan **server, struct libxenvchan **client);

/* What site_check answers. */
void fake_site(int err);

#endif

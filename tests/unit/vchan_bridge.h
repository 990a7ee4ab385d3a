/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vchan's server end in fake_xen.h's memory, in a thread of its own, as Xen's public io/libxenvchan.h describes it: what
 * comes in goes to a server's Unix socket, and back. It offers a channel, serves its client, and offers the next one.
 */
#ifndef VTPM_TESTS_VCHAN_BRIDGE_H
#define VTPM_TESTS_VCHAN_BRIDGE_H

#include "fake_xen_world.h"

#define BRIDGE_DOMAIN 9  /* the server's */
#define BRIDGE_PAGE   12 /* of fake_xen.h; its grant and its channel are those of guest_connect */

/* Starts; path of the server's socket. The world was just reset. */
void bridge_start(const char *path);
/* The offer goes, and the thread. */
void bridge_stop(void);
/* Connections that were made to the server so far. */
unsigned bridge_links(void);
/* The page's field as the server's domain would write it. */
void bridge_poke(unsigned offset, uint32_t value);
/* Hands on no byte to the server while it is set. */
void bridge_hold(bool on);
/* The server's domain ends without a word: no byte moves, the nodes are gone, the page stays. Until bridge_stop. */
void bridge_die(void);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line to other servers (docs/moving.md, "The channel between two servers"): one connection for each question. Each
 * has a thread of its own for as long as it takes, PEERS_PATIENCE_MS at most, so that a source which does not answer
 * holds up nobody. Loop thread.
 */
#ifndef VTPM_NET_PEERS_H
#define VTPM_NET_PEERS_H

#include <uv.h>

#include "server/core/broker.h"

#define PEERS_PATIENCE_MS 5000
#define PEERS_MOST        16 /* questions at once; the others wait */

struct peers;

/* Returns owned (peers_free); the broker's line from then on, and claims without an answer are asked for. */
int peers_new(struct peers **peers, uv_loop_t *uv, struct broker *broker) VT_USE_RESULT;
/* After the broker was drained: nothing is under way. Frees itself on the loop. May be NULL. */
void peers_free(struct peers *peers);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A client and a server channel, and a program of small steps that an input makes them walk. */
#ifndef VTPM_TESTS_FUZZ_CHANNEL_PAIR_H
#define VTPM_TESTS_FUZZ_CHANNEL_PAIR_H

#include "proto/channel.h"
#include "tests/fuzz/fuzz.h"

enum { CLIENT, SERVER };

struct pair {
    struct channel *side[2];
    bool spoilt;    /* bytes were changed on the way, or lost: the two sides may disagree from now on */
    struct vt_key key;
};

/* Both sides, before the handshake. */
void pair_start(struct pair *pair);
void pair_stop(struct pair *pair);
/* The configuration of one side. */
struct tls_config pair_config(struct pair *pair, bool server);
/* Carries up to len bytes from `from` to the other side; the number carried. */
size_t pair_carry(struct pair *pair, int from, size_t len);
/* To the end of an undisturbed handshake; false if it came to none. */
bool pair_shake(struct pair *pair);
/*
 * Steps until the input ends: {what, argument}: say a message, carry bytes, change one, feed the rest of the step,
 * close. Checks: what one side may send the other accepts, if nothing was changed on the way.
 */
void pair_walk(struct pair *pair, struct fuzz_src *src);

#endif

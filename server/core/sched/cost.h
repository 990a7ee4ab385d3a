/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a TPM command costs the host, as far as its ordinal tells. Of the command nothing else is read: what
 * it means is the sandbox's to say. An unknown or malformed one costs the least, since the engine refuses it
 * at once. No I/O, any thread.
 */
#ifndef VTPM_CORE_SCHED_COST_H
#define VTPM_CORE_SCHED_COST_H

#include "server/base/base.h"

/* In ascending cost. */
enum cost_class {
    COST_CHEAP,   /* hashes, sessions, reading */
    COST_DURABLE, /* changes permanent state: a transaction of the store, little CPU */
    COST_PRIVATE, /* an operation with an RSA private key, or more of the kind */
    COST_KEY /* an RSA key is made; where a key pool has it ready, as costly as COST_PRIVATE, which is then
                learned */
};
#define COST_CLASSES 4u

/* Bytes 6 to 9 of a command; 0 where there are fewer. */
uint32_t cost_ordinal(const uint8_t *command, size_t len);
enum cost_class cost_class_of(uint32_t ordinal);
/* Microseconds of one core, until experience says more (sched.h). */
uint64_t cost_first_us(enum cost_class class);
/* Is it long enough that a crowd of them would hold up everybody else? */
bool cost_is_long(enum cost_class class);

#endif

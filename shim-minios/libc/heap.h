/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heap behind stdlib.h: one array in the image, so that memory is bounded when the domain starts. First fit, neighbours
 * that are free are one. What was freed is wiped by who freed it. One thread.
 */
#ifndef VTPM_MINIOS_HEAP_H
#define VTPM_MINIOS_HEAP_H

#include <stddef.h>

#ifndef HEAP_BYTES
#define HEAP_BYTES (1024u * 1024)
#endif

struct heap_use {
    size_t now, most; /* bytes, with what the heap itself needs */
};

struct heap_use heap_use(void);

#endif

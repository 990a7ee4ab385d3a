/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-minios/libc/heap.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define UNIT 16u

/* In front of each block, in units; blocks lie one behind the other from the first unit to the last. */
struct block {
    uint32_t units; /* of this block, this head included */
    uint32_t prev;  /* of the block before; 0: there is none */
    bool is_used;
    uint8_t pad[UNIT - 9];
};

#define UNITS (HEAP_BYTES / UNIT)

static alignas(UNIT) struct block heap[UNITS];
static bool is_ready;
static struct heap_use use;

static void prepare(void)
{
    if (!is_ready)
        heap[0] = (struct block){.units = UNITS};
    is_ready = true;
}

static struct block *next_of(struct block *block)
{
    struct block *next = block + block->units;

    return next < heap + UNITS ? next : NULL;
}

static void set_units(struct block *block, uint32_t units)
{
    struct block *next;

    block->units = units;
    next = next_of(block);
    if (next)
        next->prev = units;
}

/* What a block has too much becomes a block of its own. */
static void split(struct block *block, uint32_t units)
{
    uint32_t rest = block->units - units;

    if (rest < 2)
        return;
    block->units = units;
    block[units] = (struct block){.prev = units};
    set_units(block + units, rest);
}

static void join_next(struct block *block)
{
    struct block *next = next_of(block);

    if (next && !next->is_used)
        set_units(block, block->units + next->units);
}

static void count(size_t units, bool more)
{
    use.now = more ? use.now + units * UNIT : use.now - units * UNIT;
    if (use.now > use.most)
        use.most = use.now;
}

void *malloc(size_t size)
{
    uint32_t units = (uint32_t)((size + UNIT - 1) / UNIT + 1);

    prepare();
    if (size > HEAP_BYTES - 2 * UNIT)
        return NULL;
    for (struct block *block = heap; block; block = next_of(block)) {
        if (block->is_used || block->units < units)
            continue;
        split(block, units);
        block->is_used = true;
        count(block->units, true);
        return block + 1;
    }
    return NULL;
}

void *calloc(size_t number, size_t size)
{
    void *ptr;

    if (size && number > HEAP_BYTES / size)
        return NULL;
    ptr = malloc(number * size);
    if (ptr)
        memset(ptr, 0, number * size);
    return ptr;
}

void free(void *ptr)
{
    struct block *block = ptr;

    if (!ptr)
        return;
    block--;
    if (block < heap || block >= heap + UNITS || !block->is_used)
        abort();
    block->is_used = false;
    count(block->units, false);
    join_next(block);
    if (block->prev && !block[-(ptrdiff_t)block->prev].is_used)
        join_next(block - block->prev);
}

void *realloc(void *ptr, size_t size)
{
    size_t had = ptr ? ((size_t)((struct block *)ptr - 1)->units - 1) * UNIT : 0;
    void *more;

    if (ptr && size <= had)
        return ptr;
    more = malloc(size);
    if (!more)
        return NULL;
    if (ptr)
        memcpy(more, ptr, had);
    free(ptr);
    return more;
}

struct heap_use heap_use(void)
{
    return use;
}

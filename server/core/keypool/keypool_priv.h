/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the key pool share: shelf.c (keys that are ready), queue.c (who waits), keypool.c (makers). */
#ifndef VTPM_CORE_KEYPOOL_PRIV_H
#define VTPM_CORE_KEYPOOL_PRIV_H

#include "server/base/list.h"
#include "server/core/keypool/keypool.h"

/* ---- shelf.c ---- */

/* One mapping of locked memory for both sizes. */
struct shelf {
    void *memory;
    size_t memory_size;
    struct cr_rsa_key *keys[KEYPOOL_SIZES];
    unsigned size[KEYPOOL_SIZES], level[KEYPOOL_SIZES];
};

/* VT_ENOMEM: that much cannot be locked. */
int shelf_make(struct shelf *shelf, const unsigned size[KEYPOOL_SIZES], struct vt_why *why) VT_USE_RESULT;
void shelf_free(struct shelf *shelf);
/* KEYPOOL_SIZES: keys of this kind are not kept. */
enum keypool_size shelf_size_of(unsigned bits, uint32_t e);
unsigned shelf_bits(enum keypool_size size);
/* There is room, resp. a key. */
void shelf_put(struct shelf *shelf, enum keypool_size size, const struct cr_rsa_key *key);
/* The place where it was is wiped. */
void shelf_take(struct shelf *shelf, enum keypool_size size, struct cr_rsa_key *key);

/* ---- queue.c ---- */

struct keypool_wish {
    struct vt_list node;        /* in the queue, or behind another one of its owner; off all lists: being made */
    struct vt_list behind;      /* those of the same owner that came after it */
    struct keypool *pool;
    struct maker *maker;        /* that works on it; NULL: it is in the queue */
    struct vt_uuid owner;
    unsigned bits;
    uint32_t e;
    bool is_queued;
    bool is_eager;              /* its owner had a key a short while ago */
    unsigned deaths;            /* of makers that worked on it */
    void (*done)(void *arg, int err, const struct cr_rsa_key *key);
    void *arg;
};

/* Turn by turn of the owners; those who ask again and again come after the others. */
struct queue {
    struct vt_list modest, eager;
    size_t count;
};

void queue_init(struct queue *queue);
void queue_add(struct queue *queue, struct keypool_wish *wish);
/* In front of all others: its maker has died. */
void queue_put_back(struct queue *queue, struct keypool_wish *wish);
/* Another of its owner's takes its place at the end of the queue. */
void queue_remove(struct queue *queue, struct keypool_wish *wish);
/* Whose turn it is; NULL: nobody's. */
struct keypool_wish *queue_first(struct queue *queue, bool eager);
/* The first that wants a key of this kind. */
struct keypool_wish *queue_find(struct queue *queue, bool eager, unsigned bits, uint32_t e);

/* ---- takes: who had keys from the pool of late ---- */
#define TAKES 64
struct takes {
    struct take {
        struct vt_uuid owner;
        uint64_t at_us;
    } last[TAKES];
    unsigned next;
};
void takes_note(struct takes *takes, const struct vt_uuid *owner, uint64_t now_us);
bool takes_has(const struct takes *takes, const struct vt_uuid *owner, uint64_t now_us);

#endif

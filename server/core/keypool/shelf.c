/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that are ready, in locked memory; and who had some of late. */
#include "server/core/keypool/keypool_priv.h"

#include <assert.h>

#include "server/base/vault.h"

/* A guest that takes one after the other leaves the last quarter to those who come seldom. */
#define TAKES_US (60 * 1000000ull)

static const unsigned bits_of[KEYPOOL_SIZES] = {[KEYPOOL_2048] = 2048, [KEYPOOL_1024] = 1024};

unsigned shelf_bits(enum keypool_size size)
{
    return bits_of[size];
}

enum keypool_size shelf_size_of(unsigned bits, uint32_t e)
{
    unsigned size = 0;

    while (size < KEYPOOL_SIZES && (bits_of[size] != bits || e != KEYPOOL_EXPONENT))
        size++;
    return size;
}

int shelf_make(struct shelf *shelf, const unsigned size[KEYPOOL_SIZES], struct vt_why *why)
{
    const size_t count = (size_t)size[KEYPOOL_2048] + size[KEYPOOL_1024];
    int err;

    *shelf = (struct shelf){.memory_size = count * sizeof *shelf->keys[0]};
    err = vt_locked_map(&shelf->memory, &shelf->memory_size, "the key pool", why);
    if (err) {
        *shelf = (struct shelf){0};
        return err;
    }
    shelf->keys[KEYPOOL_2048] = shelf->memory;
    shelf->keys[KEYPOOL_1024] = shelf->keys[KEYPOOL_2048] + size[KEYPOOL_2048];
    memcpy(shelf->size, size, sizeof shelf->size);
    return VT_OK;
}

void shelf_free(struct shelf *shelf)
{
    if (shelf->memory)
        vt_locked_unmap(shelf->memory, shelf->memory_size);
    *shelf = (struct shelf){0};
}

void shelf_put(struct shelf *shelf, enum keypool_size size, const struct cr_rsa_key *key)
{
    assert(shelf->level[size] < shelf->size[size]);
    shelf->keys[size][shelf->level[size]++] = *key;
}

void shelf_take(struct shelf *shelf, enum keypool_size size, struct cr_rsa_key *key)
{
    struct cr_rsa_key *place;

    assert(shelf->level[size]);
    place = &shelf->keys[size][--shelf->level[size]];
    *key = *place;
    cr_rsa_key_wipe(place);
}

void takes_note(struct takes *takes, const struct vt_uuid *owner, uint64_t now_us)
{
    takes->last[takes->next] = (struct take){.owner = *owner, .at_us = now_us};
    takes->next = (takes->next + 1) % TAKES;
}

bool takes_has(const struct takes *takes, const struct vt_uuid *owner, uint64_t now_us)
{
    for (size_t i = 0; i < TAKES; i++) {
        const struct take *take = &takes->last[i];

        if (take->at_us && now_us - take->at_us < TAKES_US && vt_uuid_equal(&take->owner, owner))
            return true;
    }
    return false;
}

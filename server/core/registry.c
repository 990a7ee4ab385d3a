/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/registry.h"

#include <assert.h>

#include "server/base/alloc.h"

#define FIRST_SIZE 64

static struct vt_list *new_buckets(size_t size)
{
    struct vt_list *buckets = vt_calloc(size, sizeof *buckets);

    for (size_t i = 0; buckets && i < size; i++)
        vt_list_init(&buckets[i]);
    return buckets;
}

int registry_init(struct registry *registry)
{
    *registry = (struct registry){.buckets = new_buckets(FIRST_SIZE), .size = FIRST_SIZE};
    return registry->buckets ? VT_OK : VT_ENOMEM;
}

void registry_free(struct registry *registry)
{
    assert(registry->count == 0);
    vt_free(registry->buckets);
    *registry = (struct registry){0};
}

/* Uuids may be chosen by administrators, who are trusted not to collide them on purpose; FNV-1a is enough. */
static struct vt_list *bucket_of(const struct registry *registry, const struct vt_uuid *uuid)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < sizeof uuid->bytes; i++)
        hash = (hash ^ uuid->bytes[i]) * 0x100000001b3u;
    return &registry->buckets[(hash ^ hash >> 32) & (registry->size - 1)];
}

struct registry_node *registry_find(const struct registry *registry, const struct vt_uuid *uuid)
{
    struct vt_list *bucket = bucket_of(registry, uuid);

    VT_LIST_EACH(bucket, at) {
        struct registry_node *node = VT_LIST_ENTRY(at, struct registry_node, bucket);
        if (vt_uuid_equal(&node->uuid, uuid))
            return node;
    }
    return NULL;
}

static void grow(struct registry *registry)
{
    struct registry old = *registry;
    struct vt_list *buckets = new_buckets(old.size * 2);

    if (!buckets)
        return;
    registry->buckets = buckets;
    registry->size = old.size * 2;
    for (size_t i = 0; i < old.size; i++) {
        VT_LIST_EACH(&old.buckets[i], at) {
            struct registry_node *node = VT_LIST_ENTRY(at, struct registry_node, bucket);
            vt_list_remove(at);
            vt_list_add(bucket_of(registry, &node->uuid), at);
        }
    }
    vt_free(old.buckets);
}

void registry_add(struct registry *registry, struct registry_node *node)
{
    if (registry->count >= registry->size)
        grow(registry);
    vt_list_init(&node->bucket);
    vt_list_add(bucket_of(registry, &node->uuid), &node->bucket);
    registry->count++;
}

void registry_remove(struct registry *registry, struct registry_node *node)
{
    vt_list_remove(&node->bucket);
    registry->count--;
}

void registry_each(struct registry *registry, void (*fn)(void *arg, struct registry_node *node), void *arg)
{
    for (size_t i = 0; i < registry->size; i++) {
        VT_LIST_EACH(&registry->buckets[i], at)
            fn(arg, VT_LIST_ENTRY(at, struct registry_node, bucket));
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The instances that are in memory, by uuid. An instance that nobody uses is not here. Loop thread. */
#ifndef VTPM_CORE_REGISTRY_H
#define VTPM_CORE_REGISTRY_H

#include "server/base/err.h"
#include "server/base/list.h"
#include "server/base/text.h"

/* First member of whatever is registered. */
struct registry_node {
    struct vt_list bucket;
    struct vt_uuid uuid;
};

struct registry {
    struct vt_list *buckets; /* a power of two */
    size_t size;
    size_t count;
};

int registry_init(struct registry *registry) VT_USE_RESULT;
/* Must be empty. */
void registry_free(struct registry *registry);
/* NULL: not there. */
struct registry_node *registry_find(const struct registry *registry, const struct vt_uuid *uuid);
/* node->uuid is set and not yet registered. Cannot fail: without memory the table only stays smaller than it should. */
void registry_add(struct registry *registry, struct registry_node *node);
void registry_remove(struct registry *registry, struct registry_node *node);

/* fn may remove the node it is given. */
void registry_each(struct registry *registry, void (*fn)(void *arg, struct registry_node *node), void *arg);

#endif

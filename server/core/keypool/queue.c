/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits for a key. In a list each owner stands once; what else it wishes stands behind its first wish. */
#include "server/core/keypool/keypool_priv.h"

void queue_init(struct queue *queue)
{
    vt_list_init(&queue->modest);
    vt_list_init(&queue->eager);
    queue->count = 0;
}

static struct vt_list *list_of(struct queue *queue, const struct keypool_wish *wish)
{
    return wish->is_eager ? &queue->eager : &queue->modest;
}

static struct keypool_wish *wish_of(struct vt_list *node)
{
    return VT_LIST_ENTRY(node, struct keypool_wish, node);
}

/* So many owners wait at most as there are instances with a command under way. */
static struct keypool_wish *find_owner(struct vt_list *list, const struct vt_uuid *owner)
{
    VT_LIST_EACH(list, node)
        if (vt_uuid_equal(&wish_of(node)->owner, owner))
            return wish_of(node);
    return NULL;
}

void queue_add(struct queue *queue, struct keypool_wish *wish)
{
    struct vt_list *list = list_of(queue, wish);
    struct keypool_wish *first = find_owner(list, &wish->owner);

    vt_list_add(first ? &first->behind : list, &wish->node);
    wish->is_queued = true;
    queue->count++;
}

void queue_put_back(struct queue *queue, struct keypool_wish *wish)
{
    vt_list_add(list_of(queue, wish)->next, &wish->node);
    wish->is_queued = true;
    queue->count++;
}

void queue_remove(struct queue *queue, struct keypool_wish *wish)
{
    if (!wish->is_queued)
        return;
    vt_list_remove(&wish->node);
    if (!vt_list_empty(&wish->behind)) {
        struct keypool_wish *next = wish_of(wish->behind.next);

        vt_list_remove(&next->node);
        while (!vt_list_empty(&wish->behind)) {
            struct vt_list *node = wish->behind.next;

            vt_list_remove(node);
            vt_list_add(&next->behind, node);
        }
        vt_list_add(list_of(queue, next), &next->node);
    }
    wish->is_queued = false;
    queue->count--;
}

struct keypool_wish *queue_first(struct queue *queue, bool eager)
{
    struct vt_list *list = eager ? &queue->eager : &queue->modest;

    return vt_list_empty(list) ? NULL : wish_of(list->next);
}

struct keypool_wish *queue_find(struct queue *queue, bool eager, unsigned bits, uint32_t e)
{
    VT_LIST_EACH(eager ? &queue->eager : &queue->modest, node)
        if (wish_of(node)->bits == bits && wish_of(node)->e == e)
            return wish_of(node);
    return NULL;
}

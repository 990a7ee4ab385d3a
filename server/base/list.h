/* SPDX-License-Identifier: Apache-2.0 */
/* Intrusive doubly linked ring; the head is a node of its own. A node that is in no list points to itself. */
#ifndef VTPM_BASE_LIST_H
#define VTPM_BASE_LIST_H

#include "server/base/base.h"

struct vt_list {
    struct vt_list *next, *prev;
};

static inline void vt_list_init(struct vt_list *node)
{
    node->next = node->prev = node;
}

static inline bool vt_list_empty(const struct vt_list *head)
{
    return head->next == head;
}

/* Puts node before `at`: with the head, at the end of the list. */
static inline void vt_list_add(struct vt_list *at, struct vt_list *node)
{
    node->next = at;
    node->prev = at->prev;
    at->prev->next = node;
    at->prev = node;
}

/* Harmless on a node that is in no list. */
static inline void vt_list_remove(struct vt_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    vt_list_init(node);
}

#define VT_LIST_ENTRY(node, type, member) VT_CONTAINER(node, type, member)
/* The body may remove and free the entry it is given. */
#define VT_LIST_EACH(head, node)                                                                   \
    for (struct vt_list *node = (head)->next, *node##_next = node->next; node != (head);           \
         node = node##_next, node##_next = node->next)

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/handoff/handoff_priv.h"

#include <stdio.h>

#include "server/base/alloc.h"

bool handoff_is_final(int err)
{
    return err == VT_ECONFLICT || err == VT_ENOTFOUND;
}

void handoff_set_line(struct broker *broker, const struct handoff_line *ops, void *line)
{
    broker->line_ops = ops;
    broker->line = line;
}

void handoff_begin(struct handoff_op *op, struct broker *broker, const char *peer, void *arg)
{
    op->broker = broker;
    op->arg = arg;
    snprintf(op->peer, sizeof op->peer, "%s", peer);
    vt_list_add(&broker->handoffs, &op->node);
}

void handoff_over(struct handoff_op *op)
{
    vt_list_remove(&op->node);
}

void handoff_forget(struct broker *broker, void *arg)
{
    VT_LIST_EACH(&broker->handoffs, at) {
        struct handoff_op *op = VT_LIST_ENTRY(at, struct handoff_op, node);
        if (op->arg == arg)
            op->is_forgotten = true;
    }
}

void handoff_end(struct broker *broker)
{
    while (!vt_list_empty(&broker->handoffs)) {
        struct handoff_op *op = VT_LIST_ENTRY(broker->handoffs.next, struct handoff_op, node);
        handoff_over(op);
        vt_free(op);
    }
    loop_timer_free(broker->handoff_timer);
}

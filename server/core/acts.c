/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/acts.h"

#include <stdio.h>

#include "server/base/log.h"
#include "server/core/broker_priv.h"

bool act_limit_pass(struct act_limit *limit, unsigned most, unsigned window_s, uint64_t now_us, unsigned *held)
{
    if (!limit->written || now_us - limit->window_us >= window_s * 1000000ull) {
        limit->window_us = now_us;
        limit->written = 0;
    }
    if (limit->written >= most) {
        limit->held++;
        return false;
    }
    limit->written++;
    *held = limit->held;
    limit->held = 0;
    return true;
}

static void on_written(void *arg VT_UNUSED, int err)
{
    if (err)
        vt_warning("events: one could not be written: %s", vt_err_text(err));
}

void act_write(struct broker *broker, const char *kind, const struct vt_uuid *uuid, const char *peer, const char *text)
{
    struct db_audit audit = {.kind = kind, .uuid = uuid, .peer = peer, .text = text};
    int err = db_event_add(broker->db, &audit, on_written, NULL);

    if (err)
        on_written(NULL, err);
}

/* Appends unless the limit of refusals is met; what was held back is told by the next one. */
static bool write_refusal(struct broker *broker, struct act_limit *limit, const char *kind, const struct vt_uuid *uuid,
                          const char *peer, const char *what)
{
    char text[256];
    unsigned held;

    if (!act_limit_pass(limit, ACT_REFUSE_MOST, ACT_REFUSE_WINDOW_S, loop_now_us(), &held))
        return false;
    if (held)
        snprintf(text, sizeof text, "%.200s (and %u more since the last one)", what, held);
    else
        snprintf(text, sizeof text, "%s", what);
    act_write(broker, kind, uuid, peer, text);
    return true;
}

bool act_refused(struct broker *broker, const char *peer, const char *what)
{
    return write_refusal(broker, &broker->refusals, "admin-refused", NULL, peer, what);
}

void act_unbound(struct broker *broker, const struct vt_uuid *uuid, const char *peer, const char *text)
{
    (void)write_refusal(broker, &broker->unbound, "attach-refused", uuid, peer, text);
}

void broker_admin_stranger(struct broker *broker, const char *peer)
{
    (void)act_refused(broker, peer, "this account may not administer");
}

/* ---- The runtime directory ---- */

static const char *runtime_advice(int err)
{
    switch (err) {
    case VT_ENOSPC:
        return "its file system is full: make room there";
    case VT_EUNAVAILABLE:
        return "its file system is read-only: mount it read-write";
    default:
        return vt_err_text(err);
    }
}

void broker_runtime_wrote(struct broker *broker, bool *refused, int err)
{
    if (err && !*refused) {
        *refused = true;
        if (broker->runtime_refused++ == 0)
            vt_error("runtime: %s cannot be written: %s; until then guests are told to retry", broker->runtime_path,
                     runtime_advice(err));
    } else if (!err && *refused) {
        *refused = false;
        if (--broker->runtime_refused == 0)
            vt_notice("runtime: %s is written again; nothing that was answered is lost", broker->runtime_path);
    }
}

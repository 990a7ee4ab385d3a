/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An instance comes from another server, whole and in one transaction: by `instance import`, and by a claim. Loop
 * thread unless said otherwise.
 */
#ifndef VTPM_CORE_ARRIVE_H
#define VTPM_CORE_ARRIVE_H

#include "server/core/broker_priv.h"
#include "server/core/record.h"

/* How its slow part gets a worker: broker_work, admin_work. */
typedef int (*handoff_work)(struct broker *broker, void (*work)(void *arg), void (*done)(void *arg), void *arg);

/* row: uuid and name, if err is VT_OK. VT_EUNAVAILABLE, VT_EUNKNOWN without a reason: the store's. */
typedef void (*arrive_done)(void *arg, int err, const struct vt_why *why, const struct db_instance *row);

struct arrive_args {
    const uint8_t *bundle;          /* copied */
    size_t len;
    const char *peer;               /* for the event */
    const struct vt_uuid *claimed, *source; /* only this instance of this store will do; NULL: any of any peer */
    bool only_looks;                /* all checks, and nothing is written */
    handoff_work work;
};
/* One after the other, those that wait in order. VT_ENOMEM; else `done` is called once, perhaps from within. */
int arrive(struct broker *broker, const struct arrive_args *args, arrive_done done, void *arg) VT_USE_RESULT;

/* ---- What can be said before the bundle is here. Any thread. ---- */
int arrive_name_free(struct broker *broker, const struct vt_uuid *uuid, const char *name, struct vt_why *why) VT_USE_RESULT;
/* The uuid is new, or that of an instance which left from here (*returns) and is older than what comes. */
int arrive_uuid_free(struct broker *broker, const struct vt_uuid *uuid, uint64_t seq, bool *returns, struct vt_why *why) VT_USE_RESULT;
/* What this server's engine could not thaw would be broken here and fenced there. */
int arrive_version_known(unsigned version, struct vt_why *why) VT_USE_RESULT;
/* Of its permanent state; 0: it does not say. */
unsigned arrive_version_of(const struct record *record);

#endif

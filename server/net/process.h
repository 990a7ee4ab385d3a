/* SPDX-License-Identifier: Apache-2.0 */
/* What the process does to itself before it serves: descriptors, limits, dumps, and whose it is. Main thread.
 */
#ifndef VTPM_NET_PROCESS_H
#define VTPM_NET_PROCESS_H

#include <sys/types.h>

#include "server/base/err.h"
#include "server/net/config.h"
#include "server/net/role.h"

/* Descriptors 0-2 exist, files are made for the owner only, a peer that goes is no signal, no core dumps, no
 * debugger, as many descriptors as are allowed. */
void process_harden(void);
/* libuv ends the process when its table of descriptors cannot grow: then the log says so first. Before libuv is used. */
int process_watch_loop_memory(void) VT_USE_RESULT;
/* How many channels the descriptors suffice for: each may need an engine and a runtime file besides itself. */
unsigned process_channels_max(void);
/* Says so at start when they do not for a thousand guests, and what to raise. */
void process_say_channels(unsigned max);

/* Whom the server runs as. */
struct process_user {
    bool change; /* started as root: becomes uid and gid */
    uid_t uid;
    gid_t gid;
    char name[64]; /* "" when the account database has none */
};

/*
 * Started as root: --user, else the owner of the data directory, else `vtpm`; --allow-root stays. VT_EUSAGE,
 * with the command to type, where that cannot be, also when the data directory is another's.
 */
int process_find_user(struct process_user *user, const struct config *config,
                      struct vt_why *why) VT_USE_RESULT;
/* Becomes that user, for good; keeps membership in the groups of the policy, so that the admin socket can be
 * given to them. Says so in the log. */
int process_become(const struct process_user *user, const struct role_policy *policy,
                   struct vt_why *why) VT_USE_RESULT;

/* init as root: the data directory exists, 0700, and is the user's. VT_EEXISTS: a store is there. */
int process_prepare_data(const struct process_user *user, const char *dir, struct vt_why *why) VT_USE_RESULT;
/* Makes CONFIG_RUN_DIR for the user where we may; else whoever needs it says so. */
void process_prepare_run_dir(const struct process_user *user);

/* "GROUP" or a number. */
int process_find_group(gid_t *gid, const char *option, const char *name, struct vt_why *why) VT_USE_RESULT;
/* --engine, else beside this program, else in ../libexec of its directory; it must be there and executable.
 * Returns owned. */
int process_find_engine(char **path, const char *option, struct vt_why *why) VT_USE_RESULT;

#endif

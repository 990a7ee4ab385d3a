/* SPDX-License-Identifier: Apache-2.0 */
/* Who may administer: the decision apart from the socket it is made for. */
#ifndef VTPM_NET_ROLE_H
#define VTPM_NET_ROLE_H

#include <sys/types.h>

#include "server/core/broker.h"

#define ROLE_GROUPS_MAX 1024

struct role_policy {
    uid_t own_uid;
    bool has_admin_group, has_monitor_group;
    gid_t admin_gid, monitor_gid;
};

/* uid 0, the server's own uid and the admin group: ADMIN_FULL; the monitor group: ADMIN_MONITOR; else
 * ADMIN_NONE. groups: all the peer is in, its primary one among them. Pure. */
enum admin_role role_of(const struct role_policy *policy, uid_t uid, const gid_t *groups, size_t count);

/* Primary and supplementary groups of the process at the other end of a Unix socket: the kernel's own list
 * where it tells (SO_PEERGROUPS), else what the account database says of its uid. Returns how many, at most
 * `max`. */
size_t role_peer_groups(int fd, uid_t uid, gid_t gid, gid_t *groups, size_t max);

#endif

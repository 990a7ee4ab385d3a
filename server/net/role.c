/* SPDX-License-Identifier: Apache-2.0 */
#include "server/net/role.h"

#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

static bool is_member(gid_t gid, const gid_t *groups, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (groups[i] == gid)
            return true;
    return false;
}

enum admin_role role_of(const struct role_policy *policy, uid_t uid, const gid_t *groups, size_t count)
{
    if (uid == 0 || uid == policy->own_uid)
        return ADMIN_FULL;
    if (policy->has_admin_group && is_member(policy->admin_gid, groups, count))
        return ADMIN_FULL;
    if (policy->has_monitor_group && is_member(policy->monitor_gid, groups, count))
        return ADMIN_MONITOR;
    return ADMIN_NONE;
}

static size_t groups_of_account(uid_t uid, gid_t gid, gid_t *groups, size_t max)
{
    struct passwd entry, *found = NULL;
    char text[4096];
    int count = (int)max;

    if (getpwuid_r(uid, &entry, text, sizeof text, &found) || !found)
        return 0;
    /* On -1 the list was cut at max, and count says how long it would have been. */
    if (getgrouplist(found->pw_name, gid, groups, &count) < 0)
        return max;
    return (size_t)count;
}

size_t role_peer_groups(int fd, uid_t uid, gid_t gid, gid_t *groups, size_t max)
{
    socklen_t len;

    if (!max)
        return 0;
    groups[0] = gid;
    len = (socklen_t)((max - 1) * sizeof *groups);
    if (!getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups + 1, &len))
        return 1 + len / sizeof *groups;
    return 1 + groups_of_account(uid, gid, groups + 1, max - 1);
}

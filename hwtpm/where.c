/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a TPM may be: on this host, and by one of the ways below. A slot's row is read before the store's MAC can be
 * checked, so what it says is hostile: a TCTI may also be a shared object or a command to be executed, and a TPM on
 * another host would be whatever its owner likes. Pure.
 */
#include <stdio.h>

#include "hwtpm/hwtpm.h"

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* text up to a character of `until` is the name of this host. */
static bool is_this_host(const char *text, const char *until)
{
    static const char *const names[] = {"127.0.0.1", "localhost", "::1", "[::1]"};
    size_t len = strcspn(text, until);

    for (size_t i = 0; i < VT_COUNT(names); i++) {
        size_t name = strlen(names[i]);

        if (begins(text, names[i]) && (len == name || (text[name] && strchr(until, text[name]))))
            return true;
    }
    return false;
}

/* "host=H,port=P", "path=P": the TSS takes a missing host for this one. */
static bool socket_is_local(const char *conf)
{
    while (*conf) {
        if (begins(conf, "host=") && !is_this_host(conf + 5, ","))
            return false;
        conf += strcspn(conf, ",");
        conf += *conf == ',';
    }
    return true;
}

static bool tcti_is_good(const char *where)
{
    if (begins(where, "device:"))
        return begins(where + 7, "/");
    if (begins(where, "swtpm:") || begins(where, "mssim:"))
        return socket_is_local(where + 6);
    /* TPM2 access broker and resource manager, by D-Bus. */
    return strcmp(where, "tabrmd") == 0 || begins(where, "tabrmd:");
}

static bool device_is_good(const char *where)
{
    if (begins(where, "tcp:"))
        return is_this_host(where + 4, ":");
    return begins(where, "unix:/") || begins(where, "/");
}

int hwtpm_where_check(enum hwtpm_kind kind, const char *where, struct vt_why *why)
{
    if (!where[0] || (kind == HWTPM_TPM12 ? device_is_good(where) : tcti_is_good(where)))
        return VT_OK;
    if (kind == HWTPM_TPM12)
        return vt_fail(why, VT_EUSAGE, "device=%.80s: must be an absolute path, unix:PATH, or tcp:127.0.0.1:PORT: the "
                       "host's TPM is on this host", where);
    return vt_fail(why, VT_EUSAGE, "tcti=%.80s: must be device:PATH, swtpm:port=P, swtpm:path=PATH, mssim:port=P or "
                   "tabrmd: the host's TPM is on this host", where);
}

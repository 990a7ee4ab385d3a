/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/endpoint.h"

#include <stdio.h>

#include "server/base/text.h"

const char *endpoint_after(const char *text, const char *scheme)
{
    size_t len = strlen(scheme);

    return strncmp(text, scheme, len) == 0 && text[len] == ':' ? text + len + 1 : NULL;
}

int endpoint_parse_unix(struct endpoint *at, const char *option, const char *rest, struct vt_why *why)
{
    size_t len = strlen(rest);

    if (!len)
        return vt_fail(why, VT_EUSAGE, "%s: no path behind \"unix:\"", option);
    if (len > ENDPOINT_PATH_MAX)
        return vt_fail(why, VT_EUSAGE, "%s: the path has %zu characters, a Unix socket's at most %d: \"%s\"", option,
                       len, ENDPOINT_PATH_MAX, rest);
    memcpy(at->path, rest, len + 1);
    return VT_OK;
}

/* The host's first and last character and what follows it; NULL: not of the form. */
static const char *host_end(const char **host, const char *rest)
{
    const char *colon;

    if (*rest != '[') {
        *host = rest;
        colon = strchr(rest, ':');
        /* Two colons without brackets are an IPv6 address that could be cut anywhere. */
        return colon && colon == strrchr(rest, ':') ? colon : NULL;
    }
    *host = rest + 1;
    rest = strchr(rest, ']');
    return rest && rest[1] == ':' ? rest : NULL;
}

int endpoint_parse_tcp(struct endpoint *at, const char *option, const char *rest, bool any_port, struct vt_why *why)
{
    const char *host;
    const char *end = host_end(&host, rest);
    const char *port_text;
    uint64_t port;

    if (!end || end == host || (size_t)(end - host) >= sizeof at->host)
        return vt_fail(why, VT_EUSAGE, "%s: \"%s\" is not HOST:PORT or [IPV6]:PORT", option, rest);
    port_text = *end == ']' ? end + 2 : end + 1;
    if (!vt_parse_u64(&port, port_text, 65535) || (!port && !any_port))
        return vt_fail(why, VT_EUSAGE, "%s: \"%s\" is not a port (%d to 65535)", option, port_text, any_port ? 0 : 1);
    memcpy(at->host, host, (size_t)(end - host));
    at->host[end - host] = '\0';
    snprintf(at->port, sizeof at->port, "%u", (unsigned)port);
    return VT_OK;
}

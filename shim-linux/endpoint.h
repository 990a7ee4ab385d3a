/* SPDX-License-Identifier: Apache-2.0 */
/* Where a socket is: `unix:PATH` or `tcp:HOST:PORT` (IPv6 in brackets), checked once when options are read. */
#ifndef VTPM_SHIM_ENDPOINT_H
#define VTPM_SHIM_ENDPOINT_H

#include "server/base/err.h"

#define ENDPOINT_PATH_MAX 107 /* of sun_path, without the NUL */
#define ENDPOINT_TEXT     300

struct endpoint {
    char path[ENDPOINT_PATH_MAX + 1];
    char host[256];
    char port[6];
};

/* After the scheme: "PATH". VT_EUSAGE names option, value and what is wrong. */
int endpoint_parse_unix(struct endpoint *at, const char *option, const char *rest, struct vt_why *why) VT_USE_RESULT;
/* After the scheme: "HOST:PORT". Port 0 only where `any_port` allows it. */
int endpoint_parse_tcp(struct endpoint *at, const char *option, const char *rest, bool any_port,
                       struct vt_why *why) VT_USE_RESULT;

/* The part behind "scheme:" when text begins with it, else NULL. */
const char *endpoint_after(const char *text, const char *scheme);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a guest's commands come from. Each kind is a row of the table in frontend.c; the shim asks for one command at
 * a time and gives its response back. Loop thread.
 */
#ifndef VTPM_SHIM_FRONTEND_H
#define VTPM_SHIM_FRONTEND_H

#include <uv.h>

#include "server/base/err.h"

struct frontend; /* each kind has its own */

/* The front end calls this when a command has come that take() would give. Not within a call of ours. */
struct frontend_host {
    void (*ready)(void *ctx);
    void *ctx;
};

struct frontend_kind {
    const char *scheme;
    const char *form;   /* for --help and errors */
    const char *name;   /* in Attach */
    /* NULL: not in this build. spec is what follows "scheme:". Listens at once. Returns owned (free). */
    int (*start)(struct frontend **front, uv_loop_t *loop, const char *spec, const struct frontend_host *host,
                 struct vt_why *why);
    /* "tcp:127.0.0.1:40123" when the system chose the port, else "". */
    const char *(*where)(const struct frontend *front);
    /* The next command, whole and of 10 to 4096 bytes; borrowed until respond. False: none. */
    bool (*take)(struct frontend *front, uint32_t *locality, const uint8_t **bytes, size_t *len);
    /* To the command taken last. */
    void (*respond)(struct frontend *front, const uint8_t *bytes, size_t len);
    /* Accepts nothing and takes nothing more; a command that was taken can still be answered. */
    void (*stop)(struct frontend *front);
    /* Closes all handles; what is queued is still sent. The loop must run until they are closed, then free. */
    void (*close)(struct frontend *front);
    void (*free)(struct frontend *front);
};

/* The kind that --frontend names, and the rest of its value. VT_EUSAGE: none such, or not in this build. */
int frontend_find(const char *spec, const struct frontend_kind **kind, const char **rest, struct vt_why *why) VT_USE_RESULT;

extern const struct frontend_kind frontend_socket;

#endif

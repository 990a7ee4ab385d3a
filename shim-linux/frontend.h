/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where guests' commands come from. Each kind is a row of the table in frontend.c. It opens a lane for each instance it
 * serves and is the lane's source. Loop thread.
 */
#ifndef VTPM_SHIM_FRONTEND_H
#define VTPM_SHIM_FRONTEND_H

#include "shim-linux/lane.h"

struct frontend; /* each kind has its own */

/* What the shim gives to its front end; outlives it. */
struct frontend_host {
    uv_loop_t *loop;
    const struct options *options;
    struct lane_set *lanes;
    /* Of a kind that is ready_later, once: guests can be served. */
    void (*ready)(void *ctx);
    /* It cannot go on: the shim ends with err. Not within a call of ours. */
    void (*failed)(void *ctx, int err, const char *why);
    void *ctx;
};

struct frontend_kind {
    const char *scheme;
    const char *form;       /* for --help and errors */
    const char *name;       /* in Attach */
    bool many;              /* can serve many instances: --credential-dir is taken */
    bool is_told;           /* the toolstack says which: --instance is not taken */
    bool ready_later;       /* says itself when it is ready; else it is after start */
    const char *missing;    /* start is NULL: why it is not in this build, and what to do */
    /* spec is what follows "scheme:". Listens at once. Returns owned (close, then free), on errors too unless NULL. */
    int (*start)(struct frontend **front, const char *spec, const struct frontend_host *host, struct vt_why *why);
    /* What the system chose: "tcp:127.0.0.1:40123", "/dev/tpm0"; else "". */
    const char *(*where)(const struct frontend *front);
    /* Accepts nothing more; a command that was taken can still be answered. */
    void (*stop)(struct frontend *front);
    /* Closes its lanes and all handles; what is queued is still sent. The loop must run until they are closed, then free. */
    void (*close)(struct frontend *front);
    void (*free)(struct frontend *front);
};

/* The kind that --frontend names, and the rest of its value. VT_EUSAGE: none such, or not in this build. */
int frontend_find(const char *spec, const struct frontend_kind **kind, const char **rest, struct vt_why *why) VT_USE_RESULT;

extern const struct frontend_kind frontend_socket;
extern const struct frontend_kind frontend_swtpm;
extern const struct frontend_kind frontend_xen;
extern const struct frontend_kind frontend_proxy;

#endif

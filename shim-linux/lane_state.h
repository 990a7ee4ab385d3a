/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the lane: lane.c has life and driving, lane_credential.c what stands on the credential file. */
#ifndef VTPM_SHIM_LANE_STATE_H
#define VTPM_SHIM_LANE_STATE_H

#include "server/base/list.h"
#include "shim-linux/lane.h"
#include "shim-linux/upstream.h"

struct lane_set {
    uv_loop_t *loop;
    const struct options *options;
    const char *front_end;
    void (*on_empty)(void *ctx);
    void *ctx;
    struct vt_list lanes;
    unsigned running;       /* those that have not ended */
    bool stopping;
    bool walking;           /* the list is gone through */
    uint8_t boot_id[16];
};

struct lane {
    struct lane_set *set;
    struct vt_list node;
    uv_timer_t timer;
    struct lane_config config;  /* its texts are ours */
    struct relay_position from; /* what config.from points to, if anything; its command is ours */
    const struct lane_source *source; /* NULL: closed by its owner */
    void *ctx;
    char identity[80];          /* of the credential; "" until there is one */
    struct vt_why said;         /* of the credential file: each complaint is logged once */
    struct relay *relay;        /* NULL until there is a credential */
    struct courier courier;
    struct upstream *up;
    enum lane_end how;
    uint64_t end_by;
    bool ended;
};

/* Makes the relay from the credential file. VT_ENOTFOUND and what else credential_read gives. */
int lane_begin(struct lane *lane, struct vt_why *why) VT_USE_RESULT;
/* `vtpmctl credential rotate` and a new file in the place of the old one are all that is needed. */
void lane_renew_key(struct lane *lane);
/* The relay is there, or will never be: what the configuration kept for it goes. */
void lane_forget_start(struct lane *lane);
/* Logs what is wrong with the credential, once until it changes. */
void lane_complain(struct lane *lane, const struct vt_why *why, const char *consequence);

#endif

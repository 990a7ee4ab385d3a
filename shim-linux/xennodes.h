/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The xenstore nodes of vTPM devices: what is read and written, and how it is understood. Every call may wait for
 * xenstore: the thread of xenstore.c only. When the connection turns out to be dead, `lost` is set and stays.
 */
#ifndef VTPM_SHIM_XENNODES_H
#define VTPM_SHIM_XENNODES_H

#include <xenstore.h>

#include "proto/xenpaths.h"
#include "shim-linux/xenstore.h"

#define NODES_PATH XENPATHS_MAX

struct nodes {
    struct xs_handle *xs;
    uint32_t self;              /* domid of this domain */
    char base[NODES_PATH];      /* /local/domain/SELF/backend/vtpm */
    int lost;                   /* errno */
};

/* Opens, finds out who we are, watches base and @releaseDomain. VT_EUNREACHED with a reason. */
int nodes_open(struct nodes *nodes, struct vt_why *why) VT_USE_RESULT;
void nodes_close(struct nodes *nodes);
/* Asks for something that is there. */
void nodes_probe(struct nodes *nodes);

/* As xenpaths_read_fn. */
bool nodes_read(struct nodes *nodes, const char *path, char *text, size_t size);
/* As xenstore_write; false: the connection is lost. */
bool nodes_write(struct nodes *nodes, uint32_t domid, uint32_t devid, bool publish, int state);
void nodes_watch(struct nodes *nodes, const char *path, const char *token);
void nodes_unwatch(struct nodes *nodes, const char *path, const char *token);
/* Only when xenstore says so for certain. */
bool nodes_domain_gone(struct nodes *nodes, uint32_t domid);
/* Names in a directory that are numbers; 0 if there is none. At most `most`. */
size_t nodes_list(struct nodes *nodes, const char *dir, uint32_t *numbers, size_t most);

/* The next event of a watch: false if there is none now. */
bool nodes_event(struct nodes *nodes, char path[XENPATHS_NODE_MAX], char token[XENPATHS_TOKEN]);

#endif

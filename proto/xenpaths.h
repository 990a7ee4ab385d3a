/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The xenstore nodes of vTPM devices as texts: their paths, what a watch's event is about, and a device's nodes as
 * numbers within bounds. No I/O: who calls has xenstore. What a front end wrote is the guest's word. Any thread.
 */
#ifndef VTPM_PROTO_XENPATHS_H
#define VTPM_PROTO_XENPATHS_H

#include "proto/xendevices.h"

#define XENPATHS_MAX 160 /* longest path of a directory of ours, with its NUL */
#define XENPATHS_NODE_MAX (XENPATHS_MAX + 32)
#define XENPATHS_TOKEN 32

#define XENPATHS_DOMID_MAX 0x7fef     /* Xen's public xen.h: those above are no domains */
#define XENPATHS_PORT_MAX  0x7fffffff /* xenevtchn.h: a port fits in 31 bits */

#define XENPATHS_TOKEN_BACK    "back"
#define XENPATHS_TOKEN_RELEASE "release"

/* /local/domain/SELF/backend/vtpm, and below it DOMID/DEVID. */
void xenpaths_base(char base[XENPATHS_MAX], uint32_t self);
void xenpaths_back(char back[XENPATHS_MAX], const char *base, uint32_t domid, uint32_t devid);
/* FRONT/state, and the token that names the device. */
void xenpaths_front_watch(char path[XENPATHS_NODE_MAX], char token[XENPATHS_TOKEN], const char *front, uint32_t domid,
                          uint32_t devid);
/* Whether a device's `frontend` is a directory of its own domain's, and no longer than a path of ours. */
bool xenpaths_is_front(const char *front, uint32_t domid) VT_USE_RESULT;

/* What an event is about. */
enum xenpaths_about { XENPATHS_NOTHING, XENPATHS_ALL, XENPATHS_DOMAIN, XENPATHS_DEVICE, XENPATHS_RELEASE };
/* path, token: of an event of a watch with one of the tokens above. */
enum xenpaths_about xenpaths_about(const char *base, const char *path, const char *token, uint32_t *domid, uint32_t *devid);

/* False: there is no such node, or it cannot be read. What does not fit is cut: no node of ours is that long. */
typedef bool (*xenpaths_read_fn)(void *ctx, const char *path, char *text, size_t size);
/* Fills in all but `writes` and `domain_gone`. What cannot be read is as if it were not there. */
void xenpaths_device(struct xenstore_device *device, xenpaths_read_fn read, void *ctx, const char *base, const char *front,
                     uint32_t domid, uint32_t devid);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What vchans need of xenstore. Every call may wait for xenstored for as long as it likes to take: only on a thread
 * that serves no channel.
 *
 * A domain is known by what the toolstack alone can write: /local/domain/D/vm and /local/domain/D/name. That is not
 * taken for granted: these nodes and the directory they are in must belong to domain 0, and no other domain may be
 * allowed to write to them; else the domain is a stranger. Unprivileged domains cannot give a node away, so one that
 * belongs to domain 0 was made by it.
 */
#ifndef VTPM_XEN_STORE_H
#define VTPM_XEN_STORE_H

#include <xenstore.h>

#include "server/base/domain.h"
#include "server/base/err.h"

#define STORE_DOMID_MAX 0x7fefu /* what the hypervisor gives to domains */
#define STORE_PATH_MAX  96
#define STORE_DOMAINS_MAX 4096  /* that are looked at */

/* VT_EUNREACHED. Returns owned (xs_close). */
int store_open(struct xs_handle **xs, struct vt_why *why) VT_USE_RESULT;
/* The domain we run in. VT_EUNREACHED: xenstored does not answer; VT_EFAIL. */
int store_own_domid(struct xs_handle *xs, uint32_t *domid, struct vt_why *why) VT_USE_RESULT;

/*
 * Which domains there may be, in no order, without `own`. In domain 0 all; elsewhere domain 0 and whatever the
 * toolstack has written as children of /local/domain/OWN/vtpm-peers (a hint only: who they are, store_domain finds
 * out). Returns owned (vt_free). VT_EUNREACHED, VT_ENOMEM.
 */
int store_domains(struct xs_handle *xs, uint32_t own, uint32_t **domids, size_t *count, struct vt_why *why) VT_USE_RESULT;
/* Who it is. VT_ENOTFOUND: no such domain (yet); VT_EPERM: it cannot be told for sure; VT_EUNREACHED. */
int store_domain(struct xs_handle *xs, uint32_t domid, struct vt_domain *domain, struct vt_why *why) VT_USE_RESULT;

/*
 * Where `server` offers its channel number `slot` to `client`: /local/domain/SERVER/data/vchan/CLIENT/vtpm, those
 * behind the first one vtpm-1, vtpm-2, ... libxenvchan cuts paths: at most 48 bytes.
 */
void store_offer_path(char path[STORE_PATH_MAX], uint32_t server, uint32_t client, unsigned slot);
/* A node's text, at most max - 1 bytes. VT_ENOTFOUND: it is not there, or not for us to see; VT_EPROTO: too long;
 * VT_EUNREACHED. */
int store_read(struct xs_handle *xs, const char *path, char *text, size_t max) VT_USE_RESULT;

#endif

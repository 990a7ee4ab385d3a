/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which Xen domain may attach an instance over a vchan, in texts: "uuid:" and the domain's uuid (of /vm), "name:" and
 * its name, or "dom0". Never its domid, which the hypervisor gives to the next domain. One form per peer, so texts can
 * be compared. Any thread.
 */
#ifndef VTPM_CORE_BINDING_H
#define VTPM_CORE_BINDING_H

#include "db/db.h"
#include "server/base/domain.h"

/* What an administrator typed, in its one form; VT_EUSAGE says what a peer looks like. */
int binding_parse(char peer[DB_PEER_TEXT], const char *text, struct vt_why *why) VT_USE_RESULT;
/* The texts that mean this domain; returns how many. dom0 is "dom0" alone, and no other domain is. */
size_t binding_peers(char peers[DB_PEERS_MAX][DB_PEER_TEXT], const struct vt_domain *domain);
/* May this domain attach the instance (uuid NULL: any living one)? The store's error if it cannot be read. */
int binding_holds(struct db *db, const struct vt_uuid *uuid, const struct vt_domain *domain, bool *holds) VT_USE_RESULT;
/* For logs and events: "name (domid 5, uuid 6d3f...)". */
#define BINDING_DOMAIN_TEXT 136
void binding_domain_text(char out[BINDING_DOMAIN_TEXT], const struct vt_domain *domain);

#endif

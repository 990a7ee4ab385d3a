/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which Xen domain may attach an instance over a vchan, in texts: "uuid:" and the domain's uuid (of /vm), "name:" and
 * its name, or "dom0". Never its domid, which the hypervisor gives to the next domain. One form per peer, so texts can
 * be compared. Any thread.
 *
 * Two roles. A peer as above is the guest itself: the shim runs inside it, and of power, locality and domain nothing is
 * believed that it says. "backend:" before it, and dom0 in any case: a domain that serves the guest's device and says
 * for whom.
 */
#ifndef VTPM_CORE_BINDING_H
#define VTPM_CORE_BINDING_H

#include "db/db.h"
#include "server/base/domain.h"

/* What an administrator typed, in its one form; VT_EUSAGE says what a peer looks like. */
int binding_parse(char peer[DB_PEER_TEXT], const char *text, struct vt_why *why) VT_USE_RESULT;
enum binding_role { BINDING_NONE, BINDING_GUEST, BINDING_BACKEND };
/* What this domain is to the instance; of two bindings the back end's counts. The store's error if it cannot be read. */
int binding_role(struct db *db, const struct vt_uuid *uuid, const struct vt_domain *domain, enum binding_role *role) VT_USE_RESULT;
/* Is it bound to any living instance? As above. */
int binding_any(struct db *db, const struct vt_domain *domain, bool *bound) VT_USE_RESULT;
/* For logs and events: "name (domid 5, uuid 6d3f...)". */
#define BINDING_DOMAIN_TEXT 136
void binding_domain_text(char out[BINDING_DOMAIN_TEXT], const struct vt_domain *domain);

#endif

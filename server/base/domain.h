/* SPDX-License-Identifier: Apache-2.0 */
/* A Xen domain as the hypervisor and the toolstack's own xenstore paths name it; nothing in it is the domain's word. */
#ifndef VTPM_BASE_DOMAIN_H
#define VTPM_BASE_DOMAIN_H

#include "server/base/text.h"

struct vt_domain {
    uint32_t domid;         /* 0: dom0. Reused by the hypervisor: names a domain only while it lives. */
    struct vt_uuid uuid;    /* all zero for dom0 */
    char name[65];          /* "Domain-0" for dom0 */
};

#endif

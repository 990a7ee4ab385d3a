/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/binding.h"

#include <stdio.h>

#define DOM0 "dom0"
#define DOM0_NAME "Domain-0"

static bool is_zero(const struct vt_uuid *uuid)
{
    static const struct vt_uuid zero;

    return vt_uuid_equal(uuid, &zero);
}

/* As xl takes it: a name goes into xenstore paths, and no blank may hide at its ends. */
static bool is_domain_name(const char *name)
{
    size_t len = strlen(name);

    if (!len || len > 64 || name[0] == ' ' || name[len - 1] == ' ')
        return false;
    for (size_t i = 0; i < len; i++) {
        if (name[i] < ' ' || name[i] > '~' || name[i] == '/')
            return false;
    }
    return true;
}

static int parse_uuid(char peer[DB_PEER_TEXT], const char *text, struct vt_why *why)
{
    char lower[VT_UUID_TEXT];
    struct vt_uuid uuid;

    if (!vt_uuid_parse(&uuid, text) || is_zero(&uuid))
        return vt_fail(why, VT_EUSAGE, "%.80s is no domain's uuid: `xl list -v` shows them; dom0 is called dom0", text);
    vt_uuid_text(lower, &uuid);
    snprintf(peer, DB_PEER_TEXT, "uuid:%s", lower);
    return VT_OK;
}

static int parse_name(char peer[DB_PEER_TEXT], const char *text, struct vt_why *why)
{
    if (!is_domain_name(text))
        return vt_fail(why, VT_EUSAGE, "%.80s is no domain's name: 1 to 64 printable characters without /", text);
    if (strcmp(text, DOM0_NAME) == 0)
        return vt_fail(why, VT_EUSAGE, "the peer %s is called dom0", text);
    snprintf(peer, DB_PEER_TEXT, "name:%s", text);
    return VT_OK;
}

int binding_parse(char peer[DB_PEER_TEXT], const char *text, struct vt_why *why)
{
    if (strcmp(text, DOM0) == 0) {
        memcpy(peer, DOM0, sizeof DOM0);
        return VT_OK;
    }
    if (strncmp(text, "uuid:", 5) == 0)
        return parse_uuid(peer, text + 5, why);
    if (strncmp(text, "name:", 5) == 0)
        return parse_name(peer, text + 5, why);
    return vt_fail(why, VT_EUSAGE, "%.80s is no peer: uuid:U, name:N or dom0 (a domid is not: it is given out again)",
                   text);
}

size_t binding_peers(char peers[DB_PEERS_MAX][DB_PEER_TEXT], const struct vt_domain *domain)
{
    char uuid[VT_UUID_TEXT];
    size_t count = 0;

    if (domain->domid == 0) {
        memcpy(peers[0], DOM0, sizeof DOM0);
        return 1;
    }
    if (!is_zero(&domain->uuid)) {
        vt_uuid_text(uuid, &domain->uuid);
        snprintf(peers[count++], DB_PEER_TEXT, "uuid:%s", uuid);
    }
    if (is_domain_name(domain->name))
        snprintf(peers[count++], DB_PEER_TEXT, "name:%s", domain->name);
    return count;
}

int binding_holds(struct db *db, const struct vt_uuid *uuid, const struct vt_domain *domain, bool *holds)
{
    char peers[DB_PEERS_MAX][DB_PEER_TEXT];
    const char *texts[DB_PEERS_MAX];
    size_t count = binding_peers(peers, domain);

    for (size_t i = 0; i < count; i++)
        texts[i] = peers[i];
    return db_bound(db, uuid, texts, count, holds);
}

void binding_domain_text(char out[BINDING_DOMAIN_TEXT], const struct vt_domain *domain)
{
    char uuid[VT_UUID_TEXT];

    if (domain->domid == 0) {
        memcpy(out, DOM0, sizeof DOM0);
        return;
    }
    vt_uuid_text(uuid, &domain->uuid);
    snprintf(out, BINDING_DOMAIN_TEXT, "%.64s (domid %u, uuid %s)", domain->name[0] ? domain->name : "a domain",
             (unsigned)domain->domid, uuid);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/binding.h"

#include <stdio.h>

#define DOM0 "dom0"
#define DOM0_NAME "Domain-0"
#define BACKEND "backend:"

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

static int parse_uuid(char peer[DB_PEER_TEXT], const char *role, const char *text, struct vt_why *why)
{
    char lower[VT_UUID_TEXT];
    struct vt_uuid uuid;

    if (!vt_uuid_parse(&uuid, text) || is_zero(&uuid))
        return vt_fail(why, VT_EUSAGE, "%.80s is no domain's uuid: `xl list -v` shows them; dom0 is called dom0", text);
    vt_uuid_text(lower, &uuid);
    snprintf(peer, DB_PEER_TEXT, "%suuid:%s", role, lower);
    return VT_OK;
}

static int parse_name(char peer[DB_PEER_TEXT], const char *role, const char *text, struct vt_why *why)
{
    if (!is_domain_name(text))
        return vt_fail(why, VT_EUSAGE, "%.80s is no domain's name: 1 to 64 printable characters without /", text);
    if (strcmp(text, DOM0_NAME) == 0)
        return vt_fail(why, VT_EUSAGE, "the peer %s is called dom0", text);
    snprintf(peer, DB_PEER_TEXT, "%sname:%s", role, text);
    return VT_OK;
}

int binding_parse(char peer[DB_PEER_TEXT], const char *text, struct vt_why *why)
{
    bool is_backend = strncmp(text, BACKEND, strlen(BACKEND)) == 0;
    const char *role = is_backend ? BACKEND : "", *rest = text + strlen(role);

    /* dom0 is a back end in any case. */
    if (strcmp(rest, DOM0) == 0) {
        memcpy(peer, DOM0, sizeof DOM0);
        return VT_OK;
    }
    if (strncmp(rest, "uuid:", 5) == 0)
        return parse_uuid(peer, role, rest + 5, why);
    if (strncmp(rest, "name:", 5) == 0)
        return parse_name(peer, role, rest + 5, why);
    return vt_fail(why, VT_EUSAGE,
                   "%.80s is no peer: uuid:U, name:N (the guest itself), backend:uuid:U, backend:name:N (a domain that "
                   "serves it) or dom0 (a domid is not: it is given out again)",
                   text);
}

/* The texts that mean this domain. dom0 is "dom0" alone, and no other domain is. */
struct peers {
    char texts[DB_PEERS_MAX][DB_PEER_TEXT];
    size_t count;
};

static void add_peer(struct peers *peers, const char *role, const char *kind, const char *text)
{
    snprintf(peers->texts[peers->count++], DB_PEER_TEXT, "%s%s%.64s", role, kind, text);
}

static void add_role(struct peers *peers, const struct vt_domain *domain, const char *role)
{
    char uuid[VT_UUID_TEXT];

    if (!is_zero(&domain->uuid)) {
        vt_uuid_text(uuid, &domain->uuid);
        add_peer(peers, role, "uuid:", uuid);
    }
    if (is_domain_name(domain->name))
        add_peer(peers, role, "name:", domain->name);
}

static int ask(struct db *db, const struct vt_uuid *uuid, const struct peers *peers, bool *bound)
{
    const char *texts[DB_PEERS_MAX];

    for (size_t i = 0; i < peers->count; i++)
        texts[i] = peers->texts[i];
    return db_bound(db, uuid, texts, peers->count, bound);
}

int binding_role(struct db *db, const struct vt_uuid *uuid, const struct vt_domain *domain, enum binding_role *role)
{
    struct peers backend = {.count = 0}, guest = {.count = 0};
    bool holds = false;
    int err;

    *role = BINDING_NONE;
    if (domain->domid == 0)
        add_peer(&backend, "", "", DOM0);
    else
        add_role(&backend, domain, BACKEND);
    err = ask(db, uuid, &backend, &holds);
    if (!err && holds)
        *role = BINDING_BACKEND;
    if (err || holds || domain->domid == 0)
        return err;
    add_role(&guest, domain, "");
    err = ask(db, uuid, &guest, &holds);
    if (!err && holds)
        *role = BINDING_GUEST;
    return err;
}

int binding_any(struct db *db, const struct vt_domain *domain, bool *bound)
{
    struct peers peers = {.count = 0};

    if (domain->domid == 0) {
        add_peer(&peers, "", "", DOM0);
    } else {
        add_role(&peers, domain, "");
        add_role(&peers, domain, BACKEND);
    }
    return ask(db, NULL, &peers, bound);
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

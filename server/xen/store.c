/* SPDX-License-Identifier: Apache-2.0 */
#include "server/xen/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/base/alloc.h"

#define LOCAL "/local/domain"

/* What libxenstore returns is malloc's. */
static void free_theirs(void *ptr_to_ptr)
{
    void **ptr = ptr_to_ptr;

    free(*ptr);
}
#define THEIRS VT_CLEANUP(free_theirs)

static int unreached(struct vt_why *why)
{
    return vt_fail(why, VT_EUNREACHED, "xenstore: no answer: %s", strerror(errno));
}

/* What xenstored says of a node that is not there, or not for us; everything else is trouble with xenstored. */
static bool is_absent(int error)
{
    return error == ENOENT || error == EACCES || error == EPERM || error == EINVAL;
}

int store_open(struct xs_handle **xs, struct vt_why *why)
{
    *xs = xs_open(0);
    if (*xs)
        return VT_OK;
    return vt_fail(why, VT_EUNREACHED,
                   "xenstore cannot be reached (%s): in dom0 xenstored must run; elsewhere /dev/xen/xenbus must be there "
                   "and ours to use",
                   strerror(errno));
}

int store_read(struct xs_handle *xs, const char *path, char *text, size_t max)
{
    unsigned len = 0;
    THEIRS char *value = xs_read(xs, XBT_NULL, path, &len);

    if (!value)
        return is_absent(errno) ? VT_ENOTFOUND : VT_EUNREACHED;
    if (len >= max || strlen(value) != len)
        return VT_EPROTO;
    memcpy(text, value, len + 1);
    return VT_OK;
}

int store_own_domid(struct xs_handle *xs, uint32_t *domid, struct vt_why *why)
{
    char text[16];
    uint64_t value;
    int err = store_read(xs, "domid", text, sizeof text);

    if (err == VT_EUNREACHED)
        return unreached(why);
    if (err || !vt_parse_u64(&value, text, STORE_DOMID_MAX))
        return vt_fail(why, VT_EFAIL, "xenstore does not tell which domain this is: in dom0, xen-init-dom0 must have run");
    *domid = (uint32_t)value;
    return VT_OK;
}

/* ---- Which domains ---- */

static void add_domain(uint32_t *domids, size_t *count, size_t max, uint32_t own, const char *name)
{
    uint64_t domid;

    if (*count < max && vt_parse_u64(&domid, name, STORE_DOMID_MAX) && domid != own)
        domids[(*count)++] = (uint32_t)domid;
}

/* VT_OK, also when the directory is not there. */
static int add_children(struct xs_handle *xs, const char *path, uint32_t *domids, size_t *count, uint32_t own)
{
    unsigned n = 0;
    THEIRS char **names = xs_directory(xs, XBT_NULL, path, &n);

    if (!names)
        return is_absent(errno) ? VT_OK : VT_EUNREACHED;
    for (unsigned i = 0; i < n; i++)
        add_domain(domids, count, STORE_DOMAINS_MAX, own, names[i]);
    return VT_OK;
}

int store_domains(struct xs_handle *xs, uint32_t own, uint32_t **domids, size_t *count, struct vt_why *why)
{
    char hints[STORE_PATH_MAX];
    int err;

    *count = 0;
    *domids = vt_calloc(STORE_DOMAINS_MAX, sizeof **domids);
    if (!*domids)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    snprintf(hints, sizeof hints, LOCAL "/%u/vtpm-peers", own);
    if (own)
        add_domain(*domids, count, STORE_DOMAINS_MAX, own, "0");
    err = add_children(xs, own ? hints : LOCAL, *domids, count, own);
    if (!err)
        return VT_OK;
    err = unreached(why);
    vt_free(*domids);
    *domids = NULL;
    return err;
}

/* ---- Who a domain is ---- */

static bool is_toolstacks(const struct xs_permissions *perms, unsigned count)
{
    /* The first entry names the owner, and what everyone may who is not listed behind it. */
    if (!count || perms[0].id != 0 || (perms[0].perms & XS_PERM_WRITE))
        return false;
    for (unsigned i = 1; i < count; i++)
        if (perms[i].id != 0 && (perms[i].perms & XS_PERM_WRITE))
            return false;
    return true;
}

static int check_node(struct xs_handle *xs, const char *path, struct vt_why *why)
{
    unsigned count = 0;
    THEIRS struct xs_permissions *perms = xs_get_permissions(xs, XBT_NULL, path, &count);

    if (!perms && errno == ENOENT)
        return VT_ENOTFOUND;
    if (!perms && is_absent(errno))
        return vt_fail(why, VT_EPERM, "xenstore %s: not ours to read: the toolstack must allow it", path);
    if (!perms)
        return unreached(why);
    if (!is_toolstacks(perms, count))
        return vt_fail(why, VT_EPERM, "xenstore %s: not the toolstack's alone (owner: domain %u): not trusted", path,
                       count ? perms[0].id : 0);
    return VT_OK;
}

static int read_node(struct xs_handle *xs, const char *path, char *text, size_t max, struct vt_why *why)
{
    int err = check_node(xs, path, why);

    if (!err)
        err = store_read(xs, path, text, max);
    if (err == VT_EPROTO)
        return vt_fail(why, VT_EPERM, "xenstore %s: too long", path);
    return err == VT_EUNREACHED ? unreached(why) : err;
}

/* "/vm/UUID" */
static bool parse_vm(struct vt_uuid *uuid, const char *text)
{
    static const struct vt_uuid zero;

    return !strncmp(text, "/vm/", 4) && vt_uuid_parse(uuid, text + 4) && !vt_uuid_equal(uuid, &zero);
}

/* A name that xl would not take names nobody: the domain is known by its uuid only. */
static void set_name(struct vt_domain *domain, const char *name)
{
    for (const char *c = name; *c; c++)
        if (*c < ' ' || *c > '~' || *c == '/')
            return;
    memcpy(domain->name, name, strlen(name) + 1);
}

static int read_guest(struct xs_handle *xs, struct vt_domain *domain, struct vt_why *why)
{
    char path[STORE_PATH_MAX], vm[64], name[sizeof domain->name];
    int err;

    snprintf(path, sizeof path, LOCAL "/%u", domain->domid);
    err = check_node(xs, path, why);
    if (err)
        return err;
    snprintf(path, sizeof path, LOCAL "/%u/vm", domain->domid);
    err = read_node(xs, path, vm, sizeof vm, why);
    if (err)
        return err;
    if (!parse_vm(&domain->uuid, vm))
        return vt_fail(why, VT_EPERM, "xenstore %s: not /vm/UUID", path);
    snprintf(path, sizeof path, LOCAL "/%u/name", domain->domid);
    err = read_node(xs, path, name, sizeof name, why);
    if (!err)
        set_name(domain, name);
    return err;
}

int store_domain(struct xs_handle *xs, uint32_t domid, struct vt_domain *domain, struct vt_why *why)
{
    int err;

    *domain = (struct vt_domain){.domid = domid};
    if (!domid) {
        memcpy(domain->name, "Domain-0", sizeof "Domain-0");
        return VT_OK;
    }
    err = read_guest(xs, domain, why);
    if (err)
        return err;
    /* A domain that died may still have its nodes for a while. */
    return xs_is_domain_introduced(xs, domid) ? VT_OK : VT_ENOTFOUND;
}

void store_offer_path(char path[STORE_PATH_MAX], uint32_t server, uint32_t client, unsigned slot)
{
    int len = snprintf(path, STORE_PATH_MAX, LOCAL "/%u/data/vchan/%u/vtpm", server, client);

    if (slot)
        snprintf(path + len, STORE_PATH_MAX - (size_t)len, "-%u", slot);
}

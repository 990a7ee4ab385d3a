/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/xennodes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/xenback.h"
#include "server/base/log.h"

#define TRIES 32         /* of a transaction that others' writes keep from being committed */

/* ---- Small things ---- */

/* An answer of xenstore's is no loss; anything else is the transport's. */
static void note_error(struct nodes *nodes, int err)
{
    static const int answers[] = {ENOENT, EACCES, EPERM, EINVAL, EEXIST, EAGAIN, E2BIG, ENOSPC, EISDIR, EBUSY, EROFS, ENOMEM};

    for (size_t i = 0; i < VT_COUNT(answers); i++)
        if (err == answers[i])
            return;
    nodes->lost = err ? err : EIO;
}

/* Of libxenstore, so free(3). */
static char *read_path(struct nodes *nodes, xs_transaction_t t, const char *path)
{
    unsigned len;
    char *text = xs_read(nodes->xs, t, path, &len);

    if (!text)
        note_error(nodes, errno);
    return text;
}

/* ---- Connection ---- */

/* On the socket that dom0 has, relative paths may have no home; a guest's always do. */
static int find_self(struct nodes *nodes, struct vt_why *why)
{
    static const char *const paths[] = {"domid", "/local/domain/0/domid"};
    uint64_t domid;

    for (size_t i = 0; i < VT_COUNT(paths); i++) {
        char *text = read_path(nodes, XBT_NULL, paths[i]);
        bool found = text && vt_parse_u64(&domid, text, XENPATHS_DOMID_MAX);

        free(text);
        if (!found)
            continue;
        nodes->self = (uint32_t)domid;
        xenpaths_base(nodes->base, nodes->self);
        return VT_OK;
    }
    return vt_fail(why, VT_EUNREACHED, "xenstore does not say which domain this is (node \"domid\"): in dom0, run "
                   "xen-init-dom0");
}

int nodes_open(struct nodes *nodes, struct vt_why *why)
{
    int err;

    *nodes = (struct nodes){.xs = xs_open(0)};
    if (!nodes->xs)
        return vt_fail(why, VT_EUNREACHED, "xenstore cannot be reached: %s; is this a domain of Xen, and does xenstored "
                       "run?", strerror(errno));
    err = find_self(nodes, why);
    if (!err && !xs_watch(nodes->xs, nodes->base, XENPATHS_TOKEN_BACK))
        err = vt_fail(why, VT_EUNREACHED, "xenstore: %s cannot be watched: %s", nodes->base, strerror(errno));
    if (err) {
        nodes_close(nodes);
        return err;
    }
    /* Without it, in a driver domain of little trust, the toolstack's own clearing up has to do. */
    if (!xs_watch(nodes->xs, "@releaseDomain", XENPATHS_TOKEN_RELEASE))
        vt_warning("xen: xenstore tells this domain of no domain's end (%s): a TPM stays on until its next power on",
                   strerror(errno));
    return VT_OK;
}

void nodes_close(struct nodes *nodes)
{
    if (nodes->xs)
        xs_close(nodes->xs);
    nodes->xs = NULL;
}

void nodes_probe(struct nodes *nodes)
{
    free(read_path(nodes, XBT_NULL, "/local"));
}

/* ---- Reading ---- */

bool nodes_read(struct nodes *nodes, const char *path, char *text, size_t size)
{
    char *all = read_path(nodes, XBT_NULL, path);
    bool is_there = all;

    if (all)
        snprintf(text, size, "%s", all);
    free(all);
    return is_there;
}

size_t nodes_list(struct nodes *nodes, const char *dir, uint32_t *numbers, size_t most)
{
    unsigned count = 0;
    char **names = xs_directory(nodes->xs, XBT_NULL, dir, &count);
    size_t found = 0;
    uint64_t number;

    if (!names) {
        note_error(nodes, errno);
        return 0;
    }
    for (unsigned i = 0; i < count && found < most; i++)
        if (vt_parse_u64(&number, names[i], UINT32_MAX))
            numbers[found++] = (uint32_t)number;
    free(names);
    return found;
}

/* A domain that is asked for and a domain that is there for certain: else an error would pass for the end. */
bool nodes_domain_gone(struct nodes *nodes, uint32_t domid)
{
    bool is_there;

    errno = 0;
    is_there = xs_is_domain_introduced(nodes->xs, domid);
    if (is_there || domid == nodes->self)
        return false;
    if (errno) {
        note_error(nodes, errno);
        return false;
    }
    return xs_is_domain_introduced(nodes->xs, nodes->self);
}

/* ---- Writing ---- */

/* VT_ENOTFOUND: the toolstack has removed it; VT_EAGAIN: others wrote. */
static int try_write(struct nodes *nodes, const char *back, bool publish, const char *state)
{
    char path[XENPATHS_NODE_MAX];
    xs_transaction_t t = xs_transaction_start(nodes->xs);
    char *there;
    bool is_there, written = true;

    if (t == XBT_NULL) {
        note_error(nodes, errno);
        return VT_EIO;
    }
    snprintf(path, sizeof path, "%s/state", back);
    there = read_path(nodes, t, path);
    is_there = there;
    free(there);
    if (is_there && *state)
        written = xs_write(nodes->xs, t, path, state, (unsigned)strlen(state));
    snprintf(path, sizeof path, "%s/feature-protocol-v2", back);
    if (is_there && publish)
        written = xs_write(nodes->xs, t, path, "1", 1) && written;
    if (!written)
        note_error(nodes, errno);
    if (xs_transaction_end(nodes->xs, t, !is_there || !written))
        return !is_there ? VT_ENOTFOUND : written ? VT_OK : VT_EIO;
    if (errno == EAGAIN)
        return VT_EAGAIN;
    note_error(nodes, errno);
    return VT_EIO;
}

bool nodes_write(struct nodes *nodes, uint32_t domid, uint32_t devid, bool publish, int state)
{
    char back[NODES_PATH], text[12] = "";
    int err = VT_EAGAIN;

    xenpaths_back(back, nodes->base, domid, devid);
    if (state)
        snprintf(text, sizeof text, "%d", state);
    for (int i = 0; i < TRIES && err == VT_EAGAIN; i++)
        err = try_write(nodes, back, publish, text);
    if (err && err != VT_ENOTFOUND && !nodes->lost)
        vt_error("xen: %s: state %d cannot be written: %s", back, state, err == VT_EAGAIN ? "too busy" : strerror(errno));
    return !nodes->lost;
}

/* ---- Watching ---- */

void nodes_watch(struct nodes *nodes, const char *path, const char *token)
{
    if (xs_watch(nodes->xs, path, token))
        return;
    note_error(nodes, errno);
    vt_error("xen: %s cannot be watched: %s: this guest's front end goes unseen (a driver domain's quota of watches?)",
             path, strerror(errno));
}

void nodes_unwatch(struct nodes *nodes, const char *path, const char *token)
{
    if (!xs_unwatch(nodes->xs, path, token))
        note_error(nodes, errno);
}

bool nodes_event(struct nodes *nodes, char path[XENPATHS_NODE_MAX], char token[XENPATHS_TOKEN])
{
    char **event = xs_check_watch(nodes->xs);

    if (!event) {
        if (errno != EAGAIN)
            note_error(nodes, errno);
        return false;
    }
    snprintf(path, XENPATHS_NODE_MAX, "%s", event[XS_WATCH_PATH]);
    snprintf(token, XENPATHS_TOKEN, "%s", event[XS_WATCH_TOKEN]);
    free(event);
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/store/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/core/keyslot/file.h"

#define NEW_DIR "restore.new" /* a half-restored store is never taken for one */
#define CHUNK   (256u * 1024)

struct restore {
    int from;
    const char *name, *dir;
    char fresh[4000], copy[4096], store[4096];
};

/* ---- Places ---- */

static int name_places(struct restore *r, struct vt_why *why)
{
    int n = snprintf(r->fresh, sizeof r->fresh, "%s/" NEW_DIR, r->dir);

    if (n < 0 || (size_t)n >= sizeof r->fresh)
        return vt_fail(why, VT_ETOOBIG, "%s: the path is too long", r->dir);
    snprintf(r->copy, sizeof r->copy, "%s/vtpm.db", r->fresh);
    n = snprintf(r->store, sizeof r->store, "%s/vtpm.db", r->dir);
    return n > 0 && (size_t)n < sizeof r->store ? VT_OK : VT_ETOOBIG;
}

/* Of this restore, or of one that was cut off. */
static void remove_fresh(const struct restore *r)
{
    static const char *const files[] = {"vtpm.db", "vtpm.db-wal", "vtpm.db-shm", "vtpm.db-journal", "lock"};

    for (size_t i = 0; i < VT_COUNT(files); i++) {
        char path[4096];

        if ((size_t)snprintf(path, sizeof path, "%s/%s", r->fresh, files[i]) < sizeof path)
            (void)unlink(path);
    }
    (void)rmdir(r->fresh);
}

static int make_dirs(const struct restore *r, struct vt_why *why)
{
    int err = VT_OK;

    if (mkdir(r->dir, 0700) && errno != EEXIST)
        return vt_fail(why, errno == EACCES ? VT_EPERM : VT_EIO, "%s: cannot be made: %s", r->dir, strerror(errno));
    err = store_dir_check(r->dir, why);
    if (err)
        return err;
    remove_fresh(r);
    if (mkdir(r->fresh, 0700))
        return vt_fail(why, errno == EACCES ? VT_EPERM : VT_EIO, "%s: cannot be made: %s", r->fresh, strerror(errno));
    return VT_OK;
}

/* ---- The copy ---- */

static int put_all(const struct restore *r, int to, const uint8_t *bytes, size_t len, struct vt_why *why)
{
    while (len) {
        ssize_t n = write(to, bytes, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vt_fail(why, errno == ENOSPC ? VT_ENOSPC : VT_EIO, "%s: %s", r->copy, strerror(errno));
        bytes += n;
        len -= (size_t)n;
    }
    return VT_OK;
}

static int copy_bytes(const struct restore *r, int to, uint8_t *chunk, struct vt_why *why)
{
    for (;;) {
        ssize_t n = read(r->from, chunk, CHUNK);
        int err;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vt_fail(why, VT_EIO, "%s cannot be read: %s", r->name, strerror(errno));
        if (n == 0)
            return fsync(to) ? vt_fail(why, VT_EIO, "%s: %s", r->copy, strerror(errno)) : VT_OK;
        err = put_all(r, to, chunk, (size_t)n, why);
        if (err)
            return err;
    }
}

static int copy(const struct restore *r, struct vt_why *why)
{
    uint8_t *chunk = vt_calloc(1, CHUNK);
    int err, to = chunk ? open(r->copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;

    if (!chunk)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    err = to < 0 ? vt_fail(why, VT_EIO, "%s: %s", r->copy, strerror(errno)) : copy_bytes(r, to, chunk, why);
    if (to >= 0 && close(to) && !err)
        err = vt_fail(why, VT_EIO, "%s: %s", r->copy, strerror(errno));
    vt_free(chunk);
    return err;
}

/* ---- Is it one? ---- */

static int examine(const struct restore *r, const struct keyslot_spec *specs, size_t count,
                   struct store_findings *found, struct vt_why *why)
{
    struct vt_why inner = {0};
    int err = store_examine(r->fresh, specs, count, found, &inner);

    if (err)
        return vt_fail(why, err, "%s is not restored: %s", r->name, inner.text);
    if (found->db.mac_ok && found->db.chain_ok && found->db.structure_ok)
        return VT_OK;
    return vt_fail(why, VT_EDAMAGED, "%s is damaged, and not restored: %s", r->name, found->text);
}

/* Everything is in the one file that is moved: the examination has folded its log. */
static int put_in_place(const struct restore *r, struct vt_why *why)
{
    char log[4200];
    struct stat st;

    snprintf(log, sizeof log, "%s-wal", r->copy);
    if (stat(log, &st) == 0 && st.st_size)
        return vt_fail(why, VT_EIO, "%s: the copy's log could not be folded into it", log);
    if (secret_file_sync_dir(r->copy))
        return vt_fail(why, VT_EIO, "%s: cannot be synced to disk", r->fresh);
    if (renameat2(AT_FDCWD, r->copy, AT_FDCWD, r->store, RENAME_NOREPLACE)) {
        /* File systems without it: store_dir_check has looked. */
        if (errno == EEXIST)
            return vt_fail(why, VT_EEXISTS, "%s: there is a store already; it stays as it is", r->dir);
        if (errno != EINVAL || rename(r->copy, r->store))
            return vt_fail(why, VT_EIO, "%s: %s", r->store, strerror(errno));
    }
    if (secret_file_sync_dir(r->store) || secret_file_sync_dir(r->dir))
        return vt_fail(why, VT_EIO, "%s: cannot be synced to disk", r->dir);
    return VT_OK;
}

int store_restore(int from, const char *name, const char *dir, const struct keyslot_spec *specs, size_t count,
                  struct store_findings *found, struct vt_why *why)
{
    struct restore r = {.from = from, .name = name, .dir = dir};
    int err = name_places(&r, why);

    if (!err)
        err = make_dirs(&r, why);
    if (err)
        return err;
    err = copy(&r, why);
    if (!err)
        err = examine(&r, specs, count, found, why);
    if (!err)
        err = put_in_place(&r, why);
    remove_fresh(&r);
    return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* `vtpm-server init`: all of a new store, or nothing of it. */
#include "server/core/keyslot/keyslot.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/core/store/keys.h"
#include "server/core/keyslot/file.h"

#define SLOTS_MAX 16

/* What must be undone when it does not come to an end. */
struct init {
    const char *dir;
    const struct keyslot_spec *specs;
    size_t count;
    bool made_dir, made_store, had_lock;
    bool made_key[SLOTS_MAX];
    struct {
        uint8_t *secret;
        size_t len;
    } secret[SLOTS_MAX];
    struct vt_uuid store;
    struct vt_key master;
    struct keys *keys;
    struct db *db;
};

static bool path_in(char *out, size_t cap, const char *dir, const char *name)
{
    int n = snprintf(out, cap, "%s/%s", dir, name);

    return n > 0 && (size_t)n < cap;
}

static bool exists_in(const char *dir, const char *name)
{
    char path[4096];
    struct stat st;

    return path_in(path, sizeof path, dir, name) && lstat(path, &st) == 0;
}

/* ---- DIR ---- */

int store_dir_check(const char *dir, struct vt_why *why)
{
    struct stat st;

    if (stat(dir, &st))
        return vt_fail(why, VT_EIO, "%s: %s", dir, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return vt_fail(why, VT_EUSAGE, "%s: not a directory", dir);
    if (exists_in(dir, "vtpm.db"))
        return vt_fail(why, VT_EEXISTS, "%s: there is a store already; it stays as it is", dir);
    if (st.st_mode & 077)
        return vt_fail(why, VT_EPERM, "%s: mode %04o lets others in: chmod 700 %s", dir, (unsigned)st.st_mode & 07777,
                       dir);
    return VT_OK;
}

static int make_dir(struct init *in, struct vt_why *why)
{
    if (mkdir(in->dir, 0700) == 0) {
        in->made_dir = true;
        return VT_OK;
    }
    if (errno == EEXIST)
        return store_dir_check(in->dir, why);
    if (errno == ENOENT)
        return vt_fail(why, VT_ENOTFOUND, "%s: the directory above it does not exist: mkdir -p it first", in->dir);
    return vt_fail(why, errno == EACCES ? VT_EPERM : VT_EIO, "%s: cannot be made: %s", in->dir, strerror(errno));
}

/* ---- Specs ---- */

static int check_specs(const struct keyslot_spec *specs, size_t count, struct vt_why *why)
{
    if (!count)
        return vt_fail(why, VT_EUSAGE, "init needs at least one --keyslot");
    if (count > SLOTS_MAX)
        return vt_fail(why, VT_EUSAGE, "init takes at most %d key slots", SLOTS_MAX);
    for (size_t i = 0; i < count; i++)
        if (strcmp(specs[i].kind, "auto") == 0 || strcmp(specs[i].kind, "recovery") == 0)
            return vt_fail(why, VT_EUSAGE, "--keyslot %s opens a store, but cannot be given to init",
                           specs[i].kind[0] == 'a' ? "auto" : "recovery-file");
    return VT_OK;
}

static int read_secrets(struct init *in, struct vt_why *why)
{
    for (size_t i = 0; i < in->count; i++) {
        const char *path = in->specs[i].arg;
        bool was_there = access(path, F_OK) == 0;
        int err = keyslot_read_secret(&in->specs[i], true, &in->secret[i].secret, &in->secret[i].len, why);

        /* Also on error: the file may have been made before something else failed. */
        in->made_key[i] = !was_there && access(path, F_OK) == 0;
        if (err)
            return err;
    }
    return VT_OK;
}

/* ---- The store ---- */

/* init has no loop: db_drain runs the completions. */
static void ignore_wake(void *ctx)
{
    (void)ctx;
}

static int start_db(struct init *in, struct vt_why *why)
{
    struct db_config config = {.dir = in->dir, .wake = ignore_wake};
    uint8_t random[16];
    int err = cr_os_random(random, sizeof random);

    if (!err)
        err = cr_os_random(in->master.bytes, sizeof in->master.bytes);
    if (err)
        return vt_fail(why, err, "no random numbers from the operating system");
    vt_uuid_from_random(&in->store, random);
    err = db_create(in->dir, &in->store, why);
    /* These two say that somebody else is at work here: then nothing is ours to remove. */
    in->made_store = err != VT_ECONFLICT && err != VT_EEXISTS;
    if (!err)
        err = db_open(&config, &in->db, why);
    if (!err)
        err = keys_new(&in->keys, &in->master, &in->store, why);
    if (!err)
        err = db_start(in->db, keys_mac(in->keys), true, why);
    return err ? vt_fail(why, err, "%s: the store cannot be made: %s", in->dir, vt_err_text(err)) : VT_OK;
}

struct put {
    int err;
    bool done;
};

static void on_put(void *arg, int err)
{
    struct put *put = arg;

    put->err = err;
    put->done = true;
}

static int put_slot(struct init *in, const struct keyslot_spec *spec, const uint8_t *secret, size_t len,
                    struct vt_why *why)
{
    struct db_keyslot slot = {0};
    struct db_audit audit = {.kind = "keyslot-add", .peer = "init", .text = spec->kind};
    struct put put = {0};
    struct vt_why made = {0};
    int err = db_keyslot_next(in->db, &slot.id);

    if (!err)
        err = keyslot_make(&slot, spec, secret, len, &in->store, &in->master, &made);
    if (err)
        vt_fail(why, err, "%s", made.text);
    else if (made.text[0])
        vt_warning("key slots: %s", made.text);
    if (!err)
        err = db_keyslot_put(in->db, &slot, NULL, &audit, on_put, &put);
    if (!err) {
        db_drain(in->db);
        err = put.done ? put.err : VT_EUNKNOWN;
    }
    return err ? vt_fail(why, err, "%s: the %s slot cannot be written: %s", in->dir, spec->kind, vt_err_text(err))
               : VT_OK;
}

static int put_slots(struct init *in, char recovery[RECOVERY_TEXT], struct vt_why *why)
{
    struct keyslot_spec recovery_spec = {.kind = "recovery"};
    uint8_t secret[32];
    int err = VT_OK;

    for (size_t i = 0; i < in->count && !err; i++)
        err = put_slot(in, &in->specs[i], in->secret[i].secret, in->secret[i].len, why);
    if (err)
        return err;
    err = recovery_make(recovery, secret);
    if (err)
        vt_fail(why, err, "no random numbers from the operating system");
    else
        err = put_slot(in, &recovery_spec, secret, sizeof secret, why);
    vt_wipe(secret, sizeof secret);
    return err;
}

/* ---- The end, either way ---- */

static void release(struct init *in)
{
    db_close(in->db);
    keys_free(in->keys);
    for (size_t i = 0; i < SLOTS_MAX; i++)
        vt_free_wiped(in->secret[i].secret, in->secret[i].len);
    vt_key_wipe(&in->master);
}

static void remove_in(const char *dir, const char *name)
{
    char path[4096];

    if (path_in(path, sizeof path, dir, name))
        unlink(path);
}

static void undo(const struct init *in)
{
    static const char *const files[] = {"vtpm.db", "vtpm.db-wal", "vtpm.db-shm", "vtpm.db-journal"};
    /* The lock file too, if it came with this store: after db_close nobody holds it. */

    for (size_t i = 0; in->made_store && i < VT_COUNT(files); i++)
        remove_in(in->dir, files[i]);
    if (in->made_store && !in->had_lock)
        remove_in(in->dir, "lock");
    for (size_t i = 0; i < in->count; i++)
        if (in->made_key[i])
            unlink(in->specs[i].arg);
    if (in->made_dir)
        rmdir(in->dir);
}

/* The files in DIR, and DIR in the directory above it. */
static int sync_dirs(const char *dir)
{
    char path[4096];

    if (!path_in(path, sizeof path, dir, "vtpm.db"))
        return VT_ETOOBIG;
    return secret_file_sync_dir(path) || secret_file_sync_dir(dir) ? VT_EIO : VT_OK;
}

int store_init(const char *dir, const struct keyslot_spec *specs, size_t count, char recovery[RECOVERY_TEXT], struct vt_why *why)
{
    struct init in = {.dir = dir, .specs = specs, .count = count};
    int err = check_specs(specs, count, why);

    if (err)
        return err;
    err = make_dir(&in, why);
    in.had_lock = exists_in(dir, "lock");
    if (!err)
        err = read_secrets(&in, why);
    if (!err)
        err = start_db(&in, why);
    if (!err)
        err = put_slots(&in, recovery, why);
    release(&in);
    if (!err && sync_dirs(dir))
        err = vt_fail(why, VT_EIO, "%s: cannot be synced to disk", dir);
    if (err) {
        undo(&in);
        vt_wipe(recovery, RECOVERY_TEXT);
    }
    return err;
}

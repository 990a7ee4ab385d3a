/* SPDX-License-Identifier: Apache-2.0 */
#include "server/net/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <malloc.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/base/text.h"

#define DEFAULT_USER "vtpm"
#define ACCOUNT_TEXT 16384

/* ---- Limits ---- */

static void open_standard_descriptors(void)
{
    int fd;

    /* A socket that got number 2 would receive our log. */
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/*
 * A worker's own arena keeps what thousands of handshakes left in it; there are few workers, and the C library's cache of
 * each thread spares them most of the waiting. A large block goes back when it is freed.
 */
static void set_heap(void)
{
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    mallopt(M_TRIM_THRESHOLD, 256 * 1024);
}

void process_harden(void)
{
    struct rlimit none = {0, 0};
    struct rlimit files;

    set_heap();
    open_standard_descriptors();
    umask(077);
    signal(SIGPIPE, SIG_IGN);
    setrlimit(RLIMIT_CORE, &none);
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
#ifndef VTPM_WIDE_SECCOMP
    /* The leak check of sanitizer builds traces its own process. */
    prctl(PR_SET_DUMPABLE, 0);
#endif
}

static void *uv_grow(void *ptr, size_t size)
{
    void *grown = realloc(ptr, size);

    if (!grown && size)
        vt_error("server: out of memory for what the loop watches: ending now; what was answered is kept, start the "
                 "server again");
    return grown;
}

int process_watch_loop_memory(void)
{
    return uv_replace_allocator(malloc, uv_grow, calloc, free) ? VT_EFAIL : VT_OK;
}

unsigned process_channels_max(void)
{
    enum { OURS = 256, EACH = 4, MOST = 16384, LEAST = 64 };
    struct rlimit files;
    rlim_t room;

    if (getrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur <= OURS)
        return LEAST;
    room = (files.rlim_cur - OURS) / EACH;
    return (unsigned)VT_MAX((rlim_t)LEAST, VT_MIN(room, (rlim_t)MOST));
}

void process_say_channels(unsigned max)
{
    enum { PLENTY = 1024 };
    struct rlimit files;

    if (max < PLENTY && !getrlimit(RLIMIT_NOFILE, &files))
        vt_warning("net: at most %u channels at once, since this process may have %llu descriptors: for more guests, "
                   "LimitNOFILE=65536 in the systemd unit, or `ulimit -n 65536` before the start",
                   max, (unsigned long long)files.rlim_cur);
}

/* ---- Accounts ---- */

static bool parse_id(unsigned *id, const char *text)
{
    uint64_t value;

    /* The largest one means "none" to the kernel. */
    if (!vt_parse_u64(&value, text, UINT32_MAX - 1))
        return false;
    *id = (unsigned)value;
    return true;
}

static bool account_by_name(struct process_user *user, const char *name)
{
    VT_AUTOFREE char *text = vt_calloc(1, ACCOUNT_TEXT);
    struct passwd entry, *found = NULL;
    unsigned uid;
    int error;

    if (!text)
        return false;
    error = getpwnam_r(name, &entry, text, ACCOUNT_TEXT, &found);
    if ((error || !found) && parse_id(&uid, name))
        error = getpwuid_r(uid, &entry, text, ACCOUNT_TEXT, &found);
    if (error || !found)
        return false;
    user->uid = entry.pw_uid;
    user->gid = entry.pw_gid;
    snprintf(user->name, sizeof user->name, "%s", entry.pw_name);
    return true;
}

static void account_by_owner(struct process_user *user, const struct stat *st)
{
    char uid[16];

    snprintf(uid, sizeof uid, "%u", (unsigned)st->st_uid);
    if (account_by_name(user, uid))
        return;
    user->uid = st->st_uid;
    user->gid = st->st_gid;
    user->name[0] = '\0';
}

int process_find_group(gid_t *gid, const char *option, const char *name, struct vt_why *why)
{
    VT_AUTOFREE char *text = vt_calloc(1, ACCOUNT_TEXT);
    struct group entry, *found = NULL;
    unsigned id;

    if (!text)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    if (!getgrnam_r(name, &entry, text, ACCOUNT_TEXT, &found) && found)
        *gid = entry.gr_gid;
    else if (parse_id(&id, name))
        *gid = id;
    else
        return vt_fail(why, VT_EUSAGE, "%s: there is no group '%s': make it with: groupadd --system %s",
                       option, name, name);
    return VT_OK;
}

/* ---- Whose we are ---- */

static int choose(struct process_user *user, const struct config *config, const struct stat *st,
                  struct vt_why *why)
{
    if (config->user) {
        if (!account_by_name(user, config->user))
            return vt_fail(why, VT_EUSAGE,
                           "--user: there is no user '%s': make it with: useradd --system "
                           "--home-dir %s --shell /usr/sbin/nologin %s",
                           config->user, config->data_dir, config->user);
        return VT_OK;
    }
    if (st && st->st_uid != 0) {
        account_by_owner(user, st);
        return VT_OK;
    }
    if (!account_by_name(user, DEFAULT_USER))
        return vt_fail(why, VT_EUSAGE,
                       "will not run as root, and there is no user '" DEFAULT_USER "': make it with: "
                       "useradd --system --home-dir " CONFIG_DEFAULT_DATA
                       " --shell /usr/sbin/nologin " DEFAULT_USER
                       "; or name another with --user; in a container: --allow-root");
    return VT_OK;
}

static int check_owner(const struct process_user *user, const struct config *config, const struct stat *st,
                       struct vt_why *why)
{
    if (!st || st->st_uid == user->uid)
        return VT_OK;
    /* init gives an empty directory of root's to the user. */
    if ((config->init || config->restore) && st->st_uid == 0)
        return VT_OK;
    return vt_fail(why, VT_EUSAGE,
                   "%s: belongs to uid %u, but the server is to run as %s (uid %u): type: chown -R "
                   "%u:%u %s; or start it with --user %u",
                   config->data_dir, (unsigned)st->st_uid, user->name[0] ? user->name : "its owner",
                   (unsigned)user->uid, (unsigned)user->uid, (unsigned)user->gid, config->data_dir,
                   (unsigned)st->st_uid);
}

static int find_user_as_other(const struct config *config, struct vt_why *why)
{
    struct process_user named = {0};

    if (!config->user || (account_by_name(&named, config->user) && named.uid == geteuid()))
        return VT_OK;
    return vt_fail(why, VT_EUSAGE,
                   "--user %s: only root can change to another user, this is uid %u: start it as root, "
                   "or with: sudo -u %s vtpm-server ...",
                   config->user, (unsigned)geteuid(), config->user);
}

int process_find_user(struct process_user *user, const struct config *config, struct vt_why *why)
{
    struct stat st;
    bool has_data;
    int err;

    *user = (struct process_user){.uid = geteuid(), .gid = getegid()};
    if (geteuid() != 0)
        return find_user_as_other(config, why);
    if (config->allow_root && !config->user)
        return VT_OK;
    has_data = !stat(config->data_dir, &st);
    err = choose(user, config, has_data ? &st : NULL, why);
    if (err)
        return err;
    if (user->uid == 0)
        return config->allow_root ? VT_OK
                                  : vt_fail(why, VT_EUSAGE,
                                            "--user %s: will not run as root; if it must be (tests, "
                                            "containers), add --allow-root",
                                            config->user);
    user->change = true;
    return check_owner(user, config, has_data ? &st : NULL, why);
}

/* The account's own groups, and those of the policy. */
static int set_groups(const struct process_user *user, const struct role_policy *policy)
{
    gid_t groups[ROLE_GROUPS_MAX + 2];
    int count = ROLE_GROUPS_MAX;

    if (!user->name[0])
        count = 0;
    else if (getgrouplist(user->name, user->gid, groups, &count) < 0)
        count = ROLE_GROUPS_MAX;
    if (policy->has_admin_group)
        groups[count++] = policy->admin_gid;
    if (policy->has_monitor_group)
        groups[count++] = policy->monitor_gid;
    return setgroups((size_t)count, groups);
}

int process_become(const struct process_user *user, const struct role_policy *policy, struct vt_why *why)
{
    if (!user->change) {
        if (geteuid() == 0)
            vt_warning("server: running as root (--allow-root)");
        return VT_OK;
    }
    if (set_groups(user, policy) || setresgid(user->gid, user->gid, user->gid) ||
        setresuid(user->uid, user->uid, user->uid))
        return vt_fail(why, VT_EPERM,
                       "cannot change to uid %u: %s: start it with: setpriv --reuid %u --regid %u "
                       "--init-groups vtpm-server ...; in a container: --allow-root",
                       (unsigned)user->uid, strerror(errno), (unsigned)user->uid, (unsigned)user->gid);
    if (setresuid((uid_t)-1, 0, (uid_t)-1) == 0)
        return vt_fail(why, VT_EPERM, "could become root again after changing to uid %u: refusing to run",
                       (unsigned)user->uid);
        /* Changing users made the process dumpable as fs.suid_dumpable says. */
#ifndef VTPM_WIDE_SECCOMP
    prctl(PR_SET_DUMPABLE, 0);
#endif
    vt_log_with(VT_LOG_NOTICE, VT_FIELDS(VT_NUMBER("uid", user->uid), VT_NUMBER("gid", user->gid)),
                "server: started as root, running as %s", user->name[0] ? user->name : "the data's owner");
    return VT_OK;
}

/* ---- Directories ---- */

static int check_empty(int fd, const char *dir, struct vt_why *why)
{
    DIR *list;
    struct dirent *entry;
    int err = VT_OK;

    if (!faccessat(fd, "vtpm.db", F_OK, AT_SYMLINK_NOFOLLOW))
        return vt_fail(why, VT_EEXISTS, "%s: there is a store already; it was left as it is", dir);
    list = fdopendir(dup(fd));
    if (!list)
        return vt_fail(why, VT_EIO, "%s: cannot be listed: %s", dir, strerror(errno));
    while (!err && (entry = readdir(list)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            err = vt_fail(why, VT_EUSAGE,
                          "%s: belongs to root and holds other files (%s): name an empty or a new "
                          "directory",
                          dir, entry->d_name);
    closedir(list);
    return err;
}

static int give_away(int fd, const struct process_user *user, const char *dir, struct vt_why *why)
{
    struct stat st;
    int err;

    if (fstat(fd, &st))
        return vt_fail(why, VT_EIO, "%s: %s", dir, strerror(errno));
    if (st.st_uid == user->uid)
        return VT_OK; /* store_init looks into it */
    err = check_empty(fd, dir, why);
    if (err)
        return err;
    if (fchown(fd, user->uid, user->gid) || fchmod(fd, 0700))
        return vt_fail(why, VT_EIO, "%s: cannot be given to uid %u: %s", dir, (unsigned)user->uid,
                       strerror(errno));
    return VT_OK;
}

int process_prepare_data(const struct process_user *user, const char *dir, struct vt_why *why)
{
    int fd, err;

    if (!user->change)
        return VT_OK;
    if (mkdir(dir, 0700) && errno != EEXIST)
        return vt_fail(why, VT_EUSAGE, "%s: cannot be made: %s", dir, strerror(errno));
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return vt_fail(why, VT_EUSAGE, "%s: not a directory of its own: %s", dir, strerror(errno));
    err = give_away(fd, user, dir, why);
    close(fd);
    return err;
}

void process_prepare_run_dir(const struct process_user *user)
{
    if (mkdir(CONFIG_RUN_DIR, 0755))
        return;
    /* Others pass through it to the sockets; mkdir went through the umask. */
    if (chmod(CONFIG_RUN_DIR, 0755) || (user->change && chown(CONFIG_RUN_DIR, user->uid, user->gid)))
        vt_warning("server: " CONFIG_RUN_DIR ": %s", strerror(errno));
}

/* ---- What else the broker must be told ---- */

static bool check_engine(const char *path)
{
    struct stat st;

    return !stat(path, &st) && S_ISREG(st.st_mode) && !access(path, X_OK);
}

int process_find_engine(char **path, const char *option, struct vt_why *why)
{
    static const char *const places[] = {"vtpm-engine", "../libexec/vtpm-engine"};
    char self[1024], *slash, found[1100];
    ssize_t len;

    *path = NULL;
    if (option) {
        if (!check_engine(option))
            return vt_fail(why, VT_EUSAGE, "--engine %s: not an executable file", option);
        *path = vt_strdup(option);
        return *path ? VT_OK : vt_fail(why, VT_ENOMEM, "out of memory");
    }
    len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (len <= 0)
        return vt_fail(why, VT_EUSAGE,
                       "cannot tell where this program is (no /proc?): name the engine with --engine");
    self[len] = '\0';
    slash = strrchr(self, '/');
    *(slash ? slash : self) = '\0';
    for (size_t i = 0; i < VT_COUNT(places); i++) {
        snprintf(found, sizeof found, "%s/%s", self, places[i]);
        if (check_engine(found)) {
            *path = vt_strdup(found);
            return *path ? VT_OK : vt_fail(why, VT_ENOMEM, "out of memory");
        }
    }
    return vt_fail(why, VT_EUSAGE,
                   "vtpm-engine is neither in %.200s nor in %.200s/../libexec: install it there, or "
                   "name it with --engine",
                   self, self);
}

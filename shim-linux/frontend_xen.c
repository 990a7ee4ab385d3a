/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The back end of Xen's TPM front end, for every guest whose toolstack names this domain: xenstore.h tells what the
 * nodes say, proto/xenback.h what that means, proto/xendevices.h and xendevice.h do it; here are the process's own things: grants, event
 * channels, the runtime directory.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/boot.h"
#include "server/base/log.h"
#include "shim-linux/credential.h"
#include "shim-linux/frontend.h"
#include "shim-linux/host.h"
#include "shim-linux/xendevice.h"

#define RUNTIME_DIR "/run/vtpm-shim"
/* Event channels served before the loop looks after everything else. */
#define EVENTS_MOST 16

struct frontend {
    const struct frontend_host *host;
    struct xendevices *devices;
    struct xendevice_host device_host;
    struct xenstore *store;
    struct xenring_host rings;
    uv_poll_t poll;
    bool has_poll;
    bool closed;
    int lock;       /* of the runtime directory; -1: none */
};

/* ---- Events ---- */

/* Reading waits if there is none, also on a descriptor that says it does not (xenevtchn.h). */
static bool is_pending(struct frontend *front)
{
    struct pollfd fd = {.fd = xenevtchn_fd(front->rings.channels), .events = POLLIN};

    return poll(&fd, 1, 0) == 1 && (fd.revents & POLLIN);
}

static void on_channels(uv_poll_t *handle, int status, int events VT_UNUSED)
{
    struct frontend *front = handle->data;
    int port;

    if (status < 0) {
        uv_poll_stop(handle);
        front->host->failed(front->host->ctx, VT_EIO, "the event channel device has failed");
        return;
    }
    for (unsigned i = 0; i < EVENTS_MOST && is_pending(front); i++) {
        port = xenevtchn_pending(front->rings.channels);
        if (port >= 0)
            xendevice_event(front->devices, (evtchn_port_t)port);
    }
}

static void on_device(void *ctx, const struct xenstore_device *device)
{
    xendevices_told(((struct frontend *)ctx)->devices, device);
}

/* What shims before us left of rings that are no more. */
static void on_scanned(void *ctx)
{
    struct frontend *front = ctx;
    DIR *dir = opendir(front->rings.runtime_dir);
    struct dirent *entry;

    while (dir && (entry = readdir(dir)) != NULL) {
        uint32_t domid, devid;
        int end = 0;

        if (sscanf(entry->d_name, "xen-%" SCNu32 "-%" SCNu32 ".journal%n", &domid, &devid, &end) != 2 || !end ||
            entry->d_name[end] || xendevices_has(front->devices, domid, devid))
            continue;
        if (unlinkat(dirfd(dir), entry->d_name, 0) == 0)
            vt_info("xen: %s/%s was of a device that is gone: removed", front->rings.runtime_dir, entry->d_name);
    }
    if (dir)
        closedir(dir);
}

/* ---- Start ---- */

static const char *runtime_dir(const struct options *options)
{
    const char *given = options->runtime_dir ? options->runtime_dir : getenv("RUNTIME_DIRECTORY");

    return given && *given ? given : RUNTIME_DIR;
}

/* Two of us would both answer every guest. */
static int lock_runtime_dir(struct frontend *front, struct vt_why *why)
{
    const char *dir = front->rings.runtime_dir;
    char path[256];

    if (snprintf(path, sizeof path, "%s/xen.lock", dir) >= (int)sizeof path)
        return vt_fail(why, VT_EUSAGE, "--runtime-dir %s: the name is too long", dir);
    if (mkdir(dir, 0700) && errno != EEXIST)
        return vt_fail(why, errno == ENOENT ? VT_ENOTFOUND : errno == EACCES ? VT_EPERM : VT_EIO, "--runtime-dir %s: %s", dir,
                       strerror(errno));
    front->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (front->lock < 0)
        return vt_fail(why, errno == EACCES ? VT_EPERM : VT_EIO, "--runtime-dir: %s: %s", path, strerror(errno));
    if (flock(front->lock, LOCK_EX | LOCK_NB))
        return vt_fail(why, VT_ECONFLICT, "%s is locked: another vtpm-shim --frontend xen runs on this host", path);
    return VT_OK;
}

/* What can be known now is said now; a guest's own file may come later. */
static int check_credentials(const struct options *options, struct vt_why *why)
{
    struct credential credential;
    struct stat st;
    int err = VT_OK;

    if (options->credential) {
        err = credential_read(&credential, options->credential, why);
        credential_wipe(&credential);
    } else if (stat(options->credential_dir, &st)) {
        err = vt_fail(why, errno == ENOENT ? VT_ENOTFOUND : errno == EACCES ? VT_EPERM : VT_EIO, "--credential-dir %s: %s",
                      options->credential_dir, strerror(errno));
    } else if (!S_ISDIR(st.st_mode)) {
        err = vt_fail(why, VT_EUSAGE, "--credential-dir %s: not a directory", options->credential_dir);
    }
    return err;
}

static int open_channels(struct frontend *front, struct vt_why *why)
{
    front->rings.grants = xengnttab_open(NULL, 0);
    if (!front->rings.grants)
        return vt_fail(why, VT_EIO, "Xen's grant device cannot be opened: %s; is this a domain of Xen? modprobe xen-gntdev",
                       strerror(errno));
    front->rings.channels = xenevtchn_open(NULL, 0);
    if (!front->rings.channels)
        return vt_fail(why, VT_EIO, "Xen's event channel device cannot be opened: %s; modprobe xen-evtchn", strerror(errno));
    if (uv_poll_init(front->host->loop, &front->poll, xenevtchn_fd(front->rings.channels)))
        return vt_fail(why, VT_EIO, "Xen's event channel device cannot be polled");
    front->has_poll = true;
    front->poll.data = front;
    return uv_poll_start(&front->poll, UV_READABLE, on_channels) ? vt_fail(why, VT_EIO, "no events") : VT_OK;
}

static int start_parts(struct frontend *front, struct vt_why *why)
{
    const struct xenstore_events events = {on_device, on_scanned, front};
    int err = check_credentials(front->host->options, why);

    if (!err)
        err = lock_runtime_dir(front, why);
    if (!err)
        err = open_channels(front, why);
    if (!err)
        err = vt_boot_id(front->device_host.boot_id, why);
    if (!err && xendevices_new(&front->devices, &xendevice_ops, &front->device_host))
        err = vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    return err ? err : xenstore_open(&front->store, front->host->loop, &events, why);
}

static int start(struct frontend **front_out, const char *spec, const struct frontend_host *host, struct vt_why *why)
{
    struct frontend *front;

    if (*spec)
        return vt_fail(why, VT_EUSAGE, "--frontend xen:%s: \"xen\" takes nothing more", spec);
    front = VT_NEW(struct frontend);
    if (!front)
        return vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    front->host = host;
    front->lock = -1;
    front->rings.loop = host->loop;
    front->rings.runtime_dir = runtime_dir(host->options);
    front->device_host = (struct xendevice_host){.host = host, .rings = &front->rings, .store = &front->store};
    *front_out = front;
    return start_parts(front, why);
}

static const char *where(const struct frontend *front VT_UNUSED)
{
    return "";
}

/* ---- End: front ends stay as they are, and the next shim goes on ---- */

static void stop(struct frontend *front VT_UNUSED)
{
}

static void close_all(struct frontend *front)
{
    if (front->closed)
        return;
    front->closed = true;
    if (front->store)
        xenstore_close(front->store);
    if (front->devices)
        xendevices_close(front->devices);
    if (front->has_poll)
        uv_close((uv_handle_t *)&front->poll, NULL);
}

static void free_front(struct frontend *front)
{
    xenstore_free(front->store);
    xendevices_free(front->devices);
    if (front->rings.channels)
        xenevtchn_close(front->rings.channels);
    if (front->rings.grants)
        xengnttab_close(front->rings.grants);
    if (front->lock >= 0)
        close(front->lock);
    vt_free(front);
}

const struct frontend_kind frontend_xen = {
    .scheme = "xen",
    .form = "xen",
    .name = "xen",
    .many = true,
    .is_told = true,
    .start = start,
    .where = where,
    .stop = stop,
    .close = close_all,
    .free = free_front,
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A /dev/tpmN of this host for an instance, for a container or for a guest without a TPM front end: by --credential for
 * one instance, by --credential-dir for each that has a file there, as files come and go.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "shim-linux/credential.h"
#include "shim-linux/frontend.h"
#include "shim-linux/proxydevice.h"
#include "shim-linux/vtpmx.h"

#define RUNTIME_DIR "/run/vtpm-shim-proxy"
#define DEVICES_MAX 1024
/* How often the directory is looked at. */
#define SCAN_MS     2000
#define SUFFIX      ".cred"

struct entry {
    struct vt_list node;
    struct proxydevice *device; /* NULL: it has failed; not again while the file is there */
    struct vt_uuid uuid;
    bool is_there;              /* the file, at the last look */
};

struct frontend {
    const struct frontend_host *host;
    int vtpmx;
    uv_timer_t scan_timer;
    bool has_timer;
    struct vt_list entries;
    unsigned count;
    int scan_error;             /* of the directory, once it was logged */
    bool is_ready;
    bool closed;
    char where[32];
};

/* ---- Devices ---- */

static struct entry *entry_of(struct frontend *front, const struct vt_uuid *uuid)
{
    VT_LIST_EACH(&front->entries, node) {
        struct entry *entry = VT_LIST_ENTRY(node, struct entry, node);
        if (vt_uuid_equal(&entry->uuid, uuid))
            return entry;
    }
    return NULL;
}

static bool is_single(const struct frontend *front)
{
    return front->host->options->credential;
}

static void on_shown(void *ctx, struct proxydevice *device)
{
    struct frontend *front = ctx;
    char uuid[VT_UUID_TEXT];

    vt_uuid_text(uuid, proxydevice_uuid(device));
    vt_notice("proxy: %s is /dev/tpm%u", uuid, proxydevice_number(device));
    if (front->is_ready)
        return;
    snprintf(front->where, sizeof front->where, "/dev/tpm%u", proxydevice_number(device));
    front->is_ready = true;
    front->host->ready(front->host->ctx);
}

static void on_failed(void *ctx, struct proxydevice *device, int err, const char *why)
{
    struct frontend *front = ctx;
    struct entry *entry = entry_of(front, proxydevice_uuid(device));
    char uuid[VT_UUID_TEXT];

    /* What the kernel does not permit for one it does not permit for any. */
    if (is_single(front) || err == VT_EPERM) {
        front->host->failed(front->host->ctx, err, why);
        return;
    }
    vt_uuid_text(uuid, &entry->uuid);
    vt_error("proxy: %s: %s: %s", uuid, vt_err_text(err), why);
    entry->device = NULL;
    proxydevice_close(device);
}

static const struct proxydevice_events events = {.shown = on_shown, .failed = on_failed};

static const char *runtime_dir(const struct options *options)
{
    const char *given = options->runtime_dir ? options->runtime_dir : getenv("RUNTIME_DIRECTORY");

    return given && *given ? given : RUNTIME_DIR;
}

static int add(struct frontend *front, const struct vt_uuid *uuid, const char *credential, struct vt_why *why)
{
    const struct proxydevice_config config = {
        .host = front->host,
        .vtpmx = front->vtpmx,
        .dir = runtime_dir(front->host->options),
        .credential = credential,
        .is_one_of_many = !is_single(front),
        .uuid = *uuid,
        .events = &events,
        .ctx = front,
    };
    struct entry *entry = VT_NEW(struct entry);
    int err;

    if (!entry)
        return vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    entry->uuid = *uuid;
    entry->is_there = true;
    err = proxydevice_new(&entry->device, &config, why);
    if (err) {
        vt_free(entry);
        return err;
    }
    vt_list_add(&front->entries, &entry->node);
    front->count++;
    return VT_OK;
}

static void remove_entry(struct frontend *front, struct entry *entry)
{
    if (entry->device)
        proxydevice_close(entry->device);
    vt_list_remove(&entry->node);
    front->count--;
    vt_free(entry);
}

/* ---- The directory ---- */

static bool names_instance(struct vt_uuid *uuid, const char *name)
{
    char text[VT_UUID_TEXT];

    if (strlen(name) != sizeof text - 1 + sizeof SUFFIX - 1 || strcmp(name + sizeof text - 1, SUFFIX) != 0)
        return false;
    memcpy(text, name, sizeof text - 1);
    text[sizeof text - 1] = '\0';
    return vt_uuid_parse(uuid, text);
}

static void on_file(struct frontend *front, const char *name)
{
    const char *dir = front->host->options->credential_dir;
    struct vt_why why = {{0}};
    struct vt_uuid uuid;
    struct entry *entry;
    char path[512];

    if (!names_instance(&uuid, name))
        return;
    entry = entry_of(front, &uuid);
    if (entry)
        entry->is_there = true;
    else if (front->count == DEVICES_MAX || snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        vt_warning("proxy: %s/%s: more than %d devices, or too long a name: it is left out", dir, name, DEVICES_MAX);
    else if (add(front, &uuid, path, &why))
        vt_warning("proxy: %s/%s: %s; it is tried again", dir, name, why.text);
}

static void remove_absent(struct frontend *front)
{
    VT_LIST_EACH(&front->entries, node) {
        struct entry *entry = VT_LIST_ENTRY(node, struct entry, node);
        char uuid[VT_UUID_TEXT];

        if (entry->is_there)
            continue;
        vt_uuid_text(uuid, &entry->uuid);
        vt_notice("proxy: %s" SUFFIX " was taken away, and its device with it", uuid);
        remove_entry(front, entry);
    }
}

/* A directory that cannot be read takes no device away. */
static int scan(struct frontend *front, struct vt_why *why)
{
    const char *path = front->host->options->credential_dir;
    DIR *dir = opendir(path);
    struct dirent *file;

    if (!dir)
        return vt_fail(why, errno == ENOENT ? VT_ENOTFOUND : errno == EACCES ? VT_EPERM : VT_EIO, "--credential-dir %s: %s",
                       path, strerror(errno));
    VT_LIST_EACH(&front->entries, node)
        VT_LIST_ENTRY(node, struct entry, node)->is_there = false;
    while ((file = readdir(dir)) != NULL)
        on_file(front, file->d_name);
    closedir(dir);
    remove_absent(front);
    return VT_OK;
}

static void on_scan(uv_timer_t *timer)
{
    struct frontend *front = timer->data;
    struct vt_why why = {{0}};
    int err = scan(front, &why);

    if (err && err != front->scan_error)
        vt_warning("proxy: %s: the devices stay as they are", why.text);
    front->scan_error = err;
}

/* ---- Start ---- */

static int start_single(struct frontend *front, struct vt_why *why)
{
    const struct options *options = front->host->options;
    struct credential credential;
    int err = credential_read(&credential, options->credential, why);

    if (!err && !options->has_instance && !credential.has_uuid)
        err = vt_fail(why, VT_EUSAGE, "%s: a credential of %s: which instance is meant must be said by --instance UUID",
                      options->credential, credential.identity);
    if (!err)
        err = add(front, options->has_instance ? &options->instance : &credential.uuid, options->credential, why);
    credential_wipe(&credential);
    return err;
}

/* Each device comes in its own time: the shim is ready when it looks after them. */
static int start_many(struct frontend *front, struct vt_why *why)
{
    int err = scan(front, why);

    if (err)
        return err;
    uv_timer_init(front->host->loop, &front->scan_timer);
    front->scan_timer.data = front;
    front->has_timer = true;
    uv_timer_start(&front->scan_timer, on_scan, SCAN_MS, SCAN_MS);
    front->is_ready = true;
    front->host->ready(front->host->ctx);
    return VT_OK;
}

static int start(struct frontend **front_out, const char *spec, const struct frontend_host *host, struct vt_why *why)
{
    struct frontend *front;
    int err;

    if (*spec)
        return vt_fail(why, VT_EUSAGE, "--frontend proxy:%s: \"proxy\" takes nothing more", spec);
    front = VT_NEW(struct frontend);
    if (!front)
        return vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    front->host = host;
    front->vtpmx = -1;
    vt_list_init(&front->entries);
    *front_out = front;
    err = vtpmx_open(&front->vtpmx, why);
    if (err)
        return err;
    return is_single(front) ? start_single(front, why) : start_many(front, why);
}

static const char *where(const struct frontend *front)
{
    return front->where;
}

/* ---- End ---- */

static void stop(struct frontend *front)
{
    if (front->has_timer)
        uv_timer_stop(&front->scan_timer);
}

static void close_all(struct frontend *front)
{
    if (front->closed)
        return;
    front->closed = true;
    if (front->has_timer)
        uv_close((uv_handle_t *)&front->scan_timer, NULL);
    VT_LIST_EACH(&front->entries, node)
        remove_entry(front, VT_LIST_ENTRY(node, struct entry, node));
}

static void free_front(struct frontend *front)
{
    if (front->vtpmx >= 0)
        close(front->vtpmx);
    vt_free(front);
}

const struct frontend_kind frontend_proxy = {
    .scheme = "proxy",
    .form = "proxy",
    .name = "proxy",
    .many = true,
    .ready_later = true,
    .start = start,
    .where = where,
    .stop = stop,
    .close = close_all,
    .free = free_front,
};

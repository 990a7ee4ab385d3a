/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-minios/settings.h"

#include <inttypes.h>
#include <stdio.h>

#include "proto/xenpaths.h"
#include "server/base/log.h"
#include "shim-minios/entropy.h"
#include "shim-minios/platform.h"

#define NODE_MAX 96

static void node_path(char path[NODE_MAX], const struct settings *settings, const char *name)
{
    snprintf(path, NODE_MAX, "/local/domain/%" PRIu32 "/vtpm-stubdom%s%s", settings->self, *name ? "/" : "", name);
}

static int read_node(const struct settings *settings, const char *name, char *text, size_t size)
{
    char path[NODE_MAX];

    node_path(path, settings, name);
    return platform_read(path, text, size);
}

static int missing(const struct settings *settings, const char *name, const char *what, struct vt_why *why)
{
    char path[NODE_MAX];

    node_path(path, settings, name);
    return vt_fail(why, VT_EUSAGE, "xenstore's %s: %s", path, what);
}

/* ---- The parts ---- */

static int read_server(struct settings *settings, struct vt_why *why)
{
    char text[16];
    uint64_t domid = 0;
    int err = read_node(settings, "server", text, sizeof text);

    if (err && err != VT_ENOTFOUND)
        return missing(settings, "server", vt_err_text(err), why);
    if (!err && !vt_parse_u64(&domid, text, XENPATHS_DOMID_MAX))
        return missing(settings, "server", "no domid", why);
    settings->server = (uint32_t)domid;
    snprintf(settings->server_text, sizeof settings->server_text, "vchan:%" PRIu32, settings->server);
    return VT_OK;
}

/* Required: with a number of our own a restart of this domain would pass for one of the guest, and reset its PCRs. */
static int read_boot_id(struct settings *settings, struct vt_why *why)
{
    char text[VT_UUID_TEXT + 4];
    struct vt_uuid id;

    if (read_node(settings, "boot-id", text, sizeof text))
        return missing(settings, "boot-id", "not there: the toolstack writes the host's boot id into it", why);
    text[strcspn(text, "\n")] = '\0';
    if (!vt_uuid_parse(&id, text))
        return missing(settings, "boot-id", "no boot id of 36 characters", why);
    memcpy(settings->boot_id, id.bytes, sizeof settings->boot_id);
    return VT_OK;
}

static int credential_of_store(const struct settings *settings, struct credential *credential, struct vt_why *why)
{
    char text[CREDENTIAL_TEXT_MAX + 1], path[NODE_MAX];
    int err;

    if (read_node(settings, "credential", text, sizeof text))
        return missing(settings, "credential", "not there, and there is no ramdisk: the toolstack writes the credential into it",
                       why);
    node_path(path, settings, "credential");
    err = credential_parse(credential, text, path, why);
    vt_wipe(text, sizeof text);
    return err;
}

static int credential_of_ramdisk(struct credential *credential, char *ramdisk, size_t len, struct vt_why *why)
{
    char text[CREDENTIAL_TEXT_MAX + 1];
    int err;

    if (len > CREDENTIAL_TEXT_MAX)
        return vt_fail(why, VT_EUSAGE, "the ramdisk is longer than %d bytes: not a credential file", CREDENTIAL_TEXT_MAX);
    memcpy(text, ramdisk, len);
    text[len] = '\0';
    err = credential_parse(credential, text, "the ramdisk", why);
    vt_wipe(text, sizeof text);
    if (!err)
        vt_wipe(ramdisk, len);
    return err;
}

static int read_credential(struct settings *settings, struct vt_why *why)
{
    size_t len = 0;
    char *ramdisk = platform_ramdisk(&len);

    if (settings->credential.identity[0])
        return VT_OK;
    settings->is_of_ramdisk = ramdisk && len;
    return settings->is_of_ramdisk ? credential_of_ramdisk(&settings->credential, ramdisk, len, why)
                                   : credential_of_store(settings, &settings->credential, why);
}

static int start_entropy(const struct settings *settings, struct vt_why *why)
{
    uint8_t seed[ENTROPY_SEED];
    char text[2 * ENTROPY_SEED + 2];
    int err = read_node(settings, "seed", text, sizeof text);
    bool has_seed = !err;

    if (has_seed && !vt_unhex(seed, sizeof seed, text))
        err = missing(settings, "seed", "not 64 hexadecimal digits", why);
    else
        err = entropy_start(has_seed ? seed : NULL, why);
    vt_wipe(seed, sizeof seed);
    vt_wipe(text, sizeof text);
    return err;
}

/* ---- All of it ---- */

bool settings_look(struct settings *settings)
{
    struct vt_why why = {{0}};
    int err;

    if (settings->is_complete)
        return true;
    err = read_server(settings, &why);
    if (!err)
        err = read_boot_id(settings, &why);
    if (!err)
        err = read_credential(settings, &why);
    if (!err)
        err = start_entropy(settings, &why);
    settings->is_complete = !err;
    if (err && strcmp(why.text, settings->said.text) != 0)
        vt_warning("stubdom: guests wait: %s", why.text);
    else if (!err)
        vt_notice("stubdom: domain %" PRIu32 " serves %s, server %s", settings->self, settings->credential.identity,
                  settings->server_text);
    settings->said = why;
    return settings->is_complete;
}

bool settings_look_for_key(struct settings *settings)
{
    struct credential now = {.has_uuid = false};
    struct vt_why why = {{0}};
    bool is_new = false;

    if (settings->is_of_ramdisk)
        return false;
    if (credential_of_store(settings, &now, &why) == VT_OK && strcmp(now.identity, settings->credential.identity) == 0) {
        is_new = !vt_ct_equal(&now.key, &settings->credential.key, sizeof now.key);
        settings->credential.key = now.key;
    }
    credential_wipe(&now);
    return is_new;
}

int settings_begin(struct settings *settings, struct vt_why *why)
{
    char text[16], path[NODE_MAX];
    uint64_t domid;

    *settings = (struct settings){.self = 0};
    if (platform_read("domid", text, sizeof text) || !vt_parse_u64(&domid, text, XENPATHS_DOMID_MAX))
        return vt_fail(why, VT_EUNREACHED, "xenstore does not say which domain this is (node \"domid\")");
    settings->self = (uint32_t)domid;
    node_path(path, settings, "");
    if (platform_watch(path, SETTINGS_TOKEN))
        return vt_fail(why, VT_EUNREACHED, "xenstore: %s cannot be watched", path);
    return VT_OK;
}

void settings_wipe(struct settings *settings)
{
    vt_wipe(settings, sizeof *settings);
    entropy_stop();
}

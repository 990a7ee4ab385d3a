/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/proxynames.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/log.h"

#define PATH_SIZE 320

int proxynames_init(struct proxynames *names, const char *dir, const char *link, bool is_folder, const struct vt_uuid *uuid,
                    struct vt_why *why)
{
    char text[VT_UUID_TEXT] = "";
    struct stat st;
    int len = 0;

    *names = (struct proxynames){.dir = dir};
    vt_uuid_text(text, uuid);
    if (link)
        len = snprintf(names->link, sizeof names->link, "%s%s%s", link, is_folder ? "/" : "", is_folder ? text : "");
    if (len >= (int)sizeof names->link)
        return vt_fail(why, VT_EUSAGE, "--device-link %s: the name is too long", link);
    if (len && lstat(names->link, &st) == 0 && !S_ISLNK(st.st_mode))
        return vt_fail(why, VT_EEXISTS, "--device-link: %s exists and is not a symbolic link: remove it or choose another path",
                       names->link);
    return VT_OK;
}

static void file_of(char path[PATH_SIZE], const struct proxynames *names, uint32_t number)
{
    (void)!snprintf(path, PATH_SIZE, "%s/tpm%u", names->dir, number);
}

/* A whole file or none: udev reads it at a moment of its own. */
static int write_whole(const char *path, const char *text)
{
    char fresh[PATH_SIZE + 8];
    FILE *file;
    int failed;

    snprintf(fresh, sizeof fresh, "%s.new", path);
    file = fopen(fresh, "we");
    if (!file)
        return -1;
    failed = fputs(text, file) < 0;
    failed |= fclose(file);
    return failed || rename(fresh, path) ? -1 : 0;
}

void proxynames_tell_udev(const struct proxynames *names, uint32_t number, const struct vt_uuid *uuid)
{
    char path[PATH_SIZE], text[VT_UUID_TEXT], line[VT_UUID_TEXT + 16];

    file_of(path, names, number);
    vt_uuid_text(text, uuid);
    snprintf(line, sizeof line, "VTPM_UUID=%s\n", text);
    if ((mkdir(names->dir, 0755) && errno != EEXIST) || write_whole(path, line))
        vt_warning("proxy: %s: %s: udev makes no name for /dev/tpm%u", path, strerror(errno), number);
}

void proxynames_link(const struct proxynames *names, uint32_t number)
{
    char fresh[PATH_SIZE], target[32];

    if (!names->link[0])
        return;
    snprintf(fresh, sizeof fresh, "%s.new", names->link);
    snprintf(target, sizeof target, "/dev/tpm%u", number);
    (void)unlink(fresh);
    if (symlink(target, fresh) || rename(fresh, names->link))
        vt_warning("proxy: --device-link: %s: %s", names->link, strerror(errno));
}

void proxynames_remove(const struct proxynames *names, uint32_t number)
{
    char path[PATH_SIZE], target[32], found[32];
    ssize_t n;

    file_of(path, names, number);
    (void)unlink(path);
    n = names->link[0] ? readlink(names->link, found, sizeof found - 1) : -1;
    snprintf(target, sizeof target, "/dev/tpm%u", number);
    /* Another shim may have put its own there since. */
    if (n > 0 && (size_t)n == strlen(target) && memcmp(found, target, (size_t)n) == 0)
        (void)unlink(names->link);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "server/base/boot.h"

#include <fcntl.h>
#include <unistd.h>

#include "server/base/text.h"

int vt_boot_id(uint8_t boot_id[16], struct vt_why *why)
{
    static const char path[] = "/proc/sys/kernel/random/boot_id";
    char text[VT_UUID_TEXT] = "";
    struct vt_uuid uuid;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (fd >= 0)
        close(fd);
    if (n != sizeof text - 1 || !vt_uuid_parse(&uuid, text))
        return vt_fail(why, VT_EIO, "%s cannot be read: is /proc mounted?", path);
    memcpy(boot_id, uuid.bytes, sizeof uuid.bytes);
    return VT_OK;
}

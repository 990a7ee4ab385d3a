/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/host.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>
#include <uv.h>

#include "server/base/text.h"

uint64_t host_now_ms(void)
{
    return uv_hrtime() / 1000000;
}

int host_random(void *ctx VT_UNUSED, unsigned char *out, size_t len)
{
    while (len) {
        ssize_t n = getrandom(out, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        out += n;
        len -= (size_t)n;
    }
    return 0;
}

int host_boot_id(uint8_t boot_id[16], struct vt_why *why)
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

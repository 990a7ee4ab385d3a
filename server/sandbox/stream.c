/* SPDX-License-Identifier: Apache-2.0 */
#include "server/sandbox/stream.h"

#include <errno.h>
#include <unistd.h>

bool sandbox_write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len) {
        ssize_t n = write(fd, bytes, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

bool sandbox_read_all(int fd, uint8_t *to, size_t len)
{
    while (len) {
        ssize_t n = read(fd, to, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        to += n;
        len -= (size_t)n;
    }
    return true;
}

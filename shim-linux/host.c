/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/host.h"

#include <errno.h>
#include <sys/random.h>
#include <uv.h>

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

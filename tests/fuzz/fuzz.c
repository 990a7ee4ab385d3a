/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/alloc.h"

uint8_t fuzz_u8(struct fuzz_src *src)
{
    if (!src->left)
        return 0;
    src->left--;
    return *src->at++;
}

uint16_t fuzz_u16(struct fuzz_src *src)
{
    uint8_t high = fuzz_u8(src);

    return (uint16_t)(high << 8 | fuzz_u8(src));
}

const uint8_t *fuzz_take(struct fuzz_src *src, size_t *len)
{
    const uint8_t *at = src->at;

    *len = VT_MIN(*len, src->left);
    src->at += *len;
    src->left -= *len;
    return at;
}

char *fuzz_text(const uint8_t *bytes, size_t len)
{
    char *text = vt_calloc(1, len + 1);

    FUZZ_CHECK(text);
    if (len)
        memcpy(text, bytes, len);
    return text;
}

const char *fuzz_file(const void *bytes, size_t len)
{
    static char path[64];
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        FUZZ_CHECK(fd >= 0 && !fchmod(fd, 0600));
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    FUZZ_CHECK(!ftruncate(fd, 0));
    FUZZ_CHECK(pwrite(fd, bytes, len, 0) == (ssize_t)len);
    return path;
}

static uint64_t random_state = 1;

void fuzz_random_reset(uint64_t seed)
{
    random_state = seed * 2654435769u + 1;
}

int fuzz_random(void *ctx VT_UNUSED, unsigned char *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        random_state = random_state * 6364136223846793005u + 1442695040888963407u;
        out[i] = (unsigned char)(random_state >> 56);
    }
    return 0;
}

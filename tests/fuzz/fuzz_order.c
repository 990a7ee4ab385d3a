/* SPDX-License-Identifier: Apache-2.0 */
/* The order of messages on an open pair of channels, and hostile bytes behind the handshake; plain_tls.c for TLS. */
#include "tests/fuzz/channel_pair.h"

int LLVMFuzzerInitialize(int *argc VT_UNUSED, char ***argv VT_UNUSED)
{
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct fuzz_src src = {bytes, len};
    struct pair pair;

    pair_start(&pair);
    FUZZ_CHECK(pair_shake(&pair));
    pair_walk(&pair, &src);
    pair_stop(&pair);
    return 0;
}

/* The usual course, in lock step: Hello, Hello, Attach, Attached, PowerOn, PowerResult, Execute, Response ... */
void fuzz_seeds(fuzz_emit emit, void *arg)
{
#define FROM_CLIENT(body) 2, (uint8_t)(12 + (body)-1)
#define FROM_SERVER(body) 3, (uint8_t)(12 + (body)-1)
    static const uint8_t course[] = {FROM_CLIENT(1), FROM_SERVER(1), FROM_CLIENT(2), FROM_SERVER(3),
                                     FROM_CLIENT(4), FROM_SERVER(5), FROM_CLIENT(6), FROM_SERVER(7),
                                     FROM_CLIENT(8), FROM_CLIENT(11), FROM_SERVER(12), FROM_CLIENT(6),
                                     FROM_SERVER(10), FROM_CLIENT(9)};
#undef FROM_CLIENT
#undef FROM_SERVER
    static const uint8_t bytes[] = {11, 8, 0, 0, 0, 4, 0x0a, 2, 8, 1, 10, 4, 0, 0, 64, 1};

    emit(arg, "seed-course", course, sizeof course);
    emit(arg, "seed-bytes", bytes, sizeof bytes);
}

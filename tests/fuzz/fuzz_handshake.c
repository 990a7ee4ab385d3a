/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handshake with real TLS. The first byte: 0 a server is fed the rest in pieces, 1 a client is; 2 a pair shakes
 * hands while the input changes, cuts and adds bytes on the way; 3 the same after an undisturbed handshake. mbedTLS's
 * ServerHello carries the time, which no decision depends on.
 */
#include "server/base/alloc.h"
#include "tests/fuzz/channel_pair.h"

int LLVMFuzzerInitialize(int *argc VT_UNUSED, char ***argv VT_UNUSED)
{
    return 0;
}

/* One side alone against raw bytes: it can never come to be open, since nobody there knows the key. */
static void alone(struct fuzz_src *src, bool server)
{
    struct pair pair = {.spoilt = true};
    struct tls_config config = pair_config(&pair, server);
    struct channel *ch;
    size_t piece = 1 + fuzz_u8(src) * 4u;
    int err;

    fuzz_random_reset(1);
    FUZZ_CHECK(channel_new(&ch, &config) == VT_OK);
    err = channel_handshake(ch, NULL);
    while (err == VT_EAGAIN && src->left) {
        size_t len = piece;
        const uint8_t *at = fuzz_take(src, &len);

        if (channel_feed(ch, at, len))
            break;
        err = channel_handshake(ch, NULL);
        FUZZ_CHECK(err && !channel_is_open(ch));
        FUZZ_CHECK(strlen(channel_identity(ch)) <= TLS_IDENTITY_MAX);
        vt_buf_drop(channel_output(ch), vt_buf_size(channel_output(ch)));
    }
    FUZZ_CHECK(err == VT_EAGAIN || err == VT_EPROTO || err == VT_EAUTH);
    channel_free(ch);
}

/* Flights as they go, with {how many pass, where, by what} from the input between them. */
static void disturbed(struct pair *pair, struct fuzz_src *src)
{
    int err[2] = {VT_EAGAIN, VT_EAGAIN};

    for (int i = 0; i < 40; i++) {
        int side = i & 1;
        struct vt_buf *out = channel_output(pair->side[side]);
        uint8_t how;

        if (err[side] == VT_EAGAIN)
            err[side] = channel_handshake(pair->side[side], NULL);
        FUZZ_CHECK(err[side] == VT_OK || err[side] == VT_EAGAIN || err[side] == VT_EPROTO ||
                   err[side] == VT_EAUTH);
        if (!vt_buf_size(out))
            continue;
        how = fuzz_u8(src);
        if (how) {
            uint16_t at = fuzz_u16(src);

            pair->spoilt = true;
            out->data[out->off + at % vt_buf_size(out)] ^= how;
        }
        pair_carry(pair, side, how & 1 ? 1u + fuzz_u16(src) : SIZE_MAX);
    }
    /* (A record's header is under no MAC: what was changed may still succeed.) */
    if (!pair->spoilt)
        FUZZ_CHECK(!err[CLIENT] && !err[SERVER]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct fuzz_src src = {bytes, len};
    uint8_t mode = fuzz_u8(&src) % 4;
    struct pair pair;

    if (mode < 2) {
        alone(&src, mode == 0);
        return 0;
    }
    pair_start(&pair);
    if (mode == 2)
        disturbed(&pair, &src);
    else
        FUZZ_CHECK(pair_shake(&pair));
    pair_walk(&pair, &src);
    pair_stop(&pair);
    return 0;
}

/* ---- Seeds: a real handshake's flights ---- */

static void emit_flight(fuzz_emit emit, void *arg, uint8_t mode, const char *name, const struct vt_buf *flight)
{
    uint8_t bytes[4096] = {mode, 0xff};

    FUZZ_CHECK(vt_buf_size(flight) + 2 <= sizeof bytes);
    memcpy(bytes + 2, vt_buf_bytes(flight), vt_buf_size(flight));
    emit(arg, name, bytes, 2 + vt_buf_size(flight));
}

/* All that one side sent, one flight behind the other. */
static void record_flights(struct vt_buf said[2])
{
    struct pair pair;
    size_t moved = 1;

    pair_start(&pair);
    while (moved) {
        moved = 0;
        for (int side = CLIENT; side <= SERVER; side++) {
            const struct vt_buf *out = channel_output(pair.side[side]);

            (void)!channel_handshake(pair.side[side], NULL);
            FUZZ_CHECK(vt_buf_put(&said[side], vt_buf_bytes(out), vt_buf_size(out)) == VT_OK);
            moved += pair_carry(&pair, side, SIZE_MAX);
        }
    }
    pair_stop(&pair);
}

void fuzz_seeds(fuzz_emit emit, void *arg)
{
    static const uint8_t undisturbed[] = {2, 0, 0, 0, 0, 0, 0, 2, 12, 3, 12, 2, 13, 3, 14};
    static const uint8_t disturbed_seed[] = {2, 0, 4, 0, 9, 1, 0, 3, 0, 80};
    static const uint8_t after[] = {3, 2, 12, 3, 12, 2, 13, 3, 14, 0, 15, 8, 1, 0, 7, 4, 255, 7};
    struct vt_buf said[2];

    vt_buf_init(&said[CLIENT], 4000);
    vt_buf_init(&said[SERVER], 4000);
    record_flights(said);
    emit_flight(emit, arg, 0, "seed-to-server", &said[CLIENT]);
    emit_flight(emit, arg, 1, "seed-to-client", &said[SERVER]);
    emit(arg, "seed-undisturbed", undisturbed, sizeof undisturbed);
    emit(arg, "seed-disturbed", disturbed_seed, sizeof disturbed_seed);
    emit(arg, "seed-after", after, sizeof after);
    vt_buf_free(&said[CLIENT]);
    vt_buf_free(&said[SERVER]);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "server/sandbox/keys.h"
#include "server/sandbox/messages.h"
#include "server/sandbox/stream.h"

#define ASK (4 + 1 + SANDBOX_KEY_ASK_LEN)

static bool send_ask(int fd, unsigned bits, uint32_t e)
{
    uint8_t frame[ASK];
    struct wr w = wr_to(frame, sizeof frame);

    wr_put32(&w, ASK - 4);
    wr_put8(&w, SANDBOX_KEY);
    wr_put32(&w, bits);
    wr_put32(&w, e);
    return sandbox_write_all(fd, frame, w.len);
}

/* A key of somebody else's making is believed as little as one from a blob. */
static bool is_sound(const struct cr_rsa_key *key)
{
    struct cr_rsa *rsa;
    int err = cr_rsa_load(&rsa, key);

    if (!err)
        cr_rsa_free(rsa);
    return !err;
}

/* *has_key: it is there and sound. */
static int take_key(int fd, struct cr_rsa_key *key, unsigned bits, uint32_t e, bool *has_key)
{
    uint8_t head[SANDBOX_TOLD_HEAD] = {0}, bytes[SANDBOX_KEY_LEN_MAX];
    struct rd r;
    size_t len = 0;
    int told = VT_OK, err = VT_OK;

    if (!sandbox_read_all(fd, head, sizeof head))
        return VT_ECLOSED;
    if (!sandbox_rd_told(head, SANDBOX_KEY_IS, sizeof bytes, &told, &len))
        return VT_EPROTO;
    if (!sandbox_read_all(fd, bytes, len))
        err = VT_ECLOSED;
    r = rd_from(bytes, len);
    *has_key = !err && !told && sandbox_rd_key(&r, key, bits, e) && is_sound(key);
    vt_wipe(bytes, sizeof bytes);
    return err;
}

int sandbox_ask_key(int fd, struct cr_rsa_key *key, unsigned bits, uint32_t e, struct cr_drbg *drbg)
{
    bool has_key = false;
    int err;

    if (!cr_rsa_size_fits(bits, e))
        return VT_EUSAGE;
    cr_rsa_key_wipe(key);
    if (!send_ask(fd, bits, e))
        return VT_ECLOSED;
    err = take_key(fd, key, bits, e, &has_key);
    if (!err && has_key)
        return VT_OK;
    cr_rsa_key_wipe(key);
    return err ? err : cr_rsa_generate(key, bits, e, drbg);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine on stdin and stdout, with the platform's side that no front end of the broker has for tests:
 * localities, TPM_Init at will, the locality 4 hash. After every command it is killed: only what the dirty
 * bits announced is kept, and the next command runs on what thaws from that.
 *
 * Request: operation, locality, length (4 bytes), bytes. Answer: length, bytes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/engine/tpm.h"
#include "server/wire/cursor.h"

enum operation {
    OP_COMMAND = 'C',
    OP_INIT = 'I',
    OP_HASH = 'H',          /* HASH_START, HASH_DATA with the bytes, HASH_END */
    OP_ESTABLISHED = 'E',   /* one byte */
    OP_RESET_ESTABLISHED = 'R'
};

#define REQUEST_MAX (2 * TPM_BUFFER)
#define STEP_US 1000

struct kept {
    size_t permanent_len, volatile_len;
    uint8_t permanent[TPM_FROZEN_PERMANENT_MAX];
    uint8_t state[TPM_FROZEN_VOLATILE_MAX];
};

struct tool {
    struct tpm *tpm;
    uint64_t now_us;
    struct kept kept;
};

static void die(const char *what, int err)
{
    fprintf(stderr, "engine_tool: %s: %s\n", what, vt_err_text(err));
    exit(1);
}

static bool transfer(int fd, uint8_t *bytes, size_t len, bool out)
{
    while (len) {
        ssize_t n = out ? write(fd, bytes, len) : read(fd, bytes, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

/* Freezes what is dirty over what was kept before. */
static void keep(struct tool *tool, unsigned dirty)
{
    struct kept *kept = &tool->kept;
    int err = VT_OK;

    if (dirty & TPM_DIRTY_PERMANENT) {
        kept->permanent_len = sizeof kept->permanent;
        err = tpm_freeze_permanent(tool->tpm, kept->permanent, &kept->permanent_len);
    }
    if (!err && dirty & TPM_DIRTY_VOLATILE) {
        kept->volatile_len = sizeof kept->state;
        err = tpm_freeze_volatile(tool->tpm, kept->state, &kept->volatile_len);
    }
    if (err)
        die("freeze", err);
}

static void kill_and_thaw(struct tool *tool)
{
    struct vt_why why = {{0}};
    int err;

    tpm_free(tool->tpm);
    err = tpm_thaw(&tool->tpm, tool->kept.permanent, tool->kept.permanent_len, tool->kept.state,
                   tool->kept.volatile_len, NULL, &why);
    if (err)
        die(why.text, err);
}

static size_t perform(struct tool *tool, uint8_t op, uint8_t locality, const uint8_t *in, size_t len,
                      uint8_t out[TPM_BUFFER])
{
    unsigned dirty = TPM_DIRTY_PERMANENT | TPM_DIRTY_VOLATILE;
    struct wr w = wr_to(out, TPM_BUFFER);
    size_t out_len = 4;
    uint32_t rc = 0;
    int err;

    switch (op) {
    case OP_COMMAND:
        tool->now_us += STEP_US;
        tpm_execute(tool->tpm, locality, tool->now_us, in, len, out, &out_len, &dirty);
        break;
    case OP_INIT:
        err = tpm_init(tool->tpm);
        if (err)
            die("TPM_Init", err);
        wr_put32(&w, rc);
        break;
    case OP_HASH:
        rc = tpm_hash_start(tool->tpm);
        if (!rc)
            rc = tpm_hash_data(tool->tpm, in, len);
        if (!rc)
            rc = tpm_hash_end(tool->tpm);
        wr_put32(&w, rc);
        break;
    case OP_ESTABLISHED:
        wr_put32(&w, tpm_established(tool->tpm));
        break;
    case OP_RESET_ESTABLISHED:
        wr_put32(&w, tpm_reset_established(tool->tpm, locality));
        break;
    default:
        die("operation", VT_EPROTO);
    }
    keep(tool, dirty);
    kill_and_thaw(tool);
    return out_len;
}

static void serve(struct tool *tool)
{
    static uint8_t in[REQUEST_MAX], out[4 + TPM_BUFFER];
    uint8_t head[6];

    while (transfer(STDIN_FILENO, head, sizeof head, false)) {
        struct rd r = rd_from(head, sizeof head);
        uint8_t op = rd_get8(&r), locality = rd_get8(&r);
        uint32_t len = rd_get32(&r);
        struct wr w = wr_to(out, sizeof out);

        if (len > sizeof in || !transfer(STDIN_FILENO, in, len, false))
            die("request", VT_EPROTO);
        len = (uint32_t)perform(tool, op, locality, in, len, out + 4);
        wr_put32(&w, len);
        if (!transfer(STDOUT_FILENO, out, 4 + len, true))
            die("answer", VT_EIO);
    }
}

int main(void)
{
    static struct tool tool;
    uint8_t seed[CR_DRBG_SEED];
    struct tpm_profile profile = {0};
    int err = cr_init();

    if (!err)
        err = cr_os_random(seed, sizeof seed);
    if (!err)
        err = tpm_manufacture(&tool.tpm, &profile, seed, true, NULL);
    if (err)
        die("manufacture", err);
    keep(&tool, TPM_DIRTY_PERMANENT);
    serve(&tool);
    tpm_free(tool.tpm);
    return 0;
}

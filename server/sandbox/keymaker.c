/* SPDX-License-Identifier: Apache-2.0 */
#include "server/sandbox/keymaker.h"

#include <sched.h>
#include <sys/resource.h>

#include "server/sandbox/keys.h"
#include "server/sandbox/stream.h"

#define ASK  (4 + 1 + CR_DRBG_SEED + SANDBOX_KEY_ASK_LEN)
#define MADE (4 + 1 + 4 + SANDBOX_KEY_LEN_MAX)
/*
 * SCHED_BATCH: it never pushes a sandbox aside when it wakes. Nicer by 10, a tenth of a processor that others want whole, and
 * not 19 or SCHED_IDLE, a hundredth or less: a guest may wait for this key, and its driver for seconds only.
 */
#define NICE 10

enum { EXIT_CLOSED = 0, EXIT_IO = 4 };

void keymaker_lower_priority(void)
{
    const struct sched_param none = {0};

    (void)sched_setscheduler(0, SCHED_BATCH, &none);
    (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + NICE);
}

/* The engine will look at it again; a fault in this process shall not get as far as that. */
static int make(struct cr_rsa_key *key, struct rd *r)
{
    const uint8_t *seed = rd_take(r, CR_DRBG_SEED);
    struct cr_drbg drbg;
    struct cr_rsa *rsa;
    unsigned bits;
    uint32_t e;
    int err;

    if (!sandbox_rd_key_ask(r, &bits, &e))
        return VT_EUSAGE;
    cr_drbg_init(&drbg, seed, "key maker", 9);
    err = cr_rsa_make(key, bits, e, &drbg);
    vt_wipe(&drbg, sizeof drbg);
    if (!err)
        err = cr_rsa_load(&rsa, key);
    if (!err)
        cr_rsa_free(rsa);
    return err;
}

static bool answer(int fd, int err, const struct cr_rsa_key *key)
{
    uint8_t frame[MADE];
    struct wr w = wr_to(frame, sizeof frame);
    bool sent;

    w.len = 4;
    wr_put8(&w, SANDBOX_KEY_MADE);
    wr_put32(&w, (uint32_t)err);
    if (!err)
        sandbox_wr_key(&w, key);
    for (int i = 0; i < 4; i++)
        frame[i] = (uint8_t)((w.len - 4) >> (24 - 8 * i));
    sent = !w.bad && sandbox_write_all(fd, frame, w.len);
    vt_wipe(frame, sizeof frame);
    return sent;
}

static bool turn(int fd, const uint8_t frame[ASK])
{
    CR_SECRET_RSA key = {.pub = {0}};
    struct rd r = rd_from(frame, ASK);
    int err;

    if (rd_get32(&r) != ASK - 4 || rd_get8(&r) != SANDBOX_KEY_MAKE)
        return false;
    err = make(&key, &r);
    return answer(fd, err, &key);
}

int keymaker_serve(int fd)
{
    uint8_t frame[ASK];
    bool go_on = true;

    while (go_on) {
        if (!sandbox_read_all(fd, frame, sizeof frame))
            return EXIT_CLOSED;
        go_on = turn(fd, frame);
        vt_wipe(frame, sizeof frame);
    }
    return EXIT_IO;
}

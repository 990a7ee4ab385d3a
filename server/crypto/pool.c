/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random numbers for keys: the operating system's, and over them (XOR) those of a pool that other sources were stirred
 * into. Neither can make the other worse. The one state of this room: a lock, and a generator that is empty until
 * something was mixed in. It is not inherited: engines are exec'ed.
 */
#include <pthread.h>

#include "server/crypto/crypto.h"

static struct {
    pthread_mutex_t lock;
    bool is_seeded;
    struct cr_drbg drbg;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

int cr_pool_mix(const void *input, size_t len)
{
    static const char label[] = "vtpm-server key pool";
    uint8_t seed[CR_DRBG_SEED];
    int err = cr_os_random(seed, sizeof seed);

    if (err)
        return err;
    pthread_mutex_lock(&pool.lock);
    if (!pool.is_seeded)
        cr_drbg_init(&pool.drbg, seed, label, sizeof label);
    pool.is_seeded = true;
    cr_drbg_stir(&pool.drbg, input, len);
    pthread_mutex_unlock(&pool.lock);
    vt_wipe(seed, sizeof seed);
    return VT_OK;
}

static void add_pool(uint8_t *out, size_t len)
{
    uint8_t more[32];

    pthread_mutex_lock(&pool.lock);
    while (pool.is_seeded && len) {
        size_t part = VT_MIN(len, sizeof more);

        cr_drbg_random(&pool.drbg, more, part);
        for (size_t i = 0; i < part; i++)
            out[i] ^= more[i];
        out += part;
        len -= part;
    }
    pthread_mutex_unlock(&pool.lock);
    vt_wipe(more, sizeof more);
}

int cr_key_random(void *out, size_t len)
{
    int err = cr_os_random(out, len);

    if (!err)
        add_pool(out, len);
    return err;
}

/* ---- SP 800-90B, 4.4: samples of 8 bits of which at least 4 bits of entropy are expected; false alarm 2^-30 ---- */

#define REPEATS_MAX 9   /* 4.4.1: 1 + 30 / 4, so many of the same in a row */
#define WINDOW      512 /* 4.4.2 */
#define SAME_MAX    71  /* so many of a window's first value in that window */

static bool repeats(const uint8_t *samples, size_t len)
{
    size_t run = 1;

    for (size_t i = 1; i < len; i++) {
        run = samples[i] == samples[i - 1] ? run + 1 : 1;
        if (run >= REPEATS_MAX)
            return true;
    }
    return false;
}

static bool is_uneven(const uint8_t *window)
{
    size_t same = 0;

    for (size_t i = 0; i < WINDOW; i++)
        same += window[i] == window[0];
    return same >= SAME_MAX;
}

bool cr_samples_healthy(const uint8_t *samples, size_t len)
{
    if (len < WINDOW || repeats(samples, len))
        return false;
    for (size_t at = 0; at + WINDOW <= len; at += WINDOW)
        if (is_uneven(samples + at))
            return false;
    return true;
}

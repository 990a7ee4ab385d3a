/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-minios/entropy.h"

#include <mbedtls/hmac_drbg.h>
#include <mbedtls/version.h>

#include "server/base/secret.h"
#include "shim-minios/platform.h"

/* What 2.28 calls so is 3.x's only one. */
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
#define UPDATE mbedtls_hmac_drbg_update
#else
#define UPDATE mbedtls_hmac_drbg_update_ret
#endif

static struct {
    mbedtls_hmac_drbg_context drbg;
    bool is_started;
    bool has_rdrand;
} entropy;

/*
 * The drbg's own source, at the start and every 10,000 calls. Where there is no RDRAND the toolstack's seed is mixed in
 * right after, and this is only what differs from run to run.
 */
static int on_entropy(void *ctx VT_UNUSED, unsigned char *out, size_t len)
{
    memset(out, 0, len);
    if (entropy.has_rdrand)
        return platform_entropy(out, len) ? MBEDTLS_ERR_HMAC_DRBG_ENTROPY_SOURCE_FAILED : 0;
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)platform_jitter();
    return 0;
}

int entropy_start(const uint8_t *seed, struct vt_why *why)
{
    uint64_t first[2] = {platform_jitter(), platform_now_ms()};
    uint8_t probe[8];
    int err = platform_entropy(probe, sizeof probe);

    vt_wipe(probe, sizeof probe);
    entropy.has_rdrand = !err;
    if (err && !seed)
        return vt_fail(why, VT_ENOTSUP, "no random numbers: the processor has no RDRAND, and there is no node seed of %d bytes "
                       "in hex", ENTROPY_SEED);
    mbedtls_hmac_drbg_init(&entropy.drbg);
    if (mbedtls_hmac_drbg_seed(&entropy.drbg, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), on_entropy, NULL,
                               (const unsigned char *)first, sizeof first))
        return vt_fail(why, VT_ECRYPTO, "the random generator cannot be seeded");
    entropy.is_started = true;
    entropy_mix(NULL, seed, seed ? ENTROPY_SEED : 0);
    return VT_OK;
}

void entropy_stop(void)
{
    if (entropy.is_started)
        mbedtls_hmac_drbg_free(&entropy.drbg);
    entropy.is_started = false;
}

void entropy_mix(void *ctx VT_UNUSED, const uint8_t *bytes, size_t len)
{
    if (entropy.is_started && len)
        (void)UPDATE(&entropy.drbg, bytes, len);
}

int entropy_random(void *ctx VT_UNUSED, unsigned char *out, size_t len)
{
    while (entropy.is_started && len) {
        size_t piece = VT_MIN(len, (size_t)MBEDTLS_HMAC_DRBG_MAX_REQUEST);

        if (mbedtls_hmac_drbg_random(&entropy.drbg, out, piece))
            return -1;
        out += piece;
        len -= piece;
    }
    return entropy.is_started ? 0 : -1;
}

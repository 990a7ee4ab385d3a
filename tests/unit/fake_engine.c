/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fake_engine.h"

#include "server/base/alloc.h"
#include "server/engine/swtpm.h"
#include "server/wire/cursor.h"

struct tpm {
    uint32_t size;          /* of the permanent state */
    uint32_t permanent, volatile_count;
    bool is_on, has_ek, has_certificate;
    uint8_t stirred;
};

#define MAGIC 0x46414b45u

int tpm_manufacture(struct tpm **tpm, const struct tpm_profile *profile, const uint8_t seed[CR_DRBG_SEED],
                    bool with_ek, const struct tpm_ops *ops)
{
    struct tpm *t;

    (void)ops;
    if (profile->nv_bytes > TPM_FROZEN_PERMANENT_MAX)
        return VT_EUSAGE;
    t = VT_NEW(struct tpm);
    if (!t)
        return VT_ENOMEM;
    t->size = VT_MAX(profile->nv_bytes, (uint32_t)FAKE_PERMANENT_MIN);
    t->permanent = seed[0];
    t->has_ek = with_ek;
    *tpm = t;
    return VT_OK;
}

/* A file of one byte is a TPM with an endorsement key; any other is refused with bytes that cannot be shown. */
int tpm_from_swtpm(struct tpm **tpm, const struct tpm_profile *profile, const uint8_t seed[CR_DRBG_SEED],
                   const uint8_t *file, size_t len, const struct tpm_swtpm_key *key, const struct tpm_ops *ops,
                   struct tpm_swtpm_facts *facts, struct vt_why *why)
{
    (void)file;
    *facts = (struct tpm_swtpm_facts){.has_ek = true, .nv_areas = (uint32_t)len, .counters = key->len};
    if (len != 1)
        return vt_fail(why, VT_EDAMAGED, "field\x1b[31m at\n byte 7");
    return tpm_manufacture(tpm, profile, seed, true, ops);
}

int tpm_thaw(struct tpm **tpm, const uint8_t *permanent, size_t permanent_len, const uint8_t *volatile_state,
             size_t volatile_len, const struct tpm_ops *ops, struct vt_why *why)
{
    struct rd p = rd_from(permanent, permanent_len), v = rd_from(volatile_state, volatile_len);
    struct tpm *t = VT_NEW(struct tpm);

    (void)ops;
    if (!t)
        return VT_ENOMEM;
    t->is_on = volatile_len != 0;
    t->size = (uint32_t)permanent_len;
    if (rd_get32(&p) != MAGIC || permanent_len < FAKE_PERMANENT_MIN) {
        tpm_free(t);
        return vt_fail(why, VT_EDAMAGED, "permanent state: bad magic");
    }
    t->permanent = rd_get32(&p);
    t->has_ek = rd_get8(&p) != 0;
    t->volatile_count = t->is_on ? rd_get32(&v) : 0;
    *tpm = t;
    return VT_OK;
}

int tpm_freeze_permanent(const struct tpm *tpm, uint8_t *out, size_t *len)
{
    struct wr w = wr_to(out, *len);

    wr_put32(&w, MAGIC);
    wr_put32(&w, tpm->permanent);
    wr_put8(&w, tpm->has_ek);
    while (!w.bad && w.len < tpm->size)
        wr_put8(&w, (uint8_t)w.len);
    *len = w.len;
    return w.bad ? VT_ETOOBIG : VT_OK;
}

int tpm_freeze_volatile(const struct tpm *tpm, uint8_t *out, size_t *len)
{
    struct wr w = wr_to(out, *len);

    if (tpm->is_on)
        wr_put32(&w, tpm->volatile_count);
    *len = w.len;
    return w.bad ? VT_ETOOBIG : VT_OK;
}

void tpm_free(struct tpm *tpm)
{
    vt_free(tpm);
}

bool tpm_is_on(const struct tpm *tpm)
{
    return tpm->is_on;
}

int tpm_init(struct tpm *tpm)
{
    tpm->is_on = true;
    tpm->volatile_count = 0;
    return VT_OK;
}

void tpm_power_off(struct tpm *tpm)
{
    tpm->is_on = false;
}

void tpm_stir(struct tpm *tpm, const void *entropy, size_t len)
{
    if (len)
        memcpy(&tpm->stirred, entropy, 1);
}

bool tpm_ek_sha256(const struct tpm *tpm, uint8_t out[CR_SHA256_LEN])
{
    if (tpm->has_ek)
        memset(out, 0xE5, CR_SHA256_LEN);
    return tpm->has_ek;
}

/* Its modulus begins with 0xE5; a certificate is only counted. */
const struct cr_rsa_pub *tpm_ek_public(const struct tpm *tpm)
{
    static const struct cr_rsa_pub ek = {.e = 65537, .bytes = CR_RSA_MAX, .n = {0xE5}};

    return tpm->has_ek ? &ek : NULL;
}

bool tpm_pcrs(const struct tpm *tpm, uint8_t out[TPM_PCRS_LEN])
{
    memset(out, 0x5C, TPM_PCRS_LEN);
    return tpm_is_on(tpm);
}

struct tpm_blob tpm_ek_certificate(struct tpm *tpm)
{
    return (struct tpm_blob){.data = (const uint8_t *)"certificate", .len = tpm->has_certificate ? 11 : 0};
}

int tpm_install_ek_certificate(struct tpm *tpm, const uint8_t *der, size_t len)
{
    (void)der;
    if (!len || len > TPM_EK_CERT_MAX)
        return VT_EUSAGE;
    if (tpm->is_on || tpm->has_certificate)
        return VT_ECONFLICT;
    tpm->has_certificate = true;
    tpm->permanent++;
    return VT_OK;
}

uint32_t tpm_hash_start(struct tpm *tpm)
{
    tpm->volatile_count = 100;
    return 0;
}

uint32_t tpm_hash_data(struct tpm *tpm, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        tpm->volatile_count += data[i];
    return 0;
}

uint32_t tpm_hash_end(struct tpm *tpm)
{
    tpm->permanent++;
    return 0;
}

bool tpm_established(const struct tpm *tpm)
{
    return tpm->volatile_count >= 100;
}

uint32_t tpm_reset_established(struct tpm *tpm, uint8_t locality)
{
    if (locality < 3)
        return 61; /* TPM_BAD_LOCALITY */
    tpm->volatile_count = 0;
    return 0;
}

void tpm_execute(struct tpm *tpm, uint8_t locality, uint64_t now_us, const uint8_t *cmd, size_t cmd_len,
                 uint8_t *rsp, size_t *rsp_len, unsigned *dirty)
{
    struct wr w = wr_to(rsp, TPM_BUFFER);
    size_t echo = VT_MIN(cmd_len, (size_t)(TPM_BUFFER - FAKE_RESPONSE_HEAD));

    *dirty = cmd_len > 10 ? cmd[10] & 3u : 0;
    tpm->permanent += *dirty & TPM_DIRTY_PERMANENT ? 1 : 0;
    tpm->volatile_count += *dirty & TPM_DIRTY_VOLATILE ? 1 : 0;
    wr_put16(&w, 0x00C4);
    wr_put32(&w, (uint32_t)(FAKE_RESPONSE_HEAD + echo));
    wr_put32(&w, 0);
    wr_put8(&w, locality);
    wr_put64(&w, now_us);
    wr_put32(&w, tpm->permanent);
    wr_put32(&w, tpm->volatile_count);
    wr_copy(&w, cmd, echo);
    *rsp_len = w.len;
}

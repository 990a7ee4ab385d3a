/* SPDX-License-Identifier: Apache-2.0 */
/* The platform's locality 4 commands and the establishment bit (PC Client TIS 1.21, 11.2-11.3). */
#include "server/engine/engine.h"

#define LAUNCH_FIRST 17
#define LAUNCH_LAST  22
#define BLOCK        64

uint32_t tpm_hash_start(struct tpm *tpm)
{
    if (!tpm->on || tpm->stany.post_init)
        return TPM_INVALID_POSTINIT;
    if (tpm->stany.failed)
        return TPM_FAILEDSELFTEST;
    tpm->perm.flags.tpm_established = true;
    tpm->stany.tos_present = true;
    for (unsigned pcr = LAUNCH_FIRST; pcr <= LAUNCH_LAST; pcr++)
        memset(tpm->stclear.pcr[pcr], 0, TPM_DIGEST_LEN);
    cr_sha1_start(&tpm->stany.hash);
    tpm->stany.hash_active = true;
    tpm->stany.hash_tail_len = 0;
    return TPM_SUCCESS;
}

uint32_t tpm_hash_data(struct tpm *tpm, const uint8_t *data, size_t len)
{
    struct stany *s = &tpm->stany;
    size_t whole;

    if (!tpm->on || !s->hash_active)
        return TPM_SHA_THREAD;
    if (!len)
        return TPM_SUCCESS;
    /* Fill the block begun before. */
    if (s->hash_tail_len) {
        size_t part = VT_MIN(len, (size_t)(BLOCK - s->hash_tail_len));

        memcpy(s->hash_tail + s->hash_tail_len, data, part);
        s->hash_tail_len = (uint8_t)(s->hash_tail_len + part);
        data += part;
        len -= part;
        if (s->hash_tail_len < BLOCK)
            return TPM_SUCCESS;
        cr_sha1_blocks(&s->hash, s->hash_tail, BLOCK);
        s->hash_tail_len = 0;
    }
    whole = len & ~(size_t)(BLOCK - 1);
    if (whole)
        cr_sha1_blocks(&s->hash, data, whole);
    s->hash_tail_len = (uint8_t)(len - whole);
    if (s->hash_tail_len)
        memcpy(s->hash_tail, data + whole, s->hash_tail_len);
    return TPM_SUCCESS;
}

uint32_t tpm_hash_end(struct tpm *tpm)
{
    struct stany *s = &tpm->stany;
    uint8_t digest[TPM_DIGEST_LEN];

    if (!tpm->on || !s->hash_active)
        return TPM_SHA_THREAD;
    cr_sha1_finish(&s->hash, s->hash_tail, s->hash_tail_len, digest);
    s->hash_active = false;
    s->hash_tail_len = 0;
    /* As if from zero: also when something was extended in between. */
    memset(tpm->stclear.pcr[LAUNCH_FIRST], 0, TPM_DIGEST_LEN);
    pcr_extend(tpm, LAUNCH_FIRST, digest);
    return TPM_SUCCESS;
}

bool tpm_established(const struct tpm *tpm)
{
    return tpm->perm.flags.tpm_established;
}

uint32_t tpm_reset_established(struct tpm *tpm, uint8_t locality)
{
    if (locality != 3 && locality != 4)
        return TPM_BAD_LOCALITY;
    tpm->perm.flags.tpm_established = false;
    return TPM_SUCCESS;
}

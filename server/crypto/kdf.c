/* SPDX-License-Identifier: Apache-2.0 */
#include "server/crypto/backend.h"

/* RFC 5869, 2.2 and 2.3 */
int cr_hkdf(uint8_t *out, size_t out_len, const void *key, size_t key_len, const void *salt, size_t salt_len,
            const char *label)
{
    VT_SECRET_KEY prk;
    VT_SECRET_KEY block;
    size_t block_len = 0;

    if (out_len > 255 * sizeof block.bytes)
        return VT_EUSAGE;
    /* An empty salt stands for 32 zero bytes: HMAC pads its key with zeros anyway. */
    cr_hmac_sha256v(prk.bytes, salt, salt_len, &CR_SLICE(key, key_len), 1);
    for (uint8_t i = 1; out_len; i++) {
        struct cr_slice parts[] = { CR_SLICE(block.bytes, block_len), CR_SLICE(label, strlen(label)),
                                    CR_SLICE(&i, 1) };
        size_t part = VT_MIN(out_len, sizeof block.bytes);

        cr_hmac_sha256v(block.bytes, prk.bytes, sizeof prk.bytes, parts, VT_COUNT(parts));
        block_len = sizeof block.bytes;
        memcpy(out, block.bytes, part);
        out += part;
        out_len -= part;
    }
    return VT_OK;
}

int cr_scrypt(uint8_t *out, size_t out_len, const void *pass, size_t pass_len, const void *salt,
              size_t salt_len, unsigned log2_n, unsigned r, unsigned p)
{
    if (log2_n < 10 || log2_n > 20 || r < 1 || r > 16 || p < 1 || p > 4)
        return VT_EUSAGE;
    /* The output is a key; the bounds also keep to libcrypto's int lengths. */
    if (!out_len || out_len > 4096 || pass_len > INT32_MAX || salt_len > INT32_MAX)
        return VT_EUSAGE;
    return CR_BACKEND.scrypt(out, out_len, pass_len ? pass : "", pass_len, salt_len ? salt : "", salt_len,
                             log2_n, r, p);
}

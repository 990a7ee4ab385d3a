/* SPDX-License-Identifier: Apache-2.0 */
/* The key in a certificate that an administrator brings: the input is the certificate. */
#include "server/wire/certificate.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/make_certificate.h"

int LLVMFuzzerInitialize(int *argc VT_UNUSED, char ***argv VT_UNUSED)
{
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct certificate_key key;

    if (!certificate_key(&key, bytes, len))
        return 0;
    /* A number in its shortest form, inside the bytes, and not all of them. */
    FUZZ_CHECK(key.modulus.len && key.modulus.len < len && key.modulus.data[0]);
    FUZZ_CHECK(key.modulus.data > bytes && key.modulus.data + key.modulus.len < bytes + len);
    FUZZ_CHECK(key.exponent);
    /* Nothing may be missing or left over. */
    FUZZ_CHECK(!certificate_key(&key, bytes, len - 1));
    return 0;
}

void fuzz_seeds(fuzz_emit emit, void *arg)
{
    static const uint8_t modulus[256] = {0xC3, 1, 2, 3};
    struct certificate_parts parts = {
        .modulus = modulus, .modulus_len = sizeof modulus, .exponent = 65537, .padding = 256};
    uint8_t der[4096];

    emit(arg, "seed-rsa", der, make_certificate(der, &parts));
    parts.oaep = true;
    emit(arg, "seed-oaep", der, make_certificate(der, &parts));
    parts.padding = 0;
    parts.modulus_len = 4;
    emit(arg, "seed-small", der, make_certificate(der, &parts));
    parts.elliptic = true;
    emit(arg, "seed-elliptic", der, make_certificate(der, &parts));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The shim's credential file: the input is the file. */
#include "shim-linux/credential.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *argc VT_UNUSED, char ***argv VT_UNUSED)
{
    return 0;
}

static void check_accepted(const struct credential *credential)
{
    struct vt_uuid uuid;

    FUZZ_CHECK(memchr(credential->identity, 0, sizeof credential->identity));
    if (!strncmp(credential->identity, "host:", 5)) {
        FUZZ_CHECK(vt_name_valid(credential->identity + 5));
        return;
    }
    FUZZ_CHECK(credential->has_uuid && vt_uuid_parse(&uuid, credential->identity));
    FUZZ_CHECK(vt_uuid_equal(&uuid, &credential->uuid));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const struct credential nothing;
    struct credential credential;
    struct vt_why why = {{0}};
    int err;

    memset(&credential, 0xa5, sizeof credential);
    err = credential_read(&credential, fuzz_file(bytes, len), &why);
    FUZZ_CHECK(err == VT_OK || err == VT_EUSAGE);
    if (err) {
        /* Half a credential is none, and nothing of its key stays behind. */
        FUZZ_CHECK(why.text[0] && !memcmp(&credential, &nothing, sizeof nothing));
        return 0;
    }
    check_accepted(&credential);
    credential_wipe(&credential);
    return 0;
}

void fuzz_seeds(fuzz_emit emit, void *arg)
{
#define KEY "key=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"
    static const char instance[] = "# a comment\nuuid=0d2fa4b2-6a4f-4a58-9a0c-3c0a5c0d7a11\n" KEY;
    static const char host[] = "identity=host:rack-7.example\n\n" KEY;
    static const char both[] = "uuid=0D2FA4B2-6A4F-4A58-9A0C-3C0A5C0D7A11\nidentity=host:h\n" KEY;
    static const char twice[] = KEY KEY;
#undef KEY

    emit(arg, "seed-instance", instance, sizeof instance - 1);
    emit(arg, "seed-host", host, sizeof host - 1);
    emit(arg, "seed-both", both, sizeof both - 1);
    emit(arg, "seed-twice", twice, sizeof twice - 1);
}

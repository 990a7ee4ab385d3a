/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs on instances that may come from another server by live migration. */
#include "server/ctl/verbs.h"

#include "server/base/alloc.h"
#include "server/base/secret.h"
#include "server/base/text.h"

#define CREDENTIAL_MAX 4096

/* The value behind "NAME=" on a line of its own; at most size - 1 characters. */
static bool find_value(const char *text, const char *name, char *out, size_t size)
{
    size_t name_len = strlen(name);

    while (*text) {
        size_t len = strcspn(text, "\r\n");

        if (len > name_len && strncmp(text, name, name_len) == 0 && text[name_len] == '=') {
            len -= name_len + 1;
            if (len >= size)
                return false;
            memcpy(out, text + name_len + 1, len);
            out[len] = '\0';
            return true;
        }
        text += len;
        text += strspn(text, "\r\n");
    }
    return false;
}

static int read_credential(const char *path, char uuid[VT_UUID_TEXT], uint8_t key[32], struct vt_why *why)
{
    char hex[2 * 32 + 1] = "";
    struct vt_uuid parsed;
    uint8_t *bytes;
    size_t len;
    int err = load_file(path, CREDENTIAL_MAX, &bytes, &len, why);

    if (err)
        return err;
    if (memchr(bytes, '\0', len) || !find_value((char *)bytes, "uuid", uuid, VT_UUID_TEXT) ||
        !vt_uuid_parse(&parsed, uuid) || !find_value((char *)bytes, "key", hex, sizeof hex) || !vt_unhex(key, 32, hex))
        err = vt_fail(why, VT_EUSAGE, "%s is no credential of an instance: lines uuid= and key=, as `credential-out` "
                                      "makes them", path);
    vt_wipe(hex, sizeof hex);
    vt_free_wiped(bytes, len);
    return err;
}

int run_expect(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceExpect expect = VTPM__INSTANCE_EXPECT__INIT;
    struct vt_why why = {0};
    char uuid[VT_UUID_TEXT];
    uint8_t key[32];
    int code, err = read_credential(operands[0], uuid, key, &why);

    if (err)
        return ctl_fail(a, err, &why);
    expect.uuid = uuid;
    expect.key = (ProtobufCBinaryData){.data = key, .len = sizeof key};
    expect.from = a->from;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_EXPECT;
    request.expect = &expect;
    code = ctl_do(a, &request);
    vt_wipe(key, sizeof key);
    return code;
}

int run_expected(const struct arguments *a, char *const *operands VT_UNUSED)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__ExpectedList list = VTPM__EXPECTED_LIST__INIT;

    request.verb_case = VTPM__ADMIN_REQUEST__VERB_EXPECTED_LIST;
    request.expected_list = &list;
    return ctl_show(a, &request, print_expected);
}

int run_unexpect(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceUnexpect unexpect = VTPM__INSTANCE_UNEXPECT__INIT;

    unexpect.uuid = operands[0];
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_UNEXPECT;
    request.unexpect = &unexpect;
    return ctl_do(a, &request);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* `instance import --from-swtpm`: a TPM 1.2 moves in from swtpm (docs/swtpm-import.md). */
#include "server/ctl/profile_file.h"
#include "server/ctl/verbs.h"

#include <stdio.h>

#include "server/base/secret.h"

static void print_checked(const struct ctl *ctl, const Vtpm__AdminReply *reply, const char *file)
{
    if (reply->n_instances == 1 && reply->swtpm)
        print_moved_in(ctl, reply, file);
}

static int take_key(const struct arguments *a, Vtpm__SwtpmImport *import, uint8_t key[SWTPM_KEY], struct vt_why *why)
{
    if (a->key_file && a->pwd_file)
        return vt_fail(why, VT_EUSAGE, "--key-file and --pwd-file are two ways to one key: give the one that swtpm got");
    if ((a->key_format && !a->key_file) || (a->kdf && !a->pwd_file))
        return vt_fail(why, VT_EUSAGE, "--key-format goes with --key-file, --kdf with --pwd-file");
    import->key.data = key;
    if (a->key_file)
        return swtpm_key_from_file(a->key_file, a->key_format, key, &import->key.len, why);
    if (!a->pwd_file)
        return VT_OK;
    import->derived = true;
    import->key.len = SWTPM_KEY;
    return swtpm_key_from_password(a->pwd_file, a->kdf, key, why);
}

static int take_create(const struct arguments *a, char *name, struct profile_file *profile, Vtpm__InstanceCreate *create,
                       struct vt_why *why)
{
    create->name = name;
    create->require_measure = (is_given(a, OPT(REQUIRE))) != 0;
    if (a->uuid)
        create->uuid = a->uuid;
    if (a->group)
        create->group = a->group;
    return a->profile ? ctl_take_profile(a, profile, create, why) : VT_OK;
}

/* swtpm is locked out until the server has answered. */
static int ask(const struct arguments *a, Vtpm__SwtpmImport *import)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    struct swtpm_dir dir;
    struct vt_why why = {0};
    int code, err = swtpm_dir_open(&dir, a->swtpm, &why);

    if (err)
        return ctl_fail(a, err, &why);
    import->file = (ProtobufCBinaryData){.data = dir.file, .len = dir.len};
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_IMPORT_SWTPM;
    request.import_swtpm = import;
    code = ctl_ask_for_key(a, &request, print_checked);
    if (!code && dir.has_saved_state)
        fprintf(stderr, "vtpmctl: %s also keeps a TPM_SaveState, which did not come along: start the guest anew, it cannot be "
                        "woken\n", a->swtpm);
    if (!code)
        fprintf(stderr, "vtpmctl: do not start swtpm on %s again: there would be two TPMs with the same keys\n", a->swtpm);
    swtpm_dir_close(&dir);
    return code;
}

int run_import_swtpm(const struct arguments *a, char *const *operands)
{
    Vtpm__SwtpmImport import = VTPM__SWTPM_IMPORT__INIT;
    Vtpm__InstanceCreate create = VTPM__INSTANCE_CREATE__INIT;
    struct profile_file profile;
    uint8_t key[SWTPM_KEY] = {0};
    struct vt_why why = {0};
    int code, err = take_create(a, operands[0], &profile, &create, &why);

    import.create = &create;
    if (!err)
        err = take_key(a, &import, key, &why);
    code = err ? ctl_fail(a, err, &why) : ask(a, &import);
    vt_wipe(key, sizeof key);
    return code;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* SPECs and the files that they name: what vtpmctl needs too, so nothing here touches a TPM. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/core/keyslot/file.h"
#include "server/core/keyslot/keyslot_priv.h"
#include "server/core/keyslot/tpm.h"
#include "server/crypto/crypto.h"

#define KEYFILE_LEN 32
#define PASSPHRASE_MIN 8
#define PASSPHRASE_MAX 1024
#define SECRET_MAX PASSPHRASE_MAX

/* ---- Key file ---- */

static int check_len(const char *path, size_t len, struct vt_why *why)
{
    if (len == KEYFILE_LEN)
        return VT_OK;
    return vt_fail(why, VT_EUSAGE, "%s: %zu bytes, but a key file has exactly %d: "
                   "head -c %d /dev/urandom > FILE makes one", path, len, KEYFILE_LEN, KEYFILE_LEN);
}

static int keyfile_read(const char *path, bool create, uint8_t *out, size_t *len, struct vt_why *why)
{
    int err;

    if (create) {
        err = access(path, F_OK) && errno == ENOENT ? secret_file_make(path, KEYFILE_LEN, why) : VT_OK;
        if (err)
            return err;
    }
    err = secret_file_read(path, out, KEYFILE_LEN, len, why);
    return err ? err : check_len(path, *len, why);
}

/* ---- Credential of systemd: a key file that the service manager brings ---- */

/* systemd.exec(5): a name is a file name. */
static int credential_check(const char *name, struct vt_why *why)
{
    if (strchr(name, '/') || name[0] == '.')
        return vt_fail(why, VT_EUSAGE, "credential:%.60s: must be the name that LoadCredential= gave it, without a path",
                       name);
    return VT_OK;
}

static int credential_read(const char *name, bool create, uint8_t *out, size_t *len, struct vt_why *why)
{
    const char *dir = getenv("CREDENTIALS_DIRECTORY");
    char path[2048];
    int err;

    (void)create;
    if (!dir || !*dir)
        return vt_fail(why, VT_ENOTFOUND, "credential:%.60s: there is no $CREDENTIALS_DIRECTORY: put "
                       "LoadCredentialEncrypted=%.60s:FILE into the unit", name, name);
    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path)
        return vt_fail(why, VT_ETOOBIG, "credential:%.60s: its path is too long", name);
    err = secret_file_read_granted(path, out, KEYFILE_LEN, len, why);
    return err ? err : check_len(path, *len, why);
}

/* ---- Passphrase ---- */

static int passphrase_read(const char *path, bool create, uint8_t *out, size_t *len, struct vt_why *why)
{
    const uint8_t *end;
    int err = secret_file_read(path, out, PASSPHRASE_MAX, len, why);

    (void)create;
    if (err)
        return err;
    end = memchr(out, '\n', *len);
    if (end)
        *len = (size_t)(end - out);
    if (*len < PASSPHRASE_MIN)
        return vt_fail(why, VT_EUSAGE, "%s: the passphrase (the first line) has %zu bytes, at least %d are needed",
                       path, *len, PASSPHRASE_MIN);
    return VT_OK;
}

/* ---- Recovery key ---- */

static int recovery_read(const char *path, bool create, uint8_t *out, size_t *len, struct vt_why *why)
{
    char text[PASSPHRASE_MAX + 1];
    int err = secret_file_read(path, (uint8_t *)text, PASSPHRASE_MAX, len, why);

    (void)create;
    if (!err) {
        text[*len] = '\0';
        text[strcspn(text, "\n")] = '\0';
        err = recovery_parse(text, out, why);
    }
    vt_wipe(text, sizeof text);
    *len = 32;
    return err;
}

/* ---- TPM: what is sealed is a secret of its own ---- */

static int fresh_read(const char *path, bool create, uint8_t *out, size_t *len, struct vt_why *why)
{
    (void)path;
    (void)create;
    *len = KEYFILE_LEN;
    return cr_key_random(out, KEYFILE_LEN) ? vt_fail(why, VT_EIO, "no random numbers from the operating system") : VT_OK;
}

/* ---- The table: in the order in which `auto` tries them, the strongest first ---- */

static const struct keyslot_form forms[] = {
    {.name = "tpm2", .spec = "tpm2", .by_server = true, .is_tpm = true, .check = keyslot_tpm2_check, .read = fresh_read},
    {.name = "tpm2-signed", .spec = "tpm2-signed", .needs_arg = true, .by_server = true, .is_tpm = true,
     .check = keyslot_tpm2_signed_check, .read = fresh_read},
    {.name = "tpm12", .spec = "tpm12", .by_server = true, .is_tpm = true, .check = keyslot_tpm12_check,
     .read = fresh_read},
    {.name = "credential", .spec = "credential", .needs_arg = true, .by_server = true, .check = credential_check,
     .read = credential_read},
    {.name = "keyfile", .spec = "keyfile", .needs_arg = true, .read = keyfile_read},
    {.name = "passphrase", .spec = "passphrase-file", .needs_arg = true, .read = passphrase_read},
    {.name = "recovery", .spec = "recovery-file", .needs_arg = true, .read = recovery_read},
};

const struct keyslot_form *keyslot_form(const char *name)
{
    for (size_t i = 0; i < VT_COUNT(forms); i++)
        if (strcmp(forms[i].name, name) == 0)
            return &forms[i];
    return NULL;
}

unsigned keyslot_rank(const char *name)
{
    const struct keyslot_form *form = keyslot_form(name);

    return form ? (unsigned)(form - forms) : VT_COUNT(forms);
}

bool keyslot_by_server(const char *kind)
{
    const struct keyslot_form *form = keyslot_form(kind);

    return form && form->by_server;
}

bool keyslot_is_tpm(const char *kind)
{
    const struct keyslot_form *form = keyslot_form(kind);

    return form && form->is_tpm;
}

/* ---- SPEC ---- */

static int copy_arg(struct keyslot_spec *spec, const struct keyslot_form *form, const char *arg, struct vt_why *why)
{
    size_t len = strlen(arg);

    if (!len && form->needs_arg)
        return vt_fail(why, VT_EUSAGE, "key slot: %s needs a %s: %s:...", form->spec,
                       form->by_server ? "value" : "file", form->spec);
    if (len >= sizeof spec->arg)
        return vt_fail(why, VT_EUSAGE, "key slot: %s: the name is longer than %zu bytes", form->spec,
                       sizeof spec->arg - 1);
    snprintf(spec->kind, sizeof spec->kind, "%s", form->name);
    memcpy(spec->arg, arg, len + 1);
    return form->check ? form->check(spec->arg, why) : VT_OK;
}

int keyslot_parse(struct keyslot_spec *spec, const char *text, struct vt_why *why)
{
    size_t len = strcspn(text, ":");

    memset(spec, 0, sizeof *spec);
    if (strcmp(text, "auto") == 0) {
        memcpy(spec->kind, "auto", 5);
        return VT_OK;
    }
    for (size_t i = 0; i < VT_COUNT(forms); i++)
        if (strlen(forms[i].spec) == len && memcmp(forms[i].spec, text, len) == 0)
            return copy_arg(spec, &forms[i], text[len] ? text + len + 1 : "", why);
    return vt_fail(why, VT_EUSAGE, "key slot '%.*s': must be keyfile:FILE, passphrase-file:FILE, recovery-file:FILE, "
                   "credential:NAME, tpm2[:...], tpm2-signed:..., tpm12[:...] or auto", (int)VT_MIN(len, 40u), text);
}

int keyslot_read_secret(const struct keyslot_spec *spec, bool create, uint8_t **secret, size_t *len, struct vt_why *why)
{
    const struct keyslot_form *form = keyslot_form(spec->kind);
    uint8_t bytes[SECRET_MAX];
    int err;

    *secret = NULL;
    *len = 0;
    if (!form)
        return vt_fail(why, VT_ENOTSUP, "key slots of kind '%s' are unknown to this build", spec->kind);
    err = form->read(spec->arg, create, bytes, len, why);
    if (!err) {
        *secret = vt_memdup(bytes, *len);
        if (!*secret)
            err = vt_fail(why, VT_ENOMEM, "out of memory");
    }
    vt_wipe(bytes, sizeof bytes);
    if (err)
        *len = 0;
    return err;
}

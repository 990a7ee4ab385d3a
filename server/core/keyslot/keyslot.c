/* SPDX-License-Identifier: Apache-2.0 */
/* What the row of each kind of slot holds: the table in the middle. SPECs: spec.c. docs/keys.md is for people. */
#include "server/core/keyslot/keyslot.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/core/keyslot/keyslot_priv.h"
#include "server/core/keyslot/tpm.h"
#include "server/core/store/seal.h"

#define SALT_LEN 32

/* New slots; about a second. Reading accepts what the bounds below accept. */
#define SCRYPT_LOG2_N 17
#define SCRYPT_R 8
#define SCRYPT_P 1
#define SCRYPT_LOG2_N_MIN 14
#define SCRYPT_LOG2_N_MAX 20
#define SCRYPT_R_MAX 16
#define SCRYPT_P_MAX 4
/* 128 * r * N bytes of memory: the three bounds together would allow 2 GiB. */
#define SCRYPT_BYTES_MAX (512u << 20)

struct kind {
    const char *name;           /* in the database */
    int (*make)(struct params_writer *w, const struct keyslot_making *making, struct vt_why *why);
    int (*kek)(const char *params, const uint8_t *secret, size_t len, struct vt_key *kek);
    /* The secret of a row when no person helps, as keyslot_read_secret gives it; NULL: never. */
    int (*own)(const char *params, const struct keyslot_spec *spec, uint8_t **secret, size_t *len, struct vt_why *why);
};

/* ---- Salts ---- */

static int put_salt(struct params_writer *w)
{
    uint8_t salt[SALT_LEN];
    char text[2 * SALT_LEN + 1];
    int err = cr_os_random(salt, sizeof salt);

    if (err)
        return err;
    vt_hex(text, salt, sizeof salt);
    params_put_text(w, "salt", text);
    return VT_OK;
}

static int get_salt(const char *params, uint8_t salt[SALT_LEN])
{
    char text[2 * SALT_LEN + 1];
    int err = params_text(params, "salt", text, sizeof text);

    return err || !vt_unhex(salt, SALT_LEN, text) ? VT_EDAMAGED : VT_OK;
}

static int hkdf_kek(const char *params, const uint8_t *secret, size_t len, const char *label, struct vt_key *kek)
{
    uint8_t salt[SALT_LEN];

    if (get_salt(params, salt))
        return VT_EDAMAGED;
    return cr_hkdf(kek->bytes, sizeof kek->bytes, secret, len, salt, sizeof salt, label);
}

/* ---- Key file ---- */

/* Absolute, since the server may be started from elsewhere. */
static int put_path(struct params_writer *w, const char *path, struct vt_why *why)
{
    char full[PARAMS_TEXT], dir[PARAMS_TEXT];
    int n;

    if (path[0] == '/')
        n = snprintf(full, sizeof full, "%s", path);
    else if (getcwd(dir, sizeof dir))
        n = snprintf(full, sizeof full, "%s/%s", dir, path);
    else
        return vt_fail(why, VT_EIO, "the working directory has no name: %s; give an absolute path", strerror(errno));
    if (n < 0 || (size_t)n >= sizeof full)
        return vt_fail(why, VT_ETOOBIG, "%s: the absolute path is longer than %d bytes", path, PARAMS_TEXT - 1);
    params_put_text(w, "path", full);
    return VT_OK;
}

static int keyfile_make(struct params_writer *w, const struct keyslot_making *making, struct vt_why *why)
{
    int err = put_path(w, making->spec->arg, why);

    return err ? err : put_salt(w);
}

static int keyfile_kek(const char *params, const uint8_t *secret, size_t len, struct vt_key *kek)
{
    if (len != sizeof kek->bytes)
        return VT_EKEY;
    return hkdf_kek(params, secret, len, "vtpm-server key slot: key file", kek);
}

/* The file that a row remembers. */
static int own_file(const char *kind, const char *name, const char *params, uint8_t **secret, size_t *len,
                    struct vt_why *why)
{
    struct keyslot_spec file = {0};

    snprintf(file.kind, sizeof file.kind, "%s", kind);
    if (params_text(params, name, file.arg, sizeof file.arg))
        return vt_fail(why, VT_EDAMAGED, "its parameters are malformed");
    return keyslot_read_secret(&file, false, secret, len, why);
}

static int keyfile_own(const char *params, const struct keyslot_spec *spec, uint8_t **secret, size_t *len,
                       struct vt_why *why)
{
    (void)spec;
    return own_file("keyfile", "path", params, secret, len, why);
}

/* ---- Credential ---- */

static int credential_make(struct params_writer *w, const struct keyslot_making *making, struct vt_why *why)
{
    (void)why;
    params_put_text(w, "name", making->spec->arg);
    return put_salt(w);
}

static int credential_kek(const char *params, const uint8_t *secret, size_t len, struct vt_key *kek)
{
    return len == sizeof kek->bytes ? hkdf_kek(params, secret, len, "vtpm-server key slot: credential", kek) : VT_EKEY;
}

static int credential_own(const char *params, const struct keyslot_spec *spec, uint8_t **secret, size_t *len,
                          struct vt_why *why)
{
    if (spec)
        return keyslot_read_secret(spec, false, secret, len, why);
    return own_file("credential", "name", params, secret, len, why);
}

/* ---- Passphrase ---- */

static int passphrase_make(struct params_writer *w, const struct keyslot_making *making, struct vt_why *why)
{
    (void)making;
    (void)why;
    params_put_text(w, "kdf", "scrypt");
    params_put_number(w, "log2_n", SCRYPT_LOG2_N);
    params_put_number(w, "r", SCRYPT_R);
    params_put_number(w, "p", SCRYPT_P);
    return put_salt(w);
}

static int passphrase_kek(const char *params, const uint8_t *secret, size_t len, struct vt_key *kek)
{
    uint8_t salt[SALT_LEN];
    uint64_t log2_n, r, p;
    char kdf[16];

    if (params_text(params, "kdf", kdf, sizeof kdf) || strcmp(kdf, "scrypt") != 0 || get_salt(params, salt) ||
        params_number(params, "log2_n", SCRYPT_LOG2_N_MAX, &log2_n) || log2_n < SCRYPT_LOG2_N_MIN ||
        params_number(params, "r", SCRYPT_R_MAX, &r) || !r || params_number(params, "p", SCRYPT_P_MAX, &p) || !p ||
        (128 * r) << log2_n > SCRYPT_BYTES_MAX)
        return VT_EDAMAGED;
    return cr_scrypt(kek->bytes, sizeof kek->bytes, secret, len, salt, sizeof salt, (unsigned)log2_n, (unsigned)r,
                     (unsigned)p);
}

/* ---- Recovery key ---- */

static int recovery_params(struct params_writer *w, const struct keyslot_making *making, struct vt_why *why)
{
    (void)making;
    (void)why;
    return put_salt(w);
}

static int recovery_kek(const char *params, const uint8_t *secret, size_t len, struct vt_key *kek)
{
    if (len != 32)
        return VT_EKEY;
    return hkdf_kek(params, secret, len, "vtpm-server key slot: recovery key", kek);
}

/* ---- TPM: tpm.c ---- */

static int tpm_make(struct params_writer *w, const struct keyslot_making *making, struct vt_why *why)
{
    int err = keyslot_tpm_make(w, making, why);

    return err ? err : put_salt(w);
}

static int tpm_kek(const char *params, const uint8_t *secret, size_t len, struct vt_key *kek)
{
    return len == sizeof kek->bytes ? hkdf_kek(params, secret, len, "vtpm-server key slot: TPM", kek) : VT_EKEY;
}

/* ---- The table ---- */

#define TPM_KIND(kind) {.name = kind, .make = tpm_make, .kek = tpm_kek, .own = keyslot_tpm_own}

static const struct kind kinds[] = {
    {.name = "keyfile", .make = keyfile_make, .kek = keyfile_kek, .own = keyfile_own},
    {.name = "credential", .make = credential_make, .kek = credential_kek, .own = credential_own},
    {.name = "passphrase", .make = passphrase_make, .kek = passphrase_kek},
    {.name = "recovery", .make = recovery_params, .kek = recovery_kek},
    TPM_KIND("tpm2"),
    TPM_KIND("tpm2-signed"),
    TPM_KIND("tpm12"),
};

static int find_kind(const char *name, const struct kind **kind, struct vt_why *why)
{
    *kind = NULL;
    for (size_t i = 0; i < VT_COUNT(kinds); i++)
        if (strcmp(kinds[i].name, name) == 0) {
            *kind = &kinds[i];
            return VT_OK;
        }
    return vt_fail(why, VT_ENOTSUP, "key slots of kind '%s' are unknown to this build", name);
}

/* ---- Rows ---- */

static struct seal_name slot_name(const struct vt_uuid *store, int64_t id)
{
    return (struct seal_name){.store = *store, .kind = SEAL_MASTER_KEY, .seq = (uint64_t)id};
}

int keyslot_make_row(struct db_keyslot *slot, const struct keyslot_making *making, const struct vt_uuid *store,
                     const struct vt_key *master, struct vt_why *why)
{
    struct seal_name name = slot_name(store, slot->id);
    struct params_writer w;
    const struct kind *kind;
    VT_SECRET_KEY kek;
    int err = find_kind(making->spec->kind, &kind, why);

    if (err)
        return err;
    if (slot->id < 0)
        return vt_fail(why, VT_EUSAGE, "a key slot is made for the id it will have");
    snprintf(slot->kind, sizeof slot->kind, "%s", kind->name);
    params_begin(&w, slot->params, sizeof slot->params);
    err = kind->make(&w, making, why);
    if (!err)
        err = params_end(&w);
    if (!err)
        err = kind->kek(slot->params, making->secret, making->secret_len, &kek);
    if (!err)
        err = seal_key(&kek, &name, master, slot->wrapped);
    slot->wrapped_len = err ? 0 : SEAL_KEY_LEN;
    return err ? vt_fail(why, err, "the %s slot cannot be made: %s", kind->name, vt_err_text(err)) : VT_OK;
}

int keyslot_make(struct db_keyslot *slot, const struct keyslot_spec *spec, const uint8_t *secret, size_t secret_len,
                 const struct vt_uuid *store, const struct vt_key *master, struct vt_why *why)
{
    struct keyslot_making making = {.spec = spec, .secret = secret, .secret_len = secret_len};

    return keyslot_make_row(slot, &making, store, master, why);
}

int keyslot_open(const struct db_keyslot *slot, const uint8_t *secret, size_t secret_len, const struct vt_uuid *store,
                 struct vt_key *master, struct vt_why *why)
{
    struct seal_name name = slot_name(store, slot->id);
    const struct kind *kind;
    VT_SECRET_KEY kek;
    int err = find_kind(slot->kind, &kind, why);

    if (err)
        return err;
    if (slot->wrapped_len != SEAL_KEY_LEN || params_check(slot->params))
        return vt_fail(why, VT_EDAMAGED, "its row in the database is malformed");
    err = kind->kek(slot->params, secret, secret_len, &kek);
    if (err == VT_EDAMAGED)
        return vt_fail(why, VT_EDAMAGED, "its parameters are malformed or out of bounds");
    if (!err)
        err = unseal_key(&kek, &name, slot->wrapped, slot->wrapped_len, master);
    if (err == VT_EDAMAGED)
        err = VT_EKEY;
    return err ? vt_fail(why, err, "this %s is not its key", kind->name) : VT_OK;
}

int keyslot_own_secret(const struct db_keyslot *slot, const struct keyslot_spec *spec, uint8_t **secret, size_t *len,
                       struct vt_why *why)
{
    const struct kind *kind;
    int err = find_kind(slot->kind, &kind, why);

    *secret = NULL;
    *len = 0;
    if (err)
        return err;
    if (params_check(slot->params))
        return vt_fail(why, VT_EDAMAGED, "its row in the database is malformed");
    return kind->own ? kind->own(slot->params, spec, secret, len, why) : vt_fail(why, VT_EKEY, "needs a person");
}

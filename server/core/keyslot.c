/* SPDX-License-Identifier: Apache-2.0 */
/* What each kind of slot is: the table at the end of the first half. docs/keys.md is for people. */
#include "server/core/keyslot.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/core/keyslot_file.h"
#include "server/core/params.h"
#include "server/core/seal.h"

#define SALT_LEN 32
#define KEYFILE_LEN 32
#define PASSPHRASE_MIN 8
#define PASSPHRASE_MAX 1024

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
    const char *spec;           /* before the ':' of a SPEC */
    bool needs_arg;
    const char *missing;        /* why this build cannot; NULL: it can */
    int (*read)(const char *path, bool create, uint8_t *out, size_t *len, struct vt_why *why);
    int (*make)(struct params_writer *w, const struct keyslot_spec *spec, struct vt_why *why);
    int (*kek)(const char *params, const uint8_t *secret, size_t len, struct vt_key *kek);
    /* The file a row can be opened with when no person helps; NULL: never. */
    int (*own_file)(const char *params, char *path, size_t cap);
};

#define SECRET_MAX PASSPHRASE_MAX

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

static int keyfile_read(const char *path, bool create, uint8_t *out, size_t *len, struct vt_why *why)
{
    int err;

    if (create) {
        err = access(path, F_OK) && errno == ENOENT ? secret_file_make(path, KEYFILE_LEN, why) : VT_OK;
        if (err)
            return err;
    }
    err = secret_file_read(path, out, KEYFILE_LEN, len, why);
    if (!err && *len != KEYFILE_LEN)
        return vt_fail(why, VT_EUSAGE, "%s: %zu bytes, but a key file has exactly %d: "
                       "head -c %d /dev/urandom > FILE makes one", path, *len, KEYFILE_LEN, KEYFILE_LEN);
    return err;
}

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

static int keyfile_make(struct params_writer *w, const struct keyslot_spec *spec, struct vt_why *why)
{
    int err = put_path(w, spec->arg, why);

    return err ? err : put_salt(w);
}

static int keyfile_kek(const char *params, const uint8_t *secret, size_t len, struct vt_key *kek)
{
    if (len != KEYFILE_LEN)
        return VT_EKEY;
    return hkdf_kek(params, secret, len, "vtpm-server key slot: key file", kek);
}

static int keyfile_path(const char *params, char *path, size_t cap)
{
    return params_text(params, "path", path, cap);
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

static int passphrase_make(struct params_writer *w, const struct keyslot_spec *spec, struct vt_why *why)
{
    (void)spec;
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

static int recovery_params(struct params_writer *w, const struct keyslot_spec *spec, struct vt_why *why)
{
    (void)spec;
    (void)why;
    return put_salt(w);
}

static int recovery_kek(const char *params, const uint8_t *secret, size_t len, struct vt_key *kek)
{
    if (len != 32)
        return VT_EKEY;
    return hkdf_kek(params, secret, len, "vtpm-server key slot: recovery key", kek);
}

/* ---- The table ---- */

#define NO_TPM "this build has no host TPM slot yet"

static const struct kind kinds[] = {
    {.name = "keyfile", .spec = "keyfile", .needs_arg = true,
     .read = keyfile_read, .make = keyfile_make, .kek = keyfile_kek, .own_file = keyfile_path},
    {.name = "passphrase", .spec = "passphrase-file", .needs_arg = true,
     .read = passphrase_read, .make = passphrase_make, .kek = passphrase_kek},
    {.name = "recovery", .spec = "recovery-file", .needs_arg = true,
     .read = recovery_read, .make = recovery_params, .kek = recovery_kek},
    {.name = "tpm2", .spec = "tpm2", .missing = NO_TPM},
    {.name = "tpm12", .spec = "tpm12", .missing = NO_TPM},
};

static const struct kind *kind_by_name(const char *name)
{
    for (size_t i = 0; i < VT_COUNT(kinds); i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

/* A kind this build can work with. */
static int usable(const char *name, const struct kind **kind, struct vt_why *why)
{
    *kind = kind_by_name(name);
    if (!*kind)
        return vt_fail(why, VT_ENOTSUP, "key slots of kind '%s' are unknown to this build", name);
    if ((*kind)->missing)
        return vt_fail(why, VT_ENOTSUP, "%s: %s", name, (*kind)->missing);
    return VT_OK;
}

/* ---- SPEC ---- */

static int copy_arg(struct keyslot_spec *spec, const struct kind *kind, const char *arg, struct vt_why *why)
{
    size_t len = strlen(arg);

    if (!len && kind->needs_arg)
        return vt_fail(why, VT_EUSAGE, "key slot: %s needs a file: %s:FILE", kind->spec, kind->spec);
    if (len >= sizeof spec->arg)
        return vt_fail(why, VT_EUSAGE, "key slot: %s: the name is longer than %zu bytes", kind->spec,
                       sizeof spec->arg - 1);
    snprintf(spec->kind, sizeof spec->kind, "%s", kind->name);
    memcpy(spec->arg, arg, len + 1);
    return VT_OK;
}

int keyslot_parse(struct keyslot_spec *spec, const char *text, struct vt_why *why)
{
    size_t len = strcspn(text, ":");

    memset(spec, 0, sizeof *spec);
    if (strcmp(text, "auto") == 0) {
        memcpy(spec->kind, "auto", 5);
        return VT_OK;
    }
    for (size_t i = 0; i < VT_COUNT(kinds); i++)
        if (strlen(kinds[i].spec) == len && memcmp(kinds[i].spec, text, len) == 0)
            return copy_arg(spec, &kinds[i], text[len] ? text + len + 1 : "", why);
    return vt_fail(why, VT_EUSAGE, "key slot '%.*s': must be keyfile:FILE, passphrase-file:FILE, recovery-file:FILE, "
                   "tpm2[:...], tpm12[:...] or auto", (int)VT_MIN(len, 40u), text);
}

int keyslot_read_secret(const struct keyslot_spec *spec, bool create, uint8_t **secret, size_t *len, struct vt_why *why)
{
    uint8_t bytes[SECRET_MAX];
    const struct kind *kind;
    int err = usable(spec->kind, &kind, why);

    *secret = NULL;
    *len = 0;
    if (err)
        return err;
    err = kind->read(spec->arg, create, bytes, len, why);
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

/* ---- Rows ---- */

static struct seal_name slot_name(const struct vt_uuid *store, int64_t id)
{
    return (struct seal_name){.store = *store, .kind = SEAL_MASTER_KEY, .seq = (uint64_t)id};
}

int keyslot_make(struct db_keyslot *slot, const struct keyslot_spec *spec, const uint8_t *secret, size_t secret_len,
                 const struct vt_uuid *store, const struct vt_key *master, struct vt_why *why)
{
    struct seal_name name = slot_name(store, slot->id);
    struct params_writer w;
    const struct kind *kind;
    VT_SECRET_KEY kek;
    int err = usable(spec->kind, &kind, why);

    if (err)
        return err;
    if (slot->id < 0)
        return vt_fail(why, VT_EUSAGE, "a key slot is made for the id it will have");
    snprintf(slot->kind, sizeof slot->kind, "%s", kind->name);
    params_begin(&w, slot->params, sizeof slot->params);
    err = kind->make(&w, spec, why);
    if (!err)
        err = params_end(&w);
    if (!err)
        err = kind->kek(slot->params, secret, secret_len, &kek);
    if (!err)
        err = seal_key(&kek, &name, master, slot->wrapped);
    slot->wrapped_len = err ? 0 : SEAL_KEY_LEN;
    return err ? vt_fail(why, err, "the %s slot cannot be made: %s", kind->name, vt_err_text(err)) : VT_OK;
}

int keyslot_open(const struct db_keyslot *slot, const uint8_t *secret, size_t secret_len, const struct vt_uuid *store,
                 struct vt_key *master, struct vt_why *why)
{
    struct seal_name name = slot_name(store, slot->id);
    const struct kind *kind;
    VT_SECRET_KEY kek;
    int err = usable(slot->kind, &kind, why);

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

/* ---- Unlocking ---- */

struct unlock {
    const struct keyslot_spec *spec;
    const struct vt_uuid *store;
    struct vt_key *master;
    struct db_keyslot *opened;
    struct vt_why tried;            /* "slot 0 (keyfile): ...; slot 1 ..." */
    const uint8_t *secret;          /* of the spec's file; NULL with auto */
    size_t secret_len;
    bool is_auto, done;
    int hard;                       /* not a matter of keys: VT_ENOMEM */
};

static void note(struct unlock *u, const struct db_keyslot *slot, const char *reason)
{
    size_t used = strlen(u->tried.text);

    snprintf(u->tried.text + used, sizeof u->tried.text - used, "%sslot %lld (%s): %s", used ? "; " : "",
             (long long)slot->id, slot->kind, reason);
}

static int try_secret(struct unlock *u, const struct db_keyslot *slot, const uint8_t *secret, size_t len)
{
    struct vt_why why = {0};
    int err = keyslot_open(slot, secret, len, u->store, u->master, &why);

    if (err) {
        note(u, slot, why.text);
        return err;
    }
    *u->opened = *slot;
    u->done = true;
    return VT_OK;
}

/* With `auto`: a row that remembers its file. Others need a person, or a later build. */
static int try_own_file(struct unlock *u, const struct db_keyslot *slot)
{
    const struct kind *kind = kind_by_name(slot->kind);
    struct keyslot_spec spec = {0};
    struct vt_why why = {0};
    uint8_t *secret;
    size_t len;
    int err;

    if (!kind || kind->missing || !kind->own_file) {
        note(u, slot, !kind ? "a kind unknown to this build" : kind->missing ? kind->missing : "needs a person");
        return VT_EKEY;
    }
    memcpy(spec.kind, slot->kind, sizeof spec.kind);
    if (kind->own_file(slot->params, spec.arg, sizeof spec.arg)) {
        note(u, slot, "its parameters are malformed");
        return VT_EKEY;
    }
    err = keyslot_read_secret(&spec, false, &secret, &len, &why);
    if (err) {
        note(u, slot, why.text);
        return err;
    }
    err = try_secret(u, slot, secret, len);
    vt_free_wiped(secret, len);
    return err;
}

static int try_slot(void *ctx, const struct db_keyslot *slot)
{
    struct unlock *u = ctx;
    int err;

    if (u->done || u->hard)
        return VT_OK;
    if (!u->is_auto && strcmp(slot->kind, u->spec->kind) != 0)
        return VT_OK;
    err = u->is_auto ? try_own_file(u, slot) : try_secret(u, slot, u->secret, u->secret_len);
    if (err == VT_ENOMEM)
        u->hard = err;
    return VT_OK;
}

int keyslot_unlock(struct db *db, const struct keyslot_spec *spec, const struct vt_uuid *store, struct vt_key *master,
                   struct db_keyslot *opened, struct vt_why *why)
{
    struct unlock u = {.spec = spec, .store = store, .master = master, .opened = opened,
                       .is_auto = strcmp(spec->kind, "auto") == 0};
    uint8_t *secret = NULL;
    size_t len = 0;
    int err;

    if (!u.is_auto) {
        err = keyslot_read_secret(spec, false, &secret, &len, why);
        if (err)
            return err == VT_ENOMEM || err == VT_ENOTSUP ? err : VT_EKEY;
        u.secret = secret;
        u.secret_len = len;
    }
    err = db_keyslot_each(db, try_slot, &u);
    vt_free_wiped(secret, len);
    if (!err)
        err = u.hard;
    if (err)
        return vt_fail(why, err, "the key slots cannot be read: %s", vt_err_text(err));
    if (u.done)
        return VT_OK;
    if (!u.tried.text[0])
        return vt_fail(why, VT_EKEY, "the store has no key slot of kind %s", spec->kind);
    return vt_fail(why, VT_EKEY, "no key slot opens: %s", u.tried.text);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* SPECs of TPM slots: names and values between colons. Pure; vtpmctl has it too. */
#include <stdio.h>

#include "hwtpm/hwtpm.h"
#include "server/core/keyslot/tpm.h"

#define TPM2        1
#define TPM2_SIGNED 2
#define TPM12       4

/* `rest`: its value goes to the end of the text, since it may hold colons. */
static const struct value {
    const char *name;
    unsigned kinds;
    size_t at, cap;
    bool rest, is_path;
} values[] = {
#define VALUE(member) offsetof(struct keyslot_tpm_args, member), sizeof(((struct keyslot_tpm_args *)0)->member)
    {"pcrs", TPM2 | TPM2_SIGNED | TPM12, VALUE(pcrs), .rest = false},
    {"key", TPM2_SIGNED, VALUE(key), .is_path = true},
    {"signatures", TPM2_SIGNED, VALUE(signatures), .is_path = true},
    {"srk-auth-file", TPM12, VALUE(srk_auth), .is_path = true},
    {"owner-auth-file", TPM12, VALUE(owner_auth), .is_path = true},
    {"tcti", TPM2 | TPM2_SIGNED, VALUE(where), .rest = true},
    {"device", TPM12, VALUE(where), .rest = true},
#undef VALUE
};

static unsigned kind_bit(const char *kind)
{
    return strcmp(kind, "tpm2") == 0 ? TPM2 : strcmp(kind, "tpm12") == 0 ? TPM12 : TPM2_SIGNED;
}

static const struct value *find_value(unsigned kind, const char *text, size_t len)
{
    for (size_t i = 0; i < VT_COUNT(values); i++)
        if (values[i].kinds & kind && strlen(values[i].name) == len && memcmp(values[i].name, text, len) == 0)
            return &values[i];
    return NULL;
}

static int take_value(const char *kind, const struct value *value, const char *text, size_t len,
                      struct keyslot_tpm_args *out, struct vt_why *why)
{
    char *to = (char *)out + value->at;

    if (!len || len >= value->cap)
        return vt_fail(why, VT_EUSAGE, "key slot %s: %s= needs a value of at most %zu characters", kind, value->name,
                       value->cap - 1);
    if (*to)
        return vt_fail(why, VT_EUSAGE, "key slot %s: %s= is there twice", kind, value->name);
    if (value->is_path && text[0] != '/')
        return vt_fail(why, VT_EUSAGE, "key slot %s: %s=%.*s: must be an absolute path", kind, value->name,
                       (int)VT_MIN(len, 80u), text);
    memcpy(to, text, len);
    to[len] = '\0';
    return VT_OK;
}

int keyslot_tpm_args(const char *kind, const char *arg, struct keyslot_tpm_args *out, struct vt_why *why)
{
    memset(out, 0, sizeof *out);
    while (*arg) {
        size_t name = strcspn(arg, "=:"), len;
        const struct value *value = arg[name] == '=' ? find_value(kind_bit(kind), arg, name) : NULL;
        int err;

        if (!value)
            return vt_fail(why, VT_EUSAGE, "key slot %s: '%.*s' is unknown: must be pcrs=N,N%s", kind,
                           (int)VT_MIN(strcspn(arg, ":"), 40u), arg,
                           strcmp(kind, "tpm12") == 0 ? ", srk-auth-file=FILE, device=PATH|tcp:HOST:PORT|unix:PATH"
                           : strcmp(kind, "tpm2") == 0 ? ", tcti=CONF" : ", key=FILE, signatures=FILE, tcti=CONF");
        arg += name + 1;
        len = value->rest ? strlen(arg) : strcspn(arg, ":");
        err = take_value(kind, value, arg, len, out, why);
        if (err)
            return err;
        arg += len + (arg[len] == ':');
    }
    return hwtpm_where_check(kind_bit(kind) == TPM12 ? HWTPM_TPM12 : HWTPM_TPM2, out->where, why);
}

static int check(const char *kind, const char *arg, struct vt_why *why)
{
    struct keyslot_tpm_args args;
    uint32_t mask;
    int err = keyslot_tpm_args(kind, arg, &args, why);

    if (!err && args.owner_auth[0])
        err = vt_fail(why, VT_EUSAGE, "key slot %s: owner-auth-file= is for an anchor: a slot needs no owner", kind);
    return !err && args.pcrs[0] ? hwtpm_pcrs_parse(args.pcrs, &mask, why) : err;
}

int keyslot_tpm2_check(const char *arg, struct vt_why *why)
{
    return check("tpm2", arg, why);
}

int keyslot_tpm2_signed_check(const char *arg, struct vt_why *why)
{
    return check("tpm2-signed", arg, why);
}

int keyslot_tpm12_check(const char *arg, struct vt_why *why)
{
    return check("tpm12", arg, why);
}

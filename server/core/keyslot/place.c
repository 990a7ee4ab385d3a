/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/keyslot/place.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/core/keyslot/file.h"

#define DEFAULT_PCRS2  "7"      /* the Secure Boot policy: changes with keys, not with each update */
#define DEFAULT_PCRS12 "0,2,4"  /* firmware, option ROMs, boot loader */
#define APPROVALS_TEXT (64u * 1024)

/* ---- From a SPEC ---- */

static enum hwtpm_kind tpm_of(const char *kind)
{
    return strcmp(kind, "tpm12") == 0 ? HWTPM_TPM12 : HWTPM_TPM2;
}

int keyslot_read_auth(const char *path, struct vt_auth *auth, struct vt_why *why)
{
    uint8_t text[256];
    size_t len;
    int err = secret_file_read(path, text, sizeof text - 1, &len, why);

    if (!err) {
        text[len] = '\0';
        len = strcspn((char *)text, "\n");
        text[len] = '\0';
        if (len != 40 || !vt_unhex(auth->bytes, 20, (char *)text))
            cr_sha1(auth->bytes, text, len);
    }
    vt_wipe(text, sizeof text);
    return err;
}

static int read_srk_auth(struct keyslot_place *place, struct vt_why *why)
{
    int err;

    if (!place->srk_auth[0])
        return VT_OK;
    err = keyslot_read_auth(place->srk_auth, &place->config.srk_auth, why);
    place->config.has_srk_auth = !err;
    return err;
}

static int read_signer(struct keyslot_place *place, const char *path, struct vt_why *why)
{
    char pem[4096];
    int err;

    if (!path[0])
        return vt_fail(why, VT_EUSAGE, "key slot tpm2-signed: key=FILE is missing: the public key (PEM) that signs "
                       "acceptable PCR sets");
    err = public_file_read(path, pem, sizeof pem, why);
    if (!err && (cr_rsa_pub_from_pem(&place->signer, pem) || place->signer.bytes != CR_RSA_MAX ||
                 place->signer.e != 65537))
        err = vt_fail(why, VT_EUSAGE, "%s: must be an RSA public key of 2048 bits in PEM: openssl rsa -in KEY -pubout",
                      path);
    return err;
}

int keyslot_place_from_spec(struct keyslot_place *place, const struct keyslot_spec *spec, struct vt_why *why)
{
    struct keyslot_tpm_args args;
    int err = keyslot_tpm_args(spec->kind, spec->arg, &args, why);

    memset(place, 0, sizeof *place);
    if (err)
        return err;
    place->config.kind = tpm_of(spec->kind);
    place->is_signed = strcmp(spec->kind, "tpm2-signed") == 0;
    memcpy(place->config.where, args.where, sizeof args.where);
    memcpy(place->signatures, args.signatures, sizeof args.signatures);
    memcpy(place->srk_auth, args.srk_auth, sizeof args.srk_auth);
    if (!args.pcrs[0])
        snprintf(args.pcrs, sizeof args.pcrs, "%s", place->config.kind == HWTPM_TPM2 ? DEFAULT_PCRS2 : DEFAULT_PCRS12);
    err = hwtpm_pcrs_parse(args.pcrs, &place->mask, why);
    if (!err && place->is_signed && !place->signatures[0])
        err = vt_fail(why, VT_EUSAGE, "key slot tpm2-signed: signatures=FILE is missing: what vtpmctl pcr-policy sign "
                      "wrote, now or later");
    if (!err && place->is_signed && !place->mask)
        err = vt_fail(why, VT_EUSAGE, "key slot tpm2-signed: pcrs=none leaves nothing to sign");
    if (!err && place->is_signed)
        err = read_signer(place, args.key, why);
    return err ? err : read_srk_auth(place, why);
}

/* ---- From a row, and into it ---- */

/* A member that may be missing: then "". False if it is malformed. */
static bool optional(const char *params, const char *name, char *out, size_t cap)
{
    int err = params_text(params, name, out, cap);

    if (err == VT_ENOTFOUND)
        out[0] = '\0';
    return !err || err == VT_ENOTFOUND;
}

int keyslot_place_from_row(struct keyslot_place *place, const char *params, const struct keyslot_spec *spec, struct vt_why *why)
{
    struct keyslot_tpm_args now = {0};
    char text[PARAMS_TEXT];
    int err = VT_OK;

    memset(place, 0, sizeof *place);
    if (params_text(params, "tpm", text, sizeof text) || !optional(params, "where", place->config.where, KEYSLOT_PATH) ||
        !optional(params, "signatures", place->signatures, sizeof place->signatures) ||
        !optional(params, "srk_auth", place->srk_auth, sizeof place->srk_auth))
        return vt_fail(why, VT_EDAMAGED, "its parameters are malformed");
    place->config.kind = strcmp(text, "1.2") == 0 ? HWTPM_TPM12 : HWTPM_TPM2;
    if (hwtpm_where_check(place->config.kind, place->config.where, why))
        return VT_EDAMAGED;
    place->is_signed = place->signatures[0] != '\0';
    place->signer = (struct cr_rsa_pub){.e = 65537, .bytes = CR_RSA_MAX};
    if (params_text(params, "pcrs", text, sizeof text) || hwtpm_pcrs_parse(text, &place->mask, NULL) ||
        (place->is_signed && (params_text(params, "signer", text, sizeof text) ||
                              !vt_unhex(place->signer.n, CR_RSA_MAX, text))))
        return vt_fail(why, VT_EDAMAGED, "its parameters are malformed");
    if (spec)
        err = keyslot_tpm_args(spec->kind, spec->arg, &now, why);
    if (now.where[0])
        memcpy(place->config.where, now.where, sizeof now.where);
    if (now.signatures[0])
        memcpy(place->signatures, now.signatures, sizeof now.signatures);
    if (now.srk_auth[0])
        memcpy(place->srk_auth, now.srk_auth, sizeof now.srk_auth);
    return err ? err : read_srk_auth(place, why);
}

static void put_hex(struct params_writer *w, const char *name, const void *bytes, size_t len)
{
    char text[PARAMS_TEXT];

    vt_hex(text, bytes, VT_MIN(len, sizeof text / 2 - 1));
    params_put_text(w, name, text);
}

void keyslot_place_put(struct params_writer *w, const struct keyslot_place *place)
{
    char pcrs[HWTPM_PCRS_TEXT];

    hwtpm_pcrs_text(pcrs, place->mask);
    params_put_text(w, "tpm", place->config.kind == HWTPM_TPM12 ? "1.2" : "2.0");
    params_put_text(w, "pcrs", pcrs);
    if (place->config.where[0])
        params_put_text(w, "where", place->config.where);
    if (place->srk_auth[0])
        params_put_text(w, "srk_auth", place->srk_auth);
    if (place->is_signed) {
        params_put_text(w, "signatures", place->signatures);
        put_hex(w, "signer", place->signer.n, CR_RSA_MAX);
    }
}

static const char *const object_names[] = {"sealed", "next_sealed"}, *const print_names[] = {"prints", "next_prints"};

void keyslot_sealed_put(struct params_writer *w, const struct keyslot_sealed *sealed)
{
    for (size_t i = 0; i < sealed->count; i++) {
        uint8_t prints[HWTPM_PCRS * HWTPM_PRINT];
        size_t len = 0;

        for (unsigned n = 0; n < HWTPM_PCRS; n++)
            if (sealed->prints[i].mask >> n & 1) {
                memcpy(prints + len, sealed->prints[i].of[n], HWTPM_PRINT);
                len += HWTPM_PRINT;
            }
        put_hex(w, print_names[i], prints, len);
        put_hex(w, object_names[i], sealed->object[i].bytes, sealed->object[i].len);
    }
}

static bool prints_from(struct hwtpm_prints *prints, uint32_t mask, const char *hex)
{
    uint8_t bytes[HWTPM_PCRS * HWTPM_PRINT];
    const uint8_t *at = bytes;
    size_t len = (size_t)__builtin_popcount(mask) * HWTPM_PRINT;

    memset(prints, 0, sizeof *prints);
    /* None: a slot of an operator's signatures. */
    if (!hex[0])
        return true;
    if (!vt_unhex(bytes, len, hex))
        return false;
    prints->mask = mask;
    for (unsigned n = 0; n < HWTPM_PCRS; n++)
        if (mask >> n & 1) {
            memcpy(prints->of[n], at, HWTPM_PRINT);
            at += HWTPM_PRINT;
        }
    return true;
}

int keyslot_sealed_from_row(struct keyslot_sealed *sealed, uint32_t mask, const char *params)
{
    char text[PARAMS_TEXT];

    memset(sealed, 0, sizeof *sealed);
    for (size_t i = 0; i < 2; i++) {
        size_t len;

        if (!optional(params, object_names[i], text, sizeof text))
            return VT_EDAMAGED;
        len = strlen(text) / 2;
        if (i && !text[0])
            return VT_OK;
        if (!len || len > HWTPM_SEALED || !vt_unhex(sealed->object[i].bytes, len, text) ||
            !optional(params, print_names[i], text, sizeof text) || !prints_from(&sealed->prints[i], mask, text))
            return VT_EDAMAGED;
        sealed->object[i].len = (uint32_t)len;
        sealed->count++;
    }
    return VT_OK;
}

/* ---- An operator's signatures ---- */

/* "pcrs=4,7 policy=HEX signature=HEX"; those of other PCRs are not ours. */
static bool parse_approval(const char *line, uint32_t mask, struct keyslot_approvals *out)
{
    char pcrs[HWTPM_PCRS_TEXT], policy[65], signature[2 * CR_RSA_MAX + 1];
    struct hwtpm_approval *to = &out->list[out->count];
    uint32_t of;

    if (sscanf(line, "pcrs=%71s policy=%64s signature=%512s", pcrs, policy, signature) != 3 ||
        hwtpm_pcrs_parse(pcrs, &of, NULL) || !vt_unhex(to->policy, sizeof to->policy, policy) ||
        !vt_unhex(to->signature, sizeof to->signature, signature))
        return false;
    if (of == mask)
        out->count++;
    return true;
}

int keyslot_read_approvals(const struct keyslot_place *place, struct keyslot_approvals *out, struct vt_why *why)
{
    char *text = vt_calloc(1, APPROVALS_TEXT), *save = NULL;
    int err = text ? public_file_read(place->signatures, text, APPROVALS_TEXT, why) : VT_ENOMEM;

    for (char *line = err ? NULL : strtok_r(text, "\n", &save); line && !err; line = strtok_r(NULL, "\n", &save))
        if (out->count == KEYSLOT_APPROVALS)
            err = vt_fail(why, VT_ETOOBIG, "%s: more than %d signed sets of these PCRs: take out old ones",
                          place->signatures, KEYSLOT_APPROVALS);
        else if (*line != '#' && !parse_approval(line, place->mask, out))
            err = vt_fail(why, VT_EUSAGE, "%s: '%.40s...' is not a line of vtpmctl pcr-policy sign", place->signatures,
                          line);
    vt_free(text);
    return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of TPM slots. A secret made for the slot is sealed by the TPM; the master key is wrapped under it as in any other
 * slot. The row keeps one sealed object, or two after `reseal --predict`: for the PCRs of then, and for those to come.
 */
#include "server/core/keyslot_tpm.h"

#include <stdio.h>

#include "hwtpm/hwtpm.h"
#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/core/keyslot_file.h"

#define DEFAULT_PCRS2  "7"      /* the Secure Boot policy: changes with keys, not with each update */
#define DEFAULT_PCRS12 "0,2,4"  /* firmware, option ROMs, boot loader */
#define APPROVALS_MAX  64
#define APPROVALS_TEXT (64u * 1024)

/* Where a slot's TPM is and what it asks of it. */
struct place {
    struct hwtpm_config config;
    uint32_t mask;
    bool is_signed;
    struct cr_rsa_pub signer;
    char signatures[KEYSLOT_PATH], srk_auth[KEYSLOT_PATH];
};

/* ---- From a SPEC ---- */

static enum hwtpm_kind tpm_of(const char *kind)
{
    return strcmp(kind, "tpm12") == 0 ? HWTPM_TPM12 : HWTPM_TPM2;
}

/* Its first line: 40 hex digits, or words whose SHA-1 is the secret, as the TPM 1.2 tools do it. */
static int read_srk_auth(struct place *place, struct vt_why *why)
{
    uint8_t text[256];
    size_t len;
    int err;

    if (!place->srk_auth[0])
        return VT_OK;
    err = secret_file_read(place->srk_auth, text, sizeof text - 1, &len, why);
    if (!err) {
        text[len] = '\0';
        len = strcspn((char *)text, "\n");
        text[len] = '\0';
        if (len != 40 || !vt_unhex(place->config.srk_auth.bytes, 20, (char *)text))
            cr_sha1(place->config.srk_auth.bytes, text, len);
        place->config.has_srk_auth = true;
    }
    vt_wipe(text, sizeof text);
    return err;
}

static int read_signer(struct place *place, const char *path, struct vt_why *why)
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

static int place_from_spec(struct place *place, const struct keyslot_spec *spec, struct vt_why *why)
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

static int place_from_row(struct place *place, const char *params, const struct keyslot_spec *spec, struct vt_why *why)
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

static void place_put(struct params_writer *w, const struct place *place)
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

/* What was sealed, and the PCRs to which: [0] those of then, [1] the predicted ones. */
struct sealed {
    size_t count;
    struct hwtpm_prints prints[2];
    struct hwtpm_sealed object[2];
};

static const char *const object_names[] = {"sealed", "next_sealed"}, *const print_names[] = {"prints", "next_prints"};

static void sealed_put(struct params_writer *w, const struct sealed *sealed)
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

static int sealed_from_row(struct sealed *sealed, uint32_t mask, const char *params)
{
    char text[PARAMS_TEXT];

    memset(sealed, 0, sizeof *sealed);
    for (size_t i = 0; i < 2; i++) {
        size_t len;

        if (!optional(params, object_names[i], text, sizeof text))
            return VT_EDAMAGED;
        len = strlen(text) / 2;
        if (i && !len)
            return VT_OK;
        if (!len || len > HWTPM_SEALED || !vt_unhex(sealed->object[i].bytes, len, text) ||
            !optional(params, print_names[i], text, sizeof text) || !prints_from(&sealed->prints[i], mask, text))
            return VT_EDAMAGED;
        sealed->object[i].len = (uint32_t)len;
        sealed->count++;
    }
    return VT_OK;
}

/* ---- Sealing: on the TPM's thread, so everything by value ---- */

struct seal_job {
    struct hwtpm_policy policy;     /* mask, signer */
    uint8_t secret[HWTPM_SECRET];
    char prediction[4096];          /* "": none */
    struct hwtpm_pcrs now, next;
    struct sealed sealed;
};

static int seal_to(struct hwtpm *tpm, struct seal_job *job, const struct hwtpm_pcrs *pcrs, struct vt_why *why)
{
    size_t i = job->sealed.count++;
    int err = hwtpm_pcrs_check(pcrs, why);

    job->policy.pcrs = *pcrs;
    if (!err)
        err = hwtpm_seal(tpm, &job->policy, job->secret, &job->sealed.object[i], why);
    if (!job->policy.is_signed)
        hwtpm_prints_of(&job->sealed.prints[i], pcrs);
    return err;
}

/* Before anybody relies on it. What needs a signature or other PCRs cannot be tried now. */
static int try_it(struct hwtpm *tpm, const struct seal_job *job, struct vt_why *why)
{
    struct hwtpm_policy policy = job->policy;
    VT_SECRET_KEY again = {{0}};
    int err;

    if (policy.is_signed)
        return VT_OK;
    policy.pcrs = job->now;
    err = hwtpm_unseal(tpm, &policy, &job->sealed.object[0], again.bytes, why);
    if (!err && !vt_ct_equal(again.bytes, job->secret, HWTPM_SECRET))
        err = vt_fail(why, VT_EIO, "the host TPM gives back something else than was sealed");
    return err;
}

static int do_seal(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct seal_job *job = arg;
    uint32_t mask = job->policy.pcrs.mask;
    int err = hwtpm_pcr_read(tpm, mask, &job->now, why);

    job->next = job->now;
    if (!err && job->prediction[0])
        err = hwtpm_pcrs_predict(&job->next, job->prediction, why);
    if (!err)
        err = seal_to(tpm, job, &job->now, why);
    if (!err)
        err = try_it(tpm, job, why);
    if (!err && job->prediction[0])
        err = seal_to(tpm, job, &job->next, why);
    return err;
}

static void report(struct keyslot_report *out, const struct seal_job *job)
{
    size_t len = 0;

    if (!out)
        return;
    out->text[0] = '\0';
    for (unsigned n = 0; n < HWTPM_PCRS; n++) {
        char now[2 * HWTPM_DIGEST + 1], next[2 * HWTPM_DIGEST + 1];

        if (!(job->now.mask >> n & 1) || len >= sizeof out->text)
            continue;
        vt_hex(now, job->now.value[n], job->now.len);
        vt_hex(next, job->next.value[n], job->next.len);
        len += (size_t)snprintf(out->text + len, sizeof out->text - len, "%u: %s%s%s\n", n, now,
                                strcmp(now, next) ? " or " : "", strcmp(now, next) ? next : "");
    }
}

static int seal_job_start(struct seal_job *job, const struct place *place, const struct keyslot_making *making,
                          struct vt_why *why)
{
    if (making->secret_len != HWTPM_SECRET)
        return vt_fail(why, VT_EUSAGE, "a TPM seals %d bytes", HWTPM_SECRET);
    if (making->prediction && strlen(making->prediction) >= sizeof job->prediction)
        return vt_fail(why, VT_ETOOBIG, "the prediction is longer than %zu bytes", sizeof job->prediction - 1);
    if (making->prediction && place->is_signed)
        return vt_fail(why, VT_EUSAGE, "a tpm2-signed slot needs no resealing: sign the predicted PCRs instead "
                       "(vtpmctl pcr-policy sign --predict)");
    memcpy(job->secret, making->secret, HWTPM_SECRET);
    if (making->prediction)
        memcpy(job->prediction, making->prediction, strlen(making->prediction));
    job->policy.pcrs.mask = place->mask;
    job->policy.is_signed = place->is_signed;
    job->policy.signer = place->signer;
    return VT_OK;
}

int keyslot_tpm_make(struct params_writer *w, const struct keyslot_making *making, struct vt_why *why)
{
    struct seal_job *job = VT_NEW(struct seal_job);
    struct place place;
    int err;

    if (!job)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    err = making->old_params ? place_from_row(&place, making->old_params, NULL, why)
                             : place_from_spec(&place, making->spec, why);
    if (!err)
        err = seal_job_start(job, &place, making, why);
    if (!err)
        err = hwtpm_run(&place.config, do_seal, job, sizeof *job, why);
    if (!err) {
        place_put(w, &place);
        sealed_put(w, &job->sealed);
        report(making->report, job);
        if (!place.mask)
            vt_fail(why, VT_OK, "pcrs=none: this slot opens on this host whatever was booted: it protects a stolen disk, "
                    "not a changed system");
    }
    vt_auth_wipe(&place.config.srk_auth);
    vt_free_wiped(job, sizeof *job);
    return err;
}

/* ---- An operator's signatures ---- */

struct approvals {
    size_t count;
    struct hwtpm_approval list[APPROVALS_MAX];
};

/* "pcrs=4,7 policy=HEX signature=HEX"; those of other PCRs are not ours. */
static bool parse_approval(const char *line, uint32_t mask, struct approvals *out)
{
    char pcrs[HWTPM_PCRS_TEXT], policy[65], signature[2 * CR_RSA_MAX + 1];
    struct hwtpm_approval *to = &out->list[out->count];
    uint32_t of;

    if (sscanf(line, "pcrs=%71s policy=%64s signature=%512s", pcrs, policy, signature) != 3 ||
        hwtpm_pcrs_parse(pcrs, &of, NULL) || !vt_unhex(to->policy, sizeof to->policy, policy) ||
        !vt_unhex(to->signature, sizeof to->signature, signature))
        return false;
    out->count += of == mask && out->count + 1 < APPROVALS_MAX;
    return true;
}

static int read_approvals(const struct place *place, struct approvals *out, struct vt_why *why)
{
    char *text = vt_calloc(1, APPROVALS_TEXT), *save = NULL;
    int err = text ? public_file_read(place->signatures, text, APPROVALS_TEXT, why) : VT_ENOMEM;

    for (char *line = err ? NULL : strtok_r(text, "\n", &save); line && !err; line = strtok_r(NULL, "\n", &save))
        if (*line != '#' && !parse_approval(line, place->mask, out))
            err = vt_fail(why, VT_EUSAGE, "%s: '%.40s...' is not a line of vtpmctl pcr-policy sign", place->signatures,
                          line);
    vt_free(text);
    return err;
}

/* ---- Unsealing ---- */

struct unseal_job {
    struct hwtpm_policy policy;
    struct sealed sealed;
    struct approvals approvals;
    char signatures[KEYSLOT_PATH];
    uint8_t secret[HWTPM_SECRET];
};

static int say_changed(const struct hwtpm_prints *sealed, const struct hwtpm_pcrs *now, struct vt_why *why)
{
    uint32_t differ = hwtpm_prints_differ(sealed, now);
    char all[HWTPM_PCRS_TEXT], then[2 * HWTPM_PRINT + 1], is[2 * HWTPM_PRINT + 1];
    unsigned first = (unsigned)__builtin_ctz(differ);

    hwtpm_pcrs_text(all, differ);
    vt_hex(then, sealed->of[first], HWTPM_PRINT);
    vt_hex(is, now->value[first], HWTPM_PRINT);
    return vt_fail(why, VT_EKEY, "PCR %s changed since it was sealed (PCR %u: %s... then, %s... now): boot what it was "
                   "sealed to, or open with the recovery key and vtpmctl keyslot reseal", all, first, then, is);
}

/* Which of the sealed objects is for the PCRs as they are now. */
static int choose_object(const struct unseal_job *job, const struct hwtpm_pcrs *now, size_t *which, struct vt_why *why)
{
    for (size_t i = 0; i < job->sealed.count; i++)
        if (!hwtpm_prints_differ(&job->sealed.prints[i], now)) {
            *which = i;
            return VT_OK;
        }
    return say_changed(&job->sealed.prints[0], now, why);
}

static int choose_approval(struct unseal_job *job, const struct hwtpm_pcrs *now, struct vt_why *why)
{
    uint8_t policy[CR_SHA256_LEN];
    char pcrs[HWTPM_PCRS_TEXT];

    if (!job->policy.is_signed)
        return VT_OK;
    hwtpm_pcr_policy(now, policy);
    for (size_t i = 0; i < job->approvals.count; i++)
        if (memcmp(job->approvals.list[i].policy, policy, sizeof policy) == 0) {
            job->policy.approval = job->approvals.list[i];
            return VT_OK;
        }
    hwtpm_pcrs_text(pcrs, now->mask);
    return vt_fail(why, VT_EKEY, "none of the %zu signed sets of PCR %s in %.200s is what they are now: sign it (vtpmctl "
                   "pcr-policy sign), or open with the recovery key", job->approvals.count, pcrs, job->signatures);
}

static int do_unseal(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct unseal_job *job = arg;
    struct hwtpm_pcrs now;
    size_t which = 0;
    int err = hwtpm_pcr_read(tpm, job->policy.pcrs.mask, &now, why);

    if (!err)
        err = choose_object(job, &now, &which, why);
    if (!err)
        err = choose_approval(job, &now, why);
    return err ? err : hwtpm_unseal(tpm, &job->policy, &job->sealed.object[which], job->secret, why);
}

static int unseal_job_start(struct unseal_job *job, const struct place *place, const char *params, struct vt_why *why)
{
    if (sealed_from_row(&job->sealed, place->mask, params))
        return vt_fail(why, VT_EDAMAGED, "its parameters are malformed");
    job->policy.pcrs.mask = place->mask;
    job->policy.is_signed = place->is_signed;
    job->policy.signer = place->signer;
    memcpy(job->signatures, place->signatures, sizeof job->signatures);
    return place->is_signed ? read_approvals(place, &job->approvals, why) : VT_OK;
}

int keyslot_tpm_own(const char *params, const struct keyslot_spec *spec, uint8_t **secret, size_t *len,
                    struct vt_why *why)
{
    struct unseal_job *job = VT_NEW(struct unseal_job);
    struct place place;
    int err;

    if (!job)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    err = place_from_row(&place, params, spec, why);
    if (!err)
        err = unseal_job_start(job, &place, params, why);
    if (!err)
        err = hwtpm_run(&place.config, do_unseal, job, sizeof *job, why);
    if (!err) {
        *secret = vt_memdup(job->secret, HWTPM_SECRET);
        *len = HWTPM_SECRET;
        err = *secret ? VT_OK : VT_ENOMEM;
    }
    vt_auth_wipe(&place.config.srk_auth);
    vt_free_wiped(job, sizeof *job);
    return err;
}

/* ---- Again ---- */

int keyslot_reseal(const struct db_keyslot *old, const char *prediction, const struct vt_uuid *store,
                   const struct vt_key *master, struct db_keyslot *out, struct keyslot_report *result,
                   struct vt_why *why)
{
    struct keyslot_spec spec = {0};
    VT_SECRET_KEY secret = {{0}};
    struct keyslot_making making = {.spec = &spec, .secret = secret.bytes, .secret_len = sizeof secret.bytes,
                                    .old_params = old->params, .prediction = prediction, .report = result};

    if (!keyslot_is_tpm(old->kind))
        return vt_fail(why, VT_ECONFLICT, "a %s slot is bound to no PCRs: there is nothing to reseal", old->kind);
    memcpy(spec.kind, old->kind, sizeof spec.kind);
    if (cr_key_random(secret.bytes, sizeof secret.bytes))
        return vt_fail(why, VT_EIO, "no random numbers from the operating system");
    *out = (struct db_keyslot){.id = old->id};
    return keyslot_make_row(out, &making, store, master, why);
}

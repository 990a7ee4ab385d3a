/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of TPM slots. A secret made for the slot is sealed by the TPM; the master key is wrapped under it as in any other
 * slot. The row keeps one sealed object, or two after `reseal --predict`: for the PCRs of then, and for those to come.
 */
#include "server/core/keyslot/place.h"

#include <stdio.h>

#include "server/base/alloc.h"

/* ---- Sealing: on the TPM's thread, so everything by value ---- */

struct seal_job {
    struct hwtpm_policy policy;     /* mask, signer */
    uint8_t secret[HWTPM_SECRET];
    char prediction[4096];          /* "": none */
    struct hwtpm_pcrs now, next;
    struct keyslot_sealed sealed;
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

static int seal_job_start(struct seal_job *job, const struct keyslot_place *place, const struct keyslot_making *making,
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

/* On success: what the slot does not protect against. The first text stays. */
static void warn_made(const struct seal_job *job, struct vt_why *why)
{
    char empty[HWTPM_PCRS_TEXT];
    uint32_t mask = hwtpm_pcrs_separators(&job->now);

    if (!job->policy.pcrs.mask)
        vt_fail(why, VT_OK, "pcrs=none: this slot opens on this host whatever was booted: it protects a stolen disk, "
                "not a changed system");
    if (!mask)
        return;
    hwtpm_pcrs_text(empty, mask);
    vt_fail(why, VT_OK, "PCR %s: the firmware's separator and nothing else: this firmware measures nothing there, only the "
            "other PCRs of the slot protect it", empty);
}

int keyslot_tpm_make(struct params_writer *w, const struct keyslot_making *making, struct vt_why *why)
{
    struct seal_job *job = VT_NEW(struct seal_job);
    struct keyslot_place place;
    int err;

    if (!job)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    err = making->old_params ? keyslot_place_from_row(&place, making->old_params, NULL, why)
                             : keyslot_place_from_spec(&place, making->spec, why);
    if (!err)
        err = seal_job_start(job, &place, making, why);
    if (!err)
        err = hwtpm_run(&place.config, do_seal, job, sizeof *job, why);
    if (!err) {
        keyslot_place_put(w, &place);
        keyslot_sealed_put(w, &job->sealed);
        report(making->report, job);
        warn_made(job, why);
    }
    vt_auth_wipe(&place.config.srk_auth);
    vt_free_wiped(job, sizeof *job);
    return err;
}

/* ---- Unsealing ---- */

struct unseal_job {
    struct hwtpm_policy policy;
    struct keyslot_sealed sealed;
    struct keyslot_approvals approvals;
    char signatures[KEYSLOT_PATH];
    struct hwtpm_pcrs now;
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
    size_t which = 0;
    int err = hwtpm_pcr_read(tpm, job->policy.pcrs.mask, &job->now, why);

    if (!err)
        err = choose_object(job, &job->now, &which, why);
    if (!err)
        err = choose_approval(job, &job->now, why);
    return err ? err : hwtpm_unseal(tpm, &job->policy, &job->sealed.object[which], job->secret, why);
}

static int unseal_job_start(struct unseal_job *job, const struct keyslot_place *place, const char *params, struct vt_why *why)
{
    if (keyslot_sealed_from_row(&job->sealed, place->mask, params))
        return vt_fail(why, VT_EDAMAGED, "its parameters are malformed");
    job->policy.pcrs.mask = place->mask;
    job->policy.is_signed = place->is_signed;
    job->policy.signer = place->signer;
    memcpy(job->signatures, place->signatures, sizeof job->signatures);
    return place->is_signed ? keyslot_read_approvals(place, &job->approvals, why) : VT_OK;
}

/* A slot that was made before its PCRs were looked at so closely opens, and says so. */
static void warn_opened(const struct unseal_job *job, struct vt_why *why)
{
    struct vt_why nothing = {0};

    if (hwtpm_pcrs_check(&job->now, &nothing))
        vt_fail(why, VT_OK, "it opens, whatever is booted: %.300s (vtpmctl keyslot add, then keyslot remove of this one)",
                nothing.text);
}

int keyslot_tpm_own(const char *params, const struct keyslot_spec *spec, uint8_t **secret, size_t *len,
                    struct vt_why *why)
{
    struct unseal_job *job = VT_NEW(struct unseal_job);
    struct keyslot_place place;
    int err;

    if (!job)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    err = keyslot_place_from_row(&place, params, spec, why);
    if (!err)
        err = unseal_job_start(job, &place, params, why);
    if (!err)
        err = hwtpm_run(&place.config, do_unseal, job, sizeof *job, why);
    if (!err) {
        *secret = vt_memdup(job->secret, HWTPM_SECRET);
        *len = HWTPM_SECRET;
        err = *secret ? VT_OK : VT_ENOMEM;
        warn_opened(job, why);
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

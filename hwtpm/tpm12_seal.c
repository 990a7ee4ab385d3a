/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2: TPM_Seal and TPM_Unseal under the SRK (Part 3, 10.1 and 10.2). */
#include "hwtpm/tpm12.h"

#define INFO_MAX 64

/* The sealed data's own secret. It would have to be kept beside the blob: the SRK and the PCRs are what protects. */
static const struct vt_auth data_auth;

/* Part 2, 5.4.1: TPM_COMPOSITE_HASH of the values. */
static void composite_hash(const struct tpm_pcr_selection *select, const struct hwtpm_pcrs *pcrs,
                           struct tpm_digest *out)
{
    uint8_t values[HWTPM_PCRS * CR_SHA1_LEN], bytes[sizeof values + 16];
    struct wr w = wr_to(bytes, sizeof bytes), v = wr_to(values, sizeof values);
    struct tpm_pcr_composite composite = {.select = *select};

    for (unsigned n = 0; n < HWTPM_PCRS; n++)
        if (pcrs->mask >> n & 1)
            wr_copy(&v, pcrs->value[n], CR_SHA1_LEN);
    composite.pcr_value = (struct tpm_blob){.len = (uint32_t)v.len, .data = values};
    wr_pcr_composite(&w, &composite);
    cr_sha1(out->bytes, bytes, w.len);
}

/* Part 2, 8.3: TPM_PCR_INFO; digestAtCreation is the TPM's to fill in. */
static void put_info(struct wr *w, const struct hwtpm_pcrs *pcrs)
{
    struct tpm_pcr_info info = {.pcr_selection.size_of_select = 3};

    for (unsigned i = 0; i < 3; i++)
        info.pcr_selection.pcr_select[i] = (uint8_t)(pcrs->mask >> (8 * i));
    composite_hash(&info.pcr_selection, pcrs, &info.digest_at_release);
    wr_pcr_info(w, &info);
}

/* What is kept are the bytes of TPM_STORED_DATA as they came. */
static int take_stored(struct rd *out, struct hwtpm_sealed *sealed, struct vt_why *why)
{
    struct rd r = *out;
    struct tpm_stored_data data;

    rd_stored_data(&r, &data);
    if (rd_result(&r) || out->left > sizeof sealed->bytes)
        return vt_fail(why, VT_EPROTO, "what the host TPM sealed has the wrong form");
    sealed->len = (uint32_t)out->left;
    memcpy(sealed->bytes, out->at, out->left);
    return VT_OK;
}

int tpm12_seal(struct hwtpm *tpm, const struct hwtpm_policy *policy, const uint8_t *secret, struct hwtpm_sealed *out,
               struct vt_why *why)
{
    uint8_t info[INFO_MAX];
    struct wr w = wr_to(info, sizeof info);
    struct seal_in in = {.in_data = {.len = HWTPM_SECRET, .data = secret}};
    struct tpm12_session session;
    struct tpm12_call call;
    int err = tpm12_osap(tpm, TPM_ET_SRK, TPM_KH_SRK, &tpm12_of(tpm)->srk, &session, why);

    if (err)
        return err;
    if (policy->pcrs.mask)
        put_info(&w, &policy->pcrs);
    in.pcr_info = (struct tpm_blob){.len = (uint32_t)w.len, .data = info};
    tpm12_encrypt_auth(&session, &data_auth, &in.enc_auth);
    tpm12_begin(&call, TPM_ORD_Seal);
    call.handles[call.handle_count++] = TPM_KH_SRK;
    call.sessions[call.session_count++] = &session;
    wr_seal_in(&call.in, &in);
    err = tpm12_run(tpm, &call, "seal", why);
    if (!err)
        err = take_stored(&call.out, out, why);
    tpm12_end(&call);
    vt_wipe(&session, sizeof session);
    return err;
}

static int take_secret(struct rd *out, uint8_t *secret, struct vt_why *why)
{
    struct unseal_out data;

    rd_unseal_out(out, &data);
    if (!rd_done(out) || data.secret.len != HWTPM_SECRET)
        return vt_fail(why, VT_EDAMAGED, "what the host TPM unsealed is not %d bytes", HWTPM_SECRET);
    memcpy(secret, data.secret.data, HWTPM_SECRET);
    return VT_OK;
}

int tpm12_unseal(struct hwtpm *tpm, const struct hwtpm_policy *policy, const struct hwtpm_sealed *sealed,
                 uint8_t *secret, struct vt_why *why)
{
    struct tpm12_session srk, data;
    struct tpm12_call call;
    int err = tpm12_oiap(tpm, &tpm12_of(tpm)->srk, &srk, why);

    (void)policy; /* it is in the sealed data */
    if (err)
        return err;
    err = tpm12_oiap(tpm, &data_auth, &data, why);
    if (err) {
        tpm12_flush(tpm, &srk);
        return err;
    }
    tpm12_begin(&call, TPM_ORD_Unseal);
    call.handles[call.handle_count++] = TPM_KH_SRK;
    call.sessions[call.session_count++] = &srk;
    call.sessions[call.session_count++] = &data;
    wr_copy(&call.in, sealed->bytes, VT_MIN(sealed->len, sizeof sealed->bytes));
    err = tpm12_run(tpm, &call, "unseal", why);
    if (!err)
        err = take_secret(&call.out, secret, why);
    tpm12_end(&call);
    vt_wipe(&srk, sizeof srk);
    return err;
}

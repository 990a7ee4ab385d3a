/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2: open, PCRs, random. Commands: tpm12_auth.c; sealing: tpm12_seal.c. */
#include "hwtpm/tpm12.h"

#include <stdio.h>
#include <unistd.h>

#include "server/base/alloc.h"

#define DEFAULT_DEVICE "/dev/tpm0"

static int tpm12_open(struct hwtpm *tpm, const struct hwtpm_config *config, struct vt_why *why)
{
    struct tpm12 *impl = VT_NEW(struct tpm12);

    if (!impl)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    tpm->impl = impl;
    snprintf(impl->where, sizeof impl->where, "%s", config->where[0] ? config->where : DEFAULT_DEVICE);
    if (config->has_srk_auth)
        impl->srk = config->srk_auth;
    snprintf(tpm->text, sizeof tpm->text, "TPM 1.2 by %.120s", impl->where);
    return tpm12_connect(impl->where, &impl->fd, why);
}

static void tpm12_close(struct hwtpm *tpm)
{
    struct tpm12 *impl = tpm->impl;

    if (!impl)
        return;
    if (impl->fd >= 0)
        close(impl->fd);
    vt_free_wiped(impl, sizeof *impl);
    tpm->impl = NULL;
}

static int read_one(struct hwtpm *tpm, unsigned n, uint8_t *value, struct vt_why *why)
{
    struct pcr_read_in in = {.pcr_index = n};
    struct pcr_read_out out;
    struct tpm12_call call;
    int err;

    tpm12_begin(&call, TPM_ORD_PcrRead);
    wr_pcr_read_in(&call.in, &in);
    err = tpm12_run(tpm, &call, "read its PCRs", why);
    if (!err) {
        rd_pcr_read_out(&call.out, &out);
        err = rd_done(&call.out) ? VT_OK : vt_fail(why, VT_EPROTO, "the host TPM's PCR has the wrong size");
        memcpy(value, out.out_digest.bytes, CR_SHA1_LEN);
    }
    tpm12_end(&call);
    return err;
}

static int tpm12_pcr_read(struct hwtpm *tpm, struct hwtpm_pcrs *pcrs, struct vt_why *why)
{
    int err = VT_OK;

    for (unsigned n = 0; n < HWTPM_PCRS && !err; n++)
        if (pcrs->mask >> n & 1)
            err = read_one(tpm, n, pcrs->value[n], why);
    return err;
}

static int tpm12_random(struct hwtpm *tpm, uint8_t *out, size_t len, struct vt_why *why)
{
    int err = VT_OK;

    while (len && !err) {
        struct get_random_in in = {.bytes_requested = (uint32_t)VT_MIN(len, 32u)};
        struct get_random_out answer;
        struct tpm12_call call;

        tpm12_begin(&call, TPM_ORD_GetRandom);
        wr_get_random_in(&call.in, &in);
        err = tpm12_run(tpm, &call, "give random numbers", why);
        if (!err) {
            rd_get_random_out(&call.out, &answer);
            if (!rd_done(&call.out) || !answer.random_bytes.len || answer.random_bytes.len > in.bytes_requested)
                err = vt_fail(why, VT_EIO, "the host TPM gave no random numbers");
        }
        if (!err) {
            memcpy(out, answer.random_bytes.data, answer.random_bytes.len);
            out += answer.random_bytes.len;
            len -= answer.random_bytes.len;
        }
        tpm12_end(&call);
    }
    return err;
}

const struct hwtpm_ops hwtpm_tpm12 = {
    .kind = HWTPM_TPM12,
    .name = "TPM 1.2",
    .digest_len = CR_SHA1_LEN,
    .open = tpm12_open,
    .close = tpm12_close,
    .pcr_read = tpm12_pcr_read,
    .random = tpm12_random,
    .seal = tpm12_seal,
    .unseal = tpm12_unseal,
    .key_make = tpm12_key_make,
    .quote = tpm12_quote,
    .enrol = tpm12_enrol,
    .activate = tpm12_activate,
    .anchor_make = tpm12_anchor_make,
    .anchor_read = tpm12_anchor_read,
    .anchor_advance = tpm12_anchor_advance,
};

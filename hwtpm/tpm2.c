/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 2.0 by tpm2-tss (ESYS) and any of its TCTIs: open, read, random. Sealing: tpm2_seal.c. */
#include "hwtpm/tpm2.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/alloc.h"

#define DEFAULT_TCTI "device:/dev/tpmrm0"

/* ---- Response codes ---- */

TSS2_RC tpm2_plain(TSS2_RC rc)
{
    /* Part 2, 6.6.3: bit 7 says format one; bits 8-11 and 6 say which parameter, handle or session. */
    return rc & 0x80 ? rc & 0xbf : rc;
}

static const struct {
    TSS2_RC rc;
    int err;
    const char *text;
} causes[] = {
    {TPM2_RC_INITIALIZE, VT_EAGAIN, "it was not started (TPM2_Startup): the firmware does that; restart the host"},
    {TPM2_RC_FAILURE, VT_EIO, "it is in failure mode: restart the host; if that does not help it is broken"},
    {TPM2_RC_LOCKOUT, VT_EAGAIN, "it is in lockout after wrong guesses: wait, or tpm2_dictionarylockout --clear-lockout"},
    {TPM2_RC_RETRY, VT_EAGAIN, "it is busy: try again"},
    {TPM2_RC_YIELDED, VT_EAGAIN, "it is busy: try again"},
    {TPM2_RC_TESTING, VT_EAGAIN, "it is testing itself: try again"},
    {TPM2_RC_NV_RATE, VT_EAGAIN, "it limits how often its memory is written: try again later"},
    {TPM2_RC_NV_UNAVAILABLE, VT_EAGAIN, "its memory cannot be written now: try again"},
    {TPM2_RC_OBJECT_MEMORY, VT_EAGAIN, "other programs use all its room for keys: use /dev/tpmrm0, or flush "
                                       "(tpm2_flushcontext --transient-object)"},
    {TPM2_RC_SESSION_MEMORY, VT_EAGAIN, "other programs use all its sessions: use /dev/tpmrm0, or flush "
                                        "(tpm2_flushcontext --loaded-session)"},
    {TPM2_RC_BAD_AUTH, VT_EAUTH, "its owner hierarchy has a password: make the standard storage key once with it: "
                                 "tpm2_createprimary -C o -P PASSWORD -G ecc -c srk.ctx && tpm2_evictcontrol -C o "
                                 "-P PASSWORD -c srk.ctx 0x81000001"},
    {TPM2_RC_AUTH_FAIL, VT_EAUTH, "the storage key 0x81000001 has a password: the server needs one without"},
    {TPM2_RC_HIERARCHY, VT_ENOTSUP, "its owner hierarchy is switched off: switch it on in the firmware"},
    {TPM2_RC_POLICY_FAIL, VT_EKEY, "its PCRs are not those that were sealed to"},
    {TPM2_RC_PCR_CHANGED, VT_EAGAIN, "a PCR was extended meanwhile: try again"},
    {TPM2_RC_INTEGRITY, VT_EKEY, "this was sealed by another TPM, or this one was cleared since"},
    {TPM2_RC_SIGNATURE, VT_EKEY, "the signature over the PCR set is not of the key that the slot was made with"},
};

int tpm2_fail(TSS2_RC rc, const char *doing, struct vt_why *why)
{
    /* Codes of the resource manager are the TPM's, in another layer. */
    TSS2_RC plain = (rc & TSS2_RC_LAYER_MASK) == TSS2_RESMGR_TPM_RC_LAYER ? rc & ~TSS2_RC_LAYER_MASK : rc;

    if (!(plain & TSS2_RC_LAYER_MASK))
        for (size_t i = 0; i < VT_COUNT(causes); i++)
            if (causes[i].rc == tpm2_plain(plain))
                return vt_fail(why, causes[i].err, "the host TPM cannot %s: %s", doing, causes[i].text);
    if ((rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_IO_ERROR || (rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_NO_CONNECTION)
        return vt_fail(why, VT_EIO, "the host TPM cannot %s: the connection to it broke", doing);
    return vt_fail(why, VT_EIO, "the host TPM cannot %s: %s (0x%x)", doing, Tss2_RC_Decode(rc), (unsigned)rc);
}

/* ---- Open ---- */

/* What open(2) says about a device, before the TSS turns it into "I/O error". */
static int check_device(const char *tcti, struct vt_why *why)
{
    const char *path = tcti + strlen("device:");
    struct stat st;
    int fd;

    if (strncmp(tcti, "device:", strlen("device:")) != 0)
        return VT_OK;
    /* Nothing else is opened for writing. */
    if (stat(path, &st) == 0 && !S_ISCHR(st.st_mode))
        return vt_fail(why, VT_EUSAGE, "%s: not a device", path);
    fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return hwtpm_no_device(path, errno, why);
    close(fd);
    return VT_OK;
}

static int open_failed(const char *tcti, TSS2_RC rc, struct vt_why *why)
{
    if ((rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_IO_ERROR || (rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_NO_CONNECTION)
        return vt_fail(why, VT_ENOTFOUND, "tcti=%s: nobody answers there: start the TPM, or name the right place", tcti);
    if ((rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_NOT_SUPPORTED ||
        (rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_BAD_VALUE)
        return vt_fail(why, VT_EUSAGE, "tcti=%s: no such TCTI, or not in this form: device:/dev/tpmrm0, "
                       "swtpm:port=2321, swtpm:path=/run/swtpm.sock; its library must be installed "
                       "(libtss2-tcti-swtpm0, libtss2-tcti-tabrmd0, ...)", tcti);
    return vt_fail(why, VT_EIO, "tcti=%s: %s (0x%x)", tcti, Tss2_RC_Decode(rc), (unsigned)rc);
}

/* TPM_PT_MANUFACTURER and TPM_PT_FIRMWARE_VERSION_1; who cannot tell goes without a name. */
static void describe(struct hwtpm *tpm, const char *tcti)
{
    TPMS_CAPABILITY_DATA *data = NULL;
    TPMI_YES_NO more;
    char maker[5] = "";
    uint32_t value = 0;

    if (!Esys_GetCapability(tpm2_esys(tpm), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_TPM_PROPERTIES,
                            TPM2_PT_MANUFACTURER, 1, &more, &data) && data->data.tpmProperties.count)
        value = data->data.tpmProperties.tpmProperty[0].value;
    Esys_Free(data);
    for (int i = 0; i < 4; i++) {
        char c = (char)(value >> (24 - 8 * i) & 0xff);

        maker[i] = c > 0x20 && c < 0x7f ? c : '\0';
    }
    snprintf(tpm->text, sizeof tpm->text, "TPM 2.0%s%s by %.100s", maker[0] ? " of " : "", maker, tcti);
}

static int tpm2_open(struct hwtpm *tpm, const struct hwtpm_config *config, struct vt_why *why)
{
    const char *tcti = config->where[0] ? config->where : DEFAULT_TCTI;
    struct tpm2 *impl = VT_NEW(struct tpm2);
    TSS2_RC rc;
    int err;

    if (!impl)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    tpm->impl = impl;
    err = check_device(tcti, why);
    if (err)
        return err;
    rc = Tss2_TctiLdr_Initialize(tcti, &impl->tcti);
    if (!rc)
        rc = Esys_Initialize(&impl->esys, impl->tcti, NULL);
    if (rc)
        return open_failed(tcti, rc, why);
    describe(tpm, tcti);
    return VT_OK;
}

static void tpm2_close(struct hwtpm *tpm)
{
    struct tpm2 *impl = tpm->impl;

    if (!impl)
        return;
    if (impl->esys)
        Esys_Finalize(&impl->esys);
    if (impl->tcti)
        Tss2_TctiLdr_Finalize(&impl->tcti);
    vt_free(impl);
    tpm->impl = NULL;
}

/* ---- PCRs ---- */

void tpm2_select(TPML_PCR_SELECTION *select, uint32_t mask)
{
    *select = (TPML_PCR_SELECTION){.count = 1};
    select->pcrSelections[0].hash = TPM2_ALG_SHA256;
    select->pcrSelections[0].sizeofSelect = 3;
    for (unsigned i = 0; i < 3; i++)
        select->pcrSelections[0].pcrSelect[i] = (BYTE)(mask >> (8 * i));
}

/* Takes what one call answered; the mask of the PCRs that it brought. */
static uint32_t take_values(struct hwtpm_pcrs *pcrs, const TPML_PCR_SELECTION *which, const TPML_DIGEST *values)
{
    uint32_t got = 0, mask = 0;
    size_t at = 0;

    if (which->count != 1 || which->pcrSelections[0].hash != TPM2_ALG_SHA256)
        return 0;
    for (unsigned i = 0; i < 3 && i < which->pcrSelections[0].sizeofSelect; i++)
        mask |= (uint32_t)which->pcrSelections[0].pcrSelect[i] << (8 * i);
    for (unsigned n = 0; n < HWTPM_PCRS && at < values->count; n++) {
        if (!(mask >> n & 1))
            continue;
        if (values->digests[at].size != CR_SHA256_LEN)
            return 0;
        memcpy(pcrs->value[n], values->digests[at++].buffer, CR_SHA256_LEN);
        got |= 1u << n;
    }
    return got;
}

int tpm2_pcr_read(struct hwtpm *tpm, struct hwtpm_pcrs *pcrs, struct vt_why *why)
{
    uint32_t missing = pcrs->mask;

    /* Eight values at most in one answer. */
    while (missing) {
        TPML_PCR_SELECTION select, *which = NULL;
        TPML_DIGEST *values = NULL;
        uint32_t counter, got;
        TSS2_RC rc;

        tpm2_select(&select, missing);
        rc = Esys_PCR_Read(tpm2_esys(tpm), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &select, &counter, &which, &values);
        if (rc)
            return tpm2_fail(rc, "read its PCRs", why);
        got = take_values(pcrs, which, values) & missing;
        Esys_Free(which);
        Esys_Free(values);
        if (!got)
            return vt_fail(why, VT_ENOTSUP, "the host TPM has no SHA-256 bank for these PCRs: switch it on "
                           "(tpm2_pcrallocate sha256:all, then restart the host)");
        missing &= ~got;
    }
    return VT_OK;
}

/* ---- Random ---- */

static int tpm2_random(struct hwtpm *tpm, uint8_t *out, size_t len, struct vt_why *why)
{
    while (len) {
        TPM2B_DIGEST *bytes = NULL;
        TSS2_RC rc = Esys_GetRandom(tpm2_esys(tpm), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                    (UINT16)VT_MIN(len, 32u), &bytes);
        size_t got = rc ? 0 : VT_MIN(bytes->size, len);

        if (rc)
            return tpm2_fail(rc, "give random numbers", why);
        if (!got) {
            Esys_Free(bytes);
            return vt_fail(why, VT_EIO, "the host TPM gave no random numbers");
        }
        memcpy(out, bytes->buffer, got);
        vt_wipe(bytes, sizeof *bytes);
        Esys_Free(bytes);
        out += got;
        len -= got;
    }
    return VT_OK;
}

const struct hwtpm_ops hwtpm_tpm2 = {
    .kind = HWTPM_TPM2,
    .name = "TPM 2.0",
    .digest_len = CR_SHA256_LEN,
    .open = tpm2_open,
    .close = tpm2_close,
    .pcr_read = tpm2_pcr_read,
    .random = tpm2_random,
    .seal = tpm2_seal,
    .unseal = tpm2_unseal,
    .key_make = tpm2_key_make,
    .quote = tpm2_quote,
    .enrol = tpm2_enrol,
    .activate = tpm2_activate,
    .anchor_make = tpm2_anchor_make,
    .anchor_read = tpm2_anchor_read,
    .anchor_advance = tpm2_anchor_advance,
};

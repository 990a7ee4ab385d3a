/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The endorsement key's certificate (docs/ekcert.md). The CA's key is opened here, on the operator's side:
 * the server sees the key that is to be certified go out and the certificate come in, and nothing else.
 */
#include "server/ctl/ek_x509.h"
#include "server/ctl/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/base/alloc.h"

/* Longer than any certificate that the server takes: how long that may be, it says. */
#define FILE_MAX (64u * 1024)

/* ---- Requests ---- */

/* With a key in it, or the exit code. */
static int ask_key(const struct arguments *a, char *instance, Vtpm__AdminReply **reply)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceRef ref = VTPM__INSTANCE_REF__INIT;
    struct vt_why why = {0};
    int code;

    ref.instance = instance;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_EKCERT_SHOW;
    request.ekcert_show = &ref;
    code = ctl_ask(a, &request, reply);
    if (code)
        return code;
    if ((*reply)->ekcert && (*reply)->ekcert->modulus.len)
        return 0;
    ctl_reply_free(*reply);
    vt_fail(&why, VT_ENOTFOUND, "%s has no endorsement key", instance);
    return ctl_fail(a, VT_ENOTFOUND, &why);
}

static int install(const struct arguments *a, char *instance, uint8_t *der, size_t len)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__EkCertInstall order = VTPM__EK_CERT_INSTALL__INIT;
    Vtpm__AdminReply *reply;
    int code;

    order.instance = instance;
    order.certificate = (ProtobufCBinaryData){.data = der, .len = len};
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_EKCERT_INSTALL;
    request.ekcert_install = &order;
    code = ctl_ask(a, &request, &reply);
    if (!code)
        ctl_reply_free(reply);
    return code;
}

/* ---- Sign ---- */

static int take_days(const struct arguments *a, unsigned *days, struct vt_why *why)
{
    char *end = NULL;
    unsigned long value = a->days ? strtoul(a->days, &end, 10) : EK_DAYS;

    if (a->days && (a->days[0] < '0' || a->days[0] > '9' || *end || !value || value > EK_DAYS_MAX))
        return vt_fail(why, VT_EUSAGE, "--days %s: it must be 1 to %d", a->days, EK_DAYS_MAX);
    *days = (unsigned)value;
    return VT_OK;
}

int ekcert_open_ca(const struct arguments *a, struct ek_ca **ca, struct vt_why *why)
{
    unsigned days = EK_DAYS;
    int err = take_days(a, &days, why);

    return err ? err : ek_ca_open(ca, a->ca_key, a->ca_cert, days, why);
}

/* The file is there before the TPM has it, and gone again if the server refuses. */
static int save_and_install(const struct arguments *a, char *instance, uint8_t *der, size_t len)
{
    struct vt_why why = {0};
    int code, err = a->out ? ek_cert_save(a->out, der, len, &why) : VT_OK;

    if (err)
        return ctl_fail(a, err, &why);
    code = install(a, instance, der, len);
    if (code && a->out)
        unlink(a->out);
    return code;
}

int ekcert_certify(const struct arguments *a, const struct ek_ca *ca, char *instance)
{
    VT_AUTOFREE uint8_t *der = NULL;
    Vtpm__AdminReply *reply;
    struct vt_why why = {0};
    size_t len;
    int err, code = ask_key(a, instance, &reply);

    if (code)
        return code;
    err = ek_ca_sign(ca, reply->ekcert, &der, &len, &why);
    code = err ? ctl_fail(a, err, &why) : save_and_install(a, reply->ekcert->uuid, der, len);
    ctl_reply_free(reply);
    return code;
}

/* ---- Verbs ---- */

int run_ekcert_sign(const struct arguments *a, char *const *operands)
{
    struct ek_ca *ca;
    struct vt_why why = {0};
    int code, err = ekcert_open_ca(a, &ca, &why);

    if (err)
        return ctl_fail(a, err, &why);
    code = ekcert_certify(a, ca, operands[0]);
    ek_ca_close(ca);
    if (!code)
        print_ok(&a->ctl);
    return code;
}

int run_ekcert_request(const struct arguments *a, char *const *operands)
{
    VT_AUTOFREE char *pem = NULL;
    Vtpm__AdminReply *reply;
    struct vt_why why = {0};
    int err, code = ask_key(a, operands[0], &reply);

    if (code)
        return code;
    err = ek_key_pem(reply->ekcert, &pem, &why);
    if (err)
        code = ctl_fail(a, err, &why);
    else
        print_ek(&a->ctl, reply->ekcert, pem);
    ctl_reply_free(reply);
    return code;
}

int run_ekcert_install(const struct arguments *a, char *const *operands)
{
    VT_AUTOFREE uint8_t *der = NULL;
    struct vt_why why = {0};
    size_t len;
    int code, err = ek_cert_read(operands[1], FILE_MAX, &der, &len, &why);

    if (err)
        return ctl_fail(a, err, &why);
    code = install(a, operands[0], der, len);
    if (!code)
        print_ok(&a->ctl);
    return code;
}

static int show(const struct arguments *a, const Vtpm__EkCert *ek, const char *instance)
{
    VT_AUTOFREE char *pem = NULL;
    struct ek_cert_facts facts;
    struct vt_why why = {0};
    int err = VT_OK;

    if (!ek->certificate.len)
        err = vt_fail(&why, VT_ENOTFOUND, "%s has no certificate for its endorsement key", instance);
    if (!err)
        err = ek_cert_pem(ek->certificate.data, ek->certificate.len, &pem, &why);
    if (!err && !is_given(a, OPT(PEM)))
        err = ek_cert_facts(&facts, ek->certificate.data, ek->certificate.len, &why);
    if (err)
        return ctl_fail(a, err, &why);
    print_ek_cert(&a->ctl, ek, is_given(a, OPT(PEM)) ? NULL : &facts, pem);
    return 0;
}

int run_ekcert_show(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminReply *reply;
    int code = ask_key(a, operands[0], &reply);

    if (code)
        return code;
    code = show(a, reply->ekcert, operands[0]);
    ctl_reply_free(reply);
    return code;
}

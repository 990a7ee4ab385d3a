/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host evidence (docs/attestation.md): the attestation key of the host's TPM, deep quotes, and their
 * verification, which needs neither a server nor a TPM.
 */
#include "server/ctl/quote.h"
#include "server/ctl/verbs.h"

#include <string.h>

#include "server/base/alloc.h"
#include "server/base/text.h"
#include "server/ctl/ek_x509.h"

#define HOST_PCRS  0x0000FFu /* what firmware and boot loader measure */
#define GUEST_PCRS 0xFFFFFFu
#define FILE_MAX   (64u * 1024)

/* ---- The key ---- */

static int show_key(const struct arguments *a, const Vtpm__HostAk *ak)
{
    Vtpm__EkCert rsa = VTPM__EK_CERT__INIT;
    VT_AUTOFREE char *pem = NULL;
    struct vt_why why = {0};
    int err;

    if (!ak)
        return ctl_fail(a, VT_EPROTO, &why);
    rsa.modulus = ak->modulus;
    rsa.exponent = ak->exponent;
    err = ek_key_pem(&rsa, &pem, &why);
    if (err)
        return ctl_fail(a, err, &why);
    print_host_ak(&a->ctl, ak, pem);
    return 0;
}

/* The first line of a file is the secret, as tpm_takeownership was told it. */
int read_owner(const char *path, uint8_t owner[CR_SHA1_LEN], struct vt_why *why)
{
    uint8_t *bytes;
    size_t len;
    int err = load_file(path, FILE_MAX, &bytes, &len, why);

    if (err)
        return err;
    cr_sha1(owner, bytes, strcspn((const char *)bytes, "\r\n"));
    vt_free_wiped(bytes, len);
    return VT_OK;
}

int run_host_ak_create(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__HostAkCreate create = VTPM__HOST_AK_CREATE__INIT;
    uint8_t owner[CR_SHA1_LEN];
    Vtpm__AdminReply *reply;
    struct vt_why why = {0};
    int code, err = a->file ? read_owner(a->file, owner, &why) : VT_OK;

    (void)operands;
    if (err)
        return ctl_fail(a, err, &why);
    create.replace = is_given(a, OPT(YES));
    if (a->file)
        create.owner = (ProtobufCBinaryData){.data = owner, .len = sizeof owner};
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_HOST_AK_CREATE;
    request.host_ak_create = &create;
    code = ctl_ask(a, &request, &reply);
    vt_wipe(owner, sizeof owner);
    if (code)
        return code;
    code = show_key(a, reply->host_ak);
    ctl_reply_free(reply);
    return code;
}

int run_host_ak_show(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__HostAkShow show = VTPM__HOST_AK_SHOW__INIT;
    Vtpm__AdminReply *reply;
    int code;

    (void)operands;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_HOST_AK_SHOW;
    request.host_ak_show = &show;
    code = ctl_ask(a, &request, &reply);
    if (code)
        return code;
    code = show_key(a, reply->host_ak);
    ctl_reply_free(reply);
    return code;
}

/* ---- Quote ---- */

static int take_nonce(const struct arguments *a, uint8_t nonce[EVIDENCE_NONCE], struct vt_why *why)
{
    if (vt_unhex(nonce, EVIDENCE_NONCE, a->nonce))
        return VT_OK;
    return vt_fail(why, VT_EUSAGE,
                   "--nonce %.80s: it must be 64 hex digits, fresh from whoever will verify: openssl rand "
                   "-hex 32",
                   a->nonce);
}

static int take_masks(const struct arguments *a, uint32_t *pcrs, uint32_t *host_pcrs, struct vt_why *why)
{
    int err = a->pcr ? hwtpm_pcrs_parse(a->pcr, pcrs, why) : VT_OK;

    if (!err && a->pcrs)
        err = hwtpm_pcrs_parse(a->pcrs, host_pcrs, why);
    if (!err && !*host_pcrs)
        err = vt_fail(why, VT_EUSAGE, "--pcrs none: at least one PCR of the host must be quoted");
    return err;
}

static int ask_quote(const struct arguments *a, char *instance, uint8_t nonce[EVIDENCE_NONCE], uint32_t pcrs,
                     uint32_t host_pcrs, Vtpm__AdminReply **reply)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceQuote quote = VTPM__INSTANCE_QUOTE__INIT;

    quote.instance = instance;
    quote.nonce = (ProtobufCBinaryData){.data = nonce, .len = EVIDENCE_NONCE};
    quote.pcrs = pcrs;
    quote.host_pcrs = host_pcrs;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_QUOTE;
    request.quote = &quote;
    return ctl_ask(a, &request, reply);
}

static int save_quote(const struct arguments *a, int fd, const ProtobufCBinaryData *evidence)
{
    struct vt_why why = {0};
    int err = save_put(a->out, fd, evidence->data, evidence->len, &why);

    if (!err)
        err = save_end(a->out, fd, &why);
    else
        save_drop(a->out, fd);
    if (err)
        return ctl_fail(a, err, &why);
    print_quoted(&a->ctl, a->out, evidence->len);
    return 0;
}

int run_quote(const struct arguments *a, char *const *operands)
{
    uint32_t pcrs = GUEST_PCRS, host_pcrs = HOST_PCRS;
    uint8_t nonce[EVIDENCE_NONCE];
    Vtpm__AdminReply *reply;
    struct vt_why why = {0};
    int fd, code, err = take_nonce(a, nonce, &why);

    if (!err)
        err = take_masks(a, &pcrs, &host_pcrs, &why);
    if (!err)
        err = save_begin(a->out, &fd, &why);
    if (err)
        return ctl_fail(a, err, &why);
    code = ask_quote(a, operands[0], nonce, pcrs, host_pcrs, &reply);
    if (code) {
        save_drop(a->out, fd);
        return code;
    }
    code = save_quote(a, fd, &reply->evidence);
    ctl_reply_free(reply);
    return code;
}

/* ---- Verification ---- */

static int read_pinned(const struct arguments *a, struct cr_rsa_pub *key, struct vt_why *why)
{
    uint8_t *pem;
    size_t len;
    int err = load_file(a->key, FILE_MAX, &pem, &len, why);

    if (err)
        return err;
    if (strlen((const char *)pem) != len || cr_rsa_pub_from_pem(key, (const char *)pem))
        err = vt_fail(why, VT_EUSAGE,
                      "--key %s: must be the RSA public key that `vtpmctl host-ak show` printed, or with "
                      "--ca-cert its certificate",
                      a->key);
    vt_free(pem);
    return err;
}

/* The attestation key: pinned, or in a certificate of a CA that the caller trusts. Certificates come before
 * cr_init. */
static int read_key(const struct arguments *a, struct cr_rsa_pub *key, struct vt_why *why)
{
    int err = a->ca_cert ? ak_of_certificate(key, a->key, a->ca_cert, why) : VT_OK;

    if (!err)
        err = cr_init();
    return err || a->ca_cert ? err : read_pinned(a, key, why);
}

static int read_evidence(const char *path, struct evidence *evidence, struct vt_why *why)
{
    uint8_t *bytes;
    size_t len;
    int err = load_file(path, EVIDENCE_MAX, &bytes, &len, why);

    if (err)
        return err;
    err = evidence_read(evidence, bytes, len, why);
    vt_free(bytes);
    return err;
}

static int check_wanted(const struct arguments *a, const struct evidence_statement *s, struct vt_why *why)
{
    uint8_t nonce[EVIDENCE_NONCE];
    struct vt_uuid uuid;
    int err = take_nonce(a, nonce, why);

    if (err)
        return err;
    if (memcmp(nonce, s->nonce, sizeof nonce) != 0)
        return vt_fail(why, VT_EAUTH,
                       "the quote has another nonce: it is old, or an answer to somebody else");
    if (a->uuid && !vt_uuid_parse(&uuid, a->uuid))
        return vt_fail(why, VT_EUSAGE, "--uuid %.60s is none", a->uuid);
    if (a->uuid && !vt_uuid_equal(&uuid, &s->instance))
        return vt_fail(why, VT_EAUTH, "the quote is of another instance than --uuid %s", a->uuid);
    return VT_OK;
}

int run_verify_quote(const struct arguments *a, char *const *operands)
{
    static struct evidence evidence;
    struct cr_rsa_pub key;
    struct vt_why why = {0};
    int err = read_key(a, &key, &why);

    if (!err)
        err = read_evidence(operands[0], &evidence, &why);
    if (!err)
        err = evidence_check(&evidence, &key, &why);
    if (!err)
        err = check_wanted(a, &evidence.statement, &why);
    if (err)
        return ctl_fail(a, err, &why);
    print_evidence(&a->ctl, &evidence);
    return 0;
}

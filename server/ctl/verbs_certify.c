/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `host-ak certify` (docs/attestation.md): request and answer are asked of the server, challenge and sign are
 * the CA's and need neither a server nor a TPM. Each step leaves a file for the other side.
 */
#include "server/ctl/ek_x509.h"
#include "server/ctl/quote.h"
#include "server/ctl/verbs.h"

#include <stdio.h>

#include "server/base/alloc.h"

#define LABEL_MAX 64 /* RFC 5280: ub-common-name */

/* ---- Files ---- */

static int save(const char *path, const uint8_t *bytes, size_t len, struct vt_why *why)
{
    int fd, err = save_begin(path, &fd, why);

    if (err)
        return err;
    err = save_put(path, fd, bytes, len, why);
    if (err)
        save_drop(path, fd);
    else
        err = save_end(path, fd, why);
    return err;
}

/* The file, as the bytes that `read` understands. */
#define LOAD(name, type)                                                                                     \
    static int load_##name(type *out, const char *path, struct vt_why *why)                                  \
    {                                                                                                        \
        uint8_t *bytes;                                                                                      \
        size_t len;                                                                                          \
        int err = load_file(path, ENROL_MAX, &bytes, &len, why);                                             \
                                                                                                             \
        if (err)                                                                                             \
            return err;                                                                                      \
        err = enrol_##name##_read(out, bytes, len, why);                                                     \
        vt_free_wiped(bytes, len);                                                                           \
        return err;                                                                                          \
    }
LOAD(request, struct enrol_request)
LOAD(answer, struct enrol_answer)
LOAD(secret, struct enrol_secret)

/* ---- The host's half ---- */

/* One request to the server, whose answer is the file of --out: there before the TPM is asked. */
static int ask_for_file(const struct arguments *a, const Vtpm__AdminRequest *request,
                        ProtobufCBinaryData *owner)
{
    uint8_t secret[CR_SHA1_LEN];
    Vtpm__AdminReply *reply;
    struct vt_why why = {0};
    int fd, code, err = a->file ? read_owner(a->file, secret, &why) : VT_OK;

    if (!err)
        err = save_begin(a->out, &fd, &why);
    if (err)
        return ctl_fail(a, err, &why);
    if (a->file)
        *owner = (ProtobufCBinaryData){.data = secret, .len = sizeof secret};
    code = ctl_ask(a, request, &reply);
    vt_wipe(secret, sizeof secret);
    if (code) {
        save_drop(a->out, fd);
        return code;
    }
    err = save_put(a->out, fd, reply->enrolment.data, reply->enrolment.len, &why);
    if (err)
        save_drop(a->out, fd);
    else
        err = save_end(a->out, fd, &why);
    if (err)
        code = ctl_fail(a, err, &why);
    else
        print_ok(&a->ctl);
    ctl_reply_free(reply);
    return code;
}

int run_certify_request(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__HostAkRequest order = VTPM__HOST_AK_REQUEST__INIT;

    (void)operands;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_HOST_AK_REQUEST;
    request.host_ak_request = &order;
    return ask_for_file(a, &request, &order.owner);
}

int run_certify_answer(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__HostAkAnswer order = VTPM__HOST_AK_ANSWER__INIT;
    struct vt_why why = {0};
    uint8_t *challenge;
    size_t len;
    int code, err = load_file(operands[0], ENROL_MAX, &challenge, &len, &why);

    if (err)
        return ctl_fail(a, err, &why);
    order.challenge = (ProtobufCBinaryData){.data = challenge, .len = len};
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_HOST_AK_ANSWER;
    request.host_ak_answer = &order;
    code = ask_for_file(a, &request, &order.owner);
    vt_free(challenge);
    return code;
}

/* ---- The CA's half ---- */

/* One way or the other the CA must know the endorsement key: everything else hangs from it. */
static int check_ek(const struct arguments *a, const struct enrol_request *request, struct vt_why *why)
{
    if (!a->key == !a->ca_cert)
        return vt_fail(
            why, VT_EUSAGE,
            "say how this CA knows the host's TPM: --key FILE (its endorsement key, in PEM, that came by a "
            "way you "
            "trust), or --ca-cert FILE (its maker's, which must have signed the certificate in the TPM)");
    return a->key ? ek_is_pinned(request, a->key, why) : ek_is_vouched(request, a->ca_cert, why);
}

/* The secret first: a challenge without it is of no use. */
static int save_both(const struct arguments *a, const struct enrol_challenge *challenge,
                     const struct enrol_secret *secret, struct vt_why *why)
{
    uint8_t bytes[ENROL_MAX];
    size_t len = sizeof bytes;
    int err = enrol_secret_write(bytes, &len, secret);

    if (!err)
        err = save(a->secret_out, bytes, len, why);
    if (err)
        return err;
    len = sizeof bytes;
    err = enrol_challenge_write(bytes, &len, challenge);
    if (!err)
        err = save(a->out, bytes, len, why);
    if (err)
        remove(a->secret_out);
    return err;
}

static int print_step(const struct arguments *a, const char *step, const struct enrol_secret *secret,
                      const struct cr_rsa_pub *ak)
{
    uint8_t ak_sha256[CR_SHA256_LEN];

    cr_sha256(ak_sha256, ak->n, sizeof ak->n);
    print_certify(&a->ctl, step, a->out, secret->kind, secret->ek_sha256, ak_sha256);
    return 0;
}

static int key_of_secret(struct cr_rsa_pub *ak, const struct enrol_secret *secret, struct vt_why *why)
{
    return enrol_ak(ak, secret->kind, secret->public, secret->public_len, why);
}

int run_certify_challenge(const struct arguments *a, char *const *operands)
{
    static struct enrol_request request;
    struct enrol_challenge challenge;
    struct enrol_secret secret;
    struct cr_rsa_pub ak;
    struct vt_why why = {0};
    int err = load_request(&request, operands[0], &why);

    if (!err)
        err = check_ek(a, &request, &why);
    if (!err)
        err = cr_init();
    if (!err)
        err = ak_challenge(&request, &challenge, &secret, &why);
    if (!err)
        err = key_of_secret(&ak, &secret, &why);
    if (!err)
        err = save_both(a, &challenge, &secret, &why);
    if (!err)
        (void)print_step(a, "challenge", &secret, &ak);
    vt_wipe(&secret, sizeof secret);
    return err ? ctl_fail(a, err, &why) : 0;
}

static int check_label(const struct arguments *a, struct vt_why *why)
{
    const size_t len = a->label ? strlen(a->label) : 1;

    return len && len <= LABEL_MAX ? VT_OK
                                   : vt_fail(why, VT_EUSAGE, "--label %.80s: it must have 1 to %d characters",
                                             a->label, LABEL_MAX);
}

/* The key in the secret's file was checked before the challenge; whose file it is now, nobody knows: again.
 */
static int sign(const struct arguments *a, const struct ek_ca *ca, const struct enrol_secret *secret,
                const struct cr_rsa_pub *ak, struct vt_why *why)
{
    VT_AUTOFREE uint8_t *der = NULL;
    size_t len;
    int err = ek_ca_sign_ak(ca, ak, a->label ? a->label : "host attestation key", &der, &len, why);

    if (!err)
        err = ek_cert_save(a->out, der, len, why);
    if (!err)
        (void)print_step(a, "certificate", secret, ak);
    return err;
}

static int check_answer(const char *path, const struct enrol_secret *secret, struct cr_rsa_pub *ak,
                        struct vt_why *why)
{
    struct enrol_answer answer;
    int err = load_answer(&answer, path, why);

    if (!err)
        err = enrol_check(secret, &answer, why);
    if (!err)
        err = key_of_secret(ak, secret, why);
    return err;
}

int run_certify_sign(const struct arguments *a, char *const *operands)
{
    struct enrol_secret secret;
    struct ek_ca *ca = NULL;
    struct cr_rsa_pub ak;
    struct vt_why why = {0};
    int err = check_label(a, &why);

    if (!err)
        err = ekcert_open_ca(a, &ca, &why);
    if (!err)
        err = cr_init();
    if (!err)
        err = load_secret(&secret, a->secret, &why);
    if (!err)
        err = check_answer(operands[0], &secret, &ak, &why);
    if (!err)
        err = sign(a, ca, &secret, &ak, &why);
    ek_ca_close(ca);
    vt_wipe(&secret, sizeof secret);
    return err ? ctl_fail(a, err, &why) : 0;
}

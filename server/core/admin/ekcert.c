/* SPDX-License-Identifier: Apache-2.0 */
/* The endorsement key and its certificate: out to who signs and who verifies, and in. */
#include "server/core/admin/admin_priv.h"

#include "server/base/log.h"
#include "server/sandbox/messages.h"

/* The certificate is opened by the instance's engine process alone. */
void admin_ekcert_install(struct admin_call *call)
{
    const Vtpm__EkCertInstall *asked = call->request->ekcert_install;
    const struct instance_job job = {
        .kind = INSTANCE_EK_INSTALL, .data = asked->certificate.data, .len = asked->certificate.len};

    if (!job.len)
        admin_fail(call, VT_EUSAGE, "the certificate is empty");
    else if (job.len > TPM_EK_CERT_MAX)
        admin_fail(call, VT_EUSAGE, "a certificate of %zu bytes: the TPM has room for %d", job.len,
                   TPM_EK_CERT_MAX);
    else
        admin_submit(call, asked->instance, &job);
}

/* protobuf-c writes no field that is const. */
static ProtobufCBinaryData bytes_of(const struct tpm_blob *blob)
{
    union {
        const uint8_t *in;
        uint8_t *out;
    } data = {.in = blob->data};

    return (ProtobufCBinaryData){.data = data.out, .len = blob->len};
}

static void on_read(void *arg, const struct instance_answer *answer)
{
    struct admin_call *call = arg;
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    Vtpm__EkCert ekcert = VTPM__EK_CERT__INIT;
    struct sandbox_ek_public ek;
    char uuid[VT_UUID_TEXT];

    if (answer->err) {
        admin_fail(call, answer->err, "%s", answer->text);
        return;
    }
    if (!sandbox_rd_ek(&ek, answer->response, answer->response_len)) {
        vt_error("instance: what its engine says of the endorsement key does not parse");
        admin_fail(call, VT_EFAIL, "its engine's answer makes no sense");
        return;
    }
    vt_uuid_text(uuid, &call->uuid);
    ekcert.uuid = uuid;
    ekcert.name = call->name;
    ekcert.modulus = bytes_of(&ek.modulus);
    ekcert.exponent = ek.exponent;
    ekcert.certificate = bytes_of(&ek.certificate);
    reply.ekcert = &ekcert;
    admin_reply(call, &reply);
}

void admin_ekcert_show(struct admin_call *call)
{
    const struct instance_job job = {.kind = INSTANCE_EK_READ, .done = on_read};

    admin_submit(call, call->request->ekcert_show->instance, &job);
}

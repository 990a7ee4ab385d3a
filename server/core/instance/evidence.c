/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's deep quote (docs/attestation.md): its engine has stopped in the middle of the command and waits.
 * The guest has chosen the nonce and which PCRs; what is said of the instance is the broker's.
 */
#include "server/core/instance/instance_priv.h"

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/core/evidence/deepquote.h"

/* The instance may be gone, or be at something else, when the TPM has answered. */
struct witness {
    struct broker *broker;
    struct vt_uuid uuid;
    uint64_t ticket;
};

int instance_statement(const struct instance *i, struct evidence_statement *statement)
{
    struct db_instance row;
    int err = db_instance_get(i->broker->db, &i->node.uuid, &row);

    if (err)
        return err;
    statement->instance = i->node.uuid;
    memset(statement->ek_sha256, 0, sizeof statement->ek_sha256);
    if (row.has_ek)
        memcpy(statement->ek_sha256, row.ek_sha256, sizeof statement->ek_sha256);
    statement->epoch = i->epoch;
    statement->seq = i->record.seq;
    return VT_OK;
}

static void log_outcome(const struct instance *i, int err, const char *text)
{
    char uuid[VT_UUID_TEXT];

    vt_uuid_text(uuid, &i->node.uuid);
    if (err)
        vt_log_with(VT_LOG_NOTICE, VT_FIELDS(VT_TEXT("uuid", uuid)),
                    "instance: its guest gets no deep quote: %s", text);
    else
        vt_log_with(VT_LOG_INFO, VT_FIELDS(VT_TEXT("uuid", uuid)), "instance: a deep quote for its guest");
}

static void on_quoted(void *arg, const struct deepquote_answer *answer)
{
    struct witness *witness = arg;
    struct instance *i = instance_in_memory(witness->broker, &witness->uuid);

    if (i && i->step == STEP_WITNESSING && i->witness == witness->ticket) {
        log_outcome(i, answer->err, answer->text);
        /* TPM_RETRY is for the rate alone: a guest that tries again at once would not make a TPM appear. */
        instance_tell_evidence(i, answer->err ? VT_EIO : VT_OK, answer->evidence, answer->len);
    }
    vt_free(witness);
}

/* It waits before it asks: without memory for a worker the answer comes at once. */
static int ask(struct instance *i, const struct evidence_statement *statement, uint32_t host_mask,
               struct vt_why *why)
{
    struct witness *witness = VT_NEW(struct witness);
    int err;

    if (!witness)
        return VT_ENOMEM;
    *witness = (struct witness){.broker = i->broker, .uuid = i->node.uuid, .ticket = ++i->broker->witnesses};
    i->witness = witness->ticket;
    i->step = STEP_WITNESSING;
    instance_block(i);
    err = deepquote_start(i->broker, statement, host_mask, on_quoted, witness, why);
    if (err) {
        vt_free(witness);
        i->step = STEP_RUNNING;
    }
    return err;
}

/* The host's TPM is slow, and everybody's: so often for one guest, so often for all. */
static bool may_ask(struct instance *i)
{
    const uint64_t now = loop_now_us();
    unsigned held;

    return act_limit_pass(&i->quotes, EVIDENCE_MOST, EVIDENCE_WINDOW_S, now, &held) &&
           act_limit_pass(&i->broker->quotes, EVIDENCE_MOST_ALL, EVIDENCE_WINDOW_S, now, &held);
}

bool instance_wants_evidence(struct instance *i, const uint8_t *payload, size_t len)
{
    struct evidence_statement statement = {.origin = EVIDENCE_GUEST};
    struct job *job = instance_current(i);
    struct tpm_evidence_ask asked;
    struct vt_why why = {0};
    int err;

    if (job->what.kind != INSTANCE_EXECUTE || job->is_witnessed || !sandbox_rd_ask(&asked, payload, len))
        return false;
    memcpy(statement.nonce, asked.nonce, sizeof statement.nonce);
    statement.mask = asked.mask;
    memcpy(statement.pcr, asked.pcr, sizeof statement.pcr);
    job->is_witnessed = true;
    if (!may_ask(i)) {
        instance_tell_evidence(i, VT_EAGAIN, NULL, 0);
        return true;
    }
    err = instance_statement(i, &statement);
    if (!err)
        err = ask(i, &statement, asked.host_mask, &why);
    if (err) {
        log_outcome(i, err, why.text[0] ? why.text : vt_err_text(err));
        instance_tell_evidence(i, VT_EIO, NULL, 0);
    }
    return true;
}

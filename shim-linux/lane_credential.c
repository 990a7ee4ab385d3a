/* SPDX-License-Identifier: Apache-2.0 */
#include "server/base/alloc.h"
#include "server/base/log.h"
#include "shim-linux/credential.h"
#include "shim-linux/host.h"
#include "shim-linux/lane_state.h"

static int check_identity(const struct lane *lane, const struct credential *credential, struct vt_why *why)
{
    const char *path = lane->config.credential;
    char uuid[VT_UUID_TEXT];

    /* Another instance's file, put there by mistake, must not give this guest another TPM. */
    if (lane->identity[0] && strcmp(credential->identity, lane->identity) != 0)
        return vt_fail(why, VT_EUSAGE, "%s: it is of %s now, not of %s: start the shim again if that is meant", path,
                       credential->identity, lane->identity);
    if (!lane->config.has_uuid && !credential->has_uuid)
        return vt_fail(why, VT_EUSAGE, "%s: a credential of %s: which instance is meant must be said by --instance UUID",
                       path, credential->identity);
    if (!lane->config.wait_for_credential || !credential->has_uuid ||
        vt_uuid_equal(&credential->uuid, &lane->config.uuid))
        return VT_OK;
    vt_uuid_text(uuid, &lane->config.uuid);
    return vt_fail(why, VT_EUSAGE, "%s: it is of %s, not of %s: put the right file there", path, credential->identity,
                   uuid);
}

/* The caller wipes. */
static int read_credential(struct lane *lane, struct credential *credential, struct vt_why *why)
{
    int err = credential_read(credential, lane->config.credential, why);

    return err ? err : check_identity(lane, credential, why);
}

void lane_complain(struct lane *lane, const struct vt_why *why, const char *consequence)
{
    if (strcmp(why->text, lane->said.text) != 0)
        vt_warning("shim: %s%s: %s", lane->config.label, consequence, why->text);
    lane->said = *why;
}

void lane_renew_key(struct lane *lane)
{
    struct vt_why why = {{0}};
    struct credential now;

    if (read_credential(lane, &now, &why))
        lane_complain(lane, &why, "the key stays as it was");
    else if (relay_set_key(lane->relay, &now.key))
        vt_notice("shim: %s%s has a new key", lane->config.label, lane->config.credential);
    credential_wipe(&now);
}

/* Nothing more is sent for an owner who has closed the lane. */
static int on_note(void *ctx, const struct relay_mark *mark)
{
    struct lane *lane = ctx;

    return lane->source ? lane->source->note(lane->ctx, mark) : VT_ECLOSED;
}

void lane_forget_start(struct lane *lane)
{
    union {
        const uint8_t *in;
        void *out;
    } command = {.in = lane->from.mark.command};

    vt_free_wiped(command.out, lane->from.mark.len);
    lane->from = (struct relay_position){0};
    lane->config.from = NULL;
}

static int make_relay(struct lane *lane, const struct credential *credential, struct vt_why *why)
{
    const struct lane_config *at = &lane->config;
    struct relay_config config = {
        .tls = {.random = host_random, .identity = credential->identity, .key = &credential->key},
        .server = lane->set->options->upstream,
        .software = "vtpm-shim " VTPM_VERSION,
        .front_end = lane->set->front_end,
        .label = at->label,
        .note = lane->source->note ? on_note : NULL,
        .note_ctx = lane,
        .startup = lane->set->options->startup,
        .hold_ms = lane->set->options->hold_ms,
        .has_uuid = true,
        .is_monitored = at->is_monitored,
        .domid = at->domid,
        .has_domid = at->has_domid,
    };
    int err;

    memcpy(config.uuid, at->has_uuid ? at->uuid.bytes : credential->uuid.bytes, sizeof config.uuid);
    memcpy(config.domain, at->domain, sizeof config.domain);
    memcpy(config.boot_id, lane->set->boot_id, sizeof config.boot_id);
    if (at->from) {
        memcpy(config.stream, at->from->mark.stream, sizeof config.stream);
        config.last_n = at->from->last_n;
    } else if (host_random(NULL, config.stream, sizeof config.stream)) {
        return vt_fail(why, VT_EFAIL, "getrandom gives no random numbers");
    }
    err = relay_new(&lane->relay, &config);
    if (!err && at->from && at->from->mark.n)
        err = relay_resume(lane->relay, host_now_ms(), &at->from->mark, !at->under_way);
    if (err) {
        relay_free(lane->relay);
        lane->relay = NULL;
    }
    return err ? vt_fail(why, err, "relay: %s", vt_err_text(err)) : VT_OK;
}

int lane_begin(struct lane *lane, struct vt_why *why)
{
    struct credential credential;
    int err = read_credential(lane, &credential, why);

    if (!err)
        err = make_relay(lane, &credential, why);
    if (!err)
        memcpy(lane->identity, credential.identity, sizeof lane->identity);
    if (!err)
        lane_forget_start(lane);
    credential_wipe(&credential);
    return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Administration: one table of verbs (admin.c), one file for each thing. A verb gets a call,
 * does its work now or later, and ends it once with admin_reply or admin_fail.
 */
#ifndef VTPM_CORE_ADMIN_PRIV_H
#define VTPM_CORE_ADMIN_PRIV_H

#include "server/core/broker_priv.h"
#include "server/core/instance/instance.h"

/* One request under way; owns a copy of what it needs after the first callback. */
struct admin_call {
    struct broker *broker;
    char peer[96];
    void (*reply)(void *arg, const Vtpm__AdminReply *reply);
    void *arg;
    const Vtpm__AdminRequest *request;  /* valid during the verb's first call only */
    struct vt_uuid uuid;                /* of the instance that is meant */
    char name[65];
    enum db_life life;                  /* the new one, of enable, disable, delete */
    struct vt_why why;
    void *state;                        /* of the verb; freed by it */
};

/* Ends the call. `reply->err` and text are set here. Frees the call. */
void admin_reply(struct admin_call *call, Vtpm__AdminReply *reply);
void admin_done(struct admin_call *call, int err);
/* As admin_done, with the reason. */
void admin_fail(struct admin_call *call, int err, const char *fmt, ...) VT_PRINTF(3, 4);
/* For db_* calls whose completion ends the call; `text` of an error is the store's. */
void admin_on_db(void *call, int err);
/* Ends the call if err; else the completion will. */
void admin_started(struct admin_call *call, int err);

/*
 * loop_work for what takes long, one after the other for all administrators: handshakes and guests need the workers
 * more. Once begun, done is called; without work before it when memory is short, so arg must say VT_ENOMEM until then.
 */
int admin_work(struct broker *broker, void (*work)(void *arg), void (*done)(void *arg), void *arg) VT_USE_RESULT;

/* Fills call->uuid and name from a name or uuid; VT_ENOTFOUND (ends the call). deleted ones are not found. */
int admin_find(struct admin_call *call, const char *instance, struct db_instance *row) VT_USE_RESULT;
/* A job of the instance that is called so; its end ends the call, unless job->done says otherwise. */
void admin_submit(struct admin_call *call, const char *name, const struct instance_job *job);
/* The queue as the store has it. A worker's. */
int admin_read_measures(struct broker *broker, const struct vt_uuid *uuid, struct measures *out,
                        struct vt_why *why) VT_USE_RESULT;
struct db_audit admin_audit(const struct admin_call *call, const char *kind, const char *text);

typedef void (*admin_verb)(struct admin_call *call);
/* instance.c */
void admin_create(struct admin_call *call);
void admin_list(struct admin_call *call);
void admin_show(struct admin_call *call);
void admin_rename(struct admin_call *call);
void admin_power_cycle(struct admin_call *call);
void admin_suspend(struct admin_call *call);
void admin_suspend_cancel(struct admin_call *call);
void admin_enable(struct admin_call *call);
void admin_disable(struct admin_call *call);
void admin_delete(struct admin_call *call);
/* credential.c */
void admin_rotate(struct admin_call *call);
void admin_create_host(struct admin_call *call);
/* binding.c */
void admin_binding_add(struct admin_call *call);
void admin_binding_list(struct admin_call *call);
void admin_binding_remove(struct admin_call *call);
/* measure.c */
void admin_measure(struct admin_call *call);
void admin_measure_list(struct admin_call *call);
void admin_measure_clear(struct admin_call *call);
void admin_measure_drop(struct admin_call *call);
void admin_require_measure(struct admin_call *call);
void admin_host_pcrs(struct admin_call *call);
/* May an instance of this server begin with these PCRs of the host? */
int admin_host_pcrs_check(const struct admin_call *call, uint32_t pcrs, struct vt_why *why) VT_USE_RESULT;
/* pace.c */
void admin_pace(struct admin_call *call);
/* server.c */
void admin_server_key_show(struct admin_call *call);
void admin_peer_add(struct admin_call *call);
void admin_peer_list(struct admin_call *call);
void admin_peer_remove(struct admin_call *call);
/* The store gets its own key, if it has none; then `then`, with the store's error. */
void admin_need_server_key(struct admin_call *call, void (*then)(struct admin_call *call, int err));
/* export.c */
void admin_export(struct admin_call *call);
void admin_take_back(struct admin_call *call);
/* import.c */
void admin_import(struct admin_call *call);
void admin_import_swtpm(struct admin_call *call);
/* expect.c */
void admin_expect(struct admin_call *call);
void admin_expected_list(struct admin_call *call);
void admin_unexpect(struct admin_call *call);
/* backup.c */
void admin_backup_begin(struct admin_call *call);
void admin_backup_read(struct admin_call *call);
void admin_backup_end(struct admin_call *call);
/* ekcert.c */
void admin_ekcert_install(struct admin_call *call);
void admin_ekcert_show(struct admin_call *call);
/* evidence.c */
void admin_host_ak_create(struct admin_call *call);
void admin_host_ak_show(struct admin_call *call);
void admin_quote(struct admin_call *call);
#define HOST_KEY_LIMIT_MS 60000 /* a slow TPM looks for primes that long */
/* The secret of the owner of the host's TPM, if it was told: a TPM 1.2 makes and enrols keys for its owner only. */
struct host_owner {
    bool is_told;
    struct vt_auth secret;
};
static inline const struct vt_auth *host_owner(const struct host_owner *owner)
{
    return owner->is_told ? &owner->secret : NULL;
}
/* Where the host's TPM is, for work of HOST_KEY_LIMIT_MS, and its owner. VT_ENOTFOUND, VT_EUSAGE: call->why says. */
int admin_host_tpm(struct admin_call *call, const ProtobufCBinaryData *secret, struct hwtpm_config *config,
                   struct host_owner *owner) VT_USE_RESULT;
/* enrol.c */
void admin_host_ak_request(struct admin_call *call);
void admin_host_ak_answer(struct admin_call *call);
/* keyslot.c */
void admin_keyslot_list(struct admin_call *call);
void admin_keyslot_add(struct admin_call *call);
void admin_keyslot_remove(struct admin_call *call);
void admin_keyslot_test(struct admin_call *call);
void admin_keyslot_reseal(struct admin_call *call);
/* store.c */
void admin_check(struct admin_call *call);
void admin_anchor(struct admin_call *call);
void admin_events(struct admin_call *call);
void admin_status(struct admin_call *call);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/admin/admin_priv.h"

#include <stdarg.h>
#include <stdio.h>

#include "server/base/alloc.h"
#include "server/base/log.h"

static const struct verb {
    const char *name;
    admin_verb fn;
    enum admin_role role;   /* at least */
} verbs[] = {
    [VTPM__ADMIN_REQUEST__VERB_CREATE] = {"instance create", admin_create, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_LIST] = {"instance list", admin_list, ADMIN_MONITOR},
    [VTPM__ADMIN_REQUEST__VERB_SHOW] = {"instance show", admin_show, ADMIN_MONITOR},
    [VTPM__ADMIN_REQUEST__VERB_RENAME] = {"instance rename", admin_rename, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_POWER_CYCLE] = {"instance power-cycle", admin_power_cycle, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_SUSPEND] = {"instance suspend", admin_suspend, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_SUSPEND_CANCEL] = {"instance suspend --cancel", admin_suspend_cancel, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_ENABLE] = {"instance enable", admin_enable, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_DISABLE] = {"instance disable", admin_disable, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_DELETE] = {"instance delete", admin_delete, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_ROTATE] = {"credential rotate", admin_rotate, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_CREATE_HOST] = {"credential create-host", admin_create_host, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_HOST_AK_CREATE] = {"host-ak create", admin_host_ak_create, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_HOST_AK_SHOW] = {"host-ak show", admin_host_ak_show, ADMIN_MONITOR},
    [VTPM__ADMIN_REQUEST__VERB_HOST_AK_REQUEST] = {"host-ak certify request", admin_host_ak_request, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_HOST_AK_ANSWER] = {"host-ak certify answer", admin_host_ak_answer, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_QUOTE] = {"instance quote", admin_quote, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_KEYSLOT_LIST] = {"keyslot list", admin_keyslot_list, ADMIN_MONITOR},
    [VTPM__ADMIN_REQUEST__VERB_KEYSLOT_ADD] = {"keyslot add", admin_keyslot_add, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_KEYSLOT_REMOVE] = {"keyslot remove", admin_keyslot_remove, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_KEYSLOT_TEST] = {"keyslot test", admin_keyslot_test, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_KEYSLOT_RESEAL] = {"keyslot reseal", admin_keyslot_reseal, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_ANCHOR] = {"anchor", admin_anchor, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_CHECK] = {"check", admin_check, ADMIN_MONITOR},
    [VTPM__ADMIN_REQUEST__VERB_EVENTS] = {"events", admin_events, ADMIN_MONITOR},
    [VTPM__ADMIN_REQUEST__VERB_BINDING_ADD] = {"binding add", admin_binding_add, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_BINDING_LIST] = {"binding list", admin_binding_list, ADMIN_MONITOR},
    [VTPM__ADMIN_REQUEST__VERB_BINDING_REMOVE] = {"binding remove", admin_binding_remove, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_MEASURE] = {"instance measure", admin_measure, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_MEASURE_LIST] = {"instance measure --list", admin_measure_list, ADMIN_MONITOR},
    [VTPM__ADMIN_REQUEST__VERB_MEASURE_CLEAR] = {"instance measure --clear", admin_measure_clear, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_MEASURE_DROP] = {"instance measure --clear --once", admin_measure_drop, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_PACE] = {"instance limits", admin_pace, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_HOST_PCRS] = {"instance host-pcrs", admin_host_pcrs, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_REQUIRE_MEASURE] = {"instance require-measure", admin_require_measure, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_SERVER_KEY_SHOW] = {"server key show", admin_server_key_show, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_PEER_ADD] = {"server peer add", admin_peer_add, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_PEER_LIST] = {"server peer list", admin_peer_list, ADMIN_MONITOR},
    [VTPM__ADMIN_REQUEST__VERB_PEER_REMOVE] = {"server peer remove", admin_peer_remove, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_EXPORT_INSTANCE] = {"instance export", admin_export, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_IMPORT_INSTANCE] = {"instance import", admin_import, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_IMPORT_SWTPM] = {"instance import --from-swtpm", admin_import_swtpm, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_TAKE_BACK] = {"instance take-back", admin_take_back, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_BACKUP_BEGIN] = {"backup", admin_backup_begin, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_BACKUP_READ] = {"backup, reading it", admin_backup_read, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_BACKUP_END] = {"backup, its end", admin_backup_end, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_EKCERT_INSTALL] = {"ekcert install", admin_ekcert_install, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_EKCERT_SHOW] = {"ekcert show", admin_ekcert_show, ADMIN_MONITOR},
    [VTPM__ADMIN_REQUEST__VERB_EXPECT] = {"instance expect", admin_expect, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_EXPECTED_LIST] = {"instance expected", admin_expected_list, ADMIN_MONITOR},
    [VTPM__ADMIN_REQUEST__VERB_UNEXPECT] = {"instance unexpect", admin_unexpect, ADMIN_FULL},
    [VTPM__ADMIN_REQUEST__VERB_STATUS] = {"status", admin_status, ADMIN_MONITOR},
};

/* Of a request that the log has already: a backup is fetched in as many as it has MiB. */
static bool is_part(size_t which)
{
    return which == VTPM__ADMIN_REQUEST__VERB_BACKUP_READ || which == VTPM__ADMIN_REQUEST__VERB_BACKUP_END;
}

void admin_reply(struct admin_call *call, Vtpm__AdminReply *reply)
{
    struct broker *broker = call->broker;

    reply->text = call->why.text;
    call->reply(call->arg, reply);
    vt_free_wiped(call, sizeof *call);
    broker->admin_calls--;
    broker_progress(broker);
}

void admin_done(struct admin_call *call, int err)
{
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;

    reply.err = err;
    if (err)
        vt_fail(&call->why, err, "%s", vt_err_text(err));
    admin_reply(call, &reply);
}

void admin_fail(struct admin_call *call, int err, const char *fmt, ...)
{
    struct vt_why why;
    va_list args;

    va_start(args, fmt);
    vsnprintf(why.text, sizeof why.text, fmt, args);
    va_end(args);
    vt_fail(&call->why, err, "%s", why.text);
    admin_done(call, err);
}

void admin_on_db(void *arg, int err)
{
    struct admin_call *call = arg;
    struct vt_why why = {0};

    if (err == VT_EUNAVAILABLE)
        admin_fail(call, err, "%s; nothing was changed",
                   db_trouble(call->broker->db, &why) ? why.text : "the store cannot be written now");
    else if (err == VT_EUNKNOWN)
        admin_fail(call, err, "the disk failed while it was written: it may or may not be done; look with `vtpmctl "
                              "instance list` or `vtpmctl events`, and repeat it");
    else
        admin_done(call, err);
}

void admin_started(struct admin_call *call, int err)
{
    if (err)
        admin_on_db(call, err);
}

int admin_find(struct admin_call *call, const char *instance, struct db_instance *row)
{
    struct vt_uuid uuid;
    int err = vt_uuid_parse(&uuid, instance) ? db_instance_get(call->broker->db, &uuid, row)
                                             : db_instance_by_name(call->broker->db, instance, row);

    if (!err && row->life == DB_DELETED)
        err = VT_ENOTFOUND;
    if (err == VT_ENOTFOUND)
        admin_fail(call, err, "no instance is called %.80s: vtpmctl instance list shows all", instance);
    else if (err)
        admin_fail(call, err, "the store cannot be read: %s", vt_err_text(err));
    if (err)
        return err;
    call->uuid = row->uuid;
    memcpy(call->name, row->name, sizeof call->name);
    return VT_OK;
}

static void on_job_done(void *arg, const struct instance_answer *answer)
{
    struct admin_call *call = arg;

    if (answer->err)
        admin_fail(call, answer->err, "%s", answer->text);
    else
        admin_done(call, VT_OK);
}

void admin_submit(struct admin_call *call, const char *name, const struct instance_job *job)
{
    struct instance_job copy = *job;
    struct instance *instance;
    struct db_instance row;
    int err;

    if (admin_find(call, name, &row))
        return;
    copy.arg = call;
    if (!copy.done)
        copy.done = on_job_done;
    memcpy(copy.peer, call->peer, sizeof copy.peer);
    err = instance_find(call->broker, &call->uuid, &instance, &call->why);
    if (!err)
        err = instance_submit(instance, &copy);
    if (err)
        admin_done(call, err);
}

/* ---- Slow work ---- */

struct slow {
    struct vt_list node;
    struct broker *broker;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
};

static void slow_work(void *arg)
{
    struct slow *slow = arg;

    slow->work(slow->arg);
}

static void start_slow(struct broker *broker);

static void slow_done(void *arg)
{
    struct slow *slow = arg;
    struct slow ended = *slow;

    vt_free(slow);
    ended.broker->admin_works = false;
    start_slow(ended.broker);
    ended.done(ended.arg);
}

static void start_slow(struct broker *broker)
{
    struct slow *slow;

    if (broker->admin_works || vt_list_empty(&broker->admin_work))
        return;
    slow = VT_LIST_ENTRY(broker->admin_work.next, struct slow, node);
    vt_list_remove(&slow->node);
    broker->admin_works = true;
    if (broker_work(broker, slow_work, slow_done, slow))
        slow_done(slow);
}

int admin_work(struct broker *broker, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
    struct slow *slow = VT_NEW(struct slow);

    if (!slow)
        return VT_ENOMEM;
    *slow = (struct slow){.broker = broker, .work = work, .done = done, .arg = arg};
    vt_list_add(&broker->admin_work, &slow->node);
    start_slow(broker);
    return VT_OK;
}

struct db_audit admin_audit(const struct admin_call *call, const char *kind, const char *text)
{
    return (struct db_audit){.kind = kind, .uuid = &call->uuid, .peer = call->peer, .text = text};
}

static void refuse(struct broker *broker, const char *peer, const char *verb, int err, const char *text,
                   void (*reply)(void *arg, const Vtpm__AdminReply *reply), void *arg)
{
    Vtpm__AdminReply answer = VTPM__ADMIN_REPLY__INIT;
    struct vt_why why = {0};

    vt_fail(&why, err, "%s", text);
    if (err != VT_EPERM || act_refused(broker, peer, verb))
        vt_log_with(VT_LOG_WARNING, VT_FIELDS(VT_TEXT("verb", verb), VT_TEXT("peer", peer)), "admin: refused: %s", text);
    answer.err = err;
    answer.text = why.text;
    reply(arg, &answer);
}

void broker_admin(struct broker *broker, enum admin_role role, const char *peer,
                  const Vtpm__AdminRequest *request, void (*reply)(void *arg, const Vtpm__AdminReply *reply),
                  void *arg)
{
    size_t which = (size_t)request->verb_case;
    struct admin_call *call;

    if (which >= VT_COUNT(verbs) || !verbs[which].fn) {
        refuse(broker, peer, "?", VT_ENOTSUP, "this server does not know that request: is vtpmctl newer?", reply, arg);
        return;
    }
    if (role < verbs[which].role) {
        refuse(broker, peer, verbs[which].name, VT_EPERM,
               role == ADMIN_MONITOR ? "members of the monitor group may look, not change"
                                     : "only root, the server's user and the admin group may do this",
               reply, arg);
        return;
    }
    if (broker->draining) {
        refuse(broker, peer, verbs[which].name, VT_EAGAIN, "the server is stopping", reply, arg);
        return;
    }
    call = VT_NEW(struct admin_call);
    if (!call) {
        refuse(broker, peer, verbs[which].name, VT_ENOMEM, "out of memory", reply, arg);
        return;
    }
    *call = (struct admin_call){.broker = broker, .reply = reply, .arg = arg, .request = request};
    snprintf(call->peer, sizeof call->peer, "%s", peer);
    broker->admin_calls++;
    if (verbs[which].role == ADMIN_FULL && !is_part(which))
        vt_log_with(VT_LOG_INFO, VT_FIELDS(VT_TEXT("verb", verbs[which].name), VT_TEXT("peer", peer)),
                    "admin: a change is asked for");
    verbs[which].fn(call);
}

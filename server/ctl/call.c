/* SPDX-License-Identifier: Apache-2.0 */
#include "server/ctl/verbs.h"

#include "server/base/secret.h"

int ctl_fail(const struct arguments *a, int err, const struct vt_why *why)
{
    return print_error(&a->ctl, err, why->text[0] ? why->text : vt_err_text(err));
}

int ctl_ask(const struct arguments *a, const Vtpm__AdminRequest *request, Vtpm__AdminReply **reply)
{
    struct vt_why why = {0};
    int err = ctl_call(&a->ctl, request, reply, &why);

    if (!err && (*reply)->err) {
        err = (*reply)->err;
        vt_fail(&why, err, "%s", (*reply)->text);
        vtpm__admin_reply__free_unpacked(*reply, NULL);
    }
    return err ? ctl_fail(a, err, &why) : 0;
}

void ctl_reply_free(Vtpm__AdminReply *reply)
{
    if (reply->credential)
        vt_wipe(reply->credential->key.data, reply->credential->key.len);
    vtpm__admin_reply__free_unpacked(reply, NULL);
}

int ctl_show(const struct arguments *a, const Vtpm__AdminRequest *request,
             void (*print)(const struct ctl *ctl, const Vtpm__AdminReply *reply))
{
    Vtpm__AdminReply *reply;
    int code = ctl_ask(a, request, &reply);

    if (code)
        return code;
    print(&a->ctl, reply);
    ctl_reply_free(reply);
    return 0;
}

static void print_done(const struct ctl *ctl, const Vtpm__AdminReply *reply VT_UNUSED)
{
    print_ok(ctl);
}

int ctl_do(const struct arguments *a, const Vtpm__AdminRequest *request)
{
    return ctl_show(a, request, print_done);
}

static int save_credential(const struct arguments *a, int fd, const Vtpm__AdminReply *reply)
{
    struct vt_why why = {0};
    int err;

    if (fd < 0)
        return 0;
    err = reply->credential ? credential_finish(a->credential, fd, reply->credential, &why) : VT_EPROTO;
    return err ? ctl_fail(a, err, &why) : 0;
}

int ctl_ask_for_key_then(const struct arguments *a, const Vtpm__AdminRequest *request,
                         int (*then)(const struct arguments *a, const Vtpm__AdminReply *reply, void *arg), void *arg)
{
    Vtpm__AdminReply *reply;
    struct vt_why why = {0};
    int fd = -1, code, err;

    if (a->credential) {
        err = credential_begin(a->credential, &fd, &why);
        if (err)
            return ctl_fail(a, err, &why);
    }
    code = ctl_ask(a, request, &reply);
    if (code) {
        if (fd >= 0)
            credential_drop(a->credential, fd);
        return code;
    }
    code = save_credential(a, fd, reply);
    if (!code)
        code = then(a, reply, arg);
    ctl_reply_free(reply);
    return code;
}

struct printer {
    void (*print)(const struct ctl *ctl, const Vtpm__AdminReply *reply, const char *file);
};

static int only_print(const struct arguments *a, const Vtpm__AdminReply *reply, void *arg)
{
    const struct printer *printer = arg;

    printer->print(&a->ctl, reply, a->credential);
    return 0;
}

int ctl_ask_for_key(const struct arguments *a, const Vtpm__AdminRequest *request,
                    void (*print)(const struct ctl *ctl, const Vtpm__AdminReply *reply, const char *file))
{
    struct printer printer = {.print = print};

    return ctl_ask_for_key_then(a, request, only_print, &printer);
}

int ctl_ask_ref(const struct arguments *a, Vtpm__AdminRequest__VerbCase which, char *instance,
                Vtpm__AdminReply **reply)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceRef ref = VTPM__INSTANCE_REF__INIT;

    ref.instance = instance;
    request.verb_case = which;
    /* All members of the union are pointers to messages. */
    request.show = &ref;
    return ctl_ask(a, &request, reply);
}

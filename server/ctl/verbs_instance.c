/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs on instances and their credentials. */
#include "server/ctl/ek_x509.h"
#include "server/ctl/profile_file.h"
#include "server/ctl/verbs.h"

#include <stdio.h>
#include <unistd.h>

static int run_ref(const struct arguments *a, Vtpm__AdminRequest__VerbCase which, char *instance)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceRef ref = VTPM__INSTANCE_REF__INIT;
    Vtpm__AdminReply *reply;
    int code;

    ref.instance = instance;
    request.verb_case = which;
    /* All members of the union are pointers to messages; these verbs all take an InstanceRef. */
    request.show = &ref;
    code = ctl_ask(a, &request, &reply);
    if (code)
        return code;
    if (which == VTPM__ADMIN_REQUEST__VERB_SHOW)
        print_instance(&a->ctl, reply);
    else
        print_ok(&a->ctl);
    ctl_reply_free(reply);
    return 0;
}

/* ---- Instances ---- */

static void print_created_checked(const struct ctl *ctl, const Vtpm__AdminReply *reply, const char *file)
{
    if (reply->n_instances == 1)
        print_created(ctl, reply, file);
}

/* A name is for the server to know; a file's limits go along. */
int ctl_take_profile(const struct arguments *a, struct profile_file *file, Vtpm__InstanceCreate *create,
                     struct vt_why *why)
{
    int err;

    create->profile = a->profile;
    if (!profile_is_file(a->profile))
        return VT_OK;
    err = profile_file_read(file, a->profile, why);
    create->profile = file->name;
    create->n_limits = file->count;
    create->limits = file->limits;
    return err;
}

/* It is there, without a certificate, when this fails: the caller's stdout has the error only. */
static int certify(const struct arguments *a, const Vtpm__AdminReply *reply, void *arg)
{
    char *uuid = reply->n_instances == 1 ? reply->instances[0]->uuid : NULL;
    int code = uuid ? ekcert_certify(a, arg, uuid) : print_error(&a->ctl, VT_EPROTO, "the server's answer names no instance");

    if (!code)
        print_created(&a->ctl, reply, a->credential);
    else if (uuid)
        fprintf(stderr, "vtpmctl: %s was created, without a certificate: vtpmctl ekcert sign it before its first power on, "
                        "or delete it\n", uuid);
    return code;
}

/* The CA is opened first: what is wrong with it leaves no instance behind. */
static int create_certified(const struct arguments *a, const Vtpm__AdminRequest *request)
{
    struct ek_ca *ca;
    struct vt_why why = {0};
    int code, err = VT_OK;

    if (~a->given & (OPT(CA_KEY) | OPT(CA_CERT)))
        err = vt_fail(&why, VT_EUSAGE, "a certificate for the endorsement key needs --ca-key and --ca-cert");
    else if (is_given(a, OPT(NO_EK)))
        err = vt_fail(&why, VT_EUSAGE, "--no-ek leaves nothing to certify: the endorsement key is the guest's to make");
    if (!err)
        err = ekcert_open_ca(a, &ca, &why);
    if (err)
        return ctl_fail(a, err, &why);
    code = ctl_ask_for_key_then(a, request, certify, ca);
    ek_ca_close(ca);
    return code;
}

int run_create(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceCreate create = VTPM__INSTANCE_CREATE__INIT;
    struct profile_file profile;
    struct vt_why why = {0};
    int err;

    create.name = operands[0];
    create.no_ek = is_given(a, OPT(NO_EK));
    create.require_measure = is_given(a, OPT(REQUIRE));
    if (a->uuid)
        create.uuid = a->uuid;
    if (a->host_pcrs && host_pcrs_parse(a->host_pcrs, &create.host_pcrs, &why))
        return ctl_fail(a, VT_EUSAGE, &why);
    err = a->profile ? ctl_take_profile(a, &profile, &create, &why) : VT_OK;
    if (err)
        return ctl_fail(a, err, &why);
    if (a->group)
        create.group = a->group;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_CREATE;
    request.create = &create;
    if (is_given(a, OPT(CA_KEY) | OPT(CA_CERT) | OPT(DAYS)))
        return create_certified(a, &request);
    return ctl_ask_for_key(a, &request, print_created_checked);
}

int run_list(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceList list = VTPM__INSTANCE_LIST__INIT;
    Vtpm__AdminReply *reply;
    char after[80] = "";
    struct json_t *rows = NULL;
    bool more = true;

    (void)operands;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_LIST;
    request.list = &list;
    list.after = after;
    for (bool first = true; more; first = false) {
        int code = ctl_ask(a, &request, &reply);

        if (code)
            return code;
        if (first)
            rows = print_instances_begin(&a->ctl);
        print_instances_page(&a->ctl, rows, reply);
        more = reply->more && reply->n_instances;
        if (more)
            snprintf(after, sizeof after, "%s", reply->instances[reply->n_instances - 1]->name);
        ctl_reply_free(reply);
    }
    print_instances_end(&a->ctl, rows);
    return 0;
}

int run_show(const struct arguments *a, char *const *operands)
{
    return run_ref(a, VTPM__ADMIN_REQUEST__VERB_SHOW, operands[0]);
}

int run_rename(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceRename rename_ = VTPM__INSTANCE_RENAME__INIT;

    rename_.instance = operands[0];
    rename_.name = operands[1];
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_RENAME;
    request.rename = &rename_;
    return ctl_do(a, &request);
}

int run_power_cycle(const struct arguments *a, char *const *operands)
{
    return run_ref(a, VTPM__ADMIN_REQUEST__VERB_POWER_CYCLE, operands[0]);
}

int run_suspend(const struct arguments *a, char *const *operands)
{
    return run_ref(a, is_given(a, OPT(CANCEL)) ? VTPM__ADMIN_REQUEST__VERB_SUSPEND_CANCEL
                                            : VTPM__ADMIN_REQUEST__VERB_SUSPEND, operands[0]);
}

int run_enable(const struct arguments *a, char *const *operands)
{
    return run_ref(a, VTPM__ADMIN_REQUEST__VERB_ENABLE, operands[0]);
}

int run_disable(const struct arguments *a, char *const *operands)
{
    return run_ref(a, VTPM__ADMIN_REQUEST__VERB_DISABLE, operands[0]);
}

int run_delete(const struct arguments *a, char *const *operands)
{
    char answer[16];

    if (!is_given(a, OPT(YES))) {
        if (!isatty(STDIN_FILENO))
            return print_error(&a->ctl, VT_EUSAGE, "delete erases the instance's key for ever: say --yes");
        fprintf(stderr, "Erase the TPM of %s for ever? All that was sealed to it is lost. Type yes: ", operands[0]);
        if (!fgets(answer, sizeof answer, stdin) || strcmp(answer, "yes\n") != 0)
            return print_error(&a->ctl, VT_EFAIL, "not deleted");
    }
    return run_ref(a, VTPM__ADMIN_REQUEST__VERB_DELETE, operands[0]);
}

/* ---- Credentials ---- */

int run_rotate(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceRef ref = VTPM__INSTANCE_REF__INIT;

    ref.instance = operands[0];
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_ROTATE;
    request.rotate = &ref;
    return ctl_ask_for_key(a, &request, print_credential);
}

int run_create_host(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__CreateHost create = VTPM__CREATE_HOST__INIT;
    char *instances[INSTANCES_MAX];

    memcpy(instances, a->instances, sizeof instances);
    create.name = operands[0];
    create.instances = instances;
    create.n_instances = a->instances_count;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_CREATE_HOST;
    request.create_host = &create;
    return ctl_ask_for_key(a, &request, print_credential);
}

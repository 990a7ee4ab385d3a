/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs on key slots: secrets are read here, with the caller's rights, and sent. */
#include "server/ctl/verbs.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/base/alloc.h"
#include "server/base/text.h"
#include "server/core/keyslot/keyslot.h"
#include "server/crypto/crypto.h"

static int get_keyslots(const struct arguments *a, Vtpm__AdminReply **reply)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__KeyslotList list = VTPM__KEYSLOT_LIST__INIT;

    request.verb_case = VTPM__ADMIN_REQUEST__VERB_KEYSLOT_LIST;
    request.keyslot_list = &list;
    return ctl_ask(a, &request, reply);
}

int run_keyslot_list(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminReply *reply;
    int code = get_keyslots(a, &reply);

    (void)operands;
    if (code)
        return code;
    print_keyslots(&a->ctl, reply);
    ctl_reply_free(reply);
    return 0;
}

/* The server remembers a key file's path: it must not depend on where vtpmctl was called. */
static int absolute(struct keyslot_spec *spec, struct vt_why *why)
{
    char path[PATH_MAX];

    if (!spec->arg[0] || keyslot_by_server(spec->kind))
        return VT_OK;
    if (!realpath(spec->arg, path))
        return vt_fail(why, VT_ENOTFOUND, "%s: no such file (vtpmctl makes none)", spec->arg);
    if (strlen(path) >= sizeof spec->arg)
        return vt_fail(why, VT_EUSAGE, "%s: the path is too long", path);
    memcpy(spec->arg, path, strlen(path) + 1);
    return VT_OK;
}

/* Takes the reply: a slot as it is now, perhaps with a warning. */
static int show(const struct arguments *a, Vtpm__AdminReply *reply)
{
    if (reply->text[0])
        print_warning(reply->text);
    print_keyslots(&a->ctl, reply);
    ctl_reply_free(reply);
    return 0;
}

int run_keyslot_add(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__KeyslotAdd add = VTPM__KEYSLOT_ADD__INIT;
    Vtpm__AdminReply *reply;
    struct keyslot_spec spec;
    struct vt_why why = {0};
    char text[sizeof spec.kind + sizeof spec.arg + 16];
    uint8_t *secret = NULL;
    size_t len = 0;
    int code, err = keyslot_parse(&spec, operands[0], &why);

    if (!err)
        err = absolute(&spec, &why);
    if (!err && !keyslot_by_server(spec.kind))
        err = keyslot_read_secret(&spec, false, &secret, &len, &why);
    if (err)
        return ctl_fail(a, err, &why);
    snprintf(text, sizeof text, "%.*s:%s", (int)strcspn(operands[0], ":"), operands[0], spec.arg);
    add.spec = text;
    add.has_secret = secret != NULL;
    add.secret = (ProtobufCBinaryData){.data = secret, .len = len};
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_KEYSLOT_ADD;
    request.keyslot_add = &add;
    code = ctl_ask(a, &request, &reply);
    vt_free_wiped(secret, len);
    return code ? code : show(a, reply);
}

static int run_keyslot_ref(const struct arguments *a, Vtpm__AdminRequest__VerbCase which, Vtpm__KeyslotRef *ref)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;

    request.verb_case = which;
    /* All members of the union are pointers to messages; these verbs all take a KeyslotRef. */
    request.keyslot_test = ref;
    return ctl_do(a, &request);
}

static bool slot_number(const char *text, int64_t *id)
{
    uint64_t value;

    if (!vt_parse_u64(&value, text, INT32_MAX))
        return false;
    *id = (int64_t)value;
    return true;
}

static int not_a_slot(const struct arguments *a, const char *text)
{
    struct vt_why why = {0};

    vt_fail(&why, VT_EUSAGE, "%s is no key slot number: vtpmctl keyslot list shows them", text);
    return ctl_fail(a, VT_EUSAGE, &why);
}

static int run_keyslot_simple(const struct arguments *a, Vtpm__AdminRequest__VerbCase which, const char *number)
{
    Vtpm__KeyslotRef ref = VTPM__KEYSLOT_REF__INIT;

    if (!slot_number(number, &ref.id))
        return not_a_slot(a, number);
    return run_keyslot_ref(a, which, &ref);
}

int run_keyslot_remove(const struct arguments *a, char *const *operands)
{
    return run_keyslot_simple(a, VTPM__ADMIN_REQUEST__VERB_KEYSLOT_REMOVE, operands[0]);
}

/* The kind of slot `id`: it says how long its PCRs' values are. Returns the exit code. */
static int kind_of_slot(const struct arguments *a, int64_t id, char kind[24])
{
    Vtpm__AdminReply *slots;
    struct vt_why why = {0};
    int code = get_keyslots(a, &slots);

    kind[0] = '\0';
    if (code)
        return code;
    for (size_t k = 0; k < slots->n_keyslots; k++)
        if (slots->keyslots[k]->id == id)
            snprintf(kind, 24, "%s", slots->keyslots[k]->kind);
    ctl_reply_free(slots);
    if (kind[0])
        return 0;
    vt_fail(&why, VT_ENOTFOUND, "there is no key slot %lld: vtpmctl keyslot list", (long long)id);
    return ctl_fail(a, VT_ENOTFOUND, &why);
}

static int ask_reseal(const struct arguments *a, Vtpm__KeyslotRef *ref)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__AdminReply *reply;
    int code;

    ref->dry_run = is_given(a, OPT(DRY_RUN));
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_KEYSLOT_RESEAL;
    request.keyslot_reseal = ref;
    code = ctl_ask(a, &request, &reply);
    return code ? code : show(a, reply);
}

int run_keyslot_reseal(const struct arguments *a, char *const *operands)
{
    Vtpm__KeyslotRef ref = VTPM__KEYSLOT_REF__INIT;
    struct vt_why why = {0};
    char kind[24], *prediction = NULL;
    int code, err = VT_OK;

    if (!slot_number(operands[0], &ref.id))
        return not_a_slot(a, operands[0]);
    code = kind_of_slot(a, ref.id, kind);
    if (code)
        return code;
    if (a->predict)
        err = predict_read(a->predict, strcmp(kind, "tpm12") == 0 ? CR_SHA1_LEN : CR_SHA256_LEN, &prediction, &why);
    if (err)
        return ctl_fail(a, err, &why);
    if (prediction)
        ref.prediction = prediction;
    code = ask_reseal(a, &ref);
    vt_free(prediction);
    return code;
}

int run_keyslot_test(const struct arguments *a, char *const *operands)
{
    Vtpm__KeyslotRef ref = VTPM__KEYSLOT_REF__INIT;
    Vtpm__AdminReply *slots;
    struct vt_why why = {0};
    uint8_t *secret = NULL;
    size_t len = 0;
    int code, err = VT_ENOTFOUND;

    if (!slot_number(operands[0], &ref.id))
        return not_a_slot(a, operands[0]);
    code = get_keyslots(a, &slots);
    if (code)
        return code;
    for (size_t k = 0; k < slots->n_keyslots; k++)
        if (slots->keyslots[k]->id == ref.id)
            err = keyslot_by_server(slots->keyslots[k]->kind) ? VT_OK
                                                              : secret_of_slot(slots->keyslots[k], &secret, &len, &why);
    ctl_reply_free(slots);
    if (err) {
        vt_fail(&why, err, "there is no key slot %s: vtpmctl keyslot list", operands[0]);
        return ctl_fail(a, err, &why);
    }
    ref.has_secret = secret != NULL;
    ref.secret = (ProtobufCBinaryData){.data = secret, .len = len};
    code = run_keyslot_ref(a, VTPM__ADMIN_REQUEST__VERB_KEYSLOT_TEST, &ref);
    vt_free_wiped(secret, len);
    return code;
}

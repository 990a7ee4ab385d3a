/* SPDX-License-Identifier: Apache-2.0 */
/* vtpmctl: the table of verbs, what each one accepts, and how it becomes a request. */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/secret.h"
#include "server/base/text.h"
#include "server/core/keyslot.h"
#include "server/ctl/ctl.h"

#define DEFAULT_ADMIN "unix:/run/vtpm-server/admin.sock"
#define INSTANCES_MAX 256

enum given {
    OPT_UUID = 1, OPT_NO_EK = 2, OPT_PROFILE = 4, OPT_CREDENTIAL = 8, OPT_YES = 16, OPT_VERIFY = 32, OPT_INSTANCE = 64,
    OPT_GROUP = 128, OPT_PREDICT = 256
};

struct arguments {
    struct ctl ctl;
    unsigned given;         /* enum given */
    char *uuid, *profile, *credential, *group, *predict;
    char *instances[INSTANCES_MAX];
    size_t instance_count;
    char *words[4];         /* noun, verb, operands */
    int word_count;
};

struct verb {
    const char *noun, *name;            /* name NULL: the noun is all */
    const char *operands[3];
    int operand_count;
    unsigned accepts, needs;            /* enum given */
    int (*run)(const struct arguments *a, char *const *operands);
    const char *help;
};

/* ---- One request, one reply ---- */

static int fail(const struct arguments *a, int err, const struct vt_why *why)
{
    return print_error(&a->ctl, err, why->text[0] ? why->text : vt_err_text(err));
}

/* 0 and *reply, or the exit code. */
static int call(const struct arguments *a, const Vtpm__AdminRequest *request, Vtpm__AdminReply **reply)
{
    struct vt_why why = {0};
    int err = ctl_call(&a->ctl, request, reply, &why);

    if (!err && (*reply)->err) {
        err = (*reply)->err;
        vt_fail(&why, err, "%s", (*reply)->text);
        vtpm__admin_reply__free_unpacked(*reply, NULL);
    }
    return err ? fail(a, err, &why) : 0;
}

static void reply_free(Vtpm__AdminReply *reply)
{
    if (reply->credential)
        vt_wipe(reply->credential->key.data, reply->credential->key.len);
    vtpm__admin_reply__free_unpacked(reply, NULL);
}

/* A reply that must hold what was asked for; else the server is not ours. */
static int incomplete(const struct arguments *a, Vtpm__AdminReply *reply)
{
    reply_free(reply);
    return print_error(&a->ctl, VT_EPROTO, "the server's answer lacks what was asked for");
}

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
    code = call(a, &request, &reply);
    if (code)
        return code;
    if (which == VTPM__ADMIN_REQUEST__VERB_SHOW)
        print_instances(&a->ctl, reply, true);
    else
        print_ok(&a->ctl);
    reply_free(reply);
    return 0;
}

/* ---- Instances ---- */

static int save_credential(const struct arguments *a, int fd, const Vtpm__AdminReply *reply)
{
    struct vt_why why = {0};
    int err;

    if (fd < 0)
        return 0;
    err = reply->credential ? credential_finish(a->credential, fd, reply->credential, &why) : VT_EPROTO;
    return err ? fail(a, err, &why) : 0;
}

/* Requests that bring a fresh key: its file is there first. `print` says the rest. */
static int call_for_key(const struct arguments *a, const Vtpm__AdminRequest *request,
                        void (*print)(const struct ctl *ctl, const Vtpm__AdminReply *reply, const char *file))
{
    Vtpm__AdminReply *reply;
    struct vt_why why = {0};
    int fd = -1, code, err;

    if (a->credential) {
        err = credential_begin(a->credential, &fd, &why);
        if (err)
            return fail(a, err, &why);
    }
    code = call(a, request, &reply);
    if (code) {
        if (fd >= 0)
            credential_drop(a->credential, fd);
        return code;
    }
    code = save_credential(a, fd, reply);
    if (!code)
        print(&a->ctl, reply, a->credential);
    reply_free(reply);
    return code;
}

static void print_created_checked(const struct ctl *ctl, const Vtpm__AdminReply *reply, const char *file)
{
    if (reply->n_instances == 1)
        print_created(ctl, reply, file);
}

static int run_create(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceCreate create = VTPM__INSTANCE_CREATE__INIT;

    create.name = operands[0];
    create.no_ek = a->given & OPT_NO_EK;
    if (a->uuid)
        create.uuid = a->uuid;
    if (a->profile)
        create.profile = a->profile;
    if (a->group)
        create.group = a->group;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_CREATE;
    request.create = &create;
    return call_for_key(a, &request, print_created_checked);
}

static int run_list(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceList list = VTPM__INSTANCE_LIST__INIT;
    Vtpm__AdminReply *reply;
    int code;

    (void)operands;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_LIST;
    request.list = &list;
    code = call(a, &request, &reply);
    if (code)
        return code;
    print_instances(&a->ctl, reply, false);
    reply_free(reply);
    return 0;
}

static int run_show(const struct arguments *a, char *const *operands)
{
    return run_ref(a, VTPM__ADMIN_REQUEST__VERB_SHOW, operands[0]);
}

static int run_rename(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceRename rename_ = VTPM__INSTANCE_RENAME__INIT;
    Vtpm__AdminReply *reply;
    int code;

    rename_.instance = operands[0];
    rename_.name = operands[1];
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_RENAME;
    request.rename = &rename_;
    code = call(a, &request, &reply);
    if (code)
        return code;
    print_ok(&a->ctl);
    reply_free(reply);
    return 0;
}

static int run_power_cycle(const struct arguments *a, char *const *operands)
{
    return run_ref(a, VTPM__ADMIN_REQUEST__VERB_POWER_CYCLE, operands[0]);
}

static int run_suspend(const struct arguments *a, char *const *operands)
{
    return run_ref(a, VTPM__ADMIN_REQUEST__VERB_SUSPEND, operands[0]);
}

static int run_enable(const struct arguments *a, char *const *operands)
{
    return run_ref(a, VTPM__ADMIN_REQUEST__VERB_ENABLE, operands[0]);
}

static int run_disable(const struct arguments *a, char *const *operands)
{
    return run_ref(a, VTPM__ADMIN_REQUEST__VERB_DISABLE, operands[0]);
}

static int run_delete(const struct arguments *a, char *const *operands)
{
    char answer[16];

    if (!(a->given & OPT_YES)) {
        if (!isatty(STDIN_FILENO))
            return print_error(&a->ctl, VT_EUSAGE, "delete erases the instance's key for ever: say --yes");
        fprintf(stderr, "Erase the TPM of %s for ever? All that was sealed to it is lost. Type yes: ", operands[0]);
        if (!fgets(answer, sizeof answer, stdin) || strcmp(answer, "yes\n") != 0)
            return print_error(&a->ctl, VT_EFAIL, "not deleted");
    }
    return run_ref(a, VTPM__ADMIN_REQUEST__VERB_DELETE, operands[0]);
}

/* ---- Credentials ---- */

static int run_rotate(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceRef ref = VTPM__INSTANCE_REF__INIT;

    ref.instance = operands[0];
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_ROTATE;
    request.rotate = &ref;
    return call_for_key(a, &request, print_credential);
}

static int run_create_host(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__CreateHost create = VTPM__CREATE_HOST__INIT;
    char *instances[INSTANCES_MAX];

    memcpy(instances, a->instances, sizeof instances);
    create.name = operands[0];
    create.instances = instances;
    create.n_instances = a->instance_count;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_CREATE_HOST;
    request.create_host = &create;
    return call_for_key(a, &request, print_credential);
}

/* ---- Key slots ---- */

static int get_keyslots(const struct arguments *a, Vtpm__AdminReply **reply)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__KeyslotList list = VTPM__KEYSLOT_LIST__INIT;

    request.verb_case = VTPM__ADMIN_REQUEST__VERB_KEYSLOT_LIST;
    request.keyslot_list = &list;
    return call(a, &request, reply);
}

static int run_keyslot_list(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminReply *reply;
    int code = get_keyslots(a, &reply);

    (void)operands;
    if (code)
        return code;
    print_keyslots(&a->ctl, reply);
    reply_free(reply);
    return 0;
}

/* The server remembers a key file's path: it must not depend on where vtpmctl was called. */
static int absolute(struct keyslot_spec *spec, struct vt_why *why)
{
    char path[PATH_MAX];

    if (!spec->arg[0])
        return VT_OK;
    if (!realpath(spec->arg, path))
        return vt_fail(why, VT_ENOTFOUND, "%s: no such file (vtpmctl makes none)", spec->arg);
    if (strlen(path) >= sizeof spec->arg)
        return vt_fail(why, VT_EUSAGE, "%s: the path is too long", path);
    memcpy(spec->arg, path, strlen(path) + 1);
    return VT_OK;
}

static int run_keyslot_add(const struct arguments *a, char *const *operands)
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
    if (!err)
        err = keyslot_read_secret(&spec, false, &secret, &len, &why);
    if (err)
        return fail(a, err, &why);
    snprintf(text, sizeof text, "%.*s:%s", (int)strcspn(operands[0], ":"), operands[0], spec.arg);
    add.spec = text;
    add.has_secret = true;
    add.secret = (ProtobufCBinaryData){.data = secret, .len = len};
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_KEYSLOT_ADD;
    request.keyslot_add = &add;
    code = call(a, &request, &reply);
    vt_free_wiped(secret, len);
    if (code)
        return code;
    print_keyslots(&a->ctl, reply);
    reply_free(reply);
    return 0;
}

static int run_keyslot_ref(const struct arguments *a, Vtpm__AdminRequest__VerbCase which, Vtpm__KeyslotRef *ref)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__AdminReply *reply;
    int code;

    request.verb_case = which;
    /* All members of the union are pointers to messages; these verbs all take a KeyslotRef. */
    request.keyslot_test = ref;
    code = call(a, &request, &reply);
    if (code)
        return code;
    print_ok(&a->ctl);
    reply_free(reply);
    return 0;
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
    return fail(a, VT_EUSAGE, &why);
}

static int run_keyslot_simple(const struct arguments *a, Vtpm__AdminRequest__VerbCase which, const char *number)
{
    Vtpm__KeyslotRef ref = VTPM__KEYSLOT_REF__INIT;

    if (!slot_number(number, &ref.id))
        return not_a_slot(a, number);
    return run_keyslot_ref(a, which, &ref);
}

static int run_keyslot_remove(const struct arguments *a, char *const *operands)
{
    return run_keyslot_simple(a, VTPM__ADMIN_REQUEST__VERB_KEYSLOT_REMOVE, operands[0]);
}

static int run_keyslot_reseal(const struct arguments *a, char *const *operands)
{
    return run_keyslot_simple(a, VTPM__ADMIN_REQUEST__VERB_KEYSLOT_RESEAL, operands[0]);
}

static int run_keyslot_test(const struct arguments *a, char *const *operands)
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
            err = secret_of_slot(slots->keyslots[k], &secret, &len, &why);
    reply_free(slots);
    if (err) {
        vt_fail(&why, err, "there is no key slot %s: vtpmctl keyslot list", operands[0]);
        return fail(a, err, &why);
    }
    ref.has_secret = true;
    ref.secret = (ProtobufCBinaryData){.data = secret, .len = len};
    code = run_keyslot_ref(a, VTPM__ADMIN_REQUEST__VERB_KEYSLOT_TEST, &ref);
    vt_free_wiped(secret, len);
    return code;
}

/* ---- The store ---- */

static int run_status(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__Status status = VTPM__STATUS__INIT;
    Vtpm__AdminReply *reply;
    int code;

    (void)operands;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_STATUS;
    request.status = &status;
    code = call(a, &request, &reply);
    if (code)
        return code;
    if (!reply->status)
        return incomplete(a, reply);
    print_status(&a->ctl, reply);
    reply_free(reply);
    return 0;
}

/* What was found is shown also when it is bad. */
static int run_check(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__Check check = VTPM__CHECK__INIT;
    Vtpm__AdminReply *reply;
    struct vt_why why = {0};
    int code, err;

    (void)operands;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_CHECK;
    request.check = &check;
    err = ctl_call(&a->ctl, &request, &reply, &why);
    if (err)
        return fail(a, err, &why);
    code = vt_err_exit(reply->err);
    if (reply->check)
        print_check(&a->ctl, reply);
    else
        code = print_error(&a->ctl, reply->err ? reply->err : VT_EPROTO, reply->text);
    reply_free(reply);
    return code;
}

#define EVENT_PAGE 1000

static int run_events(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__Events events = VTPM__EVENTS__INIT;
    Vtpm__AdminReply *reply;
    struct json_t *list = print_events_begin(&a->ctl);
    size_t count;

    (void)operands;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_EVENTS;
    request.events = &events;
    events.limit = EVENT_PAGE;
    events.verify = a->given & OPT_VERIFY;
    do {
        int code = call(a, &request, &reply);
        if (code)
            return code;
        count = reply->n_events;
        print_events_page(&a->ctl, list, reply);
        if (count)
            events.after = reply->events[count - 1]->id;
        events.verify = false; /* the first call checked the whole chain */
        reply_free(reply);
    } while (count >= EVENT_PAGE - 1);
    print_events_end(&a->ctl, list, a->given & OPT_VERIFY);
    return 0;
}

/* ---- The table ---- */

static const struct verb verbs[] = {
    {"instance", "create", {"NAME"}, 1, OPT_UUID | OPT_NO_EK | OPT_PROFILE | OPT_CREDENTIAL | OPT_GROUP, 0, run_create,
     "[--uuid U] [--no-ek] [--profile P] [--group G] [--credential-out FILE]"},
    {"instance", "list", {NULL}, 0, 0, 0, run_list, ""},
    {"instance", "show", {"I"}, 1, 0, 0, run_show, ""},
    {"instance", "rename", {"I", "NAME"}, 2, 0, 0, run_rename, ""},
    {"instance", "power-cycle", {"I"}, 1, 0, 0, run_power_cycle, ""},
    {"instance", "suspend", {"I"}, 1, 0, 0, run_suspend, ""},
    {"instance", "enable", {"I"}, 1, 0, 0, run_enable, ""},
    {"instance", "disable", {"I"}, 1, 0, 0, run_disable, ""},
    {"instance", "delete", {"I"}, 1, OPT_YES, 0, run_delete, "[--yes]"},
    {"credential", "rotate", {"I"}, 1, OPT_CREDENTIAL, OPT_CREDENTIAL, run_rotate, "--credential-out FILE"},
    {"credential", "create-host", {"NAME"}, 1, OPT_CREDENTIAL | OPT_INSTANCE, OPT_CREDENTIAL | OPT_INSTANCE,
     run_create_host, "--instance I ... --credential-out FILE"},
    {"keyslot", "list", {NULL}, 0, 0, 0, run_keyslot_list, ""},
    {"keyslot", "add", {"SPEC"}, 1, 0, 0, run_keyslot_add, ""},
    {"keyslot", "remove", {"N"}, 1, 0, 0, run_keyslot_remove, ""},
    {"keyslot", "test", {"N"}, 1, 0, 0, run_keyslot_test, ""},
    {"keyslot", "reseal", {"N"}, 1, OPT_PREDICT, 0, run_keyslot_reseal, "[--predict FILE]"},
    {"check", NULL, {NULL}, 0, 0, 0, run_check, ""},
    {"events", NULL, {NULL}, 0, OPT_VERIFY, 0, run_events, "[--verify]"},
    {"status", NULL, {NULL}, 0, 0, 0, run_status, ""},
};

static void print_help(FILE *out)
{
    fputs("usage: vtpmctl [--admin unix:PATH] [--json] VERB ...\n\n", out);
    for (size_t k = 0; k < VT_COUNT(verbs); k++) {
        const struct verb *verb = &verbs[k];
        fprintf(out, "  %s%s%s", verb->noun, verb->name ? " " : "", verb->name ? verb->name : "");
        for (int o = 0; o < verb->operand_count; o++)
            fprintf(out, " %s", verb->operands[o]);
        fprintf(out, "%s%s\n", *verb->help ? " " : "", verb->help);
    }
    fputs("\nI is a name or uuid, or host:NAME for credential rotate. SPEC is keyfile:FILE or passphrase-file:FILE.\n"
          "--admin        the server's admin socket (default $VTPM_ADMIN, else " DEFAULT_ADMIN ")\n"
          "--json         one JSON object on standard output, errors too\n"
          "--help, --version\n\n"
          "Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 conflict, 5 exists, 6 server not reached,\n"
          "7 not permitted, 8 store cannot be opened with this key, 9 store damaged. See vtpmctl(8).\n", out);
}

static int usage(const struct arguments *a, const char *what, const char *why_text)
{
    struct vt_why why = {0};

    vt_fail(&why, VT_EUSAGE, "%s%s: vtpmctl --help", what, why_text);
    return fail(a, VT_EUSAGE, &why);
}

static const struct option options[] = {
    {"admin", required_argument, NULL, 'a'},        {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},               {"version", no_argument, NULL, 'V'},
    {"uuid", required_argument, NULL, 'u'},         {"no-ek", no_argument, NULL, 'n'},
    {"profile", required_argument, NULL, 'p'},      {"credential-out", required_argument, NULL, 'c'},
    {"yes", no_argument, NULL, 'y'},                {"verify", no_argument, NULL, 'v'},
    {"instance", required_argument, NULL, 'i'},     {"group", required_argument, NULL, 'g'},
    {"predict", required_argument, NULL, 'P'},      {NULL, 0, NULL, 0},
};

static bool take(struct arguments *a, int letter)
{
    static const struct {
        int letter;
        unsigned bit;
        size_t at; /* offset of the text in struct arguments; 0: a flag */
    } plain[] = {
        {'u', OPT_UUID, offsetof(struct arguments, uuid)},
        {'p', OPT_PROFILE, offsetof(struct arguments, profile)},
        {'c', OPT_CREDENTIAL, offsetof(struct arguments, credential)},
        {'g', OPT_GROUP, offsetof(struct arguments, group)},
        {'P', OPT_PREDICT, offsetof(struct arguments, predict)},
        {'n', OPT_NO_EK, 0},
        {'y', OPT_YES, 0},
        {'v', OPT_VERIFY, 0},
    };

    for (size_t k = 0; k < VT_COUNT(plain); k++) {
        if (plain[k].letter != letter)
            continue;
        a->given |= plain[k].bit;
        if (plain[k].at)
            memcpy((char *)a + plain[k].at, &optarg, sizeof optarg);
        return true;
    }
    return false;
}

/* -1: go on; else the exit code. */
static int parse(struct arguments *a, int argc, char **argv)
{
    int letter;

    opterr = 0;
    while ((letter = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (take(a, letter))
            continue;
        switch (letter) {
        case 'a':
            a->ctl.admin = optarg;
            break;
        case 'j':
            a->ctl.json = true;
            break;
        case 'i':
            if (a->instance_count == INSTANCES_MAX)
                return usage(a, optarg, ": too many --instance; 256 are the most");
            a->instances[a->instance_count++] = optarg;
            a->given |= OPT_INSTANCE;
            break;
        case 'h':
            print_help(stdout);
            return 0;
        case 'V':
            puts("vtpmctl " VTPM_VERSION);
            return 0;
        case ':':
            return usage(a, argv[optind - 1], " wants a value");
        default:
            return usage(a, argv[optind - 1], ": there is no such option");
        }
    }
    for (; optind < argc; optind++) {
        if (a->word_count == (int)VT_COUNT(a->words))
            return usage(a, argv[optind], ": one word too many");
        a->words[a->word_count++] = argv[optind];
    }
    return -1;
}

static const struct verb *find_verb(const struct arguments *a)
{
    for (size_t k = 0; k < VT_COUNT(verbs); k++) {
        const struct verb *verb = &verbs[k];
        if (a->word_count && strcmp(verb->noun, a->words[0]) == 0 &&
            (!verb->name || (a->word_count > 1 && strcmp(verb->name, a->words[1]) == 0)))
            return verb;
    }
    return NULL;
}

static const char *option_name(unsigned bits)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {
        {OPT_UUID, "--uuid"}, {OPT_NO_EK, "--no-ek"}, {OPT_PROFILE, "--profile"}, {OPT_CREDENTIAL, "--credential-out"},
        {OPT_YES, "--yes"}, {OPT_VERIFY, "--verify"}, {OPT_INSTANCE, "--instance"}, {OPT_GROUP, "--group"},
        {OPT_PREDICT, "--predict"},
    };

    for (size_t k = 0; k < VT_COUNT(names); k++)
        if (bits & names[k].bit)
            return names[k].name;
    return "an option";
}

int main(int argc, char **argv)
{
    struct arguments a = {.ctl.admin = getenv("VTPM_ADMIN")};
    const struct verb *verb;
    int code, first;

    if (!a.ctl.admin || !*a.ctl.admin)
        a.ctl.admin = DEFAULT_ADMIN;
    code = parse(&a, argc, argv);
    if (code >= 0)
        return code;
    if (!a.word_count)
        return usage(&a, "no verb", " was given");
    verb = find_verb(&a);
    if (!verb)
        return usage(&a, a.words[a.word_count > 1 ? 1 : 0], ": there is no such verb");
    first = verb->name ? 2 : 1;
    if (a.word_count - first < verb->operand_count)
        return usage(&a, verb->operands[a.word_count - first], " is missing");
    if (a.word_count - first > verb->operand_count)
        return usage(&a, a.words[first + verb->operand_count], ": one word too many");
    if (a.given & ~verb->accepts)
        return usage(&a, option_name(a.given & ~verb->accepts), " does not belong to this verb");
    if (verb->needs & ~a.given)
        return usage(&a, option_name(verb->needs & ~a.given), " is needed");
    return verb->run(&a, a.words + first);
}

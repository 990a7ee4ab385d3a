/* SPDX-License-Identifier: Apache-2.0 */
/* vtpmctl: the table of verbs, what each one accepts, and the command line. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/ctl/verbs.h"

#define DEFAULT_ADMIN "unix:/run/vtpm-server/admin.sock"

struct verb {
    const char *noun, *name;            /* name NULL: the noun is all; it may be two words */
    const char *operands[3];            /* the last one in brackets: it may be missing */
    int operand_count;
    uint64_t accepts, needs;            /* enum given */
    int (*run)(const struct arguments *a, char *const *operands);
    const char *help;
};

static const struct verb verbs[] = {
    {"instance", "create", {"NAME"}, 1,
     OPT_UUID | OPT_NO_EK | OPT_PROFILE | OPT_CREDENTIAL | OPT_GROUP | OPT_REQUIRE | OPT_CA_KEY | OPT_CA_CERT | OPT_DAYS,
     0, run_create,
     "[--uuid U] [--no-ek] [--profile P] [--group G] [--require-measure] [--credential-out FILE]\n"
     "      [--ca-key FILE --ca-cert FILE [--days N]]"},
    {"instance", "list", {NULL}, 0, 0, 0, run_list, ""},
    {"instance", "show", {"I"}, 1, 0, 0, run_show, ""},
    {"instance", "rename", {"I", "NAME"}, 2, 0, 0, run_rename, ""},
    {"instance", "power-cycle", {"I"}, 1, 0, 0, run_power_cycle, ""},
    {"instance", "suspend", {"I"}, 1, OPT_CANCEL, 0, run_suspend, "[--cancel]"},
    {"instance", "measure", {"I"}, 1,
     OPT_PCR | OPT_FILE | OPT_DIGEST | OPT_LABEL | OPT_ONCE | OPT_ALWAYS | OPT_LIST | OPT_CLEAR, 0, run_measure,
     "[--once|--always] --pcr N (--file F | --digest HEX) [--label TEXT] | --list | --clear [--once]"},
    {"instance", "require-measure", {"I", "on|off"}, 2, 0, 0, run_require_measure, ""},
    {"instance", "quote", {"I"}, 1, OPT_DEEP | OPT_NONCE | OPT_PCR | OPT_PCRS | OPT_OUT, OPT_DEEP | OPT_NONCE | OPT_OUT,
     run_quote, "--deep --nonce HEX [--pcr N,N] [--pcrs N,N (of the host)] --out FILE"},
    {"instance", "enable", {"I"}, 1, 0, 0, run_enable, ""},
    {"instance", "disable", {"I"}, 1, 0, 0, run_disable, ""},
    {"instance", "delete", {"I"}, 1, OPT_YES, 0, run_delete, "[--yes]"},
    {"instance", "export", {"I"}, 1, OPT_TO | OPT_OUT, OPT_TO | OPT_OUT, run_export, "--to PEER --out FILE"},
    {"instance", "import", {"FILE"}, 1, 0, 0, run_import, ""},
    {"instance", "expect", {"CREDENTIAL"}, 1, OPT_FROM, OPT_FROM, run_expect, "--from PEER"},
    {"instance", "expected", {NULL}, 0, 0, 0, run_expected, ""},
    {"instance", "unexpect", {"UUID"}, 1, 0, 0, run_unexpect, ""},
    {"instance", "take-back", {"I"}, 1, OPT_YES, 0, run_take_back, "[--yes]"},
    {"credential", "rotate", {"I"}, 1, OPT_CREDENTIAL, OPT_CREDENTIAL, run_rotate, "--credential-out FILE"},
    {"credential", "create-host", {"NAME"}, 1, OPT_CREDENTIAL | OPT_INSTANCE, OPT_CREDENTIAL | OPT_INSTANCE,
     run_create_host, "--instance I ... --credential-out FILE"},
    {"binding", "add", {"I"}, 1, OPT_PEER, OPT_PEER, run_binding_add, "--peer [backend:]uuid:U|[backend:]name:N|dom0"},
    {"binding", "list", {"[I]"}, 1, 0, 0, run_binding_list, ""},
    {"binding", "remove", {"I"}, 1, OPT_PEER, 0, run_binding_remove, "[--peer P]"},
    {"ekcert", "request", {"I"}, 1, 0, 0, run_ekcert_request, ""},
    {"ekcert", "sign", {"I"}, 1, OPT_CA_KEY | OPT_CA_CERT | OPT_DAYS | OPT_OUT, OPT_CA_KEY | OPT_CA_CERT, run_ekcert_sign,
     "--ca-key FILE --ca-cert FILE [--days N] [--out FILE]"},
    {"ekcert", "install", {"I", "FILE"}, 2, 0, 0, run_ekcert_install, ""},
    {"ekcert", "show", {"I"}, 1, OPT_PEM, 0, run_ekcert_show, "[--pem]"},
    {"keyslot", "list", {NULL}, 0, 0, 0, run_keyslot_list, ""},
    {"keyslot", "add", {"SPEC"}, 1, 0, 0, run_keyslot_add, ""},
    {"keyslot", "remove", {"N"}, 1, 0, 0, run_keyslot_remove, ""},
    {"keyslot", "test", {"N"}, 1, 0, 0, run_keyslot_test, ""},
    {"keyslot", "reseal", {"N"}, 1, OPT_PREDICT | OPT_DRY_RUN, 0, run_keyslot_reseal, "[--predict FILE] [--dry-run]"},
    {"host-ak", "create", {NULL}, 0, OPT_YES | OPT_FILE, 0, run_host_ak_create, "[--yes] [--file F (TPM 1.2: owner's secret)]"},
    {"host-ak", "show", {NULL}, 0, 0, 0, run_host_ak_show, ""},
    {"verify-quote", NULL, {"FILE"}, 1, OPT_KEY | OPT_CA_CERT | OPT_NONCE | OPT_UUID, OPT_KEY | OPT_NONCE, run_verify_quote,
     "--key FILE [--ca-cert FILE] --nonce HEX [--uuid U]"},
    {"pcr-policy", "sign", {NULL}, 0, OPT_KEY | OPT_PCRS | OPT_PREDICT, OPT_KEY | OPT_PCRS | OPT_PREDICT,
     run_pcr_policy_sign, "--key FILE --pcrs N,N --predict FILE"},
    {"server", "key show", {NULL}, 0, 0, 0, run_server_key_show, ""},
    {"server", "peer add", {"NAME"}, 1, OPT_KEY | OPT_ADDRESS, OPT_KEY, run_peer_add,
     "--key FILE [--address tcp:HOST:PORT]"},
    {"server", "peer list", {NULL}, 0, 0, 0, run_peer_list, ""},
    {"server", "peer remove", {"NAME"}, 1, 0, 0, run_peer_remove, ""},
    {"backup", NULL, {"FILE"}, 1, 0, 0, run_backup, ""},
    {"check", NULL, {NULL}, 0, 0, 0, run_check, ""},
    {"anchor", NULL, {NULL}, 0, 0, 0, run_anchor, ""},
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
    fputs("\nI is a name or uuid, or host:NAME for credential rotate. SPEC is keyfile:FILE,\n"
          "passphrase-file:FILE, credential:NAME, tpm2[:pcrs=7,4][:tcti=CONF], tpm2-signed:key=FILE:signatures=FILE[...]\n"
          "or tpm12[:pcrs=0,4][:device=PATH|tcp:HOST:PORT|unix:PATH] (docs/keys.md).\n"
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
    return ctl_fail(a, VT_EUSAGE, &why);
}

static const struct option options[] = {
    {"admin", required_argument, NULL, 'a'},        {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},               {"version", no_argument, NULL, 'V'},
    {"uuid", required_argument, NULL, 'u'},         {"no-ek", no_argument, NULL, 'n'},
    {"profile", required_argument, NULL, 'p'},      {"credential-out", required_argument, NULL, 'c'},
    {"yes", no_argument, NULL, 'y'},                {"verify", no_argument, NULL, 'v'},
    {"instance", required_argument, NULL, 'i'},     {"group", required_argument, NULL, 'g'},
    {"predict", required_argument, NULL, 'P'},      {"peer", required_argument, NULL, 'e'},
    {"pcr", required_argument, NULL, 'r'},          {"file", required_argument, NULL, 'f'},
    {"digest", required_argument, NULL, 'd'},       {"label", required_argument, NULL, 'l'},
    {"once", no_argument, NULL, 'o'},               {"always", no_argument, NULL, 'w'},
    {"list", no_argument, NULL, 'L'},               {"clear", no_argument, NULL, 'C'},
    {"require-measure", no_argument, NULL, 'm'},    {"cancel", no_argument, NULL, 'x'},
    {"dry-run", no_argument, NULL, 'D'},            {"key", required_argument, NULL, 'k'},
    {"pcrs", required_argument, NULL, 's'},         {"to", required_argument, NULL, 't'},
    {"out", required_argument, NULL, 'O'},          {"ca-key", required_argument, NULL, 'K'},
    {"ca-cert", required_argument, NULL, 'A'},      {"days", required_argument, NULL, 'Y'},
    {"pem", no_argument, NULL, 'M'},                {"nonce", required_argument, NULL, 'N'},
    {"deep", no_argument, NULL, 'Q'},              {"address", required_argument, NULL, 'S'},
    {"from", required_argument, NULL, 'F'},
    {NULL, 0, NULL, 0},
};

static bool take(struct arguments *a, int letter)
{
    static const struct {
        int letter;
        uint64_t bit;
        size_t at; /* offset of the text in struct arguments; 0: a flag */
    } plain[] = {
        {'u', OPT_UUID, offsetof(struct arguments, uuid)},
        {'p', OPT_PROFILE, offsetof(struct arguments, profile)},
        {'c', OPT_CREDENTIAL, offsetof(struct arguments, credential)},
        {'g', OPT_GROUP, offsetof(struct arguments, group)},
        {'P', OPT_PREDICT, offsetof(struct arguments, predict)},
        {'e', OPT_PEER, offsetof(struct arguments, peer)},
        {'r', OPT_PCR, offsetof(struct arguments, pcr)},
        {'f', OPT_FILE, offsetof(struct arguments, file)},
        {'d', OPT_DIGEST, offsetof(struct arguments, digest)},
        {'l', OPT_LABEL, offsetof(struct arguments, label)},
        {'k', OPT_KEY, offsetof(struct arguments, key)},
        {'t', OPT_TO, offsetof(struct arguments, to)},
        {'O', OPT_OUT, offsetof(struct arguments, out)},
        {'s', OPT_PCRS, offsetof(struct arguments, pcrs)},
        {'K', OPT_CA_KEY, offsetof(struct arguments, ca_key)},
        {'A', OPT_CA_CERT, offsetof(struct arguments, ca_cert)},
        {'Y', OPT_DAYS, offsetof(struct arguments, days)},
        {'N', OPT_NONCE, offsetof(struct arguments, nonce)},
        {'S', OPT_ADDRESS, offsetof(struct arguments, address)},
        {'F', OPT_FROM, offsetof(struct arguments, from)},
        {'M', OPT_PEM, 0},
        {'Q', OPT_DEEP, 0},
        {'D', OPT_DRY_RUN, 0},
        {'o', OPT_ONCE, 0},
        {'w', OPT_ALWAYS, 0},
        {'L', OPT_LIST, 0},
        {'C', OPT_CLEAR, 0},
        {'m', OPT_REQUIRE, 0},
        {'x', OPT_CANCEL, 0},
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

/* How many of the words name this verb; 0: another one is meant. */
static int words_of(const struct verb *verb, const struct arguments *a)
{
    const char *rest = verb->name;
    int count = 1;

    if (!a->word_count || strcmp(verb->noun, a->words[0]) != 0)
        return 0;
    while (rest) {
        size_t len = strcspn(rest, " ");

        if (count == a->word_count || strncmp(rest, a->words[count], len) != 0 || a->words[count][len])
            return 0;
        count++;
        rest = rest[len] ? rest + len + 1 : NULL;
    }
    return count;
}

static const struct verb *find_verb(const struct arguments *a, int *words)
{
    for (size_t k = 0; k < VT_COUNT(verbs); k++) {
        *words = words_of(&verbs[k], a);
        if (*words)
            return &verbs[k];
    }
    return NULL;
}

static const char *option_name(uint64_t bits)
{
    static const struct {
        uint64_t bit;
        const char *name;
    } names[] = {
        {OPT_UUID, "--uuid"}, {OPT_NO_EK, "--no-ek"}, {OPT_PROFILE, "--profile"}, {OPT_CREDENTIAL, "--credential-out"},
        {OPT_YES, "--yes"}, {OPT_VERIFY, "--verify"}, {OPT_INSTANCE, "--instance"}, {OPT_GROUP, "--group"},
        {OPT_PREDICT, "--predict"}, {OPT_PEER, "--peer"}, {OPT_PCR, "--pcr"}, {OPT_FILE, "--file"},
        {OPT_DIGEST, "--digest"}, {OPT_LABEL, "--label"}, {OPT_ONCE, "--once"}, {OPT_ALWAYS, "--always"},
        {OPT_LIST, "--list"}, {OPT_CLEAR, "--clear"}, {OPT_REQUIRE, "--require-measure"},
        {OPT_CANCEL, "--cancel"}, {OPT_DRY_RUN, "--dry-run"}, {OPT_KEY, "--key"}, {OPT_PCRS, "--pcrs"},
        {OPT_TO, "--to"}, {OPT_OUT, "--out"}, {OPT_CA_KEY, "--ca-key"}, {OPT_CA_CERT, "--ca-cert"}, {OPT_DAYS, "--days"},
        {OPT_ADDRESS, "--address"}, {OPT_FROM, "--from"}, {OPT_PEM, "--pem"}, {OPT_NONCE, "--nonce"}, {OPT_DEEP, "--deep"},
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
    verb = find_verb(&a, &first);
    if (!verb)
        return usage(&a, a.words[a.word_count > 1 ? 1 : 0], ": there is no such verb");
    if (a.word_count - first < verb->operand_count && verb->operands[a.word_count - first][0] != '[')
        return usage(&a, verb->operands[a.word_count - first], " is missing");
    if (a.word_count - first > verb->operand_count)
        return usage(&a, a.words[first + verb->operand_count], ": one word too many");
    if (a.given & ~verb->accepts)
        return usage(&a, option_name(a.given & ~verb->accepts), " does not belong to this verb");
    if (verb->needs & ~a.given)
        return usage(&a, option_name(verb->needs & ~a.given), " is needed");
    return verb->run(&a, a.words + first);
}

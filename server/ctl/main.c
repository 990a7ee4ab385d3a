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
    option_set accepts, needs;
    int (*run)(const struct arguments *a, char *const *operands);
    const char *help;
};

static const struct verb verbs[] = {
    {"instance", "create", {"NAME"}, 1,
     OPT(UUID) | OPT(NO_EK) | OPT(PROFILE) | OPT(CREDENTIAL) | OPT(GROUP) | OPT(REQUIRE) | OPT(CA_KEY) | OPT(CA_CERT) | OPT(DAYS) |
         OPT(HOST_PCRS),
     0, run_create,
     "[--uuid U] [--no-ek] [--profile P] [--group G] [--require-measure] [--host-pcrs N,N-N]\n"
     "      [--credential-out FILE] [--ca-key FILE --ca-cert FILE [--days N]]"},
    {"instance", "list", {NULL}, 0, 0, 0, run_list, ""},
    {"instance", "show", {"I"}, 1, 0, 0, run_show, ""},
    {"instance", "rename", {"I", "NAME"}, 2, 0, 0, run_rename, ""},
    {"instance", "power-cycle", {"I"}, 1, 0, 0, run_power_cycle, ""},
    {"instance", "suspend", {"I"}, 1, OPT(CANCEL), 0, run_suspend, "[--cancel]"},
    {"instance", "measure", {"I"}, 1,
     OPT(PCR) | OPT(FILE) | OPT(DIGEST) | OPT(LABEL) | OPT(ONCE) | OPT(ALWAYS) | OPT(LIST) | OPT(CLEAR), 0, run_measure,
     "[--once|--always] --pcr N (--file F | --digest HEX) [--label TEXT] | --list | --clear [--once]"},
    {"instance", "require-measure", {"I", "on|off"}, 2, 0, 0, run_require_measure, ""},
    {"instance", "host-pcrs", {"I", "[N,N-N|none]"}, 2, 0, 0, run_host_pcrs, ""},
    {"instance", "limits", {"I"}, 1, OPT(RATE) | OPT(BURST) | OPT(CPU) | OPT(WEIGHT) | OPT(CLEAR), 0, run_limits,
     "[--commands-per-second N] [--burst N] [--cpu-percent N] [--weight N] | --clear"},
    {"instance", "quote", {"I"}, 1, OPT(DEEP) | OPT(NONCE) | OPT(PCR) | OPT(PCRS) | OPT(OUT), OPT(DEEP) | OPT(NONCE) | OPT(OUT),
     run_quote, "--deep --nonce HEX [--pcr N,N] [--pcrs N,N (of the host)] --out FILE"},
    {"instance", "enable", {"I"}, 1, 0, 0, run_enable, ""},
    {"instance", "disable", {"I"}, 1, 0, 0, run_disable, ""},
    {"instance", "delete", {"I"}, 1, OPT(YES), 0, run_delete, "[--yes]"},
    {"instance", "export", {"I"}, 1, OPT(TO) | OPT(OUT), OPT(TO) | OPT(OUT), run_export, "--to PEER --out FILE"},
    {"instance", "import", {"FILE|NAME"}, 1,
     OPT(SWTPM) | OPT(KEY_FILE) | OPT(KEY_FORMAT) | OPT(PWD_FILE) | OPT(KDF) | OPT(UUID) | OPT(PROFILE) | OPT(GROUP) | OPT(REQUIRE) |
         OPT(CREDENTIAL),
     0, run_import,
     "(FILE of instance export)\n"
     "      | --from-swtpm DIR [--key-file F [--key-format hex|binary] | --pwd-file F [--kdf pbkdf2|sha512]]\n"
     "      [--uuid U] [--profile P] [--group G] [--require-measure] [--credential-out FILE] (NAME to be)"},
    {"instance", "expect", {"CREDENTIAL"}, 1, OPT(FROM), OPT(FROM), run_expect, "--from PEER"},
    {"instance", "expected", {NULL}, 0, 0, 0, run_expected, ""},
    {"instance", "unexpect", {"UUID"}, 1, 0, 0, run_unexpect, ""},
    {"instance", "take-back", {"I"}, 1, OPT(YES), 0, run_take_back, "[--yes]"},
    {"credential", "rotate", {"I"}, 1, OPT(CREDENTIAL), OPT(CREDENTIAL), run_rotate, "--credential-out FILE"},
    {"credential", "create-host", {"NAME"}, 1, OPT(CREDENTIAL) | OPT(INSTANCE), OPT(CREDENTIAL) | OPT(INSTANCE),
     run_create_host, "--instance I ... --credential-out FILE"},
    {"binding", "add", {"I"}, 1, OPT(PEER), OPT(PEER), run_binding_add, "--peer [backend:]uuid:U|[backend:]name:N|dom0"},
    {"binding", "list", {"[I]"}, 1, 0, 0, run_binding_list, ""},
    {"binding", "remove", {"I"}, 1, OPT(PEER), 0, run_binding_remove, "[--peer P]"},
    {"ekcert", "request", {"I"}, 1, 0, 0, run_ekcert_request, ""},
    {"ekcert", "sign", {"I"}, 1, OPT(CA_KEY) | OPT(CA_CERT) | OPT(DAYS) | OPT(OUT), OPT(CA_KEY) | OPT(CA_CERT), run_ekcert_sign,
     "--ca-key FILE --ca-cert FILE [--days N] [--out FILE]"},
    {"ekcert", "install", {"I", "FILE"}, 2, 0, 0, run_ekcert_install, ""},
    {"ekcert", "show", {"I"}, 1, OPT(PEM), 0, run_ekcert_show, "[--pem]"},
    {"keyslot", "list", {NULL}, 0, 0, 0, run_keyslot_list, ""},
    {"keyslot", "add", {"SPEC"}, 1, 0, 0, run_keyslot_add, ""},
    {"keyslot", "remove", {"N"}, 1, 0, 0, run_keyslot_remove, ""},
    {"keyslot", "test", {"N"}, 1, 0, 0, run_keyslot_test, ""},
    {"keyslot", "reseal", {"N"}, 1, OPT(PREDICT) | OPT(DRY_RUN), 0, run_keyslot_reseal, "[--predict FILE] [--dry-run]"},
    {"host-ak", "create", {NULL}, 0, OPT(YES) | OPT(FILE), 0, run_host_ak_create, "[--yes] [--file F (TPM 1.2: owner's secret)]"},
    {"host-ak", "show", {NULL}, 0, 0, 0, run_host_ak_show, ""},
    {"host-ak", "certify request", {NULL}, 0, OPT(OUT) | OPT(FILE), OPT(OUT), run_certify_request,
     "--out REQUEST [--file F (TPM 1.2)]"},
    {"host-ak", "certify challenge", {"REQUEST"}, 1, OPT(KEY) | OPT(CA_CERT) | OPT(OUT) | OPT(SECRET_OUT),
     OPT(OUT) | OPT(SECRET_OUT), run_certify_challenge,
     "(--key EK | --ca-cert MAKER) --out CHALLENGE --secret-out SECRET"},
    {"host-ak", "certify answer", {"CHALLENGE"}, 1, OPT(OUT) | OPT(FILE), OPT(OUT), run_certify_answer,
     "--out ANSWER [--file F (TPM 1.2)]"},
    {"host-ak", "certify sign", {"ANSWER"}, 1,
     OPT(SECRET) | OPT(CA_KEY) | OPT(CA_CERT) | OPT(DAYS) | OPT(LABEL) | OPT(OUT),
     OPT(SECRET) | OPT(CA_KEY) | OPT(CA_CERT) | OPT(OUT), run_certify_sign,
     "--secret SECRET --ca-key FILE --ca-cert FILE [--days N] [--label NAME] --out CERT"},
    {"verify-quote", NULL, {"FILE"}, 1, OPT(KEY) | OPT(CA_CERT) | OPT(NONCE) | OPT(UUID), OPT(KEY) | OPT(NONCE), run_verify_quote,
     "--key FILE [--ca-cert FILE] --nonce HEX [--uuid U]"},
    {"pcr-policy", "sign", {NULL}, 0, OPT(KEY) | OPT(PCRS) | OPT(PREDICT), OPT(KEY) | OPT(PCRS) | OPT(PREDICT),
     run_pcr_policy_sign, "--key FILE --pcrs N,N --predict FILE"},
    {"server", "key show", {NULL}, 0, 0, 0, run_server_key_show, ""},
    {"server", "peer add", {"NAME"}, 1, OPT(KEY) | OPT(ADDRESS), OPT(KEY), run_peer_add,
     "--key FILE [--address tcp:HOST:PORT]"},
    {"server", "peer list", {NULL}, 0, 0, 0, run_peer_list, ""},
    {"server", "peer remove", {"NAME"}, 1, 0, 0, run_peer_remove, ""},
    {"backup", NULL, {"FILE"}, 1, 0, 0, run_backup, ""},
    {"check", NULL, {NULL}, 0, 0, 0, run_check, ""},
    {"anchor", NULL, {NULL}, 0, 0, 0, run_anchor, ""},
    {"events", NULL, {NULL}, 0, OPT(VERIFY), 0, run_events, "[--verify]"},
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

/* getopt_long's number of an option in options.def. */
#define NUMBER(name) (256 + OPTION_##name)

static const struct option options[] = {
    {"admin", required_argument, NULL, 'a'}, {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},        {"version", no_argument, NULL, 'V'},
#define TEXT(name, word, field) {word, required_argument, NULL, NUMBER(name)},
#define FLAG(name, word)        {word, no_argument, NULL, NUMBER(name)},
#define MANY(name, word, field) {word, required_argument, NULL, NUMBER(name)},
#include "server/ctl/options.def"
    {NULL, 0, NULL, 0},
};

/* False: more of them than there is room for. */
static bool take(struct arguments *a, int number)
{
    a->given |= (option_set)1 << (number - 256);
    switch (number) {
#define TEXT(name, word, field) \
    case NUMBER(name):          \
        a->field = optarg;      \
        return true;
#define FLAG(name, word)
#define MANY(name, word, field)                         \
    case NUMBER(name):                                  \
        if (a->field##_count == VT_COUNT(a->field))     \
            return false;                               \
        a->field[a->field##_count++] = optarg;          \
        return true;
#include "server/ctl/options.def"
    default:
        return true;
    }
}

/* -1: go on; else the exit code. */
static int parse(struct arguments *a, int argc, char **argv)
{
    int letter;

    opterr = 0;
    while ((letter = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (letter >= 256) {
            if (!take(a, letter))
                return usage(a, optarg, ": so often an option may not be given; 256 times are the most");
            continue;
        }
        switch (letter) {
        case 'a':
            a->ctl.admin = optarg;
            break;
        case 'j':
            a->ctl.json = true;
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

/* The first of them. */
static const char *option_name(option_set bits)
{
    static const char *const words[] = {
#define TEXT(name, word, field) "--" word,
#define FLAG(name, word)        "--" word,
#define MANY(name, word, field) "--" word,
#include "server/ctl/options.def"
    };

    return words[__builtin_ctzll(bits)];
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

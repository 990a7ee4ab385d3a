/* SPDX-License-Identifier: Apache-2.0 */
#include "server/net/config.h"

#include <stddef.h>
#include <stdlib.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/base/text.h"
#include "server/net/logsink.h"

enum kind { KIND_FLAG, KIND_TEXT, KIND_LIST, KIND_SECONDS, KIND_WORD, KIND_MINUTES };

enum {
    IN_FILE = 1, /* also a key of the configuration file */
    IN_INIT = 2, /* also means something to `init`, `check` and `restore` */
    IN_RESTORE = 4, /* means something to `restore` alone */
    IN_ACCEPT = 8, /* also means something to `accept-rollback` */
};

static const struct row {
    const char *name;
    enum kind kind;
    size_t offset;
    unsigned where;
    const char *arg;
    const char *help;
} rows[] = {
#define AT(member) offsetof(struct config, member)
    {"config", KIND_TEXT, AT(file), 0, "FILE", "read FILE (default " CONFIG_DEFAULT_FILE ", if there)"},
    {"check-config", KIND_FLAG, AT(check_config), 0, NULL,
     "check options and configuration file, then leave"},
    {"data-dir", KIND_TEXT, AT(data_dir), IN_FILE | IN_INIT, "DIR",
     "the store (default " CONFIG_DEFAULT_DATA ")"},
    {"from", KIND_TEXT, AT(from), IN_RESTORE, "FILE", "to restore: a copy that `vtpmctl backup` made"},
    {"runtime-dir", KIND_TEXT, AT(runtime_dir), IN_FILE, "DIR",
     "state that outlives the process but not the host\n(default $RUNTIME_DIRECTORY, " CONFIG_RUN_DIR
     "/STORE, DATA/run)"},
    {"keyslot", KIND_LIST, AT(keyslots), IN_FILE | IN_INIT, "SPEC",
     "what opens the store, tried in order; may be repeated:\nkeyfile:FILE, passphrase-file:FILE, "
     "recovery-file:FILE,\ncredential:NAME, tpm2[:...], tpm2-signed:..., tpm12[:...],\nauto (default: each that "
     "needs no person)"},
    {"hwtpm", KIND_TEXT, AT(hwtpm), IN_FILE, "SPEC",
     "the host's TPM, whose random numbers are mixed into\nkeys: auto (default), none, tpm2[:tcti=CONF],\n"
     "tpm12[:device=PATH]"},
    {"anchor", KIND_TEXT, AT(anchor), IN_FILE | IN_ACCEPT, "SPEC",
     "which host TPM notices an older copy of the whole\nstore: auto (default: where it opens by a tpm2 slot, or is\n"
     "anchored), none, tpm2[:tcti=CONF],\ntpm12[:owner-auth-file=FILE][:device=PATH]"},
    {"anchor-minutes", KIND_MINUTES, AT(anchor_minutes), IN_FILE, "N",
     "what is newer than the anchor is anchored after this\n(default 10)"},
    {"listen", KIND_LIST, AT(listen), IN_FILE, "ADDR",
     "where shims connect; may be repeated:\nunix:PATH, tcp:ADDR:PORT, vchan"},
    {"admin", KIND_TEXT, AT(admin), IN_FILE, "unix:PATH",
     "where vtpmctl connects (default " CONFIG_DEFAULT_ADMIN ")"},
    {"admin-group", KIND_TEXT, AT(admin_group), IN_FILE, "GROUP", "its members may administer"},
    {"monitor-group", KIND_TEXT, AT(monitor_group), IN_FILE, "GROUP", "its members may look"},
    {"user", KIND_TEXT, AT(user), IN_FILE | IN_INIT, "USER",
     "started as root, run as USER\n(default: the owner of the data directory, or vtpm)"},
    {"allow-root", KIND_FLAG, AT(allow_root), IN_FILE | IN_INIT, NULL, "stay root (tests and containers)"},
    {"engine", KIND_TEXT, AT(engine), IN_FILE, "PATH",
     "the vtpm-engine program\n(default: beside this program, or in ../libexec)"},
    {"idle-timeout", KIND_SECONDS, AT(idle_s), IN_FILE, "SECONDS",
     "an engine without commands leaves after this\n(default 60)"},
    {"handshake-timeout", KIND_SECONDS, AT(handshake_s), IN_FILE, "SECONDS",
     "a peer must have shown its key after this (default 10)"},
    {"request-timeout", KIND_SECONDS, AT(request_s), IN_FILE, "SECONDS",
     "an engine that works on one command for longer is\nended (default 30)"},
    {"key-pool", KIND_TEXT, AT(key_pool), IN_FILE, "N[,M]",
     "so many RSA keys of 2048 and of 1024 bits are kept\nready (default " CONFIG_DEFAULT_KEY_POOL "); 0: each engine makes its own"},
    {"key-pool-wait", KIND_SECONDS, AT(key_pool_wait_s), IN_FILE, "SECONDS",
     "the key pool is filled so long after the start\n(default 20)"},
    {"log-level", KIND_WORD, AT(log_level), IN_FILE | IN_INIT, "LEVEL",
     "error, warning, notice, info (default) or debug"},
    {"log-format", KIND_WORD, AT(log_format), IN_FILE | IN_INIT, "FORMAT",
     "text, json (one object a line), or auto (default):\njson where the journal reads, else text"},
    {"help", KIND_FLAG, AT(help), IN_INIT, NULL, "print this"},
    {"version", KIND_FLAG, AT(version), IN_INIT, NULL, "print the version and the cryptographic library"},
#undef AT
};
_Static_assert(VT_COUNT(rows) <= CONFIG_OPTIONS_MAX, "one origin per option");

/* What the options of KIND_WORD take. */
static const struct word {
    size_t offset;
    const char *name;
    unsigned value;
} words[] = {
    {offsetof(struct config, log_level), "error", VT_LOG_ERROR},
    {offsetof(struct config, log_level), "warning", VT_LOG_WARNING},
    {offsetof(struct config, log_level), "notice", VT_LOG_NOTICE},
    {offsetof(struct config, log_level), "info", VT_LOG_INFO},
    {offsetof(struct config, log_level), "debug", VT_LOG_DEBUG},
    {offsetof(struct config, log_format), "auto", LOGSINK_AUTO},
    {offsetof(struct config, log_format), "text", LOGSINK_TEXT},
    {offsetof(struct config, log_format), "json", LOGSINK_JSON},
};

static void *member(struct config *config, const struct row *row)
{
    return (char *)config + row->offset;
}

static const struct row *find_row(const char *name, size_t len)
{
    for (size_t i = 0; i < VT_COUNT(rows); i++)
        if (strlen(rows[i].name) == len && !memcmp(rows[i].name, name, len))
            return &rows[i];
    return NULL;
}

static int set_text(char **at, const char *value, struct vt_why *why)
{
    char *copy = vt_strdup(value);

    if (!copy)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    vt_free(*at);
    *at = copy;
    return VT_OK;
}

static int add_text(struct config_list *list, const char *value, struct vt_why *why)
{
    char **items = vt_realloc(list->items, (list->count + 1) * sizeof *items);

    if (!items)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    list->items = items;
    items[list->count] = NULL;
    if (set_text(&items[list->count], value, why))
        return VT_ENOMEM;
    list->count++;
    return VT_OK;
}

static int set_word(uint64_t *at, const struct row *row, const char *name, const char *value, struct vt_why *why)
{
    char all[100] = "";

    for (size_t i = 0; i < VT_COUNT(words); i++) {
        size_t len = strlen(all);

        if (words[i].offset != row->offset)
            continue;
        if (!strcmp(words[i].name, value)) {
            *at = words[i].value;
            return VT_OK;
        }
        snprintf(all + len, sizeof all - len, "%s%s", len ? ", " : "", words[i].name);
    }
    return vt_fail(why, VT_EUSAGE, "%s: '%s' is none of %s", name, value, all);
}

static int set_flag(bool *at, const char *name, const char *value, struct vt_why *why)
{
    if (!strcmp(value, "yes") || !strcmp(value, "true"))
        *at = true;
    else if (!strcmp(value, "no") || !strcmp(value, "false"))
        *at = false;
    else
        return vt_fail(why, VT_EUSAGE, "%s: '%s' is neither yes nor no", name, value);
    return VT_OK;
}

static int set_value(struct config *config, const struct row *row, const char *name, const char *value,
                     struct vt_why *why)
{
    void *at = member(config, row);

    if (!*value)
        return vt_fail(why, VT_EUSAGE, "%s: needs a value (%s)", name, row->arg ? row->arg : "yes or no");
    switch (row->kind) {
    case KIND_FLAG:
        return set_flag(at, name, value, why);
    case KIND_TEXT:
        return set_text(at, value, why);
    case KIND_LIST:
        return add_text(at, value, why);
    case KIND_WORD:
        return set_word(at, row, name, value, why);
    case KIND_MINUTES:
        if (!vt_parse_u64(at, value, 10080) || !*(uint64_t *)at)
            return vt_fail(why, VT_EUSAGE, "%s: '%s' is not a number of minutes from 1 to 10080", name, value);
        return VT_OK;
    case KIND_SECONDS:
        if (!vt_parse_u64(at, value, 86400) || !*(uint64_t *)at)
            return vt_fail(why, VT_EUSAGE, "%s: '%s' is not a number of seconds from 1 to 86400", name,
                           value);
        return VT_OK;
    }
    return VT_EFAIL;
}

int config_set_key(struct config *config, const char *key, const char *value, unsigned line,
                   struct vt_why *why)
{
    const struct row *row = find_row(key, strlen(key));
    struct config_origin *origin;

    if (!row || !(row->where & IN_FILE))
        return vt_fail(why, VT_EUSAGE, "unknown key '%s'", key);
    origin = &config->origin[row - rows];
    if (origin->line && row->kind != KIND_LIST)
        return vt_fail(why, VT_EUSAGE, "%s: given already in line %u", key, origin->line);
    origin->line = line;
    if (origin->by_command_line) {
        /* The command line wins, but a wrong value in the file is an error all the same. */
        struct config scratch = {0};
        int err = set_value(&scratch, row, key, value, why);
        config_free(&scratch);
        return err;
    }
    return set_value(config, row, key, value, why);
}

/* What the command line begins with. */
static const char *word_of(const struct config *config)
{
    return config->init ? "init" : config->check ? "check" : config->restore ? "restore"
           : config->accept_rollback ? "accept-rollback" : "a server";
}

static bool has_meaning(const struct config *config, const struct row *row)
{
    if (row->where & IN_RESTORE)
        return config->restore;
    /* It takes what init takes, and the anchor. */
    if (config->accept_rollback)
        return row->where & (IN_INIT | IN_ACCEPT);
    return !(config->init || config->check || config->restore) || row->where & IN_INIT;
}

/* "--name=value" or "--name value"; *at moves past what was used. */
static int take_option(struct config *config, int argc, char *const *argv, int *at, struct vt_why *why)
{
    const char *arg = argv[*at];
    const char *equals = strchr(arg, '=');
    size_t len = equals ? (size_t)(equals - arg) : strlen(arg);
    const struct row *row = len > 2 ? find_row(arg + 2, len - 2) : NULL;
    const char *value = equals ? equals + 1 : NULL;
    char name[32];

    if (!row)
        return vt_fail(why, VT_EUSAGE, "%.*s: unknown option (see vtpm-server --help)", (int)VT_MIN(len, 80u),
                       arg);
    if (!has_meaning(config, row))
        return vt_fail(why, VT_EUSAGE, "--%s: means nothing to %s", row->name, word_of(config));
    snprintf(name, sizeof name, "--%s", row->name);
    (*at)++;
    config->origin[row - rows].by_command_line = true;
    if (row->kind == KIND_FLAG) {
        if (value)
            return vt_fail(why, VT_EUSAGE, "%s: takes no value", name);
        return set_flag(member(config, row), name, "yes", why);
    }
    if (!value) {
        if (*at >= argc)
            return vt_fail(why, VT_EUSAGE, "%s: needs a value (%s)", name, row->arg);
        value = argv[(*at)++];
    }
    return set_value(config, row, name, value, why);
}

static int parse_command_line(struct config *config, int argc, char *const *argv, struct vt_why *why)
{
    int at = 1;
    int err;

    config->init = at < argc && !strcmp(argv[at], "init");
    config->check = at < argc && !strcmp(argv[at], "check");
    config->restore = at < argc && !strcmp(argv[at], "restore");
    config->accept_rollback = at < argc && !strcmp(argv[at], "accept-rollback");
    if (config->init || config->check || config->restore || config->accept_rollback)
        at++;
    while (at < argc) {
        if (!strcmp(argv[at], "-h"))
            config->help = true, at++;
        else if (argv[at][0] != '-' || argv[at][1] != '-')
            return vt_fail(why, VT_EUSAGE,
                           "'%s': neither an option nor, in the first place, `init`, `check`, `restore` or "
                           "`accept-rollback` "
                           "(see vtpm-server --help)",
                           argv[at]);
        else if ((err = take_option(config, argc, argv, &at, why)))
            return err;
    }
    return VT_OK;
}

static int read_files(struct config *config, const char *default_file, struct vt_why *why)
{
    struct vt_why ignored = {0};
    int err;

    if (config->init || config->check || config->restore || config->accept_rollback)
        return VT_OK;
    if (config->file) {
        err = config_read_file(config, config->file, why);
        return err == VT_ENOTFOUND ? VT_EUSAGE : err;
    }
    if (!default_file)
        return VT_OK;
    err = config_read_file(config, default_file, &ignored);
    if (err == VT_ENOTFOUND)
        return VT_OK;
    return err ? vt_fail(why, err, "%s", ignored.text) : VT_OK;
}

static int set_defaults(struct config *config, struct vt_why *why)
{
    int err = VT_OK;

    if (!config->data_dir)
        err = set_text(&config->data_dir, CONFIG_DEFAULT_DATA, why);
    if (!err && !config->admin)
        err = set_text(&config->admin, CONFIG_DEFAULT_ADMIN, why);
    if (!err && !config->hwtpm)
        err = set_text(&config->hwtpm, "auto", why);
    if (!err && !config->anchor)
        err = set_text(&config->anchor, "auto", why);
    if (!err && !config->key_pool)
        err = set_text(&config->key_pool, CONFIG_DEFAULT_KEY_POOL, why);
    if (!err && !config->keyslots.count && !config->init)
        err = add_text(&config->keyslots, CONFIG_DEFAULT_KEYSLOT, why);
    return err;
}

void config_init_command(const struct config *config, char *text, size_t size)
{
    if (!strcmp(config->data_dir, CONFIG_DEFAULT_DATA))
        snprintf(text, size, "vtpm-server init --keyslot keyfile:%s", CONFIG_DEFAULT_KEYFILE);
    else
        snprintf(text, size, "vtpm-server init --data-dir %s --keyslot keyfile:%s.key", config->data_dir,
                 config->data_dir);
}

/* What opens a new store is the operator's choice; it is made once. */
static int refuse_init(const struct config *config, struct vt_why *why)
{
    char command[CONFIG_COMMAND];

    config_init_command(config, command, sizeof command);
    return vt_fail(why, VT_EUSAGE, "no --keyslot: say what shall open the store, for instance: %s", command);
}

int config_load(struct config *config, int argc, char *const *argv, const char *default_file,
                struct vt_why *why)
{
    int err;

    *config = (struct config){
        .idle_s = CONFIG_DEFAULT_IDLE_S,
        .handshake_s = CONFIG_DEFAULT_HANDSHAKE_S,
        .request_s = CONFIG_DEFAULT_REQUEST_S,
        .key_pool_wait_s = CONFIG_DEFAULT_KEY_POOL_WAIT_S,
        .anchor_minutes = CONFIG_DEFAULT_ANCHOR_MINUTES,
        .log_level = VT_LOG_INFO,
    };
    err = parse_command_line(config, argc, argv, why);
    if (err || config->help || config->version)
        return err;
    err = read_files(config, default_file, why);
    if (err)
        return err;
    err = set_defaults(config, why);
    if (!err && config->restore && !config->from)
        err = vt_fail(why, VT_EUSAGE, "no --from FILE: say which copy shall be restored");
    if (err)
        return err;
    return config->keyslots.count ? VT_OK : refuse_init(config, why);
}

void config_free(struct config *config)
{
    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        if (rows[i].kind == KIND_TEXT) {
            vt_free(*(char **)member(config, &rows[i]));
        } else if (rows[i].kind == KIND_LIST) {
            struct config_list *list = member(config, &rows[i]);
            for (size_t k = 0; k < list->count; k++)
                vt_free(list->items[k]);
            vt_free(list->items);
        }
    }
    *config = (struct config){0};
}

const char *config_option_name(size_t index)
{
    return index < VT_COUNT(rows) ? rows[index].name : NULL;
}

static void help_row(FILE *out, const struct row *row)
{
    char left[40];
    const char *text = row->help;

    snprintf(left, sizeof left, "--%s%s%s", row->name, row->arg ? " " : "", row->arg ? row->arg : "");
    for (;;) {
        size_t len = strcspn(text, "\n");
        fprintf(out, "  %-23s %.*s\n", left, (int)len, text);
        if (!text[len])
            return;
        text += len + 1;
        left[0] = '\0';
    }
}

void config_help(FILE *out)
{
    fputs("usage: vtpm-server init --keyslot SPEC [--keyslot SPEC ...] [--data-dir DIR] [--user USER]\n"
          "       vtpm-server check [--keyslot SPEC|auto] [--data-dir DIR] [--user USER]\n"
          "       vtpm-server restore --from FILE [--keyslot SPEC|auto] [--data-dir DIR] [--user USER]\n"
          "       vtpm-server accept-rollback --keyslot recovery-file:FILE [--data-dir DIR] [--anchor SPEC]\n"
          "       vtpm-server [--keyslot SPEC|auto] [--listen ADDR ...] [option ...]\n\n"
          "`init` makes a store and prints its recovery key, the one line on standard output:\n"
          "keep it where this host's disk is not. `check` examines a store that no server has open\n"
          "(`vtpmctl check` one that a server has). `restore` puts a backup where no store is.\n"
          "Without any of these words the server runs in the foreground.\n\n",
          out);
    fputs("`accept-rollback` goes on with a copy of the store that the host TPM knows to be an older one.\n\n", out);
    for (size_t i = 0; i < VT_COUNT(rows); i++)
        help_row(out, &rows[i]);
    fputs("\nThe long options, but for config, check-config, from, help and version, are also keys of the\n"
          "configuration file, in section [server]: `data-dir = DIR`. The command line wins.\n"
          "Exit status: 0 ok, 1 failure, 2 usage or configuration, 4 a store or a server is there already,\n"
          "7 not permitted, 8 the store cannot be opened with this key, 9 the store is damaged or not the newest.\n",
          out);
}

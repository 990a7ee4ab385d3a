/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of vtpm-server: one table gives the command line, the keys of the configuration file and
 * --help. The command line wins over the file; a list on the command line replaces the file's. Main thread,
 * at start.
 */
#ifndef VTPM_NET_CONFIG_H
#define VTPM_NET_CONFIG_H

#include <stdio.h>

#include "server/base/err.h"

#define CONFIG_DEFAULT_FILE   "/etc/vtpm/vtpm-server.conf"
#define CONFIG_DEFAULT_DATA   "/var/lib/vtpm-server"
#define CONFIG_RUN_DIR        "/run/vtpm-server"
#define CONFIG_DEFAULT_ADMIN  "unix:" CONFIG_RUN_DIR "/admin.sock"
/* What --keyslot means where it is not given, to a server and to `check`; `init` must be told. */
#define CONFIG_DEFAULT_KEYSLOT "auto"
/* Where the files of deploy/ leave a place for it. */
#define CONFIG_DEFAULT_KEYFILE "/etc/vtpm/keys/master.key"
#define CONFIG_DEFAULT_IDLE_S 60
#define CONFIG_DEFAULT_HANDSHAKE_S 10
#define CONFIG_DEFAULT_REQUEST_S 30
#define CONFIG_DEFAULT_ANCHOR_MINUTES 10
/*
 * 16 guests that are made or take ownership at once need not wait, and it is full again after half a second of one
 * processor; keys of 1024 bits are for the few who ask for them. 8 KiB of locked memory.
 */
#define CONFIG_DEFAULT_KEY_POOL "16,4"
/* Later than most short lives of a server, and soon enough for the first guest after a boot of the host. */
#define CONFIG_DEFAULT_KEY_POOL_WAIT_S 20
#define CONFIG_OPTIONS_MAX    32

struct config_list {
    char **items;
    size_t count;
};

struct config {
    bool init, check, restore; /* the word `init`, `check` or `restore` was given */
    bool accept_rollback; /* likewise */
    bool help, version, check_config, allow_root;
    char *file, *from, *data_dir, *runtime_dir, *admin, *user, *admin_group, *monitor_group, *engine, *hwtpm;
    char *anchor, *key_pool;
    struct config_list keyslots, listen;
    uint64_t idle_s, handshake_s, request_s, key_pool_wait_s;
    uint64_t anchor_minutes;
    uint64_t log_level; /* enum vt_log_level */
    uint64_t log_format; /* enum logsink_format */
    /* Per row of the table: who gave it. */
    struct config_origin {
        bool by_command_line;
        unsigned line; /* of the file; 0: not in it */
    } origin[CONFIG_OPTIONS_MAX];
};

/*
 * Command line, then the file it names (else default_file if there is one; NULL: none), then the defaults.
 * VT_EUSAGE with the option, or file and line, in why. With --help or --version nothing else is looked at.
 * The config must be freed with config_free also after an error.
 */
int config_load(struct config *config, int argc, char *const *argv, const char *default_file,
                struct vt_why *why) VT_USE_RESULT;
void config_free(struct config *config);

/* What --help prints. */
void config_help(FILE *out);

#define CONFIG_COMMAND 400
/* The command that makes the store which this configuration names; cut where it is longer. */
void config_init_command(const struct config *config, char *text, size_t size);

/* The long options in the table's order, NULL after the last: the man page is checked against them. */
const char *config_option_name(size_t index);

/* ---- For config_file.c ---- */
/* One `key = value` of the file; what it is about stands in why, without file and line. */
int config_set_key(struct config *config, const char *key, const char *value, unsigned line,
                   struct vt_why *why) VT_USE_RESULT;
/* Reads an INI file; VT_ENOTFOUND if there is none, else VT_EUSAGE with file and line. */
int config_read_file(struct config *config, const char *path, struct vt_why *why) VT_USE_RESULT;

#endif

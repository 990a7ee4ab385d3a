/* SPDX-License-Identifier: Apache-2.0 */
/* The server's configuration file: the input is the file. */
#include "server/net/config.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *argc VT_UNUSED, char ***argv VT_UNUSED)
{
    return 0;
}

static void check_accepted(const struct config *config)
{
    FUZZ_CHECK(config->data_dir && config->admin);
    for (size_t i = 0; i < config->keyslots.count; i++)
        FUZZ_CHECK(config->keyslots.items[i]);
    for (size_t i = 0; i < config->listen.count; i++)
        FUZZ_CHECK(config->listen.items[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char program[] = "vtpm-server", option[] = "--config", path[64];
    char *argv[] = {program, option, path, NULL};
    struct config config = {0};
    struct vt_why why = {{0}};
    int err;

    snprintf(path, sizeof path, "%s", fuzz_file(bytes, len));
    err = config_load(&config, 3, argv, NULL, &why);
    FUZZ_CHECK(err == VT_OK || err == VT_EUSAGE);
    if (err)
        FUZZ_CHECK(why.text[0] && memchr(why.text, 0, sizeof why.text));
    else
        check_accepted(&config);
    config_free(&config);
    return 0;
}

void fuzz_seeds(fuzz_emit emit, void *arg)
{
    static const char every[] = "# all there is\n[server]\n"
                                "data-dir = /var/lib/vtpm-server\nruntime-dir=/run/x\n"
                                "keyslot = keyfile:/etc/vtpm/key\nkeyslot = passphrase-file:/etc/vtpm/p\n"
                                "listen = unix:/run/vtpm-server/shim.sock\nlisten = tcp:[::1]:7000\r\n"
                                "admin = unix:/run/a.sock\n; other\nuser = vtpm\nadmin-group = adm\n"
                                "monitor-group = mon\nengine = /usr/libexec/vtpm-engine\nidle-timeout = 60\n"
                                "log-level = debug\nallow-root = yes\n";
    static const char *const bad[] = {"[server]\nidle-timeout = 99999999999999999999\n", "x = 1\n", "[other]\n",
                                      "[server]\n= 5\n", "[server]\nlisten\n"};

    emit(arg, "seed-every", every, sizeof every - 1);
    for (size_t i = 0; i < VT_COUNT(bad); i++) {
        char name[16];

        snprintf(name, sizeof name, "seed-bad%zu", i);
        emit(arg, name, bad[i], strlen(bad[i]));
    }
}

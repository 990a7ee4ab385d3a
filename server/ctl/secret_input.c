/* SPDX-License-Identifier: Apache-2.0 */
#include "server/ctl/ctl.h"

#include <jansson.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/secret.h"
#include "server/core/keyslot/keyslot.h"

static int from_keyfile(const Vtpm__Keyslot *slot, uint8_t **secret, size_t *len, struct vt_why *why)
{
    struct keyslot_spec spec = {.kind = "keyfile"};
    json_t *params = json_loads(slot->params, 0, NULL);
    const char *path = json_string_value(json_object_get(params, "path"));
    int err;

    if (path && strlen(path) < sizeof spec.arg) {
        snprintf(spec.arg, sizeof spec.arg, "%s", path);
        err = keyslot_read_secret(&spec, false, secret, len, why);
    } else {
        err = vt_fail(why, VT_EDAMAGED, "key slot %lld does not say where its key file is", (long long)slot->id);
    }
    json_decref(params);
    return err;
}

static void echo(bool on)
{
    struct termios terminal;

    if (tcgetattr(STDIN_FILENO, &terminal))
        return;
    if (on)
        terminal.c_lflag |= ECHO;
    else
        terminal.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSANOW, &terminal);
}

static int from_stdin(const Vtpm__Keyslot *slot, uint8_t **secret, size_t *len, struct vt_why *why)
{
    bool person = isatty(STDIN_FILENO);
    char line[1024];
    int err = VT_OK;

    if (person) {
        fprintf(stderr, "%s of key slot %lld: ", slot->kind, (long long)slot->id);
        echo(false);
    }
    if (!fgets(line, sizeof line, stdin))
        err = vt_fail(why, VT_EUSAGE, "the %s of slot %lld is expected on standard input", slot->kind,
                      (long long)slot->id);
    if (person) {
        echo(true);
        fputc('\n', stderr);
    }
    if (!err) {
        *len = strcspn(line, "\n");
        *secret = vt_memdup(line, *len);
        err = *secret ? VT_OK : VT_ENOMEM;
    }
    vt_wipe(line, sizeof line);
    return err;
}

static int from_recovery(const Vtpm__Keyslot *slot, uint8_t **secret, size_t *len, struct vt_why *why)
{
    uint8_t key[32];
    char *text;
    int err = from_stdin(slot, secret, len, why);

    if (err)
        return err;
    text = vt_calloc(1, *len + 1);
    if (text)
        memcpy(text, *secret, *len);
    err = text ? recovery_parse(text, key, why) : VT_ENOMEM;
    if (text)
        vt_free_wiped(text, *len);
    vt_free_wiped(*secret, *len);
    if (err)
        return err;
    *secret = vt_memdup(key, sizeof key);
    *len = sizeof key;
    vt_wipe(key, sizeof key);
    return *secret ? VT_OK : VT_ENOMEM;
}

int secret_of_slot(const Vtpm__Keyslot *slot, uint8_t **secret, size_t *len, struct vt_why *why)
{
    if (strcmp(slot->kind, "keyfile") == 0)
        return from_keyfile(slot, secret, len, why);
    if (strcmp(slot->kind, "recovery") == 0)
        return from_recovery(slot, secret, len, why);
    return from_stdin(slot, secret, len, why);
}

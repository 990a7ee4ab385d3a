/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs on other servers, on instances that move between them, and the backup. Files are read and written here. */
#include "server/ctl/verbs.h"

#include <stdio.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/core/store/bundle.h"

#define KEY_FILE_MAX 4096        /* of a key file: what is longer is none */
#define PIECE    (1u << 20)

static int incomplete(const struct arguments *a, Vtpm__AdminReply *reply)
{
    ctl_reply_free(reply);
    return print_error(&a->ctl, VT_EPROTO, "the server's answer lacks what was asked for");
}

/* ---- Other servers ---- */

int run_server_key_show(const struct arguments *a, char *const *operands VT_UNUSED)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__ServerKeyShow show = VTPM__SERVER_KEY_SHOW__INIT;
    Vtpm__AdminReply *reply;
    int code;

    request.verb_case = VTPM__ADMIN_REQUEST__VERB_SERVER_KEY_SHOW;
    request.server_key_show = &show;
    code = ctl_ask(a, &request, &reply);
    if (code)
        return code;
    if (!reply->server_key)
        return incomplete(a, reply);
    print_server_key(&a->ctl, reply);
    ctl_reply_free(reply);
    return 0;
}

int run_peer_add(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__PeerAdd add = VTPM__PEER_ADD__INIT;
    struct vt_why why = {0};
    uint8_t *bytes;
    size_t len;
    int code, err = load_file(a->key, KEY_FILE_MAX, &bytes, &len, &why);

    if (err)
        return ctl_fail(a, err, &why);
    add.name = operands[0];
    if (a->address)
        add.address = a->address;
    add.line = (char *)bytes; /* load_file leaves a zero behind it */
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_PEER_ADD;
    request.peer_add = &add;
    code = memchr(bytes, '\0', len) ? print_error(&a->ctl, VT_EUSAGE, "--key: that file is no text") : ctl_do(a, &request);
    vt_free(bytes);
    return code;
}

int run_peer_list(const struct arguments *a, char *const *operands VT_UNUSED)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__PeerList list = VTPM__PEER_LIST__INIT;

    request.verb_case = VTPM__ADMIN_REQUEST__VERB_PEER_LIST;
    request.peer_list = &list;
    return ctl_show(a, &request, print_peers);
}

int run_peer_remove(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__PeerRef ref = VTPM__PEER_REF__INIT;

    ref.name = operands[0];
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_PEER_REMOVE;
    request.peer_remove = &ref;
    return ctl_do(a, &request);
}

/* ---- Instances that move ---- */

static int save_bundle(const struct arguments *a, int fd, const ProtobufCBinaryData *bundle)
{
    struct vt_why why = {0}, inner = {0};
    int err = save_put(a->out, fd, bundle->data, bundle->len, &inner);

    if (err) {
        save_drop(a->out, fd);
        vt_fail(&why, err, "%s; the instance is exported: the same command with another --out gives it again",
                inner.text);
        return ctl_fail(a, err, &why);
    }
    err = save_end(a->out, fd, &why);
    return err ? ctl_fail(a, err, &why) : 0;
}

/* The file is there before the instance has left. */
int run_export(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceExport export = VTPM__INSTANCE_EXPORT__INIT;
    Vtpm__AdminReply *reply;
    struct vt_why why = {0};
    int fd, code, err = save_begin(a->out, &fd, &why);

    if (err)
        return ctl_fail(a, err, &why);
    export.instance = operands[0];
    export.to = a->to;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_EXPORT_INSTANCE;
    request.export_instance = &export;
    code = ctl_ask(a, &request, &reply);
    if (code) {
        save_drop(a->out, fd);
        return code;
    }
    if (!reply->bundle.len) {
        save_drop(a->out, fd);
        return incomplete(a, reply);
    }
    code = save_bundle(a, fd, &reply->bundle);
    if (!code)
        print_exported(&a->ctl, a->out, reply->bundle.len);
    ctl_reply_free(reply);
    return code;
}

static int import_bundle(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceImport import = VTPM__INSTANCE_IMPORT__INIT;
    Vtpm__AdminReply *reply;
    struct vt_why why = {0};
    uint8_t *bytes;
    size_t len;
    int code, err = load_file(operands[0], BUNDLE_MAX, &bytes, &len, &why);

    if (err)
        return ctl_fail(a, err, &why);
    import.bundle = (ProtobufCBinaryData){.data = bytes, .len = len};
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_IMPORT_INSTANCE;
    request.import_instance = &import;
    code = ctl_ask(a, &request, &reply);
    vt_free(bytes);
    if (code)
        return code;
    if (!reply->n_instances)
        return incomplete(a, reply);
    print_created(&a->ctl, reply, NULL);
    ctl_reply_free(reply);
    return 0;
}

/* Two things come in by one verb: an exported instance, and a TPM that swtpm kept. */
int run_import(const struct arguments *a, char *const *operands)
{
    struct vt_why why = {0};

    if (is_given(a, OPT(SWTPM)))
        return run_import_swtpm(a, operands);
    if (!a->given)
        return import_bundle(a, operands);
    vt_fail(&why, VT_EUSAGE, "these options go with --from-swtpm DIR: an exported instance brings all of it along");
    return ctl_fail(a, VT_EUSAGE, &why);
}

static bool confirmed(const struct arguments *a, const char *name)
{
    char line[16] = "";

    if (is_given(a, OPT(YES)))
        return true;
    if (!isatty(STDIN_FILENO))
        return false;
    fprintf(stderr, "If %s was imported at the other server, two TPMs with the same keys will run, and each will be a way "
                    "back in time for the other. Take it back? Type yes: ", name);
    return fgets(line, sizeof line, stdin) && strcmp(line, "yes\n") == 0;
}

int run_take_back(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceRef ref = VTPM__INSTANCE_REF__INIT;

    if (!confirmed(a, operands[0]))
        return print_error(&a->ctl, VT_EUSAGE, "not taken back: --yes says that the other server never will run it");
    ref.instance = operands[0];
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_TAKE_BACK;
    request.take_back = &ref;
    return ctl_do(a, &request);
}

/* ---- Backup ---- */

static int ask_backup(const struct arguments *a, Vtpm__AdminReply **reply)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__BackupBegin begin = VTPM__BACKUP_BEGIN__INIT;
    int code;

    request.verb_case = VTPM__ADMIN_REQUEST__VERB_BACKUP_BEGIN;
    request.backup_begin = &begin;
    code = ctl_ask(a, &request, reply);
    return !code && !(*reply)->backup ? incomplete(a, *reply) : code;
}

static int ask_piece(const struct arguments *a, const Vtpm__Backup *backup, uint64_t offset, Vtpm__AdminReply **reply)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__BackupRead read = VTPM__BACKUP_READ__INIT;
    int code;

    read.token = backup->token;
    read.offset = offset;
    read.length = PIECE;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_BACKUP_READ;
    request.backup_read = &read;
    code = ctl_ask(a, &request, reply);
    return !code && !(*reply)->data.len ? incomplete(a, *reply) : code;
}

/* The server lets the copy go by itself, a minute later. */
static void end_backup(const struct arguments *a, const Vtpm__Backup *backup)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__BackupEnd end = VTPM__BACKUP_END__INIT;
    Vtpm__AdminReply *reply;

    end.token = backup->token;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_BACKUP_END;
    request.backup_end = &end;
    if (!ctl_call(&a->ctl, &request, &reply, NULL))
        ctl_reply_free(reply);
}

static int fetch(const struct arguments *a, const Vtpm__Backup *backup, const char *path, int fd)
{
    for (uint64_t offset = 0; offset < backup->bytes;) {
        Vtpm__AdminReply *reply;
        struct vt_why why = {0};
        int err, code = ask_piece(a, backup, offset, &reply);

        if (code)
            return code;
        offset += reply->data.len;
        err = save_put(path, fd, reply->data.data, reply->data.len, &why);
        ctl_reply_free(reply);
        if (err)
            return ctl_fail(a, err, &why);
    }
    return 0;
}

int run_backup(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminReply *reply;
    struct vt_why why = {0};
    int fd, code, err = save_begin(operands[0], &fd, &why);

    if (err)
        return ctl_fail(a, err, &why);
    code = ask_backup(a, &reply);
    if (code) {
        save_drop(operands[0], fd);
        return code;
    }
    code = fetch(a, reply->backup, operands[0], fd);
    end_backup(a, reply->backup);
    if (code) {
        save_drop(operands[0], fd);
    } else {
        err = save_end(operands[0], fd, &why);
        if (err)
            code = ctl_fail(a, err, &why);
        else
            print_backup(&a->ctl, reply->backup, operands[0]);
    }
    ctl_reply_free(reply);
    return code;
}

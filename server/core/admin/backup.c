/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vtpmctl backup`: a worker makes a copy of the store in its directory, whose name is gone before anybody reads it;
 * who asked fetches it in pieces and keeps it where the server need not reach. One at a time; nobody waits for a reader
 * that went away.
 */
#include "server/core/admin/admin_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/log.h"

#define PIECE_MAX (1u << 20)
#define IDLE_MS   60000
#define TOKEN     16
#define COPY_NAME "backup.tmp"

struct backup {
    struct broker *broker;
    struct loop_timer *idle;        /* NULL: still being made */
    struct db_backup made;
    uint8_t token[TOKEN];
    int fd;
    bool is_read;                   /* a piece is on a worker */
};

void broker_drop_backup(struct broker *broker)
{
    struct backup *backup = broker->backup;

    if (!backup)
        return;
    broker->backup = NULL;
    loop_timer_free(backup->idle);
    if (backup->fd >= 0)
        close(backup->fd);
    vt_free(backup);
}

static void on_idle(void *arg)
{
    struct broker *broker = arg;

    if (broker->backup->is_read) {
        loop_timer_start(broker->backup->idle, IDLE_MS);
        return;
    }
    vt_notice("backup: a copy that nobody fetched was dropped");
    broker_drop_backup(broker);
}

/* ---- Making it ---- */

struct copying {
    struct admin_call *call;
    struct backup *backup;
    int err;
};

static int make_copy(struct copying *copying)
{
    struct broker *broker = copying->call->broker;
    struct vt_why *why = &copying->call->why;
    char path[4096];
    int err;

    if ((size_t)snprintf(path, sizeof path, "%s/" COPY_NAME, broker->data_dir) >= sizeof path)
        return VT_ETOOBIG;
    /* Of a server that was killed. */
    if (unlink(path) && errno != ENOENT)
        return vt_fail(why, VT_EIO, "%s: %s", path, strerror(errno));
    err = db_backup(broker->db, path, &copying->backup->made, why);
    if (err)
        return err;
    copying->backup->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (copying->backup->fd < 0)
        err = vt_fail(why, VT_EIO, "%s: %s", path, strerror(errno));
    (void)unlink(path);
    return err;
}

static void work_copy(void *arg)
{
    struct copying *copying = arg;

    copying->err = make_copy(copying);
}

static void reply_copy(struct admin_call *call, struct backup *backup)
{
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    Vtpm__Backup msg = VTPM__BACKUP__INIT;

    msg.token = (ProtobufCBinaryData){.data = backup->token, .len = sizeof backup->token};
    msg.bytes = backup->made.bytes;
    msg.generation = backup->made.generation;
    msg.instances = backup->made.instances;
    reply.backup = &msg;
    admin_reply(call, &reply);
}

static void on_told(void *arg, int err)
{
    struct admin_call *call = arg;

    if (err) {
        broker_drop_backup(call->broker);
        admin_on_db(call, err);
        return;
    }
    loop_timer_start(call->broker->backup->idle, IDLE_MS);
    reply_copy(call, call->broker->backup);
}

static void copied(void *arg)
{
    struct copying *copying = arg;
    struct admin_call *call = copying->call;
    struct backup *backup = copying->backup;
    char text[96];
    struct db_audit audit = {.kind = "backup", .peer = call->peer, .text = text};
    int err = copying->err;

    vt_free(copying);
    if (!err)
        err = loop_timer_new(call->broker->loop, &backup->idle, on_idle, call->broker);
    if (err) {
        broker_drop_backup(call->broker);
        admin_done(call, err);
        return;
    }
    snprintf(text, sizeof text, "generation %llu, %llu bytes", (unsigned long long)backup->made.generation,
             (unsigned long long)backup->made.bytes);
    err = db_event_add(call->broker->db, &audit, on_told, call);
    if (err)
        on_told(call, err);
}

void admin_backup_begin(struct admin_call *call)
{
    struct copying *copying;
    struct backup *backup;
    int err;

    if (call->broker->backup) {
        admin_fail(call, VT_EAGAIN, "another backup is under way; one that nobody fetches is dropped after a minute");
        return;
    }
    copying = VT_NEW(struct copying);
    backup = VT_NEW(struct backup);
    err = copying && backup ? VT_OK : VT_ENOMEM;
    if (!err) {
        *backup = (struct backup){.broker = call->broker, .fd = -1};
        *copying = (struct copying){.call = call, .backup = backup, .err = VT_ENOMEM};
        err = cr_os_random(backup->token, sizeof backup->token);
    }
    if (!err) {
        call->broker->backup = backup;
        err = admin_work(call->broker, work_copy, copied, copying);
        if (err)
            call->broker->backup = NULL;
    }
    if (!err)
        return;
    vt_free(copying);
    vt_free(backup);
    admin_done(call, err);
}

/* ---- Fetching it ---- */

struct piece {
    struct admin_call *call;
    int fd;
    uint64_t offset;
    size_t len;
    uint8_t *bytes;
    ssize_t have;
    int error;
};

static void work_piece(void *arg)
{
    struct piece *piece = arg;

    piece->have = pread(piece->fd, piece->bytes, piece->len, (off_t)piece->offset);
    piece->error = errno;
}

static void fetched(void *arg)
{
    struct piece *piece = arg;
    struct admin_call *call = piece->call;
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;

    call->broker->backup->is_read = false;
    loop_timer_start(call->broker->backup->idle, IDLE_MS);
    if (piece->have < 0) {
        admin_fail(call, VT_EIO, "the copy cannot be read: %s", strerror(piece->error));
    } else {
        reply.data = (ProtobufCBinaryData){.data = piece->bytes, .len = (size_t)piece->have};
        admin_reply(call, &reply);
    }
    vt_free(piece->bytes);
    vt_free(piece);
}

/* The copy that this token is of; ends the call if it is of none. */
static struct backup *find(struct admin_call *call, const ProtobufCBinaryData *token)
{
    struct backup *backup = call->broker->backup;

    if (backup && backup->idle && !backup->is_read && token->len == TOKEN &&
        vt_ct_equal(token->data, backup->token, TOKEN))
        return backup;
    admin_fail(call, VT_ENOTFOUND, "there is no such backup: begin again");
    return NULL;
}

void admin_backup_read(struct admin_call *call)
{
    const Vtpm__BackupRead *read = call->request->backup_read;
    struct backup *backup = find(call, &read->token);
    struct piece *piece;
    int err = VT_ENOMEM;

    if (!backup)
        return;
    piece = VT_NEW(struct piece);
    if (piece) {
        *piece = (struct piece){.call = call, .fd = backup->fd, .offset = VT_MIN(read->offset, (uint64_t)INT64_MAX),
                                .len = VT_MIN(read->length, PIECE_MAX)};
        piece->bytes = vt_calloc(1, piece->len ? piece->len : 1);
        if (piece->bytes)
            err = broker_work(call->broker, work_piece, fetched, piece);
    }
    if (!err) {
        backup->is_read = true;
        return;
    }
    if (piece)
        vt_free(piece->bytes);
    vt_free(piece);
    admin_done(call, err);
}

void admin_backup_end(struct admin_call *call)
{
    if (!find(call, &call->request->backup_end->token))
        return;
    broker_drop_backup(call->broker);
    admin_done(call, VT_OK);
}

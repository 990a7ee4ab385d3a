/* SPDX-License-Identifier: Apache-2.0 */
#include "server/net/admin.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "proto/frame.h"
#include "proto/pb.h"
#include "server/base/alloc.h"
#include "server/base/list.h"
#include "server/base/log.h"
#include "server/net/refusals.h"
#include "server/net/stream.h"

struct admin {
    uv_loop_t *uv;
    struct broker *broker;
    struct role_policy policy;
    struct admin_limits limits;
    struct refusals refusals;
    struct vt_list conns;
    struct vt_list calls; /* whose reply has not come */
    unsigned count, others;
    bool is_closing;
    uv_timer_t timer; /* done, when there was nothing to close */
    void (*done)(void *arg);
    void *done_arg;
};

struct admin_conn {
    struct net_stream stream;
    struct vt_list node;
    struct admin *admin;
    struct net_peer peer;
    enum admin_role role;
    struct vt_buf in, out;
    struct admin_call *call; /* NULL: may send the next request */
    bool in_handle;
    bool is_last; /* what is being sent is the last */
};

/* A request under way. The broker holds it until it replies; the connection may be gone by then. */
struct admin_call {
    struct vt_list node;
    struct admin_conn *conn;
};

static void handle_requests(struct admin_conn *c);

static struct admin_conn *conn_of(struct net_stream *stream)
{
    return VT_CONTAINER(stream, struct admin_conn, stream);
}

static void end(struct admin_conn *c)
{
    if (c->call)
        c->call->conn = NULL;
    c->call = NULL;
    net_stream_close(&c->stream);
}

/* ---- Replies ---- */

static void send_out(struct admin_conn *c)
{
    int err = net_stream_send(&c->stream, &c->out);

    if (err == VT_EIO) {
        end(c);
        return;
    }
    net_stream_deadline(&c->stream, c->is_last ? c->admin->limits.refused_ms : c->admin->limits.idle_ms);
    if (err || !c->is_last)
        return;
    /* Closing with bytes unread could take the reply away from the peer: wait until it has closed. */
    net_stream_half_close(&c->stream);
    net_stream_read(&c->stream, true);
}

static int pack_reply(struct admin_conn *c, const Vtpm__AdminReply *reply)
{
    size_t len = vtpm__admin_reply__get_packed_size(reply);
    uint8_t *at;
    int err;

    if (len > FRAME_ADMIN_MAX)
        return VT_ETOOBIG;
    err = frame_begin(&c->out, len, &at);
    if (!err)
        vtpm__admin_reply__pack(reply, at);
    return err;
}

static void reply_error(struct admin_conn *c, int err, const char *text)
{
    struct vt_why why = {0};
    Vtpm__AdminReply reply;

    vtpm__admin_reply__init(&reply);
    reply.err = vt_fail(&why, err, "%s", text);
    reply.text = why.text;
    if (pack_reply(c, &reply))
        end(c);
    else
        send_out(c);
}

/* The protocol cannot go on after this one. */
static void reply_last(struct admin_conn *c, int err, const char *text)
{
    c->is_last = true;
    vt_buf_free(&c->in);
    reply_error(c, err, text);
}

static void on_reply(void *arg, const Vtpm__AdminReply *reply)
{
    struct admin_call *call = arg;
    struct admin_conn *c = call->conn;
    int err;

    vt_list_remove(&call->node);
    vt_free(call);
    if (!c)
        return;
    c->call = NULL;
    err = pack_reply(c, reply);
    if (err)
        reply_error(c, err, "the answer is too long to send: ask for less");
    else
        send_out(c);
    handle_requests(c);
}

/* ---- Requests ---- */

static void start_call(struct admin_conn *c, const Vtpm__AdminRequest *request)
{
    struct admin_call *call = VT_NEW(struct admin_call);

    if (!call) {
        reply_error(c, VT_ENOMEM, "out of memory");
        return;
    }
    call->conn = c;
    c->call = call;
    vt_list_init(&call->node);
    vt_list_add(&c->admin->calls, &call->node);
    net_stream_no_deadline(&c->stream);
    broker_admin(c->admin->broker, c->role, c->peer.text, request, on_reply, call);
}

static size_t request_max(const struct admin_conn *c)
{
    const struct admin_limits *limits = &c->admin->limits;

    return c->role == ADMIN_FULL ? VT_MAX(limits->full_max, limits->request_max) : limits->request_max;
}

static void handle_frame(struct admin_conn *c, const uint8_t *payload, size_t len)
{
    ProtobufCMessage *msg;
    int err;

    /* Unknown fields and short repeated ones take more memory than their bytes; a whole instance does not. */
    err = pb_unpack(&vtpm__admin_request__descriptor, payload, len, 16 * c->admin->limits.request_max + len, &msg);
    vt_buf_drop(&c->in, FRAME_HEADER + len);
    if (err) {
        reply_last(c, err, err == VT_ENOMEM ? "out of memory" : "not an administrative request");
        return;
    }
    start_call(c, (const Vtpm__AdminRequest *)msg);
    pb_free(msg);
}

static void refuse_peer(struct admin_conn *c)
{
    refusals_note(&c->admin->refusals, REFUSAL_ADMIN, uv_now(c->admin->uv), c->peer.text, NULL, NULL);
    broker_admin_stranger(c->admin->broker, c->peer.text);
    reply_last(c, VT_EPERM,
               "this account may not administer: it is neither root, nor the server's, nor in its "
               "--admin-group or --monitor-group");
}

/* False: there is no whole request, or this was the last one. */
static bool handle_one(struct admin_conn *c)
{
    const uint8_t *payload;
    size_t len;
    int err = frame_next(&c->in, request_max(c), &payload, &len);

    if (err == VT_EAGAIN)
        return false;
    if (c->role == ADMIN_NONE)
        refuse_peer(c);
    else if (err)
        reply_last(c, err, "the request is too long");
    else
        handle_frame(c, payload, len);
    return !c->is_last;
}

static bool may_handle(const struct admin_conn *c)
{
    return !c->call && !c->is_last && !c->stream.is_writing && !c->stream.is_closing;
}

static void handle_requests(struct admin_conn *c)
{
    /* A reply may come from within broker_admin: the loop below goes on with it. */
    if (c->in_handle)
        return;
    c->in_handle = true;
    while (may_handle(c) && handle_one(c)) {
    }
    c->in_handle = false;
    if (!c->is_last)
        net_stream_read(&c->stream, may_handle(c));
}

/* ---- The stream's events ---- */

static void on_bytes(struct net_stream *stream, const uint8_t *bytes, size_t len)
{
    struct admin_conn *c = conn_of(stream);

    if (c->is_last)
        return;
    if (vt_buf_put(&c->in, bytes, len)) {
        end(c);
        return;
    }
    handle_requests(c);
}

static void on_end(struct net_stream *stream)
{
    end(conn_of(stream));
}

static void on_sent(struct net_stream *stream)
{
    struct admin_conn *c = conn_of(stream);

    send_out(c);
    if (!c->stream.is_closing)
        handle_requests(c);
}

static void on_gone(struct net_stream *stream)
{
    struct admin_conn *c = conn_of(stream);
    struct admin *admin = c->admin;
    void (*done)(void *) = admin->done;

    vt_list_remove(&c->node);
    admin->others -= c->role != ADMIN_FULL;
    vt_buf_free(&c->in);
    vt_buf_free(&c->out);
    vt_free(c);
    admin->count--;
    if (done && !admin->count) {
        admin->done = NULL;
        done(admin->done_arg);
    }
}

static const struct net_stream_ops stream_ops = {
    .on_bytes = on_bytes,
    .on_end = on_end,
    .on_sent = on_sent,
    .on_deadline = on_end,
    .on_gone = on_gone,
};

/* ---- Accepting ---- */

static enum admin_role role_of_peer(const struct admin *admin, int fd, const struct net_peer *peer)
{
    gid_t groups[ROLE_GROUPS_MAX];
    size_t count;

    if (!peer->has_cred)
        return ADMIN_NONE;
    count = role_peer_groups(fd, peer->uid, peer->gid, groups, VT_COUNT(groups));
    return role_of(&admin->policy, peer->uid, groups, count);
}

static bool has_place(const struct admin *admin, enum admin_role role)
{
    if (admin->is_closing || admin->count >= admin->limits.connections)
        return false;
    return role == ADMIN_FULL || admin->others < admin->limits.others;
}

void admin_accept(void *arg, int fd, const struct net_peer *peer)
{
    struct admin *admin = arg;
    enum admin_role role = role_of_peer(admin, fd, peer);
    struct admin_conn *c = NULL;

    if (has_place(admin, role))
        c = VT_NEW(struct admin_conn);
    if (!c) {
        refusals_note(&admin->refusals, REFUSAL_FULL, uv_now(admin->uv), peer->text, NULL, "admin socket");
        close(fd);
        return;
    }
    c->admin = admin;
    c->peer = *peer;
    c->role = role;
    vt_buf_init(&c->in, FRAME_HEADER + request_max(c) + 8192);
    vt_buf_init(&c->out, FRAME_HEADER + FRAME_ADMIN_MAX);
    vt_list_init(&c->node);
    vt_list_add(&admin->conns, &c->node);
    admin->count++;
    admin->others += role != ADMIN_FULL;
    if (net_stream_open(&c->stream, admin->uv, fd, false, &stream_ops)) {
        end(c);
        return;
    }
    net_stream_deadline(&c->stream, c->role == ADMIN_NONE ? admin->limits.refused_ms : admin->limits.idle_ms);
    net_stream_read(&c->stream, true);
}

/* ---- The socket file ---- */

/* POSIX access list as the kernel takes it (acl(5), "system.posix_acl_access"): little-endian, entries in
 * this order. */
static int allow_group(const char *path, gid_t gid)
{
    enum { USER_OBJ = 1, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32, READ_WRITE = 6 };
    const struct {
        uint16_t tag, perm;
        uint32_t id;
    } entries[] = {
        {USER_OBJ, READ_WRITE, UINT32_MAX},
        {GROUP_OBJ, READ_WRITE, UINT32_MAX},
        {GROUP, READ_WRITE, gid},
        {MASK, READ_WRITE, UINT32_MAX},
        {OTHER, 0, UINT32_MAX},
    };
    uint8_t bytes[4 + VT_COUNT(entries) * 8] = {2};

    for (size_t i = 0; i < VT_COUNT(entries); i++) {
        uint8_t *at = bytes + 4 + i * 8;
        at[0] = (uint8_t)entries[i].tag;
        at[2] = (uint8_t)entries[i].perm;
        for (int k = 0; k < 4; k++)
            at[4 + k] = (uint8_t)(entries[i].id >> (8 * k));
    }
    return setxattr(path, "system.posix_acl_access", bytes, sizeof bytes, 0);
}

int admin_own_socket(const char *path, const struct role_policy *policy, struct vt_why *why)
{
    if (policy->has_admin_group && chown(path, (uid_t)-1, policy->admin_gid))
        return vt_fail(why, VT_EUSAGE,
                       "unix:%s: cannot be given to group %u: %s: put uid %u into --admin-group, or "
                       "start as root",
                       path, (unsigned)policy->admin_gid, strerror(errno), (unsigned)geteuid());
    if (policy->has_monitor_group && allow_group(path, policy->monitor_gid))
        vt_warning("admin: unix:%s: no access list here (%s): members of --monitor-group who are not in the "
                   "socket's "
                   "group cannot connect",
                   path, strerror(errno));
    return VT_OK;
}

/* ---- Life ---- */

int admin_new(struct admin **out, uv_loop_t *uv, struct broker *broker, const struct role_policy *policy,
              const struct admin_limits *limits)
{
    struct admin *admin = VT_NEW(struct admin);

    if (!admin)
        return VT_ENOMEM;
    admin->uv = uv;
    admin->broker = broker;
    admin->policy = *policy;
    admin->limits = *limits;
    vt_list_init(&admin->conns);
    vt_list_init(&admin->calls);
    *out = admin;
    return VT_OK;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct admin *admin = handle->data;

    admin->done(admin->done_arg);
}

void admin_close(struct admin *admin, void (*done)(void *arg), void *arg)
{
    admin->is_closing = true;
    admin->done = done;
    admin->done_arg = arg;
    refusals_flush(&admin->refusals, uv_now(admin->uv));
    if (!admin->count) {
        uv_timer_init(admin->uv, &admin->timer);
        admin->timer.data = admin;
        uv_close((uv_handle_t *)&admin->timer, on_timer_closed);
        return;
    }
    VT_LIST_EACH(&admin->conns, node)
    end(VT_LIST_ENTRY(node, struct admin_conn, node));
}

void admin_free(struct admin *admin)
{
    if (!admin)
        return;
    VT_LIST_EACH(&admin->calls, node)
    vt_free(VT_LIST_ENTRY(node, struct admin_call, node));
    vt_free(admin);
}

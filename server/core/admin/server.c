/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs on what this store is to others, and others to it: its own key, and the servers it knows. */
#include "server/core/admin/admin_priv.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/core/session_priv.h"
#include "server/core/store/server_key.h"

/* ---- The store's own key ---- */

struct need {
    struct admin_call *call;
    void (*then)(struct admin_call *call, int err);
    struct db_server_key row;
    bool is_new;
    int err;
};

static void work_need(void *arg)
{
    struct need *need = arg;
    struct broker *broker = need->call->broker;

    need->err = db_server_key_get(broker->db, &need->row);
    need->is_new = need->err == VT_ENOTFOUND;
    if (need->is_new)
        need->err = server_key_make(&need->row, broker->keys);
}

static void end_need(struct need *need, int err)
{
    struct admin_call *call = need->call;
    void (*then)(struct admin_call *call, int err) = need->then;

    vt_free(need);
    then(call, err);
}

/* Somebody else was first: then that is the key. */
static void on_key_put(void *arg, int err)
{
    end_need(arg, err == VT_EEXISTS ? VT_OK : err);
}

static void needed(void *arg)
{
    struct need *need = arg;
    char text[SERVER_KEY_FINGERPRINT];
    struct db_audit audit = {.kind = "server-key", .peer = need->call->peer, .text = text};

    if (need->err || !need->is_new) {
        end_need(need, need->err);
        return;
    }
    server_key_fingerprint(text, &need->call->broker->store, need->row.public);
    need->err = db_server_key_put(need->call->broker->db, &need->row, &audit, on_key_put, need);
    if (need->err)
        end_need(need, need->err);
}

void admin_need_server_key(struct admin_call *call, void (*then)(struct admin_call *call, int err))
{
    struct need *need = VT_NEW(struct need);
    int err = VT_ENOMEM;

    if (need) {
        *need = (struct need){.call = call, .then = then, .err = VT_ENOMEM};
        err = broker_work(call->broker, work_need, needed, need);
    }
    if (err) {
        vt_free(need);
        then(call, err);
    }
}

/* One server with the texts it points to. */
struct shown_server {
    Vtpm__ServerKey msg;
    char name[65], store[VT_UUID_TEXT], line[SERVER_KEY_LINE], fingerprint[SERVER_KEY_FINGERPRINT];
    char address[DB_ADDRESS];
};

static void fill(struct shown_server *shown, const char *name, const struct vt_uuid *store,
                 const uint8_t public[DB_PUBLIC])
{
    vtpm__server_key__init(&shown->msg);
    snprintf(shown->name, sizeof shown->name, "%s", name);
    vt_uuid_text(shown->store, store);
    server_key_line(shown->line, store, public);
    server_key_fingerprint(shown->fingerprint, store, public);
    shown->msg.name = shown->name;
    shown->msg.address = shown->address;
    shown->msg.store = shown->store;
    shown->msg.line = shown->line;
    shown->msg.fingerprint = shown->fingerprint;
}

static void show_key(struct admin_call *call, int err)
{
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    struct db_server_key row;
    struct shown_server shown;

    if (!err)
        err = db_server_key_get(call->broker->db, &row);
    if (err) {
        admin_on_db(call, err);
        return;
    }
    fill(&shown, "", &call->broker->store, row.public);
    reply.server_key = &shown.msg;
    admin_reply(call, &reply);
}

void admin_server_key_show(struct admin_call *call)
{
    admin_need_server_key(call, show_key);
}

/* ---- Peers ---- */

static void on_peer_added(void *arg, int err)
{
    struct admin_call *call = arg;

    if (err == VT_EEXISTS)
        admin_fail(call, err, "a peer of that name, or that store under another name, is known: vtpmctl server peer "
                              "list; remove it first if its key has changed");
    else if (err == VT_ECONFLICT)
        admin_fail(call, err, "%d peers are known, and these are the most", DB_PEERS_KNOWN);
    else
        admin_on_db(call, err);
}

/* What it names is asked for when it is used. */
static int take_address(struct admin_call *call, struct db_peer *peer, const char *address)
{
    const char *port = strrchr(address, ':');

    if (!*address)
        return VT_OK;
    if (strncmp(address, "tcp:", 4) != 0 || port <= address + 4 || !port[1] || strlen(port) > 6 ||
        strspn(port + 1, "0123456789") != strlen(port + 1) || strlen(address) > 4 + 128 + 6 ||
        strpbrk(address, " \t\r\n"))
        return vt_fail(&call->why, VT_EUSAGE, "%.160s is no address: tcp:HOST:PORT, where the other server has a --listen",
                       address);
    snprintf(peer->address, sizeof peer->address, "%s", address);
    return VT_OK;
}

void admin_peer_add(struct admin_call *call)
{
    const Vtpm__PeerAdd *add = call->request->peer_add;
    char text[255], fingerprint[SERVER_KEY_FINGERPRINT], store[VT_UUID_TEXT];
    struct db_audit audit = {.kind = "peer-add", .peer = call->peer, .text = text};
    struct db_peer peer = {0};
    int err = VT_OK;

    if (!vt_name_valid(add->name))
        err = vt_fail(&call->why, VT_EUSAGE, "%.80s is no name: 1 to 64 of A-Z a-z 0-9 . _ -", add->name);
    if (!err)
        err = server_key_parse(&peer, add->line, &call->why);
    if (!err)
        err = take_address(call, &peer, add->address);
    if (!err && vt_uuid_equal(&peer.store, &call->broker->store))
        err = vt_fail(&call->why, VT_EUSAGE, "that is this store's own key: the other server's is wanted");
    if (err) {
        admin_done(call, err);
        return;
    }
    snprintf(peer.name, sizeof peer.name, "%s", add->name);
    vt_uuid_text(store, &peer.store);
    server_key_fingerprint(fingerprint, &peer.store, peer.public);
    snprintf(text, sizeof text, "%s, store %s, key %s%s%.60s", peer.name, store, fingerprint, peer.address[0] ? ", " : "",
             peer.address);
    admin_started(call, db_peer_add(call->broker->db, &peer, &audit, on_peer_added, call));
}

static void on_peer_removed(void *arg, int err)
{
    struct admin_call *call = arg;

    char identity[SERVER_IDENTITY];

    server_key_identity(identity, &call->uuid);
    if (!err)
        broker_close_identity(call->broker, identity, VT_EPERM, "this server is no peer any more");
    if (err == VT_ENOTFOUND)
        admin_fail(call, err, "no peer is called %s: vtpmctl server peer list", call->name);
    else
        admin_on_db(call, err);
}

void admin_peer_remove(struct admin_call *call)
{
    struct db_audit audit = {.kind = "peer-remove", .peer = call->peer, .text = call->name};
    const char *name = call->request->peer_remove->name;
    struct db_peer peer;

    if (!vt_name_valid(name)) {
        admin_fail(call, VT_ENOTFOUND, "no peer is called %.80s: vtpmctl server peer list", name);
        return;
    }
    snprintf(call->name, sizeof call->name, "%s", name);
    if (!db_peer_get(call->broker->db, name, NULL, &peer))
        call->uuid = peer.store;
    admin_started(call, db_peer_remove(call->broker->db, call->name, &audit, on_peer_removed, call));
}

struct peers {
    struct shown_server rows[DB_PEERS_KNOWN];
    Vtpm__ServerKey *pointers[DB_PEERS_KNOWN];
    size_t count;
};

static int add_shown(void *ctx, const struct db_peer *peer)
{
    struct peers *peers = ctx;

    if (peers->count == VT_COUNT(peers->rows))
        return VT_ETOOBIG;
    fill(&peers->rows[peers->count], peer->name, &peer->store, peer->public);
    memcpy(peers->rows[peers->count].address, peer->address, sizeof peer->address);
    peers->pointers[peers->count] = &peers->rows[peers->count].msg;
    peers->count++;
    return VT_OK;
}

void admin_peer_list(struct admin_call *call)
{
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    struct peers *peers = VT_NEW(struct peers);
    int err = peers ? db_peer_each(call->broker->db, add_shown, peers) : VT_ENOMEM;

    if (err) {
        admin_fail(call, err, "the peers cannot be read: %s", vt_err_text(err));
    } else {
        reply.peers = peers->pointers;
        reply.n_peers = peers->count;
        admin_reply(call, &reply);
    }
    vt_free(peers);
}

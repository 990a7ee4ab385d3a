/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/move_peer.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/core/store/server_key.h"

int foreign_add(struct foreign *far, struct rig *rig, const char *name)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__PeerAdd add = VTPM__PEER_ADD__INIT;
    char line[SERVER_KEY_LINE], called[80];
    Vtpm__AdminReply *reply;
    int err;

    server_key_line(line, &far->store, far->public);
    snprintf(called, sizeof called, "%s", name);
    add.name = called;
    add.line = line;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_PEER_ADD;
    request.peer_add = &add;
    reply = admin_ask(rig, ADMIN_FULL, &request);
    err = reply->err;
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

static void learn_key(struct foreign *far, struct rig *rig)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__ServerKeyShow show = VTPM__SERVER_KEY_SHOW__INIT;
    Vtpm__AdminReply *reply;
    struct db_peer peer;

    request.verb_case = VTPM__ADMIN_REQUEST__VERB_SERVER_KEY_SHOW;
    request.server_key_show = &show;
    reply = admin_ask(rig, ADMIN_FULL, &request);
    assert_int_equal(reply->err, VT_OK);
    assert_int_equal(server_key_parse(&peer, reply->server_key->line, NULL), VT_OK);
    memcpy(far->rig_public, peer.public, sizeof far->rig_public);
    vtpm__admin_reply__free_unpacked(reply, NULL);
}

void foreign_make(struct foreign *far, struct rig *rig)
{
    memset(far, 0, sizeof *far);
    far->store = (struct vt_uuid){{0xfa, 0x12}};
    assert_int_equal(cr_ec_generate(&far->key, far->public), VT_OK);
    assert_int_equal(foreign_add(far, rig, "far"), VT_OK);
    learn_key(far, rig);
}

static int end(Vtpm__AdminReply *reply, char text[300])
{
    int err = reply->err;

    if (text)
        snprintf(text, 300, "%s", reply->text);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

int move_export(struct rig *rig, const char *instance, const char *to, uint8_t **bundle, size_t *len, char text[300])
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceExport export = VTPM__INSTANCE_EXPORT__INIT;
    Vtpm__AdminReply *reply;
    char name[80], peer[80];

    snprintf(name, sizeof name, "%s", instance);
    snprintf(peer, sizeof peer, "%s", to);
    export.instance = name;
    export.to = peer;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_EXPORT_INSTANCE;
    request.export_instance = &export;
    reply = admin_ask(rig, ADMIN_FULL, &request);
    *bundle = NULL;
    *len = 0;
    if (!reply->err) {
        *len = reply->bundle.len;
        *bundle = vt_memdup(reply->bundle.data, *len);
        assert_non_null(*bundle);
    }
    return end(reply, text);
}

int move_import(struct rig *rig, const uint8_t *bundle, size_t len, char text[300])
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceImport import = VTPM__INSTANCE_IMPORT__INIT;
    uint8_t *copy = vt_memdup(bundle, len);
    Vtpm__AdminReply *reply;

    assert_non_null(copy);
    import.bundle = (ProtobufCBinaryData){.data = copy, .len = len};
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_IMPORT_INSTANCE;
    request.import_instance = &import;
    reply = admin_ask(rig, ADMIN_FULL, &request);
    vt_free(copy);
    return end(reply, text);
}

void foreign_open(const struct foreign *far, const uint8_t *bundle, size_t len, struct bundle_head *head,
                  struct moving *moving)
{
    struct vt_why why = {""};

    if (bundle_read(head, bundle, len, &why) || bundle_verify(bundle, len, far->rig_public, &why) ||
        bundle_open(head, bundle, len, &far->key, moving, &why))
        fail_msg("%s", why.text);
    assert_true(vt_uuid_equal(&head->target, &far->store));
}

void foreign_send(const struct foreign *far, const struct rig *rig, uint8_t id, const struct moving *moving,
                  uint8_t **bundle, size_t *len)
{
    const struct bundle_head head = {.id = {id, 0xf0}, .source = far->store, .target = rig->broker->store, .time = 1};

    assert_int_equal(bundle_make(&head, &far->key, far->rig_public, moving, bundle, len), VT_OK);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin socket's messages. The first byte: even a request as the server reads it, odd a reply as vtpmctl reads
 * it; the rest is the payload. The texts of a request go through what its verbs do first with them.
 */
#include "proto/admin.pb-c.h"
#include "proto/frame.h"
#include "proto/pb.h"
#include "server/base/alloc.h"
#include "server/base/text.h"
#include "server/core/binding.h"
#include "server/core/keyslot/keyslot.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_pb.h"

#define BUDGET (16u * FRAME_MAX)

int LLVMFuzzerInitialize(int *argc VT_UNUSED, char ***argv VT_UNUSED)
{
    return 0;
}

static uint8_t *pack(const ProtobufCMessage *msg, size_t *len)
{
    uint8_t *bytes;

    *len = protobuf_c_message_get_packed_size(msg);
    bytes = vt_calloc(1, *len + 1);
    FUZZ_CHECK(bytes);
    FUZZ_CHECK(protobuf_c_message_pack(msg, bytes) == *len);
    return bytes;
}

/* What was read, written, is read again and then written the same. */
static void check_round_trip(const ProtobufCMessage *msg)
{
    ProtobufCMessage *again = NULL;
    size_t first_len, second_len;
    VT_AUTOFREE uint8_t *first = pack(msg, &first_len);
    uint8_t *second;

    FUZZ_CHECK(pb_unpack(msg->descriptor, first, first_len, 2 * BUDGET, &again) == VT_OK);
    second = pack(again, &second_len);
    FUZZ_CHECK(first_len == second_len && !memcmp(first, second, first_len));
    vt_free(second);
    pb_free(again);
}

static void check_name(const char *text)
{
    struct vt_uuid uuid;
    char back[VT_UUID_TEXT];

    if (vt_uuid_parse(&uuid, text)) {
        vt_uuid_text(back, &uuid);
        FUZZ_CHECK(!strcasecmp(back, text) && !vt_name_valid(text));
    }
    if (vt_name_valid(text))
        FUZZ_CHECK(strlen(text) >= 1 && strlen(text) <= 64);
}

/* A peer's one form is its own one form, and fits the store. */
static void check_peer(const char *text)
{
    char peer[DB_PEER_TEXT], again[DB_PEER_TEXT];
    struct vt_why why = {{0}};

    if (binding_parse(peer, text, &why)) {
        FUZZ_CHECK(why.text[0]);
        return;
    }
    FUZZ_CHECK(memchr(peer, 0, sizeof peer) && strlen(peer) >= 4);
    FUZZ_CHECK(binding_parse(again, peer, NULL) == VT_OK && !strcmp(peer, again));
}

static void check_texts(const Vtpm__AdminRequest *request)
{
    struct keyslot_spec spec;
    struct vt_why why;

    switch ((int)request->verb_case) {
    case VTPM__ADMIN_REQUEST__VERB_CREATE:
        check_name(request->create->name);
        check_name(request->create->uuid);
        break;
    case VTPM__ADMIN_REQUEST__VERB_CREATE_HOST:
        for (size_t i = 0; i < request->create_host->n_instances; i++)
            check_name(request->create_host->instances[i]);
        break;
    case VTPM__ADMIN_REQUEST__VERB_BINDING_ADD:
    case VTPM__ADMIN_REQUEST__VERB_BINDING_REMOVE:
        check_peer(request->binding_add->peer);
        break;
    case VTPM__ADMIN_REQUEST__VERB_KEYSLOT_ADD:
        if (!keyslot_parse(&spec, request->keyslot_add->spec, &why))
            FUZZ_CHECK(memchr(spec.kind, 0, sizeof spec.kind) && memchr(spec.arg, 0, sizeof spec.arg));
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct fuzz_src src = {bytes, len};
    bool is_reply = fuzz_u8(&src) & 1;
    ProtobufCMessage *msg = NULL;
    int err = pb_unpack(is_reply ? &vtpm__admin_reply__descriptor : &vtpm__admin_request__descriptor, src.at,
                        src.left, BUDGET, &msg);

    FUZZ_CHECK(err == VT_OK || err == VT_EPROTO || err == VT_ETOOBIG);
    FUZZ_CHECK(!err == (msg != NULL));
    if (err)
        return 0;
    if (!fuzz_pb_has_unknown(msg))
        check_round_trip(msg);
    if (!is_reply)
        check_texts((const Vtpm__AdminRequest *)msg);
    pb_free(msg);
    return 0;
}

/* ---- Seeds ---- */

static void emit_one(fuzz_emit emit, void *arg, uint8_t mode, const char *name, const ProtobufCMessage *msg)
{
    uint8_t bytes[2048] = {mode};

    FUZZ_CHECK(protobuf_c_message_get_packed_size(msg) < sizeof bytes);
    emit(arg, name, bytes, 1 + protobuf_c_message_pack(msg, bytes + 1));
}

static char name_text[] = "guest-1", uuid_text[] = "0d2fa4b2-6a4f-4a58-9a0c-3c0a5c0d7a11";
static char profile_text[] = "pc-client", spec_text[] = "keyfile:/etc/vtpm/key";
static char peer_text[] = "uuid:0d2fa4b2-6a4f-4a58-9a0c-3c0a5c0d7a11";
static uint8_t secret_bytes[32] = {1, 2, 3};

static void emit_requests(fuzz_emit emit, void *arg)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceCreate create = VTPM__INSTANCE_CREATE__INIT;
    Vtpm__CreateHost host = VTPM__CREATE_HOST__INIT;
    Vtpm__KeyslotAdd add = VTPM__KEYSLOT_ADD__INIT;
    Vtpm__Binding binding = VTPM__BINDING__INIT;
    Vtpm__Measurement measure = VTPM__MEASUREMENT__INIT;
    char *instances[] = {name_text, uuid_text};

    create.name = name_text;
    create.uuid = uuid_text;
    create.profile = profile_text;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_CREATE;
    request.create = &create;
    emit_one(emit, arg, 0, "seed-create", &request.base);
    host.name = name_text;
    host.instances = instances;
    host.n_instances = VT_COUNT(instances);
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_CREATE_HOST;
    request.create_host = &host;
    emit_one(emit, arg, 0, "seed-host", &request.base);
    add.spec = spec_text;
    add.secret = (ProtobufCBinaryData){.len = sizeof secret_bytes, .data = secret_bytes};
    add.has_secret = true;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_BINDING_ADD;
    binding.instance = name_text;
    binding.peer = peer_text;
    request.binding_add = &binding;
    emit_one(emit, arg, 0, "seed-binding", &request.base);
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_MEASURE;
    measure.instance = name_text;
    measure.pcr = 4;
    measure.label = spec_text;
    measure.digest = (ProtobufCBinaryData){.len = 20, .data = secret_bytes};
    request.measure = &measure;
    emit_one(emit, arg, 0, "seed-measure", &request.base);
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_KEYSLOT_ADD;
    request.keyslot_add = &add;
    emit_one(emit, arg, 0, "seed-keyslot", &request.base);
}

static void emit_reply(fuzz_emit emit, void *arg)
{
    Vtpm__AdminReply reply = VTPM__ADMIN_REPLY__INIT;
    Vtpm__Instance one = VTPM__INSTANCE__INIT;
    Vtpm__Instance *instances[] = {&one, &one};
    Vtpm__Credential credential = VTPM__CREDENTIAL__INIT;
    Vtpm__Status status = VTPM__STATUS__INIT;

    one.uuid = uuid_text;
    one.name = name_text;
    one.commands = 77;
    credential.identity = uuid_text;
    credential.key = (ProtobufCBinaryData){.len = sizeof secret_bytes, .data = secret_bytes};
    reply.err = -3;
    reply.instances = instances;
    reply.n_instances = VT_COUNT(instances);
    reply.credential = &credential;
    reply.status = &status;
    emit_one(emit, arg, 1, "seed-reply", &reply.base);
}

void fuzz_seeds(fuzz_emit emit, void *arg)
{
    emit_requests(emit, arg);
    emit_reply(emit, arg);
}

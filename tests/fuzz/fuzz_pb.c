/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz_pb.h"

/* The one message that a singular field holds; NULL: none, or another member of its oneof is set. */
static const ProtobufCMessage *single(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
    const char *at = (const char *)msg;
    const ProtobufCMessage *part;
    uint32_t which;

    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        memcpy(&which, at + field->quantifier_offset, sizeof which);
        if (which != field->id)
            return NULL;
    }
    memcpy(&part, at + field->offset, sizeof part);
    return part;
}

static bool repeated_has_unknown(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
    const char *at = (const char *)msg;
    ProtobufCMessage *const *parts;
    size_t count;

    memcpy(&count, at + field->quantifier_offset, sizeof count);
    memcpy(&parts, at + field->offset, sizeof parts);
    for (size_t i = 0; i < count; i++)
        if (fuzz_pb_has_unknown(parts[i]))
            return true;
    return false;
}

bool fuzz_pb_has_unknown(const ProtobufCMessage *msg)
{
    if (msg->n_unknown_fields)
        return true;
    for (unsigned i = 0; i < msg->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &msg->descriptor->fields[i];
        const ProtobufCMessage *part;

        if (field->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            if (repeated_has_unknown(msg, field))
                return true;
            continue;
        }
        part = single(msg, field);
        if (part && fuzz_pb_has_unknown(part))
            return true;
    }
    return false;
}

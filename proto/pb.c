/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/pb.h"

#include "server/base/alloc.h"

/* Stands before each block, so that it can be wiped whole; its size keeps the block behind it aligned. */
union block {
    size_t len;
    max_align_t align;
};

struct budget {
    size_t left;
    int err;
};

/* The library asks for memory here only while it unpacks. */
static void *budget_alloc(void *data, size_t len)
{
    struct budget *budget = data;
    union block *block;

    if (len > budget->left) {
        budget->err = VT_ETOOBIG;
        return NULL;
    }
    block = vt_calloc(1, sizeof *block + len);
    if (!block) {
        budget->err = VT_ENOMEM;
        return NULL;
    }
    budget->left -= len;
    block->len = len;
    return block + 1;
}

static void wiping_free(void *data VT_UNUSED, void *ptr)
{
    union block *block = ptr;

    if (block)
        vt_free_wiped(block - 1, sizeof *block + block[-1].len);
}

int pb_unpack(const ProtobufCMessageDescriptor *kind, const uint8_t *bytes, size_t len, size_t budget,
              ProtobufCMessage **msg)
{
    struct budget left = {.left = budget, .err = VT_EPROTO};
    ProtobufCAllocator allocator = {.alloc = budget_alloc, .free = wiping_free, .allocator_data = &left};

    *msg = protobuf_c_message_unpack(kind, &allocator, len, bytes);
    return *msg ? VT_OK : left.err;
}

void pb_free(ProtobufCMessage *msg)
{
    ProtobufCAllocator allocator = {.free = wiping_free};

    if (msg)
        protobuf_c_message_free_unpacked(msg, &allocator);
}

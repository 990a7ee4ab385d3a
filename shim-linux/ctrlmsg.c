/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/ctrlmsg.h"

#include "shim-linux/stateblob.h"

#define WORD 4

/* What follows the command's own word. */
static const struct body {
    const char *name;
    uint8_t words;      /* 32-bit words, or one byte */
    bool has_byte;
    bool has_info;
    uint32_t most;      /* the last word says how many bytes follow, at most so many; 0: none do */
} bodies[CTRL_COMMANDS] = {
    [CTRL_GET_CAPABILITY] = {.name = "GET_CAPABILITY"},
    [CTRL_INIT] = {.name = "INIT", .words = 1},
    [CTRL_SHUTDOWN] = {.name = "SHUTDOWN"},
    [CTRL_GET_TPMESTABLISHED] = {.name = "GET_TPMESTABLISHED"},
    [CTRL_SET_LOCALITY] = {.name = "SET_LOCALITY", .has_byte = true},
    [CTRL_HASH_START] = {.name = "HASH_START"},
    [CTRL_HASH_DATA] = {.name = "HASH_DATA", .words = 1, .most = CTRL_HASH_MAX},
    [CTRL_HASH_END] = {.name = "HASH_END"},
    [CTRL_CANCEL] = {.name = "CANCEL_TPM_CMD"},
    [CTRL_STORE_VOLATILE] = {.name = "STORE_VOLATILE"},
    [CTRL_RESET_TPMESTABLISHED] = {.name = "RESET_TPMESTABLISHED", .has_byte = true},
    [CTRL_GET_STATEBLOB] = {.name = "GET_STATEBLOB", .words = 3},
    [CTRL_SET_STATEBLOB] = {.name = "SET_STATEBLOB", .words = 3, .most = STATEBLOB_MAX},
    [CTRL_STOP] = {.name = "STOP"},
    [CTRL_GET_CONFIG] = {.name = "GET_CONFIG"},
    [CTRL_SET_DATAFD] = {.name = "SET_DATAFD"},
    [CTRL_SET_BUFFERSIZE] = {.name = "SET_BUFFERSIZE", .words = 1},
    [CTRL_GET_INFO] = {.name = "GET_INFO", .has_info = true},
    [CTRL_LOCK_STORAGE] = {.name = "LOCK_STORAGE", .words = 1},
};

static const struct body *body_of(uint32_t command)
{
    return command < CTRL_COMMANDS && bodies[command].name ? &bodies[command] : NULL;
}

const char *ctrl_name(uint32_t command)
{
    const struct body *body = body_of(command);

    return body ? body->name : "unknown";
}

static size_t fixed_len(const struct body *body)
{
    if (body->has_info)
        return CTRL_INFO_LEN;
    return body->has_byte ? 1 : (size_t)body->words * WORD;
}

static void read_fixed(const struct body *body, const uint8_t *at, struct ctrl_request *request)
{
    for (unsigned i = 0; i < body->words; i++)
        request->words[i] = ctrl_get32(at + (size_t)i * WORD);
    if (body->has_byte)
        request->locality = at[0];
    if (body->has_info) {
        request->info_flags = (uint64_t)ctrl_get32(at) << 32 | ctrl_get32(at + WORD);
        request->words[0] = ctrl_get32(at + sizeof(uint64_t));
    }
}

int ctrl_next(const struct vt_buf *in, struct ctrl_request *request)
{
    const uint8_t *at = vt_buf_bytes(in);
    size_t left = vt_buf_size(in);
    const struct body *body;

    *request = (struct ctrl_request){0};
    if (left < WORD)
        return VT_EAGAIN;
    request->command = ctrl_get32(at);
    body = body_of(request->command);
    if (!body) {
        request->size = left;
        return VT_OK;
    }
    request->size = WORD + fixed_len(body);
    if (left < request->size)
        return VT_EAGAIN;
    read_fixed(body, at + WORD, request);
    if (body->most) {
        request->len = request->words[body->words - 1];
        request->bytes = at + request->size;
        if (request->len > body->most)
            return VT_ETOOBIG;
        request->size += request->len;
    }
    request->is_followed = left > request->size;
    return left < request->size ? VT_EAGAIN : VT_OK;
}

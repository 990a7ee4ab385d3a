/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Live migration (docs/moving.md): the permanent blob is a ticket, the others are empty. What a ticket stands for stays
 * with the server that gave it until the guest has done something at the other host.
 */
#include "shim-linux/stateblob.h"

#include "server/base/alloc.h"
#include "server/base/log.h"

enum step { NOTHING, WANTED, TAKEN, DONE };

struct stateblob {
    const char *target;
    enum step step;
    struct relay_deed deed;
    struct stateblob_result result;
    bool with_state;
    uint8_t *bytes;                 /* of GET, or of SET; owned */
    size_t len;
    bool is_set, is_given;
};

int stateblob_new(struct stateblob **blobs, const char *target, bool with_state)
{
    *blobs = VT_NEW(struct stateblob);
    if (!*blobs)
        return VT_ENOMEM;
    (*blobs)->target = target;
    (*blobs)->with_state = with_state;
    return VT_OK;
}

/* No secret is in it: a ticket, or what only its target can open. */
static void drop_bytes(struct stateblob *blobs)
{
    vt_free(blobs->bytes);
    blobs->bytes = NULL;
    blobs->len = 0;
}

void stateblob_free(struct stateblob *blobs)
{
    if (blobs)
        drop_bytes(blobs);
    vt_free(blobs);
}

bool stateblob_is_available(const struct stateblob *blobs VT_UNUSED)
{
    return true;
}

/* The server has nothing to do with it. */
static int done_with(struct stateblob *blobs, uint32_t tpm_rc)
{
    blobs->step = DONE;
    blobs->result = (struct stateblob_result){.tpm_rc = tpm_rc};
    return VT_OK;
}

static int want(struct stateblob *blobs, enum relay_deed_kind kind, const void *bytes, size_t len)
{
    blobs->step = WANTED;
    blobs->deed = (struct relay_deed){.kind = kind, .bytes = bytes, .len = len};
    return VT_OK;
}

int stateblob_get(struct stateblob *blobs, enum stateblob_type type, uint32_t flags VT_UNUSED)
{
    if (type != STATEBLOB_PERMANENT)
        return done_with(blobs, 0);
    return want(blobs, blobs->with_state ? RELAY_STATE : RELAY_TICKET, blobs->target, blobs->target ? strlen(blobs->target) : 0);
}

static int refuse(struct stateblob *blobs, const char *why)
{
    vt_error("swtpm: the monitor brings a TPM's state that %s: it was saved by another program", why);
    return done_with(blobs, STATEBLOB_FAIL);
}

int stateblob_set(struct stateblob *blobs, enum stateblob_type type, uint32_t flags VT_UNUSED, const uint8_t *bytes,
                  size_t len)
{
    if (type != STATEBLOB_PERMANENT)
        return len ? refuse(blobs, "is not a ticket alone") : done_with(blobs, 0);
    if (len < sizeof "VTHT" || (memcmp(bytes, "VTHT", 4) != 0 && memcmp(bytes, "VTMB", 4) != 0))
        return refuse(blobs, "is neither a ticket nor sealed by us");
    drop_bytes(blobs);
    blobs->bytes = vt_memdup(bytes, len);
    if (!blobs->bytes)
        return VT_ENOMEM;
    blobs->len = len;
    blobs->is_set = blobs->is_given = false;
    return want(blobs, RELAY_BRING, blobs->bytes, blobs->len);
}

bool stateblob_is_set(const struct stateblob *blobs)
{
    return blobs->is_set;
}

/* The lane holds the ticket by now, and claims what it stands for when there is something to do. */
int stateblob_init(struct stateblob *blobs, uint32_t flags VT_UNUSED)
{
    blobs->is_set = false;
    return done_with(blobs, 0);
}

/* Nothing has been given away but a ticket, which the next command makes void. */
int stateblob_lock(struct stateblob *blobs, uint32_t retries VT_UNUSED)
{
    return done_with(blobs, 0);
}

bool stateblob_take(struct stateblob *blobs, struct courier_request *request)
{
    if (blobs->step != WANTED)
        return false;
    blobs->step = TAKEN;
    *request = (struct courier_request){.deed = &blobs->deed};
    return true;
}

static uint32_t keep(struct stateblob *blobs, const struct relay_result *result)
{
    drop_bytes(blobs);
    blobs->bytes = vt_memdup(result->ticket, result->ticket_len);
    if (!blobs->bytes)
        return STATEBLOB_FAIL;
    blobs->len = result->ticket_len;
    blobs->is_given = true;
    blobs->result.bytes = blobs->bytes;
    blobs->result.len = blobs->len;
    return 0;
}

void stateblob_respond(struct stateblob *blobs, const struct courier_response *response)
{
    const struct relay_result *result = response->result;
    const bool is_bring = blobs->deed.kind == RELAY_BRING;

    if (blobs->step != TAKEN)
        return;
    blobs->step = DONE;
    blobs->result = (struct stateblob_result){.tpm_rc = result->err ? STATEBLOB_FAIL : 0};
    if (result->err)
        vt_error("swtpm: the guest cannot be %s: %s", is_bring ? "taken" : "moved or saved", vt_err_text(result->err));
    else if (is_bring)
        blobs->is_set = true;
    else
        blobs->result.tpm_rc = keep(blobs, result);
}

bool stateblob_result(struct stateblob *blobs, struct stateblob_result *result)
{
    if (blobs->step != DONE)
        return false;
    blobs->step = NOTHING;
    *result = blobs->result;
    return true;
}

bool stateblob_is_given(const struct stateblob *blobs)
{
    return blobs->is_given;
}

void stateblob_went_on(struct stateblob *blobs)
{
    blobs->is_given = false;
}

void stateblob_forget(struct stateblob *blobs)
{
    blobs->is_set = blobs->is_given = false;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/handoff/ticket.h"

#include <assert.h>

#include "server/wire/cursor.h"

#define MAGIC    0x56544854u /* "VTHT" */
#define VERSION  1
#define BODY_LEN (TICKET_LEN - CR_SHA256_LEN)

void ticket_write(const struct ticket *ticket, const struct keys *keys, uint8_t out[TICKET_LEN])
{
    struct wr w = wr_to(out, BODY_LEN);

    wr_put32(&w, MAGIC);
    wr_put16(&w, VERSION);
    wr_put16(&w, 0);
    wr_copy(&w, ticket->id, sizeof ticket->id);
    wr_copy(&w, ticket->instance.bytes, sizeof ticket->instance.bytes);
    wr_copy(&w, ticket->source.bytes, sizeof ticket->source.bytes);
    wr_copy(&w, ticket->target.bytes, sizeof ticket->target.bytes);
    wr_put64(&w, ticket->seq);
    wr_put64(&w, (uint64_t)ticket->until);
    assert(!w.bad && w.len == BODY_LEN);
    keys_ticket(keys, out, BODY_LEN, out + BODY_LEN);
}

int ticket_read(struct ticket *ticket, const uint8_t *in, size_t len, struct vt_why *why)
{
    struct rd r = rd_from(in, len);
    uint32_t magic = rd_get32(&r);
    unsigned version = rd_get16(&r), zeros = rd_get16(&r);

    memset(ticket, 0, sizeof *ticket);
    if (r.bad || magic != MAGIC)
        return vt_fail(why, VT_EDAMAGED, "this is no ticket: the TPM's state was saved by another program");
    if (version != VERSION)
        return vt_fail(why, VT_EDAMAGED, "the ticket is of version %u; this server knows %d", version, VERSION);
    rd_copy(&r, ticket->id, sizeof ticket->id);
    rd_copy(&r, ticket->instance.bytes, sizeof ticket->instance.bytes);
    rd_copy(&r, ticket->source.bytes, sizeof ticket->source.bytes);
    rd_copy(&r, ticket->target.bytes, sizeof ticket->target.bytes);
    ticket->seq = rd_get64(&r);
    ticket->until = (int64_t)rd_get64(&r);
    if (r.bad || zeros || r.left != CR_SHA256_LEN || !ticket->seq || ticket->seq > INT64_MAX || ticket->until < 0)
        return vt_fail(why, VT_EDAMAGED, "the ticket is cut short or was altered");
    return VT_OK;
}

bool ticket_is_own(const uint8_t in[TICKET_LEN], const struct keys *keys)
{
    uint8_t sum[CR_SHA256_LEN];

    keys_ticket(keys, in, BODY_LEN, sum);
    return vt_ct_equal(sum, in + BODY_LEN, sizeof sum);
}

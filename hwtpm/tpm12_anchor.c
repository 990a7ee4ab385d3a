/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TPM 1.2: the anchor (Part 3, 20 and 25). The NV area at `index` holds the counter's id, its value and the caller's 64
 * bytes. The data are written first, with the value that the counter is about to have, as in tpm2_anchor.c. A TPM 1.2
 * increments only one counter from one boot to the next: the first that is asked for.
 */
#include "hwtpm/tpm12.h"

#define DATA_LEN (4 + 8 + HWTPM_ANCHOR)

static const char owner_wrong[] = "the owner's secret is wrong",
                  not_ours[] = "the anchor is not this store's: it was made anew by somebody else";

struct content {
    uint32_t count_id;
    uint64_t counter;
    uint8_t data[HWTPM_ANCHOR];
};

/* Secrets of a TPM 1.2 have 20 bytes. */
static struct vt_auth auth_of(const struct hwtpm_anchor *anchor)
{
    struct vt_auth auth;

    cr_sha1(auth.bytes, anchor->auth.bytes, sizeof anchor->auth.bytes);
    return auth;
}

/* A command for which the anchor's secret is enough. */
static int run_own(struct hwtpm *tpm, const struct hwtpm_anchor *anchor, struct tpm12_call *call, const char *doing,
                   struct vt_why *why)
{
    struct vt_auth auth = auth_of(anchor);
    struct tpm12_session session;
    int err = tpm12_oiap(tpm, &auth, &session, why);

    vt_auth_wipe(&auth);
    if (err)
        return err;
    call->sessions[call->session_count++] = &session;
    err = tpm12_run_for(tpm, call, doing, not_ours, why);
    vt_wipe(&session, sizeof session);
    return err;
}

/* ---- Pieces ---- */

static int write_content(struct hwtpm *tpm, const struct hwtpm_anchor *anchor, const struct content *content,
                         struct vt_why *why)
{
    uint8_t bytes[DATA_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct nv_write_value_auth_in in = {.nv_index = anchor->index, .data = {.len = DATA_LEN, .data = bytes}};
    struct tpm12_call call;
    int err;

    wr_put32(&w, content->count_id);
    wr_put64(&w, content->counter);
    wr_copy(&w, content->data, sizeof content->data);
    tpm12_begin(&call, TPM_ORD_NV_WriteValueAuth);
    wr_nv_write_value_auth_in(&call.in, &in);
    err = run_own(tpm, anchor, &call, "write the anchor", why);
    tpm12_end(&call);
    return err;
}

static int read_content(struct hwtpm *tpm, const struct hwtpm_anchor *anchor, struct content *content,
                        struct vt_why *why)
{
    struct nv_read_value_auth_in in = {.nv_index = anchor->index, .data_size = DATA_LEN};
    struct nv_read_value_auth_out out;
    struct tpm12_call call;
    struct rd r;
    int err;

    tpm12_begin(&call, TPM_ORD_NV_ReadValueAuth);
    wr_nv_read_value_auth_in(&call.in, &in);
    err = run_own(tpm, anchor, &call, "read the anchor", why);
    if (!err) {
        rd_nv_read_value_auth_out(&call.out, &out);
        r = rd_from(out.data.data, out.data.len);
        content->count_id = rd_get32(&r);
        content->counter = rd_get64(&r);
        rd_copy(&r, content->data, sizeof content->data);
        if (!rd_done(&call.out) || !rd_done(&r))
            err = vt_fail(why, VT_EDAMAGED, "the anchor in the host TPM has the wrong size");
    }
    tpm12_end(&call);
    return err;
}

static int read_counter(struct hwtpm *tpm, uint32_t count_id, uint64_t *counter, struct vt_why *why)
{
    struct read_counter_in in = {.count_id = count_id};
    struct read_counter_out out;
    struct vt_why said = {0};
    struct tpm12_call call;
    int err;

    tpm12_begin(&call, TPM_ORD_ReadCounter);
    wr_read_counter_in(&call.in, &in);
    err = tpm12_run(tpm, &call, "read the anchor's counter", &said);
    if (err && call.rc == TPM_BAD_COUNTER) /* Part 3, 25.3: there is none; clearing the owner keeps areas like ours */
        err = vt_fail(why, VT_EDAMAGED, "the anchor's counter is not in the host TPM any more: it was cleared");
    else if (err)
        vt_fail(why, err, "%s", said.text);
    if (!err) {
        rd_read_counter_out(&call.out, &out);
        err = rd_done(&call.out) ? VT_OK : vt_fail(why, VT_EPROTO, "the host TPM's counter has the wrong form");
        *counter = out.count.counter;
    }
    tpm12_end(&call);
    return err;
}

static int increment(struct hwtpm *tpm, const struct hwtpm_anchor *anchor, uint32_t count_id, struct vt_why *why)
{
    struct increment_counter_in in = {.count_id = count_id};
    struct tpm12_call call;
    int err;

    tpm12_begin(&call, TPM_ORD_IncrementCounter);
    wr_increment_counter_in(&call.in, &in);
    err = run_own(tpm, anchor, &call, "advance the anchor", why);
    tpm12_end(&call);
    return err;
}

/* ---- Made by the owner ---- */

static int run_owner(struct hwtpm *tpm, struct tpm12_call *call, struct tpm12_session *session, const char *doing,
                     struct vt_why *why)
{
    call->sessions[call->session_count++] = session;
    return tpm12_run_for(tpm, call, doing, owner_wrong, why);
}

static int define_area(struct hwtpm *tpm, const struct hwtpm_anchor *anchor, const struct vt_auth *owner,
                       struct vt_why *why)
{
    static const struct tpm_pcr_info_short any = {.pcr_selection.size_of_select = 3, .locality_at_release = TPM_LOC_ALL};
    struct nv_define_space_in in = {.pub_info = {
        .nv_index = anchor->index,
        .pcr_info_read = any,
        .pcr_info_write = any,
        .permission.attributes = TPM_NV_PER_AUTHREAD | TPM_NV_PER_AUTHWRITE,
        .data_size = DATA_LEN,
    }};
    struct vt_auth auth = auth_of(anchor);
    struct tpm12_session session;
    struct tpm12_call call;
    int err = tpm12_osap(tpm, TPM_ET_OWNER, TPM_KH_OWNER, owner, &session, why);

    if (err)
        return err;
    tpm12_encrypt_auth(&session, &auth, &in.enc_auth);
    vt_auth_wipe(&auth);
    tpm12_begin(&call, TPM_ORD_NV_DefineSpace);
    wr_nv_define_space_in(&call.in, &in);
    err = run_owner(tpm, &call, &session, "make an anchor", why);
    tpm12_end(&call);
    vt_wipe(&session, sizeof session);
    return err;
}

static int create_counter(struct hwtpm *tpm, const struct hwtpm_anchor *anchor, const struct vt_auth *owner,
                          struct content *content, struct vt_why *why)
{
    struct create_counter_in in = {.label = {"vtpm"}};
    struct vt_auth auth = auth_of(anchor);
    struct create_counter_out out;
    struct tpm12_session session;
    struct tpm12_call call;
    int err = tpm12_osap(tpm, TPM_ET_OWNER, TPM_KH_OWNER, owner, &session, why);

    if (err)
        return err;
    tpm12_encrypt_auth(&session, &auth, &in.enc_auth);
    vt_auth_wipe(&auth);
    tpm12_begin(&call, TPM_ORD_CreateCounter);
    wr_create_counter_in(&call.in, &in);
    err = run_owner(tpm, &call, &session, "make the anchor's counter", why);
    if (!err) {
        rd_create_counter_out(&call.out, &out);
        err = rd_done(&call.out) ? VT_OK : vt_fail(why, VT_EPROTO, "the host TPM's counter has the wrong form");
        content->count_id = out.count_id;
        content->counter = out.counter_value.counter;
    }
    tpm12_end(&call);
    vt_wipe(&session, sizeof session);
    return err;
}

/* ---- Operations ---- */

/* Defined, and then cut off: the TPM shows ones (Part 3, 20.1). It counts as none, and is made to its end. */
static bool is_unwritten(const struct content *content)
{
    return content->count_id == UINT32_MAX && content->counter == UINT64_MAX;
}

int tpm12_anchor_make(struct hwtpm *tpm, struct hwtpm_anchor *anchor, const struct vt_auth *owner, struct vt_why *why)
{
    struct content content = {0};
    int err;

    if (!owner)
        return vt_fail(why, VT_EAUTH, "a TPM 1.2 makes an anchor for its owner only: the owner's secret is needed");
    err = read_content(tpm, anchor, &content, NULL);
    /* Whatever is there is not overwritten: defining an index again would delete it. */
    if (err != VT_ENOTFOUND && (err || !is_unwritten(&content)))
        return vt_fail(why, VT_EEXISTS, "the host TPM has something at 0x%08x already", (unsigned)anchor->index);
    err = err ? define_area(tpm, anchor, owner, why) : VT_OK;
    content = (struct content){0};
    if (!err)
        err = create_counter(tpm, anchor, owner, &content, why);
    if (!err)
        err = write_content(tpm, anchor, &content, why);
    anchor->counter = content.counter;
    memset(anchor->data, 0, sizeof anchor->data);
    return err;
}

static int read_both(struct hwtpm *tpm, const struct hwtpm_anchor *anchor, struct content *content, struct vt_why *why)
{
    uint64_t counter;
    int err = read_content(tpm, anchor, content, why);

    if (!err && is_unwritten(content))
        err = vt_fail(why, VT_ENOTFOUND, "the anchor in the host TPM was never finished");
    if (!err)
        err = read_counter(tpm, content->count_id, &counter, why);
    if (err)
        return err;
    if (content->counter != counter && content->counter != counter + 1)
        return vt_fail(why, VT_EDAMAGED, "the anchor in the host TPM contradicts its counter (%llu, %llu): another "
                       "program used it", (unsigned long long)content->counter, (unsigned long long)counter);
    /* An advance that was cut off. */
    return content->counter != counter ? increment(tpm, anchor, content->count_id, why) : VT_OK;
}

int tpm12_anchor_read(struct hwtpm *tpm, struct hwtpm_anchor *anchor, struct vt_why *why)
{
    struct content content;
    int err = read_both(tpm, anchor, &content, why);

    if (err)
        return err;
    anchor->counter = content.counter;
    memcpy(anchor->data, content.data, sizeof anchor->data);
    return VT_OK;
}

int tpm12_anchor_advance(struct hwtpm *tpm, struct hwtpm_anchor *anchor, struct vt_why *why)
{
    struct content content;
    int err = read_both(tpm, anchor, &content, why);

    if (err)
        return err;
    content.counter++;
    memcpy(content.data, anchor->data, sizeof content.data);
    err = write_content(tpm, anchor, &content, why);
    if (!err)
        err = increment(tpm, anchor, content.count_id, why);
    if (!err)
        anchor->counter = content.counter;
    return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TPM 2.0: the anchor. Index `index` holds the counter's value and the caller's 64 bytes, `index + 1` is the
 * counter. The data are written first, with the value that the counter is about to have: after a power cut
 * between the two the data are one ahead, which no other course leads to. An anchor that was cut off while it
 * was made (an index is missing, or has no value) counts as none, and is made to its end by the next one who
 * makes it and has its secret.
 */
#include "hwtpm/tpm2.h"

#include "server/wire/cursor.h"

#define DATA_LEN (8 + HWTPM_ANCHOR)

/* Written and read with the anchor's secret; nothing to guess for the dictionary attack logic: it has 256 bits. */
#define ATTRIBUTES (TPMA_NV_AUTHWRITE | TPMA_NV_AUTHREAD | TPMA_NV_NO_DA)
#define COUNTER_ATTRIBUTES (ATTRIBUTES | TPM2_NT_COUNTER << TPMA_NV_TPM2_NT_SHIFT)

static const char not_ours[] = "the anchor in the host TPM is not this store's: it was made anew by somebody else";

struct index {
    ESYS_TR data, counter;
    struct tpm2_parent parent;
    ESYS_TR session;
};

static void close_index(struct hwtpm *tpm, struct index *index)
{
    if (index->session != ESYS_TR_NONE)
        (void)Esys_FlushContext(tpm2_esys(tpm), index->session);
    if (index->data != ESYS_TR_NONE)
        (void)Esys_TR_Close(tpm2_esys(tpm), &index->data);
    if (index->counter != ESYS_TR_NONE)
        (void)Esys_TR_Close(tpm2_esys(tpm), &index->counter);
    tpm2_parent_done(tpm, &index->parent);
}

static int begin(struct hwtpm *tpm, struct index *index, struct vt_why *why)
{
    int err;

    *index = (struct index){.data = ESYS_TR_NONE, .counter = ESYS_TR_NONE, .session = ESYS_TR_NONE};
    err = tpm2_parent_choose(tpm, &index->parent, why);
    if (err)
        return err;
    err = tpm2_session(tpm, &index->parent, TPM2_SE_HMAC, &index->session, why);
    if (err)
        close_index(tpm, index);
    return err;
}

static TPM2B_AUTH auth_of(const struct hwtpm_anchor *anchor)
{
    TPM2B_AUTH auth = {.size = sizeof anchor->auth.bytes};

    memcpy(auth.buffer, anchor->auth.bytes, sizeof anchor->auth.bytes);
    return auth;
}

/* Where a wrong secret would count as a guess, ours is not tried. */
static bool has_our_shape(struct hwtpm *tpm, ESYS_TR what, TPMA_NV attributes, uint16_t len)
{
    TPM2B_NV_PUBLIC *public = NULL;
    bool is = !Esys_NV_ReadPublic(tpm2_esys(tpm), what, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &public, NULL) &&
              (public->nvPublic.attributes & ~TPMA_NV_WRITTEN) == attributes && public->nvPublic.dataSize == len;

    Esys_Free(public);
    return is;
}

static int open_index(struct hwtpm *tpm, const struct hwtpm_anchor *anchor, struct index *index, struct vt_why *why)
{
    ESYS_CONTEXT *esys = tpm2_esys(tpm);
    TPM2B_AUTH auth = auth_of(anchor);
    int err = begin(tpm, index, why);
    TSS2_RC rc;

    if (err)
        return err;
    rc = Esys_TR_FromTPMPublic(esys, anchor->index, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &index->data);
    if (!rc)
        rc = Esys_TR_FromTPMPublic(esys, anchor->index + 1, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &index->counter);
    if (!rc)
        rc = Esys_TR_SetAuth(esys, index->data, &auth);
    if (!rc)
        rc = Esys_TR_SetAuth(esys, index->counter, &auth);
    vt_wipe(&auth, sizeof auth);
    if (rc) {
        close_index(tpm, index);
        return vt_fail(why, VT_ENOTFOUND, "the host TPM has no anchor at 0x%08x: it was cleared, is another one, or "
                       "somebody removed it", (unsigned)anchor->index);
    }
    if (has_our_shape(tpm, index->data, ATTRIBUTES, DATA_LEN) &&
        has_our_shape(tpm, index->counter, COUNTER_ATTRIBUTES, 8))
        return VT_OK;
    close_index(tpm, index);
    return vt_fail(why, VT_EAUTH, "%s", not_ours);
}

static int failed(TSS2_RC rc, const char *doing, struct vt_why *why)
{
    if (tpm2_plain(rc) == TPM2_RC_BAD_AUTH || tpm2_plain(rc) == TPM2_RC_AUTH_FAIL)
        return vt_fail(why, VT_EAUTH, "%s", not_ours);
    if (tpm2_plain(rc) == TPM2_RC_NV_UNINITIALIZED)
        return vt_fail(why, VT_ENOTFOUND, "the anchor in the host TPM was never finished");
    return tpm2_fail(rc, doing, why);
}

static int read_nv(struct hwtpm *tpm, const struct index *index, ESYS_TR what, uint16_t len, uint8_t *out,
                   struct vt_why *why)
{
    TPM2B_MAX_NV_BUFFER *bytes = NULL;
    TSS2_RC rc = Esys_NV_Read(tpm2_esys(tpm), what, what, index->session, ESYS_TR_NONE, ESYS_TR_NONE, len, 0, &bytes);
    bool fits;

    if (rc)
        return failed(rc, "read the anchor", why);
    fits = bytes->size == len;
    if (fits)
        memcpy(out, bytes->buffer, len);
    Esys_Free(bytes);
    return fits ? VT_OK : vt_fail(why, VT_EDAMAGED, "the anchor in the host TPM has the wrong size");
}

static int read_counter(struct hwtpm *tpm, const struct index *index, uint64_t *counter, struct vt_why *why)
{
    uint8_t bytes[8] = {0};
    struct rd r = rd_from(bytes, sizeof bytes);
    int err = read_nv(tpm, index, index->counter, sizeof bytes, bytes, why);

    *counter = err ? 0 : rd_get64(&r);
    return err;
}

static int increment(struct hwtpm *tpm, const struct index *index, struct vt_why *why)
{
    TSS2_RC rc = Esys_NV_Increment(tpm2_esys(tpm), index->counter, index->counter, index->session, ESYS_TR_NONE,
                                   ESYS_TR_NONE);

    return rc ? failed(rc, "advance the anchor", why) : VT_OK;
}

static int write_data(struct hwtpm *tpm, const struct index *index, uint64_t counter, const uint8_t *data,
                      struct vt_why *why)
{
    TPM2B_MAX_NV_BUFFER bytes = {.size = DATA_LEN};
    struct wr w = wr_to(bytes.buffer, DATA_LEN);
    TSS2_RC rc;

    wr_put64(&w, counter);
    wr_copy(&w, data, HWTPM_ANCHOR);
    rc = Esys_NV_Write(tpm2_esys(tpm), index->data, index->data, index->session, ESYS_TR_NONE, ESYS_TR_NONE, &bytes, 0);
    return rc ? failed(rc, "write the anchor", why) : VT_OK;
}

/* ---- Operations ---- */

static TSS2_RC define(struct hwtpm *tpm, const struct index *index, uint32_t handle, uint16_t len, TPMA_NV attributes,
                      const TPM2B_AUTH *auth, ESYS_TR *out)
{
    TPM2B_NV_PUBLIC public = {.nvPublic = {.nvIndex = handle, .nameAlg = TPM2_ALG_SHA256, .attributes = attributes,
                                           .dataSize = len}};

    return Esys_NV_DefineSpace(tpm2_esys(tpm), ESYS_TR_RH_OWNER, index->session, ESYS_TR_NONE, ESYS_TR_NONE, auth,
                               &public, out);
}

/* Defines the index; one that is there already is opened instead. */
static int define_or_open(struct hwtpm *tpm, const struct index *index, uint32_t handle, uint16_t len,
                          TPMA_NV attributes, const TPM2B_AUTH *auth, ESYS_TR *out, bool *is_new, struct vt_why *why)
{
    TSS2_RC rc = define(tpm, index, handle, len, attributes, auth, out);

    *is_new = !rc;
    if (tpm2_plain(rc) == TPM2_RC_NV_DEFINED) {
        rc = Esys_TR_FromTPMPublic(tpm2_esys(tpm), handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, out);
        if (!rc)
            rc = Esys_TR_SetAuth(tpm2_esys(tpm), *out, auth);
        if (!rc && !has_our_shape(tpm, *out, attributes, len))
            return VT_EEXISTS;
    }
    return rc ? tpm2_fail(rc, "make an anchor", why) : VT_OK;
}

static void undefine(struct hwtpm *tpm, const struct index *index, ESYS_TR *what)
{
    if (!Esys_NV_UndefineSpace(tpm2_esys(tpm), ESYS_TR_RH_OWNER, *what, index->session, ESYS_TR_NONE, ESYS_TR_NONE))
        *what = ESYS_TR_NONE;
}

/* A counter has no value before its first step. VT_OK: it is ours, and has one. */
static int begin_counter(struct hwtpm *tpm, const struct index *index, uint64_t *counter, struct vt_why *why)
{
    int err = read_counter(tpm, index, counter, NULL);

    if (err != VT_ENOTFOUND)
        return err;
    err = increment(tpm, index, why);
    return err ? err : read_counter(tpm, index, counter, why);
}

/* VT_EEXISTS: it has a value, or is not ours. */
static int still_empty(struct hwtpm *tpm, const struct index *index)
{
    uint8_t bytes[DATA_LEN];

    return read_nv(tpm, index, index->data, DATA_LEN, bytes, NULL) == VT_ENOTFOUND ? VT_OK : VT_EEXISTS;
}

static int make_both(struct hwtpm *tpm, struct index *index, struct hwtpm_anchor *anchor, struct vt_why *why)
{
    static const uint8_t zeros[HWTPM_ANCHOR];
    TPM2B_AUTH auth = auth_of(anchor);
    bool new_counter, new_data = false;
    int err = define_or_open(tpm, index, anchor->index + 1, 8, COUNTER_ATTRIBUTES, &auth, &index->counter,
                             &new_counter, why);

    if (!err)
        err = define_or_open(tpm, index, anchor->index, DATA_LEN, ATTRIBUTES, &auth, &index->data, &new_data, why);
    vt_wipe(&auth, sizeof auth);
    if (err && err != VT_EEXISTS)
        return err;
    if (!err && !new_data)
        err = still_empty(tpm, index);
    if (!err)
        err = begin_counter(tpm, index, &anchor->counter, why);
    if (err == VT_EEXISTS || err == VT_EAUTH) {
        /* Somebody else's: what was added beside it goes again. */
        if (new_counter)
            undefine(tpm, index, &index->counter);
        if (new_data)
            undefine(tpm, index, &index->data);
        return vt_fail(why, VT_EEXISTS,
                       "the host TPM has something at 0x%08x or behind it already: tpm2_nvundefine removes "
                       "it",
                       (unsigned)anchor->index);
    }
    return err ? err : write_data(tpm, index, anchor->counter, zeros, why);
}

int tpm2_anchor_make(struct hwtpm *tpm, struct hwtpm_anchor *anchor, const struct vt_auth *owner, struct vt_why *why)
{
    struct index index;
    int err = begin(tpm, &index, why);

    (void)owner; /* an owner with a password: TPM2_RC_BAD_AUTH says so */
    if (err)
        return err;
    err = make_both(tpm, &index, anchor, why);
    memset(anchor->data, 0, sizeof anchor->data);
    close_index(tpm, &index);
    return err;
}

static int read_both(struct hwtpm *tpm, const struct index *index, struct hwtpm_anchor *anchor, struct vt_why *why)
{
    uint8_t bytes[DATA_LEN] = {0};
    struct rd r = rd_from(bytes, sizeof bytes);
    uint64_t counter;
    int err = read_counter(tpm, index, &counter, why);

    if (!err)
        err = read_nv(tpm, index, index->data, DATA_LEN, bytes, why);
    if (err)
        return err;
    anchor->counter = rd_get64(&r);
    rd_copy(&r, anchor->data, sizeof anchor->data);
    if (anchor->counter != counter && anchor->counter != counter + 1)
        return vt_fail(why, VT_EDAMAGED, "the anchor in the host TPM contradicts its counter (%llu, %llu): another "
                       "program used it", (unsigned long long)anchor->counter, (unsigned long long)counter);
    /* An advance that was cut off. */
    return anchor->counter != counter ? increment(tpm, index, why) : VT_OK;
}

int tpm2_anchor_read(struct hwtpm *tpm, struct hwtpm_anchor *anchor, struct vt_why *why)
{
    struct index index;
    int err = open_index(tpm, anchor, &index, why);

    if (err)
        return err;
    err = read_both(tpm, &index, anchor, why);
    close_index(tpm, &index);
    return err;
}

int tpm2_anchor_advance(struct hwtpm *tpm, struct hwtpm_anchor *anchor, struct vt_why *why)
{
    struct hwtpm_anchor now = *anchor;
    struct index index;
    int err = open_index(tpm, anchor, &index, why);

    if (err)
        return err;
    err = read_both(tpm, &index, &now, why);
    if (!err)
        err = write_data(tpm, &index, now.counter + 1, anchor->data, why);
    if (!err)
        err = increment(tpm, &index, why);
    if (!err)
        anchor->counter = now.counter + 1;
    vt_key_wipe(&now.auth);
    close_index(tpm, &index);
    return err;
}

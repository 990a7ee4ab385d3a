/* SPDX-License-Identifier: Apache-2.0 */
/* A TPM 2.0 that has NV indices and nothing else: what hwtpm/tpm2_anchor.c asks of ESYS, from memory. */
#include "tests/fault/host_tpm.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hwtpm/tpm2.h"

#define INDICES 8
#define FIRST   ((ESYS_TR)100)

struct index {
    bool is_there;
    TPMS_NV_PUBLIC public;
    TPM2B_AUTH auth;
    uint8_t data[72];
};

static struct host_history history;
static struct {
    struct index index[INDICES];
    TPM2B_AUTH said[INDICES];   /* Esys_TR_SetAuth: of this connection */
    uint64_t highest;           /* of all counters ever: a new one goes on above (Part 1, 37.2.4) */
} host;
bool host_tpm2_swaps;
static bool has_held;           /* the mutant's */
static struct { unsigned at; uint8_t data[72]; } held;

static void save(void)
{
    struct {
        struct index index[INDICES];
        uint64_t highest;
    } bytes;

    memset(&bytes, 0, sizeof bytes);
    memcpy(bytes.index, host.index, sizeof bytes.index);
    bytes.highest = host.highest;
    host_note(&history, &bytes, sizeof bytes);
}

static void boot(const struct host_state *state, uint8_t firmware)
{
    (void)firmware;
    memset(&host, 0, sizeof host);
    memcpy(host.index, state->bytes, sizeof host.index);
    memcpy(&host.highest, state->bytes + sizeof host.index, sizeof host.highest);
    has_held = false;
    save();
}

static void make(const char *dir)
{
    (void)dir;
    memset(&host, 0, sizeof host);
    host.highest = 41;
    has_held = false;
    save();
}

static void unmake(void)
{
    host_free(&history);
}

static void place(char *out, size_t size)
{
    snprintf(out, size, "tcti=swtpm:port=1");
}

const struct host_tpm host_tpm2 = {"TPM 2.0", &history, make, boot, unmake, place};

/* ---- In the place of the TSS (the linker's --wrap) ---- */

static struct index *by_handle(TPM2_HANDLE handle)
{
    for (size_t i = 0; i < INDICES; i++)
        if (host.index[i].is_there && host.index[i].public.nvIndex == handle)
            return &host.index[i];
    return NULL;
}

static struct index *by_tr(ESYS_TR tr)
{
    if (tr < FIRST || tr >= FIRST + INDICES || !host.index[tr - FIRST].is_there)
        abort();
    return &host.index[tr - FIRST];
}

/* With the secret that was said for it; the HMAC of a session would show the same. */
static TSS2_RC may(ESYS_TR tr)
{
    const struct index *index = by_tr(tr);
    const TPM2B_AUTH *said = &host.said[tr - FIRST];

    return said->size == index->auth.size && memcmp(said->buffer, index->auth.buffer, said->size) == 0
               ? TSS2_RC_SUCCESS : TPM2_RC_BAD_AUTH;
}

static uint64_t counter_of(const struct index *index)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < 8; i++)
        n = n << 8 | index->data[i];
    return n;
}

TSS2_RC __wrap_Tss2_TctiLdr_Initialize(const char *name, TSS2_TCTI_CONTEXT **tcti);
void __wrap_Tss2_TctiLdr_Finalize(TSS2_TCTI_CONTEXT **tcti);
TSS2_RC __wrap_Esys_Initialize(ESYS_CONTEXT **esys, TSS2_TCTI_CONTEXT *tcti, TSS2_ABI_VERSION *abi);
void __wrap_Esys_Finalize(ESYS_CONTEXT **esys);
TSS2_RC __wrap_Esys_GetCapability(ESYS_CONTEXT *esys, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3, TPM2_CAP capability,
                                  UINT32 property, UINT32 count, TPMI_YES_NO *more, TPMS_CAPABILITY_DATA **data);
TSS2_RC __wrap_Esys_FlushContext(ESYS_CONTEXT *esys, ESYS_TR tr);
TSS2_RC __wrap_Esys_TR_FromTPMPublic(ESYS_CONTEXT *esys, TPM2_HANDLE handle, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3,
                                     ESYS_TR *tr);
TSS2_RC __wrap_Esys_TR_SetAuth(ESYS_CONTEXT *esys, ESYS_TR tr, TPM2B_AUTH const *auth);
TSS2_RC __wrap_Esys_TR_Close(ESYS_CONTEXT *esys, ESYS_TR *tr);
TSS2_RC __wrap_Esys_NV_ReadPublic(ESYS_CONTEXT *esys, ESYS_TR tr, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3,
                                  TPM2B_NV_PUBLIC **public, TPM2B_NAME **name);
TSS2_RC __wrap_Esys_NV_Read(ESYS_CONTEXT *esys, ESYS_TR auth, ESYS_TR tr, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3, UINT16 size,
                            UINT16 offset, TPM2B_MAX_NV_BUFFER **data);
TSS2_RC __wrap_Esys_NV_Increment(ESYS_CONTEXT *esys, ESYS_TR auth, ESYS_TR tr, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3);
TSS2_RC __wrap_Esys_NV_Write(ESYS_CONTEXT *esys, ESYS_TR auth, ESYS_TR tr, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3,
                             const TPM2B_MAX_NV_BUFFER *data, UINT16 offset);
TSS2_RC __wrap_Esys_NV_DefineSpace(ESYS_CONTEXT *esys, ESYS_TR owner, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3,
                                   const TPM2B_AUTH *auth, const TPM2B_NV_PUBLIC *public, ESYS_TR *tr);
TSS2_RC __wrap_Esys_NV_UndefineSpace(ESYS_CONTEXT *esys, ESYS_TR owner, ESYS_TR tr, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3);
int __wrap_tpm2_parent_choose(struct hwtpm *tpm, struct tpm2_parent *parent, struct vt_why *why);
void __wrap_tpm2_parent_done(struct hwtpm *tpm, struct tpm2_parent *parent);
int __wrap_tpm2_session(struct hwtpm *tpm, const struct tpm2_parent *parent, TPM2_SE type, ESYS_TR *session,
                        struct vt_why *why);

TSS2_RC __wrap_Tss2_TctiLdr_Initialize(const char *name, TSS2_TCTI_CONTEXT **tcti)
{
    (void)name;
    *tcti = (TSS2_TCTI_CONTEXT *)&host;
    return TSS2_RC_SUCCESS;
}

void __wrap_Tss2_TctiLdr_Finalize(TSS2_TCTI_CONTEXT **tcti)
{
    *tcti = NULL;
}

TSS2_RC __wrap_Esys_Initialize(ESYS_CONTEXT **esys, TSS2_TCTI_CONTEXT *tcti, TSS2_ABI_VERSION *abi)
{
    (void)tcti;
    (void)abi;
    memset(host.said, 0, sizeof host.said);
    *esys = (ESYS_CONTEXT *)&host;
    return TSS2_RC_SUCCESS;
}

void __wrap_Esys_Finalize(ESYS_CONTEXT **esys)
{
    *esys = NULL;
}

TSS2_RC __wrap_Esys_GetCapability(ESYS_CONTEXT *esys, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3, TPM2_CAP capability,
                                  UINT32 property, UINT32 count, TPMI_YES_NO *more, TPMS_CAPABILITY_DATA **data)
{
    (void)esys, (void)s1, (void)s2, (void)s3, (void)capability, (void)property, (void)count, (void)more;
    *data = NULL;
    return TPM2_RC_FAILURE;
}

TSS2_RC __wrap_Esys_FlushContext(ESYS_CONTEXT *esys, ESYS_TR tr)
{
    (void)esys, (void)tr;
    return TSS2_RC_SUCCESS;
}

TSS2_RC __wrap_Esys_TR_FromTPMPublic(ESYS_CONTEXT *esys, TPM2_HANDLE handle, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3,
                                     ESYS_TR *tr)
{
    const struct index *index = by_handle(handle);

    (void)esys, (void)s1, (void)s2, (void)s3;
    *tr = index ? FIRST + (ESYS_TR)(index - host.index) : ESYS_TR_NONE;
    return index ? TSS2_RC_SUCCESS : TPM2_RC_HANDLE;
}

TSS2_RC __wrap_Esys_TR_SetAuth(ESYS_CONTEXT *esys, ESYS_TR tr, TPM2B_AUTH const *auth)
{
    (void)esys;
    (void)by_tr(tr);
    host.said[tr - FIRST] = *auth;
    return TSS2_RC_SUCCESS;
}

TSS2_RC __wrap_Esys_TR_Close(ESYS_CONTEXT *esys, ESYS_TR *tr)
{
    (void)esys;
    *tr = ESYS_TR_NONE;
    return TSS2_RC_SUCCESS;
}

TSS2_RC __wrap_Esys_NV_ReadPublic(ESYS_CONTEXT *esys, ESYS_TR tr, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3,
                                  TPM2B_NV_PUBLIC **public, TPM2B_NAME **name)
{
    (void)esys, (void)s1, (void)s2, (void)s3, (void)name;
    *public = calloc(1, sizeof **public);
    if (!*public)
        abort();
    (*public)->nvPublic = by_tr(tr)->public;
    return TSS2_RC_SUCCESS;
}

TSS2_RC __wrap_Esys_NV_Read(ESYS_CONTEXT *esys, ESYS_TR auth, ESYS_TR tr, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3, UINT16 size,
                            UINT16 offset, TPM2B_MAX_NV_BUFFER **data)
{
    const struct index *index = by_tr(tr);
    TSS2_RC rc = may(tr);

    (void)esys, (void)auth, (void)s1, (void)s2, (void)s3;
    if (!rc && !(index->public.attributes & TPMA_NV_WRITTEN))
        rc = TPM2_RC_NV_UNINITIALIZED;
    if (!rc && offset + size > index->public.dataSize)
        rc = TPM2_RC_NV_RANGE;
    if (rc)
        return rc;
    *data = calloc(1, sizeof **data);
    if (!*data)
        abort();
    (*data)->size = size;
    memcpy((*data)->buffer, index->data + offset, size);
    return TSS2_RC_SUCCESS;
}

static void put_held(void)
{
    if (!has_held)
        return;
    memcpy(host.index[held.at].data, held.data, sizeof held.data);
    host.index[held.at].public.attributes |= TPMA_NV_WRITTEN;
    has_held = false;
    save();
}

TSS2_RC __wrap_Esys_NV_Increment(ESYS_CONTEXT *esys, ESYS_TR auth, ESYS_TR tr, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3)
{
    struct index *index = by_tr(tr);
    TSS2_RC rc = may(tr);
    uint64_t n;

    (void)esys, (void)auth, (void)s1, (void)s2, (void)s3;
    if (rc)
        return rc;
    n = (index->public.attributes & TPMA_NV_WRITTEN ? counter_of(index) : host.highest) + 1;
    for (unsigned i = 0; i < 8; i++)
        index->data[i] = (uint8_t)(n >> (56 - 8 * i));
    index->public.attributes |= TPMA_NV_WRITTEN;
    host.highest = n > host.highest ? n : host.highest;
    save();
    put_held();
    return TSS2_RC_SUCCESS;
}

TSS2_RC __wrap_Esys_NV_Write(ESYS_CONTEXT *esys, ESYS_TR auth, ESYS_TR tr, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3,
                             const TPM2B_MAX_NV_BUFFER *data, UINT16 offset)
{
    struct index *index = by_tr(tr);
    TSS2_RC rc = may(tr);

    (void)esys, (void)auth, (void)s1, (void)s2, (void)s3;
    if (rc || offset || data->size != index->public.dataSize)
        return rc ? rc : TPM2_RC_NV_RANGE;
    if (host_tpm2_swaps && index->public.attributes & TPMA_NV_WRITTEN) {
        held.at = tr - FIRST;
        memcpy(held.data, data->buffer, data->size);
        has_held = true;
        return TSS2_RC_SUCCESS;
    }
    memcpy(index->data, data->buffer, data->size);
    index->public.attributes |= TPMA_NV_WRITTEN;
    save();
    return TSS2_RC_SUCCESS;
}

TSS2_RC __wrap_Esys_NV_DefineSpace(ESYS_CONTEXT *esys, ESYS_TR owner, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3,
                                   const TPM2B_AUTH *auth, const TPM2B_NV_PUBLIC *public, ESYS_TR *tr)
{
    (void)esys, (void)owner, (void)s1, (void)s2, (void)s3;
    if (by_handle(public->nvPublic.nvIndex))
        return TPM2_RC_NV_DEFINED;
    for (unsigned i = 0; i < INDICES; i++) {
        if (host.index[i].is_there)
            continue;
        host.index[i] = (struct index){.is_there = true, .public = public->nvPublic, .auth = *auth};
        host.said[i] = *auth;
        *tr = FIRST + i;
        save();
        return TSS2_RC_SUCCESS;
    }
    return TPM2_RC_NV_SPACE;
}

TSS2_RC __wrap_Esys_NV_UndefineSpace(ESYS_CONTEXT *esys, ESYS_TR owner, ESYS_TR tr, ESYS_TR s1, ESYS_TR s2, ESYS_TR s3)
{
    (void)esys, (void)owner, (void)s1, (void)s2, (void)s3;
    memset(by_tr(tr), 0, sizeof(struct index));
    save();
    return TSS2_RC_SUCCESS;
}

int __wrap_tpm2_parent_choose(struct hwtpm *tpm, struct tpm2_parent *parent, struct vt_why *why)
{
    (void)tpm, (void)why;
    *parent = (struct tpm2_parent){.key = ESYS_TR_NONE};
    return VT_OK;
}

void __wrap_tpm2_parent_done(struct hwtpm *tpm, struct tpm2_parent *parent)
{
    (void)tpm, (void)parent;
}

int __wrap_tpm2_session(struct hwtpm *tpm, const struct tpm2_parent *parent, TPM2_SE type, ESYS_TR *session,
                        struct vt_why *why)
{
    (void)tpm, (void)parent, (void)type, (void)why;
    *session = 1;
    return VT_OK;
}

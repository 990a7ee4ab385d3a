/* SPDX-License-Identifier: Apache-2.0 */
#include "server/engine/nv.h"

#include "server/engine/auth.h"

struct nv_area *nv_find(struct tpm *tpm, uint32_t index)
{
    struct nv_store *nv = &tpm->perm.nv;

    for (unsigned i = 0; i < nv->count; i++)
        if (nv->areas[i].pub.nv_index == index)
            return &nv->areas[i];
    return NULL;
}

/* Where an area's bytes begin: behind those of the areas before it. */
static uint32_t start_of(const struct nv_store *nv, const struct nv_area *area)
{
    uint32_t start = 0;

    for (const struct nv_area *before = nv->areas; before != area; before++)
        start += before->pub.data_size;
    return start;
}

uint8_t *nv_bytes(struct tpm *tpm, const struct nv_area *area)
{
    return tpm->perm.nv.data + start_of(&tpm->perm.nv, area);
}

uint32_t nv_free_bytes(const struct tpm *tpm)
{
    return tpm->perm.profile.nv_bytes - (tpm->perm.nv.used - nv_beside(&tpm->perm.nv));
}

uint32_t nv_beside(const struct nv_store *nv)
{
    for (unsigned i = 0; i < nv->count; i++)
        if (nv->areas[i].pub.nv_index == NV_EK_CERT && nv->areas[i].pub.data_size <= NV_EK_CERT_MAX)
            return nv->areas[i].pub.data_size;
    return 0;
}

bool nv_has_room(const struct tpm *tpm, uint32_t size)
{
    return tpm->perm.nv.count < NV_AREAS_MAX && size <= nv_free_bytes(tpm);
}

static uint8_t *append(struct tpm *tpm, const struct nv_area *area)
{
    struct nv_store *nv = &tpm->perm.nv;
    uint8_t *bytes = nv->data + nv->used;

    nv->areas[nv->count++] = *area;
    memset(bytes, 0xFF, area->pub.data_size);
    nv->used += area->pub.data_size;
    tpm->dirty |= TPM_DIRTY_PERMANENT;
    return bytes;
}

bool nv_define(struct tpm *tpm, const struct nv_area *area)
{
    if (!nv_has_room(tpm, area->pub.data_size))
        return false;
    (void)append(tpm, area);
    return true;
}

uint8_t *nv_define_ek_cert(struct tpm *tpm, const struct nv_area *area)
{
    if (area->pub.nv_index != NV_EK_CERT || area->pub.data_size > NV_EK_CERT_MAX || nv_find(tpm, NV_EK_CERT) ||
        tpm->perm.nv.count >= NV_AREAS_MAX)
        return NULL;
    return append(tpm, area);
}

void nv_remove(struct tpm *tpm, struct nv_area *area)
{
    struct nv_store *nv = &tpm->perm.nv;
    struct auth_entity entity = auth_entity_number(TPM_ET_NV, area->pub.nv_index, &area->auth);
    uint32_t size = area->pub.data_size, start = start_of(nv, area);
    size_t behind = (size_t)(nv->areas + nv->count - (area + 1));

    session_close_entity(tpm, entity.type, entity.id);
    memmove(nv->data + start, nv->data + start + size, nv->used - start - size);
    nv->used -= size;
    vt_wipe(nv->data + nv->used, size);
    memmove(area, area + 1, behind * sizeof *area);
    nv->count--;
    vt_wipe(&nv->areas[nv->count], sizeof nv->areas[nv->count]);
    tpm->dirty |= TPM_DIRTY_PERMANENT;
}

/* The only sum of what a guest says about places in NV. */
bool nv_in_range(const struct nv_area *area, uint32_t offset, uint32_t len)
{
    return len <= area->pub.data_size && offset <= area->pub.data_size - len;
}

void nv_startup_clear(struct tpm *tpm)
{
    struct nv_store *nv = &tpm->perm.nv;

    for (unsigned i = 0; i < nv->count; i++) {
        nv->areas[i].pub.b_read_st_clear = false;
        nv->areas[i].pub.b_write_st_clear = false;
    }
}

/* Part 3, 6.2, action 12: those of the owner, but not those that a manufacturer defined. */
static bool is_owners(const struct nv_area *area)
{
    return (area->pub.permission.attributes & (TPM_NV_PER_OWNERREAD | TPM_NV_PER_OWNERWRITE)) &&
           !(area->pub.nv_index & TPM_NV_INDEX_D_BIT);
}

void nv_owner_clear(struct tpm *tpm)
{
    struct nv_store *nv = &tpm->perm.nv;

    for (unsigned i = nv->count; i-- > 0;)
        if (is_owners(&nv->areas[i]))
            nv_remove(tpm, &nv->areas[i]);
}

void nv_revoke(struct tpm *tpm)
{
    struct nv_store *nv = &tpm->perm.nv;

    for (unsigned i = nv->count; i-- > 0;)
        if (nv->areas[i].pub.nv_index & TPM_NV_INDEX_D_BIT)
            nv_remove(tpm, &nv->areas[i]);
}

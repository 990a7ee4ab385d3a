/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NV storage: areas over one flat bounded space. Invariant: the areas' bytes are packed in the order of
 * `areas`, the sum of their sizes is `used`, and without the EK's certificate it is at most profile.nv_bytes.
 */
#ifndef VTPM_ENGINE_NV_H
#define VTPM_ENGINE_NV_H

#include "server/base/secret.h"
#include "server/wire/structures.h"

struct tpm;

#define NV_AREAS_MAX 128
#define NV_BYTES_MAX (64u * 1024)
/* PC Client: the certificate of the endorsement key is at the platform's index, in room of its own. */
#define NV_EK_CERT     (TPM_NV_INDEX_D_BIT | TPM_NV_INDEX_EKCert)
#define NV_EK_CERT_MAX (3u * 1024)
/* TPM_NV_INDEX_DIR (0x10000001) is no area: it is perm.auth_dir, always there, 20 bytes. */

/* Part 2, 19.3: pub.data_size is the area's size. The bytes are in nv_store.data. */
struct nv_area {
    struct tpm_nv_data_public pub;
    struct vt_auth auth;
};

struct nv_store {
    uint16_t count;
    uint32_t used;
    uint32_t no_owner_writes; /* noOwnerNVWrite, at most TPM_MAX_NV_WRITE_NOOWNER (64) */
    struct nv_area areas[NV_AREAS_MAX];
    uint8_t data[NV_BYTES_MAX + NV_EK_CERT_MAX];
};

/* NULL if there is none. Pointers are good until the next define or remove. */
struct nv_area *nv_find(struct tpm *tpm, uint32_t index);
/* The area's bytes (pub.data_size of them). */
uint8_t *nv_bytes(struct tpm *tpm, const struct nv_area *area);
/* May `size` more bytes be defined? */
bool nv_has_room(const struct tpm *tpm, uint32_t size);
/* A new area with all bytes 0xFF; the index must not exist; false without room. Copies area. */
bool nv_define(struct tpm *tpm, const struct nv_area *area) VT_USE_RESULT;
/* As nv_define for NV_EK_CERT, beside profile.nv_bytes; its bytes, or NULL: it is there already, or too long. */
uint8_t *nv_define_ek_cert(struct tpm *tpm, const struct nv_area *area) VT_USE_RESULT;
/* What of `used` is beside profile.nv_bytes. */
uint32_t nv_beside(const struct nv_store *nv);
/* Wipes and closes the gap; ends the sessions of this area. */
void nv_remove(struct tpm *tpm, struct nv_area *area);
/* offset + len inside the area? */
bool nv_in_range(const struct nv_area *area, uint32_t offset, uint32_t len);
/* TPM_Startup(ST_CLEAR): bReadSTClear and bWriteSTClear go back to FALSE. */
void nv_startup_clear(struct tpm *tpm);
/* TPM_OwnerClear: every area that needs the owner (Part 3, 6.2) goes. */
void nv_owner_clear(struct tpm *tpm);
/* TPM_RevokeTrust: also those with the D bit. */
void nv_revoke(struct tpm *tpm);
uint32_t nv_free_bytes(const struct tpm *tpm);

#endif

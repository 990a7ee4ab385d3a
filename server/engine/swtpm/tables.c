/* SPDX-License-Identifier: Apache-2.0 */
/* Counters, delegation, NV: libtpms' tables have a fixed number of rows, those in use and the others. */
#include "server/engine/swtpm/reader.h"

#include "server/engine/delegate.h"

/* As libtpms is built since its first release (its library configuration); the file does not tell. */
#define COUNTERS    8
#define FAMILIES    16
#define DELEGATIONS 4
#define TAG_NV_ALL_DIGESTS 0x0001u /* each PCR selection has its digest */
#define TAG_NV      0x0002u        /* one of no PCR has none */
#define GPIO_FIRST  0x00011600u    /* PC Client: pins of the platform */
#define GPIO_LAST   0x000116FFu

/* A row in use needs a place in the profile. */
static void expect_place(struct sw *s, size_t at, const char *field, unsigned row, unsigned places, const char *limit)
{
    if (row >= places)
        sw_refuse(s, VT_EUSAGE, at, field, "row %u is in use, and the profile's %s is %u: import it with a --profile that "
                  "has room", row, limit, places);
}

/* ---- Counters ---- */

/* A released one still says how high it was: no new one begins below (Part 3, 25.1). */
static void read_counter(struct sw *s, struct tpm *tpm, unsigned row)
{
    struct counter counter = {0};
    size_t at = sw_at(s);

    rd_counter_value(&s->r, &counter.value);
    sw_check(s, at, "monotonicCounter");
    sw_auth(s, &counter.auth, "monotonicCounter");
    counter.used = sw_bool(s, "monotonicCounter");
    tpm->perm.counter_highest = VT_MAX(tpm->perm.counter_highest, counter.value.counter);
    if (counter.used) {
        expect_place(s, at, "monotonicCounter", row, tpm->perm.profile.counters, "counters");
        tpm->perm.counters[row] = counter;
    }
    vt_wipe(&counter, sizeof counter);
}

void swtpm_counters(struct sw *s, struct tpm *tpm)
{
    for (unsigned row = 0; row < COUNTERS && !sw_bad(s); row++)
        read_counter(s, tpm, row);
}

/* ---- Delegation ---- */

static void read_family(struct sw *s, struct tpm *tpm, unsigned row)
{
    struct tpm_family_table_entry entry;
    size_t at = sw_at(s);

    /* As TPM_FAMILY_TABLE_ENTRY, without its tag. */
    entry.family_label = sw_u8(s, "familyTable");
    entry.family_id = sw_u32(s, "familyTable");
    entry.verification_count = sw_u32(s, "familyTable");
    entry.flags = sw_u32(s, "familyTable");
    if (!sw_bool(s, "familyTable") || sw_bad(s))
        return;
    expect_place(s, at, "familyTable", row, tpm->perm.profile.family_rows, "family_rows");
    if (family_find(tpm, entry.family_id))
        sw_refuse(s, VT_EDAMAGED, at, "familyTable", "family %u is there twice", entry.family_id);
    if (!sw_bad(s))
        tpm->perm.families[row] = (struct family_row){.used = true, .entry = entry};
}

void swtpm_families(struct sw *s, struct tpm *tpm)
{
    for (unsigned row = 0; row < FAMILIES && !sw_bad(s); row++)
        read_family(s, tpm, row);
}

static void read_delegation(struct sw *s, struct tpm *tpm, unsigned row)
{
    struct delegate_row delegation = {0};
    size_t at = sw_at(s);

    sw_tag(s, TPM_TAG_DELEGATE_TABLE_ROW, "delegateTable");
    rd_delegate_public(&s->r, &delegation.pub);
    sw_check(s, at, "delegateTable");
    sw_auth(s, &delegation.auth, "delegateTable");
    delegation.used = sw_bool(s, "delegateTable");
    if (delegation.used && delegation.pub.permissions.delegate_type != TPM_DEL_OWNER_BITS)
        sw_refuse(s, VT_EDAMAGED, at, "delegateTable", "row %u lends the authority of kind %u, not the owner's", row,
                  delegation.pub.permissions.delegate_type);
    if (delegation.used)
        expect_place(s, at, "delegateTable", row, tpm->perm.profile.delegate_rows, "delegate_rows");
    if (delegation.used && !sw_bad(s))
        tpm->perm.delegates[row] = delegation;
    vt_wipe(&delegation, sizeof delegation);
}

void swtpm_delegations(struct sw *s, struct tpm *tpm)
{
    for (unsigned row = 0; row < DELEGATIONS && !sw_bad(s); row++)
        read_delegation(s, tpm, row);
}

/* ---- NV ---- */

/* Part 2, 8.5 TPM_PCR_INFO_SHORT, in TAG_NV without a digest that nobody compares. */
static void read_pcrs(struct sw *s, struct tpm_pcr_info_short *info, bool always)
{
    size_t at = sw_at(s);

    *info = (struct tpm_pcr_info_short){.locality_at_release = 0};
    rd_pcr_selection(&s->r, &info->pcr_selection);
    rd_u8(&s->r, &info->locality_at_release);
    if (always || tpm_pcr_any_selected(&info->pcr_selection))
        rd_digest(&s->r, &info->digest_at_release);
    sw_check(s, at, "an NV area's PCRs");
}

static void read_public(struct sw *s, struct tpm_nv_data_public *pub, bool always)
{
    size_t at;

    sw_tag(s, TPM_TAG_NV_DATA_PUBLIC, "an NV area");
    pub->nv_index = sw_u32(s, "an NV area's index");
    read_pcrs(s, &pub->pcr_info_read, always);
    read_pcrs(s, &pub->pcr_info_write, always);
    at = sw_at(s);
    rd_nv_attributes(&s->r, &pub->permission);
    sw_check(s, at, "an NV area's attributes");
    pub->b_read_st_clear = sw_bool(s, "an NV area's bReadSTClear");
    pub->b_write_st_clear = sw_bool(s, "an NV area's bWriteSTClear");
    pub->b_write_define = sw_bool(s, "an NV area's bWriteDefine");
    pub->data_size = sw_u32(s, "an NV area's size");
}

static void expect_index(struct sw *s, struct tpm *tpm, uint32_t index, size_t at)
{
    if (index == TPM_NV_INDEX_LOCK || index == TPM_NV_INDEX0 || index == TPM_NV_INDEX_DIR || nv_find(tpm, index))
        sw_refuse(s, VT_EDAMAGED, at, "an NV area", "its index 0x%08x is reserved or there twice", index);
    if (index >= GPIO_FIRST && index <= GPIO_LAST)
        sw_refuse(s, VT_ENOTSUP, at, "an NV area", "index 0x%08x stands for pins of the platform, and here are none: release "
                  "it under swtpm first", index);
}

/* Its bytes to be; NULL: there is no room. */
static uint8_t *define(struct sw *s, struct tpm *tpm, const struct nv_area *area, size_t at)
{
    const struct tpm_profile *profile = &tpm->perm.profile;
    uint8_t *bytes = area->pub.nv_index == NV_EK_CERT ? nv_define_ek_cert(tpm, area) : NULL;

    if (bytes || sw_bad(s))
        return bytes;
    if (nv_define(tpm, area))
        return nv_bytes(tpm, &tpm->perm.nv.areas[tpm->perm.nv.count - 1]);
    sw_refuse(s, VT_EUSAGE, at, "an NV area", "index 0x%08x wants %u bytes more, of the profile's nv_bytes, which is %u, %u are "
              "left, and %u of %u areas: import it with a --profile that has room (large has %u bytes)", area->pub.nv_index,
              area->pub.data_size, profile->nv_bytes, nv_free_bytes(tpm), NV_AREAS_MAX - tpm->perm.nv.count, NV_AREAS_MAX,
              NV_BYTES_MAX);
    return NULL;
}

static void read_area(struct sw *s, struct tpm *tpm, bool always)
{
    struct nv_area area = {.pub = {0}};
    size_t at = sw_at(s);
    const uint8_t *bytes;
    uint8_t *place;

    sw_tag(s, TPM_TAG_NV_DATA_SENSITIVE, "an NV area");
    read_public(s, &area.pub, always);
    sw_auth(s, &area.auth, "an NV area's secret");
    if (!sw_bad(s))
        expect_index(s, tpm, area.pub.nv_index, at);
    bytes = sw_bad(s) ? NULL : rd_take(&s->r, area.pub.data_size);
    sw_check(s, at, "an NV area's bytes");
    place = sw_bad(s) ? NULL : define(s, tpm, &area, at);
    if (place)
        memcpy(place, bytes, area.pub.data_size);
    vt_wipe(&area, sizeof area);
}

void swtpm_nv(struct sw *s, struct tpm *tpm)
{
    size_t at = sw_at(s);
    uint16_t version = sw_u16(s, "NV");
    uint32_t count = sw_u32(s, "NV");

    if (version != TAG_NV && version != TAG_NV_ALL_DIGESTS)
        sw_refuse(s, VT_ENOTSUP, at, "NV", "version %u, and this server knows %u and %u", version, TAG_NV_ALL_DIGESTS, TAG_NV);
    for (uint32_t i = 0; i < count && !sw_bad(s); i++)
        read_area(s, tpm, version == TAG_NV_ALL_DIGESTS);
}

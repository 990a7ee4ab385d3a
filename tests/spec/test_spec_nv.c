/* SPDX-License-Identifier: Apache-2.0 */
/* Part 3, chapter 20: NV storage. */
#include "server/engine/auth.h"
#include "tests/spec/spec_keys.h"

#define INDEX    0x1001u
#define OWNER_RW (TPM_NV_PER_OWNERREAD | TPM_NV_PER_OWNERWRITE)
#define AUTH_RW  (TPM_NV_PER_AUTHREAD | TPM_NV_PER_AUTHWRITE)

enum who { NOBODY, OWNER, STRANGER };

static struct tpm_nv_data_public area_of(uint32_t index, uint32_t size, uint32_t attributes)
{
    struct tpm_pcr_info_short anywhere = {.pcr_selection = {.size_of_select = 3},
                                          .locality_at_release = 0x1F};

    return (struct tpm_nv_data_public){
        .nv_index = index,
        .pcr_info_read = anywhere,
        .pcr_info_write = anywhere,
        .permission = {.attributes = attributes},
        .data_size = size,
    };
}

static struct vt_auth secret_of(enum who who)
{
    return who == OWNER ? SPEC_OWNER : tc_secret("wrong");
}

/* The area's secret is "area". */
static tpm_rc define_as(struct tc *tc, enum who who, const struct tpm_nv_data_public *pub)
{
    struct nv_define_space_in in = {.pub_info = *pub};
    struct vt_auth owner = secret_of(who), area = tc_secret("area");
    struct tc_session s;
    tpm_rc rc;

    if (who == NOBODY) {
        in.enc_auth = area;
        return TC(tc, TPM_ORD_NV_DefineSpace, &in, NULL);
    }
    rc = tc_osap(tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, &owner);
    if (rc)
        return rc;
    tc_encrypt_auth(&s, false, false, &area, &in.enc_auth);
    rc = TC(tc, TPM_ORD_NV_DefineSpace, &in, NULL, .auth = {&s});
    if (!rc)
        assert_int_equal(s.handle, 0);
    return rc;
}

static tpm_rc define(struct tc *tc, enum who who, uint32_t index, uint32_t size, uint32_t attributes)
{
    struct tpm_nv_data_public pub = area_of(index, size, attributes);

    return define_as(tc, who, &pub);
}

static tpm_rc put(struct tc *tc, enum who who, uint32_t index, uint32_t offset, const void *data,
                  uint32_t len)
{
    struct nv_write_value_in in = {.nv_index = index, .offset = offset, .data = {.len = len, .data = data}};
    struct vt_auth secret = secret_of(who);
    struct tc_session s;

    if (who == NOBODY)
        return TC(tc, TPM_ORD_NV_WriteValue, &in, NULL);
    assert_int_equal(tc_oiap(tc, &s, &secret), TPM_SUCCESS);
    s.ends = true;
    return TC(tc, TPM_ORD_NV_WriteValue, &in, NULL, .auth = {&s});
}

static tpm_rc get(struct tc *tc, enum who who, uint32_t index, uint32_t offset, uint32_t len,
                  struct tpm_blob *data)
{
    struct nv_read_value_in in = {.nv_index = index, .offset = offset, .data_size = len};
    struct vt_auth secret = secret_of(who);
    struct nv_read_value_out out = {{0}};
    struct tc_session s;
    tpm_rc rc;

    if (who == NOBODY) {
        rc = TC(tc, TPM_ORD_NV_ReadValue, &in, &out);
    } else {
        assert_int_equal(tc_oiap(tc, &s, &secret), TPM_SUCCESS);
        s.ends = true;
        rc = TC(tc, TPM_ORD_NV_ReadValue, &in, &out, .auth = {&s});
    }
    if (data)
        *data = out.data;
    return rc;
}

static tpm_rc write_auth(struct tc *tc, const char *secret, uint32_t offset, const void *data, uint32_t len)
{
    struct nv_write_value_auth_in in = {
        .nv_index = INDEX, .offset = offset, .data = {.len = len, .data = data}};
    struct vt_auth auth = tc_secret(secret);
    struct tc_session s;

    assert_int_equal(tc_oiap(tc, &s, &auth), TPM_SUCCESS);
    s.ends = true;
    return TC(tc, TPM_ORD_NV_WriteValueAuth, &in, NULL, .auth = {&s});
}

static tpm_rc read_auth(struct tc *tc, const char *secret, uint32_t offset, uint32_t len)
{
    struct nv_read_value_auth_in in = {.nv_index = INDEX, .offset = offset, .data_size = len};
    struct vt_auth auth = tc_secret(secret);
    struct tc_session s;

    assert_int_equal(tc_oiap(tc, &s, &auth), TPM_SUCCESS);
    s.ends = true;
    return TC(tc, TPM_ORD_NV_ReadValueAuth, &in, NULL, .auth = {&s});
}

/* ---- 20.1 TPM_NV_DefineSpace ---- */

/*= p3:20.1#3 p3:20.1#9 p3:20.1#11 */
static void test_define__by_the_owner__areas_that_may_be_and_may_not(void **state)
{
    static const struct {
        uint32_t index, size, attributes;
        tpm_rc rc;
    } rows[] = {
        {0x1000, 8, OWNER_RW, TPM_SUCCESS},
        {0x80001000, 8, OWNER_RW, TPM_SUCCESS}, /* T, P and U say only who defined it */
        {0x40001000, 8, OWNER_RW, TPM_SUCCESS},
        {0x20001000, 8, OWNER_RW, TPM_SUCCESS},
        {0x10001000, 8, OWNER_RW, TPM_BADINDEX}, /* D: the manufacturer's */
        {0x01001000, 8, OWNER_RW, TPM_BADINDEX},
        {TPM_NV_INDEX_DIR, 20, OWNER_RW, TPM_BADINDEX},
        {TPM_NV_INDEX0, 8, OWNER_RW, TPM_BADINDEX},
        {TPM_NV_INDEX_LOCK, 0, 0, TPM_BADINDEX},
        {0x1002, 8, TPM_NV_PER_OWNERWRITE | TPM_NV_PER_AUTHWRITE, TPM_AUTH_CONFLICT},
        {0x1002, 8, OWNER_RW | TPM_NV_PER_AUTHREAD, TPM_AUTH_CONFLICT},
        {0x1002, 8, 0, TPM_PER_NOWRITE},
        {0x1002, 8, TPM_NV_PER_OWNERREAD, TPM_PER_NOWRITE},
        {0x1002, 8, TPM_NV_PER_WRITEDEFINE, TPM_SUCCESS},
        {0x1003, 0, OWNER_RW, TPM_BAD_PARAM_SIZE},
        {0x1003, 28 * 1024, OWNER_RW, TPM_NOSPACE},
        {0x1003, 0xFFFFFFFF, OWNER_RW, TPM_NOSPACE},
        {TPM_NV_INDEX_TRIAL, 8, OWNER_RW, TPM_SUCCESS},
        {TPM_NV_INDEX_TRIAL, 0xFFFFFF00, OWNER_RW, TPM_NOSPACE},
    };
    struct tc *tc = *state;

    for (size_t i = 0; i < VT_COUNT(rows); i++)
        assert_int_equal(define(tc, OWNER, rows[i].index, rows[i].size, rows[i].attributes), rows[i].rc);
    assert_null(nv_find(tc->tpm, TPM_NV_INDEX_TRIAL));
    assert_int_equal(session_free_slots(tc->tpm), 16);
    assert_int_equal(define(tc, STRANGER, 0x1004, 8, OWNER_RW), TPM_AUTHFAIL);
}

/*= p3:20.1#7 p3:20.1#8 */
static void test_define__localities_that_cannot_be__invalid_structure(void **state)
{
    struct tpm_nv_data_public pub = area_of(INDEX, 8, OWNER_RW);
    struct tc *tc = *state;

    pub.pcr_info_read.locality_at_release = 0;
    assert_int_equal(define_as(tc, OWNER, &pub), TPM_INVALID_STRUCTURE);
    pub.pcr_info_read.locality_at_release = 0x1F;
    pub.pcr_info_write.locality_at_release = 0x20;
    assert_int_equal(define_as(tc, OWNER, &pub), TPM_INVALID_STRUCTURE);
    /* 8.b: a locality is also a way to write. */
    pub = area_of(INDEX, 8, 0);
    pub.pcr_info_write.locality_at_release = 1u << 2;
    assert_int_equal(define_as(tc, OWNER, &pub), TPM_SUCCESS);
    assert_int_equal(put(tc, NOBODY, INDEX, 0, "x", 1), TPM_BAD_LOCALITY);
    tc->locality = 2;
    assert_int_equal(put(tc, NOBODY, INDEX, 0, "x", 1), TPM_SUCCESS);
}

/*= p3:20.1#5 */
static void test_define__by_nobody__needs_presence_and_no_owner(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(define(tc, NOBODY, INDEX, 8, TPM_NV_PER_PPWRITE), TPM_BAD_PRESENCE);
    tc_assert_presence(tc);
    assert_int_equal(define(tc, NOBODY, INDEX, 0, TPM_NV_PER_PPWRITE), TPM_BAD_DATASIZE);
    assert_int_equal(define(tc, NOBODY, INDEX, 8, TPM_NV_PER_PPWRITE), TPM_SUCCESS);
    assert_int_equal(tc->tpm->perm.nv.no_owner_writes, 1);
    tc->tpm->perm.owned = true;
    tc->no_freeze = true; /* an owner without a root key does not thaw */
    assert_int_equal(define(tc, NOBODY, INDEX, 8, TPM_NV_PER_PPWRITE), TPM_OWNER_SET);
}

/*= p3:20.1#4.b */
static void test_define__under_oiap__bad_mode(void **state)
{
    struct nv_define_space_in in = {.pub_info = area_of(INDEX, 8, OWNER_RW)};
    struct vt_auth owner = SPEC_OWNER;
    struct tc_session s;

    assert_int_equal(tc_oiap(*state, &s, &owner), TPM_SUCCESS);
    assert_int_equal(TC(*state, TPM_ORD_NV_DefineSpace, &in, NULL, .auth = {&s}), TPM_BAD_MODE);
}

/*= p3:20.1#6 */
static void test_define__again__new_area_and_old_sessions_end(void **state)
{
    struct vt_auth area = tc_secret("area");
    struct tc *tc = *state;
    struct tpm_blob data;
    struct tc_session s;

    assert_int_equal(define(tc, OWNER, 0x1000, 16, OWNER_RW), TPM_SUCCESS);
    assert_int_equal(define(tc, OWNER, INDEX, 20000, OWNER_RW), TPM_SUCCESS);
    assert_int_equal(define(tc, OWNER, 0x1002, 16, OWNER_RW), TPM_SUCCESS);
    assert_int_equal(put(tc, OWNER, 0x1000, 0, "before", 6), TPM_SUCCESS);
    assert_int_equal(put(tc, OWNER, 0x1002, 0, "behind", 6), TPM_SUCCESS);
    assert_int_equal(put(tc, OWNER, INDEX, 0, "secret", 6), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_NV, INDEX, &area), TPM_SUCCESS);
    /* Room is counted without the old area; what does not fit leaves the old one alone. */
    assert_int_equal(define(tc, OWNER, INDEX, 29000, OWNER_RW), TPM_NOSPACE);
    assert_int_equal(get(tc, OWNER, INDEX, 0, 6, &data), TPM_SUCCESS);
    assert_memory_equal(data.data, "secret", 6);
    assert_int_equal(define(tc, OWNER, INDEX, 28000, OWNER_RW), TPM_SUCCESS);
    assert_int_equal(sk_flush(tc, s.handle, TPM_RT_AUTH), TPM_INVALID_AUTHHANDLE);
    assert_int_equal(get(tc, OWNER, INDEX, 0, 6, &data), TPM_SUCCESS);
    assert_true(spec_all(data.data, 6, 0xFF));
    /* The others' bytes moved with them. */
    assert_int_equal(get(tc, OWNER, 0x1000, 0, 6, &data), TPM_SUCCESS);
    assert_memory_equal(data.data, "before", 6);
    assert_int_equal(get(tc, OWNER, 0x1002, 0, 6, &data), TPM_SUCCESS);
    assert_memory_equal(data.data, "behind", 6);
}

/*= p3:20.1#6.d p3:20.1#6.g */
static void test_define__size_zero__released_and_wiped(void **state)
{
    struct tc *tc = *state;
    uint32_t room = nv_free_bytes(tc->tpm);

    assert_int_equal(define(tc, OWNER, INDEX, 64, OWNER_RW), TPM_SUCCESS);
    assert_int_equal(put(tc, OWNER, INDEX, 0, "secret", 6), TPM_SUCCESS);
    assert_int_equal(nv_free_bytes(tc->tpm), room - 64);
    assert_int_equal(define(tc, OWNER, INDEX, 0, OWNER_RW), TPM_SUCCESS);
    assert_int_equal(nv_free_bytes(tc->tpm), room);
    assert_true(spec_all(tc->tpm->perm.nv.data, 64, 0));
    assert_int_equal(get(tc, OWNER, INDEX, 0, 1, NULL), TPM_BADINDEX);
    assert_int_equal(put(tc, OWNER, INDEX, 0, "x", 1), TPM_BADINDEX);
    assert_int_equal(define(tc, OWNER, INDEX, 0, OWNER_RW), TPM_BAD_PARAM_SIZE);
}

/* As many areas as there is room for, and one more. */
static void test_define__all_areas_taken__nospace(void **state)
{
    struct tc *tc = *state;

    tc->no_freeze = true;
    for (uint32_t i = 0; i < NV_AREAS_MAX; i++)
        assert_int_equal(define(tc, OWNER, 0x2000 + i, 1, OWNER_RW), TPM_SUCCESS);
    assert_int_equal(define(tc, OWNER, INDEX, 1, OWNER_RW), TPM_NOSPACE);
    assert_int_equal(define(tc, OWNER, 0x2005, 2, OWNER_RW), TPM_SUCCESS);
    tc->no_freeze = false;
    tc_check_frozen(tc);
}

/* ---- nvLocked ---- */

/*= p3:20.1#1 p3:20.1#2 p3:20.2#1 p3:20.4#1 */
static void test_nv__before_it_is_locked__the_manufacturer_may(void **state)
{
    struct tc *tc = *state;
    struct tpm_blob data;

    tc->tpm->perm.flags.nv_locked = false;
    tc->tpm->perm.flags.disable = true;
    assert_int_equal(define(tc, NOBODY, 0x1000F000, 8, OWNER_RW), TPM_SUCCESS);
    assert_int_equal(put(tc, NOBODY, 0x1000F000, 0, "ek cert", 7), TPM_SUCCESS);
    assert_int_equal(get(tc, NOBODY, 0x1000F000, 0, 7, &data), TPM_SUCCESS);
    assert_memory_equal(data.data, "ek cert", 7);
    /* Index 0 is still none, and an area's own secret is still asked for. */
    assert_int_equal(define(tc, NOBODY, 0, 8, OWNER_RW), TPM_BADINDEX);
    assert_int_equal(define(tc, NOBODY, INDEX, 8, AUTH_RW), TPM_SUCCESS);
    assert_int_equal(put(tc, NOBODY, INDEX, 0, "x", 1), TPM_AUTH_CONFLICT);
    assert_int_equal(get(tc, NOBODY, INDEX, 0, 1, NULL), TPM_AUTH_CONFLICT);
    /* A session of an owner who is not there proves nothing. */
    assert_int_equal(put(tc, OWNER, 0x1000F000, 0, "x", 1), TPM_AUTHFAIL);
    assert_int_equal(define(tc, NOBODY, TPM_NV_INDEX_LOCK, 1, 0), TPM_BADINDEX);
    assert_false(tc->tpm->perm.flags.nv_locked);
    assert_int_equal(define(tc, NOBODY, TPM_NV_INDEX_LOCK, 0, 0), TPM_SUCCESS);
    assert_true(tc->tpm->perm.flags.nv_locked);
    assert_int_equal(put(tc, NOBODY, 0x1000F000, 0, "x", 1), TPM_DISABLED);
    assert_int_equal(get(tc, NOBODY, 0x1000F000, 0, 1, NULL), TPM_DISABLED);
    tc->tpm->perm.flags.disable = false;
    assert_int_equal(put(tc, NOBODY, 0x1000F000, 0, "x", 1), TPM_AUTH_CONFLICT);
    tc_assert_presence(tc);
    assert_int_equal(define(tc, NOBODY, 0x1000F000, 8, OWNER_RW), TPM_BADINDEX);
}

/* ---- Ranges ---- */

/*= p3:20.2#15 p3:20.4#11 */
static void test_nv__offsets_and_lengths__never_past_the_area(void **state)
{
    static const struct {
        uint32_t offset, len;
        bool inside;
    } rows[] = {
        {0, 16, true},           {15, 1, true},          {0, 17, false},          {16, 1, false},
        {1, 16, false},          {0xFFFFFFFF, 1, false}, {0xFFFFFFF8, 16, false}, {8, 9, false},
        {0x80000000, 16, false}, {17, 1, false},
    };
    static const uint8_t bytes[32];
    struct tc *tc = *state;

    assert_int_equal(define(tc, OWNER, INDEX, 16, OWNER_RW), TPM_SUCCESS);
    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        tpm_rc rc = rows[i].inside ? TPM_SUCCESS : TPM_NOSPACE;

        assert_int_equal(put(tc, OWNER, INDEX, rows[i].offset, bytes, rows[i].len), rc);
        assert_int_equal(get(tc, OWNER, INDEX, rows[i].offset, rows[i].len, NULL), rc);
    }
    /* offset + size wraps to something small. */
    assert_int_equal(get(tc, OWNER, INDEX, 8, 0xFFFFFFFF, NULL), TPM_NOSPACE);
    assert_int_equal(get(tc, OWNER, INDEX, 16, 0xFFFFFFF0, NULL), TPM_NOSPACE);
}

static void test_nv_read__more_than_a_response_holds__size(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(define(tc, OWNER, INDEX, 5000, OWNER_RW), TPM_SUCCESS);
    assert_int_equal(get(tc, OWNER, INDEX, 0, 5000, NULL), TPM_SIZE);
    assert_int_equal(get(tc, OWNER, INDEX, 1000, 4000, NULL), TPM_SUCCESS);
}

/* ---- Who may ---- */

/*= p3:20.2#4 p3:20.2#5 p3:20.2#7 p3:20.3#2 p3:20.4#4 p3:20.4#5 p3:20.5#2 */
static void test_nv__permissions__owner_area_secret_presence(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(define(tc, OWNER, INDEX, 8, OWNER_RW), TPM_SUCCESS);
    assert_int_equal(put(tc, OWNER, INDEX, 0, "x", 1), TPM_SUCCESS);
    assert_int_equal(put(tc, NOBODY, INDEX, 0, "x", 1), TPM_AUTH_CONFLICT);
    assert_int_equal(put(tc, STRANGER, INDEX, 0, "x", 1), TPM_AUTHFAIL);
    assert_int_equal(write_auth(tc, "area", 0, "x", 1), TPM_AUTH_CONFLICT);
    assert_int_equal(get(tc, NOBODY, INDEX, 0, 1, NULL), TPM_AUTH_CONFLICT);
    assert_int_equal(get(tc, STRANGER, INDEX, 0, 1, NULL), TPM_AUTHFAIL);
    assert_int_equal(read_auth(tc, "area", 0, 1), TPM_AUTH_CONFLICT);

    assert_int_equal(define(tc, OWNER, INDEX, 8, AUTH_RW), TPM_SUCCESS);
    assert_int_equal(write_auth(tc, "area", 0, "x", 1), TPM_SUCCESS);
    assert_int_equal(read_auth(tc, "area", 0, 1), TPM_SUCCESS);
    assert_int_equal(write_auth(tc, "wrong", 0, "x", 1), TPM_AUTHFAIL);
    assert_int_equal(read_auth(tc, "wrong", 0, 1), TPM_AUTHFAIL);
    assert_int_equal(put(tc, OWNER, INDEX, 0, "x", 1), TPM_AUTH_CONFLICT);
    assert_int_equal(put(tc, NOBODY, INDEX, 0, "x", 1), TPM_AUTH_CONFLICT);
    assert_int_equal(get(tc, OWNER, INDEX, 0, 1, NULL), TPM_AUTH_CONFLICT);
    assert_int_equal(get(tc, NOBODY, INDEX, 0, 1, NULL), TPM_AUTH_CONFLICT);

    assert_int_equal(define(tc, OWNER, INDEX, 8, TPM_NV_PER_PPWRITE | TPM_NV_PER_PPREAD), TPM_SUCCESS);
    assert_int_equal(put(tc, NOBODY, INDEX, 0, "x", 1), TPM_BAD_PRESENCE);
    assert_int_equal(get(tc, NOBODY, INDEX, 0, 1, NULL), TPM_BAD_PRESENCE);
    tc_assert_presence(tc);
    assert_int_equal(put(tc, NOBODY, INDEX, 0, "x", 1), TPM_SUCCESS);
    assert_int_equal(get(tc, NOBODY, INDEX, 0, 1, NULL), TPM_SUCCESS);
}

/*= p3:20.3#3 p3:20.5#3 */
static void test_nv_auth__osap_session_of_another_entity__authfail(void **state)
{
    struct nv_read_value_auth_in in = {.nv_index = INDEX, .data_size = 1};
    struct vt_auth area = tc_secret("area"), owner = SPEC_OWNER;
    struct tc *tc = *state;
    struct tc_session s;

    assert_int_equal(define(tc, OWNER, INDEX, 8, AUTH_RW), TPM_SUCCESS);
    assert_int_equal(define(tc, OWNER, 0x1002, 8, AUTH_RW), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_NV, INDEX, &area), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_NV_ReadValueAuth, &in, NULL, .auth = {&s}), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_NV, 0x1002, &area), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_NV_ReadValueAuth, &in, NULL, .auth = {&s}), TPM_AUTHFAIL);
    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_NV_ReadValueAuth, &in, NULL, .auth = {&s}), TPM_AUTHFAIL);
}

/*= p3:20.2#13 p3:20.4#9 */
static void test_nv__bound_to_pcrs__only_with_these_values(void **state)
{
    struct tpm_nv_data_public pub = area_of(INDEX, 8, OWNER_RW);
    struct tc *tc = *state;

    pub.pcr_info_write.pcr_selection = sk_pcr(5);
    pcr_composite_hash(tc->tpm, &pub.pcr_info_write.pcr_selection,
                       pub.pcr_info_write.digest_at_release.bytes);
    pub.pcr_info_read.pcr_selection = sk_pcr(6);
    pub.pcr_info_read.digest_at_release = pub.pcr_info_write.digest_at_release;
    assert_int_equal(define_as(tc, OWNER, &pub), TPM_SUCCESS);
    assert_int_equal(put(tc, OWNER, INDEX, 0, "x", 1), TPM_SUCCESS);
    /* Another PCR's composite is another digest. */
    assert_int_equal(get(tc, OWNER, INDEX, 0, 1, NULL), TPM_WRONGPCRVAL);
    assert_int_equal(spec_extend(tc, 5, 5), TPM_SUCCESS);
    assert_int_equal(put(tc, OWNER, INDEX, 0, "x", 1), TPM_WRONGPCRVAL);
}

/* ---- Locks ---- */

/*= p3:20.2#10 p3:20.2#14 */
static void test_nv__write_define__locked_for_ever(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(define(tc, OWNER, INDEX, 8, OWNER_RW | TPM_NV_PER_WRITEDEFINE), TPM_SUCCESS);
    assert_int_equal(put(tc, OWNER, INDEX, 0, "x", 1), TPM_SUCCESS);
    assert_int_equal(put(tc, OWNER, INDEX, 0xFFFFFFFF, "", 0), TPM_SUCCESS);
    assert_int_equal(tc->dirty & TPM_DIRTY_PERMANENT, TPM_DIRTY_PERMANENT);
    assert_int_equal(put(tc, OWNER, INDEX, 0, "x", 1), TPM_AREA_LOCKED);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(put(tc, OWNER, INDEX, 0, "x", 1), TPM_AREA_LOCKED);
}

/*= p3:20.2#12 p3:20.3#9 p3:20.1#6.c */
static void test_nv__write_st_clear__locked_until_the_next_start(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(define(tc, OWNER, INDEX, 8, AUTH_RW | TPM_NV_PER_WRITE_STCLEAR), TPM_SUCCESS);
    assert_int_equal(write_auth(tc, "area", 0, "", 0), TPM_SUCCESS);
    assert_int_equal(write_auth(tc, "area", 0, "x", 1), TPM_AREA_LOCKED);
    assert_int_equal(define(tc, OWNER, INDEX, 8, AUTH_RW), TPM_AREA_LOCKED);
    assert_int_equal(define(tc, OWNER, INDEX, 0, AUTH_RW), TPM_AREA_LOCKED);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(write_auth(tc, "area", 0, "x", 1), TPM_SUCCESS);
}

/*= p3:20.4#8 p3:20.4#10 p3:20.2#16 p3:20.5#7 */
static void test_nv__read_st_clear__unread_until_written_or_started(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(define(tc, OWNER, INDEX, 8, OWNER_RW | TPM_NV_PER_READ_STCLEAR), TPM_SUCCESS);
    assert_int_equal(get(tc, OWNER, INDEX, 0, 1, NULL), TPM_SUCCESS);
    assert_int_equal(tc->dirty & TPM_DIRTY_PERMANENT, 0);
    assert_int_equal(get(tc, OWNER, INDEX, 0, 0, NULL), TPM_SUCCESS);
    assert_int_equal(tc->dirty & TPM_DIRTY_PERMANENT, TPM_DIRTY_PERMANENT);
    assert_int_equal(get(tc, OWNER, INDEX, 0, 1, NULL), TPM_DISABLED_CMD);
    assert_int_equal(put(tc, OWNER, INDEX, 0, "x", 1), TPM_SUCCESS);
    assert_int_equal(get(tc, OWNER, INDEX, 0, 1, NULL), TPM_SUCCESS);
    assert_int_equal(get(tc, OWNER, INDEX, 0, 0, NULL), TPM_SUCCESS);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(get(tc, OWNER, INDEX, 0, 1, NULL), TPM_SUCCESS);
}

/*= p3:20.2#6 p3:20.2#11 p3:20.1#6.b */
static void test_nv__global_lock__all_areas_that_have_it(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(define(tc, OWNER, INDEX, 8, OWNER_RW | TPM_NV_PER_GLOBALLOCK), TPM_SUCCESS);
    assert_int_equal(define(tc, OWNER, 0x1002, 8, OWNER_RW), TPM_SUCCESS);
    assert_int_equal(put(tc, OWNER, TPM_NV_INDEX0, 0, "x", 1), TPM_BADINDEX);
    assert_int_equal(put(tc, STRANGER, TPM_NV_INDEX0, 0, "", 0), TPM_AUTHFAIL);
    assert_int_equal(put(tc, OWNER, INDEX, 0, "x", 1), TPM_SUCCESS);
    assert_int_equal(put(tc, NOBODY, TPM_NV_INDEX0, 0, "", 0), TPM_SUCCESS);
    assert_int_equal(tc->dirty & TPM_DIRTY_VOLATILE, TPM_DIRTY_VOLATILE);
    assert_int_equal(put(tc, OWNER, INDEX, 0, "x", 1), TPM_AREA_LOCKED);
    assert_int_equal(define(tc, OWNER, INDEX, 4, OWNER_RW), TPM_AREA_LOCKED);
    assert_int_equal(put(tc, OWNER, 0x1002, 0, "x", 1), TPM_SUCCESS);
    assert_int_equal(get(tc, OWNER, TPM_NV_INDEX0, 0, 0, NULL), TPM_BADINDEX);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(put(tc, OWNER, INDEX, 0, "x", 1), TPM_SUCCESS);
}

/*= p3:20.2#15.c */
static void test_nv__write_all__whole_areas_only(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(define(tc, OWNER, INDEX, 4, OWNER_RW | TPM_NV_PER_WRITEALL), TPM_SUCCESS);
    assert_int_equal(put(tc, OWNER, INDEX, 0, "abc", 3), TPM_NOT_FULLWRITE);
    assert_int_equal(put(tc, OWNER, INDEX, 1, "abcd", 4), TPM_NOSPACE);
    assert_int_equal(put(tc, OWNER, INDEX, 0, "abcd", 4), TPM_SUCCESS);
}

/* The same rules behind the area's own secret. */
/*= p3:20.3#4 p3:20.3#10 p3:20.3#11 p3:20.5#4 p3:20.5#9 */
static void test_nv_auth__presence_range_whole_and_read_lock__as_for_the_owner(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(define(tc, OWNER, INDEX, 4, AUTH_RW | TPM_NV_PER_PPREAD | TPM_NV_PER_PPWRITE |
                                                     TPM_NV_PER_WRITEALL | TPM_NV_PER_READ_STCLEAR),
                     TPM_SUCCESS);
    assert_int_equal(write_auth(tc, "area", 0, "abcd", 4), TPM_BAD_PRESENCE);
    assert_int_equal(read_auth(tc, "area", 0, 4), TPM_BAD_PRESENCE);
    tc_assert_presence(tc);
    assert_int_equal(write_auth(tc, "area", 1, "abcd", 4), TPM_NOSPACE);
    assert_int_equal(write_auth(tc, "area", 0, "abc", 3), TPM_NOT_FULLWRITE);
    assert_int_equal(write_auth(tc, "area", 0, "abcd", 4), TPM_SUCCESS);
    assert_int_equal(read_auth(tc, "area", 1, 4), TPM_NOSPACE);
    assert_int_equal(read_auth(tc, "area", 0, 0), TPM_SUCCESS);
    assert_int_equal(read_auth(tc, "area", 0, 4), TPM_DISABLED_CMD);
}

/* ---- Writes without an owner ---- */

/*= p3:20.2#5.b p3:20.1#5.d */
static void test_nv__without_an_owner__sixty_four_writes(void **state)
{
    struct tc *tc = *state;

    tc_assert_presence(tc);
    assert_int_equal(define(tc, NOBODY, INDEX, 8, TPM_NV_PER_PPWRITE), TPM_SUCCESS);
    for (unsigned i = 1; i < TPM_MAX_NV_WRITE_NOOWNER; i++)
        assert_int_equal(put(tc, NOBODY, INDEX, 0, "x", 1), TPM_SUCCESS);
    assert_int_equal(put(tc, NOBODY, INDEX, 0, "x", 1), TPM_MAXNVWRITES);
    assert_int_equal(define(tc, NOBODY, 0x1002, 8, TPM_NV_PER_PPWRITE), TPM_MAXNVWRITES);
    /* Not forgotten with the power; reading and refused commands do not count. */
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    tc_assert_presence(tc);
    assert_int_equal(put(tc, NOBODY, INDEX, 0, "x", 1), TPM_MAXNVWRITES);
    assert_int_equal(get(tc, NOBODY, INDEX, 0, 1, NULL), TPM_SUCCESS);
    assert_int_equal(tc->tpm->perm.nv.no_owner_writes, 64);
}

static void test_nv__with_an_owner__writes_are_not_counted(void **state)
{
    struct tc *tc = *state;

    tc_assert_presence(tc);
    assert_int_equal(define(tc, OWNER, INDEX, 8, TPM_NV_PER_PPWRITE), TPM_SUCCESS);
    for (unsigned i = 0; i < 70; i++)
        assert_int_equal(put(tc, NOBODY, INDEX, 0, "x", 1), TPM_SUCCESS);
}

/* ---- The DIR ---- */

/*= p3:20.2#2.a p3:20.4#2.a */
static void test_nv__dir_index__owner_writes_all_of_it_everybody_reads(void **state)
{
    static const uint8_t value[21] = {1, 2, 3, 4};
    struct tc *tc = *state;
    struct tpm_blob data;

    assert_int_equal(put(tc, NOBODY, TPM_NV_INDEX_DIR, 0, value, 20), TPM_AUTH_CONFLICT);
    assert_int_equal(put(tc, STRANGER, TPM_NV_INDEX_DIR, 0, value, 20), TPM_AUTHFAIL);
    assert_int_equal(put(tc, OWNER, TPM_NV_INDEX_DIR, 0, value, 19), TPM_NOT_FULLWRITE);
    assert_int_equal(put(tc, OWNER, TPM_NV_INDEX_DIR, 0, value, 21), TPM_NOT_FULLWRITE);
    assert_int_equal(put(tc, OWNER, TPM_NV_INDEX_DIR, 1, value, 20), TPM_NOT_FULLWRITE);
    assert_int_equal(put(tc, OWNER, TPM_NV_INDEX_DIR, 0, value, 0), TPM_SUCCESS);
    assert_int_equal(put(tc, OWNER, TPM_NV_INDEX_DIR, 0, value, 20), TPM_SUCCESS);
    assert_int_equal(get(tc, NOBODY, TPM_NV_INDEX_DIR, 1, 3, &data), TPM_SUCCESS);
    assert_memory_equal(data.data, value + 1, 3);
    assert_int_equal(get(tc, OWNER, TPM_NV_INDEX_DIR, 0, 20, NULL), TPM_SUCCESS);
    assert_int_equal(get(tc, STRANGER, TPM_NV_INDEX_DIR, 0, 20, NULL), TPM_AUTHFAIL);
    assert_int_equal(get(tc, NOBODY, TPM_NV_INDEX_DIR, 0, 21, NULL), TPM_NOSPACE);
    assert_int_equal(get(tc, NOBODY, TPM_NV_INDEX_DIR, 0xFFFFFFFF, 2, NULL), TPM_NOSPACE);
    assert_int_equal(get(tc, NOBODY, TPM_NV_INDEX_DIR, 2, 0xFFFFFFFF, NULL), TPM_NOSPACE);
}

/* Areas of others than the owner work while the TPM is disabled or deactivated. */
/*= p3:20.2#3 p3:20.4#3 */
static void test_nv__while_disabled__not_the_owners_areas(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(define(tc, OWNER, INDEX, 8, TPM_NV_PER_PPWRITE), TPM_SUCCESS);
    assert_int_equal(define(tc, OWNER, 0x1002, 8, OWNER_RW), TPM_SUCCESS);
    tc_assert_presence(tc);
    tc->tpm->stclear.flags.deactivated = true;
    assert_int_equal(put(tc, NOBODY, INDEX, 0, "x", 1), TPM_SUCCESS);
    assert_int_equal(get(tc, NOBODY, INDEX, 0, 1, NULL), TPM_SUCCESS);
    assert_int_equal(put(tc, OWNER, 0x1002, 0, "x", 1), TPM_DEACTIVATED);
    assert_int_equal(get(tc, OWNER, 0x1002, 0, 1, NULL), TPM_DEACTIVATED);
    assert_int_equal(put(tc, OWNER, TPM_NV_INDEX_DIR, 0, "x", 1), TPM_DEACTIVATED);
    assert_int_equal(define(tc, NOBODY, 0x1003, 8, TPM_NV_PER_PPWRITE), TPM_DEACTIVATED);
}

#define T(f)     cmocka_unit_test_setup_teardown(f, spec_setup, spec_teardown)
#define OWNED(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OWNED(test_define__by_the_owner__areas_that_may_be_and_may_not),
        OWNED(test_define__localities_that_cannot_be__invalid_structure),
        T(test_define__by_nobody__needs_presence_and_no_owner),
        OWNED(test_define__under_oiap__bad_mode),
        OWNED(test_define__again__new_area_and_old_sessions_end),
        OWNED(test_define__size_zero__released_and_wiped),
        OWNED(test_define__all_areas_taken__nospace),
        T(test_nv__before_it_is_locked__the_manufacturer_may),
        OWNED(test_nv__offsets_and_lengths__never_past_the_area),
        OWNED(test_nv_read__more_than_a_response_holds__size),
        OWNED(test_nv__permissions__owner_area_secret_presence),
        OWNED(test_nv_auth__osap_session_of_another_entity__authfail),
        OWNED(test_nv__bound_to_pcrs__only_with_these_values),
        OWNED(test_nv__write_define__locked_for_ever),
        OWNED(test_nv__write_st_clear__locked_until_the_next_start),
        OWNED(test_nv__read_st_clear__unread_until_written_or_started),
        OWNED(test_nv__global_lock__all_areas_that_have_it),
        OWNED(test_nv__write_all__whole_areas_only),
        OWNED(test_nv_auth__presence_range_whole_and_read_lock__as_for_the_owner),
        T(test_nv__without_an_owner__sixty_four_writes),
        OWNED(test_nv__with_an_owner__writes_are_not_counted),
        OWNED(test_nv__dir_index__owner_writes_all_of_it_everybody_reads),
        OWNED(test_nv__while_disabled__not_the_owners_areas),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

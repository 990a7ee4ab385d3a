/* SPDX-License-Identifier: Apache-2.0 */
/* NV index 0x1000F000: the platform puts the endorsement key's certificate there, guests read it and no more. */
#include "server/engine/auth.h"
#include "tests/spec/spec_keys.h"

#define INDEX 0x1000F000u

static uint8_t der[TPM_EK_CERT_MAX + 1];

static int setup(void **state)
{
    for (size_t i = 0; i < sizeof der; i++)
        der[i] = (uint8_t)(i * 7 + (i >> 8));
    return spec_setup_off(state);
}

static void on(struct tc *tc)
{
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
}

static void own(struct tc *tc)
{
    struct vt_auth srk = SPEC_SRK;

    tc->tpm->perm.owned = true;
    tc->tpm->perm.owner_auth = SPEC_OWNER;
    tc->tpm->perm.srk.handle = TPM_KH_SRK;
    tc->tpm->perm.srk.key = spec_key(6, TPM_KEY_STORAGE, &srk);
}

static tpm_rc read_at(struct tc *tc, uint32_t offset, uint32_t len, struct tpm_blob *data)
{
    struct nv_read_value_in in = {.nv_index = INDEX, .offset = offset, .data_size = len};
    struct nv_read_value_out out = {{0}};
    tpm_rc rc = TC(tc, TPM_ORD_NV_ReadValue, &in, &out);

    *data = out.data;
    return rc;
}

static void check_there(struct tc *tc, uint32_t len)
{
    uint8_t head[7] = {0x10, 0x01, 0, (uint8_t)((len + 2) >> 8), (uint8_t)(len + 2), 0x10, 0x02};
    struct tpm_blob data;

    assert_int_equal(read_at(tc, 0, len + 7, &data), TPM_SUCCESS);
    assert_int_equal(data.len, len + 7);
    assert_memory_equal(data.data, head, sizeof head);
    assert_memory_equal(data.data + 7, der, len);
    assert_int_equal(read_at(tc, 1, len + 7, &data), TPM_NOSPACE);
}

static struct tpm_nv_data_public area_of(uint32_t index, uint32_t size, uint32_t attributes)
{
    struct tpm_pcr_info_short anywhere = {.pcr_selection = {.size_of_select = 3}, .locality_at_release = 0x1F};

    return (struct tpm_nv_data_public){.nv_index = index,
                                       .pcr_info_read = anywhere,
                                       .pcr_info_write = anywhere,
                                       .permission = {.attributes = attributes},
                                       .data_size = size};
}

static tpm_rc define(struct tc *tc, uint32_t index, uint32_t size)
{
    struct nv_define_space_in in = {.pub_info = area_of(index, size, TPM_NV_PER_OWNERWRITE | TPM_NV_PER_OWNERREAD)};
    struct vt_auth owner = SPEC_OWNER, area = tc_secret("area");
    struct tc_session s;

    assert_int_equal(tc_osap(tc, &s, TPM_ET_OWNER, TPM_KH_OWNER, &owner), TPM_SUCCESS);
    tc_encrypt_auth(&s, false, false, &area, &in.enc_auth);
    return TC(tc, TPM_ORD_NV_DefineSpace, &in, NULL, .auth = {&s});
}

/*= p3:20.4#2 p3:20.1#3 */
static void test_ek_cert__installed__guests_read_it_and_no_more(void **state)
{
    struct nv_write_value_in write = {.nv_index = INDEX, .data = {.len = 1, .data = der}};
    struct nv_write_value_in lock = {.nv_index = INDEX};
    struct vt_auth owner = SPEC_OWNER;
    struct tc *tc = *state;
    struct tpm_blob list;

    assert_int_equal(tpm_install_ek_certificate(tc->tpm, der, 1500), VT_OK);
    tc_check_frozen(tc);
    on(tc);
    check_there(tc, 1500);
    assert_int_equal(spec_cap(tc, TPM_CAP_NV_LIST, NULL, 0, &list), TPM_SUCCESS);
    assert_int_equal(list.len, 4);
    assert_memory_equal(list.data, ((uint8_t[]){0x10, 0, 0xF0, 0}), 4);
    /* Nobody writes, physical presence or not. */
    tc_assert_presence(tc);
    assert_int_equal(TC(tc, TPM_ORD_NV_WriteValue, &write, NULL), TPM_AREA_LOCKED);
    assert_int_equal(TC(tc, TPM_ORD_NV_WriteValue, &lock, NULL), TPM_AREA_LOCKED);
    own(tc);
    assert_int_equal(spec_one(tc, TPM_ORD_NV_WriteValue, &write, NULL, 0, &owner), TPM_AUTH_CONFLICT);
    assert_int_equal(define(tc, INDEX, 8), TPM_BADINDEX);
    assert_int_equal(define(tc, INDEX, 0), TPM_BADINDEX);
    check_there(tc, 1500);
    /* It is not the owner's. */
    assert_int_equal(spec_one(tc, TPM_ORD_OwnerClear, NULL, NULL, 0, &owner), TPM_SUCCESS);
    on(tc);
    check_there(tc, 1500);
}

/* The guest's NV has all of its bytes, and a full NV leaves the certificate alone. */
static void test_ek_cert__installed__takes_nothing_of_nv_bytes(void **state)
{
    struct tc *tc = *state;
    uint32_t all = tc->tpm->perm.profile.nv_bytes;

    assert_int_equal(tpm_install_ek_certificate(tc->tpm, der, TPM_EK_CERT_MAX), VT_OK);
    on(tc);
    own(tc);
    assert_int_equal(spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_NV_AVAILABLE), all);
    assert_int_equal(define(tc, 0x1001, all + 1), TPM_NOSPACE);
    assert_int_equal(define(tc, 0x1001, all - 10), TPM_SUCCESS);
    assert_int_equal(spec_cap_number(tc, TPM_CAP_PROPERTY, TPM_CAP_PROP_NV_AVAILABLE), 10);
    assert_int_equal(define(tc, 0x1002, 11), TPM_NOSPACE);
    assert_int_equal(define(tc, 0x1002, 10), TPM_SUCCESS);
    assert_int_equal(define(tc, 0x1003, 1), TPM_NOSPACE);
    assert_int_equal(define(tc, 0x1001, all - 11), TPM_SUCCESS);
    assert_int_equal(define(tc, 0x1003, 1), TPM_SUCCESS);
    check_there(tc, TPM_EK_CERT_MAX);
}

/* With the largest NV there can be, it still freezes and thaws. */
static void test_ek_cert__nv_at_its_capacity__fits(void **state)
{
    struct tc *tc = *state;

    tc->tpm->perm.profile.nv_bytes = NV_BYTES_MAX;
    assert_int_equal(tpm_install_ek_certificate(tc->tpm, der, TPM_EK_CERT_MAX), VT_OK);
    on(tc);
    own(tc);
    assert_int_equal(define(tc, 0x1001, NV_BYTES_MAX), TPM_SUCCESS);
    assert_int_equal(define(tc, 0x1002, 1), TPM_NOSPACE);
    check_there(tc, TPM_EK_CERT_MAX);
}

static void test_ek_cert__wrong_time_or_length__refused(void **state)
{
    struct tc *tc = *state;

    assert_int_equal(tpm_install_ek_certificate(tc->tpm, der, 0), VT_EUSAGE);
    assert_int_equal(tpm_install_ek_certificate(tc->tpm, der, TPM_EK_CERT_MAX + 1), VT_EUSAGE);
    tc->tpm->perm.has_ek = false;
    assert_int_equal(tpm_install_ek_certificate(tc->tpm, der, 100), VT_EUSAGE);
    tc->tpm->perm.has_ek = true;
    on(tc);
    assert_int_equal(tpm_install_ek_certificate(tc->tpm, der, 100), VT_ECONFLICT);
    tpm_power_off(tc->tpm);
    own(tc);
    assert_int_equal(tpm_install_ek_certificate(tc->tpm, der, 100), VT_ECONFLICT);
    tc->tpm->perm.owned = false;
    assert_int_equal(tc->tpm->perm.nv.count, 0);
    assert_int_equal(tpm_install_ek_certificate(tc->tpm, der, 100), VT_OK);
    assert_int_equal(tpm_install_ek_certificate(tc->tpm, der, 100), VT_ECONFLICT);
    on(tc);
    check_there(tc, 100);
}

/* A certificate is of one key: it goes with that key (Part 3, 14.3). */
static void test_ek_cert__key_revoked__gone(void **state)
{
    struct tc *tc = *state;
    struct revoke_trust_in in = {.ek_reset = {{0}}};

    assert_int_equal(tpm_install_ek_certificate(tc->tpm, der, 100), VT_OK);
    on(tc);
    tc->tpm->perm.ek_revocable = true;
    tc->tpm->perm.flags.enable_revoke_ek = true;
    tc_assert_presence(tc);
    assert_int_equal(TC(tc, TPM_ORD_RevokeTrust, &in, NULL), TPM_SUCCESS);
    assert_null(nv_find(tc->tpm, INDEX));
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_ek_cert__installed__guests_read_it_and_no_more),
        T(test_ek_cert__installed__takes_nothing_of_nv_bytes),
        T(test_ek_cert__nv_at_its_capacity__fits),
        T(test_ek_cert__wrong_time_or_length__refused),
        T(test_ek_cert__key_revoked__gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

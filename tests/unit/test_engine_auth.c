/* SPDX-License-Identifier: Apache-2.0 */
/* What handlers get from auth.h, called as they call it: second sessions, hidden secrets, ended sessions. */
#include "server/engine/auth.h"
#include "server/base/alloc.h"
#include "tests/spec/spec.h"

/* A command with two sessions for the owner, one OIAP and one OSAP, both proved right. */
struct scene {
    struct cmd c;
    struct vt_auth secret[2];
};

static void prove(struct scene *s, unsigned index)
{
    struct auth_use *use = &s->c.auth[index];
    uint8_t keep = use->keep;

    cr_hmac_sha1v(use->hmac, s->secret[index].bytes, 20,
                  (struct cr_slice[]){CR_SLICE(s->c.in_digest, 20), CR_SLICE(use->session->nonce_even, 20),
                                      CR_SLICE(use->nonce_odd, 20), CR_SLICE(&keep, 1)},
                  4);
}

static struct scene *scene(struct tc *tc, uint8_t adip)
{
    struct vt_auth owner = SPEC_OWNER;
    struct scene *s = VT_NEW(struct scene);
    struct tc_session oiap, osap;

    assert_non_null(s);
    assert_int_equal(tc_oiap(tc, &oiap, &owner), TPM_SUCCESS);
    assert_int_equal(tc_osap(tc, &osap, (uint16_t)(TPM_ET_OWNER | adip << 8), 0, &owner), TPM_SUCCESS);
    s->c.tpm = tc->tpm;
    s->c.row = cmd_row_find(TPM_ORD_ChangeAuth);
    s->c.auth_count = 2;
    s->c.auth[0] = (struct auth_use){.handle = oiap.handle, .keep = true, .nonce_odd = {1}};
    s->c.auth[1] = (struct auth_use){.handle = osap.handle, .keep = true, .nonce_odd = {2}};
    s->secret[0] = owner;
    s->secret[1] = osap.secret;
    for (unsigned i = 0; i < 2; i++) {
        s->c.auth[i].session = session_find(tc->tpm, s->c.auth[i].handle);
        prove(s, i);
    }
    return s;
}

static void test_check__both_right__success_once(void **state)
{
    struct tc *tc = *state;
    struct scene *s = scene(tc, TPM_ET_XOR);
    struct auth_entity owner = auth_entity_owner(tc->tpm);

    assert_int_equal(cmd_check_auth(&s->c, 0, &owner), TPM_SUCCESS);
    assert_false(auth_all_checked(&s->c));
    assert_int_equal(cmd_check_auth(&s->c, 1, &owner), TPM_SUCCESS);
    assert_true(auth_all_checked(&s->c));
    vt_free(s);
}

static void test_check__second_wrong__auth2fail(void **state)
{
    struct tc *tc = *state;
    struct scene *s = scene(tc, TPM_ET_XOR);
    struct auth_entity owner = auth_entity_owner(tc->tpm);

    s->c.auth[1].hmac[19] ^= 1;
    assert_int_equal(cmd_check_auth(&s->c, 0, &owner), TPM_SUCCESS);
    assert_int_equal(cmd_check_auth(&s->c, 1, &owner), TPM_AUTH2FAIL);
    assert_true(s->c.wrong_guess);
    auth_failed(&s->c);
    assert_null(session_find(tc->tpm, s->c.auth[0].handle));
    assert_null(session_find(tc->tpm, s->c.auth[1].handle));
    assert_int_equal(tc->tpm->perm.da.failures, 1);
    vt_free(s);
}

static void test_check__osap_of_another_number__auth2fail_without_guess(void **state)
{
    struct tc *tc = *state;
    struct scene *s = scene(tc, TPM_ET_XOR);
    struct vt_auth secret = SPEC_OWNER;
    struct auth_entity other = auth_entity_number(TPM_ET_NV, 7, &secret);

    assert_int_equal(cmd_check_auth(&s->c, 1, &other), TPM_AUTH2FAIL);
    assert_false(s->c.wrong_guess);
    vt_free(s);
}

static void decrypt_with(struct tc *tc, uint8_t adip)
{
    struct scene *s = scene(tc, adip);
    struct auth_entity owner = auth_entity_owner(tc->tpm);
    struct vt_auth plain = tc_secret("new"), enc, out;
    struct tc_session view = {.secret = s->secret[1]};

    assert_int_equal(cmd_check_auth(&s->c, 0, &owner), TPM_SUCCESS);
    assert_int_equal(cmd_check_auth(&s->c, 1, &owner), TPM_SUCCESS);
    memcpy(view.even.bytes, s->c.auth[1].session->nonce_even, 20);
    memcpy(view.odd.bytes, s->c.auth[1].nonce_odd, 20);
    for (unsigned odd = 0; odd < 2; odd++) {
        tc_encrypt_auth(&view, odd, adip == TPM_ET_AES128_CTR, &plain, &enc);
        assert_memory_not_equal(&enc, &plain, sizeof enc);
        assert_int_equal(cmd_decrypt_auth(&s->c, 1, odd, &enc, &out), TPM_SUCCESS);
        assert_memory_equal(&out, &plain, sizeof out);
    }
    /* A session that hid a secret ends. OIAP cannot hide any. */
    assert_false(s->c.auth[1].keep);
    assert_int_equal(cmd_decrypt_auth(&s->c, 0, false, &enc, &out), TPM_BAD_MODE);
    vt_free(s);
}

static void test_decrypt__xor__even_then_odd_nonce(void **state)
{
    decrypt_with(*state, TPM_ET_XOR);
}

static void test_decrypt__aes__even_then_odd_nonce(void **state)
{
    decrypt_with(*state, TPM_ET_AES128_CTR);
}

/* The pipeline's side of it: what a row asks of its sessions. */
static void test_request__same_session_twice_or_oiap_for_osap__refused(void **state)
{
    struct tc *tc = *state;
    struct scene *s = scene(tc, TPM_ET_XOR);

    s->c.keys[0] = &tc->tpm->perm.srk;
    assert_int_equal(auth_check_request(&s->c), TPM_BAD_MODE);
    s->c.auth[0] = s->c.auth[1];
    s->c.keys[0]->key.usage_auth = SPEC_OWNER;
    assert_int_equal(auth_check_request(&s->c), TPM_AUTHFAIL);
    s->c.row = cmd_row_find(TPM_ORD_EstablishTransport);
    s->c.auth_count = 1;
    assert_int_equal(auth_check_request(&s->c), TPM_SUCCESS);
    vt_free(s);
}

/* An entity that goes away during the command: the response is proved, and says that the session ended. */
static void test_response__session_closed_by_handler__not_continued(void **state)
{
    struct tc *tc = *state;
    struct scene *s = scene(tc, TPM_ET_XOR);
    struct auth_entity owner = auth_entity_owner(tc->tpm);
    uint8_t bytes[2 * TPM_AUTH_OUT_LEN];
    struct wr w = wr_to(bytes, sizeof bytes);

    assert_int_equal(cmd_check_auth(&s->c, 0, &owner), TPM_SUCCESS);
    assert_int_equal(cmd_check_auth(&s->c, 1, &owner), TPM_SUCCESS);
    session_close_owner(tc->tpm);
    auth_write_response(&s->c, &w);
    assert_false(w.bad);
    assert_int_equal(w.len, sizeof bytes);
    assert_int_equal(bytes[TPM_DIGEST_LEN], 1);
    assert_int_equal(bytes[TPM_AUTH_OUT_LEN + TPM_DIGEST_LEN], 0);
    vt_free(s);
}

/* A session that there is not: the command's own reasons come first, then it is told; it proves nothing. */
static void test_no_session__handler_proves__its_own_reasons_first(void **state)
{
    struct nv_read_value_in nv = {.nv_index = 0x7777, .data_size = 1};
    struct release_counter_in counter = {.count_id = 3};
    struct owner_set_disable_in pipeline = {.disable_state = true};
    struct set_capability_in set = {.cap_area = TPM_SET_PERM_FLAGS};
    struct tc_session none = {.handle = 0x02777777, .secret = SPEC_OWNER};
    struct tc *tc = *state;

    assert_int_equal(TC(tc, TPM_ORD_NV_ReadValue, &nv, NULL, .auth = {&none}), TPM_BADINDEX);
    nv.nv_index = TPM_NV_INDEX_DIR;
    assert_int_equal(TC(tc, TPM_ORD_NV_ReadValue, &nv, NULL, .auth = {&none}), TPM_INVALID_AUTHHANDLE);
    assert_int_equal(TC(tc, TPM_ORD_ReleaseCounter, &counter, NULL, .auth = {&none}), TPM_BAD_COUNTER);
    assert_int_equal(TC(tc, TPM_ORD_SetCapability, &set, NULL, .auth = {&none}), TPM_INVALID_AUTHHANDLE);
    assert_int_equal(TC(tc, TPM_ORD_OwnerSetDisable, &pipeline, NULL, .auth = {&none}), TPM_INVALID_AUTHHANDLE);
    /* No guess at anybody's secret, and the owner's chance to end a lock-out is not spent. */
    assert_int_equal(TC(tc, TPM_ORD_ResetLockValue, NULL, NULL, .auth = {&none}), TPM_INVALID_AUTHHANDLE);
    assert_int_equal(tc->tpm->perm.da.failures, 0);
    assert_int_equal(tc->tpm->perm.da.reset_failures, 0);
}

static void test_no_session__no_owner__invalid_authhandle(void **state)
{
    struct nv_read_value_in nv = {.nv_index = TPM_NV_INDEX_DIR, .data_size = 1};
    struct tc_session none = {.handle = 0x02777777}, zeros;
    struct set_capability_in set = {.cap_area = TPM_SET_PERM_FLAGS};
    struct vt_auth nobody = {{0}};
    struct tc *tc = *state;

    assert_int_equal(TC(tc, TPM_ORD_SetCapability, &set, NULL, .auth = {&none}), TPM_INVALID_AUTHHANDLE);
    assert_int_equal(TC(tc, TPM_ORD_NV_ReadValue, &nv, NULL, .auth = {&none}), TPM_INVALID_AUTHHANDLE);
    /* Nobody's secret is not one. */
    assert_int_equal(tc_oiap(tc, &zeros, &nobody), TPM_SUCCESS);
    assert_int_equal(TC(tc, TPM_ORD_SetCapability, &set, NULL, .auth = {&zeros}), TPM_AUTHFAIL);
}

#define UNOWNED(f) cmocka_unit_test_setup_teardown(f, spec_setup, spec_teardown)
#define OWNED(f) cmocka_unit_test_setup_teardown(f, spec_setup_owned, spec_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OWNED(test_check__both_right__success_once),
        OWNED(test_check__second_wrong__auth2fail),
        OWNED(test_check__osap_of_another_number__auth2fail_without_guess),
        OWNED(test_decrypt__xor__even_then_odd_nonce),
        OWNED(test_decrypt__aes__even_then_odd_nonce),
        OWNED(test_request__same_session_twice_or_oiap_for_osap__refused),
        OWNED(test_no_session__handler_proves__its_own_reasons_first),
        UNOWNED(test_no_session__no_owner__invalid_authhandle),
        OWNED(test_response__session_closed_by_handler__not_continued),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Every kind of secret, and every way to prove it, counts when it is wrong. */
#include "tests/unit/secret_kinds.h"

static void check_kind(struct secret_world *w, const struct secret_kind *kind)
{
    const struct da_state *da = &w->tc->tpm->perm.da;
    struct vt_auth right = tc_secret(kind->secret), wrong = tc_secret("wrong");
    uint32_t before = da->failures;
    tpm_rc rc = kind->use(w, &right);

    if (rc)
        fail_msg("%s: right, but %x", kind->name, rc);
    da = &w->tc->tpm->perm.da;
    before = kind->use == secret_of_reset ? 0 : before;
    assert_int_equal(da->failures, before);
    rc = kind->use(w, &wrong);
    da = &w->tc->tpm->perm.da;
    if (rc != (kind->use == secret_of_data ? TPM_AUTH2FAIL : TPM_AUTHFAIL) || da->failures != before + 1)
        fail_msg("%s: wrong, but %x and a count of %u after %u", kind->name, rc, da->failures, before);
}

static void test_wrong_guess__each_kind__counts_one(void **state)
{
    struct secret_world *w = *state;

    for (size_t i = 0; i < secret_kinds_count; i++) {
        check_kind(w, &secret_kinds[i]);
        /* Out of every lock-out. */
        w->tc->now_us += (uint64_t)DA_LOCK_MAX_S * 1000000;
    }
}

/* One budget for all of them. */
static void test_wrong_guess__five_of_different_kinds__locked(void **state)
{
    static const unsigned five[] = {0, 4, 6, 9, 11};
    struct vt_auth wrong = tc_secret("wrong"), right = tc_secret("key");
    struct secret_world *w = *state;

    for (size_t i = 0; i < VT_COUNT(five); i++)
        assert_int_equal(secret_kinds[five[i]].use(w, &wrong), TPM_AUTHFAIL);
    assert_int_equal(secret_of_key(w, &right), TPM_DEFEND_LOCK_RUNNING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_wrong_guess__each_kind__counts_one,
                                        secret_world_setup, secret_world_teardown),
        cmocka_unit_test_setup_teardown(test_wrong_guess__five_of_different_kinds__locked,
                                        secret_world_setup, secret_world_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

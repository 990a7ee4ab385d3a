/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A private key is made ready once, when a command first needs it, and kept while it is loaded; what is kept is in no
 * frozen byte; and a fault in it leaves nothing but an error. Through a double of the back end: cr_rsa_open is ours by
 * the linker's --wrap, and opens into a back end that counts and that can compute one half of the CRT wrongly.
 */
#include "server/crypto/backend.h"
#include "tests/spec/spec_keys.h"

int __real_cr_rsa_open(struct cr_rsa **rsa, const struct cr_rsa_key *key);
int __wrap_cr_rsa_open(struct cr_rsa **rsa, const struct cr_rsa_key *key);

static struct {
    struct cr_backend backend;
    int loads, frees, operations;
    bool is_faulty;
    struct cr_rsa_key key; /* the last one: a fault is made from its prime */
} seen;

static int count_load(void **impl, const struct cr_rsa_key *key, const struct cr_rsa_parts *parts)
{
    seen.loads++;
    seen.key = *key;
    return CR_BACKEND.rsa_load(impl, key, parts);
}

static void count_free(void *impl)
{
    seen.frees += impl != NULL;
    CR_BACKEND.rsa_free(impl);
}

/* Right modulo p and wrong modulo q: n and the difference of result^e have p in common. */
static int private_op(void *impl, const struct cr_rsa_pub *pub, const uint8_t *in, uint8_t *out)
{
    uint8_t sum[CR_RSA_MAX + 1], one = 1;
    int err = CR_BACKEND.rsa_private(impl, pub, in, out);

    seen.operations++;
    if (!seen.is_faulty)
        return err;
    assert_memory_equal(pub->n, seen.key.pub.n, pub->bytes);
    assert_int_equal(cr_num_mul_add(sum, pub->bytes + 1u, CR_SLICE(out, pub->bytes),
                                    CR_SLICE(seen.key.p, pub->bytes / 2u), CR_SLICE(&one, 1), CR_SLICE(NULL, 0)), VT_OK);
    assert_int_equal(cr_num_mod(out, pub->bytes, CR_SLICE(sum, pub->bytes + 1u), CR_SLICE(pub->n, pub->bytes)), VT_OK);
    return err;
}

int __wrap_cr_rsa_open(struct cr_rsa **rsa, const struct cr_rsa_key *key)
{
    return cr_rsa_open_with(&seen.backend, rsa, key);
}

static int setup(void **state)
{
    struct tc *tc;
    int rc = spec_setup_owned(state);

    memset(&seen, 0, sizeof seen);
    seen.backend = CR_BACKEND;
    seen.backend.rsa_load = count_load;
    seen.backend.rsa_free = count_free;
    seen.backend.rsa_private = private_op;
    tc = *state;
    tc->no_freeze = true;
    return rc;
}

/* Whatever was made ready in between has been given back. */
static int teardown(void **state)
{
    int rc = spec_teardown(state);

    return rc || seen.loads != seen.frees;
}

static void sign(struct tc *tc, uint32_t key, tpm_rc expected)
{
    static const uint8_t digest[TPM_DIGEST_LEN] = {7};
    struct tpm_blob sig;

    assert_int_equal(sk_sign(tc, key, digest, sizeof digest, &sig), expected);
    if (expected)
        assert_int_equal(tc->rsp_len, TPM_HEADER_LEN);
}

static tpm_rc quote(struct tc *tc, uint32_t key)
{
    struct quote_in in = {.external_data = {{1}}, .target_pcr = {.size_of_select = 3, .pcr_select = {1}}};
    struct vt_auth auth = tc_secret("key");

    return spec_one(tc, TPM_ORD_Quote, &in, NULL, key, &auth);
}

/* ---- Once, and kept ---- */

static void test_kept__many_commands__each_key_made_ready_once(void **state)
{
    struct vt_auth srk = SPEC_SRK, data = tc_secret("data");
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct sk_sealed sealed;
    struct sk_key wrapped;
    struct tc *tc = *state;
    uint32_t key, same;

    /* TPM_CreateWrapKey needs the SRK's public half only, TPM_LoadKey2 the private one, and not yet the key's own. */
    key = sk_loaded(tc, &info, &wrapped);
    assert_int_equal(seen.loads, 1);
    assert_int_equal(seen.operations, 1);
    assert_int_equal(sk_load(tc, TPM_KH_SRK, &srk, &wrapped, &same), TPM_SUCCESS);
    assert_int_equal(seen.loads, 1);
    for (int i = 0; i < 3; i++) {
        sign(tc, key, TPM_SUCCESS);
        assert_int_equal(quote(tc, key), TPM_SUCCESS);
    }
    assert_int_equal(seen.loads, 2);
    assert_int_equal(sk_seal(tc, TPM_KH_SRK, &srk, &sk_nothing, "text", 4, &sealed), TPM_SUCCESS);
    for (int i = 0; i < 3; i++)
        assert_int_equal(sk_unseal(tc, TPM_KH_SRK, &srk, &data, &sealed, NULL), TPM_SUCCESS);
    assert_int_equal(seen.loads, 2);
    assert_int_equal(seen.operations, 1 + 1 + 6 + 3);
    assert_int_equal(seen.frees, 0);
}

static void test_kept__key_flushed_or_tpm_init__given_back(void **state)
{
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct sk_key wrapped;
    struct tc *tc = *state;
    uint32_t key = sk_loaded(tc, &info, &wrapped);
    struct vt_auth srk = SPEC_SRK;

    sign(tc, key, TPM_SUCCESS);
    assert_int_equal(sk_flush(tc, key, TPM_RT_KEY), TPM_SUCCESS);
    assert_int_equal(seen.frees, 1);
    assert_int_equal(sk_load(tc, TPM_KH_SRK, &srk, &wrapped, &key), TPM_SUCCESS);
    sign(tc, key, TPM_SUCCESS);
    assert_int_equal(seen.loads, 3);
    assert_int_equal(tc_reboot(tc, TPM_ST_CLEAR), TPM_SUCCESS);
    assert_int_equal(seen.frees, 2);
}

/* ---- Not in the state ---- */

static void on_seen(struct tc *tc, void *arg)
{
    static uint8_t bytes[TPM_FROZEN_PERMANENT_MAX + TPM_FROZEN_VOLATILE_MAX];
    size_t permanent = TPM_FROZEN_PERMANENT_MAX, rest = TPM_FROZEN_VOLATILE_MAX;
    uint8_t *digest = arg;

    assert_int_equal(tpm_freeze_permanent(tc->tpm, bytes, &permanent), VT_OK);
    assert_int_equal(tpm_freeze_volatile(tc->tpm, bytes + permanent, &rest), VT_OK);
    cr_sha256v(digest,
               (struct cr_slice[]){CR_SLICE(digest, CR_SHA256_LEN), CR_SLICE(tc->rsp, tc->rsp_len),
                                   CR_SLICE(bytes, permanent + rest)}, 3);
}

/* All answers and all states of one session, in one digest. */
static void record(bool no_freeze, uint8_t digest[CR_SHA256_LEN])
{
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct vt_auth srk = SPEC_SRK, data = tc_secret("data");
    struct sk_sealed sealed;
    struct sk_key wrapped;
    void *state;
    struct tc *tc;
    uint32_t key;

    assert_int_equal(setup(&state), 0);
    tc = state;
    tc->no_freeze = no_freeze;
    tc->seen = on_seen;
    tc->seen_arg = digest;
    memset(digest, 0, CR_SHA256_LEN);
    key = sk_loaded(tc, &info, &wrapped);
    sign(tc, key, TPM_SUCCESS);
    assert_int_equal(quote(tc, key), TPM_SUCCESS);
    assert_int_equal(sk_seal(tc, TPM_KH_SRK, &srk, &sk_nothing, "text", 4, &sealed), TPM_SUCCESS);
    assert_int_equal(sk_unseal(tc, TPM_KH_SRK, &srk, &data, &sealed, NULL), TPM_SUCCESS);
    sign(tc, key, TPM_SUCCESS);
    assert_int_equal(teardown(&state), 0);
}

static void test_kept__thawed_after_every_command__same_answers_and_states(void **state VT_UNUSED)
{
    uint8_t kept[CR_SHA256_LEN], thawed[CR_SHA256_LEN];

    record(true, kept);
    assert_int_equal(seen.loads, 2);
    record(false, thawed);
    assert_int_equal(seen.loads, 5); /* for each command that needs one: LoadKey2, Sign, Quote, Unseal, Sign */
    assert_memory_equal(kept, thawed, sizeof kept);
}

/* ---- Faults ---- */

static void test_fault__in_one_half_of_the_crt__an_error_and_nothing_else(void **state)
{
    struct vt_auth srk = SPEC_SRK, data = tc_secret("data");
    struct tpm_key info = sk_template(TPM_KEY_SIGNING);
    struct sk_sealed sealed;
    struct sk_key wrapped;
    struct tc *tc = *state;
    uint32_t key, none;

    assert_int_equal(sk_seal(tc, TPM_KH_SRK, &srk, &sk_nothing, "text", 4, &sealed), TPM_SUCCESS);
    key = sk_loaded(tc, &info, &wrapped);
    seen.is_faulty = true;
    assert_int_equal(sk_unseal(tc, TPM_KH_SRK, &srk, &data, &sealed, NULL), TPM_NOTSEALED_BLOB);
    assert_int_equal(tc->rsp_len, TPM_HEADER_LEN);
    assert_int_equal(sk_load(tc, TPM_KH_SRK, &srk, &wrapped, &none), TPM_DECRYPT_ERROR);
    sign(tc, key, TPM_FAIL);
    assert_int_equal(quote(tc, key), TPM_FAIL);
    assert_int_equal(tc->rsp_len, TPM_HEADER_LEN);
    /* It passes, and what is kept is still good. */
    seen.is_faulty = false;
    sign(tc, key, TPM_SUCCESS);
    assert_int_equal(sk_unseal(tc, TPM_KH_SRK, &srk, &data, &sealed, NULL), TPM_SUCCESS);
    assert_int_equal(seen.loads, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kept__many_commands__each_key_made_ready_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kept__key_flushed_or_tpm_init__given_back, setup, teardown),
        cmocka_unit_test(test_kept__thawed_after_every_command__same_answers_and_states),
        cmocka_unit_test_setup_teardown(test_fault__in_one_half_of_the_crt__an_error_and_nothing_else, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

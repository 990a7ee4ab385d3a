/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No branch and no address depends on a secret: it is poisoned as memory that was never set, and valgrind's count of
 * complaints must stand where it stood. What is public is said explicitly: the outcome of a comparison and the verdict
 * on a padding (vt_ct_public), and a whole response once it is made. Without valgrind it only shows that all of it
 * still works.
 *
 * Not covered: the RSA operation itself (libcrypto's and mbedTLS's blind it, and their arithmetic branches on blinded
 * numbers), and AES under a poisoned key (by instruction where the processor has it, else by tables).
 */
#include <stdio.h>

#include <valgrind/memcheck.h>

#include "server/crypto/rsa.h"
#include "server/engine/transport.h"
#include "tests/spec/spec_migration.h"
#include "tests/unit/secret_kinds.h"

#define POISON(object) (void)VALGRIND_MAKE_MEM_UNDEFINED(&(object), sizeof(object))
#define PUBLIC(object) (void)VALGRIND_MAKE_MEM_DEFINED(&(object), sizeof(object))

void vt_ct_public(void *ptr, size_t len)
{
    (void)VALGRIND_MAKE_MEM_DEFINED(ptr, len);
}

static unsigned long complaints;

static int setup(void **state VT_UNUSED)
{
    complaints = VALGRIND_COUNT_ERRORS;
    return 0;
}

static void no_complaints(const char *what)
{
    unsigned long now = VALGRIND_COUNT_ERRORS;

    if (now != complaints)
        fail_msg("%s: %lu branches or addresses depend on it (see above)", what, now - complaints);
}

/* ---- Comparison and HMAC ---- */

static void test_timing__compare__no_branch(void **state VT_UNUSED)
{
    for (unsigned differs = 0; differs <= 20; differs++) {
        uint8_t a[20] = {0}, b[20] = {0};
        bool equal;

        if (differs < 20)
            b[differs] = 1;
        POISON(a);
        equal = vt_ct_equal(a, b, sizeof a);
        PUBLIC(equal);
        assert_int_equal(equal, differs == 20);
    }
    no_complaints("a comparison");
}

static void test_timing__hmac__no_branch(void **state VT_UNUSED)
{
    uint8_t key[20] = {1}, sha1[CR_SHA1_LEN], again[CR_SHA1_LEN], sha256[CR_SHA256_LEN];

    for (size_t len = 0; len <= 200; len += 25) {
        uint8_t text[200] = {2};

        cr_hmac_sha1v(again, key, sizeof key, &CR_SLICE(text, len), 1);
        POISON(key);
        POISON(text);
        cr_hmac_sha1v(sha1, key, sizeof key, &CR_SLICE(text, len), 1);
        cr_hmac_sha256v(sha256, key, sizeof key, &CR_SLICE(text, len), 1);
        assert_true(vt_ct_equal(sha1, again, sizeof sha1));
        PUBLIC(key);
    }
    no_complaints("an HMAC's key or text");
}

/* ---- Paddings: the whole decryption, over a back end whose private operation gives what the test wants ---- */

static struct {
    uint8_t em[CR_RSA_MAX], cipher[CR_RSA_MAX];
} made;

static int fake_private(void *impl VT_UNUSED, const struct cr_rsa_pub *pub, const uint8_t *in VT_UNUSED, uint8_t *out)
{
    memcpy(out, made.em, pub->bytes);
    (void)VALGRIND_MAKE_MEM_UNDEFINED(out, pub->bytes);
    return VT_OK;
}

static int fake_public(void *impl VT_UNUSED, const struct cr_rsa_pub *pub, const uint8_t *in VT_UNUSED, uint8_t *out)
{
    memcpy(out, made.cipher, pub->bytes);
    return VT_OK;
}

static const struct cr_backend fake = {.rsa_private = fake_private, .rsa_public = fake_public};

typedef int (*decrypt_fn)(struct cr_rsa *rsa, uint8_t *out, size_t *out_len);

static int decrypt_oaep(struct cr_rsa *rsa, uint8_t *out, size_t *out_len)
{
    return cr_rsa_oaep_decrypt(rsa, "TCPA", 4, made.cipher, rsa->pub.bytes, out, out_len);
}

static int decrypt_pkcs1(struct cr_rsa *rsa, uint8_t *out, size_t *out_len)
{
    return cr_rsa_pkcs1_decrypt(rsa, made.cipher, rsa->pub.bytes, out, out_len);
}

static int decrypt(decrypt_fn fn)
{
    struct cr_rsa rsa = {.backend = &fake, .pub = fixture_rsa_key(2048, 0)->pub};
    uint8_t out[CR_RSA_MAX];
    size_t len = 0;
    int err = fn(&rsa, out, &len);

    if (!err)
        assert_int_equal(len, 20);
    return err;
}

static struct cr_slice twenty(void)
{
    return CR_SLICE("twenty bytes of text", 20);
}

static void test_timing__oaep_of_every_fault__no_branch(void **state VT_UNUSED)
{
    struct cr_drbg drbg = {.k = {1}};
    uint8_t seed[CR_SHA1_LEN] = {3}, label[CR_SHA1_LEN], other[CR_SHA1_LEN];

    cr_sha1(label, "TCPA", 4);
    cr_sha1(other, "TCPB", 4);
    cr_pad_oaep(made.em, CR_RSA_MAX, CR_SLICE("TCPA", 4), twenty(), &drbg);
    assert_int_equal(decrypt(decrypt_oaep), VT_OK);
    /* The first byte; the label; a byte among the zeros. */
    made.em[0] = 1;
    assert_int_equal(decrypt(decrypt_oaep), VT_ECRYPTO);
    made.em[0] = 0;
    assert_int_equal(cr_oaep_encode(made.em + 1, CR_RSA_MAX - 1, other, seed, twenty().ptr, 20), VT_OK);
    assert_int_equal(decrypt(decrypt_oaep), VT_ECRYPTO);
    assert_int_equal(cr_oaep_encode(made.em + 1, CR_RSA_MAX - 1, label, seed, twenty().ptr, 20), VT_OK);
    made.em[60] ^= 2;
    assert_int_equal(decrypt(decrypt_oaep), VT_ECRYPTO);
    no_complaints("an OAEP padding");
}

static void test_timing__bare_oaep__no_branch(void **state VT_UNUSED)
{
    uint8_t em[198], label[CR_SHA1_LEN] = {5}, seed[CR_SHA1_LEN] = {6};
    size_t at;

    for (unsigned fault = 0; fault < 2; fault++) {
        assert_int_equal(cr_oaep_encode(em, sizeof em, label, seed, twenty().ptr, 20), VT_OK);
        em[100] ^= (uint8_t)fault;
        POISON(em);
        assert_int_equal(cr_oaep_decode(em, sizeof em, label, seed, &at), fault ? VT_ECRYPTO : VT_OK);
        PUBLIC(label);
        PUBLIC(seed);
    }
    no_complaints("an OAEP padding without its first byte");
}

static void test_timing__pkcs1_of_every_fault__no_branch(void **state VT_UNUSED)
{
    static const struct {
        unsigned at;
        uint8_t value;
    } faults[] = {{0, 1}, {1, 1}, {5, 0}, {CR_RSA_MAX - 21, 7}};
    struct cr_drbg drbg = {.k = {1}};

    cr_pad_pkcs1(made.em, CR_RSA_MAX, twenty(), &drbg);
    assert_int_equal(decrypt(decrypt_pkcs1), VT_OK);
    for (size_t i = 0; i < VT_COUNT(faults); i++) {
        cr_pad_pkcs1(made.em, CR_RSA_MAX, twenty(), &drbg);
        made.em[faults[i].at] = faults[i].value;
        assert_int_equal(decrypt(decrypt_pkcs1), VT_ECRYPTO);
    }
    no_complaints("a PKCS #1 padding");
}

/* ---- Commands ---- */

static bool poisons;

static void poison_key(struct key_slot *slot)
{
    POISON(slot->key.usage_auth);
    POISON(slot->key.migration_auth);
}

/* Whoever knows one of these may do something. */
static void poison(struct tpm *tpm)
{
    struct permanent *perm = &tpm->perm;

    POISON(perm->owner_auth);
    POISON(perm->operator_auth);
    POISON(perm->tpm_proof);
    POISON(perm->ek_reset);
    poison_key(&perm->ek);
    poison_key(&perm->srk);
    for (size_t i = 0; i < KEY_SLOTS_MAX; i++)
        poison_key(&tpm->keys[i]);
    for (size_t i = 0; i < COUNTERS_MAX; i++)
        POISON(perm->counters[i].auth);
    for (size_t i = 0; i < DELEGATE_ROWS_MAX; i++)
        POISON(perm->delegates[i].auth);
    for (size_t i = 0; i < VT_COUNT(perm->nv.areas); i++)
        POISON(perm->nv.areas[i].auth);
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        POISON(tpm->stany.sessions[i].secret);
}

void __real_tpm_execute(struct tpm *tpm, uint8_t locality, uint64_t now_us, const uint8_t *cmd, size_t cmd_len,
                        uint8_t *rsp, size_t *rsp_len, unsigned *dirty);
void __wrap_tpm_execute(struct tpm *tpm, uint8_t locality, uint64_t now_us, const uint8_t *cmd, size_t cmd_len,
                        uint8_t *rsp, size_t *rsp_len, unsigned *dirty);

/* Its length, code and handles must be known; the rest is HMACs. */
void __wrap_tpm_execute(struct tpm *tpm, uint8_t locality, uint64_t now_us, const uint8_t *cmd, size_t cmd_len,
                        uint8_t *rsp, size_t *rsp_len, unsigned *dirty)
{
    if (poisons)
        poison(tpm);
    __real_tpm_execute(tpm, locality, now_us, cmd, cmd_len, rsp, rsp_len, dirty);
    (void)VALGRIND_CHECK_VALUE_IS_DEFINED(*rsp_len);
    (void)VALGRIND_CHECK_MEM_IS_DEFINED(rsp, TPM_HEADER_LEN);
    (void)VALGRIND_MAKE_MEM_DEFINED(rsp, *rsp_len);
    /* A hash of what was in responses. */
    PUBLIC(tpm->stclear.audit_digest);
}

static int setup_world(void **state)
{
    int err = secret_world_setup(state);
    struct secret_world *w = *state;

    w->tc->no_freeze = true;
    poisons = true;
    return err || setup(NULL);
}

static int teardown_world(void **state)
{
    poisons = false;
    return secret_world_teardown(state);
}

static void test_timing__every_kind_of_proof__no_branch(void **state)
{
    struct secret_world *w = *state;
    struct vt_auth wrong = tc_secret("wrong");

    for (size_t i = 0; i < secret_kinds_count; i++) {
        struct vt_auth right = tc_secret(secret_kinds[i].secret);

        assert_int_equal(secret_kinds[i].use(w, &right), TPM_SUCCESS);
        assert_int_not_equal(secret_kinds[i].use(w, &wrong), TPM_SUCCESS);
        no_complaints(secret_kinds[i].name);
        w->tc->now_us += (uint64_t)DA_LOCK_MAX_S * 1000000;
    }
}

/* ---- What the TPM made itself, and knows again ---- */

/* Of sealed data and of keys that do not migrate. The RSA operations are on what was made before. */
static void test_timing__owner_proof_in_blobs__no_branch(void **state)
{
    struct secret_world *w = *state;
    struct vt_auth srk = SPEC_SRK, data = tc_secret("data");
    struct sk_key key;
    uint32_t handle;

    poisons = false;
    sm_make(w->tc, 0, &key);
    poisons = true;
    assert_int_equal(sk_load(w->tc, TPM_KH_SRK, &srk, &key, &handle), TPM_SUCCESS);
    assert_int_equal(sk_unseal(w->tc, TPM_KH_SRK, &srk, &data, &w->sealed, NULL), TPM_SUCCESS);
    /* Of another owner's time. */
    w->tc->tpm->perm.tpm_proof.bytes[9] ^= 1;
    assert_int_not_equal(sk_load(w->tc, TPM_KH_SRK, &srk, &key, &handle), TPM_SUCCESS);
    assert_int_equal(sk_unseal(w->tc, TPM_KH_SRK, &srk, &data, &w->sealed, NULL), TPM_NOTSEALED_BLOB);
    no_complaints("tpmProof in a blob");
}

static void test_timing__migration_ticket__no_branch(void **state)
{
    struct secret_world *w = *state;
    struct vt_auth srk = SPEC_SRK, migration = tc_secret("migration");
    struct create_migration_blob_in in = {.migration_type = TPM_MS_REWRAP};
    struct tpm_pubkey to = sm_pubkey(3);
    struct sk_key key;

    poisons = false;
    sm_make(w->tc, TPM_MIGRATABLE, &key);
    poisons = true;
    in.enc_data = key.key.enc_data;
    assert_int_equal(sm_authorize(w->tc, &to, TPM_MS_REWRAP, &in.migration_key_auth), TPM_SUCCESS);
    assert_int_equal(sm_create(w->tc, TPM_KH_SRK, &srk, &migration, &in, NULL), TPM_SUCCESS);
    in.migration_key_auth.digest.bytes[0] ^= 1;
    assert_int_equal(sm_create(w->tc, TPM_KH_SRK, &srk, &migration, &in, NULL), TPM_AUTHFAIL);
    no_complaints("a ticket for migration");
}

static void test_timing__saved_context__no_branch(void **state)
{
    struct secret_world *w = *state;
    struct save_context_in in = {.resource_type = TPM_RT_KEY};
    struct load_context_in back = {.keep_handle = false};
    struct save_context_out out;
    uint8_t bytes[2048];

    assert_int_equal(TC(w->tc, TPM_ORD_SaveContext, &in, &out, .handles = {w->key}), TPM_SUCCESS);
    memcpy(bytes, out.context_blob.data, out.context_blob.len);
    back.context_blob = (struct tpm_blob){.len = out.context_blob.len, .data = bytes};
    assert_int_equal(TC(w->tc, TPM_ORD_LoadContext, &back, NULL, .handles = {0}), TPM_SUCCESS);
    bytes[out.context_blob.len - 1] ^= 1;
    assert_int_not_equal(TC(w->tc, TPM_ORD_LoadContext, &back, NULL, .handles = {0}), TPM_SUCCESS);
    no_complaints("a saved context");
}

static void test_timing__value_of_a_revocable_ek__no_branch(void **state)
{
    struct secret_world *w = *state;
    struct revoke_trust_in in = {.ek_reset = {{1}}};

    w->tc->tpm->perm.ek_revocable = true;
    assert_int_equal(TC(w->tc, TPM_ORD_RevokeTrust, &in, NULL), TPM_AUTHFAIL);
    no_complaints("the value that revokes an EK");
}

#define WORLD(test) cmocka_unit_test_setup_teardown(test, setup_world, teardown_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_timing__compare__no_branch, setup),
        cmocka_unit_test_setup(test_timing__hmac__no_branch, setup),
        cmocka_unit_test_setup(test_timing__oaep_of_every_fault__no_branch, setup),
        cmocka_unit_test_setup(test_timing__bare_oaep__no_branch, setup),
        cmocka_unit_test_setup(test_timing__pkcs1_of_every_fault__no_branch, setup),
        WORLD(test_timing__every_kind_of_proof__no_branch),
        WORLD(test_timing__owner_proof_in_blobs__no_branch),
        WORLD(test_timing__migration_ticket__no_branch),
        WORLD(test_timing__saved_context__no_branch),
        WORLD(test_timing__value_of_a_revocable_ek__no_branch),
    };

    if (!RUNNING_ON_VALGRIND)
        puts("not under valgrind: nothing is poisoned (tests/timing/run)");
    return cmocka_run_group_tests(tests, NULL, NULL);
}

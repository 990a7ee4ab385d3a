/* SPDX-License-Identifier: Apache-2.0 */
#include <seccomp.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/fixture_keys.h"
#include "tests/unit/crypto_test.h"

static void test_init__again__same_outcome(void **state)
{
    (void)state;
    assert_int_equal(cr_init(), 0);
    assert_int_equal(cr_init(), 0);
}

static void test_backend__named__has_versions(void **state)
{
    (void)state;
    assert_non_null(strstr(cr_backend(), "mbedTLS "));
#ifdef VTPM_HAVE_LIBCRYPTO
    assert_non_null(strstr(cr_backend(), "libcrypto 3."));
#else
    assert_null(strstr(cr_backend(), "libcrypto"));
#endif
}

static void test_self_test__sound_library__passes(void **state)
{
    struct vt_why why = { "" };

    (void)state;
    assert_int_equal(cr_self_test(&why), 0);
    assert_string_equal(why.text, "");
    assert_int_equal(cr_self_test(NULL), 0);
}

/* No file may be opened and no socket made: whoever tries dies of SIGSYS. */
static bool forbid_files(void)
{
    static const int calls[] = { SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(socket), SCMP_SYS(stat),
                                 SCMP_SYS(newfstatat), SCMP_SYS(readlink), SCMP_SYS(access) };
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

    for (size_t i = 0; i < VT_COUNT(calls); i++)
        if (seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, calls[i], 0) < 0)
            return false;
    return seccomp_load(filter) == 0;
}

static bool use_everything(void)
{
    struct vt_key key = { { 1 } };
    uint8_t nonce[CR_GCM_NONCE] = { 1 }, tag[CR_GCM_TAG], out[CR_RSA_MAX] = { 0 }, sig[CR_RSA_MAX];
    const struct cr_rsa_key *fixture = fixture_rsa_key(2048, 0);
    struct cr_drbg drbg;
    CR_SECRET_RSA made;
    struct cr_rsa *rsa;
    size_t len;
    bool ok;

    start_drbg(&drbg, "child");
    if (cr_gcm_seal(&key, nonce, "a", 1, out, 100, out, tag) ||
        cr_gcm_open(&key, nonce, "a", 1, out, 100, tag, out) ||
        cr_aes128_ctr(key.bytes, key.bytes, out, 100, out) || cr_os_random(out, 16) ||
        cr_rsa_load(&rsa, fixture))
        return false;
    ok = !cr_rsa_sign(rsa, CR_SIG_PKCS1_SHA1, out, CR_SHA1_LEN, sig) &&
         !cr_rsa_verify(&fixture->pub, CR_SIG_PKCS1_SHA1, out, CR_SHA1_LEN, sig, 256) &&
         !cr_rsa_oaep_encrypt(&fixture->pub, "TCPA", 4, "x", 1, &drbg, sig) &&
         !cr_rsa_oaep_decrypt(rsa, "TCPA", 4, sig, 256, out, &len) && len == 1 &&
         !cr_rsa_generate(&made, 512, 65537, &drbg);
    cr_rsa_free(rsa);
    return ok;
}

static void test_sandbox__forked_after_self_test__opens_no_file(void **state)
{
    int status = -1;
    pid_t child;

    (void)state;
    assert_int_equal(cr_self_test(NULL), 0);
    child = fork();
    assert_true(child >= 0);
    if (!child) {
        if (!forbid_files())
            _exit(2);
        _exit(use_everything() ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init__again__same_outcome),
        cmocka_unit_test(test_backend__named__has_versions),
        cmocka_unit_test(test_self_test__sound_library__passes),
        cmocka_unit_test(test_sandbox__forked_after_self_test__opens_no_file),
    };

    return cmocka_run_group_tests(tests, init_crypto, NULL);
}

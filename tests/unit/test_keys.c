/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/core/store/keys.h"

static const struct vt_key master = {{0x11, 0x22}};
static const struct vt_uuid store = {{1}}, store2 = {{2}}, inst = {{3}}, inst2 = {{4}};

static struct keys *make(const struct vt_key *m, const struct vt_uuid *s)
{
    struct vt_why why = {0};
    struct keys *keys;

    if (keys_new(&keys, m, s, &why))
        fail_msg("%s", why.text);
    return keys;
}

static void test_instance_key__other_place__does_not_open(void **state)
{
    struct keys *a = make(&master, &store), *b = make(&master, &store2), *c;
    struct vt_key in = {{5, 6}}, out, other = master;
    uint8_t wrapped[SEAL_KEY_LEN];

    (void)state;
    other.bytes[0] ^= 1;
    c = make(&other, &store);
    assert_int_equal(keys_wrap_instance(a, &inst, &in, wrapped), VT_OK);
    assert_int_equal(keys_unwrap_instance(a, &inst, wrapped, sizeof wrapped, &out), VT_OK);
    assert_memory_equal(&in, &out, sizeof in);
    assert_int_equal(keys_unwrap_instance(a, &inst2, wrapped, sizeof wrapped, &out), VT_EDAMAGED);
    assert_int_equal(keys_unwrap_instance(b, &inst, wrapped, sizeof wrapped, &out), VT_EDAMAGED);
    assert_int_equal(keys_unwrap_instance(c, &inst, wrapped, sizeof wrapped, &out), VT_EDAMAGED);
    assert_int_equal(keys_unwrap_instance(a, &inst, wrapped, sizeof wrapped - 1, &out), VT_EDAMAGED);
    keys_free(a);
    keys_free(b);
    keys_free(c);
}

static void test_psk__other_identity_or_version__does_not_open(void **state)
{
    struct keys *a = make(&master, &store);
    struct vt_key in = {{5, 6}}, out;
    uint8_t sealed[SEAL_KEY_LEN];

    (void)state;
    assert_int_equal(keys_seal_psk(a, "host:one", 3, &in, sealed), VT_OK);
    assert_int_equal(keys_open_psk(a, "host:one", 3, sealed, sizeof sealed, &out), VT_OK);
    assert_memory_equal(&in, &out, sizeof in);
    assert_int_equal(keys_open_psk(a, "host:two", 3, sealed, sizeof sealed, &out), VT_EDAMAGED);
    assert_int_equal(keys_open_psk(a, "host:one", 4, sealed, sizeof sealed, &out), VT_EDAMAGED);
    assert_int_equal(keys_unwrap_instance(a, &inst, sealed, sizeof sealed, &out), VT_EDAMAGED);
    keys_free(a);
}

static void test_decoy__is_stable_and_differs(void **state)
{
    struct keys *a = make(&master, &store), *b = make(&master, &store2);
    struct vt_key x, y;

    (void)state;
    keys_decoy(a, "nobody", &x);
    keys_decoy(a, "nobody", &y);
    assert_memory_equal(&x, &y, sizeof x);
    keys_decoy(a, "nobody2", &y);
    assert_memory_not_equal(&x, &y, sizeof x);
    keys_decoy(b, "nobody", &y);
    assert_memory_not_equal(&x, &y, sizeof x);
    keys_free(a);
    keys_free(b);
}

static void test_mac__every_input_counts(void **state)
{
    struct keys *a = make(&master, &store), *b = make(&master, &store2);
    const struct db_mac *m = keys_mac(a), *n = keys_mac(b);
    uint8_t digest[32] = {1}, out[7][32];

    (void)state;
    m->row(m->ctx, "bytes", 5, out[0]);
    m->row(m->ctx, "bytes", 4, out[1]);
    m->event(m->ctx, "bytes", 5, out[2]);
    n->row(n->ctx, "bytes", 5, out[3]);
    m->seal(m->ctx, digest, 1, 2, out[4]);
    m->seal(m->ctx, digest, 2, 1, out[5]);
    digest[31] = 1;
    m->seal(m->ctx, digest, 1, 2, out[6]);
    for (size_t i = 0; i < 7; i++)
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(out[i], out[j], 32);
    m->row(m->ctx, "bytes", 5, out[1]);
    assert_memory_equal(out[0], out[1], 32);
    keys_free(a);
    keys_free(b);
}

static void test_keys__accessors(void **state)
{
    struct keys *a = make(&master, &store);
    struct vt_uuid uuid;

    (void)state;
    keys_store_uuid(a, &uuid);
    assert_memory_equal(&uuid, &store, sizeof uuid);
    assert_memory_equal(keys_master(a), &master, sizeof master);
    keys_free(a);
    keys_free(NULL);
}

/* "VmLck:   4 kB" */
static long locked_kb(void)
{
    char line[256];
    long kb = -1;
    FILE *f = fopen("/proc/self/status", "r");

    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (strncmp(line, "VmLck:", 6) == 0)
            kb = strtol(line + 6, NULL, 10);
    fclose(f);
    return kb;
}

static void test_keys__lie_in_locked_memory(void **state)
{
    long before = locked_kb();
    struct keys *a = make(&master, &store);

    (void)state;
    if (locked_kb() == before) {
        /* Sanitizers replace mlock by nothing. */
        keys_free(a);
        skip();
    }
    assert_true(locked_kb() > before);
    keys_free(a);
    assert_int_equal(locked_kb(), before);
}

/* In a process of its own: it gives up its rights. */
static int without_memlock(void)
{
    struct rlimit none = {0, 0};
    struct vt_why why = {0};
    struct keys *keys;

    if (setrlimit(RLIMIT_MEMLOCK, &none) || (geteuid() == 0 && setresuid(65534, 65534, 65534)))
        return 2;
    if (keys_new(&keys, &master, &store, &why) != VT_ENOMEM)
        return 3;
    return strstr(why.text, "LimitMEMLOCK") && !keys ? 0 : 4;
}

static void test_keys_new__memory_cannot_be_locked__says_what_to_do(void **state)
{
    int status;
    pid_t pid;

    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip();
#endif
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(without_memlock());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_instance_key__other_place__does_not_open),
        cmocka_unit_test(test_psk__other_identity_or_version__does_not_open),
        cmocka_unit_test(test_decoy__is_stable_and_differs),
        cmocka_unit_test(test_mac__every_input_counts),
        cmocka_unit_test(test_keys__accessors),
        cmocka_unit_test(test_keys__lie_in_locked_memory),
        cmocka_unit_test(test_keys_new__memory_cannot_be_locked__says_what_to_do),
    };

    return cr_init() || cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

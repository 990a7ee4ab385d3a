/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vtpm-server init`: each allocation, file operation, call for entropy and thread fails once. It then says why, leaves
 * nothing behind, and works the next time.
 */
#include "tests/fault/countdown.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/core/keyslot/keyslot.h"
#include "server/crypto/crypto.h"

struct place {
    char dir[64], data[80], key[80];
    struct keyslot_spec spec;
};

static int init(struct place *place, struct vt_why *why)
{
    char recovery[RECOVERY_TEXT];

    return store_init(place->data, &place->spec, 1, recovery, why);
}

static void nothing_left(const struct place *place, int err, const struct vt_why *why)
{
    if (!why->text[0])
        fail_msg("call %ld failed: init says %d and not why", count_nth(), err);
    if (access(place->data, F_OK) == 0 || access(place->key, F_OK) == 0)
        fail_msg("call %ld failed: init says \"%s\" and leaves something behind", count_nth(), why->text);
}

static void scenario(void *arg)
{
    struct place *place = arg;
    struct vt_why why = {""};
    char command[200];
    int err;

    count_begin();
    err = init(place, &why);
    (void)count_end();
    if (err) {
        nothing_left(place, err, &why);
        memset(&why, 0, sizeof why);
        if (init(place, &why))
            fail_msg("call %ld had failed: init says \"%s\"", count_nth(), why.text);
    }
    assert_int_equal(init(place, &why), VT_EEXISTS);
    snprintf(command, sizeof command, "rm -rf '%s' '%s'", place->data, place->key);
    assert_int_equal(system(command), 0);
}

static void test_init__each_fault__all_or_nothing(void **state)
{
    static const struct {
        enum fault fault;
        const char *name;
        long stride;
    } kinds[] = {{FAULT_ALLOC, "init, alloc", 1},         {FAULT_ENTROPY, "init, entropy", 1},
                 {FAULT_FILE, "init, file", 1},           {FAULT_FORK, "init, thread", 1},
                 {FAULT_STORE, "init, store file", 1},    {FAULT_LIBCRYPTO, "init, libcrypto", 1},
                 {FAULT_SQLITE, "init, sqlite memory", 163}};
    struct place place = {.dir = "/tmp/vtpm-init-XXXXXX"};
    struct vt_why why = {""};
    char spec[100];

    (void)state;
    assert_non_null(mkdtemp(place.dir));
    snprintf(place.data, sizeof place.data, "%s/data", place.dir);
    snprintf(place.key, sizeof place.key, "%s/key", place.dir);
    snprintf(spec, sizeof spec, "keyfile:%s", place.key);
    assert_int_equal(keyslot_parse(&place.spec, spec, &why), VT_OK);
    for (size_t i = 0; i < VT_COUNT(kinds); i++)
        (void)count_down_by(kinds[i].name, kinds[i].fault, getenv("VTPM_LONG") ? 1 : kinds[i].stride, scenario,
                            &place);
    assert_int_equal(rmdir(place.dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init__each_fault__all_or_nothing),
    };

    count_hook_libcrypto();
    count_hook_sqlite();
    count_hook_store();
    if (cr_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A new store: all of it or nothing; then every slot opens it, and nothing else does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/base/alloc.h"
#include "server/core/store/keys.h"
#include "server/core/keyslot/keyslot.h"
#include "server/crypto/crypto.h"

static char base[64], dir[96], key[96], pass[96], rec[96];

static int set_up(void **state)
{
    (void)state;
    snprintf(base, sizeof base, "/tmp/test_store_init.XXXXXX");
    assert_non_null(mkdtemp(base));
    snprintf(dir, sizeof dir, "%s/data", base);
    snprintf(key, sizeof key, "%s/key", base);
    snprintf(pass, sizeof pass, "%s/pass", base);
    snprintf(rec, sizeof rec, "%s/rec", base);
    return 0;
}

/* Entries of a directory, without . and .. */
static size_t entries(const char *path, bool remove_them)
{
    struct dirent *e;
    size_t count = 0;
    DIR *d = opendir(path);

    assert_non_null(d);
    while ((e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        count++;
        if (remove_them)
            assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
    }
    closedir(d);
    return count;
}

static int tear_down(void **state)
{
    (void)state;
    if (access(dir, F_OK) == 0) {
        entries(dir, true);
        assert_int_equal(rmdir(dir), 0);
    }
    entries(base, true);
    assert_int_equal(rmdir(base), 0);
    return 0;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static struct keyslot_spec spec(const char *kind, const char *path)
{
    struct keyslot_spec s = {0};

    snprintf(s.kind, sizeof s.kind, "%s", kind);
    snprintf(s.arg, sizeof s.arg, "%s", path);
    return s;
}

static void wake(void *ctx)
{
    (void)ctx;
}

static struct db *open_db(void)
{
    struct db_config config = {.dir = dir, .wake = wake};
    struct vt_why why = {0};
    struct db *db;

    if (db_open(&config, &db, &why))
        fail_msg("%s", why.text);
    return db;
}

/* Opens the store by the spec and starts it: the MAC holds. *id: the slot that did it. */
static int unlock(const char *kind, const char *path, int64_t *id, struct vt_why *why)
{
    struct keyslot_spec s = spec(kind, path);
    struct db_keyslot opened;
    struct vt_uuid store;
    struct vt_key master;
    struct keys *keys = NULL;
    struct db *db = open_db();
    int err;

    memset(why, 0, sizeof *why);
    db_store_uuid(db, &store);
    err = keyslot_unlock(db, &s, &store, &master, &opened, why);
    if (!err) {
        *id = opened.id;
        assert_int_equal(keys_new(&keys, &master, &store, why), VT_OK);
        if (db_start(db, keys_mac(keys), false, why))
            fail_msg("%s", why->text);
    }
    db_close(db);
    keys_free(keys);
    return err;
}

static void init_ok(const struct keyslot_spec *specs, size_t count, char recovery[RECOVERY_TEXT])
{
    struct vt_why why = {0};

    if (store_init(dir, specs, count, recovery, &why))
        fail_msg("%s", why.text);
}

static void test_store_init__key_file_passphrase_recovery__each_opens(void **state)
{
    struct keyslot_spec specs[] = {spec("keyfile", key), spec("passphrase", pass)};
    char recovery[RECOVERY_TEXT];
    struct vt_why why;
    struct stat st;
    int64_t id = -1;

    (void)state;
    write_file(pass, "a long passphrase\n");
    init_ok(specs, 2, recovery);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(key, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    write_file(rec, recovery);
    assert_int_equal(unlock("keyfile", key, &id, &why), VT_OK);
    assert_int_equal(id, 0);
    assert_int_equal(unlock("passphrase", pass, &id, &why), VT_OK);
    assert_int_equal(id, 1);
    assert_int_equal(unlock("recovery", rec, &id, &why), VT_OK);
    assert_int_equal(id, 2);
    assert_int_equal(unlock("auto", "", &id, &why), VT_OK);
    assert_int_equal(id, 0);
}

static void test_keyslot_unlock__wrong_key__names_each_slot(void **state)
{
    struct keyslot_spec specs[] = {spec("keyfile", key)};
    char recovery[RECOVERY_TEXT];
    struct vt_why why;
    int64_t id;

    (void)state;
    init_ok(specs, 1, recovery);
    write_file(pass, "01234567890123456789012345678901");
    assert_int_equal(unlock("keyfile", pass, &id, &why), VT_EKEY);
    assert_non_null(strstr(why.text, "slot 0 (keyfile)"));
    assert_int_equal(unlock("passphrase", pass, &id, &why), VT_EKEY);
    assert_non_null(strstr(why.text, "no key slot of kind passphrase"));
    assert_int_equal(unlock("keyfile", rec, &id, &why), VT_EKEY);
    assert_non_null(strstr(why.text, "no such file"));
    assert_int_equal(unlock("tpm2", "", &id, &why), VT_EKEY);
    assert_non_null(strstr(why.text, "no key slot of kind tpm2"));
    assert_int_equal(chmod(key, 0644), 0);
    assert_int_equal(unlock("auto", "", &id, &why), VT_EKEY);
    assert_non_null(strstr(why.text, "chmod 600"));
    assert_non_null(strstr(why.text, "slot 1 (recovery): needs a person"));
    assert_int_equal(unlink(key), 0);
    assert_int_equal(unlock("auto", "", &id, &why), VT_EKEY);
}

static void *contents(size_t *len)
{
    char path[128];
    static uint8_t bytes[1 << 20];
    FILE *f;

    snprintf(path, sizeof path, "%s/vtpm.db", dir);
    f = fopen(path, "r");
    assert_non_null(f);
    *len = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    return vt_memdup(bytes, *len);
}

static void test_store_init__there_is_a_store__stays_untouched(void **state)
{
    struct keyslot_spec specs[] = {spec("keyfile", key)}, other[] = {spec("keyfile", pass)};
    char recovery[RECOVERY_TEXT], again[RECOVERY_TEXT];
    struct vt_why why = {0};
    size_t before_len, after_len;
    void *before, *after;

    (void)state;
    init_ok(specs, 1, recovery);
    before = contents(&before_len);
    assert_int_equal(store_init(dir, other, 1, again, &why), VT_EEXISTS);
    assert_non_null(strstr(why.text, dir));
    after = contents(&after_len);
    assert_int_equal(before_len, after_len);
    assert_memory_equal(before, after, before_len);
    assert_int_equal(access(pass, F_OK), -1); /* no key file made for nothing */
    vt_free(before);
    vt_free(after);
}

static void refused(const struct keyslot_spec *specs, size_t count, int err, const char *says)
{
    char recovery[RECOVERY_TEXT];
    struct vt_why why = {0};

    assert_int_equal(store_init(dir, specs, count, recovery, &why), err);
    if (!strstr(why.text, says))
        fail_msg("'%s' does not say '%s'", why.text, says);
}

static void test_store_init__refused__nothing_is_left(void **state)
{
    struct keyslot_spec specs[] = {spec("keyfile", key), spec("passphrase", pass)};
    struct keyslot_spec only[] = {spec("recovery", rec)}, any[] = {spec("auto", "")}, 
                        tpm[] = {spec("tpm2", "tcti=device:/nowhere/tpm")};

    (void)state;
    refused(specs, 0, VT_EUSAGE, "at least one");
    refused(only, 1, VT_EUSAGE, "recovery-file");
    refused(any, 1, VT_EUSAGE, "auto");
    refused(tpm, 1, VT_ENOTFOUND, "/nowhere/tpm: there is no such TPM");
    refused(specs, 2, VT_ENOTFOUND, pass); /* the key file was made by then */
    assert_int_equal(entries(base, false), 0);
    snprintf(dir, sizeof dir, "%s/a/b", base);
    refused(specs, 1, VT_ENOTFOUND, dir);
    assert_int_equal(entries(base, false), 0);
    snprintf(dir, sizeof dir, "%s/data", base);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(chmod(dir, 0750), 0);
    refused(specs, 1, VT_EPERM, "chmod 700");
    assert_int_equal(entries(dir, false), 0);
    assert_int_equal(entries(base, false), 1);
    assert_int_equal(chmod(dir, 0700), 0);
}

static void test_store_init__directory_with_other_things__is_fine(void **state)
{
    char other[128], recovery[RECOVERY_TEXT];
    struct keyslot_spec specs[] = {spec("keyfile", key)};

    (void)state;
    assert_int_equal(mkdir(dir, 0700), 0);
    snprintf(other, sizeof other, "%s/notes", dir);
    write_file(other, "hello");
    init_ok(specs, 1, recovery);
    assert_int_equal(access(other, F_OK), 0);
}

/* The n-th allocation fails, for every n: an error, and nothing left; at last it works. */
#ifdef VTPM_TEST_HOOKS
static void test_store_init__allocation_fails__nothing_is_left(void **state)
{
    struct keyslot_spec specs[] = {spec("keyfile", key)};
    char recovery[RECOVERY_TEXT];
    int err = VT_ENOMEM;
    long k;

    (void)state;
    for (k = 0; err; k++) {
        struct vt_why why = {0};

        assert_true(k < 500);
        vt_alloc_fail_after(k);
        err = store_init(dir, specs, 1, recovery, &why);
        vt_alloc_fail_after(-1);
        if (err && entries(base, false))
            fail_msg("allocation %ld: %s; something was left", k, why.text);
    }
    print_message("%ld allocations\n", k);
    assert_true(k > 3);
}
#endif

#define WITH_DIR(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(test_store_init__key_file_passphrase_recovery__each_opens),
        WITH_DIR(test_keyslot_unlock__wrong_key__names_each_slot),
        WITH_DIR(test_store_init__there_is_a_store__stays_untouched),
        WITH_DIR(test_store_init__refused__nothing_is_left),
        WITH_DIR(test_store_init__directory_with_other_things__is_fine),
#ifdef VTPM_TEST_HOOKS
        WITH_DIR(test_store_init__allocation_fails__nothing_is_left),
#endif
    };

    return cr_init() || cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

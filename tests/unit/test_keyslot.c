/* SPDX-License-Identifier: Apache-2.0 */
/* Specs, secret files, parameters, recovery keys, rows. Unlocking a store: test_store_init.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/base/alloc.h"
#include "server/core/keyslot/keyslot.h"
#include "server/core/store/params.h"
#include "server/crypto/crypto.h"

static char dir[64], file[96];
static const struct vt_uuid store = {{1}}, store2 = {{2}};
static const struct vt_key master = {{0xaa, 0xbb, 0xcc}};

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test_keyslot.XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/secret", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(file);
    assert_int_equal(rmdir(dir), 0);
    return 0;
}

static void write_file(const void *bytes, size_t len, mode_t mode)
{
    FILE *f = fopen(file, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(file, mode), 0);
}

static struct keyslot_spec spec_of(const char *kind, const char *arg)
{
    struct keyslot_spec spec = {0};

    snprintf(spec.kind, sizeof spec.kind, "%s", kind);
    snprintf(spec.arg, sizeof spec.arg, "%s", arg);
    return spec;
}

static int read_secret(const char *kind, uint8_t **secret, size_t *len, struct vt_why *why)
{
    struct keyslot_spec spec = spec_of(kind, file);

    memset(why, 0, sizeof *why);
    return keyslot_read_secret(&spec, false, secret, len, why);
}

/* ---- Specs ---- */

static void parses(const char *text, const char *kind, const char *arg)
{
    struct keyslot_spec spec;
    struct vt_why why = {0};

    if (keyslot_parse(&spec, text, &why))
        fail_msg("%s: %s", text, why.text);
    assert_string_equal(spec.kind, kind);
    assert_string_equal(spec.arg, arg);
}

static void test_keyslot_parse__contract(void **state)
{
    static const char *const wrong[] = {"", ":", "keyfile", "keyfile:", "passphrase:x", "recovery:x", "auto:",
                                        "KEYFILE:x", "tpm3", "tpm", "keyfil:e", "credential", "credential:",
                                        "credential:../x", "credential:.x", "tpm2:pcrs=", "tpm2:pcrs=24",
                                        "tpm2:pcrs=7,", "tpm2:pcrs=7-4", "tpm2:pcrs=7:pcrs=7", "tpm2:device=/dev/tpm0",
                                        "tpm2:key=/x", "tpm2-signed", "tpm2-signed:key=relative", "tpm12:tcti=x",
                                        "tpm12:device=", "tpm2:tcti", "tpm2:tcti=cmd:id",
                                        "tpm12:device=tcp:elsewhere:1"};
    char text[1200] = "keyfile:";
    struct keyslot_spec spec;
    struct vt_why why;

    (void)state;
    parses("keyfile:/etc/k", "keyfile", "/etc/k");
    parses("keyfile:a:b", "keyfile", "a:b");
    parses("passphrase-file:p", "passphrase", "p");
    parses("recovery-file:r", "recovery", "r");
    parses("auto", "auto", "");
    parses("tpm2", "tpm2", "");
    parses("tpm2:pcrs=7,4:tcti=device:/dev/tpm0", "tpm2", "pcrs=7,4:tcti=device:/dev/tpm0");
    parses("tpm12:device=/dev/tpm0", "tpm12", "device=/dev/tpm0");
    parses("tpm12:srk-auth-file=/s:device=tcp:[::1]:2321", "tpm12", "srk-auth-file=/s:device=tcp:[::1]:2321");
    parses("tpm2:pcrs=none", "tpm2", "pcrs=none");
    parses("tpm2:pcrs=0-7,11:tcti=swtpm:path=/a:b", "tpm2", "pcrs=0-7,11:tcti=swtpm:path=/a:b");
    parses("tpm2-signed:key=/k:signatures=/s", "tpm2-signed", "key=/k:signatures=/s");
    parses("credential:store-key", "credential", "store-key");
    for (size_t i = 0; i < VT_COUNT(wrong); i++) {
        why = (struct vt_why){0};
        assert_int_equal(keyslot_parse(&spec, wrong[i], &why), VT_EUSAGE);
        assert_true(why.text[0]);
    }
    memset(text + 8, 'x', 1023);
    assert_int_equal(keyslot_parse(&spec, text, NULL), VT_OK);
    text[8 + 1023] = 'x';
    assert_int_equal(keyslot_parse(&spec, text, NULL), VT_EUSAGE);
}

/* Rows are read before the store's MAC can be checked. */
static void test_keyslot__hostile_tpm_row__is_damaged_before_any_tpm(void **state)
{
    static const char *const rows[] = {
        "{}", "{\"tpm\":\"2.0\"}", "{\"tpm\":\"2.0\",\"pcrs\":\"99\",\"sealed\":\"00\"}",
        "{\"tpm\":\"2.0\",\"pcrs\":\"7\"}", "{\"tpm\":\"2.0\",\"pcrs\":\"7\",\"sealed\":\"0\"}",
        "{\"tpm\":\"2.0\",\"pcrs\":\"7\",\"sealed\":\"xx\",\"where\":\"device:/nowhere/tpm\"}",
        "{\"tpm\":\"2.0\",\"pcrs\":\"7\",\"sealed\":\"00\",\"prints\":\"00\"}",
        "{\"tpm\":\"2.0\",\"pcrs\":\"7\",\"sealed\":\"00\",\"prints\":\"0011223344556677\",\"next_sealed\":\"z\"}",
        "{\"tpm\":\"2.0\",\"pcrs\":\"7\",\"sealed\":\"00\",\"where\":\"cmd:touch /tmp/owned\"}",
        "{\"tpm\":\"2.0\",\"pcrs\":\"7\",\"sealed\":\"00\",\"where\":\"/tmp/evil.so\"}",
        "{\"tpm\":\"1.2\",\"pcrs\":\"7\",\"sealed\":\"00\",\"where\":\"tcp:elsewhere:1\"}",
        "{\"tpm\":\"2.0\",\"pcrs\":\"7\",\"sealed\":\"00\",\"signatures\":\"/x\",\"signer\":\"00\"}",
        "{\"tpm\":2,\"pcrs\":\"7\",\"sealed\":\"00\"}",
    };

    (void)state;
    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        struct db_keyslot slot = {.kind = "tpm2"};
        uint8_t *secret;
        size_t len;
        int err;

        snprintf(slot.params, sizeof slot.params, "%s", rows[i]);
        err = keyslot_own_secret(&slot, NULL, &secret, &len, NULL);
        if (err != VT_EDAMAGED)
            fail_msg("%s: %d", rows[i], err);
        assert_null(secret);
    }
}

static void test_keyslot__unknown_kind__is_not_of_this_build(void **state)
{
    struct keyslot_spec spec = spec_of("future", "");
    struct db_keyslot slot = {.kind = "future", .params = "{}"};
    struct vt_why why = {0};
    struct vt_key out;
    uint8_t *secret;
    size_t len;

    (void)state;
    assert_int_equal(keyslot_read_secret(&spec, true, &secret, &len, &why), VT_ENOTSUP);
    assert_non_null(strstr(why.text, "unknown to this build"));
    assert_int_equal(keyslot_make(&slot, &spec, (const uint8_t *)"x", 1, &store, &master, NULL), VT_ENOTSUP);
    assert_int_equal(keyslot_open(&slot, (const uint8_t *)"x", 1, &store, &out, NULL), VT_ENOTSUP);
    assert_int_equal(keyslot_own_secret(&slot, NULL, &secret, &len, NULL), VT_ENOTSUP);
}

/* ---- Files ---- */

static void test_keyslot_read_secret__file_open_to_others__is_refused_with_the_command(void **state)
{
    static const mode_t modes[] = {0640, 0604, 0620, 0601, 0644, 0777};
    uint8_t key[32] = {1}, *secret;
    struct vt_why why;
    char command[160];
    size_t len;

    (void)state;
    snprintf(command, sizeof command, "chmod 600 %s", file);
    for (size_t i = 0; i < VT_COUNT(modes); i++) {
        write_file(key, sizeof key, modes[i]);
        assert_int_equal(read_secret("keyfile", &secret, &len, &why), VT_EPERM);
        assert_non_null(strstr(why.text, command));
        assert_null(secret);
    }
    write_file(key, sizeof key, 0400);
    assert_int_equal(read_secret("keyfile", &secret, &len, &why), VT_OK);
    assert_int_equal(len, 32);
    vt_free_wiped(secret, len);
    if (geteuid() == 0) {
        assert_int_equal(chown(file, 12345, 0), 0);
        assert_int_equal(read_secret("keyfile", &secret, &len, &why), VT_EPERM);
        assert_non_null(strstr(why.text, "12345"));
    }
}

static void test_keyslot_read_secret__no_regular_file__is_refused(void **state)
{
    uint8_t *secret;
    struct vt_why why;
    size_t len;

    (void)state;
    assert_int_equal(read_secret("keyfile", &secret, &len, &why), VT_ENOTFOUND);
    assert_non_null(strstr(why.text, file));
    assert_int_equal(mkfifo(file, 0600), 0);
    assert_int_equal(read_secret("keyfile", &secret, &len, &why), VT_EPERM); /* and does not hang */
}

static void test_keyslot_read_secret__lengths(void **state)
{
    uint8_t bytes[1100], *secret;
    struct vt_why why;
    size_t len;

    (void)state;
    memset(bytes, 'x', sizeof bytes);
    for (size_t n = 31; n <= 33; n++) {
        write_file(bytes, n, 0600);
        assert_int_equal(read_secret("keyfile", &secret, &len, &why), n == 32 ? VT_OK : VT_EUSAGE);
        vt_free_wiped(secret, len);
    }
    write_file("1234567\nmore", 12, 0600);
    assert_int_equal(read_secret("passphrase", &secret, &len, &why), VT_EUSAGE);
    write_file("12345678\nmore", 13, 0600);
    assert_int_equal(read_secret("passphrase", &secret, &len, &why), VT_OK);
    assert_int_equal(len, 8);
    assert_memory_equal(secret, "12345678", 8);
    vt_free_wiped(secret, len);
    write_file("no newline", 10, 0600);
    assert_int_equal(read_secret("passphrase", &secret, &len, &why), VT_OK);
    assert_int_equal(len, 10);
    vt_free_wiped(secret, len);
    write_file(bytes, 1025, 0600);
    assert_int_equal(read_secret("passphrase", &secret, &len, &why), VT_EUSAGE);
    write_file("", 0, 0600);
    assert_int_equal(read_secret("passphrase", &secret, &len, &why), VT_EUSAGE);
}

static void test_keyslot_read_secret__create__makes_a_private_key_once(void **state)
{
    struct keyslot_spec spec = spec_of("keyfile", file), pass = spec_of("passphrase", file);
    uint8_t *first, *second;
    struct stat st;
    size_t len;

    (void)state;
    assert_int_equal(keyslot_read_secret(&pass, true, &first, &len, NULL), VT_ENOTFOUND);
    assert_int_equal(keyslot_read_secret(&spec, true, &first, &len, NULL), VT_OK);
    assert_int_equal(len, 32);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(keyslot_read_secret(&spec, true, &second, &len, NULL), VT_OK);
    assert_memory_equal(first, second, 32);
    vt_free_wiped(first, 32);
    vt_free_wiped(second, 32);
}

/* ---- Parameters ---- */

static void test_params__round_trip(void **state)
{
    static const char odd[] = "/a \"quoted\"\\ path\n\x01\xc3\xa9";
    struct params_writer w;
    char json[256], text[64];
    uint64_t n;

    (void)state;
    params_begin(&w, json, sizeof json);
    params_put_text(&w, "path", odd);
    params_put_number(&w, "n", UINT64_MAX);
    params_put_text(&w, "empty", "");
    assert_int_equal(params_end(&w), VT_OK);
    assert_int_equal(params_text(json, "path", text, sizeof text), VT_OK);
    assert_string_equal(text, odd);
    assert_int_equal(params_number(json, "n", UINT64_MAX, &n), VT_OK);
    assert_true(n == UINT64_MAX);
    assert_int_equal(params_number(json, "n", 5, &n), VT_EDAMAGED);
    assert_int_equal(params_text(json, "empty", text, sizeof text), VT_OK);
    assert_string_equal(text, "");
    assert_int_equal(params_text(json, "n", text, sizeof text), VT_EDAMAGED);
    assert_int_equal(params_number(json, "path", 5, &n), VT_EDAMAGED);
    assert_int_equal(params_text(json, "none", text, sizeof text), VT_ENOTFOUND);
    assert_int_equal(params_text(json, "path", text, strlen(odd)), VT_EDAMAGED);
    assert_int_equal(params_text(json, "path", text, strlen(odd) + 1), VT_OK);
    for (size_t cap = 1; cap <= strlen(json); cap++) {
        char *small = vt_calloc(1, cap);

        assert_non_null(small);
        params_begin(&w, small, cap);
        params_put_text(&w, "path", odd);
        params_put_number(&w, "n", UINT64_MAX);
        params_put_text(&w, "empty", "");
        assert_int_equal(params_end(&w), VT_ETOOBIG);
        vt_free(small);
    }
}

static void test_params__strict(void **state)
{
    static const char *const good[] = {"{}", " { } ", "{\"a\":1}", "{\"a\" : \"\\u0041\\/\\b\" ,\n\"b\":0}"};
    static const char *const bad[] = {
        "", "{", "}", "[]", "1", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{\"a\":1 \"b\":2}", "{\"a\":01}",
        "{\"a\":-1}", "{\"a\":1.5}", "{\"a\":1e3}", "{\"a\":true}", "{\"a\":null}", "{\"a\":{}}", "{\"a\":[]}",
        "{\"a\":1}x", "{\"a\":1}{}", "{a:1}", "{\"a\":\"x}", "{\"a\":\"\\\"}", "{\"a\":\"\\x\"}", "{\"a\":\"\\u00\"}",
        "{\"a\":\"\\u0000\"}", "{\"a\":\"\\u0100\"}", "{\"a\":\"\n\"}", "{\"a\":1,\"a\":2}",
        "{\"a\":18446744073709551616}", "{\"a234567890123456789012345678901234\":1}",
        ("{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,\"j\":1,\"k\":1,\"l\":1,\"m\":1,"
        "\"n\":1,\"o\":1,\"p\":1,\"q\":1}")};

    (void)state;
    for (size_t i = 0; i < VT_COUNT(good); i++)
        if (params_check(good[i]))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < VT_COUNT(bad); i++)
        if (params_check(bad[i]) != VT_EDAMAGED)
            fail_msg("accepted: %s", bad[i]);
}

/* ---- Recovery keys ---- */

static void test_recovery__made__parses_in_any_dress(void **state)
{
    char text[RECOVERY_TEXT], other[200], *at = other;
    uint8_t secret[32], back[32];

    (void)state;
    assert_int_equal(recovery_make(text, secret), VT_OK);
    assert_int_equal(strlen(text), 71);
    for (size_t i = 0; i < 71; i++) {
        assert_true(i % 9 == 8 ? text[i] == '-' : strchr("cbdefghijklnrtuv", text[i]) != NULL);
        if (text[i] == '-')
            continue;
        *at++ = i % 3 ? text[i] : (char)(text[i] - 'a' + 'A');
        if (i % 5 == 0)
            *at++ = ' ';
    }
    memcpy(at, " \r\n", 4);
    assert_int_equal(recovery_parse(text, back, NULL), VT_OK);
    assert_memory_equal(secret, back, 32);
    assert_int_equal(recovery_parse(other, back, NULL), VT_OK);
    assert_memory_equal(secret, back, 32);
    assert_int_equal(recovery_make(other, back), VT_OK);
    assert_memory_not_equal(secret, back, 32);
}

static void test_recovery_parse__alphabet_is_fixed(void **state)
{
    uint8_t secret[32];

    (void)state;
    assert_int_equal(recovery_parse("cbdefghi-jklnrtuv-cbdefghi-jklnrtuv-cbdefghi-jklnrtuv-cbdefghi-jklnrtuv", secret,
                                    NULL), VT_OK);
    for (size_t i = 0; i < 32; i++)
        assert_int_equal(secret[i], (uint8_t)(0x01234567 >> (24 - 8 * (i % 4)) | (i / 4 % 2 ? 0x88 : 0)));
}

static void test_recovery_parse__wrong__names_the_position_not_the_key(void **state)
{
    char text[] = "cccccccc-cccccccc-cccccccc-cccccccc-cccccccc-cccccccc-cccccccc-cccccccc";
    char longer[80];
    uint8_t secret[32];
    struct vt_why why = {0};

    (void)state;
    text[12] = 'x';
    assert_int_equal(recovery_parse(text, secret, &why), VT_EUSAGE);
    assert_non_null(strstr(why.text, "position 13"));
    text[12] = 'c';
    snprintf(longer, sizeof longer, "%sv", text);
    why = (struct vt_why){0};
    assert_int_equal(recovery_parse(longer, secret, &why), VT_EUSAGE);
    assert_non_null(strstr(why.text, "position 72"));
    text[70] = '\0';
    why = (struct vt_why){0};
    assert_int_equal(recovery_parse(text, secret, &why), VT_EUSAGE);
    assert_non_null(strstr(why.text, "63 letters"));
    assert_int_equal(recovery_parse("", secret, NULL), VT_EUSAGE);
}

/* ---- Rows ---- */

static struct db_keyslot make(const char *kind, int64_t id, const void *secret, size_t len)
{
    struct keyslot_spec spec = spec_of(kind, file);
    struct db_keyslot slot = {.id = id};
    struct vt_why why = {0};

    if (keyslot_make(&slot, &spec, secret, len, &store, &master, &why))
        fail_msg("%s", why.text);
    assert_string_equal(slot.kind, kind);
    return slot;
}

static int opens(const struct db_keyslot *slot, const void *secret, size_t len, const struct vt_uuid *in)
{
    struct vt_why why = {0};
    struct vt_key out = {{0}};
    int err = keyslot_open(slot, secret, len, in, &out, &why);

    if (!err)
        assert_memory_equal(&out, &master, sizeof out);
    else
        assert_true(why.text[0]);
    return err;
}

static void test_keyslot__keyfile_row__opens_in_its_place_only(void **state)
{
    uint8_t key[32] = {7}, other[32] = {8};
    struct db_keyslot slot = make("keyfile", 3, key, sizeof key), changed;
    char path[PARAMS_TEXT];

    (void)state;
    assert_int_equal(opens(&slot, key, sizeof key, &store), VT_OK);
    assert_int_equal(opens(&slot, other, sizeof other, &store), VT_EKEY);
    assert_int_equal(opens(&slot, key, 31, &store), VT_EKEY);
    assert_int_equal(opens(&slot, key, sizeof key, &store2), VT_EKEY);
    changed = slot;
    changed.id = 4;
    assert_int_equal(opens(&changed, key, sizeof key, &store), VT_EKEY);
    for (size_t i = 0; i < slot.wrapped_len; i++) {
        changed = slot;
        changed.wrapped[i] ^= 4;
        assert_int_equal(opens(&changed, key, sizeof key, &store), VT_EKEY);
    }
    changed = slot;
    changed.wrapped_len--;
    assert_int_equal(opens(&changed, key, sizeof key, &store), VT_EDAMAGED);
    changed = slot;
    memcpy(changed.params, "{}", 3);
    assert_int_equal(opens(&changed, key, sizeof key, &store), VT_EDAMAGED);
    assert_int_equal(params_text(slot.params, "path", path, sizeof path), VT_OK);
    assert_string_equal(path, file);
}

static void test_keyslot__relative_key_file__is_remembered_absolute(void **state)
{
    struct keyslot_spec spec = spec_of("keyfile", "secret");
    struct db_keyslot slot = {.id = 0};
    uint8_t key[32] = {7};
    char path[PARAMS_TEXT], old[PARAMS_TEXT];

    (void)state;
    assert_non_null(getcwd(old, sizeof old));
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(keyslot_make(&slot, &spec, key, sizeof key, &store, &master, NULL), VT_OK);
    assert_int_equal(chdir(old), 0);
    assert_int_equal(params_text(slot.params, "path", path, sizeof path), VT_OK);
    assert_string_equal(path, file);
    slot.id = -1;
    assert_int_equal(keyslot_make(&slot, &spec, key, sizeof key, &store, &master, NULL), VT_EUSAGE);
}

static void test_keyslot__passphrase_row__opens_and_says_its_costs(void **state)
{
    struct db_keyslot slot = make("passphrase", 0, "correct horse", 13);
    uint64_t n;

    (void)state;
    assert_int_equal(opens(&slot, "correct horse", 13, &store), VT_OK);
    assert_int_equal(opens(&slot, "correct horsf", 13, &store), VT_EKEY);
    assert_int_equal(params_number(slot.params, "log2_n", 99, &n), VT_OK);
    assert_int_equal(n, 17);
}

static void test_keyslot__scrypt_out_of_bounds__is_damaged_before_any_work(void **state)
{
#define SALT "\"salt\":\"0000000000000000000000000000000000000000000000000000000000000000\""
    static const char *const bad[] = {
        "{\"kdf\":\"scrypt\",\"log2_n\":21,\"r\":8,\"p\":1," SALT "}",
        "{\"kdf\":\"scrypt\",\"log2_n\":13,\"r\":8,\"p\":1," SALT "}",
        "{\"kdf\":\"scrypt\",\"log2_n\":17,\"r\":17,\"p\":1," SALT "}",
        "{\"kdf\":\"scrypt\",\"log2_n\":17,\"r\":0,\"p\":1," SALT "}",
        "{\"kdf\":\"scrypt\",\"log2_n\":17,\"r\":8,\"p\":5," SALT "}",
        "{\"kdf\":\"scrypt\",\"log2_n\":17,\"r\":8,\"p\":0," SALT "}",
        "{\"kdf\":\"scrypt\",\"log2_n\":20,\"r\":16,\"p\":1," SALT "}",
        "{\"kdf\":\"md5\",\"log2_n\":17,\"r\":8,\"p\":1," SALT "}",
        "{\"kdf\":\"scrypt\",\"log2_n\":17,\"r\":8,\"p\":1}",
        "{\"kdf\":\"scrypt\",\"log2_n\":17,\"r\":8,\"p\":1,\"salt\":\"00\"}",
        "{\"log2_n\":17,\"r\":8,\"p\":1," SALT "}",
    };
    struct db_keyslot slot = {.kind = "passphrase", .wrapped_len = 60};

    (void)state;
    for (size_t i = 0; i < VT_COUNT(bad); i++) {
        snprintf(slot.params, sizeof slot.params, "%s", bad[i]);
        assert_int_equal(opens(&slot, "correct horse", 13, &store), VT_EDAMAGED);
    }
}

static void test_keyslot__recovery_row_and_file__open(void **state)
{
    char text[RECOVERY_TEXT];
    uint8_t secret[32], *read;
    struct db_keyslot slot;
    struct vt_why why;
    size_t len;

    (void)state;
    assert_int_equal(recovery_make(text, secret), VT_OK);
    slot = make("recovery", 2, secret, sizeof secret);
    text[8] = '\n'; /* the first line only: now it is too short */
    write_file(text, 71, 0600);
    assert_int_equal(read_secret("recovery", &read, &len, &why), VT_EUSAGE);
    text[8] = '-';
    write_file(text, 71, 0600);
    assert_int_equal(read_secret("recovery", &read, &len, &why), VT_OK);
    assert_int_equal(opens(&slot, read, len, &store), VT_OK);
    vt_free_wiped(read, len);
    secret[0] ^= 1;
    assert_int_equal(opens(&slot, secret, sizeof secret, &store), VT_EKEY);
    assert_int_equal(opens(&slot, secret, 5, &store), VT_EKEY);
}

#ifdef VTPM_TEST_HOOKS
static void test_keyslot__allocation_fails__nothing_leaks(void **state)
{
    uint8_t key[32] = {1}, *secret = NULL;
    struct vt_why why;
    size_t len = 9;

    (void)state;
    write_file(key, sizeof key, 0600);
    vt_alloc_fail_after(0);
    assert_int_equal(read_secret("keyfile", &secret, &len, &why), VT_ENOMEM);
    vt_alloc_fail_after(-1);
    assert_null(secret);
    assert_int_equal(len, 0);
}
#endif

#define WITH_DIR(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(test_keyslot_parse__contract),
        WITH_DIR(test_keyslot__hostile_tpm_row__is_damaged_before_any_tpm),
        WITH_DIR(test_keyslot__unknown_kind__is_not_of_this_build),
        WITH_DIR(test_keyslot_read_secret__file_open_to_others__is_refused_with_the_command),
        WITH_DIR(test_keyslot_read_secret__no_regular_file__is_refused),
        WITH_DIR(test_keyslot_read_secret__lengths),
        WITH_DIR(test_keyslot_read_secret__create__makes_a_private_key_once),
        WITH_DIR(test_params__round_trip),
        WITH_DIR(test_params__strict),
        WITH_DIR(test_recovery__made__parses_in_any_dress),
        WITH_DIR(test_recovery_parse__alphabet_is_fixed),
        WITH_DIR(test_recovery_parse__wrong__names_the_position_not_the_key),
        WITH_DIR(test_keyslot__keyfile_row__opens_in_its_place_only),
        WITH_DIR(test_keyslot__relative_key_file__is_remembered_absolute),
        WITH_DIR(test_keyslot__passphrase_row__opens_and_says_its_costs),
        WITH_DIR(test_keyslot__scrypt_out_of_bounds__is_damaged_before_any_work),
        WITH_DIR(test_keyslot__recovery_row_and_file__open),
#ifdef VTPM_TEST_HOOKS
        WITH_DIR(test_keyslot__allocation_fails__nothing_leaks),
#endif
    };

    return cr_init() || cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

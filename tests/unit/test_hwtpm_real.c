/* SPDX-License-Identifier: Apache-2.0 */
/* The contract against Debian's swtpm: TPM 2.0 by its TCTI over a Unix socket, TPM 1.2 raw. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "hwtpm/hwtpm.h"

static char dir[64];
static pid_t child;
static struct hwtpm_config config;

static bool listens(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is;

    snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", dir, name);
    is = fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        close(fd);
    return is;
}

static void swtpm_exec(bool is_2)
{
    char state[128], server[128], ctrl[128];
    int null = open("/dev/null", O_RDWR);

    snprintf(state, sizeof state, "dir=%s", dir);
    snprintf(server, sizeof server, "type=unixio,path=%s/tpm", dir);
    snprintf(ctrl, sizeof ctrl, "type=unixio,path=%s/tpm.ctrl", dir);
    dup2(null, 1);
    dup2(null, 2);
    execlp("swtpm", "swtpm", "socket", "--tpmstate", state, "--server", server, "--ctrl", ctrl, "--flags",
           "not-need-init,startup-clear", is_2 ? "--tpm2" : NULL, NULL);
    _exit(127);
}

static void remove_sockets(void)
{
    char path[128];

    snprintf(path, sizeof path, "%s/tpm", dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/tpm.ctrl", dir);
    unlink(path);
}

static int run_swtpm(bool is_2)
{
    remove_sockets();
    child = fork();
    if (child == 0)
        swtpm_exec(is_2);
    config = (struct hwtpm_config){.kind = is_2 ? HWTPM_TPM2 : HWTPM_TPM12, .limit_ms = 60000};
    snprintf(config.where, sizeof config.where, is_2 ? "swtpm:path=%s/tpm" : "unix:%s/tpm", dir);
    while (!listens("tpm") || !listens("tpm.ctrl")) {
        if (waitpid(child, NULL, WNOHANG) != 0)
            return -1; /* not installed? */
        usleep(10000);
    }
    return 0;
}

static int start(bool is_2)
{
    snprintf(dir, sizeof dir, "/tmp/test_hwtpm.XXXXXX");
    return mkdtemp(dir) ? run_swtpm(is_2) : -1;
}

static int prepare(const char *what)
{
    char command[512];

    snprintf(command, sizeof command, "PYTHONDONTWRITEBYTECODE=1 python3 " TEST_LIB_DIR "/hosttpm.py %s %s/tpm", what, dir);
    return system(command);
}

static void end_swtpm(void)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

/* With an owner, whose secret is SHA-1("host owner") as in tests/lib/hosttpm.py. */
static int start_owned(void **state)
{
    (void)state;
    if (start(false) || prepare("enable"))
        return -1;
    end_swtpm();
    return run_swtpm(false) || prepare("own") ? -1 : 0;
}

static int start_2(void **state)
{
    (void)state;
    return start(true);
}

static int start_12(void **state)
{
    (void)state;
    return start(false);
}

static int stop(void **state)
{
    char command[128];

    (void)state;
    end_swtpm();
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    return system(command);
}

struct work {
    uint32_t mask;
    struct hwtpm_pcrs pcrs;
    struct hwtpm_policy policy;
    struct hwtpm_sealed sealed;
    uint8_t secret[HWTPM_SECRET], out[HWTPM_SECRET], random[100];
    char text[160];
    size_t flipped;
};

static int do_random(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct work *w = arg;

    snprintf(w->text, sizeof w->text, "%s", hwtpm_text(tpm));
    return hwtpm_random(tpm, w->random, sizeof w->random, why);
}

static int do_pcrs(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct work *w = arg;

    return hwtpm_pcr_read(tpm, w->mask, &w->pcrs, why);
}

static int do_seal(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct work *w = arg;
    int err = hwtpm_pcr_read(tpm, w->mask, &w->policy.pcrs, why);

    return err ? err : hwtpm_seal(tpm, &w->policy, w->secret, &w->sealed, why);
}

static int do_unseal(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct work *w = arg;

    return hwtpm_unseal(tpm, &w->policy, &w->sealed, w->out, why);
}

/* Every third byte altered, one at a time: none of them opens. */
static int do_unseal_altered(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct work *w = arg;

    for (size_t i = 0; i < w->sealed.len; i += 3) {
        struct hwtpm_sealed altered = w->sealed;
        int err;

        altered.bytes[i] ^= 0x01;
        err = hwtpm_unseal(tpm, &w->policy, &altered, w->out, NULL);
        if (!err)
            return vt_fail(why, VT_EFAIL, "byte %zu of %u is not protected", i, w->sealed.len);
        for (size_t k = 0; k < sizeof w->out; k++)
            if (w->out[k])
                return vt_fail(why, VT_EFAIL, "something is left of the secret");
        w->flipped++;
    }
    return VT_OK;
}

static void runs(hwtpm_work what, struct work *w)
{
    struct vt_why why = {0};
    int err = hwtpm_run(&config, what, w, sizeof *w, &why);

    if (err)
        fail_msg("%d: %s", err, why.text);
}

static void random_and_pcrs(const char *name, uint32_t len)
{
    static const uint8_t zero[100], ones[HWTPM_DIGEST] = {[0 ... HWTPM_DIGEST - 1] = 0xff};
    struct work w = {.mask = 0xffffff};

    runs(do_random, &w);
    assert_memory_not_equal(w.random, zero, 16);
    assert_memory_not_equal(w.random + 84, zero, 16);
    assert_non_null(strstr(w.text, name));
    /* More than one answer of a TPM 2.0 holds; those of a late launch are ones. */
    runs(do_pcrs, &w);
    assert_int_equal(w.pcrs.mask, 0xffffff);
    assert_int_equal(w.pcrs.len, len);
    for (unsigned n = 0; n < HWTPM_PCRS; n++)
        assert_memory_equal(w.pcrs.value[n], n >= 17 && n <= 22 ? ones : zero, len);
}

static void test_tpm2__random_and_pcrs(void **state)
{
    (void)state;
    random_and_pcrs("TPM 2.0", 32);
}

static void test_tpm12__random_and_pcrs(void **state)
{
    (void)state;
    random_and_pcrs("TPM 1.2", 20);
}

static void test_tpm2__sealed__comes_out_in_the_same_state_only(void **state)
{
    static const uint32_t masks[] = {0, 1u << 7, 0x0ff, 0x800091};
    struct vt_why why;

    (void)state;
    for (size_t i = 0; i < VT_COUNT(masks); i++) {
        struct work w = {.mask = masks[i], .secret = {1, 2, 3, 250}};

        runs(do_seal, &w);
        runs(do_unseal, &w);
        assert_memory_equal(w.out, w.secret, sizeof w.secret);
        if (!masks[i])
            continue;
        /* Another set of PCRs, and another value, are another policy. */
        w.policy.pcrs.mask ^= 1u << 5;
        memset(&why, 0, sizeof why);
        assert_int_equal(hwtpm_run(&config, do_unseal, &w, sizeof w, &why), VT_EKEY);
        assert_non_null(strstr(why.text, "PCRs"));
    }
}

static int do_seal_other(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct work *w = arg;

    w->policy.pcrs.value[7][0] ^= 1;
    return hwtpm_seal(tpm, &w->policy, w->secret, &w->sealed, why);
}

static void test_tpm2__sealed_to_a_state_to_come__does_not_come_out_now(void **state)
{
    struct work w = {.mask = 1u << 7, .secret = {9}};

    (void)state;
    runs(do_seal, &w);
    runs(do_seal_other, &w);
    assert_int_equal(hwtpm_run(&config, do_unseal, &w, sizeof w, NULL), VT_EKEY);
}

static void test_tpm2__altered__does_not_come_out(void **state)
{
    struct work w = {.mask = 1u << 7, .secret = {1}};
    uint32_t whole;

    (void)state;
    runs(do_seal, &w);
    runs(do_unseal_altered, &w);
    assert_true(w.flipped > 60);
    whole = w.sealed.len;
    for (uint32_t len = 0; len < whole; len += 17) {
        w.sealed.len = len;
        assert_int_equal(hwtpm_run(&config, do_unseal, &w, sizeof w, NULL), VT_EDAMAGED);
    }
    w.sealed.len = whole + 1;
    assert_int_equal(hwtpm_run(&config, do_unseal, &w, sizeof w, NULL), VT_EDAMAGED);
    w.sealed.len = 1u << 30;
    assert_int_equal(hwtpm_run(&config, do_unseal, &w, sizeof w, NULL), VT_EDAMAGED);
}

static void test_tpm12__without_owner__says_how_to_make_one(void **state)
{
    struct work w = {.mask = 1u << 4};
    struct vt_why why = {0};

    (void)state;
    assert_int_equal(hwtpm_run(&config, do_seal, &w, sizeof w, &why), VT_ENOTFOUND);
    assert_non_null(strstr(why.text, "tpm_takeownership -z"));
}

static void test_tpm2_spoken_to_as_tpm12__says_so(void **state)
{
    struct work w = {.mask = 1u << 4};
    struct vt_why why = {0};

    (void)state;
    config.kind = HWTPM_TPM12;
    snprintf(config.where, sizeof config.where, "unix:%s/tpm", dir);
    assert_int_equal(hwtpm_run(&config, do_random, &w, sizeof w, &why), VT_EPROTO);
    assert_non_null(strstr(why.text, "a TPM 2.0? Use tpm2:"));
}

static void test_tcti__wrong__says_what_there_is(void **state)
{
    static const char *const wrong[] = {"nonsense:x=1", "swtpm:port=1", "device:/nowhere/tpmrm0", "device:/etc/hostname"};
    struct work w = {.mask = 0};

    (void)state;
    for (size_t i = 0; i < VT_COUNT(wrong); i++) {
        struct hwtpm_config other = {.kind = HWTPM_TPM2};
        struct vt_why why = {0};

        snprintf(other.where, sizeof other.where, "%s", wrong[i]);
        assert_int_not_equal(hwtpm_run(&other, do_random, &w, sizeof w, &why), VT_OK);
        assert_true(strstr(why.text, "tcti=") || strstr(why.text, "no such TPM") || strstr(why.text, "not a device") ||
                    strstr(why.text, "cannot"));
    }
}

/* ---- Anchor ---- */

#define INDEX 0x01800100u

static struct vt_auth owner;
static bool has_owner;

static int do_make(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    return hwtpm_anchor_make(tpm, arg, has_owner ? &owner : NULL, why);
}

static int do_read(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    return hwtpm_anchor_read(tpm, arg, why);
}

static int do_advance(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    return hwtpm_anchor_advance(tpm, arg, why);
}

static int with_anchor(hwtpm_work what, struct hwtpm_anchor *anchor, struct vt_why *why)
{
    memset(why, 0, sizeof *why);
    return hwtpm_run(&config, what, anchor, sizeof *anchor, why);
}

/* A tool of the operator's. */
static void VT_PRINTF(1, 2) tool(const char *format, ...)
{
    char command[1024];
    va_list args;
    int len = snprintf(command, sizeof command, "TPM2TOOLS_TCTI=%s ", config.where);

    va_start(args, format);
    vsnprintf(command + len, sizeof command - (size_t)len, format, args);
    va_end(args);
    assert_int_equal(system(command), 0);
}

static void test_tpm2_anchor__only_goes_on(void **state)
{
    struct hwtpm_anchor anchor = {.index = INDEX, .auth = {{1, 2, 3}}, .data = {9}}, other;
    uint64_t first;
    struct vt_why why;

    (void)state;
    assert_int_equal(with_anchor(do_read, &anchor, &why), VT_ENOTFOUND);
    assert_int_equal(with_anchor(do_advance, &anchor, &why), VT_ENOTFOUND);
    assert_int_equal(with_anchor(do_make, &anchor, &why), VT_OK);
    assert_int_equal(with_anchor(do_make, &anchor, &why), VT_EEXISTS);
    assert_int_equal(anchor.data[0], 0);
    first = anchor.counter;
    for (uint8_t i = 1; i < 4; i++) {
        memset(anchor.data, i, sizeof anchor.data);
        assert_int_equal(with_anchor(do_advance, &anchor, &why), VT_OK);
        other = (struct hwtpm_anchor){.index = INDEX, .auth = anchor.auth};
        assert_int_equal(with_anchor(do_read, &other, &why), VT_OK);
        assert_int_equal(other.counter, first + i);
        assert_memory_equal(other.data, anchor.data, sizeof other.data);
    }
    /* Who does not have the store's key can neither read nor write it. */
    other.auth.bytes[31] ^= 1;
    assert_int_equal(with_anchor(do_read, &other, &why), VT_EAUTH);
    assert_int_equal(with_anchor(do_advance, &other, &why), VT_EAUTH);
    other.auth = anchor.auth;
    assert_int_equal(with_anchor(do_read, &other, &why), VT_OK);
    assert_int_equal(other.counter, first + 3);
    /* The owner can remove it; a new one begins above all that was, and has another secret. */
    tool("tpm2_nvundefine -C o 0x%x >/dev/null 2>&1", INDEX);
    assert_int_equal(with_anchor(do_read, &anchor, &why), VT_ENOTFOUND);
    tool("tpm2_nvundefine -C o 0x%x >/dev/null 2>&1", INDEX + 1);
    other.auth.bytes[0] ^= 1;
    assert_int_equal(with_anchor(do_make, &other, &why), VT_OK);
    assert_true(other.counter > first + 3);
    assert_int_equal(with_anchor(do_read, &anchor, &why), VT_EAUTH);
}

static void put_data(const struct hwtpm_anchor *anchor, uint64_t counter, uint8_t fill)
{
    char path[128], auth[65];
    FILE *file;

    snprintf(path, sizeof path, "%s/nv", dir);
    file = fopen(path, "w");
    assert_non_null(file);
    for (int shift = 56; shift >= 0; shift -= 8)
        fputc((int)(counter >> shift & 0xff), file);
    for (size_t i = 0; i < HWTPM_ANCHOR; i++)
        fputc(fill, file);
    fclose(file);
    for (size_t i = 0; i < 32; i++)
        snprintf(auth + 2 * i, 3, "%02x", anchor->auth.bytes[i]);
    tool("tpm2_nvwrite -C 0x%x -P hex:%s -i %s 0x%x >/dev/null 2>&1", INDEX, auth, path, INDEX);
}

static void test_tpm2_anchor__power_cut_between_its_steps__is_completed(void **state)
{
    struct hwtpm_anchor anchor = {.index = INDEX, .auth = {{7}}};
    struct vt_why why;
    uint64_t first;

    (void)state;
    assert_int_equal(with_anchor(do_make, &anchor, &why), VT_OK);
    first = anchor.counter;
    put_data(&anchor, first + 1, 0x55);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(with_anchor(do_read, &anchor, &why), VT_OK);
        assert_int_equal(anchor.counter, first + 1);
        assert_int_equal(anchor.data[63], 0x55);
    }
    put_data(&anchor, first + 2, 0x66);
    assert_int_equal(with_anchor(do_advance, &anchor, &why), VT_OK);
    assert_int_equal(anchor.counter, first + 3);
    /* What no advance writes: an older value, or one from nowhere. */
    put_data(&anchor, first + 2, 0x66);
    assert_int_equal(with_anchor(do_read, &anchor, &why), VT_EDAMAGED);
    put_data(&anchor, first + 9, 0x66);
    assert_int_equal(with_anchor(do_read, &anchor, &why), VT_EDAMAGED);
}

/* ---- Quote ---- */

struct quoting {
    uint32_t mask;
    uint8_t nonce[32];
    struct hwtpm_key key;
    struct cr_rsa_pub pub;
    struct hwtpm_quote quote;
};

static int do_key(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct quoting *q = arg;

    return hwtpm_key_make(tpm, has_owner ? &owner : NULL, &q->key, &q->pub, why);
}

static int do_quote(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct quoting *q = arg;

    return hwtpm_quote(tpm, &q->key, q->mask, q->nonce, &q->quote, why);
}

static bool has(const uint8_t *in, size_t len, const void *what, size_t what_len)
{
    return memmem(in, len, what, what_len) != NULL;
}

static void test_tpm2_quote__signs_nonce_and_pcrs(void **state)
{
    struct quoting q = {.mask = 0x800091, .nonce = {4, 5, 6, 200, 201}};
    uint8_t em[CR_RSA_MAX], digest[32], values[4 * 32];
    struct vt_why why = {0};
    size_t count = 0;

    (void)state;
    assert_int_equal(hwtpm_run(&config, do_key, &q, sizeof q, &why), VT_OK);
    assert_int_equal(hwtpm_run(&config, do_quote, &q, sizeof q, &why), VT_OK);
    /* RSASSA-PKCS1-v1_5 ends with the digest. */
    assert_int_equal(cr_rsa_public_op(&q.pub, q.quote.signature, em), VT_OK);
    cr_sha256(digest, q.quote.message, q.quote.message_len);
    assert_memory_equal(em + CR_RSA_MAX - 32, digest, 32);
    assert_true(has(q.quote.message, q.quote.message_len, q.nonce, 32));
    for (unsigned n = 0; n < HWTPM_PCRS; n++)
        if (q.mask >> n & 1)
            memcpy(values + 32 * count++, q.quote.pcrs.value[n], 32);
    cr_sha256(digest, values, 32 * count);
    assert_true(has(q.quote.message, q.quote.message_len, digest, 32));
    /* Another TPM's, or an altered one. */
    q.key.bytes[q.key.len - 1] ^= 1;
    assert_int_equal(hwtpm_run(&config, do_quote, &q, sizeof q, &why), VT_EKEY);
    q.key.len--;
    assert_int_equal(hwtpm_run(&config, do_quote, &q, sizeof q, &why), VT_EDAMAGED);
}

/* ---- The same of a TPM 1.2 with an owner ---- */

static void know_owner(bool is_right)
{
    cr_sha1(owner.bytes, "host owner", 10);
    owner.bytes[0] ^= !is_right;
    has_owner = true;
}

static void test_tpm12__sealed__comes_out_unaltered_only(void **state)
{
    struct work w = {.mask = 0x800011, .secret = {1, 2, 250}};

    (void)state;
    runs(do_seal, &w);
    runs(do_unseal, &w);
    assert_memory_equal(w.out, w.secret, sizeof w.secret);
    runs(do_unseal_altered, &w);
    assert_true(w.flipped > 60);
    w.policy.pcrs.mask = 0;
    w.mask = 0;
    runs(do_seal, &w);
    runs(do_unseal, &w);
}

static int do_seal_other12(struct hwtpm *tpm, void *arg, struct vt_why *why)
{
    struct work *w = arg;

    w->policy.pcrs.value[4][0] ^= 1;
    return hwtpm_seal(tpm, &w->policy, w->secret, &w->sealed, why);
}

static void test_tpm12__sealed_to_a_state_to_come__does_not_come_out_now(void **state)
{
    struct work w = {.mask = 1u << 4, .secret = {9}};
    struct vt_why why = {0};

    (void)state;
    runs(do_seal, &w);
    runs(do_seal_other12, &w);
    assert_int_equal(hwtpm_run(&config, do_unseal, &w, sizeof w, &why), VT_EKEY);
    assert_non_null(strstr(why.text, "PCRs are not those"));
}

static void test_tpm12_anchor__only_goes_on(void **state)
{
    struct hwtpm_anchor anchor = {.index = 0x00011000, .auth = {{1, 2, 3}}, .data = {9}}, other;
    struct vt_why why;
    uint64_t first;

    (void)state;
    has_owner = false;
    assert_int_equal(with_anchor(do_make, &anchor, &why), VT_EAUTH);
    know_owner(false);
    assert_int_equal(with_anchor(do_make, &anchor, &why), VT_EAUTH);
    assert_non_null(strstr(why.text, "owner's secret is wrong"));
    know_owner(true);
    assert_int_equal(with_anchor(do_read, &anchor, &why), VT_ENOTFOUND);
    assert_int_equal(with_anchor(do_make, &anchor, &why), VT_OK);
    assert_int_equal(with_anchor(do_make, &anchor, &why), VT_EEXISTS);
    first = anchor.counter;
    for (uint8_t i = 1; i < 4; i++) {
        memset(anchor.data, i, sizeof anchor.data);
        assert_int_equal(with_anchor(do_advance, &anchor, &why), VT_OK);
        other = (struct hwtpm_anchor){.index = anchor.index, .auth = anchor.auth};
        assert_int_equal(with_anchor(do_read, &other, &why), VT_OK);
        assert_int_equal(other.counter, first + i);
        assert_memory_equal(other.data, anchor.data, sizeof other.data);
    }
    other.auth.bytes[31] ^= 1;
    assert_int_equal(with_anchor(do_read, &other, &why), VT_EAUTH);
    assert_non_null(strstr(why.text, "not this store's"));
    has_owner = false;
}

static void test_tpm12_quote__signs_nonce_and_pcrs(void **state)
{
    struct quoting q = {.mask = 0x800011, .nonce = {4, 5, 6, 200, 201}};
    uint8_t digest[CR_SHA1_LEN];
    struct vt_why why = {0};

    (void)state;
    assert_int_equal(hwtpm_run(&config, do_key, &q, sizeof q, &why), VT_EAUTH);
    know_owner(true);
    memset(&why, 0, sizeof why);
    if (hwtpm_run(&config, do_key, &q, sizeof q, &why) || hwtpm_run(&config, do_quote, &q, sizeof q, &why))
        fail_msg("%s", why.text);
    cr_sha1(digest, q.quote.message, q.quote.message_len);
    assert_int_equal(q.quote.signature_len, CR_RSA_MAX);
    assert_int_equal(cr_rsa_verify(&q.pub, CR_SIG_PKCS1_SHA1, digest, sizeof digest, q.quote.signature, CR_RSA_MAX), VT_OK);
    assert_memory_equal(q.quote.message + 28, q.nonce, 20);
    q.quote.message[27] ^= 1;
    cr_sha1(digest, q.quote.message, q.quote.message_len);
    assert_int_equal(cr_rsa_verify(&q.pub, CR_SIG_PKCS1_SHA1, digest, sizeof digest, q.quote.signature, CR_RSA_MAX),
                     VT_ECRYPTO);
    /* More quotes than the TPM has room for keys: each is unloaded. */
    for (int i = 0; i < 12; i++)
        assert_int_equal(hwtpm_run(&config, do_quote, &q, sizeof q, &why), VT_OK);
    q.key.bytes[q.key.len - 1] ^= 1;
    assert_int_not_equal(hwtpm_run(&config, do_quote, &q, sizeof q, &why), VT_OK);
    has_owner = false;
}

int main(void)
{
#define WITH(test, how) cmocka_unit_test_setup_teardown(test, how, stop)
    const struct CMUnitTest tests[] = {
        WITH(test_tpm2__random_and_pcrs, start_2),
        WITH(test_tpm2__sealed__comes_out_in_the_same_state_only, start_2),
        WITH(test_tpm2__sealed_to_a_state_to_come__does_not_come_out_now, start_2),
        WITH(test_tpm2__altered__does_not_come_out, start_2),
        WITH(test_tpm2_anchor__only_goes_on, start_2),
        WITH(test_tpm2_anchor__power_cut_between_its_steps__is_completed, start_2),
        WITH(test_tpm2_quote__signs_nonce_and_pcrs, start_2),
        WITH(test_tpm12__random_and_pcrs, start_12),
        WITH(test_tpm12__without_owner__says_how_to_make_one, start_12),
        WITH(test_tpm12__sealed__comes_out_unaltered_only, start_owned),
        WITH(test_tpm12__sealed_to_a_state_to_come__does_not_come_out_now, start_owned),
        WITH(test_tpm12_anchor__only_goes_on, start_owned),
        WITH(test_tpm12_quote__signs_nonce_and_pcrs, start_owned),
        WITH(test_tpm2_spoken_to_as_tpm12__says_so, start_2),
        cmocka_unit_test(test_tcti__wrong__says_what_there_is),
    };

    hwtpm_init();
    return cr_init() || cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

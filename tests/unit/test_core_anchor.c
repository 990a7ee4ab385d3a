/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's anchor over a TPM in memory (hwtpm's calls are wrapped): what each difference between file and TPM means;
 * and the disk and the TPM as they are before and after each step of an advance, from all of which the store must open.
 */
#include "tests/unit/core_rig.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/core/anchor/anchor.h"

static struct rig rig;
static struct anchor_config config;

/* ---- The TPM ---- */

struct tpm {
    bool is_there, is_strange;
    uint32_t nv;
    struct vt_key auth;
    uint64_t counter;
    uint8_t data[HWTPM_ANCHOR];
};
static struct {
    struct tpm tpm;
    atomic_int fails;   /* with this, before anything */
    atomic_uint asked;
    bool loses_answer;  /* an advance is made, but nobody hears */
    atomic_uint writes;
    uint64_t hurried;   /* a timer of so many ms comes at once */
    /* Each step: disk and TPM are kept. */
    bool keeps;
    unsigned kept;
    struct tpm tpms[64];
} mem;

int __wrap_hwtpm_run(const struct hwtpm_config *where, hwtpm_work work, void *arg, size_t size, struct vt_why *why);
enum hwtpm_kind __wrap_hwtpm_kind(const struct hwtpm *tpm);
int __wrap_hwtpm_anchor_read(struct hwtpm *tpm, struct hwtpm_anchor *anchor, struct vt_why *why);
int __wrap_hwtpm_anchor_make(struct hwtpm *tpm, struct hwtpm_anchor *anchor, const struct vt_auth *owner,
                             struct vt_why *why);
int __wrap_hwtpm_anchor_advance(struct hwtpm *tpm, struct hwtpm_anchor *anchor, struct vt_why *why);

static void VT_PRINTF(1, 2) shell(const char *fmt, ...)
{
    char command[400];
    va_list args;

    va_start(args, fmt);
    vsnprintf(command, sizeof command, fmt, args);
    va_end(args);
    assert_int_equal(system(command), 0);
}

/* The writer rests while the TPM is asked: nothing else is asked of the store in these tests. */
static void keep(void)
{
    if (!mem.keeps || mem.kept == VT_COUNT(mem.tpms))
        return;
    shell("cp -r %s %s/kept-%u", rig.data, rig.dir, mem.kept);
    mem.tpms[mem.kept++] = mem.tpm;
}

void __real_loop_timer_start(struct loop_timer *timer, uint64_t delay_ms);
void __wrap_loop_timer_start(struct loop_timer *timer, uint64_t delay_ms);

void __wrap_loop_timer_start(struct loop_timer *timer, uint64_t delay_ms)
{
    __real_loop_timer_start(timer, mem.hurried && delay_ms == mem.hurried ? 1 : delay_ms);
}

int __wrap_hwtpm_run(const struct hwtpm_config *where, hwtpm_work work, void *arg, size_t size, struct vt_why *why)
{
    (void)size;
    assert_int_equal(where->limit_ms, HWTPM_LIMIT_MS);
    mem.asked++;
    if (mem.fails)
        return vt_fail(why, mem.fails, "the TPM of the test fails");
    return work((struct hwtpm *)&mem, arg, why);
}

enum hwtpm_kind __wrap_hwtpm_kind(const struct hwtpm *tpm)
{
    assert_ptr_equal(tpm, &mem);
    return HWTPM_TPM2;
}

static int find(const struct hwtpm_anchor *anchor)
{
    if (!mem.tpm.is_there || mem.tpm.nv != anchor->index)
        return VT_ENOTFOUND;
    return mem.tpm.is_strange || !vt_ct_equal(&mem.tpm.auth, &anchor->auth, sizeof anchor->auth) ? VT_EAUTH : VT_OK;
}

int __wrap_hwtpm_anchor_read(struct hwtpm *tpm, struct hwtpm_anchor *anchor, struct vt_why *why)
{
    int err = find(anchor);

    (void)tpm;
    (void)why;
    keep();
    if (err)
        return err;
    anchor->counter = mem.tpm.counter;
    memcpy(anchor->data, mem.tpm.data, sizeof anchor->data);
    return VT_OK;
}

int __wrap_hwtpm_anchor_make(struct hwtpm *tpm, struct hwtpm_anchor *anchor, const struct vt_auth *owner,
                             struct vt_why *why)
{
    (void)tpm;
    (void)owner;
    (void)why;
    if (find(anchor) != VT_ENOTFOUND)
        return VT_EEXISTS;
    keep();
    mem.tpm = (struct tpm){.is_there = true, .nv = anchor->index, .auth = anchor->auth, .counter = 1};
    memset(anchor->data, 0, sizeof anchor->data);
    keep();
    return VT_OK;
}

int __wrap_hwtpm_anchor_advance(struct hwtpm *tpm, struct hwtpm_anchor *anchor, struct vt_why *why)
{
    int err = find(anchor);

    (void)tpm;
    if (err)
        return err;
    keep();
    memcpy(mem.tpm.data, anchor->data, sizeof anchor->data);
    mem.tpm.counter++;
    mem.writes++;
    keep();
    return mem.loses_answer ? vt_fail(why, VT_ETIMEOUT, "the answer of the TPM of the test was lost") : VT_OK;
}

/* ---- The broker ---- */

static int make(void **state)
{
    (void)state;
    memset(&mem, 0, sizeof mem);
    memset(&config, 0, sizeof config);
    config.mode = ANCHOR_IN;
    config.place.config.kind = HWTPM_TPM2;
    rig_dirs(&rig);
    rig.config.anchor = &config;
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    rig_free(&rig);
    return 0;
}

static struct db_anchor row(bool pending)
{
    struct db_anchor out = {0};
    int err = db_anchor_get(rig.broker->db, pending, &out);

    assert_true(!err || err == VT_ENOTFOUND);
    return out;
}

static int ask_anchor(void)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__Anchor anchor = VTPM__ANCHOR__INIT;
    Vtpm__AdminReply *reply;
    int err;

    request.verb_case = VTPM__ADMIN_REQUEST__VERB_ANCHOR;
    request.anchor = &anchor;
    reply = admin_ask(&rig, ADMIN_FULL, &request);
    err = reply->err;
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

static void change(const char *name)
{
    struct vt_uuid uuid;

    assert_int_equal(admin_make(&rig, name, "", "", "", &uuid), VT_OK);
}

static void says(const char *what)
{
    char text[ANCHOR_STATUS];

    anchor_status(rig.broker->anchor, text);
    if (!strstr(text, what))
        fail_msg("'%s' does not say '%s'", text, what);
}

static void refused(int err, const char *what)
{
    struct vt_why why = {0};

    assert_int_equal(broker_start(&rig.broker, rig.loop, &rig.config, &why), err);
    rig.broker = NULL;
    if (!strstr(why.text, what))
        fail_msg("'%s' does not say '%s'", why.text, what);
}

static void copy_to(const char *name)
{
    shell("rm -rf %s/%s && cp -r %s %s/%s", rig.dir, name, rig.data, rig.dir, name);
}

static void copy_back(const char *name)
{
    shell("rm -rf %s && cp -r %s/%s %s", rig.data, rig.dir, name, rig.data);
}

/* ---- Tests ---- */

static void test_start__changes_and_stop__each_is_anchored_once(void **state)
{
    (void)state;
    rig_start(&rig);
    assert_int_equal(ask_anchor(), VT_OK);
    assert_int_equal(row(false).epoch, 1);
    assert_int_equal(mem.writes, 1);
    says("epoch 1");
    assert_int_equal(ask_anchor(), VT_OK);
    assert_int_equal(mem.writes, 1);
    change("a");
    assert_int_equal(ask_anchor(), VT_OK);
    assert_int_equal(mem.writes, 2);
    change("b");
    rig_stop(&rig);
    assert_int_equal(mem.writes, 3);
    rig_start(&rig);
    assert_int_equal(row(false).epoch, 3);
    assert_int_equal(row(true).epoch, 0);
    rig_stop(&rig);
    assert_int_equal(mem.writes, 3);
}

static void await(uint64_t epoch)
{
    while (row(false).epoch < epoch)
        rig_turn(&rig, 2);
}

static void test_time_passes__what_changed__is_anchored(void **state)
{
    (void)state;
    config.minutes = 7;
    mem.hurried = 7 * 60000;
    rig_start(&rig);
    await(1);
    rig_turn(&rig, 50); /* nothing changes */
    assert_int_equal(mem.writes, 1);
    change("a");
    await(2);
    mem.fails = VT_EAGAIN;
    change("b");
    while (!row(true).epoch)
        rig_turn(&rig, 2);
    mem.fails = 0;
    await(3);
    assert_int_equal(ask_anchor(), VT_OK);
    says("every 7 minutes");
}

/* A wrong secret is a guess, which a TPM counts. */
static void test_time_passes__secret_is_wrong__is_not_tried_again(void **state)
{
    unsigned asked;

    (void)state;
    config.minutes = 7;
    rig_start(&rig);
    assert_int_equal(ask_anchor(), VT_OK);
    mem.hurried = 7 * 60000;
    mem.fails = VT_EAUTH;
    change("a");
    assert_int_equal(ask_anchor(), VT_EAUTH);
    asked = mem.asked;
    rig_turn(&rig, 50);
    assert_int_equal(mem.asked, asked);
    mem.fails = 0;
    assert_int_equal(ask_anchor(), VT_OK);
    change("b");
    await(3);
}

static void test_each_step__cut_off_there__opens_and_goes_on(void **state)
{
    unsigned after_first;

    (void)state;
    mem.keeps = true;
    rig_start(&rig);
    assert_int_equal(ask_anchor(), VT_OK);
    after_first = mem.kept;
    change("a");
    assert_int_equal(ask_anchor(), VT_OK);
    rig_stop(&rig);
    mem.keeps = false;
    /* Read, read, make twice, advance twice; then read, advance twice: none may be missing. */
    assert_true(after_first >= 6 && mem.kept >= after_first + 3);
    for (unsigned i = 0; i < mem.kept; i++) {
        char name[24];
        uint64_t epoch;

        snprintf(name, sizeof name, "kept-%u", i);
        copy_back(name);
        mem.tpm = mem.tpms[i];
        rig_start(&rig);
        assert_int_equal(ask_anchor(), VT_OK);
        epoch = row(false).epoch;
        assert_true(epoch >= 1);
        assert_int_equal(row(true).epoch, 0);
        change("next");
        assert_int_equal(ask_anchor(), VT_OK);
        assert_int_equal(row(false).epoch, epoch + 1);
        rig_stop(&rig);
        /* The same disk, with the TPM of now. */
        copy_back(name);
        refused(VT_EDAMAGED, "an older copy of the store");
    }
}

static void test_answer_lost__advance_was_made__is_understood(void **state)
{
    (void)state;
    rig_start(&rig);
    assert_int_equal(ask_anchor(), VT_OK);
    change("a");
    mem.loses_answer = true;
    assert_int_equal(ask_anchor(), VT_ETIMEOUT);
    says("LAST ATTEMPT FAILED: the answer");
    assert_int_equal(row(true).epoch, 2);
    mem.loses_answer = false;
    change("b");
    assert_int_equal(ask_anchor(), VT_OK);
    /* The old row is done, and what came later is anchored too. */
    assert_int_equal(row(false).epoch, 3);
    assert_int_equal(mem.writes, 3);
    rig_stop(&rig);
    rig_start(&rig);
}

static void test_tpm_fails__while_running__goes_on_and_makes_up(void **state)
{
    (void)state;
    rig_start(&rig);
    assert_int_equal(ask_anchor(), VT_OK);
    mem.fails = VT_EAGAIN;
    change("a");
    assert_int_equal(ask_anchor(), VT_EAGAIN);
    change("b");
    says("LAST ATTEMPT FAILED");
    rig_stop(&rig);
    refused(VT_EUNAVAILABLE, "cannot be asked");
    mem.fails = 0;
    rig_start(&rig);
    assert_int_equal(ask_anchor(), VT_OK);
    assert_int_equal(row(true).epoch, 0);
    says("epoch 3");
}

static void test_store_locked__advance__fails_and_works_later(void **state)
{
    (void)state;
    rig_start(&rig);
    assert_int_equal(ask_anchor(), VT_OK);
    change("a");
    rig_lock(&rig);
    assert_int_equal(ask_anchor(), VT_EUNAVAILABLE);
    rig_unlock();
    assert_int_equal(ask_anchor(), VT_OK);
    assert_int_equal(row(false).epoch, 2);
    says("epoch 2");
}

static void test_demand__again_and_again__is_bounded(void **state)
{
    int err = VT_OK;

    (void)state;
    rig_start(&rig);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(ask_anchor(), VT_OK);
    err = ask_anchor();
    assert_int_equal(err, VT_EAGAIN);
}

static void test_file__not_the_newest__refused_with_the_reason(void **state)
{
    struct tpm newest;

    (void)state;
    copy_to("never");
    rig_start(&rig);
    assert_int_equal(ask_anchor(), VT_OK);
    rig_stop(&rig);
    copy_to("one");
    rig_start(&rig);
    change("a");
    rig_stop(&rig);
    copy_to("two");
    newest = mem.tpm;
    copy_back("one");
    refused(VT_EDAMAGED, "an older copy of the store: its anchor is epoch 1");
    copy_back("never");
    refused(VT_EDAMAGED, "from before it was anchored");
    copy_back("two");
    memset(&mem.tpm, 0, sizeof mem.tpm);
    refused(VT_EDAMAGED, "cleared, or is another host's");
    mem.tpm = newest;
    mem.tpm.is_strange = true;
    refused(VT_EDAMAGED, "not this store's anchor");
    config.mode = ANCHOR_OFF;
    refused(VT_ECONFLICT, "only the recovery key");
    config.mode = ANCHOR_AUTO;
    mem.tpm = newest;
    rig_start(&rig);
    says("epoch 2");
}

/* Two that went on from one past; and a TPM that was set back itself. */
static void test_fork__either_side__refused(void **state)
{
    struct tpm one;

    (void)state;
    rig_start(&rig);
    assert_int_equal(ask_anchor(), VT_OK);
    rig_stop(&rig);
    copy_to("one");
    one = mem.tpm;
    rig_start(&rig);
    change("a");
    rig_stop(&rig);
    copy_to("fork-a");
    copy_back("one");
    mem.tpm = one;
    rig_start(&rig);
    change("b");
    rig_stop(&rig);
    copy_back("fork-a");
    refused(VT_EDAMAGED, "another copy of the store was at work");
    mem.tpm = one;
    refused(VT_EDAMAGED, "the host TPM was set back");
}

static void test_no_anchor__asked_for_none__says_so(void **state)
{
    (void)state;
    config.mode = ANCHOR_AUTO; /* and a key file opens it */
    rig_start(&rig);
    says("no host TPM anchor");
    assert_int_equal(ask_anchor(), VT_ECONFLICT);
    rig_stop(&rig);
    assert_int_equal(mem.writes, 0);
}

/* ---- accept-rollback, cut off at each of its steps ---- */

static void recovery_spec(struct keyslot_spec *spec)
{
    char path[100], text[120];
    FILE *file;

    snprintf(path, sizeof path, "%s/recovery", rig.dir);
    file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "%s\n", rig.recovery);
    fclose(file);
    assert_int_equal(chmod(path, 0600), 0);
    snprintf(text, sizeof text, "recovery-file:%s", path);
    assert_int_equal(keyslot_parse(spec, text, NULL), VT_OK);
}

static int accept_rollback(const struct keyslot_spec *spec, struct vt_why *why)
{
    char report[ANCHOR_STATUS];

    memset(why, 0, sizeof *why);
    return store_accept_rollback(rig.data, spec, 1, &config, report, why);
}

static void test_accept__each_step__opens_once_accepted(void **state)
{
    struct keyslot_spec spec;
    struct vt_why why;
    struct tpm newest;
    unsigned first;

    (void)state;
    recovery_spec(&spec);
    rig_start(&rig);
    assert_int_equal(ask_anchor(), VT_OK);
    rig_stop(&rig);
    copy_to("one");
    rig_start(&rig);
    change("a");
    rig_stop(&rig);
    copy_back("one");
    newest = mem.tpm;
    assert_int_equal(accept_rollback(&rig.spec, &why), VT_EUSAGE);
    assert_non_null(strstr(why.text, "recovery key"));
    refused(VT_EDAMAGED, "an older copy");
    mem.keeps = true;
    first = mem.kept;
    assert_int_equal(accept_rollback(&spec, &why), VT_OK);
    mem.keeps = false;
    assert_true(mem.kept >= first + 4);
    /* Before the first look the old copy is refused still; with the row durable, before the write, it is accepted. */
    for (unsigned i = first; i < mem.kept; i++) {
        char name[24];

        snprintf(name, sizeof name, "kept-%u", i);
        copy_back(name);
        mem.tpm = mem.tpms[i];
        if (i == first) {
            assert_memory_equal(&mem.tpm, &newest, sizeof newest);
            refused(VT_EDAMAGED, "an older copy");
            continue;
        }
        rig_start(&rig);
        assert_int_equal(ask_anchor(), VT_OK);
        assert_true(row(false).epoch >= 3);
        assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM event WHERE kind = 'rollback-accepted'"), 1);
        rig_stop(&rig);
    }
    config.mode = ANCHOR_OFF;
    assert_int_equal(accept_rollback(&spec, &why), VT_OK);
    memset(&mem.tpm, 0, sizeof mem.tpm);
    mem.fails = VT_EAGAIN;
    rig_start(&rig);
    says("no host TPM anchor");
    rig_stop(&rig);
    /* With the TPM there, it forgets too: the store can be anchored again, and a copy that was made before is
     * refused. */
    mem.fails = 0;
    config.mode = ANCHOR_IN;
    rig_start(&rig);
    assert_int_equal(ask_anchor(), VT_OK);
    rig_stop(&rig);
    copy_to("anchored");
    config.mode = ANCHOR_OFF;
    assert_int_equal(accept_rollback(&spec, &why), VT_OK);
    config.mode = ANCHOR_IN;
    copy_to("released");
    copy_back("anchored");
    refused(VT_EDAMAGED, "set back");
    copy_back("released");
    rig_start(&rig);
    assert_int_equal(ask_anchor(), VT_OK);
    assert_int_equal(row(false).epoch, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define ANCHOR_CASE(name) cmocka_unit_test_setup_teardown(name, make, unmake)
        ANCHOR_CASE(test_start__changes_and_stop__each_is_anchored_once),
        ANCHOR_CASE(test_time_passes__what_changed__is_anchored),
        ANCHOR_CASE(test_time_passes__secret_is_wrong__is_not_tried_again),
        ANCHOR_CASE(test_each_step__cut_off_there__opens_and_goes_on),
        ANCHOR_CASE(test_answer_lost__advance_was_made__is_understood),
        ANCHOR_CASE(test_tpm_fails__while_running__goes_on_and_makes_up),
        ANCHOR_CASE(test_store_locked__advance__fails_and_works_later),
        ANCHOR_CASE(test_demand__again_and_again__is_bounded),
        ANCHOR_CASE(test_file__not_the_newest__refused_with_the_reason),
        ANCHOR_CASE(test_fork__either_side__refused),
        ANCHOR_CASE(test_no_anchor__asked_for_none__says_so),
        ANCHOR_CASE(test_accept__each_step__opens_once_accepted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

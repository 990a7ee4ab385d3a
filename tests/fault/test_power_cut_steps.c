/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The power of the host goes after each write and sync of the store, and before and after each write of the host TPM's
 * memory, while key slots are added, resealed (plain and with a prediction) and removed, an instance is made, the anchor
 * is made and advanced, an older copy is accepted, and the anchor is taken off. From each disk and TPM that may be left a
 * new start opens the store by the slots that it must, its anchor accepts it, no slot is half, and what was being
 * accepted is accepted or can be again.
 *
 * The last tests are the test's own: with the order of two writes turned round, it must find the cut.
 */
#include "tests/fault/disk.h"
#include "tests/fault/host_tpm.h"
#include "tests/unit/core_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/core/anchor/anchor.h"

#define PREDICTED 2 /* the firmware to come; that of the beginning is 1 */
#define STEPS_MAX 32

static struct rig rig;
static const struct host_tpm *host;
static struct host_history past;    /* of the TPM */
static struct disk *disk;
static struct anchor_config anchored, unanchored;
static struct keyslot_spec recovery, second, tpm_slot;
static const uint8_t second_key[32] = {2, 2, 2};

/* An act, by the event that its transaction writes: from which operation on it may be there, and must be. */
static struct step {
    const char *event;
    size_t begun, reported;
} steps[STEPS_MAX];
static size_t step_count;
static int64_t born;    /* events of init's */
static bool is_predicted;

static struct {
    long shift;         /* of the mutant */
    bool is_mutant;     /* refusals are counted instead of failing */
    unsigned points, disks, refused, done, not_done;
} tally;

/* ---- Files ---- */

static void VT_PRINTF(1, 2) shell(const char *fmt, ...)
{
    char command[400];
    va_list args;

    va_start(args, fmt);
    vsnprintf(command, sizeof command, fmt, args);
    va_end(args);
    assert_int_equal(system(command), 0);
}

static void spec_file(struct keyslot_spec *spec, const char *kind, const char *name, const void *bytes, size_t len)
{
    char path[100], text[120];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", rig.dir, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    fclose(file);
    assert_int_equal(chmod(path, 0600), 0);
    snprintf(text, sizeof text, "%s:%s", kind, path);
    assert_int_equal(keyslot_parse(spec, text, NULL), VT_OK);
}

static void empty_data(void)
{
    static const char *const names[] = {"vtpm.db", "vtpm.db-wal", "vtpm.db-shm", "vtpm.db-journal"};

    for (size_t i = 0; i < VT_COUNT(names); i++) {
        char path[120];

        snprintf(path, sizeof path, "%s/%s", rig.data, names[i]);
        (void)unlink(path);
    }
}

static void copy_to(const char *name)
{
    shell("rm -rf %s/%s && cp -r %s %s/%s", rig.dir, name, rig.data, rig.dir, name);
}

static void copy_back(const char *name)
{
    empty_data();
    shell("cp %s/%s/vtpm.db* %s", rig.dir, name, rig.data);
}

/* ---- What is asked for ---- */

static int ask(const Vtpm__AdminRequest *request)
{
    Vtpm__AdminReply *reply = admin_ask(&rig, ADMIN_FULL, request);
    int err = reply->err;

    if (err)
        print_message("%s\n", reply->text);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

static int ask_anchor(void)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__Anchor anchor = VTPM__ANCHOR__INIT;

    request.verb_case = VTPM__ADMIN_REQUEST__VERB_ANCHOR;
    request.anchor = &anchor;
    return ask(&request);
}

static int ask_add(const struct keyslot_spec *spec, const uint8_t *key, size_t len)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__KeyslotAdd add = VTPM__KEYSLOT_ADD__INIT;
    char text[1100];
    uint8_t bytes[32] = {0};

    if (len)
        memcpy(bytes, key, len);
    snprintf(text, sizeof text, "%s:%s", spec->kind, spec->arg);
    add.spec = text;
    add.has_secret = len != 0;
    add.secret = (ProtobufCBinaryData){.data = len ? bytes : NULL, .len = len};
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_KEYSLOT_ADD;
    request.keyslot_add = &add;
    return ask(&request);
}

static int ask_slot(Vtpm__AdminRequest__VerbCase verb, int64_t id, char *prediction)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__KeyslotRef ref = VTPM__KEYSLOT_REF__INIT;

    ref.id = id;
    ref.prediction = prediction;
    request.verb_case = verb;
    request.keyslot_remove = &ref; /* all are of this type */
    return ask(&request);
}

static int ask_create(const char *name)
{
    struct vt_uuid uuid;

    return admin_make(&rig, name, "", "", "", &uuid);
}

#define STEP(name, call)                                                                                     \
    do {                                                                                                     \
        struct step *step = &steps[step_count++];                                                            \
        assert_true(step_count <= STEPS_MAX);                                                                \
        step->event = name;                                                                                  \
        step->begun = disk_ops(disk) + 1;                                                                    \
        assert_int_equal((call), VT_OK);                                                                     \
        step->reported = disk_ops(disk);                                                                     \
    } while (0)

/* ---- Starts ---- */

static int64_t events(const char *kind)
{
    return rig_sql(&rig, "SELECT count(*) FROM event WHERE kind = '%s' AND id > %d", kind, (int)born);
}

static struct db_anchor row(bool pending)
{
    struct db_anchor out = {0};
    int err = db_anchor_get(rig.broker->db, pending, &out);

    assert_true(!err || err == VT_ENOTFOUND);
    return out;
}

static int start(struct keyslot_spec *spec, struct vt_why *why)
{
    int err;

    memset(why, 0, sizeof *why);
    rig.config.boot_id[15]++;
    rig.config.boot_id[14] += !rig.config.boot_id[15];
    rig.config.keyslots = spec;
    err = broker_start(&rig.broker, rig.loop, &rig.config, why);
    if (err)
        rig.broker = NULL;
    return err;
}

/* As a process that ends: nothing is drained. */
static void end(void)
{
    broker_free(rig.broker);
    rig.broker = NULL;
    rig_turn(&rig, 1);
}

static bool opens(const struct keyslot_spec *spec)
{
    VT_SECRET_KEY master = {{0}};
    struct db_keyslot opened;
    struct vt_why why = {0};

    return !keyslot_unlock(rig.broker->db, spec, &rig.broker->store, &master, &opened, &why) &&
           vt_ct_equal(&master, keys_master(rig.broker->keys), sizeof master);
}

static int accept_rollback(const struct anchor_config *config, struct vt_why *why)
{
    char report[ANCHOR_STATUS];

    memset(why, 0, sizeof *why);
    return store_accept_rollback(rig.data, &recovery, 1, config, report, why);
}

/* ---- A cut ---- */

struct cut {
    size_t ops, state;
    enum disk_cut kind;
    uint32_t dice;
};

static void fail_cut(const struct cut *cut, const char *text)
{
    fail_msg("%s, power cut after operation %zu with the TPM's state %zu (disk %d, dice %u): %s", host->name, cut->ops,
             cut->state, cut->kind, (unsigned)cut->dice, text);
}

/* The number of these acts lies between those that were reported and those that were begun. */
static int64_t done_acts(const struct cut *cut, const char *event)
{
    int64_t least = 0, most = 0, count = events(event);

    for (size_t i = 0; i < step_count; i++) {
        if (strcmp(steps[i].event, event) != 0)
            continue;
        least += steps[i].reported <= cut->ops;
        most += steps[i].begun <= cut->ops;
    }
    if (count < least || count > most)
        fail_cut(cut, event);
    tally.not_done += count < most;
    tally.done += count == most && most > least;
    return count;
}

static void must_open(const struct cut *cut, const struct keyslot_spec *spec, bool must)
{
    if (opens(spec) != must)
        fail_cut(cut, must ? "a slot does not open that must" : "a slot opens that must not");
}

/* Which slots there are is what the events say, and each is whole. */
static void look_at_slots(const struct cut *cut)
{
    int64_t added = done_acts(cut, "keyslot-add"), removed = done_acts(cut, "keyslot-remove"),
            resealed = done_acts(cut, "keyslot-reseal");

    done_acts(cut, "create");
    if (rig_sql(&rig, "SELECT count(*) FROM keyslot") != 2 + added - removed)
        fail_cut(cut, "the slots are not those of the events");
    must_open(cut, &rig.spec, true);
    must_open(cut, &recovery, true);
    must_open(cut, &second, added >= 1 && !removed);
    if (!tpm_slot.kind[0])
        return;
    must_open(cut, &tpm_slot, added >= 2);
    is_predicted = added >= 2 && resealed == 1;
}

/* With the firmware to come the TPM's slot opens if it was resealed to it, and only then. */
static void look_at_prediction(const struct cut *cut)
{
    struct vt_why why;

    end(); /* what the broker has begun with the TPM is over first */
    host->boot(host_last(host->history), PREDICTED);
    if (start(&tpm_slot, &why) != (is_predicted ? VT_OK : VT_EKEY))
        fail_cut(cut, why.text);
    if (rig.broker)
        end();
    host->boot(host_last(host->history), 1);
    if (start(&rig.spec, &why))
        fail_cut(cut, why.text);
}

static void put_disk(const struct cut *cut)
{
    empty_data();
    disk_cut(disk, cut->ops, cut->kind, cut->dice, rig.data);
}

/* The disk and the TPM that the cut left. */
static void put_cut(const struct cut *cut)
{
    put_disk(cut);
    host->boot(&past.states[cut->state], 1);
}

/* It is anchored again, and goes on; then the disk of the cut is an older copy. */
static void anchors_go_on(const struct cut *cut)
{
    struct vt_why why;
    uint64_t epoch;

    if (ask_anchor() || row(true).epoch || !(epoch = row(false).epoch) || ask_create("next") || ask_anchor() ||
        row(false).epoch != epoch + 1)
        fail_cut(cut, "the anchor does not go on");
    end();
    put_disk(cut);
    if (start(&rig.spec, &why) != VT_EDAMAGED || !strstr(why.text, "an older copy of the store"))
        fail_cut(cut, "an older copy is not noticed");
}

static void look_at_life(const struct cut *cut)
{
    /* In turn by each slot that must be there. */
    struct keyslot_spec *by = cut->ops % 3 == 1 ? &recovery : &rig.spec;
    struct vt_why why;
    int err;

    rig.config.anchor = &anchored;
    if (cut->ops % 3 == 2 && tpm_slot.kind[0] && step_count > 2 && steps[1].reported <= cut->ops)
        by = &tpm_slot;
    put_cut(cut);
    err = start(by, &why);
    if (err && tally.is_mutant) {
        assert_int_equal(err, VT_EDAMAGED);
        tally.refused++;
        return;
    }
    if (err)
        fail_cut(cut, why.text);
    if (!tally.is_mutant)
        look_at_slots(cut);
    if (tpm_slot.kind[0] && !tally.is_mutant)
        look_at_prediction(cut);
    if (cut->ops % 4 == 0 && !tally.is_mutant)
        anchors_go_on(cut);
    if (rig.broker)
        end();
}

/* ---- All cuts ---- */

static const uint32_t dice_of_kind[] = {0, 1, 2, 3};

static void at_point(struct cut *cut, void (*look)(const struct cut *cut))
{
    tally.points++;
    for (int kind = 0; kind < CUT_COUNT; kind++) {
        cut->kind = (enum disk_cut)kind;
        cut->dice = (uint32_t)cut->ops * 1000 + dice_of_kind[kind];
        tally.disks++;
        look(cut);
    }
}

static void all_cuts(void (*look)(const struct cut *cut))
{
    const size_t count = disk_ops(disk);

    disk_stop(disk);
    host_take(host->history, &past);
    for (size_t ops = 0; ops <= count; ops++)
        for (size_t state = 0; state < past.count; state++)
            if (host_possible(&past, state, ops, tally.shift)) {
                struct cut cut = {.ops = ops, .state = state};

                at_point(&cut, look);
            }
    print_message("%s: %zu disk operations and %zu states of the TPM: power cut at %u points, %u disks opened; %u times an "
                  "act under way was done, %u times it was not\n", host->name, count, past.count, tally.points, tally.disks,
                  tally.done, tally.not_done);
}

/* ---- Beginning and end of a test ---- */

static void begin(const struct host_tpm *tpm)
{
    char place[160], text[400], owner[120];
    struct keyslot_spec file;

    host = tpm;
    memset(&tally, 0, sizeof tally);
    step_count = 0;
    rig_dirs(&rig);
    host->make(rig.dir);
    host->place(place, sizeof place);
    spec_file(&recovery, "recovery-file", "recovery", rig.recovery, strlen(rig.recovery));
    spec_file(&second, "keyfile", "second", second_key, sizeof second_key);
    spec_file(&file, "keyfile", "owner", HOST12_OWNER "\n", strlen(HOST12_OWNER) + 1);
    snprintf(owner, sizeof owner, "owner-auth-file=%.100s:", file.arg);
    snprintf(text, sizeof text, "%s:%s%s", host == &host_tpm12 ? "tpm12" : "tpm2", host == &host_tpm12 ? owner : "", place);
    assert_int_equal(anchor_parse(&anchored, text, NULL), VT_OK);
    assert_int_equal(anchor_parse(&unanchored, "none", NULL), VT_OK);
    memset(&tpm_slot, 0, sizeof tpm_slot);
    snprintf(text, sizeof text, "tpm12:pcrs=%d:%s", HOST12_PCR, place);
    if (host == &host_tpm12)
        assert_int_equal(keyslot_parse(&tpm_slot, text, NULL), VT_OK);
    rig.config.anchor = &anchored;
}

static void record(void)
{
    born = rig_sql(&rig, "SELECT max(id) FROM event");
    disk = disk_record(rig.data);
    host_record(host->history, disk);
}

static void finish(void)
{
    if (rig.broker)
        end();
    disk_free(disk);
    host_free(&past);
    host->unmake();
    rig_free(&rig);
}

static void life(void)
{
    char prediction[80];

    snprintf(prediction, sizeof prediction, "reset %d\nextend %d %02x%038d\n", HOST12_PCR, HOST12_PCR, PREDICTED, 0);
    rig_start(&rig);
    assert_int_equal(ask_anchor(), VT_OK);
    STEP("keyslot-add", ask_add(&second, second_key, sizeof second_key));
    if (tpm_slot.kind[0]) {
        STEP("keyslot-add", ask_add(&tpm_slot, NULL, 0));
        STEP("keyslot-reseal", ask_slot(VTPM__ADMIN_REQUEST__VERB_KEYSLOT_RESEAL, 3, prediction));
        STEP("keyslot-reseal", ask_slot(VTPM__ADMIN_REQUEST__VERB_KEYSLOT_RESEAL, 3, (char[]){""}));
    }
    STEP("create", ask_create("a"));
    assert_int_equal(ask_anchor(), VT_OK);
    STEP("keyslot-remove", ask_slot(VTPM__ADMIN_REQUEST__VERB_KEYSLOT_REMOVE, 2, (char[]){""}));
    rig_stop(&rig);
}

static void live_and_cut(const struct host_tpm *tpm, long shift, bool swaps)
{
    begin(tpm);
    host_tpm2_swaps = swaps;
    tally.shift = shift;
    tally.is_mutant = shift || swaps;
    record();
    life();
    all_cuts(look_at_life);
    host_tpm2_swaps = false;
    finish();
}

/* ---- Key slots and advances ---- */

static void test_power_cut__tpm12_slots_and_anchor__opens(void **state)
{
    (void)state;
    live_and_cut(&host_tpm12, 0, false);
    assert_true(tally.points > 60);
    assert_true(tally.done > 20 && tally.not_done > 20);
}

static void test_power_cut__tpm2_slots_and_anchor__opens(void **state)
{
    (void)state;
    live_and_cut(&host_tpm2, 0, false);
    assert_true(tally.points > 40);
    assert_true(tally.done > 10 && tally.not_done > 5);
}

/* ---- accept-rollback ---- */

static void look_at_accepted(const struct cut *cut)
{
    struct vt_why why;
    int err;

    rig.config.anchor = &anchored;
    put_cut(cut);
    err = start(&rig.spec, &why);
    if (err && (err != VT_EDAMAGED || steps[0].reported <= cut->ops || !strstr(why.text, "an older copy")))
        fail_cut(cut, why.text);
    tally.done += !err;
    tally.not_done += err != 0;
    if (err && (accept_rollback(&anchored, &why) || start(&rig.spec, &why)))
        fail_cut(cut, why.text);
    if (events("rollback-accepted") != 1 || rig_sql(&rig, "SELECT count(*) FROM instance"))
        fail_cut(cut, "not what was accepted");
    if (ask_anchor() || row(true).epoch || row(false).epoch < 3)
        fail_cut(cut, "it is not anchored anew");
    end();
    if (accept_rollback(&anchored, &why))
        fail_cut(cut, why.text);
    copy_back("newest");
    if (start(&rig.spec, &why) != VT_EDAMAGED)
        fail_cut(cut, "the copy that was given up opens");
}

static void make_older_copy(void)
{
    rig_start(&rig);
    assert_int_equal(ask_anchor(), VT_OK);
    rig_stop(&rig);
    copy_to("older");
    rig_start(&rig);
    assert_int_equal(ask_create("a"), VT_OK);
    rig_stop(&rig);
    copy_to("newest");
    copy_back("older");
}

static void accept_and_cut(const struct host_tpm *tpm)
{
    struct vt_why why;

    begin(tpm);
    make_older_copy();
    assert_int_equal(start(&rig.spec, &why), VT_EDAMAGED);
    record();
    STEP("rollback-accepted", accept_rollback(&anchored, &why));
    all_cuts(look_at_accepted);
    assert_true(tally.done > 10 && tally.not_done > 10);
    finish();
}

static void test_power_cut__accept_rollback__done_or_to_be_repeated(void **state)
{
    (void)state;
    accept_and_cut(&host_tpm12);
    accept_and_cut(&host_tpm2);
}

/*
 * Still anchored, and then it opens as before; or not. A TPM that was not told, and that the file knows nothing of any
 * more, may take it for one from before it was anchored: which can be accepted.
 */
static void look_at_released(const struct cut *cut)
{
    struct vt_why why;
    int err;

    rig.config.anchor = &unanchored;
    put_cut(cut);
    err = start(&rig.spec, &why);
    if (err && (err != VT_ECONFLICT || steps[0].reported <= cut->ops))
        fail_cut(cut, why.text);
    tally.done += !err;
    tally.not_done += err != 0;
    if (!err)
        end();
    rig.config.anchor = &anchored;
    if (err && start(&rig.spec, &why))
        fail_cut(cut, why.text);
    if (err)
        end();
    if (accept_rollback(&unanchored, &why))
        fail_cut(cut, why.text);
    err = start(&rig.spec, &why);
    if (err == VT_EDAMAGED && strstr(why.text, "from before it was anchored") && strstr(why.text, " --anchor tpm"))
        err = accept_rollback(&anchored, &why) ? VT_EFAIL : start(&rig.spec, &why);
    if (err)
        fail_cut(cut, why.text);
    if (ask_anchor() || !row(false).epoch)
        fail_cut(cut, "it cannot be anchored again");
    end();
}

static void release_and_cut(const struct host_tpm *tpm)
{
    struct vt_why why;

    begin(tpm);
    make_older_copy();
    copy_back("newest");
    record();
    STEP("anchor-removed", accept_rollback(&unanchored, &why));
    all_cuts(look_at_released);
    assert_true(tally.done > 5 && tally.not_done > 5);
    finish();
}

static void test_power_cut__anchor_taken_off__done_or_to_be_repeated(void **state)
{
    (void)state;
    release_and_cut(&host_tpm12);
    release_and_cut(&host_tpm2);
}

/* ---- Does it see anything? ---- */

static void test_mutant__tpms_two_writes_turned_round__is_found(void **state)
{
    (void)state;
    live_and_cut(&host_tpm2, 0, true);
    assert_true(tally.refused > 0);
}

static void test_mutant__tpm_written_before_the_row_is_durable__is_found(void **state)
{
    (void)state;
    live_and_cut(&host_tpm2, -12, false);
    assert_true(tally.refused > 0);
}

static void test_mutant__row_marked_before_the_tpm_is_written__is_found(void **state)
{
    (void)state;
    live_and_cut(&host_tpm2, 12, false);
    assert_true(tally.refused > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_cut__tpm12_slots_and_anchor__opens),
        cmocka_unit_test(test_power_cut__tpm2_slots_and_anchor__opens),
        cmocka_unit_test(test_power_cut__accept_rollback__done_or_to_be_repeated),
        cmocka_unit_test(test_power_cut__anchor_taken_off__done_or_to_be_repeated),
        cmocka_unit_test(test_mutant__tpms_two_writes_turned_round__is_found),
        cmocka_unit_test(test_mutant__tpm_written_before_the_row_is_durable__is_found),
        cmocka_unit_test(test_mutant__row_marked_before_the_tpm_is_written__is_found),
    };

    disk_install();
    return cr_init() || cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

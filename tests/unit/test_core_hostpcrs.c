/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's PCRs in a guest's own: read before each power on that starts the TPM afresh, extended ahead of
 * the queue, and no power on without. The fake TPM's volatile counter tells what was extended
 * (fake_zygote.h); the host's TPM is here.
 */
#include "tests/unit/core_rig.h"

#include <semaphore.h>
#include <stdatomic.h>

#include "server/base/alloc.h"
#include "server/core/measure.h"

#define CLEAR VTPM__STARTUP__STARTUP_CLEAR
#define NONE  VTPM__STARTUP__STARTUP_NONE
#define STATE VTPM__STARTUP__STARTUP_STATE

static struct rig rig;
static struct peer peer;
static struct vt_uuid uuid;
static const struct hwtpm_config config = {.kind = HWTPM_TPM2, .where = "swtpm:port=1"};

/* ---- The host's TPM: it is asked on workers ---- */

static struct {
    _Atomic unsigned asked; /* for PCRs */
    _Atomic int fails;      /* with this error */
    _Atomic unsigned busy;  /* so many times it is held by another */
    _Atomic uint8_t value;  /* in every byte of PCR n: value + n */
    _Atomic bool is_held;   /* each answer waits for the gate */
    sem_t gate;
} host;

int __wrap_hwtpm_run(const struct hwtpm_config *where, hwtpm_work work, void *arg, size_t size,
                     struct vt_why *why);
int __wrap_hwtpm_pcr_read(struct hwtpm *tpm, uint32_t mask, struct hwtpm_pcrs *pcrs, struct vt_why *why);

int __wrap_hwtpm_run(const struct hwtpm_config *where, hwtpm_work work, void *arg, size_t size,
                     struct vt_why *why)
{
    (void)where;
    if (size != sizeof(struct hwtpm_pcrs))
        return vt_fail(why, VT_EIO, "random numbers are no matter here");
    host.asked++;
    if (host.is_held)
        sem_wait(&host.gate);
    if (host.busy) {
        host.busy--;
        return vt_fail(why, VT_EAGAIN, "another process holds it");
    }
    if (host.fails)
        return vt_fail(why, host.fails, "the TPM of the test fails");
    return work((struct hwtpm *)&host, arg, why);
}

int __wrap_hwtpm_pcr_read(struct hwtpm *tpm, uint32_t mask, struct hwtpm_pcrs *pcrs, struct vt_why *why)
{
    (void)tpm;
    (void)why;
    memset(pcrs, 0, sizeof *pcrs);
    pcrs->mask = mask;
    pcrs->len = 32;
    for (unsigned n = 0; n < HWTPM_PCRS; n++)
        memset(pcrs->value[n], host.value + (int)n, 32);
    return VT_OK;
}

/* What the fake TPM counts for host PCRs: the rule, written once more. */
static uint64_t counted(unsigned mask, uint8_t value)
{
    uint64_t count = 0;

    for (unsigned n = 0; n < 16; n++) {
        uint8_t bytes[32], digest[20];

        if (!(mask >> n & 1))
            continue;
        memset(bytes, value + (int)n, sizeof bytes);
        cr_sha1(digest, bytes, sizeof bytes);
        count = (count * 100 + n) * 10 + digest[0];
    }
    return count;
}

/* ---- The rig ---- */

static int ask_for_err(const Vtpm__AdminRequest *request, const char *word)
{
    Vtpm__AdminReply *reply = admin_ask(&rig, ADMIN_FULL, request);
    int err = reply->err;

    if (word && !strstr(reply->text, word))
        fail_msg("%d: %s", err, reply->text);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

static int set_host(uint32_t pcrs, const char *word)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__HostPcrs asked = VTPM__HOST_PCRS__INIT;
    char name[] = "a";

    asked.instance = name;
    asked.pcrs = pcrs;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_HOST_PCRS;
    request.host_pcrs = &asked;
    return ask_for_err(&request, word);
}

static void expect_host(uint32_t pcrs)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceRef ref = VTPM__INSTANCE_REF__INIT;
    Vtpm__AdminReply *reply;
    char name[] = "a";

    ref.instance = name;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_SHOW;
    request.show = &ref;
    reply = admin_ask(&rig, ADMIN_MONITOR, &request);
    assert_true(reply->instances[0]->has_measures);
    assert_int_equal(reply->instances[0]->host_pcrs, pcrs);
    vtpm__admin_reply__free_unpacked(reply, NULL);
}

static int make(void **state)
{
    (void)state;
    host.asked = host.busy = 0;
    host.fails = 0;
    host.value = 1;
    host.is_held = false;
    sem_init(&host.gate, 0, 0);
    rig_make(&rig);
    rig.config.hwtpm = &config;
    rig_restart(&rig);
    rig_create(&rig, "a", &uuid);
    peer = (struct peer){0};
    peer_on(&rig, &peer, &uuid);
    assert_int_equal(set_host(0x81, NULL), VT_OK);
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    peer_close(&peer);
    rig.config.hwtpm = NULL;
    rig_free(&rig);
    sem_destroy(&host.gate);
    return 0;
}

static void again(void)
{
    peer_close(&peer);
    peer_on(&rig, &peer, &uuid);
}

static void off(void)
{
    peer_detach(&peer, true);
    assert_int_equal(peer_attach(&peer, NULL), 0);
}

static void powers_on(int domid)
{
    bool acted;

    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, domid}, &acted), 0);
    assert_true(acted);
}

static void refused(Vtpm__Startup startup, int domid, const char *word)
{
    bool acted;

    assert_int_equal(peer_power_on(&peer, startup, (struct guest){1, domid}, &acted), -VT_ECONFLICT);
    assert_false(peer.closed);
    if (!strstr(peer.msg->error->text, word))
        fail_msg("%s", peer.msg->error->text);
}

/* Without waiting. */
static void begins(struct peer *who)
{
    Vtpm__Message msg = VTPM__MESSAGE__INIT;
    Vtpm__PowerOn on = VTPM__POWER_ON__INIT;

    on.startup = CLEAR;
    msg.body_case = VTPM__MESSAGE__BODY_POWER_ON;
    msg.power_on = &on;
    peer_send(who, &msg);
}

static void last_event(const char *kind, char out[300])
{
    db_drain(rig.broker->db);
    rig_ask(&rig, out, 300, "SELECT text FROM event WHERE kind = '%s' ORDER BY id DESC LIMIT 1", kind);
}

/* ---- Extended ---- */

static void test_power_on__host_pcrs__extended_each_time_as_they_are(void **state)
{
    char event[300];

    (void)state;
    last_event("measure", event);
    assert_string_equal(event, "of the host's PCRs in its own at each power on: 0,7");
    powers_on(1);
    last_event("power-on", event);
    assert_string_equal(event, "powered on, with the host's PCR 0,7");
    peer_expect(&peer, 1, FAKE_READ, counted(0x81, 1), 0);
    assert_int_equal(fake.extended, 2);
    /* The same guest's shim comes again: nothing is extended twice. */
    again();
    peer_expect(&peer, 1, FAKE_READ, counted(0x81, 1), 0);
    assert_int_equal(host.asked, 1);
    off();
    host.value = 60;
    powers_on(2);
    peer_expect(&peer, 2, FAKE_READ, counted(0x81, 60), 0);
    /* Changed while it is on: from the next power on. */
    assert_int_equal(set_host(0x10, NULL), VT_OK);
    peer_expect(&peer, 3, FAKE_READ, counted(0x81, 60), 0);
    powers_on(3);
    peer_expect(&peer, 4, FAKE_READ, counted(0x10, 60), 0);
    assert_int_equal(set_host(0, NULL), VT_OK);
    expect_host(0);
    off();
    powers_on(4);
    peer_expect(&peer, 5, FAKE_READ, 0, 0);
    assert_int_equal(host.asked, 3);
}

static void test_power_on__queue_too__host_first(void **state)
{
    char event[300];

    (void)state;
    assert_int_equal(admin_measured(&rig, "a", 4, 1, false), VT_OK);
    powers_on(1);
    peer_expect(&peer, 1, FAKE_READ, counted(0x81, 1) * 1000 + 41, 0);
    last_event("power-on", event);
    assert_string_equal(event, "powered on, with the host's PCR 0,7, measured: PCR 4 x1");
}

static void test_power_on__all_pcrs_and_a_full_queue__is_one_request(void **state)
{
    (void)state;
    assert_int_equal(set_host(0xffff, NULL), VT_OK);
    for (unsigned k = 0; k < MEASURE_MAX; k++)
        assert_int_equal(admin_measured(&rig, "a", k % MEASURE_PCRS, 1, false), VT_OK);
    powers_on(1);
    assert_int_equal(fake.extended, MEASURE_MAX + MEASURE_PCRS);
}

static void test_setting__restart_and_reboot__stays(void **state)
{
    (void)state;
    powers_on(1);
    peer_close(&peer);
    rig_restart(&rig);
    expect_host(0x81);
    peer_on(&rig, &peer, &uuid);
    peer_expect(&peer, 1, FAKE_READ, counted(0x81, 1), 0);
    peer_close(&peer);
    host.value = 9;
    rig_reboot(&rig);
    expect_host(0x81);
    peer_on(&rig, &peer, &uuid);
    peer_expect_fail(&peer, 1, FAKE_READ);
    powers_on(2);
    peer_expect(&peer, 2, FAKE_READ, counted(0x81, 9), 0);
}

static void test_resume__armed__host_is_not_asked(void **state)
{
    bool acted;

    (void)state;
    powers_on(1);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_SUSPEND, "a"), VT_OK);
    host.fails = VT_ETIMEOUT;
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 2}, &acted), 0);
    assert_false(acted);
    peer_expect(&peer, 1, FAKE_READ, counted(0x81, 1), 0);
    assert_int_equal(host.asked, 1);
}

/* ---- Refused ---- */

static void test_power_on__host_does_not_answer__refused_with_the_way_out(void **state)
{
    char event[300];

    (void)state;
    host.fails = VT_ETIMEOUT;
    refused(CLEAR, 1,
            "restart the guest when they can, or vtpmctl instance host-pcrs I none: the TPM of the test");
    last_event("power-on-refused", event);
    assert_non_null(strstr(event, "vtpmctl instance host-pcrs I none"));
    peer_expect_fail(&peer, 1, FAKE_STARTUP);
    peer_expect_fail(&peer, 2, FAKE_READ);
    assert_int_equal(fake.powered_on, 0);
    host.fails = 0;
    again();
    powers_on(1);
    peer_expect(&peer, 1, FAKE_READ, counted(0x81, 1), 0);
}

/* The old domain's PCRs are not the new one's. */
static void test_new_domain__host_does_not_answer__has_no_tpm(void **state)
{
    (void)state;
    powers_on(1);
    peer_expect(&peer, 1, FAKE_BUMP_VOLATILE, counted(0x81, 1) + 1, 0);
    host.fails = VT_ENOTFOUND;
    refused(CLEAR, 2, "the TPM of the test fails");
    peer_expect_fail(&peer, 2, FAKE_READ);
    peer_expect_fail(&peer, 3, FAKE_BUMP_BOTH);
    assert_int_equal(peer_platform_init(&peer), -VT_EPOWER);
    host.fails = 0;
    powers_on(2);
    peer_expect(&peer, 4, FAKE_READ, counted(0x81, 1), 0);
}

static void test_power_on__startup_left_to_the_guest__refused(void **state)
{
    (void)state;
    refused(NONE, 1, "--startup clear");
    assert_int_equal(host.asked, 0);
    /* Nothing was saved: the TPM is not started, and the guest would do it. */
    refused(STATE, 1, "TPM_Startup gave 0x9");
    peer_expect_fail(&peer, 1, FAKE_STARTUP);
    fake.has_state = true;
    off();
    {
        bool acted;

        assert_int_equal(peer_power_on(&peer, STATE, (struct guest){1, 1}, &acted), 0);
        assert_true(acted);
    }
    assert_int_equal(fake.extended, 0);
    assert_int_equal(host.asked, 0);
    /* Nor may a monitor's reset give the guest fresh PCRs. */
    assert_int_equal(peer_platform_init(&peer), -VT_ECONFLICT);
}

static void test_admin__what_cannot_be__refused(void **state)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceCreate create = VTPM__INSTANCE_CREATE__INIT;
    char name[] = "b";

    (void)state;
    assert_int_equal(set_host(0x10000, "from 0 to 15"), VT_EUSAGE);
    create.name = name;
    create.host_pcrs = 0x800000;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_CREATE;
    request.create = &create;
    assert_int_equal(ask_for_err(&request, "from 0 to 15"), VT_EUSAGE);
    expect_host(0x81);
    peer_close(&peer);
    rig.config.hwtpm = NULL;
    rig_restart(&rig);
    assert_int_equal(set_host(1, "--hwtpm"), VT_ECONFLICT);
    create.host_pcrs = 1;
    assert_int_equal(ask_for_err(&request, "--hwtpm"), VT_ECONFLICT);
    peer_on(&rig, &peer, &uuid);
    refused(CLEAR, 1, "uses no TPM of the host");
    assert_int_equal(set_host(0, NULL), VT_OK);
    powers_on(1);
    rig.config.hwtpm = &config;
}

static void test_create__with_host_pcrs__from_its_first_record_on(void **state)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceCreate create = VTPM__INSTANCE_CREATE__INIT;
    Vtpm__AdminReply *reply;
    struct vt_uuid b;
    char name[] = "b";

    (void)state;
    create.name = name;
    create.host_pcrs = 0xff;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_CREATE;
    request.create = &create;
    reply = admin_ask(&rig, ADMIN_FULL, &request);
    assert_int_equal(reply->err, VT_OK);
    assert_true(vt_uuid_parse(&b, reply->instances[0]->uuid));
    vtpm__admin_reply__free_unpacked(reply, NULL);
    peer_close(&peer);
    peer_on(&rig, &peer, &b);
    powers_on(1);
    assert_int_equal(fake.extended, 8);
}

/* ---- What goes wrong on the way ---- */

static void test_power_on__tpm_held_by_another__asked_again(void **state)
{
    (void)state;
    host.busy = 2;
    powers_on(1);
    assert_int_equal(host.asked, 3);
    peer_expect(&peer, 1, FAKE_READ, counted(0x81, 1), 0);
}

static void test_power_on__engine_dies__extended_once(void **state)
{
    (void)state;
    fake.crashes = 1;
    powers_on(1);
    peer_expect(&peer, 1, FAKE_READ, counted(0x81, 1), 0);
    assert_int_equal(fake.extended, 2);
    assert_int_equal(host.asked, 1);
}

static void test_power_on__store_shut__has_not_happened(void **state)
{
    bool acted;

    (void)state;
    rig_lock(&rig);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 1}, &acted), -VT_EUNAVAILABLE);
    rig_unlock();
    again();
    assert_int_equal(peer.msg->attached->power, VTPM__POWER__POWER_OFF);
    host.value = 5;
    powers_on(1);
    peer_expect(&peer, 1, FAKE_READ, counted(0x81, 5), 0);
}

#ifdef VTPM_TEST_HOOKS
/* The k-th allocation fails: with the host's PCRs, or not on. */
static void test_power_on__memory_runs_out_anywhere__with_them_or_not_at_all(void **state)
{
    long k, errors = 0;

    (void)state;
    for (k = 0; k < 200; k++) {
        struct seen seen;
        bool acted;
        long made;
        int err;

        again();
        (void)vt_alloc_fail_after(k);
        err = peer_power_on(&peer, CLEAR, (struct guest){1, (int)k}, &acted);
        made = vt_alloc_fail_after(-1);
        errors += err != 0;
        if (!peer.closed && err && !peer_execute(&peer, 1, FAKE_READ, &seen) && !seen.rc)
            fail_msg("k=%ld: error %d, and a TPM", k, err);
        again();
        if (err)
            powers_on((int)k);
        peer_expect(&peer, 1, FAKE_READ, counted(0x81, 1), 0);
        off();
        if (made <= k)
            break;
    }
    if (errors <= 2 || k == 200)
        fail_msg("%ld errors in %ld rounds", errors, k);
}
#endif

/* ---- Many at once ---- */

static void test_many__ask_while_it_is_read__one_reading_for_those_who_wait(void **state)
{
    struct peer others[3] = {0};
    struct vt_uuid uuids[3];
    char names[3][2] = {"b", "c", "d"};

    (void)state;
    for (size_t k = 0; k < VT_COUNT(others); k++) {
        Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
        Vtpm__HostPcrs asked = VTPM__HOST_PCRS__INIT;

        rig_create(&rig, names[k], &uuids[k]);
        asked.instance = names[k];
        asked.pcrs = 1u << k;
        request.verb_case = VTPM__ADMIN_REQUEST__VERB_HOST_PCRS;
        request.host_pcrs = &asked;
        assert_int_equal(ask_for_err(&request, NULL), VT_OK);
        peer_on(&rig, &others[k], &uuids[k]);
    }
    host.is_held = true;
    begins(&peer);
    while (!host.asked)
        rig_turn(&rig, 1);
    for (size_t k = 0; k < VT_COUNT(others); k++)
        begins(&others[k]);
    /* What was read for the first is too old for the others. */
    sem_post(&host.gate);
    peer_wait(&peer);
    host.value = 7;
    sem_post(&host.gate);
    for (size_t k = 0; k < VT_COUNT(others); k++) {
        peer_wait(&others[k]);
        peer_expect(&others[k], 1, FAKE_READ, counted(1u << k, 7), 0);
        peer_close(&others[k]);
    }
    peer_expect(&peer, 1, FAKE_READ, counted(0x81, 1), 0);
    assert_int_equal(host.asked, 2);
}

/* The server stops, or the instance goes, while the host's TPM is asked. */
static void test_stop__while_it_is_asked__off_or_on_but_whole(void **state)
{
    (void)state;
    host.is_held = true;
    begins(&peer);
    while (!host.asked)
        rig_turn(&rig, 1);
    sem_post(&host.gate);
    host.is_held = false;
    peer_close(&peer);
    rig_restart(&rig);
    peer_on(&rig, &peer, &uuid);
    if (peer.msg->attached->power == VTPM__POWER__POWER_OFF)
        powers_on(1);
    peer_expect(&peer, 1, FAKE_READ, counted(0x81, 1), 0);
}

static void test_delete__while_it_is_asked__nothing_is_left(void **state)
{
    (void)state;
    host.is_held = true;
    begins(&peer);
    while (!host.asked)
        rig_turn(&rig, 1);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DELETE, "a"), VT_OK);
    sem_post(&host.gate);
    host.is_held = false;
    rig_turn(&rig, 50);
    assert_true(peer.closed);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM instance WHERE life = 3 AND name = 'a'"), 1);
}

#define ONE(fn) cmocka_unit_test_setup_teardown(fn, make, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(test_power_on__host_pcrs__extended_each_time_as_they_are),
        ONE(test_power_on__queue_too__host_first),
        ONE(test_power_on__all_pcrs_and_a_full_queue__is_one_request),
        ONE(test_setting__restart_and_reboot__stays),
        ONE(test_resume__armed__host_is_not_asked),
        ONE(test_power_on__host_does_not_answer__refused_with_the_way_out),
        ONE(test_new_domain__host_does_not_answer__has_no_tpm),
        ONE(test_power_on__startup_left_to_the_guest__refused),
        ONE(test_admin__what_cannot_be__refused),
        ONE(test_create__with_host_pcrs__from_its_first_record_on),
        ONE(test_power_on__tpm_held_by_another__asked_again),
        ONE(test_power_on__engine_dies__extended_once),
        ONE(test_power_on__store_shut__has_not_happened),
#ifdef VTPM_TEST_HOOKS
        ONE(test_power_on__memory_runs_out_anywhere__with_them_or_not_at_all),
#endif
        ONE(test_many__ask_while_it_is_read__one_reading_for_those_who_wait),
        ONE(test_stop__while_it_is_asked__off_or_on_but_whole),
        ONE(test_delete__while_it_is_asked__nothing_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker on a real store, from a shim's attach to its commands: each allocation of SQLite, libcrypto, mbedTLS and
 * libuv, each operation on the store's and the runtime store's files, each call for entropy fails once. Whoever then
 * does what a shim does, that is come back and send the same number again, gets the right answer once; no instance is
 * taken for broken, no volatile state for lost. (Our own allocator: tests/unit/test_core_memory.c.)
 */
#include "server/sandbox/messages.h"
#include "tests/fault/countdown.h"
#include "tests/unit/move_peer.h"

#include <stdio.h>
#include <stdlib.h>

#include "server/base/alloc.h"

#define COMMANDS 3

static const struct guest guest = {1, 1};
static const uint32_t ordinals[COMMANDS] = {FAKE_BUMP_BOTH, FAKE_BUMP_VOLATILE, FAKE_READ};
static const uint64_t volatile_counts[COMMANDS] = {1, 2, 2}, permanent_counts[COMMANDS] = {1, 1, 1};

struct world {
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    char identity[VT_UUID_TEXT];
    struct foreign far;
    struct moving moving; /* what a guest that is on looks like when it moves */
    unsigned number;
    uint64_t n; /* of the last command that was answered */
};

static void fresh_instance(struct world *w)
{
    char name[32];

    snprintf(name, sizeof name, "i%u", ++w->number);
    rig_create(&w->rig, name, &w->uuid);
    vt_uuid_text(w->identity, &w->uuid);
}

static void not_broken(struct world *w)
{
    char state[24];

    rig_state(&w->rig, &w->uuid, state);
    if (strcmp(state, "broken") == 0 || strcmp(state, "needs-power-on") == 0)
        fail_msg("call %ld failed: the instance is %s", count_nth(), state);
}

/* As the shim: a new connection with the same stream. */
static void come_back(struct world *w)
{
    uint8_t stream[16];
    bool acted;

    memcpy(stream, w->peer.stream, sizeof stream);
    peer_close(&w->peer);
    peer_open(&w->rig, &w->peer, w->identity);
    memcpy(w->peer.stream, stream, sizeof stream);
    if (peer_attach(&w->peer, NULL))
        fail_msg("call %ld failed: attach: %s", count_nth(), w->peer.close_text);
    if (peer_power_on(&w->peer, VTPM__STARTUP__STARTUP_CLEAR, guest, &acted))
        fail_msg("call %ld failed: power on: %s", count_nth(), w->peer.close_text);
}

static void expect(uint64_t n, const struct seen *seen)
{
    if (seen->rc || seen->volatile_count != volatile_counts[n - 1] ||
        seen->permanent_count != permanent_counts[n - 1])
        fail_msg("call %ld failed: command %u: rc %x, counters %u and %u", count_nth(), (unsigned)n, seen->rc,
                 (unsigned)seen->volatile_count, (unsigned)seen->permanent_count);
}

/* Until something does not work. */
static bool commands(struct world *w)
{
    struct seen seen;

    while (w->n < COMMANDS) {
        if (peer_execute(&w->peer, w->n + 1, ordinals[w->n], &seen))
            return false;
        expect(++w->n, &seen);
        if (w->n == 1)
            fake_kill_idle(); /* the next one must thaw */
    }
    return true;
}

static void finish(struct world *w)
{
    not_broken(w);
    come_back(w);
    if (!commands(w))
        fail_msg("call %ld failed: command %u is still refused", count_nth(), (unsigned)w->n + 1);
    peer_close(&w->peer);
    not_broken(w);
}

static void scenario_life(void *arg)
{
    struct world *w = arg;
    bool acted;

    fresh_instance(w);
    w->n = 0;
    peer_open(&w->rig, &w->peer, w->identity);
    count_begin();
    if (!peer_attach(&w->peer, NULL) && !peer_power_on(&w->peer, VTPM__STARTUP__STARTUP_CLEAR, guest, &acted))
        (void)commands(w);
    (void)count_end();
    finish(w);
}

/* The broker was started again; the volatile state is in the runtime store only. */
static void scenario_adopt(void *arg)
{
    struct world *w = arg;
    struct seen seen;
    uint8_t stream[16];
    bool acted;

    memcpy(stream, w->peer.stream, sizeof stream);
    rig_restart(&w->rig);
    peer_open(&w->rig, &w->peer, w->identity);
    memcpy(w->peer.stream, stream, sizeof stream);
    count_begin();
    if (!peer_attach(&w->peer, NULL) && !peer_power_on(&w->peer, VTPM__STARTUP__STARTUP_CLEAR, guest, &acted))
        (void)peer_execute(&w->peer, w->n + 1, FAKE_BUMP_VOLATILE, &seen);
    (void)count_end();
    not_broken(w);
    come_back(w);
    /* Each round adds one, whatever failed. */
    w->n++;
    peer_expect(&w->peer, w->n, FAKE_BUMP_VOLATILE, w->n, 0);
    peer_close(&w->peer);
}

/* A queue of one, power off; then the power on that uses it meets the fault. */
static void scenario_measured(void *arg)
{
    struct world *w = arg;
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceRef ref = VTPM__INSTANCE_REF__INIT;
    Vtpm__AdminReply *reply;
    bool acted;

    fresh_instance(w);
    assert_int_equal(admin_measured(&w->rig, w->identity, 4, 1, false), VT_OK);
    peer_open(&w->rig, &w->peer, w->identity);
    count_begin();
    if (!peer_attach(&w->peer, NULL))
        (void)peer_power_on(&w->peer, VTPM__STARTUP__STARTUP_CLEAR, guest, &acted);
    (void)count_end();
    not_broken(w);
    come_back(w);
    peer_expect(&w->peer, 1, FAKE_READ, 41, 0);
    peer_close(&w->peer);
    ref.instance = w->identity;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_MEASURE_LIST;
    request.measure_list = &ref;
    reply = admin_ask(&w->rig, ADMIN_MONITOR, &request);
    if (reply->err || reply->n_measurements)
        fail_msg("call %ld failed: %zu measurements are left (%d)", count_nth(), reply->n_measurements, reply->err);
    vtpm__admin_reply__free_unpacked(reply, NULL);
}

/* ---- The host's TPM, which does not fail: what is around it does ---- */

static const struct hwtpm_config host = {.kind = HWTPM_TPM2, .where = "swtpm:port=1"};

int __wrap_hwtpm_run(const struct hwtpm_config *where, hwtpm_work work, void *arg, size_t size, struct vt_why *why);
int __wrap_hwtpm_pcr_read(struct hwtpm *tpm, uint32_t mask, struct hwtpm_pcrs *pcrs, struct vt_why *why);

int __wrap_hwtpm_run(const struct hwtpm_config *where, hwtpm_work work, void *arg, size_t size, struct vt_why *why)
{
    (void)where;
    if (size != sizeof(struct hwtpm_pcrs))
        return vt_fail(why, VT_EIO, "random numbers are no matter here");
    return work(NULL, arg, why);
}

int __wrap_hwtpm_pcr_read(struct hwtpm *tpm, uint32_t mask, struct hwtpm_pcrs *pcrs, struct vt_why *why)
{
    (void)tpm;
    (void)why;
    *pcrs = (struct hwtpm_pcrs){.mask = mask, .len = 32};
    return VT_OK;
}

static int set_host_pcrs(struct world *w)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__HostPcrs order = VTPM__HOST_PCRS__INIT;
    Vtpm__AdminReply *reply;
    int err;

    order.instance = w->identity;
    order.pcrs = 0x05;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_HOST_PCRS;
    request.host_pcrs = &order;
    reply = admin_ask(&w->rig, ADMIN_FULL, &request);
    err = reply->err;
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

/* What the fake TPM counts for PCRs 0 and 2 of this host: zeros both. */
static uint64_t counted(void)
{
    static const uint8_t zero[32];
    uint8_t digest[CR_SHA1_LEN];

    cr_sha1(digest, zero, sizeof zero);
    return (digest[0] * 100u + 2) * 10 + digest[0];
}

/* The setting, and the power on that asks: refused or not, the TPM never runs without; and it is extended once. */
static void scenario_host_pcrs(void *arg)
{
    struct world *w = arg;
    struct seen seen;
    bool acted = false;
    uint64_t n = 0;
    int err;

    fresh_instance(w);
    count_begin();
    err = set_host_pcrs(w);
    (void)count_end();
    if (err && set_host_pcrs(w))
        fail_msg("call %ld failed (%d): it cannot be set any more", count_nth(), err);
    peer_open(&w->rig, &w->peer, w->identity);
    count_begin();
    if (!peer_attach(&w->peer, NULL))
        (void)peer_power_on(&w->peer, VTPM__STARTUP__STARTUP_CLEAR, guest, &acted);
    (void)count_end();
    if (acted)
        peer_expect(&w->peer, ++n, FAKE_READ, counted(), 0);
    else if (!w->peer.closed && !peer_execute(&w->peer, ++n, FAKE_READ, &seen) && !seen.rc)
        fail_msg("call %ld failed: no power on, and a TPM", count_nth());
    not_broken(w);
    come_back(w);
    peer_expect(&w->peer, n + 1, FAKE_READ, counted(), 0);
    peer_close(&w->peer);
    not_broken(w);
}

/* Said to be there: there, whatever comes next. Said to be not: the next one goes in, unless it had. */
static int install(struct world *w)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__EkCertInstall order = VTPM__EK_CERT_INSTALL__INIT;
    Vtpm__AdminReply *reply;
    uint8_t der[900] = {SANDBOX_EK_INSTALLED};
    int err;

    order.instance = w->identity;
    order.certificate = (ProtobufCBinaryData){.data = der, .len = sizeof der};
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_EKCERT_INSTALL;
    request.ekcert_install = &order;
    reply = admin_ask(&w->rig, ADMIN_FULL, &request);
    err = reply->err;
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

static void scenario_certificate(void *arg)
{
    struct world *w = arg;
    int err, again;

    fresh_instance(w);
    count_begin();
    err = install(w);
    (void)count_end();
    rig_restart(&w->rig);
    not_broken(w);
    again = install(w);
    if (again != (err ? VT_OK : VT_ECONFLICT) && !(err == VT_EUNKNOWN && again == VT_ECONFLICT))
        fail_msg("call %ld failed: install says %d, then %d", count_nth(), err, again);
    if (rig_sql(&w->rig, "SELECT count(*) FROM event WHERE kind = 'ekcert' AND uuid = (SELECT uuid FROM instance WHERE name = "
                         "'i%u')", w->number) > 1)
        fail_msg("call %ld failed: two events", count_nth());
}

/* Executed once, with a key or told that there is none; or not at all, and then when the guest comes back. */
static void scenario_key(void *arg)
{
    struct world *w = arg;
    struct seen seen = {0};
    bool acted;
    int err;

    fresh_instance(w);
    peer_open(&w->rig, &w->peer, w->identity);
    if (peer_attach(&w->peer, NULL) || peer_power_on(&w->peer, VTPM__STARTUP__STARTUP_CLEAR, guest, &acted))
        fail_msg("call %ld is not counted, and no power on", count_nth());
    fake.key_err = 0;
    count_begin();
    err = peer_execute(&w->peer, 1, FAKE_KEY, &seen);
    (void)count_end();
    if (fake.key_err && fake.key_err != VT_EUNAVAILABLE)
        fail_msg("call %ld failed: the engine is told %d", count_nth(), fake.key_err);
    if (err || w->peer.closed)
        come_back(w);
    if (err)
        peer_expect(&w->peer, 1, FAKE_KEY, 1, 1);
    else if (seen.rc || seen.volatile_count != 1 || seen.permanent_count != 1)
        fail_msg("call %ld failed: rc %x, counters %u and %u", count_nth(), seen.rc, (unsigned)seen.volatile_count,
                 (unsigned)seen.permanent_count);
    peer_expect(&w->peer, 2, FAKE_KEY, 2, 2);
    if (fake.key_err)
        fail_msg("call %ld failed: and then there is no key: %d", count_nth(), fake.key_err);
    peer_close(&w->peer);
    not_broken(w);
}

static void scenario_create(void *arg)
{
    struct world *w = arg;
    struct vt_uuid uuid;
    char name[32];
    int64_t rows;
    int err;

    snprintf(name, sizeof name, "c%u", ++w->number);
    count_begin();
    err = admin_make(&w->rig, name, "", "", "", &uuid);
    (void)count_end();
    rows = rig_sql(&w->rig, "SELECT count(*) FROM instance WHERE name = '%s'", name);
    if (!err)
        assert_int_equal(rows, 1);
    else if (rows && err != VT_EUNKNOWN)
        fail_msg("call %ld failed: create says %d, and the instance is there", count_nth(), err);
}

/* On, with a change of each state behind it, and nobody attached. */
static void powered_and_alone(struct world *w)
{
    char name[32];

    snprintf(name, sizeof name, "m%u", ++w->number);
    rig_powered(&w->rig, &w->peer, name, &w->uuid);
    vt_uuid_text(w->identity, &w->uuid);
    peer_expect(&w->peer, 1, FAKE_BUMP_BOTH, 1, 1);
    peer_expect(&w->peer, 2, FAKE_BUMP_VOLATILE, 2, 1);
    peer_close(&w->peer);
}

/* Whatever fails: it is here, or it has left, as the store says; and what leaves in the end is whole. */
static void scenario_export(void *arg)
{
    struct world *w = arg;
    struct bundle_head head;
    struct moving moving;
    uint8_t *bundle;
    size_t len;
    int err;

    powered_and_alone(w);
    count_begin();
    err = move_export(&w->rig, w->identity, "far", &bundle, &len, NULL);
    (void)count_end();
    vt_free(bundle);
    not_broken(w);
    if (!err)
        assert_int_equal(rig_sql(&w->rig, "SELECT count(*) FROM exported e JOIN instance i ON i.uuid = e.uuid "
                                          "WHERE i.name = 'm%u' AND i.life = 1", w->number), 1);
    assert_int_equal(rig_sql(&w->rig, "SELECT count(*) FROM exported e JOIN instance i ON i.uuid = e.uuid "
                                      "WHERE i.life = 0"), 0);
    if (move_export(&w->rig, w->identity, "far", &bundle, &len, NULL))
        fail_msg("call %ld failed: it cannot leave any more", count_nth());
    foreign_open(&w->far, bundle, len, &head, &moving);
    if (!moving.record.volatile_state.len || moving.record.power != RECORD_ON)
        fail_msg("call %ld failed: its PCRs stayed behind", count_nth());
    moving_free(&moving);
    vt_free(bundle);
    assert_int_equal(rig_sql(&w->rig, "SELECT count(*) FROM events WHERE kind = 'export' AND uuid = '%s'", w->identity),
                     1);
}

/* Whatever fails: nothing of it is here, or all of it; the same bundle then brings it, once, with its PCRs. */
static void scenario_import(void *arg)
{
    struct world *w = arg;
    struct peer *peer = &w->peer;
    uint8_t *bundle;
    size_t len;
    bool acted;
    int err;

    snprintf(w->moving.name, sizeof w->moving.name, "n%u", ++w->number);
    w->moving.uuid.bytes[14] = (uint8_t)(w->number >> 8);
    w->moving.uuid.bytes[15] = (uint8_t)w->number;
    w->uuid = w->moving.uuid;
    vt_uuid_text(w->identity, &w->uuid);
    {
        struct bundle_head head = {.source = w->far.store, .target = w->rig.broker->store, .time = 1};

        memcpy(head.id, w->moving.uuid.bytes, sizeof head.id);
        assert_int_equal(bundle_make(&head, &w->far.key, w->far.rig_public, &w->moving, &bundle, &len), VT_OK);
    }
    count_begin();
    err = move_import(&w->rig, bundle, len, NULL);
    (void)count_end();
    if (err && err != VT_EUNKNOWN && rig_sql(&w->rig, "SELECT count(*) FROM instance WHERE name = '%s'", w->moving.name))
        fail_msg("call %ld failed: import says %d, and the instance is there", count_nth(), err);
    if (err) {
        int again = move_import(&w->rig, bundle, len, NULL);

        if (again && !(err == VT_EUNKNOWN && again == VT_EEXISTS))
            fail_msg("call %ld failed (%d): it cannot be imported any more (%d)", count_nth(), err, again);
    }
    assert_int_equal(move_import(&w->rig, bundle, len, NULL), VT_EEXISTS);
    vt_free(bundle);
    peer_open(&w->rig, peer, w->identity);
    assert_int_equal(peer_attach(peer, NULL), 0);
    assert_int_equal(peer_power_on(peer, VTPM__STARTUP__STARTUP_CLEAR, guest, &acted), 0);
    if (acted)
        fail_msg("call %ld failed: its PCRs were lost", count_nth());
    peer_expect(peer, 1, FAKE_READ, 2, 1);
    peer_close(peer);
    not_broken(w);
}

/* A point multiplication takes a thousand pieces of memory. */
#define CURVE_STRIDE 61

static void each_kind_by(const char *name, long mbedtls_stride, void (*scenario)(void *), void *arg)
{
    static const struct {
        enum fault fault;
        const char *name;
        long stride; /* of a run in the gate */
    } kinds[] = {{FAULT_ENTROPY, "entropy", 1}, {FAULT_FILE, "file", 1},           {FAULT_STORE, "store file", 1},
                 {FAULT_UV, "uv", 1},           {FAULT_LIBCRYPTO, "libcrypto", 1}, {FAULT_MBEDTLS, "mbedtls", 1},
                 {FAULT_SQLITE, "sqlite memory", 7}};

    for (size_t i = 0; i < VT_COUNT(kinds); i++) {
        char text[64];

        const long stride = kinds[i].fault == FAULT_MBEDTLS ? mbedtls_stride : kinds[i].stride;

        snprintf(text, sizeof text, "%s, %s", name, kinds[i].name);
        (void)count_down_by(text, kinds[i].fault, getenv("VTPM_LONG") ? 1 : stride, scenario, arg);
    }
}

static void each_kind(const char *name, void (*scenario)(void *), void *arg)
{
    each_kind_by(name, 1, scenario, arg);
}

static void test_core__each_fault_in_a_life__exactly_once(void **state)
{
    static struct world w;

    (void)state;
    memset(&w, 0, sizeof w);
    rig_make(&w.rig);
    each_kind("life", scenario_life, &w);
    rig_free(&w.rig);
}

static void test_core__each_fault_after_a_restart__nothing_lost(void **state)
{
    static struct world w;
    bool acted;

    (void)state;
    memset(&w, 0, sizeof w);
    rig_make(&w.rig);
    fresh_instance(&w);
    peer_on(&w.rig, &w.peer, &w.uuid);
    assert_int_equal(peer_power_on(&w.peer, VTPM__STARTUP__STARTUP_CLEAR, guest, &acted), 0);
    peer_close(&w.peer);
    each_kind("adopt", scenario_adopt, &w);
    rig_free(&w.rig);
}

static void test_core__each_fault_in_a_measured_start__extended_once(void **state)
{
    static struct world w;

    (void)state;
    memset(&w, 0, sizeof w);
    rig_make(&w.rig);
    each_kind("measured", scenario_measured, &w);
    rig_free(&w.rig);
}

static void test_core__each_fault_where_the_host_is_asked__with_it_or_not_at_all(void **state)
{
    static struct world w;

    (void)state;
    memset(&w, 0, sizeof w);
    rig_make(&w.rig);
    w.rig.config.hwtpm = &host;
    rig_restart(&w.rig);
    each_kind("host PCRs", scenario_host_pcrs, &w);
    rig_free(&w.rig);
}

static void test_core__each_fault_in_create__all_or_nothing(void **state)
{
    static struct world w;

    (void)state;
    memset(&w, 0, sizeof w);
    rig_make(&w.rig);
    each_kind("create", scenario_create, &w);
    rig_free(&w.rig);
}

static void test_core__each_fault_in_a_certificate__there_or_not(void **state)
{
    static struct world w;

    (void)state;
    memset(&w, 0, sizeof w);
    rig_make(&w.rig);
    each_kind("certificate", scenario_certificate, &w);
    rig_free(&w.rig);
}

static void test_core__each_fault_where_a_key_is_made__with_it_or_without(void **state)
{
    static struct world w;

    (void)state;
    memset(&w, 0, sizeof w);
    rig_dirs(&w.rig);
    w.rig.config.keypool = (struct keypool_config){.size = {1, 0}, .wait_ms = 1000000, .makers = 1};
    rig_start(&w.rig);
    fake.key_bits = 512;
    each_kind("key", scenario_key, &w);
    assert_true(count_down("key, memory", FAULT_ALLOC, scenario_key, &w) > 3);
    rig_free(&w.rig);
}

static void test_core__each_fault_in_an_export__here_or_gone(void **state)
{
    static struct world w;

    (void)state;
    memset(&w, 0, sizeof w);
    rig_make(&w.rig);
    foreign_make(&w.far, &w.rig);
    each_kind_by("export", CURVE_STRIDE, scenario_export, &w);
    rig_free(&w.rig);
}

static void test_core__each_fault_in_an_import__all_or_nothing(void **state)
{
    static struct world w;
    struct bundle_head head;
    uint8_t *bundle;
    size_t len;

    (void)state;
    memset(&w, 0, sizeof w);
    rig_make(&w.rig);
    foreign_make(&w.far, &w.rig);
    powered_and_alone(&w);
    assert_int_equal(move_export(&w.rig, w.identity, "far", &bundle, &len, NULL), VT_OK);
    foreign_open(&w.far, bundle, len, &head, &w.moving);
    vt_free(bundle);
    each_kind_by("import", CURVE_STRIDE, scenario_import, &w);
    moving_free(&w.moving);
    rig_free(&w.rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_core__each_fault_in_a_life__exactly_once),
        cmocka_unit_test(test_core__each_fault_after_a_restart__nothing_lost),
        cmocka_unit_test(test_core__each_fault_in_a_measured_start__extended_once),
        cmocka_unit_test(test_core__each_fault_where_the_host_is_asked__with_it_or_not_at_all),
        cmocka_unit_test(test_core__each_fault_in_create__all_or_nothing),
        cmocka_unit_test(test_core__each_fault_where_a_key_is_made__with_it_or_without),
        cmocka_unit_test(test_core__each_fault_in_an_export__here_or_gone),
        cmocka_unit_test(test_core__each_fault_in_an_import__all_or_nothing),
        cmocka_unit_test(test_core__each_fault_in_a_certificate__there_or_not),
    };

    count_hook_libcrypto();
    count_hook_uv();
    count_hook_sqlite();
    count_hook_store();
    if (cr_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

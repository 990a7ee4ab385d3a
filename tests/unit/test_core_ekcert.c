/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The endorsement key's certificate: in while the TPM was never powered on, once, durable, and refused in any
 * other case. The fake TPM takes the first byte of a certificate as its verdict.
 */
#include "tests/unit/core_rig.h"

#include <stdio.h>

#include "server/base/alloc.h"
#include "server/sandbox/messages.h"

static struct rig rig;
static struct peer peer;
static struct vt_uuid uuid;
static char subject[24];

static int make(void **state)
{
    (void)state;
    rig_make(&rig);
    snprintf(subject, sizeof subject, "a");
    rig_create(&rig, subject, &uuid);
    peer = (struct peer){0};
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    rig_free(&rig);
    return 0;
}

static Vtpm__AdminReply *install(const uint8_t *bytes, size_t len)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__EkCertInstall order = VTPM__EK_CERT_INSTALL__INIT;
    uint8_t copy[TPM_EK_CERT_MAX + 1];

    assert_true(len <= sizeof copy);
    memcpy(copy, bytes, len);
    order.instance = subject;
    order.certificate = (ProtobufCBinaryData){.data = copy, .len = len};
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_EKCERT_INSTALL;
    request.ekcert_install = &order;
    return admin_ask(&rig, ADMIN_FULL, &request);
}

static void expect_install(uint8_t verdict, int err, const char *word)
{
    uint8_t der[500] = {verdict};
    Vtpm__AdminReply *reply = install(der, sizeof der);

    if (reply->err != err || (word && !strstr(reply->text, word)))
        fail_msg("%d: %s", reply->err, reply->text);
    vtpm__admin_reply__free_unpacked(reply, NULL);
}

static void expect_there(bool there)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceRef ref = VTPM__INSTANCE_REF__INIT;
    Vtpm__AdminReply *reply;
    char text[VT_UUID_TEXT];

    ref.instance = subject;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_EKCERT_SHOW;
    request.ekcert_show = &ref;
    reply = admin_ask(&rig, ADMIN_MONITOR, &request);
    assert_int_equal(reply->err, VT_OK);
    assert_int_equal(reply->ekcert->modulus.len, 2);
    assert_int_equal(reply->ekcert->exponent, 65537);
    assert_int_equal(reply->ekcert->certificate.len, there ? 4 : 0);
    vt_uuid_text(text, &uuid);
    assert_string_equal(reply->ekcert->uuid, text);
    assert_string_equal(reply->ekcert->name, subject);
    vtpm__admin_reply__free_unpacked(reply, NULL);
}

static void expect_state(const char *want)
{
    char is[24];

    db_drain(rig.broker->db);
    rig_state(&rig, &uuid, is);
    assert_string_equal(is, want);
}

static int64_t events(void)
{
    db_drain(rig.broker->db);
    return rig_sql(&rig, "SELECT count(*) FROM event WHERE kind = 'ekcert'");
}

static void power(void)
{
    bool acted;

    peer_on(&rig, &peer, &uuid);
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, (struct guest){1, 1}, &acted), 0);
    assert_true(acted);
}

static void test_ekcert__before_the_first_power_on__is_kept_for_good(void **state)
{
    char text[200];

    (void)state;
    expect_there(false);
    expect_install(SANDBOX_EK_INSTALLED, VT_OK, NULL);
    expect_there(true);
    expect_state("ready");
    assert_int_equal(events(), 1);
    rig_ask(&rig, text, sizeof text, "SELECT text FROM event WHERE kind = 'ekcert'");
    assert_string_equal(text, "the endorsement key's certificate was installed: sha256 "
                              "e6304a473c65ecd0ccffbd2f5925a8f51c44b11f59b66cfcc055e4bb911b8fa0, 500 bytes");
    rig_restart(&rig);
    expect_there(true);
    rig_reboot(&rig);
    expect_there(true);
    power();
    peer_expect(&peer, 1, FAKE_READ, 0, 0);
    expect_there(true);
    peer_close(&peer);
}

/* Reading is no record: the state that a power on needs stays as it was. */
static void test_ekcert__read__makes_no_record(void **state)
{
    int64_t seq;

    (void)state;
    seq = rig_sql(&rig, "SELECT seq FROM record");
    expect_there(false);
    db_drain(rig.broker->db);
    assert_int_equal(rig_sql(&rig, "SELECT seq FROM record"), seq);
    power();
    peer_expect(&peer, 1, FAKE_BUMP_BOTH, 1, 1);
    expect_there(false);
    peer_expect(&peer, 2, FAKE_READ, 1, 1);
    peer_close(&peer);
}

static void test_ekcert__again__refused(void **state)
{
    (void)state;
    expect_install(SANDBOX_EK_INSTALLED, VT_OK, NULL);
    expect_install(SANDBOX_EK_INSTALLED, VT_ECONFLICT, "already");
    rig_restart(&rig);
    expect_install(SANDBOX_EK_INSTALLED, VT_ECONFLICT, "already");
    assert_int_equal(events(), 1);
}

static void test_ekcert__after_a_power_on__refused(void **state)
{
    (void)state;
    power();
    expect_install(SANDBOX_EK_INSTALLED, VT_ECONFLICT, "powered on already");
    peer_close(&peer);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_POWER_CYCLE, "a"), VT_OK);
    expect_state("off");
    expect_install(SANDBOX_EK_INSTALLED, VT_ECONFLICT, "powered on already");
    rig_restart(&rig);
    expect_install(SANDBOX_EK_INSTALLED, VT_ECONFLICT, "powered on already");
    rig_reboot(&rig);
    expect_install(SANDBOX_EK_INSTALLED, VT_ECONFLICT, "powered on already");
    assert_int_equal(fake.certificates, 0);
    expect_there(false);
}

static void test_ekcert__verdicts_and_lengths__refused_and_the_right_one_goes_in(void **state)
{
    static const uint8_t bytes[TPM_EK_CERT_MAX + 1];
    Vtpm__AdminReply *reply;

    (void)state;
    expect_install(SANDBOX_EK_NO_CERTIFICATE, VT_EUSAGE, "X.509");
    expect_install(SANDBOX_EK_OTHER_KEY, VT_ECONFLICT, "another key");
    expect_install(SANDBOX_EK_NO_KEY, VT_ECONFLICT, "no endorsement key");
    reply = install(bytes, 0);
    assert_int_equal(reply->err, VT_EUSAGE);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    reply = install(bytes, sizeof bytes);
    assert_int_equal(reply->err, VT_EUSAGE);
    assert_non_null(strstr(reply->text, "2048"));
    vtpm__admin_reply__free_unpacked(reply, NULL);
    assert_int_equal(fake.certificates, 3);
    assert_int_equal(events(), 0);
    expect_there(false);
    reply = install(bytes, sizeof bytes - 1);
    assert_int_equal(reply->err, VT_OK);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    expect_there(true);
}

/* What an engine says must make sense; what it did counts only with its record. */
static void test_ekcert__engine_that_lies_or_dies__nothing_or_once(void **state)
{
    (void)state;
    expect_install(77, VT_EFAIL, NULL);
    for (int garbage = GARBAGE_TYPE; garbage < GARBAGE_COUNT; garbage++) {
        fake.garbage = garbage;
        fake.garbage_count = 2;
        expect_install(SANDBOX_EK_INSTALLED, VT_EFAIL, NULL);
        fake.garbage_count = 0;
        expect_there(false);
    }
    fake.crashes = 2;
    expect_install(SANDBOX_EK_INSTALLED, VT_EFAIL, NULL);
    expect_there(false);
    fake.crashes = 1;
    expect_install(SANDBOX_EK_INSTALLED, VT_OK, NULL);
    assert_int_equal(events(), 1);
    expect_there(true);
}

static void test_ekcert__store_shut__nothing(void **state)
{
    (void)state;
    expect_there(false); /* it is loaded */
    rig_lock(&rig);
    expect_install(SANDBOX_EK_INSTALLED, VT_EUNAVAILABLE, NULL);
    rig_unlock();
    expect_there(false);
    expect_install(SANDBOX_EK_INSTALLED, VT_OK, NULL);
    assert_int_equal(events(), 1);
}

static void test_ekcert__disabled_or_deleted__refused(void **state)
{
    (void)state;
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DISABLE, "a"), VT_OK);
    expect_install(SANDBOX_EK_INSTALLED, VT_EPERM, "disabled");
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_ENABLE, "a"), VT_OK);
    expect_install(SANDBOX_EK_INSTALLED, VT_OK, NULL);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DELETE, "a"), VT_OK);
    expect_install(SANDBOX_EK_INSTALLED, VT_ENOTFOUND, NULL);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_EKCERT_SHOW, "a"), VT_ENOTFOUND);
}

#ifdef VTPM_TEST_HOOKS
/* The k-th allocation fails, for all k until none is reached. */
static void test_ekcert__memory_runs_out__there_or_not(void **state)
{
    static const uint8_t der[700];
    long k, errors = 0;

    (void)state;
    for (k = 0; k < 300; k++) {
        Vtpm__AdminReply *reply;
        long made;
        int err;

        snprintf(subject, sizeof subject, "k%ld", k);
        rig_create(&rig, subject, &uuid);
        (void)vt_alloc_fail_after(k);
        reply = install(der, sizeof der);
        made = vt_alloc_fail_after(-1);
        err = reply->err;
        errors += err != 0;
        vtpm__admin_reply__free_unpacked(reply, NULL);
        expect_there(err == VT_OK);
        expect_install(SANDBOX_EK_INSTALLED, err ? VT_OK : VT_ECONFLICT, NULL);
        expect_state("ready");
        if (made <= k)
            break;
    }
    assert_int_equal(events(), k + 1);
    assert_true(errors > 2);
    assert_true(k < 300);
}
#endif

#define T(test) cmocka_unit_test_setup_teardown(test, make, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_ekcert__before_the_first_power_on__is_kept_for_good),
        T(test_ekcert__read__makes_no_record),
        T(test_ekcert__again__refused),
        T(test_ekcert__after_a_power_on__refused),
        T(test_ekcert__verdicts_and_lengths__refused_and_the_right_one_goes_in),
        T(test_ekcert__engine_that_lies_or_dies__nothing_or_once),
        T(test_ekcert__store_shut__nothing),
        T(test_ekcert__disabled_or_deleted__refused),
#ifdef VTPM_TEST_HOOKS
        T(test_ekcert__memory_runs_out__there_or_not),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Deep quotes between a guest's engine, which is hostile, and the host's TPM, which is absent or far. */
#include "tests/unit/core_one.h"

#include "server/core/evidence/enrol.h"

/* Nobody listens there; it is not even tried without an attestation key. */
static struct hwtpm_config nowhere = {.kind = HWTPM_TPM2, .where = "swtpm:port=1", .limit_ms = 1000};

static int begin(void **state)
{
    int err = one_bumped_both(state);

    fake.ask_host = 0x81;
    fake.asked = 0;
    return err;
}

static int begin_with_tpm(void **state)
{
    int err = begin(state);
    uint8_t stream[16];

    memcpy(stream, peer.stream, sizeof stream);
    peer_close(&peer);
    rig.config.hwtpm = &nowhere;
    rig_restart(&rig);
    peer_on(&rig, &peer, &uuid);
    memcpy(peer.stream, stream, sizeof stream);
    return err;
}

static int end(void **state)
{
    rig.config.hwtpm = NULL;
    return one_end(state);
}

static void test_guest__server_without_tpm__told_at_once(void **state)
{
    (void)state;
    peer_expect(&peer, 2, FAKE_WITNESS, 1, 1);
    assert_int_equal(fake.asked, 1);
    assert_int_equal(fake.told_err, VT_EIO);
    assert_int_equal(fake.told_len, 0);
    peer_expect(&peer, 3, FAKE_BUMP_BOTH, 2, 2);
}

static void test_guest__tpm_without_key__told_when_the_worker_has_looked(void **state)
{
    (void)state;
    peer_expect(&peer, 2, FAKE_WITNESS, 1, 1);
    assert_int_equal(fake.told_err, VT_EIO);
    peer_expect(&peer, 3, FAKE_BUMP_BOTH, 2, 2);
}

static void test_guest__asks_too_often__retry(void **state)
{
    (void)state;
    for (uint64_t n = 2; n < 8; n++) {
        peer_expect(&peer, n, FAKE_WITNESS, 1, 1);
        assert_int_equal(fake.told_err, VT_EIO);
    }
    peer_expect(&peer, 8, FAKE_WITNESS, 1, 1);
    assert_int_equal(fake.told_err, VT_EAGAIN);
}

static void test_engine__asks_twice_in_one_command__is_a_crash(void **state)
{
    (void)state;
    fake.asks_twice = true;
    peer_expect_fail(&peer, 2, FAKE_WITNESS);
    assert_int_equal(fake.asked, 4);
    fake.asks_twice = false;
    peer_expect(&peer, 3, FAKE_WITNESS, 1, 1);
}

static void test_engine__asks_in_a_form_that_is_none__is_a_crash(void **state)
{
    (void)state;
    fake.ask_extra = 1;
    peer_expect_fail(&peer, 2, FAKE_WITNESS);
    fake.ask_extra = 0;
    fake.ask_host = 0;
    peer_expect_fail(&peer, 3, FAKE_WITNESS);
    fake.ask_host = 1;
    peer_expect(&peer, 4, FAKE_WITNESS, 1, 1);
}

static void test_engine__dies_while_the_tpm_is_asked__command_runs_again(void **state)
{
    (void)state;
    fake.witness_deaths = 1;
    peer_expect(&peer, 2, FAKE_WITNESS, 1, 1);
    assert_int_equal(fake.asked, 2);
    assert_int_equal(fake.alive, 1);
    peer_expect(&peer, 3, FAKE_BUMP_BOTH, 2, 2);
}

static Vtpm__AdminReply *quote(size_t nonce_len, uint32_t pcrs, uint32_t host_pcrs)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceQuote quote = VTPM__INSTANCE_QUOTE__INIT;
    static uint8_t nonce[64];
    static char name[] = "a";

    quote.instance = name;
    quote.nonce = (ProtobufCBinaryData){.data = nonce, .len = nonce_len};
    quote.pcrs = pcrs;
    quote.host_pcrs = host_pcrs;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_QUOTE;
    request.quote = &quote;
    return admin_ask(&rig, ADMIN_FULL, &request);
}

static void expect_quote(size_t nonce_len, uint32_t pcrs, uint32_t host_pcrs, int err, const char *word)
{
    Vtpm__AdminReply *reply = quote(nonce_len, pcrs, host_pcrs);

    if (reply->err != err || !strstr(reply->text, word))
        fail_msg("%d: %s", reply->err, reply->text);
    assert_int_equal(reply->evidence.len, 0);
    vtpm__admin_reply__free_unpacked(reply, NULL);
}

static void test_quote__what_cannot_be__refused_with_the_reason(void **state)
{
    (void)state;
    expect_quote(31, 1, 1, VT_EUSAGE, "nonce");
    expect_quote(33, 1, 1, VT_EUSAGE, "nonce");
    expect_quote(32, 1u << 24, 1, VT_EUSAGE, "PCRs");
    expect_quote(32, 1, 1u << 24, VT_EUSAGE, "PCRs");
    expect_quote(32, 1, 0, VT_EUSAGE, "at least one");
    expect_quote(32, 1, 1, VT_ENOTFOUND, "host-ak create");
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM event WHERE kind = 'quote'"), 0);
}

/* ---- Enrolment of the attestation key ---- */

static void expect_enrol(enum admin_role role, Vtpm__AdminRequest *request, int err, const char *word)
{
    Vtpm__AdminReply *reply = admin_ask(&rig, role, request);

    if (reply->err != err || !strstr(reply->text, word))
        fail_msg("%d: %s", reply->err, reply->text);
    assert_int_equal(reply->enrolment.len, 0);
    vtpm__admin_reply__free_unpacked(reply, NULL);
}

static void expect_request(enum admin_role role, size_t owner_len, int err, const char *word)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__HostAkRequest ask = VTPM__HOST_AK_REQUEST__INIT;
    static uint8_t owner[32];

    ask.owner = (ProtobufCBinaryData){.data = owner, .len = owner_len};
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_HOST_AK_REQUEST;
    request.host_ak_request = &ask;
    expect_enrol(role, &request, err, word);
}

static void expect_answer(enum hwtpm_kind kind, size_t cut, int err, const char *word)
{
    const struct enrol_challenge challenge = {.kind = kind, .box = {.credential_len = 68, .secret_len = 256}};
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__HostAkAnswer answer = VTPM__HOST_AK_ANSWER__INIT;
    uint8_t bytes[ENROL_MAX];
    size_t len = sizeof bytes;

    assert_int_equal(enrol_challenge_write(bytes, &len, &challenge), VT_OK);
    answer.challenge = (ProtobufCBinaryData){.data = bytes, .len = len - cut};
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_HOST_AK_ANSWER;
    request.host_ak_answer = &answer;
    expect_enrol(ADMIN_FULL, &request, err, word);
}

static void test_enrolment__server_without_tpm__refused(void **state)
{
    (void)state;
    expect_request(ADMIN_FULL, 0, VT_ENOTFOUND, "--hwtpm");
    expect_answer(HWTPM_TPM2, 0, VT_ENOTFOUND, "--hwtpm");
}

static void test_enrolment__what_cannot_be__refused_with_the_reason(void **state)
{
    (void)state;
    expect_request(ADMIN_MONITOR, 0, VT_EPERM, "monitor");
    expect_request(ADMIN_FULL, 19, VT_EUSAGE, "SHA-1");
    expect_request(ADMIN_FULL, 21, VT_EUSAGE, "SHA-1");
    expect_request(ADMIN_FULL, 20, VT_ENOTFOUND, "host-ak create");
    expect_answer(HWTPM_TPM2, 0, VT_ENOTFOUND, "host-ak create");
    expect_answer(HWTPM_TPM2, 1, VT_EUSAGE, "no challenge");
    expect_answer(HWTPM_TPM12, 0, VT_EKEY, "another kind");
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM event WHERE kind = 'host-ak'"), 0);
}

#define ONE(fn, setup) cmocka_unit_test_setup_teardown(fn, setup, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(test_guest__server_without_tpm__told_at_once, begin),
        ONE(test_guest__tpm_without_key__told_when_the_worker_has_looked, begin_with_tpm),
        ONE(test_guest__asks_too_often__retry, begin_with_tpm),
        ONE(test_engine__asks_twice_in_one_command__is_a_crash, begin_with_tpm),
        ONE(test_engine__asks_in_a_form_that_is_none__is_a_crash, begin),
        ONE(test_engine__dies_while_the_tpm_is_asked__command_runs_again, begin_with_tpm),
        ONE(test_quote__what_cannot_be__refused_with_the_reason, begin_with_tpm),
        ONE(test_enrolment__server_without_tpm__refused, begin),
        ONE(test_enrolment__what_cannot_be__refused_with_the_reason, begin_with_tpm),
    };

    hwtpm_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

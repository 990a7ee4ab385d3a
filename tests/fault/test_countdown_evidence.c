/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's TPM as a witness, with each fault that the core can meet on the way: a guest's deep quote, an
 * administrator's, the making of the attestation key, and its enrolment. The TPM is this file's; it fails,
 * too. Whatever fails, nothing that is no evidence is handed out as such, no instance is broken by it, and
 * the next one works.
 */
#include "tests/fault/countdown.h"
#include "tests/unit/core_rig.h"

#include <stdio.h>
#include <stdlib.h>

#include "server/base/alloc.h"
#include "server/core/evidence/enrol.h"
#include "server/core/evidence/evidence.h"

#define HOST_PCRS 0x81u

static const struct guest guest = {1, 1};
static struct hwtpm_config place = {.kind = HWTPM_TPM2, .where = "swtpm:port=1", .limit_ms = 1000};

struct world {
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    char identity[VT_UUID_TEXT], name[32];
    unsigned number;
    uint64_t n;
};

/* ---- The TPM: hwtpm.h's calls, in front of the real ones ---- */

int __wrap_hwtpm_run(const struct hwtpm_config *where, hwtpm_work work, void *arg, size_t size,
                     struct vt_why *why);
const char *__wrap_hwtpm_text(const struct hwtpm *tpm);
int __wrap_hwtpm_random(struct hwtpm *tpm, uint8_t *out, size_t len, struct vt_why *why);
int __wrap_hwtpm_key_make(struct hwtpm *tpm, const struct vt_auth *owner, struct hwtpm_key *key,
                          struct cr_rsa_pub *pub, struct vt_why *why);
int __wrap_hwtpm_quote(struct hwtpm *tpm, const struct hwtpm_key *key, uint32_t mask, const uint8_t nonce[32],
                       struct hwtpm_quote *out, struct vt_why *why);
int __wrap_hwtpm_enrol(struct hwtpm *tpm, const struct hwtpm_key *key, const struct vt_auth *owner,
                       struct hwtpm_enrolment *out, struct vt_why *why);
int __wrap_hwtpm_activate(struct hwtpm *tpm, const struct hwtpm_key *key, const struct vt_auth *owner,
                          const struct hwtpm_challenge *challenge, struct hwtpm_opened *out,
                          struct vt_why *why);

/* Anything but NULL. */
static struct hwtpm *const some_tpm = (struct hwtpm *)&place;

/* A thread that cannot be had, a connection that breaks. */
int __wrap_hwtpm_run(const struct hwtpm_config *where, hwtpm_work work, void *arg, size_t size,
                     struct vt_why *why)
{
    (void)size;
    assert_string_equal(where->where, place.where);
    if (count_strikes(FAULT_FORK))
        return vt_fail(why, VT_ENOMEM, "no thread for the host TPM");
    if (count_strikes(FAULT_SOCKET))
        return vt_fail(why, VT_EIO, "the connection to the host TPM broke");
    return work(some_tpm, arg, why);
}

const char *__wrap_hwtpm_text(const struct hwtpm *tpm)
{
    assert_ptr_equal(tpm, some_tpm);
    return "TPM 2.0 of a test";
}

int __wrap_hwtpm_random(struct hwtpm *tpm, uint8_t *out, size_t len, struct vt_why *why)
{
    (void)tpm;
    (void)why;
    return cr_os_random(out, len);
}

static int tpm_fails(struct vt_why *why)
{
    return count_strikes(FAULT_SOCKET) ? vt_fail(why, VT_EIO, "the connection to the host TPM broke") : VT_OK;
}

int __wrap_hwtpm_key_make(struct hwtpm *tpm, const struct vt_auth *owner, struct hwtpm_key *key,
                          struct cr_rsa_pub *pub, struct vt_why *why)
{
    int err = tpm_fails(why);

    (void)tpm;
    assert_null(owner);
    if (err)
        return err;
    *key = (struct hwtpm_key){.len = 600, .bytes = {7}};
    *pub = (struct cr_rsa_pub){.e = 65537, .bytes = CR_RSA_MAX, .n = {0xC0, [CR_RSA_MAX - 1] = 1}};
    return VT_OK;
}

/* What was bound is the message: a verifier of this test's looks there. */
int __wrap_hwtpm_quote(struct hwtpm *tpm, const struct hwtpm_key *key, uint32_t mask, const uint8_t nonce[32],
                       struct hwtpm_quote *out, struct vt_why *why)
{
    int err = tpm_fails(why);

    (void)tpm;
    if (err)
        return err;
    assert_int_equal(key->len, 600);
    assert_int_equal(key->bytes[0], 7);
    assert_int_equal(mask, HOST_PCRS);
    *out = (struct hwtpm_quote){
        .pcrs = {.mask = mask, .len = 32}, .message_len = 32, .signature_len = CR_RSA_MAX};
    memcpy(out->message, nonce, 32);
    return VT_OK;
}

int __wrap_hwtpm_enrol(struct hwtpm *tpm, const struct hwtpm_key *key, const struct vt_auth *owner,
                       struct hwtpm_enrolment *out, struct vt_why *why)
{
    (void)tpm;
    (void)owner;
    assert_int_equal(key->len, 600);
    *out =
        (struct hwtpm_enrolment){.public_len = 9,
                                 .public = {1, 2, 3},
                                 .ek = {.e = 65537, .bytes = CR_RSA_MAX, .n = {0xC1, [CR_RSA_MAX - 1] = 1}}};
    return tpm_fails(why);
}

int __wrap_hwtpm_activate(struct hwtpm *tpm, const struct hwtpm_key *key, const struct vt_auth *owner,
                          const struct hwtpm_challenge *challenge, struct hwtpm_opened *out,
                          struct vt_why *why)
{
    (void)tpm;
    (void)owner;
    assert_int_equal(key->len, 600);
    assert_int_equal(challenge->secret_len, 3);
    *out = (struct hwtpm_opened){.len = 32, .bytes = {9, 8, 7}};
    return tpm_fails(why);
}

/* ---- The world ---- */

static void not_broken(struct world *w)
{
    char state[24];

    rig_state(&w->rig, &w->uuid, state);
    if (strcmp(state, "broken") == 0 || strcmp(state, "needs-power-on") == 0)
        fail_msg("call %ld failed: the instance is %s", count_nth(), state);
}

/* Sixty in a minute for all guests would be used up by this test's own runs. */
static void forget_rate(struct world *w)
{
    w->rig.broker->quotes = (struct act_limit){0};
}

static void fresh_instance(struct world *w)
{
    snprintf(w->name, sizeof w->name, "q%u", ++w->number);
    rig_powered(&w->rig, &w->peer, w->name, &w->uuid);
    vt_uuid_text(w->identity, &w->uuid);
    peer_expect(&w->peer, 1, FAKE_BUMP_BOTH, 1, 1);
    w->n = 1;
    forget_rate(w);
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
    if (peer_attach(&w->peer, NULL) || peer_power_on(&w->peer, VTPM__STARTUP__STARTUP_CLEAR, guest, &acted))
        fail_msg("call %ld failed: it does not come back: %s", count_nth(), w->peer.close_text);
}

/* A guest that has a deep quote was told all of one; it may also be told that there is none. */
static void judge_told(struct world *w)
{
    if (fake.told_err ? fake.told_len != 0 || (fake.told_err != VT_EIO && fake.told_err != VT_EAGAIN)
                      : fake.told_len < 300)
        fail_msg("call %ld failed: the guest is told %d and %zu bytes", count_nth(), fake.told_err,
                 fake.told_len);
    not_broken(w);
}

static void scenario_guest(void *arg)
{
    struct world *w = arg;
    struct seen seen;
    int err;

    fresh_instance(w);
    fake.told_err = VT_EIO;
    fake.told_len = 0;
    count_begin();
    err = peer_execute(&w->peer, 2, FAKE_WITNESS, &seen);
    (void)count_end();
    if (!err && (seen.rc || seen.volatile_count != 1))
        fail_msg("call %ld failed: rc %x", count_nth(), (unsigned)seen.rc);
    judge_told(w);
    forget_rate(w);
    come_back(w);
    peer_expect(&w->peer, 2, FAKE_WITNESS, 1, 1);
    peer_expect(&w->peer, 3, FAKE_BUMP_BOTH, 2, 2);
    peer_expect(&w->peer, 4, FAKE_WITNESS, 2, 2);
    if (fake.told_err || fake.told_len < 300)
        fail_msg("call %ld failed: and then the guest is told %d", count_nth(), fake.told_err);
    peer_close(&w->peer);
    not_broken(w);
}

/* ---- Administrators ---- */

static void check_evidence(struct world *w, const ProtobufCBinaryData *bytes, const uint8_t nonce[32])
{
    static struct evidence e;
    uint8_t bound[32];

    if (evidence_read(&e, bytes->data, bytes->len, NULL))
        fail_msg("call %ld failed: what is handed out is no evidence", count_nth());
    evidence_bound(bound, &e.text);
    assert_memory_equal(e.quote.message, bound, sizeof bound);
    assert_memory_equal(e.statement.nonce, nonce, 32);
    assert_true(vt_uuid_equal(&e.statement.instance, &w->uuid));
    assert_true(vt_uuid_equal(&e.statement.store, &w->rig.broker->store));
    assert_int_equal(e.statement.origin, EVIDENCE_OPERATOR);
}

static int quote(struct world *w)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__InstanceQuote order = VTPM__INSTANCE_QUOTE__INIT;
    Vtpm__AdminReply *reply;
    uint8_t nonce[32] = {4, 5};
    int err;

    order.instance = w->name;
    order.nonce = (ProtobufCBinaryData){.data = nonce, .len = sizeof nonce};
    order.pcrs = 0x401;
    order.host_pcrs = HOST_PCRS;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_QUOTE;
    request.quote = &order;
    reply = admin_ask(&w->rig, ADMIN_FULL, &request);
    err = reply->err;
    if (!err)
        check_evidence(w, &reply->evidence, nonce);
    else if (reply->evidence.len || !reply->text[0])
        fail_msg("call %ld failed: %d with %zu bytes: %s", count_nth(), err, reply->evidence.len,
                 reply->text);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

static void scenario_operator(void *arg)
{
    struct world *w = arg;
    int err;

    fresh_instance(w);
    count_begin();
    (void)quote(w);
    (void)count_end();
    not_broken(w);
    if (w->peer.closed)
        come_back(w);
    err = quote(w);
    if (err)
        fail_msg("call %ld failed: the next quote is refused with %d", count_nth(), err);
    peer_expect(&w->peer, 2, FAKE_BUMP_BOTH, 2, 2);
    peer_close(&w->peer);
}

static int make_key(struct world *w, bool replace)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__HostAkCreate create = VTPM__HOST_AK_CREATE__INIT;
    Vtpm__AdminReply *reply;
    int err;

    create.replace = replace;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_HOST_AK_CREATE;
    request.host_ak_create = &create;
    reply = admin_ask(&w->rig, ADMIN_FULL, &request);
    err = reply->err;
    if (!err && (!reply->host_ak || reply->host_ak->modulus.len != CR_RSA_MAX ||
                 reply->host_ak->modulus.data[0] != 0xC0))
        fail_msg("call %ld failed: another key is told", count_nth());
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

/* The old one or the new one, never none and never half of one. */
static void scenario_create(void *arg)
{
    struct world *w = arg;
    int64_t rows;
    int err;

    count_begin();
    err = make_key(w, true);
    (void)count_end();
    rows = rig_sql(&w->rig, "SELECT count(*) FROM host_ak WHERE length(blob) = 600");
    if (rows != 1)
        fail_msg("call %ld failed (%d): %lld keys", count_nth(), err, (long long)rows);
    err = make_key(w, false);
    if (err != VT_EEXISTS)
        fail_msg("call %ld failed: then it says %d", count_nth(), err);
}

/* The file that the server gives, or its error. */
static int enrolment(struct world *w, Vtpm__AdminRequest *request, bool is_answer)
{
    static struct enrol_request told;
    struct enrol_answer answer;
    Vtpm__AdminReply *reply = admin_ask(&w->rig, ADMIN_FULL, request);
    int err = reply->err, bad;

    if (err) {
        if (reply->enrolment.len || !reply->text[0])
            fail_msg("call %ld failed: %d with %zu bytes", count_nth(), err, reply->enrolment.len);
    } else if (is_answer) {
        bad = enrol_answer_read(&answer, reply->enrolment.data, reply->enrolment.len, NULL);
        if (bad || answer.opened.len != 32 || answer.opened.bytes[0] != 9 || answer.ak[0] != 1)
            fail_msg("call %ld failed: a wrong answer", count_nth());
    } else {
        bad = enrol_request_read(&told, reply->enrolment.data, reply->enrolment.len, NULL);
        if (bad || told.made.public_len != 9 || told.made.ek.n[0] != 0xC1)
            fail_msg("call %ld failed: a wrong request", count_nth());
    }
    vtpm__admin_reply__free_unpacked(reply, NULL);
    return err;
}

static void scenario_enrol(void *arg)
{
    struct world *w = arg;
    Vtpm__AdminRequest requests[2] = {VTPM__ADMIN_REQUEST__INIT, VTPM__ADMIN_REQUEST__INIT};
    Vtpm__HostAkRequest ask = VTPM__HOST_AK_REQUEST__INIT;
    Vtpm__HostAkAnswer reply = VTPM__HOST_AK_ANSWER__INIT;
    const struct enrol_challenge challenge = {.kind = HWTPM_TPM2, .ak = {1}, .box = {.secret_len = 3}};
    uint8_t bytes[ENROL_MAX];
    size_t len = sizeof bytes;

    assert_int_equal(enrol_challenge_write(bytes, &len, &challenge), VT_OK);
    reply.challenge = (ProtobufCBinaryData){.data = bytes, .len = len};
    requests[0].verb_case = VTPM__ADMIN_REQUEST__VERB_HOST_AK_REQUEST;
    requests[0].host_ak_request = &ask;
    requests[1].verb_case = VTPM__ADMIN_REQUEST__VERB_HOST_AK_ANSWER;
    requests[1].host_ak_answer = &reply;
    count_begin();
    for (int k = 0; k < 2; k++)
        (void)enrolment(w, &requests[k], k == 1);
    (void)count_end();
    for (int k = 0; k < 2; k++)
        if (enrolment(w, &requests[k], k == 1))
            fail_msg("call %ld failed: the next one is refused", count_nth());
}

/* ---- Courses ---- */

static void each_kind(const char *name, void (*scenario)(void *), struct world *w)
{
    static const struct {
        enum fault fault;
        const char *name;
        long stride; /* of a run in the gate */
    } kinds[] = {
        {FAULT_ALLOC, "memory", 1},    {FAULT_SOCKET, "TPM", 1},          {FAULT_FORK, "threads", 1},
        {FAULT_ENTROPY, "entropy", 1}, {FAULT_FILE, "file", 1},           {FAULT_STORE, "store file", 1},
        {FAULT_UV, "uv", 1},           {FAULT_LIBCRYPTO, "libcrypto", 1}, {FAULT_SQLITE, "sqlite memory", 7}};
    unsigned faults = 0;

    for (size_t k = 0; k < VT_COUNT(kinds); k++) {
        char text[64];

        snprintf(text, sizeof text, "%s, %s", name, kinds[k].name);
        faults += count_down_by(text, kinds[k].fault, getenv("VTPM_LONG") ? 1 : kinds[k].stride, scenario, w);
    }
    assert_true(faults > 10);
}

static struct world world;

static int begin(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    rig_dirs(&world.rig);
    world.rig.config.hwtpm = &place;
    rig_start(&world.rig);
    fake.ask_host = HOST_PCRS;
    return make_key(&world, false);
}

static int end(void **state)
{
    (void)state;
    rig_free(&world.rig);
    return 0;
}

static void test_guest__each_fault_in_its_deep_quote__one_or_none(void **state)
{
    (void)state;
    each_kind("guest", scenario_guest, &world);
}

static void test_operator__each_fault_in_a_deep_quote__one_or_an_error(void **state)
{
    (void)state;
    each_kind("operator", scenario_operator, &world);
}

static void test_key__each_fault_when_it_is_made__one_key(void **state)
{
    (void)state;
    each_kind("key", scenario_create, &world);
}

static void test_enrolment__each_fault__whole_or_an_error(void **state)
{
    (void)state;
    each_kind("enrolment", scenario_enrol, &world);
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, begin, end)
    const struct CMUnitTest tests[] = {
        WITH(test_guest__each_fault_in_its_deep_quote__one_or_none),
        WITH(test_operator__each_fault_in_a_deep_quote__one_or_an_error),
        WITH(test_key__each_fault_when_it_is_made__one_key),
        WITH(test_enrolment__each_fault__whole_or_an_error),
    };

    count_hook_libcrypto();
    count_hook_uv();
    count_hook_sqlite();
    count_hook_store();
    return cr_init() || cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

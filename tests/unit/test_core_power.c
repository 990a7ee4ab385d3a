/* SPDX-License-Identifier: Apache-2.0 */
/* Power: who may make fresh PCRs, and when. docs/record-and-recovery.md, "Power". */
#include "tests/unit/core_rig.h"

#include <stdio.h>
#include <stdlib.h>

#define CLEAR   VTPM__STARTUP__STARTUP_CLEAR
#define FAIL_RC 9

static void test_attach__new_instance__is_off_at_n_0(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    char word[24];

    (void)state;
    rig_make(&rig);
    rig_create(&rig, "a", &uuid);
    rig_state(&rig, &uuid, word);
    assert_string_equal(word, "ready");
    peer_on(&rig, &peer, &uuid);
    assert_int_equal(peer.msg->attached->n, 0);
    /* PROTOCOL.md, 5: empty and 0: none yet. */
    assert_int_equal(peer.msg->attached->stream.len, 0);
    assert_int_equal(peer.msg->attached->power, VTPM__POWER__POWER_OFF);
    assert_string_equal(peer.msg->attached->state, "off");
    peer_close(&peer);
    rig_free(&rig);
}

static void test_attach__others_instance__is_refused(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid a, b;
    char identity[VT_UUID_TEXT];

    (void)state;
    rig_make(&rig);
    rig_create(&rig, "a", &a);
    rig_create(&rig, "b", &b);
    vt_uuid_text(identity, &a);
    peer_open(&rig, &peer, identity);
    assert_int_equal(peer_attach(&peer, &b), -VT_EPERM);
    assert_true(peer.closed);
    peer_close(&peer);
    /* One that does not exist is never made. */
    b.bytes[0] ^= 1;
    vt_uuid_text(identity, &b);
    peer_open(&rig, &peer, identity);
    assert_int_equal(peer_attach(&peer, NULL), -VT_EPERM);
    peer_close(&peer);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM instance"), 2);
    rig_free(&rig);
}

static void test_session__message_not_now__closes(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    char identity[VT_UUID_TEXT];

    (void)state;
    rig_make(&rig);
    rig_create(&rig, "a", &uuid);
    vt_uuid_text(identity, &uuid);
    peer_open(&rig, &peer, identity);
    peer_ask(&peer, 1, FAKE_READ);
    assert_true(peer.closed);
    assert_int_equal(peer.close_err, VT_EPROTO);
    peer_close(&peer);
    rig_free(&rig);
}

static void test_execute__off__is_tpm_fail_startup_too(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;

    (void)state;
    rig_make(&rig);
    rig_create(&rig, "a", &uuid);
    peer_on(&rig, &peer, &uuid);
    peer_expect_fail(&peer, 1, FAKE_READ);
    peer_expect_fail(&peer, 2, FAKE_STARTUP);
    peer_expect_fail(&peer, 2, FAKE_STARTUP);
    /* Recorded: a second server gives the same. */
    peer_close(&peer);
    rig_restart(&rig);
    {
        uint8_t stream[16];

        memcpy(stream, peer.stream, sizeof stream);
        peer_on(&rig, &peer, &uuid);
        assert_int_equal(peer.msg->attached->n, 2);
        assert_memory_equal(peer.msg->attached->stream.data, stream, sizeof stream);
        memcpy(peer.stream, stream, sizeof stream);
    }
    peer_expect_fail(&peer, 2, FAKE_STARTUP);
    assert_int_equal(fake.executed, 0);
    peer_close(&peer);
    rig_free(&rig);
}

static void test_power_on__off__acts_once(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    char word[24];
    bool acted;

    (void)state;
    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    assert_int_equal(peer.msg->power_result->tpm_rc, 0);
    rig_state(&rig, &uuid, word);
    assert_string_equal(word, "on");
    peer_expect(&peer, 1, FAKE_BUMP_VOLATILE, 1, 0);
    /* The same guest: a reconnect. A guest without a domain id: no word about a new life. */
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 1}, &acted), 0);
    assert_false(acted);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){2, -1}, &acted), 0);
    assert_false(acted);
    assert_int_equal(fake.powered_on, 1);
    peer_expect(&peer, 2, FAKE_READ, 1, 0);
    peer_close(&peer);
    rig_free(&rig);
}

static void test_power_on__new_domain__acts(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    bool acted;

    (void)state;
    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    peer_expect(&peer, 1, FAKE_BUMP_BOTH, 1, 1);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 2}, &acted), 0);
    assert_true(acted);
    peer_expect(&peer, 2, FAKE_READ, 0, 1);
    peer_close(&peer);
    rig_free(&rig);
}

static void test_power_on__startup_state_fails__tells_and_is_on(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    bool acted;

    (void)state;
    rig_make(&rig);
    rig_create(&rig, "a", &uuid);
    peer_on(&rig, &peer, &uuid);
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_STATE, (struct guest){1, -1}, &acted), 0);
    assert_true(acted);
    assert_int_equal(peer.msg->power_result->tpm_rc, FAIL_RC);
    peer_expect(&peer, 1, FAKE_READ, 0, 0);
    peer_close(&peer);
    rig_free(&rig);
}

static void test_detach__off__powers_off(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    char word[24];
    bool acted;

    (void)state;
    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    peer_expect(&peer, 1, FAKE_BUMP_BOTH, 1, 1);
    peer_detach(&peer, false);
    assert_int_equal(peer_attach(&peer, NULL), 0);
    assert_int_equal(peer.msg->attached->power, VTPM__POWER__POWER_ON);
    peer_detach(&peer, true);
    assert_int_equal(peer_attach(&peer, NULL), 0);
    assert_int_equal(peer.msg->attached->power, VTPM__POWER__POWER_OFF);
    rig_state(&rig, &uuid, word);
    assert_string_equal(word, "off");
    /* The same guest epoch: off is off. */
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 1}, &acted), 0);
    assert_true(acted);
    peer_expect(&peer, 2, FAKE_READ, 0, 1);
    peer_close(&peer);
    rig_free(&rig);
}

/* What `lose` does to the volatile state, while the broker is down. */
static void lose_file(struct rig *rig)
{
    char command[120];

    rig_stop(rig);
    snprintf(command, sizeof command, "rm '%s'/*.run", rig->run);
    assert_int_equal(system(command), 0);
    rig_start(rig);
}

static void needs_power_on(void (*lose)(struct rig *rig))
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    char word[24];
    bool acted;

    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    peer_expect(&peer, 1, FAKE_BUMP_BOTH, 1, 1);
    peer_expect(&peer, 2, FAKE_BUMP_VOLATILE, 2, 1);
    peer_close(&peer);
    lose(&rig);
    peer_on(&rig, &peer, &uuid);
    assert_int_equal(peer.msg->attached->power, VTPM__POWER__POWER_NEEDS_POWER_ON);
    fake.executed = fake.powered_on = 0;
    peer_expect_fail(&peer, 1, FAKE_READ);
    peer_expect_fail(&peer, 2, FAKE_STARTUP);
    rig_turn(&rig, 100); /* The inventory follows. */
    rig_state(&rig, &uuid, word);
    assert_string_equal(word, "needs-power-on");
    /* The guest that went on all the while gets no fresh PCRs, now or after another restart. */
    for (int round = 0; round < 2; round++) {
        assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 1}, &acted), -VT_EPOWER);
        assert_false(acted);
        assert_int_equal(peer_platform_init(&peer), -VT_EPOWER);
        peer_expect_fail(&peer, 3u + (unsigned)round, FAKE_STARTUP);
        if (round == 0) {
            uint8_t stream[16];

            memcpy(stream, peer.stream, sizeof stream);
            peer_close(&peer);
            rig_restart(&rig);
            peer_on(&rig, &peer, &uuid);
            memcpy(peer.stream, stream, sizeof stream);
            assert_int_equal(peer.msg->attached->n, 3);
            assert_int_equal(peer.msg->attached->power, VTPM__POWER__POWER_NEEDS_POWER_ON);
        }
    }
    assert_int_equal(fake.executed + fake.powered_on, 0);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 2}, &acted), 0);
    assert_true(acted);
    peer_expect(&peer, 5, FAKE_READ, 0, 1);
    peer_close(&peer);
    rig_free(&rig);
}

static void test_volatile_lost__file_gone__needs_power_on(void **state)
{
    (void)state;
    needs_power_on(lose_file);
}

static void test_volatile_lost__other_boot__needs_power_on(void **state)
{
    (void)state;
    needs_power_on(rig_reboot);
}

static void test_volatile_lost__power_cycle__same_guest_may_start(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    bool acted;

    (void)state;
    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    peer_close(&peer);
    rig_reboot(&rig);
    peer_on(&rig, &peer, &uuid);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_POWER_CYCLE, "a"), VT_OK);
    assert_int_equal(peer.close_err, VT_EAGAIN);
    peer_close(&peer);
    peer_on(&rig, &peer, &uuid);
    assert_int_equal(peer.msg->attached->power, VTPM__POWER__POWER_OFF);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 1}, &acted), 0);
    assert_true(acted);
    peer_close(&peer);
    rig_free(&rig);
}

/* A power on that was begun and not committed leaves the loss as it was. */
static void test_volatile_lost__power_on_fails__still_needs_power_on(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    bool acted;

    (void)state;
    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    peer_close(&peer);
    rig_reboot(&rig);
    peer_on(&rig, &peer, &uuid);
    rig_lock(&rig);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 2}, &acted), -VT_EUNAVAILABLE);
    rig_unlock();
    peer_close(&peer);
    rig_restart(&rig);
    peer_on(&rig, &peer, &uuid);
    assert_int_equal(peer.msg->attached->power, VTPM__POWER__POWER_NEEDS_POWER_ON);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 1}, &acted), -VT_EPOWER);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 2}, &acted), 0);
    assert_true(acted);
    peer_close(&peer);
    rig_free(&rig);
}

static void test_platform__on__runs_and_is_recorded(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;

    (void)state;
    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    peer_expect(&peer, 1, FAKE_BUMP_VOLATILE, 1, 0);
    assert_int_equal(peer_platform_init(&peer), 0);
    peer_expect(&peer, 2, FAKE_READ, 101, 100);
    peer_close(&peer);
    rig_free(&rig);
}

/* ---- Suspend ---- */

static void test_suspend__armed__exactly_one_resume(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    bool acted;

    (void)state;
    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    peer_expect(&peer, 1, FAKE_BUMP_BOTH, 1, 1);
    peer_expect(&peer, 2, FAKE_BUMP_VOLATILE, 2, 1);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_SUSPEND, "a"), VT_OK);
    /* The domain is still there: nothing is used up. */
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 1}, &acted), 0);
    assert_false(acted);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 7}, &acted), 0);
    assert_false(acted);
    peer_expect(&peer, 3, FAKE_READ, 2, 1);
    /* The resumed domain reconnects; then there is another one, which nobody armed. */
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 7}, &acted), 0);
    assert_false(acted);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 8}, &acted), 0);
    assert_true(acted);
    peer_expect(&peer, 4, FAKE_READ, 0, 1);
    peer_close(&peer);
    rig_free(&rig);
}

/* What may happen between the arming and the next domain. */
static const struct meanwhile {
    const char *name;
    bool ends;     /* xl save: the domain is destroyed, and its shim says so */
    bool cycled;   /* the administrator's word stands above */
    bool restarts; /* the server; and once more, to see that it knows that the resume was used */
    bool resumes;
} meanwhiles[] = {
    {"the domain ends", .ends = true, .resumes = true},
    {"the server restarts", .restarts = true, .resumes = true},
    {"the domain ends, the server restarts", .ends = true, .restarts = true, .resumes = true},
    {"the domain ends, power-cycle", .ends = true, .cycled = true},
    {"power-cycle, the server restarts", .cycled = true, .restarts = true},
};

static void arm(struct rig *rig, struct peer *peer, const struct meanwhile *m)
{
    peer_expect(peer, 1, FAKE_BUMP_VOLATILE, 1, 0);
    assert_int_equal(admin_ref(rig, VTPM__ADMIN_REQUEST__VERB_SUSPEND, "a"), VT_OK);
    peer_expect(peer, 2, FAKE_BUMP_VOLATILE, 2, 0);
    if (m->ends)
        peer_detach(peer, true);
    if (m->cycled)
        assert_int_equal(admin_ref(rig, VTPM__ADMIN_REQUEST__VERB_POWER_CYCLE, "a"), VT_OK);
    peer_close(peer);
    if (m->restarts)
        rig_restart(rig);
}

/* Used up: this domain's end is a power off, and the next one begins anew. */
static void next_is_fresh(struct rig *rig, struct peer *peer, const struct vt_uuid *uuid, const struct meanwhile *m)
{
    bool acted;

    if (m->ends) {
        peer_detach(peer, true);
        assert_int_equal(peer_attach(peer, uuid), 0);
        assert_int_equal(peer->msg->attached->power, VTPM__POWER__POWER_OFF);
    }
    if (m->restarts) {
        peer_close(peer);
        rig_restart(rig);
        peer_on(rig, peer, uuid);
    }
    assert_int_equal(peer_power_on(peer, CLEAR, (struct guest){1, 3}, &acted), 0);
    assert_true(acted);
}

static void check_meanwhile(const struct meanwhile *m)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    bool acted;

    print_message("  %s\n", m->name);
    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    arm(&rig, &peer, m);
    peer_on(&rig, &peer, &uuid);
    assert_int_equal(peer.msg->attached->power, m->resumes ? VTPM__POWER__POWER_ON : VTPM__POWER__POWER_OFF);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 2}, &acted), 0);
    assert_int_equal(acted, !m->resumes);
    peer_expect(&peer, 1, FAKE_READ, m->resumes ? 2 : 0, 0);
    next_is_fresh(&rig, &peer, &uuid, m);
    peer_close(&peer);
    rig_free(&rig);
}

static void test_suspend__armed__resumes_once_whatever_happens_meanwhile(void **state)
{
    (void)state;
    for (size_t i = 0; i < VT_COUNT(meanwhiles); i++)
        check_meanwhile(&meanwhiles[i]);
}

/* xl save has failed: the guest goes on, and its next domain begins anew. */
static void test_suspend__cancelled__no_resume(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    bool acted;

    (void)state;
    rig_make(&rig);
    rig_powered(&rig, &peer, "a", &uuid);
    peer_expect(&peer, 1, FAKE_BUMP_VOLATILE, 1, 0);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_SUSPEND_CANCEL, "a"), VT_ECONFLICT);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_SUSPEND, "a"), VT_OK);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_SUSPEND_CANCEL, "a"), VT_OK);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_SUSPEND_CANCEL, "a"), VT_ECONFLICT);
    peer_expect(&peer, 2, FAKE_BUMP_VOLATILE, 2, 0);
    peer_close(&peer);
    rig_restart(&rig);
    peer_on(&rig, &peer, &uuid);
    peer_expect(&peer, 1, FAKE_READ, 2, 0);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 7}, &acted), 0);
    assert_true(acted);
    peer_expect(&peer, 2, FAKE_READ, 0, 0);
    /* Used up is not allowed: whoever cancels hears that it came too late. */
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_SUSPEND, "a"), VT_OK);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, 8}, &acted), 0);
    assert_false(acted);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_SUSPEND_CANCEL, "a"), VT_ECONFLICT);
    peer_close(&peer);
    rig_free(&rig);
}

/* Without a domid no PowerOn could ever end the waiting: the guest would keep its old PCRs for good. */
static void test_suspend__armed_guest_without_a_domid_ends__is_off(void **state)
{
    struct rig rig;
    struct peer peer;
    struct vt_uuid uuid;
    bool acted;

    (void)state;
    rig_make(&rig);
    rig_create(&rig, "a", &uuid);
    peer_on(&rig, &peer, &uuid);
    assert_int_equal(peer_power_on(&peer, CLEAR, (struct guest){1, -1}, &acted), 0);
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_SUSPEND, "a"), VT_OK);
    peer_detach(&peer, true);
    assert_int_equal(peer_attach(&peer, NULL), 0);
    assert_int_equal(peer.msg->attached->power, VTPM__POWER__POWER_OFF);
    peer_close(&peer);
    rig_free(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attach__new_instance__is_off_at_n_0),
        cmocka_unit_test(test_attach__others_instance__is_refused),
        cmocka_unit_test(test_session__message_not_now__closes),
        cmocka_unit_test(test_execute__off__is_tpm_fail_startup_too),
        cmocka_unit_test(test_power_on__off__acts_once),
        cmocka_unit_test(test_power_on__new_domain__acts),
        cmocka_unit_test(test_power_on__startup_state_fails__tells_and_is_on),
        cmocka_unit_test(test_detach__off__powers_off),
        cmocka_unit_test(test_volatile_lost__file_gone__needs_power_on),
        cmocka_unit_test(test_volatile_lost__other_boot__needs_power_on),
        cmocka_unit_test(test_volatile_lost__power_cycle__same_guest_may_start),
        cmocka_unit_test(test_volatile_lost__power_on_fails__still_needs_power_on),
        cmocka_unit_test(test_platform__on__runs_and_is_recorded),
        cmocka_unit_test(test_suspend__armed__exactly_one_resume),
        cmocka_unit_test(test_suspend__armed__resumes_once_whatever_happens_meanwhile),
        cmocka_unit_test(test_suspend__cancelled__no_resume),
        cmocka_unit_test(test_suspend__armed_guest_without_a_domid_ends__is_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

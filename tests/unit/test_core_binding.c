/* SPDX-License-Identifier: Apache-2.0 */
/* Bindings: over a vchan the domain at the other end must be bound to the instance, whatever credential it has. */
#include "tests/unit/core_rig.h"

#include <stdio.h>

#include "db/sqlite_priv.h"
#include "server/core/binding.h"

#define DRIVER_UUID "6d3f1a2b-0c4d-4e5f-8a9b-0c1d2e3f4a5b"
#define OTHER_UUID  "11111111-2222-4333-8444-555555555555"

static struct rig rig;
static struct peer peer;
static struct vt_uuid uuid;
static char identity[VT_UUID_TEXT];

static int make(void **state)
{
    (void)state;
    rig_make(&rig);
    rig_create(&rig, "a", &uuid);
    vt_uuid_text(identity, &uuid);
    peer = (struct peer){0};
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    peer_close(&peer);
    rig_free(&rig);
    return 0;
}

static struct vt_domain domain(uint32_t domid, const char *text, const char *name)
{
    struct vt_domain d = {.domid = domid};

    if (text)
        assert_true(vt_uuid_parse(&d.uuid, text));
    snprintf(d.name, sizeof d.name, "%s", name);
    return d;
}

/* The error of an attach from there; 0: it stays attached. */
static int attach_from(struct vt_domain d)
{
    peer_close(&peer);
    peer_open_from(&rig, &peer, identity, &d);
    return peer_attach(&peer, NULL);
}

static void last_event(char out[400])
{
    db_drain(rig.broker->db);
    rig_ask(&rig, out, 400, "SELECT kind || ' ' || coalesce(uuid, '-') || ' ' || peer || ' ' || text FROM events"
                            " ORDER BY id DESC LIMIT 1");
}

static void test_attach__no_binding__is_refused_and_told(void **state)
{
    char event[400], expected[400];

    (void)state;
    assert_int_equal(attach_from(domain(5, DRIVER_UUID, "driver")), -VT_EPERM);
    assert_non_null(strstr(peer.close_text, "not bound"));
    last_event(event);
    snprintf(expected, sizeof expected,
             "attach-refused %s vchan:5 domain driver (domid 5, uuid " DRIVER_UUID ") is not bound to it; identity %s",
             identity, identity);
    assert_string_equal(event, expected);
    /* The same credential over another transport needs none. */
    peer_close(&peer);
    peer_open(&rig, &peer, identity);
    assert_int_equal(peer_attach(&peer, NULL), 0);
}

static void test_attach__bound__by_uuid_name_or_dom0_never_by_domid(void **state)
{
    static const struct {
        const char *peer;
        uint32_t domid;
        const char *uuid, *name;
        bool holds;
    } rows[] = {
        {"uuid:" DRIVER_UUID, 5, DRIVER_UUID, "driver", true},
        {"uuid:" DRIVER_UUID, 6, DRIVER_UUID, "renamed", true},
        {"uuid:" DRIVER_UUID, 5, OTHER_UUID, "driver", false},
        {"uuid:" DRIVER_UUID, 5, NULL, "driver", false},
        {"name:driver", 5, DRIVER_UUID, "driver", true},
        {"name:driver", 9, OTHER_UUID, "driver", true},
        {"name:driver", 5, DRIVER_UUID, "driver2", false},
        {"name:driver", 5, DRIVER_UUID, "", false},
        {"name:driver", 0, NULL, "driver", false},
        {"dom0", 0, NULL, "Domain-0", true},
        {"dom0", 5, DRIVER_UUID, "dom0", false},
        {"dom0", 5, NULL, "Domain-0", false},
    };

    (void)state;
    for (size_t k = 0; k < VT_COUNT(rows); k++) {
        struct vt_domain d = domain(rows[k].domid, rows[k].uuid, rows[k].name);
        int expected = rows[k].holds ? 0 : -VT_EPERM;

        assert_int_equal(admin_bind(&rig, "a", rows[k].peer), VT_OK);
        if (attach_from(d) != expected || broker_domain_bound(rig.broker, &d) != rows[k].holds)
            fail_msg("row %zu: %s", k, peer.close_text);
        assert_int_equal(admin_unbind(&rig, "a", rows[k].peer), VT_OK);
        assert_false(broker_domain_bound(rig.broker, &d));
    }
}

static void test_attach__bound_to_another_instance__is_refused(void **state)
{
    struct vt_domain driver = domain(5, DRIVER_UUID, "driver");
    struct vt_uuid b;

    (void)state;
    rig_create(&rig, "b", &b);
    assert_int_equal(admin_bind(&rig, "b", "name:driver"), VT_OK);
    assert_true(broker_domain_bound(rig.broker, &driver));
    assert_int_equal(attach_from(driver), -VT_EPERM);
    /* A binding is no credential either. */
    peer_close(&peer);
    peer_open_from(&rig, &peer, identity, &driver);
    assert_int_equal(peer_attach(&peer, &b), -VT_EPERM);
    assert_non_null(strstr(peer.close_text, "credential"));
    /* One domain may serve several instances. */
    assert_int_equal(admin_bind(&rig, "a", "name:driver"), VT_OK);
    assert_int_equal(attach_from(driver), 0);
}

static void test_remove__live_channel__is_closed_unless_another_binding_holds(void **state)
{
    struct vt_domain driver = domain(5, DRIVER_UUID, "driver");

    (void)state;
    assert_int_equal(admin_bind(&rig, "a", "name:driver"), VT_OK);
    assert_int_equal(admin_bind(&rig, "a", "uuid:" DRIVER_UUID), VT_OK);
    assert_int_equal(admin_bind(&rig, "a", "dom0"), VT_OK);
    assert_int_equal(attach_from(driver), 0);
    assert_int_equal(admin_unbind(&rig, "a", "dom0"), VT_OK);
    assert_int_equal(admin_unbind(&rig, "a", "name:driver"), VT_OK);
    assert_false(peer.closed);
    assert_int_equal(admin_unbind(&rig, "a", "name:driver"), VT_ENOTFOUND);
    assert_int_equal(admin_unbind(&rig, "a", "uuid:" DRIVER_UUID), VT_OK);
    assert_true(peer.closed);
    assert_int_equal(peer.close_err, VT_EPERM);
    assert_int_equal(attach_from(driver), -VT_EPERM);
}

static void test_remove__all__closes_the_vchan_but_no_socket(void **state)
{
    (void)state;
    assert_int_equal(admin_bind(&rig, "a", "dom0"), VT_OK);
    assert_int_equal(admin_bind(&rig, "a", "name:driver"), VT_OK);
    assert_int_equal(attach_from(domain(0, NULL, "Domain-0")), 0);
    assert_int_equal(admin_unbind(&rig, "a", NULL), VT_OK);
    assert_true(peer.closed);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM binding"), 0);
    assert_int_equal(admin_unbind(&rig, "a", NULL), VT_ENOTFOUND);
    peer_close(&peer);
    peer_open(&rig, &peer, identity);
    assert_int_equal(peer_attach(&peer, NULL), 0);
    assert_int_equal(admin_bind(&rig, "a", "dom0"), VT_OK);
    assert_int_equal(admin_unbind(&rig, "a", "dom0"), VT_OK);
    assert_false(peer.closed);
}

static void test_binding__delete_and_restart__follow_the_instance(void **state)
{
    struct vt_domain driver = domain(5, DRIVER_UUID, "driver");

    (void)state;
    assert_int_equal(admin_bind(&rig, "a", "name:driver"), VT_OK);
    rig_restart(&rig);
    assert_true(broker_domain_bound(rig.broker, &driver));
    assert_int_equal(admin_ref(&rig, VTPM__ADMIN_REQUEST__VERB_DELETE, "a"), VT_OK);
    assert_false(broker_domain_bound(rig.broker, &driver));
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM binding"), 0);
    rig_restart(&rig);
}

static void test_refusals__many__are_held_to_a_rate(void **state)
{
    (void)state;
    for (unsigned k = 0; k < ACT_REFUSE_MOST + 20; k++)
        assert_int_equal(attach_from(domain(5, DRIVER_UUID, "driver")), -VT_EPERM);
    db_drain(rig.broker->db);
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM event WHERE kind = 'attach-refused'"), ACT_REFUSE_MOST);
}

static void test_add__what_a_person_types__has_one_form(void **state)
{
    static const struct {
        const char *text;
        int err;
        const char *stored;
    } rows[] = {
        {"uuid:6D3F1A2B-0C4D-4E5F-8A9B-0C1D2E3F4A5B", VT_OK, "uuid:" DRIVER_UUID},
        {"uuid:" DRIVER_UUID, VT_EEXISTS, NULL},
        {"uuid:00000000-0000-0000-0000-000000000000", VT_EUSAGE, NULL},
        {"uuid:driver", VT_EUSAGE, NULL},
        {DRIVER_UUID, VT_EUSAGE, NULL},
        {"dom0", VT_OK, "dom0"},
        {"Dom0", VT_EUSAGE, NULL},
        {"5", VT_EUSAGE, NULL},
        {"domid:5", VT_EUSAGE, NULL},
        {"", VT_EUSAGE, NULL},
        {"name:", VT_EUSAGE, NULL},
        {"name:Domain-0", VT_EUSAGE, NULL},
        {"name:a/b", VT_EUSAGE, NULL},
        {"name: a", VT_EUSAGE, NULL},
        {"name:a ", VT_EUSAGE, NULL},
        {"name:a\nb", VT_EUSAGE, NULL},
        {"name:\xc3\xa4", VT_EUSAGE, NULL},
        {"backend:", VT_EUSAGE, NULL},
        {"backend:backend:name:x", VT_EUSAGE, NULL},
        {"backend:dom0", VT_EEXISTS, NULL}, /* as dom0 */
        {"backend:name:x", VT_OK, "backend:name:x"},
        {"backend:uuid:" OTHER_UUID, VT_OK, "backend:uuid:" OTHER_UUID},
        {"name:x", VT_OK, "name:x"},
        {"name:Web server 1", VT_OK, "name:Web server 1"},
        {"name:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", VT_OK, "name:aaaaaaaaaaaaaaaaaaaaa"
                                                                                          "aaaaaaaaaaaaaaaaaaaaaaaa"
                                                                                          "aaaaaaaaaaaaaaaaaaa"},
        {"name:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", VT_EUSAGE, NULL}, /* 65 */
    };
    int64_t stored = 0;

    (void)state;
    for (size_t k = 0; k < VT_COUNT(rows); k++) {
        int err = admin_bind(&rig, "a", rows[k].text);

        if (err != rows[k].err)
            fail_msg("row %zu (%s): %d", k, rows[k].text, err);
        if (err)
            continue;
        stored++;
        assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM binding WHERE peer = '%s'", rows[k].stored), 1);
    }
    assert_int_equal(rig_sql(&rig, "SELECT count(*) FROM binding"), stored);
    assert_int_equal(admin_bind(&rig, "nobody", "dom0"), VT_ENOTFOUND);
    assert_int_equal(admin_unbind(&rig, "a", "5"), VT_EUSAGE);
    assert_int_equal(admin_unbind(&rig, "a", "uuid:6D3F1A2B-0C4D-4E5F-8A9B-0C1D2E3F4A5B"), VT_OK);
}

static Vtpm__AdminReply *list(char *instance)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__Binding msg = VTPM__BINDING__INIT;

    msg.instance = instance;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_BINDING_LIST;
    request.binding_list = &msg;
    return admin_ask(&rig, ADMIN_MONITOR, &request);
}

static void test_list__all_or_of_one__in_order(void **state)
{
    Vtpm__AdminReply *reply;
    struct vt_uuid b;
    char a_name[] = "a", none[] = "", unknown[] = "zz";
    char peer_name[20];

    (void)state;
    rig_create(&rig, "b", &b);
    for (unsigned k = 0; k < 20; k++) {
        snprintf(peer_name, sizeof peer_name, "name:d%02u", k);
        assert_int_equal(admin_bind(&rig, "a", peer_name), VT_OK);
    }
    assert_int_equal(admin_bind(&rig, "b", "dom0"), VT_OK);
    reply = list(none);
    assert_int_equal(reply->n_bindings, 21);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    reply = list(a_name);
    assert_int_equal(reply->n_bindings, 20);
    assert_string_equal(reply->bindings[7]->peer, "name:d07");
    assert_string_equal(reply->bindings[7]->instance, "a");
    assert_string_equal(reply->bindings[7]->uuid, identity);
    vtpm__admin_reply__free_unpacked(reply, NULL);
    reply = list(unknown);
    assert_int_equal(reply->err, VT_ENOTFOUND);
    vtpm__admin_reply__free_unpacked(reply, NULL);
}

static void inventory_domain(char out[80])
{
    db_drain(rig.broker->db);
    rig_ask(&rig, out, 80, "SELECT domain FROM inventory WHERE name = 'a'");
}

/* A shim inside the guest: root there could say anything. */
static void test_guest_itself__power_and_locality__are_not_its_to_say(void **state)
{
    const struct guest silent = {.boot = 1, .domid = -1}, liar = {.boot = 2, .domid = 77};
    struct vt_domain before = domain(5, DRIVER_UUID, "web"), after = domain(6, DRIVER_UUID, "web");
    struct seen seen;
    char text[80];
    bool acted;

    (void)state;
    assert_int_equal(admin_bind(&rig, "a", "name:web"), VT_OK);
    assert_int_equal(attach_from(before), 0);
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, silent, &acted), 0);
    assert_true(acted);
    inventory_domain(text);
    assert_string_equal(text, "web(5)");
    /* Another boot of its kernel, another domid in its words: the same domain. */
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, liar, &acted), 0);
    assert_false(acted);
    peer_ask_at(&peer, 1, 0x14, 1);
    assert_int_equal(peer_take(&peer, &seen), -VT_EPERM);
    assert_int_equal(peer_platform_init(&peer), -VT_EPERM);
    assert_int_equal(peer_detach(&peer, true), 0);
    assert_int_equal(attach_from(before), 0);
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, silent, &acted), 0);
    assert_false(acted);
    /* A new domain, as the hypervisor says, is a new life. */
    assert_int_equal(attach_from(after), 0);
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, silent, &acted), 0);
    assert_true(acted);
    inventory_domain(text);
    assert_string_equal(text, "web(6)");
}

/* A new domain that does not say that it is one would go on with the PCRs of the domain before it. */
static void test_guest_itself__no_power_on__gets_nothing_of_a_tpm_that_is_on(void **state)
{
    const struct guest none = {.domid = -1};
    bool acted;

    (void)state;
    assert_int_equal(admin_bind(&rig, "a", "name:web"), VT_OK);
    assert_int_equal(attach_from(domain(5, DRIVER_UUID, "web")), 0);
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, none, &acted), 0);
    peer_expect(&peer, 1, FAKE_BUMP_VOLATILE, 1, 0);
    assert_int_equal(attach_from(domain(6, DRIVER_UUID, "web")), 0);
    assert_int_equal(peer.msg->attached->power, VTPM__POWER__POWER_ON);
    peer_expect_fail(&peer, 1, FAKE_READ);
    peer_expect_fail(&peer, 2, FAKE_BUMP_BOTH);
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, none, &acted), 0);
    assert_true(acted);
    peer_expect(&peer, 3, FAKE_READ, 0, 0);
}

static void test_backend__serves_a_domain__only_when_bound_as_one(void **state)
{
    const struct guest first = {.boot = 1, .domid = 7}, second = {.boot = 1, .domid = 8};
    struct vt_domain driver = domain(5, DRIVER_UUID, "driver");
    bool acted;

    (void)state;
    assert_int_equal(admin_bind(&rig, "a", "name:driver"), VT_OK);
    peer_open_from(&rig, &peer, identity, &driver);
    assert_int_equal(peer_attach_for(&peer, NULL, first), -VT_EPERM);
    assert_non_null(strstr(peer.close_text, "backend:"));
    assert_int_equal(admin_bind(&rig, "a", "backend:name:driver"), VT_OK);
    peer_close(&peer);
    peer_open_from(&rig, &peer, identity, &driver);
    assert_int_equal(peer_attach_for(&peer, NULL, first), 0);
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, first, &acted), 0);
    assert_true(acted);
    assert_int_equal(peer_power_on(&peer, VTPM__STARTUP__STARTUP_CLEAR, second, &acted), 0);
    assert_true(acted);
    /* What is left makes the guest itself of it: the live channel goes. */
    assert_int_equal(admin_unbind(&rig, "a", "backend:name:driver"), VT_OK);
    assert_true(peer.closed);
}

static void test_changes__each__are_events(void **state)
{
    char event[400];

    (void)state;
    assert_int_equal(admin_bind(&rig, "a", "dom0"), VT_OK);
    last_event(event);
    assert_non_null(strstr(event, "binding-add "));
    assert_non_null(strstr(event, identity));
    assert_non_null(strstr(event, " dom0"));
    assert_int_equal(admin_unbind(&rig, "a", NULL), VT_OK);
    last_event(event);
    assert_non_null(strstr(event, "binding-remove "));
    assert_non_null(strstr(event, " all"));
}

#ifdef VTPM_TEST_HOOKS
static void test_remove__unknown_outcome__the_store_decides(void **state)
{
    struct vt_domain dom0 = domain(0, NULL, "Domain-0");

    (void)state;
    for (int written = 0; written < 2; written++) {
        (void)admin_bind(&rig, "a", "dom0");
        assert_int_equal(attach_from(dom0), 0);
        db_drain(rig.broker->db);
        db_test_fail_commits(rig.broker->db, 1, VT_EUNKNOWN, written);
        assert_int_equal(admin_unbind(&rig, "a", "dom0"), VT_EUNKNOWN);
        assert_int_equal(peer.closed, written);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
        TEST(test_attach__no_binding__is_refused_and_told),
        TEST(test_attach__bound__by_uuid_name_or_dom0_never_by_domid),
        TEST(test_attach__bound_to_another_instance__is_refused),
        TEST(test_remove__live_channel__is_closed_unless_another_binding_holds),
        TEST(test_remove__all__closes_the_vchan_but_no_socket),
        TEST(test_binding__delete_and_restart__follow_the_instance),
        TEST(test_refusals__many__are_held_to_a_rate),
        TEST(test_add__what_a_person_types__has_one_form),
        TEST(test_list__all_or_of_one__in_order),
        TEST(test_guest_itself__power_and_locality__are_not_its_to_say),
        TEST(test_guest_itself__no_power_on__gets_nothing_of_a_tpm_that_is_on),
        TEST(test_backend__serves_a_domain__only_when_bound_as_one),
        TEST(test_changes__each__are_events),
#ifdef VTPM_TEST_HOOKS
        TEST(test_remove__unknown_outcome__the_store_decides),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a host must have for vchans, and the locks by which its programs agree on them. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/xen/site.h"
#include "server/xen/slots.h"

struct rig {
    char root[64];
};

static void make(const struct rig *rig, const char *path, const char *text)
{
    char whole[200];
    FILE *file;

    snprintf(whole, sizeof whole, "%s%s", rig->root, path);
    for (char *slash = strchr(whole + strlen(rig->root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(whole, 0755);
        *slash = '/';
    }
    file = fopen(whole, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int setup(void **state)
{
    struct rig *rig = calloc(1, sizeof *rig);

    snprintf(rig->root, sizeof rig->root, "/tmp/vtpm-test-site-XXXXXX");
    assert_non_null(mkdtemp(rig->root));
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    static const char *const paths[] = {"/dev/xen/evtchn", "/dev/xen/gntalloc", "/dev/xen/gntdev", "/dev/xen", "/dev",
                                        "/sys/hypervisor/type", "/sys/hypervisor", "/sys", ""};
    struct rig *rig = *state;
    char path[200];

    for (size_t i = 0; i < VT_COUNT(paths); i++) {
        snprintf(path, sizeof path, "%s%s", rig->root, paths[i]);
        remove(path);
    }
    free(rig);
    return 0;
}

static void refuses(const struct rig *rig, enum site_use use, const char *says)
{
    struct vt_why why = {0};

    assert_int_equal(site_check(rig->root, use, "--listen vchan", &why), VT_EUSAGE);
    if (strncmp(why.text, "--listen vchan: ", 16) || !strstr(why.text, says))
        fail_msg("'%s' does not say '%s'", why.text, says);
}

static void test_site__not_xen__says_so(void **state)
{
    refuses(*state, SITE_SERVER, "this host is not a Xen domain: /dev/xen/evtchn is missing");
    make(*state, "/sys/hypervisor/type", "kvm\n");
    refuses(*state, SITE_CLIENT, "this host is not a Xen domain: /dev/xen/evtchn is missing");
}

static void test_site__module_missing__names_it(void **state)
{
    make(*state, "/sys/hypervisor/type", "xen\n");
    refuses(*state, SITE_SERVER, "modprobe xen-evtchn");
    make(*state, "/dev/xen/evtchn", "");
    refuses(*state, SITE_SERVER, "modprobe xen-gntalloc");
    refuses(*state, SITE_CLIENT, "modprobe xen-gntdev");
    make(*state, "/dev/xen/gntdev", "");
    assert_int_equal(site_check(((struct rig *)*state)->root, SITE_CLIENT, "x", NULL), VT_OK);
    make(*state, "/dev/xen/gntalloc", "");
    assert_int_equal(site_check(((struct rig *)*state)->root, SITE_SERVER, "x", NULL), VT_OK);
}

static void test_site__not_allowed__says_what_to_install(void **state)
{
    const struct rig *rig = *state;
    char path[200];

    make(rig, "/dev/xen/evtchn", "");
    snprintf(path, sizeof path, "%s/dev/xen/evtchn", rig->root);
    chmod(path, 0);
    if (geteuid() == 0) {
        /* Root may do everything: as somebody else, then. */
        pid_t pid = fork();
        int status;
        if (pid == 0) {
            struct vt_why why = {0};
            chmod(rig->root, 0755);
            if (setuid(65534) || site_check(rig->root, SITE_SERVER, "--listen vchan", &why) != VT_EUSAGE)
                _exit(1);
            _exit(strstr(why.text, "uid 65534 may not use /dev/xen/evtchn") && strstr(why.text, "udev") ? 0 : 2);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        return;
    }
    refuses(rig, SITE_SERVER, "udev");
}

static void test_slots__are_given_once_and_back_when_closed(void **state)
{
    const struct rig *rig = *state;
    int first, second, other, server;
    char path[200];

    make(rig, "/dev/xen/evtchn", "");
    snprintf(path, sizeof path, "%s/dev/xen/evtchn", rig->root);
    assert_int_equal(slot_lock_client(path, 3, 0, &first, NULL), VT_OK);
    assert_int_equal(slot_lock_client(path, 3, 0, &second, NULL), VT_ECONFLICT);
    assert_int_equal(slot_lock_client(path, 3, 1, &second, NULL), VT_OK);
    assert_int_equal(slot_lock_client(path, 4, 0, &other, NULL), VT_OK);
    assert_int_equal(slot_lock_server(path, &server, NULL), VT_OK);
    assert_int_equal(slot_lock_server(path, &(int){0}, NULL), VT_ECONFLICT);
    close(first);
    assert_int_equal(slot_lock_client(path, 3, 0, &first, NULL), VT_OK);
    close(first);
    close(second);
    close(other);
    close(server);
    assert_int_equal(slot_lock_server("/nonexistent/evtchn", &server, NULL), VT_EIO);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_site__not_xen__says_so),
        T(test_site__module_missing__names_it),
        T(test_site__not_allowed__says_what_to_install),
        T(test_slots__are_given_once_and_back_when_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

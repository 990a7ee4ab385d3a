/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Xen in memory (tests/unit/fake_xen.h) with the Mini-OS shim's program on it, for a script: its vchan leads to the socket
 * of a vtpm-server, and the script plays toolstack and guests by lines.
 *
 *   minios_world STUBDOM SOCKET CREDENTIAL
 *   up DOMID PAGE UUID    a domain with a vTPM, up to Connected
 *   submit PAGE HEX       a command into the page, and the event
 *   wait PAGE             its response
 *   detach DOMID | destroy DOMID
 *   stubdom kill|start    the program
 *   poke OFFSET VALUE     into the vchan's page
 *   scribble PAGE SEED    a guest that writes anything anywhere, with events
 *
 * Each is answered by one line, "ok" or hex; what fails ends it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/tpmif.h"
#include "server/base/text.h"
#include "tests/unit/vchan_bridge.h"

static const char *program;
static pid_t stubdom;

static void start_stubdom(void)
{
    stubdom = fork();
    if (stubdom)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(2, 1);
    execl(program, program, (char *)NULL);
    _exit(127);
}

static void kill_stubdom(void)
{
    kill(stubdom, SIGKILL);
    waitpid(stubdom, NULL, 0);
    world_shim_died();
}

static void bring_up(uint32_t domid, unsigned page, const char *uuid)
{
    world_domain(domid);
    world_attach(domid, 0, uuid);
    world_wait_back(domid, 0, 2);
    guest_connect(domid, 0, page);
    world_wait_back(domid, 0, 4);
}

static void submit(unsigned page, const char *hex)
{
    size_t len = strlen(hex) / 2;

    if (len > TPMIF_DATA_MAX || !vt_unhex(world.xen->pages[page] + TPMIF_HEADER, len, hex))
        fail_msg("no command: %s", hex);
    guest_set_head(page, (uint32_t)len, TPMIF_SUBMIT, 0, 0);
    guest_event(page);
}

static void show_response(unsigned page)
{
    const uint8_t *response = guest_wait(page);
    char hex[2 * TPMIF_DATA_MAX + 1];
    uint32_t len;

    memcpy(&len, world.xen->pages[page], sizeof len);
    vt_hex(hex, response, VT_MIN(len, TPMIF_DATA_MAX));
    puts(hex);
}

static void scribble(unsigned page, uint32_t random)
{
    for (int i = 0; i < 2000; i++) {
        random = random * 1664525 + 1013904223;
        world.xen->pages[page][(random >> 8) % 80] = (uint8_t)(random >> 24);
        guest_event(page);
        if (i % 50 == 0)
            usleep(500);
    }
}

/* False: no such line. */
static bool obey(char *line)
{
    static char text[2 * TPMIF_DATA_MAX + 1];
    unsigned a, b;

    if (sscanf(line, "wait %u", &a) == 1) {
        show_response(a);
        return true;
    }
    if (sscanf(line, "up %u %u %40s", &a, &b, text) == 3)
        bring_up(a, b, text);
    else if (sscanf(line, "submit %u %8176s", &a, text) == 2)
        submit(a, text);
    else if (sscanf(line, "detach %u", &a) == 1)
        world_detach(a, 0);
    else if (sscanf(line, "destroy %u", &a) == 1)
        world_destroy(a);
    else if (sscanf(line, "poke %u %u", &a, &b) == 2)
        bridge_poke(a, b);
    else if (sscanf(line, "scribble %u %u", &a, &b) == 2)
        scribble(a, b);
    else if (strcmp(line, "stubdom kill\n") == 0)
        kill_stubdom();
    else if (strcmp(line, "stubdom start\n") == 0)
        start_stubdom();
    else
        return false;
    puts("ok");
    return true;
}

static void put_settings(const char *credential)
{
    char text[FAKE_VALUE] = "";
    FILE *file = fopen(credential, "r");

    if (!file || !fread(text, 1, sizeof text - 1, file))
        fail_msg("%s cannot be read", credential);
    fclose(file);
    world_set("/local/domain/0/vtpm-stubdom/boot-id", "89abcdef-0123-4567-89ab-cdef01234567");
    world_set("/local/domain/0/vtpm-stubdom/credential", text);
}

int main(int argc, char **argv)
{
    static char line[2 * TPMIF_DATA_MAX + 64];

    if (argc != 4)
        return 2;
    program = argv[1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    world_init();
    world_reset();
    put_settings(argv[3]);
    bridge_start(argv[2]);
    start_stubdom();
    while (fgets(line, sizeof line, stdin))
        if (!obey(line)) {
            fprintf(stderr, "minios_world: no such line: %s", line);
            return 2;
        }
    kill_stubdom();
    bridge_stop();
    return 0;
}

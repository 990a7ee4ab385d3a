/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The test's side of fake_xen.h: toolstack, hypervisor and guests. What waits does so for 20 s at most and fails the
 * test then.
 */
#ifndef VTPM_TESTS_FAKE_XEN_WORLD_H
#define VTPM_TESTS_FAKE_XEN_WORLD_H

#include "fake_xen.h"

struct world {
    struct fake_xen *xen;
    int memory, channels, store;
    char env[64];
};

extern struct world world;

/* Once; sets FAKE_XEN_ENV for the programs that are started. */
void world_init(void);
/* A host that has just booted: domain 0 only, and no shim. */
void world_reset(void);
/* The shim was killed: what the hypervisor then takes from it. */
void world_shim_died(void);

/* ---- Toolstack and hypervisor ---- */

void world_domain(uint32_t domid);
/* uuid NULL: none. */
void world_attach(uint32_t domid, uint32_t devid, const char *uuid);
/* state 5, online 0, as libxl does; waits for 6, then removes the nodes of both ends. */
void world_detach(uint32_t domid, uint32_t devid);
/* The domain ends; its nodes go. */
void world_destroy(uint32_t domid);
void world_set(const char *path, const char *value);
void world_remove(const char *path);
/* Xenstored ends, and starts anew. */
void world_store_down(void);
void world_store_up(void);

/* BACK/name and FRONT/name. */
void world_back(char path[FAKE_PATH], uint32_t domid, uint32_t devid, const char *name);
void world_front(char path[FAKE_PATH], uint32_t domid, uint32_t devid, const char *name);
/* "" if there is no such node. */
void world_get(char value[FAKE_VALUE], const char *path);
void world_wait(const char *path, const char *value);
void world_wait_back(uint32_t domid, uint32_t devid, int state);
/* Nodes of the back end that are there. */
unsigned world_nodes(void);

/* ---- Guests: one page each, number `page` of the fake ---- */

/* Grants the page, names it and the channel in the front end's nodes, and goes to state 3. */
void guest_connect(uint32_t domid, uint32_t devid, unsigned page);
void guest_state(uint32_t domid, uint32_t devid, int state);
/* The page, with a command of this id (fake_server.h), says SUBMIT; the event is another matter. */
void guest_submit(unsigned page, uint32_t id);
void guest_event(unsigned page);
void guest_set_state(unsigned page, uint8_t state);
uint8_t guest_page_state(unsigned page);
void guest_set_head(unsigned page, uint32_t length, uint8_t state, uint8_t locality, uint8_t extra);
/* Waits for FINISH; the response's bytes from there on. */
const uint8_t *guest_wait(unsigned page);
/* guest_submit, guest_event, guest_wait, and it is the response to this id. */
void guest_ask(unsigned page, uint32_t id);
void guest_expect(unsigned page, uint32_t id);
void guest_expect_code(unsigned page, uint32_t code);
unsigned guest_mapped(unsigned page);

#endif

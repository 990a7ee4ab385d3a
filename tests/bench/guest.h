/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest of the load generator: a link, and the TPM 1.2 sessions that its commands need. What a command is made of is a
 * recipe, which tests/bench/load.py writes; here are nonces and HMACs (Part 1, 13), so that a run has no Python in it.
 * One thread.
 */
#ifndef VTPM_TESTS_BENCH_GUEST_H
#define VTPM_TESTS_BENCH_GUEST_H

#include "server/crypto/crypto.h"
#include "tests/bench/link.h"

#define RECIPES_MAX  24
#define SESSIONS_MAX 10 /* that stand ready for one recipe; a TPM has 16 */
#define HANDLES_MAX  12
#define PARAMS_MAX   2048

/* One command, as the guests of a group send it again and again. */
struct recipe {
    char name[32];
    uint32_t ordinal;
    bool takes_handle;      /* the last one that was kept comes first */
    bool keeps_handle;      /* the first four bytes of the response */
    uint8_t handles[8];
    size_t handles_len;
    uint8_t params[PARAMS_MAX];
    size_t params_len;
    bool varies;            /* four bytes of them count up: writing what is there already may cost nothing */
    size_t vary_at;
    unsigned auths;         /* OIAP sessions that stay; their secrets: */
    struct vt_auth secrets[2];
    bool is_osap;           /* instead, one OSAP session for each command: it ends with new authorisation data */
    uint16_t entity_type;
    uint32_t entity;
    struct vt_auth entity_secret;
    struct vt_auth new_secret; /* hidden at the begin of the parameters */
};

struct recipes {
    struct recipe rows[RECIPES_MAX];
    unsigned count;
};

struct session {
    uint32_t handle;
    uint8_t even[CR_SHA1_LEN];
    uint8_t odd[CR_SHA1_LEN];
    struct vt_auth secret;
};

struct ready {
    struct session sessions[SESSIONS_MAX];
    unsigned count;
};

/* What the response will be to. */
enum guest_step {
    GUEST_IDLE,
    GUEST_OPENING,  /* a session for the command */
    GUEST_COMMAND
};

struct guest {
    struct link link;
    const struct recipes *recipes;
    const struct recipe *doing;
    enum guest_step step;
    uint64_t sent_ns;       /* of the command itself, sessions left out */
    struct ready ready[RECIPES_MAX];
    uint32_t handles[HANDLES_MAX];
    unsigned handle_count;
    uint32_t counter;
    uint8_t rsp[LINK_MAX];
    size_t rsp_len;
};

/* Ends the program for an unknown name. */
const struct recipe *recipes_find(const struct recipes *recipes, const char *name);

/* Begins a command, or first the session that it lacks. */
void guest_begin(struct guest *guest, const struct recipe *recipe);
/* Something can be read. True: the command is over; *ns: from sending it to its whole response. Errors end the program. */
bool guest_go_on(struct guest *guest, uint64_t *ns);
/* Opens OSAP sessions, so that so many stand ready; none for others. */
void guest_prepare(struct guest *guest, const struct recipe *recipe, unsigned count);
/* Any bytes; the response is in rsp. Its time. */
uint64_t guest_send(struct guest *guest, const uint8_t *command, size_t len);
/* Sessions and handles are forgotten: the TPM was reset. */
void guest_forget(struct guest *guest);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A broker on real directories and a real store, with fake_zygote.c under it, and shims and administrators
 * above it that wait for their answers. Every call asserts that an answer comes.
 */
#ifndef VTPM_TESTS_CORE_RIG_H
#define VTPM_TESTS_CORE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <uv.h>

#include "server/core/broker.h"
#include "server/core/broker_priv.h"
#include "tests/unit/fake_zygote.h"

struct rig {
    char dir[64], data[80], run[80], key[80];
    uv_loop_t uv;
    struct loop *loop;
    struct keyslot_spec spec;
    struct broker_config config;
    struct broker *broker;
    char recovery[RECOVERY_TEXT];
    struct rig *beside; /* another one whose loop turns whenever this one's does; may be NULL */
};

/* Directories, store, broker. */
void rig_make(struct rig *rig);
/* The same without a broker. */
void rig_dirs(struct rig *rig);
void rig_start(struct rig *rig);
/* Drains, frees; what was on disk stays. */
void rig_stop(struct rig *rig);
void rig_restart(struct rig *rig);
/* Stops and removes everything. */
void rig_free(struct rig *rig);
/* Another boot of the server's host. */
void rig_reboot(struct rig *rig);
/* Turns the loop until *flag, or for so long. */
void rig_wait(struct rig *rig, const bool *flag);
void rig_turn(struct rig *rig, unsigned ms);
/* Another program's statement on the store; the result is the first column, or -1. */
int64_t rig_sql(const struct rig *rig, const char *fmt, ...) VT_PRINTF(2, 3);
/* Its text. */
void rig_ask(const struct rig *rig, char *out, size_t size, const char *fmt, ...) VT_PRINTF(4, 5);
/* Another program takes the store's write lock, and lets it go. */
void rig_lock(struct rig *rig);
void rig_unlock(void);
/* The instance's row in the inventory view. */
void rig_state(const struct rig *rig, const struct vt_uuid *uuid, char out[24]);

/* ---- A shim ---- */

struct peer {
    struct rig *rig;
    struct session *session;
    Vtpm__Message *msg; /* the last one */
    bool answered, closed, ready;
    int close_err;
    char close_text[300];
    uint8_t stream[16];
    const char *domain; /* name of the guest's domain; may be NULL */
};

struct guest {
    uint8_t boot;
    int domid; /* < 0: none */
};

/* Authenticated as identity. */
void peer_open(struct rig *rig, struct peer *peer, const char *identity);
/* The same over a vchan: this domain is at the other end. */
void peer_open_from(struct rig *rig, struct peer *peer, const char *identity, const struct vt_domain *domain);
/* The transport goes away. */
void peer_close(struct peer *peer);
void peer_send(struct peer *peer, const Vtpm__Message *msg);
void peer_wait(struct peer *peer);
/* Below: 0, or the positive code of an Error, fatal or not. */
int peer_attach(struct peer *peer, const struct vt_uuid *uuid);
/* The same, saying which guest it serves. */
int peer_attach_for(struct peer *peer, const struct vt_uuid *uuid, struct guest guest);
/* Opens with the instance's own credential and attaches; asserts that it works. */
void peer_on(struct rig *rig, struct peer *peer, const struct vt_uuid *uuid);

int peer_power_on(struct peer *peer, Vtpm__Startup startup, struct guest guest, bool *acted);
int peer_detach(struct peer *peer, bool off);
int peer_platform_init(struct peer *peer);

struct seen {
    uint32_t rc;
    uint64_t volatile_count, permanent_count;
    uint8_t bytes[64];
    size_t len;
};
/* Sends Execute and does not wait. */
void peer_ask(struct peer *peer, uint64_t n, uint32_t ordinal);
void peer_ask_at(struct peer *peer, uint64_t n, uint32_t ordinal, uint32_t locality);
/* What came for it. */
int peer_take(struct peer *peer, struct seen *seen);
int peer_execute(struct peer *peer, uint64_t n, uint32_t ordinal, struct seen *seen);
/* Asserts 0 and the counters. */
void peer_expect(struct peer *peer, uint64_t n, uint32_t ordinal, uint64_t volatile_count,
                 uint64_t permanent_count);
/* Asserts TPM_FAIL as the wire has it. */
void peer_expect_fail(struct peer *peer, uint64_t n, uint32_t ordinal);

/* ---- An administrator ---- */

/* Packed and unpacked; free with vtpm__admin_reply__free_unpacked(reply, NULL). */
Vtpm__AdminReply *admin_ask(struct rig *rig, enum admin_role role, const Vtpm__AdminRequest *request);
/* Begins without waiting. */
struct admin_wait {
    Vtpm__AdminReply *reply;
    bool done;
};
void admin_begin(struct rig *rig, struct admin_wait *wait, enum admin_role role,
                 const Vtpm__AdminRequest *request);
/* A peer is bound to an instance, or no more (NULL: all): reply's err. */
int admin_bind(struct rig *rig, const char *instance, const char *peer);
int admin_unbind(struct rig *rig, const char *instance, const char *peer);
/* A measurement of 20 bytes that begin with `first`: reply's err. */
int admin_measured(struct rig *rig, const char *instance, unsigned pcr, uint8_t first, bool always);
int admin_require(struct rig *rig, const char *instance, bool required);
/* One instance and a verb on it: reply's err. */
int admin_ref(struct rig *rig, Vtpm__AdminRequest__VerbCase verb, const char *instance);
int admin_make(struct rig *rig, const char *name, const char *uuid, const char *profile, const char *group,
               struct vt_uuid *made);
/* Asserts that it works. */
void rig_create(struct rig *rig, const char *name, struct vt_uuid *uuid);
/* Deleted, powered on, whatever: created and powered on as domain 1 of boot 1 and attached. */
void rig_powered(struct rig *rig, struct peer *peer, const char *name, struct vt_uuid *uuid);

#endif

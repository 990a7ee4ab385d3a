/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key pool: RSA keys that are ready when a guest or an administrator wants one, and the key makers (processes of the
 * zygote, server/sandbox/keymaker.h) that fill it and make what it has not. docs/architecture.md, "Keys". Loop thread.
 *
 * Invariants: a key is handed out once, to one, and is wiped here when it is; keys wait in locked memory only; no more
 * makers work at once than all processors but one (and one at least); who is waiting comes before the pool's own needs,
 * one owner as often as another; no call here runs a callback before it returns.
 */
#ifndef VTPM_CORE_KEYPOOL_H
#define VTPM_CORE_KEYPOOL_H

#include "server/base/text.h"
#include "server/core/zygote.h"

struct keypool;
struct keypool_wish;

/* What it keeps: keys of these sizes with the exponent that TPM 1.2 takes by default. */
#define KEYPOOL_EXPONENT 65537u
enum keypool_size { KEYPOOL_2048, KEYPOOL_1024, KEYPOOL_SIZES };
#define KEYPOOL_MOST     1024 /* of one size: 400 KiB of locked memory, of which a process has 8 MiB */

struct keypool_config {
    unsigned size[KEYPOOL_SIZES];   /* both 0: off, and no makers either */
    uint32_t wait_ms;               /* it begins to fill so long after the start */
    unsigned makers;                /* at once; 0: by this machine's processors */
};
/* "16,4", "16" (no keys of 1024 bits), "0". VT_EUSAGE. */
int keypool_parse(struct keypool_config *config, const char *text, struct vt_why *why) VT_USE_RESULT;

/* Borrows zygote. Without locked memory it is off, and the log says so. VT_ENOMEM. Returns owned. */
int keypool_new(struct keypool **pool, struct loop *loop, struct zygote *zygote, const struct keypool_config *config) VT_USE_RESULT;
/* Nothing is made any more but for who waits, or comes yet. */
void keypool_stop(struct keypool *pool);
/* Wipes. Nobody may be waiting. May be NULL. */
void keypool_free(struct keypool *pool);

/*
 * A key of this kind (cr_rsa_size_fits) for `owner`, an instance; zeros: the administrators, all together.
 * VT_OK: it is in *key. VT_EAGAIN: *wish waits, and `done` comes later, once, with a key (borrowed) or with
 * VT_EUNAVAILABLE; the wish is gone then. VT_EUNAVAILABLE: there is no maker: who wants a key makes it.
 */
int keypool_ask(struct keypool *pool, const struct vt_uuid *owner, unsigned bits, uint32_t e, struct cr_rsa_key *key,
                void (*done)(void *arg, int err, const struct cr_rsa_key *key), void *arg,
                struct keypool_wish **wish) VT_USE_RESULT;
/* Nobody waits for it any more; `done` does not come. May be NULL. */
void keypool_cancel(struct keypool_wish *wish);

struct keypool_facts {
    unsigned size[KEYPOOL_SIZES], level[KEYPOOL_SIZES];
    uint64_t made;      /* by makers, all sizes, since the start */
    uint64_t taken;     /* from the pool */
    uint64_t ordered;   /* made while somebody waited */
    size_t waiting;
    unsigned makers;    /* processes now */
};
void keypool_facts(const struct keypool *pool, struct keypool_facts *facts);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A double for server/core/zygote.c and engine.c: engines in memory whose TPM is two counters, one that
 * outlives power and one that does not; the latter begins with the digests of a measured start. Answers
 * come from the loop, as they would from a process. What goes wrong is told by `fake`.
 */
#ifndef VTPM_TESTS_FAKE_ZYGOTE_H
#define VTPM_TESTS_FAKE_ZYGOTE_H

#include "server/base/base.h"

/* Ordinals of the fake TPM. Each answers {header, volatile counter u64, permanent counter u64}. */
enum fake_ordinal {
    FAKE_STARTUP = 0x99,
    FAKE_READ = 0x1001, /* changes nothing, not even nonces */
    FAKE_BUMP_VOLATILE = 0x1002,
    FAKE_BUMP_PERMANENT = 0x1003,
    FAKE_BUMP_BOTH = 0x1004,
    FAKE_GROW = 0x1005, /* its volatile state becomes `fake.grown` bytes long */
    FAKE_DIE = 0x1006,  /* always kills the engine */
    FAKE_MAKE_EK = 0x1007,
    FAKE_WITNESS = 0x1008, /* asks for evidence first; then as FAKE_READ */
    FAKE_KEY = 0x1009,     /* asks for a key first; then as FAKE_BUMP_BOTH */
};
#define FAKE_RESPONSE 26

enum fake_garbage {
    GARBAGE_NONE,
    GARBAGE_TYPE,         /* a reply of no known type */
    GARBAGE_SHORT,        /* a STATE cut short */
    GARBAGE_LONG,         /* a STATE with a byte behind it */
    GARBAGE_DIRTY,        /* flags that do not exist */
    GARBAGE_RESPONSE,     /* a response shorter than a header */
    GARBAGE_NO_PERMANENT, /* says that permanent state changed, and does not bring it */
    GARBAGE_HUGE,         /* a length that goes over the end */
    GARBAGE_FAILED,       /* FAILED with a text that is no text */
    GARBAGE_EMPTY,
    GARBAGE_COUNT
};

struct fake {
    /* To be set by tests. */
    int ready_err;             /* of the self-tests */
    int spawn_err;             /* of the next engine_spawn */
    int request_err;           /* of the next engine_request */
    unsigned crashes;          /* so many of the next requests that are no THAW kill their engine */
    unsigned thaw_crashes;     /* the same for THAW */
    unsigned kills;            /* so many of the next requests find their engine killed from outside */
    unsigned zygote_deaths;    /* so many zygotes end before their self-tests do */
    enum fake_garbage garbage; /* of the next `garbage_count` answers that are no THAW's */
    unsigned garbage_count;
    unsigned delay_ms; /* before each answer */
    uint32_t grown;
    size_t ask_extra;   /* bytes behind what FAKE_WITNESS asks with */
    uint8_t ask_host;   /* which PCRs of the host it asks for */
    bool asks_twice;
    unsigned witness_deaths; /* so many engines die right after they have asked */
    unsigned key_bits;       /* which FAKE_KEY asks for, with the exponent 65537 */
    bool key_twice;
    unsigned key_deaths;     /* so many engines die right after they have asked */
    bool ek_asks;            /* MANUFACTURE with an EK asks for a key, too */
    bool makers_wait;        /* key makers do not answer until this is false, and something turns the loop */
    unsigned maker_deaths;   /* so many of their next requests kill them */
    bool refuse_thaw; /* FAILED(VT_EDAMAGED) */
    bool has_state;   /* TPM_Startup(ST_STATE) finds what was saved */

    /* To be looked at. */
    unsigned spawned, alive, thawed, executed, powered_on;
    unsigned extended; /* digests at power on */
    unsigned inits; /* PLATFORM acts that ran */
    unsigned certificates; /* EK_INSTALL that ran */
    unsigned asked;        /* for evidence */
    int told_err;          /* by the last EVIDENCE_IS */
    size_t told_len;
    unsigned key_asked, key_told; /* by engines, and the answers with a key */
    int key_err;                  /* of the last answer */
    uint8_t key_first;            /* and a byte of its modulus, which counts the keys that were made */
    unsigned makers, made;        /* processes; keys */
};
extern struct fake fake;

void fake_reset(void);
/* Every idle engine dies, or says something without having been asked. */
void fake_kill_idle(void);
void fake_speak_unasked(void);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* One command under execution, and the row of its ordinal: what a handler sees besides input and output. */
#ifndef VTPM_ENGINE_CMD_H
#define VTPM_ENGINE_CMD_H

#include "server/engine/engine.h"

#define CMD_HANDLES_MAX 3
#define CMD_AUTH_MAX    2
#define CMD_ARENA       (12u * 1024)

enum handle_kind {
    HANDLE_NONE = 0,
    HANDLE_KEY, /* resolved before the handler runs: c->keys[i]; TPM_INVALID_KEYHANDLE, TPM_KEYNOTFOUND */
    HANDLE_RAW  /* the handler looks it up itself: c->handles[i] */
};

enum auth_proof {
    PROOF_NONE = 0,
    PROOF_KEY0,      /* usageAuth of c->keys[0] */
    PROOF_KEY1,      /* usageAuth of c->keys[1] */
    PROOF_KEY0_READ, /* the same; TPM_NO_READ_PUBKEY_AUTH, too, needs no session: it reads the public part */
    PROOF_KEY1_READ,
    PROOF_SRK,
    PROOF_OWNER,
    PROOF_IN_HANDLER, /* the handler calls cmd_check_auth; only that tells that there is no such session */
    PROOF_TRANSPORT   /* a transport session; the handler calls cmd_check_transport */
};

/* When a command may run; each is checked in this order (libtpms agrees). Not set: it runs also without. */
enum cmd_needs {
    NEEDS_ENABLED = 1,
    NEEDS_ACTIVE = 2,
    NEEDS_OWNER = 4,
    NEEDS_NV_LOCKED = 8, /* the two above only once nvLocked is TRUE (Part 3, 20) */
    RUNS_BEFORE_STARTUP = 16,
    RUNS_FAILED = 32,    /* also in failure mode */
    RUNS_LOCKED_OUT = 64 /* with sessions also during a dictionary attack lock-out */
};
#define NEEDS_USABLE (NEEDS_ENABLED | NEEDS_ACTIVE) /* letter N in facts */
#define NEEDS_OWNED  (NEEDS_USABLE | NEEDS_OWNER)   /* letter A */

enum cmd_flags {
    CMD_AUDITED = 1, /* audited unless TPM_SetOrdinalAuditStatus says otherwise */
    CMD_NEVER_AUDITED = 2,
    CMD_NOT_WRAPPABLE = 4, /* not inside a transport session */
    CMD_PERMANENT = 8,     /* success changes permanent state */
    CMD_VOLATILE = 16,     /* success changes volatile state (sessions do so in any case) */
    CMD_OSAP = 32,         /* the first session must be OSAP or DSAP: the command carries new secrets */
    CMD_KEEPS_SHA1 = 64,   /* does not end a SHA-1 thread */
    CMD_KEEPS_SAVED = 128, /* does not by itself invalidate what TPM_SaveState saved */
    CMD_OSAP_LAST = 256,   /* as CMD_OSAP for the last session */
    CMD_AUDIT_FIRST = 512, /* audited before it is executed, without its output (Part 3, 8.1) */
    CMD_MAINTENANCE = 1024 /* there only if the profile offers maintenance */
};

enum cmd_duration { DURATION_S, DURATION_M, DURATION_L };

/* A permission bit of per1 (Part 2, 20.2) as a row keeps it: 0 stays "none". */
#define DELEGATE_BIT(bit) ((bit) + 1)

struct cmd_row {
    uint32_t ordinal;
    uint8_t handle_count;
    uint8_t handles[CMD_HANDLES_MAX]; /* enum handle_kind */
    uint8_t out_handles;              /* 0 or 1: c->out_handle goes into the response's handle area */
    struct {
        uint8_t min, max;
    } auth;
    /*
     * Whose secret each session proves. With fewer sessions than max the ones given are the last of these: a
     * missing one needs a key with authDataUsage TPM_AUTH_NEVER.
     */
    uint8_t proof[CMD_AUTH_MAX];
    uint8_t needs;     /* enum cmd_needs */
    uint16_t flags;    /* enum cmd_flags */
    uint8_t duration;  /* enum cmd_duration */
    uint8_t owner_bit; /* DELEGATE_BIT: may be delegated with the owner's or with a key's authority */
    uint8_t key_bit;
    /* Filled by commands.def's expansion. */
    uint16_t in_size, out_size;
    void (*decode)(struct rd *r, void *in);
    void (*encode)(struct wr *w, const void *out);
    tpm_rc (*run)(struct cmd *c, const void *in, void *out); /* NULL: not implemented, TPM_BAD_ORDINAL */
};

/* The row of an ordinal, implemented or not; NULL for any other number. */
const struct cmd_row *cmd_row_find(uint32_t ordinal);
const struct cmd_row *cmd_rows(size_t *count);
/* Is there a handler, and does this TPM's profile offer it? */
bool cmd_is_offered(const struct tpm *tpm, const struct cmd_row *row);
/* What TPM_CAP_ORD answers. */
bool cmd_is_implemented(const struct tpm *tpm, uint32_t ordinal);

/* One session of the command. */
struct auth_use {
    uint32_t handle;
    struct session *session;
    uint8_t nonce_odd[TPM_NONCE_LEN];
    uint8_t hmac[CR_SHA1_LEN];
    bool keep; /* continueAuthSession, until something ends it */
    bool checked;
    struct vt_auth key; /* HMAC key of the response once checked */
    bool delegated;     /* proved by what was lent: `delegate` */
    struct tpm_delegate_public delegate;
    bool even_chosen; /* the handler chose the response's nonceEven */
    uint8_t nonce_even[TPM_NONCE_LEN];
};

struct cmd {
    struct tpm *tpm;
    const struct cmd_row *row;
    uint32_t ordinal;
    uint8_t locality;
    uint32_t handles[CMD_HANDLES_MAX];
    struct key_slot *keys[CMD_HANDLES_MAX]; /* HANDLE_KEY; NULL elsewhere */
    unsigned auth_count;
    struct auth_use auth[CMD_AUTH_MAX];
    uint8_t in_digest[CR_SHA1_LEN];
    uint8_t out_digest[CR_SHA1_LEN];
    uint8_t audit_in[CR_SHA1_LEN], audit_out[CR_SHA1_LEN];
    bool digests_chosen; /* the handler made out_digest, audit_in and audit_out itself (Part 3, 24.2) */
    bool audited;        /* as it was when the command began */
    uint32_t transport;  /* handle of the session that it is wrapped in; 0: none */
    bool hidden;         /* which encrypts: of the parameters the audit sees nothing */
    uint32_t out_handle;
    bool wrong_guess; /* an HMAC did not match */
    struct session no_session; /* stands for one that is not there until the handler asks for its proof */
    size_t arena_used;
    _Alignas(16) uint8_t arena[CMD_ARENA]; /* wiped at the end of the command */
};

/* Zeroed memory until the end of the command, for outputs; NULL when the arena is used up: answer TPM_SIZE.
 */
void *cmd_alloc(struct cmd *c, size_t len);
/* A copy in the arena; {0, NULL} and false when it is used up. */
bool cmd_blob(struct cmd *c, struct tpm_blob *out, const void *bytes, size_t len) VT_USE_RESULT;
/* Something that cannot happen has: TPM_FAIL and failure mode (Part 3, 4). */
tpm_rc cmd_fatal(struct cmd *c);
/* Physical presence as Part 2, 7.1/7.2 and Part 3, 6.6 define it. */
bool cmd_physical_presence(const struct cmd *c);
/* TPM_GetCapability's answer, in the arena (Part 3, 7.1). TPM_BAD_MODE, TPM_BAD_PARAMETER, ... */
tpm_rc cmd_read_capability(struct cmd *c, uint32_t area, const struct tpm_blob *sub_cap,
                           struct tpm_blob *resp) VT_USE_RESULT;
/* Part 3, 4.1: known answers of every primitive; TPM_FAILEDSELFTEST and failure mode. */
tpm_rc cmd_self_test(struct cmd *c) VT_USE_RESULT;
/* A vt_err of the crypto layer as a return code: VT_ENOMEM TPM_RESOURCES, others `otherwise`. */
tpm_rc cmd_crypto_rc(int err, tpm_rc otherwise);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of a TPM: struct tpm and what chapters share. Three lives of data (Part 2, 7): `perm` outlives
 * power, `stclear` outlives TPM_Startup(ST_STATE) through TPM_SaveState, `stany` ends with every TPM_Init.
 * All of it freezes (state/), but cached private keys.
 */
#ifndef VTPM_ENGINE_ENGINE_H
#define VTPM_ENGINE_ENGINE_H

#include "server/engine/session.h"
#include "server/engine/da.h"
#include "server/engine/daa.h"
#include "server/engine/keys.h"
#include "server/engine/nv.h"
#include "server/engine/pcr.h"
#include "server/engine/tpm.h"
#include "server/wire/commands.h"

/* Capacities; the profile's limits are at most these. */
#define COUNTERS_MAX       16
#define FAMILY_ROWS_MAX    32
#define DELEGATE_ROWS_MAX  16
#define SAVED_CONTEXTS_MAX 256
#define TRANSPORTS_MAX     32
#define AUDIT_BITMAP_BYTES 64
#define SAVED_STATE_MAX    (56u * 1024)
#define MAINT_PUB_MAX      292 /* a TPM_PUBKEY of 2048 bits with an exponent of 4 bytes */

/* Part 2, 15.1 TPM_COUNTER_VALUE and its authorisation. */
struct counter {
    bool used;
    struct tpm_counter_value value;
    struct vt_auth auth;
};

/* Part 2, 20.5. */
struct family_row {
    bool used;
    struct tpm_family_table_entry entry;
};

/* Part 2, 20.9 TPM_DELEGATE_TABLE_ROW. */
struct delegate_row {
    bool used;
    struct tpm_delegate_public pub;
    struct vt_auth auth;
};

/* Part 2, 7.4 TPM_PERMANENT_DATA and more that outlives power. */
struct permanent {
    struct tpm_profile profile;
    uint8_t instance[16];            /* volatile bytes of another TPM are refused by it */
    uint8_t drbg_seed[CR_DRBG_SEED]; /* of the generator after the next power on */
    struct tpm_permanent_flags flags;
    bool owned; /* ownerInstalled; then srk and owner_auth are set */
    bool has_ek;
    bool ek_revocable; /* made by TPM_CreateRevocableEK; ek_reset is set */
    struct vt_auth owner_auth;
    struct vt_auth operator_auth;
    struct vt_auth tpm_proof;
    struct vt_auth ek_reset;
    struct vt_auth context_key; /* TPM_SaveContext's integrity and encryption */
    struct vt_auth delegate_key; /* of a TPM from swtpm: begins with libtpms' key of 16 bytes */
    struct vt_auth daa_proof;
    struct vt_auth daa_blob_key;
    struct vt_auth daa_seed; /* zeros: none yet (daa.h) */
    struct key_slot ek;  /* handle TPM_KH_EK while has_ek */
    struct key_slot srk; /* handle TPM_KH_SRK while owned */
    struct da_state da;
    uint8_t restrict_delegate[4];        /* TPM_CMK_SetRestrictions */
    uint8_t audited[AUDIT_BITMAP_BYTES]; /* bit n: row n of commands.def is audited */
    uint32_t audit_counter;
    uint32_t counter_highest; /* monotonicCounter: where a new counter starts */
    struct counter counters[COUNTERS_MAX];
    uint32_t last_family_id;
    struct family_row families[FAMILY_ROWS_MAX];
    struct delegate_row delegates[DELEGATE_ROWS_MAX];
    uint32_t maint_pub_len; /* 0: manuMaintPub was not loaded */
    uint8_t maint_pub[MAINT_PUB_MAX];
    uint8_t auth_dir[TPM_DIGEST_LEN]; /* the one DIR; also NV index 0x10000001 */
    struct nv_store nv;
    uint32_t saved_len; /* what TPM_SaveState kept; 0: nothing or no longer good */
    uint8_t saved[SAVED_STATE_MAX];
};

#define COUNTER_NONE     0u          /* the first one that is incremented */
#define COUNTER_RELEASED 0xFFFFFFFFu /* it is gone: none until the next TPM_Startup(ST_CLEAR) */

/* Part 2, 7.5 TPM_STCLEAR_DATA: TPM_SaveState keeps these. */
struct stclear {
    struct tpm_stclear_flags flags;
    uint8_t pcr[TPM_NUM_PCR][TPM_DIGEST_LEN];
    uint8_t context_nonce_key[TPM_NONCE_LEN];
    uint32_t counter_id;      /* 1 + countID of the counter that may be incremented, COUNTER_* */
    uint32_t owner_reference; /* TPM_SetOwnerPointer: TPM_KH_OWNER or a delegated handle */
    uint32_t deferred_presence; /* TPM_SetCapability */
    uint8_t audit_digest[CR_SHA1_LEN];
};

/* Part 2, 7.3 and 7.6: gone at every TPM_Init. */
struct stany {
    bool post_init;   /* TPM_Init was, TPM_Startup was not */
    bool tos_present; /* HASH_START was */
    bool failed;      /* failure mode (Part 1, 9.2); only TPM_Init ends it */
    bool self_tested;
    uint32_t transport_exclusive; /* handle; 0 none */
    uint32_t next_handle;         /* handles are not given twice while the TPM is on */
    uint8_t context_nonce_session[TPM_NONCE_LEN];
    uint32_t context_count; /* of the newest saved session context */
    uint32_t context_list[SAVED_CONTEXTS_MAX];
    bool context_is_11[SAVED_CONTEXTS_MAX]; /* saved by TPM_SaveAuthContext: TPM_Reset ends it */
    uint8_t context_nonce_11[TPM_NONCE_LEN];
    uint64_t tick_start_us; /* now_us at TPM_Startup */
    uint8_t tick_nonce[TPM_NONCE_LEN];
    bool sha1_active;        /* TPM_SHA1Start's thread */
    uint32_t sha1_transport; /* the transport session that it is in; 0: none */
    bool hash_active;        /* between HASH_START and HASH_END */
    struct cr_sha1_state sha1;
    struct cr_sha1_state hash;
    uint8_t hash_tail[64]; /* HASH_DATA comes in any length */
    uint8_t hash_tail_len;
    bool clock_seen;     /* a command told the time since TPM_Init */
    uint64_t da_mark_us; /* when perm.da.lock_us was written down */
    uint64_t now_us;     /* of the last command; alone it makes no state dirty */
    struct session sessions[SESSIONS_MAX];
    struct transport transports[TRANSPORTS_MAX];
    struct daa_session daa[DAA_SESSIONS_MAX];
};

struct tpm {
    const struct tpm_ops *ops; /* may be NULL */
    bool on;
    struct cr_drbg drbg; /* while on; volatile state */
    struct permanent perm;
    struct stclear stclear;
    struct stany stany;
    struct key_slot keys[KEY_SLOTS_MAX]; /* those the owner keeps belong to the permanent state */
    unsigned dirty; /* TPM_DIRTY_*, collected during a command, besides what its row says */
};

/* A handle that is not in use, of a TPM_RESOURCE_TYPE; never TPM_KH_* and never 0. */
uint32_t tpm_fresh_handle(struct tpm *tpm, uint32_t resource_type);
/* Is it a loaded key's or an open session's? */
bool tpm_handle_taken(struct tpm *tpm, uint32_t handle);
void tpm_random(struct tpm *tpm, void *out, size_t len);
/* The owner goes: SRK, owner's keys, sessions, NV areas of the owner, delegations (Part 3, 6.2). */
void tpm_clear_owner(struct tpm *tpm);
/* Which ordinals are audited unless TPM_SetOrdinalAuditStatus says otherwise: at manufacture and without an
 * owner. */
void tpm_default_audit(struct permanent *perm);
/* currentTicks of TPM_CURRENT_TICKS; all of it. */
uint64_t tpm_ticks_us(const struct tpm *tpm);
struct tpm_current_ticks tpm_ticks_now(const struct tpm *tpm);
/* Part 2, 21.6 TPM_CAP_VERSION_INFO: who made this TPM. */
struct tpm_cap_version_info tpm_version_info(void);
/* What TPM_SaveState keeps; false if it does not fit. */
bool tpm_save_stclear(struct tpm *tpm) VT_USE_RESULT;
/* A new RSA key from ops or the generator; enum vt_err. The caller wipes it. */
int tpm_make_rsa(struct tpm *tpm, struct cr_rsa_key *key, unsigned bits, uint32_t e) VT_USE_RESULT;
/* A new endorsement key; the old one, if any, was done away with before. */
int tpm_make_ek(struct tpm *tpm, unsigned bits) VT_USE_RESULT;
void tpm_set_ek(struct tpm *tpm, const struct cr_rsa_key *rsa);
/* It is gone; there is no owner (Part 3, 14.3). */
void tpm_revoke_ek(struct tpm *tpm);
/* Every limit between the least that works and its capacity, and slots that the owner cannot keep. */
bool tpm_profile_valid(const struct tpm_profile *profile);
/* `wanted` with pc-client's values in place of zeros. */
void tpm_profile_defaults(struct tpm_profile *profile, const struct tpm_profile *wanted);
/* TPM_PERMANENT_DATA -> manuMaintPub, borrowed; false: there is none (Part 3, 12.4). */
bool tpm_maint_pub(const struct tpm *tpm, struct tpm_pubkey *out) VT_USE_RESULT;
/* What was saved is no longer good. */
void tpm_drop_saved(struct tpm *tpm);
/* What TPM_SaveState could keep is as after TPM_Init: the keys but the owner's, TPM_STCLEAR_DATA. */
void tpm_clear_stclear(struct tpm *tpm);
/* And back; false if there is nothing, or it does not parse: failure mode, and nothing of it is there. */
bool tpm_restore_stclear(struct tpm *tpm) VT_USE_RESULT;

#endif

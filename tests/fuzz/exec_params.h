/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What fuzz_engine_exec knows of a TPM from the outside, and for each ordinal handles and parameters that
 * fit: exec_params.c most, exec_travel.c those whose parameters come from other commands' answers (migration,
 * delegation, DAA, ...), exec_transport.c one command inside of another.
 */
#ifndef VTPM_TESTS_FUZZ_EXEC_PARAMS_H
#define VTPM_TESTS_FUZZ_EXEC_PARAMS_H

#include "server/engine/cmd.h"
#include "tests/fuzz/fuzz_tpm.h"

#define EXEC_SESSIONS  4
#define EXEC_BLOB_MAX  1024
#define EXEC_DAA_BLOBS 3 /* what TPM_DAA_Sign needs of TPM_DAA_Join: the answers to its last stages */

/* A session from the client's side. */
struct exec_session {
    uint32_t handle; /* 0: none */
    bool osap;
    bool aes;              /* how it hides new secrets */
    struct vt_auth secret; /* HMAC key */
    struct tpm_nonce even, odd;
};

struct exec_blob {
    size_t len;
    uint8_t bytes[EXEC_BLOB_MAX];
};

/* The last ones that commands gave. */
enum exec_blob_name {
    BLOB_KEY,          /* TPM_KEY */
    BLOB_SEALED,       /* TPM_STORED_DATA */
    BLOB_CONTEXT,      /* of TPM_SaveContext: sized */
    BLOB_CONTEXT_11,   /* of TPM_SaveKeyContext */
    BLOB_AUTH_CONTEXT, /* of TPM_SaveAuthContext */
    BLOB_OWNER_LENT,   /* TPM_DELEGATE_OWNER_BLOB */
    BLOB_KEY_LENT,     /* TPM_DELEGATE_KEY_BLOB */
    BLOB_WAY,          /* TPM_MIGRATIONKEYAUTH for migration or rewrapping */
    BLOB_RANDOM,       /* of TPM_CreateMigrationBlob */
    BLOB_TRAVELLER,
    BLOB_CMK,          /* TPM_KEY of TPM_CMK_CreateKey */
    BLOB_CMK_APPROVAL, /* of TPM_CMK_ApproveMA */
    BLOB_CMK_WAY,      /* TPM_MIGRATIONKEYAUTH for restricted migration */
    BLOB_CMK_TICKET,
    BLOB_CMK_RANDOM,
    BLOB_CMK_TRAVELLER,
    BLOB_ARCHIVE,      /* of TPM_CreateMaintenanceArchive */
    BLOB_ARCHIVE_RANDOM,
    BLOB_JOINED,  /* DAA, the first of EXEC_DAA_BLOBS */
    BLOBS = BLOB_JOINED + EXEC_DAA_BLOBS
};

struct exec_daa {
    uint32_t handle;
    uint8_t stage; /* the next one */
    bool keyed;    /* stage 1 of TPM_DAA_Join comes twice */
};

struct exec {
    struct tpm *tpm;
    uint64_t now_us;
    uint64_t nonces;
    struct exec_session sessions[EXEC_SESSIONS];
    unsigned next_session;
    unsigned saved_session; /* the one in BLOB_CONTEXT or BLOB_AUTH_CONTEXT */
    struct {
        struct exec_session s;
        struct tpm_transport_public pub, offered;
    } transport;
    uint32_t keys[FUZZ_KEYS];
    uint32_t loaded; /* the last key that was */
    uint32_t last_handle;
    uint32_t temporary; /* of TPM_ChangeAuthAsymStart */
    uint32_t counter;
    uint16_t way, cmk_way; /* TPM_MS_*: what was authorised */
    struct exec_daa join, sign;
    struct exec_blob blobs[BLOBS];
    struct exec_session *auth[2]; /* of the command that is being built */
    unsigned auths;
};

/* A command that is being built. */
struct built {
    size_t len, params, params_len;
    const struct cmd_row *row;
    uint8_t bytes[TPM_BUFFER];
};

/* The first thing of a process, after fuzz_tpm_start: the blobs whose making needs no TPM. */
void exec_travel_start(void);
void exec_keep(struct exec *x, enum exec_blob_name name, const void *bytes, size_t len);
struct tpm_blob exec_blob(const struct exec *x, enum exec_blob_name name);

/* One of the handles a guest may name: n picks; 0: the one that fits best as handle i of the command. */
uint32_t exec_handle(const struct exec *x, const struct cmd_row *row, unsigned i, unsigned n, uint8_t a);
/*
 * The parameters of ordinal, by choice of `a` and `b`; nothing for ordinals that have none or that are not
 * known here: the input then gives all.
 */
void exec_params(struct exec *x, struct wr *w, uint32_t ordinal, uint8_t a, uint8_t b);
bool exec_travel_params(struct exec *x, struct wr *w, uint32_t ordinal, uint8_t a, uint8_t b);
/* After success: what later commands can use. params: behind the handle, before the trailer; a as given to
 * exec_params. */
void exec_learn(struct exec *x, uint32_t ordinal, uint8_t a, const uint8_t *params, size_t len);
void exec_travel_learn(struct exec *x, uint32_t ordinal, uint8_t a, const uint8_t *params, size_t len);

/* fuzz_tpm_secret hidden by a session as ADIP says (Part 1, 12.3): the first under nonceEven, the second
 * under nonceOdd. */
struct vt_auth exec_hidden(const struct exec_session *s, bool second);
struct tpm_key_parms exec_rsa_parms(unsigned bits, uint16_t enc, uint16_t sig);
/* What is encrypted in a TPM_KEY or TPM_STORED_DATA under a key of 2048 bits. */
struct tpm_blob exec_last_256(const struct exec *x, enum exec_blob_name name);
/* A TPM_TRANSPORT_AUTH for the SRK; TPM_BOUND_DATA for KEY_BIND; TPM_ASYM_CA_CONTENTS for the EK and
 * KEY_IDENTITY. */
struct tpm_blob exec_transport_secret(void);
struct tpm_blob exec_bound(void);
struct tpm_blob exec_credential(void);

/* Puts the command, proofs and all, into TPM_ExecuteTransport in the open session. */
void exec_wrap(struct exec *x, struct built *cmd, bool keep);
/* The wrapped response of a successful TPM_ExecuteTransport takes the place of the outer one. */
void exec_unwrap(struct exec *x, const struct cmd_row *row, struct response *rsp);

/* The proof of one session (Part 1, 12) over a digest. */
void exec_prove(struct wr *w, const uint8_t digest[TPM_DIGEST_LEN], struct exec_session *s, bool keep,
                bool wrong);
void exec_next_odd(struct exec *x, struct exec_session *s);

#define EXEC_PARAMS(name, ...)                                                                               \
    do {                                                                                                     \
        struct name##_in in = {__VA_ARGS__};                                                                 \
        wr_##name##_in(w, &in);                                                                              \
    } while (0)
#define EXEC_CASE(ordinal, name, ...)                                                                        \
    case ordinal:                                                                                            \
        EXEC_PARAMS(name, __VA_ARGS__);                                                                      \
        return true

#endif

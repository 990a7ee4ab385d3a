/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's TPM, whichever it is: one table of operations, three implementations (tpm2.c, tpm12.c, none.c). Linked into
 * the broker only.
 *
 * Thread: everything here may wait for a device. The broker calls it at start, before the loop runs, and later on workers;
 * never on the loop. hwtpm_run bounds the time: a TPM that does not answer costs its caller config->limit_ms, not more.
 * An open TPM belongs to one thread. Between calls nothing is kept open: other programs of the host need the device too.
 *
 * Errors say the cause and what to do. VT_ENOTFOUND: no device; VT_EPERM: no permission; VT_EAGAIN: held by another
 * process, or locked out for a time; VT_EAUTH: an owner's or SRK's secret is wrong or missing; VT_EKEY: this TPM, or its
 * PCRs, are not what was sealed to; VT_ETIMEOUT; VT_EIO; VT_ENOTSUP: this TPM, or this build, cannot.
 */
#ifndef VTPM_HWTPM_HWTPM_H
#define VTPM_HWTPM_HWTPM_H

#include "server/base/err.h"
#include "server/crypto/crypto.h"

enum hwtpm_kind { HWTPM_AUTO, HWTPM_NONE, HWTPM_TPM2, HWTPM_TPM12 };

#define HWTPM_WHERE    512
#define HWTPM_LIMIT_MS 3000 /* for one piece of work; a store that does not open must have said so within 5 s */

struct hwtpm_config {
    enum hwtpm_kind kind;
    char where[HWTPM_WHERE];    /* 2.0: a TCTI ("swtpm:port=2321"); 1.2: a path, tcp:HOST:PORT or unix:PATH; "": default */
    uint32_t limit_ms;          /* 0: HWTPM_LIMIT_MS */
    bool has_srk_auth;          /* 1.2: the SRK's secret; else the well-known one (20 zero bytes) */
    struct vt_auth srk_auth;
};

/* VT_EUSAGE unless `where` is a place on this host and names one of the TCTIs that are known to be harmless. Pure. */
int hwtpm_where_check(enum hwtpm_kind kind, const char *where, struct vt_why *why) VT_USE_RESULT;

struct hwtpm; /* an open one */

/* ---- PCRs (pcr.c; no TPM, any thread) ---- */

#define HWTPM_PCRS   24
#define HWTPM_DIGEST 32 /* the longest value: SHA-256; a TPM 1.2 has 20 */

struct hwtpm_pcrs {
    uint32_t mask;      /* of those below that are meant */
    uint32_t len;       /* of each value: 32 (2.0, bank SHA-256) or 20 (1.2) */
    uint8_t value[HWTPM_PCRS][HWTPM_DIGEST];
};

/* "7,4", "0-7", "none" (0). VT_EUSAGE. */
int hwtpm_pcrs_parse(const char *text, uint32_t *mask, struct vt_why *why) VT_USE_RESULT;
#define HWTPM_PCRS_TEXT 72
/* "4,7" or "none". */
void hwtpm_pcrs_text(char out[HWTPM_PCRS_TEXT], uint32_t mask);
/*
 * Values that would protect nothing. VT_EUSAGE: a PCR is as the TPM starts it (all zero, all one, the locality of the
 * start), or all of them hold a separator alone; why says which, and the way out.
 */
int hwtpm_pcrs_check(const struct hwtpm_pcrs *pcrs, struct vt_why *why) VT_USE_RESULT;
/* Those of pcrs into which the firmware measured nothing but the separator that ends its measurements. */
uint32_t hwtpm_pcrs_separators(const struct hwtpm_pcrs *pcrs);
/* PCR n of pcrs = hash(old || digest), as the TPM would do it. */
void hwtpm_pcrs_extend(struct hwtpm_pcrs *pcrs, unsigned n, const uint8_t *digest);
/*
 * Changes pcrs as a prediction says: lines "N: HEX" (the value then), "extend N HEX" (a digest), "reset N" (zeros, from
 * which a boot starts); '#' begins a comment. VT_EUSAGE names the line, also for a PCR that is not in pcrs->mask.
 */
int hwtpm_pcrs_predict(struct hwtpm_pcrs *pcrs, const char *text, struct vt_why *why) VT_USE_RESULT;

/* What is remembered of the values that were sealed to: enough to name the PCR that has changed. */
#define HWTPM_PRINT 8
struct hwtpm_prints {
    uint32_t mask;
    uint8_t of[HWTPM_PCRS][HWTPM_PRINT];
};
void hwtpm_prints_of(struct hwtpm_prints *prints, const struct hwtpm_pcrs *pcrs);
/* The PCRs that differ. */
uint32_t hwtpm_prints_differ(const struct hwtpm_prints *prints, const struct hwtpm_pcrs *now);

/* ---- Work ---- */

/*
 * Opens the TPM, runs work on a thread of its own, closes; waits at most limit_ms (VT_ETIMEOUT). arg (size bytes) is
 * copied in and back; it holds no pointers, since the copy outlives the caller when the TPM hangs. Both copies that this
 * makes are wiped. Worker, or the loop thread before the loop runs.
 */
typedef int (*hwtpm_work)(struct hwtpm *tpm, void *arg, struct vt_why *why);
int hwtpm_run(const struct hwtpm_config *config, hwtpm_work work, void *arg, size_t size, struct vt_why *why) VT_USE_RESULT;

/* Once, before threads are started: quiets the TSS, whose own lines would go to standard error. */
void hwtpm_init(void);
/* HWTPM_AUTO made definite by looking at /dev and /sys; HWTPM_NONE if there is nothing. */
enum hwtpm_kind hwtpm_found(const struct hwtpm_config *config);

/* "TPM 2.0 IBM SW TPM, firmware ..., by device:/dev/tpmrm0": for the log. Valid while it is open. */
const char *hwtpm_text(const struct hwtpm *tpm);
enum hwtpm_kind hwtpm_kind(const struct hwtpm *tpm);

/* ---- Operations: on an open TPM ---- */

/* The values of the PCRs in mask; pcrs->mask and len are set. */
int hwtpm_pcr_read(struct hwtpm *tpm, uint32_t mask, struct hwtpm_pcrs *pcrs, struct vt_why *why) VT_USE_RESULT;
/* From the TPM's generator; whether it is any good is the caller's question. */
int hwtpm_random(struct hwtpm *tpm, uint8_t *out, size_t len, struct vt_why *why) VT_USE_RESULT;

#define HWTPM_SECRET 32
#define HWTPM_SEALED 448
/* As the TPM made it, opaque, useless without that TPM. */
struct hwtpm_sealed {
    uint32_t len;
    uint8_t bytes[HWTPM_SEALED];
};

/* An operator's signature over one acceptable set of PCRs (TPM 2.0 Part 3, 23.16 TPM2_PolicyAuthorize). */
struct hwtpm_approval {
    uint8_t policy[CR_SHA256_LEN];  /* hwtpm_pcr_policy of the set */
    uint8_t signature[CR_RSA_MAX];  /* RSASSA-PKCS1-v1_5, SHA-256, of the 32 bytes */
};
/* The policy digest that stands for these PCR values (Part 3, 23.7 TPM2_PolicyPCR). Pure. */
void hwtpm_pcr_policy(const struct hwtpm_pcrs *pcrs, uint8_t policy[CR_SHA256_LEN]);

/* What must hold for the secret to come out again. */
struct hwtpm_policy {
    struct hwtpm_pcrs pcrs;         /* values to seal to; mask 0: none. To unseal only the mask counts */
    bool is_signed;                 /* 2.0: not these values, but those that signer approves */
    struct cr_rsa_pub signer;       /* 2048 bits, e = 65537 */
    struct hwtpm_approval approval; /* to unseal, of the present values */
};

int hwtpm_seal(struct hwtpm *tpm, const struct hwtpm_policy *policy, const uint8_t secret[HWTPM_SECRET],
               struct hwtpm_sealed *out, struct vt_why *why) VT_USE_RESULT;
/* VT_EKEY: another TPM, a cleared one, or other PCRs. secret is wiped on error. */
int hwtpm_unseal(struct hwtpm *tpm, const struct hwtpm_policy *policy, const struct hwtpm_sealed *sealed,
                 uint8_t secret[HWTPM_SECRET], struct vt_why *why) VT_USE_RESULT;

/*
 * A statement of the TPM about its PCRs over 32 bytes of the caller's, signed by an attestation key that this TPM made.
 * key: as hwtpm_key_make returned it. message: TPMS_ATTEST (2.0) or TPM_QUOTE_INFO (1.2), what is signed: RSASSA with
 * SHA-256 (2.0) or SHA-1. A 1.2 binds nonce[0..20). pcrs are the values that the message has the digest of: VT_EAGAIN if
 * one changed meanwhile.
 */
#define HWTPM_MESSAGE 512
struct hwtpm_key {
    uint32_t len;
    uint8_t bytes[1024];
};
struct hwtpm_quote {
    struct hwtpm_pcrs pcrs;
    uint32_t message_len, signature_len;
    uint8_t message[HWTPM_MESSAGE], signature[CR_RSA_MAX];
};
/* A restricted signing key (2.0), an identity key (1.2: needs the owner's secret). */
int hwtpm_key_make(struct hwtpm *tpm, const struct vt_auth *owner, struct hwtpm_key *key, struct cr_rsa_pub *pub,
                   struct vt_why *why) VT_USE_RESULT;
int hwtpm_quote(struct hwtpm *tpm, const struct hwtpm_key *key, uint32_t mask, const uint8_t nonce[32],
                struct hwtpm_quote *out, struct vt_why *why) VT_USE_RESULT;

/*
 * Enrolment: that an attestation key is in the same TPM as an endorsement key (EK) that a CA knows (docs/attestation.md).
 * Whoever knows both public halves makes a challenge; only the TPM that has both keys opens it (2.0: Part 1, 24,
 * TPM2_ActivateCredential; 1.2: Part 3, 15.2, TPM_ActivateIdentity). A 1.2 needs its owner's secret for each step.
 */
#define HWTPM_PUBLIC     512
#define HWTPM_EK_CERT    4096
#define HWTPM_CREDENTIAL 132 /* TPMS_ID_OBJECT */
struct hwtpm_enrolment {
    uint32_t public_len, ek_cert_len; /* ek_cert_len 0: the TPM has no certificate, or none that can be read */
    uint8_t public[HWTPM_PUBLIC];     /* the attestation key: TPMT_PUBLIC (2.0), TPM_PUBKEY (1.2) */
    struct cr_rsa_pub ek;             /* 2048 bits, e = 65537 */
    uint8_t ek_cert[HWTPM_EK_CERT];   /* X.509 in DER, as the maker put it in */
};
/* What the TPM has to say of a key that hwtpm_key_make made. VT_EKEY: another TPM made it. */
int hwtpm_enrol(struct hwtpm *tpm, const struct hwtpm_key *key, const struct vt_auth *owner, struct hwtpm_enrolment *out,
                struct vt_why *why) VT_USE_RESULT;

struct hwtpm_challenge {
    uint32_t credential_len, secret_len; /* credential_len 0: 1.2 */
    uint8_t credential[HWTPM_CREDENTIAL], secret[CR_RSA_MAX];
};
struct hwtpm_opened {
    uint32_t len; /* 1.2: of the symmetric key */
    uint8_t bytes[32];
};
/* VT_EKEY: the challenge is for another EK or another attestation key, or it was altered; or the key is another TPM's. */
int hwtpm_activate(struct hwtpm *tpm, const struct hwtpm_key *key, const struct vt_auth *owner,
                   const struct hwtpm_challenge *challenge, struct hwtpm_opened *out, struct vt_why *why) VT_USE_RESULT;

/*
 * An anchor against roll-back: a counter that nobody can set back, and 64 bytes that were written with its present value.
 * 2.0: two NV indices, `index` and the next (owner's range, 0x01800000 on); 1.2: an NV area and a counter. Only who has
 * `auth` (from the store's master key) can write them. Deleted and made anew by the owner, the counter goes on above
 * every value that it had; then auth is not the same either, and VT_EAUTH tells.
 * Each advance writes the TPM's non-volatile memory twice: its wear is the caller's to bound.
 */
#define HWTPM_ANCHOR 64
struct hwtpm_anchor {
    uint32_t index;
    struct vt_key auth;
    uint64_t counter;
    uint8_t data[HWTPM_ANCHOR];
};
/* A new one, with zeros; counter is set. VT_EEXISTS: there is something at this index. 1.2 needs the owner's secret. */
int hwtpm_anchor_make(struct hwtpm *tpm, struct hwtpm_anchor *anchor, const struct vt_auth *owner,
                      struct vt_why *why) VT_USE_RESULT;
/*
 * Sets counter and data. VT_ENOTFOUND: there is none at this index; VT_EDAMAGED: the data were not written with this
 * counter. An advance that a power cut ended between its two steps counts as done.
 */
int hwtpm_anchor_read(struct hwtpm *tpm, struct hwtpm_anchor *anchor, struct vt_why *why) VT_USE_RESULT;
/* Writes data; counter is set to the new value, one more. */
int hwtpm_anchor_advance(struct hwtpm *tpm, struct hwtpm_anchor *anchor, struct vt_why *why) VT_USE_RESULT;

#endif

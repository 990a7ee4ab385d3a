/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The structures of TPM Main 1.2, Part 2, as they travel. TPM_SIGN_INFO is `struct tpm_sign_info`, read and
 * written by rd_sign_info and wr_sign_info. Structure tags are checked and written, never stored. Sized
 * parts are borrowed blobs. Structures that live only inside a TPM (7.4-7.6, 19.4) are the engine's own.
 */
#ifndef VTPM_WIRE_STRUCTURES_H
#define VTPM_WIRE_STRUCTURES_H

#include "server/wire/schema.h"

/* Part 2, 5.1 and 5.3: TPM_STRUCT_VER and TPM_VERSION. */
#define FIELDS_struct_ver(F) F(u8, major) F(u8, minor) F(u8, rev_major) F(u8, rev_minor)

/* Headers and authorisation trailers (Part 1, 30; Part 3, 2). */
#define FIELDS_request_header(F) F(u16, tag) F(u32, param_size) F(u32, ordinal)
#define FIELDS_response_header(F) F(u16, tag) F(u32, param_size) F(u32, return_code)
#define FIELDS_auth_in(F)                                                                                    \
    F(u32, auth_handle) F(nonce, nonce_odd) F(b, continue_auth_session) F(authdata, auth)
#define FIELDS_auth_out(F) F(nonce, nonce_even) F(b, continue_auth_session) F(authdata, auth)

/* 5.11-5.21 */
#define FIELDS_changeauth_validate(F) F(authdata, new_auth_secret) F(nonce, n1)
#define FIELDS_counter_value(F) F(bytes4, label) F(u32, counter)
#define FIELDS_sign_info(F) F(bytes4, fixed) F(nonce, replay) F(blob32, data)
#define FIELDS_cmk_auth(F)                                                                                   \
    F(digest, migration_authority_digest) F(digest, destination_key_digest) F(digest, source_key_digest)
#define FIELDS_select_size(F) F(u8, major) F(u8, minor) F(u16, req_size)
#define FIELDS_cmk_migauth(F) F(digest, msa_digest) F(digest, pub_key_digest)
#define FIELDS_cmk_sigticket(F) F(digest, ver_key_digest) F(digest, signed_data)
#define FIELDS_cmk_ma_approval(F) F(digest, migration_authority_digest)

/* 7.1-7.3 */
#define FIELDS_permanent_flags(F)                                                                            \
    F(b, disable)                                                                                            \
    F(b, ownership)                                                                                          \
    F(b, deactivated)                                                                                        \
    F(b, read_pubek)                                                                                         \
    F(b, disable_owner_clear)                                                                                \
    F(b, allow_maintenance)                                                                                  \
    F(b, physical_presence_lifetime_lock)                                                                    \
    F(b, physical_presence_hw_enable)                                                                        \
    F(b, physical_presence_cmd_enable)                                                                       \
    F(b, cekp_used)                                                                                          \
    F(b, tpm_post)                                                                                           \
    F(b, tpm_post_lock)                                                                                      \
    F(b, fips)                                                                                               \
    F(b, operator)                                                                                           \
    F(b, enable_revoke_ek)                                                                                   \
    F(b, nv_locked)                                                                                          \
    F(b, read_srk_pub)                                                                                       \
    F(b, tpm_established)                                                                                    \
    F(b, maintenance_done)                                                                                   \
    F(b, disable_full_da_logic_info)
#define FIELDS_stclear_flags(F)                                                                              \
    F(b, deactivated)                                                                                        \
    F(b, disable_force_clear) F(b, physical_presence) F(b, physical_presence_lock) F(b, b_global_lock)
#define FIELDS_stany_flags(F)                                                                                \
    F(b, post_initialise) F(u32, locality_modifier) F(u32, transport_exclusive) F(b, tos_present)

/* 8 */
#define FIELDS_pcr_composite(F) F(pcr_selection, select) F(blob32, pcr_value)
#define FIELDS_pcr_info(F)                                                                                   \
    F(pcr_selection, pcr_selection) F(digest, digest_at_release) F(digest, digest_at_creation)
#define FIELDS_pcr_info_long(F)                                                                              \
    F(u8, locality_at_creation)                                                                              \
    F(u8, locality_at_release)                                                                               \
    F(pcr_selection, creation_pcr_selection)                                                                 \
    F(pcr_selection, release_pcr_selection) F(digest, digest_at_creation) F(digest, digest_at_release)
#define FIELDS_pcr_info_short(F)                                                                             \
    F(pcr_selection, pcr_selection) F(u8, locality_at_release) F(digest, digest_at_release)
#define FIELDS_pcr_attributes(F) F(u8, pcr_reset) F(u8, pcr_extend_local) F(u8, pcr_reset_local)

/* 9 */
#define FIELDS_sealed_data(F)                                                                                \
    F(u8, payload) F(authdata, auth_data) F(authdata, tpm_proof) F(digest, stored_digest) F(blob32, data)
#define FIELDS_symmetric_key(F) F(u32, alg_id) F(u16, enc_scheme) F(blob16, data)
#define FIELDS_bound_data(F) F(struct_ver, ver) F(u8, payload) F(rest, payload_data)

/* 10 */
#define FIELDS_rsa_key_parms(F) F(u32, key_length) F(u32, num_primes) F(blob32, exponent)
#define FIELDS_symmetric_key_parms(F) F(u32, key_length) F(u32, block_size) F(blob32, iv)
#define FIELDS_pubkey(F) F(key_parms, algorithm_parms) F(blob32, pub_key)
#define FIELDS_store_asymkey(F)                                                                              \
    F(u8, payload)                                                                                           \
    F(authdata, usage_auth) F(authdata, migration_auth) F(digest, pub_data_digest) F(blob32, priv_key)
#define FIELDS_migrate_asymkey(F)                                                                            \
    F(u8, payload) F(authdata, usage_auth) F(digest, pub_data_digest) F(blob32, part_priv_key)
#define FIELDS_migrationkeyauth(F) F(pubkey, migration_key) F(u16, migration_scheme) F(digest, digest)

/* 11 */
#define FIELDS_certify_info(F)                                                                               \
    F(struct_ver, version)                                                                                   \
    F(u16, key_usage)                                                                                        \
    F(u32, key_flags)                                                                                        \
    F(u8, auth_data_usage)                                                                                   \
    F(key_parms, algorithm_parms)                                                                            \
    F(digest, pubkey_digest) F(nonce, data) F(b, parent_pcr_status) F(blob32, pcr_info)
#define FIELDS_certify_info2(F)                                                                              \
    F(u8, fill)                                                                                              \
    F(u8, payload_type)                                                                                      \
    F(u16, key_usage)                                                                                        \
    F(u32, key_flags)                                                                                        \
    F(u8, auth_data_usage)                                                                                   \
    F(key_parms, algorithm_parms)                                                                            \
    F(digest, pubkey_digest)                                                                                 \
    F(nonce, data) F(b, parent_pcr_status) F(blob32, pcr_info) F(blob32, migration_authority)
#define FIELDS_quote_info(F)                                                                                 \
    F(struct_ver, version) F(bytes4, fixed) F(digest, digest_value) F(nonce, external_data)
#define FIELDS_quote_info2(F) F(bytes4, fixed) F(nonce, external_data) F(pcr_info_short, info_short)

/* 12 */
#define FIELDS_ek_blob(F) F(u16, ek_type) F(blob32, blob)
#define FIELDS_ek_blob_activate(F)                                                                           \
    F(symmetric_key, session_key) F(digest, id_digest) F(pcr_info_short, pcr_info)
#define FIELDS_ek_blob_auth(F) F(authdata, auth_value)
#define FIELDS_identity_contents(F)                                                                          \
    F(struct_ver, ver) F(u32, ordinal) F(digest, label_priv_ca_digest) F(pubkey, identity_pub_key)
#define FIELDS_asym_ca_contents(F) F(symmetric_key, session_key) F(digest, id_digest)

/* 13-15 */
#define FIELDS_current_ticks(F) F(u64, current_ticks) F(u16, tick_rate) F(nonce, tick_nonce)
#define FIELDS_transport_public(F) F(u32, trans_attributes) F(u32, alg_id) F(u16, enc_scheme)
#define FIELDS_transport_internal(F)                                                                         \
    F(authdata, auth_data)                                                                                   \
    F(transport_public, trans_public) F(u32, trans_handle) F(nonce, trans_nonce_even) F(digest, trans_digest)
#define FIELDS_transport_log_in(F) F(digest, parameters) F(digest, pub_key_hash)
#define FIELDS_transport_log_out(F) F(current_ticks, current_ticks) F(digest, parameters) F(u32, locality)
#define FIELDS_transport_auth(F) F(authdata, auth_data)
#define FIELDS_audit_event_in(F) F(digest, input_parms) F(counter_value, audit_count)
#define FIELDS_audit_event_out(F) F(digest, output_parms) F(counter_value, audit_count)

/* 18-19 */
#define FIELDS_context_blob(F)                                                                               \
    F(u32, resource_type)                                                                                    \
    F(u32, handle)                                                                                           \
    F(bytes16, label)                                                                                        \
    F(u32, context_count) F(digest, integrity_digest) F(blob32, additional_data) F(blob32, sensitive_data)
#define FIELDS_context_sensitive(F) F(nonce, context_nonce) F(blob32, internal_data)
#define FIELDS_nv_attributes(F) F(u32, attributes)
#define FIELDS_nv_data_public(F)                                                                             \
    F(u32, nv_index)                                                                                         \
    F(pcr_info_short, pcr_info_read)                                                                         \
    F(pcr_info_short, pcr_info_write)                                                                        \
    F(nv_attributes, permission)                                                                             \
    F(b, b_read_st_clear) F(b, b_write_st_clear) F(b, b_write_define) F(u32, data_size)

/* 20 */
#define FIELDS_family_table_entry(F)                                                                         \
    F(u8, family_label) F(u32, family_id) F(u32, verification_count) F(u32, flags)
#define FIELDS_delegations(F) F(u32, delegate_type) F(u32, per1) F(u32, per2)
#define FIELDS_delegate_public(F)                                                                            \
    F(u8, row_label)                                                                                         \
    F(pcr_info_short, pcr_info) F(delegations, permissions) F(u32, family_id) F(u32, verification_count)
#define FIELDS_delegate_sensitive(F) F(authdata, auth_value)
#define FIELDS_delegate_owner_blob(F)                                                                        \
    F(delegate_public, pub) F(digest, integrity_digest) F(blob32, additional_area) F(blob32, sensitive_area)
#define FIELDS_delegate_key_blob(F)                                                                          \
    F(delegate_public, pub)                                                                                  \
    F(digest, integrity_digest) F(digest, pub_key_digest) F(blob32, additional_area) F(blob32, sensitive_area)

/* 21 */
#define FIELDS_cap_version_info(F)                                                                           \
    F(struct_ver, version)                                                                                   \
    F(u16, spec_level) F(u8, errata_rev) F(bytes4, tpm_vendor_id) F(blob16, vendor_specific)
#define FIELDS_da_action_type(F) F(u32, actions)
#define FIELDS_da_info(F)                                                                                    \
    F(u8, state)                                                                                             \
    F(u16, current_count)                                                                                    \
    F(u16, threshold_count)                                                                                  \
    F(da_action_type, action_at_threshold) F(u32, action_depend_value) F(blob32, vendor_data)
#define FIELDS_da_info_limited(F) F(u8, state) F(da_action_type, action_at_threshold) F(blob32, vendor_data)

/* 22 */
#define FIELDS_daa_issuer(F)                                                                                 \
    F(digest, daa_digest_r0)                                                                                 \
    F(digest, daa_digest_r1)                                                                                 \
    F(digest, daa_digest_s0)                                                                                 \
    F(digest, daa_digest_s1) F(digest, daa_digest_n) F(digest, daa_digest_gamma) F(bytes26, daa_generic_q)
#define FIELDS_daa_tpm(F)                                                                                    \
    F(digest, daa_digest_issuer)                                                                             \
    F(digest, daa_digest_v0) F(digest, daa_digest_v1) F(digest, daa_rekey) F(u32, daa_count)
#define FIELDS_daa_context(F)                                                                                \
    F(digest, daa_digest_context)                                                                            \
    F(digest, daa_digest) F(nonce, daa_context_seed) F(bytes256, daa_scratch) F(u8, daa_stage)
#define FIELDS_daa_joindata(F) F(bytes128, daa_join_u0) F(bytes138, daa_join_u1) F(digest, daa_digest_n0)
#define FIELDS_daa_blob(F)                                                                                   \
    F(u32, resource_type)                                                                                    \
    F(bytes16, label) F(digest, blob_integrity) F(blob32, additional_data) F(blob32, sensitive_data)
#define FIELDS_daa_sensitive(F) F(blob32, internal_data)

/* Flat structures, S(kind, tag or 0), each after those it contains. */
#define WIRE_STRUCTURES_PLAIN(S)                                                                             \
    S(struct_ver, 0)                                                                                         \
    S(request_header, 0)                                                                                     \
    S(response_header, 0)                                                                                    \
    S(auth_in, 0)                                                                                            \
    S(auth_out, 0)                                                                                           \
    S(changeauth_validate, 0)                                                                                \
    S(counter_value, TPM_TAG_COUNTER_VALUE)                                                                  \
    S(sign_info, TPM_TAG_SIGNINFO)                                                                           \
    S(cmk_auth, 0)                                                                                           \
    S(select_size, 0)                                                                                        \
    S(cmk_migauth, TPM_TAG_CMK_MIGAUTH)                                                                      \
    S(cmk_sigticket, TPM_TAG_CMK_SIGTICKET)                                                                  \
    S(cmk_ma_approval, TPM_TAG_CMK_MA_APPROVAL)                                                              \
    S(permanent_flags, TPM_TAG_PERMANENT_FLAGS)                                                              \
    S(stclear_flags, TPM_TAG_STCLEAR_FLAGS)                                                                  \
    S(stany_flags, TPM_TAG_STANY_FLAGS)                                                                      \
    S(pcr_composite, 0)                                                                                      \
    S(pcr_info, 0)                                                                                           \
    S(pcr_info_long, TPM_TAG_PCR_INFO_LONG)                                                                  \
    S(pcr_info_short, 0)                                                                                     \
    S(pcr_attributes, 0)                                                                                     \
    S(sealed_data, 0)                                                                                        \
    S(symmetric_key, 0)                                                                                      \
    S(bound_data, 0)                                                                                         \
    S(rsa_key_parms, 0)                                                                                      \
    S(symmetric_key_parms, 0)                                                                                \
    S(store_asymkey, 0)                                                                                      \
    S(migrate_asymkey, 0)                                                                                    \
    S(quote_info, 0)                                                                                         \
    S(quote_info2, TPM_TAG_QUOTE_INFO2)                                                                      \
    S(ek_blob, TPM_TAG_EK_BLOB)                                                                              \
    S(ek_blob_activate, TPM_TAG_EK_BLOB_ACTIVATE)                                                            \
    S(ek_blob_auth, TPM_TAG_EK_BLOB_AUTH)                                                                    \
    S(asym_ca_contents, 0)                                                                                   \
    S(current_ticks, TPM_TAG_CURRENT_TICKS)                                                                  \
    S(transport_public, TPM_TAG_TRANSPORT_PUBLIC)                                                            \
    S(transport_internal, TPM_TAG_TRANSPORT_INTERNAL)                                                        \
    S(transport_log_in, TPM_TAG_TRANSPORT_LOG_IN)                                                            \
    S(transport_log_out, TPM_TAG_TRANSPORT_LOG_OUT)                                                          \
    S(transport_auth, TPM_TAG_TRANSPORT_AUTH)                                                                \
    S(audit_event_in, TPM_TAG_AUDIT_EVENT_IN)                                                                \
    S(audit_event_out, TPM_TAG_AUDIT_EVENT_OUT)                                                              \
    S(context_blob, TPM_TAG_CONTEXTBLOB)                                                                     \
    S(context_sensitive, TPM_TAG_CONTEXT_SENSITIVE)                                                          \
    S(nv_attributes, TPM_TAG_NV_ATTRIBUTES)                                                                  \
    S(nv_data_public, TPM_TAG_NV_DATA_PUBLIC)                                                                \
    S(family_table_entry, TPM_TAG_FAMILY_TABLE_ENTRY)                                                        \
    S(delegations, TPM_TAG_DELEGATIONS)                                                                      \
    S(delegate_public, TPM_TAG_DELEGATE_PUBLIC)                                                              \
    S(delegate_sensitive, TPM_TAG_DELEGATE_SENSITIVE)                                                        \
    S(delegate_owner_blob, TPM_TAG_DELEGATE_OWNER_BLOB)                                                      \
    S(delegate_key_blob, TPM_TAG_DELG_KEY_BLOB)                                                              \
    S(cap_version_info, TPM_TAG_CAP_VERSION_INFO)                                                            \
    S(da_action_type, TPM_TAG_DA_ACTION_TYPE)                                                                \
    S(da_info, TPM_TAG_DA_INFO)                                                                              \
    S(da_info_limited, TPM_TAG_DA_INFO_LIMITED)                                                              \
    S(daa_issuer, TPM_TAG_DAA_ISSUER)                                                                        \
    S(daa_tpm, TPM_TAG_DAA_TPM)                                                                              \
    S(daa_context, TPM_TAG_DAA_CONTEXT)                                                                      \
    S(daa_joindata, 0)                                                                                       \
    S(daa_blob, TPM_TAG_DAA_BLOB)                                                                            \
    S(daa_sensitive, TPM_TAG_DAA_SENSITIVE)
/* Those that contain a key's parameters. */
#define WIRE_STRUCTURES_KEYED(S)                                                                             \
    S(pubkey, 0)                                                                                             \
    S(migrationkeyauth, 0)                                                                                   \
    S(certify_info, 0)                                                                                       \
    S(certify_info2, TPM_TAG_CERTIFY_INFO2)                                                                  \
    S(identity_contents, 0)

/*
 * Part 2, 8.1: TPM_PCR_SELECTION. A size over TPM_PCR_BYTES is TPM_INVALID_PCR_INFO; bytes past the size are
 * zero.
 */
struct tpm_pcr_selection {
    uint16_t size_of_select;
    uint8_t pcr_select[TPM_PCR_BYTES];
};
WIRE_KIND(pcr_selection, struct tpm_pcr_selection)

static inline bool tpm_pcr_selected(const struct tpm_pcr_selection *sel, uint32_t pcr)
{
    return pcr < TPM_NUM_PCR && (sel->pcr_select[pcr / 8] >> (pcr % 8) & 1);
}

static inline bool tpm_pcr_any_selected(const struct tpm_pcr_selection *sel)
{
    return sel->pcr_select[0] || sel->pcr_select[1] || sel->pcr_select[2];
}

#define WIRE_DECLARE(kind, tag)                                                                              \
    WIRE_STRUCT(struct tpm_##kind, FIELDS_##kind)                                                            \
    WIRE_KIND(kind, struct tpm_##kind)
WIRE_STRUCTURES_PLAIN(WIRE_DECLARE)

/*
 * Part 2, 10.1: TPM_KEY_PARMS. `form` says what `parms` holds, in both directions; all zero is "no parms".
 * An RSA key's parms must be TPM_RSA_KEY_PARMS to the last byte (else the cursor is bad).
 */
enum tpm_parms_form {
    TPM_PARMS_RAW,
    TPM_PARMS_RSA, /* TPM_ALG_RSA */
    TPM_PARMS_SYM, /* a cipher whose parms are TPM_SYMMETRIC_KEY_PARMS */
};
struct tpm_key_parms {
    uint32_t algorithm_id;
    uint16_t enc_scheme;
    uint16_t sig_scheme;
    enum tpm_parms_form form;
    union {
        struct tpm_blob raw;
        struct tpm_rsa_key_parms rsa;
        struct tpm_symmetric_key_parms sym;
    } parms;
};
WIRE_KIND(key_parms, struct tpm_key_parms)

WIRE_STRUCTURES_KEYED(WIRE_DECLARE)
#undef WIRE_DECLARE

/*
 * Part 2, 10.2 and 10.3: TPM_KEY and TPM_KEY12. A first byte of zero is TPM_KEY12's tag; ver is TPM_KEY's. A
 * wrong tag, fill or unknown key flag is TPM_BAD_KEY_PROPERTY, a version other than 1.1 TPM_BAD_VERSION.
 */
struct tpm_key {
    bool is_12;
    struct tpm_struct_ver ver;
    uint16_t key_usage;
    uint32_t key_flags;
    uint8_t auth_data_usage;
    struct tpm_key_parms algorithm_parms;
    struct tpm_blob pcr_info; /* TPM_PCR_INFO, TPM_KEY12: TPM_PCR_INFO_LONG */
    struct tpm_blob pub_key;
    struct tpm_blob enc_data;
};
WIRE_KIND(key, struct tpm_key)
/* The key without encSize and encData: what pubDataDigest is made of (Part 2, 10.6). */
void wr_key_public(struct wr *w, const struct tpm_key *key);

/* Part 2, 9.1 and 9.2: TPM_STORED_DATA and TPM_STORED_DATA12. A first byte of one is the former's version. */
struct tpm_stored_data {
    bool is_12;
    struct tpm_struct_ver ver; /* of TPM_STORED_DATA */
    uint16_t et;               /* of TPM_STORED_DATA12 */
    struct tpm_blob seal_info;
    struct tpm_blob enc_data;
};
WIRE_KIND(stored_data, struct tpm_stored_data)

/* Part 3, 13.8: TPM_CertifyKey returns TPM_CERTIFY_INFO or, for keys that need it, TPM_CERTIFY_INFO2. */
struct tpm_certify_either {
    bool is_2;
    struct tpm_certify_info info;
    struct tpm_certify_info2 info2;
};
WIRE_KIND(certify_either, struct tpm_certify_either)

/* Part 2, 5.7: TPM_KEY_HANDLE_LIST; loaded handles of four bytes each. */
struct tpm_key_handle_list {
    uint16_t loaded;
    const uint8_t *handles;
};
WIRE_KIND(key_handle_list, struct tpm_key_handle_list)

/* Part 2, 5.15: TPM_MSA_COMPOSITE; msa_list digests. An empty list is TPM_INVALID_STRUCTURE. */
struct tpm_msa_composite {
    uint32_t msa_list;
    const uint8_t *mig_auth_digest;
};
WIRE_KIND(msa_composite, struct tpm_msa_composite)

/* Part 2, 12.6, 12.7 and 12.9: sizes first, the sized areas at the end. */
struct tpm_identity_req {
    struct tpm_key_parms asym_algorithm;
    struct tpm_key_parms sym_algorithm;
    struct tpm_blob asym_blob;
    struct tpm_blob sym_blob;
};
WIRE_KIND(identity_req, struct tpm_identity_req)

struct tpm_identity_proof {
    struct tpm_struct_ver ver;
    struct tpm_pubkey identity_key;
    struct tpm_blob label_area;
    struct tpm_blob identity_binding;
    struct tpm_blob endorsement_credential;
    struct tpm_blob platform_credential;
    struct tpm_blob conformance_credential;
};
WIRE_KIND(identity_proof, struct tpm_identity_proof)

struct tpm_sym_ca_attestation {
    struct tpm_key_parms algorithm;
    struct tpm_blob credential;
};
WIRE_KIND(sym_ca_attestation, struct tpm_sym_ca_attestation)

/* Does the blob begin with this structure tag? Tells TPM_PCR_INFO_LONG from TPM_PCR_INFO. */
bool tpm_blob_has_tag(const struct tpm_blob *blob, uint16_t tag);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parameters of every ordinal, TPM Main 1.2, Part 3, as field lists (schema.h): IN_x of the request,
 * OUT_x of the successful response. Not in them: header, handles outside of the parameter digest
 * (ordinals.def counts them), auth trailers. A sized area that holds one of several structures stays a blob:
 * the command decodes it, with its own error codes.
 */
#ifndef VTPM_WIRE_PARAMS_H
#define VTPM_WIRE_PARAMS_H

/* Part 3, 3: start-up and state */
#define IN_init NO_FIELDS
#define OUT_init NO_FIELDS
#define IN_startup(F) F(u16, startup_type)
#define OUT_startup NO_FIELDS
#define IN_save_state NO_FIELDS
#define OUT_save_state NO_FIELDS

/* 4: testing */
#define IN_self_test_full NO_FIELDS
#define OUT_self_test_full NO_FIELDS
#define IN_continue_self_test NO_FIELDS
#define OUT_continue_self_test NO_FIELDS
#define IN_get_test_result NO_FIELDS
#define OUT_get_test_result(F) F(blob32, out_data)

/* 5: opt-in */
#define IN_set_owner_install(F) F(b, state)
#define OUT_set_owner_install NO_FIELDS
#define IN_owner_set_disable(F) F(b, disable_state)
#define OUT_owner_set_disable NO_FIELDS
#define IN_physical_enable NO_FIELDS
#define OUT_physical_enable NO_FIELDS
#define IN_physical_disable NO_FIELDS
#define OUT_physical_disable NO_FIELDS
#define IN_physical_set_deactivated(F) F(b, state)
#define OUT_physical_set_deactivated NO_FIELDS
#define IN_set_temp_deactivated NO_FIELDS
#define OUT_set_temp_deactivated NO_FIELDS
#define IN_set_operator_auth(F) F(authdata, operator_auth)
#define OUT_set_operator_auth NO_FIELDS

/* 6: ownership */
#define IN_take_ownership(F)                                                                                 \
    F(u16, protocol_id) F(blob32, enc_owner_auth) F(blob32, enc_srk_auth) F(key, srk_params)
#define OUT_take_ownership(F) F(key, srk_pub)
#define IN_owner_clear NO_FIELDS
#define OUT_owner_clear NO_FIELDS
#define IN_force_clear NO_FIELDS
#define OUT_force_clear NO_FIELDS
#define IN_disable_owner_clear NO_FIELDS
#define OUT_disable_owner_clear NO_FIELDS
#define IN_disable_force_clear NO_FIELDS
#define OUT_disable_force_clear NO_FIELDS
#define IN_tsc_physical_presence(F) F(u16, physical_presence)
#define OUT_tsc_physical_presence NO_FIELDS
#define IN_tsc_reset_establishment_bit NO_FIELDS
#define OUT_tsc_reset_establishment_bit NO_FIELDS

/* 7: capabilities */
#define IN_get_capability(F) F(u32, cap_area) F(blob32, sub_cap)
#define OUT_get_capability(F) F(blob32, resp)
#define IN_set_capability(F) F(u32, cap_area) F(blob32, sub_cap) F(blob32, set_value)
#define OUT_set_capability NO_FIELDS
#define IN_get_capability_owner NO_FIELDS
#define OUT_get_capability_owner(F) F(struct_ver, version) F(u32, non_volatile_flags) F(u32, volatile_flags)

/* 8: auditing */
#define IN_get_audit_digest(F) F(u32, start_ordinal)
#define OUT_get_audit_digest(F)                                                                              \
    F(counter_value, counter_value) F(digest, audit_digest) F(b, more) F(blob32, ord_list)
#define IN_get_audit_digest_signed(F) F(b, close_audit) F(nonce, anti_replay)
#define OUT_get_audit_digest_signed(F)                                                                       \
    F(counter_value, counter_value) F(digest, audit_digest) F(digest, ordinal_digest) F(blob32, sig)
#define IN_set_ordinal_audit_status(F) F(u32, ordinal_to_audit) F(b, audit_state)
#define OUT_set_ordinal_audit_status NO_FIELDS

/* 9: administration. The parameters of FieldUpgrade are the vendor's. */
#define IN_field_upgrade(F) F(rest, vendor_data)
#define OUT_field_upgrade(F) F(rest, vendor_data)
#define IN_set_redirection(F) F(u32, redir_cmd) F(blob32, input_data)
#define OUT_set_redirection NO_FIELDS
#define IN_reset_lock_value NO_FIELDS
#define OUT_reset_lock_value NO_FIELDS

/* 10: storage */
#define IN_seal(F) F(authdata, enc_auth) F(blob32, pcr_info) F(blob32, in_data)
#define OUT_seal(F) F(stored_data, sealed_data)
#define IN_unseal(F) F(stored_data, in_data)
#define OUT_unseal(F) F(blob32, secret)
#define IN_un_bind(F) F(blob32, in_data)
#define OUT_un_bind(F) F(blob32, out_data)
#define IN_create_wrap_key(F) F(authdata, data_usage_auth) F(authdata, data_migration_auth) F(key, key_info)
#define OUT_create_wrap_key(F) F(key, wrapped_key)
#define IN_load_key2(F) F(key, in_key)
#define OUT_load_key2 NO_FIELDS
#define IN_get_pub_key NO_FIELDS
#define OUT_get_pub_key(F) F(pubkey, pub_key)
#define IN_sealx IN_seal
#define OUT_sealx OUT_seal

/* 11: migration */
#define IN_create_migration_blob(F)                                                                          \
    F(u16, migration_type) F(migrationkeyauth, migration_key_auth) F(blob32, enc_data)
#define OUT_create_migration_blob(F) F(blob32, random) F(blob32, out_data)
#define IN_convert_migration_blob(F) F(blob32, in_data) F(blob32, random)
#define OUT_convert_migration_blob(F) F(blob32, out_data)
#define IN_authorize_migration_key(F) F(u16, migration_scheme) F(pubkey, migration_key)
#define OUT_authorize_migration_key(F) F(migrationkeyauth, out_data)
#define IN_migrate_key(F) F(pubkey, pub_key) F(blob32, in_data)
#define OUT_migrate_key(F) F(blob32, out_data)
#define IN_cmk_set_restrictions(F) F(u32, restriction)
#define OUT_cmk_set_restrictions NO_FIELDS
#define IN_cmk_approve_ma(F) F(digest, migration_authority_digest)
#define OUT_cmk_approve_ma(F) F(digest, out_data)
#define IN_cmk_create_key(F)                                                                                 \
    F(authdata, data_usage_auth)                                                                             \
    F(key, key_info) F(digest, migration_authority_approval) F(digest, migration_authority_digest)
#define OUT_cmk_create_key(F) F(key, wrapped_key)
#define IN_cmk_create_ticket(F) F(pubkey, verification_key) F(digest, signed_data) F(blob32, signature_value)
#define OUT_cmk_create_ticket(F) F(digest, sig_ticket)
#define IN_cmk_create_blob(F)                                                                                \
    F(u16, migration_type)                                                                                   \
    F(migrationkeyauth, migration_key_auth)                                                                  \
    F(digest, pub_source_key_digest)                                                                         \
    F(blob32, msa_list) F(blob32, restrict_ticket) F(blob32, sig_ticket) F(blob32, enc_data)
#define OUT_cmk_create_blob(F) F(blob32, random) F(blob32, out_data)
#define IN_cmk_convert_migration(F)                                                                          \
    F(cmk_auth, restrict_ticket)                                                                             \
    F(digest, sig_ticket) F(key, migrated_key) F(blob32, msa_list) F(blob32, random)
#define OUT_cmk_convert_migration(F) F(blob32, out_data)

/* 12: maintenance */
#define IN_create_maintenance_archive(F) F(b, generate_random)
#define OUT_create_maintenance_archive(F) F(blob32, random) F(blob32, archive)
/* The vendor's: a TPM_KEY, the manufacturer's signature of it, what CreateMaintenanceArchive drew. */
#define IN_load_maintenance_archive(F) F(blob32, archive) F(blob32, sig) F(blob32, random)
#define OUT_load_maintenance_archive NO_FIELDS
#define IN_kill_maintenance_feature NO_FIELDS
#define OUT_kill_maintenance_feature NO_FIELDS
#define IN_load_manu_maint_pub(F) F(nonce, anti_replay) F(pubkey, pub_key)
#define OUT_load_manu_maint_pub(F) F(digest, checksum)
#define IN_read_manu_maint_pub(F) F(nonce, anti_replay)
#define OUT_read_manu_maint_pub(F) F(digest, checksum)

/* 13: cryptographic functions */
#define IN_sha1_start NO_FIELDS
#define OUT_sha1_start(F) F(u32, max_num_bytes)
#define IN_sha1_update(F) F(blob32, hash_data)
#define OUT_sha1_update NO_FIELDS
#define IN_sha1_complete(F) F(blob32, hash_data)
#define OUT_sha1_complete(F) F(digest, hash_value)
#define IN_sha1_complete_extend(F) F(u32, pcr_num) F(blob32, hash_data)
#define OUT_sha1_complete_extend(F) F(digest, hash_value) F(digest, out_digest)
#define IN_sign(F) F(blob32, area_to_sign)
#define OUT_sign(F) F(blob32, sig)
#define IN_get_random(F) F(u32, bytes_requested)
#define OUT_get_random(F) F(blob32, random_bytes)
#define IN_stir_random(F) F(blob32, in_data)
#define OUT_stir_random NO_FIELDS
#define IN_certify_key(F) F(nonce, anti_replay)
#define OUT_certify_key(F) F(certify_either, certify_info) F(blob32, out_data)
#define IN_certify_key2(F) F(digest, migration_pub_digest) F(nonce, anti_replay)
#define OUT_certify_key2(F) F(certify_info2, certify_info) F(blob32, out_data)

/* 14: endorsement key */
#define IN_create_endorsement_key_pair(F) F(nonce, anti_replay) F(key_parms, key_info)
#define OUT_create_endorsement_key_pair(F) F(pubkey, pub_endorsement_key) F(digest, checksum)
#define IN_create_revocable_ek(F)                                                                            \
    F(nonce, anti_replay) F(key_parms, key_info) F(b, generate_reset) F(nonce, input_ek_reset)
#define OUT_create_revocable_ek(F)                                                                           \
    F(pubkey, pub_endorsement_key) F(digest, checksum) F(nonce, output_ek_reset)
#define IN_revoke_trust(F) F(nonce, ek_reset)
#define OUT_revoke_trust NO_FIELDS
#define IN_read_pubek(F) F(nonce, anti_replay)
#define OUT_read_pubek(F) F(pubkey, pub_endorsement_key) F(digest, checksum)
#define IN_owner_read_internal_pub(F) F(u32, key_handle)
#define OUT_owner_read_internal_pub(F) F(pubkey, public_portion)

/* 15: identities */
#define IN_make_identity(F) F(authdata, identity_auth) F(digest, label_priv_ca_digest) F(key, id_key_params)
#define OUT_make_identity(F) F(key, id_key) F(blob32, identity_binding)
#define IN_activate_identity(F) F(blob32, blob)
#define OUT_activate_identity(F) F(symmetric_key, symmetric_key)

/* 16: integrity */
#define IN_extend(F) F(u32, pcr_num) F(digest, in_digest)
#define OUT_extend(F) F(digest, out_digest)
#define IN_pcr_read(F) F(u32, pcr_index)
#define OUT_pcr_read(F) F(digest, out_digest)
#define IN_quote(F) F(nonce, external_data) F(pcr_selection, target_pcr)
#define OUT_quote(F) F(pcr_composite, pcr_data) F(blob32, sig)
#define IN_pcr_reset(F) F(pcr_selection, pcr_selection)
#define OUT_pcr_reset NO_FIELDS
#define IN_quote2(F) F(nonce, external_data) F(pcr_selection, target_pcr) F(b, add_version)
#define OUT_quote2(F) F(pcr_info_short, pcr_data) F(blob32, version_info) F(blob32, sig)

/* 17: changing authorisation data */
#define IN_change_auth(F) F(u16, protocol_id) F(authdata, new_auth) F(u16, entity_type) F(blob32, enc_data)
#define OUT_change_auth(F) F(blob32, out_data)
#define IN_change_auth_owner(F) F(u16, protocol_id) F(authdata, new_auth) F(u16, entity_type)
#define OUT_change_auth_owner NO_FIELDS

/* 18: sessions */
#define IN_oiap NO_FIELDS
#define OUT_oiap(F) F(nonce, nonce_even)
#define IN_osap(F) F(u16, entity_type) F(u32, entity_value) F(nonce, nonce_odd_osap)
#define OUT_osap(F) F(nonce, nonce_even) F(nonce, nonce_even_osap)
#define IN_dsap(F) F(u16, entity_type) F(u32, key_handle) F(nonce, nonce_odd_dsap) F(blob32, entity_value)
#define OUT_dsap(F) F(nonce, nonce_even) F(nonce, nonce_even_dsap)
#define IN_set_owner_pointer(F) F(u16, entity_type) F(u32, entity_value)
#define OUT_set_owner_pointer NO_FIELDS

/* 19: delegation */
#define IN_delegate_manage(F) F(u32, family_id) F(u32, op_code) F(blob32, op_data)
#define OUT_delegate_manage(F) F(blob32, ret_data)
#define IN_delegate_create_key_delegation(F) F(delegate_public, public_info) F(authdata, del_auth)
#define OUT_delegate_create_key_delegation(F) F(blob32, blob)
#define IN_delegate_create_owner_delegation(F)                                                               \
    F(b, increment) F(delegate_public, public_info) F(authdata, del_auth)
#define OUT_delegate_create_owner_delegation(F) F(blob32, blob)
#define IN_delegate_load_owner_delegation(F) F(u32, index) F(blob32, blob)
#define OUT_delegate_load_owner_delegation NO_FIELDS
#define IN_delegate_read_table NO_FIELDS
#define OUT_delegate_read_table(F) F(blob32, family_table) F(blob32, delegate_table)
#define IN_delegate_update_verification(F) F(blob32, input_data)
#define OUT_delegate_update_verification(F) F(blob32, output_data)
#define IN_delegate_verify_delegation(F) F(blob32, delegation)
#define OUT_delegate_verify_delegation NO_FIELDS

/* 20: non-volatile storage */
#define IN_nv_define_space(F) F(nv_data_public, pub_info) F(authdata, enc_auth)
#define OUT_nv_define_space NO_FIELDS
#define IN_nv_write_value(F) F(u32, nv_index) F(u32, offset) F(blob32, data)
#define OUT_nv_write_value NO_FIELDS
#define IN_nv_write_value_auth IN_nv_write_value
#define OUT_nv_write_value_auth NO_FIELDS
#define IN_nv_read_value(F) F(u32, nv_index) F(u32, offset) F(u32, data_size)
#define OUT_nv_read_value(F) F(blob32, data)
#define IN_nv_read_value_auth IN_nv_read_value
#define OUT_nv_read_value_auth OUT_nv_read_value

/* 21 and 22: session management, eviction */
#define IN_key_control_owner(F) F(pubkey, pub_key) F(u32, bit_name) F(b, bit_value)
#define OUT_key_control_owner NO_FIELDS
#define IN_save_context(F) F(u32, resource_type) F(bytes16, label)
#define OUT_save_context(F) F(blob32, context_blob)
#define IN_load_context(F) F(b, keep_handle) F(blob32, context_blob)
#define OUT_load_context NO_FIELDS
#define IN_flush_specific(F) F(u32, resource_type)
#define OUT_flush_specific NO_FIELDS

/* 23: time stamps */
#define IN_get_ticks NO_FIELDS
#define OUT_get_ticks(F) F(current_ticks, current_time)
#define IN_tick_stamp_blob(F) F(nonce, anti_replay) F(digest, digest_to_stamp)
#define OUT_tick_stamp_blob(F) F(current_ticks, current_ticks) F(blob32, sig)

/* 24: transport sessions */
#define IN_establish_transport(F) F(transport_public, trans_public) F(blob32, secret)
#define OUT_establish_transport(F) F(u32, locality) F(current_ticks, current_ticks) F(nonce, trans_nonce_even)
#define IN_execute_transport(F) F(blob32, wrapped_cmd)
#define OUT_execute_transport(F) F(u64, current_ticks) F(u32, locality) F(blob32, wrapped_rsp)
#define IN_release_transport_signed(F) F(nonce, anti_replay)
#define OUT_release_transport_signed(F) F(u32, locality) F(current_ticks, current_ticks) F(blob32, signature)

/* 25: counters */
#define IN_create_counter(F) F(authdata, enc_auth) F(bytes4, label)
#define OUT_create_counter(F) F(u32, count_id) F(counter_value, counter_value)
#define IN_increment_counter(F) F(u32, count_id)
#define OUT_increment_counter(F) F(counter_value, count)
#define IN_read_counter(F) F(u32, count_id)
#define OUT_read_counter(F) F(counter_value, count)
#define IN_release_counter(F) F(u32, count_id)
#define OUT_release_counter NO_FIELDS
#define IN_release_counter_owner(F) F(u32, count_id)
#define OUT_release_counter_owner NO_FIELDS

/* 26: direct anonymous attestation */
#define IN_daa_join(F) F(u8, stage) F(blob32, input_data0) F(blob32, input_data1)
#define OUT_daa_join(F) F(blob32, output_data)
#define IN_daa_sign IN_daa_join
#define OUT_daa_sign OUT_daa_join

/* 27: deprecated */
#define IN_evict_key NO_FIELDS
#define OUT_evict_key NO_FIELDS
#define IN_terminate_handle NO_FIELDS
#define OUT_terminate_handle NO_FIELDS
#define IN_save_key_context NO_FIELDS
#define OUT_save_key_context(F) F(blob32, key_context_blob)
#define IN_load_key_context(F) F(blob32, key_context_blob)
#define OUT_load_key_context NO_FIELDS
#define IN_save_auth_context NO_FIELDS
#define OUT_save_auth_context(F) F(blob32, auth_context_blob)
#define IN_load_auth_context(F) F(blob32, auth_context_blob)
#define OUT_load_auth_context NO_FIELDS
#define IN_dir_write_auth(F) F(u32, dir_index) F(digest, new_contents)
#define OUT_dir_write_auth NO_FIELDS
#define IN_dir_read(F) F(u32, dir_index)
#define OUT_dir_read(F) F(digest, dir_contents)
#define IN_change_auth_asym_start(F) F(nonce, anti_replay) F(key_parms, temp_key)
#define OUT_change_auth_asym_start(F)                                                                        \
    F(certify_info, certify_info) F(blob32, sig) F(u32, eph_handle) F(key, temp_key)
#define IN_change_auth_asym_finish(F)                                                                        \
    F(u16, entity_type) F(digest, new_auth_link) F(blob32, enc_new_auth) F(blob32, enc_data)
#define OUT_change_auth_asym_finish(F) F(blob32, out_data) F(nonce, salt_nonce) F(digest, change_proof)
#define IN_reset NO_FIELDS
#define OUT_reset NO_FIELDS
#define IN_owner_read_pubek NO_FIELDS
#define OUT_owner_read_pubek(F) F(pubkey, pub_endorsement_key)
#define IN_disable_pubek_read NO_FIELDS
#define OUT_disable_pubek_read NO_FIELDS
#define IN_load_key(F) F(key, in_key)
#define OUT_load_key(F) F(u32, inkey_handle)

/* 28: deleted in 1.2. Of the audit events, 1.2 says nothing any more. */
#define IN_certify_self_test(F) F(nonce, anti_replay)
#define OUT_certify_self_test(F) F(blob32, sig)
#define IN_get_capability_signed(F) F(nonce, anti_replay) F(u32, cap_area) F(blob32, sub_cap)
#define OUT_get_capability_signed(F) F(struct_ver, version) F(blob32, resp) F(blob32, sig)
#define IN_get_ordinal_audit_status(F) F(u32, ordinal_to_query)
#define OUT_get_ordinal_audit_status(F) F(b, state)
#define IN_get_audit_event(F) F(rest, body)
#define OUT_get_audit_event(F) F(rest, body)
#define IN_get_audit_event_signed(F) F(rest, body)
#define OUT_get_audit_event_signed(F) F(rest, body)

#endif

# SPDX-License-Identifier: Apache-2.0
# The broker's core on a real store, with a double in the place of zygote.c and engine.c.
set(core ${CMAKE_SOURCE_DIR}/server/core)
add_library(test_core STATIC
  ${core}/broker.c ${core}/session.c ${core}/registry.c ${core}/manufacture.c
  ${core}/instance.c ${core}/instance_load.c ${core}/instance_engine.c ${core}/instance_record.c
  ${core}/instance_measure.c ${core}/measure.c
  ${core}/admin.c ${core}/admin_binding.c ${core}/admin_measure.c ${core}/admin_instance.c ${core}/admin_credential.c ${core}/admin_store.c
  ${core}/admin_server.c ${core}/admin_export.c ${core}/admin_import.c ${core}/admin_backup.c ${core}/bundle.c
  ${core}/server_key.c ${core}/store_restore.c
  ${core}/binding.c ${core}/keys.c ${core}/keyslot.c ${core}/keyslot_file.c ${core}/params.c ${core}/recovery.c ${core}/store_init.c
  ${core}/seal.c ${core}/record.c ${core}/runtime.c ${core}/loop_uv.c ${core}/acts.c ${core}/store_check.c
  fake_zygote.c core_rig.c core_one.c move_peer.c)
target_link_libraries(test_core PUBLIC vt_base vt_crypto vt_wire vt_proto vt_proto_admin vt_db vtpm_options
  PkgConfig::uv PkgConfig::sqlite PkgConfig::cmocka Threads::Threads)

set(core_subjects power record crash store admin keyslots life stop kill runtime_dir slow outside_kill binding measure)
if(VTPM_TEST_HOOKS)
  list(APPEND core_subjects memory revoke move)
endif()
foreach(subject ${core_subjects})
  vtpm_test(test_core_${subject} LABELS unit SOURCES test_core_${subject}.c LIBS test_core)
endforeach()
vtpm_test(test_bundle LABELS unit SOURCES test_bundle.c LIBS test_core)

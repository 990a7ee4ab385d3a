# SPDX-License-Identifier: Apache-2.0
# The broker's core on a real store, with a double in the place of zygote.c and engine.c.
set(core ${CMAKE_SOURCE_DIR}/server/core)
file(GLOB_RECURSE core_sources CONFIGURE_DEPENDS ${core}/*.c)
list(REMOVE_ITEM core_sources ${core}/zygote.c ${core}/engine.c)
add_library(test_core STATIC ${core_sources} fake_zygote.c core_rig.c core_one.c move_peer.c handoff_rig.c)
target_link_libraries(test_core PUBLIC vt_base vt_crypto vt_wire vt_proto vt_proto_admin vt_db vt_profile vt_hwtpm vtpm_options
  PkgConfig::uv PkgConfig::sqlite PkgConfig::cmocka Threads::Threads)

set(core_subjects power record crash store admin keyslots life stop kill runtime_dir slow outside_kill binding measure ekcert
  anchor evidence hostpcrs keypool)
if(VTPM_TEST_HOOKS)
  list(APPEND core_subjects memory revoke move handoff)
endif()
foreach(subject ${core_subjects})
  vtpm_test(test_core_${subject} LABELS unit SOURCES test_core_${subject}.c LIBS test_core)
endforeach()
foreach(function hwtpm_run hwtpm_kind hwtpm_anchor_read hwtpm_anchor_make hwtpm_anchor_advance loop_timer_start)
  target_link_options(test_core_anchor PRIVATE LINKER:--wrap=${function})
endforeach()
foreach(function hwtpm_run hwtpm_pcr_read)
  target_link_options(test_core_hostpcrs PRIVATE LINKER:--wrap=${function})
endforeach()
# The pool alone: loop and makers are the test's.
vtpm_test(test_keypool LABELS unit
  SOURCES test_keypool.c ${core}/keypool/keypool.c ${core}/keypool/shelf.c ${core}/keypool/queue.c
  LIBS vt_base vt_crypto vt_wire)
vtpm_test(test_bundle LABELS unit SOURCES test_bundle.c LIBS test_core)
vtpm_test(test_profile LABELS unit SOURCES test_profile.c ${core}/profile.c LIBS vt_profile vt_proto_admin)
vtpm_test(test_enrol LABELS unit SOURCES test_enrol.c ${core}/evidence/enrol.c LIBS vt_base vt_crypto vt_wire)
vtpm_test(test_evidence LABELS unit SOURCES test_evidence.c ${core}/evidence/evidence.c
  LIBS vt_base vt_crypto vt_wire vt_hwtpm)

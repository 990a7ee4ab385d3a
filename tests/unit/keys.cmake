# SPDX-License-Identifier: Apache-2.0
# Seals, keys, key slots, records, the runtime store; and the model of record and recovery. Their own small library:
# these tests need nothing else of server/core.
set(core ${CMAKE_SOURCE_DIR}/server/core)
add_library(test_core_keys STATIC ${core}/store/seal.c ${core}/store/keys.c ${core}/store/params.c ${core}/keyslot/keyslot.c
  ${core}/keyslot/file.c ${core}/keyslot/spec.c ${core}/keyslot/place.c
  ${core}/keyslot/tpm.c ${core}/keyslot/tpm_args.c ${core}/keyslot/unlock.c ${core}/recovery.c ${core}/store/init.c ${core}/record.c ${core}/measure.c ${core}/sched/pace.c ${core}/runtime.c)
target_link_libraries(test_core_keys PUBLIC vt_base vt_crypto vt_wire vt_db vt_hwtpm vtpm_options)

foreach(subject seal keys keyslot record runtime store_init)
  vtpm_test(test_${subject} LABELS unit SOURCES test_${subject}.c LIBS test_core_keys)
endforeach()

vtpm_test(test_recovery_model LABELS unit SOURCES test_recovery_model.c LIBS test_core_keys)
# Each breaks one rule of the model's server; a model that does not notice is worth nothing.
foreach(k RANGE 1 24)
  vtpm_test(test_recovery_mutant_${k} LABELS unit SOURCES test_recovery_model.c LIBS test_core_keys)
  target_compile_definitions(test_recovery_mutant_${k} PRIVATE MUTANT=${k})
  set_tests_properties(test_recovery_mutant_${k} PROPERTIES WILL_FAIL ON)
endforeach()

vtpm_test(test_secret LABELS unit SOURCES test_secret.c LIBS vt_base)
vtpm_test(test_vault LABELS unit SOURCES test_vault.c LIBS vt_base)

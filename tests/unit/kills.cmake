# SPDX-License-Identifier: Apache-2.0
# The core when engines and zygotes are killed from outside; the rig is core.cmake's.
vtpm_test(test_core_outside_kill LABELS unit SOURCES test_core_outside_kill.c LIBS test_core)

# SPDX-License-Identifier: Apache-2.0
# Pruned events, checks, and what the store says of a disk that takes nothing.
vtpm_test(test_db_prune LABELS unit SOURCES test_db_prune.c db_fixture.c db_vfs.c
  LIBS vt_db PkgConfig::sqlite Threads::Threads)
vtpm_test(test_db_trouble LABELS unit SOURCES test_db_trouble.c db_fixture.c db_vfs.c
  LIBS vt_db PkgConfig::sqlite Threads::Threads)

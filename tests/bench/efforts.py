# SPDX-License-Identifier: Apache-2.0
"""How much is measured: for the record, for a person who waits, and for a test that shows only that it works."""


class Effort:
    def __init__(self, **figures):
        self.__dict__.update(figures)


FULL = Effort(
    pool=True,                  # it is waited for
    rounds=20, own=10,          # of all commands on all targets; of those that take ownership
    turn_ms=50,                 # of a cheap command in a round
    rsa=20, private=12, generate=3,  # operations in a round; a TPM has slots for so many keys
    creates=10, colds=20, instances=100, idle_s=4, disks=32,
    swtpms=100, swtpms_measured=20, guests=(1, 10, 100, 1000), many=100, crowd_rounds=7, crowd_ms=400, pairs=20,
    writers=32, sync_rounds=20, sync_ms=200, generators=7, busy_rounds=6, busy_ms=3000)
QUICK = Effort(
    pool=True, rounds=3, own=2, turn_ms=30, rsa=10, private=8, generate=2, creates=2, colds=4, instances=16, idle_s=2, disks=8,
    swtpms=10, swtpms_measured=4, guests=(1, 10), many=10, crowd_rounds=2, crowd_ms=200, pairs=20,
    writers=8, sync_rounds=4, sync_ms=100, generators=3, busy_rounds=2, busy_ms=1000)
SMOKE = Effort(
    pool=False, rounds=1, own=1, turn_ms=5, rsa=2, private=1, generate=1, creates=1, colds=1, instances=2, idle_s=1, disks=1,
    swtpms=2, swtpms_measured=1, guests=(1, 2), many=2, crowd_rounds=1, crowd_ms=20, pairs=4,
    writers=2, sync_rounds=1, sync_ms=20, generators=1, busy_rounds=1, busy_ms=30)

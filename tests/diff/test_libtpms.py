# SPDX-License-Identifier: Apache-2.0
"""One transcript through this server and through libtpms: same return codes, same deterministic fields.

A difference is a failure unless tests/diff/differences lists its step with the reason.
"""
import os
import sys

from peer import Peer
from rig import Rig, need
from scenario import play
from tpm12 import Socket


def load_differences():
    allowed = {}
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "differences")) as f:
        for line in f:
            line = line.split("#", 1)[0].strip()
            if line:
                label, reason = line.split("|", 1)
                allowed[label.strip()] = reason.strip()
    return allowed


def ours():
    with Rig() as rig:
        rig.init()
        rig.start_server()
        rig.create("guest")
        rig.start_shim("guest")
        return play(Socket(rig.path("guest.tpm")))


def theirs():
    peer = Peer()
    try:
        return play(peer.manufacture())
    finally:
        peer.stop()


need("swtpm")
mine, peers = ours(), theirs()
allowed, used, bad = load_differences(), set(), 0
for a, b in zip(mine, peers):
    assert a[0] == b[0], (a, b)
    if a == b:
        continue
    if a[0] in allowed:
        used.add(a[0])
        continue
    bad += 1
    print("DIFFERENT %s\n  ours     0x%x %s\n  libtpms  0x%x %s" % (a[0], a[1], a[2], b[1], b[2]))
if len(mine) != len(peers):
    bad += 1
    print("DIFFERENT numbers of steps: %d and %d" % (len(mine), len(peers)))
for label in sorted(set(allowed) - used):
    bad += 1
    print("STALE: no difference any more at", label)
print("%d steps, %d equal, %d differ as tests/diff/differences says, %d unexplained" %
      (len(mine), len(mine) - len(used) - bad, len(used), bad))
sys.exit(1 if bad else 0)

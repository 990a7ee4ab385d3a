# SPDX-License-Identifier: Apache-2.0
"""Transcripts through this server, its engine and libtpms: same return codes, same deterministic fields.

The first transcript goes through broker, sandbox and shim; the others, which need TPM_Init at will and localities, through
the engine alone. A difference is a failure unless tests/diff/differences lists its step with the reason.
"""
import sys
from concurrent.futures import ThreadPoolExecutor

import authority
import bindings
import coverage
import crypto
import daa
import exchange
import management
import migration
import scenario
import sessions
import states
import storage
from differences import Allowed
from engine import Engine
from peer import Peer
from rig import Rig, need
from tpm12 import Socket


def server():
    with Rig() as rig:
        rig.init()
        rig.start_server()
        rig.create("guest")
        rig.start_shim("guest")
        return scenario.play(Socket(rig.path("guest.tpm"), 300))


def swtpm():
    peer = Peer()
    try:
        return scenario.play(peer.manufacture())
    finally:
        peer.stop()


def scenes(platform, transport, modules):
    x = scenario.Transcript(transport)
    x.p = platform
    for module in modules:
        for scene in module.SCENES:
            scene(x)
            platform.locality(0)
    return x.steps


def engine_scenes(*modules):
    engine = Engine()
    try:
        engine.power_on()
        return scenes(engine, engine.send, modules)
    finally:
        engine.stop()


def swtpm_scenes(*modules):
    peer = Peer()
    try:
        return scenes(peer, peer.manufacture(), modules)
    finally:
        peer.stop()


def travels(home):
    """Keys from one TPM to the other; home: the first one is ours."""
    engine, peer = Engine(), Peer()
    try:
        engine.power_on()
        peers = exchange.side(peer, peer.manufacture())
        mine = exchange.side(engine, engine.send)
        return exchange.exchange(mine, peers) if home else exchange.exchange(peers, mine)
    finally:
        engine.stop()
        peer.stop()


class Comparison:
    def __init__(self):
        self.allowed = Allowed()
        self.steps = self.listed = self.bad = 0

    def compare(self, mine, peers):
        for a, b in zip(mine, peers):
            if a[0] != b[0]:
                self.fail("ORDER", a, b)
                break
            self.steps += 1
            if a == b:
                continue
            if self.allowed.explains(a[0], a[1]):
                self.listed += 1
            else:
                self.fail("DIFFERENT", a, b)
        if len(mine) != len(peers):
            self.bad += 1
            print("DIFFERENT numbers of steps: %d and %d" % (len(mine), len(peers)))

    def fail(self, what, a, b):
        self.bad += 1
        print("%s %s\n  ours     0x%x %s\n  libtpms  0x%x %s" % (what, a[0], a[1], a[2], b[1], b[2]))

    def result(self):
        for step in self.allowed.unused():
            self.bad += 1
            print("STALE: no difference any more at", step)
        for cause, count in self.allowed.count.most_common():
            print("%5d  %s" % (count, cause))
        print("%d steps, %d equal, %d differ as tests/diff/differences says, %d unexplained" %
              (self.steps, self.steps - self.listed - self.bad, self.listed, self.bad))
        return 1 if self.bad else 0


need("swtpm")
comparison = Comparison()
with ThreadPoolExecutor(12) as pool:
    pairs = [(pool.submit(server), pool.submit(swtpm))]
    for modules in ((states,), (authority, bindings), (storage,), (crypto,), (management,), (sessions,), (migration,),
                    (daa,)):
        pairs.append((pool.submit(engine_scenes, *modules), pool.submit(swtpm_scenes, *modules)))
    pairs.append((pool.submit(travels, True), pool.submit(travels, False)))
for mine, peers in pairs:
    comparison.compare(mine.result(), peers.result())
missing = coverage.Coverage(step[0] for mine, _ in pairs for step in mine.result()).check()
sys.exit(comparison.result() or bool(missing))

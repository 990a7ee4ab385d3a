# SPDX-License-Identifier: Apache-2.0
"""Who is measured: this server, Debian's swtpm, and an echo; and the TPM that all of them have, made once.

The keys come from swtpm and move into this server (`vtpmctl instance import --from-swtpm`), so that both do the same with the
same keys, and nobody waits for 171 ms a key.
"""
import os
import shutil
import struct
import subprocess
import time

import load
import rig
from procs import Meter, on_cpus, renice_sessions, tree
from tpm12 import KH_SRK, WELL_KNOWN, Socket, Tpm, sha1

OWNER, KEY, DATA, AREA = (sha1(b) for b in (b"bench owner", b"bench key", b"bench data", b"bench area"))
AREA_INDEX, AREA_SIZE, AREA_AUTH = 0x11002, 64, 0x00040004
SEALED = b"what the bench has sealed"


class Swtpm:
    """One process on a state of its own."""

    def __init__(self, folder, cpus, tcp=False):
        self.dir, self.cpus = folder, cpus
        os.makedirs(folder, exist_ok=True)
        self.address = "tcp:127.0.0.1:%d" % rig.free_port() if tcp else "unix:%s/tpm" % folder
        self.start()

    def start(self):
        kind, _, where = self.address.partition(":")
        server = "type=unixio,path=" + where if kind == "unix" else "type=tcp,port=" + where.rpartition(":")[2]
        with on_cpus(self.cpus):
            self.p = rig.Process(["swtpm", "socket", "--tpmstate", "dir=" + self.dir, "--server", server, "--flags",
                                  "not-need-init,startup-clear"], self.dir + "/out.log")

    def connect(self):
        """As soon as it listens."""
        kind, _, where = self.address.partition(":")
        end = time.monotonic() + 30
        while self.p.p.poll() is None and time.monotonic() < end:
            try:
                return Socket(where if kind == "unix" else ("127.0.0.1", int(where.rpartition(":")[2])), 300)
            except OSError:
                time.sleep(0.0005)
        raise AssertionError("swtpm does not listen (exit %s): %s" % (self.p.p.poll(), self.p.text()))

    def wait(self):
        self.connect().close()
        return self

    def meter(self):
        return Meter(lambda: [self.p.p.pid])

    def stop(self):
        if not self.p.out.closed:
            self.p.stop()


class Kit:
    """Two states of swtpm: `fresh` with an EK and no owner, `owned` with an SRK and an NV area; a signing key and a sealed
    blob of the second."""

    def __init__(self, folder, cpus):
        self.dir, self.cpus = folder, cpus
        self.fresh, self.owned = os.path.join(folder, "fresh"), os.path.join(folder, "owned")
        self.manufacture()
        shutil.copytree(self.fresh, self.owned, ignore=shutil.ignore_patterns("tpm", "*.log"))
        self.own()

    def with_tpm(self, folder, what):
        peer = Swtpm(folder, self.cpus)
        t = Tpm(peer.connect())
        try:
            what(t)
        finally:
            t.send.close()
            peer.stop()

    def manufacture(self):
        def enable(t):
            for bits in (0x20, 0x08):
                t.physical_presence(bits)
            t.raw("PhysicalEnable")
            t.raw("PhysicalSetDeactivated", params=b"\0")

        def endorse(t):
            t.call("CreateEndorsementKeyPair",
                   params=bytes(20) + struct.pack(">IHHI", 1, 3, 1, 12) + struct.pack(">III", 2048, 2, 0))
            t.nv_define(None, 0xFFFFFFFF, 0, 0)

        self.with_tpm(self.fresh, enable)
        self.with_tpm(self.fresh, endorse)

    def own(self):
        def fill(t):
            assert t.take_ownership(OWNER, WELL_KNOWN)[0] == 0
            assert t.nv_define(OWNER, AREA_INDEX, AREA_SIZE, AREA_AUTH, AREA) == 0
            rc, _, self.key = t.create_wrap_key(KH_SRK, WELL_KNOWN, KEY, t.key_template(0x10, sig=2))
            assert rc == 0, hex(rc)
            rc, _, self.sealed = t.seal(KH_SRK, WELL_KNOWN, DATA, SEALED)
            assert rc == 0, hex(rc)

        self.with_tpm(self.owned, fill)


def knows(option):
    """Has this build of the server such an option?"""
    return option in rig.run([rig.program("vtpm-server"), "--help"]).stdout


class Ours:
    """A server on a store of its own, pinned. pool: its key pool, if it has one, is waited for."""

    def __init__(self, cpus, *options, programs=None, pool=False):
        self.cpus, self.options, self.programs, self.pool = cpus, options, programs, pool
        if pool and knows("--key-pool-wait"):
            self.options += ("--key-pool-wait", "1")
        self.rig = rig.Rig()
        self.stopped = False
        self.tcp = "tcp:127.0.0.1:%d" % rig.free_port()
        self.rig.init()
        self.start()

    def start(self):
        there = rig.BIN
        rig.BIN = self.programs or there
        try:
            with on_cpus(self.cpus):
                self.rig.start_server("--listen", self.tcp, *self.options)
        finally:
            rig.BIN = there
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        if nice:
            # The zygote has a session of its own.
            renice_sessions(nice, tree(*self.pids()))

    @property
    def unix(self):
        return self.rig.listen

    def pids(self):
        return [self.rig.server.p.pid]

    def meter(self, ended=False):
        return Meter(self.pids, ended)

    def pool_filled(self):
        """Has the key pool, if there is one, all its RSA-2048 keys?"""
        pool = self.rig.ctl_json("status")["status"].get("key_pool", {})
        return pool.get("level_2048", 0) >= pool.get("size_2048", 0)

    def wait_pool(self):
        if self.pool:
            rig.wait_until(self.pool_filled, "the key pool is filled", 120)

    def bring(self, name, state):
        """An instance from a state of swtpm's."""
        self.rig.ctl("instance", "import", "--from-swtpm", state, name, "--credential-out", self.rig.path(name + ".cred"))

    def credential(self, name):
        with open(self.rig.path(name + ".cred")) as f:
            values = dict(line.strip().split("=", 1) for line in f)
        return values["uuid"], values["key"]

    def shim(self, name):
        """The address at which vtpm-shim shows the instance."""
        with on_cpus(self.cpus):
            self.shim_process = self.rig.start_shim(name)
        return "unix:" + self.rig.path(name + ".tpm")

    def stop(self):
        if not self.stopped:
            self.rig.__exit__(None, None, None)
        self.stopped = True


class Echo:
    """bench_limit's echo, where a server would be; its key for TLS."""

    KEY = "5a" * 32

    def __init__(self, address, cpus, tls=False):
        self.address = address
        self.p = subprocess.Popen([load.LIMIT, "echo", address, *(["tls", self.KEY] if tls else [])],
                                  stdout=subprocess.PIPE, text=True)
        os.sched_setaffinity(self.p.pid, cpus)
        assert self.p.stdout.readline() == "ready\n"

    def meter(self):
        return Meter(lambda: [self.p.pid])

    def stop(self):
        self.p.kill()
        self.p.wait()
        self.p.stdout.close()

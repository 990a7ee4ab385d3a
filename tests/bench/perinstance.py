# SPDX-License-Identifier: Apache-2.0
"""What one instance takes: from create to ready, from cold to the first answer, memory in each state, disk."""
import os
import statistics
import time

import rig
from commands import simple_recipes
from peers import Ours
from procs import disk, kernel_memory, memory, spent, tree
from table import Column, Table
from tpm12 import Tpm

GROUP = "memory"
IDLE_S = 2


class PerInstance:
    def __init__(self, bench):
        self.bench, self.load, self.effort = bench, bench.load, bench.effort
        self.times = Table("instance", "One instance: time and CPU", [
            Column("ours", "ours, ms", 1e3), Column("ours_cpu", "CPU, ms", 1e3), Column("swtpm", "swtpm, ms", 1e3),
            Column("swtpm_cpu", "CPU, ms", 1e3), Column("ratio", "time, ours/swtpm"), Column("cpu_ratio", "CPU, ours/swtpm")],
            ["create with EK to ready", "cold to first answer"])
        self.space = Table("memory", "One instance: memory and disk", [
            Column("ours", "ours, KiB", 1 / 1024), Column("ours_kernel", "kernel objects, KiB", 1 / 1024, optional=True),
            Column("swtpm", "swtpm, KiB", 1 / 1024, optional=True),
            Column("swtpm_kernel", "kernel objects, KiB", 1 / 1024, optional=True)],
            ["active", "connected, idle (paged out)", "not connected", "on disk, owned, with one NV area"])

    def tables(self):
        return [self.times, self.space]

    # ---- create ----
    def create(self):
        server, mine, theirs = Ours(self.bench.server_cpus), [], []
        meter = server.meter(ended=True)
        server.wait_pool()
        before, client = meter.settle(), 0
        try:
            for k in range(self.effort.creates):
                ctl = [rig.program("vtpmctl"), "--admin", server.rig.admin, "instance", "create", "c%d" % k,
                       "--credential-out", server.rig.path("c%d.cred" % k)]
                took, cpu = spent(ctl, self.bench.server_cpus)
                client += cpu
                mine.append(took)
                folder = self.bench.folder("setup")
                os.mkdir(folder)
                theirs.append(spent(["swtpm_setup", "--tpm-state", folder, "--createek"], self.bench.server_cpus))
                server.wait_pool()
                meter.settle()
            ours_cpu = (meter.settle() - before + client) / self.effort.creates
        finally:
            server.stop()
        self.put_times("create with EK to ready", mine, ours_cpu, theirs)

    def put_times(self, row, mine, ours_cpu, theirs):
        ours, swtpm = statistics.median(mine), statistics.median(t for t, _ in theirs)
        swtpm_cpu = statistics.median(c for _, c in theirs)
        self.times.put(row, ours=ours, ours_cpu=ours_cpu, swtpm=swtpm, swtpm_cpu=swtpm_cpu, ratio=ours / swtpm,
                       cpu_ratio=ours_cpu / swtpm_cpu if swtpm_cpu else None)

    # ---- memory, by the difference of many, and cold starts of the same ----
    def dense(self):
        server = Ours(self.bench.server_cpus, "--idle-timeout", str(IDLE_S))
        try:
            self.warm_up(server)
            self.states(server)
            self.cold(server)
        finally:
            self.load.close(GROUP)
            self.load.close("warm")
            server.stop()

    def open(self, server, name, group):
        self.load.open(group, "vtpm", server.unix, *server.credential(name))

    def warm_up(self, server):
        """What is there once stays out of the difference."""
        server.rig.create("warm", "--no-ek")
        self.open(server, "warm", "warm")
        simple_recipes(self.load, "warm")
        self.load.run(10000, 3, ("warm", "pcr_read+extend"))
        time.sleep(IDLE_S + 1.5)
        self.processes = len(tree(*server.pids()))

    def engines(self, server):
        return len(tree(*server.pids())) - self.processes

    def wait_cold(self, server):
        rig.wait_until(lambda: self.engines(server) <= 0, "the engines have left")
        server.meter().settle()

    def take(self, server):
        return memory(tree(*server.pids())), kernel_memory()

    def states(self, server):
        n = self.effort.instances
        none = self.take(server)
        for k in range(n):
            server.rig.create("m%d" % k, "--no-ek")
        self.wait_cold(server)
        created = self.take(server)
        for k in range(n):
            self.open(server, "m%d" % k, GROUP)
        simple_recipes(self.load, GROUP)
        self.load.run(10000, 3, (GROUP, "pcr_read+extend"))
        active, alive = self.take(server), self.engines(server)
        if alive < n:
            raise AssertionError("%d engines of %d: some had left before memory was measured" % (alive, n))
        self.wait_cold(server)
        idle = self.take(server)
        for row, now in (("active", active), ("connected, idle (paged out)", idle), ("not connected", created)):
            own, kernel = ((b - a) / n for a, b in zip(none, now))
            self.space.put(row, ours=max(own, 0), ours_kernel=max(kernel, 0))

    def cold(self, server):
        """The first command after the engine has gone; beside it swtpm from its start to the same answer."""
        meter, mine, theirs, cpu = server.meter(), [], [], []
        for k in range(min(self.effort.colds, self.effort.instances)):
            before = meter.settle()
            ran, = self.load.run(10000, 1, ("%s@%d:1" % (GROUP, k), "pcr_read"))
            cpu.append(meter.settle() - before)
            mine += ran.samples
            theirs.append(self.cold_swtpm())
        self.put_times("cold to first answer", mine, statistics.median(cpu), theirs)

    def cold_swtpm(self):
        begun = time.monotonic()
        peer = self.bench.swtpm(wait=False)
        t = Tpm(peer.connect())
        t.pcr(10)
        took, used = time.monotonic() - begun, peer.meter().seconds()
        t.send.close()
        peer.stop()
        return took, used

    def swtpm_memory(self):
        before, peers = kernel_memory(), [self.bench.swtpm() for _ in range(self.effort.swtpms)]
        for peer in peers:
            self.load.open("sm", "raw", peer.address)
        simple_recipes(self.load, "sm")
        self.load.run(10000, 3, ("sm", "pcr_read+extend"))
        used = memory([p.p.p.pid for p in peers]) / len(peers)
        kernel = max(kernel_memory() - before, 0) / len(peers)
        for row in ("active", "connected, idle (paged out)"):
            self.space.put(row, swtpm=used, swtpm_kernel=kernel)
        self.load.close("sm")
        for peer in peers:
            peer.stop()

    def on_disk(self):
        """A store that was closed: what is in the write-ahead log is in the file."""
        server = Ours(self.bench.server_cpus)
        try:
            server.bring("first", self.bench.kit.owned)
            server.rig.server.stop()
            before = disk(server.rig.data)
            server.start()
            for k in range(self.effort.disks):
                server.bring("d%d" % k, self.bench.kit.owned)
            server.rig.server.stop()
            after = disk(server.rig.data)
        finally:
            server.stop()
        path = os.path.join(self.bench.kit.owned, "tpm-00.permall")
        self.space.put("on disk, owned, with one NV area", ours=(after - before) / self.effort.disks,
                       swtpm=disk(os.path.dirname(path)))

    def measure(self):
        self.create()
        self.dense()
        self.swtpm_memory()
        self.on_disk()

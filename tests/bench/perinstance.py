# SPDX-License-Identifier: Apache-2.0
"""What one instance takes: from create to ready, from cold to the first answer, memory in each state, disk."""
import os
import statistics
import time

import rig
from commands import simple_recipes
from kernelmem import Group
from peers import Ours
from procs import disk, memory, page_tables, spent, tree
from table import Column, Table
from tpm12 import Tpm

GROUP = "memory"
CREATE, COLD = "create with EK to ready", "cold to first answer"
ACTIVE, IDLE, ABSENT, ON_DISK = ("active", "connected, idle (paged out)", "not connected", "on disk, owned, one NV area")


class PerInstance:
    def __init__(self, bench):
        self.bench, self.load, self.effort = bench, bench.load, bench.effort
        self.times = Table("instance", "One instance: time and CPU", [
            Column("ours", "ours, ms", 1e3), Column("ours_cpu", "CPU, ms", 1e3), Column("swtpm", "swtpm, ms", 1e3),
            Column("swtpm_cpu", "CPU, ms", 1e3), Column("ratio", "time, ours/swtpm"), Column("cpu_ratio", "CPU, ours/swtpm")],
            [CREATE, COLD])
        self.space = Table("memory", "One instance: memory and disk, KiB", [
            Column("ours", "ours", 1 / 1024), Column("ours_kernel", "kernel", 1 / 1024, optional=True),
            Column("swtpm", "swtpm", 1 / 1024, optional=True),
            Column("swtpm_kernel", "kernel", 1 / 1024, optional=True),
            Column("ratio", "ours/swtpm", optional=True)], [ACTIVE, IDLE, ABSENT, ON_DISK], "state",
            "Private pages and page tables of all processes, by the difference of %d instances; kernel: sockets, stacks, "
            "descriptors besides, as their control group counts them." % self.effort.instances)

    def tables(self):
        return [self.times, self.space]

    # ---- create ----
    def create(self):
        server, mine, theirs = Ours(self.bench.server_cpus, pool=self.effort.pool), [], []
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
        self.put_times(CREATE, mine, ours_cpu, theirs)

    def put_times(self, row, mine, ours_cpu, theirs):
        ours, swtpm = statistics.median(mine), statistics.median(t for t, _ in theirs)
        swtpm_cpu = statistics.median(c for _, c in theirs)
        self.times.put(row, ours=ours, ours_cpu=ours_cpu, swtpm=swtpm, swtpm_cpu=swtpm_cpu, ratio=ours / swtpm,
                       cpu_ratio=ours_cpu / swtpm_cpu if swtpm_cpu else None)

    # ---- memory, by the difference of many, and cold starts of the same ----
    def dense(self):
        self.group = Group("ours")
        with self.group.joined():
            server = Ours(self.bench.server_cpus, "--idle-timeout", str(self.effort.idle_s))
        try:
            one, none = self.warm_up(server)
            self.states(server, one, none)
            self.cold(server)
        finally:
            self.load.close(GROUP)
            self.load.close("warm")
            server.stop()
            self.group.stop()

    def open(self, server, name, group):
        self.load.open(group, "vtpm", server.unix, *server.credential(name))

    def warm_up(self, server):
        """What is there once stays out of the difference: with one engine (which shares the zygote's pages, so that they
        are private to nobody) and with none."""
        server.rig.create("warm", "--no-ek")
        self.open(server, "warm", "warm")
        simple_recipes(self.load, "warm")
        one = self.take_active(server, 1)
        self.wait_cold(server)
        return one, self.take_ours(server)

    @staticmethod
    def engines(server):
        return server.rig.ctl_json("status")["status"]["engines"]

    def wait_cold(self, server):
        rig.wait_until(lambda: not self.engines(server), "the engines have left")
        server.meter().settle()

    @staticmethod
    def take(pids, group):
        """(private, in the kernel without page tables)"""
        kernel = group.bytes()
        return memory(pids), None if kernel is None else kernel - page_tables(pids)

    def put_space(self, row, key, before, after, n):
        per = [None if a is None else max(b - a, 0) / n for a, b in zip(before, after)]
        self.space.put(row, **{key: per[0], key + "_kernel": per[1]})

    def take_ours(self, server):
        return self.take(tree(*server.pids()), self.group)

    def states(self, server, one, none):
        n = self.effort.instances
        for k in range(n):
            server.rig.create("m%d" % k, "--no-ek")
        self.wait_cold(server)
        created = self.take_ours(server)
        for k in range(n):
            self.open(server, "m%d" % k, GROUP)
        simple_recipes(self.load, GROUP)
        active = self.take_active(server, n + 1)
        self.wait_cold(server)
        self.put_space(ACTIVE, "ours", one, active, n)
        self.put_space(IDLE, "ours", none, self.take_ours(server), n)
        self.put_space(ABSENT, "ours", none, created, n)

    def take_active(self, server, engines):
        """With so many. On a machine that is slow, some leave before the others have come."""
        groups = [("warm", "pcr_read+extend")] + [(GROUP, "pcr_read+extend")] * (engines > 1)
        for _ in range(20):
            for pair in groups:
                self.load.run(10000, 3, pair)
            taken = self.take_ours(server)
            if self.engines(server) >= engines:
                return taken
        raise AssertionError("the engines did not stay for long enough to be measured")

    def cold(self, server):
        """The first command after the engine has gone; beside it swtpm from its start to the same answer."""
        meter, mine, theirs, cpu = server.meter(), [], [], []
        for k in range(min(self.effort.colds, self.effort.instances)):
            before = meter.settle()
            ran, = self.load.run(10000, 1, ("%s@%d:1" % (GROUP, k), "pcr_read"))
            cpu.append(meter.settle() - before)
            mine += ran.samples
            theirs.append(self.cold_swtpm())
        self.put_times(COLD, mine, statistics.median(cpu), theirs)

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
        n, group = self.effort.swtpms_measured, Group("swtpm")
        with group.joined():
            peers = [self.bench.swtpm() for _ in range(n)]
        for peer in peers:
            self.load.open("measured", "raw", peer.address)
        simple_recipes(self.load, "measured")
        self.load.run(10000, 3, ("measured", "pcr_read+extend"))
        now = self.take([p.p.p.pid for p in peers], group)
        for row in (ACTIVE, IDLE):
            self.put_space(row, "swtpm", (0, now[1] and 0), now, n)
        self.load.close("measured")
        for peer in peers:
            peer.stop()
        group.stop()

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
        self.space.put(ON_DISK, ours=(after - before) / self.effort.disks, swtpm=disk(self.bench.kit.owned))

    def measure(self):
        self.create()
        self.dense()
        self.swtpm_memory()
        self.on_disk()
        for row, figures in self.space.rows.items():
            if figures.get("swtpm"):
                self.space.put(row, ratio=figures["ours"] / figures["swtpm"])

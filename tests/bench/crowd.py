# SPDX-License-Identifier: Apache-2.0
"""Many guests at once: throughput and CPU of a cheap command, durable writes, and what one guest's keys cost the others."""
import statistics

from commands import BY_NAME, generate_recipe, nv_recipe, simple_recipes
from load import limit, quantile
from peers import Ours
from procs import Meter
from table import Column, Table

CHEAP_ONES = ["PcrRead", "Extend", "GetCapability", "OIAP/FlushSpecific"]


class Side:
    """Guests of one kind, and the meter of who serves them."""

    def __init__(self, load, group, meter, stop):
        self.load, self.group, self.meter, self.stop = load, group, meter, stop

    def turn(self, first, names, ms, count=0):
        before = self.meter.seconds()
        ran, = self.load.run(ms, count, ("%s:%d" % (self.group, first), names))
        return ran, (self.meter.seconds() - before) / ran.commands


def our_side(bench, count, state=None, group="crowd"):
    """So many instances of one server, connected over its Unix socket."""
    server = Ours(bench.server_cpus)
    for k in range(count):
        name = "g%d" % k
        if state:
            server.bring(name, state)
        else:
            server.rig.create(name, "--no-ek")
        bench.load.open(group, "vtpm", server.unix, *server.credential(name))
    return Side(bench.load, group, server.meter(), lambda: (bench.load.close(group), server.stop())), server


def swtpm_side(bench, count, group="swtpms"):
    peers = [bench.swtpm() for _ in range(count)]
    for peer in peers:
        bench.load.open(group, "raw", peer.address)

    def stop():
        bench.load.close(group)
        for peer in peers:
            peer.stop()

    return Side(bench.load, group, Meter(lambda: [p.p.p.pid for p in peers]), stop)


class Throughput:
    def __init__(self, bench):
        self.bench, self.effort = bench, bench.effort
        self.rows = [(n, "PcrRead") for n in self.effort.guests if n != self.effort.many]
        self.rows += [(self.effort.many, name) for name in CHEAP_ONES]
        self.rows.sort(key=lambda r: r[0])
        self.table = Table("throughput", "Many guests at once, Unix socket", [
            Column("ours", "ours, /s"), Column("ours_cpu", "server CPU, us", 1e6), Column("ours_p99", "p99, us", 1e6),
            Column("swtpm", "swtpm, /s", optional=True), Column("swtpm_cpu", "server CPU, us", 1e6, optional=True),
            Column("swtpm_p99", "p99, us", 1e6, optional=True), Column("ratio", "CPU, ours/swtpm", optional=True)],
            [self.row(*r) for r in self.rows], "guests, command")

    @staticmethod
    def row(n, name):
        return "{:,} {}".format(n, name)

    def tables(self):
        return [self.table]

    def measure(self):
        ours, _ = our_side(self.bench, max(self.effort.guests))
        theirs = swtpm_side(self.bench, self.effort.swtpms)
        try:
            for side in (ours, theirs):
                simple_recipes(self.bench.load, side.group)
                side.load.run(60000, 2, (side.group, "pcr_read"))
            for n, name in self.rows:
                self.compare(ours, theirs if n <= self.effort.swtpms else None, n, name)
        finally:
            ours.stop()
            theirs.stop()

    def compare(self, ours, theirs, n, name):
        turns = {"ours": [], "swtpm": []}
        for _ in range(self.effort.crowd_rounds):
            for key, side in (("ours", ours), ("swtpm", theirs)):
                if side:
                    turns[key].append(self.one(side, n, name))
        figures = {}
        for key, done in turns.items():
            if done:
                figures[key] = statistics.median(ran.rate for ran, _ in done)
                figures[key + "_cpu"] = statistics.median(cpu for _, cpu in done)
                figures[key + "_p99"] = quantile([s for ran, _ in done for s in ran.samples], 0.99)
        if theirs:
            figures["ratio"] = statistics.median(a[1] / b[1] for a, b in zip(turns["ours"], turns["swtpm"]))
        self.table.put(self.row(n, name), **figures)

    def one(self, side, n, name):
        cycle = BY_NAME[name].cycle
        if "+" not in cycle:
            return side.turn(n, cycle, self.effort.crowd_ms)
        # An even number, so that no handle is left.
        return side.turn(n, cycle, 60000, self.effort.pairs)


class Durable:
    """NV writes: ours are on disk before the answer, swtpm's are not."""

    def __init__(self, bench):
        self.bench, self.effort = bench, bench.effort
        self.table = Table("durable", "NV writes of 32 bytes per second", [
            Column("rate", "writes/s"), Column("p50", "p50, us", 1e6, optional=True), Column("p99", "p99, us", 1e6, optional=True),
            Column("cpu", "server CPU, us", 1e6, optional=True), Column("client", "client CPU, us", 1e6, optional=True),
            Column("ratio", "rate / raw fdatasync loop")],
            [row for n in self.writers() for row in self.names(n)])

    def writers(self):
        return (1, self.effort.writers)

    @staticmethod
    def names(n):
        return ["raw fdatasync of 4 KiB, %d" % n, "ours, %d" % n, "swtpm (never syncs), %d" % n]

    def tables(self):
        return [self.table]

    def measure(self):
        ours, server = our_side(self.bench, self.effort.writers, self.bench.kit.owned)
        theirs = swtpm_side(self.bench, self.effort.writers)
        try:
            for side in (ours, theirs):
                nv_recipe(self.bench.load, side.group)
                self.bench.load.prepare(side.group, "nv_write")
            for n in self.writers():
                self.compare(server.rig.data, ours, theirs, n)
        finally:
            ours.stop()
            theirs.stop()

    def compare(self, folder, ours, theirs, n):
        raw, done = {1: [], n: []}, {"ours": [], "swtpm": []}
        for _ in range(self.effort.crowd_rounds):
            for k in raw:
                writes, ns = limit("fdatasync", folder, self.effort.sync_ms, k, cpus=self.bench.server_cpus)
                raw[k].append(writes / ns * 1e9)
            done["ours"].append(ours.turn(n, "nv_write", self.effort.sync_ms))
            done["swtpm"].append(theirs.turn(n, "nv_write", self.effort.sync_ms))
        name_raw, name_ours, name_swtpm = self.names(n)
        loop = statistics.median(raw[1])
        self.table.put(name_raw, rate=statistics.median(raw[n]), ratio=statistics.median(raw[n]) / loop)
        for name, turns in ((name_ours, done["ours"]), (name_swtpm, done["swtpm"])):
            samples = [s for ran, _ in turns for s in ran.samples]
            ratio = statistics.median(ran.rate / single for (ran, _), single in zip(turns, raw[1]))
            self.table.put(name, rate=statistics.median(ran.rate for ran, _ in turns), p50=quantile(samples, 0.5),
                           p99=quantile(samples, 0.99), cpu=statistics.median(cpu for _, cpu in turns),
                           client=statistics.median(ran.cpu / ran.commands for ran, _ in turns), ratio=ratio)


class Neighbours:
    """Extend of one guest, alone and while all the others generate keys."""

    def __init__(self, bench):
        self.bench, self.effort = bench, bench.effort
        others = self.effort.generators
        self.table = Table("neighbours", "Extend of one guest, while %d others generate RSA-2048 keys" % others, [
            Column("alone_p50", "alone, p50, us", 1e6), Column("alone", "p99, us", 1e6),
            Column("busy_p50", "with the others, p50, us", 1e6), Column("busy", "p99, us", 1e6),
            Column("keys", "keys/s of the others"), Column("ratio", "p99, with/alone")], ["ours", "swtpm"])

    def tables(self):
        return [self.table]

    def measure(self):
        count = self.effort.generators + 1
        for name, make in (("ours", lambda: our_side(self.bench, count, self.bench.kit.owned)[0]),
                           ("swtpm", lambda: swtpm_side(self.bench, count))):
            side = make()
            try:
                self.put(name, side)
            finally:
                side.stop()

    def put(self, name, side):
        load, group = self.bench.load, side.group
        alone, busy, keys = [], [], []
        simple_recipes(load, group)
        generate_recipe(load, group)
        for _ in range(self.effort.crowd_rounds):
            side.meter.settle()
            alone += load.run(self.effort.crowd_ms, 0, (group + ":1", "extend"))[0].samples
            ran, others = load.run(self.effort.busy_ms, 0, (group + ":1", "extend"), (group + "@1", "create_wrap_key"))
            busy += ran.samples
            keys.append(others.rate)
        figures = dict(alone_p50=quantile(alone, 0.5), alone=quantile(alone, 0.99), busy_p50=quantile(busy, 0.5),
                       busy=quantile(busy, 0.99), keys=statistics.median(keys))
        self.table.put(name, ratio=figures["busy"] / figures["alone"], **figures)

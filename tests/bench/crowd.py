# SPDX-License-Identifier: Apache-2.0
"""Many guests at once, ours all of one server and swtpm's with a process each: throughput and CPU of a cheap command,
durable writes, and what the keys of some cost another one."""
import statistics

from commands import BY_NAME, generate_recipe, nv_recipe, simple_recipes
from load import limit, quantile
from peers import Ours
from procs import Meter, task_cpu
from table import Column, Table, us

CHEAP_ONES = ["PcrRead", "Extend", "GetCapability", "OIAP/FlushSpecific"]


class Side:
    """Guests of one kind in one group, and the meter of who serves them; broker: one of these processes, counted apart as
    well. The first guests have an owner."""

    def __init__(self, load, group, meter, broker=None):
        self.load, self.group, self.meter, self.broker = load, group, meter, broker
        simple_recipes(load, group)
        nv_recipe(load, group)
        generate_recipe(load, group)

    def turn(self, first, names, ms, count=0):
        """What ran, the server's CPU of each command, and the broker's part of that."""
        broker, before = self.broker_seconds(), self.meter.seconds()
        ran, = self.load.run(ms, count, ("%s:%d" % (self.group, first), names))
        after = self.meter.seconds()
        return ran, (after - before) / ran.commands, (self.broker_seconds() - broker) / ran.commands

    def broker_seconds(self):
        return sum(task_cpu(self.broker).values()) / 1e9 if self.broker else 0


class Crowd:
    """All guests that the parts below need, started once."""

    def __init__(self, bench):
        effort = bench.effort
        owned = max(effort.writers, effort.generators + 1)
        self.bench = bench
        self.server, self.peers = Ours(bench.server_cpus, pool=effort.pool), []
        try:
            for k in range(max(*effort.guests, owned)):
                self.add(k, k < owned)
            for k in range(max(effort.swtpms, owned)):
                self.peers.append(bench.swtpm())
                bench.load.open("theirs", "raw", self.peers[-1].address)
        except BaseException:
            self.stop()
            raise
        self.ours = Side(bench.load, "ours", self.server.meter(), self.server.pids()[0])
        self.theirs = Side(bench.load, "theirs", Meter(lambda: [p.p.p.pid for p in self.peers]))

    def add(self, k, has_owner):
        name = "g%d" % k
        if has_owner:
            self.server.bring(name, self.bench.kit.owned)
        else:
            self.server.rig.create(name, "--no-ek")
        self.bench.load.open("ours", "vtpm", self.server.unix, *self.server.credential(name))

    def stop(self):
        self.server.stop()
        for peer in self.peers:
            peer.stop()


class Throughput:
    def __init__(self, bench):
        self.bench, self.effort = bench, bench.effort
        self.rows = [(n, name) for n in self.effort.guests for name in
                     (CHEAP_ONES if n == self.effort.many else CHEAP_ONES[:1])]
        self.table = Table("throughput", "Many guests at once, Unix socket; microseconds", [
            Column("ours", "ours, /s"), us("ours_cpu", "CPU"), us("broker", "of it the broker"),
            us("ours_p50", "p50"), us("ours_p99", "p99"), Column("swtpm", "swtpm, /s", optional=True),
            us("swtpm_cpu", "CPU", True), us("swtpm_p50", "p50", True),
            us("swtpm_p99", "p99", True), Column("ratio", "CPU ours/swtpm", optional=True),
            us("limit", "echo+TLS, 1 guest, CPU"), Column("times", "our CPU/echo")],
            [self.row(*r) for r in self.rows], "command")

    @staticmethod
    def row(n, name):
        """Its name in the table; goals.py asks by it."""
        return "{}, {:,} guest{}".format(name, n, "s"[:n > 1])

    def tables(self):
        return [self.table]

    def measure(self):
        crowd = self.bench.crowd()
        for side in (crowd.ours, crowd.theirs):
            side.load.run(60000, 2, (side.group, "pcr_read"))
        self.echo = self.bench.echo("echo", False, True)
        try:
            for n, name in self.rows:
                self.compare(crowd.ours, crowd.theirs if n <= self.effort.swtpms else None, n, name)
        finally:
            self.echo.stop()

    def echo_cpu(self):
        meter = self.echo.meter()
        before = meter.seconds()
        ran, = self.bench.load.run(self.effort.turn_ms, 0, ("echo", "pcr_read"))
        return (meter.seconds() - before) / ran.commands

    def compare(self, ours, theirs, n, name):
        turns, echoes = {"ours": [], "swtpm": []}, []
        for _ in range(self.effort.crowd_rounds):
            echoes.append(self.echo_cpu())
            for key, side in (("ours", ours), ("swtpm", theirs)):
                if side:
                    turns[key].append(self.one(side, n, name))
        figures = {}
        for key, done in turns.items():
            samples = [s for ran, _, _ in done for s in ran.samples]
            if done:
                figures[key] = statistics.median(ran.rate for ran, _, _ in done)
                figures[key + "_cpu"] = statistics.median(cpu for _, cpu, _ in done)
                figures[key + "_p50"], figures[key + "_p99"] = quantile(samples, 0.5), quantile(samples, 0.99)
        figures["limit"] = statistics.median(echoes)
        figures["times"] = statistics.median(cpu / echo for (_, cpu, _), echo in zip(turns["ours"], echoes))
        figures["broker"] = statistics.median(cpu for _, _, cpu in turns["ours"])
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
        self.table = Table("durable", "NV writes of 32 bytes; microseconds", [
            Column("rate", "writes/s"), us("p50", "p50", True), us("p99", "p99", True),
            us("cpu", "server CPU", True), us("client", "client CPU", True),
            Column("ratio", "rate / raw loop of one")],
            [row for n in (1, self.effort.writers) for row in self.names(n)], "what, writers",
            "Raw loop: 4 KiB and fdatasync over and over, in a file of the same file system that does not grow.")

    @staticmethod
    def names(n):
        return ["raw fdatasync, %d" % n, "ours, on disk, %d" % n, "swtpm, never syncs, %d" % n]

    def tables(self):
        return [self.table]

    def measure(self):
        crowd = self.bench.crowd()
        for side in (crowd.ours, crowd.theirs):
            self.bench.load.prepare("%s:%d" % (side.group, self.effort.writers), "nv_write")
        for n in (1, self.effort.writers):
            self.compare(crowd.server.rig.data, crowd.ours, crowd.theirs, n)

    def raw(self, folder, writers):
        writes, ns = limit("fdatasync", folder, self.effort.sync_ms, writers, cpus=self.bench.server_cpus)
        return writes / ns * 1e9

    def compare(self, folder, ours, theirs, n):
        one, many, mine, other = [], [], [], []
        for _ in range(self.effort.sync_rounds):
            one.append(self.raw(folder, 1))
            mine.append(ours.turn(n, "nv_write", self.effort.sync_ms))
            other.append(theirs.turn(n, "nv_write", self.effort.sync_ms))
            many.append(self.raw(folder, n) if n > 1 else one[-1])
        name_raw, name_ours, name_swtpm = self.names(n)
        self.table.put(name_raw, rate=statistics.median(many), ratio=statistics.median(a / b for a, b in zip(many, one)))
        for name, turns in ((name_ours, mine), (name_swtpm, other)):
            self.put(name, turns, one)

    def put(self, name, turns, one):
        samples = [s for ran, _, _ in turns for s in ran.samples]
        self.table.put(name, rate=statistics.median(ran.rate for ran, _, _ in turns), p50=quantile(samples, 0.5),
                       p99=quantile(samples, 0.99), cpu=statistics.median(cpu for _, cpu, _ in turns),
                       client=statistics.median(ran.cpu / ran.commands for ran, _, _ in turns),
                       ratio=statistics.median(ran.rate / single for (ran, _, _), single in zip(turns, one)))


class Neighbours:
    """Extend of one guest, alone and while all the others generate keys."""

    def __init__(self, bench):
        self.bench, self.effort = bench, bench.effort
        title = "Extend of one guest while %d others generate RSA-2048 keys; microseconds" % self.effort.generators
        self.table = Table("neighbours", title, [
            us("alone_p50", "alone p50"), us("alone", "p99"), us("busy_p50", "with the others p50"),
            us("busy", "p99"), Column("keys", "keys/s of the others"), Column("ratio", "p99 with/alone")], ["ours", "swtpm"])

    def tables(self):
        return [self.table]

    def measure(self):
        crowd = self.bench.crowd()
        self.put("ours", crowd.ours, crowd.server.wait_pool)
        self.put("swtpm", crowd.theirs, lambda: None)

    def put(self, name, side, settle):
        alone, busy, keys, group = [], [], [], side.group
        for _ in range(self.effort.busy_rounds):
            settle()
            side.meter.settle()
            alone += side.load.run(self.effort.busy_ms, 0, (group + ":1", "extend"))[0].samples
            ran, others = side.load.run(self.effort.busy_ms, 0, (group + ":1", "extend"),
                                        ("%s@1:%d" % (group, self.effort.generators), "create_wrap_key"))
            busy += ran.samples
            keys.append(others.rate)
        figures = dict(alone_p50=quantile(alone, 0.5), alone=quantile(alone, 0.99), busy_p50=quantile(busy, 0.5),
                       busy=quantile(busy, 0.99), keys=statistics.median(keys))
        self.table.put(name, ratio=figures["busy"] / figures["alone"], **figures)

# SPDX-License-Identifier: Apache-2.0
"""Latency and CPU of each command, of one guest, over each transport; in turns."""
import statistics

from commands import CHEAP, COMMANDS, ECHO, GENERATE, OWN, PRIVATE, RSA, all_recipes
from load import BareRsa, limit, quantile
from peers import OWNER, Ours
from table import Column, Table
from tpm12 import WELL_KNOWN, Tpm

# Name in the table; whether it is ours.
OURS = ["ours unix+TLS", "ours tcp+TLS", "ours by shim"]
THEIRS = ["swtpm unix", "swtpm tcp"]
ECHOES = ["echo unix", "echo tcp", "echo unix+TLS", "echo tcp+TLS"]
ECHO_OF = dict(zip(OURS + ["portable"] + THEIRS, ["echo unix+TLS", "echo tcp+TLS", "echo unix", "echo unix+TLS",
                                                  "echo unix", "echo tcp"]))
WARM_UP = 20


class Cell:
    """Of one command on one target: samples of all turns, CPU of each."""

    def __init__(self):
        self.samples, self.cpu, self.p50s, self.above = [], [], [], []

    def add(self, samples, cpu, bound):
        """bound: CPU of what one command cannot beat, measured just before; None: there is no such thing."""
        self.samples += samples
        self.cpu.append(cpu / len(samples))
        if bound is not None:
            self.above.append(cpu / len(samples) - bound)
        self.p50s.append(quantile(samples, 0.5))

    def figures(self):
        if not self.samples:
            return None, None, None
        return quantile(self.samples, 0.5), quantile(self.samples, 0.99), statistics.median(self.cpu)


def ratio(mine, other, what):
    """The median of the rounds' own ratios: both sides of one were measured within a second."""
    pairs = [a / b for a, b in zip(getattr(mine, what), getattr(other, what)) if b]
    return statistics.median(pairs) if pairs else None


class Latency:
    def __init__(self, bench):
        self.bench, self.load = bench, bench.load
        self.cells = {}
        self.targets = {}   # name: its meter
        self.fresh = {name: [] for name in OURS + THEIRS}
        self.rsa, self.bare = [], None
        self.closing = []
        self.sync = []
        self.order = OURS + THEIRS
        self.by_way = [way_table("unix", "a Unix socket"), way_table("tcp", "TCP")]
        self.by_shim = Table("shim", "One guest through vtpm-shim, whose CPU is not in it; microseconds", [
            Column("p50", "p50", 1e6), Column("p99", "p99", 1e6), Column("cpu", "server CPU", 1e6),
            Column("ratio", "p50 ours/swtpm")], [c.name for c in COMMANDS if c.kind != OWN], "command",
            "Between a guest's socket and the server, as a monitor has it; swtpm over a Unix socket.")

        self.by_portable = Table("portable", "One guest over a Unix socket, a build without libcrypto (mbedTLS alone); microseconds", [
            Column("p50", "ours p50", 1e6), Column("cpu", "CPU", 1e6), Column("scpu", "swtpm's CPU", 1e6),
            Column("cpu_ratio", "CPU ours/swtpm")],
            [c.name for c in COMMANDS if c.kind == PRIVATE], "command")

    def tables(self):
        return self.by_way + [self.by_shim] + ([self.by_portable] if self.bench.portable else [])

    # ---- who is there ----
    def start_ours(self):
        server = self.ours = Ours(self.bench.server_cpus)
        self.closing.append(server)
        for name, way in zip(OURS, ("unix", "tcp", "shim")):
            server.bring(way, self.bench.kit.owned)
            if way == "shim":
                self.load.open(name.replace(" ", "_"), "raw", server.shim(way))
            else:
                self.load.open(name.replace(" ", "_"), "vtpm", getattr(server, way), *server.credential(way))
            self.add(name, server.meter())
        for k in range(self.bench.effort.own):
            for name, way in zip(OURS[:2], ("unix", "tcp")):
                self.bring_fresh(server, name, way, "fresh-%s-%d" % (way, k))

    def bring_fresh(self, server, name, way, instance):
        server.bring(instance, self.bench.kit.fresh)
        self.load.open(instance, "vtpm", getattr(server, way), *server.credential(instance))
        self.fresh[name].append((instance, server.meter()))

    def start_portable(self):
        """Another build of this server, for the commands that need a private key."""
        if self.bench.portable:
            server = Ours(self.bench.server_cpus, programs=self.bench.portable)
            self.closing.append(server)
            server.bring("portable", self.bench.kit.owned)
            self.load.open("portable", "vtpm", server.unix, *server.credential("portable"))
            self.add("portable", server.meter())

    def start_theirs(self):
        for name, tcp in zip(THEIRS, (False, True)):
            peer = self.bench.swtpm(tcp=tcp)
            self.closing.append(peer)
            self.load.open(name.replace(" ", "_"), "raw", peer.address)
            self.add(name, peer.meter())
            for k in range(self.bench.effort.own):
                fresh = self.bench.swtpm("fresh", tcp)
                self.closing.append(fresh)
                group = "fresh-%s-%d" % (name.replace(" ", "_"), k)
                self.load.open(group, "raw", fresh.address)
                self.fresh[name].append((group, fresh.meter()))

    def start_echoes(self):
        for name in ECHOES:
            tls = name.endswith("TLS")
            echo = self.bench.echo(name.replace(" ", "_"), "tcp" in name, tls)
            self.closing.append(echo)
            self.targets[name] = echo.meter()

    def add(self, name, meter):
        all_recipes(self.load, name.replace(" ", "_"), self.bench.kit)
        self.targets[name] = meter

    # ---- turns ----
    def cell(self, command, target):
        return self.cells.setdefault((command, target), Cell())

    def turn(self, command, target):
        group, meter, effort = target.replace(" ", "_"), self.targets[target], self.bench.effort
        count = {CHEAP: 0, PRIVATE: effort.private, GENERATE: effort.generate}[command.kind]
        for name in command.cycle.split("+"):
            self.load.prepare(group, name, count)
        # Not counted: what comes first finds caches and branch predictors full of the target before.
        self.load.run(1000, WARM_UP, (group, "pcr_read"))
        if command.kind == GENERATE:
            self.ours.wait_pool()
            ran, cpu = self.metered(meter.settle, 60000, count, group, command)
        else:
            ran, cpu = self.metered(meter.seconds, effort.turn_ms if command.kind == CHEAP else 60000, count, group, command)
        self.cell(command.name, target).add(ran.samples, cpu, self.bound(command, target))
        self.give_back(command, group, ran.commands)

    def bound(self, command, target):
        """CPU of the limit, as of this round."""
        if command.limit == RSA:
            return self.rsa[-1]
        return self.cell("echo", ECHO_OF[target]).cpu[-1] if command.limit == ECHO else None

    def metered(self, cpu, ms, count, group, command):
        before = cpu()
        ran, = self.load.run(ms, count, (group, command.cycle))
        return ran, cpu() - before

    def give_back(self, command, group, commands):
        if command.after:
            self.load.run(60000, commands, (group, command.after))
        elif command.cycle == "oiap+flush_session" and commands % 2:
            self.load.run(1000, 1, (group, "flush_session"))

    def own(self, command, target):
        if not self.fresh[target]:
            return
        group, meter = self.fresh[target].pop()
        t = Tpm(self.load.transport(group))
        ek = t.read_pubek()
        self.ours.wait_pool()
        before = meter.settle()
        assert t.take_ownership(OWNER, WELL_KNOWN, ek)[0] == 0
        self.cell(command.name, target).add([t.send.seconds], meter.settle() - before, self.bound(command, target))
        self.load.close(group)

    def round(self):
        writes, ns = limit("fdatasync", self.ours.rig.data, self.bench.effort.turn_ms, cpus=self.bench.server_cpus)
        self.sync.append(ns / 1e9 / max(writes, 1))
        for name in ECHOES:
            meter, group = self.targets[name], name.replace(" ", "_")
            before = meter.seconds()
            ran, = self.load.run(self.bench.effort.turn_ms, 0, (group, "pcr_read"))
            self.cell("echo", name).add(ran.samples, meter.seconds() - before, None)
        # Whoever comes first today comes last tomorrow.
        self.order.reverse()
        for command in COMMANDS:
            if command.limit == RSA:
                self.rsa.append(self.bare.seconds(self.bench.effort.rsa))
            for target in self.order:
                if command.kind == OWN:
                    self.own(command, target)
                else:
                    self.turn(command, target)
            if command.kind == PRIVATE and self.bench.portable:
                self.turn(command, "portable")

    def measure(self):
        self.start_ours()
        self.start_portable()
        self.start_theirs()
        self.start_echoes()
        self.bare = BareRsa(self.bench.server_cpus)
        self.closing.append(self.bare)
        for _ in range(self.bench.effort.rounds):
            self.round()
        self.fill()

    def stop(self):
        for peer in self.closing:
            peer.stop()

    # ---- what it means ----
    def limit_of(self, command, target):
        """(seconds, seconds of CPU) of what the command cannot beat."""
        p50, _, cpu = self.cell("echo", ECHO_OF[target]).figures()
        bare = statistics.median(self.rsa)
        return {ECHO: (p50, cpu), RSA: (bare, bare)}.get(command.limit, (statistics.median(self.sync), None))

    def fill(self):
        for table, mine, theirs in zip(self.by_way, OURS, THEIRS):
            for command in COMMANDS:
                self.fill_row(table, command, mine, theirs)
            (p50, p99, cpu), (o50, o99, ocpu) = (self.cell("echo", ECHO_OF[n]).figures() for n in (mine, theirs))
            table.put("echo", p50=p50, p99=p99, cpu=cpu, s50=o50, s99=o99, scpu=ocpu)
        self.fill_other(self.by_shim, OURS[2])
        if self.bench.portable:
            self.fill_other(self.by_portable, "portable")

    def fill_other(self, table, mine):
        for name in table.rows:
            cell, other = self.cell(name, mine), self.cell(name, THEIRS[0])
            p50, p99, cpu = cell.figures()
            table.put(name, p50=p50, p99=p99, cpu=cpu, ratio=ratio(cell, other, "p50s"), scpu=other.figures()[2],
                      cpu_ratio=ratio(cell, other, "cpu"))

    def fill_row(self, table, command, mine, theirs):
        cell, other = self.cell(command.name, mine), self.cell(command.name, theirs)
        (p50, p99, cpu), (o50, o99, ocpu) = cell.figures(), other.figures()
        bound, bound_cpu = self.limit_of(command, mine)
        table.put(command.name, p50=p50, p99=p99, cpu=cpu, s50=o50, s99=o99, scpu=ocpu, ratio=ratio(cell, other, "p50s"),
                  cpu_ratio=ratio(cell, other, "cpu"), held=command.limit, limit=bound, limit_cpu=bound_cpu,
                  times=p50 / bound, above=statistics.median(cell.above) if cell.above else None)


def way_table(name, title):
    return Table(name, "One guest over %s: ours with TLS-PSK, swtpm in the clear; microseconds" % title, [
        Column("p50", "ours p50", 1e6), Column("p99", "p99", 1e6), Column("cpu", "CPU", 1e6),
        Column("s50", "swtpm p50", 1e6), Column("s99", "p99", 1e6), Column("scpu", "CPU", 1e6),
        Column("ratio", "p50 ours/swtpm", optional=True), Column("cpu_ratio", "CPU ours/swtpm", optional=True),
        Column("held", "limit", optional=True), Column("limit", "it takes", 1e6, optional=True),
        Column("limit_cpu", "its CPU", 1e6, optional=True), Column("above", "our CPU above", 1e6, optional=True),
        Column("times", "our p50/limit", optional=True)], [c.name for c in COMMANDS] + ["echo"], "command")

# SPDX-License-Identifier: Apache-2.0
"""Latency and CPU of each command, of one guest, over each transport; in turns."""
import statistics

from commands import CHEAP, COMMANDS, ECHO, GENERATE, OWN, PRIVATE, RSA
from load import BareRsa, limit
from peers import OWNER
from table import Column, Table, us
from targets import Targets, ratio
from tpm12 import WELL_KNOWN, Tpm

# Commands before each turn that are not counted: what comes first finds caches full of somebody else's.
WARM_UP = 20


class Latency:
    def __init__(self, bench):
        self.bench, self.load, self.effort = bench, bench.load, bench.effort
        self.targets = Targets(bench)
        self.rsa, self.sync = [], []    # seconds of the limits, of all rounds
        self.bare = None
        self.by_unix, self.by_tcp = way_table("unix", "a Unix socket"), way_table("tcp", "TCP")
        self.by_shim = Table("shim", "One guest through vtpm-shim, whose CPU is not in it; microseconds", [
            us("p50", "p50"), us("p99", "p99"), us("cpu", "server CPU"),
            Column("ratio", "p50 ours/swtpm")], [c.name for c in COMMANDS if c.kind != OWN], "command",
            "Between a guest's socket and the server, as a monitor has it; swtpm over a Unix socket.")
        self.by_portable = Table("portable", "One guest over a Unix socket, no libcrypto (mbedTLS alone); microseconds", [
            us("p50", "ours p50"), us("cpu", "CPU"), us("scpu", "swtpm's CPU"),
            Column("cpu_ratio", "CPU ours/swtpm")], [c.name for c in COMMANDS if c.kind == PRIVATE], "command")

    def tables(self):
        return [self.by_unix, self.by_tcp, self.by_shim] + [self.by_portable] * bool(self.bench.portable)

    def measure(self):
        self.bare = BareRsa(self.bench.server_cpus)
        self.targets.start()
        order = list(self.targets.tpms)
        for _ in range(self.effort.rounds):
            self.round(order)
            # Whoever comes first today comes last tomorrow.
            order.reverse()
        self.fill()

    def stop(self):
        self.targets.stop()
        if self.bare:
            self.bare.stop()

    # ---- turns ----
    def round(self, order):
        writes, ns = limit("fdatasync", self.targets.server.rig.data, self.effort.turn_ms, cpus=self.bench.server_cpus)
        self.sync.append(ns / 1e9 / max(writes, 1))
        for echo in self.targets.echoes.values():
            ran, cpu = self.metered(echo.meter.seconds, echo, self.effort.turn_ms, 0, "pcr_read")
            echo.cell("echo").add(ran.samples, cpu)
        for command in COMMANDS:
            if command.limit == RSA:
                self.rsa.append(self.bare.seconds(self.effort.rsa))
            for target in order:
                (self.own if command.kind == OWN else self.turn)(command, target)
            if command.kind == PRIVATE and self.targets.portable:
                self.turn(command, self.targets.portable)

    def turn(self, command, target):
        count = {CHEAP: 0, PRIVATE: self.effort.private, GENERATE: self.effort.generate}[command.kind]
        ms = self.effort.turn_ms if command.kind == CHEAP else 60000
        cpu = target.meter.seconds
        for name in command.cycle.split("+"):
            self.load.prepare(target.name, name, count)
        self.load.run(1000, WARM_UP, (target.name, "pcr_read"))
        if command.kind == GENERATE:
            self.targets.server.wait_pool()
            cpu = target.meter.settle
        ran, used = self.metered(cpu, target, ms, count, command.cycle)
        target.cell(command.name).add(ran.samples, used, self.bound(command, target))
        self.give_back(command, target, ran.commands)

    def metered(self, cpu, target, ms, count, cycle):
        before = cpu()
        ran, = self.load.run(ms, count, (target.name, cycle))
        return ran, cpu() - before

    def give_back(self, command, target, commands):
        """Handles: a TPM has few."""
        if command.after:
            self.load.run(60000, commands, (target.name, command.after))
        elif command.cycle == "oiap+flush_session" and commands % 2:
            self.load.run(1000, 1, (target.name, "flush_session"))

    def own(self, command, target):
        """Once for each TPM; while there are any."""
        if not target.fresh:
            return
        group, meter = target.fresh.pop()
        t = Tpm(self.load.transport(group))
        ek = t.read_pubek()
        self.targets.server.wait_pool()
        before = meter.settle()
        assert t.take_ownership(OWNER, WELL_KNOWN, ek)[0] == 0
        target.cell(command.name).add([t.send.seconds], meter.settle() - before, self.bound(command, target))
        self.load.close(group)

    # ---- what it means ----
    def bound(self, command, target):
        """CPU of the limit, as of this round; None: it is no matter of CPU."""
        if command.limit == RSA:
            return self.rsa[-1]
        return target.echo.cell("echo").cpu[-1] if command.limit == ECHO else None

    def limit_of(self, command, target):
        """(seconds, seconds of CPU), of all rounds."""
        if command.limit == RSA:
            return (statistics.median(self.rsa),) * 2
        if command.limit == ECHO:
            p50, _, cpu = target.echo.cell("echo").figures()
            return p50, cpu
        return statistics.median(self.sync), None

    def fill(self):
        them = self.targets
        for table, mine, theirs in ((self.by_unix, them.unix, them.swtpm_unix), (self.by_tcp, them.tcp, them.swtpm_tcp)):
            for command in COMMANDS:
                self.fill_row(table, command, mine, theirs)
            (p50, p99, cpu), (s50, s99, scpu) = (t.echo.cell("echo").figures() for t in (mine, theirs))
            table.put("echo", p50=p50, p99=p99, cpu=cpu, s50=s50, s99=s99, scpu=scpu)
        self.fill_other(self.by_shim, them.shim)
        if them.portable:
            self.fill_other(self.by_portable, them.portable)

    def fill_row(self, table, command, mine, theirs):
        cell, other = mine.cell(command.name), theirs.cell(command.name)
        (p50, p99, cpu), (s50, s99, scpu) = cell.figures(), other.figures()
        bound, bound_cpu = self.limit_of(command, mine)
        table.put(command.name, p50=p50, p99=p99, cpu=cpu, s50=s50, s99=s99, scpu=scpu, ratio=ratio(cell, other, "p50s"),
                  cpu_ratio=ratio(cell, other, "cpu"), held=command.limit, limit=bound, limit_cpu=bound_cpu,
                  times=p50 / bound, above=statistics.median(cell.above) if cell.above else None)

    def fill_other(self, table, mine):
        for name in table.rows:
            cell, other = mine.cell(name), self.targets.swtpm_unix.cell(name)
            p50, p99, cpu = cell.figures()
            table.put(name, p50=p50, p99=p99, cpu=cpu, ratio=ratio(cell, other, "p50s"), scpu=other.figures()[2],
                      cpu_ratio=ratio(cell, other, "cpu"))


def way_table(name, title):
    return Table(name, "One guest over %s: ours with TLS-PSK, swtpm in the clear; microseconds" % title, [
        us("p50", "ours p50"), us("p99", "p99"), us("cpu", "CPU"),
        us("s50", "swtpm p50"), us("s99", "p99"), us("scpu", "CPU"),
        Column("ratio", "p50 ours/swtpm", optional=True), Column("cpu_ratio", "CPU ours/swtpm", optional=True),
        Column("held", "limit", optional=True), us("limit", "it takes", True),
        us("limit_cpu", "its CPU", True), us("above", "our CPU above", True),
        Column("times", "our p50/limit", optional=True)], [c.name for c in COMMANDS] + ["echo"], "command")

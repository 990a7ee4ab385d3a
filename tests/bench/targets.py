# SPDX-License-Identifier: Apache-2.0
"""Whom one guest is measured with: this server over each transport and through vtpm-shim, swtpm over each, an echo over each."""
import statistics

from commands import all_recipes
from load import quantile
from peers import Ours


class Cell:
    """Of one command on one target, over all rounds."""

    def __init__(self):
        self.samples, self.cpu, self.p50s, self.above = [], [], [], []

    def add(self, samples, cpu, bound=None):
        """bound: CPU of what one command cannot beat, measured just before."""
        self.samples += samples
        self.cpu.append(cpu / len(samples))
        self.p50s.append(quantile(samples, 0.5))
        if bound is not None:
            self.above.append(cpu / len(samples) - bound)

    def figures(self):
        """(p50, p99, CPU of one)"""
        if not self.samples:
            return None, None, None
        return quantile(self.samples, 0.5), quantile(self.samples, 0.99), statistics.median(self.cpu)


def ratio(mine, other, what):
    """The median of the rounds' own ratios: both sides of one were measured within a second."""
    pairs = [a / b for a, b in zip(getattr(mine, what), getattr(other, what)) if b]
    return statistics.median(pairs) if pairs else None


class Target:
    """name: of its group of bench_load, too. meter: of who serves it. echo: the target that it is held against. fresh: groups of
    TPMs of the same kind that have no owner yet, with their meters."""

    def __init__(self, name, meter, echo=None):
        self.name, self.meter, self.echo = name, meter, echo
        self.cells, self.fresh = {}, []

    def cell(self, command):
        return self.cells.setdefault(command, Cell())


class Targets:
    """All of them, and what must end in the end."""

    def __init__(self, bench):
        self.bench, self.load, self.closing = bench, bench.load, []
        self.portable = None

    def start(self):
        self.echoes = {name: self.start_echo(name) for name in ("unix", "tcp", "unix+TLS", "tcp+TLS")}
        self.server = self.start_server()
        self.unix, self.tcp = (self.start_ours(way) for way in ("unix", "tcp"))
        self.shim = self.start_shim()
        if self.bench.portable:
            self.portable = self.start_portable()
        self.swtpm_unix, self.swtpm_tcp = (self.start_swtpm(way) for way in ("unix", "tcp"))
        self.tpms = [self.unix, self.tcp, self.shim, self.swtpm_unix, self.swtpm_tcp]

    def start_echo(self, way):
        echo = self.bench.echo("echo-" + way, way.startswith("tcp"), way.endswith("TLS"))
        self.closing.append(echo)
        return Target("echo-" + way, echo.meter())

    def start_server(self, programs=None):
        server = Ours(self.bench.server_cpus, programs=programs, pool=self.bench.effort.pool and not programs)
        self.closing.append(server)
        return server

    def attach(self, server, instance, way, state):
        server.bring(instance, state)
        self.load.open(instance, "vtpm", getattr(server, way), *server.credential(instance))

    def owned(self, name, meter, echo):
        all_recipes(self.load, name, self.bench.kit)
        return Target(name, meter, self.echoes[echo])

    def start_ours(self, way):
        self.attach(self.server, way, way, self.bench.kit.owned)
        target = self.owned(way, self.server.meter(), way + "+TLS")
        for k in range(self.bench.effort.own):
            self.attach(self.server, "fresh-%s-%d" % (way, k), way, self.bench.kit.fresh)
            target.fresh.append(("fresh-%s-%d" % (way, k), self.server.meter()))
        return target

    def start_shim(self):
        self.server.bring("shim", self.bench.kit.owned)
        self.load.open("shim", "raw", self.server.shim("shim"))
        return self.owned("shim", self.server.meter(), "unix")

    def start_portable(self):
        """Another build of this server, for the commands that need a private key."""
        server = self.start_server(self.bench.portable)
        self.attach(server, "portable", "unix", self.bench.kit.owned)
        return self.owned("portable", server.meter(), "unix+TLS")

    def start_swtpm(self, way):
        def one(name, state):
            peer = self.bench.swtpm(state, way == "tcp")
            self.load.open(name, "raw", peer.address)
            return peer.meter()

        target = self.owned("swtpm-" + way, one("swtpm-" + way, "owned"), way)
        for k in range(self.bench.effort.own):
            name = "fresh-swtpm-%s-%d" % (way, k)
            target.fresh.append((name, one(name, "fresh")))
        return target

    def stop(self):
        for one in self.closing:
            one.stop()

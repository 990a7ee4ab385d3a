# SPDX-License-Identifier: Apache-2.0
"""The goals that this server is held to, and whether a run reached each."""
import contextlib

from crowd import Throughput
from perinstance import ABSENT, ACTIVE, COLD, CREATE, IDLE
from table import Column, Table

PRIVATE = ("Sign", "Quote", "Unseal", "LoadKey2")


class Goal:
    """figure: what of the run, a function of get(table, row, key); bound: it may be so much at most, or with least at least.
    optional: not every machine can tell."""

    def __init__(self, name, figure, bound, unit="x", scale=1, least=False, optional=False):
        self.name, self.figure, self.bound, self.unit, self.scale = name, figure, bound, unit, scale
        self.least, self.optional = least, optional

    def value(self, by_name):
        """None: there is none. KeyError: its table was not made."""
        try:
            return self.figure(lambda table, row, key: by_name[table].get(row, key))
        except TypeError:
            return None

    def reached(self, value):
        return value >= self.bound if self.least else value <= self.bound


def private_goals():
    for name in PRIVATE:
        yield Goal(name + ": server CPU / swtpm's", lambda get, n=name: get("unix", n, "cpu_ratio"), 0.40)
        yield Goal(name + ": server CPU above the bare operation", lambda get, n=name: get("unix", n, "above"),
                   60e-6, "us", 1e6)


def memory_goals():
    for row, kib in ((ACTIVE, 256), (IDLE, 64), (ABSENT, 1)):
        yield Goal("memory, " + row, lambda get, r=row: get("memory", r, "ours"), kib * 1024, "KiB", 1 / 1024)
        yield Goal("memory, %s, with the kernel's" % row, lambda get, r=row: get("memory", r, "ours") +
                   get("memory", r, "ours_kernel"), kib * 1024, "KiB", 1 / 1024, optional=True)


def goals(effort):
    many, writers = effort.many, effort.writers
    yield from private_goals()
    for name in PRIVATE:
        yield Goal(name + ", mbedTLS alone: server CPU / swtpm's", lambda get, n=name: get("portable", n, "cpu_ratio"), 0.95)
    yield Goal("CreateWrapKey 2048: p50 / swtpm's", lambda get: get("unix", "CreateWrapKey", "ratio"), 0.02)
    yield Goal("TakeOwnership: p50 / swtpm's", lambda get: get("unix", "TakeOwnership", "ratio"), 0.05)
    yield Goal("create with EK / swtpm_setup --createek", lambda get: get("instance", CREATE, "ratio"), 0.05)
    yield Goal("cold to first answer", lambda get: get("instance", COLD, "ours"), 10e-3, "ms", 1e3)
    yield Goal("cold to first answer / swtpm's start", lambda get: get("instance", COLD, "ratio"), 0.05)
    for name in ("PcrRead", "Extend", "GetCapability", "OIAP/FlushSpecific"):
        yield Goal("%s, %d guests: server CPU / swtpm's" % (name, many),
                   lambda get, n=name: get("throughput", Throughput.row(many, n), "ratio"), 2.0)
    yield Goal("NV write, 1 writer, on disk: p50 / swtpm's", lambda get: get("unix", "NV write", "ratio"), 1.0)
    yield Goal("NV writes, %d guests / raw fdatasync loop" % writers,
               lambda get: get("durable", "ours, on disk, %d" % writers, "ratio"), 2.5, least=True)
    yield from memory_goals()
    yield Goal("Extend while the others generate keys: p99 / alone", lambda get: get("neighbours", "ours", "ratio"), 3.0)


def judge(tables, effort):
    """The table of the goals about what was measured."""
    by_name = {t.name: t for t in tables}
    found = []
    for goal in goals(effort):
        with contextlib.suppress(KeyError):
            value = goal.value(by_name)
            if value is not None or not goal.optional:
                found.append((goal, value))
    table = Table("goals", "Goals", [Column("measured", "measured"), Column("goal", "goal"), Column("reached", "reached")],
                  [g.name for g, _ in found], "figure")
    for goal, value in found:
        if value is not None:
            table.put(goal.name, measured=with_unit(value * goal.scale, goal.unit), value=value,
                      goal=(">= " if goal.least else "<= ") + with_unit(goal.bound * goal.scale, goal.unit),
                      reached="yes" if goal.reached(value) else "NO")
    return table


def with_unit(value, unit):
    return ("%.3g %s" if abs(value) < 1000 else "%.0f %s") % (value, unit)

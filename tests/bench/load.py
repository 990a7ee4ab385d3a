# SPDX-License-Identifier: Apache-2.0
"""Drives bench_load (load.c): groups of guests, what they send, and how long each command took."""
import contextlib
import os
import statistics
import subprocess

import rig
from tpm12 import ORD


def tool(name):
    """Of the build that is measured; an installed server, or another tree's, is measured with this tree's."""
    places = [os.path.join(rig.BIN, "../tests"), os.path.join(os.path.dirname(__file__), "../../build/release/tests")]
    return next((p for p in (os.path.join(place, name) for place in places) if os.path.exists(p)), name)


PROGRAM, LIMIT = tool("bench_load"), tool("bench_limit")


def quantile(samples, q):
    """Of any numbers; None of none."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else None


class Ran:
    """What came of one pair of a run; seconds."""

    def __init__(self, line):
        numbers = [int(n) for n in line.split()[1:]]
        self.commands, self.wall, self.cpu = numbers[0], numbers[1] / 1e9, numbers[2] / 1e9
        self.samples = [n / 1e9 for n in numbers[3:]]

    @property
    def rate(self):
        return self.commands / self.wall


class Load:
    def __init__(self, cpus):
        self.p = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True)
        os.sched_setaffinity(self.p.pid, cpus)

    def ask(self, *words, answers=1):
        with contextlib.suppress(BrokenPipeError):
            self.p.stdin.write(" ".join(str(w) for w in words) + "\n")
            self.p.stdin.flush()
        lines = [self.p.stdout.readline() for _ in range(answers)]
        if not all(lines):
            raise AssertionError("bench_load ended at %r: %s" % (" ".join(map(str, words[:2])), self.p.stderr.read()))
        return [line.strip() for line in lines]

    def open(self, group, kind, address, identity="", key=""):
        """kind: raw, tls, vtpm."""
        self.ask("open", group, kind, address, *([identity, key] if identity else []))

    def close(self, group):
        self.ask("close", group)

    def recipe(self, group, name, ordinal, handles=b"", params=b"", auths=(), osap=None, vary=None, take=False, keep=False):
        """osap: (entity type, entity, its secret, the new secret that the parameters begin with). vary: where in the
        parameters four bytes count up. take: the handle comes from what a recipe with keep has left."""
        words = [group, name, "%x" % ORD[ordinal], handles.hex() or "-", params.hex() or "-"]
        for secret in auths:
            words += ["auth", secret.hex()]
        if osap:
            words += ["osap", "%x" % osap[0], "%x" % osap[1], osap[2].hex(), osap[3].hex()]
        if vary is not None:
            words += ["vary", vary]
        self.ask("recipe", *words, *(["take"] if take else []), *(["keep"] if keep else []))

    def prepare(self, group, name, count=0):
        self.ask("prepare", group, name, count)

    def run(self, ms, count, *pairs):
        """pairs: (group or group:first, names joined by +); a Ran for each."""
        lines = self.ask("run", ms, count, *[word for pair in pairs for word in pair], answers=len(pairs))
        return [Ran(line) for line in lines]

    def transport(self, group):
        """For tpm12.Tpm; `seconds` is what the last command took."""
        def send(command):
            _, ns, answer = self.ask("send", group, command.hex())[0].split()
            send.seconds = int(ns) / 1e9
            return bytes.fromhex(answer)
        return send

    def stop(self):
        with contextlib.suppress(BrokenPipeError):
            self.p.stdin.close()
        self.p.wait(30)
        self.p.stdout.close()
        self.p.stderr.close()


def limit(*argv, cpus):
    """Numbers that bench_limit prints."""
    r = subprocess.run([LIMIT, *map(str, argv)], capture_output=True, text=True, timeout=120,
                       preexec_fn=lambda: os.sched_setaffinity(0, cpus))
    if r.returncode:
        raise AssertionError("bench_limit %s: %s" % (argv[0], r.stderr))
    return [int(n) for n in r.stdout.split()]


class BareRsa:
    """The private operation by itself, in a process that has its key already."""

    def __init__(self, cpus):
        self.p = subprocess.Popen([LIMIT, "rsa"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        os.sched_setaffinity(self.p.pid, cpus)

    def seconds(self, count):
        """CPU of one, the median of so many; the first ones, which find cold caches, left out."""
        self.p.stdin.write("%d\n" % (count + 2))
        self.p.stdin.flush()
        return statistics.median(int(n) for n in self.p.stdout.readline().split()[2:]) / 1e9

    def stop(self):
        self.p.stdin.close()
        self.p.wait(30)
        self.p.stdout.close()

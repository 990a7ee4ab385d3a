# SPDX-License-Identifier: Apache-2.0
"""Scale and density (issue 8): 10,000 instances, 1,000 guests at once, within 2 GiB. Prints a table of figures; fails only
when something does not work. `tests/scale/run --help`."""
import argparse
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

import memory
from crowd import Crowd, make_instances
from hosttpm import Tpm2
from rig import Process, Rig, check, program, wait_until

KIB = 1024
PCR_READ = bytes.fromhex("00c10000000e0000001500000000")
EXTEND = bytes.fromhex("00c1000000220000001400000010" + "5a" * 20)
IDLE_S = 30
SWEEP_S = 11  # the server looks every 10 s for what nobody uses any more

ROWS = []


def figure(what, value, unit, goal=""):
    ROWS.append({"figure": what, "value": value, "unit": unit, "goal": goal})
    print("%-66s %10s %-4s %s" % (what, "%.2f" % value if isinstance(value, float) else value, unit, goal), flush=True)


class Scale:
    def __init__(self, rig, args):
        self.rig, self.args = rig, args
        self.group = memory.Group(args.limit_mib * KIB * KIB)
        self.list = rig.path("list")
        base = "/dev/shm" if os.path.isdir("/dev/shm") else None
        rig.run = tempfile.mkdtemp(prefix="vtpm-scale-", dir=base)

    def close(self):
        shutil.rmtree(self.rig.run, ignore_errors=True)
        if self.rig.server and self.rig.server.p.poll() is None:
            self.rig.server.stop()
        wait_until(self.group_is_empty, "the group's processes end")
        self.group.remove()

    def group_is_empty(self):
        if not self.group.path:
            return True
        with open(os.path.join(self.group.path, "cgroup.procs")) as f:
            return not f.read()

    def start(self, *more):
        """Milliseconds until `ready`."""
        begun = time.monotonic()
        argv = [program("vtpm-server"), "--data-dir", self.rig.data, "--runtime-dir", self.rig.run, "--keyslot",
                "keyfile:" + self.rig.keyfile, "--listen", self.rig.listen, "--admin", self.rig.admin, "--allow-root",
                "--idle-timeout", str(self.args.idle), *more]
        log = self.rig.path("server.log")
        mark = os.path.getsize(log) if os.path.exists(log) else 0
        self.rig.server = Process(argv, log, preexec_fn=self.group.enter)
        while "vtpm-server: ready" not in self.rig.server.text(mark):
            if self.rig.server.p.poll() is not None:
                raise AssertionError("the server did not start:\n" + self.rig.server.text(mark))
            time.sleep(0.005)
        return (time.monotonic() - begun) * 1000

    # ---- Memory ----

    def engines(self):
        """Of instances: other children of the zygote are not theirs."""
        return self.rig.ctl_json("status")["status"]["engines"]

    def processes(self):
        broker = self.rig.server.p.pid
        zygote, = memory.children(broker)
        return broker, zygote, memory.children(zygote)

    def sample(self):
        broker, zygote, sandboxes = self.processes()
        return {"broker": memory.own(broker), "zygote": memory.own(zygote), "engines": self.engines(),
                "sandboxes": sum(memory.own(pid) for pid in sandboxes),
                "runtime": memory.disk_in_memory(self.rig.run),
                "all": self.group.used() if self.group.path else 0}

    def density(self, what, few, few_at, many, many_at, goal):
        """Difference quotients between two samples, KiB for each guest."""
        n = many_at - few_at

        def each(key):
            return (many[key] - few[key]) / n / KIB
        user = each("broker") + each("zygote") + each("sandboxes")
        figure("%s: broker" % what, each("broker"), "KiB")
        if many["engines"]:
            figure("%s: sandbox" % what, each("sandboxes"), "KiB")
            figure("%s: zygote" % what, each("zygote"), "KiB")
        figure("%s: runtime file" % what, each("runtime"), "KiB")
        figure("%s: private pages, page tables, runtime file" % what, user + each("runtime"), "KiB", goal)
        if self.group.path:
            figure("%s: and all that the kernel holds" % what, each("all"), "KiB")

    # ---- The course ----

    def inventory(self):
        self.rig.server.stop()
        self.start()
        self.bare = self.sample()
        begun = time.monotonic()
        make_instances(self.rig.admin, self.args.instances, self.list)
        figure("create an instance without EK, each of %d" % self.args.instances,
               (time.monotonic() - begun) * 1e3 / self.args.instances, "ms")
        figure("bytes on disk, each", os.path.getsize(self.rig.data + "/vtpm.db") // self.args.instances, "B")

    def starts(self):
        self.rig.server.stop()
        figure("start, after a clean stop", self.start(), "ms", "<= 2000")
        self.rig.server.kill9()
        figure("start, after kill -9", self.start(), "ms", "<= 2000")
        full = self.sample()
        figure("not connected: broker, each of the inventory",
               (full["broker"] - self.bare["broker"]) / self.args.instances / KIB, "KiB", "<= 1")
        figure("broker without an instance", self.bare["broker"] / KIB / KIB, "MiB")
        figure("zygote", full["zygote"] / KIB / KIB, "MiB")

    def looks(self):
        def timed(what, call):
            begun = time.monotonic()
            call()
            figure(what, (time.monotonic() - begun) * 1e3, "ms")

        def sql(query):
            with sqlite3.connect("file:%s/vtpm.db?mode=ro" % self.rig.data, uri=True) as db:
                return db.execute(query).fetchall()
        timed("vtpmctl instance list", lambda: self.rig.ctl("instance", "list"))
        timed("vtpmctl instance show", lambda: self.rig.ctl("instance", "show", "g00001"))
        timed("vtpmctl status", lambda: self.rig.ctl("status"))
        timed("sqlite: select * from inventory", lambda: sql("select * from inventory"))
        timed("sqlite: one row by name", lambda: sql("select * from inventory where name = 'g00001'"))

    def guests(self):
        few = self.args.guests // 10
        empty = self.sample()
        crowd = Crowd(self.rig.listen, self.list)
        figure("first %d guests attached and on" % few, crowd.attach(few), "ms")
        crowd.run(EXTEND)
        at_few = self.sample()
        figure("all %d guests attached and on" % self.args.guests, crowd.attach(self.args.guests), "ms")
        for k in range(3):
            ms, p50, p99, most = crowd.run(EXTEND)
        figure("Extend by all at once: all", ms, "ms")
        figure("Extend by all at once: p99", p99, "us")
        at_many = self.sample()
        check(at_many["engines"] == self.args.guests, "an engine for each guest")
        self.density("active", at_few, few, at_many, self.args.guests, "<= 256")
        figure("everything, %d guests active: processes and runtime files" % self.args.guests,
               sum(at_many[k] for k in ("broker", "zygote", "sandboxes", "runtime")) / KIB / KIB, "MiB")
        wait_until(lambda: not self.engines(), "idle engines leave", 120)
        time.sleep(SWEEP_S)
        idle = self.sample()
        self.density("paged out, connected", empty, 0, idle, self.args.guests, "<= 64")
        ms, p50, p99, most = crowd.run(PCR_READ)
        figure("cold to first answer, all at once: each", ms / self.args.guests, "ms", "<= 10")
        check(crowd.drops() == 0, "no connection was lost")
        return crowd

    def cpu_ms(self):
        """Of the server's three kinds of processes, as they are now."""
        broker, zygote, sandboxes = self.processes()
        return sum(map(memory.cpu_ns, [broker, zygote, *sandboxes])) / 1e6

    def storm(self, crowd, how, sig):
        mark = os.path.getsize(self.rig.path("server.log"))
        self.rig.server.stop(sig) if sig != signal.SIGKILL else self.rig.server.kill9()
        crowd.ask("lost", "lost")
        begun = time.monotonic()
        self.start()
        ready = time.monotonic()
        count, _ = crowd.ask("back", "back")
        figure("storm after %s: from ready to all %d attached" % (how, count), (time.monotonic() - ready) * 1e3, "ms")
        figure("storm after %s: CPU of the server, each" % how, self.cpu_ms() / count, "ms")
        figure("storm after %s: from start to the last answer" % how, (crowd.run(EXTEND), (time.monotonic() - begun) * 1e3)[1], "ms")
        text = self.rig.server.text(mark)
        figure("storm after %s: sent away, to come again" % how, len(re.findall("refused .*too many|refused .* more", text)), "")
        check("handshake took too long" not in text, "no handshake met its time limit")

    def newcomers(self):
        """A guest that is there is answered while all the others come."""
        witness_list, rest = self.rig.path("first"), self.rig.path("rest")
        with open(self.list) as f:
            lines = f.readlines()
        with open(witness_list, "w") as f:
            f.write(lines[0])
        with open(rest, "w") as f:
            f.writelines(lines[1:self.args.guests])
        witness, others = Crowd(self.rig.listen, witness_list), Crowd(self.rig.listen, rest)
        witness.attach(1)
        witness.one(0, EXTEND)
        took, over = [], threading.Event()

        def ask():
            while not over.is_set():
                took.append(witness.one(0, EXTEND))
                time.sleep(0.002)
        thread = threading.Thread(target=ask)
        thread.start()
        ms = others.attach(self.args.guests - 1)
        over.set()
        thread.join()
        took.sort()
        figure("%d newcomers: all attached" % (self.args.guests - 1), ms, "ms")
        figure("meanwhile one that was there: Extend, p50 of %d" % len(took), took[len(took) // 2], "us")
        figure("meanwhile one that was there: Extend, p99", took[-1 - len(took) // 100], "us")
        figure("meanwhile one that was there: Extend, longest", took[-1], "us")
        witness.close()
        others.close()

    def after(self, empty):
        wait_until(lambda: self.rig.ctl_json("status")["status"]["channels"] == 0, "all have gone")
        wait_until(lambda: not self.engines(), "engines leave", 120)
        time.sleep(SWEEP_S)
        gone = self.sample()
        figure("broker, all have gone: more than at its start", (gone["broker"] - empty["broker"]) / KIB, "KiB")
        figure("runtime files that stay, each that was on", gone["runtime"] / KIB / self.args.guests, "KiB")

    def anchored(self):
        """With a host TPM: swtpm as a TPM 2.0."""
        if not shutil.which("swtpm"):
            return
        place = "tpm2:" + Tpm2(self.rig, "host").spec
        self.rig.server.stop()
        self.start("--hwtpm", "none", "--anchor", place)
        self.rig.ctl("anchor")
        self.rig.server.stop()
        figure("start, after a clean stop, anchored in a TPM 2.0", self.start("--hwtpm", "none", "--anchor", place), "ms",
               "<= 2000")
        self.rig.server.kill9()
        figure("start, after kill -9, anchored in a TPM 2.0", self.start("--hwtpm", "none", "--anchor", place), "ms",
               "<= 2000")

    def go(self):
        self.rig.init()
        self.start()
        self.inventory()
        self.starts()
        empty = self.sample()
        self.looks()
        crowd = self.guests()
        self.storm(crowd, "SIGTERM", signal.SIGTERM)
        self.storm(crowd, "kill -9", signal.SIGKILL)
        crowd.close()
        self.rig.server.stop()
        self.start()
        empty = self.sample()
        self.newcomers()
        self.after(empty)
        self.anchored()
        if self.group.path:
            figure("most that the group ever had, cache of files included", self.group.most() // KIB // KIB, "MiB",
                   "<= %d" % self.args.limit_mib)


def options():
    p = argparse.ArgumentParser(prog="tests/scale/run", description=__doc__)
    p.add_argument("--instances", type=int, default=10000)
    p.add_argument("--guests", type=int, default=1000)
    p.add_argument("--idle", type=int, default=IDLE_S, help="seconds until an idle engine leaves")
    p.add_argument("--limit-mib", type=int, default=2048)
    p.add_argument("--json", action="store_true")
    return p.parse_args()


def main():
    args = options()
    with Rig() as rig:
        scale = Scale(rig, args)
        try:
            scale.go()
        finally:
            scale.close()
    if args.json:
        print(json.dumps(ROWS))


main()

# SPDX-License-Identifier: Apache-2.0
"""kill -9 of server, sandboxes, zygote and shims, in random order at random moments, under load from many guests:
nothing is lost and nothing is applied twice. What each TPM must hold is known to kills_guest.py."""
import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import threading
import time

from kills_guest import Guest, Randoms
from rig import Process, Rig, check, program

VICTIMS = {"server": 25, "sandbox": 35, "zygote": 15, "shim": 25}
# A kill comes after so many commands more (0: on the heels of the last one), or when nothing moves for a while.
COMMANDS_BETWEEN = (0, 0, 5, 20, 40, 80)
QUIET_S = 8


class Kept:
    """A daemon that is started again whenever it was killed. Nobody else may end it."""

    def __init__(self, process, rng):
        self.argv, self.log, self.rng = process.argv, process.log, rng
        self.deaths = 0                     # kills sent
        self.life = 0                       # which process it is; it is doomed once deaths > life
        self.failure, self.stopping = None, False
        self.lock = threading.Lock()
        self.process = process
        self.pidfd = os.pidfd_open(process.p.pid)
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while True:
            status = self.process.p.wait()
            if self.stopping:
                return
            if status != -signal.SIGKILL or self.deaths != self.life + 1:
                self.failure = "%s ended by itself with status %d in life %d" % (self.argv[0], status, self.life)
                return
            time.sleep(self.rng.choice((0, 0, 0.05, 0.3)))
            with self.lock:
                if self.stopping:
                    return
                os.close(self.pidfd)
                self.process.out.close()
                self.life += 1
                self.process = Process(self.argv, self.log)
                self.pidfd = os.pidfd_open(self.process.p.pid)

    def kill(self):
        """False: it is dead already."""
        with self.lock:
            if self.deaths > self.life:
                return False
            self.deaths += 1
            with contextlib.suppress(ProcessLookupError):   # it ended by itself: watch() tells
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        return True

    def stop(self, sig=signal.SIGTERM):
        """Its exit status."""
        with self.lock:
            self.stopping = True
        status = self.process.stop(sig)
        self.thread.join(10)
        return status


def parent(pid):
    with open("/proc/%d/stat" % pid) as f:
        return int(f.read().rsplit(")", 1)[1].split()[1])


def children(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            return [int(p) for p in f.read().split()]
    except OSError:
        return []


def kill_child(pid, of):
    """Only if it is still the same process."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if parent(pid) != of:
            return False
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


class Killer:
    def __init__(self, rng, server, guests):
        self.rng, self.server, self.guests = rng, server, guests
        self.counts = dict.fromkeys(VICTIMS, 0)
        self.quiet = 0

    def total(self):
        return sum(self.counts.values())

    def commands(self):
        return sum(g.commands for g in self.guests)

    def zygote(self):
        return next(iter(children(self.server.process.p.pid)), None)

    def kill(self, victim):
        if victim == "server":
            return self.server.kill()
        if victim == "shim":
            return self.rng.choice(self.guests).shim.kill()
        zygote = self.zygote()
        if not zygote:
            return False
        if victim == "zygote":
            return kill_child(zygote, self.server.process.p.pid)
        sandboxes = children(zygote)
        return bool(sandboxes) and kill_child(self.rng.choice(sandboxes), zygote)

    def kill_one(self):
        """One of the kinds, chosen anew until one is alive."""
        for _ in range(1000):
            victim = self.rng.choices(list(VICTIMS), VICTIMS.values())[0]
            if self.kill(victim):
                self.counts[victim] += 1
                return
            time.sleep(0.005)
        raise AssertionError("nothing is left to kill")

    def failures(self):
        found = [g.failure for g in self.guests] + [k.failure for k in [self.server] + [g.shim for g in self.guests]]
        return [f for f in found if f]

    def wait(self, end):
        """A random moment: after some commands more, and then anywhere within one."""
        until, began = self.commands() + self.rng.choice(COMMANDS_BETWEEN), time.monotonic()
        while self.commands() < until and not self.failures():
            now = time.monotonic()
            if now > end or now - began > QUIET_S:
                self.quiet += now < end
                break
            time.sleep(0.01)
        time.sleep(self.rng.uniform(0, 0.03))

    def run(self, kills, seconds):
        end = time.monotonic() + seconds
        while self.total() < kills and time.monotonic() < end and not self.failures():
            self.wait(end)
            self.kill_one()
            if self.total() % 100 == 0:
                print("... %d kills, %d commands" % (self.total(), self.commands()), flush=True)


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--kills", type=int, default=1000, help="so many, if the time allows")
    p.add_argument("--at-least", type=int, default=None, help="fewer in the time are a failure (default: --kills)")
    p.add_argument("--guests", type=int, default=20)
    p.add_argument("--seconds", type=int, default=3000)
    p.add_argument("--seed", type=int, default=None)
    p.add_argument("--keep", metavar="DIR", help="a copy of the store and the logs, if something was lost")
    a = p.parse_args()
    a.at_least = min(a.kills, a.at_least if a.at_least is not None else a.kills)
    a.seed = a.seed if a.seed is not None else random.SystemRandom().randrange(1 << 32)
    return a


def each(guests, act):
    """All guests at once; the failures."""
    failures = []

    def one(guest):
        try:
            act(guest)
        except Exception as e:
            failures.append("%s: %s" % (guest.name, e))
    threads = [threading.Thread(target=one, args=(g,)) for g in guests]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return failures


def fail_if(failures):
    if failures:
        raise AssertionError("\n".join(failures))


def set_up(rig, args):
    randoms = Randoms()
    guests = [Guest(rig, "guest%02d" % n, "%d/%d" % (args.seed, n), randoms) for n in range(args.guests)]
    for guest in guests:
        rig.create(guest.name)
        rig.start_shim(guest.name)
        guest.connect()
    fail_if(each(guests, Guest.prepare))
    return guests


def under_fire(guests, killer, args):
    for guest in guests:
        guest.start()
    killer.run(args.kills, args.seconds)
    fail_if(killer.failures())
    # The dead come back; each guest goes on for a while, then ends with what it is at.
    time.sleep(2)
    for guest in guests:
        guest.stopping.set()
    for guest in guests:
        guest.join()
    fail_if(killer.failures())


def audit_all(guests, when):
    def audit(guest):
        guest.audit()
    fail_if(each(guests, audit))
    print("ok: %s: PCRs, NV, keys and sessions of all %d guests are what they must be" % (when, len(guests)))


def orphans():
    """Engines of this build whose server is gone."""
    engine, found = os.path.realpath(program("vtpm-engine")), []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            if os.path.realpath("/proc/%d/exe" % pid) == engine and parent(pid) == 1:
                found.append(pid)
        except OSError:
            continue
    return found


def log_findings(rig):
    """What a log must not say after kills from outside."""
    words = ("AddressSanitizer", "LeakSanitizer", "runtime error", "is broken", "broken, kept", "needs a power on",
             "outcome of command", "Assertion")
    found = []
    for name in sorted(n for n in os.listdir(rig.dir) if n.endswith(".log")):
        with open(rig.path(name), errors="replace") as f:
            found += ["%s: %s" % (name, line.strip()) for line in f if any(w in line for w in words)]
    return found[:20]


def report(args, killer, guests, seconds):
    cuts, applied = sum(g.cuts for g in guests), sum(g.cuts_applied for g in guests)
    print("seed %d: %d kills in %.0f s (%s), %d guests, %d commands" %
          (args.seed, killer.total(), seconds, ", ".join("%s %d" % kv for kv in killer.counts.items()), len(guests),
           killer.commands()))
    print("commands cut by their shim's death: %d, seen to be applied: %d" % (cuts, applied))
    print("slowest answer %.2f s; slowest way back after a shim's death %.2f s; %d kills after %d s without much going on" %
          (max(g.slowest for g in guests), max(g.slowest_cut for g in guests), killer.quiet, QUIET_S), flush=True)


def run(rig, args, stack):
    rng = random.Random(args.seed)
    rig.init()
    rig.start_server()
    guests = set_up(rig, args)
    print("%d guests are set up" % len(guests), flush=True)

    def keep(process):
        kept = Kept(process, random.Random(rng.random()))
        stack.callback(kept.stop, signal.SIGKILL)
        return kept
    for guest, shim in zip(guests, list(rig.others)):
        guest.shim = keep(shim)
    server = keep(rig.server)
    killer = Killer(rng, server, guests)
    began = time.monotonic()
    try:
        under_fire(guests, killer, args)
    finally:
        report(args, killer, guests, time.monotonic() - began)
    audit_all(guests, "after the last kill")
    check(server.stop() == 0, "the server stops on SIGTERM with exit 0")
    check(not orphans(), "no engine outlives its server")
    rig.start_server()
    audit_all(guests, "after a clean restart")
    for guest in guests:
        check(rig.state(guest.name) == "on", "%s is on" % guest.name)
        check(guest.shim.stop() == 0, "its shim stops with exit 0")
    check("broken" not in rig.ctl("events", "--verify").stdout, "the events verify; none tells of a broken instance")
    rig.ctl("check")
    found = log_findings(rig)
    check(not found, "the logs tell of no damage" + "".join("\n  " + f for f in found))
    check(rig.server.stop() == 0, "the server stops with exit 0")
    check(killer.total() >= args.at_least, "%d kills, at least %d were asked for" % (killer.total(), args.at_least))


def main():
    args = arguments()
    print("seed %d (give it with --seed)" % args.seed, flush=True)
    with Rig() as rig, contextlib.ExitStack() as stack:
        try:
            run(rig, args, stack)
        except BaseException:
            if args.keep:
                shutil.copytree(rig.dir, args.keep, ignore=lambda d, names: [n for n in names if n.endswith((".tpm", ".sock"))])
            raise
    print("kills: nothing lost, nothing twice")


if __name__ == "__main__":
    sys.exit(main())

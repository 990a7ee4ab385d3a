# SPDX-License-Identifier: Apache-2.0
"""Guests that send long commands without end leave the others their turn, and one with limits keeps to them: delayed,
never refused. What vtpmctl says of it, and that limits go where the instance goes."""
import os
import struct
import threading
import time

from guest import Neighbour
from rig import Rig, check, wait_until
from tpm12 import Socket

FLOODERS = 8
SELF_TEST = struct.pack(">HII", 0xC1, 10, 0x50)  # long, and nothing has to be made before


class Flooder(threading.Thread):
    """SelfTestFull without end; counts, and minds every answer."""

    def __init__(self, rig, name):
        super().__init__(daemon=True)
        rig.create(name, "--no-ek")
        rig.start_shim(name)
        self.name, self.socket = name, Socket(rig.path(name + ".tpm"), timeout=120)
        self.count, self.over, self.bad = 0, False, None

    def run(self):
        while not self.over and not self.bad:
            answer = self.socket(SELF_TEST)
            if answer[6:10] != bytes(4):
                self.bad = answer
            self.count += 1


def start_on_one_processor(rig):
    all_of_them = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(all_of_them)})
    try:
        rig.start_server()
    finally:
        os.sched_setaffinity(0, all_of_them)


def scheduler(rig):
    return rig.ctl_json("status")["status"]["scheduler"]


def flood(rig):
    flooders = [Flooder(rig, "flood%d" % k) for k in range(FLOODERS)]
    victim = Neighbour(rig, "victim")
    for f in flooders:
        f.start()
    seen = wait_until(lambda: (lambda s: s["waiting"] and s)(scheduler(rig)), "long commands that wait")
    check(seen["slots"] == 2 and seen["running"] <= 2, "one processor, two long commands at once, the others wait: %s" % seen)
    before = [f.count for f in flooders]
    victim.went_on()
    victim.went_on(200)
    wait_until(lambda: min(f.count - b for f, b in zip(flooders, before)) >= 10 or [f for f in flooders if f.bad],
               "each of the flooders goes on")
    counts = [f.count - b for f, b in zip(flooders, before)]
    check(not [f for f in flooders if f.bad], "no flooder was given an error: %s" % counts)
    # The same commands from all of them, and a queue that is never empty: nobody gets much more than another.
    check(max(counts) <= 4 * min(counts), "each flooder had its share: %s" % counts)
    for f in flooders:
        f.over = True
    for f in flooders:
        f.join()
    victim.over = True
    victim.join()
    check(not victim.error and scheduler(rig)["waiting"] == 0, "nobody waits any more")


def refused(rig, code, words, *argv):
    r = rig.ctl("instance", "limits", *argv, ok=False)
    check(r.returncode == code and words in r.stderr and not r.stdout,
          "instance limits %s: exit %d: %s" % (" ".join(argv), r.returncode, r.stderr.strip()))


def verbs(rig):
    rig.create("web", "--no-ek")
    check(rig.ctl("instance", "limits", "web").stdout == "weight 100, no limit\n", "the usual ones")
    rig.ctl("instance", "limits", "web", "--weight", "50", "--commands-per-second", "20", "--burst", "4", "--cpu-percent", "30")
    check(rig.ctl("instance", "limits", "web").stdout == "weight 50, 20 commands/s (burst 4), 30 % of a core\n", "as set")
    rig.ctl("instance", "limits", "web", "--cpu-percent", "0")
    pace = {"weight": 50, "commands_per_second": 20, "burst": 4, "cpu_percent": 0}
    check(rig.ctl_json("instance", "limits", "web") == {"pace": pace}, "one taken away, the others stay")
    shown = rig.ctl_json("instance", "show", "web")["instances"][0]
    check(shown["pace"] == pace and shown["held"] == 0 and shown["turn"] == "", "instance show has them: %s" % shown)
    check("share        weight 50, 20 commands/s (burst 4)\n" in rig.ctl("instance", "show", "web").stdout, "for people too")
    event = [e for e in rig.ctl_json("events")["events"] if e["kind"] == "limits"][-1]
    check("weight 50, 20 commands/s (burst 4)" in event["text"] and "uid=" in event["peer"], "an event: %s" % event["text"])
    for argv, code, words in ((("web", "--weight", "0"), 2, "from 1 to 10000"), (("web", "--weight", "10001"), 2, "10000"),
                              (("web", "--cpu-percent", "x"), 2, "from 0 to"), (("web", "--cpu-percent", "-1"), 2, "from 0 to"),
                              (("web", "--commands-per-second", "1000001"), 2, "1000000"),
                              (("web", "--burst", ""), 2, "from 0 to"), (("web", "--clear", "--weight", "1"), 2, "--clear"),
                              (("web", "--pcr", "1"), 2, "--pcr"), (("nobody", "--weight", "1"), 3, "nobody"),
                              (("nobody",), 3, "nobody"), ((), 2, "I is missing")):
        refused(rig, code, words, *argv)
    rig.ctl("instance", "limits", "web", "--clear")
    refused(rig, 2, "a burst is for who has a limit", "web", "--burst", "5")
    check(rig.ctl("instance", "limits", "web").stdout == "weight 100, no limit\n", "cleared, and what was refused changed nothing")


def keeps_to_it(rig):
    """A lower bound of time: no load of the machine makes it shorter."""
    rig.create("capped", "--no-ek")
    rig.ctl("instance", "limits", "capped", "--commands-per-second", "10", "--burst", "2")
    rig.start_shim("capped")
    tpm = rig.tpm("capped")
    tpm.extend(7, b"\x01" * 20)
    begun = time.monotonic()
    for _ in range(12):
        tpm.extend(7, b"\x01" * 20)
    check(time.monotonic() - begun >= 0.95, "12 commands at 10 a second and 2 at once take a second, and none is refused")
    check(rig.ctl_json("instance", "show", "capped")["instances"][0]["held"] >= 1, "instance show counts them")
    rig.ctl("instance", "limits", "capped", "--commands-per-second", "0")
    pcr = tpm.extend(7, b"\x01" * 20)
    check(rig.others[-1].stop() == 0 and len(pcr) == 20, "lifted")


def moves(rig):
    with Rig() as other:
        other.init()
        other.start_server()
        for a, b, name in ((rig, other, "there"), (other, rig, "here")):
            with open(a.path(name + ".key"), "w") as f:
                f.write(b.ctl("server", "key", "show").stdout)
            a.ctl("server", "peer", "add", name, "--key", a.path(name + ".key"))
        rig.ctl("instance", "limits", "capped", "--weight", "3", "--cpu-percent", "9")
        rig.ctl("instance", "export", "capped", "--to", "there", "--out", rig.path("bundle"))
        other.ctl("instance", "import", rig.path("bundle"))
        check(other.ctl("instance", "limits", "capped").stdout == "weight 3, 9 % of a core\n", "the limits moved")


def main():
    with Rig() as rig:
        rig.init()
        start_on_one_processor(rig)
        verbs(rig)
        keeps_to_it(rig)
        flood(rig)
        moves(rig)


main()

# SPDX-License-Identifier: Apache-2.0
"""The host's PCRs in a guest's own, from a real TPM of either kind: as computed here, at each power on, or no power on."""
import os
import signal
import sys
import time

from hosttpm import Tpm2, Tpm12
from rig import Rig, check, need, run, wait_until
from tpm12 import sha1

FAIL = 9
ZERO = bytes(20)


def expected(value):
    """The rule of docs/record-and-recovery.md, "The host in a guest's PCRs"."""
    return sha1(ZERO + sha1(value))


def is_host(guest, tpm, pcrs, how):
    for n in pcrs:
        check(guest.pcr(n) == expected(tpm.pcr(n)), "%s: PCR %d is extended with the host's" % (how, n))
    for n in set(range(16)) - set(pcrs):
        check(guest.pcr(n) == ZERO, "%s: PCR %d begins with zeros" % (how, n))


def start(rig, tpm):
    rig.start_server("--hwtpm", "%s:%s" % (tpm.kind, tpm.spec))


def cycle(rig, name="web"):
    """As a guest's machine that is switched off and on: the shim attaches again."""
    mark = len(rig.shim.text())
    rig.ctl("instance", "power-cycle", name)
    rig.shim.wait_line("powered on|refused|host's PCRs", mark)
    return mark


def begin(rig, tpm):
    for n in (0, 4, 7):
        tpm.extend(n, b"firmware %d" % n)
    rig.init()
    start(rig, tpm)
    rig.create("web", "--host-pcrs", "0-7")
    rig.shim = rig.start_shim("web")
    return rig.tpm("web")


def power(rig, tpm, guest):
    is_host(guest, tpm, range(8), "first power on")
    check(rig.ctl("instance", "host-pcrs", "web").stdout == "0,1,2,3,4,5,6,7\n", "vtpmctl tells which")
    check(rig.ctl_json("instance", "show", "web")["instances"][0]["host_pcrs"] == list(range(8)), "in JSON too")
    rig.server.kill9()
    if tpm.kind == "tpm2":
        tpm.tidy()
    start(rig, tpm)
    is_host(guest, tpm, range(8), "the server was killed")
    guest.extend(0, b"\1" * 20)
    seven = guest.pcr(7)
    tpm.extend(7, b"another key")
    check(guest.pcr(7) == seven, "a change of the host while the guest runs changes nothing")
    cycle(rig)
    check(guest.pcr(7) != seven, "at the next power on it does")
    is_host(guest, tpm, range(8), "after it")
    tpm.reboot()
    cycle(rig)
    is_host(guest, tpm, range(8), "another boot of the host")
    texts = [e["text"] for e in rig.ctl_json("events")["events"] if e["kind"] == "power-on"]
    check(texts == ["powered on, with the host's PCR 0,1,2,3,4,5,6,7"] * 3, "each is an event")


def change(rig, tpm, guest):
    rig.ctl("instance", "host-pcrs", "web", "0,2,15")
    rig.ctl("instance", "measure", "web", "--pcr", "2", "--digest", "11" * 20)
    cycle(rig)
    check(guest.pcr(2) == sha1(expected(tpm.pcr(2)) + b"\x11" * 20), "the host first, then what the toolstack queued")
    check(guest.pcr(15) == expected(tpm.pcr(15)) and guest.pcr(7) == ZERO, "other PCRs, from the next power on")
    for argv, code, word in ((("create", "bad", "--host-pcrs", "0-16"), 2, "0 to 15"),
                             (("host-pcrs", "web", "23"), 2, "0 to 15"), (("host-pcrs", "web", "x"), 2, "0 to 15"),
                             (("host-pcrs", "nobody", "1"), 3, "nobody"), (("host-pcrs", "nobody"), 3, "nobody")):
        r = rig.ctl("instance", *argv, ok=False)
        check(r.returncode == code and word in r.stderr, "%s: exit %d" % (" ".join(argv), code))


def is_refused(rig, guest, how, *words):
    mark = cycle(rig)
    begun = time.monotonic()
    check(guest.raw("PcrRead", params=bytes(4))[0] == FAIL, "%s: the guest has no TPM" % how)
    check(guest.startup() == FAIL, "%s: nor can it start one" % how)
    check(time.monotonic() - begun < 5, "%s: and is told at once" % how)
    for word in words:
        rig.shim.wait_line(word, mark)
    check(rig.state("web") == "off", "%s: the instance stays off" % how)
    event = [e for e in rig.ctl_json("events")["events"] if e["kind"] == "power-on-refused"][-1]
    check("host-pcrs I none" in event["text"], "%s: the event has the way out" % how)


def away(rig, tpm, guest):
    """Fail closed; and again as soon as it answers."""
    tpm.stop()
    is_refused(rig, guest, "no TPM", "nobody (answers|listens) there")
    tpm.start()
    tpm.extend(0, b"firmware again")
    cycle(rig)
    is_host(guest, tpm, (0, 2, 15), "the TPM is back")
    tpm.p.p.send_signal(signal.SIGSTOP)
    is_refused(rig, guest, "a TPM that hangs", "does not answer within")
    tpm.p.p.send_signal(signal.SIGCONT)

    def answered():
        cycle(rig)
        return guest.raw("PcrRead", params=bytes(4))[0] == 0
    wait_until(answered, "the TPM answers again")
    is_host(guest, tpm, (0, 2, 15), "it goes on")
    check(rig.server.stop() == 0, "the server stops")
    rig.start_server("--hwtpm", "none")
    is_refused(rig, guest, "a server that uses no TPM", "--hwtpm")
    r = rig.ctl("instance", "host-pcrs", "web", "1", ok=False)
    check(r.returncode == 4 and "--hwtpm" in r.stderr, "it does not take the order either: " + r.stderr.strip())
    rig.ctl("instance", "host-pcrs", "web", "none")
    cycle(rig)
    check(guest.pcr(0) == ZERO and rig.ctl("instance", "host-pcrs", "web").stdout == "none\n", "without, by order")
    rig.server.stop()
    start(rig, tpm)


def left_to_the_guest(rig, tpm):
    """A shim that starts nothing: the guest would, without the host."""
    rig.create("loose", "--host-pcrs", "7")
    shim = rig.start_shim("loose", extra=("--startup", "none"))
    shim.wait_line("--startup clear")
    guest = rig.tpm("loose")
    check(guest.startup() == FAIL, "--startup none: refused, and the guest cannot start it")
    shim.stop()
    shim = rig.start_shim("loose", extra=("--startup", "state"))
    shim.wait_line("no state was saved")
    check(rig.tpm("loose").startup() == FAIL, "--startup state with nothing saved: the same")
    shim.stop()
    shim = rig.start_shim("loose")
    guest = rig.tpm("loose")
    is_host(guest, tpm, (7,), "--startup clear")
    before = guest.pcr(7)
    check(guest.raw("SaveState")[0] == 0, "the guest goes to sleep")
    shim.stop()
    rig.ctl("instance", "power-cycle", "loose")
    tpm.extend(7, b"later")
    shim = rig.start_shim("loose", extra=("--startup", "state"))
    check(rig.tpm("loose").pcr(7) == before, "and wakes up with the PCRs that it had: nothing is extended again")
    shim.stop()


def moves(rig, tpm):
    """The setting goes along; the values are the target's."""
    with Rig() as other:
        there = type(tpm)(other, "there")
        there.extend(7, b"the firmware there")
        other.init()
        start(other, there)
        for a, b, name in ((rig, other, "there"), (other, rig, "here")):
            with open(a.path(name + ".key"), "w") as f:
                f.write(b.ctl("server", "key", "show").stdout)
            a.ctl("server", "peer", "add", name, "--key", a.path(name + ".key"))
        rig.create("mover", "--host-pcrs", "0,7")
        shim = rig.start_shim("mover")
        before = rig.tpm("mover").pcr(7)
        check(before == expected(tpm.pcr(7)), "at home: the host's")
        shim.stop()
        rig.ctl("instance", "export", "mover", "--to", "there", "--out", rig.path("bundle"))
        other.ctl("instance", "import", rig.path("bundle"))
        check(other.ctl("instance", "host-pcrs", "mover").stdout == "0,7\n", "the setting moved")
        other.shim = other.start_shim("mover", credential=rig.path("mover.cred"))
        guest = other.tpm("mover")
        check(guest.pcr(7) == before, "PCRs of a guest that goes on are as they were")
        cycle(other, "mover")
        is_host(guest, there, (0, 7), "at its next power on, the target's")


def life(kind):
    with Rig() as rig:
        tpm = kind(rig, "host")
        guest = begin(rig, tpm)
        power(rig, tpm, guest)
        change(rig, tpm, guest)
        away(rig, tpm, guest)
        left_to_the_guest(rig, tpm)
        moves(rig, tpm)


if __name__ == "__main__":
    need("swtpm", "tpm2_pcrextend")
    scenes = {"life2": lambda: life(Tpm2), "life12": lambda: life(Tpm12)}
    for name in sys.argv[1:] or scenes:
        print("---- " + name)
        scenes[name]()

# SPDX-License-Identifier: Apache-2.0
"""`vtpmctl binding` and the measured start, by the real programs: texts, exit codes, PCR values, kill -9 in between."""
import hashlib
import json
import os

from rig import Rig, check, wait_until
from tpm12 import TpmError

DRIVER = "6d3f1a2b-0c4d-4e5f-8a9b-0c1d2e3f4a5b"
ZEROS = bytes(20)


def refused(rig, code, words, *argv):
    r = rig.ctl(*argv, ok=False)
    check(r.returncode == code and words in r.stderr and not r.stdout,
          "vtpmctl %s: exit %d: %s" % (" ".join(argv), r.returncode, r.stderr.strip()))
    r = rig.ctl("--json", *argv, ok=False)
    error = json.loads(r.stdout)["error"]
    check(r.returncode == code and error["code"] == code and words in error["text"], "and the same as JSON")


# ---- Bindings ----

def peers(rig, *instance):
    return sorted((b["name"], b["peer"]) for b in rig.ctl_json("binding", "list", *instance)["bindings"])


def bindings(rig, uuid):
    check(peers(rig) == [], "no instance is bound at first")
    rig.ctl("binding", "add", "one", "--peer", "uuid:" + DRIVER.upper())
    rig.ctl("binding", "add", uuid, "--peer", "dom0")
    rig.ctl("binding", "add", "two", "--peer", "name:driver domain")
    check(peers(rig) == [("one", "dom0"), ("one", "uuid:" + DRIVER), ("two", "name:driver domain")], "three bindings")
    check(peers(rig, "two") == [("two", "name:driver domain")], "and one of them")
    lines = rig.ctl("binding", "list", "one").stdout.splitlines()
    check(lines[0].split() == ["UUID", "NAME", "PEER"] and len(lines) == 3 and lines[1].split() == [uuid, "one", "dom0"],
          "listed for people too")
    refused(rig, 5, "has that binding", "binding", "add", "one", "--peer", "dom0")
    refused(rig, 3, "no instance is called three", "binding", "add", "three", "--peer", "dom0")
    for wrong in "5", "domid:5", DRIVER, "", "dom1":
        refused(rig, 2, "no peer", "binding", "add", "one", "--peer", wrong)
    for wrong in "uuid:driver", "uuid:00000000-0000-0000-0000-000000000000":
        refused(rig, 2, "no domain's uuid", "binding", "add", "one", "--peer", wrong)
    for wrong in "name:", "name:a/b", "name:a\tb", "name:" + 65 * "a":
        refused(rig, 2, "no domain's name", "binding", "add", "one", "--peer", wrong)
    refused(rig, 2, "dom0", "binding", "add", "one", "--peer", "name:Domain-0")
    refused(rig, 3, "no such binding", "binding", "remove", "two", "--peer", "dom0")
    check("3 bindings" in rig.ctl("check").stdout, "vtpmctl check counts them")
    check(rig.ctl_json("check")["check"]["bindings"] == 3, "as JSON too")
    rig.server.kill9()
    rig.start_server()
    check(len(peers(rig)) == 3, "they outlive the server")
    rig.ctl("binding", "remove", "one", "--peer", "uuid:" + DRIVER)
    rig.ctl("binding", "remove", "two")
    check(peers(rig) == [("one", "dom0")], "removed: one by one, or all")
    kinds = [e["kind"] + " " + e["text"] for e in rig.ctl_json("events")["events"]]
    for kind in "binding-add uuid:" + DRIVER, "binding-add dom0", "binding-remove all":
        check(kind in kinds, "event: " + kind)


# ---- The measured start ----

def folded(*digests):
    pcr = ZEROS
    for digest in digests:
        pcr = hashlib.sha1(pcr + digest).digest()
    return pcr


class Guest:
    def __init__(self, rig, name):
        self.rig, self.name, self.shim = rig, name, None

    def start(self):
        self.shim = self.rig.start_shim(self.name)
        self.tpm = self.rig.tpm(self.name)

    def stop(self):
        self.shim.stop()

    def restart(self):
        """A power cycle: the TPM is off, and the shim that attaches powers it on."""
        self.rig.ctl("instance", "power-cycle", self.name)

    def pcr(self, n):
        return self.tpm.pcr(n)


def fails(guest):
    try:
        guest.pcr(0)
    except TpmError as error:
        return "0x9" in str(error)
    return False


def queue(rig, name):
    reply = rig.ctl_json("instance", "measure", name, "--list")
    shown = rig.ctl_json("instance", "show", name)["instances"][0]
    check_same = (len(reply["measurements"]), reply["required"]) == (shown["measurements"], shown["measure_required"])
    if not check_same:
        raise AssertionError("show and measure --list differ: %s %s" % (reply, shown))
    return [(m["pcr"], m["digest"], m["always"], m["size"], m["label"]) for m in reply["measurements"]]


def events_of(rig, kind):
    return [e["text"] for e in rig.ctl_json("events")["events"] if e["kind"] == kind]


def wait_event(rig, kind):
    """One that is written by itself may come after the answer."""
    return wait_until(lambda: events_of(rig, kind), "an event " + kind)[-1]


def measured(rig):
    kernel, ramdisk = os.urandom(3 * 65536 + 17), b""
    for name, content in ("kernel", kernel), ("ramdisk", ramdisk):
        with open(rig.path(name), "wb") as f:
            f.write(content)
    sums = {name: hashlib.sha1(content).digest() for name, content in (("kernel", kernel), ("ramdisk", ramdisk))}
    rig.ctl("instance", "measure", "one", "--pcr", "4", "--file", rig.path("kernel"))
    rig.ctl("instance", "measure", "one", "--pcr", "4", "--file", rig.path("ramdisk"), "--once", "--label", "initrd.img")
    rig.ctl("instance", "measure", "one", "--pcr", "8", "--digest", "Aa" * 20, "--always")
    check(queue(rig, "one") == [
        (4, sums["kernel"].hex(), False, len(kernel), rig.path("kernel")[-64:]),
        (4, sums["ramdisk"].hex(), False, 0, "initrd.img"),
        (8, "aa" * 20, True, 0, "")], "three measurements are queued, files hashed as they are")
    rig.server.kill9()
    rig.start_server()
    check(len(queue(rig, "one")) == 3, "the queue outlives kill -9")
    guest = Guest(rig, "one")
    guest.start()
    first = folded(sums["kernel"], sums["ramdisk"]), folded(b"\xaa" * 20)
    check((guest.pcr(4), guest.pcr(8)) == first, "a power on extends them before the guest's first command")
    check(guest.pcr(5) == ZEROS, "and nothing else")
    check(events_of(rig, "power-on")[-1] == "powered on, measured: PCR 4 x2, PCR 8 x1", "the event says so")
    rig.server.kill9()
    rig.start_server()
    check((guest.pcr(4), guest.pcr(8)) == first, "kill -9 after it: extended once")
    check([m[0] for m in queue(rig, "one")] == [8], "what was there for once is used up")
    guest.restart()
    check((guest.pcr(4), guest.pcr(8)) == (ZEROS, folded(b"\xaa" * 20)), "the next power on: only what stays")
    rig.ctl("instance", "measure", "one", "--clear")
    check(queue(rig, "one") == [], "cleared")
    guest.restart()
    check(guest.pcr(8) == ZEROS, "and so is the PCR")
    guest.stop()


def required(rig):
    rig.create("strict", "--require-measure")
    lines = rig.ctl("instance", "show", "strict").stdout
    check("0 queued, required" in lines, "show tells that measurements are required")
    guest = Guest(rig, "strict")
    guest.start()
    check(fails(guest), "an empty queue: the guest gets TPM_FAIL")
    check(rig.state("strict") != "on", "the TPM stays off")
    check("requires a measured start" in wait_event(rig, "power-on-refused"), "an event says why")
    check(guest.shim.wait_line("vtpmctl instance measure"), "the shim's log says what to do")
    rig.ctl("instance", "measure", "strict", "--pcr", "0", "--digest", "01" * 20)
    check(fails(guest), "queued is not powered on")
    guest.restart()
    check(guest.pcr(0) == folded(b"\x01" * 20) and rig.state("strict") == "on", "a power-cycle makes it so")
    rig.ctl("instance", "power-cycle", "strict")
    check(fails(guest), "its queue is empty again")
    rig.ctl("instance", "require-measure", "strict", "off")
    guest.restart()
    check(guest.pcr(0) == ZEROS, "require-measure off: as any other")
    rig.ctl("instance", "require-measure", "strict", "on")
    check(guest.pcr(0) == ZEROS, "on again: the running guest goes on")
    guest.stop()


def startup_by_the_guest(rig):
    rig.create("late")
    rig.ctl("instance", "measure", "late", "--pcr", "4", "--digest", "02" * 20)
    shim = rig.start_shim("late", extra=["--startup", "none"])
    check(shim.wait_line("--startup clear"), "a shim that leaves TPM_Startup to the guest: no power on, and why")
    shim.stop()
    shim = rig.start_shim("late")
    check(rig.tpm("late").pcr(4) == folded(b"\x02" * 20), "with --startup clear it is measured")
    shim.stop()


def wrong_usage(rig):
    measure = ("instance", "measure", "one")
    for wrong in (("--pcr", "4"), ("--file", "/etc/hostname"), (), ("--pcr", "4", "--file", "x", "--digest", "00" * 20)):
        refused(rig, 2, "wants --pcr N and one of", *measure, *wrong)
    for pcr in "16", "23", "-1", "x", "":
        refused(rig, 2, "from 0 to 15", *measure, "--pcr", pcr, "--digest", "00" * 20)
    for digest in "00" * 19, "00" * 32, "zz" * 20:
        refused(rig, 2, "40 hex digits", *measure, "--pcr", "4", "--digest", digest)
    refused(rig, 2, "either", *measure, "--pcr", "4", "--digest", "00" * 20, "--once", "--always")
    refused(rig, 2, "stand alone", *measure, "--list", "--pcr", "4")
    refused(rig, 2, "stand alone", *measure, "--list", "--clear")
    refused(rig, 3, "cannot be read", *measure, "--pcr", "4", "--file", rig.path("nothing"))
    refused(rig, 1, "cannot be read", *measure, "--pcr", "4", "--file", rig.dir)
    refused(rig, 3, "no instance is called three", "instance", "measure", "three", "--pcr", "4", "--digest", "00" * 20)
    refused(rig, 2, "on or off", "instance", "require-measure", "one", "yes")
    for _ in range(64):
        rig.ctl(*measure, "--pcr", "4", "--digest", "00" * 20)
    refused(rig, 4, "no more fit", *measure, "--pcr", "4", "--digest", "00" * 20)


with Rig() as rig:
    rig.init()
    rig.start_server()
    uuid = rig.create("one")
    rig.create("two")
    bindings(rig, uuid)
    measured(rig)
    required(rig)
    startup_by_the_guest(rig)
    wrong_usage(rig)
    check(rig.ctl("check").returncode == 0, "the store is whole")
    rig.ctl("events", "--verify")
print("bindings: all seen to hold")

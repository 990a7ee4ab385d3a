# SPDX-License-Identifier: Apache-2.0
"""Instances between two real servers, and backups (docs/moving.md): PCRs kept, imported once, the source refuses."""
import json
import os
import subprocess
import threading
import time

from guest import Neighbour
from rig import Process, Rig, check, program, run
from tpm12 import Socket, Tpm, WELL_KNOWN

OWNER, DATA = b"\x11" * 20, b"\x22" * 20
SRK = 0x40000000
FAIL = 9
SECRET = b"what the guest sealed"


def refused(rig, code, words, *argv):
    r = rig.ctl(*argv, ok=False)
    check(r.returncode == code and words in r.stderr and not r.stdout,
          "vtpmctl %s: exit %d: %s" % (" ".join(a[-40:] for a in argv), r.returncode, r.stderr.strip()))


def introduce(rig, other, name):
    key = rig.path(name + ".pub")
    with open(key, "w") as f:
        f.write(other.ctl("server", "key", "show").stdout)
    rig.ctl("server", "peer", "add", name, "--key", key)
    return key


def events(rig):
    return [e["kind"] + " " + e["text"] for e in rig.ctl_json("events")["events"]]


def instances(rig):
    return sorted((i["name"], i["uuid"], i["state"]) for i in rig.ctl_json("instance", "list")["instances"])


class Guest:
    """Without a domain id: a shim that goes is no power off, one that comes goes on where it was."""

    def __init__(self, rig, credential):
        self.rig, self.credential, self.shim = rig, credential, None

    def on(self, rig):
        self.rig = rig
        self.shim = rig.start_shim("guest", credential=self.credential)
        self.tpm = Tpm(Socket(rig.path("guest.tpm")))

    def away(self):
        self.shim.kill9()


# ---- Peers ----

def peers(a, b):
    line = a.ctl("server", "key", "show").stdout
    check(line == a.ctl("server", "key", "show").stdout and line.startswith("vtpm-server-key 1 "), "a key, once made")
    key = introduce(a, b, "B")
    refused(a, 5, "is known", "server", "peer", "add", "B", "--key", key)
    refused(a, 5, "is known", "server", "peer", "add", "other", "--key", key)
    refused(a, 2, "this store's own", "server", "peer", "add", "self", "--key", introduce(b, a, "A"))
    refused(a, 2, "no server's key", "server", "peer", "add", "junk", "--key", a.path("server.log"))
    refused(a, 2, "no name", "server", "peer", "add", "a b", "--key", key)
    refused(a, 3, "no peer is called", "server", "peer", "remove", "C")
    shown = b.ctl_json("server", "key", "show")["server_key"]
    listed = a.ctl_json("server", "peer", "list")["peers"]
    check(len(listed) == 1 and listed[0]["name"] == "B" and listed[0]["fingerprint"] == shown["fingerprint"],
          "the same fingerprint on both sides")
    a.server.kill9()
    a.start_server()
    check(a.ctl("server", "key", "show").stdout == line and a.ctl_json("server", "peer", "list")["peers"] == listed,
          "key and peers outlive the server")


# ---- There ----

def seal(guest):
    tpm = guest.tpm
    tpm.take_ownership(OWNER, WELL_KNOWN)
    tpm.extend(10, b"\x01" * 20)
    rc, _, blob = tpm.seal(SRK, WELL_KNOWN, DATA, SECRET, tpm.pcr_info([10]))
    check(rc == 0, "the guest seals to its PCR 10")
    return blob


def unseals(guest, blob):
    return guest.tpm.unseal(SRK, WELL_KNOWN, DATA, blob) == (0, SECRET)


def altered(b, path):
    whole = open(path, "rb").read()
    before, broken = instances(b), b.path("altered")
    positions = sorted(set(list(range(0, 133, 7)) + list(range(133, len(whole), len(whole) // 20)) + [len(whole) - 1]))
    for k in positions:
        with open(broken, "wb") as f:
            f.write(whole[:k] + bytes([whole[k] ^ 1]) + whole[k + 1:])
        r = b.ctl("instance", "import", broken, ok=False)
        if r.returncode == 0 or not r.stderr:
            raise AssertionError("byte %d altered, and imported" % k)
    for cut in 0, 3, 132, len(whole) - 1:
        with open(broken, "wb") as f:
            f.write(whole[:cut])
        if b.ctl("instance", "import", broken, ok=False).returncode != 9:
            raise AssertionError("cut to %d bytes, and not refused" % cut)
    with open(broken, "wb") as f:
        f.write(whole + b"\0")
    refused(b, 9, "cut short or was altered", "instance", "import", broken)
    check(instances(b) == before, "%d altered or cut copies: refused, nothing changed" % (len(positions) + 5))


def source_refuses(a, guest, uuid):
    check(instances(a) == [("vm", uuid, "disabled")], "the source says that it is disabled")
    check("exported to B at 20" in a.ctl("instance", "show", "vm").stdout, "and why")
    mark = os.path.getsize(a.path("server.log"))
    shim = a.start_shim("late", credential=guest.credential, wait=False)
    a.server.wait_line("exported to B at", mark)
    begun, tpm = time.monotonic(), Tpm(Socket(a.path("late.tpm")))
    check(tpm.raw("PcrRead", params=bytes(4))[0] == FAIL and tpm.startup() == FAIL, "a guest there gets TPM_FAIL")
    check(time.monotonic() - begun < 10, "at once: it does not wait for a TPM that is elsewhere")
    shim.wait_line("exported to B at")
    shim.stop()
    for verb in "enable", "power-cycle", "suspend":
        r = a.ctl("instance", verb, "vm", ok=False)
        check(r.returncode in (4, 7) and "exported to B" in r.stderr, "%s: %s" % (verb, r.stderr.strip()))
    a.server.kill9()
    a.start_server()
    check(a.ctl("instance", "enable", "vm", ok=False).returncode == 4, "also after kill -9")


def there(a, b, guest, uuid, third):
    bundle = a.path("vm.bundle")
    blob = seal(guest)
    pcr = guest.tpm.pcr(10)
    refused(a, 4, "a shim is attached", "instance", "export", "vm", "--to", "B", "--out", bundle)
    check(not os.path.exists(bundle) and a.state("vm") == "on", "and nothing is left of that")
    guest.away()
    wait_detached(a, "vm")
    refused(a, 3, "no peer is called", "instance", "export", "vm", "--to", "C", "--out", bundle)
    a.ctl("instance", "export", "vm", "--to", "B", "--out", bundle)
    check(os.stat(bundle).st_mode & 0o777 == 0o600, "the bundle is its owner's alone")
    source_refuses(a, guest, uuid)
    refused(third, 4, "it was exported to store", "instance", "import", bundle)
    refused(b, 7, "no peer of this one", "instance", "import", bundle)
    b.ctl("server", "peer", "add", "A", "--key", b.path("A.pub"))
    altered(b, bundle)
    os.unlink(bundle)
    introduce(a, third, "C")
    refused(a, 4, "exported already, to B", "instance", "export", "vm", "--to", "C", "--out", bundle)
    again = a.path("vm.again")
    a.ctl("instance", "export", "vm", "--to", "B", "--out", bundle)
    a.ctl("instance", "export", "vm", "--to", "B", "--out", again)
    check(b.ctl("instance", "import", bundle).stdout == uuid + "\n", "a lost file is made again, and imported")
    refused(b, 5, "imported here before", "instance", "import", bundle)
    refused(b, 5, "imported here before", "instance", "import", again)
    check(instances(b) == [("vm", uuid, "on")], "it is on, as it was")
    guest.on(b)
    check(guest.tpm.pcr(10) == pcr, "PCRs are kept")
    check(unseals(guest, blob), "and it unseals")
    return blob, pcr


def wait_detached(rig, name):
    while rig.ctl_json("instance", "show", name)["instances"][0]["connected"]:
        time.sleep(0.05)


# ---- And back ----

def back(a, b, guest, uuid, blob, pcr):
    pcr = guest.tpm.extend(11, b"\x02" * 20)
    old = a.path("vm.again")
    guest.away()
    wait_detached(b, "vm")
    bundle = b.path("vm.back")
    b.ctl("instance", "export", "vm", "--to", "A", "--out", bundle)
    refused(a, 4, "exported to store", "instance", "import", old)
    b.server.kill9()
    b.start_server()
    check(a.ctl("instance", "import", bundle).stdout == uuid + "\n", "it comes back to where it was")
    refused(a, 5, "imported here before", "instance", "import", bundle)
    guest.on(a)
    check(guest.tpm.pcr(11) == pcr and unseals(guest, blob), "with what happened there")
    check(instances(b) == [("vm", uuid, "disabled")], "and is fenced there")
    refused(a, 4, "not exported", "instance", "take-back", "vm", "--yes")
    refused(b, 2, "--yes", "instance", "take-back", "vm")
    b.ctl("instance", "take-back", "vm", "--yes")
    check(any(e.startswith("take-back from A, export") for e in events(b)), "a take-back is an event")
    for rig, kinds in (a, ("server-key", "peer-add", "export to B", "import vm from B")), (b, ("export to A", "import vm from A")):
        for kind in kinds:
            check(any(e.startswith(kind) for e in events(rig)), "event: " + kind)
        check(rig.ctl_json("check")["check"]["ok"], "the store is whole")


def killed(a, b, rounds=8):
    """kill -9 of the server somewhere in an export or an import: repeated, it is done, and the instance is whole."""
    rigs, names = [a, b], ["A", "B"]
    uuid = a.create("hop")
    guest = Guest(a, a.path("hop.cred"))
    guest.on(a)
    pcr = guest.tpm.extend(3, b"\x03" * 20)
    for k in range(rounds):
        here, there, name = rigs[k % 2], rigs[1 - k % 2], names[1 - k % 2]
        guest.away()
        wait_detached(here, "hop")
        bundle = here.path("hop%d" % k)
        killed_in(here, k, "instance", "export", "hop", "--to", name, "--out", bundle)
        if not os.path.exists(bundle) or not os.path.getsize(bundle):
            bundle += ".again"
            here.ctl("instance", "export", "hop", "--to", name, "--out", bundle)
        killed_in(there, k, "instance", "import", bundle)
        there.ctl("instance", "import", bundle, ok=False)
        refused(there, 5, "imported here before", "instance", "import", bundle)
        states = [dict((i[1], i[2]) for i in instances(rig)).get(uuid) for rig in (here, there)]
        check(states == ["disabled", "on"], "round %d: it left there and is here" % k)
        guest.on(there)
        check(guest.tpm.pcr(3) == pcr, "with its PCRs")
        pcr = guest.tpm.extend(3, bytes([k]) * 20)
    guest.away()


def killed_in(rig, k, *argv):
    p = subprocess.Popen([program("vtpmctl"), "--admin", rig.admin, *argv], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    time.sleep(0.004 * k)
    rig.server.kill9()
    p.wait(60)
    rig.start_server()


def taken(a, b, third):
    """Names and uuids that are in use."""
    a.create("twin", "--no-ek")
    b.create("twin", "--no-ek")
    bundle = a.path("twin.bundle")
    a.ctl("instance", "export", "twin", "--to", "B", "--out", bundle)
    refused(b, 5, "another instance is called twin", "instance", "import", bundle)
    b.ctl("instance", "rename", "twin", "other")
    b.ctl("instance", "import", bundle)
    b.ctl("instance", "delete", "other", "--yes")
    a.ctl("instance", "delete", "twin", "--yes")
    b.ctl("instance", "export", "twin", "--to", "A", "--out", b.path("twin.back"))
    a.ctl("instance", "import", b.path("twin.back"))
    check(a.state("twin") == "off", "one that was exported and then deleted may come back")


# ---- Backup ----

class Writer(threading.Thread):
    """Changes permanent state all the time."""

    def __init__(self, rig):
        super().__init__(daemon=True)
        rig.create("busy")
        rig.start_shim("busy")
        self.tpm, self.over, self.count, self.error = Tpm(Socket(rig.path("busy.tpm"))), False, 0, None
        self.tpm.take_ownership(OWNER, WELL_KNOWN)
        self.tpm.nv_define(OWNER, 0x1000, 16, 1 << 1)
        self.start()

    def run(self):
        try:
            while not self.over:
                if self.tpm.nv_write(0x1000, 0, (self.count + 1).to_bytes(16, "big"), owner=OWNER):
                    raise AssertionError("a write of NV failed")
                self.count += 1
        except Exception as e:
            self.error = e

    def leave(self):
        self.over = True
        self.join(60)
        if self.error:
            raise self.error


def restore(rig, file, name, keyslot, ok=0):
    return run([program("vtpm-server"), "restore", "--from", file, "--data-dir", rig.path(name), "--keyslot", keyslot,
                "--allow-root"], ok=ok)


def backup(a):
    copy, slot = a.path("copy"), "keyfile:" + a.keyfile
    writer, neighbour = Writer(a), Neighbour(a, "beside")
    for k in range(5):
        said = a.ctl_json("backup", copy + str(k))["backup"]
        check(said["bytes"] == os.path.getsize(copy + str(k)), "backup %d: %d bytes, generation %d, with %d writes behind it" %
              (k, said["bytes"], said["generation"], writer.count))
    count, longest = neighbour.went_on()
    print("a guest beside it: %d extends, the longest pause %.0f ms" % (count, 1000 * longest))
    writer.leave()
    neighbour.leave()
    copy += "4"
    check(os.stat(copy).st_mode & 0o777 == 0o600 and not os.path.exists(a.data + "/backup.tmp"), "the copy is where it belongs")
    refused(a, 5, "not overwritten", "backup", copy)
    refused(a, 1, "No such file", "backup", a.path("no/such/dir"))
    secret = open(a.path("busy.cred")).read().split("key=")[1].strip()
    check(bytes.fromhex(secret) not in open(copy, "rb").read(), "it is sealed")
    os.makedirs(a.path("restored/restore.new"), 0o700)
    os.chmod(a.path("restored"), 0o700)
    for name in "vtpm.db", "vtpm.db-wal", "lock":
        with open(a.path("restored/restore.new/" + name), "wb") as f:
            f.write(b"of a restore that was cut off")
    r = restore(a, copy, "restored", slot)
    check("undone" in r.stderr and "docs/moving.md" in r.stderr and not r.stdout, "restored, with a warning")
    check(os.stat(a.path("restored")).st_mode & 0o777 == 0o700 and sorted(os.listdir(a.path("restored"))) == ["vtpm.db"]
          and os.stat(a.path("restored/vtpm.db")).st_mode & 0o777 == 0o600, "one file, its owner's alone")
    before = open(a.path("restored/vtpm.db"), "rb").read()
    check("stays as it is" in restore(a, copy, "restored", slot, ok=4).stderr, "a store that is there is not overwritten")
    check(open(a.path("restored/vtpm.db"), "rb").read() == before, "not one byte of it")
    wrong(a, copy, slot)
    r = run([program("vtpm-server"), "check", "--data-dir", a.path("restored"), "--keyslot", slot, "--allow-root"])
    check(r.stdout.startswith("ok:"), "vtpm-server check: " + r.stdout.splitlines()[0])
    serve(a)


def wrong(a, copy, slot):
    with open(a.path("other.key"), "wb") as f:
        os.fchmod(f.fileno(), 0o600)
        f.write(os.urandom(32))
    restore(a, copy, "no", "keyfile:" + a.path("other.key"), ok=8)
    whole = open(copy, "rb").read()
    for name, data in ("cut", whole[:len(whole) // 2]), ("junk", os.urandom(8192)), ("empty", b""), \
            ("name", whole.replace(b"beside", b"Beside")):
        with open(a.path(name), "wb") as f:
            f.write(data)
        r = restore(a, a.path(name), "no", slot, ok=9)
        check(a.path(name) in r.stderr and os.listdir(a.path("no")) == [], "%s: %s" % (name, r.stderr.strip().splitlines()[-1]))
    restore(a, a.path("nothing"), "no", slot, ok=3)
    run([program("vtpm-server"), "restore", "--data-dir", a.path("no")], ok=2)
    run([program("vtpm-server"), "check", "--from", copy], ok=2)


def serve(a):
    p = Process([program("vtpm-server"), "--data-dir", a.path("restored"), "--runtime-dir", a.path("run2"), "--keyslot",
                 "keyfile:" + a.keyfile, "--admin", "unix:" + a.path("admin2.sock"), "--allow-root", "--listen",
                 "unix:" + a.path("vtpm2.sock")], a.path("server2.log"), ready=r"vtpm-server: ready")
    r = run([program("vtpmctl"), "--admin", "unix:" + a.path("admin2.sock"), "--json", "check"])
    check(json.loads(r.stdout)["check"]["ok"], "a server runs on it, and its check passes")
    run([program("vtpmctl"), "--admin", "unix:" + a.path("admin2.sock"), "instance", "power-cycle", "busy"])
    a.others.append(p)
    a.start_shim("again", upstream="unix:" + a.path("vtpm2.sock"), credential=a.path("busy.cred"))
    tpm = Tpm(Socket(a.path("again.tpm")))
    rc, data = tpm.nv_read(0x1000, 0, 16)
    value = int.from_bytes(data, "big")
    check(rc == 0 and value > 0, "the TPM in it works, at write %d" % value)


def main():
    with Rig() as a, Rig() as b, Rig() as third:
        for rig in a, b, third:
            rig.init()
            rig.start_server()
        uuid = a.create("vm")
        guest = Guest(a, a.path("vm.cred"))
        guest.on(a)
        peers(a, b)
        b.ctl("server", "peer", "remove", "A")
        blob, pcr = there(a, b, guest, uuid, third)
        back(a, b, guest, uuid, blob, pcr)
        taken(a, b, third)
        guest.away()
        killed(a, b)
        backup(a)


if __name__ == "__main__":
    main()

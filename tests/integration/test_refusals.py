# SPDX-License-Identifier: Apache-2.0
"""What a start can find of a store and its host TPM, on every kind of host: refused with the reason and the way out,
nothing changed on disk; and the way out that is told is gone until the guest's TPM answers as before."""
import hashlib
import os
import re
import shlex
import shutil
import socket
import sqlite3
import time

from hosttpm import OWNER, Tpm2, Tpm12
from rig import Process, Rig, check, need, program, run
from test_anchor import owner_file
from tpm12 import WELL_KNOWN, Auth, sha1

SRK, DEAD = 0x40000000, 20  # seconds; 5 are promised, of a machine that has nothing else to do


class Host:
    """A host with one instance in its store; the store opens by the TPM's slot, or is anchored in it, or neither."""

    def __init__(self, rig, kind, by):
        self.rig, self.kind, self.by = rig, kind, by
        self.title = {None: "no TPM", Tpm2: "TPM 2.0, ", Tpm12: "TPM 1.2, "}[kind] + by
        self.tpm = kind(rig, "host") if kind else None
        self.options, self.quiet = {}, []
        self.slot = "%s:pcrs=none:%s" % (kind.kind, self.tpm.spec) if by == "slot" else "keyfile:" + rig.keyfile
        self.place = "%s:%s" % (kind.kind, self.tpm.spec) if by == "anchor" else None
        self.recovery = rig.path("recovery")
        r = run([program("vtpm-server"), "init", "--data-dir", rig.data, "--keyslot", self.slot, "--allow-root"])
        with open(self.recovery, "w") as f:
            f.write(r.stdout)
        os.chmod(self.recovery, 0o600)
        owner = "owner-auth-file=%s:" % owner_file(rig)
        self.start(place=self.place and self.place.replace("tpm12:", "tpm12:" + owner))
        rig.create("a")
        rig.create("b", "--no-ek")
        self.ek = self.ask()
        rig.ctl("backup", rig.path("backup"))
        self.stop()

    def argv(self, slot=None, place=None):
        rig, place = self.rig, place or self.place
        return [program("vtpm-server"), "--data-dir", rig.data, "--runtime-dir", rig.run, "--admin", rig.admin,
                "--listen", rig.listen, "--allow-root", "--hwtpm", "none", "--keyslot", slot or self.slot,
                *(["--anchor", place] if place else [])]

    def start(self, **kw):
        self.rig.server = Process(self.argv(**kw), self.rig.path("server.log"), ready=r"vtpm-server: ready")
        if self.place or kw.get("place"):
            self.rig.ctl("anchor", ok=False)

    def stop(self):
        assert self.rig.server.stop() == 0, "the server does not stop in order"

    def ask(self):
        """The EK of the guest's TPM, by a shim."""
        p = self.rig.start_shim("a")
        t = self.rig.tpm("a")
        t.startup()
        ek = t.read_pubek()
        t.send.close()
        p.stop()
        return ek

    def digests(self):
        return {n: hashlib.sha256(open(os.path.join(self.rig.data, n), "rb").read()).hexdigest()
                for n in sorted(os.listdir(self.rig.data)) if n.startswith("vtpm.db") and not n.endswith("-shm")}


# ---- what is found at a start: each makes it of a host whose server was stopped ----
def older(h):
    shutil.copytree(h.rig.data, h.rig.path("old"))
    h.start()
    h.rig.ctl("instance", "create", "later", "--no-ek", "--credential-out", h.rig.path("later.cred"))
    h.stop()
    shutil.rmtree(h.rig.data)
    os.rename(h.rig.path("old"), h.rig.data)


def another_host(h):
    """The disk moved: the same paths and places, but what answers there is another host's."""
    if not h.tpm:
        os.rename(h.rig.keyfile, h.rig.path("kept"))
        with open(h.rig.keyfile, "wb") as f:
            f.write(os.urandom(32))
        os.chmod(h.rig.keyfile, 0o600)
        return
    h.tpm.stop()
    port, h.tpm = h.tpm.port, h.kind(h.rig, "other")
    h.tpm.stop()
    h.tpm.port = port
    h.tpm.start()


def swapped(h):
    """One instance gets the row's key of another one."""
    db = sqlite3.connect(h.rig.data + "/vtpm.db")
    with db:
        db.execute("update instance set wrapped_key=(select wrapped_key from instance where name='b') where name='a'")
    db.close()


def cleared(h):
    h.tpm.clear()


def locked(h):
    if h.kind is Tpm12:
        t = h.tpm.tpm()
        for _ in range(30):
            t.seal(SRK, sha1(b"a guess"), WELL_KNOWN, b"x")
            if t.lockout()[0]:
                break
        check(t.lockout()[0], "the TPM is in lockout")
        t.send.close()
        return
    h.tpm.tool("tpm2_dictionarylockout", "-s", "-n", "1", "-t", "1000", "-l", "1000")
    h.tpm.tool("tpm2_createprimary", "-c", "p.ctx", "-p", "right")
    for guess in range(2):
        h.tpm.tool("tpm2_create", "-C", "p.ctx", "-P", "wrong", "-u", "k.pub", "-r", "k.priv", ok=False)
        h.tpm.tidy()
    check(re.search(r"inLockout: +1", h.tpm.tool("tpm2_getcap", "properties-variable").stdout), "the TPM is in lockout")


def dead(h):
    """Somebody takes the connection and says nothing."""
    h.tpm.stop()
    h.quiet = [socket.create_server(("127.0.0.1", h.tpm.port + i), backlog=64) for i in (0, 1)]


# ---- the ways out: what the message says, done ----
def accept(h, told):
    argv = shlex.split(re.search(r"vtpm-server (accept-rollback .*)", told)[1])
    argv = ["recovery-file:" + h.recovery if a == "recovery-file:FILE" else a for a in argv]
    argv = [program("vtpm-server"), *argv, "--allow-root"]
    r = run(argv, ok=None)
    if r.returncode and "owner-auth-file" in r.stderr:  # a TPM 1.2 makes a new anchor for its owner only, and says so
        i = argv.index("--anchor") + 1
        run(argv[:i] + [argv[i].replace("tpm12:", "tpm12:owner-auth-file=%s:" % owner_file(h.rig))] + argv[i + 1:])
    else:
        assert r.returncode == 0, "the way out is none: " + r.stderr


def restore(h, _):
    shutil.rmtree(h.rig.data)
    run([program("vtpm-server"), "restore", "--from", h.rig.path("backup"), "--data-dir", h.rig.data, "--keyslot",
         h.slot, "--allow-root"])


def make_it_answer(h, _):
    for s in h.quiet:
        s.close()
    h.tpm.start()


def reset_lockout(h, _):
    t = h.tpm.tpm()
    t.call("ResetLockValue", auths=[Auth(t.oiap(), OWNER)])
    t.send.close()


def take_ownership(h, _):
    h.tpm.own()


def by_recovery(h, _):
    h.options = {"slot": "recovery-file:" + h.recovery}


def unlooked(h, _):
    h.options = {"slot": "recovery-file:" + h.recovery, "place": "none"}


WAYS = (("tpm_resetdalock", reset_lockout), ("enable it in the firmware, then tpm_takeownership", take_ownership),
        ("vtpm-server accept-rollback", accept), ("restore a backup", restore), ("does not answer", make_it_answer),
        ("with the recovery key, then vtpmctl keyslot reseal", by_recovery),
        ("--anchor none --keyslot recovery-file:FILE", unlooked),
        ("the recovery key opens it: --keyslot recovery-file:FILE", by_recovery))


def refused(h):
    """(exit code, reason, seconds) of a start that leaves the file as it is; code 0 if it opens."""
    before, begin = h.digests(), time.monotonic()
    p = Process(h.argv(**h.options), h.rig.path("start.log"))
    h.rig.others.append(p)
    while p.p.poll() is None and "vtpm-server: ready" not in p.text():
        assert time.monotonic() - begin < 60, "it neither starts nor ends: " + p.text()
        time.sleep(0.02)
    took, text = time.monotonic() - begin, p.text()
    code = p.stop()
    os.remove(p.log)
    if "vtpm-server: ready" in text:
        return 0, text, took
    assert h.digests() == before, "the file was changed: " + text
    return code, text.strip().splitlines()[-1], took


def row(kind, by, what, code, words):
    """One case on a host of its own; a line of the table."""
    with Rig() as rig:
        h = Host(rig, kind, by)
        what(h)
        name = "%s, %s" % (h.title, what.__name__)
        first, told, took = refused(h)
        for _ in range(4):  # a lockout of a TPM 1.2 ends by itself, the first one in a second
            if code and not first and what is locked:
                what(h)
                first, told, took = refused(h)
        right = first == code and all(w in told for w in words)
        assert right, "%s: exit %d, not %d for %s: %s" % (name, first, code, words, told)
        check(what is not dead or took < DEAD, "%s: exit %d: %s" % (name, code, words or "it opens"))
        ways, now = [], first
        while now:
            way = next((do for text, do in WAYS if text in told), None)
            assert way and len(ways) < 4, "%s: no way out after %s: %s" % (name, ways, told)
            ways.append(way.__name__.replace("_", " "))
            way(h, told)
            now, told, _ = refused(h)
        h.start(**h.options)
        if by == "slot" and h.options:
            rig.ctl("keyslot", "reseal", "0")
            h.stop()
            h.start()
        check(h.ask() == h.ek, "%s: after %s the guest's TPM answers as before" % (name, ways or "nothing"))
        h.stop()
        return h.title, what.__name__.replace("_", " "), code, "; ".join(words), ", ".join(ways) or "opens"


NONE, SLOT2, ANCHOR2 = (None, ""), (Tpm2, "slot"), (Tpm2, "anchor")
SLOT12, ANCHOR12 = (Tpm12, "slot"), (Tpm12, "anchor")
OLDER, SEALED, BARE = "an older copy of the store", "not the one that sealed the slot", "cleared, or is another host's"
NO_KEY, ALTERED, SILENT = "this keyfile is not its key", "a row was altered, removed or replaced", "does not answer"
CASES = (
    (older, {NONE: (0,), SLOT12: (0,), SLOT2: (9, OLDER), ANCHOR2: (9, OLDER), ANCHOR12: (9, OLDER)}),
    (another_host, {NONE: (8, NO_KEY), SLOT2: (8, SEALED), SLOT12: (8, SEALED), ANCHOR2: (9, BARE),
                    ANCHOR12: (9, BARE)}),
    (swapped, {host: (9, ALTERED) for host in (NONE, SLOT2, ANCHOR2, SLOT12, ANCHOR12)}),
    (cleared, {SLOT2: (8, SEALED), ANCHOR2: (9, BARE), SLOT12: (8, "disabled"), ANCHOR12: (1, "disabled")}),
    (locked, {SLOT2: (0,), ANCHOR2: (0,), SLOT12: (8, "lockout"), ANCHOR12: (1, "lockout")}),
    (dead, {SLOT2: (8, "slot 0", SILENT), ANCHOR2: (1, SILENT), SLOT12: (8, "slot 0", SILENT), ANCHOR12: (1, SILENT)}),
)

if __name__ == "__main__":
    need("swtpm", "tpm2_clear")
    table = [row(*host, what, code, words) for what, hosts in CASES for host, (code, *words) in hosts.items()]
    print("\n".join("%-15s | %-12s | %d | %-38s | %s" % line for line in table))

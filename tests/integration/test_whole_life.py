# SPDX-License-Identifier: Apache-2.0
"""docs/keys.md, "The whole life": the table's rows, walked one after the other without a TPM (a passphrase) and on a TPM 2.0."""
import os
import re
import shutil
import sys
import time

from hosttpm import Tpm2
from rig import Process, Rig, check, need, program, run
from tpm12 import Socket, Tpm, WELL_KNOWN

OWNER, DATA = b"\x11" * 20, b"\x22" * 20
SRK = 0x40000000
SECRET = b"what the guest sealed on its first day"
WORDS = "correct horse battery staple"
SEPARATOR = b"\xff" * 4
SERVER = program("vtpm-server")


def write(path, text):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
        f.write(text)


class Life:
    """One store and one guest, from init to the end."""

    def __init__(self, rig):
        self.rig, self.loader = rig, b"loader 1"
        self.paper = rig.path("paper")      # the recovery key: elsewhere

    # ---- The host ----
    def argv(self, *slots, data=None):
        rig = self.rig
        argv = [SERVER, "--data-dir", data or rig.data, "--runtime-dir", rig.run, "--admin", rig.admin, "--listen",
                rig.listen, "--allow-root", *self.options]
        for slot in slots:
            argv += ["--keyslot", slot]
        return argv

    def begin(self, *slots):
        self.rig.server = Process(self.argv(*slots), self.rig.path("server.log"), ready="vtpm-server: ready")

    def by_paper(self):
        self.begin("recovery-file:" + self.paper)

    def stop(self):
        check(self.rig.server.stop() == 0, "the server stops")

    def refused(self, how, code, word, *slots, data=None):
        started = time.monotonic()
        r = run(self.argv(*slots, data=data), ok=code)
        check(word in r.stderr and time.monotonic() - started < 10, "%s: exit %d, says %r" % (how, code, word))

    def accept(self):
        run([SERVER, "accept-rollback", "--data-dir", self.rig.data, "--keyslot", "recovery-file:" + self.paper,
             "--allow-root"])

    def init_with(self, spec):
        r = run([SERVER, "init", "--data-dir", self.rig.data, "--keyslot", spec, "--allow-root"])
        check(re.fullmatch(r"([a-z]{8}-){7}[a-z]{8}\n", r.stdout), "the recovery key is told once")
        write(self.paper, r.stdout)

    def opened(self):
        return self.rig.ctl_json("status")["status"]["keyslot"]

    # ---- The guest ----
    def first_day(self):
        self.rig.create("vm")
        self.shim = self.rig.start_shim("vm")
        self.tpm = self.rig.tpm("vm")
        self.tpm.take_ownership(OWNER, WELL_KNOWN)
        rc, _, self.blob = self.tpm.seal(SRK, WELL_KNOWN, DATA, SECRET)
        check(rc == 0, "the guest seals something")

    def guest_leaves(self):
        self.shim.kill9()

    def guest_comes(self, rig=None):
        rig = rig or self.rig
        self.shim = rig.start_shim("vm", credential=self.rig.path("vm.cred"))
        self.tpm = Tpm(Socket(rig.path("vm.tpm")))

    def has_it(self, how):
        check(self.tpm.unseal(SRK, WELL_KNOWN, DATA, self.blob) == (0, SECRET), "%s: the guest unseals its secret" % how)


class Words(Life):
    """No TPM: somebody writes the words, starts the server, and takes them away."""
    name, options = "no TPM", ("--hwtpm", "none")

    def __init__(self, rig):
        super().__init__(rig)
        self.words, self.file = WORDS, rig.path("typed")

    def power(self):
        pass

    def start(self):
        write(self.file, self.words + "\n")
        self.begin("passphrase-file:" + self.file)
        os.unlink(self.file)
        check(self.opened().endswith(" passphrase"), "the words open it, and are taken away again")

    def init(self):
        write(self.file, self.words + "\n")
        self.init_with("passphrase-file:" + self.file)
        self.start()
        self.first_day()

    def by_itself(self):
        self.stop()
        self.refused("nobody there", 8, "no key slot", "auto")
        self.start()
        self.has_it("somebody there")

    def upgrade(self):
        self.stop()
        self.start()
        self.has_it("nothing is bound to what was booted")

    def board(self):
        self.has_it("there is none that could be cleared")

    def disk_stolen(self, copy):
        for guess in "password", WORDS[:-1]:
            write(self.file, guess + "\n")
            self.refused("a guess", 8, "does not open", "passphrase-file:" + self.file, data=copy)
        write(self.file, self.words + "\n")
        run([SERVER, "check", "--data-dir", copy, "--keyslot", "passphrase-file:" + self.file, "--allow-root"])
        check(True, "the right guess opens it: it is as safe as the words are")
        os.unlink(self.file)

    def host_stolen(self):
        self.refused("switched on by a thief", 8, "no key slot", "auto")
        found = [name for d, _, names in os.walk(self.rig.data) for name in names
                 if WORDS.encode() in open(os.path.join(d, name), "rb").read()]
        check(not found, "the words are nowhere on it")

    def older(self):
        self.start()
        text = self.rig.ctl_json("status")["status"]["protection"]
        check("older copy of the whole file is not" in text, "an older copy opens, unnoticed; status has said so all along: " + text)

    def restored(self):
        write(self.file, self.words + "\n")
        return "passphrase-file:" + self.file

    def after_restore(self):
        os.unlink(self.file)
        self.start()

    def lost(self):
        self.stop()
        write(self.file, "forgotten\n")
        self.refused("the words are forgotten", 8, "does not open", "passphrase-file:" + self.file)
        self.by_paper()
        old = self.opened_id("passphrase")
        self.words = "other words than before"
        write(self.file, self.words + "\n")
        self.rig.ctl("keyslot", "add", "passphrase-file:" + self.file)
        self.rig.ctl("keyslot", "remove", str(old))
        self.stop()
        write(self.file, WORDS + "\n")
        self.refused("the old words, removed", 8, "does not open", "passphrase-file:" + self.file)
        self.start()

    def opened_id(self, kind):
        return [s["id"] for s in self.rig.ctl_json("keyslot", "list")["keyslots"] if s["kind"] == kind][0]


class OnTpm(Life):
    """A TPM 2.0 under firmware that measures loader and option ROMs, and ends the other PCRs with a separator."""
    name, options = "TPM 2.0", ()

    def __init__(self, rig):
        super().__init__(rig)
        self.host = Tpm2(rig, "host")
        self.measured()

    def measured(self, loader=None):
        for n in (0, 2, 4, 7):
            self.host.extend(n, {2: b"rom", 4: loader or self.loader}.get(n, SEPARATOR))

    def power(self, loader=None):
        self.host.reboot()
        self.measured(loader)

    def start(self):
        self.begin("auto")
        check(self.opened().endswith(" tpm2"), "it opens by itself")

    def init(self):
        r = run([SERVER, "init", "--data-dir", self.rig.data, "--keyslot", "tpm2:" + self.host.spec, "--allow-root"], ok=2)
        check("PCR 7" in r.stderr and "separator" in r.stderr, "PCR 7 measures nothing on this host, and is refused")
        self.init_with("tpm2:pcrs=2,4:" + self.host.spec)
        self.start()
        self.first_day()

    def by_itself(self):
        self.stop()
        self.start()
        self.has_it("nobody there")

    def upgrade(self):
        coming = self.rig.path("prediction")
        write(coming, "reset 4\nextend 4 %s\n" % self.host.digest(b"loader 2").hex())
        self.rig.ctl("keyslot", "reseal", "0", "--predict", coming)
        self.stop()
        self.loader = b"loader 2"
        self.power()
        self.start()
        self.has_it("an upgrade that was predicted")
        self.rig.ctl("keyslot", "reseal", "0")
        self.stop()
        self.loader = b"loader 3"
        self.power()
        self.refused("one that was not", 8, "PCR 4 changed", "auto")
        self.again_by_paper()
        self.has_it("the recovery key, and a reseal")

    def again_by_paper(self):
        self.by_paper()
        self.rig.ctl("keyslot", "reseal", "0")
        self.stop()
        self.start()

    def board(self):
        self.stop()
        self.host.clear()
        self.replaced("the TPM was cleared")
        self.stop()
        self.host.stop()
        shutil.rmtree(self.host.dir)
        os.mkdir(self.host.dir)
        self.host.start()
        self.measured()
        self.replaced("another mainboard")

    def replaced(self, how):
        self.refused(how, 8, "key slot", "auto")
        self.refused(how + ", the recovery key alone", 9, "accept-rollback", "recovery-file:" + self.paper)
        self.accept()
        self.again_by_paper()
        self.has_it(how)

    def disk_stolen(self, copy):
        other = Tpm2(self.rig, "thief%d" % len(self.rig.others))
        for n, what in (2, b"rom"), (4, self.loader):
            other.extend(n, what)
        self.refused("in another host, with the same PCRs", 8, "not the one", "tpm2:" + other.spec, data=copy)
        other.stop()

    def host_stolen(self):
        self.power(b"the thief's loader")
        self.refused("another system", 8, "PCR 4 changed", "auto")
        self.power()
        self.start()
        self.has_it("the same system: it runs, for whoever could log in before")
        self.stop()

    def older(self):
        self.refused("an older copy", 9, "older copy of the store", "auto")
        self.accept()
        self.start()

    def restored(self):
        return "recovery-file:" + self.paper

    def after_restore(self):
        self.refused("a backup is an older copy", 9, "accept-rollback", "auto")
        self.accept()
        self.start()

    def lost(self):
        """The paper: while the store opens, another one takes its place."""
        lost, self.paper = self.paper, self.rig.path("paper2")
        write(self.paper, run(["sh", "-c", "tr -dc cbdefghijklnrtuv </dev/urandom | head -c 64"]).stdout)
        self.rig.ctl("keyslot", "add", "recovery-file:" + self.paper)
        self.rig.ctl("keyslot", "remove", "1")
        self.stop()
        self.loader = b"loader 4"
        self.power()
        self.refused("the lost paper, found by somebody", 8, "does not open", "recovery-file:" + lost)
        self.again_by_paper()
        self.stop()
        self.host.clear()
        self.replaced("the new paper, after the TPM was cleared")


# ---- Rows ----

def init(life):
    life.init()


def start_by_itself(life):
    life.by_itself()
    life.rig.server.kill9()
    life.start()
    life.has_it("killed and started")


def guest_reboots(life):
    life.tpm.extend(10, b"\1" * 20)
    life.rig.ctl("instance", "power-cycle", "vm")
    check(life.tpm.pcr(10) == bytes(20), "PCRs begin anew")
    life.has_it("after a reboot of the guest")


def host_reboots(life):
    life.tpm.extend(10, b"\1" * 20)
    life.guest_leaves()
    life.rig.server.kill9()
    shutil.rmtree(life.rig.run)
    life.power()
    life.start()
    life.guest_comes()
    check(life.tpm.raw("PcrRead", params=bytes(4))[0] == 9, "PCRs are lost, and nobody makes new ones behind the guest")
    # A shim of another boot asks by itself; this one has not been rebooted.
    life.rig.ctl("instance", "power-cycle", "vm")
    check(life.tpm.pcr(10) == bytes(20), "powered on: PCRs begin anew")
    life.has_it("after a power cut")


def upgrade(life):
    life.upgrade()


def board(life):
    life.board()


def disk_stolen(life):
    life.stop()
    copy = life.rig.path("stolen")
    shutil.copytree(life.rig.data, copy)
    whole = b"".join(open(os.path.join(copy, n), "rb").read() for n in os.listdir(copy))
    check(SECRET not in whole and OWNER not in whole, "what the guest has is not in it to read")
    life.disk_stolen(copy)
    shutil.rmtree(copy)


def host_stolen(life):
    life.host_stolen()


def older_copy(life):
    life.start()
    life.stop()
    shutil.copytree(life.rig.data, life.rig.path("older"))
    life.start()
    life.rig.create("young", "--no-ek")
    life.stop()
    shutil.rmtree(life.rig.data)
    shutil.copytree(life.rig.path("older"), life.rig.data)
    life.older()
    names = [i["name"] for i in life.rig.ctl_json("instance", "list")["instances"]]
    check(names == ["vm"], "what came after the copy is not in it")
    life.has_it("an older copy")


def moved(life):
    with Rig() as other:
        other.init()
        other.start_server("--hwtpm", "none")
        for a, b, name in (life.rig, other, "there"), (other, life.rig, "here"):
            write(a.path(name + ".key"), b.ctl("server", "key", "show").stdout)
            a.ctl("server", "peer", "add", name, "--key", a.path(name + ".key"))
        for a, b, to in (life.rig, other, "there"), (other, life.rig, "here"):
            life.guest_leaves()
            end = time.monotonic() + 30
            while a.ctl_json("instance", "show", "vm")["instances"][0]["connected"] and time.monotonic() < end:
                time.sleep(0.05)
            bundle = a.path("bundle-" + to)
            a.ctl("instance", "export", "vm", "--to", to, "--out", bundle)
            b.ctl("instance", "import", bundle)
            life.guest_comes(b)
            life.has_it("moved " + to)


def backup(life):
    copy = life.rig.path("backup")
    life.rig.ctl("backup", copy)
    life.stop()
    shutil.rmtree(life.rig.data)
    r = run([SERVER, "restore", "--from", copy, "--data-dir", life.rig.data, "--keyslot", life.restored(), "--allow-root"])
    check("undone" in r.stderr, "restore says what a backup is")
    life.guest_leaves()
    shutil.rmtree(life.rig.run)
    life.after_restore()
    life.guest_comes()
    life.rig.ctl("instance", "power-cycle", "vm")
    life.has_it("a backup")


def key_lost(life):
    life.lost()
    life.has_it("the key was lost")


ROWS = {"made": init, "start": start_by_itself, "the guest reboots": guest_reboots, "the host reboots": host_reboots,
        "firmware, boot loader or hypervisor is upgraded": upgrade, "the TPM is cleared, the mainboard replaced": board,
        "the disk is stolen": disk_stolen, "the host is stolen, switched off": host_stolen,
        "an older copy is put back": older_copy, "moved to another host": moved, "a backup is restored": backup,
        "the key is lost": key_lost}


def told():
    """The rows of the table in docs/keys.md."""
    page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/keys.md")
    section = open(page).read().split("## The whole life\n")[1].split("\n## ")[0]
    return re.findall(r"^\| \*\*(.*?)\*\* \|", section, re.M)


if __name__ == "__main__":
    need("swtpm", "tpm2_pcrextend")
    rows = told()
    check(rows[:-1] == list(ROWS) and rows[-1] == "what to keep where", "docs/keys.md has these rows: %s" % rows)
    for column in (Words, OnTpm):
        with Rig() as the_rig:
            one = column(the_rig)
            for row, walk in ROWS.items():
                print("---- %s: %s" % (column.name, row))
                walk(one)
                sys.stdout.flush()

# SPDX-License-Identifier: Apache-2.0
"""An older copy of the whole store, and what else the host TPM's anchor notices; against a real TPM in software."""
import hashlib
import os
import re
import shutil
import socket
import sqlite3
import struct
import sys
import tempfile
import threading
import time

from hosttpm import Tpm2, Tpm12
from rig import Process, Rig, check, free_port, need, program, run

NV_WRITE, NV_INCREMENT, NV_DEFINE = 0x137, 0x134, 0x12A
NV12_DEFINE, NV12_WRITE, COUNTER12_MAKE, COUNTER12_INCREMENT = 0xCC, 0xCE, 0xDC, 0xDD


class Store:
    """A store whose key file opens it, anchored in the TPM that is named; and its recovery key."""

    def __init__(self, rig, tpm, auto=False):
        self.rig, self.tpm = rig, tpm
        self.anchor = "auto" if auto else "%s:%s" % (tpm.kind, tpm.spec)
        self.slot = "tpm2:pcrs=none:" + tpm.spec if auto else "keyfile:" + rig.keyfile
        self.recovery = rig.path("recovery")
        r = run([program("vtpm-server"), "init", "--data-dir", rig.data, "--keyslot", self.slot, "--allow-root"])
        with open(self.recovery, "w") as f:
            f.write(r.stdout)
        os.chmod(self.recovery, 0o600)

    def argv(self, anchor=None, slot=None, *more):
        argv = [program("vtpm-server"), "--data-dir", self.rig.data, "--runtime-dir", self.rig.run, "--admin",
                self.rig.admin, "--allow-root", "--hwtpm", "none", "--keyslot", slot or self.slot, *more]
        anchor = anchor or self.anchor
        return argv + (["--anchor", anchor] if anchor != "auto" else [])

    def start(self, anchor=None, slot=None, *more):
        self.rig.server = Process(self.argv(anchor, slot, *more), self.rig.path("server.log"), ready=r"vtpm-server: ready")
        return self.rig.server

    def stop(self):
        check(self.rig.server.stop() == 0, "the server stops")

    def protection(self):
        return self.rig.ctl_json("status")["status"]["protection"]

    def epoch(self):
        """Once the advance that a start begins is over."""
        end = time.monotonic() + 60
        while True:
            m = re.search(r"epoch (\d+)", self.protection())
            if m:
                return int(m[1])
            if time.monotonic() > end:
                raise AssertionError("not anchored: " + self.protection())
            time.sleep(0.05)

    def advance(self, name):
        """A change, and it is anchored."""
        before = self.epoch()
        self.rig.ctl("instance", "create", name, "--no-ek", "--credential-out", self.rig.path(name + ".cred"))
        self.rig.ctl("anchor")
        check(self.epoch() > before, "%s: the epoch went on to %d" % (name, self.epoch()))

    def content(self):
        """What is in the file and its log; whether the log was folded into the file is no matter."""
        with tempfile.TemporaryDirectory() as d:
            for name in os.listdir(self.rig.data):
                if name.startswith("vtpm.db") and not name.endswith("-shm"):
                    shutil.copy(os.path.join(self.rig.data, name), d)
            db = sqlite3.connect(os.path.join(d, "vtpm.db"))
            text = "\n".join(db.iterdump())
            db.close()
            return hashlib.sha256(text.encode()).hexdigest()

    def copy(self, name):
        shutil.copytree(self.rig.data, self.rig.path(name))

    def put_back(self, name):
        shutil.rmtree(self.rig.data)
        shutil.copytree(self.rig.path(name), self.rig.data)

    def refused(self, how, *words, code=9, **kw):
        before = self.content()
        start = time.monotonic()
        r = run(self.argv(**kw), ok=code)
        for word in words:
            if word not in r.stderr:
                print(r.stderr)
            check(word in r.stderr, "%s: exit %d, the reason has %r" % (how, code, word))
        check(self.content() == before, "%s: nothing changed on disk" % how)
        return time.monotonic() - start

    def accept(self, *more, ok=0, slot=None):
        return run([program("vtpm-server"), "accept-rollback", "--data-dir", self.rig.data, "--keyslot",
                    slot or "recovery-file:" + self.recovery, "--allow-root", *more], ok=ok)

    def names(self):
        return sorted(i["name"] for i in self.rig.ctl_json("instance", "list")["instances"])


def copies(auto=False):
    """Older copies, forks, copies from before the first anchor; accepted, and not."""
    with Rig() as rig:
        store = Store(rig, Tpm2(rig, "host"), auto)
        store.copy("never")
        store.start()
        check(store.epoch() == 1, "anchored at once")
        check("older copy of the whole file is too" in store.protection(), store.protection())
        store.stop()
        store.copy("first")
        first = store.content()
        store.start()
        store.stop()
        store.start()
        store.advance("a")
        status = store.protection()
        store.rig.ctl("anchor")
        check(store.protection() == status, "what has not changed is not written again")
        store.rig.ctl("instance", "create", "late", "--no-ek", "--credential-out", rig.path("late.cred"))
        store.stop()
        store.copy("newest")
        store.put_back("first")
        check(store.content() == first, "an older copy is in place")
        took = store.refused("an older copy", "an older copy of the store", "epoch 1 of 20", "the host TPM holds epoch",
                             "nothing was changed", "accept-rollback --data-dir %s" % rig.data)
        check(took < 30, "it says so soon")
        store.refused("the same, with --anchor none", "only the recovery key", "accept-rollback", anchor="none", code=4)
        store.put_back("never")
        store.refused("a copy from before the first anchor", "from before it was anchored", "accept-rollback")
        if auto:
            store.refused("the same, with --anchor none", "from before it was anchored", anchor="none")
        # The newest one still opens; nothing was spoilt.
        store.put_back("newest")
        store.start()
        check(store.names() == ["a", "late"], "the newest copy opens: a clean stop anchors what came last")
        store.stop()
        # Accepting needs the recovery key.
        store.put_back("first")
        before = store.content()
        r = store.accept(slot="keyfile:" + rig.keyfile, ok=2)
        check("recovery key" in r.stderr, "without the recovery key it is not accepted")
        other = rig.path("other")
        with open(other, "w") as f:
            f.write("-".join(["cbdefghi"] * 8) + "\n")
        os.chmod(other, 0o600)
        store.accept(slot="recovery-file:" + other, ok=8)
        check(store.content() == before, "and nothing changed on disk")
        r = store.accept()
        check("accepted (an older copy" in r.stderr and "anchored anew" in r.stderr, r.stderr.strip()[-200:])
        r = store.accept()
        check("nothing was changed" in r.stderr, "once more is nothing")
        store.start()
        check(store.names() == [], "the accepted copy opens")
        events = rig.ctl("events", "--verify").stdout
        check("rollback-accepted" in events and "older copy" in events, "and an event says so")
        store.advance("b")
        store.stop()
        # Now the other one is a fork.
        store.put_back("newest")
        store.refused("what was the newest before", "copy of the store", "accept-rollback")
        store.put_back("never")
        store.accept(*(["--anchor", store.anchor] if not auto else []))
        store.start()
        store.advance("c")
        store.stop()
        r = store.accept("--anchor", "none")
        check("anchored no more" in r.stderr and "could not be told" not in r.stderr,
              "taken off: the TPM is told too")
        store.start("none")
        check("no host TPM anchor" in store.protection(), "and it opens without")
        store.stop()


def window():
    """Within the window a copy opens: it is documented, and the next advance closes it."""
    with Rig() as rig:
        store = Store(rig, Tpm2(rig, "host"))
        store.start()
        store.epoch()
        store.stop()
        store.start()
        store.advance("a")
        rig.server.kill9()
        store.copy("window")
        store.start()
        check(store.names() == ["a"], "after a kill it opens")
        store.stop()
        store.start()
        store.advance("b")
        rig.server.kill9()
        store.put_back("window")
        store.refused("two advances ago", "an older copy")


def restored():
    """A backup is an older copy; on its own host, and on another one."""
    with Rig() as rig:
        tpm, second = Tpm2(rig, "host"), Tpm2(rig, "second")
        store = Store(rig, tpm)
        store.start()
        store.advance("a")
        rig.ctl("backup", rig.path("backup"))
        store.advance("b")
        store.stop()
        for how, place in (("on its own host", store.anchor), ("on another host", "tpm2:" + second.spec)):
            shutil.rmtree(rig.data)
            run([program("vtpm-server"), "restore", "--from", rig.path("backup"), "--data-dir", rig.data, "--keyslot",
                 store.slot, "--allow-root"])
            store.refused(how + ", a restored backup", "accept-rollback", anchor=place)
            store.accept("--anchor", place)
            store.anchor = place
            store.start()
            check(store.names() == ["a"], how + ": accepted, it opens")
            store.advance("new" if place == "tpm2:" + tpm.spec else "elsewhere")
            store.stop()


def other_tpms():
    """Another host's, a cleared one, none, one that hangs, one in lockout."""
    with Rig() as rig:
        tpm, second = Tpm2(rig, "host"), Tpm2(rig, "second")
        store = Store(rig, tpm)
        store.start()
        store.epoch()
        store.stop()
        store.refused("another host's TPM", "cleared, or is another host's", "accept-rollback",
                      anchor="tpm2:" + second.spec)
        tpm.tool("tpm2_dictionarylockout", "-s", "-n", "1", "-t", "1000", "-l", "1000")
        tpm.tool("tpm2_createprimary", "-c", "p.ctx", "-p", "right")
        tpm.tool("tpm2_create", "-C", "p.ctx", "-P", "right", "-u", "k.pub", "-r", "k.priv", "-p", "right", ok=False)
        tpm.tool("tpm2_create", "-C", "p.ctx", "-P", "wrong", "-u", "k.pub", "-r", "k.priv", ok=False)
        tpm.tool("tpm2_flushcontext", "-t", ok=False)
        store.start()
        store.advance("locked")
        check(True, "in lockout the anchor is read and advanced all the same: nothing that can be guessed protects it")
        store.stop()
        tpm.stop()
        store.refused("no TPM", "cannot be asked", "--anchor none --keyslot recovery-file", code=1)
        server = store.start("none", "recovery-file:" + store.recovery)
        check("NOT LOOKED AT" in server.text() and "NOT LOOKED AT" in store.protection(),
              "the recovery key opens without looking, and says so")
        r = rig.ctl("anchor", ok=False)
        check(r.returncode == 4 and "--anchor none" in r.stderr, "on demand it is refused then")
        check("anchor-skipped" in rig.ctl("events").stdout, "an event says so")
        store.stop()
        tpm.start()
        store.start()
        store.advance("again")
        # It goes away while the server runs.
        tpm.stop()
        rig.ctl("instance", "create", "off", "--no-ek", "--credential-out", rig.path("off.cred"))
        r = rig.ctl("anchor", ok=False)
        check(r.returncode and "THE LAST ATTEMPT FAILED" in store.protection(), "a failure is shown: " + r.stderr.strip())
        check("does not hold the newest" in rig.server.text(), "and logged")
        check("off" in store.names(), "and the server goes on")
        store.stop()
        tpm.start()
        store.start()
        rig.ctl("anchor")
        check("FAILED" not in store.protection(), "made up: " + store.protection())
        store.stop()
        tpm.clear()
        store.refused("a cleared TPM", "cleared, or is another host's", "accept-rollback")
        store.accept()
        store.start()
        store.advance("cleared")
        store.stop()
        # Somebody makes the same index anew.
        index = re.search(r"0x(018\w+)", store_text(store)).group(0)
        for nv in (index, hex(int(index, 16) + 1)):
            tpm.tool("tpm2_nvundefine", "-C", "o", nv)
        tpm.tool("tpm2_nvdefine", "-C", "o", "-s", "72", "-a", "ownerwrite|ownerread|authread|authwrite", index)
        tpm.tool("tpm2_nvdefine", "-C", "o", "-s", "8", "-a", "ownerwrite|ownerread|authread|authwrite|nt=counter",
                 hex(int(index, 16) + 1))
        for n in range(3):
            store.refused("an index that somebody made anew", "not this store's anchor", "accept-rollback")
        store.accept()
        store.start()
        check(store.epoch() > 1 and index not in store.protection(), "accepted: it goes beside what is there")
        store.stop()
        store.accept("--anchor", "none")
        tpm.stop()
        store.start("none")
        check("no host TPM anchor" in store.protection(), "taken off for good: it opens without any TPM")
        store.stop()


def store_text(store):
    store.start()
    store.epoch()
    text = store.protection()
    store.stop()
    return text


def no_tpm():
    """What a host without a TPM is told, and wrong options."""
    with Rig() as rig:
        rig.init()
        rig.start_server()
        check("(no host TPM anchor)" in rig.ctl_json("status")["status"]["protection"], "without a TPM: said so")
        r = rig.ctl("anchor", ok=False)
        check(r.returncode == 4 and "--anchor tpm2" in r.stderr, "nothing to anchor in")
        check(rig.server.stop() == 0, "stops")
        argv = [program("vtpm-server"), "--data-dir", rig.data, "--keyslot", "keyfile:" + rig.keyfile, "--allow-root"]
        for bad, why in (("tpm3", "must be auto, none"), ("tpm2:pcrs=7", "nothing else"), ("tpm2:tcti=cmd:sh", "")):
            r = run(argv + ["--anchor", bad], ok=2)
            check(why in r.stderr, "--anchor %s is refused" % bad)
        r = run(argv + ["--anchor-minutes", "0"], ok=2)
        check("number of minutes" in r.stderr, "--anchor-minutes 0 is refused")
        r = run([program("vtpm-server"), "accept-rollback", "--data-dir", rig.data, "--keyslot", "auto", "--allow-root",
                 "--listen", "vchan"], ok=2)
        check("means nothing" in r.stderr, "accept-rollback takes no listener")


class Killer(threading.Thread):
    """Between server and TPM: kills the server (SIGKILL) before the n-th command of a kind goes on, or after its answer."""

    def __init__(self, tpm, code, nth, after):
        super().__init__(daemon=True)
        self.tpm, self.code, self.left, self.after = tpm, code, nth, after
        self.port = free_port(2)
        self.server = None
        self.done = False
        self.listeners = [socket.create_server(("127.0.0.1", self.port + i)) for i in (0, 1)]
        threading.Thread(target=self.accept, args=(1,), daemon=True).start()

    def run(self):
        self.accept(0)

    def accept(self, i):
        while True:
            c, _ = self.listeners[i].accept()
            s = socket.create_connection(("127.0.0.1", self.tpm.port + i))
            threading.Thread(target=self.commands, args=(c, s, i == 0), daemon=True).start()

    def kill(self):
        self.done = True
        while self.server is None:
            time.sleep(0.01)
        self.server.p.kill()
        self.server.p.wait()

    @staticmethod
    def packet(s):
        head = s.recv(10, socket.MSG_WAITALL)
        if len(head) < 10:
            return b""
        return head + s.recv(struct.unpack(">I", head[2:6])[0] - 10, socket.MSG_WAITALL)

    def commands(self, c, s, is_tpm):
        with c, s:
            if not is_tpm:
                threading.Thread(target=self.pipe, args=(s, c), daemon=True).start()
                self.pipe(c, s)
                return
            try:
                while (command := self.packet(c)):
                    hit = struct.unpack(">I", command[6:10])[0] == self.code and not self.done
                    if hit:
                        self.left -= 1
                    hit = hit and not self.left
                    if hit and not self.after:
                        self.kill()
                        return
                    s.sendall(command)
                    response = self.packet(s)
                    if hit:
                        self.kill()
                        return
                    c.sendall(response)
            except OSError:
                pass

    @staticmethod
    def pipe(a, b):
        try:
            while (data := a.recv(4096)):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def kills():
    """kill -9 at each step that reaches the TPM: making an anchor, advancing it, accept-rollback. It opens, always."""
    steps = [(NV_DEFINE, 1), (NV_DEFINE, 2), (NV_INCREMENT, 1), (NV_WRITE, 1), (NV_WRITE, 2), (NV_INCREMENT, 2)]
    for code, nth in steps:
        for after in (False, True):
            how = "killed %s command 0x%x, number %d" % ("after" if after else "before", code, nth)
            with Rig() as rig:
                tpm = Tpm2(rig, "host")
                store = Store(rig, tpm)
                killer = Killer(tpm, code, nth, after)
                killer.start()
                killer.server = Process(store.argv("tpm2:tcti=swtpm:port=%d" % killer.port), rig.path("killed.log"))
                killer.server.p.wait(60)
                check(killer.done, how + ", while it was made")
                store.start()
                store.advance("after")
                store.stop()
                store.copy("old")
                store.start()
                store.advance("more")
                store.stop()
                store.put_back("old")
                store.refused(how + ": an older copy is still noticed", "an older copy")
    for code in (NV_WRITE, NV_INCREMENT):
        for after in (False, True):
            how = "killed %s command 0x%x" % ("after" if after else "before", code)
            with Rig() as rig:
                tpm = Tpm2(rig, "host")
                store = Store(rig, tpm)
                store.start()
                store.epoch()
                store.stop()
                store.copy("old")
                killer = Killer(tpm, code, 1, after)
                killer.start()
                place = "tpm2:tcti=swtpm:port=%d" % killer.port
                store.start(place)
                rig.ctl("instance", "create", "a", "--no-ek", "--credential-out", rig.path("a.cred"))
                killer.server = rig.server
                rig.ctl("anchor", ok=False)
                rig.server.p.wait(60)
                check(killer.done, how + ", while it advanced")
                store.start()
                check(store.names() == ["a"], "nothing is lost")
                store.advance("b")
                store.stop()
                store.put_back("old")
                store.refused(how + ": an older copy is still noticed", "an older copy")
                # The same in accept-rollback.
                killer = Killer(tpm, code, 1, after)
                killer.start()
                killer.server = Process([program("vtpm-server"), "accept-rollback", "--data-dir", rig.data, "--keyslot",
                                         "recovery-file:" + store.recovery, "--allow-root", "--anchor",
                                         "tpm2:tcti=swtpm:port=%d" % killer.port], rig.path("accept.log"))
                killer.server.p.wait(60)
                check(killer.done, how + ", in accept-rollback")
                store.start()
                check(store.names() == [], "what was accepted opens")
                store.advance("c")
                store.stop()


def kills12():
    """The same with a TPM 1.2, while its owner makes the anchor."""
    for code, nth in ((NV12_DEFINE, 1), (COUNTER12_MAKE, 1), (NV12_WRITE, 1), (NV12_WRITE, 2), (COUNTER12_INCREMENT, 1)):
        for after in (False, True):
            how = "killed %s command 0x%x, number %d" % ("after" if after else "before", code, nth)
            with Rig() as rig:
                tpm = Tpm12(rig, "host")
                owner = owner_file(rig)
                store = Store(rig, tpm)
                killer = Killer(tpm, code, nth, after)
                killer.start()
                killer.server = Process(store.argv("tpm12:owner-auth-file=%s:device=tcp:127.0.0.1:%d" % (owner, killer.port)),
                                        rig.path("killed.log"))
                killer.server.p.wait(60)
                check(killer.done, how + ", while it was made")
                store.anchor = "tpm12:owner-auth-file=%s:%s" % (owner, tpm.spec)
                store.start()
                store.advance("after")
                store.stop()


def owner_file(rig):
    path = rig.path("owner")
    with open(path, "w") as f:
        f.write("host owner\n")
    os.chmod(path, 0o600)
    return path


def tpm12():
    """TPM 1.2: the owner makes it; then the same."""
    with Rig() as rig:
        tpm = Tpm12(rig, "host")
        store = Store(rig, tpm)
        owner = owner_file(rig)
        store.start()
        end = time.monotonic() + 30
        while "owner" not in store.protection() and time.monotonic() < end:
            time.sleep(0.05)
        check("not yet" in store.protection() and "owner's secret" in store.protection(), store.protection())
        store.stop()
        store.anchor = "tpm12:owner-auth-file=%s:%s" % (owner, tpm.spec)
        store.start()
        check(store.epoch() == 1, "made by the owner")
        store.stop()
        store.copy("old")
        store.anchor = "tpm12:" + tpm.spec
        store.start()
        store.advance("a")
        store.stop()
        store.put_back("old")
        store.refused("an older copy", "an older copy", "accept-rollback")
        store.accept()
        store.start()
        store.advance("b")
        store.stop()
        tpm.reboot()
        store.start("auto")
        check(store.names() == ["b"], "after a reboot of the host, from what the row remembers")
        store.stop()


if __name__ == "__main__":
    need("swtpm", "tpm2_nvdefine")
    scenes = {"copies": copies, "auto": lambda: copies(True), "window": window, "restored": restored, "tpms": other_tpms, "none": no_tpm,
              "kills": kills, "tpm12": tpm12, "kills12": kills12}
    for name in sys.argv[1:] or scenes:
        print("---- " + name)
        scenes[name]()

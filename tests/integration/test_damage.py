# SPDX-License-Identifier: Apache-2.0
"""A store that was altered behind the server's back is refused or its instance is broken: never served as if it were sound.

Every case works on a copy; at the end the store itself is as it was.
"""
import hashlib
import json
import os
import random
import re
import shutil
import sqlite3
import struct
import subprocess

from rawpeer import RawPeer, attach, credential, execute, hello, power_on
from rig import Process, Rig, check, program, run

FLIPS = 32
BROKEN = 22


def digest(path):
    return hashlib.sha256(open(path, "rb").read()).hexdigest()


class Copy:
    """A copy of the store, what was done to it, and what the server says of it."""

    def __init__(self, rig, source=None):
        self.rig, self.data, self.run = rig, rig.path("copy"), rig.path("copy-run")
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.rmtree(self.run, ignore_errors=True)
        shutil.copytree(source or rig.data, self.data)
        shutil.copytree(rig.run, self.run)
        self.db = self.data + "/vtpm.db"

    def sql(self, *statements):
        with sqlite3.connect(self.db) as db:
            for s in statements:
                db.execute(*(s if isinstance(s, tuple) else (s,)))
        db.close()
        return self

    def argv(self, *extra, key=None):
        return [program("vtpm-server"), "--data-dir", self.data, "--runtime-dir", self.run, "--keyslot",
                "keyfile:" + (key or self.rig.keyfile), "--listen", "unix:" + self.rig.path("copy.sock"), "--admin",
                "unix:" + self.rig.path("copy-admin.sock"), "--allow-root", *extra]

    def refused(self, what, code=9, *words, **kw):
        before = digest(self.db)
        r = subprocess.run(self.argv(**kw), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        check(r.returncode == code and all(w in r.stderr for w in words), "%s: exit %d: %s" %
              (what, r.returncode, r.stderr.strip().splitlines()[-1].replace(self.rig.dir, "")))
        check(digest(self.db) == before, "%s: the file is as it was" % what)

    def start(self):
        """The running server, or its exit code."""
        try:
            server = Process(self.argv(), self.rig.path("copy.log"), ready="vtpm-server: ready")
            self.rig.others.append(server)
            return server
        except AssertionError as e:
            return int(re.search(r"\(exit (-?\d+)\)", str(e)).group(1))

    def ctl(self, *argv):
        return subprocess.run([program("vtpmctl"), "--admin", "unix:" + self.rig.path("copy-admin.sock"), *argv],
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)


def pubek(address, cred):
    """The instance's EK as the answer of TPM_ReadPubek, or ("refused", code)."""
    peer, stream = RawPeer(address, *cred), os.urandom(16)
    try:
        if peer.handshake() is None:
            return "refused", "handshake"
        for message, answer in ((hello(), "hello"), (attach(stream), "attached"), (power_on(), "power_result"),
                                (execute(stream, 1, struct.pack(">HII", 0xC1, 30, 0x7C) + bytes(20)), "response")):
            peer.send(message)
            name, inner = peer.message()
            if name != answer:
                return "refused", inner.get(1) if name == "error" else inner
        rc = struct.unpack(">I", inner[2][6:10])[0]
        return ("refused", "TPM 0x%x" % rc) if rc else ("ek", hashlib.sha256(inner[2][10:-20]).hexdigest())
    finally:
        peer.close()


def altered_rows(rig, uuid):
    """The store MAC covers every row that means something for security."""
    a, b = (sqlite3.Binary(bytes.fromhex(uuid[n].replace("-", ""))) for n in ("a", "b"))

    def swap(table, key, one, other, *columns):
        """Two rows change places in these columns."""
        db = sqlite3.connect(rig.data + "/vtpm.db")
        rows = {k: db.execute("select %s from %s where %s=?" % (",".join(columns), table, key), (k,)).fetchone()
                for k in (one, other)}
        db.close()
        to = ",".join("%s=?" % c for c in columns)
        return [("update %s set %s where %s=?" % (table, to, key), (*rows[other], one)),
                ("update %s set %s where %s=?" % (table, to, key), (*rows[one], other))]
    cases = {
        "two instances' keys swapped": swap("instance", "uuid", a, b, "wrapped_key"),
        "two records swapped": swap("record", "uuid", a, b, "seq", "tag", "data"),
        "two credentials swapped": swap("credential", "identity", uuid["a"], uuid["b"], "sealed"),
        "a disabled instance enabled": [("update instance set life=0 where name='d'",)],
        "a disabled credential enabled": [("update credential set disabled=1-disabled where identity=?", (uuid["d"],))],
        "a deleted instance brought back": [("update instance set life=0, wrapped_key=x'00' where life=3",)],
        "a record's number changed": [("update record set seq=seq+1 where uuid=?", (a,))],
        "an epoch set back": [("update instance set epoch=0 where uuid=?", (a,))],
        "an instance removed": [("delete from record where uuid=?", (a,)),
                                ("delete from credential_instance where uuid=?", (a,)),
                                ("delete from instance where uuid=?", (a,))],
        "a binding added": [("insert into credential_instance values ('host:dom0', ?)", (b,))],
        "a key slot's parameters changed": [("update keyslot set params=params||' ' where id=(select max(id) from keyslot)",)],
        "the last event removed": [("delete from event where id=(select max(id) from event)",)],
        "the MAC changed": [("update meta set mac=zeroblob(32)",)],
        "the MAC removed": [("update meta set mac=null",)],
        "the generation set back": [("update meta set generation=generation-1",)],
    }
    for what, statements in cases.items():
        Copy(rig).sql(*statements).refused(what)


def older_rows(rig, uuid, older):
    """Rows of an older copy of the same store, which were right once."""
    for what, tables in (("an older record", ("record",)), ("an older record and its instance row", ("record", "instance"))):
        copy = Copy(rig)
        statements = [("attach ? as old", (older + "/vtpm.db",))]
        key = bytes.fromhex(uuid["a"].replace("-", ""))
        for t in tables:
            db = sqlite3.connect(copy.db)
            columns = [r[1] for r in db.execute("pragma table_info(%s)" % t) if r[1] != "uuid"]
            db.close()
            statements.append(("update %s set %s where uuid=?" % (t, ", ".join(
                "%s=(select %s from old.%s o where o.uuid=%s.uuid)" % (c, c, t, t) for c in columns)), (key,)))
        copy.sql(*statements).refused(what)


def versions(rig):
    Copy(rig).sql("pragma user_version=99").refused("a newer schema", 9, "newer")
    Copy(rig).sql("pragma user_version=0").refused("a schema without a version")
    Copy(rig).sql("pragma application_id=1").refused("another program's file", 9, "not a vtpm-server store")
    Copy(rig).sql("drop view inventory").refused("a missing view", 9, "inventory")
    copy = Copy(rig).sql("create trigger t before update on record begin select raise(abort, 'no'); end")
    server = copy.start()
    check(isinstance(server, Process) and copy.ctl("instance", "power-cycle", "a").returncode == 0,
          "a trigger that is not ours is never run")
    server.stop()
    copy = Copy(rig)
    with open(copy.db, "r+b") as f:
        f.truncate(os.path.getsize(copy.db) // 2)
    copy.refused("half a file")
    copy = Copy(rig)
    with open(copy.db, "wb"):
        pass
    copy.refused("an empty file")
    copy = Copy(rig)
    with open(copy.db, "wb") as f:
        f.write(os.urandom(65536))
    copy.refused("noise")


def one_blob(rig, uuid, good):
    """A record that does not open: its instance is broken and stays on disk, others go on."""
    copy = Copy(rig)
    key = bytes.fromhex(uuid["a"].replace("-", ""))
    db = sqlite3.connect(copy.db)
    data = bytearray(db.execute("select data from record where uuid=?", (key,)).fetchone()[0])
    db.close()
    data[len(data) // 2] ^= 1
    copy.sql(("update record set data=? where uuid=?", (bytes(data), key)))
    server = copy.start()
    check(isinstance(server, Process), "a flipped byte in one record: the server starts")
    address = "unix:" + rig.path("copy.sock")
    check(pubek(address, good["a"][0]) == ("refused", BROKEN), "its guest is told that the instance is broken")
    check(pubek(address, good["b"][0]) == good["b"][1], "another's guest is served")
    check("broken" in copy.ctl("instance", "show", "a").stdout, "the inventory says broken")
    r = copy.ctl("--json", "check")
    found = json.loads(r.stdout)["check"]
    check(r.returncode == 9 and found["broken"] == 1 and not found["ok"] and "instance a is broken" in found["text"],
          "`vtpmctl check` names it and exits with 9, as before it was marked")
    server.stop()
    db = sqlite3.connect(copy.db)
    check(bytes(db.execute("select data from record where uuid=?", (key,)).fetchone()[0]) == bytes(data),
          "what cannot be opened is kept as it is")
    db.close()


def flips(rig, good):
    """One bit anywhere in the file: refused, or served right, or that guest is told no."""
    size, dice = os.path.getsize(rig.data + "/vtpm.db"), random.Random(3)
    counts = {"refused": 0, "served": 0, "some broken": 0}
    at = [18, 24, 40, 60, 100] + [dice.randrange(size) for _ in range(FLIPS)]
    for offset in at:
        copy = Copy(rig)
        with open(copy.db, "r+b") as f:
            f.seek(offset)
            byte = f.read(1)[0]
            f.seek(offset)
            f.write(bytes([byte ^ 1 << dice.randrange(8)]))
        server = copy.start()
        if isinstance(server, int):
            said = open(rig.path("copy.log")).read()[-300:]
            # 1: the bit says that the file is read-only.
            if server not in (8, 9) and not (server == 1 and "vtpm.db cannot be written" in said):
                raise AssertionError("a bit flipped at %d: exit %d: %s" % (offset, server, said))
            counts["refused"] += 1
            continue
        answers = [(pubek("unix:" + rig.path("copy.sock"), cred), ek) for cred, ek in good.values()]
        for got, ek in answers:
            if got != ek and got[0] != "refused":
                raise AssertionError("a bit flipped at %d: another TPM is served" % offset)
        counts["served" if all(got == ek for got, ek in answers) else "some broken"] += 1
        if server.stop() not in (0, 9):
            raise AssertionError("a bit flipped at %d: the server did not stop in order" % offset)
    check(counts["refused"] and sum(counts.values()) == len(at), "a bit flipped at %d places: %s; never a wrong TPM" %
          (len(at), counts))


def event_text(rig):
    copy = Copy(rig).sql("update event set text=text||'!' where id=(select min(id)+1 from event)")
    server = copy.start()
    if isinstance(server, int):
        check(server == 9, "an event altered in the middle: exit 9")
        return
    r = copy.ctl("events", "--verify")
    check(r.returncode == 9, "an event altered in the middle: events --verify exits 9")
    server.stop()


def keys(rig):
    other = rig.path("other")
    run([program("vtpm-server"), "init", "--data-dir", other, "--keyslot", "keyfile:" + rig.path("other.key"),
         "--allow-root"])
    Copy(rig).refused("another store's key file", 8, "slot", key=rig.path("other.key"))
    copy = Copy(rig, source=other)
    copy.refused("another store under our key file", 8, "slot")
    copy = Copy(rig)
    shutil.copy(other + "/vtpm.db", copy.db)
    copy.refused("another store's database in its place", 8)
    copy = Copy(rig).sql("delete from keyslot where id=0")
    copy.refused("the key slot removed from the file", 8)
    server = Process(Copy(rig).argv("--keyslot", "keyfile:" + rig.keyfile, key=rig.path("other.key")), rig.path("copy.log"),
                     ready="vtpm-server: ready")
    rig.others.append(server)
    check(re.search(r"opened by key slot 0 keyfile", server.text()), "a wrong slot, then the right one: it says which opened")
    server.stop()


def permissions(rig):
    for what, path, mode, words in (("the data directory for all", "", 0o777, "chmod"),
                                    ("the data directory for the group to write", "", 0o770, "chmod"),
                                    ("the database for all to write", "/vtpm.db", 0o666, "chmod")):
        copy = Copy(rig)
        os.chmod(copy.data + path, mode)
        copy.refused(what, 7, words)
    copy = Copy(rig)
    os.chmod(copy.run, 0o777)
    copy.refused("the runtime directory for all to write", 7, "chmod")
    copy = Copy(rig)
    with open(rig.path("copy-admin.sock"), "w") as f:
        f.write("not a socket")
    copy.refused("a file in the admin socket's place", 2, "not a socket")
    check(open(rig.path("copy-admin.sock")).read() == "not a socket", "and it is left alone")
    os.remove(rig.path("copy-admin.sock"))
    if os.getuid() == 0:
        shutil.copy(rig.keyfile, rig.path("theirs"))
        os.chmod(rig.path("theirs"), 0o600)
        os.chown(rig.path("theirs"), 65534, 65534)
        Copy(rig).refused("a key file of another user's", 8, "belongs", key=rig.path("theirs"))
    os.symlink("/dev/zero", rig.path("endless"))
    Copy(rig).refused("a key file without end", 8, "regular", key=rig.path("endless"))
    check(os.stat(rig.data).st_mode & 0o777 == 0o700, "init made the data directory 0700")
    for name in os.listdir(rig.data):
        check(os.lstat(os.path.join(rig.data, name)).st_mode & 0o077 == 0, "%s is for its owner only" % name)


with Rig() as rig:
    rig.init()
    rig.start_server()
    check(os.stat(rig.path("admin.sock")).st_mode & 0o777 == 0o660, "the admin socket is 0660")
    uuid = {name: rig.create(name) for name in ("a", "b", "d", "gone")}
    rig.ctl("credential", "create-host", "dom0", "--instance", "a", "--credential-out", rig.path("host.cred"))
    rig.ctl("instance", "disable", "d")
    rig.ctl("instance", "delete", "gone", "--yes")
    good = {}
    for name in "a", "b":
        cred = credential(rig.path(name + ".cred"))
        good[name] = cred, pubek(rig.listen, cred)
        check(good[name][1][0] == "ek", "%s has an EK" % name)
    rig.server.stop()
    older = rig.path("older")
    shutil.copytree(rig.data, older)
    rig.start_server()
    rig.ctl("instance", "power-cycle", "a")
    check(pubek(rig.listen, good["a"][0]) == good["a"][1], "a goes on after a power cycle")
    rig.server.stop()
    begin = digest(rig.data + "/vtpm.db")
    altered_rows(rig, uuid)
    older_rows(rig, uuid, older)
    versions(rig)
    one_blob(rig, uuid, good)
    event_text(rig)
    keys(rig)
    permissions(rig)
    flips(rig, good)
    check(digest(rig.data + "/vtpm.db") == begin, "the store itself was not touched")
    rig.start_server()
    check(all(pubek(rig.listen, cred) == ek for cred, ek in good.values()), "and serves its guests")
    rig.ctl("check")
    rig.server.stop()
print("damage: all seen to hold")

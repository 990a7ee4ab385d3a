# SPDX-License-Identifier: Apache-2.0
"""Key slots of a host TPM, against real TPMs in software: what opens, what does not, and that it says why."""
import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time

from hosttpm import Tpm2, Tpm12
from tpm12 import sha1
from rig import Process, Rig, check, need, program, run

PCR = {Tpm2: 7, Tpm12: 4}


def begin(rig, tpm):
    """What the firmware measures."""
    tpm.extend(PCR[type(tpm)], b"firmware 1")


class Store:
    """A store with one slot of the host's TPM and its recovery key."""

    def __init__(self, rig, tpm, spec=""):
        self.rig, self.tpm = rig, tpm
        self.spec = "%s:pcrs=%d%s:%s" % (tpm.kind, PCR[type(tpm)], spec, tpm.spec)
        self.recovery = rig.path("recovery")
        r = run([program("vtpm-server"), "init", "--data-dir", rig.data, "--keyslot", self.spec, "--allow-root"])
        with open(self.recovery, "w") as f:
            f.write(r.stdout)
        os.chmod(self.recovery, 0o600)

    def start(self, *slots):
        rig = self.rig
        argv = [program("vtpm-server"), "--data-dir", rig.data, "--runtime-dir", rig.run, "--admin", rig.admin,
                "--allow-root"]
        for slot in slots or ["auto"]:
            argv += ["--keyslot", slot]
        rig.server = Process(argv, rig.path("server.log"), ready=r"vtpm-server: ready")
        return rig.server

    def stop(self):
        check(self.rig.server.stop() == 0, "the server stops")

    def opens(self, how, *slots):
        self.start(*slots)
        opened = self.rig.ctl_json("status")["status"]["keyslot"]
        self.stop()
        check(opened == "0 " + self.spec.split(":")[0], "%s: opened by key slot %s" % (how, opened))

    def content(self):
        return {name: hashlib.sha256(open(os.path.join(self.rig.data, name), "rb").read()).hexdigest()
                for name in sorted(os.listdir(self.rig.data)) if name == "vtpm.db"}

    def refuses(self, how, *words, slot="auto"):
        before, start = self.content(), time.monotonic()
        r = run([program("vtpm-server"), "--data-dir", self.rig.data, "--runtime-dir", self.rig.run, "--admin",
                 self.rig.admin, "--allow-root", "--keyslot", slot], ok=8)
        took = time.monotonic() - start
        for word in words:
            check(word in r.stderr, "%s: exit 8, the reason has %r" % (how, word))
        check("recovery key" in r.stderr or "tpm_takeownership" in r.stderr or "start the TPM" in r.stderr or
              "srk-auth-file" in r.stderr or "wait" in r.stderr or "tpm2_createprimary" in r.stderr, "%s: the way out is told" % how)
        check(self.content() == before, "%s: nothing changed on disk" % how)
        return took

    def by_recovery(self):
        return self.start("recovery-file:" + self.recovery)


def write(rig, name, text):
    path = rig.path(name)
    with open(path, "w") as f:
        f.write(text)
    return path


SEPARATORS = b"\xff" * 4, b"\0" * 4, b"\0\0\0\1"


def separators(rig, tpm):
    """What firmware leaves in PCRs that it measures nothing into."""
    n = PCR[type(tpm)]
    init = [program("vtpm-server"), "init", "--data-dir", rig.data, "--allow-root", "--keyslot"]
    for text in SEPARATORS:
        tpm.reboot()
        tpm.extend(n, text)
        r = run([*init, "%s:pcrs=%d:%s" % (tpm.kind, n, tpm.spec)], ok=2)
        check("PCR %d: the firmware's separator and nothing else" % n in r.stderr and "pcrs=none" in r.stderr,
              "separator %s alone: refused, the way out is told" % text.hex())
        check(not os.path.exists(os.path.join(rig.data, "vtpm.db")), "and no store was made")
    tpm.extend(2, b"option rom")
    mixed = rig.path("mixed")
    r = run([program("vtpm-server"), "init", "--data-dir", mixed, "--allow-root", "--keyslot",
             "%s:pcrs=%d,2:%s" % (tpm.kind, n, tpm.spec)])
    check("WARNING" in r.stderr.upper() and "PCR %d: the firmware's separator" % n in r.stderr,
          "beside a measured PCR: made, with a warning: " + r.stderr.strip())
    tpm.reboot()


def life(kind):
    """What both kinds of TPM must do."""
    with Rig() as rig:
        tpm = kind(rig, "host")
        n = PCR[kind]
        # 1. Zero PCRs measure nothing.
        r = run([program("vtpm-server"), "init", "--data-dir", rig.data, "--keyslot", "%s:pcrs=%d:%s" %
                 (tpm.kind, n, tpm.spec), "--allow-root"], ok=2)
        check("PCR %d is all zero" % n in r.stderr and "pcrs=none" in r.stderr, "a PCR of zeros is refused")
        check(not os.path.exists(os.path.join(rig.data, "vtpm.db")), "and no store was made")
        separators(rig, tpm)
        begin(rig, tpm)
        store = Store(rig, tpm)
        store.opens("after init")
        store.opens("with its own spec", store.spec)
        tpm.reboot()
        begin(rig, tpm)
        store.opens("after a reboot of the host")
        # 2. A changed component.
        tpm.extend(n, b"something else")
        store.refuses("a changed PCR", "PCR %d changed" % n, "now")
        store.refuses("a changed PCR, named slot", "PCR %d changed" % n, slot=store.spec)
        # 3. The recovery key opens; reseal makes it right; dry run does not.
        store.by_recovery()
        before = store.content()
        out = rig.ctl("keyslot", "reseal", "0", "--dry-run").stdout
        check(tpm.pcr(n).hex() in out, "a dry run shows the present value")
        check(store.content() == before, "and changes nothing")
        rig.ctl("keyslot", "reseal", "0")
        store.stop()
        store.opens("after reseal")
        # 4. Prediction: the next firmware, told by what it measures (a file) and by the value.
        new = write(rig, "firmware2", "firmware 2")
        for form in ("lines", "json"):
            tpm.reboot()
            begin(rig, tpm)
            store.by_recovery()
            rig.ctl("keyslot", "reseal", "0")
            if form == "lines":
                predicted = write(rig, "prediction", "# next firmware\nreset %d\nextend %d %s\n" % (n, n, new))
            else:
                h = hashlib.sha256 if kind is Tpm2 else hashlib.sha1
                value = h(bytes(h().digest_size) + h(b"firmware 2").digest()).hexdigest()
                predicted = write(rig, "prediction.json", json.dumps({str(n): value}))
            check(" or " in rig.ctl("keyslot", "reseal", "0", "--predict", predicted, "--dry-run").stdout,
                  "%s: a dry run shows both values" % form)
            rig.ctl("keyslot", "reseal", "0", "--predict", predicted)
            rig.ctl("keyslot", "test", "0")
            store.stop()
            store.opens("%s: predicted, but not yet changed" % form)
            tpm.reboot()
            tpm.extend(n, b"firmware 2")
            store.opens("%s: predicted and changed" % form)
            store.start()
            rig.ctl("keyslot", "reseal", "0")
            store.stop()
            tpm.reboot()
            begin(rig, tpm)
            store.refuses("%s: the old firmware after a reseal without prediction" % form, "PCR %d changed" % n)
        # 5. Wrong predictions are refused with the line.
        store.by_recovery()
        for text, why in (("%d: 00" % n, "hex digits"), ("nonsense", "must be"), ("23: " + "ab" * 32, "not bound"),
                          ("%d: %s" % (n, "00" * len(tpm.digest(b""))), "all zero"),
                          ("reset %d\nextend %d %s" % (n, n, tpm.digest(SEPARATORS[1]).hex()), "separator")):
            r = rig.ctl("keyslot", "reseal", "0", "--predict", write(rig, "wrong", text), ok=False)
            check(r.returncode == 2 and why in r.stderr, "prediction %r is refused: %s" % (text[:20], why))
        rig.ctl("keyslot", "reseal", "0")
        # 6. A weaker slot that opens is not silent.
        key = rig.path("weak.key")
        with open(key, "wb") as f:
            f.write(os.urandom(32))
        os.chmod(key, 0o600)
        weak = rig.ctl_json("keyslot", "add", "keyfile:" + key)["keyslots"][0]["id"]
        store.stop()
        store.opens("both open: the TPM is tried first")
        tpm.extend(n, b"something else")
        server = store.start()
        status = rig.ctl_json("status")["status"]
        check(status["keyslot"] == "%d keyfile" % weak and "PCR %d" % n in status["keyslot_warning"],
              "the weaker slot opens, and status says why the TPM did not")
        check("WEAKER SLOT" in server.text(), "and the log says it loudly")
        store.stop()
        store.refuses("a named TPM slot falls back to nothing", "PCR %d" % n, slot=store.spec)
        # 7. The last slot cannot go.
        store.start()
        rig.ctl("keyslot", "remove", "0")
        rig.ctl("keyslot", "remove", str(weak))
        r = rig.ctl("keyslot", "remove", "1", ok=False)
        check(r.returncode == 4 and "last one" in r.stderr, "the last slot cannot be removed")
        r = rig.ctl("keyslot", "add", "%s:pcrs=none:%s" % (tpm.kind, tpm.spec))
        check("pcrs=none" in r.stderr, "pcrs=none warns")
        store.stop()
        tpm.reboot()
        run_ok = store.start()
        check(" tpm" in rig.ctl_json("status")["status"]["keyslot"] and run_ok, "pcrs=none opens whatever was booted")
        store.stop()


def lost(kind):
    """The TPM is gone, silent, cleared, or another one."""
    with Rig() as rig:
        tpm = kind(rig, "host")
        begin(rig, tpm)
        store = Store(rig, tpm)
        tpm.stop()
        store.refuses("no TPM", "start the TPM")
        # Somebody who takes the connection and says nothing.
        quiet = subprocess.Popen([sys.executable, "-c", "import socket,time\nfor p in (%d,%d):\n s=socket.socket()\n "
                                  "s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)\n s.bind(('127.0.0.1',p))\n "
                                  "s.listen(9)\n globals()['s%%d'%%p]=s\nprint('on',flush=True)\ntime.sleep(600)" %
                                  (tpm.port, tpm.port + 1)], stdout=subprocess.PIPE)
        try:
            quiet.stdout.readline()
            took = store.refuses("a TPM that does not answer", "does not answer")
            check(took < 5, "within 5 s")
        finally:
            quiet.kill()
            quiet.wait()
        tpm.start()
        begin(rig, tpm)
        store.opens("the TPM is back")
        other = kind(rig, "other")
        begin(rig, other)
        store.refuses("another TPM", "not the one", slot="%s:%s" % (tpm.kind, other.spec))
        tpm.clear()
        if kind is Tpm12:
            store.refuses("a cleared TPM", "tpm_takeownership")
            tpm.own()
            begin(rig, tpm)
        store.refuses("a cleared TPM", "cleared")
        if kind is Tpm2:  # the anchor went as well: nobody but the recovery key says that this is the newest copy
            recovery = ["--data-dir", rig.data, "--keyslot", "recovery-file:" + store.recovery, "--allow-root"]
            r = run([program("vtpm-server"), *recovery], ok=9)
            check("accept-rollback" in r.stderr, "the recovery key alone: the cleared TPM's anchor is missed")
            run([program("vtpm-server"), "accept-rollback", *recovery])
        store.by_recovery()
        rig.ctl("keyslot", "reseal", "0")
        store.stop()
        store.opens("resealed after the clear")


def killed(kind):
    """The server is killed at moments of reseal, add and remove: the store opens by its TPM all the same."""
    with Rig() as rig:
        tpm = kind(rig, "host")
        begin(rig, tpm)
        store = Store(rig, tpm)
        predicted = write(rig, "prediction", "extend %d %s\n" % (PCR[kind], tpm.digest(b"next").hex()))
        verbs = (["keyslot", "reseal", "0", "--predict", predicted], ["keyslot", "reseal", "0"],
                 ["keyslot", "add", "%s:pcrs=none:%s" % (tpm.kind, tpm.spec)], ["keyslot", "remove", "2"])
        done = 0
        for i in range(24):
            server = store.start(store.spec)
            p = subprocess.Popen([program("vtpmctl"), "--admin", rig.admin, *verbs[i % 4]], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
            try:
                p.wait(0.02 * (i // 4) if i < 20 else 10)
            except subprocess.TimeoutExpired:
                pass
            server.kill9()
            if kind is Tpm2:
                tpm.tidy()
            done += p.wait() == 0
        store.opens("after 24 kills, %d verbs of which were done" % done)
        check(done >= 2, "some were done")
        r = run([program("vtpm-server"), "check", "--data-dir", rig.data, "--keyslot", store.spec, "--allow-root"])
        check("ok:" in r.stdout, "and the store is whole")


def lockout2():
    with Rig() as rig:
        tpm = Tpm2(rig, "host")
        begin(rig, tpm)
        store = Store(rig, tpm)
        tpm.tool("tpm2_dictionarylockout", "--setup-parameters", "--max-tries=1", "--recovery-time=1000",
                 "--lockout-recovery-time=1000")
        tpm.tool("tpm2_createprimary", "-C", "o", "-c", "p.ctx")
        tpm.tool("tpm2_create", "-C", "p.ctx", "-p", "right", "-i", "/etc/hostname", "-u", "a.pub",
                 "-r", "a.priv")
        tpm.tool("tpm2_flushcontext", "-t")
        tpm.tool("tpm2_load", "-C", "p.ctx", "-u", "a.pub", "-r", "a.priv", "-c", "a.ctx")
        for _ in range(3):
            tpm.tool("tpm2_flushcontext", "-t")
            tpm.tool("tpm2_unseal", "-c", "a.ctx", "-p", "wrong", ok=False)
        tpm.tool("tpm2_flushcontext", "-t")
        r = tpm.tool("tpm2_unseal", "-c", "a.ctx", "-p", "right", ok=False)
        check(r.returncode and "lockout" in r.stderr, "the TPM is in lockout: " + r.stderr)
        tpm.tool("tpm2_flushcontext", "-t", ok=False)
        store.opens("in lockout all the same: nothing that can be guessed protects the slot")


def owner_password2():
    """Without the owner's password no primary can be made: the persistent key is the way."""
    with Rig() as rig:
        tpm = Tpm2(rig, "host")
        begin(rig, tpm)
        store = Store(rig, tpm)
        tpm.tool("tpm2_changeauth", "-c", "owner", "secret")
        store.refuses("an owner's password", "password", "0x81000001")
        tpm.tool("tpm2_createprimary", "-C", "o", "-P", "secret", "-G", "ecc", "-c", "srk.ctx")
        tpm.tool("tpm2_evictcontrol", "-C", "o", "-P", "secret", "-c", "srk.ctx", "0x81000001")
        tpm.tool("tpm2_flushcontext", "-t", ok=False)
        store.by_recovery()
        rig.ctl("keyslot", "reseal", "0")
        store.stop()
        store.opens("under the persistent key that the message named")
        tpm.tool("tpm2_evictcontrol", "-C", "o", "-P", "secret", "-c", "0x81000001")
        store.refuses("the persistent key is gone", "0x81000001", "gone")


def signed2():
    """An operator's key approves sets of PCRs, also those to come."""
    with Rig() as rig:
        tpm = Tpm2(rig, "host")
        begin(rig, tpm)
        for name in ("operator", "stranger"):
            run(["openssl", "genrsa", "-out", rig.path(name + ".key"), "2048"])
            run(["openssl", "rsa", "-in", rig.path(name + ".key"), "-pubout", "-out", rig.path(name + ".pub")])
        signatures = write(rig, "signatures", "")

        def sign(key, value):
            r = run([program("vtpmctl"), "pcr-policy", "sign", "--key", rig.path(key + ".key"), "--pcrs", "7", "--predict",
                     write(rig, "values", "7: %s\n" % value.hex())])
            with open(signatures, "a") as f:
                f.write(r.stdout)

        rig.keyfile = rig.path("first.key")
        recovery = rig.init()
        with open(rig.path("recovery"), "w") as f:
            f.write(recovery)
        os.chmod(rig.path("recovery"), 0o600)
        rig.start_server()
        slot = rig.ctl_json("keyslot", "add", "tpm2-signed:pcrs=7:key=%s:signatures=%s:%s" %
                            (rig.path("operator.pub"), signatures, tpm.spec))["keyslots"][0]["id"]

        def test(ok, why, code=8):
            r = rig.ctl("keyslot", "test", str(slot), ok=ok)
            check(ok or (r.returncode == code and why in r.stderr), "test: %s" % (why or "opens"))

        test(False, "none of the 0 signed sets")
        sign("operator", tpm.pcr(7))
        test(True, "")
        second = tpm.digest(tpm.pcr(7) + tpm.digest(b"update"))
        tpm.extend(7, b"update")
        check(tpm.pcr(7) == second, "the update's value is as computed")
        test(False, "none of the 1 signed sets")
        sign("stranger", second)
        test(False, "not of the key")
        with open(signatures) as f:
            lines = f.read().splitlines()
        with open(signatures, "w") as f:
            f.write(lines[0] + "\n")
        sign("operator", second)
        test(True, "")
        rig.server.stop()
        rig.start_server("--keyslot", "auto")
        rig.server.stop()
        r = subprocess.run([program("vtpm-server"), "check", "--data-dir", rig.data, "--keyslot", "tpm2-signed:signatures=" +
                            signatures, "--allow-root"], capture_output=True, text=True, timeout=60)
        check(r.returncode == 0, "a server opens the store with what the operator signed: " + r.stderr[-200:])
        check("whatever is booted" not in r.stderr, "and has nothing to warn of")
        unmeasured(rig, tpm, signatures)


def unmeasured(rig, tpm, signatures):
    """Signed by other means, or made by an older version: it opens and is warned of; ours does not sign it."""
    value = hashlib.sha256(bytes(32) + tpm.digest(SEPARATORS[0])).digest()
    prediction = write(rig, "nothing", "7: %s\n" % value.hex())
    r = subprocess.run([program("vtpmctl"), "pcr-policy", "sign", "--key", rig.path("operator.key"), "--pcrs", "7",
                        "--predict", prediction], capture_output=True, text=True)
    check(r.returncode == 2 and "separator" in r.stderr, "pcr-policy sign refuses a separator: " + r.stderr.strip())
    pcrs = bytes.fromhex("0000017f" "00000001" "000b" "03" "800000")
    policy = hashlib.sha256(bytes(32) + pcrs + hashlib.sha256(value).digest()).digest()
    with open(rig.path("policy"), "wb") as f:
        f.write(policy)
    run(["openssl", "dgst", "-sha256", "-sign", rig.path("operator.key"), "-out", rig.path("signed"), rig.path("policy")])
    with open(signatures, "a") as f:
        f.write("pcrs=7 policy=%s signature=%s\n" % (policy.hex(), open(rig.path("signed"), "rb").read().hex()))
    tpm.reboot()
    tpm.extend(7, SEPARATORS[0])
    r = subprocess.run([program("vtpm-server"), "check", "--data-dir", rig.data, "--keyslot", "tpm2-signed:signatures=" +
                        signatures, "--allow-root"], capture_output=True, text=True, timeout=60)
    check(r.returncode == 0 and "whatever is booted" in r.stderr, "a slot that measures nothing opens, with a warning: " +
          r.stderr.strip()[-400:])


def special12():
    """No owner; an SRK with a secret; lockout."""
    with Rig() as rig:
        tpm = Tpm12(rig, "host", owned=False)
        tpm.enable()
        begin(rig, tpm)
        r = run([program("vtpm-server"), "init", "--data-dir", rig.data, "--keyslot", "tpm12:pcrs=4:" + tpm.spec,
                 "--allow-root"], ok=3)
        check("tpm_takeownership" in r.stderr, "without an owner: says what to do")
        tpm.own(srk=sha1(b"srk secret"))
        begin(rig, tpm)
        r = run([program("vtpm-server"), "init", "--data-dir", rig.data, "--keyslot", "tpm12:pcrs=4:" + tpm.spec,
                 "--allow-root"], ok=7)
        check("srk-auth-file" in r.stderr, "an SRK with a secret: says what to do")
        path = write(rig, "srk", "srk secret\n")
        os.chmod(path, 0o600)
        store = Store(rig, tpm, ":srk-auth-file=" + path)
        store.opens("with the SRK's secret in a file")
        with open(path, "w") as f:
            f.write("wrong\n")
        store.refuses("the wrong SRK secret", "srk-auth-file")


class StuckGenerator(threading.Thread):
    """A TPM 1.2 whose random numbers are all the same; everything else it refuses."""

    def __init__(self):
        super().__init__(daemon=True)
        self.s = socket.create_server(("127.0.0.1", 0))
        self.port = self.s.getsockname()[1]
        self.asked = 0

    def run(self):
        while True:
            c, _ = self.s.accept()
            with c:
                while (head := c.recv(4096)):
                    n = struct.unpack(">I", head[10:14])[0]
                    self.asked += 1
                    c.sendall(struct.pack(">HII", 0xC4, 14 + n, 0) + struct.pack(">I", n) + b"\x55" * n)


def entropy():
    """The TPM's random numbers are one source more, and never a reason not to run."""
    with Rig() as rig:
        rig.init()

        def host_tpm(spec):
            rig.start_server("--hwtpm", spec)
            end = time.monotonic() + 30
            while True:
                text = rig.ctl_json("status")["status"]["host_tpm"]
                if text != "being asked" or time.monotonic() > end:
                    break
                time.sleep(0.05)
            rig.create("g%d" % time.monotonic_ns())
            check(rig.server.stop() == 0, "the server stops")
            return text

        for kind in (Tpm2, Tpm12):
            tpm = kind(rig, kind.kind)
            check("mixed into" in host_tpm(tpm.kind + ":" + tpm.spec), "%s: its random numbers are mixed in" % kind.kind)
            tpm.stop()
            check("not used" in host_tpm(tpm.kind + ":" + tpm.spec), "%s: gone, and the server runs" % kind.kind)
        stuck = StuckGenerator()
        stuck.start()
        text = host_tpm("tpm12:device=tcp:127.0.0.1:%d" % stuck.port)
        check(stuck.asked and "health test" in text, "a generator that is stuck is noticed and not used: " + text)
        check(host_tpm("none") == "none", "none is none")
        r = run([program("vtpm-server"), "--data-dir", rig.data, "--hwtpm", "tpm3"], ok=2)
        check("must be auto, none" in r.stderr, "a wrong --hwtpm is a usage error")


def credential():
    """A systemd credential: a key file that the service manager brings."""
    with Rig() as rig:
        rig.init()
        folder = rig.path("credentials")
        os.mkdir(folder, 0o700)
        with open(folder + "/store", "wb") as f:
            f.write(os.urandom(32))
        os.chmod(folder + "/store", 0o440)
        rig.start_server(env={"CREDENTIALS_DIRECTORY": folder})
        slot = rig.ctl_json("keyslot", "add", "credential:store")["keyslots"][0]["id"]
        rig.ctl("keyslot", "test", str(slot))
        rig.server.stop()
        argv = [program("vtpm-server"), "check", "--data-dir", rig.data, "--allow-root", "--keyslot"]
        run(argv + ["credential:store"], env=dict(os.environ, CREDENTIALS_DIRECTORY=folder))
        run(argv + ["auto"], env=dict(os.environ, CREDENTIALS_DIRECTORY=folder))
        r = run(argv + ["credential:store"], ok=8)
        check("LoadCredential" in r.stderr, "without the directory: says which line the unit needs")
        os.chmod(folder + "/store", 0o444)
        r = run(argv + ["credential:store"], ok=8, env=dict(os.environ, CREDENTIALS_DIRECTORY=folder))
        check("chmod 600" in r.stderr, "open to others: refused")


if __name__ == "__main__":
    need("swtpm", "tpm2_pcrextend", "openssl")
    scenes = {"life2": lambda: life(Tpm2), "lost2": lambda: lost(Tpm2), "lockout2": lockout2, "owner2": owner_password2,
              "signed2": signed2, "killed2": lambda: killed(Tpm2), "killed12": lambda: killed(Tpm12), "life12": lambda: life(Tpm12), "lost12": lambda: lost(Tpm12),
              "special12": special12,
              "entropy": entropy, "credential": credential}
    for name in sys.argv[1:] or scenes:
        print("---- " + name)
        scenes[name]()

# SPDX-License-Identifier: Apache-2.0
"""Deep quotes, checked by a verifier that shares no code with the server: docs/attestation.md, openssl, tpm2-tools."""
import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import time

from hosttpm import Tpm2, Tpm12
from rig import Rig, check, need, run, wait_until
from tpm12 import pcr_selection

NONCE = hashlib.sha256(b"a nonce of the verifier").digest()


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise ValueError("cut off")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, n):
        return int.from_bytes(self.take(n), "big")

    def end(self):
        if self.at != len(self.data):
            raise ValueError("goes on")


def require(condition, what):
    if not condition:
        raise ValueError(what)


def composite(c):
    """TPM_PCR_COMPOSITE."""
    require(c.number(2) == 3, "sizeOfSelect")
    mask = int.from_bytes(c.take(3), "little")
    chosen = [n for n in range(24) if mask >> n & 1]
    require(c.number(4) == 20 * len(chosen), "valueSize")
    return {n: c.take(20) for n in chosen}


def parse(data):
    c = Cursor(data)
    require(c.take(8) == b"vtpm-de1", "magic")
    kind, mask = c.number(1), c.number(4)
    require(kind in (1, 2) and mask < 1 << 24, "kind or mask")
    host = {n: c.take(32 if kind == 2 else 20) for n in range(24) if mask >> n & 1}
    statement, message, signature = [c.take(c.number(2)) for _ in range(3)]
    c.end()
    s = Cursor(statement)
    require(s.take(8) == b"vtpm-dq1", "statement's magic")
    said = {"store": s.take(16), "instance": s.take(16), "ek": s.take(32), "epoch": s.number(8), "seq": s.number(8),
            "origin": s.number(1), "nonce": s.take(32), "pcrs": composite(s)}
    s.end()
    require(said["origin"] in (1, 2), "origin")
    return kind, mask, host, statement, said, message, signature


def check_attest(message, bound, mask, host):
    """TPMS_ATTEST of a quote."""
    m = Cursor(message)
    require(m.take(6) == bytes.fromhex("ff5443478018"), "no quote")
    m.take(m.number(2))
    require(m.take(m.number(2)) == bound, "extraData")
    m.take(25)
    require(m.take(6) == bytes.fromhex("00000001000b"), "one bank, SHA-256")
    require(m.take(m.number(1)) == mask.to_bytes(3, "little"), "selection")
    require(m.take(m.number(2)) == hashlib.sha256(b"".join(host[n] for n in sorted(host))).digest(), "pcrDigest")
    m.end()


def check_quote_info(message, bound, mask, host):
    values = b"".join(host[n] for n in sorted(host))
    whole = struct.pack(">H3sI", 3, mask.to_bytes(3, "little"), len(values)) + values
    require(message == b"\x01\x01\x00\x00QUOT" + hashlib.sha1(whole).digest() + bound[:20], "TPM_QUOTE_INFO")


def verify(rig, data, key, nonce):
    """What it says, or ValueError."""
    kind, mask, host, statement, said, message, signature = parse(data)
    bound = hashlib.sha256(statement).digest()
    (check_attest if kind == 2 else check_quote_info)(message, bound, mask, host)
    require(said["nonce"] == nonce, "nonce")
    names = {"message": message, "signature": signature}
    for name, content in names.items():
        with open(rig.path(name), "wb") as f:
            f.write(content)
    r = subprocess.run(["openssl", "dgst", "-sha256" if kind == 2 else "-sha1", "-verify", key, "-signature",
                        rig.path("signature"), rig.path("message")], capture_output=True, text=True)
    require(r.returncode == 0, "signature")
    return said, host, bound


def ours(rig, data, key, *more):
    """vtpmctl's exit code and answer."""
    path = rig.path("given")
    with open(path, "wb") as f:
        f.write(data)
    return rig.ctl("--json", "verify-quote", path, "--key", key, *(more or ("--nonce", NONCE.hex())), ok=False)


def refused(r, code, word, how):
    text = r.stderr + r.stdout
    check(r.returncode == code and word in text, "%s: refused with %d, %s" % (how, r.returncode, text.strip()))


def quote(rig, name, out, *more, ok=True):
    return rig.ctl("instance", "quote", name, "--deep", "--nonce", NONCE.hex(), "--out", rig.path(out), *more, ok=ok)


def begin(rig, tpm):
    """A server on this TPM, an instance that runs, the attestation key."""
    rig.init()
    rig.start_server("--hwtpm", tpm.kind + ":" + tpm.spec)
    rig.create("web")
    rig.start_shim("web")
    guest = rig.tpm("web")
    check(guest.startup() in (0, 38), "the guest's TPM is started")
    guest.extend(10, b"\x11" * 20)
    refused(quote(rig, "web", "none", ok=False), 3, "host-ak create", "without a key")
    owner = []
    if tpm.kind == "tpm12":
        with open(rig.path("owner"), "w") as f:
            f.write("host owner\n")
        owner = ["--file", rig.path("owner")]
    key = rig.path("ak.pem")
    with open(key, "w") as f:
        f.write(rig.ctl("host-ak", "create", *owner).stdout)
    check(rig.ctl("host-ak", "show").stdout == open(key).read(), "host-ak show prints the same key")
    refused(rig.ctl("host-ak", "create", *owner, ok=False), 5, "--yes", "a second key")
    return guest, key, owner


def every_byte(rig, data, key):
    """Each byte altered, in both verifiers; vtpmctl runs as a process for each, so all of it is checked there once."""
    for at in range(len(data)):
        bad = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1:]
        try:
            verify(rig, bad, key, NONCE)
        except ValueError:
            pass
        else:
            raise AssertionError("byte %d altered, and the independent verifier takes it" % at)
        r = ours(rig, bad, key)
        if r.returncode == 0:
            raise AssertionError("byte %d altered, and vtpmctl takes it" % at)
    check(True, "every single one of %d bytes altered: refused by both verifiers" % len(data))
    for cut in (0, 8, 12, len(data) // 2, len(data) - 1):
        check(ours(rig, data[:cut], key).returncode != 0, "cut to %d bytes: refused" % cut)
    check(ours(rig, data + b"\0", key).returncode != 0, "a byte more: refused")


def by_tools(rig, key, bound):
    """tpm2-tools' own verifier, on message and signature."""
    r = run(["tpm2_checkquote", "-u", key, "-m", rig.path("message"), "-s", rig.path("signature"), "-g", "sha256", "-q",
             bound.hex()])
    check(r.returncode == 0, "tpm2_checkquote takes it")
    r = subprocess.run(["tpm2_checkquote", "-u", key, "-m", rig.path("message"), "-s", rig.path("signature"), "-g",
                        "sha256", "-q", "00" * 32], capture_output=True)
    check(r.returncode != 0, "and not with other qualifying data")


def truth(rig, tpm, guest, said, host):
    shown = rig.ctl_json("instance", "show", "web")["instances"][0]
    check(said["instance"].hex() == shown["uuid"].replace("-", "") and said["ek"].hex() == shown["ek_sha256"],
          "it names the instance and its endorsement key")
    check(said["origin"] == 2 and said["epoch"] > 0, "asked by the operator, in epoch %d" % said["epoch"])
    for n in (0, 10, 17):
        check(said["pcrs"][n] == guest.pcr(n), "guest PCR %d is as the guest reads it" % n)
    if tpm.kind == "tpm2":
        check(host[7] == tpm.pcr(7), "host PCR 7 is as the host reads it")


def life(kind):
    with Rig() as rig:
        tpm = kind(rig, kind.kind)
        tpm.extend(7, b"firmware")
        guest, key, owner = begin(rig, tpm)
        quote(rig, "web", "quote")
        data = open(rig.path("quote"), "rb").read()
        said, host, bound = verify(rig, data, key, NONCE)
        truth(rig, tpm, guest, said, host)
        if tpm.kind == "tpm2":
            by_tools(rig, key, bound)
        r = ours(rig, data, key)
        check(r.returncode == 0 and json.loads(r.stdout)["verified"]["nonce"] == NONCE.hex(), "vtpmctl verifies it")
        check(json.loads(r.stdout)["verified"]["pcrs"]["10"] == said["pcrs"][10].hex(), "and says the same of PCR 10")
        refused(ours(rig, data, key, "--nonce", "00" * 32), 7, "another nonce", "another nonce")
        refused(ours(rig, data, key, "--nonce", NONCE.hex(), "--uuid", "00000000-0000-4000-8000-000000000000"), 7,
                "another instance", "another instance")
        certified(rig, data, key)
        every_byte(rig, data, key)
        later(rig, tpm, key, owner, data)


DEEP_QUOTE = 0x20000001
RETRY, IOERROR, BAD_ORDINAL, BAD_SIZE, INVALID_PCR_INFO, DISABLED = 0x800, 0x1F, 0x0A, 0x19, 0x10, 0x07


def ask(guest, nonce=NONCE, pcrs=(0, 10, 17), host=(0, 7), more=b""):
    """(rc, evidence) of the guest's own command."""
    rc, _, out = guest.raw(DEEP_QUOTE, params=nonce + pcr_selection(pcrs) + pcr_selection(host) + more)
    if rc:
        return rc, None
    check(struct.unpack(">I", out[:4])[0] == len(out) - 4, "evidenceSize is right")
    return rc, out[4:]


def by_guest(kind=Tpm2):
    """The vendor command: the engine waits, the broker makes the statement, the rate is bounded."""
    with Rig() as rig:
        tpm = kind(rig, kind.kind)
        tpm.extend(7, b"firmware")
        guest, key, _ = begin(rig, tpm)
        rc, data = ask(guest)
        check(rc == 0, "the guest has a deep quote, rc 0x%x" % rc)
        said, host, _ = verify(rig, data, key, NONCE)
        check(said["origin"] == 1 and sorted(said["pcrs"]) == [0, 10, 17] and sorted(host) == [0, 7],
              "asked by the guest, of the PCRs that it chose")
        check(said["instance"].hex() == rig.ctl_json("instance", "show", "web")["instances"][0]["uuid"].replace("-", ""),
              "the instance is the broker's word")
        check(said["pcrs"][10] == guest.pcr(10) and host[7] == tpm.pcr(7), "PCRs of both TPMs")
        check(ours(rig, data, key).returncode == 0, "vtpmctl verifies it")
        check(ask(guest, host=())[0] == INVALID_PCR_INFO, "no PCR of the host: refused")
        check(ask(guest, nonce=NONCE[1:])[0] in (BAD_SIZE, INVALID_PCR_INFO), "a nonce that is too short: refused")
        check(ask(guest, more=b"x")[0] == BAD_SIZE, "a byte too many: refused")
        check(guest.raw(DEEP_QUOTE + 1)[0] == BAD_ORDINAL, "the next vendor ordinal: there is none")
        rcs = [ask(guest)[0] for _ in range(8)]
        check(rcs == [0] * 5 + [RETRY] * 3, "six in a minute, then TPM_RETRY: %s" % rcs)
        check(guest.pcr(10) == said["pcrs"][10], "the TPM goes on")
        events = [e for e in rig.ctl_json("events")["events"] if e["kind"] == "quote"]
        check(not events, "a guest cannot fill the events")
        without(rig, tpm)


def without(rig, tpm):
    """The host's TPM is gone in the middle; the server is stopped while it is asked; no TPM at all."""
    rig.create("two")
    rig.start_shim("two")
    guest = rig.tpm("two")
    guest.startup()
    tpm.p.p.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    check(ask(guest)[0] == IOERROR, "the host's TPM hangs: TPM_IOERROR")
    check(time.monotonic() - started < 60, "within the time that a TPM is given")
    check(len(guest.pcr(0)) == 20, "and the guest's TPM goes on")
    tpm.p.p.send_signal(signal.SIGCONT)
    wait_until(lambda: quote(rig, "two", "again", ok=False).returncode == 0, "the host's TPM is answered for again")
    check(ask(guest)[0] == 0, "it answers again")
    check(rig.server.stop() == 0, "the server stops")
    rig.start_server("--hwtpm", "none")
    check(ask(guest)[0] == IOERROR, "no TPM of the host is used: TPM_IOERROR")
    check(len(guest.pcr(0)) == 20, "and the guest's TPM goes on")


def certified(rig, data, key):
    """The key in a certificate of a CA, in the place of a pinned one."""
    for ca in ("ca", "other"):
        run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", rig.path(ca + ".key"), "-out",
             rig.path(ca + ".pem"), "-subj", "/CN=" + ca, "-days", "30"])
    for out, usage in (("ak.crt", "2.23.133.8.3"), ("web.crt", "serverAuth")):
        with open(rig.path("v3.ext"), "w") as f:
            f.write("extendedKeyUsage=%s\n" % usage)
        run(["openssl", "x509", "-new", "-force_pubkey", key, "-subj", "/CN=host", "-CA", rig.path("ca.pem"), "-CAkey",
             rig.path("ca.key"), "-days", "30", "-extfile", rig.path("v3.ext"), "-out", rig.path(out)])
    more = ("--nonce", NONCE.hex(), "--ca-cert")
    r = ours(rig, data, rig.path("ak.crt"), *more, rig.path("ca.pem"))
    check(r.returncode == 0, "by its certificate")
    refused(ours(rig, data, rig.path("web.crt"), *more, rig.path("ca.pem")), 7, "extendedKeyUsage", "a web server's")
    refused(ours(rig, data, rig.path("ak.crt"), *more, rig.path("other.pem")), 7, "does not vouch", "another CA")


def later(rig, tpm, key, owner, data):
    """Selections; an instance that is off; the host's PCRs change; a new key."""
    quote(rig, "web", "some", "--pcr", "10", "--pcrs", "0,7,16")
    said, host, _ = verify(rig, open(rig.path("some"), "rb").read(), key, NONCE)
    check(sorted(said["pcrs"]) == [10] and sorted(host) == [0, 7, 16], "only the PCRs that were asked for")
    old = host[7]
    tpm.extend(7, b"something else")
    quote(rig, "web", "after")
    check(verify(rig, open(rig.path("after"), "rb").read(), key, NONCE)[1][7] != old, "a change of the host is seen")
    rig.create("cold")
    refused(quote(rig, "cold", "cold", ok=False), 4, "off", "an instance that is off")
    check(not os.path.exists(rig.path("cold")), "and no file is left")
    rig.ctl("host-ak", "create", "--yes", *owner)
    quote(rig, "web", "new")
    refused(ours(rig, open(rig.path("new"), "rb").read(), key), 7, "not by this", "a quote by a new key")
    # An act is written down after its answer.
    told = lambda: [e for e in rig.ctl_json("events")["events"] if e["kind"] == "quote" and NONCE.hex() in e["text"]]
    wait_until(lambda: len(told()) >= 4, "the events of the quotes")
    check(len(told()) == 4, "each quote is an event")
    tpm.stop()
    refused(quote(rig, "web", "gone", ok=False), 3, "", "without the TPM")


if __name__ == "__main__":
    need("swtpm", "tpm2_pcrextend", "tpm2_checkquote", "openssl")
    scenes = {"guest": by_guest, "life2": lambda: life(Tpm2), "life12": lambda: life(Tpm12)}
    for name in sys.argv[1:] or scenes:
        print("---- " + name)
        scenes[name]()

# SPDX-License-Identifier: Apache-2.0
"""A TPM 1.2 made, owned and used under Debian's swtpm moves in: what was sealed there unseals here. Every refusal leaves
the store as it was and says why."""
import fcntl
import hashlib
import os
import shutil
import signal
import struct
import subprocess

from hosttpm import OWNER, Tpm12, enable12, own12
from rig import Rig, check, free_port, need, program, run
from tcsd import Tcsd, need_trousers
from tpm12 import (ET_COUNTER, ET_KEYHANDLE, ET_OWNER, KH_EK, KH_OWNER, KH_SRK, WELL_KNOWN, Auth, Session, Socket, Tpm, hmac1,
                   key_modulus, pcr_selection, sha1, verify_sha1)

SRK, DATA, KEY, AREA, COUNTER, LENT = (sha1(b) for b in (b"srk", b"data", b"key", b"area", b"counter", b"lent"))
EK_CERT = 0x1000F000
OWNER_AREA, AUTH_AREA, PCR_AREA, LOCKED_AREA = 0x11001, 0x11002, 0x11003, 0x11004
STATE = "tpm-00.permall"
FULL, MONITOR_TIMEOUT = 1, 30


def u16(n):
    return struct.pack(">H", n)


def u32(n):
    return struct.pack(">I", n)


# ---- A TPM with something of everything, under swtpm ----
class Swtpm(Tpm12):
    """PCRs begin again with the process."""

    def __init__(self, rig, name, flags=()):
        self.key_flags = flags
        super(Tpm12, self).__init__(rig, name, flags)

    @property
    def state(self):
        return os.path.join(self.dir, STATE)


def public_of(t, handle, secret):
    rc, _, out = t.raw("GetPubKey", handles=u32(handle), auths=[Auth(t.oiap(), secret)])
    assert rc == 0, hex(rc)
    return out


def define_bound(t, index, size, pcrs):
    """An area that is read only while these PCRs are as they are now."""
    values = b"".join(t.pcr(n) for n in pcrs)
    selection = pcr_selection(pcrs)
    read = selection + b"\x1f" + sha1(selection + u32(len(values)) + values)
    write = pcr_selection(()) + b"\x1f" + bytes(20)
    public = (struct.pack(">HI", 0x18, index) + read + write + struct.pack(">HI", 0x17, 0x00040004) + b"\0\0\0" + u32(size))
    session = t.osap(ET_OWNER, KH_OWNER, OWNER)
    return t.raw("NV_DefineSpace", params=public + session.enc_auth(AREA), auths=[Auth(session)])[0]


def make_nv(t, known):
    assert t.nv_define(OWNER, OWNER_AREA, 64, 0x00020002) == 0
    assert t.nv_write(OWNER_AREA, 0, b"the owner's 32 bytes, of 64 ....", OWNER) == 0
    assert t.nv_define(OWNER, AUTH_AREA, 20, 0x00040004, AREA) == 0
    assert t.nv_write_auth(AUTH_AREA, 0, sha1(b"with a secret"), AREA) == 0
    assert define_bound(t, PCR_AREA, 8, [10]) == 0
    assert t.nv_write_auth(PCR_AREA, 0, b"bound to", AREA) == 0
    assert t.nv_define(OWNER, LOCKED_AREA, 4, 0x00022002) == 0     # WRITEDEFINE
    assert t.nv_write(LOCKED_AREA, 0, b"lock", OWNER) == 0
    assert t.nv_write(LOCKED_AREA, 0, b"", OWNER) == 0              # length 0: for good


def make_counters(t, known):
    def create(label):
        s = t.osap(ET_OWNER, KH_OWNER, OWNER)
        rc, _, out = t.raw("CreateCounter", params=s.enc_auth(COUNTER) + label, auths=[Auth(s)])
        assert rc == 0, hex(rc)
        return struct.unpack(">I", out[:4])[0]

    known["counter"], gone = create(b"stay"), create(b"gone")
    for _ in range(3):
        rc, _, out = t.raw("IncrementCounter", params=u32(known["counter"]), auths=[Auth(t.oiap(), COUNTER)])
        assert rc == 0, hex(rc)
    known["count"] = out
    assert t.raw("ReleaseCounterOwner", params=u32(gone), auths=[Auth(t.oiap(), OWNER)])[0] == 0


def make_delegation(t, known):
    def manage(family, op, data):
        rc, _, out = t.raw("Delegate_Manage", params=u32(family) + u32(op) + u32(len(data)) + data,
                           auths=[Auth(t.oiap(), OWNER)])
        assert rc == 0, hex(rc)
        return out

    family = struct.unpack(">I", manage(0, 1, b"f")[4:8])[0]
    manage(family, 2, b"\1")
    pub = u16(0x1B) + b"r" + pcr_selection(()) + b"\x1f" + bytes(20) + u16(0x1A) + u32(1) + u32(0x7FFFFFFF) + u32(0)
    s = t.osap(ET_OWNER, KH_OWNER, OWNER)
    rc, _, out = t.raw("Delegate_CreateOwnerDelegation", params=b"\0" + pub + u32(family) + u32(0) + s.enc_auth(LENT),
                       auths=[Auth(s)])
    assert rc == 0, hex(rc)
    blob = out[4:]
    assert t.raw("Delegate_LoadOwnerDelegation", params=u32(1) + u32(len(blob)) + blob, auths=[Auth(t.oiap(), OWNER)])[0] == 0
    known["blob of an owner's delegation"] = blob


def make_keys(t, known):
    for name, usage, enc, sig in (("signing key", 0x10, 1, 2), ("storage key", 0x11, 3, 1)):
        rc, _, known[name] = t.create_wrap_key(KH_SRK, SRK, KEY, t.key_template(usage, sig, enc))
        assert rc == 0, (name, hex(rc))
    rc, storage = t.load_key2(KH_SRK, SRK, known["storage key"])
    assert rc == 0, hex(rc)
    rc, _, known["key below"] = t.create_wrap_key(storage, KEY, KEY, t.key_template(0x10, 2))
    assert rc == 0, hex(rc)
    rc, _, known["sealed below"] = t.seal(storage, KEY, DATA, b"below a storage key")
    assert rc == 0, hex(rc)
    rc, kept = t.load_key2(KH_SRK, SRK, known["signing key"])
    assert rc == 0, hex(rc)
    rc = t.raw("KeyControlOwner", handles=u32(kept), params=public_of(t, kept, KEY) + u32(1) + b"\1",
               auths=[Auth(t.oiap(), OWNER)])[0]
    assert rc == 0, hex(rc)
    known["kept"] = kept


def internal(t, handle):
    rc, _, out = t.raw("OwnerReadInternalPub", params=u32(handle), auths=[Auth(t.oiap(), OWNER)])
    assert rc == 0, hex(rc)
    return out


def facts(t):
    """What it says of itself."""
    nv = t.capability(0x0D)[2]
    known = {"flags": t.flags()[0] - {"allowMaintenance"},      # which pc-client does not have
             "nv list": sorted(nv[i:i + 4] for i in range(4, len(nv), 4)),
             "table": t.raw("Delegate_ReadTable")[2], "ek": internal(t, KH_EK),
             "srk": internal(t, KH_SRK)}
    known["areas"] = {index: t.capability(0x11, index)[2] for index in known["nv list"]}
    return known


def fill(h):
    """Everything; what a client kept of it. The PCR is as after this extend."""
    known = {}
    enable12(h.tpm())
    h.reboot()
    t = h.tpm()
    certificate = b"a certificate, or what is kept in its place"
    assert t.nv_define(None, EK_CERT, len(certificate), 0x00002000) == 0
    assert t.nv_write(EK_CERT, 0, certificate) == 0 and t.nv_write(EK_CERT, 0, b"") == 0
    assert t.nv_define(None, 0xFFFFFFFF, 0, 0) == 0     # nvLocked
    known["certificate"] = certificate
    own12(t, SRK)
    t = h.tpm()
    t.extend(10, sha1(b"measured"))
    rc, _, known["sealed"] = t.seal(KH_SRK, SRK, DATA, b"sealed under swtpm")
    assert rc == 0
    rc, _, known["bound"] = t.seal(KH_SRK, SRK, DATA, b"sealed to PCR 10", t.pcr_info([10]))
    assert rc == 0
    make_keys(t, known)
    make_nv(t, known)
    make_counters(t, known)
    make_delegation(t, known)
    assert t.set_permanent_flag("readSRKPub", True, OWNER) == 0
    assert t.raw("SetOrdinalAuditStatus", params=u32(0x14) + b"\1", auths=[Auth(t.oiap(), OWNER)])[0] == 0
    t.send.close()
    h.reboot()
    t = h.tpm()
    known.update(facts(t))
    t.send.close()
    h.stop()
    return known


# ---- It is the same TPM here ----
def openssl_verifies(rig, modulus, data, signature):
    """By a program that shares no code with us: an RSA public key as DER, openssl's dgst over it."""
    def tlv(tag, body):
        n = len(body)
        return bytes([tag]) + (bytes([n]) if n < 128 else bytes([0x82]) + u16(n)) + body

    public = tlv(0x30, tlv(2, b"\0" + modulus) + tlv(2, b"\1\0\1"))
    oid = bytes.fromhex("300d06092a864886f70d0101010500")
    paths = [rig.path(n) for n in ("public.der", "signed", "signature")]
    for path, content in zip(paths, (tlv(0x30, oid + tlv(3, b"\0" + public)), data, signature)):
        with open(path, "wb") as f:
            f.write(content)
    r = subprocess.run(["openssl", "dgst", "-sha1", "-verify", paths[0], "-keyform", "DER", "-signature", paths[2], paths[1]],
                       capture_output=True, text=True)
    return r.returncode == 0


def check_keys(rig, t, known):
    rc, out = t.unseal(KH_SRK, SRK, DATA, known["sealed"])
    check((rc, out) == (0, b"sealed under swtpm"), "what was sealed under swtpm unseals here")
    rc, _ = t.unseal(KH_SRK, SRK, DATA, known["bound"])
    check(rc == 0x18, "what was sealed to a PCR does not, before the PCR is the same")
    t.extend(10, sha1(b"measured"))
    rc, out = t.unseal(KH_SRK, SRK, DATA, known["bound"])
    check((rc, out) == (0, b"sealed to PCR 10"), "and does when it is")
    rc, storage = t.load_key2(KH_SRK, SRK, known["storage key"])
    check(rc == 0, "a storage key loads")
    rc, out = t.unseal(storage, KEY, DATA, known["sealed below"])
    check((rc, out) == (0, b"below a storage key"), "and unseals what is below it")
    rc, below = t.load_key2(storage, KEY, known["key below"])
    check(rc == 0, "a key below it loads")
    for name, handle, key in (("that key", below, "key below"), ("the key that the owner kept, under its handle",
                                                               known["kept"], "signing key")):
        rc, signature = t.sign(handle, KEY, sha1(b"signed here"))
        check(rc == 0 and openssl_verifies(rig, key_modulus(known[key]), b"signed here", signature),
              "%s signs, and openssl says so" % name)
    for handle in (storage, below):
        assert t.flush(handle, 1) == 0
    check(t.flush(known["kept"], 1) != 0, "the owner's key stays")


def check_nv(t, known):
    check(t.nv_read(EK_CERT, 0, len(known["certificate"])) == (0, known["certificate"]), "the certificate's area reads the same")
    check(t.nv_write(EK_CERT, 0, b"x") != 0, "and is not written")
    check(t.nv_read(OWNER_AREA, 0, 32, OWNER) == (0, b"the owner's 32 bytes, of 64 ...."), "the owner's area reads the same")
    check(t.nv_read(OWNER_AREA, 32, 32, OWNER) == (0, b"\xff" * 32), "and what nobody wrote is as it was")
    check(t.nv_read(OWNER_AREA, 0, 32)[0] != 0, "but not without the owner")
    check(t.nv_read_auth(AUTH_AREA, 0, 20, AREA) == (0, sha1(b"with a secret")), "an area with a secret reads the same")
    check(t.nv_read_auth(AUTH_AREA, 0, 20, DATA)[0] == 1, "but not with another secret")
    check(t.nv_read_auth(PCR_AREA, 0, 8, AREA) == (0, b"bound to"), "one bound to a PCR reads while that is right")
    t.extend(10, sha1(b"more"))
    check(t.nv_read_auth(PCR_AREA, 0, 8, AREA)[0] == 0x18, "and not when it is not")
    check(t.nv_write(LOCKED_AREA, 0, b"open", OWNER) == 0x3C and t.nv_read(LOCKED_AREA, 0, 4, OWNER) == (0, b"lock"),
          "one that was locked for good is locked")


def check_counter(t, known):
    rc, _, out = t.raw("ReadCounter", params=u32(known["counter"]))
    check((rc, out) == (0, known["count"]), "the counter has its value")
    rc, _, out = t.raw("IncrementCounter", params=u32(known["counter"]), auths=[Auth(t.oiap(), COUNTER)])
    before, after = (struct.unpack(">I", x[6:10])[0] for x in (known["count"], out))
    check(rc == 0 and after == before + 1, "and goes on from it")
    s = t.osap(ET_OWNER, KH_OWNER, OWNER)
    rc, _, out = t.raw("CreateCounter", params=s.enc_auth(COUNTER) + b"late", auths=[Auth(s)])
    check(rc == 0 and struct.unpack(">I", out[10:14])[0] > after, "a new one begins above all that were")


def check_delegation(t, known):
    odd = t.random(20)
    rc, handle, out = t.raw("DSAP", params=u16(8) + u32(0) + odd + u32(4) + u32(1), out_handles=1)
    check(rc == 0, "the owner's delegation is in its row")
    session = Session(struct.unpack(">I", handle)[0], out[:20], hmac1(LENT, out[20:40] + odd))
    check(t.raw("OwnerSetDisable", params=b"\0", auths=[Auth(session)])[0] == 0, "and stands for the owner")
    blob = known["blob of an owner's delegation"]
    check(t.raw("Delegate_VerifyDelegation", params=u32(len(blob)) + blob)[0] == 0, "one that was outside is known")
    odd = t.random(20)
    rc, handle, out = t.raw("DSAP", params=u16(7) + u32(0) + odd + u32(len(blob)) + blob, out_handles=1)
    session = Session(struct.unpack(">I", handle)[0], out[:20], hmac1(LENT, out[20:40] + odd))
    check(rc == 0 and t.raw("OwnerSetDisable", params=b"\0", auths=[Auth(session)])[0] == 0,
          "and its secret, as libtpms hid it, is right")
    spoilt = blob[:-1] + bytes([blob[-1] ^ 1])
    check(t.raw("Delegate_VerifyDelegation", params=u32(len(spoilt)) + spoilt)[0] != 0, "altered it is not")


def check_owner(t):
    check(t.set_permanent_flag("readSRKPub", False, DATA) == 1, "a wrong owner is refused")
    check(t.set_permanent_flag("readSRKPub", False, OWNER) == 0, "the owner is the owner")
    rc, _, out = t.raw("GetAuditDigest", params=u32(0))
    check(rc == 0 and struct.unpack(">I", out[6:10])[0] > 0, "the audit's counter goes on")


def check_same(rig, known, name):
    rig.start_shim(name)
    t = rig.tpm(name)
    now = facts(t)
    for what in sorted(now):
        check(now[what] == known[what], "%s: %s as before%s" % (name, what, "" if now[what] == known[what] else
                                                             "\n%r\n%r" % (known[what], now[what])))
    check_keys(rig, t, known)
    check_nv(t, known)
    check_counter(t, known)
    check_delegation(t, known)
    check_owner(t)
    t.send.close()


def lives_on(rig, known, name):
    """Over a kill of the server: the import was one transaction, and what came is in the record."""
    rig.server.kill9()
    rig.start_server()
    t = rig.tpm(name)
    check(t.unseal(KH_SRK, SRK, DATA, known["sealed"])[0] == 0, "it unseals after the server was killed")
    t.send.close()
    rig.ctl("instance", "power-cycle", name)


# ---- Refusals: the store stays as it was ----
def instances(rig):
    return sorted((i["name"], i["uuid"]) for i in rig.ctl_json("instance", "list")["instances"])


def refuse(rig, how, directory, code, *words, extra=(), name="never"):
    before, engines = instances(rig), os.path.getsize(rig.path("server.log"))
    credential = rig.path("never.cred")
    r = rig.ctl("instance", "import", "--from-swtpm", directory, name, "--credential-out", credential, *extra, ok=False)
    with open(rig.path("server.log")) as f:
        f.seek(engines)
        log = f.read()
    good = (r.returncode in (code if isinstance(code, tuple) else (code,)) and all(w in r.stderr for w in words) and
            not r.stdout and instances(rig) == before and not os.path.exists(credential) and "engine gone" not in log)
    if not good:
        raise AssertionError("%s: exit %d\n%s\n%s" % (how, r.returncode, r.stderr, log))
    return r.stderr


def copy_of(rig, h, name, content=None, state=STATE):
    directory = rig.path(name)
    os.mkdir(directory)
    with open(os.path.join(directory, state), "wb") as f:
        f.write(content if content is not None else open(h.state, "rb").read())
    return directory


def frame(payload):
    """swtpm's header and one part around libtpms' state."""
    return struct.pack(">BBHHI", 2, 1, 10, 0, 16 + len(payload)) + struct.pack(">HI", 1, len(payload)) + payload


def resigned(state):
    """With libtpms' SHA-1 made anew: what somebody writes who means it."""
    return frame(state + sha1(state))


def refuse_altered(rig, h):
    whole = open(h.state, "rb").read()
    spot = lambda at: whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1:]
    directory = copy_of(rig, h, "altered")
    state = os.path.join(directory, STATE)

    def put(content):
        with open(state, "wb") as f:
            f.write(content)

    places = list(range(40)) + list(range(40, len(whole), 61)) + list(range(len(whole) - 24, len(whole)))
    for at in places:
        put(spot(at))
        refuse(rig, "byte %d altered" % at, directory, (1, 8, 9), "byte")
    check(True, "each of %d bytes altered is refused" % len(places))
    lengths = list(range(1, 40)) + list(range(40, len(whole), 97)) + [len(whole) - 1]
    for length in lengths:
        put(whole[:length])
        refuse(rig, "cut to %d bytes" % length, directory, (1, 9), "byte")
    put(whole + b"\0")
    refuse(rig, "a byte more", directory, (1, 9), "the length of all at byte 6 of the file")
    check(True, "the file cut at %d lengths, or longer, is refused" % len(lengths))
    put(b"")
    refuse(rig, "an empty file", directory, 2)
    put(bytes(200000))
    refuse(rig, "a large file", directory, 2, "131072")
    put(bytes([3]) + whole[1:])
    refuse(rig, "another version", directory, 1, "the version at byte 0 of the file: 3, and this server knows 2")
    put(b"\1" + whole[1:])
    refuse(rig, "an ancient version", directory, 1, "start this TPM once with an swtpm")
    put(resigned(b"\0\2" + whole[18:-20]))
    refuse(rig, "another state", directory, 1, "0x0002, and this server knows 0x0001")
    check(True, "other versions are refused by their numbers")


def alter_and_sign(rig, h):
    """Somebody who knows the format: taken or refused with a reason, and no engine dies of it."""
    whole = open(h.state, "rb").read()
    directory = copy_of(rig, h, "forged")
    taken = 0
    for at in range(0, len(whole) - 36, 53):
        body = bytearray(whole[16:-20])
        body[at] ^= 0xFF
        with open(os.path.join(directory, STATE), "wb") as f:
            f.write(resigned(bytes(body)))
        mark = os.path.getsize(rig.path("server.log"))
        r = rig.ctl("instance", "import", "--from-swtpm", directory, "odd", ok=False)
        with open(rig.path("server.log")) as f:
            f.seek(mark)
            log = f.read()
        if "engine gone" in log or (r.returncode and "byte" not in r.stderr and "swtpm:" not in r.stderr):
            raise AssertionError("byte %d: exit %d\n%s\n%s" % (at, r.returncode, r.stderr, log))
        if r.returncode == 0:
            taken += 1
            rig.ctl("instance", "delete", "odd", "--yes")
    check(taken > 0, "states altered under a good SHA-1 are taken (%d) or refused with a reason" % taken)


def refuse_places(rig, h):
    refuse(rig, "no directory", rig.path("nowhere"), 3, "--tpmstate dir=")
    empty = rig.path("empty")
    os.mkdir(empty)
    refuse(rig, "an empty directory", empty, 3, "holds no TPM of swtpm")
    refuse(rig, "a TPM 2.0", copy_of(rig, h, "two", state="tpm2-00.permall"), 1, "TPM 2.0", "nothing was imported")
    suspended = copy_of(rig, h, "suspended")
    open(os.path.join(suspended, "tpm-00.volatilestate"), "wb").close()
    refuse(rig, "a suspended guest", suspended, 4, "suspended with its guest")
    link = rig.path("link")
    os.mkdir(link)
    os.symlink(h.state, os.path.join(link, STATE))
    refuse(rig, "a link", link, 1, "cannot be opened")
    locked = copy_of(rig, h, "locked")
    with open(os.path.join(locked, ".lock"), "wb") as f:
        fcntl.lockf(f, fcntl.LOCK_EX)
        refuse(rig, "a lock", locked, 4, "swtpm runs on this TPM")
    for extra, words in ((["--kdf", "pbkdf2"], "--pwd-file"), (["--key-format", "hex"], "--key-file"),
                         (["--key-file", rig.keyfile, "--key-format", "binary"], "not encrypted")):
        refuse(rig, "options", h.dir, (2, 8), words, extra=extra)
    r = rig.ctl("instance", "import", h.state, "--profile", "large", ok=False)
    check(r.returncode == 2 and "--from-swtpm" in r.stderr, "an exported instance takes none of these options")
    r = rig.ctl("instance", "import", "--from-swtpm", h.dir, "a b", ok=False)
    check(r.returncode == 2, "a name must be one")


def refuse_taken(rig, h, uuid):
    refuse(rig, "the name is taken", h.dir, 5, "exists", name="moved")
    refuse(rig, "the uuid is taken", h.dir, 5, "exists", extra=["--uuid", uuid])


def profiles(rig, h):
    """Limits below what the TPM has are refused with the number; the same limits that fit are kept."""
    tight = rig.path("tight.json")
    for limit, value, words in (("nv_bytes", 64, "nv_bytes, which is 64"), ("counters", 1, None), ("owner_evict_slots", 1, None),
                                ("delegate_rows", 1, "delegate_rows is 1")):
        with open(tight, "w") as f:
            f.write('{"name": "tight", "%s": %d}' % (limit, value))
        if words:
            refuse(rig, limit, h.dir, 2, words, "--profile", extra=["--profile", tight])
        else:
            rig.ctl("instance", "import", "--from-swtpm", h.dir, "fits", "--profile", tight)
            rig.ctl("instance", "delete", "fits", "--yes")
    rig.ctl("instance", "import", "--from-swtpm", h.dir, "large", "--profile", "large")
    rig.ctl("instance", "delete", "large", "--yes")
    check(True, "what the profile has no room for is refused with its number; what it has room for is taken")


def lock_held(rig):
    h = Swtpm(rig, "running")
    refuse(rig, "swtpm runs", h.dir, 4, "is locked by process %d" % h.p.p.pid, "shut its guest down")
    enable12(h.tpm())
    h.stop()
    rig.ctl("instance", "import", "--from-swtpm", h.dir, "young")
    i = rig.ctl_json("instance", "show", "young")["instances"][0]
    check(i["state"] == "ready" and not i.get("ek_sha256"), "one that nobody ever used comes without an endorsement key")
    rig.start_shim("young", credential=rotate(rig, "young"))
    t = rig.tpm("young")
    rc = t.raw("CreateEndorsementKeyPair", params=bytes(20) + struct.pack(">IHHI", 1, 3, 1, 12) +
               struct.pack(">III", 2048, 2, 0))[0]
    check(rc == 0 and t.take_ownership(OWNER, SRK)[0] == 0, "and is made and owned here")
    t.send.close()


def rotate(rig, name):
    path = rig.path(name + ".cred")
    rig.ctl("credential", "rotate", name, "--credential-out", path)
    return path


# ---- Encrypted ----
def keys(rig):
    """(flags for swtpm, flags for vtpmctl, flags for vtpmctl with another key) of each kind."""
    def put(name, content):
        with open(rig.path(name), "wb") as f:
            f.write(content)
        return rig.path(name)

    bits128, bits256 = hashlib.sha256(b"128").digest()[:16], hashlib.sha256(b"256").digest()
    hex128, bin256 = put("hex128", b"0x" + bits128.hex().encode() + b"\n"), put("bin256", bits256)
    hex256, password = put("hex256", bits256.hex().encode()), put("password", b"a long password\n")
    other, other_password = put("other", bits256[::-1]), put("other-password", b"a long password")
    yield ("aes-128, hexadecimal", "file=%s,format=hex,mode=aes-cbc" % hex128, ["--key-file", hex128],
           ["--key-file", other, "--key-format", "binary"])
    yield ("aes-256, binary", "file=%s,format=binary,mode=aes-256-cbc" % bin256,
           ["--key-file", bin256, "--key-format", "binary"], ["--key-file", other, "--key-format", "binary"])
    yield ("aes-256, hexadecimal", "file=%s,format=hex,mode=aes-256-cbc" % hex256, ["--key-file", hex256], ["--key-file", hex128])
    yield ("a password by pbkdf2", "pwdfile=%s,mode=aes-128-cbc" % password, ["--pwd-file", password],
           ["--pwd-file", other_password])
    yield ("a password by pbkdf2, 256 bits", "pwdfile=%s,mode=aes-256-cbc,kdf=pbkdf2" % password,
           ["--pwd-file", password, "--kdf", "pbkdf2"], ["--pwd-file", password, "--kdf", "sha512"])
    yield ("a password by sha512", "pwdfile=%s,mode=aes-256-cbc,kdf=sha512" % password,
           ["--pwd-file", password, "--kdf", "sha512"], ["--pwd-file", password])


def encrypted(rig):
    for n, (how, swtpm, ctl, wrong) in enumerate(keys(rig)):
        h = Swtpm(rig, "enc%d" % n, ["--key", swtpm])
        enable12(h.tpm())
        h.reboot()
        own12(h.tpm(), SRK)
        t = h.tpm()
        rc, _, sealed = t.seal(KH_SRK, SRK, DATA, how.encode())
        t.send.close()
        h.stop()
        refuse(rig, how + ", no key", h.dir, 8, "--key-file or --pwd-file")
        refuse(rig, how + ", another key", h.dir, 8, "key", extra=wrong)
        whole = open(h.state, "rb").read()
        for at in list(range(0, 40, 3)) + list(range(40, len(whole), 211)) + list(range(len(whole) - 90, len(whole), 7)):
            directory = copy_of(rig, h, "spoilt", whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1:])
            refuse(rig, "%s, byte %d altered" % (how, at), directory, (1, 8, 9), "byte", extra=ctl)
            shutil.rmtree(directory)
        rig.ctl("instance", "import", "--from-swtpm", h.dir, "enc%d" % n, "--credential-out", rig.path("enc%d.cred" % n), *ctl)
        rig.start_shim("enc%d" % n)
        t = rig.tpm("enc%d" % n)
        check(t.unseal(KH_SRK, SRK, DATA, sealed) == (0, how.encode()), "%s: it unseals here; without the key, with another, "
              "altered it is refused" % how)
        t.send.close()


# ---- With TrouSerS on both sides ----
def trousers(rig):
    h = Swtpm(rig, "trousers")
    enable12(h.tpm())
    h.reboot()
    t = h.tpm()
    t.raw("CreateEndorsementKeyPair", params=bytes(20) + struct.pack(">IHHI", 1, 3, 1, 12) + struct.pack(">III", 2048, 2, 0))
    t.send.close()
    before = Tcsd(rig, "before", h.port)
    before.ok("tpm_takeownership", "-y", "-z")
    plain, sealed, out = (before.path(n) for n in ("plain", "sealed", "out"))
    with open(plain, "w") as f:
        f.write("a file sealed by tpm_sealdata under swtpm\n")
    before.ok("tpm_sealdata", "-z", "-i", plain, "-o", sealed)
    before.stop()
    h.stop()
    rig.ctl("instance", "import", "--from-swtpm", h.dir, "trousers", "--credential-out", rig.path("trousers.cred"))
    port = free_port()
    rig.start_shim("trousers", "socket:tcp:127.0.0.1:%d" % port)
    before.tpm_port = port
    before.start()
    before.ok("tpm_unsealdata", "-z", "-i", sealed, "-o", out)
    check(open(out).read() == open(plain).read(), "tpm_unsealdata has the file back, with TrouSerS' own store")
    before.ok("tpm_getpubek", "-z")
    before.stop()


# ---- States of the whole TPM ----
def flags_stay(rig):
    h = Swtpm(rig, "off")
    enable12(h.tpm())
    h.reboot()
    own12(h.tpm(), SRK)
    t = h.tpm()
    assert t.raw("OwnerSetDisable", params=b"\1", auths=[Auth(t.oiap(), OWNER)])[0] == 0
    t.send.close()
    h.stop()
    moved = rig.ctl_json("instance", "import", "--from-swtpm", h.dir, "off", "--credential-out", rig.path("off.cred"))
    check(moved["moved"]["disabled"] and moved["moved"]["owned"], "vtpmctl tells that it is disabled")
    rig.start_shim("off")
    t = rig.tpm("off")
    check("disable" in t.flags()[0] and t.seal(KH_SRK, SRK, DATA, b"x")[0] in (7, 6), "a disabled TPM comes disabled")
    assert t.raw("OwnerSetDisable", params=b"\0", auths=[Auth(t.oiap(), OWNER)])[0] == 0
    check(t.seal(KH_SRK, SRK, DATA, b"x")[0] == 0, "and its owner enables it")
    t.send.close()


def main():
    need("swtpm", "openssl")
    need_trousers()
    with Rig() as rig:
        rig.init()
        rig.start_server()
        h = Swtpm(rig, "sw")
        known = fill(h)
        print("swtpm's file has %d bytes" % os.path.getsize(h.state))
        content = hashlib.sha256(open(h.state, "rb").read()).hexdigest()
        moved = rig.ctl_json("instance", "import", "--from-swtpm", h.dir, "moved", "--credential-out", rig.path("moved.cred"))
        check(moved["moved"] == {"ek": True, "owned": True, "disabled": False, "deactivated": False, "nv_areas": 5,
                                 "nv_bytes": 64 + 20 + 8 + 4 + len(known["certificate"]), "counters": 1, "owner_keys": 1,
                                 "families": 1, "delegations": 1}, "vtpmctl tells what came along: %r" % moved["moved"])
        uuid = moved["instances"][0]["uuid"]
        check(rig.state("moved") == "ready", "it is off, as a new one")
        kinds = [e["kind"] for e in rig.ctl_json("events")["events"]]
        check("import-swtpm" in kinds, "the import is an event")
        check_same(rig, known, "moved")
        lives_on(rig, known, "moved")
        refuse_taken(rig, h, uuid)
        refuse_places(rig, h)
        refuse_altered(rig, h)
        profiles(rig, h)
        alter_and_sign(rig, h)
        check(hashlib.sha256(open(h.state, "rb").read()).hexdigest() == content, "swtpm's file is as it was")
        lock_held(rig)
        flags_stay(rig)
        encrypted(rig)
        trousers(rig)


main()

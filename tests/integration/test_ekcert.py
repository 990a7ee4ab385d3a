# SPDX-License-Identifier: Apache-2.0
"""Certificates for endorsement keys: signed on the operator's side, checked by the server, read by the guest."""
import hashlib
import json
import os
import shutil
import struct

from rig import Rig, check, need, run, skip
from tpm12 import WELL_KNOWN

INDEX = 0x1000F000
BADINDEX, AREA_LOCKED, AUTH_CONFLICT = 0x02, 0x3C, 0x3B
ROOM = 2048


def openssl(*argv, **kw):
    return run(["openssl", *argv], **kw).stdout


def make_ca(rig, name, *more):
    key, cert = rig.path(name + ".key"), rig.path(name + ".pem")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=" + name,
            "-days", "3000", *more)
    return key, cert


def sign(rig, name, ca, *more, ok=True):
    return rig.ctl("ekcert", "sign", name, "--ca-key", ca[0], "--ca-cert", ca[1], *more, ok=ok)


def refused(r, code, *words):
    missing = [w for w in words if w not in r.stderr]
    check(r.returncode == code and not missing, "refused with %d, %s%s" % (code, r.stderr.strip(), "" if not missing and
          r.returncode == code else ": exit %d, missing %s" % (r.returncode, missing)))


def has_none(rig, name):
    refused(rig.ctl("ekcert", "show", name, ok=False), 3, "no certificate")


def stored(tpm):
    """The certificate as PC Client readers take it out of NV: the head first, then piece by piece."""
    rc, head = tpm.nv_read(INDEX, 0, 7)
    check(rc == 0, "anybody may read NV 0x1000F000")
    tag, kind, size, inner = struct.unpack(">HBHH", head)
    check((tag, kind, inner) == (0x1001, 0, 0x1002), "it holds a TCG_PCCLIENT_STORED_CERT with a full certificate")
    der = b""
    while len(der) < size - 2:
        rc, part = tpm.nv_read(INDEX, 7 + len(der), min(128, size - 2 - len(der)))
        check(rc == 0, "the next piece of the certificate")
        der += part
    check(tpm.nv_read(INDEX, 7 + len(der), 1)[0] != 0, "nothing is behind the certificate")
    return der


def modulus_of(pem):
    return int(openssl("rsa", "-pubin", "-in", pem, "-noout", "-modulus").split("=")[1], 16)


def check_profile(path, der):
    """TCG Credential Profiles for TPM Family 1.2, Level 2, 3.2. Newer OpenSSLs have names for TCG's numbers: so these are
    looked for in the bytes."""
    text = openssl("x509", "-in", path, "-noout", "-text")
    lines = [line.strip() for line in text.splitlines()]
    check("Subject:" in lines, "the subject is empty")
    for head, value in (("X509v3 Subject Alternative Name: critical", "DirName"),
                        ("X509v3 Basic Constraints: critical", "CA:FALSE"),
                        ("X509v3 Key Usage: critical", "Key Encipherment"),
                        ("X509v3 Extended Key Usage:", ""),
                        ("X509v3 Authority Key Identifier:", ":")):
        at = [n for n, line in enumerate(lines) if line.startswith(head)]
        check(len(at) == 1 and value in lines[at[0] + 1], "%s %s" % (head, value))
    for name, value in (("0201", b"id:5654504D"), ("0202", b"vtpm-server"), ("0203", b"id:0000")):
        one = bytes.fromhex("0605678105" + name) + bytes([0x0C, len(value)]) + value
        check(one in der, "2.23.133.%d.%d is %s" % (int(name[:2]), int(name[2:]), value.decode()))
    check(bytes.fromhex("300706056781050801") in der, "its one extended use is 2.23.133.8.1")
    lines = openssl("asn1parse", "-in", path).splitlines()
    at = next(n for n, line in enumerate(lines) if line.endswith(":X509v3 Subject Directory Attributes"))
    inner = openssl("asn1parse", "-in", path, "-strparse", lines[at + 1].split(":")[0].strip())
    values = [line.rsplit(":", 1)[1].strip() for line in inner.splitlines() if "prim" in line]
    check(bytes.fromhex("06056781050210") in der and values[1:] == ["1.2", "02", "74"],
          "2.23.133.2.16: family 1.2, level 2, revision 116")


def check_certificate(rig, name, ca, der):
    """The guest's bytes against what the server shows, the CA, and the TPM's own key."""
    path, key = rig.path(name + ".read.pem"), rig.path(name + ".ek.pem")
    with open(rig.path(name + ".read.der"), "wb") as f:
        f.write(der)
    openssl("x509", "-inform", "DER", "-in", rig.path(name + ".read.der"), "-out", path)
    check(open(path).read() == rig.ctl("ekcert", "show", name, "--pem").stdout, "the guest reads what the server shows")
    check("OK" in openssl("verify", "-x509_strict", "-CAfile", ca[1], path), "openssl verify says OK")
    with open(key, "w") as f:
        f.write(openssl("x509", "-in", path, "-noout", "-pubkey"))
    check(open(key).read() == rig.ctl("ekcert", "request", name).stdout, "its key is the one that was requested")
    told = rig.ctl_json("ekcert", "show", name)["ekcert"]
    row = rig.ctl_json("instance", "show", name)["instances"][0]
    check(told["ek_sha256"] == row["ek_sha256"] and told["sha256"] == hashlib.sha256(der).hexdigest() and
          told["issuer"] == "/CN=ca" and told["uuid"] == row["uuid"], "--json for verifiers: %s" % json.dumps(told)[:200])
    check_profile(path, der)
    return modulus_of(key)


def guest_cannot_touch(tpm):
    """Not with physical presence, not as the owner."""
    check(tpm.physical_presence(0x08) == 0, "somebody is present")
    check(tpm.nv_write(INDEX, 0, b"x") == AREA_LOCKED, "the guest cannot write it")
    for size in 0, 16:
        check(tpm.nv_define(None, INDEX, size, 0x1) == BADINDEX, "the guest cannot define it anew with %d bytes" % size)
    check(tpm.take_ownership(WELL_KNOWN, WELL_KNOWN)[0] == 0, "the guest takes ownership")
    check(tpm.nv_write(INDEX, 0, b"x", WELL_KNOWN) == AUTH_CONFLICT, "nor can its owner write it")
    for size in 0, 16:
        check(tpm.nv_define(WELL_KNOWN, INDEX, size, 0x20002) == BADINDEX, "nor define it with %d bytes" % size)


def tpm_tools_read(rig, name, der):
    """tpm_nvread on TrouSerS, where it can be had."""
    tools = [shutil.which(t, path=os.environ["PATH"] + ":/usr/sbin") for t in ("tcsd", "tpm_nvread")]
    if os.getuid() or not all(tools):
        print("SKIPPED in part: tpm_nvread needs root, trousers and tpm-tools")
        return
    from tcsd import Device
    dev = Device(rig, name, "--ca-key", rig.path("ca.key"), "--ca-cert", rig.path("ca.pem"))
    out = dev.path("cert")
    dev.ok("tpm_nvinfo", "--list-only", want="0x1000f000")
    size = 7 + len(stored(dev.raw()))
    dev.ok("tpm_nvread", "-i", "0x1000f000", "-s", str(size), "-f", out)
    check(open(out, "rb").read()[7:] == stored(dev.raw()), "tpm_nvread gives the certificate")
    dev.stop()


def one_command(rig, ca):
    """instance create with a CA: certified from the first power on, over restarts and another owner."""
    rig.create("whole", "--ca-key", ca[0], "--ca-cert", ca[1], "--days", "100")
    check(rig.state("whole") == "ready", "made, certified, not powered on")
    pem = rig.path("whole.pem")
    with open(pem, "w") as f:
        f.write(rig.ctl("ekcert", "show", "whole", "--pem").stdout)
    openssl("x509", "-in", pem, "-noout", "-checkend", str(99 * 86400))
    openssl("x509", "-in", pem, "-noout", "-checkend", str(101 * 86400), ok=1)
    check("issuer       /CN=ca" in rig.ctl("ekcert", "show", "whole").stdout, "--days; and show says it for people")
    events = [e for e in rig.ctl_json("events")["events"] if e["kind"] == "ekcert"]
    told = rig.ctl_json("ekcert", "show", "whole")["ekcert"]
    check(len(events) == 1 and told["sha256"] in events[0]["text"], "one event says which certificate")
    rig.server.kill9()
    rig.start_server()
    shim = rig.start_shim("whole")
    tpm = rig.tpm("whole")
    der = stored(tpm)
    public = tpm.read_pubek()
    check(check_certificate(rig, "whole", ca, der) == int.from_bytes(public, "big"),
          "its key is the one that TPM_ReadPubek shows")
    guest_cannot_touch(tpm)
    check(stored(tpm) == der, "the certificate is what it was")
    refused(sign(rig, "whole", ca, ok=False), 4, "powered on")
    shim.stop()
    rig.ctl("instance", "power-cycle", "whole")
    refused(sign(rig, "whole", ca, ok=False), 4, "powered on")
    return der


def by_steps(rig, ca):
    """request, signed by somebody else, install; both forms of the file; once."""
    rig.create("steps")
    has_none(rig, "steps")
    request, other = rig.path("request.pem"), rig.path("other.pem")
    with open(request, "w") as f:
        f.write(rig.ctl("ekcert", "request", "steps").stdout)
    with open(rig.path("v3.ext"), "w") as f:
        f.write("basicConstraints=critical,CA:FALSE\n")
    other_ca = ["-new", "-force_pubkey", request, "-subj", "/CN=a TPM", "-CA", ca[1], "-CAkey", ca[0], "-days", "10"]
    openssl("x509", *other_ca, "-out", rig.path("v1.pem"))
    openssl("x509", *other_ca, "-extfile", rig.path("v3.ext"), "-out", other)
    refused(rig.ctl("ekcert", "install", "steps", rig.path("v1.pem"), ok=False), 2, "version 3")
    damaged(rig, other)
    rig.ctl("ekcert", "install", "steps", other)
    with open(rig.path("shown.pem"), "w") as f:
        f.write(rig.ctl("ekcert", "show", "steps", "--pem").stdout)
    fingerprint = ("x509", "-noout", "-fingerprint", "-sha256", "-in")
    check(openssl(*fingerprint, rig.path("shown.pem")) == openssl(*fingerprint, other), "installed as it was signed")
    refused(rig.ctl("ekcert", "install", "steps", other, ok=False), 4, "already")
    refused(sign(rig, "steps", ca, "--out", rig.path("second.pem"), ok=False), 4, "already")
    check(not os.path.exists(rig.path("second.pem")), "what was not installed is not left behind")
    # A second instance: another key.
    rig.create("another")
    refused(rig.ctl("ekcert", "install", "another", other, ok=False), 4, "another key")
    has_none(rig, "another")
    out = rig.path("out.pem")
    sign(rig, "another", ca, "--out", out)
    check(open(out).read() == rig.ctl("ekcert", "show", "another", "--pem").stdout, "--out has what was installed")
    rig.create("der")
    refused(sign(rig, "der", ca, "--out", out, ok=False), 5, out)
    has_none(rig, "der")


def damaged(rig, good):
    """What is no certificate for this key is refused and changes nothing."""
    der = rig.path("good.der")
    openssl("x509", "-in", good, "-outform", "DER", "-out", der)
    data = open(der, "rb").read()
    tries = {"empty": b"", "text": b"no certificate\n", "cut": data[:-1], "longer": data + b"\0", "sequence": b"\x30\x00",
             "huge": b"\x30\x84\xff\xff\xff\xff" + data, "large": data + bytes(ROOM)}
    for name, content in tries.items():
        path = rig.path("bad-" + name)
        with open(path, "wb") as f:
            f.write(content)
        r = rig.ctl("ekcert", "install", "steps", path, ok=False)
        check(r.returncode == 2 and (name != "large" or str(ROOM) in r.stderr), "%s: %s" % (name, r.stderr.strip()))
    changed = bytearray(data)
    at = data.index(bytes.fromhex("0203010001")) - 40  # within the modulus
    changed[at] ^= 1
    with open(rig.path("bad-key"), "wb") as f:
        f.write(changed)
    refused(rig.ctl("ekcert", "install", "steps", rig.path("bad-key"), ok=False), 4, "another key")
    has_none(rig, "steps")


def wrong_cas(rig, ca):
    """What is wrong with the CA is said before an instance is made."""
    other = make_ca(rig, "other-ca")
    leaf = make_ca(rig, "leaf", "-addext", "basicConstraints=critical,CA:FALSE")

    def never(*argv, code=2, words=()):
        refused(rig.ctl("instance", "create", "never", *argv, ok=False), code, *words)
        check(rig.ctl("instance", "show", "never", ok=False).returncode == 3, "and nothing was created")

    never("--ca-key", other[0], "--ca-cert", ca[1], words=["other-ca.key", "ca.pem"])
    never("--ca-key", leaf[0], "--ca-cert", leaf[1], words=["not a CA"])
    never("--ca-key", rig.path("none"), "--ca-cert", ca[1], words=["none"])
    never("--ca-key", ca[0], "--ca-cert", ca[0], words=["ca.key"])
    never("--ca-key", ca[0], words=["--ca-cert"])
    never("--days", "5", words=["--ca-key"])
    never("--ca-key", ca[0], "--ca-cert", ca[1], "--no-ek", words=["--no-ek"])
    for days in "0", "-1", "x", "36501", "99999999999999999999", "1x":
        never("--ca-key", ca[0], "--ca-cert", ca[1], "--days", days, words=["--days"])
    rig.create("bare", "--no-ek")
    refused(sign(rig, "bare", ca, ok=False), 3, "no endorsement key")
    refused(rig.ctl("ekcert", "request", "bare", ok=False), 3, "no endorsement key")
    refused(rig.ctl("ekcert", "show", "nobody", ok=False), 3, "nobody")


def longer_name(rig, ca):
    """A CA whose name alone fills the room."""
    with open(rig.path("long.cnf"), "w") as f:
        f.write("[req]\nprompt=no\ndistinguished_name=dn\nx509_extensions=v3\n[v3]\nbasicConstraints=critical,CA:TRUE\n[dn]\n" +
                "".join("%d.OU=%s\n" % (n, "%02d" % n + "x" * 60) for n in range(30)))
    key, cert = rig.path("long.key"), rig.path("long.pem")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-config", rig.path("long.cnf"))
    rig.create("wide")
    refused(sign(rig, "wide", (key, cert), ok=False), 2, str(ROOM))
    has_none(rig, "wide")
    # It is made before that is known: said, and the credential is kept.
    both = "--ca-key", key, "--ca-cert", cert, "--credential-out", rig.path("wider.cred")
    r = rig.ctl("--json", "instance", "create", "wider", *both, ok=False)
    uuid = rig.ctl_json("instance", "show", "wider")["instances"][0]["uuid"]
    check(r.returncode == 2 and str(ROOM) in json.loads(r.stdout)["error"]["text"] and uuid in r.stderr,
          "one JSON object, an error; and a word about what is there now: %s" % r.stderr.strip())
    check(uuid in open(rig.path("wider.cred")).read(), "its credential is kept")
    sign(rig, "wider", ca)


def elliptic(rig):
    """A CA need not be RSA, and its own end is the certificate's."""
    key, cert = rig.path("ec.key"), rig.path("ec.pem")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert,
            "-subj", "/CN=ec", "-days", "20")
    rig.create("ec", "--ca-key", key, "--ca-cert", cert)
    path = rig.path("ec.ek.pem")
    with open(path, "w") as f:
        f.write(rig.ctl("ekcert", "show", "ec", "--pem").stdout)
    openssl("verify", "-CAfile", cert, path)
    check(openssl("x509", "-noout", "-enddate", "-in", path) == openssl("x509", "-noout", "-enddate", "-in", cert),
          "not longer than its CA")


need("openssl")
with Rig() as rig:
    rig.init()
    rig.start_server()
    ca = make_ca(rig, "ca", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    if "no libcrypto" in sign(rig, "nobody", ca, ok=False).stderr:
        rig.create("plain")
        for argv in ("request", "plain"), ("install", "plain", ca[1]):
            refused(rig.ctl("ekcert", *argv, ok=False), 1, "no libcrypto")
        skip("vtpmctl was built without libcrypto, and says so")
    der = one_command(rig, ca)
    by_steps(rig, ca)
    wrong_cas(rig, ca)
    longer_name(rig, ca)
    elliptic(rig)
    tpm_tools_read(rig, "tools", der)
    check(rig.ctl_json("check")["check"]["ok"], "the store is whole")
print("ekcert: all seen to hold")

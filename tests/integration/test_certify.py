# SPDX-License-Identifier: Apache-2.0
"""`host-ak certify` from both ends: the CA's half against tpm2-tools and swtpm, and everything that must be refused."""
import base64
import hashlib
import json
import os
import struct
import subprocess
import sys

from hosttpm import OWNER, Tpm2, Tpm12
from rig import Rig, check, need, run
from tpm12 import KH_SRK, WELL_KNOWN, Auth, Tpm, key_modulus, oaep, sha1

NONCE = "5a" * 32
KH_EK = 0x40000006
EK_CERT_2, EK_CERT_12 = 0x01C00002, 0x1000F000


class Files:
    """The names of one enrolment, fresh each time: vtpmctl overwrites nothing."""
    count = 0

    def __init__(self, rig):
        Files.count += 1
        for name in ("request", "challenge", "secret", "answer", "certificate"):
            setattr(self, name, rig.path("%s%d" % (name, Files.count)))


def put(path, data):
    with open(path, "wb" if isinstance(data, bytes) else "w") as f:
        f.write(data)
    return path


def get(path):
    with open(path, "rb") as f:
        return f.read()


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1:]


def refused(r, code, word, how):
    text = r.stderr + r.stdout
    check(r.returncode == code and word in text, "%s: refused with %d, %s" % (how, r.returncode, text.strip()))


def der(tag, content):
    n = len(content)
    size = bytes([n]) if n < 128 else bytes([0x82]) + n.to_bytes(2, "big")
    return bytes([tag]) + size + content


def rsa_pem(modulus):
    """SubjectPublicKeyInfo of a modulus, e = 65537."""
    key = der(0x30, der(2, b"\0" + modulus) + der(2, b"\1\0\1"))
    info = der(0x30, der(0x30, bytes.fromhex("06092a864886f70d0101010500")) + der(3, b"\0" + key))
    body = base64.encodebytes(info).decode()
    return "-----BEGIN PUBLIC KEY-----\n" + body + "-----END PUBLIC KEY-----\n"


def modulus_of(pem):
    out = run(["openssl", "rsa", "-pubin", "-in", pem, "-noout", "-modulus"]).stdout
    return bytes.fromhex(out.split("=")[1].strip())


def make_ca(rig, name):
    key, cert = rig.path(name + ".key"), rig.path(name + ".pem")
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=" + name,
         "-days", "30"])
    return key, cert


def maker_cert(rig, maker, ek, usage):
    """DER: the maker vouches for the endorsement key, as makers do: no subject, who it is in the alternative name."""
    put(rig.path("ek.ext"), "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=%s\nsubjectAltName=critical,dirName:d\n"
        "[d]\nO=maker\n" % usage)
    run(["openssl", "x509", "-new", "-force_pubkey", ek, "-subj", "/", "-CA", maker[1], "-CAkey", maker[0], "-days", "30",
         "-extfile", rig.path("ek.ext"), "-out", rig.path("ek.der"), "-outform", "DER"])
    return get(rig.path("ek.der"))


class Host:
    """A server on a TPM, with an attestation key; `owner` are the options that a TPM 1.2 needs."""

    def __init__(self, rig, tpm):
        self.rig, self.tpm, self.owner = rig, tpm, []
        rig.init()
        rig.start_server("--hwtpm", tpm.kind + ":" + tpm.spec)
        if tpm.kind == "tpm12":
            self.owner = ["--file", put(rig.path("owner"), "host owner\n")]
        refused(self.request(Files(rig), ok=False), 3, "host-ak create", "without an attestation key")
        self.ak = put(rig.path("ak.pem"), rig.ctl("host-ak", "create", *self.owner).stdout)
        self.ek = put(rig.path("ek.pem"), self.read_ek())

    def read_ek(self):
        """By the tools of a host's operator, not by the server."""
        if self.tpm.kind == "tpm2":
            self.tpm.tool("tpm2_createek", "-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub", "-f", "pem")
            self.tpm.tidy()
            return get(self.rig.path(self.tpm.name + "/ek.pub"))
        t = self.tpm.tpm()
        out = t.call("OwnerReadInternalPub", params=struct.pack(">I", KH_EK), auths=[Auth(t.oiap(), OWNER)])
        t.send.close()
        return rsa_pem(Tpm.pubkey_modulus(out))

    def request(self, f, ok=True):
        return self.rig.ctl("host-ak", "certify", "request", "--out", f.request, *self.owner, ok=ok)

    def answer(self, f, ok=True):
        return self.rig.ctl("host-ak", "certify", "answer", f.challenge, "--out", f.answer, *self.owner, ok=ok)


def challenge(rig, f, *known, ok=True):
    return rig.ctl("--json", "host-ak", "certify", "challenge", f.request, *known, "--out", f.challenge, "--secret-out",
                   f.secret, ok=ok)


def sign(rig, f, ca, *more, ok=True):
    return rig.ctl("--json", "host-ak", "certify", "sign", f.answer, "--secret", f.secret, "--ca-key", ca[0], "--ca-cert", ca[1],
                   "--out", f.certificate, *more, ok=ok)


def enrol(host, ca, *known):
    """All four steps."""
    f = Files(host.rig)
    host.request(f)
    said = json.loads(challenge(host.rig, f, *known).stdout)["challenge"]
    host.answer(f)
    signed = json.loads(sign(host.rig, f, ca, "--label", "host one", "--days", "7").stdout)["certificate"]
    check(said["ek_sha256"] == signed["ek_sha256"] == hashlib.sha256(modulus_of(host.ek)).hexdigest() and
          said["ak_sha256"] == signed["ak_sha256"] == hashlib.sha256(modulus_of(host.ak)).hexdigest(),
          "challenge and certificate name both keys")
    return f


def check_certificate(host, f, ca):
    """By openssl; then as the key of a quote."""
    rig = host.rig
    pem = run(["openssl", "x509", "-in", f.certificate, "-noout", "-pubkey"]).stdout
    check(modulus_of(put(rig.path("certified.pem"), pem)) == modulus_of(host.ak), "the certificate is of the attestation key")
    text = run(["openssl", "x509", "-in", f.certificate, "-noout", "-text"]).stdout
    check("2.23.133.8.3" in text and "CA:FALSE" in text and "Digital Signature" in text and "host one" in text,
          "for an attestation key, under the name that it was given")
    run(["openssl", "verify", "-CAfile", ca[1], f.certificate])
    rig.create("web")
    rig.start_shim("web")
    check(rig.tpm("web").startup() in (0, 38), "a guest is started")
    rig.ctl("instance", "quote", "web", "--deep", "--nonce", NONCE, "--out", rig.path("quote"))
    verify = ("verify-quote", rig.path("quote"), "--key", f.certificate, "--nonce", NONCE)
    check(rig.ctl(*verify, "--ca-cert", ca[1], ok=False).returncode == 0, "verify-quote takes a quote by it")
    refused(rig.ctl(*verify, "--ca-cert", make_ca(rig, "stranger")[1], ok=False), 7, "does not vouch", "of another CA")


def by_maker(host, ca, install):
    """The endorsement key is known by its maker's certificate, which the TPM has."""
    rig, maker, other = host.rig, make_ca(host.rig, "maker"), make_ca(host.rig, "other")
    f = Files(rig)
    host.request(f)
    refused(challenge(rig, f, "--ca-cert", maker[1], ok=False), 7, "has no certificate", "a TPM without one")
    install(maker_cert(rig, maker, host.ek, "2.23.133.8.1"))
    f = enrol(host, ca, "--ca-cert", maker[1])
    check(os.path.exists(f.certificate), "known by its maker's certificate")
    g = Files(rig)
    g.request = f.request
    refused(challenge(rig, g, "--ca-cert", other[1], ok=False), 7, "does not vouch", "another maker")
    data = get(f.request)
    swapped = data[:9] + modulus_of(make_rsa(rig)) + data[265:]
    g.request = put(rig.path("swapped"), swapped)
    refused(challenge(rig, g, "--ca-cert", maker[1], ok=False), 7, "another endorsement key", "the certificate of another EK")
    web = maker_cert(rig, maker, host.ek, "serverAuth")
    old = maker_cert(rig, maker, host.ek, "2.23.133.8.1")
    head = data[:len(data) - len(get_tail(data)) - 2]
    check(len(old) == len(get_tail(data)), "the request ends with the certificate")
    g.request = put(rig.path("web"), head + struct.pack(">H", len(web)) + web)
    refused(challenge(rig, g, "--ca-cert", maker[1], ok=False), 7, "extendedKeyUsage", "a certificate for something else")
    for at in range(len(data) - len(old), len(data), 7):
        g.request = put(rig.path("altered"), flip(data, at))
        if challenge(rig, g, "--ca-cert", maker[1], ok=False).returncode == 0:
            raise AssertionError("byte %d of the certificate altered, and the CA takes it" % at)
    check(True, "the certificate altered: refused")


def get_tail(request):
    """The certificate in a request: docs/attestation.md."""
    at = 9 + 256
    at += 2 + struct.unpack(">H", request[at:at + 2])[0]
    return request[at + 2:]


def make_rsa(rig):
    path = rig.path("some.pem")
    run(["openssl", "genrsa", "-out", rig.path("some.key"), "2048"])
    run(["openssl", "rsa", "-in", rig.path("some.key"), "-pubout", "-out", path])
    return path


def cleared(host):
    """The host's TPM forgets its storage key: the attestation key is gone with it, the endorsement key is not."""
    f = Files(host.rig)
    host.request(f)
    challenge(host.rig, f, "--key", host.ek)
    host.tpm.clear()
    if host.tpm.kind == "tpm12":
        host.tpm.own()
    refused(host.answer(f, ok=False), 8, "host-ak create --yes", "an answer after the TPM was cleared")
    refused(host.request(Files(host.rig), ok=False), 8, "host-ak create --yes", "a request")


def step_by_step(host, ca):
    """Files of one step in the place of others, and each byte of each altered."""
    rig, f, g = host.rig, Files(host.rig), Files(host.rig)
    refused(rig.ctl("host-ak", "certify", "answer", host.ak, "--out", rig.path("none"), *host.owner, ok=False), 2,
            "challenge", "what is no challenge")
    check(not os.path.exists(rig.path("none")), "and no file is left")
    host.request(f)
    refused(challenge(rig, f, ok=False), 2, "--ca-cert", "a CA that says nothing of the TPM")
    refused(challenge(rig, f, "--key", make_rsa(rig), ok=False), 7, "another endorsement key", "the wrong EK")
    check(not os.path.exists(f.secret) and not os.path.exists(f.challenge), "and no file is left")
    challenge(rig, f, "--key", host.ek)
    check(os.stat(f.secret).st_mode & 0o777 == 0o600, "the secret is for its owner only")
    host.answer(f)
    g.request = f.request
    challenge(rig, g, "--key", host.ek)
    check(get(g.challenge) != get(f.challenge), "each challenge is new")
    g.answer = f.answer
    refused(sign(rig, g, ca, ok=False), 7, "does not hold", "the answer to an older challenge")
    f.certificate = rig.path("late")
    altered(host, f, ca)
    sign(rig, f, ca)
    refused(sign(rig, f, ca, ok=False), 5, "exists", "a file that is there")


def altered(host, f, ca):
    rig, request, box, answer = host.rig, get(f.request), get(f.challenge), get(f.answer)
    for at in range(len(answer)):
        g = Files(rig)
        g.secret, g.answer = f.secret, put(rig.path("altered"), flip(answer, at))
        if sign(rig, g, ca, ok=False).returncode == 0:
            raise AssertionError("byte %d of the answer altered, and a certificate is made" % at)
    check(True, "every byte of the answer altered: no certificate")
    for at in sorted(set(range(41 + 2 + 68 + 2)) | set(range(0, len(box), 9)) | {len(box) - 1}):
        if at < len(box):
            passes(host, f, ca, "challenge", at, challenge=put(rig.path("altered"), flip(box, at)))
    check(True, "bytes of the challenge altered: no certificate")
    # The certificate is not looked at when the key itself is named: by_maker alters that.
    end = len(request) - len(get_tail(request))
    for at in sorted(set(range(12)) | set(range(265, 300)) | set(range(0, end, 13)) | {end - 1}):
        passes(host, f, ca, "request", at, request=put(rig.path("altered"), flip(request, at)))
    check(True, "bytes of the request altered: no certificate")
    for name, data in (("request", request), ("challenge", box), ("answer", answer)):
        for bad in (data[:-1], data + b"\0", b"", data[:9]):
            passes(host, f, ca, name, len(bad), **{name: put(rig.path("altered"), bad)})
    check(True, "cut off, or longer: no certificate")


def passes(host, f, ca, what, at, **replaced):
    """From the file that was replaced on, all steps: one of them must refuse."""
    rig, g = host.rig, Files(host.rig)
    for name, path in replaced.items():
        setattr(g, name, path)
    if "answer" in replaced:
        g.secret = f.secret
    else:
        if "challenge" in replaced:
            g.secret = f.secret
        elif challenge(rig, g, "--key", host.ek, ok=False).returncode:
            return
        if host.answer(g, ok=False).returncode:
            return
    if sign(rig, g, ca, ok=False).returncode == 0:
        raise AssertionError("%s, byte %d: altered, and a certificate is made" % (what, at))


def another_tpm(host, kind, ca):
    """The attestation key of B, claimed to be in A."""
    rig = host.rig
    with Rig() as far:
        b = Host(far, kind(far, kind.kind))
        f, g = Files(rig), Files(far)
        host.request(f)
        b.request(g)
        refused(challenge(far, g, "--key", host.ek, ok=False), 7, "another host", "B's request, when the CA knows A")
        forged = get(f.request)[:265] + get(g.request)[265:]
        f.request = put(rig.path("forged"), forged)
        challenge(rig, f, "--key", host.ek)
        refused(host.answer(f, ok=False), 8, "another attestation key", "A does not answer for B's key")
        g.challenge = f.challenge
        refused(b.answer(g, ok=False), 8, "another endorsement key", "B cannot answer with its own TPM")
        check(not os.path.exists(f.answer) and not os.path.exists(g.answer), "and no file is left")
        # A's own enrolment is of no use to B.
        h = Files(rig)
        host.request(h)
        challenge(rig, h, "--key", host.ek)
        g.challenge = h.challenge
        refused(b.answer(g, ok=False), 8, "another", "B cannot answer A's challenge")
        # Another key in the same TPM.
        rig.ctl("host-ak", "create", "--yes", *host.owner)
        refused(host.answer(h, ok=False), 8, "another attestation key", "a challenge for the key before")
        host.ak = put(rig.path("ak.pem"), rig.ctl("host-ak", "show").stdout)


# ---- TPM 2.0: against tpm2-tools ----

def public_of(path):
    """TPMT_PUBLIC of a file with a TPM2B_PUBLIC."""
    data = get(path)
    check(struct.unpack(">H", data[:2])[0] == len(data) - 2, "TPM2B_PUBLIC")
    return data[2:]


def made_request(host, f, public):
    """The request of this host for a key of the tools."""
    host.request(f)
    head = get(f.request)[:265]
    put(f.request, head + struct.pack(">H", len(public)) + public + b"\0\0")


def tools_open_ours(host):
    """Our challenge, opened by tpm2_activatecredential for a key that tpm2_createak made."""
    rig, tpm, f = host.rig, host.tpm, Files(host.rig)
    at = lambda name: rig.path(tpm.name + "/" + name)
    tpm.tool("tpm2_createek", "-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub", "-f", "pem")
    tpm.tool("tpm2_flushcontext", "-t")
    tpm.tool("tpm2_createak", "-C", "ek.ctx", "-c", "ak.ctx", "-G", "rsa", "-g", "sha256", "-s", "rsassa", "-u", "ak.tss", "-n",
             "ak.name")
    tpm.tidy()
    public = public_of(at("ak.tss"))
    check(b"\0\x0b" + hashlib.sha256(public).digest() == get(at("ak.name")), "its name")
    made_request(host, f, public)
    challenge(rig, f, "--key", host.ek)
    put(at("cred"), bytes.fromhex("badcc0de00000001") + get(f.challenge)[41:])
    tpm.tool("tpm2_startauthsession", "--policy-session", "-S", "s.ctx")
    tpm.tool("tpm2_policysecret", "-S", "s.ctx", "-c", "e")
    tpm.tool("tpm2_activatecredential", "-c", "ak.ctx", "-C", "ek.ctx", "-i", "cred", "-o", "opened", "-P", "session:s.ctx")
    tpm.tidy()
    check(get(at("opened")) == get(f.secret)[-32:] and len(get(at("opened"))) == 32,
          "tpm2_activatecredential opens our challenge")


def ours_opens_tools(host):
    """tpm2_makecredential for our key, answered by the server."""
    rig, tpm, f = host.rig, host.tpm, Files(host.rig)
    at = lambda name: rig.path(tpm.name + "/" + name)
    host.request(f)
    data = get(f.request)
    size = struct.unpack(">H", data[265:267])[0]
    public = data[267:267 + size]
    put(at("secret"), b"thirty-two bytes of the tool's..")
    tpm.tool("tpm2_createek", "-c", "ek.ctx", "-G", "rsa", "-u", "ek.tss")
    tpm.tool("tpm2_makecredential", "-T", "none", "-u", "ek.tss", "-s", "secret", "-n",
             "000b" + hashlib.sha256(public).hexdigest(), "-o", "cred2")
    tpm.tidy()
    cred = get(at("cred2"))
    check(cred[:8].hex() == "badcc0de00000001", "the tool's head")
    put(f.challenge, b"vtpm-ec1\x02" + hashlib.sha256(public).digest() + cred[8:])
    host.answer(f)
    check(get(f.answer) == b"vtpm-ea1\x02" + hashlib.sha256(public).digest() + b"\0\x20" + get(at("secret")),
          "the server opens the challenge of tpm2_makecredential")


def wrong_kinds_of_key(host):
    """Keys that a CA must not take for attestation keys, made by the tools in the same TPM."""
    rig, tpm = host.rig, host.tpm
    fixed = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda"
    for attributes, scheme, word in (
            (fixed + "|sign", "rsa2048:rsassa-sha256:null", "restricted"),
            ("sensitivedataorigin|userwithauth|sign|restricted", "rsa2048:rsassa-sha256:null", "fixedTPM"),
            (fixed + "|restricted|decrypt", "rsa2048:null:aes128cfb", "RSASSA with SHA-256"),
            (fixed + "|sign|restricted", "rsa2048:rsapss-sha256:null", "RSASSA with SHA-256"),
            (fixed + "|sign|restricted", "ecc256:ecdsa-sha256:null", "RSASSA with SHA-256")):
        f = Files(rig)
        tpm.tool("tpm2_createprimary", "-C", "o", "-G", scheme, "-a", attributes, "-c", "k.ctx")
        tpm.tool("tpm2_readpublic", "-c", "k.ctx", "-o", "k.tss")
        tpm.tidy()
        made_request(host, f, public_of(rig.path(tpm.name + "/k.tss")))
        refused(challenge(rig, f, "--key", host.ek, ok=False), 7, word, "%s, %s" % (attributes, scheme))


def other_hosts_keys(host):
    """Where the EK is: kept at the usual handle, or made; something else at that handle; a hierarchy with a password."""
    tpm, f = host.tpm, Files(host.rig)
    host.request(f)
    data = get(f.request)
    tpm.tool("tpm2_createek", "-c", "0x81010001", "-G", "rsa", "-u", "ek.pub", "-f", "pem")
    tpm.tidy()
    f = Files(host.rig)
    host.request(f)
    check(get(f.request) == data, "the EK that is kept is the one that is made")
    challenge(host.rig, f, "--key", host.ek)
    host.answer(f)
    tpm.tool("tpm2_evictcontrol", "-C", "o", "-c", "0x81010001")
    tpm.tool("tpm2_createprimary", "-C", "e", "-G", "rsa2048", "-c", "p.ctx")
    tpm.tool("tpm2_evictcontrol", "-C", "o", "-c", "p.ctx", "0x81010001")
    tpm.tidy()
    f = Files(host.rig)
    host.request(f)
    check(get(f.request) == data, "another kind of key at the EK's handle is not taken for it")
    tpm.tool("tpm2_evictcontrol", "-C", "o", "-c", "0x81010001")
    tpm.tool("tpm2_changeauth", "-c", "e", "secret")
    f = Files(host.rig)
    refused(host.request(f, ok=False), 7, "endorsement hierarchy has a password", "an endorsement hierarchy with a password")
    tpm.tool("tpm2_changeauth", "-c", "e", "-p", "secret")


def install_2(tpm):
    def install(cert):
        # Some makers fill the area up.
        put(tpm.rig.path(tpm.name + "/cert"), cert + b"\xff" * 100)
        tpm.tool("tpm2_nvdefine", hex(EK_CERT_2), "-C", "p", "-s", str(len(cert) + 100), "-a",
                 "ppwrite|ppread|ownerread|authread|no_da|platformcreate")
        tpm.tool("tpm2_nvwrite", hex(EK_CERT_2), "-C", "p", "-i", "cert")
    return install


def life2():
    with Rig() as rig:
        host = Host(rig, Tpm2(rig, "tpm2"))
        ca = make_ca(rig, "ca")
        check_certificate(host, enrol(host, ca, "--key", host.ek), ca)
        tools_open_ours(host)
        ours_opens_tools(host)
        wrong_kinds_of_key(host)
        by_maker(host, ca, install_2(host.tpm))
        step_by_step(host, ca)
        another_tpm(host, Tpm2, ca)
        check(enrol(host, ca, "--key", host.ek), "the new key is enrolled as well")
        other_hosts_keys(host)
        cleared(host)
        events = [e["text"] for e in rig.ctl_json("events")["events"] if e["kind"] == "host-ak"]
        check(any("challenge" in t for t in events), "an answer is an event")
        host.tpm.stop()
        refused(host.request(Files(rig), ok=False), 3, "", "without the TPM")


# ---- TPM 1.2 ----

def stored_cert(cert):
    """TCG_PCCLIENT_STORED_CERT around TCG_FULL_CERT."""
    return struct.pack(">HBHH", 0x1001, 0, len(cert) + 2, 0x1002) + cert


def install_12(tpm):
    """The area was defined before the TPM's memory was locked, as makers do; it is the owner's to write here."""
    def install(cert):
        t = tpm.tpm()
        data = stored_cert(cert)
        for at in range(0, len(data), 400):
            rc = t.nv_write(EK_CERT_12, at, data[at:at + 400], owner=OWNER)
            check(rc == 0, "the certificate is written, rc 0x%x" % rc)
        t.send.close()
    return install


def only_identity_keys(tpm):
    """The TPM itself refuses to open a challenge beside a key that signs what no TPM said (Part 3, 15.2, action 3)."""
    t = tpm.tpm()
    rc, _, key = t.create_wrap_key(KH_SRK, WELL_KNOWN, WELL_KNOWN, t.key_template(0x10, sig=2, auth_usage=0))
    check(rc == 0, "a signing key, rc 0x%x" % rc)
    rc, handle = t.load_key2(KH_SRK, WELL_KNOWN, key)
    check(rc == 0, "is loaded, rc 0x%x" % rc)
    parms = key[11:23 + struct.unpack(">I", key[19:23])[0]]
    public = parms + struct.pack(">I", 256) + key_modulus(key)
    ek = Tpm.pubkey_modulus(t.call("OwnerReadInternalPub", params=struct.pack(">I", KH_EK), auths=[Auth(t.oiap(), OWNER)]))
    blob = oaep(ek, struct.pack(">IHH", 6, 0xFF, 16) + bytes(16) + sha1(public))
    rc, _, _ = t.raw(0x7A, handles=struct.pack(">I", handle), params=struct.pack(">I", len(blob)) + blob,
                     auths=[Auth(t.oiap(), OWNER)])
    check(rc == 3, "and no challenge is opened beside it, rc 0x%x" % rc)
    t.send.close()


def life12():
    with Rig() as rig:
        tpm = Tpm12(rig, "tpm12", owned=False)
        tpm.enable()
        t = tpm.tpm()
        check(t.nv_define(None, EK_CERT_12, 2000, 0x2) == 0, "an area for the certificate")  # TPM_NV_PER_OWNERWRITE
        t.send.close()
        tpm.own()
        host = Host(rig, tpm)
        ca = make_ca(rig, "ca")
        refused(rig.ctl("host-ak", "certify", "request", "--out", rig.path("none"), ok=False), 7, "owner", "without the owner")
        wrong = ["--file", put(rig.path("wrong"), "nobody\n")]
        refused(rig.ctl("host-ak", "certify", "request", "--out", rig.path("none"), *wrong, ok=False), 7, "wrong",
                "a wrong secret of the owner")
        check_certificate(host, enrol(host, ca, "--key", host.ek), ca)
        f = Files(rig)
        host.request(f)
        challenge(rig, f, "--key", host.ek)
        refused(rig.ctl("host-ak", "certify", "answer", f.challenge, "--out", rig.path("none"), *wrong, ok=False), 7, "wrong",
                "an answer without the owner")
        only_identity_keys(tpm)
        by_maker(host, ca, install_12(tpm))
        step_by_step(host, ca)
        another_tpm(host, Tpm12, ca)
        check(enrol(host, ca, "--key", host.ek), "the new key is enrolled as well")
        cleared(host)


if __name__ == "__main__":
    need("swtpm", "tpm2_makecredential", "tpm2_activatecredential", "openssl")
    scenes = {"life2": life2, "life12": life12}
    for name in sys.argv[1:] or scenes:
        print("---- " + name)
        scenes[name]()

# SPDX-License-Identifier: Apache-2.0
"""Two guests at once: each its own EK; the credential of one opens nothing of the other. And who may do what."""
import base64
import os
import shutil
import subprocess

from rig import Rig, check, free_port, need
from tpm12 import KH_SRK


def credential(path):
    return dict(line.strip().split("=", 1) for line in open(path))


def write_credential(path, values):
    with open(path, "w") as f:
        f.writelines("%s=%s\n" % kv for kv in values.items())
    os.chmod(path, 0o600)


def crossed(rig, uuid, port):
    """guest one's key under guest two's name, and one's name asking for two's instance."""
    mine, other = credential(rig.path("one.cred")), credential(rig.path("two.cred"))
    write_credential(rig.path("crossed.cred"), {"uuid": other["uuid"], "key": mine["key"]})
    shim = rig.start_shim("crossed")
    shim.wait_line("(?i)auth|credential|key")
    p = subprocess.run(["timeout", "2", "python3", "-c",
                        "import sys; sys.path.insert(0, %r)\nfrom tpm12 import *\nTpm(Socket(%r)).pcr(0)" %
                        (os.path.dirname(os.path.abspath(__file__)) + "/../lib", rig.path("crossed.tpm"))],
                       capture_output=True)
    check(p.returncode != 0, "the key of one under the name of the other gets no answer")
    shim.stop()


def openssl(rig, port, identity, key):
    return subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % port, "-tls1_2", "-cipher",
                           "ECDHE-PSK-CHACHA20-POLY1305", "-psk_identity", identity, "-psk", key],
                          input=b"", capture_output=True, timeout=30)


def alerts(rig, port):
    """An unknown identity and a wrong key look the same from outside; the right key gets in."""
    good = credential(rig.path("one.cred"))
    r = openssl(rig, port, good["uuid"], good["key"])
    check(b"ECDHE-PSK-CHACHA20-POLY1305" in r.stdout and b"alert" not in r.stderr, "openssl reaches the tcp: listener")
    wrong = openssl(rig, port, good["uuid"], "00" * 32)
    unknown = openssl(rig, port, "5b1c2f0e-7c1d-4b8a-9f2e-3d4c5b6a7988", good["key"])

    def said(r):
        return [line.split(b":", 1)[1] for line in r.stderr.splitlines() if b"alert" in line]
    check(said(wrong) and said(wrong) == said(unknown), "wrong key and unknown identity: the same alert")


def closed_channels(rig):
    """rotate, disable and delete end the live channel; the new key and enable bring the guest back."""
    shim = rig.start_shim("one")
    tpm = rig.tpm("one")
    pcr = tpm.extend(3, b"\x22" * 20)
    os.rename(rig.path("one.cred"), rig.path("one.old"))
    rig.ctl("credential", "rotate", "one", "--credential-out", rig.path("one.cred"))
    shim.wait_line("rotated")
    shim.stop()
    shim = rig.start_shim("one")
    tpm = rig.tpm("one")
    check(tpm.pcr(3) == pcr, "after rotate: the new credential has the same TPM, still on")
    rig.ctl("instance", "disable", "one")
    shim.wait_line("disabled")
    check(rig.state("one") == "disabled", "the inventory says disabled")
    rig.ctl("instance", "enable", "one")
    check(tpm.pcr(3) == pcr, "after enable: the shim comes back by itself and nothing was lost")
    shim.stop()


def taken_over(rig):
    first = rig.start_shim("two")
    a = rig.tpm("two")
    a.extend(4, b"\x33" * 20)
    shutil.copy(rig.path("two.cred"), rig.path("two-again.cred"))
    second = rig.start_shim("two-again")
    b = rig.tpm("two-again")
    b.pcr(4)
    first.wait_line("(?i)taken over|newer")
    first.stop()
    check(b.pcr(4) != bytes(20), "the newer channel goes on with the same TPM")
    second.stop()


def own_secrets(rig, secrets):
    """What guest one keeps in its TPM; and one more key slot, opened by a passphrase."""
    shim = rig.start_shim("one")
    tpm = rig.tpm("one")
    owner, srk, data, nv, auth = (os.urandom(20) for _ in range(5))
    secrets.update({"owner secret": owner, "SRK secret": srk, "sealed data": data, "NV data": nv, "data secret": auth})
    check(tpm.take_ownership(owner, srk)[0] == 0, "guest one takes ownership")
    rc, _, blob = tpm.seal(KH_SRK, srk, auth, data)
    check(rc == 0 and tpm.unseal(KH_SRK, srk, auth, blob) == (0, data), "seals and unseals")
    check(tpm.unseal(KH_SRK, srk, os.urandom(20), blob)[0] != 0, "a wrong secret does not")
    check(tpm.nv_define(owner, 0x1001, 20, 0x00020002) == 0 and tpm.nv_write(0x1001, 0, nv, owner) == 0, "writes NV")
    rig.ctl("instance", "power-cycle", "one")
    check(tpm.unseal(KH_SRK, srk, auth, blob) == (0, data), "and after a power cycle")
    shim.stop()
    secrets["passphrase"] = ("correct horse " + os.urandom(8).hex()).encode()
    with open(rig.path("passphrase"), "wb") as f:
        f.write(secrets["passphrase"] + b"\n")
    os.chmod(rig.path("passphrase"), 0o600)
    rig.ctl("keyslot", "add", "passphrase-file:" + rig.path("passphrase"))


def keep_keys(rig, secrets):
    """The keys of all credentials as they are now."""
    for name in os.listdir(rig.dir):
        if name.endswith((".cred", ".old")):
            values = credential(rig.path(name))
            secrets["key %s of %s" % (values["key"][:4], name)] = bytes.fromhex(values["key"])


def shown(rig):
    """Everything that may be read without a key: by name, the bytes."""
    out = {}
    for top, _, names in os.walk(rig.dir):
        for name in names:
            path = os.path.join(top, name)
            if name.endswith((".log", ".run", ".new")) or name.startswith("vtpm.db"):
                with open(path, "rb") as f:
                    out[name] = f.read()
    for verb in ["events"], ["events", "--verify"], ["check"], ["status"], ["instance", "list"], ["keyslot", "list"]:
        out[" ".join(verb)] = rig.ctl("--json", *verb).stdout.encode()
    return out


def no_secrets(rig, secrets):
    with open(rig.keyfile, "rb") as f:
        secrets["key file"] = f.read()
    for k, group in enumerate(rig.recovery.strip().split("-")):
        secrets["recovery key, group %d" % k] = group.encode()
    secrets["recovery key"] = rig.recovery.strip().encode()
    places = shown(rig)
    check(len(secrets) > 15 and len(places) > 10, "%d secrets, %d places to look" % (len(secrets), len(places)))
    check(b"take-over" in places["events"] and one.encode() in places["server.log"], "the places are read")
    for name, secret in secrets.items():
        forms = {secret, secret.hex().encode(), secret.hex().upper().encode(), base64.b64encode(secret).rstrip(b"=")}
        for place, text in places.items():
            if any(form in text for form in forms):
                raise AssertionError("%s stands in %s" % (name, place))
    print("ok: no secret in any log, event, answer or file")


def host_credential(rig, uuid):
    rig.ctl("credential", "create-host", "dom0", "--instance", "one", "--credential-out", rig.path("host.cred"))
    values = credential(rig.path("host.cred"))
    check(values["identity"] == "host:dom0", "a host credential names the host")


def deleted(rig, uuid):
    r = rig.ctl("instance", "delete", "two", ok=False)
    check(r.returncode == 2, "delete without --yes is refused where nobody can be asked")
    rig.ctl("instance", "delete", "two", "--yes")
    check(rig.ctl("instance", "show", "two", ok=False).returncode == 3, "a deleted instance is not found: exit 3")
    r = rig.ctl("instance", "create", "three", "--uuid", uuid, ok=False)
    check(r.returncode == 5, "its uuid is not used again: exit 5")
    os.remove(rig.path("two.cred"))
    check(rig.create("two") != uuid, "its name may be")


need("openssl")
with Rig() as rig:
    rig.init()
    port = free_port()
    rig.start_server("--log-level", "debug", "--listen", "tcp:127.0.0.1:%d" % port)
    one, two = rig.create("one"), rig.create("two")
    secrets = {}
    keep_keys(rig, secrets)
    shims = [rig.start_shim("one"), rig.start_shim("two", upstream="tcp:127.0.0.1:%d" % port)]
    tpms = [rig.tpm(n) for n in ("one", "two")]
    check(tpms[0].read_pubek() != tpms[1].read_pubek(), "two guests at once, each its own EK")
    tpms[0].extend(1, b"\x01" * 20)
    check(tpms[1].pcr(1) == bytes(20), "what one extends the other does not see")
    check(tpms[0].get_random(20) != tpms[1].get_random(20), "their generators differ")
    for s in shims:
        s.stop()
    crossed(rig, two, port)
    alerts(rig, port)
    closed_channels(rig)
    taken_over(rig)
    own_secrets(rig, secrets)
    host_credential(rig, one)
    keep_keys(rig, secrets)
    deleted(rig, two)
    out = rig.ctl("events", "--verify").stdout
    for kind in "create", "attach", "take-over", "credential-rotate", "disable", "enable", "delete", "keyslot-add":
        check(kind in out, "the events tell of %s" % kind)
    rig.ctl("check")
    keep_keys(rig, secrets)
    no_secrets(rig, secrets)
print("guests: all seen to hold")

# SPDX-License-Identifier: Apache-2.0
"""Every program of Debian's tpm-tools-pkcs11: opencryptoki's TPM token, whose keys are under an instance's SRK.

opencryptoki has its places built in, so all of this runs in namespaces of its own with those places empty.
"""
import glob
import os
import re
import shutil

from rig import Process, Rig, check, enter_namespace, need, run, wait_until
from tcsd import PATH, Device, all_worked, need_trousers

CONF = "/etc/opencryptoki/opencryptoki.conf"
STATE = "/var/lib/opencryptoki"


def mount_empty(path, mode="755"):
    run(["mount", "-t", "tmpfs", "-o", "mode=" + mode, "tmpfs", path])


def start_opencryptoki(rig):
    """As its packages set it up, with one slot: the TPM's."""
    with open(CONF) as f:
        text = f.read()
    version, slot = text.splitlines()[0], re.search(r"^slot 0\n\{.*?^\}", text, re.M | re.S).group(0)
    check("libpkcs11_tpm.so" in slot, "opencryptoki's slot 0 is the TPM")
    for place in STATE, "/run":
        mount_empty(place)
    mount_empty("/dev/shm", "1777")
    os.makedirs("/run/lock", exist_ok=True)
    with open(rig.path("opencryptoki.conf"), "w") as f:
        f.write("%s\n%s\n" % (version, slot))
    run(["mount", "--bind", f.name, CONF])
    conf = [f for f in run(["dpkg", "-L", "opencryptoki"]).stdout.split() if "/tmpfiles.d/" in f]
    run(["systemd-tmpfiles", "--create", *conf])
    # Debian 13 leaves the TPM's places to be made; Debian 12's token keeps objects in TOK_OBJ itself, but makes only
    # one for each user beside it.
    for place in STATE + "/tpm", STATE + "/tpm/TOK_OBJ", "/run/lock/opencryptoki/tpm":
        os.makedirs(place, exist_ok=True)
        shutil.chown(place, "root", "pkcs11")
        os.chmod(place, 0o770)
    rig.others.append(Process([shutil.which("pkcsslotd", path=PATH), "-f"], rig.path("pkcsslotd.log")))
    wait_until(lambda: glob.glob("/run/**/pkcsslotd.socket", recursive=True), "pkcsslotd makes its socket")


class Token:
    """The token on an instance, by its label: the tools know only the one that it had in Debian 12."""

    def __init__(self, dev):
        self.dev = dev
        self.label = re.search(r"Label: (.*\S)", dev.ok("pkcsconf", "-t")).group(1)

    def ok(self, tool, *argv, **kw):
        return self.dev.ok("tpmtoken_" + tool, "--token", self.label, *argv, **kw)

    def refused(self, tool, *argv, **kw):
        return self.dev.refused("tpmtoken_" + tool, "--token", self.label, *argv, **kw)


def owned_token(rig):
    """The token reads the SRK's public half, which a new owner's TPM does not show."""
    dev = Device(rig, "token")
    dev.ok("tpm_takeownership", "-y", stdin="srk\nsrk\n")
    dev.ok("tpm_restrictsrk", "--allow", "-z")
    os.environ.update(OCK_SRK_SECRET="srk", OCK_SRK_MODE="TSS_SECRET_MODE_PLAIN")
    token = Token(dev)
    token.ok("init", stdin="officer\nofficer\nuserpin\nuserpin\n")
    return token


def passwords(token):
    token.ok("objects", stdin="userpin\n", want="No objects found")
    token.refused("objects", stdin="another\n", want="C_Login failed: 0x000000a0")
    token.ok("setpasswd", stdin="userpin\nsecond\nsecond\n")
    token.refused("objects", stdin="userpin\n", want="C_Login failed: 0x000000a0")
    token.ok("objects", stdin="second\n", want="No objects found")
    token.ok("setpasswd", "--security-officer", stdin="officer\nsheriff\nsheriff\n")
    token.refused("setpasswd", "--security-officer", stdin="officer\nsheriff\nsheriff\n")


def import_key(token):
    pem, key = token.dev.path("key.pem"), token.dev.path("rsa.pem")
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", pem, "-days", "1", "-subj",
         "/CN=token"])
    with open(pem, "a") as f:
        f.write(run(["openssl", "rsa", "-in", key, "-traditional"]).stdout)
    modulus = run(["openssl", "rsa", "-in", key, "-noout", "-modulus"]).stdout.strip().split("=")[1].lower()
    token.ok("import", "--yes", "--name", "mine", pem, stdin="second\n")
    seen = token.ok("objects", "--extended", stdin="second\n")
    for kind in "Private Key", "Public Key", "X509 Certificate":
        check(kind in seen, "the token has it: %s" % kind)
    check(modulus in re.sub(r"\s", "", seen), "the certificate in the token has the key that was imported")


def protect(token):
    text = os.urandom(3000)
    with open(token.dev.path("plain"), "wb") as f:
        f.write(text)
    token.ok("protect", "--encrypt", "-i", "plain", "-o", "hidden", stdin="second\n")
    with open(token.dev.path("hidden"), "rb") as f:
        check(text[:16] not in f.read(), "tpmtoken_protect hides the text")
    decrypt = ["protect", "--decrypt", "-i", "hidden", "-o", "found"]
    token.dev.kill_server()
    token.refused(*decrypt, stdin="another\n", want="C_Login failed: 0x000000a0")
    token.ok(*decrypt, stdin="second\n")
    with open(token.dev.path("found"), "rb") as f:
        check(f.read() == text, "and finds it again, after kill -9 of the server")
    token.dev.ok("tpm_clear", "-z")
    token.refused(*decrypt, stdin="second\n")


need_trousers()
need("tpmtoken_init", "pkcsslotd", "pkcsconf", "systemd-tmpfiles", "openssl")
enter_namespace("--ipc", "--pid", "--fork", "--kill-child", "--mount-proc")
with Rig() as rig:
    rig.init()
    rig.start_server()
    start_opencryptoki(rig)
    token = owned_token(rig)
    for room in passwords, import_key, protect:
        room(token)
    token.dev.stop()
    all_worked("tpm-tools-pkcs11")
print("tpm-tools-pkcs11: all seen to hold")

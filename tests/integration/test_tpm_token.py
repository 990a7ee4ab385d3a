# SPDX-License-Identifier: Apache-2.0
"""Every program of Debian's tpm-tools-pkcs11: opencryptoki's TPM token on an instance, its keys under the instance's SRK.

opencryptoki has its places built in, so all of this runs in namespaces of its own with those places empty.
"""
import glob
import os
import re
import shutil
import time

from rig import Process, Rig, check, enter_namespace, need, run
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
    for place in os.path.dirname(CONF), STATE, "/run":
        mount_empty(place)
    mount_empty("/dev/shm", "1777")
    os.makedirs("/run/lock", exist_ok=True)
    with open(CONF, "w") as f:
        f.write("%s\n%s\n" % (version, slot))
    os.chmod(CONF, 0o644)
    conf = [f for f in run(["dpkg", "-L", "opencryptoki"]).stdout.split() if "/tmpfiles.d/" in f]
    run(["systemd-tmpfiles", "--create", *conf])
    # The token keeps objects here, but makes only a directory for each user beside it (3.8.1).
    os.makedirs(STATE + "/tpm/TOK_OBJ", exist_ok=True)
    rig.others.append(Process([shutil.which("pkcsslotd", path=PATH), "-f"], rig.path("pkcsslotd.log")))
    end = time.monotonic() + 60
    while not glob.glob("/run/**/pkcsslotd.socket", recursive=True):
        if time.monotonic() > end:
            raise AssertionError("pkcsslotd makes no socket")
        time.sleep(0.05)


def owned_token(rig):
    """The token reads the SRK's public half, which a new owner's TPM does not show."""
    dev = Device(rig, "token")
    dev.ok("tpm_takeownership", "-y", stdin="srk\nsrk\n")
    os.environ.update(OCK_SRK_SECRET="srk", OCK_SRK_MODE="TSS_SECRET_MODE_PLAIN")
    dev.ok("tpm_restrictsrk", "--allow", "-z")
    dev.ok("tpmtoken_init", stdin="officer\nofficer\nuserpin\nuserpin\n")
    return dev


def passwords(dev):
    dev.ok("tpmtoken_objects", stdin="userpin\n", want="No objects found")
    dev.refused("tpmtoken_objects", stdin="another\n", want="C_Login failed: 0x000000a0")
    dev.ok("tpmtoken_setpasswd", stdin="userpin\nsecond\nsecond\n")
    dev.refused("tpmtoken_objects", stdin="userpin\n", want="C_Login failed: 0x000000a0")
    dev.ok("tpmtoken_objects", stdin="second\n", want="No objects found")
    dev.ok("tpmtoken_setpasswd", "--security-officer", stdin="officer\nsheriff\nsheriff\n")
    dev.refused("tpmtoken_setpasswd", "--security-officer", stdin="officer\nsheriff\nsheriff\n")


def import_key(dev):
    pem, key = dev.path("key.pem"), dev.path("rsa.pem")
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", pem, "-days", "1", "-subj",
         "/CN=token"])
    with open(pem, "a") as f:
        f.write(run(["openssl", "rsa", "-in", key, "-traditional"]).stdout)
    modulus = run(["openssl", "rsa", "-in", key, "-noout", "-modulus"]).stdout.strip().split("=")[1].lower()
    dev.ok("tpmtoken_import", "--yes", "--name", "mine", pem, stdin="second\n")
    seen = dev.ok("tpmtoken_objects", "--extended", stdin="second\n")
    check(all(kind in seen for kind in ("Private Key", "Public Key", "X509 Certificate")), "the key and its certificate")
    check(modulus in re.sub(r"\s", "", seen), "the certificate in the token has the key that was imported")


def protect(dev):
    text = os.urandom(3000)
    with open(dev.path("plain"), "wb") as f:
        f.write(text)
    dev.ok("tpmtoken_protect", "--encrypt", "-i", "plain", "-o", "hidden", stdin="second\n")
    with open(dev.path("hidden"), "rb") as f:
        check(text[:16] not in f.read(), "tpmtoken_protect hides the text")
    decrypt = ["tpmtoken_protect", "--decrypt", "-i", "hidden", "-o", "found"]
    dev.kill_server()
    dev.refused(*decrypt, stdin="another\n", want="C_Login failed: 0x000000a0")
    dev.ok(*decrypt, stdin="second\n")
    with open(dev.path("found"), "rb") as f:
        check(f.read() == text, "and finds it again, after kill -9 of the server")
    dev.ok("tpm_clear", "-z")
    dev.refused(*decrypt, stdin="second\n")


need_trousers()
need("tpmtoken_init", "pkcsslotd", "systemd-tmpfiles", "openssl")
enter_namespace("--ipc", "--pid", "--fork", "--kill-child", "--mount-proc")
with Rig() as rig:
    rig.init()
    rig.start_server()
    start_opencryptoki(rig)
    dev = owned_token(rig)
    for room in passwords, import_key, protect:
        room(dev)
    dev.stop()
    all_worked("tpm-tools-pkcs11")
print("tpm-tools-pkcs11: all seen to hold")

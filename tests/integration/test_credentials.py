# SPDX-License-Identifier: Apache-2.0
"""Credentials of hosts (host:NAME, a list of instances) and their rotation under a running shim."""
import os
import subprocess
import threading

from rig import Rig, check, program
from tpm12 import sha1


def connect(rig, name):
    return rig.tpm(name)


def refused(rig, name, credential, instance, words):
    extra = ["--instance", instance] if instance else []
    shim = rig.start_shim(name, credential=credential, extra=extra)
    line = shim.wait_line(words)
    check(line, "%s: %s" % (name, line.split(": ", 2)[-1]))
    shim.stop()


def host_credential(rig, uuids):
    cred = rig.path("h.cred")
    rig.ctl("credential", "create-host", "h", "--instance", "a", "--instance", uuids["b"], "--credential-out", cred)
    lines = open(cred).read().splitlines()
    check(lines[0] == "identity=host:h" and lines[1].startswith("key=") and len(lines) == 2 and
          os.stat(cred).st_mode & 0o777 == 0o600, "the credential file names the host and has mode 0600")
    shims = {n: rig.start_shim(n, credential=cred, extra=["--instance", uuids[n]]) for n in "ab"}
    tpms = {n: connect(rig, n) for n in "ab"}
    values = {n: t.extend(10, sha1(n.encode())) for n, t in tpms.items()}
    check(values["a"] != values["b"] and all(tpms[n].pcr(10) == values[n] for n in "ab"),
          "one host credential serves two instances, each with its own PCRs")
    check(all(rig.ctl_json("instance", "show", n)["instances"][0]["connected"] for n in "ab"), "both are connected")
    refused(rig, "c", cred, uuids["c"], "may not attach that instance")
    r = subprocess.run([program("vtpm-shim"), "--upstream", rig.listen, "--credential", cred, "--frontend",
                        "socket:unix:" + rig.path("none.tpm")], capture_output=True, text=True, timeout=20)
    check(r.returncode == 2 and "--instance" in r.stderr, "a host credential without --instance: exit 2")
    refused(rig, "foreign", rig.path("c.cred"), uuids["a"], "may not attach that instance")
    check(not rig.ctl_json("instance", "show", "c")["instances"][0].get("connected"), "c is attached by nobody")
    r = rig.ctl("credential", "create-host", "h", "--instance", "a", "--credential-out", rig.path("h2.cred"), ok=False)
    check(r.returncode == 5, "a second host of that name is refused: exit 5")
    return cred, shims, tpms, values


def rotate(rig, target, cred, shims, tpms, values):
    """The channels end at once, the guests wait, the new file brings them back; the old key is of no use."""
    fresh, old = cred + ".fresh", open(cred).read()
    rig.ctl("credential", "rotate", target, "--credential-out", fresh)
    got = {}
    threads = [threading.Thread(target=lambda n=n: got.update({n: tpms[n].pcr(10)})) for n in tpms]
    for t in threads:
        t.start()
    for n, shim in shims.items():
        shim.wait_line("rotated|refused identity")
    for t in threads:
        t.join(0.5)
    check(not got, "%s: under the old key nothing is answered" % target)
    os.rename(fresh, cred)
    for t in threads:
        t.join(30)
    check(got == {n: values[n] for n in tpms}, "%s: with the new file in place the guests go on" % target)
    for n, shim in shims.items():
        shim.wait_line("has a new key")
        check(shim.p.poll() is None, "%s: the shim is the same process" % n)
    with open(rig.path("old.cred"), "w") as f:
        f.write(old)
    os.chmod(rig.path("old.cred"), 0o600)


def main():
    with Rig() as rig:
        rig.init()
        rig.start_server()
        uuids = {n: rig.create(n) for n in "abc"}
        cred, shims, tpms, values = host_credential(rig, uuids)
        rotate(rig, "host:h", cred, shims, tpms, values)
        refused(rig, "old", rig.path("old.cred"), uuids["a"], "refused identity")
        shim = {"c": rig.start_shim("c")}
        tpm = {"c": connect(rig, "c")}
        value = {"c": tpm["c"].extend(10, sha1(b"c"))}
        rotate(rig, "c", rig.path("c.cred"), shim, tpm, value)
        refused(rig, "old2", rig.path("old.cred"), None, "refused identity")
        rig.ctl("instance", "delete", "b", "--yes")
        shims["b"].wait_line("may not attach|was deleted")
        check(tpms["a"].pcr(10) == values["a"], "b is deleted, a goes on under the same credential")
        shims["b"].stop()
        refused(rig, "gone", cred, uuids["b"], "may not attach that instance")


main()

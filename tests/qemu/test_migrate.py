# SPDX-License-Identifier: Apache-2.0
"""A guest of QEMU moves while it runs, its TPM with it, from one server to another: PCRs go along, a migration that fails
leaves both where they were, and a snapshot loads while nothing has happened (docs/moving.md, "Live migration")."""
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from machine import SLOW, Machine, check, say  # noqa: E402
from rig import Rig, free_port, need  # noqa: E402
from test_guest import GUEST_PCR, extend  # noqa: E402


def introduce(rig, other, name, port):
    with open(rig.path(name + ".pub"), "w") as f:
        f.write(other.ctl("server", "key", "show").stdout)
    rig.ctl("server", "peer", "add", name, "--key", rig.path(name + ".pub"), "--address", "tcp:127.0.0.1:%d" % port)


class Host:
    """A server, a shim, and a folder for QEMU."""

    def __init__(self, rig, name):
        self.rig, self.name, self.port = rig, name, free_port()
        self.runs = 0
        rig.init()
        self.start()

    def start(self):
        self.rig.start_server("--listen", "tcp:127.0.0.1:%d" % self.port)

    def shim(self, credential):
        self.runs += 1
        control = self.rig.path("ctrl%d" % self.runs)
        self.the_shim = self.rig.start_shim("guest%d" % self.runs, "swtpm:ctrl=unix:" + control, credential=credential)
        return control

    def machine(self, credential, *more):
        control = self.shim(credential)
        folder = self.rig.path("qemu%d" % self.runs)
        os.mkdir(folder)
        return Machine(folder, control, more=more)

    def lives(self, uuid):
        rows = {i["uuid"]: i["state"] for i in self.rig.ctl_json("instance", "list")["instances"]}
        return rows.get(uuid, "disabled") != "disabled"


def send(machine, command):
    """The response to a command of the guest, in hex after its head; its code must be 0."""
    escaped = "".join("\\x" + command[i:i + 2] for i in range(0, len(command), 2))
    response = machine.ok("printf '%s' >/run/command; exec 3<>/dev/tpm0; cat /run/command >&3; "
                          "dd bs=4096 count=1 <&3 2>/dev/null | hexdump -v -e '1/1 \"%%02x\"'; exec 3>&-" % escaped).strip()
    check(response[12:20] == "00000000", "TPM_SUCCESS to ordinal 0x%s" % command[12:20].lstrip("0"))
    return response[20:]


OIAP = "00c10000000a0000000a"
SESSIONS = "00c10000001600000065" + "00000014" + "00000004" + "00000002"  # TPM_CAP_HANDLE, TPM_RT_AUTH
FLUSH = "00c100000012000000ba%s00000002"                                  # TPM_FlushSpecific


def migrate(source, uri):
    """How it ended."""
    check(source.monitor("migrate", uri=uri)[0], "the migration begins")
    end = time.monotonic() + 120 * SLOW
    while time.monotonic() < end:
        ok, text = source.monitor("query-migrate")
        status = json.loads(text)["status"] if text.startswith("{") else ""
        if status in ("completed", "failed"):
            say("migration %s" % status)
            return status
        time.sleep(0.2)
    raise AssertionError("the migration does not end")


def main():
    need("qemu-system-x86_64")
    with Rig() as rig_a, Rig() as rig_b:
        a, b = Host(rig_a, "A"), Host(rig_b, "B")
        introduce(rig_a, rig_b, "B", b.port)
        introduce(rig_b, rig_a, "A", a.port)
        uuid = rig_a.create("guest")
        credential = rig_a.path("guest.cred")
        rig_b.ctl("instance", "expect", credential, "--from", "A")
        uri = "unix:" + rig_a.path("migration")
        with a.machine(credential) as source:
            source.wait_up()
            extend(source)
            before = source.pcrs()
            with b.machine(credential, "-incoming", uri) as target:
                # The target's server cannot ask the source's at that moment.
                rig_b.server.kill9()
                rig_a.ctl("server", "peer", "remove", "B")
                b.start()
                # QEMU's source only knows what it has sent; what the target made of it, libvirt would tell.
                migrate(source, uri)
                check(target.p.wait(60) != 0, "a target that is no peer any more cannot take the guest")
                source.monitor("cont")
            check(source.pcrs() == before and a.lives(uuid) and not b.lives(uuid), "the guest goes on at A")
            extend(source)
            before = source.pcrs()
            session = send(source, OIAP)[:8]
            introduce(rig_a, rig_b, "B", b.port)
            with b.machine(credential, "-incoming", uri) as target:
                check(migrate(source, uri) == "completed", "the guest moves to B")
                source.monitor("quit")
                source.p.wait(60)
                check(target.pcrs() == before, "all PCRs came along")
                check(session in send(target, SESSIONS), "and the session that the guest had opened")
                send(target, FLUSH % session)
                check(session not in send(target, SESSIONS), "which ends when the guest says so")
                check(b.lives(uuid) and not a.lives(uuid), "B has the instance, and A has it no more")
                extend(target)
                check(any(target.pcrs()[GUEST_PCR]), "and it goes on")
                target.monitor("quit")
                target.p.wait(60)


main()

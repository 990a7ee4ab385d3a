# SPDX-License-Identifier: Apache-2.0
"""A guest of QEMU whose tpm-tis has our server behind it: what its firmware measures, its driver and TrouSerS see; resets,
sleep, a server that dies, and the end."""
import hashlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from machine import Machine, check, say  # noqa: E402
from rig import Rig, need, wait_until  # noqa: E402

FIRMWARE_PCRS = range(8)
GUEST_PCR = 12
NO_ACTION = 3
DIGEST = b"\x11" * 20
EXTEND = bytes.fromhex("00c100000022000000140000%04x" % GUEST_PCR) + DIGEST


def replayed(events):
    pcrs = [bytes(20) for _ in FIRMWARE_PCRS]
    for pcr, kind, digest in events:
        if kind != NO_ACTION:
            pcrs[pcr] = hashlib.sha1(pcrs[pcr] + digest).digest()
    return pcrs


def check_firmware(guest, which):
    """Firmware has measured, and its log tells the values."""
    pcrs, events = guest.pcrs(), guest.events()
    check(len(pcrs) == 24 and all(any(pcrs[n]) for n in FIRMWARE_PCRS), "%s: firmware has extended PCRs 0 to 7" % which)
    check(replayed(events) == pcrs[:len(FIRMWARE_PCRS)], "%s: its log of %d events gives the PCRs' values" %
          (which, len(events)))
    check(pcrs[GUEST_PCR] == bytes(20), "%s: PCR %d is zero" % (which, GUEST_PCR))
    return pcrs


def check_driver(guest):
    caps = guest.ok("cat /sys/class/tpm/tpm0/caps")
    check("0x5654504d" in caps and "1.2" in caps, "the driver has a TPM 1.2 of ours")
    guest.ok("tcsd -f >/run/tcsd.log 2>&1 & for i in 1 2 3 4 5 6 7 8 9 10; do tpm_version >/run/version 2>&1 && break; sleep 1; "
             "done; cat /run/tcsd.log; kill %1; wait")
    check("TPM Vendor ID:       VTPM" in guest.ok("cat /run/version"), "TrouSerS talks to it")


def extend(guest):
    before = guest.pcrs()[GUEST_PCR]
    guest.ok("printf '%s' >/run/extend; exec 3<>/dev/tpm0; cat /run/extend >&3; dd bs=4096 count=1 <&3 >/run/answer 2>/dev/null; "
             "exec 3<&-" % "".join("\\x%02x" % b for b in EXTEND))
    value = hashlib.sha1(before + DIGEST).digest()
    check(guest.pcrs()[GUEST_PCR] == value, "an Extend reaches PCR %d" % GUEST_PCR)


def check_sleep(guest):
    before = guest.pcrs()
    guest.begin("echo mem >/sys/power/state")
    guest.event("SUSPEND")
    guest.monitor("system_wakeup")
    check(guest.end()[0] == 0, "suspended to RAM and resumed")
    check(guest.pcrs() == before, "sleep keeps the PCRs")


def check_server_death(rig, guest):
    before = guest.pcrs()
    rig.server.kill9()
    guest.begin("cat /sys/class/tpm/tpm0/pcrs >/dev/null")
    rig.start_server()
    check(guest.end()[0] == 0 and guest.pcrs() == before, "a server that dies and comes back is a pause")


def main():
    need("qemu-system-x86_64")
    with Rig() as rig:
        rig.init()
        rig.start_server()
        rig.create("guest")
        shim = rig.start_shim("guest", "swtpm:ctrl=unix:" + rig.path("ctrl"))
        with Machine(rig.dir, rig.path("ctrl")) as guest:
            guest.wait_up()
            say("the guest is up")
            first = check_firmware(guest, "first boot")
            check_driver(guest)
            extend(guest)
            check_sleep(guest)
            check_server_death(rig, guest)
            extend(guest)
            guest.begin("reboot -f")
            guest.wait_up()
            check(check_firmware(guest, "after a reset")[:8] == first[:8], "the same machine measures the same")
            check(rig.state("guest") == "on", "the inventory says that it is on")
            guest.monitor("quit")
            guest.p.wait(30)
        check(wait_until(lambda: rig.state("guest") == "off", "the power off"), "the end of QEMU powers the TPM off")
        check(shim.p.poll() is None, "the shim waits for the next one")
        shim.stop()


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""What xl does to a vTPM: attach, detach, destroy, save, restore; a measured start. Nothing hangs, nothing stays."""
import hashlib
import os

from bed import IMAGE, check, say
from host import ADMIN, GUEST_LINE, ZERO, Host, extended, together

# libxl gives a back end 10 s; under emulation all of xl takes longer than it says.
XL = 30


def devices(h, name):
    return h.guest_ok(name, "ls /dev | grep '^tpm[0-9]' || true").split()


def wait_devices(h, name, want):
    h.wait("%s in %s" % (want, name), "agent ask %s 20 'ls /dev | grep -c \"^tpm[0-9]\"; true'" % name, 30,
           want=r"^%d$" % want)


def is_gone(h, domid, device, when):
    check(h.run("xenstore-exists /local/domain/0/backend/vtpm/%d/%d || xenstore-exists /local/domain/%d/device/vtpm/%d"
                " || xenstore-exists /libxl/%d/device/vtpm/%d" % ((domid, device) * 3))[0] != 0,
          "%s: no xenstore node of the device is left" % when)


def attach_detach(h, hot, second):
    domid = h.domid("hot")
    check(devices(h, "hot") == [], "a guest without a vTPM has no device")
    for turn in range(2):
        h.ok("xl vtpm-attach hot backend=0 uuid=%s" % hot, XL)
        wait_devices(h, "hot", 1)
        check(hot in h.ok("xl vtpm-list hot", XL), "xl vtpm-list has it")
        if turn == 0:
            check(h.pcr("hot", 10) == ZERO, "attached: PCR 10 is zero")
            value = h.extend("hot", 10, "22")
        check(h.pcr("hot", 10) == value, "attached %d times to the same domain: PCR 10 as it was left" % (turn + 1))
        if turn == 0:
            h.ok("xl vtpm-detach hot 0", XL)
            wait_devices(h, "hot", 0)
            is_gone(h, domid, 0, "detached")
    two_devices(h, domid, second)


def two_devices(h, domid, second):
    h.ok("xl vtpm-attach hot backend=0 uuid=%s" % second, XL)
    wait_devices(h, "hot", 2)
    eks = {h.guest_ok("hot", "TPM_DEVICE=/dev/%s tpmcmd ek" % device).strip() for device in devices(h, "hot")}
    check(len(eks) == 2, "two vTPMs in one guest have two EKs")
    h.ok("xl vtpm-detach hot 1", XL)
    wait_devices(h, "hot", 1)
    is_gone(h, domid, 1, "one of two detached")
    h.pcr("hot", 10)


def destroy(h):
    domid = h.domid("hot")
    h.ok("xl destroy hot", XL)
    h.wait("xl forgets hot", "! xl domid hot")
    h.wait("the nodes of %d are gone" % domid, "! xenstore-ls -f / | grep -E "
           "'^/(local/domain/0/backend/vtpm/%d|local/domain/%d|libxl/%d)[/ ]'" % (domid, domid, domid), XL)
    say("ok: destroyed: no xenstore node is left")


def digest(name):
    with open(os.path.join(IMAGE, name), "rb") as f:
        return hashlib.sha1(f.read()).digest()


def measured_start(h, name, uuid):
    cfg = h.configure(name, uuid)
    h.ok("vtpm-xl --admin %s create %s" % (ADMIN, cfg), 90)
    h.wait_guest(name)
    line = hashlib.sha1((GUEST_LINE % name).encode()).digest()
    check(h.pcr(name, 8) == extended(ZERO, line), "vtpm-xl create: PCR 8 has the command line")
    check(h.pcr(name, 9) == extended(ZERO, digest("vmlinux"), digest("guest.cpio")),
          "vtpm-xl create: PCR 9 has the kernel and the ramdisk")
    return cfg


def resumed(h, name):
    """PCR 10 of a restored guest. Its driver makes its device anew, and Linux gives that another number."""
    h.wait_guest(name)
    wait_devices(h, name, 1)
    device, = devices(h, name)
    return h.guest_ok(name, "TPM_DEVICE=/dev/%s tpmcmd pcr 10" % device).strip()


def save_restore(h, name, cfg):
    value = h.extend(name, 10, "33")
    before = h.domid(name)
    h.ok("vtpm-xl --admin %s save %s /data/checkpoint" % (ADMIN, cfg), 120)
    check(h.run("xl domid %s" % name)[0] != 0, "vtpm-xl save: the domain is gone")
    h.ok("vtpm-xl --admin %s restore %s /data/checkpoint" % (ADMIN, cfg), 120)
    now = resumed(h, name)
    check(h.domid(name) > before, "vtpm-xl restore: a new domain")
    check(now == value, "vtpm-xl save and restore: PCR 10 kept")

    h.ok("xl save %s /data/checkpoint2" % name, 120)
    h.ok("xl restore %s /data/checkpoint2" % cfg, 120)
    check(resumed(h, name) == ZERO, "plain xl save and restore: PCR 10 reset")

    domid = h.domid(name)
    h.ok("xl destroy %s" % name, XL)
    is_gone(h, domid, 0, "destroyed after a restore")


with Host() as h:
    h.boot()
    h.init_store()
    h.start_server()
    hot, second, kept = (h.create_instance(name) for name in ("hot", "second", "kept"))
    h.start_shim()
    cfg = []
    together(lambda: h.create("hot"), lambda: cfg.append(measured_start(h, "kept", kept)))
    attach_detach(h, hot, second)
    destroy(h)
    save_restore(h, "kept", cfg[0])
    check(h.is_alive("shim") and h.is_alive("server"), "shim and server are those of the start")
print("toolstack: all seen to hold")

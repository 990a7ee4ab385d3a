# SPDX-License-Identifier: Apache-2.0
"""Nothing is powered off by stopping or killing a process: keys, NV, owner, PCRs and open sessions stay."""
import os
import signal
import struct

from rig import Rig, check, run, wait_until
from tpm12 import KH_SRK, WELL_KNOWN, Auth, verify_sha1, sha1, key_modulus

OWNER = sha1(b"owner")
KEY_AUTH = sha1(b"key")


class Guest:
    """A TPM with everything that must stay, and the checks that it did."""

    def __init__(self, rig, name):
        self.rig, self.name = rig, name
        rig.create(name)
        self.shim = rig.start_shim(name)
        self.connect()
        t = self.tpm
        rc, self.srk = t.take_ownership(OWNER, WELL_KNOWN)
        check(rc == 0, "%s: takes ownership" % name)
        self.ek = t.call("OwnerReadInternalPub", params=struct.pack(">I", 0x40000006), auths=[Auth(t.oiap(), OWNER)])
        rc, _, self.key = t.create_wrap_key(KH_SRK, WELL_KNOWN, KEY_AUTH, t.key_template(0x10, sig=2))
        check(rc == 0, "%s: makes a signing key" % name)
        rc, self.handle = t.load_key2(KH_SRK, WELL_KNOWN, self.key)
        check(rc == 0, "%s: loads it" % name)
        check(t.nv_define(OWNER, 0x1001, 16, 0x00020002) == 0, "%s: defines NV" % name)
        check(t.nv_write(0x1001, 0, b"sixteen bytes NV", OWNER) == 0, "%s: writes NV" % name)
        rc, _, self.blob = t.seal(KH_SRK, WELL_KNOWN, KEY_AUTH, b"sealed before")
        check(rc == 0, "%s: seals" % name)
        self.pcrs = {10: t.extend(10, sha1(b"ten")), 16: t.extend(16, sha1(b"sixteen"))}
        self.session = t.oiap()

    def connect(self):
        self.tpm = self.rig.tpm(self.name)

    def signs(self):
        rc, signature = self.tpm.sign(self.handle, KEY_AUTH, sha1(b"text"))
        return rc == 0 and verify_sha1(key_modulus(self.key), sha1(b"text"), signature)

    def uses_old_session(self):
        """One command under the session opened long ago, which stays open."""
        rc, _, out = self.tpm.raw("NV_ReadValue", params=struct.pack(">III", 0x1001, 0, 16),
                                  auths=[Auth(self.session, OWNER, keep=True)])
        return rc == 0 and out[4:] == b"sixteen bytes NV"

    def kept_for_ever(self, when):
        t = self.tpm
        check(t.nv_read(0x1001, 0, 16, OWNER) == (0, b"sixteen bytes NV"), "%s: NV is there" % when)
        check(t.unseal(KH_SRK, WELL_KNOWN, KEY_AUTH, self.blob) == (0, b"sealed before"), "%s: unseals" % when)
        out = t.call("OwnerReadInternalPub", params=struct.pack(">I", 0x40000006), auths=[Auth(t.oiap(), OWNER)])
        check(out == self.ek, "%s: same EK, same owner" % when)

    def kept_while_on(self, when):
        for n, value in self.pcrs.items():
            check(self.tpm.pcr(n) == value, "%s: PCR %d is what it was" % (when, n))
        check(self.signs(), "%s: the loaded key signs under its handle" % when)
        check(self.uses_old_session(), "%s: the open session goes on" % when)
        self.pcrs[10] = self.tpm.extend(10, sha1(when.encode()))

    def all_kept(self, when):
        self.kept_for_ever(when)
        self.kept_while_on(when)


def zygote_of(server_pid):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = open("/proc/%s/stat" % pid).read().rsplit(")", 1)[1].split()
            argv = open("/proc/%s/cmdline" % pid).read()
        except OSError:
            continue
        if int(stat[1]) == server_pid and "--zygote" in argv:
            return int(pid)
    raise AssertionError("the server has no zygote")


def clean_stop(rig, guest):
    check(rig.server.stop() == 0, "the server stops on SIGTERM with exit 0")
    check(guest.shim.stop() == 0, "the shim stops on SIGTERM with exit 0")
    rig.start_server()
    guest.shim = rig.start_shim(guest.name)
    guest.connect()
    guest.all_kept("after a clean stop of everything")


def server_stop_under_shim(rig, guest):
    rig.server.stop()
    rig.start_server()
    guest.all_kept("after a restart of the server under a live shim")


def kill_each(rig, guest):
    rig.server.kill9()
    rig.start_server()
    guest.all_kept("after kill -9 of the server")
    guest.shim.kill9()
    guest.shim = rig.start_shim(guest.name)
    guest.connect()
    guest.all_kept("after kill -9 of the shim")
    pid = rig.ctl_json("instance", "show", guest.name)["instances"][0]["engine_pid"]
    check(pid > 0, "the instance has an engine process")
    os.kill(pid, signal.SIGKILL)
    guest.all_kept("after kill -9 of the engine")
    os.kill(zygote_of(rig.server.p.pid), signal.SIGKILL)
    guest.all_kept("after kill -9 of the zygote")


def paged_out(rig, guest):
    """--idle-timeout 1: the engine leaves and the next command brings it back."""
    rig.server.stop()
    rig.start_server("--idle-timeout", "1")
    guest.all_kept("before it is idle")
    wait_until(lambda: not rig.ctl_json("instance", "show", guest.name)["instances"][0]["engine_pid"],
               "the idle engine leaves")
    guest.all_kept("after the idle engine left")


def power_cycle(rig, guest):
    rig.ctl("instance", "power-cycle", guest.name)
    guest.connect()
    guest.kept_for_ever("after power-cycle")
    check(guest.tpm.pcr(10) == bytes(20), "after power-cycle: PCR 10 is zero")
    check(guest.tpm.pcr(17) == b"\xff" * 20, "after power-cycle: PCR 17 is FF")
    rc, _ = guest.tpm.sign(guest.handle, KEY_AUTH, sha1(b"text"))
    check(rc != 0, "after power-cycle: the key is not loaded any more")
    rc, guest.handle = guest.tpm.load_key2(KH_SRK, WELL_KNOWN, guest.key)
    check(rc == 0 and guest.signs(), "after power-cycle: it can be loaded and signs")
    check(not guest.uses_old_session(), "after power-cycle: the old session is gone")


with Rig() as rig:
    rig.init()
    rig.start_server()
    guest = Guest(rig, "guest")
    guest.all_kept("at first")
    clean_stop(rig, guest)
    server_stop_under_shim(rig, guest)
    kill_each(rig, guest)
    paged_out(rig, guest)
    power_cycle(rig, guest)
    run(["sqlite3", "-readonly", rig.data + "/vtpm.db", "select * from inventory"])
print("restart: all seen to hold")

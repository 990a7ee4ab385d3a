# SPDX-License-Identifier: Apache-2.0
"""A wrong guess is counted for good: no death of a process, no restart and no power cycle gives a new budget."""
import os
import signal
import struct

from rig import Rig, check
from tpm12 import WELL_KNOWN, Auth, Socket, Tpm, sha1

OWNER, WRONG = sha1(b"owner"), sha1(b"wrong")
AUTHFAIL, DEFEND_LOCK_RUNNING = 0x01, 0x803
CAP_DA_LOGIC, ET_OWNER = 0x19, 2


class Guest:
    def __init__(self, rig):
        self.rig = rig
        rig.create("guest")
        self.shim = rig.start_shim("guest")
        self.connect()
        rc, _ = self.tpm.take_ownership(OWNER, WELL_KNOWN)
        check(rc == 0, "an owner with a secret to guess at")

    def connect(self):
        self.tpm = Tpm(Socket(self.rig.path("guest.tpm")))

    def owners_command(self, secret, ordinal="OwnerReadInternalPub", params=struct.pack(">I", 0x40000006)):
        return self.tpm.raw(ordinal, params=params, auths=[Auth(self.tpm.oiap(), secret)])[0]

    def count(self):
        """TPM_DA_INFO: tag, state, currentCount, thresholdCount."""
        rc, _, out = self.tpm.capability(CAP_DA_LOGIC, struct.pack(">H", ET_OWNER))
        check(rc == 0, "the guest may ask for the count")
        _, _, current, threshold = struct.unpack(">HBHH", out[4:11])
        check(threshold == 5, "the threshold is five")
        return current

    def guess(self, n, when):
        check(self.owners_command(WRONG) == AUTHFAIL, "%s: a wrong guess is told" % when)
        check(self.count() == n, "%s: it is number %d" % (when, n))


def kill_engine(rig):
    os.kill(rig.ctl_json("instance", "show", "guest")["instances"][0]["engine_pid"], signal.SIGKILL)


def restart_server(rig, stop):
    stop()
    rig.start_server()


with Rig() as rig:
    rig.init()
    rig.start_server()
    guest = Guest(rig)
    guest.guess(1, "at first")
    kill_engine(rig)
    guest.guess(2, "after kill -9 of the engine")
    restart_server(rig, rig.server.kill9)
    guest.guess(3, "after kill -9 of the server")
    restart_server(rig, lambda: check(rig.server.stop() == 0, "the server stops"))
    guest.guess(4, "after a clean stop of the server")
    check(guest.owners_command(OWNER) == 0, "four are not too many")
    rig.ctl("instance", "power-cycle", "guest")
    guest.connect()
    guest.guess(5, "after a power cycle")
    # How long it lasts is the engine's tests' business: it may be over by now.
    check(guest.owners_command(OWNER) in (DEFEND_LOCK_RUNNING, 0), "five are too many, for a second")
    restart_server(rig, rig.server.kill9)
    check(guest.count() == 5, "five after another death of the server")
    check(guest.owners_command(OWNER, "ResetLockValue", b"") == 0, "the owner resets it, locked out or not")
    check(guest.count() == 0, "none are left")
    restart_server(rig, rig.server.kill9)
    check(guest.count() == 0, "and after a restart none come back")
print("guesses: all seen to hold")

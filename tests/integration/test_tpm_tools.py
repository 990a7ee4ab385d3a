# SPDX-License-Identifier: Apache-2.0
"""Every program of Debian's tpm-tools, through TrouSerS' tcsd; a second client of the same TPM sees what it did."""
import os
import struct
import subprocess
import time

from rig import Rig, check
from tcsd import Device, all_worked, can_be_single_user, need_trousers
from tpm12 import KH_SRK, WELL_KNOWN, Auth, sha1

AUTH_FAILED, DISABLED, DEACTIVATED = "code=0001 (1)", "code=0007 (7)", "code=0006 (6)"
CLEAR_DISABLED, NO_OWNER_INSTALL, LOCKED_OUT = "code=0005 (5)", "code=000b (11)", "code=0803 (2051)"
COMMAND_DISABLED, BAD_PRESENCE, BAD_PARAMETER = "code=0008 (8)", "code=002d (45)", "code=0003 (3)"
NOT_IN_TCSD = "layer=tcs, code=0006 (6), Not implemented"
PRESENT, WRONG_PCR, INVALID_KEYHANDLE, NO_OPERATOR = 0x0008, 0x18, 0x0C, 0x49


def be_present(dev):
    """By the tool where the machine can be in single-user mode, else as a BIOS would."""
    if dev.single_user:
        dev.ok("tpm_setpresence", "--assert")
    else:
        dev.refused("tpm_setpresence", "--assert", want=NOT_IN_TCSD)
        check(dev.raw().physical_presence(PRESENT) == 0, "presence is asserted by another client")
    check(dev.has_now("physicalPresence"), "physical presence is on")


def information(dev):
    """What may be asked of a TPM without an owner."""
    dev.ok("tpm_version", want="TPM Vendor ID:       VTPM")
    dev.ok("tpm_version", want="Spec Level:          2")
    dev.ok("tpm_selftest", want="TPM Test Results: 00")
    dev.ok("tpm_selftest", "--results", want="TPM Test Results: 00")
    ek = "".join(dev.ok("tpm_getpubek").split("Public Key:")[1].split())
    check(ek == dev.raw().read_pubek().hex(), "tpm_getpubek shows the EK that another client reads")
    dev.refused("tpm_createek")


def new_secrets(dev):
    """Taking ownership with passwords, and changing them."""
    dev.ok("tpm_takeownership", stdin="first\nfirst\nsrk\nsrk\n")
    dev.refused("tpm_takeownership", "-y", "-z")
    dev.ok("tpm_changeownerauth", "--owner", stdin="first\nsecond\nsecond\n")
    dev.refused("tpm_changeownerauth", "--owner", stdin="first\nthird\nthird\n", want=AUTH_FAILED)
    dev.ok("tpm_getpubek", stdin="second\n", want="Public Key:")
    dev.kill_server()
    dev.ok("tpm_getpubek", stdin="second\n", want="Public Key:")
    secret = b"for the SRK's password\n"
    sealed = seal(dev, secret, stdin="srk\n")
    check(unseal(dev, sealed, stdin="srk\n") == secret, "the SRK's password opens what it sealed")
    dev.ok("tpm_changeownerauth", "--srk", stdin="second\nnew\nnew\n")
    dev.refused("tpm_unsealdata", "-i", sealed, stdin="srk\n")
    check(unseal(dev, sealed, stdin="new\n") == secret, "the SRK's new password opens it")
    dev.ok("tpm_changeownerauth", "--owner", "--srk", "--set-well-known", stdin="second\n")
    check(unseal(dev, sealed, "-z") == secret, "so does the well known secret when it is that")
    rc = dev.raw().set_permanent_flag("readPubek", True, WELL_KNOWN)
    check(rc == 0, "another client is the owner with the well known secret")


def seal(dev, data, *argv, stdin=""):
    plain, sealed = dev.path("plain"), dev.path("sealed-%s" % sha1(data + str(argv).encode()).hex()[:8])
    with open(plain, "wb") as f:
        f.write(data)
    dev.ok("tpm_sealdata", *argv, "-i", plain, "-o", sealed, stdin=stdin)
    return sealed


def unseal(dev, sealed, *argv, stdin=""):
    out = dev.path("unsealed")
    if os.path.exists(out):
        os.unlink(out)
    dev.ok("tpm_unsealdata", *argv, "-i", sealed, "-o", out, stdin=stdin)
    with open(out, "rb") as f:
        return f.read()


def sealing(dev):
    data = os.urandom(5000)
    plain, bound = seal(dev, data, "-z"), seal(dev, data, "-z", "-p", "10", "-p", "11")
    for sealed in plain, bound:
        check(unseal(dev, sealed, "-z") == data, "unsealed: every byte as it was")
    damaged = bytearray(open(plain, "rb").read())
    at = damaged.index(b"-----BEGIN TSS-----") + 40
    damaged[at] ^= 0x04
    with open(dev.path("damaged"), "wb") as f:
        f.write(damaged)
    dev.refused("tpm_unsealdata", "-z", "-i", dev.path("damaged"))
    dev.raw().extend(10, b"\x11" * 20)
    check(unseal(dev, plain, "-z") == data, "after an extend: what hangs on no PCR is unsealed")
    dev.refused("tpm_unsealdata", "-z", "-i", bound, exits=WRONG_PCR)
    dev.reboot()
    check(unseal(dev, bound, "-z") == data, "after a reboot: what hangs on PCRs is unsealed again")


def nv_area(dev, index, text, permissions, define, use):
    out = dev.path("nv")
    dev.ok("tpm_nvdefine", "-i", index, "-s", "32", "-p", permissions, "-y", *define)
    dev.ok("tpm_nvwrite", "-i", index, "-d", text, *use)
    dev.ok("tpm_nvread", "-i", index, "-s", str(len(text)), "-f", out, *use)
    check(open(out, "rb").read() == text.encode(), "NV area %s reads back" % index)


def nv(dev):
    nv_area(dev, "0x1001", "kept by the owner", "OWNERREAD|OWNERWRITE", (), ("-z",))
    nv_area(dev, "0x1002", "by its own auth", "AUTHREAD|AUTHWRITE", ("--pwda=area",), ("--password=area",))
    raw = dev.raw()
    check(raw.nv_read(0x1001, 0, 17, WELL_KNOWN) == (0, b"kept by the owner"), "another client reads it as the owner")
    check(raw.nv_read_auth(0x1002, 0, 15, sha1(b"area")) == (0, b"by its own auth"), "and the other by its password")
    read = ["tpm_nvread", "-i", "0x1002", "-s", "15", "-f", dev.path("nv")]
    dev.refused(*read, "--password=wrong", want=AUTH_FAILED)
    dev.kill_server()
    dev.ok(*read, "--password=area")
    dev.ok("tpm_nvinfo", "--index", "0x1001", want="0x00020002 (OWNERREAD|OWNERWRITE)")
    dev.ok("tpm_nvinfo", "--list-only", want="0x00001002 (4098)")
    dev.ok("tpm_nvrelease", "-i", "0x1002", "-y")
    dev.refused(*read, "--password=area")
    check("4098" not in dev.ok("tpm_nvinfo", "--list-only"), "a released area is not listed")
    check(raw.nv_read_auth(0x1002, 0, 15, sha1(b"area"))[0] == 0x02, "a released area is gone")


def restrictions(dev):
    """TakeOwnership has restricted the EK: so it is opened first, by another client."""
    raw = dev.raw()
    check(raw.set_permanent_flag("readPubek", True, WELL_KNOWN) == 0, "anyone may read the EK")
    dev.ok("tpm_restrictpubek", "--status", "-z", want="readable by: everyone")
    dev.ok("tpm_getpubek", want="Public Key:")
    dev.ok("tpm_restrictpubek", "--restrict", "-z")
    dev.ok("tpm_restrictpubek", "--status", "-z", want="readable by: owner")
    check(not dev.has("readPubek"), "the EK is restricted")
    dev.refused("tpm_getpubek", want=COMMAND_DISABLED)
    dev.ok("tpm_getpubek", "-z", want="Public Key:")

    def read_srk():
        return raw.raw("GetPubKey", handles=struct.pack(">I", KH_SRK), auths=[Auth(raw.oiap(), WELL_KNOWN)])[0]

    check(read_srk() == INVALID_KEYHANDLE, "the SRK is not shown to who knows its secret")
    dev.ok("tpm_restrictsrk", "--allow", "-z")
    check(read_srk() == 0, "after tpm_restrictsrk --allow it is")
    dev.ok("tpm_restrictsrk", "--status", "-z", want="readable with: SRK auth")
    dev.ok("tpm_restrictsrk", "--restrict", "-z")
    check(read_srk() == INVALID_KEYHANDLE, "after --restrict it is not")


def guess_until_locked(dev, seconds):
    """Wrong passwords, until none at all is taken for so long."""
    locked, _, left = dev.raw().lockout()
    while not locked or left < seconds:
        if locked:
            time.sleep(left)
        dev.refused("tpm_getpubek", stdin="guess\n")
        locked, _, left = dev.raw().lockout()


def lock_out(dev):
    """The right password does not help in a lock-out, nor does a kill of the server; tpm_resetdalock does. On a slow
    machine the lock-out may have ended by itself before it was reset: then once more, with a longer one."""
    seconds = 4
    while True:
        guess_until_locked(dev, seconds)
        dev.kill_server()
        begun, (_, guesses, left) = time.monotonic(), dev.raw().lockout()
        check(guesses >= 7, "the guesses are counted, after kill -9 of the server too")
        code, out = dev.tool("tpm_getpubek", "-z")
        dev.ok("tpm_resetdalock", "-z")
        dev.ok("tpm_getpubek", "-z", want="Public Key:")
        check(dev.raw().lockout() == (False, 0, 0), "tpm_resetdalock ended the lock-out and forgot the guesses")
        if time.monotonic() - begun < left - 1:
            check(code != 0 and LOCKED_OUT in out, "in between the right password was refused, too")
            return
        seconds *= 2


def opt_in(rig, single_user):
    dev = Device(rig, "opt-in", single_user=single_user)
    dev.refused("tpm_setenable", "--status", "-z")  # the owner's to ask
    dev.refused("tpm_setownable", "--prevent", want=BAD_PRESENCE)
    be_present(dev)
    dev.ok("tpm_setownable", "--prevent")
    check(not dev.has("ownership"), "nobody can be the owner")
    dev.refused("tpm_takeownership", "-y", "-z", want=NO_OWNER_INSTALL)
    dev.ok("tpm_setownable", "--allow")
    dev.ok("tpm_takeownership", "-y", "-z")
    dev.ok("tpm_setownable", "--status", "-z", want="Ownable status: true")
    enabling(dev)
    activating(dev)
    operator(dev)
    clearing(dev)
    dev.stop()


def physical_disable(dev):
    """tcsd does not know this ordinal: it sends what happens to lie in its buffer, and may wait for ever."""
    p = subprocess.Popen(["setsid", "-w", "tpm_setenable", "--disable", "--force"], env=dev.tool_env(), cwd=dev.dir,
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        dev.p.wait_line("Unknown ordinal: 0x70")
        dev.stop()
        check(p.wait(60) != 0, "tpm_setenable --disable --force is not in tcsd")
    finally:
        p.kill()
        p.wait()
    check(not dev.has("disable"), "nor has it done anything")
    check(dev.raw().raw("PhysicalDisable")[0] == 0, "so another client does it")
    dev.start()


def enabling(dev):
    """The owner's way, then the present one's."""
    dev.ok("tpm_setenable", "--disable", "-z")
    check(dev.has("disable"), "the TPM is disabled")
    dev.kill_server()
    dev.refused("tpm_setenable", "--status", "-z", want=DISABLED)
    dev.refused("tpm_sealdata", "-z", "-o", dev.path("never"), want=DISABLED)
    dev.ok("tpm_setenable", "--enable", "-z")
    dev.ok("tpm_setenable", "--status", "-z", want="Disabled status: false")
    physical_disable(dev)
    check(dev.has("disable"), "the TPM is disabled")
    dev.ok("tpm_setenable", "--enable", "--force")
    check(not dev.has("disable"), "tpm_setenable --enable --force enables it")


def activating(dev):
    dev.ok("tpm_setactive", "--status", "-z", want="Volatile Deactivated Status: false")
    dev.ok("tpm_setactive", "--inactive", "--temp")
    check(dev.has_now("deactivated") and not dev.has("deactivated"), "deactivated until the next boot")
    dev.refused("tpm_sealdata", "-z", "-o", dev.path("never"), want=DEACTIVATED)
    dev.reboot()
    check(not dev.has_now("deactivated"), "activated by it")
    be_present(dev)
    dev.ok("tpm_setactive", "--inactive")
    check(dev.has("deactivated") and not dev.has_now("deactivated"), "to be deactivated from the next boot on")
    dev.reboot()
    check(dev.has_now("deactivated"), "deactivated by it")
    dev.refused("tpm_sealdata", "-z", "-o", dev.path("never"), want=DEACTIVATED)
    be_present(dev)
    dev.ok("tpm_setactive", "--active")
    dev.reboot()
    dev.ok("tpm_setactive", "--status", "-z", want="Persistent Deactivated Status: false")
    dev.ok("tpm_sealdata", "-z", "-o", dev.path("again"), stdin="text\n")


def operator(dev):
    """The operator may deactivate until the next boot, without being there."""
    def deactivate(password):
        raw = dev.raw()
        return raw.raw("SetTempDeactivated", auths=[Auth(raw.oiap(), sha1(password))])[0]

    dev.refused("tpm_setoperatorauth", stdin="op\nop\n", want=BAD_PRESENCE)
    check(deactivate(b"op") == NO_OPERATOR, "there is no operator")
    be_present(dev)
    dev.ok("tpm_setoperatorauth", stdin="op\nop\n")
    check(dev.has("operator"), "there is an operator")
    check(deactivate(b"other") == 0x01 and not dev.has_now("deactivated"), "a wrong password does not deactivate")
    check(deactivate(b"op") == 0 and dev.has_now("deactivated"), "the operator's does")
    dev.reboot()


def clearing(dev):
    be_present(dev)
    dev.ok("tpm_setclearable", "--owner", "-z")
    dev.ok("tpm_setclearable", "--status", "-z", want="Owner Clear Disabled: true")
    check(dev.has("disableOwnerClear"), "the owner cannot clear")
    dev.refused("tpm_clear", "-z", want=CLEAR_DISABLED)
    dev.ok("tpm_setclearable", "--force")
    check(dev.has_now("disableForceClear"), "nor who is present, until the next boot")
    dev.refused("tpm_clear", "--force", want=CLEAR_DISABLED)
    dev.reboot()
    dev.refused("tpm_clear", "--force", want=BAD_PRESENCE)
    be_present(dev)
    dev.ok("tpm_clear", "--force")
    check(dev.has("disable", "deactivated") and not dev.has("disableOwnerClear"), "cleared: disabled and deactivated")
    dev.ok("tpm_setenable", "--enable", "--force")
    dev.ok("tpm_setactive", "--active")
    dev.reboot()
    dev.refused("tpm_sealdata", "-z", "-o", dev.path("never"), want="No SRK")
    dev.ok("tpm_takeownership", "-y", "-z")
    dev.ok("tpm_clear", "-z")
    check(dev.has("disable", "deactivated"), "cleared by the owner")


def presence(rig):
    """All that tpm_setpresence can set; some of it can never be undone."""
    dev = Device(rig, "presence", single_user=True)
    dev.ok("tpm_takeownership", "-y", "-z")
    be_present(dev)
    dev.ok("tpm_setpresence", "--clear")
    check(not dev.has_now("physicalPresence"), "nobody is present")
    dev.ok("tpm_setpresence", "--lock")
    dev.kill_server()
    check(dev.has_now("physicalPresenceLock"), "it is locked so, after kill -9 of the server too")
    dev.refused("tpm_setpresence", "--assert", want=BAD_PARAMETER)
    dev.reboot()
    be_present(dev)
    dev.ok("tpm_setpresence", "--enable-hw")
    dev.ok("tpm_setpresence", "--disable-cmd")
    check(dev.has("physicalPresenceHWEnable") and not dev.has("physicalPresenceCMDEnable"), "by hardware only")
    dev.refused("tpm_setpresence", "--clear", want=BAD_PARAMETER)
    dev.ok("tpm_setpresence", "--enable-cmd")
    # The tool stumbles over this option of its own: it ends before it asks the TPM.
    check(dev.refused("tpm_setpresence", "--disable-hw") == "", "tpm_setpresence --disable-hw does not say why")
    check(dev.has("physicalPresenceHWEnable", "physicalPresenceCMDEnable"), "by hardware and by command")
    dev.ok("tpm_setpresence", "--set-lifetime-lock", "-y")
    dev.reboot()
    dev.refused("tpm_setpresence", "--disable-cmd", want=BAD_PARAMETER)
    be_present(dev)
    seen = dev.ok("tpm_setpresence", "--status", "-z").split()
    for text in "Command Enable: true", "Hardware Enable: true", "Lifetime Lock: true", "Presence: true", "Lock: false":
        check(text in " ".join(seen), "tpm_setpresence --status: %s" % text)
    dev.stop()


def endorsement(rig, single_user):
    """An instance whose EK is the guest's own to make. tpm_createek exits with 255 when there is one."""
    dev = Device(rig, "bare", "--no-ek", single_user=single_user)
    dev.refused("tpm_getpubek", "-z")
    revoke = dev.path("revoke")
    dev.ok("tpm_createek", "--revocable", "--generate-secret", "-o", revoke)
    first = dev.raw().read_pubek()
    dev.refused("tpm_createek")
    be_present(dev)
    with open(dev.path("wrong"), "wb") as f:
        f.write(bytes(20))
    dev.refused("tpm_revokeek", "-i", dev.path("wrong"), want=AUTH_FAILED)
    dev.ok("tpm_revokeek", "-i", revoke)
    dev.refused("tpm_getpubek", "-z")
    dev.ok("tpm_setenable", "--enable", "--force")
    dev.ok("tpm_setactive", "--active")
    dev.reboot()
    dev.ok("tpm_createek")
    check(dev.raw().read_pubek() != first, "after tpm_revokeek the EK is another")
    dev.ok("tpm_takeownership", "-y", "-z")
    dev.ok("tpm_getpubek", "-z", want="Public Endorsement Key")
    row = rig.ctl_json("instance", "show", "bare")["instances"][0]
    check(len(row["ek_sha256"]) == 64, "the inventory has the EK that the guest made")
    be_present(dev)
    dev.refused("tpm_revokeek", "-i", revoke)
    dev.stop()


need_trousers()
single_user = can_be_single_user()
with Rig() as rig:
    rig.init()
    rig.start_server()
    dev = Device(rig, "guest")
    for room in information, new_secrets, sealing, nv, restrictions, lock_out:
        room(dev)
    dev.stop()
    opt_in(rig, single_user)
    endorsement(rig, single_user)
    if single_user:
        presence(rig)
        all_worked("tpm-tools")
    else:
        print("SKIPPED in part: no mount namespace, so no single-user mode for tcsd: what tpm_setpresence sets")
        all_worked("tpm-tools", broken=["tpm_setpresence"])
print("tpm-tools: all seen to hold")

# SPDX-License-Identifier: Apache-2.0
"""A store that the host's TPM 2.0 opens, over boots of the host: its PCRs are what the firmware measured before Xen.

The component that changes is an option ROM, in three releases: SeaBIOS extends it into PCR 2 before it runs it.
"""
import base64
import hashlib
import struct
import time

from bed import check, say
from host import STORE, Host, Trousers, server

SLOT = "tpm2:pcrs=0,1,2,4"
AUTO = server("auto")
RECOVERY = "/run/recovery"  # in dom0's memory
SECRET = "nobody must read this"
ROM_PCR, SHA256, NO_ACTION = 2, 0x0B, 3


# ---- What the firmware measures ----

def rom(release):
    """An option ROM that returns at once: signature, size in 512 bytes, a far return; the bytes add up to 0."""
    body = bytearray(b"\x55\xaa\x01\xcb".ljust(16, b"\0") + b"release %d" % release).ljust(511, b"\0")
    return bytes(body) + bytes([-sum(body) & 0xFF])


def rom_event(release):
    """What SeaBIOS extends for it: a tagged event (number 7, 24 bytes) with the SHA-1 of the ROM."""
    return struct.pack("<IIHH", 7, 24, 0, 0) + hashlib.sha1(rom(release)).digest()


def events(h):
    """[(PCR, SHA-256 digest, data)] of the firmware's log, as dom0's kernel has it from ACPI."""
    h.ok("test -e /sys/kernel/security/tpm0 || mount -t securityfs security /sys/kernel/security")
    log = base64.b64decode(h.ok("base64 /sys/kernel/security/tpm0/binary_bios_measurements"))
    # The first one is of the old form and tells the algorithms: its signature has 16 bytes, 8 more are versions.
    size, = struct.unpack_from("<I", log, 28)
    count, = struct.unpack_from("<I", log, 32 + 24)
    sizes = dict(struct.unpack_from("<HH", log, 32 + 28 + 4 * i) for i in range(count))
    found, at = [], 32 + size
    while at < len(log):
        pcr, kind, count = struct.unpack_from("<III", log, at)
        at, digests = at + 12, {}
        for _ in range(count):
            algorithm, = struct.unpack_from("<H", log, at)
            digests[algorithm] = log[at + 2:at + 2 + sizes[algorithm]]
            at += 2 + sizes[algorithm]
        size, = struct.unpack_from("<I", log, at)
        if kind != NO_ACTION:
            found.append((pcr, digests[SHA256], log[at + 4:at + 4 + size]))
        at += 4 + size
    return found


def pcrs(h):
    text = h.ok("for n in 0 1 2 3 4 5 6 7; do cat /sys/class/tpm/tpm0/pcr-sha256/$n; done")
    return [bytes.fromhex(line) for line in text.split()]


def is_measured(h, release):
    """The PCRs are the log's, and the log has the ROM."""
    log, values = events(h), [bytes(32)] * 8
    for pcr, digest, _ in log:
        values[pcr] = hashlib.sha256(values[pcr] + digest).digest()
    check(values == pcrs(h), "release %d: the host's PCRs 0 to 7 are those of the firmware's log (%d events)" %
          (release, len(log)))
    event = rom_event(release)
    check((ROM_PCR, hashlib.sha256(event).digest(), event) in log, "release %d: PCR 2 has this ROM" % release)
    return log


# ---- The host ----

def boot(h, release):
    path = h.path("release%d.rom" % release)
    with open(path, "wb") as f:
        f.write(rom(release))
    h.roms = [path]
    h.boot()
    return is_measured(h, release)


def opens(h, how, slot="0 tpm2", command=AUTO):
    h.start_server(command=command)
    status = h.ctl_json("status")["status"]
    check(status["keyslot"] == slot, "%s: opened by key slot %s" % (how, status["keyslot"]))


def refused(h, how, keyslot):
    begun = time.monotonic()
    code, out = h.run(server(keyslot), 60)
    say(out.strip())
    check(code == 8 and "PCR 2 changed" in out, "%s: exit %d after %.1f s, the reason names the PCR" %
          (how, code, time.monotonic() - begun))
    check("recovery key" in out and "PCR 1" not in out, "%s: the way out is told, and no other PCR" % how)


def guest(h, web):
    h.start_shim()
    h.create("web", web)
    return Trousers(h, "web")


# ---- Its life ----

def first(h):
    """Sealed to what release 1 measured; a guest seals something of its own."""
    boot(h, 1)
    recovery = h.init_store(SLOT)
    opens(h, "first start")
    web = h.create_instance("web")
    t = guest(h, web)
    t.own()
    t.seal(SECRET, "free")
    files = t.files("free")
    h.power_off()
    return recovery, web, files


def again(h):
    boot(h, 1)
    opens(h, "power cut, the same firmware")
    h.stop("server")
    h.power_off()


def changed(h, recovery):
    boot(h, 2)
    before = h.ok("sha256sum %s/vtpm.db" % STORE)
    refused(h, "another ROM", "auto")
    refused(h, "another ROM, the slot by its name", SLOT)
    check(h.ok("sha256sum %s/vtpm.db" % STORE) == before, "refused: the database is as it was")
    h.ok("umask 077; cat >%s <<END\n%sEND" % (RECOVERY, recovery))
    opens(h, "another ROM, the recovery key", "1 recovery", server("recovery-file:" + RECOVERY))
    h.ctl("keyslot", "reseal", "0")
    h.stop("server")
    opens(h, "resealed")


def predict(h):
    """What will be measured: the log, with the next release's event for the present one's."""
    now, next_one = hashlib.sha256(rom_event(2)).digest(), "/root/release3.event"
    h.ok("base64 -d >%s <<END\n%sEND" % (next_one, base64.encodebytes(rom_event(3)).decode()))
    lines = ["extend %d %s" % (pcr, next_one if digest == now else digest.hex())
             for pcr, digest, _ in events(h) if pcr == ROM_PCR]
    h.write("/root/prediction", "\n".join(["reset %d" % ROM_PCR] + lines))
    reseal = "keyslot", "reseal", "0", "--predict", "/root/prediction"
    check(" or " in h.ctl(*reseal, "--dry-run"), "a prediction of %d extends: now or then" % len(lines))
    h.ctl(*reseal)
    h.stop("server")
    opens(h, "predicted, not yet changed")
    h.power_off()


def predicted(h, web, files):
    boot(h, 3)
    opens(h, "the predicted ROM")
    t = guest(h, web)
    h.bring("web", files)
    t.stop()
    t.start()
    code, out = t.unseal("free")
    check(code == 0 and SECRET in out, "the guest unseals what it sealed three boots ago: %s" % out.strip())


with Host(host_tpm="tpm-crb") as h:
    recovery, web, files = first(h)
    again(h)
    changed(h, recovery)
    predict(h)
    predicted(h, web, files)
print("hosttpm: all seen to hold")

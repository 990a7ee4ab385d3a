# SPDX-License-Identifier: Apache-2.0
"""Full and read-only file systems: guests are told to retry, nothing is lost, service resumes when there is room.

Real ones: a small tmpfs for the store, one for the runtime directory, and an ext4 that its kernel makes read-only under
the running server; all in a mount namespace of the test's own.
"""
import os
import signal
import subprocess
import time

from rig import Rig, check, enter_namespace, program, run, skip
from tpm12 import Auth

RETRY = 0x800
OWNER, SRK = b"o" * 20, b"s" * 20
INDEX = 0x1234


def mount_tmpfs(path, size):
    os.mkdir(path)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%s,mode=755" % size, "tmpfs", path]).returncode:
        skip("no tmpfs can be mounted here")


def fill(path):
    """Takes all room that is left; the name of the file that has it."""
    name = os.path.join(path, "filler")
    fd = os.open(name, os.O_WRONLY | os.O_CREAT, 0o600)
    for size in 65536, 4096:
        try:
            while True:
                os.write(fd, bytes(size))
        except OSError:
            pass
    os.close(fd)
    return name


class Guest:
    """A TPM with an owner and an NV area; a durable command is one write to it."""

    def __init__(self, rig, name):
        self.rig, self.name = rig, name
        rig.create(name)
        self.shim = rig.start_shim(name)
        self.connect()
        rc, _ = self.tpm.take_ownership(OWNER, SRK)
        check(rc == 0, "%s has an owner" % name)
        check(self.tpm.nv_define(OWNER, INDEX, 16, 0x2 | 0x20000) == 0, "%s has an NV area" % name)
        self.session = self.tpm.oiap()

    def connect(self):
        self.tpm = self.rig.tpm(self.name)

    def write(self, text):
        """The return code; the session stays, also over TPM_RETRY: nothing has happened then."""
        data = text.encode().ljust(16)
        params = INDEX.to_bytes(4, "big") + bytes(4) + len(data).to_bytes(4, "big") + data
        return self.tpm.raw("NV_WriteValue", params=params, auths=[Auth(self.session, OWNER, keep=True)])[0]

    def write_until_done(self, text, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rc = self.write(text)
            if rc != RETRY:
                return rc
        return RETRY

    def read(self):
        rc, data = self.tpm.nv_read(INDEX, 0, 16, OWNER)
        check(rc == 0, "%s reads its NV area" % self.name)
        return data.decode().strip()


def told_to_retry(guest, text):
    start = time.monotonic()
    rc = guest.write(text)
    took = time.monotonic() - start
    check(rc == RETRY, "%s is told TPM_RETRY (rc 0x%x)" % (guest.name, rc))
    check(took < 10, "after a short while (%.1f s)" % took)


def lines(rig, pattern, mark=0):
    return [line for line in rig.server.text(mark).splitlines() if pattern in line]


def use_up_the_log(guest):
    """What was had of it in advance takes more records; a larger one keeps them from being folded into the full file. The
    last that was written."""
    rc = guest.tpm.nv_define(OWNER, INDEX + 1, 8000, 0x2 | 0x20000)
    last, n = "before", 0
    while rc == 0 and n < 4000:
        text = "record %d" % n
        rc, n = guest.write(text), n + 1
        last = text if rc == 0 else last
    check(rc == RETRY, "%d records found room in the log file, then there was none (rc 0x%x)" % (n, rc))
    return last


def full_store(rig, disk):
    guest = Guest(rig, "one")
    check(guest.write("before") == 0, "a durable command while there is room")
    filler = fill(disk)
    last = use_up_the_log(guest)
    for _ in range(3):
        told_to_retry(guest, "full")
    pcr = guest.tpm.extend(5, b"\x05" * 20)
    check(guest.read() == last, "what changes nothing durable still works, and sees the old value")
    r = rig.ctl("instance", "create", "nobody", ok=False)
    check(r.returncode == 1 and "is full: make room there" in r.stderr, "vtpmctl says what to do: " + r.stderr.strip())
    check(rig.ctl("instance", "show", "nobody", ok=False).returncode == 3, "and made nothing")
    r = rig.ctl("check")
    check(r.stdout.startswith("ok:"), "the store on the full disk is consistent: " + r.stdout.strip())
    check(len(lines(rig, "is full: make room")) == 1, "the log says it once")
    os.unlink(filler)
    check(guest.write_until_done("after") == 0, "service resumes when there is room")
    check(len(lines(rig, "is written again")) == 1, "the log says that, once")
    check(guest.read() == "after" and guest.tpm.pcr(5) == pcr, "nothing was lost")
    rig.ctl("check")
    rig.create("somebody")
    return guest, pcr


def unclean_stop(rig, guest, pcr, before=()):
    """kill -9 and a new server: what was answered is there, and the structure is examined in the background."""
    rig.server.kill9()
    for step in before:
        step()
    rig.start_server()
    rig.server.wait_line("checked after the unclean stop: its structure is whole")
    check(guest.tpm.pcr(5) == pcr, "%s goes on with its PCRs" % guest.name)
    rig.ctl("check")
    rig.ctl("events", "--verify")


def start_refused(rig):
    r = subprocess.run([program("vtpm-server"), "--data-dir", rig.data, "--runtime-dir", rig.run, "--keyslot",
                        "keyfile:" + rig.keyfile, "--admin", rig.admin, "--allow-root"], capture_output=True, text=True,
                       stdin=subprocess.DEVNULL, timeout=60)
    check(r.returncode == 1 and "read-only" in r.stderr, "a store on a read-only file system: " + r.stderr.strip())


def read_only_at_start(rig, guest, pcr, disk):
    unclean_stop(rig, guest, pcr, [lambda: run(["mount", "-o", "remount,ro", disk]), lambda: start_refused(rig),
                                   lambda: run(["mount", "-o", "remount,rw", disk])])
    check(guest.read() == "after", "read-only and back: nothing was lost")
    check(guest.write_until_done("later") == 0 and guest.read() == "later", "and it is written again")


def full_runtime(rig, run_disk):
    """Power on needs a new file there; later growth too. What is there already needs no room."""
    mark = len(rig.server.text())
    filler = fill(run_disk)
    rig.create("two")
    rig.start_shim("two")
    tpm = rig.tpm("two")
    for _ in range(2):
        rc = tpm.raw("PcrRead", params=bytes(4))[0]
        check(rc == RETRY, "no room to power on: TPM_RETRY (rc 0x%x)" % rc)
    check(rig.state("two") != "on", "it is not on (%s)" % rig.state("two"))
    check(len(lines(rig, "runtime: ", mark)) == 1, "the log says it once: " + lines(rig, "runtime: ", mark)[0])
    os.unlink(filler)
    end = time.monotonic() + 20
    while tpm.raw("PcrRead", params=bytes(4))[0] == RETRY and time.monotonic() < end:
        pass
    value = tpm.extend(7, b"\x07" * 20)
    check(rig.state("two") == "on" and tpm.pcr(7) == value, "room: it is powered on and works")
    check(len(lines(rig, "is written again", mark)) == 1, "the log says so, once")
    return tpm, value


def growing_runtime(rig, guest, run_disk):
    """More loaded keys than the file has room for."""
    rc, _, key = guest.tpm.create_wrap_key(0x40000000, SRK, b"k" * 20, guest.tpm.key_template(0x10, sig=2))
    check(rc == 0, "a key is made")
    filler = fill(run_disk)
    loaded, rc = [], 0
    while rc == 0 and len(loaded) < 64:
        rc, handle = guest.tpm.load_key2(0x40000000, SRK, key)
        loaded += [handle] if rc == 0 else []
    print("   %d keys loaded, then 0x%x" % (len(loaded), rc))
    os.unlink(filler)
    if rc == RETRY:
        rc, handle = guest.tpm.load_key2(0x40000000, SRK, key)
        check(rc == 0, "the key that did not fit is loaded when there is room")
        loaded.append(handle)
    for handle in loaded:
        rc, signature = guest.tpm.sign(handle, b"k" * 20, bytes(20))
        check(rc == 0 and len(signature) == 256, "key 0x%08x signs" % handle)
        guest.tpm.flush(handle, 1)


def read_only_while_running():
    """An ext4 that meets an error: from then on the kernel takes no writes. It comes back by mounting it again."""
    with Rig() as rig:
        disk, image = rig.path("disk"), rig.path("image")
        os.mkdir(disk)
        with open(image, "wb") as f:
            f.truncate(24 << 20)
        if (subprocess.run(["mkfs.ext4", "-q", "-F", image], capture_output=True).returncode or
                subprocess.run(["mount", "-o", "loop", image, disk], capture_output=True).returncode):
            print("not tried: an ext4 on a loop device cannot be mounted here")
            return
        try:
            rig.data = os.path.join(disk, "data")
            rig.init()
            rig.start_server()
            guest = Guest(rig, "three")
            check(guest.write("before") == 0, "a durable command on the ext4")
            pcr = guest.tpm.extend(5, b"\x05" * 20)
            run(["mount", "-o", "remount,abort", disk])
            for _ in range(3):
                told_to_retry(guest, "again")
            check(len(lines(rig, "until then nothing new is written")) <= 2, "the log says it when it changes")
            rig.server.kill9()
            run(["umount", disk])
            run(["mount", "-o", "loop", image, disk])
            rig.start_server()
            check(guest.tpm.pcr(5) == pcr, "mounted again: the guest goes on with its PCRs")
            # A COMMIT that failed half-way may be on the disk: then the same command gets its answer from there.
            check(guest.read() in ("before", "again"), "what was told to retry has happened once or not at all")
            check(guest.write_until_done("again") == 0, "the same command has its answer now")
            check(guest.read() == "again", "and its effect")
            rig.ctl("check")
        finally:
            if rig.server and rig.server.p.poll() is None:
                rig.server.stop(signal.SIGKILL)
            subprocess.run(["umount", "-l", disk], capture_output=True)


enter_namespace()
with Rig() as rig:
    disk, run_disk = rig.path("disk"), rig.path("rundisk")
    mount_tmpfs(disk, "6m")
    mount_tmpfs(run_disk, "1m")
    rig.data, rig.run = os.path.join(disk, "data"), os.path.join(run_disk, "run")
    rig.init()
    rig.start_server()
    guest, pcr = full_store(rig, disk)
    unclean_stop(rig, guest, pcr)
    read_only_at_start(rig, guest, pcr, disk)
    tpm, value = full_runtime(rig, run_disk)
    growing_runtime(rig, guest, run_disk)
    check(tpm.pcr(7) == value and guest.tpm.pcr(5) == pcr, "both guests have what they had")
    check(rig.server.stop() == 0, "a clean stop")
read_only_while_running()
print("disk full: all seen to hold")

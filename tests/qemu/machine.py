# SPDX-License-Identifier: Apache-2.0
"""One guest of QEMU with SeaBIOS and tpm-tis under software emulation: its serial shell and QEMU's own monitor (QMP)."""
import base64
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

IMAGE = os.environ.get("VTPM_QEMU_IMAGE", os.path.join(os.path.dirname(__file__), "../../build/release/qemu"))
# A machine may be slower than ours by this factor; only the limits grow.
SLOW = float(os.environ.get("VTPM_QEMU_SLOW", "3"))
LINE = ("console=ttyS0 loglevel=4 panic=1 random.trust_cpu=on mitigations=off cryptomgr.notests rcupdate.rcu_expedited=1 "
        "audit=0 iomem=relaxed")
SKIPPED = 77
BEGUN = time.monotonic()


def say(text):
    print("%6.1f %s" % (time.monotonic() - BEGUN, text), flush=True)


def check(ok, what):
    say(("ok: " if ok else "FAILED: ") + what)
    if not ok:
        raise AssertionError(what)


def die_with_us():
    """A test that CTest kills takes its machine along (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Lines:
    """A socket on which somebody speaks; waits for what is said, with a limit."""

    def __init__(self, path, limit=30):
        end = time.monotonic() + limit * SLOW
        self.socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        self.heard, self.all = b"", b""

    def send(self, text):
        self.socket.sendall(text.encode())

    def wait(self, pattern, limit):
        """What was said before, and the match; both are taken."""
        end = time.monotonic() + limit * SLOW
        while True:
            m = re.search(pattern, self.heard)
            if m:
                before, self.heard = self.heard[:m.start()], self.heard[m.end():]
                return before.decode(errors="replace"), m
            left = end - time.monotonic()
            self.socket.settimeout(max(left, 0.01))
            try:
                data = self.socket.recv(65536)
            except socket.timeout:
                data = b""
            if not data:
                raise AssertionError("no %r; the last that was said:\n%s" %
                                     (pattern, self.all[-3000:].decode(errors="replace")))
            self.heard += data
            self.all += data


class Machine:
    def __init__(self, folder, control, memory=256, more=()):
        if not os.path.exists(os.path.join(IMAGE, "guest.cpio")):
            print("SKIPPED: no image in %s (see the test qemu_image)" % IMAGE)
            sys.exit(SKIPPED)
        serial, qmp = os.path.join(folder, "serial"), os.path.join(folder, "qmp")
        for path in serial, qmp:
            if os.path.exists(path):
                os.unlink(path)
        self.log = open(os.path.join(folder, "qemu.log"), "ab")
        self.p = subprocess.Popen(
            ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", str(memory), "-display", "none",
             "-vga", "none", "-nic", "none", "-chardev", "socket,id=serial,path=%s,server=on,wait=off" % serial,
             "-serial", "chardev:serial", "-qmp", "unix:%s,server=on,wait=off" % qmp,
             "-chardev", "socket,id=tpm,path=" + control, "-tpmdev", "emulator,id=tpm0,chardev=tpm",
             "-device", "tpm-tis,tpmdev=tpm0", "-kernel", os.path.join(IMAGE, "vmlinuz"),
             "-initrd", os.path.join(IMAGE, "guest.cpio"), "-append", LINE, *more],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, preexec_fn=die_with_us)
        self.console, self.qmp = Lines(serial), Lines(qmp)
        self.monitor("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            print("---- console\n%s" % self.console.all[-4000:].decode(errors="replace"))
        self.p.kill()
        self.p.wait()
        self.log.close()

    # ---- QEMU ----
    def monitor(self, command, **arguments):
        self.qmp.send(json.dumps({"execute": command, "arguments": arguments}))
        _, m = self.qmp.wait(rb'\{"(return|error)": (.*)\}\r?\n', 30)
        return m.group(1) == b"return", m.group(2).decode()

    def event(self, name, limit=60):
        self.qmp.wait(rb'"event": "%s".*\n' % name.encode(), limit)

    # ---- the guest ----
    def wait_up(self):
        self.console.wait(rb"@@ guest up\r?\n", 60)

    def begin(self, command):
        self.console.send("{ %s; } 2>&1; echo @@d''one $?\n" % command)

    def end(self, limit=60):
        """Its status and what it said."""
        text, m = self.console.wait(rb"@@done (\d+)\r?\n", limit)
        return int(m.group(1)), text.replace("\r\n", "\n")

    def ok(self, command, limit=60):
        self.begin(command)
        status, text = self.end(limit)
        if status:
            raise AssertionError("in the guest: %s: exit %d\n%s" % (command, status, text))
        return text

    def pcrs(self):
        text = self.ok("cat /sys/class/tpm/tpm*/pcrs")
        return [bytes.fromhex(m) for m in re.findall(r"PCR-\d+: ((?:[0-9A-F]{2} ?){20})", text)]

    def events(self):
        """The firmware's log, as the kernel has it from ACPI: [(PCR, type, digest)]."""
        text = self.ok("base64 /sys/kernel/security/tpm0/binary_bios_measurements")
        log = base64.b64decode(text)
        found, at = [], 0
        while at < len(log):
            pcr, kind = (int.from_bytes(log[at + i:at + i + 4], "little") for i in (0, 4))
            size = int.from_bytes(log[at + 28:at + 32], "little")
            found.append((pcr, kind, log[at + 8:at + 28]))
            at += 32 + size
        return found

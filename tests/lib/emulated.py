# SPDX-License-Identifier: Apache-2.0
"""A Linux machine under QEMU's software emulation for one scenario: Debian's kernel, a first file system with our release
programs, and a script that is its first process and says on the console what holds. No root, nothing is installed."""
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import debian_image

HERE = os.path.dirname(os.path.abspath(__file__))

BIN = os.environ.get("VTPM_BIN", os.path.join(HERE, "../../build/release/bin"))
# A machine may be slower than ours by this factor; only the limit grows.
SLOW = float(os.environ.get("VTPM_XEN_SLOW", "3"))
LINE = ("console=ttyS0 loglevel=4 panic=-1 random.trust_cpu=on mitigations=off cryptomgr.notests rcupdate.rcu_expedited=1 "
        "audit=0")
END = "VTPM-END"
SKIPPED = 77


def skip(why):
    print("SKIPPED:", why)
    sys.exit(SKIPPED)


def packages():
    """Trees of the kernel's and busybox' packages."""
    if not shutil.which("apt-cache"):
        skip("there is no apt-cache: not a machine of Debian")
    if not debian_image.candidate("linux-image-amd64"):
        skip("apt has no package linux-image-amd64 here")
    kernel = debian_image.kernel_package()
    with debian_image.cache():
        return [debian_image.unpack(role, name, debian_image.candidate(name))
                for role, name in (("kernel", kernel), ("shell", "busybox-static"))]


class Machine:
    """tree is open for what a scenario adds before run()."""

    def __init__(self, init, modules=()):
        if not shutil.which("qemu-system-x86_64"):
            skip("qemu-system-x86_64 is not installed")
        kernel, shell = packages()
        self.kernel, self.tree = kernel, debian_image.Tree()
        self.tree.file("/bin/busybox", debian_image.find(shell, "busybox", 0o111), 0o755)
        self.tree.file("/init", init, 0o755)
        self.tree.modules(debian_image.Modules(kernel), list(modules))
        # Loaded by name at run time: libpthread's cancellation needs it.
        self.tree.library("/lib/x86_64-linux-gnu/libgcc_s.so.1")
        self.tree.data("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\ntss:x:101:101::/:/bin/false\n")
        self.tree.data("/etc/group", b"root:x:0:\ntss:x:101:\n")
        self.tree.data("/etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files\n")
        for folder in "/proc /sys /dev /run /tmp /root /data".split():
            self.tree.folder(folder)

    def ours(self, *names):
        for name in names:
            self.tree.program("/usr/bin/" + name, os.path.join(BIN, name))

    def vmlinuz(self):
        boot = os.path.join(self.kernel, "boot")
        name, = (n for n in os.listdir(boot) if n.startswith("vmlinuz-"))
        return os.path.join(boot, name)

    def run(self, limit, memory=512, extra=()):
        """What it said, until its script ended; raises when that was not within `limit` seconds (times SLOW)."""
        with tempfile.TemporaryDirectory(prefix="vtpm-qemu-") as folder:
            kernel, initrd = os.path.join(folder, "vmlinux"), os.path.join(folder, "cpio")
            with open(kernel, "wb") as f:
                # Unpacked it saves seconds; firmware that measures must get it as it is (vmlinuz).
                f.write(debian_image.kernel_elf(self.kernel))
            self.tree.write(initrd)
            return self._run(["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", str(memory),
                              "-display", "none", "-vga", "none", "-nic", "none", "-no-reboot", "-monitor", "none",
                              "-serial", "stdio", "-kernel", kernel, "-append", LINE, "-initrd", initrd, *extra], limit * SLOW)

    @staticmethod
    def _run(argv, limit):
        begun, text = time.monotonic(), ""
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              start_new_session=True, preexec_fn=die_with_us) as p:
            signal.signal(signal.SIGALRM, lambda *_: p.kill())
            signal.alarm(int(limit))
            for line in p.stdout:
                line = line.decode(errors="replace").rstrip()
                print("%6.1f %s" % (time.monotonic() - begun, line), flush=True)
                text += line + "\n"
                if line == END:
                    break
            signal.alarm(0)
            p.kill()
        if END not in text.splitlines():
            raise AssertionError("the machine's script did not end within %d s" % limit)
        return text


def die_with_us():
    """A test that CTest kills takes its machine along (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def judge(text, least):
    """Every line "ok:" of a scenario that held; at least so many, and none that did not."""
    held = [line for line in text.splitlines() if line.startswith("ok: ")]
    failed = [line for line in text.splitlines() if line.startswith("FAILED: ")]
    if failed or len(held) < least:
        raise AssertionError("%d held, %d expected; %s" % (len(held), least, failed or "none failed"))
    print("%d held" % len(held))

# SPDX-License-Identifier: Apache-2.0
"""A real Xen with a Linux dom0 under QEMU's software emulation, and commands in dom0 and in its guests.

One Bed is one data disk; boot() and power_off() may follow one another on it. Everything has a time limit.
"""
import ctypes
import json
import os
import queue
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

IMAGE = os.environ.get("VTPM_XEN_IMAGE", os.path.join(os.path.dirname(__file__), "../../build/release/xen"))
# The directory of a machine that shell.py keeps up: scenarios run on it without booting (and cannot cut its power).
STANDING = os.environ.get("VTPM_XEN_BED")
# A machine may be slower than ours by this factor; only the limits grow.
SLOW = float(os.environ.get("VTPM_XEN_SLOW", "3"))
SKIPPED = 77

# SMAP makes dom0 crash (an emulator's bug); without eager-fpu AVX registers are lost between virtual CPUs. What else a
# processor's faults cost and a memory scrub is time without use here.
XEN_LINE = ("com1=115200,8n1 console=com1 loglvl=warning guest_loglvl=warning noreboot dom0_mem=%dM,max:%dM "
            "bootscrub=0 spec-ctrl=no,eager-fpu")
QUICK = "random.trust_cpu=on mitigations=off cryptomgr.notests rcupdate.rcu_expedited=1 audit=0"
LINUX_LINE = "console=hvc0 loglevel=4 panic=1 " + QUICK
# With two, each waits for the other's interrupts: a TPM command takes 62 ms instead of 13, and more on a busy machine.
CPUS = os.environ.get("VTPM_XEN_CPUS", "1")


class Failed(AssertionError):
    pass


BEGUN = time.monotonic()


def say(text):
    print("%6.1f %s" % (time.monotonic() - BEGUN, text), flush=True)


def check(ok, what):
    say(("ok: " if ok else "FAILED: ") + what)
    if not ok:
        raise Failed(what)


def die_with_us():
    """A test that CTest kills takes its machine along (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Bed:
    def __init__(self, memory=2304, dom0_memory=900, disk_mb=1024, console=None, host_tpm=False):
        if not os.path.exists(os.path.join(IMAGE, "dom0.cpio")):
            print("SKIPPED: no image in %s (see the test xen_image)" % IMAGE)
            sys.exit(SKIPPED)
        self.dir = tempfile.mkdtemp(prefix="vtpm-xen-")
        self.memory, self.dom0_memory = memory, dom0_memory
        self.disk, self.console = self.path("data.img"), console or self.path("console.log")
        self.standing = STANDING if STANDING and os.path.exists(os.path.join(STANDING, "socket")) else None
        with open(self.disk, "wb") as f:
            f.truncate(disk_mb << 20)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=1,nodiscard", self.disk], check=True,
                       env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin"))
        self.qemu = self.agent = self.tpm = None
        self.host_tpm, self.roms = host_tpm, []
        self.keep = bool(os.environ.get("VTPM_XEN_KEEP"))

    def path(self, name):
        return os.path.join(self.dir, name)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind and kind is not SystemExit:
            self.show_logs()
        self.power_off()
        if not self.keep:
            shutil.rmtree(self.dir, ignore_errors=True)

    # ---- the machine ----
    def boot(self):
        if self.standing:
            self.agent = Standing(os.path.join(self.standing, "socket"))
            self.agent.run(CLEAN, 60 * SLOW)
            return
        begun = time.monotonic()
        kernel, initrd = os.path.join(IMAGE, "vmlinux"), os.path.join(IMAGE, "dom0.cpio")
        sock = self.path("agent")
        argv = ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max,-smap", "-smp", CPUS,
                "-m", str(self.memory), "-display", "none", "-vga", "none", "-nic", "none", "-no-reboot",
                "-monitor", "none", "-serial", "file:" + self.console,
                "-chardev", "socket,id=agent,path=%s,server=on,wait=off" % sock,
                "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=agent",
                "-drive", "file=%s,if=none,id=data,format=raw" % self.disk, "-device", "virtio-blk-pci,drive=data",
                "-drive", "file=%s,if=none,id=boot,format=raw,readonly=on" % os.path.join(IMAGE, "boot.img"),
                "-device", "virtio-blk-pci,drive=boot",
                "-kernel", os.path.join(IMAGE, "xen"), "-append", XEN_LINE % (self.dom0_memory, self.dom0_memory),
                "-initrd", "%s %s,%s" % (kernel, LINUX_LINE, initrd)]
        for rom in self.roms:
            argv += ["-option-rom", rom]
        self.log = open(self.path("qemu.log"), "ab")
        tpm = self.start_tpm() if self.host_tpm else None
        if tpm:
            argv += ["-chardev", "socket,id=tpm,fd=%d" % tpm.fileno(), "-tpmdev", "emulator,id=tpm0,chardev=tpm",
                     "-device", "%s,tpmdev=tpm0" % self.host_tpm]
        self.qemu = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                     pass_fds=[tpm.fileno()] if tpm else [], start_new_session=True,
                                     preexec_fn=die_with_us)
        if tpm:
            tpm.close()
        self.agent = Agent(sock, self.qemu, self.console)
        self.agent.wait_ready(90 * SLOW)
        say("dom0 is up after %.1f s" % (time.monotonic() - begun))

    def start_tpm(self):
        """A TPM 2.0 for the machine, whose memory outlives its power; the end for QEMU. It ends when QEMU does."""
        os.makedirs(self.path("tpm"), exist_ok=True)
        ours, its = socket.socketpair()
        with its:
            self.tpm = subprocess.Popen(["swtpm", "socket", "--tpm2", "--tpmstate", "dir=" + self.path("tpm"), "--ctrl",
                                         "type=unixio,clientfd=%d" % its.fileno(), "--terminate"],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        pass_fds=[its.fileno()], start_new_session=True, preexec_fn=die_with_us)
        return ours

    def power_off(self):
        """As a power cut: what dom0 had not put on the disk is lost."""
        if self.qemu:
            self.qemu.kill()
            self.qemu.wait()
            self.agent.close()
            self.log.close()
            self.qemu = None
        if self.tpm:
            self.tpm.kill()
            self.tpm.wait()
            self.tpm = None

    def show_logs(self):
        names = [self.console, self.path("qemu.log")]
        for name in names:
            if os.path.exists(name):
                with open(name, errors="replace") as f:
                    lines = [line for line in f if not re.match(r"\(XEN\) ( |ACPI|mtrr|SVM|HVM|xstate)", line)]
                    print("---- %s\n%s" % (os.path.basename(name), "".join(lines[-60:])))
        try:
            print(self.run("tail -n 60 /var/log/xen/xl-*.log /var/log/vtpm/*.log; dmesg | tail -n 20; xl list; "
                           "xenstore-ls -fp /local/domain/0/backend", limit=30)[1][-20000:], flush=True)
        except Exception as e:
            print("(dom0 says nothing more: %s)" % e)

    # ---- commands ----
    def run(self, command, limit=30):
        """(exit status, output) of a shell command in dom0; 124 when it took longer than `limit` (times SLOW)."""
        return self.agent.run(command, limit * SLOW)

    def ok(self, command, limit=30):
        status, out = self.run(command, limit)
        if status:
            raise Failed("dom0: %s: status %d\n%s" % (command, status, out))
        return out

    def guest(self, name, command, limit=30):
        """(exit status, output) in a guest."""
        limit = int(limit * SLOW)
        return self.agent.run("agent ask %s %d %s" % (name, limit, shlex.quote(command)), limit + 20)

    def guest_ok(self, name, command, limit=30):
        status, out = self.guest(name, command, limit)
        if status:
            raise Failed("%s: %s: status %d\n%s" % (name, command, status, out))
        return out

    def wait(self, what, command, limit=30, want=None):
        """Until a command in dom0 succeeds (and its output matches `want`); the output."""
        end = time.monotonic() + limit * SLOW
        while True:
            status, out = self.run(command, limit)
            if status == 0 and (want is None or re.search(want, out)):
                return out
            if time.monotonic() > end:
                raise Failed("%s: not within %d s: %s: status %d\n%s" % (what, limit * SLOW, command, status, out))
            time.sleep(0.2)

    def write(self, path, text):
        self.ok("mkdir -p %s && cat >%s <<'VTPM_END'\n%s\nVTPM_END" %
                (shlex.quote(os.path.dirname(path)), shlex.quote(path), text.rstrip("\n")))


# What an earlier scenario left on a machine that stays up.
CLEAN = """for d in $(xl list | awk 'NR > 1 && $2 { print $2 }'); do xl destroy $d; done
for p in /run/vtpm/*.pid; do kill -9 $(cat $p); done
rm -rf /run/vtpm /data/* /var/log/vtpm /var/log/xen/*"""


class Standing:
    """The agent of a machine that shell.py keeps up."""

    def __init__(self, path):
        self.path = path

    def run(self, command, limit):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.connect(self.path)
            s.sendall(json.dumps(["run", limit / SLOW, command]).encode() + b"\n")
            with s.makefile() as f:
                return tuple(json.loads(f.read()))


class Agent:
    """The other end of dom0's agent.c. Threads may use it side by side."""

    def __init__(self, path, qemu, console):
        self.qemu, self.console, self.next, self.waiting, self.lock = qemu, console, 0, {}, threading.Lock()
        self.is_ready = threading.Event()
        end = time.monotonic() + 30
        while True:
            self.s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self.s.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                self.s.close()
                if qemu.poll() is not None or time.monotonic() > end:
                    raise Failed("QEMU does not come up: exit %s" % qemu.poll()) from None
                time.sleep(0.05)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        with self.s.makefile("rb") as lines:
            try:
                for line in lines:
                    self._line(line.strip())
            except OSError:
                pass
        with self.lock:
            for box in self.waiting.values():
                box.put(None)

    def _line(self, line):
        if line == b"@@ready":
            self.is_ready.set()
            return
        m = re.match(rb"@@(\d+) (\d+) ?([0-9a-f]*)$", line)
        if m:
            box = self.waiting.get(int(m.group(1)))
            if box:
                box.put((int(m.group(2)), bytes.fromhex(m.group(3).decode()).decode(errors="replace")))

    def wait_ready(self, limit):
        end = time.monotonic() + limit
        while not self.is_ready.wait(0.5):
            if self.is_dead() or time.monotonic() > end:
                raise Failed("dom0 does not come up in %d s (QEMU exit %s)" % (limit, self.qemu.poll()))

    def is_dead(self):
        """Xen stays, to be looked at, when dom0 has crashed."""
        with open(self.console, "rb") as f:
            return self.qemu.poll() is not None or b"Dom0 crashed" in f.read()

    def run(self, command, limit):
        with self.lock:
            self.next += 1
            number, box = self.next, queue.Queue()
            self.waiting[number] = box
            self.s.sendall(b"run %d %d %s\n" % (number, int(limit), command.encode().hex().encode()))
        end, answer = time.monotonic() + limit + 20, ()
        while answer == ():
            try:
                answer = box.get(timeout=2)
            except queue.Empty:
                if self.is_dead() or time.monotonic() > end:
                    break
        del self.waiting[number]
        if not answer:
            raise Failed("dom0 %s: %s" % ("has ended" if self.is_dead() else "does not answer", command))
        return answer

    def close(self):
        try:
            self.s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.reader.join(10)
        self.s.close()

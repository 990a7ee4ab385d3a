# SPDX-License-Identifier: Apache-2.0
"""Starts and stops the real programs for tests, on loopback and in a temporary directory; ends what it started."""
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from tpm12 import Socket, Tpm

BIN = os.environ.get("VTPM_BIN", os.path.join(os.path.dirname(__file__), "../../build/release/bin"))
SKIPPED = 77


def skip(why):
    print("SKIPPED:", why)
    sys.exit(SKIPPED)


def need(*programs):
    for name in programs:
        if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
            skip("%s is not installed" % name)


INSIDE = "VTPM_TEST_NAMESPACE"


def enter_namespace(*more):
    """The test again, as root of a mount namespace of its own (and of `more`, options of unshare); skips where there
    is none to be had."""
    if os.environ.get(INSIDE):
        return
    if os.geteuid():
        skip("a mount namespace needs root")
    need("unshare", "mount")
    argv = ["unshare", "--mount", "--propagation", "private", *more]
    r = subprocess.run([*argv, "true"], capture_output=True, text=True)
    if r.returncode:
        skip("no mount namespace can be made here: %s" % r.stderr.strip())
    os.environ[INSIDE] = "1"
    os.execvp("unshare", [*argv, sys.executable, *sys.argv])


def program(name):
    return os.path.join(BIN, name)


def has_sanitizer(name):
    """Was this program built with one? Its runtime takes memory and system calls of its own."""
    with open(program(name), "rb") as f:
        text = f.read()
    return b"__asan_init" in text or b"__tsan_init" in text


CLAIMS = []


def claim_port(port):
    """For as long as this process lives; an abstract socket is the claim that other tests see. False: not to be had."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind("\0vtpm-test-port-%d" % port)
        with socket.socket() as s:
            s.bind(("127.0.0.1", port))
    except OSError:
        claim.close()
        return False
    CLAIMS.append(claim)
    return True


def free_port(count=1):
    """The first of so many in a row that nobody has: below those that the kernel gives to connections, which come between
    the question and the use."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        end = int(f.read().split()[0])
    for _ in range(1000):
        port = random.randrange(10240, end - count)
        if all([claim_port(port + n) for n in range(count)]):
            return port
    raise AssertionError("no free port of 1,000 tried below %d" % end)


class Process:
    """A daemon of the test: its standard error is kept in a file and shown when something fails."""

    def __init__(self, argv, log, ready=None, env=None, timeout=60, **kw):
        self.argv, self.log = argv, log
        self.out = open(log, "ab")
        mark = self.out.tell()
        self.p = subprocess.Popen(argv, stdout=self.out, stderr=self.out, stdin=subprocess.DEVNULL,
                                  env=dict(os.environ, **(env or {})), **kw)
        self.ready_line = self.wait_line(ready, mark, timeout) if ready else ""

    def text(self, mark=0):
        with open(self.log, "rb") as f:
            f.seek(mark)
            return f.read().decode(errors="replace")

    def wait_line(self, pattern, mark=0, timeout=60):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for line in self.text(mark).splitlines():
                if re.search(pattern, line):
                    return line
            if self.p.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError("%s: no line matches %r (exit %s):\n%s" %
                             (self.argv[0], pattern, self.p.poll(), self.text(mark)))

    def stop(self, sig=signal.SIGTERM, timeout=30):
        if self.p.poll() is None:
            self.p.send_signal(sig)
        try:
            return self.p.wait(timeout)
        finally:
            if self.p.poll() is None:
                self.p.kill()
                self.p.wait()
            self.out.close()

    def kill9(self):
        self.p.kill()
        self.p.wait()
        self.out.close()


class Rig:
    """One server on a store of its own, and what hangs on it."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="vtpm-test-")
        os.chmod(self.dir, 0o755)
        self.data, self.run = self.path("data"), self.path("run")
        self.admin = "unix:" + self.path("admin.sock")
        self.keyfile = self.path("key")
        self.listen = "unix:" + self.path("vtpm.sock")
        self.server = None
        self.others = []
        self.failed = True

    def path(self, name):
        return os.path.join(self.dir, name)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for p in self.others + ([self.server] if self.server else []):
            if p.p.poll() is None:
                p.stop(signal.SIGKILL)
        if kind and kind is not SystemExit:
            for name in sorted(os.listdir(self.dir)):
                if name.endswith(".log"):
                    print("---- %s" % name)
                    print(open(self.path(name), errors="replace").read()[-6000:])
        shutil.rmtree(self.dir, ignore_errors=True)

    # ---- server ----
    def init(self):
        r = run([program("vtpm-server"), "init", "--data-dir", self.data, "--keyslot", "keyfile:" + self.keyfile,
                 "--allow-root"])
        self.recovery = r.stdout
        return self.recovery

    def start_server(self, *extra, env=None):
        self.server = Process([program("vtpm-server"), "--data-dir", self.data, "--runtime-dir", self.run,
                               "--keyslot", "keyfile:" + self.keyfile, "--listen", self.listen, "--admin", self.admin,
                               "--allow-root", *extra], self.path("server.log"), ready=r"vtpm-server: ready", env=env)
        return self.server

    def ctl(self, *argv, ok=True):
        r = subprocess.run([program("vtpmctl"), "--admin", self.admin, *argv], capture_output=True, text=True,
                           stdin=subprocess.DEVNULL, timeout=120)
        if ok and r.returncode:
            raise AssertionError("vtpmctl %s: exit %d\n%s%s" % (" ".join(argv), r.returncode, r.stdout, r.stderr))
        return r

    def ctl_json(self, *argv):
        return json.loads(self.ctl("--json", *argv).stdout)

    def create(self, name, *extra):
        """A new instance; its uuid. The credential is in NAME.cred."""
        return self.ctl("instance", "create", name, "--credential-out", self.path(name + ".cred"),
                        *extra).stdout.strip()

    def state(self, name):
        return self.ctl_json("instance", "show", name)["instances"][0]["state"]

    # ---- shim ----
    def start_shim(self, name, frontend=None, upstream=None, credential=None, extra=(), wait=True):
        frontend = frontend or "socket:unix:" + self.path(name + ".tpm")
        p = Process([program("vtpm-shim"), "--upstream", upstream or self.listen, "--credential",
                     credential or self.path(name + ".cred"), "--frontend", frontend, *extra],
                    self.path("shim-%s.log" % name), ready=r"vtpm-shim: ready" if wait else None)
        self.others.append(p)
        return p

    def tpm(self, name):
        """A client of the TPM that this shim shows on its own socket."""
        return Tpm(Socket(self.path(name + ".tpm")))


def run(argv, ok=0, **kw):
    r = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, **kw)
    if ok is not None and r.returncode != ok:
        raise AssertionError("%s: exit %d, not %d\n%s%s" % (" ".join(argv), r.returncode, ok, r.stdout, r.stderr))
    return r


def wait_until(condition, what, timeout=60):
    """For what happens by itself, some time; its value."""
    end = time.monotonic() + timeout
    value = condition()
    while not value:
        if time.monotonic() > end:
            raise AssertionError("not within %d s: %s" % (timeout, what))
        time.sleep(0.05)
        value = condition()
    return value


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def check(condition, text):
    if not condition:
        raise AssertionError(text)
    print("ok:", text)

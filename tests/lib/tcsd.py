# SPDX-License-Identifier: Apache-2.0
"""TrouSerS' daemon on a TPM that listens on TCP, and tpm-tools on it. Needs root (tcsd insists)."""
import os
import pwd
import re
import shutil
import socket
import struct
import subprocess
import time

from rig import Process, check, free_port, need, run, skip
from tpm12 import Socket, Tpm

PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"


def need_trousers():
    need("tcsd", "tpm_takeownership", "setsid")
    if os.getuid():
        skip("tcsd starts as root only")
    try:
        pwd.getpwnam("tss")
    except KeyError:
        skip("there is no user tss (package trousers)")


def tools_of(package):
    """The programs that a Debian package brings."""
    files = run(["dpkg", "-L", package]).stdout.splitlines()
    return {os.path.basename(f) for f in files if re.search(r"/s?bin/[^/]+$", f)}


# Physical presence by command is for a machine in single-user mode, says tcsd, which looks in utmp (and skips an entry
# without a time). This one record is laid out for 32 and for 64 bit times; tcsd sees it in a mount namespace of its
# own.
SINGLE_USER = struct.pack("=hxxi332xii52x", 1, ord("S"), 1, 1)
PRIVATE_RUN = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
               'mount -t tmpfs tmpfs /run && cp "$0" /run/utmp && exec "$@"']


def can_be_single_user():
    return subprocess.run([*PRIVATE_RUN, "/dev/null", "true"], capture_output=True).returncode == 0


class Tcsd:
    """`worked` has the names of the tools that exited with 0, of all daemons of the test."""
    worked = set()

    def __init__(self, rig, name, tpm_port, single_user=False):
        self.rig, self.name, self.single_user = rig, name, single_user
        self.dir = rig.path("tcsd-" + name)
        os.makedirs(self.dir, exist_ok=True)
        tss = pwd.getpwnam("tss")
        os.chown(self.dir, tss.pw_uid, tss.pw_gid)
        self.port = free_port()
        conf = os.path.join(self.dir, "tcsd.conf")
        with open(conf, "w") as f:
            f.write("port = %d\nsystem_ps_file = %s/system.data\n" % (self.port, self.dir))
        os.chown(conf, 0, tss.pw_gid)
        os.chmod(conf, 0o640)
        self.conf = conf
        self.tpm_port = tpm_port
        self.home = os.path.join(self.dir, "home")
        os.makedirs(self.home, exist_ok=True)
        self.start()

    def start(self):
        env = {"TCSD_USE_TCP_DEVICE": "1", "TCSD_TCP_DEVICE_HOSTNAME": "127.0.0.1",
               "TCSD_TCP_DEVICE_PORT": str(self.tpm_port)}
        argv = [shutil.which("tcsd", path=PATH), "-f", "-e", "-c", self.conf]
        if self.single_user:
            utmp = self.path("utmp")
            with open(utmp, "wb") as f:
                f.write(SINGLE_USER)
            argv = [*PRIVATE_RUN, utmp, *argv]
        self.p = Process(argv, self.rig.path("tcsd-%s.log" % self.name), env=env)
        self.rig.others.append(self.p)
        self.wait_port()

    def path(self, name):
        return os.path.join(self.dir, name)

    def wait_port(self):
        """It says that it is up through a buffer: its port tells sooner."""
        end = time.monotonic() + 60
        while time.monotonic() < end and self.p.p.poll() is None:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("tcsd does not come up:\n" + self.p.text())

    def stop(self):
        self.p.stop()

    def tool(self, *argv, stdin="", cwd=None):
        """(exit code, output) of a tpm-tools program; setsid: nothing may ask on a terminal, but from `stdin`."""
        r = subprocess.run(["setsid", "-w", *argv], input=stdin, capture_output=True, text=True, errors="replace",
                           env=self.tool_env(), timeout=180, cwd=cwd or self.dir)
        if r.returncode == 0:
            self.worked.add(argv[0])
        return r.returncode, r.stdout + r.stderr

    def tool_env(self):
        return dict(os.environ, TSS_TCSD_HOSTNAME="127.0.0.1", TSS_TCSD_PORT=str(self.port), PATH=PATH, HOME=self.home,
                    LC_ALL="C", TSS_USER_PS_FILE=self.path("user.data"))

    def ok(self, *argv, want=None, **kw):
        code, out = self.tool(*argv, **kw)
        check(code == 0 and (want is None or want in out), "%s%s" % (" ".join(argv), "" if code == 0 and (
            want is None or want in out) else ": exit %d\n%s" % (code, out)))
        return out

    def refused(self, *argv, want=None, exits=None, **kw):
        code, out = self.tool(*argv, **kw)
        good = code != 0 and (want is None or want in out) and (exits is None or code == exits)
        check(good, "%s is refused%s" % (" ".join(argv), "" if good else ": exit %d\n%s" % (code, out)))
        return out


class Device(Tcsd):
    """An instance with a tcsd on it, and a second client of the same TPM to see what a tool really did."""

    def __init__(self, rig, name, *create, single_user=False):
        port = free_port()
        rig.create(name, *create)
        rig.start_shim(name, "socket:tcp:127.0.0.1:%d" % port)
        super().__init__(rig, name, port, single_user)

    def raw(self):
        return Tpm(Socket(("127.0.0.1", self.tpm_port)))

    def has(self, *flags):
        """Are these permanent flags set?"""
        return set(flags) <= self.raw().flags()[0]

    def has_now(self, *flags):
        """Are these flags set that a Startup clears?"""
        return set(flags) <= self.raw().flags()[1]

    def reboot(self):
        self.stop()
        self.rig.ctl("instance", "power-cycle", self.name)
        self.start()

    def kill_server(self):
        self.rig.server.kill9()
        self.rig.start_server()


def all_worked(package, broken=()):
    """Every program of the package was tried: a new one is not missed. The broken ones have their own checks."""
    tools = tools_of(package)
    missing = tools - Tcsd.worked - set(broken)
    check(tools and not missing, "every tool of %s did its work%s%s" % (
        package, ", except " + " ".join(broken) if broken else "", "; not " + " ".join(missing) if missing else ""))
    for tool in broken:
        check(tool not in Tcsd.worked, "%s is broken" % tool)

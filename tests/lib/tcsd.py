# SPDX-License-Identifier: Apache-2.0
"""TrouSerS' daemon on a TPM that listens on TCP, and tpm-tools on it. Needs root (tcsd insists)."""
import os
import pwd
import shutil
import socket
import subprocess
import time

from rig import Process, check, free_port, need, skip

PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"


def need_trousers():
    need("tcsd", "tpm_takeownership", "setsid")
    if os.getuid():
        skip("tcsd starts as root only")
    try:
        pwd.getpwnam("tss")
    except KeyError:
        skip("there is no user tss (package trousers)")


class Tcsd:
    def __init__(self, rig, name, tpm_port):
        self.rig, self.name = rig, name
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
        self.p = Process([shutil.which("tcsd", path=PATH), "-f", "-e", "-c", self.conf],
                         self.rig.path("tcsd-%s.log" % self.name), env=env)
        self.rig.others.append(self.p)
        self.wait_port()

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
        """(exit code, output) of a tpm-tools program; setsid: nothing may ask on a terminal."""
        env = dict(os.environ, TSS_TCSD_HOSTNAME="127.0.0.1", TSS_TCSD_PORT=str(self.port), PATH=PATH, HOME=self.home,
                   LC_ALL="C")
        r = subprocess.run(["setsid", "-w", *argv], input=stdin, capture_output=True, text=True, errors="replace", env=env, timeout=180,
                           cwd=cwd or self.dir)
        return r.returncode, r.stdout + r.stderr

    def ok(self, *argv, want=None, **kw):
        code, out = self.tool(*argv, **kw)
        check(code == 0 and (want is None or want in out), "%s%s" % (" ".join(argv), "" if code == 0 and (
            want is None or want in out) else ": exit %d\n%s" % (code, out)))
        return out

    def refused(self, *argv, want=None, **kw):
        code, out = self.tool(*argv, **kw)
        good = code != 0 and (want is None or want in out)
        check(good, "%s is refused%s" % (" ".join(argv), "" if good else ": exit %d\n%s" % (code, out)))
        return out

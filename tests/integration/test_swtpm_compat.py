# SPDX-License-Identifier: Apache-2.0
"""deploy/swtpm-compat: swtpm's, swtpm_setup's and swtpm_ioctl's command lines with an instance behind them."""
import json
import os
import shutil
import signal
import stat
import subprocess

from rig import Rig, check, free_port, program, wait_until
from tpm12 import Socket, Tpm

COMPAT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../deploy/swtpm-compat"))
DOMAIN = "11111111-2222-3333-4444-555555555555"


class Compat:
    def __init__(self, rig):
        self.rig, self.env = rig, dict(os.environ, VTPM_SWTPM_CONFIG=rig.path("compat.conf"), PATH=COMPAT + ":/usr/bin:/bin")
        self.configure()

    def configure(self, more=""):
        with open(self.rig.path("compat.conf"), "w") as f:
            f.write("[swtpm]\nupstream = %s\nadmin = %s\nshim = %s\nvtpmctl = %s\n%s" %
                    (self.rig.listen, self.rig.admin, program("vtpm-shim"), program("vtpmctl"), more))

    def run(self, *argv, code=0, says="", **env):
        r = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, env={**self.env, **env})
        if r.returncode != code or says not in r.stdout + r.stderr:
            raise AssertionError("%s: exit %d, not %d, or does not say %r:\n%s%s" %
                                 (" ".join(argv), r.returncode, code, says, r.stdout, r.stderr))
        return r.stdout

    def folder(self, name):
        path = self.rig.path(name)
        os.makedirs(path)
        return path

    def instances(self):
        return {i["name"]: i["uuid"] for i in self.rig.ctl_json("instance", "list")["instances"]}


def capabilities(c):
    """As libvirt asks, with and without other programs for TPM 2.0 behind ours."""
    alone = dict(PATH=COMPAT + ":" + os.path.dirname(shutil.which("env")), VTPM_SWTPM_CONFIG=c.env["VTPM_SWTPM_CONFIG"])
    for name, words in (("swtpm", ["socket"]), ("swtpm", ["socket", "--tpm2"]), ("swtpm_setup", [])):
        told = json.loads(c.run(name, *words, "--print-capabilities"))
        check(told["type"] == name and "tpm-1.2" in told["features"], "%s %s: TPM 1.2" % (name, " ".join(words)))
    other = c.folder("other")
    for name in "swtpm", "swtpm_setup":
        with open(os.path.join(other, name), "w") as f:
            f.write("#!/bin/sh\necho other \"$@\"\n")
        os.chmod(os.path.join(other, name), 0o755)
    behind = dict(alone, PATH="%s:%s:%s" % (COMPAT, other, alone["PATH"]))
    check("tpm-2.0" in c.run("swtpm", "socket", "--print-capabilities", **behind), "TPM 2.0 where another swtpm is")
    check(c.run("swtpm", "socket", "--tpm2", "--ctrl", "x", **behind) == "other socket --tpm2 --ctrl x\n" and
          c.run("swtpm_setup", "--tpm2", "--tpmstate", "x", **behind) == "other --tpm2 --tpmstate x\n", "it gets what is TPM 2.0's")


def refusals(c):
    here = c.folder("refused")
    state, ctrl = "dir=" + here, "type=unixio,path=" + os.path.join(here, "c")
    good = ["swtpm", "socket", "--tpmstate", state, "--ctrl", ctrl]
    for argv, says in (
            (["swtpm", "chardev"], "only `swtpm socket`"), (["swtpm"], "usage: swtpm"),
            (["swtpm", "socket", "--ctrl", ctrl], "--tpmstate dir=DIR is missing"),
            (["swtpm", "socket", "--tpmstate", state], "--ctrl is missing"),
            ([*good, "--key", "pwdfd=3"], "--key: not an option"), ([*good, "--migration-key", "fd=3"], "not an option"),
            ([*good, "--runas", "x"], "--runas: not an option"), ([*good, "--daemon", "-d"], "--daemon stands twice"),
            ([*good, "--daemon=1"], "--daemon=1: not an option"), ([*good, "more"], "more: not an option"),
            ([*good, "--pid"], "--pid needs a value"), ([*good, "--pid", "file=x,fd=3"], "one of them"),
            ([*good, "--log", "fd=x"], "not a descriptor"),
            ([*good[:4], "--ctrl", ctrl + ",mode=0666"], "mode=0600 or 0660"),
            ([*good[:4], "--ctrl", ctrl + ",path=/x"], "path stands twice"),
            ([*good[:4], "--ctrl", "type=unixio,fd=3"], "\"fd=3\" is not among"),
            ([*good[:4], "--ctrl", "type=unixio,port=3"], "not type=unixio,path=PATH"),
            ([*good[:4], "--ctrl", "type=tcp,path=/x"], "not type=unixio,path=PATH"),
            ([*good[:4], "--ctrl", "path=/x"], "not type=unixio,path=PATH"),
            ([*good, "--flags", "startup-state"], "\"startup-state\" is not among"),
            ([*good, "--flags", "startup-clear,startup-none"], "one kind of startup"),
            (["swtpm", "socket", "--tpmstate", "mode=0600", "--ctrl", ctrl], "dir= or backend-uri="),
            (["swtpm_setup"], "--tpm-state DIR is missing"), (["swtpm_setup", "--tpm-state", here, "--pwdfile-fd", "3"], "not an option"),
            (["swtpm_setup", "--tpm-state", here, "--overwrite", "--not-overwrite"], "one of them"),
            (["swtpm_setup", "--tpm-state", here, "--take-ownership"], "not an option"),
            (["swtpm_ioctl", "-c"], "--unix PATH or --tcp"), (["swtpm_ioctl", "--unix", "/x", "-c", "-i"], "one command"),
            (["swtpm_ioctl", "--unix", "/x", "-l", "5"], "5: not a number of 0 to 4"),
            (["swtpm_ioctl", "--unix", "/x", "--save", "volatile"], "--save: not an option")):
        c.run(*argv, code=2, says=says)
    for argv, says in (
            (["swtpm", "socket", "--tpmstate", "dir=/nowhere", "--ctrl", ctrl], "/nowhere is not a directory"),
            (["swtpm_setup", "--tpm-state", "file:///x"], "a directory is needed"),
            (["swtpm_ioctl", "--unix", "/nowhere", "-c"], "No such file")):
        c.run(*argv, code=2 if "file:" in argv[-1] else 1, says=says)
    check(not os.listdir(here) and not c.instances(), "what is wrong is named, and nothing was made")
    c.configure("wrong = 1\n")
    c.run(*good, code=2, says="not known: wrong")
    c.configure()


def first_use(c):
    here = c.folder("libvirt/%s/tpm1.2" % DOMAIN)
    log = c.rig.path("setup.txt")
    libvirt = ["swtpm_setup", "--tpm-state", here, "--vmid", "vm:" + DOMAIN, "--logfile", log, "--createek", "--create-ek-cert",
               "--create-platform-cert", "--lock-nvram", "--not-overwrite"]
    c.run(*libvirt)
    made = c.instances()
    check(list(made) == ["libvirt-" + DOMAIN], "swtpm_setup as libvirt calls it: an instance with the domain's uuid in its name")
    mode = os.stat(os.path.join(here, "vtpm.cred"))
    check(stat.S_IMODE(mode.st_mode) == 0o600, "its credential is in the state directory, 0600")
    check(made["libvirt-" + DOMAIN] in open(log).read() and "no certificate" in open(log).read(), "the log has it")
    c.run(*libvirt)
    check(c.instances() == made, "--not-overwrite: left as it is")
    c.run("swtpm_setup", "--tpm-state", here, code=1, says="it is not overwritten")
    c.run("swtpm_setup", "--tpmstate", "dir://" + here, "--overwrite", code=1, says="it is not overwritten")
    check("permanent" in c.run("swtpm", "socket", "--print-states", "--tpmstate", "backend-uri=dir://" + here), "--print-states")

    os.rename(os.path.join(here, "vtpm.cred"), c.rig.path("kept"))
    c.run(*libvirt, code=1, says="no second TPM is made")
    check(c.instances() == made and "no second TPM" in open(log).read(), "a lost credential: no second TPM, and it is said how to go on")
    os.rename(c.rig.path("kept"), os.path.join(here, "vtpm.cred"))
    foreign = c.folder("foreign")
    open(os.path.join(foreign, "tpm-00.permall"), "w").close()
    c.run("swtpm_setup", "--tpm-state", foreign, code=1, says="is the state of a swtpm")
    check(c.instances() == made, "a swtpm's own state: no TPM is made in its place")
    c.configure("ca_key = /nowhere/key\nca_cert = /nowhere/cert\n")
    c.run("swtpm_setup", "--tpm-state", c.folder("certified"), "--create-ek-cert", code=2, says="/nowhere/cert")
    c.configure()
    check(c.instances() == made, "a CA that is not there: no instance")
    return here


def unix_session(c, here):
    """As libvirt starts it: the process that it knows becomes the shim, and ends with its monitor."""
    ctrl, log, pid = c.rig.path("c.sock"), c.rig.path("swtpm.log"), c.rig.path("pid")
    p = subprocess.Popen(["swtpm", "socket", "--ctrl", "type=unixio,path=%s,mode=0600" % ctrl, "--tpmstate",
                          "dir=%s,mode=0600" % here, "--log", "file=" + log, "--terminate", "--pid", "file=" + pid], env=c.env)
    try:
        wait_until(lambda: os.path.exists(ctrl), "the control channel's socket")
        check(int(open(pid).read()) == p.pid, "--pid: the process that was started")
        check(c.run("swtpm_ioctl", "--unix", ctrl, "-c").startswith("ptm capability is 0x"), "swtpm_ioctl -c")
        check(p.wait(60) == 0, "--terminate: it ends when the monitor has gone")
        check("ready" in open(log).read(), "--log")
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()


def tcp_session(c, here):
    """--daemon, both channels over TCP, power on by swtpm_ioctl; the same TPM after another start."""
    port, data, pid = free_port(), free_port(), c.rig.path("pid2")
    argv = ["swtpm", "socket", "--tpmstate", "dir=" + here, "--ctrl", "type=tcp,port=%d" % port, "--server",
            "type=tcp,port=%d" % data, "--log", "file=" + c.rig.path("tcp.log"), "--pid", "file=" + pid, "-d"]
    at = ["swtpm_ioctl", "--tcp", ":%d" % port]

    def session(act):
        c.run(*argv)
        try:
            c.run(*at, "-i")
            client = Socket(("127.0.0.1", data))
            tpm = Tpm(client)
            check(tpm.startup() == 0, "swtpm_ioctl -i, then TPM_Startup on the data channel")
            value = act(tpm)
            client.close()
            check(c.run(*at, "-e") == "tpmEstablished is 0\n", "swtpm_ioctl -e")
            check("TPM buffersize: 4096" in c.run(*at, "-b", "0"), "swtpm_ioctl -b")
            c.run(*at, "-l", "4")
            c.run(*at, "-s")
            return value
        finally:
            os.kill(int(open(pid).read()), signal.SIGTERM)
            wait_until(lambda: not os.path.exists("/proc/%s" % open(pid).read().strip()), "its end")
    def act(tpm):
        return tpm.read_pubek(), tpm.extend(10, b"\x01" * 20)
    first, second = session(act), session(act)
    check(first == second, "the same TPM at the next start, powered on anew")


with Rig() as rig:
    rig.init()
    rig.start_server()
    compat = Compat(rig)
    capabilities(compat)
    refusals(compat)
    here = first_use(compat)
    unix_session(compat, here)
    tcp_session(compat, here)
print("swtpm-compat: all seen to hold")

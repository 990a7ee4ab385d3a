# SPDX-License-Identifier: Apache-2.0
"""A host where deploy/ was installed: init once, then `vtpm-server --listen ADDR` alone is enough. And the watchdog."""
import os
import re
import shutil
import socket
import subprocess
import sys

from rig import BIN, Process, Rig, check, need, program, run

BUILD = os.path.dirname(os.path.abspath(BIN))
INSTALLED = """bin/vtpm-server bin/vtpm-shim bin/vtpm-xl bin/vtpmctl libexec/vtpm-engine
lib/systemd/system/vtpm-server.service lib/systemd/system/vtpm-shim-xen.service lib/systemd/system/vtpm-shim@.service
lib/sysusers.d/vtpm.conf lib/tmpfiles.d/vtpm.conf lib/udev/rules.d/70-vtpm-xen.rules
share/man/man8/vtpm-server.8 share/man/man8/vtpm-shim.8 share/man/man8/vtpm-xl.8 share/man/man8/vtpmctl.8
share/vtpm-server/vtpm-server.conf share/vtpm-server/xen.conf share/vtpm-server/hwtpm.conf"""
LISTEN = "unix:/run/vtpm-server/channel.sock"
IN_NAMESPACE = "VTPM_TEST_PRIVATE_HOST"


def install(rig):
    usr = rig.path("usr")
    run(["cmake", "--install", BUILD, "--prefix", usr])
    missing = [name for name in INSTALLED.split() if not os.path.isfile(os.path.join(usr, name))]
    check(not missing, "cmake --install: every file at its place%s" % "".join(" " + m for m in missing))
    check(os.access(usr + "/bin/vtpm-xl", os.X_OK), "vtpm-xl can be executed")
    return usr


def make_private():
    """This process's own /etc, /var/lib and /run: only root may, in a mount namespace (main() made one)."""
    copy = "/tmp/vtpm-test-etc"
    run(["mount", "-t", "tmpfs", "tmpfs", "/mnt"])
    shutil.copytree("/etc", "/mnt" + copy, symlinks=True, ignore_dangling_symlinks=True)
    for place in ("/var/lib", "/run"):
        run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", place])
    run(["mount", "--bind", "/mnt" + copy, "/etc"])


def prepare(usr):
    """What installing a package does: users, groups, directories, the configuration where there is none."""
    shutil.rmtree("/etc/vtpm", ignore_errors=True)
    run(["systemd-sysusers", usr + "/lib/sysusers.d/vtpm.conf"])
    conf = usr + "/lib/tmpfiles.d/vtpm.conf"
    text = open(conf).read()
    check("/usr/share/vtpm-server/vtpm-server.conf" in text, "tmpfiles names the installed configuration")
    with open(conf, "w") as f:
        f.write(text.replace("/usr/", usr + "/"))
    run(["systemd-tmpfiles", "--create", conf])


def modes():
    for path, user, mode in (("/etc/vtpm", "root", 0o750), ("/etc/vtpm/keys", "vtpm", 0o700), ("/etc/vtpm/credentials", "root", 0o750),
                             ("/etc/vtpm/vtpm-server.conf", "root", 0o640), ("/var/lib/vtpm-server", "vtpm", 0o700)):
        owner = run(["stat", "-c", "%U %a", path]).stdout.split()
        check(owner == [user, "%o" % mode], "%s: %s %s" % (path, *owner))
    groups = {user: set(run(["id", "-nG", user]).stdout.split()) for user in ("vtpm", "vtpm-shim")}
    check(groups["vtpm-shim"] == {"vtpm-shim", "vtpm", "vtpm-xen"}, "vtpm-shim: the channel, Xen's devices, no administration")
    check(not groups["vtpm"] & {"vtpm-admin", "vtpm-monitor"}, "vtpm: member of what it needs: %s" % sorted(groups["vtpm"]))


def serve(rig, exe, ctl, options, about):
    """Two starts, an instance in between: it is all where the defaults say."""
    for turn in (1, 2):
        server = Process([exe, *options], rig.path("server.log"), ready="vtpm-server: ready .*unix:/run/vtpm-server/channel.sock")
        rig.others.append(server)
        if turn == 1:
            run([ctl, "instance", "create", "guest", "--credential-out", rig.path(about + ".cred")])
        names = run([ctl, "instance", "list"]).stdout
        check("guest" in names, "%s: start %d: the instance is there" % (about, turn))
        uid = int(re.search(r"(?m)^Uid:\s+(\d+)", open("/proc/%d/status" % server.p.pid).read()).group(1))
        check(uid == os.stat("/var/lib/vtpm-server").st_uid != 0, "it runs as the owner of the store")
        if turn == 2:
            run([ctl, "instance", "delete", "guest", "--yes"])
        check(server.stop() == 0, "it stops in order")


def installed_host(rig, usr):
    exe, ctl = usr + "/bin/vtpm-server", usr + "/bin/vtpmctl"
    os.chmod(usr, 0o755)
    prepare(usr)
    modes()
    r = run([exe, "--listen", LISTEN], ok=3)
    command = r.stderr.strip().splitlines()[-1].split("with: ")[-1]
    check(command == "vtpm-server init --keyslot keyfile:/etc/vtpm/keys/master.key", "without a store: the command to type")
    check(not os.path.exists("/var/lib/vtpm-server/vtpm.db"), "and none was made")
    r = run([exe] + command.split()[1:])
    check(len(r.stdout.splitlines()) == 1, "that command makes it and prints the recovery key")
    os.rename("/etc/vtpm/vtpm-server.conf", "/etc/vtpm/aside")
    serve(rig, exe, ctl, ["--listen", LISTEN], "--listen alone, no file")
    os.rename("/etc/vtpm/aside", "/etc/vtpm/vtpm-server.conf")
    serve(rig, exe, ctl, ["--listen", LISTEN], "--listen beside the file")
    serve(rig, exe, ctl, [], "the file alone")
    run(["systemd-tmpfiles", "--create", usr + "/lib/tmpfiles.d/vtpm.conf"])
    modes()
    cred = "/etc/vtpm/credentials/x.cred"
    with open(cred, "w") as f:
        f.write("x")
    run(["systemd-tmpfiles", "--create", usr + "/lib/tmpfiles.d/vtpm.conf"])
    check(run(["stat", "-c", "%U %a", cred]).stdout.split() == ["vtpm-shim", "600"], "a credential is given to the shim's user")
    run([exe, "check"])
    check(True, "vtpm-server check finds store and key by itself")


def config_file(rig):
    """The installed file with every default written out, for a place of the test's own."""
    text = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../deploy/vtpm-server.conf")).read()
    text = re.sub(r"(?m)^#([a-z-]+ = )", r"\1", text)
    text = re.sub(r"(?m)^(admin-group|monitor-group|listen) = .*\n", "", text)
    for old, new in (("/var/lib/vtpm-server", rig.data), ("unix:/run/vtpm-server/admin.sock", rig.admin)):
        check(old in text, "the installed file shows the default %s" % old)
        text = text.replace(old, new)
    with open(rig.path("server.conf"), "w") as f:
        f.write(text + "runtime-dir = %s\nallow-root = yes\n" % rig.run)
    run([program("vtpm-server"), "--config", rig.path("server.conf"), "--check-config"])
    server = Process([program("vtpm-server"), "--config", rig.path("server.conf"), "--listen", rig.listen], rig.path("server.log"),
                     ready="vtpm-server: ready .*" + re.escape(rig.listen))
    rig.others.append(server)
    rig.create("guest")
    check(rig.state("guest") == "ready", "--config and --listen: the key file is found by the slot that remembers it")
    check(server.stop() == 0, "it stops in order")


def watchdog(rig):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(rig.path("notify"))
        manager.settimeout(60)
        server = rig.start_server(env={"NOTIFY_SOCKET": rig.path("notify"), "WATCHDOG_USEC": "100000"})
        heard = []
        while heard.count("WATCHDOG=1") < 5 or "READY=1" not in heard:
            heard.append(manager.recv(4096).decode())
        check(set(heard) == {"READY=1", "WATCHDOG=1"}, "the service manager hears that the loop turns")
        server.p.terminate()
        while heard[-1] != "STOPPING=1":
            heard.append(manager.recv(4096).decode())
        check(server.p.wait(60) == 0, "it stops in order")
        server = rig.start_server(env={"NOTIFY_SOCKET": rig.path("notify"), "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"})
        check(server.stop() == 0, "another start, the watchdog being another's")
        heard = []
        while not heard or heard[-1] != "STOPPING=1":
            heard.append(manager.recv(4096).decode())
        check("WATCHDOG=1" not in heard, "a watchdog that waits for another process is not fed")


def main():
    need("cmake")
    if IN_NAMESPACE in os.environ:
        make_private()
    with Rig() as rig:
        usr = install(rig)
        if IN_NAMESPACE in os.environ:
            installed_host(rig, usr)
            return
        rig.init()
        config_file(rig)
        watchdog(rig)
    private = ["unshare", "--mount", "--propagation", "private"]
    if os.getuid() or subprocess.run(private + ["mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode:
        print("SKIPPED in part: no mount namespace of its own: the installed host was not tried")
        return
    need("systemd-sysusers", "systemd-tmpfiles")
    code = subprocess.run(private + [sys.executable, os.path.abspath(__file__)], env=dict(os.environ, **{IN_NAMESPACE: "1"}), timeout=500).returncode
    check(code == 0, "the installed host")


main()
print("defaults: all seen to hold")

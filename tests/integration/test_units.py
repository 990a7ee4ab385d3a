# SPDX-License-Identifier: Apache-2.0
"""The systemd units: without a mistake, as hardened as they claim, and what the programs do is allowed by them."""
import os
import re
import shutil
import subprocess

from rawpeer import RawPeer, credential
from rig import Process, Rig, check, has_sanitizer, need, program, run

UNITS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../deploy/systemd")
# In tenths of systemd's measure, 100 is without any protection; a listener on the network and user units are what is left.
EXPOSURE = {"vtpm-server.service": 20, "vtpm-shim@.service": 35, "vtpm-shim-xen.service": 20,
            "vtpm-shim-proxy.service": 25}
# Who offers vchans grants pages; who maps rings and vchans of others does not.
XEN_DEVICES = {"vtpm-shim-xen.service": {"xenbus", "gntdev", "evtchn"},
               "vtpm-server.service.d/xen.conf": {"xenbus", "gntalloc", "evtchn"}}
MUST = {
    "vtpm-server.service": {
        "User": "vtpm", "SupplementaryGroups": "vtpm-admin vtpm-monitor", "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "ProtectSystem": "strict", "ProtectHome": "yes",
        "PrivateTmp": "yes", "LimitCORE": "0", "UMask": "0077", "StateDirectoryMode": "0700", "RestrictNamespaces": "yes",
        "MemoryDenyWriteExecute": "yes", "RuntimeDirectoryPreserve": "yes", "Restart": "always", "Type": "notify",
        "WatchdogSec": "60", "PrivateDevices": "yes",
    },
    "vtpm-shim-xen.service": {
        "User": "vtpm-shim", "SupplementaryGroups": "vtpm vtpm-xen", "NoNewPrivileges": "yes", "CapabilityBoundingSet": "",
        "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes", "LimitCORE": "0", "UMask": "0077",
        "RuntimeDirectoryPreserve": "yes", "RuntimeDirectoryMode": "0700", "RestrictNamespaces": "yes", "WatchdogSec": "60",
        "MemoryDenyWriteExecute": "yes", "Restart": "always", "Type": "notify", "DevicePolicy": "closed",
    },
    "vtpm-shim-proxy.service": {
        "User": "vtpm-shim", "SupplementaryGroups": "vtpm", "NoNewPrivileges": "yes", "CapabilityBoundingSet": "CAP_SYS_ADMIN",
        "AmbientCapabilities": "CAP_SYS_ADMIN", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
        "LimitCORE": "0", "RestrictNamespaces": "yes", "WatchdogSec": "60", "MemoryDenyWriteExecute": "yes",
        "Restart": "always", "Type": "notify", "DevicePolicy": "closed", "DeviceAllow": "/dev/vtpmx rw",
        "RuntimeDirectory": "vtpm-shim-proxy", "SystemCallFilter": "@system-service",
    },
    "vtpm-shim@.service": {"NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "ProtectSystem": "strict", "LimitCORE": "0"},
}


def settings(text):
    out = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith(("#", ";", "[")):
            key, value = line.split("=", 1)
            out[key.strip()] = value.strip()
    return out


def verify(rig, name, drop_in=None):
    """As installed, but with the programs where they were built and a user that exists."""
    text = open(os.path.join(UNITS, name)).read()
    for key, value in MUST[name].items():
        check(settings(text).get(key) == value, "%s: %s=%s" % (name, key, value))
    if drop_in:
        text += open(os.path.join(UNITS, name + ".d", drop_in)).read()
    text = re.sub(r"(?m)^ExecStart=/usr/bin/", "ExecStart=" + os.path.abspath(os.path.dirname(program("x"))) + "/", text)
    installed = name.replace("@.", "@guest1.")
    with open(rig.path(installed), "w") as f:
        f.write(text)
    r = subprocess.run(["systemd-analyze", "verify", "--man=no", rig.path(installed)], capture_output=True, text=True)
    mine = [line for line in r.stderr.splitlines() if "vtpm" in line]
    check(not mine, "%s: systemd-analyze verify finds nothing%s" % (name, "".join("\n" + line for line in mine)))
    r = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=%d" % EXPOSURE[name],
                        rig.path(installed)], capture_output=True, text=True)
    last = (r.stdout.strip().splitlines() or [""])[-1]
    check(r.returncode == 0, "%s: %s" % (name, last.lstrip("→ ") or r.stderr))


def devices_of(text):
    return {(path, rights) for path, rights in re.findall(r"(?m)^DeviceAllow=(\S+) (\S+)$", text)}


def xen_devices():
    """Units, rules and group tell of the same devices, and of no other one."""
    for path, names in XEN_DEVICES.items():
        text = open(os.path.join(UNITS, path)).read()
        check(devices_of(text) == {("/dev/xen/" + name, "rw") for name in names}, "%s: Xen's devices" % path)
        check(settings(text).get("PrivateDevices", "no") == "no" and "vtpm-xen" in settings(text)["SupplementaryGroups"],
              "%s: which it can reach" % path)
    check(not devices_of(open(os.path.join(UNITS, "vtpm-server.service")).read()), "vtpm-server.service by itself: none")
    rules = [line for line in open(os.path.join(UNITS, "../udev/70-vtpm-xen.rules")) if not line.startswith("#")]
    check(len(rules) == 1 and set(re.search(r'KERNEL=="([^"]+)"', rules[0]).group(1).split("|")) ==
          {"xen/" + n for names in XEN_DEVICES.values() for n in names}, "udev: the same devices")
    check('GROUP="vtpm-xen", MODE="0660"' in rules[0], "udev: for the group and nobody else")
    check("\ng vtpm-xen -\n" in open(os.path.join(UNITS, "../sysusers.d/vtpm.conf")).read(), "the group is made")


def call_set(name):
    """The system calls of one of systemd's sets."""
    calls = set()
    for line in run(["systemd-analyze", "syscall-filter", name]).stdout.splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            calls |= call_set(word)
        elif word and not word.startswith("#"):
            calls.add(word)
    return calls


def calls_made(rig):
    """Server, zygote and sandbox at work, watched from outside."""
    trace = rig.path("trace")
    server = Process(["strace", "-f", "-qq", "-o", trace, program("vtpm-server"), "--data-dir", rig.data, "--runtime-dir", rig.run,
                      "--keyslot", "keyfile:" + rig.keyfile, "--listen", rig.listen, "--admin", rig.admin, "--allow-root"],
                     rig.path("server.log"), ready="vtpm-server: ready", timeout=120)
    rig.others.append(server)
    rig.create("guest")
    RawPeer(rig.listen, *credential(rig.path("guest.cred"))).open().close()
    rig.ctl("instance", "delete", "guest", "--yes")
    child = int(open("/proc/%d/task/%d/children" % (server.p.pid, server.p.pid)).read().split()[0])
    os.kill(child, 15)
    check(server.p.wait(60) == 0, "the watched server stops in order")
    return set(re.findall(r"(?m)^\d+ +(?:<\.\.\. )?([a-z0-9_]+)(?:\(| resumed)", open(trace).read()))


def system_calls(rig):
    if has_sanitizer("vtpm-server"):
        print("not compared with the filter: a sanitizer's runtime makes system calls of its own")
        return
    if not shutil.which("strace"):
        print("SKIPPED in part: strace is not installed: the unit's SystemCallFilter was not compared with the programs")
        return
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode:
        print("SKIPPED in part: nothing may be traced here")
        return
    unit = settings(open(os.path.join(UNITS, "vtpm-server.service")).read())["SystemCallFilter"].split()
    allowed = set().union(*(call_set(word) if word.startswith("@") else {word} for word in unit))
    made = calls_made(rig)
    check({"execve", "seccomp", "epoll_ctl", "fdatasync"} <= made, "%d different system calls were seen" % len(made))
    # The loader's arch_prctl and the like are in @default, which every filter has.
    check(not made - allowed - call_set("@default"), "the unit's filter allows each of them%s" %
          "".join(" " + c for c in sorted(made - allowed - call_set("@default"))))


def as_the_unit(rig):
    """Started as the unit starts it: not as root, the configured groups as supplementary ones."""
    if os.getuid():
        print("SKIPPED in part: not root: the server was not started as another user")
        return
    admin, monitor, nobody = "54321", "54322", "65534"
    home = rig.path("home")
    os.mkdir(home)
    os.chown(home, int(nobody), int(nobody))
    binaries = shutil.copytree(os.path.dirname(program("x")), rig.path("bin"))
    os.chmod(rig.path("bin"), 0o755)

    def argv(groups, *rest):
        return ["setpriv", "--reuid", nobody, "--regid", nobody, *groups, "--no-new-privs", "--inh-caps=-all",
                "--bounding-set=-all", os.path.join(binaries, "vtpm-server"), *rest]
    members, strangers = ["--groups", admin + "," + monitor], ["--clear-groups"]
    run(argv(members, "init", "--data-dir", home + "/data", "--keyslot", "keyfile:" + home + "/key"))
    options = ["--data-dir", home + "/data", "--runtime-dir", home + "/run", "--keyslot", "keyfile:" + home + "/key", "--admin",
               "unix:" + home + "/admin.sock", "--admin-group", admin, "--monitor-group", monitor]
    r = run(argv(strangers, *options), ok=2)
    check("--admin-group" in r.stderr, "without its supplementary groups it says what is missing")
    server = Process(argv(members, *options), rig.path("server.log"), ready="vtpm-server: ready")
    rig.others.append(server)
    check(os.stat(home + "/admin.sock").st_gid == int(admin), "the admin socket belongs to the admin group")
    for groups, verb, code in ((admin, ["instance", "create", "guest"], 0), (monitor, ["instance", "list"], 0),
                               (monitor, ["instance", "delete", "guest", "--yes"], 7)):
        r = subprocess.run(["setpriv", "--reuid", "60000", "--regid", "60000", "--groups", groups,
                            os.path.join(binaries, "vtpmctl"), "--admin", "unix:" + home + "/admin.sock", *verb],
                           capture_output=True, text=True, stdin=subprocess.DEVNULL)
        check(r.returncode == code, "group %s: %s: exit %d%s" % (groups, " ".join(verb), code, "" if r.returncode == code else
                                                                  " and not %d: %s" % (r.returncode, r.stderr)))
    check(server.stop() == 0, "it stops in order")


need("systemd-analyze")
with Rig() as rig:
    for unit in MUST:
        verify(rig, unit)
    verify(rig, "vtpm-server.service", "xen.conf")
    verify(rig, "vtpm-server.service", "hwtpm.conf")
    devices = re.findall(r"(?m)^DeviceAllow=(\S+) rw$",
                         open(os.path.join(UNITS, "vtpm-server.service.d", "hwtpm.conf")).read())
    check(devices == ["/dev/tpmrm0", "/dev/tpm0"], "hwtpm.conf lets in the TPM's devices and no other")
    xen_devices()
    rig.init()
    as_the_unit(rig)
    system_calls(rig)
print("units: all seen to hold")

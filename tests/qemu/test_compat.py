# SPDX-License-Identifier: Apache-2.0
"""The real libvirt with deploy/swtpm-compat first in its PATH: a domain with <tpm model='tpm-tis'><backend type='emulator'
version='1.2'/></tpm> under QEMU's software emulation, whose TPM is an instance; and one with the TPM of
deploy/libvirt/guest.xml, for which there is no wrapper. libvirtd runs in a mount namespace of its own, and its swtpm user
is not root."""
import grp
import os
import pwd
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
import emulated  # noqa: E402
from rig import Process, Rig, check, enter_namespace, free_port, need, program, skip, wait_until  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(HERE))
COMPAT = os.path.join(ROOT, "deploy/swtpm-compat")
UUID = "11111111-2222-3333-4444-555555555555"
URI = ["virsh", "-c", "qemu:///system"]
FOLDERS = "/run/libvirt /var/lib/libvirt /var/log/libvirt /var/log/swtpm /var/cache/libvirt /etc/libvirt".split()
QEMU_CONF = """user = "root"
group = "root"
swtpm_user = "%s"
swtpm_group = "%s"
security_driver = "none"
cgroup_controllers = []
namespaces = []
remember_owner = 0
stdio_handler = "file"
"""
DOMAIN = """<domain type='qemu'><name>vm</name><uuid>%(uuid)s</uuid><memory unit='MiB'>512</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type><kernel>%(folder)s/vmlinuz</kernel><initrd>%(folder)s/cpio</initrd>
<cmdline>%(line)s</cmdline></os><features><acpi/></features><cpu mode='maximum'/>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<serial type='file'><source path='%(folder)s/console-%(number)d'/></serial>
%(tpm)s<memballoon model='none'/><controller type='usb' model='none'/></devices></domain>
"""
EMULATOR = "<tpm model='tpm-tis'><backend type='emulator' version='1.2'/></tpm>"
# Packages of Debian that libvirtd works with; it looks this user up at its start.
USERS = (("libvirt-qemu", 64055), ("swtpm", 64056))


def mount_over(rig):
    for folder in FOLDERS:
        os.makedirs(folder, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder], check=True)
    for path, form in (("/etc/passwd", "%s:x:%d:%d::/:/bin/false\n"), ("/etc/group", "%s:x:%d:\n")):
        text = open(path).read()
        for name, number in USERS:
            if not re.search("(?m)^%s:" % name, text):
                text += form % ((name, number, number) if "passwd" in path else (name, number))
        copy = rig.path(os.path.basename(path))
        with open(copy, "w") as f:
            f.write(text)
        subprocess.run(["mount", "--bind", copy, path], check=True)
    with open("/etc/libvirt/qemu.conf", "w") as f:
        f.write(QEMU_CONF % ("swtpm", "swtpm"))
    open("/etc/libvirt/libvirtd.conf", "w").close()
    # libvirt's own directories for swtpm are made by its packages.
    os.makedirs("/run/libvirt/qemu/swtpm")


def virsh(*argv, ok=True):
    r = subprocess.run([*URI, *argv], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300)
    if ok and r.returncode:
        raise AssertionError("virsh %s: %s%s" % (" ".join(argv), r.stdout, r.stderr))
    return r


def start_libvirt(rig):
    with open(rig.path("compat.conf"), "w") as f:
        f.write("[swtpm]\nupstream = %s\nadmin = %s\nshim = %s\nvtpmctl = %s\ngroup = libvirt\n" %
                (rig.upstream, rig.admin, program("vtpm-shim"), program("vtpmctl")))
    p = Process(["libvirtd", "-p", rig.path("libvirtd.pid")], rig.path("libvirtd.log"),
                env={"PATH": COMPAT + ":" + os.environ["PATH"], "VTPM_SWTPM_CONFIG": rig.path("compat.conf")})
    rig.others.append(p)
    wait_until(lambda: virsh("version", ok=False).returncode == 0, "libvirtd answers", 120)


def build_guest(rig):
    m = emulated.Machine(os.path.join(HERE, "compat_init"), ["tpm_tis"])
    m.tree.program("/usr/bin/tpmcmd", os.environ.get("VTPM_TPMCMD", os.path.join(ROOT, "build/release/tests/qemu/tpmcmd")))
    shutil.copy(m.vmlinuz(), rig.path("vmlinuz"))
    m.tree.write(rig.path("cpio"))


def domain(rig, number, tpm):
    with open(rig.path("vm.xml"), "w") as f:
        f.write(DOMAIN % {"uuid": UUID, "folder": rig.dir, "line": emulated.LINE, "number": number, "tpm": tpm})
    virsh("define", rig.path("vm.xml"))


def boot(rig, number, tpm=EMULATOR):
    """What the guest says of its TPM."""
    domain(rig, number, tpm)
    virsh("start", "vm")
    console = rig.path("console-%d" % number)

    def text():
        return open(console, errors="replace").read() if os.path.exists(console) else ""
    try:
        wait_until(lambda: emulated.END in text(), "the guest's script", 90 * emulated.SLOW)
    except AssertionError:
        print(text()[-4000:])
        raise
    said = dict(re.findall(r"(?m)^(driver|ek|before|after): (\S+)\r?$", text()))
    print("the guest says:", said)
    return said


def instances(rig):
    return rig.ctl_json("instance", "list")["instances"]


def shims():
    """Processes of this namespace's libvirt."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = open("/proc/%s/cmdline" % pid).read().split("\0")
        except OSError:
            continue
        if any("/run/libvirt/qemu/swtpm/" in word and word.startswith("swtpm:") for word in line):
            found.append((int(pid), pwd.getpwuid(os.stat("/proc/%s" % pid).st_uid).pw_name))
    return found


def scenario(rig):
    versions = re.search(r"<enum name='backendVersion'>.*?</enum>", virsh("domcapabilities", "--virttype", "qemu").stdout, re.S)
    check("<value>1.2</value>" in versions.group(0), "virsh domcapabilities: backend version 1.2")
    first = boot(rig, 1)
    check(first.get("driver") == "tpm_tis" and first["before"] == "0" * 40 and first["after"] != first["before"],
          "the guest's own driver has a TPM 1.2, and PCR 12 can be extended")
    made = instances(rig)
    check([i["name"] for i in made] == ["libvirt-" + UUID], "one instance, named after the domain")
    check([user for _, user in shims()] == ["swtpm"], "vtpm-shim runs as libvirt's swtpm user")
    cred = "/var/lib/libvirt/swtpm/%s/tpm1.2/vtpm.cred" % UUID
    check(os.stat(cred).st_mode & 0o777 == 0o600, "the credential is in the domain's state directory")
    virsh("destroy", "vm")
    wait_until(lambda: not shims(), "the shim ends with its domain")
    wait_until(lambda: rig.state("libvirt-" + UUID) == "off", "and the TPM is off")
    second = boot(rig, 2)
    check(second["ek"] == first["ek"] and second["before"] == "0" * 40 and second["after"] == first["after"],
          "the next start: the same TPM, its PCRs reset")
    rig.server.kill9()
    rig.restart()
    wait_until(lambda: rig.state("libvirt-" + UUID) == "on", "the server killed and started under the running guest")
    virsh("reset", "vm")
    wait_until(lambda: open(rig.path("console-2"), errors="replace").read().count(emulated.END) == 2, "the guest after a reset",
               90 * emulated.SLOW)
    said = re.findall(r"(?m)^(?:ek|before|after): (\S+)\r?$", open(rig.path("console-2"), errors="replace").read())
    check(said[3:] == said[:3], "a reset of the machine: the same TPM, its PCRs reset")
    virsh("destroy", "vm")
    virsh("undefine", "vm")
    check(not os.path.exists(cred) and [i["name"] for i in instances(rig)] == ["libvirt-" + UUID],
          "undefine: the credential goes with the directory, the instance stays")
    domain(rig, 3, EMULATOR)
    r = virsh("start", "vm", ok=False)
    check(r.returncode and [i["uuid"] for i in instances(rig)] == [made[0]["uuid"]],
          "the same domain defined anew: no second TPM in the place of the first")
    print(open("/var/log/swtpm/libvirt/qemu/vm-swtpm.log").read()[-400:])


def external(rig):
    """The other back end, as in deploy/libvirt/guest.xml: libvirt connects to the path at which the shim listens."""
    rig.create("ext")
    rig.start_shim("ext", frontend="swtpm:ctrl=unix:" + rig.path("ctrl"), upstream=rig.upstream)
    example = open(os.path.join(ROOT, "deploy/libvirt/guest.xml")).read()
    tpm, count = re.subn(r"path='[^']*'", "path='%s'" % rig.path("ctrl"), re.search("(?s)<tpm .*?</tpm>", example).group(0))
    check(count == 1, "the example has one path")
    first = boot(rig, 4, tpm)
    check(first.get("driver") == "tpm_tis" and first["before"] == "0" * 40, "type='external': the guest has the TPM")
    virsh("destroy", "vm")
    second = boot(rig, 5, tpm)
    check((second["ek"], second["before"]) == (first["ek"], "0" * 40), "the next start: the same TPM, its PCRs reset")


class Here(Rig):
    def restart(self):
        self.start_server("--listen", self.upstream, "--admin-group", "swtpm")


need("libvirtd", "virsh", "qemu-system-x86_64", "mke2fs")
enter_namespace()
with Here() as rig:
    mount_over(rig)
    build_guest(rig)
    rig.init()
    rig.upstream = "tcp:127.0.0.1:%d" % free_port()
    rig.restart()
    start_libvirt(rig)
    try:
        scenario(rig)
        external(rig)
    finally:
        virsh("destroy", "vm", ok=False)
print("TPMs under libvirt: all seen to hold")

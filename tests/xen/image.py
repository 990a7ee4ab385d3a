#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds what a boot needs, in one directory: xen, vmlinux, dom0.cpio, guest.cpio, and boot.img: a disk for guests.

Xen, its tools and the kernel come from Debian's packages: downloaded and unpacked, never installed (that would touch
the boot loader of the machine). Libraries are those of the machine that our programs were linked on.
"""
import argparse
import fcntl
import gzip
import lzma
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CACHE = os.environ.get("VTPM_XEN_CACHE", os.path.join(ROOT, "build/xen"))
SKIPPED = 77
SEARCH = os.environ["PATH"] + ":/usr/sbin:/sbin"

XEN_TOOLS = ("xl xenstored xenconsoled xen-init-dom0 libxl-save-helper lsevtchn xentop").split()
XENSTORE_TOOLS = ["xenstore-" + verb for verb in "ls read write list watch chmod exists rm".split()]
OURS = "vtpm-server vtpm-engine vtpm-shim vtpmctl".split()
HELPERS = "agent tpmcmd forward hostile_front".split()
TROUSERS = ("tcsd tpm_takeownership tpm_sealdata tpm_unsealdata tpm_version tpm_getpubek").split()
XEN_MODULES = "xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xenfs".split()
DOM0_MODULES = XEN_MODULES + "virtio_pci virtio_console virtio_blk ext4 crc32c_generic".split()
GUEST_MODULES = XEN_MODULES + ["xen-tpmfront"]


# ---- Debian's packages ----
def output(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def candidate(package):
    """The version that apt would take; None when it has no such package."""
    found = re.search(r"Candidate: (\S+)", output("apt-cache", "policy", package))
    return found.group(1) if found and found.group(1) != "(none)" else None


def choose_packages():
    """{role: (package, version)}, or None with the reason where Debian has no Xen for this machine."""
    if not shutil.which("apt-cache"):
        return None, "there is no apt-cache: not a machine of Debian"
    names = output("apt-cache", "pkgnames", "xen-hypervisor-").split()
    releases = sorted((tuple(map(int, m.groups())) for m in
                       (re.fullmatch(r"xen-hypervisor-(\d+)\.(\d+)-amd64", name) for name in names)
                       if m and candidate(m.group(0))), reverse=True)
    if not releases:
        if " release " not in output("apt-cache", "policy"):
            raise SystemExit("image.py: apt has no lists: apt-get update")
        return None, "apt has no package xen-hypervisor-*-amd64 here"
    release = "%d.%d" % releases[0]
    kernel = re.search(r"Depends: (linux-image-\S+)", output("apt-cache", "depends", "linux-image-amd64")).group(1)
    roles = {"hypervisor": "xen-hypervisor-%s-amd64" % release, "tools": "xen-utils-" + release,
             "common": "xen-utils-common", "store": "xenstore-utils", "kernel": kernel, "shell": "busybox-static"}
    return {role: (name, candidate(name)) for role, name in roles.items()}, release


# Of the kernel's 400 MB only these are ever looked at.
KERNEL_PARTS = re.compile(r"(boot/vmlinuz-|.*/kernel/(drivers/(virtio|xen|char|block|tpm)|fs/(ext4|jbd2|xenfs|mbcache)|"
                          r"fs/mbcache|drivers/xen|drivers/char/tpm|lib|crypto|arch/x86/crypto)(/|\.ko))")


def unpack(role, package, version):
    """The directory with the package's files; downloads once for each version."""
    tree = os.path.join(CACHE, "%s_%s" % (package, version.replace(":", "%3a")))
    if os.path.isdir(tree):
        return tree
    partial = tree + ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(partial)
    subprocess.run(["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", "%s=%s" % (package, version)],
                   cwd=partial, check=True, stdout=subprocess.DEVNULL)
    deb, = (os.path.join(partial, name) for name in os.listdir(partial))
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as p, \
            tarfile.open(fileobj=p.stdout, mode="r|") as tar:
        for member in tar:
            if not member.isdir() and (role != "kernel" or KERNEL_PARTS.match(member.name.lstrip("./"))):
                tar.extract(member, partial)
    os.unlink(deb)
    os.rename(partial, tree)
    return tree


def find(tree, name, mode=0):
    for folder, _, files in os.walk(tree):
        path = os.path.join(folder, name)
        if name in files and os.stat(path).st_mode & mode == mode:
            return path
    raise SystemExit("image.py: no %s in %s" % (name, tree))


# ---- kernel and modules ----
def kernel_elf(tree):
    """The uncompressed kernel saves seconds under emulation; where it is packed in another way, vmlinuz serves."""
    name, = (n for n in os.listdir(os.path.join(tree, "boot")) if n.startswith("vmlinuz-"))
    with open(os.path.join(tree, "boot", name), "rb") as f:
        packed = f.read()
    for at in (m.start() for m in re.finditer(b"\xfd7zXZ\x00", packed)):
        try:
            image = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(packed[at:])
        except lzma.LZMAError:
            continue
        if image[:4] == b"\x7fELF":
            return image
    return packed


class Modules:
    def __init__(self, tree):
        self.files = {}
        for folder, _, files in os.walk(tree):
            for name in files:
                if ".ko" in name:
                    self.files[name.split(".ko")[0].replace("-", "_")] = os.path.join(folder, name)

    def read(self, name):
        path = self.files[name]
        with lzma.open(path) if path.endswith(".xz") else open(path, "rb") as f:
            return f.read()

    def order(self, names):
        """[(name, bytes)] with what each depends on before it. A name that the kernel has built in is left out."""
        done = {}

        def add(name):
            name = name.replace("-", "_")
            if name in done or name not in self.files:
                return
            data = self.read(name)
            for wanted in re.search(rb"\0depends=([^\0]*)\0", b"\0" + data).group(1).decode().split(","):
                add(wanted)
            done[name] = data
        for name in names:
            add(name)
        return list(done.items())


# ---- a first file system ----
class Tree:
    """Files of a cpio archive in the kernel's format ("newc"); nothing of it is made on disk, so no root is needed."""

    def __init__(self):
        self.entries = {}

    def folder(self, path, mode=0o755, owner=(0, 0)):
        path = path.strip("/")
        if path and path not in self.entries:
            self.folder(os.path.dirname(path))
            self.entries[path] = (stat.S_IFDIR | mode, owner, b"")

    def data(self, path, data, mode=0o644, owner=(0, 0)):
        self.folder(os.path.dirname(path))
        self.entries[path.strip("/")] = (stat.S_IFREG | mode, owner, data)

    def link(self, path, target):
        self.folder(os.path.dirname(path))
        self.entries[path.strip("/")] = (stat.S_IFLNK | 0o777, (0, 0), target.encode())

    def file(self, path, source, mode=0o644):
        with open(source, "rb") as f:
            self.data(path, f.read(), mode)

    def program(self, path, source):
        """With the libraries that it needs, each where the loader looks for it."""
        self.file(path, source, 0o755)
        r = subprocess.run(["ldd", source], capture_output=True, text=True)
        if "not found" in r.stdout:
            raise SystemExit("image.py: %s lacks libraries:\n%s" % (source, r.stdout))
        for library in re.findall(r"(/\S+\.so\S*)", r.stdout):
            self.library(library)

    def library(self, path):
        if path.startswith("/lib64/"):
            where = path
        else:
            where = "/lib/x86_64-linux-gnu/" + os.path.basename(path)
        if where.strip("/") not in self.entries:
            self.file(where, os.path.realpath(path), 0o755)

    def modules(self, modules, names):
        order = modules.order(names)
        for name, data in order:
            self.data("/lib/modules/%s.ko" % name, data)
        self.data("/lib/modules/order", "".join(name + "\n" for name, _ in order).encode())

    def write(self, path):
        with open(path + ".partial", "wb") as f:
            for inode, (name, (mode, owner, data)) in enumerate(self.entries.items(), 1):
                self.member(f, inode, name, mode, owner, data)
            self.member(f, 0, "TRAILER!!!", 0, (0, 0), b"")
        os.rename(path + ".partial", path)

    @staticmethod
    def member(f, inode, name, mode, owner, data):
        name = name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        numbers = (inode, mode, owner[0], owner[1], links, 0, len(data), 0, 0, 0, 0, len(name), 0)
        head = b"070701" + b"".join(b"%08X" % n for n in numbers) + name
        f.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))


TSS_ID, VTPM_ID = 101, 102
PASSWD = "root:x:0:0:root:/root:/bin/sh\ntss:x:%d:%d::/:/bin/false\nvtpm:x:%d:%d::/:/bin/false\n" % (
    TSS_ID, TSS_ID, VTPM_ID, VTPM_ID)
GROUP = "root:x:0:\ntss:x:%d:\nvtpm:x:%d:\n" % (TSS_ID, VTPM_ID)


def which(name):
    path = shutil.which(name, path=SEARCH)
    if not path:
        raise SystemExit("image.py: %s is not installed (PACKAGES_XEN in tests/lib/packages.sh)" % name)
    return path


def base(trees, bin_dir, helper_dir, init):
    """What dom0 and every guest have: a shell, xenstore's tools, our programs, the agent."""
    tree = Tree()
    tree.file("/bin/busybox", find(trees["shell"], "busybox", 0o111), 0o755)
    tree.file("/init", os.path.join(HERE, init), 0o755)
    for name in XENSTORE_TOOLS:
        tree.program("/usr/bin/" + name, find(trees["store"], name))
    for name in OURS:
        tree.program("/usr/bin/" + name, os.path.join(bin_dir, name))
    for name in HELPERS:
        tree.program("/usr/bin/" + name, os.path.join(helper_dir, name))
    # Loaded by name at run time: libpthread's cancellation needs it.
    tree.library("/lib/x86_64-linux-gnu/libgcc_s.so.1")
    tree.data("/etc/passwd", PASSWD.encode())
    tree.data("/etc/group", GROUP.encode())
    tree.data("/etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files\n")
    tree.data("/etc/hosts", b"127.0.0.1 localhost\n")
    for folder in "/proc /sys /dev /run /tmp /root /var/log".split():
        tree.folder(folder)
    return tree


def guest(trees, bin_dir, helper_dir, modules):
    tree = base(trees, bin_dir, helper_dir, "init-guest")
    tree.modules(modules, GUEST_MODULES)
    for name in TROUSERS:
        tree.program("/usr/bin/" + name, which(name))
    tree.data("/etc/tcsd.conf", b"port = 30003\nsystem_ps_file = /var/lib/tpm/system.data\n", 0o640, (0, TSS_ID))
    tree.folder("/var/lib/tpm", 0o700, (TSS_ID, TSS_ID))
    return tree


def dom0(trees, bin_dir, helper_dir, modules):
    tree = base(trees, bin_dir, helper_dir, "init-dom0")
    tree.modules(modules, DOM0_MODULES)
    release = os.path.basename(os.path.dirname(os.path.dirname(find(trees["tools"], "xl"))))
    for name in XEN_TOOLS:
        tree.program("/usr/lib/%s/bin/%s" % (release, name), find(trees["tools"], name))
    tree.link("/usr/lib/xen", release)
    tree.file("/etc/xen/xl.conf", find(trees["common"], "xl.conf"))
    for name in os.listdir(os.path.join(trees["common"], "etc/xen/scripts")):
        tree.file("/etc/xen/scripts/" + name, os.path.join(trees["common"], "etc/xen/scripts", name), 0o755)
    tree.program("/usr/bin/swtpm", which("swtpm"))
    # Loaded by name at run time: tpm2-tss' way to /dev/tpmrm0.
    tree.library("/usr/lib/x86_64-linux-gnu/libtss2-tcti-device.so.0")
    for name in "vtpm-xl",:
        path = os.path.join(ROOT, "deploy/xen", name)
        if os.path.exists(path):
            tree.file("/usr/bin/" + name, path, 0o755)
    for folder in "/var/log/xen /var/lib/xen /var/lib/xenstored /data /boot".split():
        tree.folder(folder)
    tree.link("/var/run", "/run")
    return tree


def boot_disk(out):
    """What dom0 starts guests from. On a disk, since unpacking it into dom0's memory would take seconds."""
    disk = os.path.join(out, "boot.img")
    with tempfile.TemporaryDirectory(dir=out) as folder:
        for name in "vmlinux", "guest.cpio":
            os.link(os.path.join(out, name), os.path.join(folder, name))
        if os.path.exists(disk):
            os.unlink(disk)
        subprocess.run([which("mke2fs"), "-q", "-t", "ext4", "-d", folder, disk, "128M"], check=True,
                       stdout=subprocess.DEVNULL)


def build(bin_dir, helper_dir, out):
    packages, release = choose_packages()
    if not packages:
        shutil.rmtree(out, ignore_errors=True)
        print("SKIPPED:", release)
        return SKIPPED
    os.makedirs(CACHE, exist_ok=True)
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(CACHE, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        trees = {role: unpack(role, *package) for role, package in packages.items()}
    xen, = (n for n in os.listdir(os.path.join(trees["hypervisor"], "boot"))
            if re.fullmatch(r"xen-[\d.]+-amd64\.gz", n))
    kernel = kernel_elf(trees["kernel"])
    with gzip.open(os.path.join(trees["hypervisor"], "boot", xen)) as f, open(os.path.join(out, "xen"), "wb") as g:
        shutil.copyfileobj(f, g)
    with open(os.path.join(out, "vmlinux"), "wb") as f:
        f.write(kernel)
    modules = Modules(trees["kernel"])
    guest(trees, bin_dir, helper_dir, modules).write(os.path.join(out, "guest.cpio"))
    dom0(trees, bin_dir, helper_dir, modules).write(os.path.join(out, "dom0.cpio"))
    boot_disk(out)
    for name in "guest.cpio", "dom0.cpio":
        print("%s: %.1f MiB" % (name, os.path.getsize(os.path.join(out, name)) / 2**20))
    print("Xen %s, %s" % (packages["hypervisor"][1], packages["kernel"][0]))
    return 0


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--bin", required=True, help="our programs, as build/release/bin")
    p.add_argument("--helpers", required=True, help="the programs of tests/xen, as build/release/tests")
    p.add_argument("--out", required=True, help="the directory of the image")
    a = p.parse_args()
    sys.exit(build(a.bin, a.helpers, a.out))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds what a boot needs, in one directory: xen, vmlinux, dom0.cpio, guest.cpio, and boot.img: a disk for guests.

Xen, its tools and the kernel come from Debian's packages: downloaded and unpacked, never installed (that would touch
the boot loader of the machine). Libraries are those of the machine that our programs were linked on.
"""
import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from debian_image import (ROOT, Modules, Tree, cache, candidate, find, kernel_elf, kernel_package, output,  # noqa: E402
                          unpack, which)

SKIPPED = 77

XEN_TOOLS = ("xl xenstored xenconsoled xen-init-dom0 libxl-save-helper lsevtchn xentop").split()
XENSTORE_TOOLS = ["xenstore-" + verb for verb in "ls read write list watch chmod exists rm".split()]
OURS = "vtpm-server vtpm-engine vtpm-shim vtpmctl".split()
HELPERS = "agent tpmcmd forward hostile_front stubdom".split()
TROUSERS = ("tcsd tpm_takeownership tpm_sealdata tpm_unsealdata tpm_version tpm_getpubek").split()
XEN_MODULES = "xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xenfs".split()
DOM0_MODULES = XEN_MODULES + "virtio_pci virtio_console virtio_blk ext4 crc32c_generic".split()
GUEST_MODULES = XEN_MODULES + ["xen-tpmfront"]


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
    kernel = kernel_package()
    roles = {"hypervisor": "xen-hypervisor-%s-amd64" % release, "tools": "xen-utils-" + release,
             "common": "xen-utils-common", "store": "xenstore-utils", "kernel": kernel, "shell": "busybox-static"}
    return {role: (name, candidate(name)) for role, name in roles.items()}, release


TSS_ID, VTPM_ID = 101, 102
PASSWD = "root:x:0:0:root:/root:/bin/sh\ntss:x:%d:%d::/:/bin/false\nvtpm:x:%d:%d::/:/bin/false\n" % (
    TSS_ID, TSS_ID, VTPM_ID, VTPM_ID)
GROUP = "root:x:0:\ntss:x:%d:\nvtpm:x:%d:\n" % (TSS_ID, VTPM_ID)


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
    for name in "vtpm-xl", "vtpm-stubdom":
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
    os.makedirs(out, exist_ok=True)
    with cache():
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

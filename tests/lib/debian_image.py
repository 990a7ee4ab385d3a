# SPDX-License-Identifier: Apache-2.0
"""Parts of images that tests boot under QEMU: Debian's packages, a kernel and its modules, a first file system.

Packages are downloaded and unpacked, never installed (that would touch the boot loader of the machine). Libraries are
those of the machine that our programs were linked on.
"""
import contextlib
import fcntl
import lzma
import os
import re
import shutil
import stat
import subprocess
import tarfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.environ.get("VTPM_XEN_CACHE", os.path.join(ROOT, "build/xen"))
SEARCH = os.environ["PATH"] + ":/usr/sbin:/sbin"


# ---- Debian's packages ----
def output(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def candidate(package):
    """The version that apt would take; None when it has no such package."""
    found = re.search(r"Candidate: (\S+)", output("apt-cache", "policy", package))
    return found.group(1) if found and found.group(1) != "(none)" else None


def kernel_package():
    """The package that linux-image-amd64 stands for, here and now."""
    return re.search(r"Depends: (linux-image-\S+)", output("apt-cache", "depends", "linux-image-amd64")).group(1)


@contextlib.contextmanager
def cache():
    """Nobody else unpacks meanwhile."""
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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
    raise SystemExit("image: no %s in %s" % (name, tree))


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
            raise SystemExit("image: %s lacks libraries:\n%s" % (source, r.stdout))
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


def which(name):
    path = shutil.which(name, path=SEARCH)
    if not path:
        raise SystemExit("image: %s is not installed (see tests/lib/packages.sh)" % name)
    return path

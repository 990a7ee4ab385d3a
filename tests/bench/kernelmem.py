# SPDX-License-Identifier: Apache-2.0
"""What the kernel keeps for processes: sockets, stacks, descriptors, mappings. A memory control group of their own tells, where
one can be made (root); nothing else does, since such memory belongs to no process."""
import contextlib
import os

from procs import read


def hierarchy():
    """(where memory control groups are, version); (None, 0)."""
    for line in read("/proc/mounts").splitlines():
        _, where, kind, options = line.split()[:4]
        if kind == "cgroup" and "memory" in options.split(","):
            return where, 1
        if kind == "cgroup2" and "memory" in read(where + "/cgroup.subtree_control").split():
            return where, 2
    return None, 0


def own_group(version):
    """Of this process, below the hierarchy."""
    for line in read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if ("memory" in controllers.split(",")) if version == 1 else not controllers:
            return path
    return "/"


class Group:
    """What is started within `joined` is in it. Without one, bytes() is None."""

    def __init__(self, name):
        where, self.version = hierarchy()
        self.path = None
        if where:
            self.home = where + own_group(self.version)
            path = os.path.join(where, "vtpm-bench-%d-%s" % (os.getpid(), name))
            with contextlib.suppress(OSError):
                os.mkdir(path)
                self.path = path

    @contextlib.contextmanager
    def joined(self):
        if self.path:
            self.move(self.path)
        try:
            yield
        finally:
            if self.path:
                self.move(self.home)

    @staticmethod
    def move(path):
        with open(path + "/cgroup.procs", "w") as f:
            f.write("0")

    def bytes(self):
        """Page tables among them."""
        if not self.path:
            return None
        if self.version == 1:
            return int(read(self.path + "/memory.kmem.usage_in_bytes") or 0)
        stat = dict(line.split() for line in read(self.path + "/memory.stat").splitlines())
        return int(stat.get("kernel", 0)) + int(stat.get("sock", 0))

    def stop(self):
        """When all of its processes have ended."""
        if self.path:
            with contextlib.suppress(OSError):
                os.rmdir(self.path)

# SPDX-License-Identifier: Apache-2.0
"""What processes take of memory and time, as the kernel tells it; and a control group that bounds them, where one is to be had."""
import os


def _values(path):
    """{name: bytes} of a file of lines "Name: N kB"."""
    out = {}
    with open(path) as f:
        for line in f:
            words = line.split()
            if len(words) == 3 and words[2] == "kB":
                out[words[0].rstrip(":")] = int(words[1]) * 1024
    return out


def own(pid):
    """Private pages and page tables of one process, in bytes; without pages of files, which are its only by chance."""
    rollup = _values("/proc/%d/smaps_rollup" % pid)
    return min(rollup["Private_Dirty"], rollup["Pss_Anon"]) + _values("/proc/%d/status" % pid)["VmPTE"]


def cpu_ns(pid):
    """Of all its threads that live."""
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, task)) as f:
            total += int(f.read().split()[0])
    return total


def children(pid):
    out = []
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/children" % (pid, task)) as f:
            out += [int(x) for x in f.read().split()]
    return out


def disk_in_memory(path):
    """Of the files of a directory on tmpfs, in bytes."""
    return sum(os.stat(os.path.join(path, name)).st_blocks * 512 for name in os.listdir(path))


class Group:
    """A memory control group of its own for what is started in it; `path` is None where the kernel gives none."""

    PLACES = ("/sys/fs/cgroup/memory", "/sys/fs/cgroup")

    def __init__(self, limit):
        self.path = None
        for place in self.PLACES:
            path = os.path.join(place, "vtpm-test-%d" % os.getpid())
            v1 = place.endswith("/memory")
            try:
                os.mkdir(path)
                self.file = "memory.limit_in_bytes" if v1 else "memory.max"
                with open(os.path.join(path, self.file), "w") as f:
                    f.write(str(limit))
            except OSError:
                continue
            self.path, self.v1 = path, v1
            return

    def enter(self):
        """By the process itself, before exec."""
        if self.path:
            with open(os.path.join(self.path, "cgroup.procs"), "w") as f:
                f.write("0")

    def _stat(self):
        with open(os.path.join(self.path, "memory.stat")) as f:
            return {k: int(v) for k, v in (line.split() for line in f)}

    def used(self):
        """Bytes: pages of processes and of tmpfs, and all that the kernel holds for them; without the cache of files."""
        stat = self._stat()
        if self.v1:
            with open(os.path.join(self.path, "memory.kmem.usage_in_bytes")) as f:
                return stat["rss"] + stat.get("shmem", stat.get("mapped_file", 0)) + int(f.read())
        return stat["anon"] + stat["shmem"] + stat["kernel"]

    def most(self):
        with open(os.path.join(self.path, "memory.max_usage_in_bytes" if self.v1 else "memory.peak")) as f:
            return int(f.read())

    def remove(self):
        if self.path:
            os.rmdir(self.path)

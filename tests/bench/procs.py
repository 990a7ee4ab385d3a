# SPDX-License-Identifier: Apache-2.0
"""What processes take: CPU to the nanosecond (schedstat), private memory with page tables, disk."""
import contextlib
import ctypes
import os
import resource
import time

TICK = os.sysconf("SC_CLK_TCK")
PR_SET_CHILD_SUBREAPER = 36


def read(path):
    """"" when the process has gone."""
    try:
        with open(path) as f:
            return f.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def stat_of(pid):
    """The fields behind the name, which may hold anything."""
    return read("/proc/%d/stat" % pid).rpartition(")")[2].split()


PARENTS = {}  # of the processes that the last look found: a machine may have thousands, and few are new


def parents():
    """{process: its parent when it was first seen}"""
    there = {int(name) for name in os.listdir("/proc") if name.isdigit()}
    for pid in PARENTS.keys() - there:
        del PARENTS[pid]
    for pid in there - PARENTS.keys():
        fields = stat_of(pid)
        if fields:
            PARENTS[pid] = int(fields[1])
    return PARENTS


def tree(*roots):
    """Those processes and all below them."""
    pids, below = list(roots), {}
    for pid, parent in parents().items():
        below.setdefault(parent, []).append(pid)
    for pid in pids:
        pids += below.get(pid, ())
    return pids


def task_cpu(pid):
    """{task: nanoseconds on a processor}"""
    base, out = "/proc/%d/task" % pid, {}
    try:
        tasks = os.listdir(base)
    except (FileNotFoundError, ProcessLookupError):
        return out
    for task in tasks:
        text = read("%s/%s/schedstat" % (base, task))
        if text:
            out[int(task)] = int(text.split()[0])
    return out


class Meter:
    """CPU of process trees. A task that has ended keeps what it was last seen to have used; with `ended` what the
    kernel adds up for children that were waited for is asked, too (in ticks, so only for what takes many of them)."""

    def __init__(self, roots, ended=False):
        self.roots, self.ended = roots, ended
        self.tasks = {}

    def seconds(self):
        return self.of(tree(*self.roots()))

    def of(self, pids):
        now, waited = {}, 0
        for pid in pids:
            now.update(task_cpu(pid))
            if self.ended:
                fields = stat_of(pid)
                waited += (int(fields[13]) + int(fields[14])) / TICK if fields else 0
        self.tasks.update(now)
        return sum((now if self.ended else self.tasks).values()) / 1e9 + waited

    def settle(self, quiet=0.001, over=0.03, timeout=20):
        """Waits until the trees use less than `quiet` seconds in `over`; what they have used by then."""
        end, pids = time.monotonic() + timeout, tree(*self.roots())
        before = self.of(pids)
        while time.monotonic() < end:
            time.sleep(over)
            now = self.of(pids)
            if now - before < quiet:
                break
            before = now
        return self.seconds()


def kilobytes(text, names):
    """The sum of these lines of a file of /proc, in bytes."""
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(names))


def page_tables(pids):
    return sum(kilobytes(read("/proc/%d/status" % pid), ("VmPTE:",)) for pid in pids)


def memory(pids):
    """Bytes that these processes alone have: private pages and page tables."""
    private = ("Private_Clean:", "Private_Dirty:", "Private_Hugetlb:")
    return sum(kilobytes(read("/proc/%d/smaps_rollup" % pid), private) for pid in pids) + page_tables(pids)


def disk(path):
    """Bytes that the files below take."""
    return sum(os.lstat(os.path.join(folder, name)).st_blocks * 512
               for folder, _, names in os.walk(path) for name in names)


@contextlib.contextmanager
def on_cpus(cpus):
    """What is started within runs on these."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def renice_sessions(n, pids):
    """Where the kernel shares time between sessions, the niceness of a process counts within its session only. Niceness
    that a process chose for itself stays."""
    for pid in pids:
        with contextlib.suppress(OSError), open("/proc/%d/autogroup" % pid, "w") as f:
            f.write(str(n))


def renice(n):
    """This process, in a session of its own, and what it will start."""
    with contextlib.suppress(OSError):
        os.setsid()
    os.setpriority(os.PRIO_PROCESS, 0, n)
    renice_sessions(n, [os.getpid()])


def spent(argv, cpus):
    """(seconds, CPU seconds) of a program and of all that it started, waited for or not; and its exit status."""
    read_end, write_end = os.pipe()
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            os.sched_setaffinity(0, cpus)
            null = os.open(os.devnull, os.O_RDWR)
            child = os.posix_spawnp(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)])
            status = os.waitpid(child, 0)[1]
            took = time.monotonic() - begun
            with contextlib.suppress(ChildProcessError):
                while True:
                    os.waitpid(-1, 0)
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            os.write(write_end, ("%.9f %.9f %d" % (took, used.ru_utime + used.ru_stime, status)).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as f:
        words = f.read().split()
    os.waitpid(pid, 0)
    if len(words) != 3 or int(words[2]):
        raise AssertionError("%s failed: %s" % (" ".join(argv), words))
    return float(words[0]), float(words[1])

# SPDX-License-Identifier: Apache-2.0
"""When and where a run was made."""
import os
import platform
import subprocess
import time

import rig


def first_line(argv):
    try:
        out = subprocess.run(argv, capture_output=True, text=True, timeout=20)
        return (out.stdout or out.stderr).splitlines()[0].strip()
    except (OSError, IndexError):
        return "unknown"


def cpu_model():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def facts(args, seconds):
    return {
        "date": time.strftime("%Y-%m-%d"), "seconds": round(seconds),
        "machine": "%d x %s, Linux %s" % (os.cpu_count(), cpu_model(), platform.release()),
        "load": "%.1f %.1f %.1f" % os.getloadavg(),
        "server_cpus": ",".join(map(str, sorted(args.server_cpus))),
        "client_cpus": ",".join(map(str, sorted(args.client_cpus))),
        "server": first_line([rig.program("vtpm-server"), "--version"]),
        "swtpm": first_line(["swtpm", "--version"]),
        "command": "tests/bench/run" + (" --quick" if args.quick else " --smoke" if args.smoke else ""),
    }


def text(f):
    return ("{command}, {date}, {seconds} s; {machine}; load {load}\n"
            "{server}; {swtpm}; servers on processor {server_cpus}, client on {client_cpus}\n").format(**f)


def markdown(f):
    return ("`{command}`, {date}, {machine}, load {load} at the end; {server} beside {swtpm}; servers on processor "
            "{server_cpus}, load generator on {client_cpus}.\n").format(**f)

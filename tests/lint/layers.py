# SPDX-License-Identifier: Apache-2.0
"""Who may include whom, and who may call which library (docs/architecture.md, "Layers").

Reads the sources' #include lines and, with --objects DIR, the undefined symbols of the built archives.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")

# room: rooms it may include besides itself. The order is that of the layers.
MAY_INCLUDE = {
    "server/base": [],
    "server/crypto": ["server/base"],
    "server/wire": ["server/base"],
    "server/engine": ["server/base", "server/crypto", "server/wire"],
    "proto": ["server/base", "server/crypto", "server/wire"],
    "db": ["server/base", "server/crypto", "server/wire"],
    "hwtpm": ["server/base", "server/crypto", "server/wire"],
    "server/sandbox": ["server/base", "server/crypto", "server/wire", "server/engine"],
    "server/core/sched": ["server/base", "server/wire"],
    "server/core": ["server/base", "server/crypto", "server/wire", "server/engine", "server/sandbox", "proto", "db",
                    "hwtpm", "server/core/sched"],
    "server/net": ["server/base", "server/crypto", "server/wire", "server/engine", "server/sandbox", "proto", "db",
                   "hwtpm", "server/core", "server/xen"],
    "server/ctl": ["server/base", "server/crypto", "server/core", "server/core/sched", "proto", "db", "hwtpm"],
    "server/xen": ["server/base"],
    "shim-linux": ["server/base", "server/xen", "proto"],
    "shim-minios": ["server/base", "proto"],
}
MAIN = "server/main.c"

XEN = ["server/xen", "shim-linux"]

# header prefix: places (files or rooms) that may include it.
ONLY_IN = {
    "mbedtls/": ["server/crypto", "proto/tls.c", "shim-minios/entropy.c", "shim-minios/mbedtls_config.h"],
    "psa/": ["server/crypto", "proto/tls.c"],
    "openssl/": ["server/crypto", "server/ctl"],
    "sqlite3.h": ["db"],
    "seccomp.h": ["server/sandbox"],
    "tss2/": ["hwtpm"],
    "xenstore.h": XEN,
    "xengnttab.h": XEN,
    "xenevtchn.h": XEN,
    "xentoollog.h": XEN,
    "libxenvchan.h": XEN,
    "uv.h": ["server/net", "server/core/loop_uv.c", MAIN, "shim-linux", "server/ctl"],
}

# library prefix of symbols: archives that may need them.
SYMBOLS = {
    r"mbedtls_|psa_": ["libvt_crypto.a", "libvt_proto.a"],
    r"EVP_|RSA_|BN_|OPENSSL_|ERR_|OSSL_|SHA1_|SHA256_": ["libvt_crypto.a"],
    r"sqlite3_": ["libvt_db.a"],
    r"seccomp_": ["libvt_sandbox.a"],
    r"Esys_|Tss2_": ["libvt_hwtpm.a"],
    r"uv_": ["libvt_core.a", "libvt_net.a"],
    r"xs_|libxenvchan_|xengnt|xenevtchn_": ["libvt_xen.a"],
}
# The engine, the channel and the scheduler are pure: nothing that does I/O, asks for the time, or starts a thread.
IMPURE = re.compile(r"^(open|openat|fopen|read|write|socket|connect|send|recv|poll|select|epoll_\w+|time|clock_gettime|"
                    r"gettimeofday|getrandom|printf|fprintf|puts|fputs|vt_log|pthread_\w+|fork|execv\w*|system|getenv)$")
# Lists with reasons, without a head.
PLAIN_LISTS = ("tests/allowed-skips", "tests/diff/differences", "tests/spec/refused", "tests/spec/unreached")
PURE = ["libvt_engine.a", "libvt_profile.a", "libvt_wire.a", "libvt_proto.a", "libvt_sched.a"]


def room_of(path):
    rooms = [r for r in MAY_INCLUDE if path.startswith(r + "/")]
    return max(rooms, key=len) if rooms else None


def sources():
    for room in MAY_INCLUDE:
        for folder, _, files in os.walk(os.path.join(ROOT, room)):
            for name in files:
                if name.endswith((".c", ".h", ".def")):
                    yield os.path.relpath(os.path.join(folder, name), ROOT)
    yield MAIN


def check_includes():
    for path in sorted(set(sources())):
        room = room_of(path) if path != MAIN else None
        for number, line in enumerate(open(os.path.join(ROOT, path), encoding="utf-8"), 1):
            m = re.match(r'\s*#\s*include\s+[<"]([^>"]+)[>"]', line)
            if not m:
                continue
            header = m.group(1)
            for prefix, places in ONLY_IN.items():
                if header.startswith(prefix) and not any(path == p or path.startswith(p + "/") for p in places):
                    yield "%s:%d: %s belongs to %s" % (path, number, header, ", ".join(places))
            target = room_of(header)
            if room and target and target != room and target not in MAY_INCLUDE[room]:
                yield "%s:%d: %s may not include %s" % (path, number, room, header)
            if '"' in line and "/" not in header and not header.startswith("vtpm_"):
                yield "%s:%d: %s: includes are written from the repository root" % (path, number, header)


def check_symbols(build):
    archives = [os.path.join(f, n) for f, _, names in os.walk(build) for n in names if n.endswith(".a")]
    if not archives:
        yield "%s: no archives were built" % build
    for archive in archives:
        name = os.path.basename(archive)
        if name.startswith("libvt_pb_") or not name.startswith("libvt_") or "fixture" in name:
            continue
        out = subprocess.run(["nm", "-u", archive], capture_output=True, text=True).stdout
        for symbol in {line.split()[-1] for line in out.splitlines() if line.strip().startswith("U ")}:
            for pattern, places in SYMBOLS.items():
                if re.match(pattern, symbol) and name not in places:
                    yield "%s needs %s" % (name, symbol)
            if name in PURE and IMPURE.match(symbol):
                yield "%s is pure and may not need %s" % (name, symbol)


def check_spdx():
    out = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True).stdout.split()
    if not out:  # a tarball without git: the sources at least
        out = sorted(set(sources()))
    for path in out:
        if path in ("LICENSE", ".gitignore", ".editorconfig", ".clang-format", ".clang-tidy") or path.endswith(
                (".md", ".json", ".bin", ".svg", ".png")) or "/corpus/" in path or not os.path.exists(os.path.join(ROOT, path)):
            continue
        with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as f:
            head = f.read(400)
        if "SPDX-License-Identifier: Apache-2.0" not in head and path not in PLAIN_LISTS:
            yield "%s: no SPDX line" % path


def check_the_check():
    """The rules can fail: each one is tried on a line that breaks it."""
    assert room_of("server/engine/cmd/ch16_integrity.c") == "server/engine"
    assert "db" not in MAY_INCLUDE["server/engine"] and IMPURE.match("getrandom")
    assert not any("server/net".startswith(p) for p in ONLY_IN["sqlite3.h"])
    assert MAY_INCLUDE["server/xen"] == ["server/base"] and re.match(list(SYMBOLS)[-1], "libxenvchan_read")


check_the_check()
problems = list(check_includes()) + list(check_spdx())
if len(sys.argv) == 3 and sys.argv[1] == "--objects":
    problems += list(check_symbols(sys.argv[2]))
for problem in problems:
    print(problem)
print("%d problems" % len(problems))
sys.exit(1 if problems else 0)
